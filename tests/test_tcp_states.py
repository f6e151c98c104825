"""The TCP state diagram: where real sockets light it up, and what it says of the ways between the states."""

from __future__ import annotations

import re
import struct
import sys
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest

from helpers import Stage, socket
from helpers.kernel_view import STATES, SocketRow
from helpers.recorded_socket import recorder
from helpers.tcp_states import AFTER, BEFORE, FITS, HEIGHT, LIT, NOTES, PLACES, ROWS, WAYS, WIDTH, States

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system tells less of its sockets")
SVG = "{http://www.w3.org/2000/svg}"
#: figure 5 of RFC 9293: each way from a state to another
RFC = {
    ("CLOSED", "LISTEN"),
    ("CLOSED", "SYN_SENT"),
    ("LISTEN", "SYN_RECV"),
    ("LISTEN", "SYN_SENT"),
    ("LISTEN", "CLOSED"),
    ("SYN_SENT", "SYN_RECV"),
    ("SYN_SENT", "ESTABLISHED"),
    ("SYN_SENT", "CLOSED"),
    ("SYN_RECV", "ESTABLISHED"),
    ("SYN_RECV", "FIN_WAIT1"),
    ("SYN_RECV", "LISTEN"),
    ("ESTABLISHED", "FIN_WAIT1"),
    ("ESTABLISHED", "CLOSE_WAIT"),
    ("FIN_WAIT1", "FIN_WAIT2"),
    ("FIN_WAIT1", "CLOSING"),
    ("FIN_WAIT2", "TIME_WAIT"),
    ("CLOSING", "TIME_WAIT"),
    ("CLOSE_WAIT", "LAST_ACK"),
    ("LAST_ACK", "CLOSED"),
    ("TIME_WAIT", "CLOSED"),
}
BOTH_DIAL = {("LISTEN", "SYN_SENT"), ("SYN_SENT", "SYN_RECV")}  # and sockets can't do the first of them at all
ENDS_EARLY = {("LISTEN", "CLOSED"), ("SYN_SENT", "CLOSED"), ("SYN_RECV", "FIN_WAIT1"), ("SYN_RECV", "LISTEN")}


def name(state):
    return "CLOSED" if state in (BEFORE, AFTER) else state


def row(state, label="client", role="client", local="127.0.0.1:1", peer="127.0.0.1:2"):
    return SocketRow(local, peer, state, name=label, role=role)


def marked(states):
    """The states that the text marks, and the names that stand there."""
    found = re.findall(r"^▶  (\w+) +(\S.*?)(?:  .*)?$", str(states), re.M)
    return [(state, names) for state, names in found]


@pytest.fixture
def stage(monkeypatch):
    monkeypatch.setattr(recorder, "recording", None)  # put back after the stage
    stage = Stage("server", "client", namespace={"socket": socket})
    stage.run("server", 'listener = socket.create_server(("127.0.0.1", 0), backlog=0)')
    stage.run("client", "client = socket.create_connection(listener.getsockname())")
    stage.run("server", "transfer, _ = listener.accept()")
    yield stage
    stage.close()


# ---------------------------------------------------------------------- real sockets


@LINUX
def test_an_open_call(stage):
    assert marked(stage.states()) == [("LISTEN", "listener"), ("ESTABLISHED", "client, transfer")]
    assert stage.states().sockets["ESTABLISHED"] == [("client", "client"), ("transfer", "server")]


@LINUX
def test_closed_before_a_call(stage):
    stage.run("client", "fresh = socket.socket()")
    assert stage.states().sockets[BEFORE] == [("fresh", "client")]
    assert AFTER not in stage.states().sockets


@LINUX
def test_syn_sent_to_a_full_queue(stage):
    stage.run("client", "waits = socket.create_connection(listener.getsockname())")
    stage.run("client", "knocks = socket.socket()\nknocks.setblocking(False)")
    stage.run("client", "print(knocks.connect_ex(listener.getsockname()))")
    assert stage.states().sockets["SYN_SENT"] == [("knocks", "client")]


@LINUX
def test_who_hangs_up_first_and_who_second(stage):
    stage.run("client", "client.shutdown(socket.SHUT_WR)")
    assert marked(stage.states())[1:] == [("FIN_WAIT2", "client"), ("CLOSE_WAIT", "transfer")]
    stage.run("server", "transfer.close()")
    assert marked(stage.states())[1:] == [("TIME_WAIT", "client")]
    stage.run("client", "client.close()")
    assert stage.states().sockets["TIME_WAIT"] == [("client (closed)", "kernel")]


@LINUX
def test_both_ended_and_one_still_open(stage):
    stage.run("client", "client.shutdown(socket.SHUT_WR)")
    stage.run("server", "transfer.shutdown(socket.SHUT_WR)")
    assert marked(stage.states())[1:] == [("TIME_WAIT", "client"), ("CLOSED", "transfer")]
    assert stage.states().sockets[AFTER] == [("transfer", "server")]


@LINUX
def test_a_reset_leads_to_closed(stage):
    linger = struct.pack("ii", 1, 0)
    stage.run("client", f"client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, {linger!r})\nclient.close()")
    assert stage.states().sockets[AFTER] == [("transfer", "server")]
    assert marked(stage.states())[1:] == [("CLOSED", "transfer")]


@LINUX
def test_a_call_that_nobody_has_accepted(stage):
    stage.run("client", "second = socket.create_connection(listener.getsockname())")
    assert ("(not yet accepted)", "kernel") in stage.states().sockets["ESTABLISHED"]


@LINUX
def test_states_are_of_this_moment(stage):
    before = stage.states()
    stage.run("client", "client.close()")
    assert marked(before)[1:] == [("ESTABLISHED", "client, transfer")]
    assert marked(stage.states())[1:] == [("FIN_WAIT2", "client (closed)"), ("CLOSE_WAIT", "transfer")]


@LINUX
def test_unix_sockets_have_no_such_states(stage):
    stage.run("client", "left, right = socket.socketpair()\nlone = socket.socket(socket.AF_UNIX)")
    assert {row.name for row in stage.sockets().rows} >= {"left", "right"}
    assert not {"left", "right"} & {name for who in stage.states().sockets.values() for name, _ in who}


# ---------------------------------------------------------------------- the RFC's diagram


def test_every_state_of_the_rfc_is_there():
    assert {name(state) for state in PLACES} == {state for way in RFC for state in way}
    assert {name(state) for state in PLACES} == set(STATES) - {""}  # as the kernel's table spells them
    assert len(set(PLACES.values())) == len(PLACES) == 12  # eleven, CLOSED in two places


def test_every_way_leads_where_the_rfc_says():
    drawn = [(name(way.start), name(way.goal)) for way in WAYS]
    assert len(set(drawn)) == len(drawn)
    assert set(drawn) == RFC - BOTH_DIAL - ENDS_EARLY
    assert "both dial at once" in NOTES[1] and "ends before it stands" in NOTES[1]


def test_a_call_begins_and_ends_at_different_places_of_closed():
    assert [way.start for way in WAYS if name(way.start) == "CLOSED"] == [BEFORE, BEFORE]
    assert [way.goal for way in WAYS if name(way.goal) == "CLOSED"] == [AFTER, AFTER]


@pytest.mark.parametrize("state", [state for state in STATES if state])
def test_each_state_of_the_kernels_table_can_be_lit(state):
    states = States([row(state)])
    assert marked(states) == [(state, "client")]
    assert states.svg().count(LIT) == 1


def test_other_rows_light_nothing():
    rows = [row("connected"), row("datagrams"), row("", peer=""), row("LISTEN", local="unix:/run/x", peer="")]
    states = States([*rows, row("ESTABLISHED", peer="unix:x")])
    assert states.sockets == {} and "▶" not in str(states) and LIT not in states.svg()
    assert "<title>TCP state diagram, lit: none</title>" in states.svg()


# ---------------------------------------------------------------------- text and picture


def texts(states):
    """Position, anchor and words of each text of the picture."""
    tree = ElementTree.fromstring(states.svg())
    return [(int(t.get("x")), int(t.get("y")), t.get("text-anchor"), t.text) for t in tree.iter(f"{SVG}text")]


def words_in(states, state):
    """What is written in a state's box."""
    (x, where), y = PLACES[state], ROWS[PLACES[state][1]]
    assert where < len(ROWS)
    inside = [(tx, ty, words) for tx, ty, _, words in texts(states)]
    return [words for tx, ty, words in inside if abs(tx - x) <= WIDTH / 2 and abs(ty - y) < HEIGHT / 2]


def test_several_in_one_state_are_counted_by_name():
    states = States([row("CLOSE_WAIT", "transfer", "server")] * 3 + [row("CLOSE_WAIT", "a", "client")])
    assert marked(states) == [("CLOSE_WAIT", "transfer × 3, a")]
    assert words_in(states, "CLOSE_WAIT") == ["CLOSE_WAIT", "transfer × 3", "a"]


def test_same_name_of_two_roles_is_two_sockets():
    states = States([row("ESTABLISHED", "s", "server"), row("ESTABLISHED", "s", "client")])
    assert marked(states) == [("ESTABLISHED", "s, s")]


def test_what_does_not_fit_is_cut_and_counted():
    states = States([row("LISTEN", "n" * 60)])
    assert [len(words) <= FITS for words in words_in(states, "LISTEN")] == [True, True]
    assert words_in(states, "LISTEN")[1].endswith("n…")
    assert "n" * 60 in str(states)  # the text has room
    states = States([row("LISTEN", f"listener_{n}") for n in range(9)])
    assert words_in(states, "LISTEN") == ["LISTEN", "listener_0", "+8"]
    assert "listener_8" in str(states)


def test_how_many_there_are_is_never_cut():
    rows = [row("TIME_WAIT", "a_transfer (closed)", "kernel")] * 1234
    assert words_in(States(rows), "TIME_WAIT") == ["TIME_WAIT", "a_transfer … × 1234"]
    assert words_in(States([*rows, row("TIME_WAIT", "bc")]), "TIME_WAIT")[1:] == ["a_trans… × 1234", "+1"]


@pytest.mark.parametrize("count", range(1, 7))
@pytest.mark.parametrize("label", ["a", "client", "client (closed)", "n" * 30])
def test_names_stay_in_their_box(count, label):
    states = States([row("LISTEN", f"{n}{label}") for n in range(count)])
    (x, _), unit = PLACES["LISTEN"], 10.24  # of the widest of the usual fonts, DejaVu Sans Mono, at 17 pixels
    inside = words_in(states, "LISTEN")
    starts = [(tx, words) for tx, _, anchor, words in texts(states) if anchor == "start" and words in inside]
    assert len(inside) >= 2
    assert all(tx >= x - WIDTH / 2 and tx + unit * len(words) <= x + WIDTH / 2 for tx, words in starts)
    assert all(tx + unit * len(words) < follows for (tx, words), (follows, _) in pairwise(starts))


def test_hostile_names_are_shown_as_they_are():
    hostile = '<script>alert("x")</script>&\x1b[31m\x00'
    states = States([row("LISTEN", hostile, '"><b>')])
    svg = states.svg()
    tree = ElementTree.fromstring(svg)  # well-formed
    assert not list(tree.iter(f"{SVG}script")) and not list(tree.iter(f"{SVG}b"))
    assert "\x1b" not in svg + str(states) and "\x00" not in svg + str(states)
    assert '<script>alert("x")</script>&' in str(states)


def test_the_picture_is_described_by_its_text():
    states = States([row("LISTEN", "listener", "server"), row("CLOSED", "x"), row("not connected", "y")])
    tree = ElementTree.fromstring(states.svg())
    assert tree.find(f"{SVG}desc").text == str(states)
    assert tree.find(f"{SVG}title").text == "TCP state diagram, lit: CLOSED, LISTEN"
    assert tree.get("role") == "img"
    assert states._repr_mimebundle_() == {"text/plain": str(states), "image/svg+xml": states.svg()}


def test_the_text_tells_each_way():
    lines = {line[3:].split()[0]: line for line in str(States([])).splitlines()[1:-2]}
    for way in WAYS:
        goal = "CLOSED" if way.goal == AFTER else way.goal
        if way.start != BEFORE:  # the last line of CLOSED is the one after a call, which leads nowhere
            assert f"{goal} ({way.why})" in lines[way.start]
    assert lines["CLOSED"] == "   CLOSED"


def test_ways_that_a_socket_may_take_are_strong():
    strong = re.compile(r'<text [^>]*font-weight="bold">([^<]*)')
    assert not strong.findall(States([]).svg())
    assert strong.findall(States([row("FIN_WAIT2")]).svg()) == ["gets FIN", "FIN_WAIT2"]
    assert strong.findall(States([row("CLOSED")]).svg()) == ["CLOSED"]


def test_roles_are_named_beside_their_colours():
    said = [words for _, y, _, words in texts(States([row("LISTEN", "a", "server"), row("SYN_SENT", "b", "guest")]))
            if y > ROWS[-1] + HEIGHT // 2]  # fmt: skip
    assert {"server", "guest", *NOTES} == set(said)


def test_boxes_and_words_are_apart_and_inside():
    width, height = map(int, ElementTree.fromstring(States([]).svg()).get("viewBox").split()[2:])
    boxes = [(x - WIDTH // 2, ROWS[row] - HEIGHT // 2) for x, row in PLACES.values()]
    assert all(0 < x < width - WIDTH and 0 < y < height - HEIGHT for x, y in boxes)
    assert all(abs(a[0] - b[0]) > WIDTH + 20 or abs(a[1] - b[1]) > HEIGHT + 20 for a, b in combinations(boxes, 2))
    spans = []
    for x, y, anchor, words in texts(States([])):
        size = (13.9 if words in {*map(name, PLACES)} else 10.24) * len(words)
        left = x - size * {"start": 0, "middle": 0.5, "end": 1}[anchor]
        assert left > 8 and left + size < width - 8 and 16 < y < height - 8, words
        spans.append((left, left + size, y, words))
    for (left, right, y, words), (left_2, right_2, y_2, words_2) in combinations(spans, 2):
        assert right < left_2 or right_2 < left or abs(y - y_2) >= 17, (words, words_2)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.start}-{way.goal}")
def test_arrows_lead_from_box_to_box(way):
    paths = re.findall(r'<path d="M([\dL ]+)"[^>]*/><path d="M(\d+) (\d+)l', States([]).svg())
    assert len(paths) == len(WAYS)
    line, *tip = paths[WAYS.index(way)]
    (x, y), *corners = [tuple(map(int, point.split())) for point in line.split("L")]
    assert all(a == c or b == d for (a, b), (c, d) in pairwise([(x, y), *corners]))

    def edge(state, x, y):
        across, down = abs(x - PLACES[state][0]), abs(y - ROWS[PLACES[state][1]])
        return (across == WIDTH // 2 and down < HEIGHT // 2) or (down == HEIGHT // 2 and across < WIDTH // 2)

    assert edge(way.start, x, y) and edge(way.goal, *map(int, tip))
