"""The board: what there is to see on a switchboard at one moment, as plain data, as text and as a picture.

Its sections are lists of entries; each entry has an `id` that stays the same for as long as its socket lives.  Text and
picture show neither port nor descriptor nor time: the same program gives the same.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from html import escape
from textwrap import wrap
from typing import Any

from helpers.colours import COLOURS, MORE_COLOURS
from helpers.diagram import CARD, EDGE, FONT, INK, clip

Entry = dict[str, Any]
SECTIONS = "callers", "kernel", "server", "wires", "roles", "latest"
MOST = 24  #: cards of a column before they are grouped
MOST_CLOSED = 6  #: cards of closed calls before these are
#: Their headings, and their left edges in the picture.
COLUMNS = {"callers": ("Callers", 20), "kernel": ("The operating system", 348), "server": ("The server", 676)}
WIDTH, HEIGHT, GAP, UNIT = 264, 66, 14, 7.3  #: of a card, in pixels; of a column of its small font
TOP = 56  #: of the columns' first cards
STROKES = {"accepted": ("#0072B2", "none"), "connected": ("#0072B2", "none"), "in line": ("#B87400", "7 5"),
           "knocking": ("#B0528E", "2 5"), "ended": ("#56707F", "10 4 2 4"), "reset": ("#C0392B", "3 3")}  # fmt: skip


def colour_of(role: str) -> str:
    """The colour of a role: its own, or the one of all others."""
    return COLOURS.get(role, MORE_COLOURS[0])


def numbered(count: int, one: str) -> str:
    """So many of something: `1 byte`, `2 bytes`."""
    return f"{count:,} {one}" + "s" * (count != 1)


@dataclass
class Board:
    """Everything that is shown at one moment, a list of entries for each of the `SECTIONS`.

    `callers` are the ends that dialled, `kernel` the listeners with their lines, `server` the ends that `accept()`
    gave; `wires` join them; `roles` tells what each role is at, and `latest` the last calls, newest first.
    """

    callers: list[Entry] = field(default_factory=list)
    kernel: list[Entry] = field(default_factory=list)
    server: list[Entry] = field(default_factory=list)
    wires: list[Entry] = field(default_factory=list)
    roles: list[Entry] = field(default_factory=list)
    latest: list[Entry] = field(default_factory=list)

    def sections(self) -> dict[str, list[Entry]]:
        """The sections by their names."""
        return {name: getattr(self, name) for name in SECTIONS}

    def __str__(self) -> str:
        lines = list[str]()
        for name, (title, _) in COLUMNS.items():
            cards = [(card, facts(card)) for card in getattr(self, name)]
            width = max((len(card["name"]) for card, _ in cards), default=0)
            lines += [title, *(f"  {card['name']:{width}}  {told}".rstrip() for card, told in cards)]
            lines += [] if cards else ["  nobody listens" if name == "kernel" else "  nobody"]
            if name == "kernel":
                lines += [f"    {line}" for card, _ in cards for line in queue_words(card)]
        ends = {card["id"]: card["name"] for name in COLUMNS for card in getattr(self, name)}
        wires = [wire_words(wire, ends) for wire in self.wires]
        lines += ["Wires", *(f"  {words}" for words in wires)] if wires else []
        lines += ["Roles", *(f"  {role_words(role)}" for role in self.roles)] if self.roles else []
        lines += ["Latest calls, newest first"] if self.latest else ["No calls recorded yet"]
        return "\n".join([*lines, *(f"  {call['who']} {call['words']}" for call in self.latest)])

    def svg(self) -> str:
        """The picture, described by the text form: a light card in any theme, as the sequence diagram is."""
        at, drawn = dict[str, tuple[int, int]](), list[str]()
        below, accepted = TOP, {card["id"] for card in self.server}
        past = [wire for wire in self.wires if wire["to"] in accepted]
        lanes = {wire["id"]: TOP + 2 + min(12, 96 // len(past)) * n for n, wire in enumerate(past)}
        for name, (title, x) in COLUMNS.items():
            y, cards = TOP, getattr(self, name)
            if lanes and name == "kernel":
                y = max(lanes.values()) + GAP
            drawn.append(_text(x, 34, title, 17, "bold"))
            for card in cards[: MOST + 6]:
                lines = [facts(card), *(queue_words(card) if name == "kernel" else [])]
                lines = [part for line in lines for part in wrap(line, int((WIDTH - 24) / UNIT))]
                height = HEIGHT + 20 * (len(lines) - 1)
                at[card["id"]] = (y, height)
                drawn += _card(x, y, height, card, lines)
                y += height + GAP
            if not cards:
                drawn.append(_text(x, y + 20, "nobody listens" if name == "kernel" else "nobody", 14))
                y += 34
            below = max(below, y)
        drawable = (wire for wire in self.wires if wire["from"] in at and wire["to"] in at)
        wires = [_wire(wire, at, lanes.get(wire["id"])) for wire in drawable]
        told = [role_words(role) for role in self.roles]
        told += ["Latest calls, newest first"] if self.latest else []
        told += [f"  {call['who']} {call['words']}" for call in self.latest[:3]]
        for n, words in enumerate(told, 1):
            drawn.append(_text(36 if words[0] == " " else 20, below + 22 * n, clip(words.strip(), 118), 14))
        height = below + 22 * len(told) + 18
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 960 {height}" width="100%" '
            f'font-family="{FONT}" font-size="14" fill="{INK}"><title>The switchboard</title>'
            f'<desc>{escape(str(self))}</desc><rect x="1" y="1" width="958" height="{height - 2}" rx="12" '
            f'fill="{CARD}" stroke="{EDGE}" stroke-width="2"/>{"".join(wires + drawn)}</svg>'
        )


def facts(card: Entry) -> str:
    """A card in a few words, without what differs from run to run."""
    if "backlog" in card:
        return f"{card['state']}, backlog {card['backlog']}"
    words = [card["state"], card["situation"] if card["situation"] != "connected" else ""]
    words += ["has hung up"] if card["closed"] and card["situation"] == "in line" else []
    words += [f"{numbered(card[name], 'byte')} {name}" for name in ("sent", "received", "unread") if card[name]]
    return ", ".join(word for word in [*words, card["error"]] if word)


def queue_words(card: Entry) -> list[str]:
    """The line before a listener."""
    taken, places = card["taken"], card["places"]
    full = ": full" * (places is not None and taken >= places)
    lines = [f"{taken} in line" if places is None else f"{taken} of {numbered(places, 'place')} taken{full}"]
    for n, place in enumerate(card["line"], 1):
        unread = f", {numbered(place['unread'], 'byte')} unread" * bool(place["unread"])
        lines.append(f"place {n}: {place['name']}{unread}")
    lines += [f"and {taken - len(card['line']):,} more"] if taken > len(card["line"]) else []
    return lines + ([f"{numbered(card['knocks'], 'caller')} outside, knocking"] if card["knocks"] else [])


def wire_words(wire: Entry, names: dict[str, str]) -> str:
    """A wire: who, with whom, and how."""
    way = [f"{numbered(wire[name], 'byte')} on the way {to}" for name, to in (("there", "there"), ("back", "back"))
           if wire[name]]  # fmt: skip
    return ", ".join([f"{names.get(wire['from'], '?')} to {names.get(wire['to'], '?')}: {wire['kind']}", *way])


def role_words(role: Entry) -> str:
    """What a role is at."""
    said = f", has said {role['said']}" if role["said"] else ""
    return f"{role['name']} {role['words']}{said}" + f" ({role['error']})" * bool(role["error"])


def _text(x: int, y: int, text: str, size: int = 13, weight: str = "normal") -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}">{escape(text)}</text>'


def _card(x: int, y: int, height: int, card: Entry, lines: list[str]) -> list[str]:
    dash = "6 4" if card.get("situation") in ("knocking", "closed", "reset", "failed") else "none"
    box = f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{height}" rx="8" fill="#fff" stroke="{card["colour"]}"'
    width = int((WIDTH - 24) / UNIT)
    return [
        f'{box} stroke-width="2" stroke-dasharray="{dash}"/>',
        _text(x + 12, y + 26, clip(card["name"], 26), 15, "bold"),
        *(_text(x + 12, y + 50 + 20 * n, clip(line, width), 12) for n, line in enumerate(lines)),
    ]


def _wire(wire: Entry, at: dict[str, tuple[int, int]], lane: int | None) -> str:
    """To the listener; of an accepted call past it, in a lane above it: the two have done with each other."""
    (y, height), (goal_y, goal_height) = at[wire["from"]], at[wire["to"]]
    x, start, end = COLUMNS["callers"][1] + WIDTH, y + height // 2, goal_y + goal_height // 2
    middle, goal = COLUMNS["kernel"][1], COLUMNS["server"][1]
    colour, dash = STROKES[wire["kind"]]
    d = f"M{x} {start}{_bent(x, start, middle, end if lane is None else lane)}"
    if lane is not None:
        d += f"H{middle + WIDTH}{_bent(middle + WIDTH, lane, goal, end)}"
    return f'<path d="{d}" stroke="{colour}" fill="none" stroke-width="3" stroke-dasharray="{dash}"/>'


def _bent(x: int, y: int, goal: int, end: int) -> str:
    bend = (goal - x) // 2
    return f"C{x + bend} {y} {goal - bend} {end} {goal} {end}"


def group(board: Board) -> None:
    """Of many cards, those in the same situation become one; the newest scripted caller keeps its own."""
    ids: dict[str, str] = {}
    for name in ("callers", "server"):
        cards: list[Entry] = getattr(board, name)
        many = len(cards) > MOST
        if not many and sum(card["situation"] == "closed" for card in cards) <= MOST_CLOSED:
            continue
        newest = max((c["id"] for c in cards if c["scripted"]), key=lambda i: int(i[1:]), default="")
        keys = dict[str, tuple[str, str]]()  # of the cards that may be put together
        for card in cards:
            closed = card["situation"] == "closed"
            own = card["id"] == newest or (name == "callers" and not card["scripted"] and not closed)
            if closed if not many else not own:
                keys[card["id"]] = (card["situation"], card["role"] if name == "server" else "")
        count = Counter(keys.values())
        made: dict[Any, Entry] = {}
        kept: list[Entry] = []
        for card in cards:
            key = keys.get(card["id"], ("", ""))
            if count[key] < 3:
                kept.append(card)
                continue
            if key not in made:
                made[key] = {**card, "id": f"g-{name}-{card['situation']}-{key[1]}", "count": 0, "names": [],
                             "sent": 0, "received": 0, "unread": 0, "unacked": 0, "waits": "", "since": None,
                             "error": "", "fd": None, "local": "", "newest": ""}  # fmt: skip
                kept.append(made[key])
            one = made[key]
            ids[card["id"]] = one["id"]
            one["count"] += 1
            one["newest"] = card["name"] if card["scripted"] else one["newest"]
            one["waiting"] = one.get("waiting", 0) + bool(card["waits"])
            for number in ("sent", "received", "unread", "unacked"):
                one[number] += card[number] or 0
            one["names"] = [*one["names"], card["name"]][:MOST]
        for one in made.values():
            one["name"] = f"{one['count']} {'callers' if name == 'callers' else 'sockets'}"
            one["scripted"] = bool(one["newest"])
        setattr(board, name, kept)
    if ids:
        joined: dict[tuple[str, str, str], Entry] = {}
        for wire in board.wires:
            start, goal = ids.get(wire["from"], wire["from"]), ids.get(wire["to"], wire["to"])
            kind = wire["kind"]
            new = {"id": f"{start}-{goal}-{kind}", "from": start, "to": goal, "kind": kind}
            one = joined.setdefault((str(start), str(goal), kind), {**new, "there": 0, "back": 0, "count": 0})
            for number in ("there", "back", "count"):
                one[number] += wire[number]
        board.wires = list(joined.values())
