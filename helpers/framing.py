"""Messages out of a stream: parsers that take bytes and give messages, with no socket in them.

TCP carries a stream of bytes and keeps no edges (RFC 9293, section 2.2), so both sides agree on a *framing*: `Frames`
takes messages with their length before them, `Lines` messages with a newline after them.  The bytes may come from
anywhere (a thread's socket, an event loop, a test) and may be cut anywhere: the same messages come out.

    parser = Frames(limit=65536)
    while data := connection.recv(4096):
        for message in parser.feed(data):
            ...
    if parser.rest:
        ...  # the stream ended within a message

A parser keeps the beginning of one message and no more.  One that is too long is refused (ValueError) as soon as that
is known: a frame by its length alone, before any room is made for it.  Where whole messages came before it in the same
piece, these are returned first, and the next feed(), even of b"", raises.  Then nobody can say any more where a message
begins, and all that is left is to hang up.
"""

from __future__ import annotations

import struct


def frame(payload: bytes) -> bytes:
    """A message with its length before it: 4 bytes, the big end first ("network byte order", RFC 791, appendix B)."""
    return struct.pack("!I", len(payload)) + payload


class Frames:
    """Takes a stream in pieces, cut anywhere; gives messages that have their length before them.

    A message has at most `limit` bytes.  `rest` is what has come of the next one: empty where the stream may end.
    """

    def __init__(self, limit: int = 65536) -> None:
        self.limit, self.rest = limit, bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next piece; return the messages that are complete now."""
        self.rest += data
        messages: list[bytes] = []
        while len(self.rest) >= 4:
            (length,) = struct.unpack_from("!I", self.rest)
            if length > self.limit and not messages:  # those before it come first
                raise ValueError(f"{length:,} bytes announced, {self.limit:,} allowed")
            if length > self.limit or len(self.rest) < 4 + length:
                break
            messages.append(bytes(self.rest[4 : 4 + length]))
            del self.rest[: 4 + length]
        return messages


class Lines:
    """Takes a stream in pieces, cut anywhere; gives lines, without the newline that ends each.

    A line has at most `limit` bytes, its newline counted.  `rest` is what has come of the next one: empty where the
    stream may end.
    """

    def __init__(self, limit: int = 4096) -> None:
        self.limit, self.rest = limit, bytearray()
        self._searched = 0  # so many bytes of the rest hold no newline: they are not searched again

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next piece; return the lines that are complete now."""
        self.rest += data
        lines: list[bytes] = []
        while (end := self.rest.find(b"\n", self._searched, self.limit)) >= 0:
            lines.append(bytes(self.rest[:end]))
            del self.rest[: end + 1]
            self._searched = 0
        self._searched = min(len(self.rest), self.limit)
        if len(self.rest) >= self.limit and not lines:  # those before it come first
            raise ValueError(f"no newline in {self.limit:,} bytes")
        return lines
