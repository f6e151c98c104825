"""Answers to the exercises of lesson 02."""

from __future__ import annotations

import socketserver

REPLY = b"I got your message"


# ---------------------------------------------------------------------- 2a


def answer_by_hand(listener):
    transfer, _ = listener.accept()
    try:
        message = transfer.recv(255)
        transfer.sendall(REPLY)
        return message
    finally:
        transfer.close()


def answer_with_a_file(listener):
    transfer, _ = listener.accept()
    with transfer, transfer.makefile("rwb", buffering=0) as file:
        message = file.read(255)
        file.write(REPLY)
        return message


def answer_with_socketserver(listener):
    heard = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            heard.append(self.request.recv(255))
            self.request.sendall(REPLY)

    transfer, caller = listener.accept()
    with transfer:
        Handler(transfer, caller, None)
    return heard[0]


def receives_on_listener(listener):
    message = listener.recv(255)
    listener.sendall(REPLY)
    return message


def echoes(listener):
    transfer, _ = listener.accept()
    with transfer:
        message = transfer.recv(255)
        transfer.sendall(message)
    return message


def never_closes(listener):
    transfer, _ = listener.accept()
    message = transfer.recv(255)
    transfer.sendall(REPLY)
    return message


def closes_the_listener(listener):
    message = answer_by_hand(listener)
    listener.close()
    return message


def never_answers(listener):
    transfer, _ = listener.accept()
    with transfer:
        return transfer.recv(255)


def returns_text(listener):
    return answer_by_hand(listener).decode("latin-1")


def returns_nothing(listener):
    answer_by_hand(listener)


def answers_before_it_hears(listener):
    transfer, _ = listener.accept()
    with transfer:
        transfer.sendall(REPLY)
        return b"hello"


def answers_then_hears(listener):
    transfer, _ = listener.accept()
    with transfer:
        transfer.sendall(REPLY)
        return transfer.recv(255)


# ---------------------------------------------------------------------- 2b


def three_by_comprehension(listener):
    return [answer_by_hand(listener) for _ in range(3)]


def three_by_recursion(listener, left=3):
    return [answer_with_a_file(listener), *three_by_recursion(listener, left - 1)] if left else []


def accepts_once(listener):
    transfer, _ = listener.accept()
    messages = []
    with transfer:
        for _ in range(3):
            messages.append(transfer.recv(255))
            transfer.sendall(REPLY)
    return messages


def accepts_all_first(listener):
    messages = []
    for transfer in [listener.accept()[0] for _ in range(3)]:
        with transfer:
            messages.append(transfer.recv(255))
            transfer.sendall(REPLY)
    return messages


def closes_listener_each_time(listener):
    messages = []
    for _ in range(3):
        messages.append(answer_by_hand(listener))
        listener.close()
    return messages


def answers_two(listener):
    return [answer_by_hand(listener) for _ in range(2)]


def joins_them(listener):
    return b"".join(answer_by_hand(listener) for _ in range(3))


def skips_the_silent(listener):
    return [message for message in three_by_comprehension(listener) if message]


def leaves_all_open(listener):
    return [never_closes(listener) for _ in range(3)]


# ---------------------------------------------------------------------- 2c


def print_with_getpeername(listener, count):
    for _ in range(count):
        transfer, _ = listener.accept()
        with transfer:
            print(*transfer.getpeername(), sep=":")


def print_pairs(listener, count):
    while count:
        transfer, caller = listener.accept()
        print(caller)
        transfer.close()
        count -= 1


def prints_own_address(listener, count):
    for _ in range(count):
        transfer, _ = listener.accept()
        print(transfer.getsockname())
        transfer.close()


def prints_nothing(listener, count):
    return [listener.accept()[0].close() for _ in range(count)]


def prints_port_only(listener, count):
    for _ in range(count):
        transfer, (_, port) = listener.accept()
        print(port)
        transfer.close()


def prints_first_only(listener, count):
    for n in range(count):
        transfer, caller = listener.accept()
        if n == 0:
            print(caller)
        transfer.close()


def prints_reversed(listener, count):
    callers = []
    for _ in range(count):
        transfer, caller = listener.accept()
        transfer.close()
        callers.insert(0, caller)
    print(*callers, sep="\n")


def prints_and_stays(listener, count):
    for _ in range(count):
        print(listener.accept()[1])


RIGHT = {
    "2a": [answer_by_hand, answer_with_a_file, answer_with_socketserver],
    "2b": [three_by_comprehension, three_by_recursion],
    "2c": [print_with_getpeername, print_pairs],
}
WRONG = {
    "2a": [
        (receives_on_listener, "Data never passes over the listener"),
        (echoes, "heard its own words again"),
        (never_closes, "was never closed by your function"),
        (closes_the_listener, "closed the listener"),
        (never_answers, "the call ended without one"),
        (returns_text, "returned text"),
        (returns_nothing, "returned None"),
        (answers_before_it_hears, "Receive first, then answer"),
        (answers_then_hears, "Receive first, then answer"),
    ],
    "2b": [
        (accepts_once, "accept() again for each"),
        (accepts_all_first, "answer one before you accept the next"),
        (closes_listener_each_time, "Close only the transfer socket"),
        (answers_two, "2 of 3 callers were answered"),
        (joins_them, "Return a list"),
        (skips_the_silent, "the messages were"),
        (leaves_all_open, "3 transfer sockets were never closed"),
    ],
    "2c": [
        (prints_own_address, "is your own, the listener's"),
        (prints_nothing, "printed nothing"),
        (prints_port_only, "has the caller's port and not the host"),
        (prints_first_only, "printed 1 lines"),
        (prints_reversed, "and caller 1 called from port"),
        (prints_and_stays, "a transfer socket was never closed"),
    ],
}
