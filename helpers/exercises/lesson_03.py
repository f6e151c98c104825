"""Lesson 03: bind the first port that is free, listen for both families, and take an address apart."""

from __future__ import annotations

import errno
import socket as standard
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from helpers import recorded_socket as socket
from helpers.exercises.exercise import Exercise, NotYet, returned
from helpers.exercises.peers import PATIENCE, a_port_where_nobody_listens
from helpers.exercises.trial import Trial


@contextmanager
def _tried(answer: Callable[..., Any], case: str, *args: Any) -> Iterator[Trial]:
    """The answer tried; what it returned is closed at the end, in the record or not."""
    with Trial(answer, *args) as trial:
        trial.wait()
        if trial.hung:
            raise NotYet(f"{case}: your function did not return: {trial.hung}.")
        try:
            yield trial
        finally:
            for _left in trial.result if isinstance(trial.result, (tuple, list)) else [trial.result]:
                if isinstance(_left, standard.socket):  # (the underscore: so the record doesn't call it "left")
                    _left.close()


def _socket(trial: Trial, case: str) -> standard.socket:
    """The socket that the answer returned, open; NotYet if it is anything else."""
    got = returned(trial, case)
    if got is None:
        raise NotYet(f"{case}: your function returned None. Return the socket.")
    if not isinstance(got, standard.socket):
        raise NotYet(f"{case}: your function returned {type(got).__name__}. Return the socket, and only that.")
    if got.fileno() < 0:
        raise NotYet(f"{case}: the socket that your function returned is closed. Close only those that it gives up.")
    return got


def _must_leave_none_open(trial: Trial, case: str) -> None:
    kept = getattr(trial.result, "end", None)
    left = len(trial.unclosed()) - (kept is not None and not kept.closed)
    if left:
        many = "a socket was" if left == 1 else f"{left} sockets were"
        raise NotYet(f"{case}: {many} left open. close() each one that your function does not return.")


def _must_let_through(trial: Trial, case: str, wanted: type[Exception], why: str, code: int | None = None) -> None:
    error = trial.error
    if not isinstance(error, wanted) or (code is not None and getattr(error, "errno", None) != code):
        came = f"raised {trial.raised()}" if error is not None else f"returned {_short(trial.result)}"
        raise NotYet(f"{case}: your function {came}. {why}")
    by_python = _has_set(trial, standard.SOL_SOCKET, standard.SO_REUSEADDR) or sys.platform == "win32"
    if not (wanted is OverflowError and by_python):  # there Python's own create_server() leaves its socket open
        _must_leave_none_open(trial, case)


def _has_set(trial: Trial, level: int, option: int) -> bool:
    """Has the answer set this option, on any of its sockets?"""
    return any(e.call.name == "setsockopt" and e.call.args[:2] == (level, option) for e in trial.recording.events)


def _short(value: Any) -> str:
    if isinstance(value, standard.socket):
        try:
            return f"a socket bound to {value.getsockname()[:2]}"
        except OSError:
            return "a socket that is closed"
    return repr(value)[:60]


# ---------------------------------------------------------------------- 3a


def bind_first_free(ports):
    """Bind a socket to the first of these ports that is free on 127.0.0.1, and return it."""
    import errno

    last = None
    for port in ports:
        candidate = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            candidate.bind(("127.0.0.1", port))
            return candidate
        except OSError as problem:
            candidate.close()
            if problem.errno != errno.EADDRINUSE:
                raise
            last = problem
        except OverflowError:
            candidate.close()
            raise
    raise last or ValueError("no port to try")


@contextmanager
def _ports(taken: int, free: int, listening: bool = True) -> Iterator[tuple[list[int], list[int]]]:
    """Ports of 127.0.0.1: so many that stay taken until the end, so many that are free."""
    with ExitStack() as holders:
        held = [holders.enter_context(standard.socket()) for _ in range(taken + free)]
        for holder in held:
            holder.bind(("127.0.0.1", 0))
        numbers = [holder.getsockname()[1] for holder in held]
        for holder in held[taken:]:
            holder.close()
        for holder in held[:taken] if listening else ():
            holder.listen()
        yield numbers[:taken], numbers[taken:]


def _judge_first_free(answer: Callable[..., Any]) -> None:
    with _ports(0, 3) as (_, free):
        _first_free(answer, "Three free ports", sorted(free, reverse=True), 1)
    with _ports(2, 2) as (taken, free):
        _first_free(answer, "Two ports in use, then two free ones", taken + free, 3)
    with _ports(1, 1, listening=False) as (taken, free):
        _first_free(answer, "A port that a program has bound, and does not listen at, then a free one", taken + free, 2)
    with _ports(0, 2) as (_, free):
        case = "Your function called twice, for the same two free ports"
        with _tried(answer, case, free) as first, _tried(answer, case, free) as second:
            if _socket(first, case).getsockname() == _socket(second, case).getsockname():
                raise NotYet(f"{case}: both sockets have the first one. With SO_REUSEADDR they share it: don't set it.")
            _must_leave_none_open(second, case)
    with _ports(3, 0) as (taken, _):
        case = "Three ports, all in use"
        with _tried(answer, case, taken) as trial:
            _must_let_through(trial, case, OSError, "Let the last one's OSError through.", errno.EADDRINUSE)
    with _ports(1, 1) as (taken, free):
        case = "A port in use, then 70000, then a free one"
        with _tried(answer, case, [*taken, 70000, *free]) as trial:
            why = "70000 is no port, and that is not the error that says 'in use': let it through at once."
            _must_let_through(trial, case, OverflowError, why)
        if _is_refused(1):
            case = "Port 1, which this system keeps for the privileged, then a free one"
            with _tried(answer, case, [1, *free]) as trial:
                why = "Only errno.EADDRINUSE says 'in use': let the PermissionError through at once."
                _must_let_through(trial, case, PermissionError, why)
    case = "An empty list"
    with _tried(answer, case, []) as trial:
        _must_let_through(trial, case, ValueError, "There is no port to try: raise ValueError.")


def _first_free(answer: Callable[..., Any], case: str, ports: list[int], wanted: int) -> None:
    with _tried(answer, case, list(ports)) as trial:
        error = trial.error
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise NotYet(
                f"{case}: your function gave up with {trial.raised()}, though number {wanted} of the list was free. "
                "bind() alone tells whether a port is taken: where it says 'in use', try the next one."
            )
        got = _socket(trial, case)
        if got.family != standard.AF_INET or got.type != standard.SOCK_STREAM:
            raise NotYet(f"{case}: the socket is {got.family.name}, {got.type.name}, not AF_INET, SOCK_STREAM.")
        host, port = got.getsockname()
        if port == 0:
            raise NotYet(f"{case}: the socket that your function returned is not bound.")
        if host != "127.0.0.1":
            raise NotYet(f"{case}: the socket is bound to {host}, where others may call, too. Bind 127.0.0.1.")
        if port not in ports:
            raise NotYet(f"{case}: the socket has port {port}, which is not in the list {ports}.")
        if ports.index(port) + 1 != wanted:
            place = f"number {ports.index(port) + 1} of the list {ports}"
            raise NotYet(f"{case}: the socket has {place}, and number {wanted} was the first that was free.")
        _must_leave_none_open(trial, case)


def _is_refused(port: int) -> bool:
    """Does this system keep the port from us (ip(7))?"""
    with standard.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            return True
        except OSError:
            pass
        return False


exercise_3a = Exercise(
    "exercise_3a",
    _judge_first_free,
    bind_first_free,
    "The first free one, in the list's order; no look before, no race; and nothing is left open.",
    "try each port in turn: make a socket, bind it, and return it where that works",
    "`except OSError as problem:` and then problem.errno == errno.EADDRINUSE tells 'in use' from the rest",
    "a socket that could not be bound is closed before the next try, and before an error goes on (`raise`)",
)


# ---------------------------------------------------------------------- 3b


def open_dual_stack(port=0):
    """One listener for the callers of both families; IPv4 alone where there is no IPv6."""
    if not socket.has_dualstack_ipv6():
        return socket.create_server(("127.0.0.1", port))
    listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:  # Linux: every address, but only by the way that stays in this machine
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        except (AttributeError, PermissionError):
            pass  # another system, or a Linux before 5.7, where only root may
        listener.bind(("::", port))
        listener.listen()
        return listener
    except OSError:
        listener.close()
        raise


def _judge_dual_stack(answer: Callable[..., Any]) -> None:
    hosts = ["127.0.0.1", "::1"] if standard.has_dualstack_ipv6() and _has_ipv6() else ["127.0.0.1"]
    _both_call(answer, "No port given", hosts)
    _both_call(answer, "A port given", hosts, a_port_where_nobody_listens())
    with patch.object(standard, "has_dualstack_ipv6", bool), patch.object(socket, "has_dualstack_ipv6", bool):
        _both_call(answer, "Where socket.has_dualstack_ipv6() is False", ["127.0.0.1"])  # as bool() is
    for address in ["127.0.0.1", "::"][: len(hosts)]:
        case = f"A port that another program has on {address}"
        with standard.socket(standard.AF_INET6 if address == "::" else standard.AF_INET) as holder:
            if address == "::":  # only there: the other family would be a way out, which nobody asked for
                holder.setsockopt(standard.IPPROTO_IPV6, standard.IPV6_V6ONLY, 1)
            holder.bind((address, 0))
            with _tried(answer, case, holder.getsockname()[1]) as trial:
                why = "Let the OSError through: who asked for this port must learn that half of the callers can't come."
                _must_let_through(trial, case, OSError, why, errno.EADDRINUSE)


def _both_call(answer: Callable[..., Any], case: str, hosts: list[str], port: int = 0) -> None:
    with _tried(answer, case, *([port] if port else [])) as trial, ExitStack() as callers:
        if isinstance(trial.result, (tuple, list)):
            raise NotYet(f"{case}: your function returned {len(trial.result)} things. One socket takes both families.")
        got = _socket(trial, case)
        host, number = got.getsockname()[:2]
        if port and number != port:
            raise NotYet(f"{case}: your function was given port {port}, and the listener has {number or 'none'}.")
        through = []
        for target in hosts:
            try:
                callers.enter_context(standard.create_connection((target, number), PATIENCE))
                through.append(target)
            except OSError:
                pass
        if not through:
            raise NotYet(f"{case}: callers of {' and '.join(hosts)} were refused. A bound socket must listen(), too.")
        if through != hosts:
            raise NotYet(f"{case}: callers of {through[0]} got through, others were refused. {_why_half(got, host)}")
        if (arrived := _arrived(got, len(hosts))) < len(hosts):
            came = f"{arrived} of {len(hosts)} callers came to your socket"
            raise NotYet(f"{case}: {came}. One single listener takes both.")
        if host == "0.0.0.0" or (host != "127.0.0.1" and not standard.has_dualstack_ipv6()):
            raise NotYet(f"{case}: callers should find you on 127.0.0.1 alone, and the socket is bound to {host}.")
        if len(hosts) == 2 and hasattr(got, "end") and not _has_set(trial, standard.IPPROTO_IPV6, standard.IPV6_V6ONLY):
            why = "on Windows it is on, and elsewhere it may be. Set it to 0 before bind."
            raise NotYet(f"{case}: IPv4 callers came only because IPV6_V6ONLY is off at first in this system; {why}")
        _must_leave_none_open(trial, case)


def _why_half(got: standard.socket, host: str) -> str:
    if got.family == standard.AF_INET:
        return "Your listener is an IPv4 socket; only one of family AF_INET6 can take both."
    if host != "::":
        return f"Your listener is bound to {host}, and takes the callers of this address. Bind '::'."
    return "Turn IPV6_V6ONLY off (0) before bind."


def _arrived(listener: standard.socket, count: int) -> int:
    """How many of the callers, who all got through, are in this listener's queue?"""
    with standard.fromfd(listener.fileno(), listener.family, listener.type) as same:
        same.settimeout(1)
        for number in range(count):
            try:
                same.accept()[0].close()
            except OSError:
                return number
    return count


def _has_ipv6() -> bool:
    """Has this machine an IPv6 loopback address (and is IPv6 not switched off)?"""
    try:
        with standard.socket(standard.AF_INET6) as probe:
            probe.bind(("::1", 0))
            return True
    except OSError:
        return False


exercise_3b = Exercise(
    "exercise_3b",
    _judge_dual_stack,
    open_dual_stack,
    "One socket, one port, both families. (The solution shows how Linux keeps the network out.)",
    "a socket of family AF_INET6, the option IPV6_V6ONLY (level IPPROTO_IPV6) set to 0, then bind and listen",
    'the address is ("::", port); and where something fails, close the socket before the error goes on',
    "socket.create_server has an argument for all this: dualstack_ipv6=True",
)


# ---------------------------------------------------------------------- 3c


def split_address(text):
    """The pair (host, port) of "host:port" or "[IPv6 address]:port"; ValueError for anything else."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            socket.inet_pton(socket.AF_INET6, host)
        except OSError:
            raise ValueError(f"no IPv6 address stands in the brackets: {text!r}") from None
    elif not host or set(host) & set(":[]"):
        raise ValueError(f"not host:port, nor [IPv6 address]:port: {text!r}")
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"the port is no number from 0 to 65535: {text!r}")
    return host, int(port)


ADDRESSES = {
    "localhost:80": ("localhost", 80),
    "127.0.0.1:5050": ("127.0.0.1", 5050),
    "www.example.org:65535": ("www.example.org", 65535),
    "x:0": ("x", 0),
    "[::1]:80": ("::1", 80),
    "[2001:db8::7]:443": ("2001:db8::7", 443),
    "[::ffff:127.0.0.1]:8080": ("::ffff:127.0.0.1", 8080),
    "my host:80": ("my host", 80),
}
NO_ADDRESSES = {
    "localhost": "it has no port",
    "localhost:": "its port is empty",
    ":80": "its host is empty, and many calls take an empty host for every address of the machine",
    "": "it is empty",
    "localhost:http": "its port is a word",
    "localhost:65536": "ports end at 65535",
    "localhost:-1": "a port has digits only, and no sign",
    "localhost:+80": "a port has digits only, and no sign (int() allows one)",
    "localhost: 80": "a port has digits only, and no space (int() allows one)",
    "localhost:80\n": "a port has digits only, and no end of a line (int() allows one)",
    "localhost:8_0": "a port has digits only (int() allows _ between them)",
    "localhost:\u0668\u0660": "these are digits, but not 0 to 9 (int() and isdigit() take them)",
    "::1:80": "an IPv6 address without brackets leaves open where the port begins",
    "::1": "an IPv6 address without brackets leaves open where the port begins",
    "a:b:80": "only an address in brackets has colons",
    **dict.fromkeys(["a[b:80", "x]:80"], "a bracket stands in its host"),
    "[::1]": "no port stands behind the brackets",
    "[::1]:": "the port behind the brackets is empty",
    "[::1]80": "a colon stands between bracket and port",
    "[::1]x:80": "nothing stands between bracket and colon",
    "[::1:80": "its bracket is never closed",
    "::1]:80": "its bracket was never opened",
    "[]:80": "nothing stands in the brackets",
    **dict.fromkeys(["[1::2::3]:80", "[12345::]:80"], "no IPv6 address looks like that"),
    "[localhost]:80": "a name needs no brackets: only an IPv6 address stands in them",
    "[127.0.0.1]:80": "an IPv4 address needs no brackets: only an IPv6 address stands in them",
}


def _judge_split(answer: Callable[..., Any]) -> None:
    for text, wanted in ADDRESSES.items():
        case = f"For {text!r}"
        with _tried(answer, case, text) as trial:
            _must_be_pair(case, returned(trial, case), wanted)
    for text, why in NO_ADDRESSES.items():
        case = f"For {text!r}"
        with _tried(answer, case, text) as trial:
            if trial.error is None:
                raise NotYet(f"{case}: your function returned {trial.result!r}. Raise ValueError: {why}.")
            if not isinstance(trial.error, ValueError):
                raise NotYet(f"{case}: your function raised {trial.raised()}. Let it be a ValueError: {why}.")


def _must_be_pair(case: str, got: Any, wanted: tuple[str, int]) -> None:
    if got is None:
        raise NotYet(f"{case}: your function returned None. Return host and port.")
    if not isinstance(got, tuple) or len(got) != 2:
        raise NotYet(f"{case}: your function returned {got!r}. Return a pair: (host, port).")
    if isinstance(got[1], str):
        raise NotYet(f"{case}: the port is text, {got[1]!r}. A socket takes a number: int().")
    if got[0] == f"[{wanted[0]}]":
        raise NotYet(f"{case}: the host is {got[0]!r}. The brackets are no part of the address: a socket takes none.")
    if got != wanted:
        raise NotYet(f"{case}: your function returned {got!r}, and {wanted!r} was asked.")


exercise_3c = Exercise(
    "exercise_3c",
    _judge_split,
    split_address,
    "Names, IPv4, IPv6 in brackets; and whatever is no address is told so before it reaches a socket.",
    'the port stands behind the *last* colon: text.rpartition(":")',
    "socket.inet_pton(socket.AF_INET6, host) raises OSError where host is no IPv6 address: make a ValueError of it",
    'int() takes " 80", "+80" and "8_0": ask port.isascii() and port.isdigit() before',
)
