"""A call that stands, with an answer on trial at its near end: `Call` for lesson 05, `Farewell` for lesson 06."""

from __future__ import annotations

import select
import socket as standard
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from helpers import recorded_socket as socket
from helpers.exercises.exercise import NotYet, returned
from helpers.exercises.peers import PATIENCE, Callers, Line, connected
from helpers.exercises.trial import DEADLINE, Trial
from helpers.gate import poll


class Call:
    """A call: a scripted peer at its far end, and at the near end an answer on trial.

    The peer says `pieces`, each when the one before was taken; `then` it "stays", "ends" its stream or "resets" the
    call (without pieces: before the answer begins).  It listens only when the answer has come to rest.  Afterwards
    `left` is what the answer did not take, `heard` what the peer heard, `waited` the call in which the answer waited
    when there was nothing more to come.
    """

    def __init__(
        self, answer: Callable[..., Any], args: Sequence[Any], pieces: Sequence[bytes] = (), then: str = "stays",
        timeout: float | None = None, room: int | None = None,
    ) -> None:  # fmt: skip
        near, self.line = connected(room)
        self.connection = socket.socket(fileno=near.detach())
        self.connection._be_patient(timeout)  # (the record has only the answer's own calls)
        self.left, self.waited = b"", ""
        self.trial = Trial(answer, self.connection, *args)
        self.trial.deadline += sum(map(len, pieces)) / 2_000  # who takes them one by one needs longer
        listens = threading.Thread(target=self._listen, daemon=True)
        try:
            if first := then == "resets" and not pieces:
                self._end(then)
            with self.trial as trial:
                self._say(pieces)
                if then == "stays":
                    waited = trial.rest(limit=DEADLINE / 2)
                    if waited and not waited.startswith("send"):  # (such a wait is right: the peer does not read yet)
                        self.waited, trial.told = waited, f"{trial.calls()}\n{waited} waits …".lstrip()
                if not first:
                    self._end(then)
                listens.start()
                trial.wait()
                self.closed, self.patience = self.connection.fileno() < 0, (timeout, self.connection.gettimeout())
                if not (self.closed or trial.hung or then == "resets"):
                    self.left = b"".join(self._rest())
        finally:
            socket.force_close(self.connection)
            if listens.ident is not None:
                listens.join(PATIENCE)
            self.line.connection.close()
        self.heard = self.line.heard

    def _say(self, pieces: Sequence[bytes]) -> None:
        with suppress(ConnectionError):  # the answer has closed the call
            for piece in pieces:
                self.line.say(piece)
                self.trial.rest(lambda: not poll([self.connection], [], 0), DEADLINE / 10)

    def _end(self, how: str) -> None:
        if how == "resets":
            self.line.hang_up_rudely()
            poll([self.connection], [], PATIENCE)  # it has arrived
            return
        with suppress(OSError):  # the answer has closed the call
            self.line.connection.shutdown(standard.SHUT_WR)

    def _listen(self) -> None:
        with suppress(OSError):  # it was reset
            self.line.hear_all()

    def _rest(self) -> Iterator[bytes]:
        standard.socket.settimeout(self.connection, PATIENCE)
        with suppress(OSError):
            while data := standard.socket.recv(self.connection, 65536):
                yield data

    def result(self, case: str, why: str = "") -> Any:
        """What the answer returned; NotYet if it waited for too much, hung, raised or closed what is not its own."""
        if self.waited:
            raise NotYet(f"{case}: all had come, and your function waited in {self.waited} for more. {why}")
        if self.trial.hung:
            raise NotYet(f"{case}: your function did not return: {self.trial.hung}. {why}")
        if self.trial.error is not None:
            raise NotYet(f"{case}: your function raised {self.trial.raised()}. {why}")
        if self.closed:
            raise NotYet(f"{case}: your function closed the connection. It is not done with: more messages may follow.")
        if self.patience[0] != self.patience[1]:
            raise NotYet(f"{case}: your function left the connection in another mode (time-out). Put it back.")
        done = [event.call for event in self.trial.recording.events if event.call.role == self.trial.actor.name]
        if any(call.name == "shutdown" for call in done):
            raise NotYet(f"{case}: your function ended a stream (shutdown). More messages may follow: leave it open.")
        return self.trial.result


class Farewell:
    """A call that stands, the answer on trial at one end of it, and a script at the other."""

    def __init__(self, answer: Callable[..., Any], case: str, script: Callable[[Line, Trial], Any], *more: Any,
                 first: bool = False) -> None:  # fmt: skip
        self.case = case
        begun = threading.Event()

        def play(line: Line) -> None:
            if begun.wait(PATIENCE):
                script(line, self.trial)

        with standard.create_server(("127.0.0.1", 0)) as listener, Callers(listener.getsockname(), play) as callers:
            connection = socket.socket(fileno=listener.accept()[0].detach())
            self.trial = Trial(answer, connection, *more)
            if first:  # the script plays before the answer begins
                begun.set()
                callers.finish()
                select.select([connection], [], [], PATIENCE)
            with self.trial as trial:
                begun.set()
                trial.wait()
                self.closed = connection.fileno() < 0
                connection.close()  # whoever still listens is not kept waiting
            callers.finish()
            self.line = callers.lines[0]
        done = [e.call for e in trial.recording.events if not e.waits and e.call.role == trial.actor.name]
        self.ways = [call.args[0] for call in done if call.name == "shutdown" and call.args and call.error is None]

    def heard(self, wanted: bytes | None) -> bytes:
        """What the answer returned, if it did its duty: it closed, and returned bytes."""
        if self.trial.error is not None and not self.trial.hung and not self.closed:
            raise NotYet(
                f"{self.case}: your function raised {self.trial.raised()}, and the connection stayed open. Close it on "
                "every way out: `with`, or `finally`."
            )
        got = returned(self.trial, self.case)
        if not self.closed:
            raise NotYet(f"{self.case}: your function returned, and the connection is still open. close() comes last.")
        if got is None:
            raise NotYet(f"{self.case}: your function returned None. Return what still came, b'' if nothing did.")
        if not isinstance(got, bytes):
            raise NotYet(f"{self.case}: your function returned {type(got).__name__}. Return the bytes as they came.")
        if wanted is not None and got != wanted:
            raise NotYet(f"{self.case}: your function returned {short(got)}, and {short(wanted)} came.")
        return got


def short(data: bytes) -> str:
    """Bytes as they are told: these, or how many."""
    return repr(data) if len(data) <= 24 else f"{len(data):,} bytes"
