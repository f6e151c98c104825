"""Callers held by the hundred: how far it came, what stopped it, and that nothing stays."""

from __future__ import annotations

import errno
import functools
import os
import re
import socket
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import psutil
import pytest
import subjects

from helpers.racing import exchange, load
from helpers.racing.apart import Apart
from helpers.racing.contestants import Server
from helpers.racing.exchange import HOW_TO_RAISE, Exchange, Limit
from helpers.racing.hold import HoldResult, hold
from helpers.racing.load import Hold

TESTS = Path(__file__).parent
hold_module = import_module("helpers.racing.hold")  # in the package, its name is the function's


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Holds are short, and no process of theirs is left."""
    monkeypatch.setenv("COURSE_QUICK", "1")
    monkeypatch.setattr(hold_module, "PATIENCE", 360)  # a sixth of it, as they are short
    monkeypatch.setattr(hold_module, "TO_ANSWER", 60)
    yield
    assert not psutil.Process().children(recursive=True)


@pytest.mark.parametrize("subject", [subjects.a_thread_each, subjects.in_a_loop])
def test_all_are_held_and_answered(subject):
    found = hold(subject, callers=150)
    assert (found.strategy, found.wanted, found.held, found.answered) == (subject.__name__, 150, 150, 150)
    assert found.limit == found.why == "" and found.seconds > 0 and found.speaking > 0
    assert found.memory is None or found.memory >= 0
    assert repr(found).startswith(f"{subject.__name__}: held 150 of 150 callers, and answered 150\n  dialled in ")
    assert "stopped" not in repr(found)


def test_quick_holds_fewer():
    assert hold(subjects.in_a_loop).wanted == 200


@pytest.mark.parametrize(
    ("subject", "held", "answered", "words"),
    [
        (subjects.in_turn, 1, 1, "it greeted, or answered, no more callers"),
        (subjects.accepts_nobody, 0, 0, "it greeted, or answered, no more callers"),
        (subjects.keeps_few, 4, 4, "it greeted, or answered, no more callers"),  # the first was there to warm it up
        (subjects.never_answers, 30, 0, "it greeted, or answered, no more callers"),
        (subjects.crashes_at_once, 0, 0, "ended: LookupError: no such thing"),
        (subjects.crashes_in_its_threads, 30, 0, "hung up on caller"),
        (subjects.vanishes, 0, 0, "ended: its process is gone"),
    ],
)
def test_a_strategy_that_stops_it(subject, held, answered, words, monkeypatch):
    monkeypatch.setattr(hold_module, "PATIENCE", 12 if held else 1.2)  # how long one waits for who will not come
    if not answered:
        monkeypatch.setattr(hold_module, "TO_ANSWER", 0.2)
    found = hold(subject, callers=30)
    assert (found.held, found.answered, found.limit) == (held, answered, "the strategy")
    assert found.why.startswith(words) and f"stopped by the strategy: {found.why}" in " ".join(repr(found).split())


def test_one_that_mixes_up():
    found = hold(subjects.mixes_up, callers=30)
    assert found.held == 30 and found.answered < 30 and found.why.startswith("mixes its callers up: caller")


def test_a_polite_refusal():
    found = hold(functools.partial(subjects.has_room_for, room=10), callers=30)
    assert (found.held, found.answered, found.limit) == (10, 10, "the strategy")
    assert re.match(r"greeted caller \d+ with b'all lines are busy\\n', and others with b'who is", found.why)


def test_a_script():
    found = hold(TESTS / "subjects.py", callers=20)
    assert (found.strategy, found.held, found.answered) == ("subjects", 20, 20)


def test_who_is_dropped_leaves_nothing():
    """No calls that have ended stand in the kernel's table for a minute, for all who read it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        callers = Hold(*listener.getsockname(), 2)
        for caller in callers.callers:
            callers.dial(caller)
        ends = [listener.accept()[0] for _ in callers.callers]
        callers.drop()
        callers.leave()
        for end in ends:
            end.settimeout(30)
            with end, pytest.raises(ConnectionResetError):
                end.recv(1)


def test_the_patience_with_those_who_do_not_come_is_not_counted(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(load, "clock", lambda: now[0])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        callers = Hold(*listener.getsockname(), 2)
        heard = []

        def one_is_heard(patience):
            now[0] += patience if heard else 1.0
            if not heard:
                heard.append(callers.callers[0])
                yield heard[0], True

        monkeypatch.setattr(callers, "heard", one_is_heard)
        dialled = callers.dial_all(5.0, lambda told: None)
        assert (dialled["held"], dialled["seconds"]) == (1, 1.0)
        heard.clear()
        callers.held *= 2  # two wait for an answer
        monkeypatch.setattr(callers, "say", lambda *what: None)
        monkeypatch.setattr(callers.selector, "register", lambda *what: None)
        spoke = callers.speak_all(5.0)
        assert (spoke["answered"], spoke["seconds"]) == (1, 1.0)
        callers.drop()
        callers.leave()


# ---------------------------------------------------------------------- limits of the machine


def test_no_more_descriptors():
    pytest.importorskip("resource")
    code = (
        f"import resource, sys; sys.path.insert(0, {str(TESTS)!r}); import subjects; from helpers import hold\n"
        "sys.modules['helpers.racing.hold'].PATIENCE = 360\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (100, 120))\n"
        "found = hold(subjects.a_thread_each, callers=200); print(found.held, found.limit); print(found.why)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    first, why = done.stdout.splitlines()
    held, limit = first.split()
    assert 90 < int(held) < 120 and limit == "descriptors"
    assert "process may open 120 files" in why and "`ulimit -n 400`" in why


def lowers_its_own_limit(listener):
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
    subjects.a_thread_each(listener)


def test_no_more_descriptors_for_the_server():
    """Its limit is asked for when it is met, where the system tells."""
    pytest.importorskip("resource")
    found = hold(lowers_its_own_limit, callers=100)
    assert 20 < found.held < 40
    if sys.platform == "linux":
        assert found.limit == "descriptors" and "the server's process may open 40 files" in found.why


@pytest.mark.parametrize(("told", "may_open"), [((64, 128), 64), ((-1, -1), None), (psutil.Error(), 99)])
def test_what_a_server_may_open(told, may_open):
    class Asked(Server):
        def __init__(self):
            self.descriptors = 99

        def _all(self):
            return [self]

        def rlimit(self, resource):
            if isinstance(told, Exception):
                raise told
            return told

    if not hasattr(psutil, "RLIMIT_NOFILE"):
        may_open = 99
    assert Asked().may_open() == may_open


def test_no_more_threads():
    found = hold(functools.partial(subjects.has_threads_for, few=5), callers=30)
    assert found.held <= 4 and found.limit == "threads" and HOW_TO_RAISE["threads"] in found.why


def test_no_more_threads_for_a_strategy_that_goes_on():
    """It closes the call, and says nothing of why."""
    found = hold(functools.partial(subjects.closes_without_threads, few=5), callers=30)
    assert (found.held, found.limit) == (4, "threads") and HOW_TO_RAISE["threads"] in found.why


def test_select_looks_at_no_more_for_the_server():
    found = hold(subjects.looks_at_too_many, callers=30)
    assert (found.held, found.limit) == (0, "sockets of select()") and HOW_TO_RAISE[found.limit] in found.why


@pytest.mark.parametrize("as_a_program", [False, True])
def test_no_more_memory(as_a_program, tmp_path):
    if sys.platform == "win32":
        pytest.skip("here nothing tells that a process was killed")
    script = tmp_path / "killed.py"
    script.write_text((TESTS / "subjects.py").read_text())
    found = hold(script if as_a_program else subjects.is_killed, callers=30)
    assert (found.held, found.limit) == (0, "memory")
    words = "the system killed the server's process, as it does when memory runs out: "
    assert found.why == words + HOW_TO_RAISE["memory"]


def test_who_tells_why_it_ends_was_not_killed(monkeypatch):
    """Though it ends itself so, to take its children with it."""
    monkeypatch.setattr(Server, "give", lambda self, job: Apart.give(self, {"no job": 0}))
    found = hold(subjects.in_turn, callers=30)
    assert (found.limit, found.why) == ("the strategy", "ended: in_turn failed: KeyError: 'cpus'")


@pytest.fixture
def dialling():
    """Callers of nobody in particular."""
    callers = Exchange("127.0.0.1", 9, 3)
    yield callers
    callers.leave()


@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.EADDRINUSE])
def test_no_more_ports(dialling, monkeypatch, number):
    """All addresses of this machine that callers may dial from are tried before that is said."""
    sources = []
    monkeypatch.setattr(dialling, "connect", lambda sock: sources.append(dialling.source) or number)
    with pytest.raises(Limit, match="ports"):
        dialling.dial(dialling.callers[0])
    assert sources == [1, 2, 3, 4, 5, 6, 7, 8]
    assert dialling.callers[0].sock is None


def test_the_next_address_has_ports(dialling, monkeypatch):
    monkeypatch.setattr(dialling, "connect", lambda sock: 0 if dialling.source == 3 else errno.EADDRNOTAVAIL)
    dialling.dial(dialling.callers[0])
    dialling.dial(dialling.callers[1])
    assert dialling.source == 3 and dialling.in_line == 2


def test_callers_dial_from_another_address(dialling):
    if sys.platform != "linux":
        pytest.skip("only Linux has these addresses without being asked for them")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dialling.address, dialling.source = listener.getsockname(), 5
        dialling.dial(dialling.callers[0])
        connection, address = listener.accept()
        assert address[0] == "127.0.0.5"
        connection.close()


@pytest.mark.parametrize(
    ("number", "limit"),
    [(errno.EMFILE, "descriptors"), (errno.ENFILE, "descriptors of all processes"), (errno.ENOMEM, "memory")],
)
def test_no_more_sockets(dialling, monkeypatch, number, limit):
    def no_socket():
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(exchange.socket, "socket", no_socket)
    with pytest.raises(Limit, match=f"^{limit}$"):
        dialling.dial(dialling.callers[0])
    assert limit in HOW_TO_RAISE


def test_select_looks_at_no_more_for_the_callers(monkeypatch):
    monkeypatch.setattr(exchange.selectors, "DefaultSelector", exchange.selectors.SelectSelector)
    monkeypatch.setattr(exchange, "SELECT", 2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        callers = Hold(*listener.getsockname(), 3)
        for caller in callers.callers[:2]:
            callers.dial(caller)
        with pytest.raises(Limit, match=r"^sockets of select\(\)$"):
            callers.dial(callers.callers[2])
        callers.drop()
        callers.leave()


# ---------------------------------------------------------------------- its form


@pytest.mark.parametrize("callers", [1, 0, -1, 50_001, 2.5])
def test_bounds(callers):
    with pytest.raises(ValueError, match="from 2 to 50,000"):
        hold(subjects.in_turn, callers=callers)


def test_one_at_a_time():
    with pytest.raises(TypeError, match="hold tries one strategy at a time"):
        hold([subjects.in_turn, subjects.in_a_loop])


def test_without_a_compiler(tmp_path, monkeypatch):
    source = tmp_path / "server.c"
    source.write_text("")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="server can't be tried: there is no C compiler here"):
        hold(source)


def test_the_result_says_all():
    found = HoldResult("s", 10_000, 250, 249, 1.25, 0.5, 1536.0, "ports", "how")
    assert repr(found) == (
        "s: held 250 of 10,000 callers, and answered 249\n"
        "  dialled in 1.2 s, a line exchanged with each in 0.5 s; 1.5 KiB of the server for each\n"
        "  stopped by ports: how"
    )
    assert "memory not known" in repr(HoldResult("s", 2, 2, 2, 0.0, 0.0, None))


@pytest.mark.parametrize("moment", range(1, 7))
def test_an_interrupt_at_any_moment(moment, monkeypatch):
    hear, heard = Apart.hear, []

    def interrupted(self, seconds):
        heard.append(self)
        if len(heard) == moment:
            raise KeyboardInterrupt
        return hear(self, seconds)

    monkeypatch.setattr(Apart, "hear", interrupted)
    with pytest.raises(KeyboardInterrupt):
        hold(subjects.with_a_child, callers=20)


def test_what_it_shows_while_it_holds(monkeypatch):
    shown = []

    class Shows:
        def __init__(self, what, steps):
            shown.append(steps)

        def __enter__(self):
            return shown.append

        def __exit__(self, *problem):
            pass

    monkeypatch.setattr(hold_module, "progress", Shows)
    hold(subjects.in_a_loop, callers=20)
    assert shown[0] == shown[-1] == 20 and shown == [20, *sorted(shown[1:])]
