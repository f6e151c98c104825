"""The gate: through it goes every wait of a recorded call, and there the baton changes hands.

Of the actors that take turns (a stage's roles and its scripted callers) one runs at a time: the holder of the *baton*.
It keeps the baton until a call of its finds nothing ready; then the first actor in the stage's order that can go on
gets it.  Every other thread (a server in `serving`, a learner's own) waits here too, but without a baton.

A wait is one `poll()` (or `select()`, where there is no `poll`) on the sockets waited for and on the actor's own wake-up
socket pair, so that it can be ended at once: closing a listener does not wake an `accept()` in another thread on Linux.
"""

from __future__ import annotations

import ctypes
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

SHORT = 5.0  #: seconds; a timed wait up to this long is waited out, and code that the gate can't see is waited for
GRACE = 0.5  #: seconds that the kernel may take to deliver what is certain to come (under load it is late at times)
POLLIN, POLLOUT = getattr(select, "POLLIN", 1), getattr(select, "POLLOUT", 4)
IDLE, READY, RUNNING, WAITING = "idle", "ready", "running", "waiting"


class Ended(KeyboardInterrupt):
    """Raised in a role whose wait, or whose code, was ended by ■, by `stage.stop(...)` or by a new `Stage`."""


class Watched(Protocol):
    """What can be waited for: anything with a descriptor."""

    def fileno(self) -> int: ...


def poll(reads: Sequence[Watched], writes: Sequence[Watched], timeout: float | None) -> bool:
    """Is one of `reads` readable or of `writes` writable within `timeout` seconds (None: wait)?

    A socket that was closed counts as ready: the call that follows says so, as poll(2) does with POLLNVAL.
    """
    wanted: dict[int, int] = {}
    for sockets, event in ((reads, POLLIN), (writes, POLLOUT)):
        for s in sockets:
            wanted[s.fileno()] = wanted.get(s.fileno(), 0) | event
    if any(fd < 0 for fd in wanted):
        return True
    if not hasattr(select, "poll"):
        return _select(reads, writes, timeout)
    poller = select.poll()
    for fd, events in wanted.items():
        poller.register(fd, events)
    return bool(poller.poll(None if timeout is None else max(0.0, timeout) * 1000))


def _select(reads: Sequence[Watched], writes: Sequence[Watched], timeout: float | None) -> bool:
    """The same for Windows: a failed connect() shows among the exceptional ones, and Ctrl-C does not end a select(), so
    that the main thread looks up now and then."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        piece = left if threading.current_thread() is not threading.main_thread() else min(0.2, left or 0.2)
        if timeout == 0:
            piece = 0
        if any(select.select(reads, writes, writes, piece)):
            return True
        if left is not None and left <= (piece or 0):
            return False


class Wake:
    """A socket pair that ends a `poll`: `poke()` from any thread, `drain()` by the one that was woken."""

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)

    def fileno(self) -> int:
        return self._read.fileno()

    def poke(self) -> None:
        try:
            self._write.send(b"!")
        except OSError:  # full: it will wake all the same; closed: nobody sleeps on it
            pass

    def drain(self) -> None:
        try:
            while self._read.recv(4096):
                pass
        except OSError:
            pass

    def close(self) -> None:
        self._read.close()
        self._write.close()

    __del__ = close


class Wait:
    """What an actor waits for: sockets to read from or write to, and until when.

    `words` is the call as it is told (`accept()`).  `expects` asks the record whether something is certain to come, and
    `doubt` notes that it did not.
    """

    def __init__(
        self,
        words: str,
        reads: Sequence[Watched],
        writes: Sequence[Watched],
        timeout: float | None,
        expects: Callable[[], bool] = lambda: False,
        doubt: Callable[[], None] = lambda: None,
    ) -> None:
        self.words, self.reads, self.writes = words, reads, writes
        self.timeout = timeout
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self._expects, self._doubt = expects, doubt

    @property
    def sockets(self) -> tuple[Watched, ...]:
        """All that it waits for."""
        return (*self.reads, *self.writes)

    def left(self) -> float | None:
        """Seconds until the time-out; None if there is none."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def ready(self, timeout: float | None = 0) -> bool:
        """Could the call go on now, or within `timeout` seconds?"""
        return poll(self.reads, self.writes, timeout)

    def certain(self) -> bool:
        """Is what it waits for certain to come?  Then it is awaited for `GRACE` seconds, and doubted after that."""
        while self._expects():
            left = self.left()
            if self.ready(GRACE if left is None else min(GRACE, left)):
                return True
            self._doubt()
        return False


class Actor:
    """Somebody who makes calls: a role, a scripted caller, a server in the background, or any other thread."""

    def __init__(self, name: str, takes_turns: bool = False, ending: type[BaseException] = SystemExit) -> None:
        self.name = name
        self.takes_turns = takes_turns
        self.ending = ending  # what is raised in its thread when it is ended
        self.state = IDLE
        self.wait: Wait | None = None
        self.since = 0.0  # when it got the baton, or began
        self.ended = False  # its waits raise
        self.astray = False  # it ran for too long unseen, and its baton was taken
        self.lost = False  # it could not be ended, and was left behind
        self.timeouts = 0  # how many waits in a row have timed out
        self.log: list[Any] = []  # what it printed and displayed, until a cell writes it
        self.keeps_log = False  # is what it prints kept there?
        self.thread: int | None = None
        self.wake = Wake()
        self._halts = 0

    def halt(self) -> None:
        """Raise what ends it.  One that swallows that again and again sleeps here for ever."""
        self._halts += 1
        if self.lost and self._halts > 20:
            threading.Event().wait()
        raise self.ending(f"{self.name} was ended")

    @property
    def at_rest(self) -> bool:
        """Does it wait for others, so that nothing will happen by itself?  Asked under the gate's lock."""
        wait = self.wait
        if self.state != WAITING or wait is None:
            return self.state == IDLE or self.astray or self.lost
        patient = wait.timeout is None or wait.timeout > SHORT or self.timeouts >= 2
        return patient and not wait.ready() and not wait.certain()


class Gate:
    """The baton, and who waits for what.  There is one in a process: `gate`."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.order: list[Actor] = []  # those that take turns, in the stage's order
        self.others: list[Actor] = []  # threads of `serving`: not in turns, but their rest is awaited
        self.holder: Actor | None = None
        self.waiting: set[Actor] = set()
        self.watchers: list[Wake] = []  # who wants to know when something changed
        self.at_new_stage: list[Callable[[], None]] = []
        self.at_end: list[Callable[[], None]] = []
        self._here = threading.local()

    # ------------------------------------------------------------------ who calls

    def current(self) -> Actor:
        """The actor of this thread; a thread that nobody announced gets one by its own name."""
        actor: Actor | None = getattr(self._here, "actor", None)
        if actor is None:
            thread = threading.current_thread()
            main = thread is threading.main_thread()
            actor = self.become(Actor("notebook" if main else thread.name.split(" (")[0], ending=KeyboardInterrupt))
        return actor

    def known(self) -> Actor | None:
        """The actor of this thread, if it has one."""
        return getattr(self._here, "actor", None)

    def become(self, actor: Actor) -> Actor:
        """This thread acts as `actor` from now on."""
        self._here.actor = actor
        actor.thread = threading.get_ident()
        return actor

    @contextmanager
    def acting_as(self, actor: Actor) -> Iterator[None]:
        """This thread acts as `actor` for the while."""
        before = self.known()
        self._here.actor = actor
        try:
            yield
        finally:
            self._here.actor = before

    def enter(self) -> Actor:
        """Called at the start of each recorded call: ends who is ended, and gives the baton back to who lost it."""
        actor = self.current()
        if actor.ended:
            actor.halt()
        if actor.takes_turns and self.holder is not actor:
            self.take(actor)
        return actor

    # ------------------------------------------------------------------ the baton

    def take(self, actor: Actor) -> None:
        """Wait for the baton.  One that is being ended waits for it no longer than a moment."""
        with self.lock:
            actor.state, actor.astray = READY, False
            if self.holder is None:
                self._pass_on()
        patience = time.monotonic() + 0.1
        while self.holder is not actor:
            poll([actor.wake], [], 0.1 if actor.ended else None)
            actor.wake.drain()
            if actor.lost or (actor.ended and time.monotonic() > patience):
                break
        actor.state = RUNNING

    def release(self, actor: Actor, state: str = IDLE) -> None:
        """`actor` is done, or goes to wait: the baton goes on."""
        with self.lock:
            self._release(actor, state)

    def _release(self, actor: Actor, state: str) -> None:
        actor.state, actor.astray = state, False
        if self.holder is actor:
            self.holder = None
        if self.holder is None:
            self._pass_on()
        self._tell()

    def _pass_on(self) -> None:
        for actor in self.order:
            wait = actor.wait
            if actor.state == READY or (
                actor.state == WAITING and wait is not None and (actor.ended or wait.ready() or wait.certain())
            ):
                self.holder, actor.since = actor, time.monotonic()
                actor.wake.poke()
                break

    def _tell(self) -> None:
        for wake in self.watchers:
            wake.poke()

    def take_away(self, actor: Actor) -> None:
        """Take the baton from one that runs where the gate can't see it; it comes back at its next recorded call."""
        with self.lock:
            if self.holder is actor and actor.state == RUNNING:
                actor.astray, self.holder = True, None
                self._pass_on()

    # ------------------------------------------------------------------ waiting

    def wait(self, actor: Actor, wait: Wait, begins: Callable[[], None] = lambda: None) -> bool:
        """Wait until `wait` can go on: True, or False at its time-out.

        An actor that takes turns gives up the baton first (`begins` is called then, and only then), after everything in
        the background has come to rest, so that a wait means that nobody but another role can end it.
        """
        if wait.ready() or wait.certain() or (actor.takes_turns and self._rest_of_others(wait)):
            return self._done(actor, True)
        if actor.takes_turns:
            begins()
        try:
            with self.lock:
                actor.wait = wait
                self.waiting.add(actor)
                self._release(actor, WAITING)
            while True:
                ready = poll([*wait.reads, actor.wake], wait.writes, wait.left()) and wait.ready()
                actor.wake.drain()
                timed_out = not ready and wait.left() == 0
                if not (ready or timed_out or actor.ended or self.holder is actor):
                    continue
                if actor.takes_turns:
                    self.take(actor)
                if actor.ended:
                    actor.halt()
                if timed_out or wait.ready():  # asked again: another may have been quicker
                    return self._done(actor, not timed_out)
                if actor.takes_turns:
                    self.release(actor, WAITING)
        finally:
            actor.wait = None
            actor.state = RUNNING
            self.waiting.discard(actor)

    @staticmethod
    def _done(actor: Actor, ready: bool) -> bool:
        actor.timeouts = 0 if ready else actor.timeouts + 1
        return ready

    def _rest_of_others(self, wait: Wait) -> bool:
        """Wait until all in the background are at rest; True as soon as `wait` is ready."""
        if not self.others:
            return False
        wake, until = Wake(), time.monotonic() + 1.0
        self.watchers.append(wake)
        try:
            while (left := until - time.monotonic()) > 0:
                with self.lock:
                    at_rest = all(other.at_rest for other in self.others)
                if wait.ready():
                    return True
                if at_rest:
                    return False
                poll([*wait.reads, wake], wait.writes, left)
                wake.drain()
            return wait.ready()
        finally:
            self.watchers.remove(wake)

    def quiet(self) -> bool:
        """Is every actor idle, or waiting for what the kernel has not got?  Who is astray or lost is not counted."""
        with self.lock:
            return self.holder is None and all(actor.at_rest for actor in (*self.order, *self.others))

    def order_moves(self) -> bool:
        """Is there one in turns that does, or may do, something?"""
        with self.lock:
            return self.holder is not None or not all(actor.at_rest for actor in self.order)

    def nudge(self) -> None:
        """Somebody may go on, or has come to rest: give the baton, if nobody has it."""
        with self.lock:
            if self.holder is None:
                self._pass_on()
            self._tell()

    def settle(self, limit: float = SHORT) -> None:
        """Wait until all are quiet, for `limit` seconds at most."""
        wake, until = Wake(), time.monotonic() + limit
        self.watchers.append(wake)
        try:
            while not self.quiet() and (left := until - time.monotonic()) > 0:
                poll([wake], [], min(left, 0.1))
                wake.drain()
        finally:
            self.watchers.remove(wake)

    def closed(self, sock: Watched) -> None:
        """`sock` was closed: wake those who wait for it."""
        if self.waiting:
            with self.lock:
                for actor in self.waiting:
                    if actor.wait and any(s is sock for s in actor.wait.sockets):
                        actor.wake.poke()

    # ------------------------------------------------------------------ ending

    def spare(self, actor: Actor) -> None:
        """`actor` is done with what was to be ended: an exception still on its way is called back."""
        actor.ended = actor.lost
        if actor.thread is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(actor.thread), None)

    def end(self, actor: Actor) -> None:
        """End what `actor` does: its wait at once, its Python code by an exception in its thread."""
        with self.lock:
            actor.ended = True
            running = actor.state == RUNNING and actor.wait is None
            if self.holder is None:
                self._pass_on()
        actor.wake.poke()
        if running and actor.thread is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(actor.thread), ctypes.py_object(actor.ending))

    def leave_behind(self, actor: Actor, successor: Actor | None = None) -> None:
        """`actor` could not be ended: it loses baton and place, and `successor` takes its turns."""
        with self.lock:
            actor.ended = actor.lost = True
            if successor is not None and actor in self.order:
                self.order[self.order.index(actor)] = successor
            self.order = [other for other in self.order if other is not actor]
            self.others = [other for other in self.others if other is not actor]
            if self.holder is actor:
                self.holder = None
            if self.holder is None:
                self._pass_on()
            self._tell()
        actor.wake.poke()

    # ------------------------------------------------------------------ what lives as long as a stage

    def begin_anew(self) -> None:
        """A new stage begins: what was told to `at_new_stage` is done."""
        for act in self.at_new_stage:
            act()

    def end_others(self) -> None:
        """The stage ends: so does what was told to `at_end`."""
        while self.at_end:
            self.at_end.pop()()


gate = Gate()
