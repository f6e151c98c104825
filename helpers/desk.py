"""Looking at the sockets again and again: what a switchboard shows, put together.

A `Desk` looks: at the record (who dialled, which bytes went out), at the gate (who waits in which call), and at the
operating system's own table (states, bytes unread, who is in line).  What it sees is a `Board`.
"""

from __future__ import annotations

import re
import socket
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from helpers.board import Board, Entry, colour_of, group
from helpers.diagram import clip, in_words, is_drawn
from helpers.gate import gate
from helpers.kernel_view import QUEUED, SocketRow, SocketTable, Source, look, plain, proc_source, reaches, written
from helpers.recording import Endpoint, Event, Recording

LINGER = 4.0  #: seconds that a closed call is still shown
LATEST, PLACES = 12, 8  #: calls told; those in line that are told one by one
KNOCKS = {"SYN_SENT", "SYN_RECV"}
HUNG_UP = {"FIN_WAIT1", "FIN_WAIT2", "CLOSING", "LAST_ACK", "TIME_WAIT"}
WIRES = {  #: how a wire is drawn, by how the caller's end is
    "accepted": "accepted", "connected": "connected", "in line": "in line", "knocking": "knocking", "reset": "reset",
    "failed": "reset", "not connected": "", "has hung up": "ended", "hung up on": "ended", "closed": "ended",
}  # fmt: skip


@dataclass(slots=True)
class _Seen:
    """A socket as it was when the desk last looked."""

    end: Endpoint
    row: SocketRow | None = None
    closed: float | None = None  # when it was first seen closed
    error: str = ""
    accepted: int = 0  # of a listener: the calls that were taken off its queue
    rude: bool = False  # it has asked for a reset in place of an orderly end (SO_LINGER)
    entry: Entry = field(default_factory=dict)


class Desk:
    """Looks at the sockets of `recording`, again and again, and remembers what it needs for the next `Board`.

    `doing` tells what each role is at; `source` reads the operating system's table.
    """

    def __init__(
        self,
        recording: Recording,
        doing: Callable[[], Iterable[Entry]] = tuple,
        learn_names: Callable[[], None] = lambda: None,
        source: Source | None = None,
    ) -> None:
        self.recording, self._doing, self._learn_names, self._source = recording, doing, learn_names, source
        self._seen: dict[int, _Seen] = {}
        self._newest = 0  # the number of the newest socket that was seen
        self._read = 0  # so many events were read, those counted that the record has dropped
        self._told: list[tuple[int, Event]] = []
        self.outside = False  # does the system tell of anything that may change without a recorded call?

    def look(self, settle: float = 0.0) -> Board:
        """The board now; `settle` seconds are given to what is just passing from one state to the next."""
        self._learn_names()
        for _ in range(3):
            self._follow()
            self._read_events()
            self._let_go(time.time())
            seen = list(self._seen.values())
            source = self._source or (partial(proc_source, ports=_ports(seen)) if sys.platform == "linux" else None)
            table = look([each.end for each in seen], source=source, settle=settle)
            if not self._news():  # else its table may tell of sockets that this look does not know
                break
        self.outside = bool(table.rows)
        board = _Sight(seen, table).board
        board.roles = [self._role(role) for role in self._doing()]
        board.latest = self._latest()
        group(board)
        return board

    @property
    def lingers(self) -> bool:
        """Is a closed call shown that will vanish by itself?"""
        return any(each.closed for each in self._seen.values())

    def listeners(self) -> list[Endpoint]:
        """Those that can be dialled, the newest last."""
        ends = [end for end in self.recording.ends if end.backlog is not None and not end.closed]
        return [end for end in ends if end.stream and isinstance(end.local, tuple)]

    def _news(self) -> bool:
        ends = self.recording.ends
        return bool(ends) and ends[-1].number > self._newest

    def _follow(self) -> None:
        """Take in the sockets that are new."""
        first, new = not self._newest, list[Endpoint]()
        for end in reversed(self.recording.ends):
            if end.number <= self._newest:
                break
            new.append(end)
        for end in reversed(new):
            self._newest = end.number
            self._seen[end.number] = _Seen(end, closed=0.0 if first and end.closed else None)

    def _let_go(self, now: float) -> None:
        """Let go of those that have been closed for long enough."""
        for number, each in list(self._seen.items()):
            if each.end.closed and each.closed is None:
                each.closed = now
            if each.closed is not None and not self._is_kept(each, now):
                del self._seen[number]

    def _is_kept(self, each: _Seen, now: float) -> bool:
        """Is a closed socket still to be shown: for a moment, or because its other end is still there?"""
        end, twin = each.end, each.end.twin
        if twin is not None or end.peer is None or end.dial is None or end.dial.error is not None:
            there = twin is not None and not twin.closed
        else:  # it may still be in line: once looked at, the system says whether it is
            listening = {plain(written(listener.local)) for listener in self.listeners()}
            there = each.entry.get("situation", "in line") == "in line"
            there = there and reaches(plain(written(end.peer)), listening)
        called = end.peer is not None or bool(each.error or each.entry.get("peer"))  # (or knocked)
        return there or (called and now - (each.closed or 0) < LINGER)

    def _read_events(self) -> None:
        """What is new in the record: the calls told, the errors, and who asked for a reset."""
        record = self.recording
        events = record.events[max(0, self._read - record.dropped) :]
        first, self._read = record.dropped + len(record.events) - len(events), record.dropped + len(record.events)
        for event in events:
            call, seen = event.call, self._seen.get(event.call.end.number) if event.call.end is not None else None
            if seen is None:
                continue
            harmless = isinstance(call.error, (BlockingIOError, KeyboardInterrupt)) or (
                isinstance(call.error, TimeoutError) and call.name[:7] != "connect"
            )
            if call.error is not None and not harmless:
                seen.error = clip(f"{type(call.error).__name__} in {call.name}()", 60)
            seen.accepted += call.name == "accept" and call.made is not None and not event.waits
            if call.name == "setsockopt" and call.args[1:2] == (socket.SO_LINGER,):
                seen.rude = call.args[2:3] != (b"\0" * 8,)
        told = [(n, event) for n, event in enumerate(events, first) if is_drawn(event)]
        self._told = [*self._told, *told][-3 * LATEST :]

    def _latest(self) -> list[Entry]:
        """The calls told, newest first, in an order that is certain: a thread may note its send after it was read."""
        numbers = {id(event): n for n, event in self._told}
        latest = self.recording.ordered([event for _, event in self._told])[-LATEST:]
        return [_telling(numbers[id(event)], event) for event in reversed(latest)]

    def _role(self, role: Entry) -> Entry:
        said = clip(role.get("said", "").rstrip("\n"), 160)
        error = clip(role.get("error", ""), 120)
        return {**role, "id": f"role {role['name']}", "said": said, "error": error, "colour": colour_of(role["name"])}


def _ports(seen: list[_Seen]) -> set[str]:
    """The ports of these sockets, as the tables of Linux write them: most rows of a busy machine are others'."""
    addresses = [address for each in seen for address in (each.end.local, each.end.peer)]
    return {f"{at[1]:04X}" for at in addresses if isinstance(at, tuple)} or {"none"}


def _telling(number: int, event: Event) -> Entry:
    role = event.call.role
    who = "a thread" if re.fullmatch(r"Thread-\d+", role) else clip(role, 24)  # its number is another in every run
    return {"id": f"e{number}", "who": who, "words": in_words(event), "colour": colour_of(role)}


class _Sight:
    """One look: each row of the system's table under the socket that it is of, and what follows from them."""

    def __init__(self, seen: list[_Seen], table: SocketTable) -> None:
        self.board, self.table = Board(), table
        self.seen = {each.end.number: each for each in seen}
        living = {each.end.fd: each for each in seen if each.closed is None}
        self.left: dict[tuple[str, str], SocketRow] = {}  # what the system still keeps of closed sockets
        self.others: list[SocketRow] = []
        for each in seen:
            each.row = None
        for row in table.rows:
            if row.fd is not None and row.fd in living:
                living[row.fd].row = row
            else:
                self.left[plain(row.local), plain(row.peer)] = row
                self.others.append(row)
        self.waits = {sock.end.number: (actor.name, wait) for actor, wait in _waiting() for sock in wait.sockets
                      if hasattr(sock, "end")}  # fmt: skip
        self.listeners = [each for each in seen if each.end.backlog is not None]
        self.open = {plain(written(each.end.local)) for each in self.listeners if each.closed is None}
        self.queued = {  # who is in line, by the caller's address
            plain(row.peer): row for row in self.others
            if row.name == "(not yet accepted)" and row.state in QUEUED and row.state not in KNOCKS
        }  # fmt: skip
        self.half = {plain(row.peer) for row in self.others if row.state == "SYN_RECV"}
        self.tells_queue = any(each.row is not None and each.row.queue for each in self.listeners)
        self._callers()
        self._kernel()
        self._wires()

    # ------------------------------------------------------------------ the columns

    def _callers(self) -> None:
        serving = {each.end.role for each in self.listeners}
        for each in self.seen.values():
            end, row = each.end, each.row
            if end.backlog is not None or not end.stream:
                continue
            accepted = end.peer is not None and end.dial is None
            waits = self.waits.get(end.number)
            dials = end.dial is not None or bool(each.error) or (row is not None and bool(row.peer)) or bool(waits)
            each.entry = self._end(each, waits)
            if accepted or (not dials and end.role in serving):
                self.board.server.append(each.entry)
            else:
                self.board.callers.append(each.entry)
        known = {plain(written(each.end.local)) for each in self.seen.values() if each.end.peer is not None}
        known |= {plain(each.row.local) for each in self.seen.values() if each.row is not None and each.row.peer}
        for row in self.others:  # the far ends of other programs
            if row.name == "(not recorded)" and plain(row.local) not in known:
                dialled = reaches(plain(row.peer), self.open)
                (self.board.callers if dialled else self.board.server).append(_stranger(row))
        told = {entry["at"] for entry in self.board.callers}
        for address, row in self.queued.items():  # where the system tells nothing of their own ends
            if address not in known | told:
                self.board.callers.append(_stranger(row, queued=True))

    def _end(self, each: _Seen, waits: Any) -> Entry:
        end, row, before = each.end, each.row, each.entry
        local, peer = written(end.local), written(end.peer)
        if row is not None:
            local, peer = row.local or local, row.peer or peer
        left = self.left.get((plain(local), plain(peer)))
        state = row.state if row is not None else left.state if left is not None else "CLOSED"
        if each.closed is None and row is None:
            state = before.get("state", "not connected")
        scripted = end.name is None and end.role.startswith("caller ")
        entry = {
            "id": f"s{end.number}",
            "name": clip(end.label, 24),
            "role": clip(end.role, 24),
            "colour": colour_of(end.role),
            "scripted": scripted and each.closed is None,
            "situation": self._situation(each, state, plain(local), plain(peer)),
            "state": state,
            "at": plain(local),
            "local": local,
            "peer": peer or before.get("peer", ""),
            "fd": end.fd if each.closed is None else None,
            "sent": end.sent,
            "received": end.received,
            "unread": row.unread if row is not None else None,
            "unacked": row.unacked if row is not None else None,
            "error": each.error,
            "closed": each.closed is not None,
            "waits": f"{waits[0]} waits in {waits[1].words}" if waits else "",
            "since": waits[1].began if waits else None,
            "count": 1,
        }
        if each.closed is not None and before:
            entry["local"] = before["local"]
        return entry

    def _situation(self, each: _Seen, state: str, local: str, peer: str) -> str:
        error, twin = each.error, self.seen.get(each.end.twin.number) if each.end.twin else None
        reset = "Reset" in error or (each.closed is not None and each.rude) or (twin and twin.closed and twin.rude)
        if reset:
            return "reset"
        if error and each.end.dial is None and each.end.peer is None:
            return "failed"
        if state in KNOCKS or (local in self.half and each.closed is None):
            return "knocking"
        if self.is_in_line(each, local, peer):
            return "in line"
        if each.closed is not None:
            return "closed"
        if state == "CLOSE_WAIT":
            return "hung up on"
        if state in HUNG_UP:
            return "has hung up"
        if state == "CLOSED":
            return "reset"
        if state not in {"ESTABLISHED", "connected"}:
            return "not connected"
        accepted = each.end.twin is not None or (each.end.peer is not None and each.end.dial is None)
        return "accepted" if accepted else "connected"  # (by another program, which may have done so or not)

    def is_in_line(self, each: _Seen, local: str, peer: str) -> bool:
        """Has its call got through, and nobody accepted it?  Where the system does not tell, the record knows."""
        if self.tells_queue:  # (its reset ones it does not list)
            return local in self.queued
        through = each.end.dial is not None and each.end.dial.error is None and each.end.twin is None
        return through and reaches(peer, self.open)

    def _kernel(self) -> None:
        for each in self.listeners:
            end, row = each.end, each.row
            local, waits = written(end.local), self.waits.get(end.number)
            at = {plain(local)}
            mine = [c for c in self.board.callers if c["peer"] and reaches(plain(c["peer"]), at)]
            line = [c for c in mine if c["situation"] == "in line"]
            numbers = [int(digits) for digits in re.findall(r"\d+", (row.queue or "") if row else "")]
            taken = max(numbers[0], len(line)) if numbers else len(line)
            places = numbers[1] + 1 if numbers[1:] else None
            shown = [
                {"id": c["id"], "name": c["name"], "colour": c["colour"], "unread": self._queued_bytes(c)}
                for c in line[:PLACES]
            ]
            shown += [{"id": "", "name": "(not recorded)", "colour": "#999999", "unread": 0}] * max(
                0, min(PLACES, taken) - len(shown)
            )
            self.board.kernel.append({
                "id": f"s{end.number}",
                "name": clip(end.label, 24),
                "role": clip(end.role, 24),
                "colour": colour_of(end.role),
                "address": local,
                "state": row.state if row is not None and each.closed is None else "CLOSED",
                "fd": end.fd if each.closed is None else None,
                "backlog": end.backlog,
                "places": places,
                "taken": taken,
                "line": shown,
                "knocking": [{"id": c["id"], "name": c["name"]} for c in mine if c["situation"] == "knocking"][:PLACES],
                "knocks": sum(c["situation"] == "knocking" for c in mine),
                "accepted": each.accepted,
                "closed": each.closed is not None,
                "error": each.error,
                "waits": f"{waits[0]} waits in {waits[1].words}" if waits else "",
                "since": waits[1].began if waits else None,
            })  # fmt: skip

    def _queued_bytes(self, caller: Entry) -> int:
        row = self.queued.get(caller["at"])
        return (row.unread or 0) if row is not None else 0

    def _wires(self) -> None:
        ends = {entry["at"]: entry for entry in self.board.server}
        for caller in self.board.callers:
            each = self.seen.get(int(caller["id"][1:])) if caller["id"][0] == "s" else None
            kind = WIRES[caller["situation"]]
            twin = each.end.twin if each is not None else None
            pair = self.seen.get(twin.number) if twin is not None else None
            other = pair.entry if pair is not None else None
            if each is None and kind not in ("in line", "knocking"):
                other = next((e for e in ends.values() if plain(e["peer"]) == caller["at"]), None)
            if other:
                if kind in ("accepted", "connected"):
                    kind = WIRES[other["situation"]] or kind
                there, back = (_away(caller, other), _away(other, caller)) if each and kind == "accepted" else (0, 0)
                self._wire(caller["id"], other["id"], kind or "connected", there, back)
            elif caller["peer"] and twin is None and kind in ("in line", "knocking", "reset", "ended"):
                at = plain(caller["peer"])
                listener = next((k for k in self.board.kernel if reaches(at, {plain(k["address"])})), None)
                if listener:
                    away = max(0, caller["sent"] - self._queued_bytes(caller)) if kind == "in line" else 0
                    self._wire(caller["id"], listener["id"], kind, away, 0)

    def _wire(self, start: str, goal: str, kind: str, there: int, back: int) -> None:
        self.board.wires.append({
            "id": f"{start}-{goal}", "from": start, "to": goal, "kind": kind, "there": there, "back": back, "count": 1,
        })  # fmt: skip


def _away(start: Entry, goal: Entry) -> int:
    """Bytes on the way: said, and neither received nor unread at the other end, nor (by the system) confirmed."""
    said: int = max(0, start["sent"] - goal["received"] - (goal["unread"] or 0))
    unacked: int | None = start["unacked"]
    return said if unacked is None else min(said, unacked)


def _waiting() -> list[tuple[Any, Any]]:
    found = [(actor, actor.wait) for actor in list(gate.waiting)]
    return [(actor, wait) for actor, wait in found if wait is not None]


def _stranger(row: SocketRow, queued: bool = False) -> Entry:
    """The end of a call in another program; of one that nobody accepted, the table has the near end alone."""
    local, peer = (row.peer, row.local) if queued else (row.local, row.peer)
    situation = "in line" if queued else "knocking" if row.state in KNOCKS else "connected"
    if not queued and row.state in HUNG_UP | {"CLOSE_WAIT"}:
        situation = "has hung up" if row.state in HUNG_UP else "hung up on"
    return {
        "id": f"o{plain(local)}", "name": "(not recorded)", "role": "another program", "colour": "#999999",
        "scripted": False, "situation": situation, "state": row.state, "at": plain(local), "local": local,
        "peer": peer, "fd": None, "sent": 0, "received": 0, "unread": None if queued else row.unread, "unacked": 0,
        "error": "", "closed": False, "waits": "", "since": None, "count": 1,
    }  # fmt: skip
