"""The chat room of lesson 10 on trial: members who dial, speak and hear, and what they saw told in a sentence."""

from __future__ import annotations

import asyncio
import errno
import inspect
import socket as standard
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from typing import Any

from helpers import recorded_socket as socket
from helpers.exercises.exercise import NotYet
from helpers.exercises.on_the_line import short
from helpers.exercises.peers import PATIENCE, Line
from helpers.exercises.trial import Trial, raised
from helpers.gate import gate
from helpers.recorded_socket import recorder

WELCOME = b"welcome\n"
Address = tuple[str, int]


class Member(Line):
    """Somebody in the room, who has been made welcome."""

    def __init__(self, name: str, address: Address, room: int | None) -> None:
        connection = standard.socket()
        if room is not None:
            connection.setsockopt(standard.SOL_SOCKET, standard.SO_RCVBUF, room)
        super().__init__(connection)
        self.name, self._told, self.said = name, 0, b""
        connection.connect(address)

    def _more(self) -> str:
        """Receive once; say what came in place of bytes, if anything did."""
        try:
            self._receive(65536)
        except ConnectionError:
            return ", and then a reset"
        except TimeoutError:
            return f", and then nothing for {PATIENCE:.0f} seconds"
        return ", and then the end of the stream" if self.ended else ""

    def lines(self, count: int) -> tuple[list[bytes], str]:
        """The next `count` lines, fewer if no more came; and what came in place of more."""
        how = ""
        while self._heard.count(b"\n", self._told) < count and not how:
            how = self._more()
        lines = bytes(self._heard[self._told :]).splitlines(keepends=True)[:count]
        self._told += sum(map(len, lines))
        return lines, how


class Room:
    """The answer's room, open for a `with`; it tells what the members saw, for a case of the judge's."""

    def __init__(self, answer: Callable[..., Any], *args: Any, room: int | None = None) -> None:
        self.answer, self.args, self.room, self.case = answer, args, room, ""
        with standard.socket() as bare:
            for option in (standard.SO_RCVBUF, standard.SO_SNDBUF) if room is not None else ():
                bare.setsockopt(standard.SOL_SOCKET, option, room or 0)  # what it accepts has it too
            bare.bind(("127.0.0.1", 0))
            bare.listen(128)
            self.listener = socket.socket(fileno=bare.detach())
        self.address: Address = self.listener.getsockname()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over, self._cancelled = threading.Event(), threading.Event()
        self._slip: BaseException | None = None  # the first error that ended a task, or a call of the loop's
        self._leave = ExitStack()
        self._before = set(threading.enumerate())
        self.trial = Trial(self._serve)

    def __enter__(self) -> Room:
        if inspect.iscoroutinefunction(self.answer):
            self.listener._be_patient(0.0)
        try:
            self.trial.__enter__()
        except BaseException as problem:  # ■ may come at any line
            self.__exit__(type(problem), problem, None)
            raise
        return self

    def __exit__(self, kind: Any, problem: Any, traceback: Any) -> None:
        try:
            self._close()
        finally:
            self.trial.__exit__(kind or NotYet)  # (it has been waited for)
            socket.force_close(self.listener)
            # the threads of a room, if it has any, end by themselves now
            for thread in set(threading.enumerate()) - self._before - {self.trial._thread}:
                thread.join(PATIENCE / 2)
        if kind is None and self.trial.hung and self._loop is not None and not self._cancelled.is_set():
            raise NotYet(
                f"When its members had left, your room kept its loop for itself: {self.trial.hung}. At the end of a "
                "stream, read and readline give b'' at once, again and again: stop reading then."
            )
        if kind is None and self.trial.hung:
            raise NotYet(
                f"When it was cancelled, your room did not end: {self.trial.hung}. CancelledError is to go through."
            )

    def _serve(self) -> None:
        if inspect.iscoroutinefunction(self.answer):
            asyncio.run(self._as_task())
        else:
            self.answer(self.listener, *self.args)

    async def _as_task(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(lambda loop, context: self._note(context.get("exception")))
        self._loop.set_task_factory(self._task)
        try:
            await self.answer(self.listener, *self.args)
        except asyncio.CancelledError:
            pass
        finally:
            self._over.set()

    def _task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **more: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(coroutine, loop=loop, **more)
        task.add_done_callback(lambda task: None if task.cancelled() else self._note(task.exception()))
        return task

    def _note(self, problem: BaseException | None) -> None:
        # what a caller does to a call is no slip of the room's
        if problem is not None and not isinstance(problem, OSError) and self._slip is None:
            self._slip = problem

    def _close(self) -> None:
        """Cancel the room, as `serving` does; one that is a plain function just ends with its trial."""
        self._leave.close()
        if self._loop is None:
            return
        if self.trial.error is None:  # with no member left, it closes what it has
            gate.until(lambda: self.trial._ended.is_set() or not self._holds(), limit=0.3)
        with suppress(RuntimeError):  # it has ended already
            self._loop.call_soon_threadsafe(self._cancel)
        self.trial.wait()

    def _holds(self) -> bool:
        """Has it any connection open?"""
        here = [sock for sock in list(recorder.sockets) if sock.end.role == self.trial.actor.name]
        return any(sock.fileno() >= 0 for sock in here)

    def _cancel(self) -> None:
        if not self.trial.hung:
            self._cancelled.set()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    def enters(self, *names: str) -> list[Member]:
        """These dial, one after the other, and are made welcome."""
        members = []
        for name in names:
            try:
                members.append(member := Member(name, self.address, self.room))
            except OSError as problem:
                raise self.fault(f"{name} found nobody to dial ({errno.errorcode.get(problem.errno or 0)})") from None
            self._leave.callback(member.connection.close)
            self.hears(member, [WELCOME])
        return members

    def says(self, member: Member, data: bytes) -> None:
        """A member says something; the room has to take it."""
        member.said += data
        try:
            member.say(data)
        except TimeoutError:
            raise self.fault(f"{member.name} could say no more for {PATIENCE:.0f} seconds: nobody reads") from None
        except ConnectionError:
            raise self.fault(f"{member.name} was hung up on") from None

    def hears(self, member: Member, wanted: Iterable[bytes], in_order: bool = True) -> None:
        """A member hears these lines next, and nothing else before them."""
        wanted = list(wanted)
        heard, how = member.lines(len(wanted))
        if (heard if in_order else sorted(heard)) != (wanted if in_order else sorted(wanted)):
            first = next((n for n, (a, b) in enumerate(zip(heard, wanted, strict=False)) if a != b), len(heard))
            if in_order and first < len(wanted):
                came = short(heard[first]) if first < len(heard) else "nothing"
                came += " (what it had said itself)" if heard[first:] and heard[first] in member.said else ""
                raise self.fault(f"{member.name} should have heard {short(wanted[first])}, and heard {came}{how}")
            left = len(set(wanted) - set(heard))
            raise self.fault(f"{member.name} should have heard {len(wanted)} lines, of which {left} did not come{how}")

    def is_hung_up(self, member: Member) -> int:
        """The end of a member's stream comes; how many bytes came before it."""
        while not (how := member._more()):
            pass
        if "nothing" in how:
            raise self.fault(f"{member.name} was not hung up on")
        return len(member.heard)

    def fault(self, what: str) -> NotYet:
        """What a member saw; or, if the room has ended, that."""
        if self._has_ended():
            how = f" with {self.trial.raised()}" if self.trial.error is not None else ""
            return NotYet(
                f"{self.case}: your room ended{how}. It goes on until it is cancelled, whoever comes or goes."
            )
        if self._slip is not None:
            what += f". In a task of your room there was {raised(self._slip)}"
        return NotYet(f"{self.case}: {what}.")

    def _has_ended(self) -> bool:
        """Has the room ended?  Its loop is asked after some rounds more: an end that has begun takes that many."""
        if self._loop is None:
            return self.trial._ended.wait(0.5)
        for _ in range(10):
            turn = threading.Event()
            try:
                self._loop.call_soon_threadsafe(turn.set)
            except RuntimeError:  # it is closed
                break
            if not turn.wait(0.5):  # it is blocked, or closes
                break
        return self.trial._ended.wait(PATIENCE if self._over.is_set() else 0)
