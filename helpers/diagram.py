"""Recorded calls → a sequence diagram, as text and as SVG, both from one list of rows.

Time runs downwards.  Each role has a lifeline; a call stands at its caller's, and an arrow shows what went out because
of it: a call (connect), bytes (send), the end of the stream (close, shutdown).  A wait is drawn where the role gave up
the baton.  Durations, port numbers and descriptors are never drawn: the same program gives the same picture.
"""

from __future__ import annotations

import errno
import os
import socket
import unicodedata
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import groupby
from typing import Any

from helpers.colours import colours_of
from helpers.recording import Call, Endpoint, Event, Recording

LIMIT, WIDEST = 200, 72  #: rows of a diagram, unless `last` says otherwise; columns of a row's words
CONNECTS, LISTENS = {"connect", "connect_ex"}, {"bind", "listen", "accept"}
EITHER = {"shutdown", "close", "setsockopt", "settimeout", "setblocking"}  # on listeners and on connections
SAID = ("close", "end", socket.SO_LINGER)  # what changes how a stream ends
DRAWN = {"socket", "select"} | CONNECTS | LISTENS | EITHER  # and send…, recv…
OPTIONS = {"SOL_SOCKET": "SO_", "IPPROTO_TCP": "TCP_", "IPPROTO_IPV6": "IPV6_", "IPPROTO_IP": "IP_"}
UNIT, INK, CARD, EDGE = 9.1, "#1F2933", "#F6F8FA", "#9AA5B1"  # pixels of a column of the font; colours
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace"
STROKES = {"connect": (5, "none"), "bytes": (2, "none"), "end": (3, "2 5"), "reset": (2, "9 5"), "wait": (11, "2 3")}


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the diagram: words at the caller's lifeline, and perhaps an arrow (its kind: a key of STROKES)."""

    role: str
    text: str
    arrow: str
    label: str
    target: str
    waits: bool
    resumes: bool


def _columns(text: str) -> list[str]:
    """The text as columns of a monospace font, of which a wide character takes two."""
    return [part for c in text for part in ([c, ""] if unicodedata.east_asian_width(c) in "WF" else [c])]


def clip(text: str, width: int) -> str:
    """At most `width` columns of the text, with escapes for what a terminal or XML would not take as a character."""
    plain = "".join(c if c.isprintable() and not unicodedata.combining(c) else ascii(c)[1:-1] for c in text)
    return plain if len(_columns(plain)) <= width else "".join(_columns(plain)[: width - 1]) + "…"


def _bytes(count: int) -> str:
    return f"{count:,} byte" + "s" * (count != 1)


def _value(value: Any) -> str:
    """An argument or a result as Python writes it; of long data its beginning; nothing that differs between runs."""
    if isinstance(value, (bytes, str)):
        if len(repr(value)) <= 27 and getattr(value, "whole", 0) <= len(value):
            return repr(value)
        start = next(words for n in range(16, -1, -1) if len(words := repr(value[:n])) <= 19)
        return f"{start[:-1]}…{start[-1]}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    if value is None or isinstance(value, (bool, int, float)):
        return getattr(value, "name", None) or repr(value)  # AF_INET
    return value.label if isinstance(value, Endpoint) else type(value).__name__


def _address(value: Any) -> str:
    if isinstance(value, tuple) and value:
        host = value[0] if isinstance(value[0], str) else _value(value[0])
        return f"{f'[{host}]' if ':' in host else host or '*'}:{'0' if value[1:2] == (0,) else 'port'}"
    return os.fsdecode(value).replace("\\", "/").split("/")[-1] if isinstance(value, (bytes, str)) else _value(value)


def _constant(prefix: str, value: Any) -> str:
    """A constant of the socket module by its name: its number differs from system to system."""
    names = (name for name in dir(socket) if name.startswith(prefix) and getattr(socket, name) == value)
    return min(names, key=len, default=_value(value))  # SO_REUSEADDR, not SO_J1939_PROMISC


def arguments(call: Call) -> str:
    """What a call was made with, for a person: options and ways by their names."""
    args, name = call.args, call.name
    words = [_value(arg) for arg in args if (name, arg) not in (("socket", -1), ("select", None))]
    if name in CONNECTS | {"bind", "sendto"}:
        words[-1:] = [_address(arg) for arg in args[-1:]]
    elif name == "select":
        words = [word.replace("'", "") for word in words]  # they are names of sockets
    elif name == "shutdown":
        words = [_constant("SHUT_", arg) for arg in args]
    elif name == "setsockopt":
        for level in [option for option in OPTIONS if args[:1] == (getattr(socket, option, None),)]:
            words[:2] = [level, *(_constant(OPTIONS[level], arg) for arg in args[1:2])]
    return clip(", ".join(words), 44)


def _outcome(call: Call) -> str:
    error, made = call.error, call.made
    code = errno.errorcode.get(getattr(error, "errno", None) or 0, "").removeprefix("WSA")
    if isinstance(error, KeyboardInterrupt):
        return " ended"
    if call.name == "connect_ex" and (error is None or code or isinstance(error, TimeoutError)):
        return f" → {code or (0 if error is None else 'EAGAIN')}"
    if error is not None:
        return f" ✗ {type(error).__name__}" + f" {code}" * (type(error) is OSError and bool(code))
    if made is not None:
        caller = made.twin.role if made.twin else _address(made.peer) if made.peer else ""
        return f" → {made.label}" + f", from {caller}" * (call.name == "accept" and bool(caller))
    result = _value(call.result).replace("'", "") if call.name == "select" else _value(call.result)
    return f" → {result}" if call.name.startswith(("recv", "select")) else ""


def _notes(call: Call) -> str:
    """How a send or a receive lies in its stream, where that is not obvious."""
    if call.start is None or call.stop is None:
        return ""
    notes, count, data = [], call.stop - call.start, call.result if call.receives else call.args[0]
    sources, size = call.sources(), getattr(data, "whole", len(data) if isinstance(data, bytes) else 0)
    whole = (sources[-1].stop or 0) - (sources[0].start or 0) if sources else max(size, count)
    if len(sources) < 2 and count < whole:
        notes.append(f"{count:,} of {_bytes(whole)}")
    elif call.receives and "…" in _value(data):
        notes.append(_bytes(count))
    if len(sources) > 1:
        notes.append("parts of " * (count < whole) + f"{len(sources)} sends")
    if call.receives and not count and call.args[:1] != (0,):
        notes.append("end of stream")
    return f" ({', '.join(notes)})" * bool(notes)


def is_drawn(event: Event) -> bool:
    """Is it one of the calls that are told: those that make a connection, move its bytes, or end it?"""
    return event.call.name in DRAWN or event.call.name[:4] in ("send", "recv")


def in_words(event: Event, subject: str = "") -> str:
    """A line of the record in the diagram's words, without an arrow."""
    call = event.call
    text = f"{subject}{call.name}({arguments(call)})"
    text = f"{text} waits …" if event.waits else f"{'… ' * call.waited}{text}{_outcome(call)}{_notes(call)}"
    return clip(text, WIDEST)


class _Story:
    """Goes through the events in their order, and knows at each what went before on its connection."""

    def __init__(self, recording: Recording, shown: Callable[[Call], bool]) -> None:
        self.events = [event for event in recording.ordered() if is_drawn(event)]
        self.listeners = [end for end in reversed(recording.ends) if end.backlog is not None]
        self.sockets: dict[str, set[Endpoint]] = {}  # of each role: those that its calls touch, as far as shown
        self.fate: dict[Endpoint | None, str] = {}  # how the stream to an end ended, as that end saw it
        self.passed: dict[tuple[Endpoint | None, bool], int] = {}  # bytes until now: sent (True), received
        self.said: set[tuple[Endpoint | None, str | int]] = set()  # what was said on a socket that still matters
        for call in (event.call for event in self.events):
            if shown(call):
                self.sockets.setdefault(call.role, set()).update(e for e in (call.end, call.made) if e is not None)
            if isinstance(call.error, ConnectionResetError):
                self.fate[call.end] = "reset"
            elif "end of stream" in _notes(call):
                self.fate.setdefault(call.end, "end")

    def row(self, event: Event) -> Row:
        call, end = event.call, event.call.end
        text = in_words(event, self._subject(call))
        arrow, label = self._arrow(call, event.waits)
        self.said |= {(end, word) for word in (call.name, arrow, *call.args[1:2]) if word in SAID}
        self.passed |= {(end, call.sends): call.stop} if call.stop is not None else {}
        target = self._target(call) if arrow and arrow != "lost" else ""
        if arrow and target in ("", call.role):  # a short arrow, among the words
            labelled = f"─ {label} " if label else ""
            text += " ───╳" if arrow == "lost" else f" ──{labelled}─▶ {'itself' if target else 'outside'}"
            arrow = label = target = ""
        text += " *" * (end is not None and end.outside and (call.sends or call.receives))
        return Row(call.role, text, arrow, label, target, event.waits, call.waited and not event.waits)

    def _subject(self, call: Call) -> str:
        """The socket's name, where the call alone doesn't tell which of its role's sockets it is on."""
        end, mine = call.end, self.sockets.get(call.role, set())
        if end is None or end.name is None or call.name in ("socket", "select") or len({e.label for e in mine}) < 2:
            return ""
        likely = {e for e in mine if call.name in EITHER or (e.backlog is not None) == (call.name in LISTENS)}
        return "" if end in likely and len({e.label for e in likely}) == 1 else f"{end.name}."

    def _target(self, call: Call) -> str:
        """Whose lifeline an arrow reaches: the other end's, or that of the listener in whose queue the call is."""
        if call.end is None or call.end.twin is not None:
            return call.end.twin.role if call.end and call.end.twin else ""
        peer = call.args[0] if call.end.peer is None and call.args else call.end.peer
        hosts = (peer[0], "0.0.0.0", "::") if isinstance(peer, tuple) and len(peer) > 1 else ()
        return next((e.role for e in self.listeners if e.local in [peer, *((host, peer[1]) for host in hosts)]), "")

    def _arrow(self, call: Call, waits: bool) -> tuple[str, str]:
        """The kind of arrow, and what is written on it."""
        end, error, count = call.end, call.error, (call.stop or 0) - (call.start or 0)
        if end is None or not end.stream:
            return "", ""
        if call.name in CONNECTS:
            if isinstance(error, (ConnectionRefusedError, TimeoutError)):
                return "" if waits else "lost", ""
            begun = error is None or getattr(error, "errno", None) in (errno.EINPROGRESS, errno.EWOULDBLOCK)
            return "connect" * (waits or (begun and not call.waited)), ""
        if call.sends and count:
            return "bytes", "first bytes" if waits else _bytes(count) + " in all" * call.waited
        twin, closes = end.twin, call.name == "close"
        fate = self.fate.get(twin, "") if closes else ""
        over = {(end, "close"), (twin, "close")} & self.said or ((end, "end") in self.said and fate != "reset")
        sends_no_more = closes or (call.name == "shutdown" and socket.SHUT_RD not in call.args)
        if over or error is not None or not sends_no_more or twin is end.peer is None:
            return "", ""
        unread = twin is not None and self.passed.get((twin, True), 0) > self.passed.get((end, False), 0)
        unsure = closes and not fate and (unread or (end, socket.SO_LINGER) in self.said)
        label = "hangs up" if unsure else "end of stream"  # unsure: maybe a reset; the other end has not looked
        return ("reset", "reset") if fate == "reset" else ("end", label)


class Diagram:
    """A sequence diagram of what was recorded until now.

    `roles` are drawn in reversed order, so that `("server", "client")` has the client on the left; scripted callers
    stand left of them, everybody else right.  `last` keeps that many rows; only calls that are `shown` are.
    Roles not in `certain` (default: all are) ran beside the others: only what must come first is drawn first.
    """

    def __init__(self, recording: Recording, roles: Sequence[str], last: int | None = None,
                 shown: Callable[[Call], bool] = lambda call: True,
                 certain: Collection[str] | None = None) -> None:  # fmt: skip
        story = _Story(recording, shown)
        told, rows = zip(map(story.row, story.events), story.events, strict=True), list[Row]()
        for row, same in groupby(row for row, event in told if shown(event.call)):
            times = len(list(same))
            rows += [row] * times if times < 4 else [replace(row, text=f"{row.text} × {times:,}")]
        hidden = max(0, len(rows) - (LIMIT if last is None else max(last, 1)))
        self.rows, hidden = rows[hidden:], hidden + recording.dropped
        self.above = [f"… {hidden:,} earlier rows not shown"] if hidden else [] if rows else ["no calls recorded yet"]
        place = {role: n for n, role in enumerate(reversed(roles))}
        names = {name for row in self.rows for name in (row.role, row.target) if name}
        names |= story.sockets.keys() & place.keys() if names else set()
        self.columns = sorted(names, key=lambda r: (place.get(r, -1 if r.startswith("caller") else 99), len(r), r))
        doubted = {end.label for ends in story.sockets.values() for end in ends if end.outside and rows}
        self.below = [f"* {name}: also used outside the record; its bytes are not paired" for name in sorted(doubted)]
        free = ", ".join(role for role in self.columns if certain is not None and role not in certain)
        self.below += [f"calls of {free} are ordered only by what is certain"] if free else []

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "image/svg+xml": self.svg()}

    def _lifelines(self, stacked: bool) -> dict[str, int]:
        """The column of each lifeline; `stacked`: words stand above their arrow, else before it."""
        order = {role: n for n, role in enumerate(self.columns)}
        gaps = [len(_columns(role)) + 5 for role in order]
        for row in self.rows:
            here, there = order[row.role], order.get(row.target, order[row.role])
            words, arrow = len(_columns(row.text)) + 4, max(16, len(_columns(row.label)) + 7)
            gaps[here] = max(gaps[here], words + (0 if stacked else arrow if there == here + 1 else 3 * (there > here)))
            near = min(there, max(here, there - 1))  # the gap in which the arrow's head and its label stand
            gaps[near] = max(gaps[near], arrow + 3)
        return {role: 2 + sum(gaps[:n]) for role, n in order.items()}

    def __repr__(self) -> str:
        at = self._lifelines(stacked=False)
        heads = [" "] * (3 * WIDEST + max(at.values(), default=0))
        for role, x in at.items():
            heads[x - 2 : x - 2 + len(_columns(role))] = _columns(role)
        middle = ["".join(heads).rstrip(), *(self._line(row, at) for row in self.rows)] if at else []
        return "\n".join([*self.above, *middle, *self.below])

    def _line(self, row: Row, at: dict[str, int]) -> str:
        line = ["│" if x in at.values() else " " for x in range(3 * WIDEST + max(at.values()))]
        x, words, label = at[row.role], _columns(f" {row.text}"), _columns(f" {row.label} " if row.label else "")
        goal = at.get(row.target, x)
        line[x : x + 1 + len(words)] = ["┤" if goal < x else "├", *words]
        if goal != x:
            head, first, last = ("◀", goal + 2, x) if goal < x else ("▶", x + 2 + len(words), goal - 1)
            line[first:last] = ["┼" if column == "│" else "─" for column in line[first:last]]
            line[goal + 2 if goal < x else goal - 2] = head
            start = goal + 4 if goal < x else goal - 3 - len(label)
            line[start : start + len(label)] = label
        return "".join(line).rstrip()

    def svg(self) -> str:
        """The picture, described by the text form; it has no ids and no style sheet, so that many fit on one page."""
        at = {role: round(UNIT * x) + 16 for role, x in self._lifelines(stacked=True).items()}
        since, back, front, colours = dict[str, int](), list[str](), list[str](), colours_of(at)
        y = top = 60 + 24 * len(self.above) if at else 12
        words = [(20, 32, text) for text in self.above]
        for row in self.rows:
            x, goal, colour = at[row.role], at.get(row.target, 0), colours[row.role]
            y += 48 if goal > x else 32
            words.append((x + 16, y - 14 if goal > x else y + 5, row.text))
            if row.waits:
                since[row.role] = y
            elif row.resumes:
                back.append(_path(f"M{x} {since.pop(row.role, top)}V{y}", colour, "none", *STROKES["wait"]))
            if goal:
                way, size = 1 if goal > x else -1, round(UNIT * len(row.label))
                words.append((goal - 32 - size if way > 0 else goal + 32, y + 5, row.label))
                front.append(_path(f"M{x} {y}H{goal - 14 * way}", colour, "none", *STROKES[row.arrow]))
                front.append(_path(f"M{words[-1][0] - 6} {y}h{size + 12}", CARD, width=18) if size else "")
                head = f"M{goal - 5 * way} {y}l{-11 * way}-5v10z" + "m0-8v16" * (row.arrow == "end")
                cross = f"M{goal - 11 * way - 6} {y - 6}l12 12m0-12l-12 12"
                front.append(_path(cross if row.arrow == "reset" else head, colour, colour))
            mark = "l10 10m0-10l-10 10" if "✗" in row.text else "m0 5a5 5 0 1 0 10 0a5 5 0 1 0-10 0"
            front.append(_path(f"M{x - 5} {y - 5}{mark}", colour, "#fff" if row.waits else colour, 3))
        bottom = y + 26
        for x, role, colour in zip(at.values(), at, colours.values(), strict=True):
            back.insert(0, _path(f"M{x} {top - 10}V{bottom}", colour + "A0"))
            back += [_path(f"M{x} {since[role]}V{bottom}", colour, "none", *STROKES["wait"])] if role in since else []
            box = f'x="{x - 16}" y="{top - 42}" width="{round(UNIT * len(_columns(role))) + 30}" height="32" rx="8"'
            front.append(f'<rect {box} fill="#fff" stroke="{colour}" stroke-width="2"/>')
            words.append((x - 1, top - 21, role))
        words += [(20, bottom + 26 + 24 * n, text) for n, text in enumerate(self.below)]
        # as wide as the page that shows it: JupyterLab would cut a wider picture off; small ones are not blown up
        width = max(860, *(round(x + UNIT * len(_columns(text))) + 24 for x, _, text in words))
        height = bottom + 18 + 24 * len(self.below)
        spoken = "".join(f'<text x="{x}" y="{y}">{escape(text)}</text>' for x, y, text in words if text)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width} {height}" width="100%" '
            f'font-family="{FONT}" font-size="15" fill="{INK}" '
            f'xml:space="preserve"><title>{escape(", ".join(["Sequence diagram", *at]))}</title>'
            f'<desc>{escape(str(self))}</desc><rect x="1" y="1" width="{width - 2}" height="{height - 2}" rx="12" '
            f'fill="{CARD}" stroke="{EDGE}" stroke-width="2"/>{"".join(back + front)}{spoken}</svg>'
        )


def _path(d: str, stroke: str, fill: str = "none", width: int = 2, dash: str = "none") -> str:
    return f'<path d="{d}" stroke="{stroke}" fill="{fill}" stroke-width="{width}" stroke-dasharray="{dash}"/>'
