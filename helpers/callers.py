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
from helpers.gate import IDLE, READY, Actor, Ended, gate

Script = Callable[["Caller"], None]
_count = [0]
gate.at_new_stage.append(lambda: _count.__setitem__(0, 0))


class Caller:
    """One scripted caller of the server at `address`, (host, port).

    `said` and `heard` are the bytes that went out and came in; `error` is what ended its call early, if anything did.
    """

    def __init__(self, address: tuple[str, int], script: Script, text: bytes = b"") -> None:
        _count[0] += 1
        self.name = f"caller {_count[0]}"
        self.address, self.text = address, text
        self.said = self._heard = b""
        self.error: OSError | None = None
        self.connection: Any = None
        self.actor = Actor(self.name, takes_turns=bool(gate.order), ending=Ended)
        self.actor.keeps_log = True
        self.actor.state = READY
        self._script = script
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def __repr__(self) -> str:
        if self.error is not None:
            how = f"failed with {type(self.error).__name__}"
        elif self._ended.is_set():
            how = f"heard {self._heard!r}"
        else:
            how = f"waits in {self.actor.wait.words}" if self.actor.wait else "is on the line"
        return f"{self.name}: said {self.said!r}, {how}"

    @property
    def heard(self) -> bytes:
        """What the server has said to it so far; one that is not done yet is given a moment to be."""
        gate.settle()
        return self._heard

    def _run(self) -> None:
        gate.become(self.actor)
        try:
            if self.actor.takes_turns:
                gate.take(self.actor)
            self.connection = socket.socket(socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET)
            self.connection.connect(self.address)
            self._script(self)
        except OSError as error:
            self.error = type(error)(*error.args)
        except Ended:
            pass
        self._ended.set()
        if self.connection is not None and self._script is not _stay:
            self.connection.close()
        gate.release(self.actor, IDLE)
        with gate.lock:
            gate.order = [actor for actor in gate.order if actor is not self.actor]

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
        if rudely:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        gate.settle()

    def end(self) -> None:
        """End its thread and its call, whatever it does."""
        if not self._ended.is_set():
            gate.end(self.actor)
            self._ended.wait(0.5)
        if self.connection is not None:
            socket.force_close(self.connection)


def start(address: tuple[str, int], scripts: list[tuple[Script, bytes]]) -> list[Caller]:
    """Start a caller for each script, in order, and wait until they and the server have come to rest."""
    callers = [Caller(address, script, text) for script, text in scripts]
    with gate.lock:
        if gate.order:
            gate.order += [caller.actor for caller in callers]
    for caller in callers:
        gate.at_end.append(caller.end)
        caller._thread.start()
    gate.settle()
    return callers


def _polite(caller: Caller) -> None:
    caller.say(caller.text)
    caller.listen()


def _stay(caller: Caller) -> None:
    if caller.text:
        caller.say(caller.text)


def _rude(caller: Caller) -> None:
    caller.say(caller.text)
    caller.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def polite(address: tuple[str, int], text: bytes = b"hello") -> Caller:
    """One that says `text`, hears the answer out, and hangs up."""
    return start(address, [(_polite, text)])[0]


def silent(address: tuple[str, int], text: bytes = b"") -> Caller:
    """One that dials, says nothing (or `text`), and stays on the line until `hang_up()`."""
    return start(address, [(_stay, text)])[0]


def rude(address: tuple[str, int], text: bytes = b"hello") -> Caller:
    """One that says `text` and hangs up at once, by a reset."""
    return start(address, [(_rude, text)])[0]


def crowd(address: tuple[str, int], count: int, text: bytes = b"hello from {}") -> list[Caller]:
    """`count` polite callers at once; `{}` in their text becomes their number, from 1."""
    return start(address, [(_polite, text.replace(b"{}", str(n).encode())) for n in range(1, count + 1)])
