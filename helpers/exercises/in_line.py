"""An answer before a line: a listener on trial, whose callers dial, say their number, and are known again by it."""

from __future__ import annotations

import errno
import os
import socket as standard
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from helpers import recorded_socket as socket
from helpers.exercises.exercise import NotYet, returned
from helpers.exercises.peers import PATIENCE, Line
from helpers.exercises.trial import Trial
from helpers.gate import gate, poll

MODES = {None: "that blocks", 0.0: "that does not block", 2.5: "with a time-out of 2.5 seconds"}
EXPECTED: dict[type, str] = {
    BlockingIOError: "So a listener that does not block says that nobody is in line: catch it, and return.",
    TimeoutError: "That nobody came in time is no error here.",
    ConnectionAbortedError: "That call is gone; go on with the next one in line.",
}
AT_REST = 0.05  #: seconds; by then an answer waits, also where that is not seen


class LineListener(socket.socket):
    """A listener whose accept() raises `trouble` once, when it has given `after` calls: rare, and real.

    One that `hands_on` gives, as on BSD, sockets that do not block where it does not itself.
    `waited`: has an accept() waited for a caller?  `in_vain`: from when until when each accept() would wait that met
    nobody.
    """

    trouble: OSError | None = None
    after = given = 0
    hands_on = waited = False
    in_vain: tuple[tuple[float, float], ...] = ()

    def accept(self) -> tuple[socket.socket, Any]:
        if self.trouble is not None and self.given >= self.after:
            trouble, self.trouble = self.trouble, None
            raise trouble
        began = time.monotonic()
        try:
            call = super().accept()
        except (BlockingIOError, TimeoutError):
            self.in_vain += ((began, began + (self.gettimeout() or 0)),)
            raise
        self.given += 1
        if self.hands_on and self.gettimeout() == 0:
            os.set_blocking(call[0].fileno(), False)
        return call

    def fails(self, after: int = 0) -> None:
        """No descriptors are left when it has given so many calls."""
        self.trouble, self.after = OSError(errno.EMFILE, os.strerror(errno.EMFILE)), after

    def _await(self, *args: Any) -> None:
        self.waited = True
        super()._await(*args)


class Case:
    """An answer on trial before a listener; its callers all say their number.

    `dialled` is when each of them was in line; callers are known by their ports.
    """

    def __init__(self, answer: Callable[..., Any], case: str, mode: float | None = None, *more: Any) -> None:
        self.case, self.mode, self.more, self.left = case, mode, more, ExitStack()
        with standard.create_server(("127.0.0.1", 0), backlog=50) as bare:
            self.address = bare.getsockname()
            self.listener = LineListener(fileno=bare.detach())
        self.listener.settimeout(mode)
        self.trial = Trial(answer, self.listener, *more)
        self.lines: list[Line] = []
        self.dialled: list[float] = []

    def __enter__(self) -> Case:
        return self

    def __exit__(self, *_: object) -> None:
        self.left.close()
        socket.force_close(self.listener)

    def dial(self, count: int = 1) -> None:
        """So many callers dial, and say their number; they are in line when this returns."""
        for _ in range(count):
            connection = self.left.enter_context(standard.create_connection(self.address, PATIENCE))
            self.lines.append(Line(connection))
            self.lines[-1].say(b"%d" % len(self.lines))
            self.dialled.append(time.monotonic())

    def start(self) -> Trial:
        """Begin the trial; what the answer took stays open until the case is over."""
        self.left.push(self.trial)  # before it begins: ■ may come at any line
        return self.trial.__enter__()

    def must_take_all(self, gone: tuple[int, ...] = ()) -> None:
        """Begin the trial with those who have dialled: NotYet if they are not what the answer returns."""
        self.start()
        self.must_have(self.ended(), gone=gone)

    def until_it_waits(self) -> None:
        """Return when the answer waits, or has ended; after a moment, where neither is seen."""
        gate.until(lambda: self.trial._ended.is_set() or self.trial.actor.wait is not None, AT_REST)

    def ended(self) -> Any:
        """What the answer returned; NotYet if it hung, raised, closed the listener or left its mode changed."""
        trial, case = self.trial, self.case
        trial.wait()
        if trial.hung:
            for name, seconds in self.time_outs():
                if seconds in self.more:
                    raise NotYet(
                        f"{case}: your function did not return. {name}() takes seconds from now, and deadline is a "
                        "point in time: give it deadline - time.monotonic(), and never less than 0."
                    )
            raise NotYet(f"{case}: your function did not return: {trial.hung}, and had taken {self._given()}.")
        if told := EXPECTED.get(type(trial.error)):
            raise NotYet(f"{case}: your function raised {trial.raised()}. {told}")
        got = returned(trial, case)
        self.must_be_as_before()
        return got

    def time_outs(self) -> list[tuple[str, Any]]:
        """The seconds that the answer was willing to wait, as it said, and in which call it said so."""
        calls = [event.call for event in self.trial.recording.events]
        return [(call.name, call.args[-1]) for call in calls if call.name in ("settimeout", "select")]

    def _given(self) -> str:
        given = self.listener.given
        return f"{given} caller{'s' * (given != 1)}" if given else "nobody"

    def must_be_as_before(self) -> None:
        """NotYet if the listener is closed, or in another mode than before."""
        if self.listener.fileno() < 0:
            raise NotYet(f"{self.case}: your function closed the listener. It belongs to who made it.")
        if (mode := self.listener.gettimeout()) != self.mode:
            was, now = (MODES.get(m) or f"with a time-out of {m:.1f} seconds" for m in (self.mode, mode))
            raise NotYet(
                f"{self.case}: your function got a listener {was}, and left one {now}. Put it back before you return "
                "(gettimeout, settimeout), also where something fails."
            )

    def must_have(self, got: Any, wanted: int | None = None, gone: tuple[int, ...] = ()) -> None:
        """NotYet if `got` is no list of callers in order: the first `wanted` at least; `gone` ones may be in it."""
        wanted = len(self.lines) if wanted is None else wanted
        if got is None:
            raise NotYet(f"{self.case}: your function returned None. Return the list of sockets.")
        if not isinstance(got, (list, tuple)):
            raise NotYet(f"{self.case}: your function returned {got!r:.60}. Return a list of sockets.")
        for item in got:
            if isinstance(item, tuple):
                raise NotYet(f"{self.case}: your function returned pairs, as accept() does. Return the sockets alone.")
            if item is self.listener or not isinstance(item, standard.socket):
                what = "the listener" if item is self.listener else repr(item)[:40]
                raise NotYet(f"{self.case}: the list that your function returned has {what} in it.")
            if item.fileno() < 0:
                raise NotYet(f"{self.case}: a call in your list is closed already. Whoever gets the list needs it.")
        ports = [line.connection.getsockname()[1] if line.connection.fileno() >= 0 else 0 for line in self.lines]
        numbers = [_number_of(item, ports) for item in got]
        living = [number for number in numbers if number is not None and number not in gone]
        must = [number for number in range(wanted) if number not in gone]
        missing = [number for number in must if number not in living]
        if missing:
            taken = len(must) - len(missing)
            raise NotYet(
                f"{self.case}: {taken} of {len(must)} caller{'s' * (len(must) != 1)} who came in time "
                f"{'is' if taken == 1 else 'are'} in your list. Take calls until nobody is left in line."
            )
        if living != sorted(set(living)):
            raise NotYet(f"{self.case}: the callers are not in the order in which they dialled, each once.")
        for number, item in zip(numbers, got, strict=True):
            if number is not None and number not in gone:
                self._must_be_usable(item, number + 1)

    def _must_be_usable(self, transfer: standard.socket, number: int) -> None:
        if transfer.gettimeout() is not None or (os.name == "posix" and not os.get_blocking(transfer.fileno())):
            raise NotYet(
                f"{self.case}: the socket of caller {number} does not block, or has a time-out. Whoever gets it wants "
                "a blocking one: setblocking(True)."
            )
        heard = standard.socket.recv(transfer, 16) if poll([transfer], [], PATIENCE / 4) else b""
        if heard != b"%d" % number:
            raise NotYet(
                f"{self.case}: caller {number} said {b'%d' % number!r}, and {heard!r} is left of it. Taking a call is "
                "not hearing it: leave what was said to whoever gets the list."
            )


def _number_of(transfer: standard.socket, ports: list[int]) -> int | None:
    """Which of the callers it leads to; None if that one is gone."""
    try:
        return ports.index(transfer.getpeername()[1])
    except (OSError, ValueError):
        return None
