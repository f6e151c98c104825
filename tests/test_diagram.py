"""Sequence diagrams: the text form exactly, and that the picture says the same."""

from __future__ import annotations

import errno
import random
import re
import socket
import struct
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.diagram import Diagram
from helpers.recording import Call, Endpoint, Recording, shorten

HERE = ("127.0.0.1", 40123)


class Script:
    """Writes a record by hand, as the recorder would, without sockets and threads."""

    def __init__(self) -> None:
        self.recording = Recording()
        self.ports = 50000

    def socket(self, role: str, name: str | None = None, stream: bool = True) -> Endpoint:
        end = self.recording.endpoint(role, stream, fd=777)
        end.name = name
        return end

    def call(self, role: str, end: Endpoint | None, name: str, *args: Any, **known: Any) -> Call:
        call = Call(role, end, name, args, **known)
        self.recording.add(call)
        return call

    def wait(self, role: str, end: Endpoint | None, name: str, *args: Any) -> Call:
        call = Call(role, end, name, args, waited=True)
        self.recording.add(call, waits=True)
        return call

    def returns(self, call: Call, **known: Any) -> Call:
        for field, value in known.items():
            setattr(call, field, value)
        self.recording.add(call)
        return call

    def listener(self, role: str = "server", name: str | None = "listener", address: Any = HERE) -> Endpoint:
        end = self.socket(role, name)
        self.recording.listening(end, address, 5)
        return end

    def connect(self, role: str, end: Endpoint, address: Any = HERE, call: Call | None = None) -> Endpoint:
        self.ports += 1
        call = call or Call(role, end, "connect", (address,))
        self.recording.connected(end, (address[0], self.ports), address, call)
        self.recording.add(call)
        return end

    def accept(self, listener: Endpoint, caller: Endpoint | None, name: Any, wait: Call | None = None) -> Endpoint:
        call = wait or Call(listener.role, listener, "accept")
        call.made = self.socket(call.role, name)
        peer = caller.local if caller else ("10.1.2.3", 55555)
        self.recording.connected(call.made, caller.peer if caller else listener.local, peer)
        call.result = (call.made, peer)
        self.recording.add(call)
        return call.made

    def send(self, end: Endpoint, data: Any, count: int | None = None, name: str = "sendall") -> Call:
        call = Call(end.role, end, name, (shorten(data),))
        self.recording.sent(call, len(data) if count is None else count)
        self.recording.add(call)
        return call

    def recv(self, end: Endpoint, data: bytes, size: int = 255, call: Call | None = None) -> Call:
        call = call or Call(end.role, end, "recv", (size,))
        call.result = shorten(data)
        self.recording.received(call, len(data))
        self.recording.check(call, data)
        self.recording.add(call)
        return call

    def pair(self) -> tuple[Endpoint, Endpoint]:
        """A connection from the client's `s` to the server's `transfer`."""
        listener = self.listener()
        caller = self.connect("client", self.socket("client", "s"))
        return caller, self.accept(listener, caller, "transfer")

    def diagram(self, *roles: str, **options: Any) -> Diagram:
        return Diagram(self.recording, roles or ("server", "client"), **options)

    def tell(self, *roles: str, **options: Any) -> list[str]:
        """Who says what, without the layout: `client: connect(127.0.0.1:port)`, with the arrow's label and target."""
        rows = self.diagram(*roles, **options).rows
        return [f"{r.role}: {r.text}" + f" | {r.arrow} {r.label} -> {r.target}" * bool(r.arrow) for r in rows]


@pytest.fixture
def script() -> Script:
    return Script()


def lines(text: str) -> list[str]:
    return text.strip("\n").split("\n")


def spoken(svg: str) -> str:
    """What stands in the picture, without its description."""
    root = ElementTree.fromstring(svg)
    return "\n".join("".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text"))


# ---------------------------------------------------------------------- the text form


def test_the_sample(script: Script) -> None:
    listener = script.listener()
    accept = script.wait("server", listener, "accept")
    caller = script.connect("client", script.socket("client", "s"))
    transfer = script.accept(listener, caller, "transfer", accept)
    script.send(caller, b"hello")
    script.recv(transfer, b"hello")
    assert lines(str(script.diagram())) == lines("""
client                                     server
  │                                          ├ accept() waits …
  ├ connect(127.0.0.1:port) ───────────────▶ │
  │                                          ├ … accept() → transfer, from client
  ├ sendall(b'hello') ─────────── 5 bytes ─▶ │
  │                                          ├ recv(255) → b'hello'""")


def test_nothing_recorded(script: Script) -> None:
    diagram = script.diagram()
    assert str(diagram) == repr(diagram) == "no calls recorded yet"
    assert spoken(diagram.svg()) == "no calls recorded yet"
    script.call("client", script.socket("client"), "getsockname")
    assert str(script.diagram()) == "no calls recorded yet"


def test_a_whole_call(script: Script) -> None:
    listener = script.socket("server", "listener")
    script.call("server", listener, "socket", socket.AF_INET, socket.SOCK_STREAM, -1, made=listener)
    script.call("server", listener, "setsockopt", socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    script.call("server", listener, "bind", ("127.0.0.1", 0))
    script.call("server", listener, "listen", 5)
    script.recording.listening(listener, HERE, 5)
    caller = script.socket("client", "s")
    script.call("client", caller, "socket", -1, -1, -1, made=caller)
    script.connect("client", caller)
    transfer = script.accept(listener, caller, "transfer")
    waits = script.wait("client", caller, "recv", 255)
    script.send(transfer, b"a")
    script.recv(caller, b"a", call=waits)
    script.call("client", caller, "shutdown", socket.SHUT_WR)
    script.recv(transfer, b"")
    script.call("server", transfer, "close")
    script.recv(caller, b"")
    script.call("client", caller, "close")
    script.call("server", listener, "close")
    assert lines(str(script.diagram())) == lines("""
client                                     server
  │                                          ├ socket(AF_INET, SOCK_STREAM) → listener
  │                                          ├ listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
  │                                          ├ bind(127.0.0.1:0)
  │                                          ├ listen(5)
  ├ socket() → s                             │
  ├ connect(127.0.0.1:port) ───────────────▶ │
  │                                          ├ accept() → transfer, from client
  ├ recv(255) waits …                        │
  │ ◀─ 1 byte ───────────────────────────────┤ sendall(b'a')
  ├ … recv(255) → b'a'                       │
  ├ shutdown(SHUT_WR) ───── end of stream ─▶ │
  │                                          ├ recv(255) → b'' (end of stream)
  │ ◀─ end of stream ────────────────────────┤ transfer.close()
  ├ recv(255) → b'' (end of stream)          │
  ├ close()                                  │
  │                                          ├ listener.close()""")


def test_three_roles_arrows_cross(script: Script) -> None:
    listener = script.listener()
    far = script.connect("caller 1", script.socket("caller 1"))
    near = script.connect("client", script.socket("client"))
    a, b = script.accept(listener, far, "a"), script.accept(listener, near, "b")
    script.send(far, b"hello")
    script.recv(a, b"hello")
    script.send(a, b"ok")
    script.send(b, b"ok")
    script.call("server", a, "close")
    script.call("notebook", script.socket("notebook"), "close")
    assert lines(str(script.diagram())) == lines("""
caller 1                      client                                     server                         notebook
  ├ connect(127.0.0.1:port) ────┼────────────────────────────────────────▶ │                              │
  │                             ├ connect(127.0.0.1:port) ───────────────▶ │                              │
  │                             │                                          ├ accept() → a, from caller 1  │
  │                             │                                          ├ accept() → b, from client    │
  ├ sendall(b'hello') ──────────┼────────────────────────────── 5 bytes ─▶ │                              │
  │                             │                                          ├ a.recv(255) → b'hello'       │
  │ ◀─ 2 bytes ─────────────────┼──────────────────────────────────────────┤ a.sendall(b'ok')             │
  │                             │ ◀─ 2 bytes ──────────────────────────────┤ b.sendall(b'ok')             │
  │ ◀─ end of stream ───────────┼──────────────────────────────────────────┤ a.close()                    │
  │                             │                                          │                              ├ close()""")


def test_columns_stand_where_they_belong(script: Script) -> None:
    for role in ("serving", "notebook", "caller 10", "client", "server", "caller 2"):
        script.call(role, script.socket(role), "listen")
    assert script.diagram().columns == ["caller 2", "caller 10", "client", "server", "serving", "notebook"]
    assert script.diagram("client").columns == ["caller 2", "caller 10", "client", "server", "serving", "notebook"]


def test_a_role_without_a_call_has_no_column(script: Script) -> None:
    script.call("server", script.socket("server"), "listen", 5)
    assert str(script.diagram()) == "server\n  ├ listen(5)"


def test_wide_characters_keep_the_lifelines_straight(script: Script) -> None:
    script.call("客", script.socket("客", "电话"), "socket", -1, made=script.recording.ends[0])
    script.call("server", script.socket("server"), "listen")
    assert lines(str(script.diagram("server", "客"))) == lines("""
客                 server
  ├ socket() → 电话  │
  │                  ├ listen()""")


# ---------------------------------------------------------------------- each call


@pytest.mark.parametrize(
    ("name", "args", "words"),
    [
        ("bind", (("127.0.0.1", 0),), "bind(127.0.0.1:0)"),
        ("bind", (("127.0.0.1", 8080),), "bind(127.0.0.1:port)"),
        ("bind", (("127.0.0.1", 70000),), "bind(127.0.0.1:port)"),
        ("bind", (("", 8080),), "bind(*:port)"),
        ("bind", (("", 0),), "bind(*:0)"),
        ("bind", (("0.0.0.0", 80),), "bind(0.0.0.0:port)"),
        ("bind", (("::1", 8080, 0, 0),), "bind([::1]:port)"),
        ("bind", (("::", 0),), "bind([::]:0)"),
        ("bind", ("/tmp/of/this/run/chat.sock",), "bind(chat.sock)"),
        ("bind", (b"C:\\Temp\\chat.sock",), "bind(chat.sock)"),
        ("bind", (b"\0hidden",), "bind(\\x00hidden)"),
        ("bind", (("127.0.0.1",),), "bind(127.0.0.1:port)"),
        ("bind", (8080,), "bind(8080)"),
        ("listen", (5,), "listen(5)"),
        ("settimeout", (0.5,), "settimeout(0.5)"),
        ("settimeout", (None,), "settimeout(None)"),
        ("setblocking", (False,), "setblocking(False)"),
        ("setsockopt", (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1), "setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)"),
        ("setsockopt", (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0), "setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 0)"),
        ("setsockopt", (socket.IPPROTO_TCP, socket.TCP_NODELAY, True), "setsockopt(IPPROTO_TCP, TCP_NODELAY, True)"),
        ("setsockopt", (12345,), "setsockopt(12345)"),
        ("shutdown", (socket.SHUT_RD,), "shutdown(SHUT_RD)"),
        ("shutdown", (socket.SHUT_RDWR,), "shutdown(SHUT_RDWR)"),
        ("socket", (socket.AF_INET6, socket.SOCK_STREAM, -1), "socket(AF_INET6, SOCK_STREAM)"),
        ("close", (), "close()"),
    ],
)
def test_words_of_a_call(script: Script, name: str, args: tuple[Any, ...], words: str) -> None:
    script.call("server", script.socket("server"), name, *args)
    assert script.tell() == [f"server: {words}"]


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("recv", ConnectionResetError(errno.ECONNRESET, "reset"), "✗ ConnectionResetError"),
        ("recv", OSError(errno.ENOTCONN, "not connected"), "✗ OSError ENOTCONN"),
        ("recv", TimeoutError("timed out"), "✗ TimeoutError"),
        ("bind", OSError(errno.EADDRINUSE, "in use"), "✗ OSError EADDRINUSE"),
        ("bind", OverflowError("port must be 0-65535"), "✗ OverflowError"),
        ("bind", PermissionError(errno.EACCES, "no"), "✗ PermissionError"),
        ("accept", BlockingIOError(errno.EAGAIN, "nothing"), "✗ BlockingIOError"),
        ("connect", socket.gaierror(-2, "unknown"), "✗ gaierror"),
        ("sendall", OSError("without a number"), "✗ OSError"),
        ("recv", KeyboardInterrupt(), "ended"),
        ("accept", type("Ended", (KeyboardInterrupt,), {})(), "ended"),
    ],
)
def test_errors_are_named(script: Script, name: str, error: BaseException, words: str) -> None:
    script.call("server", script.socket("server"), name, error=error)
    assert script.tell() == [f"server: {name}() {words}"]


def test_windows_names_of_errors_are_the_common_ones(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(errno.errorcode, 10048, "WSAEADDRINUSE")
    script.call("server", script.socket("server"), "bind", ("", 1), error=OSError(10048, "in use"))
    assert script.tell() == ["server: bind(*:port) ✗ OSError EADDRINUSE"]


def test_a_wait_that_was_ended_and_one_that_goes_on(script: Script) -> None:
    listener = script.listener()
    script.returns(script.wait("server", listener, "accept"), error=KeyboardInterrupt())
    script.returns(script.wait("server", listener, "accept"), error=TimeoutError())
    script.wait("server", listener, "accept")
    assert script.tell() == [
        "server: accept() waits …",
        "server: … accept() ended",
        "server: accept() waits …",
        "server: … accept() ✗ TimeoutError",
        "server: accept() waits …",
    ]


def test_select_names_its_sockets(script: Script) -> None:
    listener, spare = script.listener(), script.socket("server", "spare")
    for sockets in (["listener", "spare"], [listener, spare]):  # by their names or as they are
        script.returns(script.wait("server", listener, "select", sockets, None), result=sockets[:1])
    script.call("server", listener, "select", [listener], 0.5, result=[])
    assert script.tell() == [
        "server: select([listener, spare]) waits …",
        "server: … select([listener, spare]) → [listener]",
        "server: select([listener, spare]) waits …",
        "server: … select([listener, spare]) → [listener]",
        "server: select([listener], 0.5) → []",
    ]


def test_unix_sockets(script: Script) -> None:
    path = "/tmp/some/where/chat.sock"
    listener, caller = script.listener(address=path), script.socket("client")
    call = Call("client", caller, "connect", (path,))
    script.recording.connected(caller, "", path, call)
    script.recording.add(call)
    accept = Call("server", listener, "accept", made=script.socket("server", "transfer"))
    assert accept.made is not None
    script.recording.connected(accept.made, path, "")
    script.recording.add(accept)
    script.call("server", accept.made, "close")
    assert script.tell() == [
        "client: connect(chat.sock) | connect  -> server",
        "server: accept() → transfer, from client",
        "server: transfer.close() | end end of stream -> client",
    ]


def test_datagrams_have_no_arrows(script: Script) -> None:
    end, other = script.socket("client", stream=False), script.socket("server", stream=False)
    call = script.call("client", end, "sendto", b"hello", HERE, result=5)
    script.recording.sent(call, 5)
    script.call("server", other, "recvfrom", 255, result=b"hello")
    script.call("client", end, "close")
    assert script.tell() == [
        "client: sendto(b'hello', 127.0.0.1:port)",
        "server: recvfrom(255) → b'hello'",
        "client: close()",
    ]


# ---------------------------------------------------------------------- which socket


def test_the_subject_is_named_where_the_call_does_not_tell(script: Script) -> None:
    first = script.listener(name="listener")
    caller = script.connect("client", script.socket("client", "s"))
    transfer = script.accept(first, caller, "transfer")
    script.call("server", first, "recv", 1, error=OSError(errno.ENOTCONN, ""))
    script.send(transfer, b"a")
    script.call("server", transfer, "settimeout", 1)
    script.call("client", caller, "settimeout", 1)
    assert [row.split(": ")[1].split("(")[0] for row in script.tell()] == [
        "connect",
        "accept",
        "listener.recv",  # a surprise
        "sendall",  # can only be transfer
        "transfer.settimeout",  # could be on either
        "settimeout",  # the client has one socket
    ]


def test_two_listeners_are_told_apart(script: Script) -> None:
    old, new, unnamed = script.listener(name="old"), script.listener(name="new"), script.listener(name=None)
    for end in (old, new, unnamed):
        script.wait("server", end, "accept")
    assert script.tell() == ["server: old.accept() waits …", "server: new.accept() waits …", "server: accept() waits …"]


def test_one_name_for_socket_after_socket_tells_nothing(script: Script) -> None:
    for _ in range(2):
        end = script.socket("client", "s")
        script.call("client", end, "socket", made=end)
        script.call("client", end, "close")
    assert script.tell() == ["client: socket() → s", "client: close()"] * 2


def test_a_socket_without_a_name_has_a_number(script: Script) -> None:
    listener = script.listener()
    script.accept(listener, None, None)
    assert script.tell() == ["server: accept() → socket 2, from 10.1.2.3:port"]


# ---------------------------------------------------------------------- arrows


def test_a_call_reaches_the_listener_before_it_is_accepted(script: Script) -> None:
    for address in (HERE, ("0.0.0.0", 40200), ("::", 40300)):
        script.listener(address=address)
    for address in (HERE, ("127.0.0.1", 40200), ("::1", 40300)):
        caller = script.connect("client", script.socket("client"), address)
        script.send(caller, b"early")
    assert [row.partition(" | ")[2] for row in script.tell()] == ["connect  -> server", "bytes 5 bytes -> server"] * 3


def test_a_call_that_waits_knocks_at_the_listener(script: Script) -> None:
    listener = script.listener()
    caller = script.socket("client", "s")
    call = script.wait("client", caller, "connect", HERE)
    script.connect("client", caller, call=call)
    script.accept(listener, caller, "transfer")
    assert script.tell()[:2] == [
        "client: connect(127.0.0.1:port) waits … | connect  -> server",
        "client: … connect(127.0.0.1:port)",
    ]


def test_a_call_to_nobody_in_the_record(script: Script) -> None:
    caller = script.connect("client", script.socket("client", "s"), ("93.184.216.34", 80))
    script.send(caller, b"hi")
    script.call("client", caller, "close")
    assert lines(str(script.diagram())) == lines("""
client
  ├ connect(93.184.216.34:port) ───▶ outside
  ├ sendall(b'hi') ─── 2 bytes ─▶ outside
  ├ close() ─── end of stream ─▶ outside""")


def test_a_call_to_oneself(script: Script) -> None:
    listener = script.listener("notebook")
    caller = script.connect("notebook", script.socket("notebook", "s"))
    script.accept(listener, caller, "transfer")
    script.send(caller, b"hi")
    assert script.tell() == [
        "notebook: s.connect(127.0.0.1:port) ───▶ itself",
        "notebook: accept() → transfer, from notebook",
        "notebook: s.sendall(b'hi') ─── 2 bytes ─▶ itself",
    ]


def test_a_refused_call(script: Script) -> None:
    script.listener()
    error = ConnectionRefusedError(errno.ECONNREFUSED, "refused")
    script.call("client", script.socket("client"), "connect", HERE, error=error)
    script.returns(script.wait("client", script.socket("client"), "connect", HERE), error=TimeoutError("timed out"))
    assert lines(str(script.diagram())) == lines("""
client
  ├ connect(127.0.0.1:port) ✗ ConnectionRefusedError ───╳
  ├ connect(127.0.0.1:port) waits …
  ├ … connect(127.0.0.1:port) ✗ TimeoutError ───╳""")


def test_connect_ex_returns_a_name(script: Script) -> None:
    script.listener()
    errors = [
        ConnectionRefusedError(errno.ECONNREFUSED, ""),
        BlockingIOError(errno.EINPROGRESS, ""),
        TimeoutError("timed out"),
        None,
    ]
    for error in errors:
        end = script.socket("client")
        end.peer = HERE if error is None else None
        script.call("client", end, "connect_ex", HERE, error=error)
    assert script.tell() == [
        "client: connect_ex(127.0.0.1:port) → ECONNREFUSED ───╳",
        "client: connect_ex(127.0.0.1:port) → EINPROGRESS | connect  -> server",
        "client: connect_ex(127.0.0.1:port) → EAGAIN ───╳",
        "client: connect_ex(127.0.0.1:port) → 0 | connect  -> server",
    ]


def test_how_receives_lie_on_sends(script: Script) -> None:
    caller, transfer = script.pair()
    script.send(caller, b"hello")
    script.send(caller, b"world")
    script.recv(transfer, b"hel", 3)
    script.recv(transfer, b"loworld")
    script.send(caller, b"one ")
    script.send(caller, b"two")
    script.recv(transfer, b"one two")
    script.send(caller, b"exactly")
    script.recv(transfer, b"exactly")
    assert [row for row in script.tell() if "recv" in row] == [
        "server: recv(3) → b'hel' (3 of 5 bytes)",
        "server: recv(255) → b'loworld' (parts of 2 sends)",
        "server: recv(255) → b'one two' (2 sends)",
        "server: recv(255) → b'exactly'",
    ]


def test_long_data_is_shortened(script: Script) -> None:
    caller, transfer = script.pair()
    data = b"The quick brown fox jumps over the lazy dog " * 30
    script.send(caller, data[:1200])
    script.recv(transfer, data[:1200], 4096)
    script.send(caller, b"x" * 24)
    script.recv(transfer, b"x" * 24)
    script.send(caller, b"x" * 25)
    script.recv(transfer, b"x" * 25)
    script.send(caller, bytearray(b"a buffer"))
    script.send(caller, b"")
    assert script.tell()[2:] == [
        "client: sendall(b'The quick brown …') | bytes 1,200 bytes -> server",
        "server: recv(4096) → b'The quick brown …' (1,200 bytes)",
        "client: sendall(b'xxxxxxxxxxxxxxxxxxxxxxxx') | bytes 24 bytes -> server",
        "server: recv(255) → b'xxxxxxxxxxxxxxxxxxxxxxxx'",
        "client: sendall(b'xxxxxxxxxxxxxxxx…') | bytes 25 bytes -> server",
        "server: recv(255) → b'xxxxxxxxxxxxxxxx…' (25 bytes)",
        "client: sendall(b'a buffer') | bytes 8 bytes -> server",
        "client: sendall(b'')",
    ]


def test_a_send_that_took_part_and_one_that_waited(script: Script) -> None:
    caller, transfer = script.pair()
    script.send(caller, b"yyyyy", 3, "send")
    call = Call("client", caller, "sendall", (shorten(b"y" * 300_000),), waited=True)
    script.recording.sent(call, 200_000)
    script.recording.add(call, waits=True)
    assert script.tell()[2:] == [
        "client: send(b'yyyyy') (3 of 5 bytes) | bytes 3 bytes -> server",
        "client: sendall(b'yyyyyyyyyyyyyyyy…') waits … | bytes first bytes -> server",
    ]
    script.recv(transfer, b"y" * 1002, 1002)
    script.recording.sent(call, 100_000)
    script.recording.add(call)
    assert script.tell()[4:] == [
        "server: recv(1002) → b'yyyyyyyyyyyyyyyy…' (1,002 bytes, parts of 2 sends)",
        "client: … sendall(b'yyyyyyyyyyyyyyyy…') | bytes 300,000 bytes in all -> server",
    ]


# ---------------------------------------------------------------------- how it ends


def ends(script: Script) -> list[str]:
    return [row for row in script.tell() if "close" in row or "shutdown" in row]


def test_the_stream_ends_once(script: Script) -> None:
    caller, transfer = script.pair()
    script.call("client", caller, "shutdown", socket.SHUT_RD)
    script.call("client", caller, "shutdown", socket.SHUT_WR)
    script.call("client", caller, "close")
    script.call("server", transfer, "close")
    script.call("server", transfer, "close")
    assert ends(script) == [
        "client: shutdown(SHUT_RD)",
        "client: shutdown(SHUT_WR) | end end of stream -> server",
        "client: close()",
        "server: transfer.close()",
        "server: transfer.close()",
    ]


def test_a_close_that_resets(script: Script) -> None:
    caller, transfer = script.pair()
    script.send(caller, b"unread")
    script.call("server", transfer, "close")
    assert ends(script) == ["server: transfer.close() | end hangs up -> client"]  # the client has not looked yet
    script.call("client", caller, "recv", 1, error=ConnectionResetError(errno.ECONNRESET, "reset"))
    assert ends(script) == ["server: transfer.close() | reset reset -> client"]
    assert script.tell()[-1] == "client: recv(1) ✗ ConnectionResetError"
    script.call("server", transfer, "close")
    assert ends(script)[1:] == ["server: transfer.close()"]


def test_a_close_after_bytes_were_read_outside_of_the_record(script: Script) -> None:
    caller, transfer = script.pair()
    script.send(caller, b"read by os.read")
    script.call("server", transfer, "close")
    script.recv(caller, b"")
    assert ends(script) == ["server: transfer.close() | end end of stream -> client"]


def test_a_rude_close(script: Script) -> None:
    caller, transfer = script.pair()
    script.call("client", caller, "setsockopt", socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    script.call("client", caller, "close")
    assert ends(script) == ["client: close() | end hangs up -> server"]
    script.call("server", transfer, "recv", 1, error=ConnectionResetError(errno.ECONNRESET, "reset"))
    assert ends(script) == ["client: close() | reset reset -> server"]


def test_used_outside_of_the_record(script: Script) -> None:
    caller, transfer = script.pair()
    script.send(caller, b"said")
    script.recv(transfer, b"said and whispered")
    assert str(script.diagram()).split("\n")[-2:] == [
        "  │                                          ├ recv(255) → b'said and whispered' *",
        "* transfer: also used outside the record; its bytes are not paired",
    ]


# ---------------------------------------------------------------------- much of it


def test_repeats_are_folded(script: Script) -> None:
    listener = script.listener()
    for _ in range(3):
        script.call("server", listener, "accept", error=BlockingIOError(errno.EAGAIN, ""))
    script.call("server", listener, "settimeout", 1)
    assert len(script.tell()) == 4
    for _ in range(1200):
        script.call("server", listener, "accept", error=BlockingIOError(errno.EAGAIN, ""))
    assert script.tell()[4:] == ["server: accept() ✗ BlockingIOError × 1,200"]


def test_only_the_last_rows(script: Script) -> None:
    caller, _ = script.pair()
    for number in range(40):
        script.send(caller, b"%d" % number)
    assert lines(str(script.diagram(last=2))) == lines("""
… 40 earlier rows not shown
client                            server
  ├ sendall(b'38') ───── 2 bytes ─▶ │
  ├ sendall(b'39') ───── 2 bytes ─▶ │""")
    for number in range(300):
        script.send(caller, b"%d" % number)
    assert str(script.diagram()).startswith("… 142 earlier rows not shown\nclient")
    assert len(script.diagram().rows) == 200
    assert len(script.diagram(last=1000).rows) == 342
    script.recording.dropped = 1000
    assert str(script.diagram(last=1000)).startswith("… 1,000 earlier rows not shown\nclient")


def test_only_some_cells(script: Script) -> None:
    caller, transfer = script.pair()
    script.recording.cell = 3
    script.send(caller, b"here")
    script.recording.cell = 4
    script.recv(transfer, b"here")
    assert script.tell(shown=lambda call: call.cell == 3) == ["client: sendall(b'here') | bytes 4 bytes -> server"]
    assert script.tell(shown=lambda call: call.cell == 4) == ["server: recv(255) → b'here'"]
    assert str(script.diagram(shown=lambda call: False)) == "no calls recorded yet"


def test_who_ran_beside_the_others(script: Script) -> None:
    listener = script.listener("serving")
    caller = script.connect("client", script.socket("client", "s"))
    script.accept(listener, caller, "transfer")
    assert str(script.diagram("client", certain=["client"])).endswith(
        "\ncalls of serving are ordered only by what is certain"
    )
    assert "certain" not in str(script.diagram("client"))


def test_ports_descriptors_and_paths_never_show(script: Script) -> None:
    caller, transfer = script.pair()
    script.call("client", caller, "sendto", b"x", ("127.0.0.1", 40123))
    script.call("server", transfer, "sendfile", open)
    script.call("server", transfer, "bind", ("::1", 40123, 0, 0), error=OSError(errno.EINVAL, "invalid"))
    script.call("server", transfer, "recv", socket.socket)
    both = str(script.diagram()) + script.diagram().svg()
    assert not re.search(r"40123|5000\d|777|0x|/tmp", both)


# ---------------------------------------------------------------------- both forms


def test_the_bundle_has_both_forms(script: Script) -> None:
    script.pair()
    diagram = script.diagram()
    assert diagram._repr_mimebundle_() == {"text/plain": str(diagram), "image/svg+xml": diagram.svg()}
    assert diagram._repr_mimebundle_(include=None, exclude=None).keys() == {"text/plain", "image/svg+xml"}


def test_a_diagram_is_a_snapshot(script: Script) -> None:
    caller, transfer = script.pair()
    diagram = script.diagram()
    before = diagram._repr_mimebundle_()
    script.send(caller, b"later")
    transfer.name = "renamed"
    assert diagram._repr_mimebundle_() == before


def test_the_picture_stands_alone(script: Script) -> None:
    caller, _ = script.pair()
    script.send(caller, b"hello")
    script.call("client", caller, "close")
    svg = script.diagram().svg()
    root = ElementTree.fromstring(svg)
    tags = [element.tag.partition("}")[2] for element in root.iter()]
    assert root.get("role") == "img"
    assert tags[1:3] == ["title", "desc"]
    assert root[0].text == "Sequence diagram, client, server"
    assert root[1].text == str(script.diagram())
    assert not {"style", "script", "image", "use", "a", "marker", "clipPath"} & set(tags)
    assert not re.search(r"\b(id|class|href|onload)=|url\(|<\?|\bNaN\b|\bnone\d", svg)
    assert svg.count("http") == 1  # the namespace
    assert min(int(size) for size in re.findall(r'font-size="(\d+)"', svg)) >= 14


def test_arrows_differ_by_more_than_colour(script: Script) -> None:
    caller, transfer = script.pair()
    script.send(caller, b"a")
    script.call("client", caller, "shutdown", socket.SHUT_WR)
    script.call("server", transfer, "close")
    script.call("client", caller, "recv", 1, error=ConnectionResetError())
    arrows = re.findall(r'<path d="M\d+ \d+H\d+" stroke="#\w+" fill="none" (.*?)/>', script.diagram().svg())
    assert len(arrows) == len(set(arrows)) == 4


def test_a_wait_is_a_bar_from_its_begin_to_its_end(script: Script) -> None:
    script.call("client", script.socket("client"), "listen", 1)
    listener = script.listener()
    script.returns(script.wait("server", listener, "accept"), error=TimeoutError())
    script.wait("server", listener, "accept")
    svg = script.diagram().svg()
    rows = {text: int(y) - 5 for y, text in re.findall(r'<text x="\d+" y="(\d+)">(.*?)</text>', svg)}
    bars = re.findall(r'd="M(\d+) (\d+)V(\d+)" stroke="#0072B2" fill="none" stroke-width="11"', svg)
    marks = re.findall(r'd="M(\d+) (\d+)m\S+ [^"]*" stroke="#0072B2" fill="(.*?)"', svg)
    assert [bar[:2] for bar in bars] == [(str(int(x) + 5), str(int(y) + 5)) for x, y, fill in marks if fill == "#fff"]
    assert int(bars[0][2]) == rows["… accept() ✗ TimeoutError"]
    assert int(bars[1][2]) > int(bars[1][1]) == rows["accept() waits …"]
    assert script.diagram(last=2).svg().count('stroke-width="11"') == 2  # the first began in a row that is not shown


def test_a_gap_has_room_for_what_stands_on_the_arrow(script: Script) -> None:
    _, transfer = script.pair()
    script.send(transfer, b"x" * 123_456_789)
    script.call("server", transfer, "close")
    assert lines(str(script.diagram(last=2))) == lines("""
… 2 earlier rows not shown
client                     server
  │ ◀─ 123,456,789 bytes ────┤ sendall(b'xxxxxxxxxxxxxxxx…')
  │ ◀─ end of stream ────────┤ transfer.close()""")


HOSTILE = b"</text><script>alert('1')</script>&amp;\x1b[31m\r\n\x00\x07\xff]]>"


def test_hostile_data(script: Script) -> None:
    caller, transfer = script.pair()
    for piece in (HOSTILE[:16], HOSTILE[16:30], HOSTILE[-16:], HOSTILE, b'"' * 20, b"'\"" * 9, b"\x00" * 24):
        script.send(caller, piece)
        script.recv(transfer, piece)
    script.call("client", caller, "bind", "/tmp/\x1b[2J\udcff\u202e<b>\ufffe")
    text, svg = str(script.diagram()), script.diagram().svg()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e\ud800-\udfff]", text + svg)
    assert "<script" not in svg
    assert "bind(\\x1b[2J\\udcff\\u202e<b>\\ufffe)" in spoken(svg)
    assert "sendall(b'</text><script>a')" in spoken(svg)
    assert max(map(len, text.split("\n"))) < 140
    svg.encode("utf-8")


SENDER, RECEIVER = 0, 1


def play(choices: Sequence[tuple[int, int, int]], shuffle: int) -> Script:
    """A record of some connections between several roles: numbered messages both ways, taken in any portions, waits,
    ends; each thread noted what it did in its own order, and the threads' notes are mixed."""
    script, pairs = Script(), list[tuple[Endpoint, Endpoint]]()
    listener = script.listener()
    for role in ("client", "caller 1", "client"):
        caller = script.connect(role, script.socket(role))
        pairs.append((caller, script.accept(listener, caller, f"transfer_{len(pairs)}")))
    flowing: dict[Endpoint, list[bytes]] = {end: [] for pair in pairs for end in pair}
    for number, (which, action, many) in enumerate(choices):
        ends = pairs[which % len(pairs)]
        one, other = (ends[0], ends[1]) if many % 2 else (ends[1], ends[0])
        if action < 4:
            script.send(one, b"%03d," % number)
            flowing[other].append(b"%03d," % number)
        elif action < 7:
            waits = script.wait(one.role, one, "recv", 24) if action == 6 else None
            if flowing[one]:
                data = b"".join(flowing[one][: many + 1])
                script.recv(one, data, 24, waits)
                del flowing[one][: many + 1]
        elif action == 7:
            script.call(one.role, one, "shutdown", socket.SHUT_WR)
        else:
            script.call(one.role, one, "recv", 24, error=TimeoutError())
    threads: dict[str, list[Any]] = {}
    for event in script.recording.events:
        threads.setdefault(event.call.role, []).append(event)
    chance = random.Random(shuffle)
    mixed = []
    while any(threads.values()):
        mixed.append(chance.choice([events for events in threads.values() if events]).pop(0))
    script.recording.events = mixed
    return script


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 8), st.integers(0, 5)), max_size=40),
    st.integers(0, 1000),
    st.sampled_from([("server", "client"), ("client", "server"), ("server",), ("caller 1", "server", "client")]),
)
def test_any_record(choices: list[tuple[int, int, int]], shuffle: int, roles: tuple[str, ...]) -> None:
    diagram = Diagram(play(choices, shuffle).recording, roles)
    text, svg = str(diagram), diagram.svg()
    # the same record gives the same words and the same picture
    again = Diagram(play(choices, shuffle).recording, roles)
    assert (str(again), again.svg()) == (text, svg)
    # lifelines are straight, and nothing trails
    head, *rows = text.split("\n")
    at = [head.index(role) + 2 for role in diagram.columns]
    assert at == sorted(at)
    assert len(rows) == len(diagram.rows)
    for row, line in zip(diagram.rows, rows, strict=True):
        assert line == line.rstrip()
        assert {line[x] for x in at} <= set("│├┤┼")
        assert line[at[diagram.columns.index(row.role)]] in "├┤"
        assert sum(line[x] in "├┤" for x in at) == 1
        assert row.text in line
        assert row.label in line
        if row.target:
            side = 2 if at[diagram.columns.index(row.target)] > at[diagram.columns.index(row.role)] else -2
            assert line[at[diagram.columns.index(row.target)] - side] == ("▶" if side > 0 else "◀")
    # nothing is received before it was sent, nor accepted before it was dialled
    sent: set[str] = set()
    dialled = dict.fromkeys(("client", "caller 1"), 0)
    for row in diagram.rows:
        if "sendall(" in row.text:
            sent.update(re.findall(r"\d{3}(?=,)", row.text))
        elif "recv(24) → b'" in row.text:
            assert set(re.findall(r"\d{3}(?=,)", row.text)) <= sent
        elif "connect(" in row.text:
            dialled[row.role] += 1
        elif "accept(" in row.text:
            dialled[row.text.partition("from ")[2]] -= 1
            assert min(dialled.values()) >= 0
    # the picture says what the text says
    words, told = spoken(svg).split("\n"), [row.text for row in diagram.rows]
    assert [word for word in words if word in told] == told
    assert set(diagram.columns) | {row.label for row in diagram.rows if row.label} <= set(words)


@given(st.binary(max_size=80), st.text(max_size=30))
def test_any_data(data: bytes, path: str) -> None:
    script = Script()
    caller, transfer = script.pair()
    script.send(caller, data)
    script.recv(transfer, data)
    script.call("client", caller, "bind", path)
    text, svg = str(script.diagram()), script.diagram().svg()
    assert all(character.isprintable() or character == "\n" for character in text)
    assert all(row.text in spoken(svg) for row in script.diagram().rows)
    if len(repr(data)) <= 27:
        assert f"recv(255) → {data!r}" in text
