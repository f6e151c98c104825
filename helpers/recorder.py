"""How a call comes into the record: who made it, under which name of the socket, and what it raised.

`recorder.recording` is where the calls of this process go at present: a stage's record, or an exercise's own.
"""

from __future__ import annotations

import copy
import socket
import sys
import weakref
from types import FrameType
from typing import Any

from helpers.gate import gate
from helpers.recording import Call, Endpoint, Recording, shorten

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
    if end is not None and end.name is None and end.looked_for < LOOKS:
        end.looked_for += 1
        end.name = _name_in(sys._getframe(1), end)


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
    names = {name: value for name, value in list(frame.f_locals.items()) if isinstance(value, socket.socket)}
    if frame.f_locals is not frame.f_globals and sys.version_info < (3, 13):
        for name in names:  # a function's are a copy, which would keep its sockets alive
            frame.f_locals.pop(name)
    own = (name for name, value in names.items() if getattr(value, "end", None) is end)
    return next((name for name in own if name != "self" and not name.startswith("_")), None)
