"""A wait: one `poll()` (or `select()`, where there is no `poll`) on what is waited for and on a wake-up socket pair.

So a wait can be ended at once: closing a listener does not wake an `accept()` in another thread on Linux.
"""

from __future__ import annotations

import ctypes
import gc
import select
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Protocol, TypeVar

Seen = TypeVar("Seen")

GRACE = 0.5  #: seconds that the kernel may take to deliver what is certain to come (under load it is late at times)
POOL = "concurrent.futures.thread"  #: the module whose code a thread of a pool is in while it has no work
_looking = threading.RLock()
POLLIN, POLLOUT = getattr(select, "POLLIN", 1), getattr(select, "POLLOUT", 4)


class Watched(Protocol):
    """What can be waited for: anything with a descriptor."""

    def fileno(self) -> int:
        """The descriptor that is waited for."""


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
    piece = 0.2 if threading.current_thread() is threading.main_thread() else 3600.0
    until = time.monotonic() + (float("inf") if timeout is None else timeout)
    while True:
        left = max(0.0, until - time.monotonic())
        if any(select.select(reads, writes, writes, min(left, piece))):
            return True
        if left <= piece:
            return False


class Wake:
    """A socket pair that ends a `poll`: `poke()` from any thread, `drain()` by the one that was woken."""

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)

    def fileno(self) -> int:
        """The descriptor that is waited for."""
        return self._read.fileno()

    def poke(self) -> None:
        """Wake whoever sleeps on it."""
        try:
            self._write.send(b"!")
        except OSError:  # full: it will wake all the same; closed: nobody sleeps on it
            pass

    def drain(self) -> None:
        """Take the wake-up calls that have come."""
        try:
            while self._read.recv(4096):
                pass
        except OSError:
            pass

    def close(self) -> None:
        """Give both sockets back."""
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
        self.began = time.time()
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self.expects, self._doubt = expects, doubt

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
        while self.expects():
            left = self.left()
            if self.ready(GRACE if left is None else min(GRACE, left)):
                return True
            self._doubt()
        return False


def cut(*sockets: socket.socket) -> None:
    """Close sockets whose waits can't be ended otherwise: on most systems the shutdown wakes the call that waits."""
    for sock in sockets:
        try:
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
        except OSError:  # it is not connected, or closed
            pass
        sock._io_refs = 0  # type: ignore[attr-defined]  # files made of it would keep it open
        socket.socket.close(sock)


def raise_in(thread: int | None, kind: type[BaseException]) -> bool:
    """Raise `kind` in a thread as soon as it runs Python code; is there such a thread?"""
    asked = ctypes.pythonapi.PyThreadState_SetAsyncExc
    return thread is not None and bool(asked(ctypes.c_ulong(thread), ctypes.py_object(kind)))


class _Nothing(BaseException):
    """Comes in place of what was raised and has not come yet."""


def take_back() -> None:
    """What was raised in this thread from outside, and has not come yet, does not come any more.

    (To raise NULL would leave a flag behind for ever, over which Python 3.11 hangs when it is profiled.)
    """
    try:
        raise_in(threading.get_ident(), _Nothing)
        while True:
            pass
    except _Nothing:
        pass


def look_into(thread: int | None, see: Callable[[FrameType], Seen]) -> list[Seen]:
    """Where a thread is: what `see` says of each of its frames, from the inside out.

    No garbage is collected meanwhile.  Python 3.11 does that in the middle of making a frame, or its `f_locals`, ready
    to be looked at; a finalizer may then let the other thread go on and leave that frame, and Python crashes.
    """
    with _looking:
        collects = gc.isenabled()
        try:
            gc.disable()
            seen, frame = list[Seen](), sys._current_frames().get(thread or -1)
            while frame is not None:
                seen.append(see(frame))
                frame = frame.f_back
            return seen
        finally:
            if collects:
                gc.enable()


def is_in(thread: int | None, *modules: str) -> bool:
    """Is what a thread does at the moment the code of one of these modules?"""
    return any(name in modules for name in look_into(thread, lambda frame: frame.f_globals.get("__name__"))[:1])


def sleeps(thread: int | None) -> bool:
    """Does a thread wait in a selector, for what has not come yet?  An event loop that has more to do only looks there,
    with a time-out of 0."""

    def see(frame: FrameType) -> selectors.BaseSelector | None:
        is_select = frame.f_code.co_name in ("select", "_select") and frame.f_globals.get("__name__") == "selectors"
        return frame.f_locals["self"] if is_select and frame.f_locals["timeout"] != 0 else None

    selector = next(iter(look_into(thread, see)), None)
    try:
        return selector is not None and not (hasattr(selector, "fileno") and poll([selector], [], 0))
    except ValueError:  # it was closed meanwhile
        return False
