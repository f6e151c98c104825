"""Lesson 08: a counter that never loses a call, and a pool that refuses politely when it is full."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from helpers.exercises import trial as trials
from helpers.exercises.exercise import Exercise, NotYet
from helpers.exercises.on_call import Guest, OnCall, on_call
from helpers.gate import gate
from helpers.strategies import GREETING

# ---------------------------------------------------------------------- 8a


def count_calls(listener, store):
    """Give each caller who speaks the next number of the store, in a thread of its own."""
    import threading

    from helpers.strategies import accept

    lock = threading.Lock()

    def serve(connection):
        with connection:
            try:
                if connection.recv(255):
                    with lock:  # nobody reads between our reading and our writing
                        number = store.read() + 1
                        store.write(number)
                    connection.sendall(b"%d\n" % number)
            except OSError:
                pass

    while True:
        threading.Thread(target=serve, args=[accept(listener)], daemon=True).start()


class _Store:
    """Keeps a number.  Who reads it is held until another reads it, too, or until `patience` moments are over.

    So two threads that may both be between reading and writing will both be there.  A moment is 10 ms, and as much
    longer as the machine is late to wake this thread: then it wakes the others late, too.  They count from when
    `may_come()`: all who might come have been heard by the server.
    """

    def __init__(self, number: int, patience: int = 0) -> None:
        self._kept, self.patience = number, patience
        self.may_come: Callable[[], bool] = lambda: True
        self._readers, self._changed = 0, threading.Condition()

    def read(self) -> int:
        """The number that was written last."""
        with self._changed:
            number = self._kept
            self._readers += 1
            self._changed.notify_all()
            left = longest = self.patience
            while self._readers < 2 and left > 0 and longest > -self.patience:
                self._changed.wait(0.01)
                longest -= 1
                left -= self.may_come()
            self.patience = 0  # nobody comes while one is here: the next need not wait for others either
        return number

    def write(self, number: int) -> None:
        """Keep another number."""
        with self._changed:
            self._kept = number


MEET = 40  #: moments in which a second thread comes to read the store, if it may


def _judge_count(answer: Callable[..., Any]) -> None:
    with _counting(answer, "One caller after another (the store begins with 7)", _Store(7)) as server:
        for number in (8, 9, 10):
            _asks(server, number)
        _must_be_kept(server, 10)
    why = "Who says nothing holds up nobody, and gets no number: a thread for each, no lock while you wait for one."
    with _counting(answer, "One says nothing, others speak (the store begins with 0)", _Store(0), why) as server:
        server.guest(greeted=False)
        server.guest(greeted=False)
        for number in (1, 2):
            _asks(server, number)
        _must_be_kept(server, 2)
    case = "Some hang up or reset their calls without a word, others speak (the store begins with 0)"
    with _counting(answer, case, _Store(0), "Only who has spoken gets a number.") as server:
        for number in (1, 2, 3):
            server.guest(greeted=False).hang_up()
            server.guest(greeted=False).hang_up_rudely()
            _asks(server, number)
        _must_be_kept(server, 3)
    _together(answer, 2, MEET)
    _together(answer, 40, 0)


def _counting(answer: Callable[..., Any], case: str, store: _Store, why: str = "") -> Any:
    return on_call(answer, case, store, why=why)


def _asks(server: OnCall, number: int) -> None:
    guest = server.guest(greeted=False)
    guest.say(b"hello")
    guest.expect(b"%d\n" % number)
    guest.expect_the_end(orderly=False)


def _store_of(server: OnCall) -> _Store:
    store: _Store = server.trial._args[1]
    return store


def _must_be_kept(server: OnCall, number: int) -> None:
    if (kept := _store_of(server)._kept) != number:
        raise NotYet(f"{server.case}: the last caller got {number}, and the store has {kept}. Write each number to it.")


def _together(answer: Callable[..., Any], count: int, patience: int) -> None:
    case = f"{count} callers speak at once (the store begins with 0)"
    store = _Store(0, patience)
    with _counting(answer, case, store) as server:
        guests = [server.guest(greeted=False) for _ in range(count)]
        recording = server.trial.recording
        store.may_come = lambda: len([end for end in list(recording.ends) if end.received]) >= count
        for guest in guests:
            guest.say(b"hello")
        heard = [guest.hears_all() for guest in guests]
        if not all(text[:-1].isdigit() and text[-1:] == b"\n" for text in heard):
            wrong = next(text for text in heard if not (text[:-1].isdigit() and text[-1:] == b"\n"))
            raise NotYet(f"a caller heard {wrong!r} in place of its number")
        numbers = sorted(map(int, heard))
        if numbers != list(range(1, count + 1)):
            twice = next((n for n in numbers if numbers.count(n) > 1), None)
            told = f"{numbers.count(twice)} of them got the number {twice}" if twice else f"they got {numbers}"
            raise NotYet(
                f"{case}: {told}. One thread read the store between another one's reading and writing: one and the "
                "same lock has to be held from the one to the other."
            )
        _must_be_kept(server, count)


exercise_8a = Exercise(
    "exercise_8a",
    _judge_count,
    count_calls,
    "Every number once, however the callers come, and none of them waits for what another one says.",
    "begin with a thread for each caller: recv, then read, write and answer",
    "make one threading.Lock() before the loop, for all threads; `with lock:` around read and write",
    "recv stays outside of the lock: b'' means that the caller has left, and OSError that it has reset its call",
)


# ---------------------------------------------------------------------- 8b


def pool_or_busy(listener, size):
    """Serve at most size callers at once, and tell all others that the lines are busy."""
    import threading

    from helpers.strategies import accept, talk

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
            with connection:
                try:
                    connection.sendall(b"all lines are busy\n")
                except OSError:  # it did not wait for the answer
                    pass


BUSY = b"all lines are busy\n"


def _judge_pool(answer: Callable[..., Any]) -> None:
    _full(answer)
    _places_get_free(answer)
    _many(answer)


def _full(answer: Callable[..., Any]) -> None:
    case = "Two are on the line, and a third one dials (size=2)"
    with on_call(answer, case, 2) as server:
        first, second = server.guest(), server.guest()
        _is_refused(server.guest(greeted=False))
        impatient = server.guest(greeted=False)
        impatient.say(b"hello\n")
        _is_refused(impatient)
        for _ in range(10):  # some of them are gone before the server looks
            server.guest(greeted=False).hang_up_rudely()
        _is_refused(server.guest(greeted=False))
        first.talks(b"still there?", b"good")
        second.talks(b"I too")


def _is_refused(guest: Guest) -> None:
    case = guest.server.case
    try:
        heard = guest.hears(len(BUSY))
    except TimeoutError:
        told = f"{case}: it heard nothing. Don't let it wait: tell it {BUSY!r} at once, and hang up."
        raise NotYet(told) from None
    if heard.startswith(GREETING[:5]):
        raise NotYet(f"{case}: it was greeted, and there was no place left. At most size callers are served at once.")
    if heard != BUSY:
        raise NotYet(f"{case}: it was to hear {BUSY!r}, and heard {heard!r}.")
    try:
        guest.hears_all()
    except TimeoutError:
        raise NotYet(f"{case}: it was told so, and is still on the line. Hang up on it.") from None
    if guest.heard != BUSY:
        raise NotYet(f"{case}: it was to hear {BUSY!r} and no more, and heard {guest.heard!r}.")


def _places_get_free(answer: Callable[..., Any]) -> None:
    ways: dict[str, Callable[[Guest], object]] = {
        "says quit": lambda guest: guest.talks(b"hello"),
        "hangs up": Guest.hang_up,
        "resets its call": Guest.hang_up_rudely,
    }
    for words, leave in ways.items():
        case = f"One is on the line, and {words}; then another one dials (size=1)"
        with on_call(answer, case, 1) as server:
            for _ in range(2):
                guest = _gets_in(server)
                _is_refused(server.guest(greeted=False))
                leave(guest)
            _gets_in(server).talks(b"hello")


def _gets_in(server: OnCall) -> Guest:
    """A caller who dials again and again, as the place that has got free may be so a moment later."""
    end = time.monotonic() + trials.DEADLINE
    while True:
        guest = server.guest(greeted=False)
        try:
            heard = guest.hears(5)
        except TimeoutError:
            raise NotYet(f"{server.case}: it heard nothing, neither a greeting nor that the lines are busy.") from None
        if heard == GREETING[:5]:
            guest.expect(GREETING)
            return guest
        guest.hang_up()
        if time.monotonic() > end or not heard:
            raise NotYet(f"{server.case}: the place did not get free. Give it back when a call is over, in every way.")
        gate.until(lambda: False, 0.02)


def _many(answer: Callable[..., Any]) -> None:
    case = "Twenty are on the line, and speak in turns (size=20)"
    with on_call(answer, case, 20) as server:
        guests = [server.guest() for _ in range(20)]
        _is_refused(server.guest(greeted=False))
        for number, guest in enumerate(guests):
            guest.say(b"I am %d\n" % number)
        for number, guest in enumerate(guests):
            guest.expect(b"1 I am %d\n" % number)
            guest.talks(b"yes", first=2)


exercise_8b = Exercise(
    "exercise_8b",
    _judge_pool,
    pool_or_busy,
    "Whoever finds all lines busy knows it at once. No crowd can take more threads than size.",
    "accept every call; then ask whether there is a place, and do so without waiting",
    "threading.Semaphore(size) counts places: acquire(blocking=False) takes one or says False, release() gives it back",
    "the thread that took the place gives it back: try: talk(connection), finally: free.release()",
)
