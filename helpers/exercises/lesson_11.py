"""The exercises of lesson 11: a percentile, a verdict, and a server of one's own in the race."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from helpers.exercises import trial as trials
from helpers.exercises.conformance import ONE, SEVERAL, Call, play
from helpers.exercises.exercise import Exercise, NotYet, returned
from helpers.exercises.trial import Trial
from helpers.gate import gate, poll
from helpers.recorded_socket import force_close, recorder
from helpers.recording import Recording
from helpers.serving import serving
from helpers.strategies import GREETING
from helpers.width import width_of

WIDTH = 20  #: with so many silent callers but one, others are to be served

# ---------------------------------------------------------------------- 11a


def percentile(times, share):
    """The least of the times that, with all that are no longer, makes up share of them."""
    if not times or not 0 < share <= 1:
        raise ValueError("no times, or no share")
    ordered = sorted(times)
    return next(wait for number, wait in enumerate(ordered, 1) if number / len(ordered) >= share)


def _judge_percentile(answer: Callable[..., Any]) -> None:
    outlier = [1] * 98 + [1000, 2]
    for times, share, wanted, why in (
        ([3], 0.5, 3, "There is one time, and everybody waited that long."),
        ([3, 1, 2], 0.5, 2, "Half of the callers are one and a half: two of the times are no longer than 2."),
        ([1, 4, 2, 8], 0.5, 2, "Two of four waited 2 or less. It is one of the times, not a mean of two."),
        ([9, 1, 2, 3, 4], 1, 9, "All of them waited 9 or less."),
        ([5, 4, 3, 2, 1], 0.2, 1, "One of five is that share already."),
        ([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], 0.75, 8, "Seven of ten are less than that share; eight are enough."),
        (outlier, 0.99, 2, "99 of 100 waited 2 or less: one who waited 1000 is the hundredth."),
        ([2, 2, 2, 7], 0.75, 2, "Times that are the same count as often as they are there."),
    ):
        before = list(times)
        shown = f"{times}" if len(times) < 20 else "98 times 1, 1000 and 2"
        case = f"percentile({shown}, {share})"
        with Trial(answer, times, share) as trial:
            pass
        got = returned(trial, case)
        if got is None:
            raise NotYet(f"{case}: your function returned None. Return one of the times.")
        if got != wanted or isinstance(got, bool):
            raise NotYet(f"{case}: your function returned {got!r:.60}, and it is {wanted}. {why}")
        if times != before:
            raise NotYet(f"{case}: your function changed the list that it was given. Others need it: sorted(times).")
    _refuses(answer, [], 0.5, "There are no times, so none is returned.")
    _refuses(answer, [1, 2, 3], 0, "A share of nothing is no share.")
    _refuses(answer, [1, 2, 3], 50, "A share is at most 1: half is 0.5, not 50.")


def _refuses(answer: Callable[..., Any], times: list[int], share: float, why: str) -> None:
    case = f"percentile({times}, {share})"
    with Trial(answer, times, share) as trial:
        pass
    if trial.hung or not isinstance(trial.error, (ValueError, type(None))):
        returned(trial, f"{case}, which is to raise ValueError")
    if trial.error is None:
        raise NotYet(f"{case}: your function returned {trial.result!r:.60}, and is to raise ValueError. {why}")


exercise_11a = Exercise(
    "exercise_11a",
    _judge_percentile,
    percentile,
    "That is how the curves of 99 in 100 are made: it is a wait that somebody had.",
    "sort them; the first of n is 1/n of all, the second makes 2/n, the last n/n",
    "go through sorted(times) and count: the first for which count / len(times) >= share is the answer",
    "look at the bounds before that: if not times or not 0 < share <= 1: raise ValueError(...)",
)

# ---------------------------------------------------------------------- 11b


def verdict(rounds_a, rounds_b):
    """Who is ahead: "a", "b", or "too close to call"."""
    import statistics

    def is_ahead(ours, theirs):
        enough = len(ours) >= 3 and len(theirs) >= 3
        return enough and min(ours) > max(theirs) and statistics.median(ours) >= 1.3 * statistics.median(theirs)

    if is_ahead(rounds_a, rounds_b):
        return "a"
    return "b" if is_ahead(rounds_b, rounds_a) else "too close to call"


CLOSE = "too close to call"


def _judge_verdict(answer: Callable[..., Any]) -> None:
    for rounds_a, rounds_b, wanted, why in (
        ([120, 100, 110], [50, 60, 55], "a", "Each round of a is above each of b, and the medians are twice apart."),
        ([100, 200, 210], [60, 120, 50], CLOSE, "In one round b had more than a in another: the ranges overlap."),
        ([103, 101, 102], [98, 100, 99], CLOSE, "102 is not 1.3 times 99."),
        ([1000, 110, 112], [101, 100, 102], CLOSE, "The median of a is 112, not 1.3 times 101: a mean believes 1000."),
        ([150, 200], [50, 60], CLOSE, "Two rounds are not three."),
        ([150, 200, 180, 190], [50], CLOSE, "One round of b says little, however many a had."),
        ([130, 130, 130], [100, 100, 100], "a", "130 is 1.3 times 100: that is enough."),
        (
            [150, 300, 200],
            [150, 90, 100],
            CLOSE,
            "A round of each gave 150: not every one of a is above every one of b.",
        ),
        (
            [400, 110, 120, 180],
            [100, 100, 100, 100],
            "a",
            "Of four rounds, the median lies half-way: between 120 and 180.",
        ),
        ([5, 6, 7], [0, 0, 0], "a", "Nobody was answered by b, and 6 is at least 1.3 times nothing."),
        ([0, 0, 0], [0, 0, 0], CLOSE, "Neither answered anybody."),
    ):
        for one, other, right in ((rounds_a, rounds_b, wanted), (rounds_b, rounds_a, "b" if wanted == "a" else wanted)):
            given, before = (list(one), list(other)), (list(one), list(other))
            case = f"verdict({one}, {other})"
            with Trial(answer, *given) as trial:
                pass
            got = returned(trial, case)
            if got != right:
                names = why if right != "b" else f"With the names changed over: {why}"
                raise NotYet(f"{case}: your function returned {got!r:.60}, and is to return {right!r}. {names}")
            if given != before:
                raise NotYet(f"{case}: your function changed a list that it was given. Others need it: sorted(...).")


exercise_11b = Exercise(
    "exercise_11b",
    _judge_verdict,
    verdict,
    "No verdict from luck: result.verdicts are made by the same three rules.",
    "three rules, all of which must hold: enough rounds, ranges that do not meet, medians far enough apart",
    "every round of a is above every round of b: min(rounds_a) > max(rounds_b)",
    "statistics.median; multiply, don't divide: a median may be 0. Write one inner function, and ask it both ways",
)

# ---------------------------------------------------------------------- 11c


def my_server(listener):
    """A wide pool: threads that are kept cost less than one that is begun for each call."""
    from helpers.strategies import thread_pool

    thread_pool(listener, size=40)


def _judge_server(answer: Callable[..., Any]) -> None:
    before, recorder.recording = recorder.recording, Recording()  # (thousands of calls, none of them the lesson's)
    try:
        with _on_the_line(answer) as server:
            _greets(server)
            play((server.host, server.port), ONE)
        _is_wide(answer)
        with _on_the_line(answer) as server:
            play((server.host, server.port), SEVERAL)
    finally:
        recorder.recording = before


@contextmanager
def _on_the_line(answer: Callable[..., Any]) -> Iterator[serving]:
    """The answer serves; if it has ended when a caller is disappointed, that is told first."""
    server = serving(_hangs_up_at_its_end(answer), name="your function")
    try:
        yield server
    except NotYet as problem:
        seen = str(problem)
        raise NotYet(_ended(server) + seen[:1].upper() + seen[1:]) from None
    finally:
        server.stop()


def _hangs_up_at_its_end(answer: Callable[..., Any]) -> Callable[..., Any]:
    """Where the answer ends by itself, no caller has to wait to know."""

    async def serve_in_a_loop(listener: Any) -> None:
        with _open_while_it_serves(listener):
            await answer(listener)

    def serve(listener: Any) -> None:
        with _open_while_it_serves(listener):
            answer(listener)

    return serve_in_a_loop if inspect.iscoroutinefunction(answer) else serve


@contextmanager
def _open_while_it_serves(listener: Any) -> Iterator[None]:
    try:
        yield
    except (Exception, SystemExit):
        force_close(listener)
        raise
    force_close(listener)


def _ended(server: serving) -> str:
    actor = server.actor  # it may be about to end; if it waits for the next call, it is not
    gate.until(lambda: not actor.alive() or (actor.wait is not None and server.listener.fileno() >= 0), 1.0)
    if server.error is not None:
        return f"Your server ended with {type(server.error).__name__}: {server.error}. "
    return "" if server.actor.alive() else "Your server returned: it is to serve until it is ended. "


def _greets(server: serving) -> None:
    """Somebody who dials hears the greeting, or waits no longer than for answers to other exercises."""
    with Call((server.host, server.port), greeted=False) as call:
        line = [call.connection]
        gate.until(lambda: poll(line, [], 0) or not server.actor.alive(), trials.DEADLINE, reads=line)
        if not server.actor.alive():
            raise NotYet("A caller dialled, and nobody was there.")
        if not poll(line, [], 0):
            told = f"A caller dialled, and heard nothing for {trials.DEADLINE:g} seconds"
            raise NotYet(f"{told}: greet it first, with {GREETING!r}.")
        try:
            call.expect(GREETING)
        except NotYet as problem:
            raise NotYet(f"Somebody dialled, and {problem}.") from None
        call.end_sending()
        call.expect_the_end()


def _is_wide(answer: Callable[..., Any]) -> None:
    try:
        width = width_of(answer, WIDTH - 1)
    except Exception as problem:
        raise NotYet(f"Your server ended with {type(problem).__name__}: {problem}.") from None
    if width is not None:
        who = f"{width} callers who say nothing" if width != 1 else "one caller who says nothing"
        raise NotYet(
            f"Your server speaks as it should, but {who} can stop it: nobody else is served. It is to serve others "
            f"beside {WIDTH - 1} silent ones."
        )


exercise_11c = Exercise(
    "exercise_11c",
    _judge_server,
    my_server,
    f"It keeps the protocol whatever its callers do, and {WIDTH - 1} silent ones do not stop it. Now race it.",
    "a strategy of the lessons is a fine beginning: call it, then change one thing, such as the size of a pool",
    "what is said is made already: Conversation().hear(data) gives the answers, .over says when to hang up; LIMIT and "
    "quit are in it",
    "from helpers.strategies import accept, talk. accept(listener) gives a call, talk(connection) serves it to the "
    "end; in how many threads, is yours to say",
    may_be_async=True,
)
