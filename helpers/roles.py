"""A role's thread, and the cell in front that waits for it."""

from __future__ import annotations

import builtins
import queue
import signal
import threading
import time
from collections.abc import Iterable
from contextlib import contextmanager
from typing import Any

from helpers.cells import Cell, Log, keep_displays, learners_only, line_of, route_output, value_shown
from helpers.gate import READY, Actor, Ended, gate

ENDING = 0.35  #: seconds that a role has to end what it does, before it is left behind
SAID = 200  #: characters of what a role has said that is still to be written


class Role:
    """A role's thread, and the cell that it is at."""

    def __init__(self, name: str, shell: Any, namespace: dict[str, Any]) -> None:
        self.name, self.shell, self.namespace = name, shell, namespace
        self.actor = Actor(name, takes_turns=True, ending=Ended)
        self.actor.log, self.actor.keeps_log = Log(), True
        self.cell: Cell | None = None
        self.told = 0  # how many calls it had made when a cell last wrote what it does
        self.asks: tuple[str, queue.SimpleQueue[Any]] | None = None  # an input() that a cell in front shall answer
        self._cells: queue.SimpleQueue[Cell | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Has it a cell that has not ended?"""
        return self.cell is not None and not self.cell.done

    @property
    def news(self) -> bool:
        """Has it gone on to another call, or failed, since a cell last wrote what it does?"""
        cell = self.cell
        failed = cell is not None and cell.error is not None and not cell.raised and not cell.told
        return failed or (self.busy and self.actor.calls != self.told)

    def start(self, cell: Cell) -> None:
        """Its thread runs `cell` as soon as it gets the baton."""
        self.cell = cell
        self.actor.state, self.actor.ended = READY, False
        self._cells.put(cell)
        gate.nudge()

    def _work(self) -> None:
        keep_displays(self.shell, self.actor.log)
        while (cell := self._cells.get()) is not None:
            self._run(cell)

    def _run(self, cell: Cell) -> None:
        problem = gate.perform(self.actor, lambda: value_shown(cell.run(self.namespace), self.shell, self.actor.log))
        if self.actor.lost:
            return
        if isinstance(problem, SystemExit):
            words = f"{problem.code}\n" if isinstance(problem.code, str) else ""
            self.actor.log.append(f"{words}sys.exit() ended this cell; the role and the kernel live on\n")
            cell.raised = True
        cell.error = problem and learners_only(problem)
        cell.done = True
        gate.release(self.actor)

    def doing(self) -> str:
        """What it is at, for a person: `waits in accept()`, `is busy (line 2: time.sleep(60))`, or nothing."""
        wait = self.actor.wait
        if not self.busy:
            return ""
        return f"waits in {wait.words}" if wait is not None else f"is busy ({self.line() or 'computing'})"

    def now(self) -> dict[str, Any]:
        """What it is at, since when it waits, what it says that no cell has written yet, and what it failed with."""
        cell, wait = self.cell, self.actor.wait
        error = cell.error if cell is not None and not cell.raised else None
        return {
            "name": self.name,
            "words": self.doing() or ("failed" if error is not None else "has no cell to run"),
            "since": wait.began if wait is not None and self.busy else None,
            "said": self.actor.log.last(SAID),
            "error": f"{type(error).__name__}: {error}" if error is not None else "",
        }

    def line(self) -> str:
        """The line of its cell that it is in, as `line 2: time.sleep(60)`."""
        return line_of(self.actor.thread)

    def end(self) -> bool:
        """End its wait or its code; False if it is still at it after `ENDING` seconds."""
        for gently, limit in ((True, 0.05), (False, ENDING / 2), (False, ENDING / 2)):
            gate.end(self.actor, gently=gently)
            gate.until(lambda: not self.busy, limit)
        return not self.busy

    def dismiss(self) -> None:
        """Its thread ends, once its cell has."""
        self._cells.put(None)
        if not self.busy and threading.current_thread() is not self._thread:
            self._thread.join(1)


class Front:
    """The cell in front, while it waits for the roles to come to rest; ■ (SIGINT) is noted, and ends its own `role`."""

    def __init__(self, roles: Iterable[Role], role: Role | None = None) -> None:
        self._roles, self._role = list(roles), role
        self._interrupted, self._limit = False, float("inf")
        self.given_up = False  # did ■ find a role that can't be ended?

    def __enter__(self) -> Front:
        route_output()
        in_main = threading.current_thread() is threading.main_thread()
        self._signals = in_main and signal.getsignal(signal.SIGINT) is not None  # None: not Python's to put back
        if self._signals:
            self._handler = signal.signal(signal.SIGINT, self._on_interrupt)
        self._input, builtins.input = builtins.input, self._ask
        return self

    def __exit__(self, *_: object) -> None:
        builtins.input = self._input
        if self._signals:
            signal.signal(signal.SIGINT, self._handler)
        self._answer(EOFError("input() is answered only while its cell is in front"))

    def _on_interrupt(self, *_: object) -> None:
        self._interrupted = True
        gate.tell()

    def watch(self) -> None:
        """Come back when all are quiet, or when what can't be seen has taken too long."""
        gate.settle(self._look)

    def _look(self) -> bool:
        """Do what cannot wait until all are quiet; True: come back now."""
        if self._interrupted:
            self._interrupted = False
            role = self._role
            with gate.lock:
                at_it = role is not None and role.busy and not role.actor.at_rest
            if role is None or not at_it:
                return True  # the cell's own code has ended, or waits for others: there is nothing to interrupt
            self.given_up = not role.end()
            self._limit = time.monotonic() + 0.1  # for what the others do about it
        self._answer()
        return time.monotonic() > self._limit

    # input(): asked by a role's thread, answered by the notebook's

    def _ask(self, prompt: object = "") -> str:
        role = next((r for r in self._roles if r.actor is gate.known()), None)
        if role is None:
            return self._input(prompt)
        replies: queue.SimpleQueue[Any] = queue.SimpleQueue()
        role.asks = (str(prompt), replies)
        gate.tell()
        reply = replies.get()
        if isinstance(reply, BaseException):
            raise reply
        return str(reply)

    def _answer(self, problem: BaseException | None = None) -> None:
        for role in self._roles:
            if role.asks is not None:
                (prompt, replies), role.asks = role.asks, None
                replies.put(problem or self._reply(prompt))
                role.actor.since = time.monotonic()

    def _reply(self, prompt: str) -> Any:
        with self._interruptible():
            try:
                return self._input(prompt)
            except KeyboardInterrupt:
                return Ended("■ ended input()")
            except BaseException as problem:
                return problem

    @contextmanager
    def _interruptible(self) -> Any:
        ours = signal.signal(signal.SIGINT, signal.default_int_handler) if self._signals else None
        try:
            yield
        finally:
            if self._signals:
                signal.signal(signal.SIGINT, ours)
