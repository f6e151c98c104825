"""Ten thousand callers at once: `hold(selector_loop)` opens them, holds them, and exchanges a line with each.

Server and callers are two processes, each of which raises its limit of open files as far as it may go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from helpers.racing.apart import Apart, none_left
from helpers.racing.contestants import BY_THE_SYSTEM, Server, Strategy, contestants
from helpers.racing.exchange import HOW_TO_RAISE
from helpers.racing.progress import progress
from helpers.racing.race import layout, quick
from helpers.racing.race_result import size_of

PATIENCE = 3.0  #: seconds in which nobody is greeted: then no more is to come
TO_ANSWER = 10.0  #: seconds in which nobody is answered, of those who were greeted
LONGEST = 120.0  #: seconds that each part may take


@dataclass(frozen=True, slots=True)
class HoldResult:
    """The result of `hold()`.

    `held` callers stood on the line at once, of `wanted`, and `answered` of them had a line of theirs answered.
    `seconds` is the time until the last was greeted, `speaking` that until the last was answered.  `memory` is the
    bytes of the server for each (None: not known).  `limit` is what stopped it ("": nothing did): "descriptors",
    "descriptors of all processes", "ports", "memory", "threads", "sockets of select()" (Windows) or "the strategy";
    `why` says it in words, and how to raise it.
    """

    strategy: str
    wanted: int
    held: int
    answered: int
    seconds: float
    speaking: float
    memory: float | None
    limit: str = ""
    why: str = ""

    def __repr__(self) -> str:
        memory = "memory not known" if self.memory is None else f"{size_of(self.memory)} of the server for each"
        lines = [
            f"{self.strategy}: held {self.held:,} of {self.wanted:,} callers, and answered {self.answered:,}",
            f"  dialled in {self.seconds:.1f} s, a line exchanged with each in {self.speaking:.1f} s; {memory}",
        ]
        stopped = f"stopped by {self.limit}: {self.why}" if self.limit else ""
        return "\n".join(lines + wrap(stopped, 100, initial_indent="  ", subsequent_indent="    "))


def hold(strategy: Strategy, callers: int = 10_000) -> HoldResult:
    """Open calls, up to `callers` of them, hold all at once, and exchange a line with every one; how far it came.

    strategy: a function of a listener, or an `async def`, or a name, or a path (see `race`).
    callers: from 2 to 50,000.

    ValueError, TypeError: this can't be tried.  An interrupt (■) ends it, and its processes, within a second.
    COURSE_QUICK=1 in the environment makes it 200 callers at most.
    """
    if not isinstance(callers, int) or not 2 <= callers <= 50_000:
        raise ValueError("callers: a whole number from 2 to 50,000")
    one, *others = contestants(strategy)
    if others:
        raise TypeError("hold tries one strategy at a time: call it for each, as in hold(selector_loop)")
    if one.why_not:
        raise ValueError(f"{one.name} can't be tried: {one.why_not}")
    callers, patience = (min(callers, 200), PATIENCE / 6) if quick() else (callers, PATIENCE)
    cpus, _ = layout()
    life = 5 * LONGEST
    with none_left(), progress("holding", callers) as show:
        load, server = Apart("load", life), Server(one, cpus[0], life)
        files = load.ask({"do": "start", "cpus": cpus[1]}, LONGEST)["descriptors"]
        if not server.ready():
            return HoldResult(one.name, callers, 0, 0, 0.0, 0.0, None, "the strategy", server.problem())
        part = _Part(load, show)
        part.ask({"do": "hold", **server.address, "callers": 1, "patience": patience})
        load.ask({"do": "leave"}, LONGEST)  # what it needs for its first caller it needs once
        before = server.memory()
        dialled = part.ask({"do": "hold", **server.address, "callers": callers, "patience": patience})
        after = server.memory()
        in_use = server.in_use()
        spoke = part.ask({"do": "speak", "patience": TO_ANSWER})
        show(callers)
        held, answered = dialled["held"], spoke["answered"]
        memory = None if before is None or after is None or held < 2 else max(0, after - before) / held
        limit, why = "", ""
        if held < callers or answered < held:
            wrong = dialled["problem"] or spoke["problem"]
            limit, why = _stopped_by(dialled["limit"], wrong, server, in_use, files, callers)
        load.ask({"do": "drop"}, LONGEST)
        return HoldResult(one.name, callers, held, answered, dialled["seconds"], spoke["seconds"], memory, limit, why)


class _Part:
    """Asks the load for something, and shows how far it is."""

    def __init__(self, load: Apart, show: Callable[[int], None]) -> None:
        self.load, self.show = load, show

    def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        told = self.load.ask(job, LONGEST)
        while "progress" in told:
            self.show(told["progress"])
            told = self.load.hear(LONGEST)
        return told


def _stopped_by(
    limit: str, wrong: str, server: Server, in_use: tuple[int, int], files: int | None, callers: int
) -> tuple[str, str]:
    """Which limit stopped it, and in words: which process met it, and how to raise it."""
    more, said, (open_files, threads) = callers + 200, server.wrong(wrong), in_use
    if limit:
        met = f"the callers' process may open {files:,} files" if files and "descr" in limit else "the callers met it"
        how = HOW_TO_RAISE.get(limit, "").format(more=more)
        return limit, f"{met}: {how}" + (f"; the server {said}" if said else "")
    if server.killed:
        return "memory", f"{BY_THE_SYSTEM}: {HOW_TO_RAISE['memory']}"
    if "start new thread" in said or "start a thread" in said:
        return "threads", f"the server had {threads:,} of them: {HOW_TO_RAISE['threads']}"
    if "MemoryError" in said or "Cannot allocate memory" in said:
        return "memory", f"the server met it: {HOW_TO_RAISE['memory']}"
    if "too many file descriptors in select" in said:
        return "sockets of select()", f"the server met it: {HOW_TO_RAISE['sockets of select()']}"
    may_open = server.may_open()
    few = may_open is not None and open_files >= may_open - 8
    if few or "Too many open files" in said:
        met = f"the server's process may open {may_open or 0:,} files"
        return "descriptors", f"{met}: {HOW_TO_RAISE['descriptors'].format(more=more)}"
    return "the strategy", said or "it greeted, or answered, no more callers for some seconds"
