"""The strategies that are programs of their own: processes, which a notebook must not make, and servers in C."""

from __future__ import annotations

import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from helpers import Program, compile_c
from helpers.exercises.conformance import Call, answers, conforms, others_go_on
from helpers.strategies import GREETING

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
DEADLINE = 20.0  # seconds; nothing waits for it when all is well

linux = pytest.mark.skipif(sys.platform != "linux", reason="it is written for Linux")
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork(2)")
compiled = pytest.mark.skipif(
    sys.platform == "win32" or not any(map(shutil.which, ("cc", "gcc", "clang"))),
    reason="no C compiler here, or Windows, for which the C programs are not written",
)
SERVERS = [
    pytest.param("process_per_caller.py", marks=posix),
    pytest.param("two_processes.py", marks=linux),
    pytest.param("one_at_a_time.c", marks=compiled),
    pytest.param("epoll_loop.c", marks=[compiled, linux]),
]
FEW = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
os.execv(sys.argv[2], sys.argv[2:])
"""


def command(name: str) -> list[object]:
    if name.endswith(".py"):
        return [sys.executable, NOTEBOOKS / "scripts" / name]
    return [compile_c(NOTEBOOKS / "c" / name, "-O2", "-Werror")]


def address_of(program: Program) -> tuple[str, int]:
    words, _, port = program.line().rpartition(" ")
    assert words == "listening on port", words + port
    return "127.0.0.1", int(port)


@pytest.mark.parametrize("name", SERVERS)
def test_it_conforms(name):
    program = Program(*command(name))
    try:
        conforms(address_of(program), several=name != "one_at_a_time.c")
    finally:
        program.end()


@pytest.mark.parametrize("name", SERVERS)
def test_it_listens_where_it_is_told_to(name):
    first = Program(*command(name))
    port = address_of(first)[1]
    first.end()
    again = Program(*command(name), port)
    try:
        assert address_of(again)[1] == port
        others_go_on(("127.0.0.1", port))
    finally:
        again.end()


@pytest.mark.parametrize("name", [SERVERS[1], SERVERS[3]])  # the others have one call open at a time
def test_more_callers_than_descriptors(name):
    """Those who are on the line are served, the others as soon as these have left."""
    program = Program(sys.executable, "-c", FEW, 30, *command(name))
    try:
        address = address_of(program)
        with ExitStack() as first, ExitStack() as later:
            for _ in range(10):
                first.enter_context(Call(address))
            calls = [first.enter_context(Call(address, greeted=False)) for _ in range(40)]
            calls += [later.enter_context(Call(address, greeted=False)) for _ in range(10)]
            for call in calls:
                call.say(b"how are you\n")
            first.close()
            for call in calls[40:]:
                call.expect(GREETING + answers(b"how are you"))
        others_go_on(address)
    finally:
        program.end()


@posix
def test_a_process_for_every_caller_ends_with_the_call():
    program = Program(*command("process_per_caller.py"))
    try:
        address, parent = address_of(program), psutil.Process(program._process.pid)
        with ExitStack() as lines:
            calls = [lines.enter_context(Call(address)) for _ in range(3)]
            children = parent.children()
            assert len(children) == 3
            program.end()
            for call in calls:  # who ends the parent ends no call
                call.say(b"still there?\n")
                call.expect(answers(b"still there?"))
        _, left = psutil.wait_procs(children, DEADLINE)
        assert not left
    finally:
        program.end()


@posix
def test_no_zombie_is_left():
    program = Program(*command("process_per_caller.py"))
    try:
        address, parent = address_of(program), psutil.Process(program._process.pid)
        with Call(address):
            (child,) = parent.children()
        psutil.wait_procs([child], DEADLINE)
        assert not child.is_running()
        assert not parent.children()
    finally:
        program.end()


@linux
def test_two_processes_end_together():
    program = Program(*command("two_processes.py"))
    try:
        address, parent = address_of(program), psutil.Process(program._process.pid)
        children = parent.children()
        assert len(children) == 1
        with ExitStack() as lines:
            for _ in range(5):
                lines.enter_context(Call(address))
            program.end()
            _, left = psutil.wait_procs(children, DEADLINE)
            assert not left
    finally:
        program.end()


@linux
def test_both_processes_get_callers():
    """The kernel deals out by the callers' ports: of a hundred, both get some."""
    program = Program(*command("two_processes.py"))
    try:
        address, parent = address_of(program), psutil.Process(program._process.pid)
        with ExitStack() as lines:
            for _ in range(100):
                lines.enter_context(Call(address))
            for process in (parent, *parent.children()):
                assert any(c.status == psutil.CONN_ESTABLISHED for c in process.net_connections())
    finally:
        program.end()
