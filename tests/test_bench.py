"""What is measured of many calls: ratios round by round, and the standard library's server at the same work."""

from __future__ import annotations

import sys

import pytest

from helpers import hold, race
from tools import bench
from tools.rivals import threading_tcp_server


def rounds(strategy, rates, seconds=1.0, total=10):
    return [
        {"strategy": strategy, "round": number, "rate": rate, "cpu_seconds": seconds, "total": total}
        for number, rate in enumerate(rates, 1)
    ]


@pytest.mark.parametrize(
    ("raw", "what", "found"),
    [
        (rounds("a", [10, 20, 30]) + rounds("b", [5, 5, 60]), "rate", [2, 4, 0.5]),
        (rounds("a", [1], seconds=3.0) + rounds("b", [1], seconds=1.5), "cpu", [2]),
        (rounds("a", [1], total=5) + rounds("b", [1], total=10), "cpu", [2]),
        (rounds("a", [1, 2]) + rounds("b", [1]), "rate", [1]),  # the second round ended b
        (rounds("a", [1]) + rounds("b", [0]), "rate", []),
        (rounds("a", [1]), "rate", []),
        ([], "rate", []),
    ],
)
def test_ratios(raw, what, found):
    assert bench.ratios(raw, "a", "b", what) == found


def test_the_standard_librarys_server_does_the_same(monkeypatch):
    pytest.importorskip("helpers.strategies")
    monkeypatch.setenv("COURSE_QUICK", "1")
    monkeypatch.setattr(sys.modules["helpers.racing.hold"], "PATIENCE", 180)
    result = race(threading_tcp_server, callers=3, lines=2, rounds=1, aim=None)
    assert not result.problems and result.names == ["threading_tcp_server"]
    assert hold(threading_tcp_server, callers=20).answered == 20
