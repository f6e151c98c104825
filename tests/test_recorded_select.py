"""`select.select()` that waits at the gate, beside the standard one."""

from __future__ import annotations

import contextlib
import inspect
import os
import select as standard
import socket as standard_socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from helpers import recorded_select as recorded
from helpers import recorded_socket, waits
from helpers.gate import READY, Actor, gate
from helpers.recorder import recorder
from helpers.recording import Recording

LOCAL = ("127.0.0.1", 0)
LONG = 10.0
LINUX = sys.platform == "linux"


class Player:
    """A thread that runs a function as an actor, and keeps what came of it."""

    def __init__(self, function: Callable[[], Any], name: str = "player", takes_turns: bool = False) -> None:
        self.actor = Actor(name, takes_turns=takes_turns, ending=KeyboardInterrupt)
        self.result: Any = None
        self.error: BaseException | None = None
        self._function = function
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.actor.alive = self._thread.is_alive
        if takes_turns:
            self.actor.state = READY
            gate.join(self.actor)
        self._thread.start()

    def _run(self) -> None:
        def act() -> None:
            self.result = self._function()

        self.error = gate.perform(self.actor, act)
        gate.release(self.actor)
        gate.leave(self.actor)

    def join(self) -> Any:
        self._thread.join(LONG)
        assert not self._thread.is_alive(), "it still runs"
        if self.error is not None:
            raise self.error
        return self.result

    def end(self) -> None:
        """End it: it is gone in less than half a second."""
        started = time.monotonic()
        gate.end(self.actor)
        self._thread.join(LONG)
        assert not self._thread.is_alive(), "it could not be ended"
        assert time.monotonic() - started < 0.5


def until_waiting(count: int = 1) -> None:
    gate.until(lambda: len(gate.waiting) >= count, LONG)
    assert len(gate.waiting) >= count, "nobody waits at the gate"


@pytest.fixture(autouse=True)
def record() -> Iterator[Recording]:
    """A record of its own for each test; and after it nobody is left at the gate."""
    before, threads = recorder.recording, set(threading.enumerate())
    recorder.recording = Recording()
    yield recorder.recording
    recorder.recording = before
    assert not gate.waiting
    assert not gate.order
    assert set(threading.enumerate()) <= threads


@pytest.fixture(params=["poll", "no poll"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "no poll":

        class Select:
            select = staticmethod(standard.select)

        monkeypatch.setattr(waits, "select", Select)


@pytest.fixture(params=[False, True], ids=["thread", "role"])
def takes_turns(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


Pair = tuple[recorded_socket.socket, recorded_socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Both ends of a connection."""
    with recorded_socket.create_server(LOCAL) as listener:
        one = recorded_socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    with one, other:
        yield one, other


def tried(call: Callable[..., Any], *args: Any) -> Any:
    try:
        return call(*args)
    except Exception as error:
        return type(error), getattr(error, "errno", None), error.args


def test_every_public_name() -> None:
    theirs = {name for name in dir(standard) if not name.startswith("_")}
    assert theirs <= vars(recorded).keys()
    assert dir(recorded) == dir(standard)
    assert {name for name in theirs if getattr(recorded, name) is not getattr(standard, name)} == {"select"}
    assert hasattr(recorded, "poll") == hasattr(standard, "poll")
    expected = [(p.kind, p.default) for p in inspect.signature(standard.select).parameters.values()]
    assert [(p.kind, p.default) for p in inspect.signature(recorded.select).parameters.values()] == expected


@pytest.mark.usefixtures("system")
def test_what_is_ready(pair: Pair, takes_turns: bool) -> None:
    one, other = pair

    def play() -> None:
        assert recorded.select([one, other], [one], []) == ([], [one], [])
        assert recorded.select((other,), (), (), 0) == ([], [], [])
        one.sendall(b"x")
        for timeout in (None, 0, LONG, 1):
            assert recorded.select([one, other], [], [], timeout) == ([other], [], [])
        assert recorded.select([other.fileno(), other], [other], [one]) == ([other.fileno(), other], [other], [])
        assert recorded.select(iter([other]), {other}, (x for x in ())) == ([other], [other], [])

    Player(play, takes_turns=takes_turns).join()


@pytest.mark.usefixtures("system")
def test_errors(pair: Pair, takes_turns: bool) -> None:
    one, other = pair
    closed = standard_socket.socket()
    closed.close()
    fcntl = pytest.importorskip("fcntl")
    nobodys = fcntl.fcntl(one.fileno(), fcntl.F_DUPFD, one.fileno() + 50)  # one that nothing has open; never another's
    os.close(nobodys)
    wrong: list[tuple[Any, ...]] = [
        (5, [], []),
        ([], None, []),
        (["x"], [], []),
        ([None], [], []),
        ([closed], [], []),
        ([], [closed], [], 0),
        ([one], [closed], [], 1),
        ([-1], [], []),
        ([nobodys], [], [], 0),
        ([1 << 20], [], [], 0),
        ([other], [], [], "x"),
        ([other], [], [], -1),
        ([other], [], [], float("nan")),
        ([other], [], [], 1e300),
        ([other], [], [], object()),
        ([one],),
        ([], [], [], 0, 0),
    ]
    for args in wrong:
        expected = tried(standard.select, *args)
        assert isinstance(expected[0], type), args
        got = Player(lambda args=args: tried(recorded.select, *args), takes_turns=takes_turns).join()
        if len(args) in (3, 4):
            assert got == expected, args
        else:  # what it says of a wrong number of arguments is Python's own
            assert got[0] is expected[0]


@pytest.mark.usefixtures("system")
def test_it_waits(pair: Pair, takes_turns: bool, record: Recording) -> None:
    one, other = pair
    other.settimeout(None)  # here its name is learnt
    for timeout in (None, LONG):
        for what in (other, other.fileno()):
            del record.events[:]
            player = Player(lambda: recorded.select([what], [], [], timeout), "server", takes_turns)  # noqa: B023
            until_waiting()
            standard_socket.socket.send(one, b"x")
            assert player.join() == ([what], [], [])
            calls = [(event.waits, event.call.name, event.call.args, event.call.result) for event in record.events]
            told = (["other"], timeout) if what is other else ([], timeout)
            result = ["other"] if what is other else []
            assert calls[-1] == (False, "select", told, result)
            assert len(calls) == 1 + takes_turns
            assert other.recv(1) == b"x"


@pytest.mark.usefixtures("system")
def test_a_time_out(pair: Pair, takes_turns: bool, record: Recording) -> None:
    def poll_it() -> Any:
        started = time.monotonic()
        assert recorded.select([pair[0]], [], [pair[1]], 0.02) == ([], [], [])
        assert recorded.select([], [], [], 0.01) == ([], [], [])
        assert 0.025 < time.monotonic() - started < LONG
        for _ in range(6):
            assert recorded.select([pair[0]], [], [], 0.001) == ([], [], [])

    Player(poll_it, "poller", takes_turns).join()
    events = [event for event in record.events if event.call.role == "poller"]
    # a poll that finds nothing again and again is told twice
    assert [(event.call.name, event.waits) for event in events] == (
        [("select", True), ("select", False)] * 2 if takes_turns else [("select", False)] * 2
    )


@pytest.mark.usefixtures("system")
def test_it_can_be_ended(pair: Pair, takes_turns: bool, record: Recording) -> None:
    for lists in (([pair[0]], [], []), ([pair[0], pair[1].fileno()], [], [pair[0]]), ([], [], [])):
        for timeout in (None, LONG):
            player = Player(lambda: recorded.select(*lists, timeout), "server", takes_turns)  # noqa: B023
            until_waiting()
            player.end()
            assert type(player.error) is KeyboardInterrupt
            assert type(record.events[-1].call.error) is KeyboardInterrupt


@pytest.mark.usefixtures("system")
def test_closing_in_another_thread_wakes_it(pair: Pair, takes_turns: bool) -> None:
    player = Player(lambda: recorded.select([pair[0]], [], []), takes_turns=takes_turns)
    until_waiting()
    pair[0].close()
    with pytest.raises(ValueError, match="negative"):
        player.join()


@pytest.mark.usefixtures("system")
def test_waiting_to_write(takes_turns: bool) -> None:
    one, other = recorded_socket.socketpair()  # (what is in TCP's buffers moves on by itself)
    with one, other:
        one.setblocking(False)
        count = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                count += one.send(b"x" * 100_000)
        player = Player(lambda: recorded.select([], [one], []), takes_turns=takes_turns)
        until_waiting()
        while count:
            count -= len(standard_socket.socket.recv(other, 1 << 20))
        assert player.join() == ([], [one], [])


@pytest.mark.skipif(not LINUX, reason="elsewhere what is only exceptional ends no wait")
@pytest.mark.usefixtures("system")
def test_waiting_for_what_is_exceptional(pair: Pair, takes_turns: bool) -> None:
    """Urgent data (tcp(7): MSG_OOB)."""
    one, other = pair
    for lists in (([], [], [other]), ([other], [], [other, other]), ([one], [], [other.fileno()])):
        player = Player(lambda: recorded.select(*lists), takes_turns=takes_turns)  # noqa: B023
        until_waiting()
        standard_socket.socket.send(one, b"!", standard_socket.MSG_OOB)
        found = player.join()
        assert found == standard.select(*lists, 0)
        assert found[2]
        assert standard_socket.socket.recv(other, 1, standard_socket.MSG_OOB) == b"!"


def test_two_who_wait_for_the_same(pair: Pair) -> None:
    """Who comes too late goes on waiting: select() without a time-out never finds nothing."""
    one, other = pair

    def take() -> bytes:
        got = b""
        while not got:
            found = recorded.select([other], [], [])
            assert found == ([other], [], [])
            with contextlib.suppress(BlockingIOError):
                got = other.recv(1)
        return got

    other.setblocking(False)
    players = [Player(take) for _ in range(2)]
    until_waiting(2)
    one.send(b"a")
    one.send(b"b")
    assert sorted(player.join() for player in players) == [b"a", b"b"]


def test_a_loop_of_two_roles(record: Recording) -> None:
    """A server that serves two callers by select(), and a client with both calls."""

    def serve() -> list[bytes]:
        said = []
        with recorded_socket.create_server(LOCAL) as listener:
            address.append(listener.getsockname())
            calls = [listener]
            while len(calls) > 1 or not said:
                ready, _, _ = recorded.select(calls, [], [])
                for sock in ready:
                    if sock is listener:
                        calls.append(listener.accept()[0])
                    elif data := sock.recv(100):
                        said.append(data)
                    else:
                        sock.close()
                        calls.remove(sock)
        return said

    def call() -> None:
        callers = [recorded_socket.create_connection(address[0]) for _ in range(2)]
        for n, caller in enumerate(callers):
            caller.sendall(b"from %d" % n)
        for caller in callers:
            caller.close()

    address: list[Any] = []
    server = Player(serve, "server", takes_turns=True)
    until_waiting()
    client = Player(call, "client", takes_turns=True)
    client.join()
    assert server.join() == [b"from 0", b"from 1"]
    names = [event.call.name for event in record.events if event.call.role == "server"]
    assert names.count("select") >= 3
    assert next(event.waits for event in record.events if event.call.name == "select")
