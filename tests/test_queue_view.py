"""The line before a listener: who is in it, who knocks, who was accepted; as text and as a picture."""

from __future__ import annotations

import re
import socket as standard
import struct
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pytest

from helpers import Stage, callers, kernel_view, socket
from helpers.kernel_view import SocketRow, proc_source, psutil_source
from helpers.queue_view import SHOWN, UNTOLD, Line, Place, QueueView, look_in_line

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a full line has another length, or refuses")
HAS_UNIX = pytest.mark.skipif(not hasattr(standard, "AF_UNIX"), reason="this system has no AF_UNIX")


def has_ipv6() -> bool:
    try:
        with standard.socket(standard.AF_INET6) as probe:
            probe.bind(("::1", 0))
            return True
    except OSError:
        return False


HAS_IPV6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


held = list[Any]()  #: sockets stay open until their test is over


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    yield
    while held:
        held.pop().close()


def hold(sock: Any) -> Any:
    held.append(sock)
    return sock


def take(listener: Any) -> Any:
    return hold(listener.accept()[0])


def listen(backlog: int, family: int = socket.AF_INET, address: Any = ("127.0.0.1", 0)) -> Any:
    listener = hold(socket.socket(family))
    listener.bind(address)
    listener.listen(backlog)
    listener.end.name = "listener"
    return listener


def dial(address: Any, name: str, family: int = socket.AF_INET) -> Any:
    """A caller that does not wait for the answer."""
    caller = hold(socket.socket(family))
    caller.setblocking(False)
    caller.connect_ex(address)
    caller.end.name, caller.end.role = name, "client"
    return caller


def lines(view: QueueView) -> list[str]:
    return repr(view).splitlines()


def words(view: QueueView) -> list[str]:
    """What the boxes and the headings of the picture say."""
    svg = ElementTree.fromstring(view.svg())
    return [text.text or "" for text in svg.iter("{http://www.w3.org/2000/svg}text")]


def description(view: QueueView) -> str | None:
    return ElementTree.fromstring(view.svg()).findtext("{http://www.w3.org/2000/svg}desc")


# ---------------------------------------------------------------------- filling and draining


@LINUX
def test_it_fills_is_full_and_drains(stage: Stage) -> None:
    listener = listen(1)
    assert lines(stage.queue()) == [
        "listener: backlog 1, 0 of 2 places taken",
        "  place 1   free",
        "  place 2   free",
    ]
    one = callers.silent(listener.getsockname(), b"hi")
    assert lines(stage.queue())[:2] == [
        "listener: backlog 1, 1 of 2 places taken",
        "  place 1   caller 1  2 bytes unread",
    ]
    callers.silent(listener.getsockname())
    callers.silent(listener.getsockname())
    assert lines(stage.queue()) == [
        "listener: backlog 1, 2 of 2 places taken: full",
        "  place 1   caller 1  2 bytes unread",
        "  place 2   caller 2",
        "  knocking  caller 3  SYN_SENT",
    ]
    first = take(listener)
    assert first.end.twin is one.connection.end
    view = look_in_line(stage.recording, settle=0)  # it is not time yet to knock again
    assert "; 1 accepted" in repr(view) and "  accepted  caller 1" in repr(view)


@LINUX
def test_who_knocks_gets_in_where_a_place_is_free(stage: Stage) -> None:
    listener = listen(0)
    for name in ("first", "late"):
        dial(listener.getsockname(), name)
    assert lines(stage.queue())[-1] == "  knocking  late   SYN_SENT"
    take(listener)
    until = time.monotonic() + 10
    while "knocking" in repr(view := stage.queue()) and time.monotonic() < until:
        pass  # stage.queue() itself waits
    assert lines(view) == [
        "listener: backlog 0, 1 of 1 place taken: full; 1 accepted",
        "  place 1   late",
        "  accepted  first",
    ]


@LINUX
@pytest.mark.parametrize(("backlog", "places"), [(-1, 1), (0, 1), (1, 2), (5, 6)])
def test_one_more_than_the_backlog_fit_in(stage: Stage, backlog: int, places: int) -> None:
    listener = listen(backlog)
    for _ in range(places):
        assert ": full" not in repr(stage.queue())
        callers.silent(listener.getsockname())
    assert lines(stage.queue())[0].endswith(f"{places} of {places} place{'s' * (places > 1)} taken: full")
    callers.silent(listener.getsockname())
    assert f"  knocking  caller {places + 1}" in repr(stage.queue())


@LINUX
@pytest.mark.parametrize("limit", [4096, 20_000])
def test_the_systems_limit_cuts_a_long_backlog(stage: Stage, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(kernel_view, "_somaxconn", lambda: limit)
    listen(10_000)
    asked = " (10000 asked for)" * (limit == 4096)
    places = min(limit, 10_000) + 1
    assert lines(stage.queue()) == [
        f"listener: backlog {places - 1}{asked}, 0 of {places:,} places taken",
        *(f"  place {n}   free" for n in range(1, SHOWN + 1)),
        f"  place …   {places - SHOWN:,} more free",
    ]


@LINUX
def test_a_long_line_is_told_in_short(stage: Stage) -> None:
    listener = listen(30)
    for n in range(12):
        dial(listener.getsockname(), f"c{n}")
    told = lines(stage.queue())
    assert told[SHOWN:] == ["  place 8   c7", "  place …   4 more", "  place …   19 more free"]
    for _ in range(12):
        take(listener)
    told = lines(stage.queue())
    assert told[0] == "listener: backlog 30, 0 of 31 places taken; 12 accepted"
    assert told[-5:] == [*(f"  accepted  c{n}" for n in range(4)), "  accepted  8 more"]


@LINUX
def test_in_the_order_in_which_they_dialled(stage: Stage) -> None:
    listener, made = listen(5), [hold(socket.socket()) for _ in range(3)]
    for n, caller in enumerate(reversed(made)):
        caller.connect(listener.getsockname())
        caller.end.name = f"dialled_{n}"
    assert [line.split()[2] for line in lines(stage.queue())[1:4]] == ["dialled_0", "dialled_1", "dialled_2"]


# ---------------------------------------------------------------------- whose line it is


@LINUX
def test_several_listeners_and_none(stage: Stage) -> None:
    assert repr(stage.queue()) == "Nobody listens."
    assert "Nobody listens." in words(stage.queue())
    one, other = listen(1), listen(0)
    one.end.name, other.end.name = "one", "other"
    callers.silent(other.getsockname())
    told = lines(stage.queue())
    assert told[0] == "one: backlog 1, 0 of 2 places taken"
    assert told[3:] == ["other: backlog 0, 1 of 1 place taken: full", "  place 1   caller 1"]
    other.close()
    assert lines(stage.queue()) == told[:3]


@LINUX
@HAS_IPV6
def test_an_ipv6_listener(stage: Stage) -> None:
    listener = listen(0, socket.AF_INET6, ("::1", 0))
    address = listener.getsockname()
    callers.silent(address[:2])
    dial(address, "late", socket.AF_INET6)
    assert lines(stage.queue())[1:] == ["  place 1   caller 1", "  knocking  late      SYN_SENT"]


@LINUX
@HAS_IPV6
def test_a_listener_for_both_families_has_one_line(stage: Stage) -> None:
    listener = hold(socket.create_server(("::", 0), family=socket.AF_INET6, backlog=1, dualstack_ipv6=True))
    port = listener.getsockname()[1]
    callers.silent(("127.0.0.1", port))
    callers.silent(("::1", port))
    callers.silent(("127.0.0.1", port))
    assert lines(stage.queue())[1:] == [
        "  place 1   caller 1",
        "  place 2   caller 2",
        "  knocking  caller 3  SYN_SENT",
    ]


@LINUX
@HAS_UNIX
def test_a_line_in_the_file_system(stage: Stage, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    listener = listen(1, socket.AF_UNIX, "line.sock")
    for name in ("one", "two", "three"):  # the third is turned down: EAGAIN
        dial("line.sock", name, socket.AF_UNIX)
    assert lines(stage.queue()) == [
        "listener: backlog 1, 2 of 2 places taken: full",
        "  place 1   one",
        "  place 2   two",
    ]
    take(listener)
    assert lines(stage.queue())[1:] == ["  place 1   two", "  place 2   free", "  accepted  one"]


@LINUX
def test_callers_outside_the_record(stage: Stage) -> None:
    listener = listen(0)
    with standard.create_connection(listener.getsockname()), standard.socket() as late:
        late.setblocking(False)
        late.connect_ex(listener.getsockname())
        assert lines(stage.queue())[1:] == [
            "  place 1   (not recorded)",
            "  knocking  (not recorded)  SYN_SENT",
        ]
        take(listener)
        assert "  accepted  (not recorded)" in lines(look_in_line(stage.recording, settle=0))


@LINUX
@pytest.mark.parametrize("rudely", [True, False])
def test_who_has_hung_up_keeps_his_place(stage: Stage, rudely: bool) -> None:
    listener = listen(2)
    crowd = [callers.silent(listener.getsockname()) for _ in range(3)]
    crowd[1].hang_up(rudely)
    assert lines(stage.queue()) == [
        "listener: backlog 2, 3 of 3 places taken: full",
        "  place 1   caller 1",
        "  place 2   caller 2  has hung up",
        "  place 3   caller 3",
    ]


@LINUX
def test_two_of_whom_only_the_number_is_known(stage: Stage) -> None:
    listener = listen(5)
    callers.rude(listener.getsockname(), b"")
    with standard.create_connection(listener.getsockname()) as outside:
        outside.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert lines(stage.queue())[:3] == [
        "listener: backlog 5, 2 of 6 places taken",
        "  place 1   (not recorded)",
        "  place 2   (not recorded)",
    ]


@LINUX
def test_one_who_gave_up_knocking_is_not_taken_for_one_in_line(stage: Stage) -> None:
    listener = listen(0)
    callers.silent(listener.getsockname())
    dial(listener.getsockname(), "late").close()
    assert lines(stage.queue()) == ["listener: backlog 0, 1 of 1 place taken: full", "  place 1   caller 1"]


# ---------------------------------------------------------------------- systems that tell less


@LINUX
def test_a_system_that_does_not_tell_of_its_queue(stage: Stage) -> None:
    """As macOS does: only sockets that somebody has a descriptor of."""
    listener = listen(1)
    crowd = [callers.silent(listener.getsockname()) for _ in range(3)]

    def source(kinds: Any) -> tuple[list[SocketRow], list[str]]:
        rows, notes = psutil_source(kinds)
        return [row for row in rows if row.owner], notes

    view = look_in_line(stage.recording, source=source)
    assert lines(view) == [
        "listener: backlog 1, 2 in line",
        "  place 1   caller 1",
        "  place 2   caller 2",
        "  knocking  caller 3  SYN_SENT",
        UNTOLD,
    ]
    assert UNTOLD in words(view) and description(view) == repr(view)
    crowd[2].hang_up()
    take(listener)
    view = look_in_line(stage.recording, source=source)
    assert lines(view)[:2] == ["listener: backlog 1, 1 in line; 1 accepted", "  place 1   caller 2"]


@LINUX
def test_a_system_that_lists_them_and_does_not_count(stage: Stage) -> None:
    listener = listen(5)
    callers.silent(listener.getsockname())
    with standard.create_connection(listener.getsockname()):
        view = look_in_line(stage.recording, source=psutil_source)
    assert lines(view)[:3] == ["listener: backlog 5, 2 in line", "  place 1   caller 1", "  place 2   (not recorded)"]


def test_a_table_that_cannot_be_read(stage: Stage) -> None:
    def source(kinds: Any) -> tuple[list[SocketRow], list[str]]:
        raise PermissionError

    listener = listen(5)
    caller = hold(socket.create_connection(listener.getsockname()))
    caller.end.name = "caller"
    view = look_in_line(stage.recording, source=source)
    assert lines(view) == [
        "listener: backlog 5, 1 in line",
        "  place 1   caller",
        "The system's table can't be read (PermissionError): what is shown is what the record knows.",
    ]


@LINUX
def test_half_way_in_counts_as_knocking(stage: Stage) -> None:
    """When two dial for the last place, the one who comes too late may be left in SYN_RECV."""
    listener = listen(1)
    caller = dial(listener.getsockname(), "caller")

    def source(kinds: Any) -> tuple[list[SocketRow], list[str]]:
        rows, notes = proc_source(kinds)
        for row in rows:
            if row.state == "LISTEN" and row.local.endswith(f":{listener.getsockname()[1]}"):
                row.queue = "0 waiting"
            if row.peer.endswith(f":{caller.getsockname()[1]}") and not row.owner:
                row.state = "SYN_RECV"
        return rows, notes

    view = look_in_line(stage.recording, source=source, settle=0)
    assert lines(view)[-1] == "  knocking  caller  SYN_RECV"


def test_it_looks_again_while_somebody_knocks_at_a_free_place(stage: Stage) -> None:
    listener = listen(1)
    looks = list[int]()
    local = f"127.0.0.1:{listener.getsockname()[1]}"

    def source(kinds: Any) -> tuple[list[SocketRow], list[str]]:
        looks.append(len(looks))
        inode = kernel_view._inode(listener.end) or ("fd", listener.fileno())
        state = "SYN_SENT" if len(looks) < 4 else "ESTABLISHED"
        near = SocketRow("127.0.0.1:9", local, state, owner=4711)
        far = SocketRow(local, "127.0.0.1:9", "ESTABLISHED")
        rows = [SocketRow(local, "", "LISTEN", inode, queue=f"{int(len(looks) > 3)} waiting"), near]
        return (rows if len(looks) < 4 else [*rows, far]), []

    view = look_in_line(stage.recording, source=source, settle=30)
    assert len(looks) == 5  # the last two say the same
    assert lines(view)[1:] == ["  place 1   (not recorded)", "  place 2   free"]


# ---------------------------------------------------------------------- as text and as a picture


def example(*places: Place, knocking: list[Place] | None = None) -> QueueView:
    return QueueView([Line("listener", "backlog 1", 2, list(places), knocking or [], [])], [])


def test_text_and_picture_say_the_same() -> None:
    many = [Place(f"c{n}", "client", "SYN_SENT") for n in range(9)]
    taken = [Place("one", "server", "5 bytes unread"), Place("two", "client")]
    line = Line("listener", "backlog 1", 2, taken, many, many)
    view = QueueView([line, Line("other", "backlog 5", None, [], [], [])], ["n"])
    assert description(view) == repr(view)
    bundle = view._repr_mimebundle_()
    assert bundle == {"text/plain": repr(view), "image/svg+xml": view.svg()}
    told, drawn = repr(view), words(view)
    for box in ("1 · one · 5 bytes unread", "2 · two", "c0 · SYN_SENT", "c3 · SYN_SENT", "… · 5 more"):
        assert box in drawn
        assert all(part in told for part in re.findall(r"\w+", box.split(" · ", 1)[1]))
    assert sum("more" in text for text in drawn) == told.count("more") == 2
    assert "c4" not in told and not any("c4" in text for text in drawn)
    assert "n" in drawn


def test_who_knocks_stands_at_the_end_of_the_line_and_inside_the_picture() -> None:
    view = example(Place("a", "client"), Place("b", "client"), knocking=[Place(f"k{n}", "client") for n in range(4)])
    svg = ElementTree.fromstring(view.svg())
    boxes = [float(box.get("y", 0)) for box in svg.iter("{http://www.w3.org/2000/svg}rect")][1:]
    assert boxes[0] < boxes[1] == boxes[2] < boxes[3]
    assert max(boxes) + 30 < float(svg.get("viewBox", "").split()[3])


@pytest.mark.parametrize("free", [True, False])
def test_a_cross_stands_before_a_full_line(free: bool) -> None:
    places = [Place("a", "client"), *([] if free else [Place("b", "client")])]
    svg = example(*places, knocking=[Place("k", "client")]).svg()
    assert ("l12 12m0-12l-12 12" in svg) is not free


def test_what_others_named_is_escaped_and_cut() -> None:
    view = example(Place("<b>&", "client"), Place("x" * 90, "client"))
    assert "<b>" not in view.svg() and description(view) == repr(view)
    assert "1 · <b>&" in words(view)
    cut = next(text for text in words(view) if "xxx" in text)
    assert cut.endswith("…") and len(cut) < 40


@LINUX
def test_no_port_and_no_descriptor_is_in_it(stage: Stage) -> None:
    listener = listen(5)
    caller = dial(listener.getsockname(), "caller")
    view = stage.queue()
    numbers = {int(digits) for digits in re.findall(r"\d+", repr(view))}
    assert numbers <= {0, *range(1, 7)}
    told = "".join(words(view))
    for sock in (listener, caller):
        assert str(sock.getsockname()[1]) not in told
    assert "127.0.0.1" not in view.svg()


@LINUX
def test_it_may_be_looked_at_while_others_dial(stage: Stage) -> None:
    listener, problems = listen(50), list[OSError]()

    def ring() -> None:
        try:
            for _ in range(100):
                socket.create_connection(listener.getsockname(), 5).close()
                listener.accept()[0].close()
        except OSError as problem:
            problems.append(problem)

    thread = threading.Thread(target=ring)
    thread.start()
    while thread.is_alive():
        assert lines(look_in_line(stage.recording, settle=0))[0].startswith("listener: backlog 50")
    assert not problems
    assert "; 100 accepted" in repr(stage.queue())
