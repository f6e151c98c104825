"""A role's thread, and the cell in front that waits for it."""

from __future__ import annotations

import builtins
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from helpers.cells import Cell, keep_displays, line_of, value_shown
from helpers.gate import IDLE, READY, RUNNING, SHORT, Actor, Ended, Wake, gate, poll

ENDING = 0.4  #: seconds that a role has to end what it does, before it is left behind
AT_MOST = 3 * SHORT  #: seconds after which a cell comes back, whatever the roles do


class Role:
    """A role's thread, and the cell that it is at."""

    def __init__(self, name: str, shell: Any, namespace: dict[str, Any]) -> None:
        self.name, self.shell, self.namespace = name, shell, namespace
        self.actor = Actor(name, takes_turns=True, ending=Ended)
        self.actor.keeps_log = True
        self.cell: Cell | None = None
        self.asks: tuple[str, queue.SimpleQueue[Any]] | None = None  # an input() that a cell in front shall answer
        self._cells: queue.SimpleQueue[Cell | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        return self.cell is not None and not self.cell.done

    def start(self, cell: Cell) -> None:
        self.cell = cell
        self.actor.state = READY
        self._cells.put(cell)

    def _work(self) -> None:
        gate.become(self.actor)
        keep_displays(self.shell, self.actor.log)
        while True:
            try:
                cell = self._cells.get()
                if cell is None:
                    return
                self._run(cell)
            except Ended:  # it was meant for a cell that had ended meanwhile
                if self.busy and self.cell is not None and self.cell.error is None:
                    self._cells.put(self.cell)

    def _run(self, cell: Cell) -> None:
        error: BaseException | None = None
        try:
            gate.take(self.actor)
            value_shown(cell.run(self.namespace), self.shell, self.actor.log)
        except BaseException as problem:  # whatever it is, it ends this cell and nothing else
            error = problem
        cell.error, cell.done = error, True
        self.actor.ended = self.actor.lost
        gate.release(self.actor, IDLE)

    def doing(self) -> str:
        """What it is at, for a person: `waits in accept()`, `is busy (line 2: time.sleep(60))`, or nothing."""
        if not self.busy or self.cell is None:
            return ""
        wait = self.actor.wait
        if wait is not None:
            return f"waits in {wait.words}"
        return f"is busy ({self.line() or 'computing'})"

    def line(self) -> str:
        """The line of its cell that it is in, as `line 2: time.sleep(60)`."""
        return line_of(self.actor.thread)

    def end(self) -> bool:
        """End its wait or its code; False if it is still at it after `ENDING` seconds."""
        until = time.monotonic() + ENDING
        wake = Wake()
        gate.watchers.append(wake)
        try:
            if self.busy:
                gate.end(self.actor)
            while self.busy and (left := until - time.monotonic()) > 0:
                poll([wake], [], left)
                wake.drain()
            if not self.busy:
                gate.spare(self.actor)
            return not self.busy
        finally:
            gate.watchers.remove(wake)

    def dismiss(self) -> None:
        """Its thread ends, once its cell has."""
        self._cells.put(None)
        if not self.busy and threading.current_thread() is not self._thread:
            self._thread.join(1)


class Front:
    """The cell in front, while it waits for the roles to come to rest.  ■ (SIGINT) is noted, and ends its own role."""

    def __init__(self, roles: dict[str, Role], leave_behind: Callable[[Role], str]) -> None:
        self._roles, self._leave_behind = roles, leave_behind
        self._wake = Wake()
        self._interrupted = False
        self.notes: list[str] = []

    def __enter__(self) -> Front:
        gate.watchers.append(self._wake)
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._handler = signal.signal(signal.SIGINT, self._on_interrupt)
        self._input, builtins.input = builtins.input, self._ask
        return self

    def __exit__(self, *_: object) -> None:
        builtins.input = self._input
        if self._main:
            signal.signal(signal.SIGINT, self._handler)
        gate.watchers.remove(self._wake)

    def _on_interrupt(self, *_: object) -> None:
        self._interrupted = True
        self._wake.poke()

    def watch(self, role: Role | None) -> None:
        """Come back when all are quiet, or when what can't be seen has taken too long."""
        began = time.monotonic()
        while not gate.quiet():
            if self._interrupted:
                self._interrupted = False
                if role is None or not role.busy:
                    return  # the cell's own code has ended: there is nothing to interrupt
                if not role.end():
                    self.notes.append(self._leave_behind(role))
                    return
            self._answer()
            holder, now = gate.holder, time.monotonic()
            if holder is not None and holder.state == RUNNING and now - holder.since > SHORT:
                gate.take_away(holder)
            elif now - began > AT_MOST or (holder is None and not gate.order_moves() and now - began > SHORT):
                return
            poll([self._wake], [], 0.1)
            self._wake.drain()

    # input(): asked by a role's thread, answered by the notebook's

    def _ask(self, prompt: object = "") -> str:
        role = next((r for r in self._roles.values() if r.actor is gate.known()), None)
        if role is None:
            return self._input(prompt)
        replies: queue.SimpleQueue[Any] = queue.SimpleQueue()
        role.asks = (str(prompt), replies)
        self._wake.poke()
        reply = replies.get()
        if isinstance(reply, BaseException):
            raise reply
        return str(reply)

    def _answer(self) -> None:
        for role in self._roles.values():
            if role.asks is not None:
                (prompt, replies), role.asks = role.asks, None
                with self._interruptible():
                    try:
                        reply: Any = self._input(prompt)
                    except BaseException as problem:
                        reply = Ended("■ ended input()") if isinstance(problem, KeyboardInterrupt) else problem
                role.actor.since = time.monotonic()
                replies.put(reply)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        if not self._main:
            yield
            return
        ours = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, ours)
