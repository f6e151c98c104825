"""The switchboard: its buttons as the page presses them, what the system's table says then, and what is sent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from timing import SOON, took

from helpers import NoStage, Stage, callers, serving, socket, switchboard
from helpers.gate import gate
from helpers.switchboard import FASTEST, SLOWEST, Switchboard

LISTEN = """
    listener = socket.create_server(("127.0.0.1", 0), backlog={})
    host, port = listener.getsockname()
"""
ACCEPT = "transfer, caller = listener.accept()"
PATIENCE = 20.0  # seconds until a test gives up waiting for what is to happen


def until(happened: Callable[[], Any]) -> Any:
    """Wait for something that threads bring about; fails where it does not come."""
    gate.until(lambda: bool(happened()), PATIENCE)
    result = happened()
    assert result, "it did not happen"
    return result


class Line:
    """In the place of the line to the page: keeps what would be sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[float, dict[str, Any]]] = []
        self.comm_id = "line"

    def send(self, data: Any = None, **_: Any) -> None:
        self.sent.append((time.monotonic(), data))

    def on_msg(self, *_: Any, **__: Any) -> None:
        pass

    close = on_close = on_msg

    @property
    def states(self) -> list[dict[str, Any]]:
        return [data["state"] for _, data in self.sent if data.get("method") == "update"]


@pytest.fixture
def board(cell, stage) -> Iterator[Switchboard]:
    cell("server", LISTEN.format(5))
    board = stage.switchboard()
    yield board
    board.close()


@pytest.fixture
def line(board) -> Line:
    board.comm = line = Line()
    return line


@pytest.fixture
def pauses(monkeypatch) -> list[float | None]:
    """For how long the board waits after each of its looks, if nothing wakes it; None: for ever."""
    waits, poll = list[float | None](), switchboard.poll

    def noted(readers: Any, writers: Any, seconds: float | None) -> Any:
        waits.append(seconds)
        return poll(readers, writers, seconds)

    monkeypatch.setattr(switchboard, "poll", noted)
    return waits


def press(board: Switchboard, do: str, who: str = "") -> None:
    """What arrives when a button of the page is pressed."""
    board._handle_msg({"content": {"data": {"method": "custom", "content": {"do": do, "who": who}}}, "buffers": []})


def table(stage: Stage) -> list[tuple[str, str]]:
    return [(row.role, row.state) for row in stage.sockets().rows if row.state != "LISTEN"]


def on_the_line() -> list[str]:
    return [name for name, caller in callers.known().items() if caller.is_on_the_line]


def situation(board: Switchboard, name: str) -> str:
    return next((card["situation"] for card in board.callers if card["name"] == name), "")


def test_dial(board, stage):
    press(board, "dial")
    until(lambda: situation(board, "caller 1") == "in line")
    assert table(stage) == [("caller 1", "ESTABLISHED"), ("kernel", "ESTABLISHED")]
    assert board.told == "caller 1 dials"


def test_dial_while_the_server_waits_in_accept(board, stage, cell, capsys):
    cell("server", f"{ACCEPT}\nprint('got one')\ntransfer.recv(9)")
    until(lambda: board.kernel[0]["waits"] == "server waits in accept()")
    capsys.readouterr()
    assert took(press, board, "dial") < SOON
    until(lambda: situation(board, "caller 1") == "accepted")
    until(lambda: board.roles[0]["words"] == "waits in recv()")
    assert board.roles[0]["said"] == "got one"
    assert table(stage) == [("caller 1", "ESTABLISHED"), ("server", "ESTABLISHED")]
    assert capsys.readouterr().out == ""  # no thread prints
    stage._after_any_cell()
    assert capsys.readouterr().out == "server │ got one\n       │ … waits in recv()\n"


def test_say(board, stage, cell):
    cell("server", f"{ACCEPT}\ngot = b''\nwhile len(got) < 38: got += transfer.recv(99)")
    press(board, "dial")
    press(board, "say")
    press(board, "say", "caller 1")
    until(lambda: board.callers and board.callers[0]["sent"] == len(b"line 1 of caller 1\n") * 2)
    until(lambda: stage._roles["server"].cell.done)
    assert callers.known()["caller 1"].said == b"line 1 of caller 1\nline 2 of caller 1\n"


def test_a_caller_hears_what_the_server_says(board, cell):
    cell("server", f"{ACCEPT}\ntransfer.sendall(b'welcome')")
    press(board, "dial")
    caller = until(lambda: callers.known().get("caller 1"))
    until(lambda: board.callers and board.callers[0]["unread"] == 7)  # it is seen unread, and heard then
    until(lambda: caller._heard == b"welcome")
    until(lambda: board.callers[0]["received"] == 7)


def test_silent(board, cell):
    cell("server", f"{ACCEPT}\ntransfer.sendall(b'hello?')")
    press(board, "silent")
    until(lambda: board.callers and board.callers[0]["silent"])
    press(board, "say", "caller 1")
    assert board.told == "caller 1 is silent: it never says a word."
    assert callers.known()["caller 1"].said == b""


def test_hang_up(board, stage, cell):
    cell("server", f"{ACCEPT}\nprint(transfer.recv(9))")
    press(board, "dial")
    until(lambda: situation(board, "caller 1") == "accepted")
    press(board, "hang up", "caller 1")
    until(lambda: stage._roles["server"].cell.done)
    assert sorted(table(stage)) == [("kernel", "FIN_WAIT2"), ("server", "CLOSE_WAIT")]
    until(lambda: board.server[0]["situation"] == "hung up on")
    assert until(lambda: board.callers[0]["closed"])


def test_hang_up_rudely(board, stage, cell):
    cell("server", f"{ACCEPT}\ntransfer.recv(9)")
    press(board, "dial")
    until(lambda: situation(board, "caller 1") == "accepted")
    press(board, "reset", "caller 1")
    until(lambda: stage._roles["server"].cell.done)
    assert table(stage) == [("server", "CLOSED")]
    until(lambda: board.server[0]["error"] == "ConnectionResetError in recv()")
    until(lambda: board.wires[0]["kind"] == "reset")
    with pytest.raises(ConnectionResetError):
        cell("server", "1")


def test_one_that_knocks_can_be_told_to_hang_up(stage, cell):
    cell("server", LISTEN.format(0))
    board = stage.switchboard()
    press(board, "dial")
    press(board, "dial")
    until(lambda: situation(board, "caller 2") == "knocking")
    press(board, "say", "caller 2")  # for when it gets through: nobody waits for it here
    assert took(press, board, "hang up", "caller 2") < SOON
    until(lambda: "caller 2" not in on_the_line())
    assert table(stage) == [("caller 1", "ESTABLISHED"), ("kernel", "ESTABLISHED")]
    assert not any(call["words"].startswith("send") for call in board.latest)


def test_ten_more(stage, cell):
    cell("server", LISTEN.format(20))
    board = stage.switchboard()
    press(board, "ten")
    until(lambda: board.kernel[-1]["taken"] == 10)
    assert table(stage).count(("kernel", "ESTABLISHED")) == 10
    assert board.told == "callers 1 to 10 dial"


def test_without_a_choice_it_is_the_newest(board, cell):
    for _ in range(3):
        press(board, "dial")
    press(board, "hang up")
    assert board.told == "caller 3 hangs up"
    until(lambda: "caller 3" not in on_the_line())
    press(board, "reset", "caller 3")  # it has gone: then it is the newest that is there
    assert board.told == "caller 2 hangs up rudely"


def test_nobody_listens(stage):
    board = stage.switchboard()
    press(board, "dial")
    assert board.told == "Nobody listens: there is nobody to dial."
    press(board, "say")
    assert board.told == "There is no caller on the line: dial first."


@pytest.mark.parametrize("content", [None, 7, [], {}, {"do": None}, {"do": "format", "who": "<b>"}, {"do": ["dial"]}])
def test_any_other_message_does_nothing(content, board, stage):
    board._handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": []})
    assert table(stage) == [] and board._thread.is_alive()


def test_callers_of_a_cell_can_be_chosen(board, stage, cell):
    caller = callers.silent((stage._namespace["host"], stage._namespace["port"]))
    press(board, "say", "caller 1")
    until(lambda: caller.said == b"line 1 of caller 1\n")


def test_a_busy_role_does_not_stop_the_callers(board, stage, cell, monkeypatch):
    """The server accepts and computes: who dials by a click waits for its turn, and gets it."""
    monkeypatch.setattr("helpers.switchboard.SHORT", 0.1)
    monkeypatch.setattr("helpers.gate.SHORT", 0.1)
    stage._namespace["gone_on"] = over = threading.Event()
    cell("server", f"{ACCEPT}\ngone_on.wait()")
    press(board, "dial")
    press(board, "dial")
    until(lambda: situation(board, "caller 2") == "in line")
    over.set()


# ---------------------------------------------------------------------- what is sent


def test_only_what_has_changed_is_sent(board, line, cell, pauses):
    cell("client", "mine = socket.create_connection((host, port))")
    until(lambda: any("callers" in state for state in line.states))
    until(lambda: board.latest[0]["words"].startswith("connect"))
    pauses.clear()
    until(lambda: pauses and pauses[-1] != FASTEST)  # it has looked, and found nothing new
    line.sent.clear()
    cell("client", "mine.sendall(b'hello')")
    until(lambda: board.callers[0]["sent"] == 5)
    until(lambda: board.kernel[0]["line"][0]["unread"] == 5)
    sections = {name for state in line.states for name in state}
    assert sections <= {"callers", "kernel", "latest", "roles", "wires"}
    assert "server" not in sections


def test_nothing_is_sent_while_nothing_happens(board, line, pauses):
    press(board, "dial")
    until(lambda: situation(board, "caller 1") == "in line")
    until(lambda: board.latest[0]["words"].startswith("connect"))
    until(lambda: pauses and pauses[-1] == SLOWEST)  # it backs off
    line.sent.clear()
    pauses.clear()
    until(lambda: len(pauses) == 2)
    assert pauses == [SLOWEST, SLOWEST] and line.sent == []


def test_nobody_looks_where_nothing_can_change(stage, pauses):
    board = stage.switchboard()
    until(lambda: pauses and pauses[-1] is None)  # until it is woken
    board.close()


def test_a_look_that_fails_is_told_and_the_board_goes_on(board, monkeypatch):
    monkeypatch.setattr(board._desk, "look", lambda: {}["no <row>"])
    press(board, "dial")
    until(lambda: board.told == "The board can't look: KeyError: 'no <row>'")
    assert board._thread.is_alive()
    monkeypatch.undo()
    until(lambda: situation(board, "caller 1") == "in line")
    until(lambda: board.told == "")


def test_where_nothing_can_be_told_it_goes_on_too(board, monkeypatch):
    tries = list[str]()
    monkeypatch.setattr(board._desk, "look", lambda: {}["row"])
    monkeypatch.setattr(board, "send_state", lambda key=None: tries.append(key) or {}["line"])
    board._wake.poke()
    until(lambda: len(tries) > 1)
    assert board._thread.is_alive()


def test_at_most_twenty_times_a_second_with_two_hundred_callers(stage):
    """And their cards are grouped."""
    resource = pytest.importorskip("resource")  # 200 callers, and their server, need more files than most may open
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))

    def serve(listener: Any) -> None:
        calls = []
        while True:
            calls.append(listener.accept()[0])

    try:
        with serving(serve) as server:
            board = server.switchboard()
            board.comm = line = Line()
            for _ in range(20):
                board.act("ten")
            until(lambda: sum(card["count"] for card in board.callers) == 200)
            until(lambda: board.kernel[0]["accepted"] == sum(card["count"] for card in board.server) == 200)
            assert len(board.callers) <= 24 and len(board.server) <= 24
            for caller in callers.known().values():
                caller.tell(lambda caller: caller.say(b"x" * 100))
            until(lambda: sum(card["sent"] for card in board.callers) == 20_000)
            times = [at for at, data in line.sent if "callers" in data.get("state", {})]
            assert all(later - at >= FASTEST for at, later in pairwise(times))
            board.act("dial")
            assert board.told == "200 callers are on the line: some must hang up first."
            board.close()
    finally:
        gate.end_all()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# ---------------------------------------------------------------------- the end


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "switchboard"]


def test_its_cell_run_again_closes_the_one_before(board, stage):
    again = stage.switchboard()
    assert watchers() == [again._thread]
    assert len(gate.watchers) == len(stage.recording.watchers) == 1


def test_it_ends_with_the_stage(board, stage, cell):
    press(board, "dial")
    press(board, "silent")
    until(lambda: situation(board, "caller 2") == "in line")
    Stage("server", namespace={})
    assert board.over and watchers() == [] and gate.watchers == []
    assert not any(thread.name.startswith("caller") for thread in threading.enumerate())
    press(board, "dial")
    assert not callers.known()


def test_closed_it_watches_no_more(board, stage):
    board.close()
    assert watchers() == [] and gate.watchers == [] and stage.recording.watchers == []
    assert board._end not in gate.at_end
    board.close()


def test_callers_who_have_gone_are_forgotten(board, cell):
    cell("server", "for _ in range(5):\n    one, _ = listener.accept()\n    one.recv(9)\n    one.close()")
    for _ in range(5):
        press(board, "dial")
        (name,) = until(on_the_line)
        press(board, "hang up", name)
        until(lambda: not on_the_line())
    until(lambda: board._mine == [])
    assert [act for act in gate.at_end if isinstance(getattr(act, "__self__", None), callers.Caller)] == []


def test_what_is_shown_without_widgets(board, stage, cell):
    cell("server", ACCEPT)
    press(board, "dial")
    until(lambda: situation(board, "caller 1") == "accepted")
    data, _ = board._repr_mimebundle_()
    assert {"text/plain", "image/svg+xml", "application/vnd.jupyter.widget-view+json"} <= set(data)
    assert "caller 1 to transfer: accepted" in data["text/plain"]
    assert data["image/svg+xml"].startswith("<svg")
    assert repr(board) == data["text/plain"]


def test_a_server_in_the_background():
    def serve(listener: Any) -> None:
        while True:
            transfer, _ = listener.accept()
            threading.Thread(target=echo, args=[transfer], daemon=True).start()

    def echo(transfer: Any) -> None:
        while data := transfer.recv(99):
            transfer.sendall(data)

    with serving(serve) as server:
        board = server.switchboard()
        until(lambda: board.roles[0]["words"] == "waits in accept()")
        press(board, "dial")
        press(board, "say")
        until(lambda: board.callers and board.callers[0]["received"] == 19)
        until(lambda: board.roles[0]["words"] == "waits in accept(), recv()")
        other = socket.create_server(("127.0.0.1", 0))  # not this server's: its board does not dial it
        press(board, "dial")
        until(lambda: situation(board, "caller 2") == "accepted")
        assert server.switchboard() is not board and not board._thread.is_alive()
        other.close()
    gate.end_all()


def test_a_stage_that_is_over_has_none(stage):
    stage.close()
    with pytest.raises(NoStage, match="this stage is over"):
        stage.switchboard()
