"""The line before a listener: how many places its accept queue has, who is in it, who still knocks, who was accepted.

The kernel makes a connection by itself and puts it into the listener's accept queue, from which `accept()` takes it
(listen(2), accept(2)).  On Linux `backlog` + 1 fit in.  When it is full, the next caller's SYN is dropped without a
word; that caller stays in SYN_SENT, and its kernel sends the SYN again, first after about a second: it knocks.
Who is in line, the kernel tells; in which order they dialled, the record knows.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

from helpers.colours import COLOURS
from helpers.diagram import CARD, EDGE, FONT, INK
from helpers.kernel_view import SocketRow, Source, look, plain, reaches, written
from helpers.recording import Endpoint, Recording

SHOWN, UNIT = 8, 8.5  #: so many places are shown one by one, half as many others; pixels of a column of the font
IN_LINE = {"ESTABLISHED", "CLOSE_WAIT", "connected"}  #: what a call that nobody has accepted yet may be
UNTOLD = "This system does not tell of its queue: who is in line is what the record knows."
HEADS = {"knocking": (20, 200), "in line": (270, 310), "accepted": (640, 200)}  #: left edge and width, in pixels


@dataclass(slots=True)
class Place:
    """Somebody in line, or a place there: the learner's name for the caller ("": nobody), whose it is, what to say."""

    name: str
    role: str
    note: str = ""


@dataclass(slots=True)
class Line:
    """The line before one listener; `places` is None where the system does not tell."""

    listener: str
    backlog: str
    places: int | None
    waiting: list[Place]
    knocking: list[Place]
    accepted: list[Place]

    @property
    def free(self) -> int:
        """The places that nobody has taken."""
        return max(0, (self.places or 0) - len(self.waiting))

    def __str__(self) -> str:
        taken, places = len(self.waiting), self.places
        told = "in line" if places is None else f"of {places:,} place{'s' * (places != 1)} taken"
        full = ": full" * (places is not None and taken >= places)
        accepted = f"; {len(self.accepted)} accepted" * bool(self.accepted)
        return f"{self.listener}: {self.backlog}, {taken} {told}{full}{accepted}"

    def parts(self) -> dict[str, list[tuple[str, Place]]]:
        """What stands under each of the HEADS: numbers of places, and who has them."""
        line = _some([(str(n), place) for n, place in enumerate(self.waiting, 1)], SHOWN)
        shown = min(self.free, max(0, SHOWN - len(line)))
        line += [(str(len(self.waiting) + n), Place("", "", "free")) for n in range(1, shown + 1)]
        line += [("…", Place("", "", f"{self.free - shown:,} more free"))] * (self.free > shown)
        others = {"knocking": self.knocking, "accepted": self.accepted}
        return {"in line": line} | {h: _some([("", place) for place in others[h]], SHOWN // 2) for h in others}


def _some(places: list[tuple[str, Place]], shown: int) -> list[tuple[str, Place]]:
    more = Place("", "", f"{len(places) - shown:,} more")
    return places if len(places) < shown + 2 else [*places[:shown], ("…", more)]


@dataclass(slots=True)
class QueueView:
    """The lines before all open listeners, as text and as SVG; neither shows a port or a descriptor."""

    lines: list[Line]
    footnotes: list[str]

    def __repr__(self) -> str:
        told = list[str]()
        for line in self.lines:
            rows = [(head, *each) for head, places in line.parts().items() for each in places]
            width = max((len(place.name) for *_, place in rows), default=0)
            told.append(str(line))
            for head, number, place in rows:
                where, name = f"place {number}" if head == "in line" else head, f"{place.name:{width}}  "
                told.append(f"  {where:10}{name * bool(place.name)}{place.note}".rstrip())
        return "\n".join([*(told or ["Nobody listens."]), *self.footnotes])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": repr(self), "image/svg+xml": self.svg()}

    def svg(self) -> str:
        """The picture, described by the text form: who knocks stands left, the line in the middle, who got in right."""
        drawn, y = list[str](), 8
        for line in self.lines:
            parts, top = line.parts(), y + 70
            last = max(0, len(parts["in line"]) - 1)  # who knocks stands there, at the end of the line
            drawn += [_text(20, y + 28, str(line), 16), *(_text(x, y + 60, head) for head, (x, _) in HEADS.items())]
            for head, places in parts.items():
                first = last if head == "knocking" else 0
                drawn += [_box(head, top + 38 * n, number, place) for n, (number, place) in enumerate(places, first)]
            drawn.append(_path(f"M590 {top + 15}h40m-10-5l10 5l-10 5"))  # accept() takes the first
            if parts["knocking"]:
                way = "h36m-10-5l10 5l-10 5" if line.free or line.places is None else "h26m-6-6l12 12m0-12l-12 12"
                drawn.append(_path(f"M228 {top + 38 * last + 15}{way}"))
            y = top + 38 * max(last + max(1, len(parts["knocking"])), len(parts["accepted"])) + 4
        below = [*([] if self.lines else ["Nobody listens."]), *self.footnotes]
        drawn += [_text(20, y + 20 + 22 * n, note) for n, note in enumerate(below)]
        height = y + 22 * len(below) + 10
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 860 {height}" width="100%" '
            f'font-family="{FONT}" font-size="14" fill="{INK}"><title>Who waits in line</title>'
            f'<desc>{escape(repr(self))}</desc><rect x="1" y="1" width="858" height="{height - 2}" rx="12" '
            f'fill="{CARD}" stroke="{EDGE}" stroke-width="2"/>{"".join(drawn)}</svg>'
        )


def _text(x: int, y: int, text: str, size: int = 14) -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}">{escape(text)}</text>'


def _path(d: str) -> str:
    return f'<path d="{d}" stroke="{INK}" fill="none" stroke-width="2"/>'


def _box(head: str, y: int, number: str, place: Place) -> str:
    (x, width), words = HEADS[head], " · ".join(word for word in (number, place.name, place.note) if word)
    words = words if UNIT * len(words) < width - 20 else words[: int((width - 20) / UNIT) - 1] + "…"
    stroke = COLOURS.get(place.role, "#009E73") if place.role else EDGE
    fill, dash = "#fff" if place.name else "none", "none" if place.name and head != "knocking" else "6 4"
    box = f'<rect x="{x}" y="{y}" width="{width}" height="30" rx="6" fill="{fill}" stroke="{stroke}"'
    return f'{box} stroke-width="2" stroke-dasharray="{dash}"/>{_text(x + 12, y + 20, words)}'


def look_in_line(
    recording: Recording,
    learn_names: Callable[[], None] = lambda: None,
    source: Source | None = None,
    settle: float = 0.25,
) -> QueueView:
    """Who waits before each open listener of the record.  It looks again, for `settle` seconds at most, while somebody
    knocks though a place is free: its SYN may be on the way (or it is not time yet to send it again)."""
    learn_names()
    until = time.monotonic() + settle
    while True:
        seen = _Look(recording, source)
        lines = [seen.line(row, end) for row, end in seen.rows if end and row.state == "LISTEN"]
        if time.monotonic() >= until or not any(line.knocking and line.free for line in lines):
            notes = [note for note in seen.table.footnotes if note.startswith("The system's table")]
            return QueueView(lines, notes or [UNTOLD] * any(line.places is None for line in lines))
        time.sleep(0.01)


Found = list[tuple[Endpoint | None, str]]  #: callers, None where one is not recorded, and what there is to say of each


class _Look:
    """One look at the system's table, beside what the record knows of the callers."""

    def __init__(self, recording: Recording, source: Source | None) -> None:
        self.table, calls = look(list(recording.ends), source=source, settle=0.25), [e.call for e in recording.events]
        living: dict[int | None, Endpoint] = {end.fd: end for end in recording.ends if not end.closed}
        self.rows = [(row, living.get(row.fd)) for row in self.table.rows]
        self.accepts = dict.fromkeys(call for call in calls if call.name == "accept")
        self.dialled = list(dict.fromkeys(c.end for c in calls if c.name.startswith("connect") and c.end))  # in order
        self.known = {plain(written(end.local)): end for end in self.dialled}
        self.known |= {plain(row.local): end for row, end in self.rows if end and row.peer}
        states = {end: row.state for row, end in self.rows}
        self.through = [e for e in self.dialled if states.get(e) in IN_LINE or (e.dial and not e.dial.error)]

    def line(self, row: SocketRow, listener: Endpoint) -> Line:
        """What there is to say of one listener; `row.queue` is "2 waiting, backlog 5", or nothing."""
        numbers, at = [int(digits) for digits in re.findall(r"\d+", row.queue or "")], {plain(row.local)}
        waiting, knocking = self.waiting(at), self.knocking(at)
        seen = {end for end, _ in waiting + knocking}
        others = [(end, note) for end, note in self.through_to(at) if end not in seen]
        missing = max(0, numbers[0] - len(waiting)) if numbers else len(others)
        # who is counted is not always listed (reset ones), or without a name (AF_UNIX)
        waiting += others if len(others) == missing else [(None, "")] * missing
        backlog = (row.queue or "").partition(", ")[2] or f"backlog {listener.backlog}"
        places = numbers[1] + 1 if numbers[1:] else None
        accepted = [_place(call.made.twin) for call in self.accepts if call.end is listener and call.made]
        return Line(listener.label, backlog, places, self.places(waiting), self.places(knocking), accepted)

    def waiting(self, at: set[str]) -> Found:
        """Those that the system lists as connected, and nobody has accepted."""
        there = [row for row, _ in self.rows if row.name == "(not yet accepted)" and row.state in IN_LINE]
        there = [row for row in there if reaches(plain(row.local), at) and not row.peer.startswith("unix:")]
        return [(self.known.get(plain(row.peer)), _note(row)) for row in there]

    def knocking(self, at: set[str]) -> Found:
        """Those that are not: in SYN_SENT, or half-way, in SYN_RECV (another was quicker to take the last place)."""
        ways = [(row.local, row.peer, row.state) for row, _ in self.rows if row.state == "SYN_SENT"]
        ways += [(row.peer, row.local, row.state) for row, _ in self.rows if row.state == "SYN_RECV"]
        found = {plain(caller): state for caller, dialled, state in ways if reaches(plain(dialled), at)}
        return [(self.known.get(caller), state) for caller, state in found.items()]

    def through_to(self, at: set[str]) -> Found:
        """Those that got through, as the record knows, and that no recorded accept() has taken."""
        there = [end for end in self.through if end.twin is None and reaches(plain(written(end.peer)), at)]
        return [(end, "has hung up" * end.closed) for end in there]

    def places(self, found: Found) -> list[Place]:
        """In the order in which they dialled, those that are not recorded last."""
        order: dict[Endpoint | None, int] = {end: n for n, end in enumerate(self.dialled)}
        return [_place(*each) for each in sorted(found, key=lambda each: order.get(each[0], len(order)))]


def _place(end: Endpoint | None, note: str = "") -> Place:
    if end is None:
        return Place("(not recorded)", "outside", note)
    return Place(end.label, end.role, note)


def _note(row: SocketRow) -> str:
    unread = f"{row.unread:,} byte{'s' * (row.unread != 1)} unread" if row.unread else ""
    return ", ".join(note for note in (unread, "has hung up" * (row.state == "CLOSE_WAIT")) if note)
