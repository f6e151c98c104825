"""A server on trial: a function of a listener that never returns by itself; its callers are the judge's."""

from __future__ import annotations

import socket as standard
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Self

from helpers import recorded_socket as socket
from helpers.cells import learners_only
from helpers.exercises import trial as trials
from helpers.exercises.conformance import Call, answers
from helpers.exercises.exercise import NotYet
from helpers.exercises.trial import Trial, raised
from helpers.gate import gate, poll
from helpers.recorded_socket import force_close, recorder
from helpers.strategies import GREETING

LAST = 2.0  #: seconds that threads of the server's own have to end
SMALL = 8192  #: bytes of the buffers towards a caller who is to fill them


class Guest(Call):
    """A caller of a server on trial, who learns at once when that has ended."""

    def __init__(self, server: OnCall, greeted: bool = True, room: int | None = None) -> None:
        self.server = server
        line = standard.socket()
        if room is not None:
            line.setsockopt(standard.SOL_SOCKET, standard.SO_RCVBUF, room)
        super().__init__(server.address, greeted=False, line=line, patience=trials.DEADLINE)
        server.stays(self)
        if greeted:
            self.expect(GREETING)

    def _receive(self, count: int) -> None:
        def done() -> bool:
            return poll([self.connection], [], 0) or self.server.is_over

        gate.until(done, self.patience, reads=[self.connection])
        if not poll([self.connection], [], 0):
            raise TimeoutError
        super()._receive(count)

    def hears(self, count: int) -> bytes:
        """So many bytes of what comes, fewer where the stream ends; TimeoutError, where they do not come."""
        while len(self.heard) < count and not self.ended:
            try:
                self._receive(count - len(self.heard))
            except ConnectionError:
                self.reset = self.ended = True
        return self.heard

    def hears_all(self) -> bytes:
        """All that comes until the end of the stream, or a reset."""
        return self.hears(1 << 20)

    def talks(self, *lines: bytes, first: int = 1, half: bytes = b"") -> None:
        """Say lines (of the first of them, `half` was said before), hear their answers, quit, and hear the end."""
        self.say(b"".join(line + b"\n" for line in lines))
        self.expect(answers(half + lines[0], *lines[1:], first=first))
        self.say(b"quit\n")
        self.expect(b"bye\n")
        self.expect_the_end(orderly=False)


class OnCall:
    """`answer(listener, *more)` on trial, with callers of its own; nothing of it is left at the end of the `with`.

    The calls that it accepts have buffers of `room` bytes towards the caller, where that is given.
    """

    def __init__(self, answer: Callable[..., Any], case: str, *more: Any, room: int | None = None) -> None:
        self.case = case
        with standard.create_server(("127.0.0.1", 0), backlog=128) as bare:
            if room is not None:
                bare.setsockopt(standard.SOL_SOCKET, standard.SO_SNDBUF, room)
            self.address: tuple[str, int] = bare.getsockname()
            self.listener = socket.socket(fileno=bare.detach())
        self.trial = Trial(answer, self.listener, *more)
        self._lines = ExitStack()
        self._before = set(threading.enumerate())
        self._hook = threading.excepthook
        self.failed: list[threading.ExceptHookArgs] = []  # of its own threads, in the order in which they failed

    def __enter__(self) -> Self:
        try:
            threading.excepthook = self._note
            self.trial.__enter__()
        except BaseException as problem:  # ■ may come at any line
            self.__exit__(type(problem))
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *problem: object) -> None:
        try:
            self._end()
        finally:  # (■ may come at any line)
            force_close(self.listener)
            self.trial.__exit__(NotYet)
            threading.excepthook = self._hook
        if kind is None:  # it is right all the same: told as Python tells it
            for args in self.failed:
                self._hook(args)

    def _end(self) -> None:
        """End its callers and its threads, wherever they wait."""
        self._lines.close()
        mine = {self.trial._thread}
        gate.until(lambda: not self._threads() - mine, 0.05)  # its callers are gone, and so are their threads
        gate.end(self.trial.actor)
        gate.until(lambda: self.is_over, 0.1)
        if not self.is_over:  # it waits where that is not seen, in a select() say: a call wakes it
            with standard.socket() as last:
                last.setblocking(False)
                last.connect_ex(self.address)
                gate.until(lambda: self.is_over, LAST)
        threads = {thread.ident for thread in self._threads() - mine}
        gate.end(*(actor for actor in list(gate.others) if actor.thread in threads))
        for sock in list(recorder.sockets):
            if sock.end.peer is not None and sock.end.local == self.address:
                force_close(sock)
        gate.until(lambda: not self._threads() - mine, LAST)

    def _note(self, args: threading.ExceptHookArgs) -> None:
        if args.thread in self._before or issubclass(args.exc_type, SystemExit):
            self._hook(args)
        else:
            self.failed.append(args)

    def _threads(self) -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread not in self._before}

    def are_at_rest(self) -> bool:
        """Does each thread of its own wait in a recorded call?  Or one has failed."""
        waiting = {actor.thread for actor in list(gate.waiting)}
        return bool(self.failed) or {thread.ident for thread in self._threads() - {self.trial._thread}} <= waiting

    def stays(self, guest: Guest) -> None:
        """This caller hangs up at the end, if it has not before."""
        self._lines.callback(guest.connection.close)

    def guest(self, greeted: bool = True, room: int | None = None) -> Guest:
        """One more caller."""
        return Guest(self, greeted, room)

    @property
    def is_over(self) -> bool:
        """Has the server ended?"""
        return self.trial._ended.is_set()

    def must_go_on(self, why: str) -> None:
        """NotYet if the server has ended, or has closed its listener."""
        trial = self.trial
        if self.is_over and trial.error is not None:
            raise NotYet(f"{self.case}: your function raised {trial.raised()}. {why}".rstrip())
        if self.is_over:
            raise NotYet(f"{self.case}: your function returned {trial.result!r:.40}. A server goes on: `while True`.")
        if self.listener.fileno() < 0:
            raise NotYet(f"{self.case}: your function closed the listener. It belongs to who made it.")


@contextmanager
def on_call(
    answer: Callable[..., Any], case: str, *more: Any, why: str = "", room: int | None = None
) -> Iterator[OnCall]:
    """A case: what a caller misses is told with the case's words, and with what ended the server, if anything did."""
    with OnCall(answer, case, *more, room=room) as server:
        try:
            yield server
        except (NotYet, TimeoutError) as problem:
            server.trial.rest(limit=0.1)  # it may be about to end, and so may its threads
            gate.until(server.are_at_rest, 0.5)
            server.must_go_on("A server goes on with the next caller, whatever one does.")
            told = str(problem) or f"for {trials.DEADLINE:g} seconds a caller has heard nothing"
            for error in (args.exc_value for args in server.failed):
                if error is not None and not isinstance(error, OSError):  # (the others may come of a caller's ways)
                    told, why = f"a thread of your function raised {raised(learners_only(error))}", ""
                    break
            raise NotYet(told if told.startswith(case) else f"{case}: {told}. {why}".rstrip()) from None
        server.must_go_on("A server goes on with the next caller, whatever one does.")
