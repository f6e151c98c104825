"""Who takes part in a race: a function, the name of one in `strategies.py`, a program; and the process of each."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from helpers.programs import compile_c
from helpers.racing.apart import Apart, Failed, Gone, Silent
from helpers.racing.packing import PackError, pack

Strategy = Callable[[Any], Any] | str | Path
BY_THE_SYSTEM = "the system killed the server's process, as it does when memory runs out"
START = 30.0  #: seconds that a server may take until it listens


@dataclass(frozen=True, slots=True)
class Contestant:
    """A name, and the job for the process that is to be this server; `why_not`: there can be none."""

    name: str
    job: dict[str, Any]
    why_not: str = ""


def contestants(strategies: Strategy | Iterable[Strategy] | Mapping[str, Strategy]) -> list[Contestant]:
    """One contestant for each strategy, in order.

    A strategy is a function of a listener (or an `async def`), the name of one in `helpers.strategies`, or the path of
    a program, C source (`.c`), which is compiled, or a Python script: started as `program 0`, it prints its port.
    ValueError: a name is unknown, or two have the same; PackError (a TypeError): this is no strategy, or a function
    that can't go to a process.
    """
    if isinstance(strategies, Mapping):
        if wrong := [name for name in strategies if not isinstance(name, str)]:
            raise TypeError(f"in a dict {{name: strategy}} the names are strings, and {wrong[0]!r} is none")
        found = [contestant(strategy, name) for name, strategy in strategies.items()]
    elif callable(strategies) or isinstance(strategies, (str, Path)) or not isinstance(strategies, Iterable):
        found = [contestant(strategies)]
    else:
        found = [contestant(strategy) for strategy in strategies]
    names = [one.name for one in found]
    if not names:
        raise ValueError("nobody takes part: give at least one strategy")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two are called {name}: give them names of their own, in a dict {{name: strategy}}")
    return found


def contestant(strategy: Strategy, name: str = "") -> Contestant:
    """The contestant for one strategy."""
    if isinstance(strategy, Path):
        return _program(strategy, name or strategy.stem)
    if isinstance(strategy, str):
        known = {one.__name__: one for one in importlib.import_module("helpers.strategies").STRATEGIES}
        if strategy not in known:
            raise ValueError(f"there is no strategy {strategy!r}, but there are {', '.join(known)}")
        name, strategy = name or strategy, known[strategy]
    if not callable(strategy):
        raise PackError(f"{strategy!r} is no strategy: give a function of a listener, a name, or the path of a program")
    if inspect.isgeneratorfunction(strategy) or inspect.isasyncgenfunction(strategy):
        words = getattr(strategy, "__name__", "this")
        raise PackError(f"{words} is a generator function, for it has a yield in it: called, it would serve nobody")
    source, called = pack(strategy)
    return Contestant(name or called, {"source": source, "name": called, "path": [path or "." for path in sys.path]})


def _program(path: Path, name: str) -> Contestant:
    if not path.exists():
        raise ValueError(f"there is no file {path.name}")
    if path.suffix != ".c":
        return Contestant(name, {"command": [sys.executable, str(path.resolve())]})
    why_not = ""
    try:
        program = _compiled(path.resolve())
        why_not = "" if program else "there is no C compiler here"
    except (OSError, subprocess.SubprocessError):  # epoll(7), say, is Linux's alone; or the folder is not ours to write
        program, why_not = None, "it can't be compiled here"
    return Contestant(name, {"command": [str(program)]}, why_not)


_made: dict[tuple[Path, int], Path] = {}


def _compiled(source: Path) -> Path | None:
    """The program of a C source, compiled once as long as neither that nor a header beside it changes."""
    changed = max(file.stat().st_mtime_ns for file in (source, *source.parent.glob("*.h")))
    program = _made.get((source, changed))
    if program is None or not program.exists():
        program = compile_c(source, "-O2")
        if program is not None:
            _made[source, changed] = program
    return program


class Server(Apart):
    """The process of one contestant; `ready()` awaits that it listens."""

    def __init__(self, contestant: Contestant, cpus: list[int], life: float = 300.0) -> None:
        super().__init__("contestant", life)
        self.name = contestant.name
        self.address: dict[str, Any] = {}
        self.descriptors: int | None = None
        self.complaint = self._ended = ""
        self.killed = False  #: has the system ended it, as it does when memory runs out?
        self._process_of_it: psutil.Process | None = None
        try:
            self.give(contestant.job | {"cpus": cpus})
        except BaseException:
            self.end()
            raise

    def ready(self) -> bool:
        """Wait until it listens; False: it ended before, and `problem()` tells why."""
        while not self.address:
            try:
                self._take(self.hear(START))
            except Gone as problem:
                self._is_gone(problem, str(problem))
                return False
            if self._ended:
                return False
        return True

    def _take(self, told: dict[str, Any]) -> None:
        if "port" in told:
            self.address, self.descriptors = {"host": told["host"], "port": told["port"]}, told["descriptors"]
            self._process_of_it = psutil.Process(told["pid"])
        self.complaint = told.get("complaint", self.complaint)
        self._ended = told.get("ended", self._ended)
        if told.get("killed"):
            self.killed, self._ended = True, BY_THE_SYSTEM

    def _is_gone(self, problem: Gone, words: str) -> None:
        """It has ended, and told no more."""
        self.killed = not isinstance(problem, (Failed, Silent)) and self.was_killed()
        self._ended = BY_THE_SYSTEM if self.killed else words

    def problem(self, patience: float = 0.0) -> str:
        """What ended it, in words; "" while it runs.  It is given some seconds to say so."""
        try:
            while not self._ended:
                self._take(self.hear(patience))
        except Silent:
            return ""
        except Gone as problem:
            self._is_gone(problem, "its process is gone")
        return f"ended: {self._ended}"

    def wrong(self, seen: str) -> str:
        """What was wrong: what ended it, or else what its callers have `seen`, and what one of its threads raised."""
        words = self.problem(0.3) or seen  # what ended it may be told a moment after what callers saw of that
        return words + (f"; in a thread or a task: {self.complaint}" if self.complaint else "")

    def _all(self) -> list[psutil.Process]:
        try:
            return [self._process_of_it, *self._process_of_it.children(recursive=True)] if self._process_of_it else []
        except psutil.Error:
            return []

    def memory(self) -> int | None:
        """Bytes that it, and its children, have for themselves alone (private memory); None: the system won't tell."""
        try:
            return sum(process.memory_full_info().uss for process in self._all()) or None
        except psutil.Error:
            return None

    def processes(self) -> int:
        """How many processes it consists of now."""
        return len(self._all())

    def cpu(self) -> float:
        """Seconds of CPU that it and its children have used."""
        try:
            return sum(sum(process.cpu_times()[:2]) for process in self._all())
        except psutil.Error:
            return 0.0

    def may_open(self) -> int | None:
        """How many files it may have open now, where the system tells (Linux); else, as it was when it began."""
        try:
            soft: int = self._all()[0].rlimit(psutil.RLIMIT_NOFILE)[0]
        except (psutil.Error, IndexError, AttributeError):
            return self.descriptors
        return soft if soft >= 0 else None

    def in_use(self) -> tuple[int, int]:
        """How many descriptors it has open (0: not known here), and how many threads."""
        try:
            process = self._all()[0]
            return (process.num_fds() if hasattr(process, "num_fds") else 0), process.num_threads()
        except (psutil.Error, IndexError):
            return 0, 0
