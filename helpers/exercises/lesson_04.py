"""Lesson 04: take all who wait in line, and all who come until a deadline."""

from __future__ import annotations

import errno
import os
import socket as standard
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from helpers import recorded_socket as socket
from helpers.exercises.exercise import Exercise, NotYet, returned
from helpers.exercises.peers import PATIENCE, Line
from helpers.exercises.trial import Trial
from helpers.gate import gate, poll

MODES = {None: "that blocks", 0.0: "that does not block", 2.5: "with a time-out of 2.5 seconds"}
SLACK = 0.2  #: seconds: who dials so close to a deadline may be taken or not
PACE = 0.06  #: seconds from one caller to the next, of those who come one after the other
ASKED_MOST = 50  #: calls that an answer may make while nobody comes


class _Listener(socket.socket):
    """A listener whose accept() raises `trouble` once, when it has given `after` calls: rare, and real.

    `waited`: has an accept() waited for a caller?
    """

    trouble: OSError | None = None
    after = given = 0
    waited = False

    def accept(self) -> tuple[socket.socket, Any]:
        if self.trouble is not None and self.given == self.after:
            trouble, self.trouble = self.trouble, None
            raise trouble
        call = super().accept()
        self.given += 1
        return call

    def _await(self, *args: Any) -> None:
        self.waited = True
        super()._await(*args)


class _Case:
    """An answer on trial before a listener; its callers all say their number.

    `dialled` is when each of them was in line; callers are known by their ports.
    """

    def __init__(self, answer: Callable[..., Any], case: str, mode: float | None = None, *more: Any) -> None:
        self.case, self.mode, self.left = case, mode, ExitStack()
        with standard.create_server(("127.0.0.1", 0), backlog=50) as bare:
            self.address = bare.getsockname()
            self.listener = _Listener(fileno=bare.detach())
        self.listener.settimeout(mode)
        self.trial = Trial(answer, self.listener, *more)
        self.lines: list[Line] = []
        self.dialled: list[float] = []

    def __enter__(self) -> _Case:
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
        return self.left.enter_context(self.trial)

    def ended(self) -> Any:
        """What the answer returned; NotYet if it hung, raised, closed the listener or left its mode changed."""
        trial, case = self.trial, self.case
        trial.wait()
        if trial.hung:
            raise NotYet(f"{case}: your function did not return: {trial.hung}, and had taken {self._given()}.")
        if isinstance(trial.error, BlockingIOError):
            raise NotYet(
                f"{case}: your function raised {trial.raised()}. So a listener that does not block says that nobody is "
                "in line: catch it, and return."
            )
        if isinstance(trial.error, TimeoutError):
            raise NotYet(f"{case}: your function raised {trial.raised()}. That nobody came in time is no error here.")
        if isinstance(trial.error, ConnectionAbortedError):
            raise NotYet(
                f"{case}: your function raised {trial.raised()}. That call is gone; go on with the next one in line."
            )
        got = returned(trial, case)
        self.must_be_as_before()
        return got

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


# ---------------------------------------------------------------------- 4a


def drain(listener):
    """Take all calls that wait in line now, and return the list of their sockets."""
    before = listener.gettimeout()
    calls = []
    listener.setblocking(False)
    try:
        while True:
            try:
                transfer, caller = listener.accept()
                transfer.setblocking(True)
                calls.append(transfer)
            except ConnectionAbortedError:
                pass  # the next one
            except BlockingIOError:
                return calls
    finally:
        listener.settimeout(before)


def _judge_drain(answer: Callable[..., Any]) -> None:
    for mode, words in MODES.items():
        with _Case(answer, f"Three callers before a listener {words}", mode) as tried:
            tried.dial(3)
            tried.start()
            tried.must_have(tried.ended())
    for mode, words in MODES.items():
        with _Case(answer, f"Nobody before a listener {words}", mode) as tried:
            tried.start()
            tried.must_have(tried.ended())
            if tried.listener.waited:
                raise NotYet(f"{tried.case}: your function waited for one. Take who is there, and wait for nobody.")
    with _Case(answer, "Twenty callers") as tried:
        tried.dial(20)
        tried.start()
        tried.must_have(tried.ended())
    with _Case(answer, "Three callers, of whom the second has reset his call") as tried:
        tried.dial(3)
        tried.lines[1].hang_up_rudely()
        tried.start()
        tried.must_have(tried.ended(), gone=(1,))
    _aborted(answer)
    with _Case(answer, "Two callers; for the second, accept() fails: no descriptors are left (EMFILE)") as tried:
        tried.dial(2)
        tried.listener.trouble, tried.listener.after = OSError(errno.EMFILE, os.strerror(errno.EMFILE)), 1
        tried.start()
        _must_fail(tried)


def _aborted(answer: Callable[..., Any], *more: Any) -> None:
    with _Case(answer, "Two callers, and between them one whose call was aborted in line", None, *more) as tried:
        tried.dial(2)
        tried.listener.trouble, tried.listener.after = ConnectionAbortedError(errno.ECONNABORTED, "aborted"), 1
        tried.start()
        tried.must_have(tried.ended())


def _must_fail(tried: _Case) -> None:
    """NotYet if the answer does not let the error through, about which it can do nothing."""
    tried.trial.wait()
    if not tried.trial.hung and tried.trial.error is None:
        raise NotYet(
            f"{tried.case}: your function returned as if nothing had happened. Catch only the errors that you expect."
        )
    if tried.trial.hung or not isinstance(tried.trial.error, (OSError, ValueError)):
        tried.ended()
    if tried.listener.fileno() >= 0:
        tried.must_be_as_before()


exercise_4a = Exercise(
    "exercise_4a",
    _judge_drain,
    drain,
    "All who were in line, nobody waited for, and the listener as it was.",
    "a listener that does not block raises BlockingIOError when nobody is in line: that ends the loop",
    "gettimeout() gives the mode that you must put back; try … finally puts it back on every way out",
    "a call that was aborted (ConnectionAbortedError) is only one call: go on with the next",
)


# ---------------------------------------------------------------------- 4b


def accept_until(listener, deadline):
    """Take all calls that come until time.monotonic() is deadline, and return the list of their sockets."""
    import time

    before = listener.gettimeout()
    calls = []
    try:
        while True:
            try:
                listener.settimeout(max(0, deadline - time.monotonic()))
                transfer, caller = listener.accept()
                transfer.setblocking(True)
                calls.append(transfer)
            except ConnectionAbortedError:
                pass  # the next one
            except (TimeoutError, BlockingIOError):
                return calls
    except BaseException:
        for transfer in calls:
            transfer.close()
        raise
    finally:
        if listener.fileno() >= 0:
            listener.settimeout(before)


def _judge_until(answer: Callable[..., Any]) -> None:
    for mode, words in MODES.items():
        case = f"Two callers before a listener {words}, and a deadline that has passed"
        with _Case(answer, case, mode, time.monotonic() - 1) as tried:
            tried.dial(2)
            tried.start()
            tried.must_have(tried.ended())
            if tried.listener.waited:
                raise NotYet(f"{case}: your function waited for another one. Take who is there, and wait for nobody.")
    _nobody(answer)
    _some_come(answer)
    _many_come(answer)
    _aborted(answer, time.monotonic() + SLACK / 2)
    case = "Three callers; for the third, accept() fails: no descriptors are left (EMFILE)"
    with _Case(answer, case, None, time.monotonic() + 0.5) as tried:
        tried.dial(3)
        tried.listener.trouble, tried.listener.after = OSError(errno.EMFILE, os.strerror(errno.EMFILE)), 2
        trial = tried.start()
        _must_fail(tried)
        if left := trial.unclosed():
            raise NotYet(
                f"{case}. The error went through, and {len(left)} of the calls that your function had taken stayed "
                "open: nobody else can close them."
            )
    with _Case(answer, "A listener that is closed", None, time.monotonic() + SLACK) as tried:
        tried.listener.close()
        tried.start()
        _must_fail(tried)


def _nobody(answer: Callable[..., Any]) -> None:
    deadline = time.monotonic() + 0.25
    with _Case(answer, "Nobody calls until the deadline", None, deadline) as tried:
        trial = tried.start()
        tried.must_have(tried.ended())
        _must_be_in_time(tried, deadline)
        if trial.actor.calls > ASKED_MOST:
            raise NotYet(
                f"{tried.case}: in a quarter of a second your function made {trial.actor.calls:,} calls. Don't ask "
                "again and again: let accept() wait, with a time-out."
            )


def _some_come(answer: Callable[..., Any]) -> None:
    deadline = time.monotonic() + 0.5
    case = "One caller in line, one a little later, then three at once"
    with _Case(answer, case, 2.5, deadline) as tried:
        tried.dial()
        trial = tried.start()
        for count in (1, 3):  # each time when it waits (where that is seen)
            gate.until(lambda: trial._ended.is_set() or trial.actor.wait is not None, SLACK / 4)
            tried.dial(count)
        got = tried.ended()
        _must_be_in_time(tried, deadline)
        tried.must_have(got, sum(when < deadline - SLACK for when in tried.dialled))


def _many_come(answer: Callable[..., Any]) -> None:
    """Callers come until long after the deadline: a time-out that begins anew with each of them never ends."""
    deadline = time.monotonic() + 0.3
    with _Case(answer, "Callers come one after the other, also after the deadline", None, deadline) as tried:
        trial, late = tried.start(), 0.0
        while not trial._ended.wait(PACE) and (late := time.monotonic() - deadline) < 1:
            tried.dial()
        if late >= 1:
            raise NotYet(
                f"{tried.case}: a second after the deadline your function still took calls. The time that is left gets "
                "shorter with every caller: reckon it anew."
            )
        got = tried.ended()
        tried.must_have(got, sum(when < deadline - SLACK for when in tried.dialled))


def _must_be_in_time(tried: _Case, deadline: float) -> None:
    if (early := deadline - time.monotonic()) > 0.02:
        raise NotYet(
            f"{tried.case}: your function returned {early:.1f} seconds before the deadline, with {tried._given()}. "
            "Others may still come."
        )


exercise_4b = Exercise(
    "exercise_4b",
    _judge_until,
    accept_until,
    "Everybody who came in time, nobody after that, and no call left behind where it failed.",
    "the time that is left, deadline - time.monotonic(), is the time-out of the next accept()",
    "it must not be negative: max(0, …); when nobody is there, 0 makes BlockingIOError of what is else a TimeoutError",
    "an `except BaseException:` closes what was taken and raises again; `finally` puts the time-out back",
)
