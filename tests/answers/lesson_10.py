"""Answers to lesson 10."""

import asyncio
import selectors
import threading
from contextlib import suppress

# ---------------------------------------------------------------------- 10a


class _Speaker(asyncio.Protocol):
    def __init__(self, members):
        self.members, self.rest = members, b""

    def connection_made(self, transport):
        self.transport = transport
        self.members.append(self)
        transport.write(b"welcome\n")

    def data_received(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            for member in self.members:
                if member is not self:
                    member.transport.write(line + b"\n")

    def connection_lost(self, problem):
        self.members.remove(self)


async def with_a_protocol(listener):
    members = []
    server = await asyncio.get_running_loop().create_server(lambda: _Speaker(members), sock=listener)
    await server.serve_forever()


async def with_a_task_group(listener):
    loop, members = asyncio.get_running_loop(), {}

    async def serve(connection, number):
        rest = b""
        try:
            await loop.sock_sendall(connection, b"welcome\n")
            members[number] = connection
            while data := await loop.sock_recv(connection, 4096):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    for other, member in list(members.items()):
                        if other != number:
                            with suppress(ConnectionError):
                                await loop.sock_sendall(member, line + b"\n")
        except ConnectionError:
            pass
        finally:
            members.pop(number, None)
            connection.close()

    async with asyncio.TaskGroup() as calls:
        number = 0
        while True:
            connection, _ = await loop.sock_accept(listener)
            connection.setblocking(False)
            number += 1
            calls.create_task(serve(connection, number))


async def with_drain(listener):
    members = []

    async def serve(reader, writer):
        try:
            members.append(writer)
            writer.write(b"welcome\n")
            await writer.drain()
            async for line in reader:
                if not line.endswith(b"\n"):
                    break
                for member in list(members):
                    if member is not writer:
                        member.write(line)
                        with suppress(OSError):
                            await member.drain()
        except OSError:
            pass
        members.remove(writer)
        writer.close()

    server = await asyncio.start_server(serve, sock=listener)
    async with server:
        await server.serve_forever()


def with_threads(listener):
    """No asyncio at all."""
    members, lock = set(), threading.Lock()

    def serve(connection):
        with connection, suppress(OSError):
            with lock:
                members.add(connection)
                connection.sendall(b"welcome\n")
            rest = b""
            try:
                while data := connection.recv(4096):
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        with lock:
                            for member in members - {connection}:
                                with suppress(OSError):
                                    member.sendall(line + b"\n")
            finally:
                with lock:
                    members.discard(connection)

    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=[connection], daemon=True).start()


def _room(
    read=lambda reader: reader.readline(),
    told=lambda members, writer: members - {writer},
    tell=None,
    welcome=b"welcome\n",
    whole=True,
    caught=(ConnectionError,),
    close=lambda writer: writer.close(),
    remember=lambda members, writer: members.add(writer),
):
    """A right answer, but for one thing."""

    async def chat_room(listener):
        members = set()

        async def serve(reader, writer):
            remember(members, writer)
            writer.write(welcome)
            try:
                while line := await read(reader):
                    if whole and not line.endswith(b"\n"):
                        break
                    for member in told(members, writer):
                        if tell is not None:
                            await tell(member, line)
                        else:
                            member.write(line)
            except caught:
                pass
            finally:
                members.discard(writer)
                close(writer)

        async with await asyncio.start_server(serve, sock=listener) as server:
            await server.serve_forever()

    return chat_room


async def one_after_the_other(listener):
    loop = asyncio.get_running_loop()
    while True:
        connection, _ = await loop.sock_accept(listener)
        reader, writer = await asyncio.open_connection(sock=connection)
        writer.write(b"welcome\n")
        while await reader.readline():
            pass
        writer.close()


async def a_reset_ends_it(listener):
    loop, members = asyncio.get_running_loop(), set()

    async def serve(connection):
        reader, writer = await asyncio.open_connection(sock=connection)
        members.add(writer)
        writer.write(b"welcome\n")
        while (line := await reader.readline()).endswith(b"\n"):
            for member in members - {writer}:
                member.write(line)
        members.discard(writer)
        writer.close()

    async with asyncio.TaskGroup() as calls:
        while True:
            connection, _ = await loop.sock_accept(listener)
            calls.create_task(serve(connection))


async def returns_at_once(listener):
    async def serve(reader, writer):
        writer.write(b"welcome\n")

    await asyncio.start_server(serve, sock=listener)


async def never_cancelled(listener):
    right = asyncio.ensure_future(_room()(listener))
    while True:
        try:
            await asyncio.wait([right])
        except asyncio.CancelledError:
            pass


async def blocks_the_loop(listener):
    listener.setblocking(True)
    members = set()

    async def serve(connection):
        reader, writer = await asyncio.open_connection(sock=connection)
        members.add(writer)
        writer.write(b"welcome\n")
        while (line := await reader.readline()).endswith(b"\n"):
            for member in members - {writer}:
                member.write(line)

    tasks = []
    while True:
        connection, _ = listener.accept()
        tasks.append(asyncio.create_task(serve(connection)))
        await asyncio.sleep(0)


async def reads_on_after_the_end(listener):
    members = set()

    async def serve(reader, writer):
        members.add(writer)
        writer.write(b"welcome\n")
        while True:
            line = await reader.readline()
            for member in members - {writer}:
                member.write(line)

    async with await asyncio.start_server(serve, sock=listener) as server:
        await server.serve_forever()


async def has_no_coroutine(listener):
    def serve(reader, writer):
        writer.write(b"welcome\n")
        writer.write(reader.readline())

    async with await asyncio.start_server(serve, sock=listener) as server:
        await server.serve_forever()


async def forgets_the_async(listener):
    asyncio.start_server(print, sock=listener)


# ---------------------------------------------------------------------- 10b


async def with_queues(listener, limit=100_000):
    """A queue, and a task that empties it, for every member."""
    members = {}

    async def deliver(writer, queue):
        with suppress(ConnectionError):
            while True:
                writer.write(await queue.get())
                await writer.drain()

    async def serve(reader, writer):
        queue = asyncio.Queue()
        kept = asyncio.create_task(deliver(writer, queue))
        members[writer] = queue
        queue.put_nowait(b"welcome\n")
        try:
            while (line := await reader.readline()).endswith(b"\n"):
                for other, theirs in list(members.items()):
                    if other is not writer:
                        theirs.put_nowait(line)
                        if theirs.qsize() * len(line) > limit:
                            del members[other]
                            other.transport.abort()
        except ConnectionError:
            pass
        finally:
            members.pop(writer, None)
            kept.cancel()
            writer.close()

    async with await asyncio.start_server(serve, sock=listener) as server:
        await server.serve_forever()


class _Fair(_Speaker):
    def __init__(self, members, limit):
        super().__init__(members)
        self.limit = limit

    def data_received(self, data):
        super().data_received(data)
        for member in self.members:
            if member.transport.get_write_buffer_size() > self.limit:
                member.transport.abort()


async def fair_with_a_protocol(listener, limit=100_000):
    members = []
    server = await asyncio.get_running_loop().create_server(lambda: _Fair(members, limit), sock=listener)
    await server.serve_forever()


def fair_with_selectors(listener, limit=100_000):
    """The loop of lesson 09."""
    selector, members = selectors.DefaultSelector(), {}
    listener.setblocking(False)
    selector.register(listener, selectors.EVENT_READ)

    def lose(member):
        selector.unregister(member)
        del members[member]
        member.close()

    def say(member, data):
        unsent = members[member][1]
        unsent += data
        try:
            if unsent:
                del unsent[: member.send(unsent)]
        except BlockingIOError:
            pass
        except OSError:
            return lose(member)
        if len(unsent) > limit:
            return lose(member)
        both = selectors.EVENT_READ | selectors.EVENT_WRITE
        selector.modify(member, both if unsent else selectors.EVENT_READ)
        return None

    def hear(member):
        try:
            data = member.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            lose(member)
            return
        *lines, members[member][0] = (members[member][0] + data).split(b"\n")
        for line in lines:
            for other in list(members):
                if other is not member and other in members:
                    say(other, line + b"\n")

    while True:
        for key, events in selector.select():
            if key.fileobj is listener:
                member, _ = listener.accept()
                member.setblocking(False)
                members[member] = [b"", bytearray()]
                selector.register(member, selectors.EVENT_READ)
                say(member, b"welcome\n")
            elif key.fileobj in members and events & selectors.EVENT_WRITE:
                say(key.fileobj, b"")
            elif key.fileobj in members:
                hear(key.fileobj)


def _fair(too_much=lambda size, limit: size > limit, end=lambda member: member.transport.abort(), forget=True):
    """A right answer, but for one thing."""

    async def fair_room(listener, limit=100_000):
        members = set()

        async def serve(reader, writer):
            members.add(writer)
            writer.write(b"welcome\n")
            try:
                while (line := await reader.readline()).endswith(b"\n"):
                    for member in members - {writer}:
                        member.write(line)
                        if too_much(member.transport.get_write_buffer_size(), limit):
                            if forget:
                                members.discard(member)
                            end(member)
            except ConnectionError:
                pass
            finally:
                members.discard(writer)
                writer.close()

        async with await asyncio.start_server(serve, sock=listener) as server:
            await server.serve_forever()

    return fair_room


async def waits_for_the_slow(listener, limit=100_000):
    async def tell(member, line):
        member.write(line)
        with suppress(ConnectionError):
            await member.drain()

    await _room(tell=tell)(listener)


async def tells_the_slow_less(listener, limit=100_000):
    async def tell(member, line):
        if member.transport.get_write_buffer_size() <= limit:
            member.write(line)

    await _room(tell=tell)(listener)


async def waits_a_second(listener, limit=100_000):
    async def tell(member, line):
        member.write(line)
        try:
            await asyncio.wait_for(member.drain(), 0.2)
        except OSError:
            member.transport.abort()

    await _room(tell=tell)(listener)


async def keeps_it_all(listener, limit=100_000):
    await _room()(listener)


async def _write(member, line):
    member.write(line.strip())


RIGHT = {
    "10a": [with_a_protocol, with_a_task_group, with_drain, with_threads],
    "10b": [with_queues, fair_with_a_protocol, fair_with_selectors],
}
WRONG = {
    "10a": [
        (_room(told=lambda members, writer: set(members)), "(what it had said itself)"),
        (_room(read=lambda reader: reader.read(4096), whole=False), "heard b'twI am Ben"),
        (_room(whole=False), "Ben hangs up in the middle of a line"),
        (_room(welcome=b""), "should have heard b'welcome\\n', and heard nothing"),
        (_room(tell=_write), "and heard b'good evening', and then"),
        (_room(close=lambda writer: None), "Ben was not hung up on"),
        (
            _room(remember=lambda members, writer: members.clear() or members.add(writer)),
            "Anna says a line to Ben and Cleo: Ben should have heard b'good evening\\n', and heard nothing",
        ),
        (one_after_the_other, "Ben should have heard b'welcome"),
        (a_reset_ends_it, "your room ended with ExceptionGroup"),
        (returns_at_once, "It goes on until it is cancelled"),
        (never_cancelled, "CancelledError is to go through"),
        (blocks_the_loop, "nothing for 4 seconds"),
        (forgets_the_async, "your room ended"),
        (_room(remember=lambda members, writer: members.append(writer)), "In a task of your room there was Attribute"),
        (_room(welcome="welcome"), "In a task of your room there was TypeError"),
        (reads_on_after_the_end, "your room kept its loop for itself"),
        (has_no_coroutine, "not 'coroutine'"),
    ],
    "10b": [
        (keeps_it_all, "kept it all for Sleepy"),
        (waits_for_the_slow, "Does your room wait for Sleepy?"),
        (tells_the_slow_less, "was not hung up on"),
        (waits_a_second, "Slow begins to read after that"),
        (_fair(too_much=lambda size, limit: size > 0), "Slow begins to read after that (limit=1_000_000): Slow should"),
        (_fair(end=lambda member: member.close()), "close() sends first"),
        (_fair(end=lambda member: None), "was not hung up on"),
        (_fair(too_much=lambda size, limit: size > 100_000), "Slow should have heard"),
    ],
}
