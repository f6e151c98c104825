"""`python3 run.py bench`: what the course costs, in time.  It prints, and never fails.

- a recorded call against a plain one, on sockets that are ready (aim: under 1 µs more);
- a `%%server` cell, from its start to its return, waiting or not (aim: under 10 ms);
- `python3 run.py`, when all is installed, until JupyterLab answers (aim: JupyterLab's own start and 1 s);
- the servers of Part II, as ratios in one race: the best of them against the C server with epoll, `thread_per_caller`
  against `socketserver.ThreadingTCPServer`, and the memory for a caller who is held.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from helpers import Stage, hold, race
from helpers import socket as recorded
from helpers.racing.standings import FULL
from tools.notebooks import NOTEBOOKS, ROOT, Kernel
from tools.rivals import threading_tcp_server

PAIRS, ROUNDS = 1_000, 25  #: of send and recv in a round
CELLS = 25
STARTS = 3
CALLERS, HELD, RACES = 100, 2_000, 5  #: at once in a race, held, and rounds
VENV = ROOT / ".venv"


def show(what: str, values: Sequence[float], unit: str) -> None:
    """One line: the median, and between which two values the middle half lies."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    print(f"  {what:<56} {middle:8.2f} {unit:<2}  ({low:.2f} to {high:.2f})", flush=True)


# ---------------------------------------------------------------------- a call


def pairs(module: Any) -> float:
    """Microseconds for a call: many times a send and a recv, on two sockets of `module` that are connected."""
    one, other = module.socketpair()
    with one, other:
        began = perf_counter()
        for _ in range(PAIRS):
            one.send(b"x")
            other.recv(1)
        return (perf_counter() - began) / (2 * PAIRS) * 1e6


def in_the_notebook(module: Any) -> float:
    """Called as a plain cell calls."""
    stage = Stage("server", namespace={})  # the record begins anew: it is as long in each round
    took = pairs(module)
    with redirect_stdout(None):
        stage.close()
    return took


def in_a_role(module: Any) -> float:
    """Called as a `%%server` cell calls."""
    found: list[float] = []
    names = {"found": found, "pairs": pairs, "module": module}
    stage = Stage("server", namespace=names)
    stage.run("server", "found.append(pairs(module))")
    with redirect_stdout(None):
        stage.close()
    return found[0]


def calls(measure: Callable[[Any], float], where: str) -> None:
    """Plain and recorded calls in turn, so that what else the machine does falls on both."""
    plain, ours = [], []
    for _ in range(ROUNDS):
        plain.append(measure(socket))
        ours.append(measure(recorded))
    show(f"a plain call {where}", plain, "µs")
    show(f"a recorded call {where}", ours, "µs")
    show("    the difference", [more - less for less, more in zip(plain, ours, strict=True)], "µs")


# ---------------------------------------------------------------------- a cell

BEGIN = """
from time import perf_counter
from helpers import Stage, socket
stage = Stage("server", "client")
def timed(role, source):
    began = perf_counter()
    stage.run(role, source)
    return (perf_counter() - began) * 1000
"""
LISTEN = '%%server\nlistener = socket.create_server(("127.0.0.1", 0))\nhost, port = listener.getsockname()'
COMPUTE, ACCEPT = "x = 1 + 1", "transfer, caller = listener.accept()"
DIAL, CLOSE = "call = socket.create_connection((host, port))\ncall.close()", "transfer.close()"
INSIDE = f"""
at_once, waiting = [], []
for _ in range({CELLS}):
    at_once.append(timed("server", {COMPUTE!r}))
    waiting.append(timed("server", {ACCEPT!r}))
    stage.run("client", {DIAL!r})
    stage.run("server", {CLOSE!r})
ending = []
for _ in range({CELLS}):
    stage.run("server", {ACCEPT!r})
    began = perf_counter()
    stage.stop("server")
    ending.append((perf_counter() - began) * 1000)
"""


def cells() -> None:
    """Cells in a kernel, timed inside of it, and as the notebook sees them."""
    with Kernel(NOTEBOOKS) as kernel:
        for source in (BEGIN, LISTEN, INSIDE):
            kernel.run(source)
        at_once, waiting = kernel.ask("(at_once, waiting)")
        show("a %%server cell that computes, in the kernel", at_once, "ms")
        show("a %%server cell that comes to wait, in the kernel", waiting, "ms")
        show("a wait, until stage.stop() has ended it", kernel.ask("ending"), "ms")
        plain, at_once, waiting = [], [], []
        for _ in range(CELLS):
            plain.append(kernel.run(COMPUTE).seconds * 1000)
            at_once.append(kernel.run(f"%%server\n{COMPUTE}").seconds * 1000)
            waiting.append(kernel.run(f"%%server\n{ACCEPT}").seconds * 1000)
            kernel.run(f"%%client\n{DIAL}")
            kernel.run(f"%%server\n{CLOSE}")
        show("a plain cell, asked for and answered", plain, "ms")
        show("a %%server cell that computes, asked for and answered", at_once, "ms")
        show("a %%server cell that comes to wait, asked for and answered", waiting, "ms")


# ---------------------------------------------------------------------- a start


def until_lab_answers(line: Sequence[str]) -> float:
    """Seconds from the start of a command until JupyterLab's page is there; then the server is shut down."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"JUPYTER_RUNTIME_DIR": folder}
        began = perf_counter()
        process = subprocess.Popen(
            [*line, "--no-browser", "--port=0"], cwd=ROOT, env=environment, text=True, encoding="utf-8",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        give_up = threading.Timer(60, process.kill)
        give_up.start()
        try:
            assert process.stdout is not None
            said = []
            for text in process.stdout:
                said.append(text)
                if "To access the server" in text:
                    break
            else:
                raise RuntimeError("JupyterLab did not start:\n" + "".join(said[-10:]))
            server = json.loads(next(Path(folder).glob("jpserver-*.json")).read_text(encoding="utf-8"))
            address = f"http://127.0.0.1:{server['port']}{server['base_url']}"
            while not _answers(f"{address}lab?token={server['token']}"):  # it listens a moment after it says so
                if give_up.finished.wait(0.01):
                    raise RuntimeError("JupyterLab started, and did not answer")
            seconds = perf_counter() - began
            key = {"Authorization": f"token {server['token']}"}
            urlopen(Request(f"{address}api/shutdown", method="POST", headers=key)).close()
            process.communicate()
            return seconds
        finally:
            give_up.cancel()
            process.kill()
            process.wait()


def _answers(address: str) -> bool:
    try:
        with urlopen(address) as page:
            return bool(page.read())
    except URLError as problem:
        if not isinstance(problem.reason, ConnectionRefusedError):
            raise
        return False


def starts() -> None:
    """`run.py` and JupyterLab itself, in turn."""
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (VENV / "course.json").exists():
        print("  not measured: nothing is installed in .venv (python3 run.py does that)")
        return
    root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    lab, ours = [], []
    for _ in range(STARTS):
        lab.append(until_lab_answers([str(python), "-m", "jupyterlab", *root]))
        ours.append(until_lab_answers([str(python), "run.py"]))
    show("JupyterLab itself, until it answers", lab, "s")
    show("python3 run.py, until JupyterLab answers", ours, "s")
    show("    the difference", [more - less for less, more in zip(lab, ours, strict=True)], "s")


# ---------------------------------------------------------------------- many calls


def ratios(raw: Sequence[dict[str, Any]], one: str, other: str, what: str) -> list[float]:
    """Round by round, how many times `one` has of what `other` has: of the rate, or of the CPU for an answer."""
    rounds: dict[int, dict[str, float]] = {}
    for row in raw:
        value = row["rate"] if what == "rate" else row["cpu_seconds"] / max(1, row["total"])
        rounds.setdefault(row["round"], {})[row["strategy"]] = value
    return [each[one] / each[other] for each in rounds.values() if each.get(one) and each.get(other)]


def races() -> None:
    """All strategies under the same load, once with calls that stay, once with a call for each line."""
    names = [one.__name__ for one in import_module("helpers.strategies").STRATEGIES]
    for lines, load in ((None, "calls that stay"), (1, "a call for each line")):
        result = race([*names, threading_tcp_server], callers=CALLERS, seconds=0.3, rounds=RACES, lines=lines)
        print("\n".join(f"  {line}" for line in repr(result).splitlines()))
        ours = [row for row in result.rows if row["strategy"] in names and row["served"] == CALLERS]
        best = max(ours, key=lambda row: row["rate"])["strategy"]
        aims = [name for name in result.names if name.startswith("C: ")]
        for one, other in (*((best, aim) for aim in aims), ("thread_per_caller", threading_tcp_server.__name__)):
            full = any(row["busy"] >= FULL for row in result.rows if row["strategy"] in (one, other))
            for what, words in (("cpu", "CPU an answer"), ("rate", "rate" + " (the load was full)" * full)):
                show(f"{one} / {other}, {words}", ratios(result.raw, one, other, what), "×")
        print(f"  ({load})" + ("" if aims else "; no C server: it, or a compiler, is not there"))


def held() -> None:
    """Callers held by each strategy that can, and what the server needs for one."""
    results = [hold(one, HELD) for one in import_module("helpers.strategies").STRATEGIES]
    for result in results:
        print("\n".join(f"  {line}" for line in repr(result).splitlines()), flush=True)
    known = [(result.memory, result.strategy) for result in results if result.memory is not None and not result.limit]
    if known:
        print("  the lowest memory for a caller: {1}, {0:,.0f} bytes".format(*min(known)))


def main() -> int:
    """Measure everything; what can't be measured is said."""
    for title, measure in (
        ("A recorded call (aim: under 1 µs more)", lambda: calls(in_the_notebook, "in the notebook")),
        ("The same in a role", lambda: calls(in_a_role, "in a role")),
        ("A cell (aim: under 10 ms)", cells),
        ("A start (aim: under 1 s more)", starts),
        (f"A race, {CALLERS} callers", races),
        (f"Callers held, {HELD:,}", held),
    ):
        print(f"\n{title}: median, and where the middle half lies", flush=True)
        try:
            measure()
        except Exception as problem:  # a figure less is no reason to fail
            print(f"  not measured: {type(problem).__name__}: {problem}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
