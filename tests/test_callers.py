"""Scripted callers: what they do, and that they take their turns, the same every time."""

from __future__ import annotations

import threading
import time

import pytest
from timing import SOON

from helpers import Stage, callers, serving, socket
from helpers.gate import gate

LISTEN = """
    listener = socket.create_server(("127.0.0.1", 0))
    host, port = listener.getsockname()
"""
ANSWER = """
    for _ in range({}):
        transfer, caller = listener.accept()
        print(transfer.recv(99))
        transfer.sendall(b"yes")
        transfer.close()
"""


@pytest.fixture
def address(cell, stage):
    cell("server", LISTEN)
    return stage._namespace["host"], stage._namespace["port"]


def record(stage: Stage) -> list[str]:
    """Who called what, and what came of it, without numbers that change."""
    told = []
    for event in stage.recording.events:
        call = event.call
        came = "waits" if event.waits else type(call.error).__name__ if call.error else ""
        told.append(f"{call.role} {call.name} {came}".rstrip())
    return told


def test_polite(address, cell, stage):
    cell("server", ANSWER.format(1))
    caller = callers.polite(address, b"hello")
    assert (caller.said, caller.heard, caller.error) == (b"hello", b"yes", None)
    assert repr(caller) == "caller 1: said b'hello', heard b'yes'"
    assert record(stage)[4:] == [
        "server accept waits",
        "caller 1 socket",
        "caller 1 connect",
        "caller 1 sendall",
        "caller 1 recv waits",
        "server accept",
        "server recv",
        "server sendall",
        "server close",
        "caller 1 recv",
        "caller 1 close",
    ]


def test_one_who_waits(address):
    caller = callers.polite(address)
    assert repr(caller) == "caller 1: said b'hello', waits in recv()"
    assert caller.heard == b""
    caller.hang_up()
    assert repr(caller) == "caller 1: said b'hello', heard b''"


def test_silent_stays_on_the_line_until_it_hangs_up(address, cell, stage):
    cell("server", "transfer, caller = listener.accept()\ntransfer.recv(9)")
    caller = callers.silent(address)
    assert repr(caller) == "caller 1: said b'', heard b''"
    assert stage._roles["server"].doing() == "waits in recv()"
    caller.hang_up()
    assert stage._roles["server"].doing() == ""
    assert record(stage)[-2:] == ["caller 1 close", "server recv"]
    assert cell("server", "1") == "server │ b''\n       │ 1"


@pytest.mark.parametrize("call", [lambda a: callers.rude(a), lambda a: callers.silent(a).hang_up(rudely=True)])
def test_rude_hangs_up_by_a_reset(call, address, cell):
    call(address)
    with pytest.raises(ConnectionResetError):
        cell("server", "transfer, caller = listener.accept()\nwhile transfer.recv(9): pass")


def test_nobody_there(address, cell):
    cell("server", "listener.close()")
    caller = callers.polite(address)
    assert isinstance(caller.error, ConnectionRefusedError)
    assert repr(caller) == "caller 1: said b'', failed with ConnectionRefusedError"


def test_a_crowd_is_answered_in_order(address, cell, stage, capsys):
    cell("server", ANSWER.format(5))
    capsys.readouterr()
    crowd = callers.crowd(address, 5)
    assert [caller.heard for caller in crowd] == [b"yes"] * 5
    stage._after_any_cell()
    said = capsys.readouterr().out
    assert said == "server │ b'hello from 1'\n" + "".join(f"       │ b'hello from {n}'\n" for n in range(2, 6))


def test_the_same_record_every_time():
    records = set()
    for _ in range(30):
        stage = Stage("server", "client", namespace={"socket": socket})
        names = stage._namespace
        stage.run("server", "listener = socket.create_server(('127.0.0.1', 0))\nhost, port = listener.getsockname()")
        stage.run("server", "for _ in range(6):\n    one, _ = listener.accept()\n    one.recv(9)\n    one.close()")
        silent = callers.silent((names["host"], names["port"]))
        callers.crowd((names["host"], names["port"]), 3, b"{}")
        silent.hang_up()
        callers.rude((names["host"], names["port"]))
        stage.run("client", "c = socket.create_connection((host, port))\nc.recv(9)\nc.close()")
        records.add((tuple(record(stage)), str(stage.diagram())))
    stage._clear()
    assert len(records) == 1


def test_callers_of_a_server_in_the_background():
    """Without a stage nobody takes turns."""

    def serve(listener):
        while True:
            transfer, _ = listener.accept()
            transfer.sendall(transfer.recv(99))
            transfer.close()

    with serving(serve) as server:
        crowd = callers.crowd((server.host, server.port), 20, b"{}")
        assert [caller.heard for caller in crowd] == [str(n).encode() for n in range(1, 21)]
    gate.end_all()


def test_they_end_with_the_stage(address, cell, stage):
    first, second = callers.polite(address), callers.silent(address)
    began = time.monotonic()
    Stage("server", namespace={})
    assert time.monotonic() - began < SOON
    assert first.connection.fileno() == second.connection.fileno() == -1
    for thread in threading.enumerate():
        if thread.name.startswith("caller"):
            thread.join(5)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("caller")]
    assert not gate.waiting


def test_they_are_counted_from_one_on_each_stage(address):
    callers.silent(address)
    assert callers.silent(address).name == "caller 2"
    Stage("server", namespace={})
    assert callers.Caller(address, callers._say).name == "caller 1"


def test_a_role_may_call_them_too(address, cell, stage):
    """They get their turn when the role waits."""
    stage._namespace.update(callers=callers, address=address)
    said = cell("server", "caller = callers.polite(address)\ntransfer, _ = listener.accept()\nprint(transfer.recv(9))")
    assert said == "server │ b'hello'"
    cell("server", "transfer.close()")


def test_ip_version_6():
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    caller = callers.silent(listener.getsockname()[:2], b"six")
    transfer, _ = listener.accept()
    assert transfer.recv(9) == b"six"
    caller.end()
    transfer.close()
    listener.close()
    gate.end_all()
