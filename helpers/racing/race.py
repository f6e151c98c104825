"""Race servers, and measure honestly: `race([one_at_a_time, thread_per_caller], callers=(1, 10, 100))`.

Each server, and the load on them all, is a process of its own, with the standard socket module.  Before it is measured
a server is warmed up.  The strategies take turns, round after round, in another order each time, so that what else the
machine does falls on all of them.  What is shown are medians of at least three rounds, with their spread.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from types import NoneType
from typing import Any

from helpers.racing.apart import Apart, none_left
from helpers.racing.contestants import Contestant, Server, Strategy, contestants
from helpers.racing.exchange import HOW_TO_RAISE
from helpers.racing.progress import progress
from helpers.racing.race_result import RaceResult

C_SERVER = Path(__file__).resolve().parent.parent.parent / "notebooks" / "c" / "epoll_loop.c"
WARM, NEW = 0.05, 0.1  #: seconds: so long is the warm-up, and longer while within NEW somebody new is answered
FIRST = 5.0  #: seconds after which a server that has answered nobody will not do so
PATIENCE = 60.0  #: seconds beyond its time that a measurement may take
QUICK = {"callers": 10, "seconds": 0.01, "rounds": 1}  #: at most, with COURSE_QUICK=1
IN_LINE = 0.3  #: seconds in which nobody is greeted: then no more will be on the line with them
STAND = 300  #: so many callers stand on the line when the memory for each is measured


def quick() -> bool:
    """Is COURSE_QUICK=1 in the environment?  Races and holds are short then: fewer callers, shorter rounds."""
    return os.environ.get("COURSE_QUICK", "0") not in ("", "0")


def race(
    strategies: Strategy | Iterable[Strategy] | Mapping[str, Strategy],
    callers: int | Iterable[int] = (1, 10, 100),
    seconds: float = 0.1,
    rounds: int = 3,
    lines: int | None = None,
    pause: float = 0.0,
    aim: Path | None = C_SERVER,
) -> RaceResult:
    """Measure each strategy with each number of callers, `rounds` times for `seconds`; the result shows itself.

    strategies: functions of a listener, or `async def`s; names of those in `helpers.strategies`; paths of programs (see
        `contestants`); one, several, or a dict {name: strategy}.  A function of a notebook's cell runs in the server's
        process as source, with the imports, functions and data that it names; what is open can't go along.
    callers: how many call at once, up to 1,000; several numbers make the curves.
    lines: after so many lines a caller says quit, and the next one dials; None: it talks to the end.
    pause: seconds for which a caller thinks before its next line.
    aim: a program that takes part as the line to aim for, where it is there and can be compiled.

    ValueError, TypeError: what is asked for can't be raced; OSError: the machine has not the descriptors for it.
    An interrupt (■) ends it, and all its processes, within a second.  COURSE_QUICK=1 in the environment makes it short:
    the fewest and the most callers alone, 10 at most, one round of 0.01 seconds.
    """
    counts = _counts(callers)
    whole = isinstance(rounds, int) and isinstance(lines, (int, NoneType))
    if not whole or not all(isinstance(n, (int, float)) for n in (seconds, pause)):
        raise TypeError("seconds: and pause: are numbers, rounds: and lines: whole ones")
    if not 0.01 <= seconds <= 10 or not 1 <= rounds <= 15 or not 0 <= pause <= 0.5 or (lines is not None and lines < 1):
        raise ValueError("seconds: from 0.01 to 10; rounds: from 1 to 15; lines: from 1; pause: from 0 to 0.5")
    found = contestants(strategies)
    if aim is not None and aim.exists():
        found += [c for c in contestants({f"C: {aim.stem}": aim}) if not c.why_not]
    if quick():
        counts = sorted({min(counts[0], int(QUICK["callers"])), min(counts[-1], int(QUICK["callers"]))})
        seconds, rounds = min(seconds, QUICK["seconds"]), min(rounds, int(QUICK["rounds"]))
    times = {"warm": WARM, "newcomers": NEW, "seconds": seconds, "patience": FIRST}
    if quick():
        times |= {"warm": WARM / 5, "newcomers": NEW / 2}
    how = {"how_long": times, "lines": lines, "pause": pause}
    return _Race(found, counts, rounds, how).run()


def _counts(callers: Any) -> list[int]:
    """The numbers of callers, in order; ValueError, TypeError: these are none."""
    several = callers if isinstance(callers, Iterable) and not isinstance(callers, str) else [callers]
    counts = list(several)
    if any(callable(n) or isinstance(n, (str, Path)) for n in counts):
        raise TypeError("callers: numbers; give several strategies in a list: race([one_at_a_time, selector_loop])")
    if not counts or not all(isinstance(n, int) and 1 <= n <= 1000 for n in counts):
        raise ValueError("callers: whole numbers from 1 to 1,000; for more of them there is hold(strategy, callers=…)")
    return sorted(set(counts))


class _Race:
    """One race: who is in it, and what was measured so far."""

    def __init__(self, found: list[Contestant], counts: list[int], rounds: int, how: dict[str, Any]) -> None:
        self.found, self.counts, self.rounds, self.how = found, counts, rounds, how
        self.cpus, self.layout = layout()
        self.problems = {one.name: one.why_not for one in found if one.why_not}
        self.memory: dict[str, float | None] = {}
        self.uncounted: set[str] = set()  # a process for each caller: its CPU is forgotten with it
        self.raw: list[dict[str, Any]] = []

    def run(self) -> RaceResult:
        """Start all servers, and let them take turns."""
        running = [one for one in self.found if not one.why_not]
        steps, done = len(running) * (1 + self.rounds * len(self.counts)), count(1)
        life = 120 + 3 * steps * (1 + self.how["how_long"]["seconds"])  # more than it can take
        with none_left(), ExitStack() as stack:
            load = Apart("load", life)
            load.ask({"do": "start", "cpus": self.cpus[1]}, PATIENCE)
            servers = [Server(one, self.cpus[0], life) for one in running]
            show = stack.enter_context(progress("racing", steps))
            for server in servers:
                if server.ready():
                    self.weigh(server, load)
                else:
                    self.problems[server.name] = server.problem()
                show(next(done))
            for number in range(self.rounds):
                for callers in self.counts:
                    order = servers[:]
                    random.Random(number).shuffle(order)
                    for server in order:
                        if server.name not in self.problems:
                            self.measure(server, load, callers, number)
                        show(next(done))
        names = [one.name for one in self.found]
        return RaceResult(names, self.raw, self.memory, self.problems, self.layout, self.how["how_long"]["seconds"])

    def weigh(self, server: Server, load: Apart) -> None:
        """Its memory for a caller: with many on the line, against with none, while the server is still fresh."""
        hold = {"do": "hold", **server.address, "patience": IN_LINE / 3 if quick() else IN_LINE}
        _answer(load, hold | {"callers": 1}, PATIENCE)  # what it needs for its first caller it needs once
        load.ask({"do": "leave"}, PATIENCE)
        before, processes = server.memory(), server.processes()
        held = _answer(load, hold | {"callers": 20 if quick() else STAND}, PATIENCE)
        after = server.memory()
        if server.processes() > processes:
            self.uncounted.add(server.name)
        load.ask({"do": "leave"}, PATIENCE)
        known = before is not None and after is not None and held["held"] > 1
        self.memory[server.name] = max(0, (after or 0) - (before or 0)) / held["held"] if known else None

    def measure(self, server: Server, load: Apart, callers: int, number: int) -> None:
        """One round of one server, and what was wrong with it."""
        cpu = server.cpu()
        talk = {"do": "talk", **server.address, "callers": callers, **self.how}
        told = load.ask(talk, PATIENCE + self.how["how_long"]["seconds"])
        if limit := told.pop("limit"):
            how = HOW_TO_RAISE.get(limit, "try it with fewer callers").format(more=4096)
            raise OSError(f"the load generator can't open {callers:,} sockets, stopped by {limit}: {how}")
        cpu = 0.0 if server.name in self.uncounted else server.cpu() - cpu
        wrong = told.pop("problem")
        if not wrong and not told["answers"]:
            wrong = f"answered none of {callers} callers" + ("" if told["greeted"] else ", and greeted none")
        if wrong or server.problem():
            self.problems[server.name] = server.wrong(wrong)
            return
        row = {"strategy": server.name, "callers": callers, "round": number + 1}
        row |= {"rate": told["answers"] / told["seconds"], "cpu_seconds": cpu} | told
        self.raw.append(row)


def _answer(load: Apart, job: dict[str, Any], seconds: float) -> dict[str, Any]:
    told = load.ask(job, seconds)
    while "progress" in told:
        told = load.hear(seconds)
    return told


def layout() -> tuple[tuple[list[int], list[int]], str]:
    """Which CPUs the servers have and which the load, where that can be said; and the same in words.

    Where the two ends run matters more than the language that they are written in.
    """
    if sys.platform != "linux":
        return ([], []), "the system chose on which CPUs servers and load ran"
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) == 1:
        return ([], []), "servers and load shared one CPU"
    words = f"the servers had {len(cpus) - 1} CPU{'s' * (len(cpus) > 2)}, the load another"
    return (cpus[:-1], cpus[-1:]), words
