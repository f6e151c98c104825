"""The gate: waiting, the baton, and that the same program gives the same record every time."""

from __future__ import annotations

import gc
import random
import select
import socket as standard
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from timing import SOON, took

from helpers import Stage, StillWaiting, socket
from helpers.gate import IDLE, READY, WAITING, Actor, Ended, Gate, Wait, Wake, gate, poll
from helpers.waits import sleeps


@pytest.fixture(params=["poll", "select"])
def system(request, monkeypatch):
    """A system with poll(), and one without it, as Windows is."""
    if request.param == "select":

        class Select:
            select = staticmethod(select.select)

        monkeypatch.setattr("helpers.waits.select", Select)
    return request.param


# ---------------------------------------------------------------------- waiting


def test_poll(system):
    one, other = standard.socketpair()
    with one, other:
        assert not poll([one], [], 0)
        assert poll([], [one], 0)
        assert 0.05 <= took(lambda: poll([one], [], 0.05)) < SOON
        other.send(b"!")
        assert poll([one], [], None)
    assert poll([one], [], None)  # closed: the call says so


def test_poll_sees_a_failed_connect(system):
    with standard.socket() as nobody, standard.socket() as caller:
        nobody.bind(("127.0.0.1", 0))
        caller.setblocking(False)
        caller.connect_ex(nobody.getsockname())
        assert poll([], [caller], 5)


def test_wake(system):
    wake = Wake()
    assert not poll([wake], [], 0)
    for _ in range(100_000):  # more than its buffer holds
        wake.poke()
    assert poll([wake], [], 0)
    wake.drain()
    assert not poll([wake], [], 0)
    wake.close()
    wake.poke()
    wake.drain()


def test_what_is_certain_is_awaited_and_then_doubted(monkeypatch):
    monkeypatch.setattr("helpers.waits.GRACE", 0.05)
    one, other = standard.socketpair()
    doubts: list[bool] = []
    with one, other:
        wait = Wait("recv()", [one], [], None, lambda: not doubts, lambda: doubts.append(True))
        assert took(wait.certain) >= 0.05
        assert doubts
        other.send(b"!")
        doubts.clear()
        assert wait.certain()
        assert not doubts


def test_a_wait_knows_its_time(monkeypatch):
    wait = Wait("recv()", [], [], 0.0)
    assert wait.left() == 0
    assert Wait("recv()", [], [], None).left() is None


LOOK = """
import gc, sys, threading, time
from helpers.waits import look_into

class Knot:
    def __init__(self):
        self.me = self

    def __del__(self):
        time.sleep(0)  # another thread goes on, as when a socket is closed

def deep(n):
    return deep(n - 1) + 1 if n else 0

def work():
    while not over:
        deep(30)

over = False
thread = threading.Thread(target=work)
thread.start()
sys.setswitchinterval(1e-6)
gc.set_threshold(1)
for _ in range(300):
    places = look_into(thread.ident, lambda frame: (Knot(), frame.f_locals, frame.f_code.co_name)[-1])
assert gc.isenabled() and places[-1] == "_bootstrap"
over = True
"""


def test_looking_into_a_thread_while_there_is_garbage():
    """Python 3.11 crashes where it collects garbage in the middle of this."""
    subprocess.run([sys.executable, "-c", LOOK], check=True, timeout=60)


@pytest.mark.parametrize(("timeout", "comes", "asleep"), [(-1, False, True), (0, False, False), (-1, True, False)])
def test_who_only_looks_into_a_selector_does_not_sleep(timeout, comes, asleep):
    """An event loop with more to do looks so, and so does one whose socket has become ready a moment ago."""
    space = {"__name__": "selectors", "there": [], "over": []}  # (no call of Python code in it: it is always there)
    exec("def select(self, timeout):\n    there.append(1)\n    while not over:\n        pass", space)
    ours, peer = standard.socketpair()
    with ours, peer:
        if comes:
            peer.send(b"!")
        thread = threading.Thread(target=space["select"], args=(ours, timeout), daemon=True)
        thread.start()
        while not space["there"]:
            time.sleep(0.001)
        try:
            assert sleeps(thread.ident) is asleep
        finally:
            space["over"].append(1)
            thread.join()


PROFILED = """
import cProfile
from helpers import Stage
stage = Stage("server", namespace={"__name__": "__main__"})
stage.run("server", "1 + 1")
stage.run("server", "for n in range(100): pass")
cProfile.run("[n for n in range(100)]")
"""


def test_what_ran_in_a_role_does_not_keep_python_from_being_profiled():
    """Python 3.11 hangs there, where an exception was taken back from a thread by raising NULL in it."""
    done = subprocess.run([sys.executable, "-c", PROFILED], capture_output=True, text=True, check=True, timeout=60)
    assert "function calls" in done.stdout


# ---------------------------------------------------------------------- the baton


class Turn(threading.Thread):
    """A thread that takes turns at a gate, and says what it does."""

    def __init__(self, place: Gate, name: str, said: list[str], act) -> None:
        super().__init__(daemon=True)
        self.place, self.said, self.act = place, said, act
        self.actor = Actor(name, takes_turns=True, ending=Ended)
        self.actor.state = READY
        self.problem: BaseException | None = None

    def run(self) -> None:
        self.problem = self.place.perform(self.actor, lambda: self.act(self))
        self.place.release(self.actor)


def test_one_at_a_time_in_order():
    place, said = Gate(), []

    def act(turn: Turn) -> None:
        said.append(turn.actor.name)
        time.sleep(0.001)
        assert place.holder is turn.actor
        said.append(turn.actor.name)

    turns = [Turn(place, name, said, act) for name in "abc"]
    place.join(*(turn.actor for turn in turns))
    for turn in reversed(turns):
        turn.start()
    for turn in turns:
        turn.join(5)
    assert "".join(said) == "aabbcc"
    assert place.holder is None
    assert [turn.actor.state for turn in turns] == [IDLE] * 3


def test_who_waits_hands_the_baton_on_and_gets_it_back():
    place, said = Gate(), []
    one, other = standard.socketpair()

    def waits(turn: Turn) -> None:
        said.append("waits")
        place.wait(turn.actor, Wait("recv()", [one], [], None))
        said.append("goes on")

    def sends(turn: Turn) -> None:
        other.send(b"!")
        said.append("sends")

    turns = [Turn(place, "a", said, waits), Turn(place, "b", said, sends)]
    place.join(*(turn.actor for turn in turns))
    for turn in turns:
        turn.start()
    for turn in turns:
        turn.join(5)
    assert said == ["waits", "sends", "goes on"]
    one.close()
    other.close()


def test_who_waits_can_be_ended():
    place = Gate()
    one, other = standard.socketpair()
    turn = Turn(place, "a", [], lambda turn: place.wait(turn.actor, Wait("recv()", [one], [], None)))
    place.join(turn.actor)
    turn.start()
    place.until(lambda: turn.actor.state == WAITING, 5)
    assert place.quiet()
    place.end(turn.actor)
    turn.join(5)
    assert isinstance(turn.problem, Ended)
    assert not place.waiting
    one.close()
    other.close()


@pytest.fixture
def no_garbage():
    """Nothing is collected meanwhile: what is raised in a thread would end a finalizer that happens to run there."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_an_exception_that_comes_late_is_taken_back(no_garbage):
    """Ended again and again while it ends by itself: its thread lives on, and nothing is raised there any more."""
    place, after = Gate(), []

    def act(turn: Turn) -> None:
        place.tell()

    for _ in range(200):
        turn = Turn(place, "a", [], act)
        turn.actor.state = IDLE
        place.join(turn.actor)
        turn.start()
        while turn.is_alive():
            place.end(turn.actor)
        after.append(turn.actor.state)
        place.leave(turn.actor)
    assert set(after) == {IDLE}
    assert place.holder is None


def test_a_pool_whose_thread_has_made_a_call_is_not_waited_for_and_outlives_the_stage():
    """Its thread has no code of a learner's to end; ended all the same, it would be missing in the pool."""
    with ThreadPoolExecutor(1) as pool:
        for _ in range(2):
            stage = Stage("server", namespace={})
            near, far = socket.socketpair()
            far.sendall(b"hello")
            assert pool.submit(near.recv, 5).result(10) == b"hello"
            assert took(gate.settle) < SOON
            stage.close()


def test_threads_of_other_programs_are_not_in_the_way():
    """A thread that was never announced is counted while it lives."""
    place = Gate()
    thread = threading.Thread(target=lambda: place.current())
    thread.start()
    thread.join()
    assert place.quiet()
    assert place.others == []


# ---------------------------------------------------------------------- the same record every time

SIZES = st.sampled_from([0, 1, 5, 300, 5000])
STEPS = {
    "server": st.one_of(st.just(("accept",)), st.tuples(st.sampled_from(["send", "recv"]), st.integers(0, 2), SIZES)),
    "client": st.one_of(st.just(("connect",)), st.tuples(st.sampled_from(["send", "recv"]), st.integers(0, 2), SIZES)),
}
HANG_UP = st.tuples(st.just("close"), st.integers(0, 2))


@st.composite
def programs(draw) -> list[tuple[str, list[tuple]]]:
    """Cells of three roles, in an order; the server's first listens."""
    cells = []
    for _ in range(draw(st.integers(3, 9))):
        role = draw(st.sampled_from(["server", "client", "other"]))
        steps = STEPS["server" if role == "server" else "client"]
        cells.append((role, draw(st.lists(st.one_of(steps, steps, steps, HANG_UP), min_size=1, max_size=4))))
    opening = [("client", [("connect",), ("send", 0, 5)]), ("server", [("accept",), ("recv", 0, 300), ("send", 0, 5)])]
    return [*(opening if draw(st.booleans()) else reversed(opening)), *cells]


def code(role: str, steps: list[tuple]) -> str:
    """A cell's text.  Its sockets stand in a list; a step that has none to work on is left out."""
    lines = []
    for step in steps:
        if step[0] == "accept":
            line = f"{role}.append(listener.accept()[0])"
        elif step[0] == "connect":
            line = f"{role}.append(socket.socket()); {role}[-1].connect(address)"
        else:
            does = {"send": "sendall(bytes(n))", "recv": "recv(n)", "close": "close()"}[step[0]]
            line = f"n = {step[2] if len(step) > 2 else 0}; {role} and {role}[{step[1]} % len({role})].{does}"
        lines.append(f"try: {line}\nexcept OSError: pass")
    return "\n".join(lines)


def played(program: list[tuple[str, list[tuple]]]) -> tuple[list[str], str]:
    """Run a program; its record without the numbers that change, and its diagram."""
    names = {"socket": socket, "server": [], "client": [], "other": []}
    stage = Stage("server", "client", "other", namespace=names)
    stage.run(
        "server", "listener = socket.create_server(('127.0.0.1', 0), backlog=50)\naddress = listener.getsockname()"
    )
    for role, steps in program:
        try:
            stage.run(role, code(role, steps))
        except StillWaiting:
            pass
    record, place = [], {}
    for n, event in enumerate(stage.recording.events):
        call = event.call
        args = [arg if isinstance(arg, (int, bytes)) else type(arg).__name__ for arg in call.args]
        came = "waits" if event.waits else type(call.error).__name__ if call.error else call.result
        came = came if isinstance(came, (str, bytes, int)) else type(came).__name__
        record.append(f"{call.role} {call.end.number if call.end else 0} {call.name} {args} {came}")
        place.setdefault(id(call), n)
        for source in call.sources():
            assert event.waits or place[id(source)] < n, "received before it was sent"
    drawn = str(stage.diagram())
    stage._clear()
    return record, drawn


@contextmanager
def delays(seed: int) -> Iterator[None]:
    """Every thread pauses for up to half a millisecond before a call and before its turn."""
    chance, enter, take = random.Random(seed), gate.enter, gate.take

    def pause() -> None:
        if chance.random() < 0.5:
            time.sleep(chance.random() * 5e-4)

    def slow_enter() -> Actor:
        pause()
        actor = enter()
        pause()
        return actor

    def slow_take(actor: Actor) -> None:
        pause()
        take(actor)
        pause()

    gate.enter, gate.take = slow_enter, slow_take
    try:
        yield
    finally:
        del gate.enter, gate.take


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None)
@given(program=programs())
def test_the_same_record_whatever_the_threads_do(program):
    wanted = played(program)
    for seed in range(3):
        with delays(seed):
            assert played(program) == wanted


LESSON = [
    ("server", [("accept",), ("recv", 0, 300), ("send", 0, 5000), ("accept",), ("recv", 1, 1), ("recv", 1, 5000)]),
    ("client", [("connect",), ("send", 0, 5), ("recv", 0, 300), ("recv", 0, 5000), ("recv", 0, 5000)]),
    ("other", [("connect",), ("send", 0, 300), ("close", 0)]),
    ("server", [("send", 1, 5), ("close", 0), ("recv", 1, 5), ("accept",)]),
    ("other", [("connect",), ("send", 1, 5000), ("send", 1, 1)]),
    ("client", [("recv", 0, 1), ("close", 0)]),
    ("server", [("recv", 2, 5000), ("recv", 2, 5000), ("close", 2)]),
    ("other", [("recv", 1, 5), ("close", 1)]),
]


def test_the_same_record_with_a_busy_machine():
    """Two processes that compute, beside."""
    wanted = played(LESSON)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        for _ in range(60):
            assert played(LESSON) == wanted
    finally:
        for process in busy:
            process.kill()
            process.wait()
