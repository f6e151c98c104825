"""The peers that an answer is put on the line with: real sockets, scripted, hostile where the case asks for it.

They use Python's plain sockets, each in a thread of its own, and none of them waits for longer than `PATIENCE` seconds.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

PATIENCE = 4.0  #: seconds


class Line:
    """One end of a call, as a script uses it; it keeps what it heard and how the call ended."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        connection.settimeout(PATIENCE)
        self.heard = b""
        self.ended = False  # did the other side end its stream?
        self.reset = False

    def say(self, data: bytes) -> None:
        """Send `data`, all of it, at once: without waiting for an acknowledgement (TCP_NODELAY)."""
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection.sendall(data)

    def hear(self, count: int) -> bytes:
        """Receive `count` bytes, fewer only where the stream ends."""
        while len(self.heard) < count and not self.ended:
            self._receive(count - len(self.heard))
        return self.heard

    def hear_all(self) -> bytes:
        """Receive until the other side ends its stream."""
        while not self.ended:
            self._receive(65536)
        return self.heard

    def _receive(self, count: int) -> None:
        data = self.connection.recv(count)
        self.heard += data
        self.ended = self.ended or not data

    def hang_up(self) -> None:
        """Close the call: the other side reads the end of the stream."""
        self.connection.close()

    def hang_up_rudely(self) -> None:
        """Close the call by a reset (RST): the other side's next call fails."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


Script = Callable[[Line], Any]


class Peer:
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

    def _line(self) -> Line:
        raise NotImplementedError

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
