"""Answers to the exercises of lesson 03."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import re
import socket as standard
import sys
from urllib.parse import urlsplit

from helpers import socket

# ---------------------------------------------------------------------- 3a


def bind_with_one_socket(ports):
    if not ports:
        raise ValueError("an empty list")
    one = socket.socket()
    try:
        for port in ports[:-1]:
            try:
                one.bind(("127.0.0.1", port))
                return one
            except OSError as problem:
                if problem.errno != errno.EADDRINUSE:
                    raise
        one.bind(("127.0.0.1", ports[-1]))
        return one
    except BaseException:
        one.close()
        raise


def bind_by_recursion(ports):
    if not ports:
        raise ValueError("an empty list")
    first, *rest = ports
    with contextlib.ExitStack() as on_error:
        one = on_error.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        try:
            one.bind(("127.0.0.1", first))
        except OSError as problem:
            if problem.errno != errno.EADDRINUSE or not rest:
                raise
            one = None
        else:
            on_error.pop_all()
    return one or bind_by_recursion(rest)


def bind_with_create_server(ports):
    failed = ValueError("an empty list")
    for port in ports:
        try:
            return socket.create_server(("127.0.0.1", port))
        except OSError as problem:
            if problem.errno != errno.EADDRINUSE:
                raise
            failed = problem
    raise failed


def looks_first(ports):
    for port in ports:
        with socket.socket() as look:
            free = look.connect_ex(("127.0.0.1", port)) != 0
        if free:
            one = socket.socket()
            one.bind(("127.0.0.1", port))
            return one
    raise OSError(errno.EADDRINUSE, "all in use")


def leaves_the_failed_open(ports):
    last = ValueError("an empty list")
    for port in ports:
        one = socket.socket()
        try:
            one.bind(("127.0.0.1", port))
            return one
        except OSError as problem:
            last = problem
    raise last


def goes_on_after_any_error(ports):
    for port in ports:
        one = socket.socket()
        try:
            one.bind(("127.0.0.1", port))
            return one
        except Exception as problem:
            one.close()
            last = problem
    raise last


def returns_the_number(ports):
    with bind_with_one_socket(ports) as one:
        return one.getsockname()[1]


def returns_it_closed(ports):
    with bind_with_one_socket(ports) as one:
        return one


def binds_every_address(ports):
    for port in ports:
        one = socket.socket()
        try:
            one.bind(("", port))
            return one
        except OSError:
            one.close()
    raise ValueError


def takes_the_lowest(ports):
    return bind_with_one_socket(sorted(ports))


def takes_any_other(ports):
    try:
        return bind_with_one_socket(ports)
    except OSError:
        return bind_with_one_socket([0])


def sets_reuse_and_only_binds(ports):
    last = ValueError("an empty list")
    for port in ports:
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
            return one
        except OSError as problem:
            one.close()
            if problem.errno != errno.EADDRINUSE:
                raise
            last = problem
    raise last


def forgets_the_out_of_range(ports):
    last = ValueError("an empty list")
    for port in ports:
        one = socket.socket()
        try:
            one.bind(("127.0.0.1", port))
            return one
        except OSError as problem:  # an OverflowError is none
            one.close()
            if problem.errno != errno.EADDRINUSE:
                raise
            last = problem
    raise last


def gives_up_without_a_word(ports):
    try:
        return bind_with_one_socket(ports)
    except OSError:
        return None


def forgets_the_empty_list(ports):
    for port in ports:
        try:
            return bind_with_one_socket([port])
        except OSError as problem:
            if problem.errno != errno.EADDRINUSE:
                raise
            last = problem
    raise last  # of an empty list there is none


# ---------------------------------------------------------------------- 3b


def dual_with_create_server(port=0):
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("127.0.0.1", port))


def dual_by_hand(port=0):
    six = socket.has_dualstack_ipv6()
    listener = socket.socket(socket.AF_INET6 if six else socket.AF_INET)
    done = False
    try:
        if six:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, False)
        listener.bind(("::" if six else "127.0.0.1", port))
        listener.listen(5)
        done = True
    finally:
        if not done:
            listener.close()
    return listener


def dual_by_detaching(port=0):
    with socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET) as listener:
        if listener.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind(("::", port, 0, 0))
        else:
            listener.bind(("127.0.0.1", port))
        listener.listen()
        return socket.socket(fileno=listener.detach())


def old_family_only(port=0):
    return socket.create_server(("127.0.0.1", port))


def new_loopback_only(port=0):
    return socket.create_server(("::1", port), family=socket.AF_INET6)


def new_family_only(port=0):
    listener = socket.socket(socket.AF_INET6)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind(("::", port))
    listener.listen()
    return listener


def leaves_v6only_as_it_is(port=0):
    six = socket.has_dualstack_ipv6()
    listener = socket.socket(socket.AF_INET6 if six else socket.AF_INET)
    try:
        listener.bind(("::" if six else "127.0.0.1", port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def asks_nobody_for_dual_stack(port=0):
    listener = socket.socket(socket.AF_INET6)
    try:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("::", port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def expects_dual_stack(port=0):
    return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)


def never_listens(port=0):
    listener = dual_by_hand(port)
    with listener:
        number = listener.getsockname()[1]
        family, host = listener.family, listener.getsockname()[0]
    bound = socket.socket(family)
    if family == socket.AF_INET6:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    bound.bind((host, number))
    return bound


def two_listeners(port=0):
    first = socket.create_server(("127.0.0.1", port))
    return first, socket.create_server(("127.0.0.1", 0))


def forgets_the_port(port=0):
    return dual_by_hand()


def returns_the_port(port=0):
    return dual_by_hand(port).getsockname()[1]


def falls_back_when_in_use(port=0):
    try:
        return dual_by_hand(port)
    except OSError:
        return dual_by_hand(0)


def leaves_it_open_when_in_use(port=0):
    listener = socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET)
    if listener.family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::" if listener.family == socket.AF_INET6 else "127.0.0.1", port))
    listener.listen()
    return listener


def one_of_two(port=0):
    first = socket.create_server(("127.0.0.1", port))
    second = socket.socket(socket.AF_INET6)
    second.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    second.bind(("::1", first.getsockname()[1]))
    second.listen()
    kept.append(second)
    return first


kept: list[socket.socket] = []


def _has_ipv6() -> bool:
    try:
        with standard.socket(standard.AF_INET6) as probe:
            probe.bind(("::1", 0))
            return True
    except OSError:
        return False


# ---------------------------------------------------------------------- 3c


def split_by_pattern(text):
    found = re.fullmatch(r"(?:\[(?P<six>[^\]]*)\]|(?P<host>[^:\[\]]+)):(?P<port>[0-9]+)", text)
    if not found or int(found["port"]) > 65535:
        raise ValueError(text)
    if found["host"]:
        return found["host"], int(found["port"])
    return str(ipaddress.IPv6Address(found["six"])) and found["six"], int(found["port"])


def split_step_by_step(text):
    if text[:1] == "[":
        end = text.index("]")
        host, rest = text[1:end], text[end + 1 :]
        try:
            socket.inet_pton(socket.AF_INET6, host)
        except OSError as problem:
            raise ValueError(text) from problem
    else:
        end = text.index(":")
        host, rest = text[:end], text[end:]
        if not host or "[" in host or "]" in host:
            raise ValueError(text)
    if rest[:1] != ":" or rest[1:] == "" or any(digit not in "0123456789" for digit in rest[1:]):
        raise ValueError(text)
    port = int(rest[1:])
    if not 0 <= port < 2**16:
        raise ValueError(text)
    return host, port


class split_as_a_class(tuple):
    def __new__(cls, text):
        return super().__new__(cls, split_step_by_step(text))


def splits_at_each_colon(text):
    host, port = text.split(":")
    return host, int(port)


def keeps_the_brackets(text):
    host, _, port = text.rpartition(":")
    return host, int(port)


def port_is_text(text):
    host, port = split_by_pattern(text)
    return host, str(port)


def returns_a_dictionary(text):
    host, port = split_by_pattern(text)
    return {"host": host, "port": port}


def takes_what_int_takes(text):
    host, _, port = text.rpartition(":")
    if host[:1] == "[" and host[-1:] == "]":
        socket.inet_pton(socket.AF_INET6, host[1:-1])
        host = host[1:-1]
    elif not host or ":" in host:
        raise ValueError(text)
    if not 0 <= int(port) <= 65535:
        raise ValueError(text)
    return host, int(port)


def takes_every_digit(text):
    host, _, port = text.rpartition(":")
    if not port.isdigit():
        raise ValueError(text)
    return split_by_pattern(f"{host}:{int(port)}")


def takes_any_number(text):
    host, _, port = text.rpartition(":")
    if port.isascii() and port.isdigit():
        port = str(min(int(port), 65535))
    return split_by_pattern(f"{host}:{port}")


def says_none(text):
    try:
        return split_by_pattern(text)
    except ValueError:
        return None


def asks_urlsplit(text):
    found = urlsplit(f"//{text}")
    return found.hostname, found.port


def needs_no_brackets(text):
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(text)
    return host.strip("[]"), int(port)


def allows_a_bracket(text):
    host, _, port = text.rpartition(":")
    if host[:1] != "[" and host[-1:] != "]":
        return split_by_pattern(f"{host.replace('[', '')}:{port}")
    return split_by_pattern(text)


def forgets_the_bracket_behind(text):
    host, _, port = text.rpartition(":")
    if host[:1] != "[" and ":" not in host:
        return split_by_pattern(f"{host.rstrip(']')}:{port}")
    return split_by_pattern(text)


def raises_what_inet_pton_raises(text):
    if text.startswith("[") and "]:" in text:
        socket.inet_pton(socket.AF_INET6, text[1 : text.index("]")])
    return split_by_pattern(text)


RIGHT = {
    "3a": [bind_with_one_socket, bind_by_recursion, bind_with_create_server],
    "3b": [dual_with_create_server, dual_by_hand, dual_by_detaching],
    "3c": [split_by_pattern, split_step_by_step, split_as_a_class],
}
WRONG = {
    "3a": [
        (looks_first, "bind() alone tells whether a port is taken"),
        (leaves_the_failed_open, "2 sockets were left open"),
        (goes_on_after_any_error, "70000 is no port"),
        (returns_the_number, "returned int"),
        (returns_it_closed, "is closed"),
        (binds_every_address, "Bind 127.0.0.1"),
        (takes_the_lowest, "was the first that was free"),
        (takes_any_other, "all in use: your function returned a socket bound to"),
        (forgets_the_out_of_range, "then 70000, then a free one: a socket was left open"),
        (gives_up_without_a_word, "all in use: your function returned None"),
        (forgets_the_empty_list, "An empty list: your function raised UnboundLocalError"),
    ],
    "3b": [
        (never_listens, "must listen(), too"),
        (two_listeners, "One socket takes both families"),
        (forgets_the_port, "was given port"),
        (returns_the_port, "returned int"),
        (falls_back_when_in_use, "Let the OSError through"),
        (leaves_it_open_when_in_use, "a socket was left open"),
    ],
    "3c": [
        (splits_at_each_colon, "'[::1]:80': your function raised ValueError"),
        (keeps_the_brackets, "The brackets are no part of the address"),
        (port_is_text, "the port is text"),
        (returns_a_dictionary, "Return a pair"),
        (takes_what_int_takes, "and no sign (int() allows one)"),
        (takes_every_digit, "but not 0 to 9"),
        (takes_any_number, "ports end at 65535"),
        (says_none, "returned None. Raise ValueError"),
        (asks_urlsplit, "('localhost', None). Raise ValueError: it has no port"),
        (needs_no_brackets, "leaves open where the port begins"),
        (allows_a_bracket, "For 'a[b:80': your function returned"),
        (forgets_the_bracket_behind, "For 'x]:80': your function returned"),
        (raises_what_inet_pton_raises, "Let it be a ValueError"),
    ],
}
if _has_ipv6():  # elsewhere the first of these is right, and nobody can tell of the others
    WRONG["3b"] += [
        (old_family_only, "Your listener is an IPv4 socket"),
        (new_loopback_only, "takes the callers of this address"),
        (new_family_only, "Turn IPV6_V6ONLY off"),
        (one_of_two, "One single listener takes both"),
        (asks_nobody_for_dual_stack, "is False: callers should find you on 127.0.0.1 alone"),
        (expects_dual_stack, "is False: your function raised ValueError"),
    ]
if sys.platform == "linux":  # elsewhere two that bind so are kept apart, and an IPv6 socket may begin otherwise
    WRONG["3a"].append((sets_reuse_and_only_binds, "With SO_REUSEADDR they share it"))
    if _has_ipv6():
        WRONG["3b"].append((leaves_v6only_as_it_is, "only because IPV6_V6ONLY is off at first"))
