"""How many silent callers stop a server."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from helpers import strategies, width
from helpers.strategies import accept, one_at_a_time, selector_loop, talk, thread_pool
from helpers.width import served_beside, width_of


def pool_of_three(listener):
    thread_pool(listener, size=3)


def pool_that_queues(listener):
    """Another thread accepts; what the three have no time for waits among the jobs."""
    with ThreadPoolExecutor(3) as pool:
        while True:
            pool.submit(talk, accept(listener))


NARROW = [(one_at_a_time, 1), (pool_of_three, 3), (pool_that_queues, 3), (thread_pool, 32)]
WIDE = [serve for serve in strategies.STRATEGIES if serve not in (one_at_a_time, thread_pool)]


@pytest.mark.parametrize(("serve", "size"), NARROW)
def test_so_many_silent_callers_stop_it(serve, size):
    assert width_of(serve) == size
    assert width_of(serve, most=size - 1) is None


@pytest.mark.parametrize("serve", WIDE)
def test_fifty_silent_callers_do_not_stop_it(serve):
    assert width_of(serve, most=50) is None
    assert served_beside(serve, 50) == (10, 10)


@pytest.mark.parametrize(("serve", "size"), NARROW)
def test_who_is_served_beside_silent_ones(serve, size):
    assert served_beside(serve, size - 1) == (10, 10)
    assert served_beside(serve, size) == (0, 10)
    assert served_beside(serve, size + 1) == (0, 0)  # when one has left, the next silent one has its turn
    assert served_beside(serve, 0, others=3) == (3, 3)


def test_a_server_that_waits_for_a_while_is_not_stuck():
    def impatient(listener):
        while True:
            connection = accept(listener)
            connection.settimeout(0.05)
            talk(connection)

    assert served_beside(impatient, 2) == (10, 10)
    assert width_of(impatient, most=2) is None


def test_a_guest_who_was_held_up_dials_anew(monkeypatch):
    """Else a server with a time-out would have cut it off before it spoke."""
    dial, dials = width.socket.create_connection, []

    def late(*args):
        line = dial(*args)
        dials.append(line)
        if len(dials) == 1:
            threading.Event().wait(10 * width.PROMPT)
        return line

    monkeypatch.setattr(width.socket, "create_connection", late)
    assert served_beside(one_at_a_time, silent=0, others=1) == (1, 1)
    assert len(dials) >= 2 and dials[0].fileno() < 0


def test_who_is_not_served_by_an_event_loop(monkeypatch):
    """What it waits for is not seen: there it takes patience to know."""

    def welcome(listener, selector):
        if len(selector.get_map()) > 2:  # it has two callers on the line, and takes no more
            selector.unregister(listener)
            return False
        connection, _ = listener.accept()
        connection.setblocking(False)
        selector.register(connection, strategies.selectors.EVENT_WRITE, strategies.Caller(connection))
        return True

    monkeypatch.setattr(strategies, "welcome", welcome)
    with width._House(selector_loop) as house:
        quiet = house.guests(2)
        with monkeypatch.context() as short:
            short.setattr(width, "PATIENCE", 0.3)
            guests = house.guests(10, b"hello\nquit\n")
            assert house.served(guests) == 0
        quiet[0].line.close()
        assert house.served(guests) == 10


def test_a_server_that_fails_is_told_of():
    def fails(listener):
        raise LookupError("no such thing")

    with pytest.raises(LookupError, match="no such thing"):
        served_beside(fails, 1)


def test_nothing_is_left():
    before = set(threading.enumerate())
    served_beside(strategies.thread_per_caller, 3)
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()
