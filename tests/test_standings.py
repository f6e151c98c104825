"""Medians, spreads and verdicts: pure functions, each with a table of cases."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.racing.load import weighted_percentile
from helpers.racing.standings import FULL, TICKS, Spread, ahead, rows_of, verdict, verdicts


@pytest.mark.parametrize(
    ("values", "median", "low", "high"),
    [
        ([5], 5, 5, 5),
        ([3, 1, 2], 2, 1, 3),
        ([4, 1, 2, 3], 2.5, 1, 4),
        ([7, 7, 7], 7, 7, 7),
        ([0.0, 1e9, 1.0], 1, 0, 1e9),
    ],
)
def test_spread(values, median, low, high):
    assert Spread.of(values) == Spread(median, low, high, len(values))


def test_a_spread_of_nothing():
    with pytest.raises(ValueError, match="no rounds"):
        Spread.of([])


@pytest.mark.parametrize(
    ("one", "other", "times"),
    [
        ([20, 21, 22], [10, 10, 10], 2.1),
        ([10, 10, 10], [20, 20, 20], 0.5),
        ([12.9, 12.9, 12.9], [10, 10, 10], None),  # apart, but not 1.3 times
        ([13, 13, 13], [10, 10, 10], 1.3),
        ([30, 31, 9], [10, 10, 11], None),  # three times as much, but once it was less
        ([20, 30, 40], [5, 10, 20], None),  # they touch
        ([20, 30, 40], [5, 10, 19.9], 3.0),
        ([20, 20], [10, 10], None),  # two rounds are too few
        ([20, 20, 20], [10, 10], None),
        ([5, 5, 5], [0, 0, 0], math.inf),
        ([0, 0, 0], [0, 0, 0], None),
        ([7, 7, 7], [7, 7, 7], None),
    ],
)
def test_ahead(one, other, times):
    found = ahead(Spread.of(one), Spread.of(other))
    assert found == (None if times is None else pytest.approx(times))


SPREADS = st.lists(st.floats(0.1, 1e6), min_size=1, max_size=7).map(Spread.of)


@given(SPREADS, SPREADS)
def test_ahead_is_the_same_seen_from_the_other_side(one, other):
    times, back = ahead(one, other), ahead(other, one)
    assert (times is None) == (back is None)
    assert times is None or times * back == pytest.approx(1)
    assert ahead(one, one) is None


def measured(strategy, callers, rate, **more):
    """One round as the race keeps it."""
    row = {"strategy": strategy, "callers": callers, "rate": rate, "p50": 0.001, "p99": 0.002, "busy": 0.5}
    return row | {"total": 100, "p50_open": False, "p99_open": False, "served": callers, "cpu_seconds": 0.1} | more


def test_rows():
    raw = [
        measured("a", 1, 10, p50=0.1, served=1),
        measured("b", 1, 70),
        measured("a", 1, 30, p50=0.3, served=1),
        measured("a", 1, 20, p50=0.2, served=0, p99=0.5, p99_open=True),
        measured("a", 9, 5, cpu_seconds=TICKS / 2),
    ]
    a1, b1, a9 = rows_of(raw, {"a": 1024.0, "b": None})
    assert (a1["strategy"], a1["callers"], a1["rounds"]) == ("a", 1, 3)
    assert (a1["rate"], a1["rate_low"], a1["rate_high"]) == (20, 10, 30)
    assert a1["p50"] == 0.2 and a1["served"] == 1 and a1["cpu"] == pytest.approx(0.001)
    assert (a1["p99"], a1["p99_open"]) == (0.002, False)  # only the longest of the three is open
    assert (b1["rate"], b1["rounds"], b1["memory"], a1["memory"]) == (70, 1, None, 1024.0)
    assert a9["callers"] == 9 and a9["cpu"] is None  # too little to be counted


@pytest.mark.parametrize(
    ("opens", "is_open"), [((0, 0, 0), False), ((0, 0, 1), False), ((0, 1, 1), True), ((1, 1, 1), True)]
)
def test_the_middle_round_says_whether_a_wait_is_open(opens, is_open):
    raw = [measured("a", 1, 1, p99=1 + n, p99_open=bool(flag)) for n, flag in enumerate(opens)]
    assert rows_of(raw, {})[0]["p99_open"] is is_open


def row(strategy, low, rate, high, callers=10, served=10, busy=0.5, rounds=3):
    return {
        "strategy": strategy, "callers": callers, "rate": rate, "rate_low": low, "rate_high": high, "served": served,
        "busy": busy, "rounds": rounds,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (row("a", 90, 100, 110), row("b", 190, 210, 220), "b gives 2.1 times as many answers a second as a"),
        (row("a", 190, 210, 220), row("b", 90, 100, 110), "a gives 2.1 times as many answers a second as b"),
        (row("a", 90, 100, 110), row("b", 105, 210, 220), "b and a: too close to call on this machine"),
        (row("a", 90, 100, 110), row("b", 120, 121, 122), "b and a: too close to call on this machine"),
        (
            row("a", 1, 1, 1, rounds=2),
            row("b", 9, 9, 9),
            "b and a: too close to call on this machine in fewer than 3 rounds",
        ),
        (
            row("a", 1, 1, 1),
            row("b", 9, 9, 9, busy=FULL),
            "b gives at least 9.0 times as many answers a second as a",
        ),
        (
            row("a", 1, 1, 1, busy=FULL),
            row("b", 9, 9, 9),
            "b and a: not to be told, for the load generator was too busy to ask more of a",
        ),
        (
            row("a", 1, 1, 1),
            row("b", 9, 9, 9, served=1),
            "b gives 9.0 times as many answers a second as a (but b served 1 of its 10 callers)",
        ),
        (row("a", 1, 1, 1), row("b", 500, 500, 500), "b gives more than 100 times as many answers a second as a"),
        (row("a", 0, 0, 0), row("b", 5, 5, 5), "b gives more than 100 times as many answers a second as a"),
    ],
)
def test_verdict(one, other, words):
    assert verdict(one, other) == words


def test_verdicts_go_down_the_rates():
    rows = [row("slow", 1, 1, 1), row("fast", 9, 9, 9), row("middle", 3, 3, 3), row("else", 1, 1, 1, callers=100)]
    assert [words.partition(" gives")[0] for words in verdicts(rows, 10)] == ["fast", "middle"]
    assert verdicts(rows, 100) == verdicts(rows, 7) == verdicts([], 0) == []


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [
        ([(1, 1), (2, 1), (3, 1), (4, 1)], 0.5, 2),
        ([(4, 1), (1, 1), (3, 1), (2, 1)], 0.99, 4),
        ([(1, 1)], 0.5, 1),
        ([(1, 0.001)] * 1000 + [(9, 1)] * 99, 0.5, 9),  # one caller heard a thousand answers, 99 none
        ([(1, 0.001)] * 1000 + [(9, 1)], 0.5, 1),
        ([(n, 1) for n in range(1, 101)], 0.99, 99),
        ([], 0.5, 0),
    ],
)
def test_weighted_percentile(values, share, found):
    assert weighted_percentile([(value, weight, False) for value, weight in values], share) == (found, False)


def test_an_open_wait_stays_open():
    waits = [(1.0, 1.0, False), (2.0, 1.0, True)]
    assert weighted_percentile(waits, 0.5) == (1.0, False)
    assert weighted_percentile(waits, 0.99) == (2.0, True)
