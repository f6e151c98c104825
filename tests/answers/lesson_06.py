"""Answers to the exercises of lesson 06."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time

# ---------------------------------------------------------------------- 6a


def politely_by_hand(connection, timeout=2.0):
    end = time.monotonic() + timeout
    came = bytearray()
    try:
        connection.shutdown(socket.SHUT_WR)
        while True:
            left = end - time.monotonic()
            if left <= 0:
                return bytes(came)
            connection.settimeout(left)
            piece = connection.recv(1000)
            if piece == b"":
                return bytes(came)
            came += piece
    except OSError:
        return bytes(came)
    finally:
        connection.close()


def politely_with_select(connection, timeout=2.0):
    end, pieces = time.monotonic() + timeout, []
    with connection, contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        while select.select([connection], [], [], max(0, end - time.monotonic()))[0]:
            if time.monotonic() > end or not (piece := connection.recv(65536)):
                break
            pieces.append(piece)
    return b"".join(pieces)


def politely_by_recursion(connection, timeout=2.0):
    def rest(end):
        connection.settimeout(max(0.001, end - time.monotonic()))
        try:
            piece = connection.recv(1 << 20)
        except OSError:
            return b""
        return piece + rest(end) if piece and time.monotonic() < end else piece

    try:
        connection.shutdown(socket.SHUT_WR)
        return rest(time.monotonic() + timeout)
    except OSError:
        return b""
    finally:
        connection.close()


def politely_in_small_steps(connection, timeout=2.0):
    """Each step has the same limit, and the deadline is looked at between them."""
    end, came = time.monotonic() + timeout, b""
    with connection, contextlib.suppress(OSError):
        connection.settimeout(min(0.05, timeout))
        connection.shutdown(socket.SHUT_WR)
        while time.monotonic() < end:
            try:
                piece = connection.recv(4096)
            except TimeoutError:
                continue
            if not piece:
                break
            came += piece
    return came


def politely_with_a_timer(connection, timeout=2.0):
    """Ended from outside: a timer shuts the reading side down when time is up."""

    def enough():
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    timer, came, buffer = threading.Timer(timeout, enough), b"", bytearray(8192)
    timer.start()
    try:
        connection.shutdown(socket.SHUT_WR)
        while count := connection.recv_into(buffer):
            came += buffer[:count]
    except OSError:
        pass
    finally:
        timer.cancel()
        timer.join()
        connection.close()
    return came


def closes_at_once(connection, timeout=2.0):
    connection.close()
    return b""


def listens_only(connection, timeout=2.0):
    connection.settimeout(timeout)
    came = b""
    with connection, contextlib.suppress(OSError):
        while piece := connection.recv(4096):
            came += piece
    return came


def shuts_both(connection, timeout=2.0):
    came = b""
    with connection, contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
        while piece := connection.recv(4096):
            came += piece
    return came


def receives_once(connection, timeout=2.0):
    with connection:
        connection.settimeout(timeout)
        try:
            connection.shutdown(socket.SHUT_WR)
            return connection.recv(4096)
        except OSError:
            return b""


def stays_open(connection, timeout=2.0):
    return politely_with_select(connection.dup(), timeout)


def waits_for_ever(connection, timeout=2.0):
    came = b""
    with connection:
        connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(4096):
            came += piece
    return came


def each_recv_anew(connection, timeout=2.0):
    came = b""
    with connection, contextlib.suppress(OSError):
        connection.settimeout(timeout)
        connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(4096):
            came += piece
    return came


def looks_at_the_clock_between(connection, timeout=2.0):
    end, came = time.monotonic() + timeout, b""
    with connection, contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        while time.monotonic() < end:
            connection.settimeout(timeout)
            if not (piece := connection.recv(4096)):
                break
            came += piece
    return came


def time_out_raises(connection, timeout=2.0):
    with connection:
        connection.settimeout(timeout)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(4096), b""))


def time_out_loses(connection, timeout=2.0):
    end, came = time.monotonic() + timeout, b""
    with connection, contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        while True:
            connection.settimeout(max(0.001, end - time.monotonic()))
            piece = connection.recv(4096)
            if not piece:
                return came
            came += piece
    return b""


def reset_raises(connection, timeout=2.0):
    end, came = time.monotonic() + timeout, b""
    with connection, contextlib.suppress(TimeoutError):
        connection.shutdown(socket.SHUT_WR)
        while (left := end - time.monotonic()) > 0:
            connection.settimeout(left)
            if not (piece := connection.recv(4096)):
                break
            came += piece
    return came


def reset_loses(connection, timeout=2.0):
    try:
        return reset_raises(connection, timeout)
    except OSError:
        return b""


def dead_call_raises(connection, timeout=2.0):
    end, came = time.monotonic() + timeout, b""
    with connection:
        connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError):
            while (left := end - time.monotonic()) > 0:
                connection.settimeout(left)
                if not (piece := connection.recv(4096)):
                    break
                came += piece
    return came


def open_after_an_error(connection, timeout=2.0):
    end, came = time.monotonic() + timeout, b""
    connection.shutdown(socket.SHUT_WR)
    while (left := end - time.monotonic()) > 0:
        connection.settimeout(left)
        try:
            piece = connection.recv(4096)
        except TimeoutError:
            break
        if not piece:
            break
        came += piece
    connection.close()
    return came


def politely_as_text(connection, timeout=2.0):
    return politely_by_hand(connection, timeout).decode()


def politely_into_the_void(connection, timeout=2.0):
    politely_by_hand(connection, timeout)


# ---------------------------------------------------------------------- 6b


def closes_in_finally(listener):
    answered = 0
    while True:
        transfer, _ = listener.accept()
        try:
            message = transfer.recv(255)
            if message == b"quit":
                return answered
            if message:
                transfer.sendall(b"%d" % (2 * int(message)) if message.isdigit() else b"not a number")
                answered += message.isdigit()
        except ConnectionError:
            continue
        finally:
            transfer.close()


def with_a_function_for_a_call(listener):
    def serve(transfer):
        with transfer:
            message = transfer.recv(255)
            if message in (b"", b"quit"):
                return message
            try:
                reply = str(2 * int(message)).encode()
            except ValueError:
                reply = b"not a number"
            transfer.sendall(reply)
            return reply

    answered = 0
    while True:
        try:
            said = serve(listener.accept()[0])
        except ConnectionError:
            said = b""
        if said == b"quit":
            return answered
        answered += said[:1].isdigit()


def closes_on_each_way(listener):
    answered = 0
    while True:
        transfer, _ = listener.accept()
        try:
            message = transfer.recv(255)
        except ConnectionError:
            transfer.close()
            continue
        if message == b"quit":
            transfer.close()
            return answered
        if message:
            try:
                reply, number = b"%d" % (2 * int(message)), 1
            except ValueError:
                reply, number = b"not a number", 0
            try:
                transfer.sendall(reply)
                answered += number
            except ConnectionError:
                pass
        transfer.close()


def with_a_thread_for_each(listener):
    """Callers who quit end it; each call has a thread, and the next caller may be there before it has closed."""
    answered, threads, done = [], [], threading.Event()

    def serve(transfer):
        with contextlib.closing(transfer):
            try:
                message = transfer.recv(255)
                if message == b"quit":
                    done.set()
                elif message.isdigit():
                    transfer.sendall(b"%d" % (2 * int(message)))
                    answered.append(message)
                elif message:
                    transfer.sendall(b"not a number")
            except ConnectionError:
                pass

    while not done.is_set():
        if select.select([listener], [], [], 0.01)[0]:
            threads.append(threading.Thread(target=serve, args=[listener.accept()[0]]))
            threads[-1].start()
    for thread in threads:
        thread.join()
    return len(answered)


def _serve(transfer):
    """A call, as the stub has it, and nothing closed: what to count, None for quit."""
    message = transfer.recv(255)
    if message == b"quit":
        return None
    if message:
        transfer.sendall(b"%d" % (2 * int(message)) if message.isdigit() else b"not a number")
    return message.isdigit()


def _serve_numbers(transfer):
    """The same for numbers alone: any other word is a ValueError."""
    message = transfer.recv(255)
    if message == b"quit":
        return None
    if message:
        transfer.sendall(b"%d" % (2 * int(message)))
    return bool(message)


def forgets_who_says_nothing(listener):
    answered, guests = 0, []
    while True:
        transfer, _ = listener.accept()
        guests.append(transfer)
        try:
            message = transfer.recv(255)
            if message == b"quit":
                transfer.close()
                return answered
            if message:
                transfer.sendall(b"%d" % (2 * int(message)) if message.isdigit() else b"not a number")
                transfer.close()
                answered += message.isdigit()
        except ConnectionError:
            transfer.close()


def forgets_who_resets_late(listener):
    answered, guests = 0, []
    while True:
        transfer, _ = listener.accept()
        guests.append(transfer)
        try:
            message = transfer.recv(255)
        except ConnectionError:
            transfer.close()
            continue
        if message == b"quit":
            transfer.close()
            return answered
        try:
            if message:
                transfer.sendall(b"%d" % (2 * int(message)) if message.isdigit() else b"not a number")
            answered += message.isdigit()
            transfer.close()
        except ConnectionError:
            continue


def forgets_who_quits(listener):
    answered, guests = 0, []
    while True:
        transfer, _ = listener.accept()
        guests.append(transfer)
        try:
            said = _serve(transfer)
            if said is None:
                return answered
            answered += said
        except ConnectionError:
            pass
        transfer.close()


def leaves_it_to_python(listener):
    """No list any more: the socket of the last call is collected as garbage when the next one comes."""
    answered = 0
    while True:
        transfer, _ = listener.accept()
        try:
            said = _serve(transfer)
            if said is None:
                return answered
            answered += said
        except ConnectionError:
            continue


def closes_all_at_the_end(listener):
    answered = 0
    with contextlib.ExitStack() as guests:
        while True:
            transfer = guests.enter_context(listener.accept()[0])
            try:
                said = _serve(transfer)
                if said is None:
                    return answered
                answered += said
            except ConnectionError:
                pass


def word_ends_it(listener):
    answered = 0
    while True:
        transfer, _ = listener.accept()
        with transfer, contextlib.suppress(ConnectionError):
            said = _serve_numbers(transfer)
            if said is None:
                return answered
            answered += said


def reset_ends_it(listener):
    answered = 0
    while True:
        transfer, _ = listener.accept()
        with transfer:
            said = _serve(transfer)
            if said is None:
                return answered
            answered += said


def late_reset_ends_it(listener):
    """What it says to a word is out of reach of its `except ConnectionError`."""
    answered = 0
    while True:
        transfer, _ = listener.accept()
        with transfer:
            try:
                said = _serve_numbers(transfer)
                if said is None:
                    return answered
                answered += said
            except ValueError:
                transfer.sendall(b"not a number")
            except ConnectionError:
                pass


def answers_after_closing(listener):
    answered = 0
    while True:
        transfer, _ = listener.accept()
        try:
            with transfer:
                said = _serve_numbers(transfer)
            if said is None:
                return answered
            answered += said
        except ValueError:
            transfer.sendall(b"not a number")
        except ConnectionError:
            pass


def says_nothing_to_words(listener):
    answered = 0
    while True:
        transfer, _ = listener.accept()
        with transfer, contextlib.suppress(ValueError, ConnectionError):
            said = _serve_numbers(transfer)
            if said is None:
                return answered
            answered += said


def closes_the_listener(listener):
    with listener:
        return closes_in_finally(listener)


def counts_everybody(listener):
    calls = 0
    while True:
        transfer, _ = listener.accept()
        with transfer, contextlib.suppress(ConnectionError):
            if _serve(transfer) is None:
                return calls
        calls += 1


def its_own_time(connection, timeout=2.0):
    return politely_by_hand(connection)


def in_a_hurry(connection, timeout=2.0):
    return politely_by_hand(connection, 0.01)


def sleeps_first(connection, timeout=2.0):
    connection.shutdown(socket.SHUT_WR)
    time.sleep(timeout)
    heard = b"".join(iter(lambda: connection.recv(4096), b""))
    connection.close()
    return heard


RIGHT = {
    "6a": [
        politely_by_hand,
        politely_with_select,
        politely_by_recursion,
        politely_in_small_steps,
        politely_with_a_timer,
    ],
    "6b": [closes_in_finally, with_a_function_for_a_call, closes_on_each_way, with_a_thread_for_each],
}
WRONG = {
    "6a": [
        (closes_at_once, "closed without listening"),
        (its_own_time, "The time is given: timeout"),
        (in_a_hurry, "More may come until the time is up"),
        (sleeps_first, "there was nothing to wait for"),
        (listens_only, "which never came"),
        (shuts_both, "ended both directions"),
        (receives_once, "stopped before the end of the stream"),
        (stays_open, "the connection is still open"),
        (waits_for_ever, "Give recv a limit"),
        (each_recv_anew, "not for each recv()"),
        (looks_at_the_clock_between, "was ready to wait for 60 s more"),
        (time_out_raises, "Time is up: close"),
        (time_out_loses, "When time is up, return what came until then"),
        (reset_raises, "says bye, then resets the call: your function raised"),
        (reset_loses, "returned b'', and b'bye' came"),
        (dead_call_raises, "has reset the call before you hang up: your function raised"),
        (open_after_an_error, "the connection stayed open"),
        (politely_as_text, "Return the bytes as they came"),
        (politely_into_the_void, "returned None"),
    ],
    "6b": [
        (forgets_who_says_nothing, "hangs up without a word: your server never closed its transfer socket"),
        (forgets_who_quits, "says b'quit': your server never closed its transfer socket"),
        (forgets_who_resets_late, "before you answer: your server never closed its transfer socket"),
        (leaves_it_to_python, "never closed"),
        (closes_all_at_the_end, "though the callers came one after another"),
        (word_ends_it, "Tell that caller b'not a number'"),
        (reset_ends_it, "the next one is not"),
        (late_reset_ends_it, "before you answer: your server ended with"),
        (answers_after_closing, "was closed already"),
        (says_nothing_to_words, "it heard b'', and was to hear b'not a number'"),
        (closes_the_listener, "closed the listener"),
        (counts_everybody, "callers got a number, and your server returned"),
    ],
}
