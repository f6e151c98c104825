"""Processes beside the notebook: they do their jobs, and none of them stays, whatever becomes of who started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from threading import Thread

import psutil
import pytest
import subjects
from timing import SOON, took

from helpers.racing import apart
from helpers.racing.apart import Apart, Gone, Silent, none_left
from helpers.racing.contestants import BY_THE_SYSTEM, Server, contestant

START = {"do": "start", "cpus": []}


def gone(pids):
    """The processes of these numbers that are still there after a while: none."""
    living = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    _, alive = psutil.wait_procs(living, timeout=10)
    return [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []


def test_it_does_jobs_and_ends():
    with Apart("load") as load:
        assert load.ask(START, 30).keys() == {"descriptors"}
        assert load.ask({"do": "leave"}, 30) == {}
        pid = load.pid
    assert gone([pid])
    with pytest.raises(Gone, match="load has ended"):
        load.hear(1)
    load.end()


def test_it_is_gone_at_once():
    load = Apart("load")
    load.ask(START, 30)
    assert took(load.end) < SOON


def test_it_raises_its_limit_of_open_files():
    resource = pytest.importorskip("resource")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    code = (
        "import resource, sys; from helpers.racing.apart import Apart\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 128))\n"
        "with Apart('load') as load: print(load.ask({'do': 'start', 'cpus': []}, 30)['descriptors'])"
    )
    if 0 <= hard < 128:
        pytest.skip("fewer than 128 files may be open here")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout == "128\n"


def test_what_it_can_not_do_is_told():
    with Apart("load") as load:
        with pytest.raises(Gone, match="load failed: KeyError: 'do'"):
            load.ask({"what": 1}, 30)
        assert gone([load.pid])


def test_one_that_says_nothing():
    with Apart("load") as load, pytest.raises(Silent, match="load said nothing for 0 seconds"):
        load.hear(0.01)


def test_a_job_for_one_that_has_ended():
    with Apart("load") as load:
        load._process.kill()
        load._process.wait(10)
        with pytest.raises(Gone):
            load.give({"do": "x" * 200_000})  # more than the system takes for somebody who may read it later


def test_it_lives_for_a_bounded_time():
    with Apart("load", life=0.2) as load, pytest.raises(Gone, match="load has ended"):
        load.hear(30)


@pytest.mark.parametrize("subject", [subjects.with_a_child, subjects.is_busy, subjects.accepts_nobody])
def test_a_server_ends_with_its_children(subject):
    with Server(contestant(subject), []) as server:
        assert server.ready()
        family = [server.pid]
        while subject is subjects.with_a_child and len(family) < 2:
            family += [child.pid for child in psutil.Process(server.pid).children(recursive=True)]
    assert gone(family)


def test_a_server_that_is_killed_leaves_no_children():
    if not hasattr(os, "killpg"):
        pytest.skip("this system has no groups of processes")
    with Server(contestant(subjects.with_a_child), []) as server:
        assert server.ready()
        children = []
        while not children:
            children = [child.pid for child in psutil.Process(server.pid).children()]
        os.kill(server.pid, signal.SIGKILL)
        assert server.problem(30) == f"ended: {BY_THE_SYSTEM}" and server.killed
    assert gone(children)


class Interrupted(Thread):
    """The notebook's ■, just when the thread is to start."""

    def start(self):
        raise KeyboardInterrupt


@pytest.mark.parametrize("half_made", [False, True])
def test_nothing_stays_when_it_is_interrupted_as_it_begins(half_made, monkeypatch):
    began = []

    def begin():
        with none_left():
            began.append(Apart("load").pid)  # no `with` has it yet
            if half_made:
                monkeypatch.setattr(apart.threading, "Thread", Interrupted)
                Apart("load")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin()
    assert psutil.Process().children(recursive=True) == []
    assert gone(began) and not apart._begun


def test_an_interrupt_waits_for_what_is_begun(monkeypatch):
    """One that cuts Popen short would leave a process of which nobody knows."""
    popen, done = subprocess.Popen, []

    def begin(*args, **how):
        signal.raise_signal(signal.SIGINT)
        done.append(popen(*args, **how))
        return done[0]

    monkeypatch.setattr(apart.subprocess, "Popen", begin)

    def whole():
        with none_left():
            Apart("load")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        whole()
    assert len(done) == 1 and done[0].returncode is not None and signal.getsignal(signal.SIGINT) is before


KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
import subjects
from helpers.racing.apart import Apart
from helpers.racing.contestants import Server, contestant
load, server = Apart("load"), Server(contestant({subject}), [])
assert server.ready()
load.ask({{"do": "start", "cpus": []}}, 30)
load.give({{"do": "talk", **server.address, "callers": 3, "warm": 0.1, "seconds": 60}})
print("ready", flush=True)
time.sleep(60)
"""
FORKS = "subjects.a_process_each" if hasattr(os, "fork") else "subjects.in_turn"
PROGRAM = "__import__('pathlib').Path(subjects.__file__)"


@pytest.mark.parametrize(
    "subject", ["subjects.a_thread_each", "subjects.with_a_child", "subjects.is_busy", PROGRAM, FORKS]
)
def test_nothing_stays_when_who_started_it_is_killed(subject):
    code = KILLED.format(tests=os.path.dirname(__file__), subject=subject)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout.readline() == "ready\n"
        expected = 3 if "child" in subject or subject == PROGRAM else 2
        children = []
        while len(children) < expected:
            children = [child.pid for child in psutil.Process(starter.pid).children(recursive=True)]
        starter.kill()
        starter.wait(10)
        assert gone(children)


def test_an_interrupt_of_the_notebook_does_not_reach_it():
    """Jupyter sends the signal to the kernel's whole group of processes."""
    if not hasattr(os, "getpgid"):
        pytest.skip("this system has no groups of processes")
    with Apart("load") as load:
        load.ask(START, 30)
        assert os.getpgid(load.pid) == load.pid != os.getpgid(0)


def test_nothing_is_recorded_there():
    source = (
        "def look(listener):\n    from helpers import framing, select, socket\n    import socket as s, select as t\n"
        "    raise LookupError((socket is s, select is t, hasattr(framing, 'Lines'), type(listener) is s.socket))\n"
    )
    job = contestant(subjects.in_turn).job | {"source": source, "name": "look"}
    with Apart("contestant") as server:
        assert server.ask(job | {"cpus": []}, 30)["port"] > 0
        assert server.hear(30)["ended"].startswith("LookupError: (True, True, True, True), at `raise LookupError")


def test_a_wait_lets_interrupts_in(monkeypatch):
    """On Windows no signal ends a wait: it looks up again and again."""
    with Apart("load") as load:
        load.ask(START, 30)
        waits, told = [], load._told

        class Queue:
            def get(self, timeout):
                waits.append(timeout)
                return told.get(timeout=timeout)

        monkeypatch.setattr(apart, "LOOK", 0.01)
        monkeypatch.setattr(load, "_told", Queue())
        with pytest.raises(Silent):
            load.hear(0.1)
        assert len(waits) > 1 and max(waits) <= 0.01
