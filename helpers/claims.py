"""What is said of sockets, tried here: tables that experiments fill; their rows say where this machine disagrees."""

from __future__ import annotations

import errno
import re
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from html import escape
from textwrap import fill

#: Each verdict, and whether the claim should then hold on this machine; None: either way.
VERDICTS = {"holds": True, "held then": False, "never held": False, "a matter of taste": None}
_MAN, _RFC = "https://man7.org/linux/man-pages/man{1}/{0}.{1}.html", "https://www.rfc-editor.org/rfc/rfc{0}"
_SOURCES = {r"\bRFC (\d+)": _RFC, r"\b(\w+)\((\d)\)": _MAN}
_CELL = "text-align:left;vertical-align:top;padding:4px 8px;font-size:14px;white-space:normal"


class _Table(ABC):
    """Rows, each known by a key; the same as text and as HTML."""

    columns: tuple[str, ...]

    def __init__(self) -> None:
        self.rows: dict[object, tuple[str, ...]] = {}

    @abstractmethod
    def heading(self) -> str:
        """What stands above the table: how many rows of which kind."""

    def in_order(self) -> list[tuple[str, ...]]:
        """The rows as they are shown: in the order in which they came."""
        return list(self.rows.values())

    def __repr__(self) -> str:
        found = [fill(self.heading(), 100)]
        for first, *others in self.in_order():
            found += ["", fill(first, 100), fill(" · ".join(others), 100, initial_indent="  ", subsequent_indent="  ")]
        return "\n".join(found)

    def _repr_html_(self) -> str:
        head, row = ['th scope="col"'] * len(self.columns), ['th scope="row"', *["td"] * (len(self.columns) - 1)]
        body = "\n".join(_line(row, cells) for cells in self.in_order())
        caption = f'<caption style="caption-side:top;{_CELL}">{escape(self.heading())}</caption>'
        table = f'<table style="border-collapse:collapse">{caption}\n<thead>{_line(head, self.columns)}</thead>'
        return f'<div style="overflow-x:auto">{table}\n<tbody>\n{body}\n</tbody></table></div>'


def _line(tags: list[str], cells: tuple[str, ...]) -> str:
    cell = (f'<{t} style="{_CELL}">{_linked(c)}</{t[:2]}>' for t, c in zip(tags, cells, strict=True))
    return f"<tr>{''.join(cell)}</tr>"


def _link(address: str, found: re.Match[str]) -> str:
    return f'<a href="{address.format(*found.groups())}">{found[0]}</a>'


def _linked(text: str) -> str:
    """A cell's text as HTML, its RFCs and manual pages linked."""
    text = escape(text)
    for pattern, address in _SOURCES.items():
        text = re.sub(pattern, partial(_link, address), text)
    return text


class Claims(_Table):
    """Sentences, and what became of them on this machine; a cell that ends in a `Claims` shows them as a table."""

    columns = ("the claim", "verdict", "on this machine", "source")

    def check(self, claim: str, verdict: str, source: str, here: bool | None, saw: str) -> None:
        """Note a claim, the verdict on it, where that is written, and what was seen.

        `here`: does the claim hold on this machine?  None: it could not be tried, or nothing can decide it.
        """
        if verdict not in VERDICTS:
            raise ValueError(f"{verdict!r} is no verdict: there is {', '.join(VERDICTS)}")
        if not any(re.search(pattern, source) for pattern in _SOURCES):
            raise ValueError(f"{source!r} names no source such as 'accept(2)' or 'RFC 9293'")
        if verdict == "a matter of taste":
            told = saw
        elif here is None:
            told = "– not tried here"
        else:
            told = f"{'✓' if VERDICTS[verdict] is here else '✗ contradicted here:'} {saw}"
        self.rows[claim] = (claim, verdict, told, source)
        print(f"{told} → {verdict}")

    def heading(self) -> str:
        """How many claims there are, of each verdict how many, and how many came out otherwise on this machine."""
        rows = self.rows.values()
        counts = [(verdict, sum(row[1] == verdict for row in rows)) for verdict in VERDICTS]
        counts += [(what, sum(what in row[2] for row in rows)) for what in ("contradicted here", "not tried here")]
        return f"{len(rows)} claims: " + ", ".join(f"{what} {count}" for what, count in counts)


class Errors(_Table):
    """Errors, each caused here; a cell that ends in an `Errors` shows them in the order of their names."""

    columns = ("name", "on this machine", "at", "what it means", "what to do", "elsewhere")

    @contextmanager
    def expect(self, name: str, at: str, means: str, do: str, elsewhere: str) -> Iterator[None]:
        """Note the error that the block raises.  `name`: of the errno, or of the class; two names of one, "A, B"."""
        told = "✗ no error"
        try:
            yield
        except (OSError, OverflowError, TypeError, UnicodeError) as problem:
            seen = name_of(problem)
            told = ("✓ " if seen in name.split(", ") else f"✗ {seen}, ") + type(problem).__name__
        self.rows[name, at] = (name, told, at, means, do, elsewhere)
        print(f"{name}, at {at}: {told}")

    def heading(self) -> str:
        """How many errors there are, and how many came out otherwise."""
        others = sum(row[1].startswith("✗") for row in self.rows.values())
        return f"{len(self.rows)} errors, caused on this machine; not as the table says: {others}"

    def in_order(self) -> list[tuple[str, ...]]:
        """The rows in the order of their names."""
        return sorted(self.rows.values(), key=lambda row: (row[0].lower(), row[2]))


def name_of(problem: Exception) -> str:
    """The name of an error's number (errno(3), getaddrinfo(3)); of an error without one, its class."""
    number = getattr(problem, "errno", None) or 0
    lookup = {getattr(socket, name): name for name in dir(socket) if name.startswith("EAI_")}
    names = lookup if isinstance(problem, socket.gaierror) else errno.errorcode
    return names.get(number, type(problem).__name__).removeprefix("WSA")
