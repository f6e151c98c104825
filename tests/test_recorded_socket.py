"""The recorded socket module beside the standard one: the same names, the same results, the same errors.

A scenario is played with both modules, and the outcomes are compared: in a thread without a role and in one that takes
turns; as this system is, and as Windows is (no MSG_DONTWAIT) or macOS was (no poll()).
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import copy
import ctypes
import errno
import functools
import gc
import http.client
import http.server
import inspect
import io
import os
import pickle
import select
import selectors
import shutil
import socket as standard
import socketserver
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers import recorded_select, recording, waits
from helpers import recorded_socket as recorded
from helpers import recorder as recorder_module
from helpers.gate import READY, Actor, gate
from helpers.recorder import recorder
from helpers.recording import Recording
from helpers.waits import look_into

LOCAL = ("127.0.0.1", 0)
LINUX = sys.platform == "linux"
LONG = 10.0  #: seconds after which a test gives up
SOON = 0.5  #: seconds in which a wait must be ended

# ---------------------------------------------------------------------- who plays


def until_waiting(count: int = 1) -> None:
    """Until so many actors wait at the gate."""
    gate.until(lambda: len(gate.waiting) >= count, LONG)
    assert len(gate.waiting) >= count, "nobody waits at the gate"


class Player:
    """A thread that runs a function as an actor, and keeps what came of it."""

    def __init__(self, function: Callable[[], Any], name: str = "player", takes_turns: bool = False) -> None:
        self.actor = Actor(name, takes_turns=takes_turns, ending=KeyboardInterrupt)
        self.result: Any = None
        self.error: BaseException | None = None
        self._function = function
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.actor.alive = self._thread.is_alive
        if takes_turns:
            self.actor.state = READY
            gate.join(self.actor)
        self._thread.start()

    def _run(self) -> None:
        def act() -> None:
            self.result = self._function()

        self.error = gate.perform(self.actor, act)
        gate.release(self.actor)
        gate.leave(self.actor)

    def running(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return self._thread.is_alive()

    def until_it_stands_still(self) -> None:
        """Until Python has been at the same place of it for a while: it waits in the kernel."""
        still, place = 0, list[Any]()
        while still < 5:
            assert self.running(0.03)
            before, place = place, look_into(self._thread.ident, lambda frame: (frame.f_code, frame.f_lasti))[:1]
            still = still + 1 if place == before else 0

    def join(self) -> Any:
        """What its function returned, or raised."""
        assert not self.running(LONG), f"it still runs: {self.actor.wait and self.actor.wait.words}"
        if self.error is not None:
            raise self.error
        return self.result

    def end(self) -> None:
        """End it: it is gone in less than half a second."""
        started = time.monotonic()
        gate.end(self.actor)
        assert not self.running(SOON), "it could not be ended"
        assert time.monotonic() - started < SOON


class Case:
    """What a scenario plays with: one of the two modules, and sockets that are closed at its end."""

    def __init__(self, module: Any, folder: Path) -> None:
        self.m = module
        self.folder = folder
        self._stack = contextlib.ExitStack()
        self._others: list[Player] = []

    def __enter__(self) -> Case:
        return self

    def __exit__(self, *_: object) -> None:
        for other in self._others:
            other.join()
        self._stack.close()

    def keep(self, closable: Any) -> Any:
        """Close it at the end."""
        return self._stack.enter_context(contextlib.closing(closable))

    def socket(self, *args: Any, **named: Any) -> Any:
        return self.keep(self.m.socket(*args, **named))

    def udp(self) -> Any:
        sock = self.socket(self.m.AF_INET, self.m.SOCK_DGRAM)
        sock.bind(LOCAL)
        return sock

    def listener(self, backlog: int = 5) -> Any:
        sock = self.socket()
        sock.bind(LOCAL)
        sock.listen(backlog)
        return sock

    def pair(self) -> tuple[Any, Any]:
        """Both ends of a TCP connection."""
        listener, caller = self.listener(), self.socket()
        caller.connect(listener.getsockname())
        made, _ = listener.accept()
        return caller, self.keep(made)

    def socketpair(self, *args: Any) -> tuple[Any, Any]:
        one, other = self.m.socketpair(*args)
        return self.keep(one), self.keep(other)

    def full(self) -> Any:
        """A listener whose queue is full: who dials now hears nothing."""
        listener = self.listener(0)
        self.keep(standard.socket()).connect(listener.getsockname())
        return listener

    def nobody(self) -> Any:
        """A socket at whose address nobody listens."""
        sock = self.keep(standard.socket())
        sock.bind(LOCAL)
        return sock

    def meanwhile(self, function: Callable[[], Any]) -> None:
        """Another thread does this; with our module, once somebody waits at the gate."""

        def run() -> None:
            if self.m is recorded:
                until_waiting()
            function()

        self._others.append(Player(run, "other"))

    def path(self) -> str:
        """A path short enough for AF_UNIX."""
        return os.path.relpath(self.folder / "s")


def tried(call: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """What came of a call, in a form that can be compared."""
    try:
        result = call(*args, **named)
    except BaseException as error:
        parts = [tried_error(part) for part in getattr(error, "exceptions", ())]
        return (*tried_error(error), parts)
    return result


def tried_error(error: BaseException) -> tuple[Any, ...]:
    args = error.args[:1] if isinstance(error, BaseExceptionGroup) else error.args
    return type(error), getattr(error, "errno", None), args, type(error.__context__), error.__suppress_context__


SCENARIOS: list[Callable[[Case], Any]] = []


def scenario(function: Callable[[Case], Any]) -> Callable[[Case], Any]:
    SCENARIOS.append(function)
    return function


def linux(function: Callable[[Case], Any]) -> Callable[[Case], Any]:
    """What only Linux does so."""
    return scenario(function) if LINUX else function


def unix(function: Callable[[Case], Any]) -> Callable[[Case], Any]:
    return scenario(function) if hasattr(standard, "AF_UNIX") else function


def play(function: Callable[[Case], Any], module: Any, folder: Path) -> Any:
    before = standard.getdefaulttimeout()
    with Case(module, folder) as case:
        try:
            return function(case)
        finally:
            standard.setdefaulttimeout(before)


# ---------------------------------------------------------------------- scenarios: calls that do not wait


@scenario
def making(case: Case) -> Any:
    m = case.m
    kinds = [(), (m.AF_INET, m.SOCK_DGRAM), (m.AF_INET, m.SOCK_STREAM, m.IPPROTO_TCP)]
    made = [case.socket(*kind) for kind in kinds]
    made.append(case.socket(type=m.SOCK_DGRAM, family=m.AF_INET))
    return [(s.family, s.type, s.proto, s.timeout, s.gettimeout(), s.getblocking(), s.get_inheritable()) for s in made]


@scenario
def making_wrongly(case: Case) -> Any:
    m = case.m
    wrong = [(12345,), (m.AF_INET, 12345), ("x",), (m.AF_INET, m.SOCK_STREAM, 99), (1, 2, 3, 4, 5), (None,)]
    bad = [tried(m.socket, *args) for args in wrong[:4]] + [tried(m.socket, *args)[0] for args in wrong[4:]]
    return [*bad, tried(m.socket, fileno=-5), tried(m.socket, fileno="x"), tried(m.socket, 1, 1, 0, 99999)]


@linux
def making_non_blocking(case: Case) -> Any:
    m = case.m
    one = case.socket(m.AF_INET, m.SOCK_STREAM | m.SOCK_NONBLOCK | m.SOCK_CLOEXEC)
    return one.type, one.timeout, one.getblocking(), os.get_blocking(one.fileno())


@scenario
def looks(case: Case) -> Any:
    """What print() shows of a socket."""
    sock = case.socket()
    shown = [repr(sock).replace(f"fd={sock.fileno()}", "fd=N")]
    one, other = case.pair()
    shown += [repr(one).split(", type")[1].split("laddr")[0], "raddr" in repr(other)]
    sock.close()
    return [*shown, repr(sock), str(sock)]


@scenario
def own_class(case: Case) -> Any:
    class Mine(case.m.socket):
        """A learner's own."""

        def __init__(self, *args: Any, **named: Any) -> None:
            super().__init__(*args, **named)
            self.note = "mine"

        def recv(self, *args: Any) -> bytes:
            return super().recv(*args) + b"!"

    listener, caller = case.listener(), case.keep(Mine())
    caller.connect(listener.getsockname())
    made = case.keep(listener.accept()[0])
    made.sendall(b"hello")
    twin = case.keep(caller.dup())
    shown = repr(caller).split(" ")[0].rsplit(".", 1)[-1]
    return caller.recv(10), caller.note, type(made) is case.m.socket, type(twin) is Mine, shown


@scenario
def no_copies(case: Case) -> Any:
    sock = case.socket()
    asked = [tried(pickle.dumps, sock), tried(copy.copy, sock), tried(copy.deepcopy, sock)]
    return (
        asked,
        tried(setattr, sock, "colour", 1)[0],
        tried(setattr, sock, "timeout", 1)[0],
        tried(setattr, sock, "family", 1)[0],
    )


@scenario
def in_a_with(case: Case) -> Any:
    with case.m.socket() as sock:
        inside = sock.fileno() >= 0
    with case.m.socket() as closed:
        closed.close()
    return inside, sock.fileno(), closed.fileno(), sock.close(), tried(sock.getsockname), tried(sock.__enter__) is sock


@scenario
def binding(case: Case) -> Any:
    sock = case.socket()
    first = sock.bind(LOCAL)
    return first, sock.getsockname()[0], sock.getsockname()[1] > 0, tried(sock.bind, LOCAL)


@scenario
def binding_wrongly(case: Case) -> Any:
    m, taken = case.m, case.listener()
    wrong = [
        taken.getsockname(),  # EADDRINUSE
        ("192.0.2.1", 0),  # EADDRNOTAVAIL
        ("127.0.0.1", 70000),
        ("127.0.0.1", -1),
        ("127.0.0.1", "http"),
        "127.0.0.1:80",
        ("127.0.0.1",),
        ("127.0.0.1", 0, 0),
        (None, 0),
        None,
        ("::1", 0),  # gaierror
        ("a..b", 0),  # UnicodeError
        ["127.0.0.1", 0],
    ]
    outcomes = [tried(case.socket().bind, address) for address in wrong]
    sock = case.socket()
    sock.close()
    return outcomes, tried(sock.bind, LOCAL), tried(m.socket.bind, sock)[0], tried(sock.bind, address=LOCAL)[0]


@scenario
def listening(case: Case) -> Any:
    unbound = case.socket()
    outcomes = [
        tried(unbound.listen),
        unbound.getsockname()[1] > 0,
        tried(unbound.listen, 3),
        tried(unbound.bind, LOCAL),
    ]
    one, _ = case.pair()
    outcomes += [
        tried(one.listen),
        tried(case.udp().listen),
        tried(case.socket().listen, -1),
        tried(case.socket().listen, 0),
    ]
    outcomes += [tried(case.socket().listen, "5"), tried(case.socket().listen, 1.5), tried(case.socket().listen, 2**40)]
    outcomes += [tried(case.socket().listen, backlog=3)[0]]
    one.close()
    return [*outcomes, tried(one.listen)]


@scenario
def shutting_down(case: Case) -> Any:
    m, outcomes = case.m, list[Any]()
    for how in (m.SHUT_RD, m.SHUT_WR, m.SHUT_RDWR):
        one, other = case.pair()
        outcomes.append(tried(one.shutdown, how))
        if how != m.SHUT_RD:
            outcomes += [other.recv(10), tried(one.send, b"x")]
        if how != m.SHUT_WR:
            outcomes += [one.recv(10)]
    one, other = case.pair()
    wrong = [77, "x", None, 1.5]
    outcomes += [tried(one.shutdown, how) for how in wrong]
    outcomes += [tried(case.socket().shutdown, m.SHUT_WR), tried(one.shutdown)[0]]
    one.close()
    return [*outcomes, tried(one.shutdown, m.SHUT_WR)]


@linux
def shutting_down_a_listener(case: Case) -> Any:
    listener = case.listener()
    return tried(listener.shutdown, case.m.SHUT_RDWR), tried(listener.accept)


@scenario
def options(case: Case) -> Any:
    m, sock = case.m, case.socket()
    reuse = (m.SOL_SOCKET, m.SO_REUSEADDR)
    outcomes = [tried(sock.setsockopt, *reuse, 1), sock.getsockopt(*reuse), tried(sock.setsockopt, *reuse, True)]
    outcomes += [tried(sock.setsockopt, m.SOL_SOCKET, m.SO_LINGER, struct.pack("ii", 1, 5))]
    outcomes += [sock.getsockopt(m.SOL_SOCKET, m.SO_LINGER, 8), tried(sock.setsockopt, m.SOL_SOCKET, 9999, 1)]
    outcomes += [
        tried(sock.setsockopt, *reuse, "1"),
        tried(sock.setsockopt, *reuse, 1.5),
        tried(sock.setsockopt, *reuse)[0],
    ]
    outcomes += [tried(sock.setsockopt, *reuse, None, 0), tried(sock.setsockopt, *reuse, bytearray(4))]
    sock.close()
    return [*outcomes, tried(sock.setsockopt, *reuse, 1)]


@scenario
def patience(case: Case) -> Any:
    sock, outcomes = case.socket(), list[Any]()
    for value in (None, 0, 1.5, 3, 0.0, True, False, -1, "x", float("nan"), 1e30):
        outcomes += [tried(sock.settimeout, value), sock.timeout, sock.gettimeout(), sock.getblocking()]
        outcomes += [os.get_blocking(sock.fileno()) if os.name != "nt" else None]
    for value in (True, False, 1, 0, "x", None):
        outcomes += [tried(sock.setblocking, value), sock.timeout, sock.getblocking()]
    sock.close()
    return outcomes, tried(sock.settimeout, 1), tried(sock.setblocking, False), tried(sock.settimeout)[0]


@scenario
def default_patience(case: Case) -> Any:
    m, outcomes = case.m, list[Any]()
    for value in (None, 2.5, 0.0):
        m.setdefaulttimeout(value)
        listener, caller = case.socket(), case.keep(standard.socket())
        outcomes += [listener.gettimeout(), m.getdefaulttimeout()]
        listener.bind(LOCAL)
        listener.listen()
        caller.settimeout(LONG)
        caller.connect(listener.getsockname())
        select.select([listener], [], [], LONG)
        for patience in (LONG, None, 0):
            if patience != LONG:
                caller = case.keep(standard.socket())
                caller.settimeout(LONG)
                caller.connect(listener.getsockname())
                select.select([listener], [], [], LONG)
            listener.settimeout(patience)
            made = case.keep(listener.accept()[0])
            outcomes += [made.gettimeout(), made.getblocking()]
        outcomes += [[s.gettimeout() for s in case.socketpair()]]
    return outcomes


@scenario
def closing(case: Case) -> Any:
    sock = case.socket()
    outcomes = [sock.close(), sock.close(), sock.fileno(), sock.detach()]
    wrong: list[tuple[str, tuple[Any, ...]]] = [
        ("recv", (1,)),
        ("send", (b"x",)),
        ("sendall", (b"x",)),
        ("sendto", (b"x", LOCAL)),
        ("accept", ()),
        ("connect", (LOCAL,)),
        ("connect_ex", (LOCAL,)),
        ("recvfrom", (1,)),
        ("recv_into", (bytearray(3),)),
        ("recvfrom_into", (bytearray(3),)),
        ("getsockname", ()),
        ("getpeername", ()),
        ("dup", ()),
    ]
    wrong += [("sendmsg", ([b"x"],)), ("recvmsg", (1,)), ("recvmsg_into", ([bytearray(3)],))] * (os.name != "nt")
    outcomes += [(name, tried(getattr(sock, name), *args)) for name, args in wrong]
    for patience in (0, 5):
        sock = case.socket()
        sock.settimeout(patience)
        sock.close()
        outcomes += [(name, tried(getattr(sock, name), *args)) for name, args in wrong[:9]]
    return outcomes


@scenario
def detaching(case: Case) -> Any:
    one, other = case.pair()
    fd = one.detach()
    again = case.m.socket(fileno=fd)
    case.keep(again)
    other.sendall(b"hello")
    return one.fileno(), tried(one.recv, 5), again.recv(5), again.family, again.type, again.fileno() == fd, one.detach()


@scenario
def doubling(case: Case) -> Any:
    m = case.m
    one, other = case.pair()
    one.settimeout(3)
    twin = case.keep(one.dup())
    copied = case.keep(m.fromfd(one.fileno(), one.family, one.type))
    other.sendall(b"hello")
    got = twin.recv(2), one.recv(3), twin.timeout, twin.get_inheritable(), type(copied) is m.socket, copied.timeout
    one.close()
    twin.sendall(b"still")
    got += (other.recv(10),)
    twin.close()
    copied.close()
    return got, other.recv(10), tried(m.fromfd, -1, m.AF_INET, m.SOCK_STREAM), tried(m.dup, -1)


# ---------------------------------------------------------------------- scenarios: accept and connect


@scenario
def calling(case: Case) -> Any:
    listener, caller = case.listener(), case.socket()
    result = caller.connect(listener.getsockname())
    made, address = listener.accept()
    case.keep(made)
    same = made.getpeername() == address == caller.getsockname() and made.getsockname() == caller.getpeername()
    return result, same, made.timeout, made.family, made.type, made.proto, type(made) is case.m.socket


@scenario
def accept_waits(case: Case) -> Any:
    listener, caller = case.listener(), case.keep(standard.socket())
    case.meanwhile(lambda: caller.connect(listener.getsockname()))
    made, address = listener.accept()
    case.keep(made)
    listener.settimeout(LONG)
    second = case.keep(standard.socket())
    case.meanwhile(lambda: second.connect(listener.getsockname()))
    other, _ = listener.accept()
    return address == caller.getsockname(), made.timeout, case.keep(other).timeout


@scenario
def accepting_nobody(case: Case) -> Any:
    listener = case.listener()
    listener.setblocking(False)
    outcomes = [tried(listener.accept)]
    listener.settimeout(0.02)
    started = time.monotonic()
    outcomes += [tried(listener.accept), 0.015 < time.monotonic() - started < LONG, listener.timeout]
    return [*outcomes, os.name == "nt" or os.get_blocking(listener.fileno())]


@scenario
def accepting_wrongly(case: Case) -> Any:
    one, _ = case.pair()
    bound = case.socket()
    bound.bind(LOCAL)
    socks = [one, bound, case.socket(), case.udp()]
    outcomes = [tried(one.accept, 1)[0]]
    for patience in (None, 0, 0.02):
        for sock in socks:
            sock.settimeout(patience)
            outcomes += [tried(sock.accept)]
    return outcomes


@scenario
def calling_nobody(case: Case) -> Any:
    where, outcomes = case.nobody().getsockname(), list[Any]()
    for patience in (None, LONG):
        caller = case.socket()
        caller.settimeout(patience)
        outcomes += [tried(caller.connect, where), caller.timeout]
        caller = case.socket()
        caller.settimeout(patience)
        outcomes += [tried(caller.connect_ex, where)]
    return outcomes


@scenario
def calling_again(case: Case) -> Any:
    """The same socket dials until somebody listens."""
    nobody, caller = case.nobody(), case.socket()
    outcomes = [tried(caller.connect, nobody.getsockname()), tried(caller.connect, nobody.getsockname())]
    outcomes += [tried(caller.connect_ex, nobody.getsockname())]
    nobody.listen()
    return [*outcomes, tried(caller.connect, nobody.getsockname()), tried(caller.connect, nobody.getsockname())]


@linux
def calling_again_with_patience(case: Case) -> Any:
    nobody, caller = case.nobody(), case.socket()
    caller.settimeout(LONG)
    outcomes = [tried(caller.connect, nobody.getsockname()), tried(caller.connect, nobody.getsockname())]
    nobody.listen()
    return [*outcomes, tried(caller.connect, nobody.getsockname()), tried(caller.connect, nobody.getsockname())]


@scenario
def calling_twice(case: Case) -> Any:
    outcomes = []
    for patience in (None, LONG, 0):
        one, other = case.pair()
        one.settimeout(patience)
        outcomes += [tried(one.connect, other.getsockname()), tried(one.connect_ex, other.getsockname())]
        outcomes += [tried(other.connect, one.getsockname())]
    return outcomes


@linux
def a_listener_calls(case: Case) -> Any:
    listener, other = case.listener(), case.listener()
    return tried(listener.connect, other.getsockname()), tried(listener.connect_ex, other.getsockname())


@scenario
def calling_wrongly(case: Case) -> Any:
    wrong = [
        ("127.0.0.1", 70000),
        ("127.0.0.1", -1),
        ("127.0.0.1", "http"),
        "127.0.0.1:80",
        ("127.0.0.1",),
        None,
        5,
        ("::1", 1),  # gaierror
        ("a..b", 1),  # UnicodeError
    ]
    outcomes = []
    for patience in (None, LONG, 0):
        for address in wrong:
            caller = case.socket()
            caller.settimeout(patience)
            outcomes += [tried(caller.connect, address), tried(caller.connect_ex, address), caller.timeout]
    return [*outcomes, tried(case.socket().connect)[0], tried(case.socket().connect, address=LOCAL)[0]]


@linux
def calling_without_waiting(case: Case) -> Any:
    listener, outcomes = case.listener(), list[Any]()
    for name in ("connect", "connect_ex"):
        caller = case.socket()
        caller.setblocking(False)
        outcomes.append(tried(getattr(caller, name), listener.getsockname()))
        select.select([], [caller], [], LONG)
        outcomes.append(caller.getsockopt(case.m.SOL_SOCKET, case.m.SO_ERROR))
        outcomes += [tried(getattr(caller, name), listener.getsockname()) for _ in range(2)]
        made = case.keep(listener.accept()[0])
        outcomes += [
            caller.send(b"hello"),
            made.recv(10),
            tried(caller.recv, 10),
            made.getpeername() == caller.getsockname(),
        ]
    return outcomes


@linux
def calling_nobody_without_waiting(case: Case) -> Any:
    caller = case.socket()
    caller.setblocking(False)
    outcomes = [tried(caller.connect, case.nobody().getsockname())]
    select.select([], [caller], [], LONG)
    return [*outcomes, caller.getsockopt(case.m.SOL_SOCKET, case.m.SO_ERROR)]


@linux
def calling_a_full_queue(case: Case) -> Any:
    listener, outcomes = case.full(), list[Any]()
    for name in ("connect", "connect_ex"):
        caller = case.socket()
        caller.settimeout(0.02)
        outcomes += [tried(getattr(caller, name), listener.getsockname()), caller.timeout]
        caller.setblocking(False)
        outcomes += [tried(getattr(caller, name), listener.getsockname())]
        caller.settimeout(0.02)
        outcomes += [tried(getattr(caller, name), listener.getsockname())]
        caller = case.socket()
        caller.setblocking(False)
        outcomes += [tried(getattr(caller, name), listener.getsockname()) for _ in range(2)]
    return outcomes


def waiting_for_a_call_begun_without_waiting(case: Case) -> Any:
    """connect() of a socket that dialled without waiting waits for the answer (connect(2): EALREADY if it does not)."""
    listener, caller = case.full(), case.socket()
    caller.setblocking(False)
    outcomes = [tried(caller.connect, listener.getsockname())]
    caller.setblocking(True)

    case.meanwhile(lambda: listener.accept()[0].close())
    return [*outcomes, tried(caller.connect, listener.getsockname()), caller.getpeername() == listener.getsockname()]


@scenario
def reset_at_once(case: Case) -> Any:
    """The peer is gone before connect() is told of."""
    listener, caller = case.listener(), case.socket()
    caller.connect(listener.getsockname())
    made = listener.accept()[0]
    made.setsockopt(case.m.SOL_SOCKET, case.m.SO_LINGER, struct.pack("ii", 1, 0))
    made.close()
    select.select([caller], [], [], LONG)
    return tried(caller.recv, 10), tried(caller.recv, 10), tried(caller.send, b"x"), tried(caller.getpeername)


# ---------------------------------------------------------------------- scenarios: receiving


@scenario
def receiving(case: Case) -> Any:
    one, other = case.pair()
    one.sendall(b"hello world")
    outcomes = [other.recv(5), other.recv(0) if LINUX else b"", other.recv(100, case.m.MSG_PEEK), other.recv(100)]
    one.close()
    return [*outcomes, other.recv(10), other.recv(10), other.recv(10, case.m.MSG_PEEK)]


@scenario
def receiving_wrongly(case: Case) -> Any:
    one, other = case.pair()
    one.sendall(b"something to read" * 10)
    other.settimeout(0.02)
    wrong: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("recv", (-1,), {}),
        ("recv", ("5",), {}),
        ("recv", (1.5,), {}),
        ("recv", (None,), {}),
        ("recv", (5, "x"), {}),
        ("recv", (5, None), {}),
        ("recv", (5, 1.5), {}),
        ("recv", (5, 2**40), {}),
        ("recv", (2**70,), {}),
        ("recv_into", (b"unchanging",), {}),
        ("recv_into", ("text",), {}),
        ("recv_into", (5,), {}),
        ("recv_into", (bytearray(5), -1), {}),
        ("recv_into", (bytearray(5), 6), {}),
        ("recv_into", (bytearray(5), "x"), {}),
        ("recv_into", (memoryview(bytearray(10))[::2],), {}),
        ("recvfrom", (-1,), {}),
        ("recvfrom", ("x",), {}),
        ("recvfrom_into", (b"unchanging",), {}),
        ("recvfrom_into", (bytearray(5), 6), {}),
        ("recvfrom_into", (bytearray(5), -1), {}),
    ]
    if os.name != "nt":
        wrong += [("recvmsg", (-1,), {}), ("recvmsg", ("x",), {}), ("recvmsg", (5, -1), {}), ("recvmsg", (5, "x"), {})]
        wrong += [("recvmsg_into", (x,), {}) for x in (5, [5], [b"unchanging"], bytearray(5), None)]
        wrong += [("recvmsg_into", ([bytearray(5)], -1), {})]
    outcomes = [(name, tried(getattr(other, name), *args, **named)) for name, args, named in wrong]
    counts: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("recv", (), {}),
        ("recv", (1, 2, 3), {}),
        ("recv", (), {"bufsize": 5}),
        ("recv_into", (), {}),
        ("recvfrom", (), {}),
        ("recvfrom", (), {"bufsize": 5}),
    ]
    outcomes += [tried(getattr(other, name), *args, **named)[0] for name, args, named in counts]
    socks = [case.listener(), case.socket()]
    outcomes += [tried(sock.recv, 10) for sock in socks]
    outcomes += [tried(sock.recv_into, bytearray(4)) for sock in socks]
    for sock in socks:
        sock.settimeout(0.02)
    return [*outcomes, other.recv(1000), *(tried(sock.recv, 10) for sock in socks)]


@scenario
def receiving_nothing(case: Case) -> Any:
    one, other = case.pair()
    calls: list[tuple[str, tuple[Any, ...]]] = [("recv", (5,)), ("recv_into", (bytearray(5),)), ("recvfrom", (5,))]
    calls += [("recvfrom_into", (bytearray(5),))]
    if os.name != "nt":
        calls += [("recvmsg", (5,)), ("recvmsg_into", ([bytearray(5)],))]
    outcomes = []
    for patience in (0, 0.02):
        other.settimeout(patience)
        for name, args in calls:
            started = time.monotonic()
            outcomes += [name, tried(getattr(other, name), *args), time.monotonic() - started > patience * 0.9]
    return outcomes, one.send(b"x")


@scenario
def at_once(case: Case) -> Any:
    flag = case.m.MSG_DONTWAIT
    one, other = case.socketpair()
    outcomes = []
    for patience in (None, 0, 0.02):
        other.settimeout(patience)
        outcomes += [
            tried(other.recv, 5, flag),
            tried(other.recv_into, bytearray(5), 0, flag),
            tried(other.recvfrom, 5, flag),
        ]
        one.sendall(b"hi")
        select.select([other], [], [], LONG)
        outcomes += [tried(other.recv, 5, flag)]
    filled(one)
    for patience in (None, 0, 0.02):
        one.settimeout(patience)
        outcomes += [tried(one.send, b"x" * 100_000, flag), tried(one.sendall, b"x" * 100_000, flag)]
    return outcomes


@scenario
def receive_waits(case: Case) -> Any:
    one, other = case.pair()
    raw = case.keep(standard.socket(fileno=os.dup(one.fileno()))) if os.name != "nt" else one
    outcomes = []
    for patience in (None, LONG):
        other.settimeout(patience)
        case.meanwhile(lambda: raw.sendall(b"hello"))
        outcomes += [other.recv(10)]
        case.meanwhile(lambda: raw.sendall(b"hello"))
        outcomes += [other.recv_into(bytearray(10))]
        case.meanwhile(lambda: raw.sendall(b"hello"))
        outcomes += [other.recvfrom(10)[0]]
    case.meanwhile(lambda: raw.shutdown(standard.SHUT_WR))
    return [*outcomes, other.recv(10)]


@linux
def receiving_all(case: Case) -> Any:
    whole = case.m.MSG_WAITALL
    one, other = case.pair()
    one.sendall(b"hello world")
    outcomes = [other.recv(11, whole)]
    one.sendall(b"hello")
    for patience in (LONG, 0):
        other.settimeout(patience)
        select.select([other], [], [], LONG)
        outcomes += [tried(other.recv, 3, whole), tried(other.recv, 3, whole)]
        one.sendall(b"hello")
    other.settimeout(None)
    thread = threading.Thread(target=lambda: (one.sendall(b"rest"), one.shutdown(standard.SHUT_WR)))
    thread.start()
    outcomes += [other.recv(9, whole), other.recv(9, whole), other.recv(9, whole)]
    thread.join()
    return outcomes


@scenario
def receiving_into(case: Case) -> Any:
    one, other = case.pair()
    buffers: list[Any] = [bytearray(8), memoryview(bytearray(8)), array.array("i", [0, 0]), (ctypes.c_int * 2)()]
    outcomes: list[Any] = []
    for buffer in buffers:
        one.sendall(b"hello wo")
        outcomes += [
            other.recv_into(buffer, flags=0),
            bytes(memoryview(buffer).cast("B") if type(buffer) is not type(buffers[-1]) else buffer),
        ]
    one.sendall(b"hello world")
    buffer = bytearray(b"Z" * 16)
    outcomes += [other.recv_into(buffer, 3), other.recv_into(buffer, nbytes=2, flags=case.m.MSG_PEEK), buffer]
    outcomes += [other.recv_into(buffer=buffer, nbytes=2), other.recv_into(memoryview(buffer)[4:6]), bytes(buffer)]
    outcomes += [
        other.recvfrom_into(buffer, 2)[0],
        other.recvfrom_into(buffer=buffer, nbytes=1, flags=0)[0],
        bytes(buffer),
    ]
    outcomes += [other.recv_into(bytearray()) if LINUX else 0]
    one.close()
    return [*outcomes, other.recv(100), other.recv_into(buffer), bytes(buffer)]


# ---------------------------------------------------------------------- scenarios: sending


@scenario
def sending(case: Case) -> Any:
    one, other = case.pair()
    data: list[Any] = [
        b"hello",
        bytearray(b"bytes"),
        memoryview(b"a view"),
        array.array("i", [1, 2]),
        (ctypes.c_int * 2)(3, 4),
    ]
    outcomes: list[Any] = []
    for what in data:
        outcomes += [
            one.send(what),
            other.recv(100),
            one.sendall(what),
            other.recv(100),
            one.send(what, 0),
            other.recv(100),
        ]
    outcomes += [one.send(b""), one.sendall(b""), one.send(memoryview(b"abcdef")[1:3]), other.recv(10)]
    return outcomes


@scenario
def sending_wrongly(case: Case) -> Any:
    one, other = case.pair()
    wrong: list[Any] = ["text", None, 5, ["list"], memoryview(b"abcdef")[::2], object]
    outcomes = [(name, tried(getattr(one, name), what)) for name in ("send", "sendall") for what in wrong]
    outcomes += [
        tried(getattr(one, name), b"x", flags) for name in ("send", "sendall") for flags in ("x", None, 1.5, 2**40)
    ]
    outcomes += [tried(getattr(one, name), *args)[0] for name in ("send", "sendall") for args in ((), (b"x", 0, 0))]
    outcomes += [tried(one.send, data=b"x")[0]]
    for sock in (case.listener(), case.socket()):
        for patience in (None, 0.02, 0):
            sock.settimeout(patience)
            outcomes += [tried(sock.send, b"x"), tried(sock.sendall, b"x"), tried(sock.sendall, b"")]
    return [*outcomes, tried(other.setblocking, False), tried(other.recv, 10)]


@linux
def sending_to_one_who_left(case: Case) -> Any:
    outcomes = []
    for name, patience in (("send", None), ("sendall", None), ("send", LONG), ("sendall", 0)):
        one, other = case.pair()
        one.settimeout(patience)
        other.close()
        select.select([one], [], [], LONG)
        outcomes += [tried(getattr(one, name), b"x")]
        gone = select.poll()
        gone.register(one, 0)
        gone.poll(LONG * 1000)
        outcomes += [tried(getattr(one, name), b"x"), tried(getattr(one, name), b"x"), tried(one.recv, 10)]
        one, other = case.pair()
        one.settimeout(patience)
        one.sendall(b"unread")
        select.select([other], [], [], LONG)
        other.close()  # with unread bytes: a reset
        gone = select.poll()
        gone.register(one, 0)
        gone.poll(LONG * 1000)
        outcomes += [tried(getattr(one, name), b"x"), tried(getattr(one, name), b"x"), tried(one.recv, 10)]
    return outcomes


def filled(sock: Any) -> int:
    """Fill a socket (of a pair: what is in TCP's buffers moves on by itself) until it takes no more."""
    sock.setblocking(False)
    total = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            total += sock.send(b"x" * 65536)
    return total


@scenario
def sending_to_one_who_does_not_read(case: Case) -> Any:
    one, _other = case.socketpair()
    outcomes = [filled(one) > 0, tried(one.send, b"x" * 100_000), tried(one.sendall, b"x" * 100_000)]
    for patience in (0.02, 0.05):
        one.settimeout(patience)
        for call in (lambda: one.send(b"x" * 100_000), lambda: one.sendall(b"x" * 9_000_000)):
            started = time.monotonic()
            outcomes += [tried(call), patience * 0.9 < time.monotonic() - started < LONG]
    return outcomes


@scenario
def the_patience_of_sendall_is_for_the_whole(case: Case) -> Any:
    """The peer reads all the time, but slowly."""
    one, other = case.pair()
    raw, over = case.keep(standard.socket(fileno=other.detach())), threading.Event()
    raw.setsockopt(standard.SOL_SOCKET, standard.SO_RCVBUF, 16384)

    def read() -> None:
        while not over.wait(0.005):
            raw.recv(8192)

    case.meanwhile(read) if case.m is recorded else case._others.append(Player(read, "other"))
    one.settimeout(0.15)
    started = time.monotonic()
    outcome = tried(one.sendall, b"x" * 50_000_000)
    over.set()
    return outcome, 0.14 < time.monotonic() - started < LONG


@scenario
def sending_much(case: Case) -> Any:
    one, other = case.pair()
    data, got = os.urandom(1 << 20) * 8, bytearray()
    raw = case.keep(standard.socket(fileno=other.detach()))

    def read() -> None:
        while part := raw.recv(100_000):
            got.extend(part)

    reader = Player(read, "reader")
    for patience in (None, LONG):
        one.settimeout(patience)
        result = one.sendall(data)
    one.shutdown(case.m.SHUT_WR)
    reader.join()
    return result, bytes(got) == data * 2


@scenario
def a_send_that_waits_sends_all(case: Case) -> Any:
    """One with a time-out, or that doesn't wait, may send a part."""
    data, outcomes = b"x" * 12_000_000, []
    calls: list[Callable[[Any], Any]] = [
        lambda one: one.send(data),
        lambda one: one.sendto(data, LOCAL) if LINUX else len(data),
        lambda one: one.sendmsg([data[:5], array.array("i", [7]), data[9:]]) if os.name != "nt" else len(data),
    ]
    for call in calls:
        one, other = case.pair()
        raw = case.keep(standard.socket(fileno=other.detach()))

        def read(raw: Any = raw) -> int:
            count = 0
            while part := raw.recv(1 << 20):
                count += len(part)
            return count

        reader = Player(read, "reader")
        outcomes.append(call(one))
        one.shutdown(case.m.SHUT_WR)
        outcomes.append(reader.join())
    # with a reader who leaves in the middle it gives what it sent, and the next call raises
    one, other = case.pair()
    raw = case.keep(standard.socket(fileno=other.detach()))
    leaver = Player(lambda: (raw.recv(1000), raw.close()), "leaver")
    outcomes.append(0 < one.send(b"x" * 30_000_000) < 30_000_000)
    leaver.join()
    outcomes.append(tried(one.send, b"x")[0] in (BrokenPipeError, ConnectionResetError))
    one, _other = case.pair()
    for patience in (LONG, 0):
        one.settimeout(patience)
        outcomes.append(0 < one.send(b"x" * 30_000_000) < 30_000_000)
        one, _other = case.pair()
    return outcomes


@scenario
def send_waits(case: Case) -> Any:
    one, other = case.socketpair()
    raw = case.keep(standard.socket(fileno=other.detach()))
    count = filled(one)
    one.setblocking(True)

    def read() -> None:
        left = count + 5
        while left:
            left -= len(raw.recv(min(left, 1 << 20)))

    case.meanwhile(read)
    return one.send(b"hello")


# ---------------------------------------------------------------------- scenarios: datagrams and messages


@scenario
def datagrams(case: Case) -> Any:
    m = case.m
    one, other = case.udp(), case.udp()
    there = other.getsockname()
    outcomes = [one.sendto(b"hello", there), one.sendto(b"flags", 0, there), one.sendto(bytearray(b"again"), there)]
    data, address = other.recvfrom(100)
    outcomes += [
        data,
        address == one.getsockname(),
        other.recv(2) if os.name != "nt" else b"fl",
        other.recvfrom(100)[0],
    ]
    outcomes += [one.connect(there), one.send(b"more"), other.recv(10), one.sendto(b"", there), other.recv(10)]
    outcomes += [one.sendall(b"all"), other.recv_into(bytearray(10)), tried(one.sendto, b"x" * 100_000, there)]
    other.setblocking(False)
    outcomes += [tried(other.recvfrom, 10)]
    other.settimeout(0.02)
    outcomes += [tried(other.recvfrom, 10), tried(other.recv, 10, m.MSG_PEEK)]
    case.meanwhile(lambda: one.send(b"late"))
    other.settimeout(LONG)
    return [*outcomes, other.recvfrom(10)[0]]


@scenario
def datagrams_sent_wrongly(case: Case) -> Any:
    one, other = case.udp(), case.udp()
    there = other.getsockname()
    wrong: list[tuple[Any, ...]] = [(b"x", 0, 0, there), (b"x",), (b"x", "x", there), (b"x", None, there), ("x", there)]
    wrong += [
        (b"x", "x"),
        (b"x", ("127.0.0.1", 70000)),
        (b"x", None),
        (b"x", ("::1", 1)),
        (None, there),
        (b"x", 0, "x"),
    ]
    outcomes = [tried(one.sendto, *args) for args in wrong]
    return [*outcomes, tried(one.sendto)[0], tried(one.send, b"x"), tried(case.pair()[0].sendto, b"hello", there)]


@linux
def datagrams_to_nobody(case: Case) -> Any:
    one, gone = case.udp(), case.udp()
    one.connect(gone.getsockname())
    gone.close()
    return one.send(b"x"), tried(one.recv, 10), one.send(b"x"), tried(one.send, b"x")


@unix
def messages(case: Case) -> Any:
    m = case.m
    one, other = case.socketpair()
    outcomes = [one.sendmsg([b"hello ", bytearray(b"wor"), memoryview(b"ld")]), other.recvmsg(100)[:3]]
    outcomes += [one.sendmsg(iter([b"a", b"b"]), iter([])), one.sendmsg([]), one.sendmsg((b"c",), [], 0, None)]
    one_buffer, two_buffer = bytearray(2), bytearray(4)
    outcomes += [other.recvmsg_into(iter([one_buffer, two_buffer]))[:3], one_buffer, two_buffer]
    outcomes += [one.sendall(b"hello"), other.recvmsg(2, 0, m.MSG_PEEK)[0], other.recvmsg(5, 10)[0]]
    outcomes += [tried(one.sendmsg, what) for what in (5, b"bytes", ["text"], [5], None)]
    outcomes += [tried(one.sendmsg, [b"x"], what) for what in (5, [5], [(1, 2)], [("x", 1, b"")])]
    outcomes += [tried(one.sendmsg, [b"x"], [], "x"), tried(one.sendmsg)[0], tried(one.sendmsg, [b"x"], [], 0, "x")]
    other.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            other.recv(100)
    case.meanwhile(lambda: one.sendall(b"late")) if case.m is recorded else one.sendall(b"late")
    other.setblocking(True)
    outcomes += [other.recvmsg(10)[0]]
    filled(one)
    outcomes += [tried(one.sendmsg, [b"x" * 1000])]
    one.settimeout(0.02)
    return [*outcomes, tried(one.sendmsg, [b"x" * 1000])]


@unix
def descriptors_sent(case: Case) -> Any:
    m = case.m
    one, other = case.socketpair(m.AF_UNIX)
    file = case.keep(open(os.devnull, "rb"))
    rights = [(m.SOL_SOCKET, m.SCM_RIGHTS, array.array("i", [file.fileno()]))]
    outcomes = [one.sendmsg([b"take it"], iter(rights))]
    data, ancillary, flags, address = other.recvmsg(100, m.CMSG_SPACE(4))
    (level, kind, got), *rest = ancillary
    fd = struct.unpack("i", got[:4])[0]
    outcomes += [data, level, kind, len(got), rest, flags, address, os.read(fd, 1)]
    os.close(fd)
    outcomes += [m.send_fds(one, [b"more"], [file.fileno()])]
    data, fds, flags, address = m.recv_fds(other, 100, 3)
    outcomes += [data, len(fds), flags, address]
    for fd in fds:
        os.close(fd)
    one.sendmsg([b"cut"], rights)
    buffer = bytearray(10)
    outcomes += [other.recvmsg_into([buffer], 0)[:3], buffer]
    dgram_one, dgram_other = case.socketpair(m.AF_UNIX, m.SOCK_DGRAM)
    return [*outcomes, dgram_one.sendmsg([b"data", b"gram"]), dgram_other.recvmsg(4)[:3]]


# ---------------------------------------------------------------------- scenarios: files


@scenario
def sending_files(case: Case) -> Any:
    outcomes: list[Any] = []
    path = case.folder / "file"
    path.write_bytes(bytes(range(256)) * 1000)
    for args in ((), (10,), (0, 20), (100, 300), (255_990,), (5, 1_000_000)):
        for seek in (0, 7):
            one, other = case.pair()
            with path.open("rb") as file:
                file.seek(seek)
                outcomes += [tried(one.sendfile, file, *args), file.tell()]
            one.close()
            got = b""
            while part := other.recv(1 << 20):
                got += part
            outcomes += [got]
    one, other = case.pair()
    memory = io.BytesIO(b"0123456789")
    outcomes += [
        one.sendfile(memory, 2),
        memory.tell(),
        other.recv(100),
        one.sendfile(memory, offset=1, count=3),
        memory.tell(),
    ]
    memory.seek(4)
    outcomes += [one.sendfile(memory), memory.tell(), other.recv(100)]
    with path.open("rb", buffering=0) as raw:
        outcomes += [one.sendfile(raw, count=5), other.recv(100), raw.tell()]
    with path.open("rb") as file:
        outcomes += [tried(one.sendfile, file, 0, count) for count in (0, -1, 1.5, "x")]
        outcomes += [tried(case.udp().sendfile, file), tried(one.sendfile)[0]]
        one.settimeout(LONG)
        outcomes += [one.sendfile(file, 0, 5), other.recv(100)]
        one.settimeout(0)
        outcomes += [tried(one.sendfile, file)]
    (case.folder / "empty").write_bytes(b"")
    one.settimeout(None)
    with (case.folder / "empty").open("rb") as file:
        outcomes += [one.sendfile(file)]
    with path.open("r", encoding="latin-1") as text:
        outcomes += [tried(one.sendfile, text)]
    return [*outcomes, tried(one.sendfile, file)[:2], tried(one.sendfile, None)[:2]]


@scenario
def files(case: Case) -> Any:
    outcomes: list[Any] = []
    for write, read in (("w", "r"), ("wb", "rb"), ("rw", "rw"), ("rwb", "rwb"), ("bw", "br")):
        one, other = case.pair()
        out, into = case.keep(one.makefile(write)), case.keep(other.makefile(read))
        lines = ["zwölf\n", "two\n", "last"]
        for line in lines:
            out.write(line if "b" not in write else line.encode())
        out.flush()
        one.shutdown(case.m.SHUT_WR)
        outcomes += [type(out), type(into), into.readline(), into.read(1), list(into), into.read()]
    one, other = case.pair()
    raw = case.keep(one.makefile("rwb", buffering=0))
    outcomes += [
        type(raw),
        raw.write(b"raw"),
        raw.readable(),
        raw.writable(),
        raw.seekable(),
        raw.fileno() == one.fileno(),
    ]
    outcomes += [
        raw.mode,
        raw.name == one.fileno(),
        other.recv(10),
        other.send(b"hello"),
        raw.read(2),
        raw.readinto(bytearray(9)),
    ]
    outcomes += [tried(one.makefile, mode) for mode in ("x", "a", "r+")] + [tried(one.makefile, "r", 0)]
    text = case.keep(one.makefile("rw", buffering=1, encoding="latin-1", newline="\r\n"))
    outcomes += [text.write("ä\n"), text.flush(), other.recv(10), tried(text.write, "€")]
    lines = case.keep(one.makefile("w", 1))
    outcomes += [lines.write("a line\n"), lines.flush(), other.recv(20), tried(one.makefile, 5)]
    return outcomes


@scenario
def files_with_patience(case: Case) -> Any:
    _one, other = case.pair()
    other.settimeout(0.02)
    file = case.keep(other.makefile("rb"))
    outcomes = [tried(file.readline), tried(file.readline)]
    other.setblocking(False)
    raw = case.keep(other.makefile("rb", buffering=0))
    return [*outcomes, raw.read(5), raw.readinto(bytearray(3))]


@scenario
def the_last_file_hangs_up(case: Case) -> Any:
    one, other = case.pair()
    files = [one.makefile("wb"), one.makefile("rb")]
    one.close()
    outcomes: list[Any] = [files[0].write(b"still here"), files[0].flush(), other.recv(20)]
    other.setblocking(False)
    outcomes += [tried(other.recv, 10), files[0].close(), tried(other.recv, 10), one.fileno() >= 0, files[1].close()]
    other.setblocking(True)
    outcomes += [other.recv(10), one.fileno(), files[0].closed]
    one, other = case.pair()
    with one, one.makefile("w") as file:
        file.write("bye")
    return [*outcomes, other.recv(10), other.recv(10)]


# ---------------------------------------------------------------------- scenarios: functions of the module


@scenario
def pairs(case: Case) -> Any:
    m = case.m
    one, other = case.socketpair()
    outcomes = [
        one.family,
        one.type,
        one.proto,
        type(one) is m.socket,
        one.send(b"hello"),
        other.recv(9),
        other.send(b"x"),
    ]
    outcomes += [one.recv(2), one.getsockname() if os.name != "nt" else "", one.timeout]
    other.close()
    outcomes += [one.recv(10), tried(m.socketpair, 9999), tried(m.socketpair, "x"), tried(m.socketpair, 1, 2, 3, 4)[0]]
    if LINUX:
        quick = case.socketpair(m.AF_UNIX, m.SOCK_STREAM | m.SOCK_NONBLOCK)
        outcomes += [[(s.timeout, s.type, tried(s.recv, 1)) for s in quick]]
        outcomes += [tried(m.socketpair, m.AF_INET)[:2]]
    return outcomes


@scenario
def servers(case: Case) -> Any:
    m = case.m
    server = case.keep(m.create_server(LOCAL))
    reuse = server.getsockopt(m.SOL_SOCKET, m.SO_REUSEADDR)
    outcomes = [type(server) is m.socket, reuse, server.timeout, tried(m.create_server, server.getsockname())]
    outcomes[-1] = outcomes[-1][:2]  # its words name the port
    outcomes += [tried(m.create_server, LOCAL, family=9999), tried(m.create_server)[0]]
    outcomes += [tried(m.create_server, LOCAL, dualstack_ipv6=True)]
    if hasattr(m, "SO_REUSEPORT"):
        first = case.keep(m.create_server(LOCAL, reuse_port=True, backlog=3))
        second = case.keep(m.create_server(first.getsockname(), reuse_port=True))
        outcomes += [first.getsockopt(m.SOL_SOCKET, m.SO_REUSEPORT) != 0, second.getsockname() == first.getsockname()]
    caller = case.keep(m.create_connection(server.getsockname()))
    made, address = server.accept()
    return [*outcomes, case.keep(made).getpeername() == caller.getsockname() == address]


@scenario
def connections(case: Case) -> Any:
    m = case.m
    server, nobody = case.listener(), case.nobody()
    one = case.keep(m.create_connection(server.getsockname(), timeout=3))
    two = case.keep(m.create_connection(("localhost", server.getsockname()[1]), 4, LOCAL))
    outcomes = [type(one) is m.socket, one.timeout, two.timeout, two.getsockname()[0], one.type]
    m.setdefaulttimeout(7)
    outcomes += [case.keep(m.create_connection(server.getsockname())).timeout]
    m.setdefaulttimeout(None)
    outcomes += [case.keep(m.create_connection(server.getsockname(), None)).timeout]
    for more in ({}, {"all_errors": True}):
        outcomes += [tried(m.create_connection, nobody.getsockname(), **more)]
        outcomes += [tried(m.create_connection, server.getsockname(), 1, ("192.0.2.1", 0), **more)]
        outcomes += [tried(m.create_connection, ("127.0.0.1", 70000), **more), tried(m.create_connection, "x", **more)]
        if LINUX:
            outcomes += [tried(m.create_connection, case.full().getsockname(), 0.02, **more)]
            outcomes += [tried(m.create_connection, server.getsockname(), 0, **more)]
    return outcomes


# ---------------------------------------------------------------------- scenarios: other families


@unix
def paths(case: Case) -> Any:
    m, path = case.m, case.path()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    caller = case.socket(m.AF_UNIX)
    outcomes = [tried(caller.connect, path), tried(caller.connect_ex, path), tried(caller.connect, "x" * 200)]
    outcomes += [tried(caller.connect, LOCAL), tried(caller.connect, b"\0no such name")]
    listener = case.socket(m.AF_UNIX)
    listener.bind(path)
    outcomes += [tried(caller.connect, path), tried(case.socket(m.AF_UNIX).bind, path), listener.listen()]
    outcomes += [caller.connect(path), caller.getpeername() == path, tried(caller.connect, path)]
    made, address = listener.accept()
    case.keep(made)
    outcomes += [
        address,
        made.getsockname() == path,
        caller.sendall(b"hello"),
        made.recv(9),
        made.sendall(b"x"),
        caller.recv(9),
    ]
    listener.settimeout(0.02)
    outcomes += [tried(listener.accept)]
    listener.setblocking(False)
    outcomes += [tried(listener.accept)]
    caller.close()
    outcomes += [made.recv(9), tried(made.send, b"x"), tried(made.send, b"x")]
    case.keep(made)
    with_patience = case.socket(m.AF_UNIX)
    with_patience.settimeout(LONG)
    outcomes += [tried(with_patience.connect, path)]
    os.unlink(path)
    return outcomes


@linux
def a_full_queue_of_paths(case: Case) -> Any:
    m, path = case.m, case.path()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener, outcomes = case.socket(m.AF_UNIX), list[Any]()
    listener.bind(path)
    listener.listen(0)
    case.socket(m.AF_UNIX).connect(path)
    for patience in (0, 0.02):
        caller = case.socket(m.AF_UNIX)
        caller.settimeout(patience)
        outcomes += [tried(caller.connect, path), tried(caller.connect_ex, path), tried(caller.getpeername)]
    os.unlink(path)
    return outcomes


@unix
def paths_of_datagrams(case: Case) -> Any:
    m, path = case.m, case.path()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    one, other = case.socket(m.AF_UNIX, m.SOCK_DGRAM), case.socket(m.AF_UNIX, m.SOCK_DGRAM)
    outcomes = [tried(one.sendto, b"x", path)]
    other.bind(path)
    outcomes += [one.sendto(b"hello", path), other.recvfrom(10), one.connect(path), one.send(b"more"), other.recv(10)]
    os.unlink(path)
    return outcomes


if standard.has_ipv6:
    try:
        standard.create_server(("::1", 0), family=standard.AF_INET6).close()
        HAS_IPV6 = True
    except OSError:
        HAS_IPV6 = False


@scenario
def six(case: Case) -> Any:
    if not HAS_IPV6:
        return None
    m = case.m
    server = case.keep(m.create_server(("::1", 0), family=m.AF_INET6))
    caller = case.socket(m.AF_INET6)
    caller.connect(server.getsockname())
    made, address = server.accept()
    case.keep(made)
    outcomes = [address == caller.getsockname(), len(address), made.family, caller.sendall(b"six"), made.recv(9)]
    if m.has_dualstack_ipv6():
        both = case.keep(m.create_server(("", 0), family=m.AF_INET6, dualstack_ipv6=True))
        caller = case.socket()
        caller.connect(("127.0.0.1", both.getsockname()[1]))
        made, address = both.accept()
        case.keep(made)
        outcomes += [address[0], made.sendall(b"four"), caller.recv(9)]
    return [
        *outcomes,
        tried(case.socket(m.AF_INET6).connect, ("127.0.0.1", 1)),
        tried(case.socket(m.AF_INET6).bind, ("::1", -1)),
    ]


# ---------------------------------------------------------------------- both modules play them

AS_IT_IS, NO_DONTWAIT, NO_POLL = "as it is", "no MSG_DONTWAIT", "no poll"


@pytest.fixture(params=[AS_IT_IS, NO_DONTWAIT, NO_POLL])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A system that has all that Linux has, or one that lacks what Windows lacks."""
    name: str = request.param
    if name == NO_DONTWAIT:
        monkeypatch.setattr(recorder_module, "AT_ONCE", 0)
        monkeypatch.setattr(recorded, "AT_ONCE", 0)
    monkeypatch.setattr(waits, "GRACE", 0.1)  # of which a connect() that nobody answers waits one
    if name == NO_POLL:

        class Select:
            select = staticmethod(select.select)

        monkeypatch.setattr(waits, "select", Select)
    return name


@functools.cache
def expected(function: Callable[[Case], Any]) -> Any:
    """What the standard module does in a scenario."""
    with tempfile.TemporaryDirectory() as folder:
        return play(function, standard, Path(folder))


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Nobody is left at the gate, and no thread lives on."""
    threads = set(threading.enumerate())
    yield
    assert not gate.order
    assert not gate.waiting
    assert not {thread for thread in threading.enumerate() if thread not in threads}


@pytest.mark.parametrize("takes_turns", [False, True], ids=["thread", "role"])
@pytest.mark.parametrize("function", SCENARIOS)
def test_like_the_standard_one(function: Callable[[Case], Any], takes_turns: bool, system: str, tmp_path: Path) -> None:
    if function is six and not HAS_IPV6:
        pytest.skip("this machine has no IPv6")
    if function is at_once and (system == NO_DONTWAIT or not hasattr(standard, "MSG_DONTWAIT")):
        pytest.skip("without MSG_DONTWAIT")
    wanted = Player(lambda: expected(function)).join()
    assert Player(lambda: play(function, recorded, tmp_path), "player", takes_turns).join() == wanted


@pytest.mark.skipif(not LINUX, reason="only Linux makes a full queue's callers wait")
def test_waiting_for_a_call_begun_without_waiting(tmp_path: Path) -> None:
    """It takes the second after which Linux dials again."""
    wanted = Player(lambda: expected(waiting_for_a_call_begun_without_waiting)).join()
    assert play(waiting_for_a_call_begun_without_waiting, recorded, tmp_path) == wanted


# ---------------------------------------------------------------------- the same names


def test_every_public_name() -> None:
    theirs = {name for name in dir(standard) if not name.startswith("_")}
    assert theirs <= vars(recorded).keys()
    differ = {name for name in theirs if getattr(recorded, name) is not getattr(standard, name)}
    assert differ - {"fromshare"} == {"socket", "create_connection", "create_server", "fromfd", "socketpair"}
    assert recorded.__all__ == standard.__all__
    assert dir(recorded) == dir(standard)  # what completion offers
    for name in ("AF_UNIX", "MSG_DONTWAIT", "MSG_WAITALL"):  # who asks with hasattr() gets the same answer
        assert hasattr(recorded, name) == hasattr(standard, name)


def test_a_star_gives_the_same() -> None:
    theirs: dict[str, Any] = {}
    ours: dict[str, Any] = {}
    exec("from socket import *", theirs)
    exec("from helpers.recorded_socket import *", ours)
    assert theirs.keys() == ours.keys()


def signature(function: Any) -> Any:
    try:
        described = inspect.signature(function)
    except (TypeError, ValueError):  # written in C, and not described
        return None
    named = [p for p in described.parameters.values() if p.name != "self"]
    return [("" if p.kind is p.POSITIONAL_ONLY else p.name, p.kind, p.default) for p in named]


def test_the_same_class_but_for_the_record() -> None:
    assert issubclass(recorded.socket, standard.socket)
    assert issubclass(recorded.socket, recorded.SocketType)
    assert recorded.socket.__name__ == recorded.socket.__qualname__ == "socket"
    names = {name for name in dir(standard.socket) if not name.startswith("_")}
    assert {name for name in dir(recorded.socket) if not name.startswith("_")} - names == {"end", "owner"}
    for name in sorted(names | {"__init__"}):
        theirs = getattr(standard.socket, name)
        if described := signature(theirs):
            assert signature(getattr(recorded.socket, name)) == described, name
        assert name.startswith("_") or inspect.getdoc(getattr(recorded.socket, name)) == inspect.getdoc(theirs), name
    for name in ("create_connection", "create_server", "fromfd", "socketpair"):
        assert signature(getattr(recorded, name)) == signature(getattr(standard, name))
        assert getattr(recorded, name).__doc__
    with recorded.socket() as ours, standard.socket() as theirs:
        assert isinstance(ours, standard.socket)
        assert not isinstance(theirs, recorded.socket)
        assert not hasattr(ours, "__dict__")


def test_functions_of_the_standard_module_are_left_alone() -> None:
    with standard.create_server(LOCAL) as server, standard.create_connection(server.getsockname()) as caller:
        assert type(server) is type(caller) is standard.socket


FORBIDDEN = """
import errno, os, sys
from helpers import recorded_socket
import socket
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
for module in (socket, recorded_socket):
    with module.socket() as sock:
        try:
            sock.bind(("127.0.0.1", 1))
        except OSError as error:
            print(type(error).__name__, errno.errorcode[error.errno], error.args)
        else:
            print("bound")
"""


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="ports are not privileged on Windows")
def test_a_port_that_is_not_ours() -> None:
    script = FORBIDDEN if os.geteuid() == 0 else "\n".join(ln for ln in FORBIDDEN.splitlines() if "os.set" not in ln)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    theirs, ours = done.stdout.splitlines()
    if theirs == "bound":
        pytest.skip("this system lets everybody have port 1")
    assert theirs.startswith("PermissionError EACCES")
    assert ours == theirs


# ---------------------------------------------------------------------- threads


def test_eight_threads_in_accept(system: str) -> None:
    with Case(recorded, Path()) as case:
        listener = case.listener()
        players = [Player(listener.accept, f"server {n}") for n in range(8)]
        until_waiting(8)
        for player in players[::2] + players[1::2]:
            player.end()
            assert type(player.error) is KeyboardInterrupt
        assert not gate.waiting
        assert listener.timeout is None


@pytest.mark.parametrize("patience", [None, LONG])
def test_each_caller_is_accepted_once(system: str, patience: float | None) -> None:
    accepted: list[Any] = []
    with Case(recorded, Path()) as case:
        listener = case.listener(100)
        listener.settimeout(patience)

        def serve() -> None:
            while True:
                made, address = listener.accept()
                accepted.append((made, address))
                made.sendall(b"welcome")

        servers = [Player(serve, f"server {n}") for n in range(8)]
        callers = [case.keep(standard.create_connection(listener.getsockname())) for _ in range(60)]
        assert all(caller.recv(100) == b"welcome" for caller in callers)
        until_waiting(8)
        for server in servers:
            server.end()
        for made, _ in accepted:
            made.close()
        assert sorted(address for _, address in accepted) == sorted(caller.getsockname() for caller in callers)
        assert {made.gettimeout() for made, _ in accepted} == {None}


@pytest.mark.parametrize("patience", [None, LONG])
def test_both_ways_at_once(system: str, patience: float | None) -> None:
    """A socket that one thread sends on while another receives."""
    data = os.urandom(1 << 20) * 2
    with Case(recorded, Path()) as case:
        one, other = case.pair()
        for sock in (one, other):
            sock.settimeout(patience)

        def read(sock: Any) -> bytes:
            got = bytearray()
            while len(got) < len(data):
                got += sock.recv(1 << 16)
            return bytes(got)

        senders = [Player(lambda sock=sock: sock.sendall(data), "sender") for sock in (one, other)]
        readers = [Player(lambda sock=sock: read(sock), "reader") for sock in (one, other)]
        for sender in senders:
            sender.join()
        assert [reader.join() for reader in readers] == [data, data]
        assert (one.end.sent, one.end.received, one.end.outside) == (len(data), len(data), False)


@pytest.mark.parametrize("takes_turns", [False, True], ids=["thread", "role"])
@pytest.mark.parametrize("name", ["accept", "recv", "recv_into", "send", "sendall", "connect"])
def test_closing_in_another_thread_wakes_who_waits(system: str, name: str, takes_turns: bool) -> None:
    if name == "connect" and not LINUX:
        pytest.skip("only Linux makes a full queue's callers wait")
    with Case(recorded, Path()) as case:
        sock, *args = waiting_on(case, name)
        player = Player(lambda: getattr(sock, name)(*args), takes_turns=takes_turns)
        until_waiting()
        sock.close()
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            player.join()


def waiting_on(case: Case, name: str) -> tuple[Any, ...]:
    """A socket and arguments with which that call must wait."""
    if name == "accept":
        return (case.listener(),)
    if name.startswith("connect"):
        return case.socket(), case.full().getsockname()
    (one, _), much = case.pair(), b"x" * 30_000_000
    there: dict[str, tuple[Any, ...]] = {"recv_into": (bytearray(9),), "recvfrom_into": (bytearray(9),)}
    there |= {"recvmsg_into": ([bytearray(9)],), "sendmsg": ([much],), "sendto": (much, LOCAL)}
    return (one, *(there.get(name) or ((9,) if name.startswith("recv") else (much,))))


@pytest.mark.parametrize("patience", [None, LONG])
def test_positions_are_those_of_the_bytes(patience: float | None) -> None:
    """Four threads send on one socket, two receive: each receive is paired with the calls that sent its bytes."""
    with Case(recorded, Path()) as case:
        one, other = case.pair()
        one.settimeout(patience)

        def send(letter: bytes) -> None:
            for size in range(1, 40):
                one.sendall(letter * size)

        def read() -> list[Any]:
            got = []
            while data := other.recv(50):
                got.append(data)
            return got

        readers = [Player(read, f"reader {n}") for n in range(2)]
        senders = [Player(lambda letter=letter: send(letter), f"{letter!r}") for letter in (b"a", b"b", b"c", b"d")]
        for sender in senders:
            sender.join()
        one.shutdown(standard.SHUT_WR)
        assert sum(len(data) for reader in readers for data in reader.join()) == 4 * sum(range(1, 40))
        receives = [e.call for e in recorder.recording.events if e.call.end is other.end and e.call.receives]
        assert not other.end.outside
        for call in receives:
            said = b"".join(
                source.args[0][max(call.start - source.start, 0) : call.stop - source.start]
                for source in call.sources()
            )
            assert said == call.result


def test_threads_leave_no_descriptors() -> None:
    with Case(recorded, Path()) as case:
        one, other = case.pair()

        def once() -> None:
            one.sendall(b"x")
            other.recv(1)

        Player(once).join()
        gc.collect()
        before = len(recorder.sockets), one.dup().detach()
        for _ in range(50):
            thread = threading.Thread(target=once)
            thread.start()
            thread.join()
        gc.collect()
        after = len(recorder.sockets), one.dup().detach()
        for fd in (before[1], after[1]):
            os.close(fd)
        assert after[0] == before[0]
        assert after[1] - before[1] <= 3


# ---------------------------------------------------------------------- what comes into the record


@pytest.fixture(autouse=True)
def record(clean: None) -> Iterator[Recording]:
    """A record of its own for each test."""
    before = recorder.recording
    recorder.recording = Recording()
    yield recorder.recording
    recorder.recording = before


def told(record: Recording) -> list[str]:
    """The record in short."""
    lines = []
    for event in record.events:
        call = event.call
        what = "waits" if event.waits else repr(call.error) if call.error else repr(call.result)
        lines.append(f"{call.role}: {call.end.label if call.end else None}.{call.name}{call.args} {what}")
    return lines


def test_the_record_of_a_call(record: Recording) -> None:
    def serve() -> None:
        listener = recorded.socket()
        listener.bind(LOCAL)
        listener.listen(3)
        address.append(listener.getsockname())
        transfer, _ = listener.accept()
        assert transfer.recv(255) == b"hello"
        assert transfer.recv(255) == b""
        transfer.close()
        listener.close()

    def call() -> None:
        caller = recorded.socket()
        caller.connect(address[0])
        caller.sendall(b"hello")
        caller.close()

    address: list[Any] = []
    server = Player(serve, "server", takes_turns=True)
    until_waiting()
    client = Player(call, "client", takes_turns=True)
    client.join()
    server.join()
    port, callers = address[0][1], record.ends[1].local
    lines = [line.replace(str(port), "PORT").replace(str(callers), "CALLER") for line in told(record)]
    made = next(e.call for e in record.events if e.call.name == "accept" and not e.waits)
    assert made.result == (record.ends[2], callers)
    assert made.made is record.ends[2]
    assert [line for line in lines if "accept() (" not in line] == [
        "server: listener.socket(-1, -1, -1) None",
        "server: listener.bind(('127.0.0.1', 0),) None",
        "server: listener.listen(3,) None",
        "server: listener.accept() waits",
        "client: caller.socket(-1, -1, -1) None",
        "client: caller.connect(('127.0.0.1', PORT),) None",
        "client: caller.sendall(b'hello',) None",
        "client: caller.close() None",
        "server: transfer.recv(255,) b'hello'",
        "server: transfer.recv(255,) b''",
        "server: transfer.close() None",
        "server: listener.close() None",
    ]
    listener, caller, transfer = record.ends
    assert (listener.backlog, listener.role, listener.dialled, listener.accepted) == (3, "server", 1, 1)
    assert (caller.twin, transfer.twin, caller.role, transfer.role) == (transfer, caller, "client", "server")
    assert (caller.sent, transfer.received, caller.finished, transfer.closed) == (5, 5, True, True)


def test_errors_in_the_record(record: Recording) -> None:
    with Case(recorded, Path()) as case:
        with pytest.raises(ConnectionRefusedError) as caught:
            case.socket().connect(case.nobody().getsockname())
        (call,) = [e.call for e in record.events if e.call.name == "connect"]
        assert (type(call.error), call.error.args) == (ConnectionRefusedError, caught.value.args)
        assert call.error is not caught.value
        assert call.error.__traceback__ is None
        assert call.returned
        for wrong in (case.listener(), [case.listener()], {"a": case.listener()}, "x" * 10_000, b"x" * 10_000):
            sock = case.socket()
            for name in ("connect", "bind", "send", "recv", "sendall", "setsockopt"):
                with pytest.raises((TypeError, OverflowError, OSError)):
                    getattr(sock, name)(wrong)
                call = record.events[-1].call
                assert (call.name, call.end) == (name, sock.end)
                assert sys.getsizeof(call.args[0]) < 5_000
                assert "fd=" not in repr(call.args)  # a socket of the same name stands there, that is none

        class Odd(Exception):
            def __init__(self, one: int, two: int) -> None:
                super().__init__("odd")

        class Size:
            def __index__(self) -> int:
                raise Odd(1, 2)

        with pytest.raises(Odd):
            case.pair()[0].recv(Size())  # type: ignore[arg-type]
        assert "odd" in str(record.events[-1].call.error)


def test_waits_in_the_record(record: Recording) -> None:
    """Only who takes turns has waits in the record, and a poll that finds nothing again and again is told twice."""
    with Case(recorded, Path()) as case:
        one, other = case.pair()
        other.settimeout(0.001)

        def poll_it() -> None:
            for _ in range(6):
                with contextlib.suppress(TimeoutError):
                    other.recv(9)
            one.send(b"x")
            other.recv(9)

        for takes_turns, expected in ((False, 0), (True, 2)):
            Player(poll_it, "poller", takes_turns).join()
            events = [e for e in record.events if e.call.name == "recv" and e.call.role == "poller"]
            assert sum(e.waits for e in events) == expected
            assert sum(isinstance(e.call.error, TimeoutError) and not e.waits for e in events) == 2
            record.events.clear()


def test_names(record: Recording) -> None:
    def in_a_function(unused: Any) -> None:
        inner = recorded.socket()
        inner.settimeout(1)
        names.append(inner.end.name)
        inner.close()

    class Kept:
        kept = recorded.socket()
        kept.settimeout(1)

    names: list[Any] = []
    listener = recorded.socket()
    assert listener.end.label == "socket 2"
    listener.settimeout(1)
    in_a_function(listener)
    assert (listener.end.name, names, Kept.kept.end.name) == ("listener", ["inner"], "kept")
    assert Kept.kept.timeout == 1
    some = [recorded.socket()]
    for _ in range(40):
        some[0].settimeout(1)
    assert some[0].end.label == "socket 4"
    assert some[0].end.looked_for < 20
    spaces: dict[str, Any] = {"socket": recorded}
    exec("_hidden = shown = socket.socket()\nshown.settimeout(1)", spaces)
    assert spaces["shown"].end.name == "shown"
    for sock in (listener, Kept.kept, some[0], spaces["shown"]):
        sock.close()


def test_the_record_keeps_nobody_alive(record: Recording) -> None:
    def use() -> list[Any]:
        one, other = recorded.socketpair()
        caught = None
        try:
            one.connect(LOCAL)
        except (OSError, TypeError) as error:
            caught = error
        data = bytearray(1_000_000)
        other.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            one.sendall(memoryview(data)[:1000])
            other.recv_into(data)
            one.sendmsg([data[:1000]])
            other.recv(5)
            other.recv(5, standard.MSG_PEEK)
        with contextlib.suppress(TypeError):
            one.send(other)
        kept = [weakref.ref(one), weakref.ref(other)]
        one.close()
        other.close()
        del caught
        return kept

    enabled = gc.isenabled()
    gc.disable()  # without the help of the collector
    try:
        assert [kept() for kept in use()] == [None, None]

        def drop() -> Any:
            sock = recorded.socket()
            sock.settimeout(5)  # here its name is looked for
            kept = weakref.ref(sock)
            end = sock.end
            with warnings.catch_warnings(record=True):
                warnings.simplefilter("always")
                del sock
            return kept(), end.closed

        assert drop() == (None, True)
    finally:
        if enabled:
            gc.enable()
    big = [
        call
        for e in record.events
        for call in [e.call]
        if any(sys.getsizeof(x) > 500 for x in (*call.args, call.result))
    ]
    assert not big


def test_recorder_knows_who_lives() -> None:
    before = set(map(id, recorder.sockets))
    one, other = recorded.socketpair()
    assert {id(sock) for sock in recorder.sockets} - before == {id(one), id(other)}
    file = one.makefile()
    recorded.force_close(one)
    assert one.fileno() == -1
    assert one.end.closed
    recorded.force_close(one)
    recorded.force_close(other)
    file.close()
    del one, other, file
    assert set(map(id, recorder.sockets)) <= before


def test_many_make_sockets_while_another_lists_them() -> None:
    over = threading.Event()

    def make() -> None:
        while not over.is_set():
            recorded.socket().close()

    makers = [Player(make) for _ in range(3)]
    for _ in range(300):
        list(recorder.sockets)
    over.set()
    for maker in makers:
        maker.join()


def test_a_bounded_record() -> None:
    with Case(recorded, Path()) as case:
        one, other = case.socketpair()
        for _ in range(50_000):
            one.send(b"hello")
            other.recv(5)
        made = recorder.recording
        assert len(made.events) <= recording.KEPT_EVENTS
        assert made.dropped + len(made.events) == 100_000
        assert len(one.end.sending) <= recording.KEPT_EVENTS
        assert len(other.end.unchecked) <= recording.KEPT_CHECKS
        assert not other.end.outside
        assert made.events[-1].call.sources() == [made.events[-2].call]


@pytest.mark.skipif(os.name == "nt", reason="a socket is no file on Windows")
@pytest.mark.parametrize("where", ["write", "read", "equal bytes"])
def test_used_outside_of_the_record(where: str) -> None:
    with Case(recorded, Path()) as case:
        one, other = case.pair()
        one.sendall(b"first")
        assert other.recv(5) == b"first"
        assert not other.end.outside
        first = recorder.recording.events[-1].call
        assert len(first.sources()) == 1
        if where == "write":
            os.write(one.fileno(), b"unseen")
            assert other.recv(6) == b"unseen"
        elif where == "read":
            one.sendall(b"second")
            assert os.read(other.fileno(), 3) == b"sec"
            assert other.recv(3) == b"ond"
        else:
            os.write(one.fileno(), b"again")
            assert other.recv(5) == b"again"
            one.sendall(b"again")
        assert other.end.outside
        one.sendall(b"third and more")
        assert other.recv(3)
        assert other.end.outside
        assert recorder.recording.events[-1].call.sources() == first.sources() == []
        assert not one.end.outside
        other.sendall(b"the other way")
        assert one.recv(100) == b"the other way"
        assert recorder.recording.events[-1].call.sources()


@pytest.mark.skipif(not hasattr(standard, "AF_UNIX"), reason="no AF_UNIX")
def test_callers_without_a_name(tmp_path: Path) -> None:
    """Callers of AF_UNIX are paired in the order in which they dialled."""
    with Case(recorded, tmp_path) as case:
        path = case.path()
        listener = case.socket(standard.AF_UNIX)
        listener.bind(path)
        failed = case.socket(standard.AF_UNIX)
        with pytest.raises(ConnectionRefusedError):
            failed.connect(path)
        listener.listen()
        callers = [case.socket(standard.AF_UNIX) for _ in range(3)]
        for caller in callers:
            caller.connect(path)
        made = [case.keep(listener.accept()[0]) for _ in callers]
        assert [sock.end.twin for sock in made] == [caller.end for caller in callers]
        stranger = case.keep(standard.socket(standard.AF_UNIX))
        stranger.connect(path)
        assert case.keep(listener.accept()[0]).end.twin is None
        later = case.socket(standard.AF_UNIX)
        later.connect(path)
        assert case.keep(listener.accept()[0]).end.twin is later.end
        assert failed.end.twin is None
        assert not recorder.recording._lone


@pytest.mark.skipif(not LINUX, reason="Linux says EINPROGRESS for TCP on loopback")
def test_the_twin_of_a_call_begun_without_waiting() -> None:
    with Case(recorded, Path()) as case:
        listener, caller = case.listener(), case.socket()
        caller.setblocking(False)
        assert caller.connect_ex(listener.getsockname()) == errno.EINPROGRESS
        made = case.keep(listener.accept()[0])
        assert made.end.twin is caller.end
        assert caller.connect_ex(listener.getsockname()) in (0, errno.EISCONN)
        caller.send(b"hello")
        assert made.recv(5) == b"hello"
        assert recorder.recording.events[-1].call.sources() == [recorder.recording.events[-2].call]
        again = case.socket()
        again.setblocking(False)
        again.connect_ex(case.nobody().getsockname())
        select.select([], [again], [], LONG)
        codes = [again.connect_ex(listener.getsockname()) for _ in range(2)]
        assert codes[0] in (errno.ECONNABORTED, errno.ECONNREFUSED)
        made = case.keep(listener.accept()[0])
        assert made.end.twin is again.end


# ---------------------------------------------------------------------- working with the rest of the library


@pytest.fixture(scope="session")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a TLS server and its client need, with a certificate made for this run."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    make = f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    made = subprocess.run(
        [*make.split(), "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"openssl made no certificate: {made.stderr}")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return server, ssl.create_default_context(cafile=str(certificate))


def speak_tls(case: Case, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> tuple[Any, Any]:
    """Both ends of a connection with TLS."""
    one, other = case.pair()
    serving = Player(lambda: contexts[0].wrap_socket(other, server_side=True), "server")
    try:
        client = case.keep(contexts[1].wrap_socket(one, server_hostname="localhost"))
    finally:
        server = serving.join()
    return client, case.keep(server)


@pytest.mark.parametrize("module", [standard, recorded], ids=["standard", "recorded"])
def test_with_ssl(module: Any, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    with Case(module, Path()) as case:
        client, server = speak_tls(case, contexts)
        assert isinstance(client, ssl.SSLSocket)
        client.sendall(b"hello")
        assert server.recv(100) == b"hello"
        server.settimeout(0.02)
        assert tried(server.recv, 10)[0] is TimeoutError
        file = case.keep(server.makefile("w"))
        file.write("a line\n")
        file.flush()
        assert client.recv(100) == b"a line\n"
        # a listener with TLS accepts sockets with TLS
        listener = case.keep(contexts[0].wrap_socket(case.listener(), server_side=True))
        calling = Player(
            lambda: contexts[1].wrap_socket(
                case.m.create_connection(listener.getsockname()), server_hostname="localhost"
            )
        )
        made = case.keep(listener.accept()[0])
        caller = case.keep(calling.join())
        made.sendall(b"hello")
        assert (caller.recv(9), caller.version()) == (b"hello", made.version())


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


def speak_asyncio(case: Case) -> tuple[bytes, bytes, bytes]:
    """Streams over a listener and a caller of ours, and the loop's own calls for sockets."""
    listener, caller, raw = case.listener(), case.socket(), case.socket()
    for sock in (listener, raw):
        sock.setblocking(False)
    address = listener.getsockname()
    caller.connect(address)

    async def speak() -> tuple[bytes, bytes, bytes]:
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(echo, sock=listener)
        caller.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=caller)
        writer.writelines([b"he", b"llo"])
        first = await reader.readexactly(5)
        writer.write_eof()
        rest = await reader.read()
        writer.close()
        await writer.wait_closed()
        await loop.sock_connect(raw, address)
        await loop.sock_sendall(raw, b"raw")
        buffer = bytearray(3)
        count = 0
        while count < 3:
            count += await loop.sock_recv_into(raw, memoryview(buffer)[count:])
        raw.close()
        server.close()
        await server.wait_closed()
        return first, rest, bytes(buffer)

    return asyncio.run(asyncio.wait_for(speak(), LONG))


@pytest.mark.parametrize("module", [standard, recorded], ids=["standard", "recorded"])
def test_with_asyncio(module: Any) -> None:
    with Case(module, Path()) as case:
        assert speak_asyncio(case) == (b"hello", b"", b"raw")


def speak_http(case: Case, read: Callable[[str, int], bytes]) -> bytes:
    """An HTTP server of the standard library, and a client of it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(LOCAL, Handler) as server:
        assert type(server.socket) is standard.socket
        serving = Player(server.handle_request, "server")
        got = read(*server.server_address[:2])  # type: ignore[arg-type]
        serving.join()
    return got


def read_by_client(host: str, port: int) -> bytes:
    connection = http.client.HTTPConnection(host, port, timeout=LONG)
    connection.request("GET", "/")
    got = connection.getresponse().read()
    connection.close()
    return got


def read_by_urllib(host: str, port: int) -> bytes:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        f"http://{host}:{port}/", timeout=LONG
    ) as page:
        return page.read()  # type: ignore[no-any-return]


def speak_socketserver(case: Case) -> bytes:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(self.rfile.readline().upper())

    with socketserver.ThreadingTCPServer(LOCAL, Handler) as server:
        server.daemon_threads = False
        serving = Player(server.handle_request, "server")
        with standard.create_connection(server.server_address) as caller:  # type: ignore[arg-type]
            caller.sendall(b"hello\n")
            got = caller.recv(100)
        serving.join()
    return got


@pytest.mark.parametrize("read", [read_by_client, read_by_urllib])
def test_with_http(read: Callable[[str, int], bytes]) -> None:
    with Case(recorded, Path()) as case:
        assert speak_http(case, read) == b"ok"


def test_http_on_our_sockets() -> None:
    """Given a socket of ours, http.client and a handler of socketserver speak on it."""
    with Case(recorded, Path()) as case:
        one, other = case.pair()
        connection = http.client.HTTPConnection("localhost")
        connection.sock = one

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[::-1])

            def log_message(self, *_: object) -> None:
                pass

        serving = Player(lambda: Handler(other, other.getpeername(), None), "server")  # type: ignore[arg-type]
        connection.request("POST", "/", body=b"hello")
        assert connection.getresponse().read() == b"olleh"
        connection.close()
        serving.join()


def speak_selectors(case: Case) -> Any:
    listener, caller = case.listener(), case.socket()
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ, "listener")
        idle = selector.select(0)
        caller.connect(listener.getsockname())
        (key, events), *more = selector.select(LONG)
        made = case.keep(key.fileobj.accept()[0])  # type: ignore[union-attr]
        selector.register(made, selectors.EVENT_READ | selectors.EVENT_WRITE, "made")
        writable = [(key.data, events) for key, events in selector.select(0)]
        caller.sendall(b"x")
        both = [(key.data, events) for key, events in selector.select(LONG)]
        selector.unregister(made)
        return idle, key.data, events, more, writable, both


@pytest.mark.parametrize("module", [standard, recorded], ids=["standard", "recorded"])
def test_with_selectors(module: Any) -> None:
    with Case(module, Path()) as case:
        read, write = selectors.EVENT_READ, selectors.EVENT_WRITE
        expected = ([], "listener", read, [], [("made", write)], [("made", read | write)])
        assert speak_selectors(case) == expected


# ---------------------------------------------------------------------- what the docstring says of recording and ending


def table() -> list[tuple[list[str], str, str]]:
    """The table in the docstring: the calls, whether they are recorded, whether their wait can be ended."""
    assert recorded.__doc__
    lines = [line.strip("| ").split(" | ") for line in recorded.__doc__.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line] for line in lines]
    assert rows[0] == ["call", "recorded", "its wait can be ended"]
    return [(row[0].split(", "), row[1], row[2]) for row in rows[2:]]


class Row:
    """How what stands in a row is tried.

    `does` makes the call where it need not wait; `waits` makes it where it must; `hidden` are waits that the gate does
    not see: each gives what is to be run, and what frees it.
    """

    def __init__(
        self,
        does: Callable[[Case], Any],
        waits: Callable[[Case], Callable[[], Any]] | None = None,
        *hidden: Callable[[Case], tuple[Callable[[], Any], Callable[[], Any]]],
    ) -> None:
        self.does, self.waits, self.hidden = does, waits, hidden


def call_of(name: str) -> Callable[[Case], Callable[[], Any]]:
    def waits(case: Case) -> Callable[[], Any]:
        sock, *args = waiting_on(case, name)
        return lambda: getattr(sock, name)(*args)

    return waits


def receives(name: str, *args: Any) -> Row:
    def does(case: Case) -> Any:
        one, other = case.pair()
        one.sendall(b"hello")
        return getattr(other, name)(*args)

    def whole(case: Case) -> tuple[Callable[[], Any], Callable[[], Any]]:
        one, other = case.pair()
        more = {"recv": (), "recvfrom": ()}.get(name, (0,))
        flag = getattr(standard, "MSG_WAITALL", 0)
        return lambda: getattr(other, name)(*args, *more, flag), lambda: one.sendall(b"x" * 10)

    return Row(does, call_of(name), whole)


def sends(name: str, *args: Any) -> Row:
    def does(case: Case) -> Any:
        return getattr(case.socketpair()[0], name)(*args)

    return Row(does, call_of(name))


def simply(name: str, *args: Any) -> Row:
    return Row(lambda case: getattr(case.socket(), name)(*args))


def connects(name: str) -> Row:
    def unix_queue(case: Case) -> tuple[Callable[[], Any], Callable[[], Any]]:
        path = case.path()
        listener = case.keep(standard.socket(standard.AF_UNIX))
        listener.bind(path)
        listener.listen(0)
        case.keep(standard.socket(standard.AF_UNIX)).connect(path)
        caller = case.socket(standard.AF_UNIX)
        return lambda: getattr(caller, name)(path), lambda: case.keep(listener.accept()[0])

    return Row(lambda case: getattr(case.socket(), name)(case.listener().getsockname()), call_of(name), unix_queue)


def datagram_queue(case: Case) -> tuple[Callable[[], Any], Callable[[], Any]]:
    path = case.path()
    sender, receiver = (
        case.socket(standard.AF_UNIX, standard.SOCK_DGRAM),
        case.keep(standard.socket(standard.AF_UNIX, standard.SOCK_DGRAM)),
    )
    receiver.bind(path)
    sender.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            sender.sendto(b"x", path)
    sender.setblocking(True)
    return lambda: sender.sendto(b"x", path), lambda: receiver.recv(9)


def connection(case: Case) -> Callable[[], Any]:
    full = case.full()
    return lambda: recorded.create_connection(full.getsockname())


def file_line(case: Case) -> Callable[[], Any]:
    file = case.keep(case.pair()[0].makefile())
    return lambda: file.readline()


def file_sent(case: Case) -> Callable[[], Any]:
    one, _ = case.socketpair()
    filled(one)
    one.setblocking(True)
    return lambda: one.sendfile(io.BytesIO(b"x" * 1000))


def write_file(case: Case) -> None:
    with case.pair()[0].makefile("w") as file:
        file.write("a line\n")


def twin_of(case: Case) -> Any:
    one, other = case.pair()
    twin = case.keep(recorded.fromfd(one.fileno(), one.family, one.type))
    return twin, other


def selected(case: Case) -> tuple[Callable[[], Any], Callable[[], Any]]:
    one, other = case.pair()
    selector = case.keep(selectors.DefaultSelector())
    selector.register(other, selectors.EVENT_READ)
    return selector.select, lambda: one.sendall(b"x")


def hidden_server(case: Case) -> tuple[Callable[[], Any], Callable[[], Any]]:
    server = socketserver.TCPServer(LOCAL, socketserver.BaseRequestHandler)
    case._stack.callback(server.server_close)
    return server.handle_request, lambda: case.keep(standard.create_connection(server.server_address))  # type: ignore[arg-type]


def hidden_reading(read: Callable[[str, int], bytes]) -> Callable[[Case], tuple[Callable[[], Any], Callable[[], Any]]]:
    def hidden(case: Case) -> tuple[Callable[[], Any], Callable[[], Any]]:
        server = case.keep(standard.create_server(LOCAL))

        def answer() -> None:
            made = case.keep(server.accept()[0])
            made.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")

        return lambda: read(*server.getsockname()), answer

    return hidden


ROWS = {
    "socket": Row(lambda case: case.socket()),
    "bind": simply("bind", LOCAL),
    "listen": simply("listen"),
    "shutdown": Row(lambda case: case.pair()[0].shutdown(standard.SHUT_WR)),
    "close": simply("close"),
    "detach": Row(lambda case: os.close(case.socketpair()[0].detach()) if os.name != "nt" else case.pair()[0].detach()),
    "setsockopt": simply("setsockopt", standard.SOL_SOCKET, standard.SO_REUSEADDR, 1),
    "settimeout": simply("settimeout", 5),
    "setblocking": simply("setblocking", False),
    "accept": Row(lambda case: case.pair(), call_of("accept")),
    "connect": connects("connect"),
    "connect_ex": connects("connect_ex"),
    "recv": receives("recv", 5),
    "recv_into": receives("recv_into", bytearray(5)),
    "recvfrom": receives("recvfrom", 5),
    "recvfrom_into": receives("recvfrom_into", bytearray(5)),
    "recvmsg": receives("recvmsg", 5),
    "recvmsg_into": receives("recvmsg_into", [bytearray(5)]),
    "send": sends("send", b"x"),
    "sendall": sends("sendall", b"x"),
    "sendto": Row(lambda case: case.udp().sendto(b"x", case.udp().getsockname()), call_of("sendto"), datagram_queue),
    "sendmsg": sends("sendmsg", [b"x"]),
    "makefile": Row(write_file, file_line),
    "sendfile": Row(lambda case: case.pair()[0].sendfile(io.BytesIO(b"x")), file_sent),
    "create_connection": Row(
        lambda case: case.keep(recorded.create_connection(case.listener().getsockname())), connection
    ),
    "create_server": Row(lambda case: case.keep(recorded.create_server(LOCAL))),
    "socketpair": Row(lambda case: case.socketpair()[0].send(b"x")),
    "fromfd": Row(lambda case: twin_of(case)[0].send(b"x")),
    "dup": Row(lambda case: case.keep(case.pair()[0].dup()).send(b"x")),
    "getsockname": simply("getsockname"),
    "getpeername": Row(lambda case: case.pair()[0].getpeername()),
    "getsockopt": simply("getsockopt", standard.SOL_SOCKET, standard.SO_ERROR),
    "selectors on these sockets": Row(speak_selectors, None, selected),
    "ssl: what an SSLSocket does": Row(lambda case: None),
    "asyncio on these sockets": Row(speak_asyncio),
    "socketserver": Row(speak_socketserver, None, hidden_server),
    "http.client": Row(lambda case: speak_http(case, read_by_client), None, hidden_reading(read_by_client)),
    "urllib": Row(lambda case: speak_http(case, read_by_urllib), None, hidden_reading(read_by_urllib)),
}
EACH = [(name, *row[1:]) for row in table() for name in row[0]]


def test_the_table_has_a_check_for_each_row() -> None:
    assert [name for name, *_ in EACH] == list(ROWS)
    methods = {name for name in vars(recorded.socket) if not name.startswith("_")}
    functions = {name for name in recorded.__all__ if getattr(recorded, name) is not getattr(standard, name)}
    told_of = {name for name, *_ in EACH}
    assert methods | functions - {"fromshare"} <= told_of
    unsaid = {"has_dualstack_ipv6"}  # which makes a standard socket for a moment, and does not wait
    assert not unsaid & told_of


def names_recorded(record: Recording) -> list[str]:
    return [event.call.name for event in record.events if not event.waits]


@pytest.mark.parametrize(("name", "is_recorded", "_"), EACH, ids=[row[0] for row in EACH])
def test_what_is_recorded(name: str, is_recorded: str, _: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    record = recorder.recording
    with Case(recorded, tmp_path) as case:
        if name.startswith("ssl"):
            client, server = speak_tls(case, request.getfixturevalue("contexts"))
            del record.events[:]
            client.sendall(b"hello")
            server.recv(9)
        else:
            ROWS[name].does(case)
        names = names_recorded(record)
    if is_recorded == "yes":
        assert name in names
        (call, *_more) = [event.call for event in record.events if event.call.name == name]
        assert call.returned
        assert call.error is None
        assert call.end is not None
        assert call.role == gate.current().name
    elif is_recorded.startswith("as the calls"):
        assert name not in names
        wanted = {"makefile": "send", "sendfile": "send", "create_connection": "connect", "create_server": "listen"}
        assert wanted[name] in names
    elif is_recorded == "no; what their sockets do: yes":
        assert name not in names
        assert "settimeout" not in names
        assert names[-1] == "send"
    elif is_recorded == "yes; on Windows no":
        assert os.name == "nt" or {"accept", "recv", "send", "connect", "recv_into"} <= set(names)
    elif name == "selectors on these sockets":
        assert set(names) == {"socket", "bind", "listen", "connect", "accept", "sendall"}
    else:
        assert is_recorded.startswith("no")
        assert name not in names
        assert name.startswith("get") or not names


@pytest.mark.parametrize(("name", "_", "ended"), EACH, ids=[row[0] for row in EACH])
def test_what_can_be_ended(
    name: str, _: str, ended: str, system: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    row = ROWS[name]
    if not LINUX and name in ("connect", "connect_ex", "create_connection"):
        pytest.skip("only Linux makes a full queue's callers wait")
    with Case(recorded, tmp_path) as case:
        if ended == "(does not wait)":
            assert row.waits is None
            assert not row.hidden
            return
        if ended.startswith("yes"):
            assert row.waits is not None
            for takes_turns in (False, True):
                player = Player(row.waits(case), takes_turns=takes_turns)
                until_waiting()
                player.end()
                assert type(player.error) is KeyboardInterrupt
                for sock in recorder.sockets:  # create_connection() leaves its own, as the standard one does
                    if name == "create_connection" and sock.end.role == "player":
                        recorded.force_close(sock)
            exception = (
                "connect"
                if "AF_UNIX: no" in ended and "connect" in ended
                else "recv"
                if "WAITALL" in ended
                else "sendto"
            )
            assert bool(row.hidden) == (ended != "yes" and name.startswith(exception))
        elif ended == "as its tasks are cancelled":
            _one, other = case.pair()
            other.setblocking(False)

            async def wait_and_cancel() -> None:
                task = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(other, 5))
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                assert task.cancelled()

            asyncio.run(wait_and_cancel())
            return
        else:
            assert ended.startswith("no")
            assert row.waits is None
        if name.startswith("ssl"):
            client, server = speak_tls(case, request.getfixturevalue("contexts"))
            hidden = [(lambda: server.recv(9), lambda: client.sendall(b"x"))]
        elif system != AS_IT_IS:
            return
        else:
            hidden = [make(case) for make in row.hidden]
        for function, free in hidden:
            player = Player(function)
            player.until_it_stands_still()
            gate.end(player.actor)
            assert player.running(0.05)
            assert player.actor not in gate.waiting
            free()
            player.running(LONG)
            assert isinstance(player.error, KeyboardInterrupt)
            with warnings.catch_warnings():  # http.client leaves its socket to the collector
                warnings.simplefilter("ignore", ResourceWarning)
                player.error = None
                gc.collect()


def test_select_of_ours_can_be_ended() -> None:
    """As the table's row on selectors says."""
    with Case(recorded, Path()) as case:
        player = Player(lambda: recorded_select.select([case.listener()], [], []))
        until_waiting()
        player.end()
