"""How a socket's call is made, so that it comes into the record and its wait can be ended.

`recorder.recording` is where the calls of this process go at present: a stage's record, or an exercise's own.
"""

from __future__ import annotations

import copy
import inspect
import socket
import sys
import weakref
from collections.abc import Callable
from operator import index
from types import FrameType
from typing import Any, TypeVar

from helpers.gate import Actor, gate
from helpers.recording import Call, Endpoint, Recording, shorten
from helpers.waits import Wait

Result = TypeVar("Result")
AT_ONCE = int(getattr(socket, "MSG_DONTWAIT", 0))  # Windows has none
WHOLE = int(getattr(socket, "MSG_WAITALL", 0))
PATIENCE = 3.0  #: seconds that a plain cell waits without a word
LOOKS = 16  #: so many calls of a socket look for the name that the program has for it


class Recorder:
    """Where the calls of this process go, and which recorded sockets live."""

    def __init__(self) -> None:
        self.recording = Recording()
        self.living: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()

    @property
    def sockets(self) -> list[Any]:
        """The recorded sockets that somebody still holds."""
        return [sock for living in self.living.valuerefs() if (sock := living()) is not None]


recorder = Recorder()


def note(call: Call) -> None:
    """The call has returned, or raised."""
    recorder.recording.add(call)
    end = call.end
    if end is not None and end.name is None:
        learn_name(end)


def learn_name(end: Endpoint | None) -> None:
    """Find out what the code that makes a call names the socket, unless that is known."""
    if end is not None and end.name is None and end.looked_for < LOOKS:
        end.looked_for += 1
        end.name = _name_in(sys._getframe(1), end)


def speak_up(wait: Wait) -> None:
    """A plain cell that waits for long has perhaps lost its first line: nobody but ■ can end that."""
    left = wait.left()
    if (left is None or left > PATIENCE) and not wait.ready(PATIENCE):
        print(f"this plain cell waits in {wait.words}: end it with ■ (should it begin with %%server or %%client?)")


def note_error(call: Call, problem: BaseException) -> None:
    """The call raised; the record keeps a copy of what, since the exception's frames would keep sockets alive."""
    try:
        call.error = copy.copy(problem).with_traceback(None)
    except Exception:  # an exception that can't be copied
        call.error = Exception(str(problem))
    actor = gate.current()
    call.role, call.args = call.role or actor.name, shorten(call.args)
    if not actor.lost and not (actor.timeouts > 2 and isinstance(problem, TimeoutError)):  # a poll's are told twice
        note(call)


def _name_in(frame: FrameType | None, end: Endpoint) -> str | None:
    """What the code that made the call names the socket: the first variable of it that refers to it."""
    while frame is not None and frame.f_globals.get("__name__") in ("socket", "helpers.recorded_socket", __name__):
        frame = frame.f_back
    if frame is None:
        return None
    variables = frame.f_locals
    names = {name: value for name, value in list(variables.items()) if isinstance(value, socket.socket)}
    if frame.f_code.co_flags & inspect.CO_OPTIMIZED and sys.version_info < (3, 13):
        # a function's are a copy, which would keep its sockets alive (an exception does it by its frames)
        for name in [name for name, value in variables.items() if isinstance(value, (socket.socket, BaseException))]:
            variables.pop(name)
    own = (name for name, value in names.items() if getattr(value, "end", None) is end)
    return next((name for name in own if name != "self" and not name.startswith("_")), None)


class waiting_socket(socket.socket):
    """A socket whose calls are made so: `_simply` where they never wait, `_perform` where they may."""

    __slots__ = ("_patience", "end", "owner")

    end: Endpoint
    owner: object

    def _simply(
        self, name: str, args: tuple[Any, ...], operate: Callable[..., Result], actor: Actor | None = None
    ) -> Result:
        call = Call((actor or gate.enter()).name, self.end, name, shorten(args))
        try:
            call.result = result = operate(*args)
        except Exception as problem:
            note_error(call, problem)
            raise
        note(call)
        return result

    # a call on a socket of its own takes the time-out away for a moment, so the learner's is kept here
    def _be_patient(self, value: Any, setter: Callable[[Any], None] | None = None) -> None:
        with self.end.turn:
            (setter or super().settimeout)(value)
            self._patience = super().gettimeout()

    def gettimeout(self) -> float | None:
        return self._patience

    def getblocking(self) -> bool:
        return self._patience != 0

    timeout = property(gettimeout, doc=socket.socket.timeout.__doc__)

    def _perform(self, call: Call, operate: Callable[[int], Result], flags: int = 0) -> Result:
        """`operate(flags)`; while nothing is ready, wait at the gate for as long as the socket's time-out says."""
        actor = gate.enter()
        call.role = actor.name
        patience, turn, wait, tries = self._patience, self.end.turn, None, 0
        try:
            if flags.__class__ is not int:
                flags = index(flags)
            once = patience == 0 or (patience is None and flags & AT_ONCE)
            while True:
                try:
                    if not once and ((flags & WHOLE and patience is None and call.name[0] == "r") or tries > 9):
                        return operate(flags)  # waits in the kernel, out of sight
                    with turn:
                        if once:
                            return operate(flags)
                        if patience is None and AT_ONCE and call.name != "accept":
                            return operate(flags | AT_ONCE)
                        return self._at_once(operate, flags)
                except BlockingIOError:
                    if once:
                        raise
                except OSError:  # with a time-out, the standard one tries only when the socket is ready
                    if not patience or self._wait_for(call).ready():
                        raise
                if wait is None:
                    wait = self._wait_for(call)
                elif wait.left() == 0:  # sendall() gets on, but too slowly
                    raise TimeoutError("timed out")
                self._await(actor, call, wait)
                tries += not self.end.stream and call.name[0] == "s"  # poll(2) sees no receiver's full queue
        except BaseException as problem:
            note_error(call, problem)
            raise

    def _quickly(
        self, call: Call, operate: Callable[..., Any], argument: Any, flags: int, count: Callable[[Call, int], None]
    ) -> Any:
        """What most calls are: no flags, no time-out, and nothing to wait for.  None, where it is not so."""
        if flags.__class__ is not int or flags or self._patience is not None or not AT_ONCE:
            return None
        call.role = gate.enter().name
        try:
            with self.end.turn:
                result = operate(self, argument, AT_ONCE)
                count(call, result if result.__class__ is int else len(result))
                return result
        except BlockingIOError:
            return None
        except BaseException as problem:
            note_error(call, problem)
            raise

    def _at_once(self, operate: Callable[[Any], Result], argument: Any) -> Result:
        """`operate(argument)` without waiting, in the socket's turn: BlockingIOError if nothing is ready."""
        try:
            super().settimeout(0)
            return operate(argument)
        finally:
            try:
                super().settimeout(self._patience)
            except OSError:  # it is closed
                pass

    def _wait_for(self, call: Call) -> Wait:
        words, end = f"{call.name}()", self.end
        if call.name.startswith("send"):
            return Wait(words, [], [self], self._patience)
        return Wait(words, [self], [], self._patience, lambda: end.expects, end.doubt)

    def _await(self, actor: Actor, call: Call, wait: Wait) -> None:
        def begins() -> None:
            if not call.waited and actor.timeouts < 2:
                call.waited = True
                recorder.recording.add(call, waits=True)

        learn_name(self.end)
        if actor.name == "notebook":
            speak_up(wait)
        if not gate.wait(actor, wait, begins):
            raise TimeoutError("timed out")
