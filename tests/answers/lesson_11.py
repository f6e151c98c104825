"""Answers to the exercises of lesson 11."""

from __future__ import annotations

import math
import selectors
import socket
import statistics
import threading
from bisect import bisect_right
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from helpers.strategies import (
    GREETING,
    SIZE,
    Conversation,
    accept,
    asyncio_protocol,
    asyncio_streams,
    one_at_a_time,
    talk,
    thread_pool,
)

# ---------------------------------------------------------------------- 11a


def percentile_by_index(times, share):
    if not times or share <= 0 or share > 1:
        raise ValueError
    return sorted(times)[math.ceil(share * len(times)) - 1]


def percentile_by_asking_each(times, share):
    if len(times) == 0 or not 0 < share <= 1:
        raise ValueError("nothing to tell")
    return min(t for t in times if sum(other <= t for other in times) >= share * len(times))


def percentile_by_bisection(times, share):
    if not (times and 0 < share <= 1):
        raise ValueError
    ordered = sorted(times)
    return next(t for t in ordered if bisect_right(ordered, t) / len(ordered) >= share)


def percentile_by_counting(times, share):
    if not times or not 0 < share <= 1:
        raise ValueError
    count = 0
    for wait, often in sorted(Counter(times).items()):
        count += often
        if count >= share * len(times):
            return wait
    return None


def mean(times, share):
    return sum(times) / len(times)


def interpolated(times, share):
    if not times or not 0 < share <= 1:
        raise ValueError
    if len(times) == 1:
        return times[0]
    ordered, at = sorted(times), share * (len(times) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


def the_next_one(times, share):
    return sorted(times)[int(share * len(times))]


def not_sorted(times, share):
    return times[math.ceil(share * len(times)) - 1]


def share_of_the_longest(times, share):
    return min(t for t in times if t >= share * max(times))


def rounded_down(times, share):
    return sorted(times)[max(0, int(share * len(times)) - 1)]


def sorts_what_it_got(times, share):
    if not times or not 0 < share <= 1:
        raise ValueError
    times.sort()
    return times[math.ceil(share * len(times)) - 1]


def without_bounds(times, share):
    return sorted(times)[math.ceil(share * len(times)) - 1]


def any_share(times, share):
    if not times:
        raise ValueError
    return sorted(times)[min(len(times), max(1, math.ceil(share * len(times)))) - 1]


def each_once(times, share):
    return percentile_by_index(list(set(times)), share)


def prints_it(times, share):
    print(percentile_by_index(times, share))


def none_of_none(times, share):
    return percentile_by_index(times, share) if times else None


# ---------------------------------------------------------------------- 11b


def verdict_step_by_step(rounds_a, rounds_b):
    if len(rounds_a) < 3 or len(rounds_b) < 3:
        return "too close to call"
    a, b = sorted(rounds_a), sorted(rounds_b)
    if a[0] <= b[-1] and b[0] <= a[-1]:
        return "too close to call"
    more, less = max(statistics.median(a), statistics.median(b)), min(statistics.median(a), statistics.median(b))
    if more < 1.3 * less:
        return "too close to call"
    return "a" if a[0] > b[-1] else "b"


def verdict_by_hand(rounds_a, rounds_b):
    def middle(rounds):
        ordered, half = sorted(rounds), len(rounds) // 2
        return ordered[half] if len(rounds) % 2 else (ordered[half - 1] + ordered[half]) / 2

    if min(len(rounds_a), len(rounds_b)) >= 3:
        for name, ours, theirs in (("a", rounds_a, rounds_b), ("b", rounds_b, rounds_a)):
            if all(one > other for one in ours for other in theirs) and middle(ours) >= 1.3 * middle(theirs):
                return name
    return "too close to call"


def verdict_by_turning(rounds_a, rounds_b, names=("a", "b")):
    if max(rounds_a) < min(rounds_b):
        return verdict_by_turning(rounds_b, rounds_a, names[::-1])
    clear = min(rounds_a) > max(rounds_b) and min(len(rounds_a), len(rounds_b)) > 2
    far = clear and statistics.median(rounds_a) >= statistics.median(rounds_b) * 1.3
    return names[0] if far else "too close to call"


def _ahead(rounds_a, rounds_b, middle=statistics.median, least=3, times=1.3, ranges=True):
    if min(len(rounds_a), len(rounds_b)) >= least:
        for name, ours, theirs in (("a", rounds_a, rounds_b), ("b", rounds_b, rounds_a)):
            if (not ranges or min(ours) > max(theirs)) and middle(ours) >= times * middle(theirs):
                if middle(ours):
                    return name
    return "too close to call"


def medians_alone(rounds_a, rounds_b):
    return "a" if statistics.median(rounds_a) > statistics.median(rounds_b) else "b"


def ranges_do_not_matter(rounds_a, rounds_b):
    return _ahead(rounds_a, rounds_b, ranges=False)


def any_distance(rounds_a, rounds_b):
    return _ahead(rounds_a, rounds_b, times=1.0)


def by_means(rounds_a, rounds_b):
    return _ahead(rounds_a, rounds_b, middle=statistics.mean)


def two_are_enough(rounds_a, rounds_b):
    return _ahead(rounds_a, rounds_b, least=2)


def one_is_enough_for_b(rounds_a, rounds_b):
    return _ahead(rounds_a, rounds_b, least=1) if len(rounds_a) > 2 or len(rounds_b) > 2 else "too close to call"


def more_than_that(rounds_a, rounds_b):
    return _ahead(rounds_a, rounds_b, times=1.31)


def touching_is_apart(rounds_a, rounds_b):
    if min(len(rounds_a), len(rounds_b)) < 3:
        return "too close to call"
    for name, ours, theirs in (("a", rounds_a, rounds_b), ("b", rounds_b, rounds_a)):
        if min(ours) >= max(theirs) and statistics.median(ours) >= 1.3 * statistics.median(theirs) > 0:
            return name
    return "too close to call"


def divides(rounds_a, rounds_b):
    if min(len(rounds_a), len(rounds_b)) < 3:
        return "too close to call"
    for name, ours, theirs in (("a", rounds_a, rounds_b), ("b", rounds_b, rounds_a)):
        if min(ours) > max(theirs) and statistics.median(ours) / statistics.median(theirs) >= 1.3:
            return name
    return "too close to call"


def sorts_both(rounds_a, rounds_b):
    rounds_a.sort()
    rounds_b.sort()
    return _ahead(rounds_a, rounds_b)


def says_the_ratio(rounds_a, rounds_b):
    return statistics.median(rounds_a) / statistics.median(rounds_b)


# ---------------------------------------------------------------------- 11c


def a_thread_each(listener):
    while True:
        threading.Thread(target=talk, args=[accept(listener)], daemon=True).start()


def a_pool_of_twenty(listener):
    thread_pool(listener, 20)


def a_loop_of_its_own(listener):
    """No class for a caller: a dict of what is to be kept."""
    listener.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is listener:
                    try:
                        connection, _ = listener.accept()
                    except OSError:
                        continue
                    connection.setblocking(False)
                    keeps = {"talk": Conversation(), "unsent": GREETING}
                    selector.register(connection, selectors.EVENT_WRITE, keeps)
                    continue
                keeps, connection = key.data, key.fileobj
                try:
                    if not keeps["unsent"]:
                        keeps["unsent"] = keeps["talk"].hear(connection.recv(SIZE))
                    if keeps["unsent"]:
                        keeps["unsent"] = keeps["unsent"][connection.send(keeps["unsent"]) :]
                except BlockingIOError:
                    pass
                except OSError:
                    selector.unregister(connection)
                    connection.close()
                    continue
                if keeps["talk"].over and not keeps["unsent"]:
                    selector.unregister(connection)
                    connection.close()
                    continue
                event = selectors.EVENT_WRITE if keeps["unsent"] else selectors.EVENT_READ
                if event != key.events:
                    selector.modify(connection, event, keeps)


async def by_asyncio(listener):
    await asyncio_protocol(listener)


def returns_at_once(listener):
    accept(listener).close()


def takes_no_calls(listener):
    threading.Event().wait(20)


def one_after_the_other(listener):
    one_at_a_time(listener)


def a_pool_of_four(listener):
    thread_pool(listener, 4)


def a_pool_of_nineteen(listener):
    with ThreadPoolExecutor(19) as pool:
        while True:
            pool.submit(talk, accept(listener))


def _with_a_thread_each(listener, serve):
    def guarded(connection):
        with connection:
            try:
                serve(connection)
            except OSError:
                pass

    while True:
        threading.Thread(target=guarded, args=[accept(listener)], daemon=True).start()


def a_receive_is_a_line(listener):
    def serve(connection):
        connection.sendall(GREETING)
        number = 0
        while line := connection.recv(SIZE):
            if line.strip() == b"quit":
                connection.sendall(b"bye\n")
                return
            number += 1
            connection.sendall(b"%d %s\n" % (number, line.strip()))

    _with_a_thread_each(listener, serve)


def greets_in_its_own_words(listener):
    def serve(connection):
        connection.sendall(b"hi\n")
        connection.recv(SIZE)

    _with_a_thread_each(listener, serve)


def numbers_for_all(listener):
    """Its lines have numbers that go on from call to call."""
    conversation = Conversation()

    def serve(connection):
        connection.sendall(GREETING)
        conversation.over = False
        while not conversation.over:
            connection.sendall(conversation.hear(connection.recv(SIZE)))

    _with_a_thread_each(listener, serve)


def a_reset_ends_it(listener):
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.data is None:
                    connection, _ = listener.accept()
                    connection.sendall(GREETING)
                    selector.register(connection, selectors.EVENT_READ, Conversation())
                    continue
                key.fileobj.sendall(key.data.hear(key.fileobj.recv(SIZE)))
                if key.data.over:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()


def hears_without_end(listener):
    """Its lines have no limit."""

    def serve(connection):
        number = 0
        with connection.makefile("rb") as lines:
            connection.sendall(GREETING)
            for line in lines:
                if not line.endswith(b"\n"):
                    return
                text = line[:-1].removesuffix(b"\r")
                if text == b"quit":
                    connection.sendall(b"bye\n")
                    connection.shutdown(socket.SHUT_RDWR)
                    return
                number += 1
                connection.sendall(b"%d %s\n" % (number, text))

    _with_a_thread_each(listener, serve)


RIGHT = {
    "11a": [percentile_by_index, percentile_by_asking_each, percentile_by_bisection, percentile_by_counting],
    "11b": [verdict_step_by_step, verdict_by_hand, verdict_by_turning],
    "11c": [a_thread_each, a_pool_of_twenty, a_loop_of_its_own, by_asyncio, asyncio_streams],
}
WRONG = {
    "11a": [
        (mean, "returned 3.75"),
        (interpolated, "not a mean of two"),
        (the_next_one, "[1, 4, 2, 8], 0.5): your function returned 4"),
        (not_sorted, "two of the times are no longer than 2"),
        (share_of_the_longest, "Two of four waited 2 or less"),
        (rounded_down, "Half of the callers are one and a half"),
        (sorts_what_it_got, "changed the list"),
        (without_bounds, "percentile([], 0.5)"),
        (any_share, "A share of nothing is no share"),
        (each_once, "one who waited 1000 is the hundredth"),
        (prints_it, "returned None. Return one of the times"),
        (none_of_none, "There are no times, so none is returned"),
    ],
    "11b": [
        (medians_alone, "the ranges overlap"),
        (ranges_do_not_matter, "verdict([100, 200, 210], [60, 120, 50])"),
        (any_distance, "102 is not 1.3 times 99"),
        (by_means, "a mean believes 1000"),
        (two_are_enough, "Two rounds are not three"),
        (one_is_enough_for_b, "One round of b says little"),
        (more_than_that, "130 is 1.3 times 100"),
        (touching_is_apart, "A round of each gave 150"),
        (divides, "ZeroDivisionError"),
        (sorts_both, "changed a list that it was given"),
        (says_the_ratio, "is to return 'a'"),
    ],
    "11c": [
        (returns_at_once, "Your server returned: it is to serve until it is ended"),
        (takes_no_calls, "heard nothing"),
        (one_after_the_other, "one caller who says nothing can stop it"),
        (a_pool_of_four, "4 callers who say nothing can stop it"),
        (a_pool_of_nineteen, "19 callers who say nothing can stop it"),
        (a_receive_is_a_line, "A thousand lines may come at once"),
        (greets_in_its_own_words, "Somebody dialled, and the caller should have heard"),
        (numbers_for_all, "in each call anew"),
        (a_reset_ends_it, "Your server ended with "),
        (hears_without_end, "A line of 4096 bytes is answered"),
    ],
}
