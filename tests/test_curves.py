"""Curves and bars: their marks, their names, their words, and SVG that is well formed."""

from __future__ import annotations

from itertools import cycle, pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.racing.curves import COLOURS, DASHES, MARKS, Bars, Curves, apart, linear_marks, log_marks

SVG = "{http://www.w3.org/2000/svg}"


def words_of(picture):
    """The texts of a picture, which is well formed."""
    return [text.text for text in ElementTree.fromstring(picture.svg()).iter(f"{SVG}text")]


@pytest.mark.parametrize(
    ("most", "marks"),
    [
        (10, [0, 2, 4, 6, 8, 10]), (12_000, [0, 2000, 4000, 6000, 8000, 10000, 12000]),
        (1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (7, [0, 2, 4, 6, 8]),
    ],
)  # fmt: skip
def test_linear_marks(most, marks):
    assert linear_marks(most) == pytest.approx(marks)


@given(st.floats(1e-6, 1e9))
def test_linear_marks_reach_the_most(most):
    marks = linear_marks(most)
    assert 3 <= len(marks) <= 8 and marks[-1] >= most * (1 - 1e-6) and marks[-2] < most * (1 + 1e-6)


@pytest.mark.parametrize(
    ("least", "most", "marks"),
    [(1, 100, [1, 10, 100]), (2, 99, [1, 10, 100]), (3, 3, [1, 10]), (10, 10, [10, 100]), (0, 5, [1, 10]),
     (0, 0, [1, 10]), (1e-4, 0.5, [1e-4, 1e-3, 0.01, 0.1, 1])],
)  # fmt: skip
def test_log_marks(least, most, marks):
    assert log_marks(least, most) == pytest.approx(marks)


@pytest.mark.parametrize(
    ("places", "found"),
    [
        ([], []), ([5], [5]), ([0, 100], [0, 100]), ([50, 50], [45, 55]), ([100, 0], [100, 0]),
        ([50, 50, 50], [40, 50, 60]), ([0, 4, 100], [-3, 7, 100]), ([0, 9, 12], [-3, 7, 17]),
    ],
)  # fmt: skip
def test_apart(places, found):
    assert apart(places, 10) == pytest.approx(found)


@given(st.lists(st.floats(0, 300), max_size=10))
def test_places_are_apart_and_in_order(places):
    found = apart(places, 17)
    order = sorted(range(len(places)), key=lambda n: places[n])
    assert all(found[b] - found[a] >= 17 - 1e-6 for a, b in pairwise(order))


def test_curves():
    panels = {"half": {"a<b": [(1, 10), (100, 30)], "other": [(1, 20)]}, "most": {"a<b": [(1, 7)]}}
    picture = Curves("Waiting", "callers", panels, "{:.0f} s".format)
    assert repr(picture) == (
        "Waiting\nhalf, with 1 / 100 callers\n  a<b: 10 s / 30 s\n  other: 20 s\nmost, with 1 callers\n  a<b: 7 s"
    )
    words = words_of(picture)
    assert {"Waiting", "half", "most", "a<b", "other", "callers", "1", "100", "10 s", "100 s"} <= set(words)
    assert words.count("a<b") == 2
    assert picture._repr_mimebundle_()["text/plain"] == repr(picture)


def test_no_two_curves_look_the_same():
    looks = list(zip(range(30), cycle(COLOURS), cycle(DASHES), cycle(MARKS)))
    assert len({look[1:] for look in looks}) == len({look[1:3] for look in looks}) == 30
    curves = {str(n): [(1, n), (10, n)] for n in range(1, 8)}
    svg = Curves("All", "callers", {"": curves}, str, from_zero=True).svg()
    assert all(f'stroke-dasharray="{dash}"' in svg for dash in DASHES)


def test_ranges_are_within_the_picture():
    ranges = {"a": [(1, 4, 900)]}
    picture = Curves("R", "callers", {"": {"a": [(1, 5)]}}, "{:.0f}".format, from_zero=True, ranges=ranges)
    assert "1000" in words_of(picture)


def test_nothing_to_draw():
    assert words_of(Curves("Empty", "callers", {"": {}}, str)) == ["Empty", "Nothing was measured."]
    assert words_of(Bars("Empty", {}, str, "unknown")) == ["Empty"]


def test_bars():
    picture = Bars("Memory", {"a": 10.0, "none": 0.0, "what": None}, "{:.0f} KiB".format, "not measured")
    assert repr(picture) == "Memory\n  a: 10 KiB\n  none: 0 KiB\n  what: not measured"
    assert words_of(picture) == ["Memory", "a", "10 KiB", "none", "0 KiB", "what", "not measured"]
    bars = list(ElementTree.fromstring(picture.svg()).iter(f"{SVG}rect"))[1:]
    assert len(bars) == 2  # none for what is not known


def test_a_long_name_is_cut():
    words = words_of(Bars("Memory", {"a" * 40: 1.0}, str, ""))
    assert "a" * 21 + "…" in words
