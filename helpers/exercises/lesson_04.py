"""Lesson 04: take all who wait in line, and all who come until a deadline."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import Any

from helpers.exercises.exercise import Exercise, NotYet
from helpers.exercises.in_line import MODES, Case
from helpers.gate import gate

SLACK = 0.2  #: seconds: who dials so close to a deadline may be taken or not
PACE = 0.06  #: seconds from one caller to the next, of those who come one after the other
ASKED_MOST = 12  #: calls that an answer may make while nobody comes


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
    except BaseException:
        for transfer in calls:
            transfer.close()
        raise
    finally:
        listener.settimeout(before)


def _judge_drain(answer: Callable[..., Any]) -> None:
    for count, who in (3, "Three callers"), (0, "Nobody"):
        for mode, words in MODES.items():
            with Case(answer, f"{who} before a listener {words}", mode) as tried:
                tried.dial(count)
                tried.must_take_all()
                if tried.listener.waited:
                    raise NotYet(f"{tried.case}: your function waited for one. Take who is there, and wait for nobody.")
                if any(name == "select" and seconds != 0 for name, seconds in tried.time_outs()):
                    raise NotYet(
                        f"{tried.case}: your function was ready to wait in select(). Take who is there, and wait for "
                        "nobody: a time-out of 0 only looks."
                    )
    with Case(answer, "Twenty callers") as tried:
        tried.dial(20)
        tried.must_take_all()
    with Case(answer, "Three callers, of whom the second has reset his call") as tried:
        tried.dial(3)
        tried.lines[1].hang_up_rudely()
        tried.must_take_all(gone=(1,))
    _aborted(answer)
    _no_descriptors(answer)
    _handed_on(answer)


def _aborted(answer: Callable[..., Any], *more: Any) -> None:
    with Case(answer, "Two callers, and between them one whose call was aborted in line", None, *more) as tried:
        tried.dial(2)
        tried.listener.trouble, tried.listener.after = ConnectionAbortedError(errno.ECONNABORTED, "aborted"), 1
        tried.must_take_all()


def _handed_on(answer: Callable[..., Any], *more: Any) -> None:
    """Linux never hands the listener's mode on, so only here is it seen whether an answer asks for what it needs."""
    if os.name != "posix":
        return  # nobody can see a socket's mode there
    case = "Two callers, on a system where a listener that does not block gives sockets that do not either"
    with Case(answer, case, 0.0, *more) as tried:
        tried.listener.hands_on = True
        tried.dial(2)
        tried.must_take_all()


def _no_descriptors(answer: Callable[..., Any], *more: Any) -> None:
    case = "Three callers; for the third, accept() fails: no descriptors are left (EMFILE)"
    with Case(answer, case, None, *more) as tried:
        tried.dial(3)
        tried.listener.fails(after=2)
        tried.start()
        _must_fail(tried)


def _must_fail(tried: Case) -> None:
    """NotYet if the answer does not let the error through, about which it can do nothing, or leaves calls open."""
    tried.trial.wait()
    if not tried.trial.hung and tried.trial.error is None:
        raise NotYet(
            f"{tried.case}: your function returned as if nothing had happened. Catch only the errors that you expect."
        )
    if tried.trial.hung or not isinstance(tried.trial.error, (OSError, ValueError)):
        tried.ended()
    if tried.listener.fileno() >= 0:
        tried.must_be_as_before()
    if left := len(tried.trial.unclosed()):
        raise NotYet(
            f"{tried.case}. The error went through, and {left} of the calls that your function had taken stayed open: "
            "nobody else can close them."
        )


exercise_4a = Exercise(
    "exercise_4a",
    _judge_drain,
    drain,
    "All who were in line, nobody waited for, no call left behind where it failed, and the listener as it was.",
    "a listener that does not block raises BlockingIOError when nobody is in line: that ends the loop",
    "gettimeout() gives the mode that you must put back; try … finally puts it back on every way out",
    "a call that was aborted (ConnectionAbortedError) is only one call: go on with the next",
    "an `except BaseException:` round the loop closes what was taken, and raises again",
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
        with Case(answer, case, mode, time.monotonic() - 1) as tried:
            tried.dial(2)
            tried.start()
            if (got := tried.ended()) == []:
                raise NotYet(f"{case}: your function took nobody. Late as it is, take all who are in line.")
            tried.must_have(got)
            if tried.listener.waited:
                raise NotYet(f"{case}: your function waited for another one. Take who is there, and wait for nobody.")
    _nobody(answer)
    _some_come(answer)
    _many_come(answer)
    _aborted(answer, time.monotonic() + SLACK / 2)
    _no_descriptors(answer, time.monotonic() + 2)
    case = "One caller in line, one a little later, and after that accept() fails: no descriptors are left (EMFILE)"
    with Case(answer, case, None, time.monotonic() + 2) as tried:
        tried.dial()
        tried.start()
        tried.until_it_waits()
        tried.listener.fails()
        tried.dial()
        _must_fail(tried)
    _handed_on(answer, time.monotonic() - 1)
    with Case(answer, "A listener that is closed", None, time.monotonic() + SLACK) as tried:
        tried.listener.close()
        tried.start()
        _must_fail(tried)


def _nobody(answer: Callable[..., Any]) -> None:
    for seconds in (0.25, 1.0):
        began = time.monotonic()
        deadline = began + seconds
        with Case(answer, "Nobody calls until the deadline", None, deadline) as tried:
            trial = tried.start()
            tried.must_have(tried.ended())
            _must_be_in_time(tried, deadline)
            waits = tried.listener.in_vain
            if sum(until < deadline - 0.02 for _, until in waits) > 1 or trial.actor.calls > ASKED_MOST:
                raise NotYet(  # (to look once, before it waits, is as good)
                    f"{tried.case}: in {seconds:g} seconds your function made {trial.actor.calls:,} calls. Don't ask "
                    "again and again: let accept() wait, with a time-out."
                )
        if any(start < began + 0.06 and until >= deadline - 0.02 for start, until in waits):
            return
        # it waits elsewhere (in select(), say); or it asks often, and the machine stood still: once more, longer


def _some_come(answer: Callable[..., Any]) -> None:
    for seconds in (0.5, 2.0, 8.0):  # (anew with more time, where the machine stood still meanwhile)
        deadline = time.monotonic() + seconds
        case = "One caller in line, one a little later, then three at once"
        with Case(answer, case, 2.5, deadline) as tried:
            tried.dial()
            tried.start()
            for count in (1, 3):  # each time when it waits (where that is seen)
                _must_take(tried)
                tried.until_it_waits()
                tried.dial(count)
            in_time = tried.dialled[-1] < deadline - 0.4
            _must_take(tried)
            got = tried.ended()
            _must_be_in_time(tried, deadline)
            tried.must_have(got, sum(when < deadline - SLACK for when in tried.dialled))
        if in_time:
            return


def _must_take(tried: Case) -> None:
    """NotYet if the answer lets people stand in line, asleep until the deadline, say."""

    def done() -> bool:
        return tried.trial._ended.is_set() or tried.listener.given == len(tried.lines)

    for _ in range(6):  # (in six waits rather than a long one: where the machine stands still, that is one of them)
        gate.until(done, 0.05)
    if not done():
        raise NotYet(
            f"{tried.case}: your function had taken {tried._given()}, and while it waited let others stand in line, "
            "where there may be few places. Take each call when it comes: accept() and select() wait for just that."
        )


def _many_come(answer: Callable[..., Any]) -> None:
    """Callers come until long after the deadline: a time-out that begins anew with each of them never ends."""
    deadline = time.monotonic() + 0.3
    with Case(answer, "Callers come one after the other, also after the deadline", None, deadline) as tried:
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


def _must_be_in_time(tried: Case, deadline: float) -> None:
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
    "or: select() with that time-out waits for the next caller, and drain() of 4a takes all who are there then",
)
