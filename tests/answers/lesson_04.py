"""Answers to the exercises of lesson 04."""

from __future__ import annotations

import selectors
import time
from contextlib import ExitStack

from helpers import select
from helpers.exercises.lesson_04 import drain

# ---------------------------------------------------------------------- 4a


def drain_when_select_says_so(listener):
    calls = []
    while select.select([listener], [], [], 0)[0]:
        try:
            calls.append(listener.accept()[0])
        except ConnectionAbortedError:
            pass
        except OSError:
            for call in calls:
                call.close()
            raise
    for call in calls:
        call.settimeout(None)
    return calls


def drain_by_recursion(listener):
    before = listener.gettimeout()
    listener.settimeout(0)
    try:
        call, _ = listener.accept()
    except BlockingIOError:
        return []
    except ConnectionAbortedError:
        return drain_by_recursion(listener)
    finally:
        listener.settimeout(before)
    try:
        call.setblocking(True)
        return [call, *drain_by_recursion(listener)]
    except BaseException:
        call.close()
        raise


class Unblocked:
    """A listener that does not block for the while."""

    def __init__(self, listener):
        self.listener, self.before, self.calls = listener, listener.gettimeout(), []

    def __enter__(self):
        self.listener.setblocking(False)
        return self

    def __exit__(self, error, *_):
        self.listener.settimeout(self.before)
        for call in self.calls if error else []:
            call.close()

    def __iter__(self):
        return self

    def __next__(self):
        while True:
            try:
                call, _ = self.listener.accept()
            except ConnectionAbortedError:
                continue
            except BlockingIOError:
                raise StopIteration from None
            call.setblocking(True)
            self.calls.append(call)
            return call


def drain_with_a_class(listener):
    with Unblocked(listener) as line:
        return list(line)


def drain_with_selectors(listener):
    calls = []
    with selectors.DefaultSelector() as selector, ExitStack() as taken:
        selector.register(listener, selectors.EVENT_READ)
        while selector.select(0):
            try:
                calls.append(taken.enter_context(listener.accept()[0]))
            except ConnectionAbortedError:
                continue
        for call in calls:
            call.setblocking(True)
        taken.pop_all()
    return calls


def blocks_on_an_empty_line(listener):
    calls = []
    while True:
        try:
            calls.append(listener.accept()[0])
        except (BlockingIOError, TimeoutError):
            return calls


def takes_one(listener):
    before = listener.gettimeout()
    listener.setblocking(False)
    try:
        return [listener.accept()[0]]
    except BlockingIOError:
        return []
    finally:
        listener.settimeout(before)


def takes_five(listener):
    return drain_when_select_says_so(listener)[:5]


def leaves_it_unblocked(listener):
    calls = []
    listener.setblocking(False)
    while True:
        try:
            calls.append(listener.accept()[0])
        except BlockingIOError:
            return calls


def makes_it_block(listener):
    try:
        return leaves_it_unblocked(listener)
    finally:
        listener.setblocking(True)


def calls_do_not_block(listener):
    calls = drain_when_select_says_so(listener)
    for call in calls:
        call.setblocking(False)
    return calls


def selects_for_a_moment(listener):
    calls = []
    while select.select([listener], [], [], 0.01)[0]:
        calls += drain_when_select_says_so(listener)
    return calls


def waits_a_little(listener):
    calls, before = [], listener.gettimeout()
    listener.settimeout(0.05)
    try:
        while True:
            calls.append(listener.accept()[0])
    except TimeoutError:
        return calls
    finally:
        listener.settimeout(before)


def returns_pairs(listener):
    return [(call, call.getpeername()) for call in drain_when_select_says_so(listener)]


def closes_the_listener(listener):
    calls = drain_when_select_says_so(listener)
    listener.close()
    return calls


def never_catches(listener):
    before = listener.gettimeout()
    listener.setblocking(False)
    calls = []
    try:
        while True:
            calls.append(listener.accept()[0])
    finally:
        listener.settimeout(before)


def an_aborted_call_is_an_error(listener):
    before = listener.gettimeout()
    try:
        return leaves_it_unblocked(listener)
    finally:
        listener.settimeout(before)


def any_error_ends_it(listener):
    calls, before = [], listener.gettimeout()
    listener.setblocking(False)
    try:
        while True:
            calls.append(listener.accept()[0])
    except OSError:
        return calls
    finally:
        listener.settimeout(before)


def any_other_error_ends_it(listener):
    calls, before = [], listener.gettimeout()
    listener.setblocking(False)
    while True:
        try:
            calls.append(listener.accept()[0])
        except ConnectionAbortedError:
            continue
        except OSError:
            listener.settimeout(before)
            return calls


def leaves_them_open(listener):
    calls, before = [], listener.gettimeout()
    listener.setblocking(False)
    try:
        while True:
            try:
                call, _ = listener.accept()
                call.setblocking(True)
                calls.append(call)
            except ConnectionAbortedError:
                continue
            except BlockingIOError:
                return calls
    finally:
        listener.settimeout(before)


def says_nothing_of_blocking(listener):
    calls, before = [], listener.gettimeout()
    listener.setblocking(False)
    try:
        while True:
            try:
                calls.append(listener.accept()[0])
            except ConnectionAbortedError:
                continue
            except BlockingIOError:
                return calls
    except OSError:
        for call in calls:
            call.close()
        raise
    finally:
        listener.settimeout(before)


def puts_it_back_at_the_end_only(listener):
    calls, before = [], listener.gettimeout()
    listener.setblocking(False)
    while True:
        try:
            calls.append(listener.accept()[0])
        except ConnectionAbortedError:
            continue
        except BlockingIOError:
            break
    listener.settimeout(before)
    return calls


def asks_who_it_is(listener):
    calls = drain_when_select_says_so(listener)
    return sorted(calls, key=lambda call: call.getpeername() and 0)


def hears_them_too(listener):
    calls = drain_when_select_says_so(listener)
    for call in calls:
        call.recv(16)
    return calls


def last_comes_first(listener):
    return drain_when_select_says_so(listener)[::-1]


def closes_the_calls(listener):
    calls = drain_when_select_says_so(listener)
    for call in calls:
        call.close()
    return calls


def tells_how_many(listener):
    return len(drain_when_select_says_so(listener))


def forgets_to_return(listener):
    drain_when_select_says_so(listener)


# ---------------------------------------------------------------------- 4b


def until_by_select(listener, deadline):
    calls = []
    try:
        while select.select([listener], [], [], max(0, deadline - time.monotonic()))[0]:
            try:
                calls.append(listener.accept()[0])
            except ConnectionAbortedError:
                continue
    except BaseException:
        for call in calls:
            call.close()
        raise
    for call in calls:
        call.setblocking(True)
    return calls


def until_by_drain(listener, deadline):
    calls = []
    try:
        while True:
            late = time.monotonic() >= deadline
            with Unblocked(listener) as line:
                calls += line
            if late:
                return calls
            select.select([listener], [], [], max(0, deadline - time.monotonic()))
    except BaseException:
        for call in calls:
            call.close()
        raise


def until_with_4a(listener, deadline):
    calls = drain(listener)
    try:
        while (left := deadline - time.monotonic()) > 0:
            select.select([listener], [], [], left)
            calls += drain(listener)
    except BaseException:
        for call in calls:
            call.close()
        raise
    return calls


def until_by_selectors(listener, deadline):
    with selectors.DefaultSelector() as selector, ExitStack() as taken:
        selector.register(listener, selectors.EVENT_READ)
        calls = []
        while True:
            for call in drain(listener):
                calls.append(taken.enter_context(call))
            if (left := deadline - time.monotonic()) <= 0:
                taken.pop_all()
                return calls
            selector.select(left)


def until_by_recursion(listener, deadline):
    before = listener.gettimeout()
    try:
        listener.settimeout(max(0.0, deadline - time.monotonic()))
        call, _ = listener.accept()
        listener.settimeout(before)
    except ConnectionAbortedError:
        listener.settimeout(before)
        return until_by_recursion(listener, deadline)
    except (BlockingIOError, TimeoutError):
        listener.settimeout(before)
        return []
    except OSError:
        if listener.fileno() != -1:
            listener.settimeout(before)
        raise
    try:
        call.setblocking(True)
        return [call, *until_by_recursion(listener, deadline)]
    except BaseException:
        call.close()
        raise


def _until(listener, deadline, caught=(BlockingIOError, TimeoutError), left=None, put_back=True, tidy=True, asks=True):
    """One that may be spoilt in many ways."""
    calls, before = [], listener.gettimeout()
    left = left or (lambda: max(0, deadline - time.monotonic()))
    try:
        while True:
            try:
                listener.settimeout(left())
                call, _ = listener.accept()
            except ConnectionAbortedError:
                continue
            except caught:
                return calls
            if asks:
                call.setblocking(True)
            calls.append(call)
    except BaseException:
        if tidy:
            for call in calls:
                call.close()
        raise
    finally:
        if put_back and listener.fileno() >= 0:
            listener.settimeout(before)


def a_negative_time_out(listener, deadline):
    return _until(listener, deadline, left=lambda: deadline - time.monotonic())


def the_whole_time_for_each(listener, deadline):
    patience = max(0, deadline - time.monotonic())
    return _until(listener, deadline, left=lambda: patience)


def leaves_the_time_out(listener, deadline):
    return _until(listener, deadline, put_back=False)


def every_error_is_the_end(listener, deadline):
    return _until(listener, deadline, caught=OSError)


def leaves_calls_open(listener, deadline):
    return _until(listener, deadline, tidy=False)


def reuses_4a_and_leaves_calls_open(listener, deadline):
    calls = drain(listener)
    while (left := deadline - time.monotonic()) > 0:
        select.select([listener], [], [], left)
        calls += drain(listener)
    return calls


def the_deadline_is_a_time_out(listener, deadline):
    return _until(listener, deadline, left=lambda: deadline)


def select_until_the_deadline(listener, deadline):
    calls = drain(listener)
    while time.monotonic() < deadline and select.select([listener], [], [], deadline)[0]:
        calls += drain(listener)
    return calls


def sleeps_until_the_deadline(listener, deadline):
    time.sleep(max(0, deadline - time.monotonic()))
    return drain(listener)


def sleeps_after_the_first(listener, deadline):
    calls = drain(listener)
    time.sleep(max(0, deadline - time.monotonic()))
    return calls + drain(listener)


def says_nothing_of_blocking_until(listener, deadline):
    return _until(listener, deadline, asks=False)


def pairs_until(listener, deadline):
    return returns_pairs(listener) + _until(listener, deadline)


def nobody_when_it_is_late(listener, deadline):
    return _until(listener, deadline) if time.monotonic() < deadline else []


def returns_at_once(listener, deadline):
    return drain_with_a_class(listener)


def returns_after_the_first(listener, deadline):
    calls = drain_with_a_class(listener)
    if not calls:
        select.select([listener], [], [], max(0, deadline - time.monotonic()))
        calls = drain_with_a_class(listener)
    return calls


def asks_again_and_again(listener, deadline):
    calls = drain_with_a_class(listener)
    while time.monotonic() < deadline:
        calls += drain_with_a_class(listener)
    return calls


def asks_ten_times_a_second(listener, deadline):
    calls = []
    before = listener.gettimeout()
    while (left := deadline - time.monotonic()) > 0:
        calls += _until(listener, time.monotonic() + min(left, 0.1))
    calls += drain_with_a_class(listener)
    listener.settimeout(before)
    return calls


def ignores_the_deadline(listener, deadline):
    return _until(listener, deadline, left=lambda: None)


def time_out_is_an_error(listener, deadline):
    return _until(listener, deadline, caught=BlockingIOError)


def closes_it_at_the_deadline(listener, deadline):
    calls = _until(listener, deadline)
    listener.close()
    return calls


def aborted_is_the_end(listener, deadline):
    calls, before = [], listener.gettimeout()
    try:
        while True:
            listener.settimeout(max(0, deadline - time.monotonic()))
            calls.append(listener.accept()[0])
    except (BlockingIOError, TimeoutError):
        return calls
    finally:
        listener.settimeout(before)


RIGHT = {
    "4a": [drain_when_select_says_so, drain_by_recursion, drain_with_a_class, drain_with_selectors],
    "4b": [until_by_select, until_by_drain, until_by_recursion, until_with_4a, until_by_selectors],
}
WRONG = {
    "4a": [
        (blocks_on_an_empty_line, "it was in accept()"),
        (takes_one, "1 of 3 callers who came in time is in your list"),
        (takes_five, "5 of 20 callers"),
        (leaves_it_unblocked, "left one that does not block"),
        (makes_it_block, "left one that blocks"),
        (calls_do_not_block, "a blocking one: setblocking(True)"),
        (waits_a_little, "wait for nobody"),
        (selects_for_a_moment, "was ready to wait in select()"),
        (returns_pairs, "Return the sockets alone"),
        (closes_the_listener, "closed the listener"),
        (never_catches, "nobody is in line: catch it"),
        (an_aborted_call_is_an_error, "go on with the next one in line"),
        (any_error_ends_it, "between them one whose call was aborted in line: 1 of 2 callers"),
        (any_other_error_ends_it, "as if nothing had happened"),
        (leaves_them_open, "2 of the calls that your function had taken stayed open"),
        (says_nothing_of_blocking, "gives sockets that do not either: the socket of caller 1 does not block"),
        (puts_it_back_at_the_end_only, "also where something fails"),
        (asks_who_it_is, "raised OSError"),
        (hears_them_too, "Taking a call is not hearing it"),
        (last_comes_first, "not in the order in which they dialled"),
        (closes_the_calls, "is closed already"),
        (tells_how_many, "returned 3"),
        (forgets_to_return, "returned None"),
    ],
    "4b": [
        (a_negative_time_out, "ValueError: Timeout value out of range"),
        (the_whole_time_for_each, "still took calls"),
        (leaves_the_time_out, "Put it back before you return"),
        (every_error_is_the_end, "as if nothing had happened"),
        (leaves_calls_open, "2 of the calls that your function had taken stayed open"),
        (reuses_4a_and_leaves_calls_open, "and after that accept() fails: no descriptors are left (EMFILE). The error"),
        (the_deadline_is_a_time_out, "settimeout() takes seconds from now"),
        (select_until_the_deadline, "select() takes seconds from now"),
        (sleeps_until_the_deadline, "had taken nobody, and while it waited let others stand in line"),
        (sleeps_after_the_first, "had taken 1 caller, and while it waited let others stand in line"),
        (says_nothing_of_blocking_until, "the socket of caller 1 does not block"),
        (pairs_until, "Return the sockets alone"),
        (nobody_when_it_is_late, "took nobody. Late as it is, take all who are in line"),
        (returns_at_once, "with nobody. Others may still come"),
        (returns_after_the_first, "with 1 caller. Others may still come"),
        (asks_again_and_again, "Don't ask again and again"),
        (asks_ten_times_a_second, "let accept() wait, with a time-out"),
        (ignores_the_deadline, "did not return"),
        (time_out_is_an_error, "That nobody came in time is no error"),
        (closes_it_at_the_deadline, "closed the listener"),
        (aborted_is_the_end, "go on with the next one in line"),
    ],
}
