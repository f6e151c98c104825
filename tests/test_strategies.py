"""The strategies of Part II: what they say, to whom, and that nothing of them is left."""

from __future__ import annotations

import gc
import signal
import socket as standard
import subprocess
import sys
import threading
from contextlib import ExitStack
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timing import SOON, took

from helpers import Program, recorded_socket, serving, strategies
from helpers.exercises.conformance import Call, answers, conforms, others_go_on
from helpers.strategies import GREETING, LIMIT, STRATEGIES, Conversation, one_at_a_time, thread_per_caller, thread_pool

SOURCE = strategies.__file__
WIDE = [serve for serve in STRATEGIES if serve is not one_at_a_time]


def run(name: str, *numbers: int) -> Program:
    return Program(sys.executable, "-P", SOURCE, name, *numbers)


def port_of(program: Program) -> int:
    words, _, port = program.line().rpartition(" ")
    assert words == "listening on port", words + port
    return int(port)


# ---------------------------------------------------------------------- what is said


def said(*pieces: bytes) -> tuple[bytes, bool]:
    conversation = Conversation()
    heard = []
    for piece in pieces:
        if not conversation.over:
            heard.append(conversation.hear(piece))
        assert len(conversation.rest) <= LIMIT or conversation.over
    return b"".join(heard), conversation.over


def test_lines_are_answered_with_their_numbers():
    assert said(b"how are you\n", b"fine\r\n", b"\n") == (b"1 how are you\n2 fine\n3 \n", False)
    assert said(b"one\nquit\ntwo\n") == (b"1 one\nbye\n", True)
    assert said(b"one\nhalf", b"") == (b"1 one\n", True)
    assert said(b"") == (b"", True)
    assert said(b"quit") == (b"", False)


def test_a_line_has_a_limit():
    assert said(b"x" * LIMIT) == (b"", False)
    assert said(b"x" * LIMIT + b"\n") == (b"1 " + b"x" * LIMIT + b"\n", False)
    assert said(b"x" * (LIMIT + 1)) == (b"", True)
    assert said(b"one\n" + b"x" * (LIMIT + 1) + b"\ntwo\n") == (b"1 one\n", True)
    assert said(*[b"x"] * (LIMIT + 2)) == (b"", True)


@given(st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"a", b"quit", b"\nquit\n", b"x" * LIMIT])), st.data())
def test_it_may_be_cut_anywhere(parts, data):
    stream = b"".join(parts)
    cut = st.integers(0, len(stream))
    places = sorted({0, len(stream), *data.draw(st.lists(cut, max_size=8))})
    pieces = [stream[a:b] for a, b in pairwise(places)]
    whole, over = said(stream, b"")
    assert said(*pieces, b"") == (whole, over)


# ---------------------------------------------------------------------- to every caller


@pytest.mark.parametrize("serve", STRATEGIES)
def test_it_conforms_recorded(serve):
    with serving(serve) as server:
        conforms((server.host, server.port), several=serve is not one_at_a_time)


@pytest.mark.parametrize("serve", STRATEGIES)
def test_it_conforms_as_a_program(serve):
    program = run(serve.__name__)
    try:
        conforms(("127.0.0.1", port_of(program)), several=serve is not one_at_a_time)
    finally:
        program.end()


# ---------------------------------------------------------------------- and at its end, nothing is left


def on_the_line(address, serve) -> ExitStack:
    """Callers of every kind: one that does not read, silent ones, one in the middle of a line."""
    lines = ExitStack()
    for said in (b"one\n", b"half", b""):  # (where there is one at a time, all but the first are in the queue)
        lines.enter_context(Call(address, greeted=serve is not one_at_a_time or said == b"one\n")).say(said)
    if serve is not one_at_a_time:
        lines.enter_context(Call(address)).say_until_it_waits()
    return lines


@pytest.mark.parametrize("serve", STRATEGIES)
def test_it_ends_with_callers_on_the_line(serve):
    before = set(threading.enumerate())
    server = serving(serve)
    with on_the_line((server.host, server.port), serve):
        assert took(server.stop) < SOON
    assert server.error is None
    assert not server.sockets()
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()
    gc.collect()  # a task that was forgotten would be told of here, and fail the test


@pytest.mark.parametrize("serve", STRATEGIES)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process alone")
def test_ctrl_c_ends_a_program_with_callers_on_the_line(serve):
    program = subprocess.Popen(
        [sys.executable, "-P", "-W", "error", SOURCE, serve.__name__],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with program:
        try:
            port = int(program.stdout.readline().split()[-1])
            with on_the_line(("127.0.0.1", port), serve):
                program.send_signal(signal.SIGINT)
                assert program.wait(20) == 0
                assert program.stdout.read() == ""
        finally:
            program.kill()


# ---------------------------------------------------------------------- no room

FULL = """
import asyncio, errno, inspect, os, resource, socket, sys, threading, time
from importlib.util import module_from_spec, spec_from_file_location

spec = spec_from_file_location("strategies", sys.argv[1])
strategies = module_from_spec(spec)
spec.loader.exec_module(strategies)
serve = getattr(strategies, sys.argv[2])


class Listener(socket.socket):
    "At its first call it uses up all descriptors; after ten of a thread's that failed for that, it gives them back."
    held, failed, first, last = [], {}, threading.Lock(), threading.Lock()

    def accept(self):
        if self.first.acquire(blocking=False):
            try:
                while True:
                    self.held.append(os.dup(0))
            except OSError:
                pass
        try:
            return super().accept()
        except OSError as problem:
            times = self.failed.setdefault(threading.get_ident(), [])
            times.append(time.monotonic())
            if problem.errno == errno.EMFILE and len(times) == 10 and self.last.acquire(blocking=False):
                print(times[-1] - times[0], flush=True)
                while self.held:
                    os.close(self.held.pop())
            raise


resource.setrlimit(resource.RLIMIT_NOFILE, (60, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
listener = Listener()
listener.bind(("127.0.0.1", 0))
listener.listen()
print(listener.getsockname()[1], flush=True)
asyncio.run(serve(listener)) if inspect.iscoroutinefunction(serve) else serve(listener)
"""


@pytest.mark.parametrize("serve", STRATEGIES)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no RLIMIT_NOFILE")
def test_without_descriptors_it_waits_and_does_not_spin(serve):
    """Ten tries take nine pauses at least, however fast the machine; then there is room, and all are served."""
    program = Program(sys.executable, "-c", FULL, SOURCE, serve.__name__)
    try:
        address = ("127.0.0.1", int(program.line()))
        with Call(address) as call:  # it waits in the queue for a while
            assert float(program.line()) > 9 * strategies.PAUSE * 0.9
            call.say(b"how are you\nquit\n")
            call.expect(answers(b"how are you") + b"bye\n")
        others_go_on(address)
    finally:
        program.end()


@pytest.mark.parametrize("serve", [serve for serve in WIDE if serve is not thread_pool])
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no RLIMIT_NOFILE")
def test_more_callers_than_descriptors(serve):
    """Those who are on the line are served, the others as soon as these have left."""
    limited = f"import resource, runpy, sys; sys.argv[:] = {[SOURCE, serve.__name__]!r}\n"
    limited += "resource.setrlimit(resource.RLIMIT_NOFILE, (40, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))\n"
    program = Program(sys.executable, "-P", "-c", limited + f"runpy.run_path({SOURCE!r}, run_name='__main__')")
    try:
        address = ("127.0.0.1", port_of(program))
        with ExitStack() as first, ExitStack() as later:
            for _ in range(20):
                first.enter_context(Call(address))
            calls = [first.enter_context(Call(address, greeted=False)) for _ in range(20)]
            calls += [later.enter_context(Call(address, greeted=False)) for _ in range(20)]
            for call in calls:
                call.say(b"how are you\n")
            first.close()
            for call in calls[20:]:
                call.expect(GREETING + answers(b"how are you"))
        others_go_on(address)
    finally:
        program.end()


def test_no_thread_for_a_caller(monkeypatch):
    start, told = threading.Thread.start, []

    def refuse(thread):
        if thread._target is strategies.talk and not told:
            told.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with serving(thread_per_caller) as server:
        with Call((server.host, server.port), greeted=False) as call:
            call.expect_the_end()
        others_go_on((server.host, server.port))
    assert told


@pytest.mark.parametrize("serve", STRATEGIES)
def test_a_caller_who_did_not_wait_for_accept(serve, monkeypatch):
    """Where accept() tells of it (BSD; ECONNABORTED), the next one is served."""
    accept, told = recorded_socket.socket.accept, []

    def aborted(listener):
        if not told:
            told.append(listener)
            raise ConnectionAbortedError
        return accept(listener)

    monkeypatch.setattr(recorded_socket.socket, "accept", aborted)
    with serving(serve) as server:
        others_go_on((server.host, server.port))
    assert told


@pytest.mark.parametrize("serve", [serve for serve in STRATEGIES if serve is not thread_pool])  # there, 32 raise it
def test_any_other_error_of_accept_is_raised(serve, monkeypatch):
    def broken(listener):
        raise PermissionError("not you")

    monkeypatch.setattr(recorded_socket.socket, "accept", broken)
    with pytest.raises((PermissionError, ExceptionGroup)), serving(serve) as server:
        with standard.create_connection((server.host, server.port)):
            server._thread.join(10)
