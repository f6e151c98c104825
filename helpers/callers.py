"""Scripted callers: small clients that ring a server up, each in a thread of its own.

On a stage they take turns with the roles, after them in order, so that a lesson with callers is the same every time.
Each function starts its caller, lets it come to rest, and gives it back; `crowd` starts many at once.
"""

from __future__ import annotations

import struct
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from helpers import recorded_socket as socket
from helpers.gate import READY, Actor, Ended, gate
from helpers.waits import GRACE, poll

Script = Callable[["Caller"], object]
_count = [0]
_known: WeakValueDictionary[str, Caller] = WeakValueDictionary()


def _forget_all() -> None:
    _count[0] = 0
    _known.clear()


def known() -> dict[str, Caller]:
    """The scripted callers of this stage by their names, the newest last; those that nobody holds any more are gone."""
    return dict(_known)


gate.at_new_stage.append(_forget_all)


class Caller:
    """One scripted caller of the server at `address`, (host, port).

    `said` and `heard` are the bytes that went out and came in; `error` is what ended its call early, if anything did.
    """

    def __init__(self, address: tuple[str, int], script: Script, text: bytes = b"", stays: bool = False) -> None:
        _count[0] += 1
        self.name = f"caller {_count[0]}"
        _known[self.name] = self
        self.address, self.text, self.stays = address, text, stays
        self.said = self._heard = b""
        self.error: BaseException | None = None
        self.connection: Any = None
        self.connected = False  # has its dial got through?
        self.left = False  # has the other end said that it sends no more?
        self.actor = Actor(self.name, takes_turns=bool(gate.order), ending=Ended)
        self._thread: threading.Thread | None = None
        self._script: Script | None = script  # None: it has played all there is to play
        self._next: deque[Script] = deque()
        self._turn = threading.Lock()
        self._over = False  # it has been ended, and plays nothing any more

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
        script = self._script
        while script is not None:
            problem = gate.perform(self.actor, partial(self._play, script))
            if problem is not None and not isinstance(problem, Ended):
                self.error = problem.with_traceback(None)
                if not self.connected and self.connection is not None:
                    socket.force_close(self.connection)
            with self._turn:
                script = self._script = self._next.popleft() if self._next else None
                if script is not None:
                    self.actor.state, self.actor.ended = READY, False
                else:
                    self._forget()
                    gate.release(self.actor)
                    gate.leave(self.actor)

    def _forget(self) -> None:
        """The stage need not end a call that is over."""
        if (self.connection is None or self.connection.fileno() < 0) and self.end in gate.at_end:
            gate.at_end.remove(self.end)

    def _play(self, script: Script) -> None:
        try:
            if self.connection is None:
                self.connection = socket.socket(socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET)
                self.connection.connect(self.address)
                self.connected = True
            script(self)
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

    def hear(self) -> None:
        """Receive what has come, and wait for no more."""
        while self.is_called:
            self.left = not self.listen(65536)

    @property
    def is_called(self) -> bool:
        """Is there something that it has not heard: bytes, or the end of them?"""
        return self.connected and not self.left and self.connection.fileno() >= 0 and poll([self.connection], [], 0)

    @property
    def is_on_the_line(self) -> bool:
        """Does it dial, or is its call open?"""
        return not self._over and (self.connection is None or self.connection.fileno() >= 0)

    def hang_up(self, rudely: bool = False) -> None:
        """Close the call; `rudely` by a reset (RST) in place of an orderly end (FIN)."""
        self.tell(leave_rudely if rudely else leave, at_once=True)
        gate.settle()

    def tell(self, script: Script, at_once: bool = False) -> None:
        """Let it play `script` after what it plays now, or (`at_once`) in place of it.  Nobody waits for that here: one
        that knocks may do so for minutes."""
        with self._turn:
            if self._over:
                return
            if at_once:
                self._next.clear()
            if self._script is None:
                self._script = script
                begin([self])
            else:
                self._next.append(script)
                if at_once:
                    gate.end(self.actor, gently=True)

    def end(self) -> None:
        """End its thread and its call, whatever it does."""
        with self._turn:
            self._over = True
            self._next.clear()
        if self._thread is not None:
            gate.end(self.actor, gently=True)
            self._thread.join(GRACE)
            if self._thread.is_alive():
                gate.leave_behind(self.actor)
        if self.connection is not None:
            socket.force_close(self.connection)

    def start(self) -> None:
        """Play the script in a thread of its own, as soon as it gets its turn."""
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()
        self.actor.alive = self._thread.is_alive


def begin(callers: list[Caller]) -> None:
    """Let each play its script, one after the other, and wait for none of them."""
    for caller in callers:
        caller.actor.state, caller.actor.ended, caller.actor.alive = READY, False, lambda: True
        if caller.end not in gate.at_end:
            gate.at_end.append(caller.end)
    gate.join(*(caller.actor for caller in callers))
    for caller in callers:
        caller.start()


def _start(callers: list[Caller]) -> list[Caller]:
    """Let each play its script, in order, and wait until they and the server have come to rest."""
    begin(callers)
    gate.settle()
    return callers


def _polite(caller: Caller) -> None:
    caller.say(caller.text)
    caller.listen()


def _say(caller: Caller) -> None:
    if caller.text:
        caller.say(caller.text)


def _reset(caller: Caller) -> None:
    caller.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def leave(caller: Caller) -> None:
    """A script: it hangs up."""
    caller.stays = False


def leave_rudely(caller: Caller) -> None:
    """A script: it hangs up by a reset (RST)."""
    _reset(caller)
    caller.stays = False


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
