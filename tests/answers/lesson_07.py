"""Answers to the exercises of lesson 07."""

from __future__ import annotations

import contextlib
import select
import selectors
import threading
import time

from helpers import socket
from helpers.strategies import GREETING, SIZE, Conversation, accept, talk

# ---------------------------------------------------------------------- 7a


def within_by_settimeout(listener, limit):
    while True:
        connection = accept(listener)
        deadline = time.monotonic() + limit
        conversation = Conversation()
        try:
            answers = GREETING
            while True:
                connection.settimeout(max(0.0001, deadline - time.monotonic()))
                connection.sendall(answers)
                left = deadline - time.monotonic()
                if conversation.over or left <= 0:
                    break
                connection.settimeout(left)
                answers = conversation.hear(connection.recv(SIZE))
        except OSError:
            pass
        finally:
            connection.close()


def within_by_select(listener, limit):
    def rest(deadline):
        return max(0.0, deadline - time.monotonic())

    def serve(connection, deadline):
        connection.setblocking(False)
        conversation, unsent = Conversation(), GREETING
        while unsent or not conversation.over:
            if unsent:
                if not select.select([], [connection], [], rest(deadline))[1] or not rest(deadline):
                    return
                unsent = unsent[connection.send(unsent) :]
            else:
                if not select.select([connection], [], [], rest(deadline))[0] or not rest(deadline):
                    return
                unsent = conversation.hear(connection.recv(SIZE))

    while True:
        with accept(listener) as connection:
            try:
                serve(connection, time.monotonic() + limit)
            except OSError:
                continue


def within_by_a_timer(listener, limit):
    def cut(connection):
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    while True:
        connection = accept(listener)
        timer = threading.Timer(limit, cut, [connection])
        timer.start()
        talk(connection)
        timer.cancel()


def within_a_thread_each(listener, limit):
    def serve(connection):
        deadline, conversation, unsent = time.monotonic() + limit, Conversation(), GREETING
        with connection, contextlib.suppress(OSError):
            while unsent or not conversation.over:
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                connection.settimeout(left)
                if unsent:
                    unsent = unsent[connection.send(unsent) :]
                else:
                    unsent = conversation.hear(connection.recv(SIZE))

    while True:
        threading.Thread(target=serve, args=[accept(listener)], daemon=True).start()


def no_limit(listener, limit):
    while True:
        talk(accept(listener))


def each_wait_anew(listener, limit):
    while True:
        connection = accept(listener)
        connection.settimeout(limit)
        talk(connection)


def only_when_it_waits(listener, limit):
    """A deadline, but with data always there no wait is ever long."""
    while True:
        connection, conversation = accept(listener), Conversation()
        deadline = time.monotonic() + limit
        with connection, contextlib.suppress(OSError):
            connection.sendall(GREETING)
            while not conversation.over:
                connection.settimeout(max(0.01, deadline - time.monotonic()))
                connection.sendall(conversation.hear(connection.recv(SIZE)))


def sends_for_ever(listener, limit):
    while True:
        connection, conversation = accept(listener), Conversation()
        deadline = time.monotonic() + limit
        with connection, contextlib.suppress(OSError):
            connection.sendall(GREETING)
            while not conversation.over and (left := deadline - time.monotonic()) > 0:
                connection.settimeout(left)
                data = connection.recv(SIZE)
                connection.settimeout(None)
                connection.sendall(conversation.hear(data))


def time_out_ends_it(listener, limit):
    while True:
        connection, conversation = accept(listener), Conversation()
        deadline = time.monotonic() + limit
        with connection, contextlib.suppress(ConnectionError):
            connection.sendall(GREETING)
            while not conversation.over and (left := deadline - time.monotonic()) > 0:
                connection.settimeout(left)
                connection.sendall(conversation.hear(connection.recv(SIZE)))


def reset_ends_it(listener, limit):
    while True:
        connection, conversation = accept(listener), Conversation()
        deadline = time.monotonic() + limit
        with connection, contextlib.suppress(TimeoutError):
            connection.sendall(GREETING)
            while not conversation.over and (left := deadline - time.monotonic()) > 0:
                connection.settimeout(left)
                connection.sendall(conversation.hear(connection.recv(SIZE)))


def listener_has_the_limit(listener, limit):
    listener.settimeout(limit)
    within_by_settimeout(listener, limit)


def begins_before_accept(listener, limit):
    while True:
        deadline = time.monotonic() + limit
        connection, conversation = accept(listener), Conversation()
        with connection, contextlib.suppress(OSError):
            connection.sendall(GREETING)
            while not conversation.over and (left := deadline - time.monotonic()) > 0:
                connection.settimeout(left)
                connection.sendall(conversation.hear(connection.recv(SIZE)))


def cuts_at_once(listener, limit):
    while True:
        connection = accept(listener)
        connection.setblocking(False)
        talk(connection)


def half_the_time(listener, limit):
    within_by_settimeout(listener, limit / 2)


def serves_one(listener, limit):
    connection = accept(listener)
    connection.settimeout(limit)
    talk(connection)


def leaves_them_open(listener, limit):
    calls = []
    while True:
        connection, conversation = accept(listener), Conversation()
        calls.append(connection)
        deadline = time.monotonic() + limit
        with contextlib.suppress(OSError):
            connection.sendall(GREETING)
            while not conversation.over and (left := deadline - time.monotonic()) > 0:
                connection.settimeout(left)
                connection.sendall(conversation.hear(connection.recv(SIZE)))


def one_conversation_for_all(listener, limit):
    conversation = Conversation()
    while True:
        connection = accept(listener)
        deadline = time.monotonic() + limit
        with connection, contextlib.suppress(OSError):
            connection.sendall(GREETING)
            while (left := deadline - time.monotonic()) > 0:
                connection.settimeout(left)
                connection.sendall(conversation.hear(connection.recv(SIZE)))
                if conversation.over:
                    break


# ---------------------------------------------------------------------- 7b


def counted_with_selectors(address, count, seconds):
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as lines:
        for _ in range(count):
            line = lines.enter_context(socket.create_connection(address))
            selector.register(line, selectors.EVENT_READ)
        deadline, heard = time.monotonic() + seconds, 0
        while selector.get_map() and time.monotonic() < deadline:
            for key, _ in selector.select(max(0, deadline - time.monotonic())):
                selector.unregister(key.fileobj)
                with contextlib.suppress(OSError):
                    heard += bool(key.fileobj.recv(100))
        return heard


def counted_with_time_outs(address, count, seconds):
    lines = []
    try:
        for _ in range(count):
            lines.append(socket.create_connection(address))
        deadline = time.monotonic() + seconds
        heard = 0
        for line in lines:  # one after the other, but each with what is left for all
            line.settimeout(max(0.0, deadline - time.monotonic()))
            try:
                if line.recv(1):
                    heard += 1
            except OSError:
                pass
        return heard
    finally:
        for line in lines:
            line.close()


def counted_with_threads(address, count, seconds):
    greeted, lines = [], []

    def listen(line):
        with contextlib.suppress(OSError):
            if line.recv(255):
                greeted.append(line)

    try:
        lines += [socket.create_connection(address) for _ in range(count)]
        for line in lines:
            line.settimeout(seconds)
        threads = [threading.Thread(target=listen, args=[line]) for line in lines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for line in lines:
            line.close()
    return len(greeted)


def waits_for_each_before_the_next(address, count, seconds):
    greeted = 0
    with contextlib.ExitStack() as lines:
        for _ in range(count):
            line = lines.enter_context(socket.create_connection(address))
            line.settimeout(seconds)
            with contextlib.suppress(OSError):
                greeted += line.recv(255) != b""
    return greeted


def seconds_for_each(address, count, seconds):
    lines = [socket.create_connection(address) for _ in range(count)]
    greeted = 0
    for line in lines:
        line.settimeout(seconds)
        with contextlib.suppress(OSError):
            greeted += line.recv(255) != b""
        line.close()
    return greeted


def counts_the_hung_up(address, count, seconds):
    lines = [socket.create_connection(address) for _ in range(count)]
    deadline, waiting = time.monotonic() + seconds, list(lines)
    while waiting and (left := deadline - time.monotonic()) > 0:
        for line in select.select(waiting, [], [], left)[0]:
            waiting.remove(line)
    for line in lines:
        line.close()
    return count - len(waiting)


def counts_the_dials(address, count, seconds):
    lines = [socket.create_connection(address) for _ in range(count)]
    for line in lines:
        line.close()
    return len(lines)


def reset_is_raised(address, count, seconds):
    lines = [socket.create_connection(address) for _ in range(count)]
    deadline, waiting, greeted = time.monotonic() + seconds, list(lines), 0
    while waiting and (left := deadline - time.monotonic()) > 0:
        for line in select.select(waiting, [], [], left)[0]:
            waiting.remove(line)
            greeted += line.recv(1) != b""
    for line in lines:
        line.close()
    return greeted


def time_out_is_raised(address, count, seconds):
    lines = [socket.create_connection(address) for _ in range(count)]
    deadline, greeted = time.monotonic() + seconds, 0
    for line in lines:
        line.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            greeted += line.recv(1) != b""
        except ConnectionError:
            pass
        line.close()
    return greeted


def waits_to_the_end(address, count, seconds):
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(socket.create_connection(address)) for _ in range(count)]
        threading.Event().wait(seconds)
        return len(select.select(lines, [], [], 0)[0])


def looks_once(address, count, seconds):
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(socket.create_connection(address)) for _ in range(count)]
        greeted = 0
        for line in lines:
            line.setblocking(False)
            with contextlib.suppress(OSError):
                greeted += line.recv(1) != b""
        return greeted


def leaves_lines_open(address, count, seconds):
    lines = [socket.create_connection(address) for _ in range(count)]
    leaves_lines_open.kept = lines
    deadline, waiting, greeted = time.monotonic() + seconds, list(lines), 0
    while waiting and (left := deadline - time.monotonic()) > 0:
        for line in select.select(waiting, [], [], left)[0]:
            waiting.remove(line)
            with contextlib.suppress(OSError):
                greeted += line.recv(1) != b""
    return greeted


def swallows_the_refusal(address, count, seconds):
    try:
        return counted_with_selectors(address, count, seconds)
    except OSError:
        return 0


RIGHT = {
    "7a": [within_by_settimeout, within_by_select, within_by_a_timer, within_a_thread_each],
    "7b": [counted_with_selectors, counted_with_time_outs, counted_with_threads],
}
WRONG = {
    "7a": [
        (no_limit, "The silent caller holds your server"),
        (each_wait_anew, "each byte began it anew"),
        (only_when_it_waits, "look at the clock each time round, too"),
        (sends_for_ever, "Sending waits, too"),
        (time_out_ends_it, "One says nothing, another one dials (limit=0.5): your function raised TimeoutError"),
        (reset_ends_it, "then another: your function raised ConnectionResetError"),
        (listener_has_the_limit, "Nobody calls for a while, then a caller (limit=0.3): your function raised"),
        (begins_before_accept, "The time begins anew with every accept()"),
        (cuts_at_once, "the caller should have heard"),
        (half_the_time, "It may still speak until"),
        (serves_one, "your function returned None. A server goes on"),
        (leaves_them_open, "the server should have hung up"),
        (one_conversation_for_all, "the caller should have heard b'1 hello"),
    ],
    "7b": [
        (waits_for_each_before_the_next, "All dial first"),
        (seconds_for_each, "The seconds are for all callers together"),
        (counts_the_hung_up, "or a reset has heard nothing"),
        (counts_the_dials, "3 heard something, and your function returned 5"),
        (reset_is_raised, "is simply not counted"),
        (time_out_is_raised, "raised TimeoutError"),
        (waits_to_the_end, "All were greeted: return then"),
        (looks_once, "heard something, and your function returned"),
        (leaves_lines_open, "left 5 of its sockets open"),
        (swallows_the_refusal, "Let the error of the dial"),
    ],
}
