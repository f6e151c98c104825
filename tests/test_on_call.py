"""A server on trial: its callers learn what it does, and nothing of it is left."""

from __future__ import annotations

import select
import threading

import pytest
from timing import SOON, took

from helpers import recorded_socket
from helpers.exercises.exercise import NotYet
from helpers.exercises.on_call import on_call
from helpers.strategies import accept, one_at_a_time, talk, thread_per_caller


@pytest.fixture(autouse=True)
def nothing_left_behind():
    before = set(threading.enumerate())
    yield
    assert not [t for t in set(threading.enumerate()) - before if t.is_alive() and t.name != "your function"]
    assert all(s.fileno() < 0 for s in list(recorded_socket.recorder.sockets))


def test_a_server_that_keeps_the_protocol_is_told_nothing():
    with on_call(thread_per_caller, "Three callers") as server:
        guests = [server.guest() for _ in range(3)]
        for guest in guests:
            guest.talks(b"one", b"two")


def test_what_a_caller_misses_is_told_with_the_case():
    def call():
        with on_call(one_at_a_time, "Two callers", why="Serve it, too.") as server:
            server.guest()
            server.guest(greeted=False).expect(b"first\n")

    with pytest.raises(NotYet, match=r"^Two callers: the caller should have heard .*first.* Serve it, too\.$"):
        call()


def test_a_server_that_raises_is_told_of_at_once():
    def fails(listener):
        accept(listener).close()
        raise LookupError("no such thing")

    def call():
        with pytest.raises(NotYet, match="One caller: your function raised LookupError: no such thing"):
            with on_call(fails, "One caller") as server:
                server.guest()

    assert took(call) < SOON


def test_a_server_that_returns_is_told_to_go_on():
    def once(listener):
        talk(accept(listener))

    def call():
        with on_call(once, "One caller") as server:
            server.guest().talks(b"hello")
            server.guest()

    with pytest.raises(NotYet, match=r"One caller: your function returned None\. A server goes on"):
        call()


def fails_in_a_thread(listener):
    def serve(connection):
        with connection:
            raise LookupError("no such thing")

    while True:
        threading.Thread(target=serve, args=[accept(listener)], daemon=True).start()


def test_what_a_thread_of_a_server_raises_is_told_in_the_message_and_nowhere_else(monkeypatch):
    told = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    with pytest.raises(NotYet, match=r"One caller: a thread of your function raised LookupError: no such thing"):
        with on_call(fails_in_a_thread, "One caller", why="Greet it.") as server:
            server.guest()
    assert told == []
    assert threading.excepthook == told.append


def test_what_it_raises_is_told_by_python_where_no_caller_misses_anything(monkeypatch):
    told = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    with on_call(fails_in_a_thread, "One caller") as server:
        server.guest(greeted=False).hears_all()
    assert [args.exc_type for args in told] == [LookupError]


def test_a_closed_listener_is_told():
    def closes(listener):
        connection = accept(listener)
        recorded_socket.socket.close(listener)
        talk(connection)
        threading.Event().wait(0.5)

    with pytest.raises(NotYet, match="closed the listener"):
        with on_call(closes, "One caller") as server:
            server.guest().talks(b"hello")


def test_one_that_waits_in_a_plain_select_is_ended():
    def selects(listener):
        while True:
            select.select([listener], [], [])
            listener.accept()[0].close()

    def call():
        with on_call(selects, "One caller") as server:
            assert server.guest(greeted=False).hears_all() == b""

    assert took(call) < SOON
