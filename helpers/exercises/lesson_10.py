"""Lesson 10: a chat room for any number of callers, and one in which a slow member slows nobody."""

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
from helpers.exercises.exercise import Exercise, NotYet
from helpers.exercises.on_the_line import short
from helpers.exercises.peers import PATIENCE, Line
from helpers.exercises.trial import Trial
from helpers.gate import gate
from helpers.recorded_socket import recorder

WELCOME = b"welcome\n"
ROOM = 65536  #: bytes of each buffer of the system on the way to a member
Address = tuple[str, int]


# ---------------------------------------------------------------------- 10a


async def chat_room(listener):
    """Tell each line that a member says to all other members."""
    import asyncio

    members = set()

    async def serve(reader, writer):
        members.add(writer)
        writer.write(b"welcome\n")
        try:
            while (line := await reader.readline()).endswith(b"\n"):
                for member in members - {writer}:
                    member.write(line)
        except ConnectionError:
            pass
        finally:
            members.discard(writer)
            writer.close()

    async with await asyncio.start_server(serve, sock=listener) as server:
        await server.serve_forever()


class _Member(Line):
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


class _Room:
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
        self._leave = ExitStack()
        self._before = set(threading.enumerate())
        self.trial = Trial(self._serve)

    def __enter__(self) -> _Room:
        if inspect.iscoroutinefunction(self.answer):
            self.listener._be_patient(0.0)
        self.trial.__enter__()
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
        self._loop.set_exception_handler(lambda loop, context: None)  # what callers see of it is judged
        with suppress(asyncio.CancelledError):
            await self.answer(self.listener, *self.args)

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
        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    def enters(self, *names: str) -> list[_Member]:
        """These dial, one after the other, and are made welcome."""
        members = []
        for name in names:
            try:
                members.append(member := _Member(name, self.address, self.room))
            except OSError as problem:
                raise self.fault(f"{name} found nobody to dial ({errno.errorcode.get(problem.errno or 0)})") from None
            self._leave.callback(member.connection.close)
            self.hears(member, [WELCOME])
        return members

    def says(self, member: _Member, data: bytes) -> None:
        """A member says something; the room has to take it."""
        member.said += data
        try:
            member.say(data)
        except TimeoutError:
            raise self.fault(f"{member.name} could say no more for {PATIENCE:.0f} seconds: nobody reads") from None
        except ConnectionError:
            raise self.fault(f"{member.name} was hung up on") from None

    def hears(self, member: _Member, wanted: Iterable[bytes], in_order: bool = True) -> None:
        """A member hears these lines next, and nothing else before them."""
        wanted = list(wanted)
        heard, how = member.lines(len(wanted))
        if (heard if in_order else sorted(heard)) != (wanted if in_order else sorted(wanted)):
            first = next((n for n, (a, b) in enumerate(zip(heard, wanted, strict=False)) if a != b), len(heard))
            if in_order and first < len(wanted):
                told = short(heard[first]) if first < len(heard) else "nothing"
                told += " (what it had said itself)" if heard[first:] and heard[first] in member.said else ""
                raise self.fault(f"{member.name} should have heard {short(wanted[first])}, and heard {told}{how}")
            left = len(set(wanted) - set(heard))
            raise self.fault(f"{member.name} should have heard {len(wanted)} lines, of which {left} did not come{how}")

    def is_hung_up(self, member: _Member) -> int:
        """The end of a member's stream comes; how many bytes came before it."""
        while not (how := member._more()):
            pass
        if "nothing" in how:
            raise self.fault(f"{member.name} was not hung up on")
        return len(member.heard)

    def fault(self, what: str) -> NotYet:
        """What a member saw; or, if the room has ended, that."""
        if self.trial._ended.wait(0.05 if self.trial.error is None else 0):
            how = f" with {self.trial.raised()}" if self.trial.error is not None else ""
            return NotYet(
                f"{self.case}: your room ended{how}. It goes on until it is cancelled, whoever comes or goes."
            )
        return NotYet(f"{self.case}: {what}.")


def _judge_chat_room(answer: Callable[..., Any]) -> None:
    _talks(answer)
    _in_pieces(answer)
    _members_leave(answer)
    _many(answer)


def _talks(answer: Callable[..., Any], *args: Any) -> None:
    with _Room(answer, *args) as room:
        room.case = "Anna comes, and is to hear 'welcome'; then Ben and Cleo"
        anna, ben, cleo = room.enters("Anna", "Ben", "Cleo")
        room.case = "Anna says a line to Ben and Cleo"
        room.says(anna, b"good evening\n")
        for member in (ben, cleo):
            room.hears(member, [b"good evening\n"])
        room.case = "Ben answers Anna (who has said a line herself)"
        room.says(ben, b"hello\n")
        for member in (anna, cleo):
            room.hears(member, [b"hello\n"])
        room.case = "Cleo says three lines at once, the second of them empty"
        room.says(cleo, b"one\n\nthree\n")
        for member in (anna, ben):
            room.hears(member, [b"one\n", b"\n", b"three\n"])


def _in_pieces(answer: Callable[..., Any], *args: Any) -> None:
    with _Room(answer, *args) as room:
        anna, ben, cleo = room.enters("Anna", "Ben", "Cleo")
        room.case = "Anna says a line and the half of another, then Ben a line (Cleo hears whole lines)"
        room.says(anna, b"one\ntw")
        room.hears(cleo, [b"one\n"])
        room.says(ben, b"I am Ben\n")
        room.hears(cleo, [b"I am Ben\n"])
        room.case = "Anna says the other half of her line"
        room.says(anna, b"o\n")
        room.hears(cleo, [b"two\n"])
        room.case = "Ben, who has said a line, hears Anna's"
        room.hears(ben, [b"one\n", b"two\n"])


def _members_leave(answer: Callable[..., Any], *args: Any) -> None:
    with _Room(answer, *args) as room:
        anna, ben, cleo, dan = room.enters("Anna", "Ben", "Cleo", "Dan")
        room.case = "Ben hangs up in the middle of a line"
        room.says(ben, b"bye\nhal")
        with suppress(OSError):
            ben.connection.shutdown(standard.SHUT_WR)
        room.hears(anna, [b"bye\n"])
        if room.is_hung_up(ben) != len(WELCOME):
            raise room.fault("Ben heard something after he had hung up")
        room.says(anna, b"he is gone\n")
        room.hears(cleo, [b"bye\n", b"he is gone\n"])
        room.case = "Dan resets his call, then Anna says two lines"
        room.hears(dan, [b"bye\n", b"he is gone\n"])
        dan.hang_up_rudely()
        for line in (b"and Dan\n", b"only two of us\n"):
            room.says(anna, line)
            room.hears(cleo, [line])
        room.case = "Emil comes when others have left"
        (emil,) = room.enters("Emil")
        room.says(cleo, b"hello Emil\n")
        room.hears(anna, [b"hello Emil\n"])
        room.hears(emil, [b"hello Emil\n"])


def _many(answer: Callable[..., Any], *args: Any, count: int = 40) -> None:
    with _Room(answer, *args) as room:
        room.case = f"{count} members"
        members = room.enters(*(f"member {number}" for number in range(1, count + 1)))
        for member in members:
            room.says(member, member.name.encode() + b"\n")
        for member in members:
            room.hears(member, [m.name.encode() + b"\n" for m in members if m is not member], in_order=False)


exercise_10a = Exercise(
    "exercise_10a",
    _judge_chat_room,
    chat_room,
    "Any number of members, and whoever leaves, the room goes on.",
    "keep a set of the writers of all members; asyncio.start_server(serve, sock=listener) calls serve(reader, writer) "
    "for each call",
    "reader.readline() gives a whole line; at the end of the stream it gives what is left, without a newline",
    "try … except ConnectionError … finally: members.discard(writer); writer.close()",
)


# ---------------------------------------------------------------------- 10b


async def fair_room(listener, limit=100_000):
    """A chat room as in 10a; who has more than limit bytes unsent is hung up on."""
    import asyncio

    members = set()

    async def serve(reader, writer):
        members.add(writer)
        writer.write(b"welcome\n")
        try:
            while (line := await reader.readline()).endswith(b"\n"):
                for member in members - {writer}:
                    member.write(line)  # does not wait
                    if member.transport.get_write_buffer_size() > limit:
                        members.discard(member)
                        member.transport.abort()
        except ConnectionError:
            pass
        finally:
            members.discard(writer)
            writer.close()

    async with await asyncio.start_server(serve, sock=listener) as server:
        await server.serve_forever()


def _judge_fair_room(answer: Callable[..., Any]) -> None:
    _talks(answer)
    _members_leave(answer)
    _sleeper(answer)
    _slow(answer)


def _lines(begin: int, count: int) -> list[bytes]:
    """Lines of 5,000 bytes, each another."""
    return [b"%04d" % number + b"." * 4995 + b"\n" for number in range(begin, begin + count)]


def _sleeper(answer: Callable[..., Any]) -> None:
    """Two million bytes are said; but for the answer's memory, a few hundred thousand of them fit anywhere."""
    with _Room(answer, 100_000, room=ROOM) as room:
        anna, ben, sleepy, _ = room.enters("Anna", "Ben", "Sleepy", "Sleepy's twin")
        room.case = "Anna says 2,000,000 bytes; Ben reads, Sleepy does not (limit=100_000)"
        for number in range(0, 400, 8):
            said = _lines(number, 8)
            try:
                room.says(anna, b"".join(said))
                room.hears(ben, said)
            except NotYet as problem:
                raise NotYet(f"{problem} Does your room wait for Sleepy?") from None
        room.case = "Sleepy, who has read nothing of 2,000,000 bytes, wakes up (limit=100_000)"
        sleepy._told = len(sleepy.heard)
        heard = _until_the_end(room, sleepy)
        if heard >= 2_000_000:
            raise room.fault("your room kept it all for Sleepy. More than limit bytes unsent: transport.abort()")
        room.case = "Sleepy has been hung up on, and Ben speaks"
        room.says(ben, b"good morning\n")
        room.hears(anna, [b"good morning\n"])


def _until_the_end(room: _Room, member: _Member) -> int:
    """How many bytes a member hears until it is hung up on, or has heard all."""
    while len(member.heard) < 2_000_000:
        if how := member._more():
            if "nothing" in how:
                raise room.fault(f"{member.name} heard {len(member.heard):,} bytes, and was not hung up on")
            break
    return len(member.heard)


def _slow(answer: Callable[..., Any]) -> None:
    """One who is slow may be so, up to the limit; beyond it, nothing that is unsent is sent any more."""
    with _Room(answer, 1_000_000, room=ROOM) as room:
        anna, ben, slow = room.enters("Anna", "Ben", "Slow")
        room.case = "Anna says 600,000 bytes, and Slow begins to read after that (limit=1_000_000)"
        said = _lines(0, 120)
        for at in range(0, 120, 8):
            room.says(anna, b"".join(said[at : at + 8]))
            room.hears(ben, said[at : at + 8])
        room.hears(slow, said)
        room.case = "Slow stops reading, and Anna says 3,000,000 bytes more (limit=1_000_000)"
        before = len(slow.heard)
        for number in range(1000, 1600, 8):
            more = _lines(number, 8)
            room.says(anna, b"".join(more))
            room.hears(ben, more)
        heard = room.is_hung_up(slow) - before
        if heard > 800_000:
            raise room.fault(
                f"Slow heard {heard:,} bytes of it. close() sends first what is unsent, for as long as that takes: "
                "transport.abort() does not"
            )


exercise_10b = Exercise(
    "exercise_10b",
    _judge_fair_room,
    fair_room,
    "Who sleeps is hung up on, who is slow is waited for, and nobody else notices.",
    "drain() waits for that member, and the room with it: who tells a line to all must not wait for one",
    "write() keeps what does not go: member.transport.get_write_buffer_size() says how much that is by now",
    "more than limit: members.discard(member), member.transport.abort()",
)
