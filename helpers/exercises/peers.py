"""The peers that an answer is put on the line with: real sockets, scripted, hostile where the case asks for it.

They use Python's plain sockets, each in a thread of its own, and none of them waits for longer than `PATIENCE` seconds.
"""

from __future__ import annotations

import random
import socket
import struct
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

PATIENCE = 4.0  #: seconds


class Line:
    """One end of a call, as a script uses it; it keeps what it heard and how the call ended."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        connection.settimeout(PATIENCE)
        self._heard = bytearray()
        self.ended = False  # did the other side end its stream?
        self.reset = False

    @property
    def heard(self) -> bytes:
        """All that it has heard so far."""
        return bytes(self._heard)

    def say(self, data: bytes) -> None:
        """Send `data`, all of it, at once: without waiting for an acknowledgement (TCP_NODELAY)."""
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection.sendall(data)

    def hear(self, count: int) -> bytes:
        """Receive `count` bytes, fewer only where the stream ends."""
        while len(self._heard) < count and not self.ended:
            self._receive(count - len(self._heard))
        return self.heard

    def hear_all(self) -> bytes:
        """Receive until the other side ends its stream."""
        while not self.ended:
            self._receive(65536)
        return self.heard

    def _receive(self, count: int) -> None:
        data = self.connection.recv(count)
        self._heard += data
        self.ended = self.ended or not data

    def hang_up(self) -> None:
        """Close the call: the other side reads the end of the stream."""
        self.connection.close()

    def hang_up_rudely(self) -> None:
        """Close the call by a reset (RST): the other side's next call fails."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


Script = Callable[[Line], Any]


class Peer(ABC):
    """A thread that plays scripts: as a server, one for each call that comes; as a caller, one for each call it makes.

    `lines` are its calls so far.  It ends with the `with` block, whatever it waits for.
    """

    def __init__(self, *scripts: Script) -> None:
        self.scripts = scripts
        self.lines: list[Line] = []
        self.problem: Exception | None = None
        self._over = False
        self._thread = threading.Thread(target=self._play, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.end()

    def _play(self) -> None:
        try:
            for script in self.scripts:
                if self._over:
                    return
                line = self._line()
                self.lines.append(line)
                try:
                    if not self._over:
                        script(line)
                except ConnectionError as problem:
                    line.reset = True
                    self.problem = problem
                finally:
                    line.connection.close()
        except OSError as problem:  # nobody called, or nobody answered, in time
            self.problem = problem

    @abstractmethod
    def _line(self) -> Line:
        """The line to the next one who is to be spoken with."""

    def end(self) -> None:
        """Cut every call that still stands, and wait for the thread."""
        self._over = True
        for line in self.lines:
            try:
                line.connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._thread.join(PATIENCE)

    def finish(self) -> None:
        """Let the scripts play to their end."""
        self._thread.join(PATIENCE)


class Server(Peer):
    """A server at `host`, `port` that answers each call with its next script."""

    def __init__(self, *scripts: Script) -> None:
        super().__init__(*scripts)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)
        self.host, self.port = self._listener.getsockname()

    def _line(self) -> Line:
        return Line(self._listener.accept()[0])

    def end(self) -> None:
        # an accept() that still waits is ended by a call of our own: close() would not wake it everywhere
        """End the thread, whatever it waits for, and close what is left."""
        self._over = True
        if self._thread.is_alive() and len(self.lines) == 0:
            try:
                socket.create_connection((self.host, self.port), 1).close()
            except OSError:
                pass
        super().end()
        self._listener.close()


class Callers(Peer):
    """Callers of the server at `address`, one after the other: the next dials when the one before is done.

    With `at_once` all of them dial before the first script begins.
    """

    def __init__(self, address: tuple[str, int], *scripts: Script, at_once: bool = False) -> None:
        super().__init__(*scripts)
        self.address = address
        self.ports: list[int] = []  # the callers' own ports, in the order in which they dialled
        self._dialled = [self._dial() for _ in scripts] if at_once else []

    def _dial(self) -> socket.socket:
        connection = socket.create_connection(self.address, PATIENCE)
        self.ports.append(connection.getsockname()[1])
        return connection

    def _line(self) -> Line:
        return Line(self._dialled.pop(0) if self._dialled else self._dial())

    def end(self) -> None:
        """End the thread, whatever it waits for, and close what is left."""
        super().end()
        for connection in self._dialled:
            connection.close()


def a_port_where_nobody_listens() -> int:
    """A port of the loopback address that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def connected(room: int | None = None) -> tuple[socket.socket, Line]:
    """A call that stands: the socket at its near end, and the line at its far end.

    With `room`, the buffers on the way from near to far are that small (bytes), and do not grow.
    """
    with socket.socket() as listener:
        near = socket.socket()
        if room is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)  # what it accepts has it too
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        near.connect(listener.getsockname())
        return near, Line(listener.accept()[0])


def cuts(stream: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A stream whole, cut in two at every place, and in single bytes; with words for each."""
    yield "in one piece", [stream]
    for at in range(1, len(stream)):
        yield f"in two pieces, cut after {at} of {len(stream)} bytes", [stream[:at], stream[at:]]
    yield "byte by byte", [stream[at : at + 1] for at in range(len(stream))]


def shreds(stream: bytes) -> list[bytes]:
    """A long stream in some ten pieces, cut at random; the same ones every time."""
    places = sorted(random.Random(len(stream)).choices(range(len(stream) + 1), k=9))
    pieces = [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]
    return [piece for piece in pieces if piece]
