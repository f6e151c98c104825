"""How many silent callers stop a server?  Counted by what its threads wait for, never by how long it takes.

The guests speak the protocol of Part II (see `helpers.strategies`), with Python's plain sockets.  Who is not served by
the time when every thread of the server waits for what has not come, will not be, until somebody on the line does
something.  (An event loop's waits are not seen; there, each guest gets `PATIENCE` seconds.)
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from helpers.gate import gate
from helpers.serving import serving
from helpers.strategies import GREETING

PATIENCE = 10.0  #: seconds
PROMPT = 0.02  #: seconds from a dial to the end of what is said at once; less than any server's patience here
Serve = Callable[[Any], Any]
Address = tuple[str, int]


class _Guest:
    """A caller who says `text` at once, and no more.  One who is held up on the way hangs up, and dials anew."""

    def __init__(self, address: Address, text: bytes = b"") -> None:
        for _ in range(20):
            began = time.monotonic()
            self.line = socket.create_connection(address, PATIENCE)
            self.line.sendall(text)
            if not text or time.monotonic() - began < PROMPT:
                break
            self.line.close()  # the machine held it up: to a server with a time-out it was silent
        self.line.setblocking(False)
        self.expected = GREETING + (b"1 hello\nbye\n" if text else b"")
        self.heard = b""

    def fileno(self) -> int:
        return self.line.fileno()

    def is_served(self) -> bool:
        """Has it heard all that it is to hear?"""
        try:
            while len(self.heard) < len(self.expected) and (data := self.line.recv(4096)):
                self.heard += data
        except OSError:  # nothing yet, or a reset
            pass
        return self.heard == self.expected


class _House:
    """A server, and its guests."""

    def __init__(self, serve: Serve) -> None:
        self._others = {thread.ident for thread in threading.enumerate()}
        self._leave = ExitStack()
        self._server = self._leave.enter_context(serving(serve))

    def __enter__(self) -> _House:
        return self

    def __exit__(self, *problem: Any) -> None:
        self._leave.close()

    def guests(self, count: int, text: bytes = b"") -> list[_Guest]:
        """So many callers dial, and are served as far as they are at present."""
        guests = [_Guest((self._server.host, self._server.port), text) for _ in range(count)]
        for guest in guests:
            self._leave.callback(guest.line.close)
        self.served(guests)
        return guests

    def served(self, guests: list[_Guest]) -> int:
        """How many of them are served, when nothing more happens by itself."""

        def done() -> bool:
            waiting[:] = [guest for guest in waiting if not guest.is_served()]
            return not waiting or self._is_stuck()

        waiting = list(guests)
        gate.until(done, PATIENCE, reads=waiting)
        return len([guest for guest in guests if guest.is_served()])

    def _is_stuck(self) -> bool:
        """Does every thread that was begun since wait in a recorded call, for what has not come?"""
        waits = [(actor, wait) for actor in list(gate.waiting) if (wait := actor.wait) is not None]
        waits = [(actor, wait) for actor, wait in waits if wait.timeout is None]  # another goes on by itself
        begun = {thread.ident for thread in threading.enumerate()} - self._others
        if not begun <= {actor.thread for actor, _ in waits}:
            return False
        # one that has gone on meanwhile may have taken what had come, and begun another thread
        return all(not wait.ready() and actor.wait is wait for actor, wait in waits if actor.thread in begun)


def served_beside(serve: Serve, silent: int, others: int = 10) -> tuple[int, int]:
    """How many of `others` callers are served beside `silent` ones who say nothing, and how many when one has left?

    The silent ones dial first.  `serve` is a function of a listener, as `serving` takes it.
    """
    with _House(serve) as house:
        quiet = house.guests(silent)
        guests = house.guests(others, b"hello\nquit\n")
        meanwhile = house.served(guests)
        for guest in quiet[:1]:
            guest.line.close()
        return meanwhile, house.served(guests)


def width_of(serve: Serve, most: int = 40) -> int | None:
    """With how many silent callers does `serve` serve nobody else?  None: not even with `most`."""
    with _House(serve) as house:
        for silent in range(most + 1):
            (guest,) = house.guests(1, b"hello\nquit\n")
            if not guest.is_served():
                return silent
            guest.line.close()
            house.guests(1)
    return None
