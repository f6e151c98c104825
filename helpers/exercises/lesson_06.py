"""Lesson 06: hang up politely, and find the leak in a server."""

from __future__ import annotations

import errno
import socket as standard
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from helpers import recorded_socket as socket
from helpers.exercises.exercise import Exercise, NotYet, returned
from helpers.exercises.on_the_line import Farewell, short
from helpers.exercises.peers import PATIENCE, Callers, Line, Script
from helpers.exercises.trial import Trial
from helpers.gate import gate, poll
from helpers.recorded_socket import recorder
from helpers.waits import Wait

# ---------------------------------------------------------------------- 6a


def close_politely(connection, timeout=2.0):
    """Say that you are done, hear the other side out for at most timeout seconds, then close."""
    import time

    deadline = time.monotonic() + timeout
    heard = b""
    with connection:
        try:
            connection.shutdown(socket.SHUT_WR)
            while (left := deadline - time.monotonic()) > 0:
                connection.settimeout(left)
                piece = connection.recv(4096)
                if not piece:
                    break
                heard += piece
        except OSError:  # a reset, or nothing more in time
            pass
    return heard


def _until_it_listens(trial: Trial, before: Wait | None = None, limit: float = 0.2) -> Wait | None:
    """Until the answer has taken what came and waits for more (in this wait, which is not `before`), or has ended; a
    wait that is not recorded is not seen, and gets `limit` seconds."""

    def waits() -> Wait | None:
        with gate.lock:
            wait = trial.actor.wait
            return None if wait is None or wait is before or wait.ready() else wait

    gate.until(lambda: trial._ended.is_set() or waits() is not None, limit)
    return waits()


def _judge_politely(answer: Callable[..., Any]) -> None:
    _thanked(answer, "The other side says thanks when it has read your end of stream", b"thanks")
    _thanked(answer, "The other side has 200,000 bytes more to say", b"goodbye " * 25_000)
    _hangs_up_too(answer)
    _silent(answer)
    _speaks_late(answer)
    _chatters(answer)
    _resets(answer)


def _hangs_up_too(answer: Callable[..., Any]) -> None:
    case = "The other side hangs up as soon as you do (timeout=60)"
    tried = Farewell(answer, case, lambda line, trial: line.hear_all(), 60.0)
    if tried.trial.hung:
        raise NotYet(f"{case}: {tried.trial.hung}. The end of its stream had come: there was nothing to wait for.")
    tried.heard(b"")


def _thanked(answer: Callable[..., Any], case: str, words: bytes) -> None:
    def script(line: Line, trial: Trial) -> None:
        line.hear_all()
        _until_it_listens(trial)  # or is done
        line.say(words)

    tried = Farewell(answer, case, script)
    if any(way != standard.SHUT_WR for way in tried.ways):
        raise NotYet(
            f"{case}: your function ended both directions, and could not hear the answer. Only the sending ends: "
            "shutdown(socket.SHUT_WR)."
        )
    early = not tried.ways
    if early and tried.trial.result in (None, b"") and not tried.trial.error:
        listened = any(event.call.name.startswith("recv") for event in tried.trial.recording.events)
        if tried.trial.hung or listened:
            raise NotYet(
                f"{case}: you listened, and it waited for the end of your stream, which never came: say first that you "
                "are done, shutdown(socket.SHUT_WR)."
            )
        raise NotYet(
            f"{case}: your function closed without listening, and {short(words)} came to a closed socket. That is a "
            "reset, and lost words: shutdown(socket.SHUT_WR), then recv, then close()."
        )
    got = tried.heard(None)
    if got != words and words.startswith(got):
        _silent(answer)  # (who gave up too soon is told that, however slow the machine)
        raise NotYet(
            f"{case}: your function returned {short(got)} of {short(words)}. It stopped before the end of the "
            "stream: recv until it gives b''."
        )
    tried.heard(words)
    if early:
        raise NotYet(f"{case}: it never read the end of your stream before you closed: shutdown(socket.SHUT_WR) first.")


def _silent(answer: Callable[..., Any]) -> None:
    case = "The other side says nothing and never hangs up (timeout=0.5)"
    tried = Farewell(answer, case, _holds_on, 0.5)
    if tried.trial.hung:
        raise NotYet(f"{case}: {tried.trial.hung}. Give recv a limit: connection.settimeout(...).")
    if isinstance(tried.trial.error, TimeoutError):
        raise NotYet(f"{case}: your function raised {tried.trial.raised()}. Time is up: close, and return what came.")
    tried.heard(b"")
    if (took := tried.trial.took) < 0.45:
        raise NotYet(f"{case}: your function closed after {took:.2f} s. More may come until the time is up.")
    if took > 1.5 and Farewell(answer, case, _holds_on, 0.5).trial.took > 1.5:  # (not just a slow machine)
        raise NotYet(f"{case}: your function closed after {took:.1f} s. The time is given: timeout.")


def _holds_on(line: Line, trial: Trial) -> None:
    trial._ended.wait(PATIENCE)


def _speaks_late(answer: Callable[..., Any]) -> None:
    """Nobody waits the minute out, and no clock is asked whether it would be: what the waits were given says so."""
    case, began, waits = "The other side says one byte, late (timeout=60)", time.monotonic(), list[Wait | None]()

    def script(line: Line, trial: Trial) -> None:
        waits.append(first := _until_it_listens(trial, limit=0.5))
        trial._ended.wait(0.02)
        line.say(b".")
        waits.append(_until_it_listens(trial, first, 0.5))

    tried = Farewell(answer, case, script, 60.0)
    limits = [(wait.timeout, wait.deadline) for wait in waits if wait and wait.timeout and wait.deadline]
    # (who waits in small steps gives each step the same limit, and none of them ends after the minute)
    if len(limits) == 2 and limits[1][0] >= limits[0][0] and limits[1][1] > began + 60:
        raise NotYet(
            f"{case}: when it had come, your function was ready to wait for {limits[1][0]:g} s more. The timeout is "
            "for all of it together, not for each recv(): set it to what is left, deadline - time.monotonic()."
        )
    tried.heard(b".")


def _chatters(answer: Callable[..., Any]) -> None:
    case = "The other side says a byte every 20 ms and never ends (timeout=0.4)"

    def script(line: Line, trial: Trial) -> None:
        while not trial._ended.wait(0.02):
            line.say(b".")

    tried = Farewell(answer, case, script, 0.4)
    if tried.trial.hung:
        raise NotYet(
            f"{case}: {tried.trial.hung}. The timeout is for all of it together, not for each recv(): note the "
            "deadline at the start."
        )
    got = tried.heard(None)
    if not got or got.strip(b"."):
        raise NotYet(f"{case}: your function returned {short(got)}. When time is up, return what came until then.")


def _resets(answer: Callable[..., Any]) -> None:
    def says_bye(line: Line, trial: Trial) -> None:
        line.hear_all()
        line.say(b"bye")
        _until_it_listens(trial)  # for more: some systems throw away what was not received before a reset
        line.hang_up_rudely()

    def is_gone(line: Line, trial: Trial) -> None:
        line.hang_up_rudely()

    for case, script, first, wanted in (
        ("The other side says bye, then resets the call", says_bye, False, b"bye"),
        ("The other side has reset the call before you hang up", is_gone, True, b""),
    ):
        tried = Farewell(answer, case, script, first=first)
        if isinstance(tried.trial.error, OSError) and tried.closed:
            raise NotYet(
                f"{case}: your function raised {tried.trial.raised()}. The call is over, and that is what you wanted: "
                "close, and return what came before."
            )
        tried.heard(wanted)


exercise_6a = Exercise(
    "exercise_6a",
    _judge_politely,
    close_politely,
    "Nothing lost, nobody kept waiting for ever, and closed on every way out.",
    "three steps: shutdown(socket.SHUT_WR), recv until b'' (or until time is up), close()",
    "note the deadline once: deadline = time.monotonic() + timeout; before each recv, "
    "connection.settimeout(what is left), as long as something is left",
    "a reset, a time-out and a shutdown of a dead call are all OSError; `with connection:` closes on every way out",
)


# ---------------------------------------------------------------------- 6b


def find_the_leak(listener):
    """Double each caller's number until one says b"quit"; return how many were answered."""
    answered = 0
    while True:
        transfer, caller = listener.accept()
        with transfer:  # closed on every way out
            try:
                message = transfer.recv(255)
                if message == b"quit":
                    return answered
                if message:
                    number = message.isdigit()
                    transfer.sendall(b"%d" % (2 * int(message)) if number else b"not a number")
                    answered += number
            except ConnectionError:  # recv may find that the caller is gone, and so may sendall
                pass


def _as_given(listener):
    """The server as it stands in the notebook, leaks and all."""
    answered, guests = 0, []
    while True:
        transfer, caller = listener.accept()
        guests.append(transfer)
        try:
            message = transfer.recv(255)
            if message == b"quit":
                return answered
            if message:
                number = message.isdigit()
                transfer.sendall(b"%d" % (2 * int(message)) if number else b"not a number")
                answered += number
                transfer.close()
        except ConnectionError:
            continue


_Guest = tuple[Script, bytes]  #: what a caller does, and what it is to hear


def _asks(text: bytes, reply: bytes) -> Script:
    def script(line: Line) -> None:
        line.say(text)
        line.hear(len(reply))

    return script


def _asks_and_resets(line: Line) -> None:
    """Ask, and reset the call before the question can be taken: whatever is answered then fails."""

    found: list[Any] = []

    def accepted() -> bool:
        found[:] = [sock for sock in recorder.sockets if sock.end.peer == line.connection.getsockname()]
        return bool(found) or poll([line.connection], [], 0)  # (or nobody will)

    def is_dead() -> bool:
        with suppress(OSError):
            return not found[0].getpeername()
        return True  # the reset has arrived: it has no peer any more (on Windows it keeps the name)

    gate.until(accepted, limit=PATIENCE)
    if found:
        with found[0].end.turn:  # nothing is received meanwhile
            line.say(b"hello")
            line.hang_up_rudely()
            gate.until(is_dead, limit=0.5)


QUIT = _asks(b"quit", b"x")  # hears nothing but the end of the stream
ASKS: _Guest = _asks(b"21", b"42"), b"42"
SILENT: _Guest = Line.hang_up, b""
CONFUSED: _Guest = _asks(b"hello", b"not a number"), b"not a number"
RUDE: _Guest = Line.hang_up_rudely, b""
HASTY: _Guest = _asks_and_resets, b""
AT_ONCE = 4  #: more sockets than a server with a thread for each caller has open, when they come one after another


def _judge_leak(answer: Callable[..., Any]) -> None:
    for case, scripts, answered in (
        ("A caller who says b'quit'", [], 0),
        ("A caller with a number", [ASKS], 1),
        ("A caller who hangs up without a word", [SILENT], 0),
        ("A caller who says b'hello', which is no number", [CONFUSED], 0),
        ("A caller who resets the call", [RUDE], 0),
        ("A caller who says b'hello', and resets the call before you answer", [HASTY], 0),
        ("Fifteen callers, of all kinds", [ASKS, SILENT, CONFUSED, RUDE, HASTY] * 3, 3),
    ):
        _serves(answer, case, scripts, answered)


def _serves(answer: Callable[..., Any], case: str, scripts: list[_Guest], answered: int) -> None:
    with standard.create_server(("127.0.0.1", 0)) as bare:
        listener = socket.socket(fileno=bare.detach())
    with listener, Callers(listener.getsockname(), *(script for script, _ in scripts), QUIT) as callers:
        with Trial(answer, listener) as trial:
            trial.wait()
            closed_listener = listener.fileno() < 0
        listener.close()  # whoever still waits in line learns that nobody will come
        callers.finish()
    if isinstance(trial.error, ConnectionError) and not trial.hung:
        raise NotYet(
            f"{case}: your server ended with {trial.raised()}. That caller is lost; the next one "
            "is not: recv and sendall may both find that the caller is gone."
        )
    if isinstance(trial.error, ValueError):
        raise NotYet(f"{case}: your server ended with {trial.raised()}. Tell that caller b'not a number', and go on.")
    if isinstance(trial.error, OSError) and trial.error.errno == errno.EBADF and not closed_listener:
        raise NotYet(
            f"{case}: your server ended with {trial.raised()}. That socket was closed already: say what you have to "
            "say within the `with`, before close()."
        )
    if closed_listener:
        raise NotYet(f"{case}: your server closed the listener. It belongs to who made it: close the transfer sockets.")
    got = returned(trial, case)
    for line, (_, reply) in zip(callers.lines, scripts, strict=False):
        if line.heard != reply and reply:
            raise NotYet(f"{case}: it heard {line.heard!r}, and was to hear {reply!r}, as before the mending.")
    if left := len(trial.unclosed()):
        what = "its transfer socket" if len(scripts) < 2 else f"{left} of {len(scripts) + 1} transfer sockets"
        raise NotYet(
            f"{case}: your server never closed {what}. Follow that caller's way through your code: which line closes "
            "its socket?"
        )
    if (most := _open_at_once(trial)) > AT_ONCE:
        raise NotYet(
            f"{case}: {most} sockets were open at once, though the callers came one after another. Close each when its "
            "call is over, not all of them at the end."
        )
    if got != answered:
        raise NotYet(f"{case}: {answered} callers got a number, and your server returned {got!r}.")


def _open_at_once(trial: Trial) -> int:
    """How many transfer sockets it had open at the same time, at most."""
    count = most = 0
    for call in (event.call for event in trial.recording.events if not event.waits and event.call.error is None):
        count += (call.name == "accept") - (call.name == "close")
        most = max(most, count)
    return most


exercise_6b = Exercise(
    "exercise_6b",
    _judge_leak,
    find_the_leak,
    "Sixteen calls, sixteen closed sockets, whatever the callers did.",
    "a word, silence, quit, a reset before recv, a reset before sendall: which of these ways meet transfer.close()?",
    "a close() at each of the ways out works until somebody adds another way; one place for all is better",
    "`with transfer:` right after accept() closes on every way out: return, continue and errors, too",
    given=_as_given,
)
