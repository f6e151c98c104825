"""An answer on trial: the learner's function called once, in a thread of its own, with a deadline.

Whatever the function raises, prints, leaves open or never ends, nothing of it is left after the trial.  Its calls are
recorded apart from the lesson's.
"""

from __future__ import annotations

import builtins
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from helpers.cells import is_learners, learners_only, line_of, route_output
from helpers.diagram import arguments
from helpers.gate import RUNNING, Actor, Wake, gate, poll
from helpers.recorded_socket import force_close, recorder
from helpers.recording import Call, Recording

#: seconds that an answer has for one case; every case is answered in milliseconds (but Windows asks again for two
#: seconds where a call is refused)
DEADLINE = 20.0 if sys.platform == "win32" else 3.0
SHOWN_CALLS = 12


class Trial:
    """`Trial(function, *args)` calls it and waits for it to return, to raise, or for the deadline.

    `result` is what it returned, `error` what it raised, `hung` says that it did neither, and where it was then; `took`
    is how long it ran, in seconds, by its own thread's clock: this one may be held up before and after.
    """

    latest: Trial | None = None

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self.hung = ""
        self.took = 0.0
        self.printed = ""
        self.told = ""  # its calls up to the fault, where the check has noted them: what follows is not its own doing
        self._function, self._args, self.deadline = function, args, DEADLINE
        self.actor = Actor("your function", ending=SystemExit)
        self.actor.keeps_log = True
        self.recording = Recording()
        self._ended = threading.Event()
        self._before, self._input, self._default = recorder.recording, builtins.input, socket.getdefaulttimeout()
        self._thread = threading.Thread(target=self._run, name="your function", daemon=True)
        self.actor.alive = self._thread.is_alive  # (its number is another's after that)
        Trial.latest = self

    def __enter__(self) -> Trial:
        route_output()
        try:
            recorder.recording, builtins.input = self.recording, self._refuse_input
            self._thread.start()
        except BaseException as problem:  # ■ may come at any line, and the `with` has not begun
            self.__exit__(type(problem))
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        try:
            if kind is None and not self.hung:
                self.wait()
        finally:  # (■ may come at any line)
            builtins.input = self._input
            recorder.recording = self._before
            socket.setdefaulttimeout(self._default)
        if not self._ended.is_set():
            gate.end(self.actor)
        for sock in list(recorder.sockets):
            if sock.end.role == self.actor.name:
                force_close(sock)
        gate.leave_behind(self.actor)

    def _refuse_input(self, prompt: object = "") -> str:
        if threading.current_thread() is not self._thread:
            return self._input(prompt)
        raise RuntimeError("input() asks nobody here: what your function needs are its arguments")

    def wait(self) -> None:
        """Wait for the function to end, until the deadline; then end it."""
        if not self._ended.wait(self.deadline):
            line = line_of(self.actor.thread)
            doing = f"was in {self.actor.wait.words}" if self.actor.wait else "was still running"
            self.hung = f"after {self.deadline:.0f} seconds it {doing}" + (f" ({line})" if line else "")
            gate.end(self.actor)
            self._ended.wait(0.3)
        self.printed = "".join(str(piece) for piece in self.actor.log)[:400]

    def rest(self, done: Callable[[], bool] = lambda: False, limit: float | None = None) -> str:
        """Let the function take what has come: return when it waits for more (in which call), has ended, or `done()`.

        The waits of a plain socket, and those with MSG_WAITALL, are not seen: then return after `limit` seconds, or,
        where it makes no recorded call, after a moment.
        """
        wake = Wake()
        until = time.monotonic() + (limit or (DEADLINE / 2 if self.actor.calls else 0.05))
        gate.watchers.append(wake)
        try:
            while not self._ended.is_set() and not done() and time.monotonic() < until:
                with gate.lock:
                    if self.actor.at_rest and self.actor.wait is not None:
                        return self.actor.wait.words
                poll([wake], [], 0.005)  # nobody tells of a wait that is not seen
                wake.drain()
            return ""
        finally:
            gate.watchers.remove(wake)

    def _run(self) -> None:
        gate.become(self.actor)
        self.actor.state = RUNNING
        began = time.monotonic()
        try:
            self.result = self._function(*self._args)
        except BaseException as error:  # (sys.exit() too)
            self.error = learners_only(error)
        self.took = time.monotonic() - began
        self._ended.set()
        gate.tell()

    def raised(self) -> str:
        """What it raised, for a person."""
        return raised(self.error) if self.error is not None else ""

    def unclosed(self) -> list[str]:
        """The sockets that the function made, or accepted, and never closed by a call of its own."""
        closed = {e.call.end for e in self.recording.events if e.call.name in ("close", "detach")}
        return [end.label for end in self.recording.ends if end.role == self.actor.name and end not in closed]

    def calls(self) -> str:
        """The calls that the function made, one a line."""
        if self.told:
            return self.told
        told = [_told(e.call) for e in self.recording.events if not e.waits and e.call.role == self.actor.name]
        if len(told) > SHOWN_CALLS:
            half = SHOWN_CALLS // 2
            told = [*told[:half], f"… {len(told) - 2 * half} more …", *told[-half:]]
        return "\n".join(told)


def raised(error: BaseException) -> str:
    """The error, for a person: its class, its words, and the line of the answer that it came from."""
    lines = [f for f in traceback.extract_tb(error.__traceback__) if is_learners(f.filename)]
    where = f" (line {lines[-1].lineno}: {lines[-1].line})" if lines else ""
    return f"{type(error).__name__}: {error}{where}"


def _told(call: Call) -> str:
    args = ", ".join(_brief(arg) for arg in call.args if call.name != "socket")
    if call.name in ("setsockopt", "shutdown"):
        args = arguments(call)  # SO_REUSEADDR, SHUT_WR: not their numbers
    subject = f"{call.end.label}." if call.end is not None and call.name != "socket" else ""
    if call.error is not None:
        ended = isinstance(call.error, SystemExit)
        came = " … and was ended here" if ended else f" raised {type(call.error).__name__}"
    elif call.receives or type(call.result) in (bytes, int):
        came = f" → {_brief(call.result)}"
    else:
        came = ""
    return f"{subject}{call.name}({args}){came}"


def _brief(value: Any) -> str:
    if isinstance(value, bytes) and getattr(value, "whole", len(value)) > 24:
        return f"{value[:20]!r}… ({getattr(value, 'whole', len(value))} bytes)"
    return repr(value)
