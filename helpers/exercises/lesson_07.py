"""Lesson 07: a server whose silent callers cost the others little, and a meter that counts who is greeted."""

from __future__ import annotations

import select
import socket as standard
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

from helpers import recorded_socket as socket
from helpers.exercises import trial as trials
from helpers.exercises.conformance import answers
from helpers.exercises.exercise import Exercise, NotYet, returned
from helpers.exercises.on_call import SMALL, Guest, OnCall, on_call
from helpers.exercises.trial import Trial
from helpers.gate import Wait, gate, poll
from helpers.strategies import GREETING

# ---------------------------------------------------------------------- 7a


def serve_within(listener, limit):
    """Serve callers one after the other, none of them for longer than limit seconds."""
    import time

    from helpers.strategies import GREETING, SIZE, Conversation, accept

    while True:
        connection, conversation, unsent = accept(listener), Conversation(), GREETING
        deadline = time.monotonic() + limit
        with connection:
            try:
                while (left := deadline - time.monotonic()) > 0:
                    connection.settimeout(left)
                    if unsent:
                        unsent = unsent[connection.send(unsent) :]
                    elif conversation.over:
                        break
                    else:
                        unsent = conversation.hear(connection.recv(SIZE))
            except OSError:  # time is up, or the caller is gone
                pass


LIMIT, LONGER = 0.3, 0.5  #: seconds
TALK, ANSWERED = b"hello\nquit\n", GREETING + b"1 hello\nbye\n"  # what a caller says at once, and is to hear
AT_LEAST = 3.0  #: seconds for which a caller goes on that should have been cut off after LIMIT


def _judge_within(answer: Callable[..., Any]) -> None:
    _talk_in_turn(answer)
    _nobody_comes(answer)
    _silent(answer)
    _drips(answer)
    _chatters(answer)
    _does_not_read(answer)


def _talk_in_turn(answer: Callable[..., Any]) -> None:
    with on_call(answer, "Callers who speak and quit, one after the other (limit=60)", 60.0) as server:
        for _ in range(2):
            server.guest().talks(b"hello", b"", b"how are you")
        guest = server.guest()
        guest.say(b"he")
        guest.say(b"llo\nand ")
        guest.expect(answers(b"hello"))
        guest.talks(b"you", b"and you", first=2, half=b"and ")
    why = "Such a caller is lost; the next one is not: recv and send raise OSErrors."
    with on_call(answer, "Callers who hang up or reset their calls early (limit=60), then another", 60.0, why=why) as s:
        for said in (b"", b"half", b"hello\nhalf"):
            for greeted in (True, False):
                for leave in (Guest.hang_up, Guest.hang_up_rudely):
                    guest = s.guest(greeted)
                    guest.say(said)
                    leave(guest)
        s.guest().talks(b"still there?")


def _is_served(server: OnCall, guest: Guest | None = None, limit: float = LIMIT, pause: float = 0.0) -> None:
    """`guest`, or one who dials after a `pause`, says all at once and hears the answers.

    One whose time was over before that dials anew: where the machine held up the server, this was no fault of its own.
    """
    end, since = time.monotonic() + trials.DEADLINE, 0.0
    while True:
        if guest is None:
            server.trial._ended.wait(pause)
            gate.until(lambda: server.is_over or not _is_late(server.trial.actor.wait), trials.DEADLINE)
            since, guest = time.monotonic(), server.guest(greeted=False)
        guest.say(TALK)
        try:
            return guest.expect(ANSWERED)
        except NotYet:
            now = time.monotonic()
            if now - since < limit or now > end or not ANSWERED.startswith(guest.heard):
                raise
            guest = None


def _is_late(wait: Wait | None) -> bool:
    """Is the time-out of this wait over, and its thread has not noticed yet?"""
    return wait is not None and wait.left() == 0


def _nobody_comes(answer: Callable[..., Any]) -> None:
    case = f"Nobody calls for a while, then a caller (limit={LIMIT:g})"
    why = "The time begins anew with every accept(), and only the transfer socket gets a time-out."
    with on_call(answer, case, LIMIT, why=why) as server:
        _is_served(server, pause=LIMIT + 0.1)


def _until_undisturbed(scene: Callable[[], bool]) -> None:
    """Play this scene; anew, where it says that the machine held up its callers: what they did was not what they do."""
    end = time.monotonic() + 3 * trials.DEADLINE
    while not scene() and time.monotonic() < end:
        pass


def _cut_off(guest: Guest, since: float, why: str, say: Callable[[], object] = lambda: None) -> list[float]:
    """This caller, who dialled at `since`, does `say()` every now and then until it is hung up on.

    Returns when it looked, in seconds since it dialled: the last time it was cut off, all other times it was not.
    NotYet if it is on the line after `AT_LEAST` seconds.
    """
    looks = [0.0]
    while looks[-1] < min(AT_LEAST, trials.DEADLINE):
        looks.append(time.monotonic() - since)
        try:
            say()
            if select.select([guest.connection], [], [], 0.02)[0] and not guest.connection.recv(1 << 20):
                break
        except BlockingIOError:
            continue
        except ConnectionError:
            break
        if guest.server.is_over:
            raise NotYet("it has ended")
    else:
        raise NotYet(f"{guest.server.case}: it was still on the line after {AT_LEAST:g} seconds. {why}")
    return [*looks, time.monotonic() - since]


def _longest_gap(looks: list[float]) -> float:
    return max(later - look for look, later in pairwise(looks))


def _silent(answer: Callable[..., Any]) -> None:
    case = f"One says nothing, another one dials (limit={LONGER:g})"
    why = "The silent caller holds your server. Give its waits what is left of the time: settimeout."

    def scene() -> bool:
        since = time.monotonic()
        quiet, other = server.guest(greeted=False), server.guest(greeted=False)
        other.say(TALK)
        *_, before, last = _cut_off(quiet, since, why)
        if last < LONGER - 0.02:  # (whatever the machine does, a server that keeps its time takes that)
            told = f"the silent one was hung up on after {last:.2f} s. It may still speak until its time is over."
            raise NotYet(f"{case}: {told}")
        _is_served(server, other, LONGER)
        return before > 0.8 * LONGER  # else it may have been cut off long before it looked

    with on_call(answer, case, LONGER) as server:
        _until_undisturbed(scene)


def _drips(answer: Callable[..., Any]) -> None:
    case = f"One says a byte every 20 ms, and no line (limit={LIMIT:g})"
    why = "A time-out is for one recv(): each byte began it anew. Note the deadline when you accept, and give every "
    why += "recv what is left until then."

    def scene() -> bool:
        since, guest = time.monotonic(), server.guest(greeted=False)
        looks = _cut_off(guest, since, why, lambda: guest.connection.sendall(b"."))
        _is_served(server)
        return _longest_gap(looks) < LIMIT / 2

    with on_call(answer, case, LIMIT) as server:
        _until_undisturbed(scene)


def _chatters(answer: Callable[..., Any]) -> None:
    case = f"One says line after line and hears the answers (limit={LIMIT:g})"
    why = "Where something has always come already, no time-out is reached: look at the clock each time round, too."

    def scene() -> bool:
        since, guest = time.monotonic(), server.guest(greeted=False)
        guest.connection.setblocking(False)
        looks = _cut_off(guest, since, why, lambda: _say_much(guest))
        _is_served(server)
        return _longest_gap(looks) < LIMIT / 3

    with on_call(answer, case, LIMIT) as server:
        _until_undisturbed(scene)


def _say_much(guest: Guest) -> None:
    """Enough for the server to be busy with for a while, where there is room for it on the way."""
    try:
        for _ in range(16):
            guest.connection.send(b"hello\n" * 2000)
    except BlockingIOError:
        pass


def _does_not_read(answer: Callable[..., Any]) -> None:
    case = f"One says much and reads no answers, another one dials (limit={LIMIT:g})"
    why = "Sending waits, too, when the other side reads nothing: it needs what is left of the time as recv does."

    def scene() -> bool:
        looks = [time.monotonic()]
        deaf, other = server.guest(greeted=False, room=SMALL), server.guest(greeted=False)
        other.say(TALK)
        deaf.connection.setblocking(False)
        while not poll([other.connection], [], 0) and not server.is_over:
            looks.append(time.monotonic())
            if looks[-1] - looks[0] > trials.DEADLINE:
                raise NotYet("the other one has heard nothing")
            try:
                if select.select([other.connection], [deaf.connection], [], 0.02)[1]:
                    deaf.connection.send(b"hello\n" * 2000)
            except BlockingIOError:
                pass
            except OSError:  # it was hung up on
                break
        _is_served(server, other)
        return _longest_gap([*looks, time.monotonic()]) < LIMIT / 2

    with on_call(answer, case, LIMIT, why=why, room=SMALL) as server:
        _until_undisturbed(scene)


exercise_7a = Exercise(
    "exercise_7a",
    _judge_within,
    serve_within,
    "Whatever a caller does, it has its time and no more. It is still one at a time: the others wait, not for ever.",
    "begin with talk and accept: what is missing is a deadline, time.monotonic() + limit, noted after accept()",
    "before every recv and every send: left = deadline - time.monotonic(); if nothing is left, close; else "
    "connection.settimeout(left)",
    "TimeoutError is an OSError, as a reset is: one `except OSError` ends the call; `with connection:` closes it",
)


# ---------------------------------------------------------------------- 7b


def count_greeted(address, count, seconds):
    """Dial count times, and count who has heard something within seconds."""
    import select
    import time

    lines, greeted = [], 0
    try:
        for _ in range(count):
            lines.append(socket.create_connection(address))
        deadline, waiting = time.monotonic() + seconds, list(lines)
        while waiting and (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select(waiting, [], [], left)
            for line in ready:
                waiting.remove(line)
                try:
                    greeted += line.recv(1) != b""
                except ConnectionError:  # a reset
                    pass
    finally:
        for line in lines:
            line.close()
    return greeted


class _Host:
    """A server of the judge's: it accepts so many callers, and when it may, does `act` with their sockets."""

    def __init__(self, count: int, act: Callable[[list[standard.socket]], None]) -> None:
        self.listener = standard.create_server(("127.0.0.1", 0), backlog=64)
        self.listener.settimeout(2 * trials.DEADLINE)
        self.address = self.listener.getsockname()
        self._count, self._act, self._left, self.may = count, act, ExitStack(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> _Host:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.listener.shutdown(standard.SHUT_RDWR)  # wakes an accept() that waits (Linux)
        except OSError:
            pass
        try:
            standard.create_connection(self.address, 1).close()  # ... elsewhere a call does
        except OSError:
            pass
        self._thread.join(3 * trials.DEADLINE)
        self._left.close()
        self.listener.close()

    def _run(self) -> None:
        try:
            calls = [self._left.enter_context(self.listener.accept()[0]) for _ in range(self._count)]
            self.may.wait(trials.DEADLINE)
            self._act(calls)
        except OSError:  # nobody dials any more, or the callers are gone
            pass


_Act = Callable[[list[standard.socket]], None]


def _greets(which: Callable[[int], bool], backwards: bool = False, text: bytes = GREETING) -> _Act:
    def act(calls: list[standard.socket]) -> None:
        numbered = list(enumerate(calls))
        for number, call in numbered[::-1] if backwards else numbered:
            if which(number):
                call.sendall(text)

    return act


def _leaves_some(calls: list[standard.socket]) -> None:
    """The first is hung up on, the second by a reset; the others are greeted."""
    calls[0].close()
    calls[1].setsockopt(standard.SOL_SOCKET, standard.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    calls[1].close()
    _greets(lambda number: True)(calls[2:])


def _judge_meter(answer: Callable[..., Any]) -> None:
    everybody = _greets(lambda number: True)
    _counts(answer, "The server greets each of 5 callers (seconds=60)", 5, everybody, 60.0, 5)
    why = "It waits for all to dial, and yours waited for a greeting first."
    late = _greets(lambda number: True, backwards=True)
    _counts(answer, "The server takes 5 callers, then greets the last one first (seconds=60)", 5, late, 60.0, 5, why)
    one_byte = _greets(lambda number: True, text=b"h")
    _counts(answer, "The server says one byte to each of 5 callers (seconds=60)", 5, one_byte, 60.0, 5)
    why = "Who reads the end of the stream, b'', or a reset has heard nothing, and need not be waited for."
    case = "The server hangs up on one of 5 callers, resets another one's call, and greets three (seconds=60)"
    _counts(answer, case, 5, _leaves_some, 60.0, 3, why)
    half = _greets(lambda number: number % 2 == 1)
    _counts(answer, "The server greets every second of 20 callers (seconds=1)", 20, half, 1.0, 10, at_least=1.0)
    with standard.create_server(("127.0.0.1", 0)) as gone:
        address = gone.getsockname()
    case = "Nobody listens at that number"
    with Trial(answer, address, 3, 0.5) as trial:
        trial.wait()
    if trial.hung or not isinstance(trial.error, ConnectionRefusedError):
        what = f"did not return: {trial.hung}" if trial.hung else f"raised {trial.raised()}"
        what = f"returned {trial.result!r:.40}" if not trial.hung and trial.error is None else what
        raise NotYet(f"{case}: your function {what}. Let the error of the dial, ConnectionRefusedError, go through.")
    _must_have_closed(trial, case)


def _counts(
    answer: Callable[..., Any], case: str, count: int, act: _Act, seconds: float, wanted: int,
    why: str = "", at_least: float = 0.0,
) -> None:  # fmt: skip
    with _Host(count, act) as host:
        with Trial(answer, host.address, count, seconds) as trial:
            if not at_least:  # it is greeted when it has dialled and listens
                trial.rest(limit=0.2)
            host.may.set()
            trial.wait()
    dials = len([end for end in trial.recording.ends if end.dial is not None])
    if trial.hung:
        hint = "The seconds are for all callers together." if at_least else why or "All were greeted: return then."
        if 0 < dials < count:
            hint = f"It had dialled {dials} of {count} times. All dial first, and then listen."
        raise NotYet(f"{case}: your function did not return: {trial.hung}. {hint}")
    if isinstance(trial.error, (ConnectionError, TimeoutError)):
        raise NotYet(f"{case}: your function raised {trial.raised()}. Whoever hears nothing is simply not counted.")
    got = returned(trial, case)
    if dials and dials != count:
        raise NotYet(f"{case}: your function dialled {dials} times, and was to dial {count} times.")
    if isinstance(got, bool) or not isinstance(got, int):
        raise NotYet(f"{case}: your function returned {got!r:.40}. Return how many were greeted, a number.")
    if got != wanted:
        raise NotYet(f"{case}: {wanted} heard something, and your function returned {got}. {why}".rstrip())
    if trial.took < at_least:
        raise NotYet(f"{case}: your function returned after {trial.took:.2f} s. Others might still have been greeted.")
    _must_have_closed(trial, case)


def _must_have_closed(trial: Trial, case: str) -> None:
    if left := trial.unclosed():
        raise NotYet(f"{case}: your function left {len(left)} of its sockets open. Close all, on every way out.")


exercise_7b = Exercise(
    "exercise_7b",
    _judge_meter,
    count_greeted,
    "You can measure any server's width now: dial more callers than you think it serves.",
    "make all calls first and keep their sockets in a list; only then listen",
    "select.select(waiting, [], [], left) gives those who heard something, or were hung up on: take them off the list",
    "note the deadline once, and give select what is left; close all in a `finally`",
)
