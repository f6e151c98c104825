"""What the tests share: a stage of their own, and its cells."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from textwrap import dedent

import pytest
from hypothesis import settings

from helpers import Stage, select, socket
from helpers.gate import Ended, gate

settings.register_profile("course", deadline=None)  # how fast an example is, is no test here
settings.load_profile("course")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-browser", action="store_true", help="fail where there is no browser to test with; else it is skipped"
    )


def pytest_configure() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a shell; it is handed on to programs
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A fresh stage with a server and a client, in a namespace of its own."""
    yield Stage("server", "client", namespace={"__name__": "__main__", "socket": socket, "select": select})
    if Stage._present is not None:
        Stage._present._clear()


@pytest.fixture
def cell(stage: Stage, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a cell in a role, and gives what it wrote; raises what it raised."""

    def run(role: str, source: str, aside: bool = False) -> str:
        capsys.readouterr()
        stage.run(role, dedent(source).strip("\n"), aside)
        return capsys.readouterr().out.rstrip("\n")

    return run


@pytest.fixture(autouse=True)
def nobody_stays_on_the_stage() -> Iterator[None]:
    """Who is left there would be met by whatever test comes next."""
    yield
    assert not gate.waiting
    assert not gate.order


@pytest.fixture(autouse=True)
def threads_may_exit() -> Iterator[None]:
    """SystemExit ends a thread without a word, as in Python's own hook; pytest's hook would complain."""
    told = threading.excepthook
    threading.excepthook = lambda args: None if args.exc_type is SystemExit else told(args)
    yield
    threading.excepthook = told


@pytest.fixture(autouse=True)
def endings_may_come_at_any_line() -> Iterator[None]:
    """Also in a finalizer, or in hypothesis's callback of the garbage collector: Python drops it there, and says so."""
    told = sys.unraisablehook
    sys.unraisablehook = lambda args: None if isinstance(args.exc_value, (Ended, SystemExit)) else told(args)
    yield
    sys.unraisablehook = told
