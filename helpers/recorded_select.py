"""The standard `select` module, whose `select()` waits at the gate: `from helpers import select`.

Only the waiting differs: what `select()` gives and raises is the standard one's (select(2)).  `poll`, `epoll` and
`kqueue` are the standard ones, not recorded; so are `selectors`, which are built on them.
"""

from __future__ import annotations

import select as _standard
from collections.abc import Sequence
from typing import Any

from helpers.gate import Wait, gate
from helpers.recorded_socket import recorder, socket
from helpers.recording import Call

globals().update({name: value for name, value in vars(_standard).items() if not name.startswith("__")})
error = OSError


def select(
    rlist: Sequence[Any], wlist: Sequence[Any], xlist: Sequence[Any], timeout: float | None = None, /
) -> tuple[list[Any], list[Any], list[Any]]:
    """Wait until one of `rlist` can be read, one of `wlist` written, or `timeout` seconds have passed (None: wait).

    A role gives up the baton while it waits, and the wait can be ended like any other.
    """
    actor = gate.enter()
    rlist, wlist, xlist = list(rlist), list(wlist), list(xlist)
    found = _standard.select(rlist, wlist, xlist, 0)  # raises what the standard one raises
    ends = [s.end for s in (*rlist, *wlist) if isinstance(s, socket)]
    call = Call(actor.name, ends[0] if ends else None, "select", ([e.label for e in ends], timeout))
    if not any(found) and (timeout is None or timeout > 0) and not xlist:

        def begins() -> None:
            if actor.timeouts < 2:
                call.waited = True
                recorder.recording.add(call, waits=True)

        try:
            gate.wait(actor, Wait("select()", [*map(_Descriptor, rlist)], [*map(_Descriptor, wlist)], timeout), begins)
        except BaseException as problem:
            call.error = type(problem)(*problem.args)
            recorder.recording.add(call)
            raise
        found = _standard.select(rlist, wlist, xlist, 0)
    elif not any(found) and timeout != 0:
        found = _standard.select(rlist, wlist, xlist, timeout)
    call.result = [s.end.label for part in found for s in part if isinstance(s, socket)]
    if any(found) or actor.timeouts < 3:  # a poll that finds nothing again and again is told twice
        recorder.recording.add(call)
    return found


class _Descriptor:
    """What `select` takes: an object with a descriptor, or the descriptor itself."""

    def __init__(self, one: Any) -> None:
        self.fileno = one.fileno if hasattr(one, "fileno") else lambda: int(one)
