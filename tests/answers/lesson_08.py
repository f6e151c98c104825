"""Answers to the exercises of lesson 08."""

from __future__ import annotations

import contextlib
import queue
import select
import threading
from concurrent.futures import ThreadPoolExecutor

from helpers.strategies import accept, talk, thread_pool

BUSY = b"all lines are busy\n"


def threads(listener, serve, *more):
    """A thread for every caller, which does `serve`."""
    while True:
        threading.Thread(target=serve, args=[accept(listener), *more], daemon=True).start()


# ---------------------------------------------------------------------- 8a


def counted_by_one_thread(listener, store):
    """Nobody but one thread touches the store; the others put themselves into its queue."""
    jobs: queue.Queue = queue.Queue()

    def count():
        while (job := jobs.get()) is not None:
            number = store.read() + 1
            store.write(number)
            job.put(number)

    def serve(connection):
        with connection, contextlib.suppress(OSError):
            if connection.recv(255):
                job: queue.Queue = queue.Queue()
                jobs.put(job)
                connection.sendall(b"%d\n" % job.get())

    threading.Thread(target=count, daemon=True).start()
    try:
        threads(listener, serve)
    finally:
        jobs.put(None)


class Counter:
    def __init__(self, store):
        self.store, self.lock = store, threading.RLock()

    def next(self):
        self.lock.acquire()
        try:
            self.store.write(self.store.read() + 1)
            return self.store.read()
        finally:
            self.lock.release()


def counted_by_a_class(listener, store):
    counter = Counter(store)

    def serve(connection):
        try:
            if connection.recv(255) != b"":
                connection.sendall(str(counter.next()).encode() + b"\n")
        except ConnectionError:
            pass
        finally:
            connection.close()

    threads(listener, serve)


def counted_by_one_loop(listener, store):
    """One thread for all, which takes what is ready: no lock is needed."""
    callers = []
    while True:
        ready, _, _ = select.select([listener, *callers], [], [])
        for sock in ready:
            if sock is listener:
                callers.append(listener.accept()[0])
                continue
            callers.remove(sock)
            with sock, contextlib.suppress(OSError):
                if sock.recv(255):
                    store.write(store.read() + 1)
                    sock.sendall(b"%d\n" % store.read())


def counted_in_a_pool(listener, store):
    lock = threading.Lock()

    def serve(connection):
        with connection, contextlib.suppress(OSError):
            if connection.recv(255):
                with lock:
                    number = store.read() + 1
                    store.write(number)
                connection.sendall(b"%d\n" % number)

    with ThreadPoolExecutor(100) as pool:
        while True:
            pool.submit(serve, accept(listener))


def no_lock(listener, store):
    def serve(connection):
        with connection, contextlib.suppress(OSError):
            if connection.recv(255):
                number = store.read() + 1
                store.write(number)
                connection.sendall(b"%d\n" % number)

    threads(listener, serve)


def a_lock_of_its_own(listener, store):
    def serve(connection):
        lock = threading.Lock()
        with connection, contextlib.suppress(OSError):
            if connection.recv(255):
                with lock:
                    number = store.read() + 1
                    store.write(number)
                connection.sendall(b"%d\n" % number)

    threads(listener, serve)


def lock_around_the_wait(listener, store):
    lock = threading.Lock()

    def serve(connection):
        with connection, contextlib.suppress(OSError), lock:
            if connection.recv(255):
                number = store.read() + 1
                store.write(number)
                connection.sendall(b"%d\n" % number)

    threads(listener, serve)


def one_after_the_other(listener, store):
    while True:
        with accept(listener) as connection, contextlib.suppress(OSError):
            if connection.recv(255):
                number = store.read() + 1
                store.write(number)
                connection.sendall(b"%d\n" % number)


def counts_who_says_nothing(listener, store):
    lock = threading.Lock()

    def serve(connection):
        with connection, contextlib.suppress(OSError):
            connection.recv(255)
            with lock:
                number = store.read() + 1
                store.write(number)
            connection.sendall(b"%d\n" % number)

    threads(listener, serve)


def counts_in_memory(listener, store):
    lock, numbers = threading.Lock(), [store.read()]

    def serve(connection):
        with connection, contextlib.suppress(OSError):
            if connection.recv(255):
                with lock:
                    numbers[0] += 1
                    number = numbers[0]
                connection.sendall(b"%d\n" % number)

    threads(listener, serve)


def begins_with_one(listener, store):
    lock, numbers = threading.Lock(), [0]

    def serve(connection):
        with connection, contextlib.suppress(OSError):
            if connection.recv(255):
                with lock:
                    numbers[0] += 1
                    store.write(numbers[0])
                    connection.sendall(b"%d\n" % numbers[0])

    threads(listener, serve)


def stays_on_the_line(listener, store):
    lock, kept = threading.Lock(), []

    def serve(connection):
        kept.append(connection)
        with contextlib.suppress(OSError):
            if connection.recv(255):
                with lock:
                    number = store.read() + 1
                    store.write(number)
                connection.sendall(b"%d\n" % number)

    threads(listener, serve)


def no_newline(listener, store):
    lock = threading.Lock()

    def serve(connection):
        with connection, contextlib.suppress(OSError):
            if connection.recv(255):
                with lock:
                    number = store.read() + 1
                    store.write(number)
                connection.sendall(b"%d" % number)

    threads(listener, serve)


def sends_a_number(listener, store):
    """The error is one of its threads', and no call is seen to fail."""
    lock = threading.Lock()

    def serve(connection):
        with connection, contextlib.suppress(OSError):
            if connection.recv(255):
                with lock:
                    number = store.read() + 1
                    store.write(number)
                connection.sendall(number)

    threads(listener, serve)


def reads_outside(listener, store):
    """The lock comes too late: the number was read before."""
    lock = threading.Lock()

    def serve(connection):
        with connection, contextlib.suppress(OSError):
            if connection.recv(255):
                number = store.read() + 1
                with lock:
                    store.write(number)
                connection.sendall(b"%d\n" % number)

    threads(listener, serve)


# ---------------------------------------------------------------------- 8b


def refuse(connection):
    with connection, contextlib.suppress(OSError):
        connection.sendall(BUSY)


def with_a_counter(listener, size):
    lock, on_the_line = threading.Lock(), set()

    def serve(connection):
        talk(connection)
        with lock:
            on_the_line.discard(connection)

    while True:
        connection = accept(listener)
        with lock:
            full = len(on_the_line) >= size
            if not full:
                on_the_line.add(connection)
        if full:
            refuse(connection)
        else:
            threading.Thread(target=serve, args=[connection], daemon=True).start()


def with_workers(listener, size):
    """`size` threads from the beginning, and tokens of those that have nothing to do."""
    idle: queue.Queue = queue.Queue()
    calls: queue.Queue = queue.Queue()

    def work():
        while (connection := calls.get()) is not None:
            talk(connection)
            idle.put(None)

    for _ in range(size):
        idle.put(None)
        threading.Thread(target=work, daemon=True).start()
    try:
        while True:
            connection = accept(listener)
            try:
                idle.get_nowait()
            except queue.Empty:
                refuse(connection)
            else:
                calls.put(connection)
    finally:
        for _ in range(size):
            calls.put(None)


def with_an_executor(listener, size):
    jobs: set = set()
    with ThreadPoolExecutor(size) as pool:
        while True:
            connection = accept(listener)
            jobs = {job for job in jobs if not job.done()}
            if len(jobs) < size:
                jobs.add(pool.submit(talk, connection))
            else:
                refuse(connection)


def counts_its_threads(listener, size):
    serving = []
    while True:
        connection = accept(listener)
        serving = [thread for thread in serving if thread.is_alive()]
        if len(serving) >= size:
            refuse(connection)
        else:
            serving.append(threading.Thread(target=talk, args=[connection], daemon=True))
            serving[-1].start()


def refuses_nobody(listener, size):
    threads(listener, talk)


def lets_them_wait(listener, size):
    thread_pool(listener, size)


def waits_for_a_place(listener, size):
    free = threading.Semaphore(size)

    def serve(connection):
        try:
            talk(connection)
        finally:
            free.release()

    while True:
        connection = accept(listener)
        while not free.acquire(timeout=0.1):
            if connection.fileno() < 0:
                return
            connection.getpeername()
        threading.Thread(target=serve, args=[connection], daemon=True).start()


def never_gives_back(listener, size):
    places = size
    while True:
        connection = accept(listener)
        if places:
            places -= 1
            threading.Thread(target=talk, args=[connection], daemon=True).start()
        else:
            refuse(connection)


def one_too_many(listener, size):
    with_a_counter(listener, size + 1)


def one_too_few(listener, size):
    with_a_counter(listener, size - 1)


def hangs_up_without_a_word(listener, size):
    free = threading.Semaphore(size)

    def serve(connection):
        try:
            talk(connection)
        finally:
            free.release()

    while True:
        connection = accept(listener)
        if free.acquire(blocking=False):
            threading.Thread(target=serve, args=[connection], daemon=True).start()
        else:
            connection.close()


def stays_after_refusing(listener, size):
    lock, on_the_line, kept = threading.Lock(), set(), []

    def serve(connection):
        talk(connection)
        with lock:
            on_the_line.discard(connection)

    while True:
        connection = accept(listener)
        if len(on_the_line) < size:
            on_the_line.add(connection)
            threading.Thread(target=serve, args=[connection], daemon=True).start()
        else:
            connection.sendall(BUSY)
            kept.append(connection)


def refused_ones_take_places(listener, size):
    """Everybody counts, refused or not, and only who was served gives back."""
    lock, count = threading.Lock(), [0]

    def serve(connection):
        talk(connection)
        with lock:
            count[0] -= 1

    while True:
        connection = accept(listener)
        with lock:
            count[0] += 1
        if count[0] <= size:
            threading.Thread(target=serve, args=[connection], daemon=True).start()
        else:
            refuse(connection)


def not_ready_for_a_reset(listener, size):
    free = threading.Semaphore(size)

    def serve(connection):
        talk(connection)
        free.release()

    while True:
        connection = accept(listener)
        if free.acquire(blocking=False):
            threading.Thread(target=serve, args=[connection], daemon=True).start()
        else:
            with connection:
                connection.sendall(BUSY)


def other_words(listener, size):
    lock, on_the_line = threading.Lock(), set()

    def serve(connection):
        talk(connection)
        with lock:
            on_the_line.discard(connection)

    while True:
        connection = accept(listener)
        if len(on_the_line) < size:
            on_the_line.add(connection)
            threading.Thread(target=serve, args=[connection], daemon=True).start()
        else:
            with connection:
                connection.sendall(b"busy\n")


RIGHT = {
    "8a": [counted_by_one_thread, counted_by_a_class, counted_by_one_loop, counted_in_a_pool],
    "8b": [with_a_counter, with_workers, with_an_executor, counts_its_threads],
}
WRONG = {
    "8a": [
        (no_lock, "2 callers speak at once (the store begins with 0): 2 of them got the number 1"),
        (a_lock_of_its_own, "one and the same lock"),
        (reads_outside, "One thread read the store between another one's reading and writing"),
        (lock_around_the_wait, "no lock while you wait for one"),
        (one_after_the_other, "One says nothing, others speak"),
        (counts_who_says_nothing, "Only who has spoken gets a number"),
        (counts_in_memory, "Write each number to it"),
        (begins_with_one, "should have heard b'8\\n', and heard b'1\\n'"),
        (stays_on_the_line, "should have hung up"),
        (sends_a_number, "a thread of your function raised TypeError: a bytes-like object is required"),
        (no_newline, "should have heard b'8\\n', and heard b'8', and then the end"),
    ],
    "8b": [
        (refuses_nobody, "it was greeted, and there was no place left"),
        (lets_them_wait, "Don't let it wait"),
        (waits_for_a_place, "it heard nothing. Don't let it wait: tell it"),
        (never_gives_back, "the place did not get free"),
        (one_too_many, "At most size callers are served at once"),
        (one_too_few, "should have heard b'hello, and your lines?\\n', and heard b'all lines"),
        (hangs_up_without_a_word, "and heard b''"),
        (stays_after_refusing, "is still on the line"),
        (refused_ones_take_places, "One is on the line, and says quit; then another one dials (size=1)"),
        (not_ready_for_a_reset, "your function raised ConnectionResetError"),
        (other_words, "and heard b'busy\\n'"),
    ],
}
