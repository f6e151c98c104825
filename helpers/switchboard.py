"""The switchboard: callers, the kernel's queue and the server's sockets, live, with buttons to dial and to hang up.

It shows what the record, the gate and the operating system tell (see `desk`), never what should happen.  A thread
watches: it looks when something happens at the gate or in the record, at most 20 times a second, and else now and then,
as bytes may come from elsewhere; only sections that have changed go to the page.  Its buttons move scripted callers,
each in a thread of its own, so that the kernel's main thread never waits for them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from helpers import callers
from helpers.board import SECTIONS, Board, Entry
from helpers.callers import Caller
from helpers.desk import Desk
from helpers.diagram import clip
from helpers.gate import RUNNING, SHORT, Wake, gate, poll
from helpers.kernel_view import Source
from helpers.recording import Endpoint, Recording

FASTEST, SLOWEST = 0.05, 1.0  #: seconds between two looks: while things happen, and while nothing does
SHARE, SAVED = 1 / 15, 0.2  #: of a core, that the looks may take in the long run; seconds of it that are saved up
HEARS = 0.8  #: seconds after which a caller takes what has come for it: so long it is seen unread
CALLERS = 200  #: so many that were dialled here may be on the line at a time
HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  #: who listens at every address is dialled at this machine's own
ACTS = {"dial": "dials", "silent": "dials, and will say nothing", "say": "says a line", "hang up": "hangs up",
        "reset": "hangs up rudely"}  # fmt: skip


class Switchboard(anywidget.AnyWidget):
    """The live view of one stage's, or one server's, sockets.

    `listener` is dialled by its buttons; if there is none, the newest listener is.
    """

    _esm = Path(__file__).with_suffix(".js")
    _css = Path(__file__).with_suffix(".css")
    callers: Any = traitlets.List().tag(sync=True)
    kernel: Any = traitlets.List().tag(sync=True)
    server: Any = traitlets.List().tag(sync=True)
    wires: Any = traitlets.List().tag(sync=True)
    roles: Any = traitlets.List().tag(sync=True)
    latest: Any = traitlets.List().tag(sync=True)
    told = traitlets.Unicode("").tag(sync=True)  # what came of the last button
    over = traitlets.Bool(False).tag(sync=True)  # the stage has ended, and with it every call

    def __init__(
        self,
        recording: Recording,
        doing: Callable[[], Iterable[Entry]] = tuple,
        learn_names: Callable[[], None] = lambda: None,
        listener: Endpoint | None = None,
        source: Source | None = None,
    ) -> None:
        self._recording, self._doing, self._learn_names = recording, doing, learn_names
        self._listener, self._source = listener, source
        self._desk = self._new_desk()
        self._lines: dict[str, int] = {}  # how many lines each caller has been told to say
        self._silent: set[str] = set()
        self._mine: list[Caller] = []  # the callers that were dialled here
        self._called: dict[Caller, float] = {}  # since when there has been something for them to hear
        self._failed = ""  # how the last look did
        self.updates = 0  # how often something was sent to the page
        self._sending = threading.Lock()
        self._ends, self._wake, self._poked = threading.Event(), Wake(), False
        self._thread = threading.Thread(target=self._watch, name="switchboard", daemon=True)
        super().__init__(**self._sections(self._desk.look()))
        self.on_msg(self._asked)
        gate.watchers.append(self._wake)
        gate.at_end.append(self._end)
        recording.watchers.append(self._poke)
        self._thread.start()

    def _new_desk(self) -> Desk:
        return Desk(self._recording, self._doing, self._learn_names, self._source)

    def __repr__(self) -> str:
        return str(self.board())

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[Any, Any], dict[Any, Any]] | None:
        board = self.board()
        bundle = super()._repr_mimebundle_(**options)
        data, metadata = bundle if bundle is not None else ({}, {})
        return {**data, "text/plain": str(board), "image/svg+xml": board.svg()}, metadata

    def board(self) -> Board:
        """The board as it is now, at rest: what is passing from one state to the next is given a moment."""
        return self._new_desk().look(settle=0.25)

    # ------------------------------------------------------------------ watching

    def _poke(self) -> None:
        if not self._poked:
            self._poked = True
            self._wake.poke()

    def _watch(self) -> None:
        pause, credit, before = FASTEST, SAVED, time.monotonic()
        while not self._ends.is_set():
            self._poked = False
            began = time.thread_time()
            pause = FASTEST if self._turn() else min(2 * pause, SLOWEST)
            now, cost = time.monotonic(), time.thread_time() - began
            credit, before = min(SAVED, credit + SHARE * (now - before)) - cost, now
            if self._ends.wait(max(FASTEST, -credit / SHARE)):
                break
            by_itself = self._desk.outside or self._desk.lingers or gate.holder is not None
            poll([self._wake], [], min(pause, HEARS / 4) if self._called else pause if by_itself else None)
            self._wake.drain()

    def _turn(self) -> bool:
        """One look.  If it fails, the board says so for as long as that lasts, and goes on trying."""
        try:
            changed = self._update()
            self._let_them_hear()
            self._let_go()
        except Exception as problem:
            self._failed = clip(f"The board can't look: {type(problem).__name__}: {problem}", 160)
            with suppress(Exception):  # the line to the page may be what fails
                self._show(told=self._failed)
            return False
        if self._failed:
            failed, self._failed = self._failed, ""
            if self.told == failed:
                self._show(told="")
        return changed

    def _update(self) -> bool:
        """Look, and send what has changed."""
        sections = self._sections(self._desk.look())
        changed = {name: entries for name, entries in sections.items() if entries != getattr(self, name)}
        if changed:
            self._show(**changed)
        return bool(changed)

    def _sections(self, board: Board) -> dict[str, list[Entry]]:
        for card in board.callers:
            card["silent"] = card["name"] in self._silent
        return board.sections()

    def _show(self, **traits: Any) -> None:
        with self._sending, self.hold_sync():
            for name, value in traits.items():
                setattr(self, name, value)
            self.updates += 1

    def _let_them_hear(self) -> None:
        """A caller that was dialled here takes what the server says to it, after it has been seen unread."""
        now = time.monotonic()
        for caller in list(self._mine):
            if not caller.is_on_the_line:
                self._mine.remove(caller)
                self._called.pop(caller, None)
            elif caller.name not in self._silent and caller.is_called:
                if now - self._called.setdefault(caller, now) >= HEARS:
                    caller.tell(Caller.hear)
            else:
                self._called.pop(caller, None)

    def _let_go(self) -> None:
        """Who has the baton for too long, in code that the gate can't see, loses it, though no cell is in front."""
        holder = gate.holder
        if holder is not None and holder.state == RUNNING and time.monotonic() - holder.since > SHORT:
            gate.settle(iter([False, True]).__next__)

    # ------------------------------------------------------------------ buttons

    def _asked(self, _: Any, content: Any, buffers: Any = None) -> None:
        """A message of the page: a button, or the question what time it is here."""
        if isinstance(content, dict):
            if content.get("do") == "clock":
                self.send({"clock": time.time()})
            else:
                self.act(str(content.get("do")), str(content.get("who") or ""), str(content.get("to") or ""))
                self.send({"done": True})

    def act(self, do: str, who: str = "", to: str = "") -> None:
        """Do what a button says: `dial`, `silent`, `ten`, or, with the caller named `who`, `say`, `hang up`, `reset`.

        If there is no such caller, it is the newest; who is dialled is the listener with the id `to`, or the newest.
        It comes back at once: callers have threads of their own.
        """
        if self._ends.is_set():
            return
        try:
            told = self._dial(do, to) if do in ("dial", "silent", "ten") else self._move(do, who)
        except OSError as problem:  # too many files are open
            told = f"That did not work: {problem}"
        self._show(told=told)

    def _dial(self, do: str, to: str) -> str:
        there = self._desk.listeners()
        chosen = [end for end in there if f"s{end.number}" == to or end is self._listener]
        if not (chosen or there) or (self._listener is not None and not chosen):
            return "Nobody listens: there is nobody to dial."
        end, count = (chosen or there)[-1], 10 if do == "ten" else 1
        if len(self._mine) + count > CALLERS:
            return f"{len(self._mine)} callers are on the line: some must hang up first."
        host, port = end.local[:2]
        new = [Caller((HERE.get(host, host), port), _stay, stays=True) for _ in range(count)]
        self._mine += new
        self._silent |= {caller.name for caller in new} if do == "silent" else set()
        callers.begin(new)
        if count == 1:
            return f"{new[0].name} {ACTS[do]}"
        first, last = (caller.name.removeprefix("caller ") for caller in (new[0], new[-1]))
        return f"callers {first} to {last} dial"

    def _move(self, do: str, who: str) -> str:
        on_the_line = {name: caller for name, caller in callers.known().items() if caller.is_on_the_line}
        if do not in ACTS or not on_the_line:
            return "There is no caller on the line: dial first."
        name = who if who in on_the_line else next(reversed(on_the_line))
        caller = on_the_line[name]
        if do == "say":
            if name in self._silent:
                return f"{name} is silent: it never says a word."
            self._lines[name] = self._lines.get(name, 0) + 1
            line = f"line {self._lines[name]} of {name}\n".encode()
            caller.tell(lambda caller: _say(caller, line))
        elif do == "reset":
            caller.tell(callers.leave_rudely, at_once=True)
        else:
            caller.tell(_leave, at_once=True)
        return f"{name} {ACTS[do]}"

    # ------------------------------------------------------------------ ending

    def _end(self) -> None:
        self._stop()
        self._show(over=True)

    def _stop(self) -> None:
        self._ends.set()
        self._wake.poke()
        if self._wake in gate.watchers:
            gate.watchers.remove(self._wake)
        if self._end in gate.at_end:
            gate.at_end.remove(self._end)
        if self._poke in self._recording.watchers:
            self._recording.watchers.remove(self._poke)
        if threading.current_thread() is not self._thread and self._thread.is_alive():
            self._thread.join(SLOWEST)

    def close(self) -> None:
        """Take the view away, and stop watching; the callers that were dialled here stay on the line."""
        if hasattr(self, "_thread"):  # else it was never made
            self._stop()
        super().close()


def _stay(caller: Caller) -> None:
    pass


def _say(caller: Caller, line: bytes) -> None:
    if caller.connected and caller.is_on_the_line:
        caller.say(line)


def _leave(caller: Caller) -> None:
    """Who hangs up with bytes unheard sends a reset: so it hears them first."""
    try:
        caller.hear()
    except OSError:  # it was reset already
        pass
    callers.leave(caller)


assert set(SECTIONS) <= set(Switchboard.class_trait_names())
