"""What happened: the recorded calls, in an order that is certain.

A `Recording` is a list of `Event`s.  Roles append to it while they hold the baton, so their events stand in the order
in which they happened, the same in every run.  Calls of other threads are ordered only by what is certain; `ordered()`
moves an event down until nothing is received before it was sent, nor accepted before it was dialled.

This room knows neither threads nor notebooks: it is told, it keeps, and it answers.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

KEPT_BYTES = 64  #: of the data of a call, this much is kept to be shown
KEPT_EVENTS = 20_000  #: older events of a long-running server are dropped, and counted


@dataclass(slots=True, eq=False)
class Endpoint:
    """One socket, as the recorder knows it: one end of a connection, or a listener.

    `sent` and `received` count bytes since the connection was made: positions in the two streams.  `twin` is the
    recorded other end of the connection, once both ends are known; a connection's four numbers (RFC 9293, 3.3.1: both
    addresses and both ports) are `local` and `peer`.
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

    @property
    def label(self) -> str:
        """The learner's name for it, or a number where there is none."""
        return self.name or f"socket {self.number}"

    @property
    def outside(self) -> bool:
        """Was it also used outside of the record (`os.write` on its descriptor, say)?  Then no arrow can be paired."""
        return self.doubted or (self.twin is not None and self.received > self.twin.sent)

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

    def sources(self) -> list[Call]:
        """The send calls of the twin whose bytes this receive took, in the order of the stream."""
        end = self.end
        if not self.receives or end is None or end.twin is None or end.outside:
            return []
        assert self.start is not None and self.stop is not None
        sending = end.twin.sending
        first = bisect_right(sending, self.start, key=lambda call: call.stop or 0)
        found = []
        for call in sending[first:]:
            if call.start is None or call.start >= self.stop:
                break
            found.append(call)
        return found


@dataclass(slots=True, eq=False)
class Event:
    """A line of the record: a call that began to wait (`waits`), or one that returned."""

    call: Call
    waits: bool = False


def shorten(value: Any) -> Any:
    """Data as it is kept: at most `KEPT_BYTES` of it, copied, so that the record holds nobody's buffer."""
    if isinstance(value, bytes):
        return value if len(value) <= KEPT_BYTES else Cut(value)
    if isinstance(value, (bytearray, memoryview)):
        return Cut(value)
    return value


class Cut(bytes):
    """The first bytes of something longer; `whole` is the length of all of it."""

    whole: int

    def __new__(cls, data: bytes | bytearray | memoryview) -> Cut:
        self = super().__new__(cls, bytes(memoryview(data).cast("B")[:KEPT_BYTES]))
        self.whole = memoryview(data).nbytes
        return self


class Recording:
    """The list of events, and the connections among them.

    Not thread-safe by itself beyond `append` (one bytecode): roles write under the baton, and other threads under the
    lock of the socket that they use.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.ends: list[Endpoint] = []
        self.dropped = 0
        self.cell = 0
        self._made = 0
        self._by_numbers: OrderedDict[tuple[Any, Any], Endpoint] = OrderedDict()
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
        call.cell = call.cell or self.cell
        call.returned = not waits
        self.events.append(Event(call, waits))
        if len(self.events) > 2 * KEPT_EVENTS:
            self.dropped += KEPT_EVENTS
            del self.events[:KEPT_EVENTS]

    # ------------------------------------------------------------------ connections

    def listening(self, end: Endpoint, local: Any, backlog: int) -> None:
        """`end` has become a listener at `local`."""
        end.local, end.backlog = local, backlog
        self._listeners[local] = end

    def connected(self, end: Endpoint, local: Any, peer: Any, dial: Call | None = None) -> None:
        """`end` is one end of the connection named by (`local`, `peer`), made by the call `dial` if it dialled; its twin
        is found if it was recorded."""
        end.local, end.peer, end.dial = local, peer, dial
        twin = self._by_numbers.get((peer, local))
        if twin is not None and twin.twin is None:
            end.twin, twin.twin = twin, end
        self._by_numbers[local, peer] = end
        while len(self._by_numbers) > KEPT_EVENTS:
            self._by_numbers.popitem(last=False)

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
        """`count` bytes more of `call` are in the stream."""
        end = call.end
        if end is None or not end.stream:
            return
        if call.start is None:
            call.start = end.sent
            if end.twin is not None or end.peer is not None:
                end.sending.append(call)
                if len(end.sending) > KEPT_EVENTS:
                    del end.sending[: KEPT_EVENTS // 2]
        end.sent += count
        call.stop = end.sent

    def received(self, call: Call, count: int, data: bytes | None = None) -> None:
        """`call` took `count` bytes out of the stream; 0 is its end.

        Other bytes than were recorded as sent mean that the stream was also used outside of the record.
        """
        end = call.end
        if end is None or not end.stream:
            return
        call.start, call.stop = end.received, end.received + count
        end.received += count
        if data is not None and end.twin is not None and not self._same(call, data):
            end.doubted = True

    @staticmethod
    def _same(call: Call, data: bytes) -> bool:
        """Do the bytes received agree with what the record keeps of the bytes sent?"""
        assert call.start is not None
        for source in call.sources():
            kept = source.args[0] if source.args else b""
            assert source.start is not None
            if isinstance(kept, bytes):
                first = max(source.start, call.start)
                ours = data[first - call.start : first - call.start + KEPT_BYTES]
                theirs = kept[first - source.start :]
                length = min(len(ours), len(theirs))
                if ours[:length] != theirs[:length]:
                    return False
        return True

    # ------------------------------------------------------------------ order

    def ordered(self) -> list[Event]:
        """The events in an order that is certain: each thread's own order, sent before received, dialled before
        accepted; where that leaves a choice, the order in which they were noted."""
        events = self.events
        position = {(id(e.call), e.waits): n for n, e in enumerate(events)}
        later: list[list[int]] = [[] for _ in events]
        missing = [0] * len(events)

        def before(first: int, second: int) -> None:
            if first != second:
                later[first].append(second)
                missing[second] += 1

        last: dict[str, int] = {}
        for n, event in enumerate(events):
            if event.call.role in last:
                before(last[event.call.role], n)
            last[event.call.role] = n
            if not event.waits:
                for cause in self._causes(event.call):
                    # a send that waited had put its first bytes in when it began to wait
                    first = position.get((id(cause), True), position.get((id(cause), False)))
                    if first is not None:
                        before(first, n)
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
        return order if len(order) == len(events) else events

    def _causes(self, call: Call) -> Iterator[Call]:
        yield from call.sources()
        made = call.made
        if call.name == "accept" and made is not None and made.twin is not None and made.twin.dial is not None:
            yield made.twin.dial
