"""The load on a server: many callers in one loop of `selectors`, in a process of their own (see `apart.py`).

Jobs are dicts, `{"do": "talk", "host": …, "port": …, "callers": …}`; what they give back are dicts of plain numbers,
and in words what the server did wrong (`problem`), or which limit of the machine was met (`limit`).
"""

from __future__ import annotations

import heapq
import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from helpers.racing.apart import pin, raise_limit
from helpers.racing.exchange import ROOM, Caller, Exchange, Limit, Wrong, clock


class Talk(Exchange):
    """Callers who talk for a time: each says its next line `pause` seconds after the answer to the last.

    After `lines` lines a caller says quit, and dials again; None: it talks to the end.
    """

    alone = False  #: has this process a CPU of its own?

    def __init__(self, host: str, port: int, callers: int, lines: int | None = None, pause: float = 0.0) -> None:
        super().__init__(host, port, callers)
        self.lines, self.pause = lines, pause
        self.thinking: list[tuple[float, int]] = []  # when it speaks, and its number
        self.known = self.answers = self.total = 0
        self.measures = False
        self.began = clock()
        for caller in self.callers:
            caller.since = self.began

    def speak(self, caller: Caller) -> None:
        """It says its next line."""
        self.say(caller, caller.line, b"%d %b" % (caller.count + 1, caller.line))

    def turn(self, until: float) -> None:
        """Deal with what has come, or wait for it."""
        while self.undialled and self.in_line < ROOM:
            self.dial(self.undialled.popleft())
        now = clock()
        while self.thinking and self.thinking[0][0] <= now:
            caller = self.callers[heapq.heappop(self.thinking)[1] - 1]
            caller.since = now
            self.speak(caller)
        until = min(until, self.thinking[0][0]) if self.thinking else until
        for key, _ in self.selector.select(max(0.0, until - now)):
            caller = key.data
            if self.hear(caller):
                self.go_on(caller)

    def go_on(self, caller: Caller) -> None:
        """It has heard what it expected: the greeting, an answer, `bye`, or the end."""
        if caller.expected is None:
            self.in_line -= 1
            self.speak(caller)
        elif caller.expected == b"bye\n":
            caller.expected = b""
        elif not caller.expected:
            self.hang_up(caller)
            caller.since = clock()
            self.undialled.append(caller)
        else:
            now = clock()
            caller.count += 1
            self.total += 1
            if self.measures and caller.since is not None:
                caller.waits.append(now - caller.since)
                self.answers += 1
            if not caller.known:
                caller.known = True
                self.known += 1
            caller.since = None if self.pause else now
            if caller.count == self.lines:
                caller.since = None
                self.say(caller, b"quit\n", b"bye\n")
            elif self.pause:
                heapq.heappush(self.thinking, (now + self.pause, caller.number))
            else:
                self.speak(caller)

    def measure(self, warm: float, newcomers: float, seconds: float, patience: float) -> dict[str, Any]:
        """Warm up, for `warm` seconds and until all were answered once, or nobody new was for `newcomers` seconds; then
        count for `seconds`.  For the first answer `patience` seconds are given: a busy machine may run the server a
        moment later only."""
        ends, last = self.began + warm, self.began + 10 * newcomers + patience
        new = ends
        while True:
            known = self.known
            until = ends if known == len(self.callers) else min(last, max(ends, new)) if known else last
            if clock() >= until:
                break
            self.turn(until)
            if self.known > known:
                new = clock() + newcomers
        began, busy, self.measures = clock(), busy_seconds(self.alone), True
        until = began + seconds
        while clock() < until:
            self.turn(until)
        while self.known and not self.answers and clock() < until + patience:
            self.turn(until + patience)
        took = clock() - began
        busy = min(took, busy_seconds(self.alone) - busy)  # the system may count a moment twice, at either end
        return self.counted(began + took) | {"seconds": took, "busy": busy / took}

    def counted(self, now: float) -> dict[str, Any]:
        """What the callers lived through.  Each counts the same in the waiting times, however often it was answered;
        one that still waits counts with that, where it is its longest wait: `open` says that it would be longer."""
        waits: list[tuple[float, float, bool]] = []
        for caller in self.callers:
            still = now - caller.since if caller.since is not None else 0.0
            own = [(wait, False) for wait in caller.waits]
            if still > max(caller.waits, default=0.0):
                own.append((still, True))
            waits += [(wait, 1 / len(own), is_open) for wait, is_open in own]
        p50, open50 = weighted_percentile(waits, 0.50)
        p99, open99 = weighted_percentile(waits, 0.99)
        return {
            "callers": len(self.callers), "served": self.known, "answers": self.answers, "total": self.total,
            "greeted": sum(caller.expected is not None for caller in self.callers),
            "p50": p50, "p50_open": open50, "p99": p99, "p99_open": open99,
        }  # fmt: skip


def weighted_percentile(values: Iterable[tuple[float, float, bool]], share: float) -> tuple[float, bool]:
    """Of (value, weight, is open): the least value that, with those below it, has `share` of all the weight."""
    ordered = sorted(values)
    left = share * sum(weight for _, weight, _ in ordered)
    for value, weight, is_open in ordered:
        left -= weight
        if left <= 1e-9:
            return value, is_open
    return 0.0, False


def busy_seconds(alone: bool) -> float:
    """Seconds for which this process ran or, where it should have a CPU for itself `alone`, waited for that."""
    try:
        if not alone:
            return time.process_time()
        ran, waited, _ = Path("/proc/self/schedstat").read_text().split()
        return (int(ran) + int(waited)) / 1e9
    except (OSError, ValueError):
        return time.process_time()


class Hold(Exchange):
    """Callers who dial, and stay; later each says one line.  Few of them are listened to at a time."""

    def __init__(self, host: str, port: int, callers: int) -> None:
        super().__init__(host, port, callers)
        self.held: list[Caller] = []
        self.problem = ""

    def dial_all(self, patience: float, tell: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Dial, until all are greeted, a limit is met, or nobody was for `patience` seconds, which are not counted."""
        limit = ""
        began = last = told = clock()
        while (self.undialled or self.in_line) and clock() - last < patience:
            try:
                while self.undialled and self.in_line < ROOM:
                    self.dial(self.undialled.popleft())
            except (Limit, Wrong) as stopped:
                limit = str(stopped) if isinstance(stopped, Limit) else ""
                self.problem = self.problem or ("" if limit else str(stopped))
                self.undialled.clear()
            for caller, heard in self.heard(patience if self.in_line else 0):
                self.in_line -= 1
                last = clock()
                if heard:
                    caller.expected = b""
                    self.held.append(caller)
                else:
                    self.undialled.clear()
            if clock() - told > 0.1:
                told = clock()
                tell({"progress": len(self.held)})
        for caller in self.callers:
            if caller.expected is None:
                self.hang_up(caller)  # it is in line yet, and not to be greeted while the others speak
        return {"held": len(self.held), "limit": limit, "problem": self.problem, "seconds": last - began}

    def heard(self, patience: float) -> Iterator[tuple[Caller, bool]]:
        """Of those listened to, who has heard what it should, and who (False) has not: its call is ended."""
        for key, _ in self.selector.select(patience):
            try:
                if self.hear(key.data):
                    self.selector.unregister(key.data.sock)
                    yield key.data, True
            except Wrong as wrong:
                self.problem = self.problem or str(wrong)
                self.hang_up(key.data)
                yield key.data, False

    def speak_all(self, patience: float) -> dict[str, Any]:
        """Each of those held says a line, and hears the answer; `seconds` until the last one heard it."""
        silent, waiting, answered = deque(self.held), 0, 0
        began = last = clock()
        while (silent or waiting) and clock() - last < patience:
            while silent and waiting < ROOM:
                caller = silent.popleft()
                assert caller.sock is not None
                try:
                    self.say(caller, caller.line, b"1 " + caller.line)
                except Wrong as wrong:
                    self.problem = self.problem or str(wrong)
                    continue
                self.selector.register(caller.sock, selectors.EVENT_READ, caller)
                waiting += 1
            for _, heard in self.heard(patience if waiting else 0):
                last = clock()
                waiting -= 1
                answered += heard
        return {"answered": answered, "problem": self.problem, "seconds": last - began}

    def drop(self) -> None:
        """End all calls by a reset: after an orderly end as many sockets would stand in TIME_WAIT, for a minute."""
        for caller in self.callers:
            if caller.sock is not None:
                try:
                    caller.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                except OSError:  # it is reset already (macOS tells)
                    pass
            self.hang_up(caller)


def work(next_job: Callable[[], dict[str, Any]], tell: Callable[[dict[str, Any]], object]) -> None:
    """Do jobs: `talk` measures; `hold` dials and stays, then `speak`, then `leave` or `drop`."""
    may_open = raise_limit()
    exchange: Exchange | None = None
    while True:
        job = next_job()
        match job.pop("do"):
            case "start":
                pin(job["cpus"])
                Talk.alone = bool(job["cpus"])
                tell({"descriptors": may_open})
            case "talk":
                tell(talk(**job))
            case "hold":
                patience = job.pop("patience")
                exchange = Hold(**job)
                tell(exchange.dial_all(patience, tell))
            case "speak":
                assert isinstance(exchange, Hold)
                tell(exchange.speak_all(**job))
            case "drop":
                assert isinstance(exchange, Hold)
                exchange.drop()
                tell({})
            case "leave":
                if exchange is not None:
                    exchange.leave()
                exchange = None
                tell({})


def talk(how_long: dict[str, float], **how: Any) -> dict[str, Any]:
    """Measure once; whatever happens, all callers have hung up after it."""
    exchange = Talk(**how)
    found: dict[str, Any] = {"problem": "", "limit": ""}
    try:
        found |= exchange.measure(**how_long)
    except Wrong as wrong:
        found["problem"] = str(wrong)
    except Limit as limit:
        found["limit"] = str(limit)
    finally:
        exchange.leave()
    return found
