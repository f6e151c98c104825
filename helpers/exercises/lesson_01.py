"""Lesson 01: make a call, and keep trying until somebody answers."""

from __future__ import annotations

import random
import socket as standard
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from helpers import recorded_socket as socket
from helpers.exercises.exercise import Exercise, NotYet, returned
from helpers.exercises.peers import Line, Server, a_port_where_nobody_listens
from helpers.exercises.trial import Trial

# ---------------------------------------------------------------------- 1a


def ask(host, port, message):
    """Send one message to the server at host, port, and return its whole reply."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.connect((host, port))
        client.sendall(message)
        reply = b""
        while True:
            piece = client.recv(4096)
            if not piece:  # the end of the stream: the server has hung up
                return reply
            reply += piece


def _judge_ask(answer: Callable[..., Any]) -> None:
    for size in range(2, 8):
        whole = b"I got your message"
        pieces = [whole[i : i + size] for i in range(0, len(whole), size)]
        _ask_once(answer, "A reply that comes in one piece", b"hello", [whole])
        _ask_once(answer, f"A reply that comes in {len(pieces)} pieces", b"hello", pieces)
    _ask_once(answer, "A server that hangs up without a word", b"hello", [])
    _ask_once(answer, "Bytes that are no text", bytes(range(256)), [bytes(range(255, -1, -1))])
    big = random.Random(7).randbytes(200_000)
    _ask_once(answer, "A message of 200,000 bytes", big, [b"thank you"])
    _ask_once(answer, "A reply of 200,000 bytes", b"hello", [big])
    _ask_nobody(answer)


def _ask_once(answer: Callable[..., Any], case: str, message: bytes, pieces: list[bytes]) -> None:
    reply = b"".join(pieces)

    def script(line: Line) -> None:
        line.hear(len(message))
        for piece in pieces:
            line.say(piece)
            trial.rest()  # so that it takes this piece before the next one comes
        line.connection.shutdown(standard.SHUT_WR)
        line.hear_all()

    with Server(script) as server:
        trial = Trial(answer, server.host, server.port, message)
        with trial:
            trial.wait()
        if server.lines and not trial.hung:
            server.finish()
        heard = server.lines[0].heard if server.lines else None
    if heard is None:
        trouble = f" It did not return: {trial.hung}." if trial.hung else ""
        trouble = f" It raised {trial.raised()}." if trial.error and not trial.hung else trouble
        raise NotYet(f"{case}: nobody dialled the server at the host and port that your function was given.{trouble}")
    if trial.hung and heard == message:
        raise NotYet(
            f"{case}: the server got your message, replied, hung up, and your function did not return: {trial.hung}. "
            'What does recv() give at the end of the stream? (b"", at once, again and again)'
        )
    if trial.hung and not heard:
        raise NotYet(f"{case}: the server never got the message, and still waits for it: {trial.hung}.")
    got = returned(trial, case)
    if heard != message:
        raise NotYet(f"{case}: the server should have got {_size(message)}, and got {_size(heard)}.")
    if got is None:
        raise NotYet(f"{case}: your function returned None. Return the reply.")
    if isinstance(got, str):
        raise NotYet(f"{case}: your function returned text (str). Return the bytes as they came.")
    if got != reply and isinstance(got, bytes) and reply.startswith(got):
        raise NotYet(
            f"{case}: your function returned the first {len(got):,} of {len(reply):,} bytes. One recv() gives what has "
            'arrived so far, not the whole reply: go on until it gives b"".'
        )
    if got != reply:
        raise NotYet(f"{case}: your function returned {_size(got)}, and the server said {_size(reply)}.")
    if trial.unclosed():
        raise NotYet(
            f"{case}: the reply is right, but `{trial.unclosed()[0]}` was never closed: close() it, or use `with`."
        )


def _ask_nobody(answer: Callable[..., Any]) -> None:
    case = "A port where nobody listens"
    with Trial(answer, "127.0.0.1", a_port_where_nobody_listens(), b"hello") as trial:
        trial.wait()
    if trial.hung:
        raise NotYet(f"{case}: your function did not return: {trial.hung}.")
    if not isinstance(trial.error, ConnectionRefusedError):
        came = f"raised {type(trial.error).__name__}" if trial.error else f"returned {trial.result!r}"
        raise NotYet(f"{case}: your function {came}. Let the ConnectionRefusedError through: its caller must know.")


def _size(data: Any) -> str:
    if not isinstance(data, bytes):
        return repr(data)[:60]
    return repr(data) if len(data) <= 30 else f"{len(data):,} bytes ({data[:12]!r}…)"


exercise_1a = Exercise(
    "exercise_1a",
    _judge_ask,
    ask,
    "Replies in one piece, in many pieces, empty and long: your client reads every one to its end.",
    "the calls are those of the lesson, in the same order: socket, connect, sendall, recv, close",
    'the reply may come in pieces: gather what recv() gives until it gives b""',
    "`with socket.socket() as client:` closes the socket on every way out",
)


# ---------------------------------------------------------------------- 1b


def dial(host, port, deadline, pause):
    """Dial until somebody answers, with growing pauses, and return the connected socket."""
    seconds, spent = 0.1, 0.0
    while True:
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            client.connect((host, port))
            return client
        except ConnectionRefusedError:
            client.close()
            if spent + seconds > deadline:
                raise
        pause(seconds)
        spent += seconds
        seconds *= 2


class _Clock:
    """Stands in for time.sleep: it keeps the pauses, sleeps none of them, and starts the server when its turn comes."""

    def __init__(self, starts: Callable[[], None] = lambda: None, after: int = -1, most: int = 60) -> None:
        self.pauses: list[float] = []
        self._starts, self._after, self._most = starts, after, most

    def __call__(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if len(self.pauses) == self._after:
            self._starts()
        if len(self.pauses) > self._most:
            raise RuntimeError("too many pauses")


def _judge_dial(answer: Callable[..., Any]) -> None:
    _dial_in_time(answer, "A server that is up already", 0)
    _dial_in_time(answer, "A server that comes up during the third pause", 3)
    _dial_in_vain(answer)
    _dial_wrongly(answer)


def _dial_in_time(answer: Callable[..., Any], case: str, after: int) -> None:
    port = a_port_where_nobody_listens()
    listeners: list[standard.socket] = []

    def start() -> None:
        listener = standard.socket()
        listener.setsockopt(standard.SOL_SOCKET, standard.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(5)
        listeners.append(listener)

    clock = _Clock(start, after)
    if not after:
        start()
    try:
        with Trial(answer, "127.0.0.1", port, 60, clock) as trial:
            trial.wait()
            got = returned(trial, case)
            if not after and clock.pauses:
                raise NotYet(f"{case}: your function paused {len(clock.pauses)} times. Pause only after a refusal.")
            if got is None:
                raise NotYet(f"{case}: your function returned None. Return the socket that is connected.")
            _must_be_connected(case, got)
            if after and len(clock.pauses) > after:
                raise NotYet(f"{case}: your function went on pausing after the server was there.")
            got.close()
        _must_grow(case, clock.pauses)
    finally:
        for listener in listeners:
            listener.close()


def _must_be_connected(case: str, got: Any) -> None:
    try:
        got.getpeername()
    except AttributeError:
        raise NotYet(
            f"{case}: your function returned {type(got).__name__}. Return the socket that is connected."
        ) from None
    except OSError:
        raise NotYet(f"{case}: the socket that came back is not connected (or was closed before its time).") from None


def _must_grow(case: str, pauses: list[float]) -> None:
    if any(second <= first for first, second in pairwise(pauses)):
        told = ", ".join(f"{seconds:g}" for seconds in pauses[:5])
        raise NotYet(
            f"{case}: your pauses were {told} seconds. Let each be longer than the one before, so that a server in "
            "trouble is not dialled to death."
        )


def _dial_in_vain(answer: Callable[..., Any]) -> None:
    case = "A server that never comes up, and a deadline of 5 seconds"
    clock = _Clock()
    with Trial(answer, "127.0.0.1", a_port_where_nobody_listens(), 5, clock) as trial:
        trial.wait()
    if len(clock.pauses) > 60:
        raise NotYet(f"{case}: your function paused {sum(clock.pauses):.0f} seconds in all, and would go on for ever.")
    if trial.hung:
        raise NotYet(f"{case}: {trial.hung}. Does it wait by pause(seconds), and give up?")
    if not isinstance(trial.error, ConnectionRefusedError):
        came = f"raised {trial.raised()}" if trial.error else f"returned {trial.result!r}"
        raise NotYet(f"{case}: your function {came}. In the end, let the last ConnectionRefusedError through.")
    if len(clock.pauses) < 2:
        raise NotYet(f"{case}: your function gave up after {len(clock.pauses)} pauses. There was time for more.")
    if sum(clock.pauses) > 5:
        raise NotYet(
            f"{case}: the pauses came to {sum(clock.pauses):.1f} seconds. Give up before the sum passes the deadline."
        )
    _must_grow(case, clock.pauses)
    if trial.unclosed():
        raise NotYet(f"{case}: {len(trial.unclosed())} sockets were left open. Close the one that was refused.")


def _dial_wrongly(answer: Callable[..., Any]) -> None:
    case = "A host that is no text (the number 127)"
    clock = _Clock()
    with Trial(answer, 127, 9, 5, clock) as trial:
        trial.wait()
    if clock.pauses:
        raise NotYet(
            f"{case}: your function tried again. Only a refusal may pass with time: catch ConnectionRefusedError."
        )
    if not isinstance(trial.error, (ValueError, TypeError, OSError)):
        raise NotYet(
            f"{case}: the error was to come through, so that the caller of your function learns of the mistake."
        )


exercise_1b = Exercise(
    "exercise_1b",
    _judge_dial,
    dial,
    "It waits longer each time, answers as soon as somebody listens, and knows when to give up.",
    "a refused connect() raises ConnectionRefusedError: catch that one alone, around connect()",
    "make a new socket for every try, and close the one that was refused",
    "keep two numbers: how long the next pause is (double it), and how much time the pauses have taken",
)
