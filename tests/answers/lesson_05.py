"""Answers to the exercises of lesson 05."""

from __future__ import annotations

import socket
import struct

from helpers import select

# ---------------------------------------------------------------------- 5a


def leaves_it_non_blocking(connection, count):
    connection.setblocking(False)
    data = b""
    while len(data) < count:
        select.select([connection], [], [])
        piece = connection.recv(count - len(data))
        if not piece:
            raise ConnectionError("the stream ended early")
        data += piece
    return data


def exactly_by_recursion(connection, count):
    if count == 0:
        return b""
    piece = connection.recv(min(count, 16384))
    if not piece:
        raise ConnectionError("the stream ended early")
    return piece + exactly_by_recursion(connection, count - len(piece))


def exactly_into_a_view(connection, count):
    buffer = bytearray(count)
    rest = memoryview(buffer)
    while rest:
        came = connection.recv_into(rest)
        if came == 0:
            raise ConnectionAbortedError("the stream ended early")
        rest = rest[came:]
    return bytes(buffer)


def exactly_with_a_file(connection, count):
    with connection.makefile("rb", buffering=0) as file:
        pieces = []
        while missing := count - sum(map(len, pieces)):
            piece = file.read(missing)
            if not piece:
                raise ConnectionError("the stream ended early")
            pieces.append(piece)
    return b"".join(pieces)


def exactly_with_waitall(connection, count):
    data = connection.recv(count, socket.MSG_WAITALL) if count else b""
    if len(data) < count:
        raise ConnectionError("the stream ended early")
    return data


class Receiver:
    def __init__(self, connection):
        self.connection, self.data = connection, bytearray()

    def exactly(self, count):
        for _ in iter(lambda: len(self.data) == count, True):
            self.data += self.connection.recv(count - len(self.data)) or self.gone()
        return bytes(self.data)

    def gone(self):
        raise ConnectionError("the stream ended early")


def exactly_with_a_class(connection, count):
    return Receiver(connection).exactly(count)


def one_recv(connection, count):
    return connection.recv(count)


def asks_for_count_each_time(connection, count):
    data = b""
    while len(data) < count:
        piece = connection.recv(count)
        if not piece:
            raise ConnectionError
        data += piece
    return data


def cuts_off_what_is_too_much(connection, count):
    return asks_for_count_each_time(connection, count)[:count]


def returns_what_there_is(connection, count):
    data = b""
    while len(data) < count and (piece := connection.recv(count - len(data))):
        data += piece
    return data


def loops_at_the_end(connection, count):
    data = b""
    while len(data) < count:
        data += connection.recv(count - len(data))
    return data


def receives_to_the_end(connection, count):
    data = b""
    while piece := connection.recv(4096):
        data += piece
    return data


def swallows_the_reset(connection, count):
    try:
        return exactly_by_recursion(connection, count)
    except ConnectionResetError:
        return b""


def returns_a_bytearray(connection, count):
    return bytearray(exactly_by_recursion(connection, count))


def returns_text(connection, count):
    return exactly_by_recursion(connection, count).decode("latin-1")


def receives_at_least_once(connection, count):
    data = connection.recv(count)
    while data and len(data) < count:
        data += connection.recv(count - len(data))
    if not data:
        raise ConnectionError
    return data


def closes_when_done(connection, count):
    with connection:
        return exactly_by_recursion(connection, count)


def counts_characters(connection, count):
    text = ""
    while len(text) < count:
        piece = connection.recv(1)
        if not piece:
            raise ConnectionError
        text += piece.decode("utf-8", "ignore")
    return text.encode()


def raises_the_wrong_error(connection, count):
    try:
        return exactly_by_recursion(connection, count)
    except ConnectionError:
        raise ValueError("too short") from None


# ---------------------------------------------------------------------- 5b


def line_with_a_file(connection, limit=4096):
    with connection.makefile("rb", buffering=0) as file:
        line = file.readline(limit)
    if line and not line.endswith(b"\n"):
        raise ValueError("too long") if len(line) == limit else ConnectionError("the stream ended within a line")
    return line


def line_by_peeking(connection, limit=4096):
    line = b""
    while len(line) < limit:
        seen = connection.recv(limit - len(line), socket.MSG_PEEK)
        if not seen and line:
            raise ConnectionError("the stream ended within a line")
        if not seen:
            return b""
        line += connection.recv(seen.find(b"\n") + 1 or len(seen))
        if line.endswith(b"\n"):
            return line
    raise ValueError("too long")


def line_by_recursion(connection, limit=4096, begun=b""):
    if limit > 900:  # deeper than Python goes
        return line_by_peeking(connection, limit)
    if begun.endswith(b"\n"):
        return begun
    if len(begun) >= limit:
        raise ValueError("too long")
    byte = connection.recv(1)
    if not byte and begun:
        raise ConnectionError("the stream ended within a line")
    return line_by_recursion(connection, limit, begun + byte) if byte else b""


def line_into_a_buffer(connection, limit=4096):
    buffer, came = bytearray(limit), 0
    view = memoryview(buffer)
    for came in range(limit):
        if not connection.recv_into(view[came:], 1):
            if came:
                raise ConnectionResetError("the stream ended within a line")
            return b""
        if buffer[came] == 10:
            return bytes(view[: came + 1])
    raise ValueError("too long")


def line_is_one_recv(connection, limit=4096):
    return connection.recv(limit)


def keeps_what_it_read_ahead(connection, limit=4096):
    data = b""
    while b"\n" not in data:
        piece = connection.recv(limit)
        if not piece:
            if data:
                raise ConnectionError
            return b""
        data += piece
        if b"\n" not in data and len(data) >= limit:
            raise ValueError
    return data[: data.index(b"\n") + 1]


def drops_the_newline(connection, limit=4096):
    return line_with_a_file(connection, limit).rstrip(b"\n")


def reads_a_buffered_file(connection, limit=4096):
    with connection.makefile("rb") as file:
        return file.readline(limit)


def has_no_limit(connection, limit=4096):
    return line_with_a_file(connection, 1 << 20)


def is_late_by_one(connection, limit=4096):
    return line_with_a_file(connection, limit + 1)


def counts_the_line_without_newline(connection, limit=4096):
    line = line_with_a_file(connection, limit)
    if len(line) >= limit:
        raise ValueError("too long")
    return line


def returns_a_part_at_the_end(connection, limit=4096):
    try:
        return line_with_a_file(connection, limit)
    except ConnectionError:
        return b""


def raises_at_the_end(connection, limit=4096):
    line = line_with_a_file(connection, limit)
    if not line:
        raise ConnectionError("the stream ended")
    return line


def line_loops_at_the_end(connection, limit=4096):
    line = b""
    while not line.endswith(b"\n"):
        line += connection.recv(1)
        if len(line) >= limit and not line.endswith(b"\n"):
            raise ValueError
    return line


def decodes_each_byte(connection, limit=4096):
    line = ""
    while not line.endswith("\n"):
        line += connection.recv(1).decode()
    return line.encode()


def splits_on_any_white_space(connection, limit=4096):
    line = b""
    while not line[-1:].isspace():
        if len(line) == limit:
            raise ValueError
        byte = connection.recv(1)
        if not byte and line:
            raise ConnectionError
        if not byte:
            return b""
        line += byte
    return line


def cuts_a_long_line(connection, limit=4096):
    try:
        return line_with_a_file(connection, limit)
    except ValueError:
        return b"x" * limit


# ---------------------------------------------------------------------- 5c


def sends_in_two(connection, payload):
    connection.sendall(len(payload).to_bytes(4, "big"))
    connection.sendall(payload)


def sends_what_remains(connection, payload):
    rest = memoryview(struct.pack(f"!I{len(payload)}s", len(payload), payload))
    while rest:
        rest = rest[connection.send(rest) :]


def sends_with_a_file(connection, payload):
    with connection.makefile("wb") as file:
        file.write(struct.pack(">I", len(payload)))
        file.write(payload)


class Sender:
    def __init__(self, connection):
        self.put = connection.sendall

    def __call__(self, payload):
        number = len(payload)
        self.put(bytes((number >> shift) & 255 for shift in (24, 16, 8, 0)))
        for start in range(0, number, 1000):
            self.put(payload[start : start + 1000])


def sends_with_a_class(connection, payload):
    Sender(connection)(payload)


def sends_no_length(connection, payload):
    connection.sendall(payload)


def sends_the_little_end_first(connection, payload):
    connection.sendall(struct.pack("<I", len(payload)) + payload)


def sends_once(connection, payload):
    connection.send(struct.pack("!I", len(payload)) + payload)


def sends_the_number_of_characters(connection, payload):
    connection.sendall(struct.pack("!I", len(payload.decode(errors="replace"))) + payload)


def counts_the_header_too(connection, payload):
    connection.sendall(struct.pack("!I", len(payload) + 4) + payload)


def sends_two_bytes_of_length(connection, payload):
    connection.sendall(struct.pack("!H", len(payload)) + payload)


def sends_length_as_text(connection, payload):
    connection.sendall(f"{len(payload)}\n".encode() + payload)


def closes_after_sending(connection, payload):
    with connection:
        sends_in_two(connection, payload)


def waits_for_an_answer(connection, payload):
    sends_in_two(connection, payload)
    connection.recv(1)


def never_mind_the_reset(connection, payload):
    try:
        sends_in_two(connection, payload)
    except ConnectionError:
        pass


# ---------------------------------------------------------------------- 5d


def message_by_recursion(connection, limit=65536):
    first = connection.recv(1)
    if not first:
        raise EOFError
    length = int.from_bytes(first + exactly_by_recursion(connection, 3), "big")
    if length > limit:
        raise ValueError("too long")
    return exactly_by_recursion(connection, length)


def message_with_waitall(connection, limit=65536):
    header = connection.recv(4, socket.MSG_WAITALL)
    if not header:
        raise EOFError
    if len(header) < 4:
        raise ConnectionError("within the length")
    (length,) = struct.unpack(">L", header)
    if length > limit:
        raise ValueError("too long")
    return exactly_with_waitall(connection, length)


def message_with_a_file(connection, limit=65536):
    with connection.makefile("rb", buffering=0) as file:

        def read(count):
            data = bytearray()
            while len(data) < count:
                data += file.read(count - len(data)) or over(data)
            return bytes(data)

        def over(data):
            raise ConnectionAbortedError(f"after {len(data)} bytes")

        try:
            header = read(4)
        except ConnectionAbortedError as problem:
            raise EOFError if str(problem) == "after 0 bytes" else problem from None
        length = int.from_bytes(header, "big")
        if length > limit:
            raise ValueError("too long")
        return read(length)


def message_into_a_view(connection, limit=65536):
    header = bytearray(4)
    came = connection.recv_into(header)
    if not came:
        raise EOFError
    while came < 4:
        more = connection.recv_into(memoryview(header)[came:])
        if not more:
            raise ConnectionError("within the length")
        came += more
    length = int.from_bytes(header, "big")
    if length > limit:
        raise ValueError("too long")
    return exactly_into_a_view(connection, length)


def message_is_one_recv(connection, limit=65536):
    data = connection.recv(limit + 4)
    return data[4:]


def header_is_one_recv(connection, limit=65536):
    header = connection.recv(4)
    if not header:
        raise EOFError
    (length,) = struct.unpack("!I", header)
    if length > limit:
        raise ValueError
    return exactly_by_recursion(connection, length)


def forgets_what_came_with_the_header(connection, limit=65536):
    data = b""
    while len(data) < 4:
        piece = connection.recv(4096)
        if not piece:
            raise ConnectionError if data else EOFError
        data += piece
    (length,) = struct.unpack("!I", data[:4])
    if length > limit:
        raise ValueError
    return exactly_by_recursion(connection, length)


def reads_the_little_end_first(connection, limit=65536):
    (length,) = struct.unpack("<I", exactly_by_recursion(connection, 4))
    if length > limit:
        raise ValueError("too long")
    return exactly_by_recursion(connection, length)


def counts_four_too_many(connection, limit=65536):
    (length,) = struct.unpack("!I", exactly_by_recursion(connection, 4))
    if length > limit:
        raise ValueError("too long")
    return exactly_by_recursion(connection, length + 4)


def end_is_an_empty_message(connection, limit=65536):
    try:
        return message_by_recursion(connection, limit)
    except EOFError:
        return b""


def end_is_an_error(connection, limit=65536):
    return exactly_by_recursion(connection, struct.unpack("!I", exactly_by_recursion(connection, 4))[0])


def end_is_always_eof(connection, limit=65536):
    try:
        return message_by_recursion(connection, limit)
    except ConnectionResetError:
        raise
    except ConnectionError:
        raise EOFError from None


def takes_any_length(connection, limit=65536):
    return message_by_recursion(connection, 1 << 40)


def refuses_the_limit(connection, limit=65536):
    return message_by_recursion(connection, limit - 1)


def makes_room_first(connection, limit=65536):
    first = connection.recv(1)
    if not first:
        raise EOFError
    length = int.from_bytes(first + exactly_by_recursion(connection, 3), "big")
    room = bytearray(length)
    if length > limit:
        raise ValueError("too long")
    room[:] = exactly_by_recursion(connection, length)
    return bytes(room)


def message_loops_at_the_end(connection, limit=65536):
    data = b""
    while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "big"):
        data += connection.recv(1)
    return data[4:]


def reads_one_byte_of_the_length(connection, limit=65536):
    header = exactly_by_recursion(connection, 4)
    return exactly_by_recursion(connection, header[0])


def refuses_with_another_error(connection, limit=65536):
    try:
        return message_by_recursion(connection, limit)
    except ValueError:
        raise ConnectionError("too long") from None


def sends_without_blocking(connection, payload):
    patience, rest = connection.gettimeout(), struct.pack("!I", len(payload)) + payload
    connection.setblocking(False)
    while rest:
        select.select([], [connection], [])
        rest = rest[connection.send(rest) :]
    connection.settimeout(patience)


def ends_the_stream_after_sending(connection, payload):
    connection.sendall(struct.pack("!I", len(payload)) + payload)
    connection.shutdown(socket.SHUT_WR)


def looks_who_is_there(connection, payload):
    connection.sendall(struct.pack("!I", len(payload)) + payload)
    if select.select([connection], [], [], 0.2)[0]:
        connection.recv(4)


RIGHT = {
    "5a": [exactly_by_recursion, exactly_into_a_view, exactly_with_a_file, exactly_with_waitall, exactly_with_a_class],
    "5b": [line_with_a_file, line_by_peeking, line_by_recursion, line_into_a_buffer],
    "5c": [sends_in_two, sends_what_remains, sends_with_a_file, sends_with_a_class, sends_without_blocking],
    "5d": [message_by_recursion, message_with_waitall, message_with_a_file, message_into_a_view],
}
WRONG = {
    "5a": [
        (one_recv, "go on until you have all"),
        (leaves_it_non_blocking, "in another mode"),
        (asks_for_count_each_time, "What is too much belongs to what comes next"),
        (cuts_off_what_is_too_much, "began there: it is lost"),
        (returns_what_there_is, "must not take a part for the whole"),
        (loops_at_the_end, "at once, again and again"),
        (receives_to_the_end, "once you have them, return them"),
        (swallows_the_reset, "Let the error through"),
        (returns_a_bytearray, "returned a bytearray"),
        (returns_text, "returned text"),
        (receives_at_least_once, "No bytes at all"),
        (closes_when_done, "closed the connection"),
        (counts_characters, "asked for 12 bytes: once"),
        (raises_the_wrong_error, "What is wanted is ConnectionError"),
    ],
    "5b": [
        (line_is_one_recv, "What is too much belongs to what comes next"),
        (keeps_what_it_read_ahead, "began there: it is lost"),
        (drops_the_newline, "the first 12 of 13 bytes"),
        (reads_a_buffered_file, "14 too many off the connection"),
        (has_no_limit, "do not wait for its end"),
        (is_late_by_one, "a line of which 16 bytes have come"),
        (counts_the_line_without_newline, "there it ends"),
        (returns_a_part_at_the_end, "only a part of one"),
        (raises_at_the_end, "No line has begun: return"),
        (line_loops_at_the_end, "no line begun: your function did not return"),
        (decodes_each_byte, "UnicodeDecodeError"),
        (splits_on_any_white_space, "ends with its newline, not before"),
        (cuts_a_long_line, "Raise ValueError"),
    ],
    "5c": [
        (sends_no_length, "no length before it"),
        (ends_the_stream_after_sending, "ended a stream (shutdown)"),
        (looks_who_is_there, "took bytes off the connection"),
        (sends_the_little_end_first, "in network byte order"),
        (sends_once, "send() may take a part"),
        (sends_the_number_of_characters, "the number of characters"),
        (counts_the_header_too, "it counts its own 4 bytes"),
        (sends_two_bytes_of_length, "and was to get"),
        (sends_length_as_text, "the peer got b'12"),
        (closes_after_sending, "closed the connection"),
        (waits_for_an_answer, "waited in recv()"),
        (never_mind_the_reset, "Let the error through"),
    ],
    "5d": [
        (message_is_one_recv, "What is too much belongs to what comes next"),
        (header_is_one_recv, "cut after 1 of 9 bytes"),
        (forgets_what_came_with_the_header, "for more. The 4 bytes"),
        (reads_the_little_end_first, "too long"),
        (counts_four_too_many, "4 too many. What is too much"),
        (reads_one_byte_of_the_length, "asked for 0 of 5 bytes, and no more. The 4 bytes"),
        (end_is_an_empty_message, "The end is no message"),
        (end_is_an_error, "What is wanted is EOFError"),
        (end_is_always_eof, "it never came whole"),
        (takes_any_length, "refuse it before you wait for it"),
        (refuses_the_limit, "A message of 65,536 bytes in pieces: your function raised ValueError"),
        (makes_room_first, "MB of room were made before"),
        (message_loops_at_the_end, "again and again"),
        (refuses_with_another_error, "What is wanted is ValueError"),
    ],
}
