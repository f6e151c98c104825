"""Answers to the exercises, right ones in other styles and plausible wrong ones, each with what its message must say.

`RIGHT[name]` are functions; `WRONG[name]` pairs of a function and words of the sentence that it must be told.
"""

from __future__ import annotations

import socket as plain
import socketserver
import struct
import time

from helpers import socket

REPLY = b"I got your message"


# ---------------------------------------------------------------------- 0a


def bytes_by_constructor(text):
    return bytes(text, "utf-8")


def bytes_by_hand(text):
    return b"".join(character.encode() for character in text)


def no_return(text):
    text.encode()


def stays_text(text):
    return text


def ascii_only(text):
    return text.encode("ascii", "replace")


def latin(text):
    return bytes(ord(character) % 256 for character in text)


def one_byte_a_character(text):
    return text.encode()[: len(text)]


# ---------------------------------------------------------------------- 1a


def ask_with_create_connection(host, port, message):
    with socket.create_connection((host, port)) as client:
        client.sendall(message)
        return b"".join(iter(lambda: client.recv(10), b""))


def ask_with_a_file(host, port, message):
    with socket.create_connection((host, port)) as client, client.makefile("rwb") as file:
        file.write(message)
        file.flush()
        return file.read()


def ask_by_recursion(host, port, message):
    client = socket.socket()
    try:
        client.connect((host, port))
        client.sendall(message)

        def rest():
            piece = client.recv(65536)
            return piece + rest() if piece else b""

        return rest()
    finally:
        client.close()


def ask_into_a_buffer(host, port, message):
    buffer, whole = bytearray(100), bytearray()
    with socket.create_connection((host, port)) as client:
        client.sendall(message)
        while count := client.recv_into(buffer):
            whole += buffer[:count]
    return bytes(whole)


def ask_with_plain_sockets(host, port, message):
    client = plain.create_connection((host, port))
    client.sendall(message)
    reply = b""
    while piece := client.recv(4096):
        reply += piece
    client.close()
    return reply


def one_recv(host, port, message):
    with socket.create_connection((host, port)) as client:
        client.sendall(message)
        return client.recv(4096)


def for_ever(host, port, message):
    with socket.create_connection((host, port)) as client:
        client.sendall(message)
        reply = b""
        while True:
            reply += client.recv(4096)


def as_text(host, port, message):
    with socket.create_connection((host, port)) as client:
        client.sendall(message)
        return client.recv(4096).decode()


def forgets_to_return(host, port, message):
    with socket.create_connection((host, port)) as client:
        client.sendall(message)
        client.recv(4096)


def never_speaks(host, port, message):
    with socket.create_connection((host, port)) as client:
        return client.recv(4096)


def another_port(host, port, message):
    with socket.create_connection((host, 9)) as client:
        client.sendall(message)
        return client.recv(4096)


def swallows_refusal(host, port, message):
    try:
        return ask_with_create_connection(host, port, message)
    except OSError:
        return b""


def leaves_it_open(host, port, message):
    client = socket.create_connection((host, port))
    client.sendall(message)
    return b"".join(iter(lambda: client.recv(100), b""))


def says_too_much(host, port, message):
    return ask_with_create_connection(host, port, message + b"\n")


# ---------------------------------------------------------------------- 1b


def dial_by_list(host, port, deadline, pause):
    pauses = [0.05 * 3**n for n in range(10)]
    while True:
        try:
            return socket.create_connection((host, port))
        except ConnectionRefusedError:
            if pauses[0] > deadline:
                raise
        seconds = pauses.pop(0)
        deadline -= seconds
        pause(seconds)


def dial_by_recursion(host, port, deadline, pause, seconds=0.2):
    client = socket.socket()
    try:
        client.connect((host, port))
    except ConnectionRefusedError:
        client.close()
        if seconds > deadline:
            raise
        pause(seconds)
        return dial_by_recursion(host, port, deadline - seconds, pause, seconds * 1.5)
    return client


def dial_once(host, port, deadline, pause):
    return socket.create_connection((host, port))


def never_gives_up(host, port, deadline, pause):
    seconds = 0.1
    while True:
        try:
            return socket.create_connection((host, port))
        except ConnectionRefusedError:
            pause(seconds)
            seconds *= 1.1


def same_pauses(host, port, deadline, pause):
    for _ in range(int(deadline / 0.5)):
        try:
            return socket.create_connection((host, port))
        except ConnectionRefusedError:
            pause(0.5)
    return socket.create_connection((host, port))


def returns_a_closed_one(host, port, deadline, pause):
    with dial_by_list(host, port, deadline, pause) as client:
        return client


def returns_none(host, port, deadline, pause):
    dial_by_list(host, port, deadline, pause)


def catches_everything(host, port, deadline, pause):
    seconds = 0.1
    while True:
        try:
            return socket.create_connection((host, port))
        except Exception:
            if seconds > deadline:
                raise
            pause(seconds)
            deadline -= seconds
            seconds *= 2


def own_error(host, port, deadline, pause):
    try:
        return dial_by_list(host, port, deadline, pause)
    except ConnectionRefusedError:
        raise TimeoutError("gave up") from None


def pauses_first(host, port, deadline, pause):
    pause(0.1)
    return dial_by_list(host, port, deadline - 0.1, lambda seconds: pause(seconds + 0.1))


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


# ---------------------------------------------------------------------- any


def hangs(*_):
    while True:
        time.sleep(0.05)


def exits(*_):
    raise SystemExit


def asks(*_):
    return input("what? ")


def breaks(*_):
    struct.pack("H", 70000)


RIGHT = {
    "0a": [bytes_by_constructor, bytes_by_hand],
    "1a": [
        ask_with_create_connection,
        ask_with_a_file,
        ask_by_recursion,
        ask_into_a_buffer,
        ask_with_plain_sockets,
    ],
    "1b": [dial_by_list, dial_by_recursion],
    "2a": [answer_by_hand, answer_with_a_file, answer_with_socketserver],
    "2b": [three_by_comprehension, three_by_recursion],
    "2c": [print_with_getpeername, print_pairs],
}
WRONG = {
    "0a": [
        (no_return, "Did you forget `return`?"),
        (stays_text, "returned text"),
        (ascii_only, "and UTF-8 gives"),
        (one_byte_a_character, "One character may take several bytes"),
        (latin, "and UTF-8 gives"),
    ],
    "1a": [
        (one_recv, "the first 2 of 18 bytes"),
        (for_ever, "What does recv() give at the end of the stream?"),
        (as_text, "Return the bytes as they came"),
        (forgets_to_return, "returned None"),
        (never_speaks, "the server never got the message"),
        (another_port, "nobody dialled the server"),
        (swallows_refusal, "Let the ConnectionRefusedError through"),
        (leaves_it_open, "`client` was never closed"),
        (says_too_much, "the server should have got"),
    ],
    "1b": [
        (dial_once, "raised ConnectionRefusedError"),
        (never_gives_up, "would go on for ever"),
        (same_pauses, "Let each be longer than the one before"),
        (returns_a_closed_one, "not connected"),
        (returns_none, "returned None"),
        (catches_everything, "Only a refusal may pass with time"),
        (own_error, "let the last ConnectionRefusedError through"),
        (pauses_first, "Pause only after a refusal"),
    ],
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
