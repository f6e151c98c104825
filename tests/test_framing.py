"""Messages out of a stream: however it is cut the same ones come, and no peer makes a parser take time or memory."""

from __future__ import annotations

import itertools
import random
import time
import tracemalloc
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.framing import Frames, Lines, frame

Parser = Frames | Lines
TEXTS = ["", "x", "hello", "Grüße 𝄞", "e\u0301 日本語"]  # some characters have several bytes, one is made of two
SIZES = [0, 1, 3, 4, 5, 255, 256, 257, 4095, 4096, 65_534, 65_535]
HUGE = 1 << 20


def line(message: bytes) -> bytes:
    """A message as a line."""
    return message + b"\n"


#: Each parser, and how a message is written for it.
KINDS = pytest.mark.parametrize(("parser", "written"), [(Frames, frame), (Lines, line)], ids=["frames", "lines"])


def fed(parser: Parser, pieces: Iterable[bytes]) -> list[bytes]:
    """All messages that come of these pieces."""
    return [message for piece in pieces for message in parser.feed(piece)]


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    """The stream, cut at these places."""
    ends = [0, *sorted(places), len(stream)]
    return [stream[start:stop] for start, stop in itertools.pairwise(ends)]


# ---------------------------------------------------------------------- cuts


def test_a_frame_is_its_length_in_network_byte_order_and_the_payload():
    assert frame(b"hello") == b"\0\0\0\5hello"
    assert frame(b"") == b"\0\0\0\0"
    assert frame(b"x" * 65_535)[:4] == b"\0\0\xff\xff"


@KINDS
def test_every_way_of_cutting_a_short_stream(parser, written):
    messages = [b"hi", b"", b"Z"]
    stream = b"".join(map(written, messages))
    places = range(1, len(stream))
    for where in itertools.chain.from_iterable(itertools.combinations(places, n) for n in range(len(stream))):
        one = parser()
        assert fed(one, cut(stream, where)) == messages
        assert not one.rest


@KINDS
@pytest.mark.parametrize("text", TEXTS)
def test_every_cut_in_two_and_byte_by_byte(parser, written, text):
    stream = written(text.encode()) * 2
    ways = [(at,) for at in range(len(stream) + 1)] + [tuple(range(1, len(stream)))]
    for where in ways:
        one = parser()
        assert [message.decode() for message in fed(one, cut(stream, where))] == [text, text]
        assert not one.rest


@KINDS
@settings(deadline=None)
@given(st.data())
def test_any_messages_cut_anywhere(parser, written, data):
    unit = st.binary(max_size=60)
    messages = data.draw(st.lists(unit if parser is Frames else unit.map(lambda m: m.replace(b"\n", b" "))))
    stream = b"".join(map(written, messages))
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))  # the same place twice: an empty piece
    one = parser()
    assert fed(one, cut(stream, places)) == messages
    assert not one.rest


@KINDS
@settings(deadline=None)
@given(st.data())
def test_what_has_come_of_the_next_message_is_the_rest(parser, written, data):
    messages = data.draw(st.lists(st.binary(max_size=9).map(lambda m: m.replace(b"\n", b" ")), min_size=1))
    stream = b"".join(map(written, messages))
    came = data.draw(st.integers(0, len(stream)))
    one = parser()
    whole = fed(one, [stream[:came]])
    assert whole == messages[: len(whole)]
    assert b"".join(map(written, whole)) + one.rest == stream[:came]
    assert whole + fed(one, [stream[came:]]) == messages


@KINDS
@pytest.mark.parametrize("size", SIZES)
def test_long_messages_cut_at_random(parser, written, size):
    chance = random.Random(size)
    message = chance.randbytes(size).replace(b"\n", b" ")
    stream = written(message) * 3
    for count in (0, 1, 2, 10, 100):
        one = parser(65_536)
        assert fed(one, cut(stream, [chance.randrange(len(stream) + 1) for _ in range(count)])) == [message] * 3
        assert not one.rest


def test_a_cut_within_a_character_harms_nobody_who_decodes_afterwards():
    euro = "€".encode()
    assert fed(Lines(), [euro[:1], euro[1:2], euro[2:] + b"\n"]) == [euro]
    with pytest.raises(UnicodeDecodeError):
        euro[:2].decode()


def test_a_line_ends_with_a_newline_and_nothing_else():
    assert Lines().feed(b"a\rb\x0bc\x0cd\xc2\x85e\0\r\n") == [b"a\rb\x0bc\x0cd\xc2\x85e\0\r"]


@KINDS
def test_pieces_may_be_any_bytes_and_messages_are_bytes_of_their_own(parser, written):
    one, piece = parser(), bytearray(written(b"hello") + written(b"x")[:-1])
    [message] = one.feed(piece)
    piece[:] = bytes(len(piece))  # a buffer that is filled anew
    assert type(message) is bytes and message == b"hello"
    assert one.feed(memoryview(written(b"x")[-1:])) == [b"x"]
    with pytest.raises(TypeError):
        one.feed("text")
    assert not one.rest


# ---------------------------------------------------------------------- limits


def test_a_frame_of_exactly_the_limit_passes_and_one_byte_more_does_not():
    assert Frames(5).feed(frame(b"hello")) == [b"hello"]
    with pytest.raises(ValueError, match="6 bytes announced, 5 allowed"):
        Frames(5).feed(frame(b"hello!"))
    assert Frames(0).feed(frame(b"") * 2) == [b"", b""]


@pytest.mark.parametrize("whole", [True, False])
def test_a_line_of_exactly_the_limit_passes_and_one_byte_more_does_not(whole):
    def pieces(data: bytes) -> list[bytes]:
        return [data] if whole else [data[at : at + 1] for at in range(len(data))]

    assert fed(Lines(6), pieces(b"hello\n")) == [b"hello"]  # the newline counts
    with pytest.raises(ValueError, match="no newline in 6 bytes"):
        fed(Lines(6), pieces(b"hello!\n"))
    assert Lines(1).feed(b"\n\n") == [b"", b""]


def test_what_is_too_long_is_refused_before_it_has_come():
    with pytest.raises(ValueError, match="4,294,967,295 bytes announced, 65,536 allowed"):
        Frames().feed(b"\xff\xff\xff\xff")
    frames = Frames(100)
    assert fed(frames, [b"\0", b"\0", b"\0"]) == []
    with pytest.raises(ValueError, match="101"):
        frames.feed(b"\x65")
    lines = Lines(100)
    assert lines.feed(b"x" * 99) == []
    with pytest.raises(ValueError, match="100"):
        lines.feed(b"x")


BAD = pytest.mark.parametrize(
    ("parser", "good", "bad"), [(Frames, frame(b"ok"), frame(b"x" * 9)), (Lines, b"ok\n", b"x" * 9)]
)


@BAD
def test_whole_messages_come_before_the_error(parser, good, bad):
    one = parser(8)
    assert one.feed(good + good + bad) == [b"ok", b"ok"]
    assert one.rest  # the stream may not end here
    with pytest.raises(ValueError, match="8"):
        one.feed(b"")


@BAD
def test_after_an_error_no_message_comes_any_more(parser, good, bad):
    one = parser(8)
    for piece in (bad, b"", good, b"\n", good):
        with pytest.raises(ValueError, match="8"):
            one.feed(piece)


@BAD
@settings(deadline=None)
@given(st.data())
def test_wherever_it_is_cut_the_error_comes_after_the_same_messages(parser, good, bad, data):
    stream = good * 3 + bad + good
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=6))
    one, messages = parser(8), []
    with pytest.raises(ValueError, match="8"):  # noqa: PT012
        for piece in [*cut(stream, places), b""]:
            messages += one.feed(piece)
    assert messages == [b"ok"] * 3


# ---------------------------------------------------------------------- memory and time


def memory_of(act: Callable[[], object]) -> int:
    """The most bytes that `act` takes at any moment."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        act()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def test_memory_is_measured():
    assert memory_of(lambda: bytearray(HUGE)) >= HUGE


def test_a_claim_of_4_gb_takes_no_memory():
    def claims() -> None:
        with pytest.raises(ValueError, match="announced"):
            Frames().feed(b"\xff\xff\xff\xff")

    claims()  # what pytest itself takes the first time
    assert memory_of(claims) < 100_000


def test_an_allowed_claim_takes_memory_only_for_what_comes():
    assert memory_of(lambda: Frames(limit=1 << 32).feed(b"\xff\xff\xff\xff" + b"x" * 1000)) < 100_000


def test_a_line_that_never_ends_takes_no_more_than_its_limit():
    def endless() -> None:
        with pytest.raises(ValueError, match="no newline"):
            fed(Lines(limit=10_000), itertools.repeat(b"x" * 100))

    endless()
    assert memory_of(endless) < 100_000


@pytest.mark.parametrize(("parser", "begin"), [(Frames, frame(b"x" * (2 * HUGE))[: HUGE + 4]), (Lines, b"x" * HUGE)])
def test_a_byte_takes_the_same_time_however_much_has_come(parser, begin):
    def seconds(begun: bytes) -> float:
        one = parser(4 * HUGE)
        one.feed(begun)
        began = time.perf_counter()
        for _ in range(2_000):
            one.feed(b"x")
        return time.perf_counter() - began

    at_first, late = (min(seconds(begun) for _ in range(5)) for begun in (begin[:5], begin))
    assert late < 20 * at_first  # looking through all of it again takes hundreds of times as long


@KINDS
def test_many_messages_in_one_piece_take_time_for_each_and_no_more(parser, written):
    def seconds(count: int) -> float:
        stream = written(b"abc") * count
        began = time.perf_counter()
        assert len(parser().feed(stream)) == count
        return time.perf_counter() - began

    few, many = (min(seconds(count) for _ in range(3)) for count in (1_000, 200_000))
    assert many < 200 * 10 * few  # moving what remains after each message takes thousands of times as long
