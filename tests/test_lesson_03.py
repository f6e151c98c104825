"""Lesson 03's exercises where the system has less to offer: no IPv6, or a loopback device that only root may name."""

from __future__ import annotations

import socket as standard
import sys

import pytest

from helpers import recorded_socket as socket
from helpers.exercises import lesson_03
from helpers.exercises.lesson_03 import exercise_3a, exercise_3b, open_dual_stack

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def no_ipv6(monkeypatch):
    """A machine whose kernel does not know IPv6."""
    for module in (standard, socket):
        monkeypatch.setattr(module, "has_dualstack_ipv6", lambda: False, raising=False)
    monkeypatch.setattr(lesson_03, "_has_ipv6", lambda: False)


@pytest.mark.usefixtures("no_ipv6")
def test_without_ipv6_a_listener_on_127_0_0_1_alone_is_right():
    def everywhere(port=0):
        return socket.create_server(("", port))

    def elsewhere_if_taken(port=0):
        try:
            return socket.create_server(("127.0.0.1", port))
        except OSError:
            return socket.create_server(("127.0.0.1", 0))

    assert exercise_3b.check(open_dual_stack).status == "right"
    assert open_dual_stack().getsockname()[0] == "127.0.0.1"
    assert "on 127.0.0.1 alone" in exercise_3b.check(everywhere).message
    assert "another program has on 127.0.0.1" in exercise_3b.check(elsewhere_if_taken).message


@pytest.mark.skipif(not standard.has_dualstack_ipv6(), reason="this machine has no IPv6")
@pytest.mark.skipif(not hasattr(standard, "SO_BINDTODEVICE"), reason="only Linux ties a socket to a device")
def test_where_no_device_may_be_named_both_families_come_all_the_same(monkeypatch):
    plain, refused = socket.socket.setsockopt, []

    def setsockopt(self, level, option, value):
        if option == standard.SO_BINDTODEVICE:
            refused.append(value)
            raise PermissionError
        return plain(self, level, option, value)

    monkeypatch.setattr(socket.socket, "setsockopt", setsockopt)
    assert exercise_3b.check(open_dual_stack).status == "right"
    assert set(refused) == {b"lo"}


def test_a_privileged_port_is_tried_only_where_it_is_refused():
    def passes_it_over(ports):
        for port in ports:
            one = socket.socket()
            try:
                one.bind(("127.0.0.1", port))
                return one
            except PermissionError:
                one.close()
            except BaseException as problem:
                one.close()
                if port == ports[-1] or isinstance(problem, OverflowError):
                    raise
        raise ValueError("no port to try")

    assert exercise_3a.check(passes_it_over).status == ("not yet" if lesson_03._is_refused(1) else "right")


def test_is_refused_tells_refusal_from_use(monkeypatch):
    with standard.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        assert not lesson_03._is_refused(holder.getsockname()[1])

    class Refusing(standard.socket):
        def bind(self, address):
            raise PermissionError

    monkeypatch.setattr(standard, "socket", Refusing)
    assert lesson_03._is_refused(1)


def test_the_calls_that_are_shown_have_names_of_options_and_none_of_the_checks_own():
    def gives_two(port=0):
        listener = socket.create_server(("127.0.0.1", 0))
        socket.create_connection(listener.getsockname()).shutdown(socket.SHUT_WR)
        return listener, socket.create_server(("127.0.0.1", 0))

    calls = exercise_3b.check(gives_two).calls
    assert "setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)" in calls or sys.platform == "win32"
    assert "shutdown(SHUT_WR)" in calls
    assert "left" not in calls
