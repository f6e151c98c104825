"""Answers to the exercises of lesson 01."""

from __future__ import annotations

import socket as plain

from helpers import socket

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


RIGHT = {
    "1a": [
        ask_with_create_connection,
        ask_with_a_file,
        ask_by_recursion,
        ask_into_a_buffer,
        ask_with_plain_sockets,
    ],
    "1b": [dial_by_list, dial_by_recursion],
}
WRONG = {
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
}
