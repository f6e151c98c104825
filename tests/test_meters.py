"""The two meters beside a server."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from helpers.meters import Meters, meters
from helpers.strategies import accept, one_at_a_time, talk, thread_per_caller


def impatient(listener):
    while True:
        connection = accept(listener)
        connection.settimeout(0.02)
        talk(connection)


def hangs_up(listener):
    while True:
        listener.accept()[0].close()


def test_nobody_is_served_behind_one_who_is_silent():
    read = meters(one_at_a_time, thread_per_caller, calls=20, seconds=0.3)
    assert read.rates["one_at_a_time"] == 0
    assert read.longest["one_at_a_time"] == 0.3
    assert read.rates["thread_per_caller"] > 0


def test_without_silent_callers_all_are_served():
    read = meters(one_at_a_time, silent=0, calls=30, seconds=10)
    assert read.rates["one_at_a_time"] > 3  # else they would not have been done in time
    assert 0 < read.longest["one_at_a_time"] < 10


def test_who_is_cut_off_dials_again():
    read = meters(impatient, silent=3, callers=2, calls=6, seconds=10)
    assert read.longest["impatient"] >= 3 * 0.02


def test_who_is_hung_up_on_is_not_served():
    read = meters(hangs_up, calls=20, seconds=0.2)
    assert read.rates["hangs_up"] == 0


def test_a_server_may_have_another_name():
    assert list(meters(one_at_a_time, two=one_at_a_time, silent=0, calls=2).rates) == ["one_at_a_time", "two"]


def test_it_is_told_in_words_and_drawn():
    read = Meters({"one": 0.0, "two": 1234.4}, {"one": 0.5, "two": 0.0123}, 0.5, 1)
    assert repr(read).splitlines() == [
        "Calls served a second, beside 1 silent caller",
        "  one: 0",
        "  two: 1,234",
        "The longest wait",
        "  one: over 500 ms",
        "  two: 12 ms",
    ]
    ElementTree.fromstring(read.svg())
    assert "beside no silent callers" in repr(Meters({}, {}, 1, 0))


def test_a_server_that_fails_is_told_of():
    def fails(listener):
        raise LookupError("no such thing")

    with pytest.raises(LookupError):
        meters(fails, calls=1, seconds=0.1)
