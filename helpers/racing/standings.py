"""What the rounds of a race come to: medians and spreads, and who is ahead of whom, where that can be said at all.

A figure that was measured once says little: on a machine that does other things too, the same server is a third faster
or slower a moment later.  So a verdict needs three rounds at least, ranges that do not overlap, and a ratio of `APART`.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

APART = 1.3  #: pairs that are nearer change places from race to race, however long they last
FULL = 0.85  #: a generator that is this busy may be what limits the rate
ROUNDS = 3  #: the fewest that allow a verdict
TICKS = 0.05  #: seconds; systems count a process's CPU in pieces of about 10 ms, and less than this tells nothing
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some rounds, the least and the greatest."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """ValueError: there are no values."""
        if not values:
            raise ValueError("no rounds were measured")
        return cls(statistics.median(values), min(values), max(values), len(values))


def ahead(one: Spread, other: Spread) -> float | None:
    """How many times `one` is of `other`, above 1 or below; None: too close to call."""
    if min(one.rounds, other.rounds) < ROUNDS or (one.low <= other.high and other.low <= one.high):
        return None
    more, less = max(one.median, other.median), min(one.median, other.median)
    if more < APART * less:
        return None
    return one.median / other.median if other.median else float("inf")


def rows_of(raw: Sequence[Row], memory: dict[str, float | None]) -> list[Row]:
    """One row for each strategy and number of callers: medians over the rounds, `rate_low`, `rate_high` beside."""
    rows = []
    for strategy, callers in dict.fromkeys((row["strategy"], row["callers"]) for row in raw):
        rounds = [row for row in raw if (row["strategy"], row["callers"]) == (strategy, callers)]
        rate = Spread.of([row["rate"] for row in rounds])
        row = {"strategy": strategy, "callers": callers, "rounds": len(rounds)}
        row |= {"rate": rate.median, "rate_low": rate.low, "rate_high": rate.high}
        for what in ("p50", "p99", "busy"):
            row[what] = statistics.median(one[what] for one in rounds)
        cpu = sum(one["cpu_seconds"] for one in rounds)
        row["cpu"] = cpu / max(1, sum(one["total"] for one in rounds)) if cpu >= TICKS else None
        for what in ("p50", "p99"):  # the middle round's, or the one above it
            row[f"{what}_open"] = sorted((one[what], one[f"{what}_open"]) for one in rounds)[len(rounds) // 2][1]
        row["served"] = int(statistics.median_low(one["served"] for one in rounds))
        rows.append(row | {"memory": memory.get(strategy)})
    return rows


def rate_of(row: Row) -> Spread:
    """A row's rate, with its spread."""
    return Spread(row["rate"], row["rate_low"], row["rate_high"], row["rounds"])


def verdict(one: Row, other: Row) -> str:
    """Two rows of the same number of callers compared, in a sentence."""
    first, second = sorted((one, other), key=lambda row: -row["rate"])
    names = f"{first['strategy']} and {second['strategy']}"
    times = ahead(rate_of(first), rate_of(second))
    if times is None:
        few_rounds = f" in fewer than {ROUNDS} rounds" * (min(first["rounds"], second["rounds"]) < ROUNDS)
        return f"{names}: too close to call on this machine{few_rounds}"
    if second["busy"] >= FULL:
        return f"{names}: not to be told, for the load generator was too busy to ask more of {second['strategy']}"
    least = "at least " * (first["busy"] >= FULL)
    few = [f"{row['strategy']} served {row['served']} of its {row['callers']}" for row in (first, second)
           if row["served"] < row["callers"]]  # fmt: skip
    more = f"{times:.1f} times as many" if times < 100 else "more than 100 times as many"
    note = f" (but {' and '.join(few)} callers)" if few else ""
    return f"{first['strategy']} gives {least}{more} answers a second as {second['strategy']}{note}"


def verdicts(rows: Sequence[Row], callers: int) -> list[str]:
    """For this number of callers, from the highest rate down: each against the next."""
    ordered = sorted((row for row in rows if row["callers"] == callers), key=lambda row: -row["rate"])
    return [verdict(one, other) for one, other in itertools.pairwise(ordered)]
