"""The servers of Part II: one protocol, and six ways to serve many callers.  The lessons arrive at this very text.

The protocol, over TCP: the server greets each caller, then answers each line (its end is a newline, or a carriage
return and a newline) by its number in this call, a space, and its text.  The line "quit" is answered "bye", and the
server hangs up.  It also hangs up after the end of the caller's stream, where what is no whole line is not answered,
and after more than `LIMIT` bytes without a newline.

Each strategy is a plain function of a listener, and serves until it is ended: `serving(selector_loop)`, or, as a
program of its own, `python helpers/strategies.py selector_loop`.  Of each caller it keeps no more than what it has read
at once and the answers to that: who does not read is not read from.  Where there is no room for one more call (EMFILE
and its like, accept(2)), the caller waits in the listener's queue, and is looked for again after `PAUSE` seconds.
"""

import asyncio
import errno
import inspect
import selectors
import socket
import sys
import threading
import time

GREETING = b"hello, and your lines?\n"
LIMIT = 4096  #: bytes of a line, without its newline
SIZE = 4096  #: bytes that are read at once, at most
PAUSE = 0.05  #: seconds until the next look, where there was no room for a call
NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}  # no descriptors, or no memory for one


class Conversation:
    """What is said in one call, with no socket in it: the caller's bytes go in, the answers come out.

    It is `over` when nothing more is to be said: what is to be sent yet is sent, and the call closed.
    """

    def __init__(self):
        self.number, self.rest, self.over = 0, b"", False

    def hear(self, data):
        """Take what has come, cut anywhere (b"" is the end of the stream), and return the answers to it."""
        *lines, self.rest = (self.rest + data).split(b"\n")
        answers = []
        for line in lines:
            text = line.removesuffix(b"\r")
            if len(line) > LIMIT:
                self.over = True
            elif text == b"quit":
                answers.append(b"bye\n")
                self.over = True
            else:
                self.number += 1
                answers.append(b"%d %s\n" % (self.number, text))
            if self.over:
                break
        self.over = self.over or len(self.rest) > LIMIT or not data
        return b"".join(answers)


# ---------------------------------------------------------------------- a thread waits for one caller


def talk(connection):
    """Serve one caller to the end of the call, and wait whenever it makes us wait."""
    conversation = Conversation()
    with connection:
        try:
            connection.sendall(GREETING)
            while not conversation.over:
                connection.sendall(conversation.hear(connection.recv(SIZE)))
        except OSError:  # the caller reset the call, or cannot be reached any more: that ends this call alone
            pass


def accept(listener):
    """The next call, as soon as there are both a caller and room for it."""
    while True:
        try:
            connection, _ = listener.accept()
            return connection
        except ConnectionAbortedError:  # the caller did not wait
            pass
        except OSError as problem:
            if problem.errno not in NO_ROOM:
                raise
            time.sleep(PAUSE)


def one_at_a_time(listener):
    """One caller after the other: who dials meanwhile waits in the listener's queue."""
    while True:
        talk(accept(listener))


def thread_per_caller(listener):
    """A thread for every caller, begun and ended with the call."""
    while True:
        connection = accept(listener)
        try:
            threading.Thread(target=talk, args=[connection], daemon=True).start()
        except RuntimeError:  # the system has no thread left
            connection.close()


def thread_pool(listener, size=32):
    """A fixed number of threads: each takes the next caller out of the queue when it is done with one."""
    for _ in range(size - 1):
        threading.Thread(target=one_at_a_time, args=[listener], daemon=True).start()
    one_at_a_time(listener)


# ---------------------------------------------------------------------- one thread waits for all callers


class Caller:
    """What the loop has to keep for each: the connection, what was said, and what is still to be sent."""

    def __init__(self, connection):
        self.connection, self.conversation, self.unsent = connection, Conversation(), GREETING

    def go_on(self):
        """Do what can be done without waiting.  Return the event to wait for now; None, if the call is over."""
        try:
            if not self.unsent:
                self.unsent = self.conversation.hear(self.connection.recv(SIZE))
            if self.unsent:
                sent = self.connection.send(self.unsent)
                self.unsent = self.unsent[sent:]
        except BlockingIOError:  # nothing came, or nothing more can be sent now
            pass
        except OSError:
            return None
        if self.unsent:  # it does not read, so it is not read from
            return selectors.EVENT_WRITE
        return None if self.conversation.over else selectors.EVENT_READ


def welcome(listener, selector):
    """Take all calls out of the queue and greet them.  Return whether there was room for all."""
    while True:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:  # nobody is left in the queue
            return True
        except ConnectionAbortedError:
            continue
        except OSError as problem:
            if problem.errno not in NO_ROOM:
                raise
            selector.unregister(listener)  # look away from the queue, which would be ready again and again
            return False
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_WRITE, Caller(connection))


def attend(key, selector):
    """Go on with a caller who can be read from, or sent to."""
    caller = key.data
    events = caller.go_on()
    if events is None:
        selector.unregister(caller.connection)
        caller.connection.close()
    elif events != key.events:
        selector.modify(caller.connection, events, caller)


def hang_up(selector):
    """The loop was told to end: close every call."""
    for key in list(selector.get_map().values()):
        if key.data:
            key.data.connection.close()


def selector_loop(listener):
    """One thread for all: it waits for whatever comes first, and does only what needs no waiting."""
    listener.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        room = True
        try:
            while True:
                ready = selector.select(None if room else PAUSE)
                if not room:  # look again
                    selector.register(listener, selectors.EVENT_READ)
                    room = True
                for key, _ in ready:
                    if key.data:
                        attend(key, selector)
                    else:
                        room = welcome(listener, selector)
        finally:
            hang_up(selector)


# ---------------------------------------------------------------------- the event loop of asyncio waits for all


async def next_call(listener):
    """What `accept` is for threads: the next call, as soon as there are both a caller and room for it."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            connection, _ = await loop.sock_accept(listener)
            return connection
        except ConnectionAbortedError:
            pass
        except OSError as problem:
            if problem.errno not in NO_ROOM:
                raise
            await asyncio.sleep(PAUSE)


async def converse(connection):
    """What `talk` is for threads: serve one caller; whenever it makes us wait, the loop goes on with others."""
    conversation = Conversation()
    try:
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            writer.write(GREETING)
            while not conversation.over:
                writer.write(conversation.hear(await reader.read(SIZE)))
                await writer.drain()  # as long as much is unsent, nothing more is read
            writer.close()
            await writer.wait_closed()
        finally:
            if writer.transport.get_write_buffer_size():  # we were told to stop: what is unsent stays so
                writer.transport.abort()
            writer.close()
    except OSError:
        pass


async def asyncio_streams(listener):
    """A task for every caller, all in one thread."""
    listener.setblocking(False)
    async with asyncio.TaskGroup() as callers:
        while True:
            callers.create_task(converse(await next_call(listener)))


class Answering(asyncio.Protocol):
    """One call, as the loop tells of it: it calls a method for everything that happens."""

    def __init__(self, calls):
        self.calls, self.conversation = calls, Conversation()

    def connection_made(self, transport):
        """The call begins: greet the caller."""
        self.transport = transport
        self.calls.add(transport)
        transport.write(GREETING)

    def data_received(self, data):
        """Something has come.  (At the end of the stream the loop closes the call by itself.)"""
        self.transport.write(self.conversation.hear(data))
        if self.conversation.over:
            self.transport.close()  # when all is sent

    def pause_writing(self):
        """Much is unsent: read nothing more."""
        self.transport.pause_reading()

    def resume_writing(self):
        """It has been sent."""
        self.transport.resume_reading()

    def connection_lost(self, problem):
        """The call is over, in whatever way."""
        self.calls.discard(self.transport)


async def begin(connection, calls):
    """Tell the loop of a call, so that it makes an object for it."""
    loop = asyncio.get_running_loop()
    try:
        await loop.connect_accepted_socket(lambda: Answering(calls), connection)
    except OSError:
        connection.close()


async def asyncio_protocol(listener):
    """No task for a caller, once its call has begun: only an object whose methods the loop calls."""
    listener.setblocking(False)
    calls: set[asyncio.Transport] = set()
    try:
        async with asyncio.TaskGroup() as beginnings:  # so that none waits until another has begun
            while True:
                beginnings.create_task(begin(await next_call(listener), calls))
    finally:
        for transport in calls:
            transport.abort()


# ---------------------------------------------------------------------- as a program


def listen_and(serve, port=0, backlog=128):
    """Listen on loopback, tell the port, and serve until Ctrl-C."""
    try:
        with socket.create_server(("127.0.0.1", port), backlog=backlog) as listener:
            print("listening on port", listener.getsockname()[1], flush=True)
            if inspect.iscoroutinefunction(serve):
                asyncio.run(serve(listener))
            else:
                serve(listener)
    except KeyboardInterrupt:
        pass


STRATEGIES = (one_at_a_time, thread_per_caller, thread_pool, selector_loop, asyncio_streams, asyncio_protocol)

if __name__ == "__main__":
    name, *numbers = sys.argv[1:]
    listen_and(next(serve for serve in STRATEGIES if serve.__name__ == name), *map(int, numbers))
