"""What happened: the recorded calls, in an order that is certain.

A `Recording` is a list of `Event`s.  Roles append to it while they hold the baton, so their events stand in the order
in which they happened, the same in every run.  Calls of other threads are ordered only by what is certain; `ordered()`
moves an event down until nothing is received before it was sent, nor accepted before it was dialled.

This room starts no threads and knows no notebook: it is told, it keeps, and it answers.
"""

from __future__ import annotations

import heapq
import os
import socket
import threading
from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

KEPT_BYTES = 64  #: of the data of a call, this much is kept to be shown
KEPT_CHECKS = 1_000  #: so many receives of a socket may wait to be compared with what was sent
KEPT_EVENTS = 40_000  #: older events of a long-running server are dropped, and counted


@dataclass(slots=True, eq=False)
class Endpoint:
    """One socket, as the recorder knows it: one end of a connection, or a listener.

    `sent` and `received` count bytes since the connection was made: positions in the two streams.  `twin` is the
    recorded other end of the connection, once both ends are known; a connection's four numbers (RFC 9293, 3.3.1: both
    addresses and both ports) are `local` and `peer`.  `turn` is held while bytes go in or out and are counted here, so
    that the positions of several threads' calls are those of their bytes in the stream.
    """

    number: int
    role: str
    stream: bool = True
    name: str | None = None
    fd: int = -1
    local: Any = None
    peer: Any = None
    backlog: int | None = None
    sent: int = 0
    received: int = 0
    finished: bool = False  # it has said that it will send no more: shutdown(SHUT_WR) or close()
    closed: bool = False
    doubted: bool = False  # what the record calls certain did not come, or other bytes did
    dialled: int = 0  # of a listener: recorded calls that reached it
    accepted: int = 0  # of a listener: recorded calls taken off its queue
    twin: Endpoint | None = None
    dial: Call | None = None  # the connect() that made it
    sending: list[Call] = field(default_factory=list)  # its send calls, for pairing with the twin's receives
    turn: Any = field(default_factory=threading.Lock, repr=False)
    unchecked: deque[Call] = field(default_factory=lambda: deque(maxlen=KEPT_CHECKS), repr=False)  # its last receives
    looked_for: int = 0  # how often its name was looked for

    @property
    def label(self) -> str:
        """The learner's name for it; where there is none, that of the scripted caller whose it is, or a number."""
        return self.name or (self.role if self.role.startswith("caller ") else f"socket {self.number}")

    @property
    def outside(self) -> bool:
        """Was it also used outside of the record (`os.write` on its descriptor, say)?  Then no arrow can be paired."""
        while self.unchecked and not self.doubted:
            self.doubted = not self.unchecked.popleft().plausible()
        return self.doubted or (self.twin is not None and self.received > self.twin.sent)

    def doubt(self) -> None:
        """What was certain to arrive did not."""
        self.doubted = True

    @property
    def expects(self) -> bool:
        """Is something certain to arrive: sent by the twin and not yet received, or the end of its stream?"""
        twin = self.twin
        if self.backlog is not None:
            return self.dialled > self.accepted and not self.doubted
        return twin is not None and not self.outside and (twin.sent > self.received or twin.finished)


@dataclass(slots=True, eq=False)
class Call:
    """One call on a socket: who made it, with what, and what came back.

    `error` is the exception that it raised; `start` and `stop` are the positions in the stream (bytes) that a send or
    a receive covered.  `waited` says that the caller gave up the baton in it; `returned` is False while it waits.
    """

    role: str
    end: Endpoint | None
    name: str
    args: tuple[Any, ...] = ()
    result: Any = None
    error: BaseException | None = None
    start: int | None = None
    stop: int | None = None
    waited: bool = False
    returned: bool = False
    made: Endpoint | None = None  # the socket that accept(), dup() or socket() gave
    cell: int = 0  # counts the cells of the stage; 0 outside of any

    @property
    def sends(self) -> bool:
        """Did it put bytes into a stream?"""
        return self.name.startswith("send") and self.start is not None

    @property
    def receives(self) -> bool:
        """Did it take bytes out of a stream, or its end?"""
        return self.name.startswith("recv") and self.start is not None

    @property
    def ends(self) -> bool:
        """Did it find the end of the stream?"""
        return self.receives and self.start == self.stop and self.args[:1] != (0,)

    def sources(self) -> list[Call]:
        """The send calls of the twin whose bytes this receive took, in the order of the stream."""
        end = self.end
        return [] if end is None or end.outside else self._sources()

    def _sources(self) -> list[Call]:
        if not self.receives or self.start == self.stop or self.end is None or self.end.twin is None:
            return []
        assert self.start is not None and self.stop is not None
        sending, found = self.end.twin.sending, list[Call]()
        first = bisect_right(sending, self.start, key=lambda call: call.stop or 0)
        while first < len(sending) and (sending[first].start or 0) < self.stop:
            if sending[first].start != sending[first].stop:
                found.append(sending[first])
            first += 1
        return found

    def plausible(self) -> bool:
        """Do the bytes that this receive took agree with what the record keeps of the bytes sent?"""
        if not isinstance(self.result, bytes) or self.start is None:
            return True
        for source in self._sources():
            kept = source.args[0] if source.args else b""
            assert source.start is not None
            if isinstance(kept, bytes):
                first = max(source.start, self.start)
                ours, theirs = self.result[first - self.start :], kept[first - source.start :]
                length = min(len(ours), len(theirs))
                if ours[:length] != theirs[:length]:
                    return False
        return True


@dataclass(slots=True, eq=False)
class Event:
    """A line of the record: a call that began to wait (`waits`), or one that returned."""

    call: Call
    waits: bool = False


def shorten(value: Any) -> Any:
    """An argument or a result as it is kept: the record holds no more than `KEPT_BYTES` of it, and nobody's object."""
    if isinstance(value, bytes):
        return value if len(value) <= KEPT_BYTES or isinstance(value, Cut) else Cut(value)
    if value is None or isinstance(value, (int, float)):
        return value
    if isinstance(value, str):
        return value[:KEPT_BYTES]
    if isinstance(value, (tuple, list)):  # an address, buffers
        return type(value)(map(shorten, value[:KEPT_BYTES])) if type(value) in (tuple, list) else shorten([*value])
    try:
        return Cut(value)
    except TypeError:  # no buffer either: a class of the same name stands for it
        return type(type(value).__name__, (), {})()


def octets(buffer: Any) -> memoryview:
    """A buffer of whatever kind as bytes."""
    view = memoryview(buffer)
    try:
        return view.cast("B")
    except (TypeError, ValueError, NotImplementedError):  # of ctypes, say: its format is not Python's own
        return memoryview(view.tobytes())


def size(room: Any) -> int:
    """How many bytes a buffer, or a list of them, has room for; 0 if it is none: the call itself says so."""
    try:
        return sum(map(size, room)) if isinstance(room, list) else memoryview(room).nbytes
    except TypeError:
        return 0


def key(address: Any) -> Any:
    """An address as a key: (host, port), an IPv4 one that came over an IPv6 listener in its own form."""
    if isinstance(address, tuple) and len(address) >= 2 and isinstance(address[1], int):
        return str(address[0]).removeprefix("::ffff:"), address[1]
    if isinstance(address, (bytes, bytearray)) and not address.startswith(b"\0"):
        return os.fsdecode(bytes(address))  # a path of AF_UNIX; Linux's abstract names remain bytes
    return address if address is None or isinstance(address, (str, bytes)) else repr(shorten(address))


class Cut(bytes):
    """The first bytes of something longer; `whole` is the length of all of it."""

    whole: int

    def __new__(cls, data: Any, whole: int | None = None) -> Cut:
        self = super().__new__(cls, octets(data)[:KEPT_BYTES])
        self.whole = memoryview(data).nbytes if whole is None else whole
        return self


class Recording:
    """The list of events, and the connections among them.

    Roles write under the baton; of other threads each appends at one stroke, and counts bytes in the socket's `turn`.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.ends: list[Endpoint] = []
        self.dropped = 0
        self.cell = 0
        self.watchers: list[Callable[[], None]] = []  # told of each new event, by the thread that made the call
        self._made = 0
        self._lone: OrderedDict[tuple[Any, Any], list[Endpoint]] = OrderedDict()  # those without a twin, by numbers
        self._lock = threading.Lock()
        self._listeners: dict[Any, Endpoint] = {}

    def endpoint(self, role: str, stream: bool, fd: int) -> Endpoint:
        """A new socket of `role`; sockets are numbered from 1 in the order in which they were made."""
        self._made += 1
        end = Endpoint(self._made, role, stream, fd=fd)
        self.ends.append(end)
        if len(self.ends) > KEPT_EVENTS:
            self.ends = [e for e in self.ends if not e.closed][-KEPT_EVENTS:]
        return end

    def add(self, call: Call, waits: bool = False) -> None:
        """Append the event that `call` began to wait (`waits`) or returned."""
        if not call.cell:
            call.cell = self.cell
        call.returned = not waits
        events = self.events
        events.append(Event(call, waits))
        for tell in self.watchers:
            tell()
        if len(events) > KEPT_EVENTS:
            with self._lock:
                if len(events) > KEPT_EVENTS:
                    self.dropped += KEPT_EVENTS // 2
                    del events[: KEPT_EVENTS // 2]

    # ------------------------------------------------------------------ connections

    def listening(self, end: Endpoint, local: Any, backlog: int) -> None:
        """`end` has become a listener at `local`."""
        end.local, end.backlog = key(local), backlog
        self._listeners[end.local] = end

    def connected(self, end: Endpoint, local: Any, peer: Any, dial: Call | None = None) -> None:
        """`end` is one end of the connection named by (`local`, `peer`), made by the call `dial` if it dialled.  Its
        twin is found if it was recorded.

        Callers of AF_UNIX have no name of their own: they are told before they dial, and accepted in that order.
        """
        end.local, end.peer, end.dial = local, peer, dial = key(local), key(peer), dial
        unnamed = not local or not peer
        with self._lock:
            twins = self._lone.get((peer, local)) if dial is None or not unnamed else None
            if twins:
                twin = twins.pop(0 if unnamed else -1)
                end.twin, twin.twin = twin, end
                if not twins:
                    del self._lone[peer, local]
            elif dial is not None or not unnamed:
                alone = self._lone.setdefault((local, peer), [])
                alone.append(end)
                del alone[:-KEPT_EVENTS]
            while len(self._lone) > KEPT_EVENTS:
                self._lone.popitem(last=False)

    def withdrawn(self, end: Endpoint) -> None:
        """What was told as `connected` did not come about."""
        with self._lock:
            alone = self._lone.get((end.local, end.peer), [])
            if end in alone:
                alone.remove(end)
            if not alone:
                self._lone.pop((end.local, end.peer), None)
        if end.twin is None:
            end.peer = end.dial = None

    def dialled(self, end: Endpoint) -> None:
        """The call `end` has reached its listener; if that is a recorded one, it is certain to accept."""
        listener = self._listener(end.peer)
        if listener is not None and end.twin is None:  # (another thread may have accepted it already)
            listener.dialled += 1

    def taken(self, listener: Endpoint, end: Endpoint) -> None:
        """`listener` took the connection `end` off its queue."""
        if end.twin is not None:
            listener.accepted += 1

    def _listener(self, peer: Any) -> Endpoint | None:
        end = self._listeners.get(peer)
        if end is None and isinstance(peer, tuple):  # it may listen on every address of this machine
            end = self._listeners.get(("0.0.0.0", *peer[1:])) or self._listeners.get(("::", *peer[1:]))
        return end if end is not None and not end.closed else None

    # ------------------------------------------------------------------ bytes

    def sent(self, call: Call, count: int) -> None:
        """`count` bytes more of `call` are in the stream.  Told in the socket's `turn`."""
        end = call.end
        if end is None or not end.stream:
            return
        if call.start is None:
            call.start = end.sent
            if end.peer is not None:
                end.sending.append(call)
                if len(end.sending) > KEPT_EVENTS:
                    del end.sending[: KEPT_EVENTS // 2]
        call.stop = end.sent = end.sent + count

    def received(self, call: Call, count: int) -> None:
        """`call` took `count` bytes out of the stream; 0 is its end.  Told in the socket's `turn`."""
        end = call.end
        if end is None or not end.stream:
            return
        call.start = end.received
        call.stop = end.received = end.received + count
        end.unchecked.append(call)

    def check(self, call: Call, data: bytes) -> None:
        """`call` took `data`.  More bytes than were recorded as sent mean that the stream was also used outside."""
        call.result = shorten(data)
        end = call.end
        if end is not None and (twin := end.twin) is not None and end.received > twin.sent:
            with twin.turn:  # a send that was under way in another thread has been counted now
                end.doubted = end.doubted or end.received > twin.sent

    # ------------------------------------------------------------------ order

    def ordered(self, some: list[Event] | None = None) -> list[Event]:
        """The events, or some, in an order that is certain: each thread's own order, sent before received, dialled
        before accepted, hung up before the end; where that leaves a choice, the order in which they were noted."""
        events = list(self.events) if some is None else some
        # threads that share a name may seem to contradict each other: then only what is certain between sockets counts
        return self._sorted(events, threads=True) or self._sorted(events, threads=False) or events

    def _sorted(self, events: list[Event], threads: bool) -> list[Event]:
        position = {(id(e.call), e.waits): n for n, e in enumerate(events)}
        later: list[list[int]] = [[] for _ in events]
        missing = [0] * len(events)

        def before(first: int | None, second: int) -> None:
            if first is not None and first != second:
                later[first].append(second)
                missing[second] += 1

        last: dict[str, int] = {}
        over: dict[Endpoint | None, int] = {}  # where it said that it sends no more
        deaf: dict[Endpoint | None, int] = {}  # where it said that it receives no more: it finds an end of its own
        for n, event in enumerate(events):
            if event.call.name in ("close", "shutdown") and event.call.error is None:
                how = event.call.args[0] if event.call.args else socket.SHUT_RDWR
                if how != socket.SHUT_RD:
                    over.setdefault(event.call.end, n)
                if how != socket.SHUT_WR:
                    deaf.setdefault(event.call.end, n)
        for n, event in enumerate(events):
            if threads:
                before(last.get(event.call.role), n)
                last[event.call.role] = n
            if not event.waits:
                before(position.get((id(event.call), True)), n)
                for cause in self._causes(event.call):
                    # a send that waited had put its first bytes in when it began to wait
                    before(position.get((id(cause), True), position.get((id(cause), False))), n)
                if event.call.ends and (end := event.call.end) is not None and deaf.get(end, n) >= n:
                    before(over.get(end.twin), n)
        ready = [n for n, count in enumerate(missing) if not count]
        heapq.heapify(ready)
        order: list[Event] = []
        while ready:
            n = heapq.heappop(ready)
            order.append(events[n])
            for follower in later[n]:
                missing[follower] -= 1
                if not missing[follower]:
                    heapq.heappush(ready, follower)
        return order if len(order) == len(events) else []

    def _causes(self, call: Call) -> Iterator[Call]:
        yield from call.sources()
        made = call.made
        if call.name == "accept" and made is not None and made.twin is not None and made.twin.dial is not None:
            yield made.twin.dial
