"""Is this machine ready?  `check_machine()` for what the course needs, `optional_programs()` for what it likes."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

COURSE = Path(__file__).resolve().parent.parent
OPTIONAL = {
    "cc": "compiles the C programs of lesson 02",
    "nc": "calls your server from a terminal",
    "curl": "calls it too: curl telnet://127.0.0.1:5050",
}


def _python() -> str:
    return "" if sys.version_info >= (3, 11) else "install Python 3.11 or newer, then run `python3 run.py` again"


def _kernel() -> str:
    if Path(sys.prefix).resolve() == COURSE / ".venv":
        return ""
    return "choose Kernel ▸ Change Kernel… ▸ Python 3 (ipykernel); is it not there, start with `python3 run.py`"


def _helpers() -> str:
    here = Path.cwd().resolve()
    return "" if here == COURSE or COURSE in here.parents else f"open the lessons in the folder {COURSE / 'notebooks'}"


def _loopback() -> str:
    try:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            with socket.create_connection(listener.getsockname(), timeout=2):
                return ""
    except OSError as problem:
        return f"a call from 127.0.0.1 to itself failed ({problem}): a firewall may forbid it"


def _files() -> str:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return ""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        "" if soft < 0 or soft >= 256 else f"only {soft} files may be open: run `ulimit -n 1024`, then `python3 run.py`"
    )


CHECKS: dict[str, Callable[[], str]] = {
    "Python is 3.11 or newer": _python,
    "the kernel is the course's own": _kernel,
    "helpers is this folder's": _helpers,
    "a call from this machine to itself goes through": _loopback,
    "at least 256 files and sockets may be open": _files,
}


def check_machine() -> None:
    """Print what the course needs, a line each: there, or what to do about it."""
    for need, look in CHECKS.items():
        wrong = look()
        print(f"✗ {need}: {wrong}" if wrong else f"✓ {need}")


def optional_programs() -> None:
    """Print which of the programs are there that some lessons can use and none needs."""
    for name, use in OPTIONAL.items():
        print(f"{'✓' if shutil.which(name) else '·'} {name}: {use}")
