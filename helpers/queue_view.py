"""The line before a listener: how many places its accept queue has, who is in it, who still knocks, who was accepted.

The kernel makes a connection by itself and puts it into the listener's accept queue, from which `accept()` takes it
(listen(2), accept(2)).  On Linux `backlog` + 1 fit in.  When it is full, the next caller's SYN is dropped without a
word; that caller stays in SYN_SENT, and its kernel sends the SYN again, first after about a second: it knocks.

Who is in line, the kernel tells; in which order they dialled, the record knows.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from html import escape
from typing import Any

from helpers.colours import COLOURS
from helpers.diagram import CARD, EDGE, FONT, INK
from helpers.kernel_view import SocketRow, Source, look, proc_source, psutil_source
from helpers.recording import Endpoint, Recording

SHOWN, UNIT = 8, 8.5  #: so many are shown one by one; pixels of a column of the font
IN_LINE = {"ESTABLISHED", "CLOSE_WAIT", "connected"}  #: what a call that nobody has accepted yet may be
UNTOLD = "This system does not tell of its queue: who is in line is what the record knows."
HEADS = {"knocking": (20, 200), "in line": (270, 310), "accepted": (640, 200)}  #: left edge and width, in pixels


@dataclass(slots=True)
class Place:
    """A place in line, or a caller who has none: the learner's name for it ("": free), whose it is, what to say."""

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
    accepted: list[Place] = field(default_factory=list)

    @property
    def free(self) -> int:
        """The places that nobody has taken."""
        return max(0, (self.places or 0) - len(self.waiting))

    def __str__(self) -> str:
        taken, places = len(self.waiting), self.places
        if places is None:
            return f"{self.listener}: {self.backlog}, {taken} in line"
        full = ": full" * (taken >= places)
        return f"{self.listener}: {self.backlog}, {taken} of {places:,} place{'s' * (places != 1)} taken{full}"

    def parts(self) -> dict[str, list[tuple[str, Place]]]:
        """What stands under each of the HEADS: numbers of places, and who has them."""
        line = _some([(str(n), place) for n, place in enumerate(self.waiting, 1)])
        shown = min(self.free, max(0, SHOWN - len(line)))
        line += [(str(len(self.waiting) + n), Place("", "", "free")) for n in range(1, shown + 1)]
        line += [("…", Place("", "", f"{self.free - shown:,} more free"))] * (self.free > shown)
        others = {"knocking": self.knocking, "accepted": self.accepted}
        return {"in line": line} | {head: _some([("", place) for place in places]) for head, places in others.items()}


def _some(places: list[tuple[str, Place]]) -> list[tuple[str, Place]]:
    hidden = len(places) - SHOWN
    return places if hidden < 2 else [*places[:SHOWN], ("…", Place("", "", f"{hidden:,} more"))]


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
                name = f"{place.name:{width}}  " if place.name else ""
                told.append(f"  {f'place {number}' if number else head:10}{name}{place.note}".rstrip())
        return "\n".join([*(told or ["Nobody listens."]), *self.footnotes])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": repr(self), "image/svg+xml": self.svg()}

    def svg(self) -> str:
        """The picture, described by the text form: who knocks stands left, the line in the middle, who got in right."""
        drawn, y = list[str](), 8
        for line in self.lines:
            parts, top = line.parts(), y + 70
            drawn += [_text(20, y + 28, str(line), 16), *(_text(x, y + 60, head) for head, (x, _) in HEADS.items())]
            for head, places in parts.items():
                drawn += [_box(head, top + 38 * n, number, place) for n, (number, place) in enumerate(places)]
            last = top + 38 * (len(parts["in line"]) - 1) + 15
            drawn.append(_path(f"M590 {top + 15}h40m-10-5l10 5l-10 5"))  # accept() takes the first
            if parts["knocking"]:
                way = "h36m-10-5l10 5l-10 5" if line.free or line.places is None else "h26m-6-6l12 12m0-12l-12 12"
                drawn.append(_path(f"M228 {last}{way}"))
            y = top + 38 * max(map(len, parts.values()), default=0) + 4
        below = [*([] if self.lines else ["Nobody listens."]), *self.footnotes]
        drawn += [_text(20, y + 20 + 22 * n, note) for n, note in enumerate(below)]
        height = y + 22 * len(below) + 10
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 860 {height}" width="100%" '
            f'font-family="{FONT}" font-size="14" fill="{INK}" xml:space="preserve"><title>Who waits in line</title>'
            f'<desc>{escape(repr(self))}</desc><rect x="1" y="1" width="858" height="{height - 2}" rx="12" '
            f'fill="{CARD}" stroke="{EDGE}" stroke-width="2"/>{"".join(drawn)}</svg>'
        )


def _text(x: int, y: int, text: str, size: int = 14) -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}">{escape(text)}</text>'


def _path(d: str) -> str:
    return f'<path d="{d}" stroke="{INK}" fill="none" stroke-width="2"/>'


def _box(head: str, y: int, number: str, place: Place) -> str:
    (x, width), words = HEADS[head], "  ".join(word for word in (number, place.name, place.note) if word)
    words = words if UNIT * len(words) < width - 20 else words[: int((width - 20) / UNIT) - 1] + "…"
    stroke = COLOURS.get(place.role, "#009E73") if place.role else EDGE
    fill, dash = "#fff" if place.name else "none", "none" if place.name and head != "knocking" else "6 4"
    box = f'<rect x="{x}" y="{y}" width="{width}" height="30" rx="6" fill="{fill}" stroke="{stroke}"'
    return f'{box} stroke-width="2" stroke-dasharray="{dash}"/>{_text(x + 12, y + 20, words)}'


# ---------------------------------------------------------------------- looking


def look_in_line(
    recording: Recording,
    learn_names: Callable[[], None] = lambda: None,
    source: Source | None = None,
    settle: float = 0.25,
) -> QueueView:
    """Who waits before each open listener of the record.  It looks again, for `settle` seconds at most, while somebody
    knocks though a place is free: its SYN may be on the way (or it is not time yet to send it again)."""
    learn_names()
    source, until = source or (proc_source if sys.platform == "linux" else psutil_source), time.monotonic() + settle
    while True:
        view = _Look(recording, source).view()
        if time.monotonic() >= until or not any(line.knocking and line.free for line in view.lines):
            return view
        time.sleep(0.01)


Found = list[tuple[Endpoint | None, str]]  #: callers, None where one is not recorded, and what there is to say of each


class _Look:
    """One look at the system's table, beside what the record knows of the callers."""

    def __init__(self, recording: Recording, source: Source) -> None:
        self.told = list[SocketRow]()

        def keep(kinds: Collection[str]) -> tuple[list[SocketRow], list[str]]:
            self.told, notes = source(kinds)
            return self.told, notes

        ends = list(recording.ends)
        self.calls = [event.call for event in list(recording.events) if not event.waits]
        self.table = look(ends, source=keep)
        turn = {id(call): n for n, call in enumerate(self.calls)}
        self.dialled = sorted((end for end in ends if end.dial), key=lambda end: turn.get(id(end.dial), 0))
        living = {end.fd: end for end in ends if not end.closed}
        self.rows = [(row, living[row.fd]) for row in self.table.rows if row.fd in living]
        self.known = {_written(end.local): end for end in self.dialled}
        self.known |= {_plain(row.local): end for row, end in self.rows if row.peer}

    def view(self) -> QueueView:
        lines = [self.line(row, end) for row, end in self.rows if row.state == "LISTEN"]
        notes = [note for note in self.table.footnotes if note.startswith("The system's table")]
        return QueueView(lines, notes or [UNTOLD] * any(line.places is None for line in lines))

    def line(self, row: SocketRow, listener: Endpoint) -> Line:
        """What there is to say of one listener; `row.queue` is "2 waiting, backlog 5", or nothing."""
        numbers = [int(digits) for digits in re.findall(r"\d+", row.queue or "")]
        knocking, waiting = self.knocking(row), self.waiting(row)
        others = self.others(listener, {id(end) for end, _ in knocking + waiting})
        if not numbers:
            waiting = [(end, note) for end, note in others if end is not None and self.is_through(end)]
        else:  # the kernel counts some that it does not list (reset ones), or lists without a name (AF_UNIX)
            missing = numbers[0] - len(waiting)
            waiting += others if len(others) == missing else [(None, "")] * missing
        made = [call.made for call in self.calls if call.name == "accept" and call.end is listener and call.made]
        return Line(
            listener.label,
            (row.queue or "").partition(", ")[2] or f"backlog {listener.backlog}",
            numbers[1] + 1 if numbers[1:] else None,
            *(self.places(found) for found in (waiting, knocking)),
            [_place(end.twin) for end in made],
        )

    def waiting(self, row: SocketRow) -> Found:
        """Those that are in the queue, as far as the system lists them."""
        there = [s for s in self.told if s.state in IN_LINE and not s.owner and _reaches(s.local, row.local)]
        return [(self.known.get(_plain(s.peer)), _note(s)) for s in there if not s.peer.startswith("unix:")]

    def knocking(self, row: SocketRow) -> Found:
        """Those that are not: in SYN_SENT, or half-way, in SYN_RECV (another was quicker to take the last place)."""
        outside = [s for s in self.told if s.state == "SYN_SENT" and _reaches(s.peer, row.local)]
        halfway = [s for s in self.told if s.state == "SYN_RECV" and _reaches(s.local, row.local)]
        found = [(_plain(s.local), s.state) for s in outside] + [(_plain(s.peer), s.state) for s in halfway]
        return [(self.known.get(address), state) for address, state in dict(found).items()]

    def others(self, listener: Endpoint, seen: set[int]) -> Found:
        """Those that have dialled it, as the record knows, and were neither accepted nor `seen`."""
        local = _written(listener.local)
        found = [end for end in self.dialled if _reaches(_written(end.peer), local) and id(end) not in seen]
        return [(end, "has hung up" * end.closed) for end in found if end.twin is None]

    def is_through(self, end: Endpoint) -> bool:
        """Is it connected, where only its own side can tell?"""
        states = {row.state for row, other in self.rows if other is end}
        return bool(states & IN_LINE) or (end.dial is not None and end.dial.error is None)

    def places(self, found: Found) -> list[Place]:
        """In the order in which they dialled, those that are not recorded last."""
        order = {id(end): n for n, end in enumerate(self.dialled)}
        found = sorted(found, key=lambda each: (order.get(id(each[0]), len(order)), each[1]))
        return [_place(end, note) for end, note in found]


def _place(end: Endpoint | None, note: str = "") -> Place:
    if end is None:
        return Place("(not recorded)", "outside", note)
    scripted = end.name is None and end.role.startswith("caller ")
    return Place(end.role if scripted else end.label, end.role, note)


def _note(row: SocketRow) -> str:
    unread = f"{row.unread:,} byte{'s' * (row.unread != 1)} unread" if row.unread else ""
    return ", ".join(note for note in (unread, "has hung up" * (row.state == "CLOSE_WAIT")) if note)


def _plain(address: str) -> str:
    """An address of the table as a key; an IPv4 one that came over an IPv6 listener counts in its own form."""
    return address.replace("[::ffff:", "").replace("]", "")


def _written(address: Any) -> str:
    """An address of the record as such a key."""
    return f"{'[' * (':' in str(address[0]))}{address[0]}:{address[1]}" if isinstance(address, tuple) else str(address)


def _reaches(address: str, listener: str) -> bool:
    """Is an address of the table the listener's, or one of all that it listens on?"""
    host, _, port = _plain(listener).rpartition(":")
    return _plain(address) == _plain(listener) or (host in ("0.0.0.0", "[::") and address.endswith(f":{port}"))
