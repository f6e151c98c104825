"""What came of a race: a table, pictures, verdicts, and all numbers as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from helpers.racing.curves import Bars, Curves
from helpers.racing.standings import FULL, Row, rows_of, verdict, verdicts

COLUMNS = {
    "strategy": "strategy", "callers": "callers", "rate": "answers a second", "spread": "(from, to)",
    "p50": "wait, half", "p99": "wait, 99 of 100", "served": "callers served", "cpu": "CPU an answer",
    "memory": "memory a caller",
}  # fmt: skip
WORDS = {"strategy", "spread"}  # the columns that stand to the left
SMALL = "font-size:13px;color:var(--jp-ui-font-color1,#4a5560);text-align:left"


class RaceResult:
    """The result of `race()`.

    rows: a dict for each strategy and number of callers: medians over the rounds.  rate: answers a second, with
        rate_low and rate_high; p50 and p99: waiting times in seconds, every caller counting the same, and p50_open or
        p99_open: it is longer, for that caller was still waiting; served: how many different callers were answered;
        cpu: the server's seconds of CPU for an answer, or None where too few to be counted, or spent in processes
        that came and went; busy: the load generator's share of its CPU; memory: bytes of the server for one more
        caller, or None.
    raw: the same for each round.
    problems: {strategy: what was wrong with it}; it takes no further part then.
    """

    def __init__(
        self,
        names: Sequence[str],
        raw: list[Row],
        memory: dict[str, float | None],
        problems: dict[str, str],
        layout: str,
        seconds: float,
    ) -> None:
        self.raw, self.problems, self.seconds = raw, problems, seconds
        self.rows = sorted(rows_of(raw, memory), key=lambda row: (row["callers"], list(names).index(row["strategy"])))
        self.names = [name for name in names if any(row["strategy"] == name for row in self.rows)]
        self._layout = layout

    # ------------------------------------------------------------------ in words

    @property
    def notes(self) -> list[str]:
        """What else there is to say: what was wrong, where it ran, and whether the load was what limited it."""
        found = [f"{name}: {problem}" for name, problem in self.problems.items()]
        rounds = max((row["rounds"] for row in self.rows), default=0)
        medians = f"Medians of {rounds} rounds" if rounds > 1 else "One round"
        found.append(f"{medians} of {self.seconds:g} s; {self._layout}.")
        busiest = sorted((row for row in self.rows if row["busy"] >= FULL), key=lambda row: row["busy"])
        busy = {row["strategy"]: row["busy"] for row in busiest}
        if busy:
            names = ", ".join(f"{name} ({share:.0%})" for name, share in busy.items())
            found.append(f"The load generator was the limit, busy or waiting for its CPU, with {names}: "
                         "these may be faster than shown.")  # fmt: skip
        elif many := [row for row in self.rows if row["callers"] > 1]:
            most = max(many, key=lambda row: row["busy"])
            found.append(f"The load generator was not the limit: busy {most['busy']:.0%} of the time at most, "
                         f"with {most['strategy']}.")  # fmt: skip
        if any(row["callers"] == 1 for row in self.rows):  # then the two take turns
            found.append("With one caller the load's own time is part of every answer's: compare the CPU.")
        if any(row["p50_open"] or row["p99_open"] for row in self.rows):
            found.append("> : these callers were still waiting when the time was over.")
        return found

    @property
    def verdicts(self) -> list[str]:
        """With the most callers, from the highest rate down: who is ahead of the next, where that can be said."""
        return verdicts(self.rows, max((row["callers"] for row in self.rows), default=0))

    def verdict(self, one: str, other: str, callers: int | None = None) -> str:
        """Two strategies compared, with so many callers, or with the most.  KeyError: one was not measured so."""
        callers = max(row["callers"] for row in self.rows) if callers is None else callers
        by_name = {row["strategy"]: row for row in self.rows if row["callers"] == callers}
        return verdict(by_name[one], by_name[other])

    def _below(self) -> list[str]:
        most = max((row["callers"] for row in self.rows), default=0)
        title = f"With {most:,} caller{'s' * (most > 1)} at once:"
        return [*self.notes, *[title] * bool(self.verdicts), *self.verdicts]

    def _cells(self, row: Row) -> dict[str, str]:
        memory = row["memory"]
        return {
            "strategy": row["strategy"], "callers": f"{row['callers']:,}", "rate": f"{row['rate']:,.0f}",
            "spread": f"({row['rate_low']:,.0f} to {row['rate_high']:,.0f})",
            "p50": ">" * row["p50_open"] + time_of(row["p50"]), "p99": ">" * row["p99_open"] + time_of(row["p99"]),
            "served": f"{row['served']:,} of {row['callers']:,}",
            "cpu": "-" if row["cpu"] is None else time_of(row["cpu"]),
            "memory": "-" if memory is None else size_of(memory),
        }  # fmt: skip

    def __repr__(self) -> str:
        table = [COLUMNS, *map(self._cells, self.rows)]
        width = {c: max(len(line[c]) for line in table) for c in COLUMNS}
        lines = ["  ".join(text.ljust(width[c]) if c in WORDS else text.rjust(width[c]) for c, text in line.items())
                 for line in table] if self.rows else ["Nothing was measured."]  # fmt: skip
        return "\n".join([*(line.rstrip() for line in lines), *self._below()])

    def _repr_html_(self) -> str:
        def line(cells: dict[str, str], tag: str) -> str:
            style = f'style="text-align:{{}};padding:2px 7px;white-space:{"normal" if tag == "th" else "nowrap"}"'
            return "".join(f"<{tag} {style.format('left' if c in WORDS else 'right')}>{escape(text)}</{tag}>"
                           for c, text in cells.items())  # fmt: skip

        body = "\n".join(f"<tr>{line(self._cells(row), 'td')}</tr>" for row in self.rows)
        below = f'<p style="{SMALL}">{"<br>".join(map(escape, self._below()))}</p>'
        return (
            '<div style="overflow-x:auto"><table style="margin:4px 0;border-collapse:collapse">'
            f'<caption style="caption-side:top;{SMALL}">The race</caption>\n'
            f"<thead><tr>{line(COLUMNS, 'th')}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>{below}"
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._repr_html_()}

    # ------------------------------------------------------------------ in pictures

    def _curves(self, what: str) -> dict[str, list[tuple[float, float]]]:
        return {name: [(row["callers"], row[what]) for row in self.rows if row["strategy"] == name]
                for name in self.names}  # fmt: skip

    def rates(self) -> Curves:
        """Answers a second against the number of callers."""
        rates = {"": self._curves("rate")}
        ranges = {name: [(row["callers"], row["rate_low"], row["rate_high"]) for row in self.rows
                         if row["strategy"] == name] for name in self.names}  # fmt: skip
        return Curves("Answers a second", "callers at once", rates, "{:,.0f}".format, from_zero=True, ranges=ranges)

    def waits(self) -> Curves:
        """Waiting times against the number of callers: of half of the callers, and of 99 in 100."""
        panels, over = {}, set()
        for panel, what in (("half wait no longer", "p50"), ("99 of 100 wait no longer", "p99")):
            panels[panel] = self._curves(what)
            over |= {(panel, row["strategy"], row["callers"]) for row in self.rows if row[f"{what}_open"]}
        return Curves("Waiting time", "callers at once", panels, time_of, over=over)

    def costs(self) -> Bars:
        """CPU of the server for an answer, with the most callers: steadier than a rate, as waiting does not count."""
        most = max((row["callers"] for row in self.rows), default=0)
        costs = {row["strategy"]: row["cpu"] for row in self.rows if row["callers"] == most}
        return Bars(f"CPU for an answer, callers at once: {most:,}", costs, time_of, "too little to be counted")

    def memories(self) -> Bars:
        """Memory of the server for one more caller."""
        memory = {name: next(row["memory"] for row in self.rows if row["strategy"] == name) for name in self.names}
        return Bars("Memory for a caller who stands on the line", memory, size_of, "not measured")


def time_of(seconds: float) -> str:
    """A short time, in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.{1 if seconds < 9.95 * size else 0}f} {unit}"
    return f"{seconds * 1e6:.0f} µs"


def size_of(count: float) -> str:
    """A number of bytes, in KiB or MiB."""
    return f"{count / 2**20:,.1f} MiB" if count >= 2**20 else f"{count / 2**10:,.1f} KiB"
