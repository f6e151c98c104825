"""The bar: a line in a terminal that is gone afterwards, and not a character elsewhere."""

from __future__ import annotations

import io
import sys

import pytest

from helpers.racing.progress import progress


class Terminal(io.StringIO):
    """Where a person looks on."""

    def isatty(self):
        return True


def test_in_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    bar = progress("racing", 4)
    show = bar.__enter__()
    show(1)
    show(4)
    with pytest.raises(KeyboardInterrupt):
        bar.gen.throw(KeyboardInterrupt)
    assert terminal.getvalue() == "\rracing: 25 %\rracing: 100 %\r\033[K"


@pytest.mark.parametrize("where", [io.StringIO(), None])
def test_elsewhere_it_says_nothing(monkeypatch, capfd, where):
    monkeypatch.setattr(sys, "stderr", where)
    with progress("racing", 4) as show:
        show(2)
    assert not (where and where.getvalue())
    assert capfd.readouterr() == ("", "")
