"""Lesson 02: answer one call, answer three, and tell who called."""

from __future__ import annotations

import errno
import socket as standard
from collections.abc import Callable
from typing import Any

from helpers import recorded_socket as socket
from helpers.exercises.exercise import Exercise, NotYet, returned
from helpers.exercises.peers import Callers, Line, Script
from helpers.exercises.trial import Trial

REPLY = b"I got your message"


class _Case:
    """A listener, its callers, and the answer on trial; `lines` are the calls as the callers saw them."""

    def __init__(
        self, answer: Callable[..., Any], case: str, *scripts: Script, at_once: bool = False, more: Any = ()
    ) -> None:
        self.case = case
        with standard.create_server(("127.0.0.1", 0)) as bare:
            listener = socket.socket(fileno=bare.detach())
        self.port = listener.getsockname()[1]
        with listener, Callers(listener.getsockname(), *scripts, at_once=at_once) as callers:
            with Trial(answer, listener, *more) as trial:
                trial.wait()
                self.closed_listener = listener.fileno() < 0
            listener.close()  # whoever still waits in line learns that nobody will come
            if not trial.hung and trial.error is None:
                callers.finish()
            self.trial, self.lines, self.ports = trial, callers.lines, callers.ports

    def returned(self) -> Any:
        """What the answer returned; NotYet if it hung, raised, or closed what is not its own."""
        error = self.trial.error
        if isinstance(error, OSError) and error.errno == errno.ENOTCONN:
            raise NotYet(
                f"{self.case}: your function raised {self.trial.raised()}. Data never passes over the listener: "
                "receive on the socket that accept() gives."
            )
        if self.closed_listener:
            raise NotYet(
                f"{self.case}: your function closed the listener. It belongs to who made it: close the transfer socket."
            )
        return returned(self.trial, self.case)


def _says(text: bytes) -> Script:
    def script(line: Line) -> None:
        line.say(text)
        line.hear_all()

    return script


def _answered_first(trial: Trial) -> bool:
    """Did it say something before it had heard a word?  The caller can't tell; the record can."""
    done = [e.call for e in trial.recording.events if not e.waits and e.call.role == trial.actor.name]
    first = next((call for call in done if call.sends or call.receives), None)
    return first is not None and first.sends


def _says_nothing(line: Line) -> None:
    line.connection.shutdown(standard.SHUT_WR)
    line.hear_all()


# ---------------------------------------------------------------------- 2a


def answer_one(listener):
    """Take one call from listener, answer it, and return the message that came."""
    transfer, caller = listener.accept()
    with transfer:
        message = transfer.recv(255)
        transfer.sendall(b"I got your message")
    return message


def _judge_one(answer: Callable[..., Any]) -> None:
    for case, message in (
        ("A caller who says hello", b"hello"),
        ("A caller whose bytes are no text", b"\xff\x00\xfe"),
        ("A caller who says 255 bytes", b"x" * 255),
    ):
        _one(answer, case, _says(message), message)
    _one(answer, "A caller who ends his stream without a word", _says_nothing, b"")


def _one(answer: Callable[..., Any], case: str, script: Script, message: bytes) -> None:
    tried = _Case(answer, case, script)
    got = tried.returned()
    line = tried.lines[0] if tried.lines else None
    if line is None:
        raise NotYet(f"{case}: your function returned {got!r} without taking the call. accept() takes it.")
    if _answered_first(tried.trial):
        raise NotYet(f"{case}: your function answered before the caller had said a word. Receive first, then answer.")
    if line.heard == b"" and got == message and not line.reset:
        raise NotYet(f"{case}: the caller waited for an answer, and the call ended without one.")
    if line.heard == message and message not in (b"", REPLY):
        raise NotYet(f"{case}: the caller heard its own words again. Answer with {REPLY!r}.")
    if line.heard != REPLY:
        raise NotYet(f"{case}: the caller heard {line.heard!r}, and was to hear {REPLY!r}.")
    if got is None:
        raise NotYet(f"{case}: the answer is right, but your function returned None. Return the message.")
    if isinstance(got, str):
        raise NotYet(f"{case}: your function returned text (str). Return the bytes as they came.")
    if got != message:
        raise NotYet(f"{case}: the caller said {message[:40]!r}, and your function returned {got!r}.")
    if tried.trial.unclosed():
        raise NotYet(
            f"{case}: all was said, but `{tried.trial.unclosed()[0]}` was never closed by your function: only Python's "
            "own tidying up ended the call. close() it, or use `with`."
        )


exercise_2a = Exercise(
    "exercise_2a",
    _judge_one,
    answer_one,
    "One call taken, heard, answered and hung up; and the listener is still there for the next one.",
    "accept() gives two things: the transfer socket, and the caller's address",
    "recv, sendall and close all happen on the transfer socket, in this order",
    "`with transfer:` closes it on every way out",
)


# ---------------------------------------------------------------------- 2b


def answer_three(listener):
    """Answer three callers, one after another, and return their messages in order."""
    messages = []
    for _ in range(3):
        transfer, caller = listener.accept()
        with transfer:
            messages.append(transfer.recv(255))
            transfer.sendall(b"I got your message")
    return messages


def _judge_three(answer: Callable[..., Any]) -> None:
    three = [b"one", b"two", b"three"]
    _three(answer, "Three callers, each dialling when the one before has its answer", three, at_once=False)
    _three(answer, "Three callers who wait in line from the start", three, at_once=True)
    _three(answer, "Three callers, the second of whom says nothing", [b"one", b"", b"three"], at_once=False)


def _three(answer: Callable[..., Any], case: str, said: list[bytes], at_once: bool) -> None:
    tried = _Case(answer, case, *(_says(text) if text else _says_nothing for text in said), at_once=at_once)
    answered = sum(line.heard == REPLY for line in tried.lines)
    if tried.trial.hung and answered < 3:
        accepts = sum(e.call.name == "accept" and not e.waits for e in tried.trial.recording.events)
        if accepts < 2 and answered == 1:
            raise NotYet(
                f"{case}: one caller was answered, then your function stuck: {tried.trial.hung}. Every caller is a "
                "call of its own: accept() again for each."
            )
        if answered == 0 and not at_once:
            raise NotYet(
                f"{case}: nobody was answered, and your function did not return: {tried.trial.hung}. The second caller "
                "dials only after the first has its answer: answer one before you accept the next."
            )
    if tried.closed_listener and answered < 3:
        raise NotYet(
            f"{case}: {answered} of 3 were answered, then the listener was closed. Close only the transfer socket."
        )
    got = tried.returned()
    if answered < 3:
        raise NotYet(f"{case}: {answered} of 3 callers were answered, and your function returned {got!r}.")
    if isinstance(got, bytes):
        raise NotYet(f"{case}: your function returned one bytes object. Return a list with a message for each caller.")
    if got != said:
        raise NotYet(f"{case}: the messages were {said!r}, and your function returned {got!r}.")
    if tried.trial.unclosed():
        raise NotYet(
            f"{case}: {len(tried.trial.unclosed())} transfer sockets were never closed. Each needs its own close()."
        )


exercise_2b = Exercise(
    "exercise_2b",
    _judge_three,
    answer_three,
    "Three calls, three transfer sockets, one listener.",
    "put what answer_one does into a loop that runs three times",
    "the listener is made once and stays; a new transfer socket comes out of it for every caller",
)


# ---------------------------------------------------------------------- 2c


def print_callers(listener, count):
    """Take count calls, print for each the caller's host and port on a line of its own, and hang up."""
    for _ in range(count):
        transfer, (host, port) = listener.accept()
        print(f"call from {host}, port {port}")
        transfer.close()


def _judge_callers(answer: Callable[..., Any]) -> None:
    for count in (1, 3):
        case = "One caller" if count == 1 else "Three callers"
        tried = _Case(answer, case, *[Line.hear_all] * count, more=(count,))
        tried.returned()
        lines = [line for line in tried.trial.printed.splitlines() if line.strip()]
        if not lines:
            raise NotYet(f"{case}: your function printed nothing.")
        if str(tried.port) in "".join(lines) and not any(str(port) in "".join(lines) for port in tried.ports):
            raise NotYet(
                f"{case}: port {tried.port} is your own, the listener's. The caller's address is the second thing that "
                "accept() gives (or transfer.getpeername())."
            )
        for number, (port, line) in enumerate(zip(tried.ports, lines, strict=False), 1):
            if str(port) not in line:
                raise NotYet(f"{case}: line {number} is {line!r}, and caller {number} called from port {port}.")
            if "127.0.0.1" not in line:
                raise NotYet(f"{case}: line {number} has the caller's port and not the host, 127.0.0.1.")
        if len(lines) != count:
            raise NotYet(f"{case}: your function printed {len(lines)} lines. Print one for each caller.")
        if tried.trial.unclosed():
            raise NotYet(
                f"{case}: the lines are right, but a transfer socket was never closed. Hang up on each caller."
            )


exercise_2c = Exercise(
    "exercise_2c",
    _judge_callers,
    print_callers,
    "Same listener, same local port; every caller has a port of his own.",
    "accept() gives the transfer socket and the caller's address: a pair of host and port",
    "take the pair apart in place: transfer, (host, port) = listener.accept()",
)
