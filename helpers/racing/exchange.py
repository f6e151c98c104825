"""Callers of a server by the thousand, none of which waits: how they dial, speak, hear and hang up, and what is wrong.

They speak the protocol of Part II: the server greets with a line; each line is answered by its number in this call, a
space and the text; `quit` is answered by `bye`, and then the call ends.  Each says its own text, and **every answer is
checked**: a server that mixes its callers up, or its own numbers, is found out.
"""

from __future__ import annotations

import errno
import re
import selectors
import socket
import time
from collections import deque

ROOM = 100  #: so many callers at most may stand in line, dialled and not greeted: no server's queue overflows
ON_ITS_WAY = {0, errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", 0)}
NO_PORT = {errno.EADDRNOTAVAIL, errno.EADDRINUSE}
LIMITS = {
    errno.EMFILE: "descriptors", errno.ENFILE: "descriptors of all processes", errno.ENOMEM: "memory",
    errno.ENOBUFS: "memory",
}  # fmt: skip
HOW_TO_RAISE = {
    "descriptors": "run `ulimit -n {more}` in the terminal that starts the course; where that is refused, root raises "
    "the hard limit in /etc/security/limits.conf (macOS: `sudo launchctl limit maxfiles {more} {more}`)",
    "descriptors of all processes": "root raises it by `sysctl fs.file-max={more}` (macOS: kern.maxfiles)",
    "ports": "root makes their range wider, `sysctl net.ipv4.ip_local_port_range='1024 65535'` (macOS: "
    "net.inet.ip.portrange.first), or callers dial from more addresses, as here on Linux",
    "memory": "close other programs, or give the container more memory",
    "sockets of select()": "select(), which is all that the system has, looks at 512 at once: let fewer callers call",
    "threads": "`ulimit -u` allows more, and where the course runs in a container its pids limit; "
    "each thread wants memory for a stack, too",
}
LATE_CHOICE = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24)  #: Linux: the port is chosen at connect(), see ip(7)
SELECT = 512  #: so many sockets at most select() looks at on Windows, where Python's selectors have nothing else
clock = time.perf_counter


class Wrong(Exception):
    """What the server did wrong, in words."""


class Limit(Exception):
    """A limit of this machine was met: which."""


class Caller:
    """One caller: what it says, what it should hear next, and since when it waits for that."""

    __slots__ = ("count", "expected", "heard", "known", "line", "number", "since", "sock", "waits")

    def __init__(self, number: int) -> None:
        self.number, self.line = number, b"caller %d\n" % number
        self.sock: socket.socket | None = None
        self.expected: bytes | None = None  # None: any line, the greeting
        self.heard = b""
        self.count = 0  # of answers in this call
        self.since: float | None = None  # None: it waits for nothing
        self.waits: list[float] = []
        self.known = False  # was it ever answered?

    def wrong(self, heard: bytes) -> Wrong:
        """What it heard is not what it should have heard: in words."""
        told = f"caller {self.number} should have heard {self.expected!r} and heard {heard[:60]!r}"
        other = re.search(rb"caller (\d+)", heard)
        if other and int(other[1]) != self.number:
            return Wrong(f"mixes its callers up: {told}")
        return Wrong(f"answers wrongly: {told}")

    def lost(self, why: str) -> Wrong:
        """The server ended the call without being asked to: in words."""
        if self.expected in (b"bye\n", b""):
            return Wrong(f"ended the call of caller {self.number}, who had said quit, not as agreed ({why})")
        after = f"after {self.count:,} answer{'s' * (self.count > 1)}" if self.count else "unanswered"
        rest = f"; the last it said was {self.heard[:60]!r}" if self.heard else ""
        return Wrong(f"hung up on caller {self.number}, {after}, who had not said quit ({why}){rest}")


class Exchange:
    """The least that callers can do: dial, be greeted, say a line, hear the answer."""

    def __init__(self, host: str, port: int, callers: int) -> None:
        self.address = (host, port)
        self.callers = [Caller(number) for number in range(1, callers + 1)]
        self.undialled = deque(self.callers)
        self.in_line = 0
        self.selector = selectors.DefaultSelector()
        self.source = 1  # the last number of the address that callers dial from
        self.greeting = b""  # the first that was heard; all have to be greeted so

    def dial(self, caller: Caller) -> None:
        """Begin a call, and wait for nothing; Limit: the machine has no more descriptors, ports or memory."""
        by_select = issubclass(selectors.DefaultSelector, selectors.SelectSelector)
        if by_select and len(self.selector.get_map()) >= SELECT:
            raise Limit("sockets of select()")
        try:
            sock = socket.socket()
        except OSError as problem:
            raise Limit(LIMITS.get(problem.errno or 0, str(problem))) from None
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number = self.connect(sock)
        while number in NO_PORT and self.source < 8:  # all ports of this address are taken: Linux has more addresses
            self.source += 1
            number = self.connect(sock)
        if number not in ON_ITS_WAY:
            sock.close()
            if number in NO_PORT:
                raise Limit("ports")
            if number in LIMITS:
                raise Limit(LIMITS[number])
            raise caller.lost(errno.errorcode.get(number, str(number)))
        caller.sock, caller.expected, caller.heard, caller.count = sock, None, b"", 0
        self.in_line += 1
        self.selector.register(sock, selectors.EVENT_READ, caller)

    def connect(self, sock: socket.socket) -> int:
        """Begin the connection, from another address of this machine where the ports of the first are used up."""
        try:
            if self.source > 1:
                if hasattr(selectors, "EpollSelector"):
                    sock.setsockopt(socket.IPPROTO_IP, LATE_CHOICE, 1)
                sock.bind((f"127.0.0.{self.source}", 0))
        except OSError:  # it has no such address (macOS has one alone), or that is used up, too
            return errno.EADDRNOTAVAIL
        return sock.connect_ex(self.address)

    def say(self, caller: Caller, text: bytes, expected: bytes) -> None:
        """Send a line, for which there is room: its caller has been answered."""
        assert caller.sock is not None
        caller.expected = expected
        try:
            caller.sock.send(text)
        except OSError as problem:
            raise caller.lost(_named(problem)) from None

    def hear(self, caller: Caller) -> bool:
        """Receive what has come; is it all that the caller expects?  Wrong: it is something else."""
        assert caller.sock is not None
        try:
            data = caller.sock.recv(65536)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as problem:
            raise caller.lost(_named(problem)) from None
        if data == caller.expected and not caller.heard:
            return True
        if not data:
            raise caller.lost("it ended the stream")
        heard, expected = caller.heard + data, caller.expected
        caller.heard = b""
        if expected is None and heard.find(b"\n") == len(heard) - 1:
            self.greeting = self.greeting or heard
            if heard != self.greeting:
                words = f"greeted caller {caller.number} with {heard[:60]!r}, and others with {self.greeting[:60]!r}"
                raise Wrong(words)
            return True
        if heard == expected:
            return True
        if b"\n" in heard if expected is None else not expected.startswith(heard) or len(heard) > 4096:
            raise caller.wrong(heard)
        caller.heard = heard
        return False

    def hang_up(self, caller: Caller) -> None:
        """Close its call, if there is one."""
        if caller.sock is not None:
            try:
                self.selector.unregister(caller.sock)
            except KeyError:  # it is not listened to at the moment
                pass
            caller.sock.close()
            caller.sock = None

    def leave(self, patience: float = 2.0) -> None:
        """End all calls, in an orderly way: those who were greeted read to the end of the server's stream."""
        try:
            until, ending = clock() + patience, 0
            for caller in self.callers:
                if caller.sock is not None and caller.expected is not None:
                    try:
                        caller.sock.shutdown(socket.SHUT_WR)
                        self.selector.get_key(caller.sock)
                        ending += 1
                    except (OSError, KeyError):
                        self.hang_up(caller)
                else:
                    self.hang_up(caller)
            while ending and (left := until - clock()) > 0:
                for key, _ in self.selector.select(left):
                    try:
                        ended = not key.data.sock.recv(65536)
                    except OSError:
                        ended = True
                    if ended:
                        self.hang_up(key.data)
                        ending -= 1
        finally:
            for caller in self.callers:
                self.hang_up(caller)
            self.selector.close()


def _named(problem: OSError) -> str:
    return errno.errorcode.get(problem.errno or 0, str(problem))
