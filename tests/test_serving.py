"""A server in the background: functions, event loops, threads; and how it ends."""

from __future__ import annotations

import asyncio
import selectors
import socket as standard
import ssl
import threading
import time

import pytest
from timing import SOON, took

from helpers import Stage, callers, recorded_socket, serving, socket
from helpers.gate import gate
from helpers.strategies import GREETING, asyncio_protocol, asyncio_streams, selector_loop

AT_REST: list[threading.Thread] = []  # those that nothing can end sleep for good


@pytest.fixture(autouse=True)
def nothing_is_left():
    """No thread, no waiting, no socket of a server outlives the test."""
    before = set(threading.enumerate())
    yield
    if Stage._present is not None:
        Stage._present._clear()
    gate.end_all()
    for sock in recorded_socket.recorder.sockets:
        recorded_socket.force_close(sock)
    for thread in set(threading.enumerate()) - before - set(AT_REST):
        thread.join(5)
        assert not thread.is_alive()
    assert not gate.waiting


def answer(connection, number=1):
    data = connection.recv(100)
    while data:
        connection.sendall(data.upper())
        data = connection.recv(100)
    connection.close()


def one_by_one(listener):
    while True:
        connection, _ = listener.accept()
        answer(connection)


def a_thread_for_each(listener):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,)).start()


def with_selectors(listener):
    listener.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is listener:
                    connection, _ = listener.accept()
                    selector.register(connection, selectors.EVENT_READ)
                else:
                    data = key.fileobj.recv(100)
                    key.fileobj.sendall(data.upper())
                    if not data:
                        selector.unregister(key.fileobj)
                        key.fileobj.close()


async def with_asyncio(listener):
    async def one(reader, writer):
        try:
            while data := await reader.read(100):
                writer.write(data.upper())
                await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(one, sock=listener)
    async with server:
        await server.serve_forever()


SERVERS = [one_by_one, a_thread_for_each, with_selectors, with_asyncio]


@pytest.mark.parametrize("serve", SERVERS)
def test_it_serves_and_ends(serve):
    with serving(serve) as server:
        assert repr(server) == f"serving({serve.__name__}): listens on 127.0.0.1"
        with standard.create_connection((server.host, server.port)) as client:
            client.sendall(b"hello")
            assert client.recv(100) == b"HELLO"
    assert repr(server) == f"serving({serve.__name__}): stopped"
    with pytest.raises(ConnectionRefusedError):
        standard.create_connection((server.host, server.port))


@pytest.mark.parametrize("serve", SERVERS)
def test_it_ends_while_it_has_callers_on_the_line(serve):
    server = serving(serve)
    lines = [standard.create_connection((server.host, server.port), timeout=10) for _ in range(5)]
    lines[0].sendall(b"hello")
    assert lines[0].recv(100) == b"HELLO"
    assert took(server.stop) < SOON
    for line in lines:
        try:
            assert line.recv(100) == b""  # its connections ended
        except ConnectionResetError:  # those that were still in the queue
            pass
        line.close()
    with standard.create_server((server.host, server.port)):
        pass


@pytest.mark.parametrize("serve", SERVERS)
def test_a_role_that_calls_it_gets_its_answer_in_the_same_cell(serve, cell, stage):
    server = serving(serve)
    stage._namespace.update(host=server.host, port=server.port)
    assert cell("client", "client = socket.create_connection((host, port))") == ""
    assert cell("client", "client.sendall(b'hello')\nclient.recv(100)") == "client │ b'HELLO'"
    assert took(lambda: cell("client", "client.recv(100)")) < SOON
    assert cell("server", "1") == "server │ 1\nclient │ … waits in recv()"
    server.stop()


@pytest.mark.parametrize("serve", SERVERS)
def test_a_caller_hears_all_of_it(serve):
    Stage("client", namespace={})
    server = serving(serve)
    caller = callers.polite((server.host, server.port))
    assert caller.heard == b"HELLO"


def test_what_it_prints_appears_in_the_cell(cell, stage):
    def serve(listener):
        for _ in range(2):
            connection, _ = listener.accept()
            print("somebody called")
            connection.close()

    server = serving(serve, name="shop")
    stage._namespace.update(address=(server.host, server.port))
    assert cell("client", "socket.create_connection(address).close()") == "shop │ somebody called"
    with standard.create_connection((server.host, server.port)):
        server._thread.join(10)
    assert cell("client", "1") == "client │ 1\nshop   │ somebody called"


def test_its_error_is_shown_and_raised_at_the_end(cell, stage):
    def serve(listener):
        connection, _ = listener.accept()
        connection.close()
        raise LookupError("no such thing")

    with pytest.raises(LookupError, match="no such thing"), serving(serve) as server:
        stage._namespace.update(address=(server.host, server.port))
        assert cell("client", "socket.create_connection(address).close()").startswith(
            "server │ failed with LookupError: no such thing"
        )
    assert isinstance(server.error, LookupError)


def test_an_error_in_a_coroutine():
    async def serve(listener):
        raise LookupError("no such thing")

    with pytest.raises(LookupError, match="no such thing"), serving(serve) as server:
        server._thread.join(10)


def test_an_error_of_the_block_comes_first():
    def serve(listener):
        raise LookupError("no such thing")

    with pytest.raises(ZeroDivisionError) as caught, serving(serve) as server:
        server._thread.join(10)
        1 / 0  # noqa: B018
    assert caught.value.__notes__ == ["The server failed with LookupError: no such thing"]


def test_a_second_with():
    with serving(one_by_one) as server:
        pass
    with pytest.raises(RuntimeError, match=r"this server has stopped: make a new one with serving\(...\)"), server:
        pass
    server.stop()


def test_it_ends_with_the_stage(stage):
    server = serving(a_thread_for_each)
    line = standard.create_connection((server.host, server.port))
    line.sendall(b"hello")
    assert line.recv(100) == b"HELLO"
    assert took(lambda: Stage("client", namespace={})) < SOON
    assert line.recv(100) == b""
    line.close()


def test_it_ends_with_the_next_stage_if_it_began_between_two(stage):
    stage.close()
    server = serving(one_by_one)
    caller = callers.silent((server.host, server.port))
    Stage("server", namespace={})
    assert repr(server) == "serving(one_by_one): stopped" and not server.sockets()
    assert not caller.is_on_the_line


def test_a_role_may_stop_it(cell, stage):
    stage._namespace["server"] = server = serving(one_by_one)
    assert (
        cell(
            "client",
            "server.stop()\nsocket.create_connection((server.host, server.port))".replace("\n", "\ntry: ")
            + "\nexcept ConnectionRefusedError: print('refused')",
        )
        == "client │ refused"
    )
    assert not server._thread.is_alive()


@pytest.mark.parametrize("line", ["time.sleep(60)", "while True: pass", "block.acquire()"])
def test_a_server_that_is_busy_when_it_is_stopped(line, monkeypatch):
    names = {"time": time, "block": threading.Lock(), "__name__": "__main__"}
    names["block"].acquire()
    exec(f"def serve(listener):\n    began.set()\n    {line}", names)
    names["began"] = threading.Event()
    server = serving(names["serve"])
    assert names["began"].wait(10)
    assert took(server.stop) < SOON
    with standard.create_server((server.host, server.port)):
        pass
    names["block"].release()
    if "sleep" in line:
        AT_REST.append(server._thread)
    else:
        server._thread.join(10)


IGNORES = """
import asyncio

def serve(listener):
    while True:
        try:
            listener.accept()
        except BaseException:
            pass

async def serve_loop(listener):
    while True:
        try:
            await asyncio.sleep(0.01)
        except BaseException:
            pass
"""


@pytest.mark.parametrize("name", ["serve"])
def test_a_server_that_ignores_its_end(name):
    names = {"__name__": "__main__"}
    exec(IGNORES, names)
    server = serving(names[name])
    assert took(server.stop) < SOON
    assert not server.sockets()
    AT_REST.append(server._thread)


def test_a_thread_of_a_server_that_has_just_begun(capfd):
    """Its connection is closed under its hands; it ends without a word."""
    for _ in range(20):
        server = serving(a_thread_for_each)
        with standard.create_connection((server.host, server.port)):
            while len(server.sockets()) < 2:
                pass
            server.stop()


def test_a_busy_server_holds_a_cell_up_once(cell, stage, monkeypatch):
    """Its thread is out of sight; after `SHORT` seconds nobody waits for it any more."""
    monkeypatch.setattr("helpers.gate.SHORT", 0.3)
    block = threading.Lock()
    block.acquire()
    server = serving(lambda listener: block.acquire())
    assert took(lambda: cell("client", "print('first')")) < SOON
    monkeypatch.setattr("helpers.gate.SHORT", 60)
    assert took(lambda: cell("client", "print('second')")) < SOON
    block.release()
    server.stop()


def test_a_tls_server_in_the_middle_of_a_handshake():
    def serve(listener):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        connection, _ = listener.accept()
        began.set()
        context.wrap_socket(connection, server_side=True)

    began = threading.Event()
    server = serving(serve)
    with standard.create_connection((server.host, server.port)):
        assert began.wait(10)
        assert took(server.stop) < SOON
        server._thread.join(10)
        assert not server._thread.is_alive()


def test_the_record_of_a_server_is_ordered_by_what_is_certain(cell, stage):
    server = serving(a_thread_for_each)
    stage._namespace.update(address=(server.host, server.port))
    for _ in range(10):
        cell(
            "client", "client = socket.create_connection(address)\nclient.sendall(b'x')\nclient.recv(1)\nclient.close()"
        )
    server.stop()
    order = stage.recording.ordered()
    place = {id(event.call): n for n, event in enumerate(order) if not event.waits}
    for event in order:
        for source in event.call.sources():
            assert place[id(source)] < place[id(event.call)]


def test_an_error_in_a_task_is_told_without_its_group():
    async def serve(listener):
        async with asyncio.TaskGroup() as calls:
            calls.create_task(no_such_name(listener))  # noqa: F821

    with pytest.raises(NameError, match="no_such_name"), serving(serve) as server:
        server._thread.join(10)

    async def fails(problem):
        raise problem

    async def differently(listener):
        async with asyncio.TaskGroup() as calls:
            for problem in (ValueError(), KeyError()):
                calls.create_task(fails(problem))

    with pytest.raises(ExceptionGroup), serving(differently) as server:
        server._thread.join(10)


@pytest.mark.parametrize("serve", [with_asyncio, asyncio_streams, asyncio_protocol])
def test_a_call_that_comes_as_it_stops(stage, serve, caplog):
    """An event loop gives it to a wait that is cancelled, and logs that, where it still looks at its listener."""
    for _ in range(40):
        with serving(serve) as server:
            call = socket.create_connection((server.host, server.port))
        call.close()
    assert not caplog.records


@pytest.mark.parametrize("serve", [selector_loop, asyncio_streams])
def test_event_loops_in_several_threads_are_all_woken_to_end(serve):
    """A call wakes the one that takes it; to close the listener wakes none."""

    def begin(listener):
        asyncio.run(serve(listener)) if asyncio.iscoroutinefunction(serve) else serve(listener)

    def serve_all(listener):
        threads.extend(threading.Thread(target=begin, args=[listener], daemon=True) for _ in range(3))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    for count in (0, 1, 5):
        threads: list[threading.Thread] = []
        server = serving(serve_all)
        gate.until(lambda: len([actor for actor in gate.others if actor.selects()]) == 3, limit=10)
        lines = [standard.create_connection((server.host, server.port), timeout=10) for _ in range(count)]
        for line in lines:
            assert line.recv(100) == GREETING
        server.stop()
        for thread in (*threads, server._thread):  # (they are not told once more: whoever sleeps now sleeps for good)
            thread.join(10)
            assert not thread.is_alive()
        for line in lines:
            line.close()


def test_many_threads_cost_few_descriptors():
    assert len(gate.watchers) == 0
    assert socket is recorded_socket
