"""The TCP state diagram (RFC 9293, figure 5), with the states lit in which sockets are: as text and as SVG.

`States(rows)` takes the rows of the operating system's table (`kernel_view`).  States are spelled as there: FIN_WAIT2
is the RFC's FIN-WAIT-2, SYN_RECV its SYN-RECEIVED.  CLOSED stands in two places, as in the RFC: before a call and
after.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Any

from helpers.colours import COLOURS
from helpers.diagram import CARD, EDGE, FONT, INK, clip
from helpers.kernel_view import SocketRow

LEFT, MIDDLE, RIGHT = 142, 480, 818  #: the centres of the columns
ROWS = 64, 170, 276, 402, 508, 614  #: the centres of the rows
WIDTH, HEIGHT = 236, 60  #: of a state's box
SMALL, LARGE, UNIT = 17, 23, 10.3  #: sizes of the font; what a column of the small one takes
FITS = 20  #: columns of names in a box
LIT, QUIET, PANEL = "#F0E442", "#52606D", "#E6ECF2"  #: Okabe and Ito's yellow; a grey read on the third
OTHERS = "#009E73"  #: roles that have no colour of their own, as in the table
BEFORE, AFTER = "before", "after"  #: the two places of CLOSED
PLACES = {
    BEFORE: (MIDDLE, 0),
    "LISTEN": (LEFT, 1),
    "SYN_SENT": (RIGHT, 1),
    "SYN_RECV": (LEFT, 2),
    "ESTABLISHED": (MIDDLE, 2),
    "FIN_WAIT1": (LEFT, 3),
    "FIN_WAIT2": (LEFT, 4),
    "CLOSING": (MIDDLE, 4),
    "TIME_WAIT": (LEFT, 5),
    "CLOSE_WAIT": (RIGHT, 3),
    "LAST_ACK": (RIGHT, 4),
    AFTER: (RIGHT, 5),
}  #: where each state stands: column, row
PANELS = [
    ("who is called", 12, 12, 336, 306),
    ("who calls", 612, 12, 336, 306),
    ("who hangs up first", 12, 330, 588, 328),
    ("who is hung up on", 606, 330, 342, 222),
]  #: what the states in each quarter have in common: x, y, width, height
NOTES = [
    "A reset leads from any state but LISTEN to CLOSED.",
    "Not drawn: both dial at once, a call ends before it stands, FIN and ACK come in one.",
]


@dataclass(frozen=True, slots=True)
class Way:
    """What leads from a state to the next: why, and what follows; `turns` is how its arrow runs (see `_points`)."""

    start: str
    why: str
    goal: str
    turns: str = "down"
    anchor: str = "start"  # where its words stand: after the line, or before it ("end")


SAYS_END = "close(), shutdown(): sends FIN"
WAYS = [
    Way(BEFORE, "listen()", "LISTEN", "across, down"),
    Way(BEFORE, "connect(): sends SYN", "SYN_SENT", "across, down", "end"),
    Way("LISTEN", "gets SYN: new socket", "SYN_RECV"),
    Way("SYN_SENT", "gets SYN+ACK", "ESTABLISHED", "down, across", "end"),
    Way("SYN_RECV", "gets ACK", "ESTABLISHED", "across"),
    Way("ESTABLISHED", SAYS_END, "FIN_WAIT1", "down, across", "end"),
    Way("ESTABLISHED", "gets FIN", "CLOSE_WAIT", "down, across"),
    Way("FIN_WAIT1", "gets ACK", "FIN_WAIT2"),
    Way("FIN_WAIT1", "gets FIN", "CLOSING", "across, down"),
    Way("FIN_WAIT2", "gets FIN", "TIME_WAIT"),
    Way("CLOSING", "gets ACK", "TIME_WAIT", "down, across"),
    Way("TIME_WAIT", "time passes: 60 s on Linux", AFTER, "across"),
    Way("CLOSE_WAIT", SAYS_END, "LAST_ACK", anchor="end"),
    Way("LAST_ACK", "gets ACK", AFTER, anchor="end"),
]


class States:
    """The state diagram, with those states lit in which these sockets are; each lit one names its sockets.

    `sockets` has, for each lit state, the names and the roles of who is in it.
    """

    def __init__(self, rows: Iterable[SocketRow]) -> None:
        self.sockets: dict[str, list[tuple[str, str]]] = {}
        for row in rows:
            state = {"not connected": BEFORE, "CLOSED": AFTER}.get(row.state, row.state)
            if state in PLACES and "unix:" not in row.local + row.peer:
                self.sockets.setdefault(state, []).append((clip(row.name, 99), row.role))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "image/svg+xml": self.svg()}

    def __repr__(self) -> str:
        lines = [(" ", "state", "sockets", "leads to")]
        for state in PLACES:
            ways = [f"{_name(way.goal)} ({way.why})" for way in WAYS if way.start == state]
            who = ", ".join(name for name, _ in self._who(state))
            lines.append(("▶" if who else " ", _name(state), who, " or ".join(ways)))
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        padded = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
        return "\n".join([*(line.rstrip() for line in padded), *NOTES])

    def _who(self, state: str) -> list[tuple[str, str]]:
        """The names and roles of the sockets in a state; several of one name are one, with their number."""
        count = Counter(self.sockets.get(state, []))
        return [(f"{name} × {times}" if times > 1 else name, role) for (name, role), times in count.items()]

    def svg(self) -> str:
        """The picture, described by the text form; a light card in any theme, as the sequence diagram is."""
        width, height = LEFT + RIGHT, ROWS[-1] + HEIGHT // 2 + 92
        lit = ", ".join(dict.fromkeys(_name(state) for state in PLACES if state in self.sockets)) or "none"
        ways = sorted(WAYS, key=lambda way: way.start in self.sockets)  # the strong ones over the others
        roles = dict.fromkeys((role, role) for who in self.sockets.values() for _, role in who)
        parts = [
            *(_panel(*panel) for panel in PANELS),
            *(_way(way, way.start in self.sockets) for way in ways),
            *(_box(state, self._who(state)) for state in PLACES),
            *(_text(width // 2, height - 38 + 22 * n, words, "middle", QUIET) for n, words in enumerate(NOTES)),
            _names(width // 2, height - 64, list(roles), width // 12),
        ]
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width} {height}" width="100%" '
            f'font-family="{FONT}" font-size="{SMALL}" fill="{INK}" xml:space="preserve" style="max-width:{width}px">'
            f"<title>TCP state diagram, lit: {lit}</title><desc>{escape(str(self))}</desc>"
            f'<rect x="1" y="1" width="{width - 2}" height="{height - 2}" rx="12" fill="{CARD}" stroke="{EDGE}" '
            f'stroke-width="2"/>{"".join(parts)}</svg>'
        )


def _name(state: str) -> str:
    return "CLOSED" if state in (BEFORE, AFTER) else state


def _points(way: Way) -> list[tuple[int, int]]:
    """The corners of a way's arrow: from side to side of the boxes, down, or across; where two ways meet one side of a
    box, the one that comes in is the upper."""
    (x, row), (goal, next_row) = PLACES[way.start], PLACES[way.goal]
    y, goal_y, half, side = ROWS[row], ROWS[next_row], HEIGHT // 2, WIDTH // 2 if goal > x else -WIDTH // 2
    if way.turns == "down":
        return [(x, y + half), (x, goal_y - half)]
    leaves, arrives = y + 16 * (row > 2), goal_y - 14 * (next_row > 2)
    if way.turns == "across, down":
        return [(x + side, leaves), (goal, leaves), (goal, goal_y - half)]
    if way.turns == "across":
        return [(x + side, leaves), (goal - side, leaves)]
    x += (20 if goal > x else -20) * (way.start == "ESTABLISHED")  # one way for either side
    return [(x, y + half), (x, arrives), (goal - side, arrives)]


def _way(way: Way, lit: bool) -> str:
    """Its arrow, and its words: beside the stretch that leads down, or over an arrow that only leads across.  It is
    strong where a socket may take it."""
    points, (colour, stroke, weight) = _points(way), (INK, 4, "bold") if lit else (QUIET, 2, "normal")
    (before, _), (x, y) = points[-2:]
    head = "l-7-14h14z" if x == before else "l14-7v14z" if x < before else "l-14-7v14z"
    points[-1] = (x - 8 * ((x > before) - (x < before)), y - 8 * (x == before))  # the line ends within the head
    dash = ' stroke-dasharray="7 5"' if "new socket" in way.why else ""  # the listener itself stays what it is
    line = f'd="M{"L".join(f"{x} {y}" for x, y in points)}" stroke="{colour}" fill="none" stroke-width="{stroke}"{dash}'
    arrow, style = f'<path {line}/><path d="M{x} {y}{head}" fill="{colour}"/>', f'font-weight="{weight}"'
    if way.turns == "across":
        return arrow + _text((before + x) // 2, points[0][1] - 12, way.why, "middle", colour, style)
    words, (x, y), (_, end) = way.why.split(": "), *points[way.turns == "across, down" :][:2]
    x, y = x + (-14 if way.anchor == "end" else 14), (y + end) // 2 + 6 - 9 * (len(words) - 1)
    return arrow + "".join(_text(x, y + 18 * n, line, way.anchor, colour, style) for n, line in enumerate(words))


def _panel(caption: str, x: int, y: int, width: int, height: int) -> str:
    left = x < MIDDLE
    box = f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="10" fill="{PANEL}"/>'
    corner = x + 14 if left else x + width - 14
    return box + _text(corner, y + 25, caption, "start" if left else "end", QUIET, 'font-style="italic"')


def _box(state: str, who: list[tuple[str, str]]) -> str:
    (x, row), name = PLACES[state], _name(state)
    y, font = ROWS[row], f'font-size="{LARGE}"'
    place = f'x="{x - WIDTH // 2}" y="{y - HEIGHT // 2}" width="{WIDTH}" height="{HEIGHT}" rx="10"'
    if not who:
        box = f'<rect {place} fill="#fff" stroke="{EDGE}" stroke-width="2"/>'
        return box + _text(x, y + 8, name, "middle", QUIET, font)
    box = f'<rect {place} fill="{LIT}" stroke="{INK}" stroke-width="4"/>'
    return box + _text(x, y - 4, name, "middle", INK, f'{font} font-weight="bold"') + _names(x, y + 19, who)


def _names(x: int, y: int, who: list[tuple[str, str]], fits: int = FITS) -> str:
    """Names, each after a square in its role's colour; how many more there are than fit in so many columns."""
    shown, rest = list[tuple[str, str]](), len(who)
    for name, role in who:
        label, times, count = name.partition(" × ")
        name = clip(label, fits - (1 if len(who) == 1 else 5) - len(times + count)) + times + count
        if sum(len(other) + 3 for other, _ in [*shown, (name, role)]) + 4 * (rest > 1) > fits + 2:
            break
        shown, rest = [*shown, (name, role)], rest - 1
    words = [*shown, *([(f"+{rest}", "")] if rest else [])]
    wide = [UNIT * len(name) + 16 * bool(role) for name, role in words]
    at, parts = x - (sum(wide) + 14 * (len(words) - 1)) / 2, list[str]()
    for (name, role), size in zip(words, wide, strict=True):
        colour = COLOURS.get(role, OTHERS)
        square = f'<rect x="{at:.0f}" y="{y - 11}" width="11" height="11" rx="2" fill="{colour}"/>' if role else ""
        parts.append(square + _text(round(at) + 16 * bool(role), y, name, "start"))
        at += size + 14
    return "".join(parts)


def _text(x: int, y: int, words: str, anchor: str, fill: str = INK, style: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{fill}" {style}>{escape(words)}</text>'
