"""Servers for races: small ones that keep to the protocol, and ones that are wrong in all ways that a race must tell.

They are run in processes of their own, where nothing of the tests can be imported.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time

GREETING = b"who is calling?\n"


def converse(connection, number=lambda count: count, text=lambda line: line):
    """Greets, answers line by line, and hangs up after quit, or at the end."""
    with connection, connection.makefile("rb") as lines:
        connection.sendall(GREETING)
        for count, line in enumerate(lines, 1):
            if line == b"quit\n":
                connection.sendall(b"bye\n")
                return
            connection.sendall(b"%d %b" % (number(count), text(line)))


def quietly(connection, *how):
    """The same; a caller that is gone is no error."""
    try:
        converse(connection, *how)
    except OSError:
        pass


def in_turn(listener):
    while True:
        quietly(listener.accept()[0])


def a_thread_each(listener, *how):
    while True:
        threading.Thread(target=quietly, args=(listener.accept()[0], *how), daemon=True).start()


async def in_a_loop(listener):
    async def one(reader, writer):
        writer.write(GREETING)
        count = 0
        try:
            while (line := await reader.readline()).endswith(b"\n"):
                count += 1
                writer.write(b"bye\n" if line == b"quit\n" else b"%d %b" % (count, line))
                await writer.drain()
                if line == b"quit\n":
                    break
        except OSError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(one, sock=listener) as server:
        await server.serve_forever()


def talkative(listener):
    """It prints; nobody sees it."""
    print("listening", "on" * 100_000, flush=True)
    print("an error", file=sys.stderr, flush=True)
    a_thread_each(listener)


def with_a_child(listener):
    """It starts a process, which must not stay when the server is gone."""
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    a_thread_each(listener)


def a_process_each(listener):
    """A child of multiprocessing for each caller: it closes sys.stdin before it does anything."""
    import multiprocessing

    Process = multiprocessing.get_context("fork").Process
    while True:
        connection, _ = listener.accept()
        Process(target=quietly, args=(connection,)).start()
        connection.close()


# ---------------------------------------------------------------------- wrong ones


def crashes_at_once(listener):
    raise LookupError("no such thing")


def crashes_at_a_line(listener):
    def text(line):
        raise ZeroDivisionError("it divides by zero")

    while True:
        converse(listener.accept()[0], lambda count: count, text)


def crashes_in_its_threads(listener):
    def one(connection):
        with connection:
            connection.sendall(GREETING)
            connection.recv(100)
            raise ZeroDivisionError("it divides by zero")

    while True:
        threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()


async def crashes_in_its_tasks(listener):
    async def one(reader, writer):
        writer.write(GREETING)
        await reader.readline()
        raise ZeroDivisionError("it divides by zero")

    async with await asyncio.start_server(one, sock=listener) as server:
        await server.serve_forever()


def returns(listener):
    return None


def vanishes(listener):
    listener.accept()
    os._exit(7)


def is_killed(listener):
    """As the system does when memory runs out."""
    listener.accept()
    os.kill(os.getpid(), 9)


def accepts_nobody(listener):
    time.sleep(100)


def is_busy(listener):
    while True:
        pass


def says_nothing(listener):
    kept = []
    while True:
        kept.append(listener.accept()[0])


def never_answers(listener):
    kept = []
    while True:
        kept.append(listener.accept()[0])
        kept[-1].sendall(GREETING)


def mixes_up(listener):
    """It keeps the last line of all, and answers with that."""
    last = [b""]

    def text(line):
        before, last[0] = last[0], line
        return before or line

    a_thread_each(listener, lambda count: count, text)


def counts_for_all(listener):
    counted = [0]

    def number(count):
        counted[0] += 1
        return counted[0]

    a_thread_each(listener, number)


def shouts(listener):
    a_thread_each(listener, lambda count: count, bytes.upper)


def does_not_greet(listener):
    def one(connection):
        with connection:
            while data := connection.recv(4096):
                connection.sendall(data)

    while True:
        threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()


def hangs_up(listener):
    """It answers one line, and hangs up."""

    def one(connection):
        with connection:
            connection.sendall(GREETING)
            connection.sendall(b"1 " + connection.recv(4096))

    while True:
        threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()


def stays_after_quit(listener):
    kept = []

    def one(connection):
        kept.append(connection)
        connection.sendall(GREETING)
        for count, line in enumerate(connection.makefile("rb"), 1):
            connection.sendall(b"%d %b" % (count, line))

    while True:
        threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()


def has_room_for(listener, room):
    """It refuses, politely, who is one too many.  Who sees that a call has ended finds the room free."""
    free = threading.Semaphore(room)

    def one(connection):
        with connection:
            quietly(connection.dup())
            free.release()

    while True:
        connection, _ = listener.accept()
        if free.acquire(blocking=False):
            threading.Thread(target=one, args=(connection,), daemon=True).start()
        else:
            connection.sendall(b"all lines are busy\n")
            connection.close()


def keeps_few(listener):
    """It accepts five callers and no more."""
    kept = []
    for _ in range(5):
        connection, _ = listener.accept()
        threading.Thread(target=quietly, args=(connection,), daemon=True).start()
        kept.append(connection)
    time.sleep(100)


def has_threads_for(listener, few):
    """The system gives it no more threads than these."""
    for _ in range(few):
        threading.Thread(target=quietly, args=(listener.accept()[0],), daemon=True).start()
    listener.accept()
    raise RuntimeError("can't start new thread")


def looks_at_too_many(listener):
    """As a selector of Windows, which has select() alone."""
    quietly(listener.accept()[0])
    raise ValueError("too many file descriptors in select()")


def closes_without_threads(listener, few):
    """The course's own thread_per_caller, to which the system gives no more threads than these; one raises before."""
    from helpers.strategies import thread_per_caller

    name = "_start_joinable_thread" if hasattr(threading, "_start_joinable_thread") else "_start_new_thread"
    start, left = getattr(threading, name), [few]

    def start_few(*what, **how):
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        return start(*what, **how)

    threading.Thread(target=crashes_at_once, args=(listener,)).start()
    setattr(threading, name, start_few)
    thread_per_caller(listener)


def program(port):
    """The same as a program of its own: `python subjects.py 0`."""
    with socket.create_server(("127.0.0.1", port), backlog=128) as listener:
        print("listening on port", listener.getsockname()[1], flush=True)
        a_thread_each(listener)


if __name__ == "__main__":
    if "killed" in sys.argv[0]:
        a_thread_each = is_killed
    program(int(sys.argv[1]))
