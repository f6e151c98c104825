"""Lesson 05: receive exactly so many bytes, a line, a message with its length before it; and send one."""

from __future__ import annotations

import random
import struct
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

from helpers.exercises.exercise import Exercise, NotYet
from helpers.exercises.on_the_line import Call
from helpers.exercises.peers import cuts, shreds
from helpers.framing import frame

TEXT = "Grüße 𝄞".encode()  # 7 characters, 12 bytes
BROKEN = "Let the error through: the caller must know."
PART = "One recv() gives what has arrived so far: go on until you have all."
END = 'At the end of the stream recv() gives b"", at once, again and again.'


def _size(data: Any) -> str:
    if not isinstance(data, bytes) or len(data) <= 24:
        return repr(data)[:100]
    return f"{len(data):,} bytes ({data[:12]!r}…)"


def _takes(
    answer: Callable[..., Any], case: str, args: Sequence[Any], pieces: Sequence[bytes], wanted: bytes, next_: bytes,
    why: str, short: str = PART,
) -> None:  # fmt: skip
    """Does it return `wanted`, and leave `next_`, which comes with the last piece, on the connection?"""
    call = Call(answer, args, [*pieces[:-1], pieces[-1] + next_])
    got = call.result(case, why)
    if got is None:
        raise NotYet(f"{case}: your function returned None. Return the bytes.")
    if isinstance(got, str):
        raise NotYet(f"{case}: your function returned text (str). Return the bytes as they came.")
    if not isinstance(got, bytes):
        raise NotYet(f"{case}: your function returned a {type(got).__name__}. Make bytes of it: bytes(...).")
    last = next((e.call for e in reversed(call.trial.recording.events) if e.call.receives), None)
    had = last is not None and ((last.stop or 0) - (last.start or 0),) == last.args[:1]  # all that it asked for
    part = f"{len(got):,} of {len(wanted):,} bytes"
    if short is PART and had and wanted != got and wanted == got + call.left.removesuffix(next_):
        raise NotYet(f"{case}: your function asked for {part}, and no more. {why}")
    if got != wanted and wanted.startswith(got):
        raise NotYet(f"{case}: your function returned {_size(got)}, the first {part}. {short}")
    if got != wanted and got.startswith(wanted):
        more = f"{len(got) - len(wanted):,} too many. What is too much belongs to what comes next."
        raise NotYet(f"{case}: your function returned {_size(got)}: {more}")
    if got != wanted:
        raise NotYet(f"{case}: your function returned {_size(got)}, and was to return {_size(wanted)}.")
    if call.left != next_:
        more = f"{len(next_) - len(call.left):,} too many off the connection. What comes next began there: it is lost."
        raise NotYet(f"{case}: what your function returned is right, but it took {more}")


def _fails(
    answer: Callable[..., Any], case: str, args: Sequence[Any], pieces: Sequence[bytes], then: str,
    wanted: type[Exception] = ConnectionError, why: str = "",
) -> None:  # fmt: skip
    """Does it raise `wanted` when the peer ends its stream, resets the call, or claims too much (and stays)?"""
    call = Call(answer, args, pieces, then)
    trial, name = call.trial, wanted.__name__
    if call.waited:
        raise NotYet(f"{case}: your function waited in {call.waited} for what it was not to take. {why}")
    if trial.hung:
        raise NotYet(f"{case}: your function did not return: {trial.hung}. {END}")
    if trial.error is None:
        raise NotYet(f"{case}: your function returned {_size(trial.result)}. Raise {name}. {why}")
    if not isinstance(trial.error, wanted) or isinstance(trial.error, struct.error):
        raise NotYet(f"{case}: your function raised {trial.raised()}. What is wanted is {name}. {why}")


# ---------------------------------------------------------------------- 5a


def recv_exactly(connection, count):
    """Receive exactly count bytes, however the stream is cut."""
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:  # the end of the stream
            raise ConnectionError(f"the stream ended after {len(data)} of {count} bytes")
        data += piece
    return data


def _judge_exactly(answer: Callable[..., Any]) -> None:
    def takes(case: str, pieces: Sequence[bytes]) -> None:
        data = b"".join(pieces)
        why = f"You were asked for {len(data):,} bytes: once you have them, return them."
        _takes(answer, case, (len(data),), pieces, data, b"NEXT", why)

    for words, pieces in cuts(TEXT):
        takes(f"12 bytes that come {words}", pieces)
    takes("No bytes at all (count is 0)", [b""])
    for size in (1, 255, 256, 4097, 65_535):
        takes(f"{size:,} bytes that come in pieces", shreds(random.Random(size).randbytes(size)))
    for came in range(5):
        case = f"A peer who ends its stream after {came} of 5 bytes"
        _fails(answer, case, (5,), [b"hello"[:came]], "ends", why="Its caller must not take a part for the whole.")
    for came in (0, 3):
        case = f"A peer who resets the call after {came} of 5 bytes"
        _fails(answer, case, (5,), [b"hello"[:came]] * bool(came), "resets", why=BROKEN)


exercise_5a = Exercise(
    "exercise_5a",
    _judge_exactly,
    recv_exactly,
    "Not a byte too few, not a byte too many, and no silence when the stream ends early.",
    "one recv() may give fewer bytes than you ask for: call it in a loop",
    "never ask for more than is still missing: count - len(data)",
    'b"" from recv() is the end of the stream: nothing will come any more, so raise ConnectionError',
)


# ---------------------------------------------------------------------- 5b


def read_line(connection, limit=4096):
    """Receive one line, its newline included, and no byte of what follows; b"" at the end of the stream."""
    line = b""
    while not line.endswith(b"\n"):
        if len(line) == limit:
            raise ValueError(f"no newline in {limit} bytes")
        byte = connection.recv(1)  # one by one: what follows the newline stays where it is
        if not byte and line:
            raise ConnectionError(f"the stream ended within a line, after {line!r}")
        if not byte:
            return b""
        line += byte
    return line


def _judge_line(answer: Callable[..., Any]) -> None:
    def takes(case: str, pieces: Sequence[bytes], *limit: int) -> None:
        why, short = (
            "Its newline had come, within the limit: there it ends.",
            "A line ends with its newline, not before.",
        )
        _takes(answer, case, limit, pieces, b"".join(pieces), b"the next line\n", why, short)

    for words, pieces in cuts(TEXT + b"\n"):
        takes(f"A line that comes {words}", pieces)
    takes("An empty line (nothing but its newline)", [b"\n"])
    takes("A line with other white space in it", [b" a\tb\x0bc\x0c\rd\xc2\x85 \r\n"])
    takes("A line whose bytes are no text", [b"\xff\xfe\xf0\x9f\n"])
    takes("A line of 16 bytes, newline included, and a limit of 16", [b"x" * 10, b"x" * 5 + b"\n"], 16)
    takes("A line of 4,096 bytes, newline included, and the usual limit", shreds(b"x" * 4095 + b"\n"))
    takes("A line of 65,535 bytes, and a limit of 65,535", shreds(b"x" * 65_534 + b"\n"), 65_535)

    case, call = "A peer who ends its stream, no line begun", Call(answer, (), [], "ends")
    if (got := call.result(case, 'No line has begun: return b"".')) != b"":
        raise NotYet(f'{case}: your function returned {got!r}. Return b"": no line is empty, each has a newline.')
    for came in (1, 3, len(TEXT)):
        case = f"A peer who ends its stream within a line, after {came} bytes of it"
        _fails(answer, case, (), [TEXT[:came]], "ends", why="A line without its newline is only a part of one.")
    for begun in ([], [b"hel"]):
        _fails(answer, f"A peer who resets the call{' within a line' * len(begun)}", (), begun, "resets", why=BROKEN)
    for extra in (b"", b"\n", b"x" * 5000):
        case = f"A limit of 16, and a line of which {16 + len(extra):,} bytes have come"
        case += "" if b"\n" in extra else ", none of them a newline"
        why = "After 16 bytes without a newline it is clear that the line is too long: do not wait for its end."
        _fails(answer, case, (16,), [b"x" * 16 + extra], "stays", ValueError, why)


exercise_5b = Exercise(
    "exercise_5b",
    _judge_line,
    read_line,
    "Line by line, whatever the cuts; and nobody fills your memory with a line that never ends.",
    "what you take off the connection and don't return is lost: how can you stop right after the newline?",
    "recv(1) gives one byte; it is slow, and it is right (a parser that keeps the rest is both fast and right)",
    'before each recv: is the line already `limit` bytes long? After each: is it b""? Has the line begun?',
)


# ---------------------------------------------------------------------- 5c


def send_message(connection, payload):
    """Send one message: its length in 4 bytes, the big end first, and then the payload."""
    connection.sendall(struct.pack("!I", len(payload)) + payload)


def _judge_send(answer: Callable[..., Any]) -> None:
    _sends(answer, "A text with long characters, as 12 bytes of UTF-8", TEXT)
    _sends(answer, "An empty message", b"")
    _sends(answer, "A message to a peer who has said something himself", b"hello", pieces=[b"NEXT"])
    _sends(answer, "A message of every byte that there is", bytes(range(256)))
    for size in (1, 255, 65_535):
        _sends(answer, f"A message of {size:,} bytes", random.Random(size).randbytes(size))
    case = "A message of 1 MB, on a socket with a time-out, and a peer who is slow to read"
    _sends(answer, case, random.Random(5).randbytes(1 << 20), timeout=10.0, room=1 << 16)
    _fails(answer, "A peer who has reset the call", (b"hello",), [], "resets", why=BROKEN)


def _sends(answer: Callable[..., Any], case: str, payload: bytes, **how: Any) -> None:
    call = Call(answer, (payload,), **how)
    call.waited *= not call.waited.startswith("select")  # for room, as a send that waits
    call.result(case, "It is to send, and no more.")
    if call.left != b"".join(how.get("pieces", ())):
        raise NotYet(f"{case}: your function took bytes off the connection. It is to send, and no more.")
    heard, length = call.heard, len(payload)
    if heard == frame(payload):
        return
    if heard == payload:
        raise NotYet(f"{case}: the peer got the payload, and no length before it.")
    if heard[4:] == payload:
        (told,) = struct.unpack("!I", heard[:4])
        if heard[:4] == struct.pack("<I", length):
            raise NotYet(
                f"{case}: the length begins with its little end: {heard[:4]!r}. The peer reads it in network byte "
                f"order, as {told:,}."
            )
        if told == length + 4:
            raise NotYet(f"{case}: the length says {told}: it counts its own 4 bytes. Count the payload alone.")
        if told == len(payload.decode(errors="replace")):
            raise NotYet(f"{case}: the length says {told}, the number of characters. The payload has {length} bytes.")
        raise NotYet(f"{case}: the length says {told:,}, and the payload has {length:,} bytes.")
    if len(heard) < length and frame(payload).startswith(heard):
        raise NotYet(
            f"{case}: the peer got only {len(heard):,} of {length + 4:,} bytes. send() may take a part, and says how "
            "much: send the rest, or let sendall() do that."
        )
    raise NotYet(f"{case}: the peer got {_size(heard)}, and was to get {_size(frame(payload))}.")


exercise_5c = Exercise(
    "exercise_5c",
    _judge_send,
    send_message,
    "Four bytes that say how many follow, and then just as many.",
    'struct.pack("!I", number) makes 4 bytes of a number, the big end first',
    "len() of the bytes is the number; the payload follows as it is",
    "one sendall() of both, or two, one after the other",
)


# ---------------------------------------------------------------------- 5d


def receive_message(connection, limit=65536):
    """Receive one message that has its length before it."""

    def receive(count):
        data = b""
        while len(data) < count:
            piece = connection.recv(count - len(data))
            if not piece:
                raise ConnectionError("the stream ended within a message")
            data += piece
        return data

    start = connection.recv(1)
    if not start:
        raise EOFError("the stream ended between messages")
    (length,) = struct.unpack("!I", start + receive(3))
    if length > limit:
        raise ValueError(f"{length:,} bytes announced, {limit:,} allowed")
    return receive(length)


def _judge_receive(answer: Callable[..., Any]) -> None:
    def takes(case: str, pieces: Sequence[bytes], *limit: int) -> None:
        stream = b"".join(pieces)
        why = f"The 4 bytes {stream[:4]!r} say {len(stream) - 4:,}, the big end first: so many follow them."
        _takes(answer, case, limit, pieces, stream[4:], frame(b"next"), why)

    for words, pieces in cuts(frame(b"hello")):
        takes(f"A message of 5 bytes that comes {words}", pieces)
    takes("An empty message", [frame(b"")])
    takes("A text with long characters", [frame(TEXT)[:6], frame(TEXT)[6:]])
    for size in (1, 255, 256, 65_535, 65_536):
        takes(f"A message of {size:,} bytes in pieces", shreds(frame(random.Random(size).randbytes(size))))
    takes("A message of 5 bytes, and a limit of 5", [frame(b"hello")], 5)

    case = "A peer who ends its stream between messages"
    why = 'The end is no message (b"" is one: the empty message), and nothing is broken.'
    _fails(answer, case, (), [], "ends", EOFError, why)
    for came in range(1, 9):
        case = f"A peer who ends its stream within a message, after {came} of 9 bytes"
        _fails(answer, case, (), [frame(b"hello")[:came]], "ends", why="That message is broken: it never came whole.")
    for begun in ([], [b"\0\0"], [frame(b"hello")[:6]]):
        case = f"A peer who resets the call{' within a message' * len(begun)}"
        _fails(answer, case, (), begun, "resets", why=BROKEN)
    _refuses(answer, "A peer who announces 101 bytes, where 100 are allowed", struct.pack("!I", 101), 100)
    _refuses(answer, "A peer who announces 64 MB", struct.pack("!I", 64 << 20))
    _refuses(answer, "A peer who announces 4 GB", b"\xff\xff\xff\xff")


def _refuses(answer: Callable[..., Any], case: str, header: bytes, *limit: int) -> None:
    why = "The length alone says that the message is too long: refuse it before you wait for it."
    mine = not tracemalloc.is_tracing()
    if mine:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        _fails(answer, case, limit, [header + b"0123456789"], "stays", ValueError, why)
        taken = tracemalloc.get_traced_memory()[1] - before
    finally:
        if mine:
            tracemalloc.stop()
    if taken > 32 << 20:
        raise NotYet(f"{case}: it was refused, but {taken >> 20} MB of room were made before. Read the length first.")


exercise_5d = Exercise(
    "exercise_5d",
    _judge_receive,
    receive_message,
    "Whole messages only, however they were cut; and nobody makes you keep 4 GB.",
    "receive the 4 bytes of the length first, and no more: they may come in pieces, too (exercise 5a)",
    'struct.unpack("!I", header) gives a tuple of one number; compare it with the limit before you go on',
    "the end of the stream before the first byte is EOFError; anywhere later it is ConnectionError",
)
