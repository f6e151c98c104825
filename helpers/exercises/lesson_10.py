"""Lesson 10: a chat room for any number of callers, and one in which a slow member slows nobody."""

from __future__ import annotations

import socket as standard
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from helpers.exercises.chat import WELCOME, Member, Room
from helpers.exercises.exercise import Exercise, NotYet

ROOM = 65536  #: bytes of each buffer of the system on the way to a member


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


def _judge_chat_room(answer: Callable[..., Any]) -> None:
    _talks(answer)
    _in_pieces(answer)
    _members_leave(answer)
    _many(answer)


def _talks(answer: Callable[..., Any], *args: Any) -> None:
    with Room(answer, *args) as room:
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
    with Room(answer, *args) as room:
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
    with Room(answer, *args) as room:
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
    with Room(answer, *args) as room:
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
    with Room(answer, 100_000, room=ROOM) as room:
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


def _until_the_end(room: Room, member: Member) -> int:
    """How many bytes a member hears until it is hung up on, or has heard all."""
    while len(member.heard) < 2_000_000:
        if how := member._more():
            if "nothing" in how:
                raise room.fault(f"{member.name} heard {len(member.heard):,} bytes, and was not hung up on")
            break
    return len(member.heard)


def _slow(answer: Callable[..., Any]) -> None:
    """One who is slow may be so, up to the limit; beyond it, nothing that is unsent is sent any more."""
    with Room(answer, 1_000_000, room=ROOM) as room:
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
