"""Messages out of a stream: parsers that take bytes and give messages, with no socket in them.

TCP carries a stream of bytes and keeps no edges (RFC 9293, section 2.2), so sender and receiver agree on a *framing*:
`Frames` for messages with their length before them, `Lines` for messages with a newline after them.  Bytes may come
from anywhere (a thread's socket, an event loop, a test) and be cut anywhere: the same messages come out.

    parser = Frames(limit=65536)
    while data := connection.recv(4096):
        for message in parser.feed(data):
            ...
    if parser.rest:
        ...  # the stream ended in the middle of a message

Both keep no more than one message and what was fed last.  One that is too long is refused as soon as that is known,
by ValueError: of a frame from its length alone, before any room is made for it.  After that the stream makes no sense
any more, and all that is left is to hang up.
"""

from __future__ import annotations

import struct


def frame(payload: bytes) -> bytes:
    """A message with its length before it: 4 bytes, the big end first ("network byte order", RFC 791, appendix B)."""
    return struct.pack("!I", len(payload)) + payload


class Frames:
    """Takes a stream in pieces, cut anywhere; gives messages that have their length before them.

    `rest` is what has come of the next message: empty where the stream may end.
    """

    def __init__(self, limit: int = 65536) -> None:
        self.limit, self.rest = limit, bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next piece; return the messages that are complete now."""
        self.rest += data
        messages: list[bytes] = []
        while len(self.rest) >= 4:
            (length,) = struct.unpack("!I", self.rest[:4])
            if length > self.limit and not messages:  # those before it come first
                raise ValueError(f"{length:,} bytes announced, {self.limit:,} allowed")
            if length > self.limit or len(self.rest) < 4 + length:
                break
            messages.append(bytes(self.rest[4 : 4 + length]))
            del self.rest[: 4 + length]
        return messages


class Lines:
    """Takes a stream in pieces, cut anywhere; gives lines, without the newline that ends each.

    `rest` is what has come of the next line: empty where the stream may end.
    """

    def __init__(self, limit: int = 4096) -> None:
        self.limit, self.rest = limit, bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next piece; return the lines that are complete now."""
        self.rest += data
        lines: list[bytes] = []
        while (end := self.rest.find(b"\n", 0, self.limit + 1)) >= 0:
            lines.append(bytes(self.rest[:end]))
            del self.rest[: end + 1]
        if len(self.rest) > self.limit and not lines:  # those before it come first
            raise ValueError(f"a line of more than {self.limit:,} bytes")
        return lines
