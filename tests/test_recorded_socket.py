"""The recorded socket module beside the standard one: the same names, the same results, the same errors.

A scenario is played with both modules, and the outcomes are compared: in a thread without a role and in one that takes
turns; as this system is, and as Windows is (no MSG_DONTWAIT) or macOS was (no poll()).
"""

from __future__ import annotations

import array
import contextlib
import copy
import ctypes
import errno
import functools
import gc
import inspect
import io
import os
import pickle
import select
import socket as standard
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers import gate as gate_module
from helpers import recorded_socket as recorded
from helpers.gate import IDLE, READY, Actor, Wake, gate, poll

LOCAL = ("127.0.0.1", 0)
LINUX = sys.platform == "linux"
LONG = 10.0  #: seconds after which a test gives up
SOON = 0.5  #: seconds in which a wait must be ended

# ---------------------------------------------------------------------- who plays


def until_waiting(count: int = 1) -> None:
    """Until so many actors wait at the gate."""
    wake, until = Wake(), time.monotonic() + LONG
    gate.watchers.append(wake)
    try:
        while len(gate.waiting) < count:
            assert time.monotonic() < until, "nobody waits at the gate"
            poll([wake], [], 0.05)
            wake.drain()
    finally:
        gate.watchers.remove(wake)


class Player:
    """A thread that runs a function as an actor, and keeps what came of it."""

    def __init__(self, function: Callable[[], Any], name: str = "player", takes_turns: bool = False) -> None:
        self.actor = Actor(name, takes_turns=takes_turns, ending=KeyboardInterrupt)
        self.result: Any = None
        self.error: BaseException | None = None
        self._function = function
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        if takes_turns:
            self.actor.state = READY
            with gate.lock:
                gate.order.append(self.actor)
        self._thread.start()

    def _run(self) -> None:
        gate.become(self.actor)
        try:
            if self.actor.takes_turns:
                gate.take(self.actor)
            self.result = self._function()
        except BaseException as error:
            self.error = error
        gate.release(self.actor, IDLE)
        with gate.lock:
            gate.order = [actor for actor in gate.order if actor is not self.actor]

    def running(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return self._thread.is_alive()

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
        self._stack.close()
        for other in self._others:
            other.join()

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
        for _ in range(2):
            caller = self.keep(standard.socket())
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())
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


SCENARIOS: dict[str, Callable[[Case], Any]] = {}


def scenario(function: Callable[[Case], Any]) -> Callable[[Case], Any]:
    SCENARIOS[function.__name__] = function
    return function


def linux(function: Callable[[Case], Any]) -> Callable[[Case], Any]:
    """What only Linux does so."""
    return scenario(function) if LINUX else function


def unix(function: Callable[[Case], Any]) -> Callable[[Case], Any]:
    return scenario(function) if hasattr(standard, "AF_UNIX") else function


def play(name: str, module: Any, folder: Path) -> Any:
    before = standard.getdefaulttimeout()
    with Case(module, folder) as case:
        try:
            return SCENARIOS[name](case)
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
    return asked, tried(setattr, sock, "colour", 1)[0], tried(setattr, sock, "timeout", 1)[0], tried(setattr, sock, "family", 1)[0]


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
    outcomes = [tried(unbound.listen), unbound.getsockname()[1] > 0, tried(unbound.listen, 3), tried(unbound.bind, LOCAL)]
    one, _ = case.pair()
    outcomes += [tried(one.listen), tried(case.udp().listen), tried(case.socket().listen, -1), tried(case.socket().listen, 0)]
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
    outcomes += [tried(sock.setsockopt, *reuse, "1"), tried(sock.setsockopt, *reuse, 1.5), tried(sock.setsockopt, *reuse)[0]]
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
    got = twin.recv(2), one.recv(1), twin.timeout, twin.get_inheritable(), type(copied) is m.socket, copied.timeout
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
    outcomes = [tried(sock.accept) for sock in socks]
    for sock in socks:
        sock.settimeout(0)
    return [*outcomes, *(tried(sock.accept) for sock in socks), tried(one.accept, 1)[0]]


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
        outcomes += [caller.send(b"hello"), made.recv(10), tried(caller.recv, 10), made.getpeername() == caller.getsockname()]
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


@linux
def waiting_for_a_call_begun_without_waiting(case: Case) -> Any:
    """connect() of a socket that dialled without waiting waits for the answer (connect(2): EALREADY if it does not)."""
    listener, caller = case.full(), case.socket()
    caller.setblocking(False)
    outcomes = [tried(caller.connect, listener.getsockname())]
    caller.setblocking(True)

    def drain() -> None:
        for _ in range(2):
            made = listener.accept()[0]
            made.close()

    case.meanwhile(drain)
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
    one.sendall(b"something to read")
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
        sock.settimeout(LONG)
    return [*outcomes, other.recv(100), *(tried(sock.recv, 10) for sock in socks)]


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
    if hasattr(standard, "MSG_DONTWAIT"):
        other.settimeout(0.02)
        outcomes += [tried(other.recv, 5, case.m.MSG_DONTWAIT)]
        other.settimeout(None)
        outcomes += [tried(other.recv, 5, case.m.MSG_DONTWAIT)]
        one.sendall(b"hi")
        select.select([other], [], [], LONG)
        outcomes += [tried(other.recv, 5, case.m.MSG_DONTWAIT)]
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
        outcomes += [other.recv_into(buffer, flags=0), bytes(memoryview(buffer).cast("B") if type(buffer) is not type(buffers[-1]) else buffer)]
    one.sendall(b"hello world")
    buffer = bytearray(b"Z" * 16)
    outcomes += [other.recv_into(buffer, 3), other.recv_into(buffer, nbytes=2, flags=case.m.MSG_PEEK), buffer]
    outcomes += [other.recv_into(buffer=buffer, nbytes=2), other.recv_into(memoryview(buffer)[4:6]), bytes(buffer)]
    outcomes += [other.recvfrom_into(buffer, 2)[0], other.recvfrom_into(buffer=buffer, nbytes=1, flags=0)[0], bytes(buffer)]
    outcomes += [other.recv_into(bytearray()) if LINUX else 0]
    one.close()
    return [*outcomes, other.recv(100), other.recv_into(buffer), bytes(buffer)]


# ---------------------------------------------------------------------- scenarios: sending


@scenario
def sending(case: Case) -> Any:
    one, other = case.pair()
    data: list[Any] = [b"hello", bytearray(b"bytes"), memoryview(b"a view"), array.array("i", [1, 2]), (ctypes.c_int * 2)(3, 4)]
    outcomes: list[Any] = []
    for what in data:
        outcomes += [one.send(what), other.recv(100), one.sendall(what), other.recv(100), one.send(what, 0), other.recv(100)]
    outcomes += [one.send(b""), one.sendall(b""), one.send(memoryview(b"abcdef")[1:3]), other.recv(10)]
    return outcomes


@scenario
def sending_wrongly(case: Case) -> Any:
    one, other = case.pair()
    wrong: list[Any] = ["text", None, 5, ["list"], memoryview(b"abcdef")[::2], object]
    outcomes = [(name, tried(getattr(one, name), what)) for name in ("send", "sendall") for what in wrong]
    outcomes += [tried(getattr(one, name), b"x", flags) for name in ("send", "sendall") for flags in ("x", None, 1.5, 2**40)]
    outcomes += [tried(getattr(one, name), *args)[0] for name in ("send", "sendall") for args in ((), (b"x", 0, 0))]
    outcomes += [tried(one.send, data=b"x")[0]]
    for sock in (case.listener(), case.socket()):
        for patience in (None, LONG, 0):
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
    """Fill a socket until it takes no more."""
    sock.setblocking(False)
    total = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            total += sock.send(b"x" * 65536)
    return total


@scenario
def sending_to_one_who_does_not_read(case: Case) -> Any:
    m = case.m
    one, _other = case.pair()
    for option in (m.SO_SNDBUF, m.SO_RCVBUF):
        one.setsockopt(m.SOL_SOCKET, option, 16384)
    outcomes = [filled(one) > 0, tried(one.send, b"x" * 100_000), tried(one.sendall, b"x" * 100_000)]
    for patience in (0.02, 0.05):
        one.settimeout(patience)
        for call in (lambda: one.send(b"x" * 100_000), lambda: one.sendall(b"x" * 9_000_000)):
            started = time.monotonic()
            outcomes += [tried(call), patience * 0.9 < time.monotonic() - started < LONG]
    if hasattr(m, "MSG_DONTWAIT"):
        one.settimeout(None)
        outcomes += [tried(one.send, b"x" * 100_000, m.MSG_DONTWAIT), tried(one.sendall, b"x" * 100_000, m.MSG_DONTWAIT)]
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

    for patience in (None, LONG):
        one.settimeout(patience)
        reader = Player(read, "reader")
        result = one.sendall(data)
        if patience is None:
            one.sendall(b"")
    one.shutdown(case.m.SHUT_WR)
    reader.join()
    return result, bytes(got) == data * 2


@scenario
def send_waits(case: Case) -> Any:
    one, other = case.pair()
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
    outcomes += [data, address == one.getsockname(), other.recv(2) if os.name != "nt" else b"fl", other.recvfrom(100)[0]]
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
    wrong += [(b"x", "x"), (b"x", ("127.0.0.1", 70000)), (b"x", None), (b"x", ("::1", 1)), (None, there), (b"x", 0, "x")]
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
    one, other = case.pair()
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
    m, outcomes = case.m, list[Any]()
    path = case.folder / "file"
    path.write_bytes(bytes(range(256)) * 1000)
    for args in ((), (10,), (0, 20), (100, 300), (255_990,), (300_000,), (5, 1_000_000)):
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
    outcomes += [one.sendfile(memory, 2), memory.tell(), other.recv(100), one.sendfile(memory, offset=1, count=3), memory.tell()]
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
    outcomes += [tried(one.sendfile, file), tried(one.sendfile, None)]
    one.close()
    with path.open("rb") as file:
        outcomes += [tried(one.sendfile, file), tried(m.socket.sendfile)[0]]
    return outcomes


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
    outcomes += [type(raw), raw.write(b"raw"), raw.readable(), raw.writable(), raw.seekable(), raw.fileno() == one.fileno()]
    outcomes += [raw.mode, raw.name == one.fileno(), other.recv(10), other.send(b"hello"), raw.read(2), raw.readinto(bytearray(9))]
    outcomes += [tried(one.makefile, mode) for mode in ("x", "a", "r+")] + [tried(one.makefile, "r", 0)]
    text = case.keep(one.makefile("rw", buffering=1, encoding="latin-1", newline="\r\n"))
    outcomes += [text.write("ä\n"), text.flush(), other.recv(10), tried(text.write, "€")]
    lines = case.keep(one.makefile("w", 1))
    outcomes += [lines.write("a line\n"), other.recv(20), tried(one.makefile, 5)]
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
    outcomes = [tried(one.recv, 1) if False else None, files[0].write(b"still here"), files[0].flush(), other.recv(20)]
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
    outcomes = [one.family, one.type, one.proto, type(one) is m.socket, one.send(b"hello"), other.recv(9), other.send(b"x")]
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
    outcomes += [tried(m.create_server, LOCAL, family=9999), tried(m.create_server, ("127.0.0.1", 70000))]
    outcomes += [tried(m.create_server, LOCAL, dualstack_ipv6=True), tried(m.create_server)[0], tried(m.create_server, "x")]
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
    outcomes += [address, made.getsockname() == path, caller.sendall(b"hello"), made.recv(9), made.sendall(b"x"), caller.recv(9)]
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
    return [*outcomes, tried(case.socket(m.AF_INET6).connect, ("127.0.0.1", 1)), tried(case.socket(m.AF_INET6).bind, ("::1", -1))]


# ---------------------------------------------------------------------- both modules play them

AS_IT_IS, NO_DONTWAIT, NO_POLL = "as it is", "no MSG_DONTWAIT", "no poll"


@pytest.fixture(params=[AS_IT_IS, NO_DONTWAIT, NO_POLL])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A system that has all that Linux has, or one that lacks what Windows lacks."""
    name: str = request.param
    if name == NO_DONTWAIT:
        monkeypatch.setattr(recorded, "_AT_ONCE", 0)
    if name == NO_POLL:

        class Select:
            select = staticmethod(select.select)

        monkeypatch.setattr(gate_module, "select", Select)
    return name


@functools.cache
def expected(name: str, folders: pytest.TempPathFactory) -> Any:
    """What the standard module does in a scenario."""
    return play(name, standard, folders.mktemp("standard"))


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Nobody is left at the gate, and no thread lives on."""
    threads = set(threading.enumerate())
    yield
    assert not gate.order
    assert not gate.waiting
    assert not {thread for thread in threading.enumerate() if thread not in threads}


@pytest.mark.parametrize("takes_turns", [False, True], ids=["thread", "role"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_like_the_standard_one(
    name: str, takes_turns: bool, system: str, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    if name == "six" and not HAS_IPV6:
        pytest.skip("this machine has no IPv6")
    standards = Player(lambda: expected(name, tmp_path_factory)).join()
    assert Player(lambda: play(name, recorded, tmp_path), "player", takes_turns).join() == standards
