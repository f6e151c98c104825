"""The board: what a desk sees of real sockets, as data, as text and as a picture."""

from __future__ import annotations

import re
import socket as plain
import sys
import xml.etree.ElementTree as ET

import pytest

from helpers import Stage, callers, socket
from helpers import board as boards
from helpers.board import MOST, MOST_CLOSED, SECTIONS, Board, Entry, group
from helpers.desk import Desk
from helpers.gate import gate

LISTEN = """
    listener = socket.create_server(("127.0.0.1", 0), backlog={})
    host, port = listener.getsockname()
"""
ACCEPT = "transfer, caller = listener.accept()"
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who is in line")


@pytest.fixture
def desk(stage):
    return Desk(stage.recording, lambda: [role.now() for role in stage._roles.values()], stage._learn_names)


@pytest.fixture
def address(cell, stage):
    cell("server", LISTEN.format(1))
    return stage._namespace["host"], stage._namespace["port"]


def names(cards: list[dict[str, object]], *what: str) -> list[tuple[object, ...]]:
    return [tuple(card[name] for name in ("name", *what)) for card in cards]


def wires(board: Board) -> list[tuple[str, str, str]]:
    called = {card["id"]: card["name"] for card in board.callers + board.kernel + board.server}
    return [(called[wire["from"]], called[wire["to"]], wire["kind"]) for wire in board.wires]


def test_nothing_yet(desk):
    board = desk.look()
    assert [board.sections()[name] for name in SECTIONS if name != "roles"] == [[]] * 5
    assert str(board).startswith("Callers\n  nobody\nThe operating system\n  nobody listens\nThe server\n  nobody\n")


def test_a_connection(desk, cell, address):
    cell("server", ACCEPT)
    cell("client", "connection = socket.create_connection((host, port))\nconnection.sendall(b'hello')")
    board = desk.look(settle=0.25)
    assert names(board.callers, "situation", "state", "sent", "received", "unread") == [
        ("connection", "accepted", "ESTABLISHED", 5, 0, 0)
    ]
    assert names(board.server, "situation", "state", "unread") == [("transfer", "accepted", "ESTABLISHED", 5)]
    assert wires(board) == [("connection", "transfer", "accepted")]
    (caller,), (transfer,), (listener,) = board.callers, board.server, board.kernel
    assert (caller["local"], caller["peer"]) == (transfer["peer"], transfer["local"])
    assert caller["peer"] == listener["address"] == f"{address[0]}:{address[1]}"
    assert listener["taken"] == 0 and listener["accepted"] == 1


def test_in_the_picture_an_accepted_call_goes_past_the_listener(desk, cell, address):
    cell("server", ACCEPT)
    callers.silent(address)
    callers.silent(address)
    picture = ET.fromstring(desk.look(settle=0.25).svg())
    accepted, in_line = (path.get("d") for path in picture.iter("{http://www.w3.org/2000/svg}path"))
    listener = min(
        float(box.get("y")) for box in picture.iter("{http://www.w3.org/2000/svg}rect") if box.get("x") == "348"
    )
    lane = float(re.search(r"([\d.]+)H", accepted)[1])
    assert lane < listener and "H" not in in_line


@linux
def test_bytes_that_were_read_without_the_record_are_not_on_the_way(desk, cell, address):
    cell("server", ACCEPT)
    cell("client", "connection = socket.create_connection((host, port))\nconnection.sendall(b'hello')")
    cell("server", "import os\nos.read(transfer.fileno(), 9)")
    board = desk.look(settle=0.25)
    assert board.callers[0]["sent"] == 5 and board.server[0]["received"] == board.server[0]["unread"] == 0
    assert [wire["there"] for wire in board.wires] == [0]


@linux
def test_bytes_on_the_way(desk, cell, address):
    """More than the other side has room for: the rest waits at the sender's kernel."""
    cell("server", ACCEPT)
    cell(
        "client",
        """
        connection = socket.create_connection((host, port))
        connection.setblocking(False)
        try:
            while True:
                connection.send(bytes(100_000))
        except BlockingIOError:
            pass
        """,
    )
    board = desk.look(settle=0.25)
    (caller,), (transfer,), (wire,) = board.callers, board.server, board.wires
    assert transfer["unread"] > 0 and wire["there"] > 0
    assert wire["there"] <= caller["sent"] - transfer["unread"] and wire["back"] == 0


@linux
def test_in_line_and_knocking(desk, address):
    first, second, third = (callers.silent(address) for _ in range(3))
    board = desk.look(settle=0.25)
    assert names(board.callers, "situation", "state") == [
        ("caller 1", "in line", "ESTABLISHED"),
        ("caller 2", "in line", "ESTABLISHED"),
        ("caller 3", "knocking", "SYN_SENT"),
    ]
    (listener,) = board.kernel
    assert (listener["taken"], listener["places"], listener["knocks"]) == (2, 2, 1)
    assert [place["name"] for place in listener["line"]] == ["caller 1", "caller 2"]
    assert [kind for *_, kind in wires(board)] == ["in line", "in line", "knocking"]
    assert board.callers[2]["waits"] == "caller 3 waits in connect()"


@linux
def test_who_hangs_up_in_line_stays_there(desk, address, cell):
    caller = callers.silent(address, b"bye")
    caller.hang_up()
    for board in (desk.look(settle=0.25), Desk(desk.recording).look(settle=0.25)):
        assert names(board.callers, "situation", "closed") == [("caller 1", "in line", True)]
        assert board.kernel[0]["line"][0]["unread"] == 3
        assert "in line, has hung up, 3 bytes sent" in str(board)
    cell("server", ACCEPT)
    assert wires(desk.look(settle=0.25)) == [("caller 1", "transfer", "ended")]


def test_waits_and_what_was_said(desk, address, cell, stage):
    cell("server", f"{ACCEPT}\nprint('got one')\ntransfer.recv(9)")
    board = desk.look()
    assert board.roles[0]["words"] == board.kernel[0]["waits"].removeprefix("server ") == "waits in accept()"
    since = board.roles[0]["since"]
    assert desk.look().roles[0]["since"] == since > 1e9
    callers.silent(address)
    board = desk.look()
    assert board.roles[0]["words"] == "waits in recv()"
    assert board.roles[0]["said"] == "got one"
    assert board.server[0]["waits"] == "server waits in recv()"
    assert board.kernel[0]["waits"] == ""
    cell("client", "1")  # a cell writes it
    assert desk.look().roles[0]["said"] == ""


def test_errors_stand_where_they_happened(desk, address, cell):
    cell("server", ACCEPT)
    caller = callers.silent(address)
    caller.hang_up(rudely=True)
    with pytest.raises(ConnectionResetError):
        cell("server", "transfer.recv(9)")
    board = desk.look(settle=0.25)
    assert names(board.server, "situation", "error") == [("transfer", "reset", "ConnectionResetError in recv()")]
    assert wires(board) == [("caller 1", "transfer", "reset")]
    cell("server", "listener.close()")
    refused = callers.silent(address)
    assert isinstance(refused.error, ConnectionRefusedError)
    assert ("caller 2", "failed", "ConnectionRefusedError in connect()") in names(
        desk.look().callers, "situation", "error"
    )


def test_a_closed_call_stays_a_moment(desk, address, cell, monkeypatch):
    cell("server", ACCEPT)
    caller = callers.silent(address)
    desk.look()
    caller.hang_up()
    cell("server", "transfer.close()")
    now = desk.look()
    assert names(now.callers, "situation", "closed") == [("caller 1", "closed", True)]
    assert names(now.server, "closed") == [("transfer", True)]
    assert now.callers[0]["local"] and desk.lingers
    monkeypatch.setattr("helpers.desk.LINGER", 0.0)
    later = desk.look()
    assert later.callers == later.server == later.wires == []
    assert not desk.lingers


def test_a_call_that_was_over_between_two_looks(desk, address, cell):
    desk.look()
    cell("server", f"{ACCEPT}\ntransfer.recv(9)\ntransfer.close()")
    callers.silent(address, b"x").hang_up()
    assert names(desk.look().callers, "situation") == [("caller 1", "closed")]


def test_a_thread_may_note_its_send_after_it_was_read(desk, address, cell, stage):
    cell("server", ACCEPT)
    cell("client", "connection = socket.create_connection((host, port))\nconnection.sendall(b'hello')")
    cell("server", "transfer.recv(255)")
    events = stage.recording.events
    events.append(events.pop(next(n for n, event in enumerate(events) if event.call.name == "sendall")))
    assert [call["words"] for call in desk.look().latest][:2] == ["recv(255) → b'hello'", "sendall(b'hello')"]


def test_latest_calls_newest_first(desk, address, cell):
    cell("server", ACCEPT)
    callers.silent(address, b"hello")
    told = [(call["who"], call["words"]) for call in desk.look().latest]
    assert told[:2] == [("server", "… accept() → transfer, from caller 1"), ("caller 1", "sendall(b'hello')")]
    before = [call["id"] for call in desk.look().latest]
    assert len(set(before)) == len(before)
    cell("server", "transfer.recv(9)")
    assert [call["id"] for call in desk.look().latest][1:] == before[: len(before)][:11]


def test_ids_stay(desk, address, cell):
    callers.silent(address)
    before = {card["id"] for card in desk.look().callers}
    cell("server", ACCEPT)
    callers.silent(address)
    assert before < {card["id"] for card in desk.look().callers}


def test_many_are_grouped(desk, cell, stage):
    cell("server", LISTEN.format(100))
    address = stage._namespace["host"], stage._namespace["port"]
    cell("client", "mine = socket.create_connection((host, port))")
    for _ in range(MOST + 6):
        callers.silent(address)
    board = desk.look(settle=0.25)
    count = MOST + 6
    assert names(board.callers, "count", "sent") == [("mine", 1, 0), (f"{count - 1} callers", count - 1, 0),
                                                     (f"caller {count}", 1, 0)]  # fmt: skip
    group = board.callers[1]
    assert group["scripted"] and group["newest"] == f"caller {count - 1}" and group["situation"] == "in line"
    assert sum(wire["count"] for wire in board.wires) == count + 1
    assert board.kernel[0]["taken"] == count + 1
    assert f"and {count + 1 - 8} more" in str(board)


def card(number: int, situation: str, scripted: bool = True) -> Entry:
    return {"id": f"s{number}", "name": f"caller {number}", "role": f"caller {number}", "situation": situation,
            "scripted": scripted, "closed": False, "waits": "", "sent": 1, "received": 0, "unread": None, "unacked": 0,
            "count": 1}  # fmt: skip


def test_a_group_is_of_three_at_least():
    """Of three in a situation, one is the newest, or not scripted, and keeps its card: the other two stay, too."""
    cards = [card(n, "in line") for n in range(MOST)]
    cards += [card(101, "reset"), card(102, "reset", scripted=False), card(103, "reset"), card(104, "knocking")]
    board = Board(callers=cards)
    group(board)
    assert [(c["id"], c["count"]) for c in board.callers] == [
        ("g-callers-in line-", MOST), ("s101", 1), ("s102", 1), ("s103", 1), ("s104", 1)
    ]  # fmt: skip


def test_closed_calls_are_grouped_sooner():
    cards = [card(n, "connected") for n in range(4)] + [card(10 + n, "closed") for n in range(MOST_CLOSED)]
    few, many = Board(callers=cards), Board(callers=[*cards, card(20, "closed", scripted=False)])
    group(few)
    group(many)
    assert few.callers == cards
    assert [(c["id"], c["count"]) for c in many.callers[4:]] == [("g-callers-closed-", MOST_CLOSED + 1)]


EVIL = {
    "html": b"<b>hello</b>",
    "script": b"<script>alert(1)</script><img src=x onerror=alert(2)>",
    "control": b"\x1b[2J\x00\x07\r\b\x7f",
    "not UTF-8": b"\xff\xfe\xc3\x28\xed\xa0\x80",
    "a megabyte": b"A" * 1_000_000,
    "right to left": "\u202egnp.exe".encode(),
}


@pytest.mark.parametrize("data", EVIL.values(), ids=EVIL)
def test_what_callers_say_is_shown_short_and_escaped(data, desk, address, cell):
    cell("server", f"{ACCEPT}\ngot = b''\nwhile len(got) < {len(data)}:\n    got += transfer.recv(65536)")
    callers.silent(address, data)
    cell("server", "print(got.decode('latin-1'))\nraise SystemExit(got[:99].decode('latin-1'))")
    board = desk.look(settle=0.25)
    words = [str(value) for entries in board.sections().values() for entry in entries for value in entry.values()]
    assert all(word.isprintable() and len(word) <= 250 for word in words)
    ET.fromstring(board.svg())
    assert "<script" not in board.svg() and "<b>" not in board.svg()
    assert str(board).replace("\n", "").isprintable()
    assert max(map(len, str(board).splitlines())) < 200


def test_a_role_may_say_anything(desk, address, cell, stage):
    cell("server", "one, _ = listener.accept()\nprint('<script>\\x1b[2J\\u202e' * 999)\ntwo, _ = listener.accept()")
    callers.silent(address)
    said = desk.look().roles[0]["said"]
    assert said.isprintable() and len(said) <= 160
    assert "&lt;script&gt;" in desk.look().svg()


def play() -> tuple[str, str]:
    """A short play on a stage, and the board as text and picture at its end."""
    stage = Stage("server", "client", namespace={"socket": socket})
    names = stage._namespace
    stage.run("server", "listener = socket.create_server(('127.0.0.1', 0))\nhost, port = listener.getsockname()")
    stage.run("server", "first, _ = listener.accept()\nfirst.sendall(first.recv(9))\nsecond, _ = listener.accept()")
    callers.silent((names["host"], names["port"]), b"one")
    callers.silent((names["host"], names["port"])).hang_up()
    callers.silent((names["host"], names["port"]), b"three")
    board = Desk(stage.recording, lambda: [r.now() for r in stage._roles.values()], stage._learn_names).look(settle=1)
    return str(board), board.svg()


def test_text_and_picture_are_the_same_every_time():
    told = {play() for _ in range(10)}
    Stage._present._clear()
    assert len(told) == 1
    ((text, svg),) = told
    assert not re.search(r":\d{4,5}\b|fd", text)
    assert "caller 3  ESTABLISHED, in line, 5 bytes sent" in text
    assert ET.fromstring(svg).tag.endswith("svg")


def test_where_the_system_tells_little(desk, address, cell, stage):
    """As on a system without the tables of Linux: what the record knows is shown."""

    def tells_nothing(kinds):
        raise PermissionError("no")

    poor = Desk(desk.recording, learn_names=stage._learn_names, source=tells_nothing)
    cell("server", ACCEPT)
    callers.silent(address, b"one")
    callers.silent(address, b"two")
    board = poor.look()
    assert names(board.callers, "situation") == [("caller 1", "accepted"), ("caller 2", "in line")]
    assert (board.kernel[0]["taken"], board.kernel[0]["places"]) == (1, None)
    assert wires(board) == [("caller 1", "transfer", "accepted"), ("caller 2", "listener", "in line")]


def test_other_programs_are_shown(desk, address, cell):
    with plain.create_connection(address) as stranger:
        stranger.sendall(b"hi")
        cell("server", ACCEPT)
        board = desk.look(settle=0.25)
        assert names(board.callers, "role", "scripted") == [("(not recorded)", "another program", False)]
        assert wires(board) == [("(not recorded)", "transfer", "accepted")]


@linux
def test_another_program_that_has_hung_up(desk, cell, address):
    """Its end is in FIN_WAIT2, and nobody's: it is not connected any more."""
    cell("server", ACCEPT)
    with plain.create_connection(address):
        gate.settle()
    assert names(desk.look(settle=0.25).callers, "state", "situation") == [
        ("(not recorded)", "FIN_WAIT2", "has hung up")
    ]


def test_colours_are_of_the_roles():
    assert boards.colour_of("server") != boards.colour_of("client") != boards.colour_of("caller 1")
    assert boards.colour_of("caller 1") == boards.colour_of("caller 2")


def test_nothing_of_the_stage_remains_at_the_gate(desk, address):
    callers.silent(address)
    desk.look()
    assert gate.watchers == []
