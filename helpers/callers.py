"""Scripted callers: small clients that ring a server up, each in a thread of its own.

On a stage they take turns with the roles, after them in order, so that a lesson with callers is the same every time.
Each function starts its caller, lets it come to rest, and gives it back; `crowd` starts many at once.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from typing import Any

from helpers import recorded_socket as socket
from helpers.gate import READY, Actor, Ended, gate
from helpers.waits import GRACE

Script = Callable[["Caller"], object]
_count = [0]
gate.at_new_stage.append(lambda: _count.__setitem__(0, 0))


class Caller:
    """One scripted caller of the server at `address`, (host, port).

    `said` and `heard` are the bytes that went out and came in; `error` is what ended its call early, if anything did.
    """

    def __init__(self, address: tuple[str, int], script: Script, text: bytes = b"", stays: bool = False) -> None:
        _count[0] += 1
        self.name = f"caller {_count[0]}"
        self.address, self.text, self.stays = address, text, stays
        self.said = self._heard = b""
        self.error: BaseException | None = None
        self.connection: Any = None
        self.actor = Actor(self.name, takes_turns=bool(gate.order), ending=Ended)
        self._thread: threading.Thread | None = None
        self._script: Script | None = script

    def __repr__(self) -> str:
        if self.error is not None:
            how = f"failed with {type(self.error).__name__}"
        elif self._script is not None:
            how = f"waits in {self.actor.wait.words}" if self.actor.wait else "is on the line"
        else:
            how = f"heard {self._heard!r}"
        return f"{self.name}: said {self.said!r}, {how}"

    @property
    def heard(self) -> bytes:
        """What the server has said to it so far; one that is not done yet is given a moment to be."""
        gate.settle()
        return self._heard

    def _run(self) -> None:
        problem = gate.perform(self.actor, self._play)
        if problem is not None and not isinstance(problem, Ended):
            self.error = problem.with_traceback(None)
        self._script = None
        gate.release(self.actor)
        gate.leave(self.actor)

    def _play(self) -> None:
        assert self._script is not None
        try:
            if self.connection is None:
                self.connection = socket.socket(socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET)
                self.connection.connect(self.address)
            self._script(self)
        finally:
            if not self.stays:
                self.connection.close()

    def say(self, data: bytes) -> None:
        """Send `data`, all of it."""
        self.connection.sendall(data)
        self.said += data

    def listen(self, count: int = 4096) -> bytes:
        """Receive at most `count` bytes; b"" is the end of the stream."""
        data: bytes = self.connection.recv(count)
        self._heard += data
        return data

    def hang_up(self, rudely: bool = False) -> None:
        """Close the call; `rudely` by a reset (RST) in place of an orderly end (FIN)."""
        self._end()
        self._script, self.stays = _reset if rudely else _nothing, False
        _start([self])

    def end(self) -> None:
        """End its thread and its call, whatever it does."""
        self._end()
        if self._thread is not None and self._thread.is_alive():
            gate.leave_behind(self.actor)
        if self.connection is not None:
            socket.force_close(self.connection)

    def _end(self) -> None:
        if self._thread is not None:
            gate.end(self.actor, gently=True)
            self._thread.join(GRACE)

    def start(self) -> None:
        """Play the script in a thread of its own, as soon as it gets its turn."""
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()
        self.actor.alive = self._thread.is_alive


def _start(callers: list[Caller]) -> list[Caller]:
    """Let each play its script, in order, and wait until they and the server have come to rest."""
    for caller in callers:
        caller.actor.state, caller.actor.ended, caller.actor.alive = READY, False, lambda: True
        gate.at_end.append(caller.end)
    gate.join(*(caller.actor for caller in callers))
    for caller in callers:
        caller.start()
    gate.settle()
    return callers


def _polite(caller: Caller) -> None:
    caller.say(caller.text)
    caller.listen()


def _say(caller: Caller) -> None:
    if caller.text:
        caller.say(caller.text)


def _nothing(caller: Caller) -> None:
    pass


def _reset(caller: Caller) -> None:
    caller.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _rude(caller: Caller) -> None:
    caller.say(caller.text)
    _reset(caller)


def polite(address: tuple[str, int], text: bytes = b"hello") -> Caller:
    """One that says `text`, hears the answer out, and hangs up."""
    return _start([Caller(address, _polite, text)])[0]


def silent(address: tuple[str, int], text: bytes = b"") -> Caller:
    """One that dials, says nothing (or `text`), and stays on the line until `hang_up()`."""
    return _start([Caller(address, _say, text, stays=True)])[0]


def rude(address: tuple[str, int], text: bytes = b"hello") -> Caller:
    """One that says `text` and hangs up at once, by a reset."""
    return _start([Caller(address, _rude, text)])[0]


def crowd(address: tuple[str, int], count: int, text: bytes = b"hello from {}") -> list[Caller]:
    """`count` polite callers at once; `{}` in their text becomes their number, from 1."""
    return _start([Caller(address, _polite, text.replace(b"{}", str(n).encode())) for n in range(1, count + 1)])
