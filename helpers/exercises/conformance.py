"""Does a server keep the protocol of Part II (see `helpers.strategies`)?  It is asked from outside, by its callers.

Each case is a function of an address, (host, port): it rings the server up, and raises NotYet with a sentence for a
person.  `conforms` plays all of them.  Nothing is decided by how quick the server is: every wait is for what must come,
and longer than `PATIENCE` seconds for none of it.
"""

from __future__ import annotations

import random
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Self

from helpers.exercises.exercise import NotYet
from helpers.exercises.peers import Line
from helpers.strategies import GREETING, LIMIT

PATIENCE = 10.0  #: seconds that a caller waits for what must come
QUIET = 0.5  #: seconds without taking a byte, after which a server counts as one that does not read
MOST = 64 << 20  #: bytes that no server takes from a caller who reads nothing; the kernels' buffers hold about 7 MB
Address = tuple[str, int]
Case = Callable[[Address], None]


class Call(Line):
    """One call of the server at `address`; it has heard the greeting, unless it is not to."""

    def __init__(
        self, address: Address, greeted: bool = True, line: socket.socket | None = None, patience: float | None = None
    ) -> None:
        line = socket.socket() if line is None else line
        self.patience = PATIENCE if patience is None else patience
        line.settimeout(self.patience)
        super().__init__(line)
        try:
            line.connect(address)
        except OSError as problem:
            line.close()
            raise NotYet(f"nobody answers the dial ({type(problem).__name__}): has the server died?") from None
        self.connection.settimeout(self.patience)
        self._told = 0  # so many bytes of what it heard were as they should be
        self._sent = 0  # so many bytes it sent without reading
        if greeted:
            try:
                self.expect(GREETING)
            except NotYet:
                self.connection.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self.connection.close()

    def say(self, data: bytes) -> None:
        """Send `data`; where the server has hung up, what is heard next tells it."""
        try:
            super().say(data)
        except ConnectionError:
            pass
        except TimeoutError:
            told = f"the server has read nothing for {self.patience:g} seconds, though its caller reads"
            raise NotYet(told) from None

    def expect(self, text: bytes) -> None:
        """Hear `text` next; NotYet as soon as it is anything else, or does not come."""
        begin, at = self._told, 0
        while at < len(text):
            how = self._hear_more(min(len(text) - at, 65536))
            new = bytes(self._heard[begin + at :])
            if new != text[at : at + len(new)] or how:
                at = text.rfind(b"\n", 0, at) + 1  # from the beginning of that line
                heard = _short(bytes(self._heard[begin + at :]))
                raise NotYet(f"the caller should have heard {_short(text[at:])}, and heard {heard}{how}")
            at += len(new)
        self._told += at

    def expect_the_end(self, orderly: bool = True) -> None:
        """Hear the end of the stream next; a reset will also do if it need not be `orderly`."""
        how = self._hear_more(4096)
        if more := bytes(self._heard[self._told :]):
            raise NotYet(f"the server should have hung up, and said {_short(more)}")
        if not self.ended and (orderly or not self.reset):
            raise NotYet(f"the server should have hung up: the caller heard nothing{how}")

    def _hear_more(self, count: int) -> str:
        """Receive once; say what was there in place of bytes, if anything was."""
        try:
            self._receive(count)
        except ConnectionError:
            self.reset = True
            return ", and then a reset"
        except TimeoutError:
            return f", and then nothing for {self.patience:g} seconds"
        return ", and then the end of the stream" if self.ended else ""

    def end_sending(self, last: bytes = b"") -> None:
        """Send `last` and the end of its stream, in one packet where the system can, and go on to hear."""
        try:
            if last:
                self.connection.sendall(last, getattr(socket, "MSG_MORE", 0))  # Linux: wait for what comes next
            self.connection.shutdown(socket.SHUT_WR)
        except ConnectionError:  # the server has hung up: what is heard next tells it
            pass

    def say_until_it_waits(self) -> int:
        """Send lines and read nothing, until the server takes no more; return the bytes that were taken by now."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 262144)  # what waits at this end is not much
        line = b"x" * 1000 + b"\n"
        while self.is_read_from(QUIET):
            self.connection.setblocking(False)
            try:
                self._sent += self.connection.send(line[self._sent % len(line) :] + line * 63)
            except BlockingIOError:
                pass
            except ConnectionError:
                raise NotYet(f"the server reset the call of one who had sent {self._sent:,} bytes") from None
            finally:
                self.connection.settimeout(self.patience)
            if self._sent > MOST:
                raise NotYet(f"one who reads nothing sent {self._sent:,} bytes, and more is read: where do answers go?")
        return self._sent

    def is_read_from(self, within: float = 0) -> bool:
        """Is there, within so many seconds, room for more on the way to the server?"""
        return bool(select.select([], [self.connection], [], within)[1])


def _short(text: bytes) -> str:
    return repr(text) if len(text) <= 60 else f"{text[:30]!r}…{text[-20:]!r} ({len(text):,} bytes)"


def answers(*lines: bytes, first: int = 1) -> bytes:
    """What the server says to these lines."""
    return b"".join(b"%d %s\n" % (number, line) for number, line in enumerate(lines, first))


def others_go_on(address: Address) -> None:
    """One more caller is served as ever.  (When it has heard its answers, the server has been through all before.)"""
    with Call(address) as call:
        for number in range(1, 4):
            call.say(b"still there?\n")
            call.expect(answers(b"still there?", first=number))
        call.say(b"quit\n")
        call.expect(b"bye\n")
        call.expect_the_end(orderly=False)


# ---------------------------------------------------------------------- one caller at a time


def it_greets(address: Address) -> None:
    """The greeting comes first, before the caller has said anything."""
    with Call(address) as call:
        call.end_sending()
        call.expect_the_end()


def it_counts(address: Address) -> None:
    """Lines are numbered from 1, in each call anew."""
    for _ in range(2):
        with Call(address) as call:
            for number in range(1, 13):
                call.say(b"how are you\n")
                call.expect(answers(b"how are you", first=number))


def many_lines_at_once(address: Address) -> None:
    """A thousand lines may come at once: all are answered, in order."""
    lines = [b"line %d of many" % number for number in range(1000)]
    with Call(address, greeted=False) as call:
        call.say(b"\n".join(lines) + b"\n")
        call.expect(GREETING + answers(*lines))


def lines_may_be_cut(address: Address) -> None:
    """A line may come in two pieces, cut anywhere.  (Once its first line is answered, the first piece was read.)"""
    lines = [b"how are you", b"fine", b"", b"and you"]
    stream = b"how are you\r\nfine\n\nand you\nquit\n"
    for at in range(1, len(stream)):
        whole = stream[:at].count(b"\n")
        with Call(address) as call:
            call.say(b"well\n" + stream[:at])
            call.expect(answers(b"well", *lines[:whole]))
            call.say(stream[at:])
            call.expect(answers(*lines[whole:], first=whole + 2) + b"bye\n")
            call.expect_the_end()


def byte_by_byte(address: Address) -> None:
    """A caller may say every byte by itself."""
    with Call(address) as call:
        for byte in b"one\ntwo\r\nquit\n":
            call.say(bytes([byte]))
        call.expect(answers(b"one", b"two") + b"bye\n")
        call.expect_the_end()


def any_bytes(address: Address) -> None:
    """A line is bytes: empty, with spaces around, no UTF-8; only the line "quit" itself is more than a line."""
    lines = [b"", b"", b"  a  ", b"\xff\xfe\x00\x80", b"gr\xfc\xdfe", b"quit now", b"QUIT", b" quit", b"a\rb"]
    for end in (b"\n", b"\r\n"):
        with Call(address) as call:
            for number, line in enumerate(lines, 1):
                call.say(line + end)
                call.expect(answers(line, first=number))
            call.say(b"quit" + end)
            call.expect(b"bye\n")
            call.expect_the_end()


def nothing_after_quit(address: Address) -> None:
    """What comes after the line "quit" is not answered, even where it came with it."""
    with Call(address) as call:
        call.say(b"one\nquit\ntwo\nthree\n")
        call.expect(answers(b"one") + b"bye\n")
        call.expect_the_end(orderly=False)


def the_longest_line(address: Address) -> None:
    """A line of 4096 bytes is answered; at one more, with its newline or without, the server hangs up."""
    with Call(address) as call:
        call.say(b"x" * LIMIT + b"\n" + b"y" * (LIMIT - 1))
        call.expect(answers(b"x" * LIMIT))
        call.say(b"y\n")
        call.expect(answers(b"y" * LIMIT, first=2))
    for end in (b"\n", b"", b"x" * 500_000):
        with Call(address) as call:
            call.say(b"one\n")
            call.expect(answers(b"one"))
            call.say(b"x" * (LIMIT + 1) + end)
            call.expect_the_end(orderly=False)
    others_go_on(address)


def answers_after_the_end(address: Address) -> None:
    """A caller who has ended its stream hears all answers, to whole lines alone, and then the end of the server's."""
    for said, lines in [(b"", []), (b"half", []), (b"one\n", [b"one"]), (b"one\ntwo\nhalf", [b"one", b"two"])]:
        with Call(address, greeted=False) as call:
            call.end_sending(said)
            call.expect(GREETING + answers(*lines))
            call.expect_the_end()


def early_ends(address: Address) -> None:
    """Callers hang up in the middle of a line, or before they have heard the greeting: others are served as ever."""
    for said in (b"", b"half", b"one\nhalf", b"one\n" * 100):
        for greeted in (False, True):
            with Call(address, greeted) as call:
                call.say(said)
    others_go_on(address)


def resets(address: Address) -> None:
    """Callers reset their calls, at any point: others are served as ever."""
    for said in (b"", b"half", b"one\nhalf", b"one\n" * 100):
        for greeted in (False, True):
            with Call(address, greeted) as call:
                call.say(said)
                call.hang_up_rudely()
            others_go_on(address)


def who_does_not_read(address: Address) -> None:
    """From one who reads no answers the server reads no more, after a while.  All lines are answered in the end."""
    with Call(address) as call:
        sent = call.say_until_it_waits()
        call.end_sending()
        call.expect(answers(*[b"x" * 1000] * (sent // 1001)))
        call.expect_the_end()


def a_reset_while_answers_wait(address: Address) -> None:
    """One who reads nothing resets its call, with the server in the middle of an answer: others are served as ever."""
    with Call(address) as call:
        call.say_until_it_waits()
        call.hang_up_rudely()
        others_go_on(address)


# ---------------------------------------------------------------------- several callers at once


def who_does_not_read_and_others(address: Address) -> None:
    """While one reads no answers, others are served, and the server does not go on to read from that one."""
    with Call(address) as call:
        call.say_until_it_waits()
        others_go_on(address)
        while call.is_read_from():  # the server was only slow
            call.say_until_it_waits()
            others_go_on(address)


def callers_do_not_mix(address: Address, count: int = 20) -> None:
    """Callers talk at once, in pieces: each hears its own answers, with its own numbers."""
    dice = random.Random(count)
    lines = [[b"line %d of caller %d" % (n, number) for n in range(dice.randint(3, 9))] for number in range(count)]
    pieces = [list(_pieces(b"\n".join(said) + b"\n", dice)) for said in lines]
    order = [number for number in range(count) for _ in pieces[number]]
    dice.shuffle(order)
    with ExitStack() as on_the_line:
        calls = [on_the_line.enter_context(Call(address)) for _ in range(count)]
        for call in calls:
            call.say(b"first\nsecond of ")
            call.expect(answers(b"first"))  # so the half line has been read, too
        for number, call in enumerate(calls):
            call.say(b"caller %d\n" % number)
            call.expect(answers(b"second of caller %d" % number, first=2))
        for number in order:
            calls[number].say(pieces[number].pop(0))
        for call, said in zip(calls, lines, strict=True):
            call.expect(answers(*said, first=3))
            call.say(b"quit\n")
            call.expect(b"bye\n")
            call.expect_the_end()


def _pieces(stream: bytes, dice: random.Random) -> Iterator[bytes]:
    while stream:
        at = dice.randint(1, 30)
        yield stream[:at]
        stream = stream[at:]


ONE: list[Case] = [
    it_greets,
    it_counts,
    many_lines_at_once,
    lines_may_be_cut,
    byte_by_byte,
    any_bytes,
    nothing_after_quit,
    answers_after_the_end,
    the_longest_line,
    early_ends,
    resets,
    who_does_not_read,
    a_reset_while_answers_wait,
]
SEVERAL: list[Case] = [callers_do_not_mix, who_does_not_read_and_others]


def conforms(address: Address, several: bool = True) -> None:
    """Play every case against the server at `address`; NotYet with a sentence about the first that it fails.

    A server that serves one caller at a time (`several=False`) is spared the cases that need more.
    """
    play(address, ONE + SEVERAL * several)


def play(address: Address, cases: list[Case]) -> None:
    """The same with these cases alone."""
    for case in cases:
        try:
            case(address)
        except NotYet as problem:
            title = str(case.__doc__).partition("  (")[0].strip()
            raise NotYet(f"{title.rstrip('.')}.  But {problem}.") from None
