"""The standard `select` module, whose `select()` waits at the gate: `from helpers import select`.

Only the waiting differs: what `select()` gives and raises is the standard one's (select(2)).  `poll`, `epoll` and
`kqueue` are the standard ones, not recorded; so are `selectors`, which are built on them.
"""

from __future__ import annotations

import select as _standard
import sys
from typing import TYPE_CHECKING, Any

from helpers.gate import gate
from helpers.recorded_socket import socket
from helpers.recorder import note_error, recorder
from helpers.recording import Call
from helpers.waits import Wait

globals().update({name: value for name, value in vars(_standard).items() if not name.startswith("__")})


def __dir__() -> list[str]:
    return dir(_standard)


if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


LONGEST = 86_400 * 365  #: seconds; what is longer, the standard one refuses


Found = tuple[list[Any], list[Any], list[Any]]


def select(rlist: Any, wlist: Any, xlist: Any, timeout: float | None = None, /) -> Found:
    """Wait until one of `rlist` can be read, one of `wlist` written, or `timeout` seconds have passed (None: wait).

    `xlist` is asked for exceptional conditions.  A role gives up the baton while it waits, and the wait can be ended
    like any other.
    """
    actor = gate.enter()
    call = Call(actor.name, None, "select", ([], timeout))
    try:
        reads, writes, others = (list(one) if hasattr(one, "__iter__") else one for one in (rlist, wlist, xlist))
        # not 0, nor what the standard one refuses
        waits = timeout is None or (isinstance(timeout, (int, float)) and 0 < timeout < LONGEST)
        found: Found = _standard.select(reads, writes, others, 0 if waits else timeout)
        ends = [one.end for one in (*reads, *writes) if isinstance(one, socket)]
        call.end, call.args = ends[0] if ends else None, ([end.label for end in ends], timeout)
        if waits and not any(found):
            wait = _wait_for(reads, writes, others, timeout)

            def begins() -> None:
                if actor.timeouts < 2 and not call.waited:
                    call.waited = True
                    recorder.recording.add(call, waits=True)

            while not any(found) and gate.wait(actor, wait, begins):
                found = _standard.select(reads, writes, others, 0)  # nothing, where another thread was quicker
    except BaseException as problem:
        note_error(call, problem)
        raise
    call.result = [one.end.label for part in found for one in part if isinstance(one, socket)]
    if any(found) or actor.timeouts < 3:  # a poll that finds nothing again and again is told twice
        recorder.recording.add(call)
    return found


def _wait_for(reads: list[Any], writes: list[Any], others: list[Any], timeout: float | None) -> Wait:
    watched = [_watched(one) for one in reads]
    if others and sys.platform == "linux":  # elsewhere, what is only exceptional doesn't end the wait
        exceptional = _standard.epoll()
        for fd in {_watched(one).fileno() for one in others}:
            exceptional.register(fd, _standard.EPOLLPRI | _standard.EPOLLET)
        watched.append(exceptional)
    return Wait("select()", watched, [_watched(one) for one in writes], timeout)


def _watched(one: Any) -> Any:
    return one if hasattr(one, "fileno") else _Descriptor(one)


class _Descriptor(int):
    """A descriptor itself, where an object that has one is wanted."""

    def fileno(self) -> int:
        return int(self)
