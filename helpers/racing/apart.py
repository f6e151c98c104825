"""A process of its own, for what a race needs beside the notebook: its servers, and the load on them.

Both ends are told here.  In the notebook, `Apart("load")` starts `load.py` in a new Python, gives it jobs and
takes its answers, a line of JSON each.  There, `main` calls `work(next_job, tell)` of that module.  The process ends as
soon as its input ends: so it outlives the notebook's kernel in no case, not even where that is killed outright.  And it
ends after `life` seconds, whatever happens.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, TracebackType
from typing import IO, Any, Self

LOOK = 0.1  #: seconds after which a wait lets an interrupt in, on systems where that does not end a wait by itself
KILLED = -9  #: the status of a process that SIGKILL ended
Job = dict[str, Any]


class Gone(RuntimeError):
    """The process has ended."""


class Failed(Gone):
    """The process has ended, and told why."""


class Silent(Gone):
    """The process said nothing in time."""


class Apart:
    """`work` of the module `helpers.racing.<name>` in a process of its own; it ends with the `with` block."""

    def __init__(self, name: str, life: float = 300.0) -> None:
        own: dict[str, Any] = {"start_new_session": True}  # an interrupt of the notebook is not for it
        if os.name == "nt":
            own = {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
        self.name, self._told = name, queue.SimpleQueue[Job | None]()
        self.starter, self._struck = threading.get_ident(), False
        _begun.append(self)
        with _in_one_piece():
            self._process = subprocess.Popen(
                [sys.executable, "-I", __file__, name, str(life)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **own,
            )  # fmt: skip
        self._listens = threading.Thread(target=_listen, args=(self._process.stdout, self._told), daemon=True)
        self._listens.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def give(self, job: Job) -> None:
        """Send it a job; Gone where it has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as problem:
            raise Gone(f"{self.name} has ended") from problem

    def hear(self, seconds: float) -> Job:
        """What it says next.  Gone: it has ended (Failed: and told why); Silent: it says nothing for so long."""
        until = time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            try:
                told = self._told.get(timeout=max(0.0, min(left, LOOK)))
            except queue.Empty:
                if left <= 0:
                    raise Silent(f"{self.name} said nothing for {seconds:.0f} seconds") from None
                continue
            if told is None:
                self._told.put(None)  # for who asks again
                raise Gone(f"{self.name} has ended")
            if "failed" in told:
                raise Failed(f"{self.name} failed: {told['failed']}")
            return told

    def ask(self, job: Job, seconds: float) -> Job:
        """Send it a job, and hear its answer."""
        self.give(job)
        return self.hear(seconds)

    def was_killed(self) -> bool:
        """Has the system killed it, and not `strike`?  It is asked of one that has ended, or is about to."""
        try:
            return self._process.wait(1.0) == KILLED and not self._struck  # its pipe may be closed a moment before
        except subprocess.TimeoutExpired:
            return False
        finally:
            if self._process.returncode is not None:  # `strike` does not know its group any more
                self._kill_all()

    def strike(self) -> None:
        """End the process, and what it has started, where the system can do that at once; wait for nothing."""
        if self._process.returncode is None:  # not waited for yet, it still has its number, and its group
            self._struck = True
            self._kill_all()

    def _kill_all(self) -> None:
        try:
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # nobody is left in it (macOS says the second)
            pass

    def end(self) -> None:
        """End the process, and what it has started, and wait until it is gone."""
        assert self._process.stdin is not None and self._process.stdout is not None
        if self in _begun:
            _begun.remove(self)
        self.strike()
        try:
            self._process.stdin.close()  # where there are no groups, it ends by itself, and its children before
            self._process.wait(5.0)
        except (OSError, subprocess.TimeoutExpired):
            pass
        finally:
            self._process.kill()
            self._process.wait(5.0)
            if "_listens" in vars(self) and self._listens.ident is not None:
                self._listens.join(5.0)
            self._process.stdout.close()


_begun: list[Apart] = []


@contextmanager
def _in_one_piece() -> Iterator[None]:
    """An interrupt waits until this is done: a Popen that is cut short is a process that nobody can wait for."""
    told = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(told):  # none comes to another thread
        yield
        return
    came: list[Any] = []
    signal.signal(signal.SIGINT, lambda *what: came.append(what))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, told)
    if came:
        told(*came[0])


@contextmanager
def none_left() -> Iterator[None]:
    """Of the processes that are begun within, none is left after it, at whichever line an interrupt may come."""
    before = list(_begun)
    try:
        yield
    finally:
        new = [one for one in _begun if one not in before and one.starter == threading.get_ident()]
        ours = [one for one in new if "_process" in vars(one)]  # (of another there was no process)
        for one in ours:
            one.strike()  # all at once: ten thousand sockets take a moment to close
        for one in ours:
            one.end()
        for one in new:
            if one in _begun:
                _begun.remove(one)


def _listen(said: IO[bytes], told: queue.SimpleQueue[Job | None]) -> None:
    for line in said:
        told.put(json.loads(line))
    told.put(None)


# ---------------------------------------------------------------------- in the process itself


def raise_limit() -> int | None:
    """Allow this process as many files and sockets as it may have; how many.  None: the system has no such limit."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (hard, 65_536, 10_240):  # macOS calls the hard limit endless, and refuses that
        if soft == hard or (hard != resource.RLIM_INFINITY and wanted > hard) or 0 <= wanted < soft:
            continue
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            break
        except (ValueError, OSError):
            pass
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def pin(cpus: list[int]) -> None:
    """Run on these CPUs alone; Linux lets a process say so."""
    if cpus and sys.platform == "linux":
        os.sched_setaffinity(0, cpus)


def plain_helpers() -> None:
    """Let `from helpers import socket` mean the standard module here: nothing is recorded in a race."""
    package = ModuleType("helpers")
    package.__path__ = [str(Path(__file__).resolve().parent.parent)]
    vars(package).update(socket=socket, select=select)
    sys.modules["helpers"] = package


def leave() -> None:
    """End this process and its children at once; a group that it leads has no others."""
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    for child in _children:
        child.kill()
    os._exit(0)


_children: list[subprocess.Popen[bytes]] = []


def start(command: list[str]) -> subprocess.Popen[bytes]:
    """Start a program from such a process; it ends with it."""
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    _children.append(program)
    return program


def _watch(come: IO[bytes], jobs: queue.SimpleQueue[Job]) -> None:
    try:
        for line in come:
            jobs.put(json.loads(line))
    finally:
        leave()


def main(name: str, life: float) -> None:
    """Do the jobs that come, until no more can come."""
    said, silence = os.fdopen(os.dup(1), "wb", buffering=0), os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)  # whatever a server prints is not shown, and does not stand between the answers
    os.dup2(silence, 2)
    # jobs come elsewhere than by sys.stdin: a forked child of Python's closes that, and would wait for who reads it
    come, nothing = os.fdopen(os.dup(0), "rb"), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    late = threading.Timer(life, leave)
    late.daemon = True
    late.start()
    plain_helpers()
    work: Callable[[Callable[[], Job], Callable[[Job], object]], object]
    work = importlib.import_module(f"helpers.racing.{name}").work
    jobs = queue.SimpleQueue[Job]()
    threading.Thread(target=_watch, args=(come, jobs), daemon=True).start()
    try:
        work(jobs.get, lambda answer: said.write(json.dumps(answer).encode() + b"\n"))
    except Exception as problem:
        said.write(json.dumps({"failed": f"{type(problem).__name__}: {problem}"}).encode() + b"\n")
        raise
    finally:
        leave()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
