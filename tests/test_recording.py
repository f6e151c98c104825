"""The record: bytes paired by their positions, connections by their numbers, and an order that is certain."""

from __future__ import annotations

import array
import ctypes
import os
import socket
import sys
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import recorded_socket
from helpers.recorder import recorder
from helpers.recording import KEPT_BYTES, KEPT_EVENTS, Call, Cut, Endpoint, Recording, key, octets, shorten, size

HERE, THERE = ("127.0.0.1", 5000), ("127.0.0.1", 40000)
some_settings = settings(max_examples=150, deadline=None, derandomize=True)


def connection(record: Recording, number: int = 0) -> tuple[Endpoint, Endpoint]:
    """The caller's end and the accepted one."""
    caller, made = record.endpoint("client", True, 5), record.endpoint("server", True, 6)
    there = (THERE[0], THERE[1] + number)
    record.connected(caller, there, HERE, Call("client", caller, "connect", (HERE,)))
    record.connected(made, HERE, there)
    return caller, made


def send(record: Recording, end: Endpoint, data: bytes, role: str = "") -> Call:
    call = Call(role or end.role, end, "sendall", (shorten(data),))
    record.sent(call, len(data))
    record.add(call)
    return call


def receive(record: Recording, end: Endpoint, data: bytes, role: str = "") -> Call:
    call = Call(role or end.role, end, "recv", (100,))
    record.received(call, len(data))
    record.check(call, data)
    record.add(call)
    return call


# ---------------------------------------------------------------------- bytes


def reference(sends: Sequence[int], start: int, stop: int) -> list[int]:
    """Which of the sends put the bytes from `start` to `stop` into the stream: byte by byte."""
    owners = [n for n, length in enumerate(sends) for _ in range(length)]
    return sorted(set(owners[start:stop]))


@some_settings
@given(
    st.lists(st.integers(0, 200), max_size=12),
    st.lists(st.integers(0, 300), max_size=12),
    st.integers(0, 255),
)
def test_who_sent_what_was_received(sends: list[int], receives: list[int], seed: int) -> None:
    record = Recording()
    caller, made = connection(record)
    stream = bytes((seed + n) % 251 for n in range(sum(sends)))
    calls, at = [], 0
    for length in sends:
        calls.append(send(record, caller, stream[at : at + length]))
        at += length
    at = 0
    for length in receives:
        stop = min(at + length, len(stream))
        taken = receive(record, made, stream[at:stop])
        assert (taken.start, taken.stop) == (at, stop)
        assert taken.sources() == [calls[n] for n in reference(sends, at, stop)]
        at = stop
    assert made.received == at
    assert not made.outside
    assert made.expects == (at < len(stream))
    caller.finished = True
    assert made.expects


@some_settings
@given(st.lists(st.binary(max_size=90), max_size=10), st.lists(st.integers(1, 200), max_size=10), st.data())
def test_who_sent_what_was_received_on_sockets(sent: list[bytes], sizes: list[int], data: st.DataObject) -> None:
    """The same with sockets, by all ways to send and to receive, in any order."""
    before, recorder.recording = recorder.recording, Recording()
    one, other = recorded_socket.socketpair()
    try:
        calls, taken, waiting = [], [], 0
        sent, sizes = list(sent), list(sizes)
        while sent or (sizes and waiting):
            if sent and (not sizes or not waiting or data.draw(st.booleans())):
                part = sent.pop(0)
                way = data.draw(st.sampled_from(["send", "sendall", "sendmsg"][: 2 if os.name == "nt" else 3]))
                getattr(one, way)([part[:3], part[3:]] if way == "sendmsg" else part)
                calls.append(recorder.recording.events[-1].call)
                waiting += len(part)
            else:
                length = sizes.pop(0)
                way = data.draw(st.sampled_from(["recv", "recv_into", "recvfrom"]))
                other.recv_into(bytearray(length)) if way == "recv_into" else getattr(other, way)(length)
                taken.append(recorder.recording.events[-1].call)
                waiting -= taken[-1].stop - taken[-1].start
        lengths = [call.stop - call.start for call in calls]
        for call in taken:
            assert call.sources() == [calls[n] for n in reference(lengths, call.start, call.stop)]
        assert not other.end.outside
    finally:
        one.close()
        other.close()
        recorder.recording = before


def test_the_end_of_the_stream() -> None:
    record = Recording()
    caller, made = connection(record)
    sent = send(record, caller, b"hello")
    first = receive(record, made, b"hello")
    assert not made.expects
    caller.finished = True
    assert made.expects
    end = receive(record, made, b"")
    assert (first.sources(), end.sources(), end.start, end.stop) == ([sent], [], 5, 5)
    assert end.receives
    assert not end.sends
    assert not send(record, caller, b"").sources()


def test_datagrams_are_not_paired() -> None:
    record = Recording()
    one = record.endpoint("client", False, 5)
    call = send(record, one, b"hello")
    assert (call.start, one.sent, call.sends) == (None, 0, False)
    assert receive(record, one, b"hello").sources() == []
    assert not one.outside


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        ([b"hello"], [b"hello!"]),  # more than was sent
        ([b"hello"], [b"HELLO"]),  # other bytes
        ([b"one", b"two"], [b"onet", b"xo"]),
        ([b"x" * 100, b"abc"], [b"x" * 100 + b"abc", b"more"]),
    ],
)
def test_a_stream_used_outside_is_not_paired(sent: list[bytes], received: list[bytes]) -> None:
    record = Recording()
    caller, made = connection(record)
    for data in sent:
        send(record, caller, data)
    calls = [receive(record, made, data) for data in received]
    assert made.outside
    assert not any(call.sources() for call in calls)
    assert not made.expects
    for _ in range(3):  # and that it was is not forgotten
        send(record, caller, b"more and more")
    assert made.outside
    assert not caller.outside


def test_a_send_that_is_noted_late() -> None:
    """The receiver may be told of its bytes before the sender's thread has come to note that it sent them."""
    record = Recording()
    caller, made = connection(record)
    with caller.turn:
        taken = Call("server", made, "recv", (5,))
        record.received(taken, 5)
        assert made.outside
        record.sent(late := Call("client", caller, "send", (b"hello",)), 5)
    record.check(taken, b"hello")
    assert not made.outside
    assert taken.sources() == [late]


# ---------------------------------------------------------------------- connections


def test_twins() -> None:
    record = Recording()
    caller, made = connection(record)
    assert (caller.twin, made.twin) == (made, caller)
    again, other = connection(record)  # the same numbers, later
    assert (again.twin, other.twin, made.twin) == (other, again, caller)
    stranger = record.endpoint("server", True, 7)
    record.connected(stranger, HERE, ("10.0.0.1", 9))
    assert stranger.twin is None
    # accepted in another thread before the connect() was noted
    early, late = record.endpoint("server", True, 8), record.endpoint("client", True, 9)
    record.connected(early, HERE, ("127.0.0.1", 1))
    record.connected(late, ("127.0.0.1", 1), HERE, Call("client", late, "connect"))
    assert early.twin is late


def test_a_listener_expects_whom_the_record_saw_dial() -> None:
    for listening in (HERE, ("0.0.0.0", 5000), ("::", 5000)):
        record = Recording()
        listener = record.endpoint("server", True, 4)
        record.listening(listener, listening, 5)
        assert not listener.expects
        caller = record.endpoint("client", True, 5)
        record.connected(caller, THERE, HERE, Call("client", caller, "connect"))
        record.dialled(caller)
        assert listener.expects
        made = record.endpoint("server", True, 6)
        record.connected(made, HERE, THERE)
        record.taken(listener, made)
        assert not listener.expects
        listener.closed = True
        record.dialled(caller)
        assert not listener.expects
    record.dialled(record.endpoint("client", True, 7))


def test_what_was_withdrawn() -> None:
    record = Recording()
    caller = record.endpoint("client", True, 5)
    record.connected(caller, "", "/path", Call("client", caller, "connect"))
    record.withdrawn(caller)
    record.withdrawn(caller)
    made = record.endpoint("server", True, 6)
    record.connected(made, "/path", "")
    assert (caller.peer, caller.dial, made.twin) == (None, None, None)
    paired, twin = connection(record)
    record.withdrawn(paired)
    assert paired.twin is twin
    assert paired.peer == HERE


def test_keys() -> None:
    assert key(("::ffff:127.0.0.1", 5, 0, 0)) == key(("127.0.0.1", 5)) == ("127.0.0.1", 5)
    assert key(("::1", 5, 0, 0)) == ("::1", 5)
    assert key(b"/path") == key(bytearray(b"/path")) == "/path"
    assert key(b"\0name") == b"\0name"
    assert key(None) is None
    for odd in ([], {}, ("x", []), (1,), 5, object()):
        hash(key(odd))


# ---------------------------------------------------------------------- what is kept


def test_what_is_kept_of_data() -> None:
    assert shorten(b"x" * KEPT_BYTES) == b"x" * KEPT_BYTES
    for buffer in (b"ab" * 500, bytearray(b"ab" * 500), memoryview(b"ab" * 500), array.array("H", b"ab" * 500)):
        cut = shorten(buffer)
        assert isinstance(cut, Cut)
        assert (bytes(cut), cut.whole) == (b"ab" * (KEPT_BYTES // 2), 1000)
        assert shorten(cut) is cut
    data = bytearray(b"early")
    kept = shorten(data)
    data[:] = b"later"
    assert kept == b"early"
    assert shorten((ctypes.c_int * 2)(1, 2)) == bytes((ctypes.c_int * 2)(1, 2))
    assert shorten(memoryview(b"abcdef")[::2]) == b"ace"
    for value in (None, 5, 1.5, True, "text", ("a", 5)):
        assert shorten(value) == value
    assert len(shorten("x" * 10_000)) == KEPT_BYTES
    assert shorten([b"x" * 1000, 5])[0].whole == 1000

    class Thing:
        pass

    thing = Thing()
    before = sys.getrefcount(thing)
    kept = shorten((thing, [thing]))
    assert sys.getrefcount(thing) == before
    assert [type(kept[0]).__name__, type(kept[1][0]).__name__] == ["Thing", "Thing"]


def test_buffers() -> None:
    assert octets(array.array("i", [1])).nbytes == array.array("i").itemsize
    assert bytes(octets((ctypes.c_ubyte * 3)(1, 2, 3))) == b"\x01\x02\x03"
    assert size([bytearray(3), memoryview(b"ab")]) == 5
    assert size(array.array("d", [1, 2])) == 16
    assert size("no buffer") == size([5]) == size(None) == 0


def test_a_long_record_drops_its_beginning() -> None:
    record = Recording()
    caller, made = connection(record)
    for n in range(KEPT_EVENTS):
        send(record, caller, b"%d" % n)
        receive(record, made, b"%d" % n)
    assert len(record.events) <= KEPT_EVENTS
    assert record.dropped + len(record.events) == 2 * KEPT_EVENTS
    assert len(caller.sending) <= KEPT_EVENTS
    last = record.events[-1].call
    assert last.sources() == [record.events[-2].call]
    assert len(record.ordered()) == len(record.events)


def test_many_sockets() -> None:
    record = Recording()
    stay = record.endpoint("server", True, 3)
    for n in range(KEPT_EVENTS + 10):
        caller, made = connection(record, n % 1000)
        caller.closed = made.closed = True
    assert stay in record.ends
    assert len(record.ends) <= KEPT_EVENTS
    assert record.ends[-1].number == 2 * (KEPT_EVENTS + 10) + 1
    for _ in range(KEPT_EVENTS + 10):
        alone = record.endpoint("client", True, 5)
        record.connected(alone, "", "/elsewhere", Call("client", alone, "connect"))
        alone.closed = True
    assert sum(map(len, record._lone.values())) <= KEPT_EVENTS


# ---------------------------------------------------------------------- order


def history(choices: list[int]) -> list[tuple[str, Any]]:
    """What really happened: a server, and clients that dial, send, receive and hang up; each step by its thread."""
    steps: list[tuple[str, Any]] = []
    queue: list[int] = []
    calls: dict[int, list[int]] = {}  # bytes on their way to the server and to the client
    dialled = 0
    for choice in choices:
        what, who = choice % 5, choice // 5
        if what == 0:
            steps.append((f"client {dialled}", ("connect", dialled, 0)))
            queue.append(dialled)
            dialled += 1
        elif what == 1 and queue:
            number = queue.pop(0)
            steps.append((f"server {who % 2}", ("accept", number, 0)))
            calls[number] = [0, 0]
        elif calls and what in (2, 3, 4):
            number = sorted(calls)[who % len(calls)]
            ours = what == 4
            name = f"server {number % 2}" if ours else f"client {number}"
            flowing = calls[number]
            if who % 2:
                steps.append((name, ("send", number, 1 + who % 7)))
                flowing[1 if ours else 0] += 1 + who % 7
            elif flowing[0 if ours else 1]:
                count = 1 + who % flowing[0 if ours else 1]
                steps.append((name, ("recv", number, count)))
                flowing[0 if ours else 1] -= count
    return steps


@some_settings
@given(st.lists(st.integers(0, 400), max_size=40), st.data())
def test_no_effect_is_placed_before_its_cause(choices: list[int], data: st.DataObject) -> None:
    """Each thread notes its own calls in order, but how the threads' notes are mixed is a matter of chance."""
    steps = history(choices)
    record = Recording()
    ends: dict[tuple[str, int], Endpoint] = {}
    listener = record.endpoint("server 0", True, 3)
    calls: list[Call] = []
    for role, (name, number, count) in steps:
        side = role.split()[0]
        end = ends.setdefault((side, number), record.endpoint(role, True, 5)) if name != "accept" else listener
        call = Call(role, end, name)
        if name == "connect":
            record.connected(end, (THERE[0], number), HERE, call)
        elif name == "accept":
            call.made = ends["server", number] = record.endpoint(role, True, 6)
            record.connected(call.made, HERE, (THERE[0], number))
        elif name == "send":
            call.args = (b"x" * count,)
            record.sent(call, count)
        else:
            record.received(call, count)
            record.check(call, b"x" * count)
        calls.append(call)
    threads: dict[str, list[Call]] = {}
    for call in calls:
        threads.setdefault(call.role, []).append(call)
    while threads:
        role = data.draw(st.sampled_from(sorted(threads)))
        call = threads[role].pop(0)
        if data.draw(st.booleans()):
            record.add(call, waits=True)
        record.add(call)
        if not threads[role]:
            del threads[role]
    order = record.ordered()
    assert sorted(map(id, order)) == sorted(map(id, record.events))
    place = {(id(event.call), event.waits): n for n, event in enumerate(order)}
    for role in {call.role for call in calls}:
        mine = [event for event in record.events if event.call.role == role]
        assert [event for event in order if event.call.role == role] == mine
    for call in calls:
        begun = place.get((id(call), True))
        assert begun is None or begun < place[id(call), False]
        causes = call.sources()
        if call.name == "accept" and call.made and call.made.twin and call.made.twin.dial:
            causes = [call.made.twin.dial]
        for cause in causes:
            noted = place.get((id(cause), True), place[id(cause), False])
            assert noted < place[id(call), False]
    # what was noted in an order that is possible stays as it was
    straight = Recording()
    for call in calls:
        straight.add(call)
    assert [event.call for event in straight.ordered()] == calls


def test_the_end_comes_after_the_hanging_up() -> None:
    for name, args in (("close", ()), ("shutdown", (1,))):
        record = Recording()
        caller, made = connection(record)
        sent = send(record, caller, b"hello")
        taken, end = receive(record, made, b"hello"), receive(record, made, b"")
        over = Call("client", caller, name, args)
        record.add(over)
        assert [event.call for event in record.ordered()] == [sent, taken, over, end]
    # an end that one made for oneself is no sign of the other's
    record = Recording()
    caller, made = connection(record)
    own, end = Call("server", made, "shutdown", (0,)), Call("server", made, "recv", (10,))
    record.add(own)
    record.received(end, 0)
    record.add(end)
    record.add(over := Call("client", caller, "close"))
    assert [event.call for event in record.ordered()] == [own, end, over]


def test_the_end_comes_after_the_hanging_up_though_the_own_stream_is_ended() -> None:
    """shutdown(SHUT_WR) ends what is sent; the end that is read then is still the other side's."""
    record = Recording()
    caller, made = connection(record)
    own = Call("server", made, "shutdown", (socket.SHUT_WR,))
    record.add(own)
    end = receive(record, made, b"", "server")
    record.add(over := Call("client", caller, "close"))
    assert [event.call for event in record.ordered()] == [own, over, end]


def test_threads_that_share_a_name() -> None:
    """Two threads with one name seem to contradict each other; what is certain between sockets holds all the same."""
    record = Recording()
    caller, made = connection(record)
    back, forth = connection(record, 1)
    first, second = Call("both", caller, "send", (b"a",)), Call("other", back, "send", (b"b",))
    record.sent(first, 1)
    record.sent(second, 1)
    taken, got = Call("other", made, "recv"), Call("both", forth, "recv")
    record.received(taken, 1)
    record.received(got, 1)
    for call in (got, first, taken, second):  # each waits for the other, by their names
        record.add(call)
    order = [event.call for event in record.ordered()]
    assert len(order) == 4
    assert order.index(first) < order.index(taken)
    assert order.index(second) < order.index(got)


def test_order_while_another_thread_notes() -> None:
    record = Recording()
    caller, made = connection(record)
    over = threading.Event()

    def note() -> None:
        while not over.is_set() and len(record.events) < 5_000:
            send(record, caller, b"x")
            receive(record, made, b"x")

    thread = threading.Thread(target=note)
    thread.start()
    while thread.is_alive() and len(record.events) < 4_000:
        events = record.ordered()
        assert len(events) <= len(record.events)
    over.set()
    thread.join()
