"""`python3 run.py chaos [lesson …]`: do to lessons what learners do to them, and see that nothing breaks.

Each lesson runs with every cell twice in a row, and in random orders, each time in a fresh kernel, and then once more
from the top in that kernel.  Told as findings, a line each:

- a cell that takes over 20 seconds, or ends the kernel;
- an error that is none of ALLOWED, or that shows lines of `helpers` to the learner;
- an output of the run from the top that is not the stored one (by the rules of `sanitize.cfg`);
- a thread, a process, a listening socket or a connection in CLOSE_WAIT that the lesson leaves behind.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import psutil
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from tools.notebooks import ANSI, Kernel, Ran, code_cells, comparable, lessons, load, options, sanitizer

ALLOWED = {"NameError", "OSError", "ValueError", "AttributeError", "StillWaiting"}  #: these and their subclasses
REFUSALS = {"StillWaiting", "NoStage"}  #: a role's cell that was not begun: no line of it was run
WORKERS = 2  #: lessons at a time; two runs of one lesson would write the same files
#: Names of the threads that are not among those given, nor in the pool of the kernel's own event loop, which lives as
#: long as that.  One that is just ending gets a moment to do so.
THREADS = (
    "[t.name for t in __import__('threading').enumerate() if t.ident not in {known}"
    " and t is not __import__('threading').current_thread() and not t.name.startswith('asyncio_')"
    " and (t.join(0.5) or t.is_alive())]"
)


@dataclass(frozen=True)
class Order:
    """In which order the cells run: each twice in a row, or shuffled."""

    seed: int | None = None

    def __str__(self) -> str:
        return "each cell twice" if self.seed is None else f"random order, seed {self.seed}"

    def of(self, count: int) -> list[int]:
        """The numbers of the cells to run."""
        if self.seed is None:
            return [number for number in range(count) for _ in range(2)]
        numbers = list(range(count))
        random.Random(self.seed).shuffle(numbers)
        return numbers


class OutOfTime(Exception):
    """The command has run for as long as it may."""


class Chaos:
    """One run of the command: the orders, and its limits."""

    def __init__(self, orders: Sequence[Order], seconds: int, minutes: float) -> None:
        self.orders, self.seconds = orders, seconds
        self.deadline = time.monotonic() + 60 * minutes
        self.clean = sanitizer()

    def lesson(self, path: Path) -> tuple[list[str], int]:
        """The findings of one lesson, and how many of its orders there was time for."""
        findings: list[str] = []
        for done, order in enumerate(self.orders):
            found: list[str] = []
            began = time.monotonic()
            try:
                self.disturb(path, order, found)
            except OutOfTime:
                return findings + told(path, order, found), done
            findings += told(path, order, found)
            say(f"{path.stem}, {order}: findings: {len(told(path, order, found))}, {time.monotonic() - began:.1f} s")
        return findings, len(self.orders)

    def disturb(self, path: Path, order: Order, found: list[str]) -> None:
        """Run one lesson in one order, and then from the top; what is wrong goes to `found`."""
        self.seconds_left()
        cells = [cell for cell in code_cells(load(path)) if not options(cell).get("skip")]
        with Kernel(path.parent) as kernel:
            known = kernel.ask("[t.ident for t in __import__('threading').enumerate()]")
            process = psutil.Process(kernel.ask("__import__('os').getpid()"))
            before = sockets_left(process)
            try:
                for cell in (cells[number] for number in order.of(len(cells))):
                    ran = self.run(kernel, cell)
                    if wrong := error_not_allowed(kernel, ran):
                        found.append(f"cell {cell.id} raises {wrong}")
                self.from_the_top(kernel, cells, found)
                found += [f"the thread {name!r} is left" for name in kernel.ask(THREADS.format(known=set(known)))]
                found += [f"{left} is left" for left in sorted(sockets_left(process) - before)]
            except Broken as problem:
                found.append(str(problem))
            finally:
                found += [f"the process {name} is left" for name in end_children(process)]

    def seconds_left(self) -> int:
        """Whole seconds until all must be done."""
        left = int(self.deadline - time.monotonic())
        if left <= 0:
            raise OutOfTime
        return left

    def run(self, kernel: Kernel, cell: NotebookNode) -> Ran:
        """Run a cell, within the limits."""
        left = self.seconds_left()
        kernel.client.timeout = min(self.seconds, left)
        try:
            return kernel.run(cell.source)
        except CellTimeoutError:
            if left < self.seconds:
                raise OutOfTime from None
            raise Broken(f"cell {cell.id} takes over {self.seconds} seconds") from None
        except DeadKernelError:
            raise Broken(f"cell {cell.id} ends the kernel") from None

    def from_the_top(self, kernel: Kernel, cells: Sequence[NotebookNode], found: list[str]) -> None:
        """Run the lesson as it stands: does it give the stored outputs?"""
        different = []
        for cell in cells:
            try:
                ran = self.run(kernel, cell)
            except Broken as problem:
                raise Broken(f"{problem}, run from the top after that") from None
            stored, now = comparable(cell.outputs, self.clean), comparable(ran.outputs, self.clean)
            if stored != now and options(cell).get("check", True):
                different.append(f"cell {cell.id}, run from the top after that, gives {first(stored, now)}")
        if len(different) > 1:
            different[0] += f" (and {len(different) - 1} cells after it differ)"
        found += different[:1]


def told(path: Path, order: Order, found: Sequence[str]) -> list[str]:
    """Findings as they are told, each once: a cell that runs three times may raise the same three times."""
    return [f"{path.stem}, {order}: {what}" for what in dict.fromkeys(found)]


class Broken(Exception):
    """The kernel is of no use any more, for the reason said."""


def error_not_allowed(kernel: Kernel, ran: Ran) -> str:
    """What is wrong with the error that a cell raised, if anything is."""
    if ran.error is None:
        return ""
    name, said = ran.error.ename, f"{ran.error.ename}: {ran.error.evalue}".splitlines()[0]
    if name == "UsageError":  # `%%server` before `Stage(...)` is what a NameError is to a plain cell
        return "" if ran.error.evalue.startswith("Cell magic") else said
    family = kernel.ask("[c.__name__ for c in __import__('sys').last_value.__class__.__mro__]")
    if name not in family or not ALLOWED.intersection(family):
        return f"an error that is not allowed, {said}"
    shown = ANSI.sub("", ran.error.traceback)
    if frame := re.search(r"^File .*?[/\\](helpers[/\\][^:\n]*\.py:\d+)", shown, re.M):
        return f"an error that shows a line of {frame[1]}, {said}"
    if "Cell In[" not in shown and name not in REFUSALS:
        return f"an error that names no line of the lesson, {said}"
    return ""


def sockets_left(process: psutil.Process) -> set[str]:
    """The sockets of a process that are in a state in which no lesson may leave one."""
    states = (psutil.CONN_LISTEN, psutil.CONN_CLOSE_WAIT)
    return {
        f"a socket in {socket.status} ({socket.laddr.ip}:{socket.laddr.port})"
        for socket in process.net_connections("inet")
        if socket.status in states
    }


def end_children(process: psutil.Process) -> list[str]:
    """End what a process has started and left running; gives their names."""
    names = []
    for child in process.children(recursive=True) if process.is_running() else []:
        try:
            if child.status() != psutil.STATUS_ZOMBIE:  # such a one has ended, and nobody asked yet how
                names.append(child.name())
                child.kill()
        except psutil.NoSuchProcess:  # it has ended meanwhile
            pass
    return names


def first(stored: dict[str, list[Any]], now: dict[str, list[Any]]) -> str:
    """The first line in which outputs differ: of an error, if there is one, of text rather than of a picture."""
    order = {"error": 0, "text/html": 2, "image/svg+xml": 2}
    for kind in sorted({*stored, *now}, key=lambda kind: (order.get(kind, 1), kind)):
        before, after = ("\n".join(map(str, side.get(kind, []))).splitlines() for side in (stored, now))
        for one, other in zip_longest(before, after, fillvalue="(nothing)"):
            if one != other:
                return f"{kind} {other[:90]!r} for {one[:90]!r}"
    return "the same lines in another number of outputs"


def say(text: str) -> None:
    """One line, whole, whichever threads print."""
    print(f"{text}\n", end="", flush=True)


def main(arguments: Sequence[str]) -> int:
    """Disturb the lessons that are named, or all; 0 if nothing was found."""
    parser = argparse.ArgumentParser(prog="python3 run.py chaos", description="Run the cells of lessons in bad orders.")
    parser.add_argument("lesson", nargs="*", help="01, 01_make_a_call or a path; all if none is named")
    parser.add_argument("--seed", type=int, help="of the first random order; the others have the next numbers")
    parser.add_argument("--orders", type=int, default=3, help="how many random orders (default: 3)")
    parser.add_argument("--seconds", type=int, default=20, help="that a cell may take (default: 20)")
    parser.add_argument("--minutes", type=float, default=12, help="that all may take (default: 12)")
    told = parser.parse_args(arguments)
    try:
        paths = lessons(told.lesson)
    except LookupError as problem:
        parser.error(str(problem))
    seed = random.randrange(1_000_000) if told.seed is None else told.seed
    say(f"each cell twice in a row, and {told.orders} random orders, of seed {seed} and on; lessons: {len(paths)}")
    chaos = Chaos([Order(), *(Order(seed + n) for n in range(told.orders))], told.seconds, told.minutes)
    began, findings, runs = time.monotonic(), list[str](), 0
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            for found, done in pool.map(chaos.lesson, paths):
                findings += found
                runs += done
        except BaseException:  # Ctrl-C too: the other lessons are not waited for
            chaos.deadline = 0
            raise
    if undone := len(paths) * len(chaos.orders) - runs:
        findings.append(f"{undone} of {undone + runs} runs were not done within {told.minutes:g} minutes")
    for finding in findings:
        say(f"FOUND {finding}")
    say(f"runs: {runs}, findings: {len(findings)}, {time.monotonic() - began:.0f} s")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
