"""The operating system's table: parsed, matched with the record, shown."""

import re
import socket
import struct
import sys
import time
import tracemalloc
from collections import namedtuple
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbval.plugin import IPyNbCell, get_sanitize_patterns

from helpers.kernel_view import (
    SocketRow,
    SocketTable,
    look,
    parse_inet,
    parse_unix,
    proc_source,
    psutil_source,
)
from helpers.recording import Endpoint

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/net")
LITTLE = pytest.mark.skipif(sys.byteorder != "little", reason="the samples were taken on a little-endian machine")
SANITIZE = dict(get_sanitize_patterns(Path(__file__).with_name("sanitize.cfg").read_text(encoding="ascii")))


def sanitize(text):
    """What nbval compares."""
    return IPyNbCell.sanitize(SimpleNamespace(parent=SimpleNamespace(sanitize_patterns=SANITIZE)), text)


class Stage:
    """Sockets of the standard module, with what the recorder would know of them."""

    def __init__(self):
        self.ends = []
        self.sockets = {}
        self.left = ExitStack()

    def make(self, role, name, family=socket.AF_INET, kind=socket.SOCK_STREAM, sock=None):
        sock = self.left.enter_context(sock or socket.socket(family, kind))
        end = Endpoint(len(self.ends) + 1, role, sock.type == socket.SOCK_STREAM, name, sock.fileno())
        self.ends.append(end)
        self.sockets[name] = sock
        return sock, end

    def listen(self, backlog=5, address=("127.0.0.1", 0), family=socket.AF_INET, name="listener"):
        sock, end = self.make("server", name, family)
        sock.bind(address)
        sock.listen(backlog)
        end.local, end.backlog = plain(sock.getsockname()), backlog
        return sock

    def dial(self, listener, name="caller", data=b"", address=None):
        sock, end = self.make("client", name, listener.family if address is None else socket.AF_INET)
        sock.connect(address or listener.getsockname())
        end.local, end.peer = plain(sock.getsockname()), plain(sock.getpeername())
        if data:
            sock.sendall(data)
        return sock

    def accept(self, listener, name="transfer"):
        sock, end = self.make("server", name, sock=listener.accept()[0])
        end.local, end.peer = plain(sock.getsockname()), plain(sock.getpeername())
        return sock

    def close(self, name, reset=False):
        sock = self.sockets[name]
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        next(end for end in self.ends if end.name == name).closed = True

    def look(self, **options):
        return look(self.ends, **options)

    def rows(self, **options):
        return [(r.name, r.role, r.state, r.unread) for r in self.look(**options).rows]


def plain(address):
    return (address[0].removeprefix("::ffff:"), address[1]) if isinstance(address, tuple) else address


@pytest.fixture
def stage():
    stage = Stage()
    with stage.left:
        yield stage


# ---------------------------------------------------------------------- the tables

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
TCP = f"""{HEADER}\
   0: 0100007F:9C40 00000000:0000 0A 00000000:00000002 00:00000000 00000000     0        0 37749 1 00000000ef1c6d62 100
   1: 0100007F:C350 0100007F:9C40 01 00000003:00000000 01:00000015 00000000  1000        0 37750 2 0000000000000000 20 4
   2: 0100007F:9C40 0100007F:C350 01 00000000:00000005 00:00000000 00000000     0        0 0 1 0000000000000000 20 4 30
   3: 0100007F:9C40 0100007F:C351 08 00000000:00000006 00:00000000 00000000     0        0 37751 1 0000000000000000 20 4
   4: 0100007F:C351 0100007F:9C40 04 00000001:00000000 01:00000014 00000000     0        0 0 1 0000000000000000 20 4 30
   5: 0100007F:C352 0100007F:9C40 06 00000000:00000000 03:00001770 00000000     0        0 0 3 0000000097bbb1d3
   6: 0100007F:C353 0100007F:9C40 02 00000001:00000000 01:00000064 00000000     0        0 37760 2 0000000000000000 100
   7: 0100007F:9C40 0100007F:C354 0C 00000000:00000000 01:00000064 00000000     0        0 0 1 0000000000000000 100 0 0
"""
REST = "00000000:00000000 00:00000000 00000000     0        0"
TCP6 = f"""{HEADER}\
   0: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A {REST} 4711 1 0000000000000000 100
   1: 00000000000000000000000001000000:B3D2 00000000000000000000000001000000:01BB 01 {REST} 4712 1 0000000000000000 20
   2: 0000000000000000FFFF00000100007F:01BB 0000000000000000FFFF00000100007F:8A06 01 {REST} 0 1 0000000000000000 20
   3: B80D01200000000000000000EFBE0000:0050 B80D0120000000000000000001000000:0051 06 {REST} 0 3 0000000000000000
"""
UNIX = """\
Num       RefCount Protocol Flags    Type St Inode Path
0000000093338169: 00000002 00000000 00010000 0001 01 37740 /run/the phone
0000000062b29d6e: 00000003 00000000 00000000 0001 02     0 /run/the phone
0000000062b29d6f: 00000003 00000000 00000000 0001 02     0 /run/the phone
000000008456dfdf: 00000003 00000000 00000000 0001 03 37743 /run/the phone
00000000073af234: 00000003 00000000 00000000 0001 03 37696
00000000fe4a20a5: 00000002 00000000 00010000 0001 01 37746 @hall
"""


@LITTLE
def test_tcp_table():
    rows = parse_inet(TCP)
    assert [row.state for row in rows] == [
        "LISTEN",
        "ESTABLISHED",
        "ESTABLISHED",
        "CLOSE_WAIT",
        "FIN_WAIT1",
        "TIME_WAIT",
        "SYN_SENT",
        "SYN_RECV",
    ]
    assert (rows[0].local, rows[0].peer, rows[0].owner) == ("127.0.0.1:40000", "", 37749)
    assert rows[0].queue == "2 waiting"
    assert rows[0].unread is None
    assert (rows[1].unacked, rows[2].unread, rows[2].owner) == (3, 5, 0)
    assert rows[3].unread == 5  # and a FIN, which the kernel counts
    assert rows[4].unacked == rows[6].unacked == 0  # a FIN, a SYN


@LITTLE
def test_tcp6_table():
    rows = parse_inet(TCP6)
    assert [(row.local, row.peer) for row in rows] == [
        ("[::]:443", ""),
        ("[::1]:46034", "[::1]:443"),
        ("[::ffff:127.0.0.1]:443", "[::ffff:127.0.0.1]:35334"),
        ("[2001:db8::beef]:80", "[2001:db8::1]:81"),
    ]
    assert [row.state for row in rows] == ["LISTEN", "ESTABLISHED", "ESTABLISHED", "TIME_WAIT"]
    assert [row.owner for row in rows] == [4711, 4712, 0, 0]


def test_unix_table():
    rows = parse_unix(UNIX)
    assert [(r.local, r.state, r.owner, r.queue) for r in rows] == [
        ("unix:/run/the phone", "connected", 0, None),
        ("unix:/run/the phone", "connected", 0, None),
        ("unix:/run/the phone", "LISTEN", 37740, "2 waiting"),
        ("unix:@hall", "LISTEN", 37746, "0 waiting"),
    ]


@LITTLE
def test_recorded_tables_are_matched(tmp_path):
    """IPv6 as it was read on another machine: found by the numbers of the connection, without a descriptor."""
    tmp_path.joinpath("tcp").write_text(TCP)
    tmp_path.joinpath("tcp6").write_text(TCP6)
    ends = [
        Endpoint(1, "server", name="gone", local=("::1", 443), peer=("::1", 46034), closed=True),
        Endpoint(2, "client", name="dialled", local=("127.0.0.1", 50002), peer=("127.0.0.1", 40000), closed=True),
    ]
    table = look(ends, source=lambda kinds: proc_source(kinds, str(tmp_path)), settle=0)
    assert [(r.name, r.role, r.state, r.local) for r in table.rows] == [
        ("(not recorded)", "outside", "ESTABLISHED", "[::1]:46034"),
        ("dialled (closed)", "kernel", "TIME_WAIT", "127.0.0.1:50002"),
    ]


# ---------------------------------------------------------------------- real sockets


@LINUX
def test_from_socket_to_listen(stage):
    sock, end = stage.make("server", "listener")
    assert stage.look().rows[0] == SocketRow("", "", "not connected", name="listener", role="server", fd=end.fd)
    sock.bind(("127.0.0.1", 0))
    end.local = sock.getsockname()
    row = stage.look().rows[0]
    assert (row.state, row.local, row.fd) == ("not connected", f"127.0.0.1:{end.local[1]}", sock.fileno())
    sock.listen(5)
    end.backlog = 5
    row = stage.look().rows[0]
    assert (row.state, row.peer, row.queue, row.unread) == ("LISTEN", "", "0 waiting, backlog 5", None)


@LINUX
def test_call_before_and_after_accept(stage):
    listener = stage.listen()
    stage.dial(listener, data=b"early")
    table = stage.look()
    assert [(r.name, r.role, r.state, r.unread, r.queue) for r in table.rows] == [
        ("listener", "server", "LISTEN", None, "1 waiting, backlog 5"),
        ("caller", "client", "ESTABLISHED", 0, None),
        ("(not yet accepted)", "kernel", "ESTABLISHED", 5, None),
    ]
    assert table.rows[2].fd is None
    assert (table.rows[2].local, table.rows[2].peer) == (table.rows[1].peer, table.rows[1].local)
    stage.accept(listener)
    table = stage.look()
    assert [(r.name, r.state, r.unread, r.queue) for r in table.rows] == [
        ("listener", "LISTEN", None, "0 waiting, backlog 5"),
        ("caller", "ESTABLISHED", 0, None),
        ("transfer", "ESTABLISHED", 5, None),
    ]
    assert table.rows[0].local == table.rows[2].local  # what lesson 02 is about
    assert table.footnotes == []


@LINUX
def test_names_are_the_learners(stage):
    stage.listen()
    assert look(stage.ends, names=lambda end: f"no. {end.number}").rows[0].name == "no. 1"


@LINUX
def test_queue_beyond_the_backlog(stage):
    """Linux lets backlog + 1 wait, and leaves the next one in SYN_SENT."""
    listener = stage.listen(backlog=1)
    stage.dial(listener, "first")
    stage.dial(listener, "second")
    third, _ = stage.make("client", "third")
    third.setblocking(False)
    assert third.connect_ex(listener.getsockname()) != 0
    table = stage.look()
    assert table.rows[0].queue == "2 waiting, backlog 1"
    assert (table.rows[3].name, table.rows[3].state) == ("third", "SYN_SENT")
    assert table.rows[3].local.startswith("127.0.0.1:")  # the recorder could not know it
    assert [r.name for r in table.rows[4:]] == ["(not yet accepted)"] * 2


@LINUX
@pytest.mark.parametrize(("asked", "shown"), [(-3, "backlog 0"), (10**6, "(1000000 asked for)")])
def test_backlog_has_a_limit(stage, asked, shown):
    stage.listen(backlog=asked)
    assert stage.look().rows[0].queue.endswith(shown)


@LINUX
def test_call_from_outside_the_record(stage):
    """Another program dials: curl, say."""
    listener = stage.listen()
    with socket.create_connection(listener.getsockname()) as other:
        assert stage.rows()[1:] == [("(not yet accepted)", "kernel", "ESTABLISHED", 0)]
        stage.accept(listener)
        other.sendall(b"hello")
        table = stage.look()
        assert [(r.name, r.role, r.state, r.unread) for r in table.rows[1:]] == [
            ("transfer", "server", "ESTABLISHED", 5),
            ("(not recorded)", "outside", "ESTABLISHED", 0),
        ]


@LINUX
def test_sockets_of_others_are_not_shown(stage):
    with socket.create_server(("127.0.0.1", 0)) as strange, socket.create_connection(strange.getsockname()):
        stage.listen()
        assert [row.name for row in stage.look().rows] == ["listener"]


@LINUX
def test_half_close(stage):
    listener = stage.listen()
    caller = stage.dial(listener, data=b"last")
    stage.accept(listener)
    caller.shutdown(socket.SHUT_WR)
    assert stage.rows()[1:] == [("caller", "client", "FIN_WAIT2", 0), ("transfer", "server", "CLOSE_WAIT", 4)]
    stage.sockets["transfer"].recv(9)
    assert stage.rows()[2] == ("transfer", "server", "CLOSE_WAIT", 0)
    stage.sockets["transfer"].shutdown(socket.SHUT_WR)  # both descriptors stay open
    assert stage.rows()[1:] == [("caller", "client", "TIME_WAIT", 0), ("transfer", "server", "CLOSED", 0)]


@LINUX
def test_what_a_closed_socket_leaves(stage):
    listener = stage.listen()
    stage.dial(listener)
    stage.accept(listener)
    stage.close("caller")
    assert stage.rows()[1:] == [
        ("transfer", "server", "CLOSE_WAIT", 0),
        ("caller (closed)", "kernel", "FIN_WAIT2", None),
    ]
    stage.close("transfer")
    assert stage.rows()[1:] == [("caller (closed)", "kernel", "TIME_WAIT", None)]
    stage.close("listener")
    assert stage.rows() == [("caller (closed)", "kernel", "TIME_WAIT", None)]


@LINUX
def test_server_that_closes_first(stage):
    listener = stage.listen()
    stage.dial(listener)
    stage.accept(listener)
    stage.close("transfer")
    stage.close("caller")
    assert stage.rows()[1:] == [("transfer (closed)", "kernel", "TIME_WAIT", None)]


@LINUX
def test_leftovers_of_another_recording_are_not_shown(stage):
    """TIME_WAIT at the very address of a listener that we know, of a connection that we don't."""
    listener = stage.listen()
    with socket.create_connection(listener.getsockname()) as caller:
        listener.accept()[0].close()
        assert caller.recv(1) == b""
    port, until = listener.getsockname()[1], time.monotonic() + 5
    while not any(r.state == "TIME_WAIT" and r.local.endswith(f":{port}") for r in proc_source({"tcp"})[0]):
        assert time.monotonic() < until
    assert [row.name for row in stage.look().rows] == ["listener"]


@LINUX
def test_caller_that_left_the_queue(stage):
    listener = stage.listen()
    stage.dial(listener, data=b"bye")
    stage.close("caller")
    assert stage.rows()[1:] == [
        ("(not yet accepted)", "kernel", "CLOSE_WAIT", 3),
        ("caller (closed)", "kernel", "FIN_WAIT2", None),
    ]


@LINUX
def test_reset(stage):
    listener = stage.listen()
    stage.dial(listener, data=b"abc")
    stage.accept(listener)
    stage.close("caller", reset=True)
    assert stage.rows()[1:] == [("transfer", "server", "CLOSED", 3)]  # Linux still gives the three bytes


@LINUX
def test_refused(stage):
    with socket.socket() as placeholder:
        placeholder.bind(("127.0.0.1", 0))
        caller, _ = stage.make("client", "caller")
        with pytest.raises(ConnectionRefusedError):
            caller.connect(placeholder.getsockname())
    row = stage.look().rows[0]
    assert (row.state, row.local, row.peer) == ("not connected", "", "")


@LINUX
def test_fin_wait1_is_passed_through(stage):
    """Linux acknowledges a FIN up to 0.2 s later; the table must not depend on how quickly it is looked at."""
    for _ in range(20):
        listener = stage.listen()
        caller, transfer = stage.dial(listener), stage.accept(listener)
        for _ in range(3):
            caller.sendall(b"ping")
            transfer.recv(4)
            transfer.sendall(b"pong")
            caller.recv(4)
        caller.close()
        stage.ends[-2].closed = True
        assert [row.state for row in stage.look().rows] == ["LISTEN", "CLOSE_WAIT", "FIN_WAIT2"]
        for sock in stage.sockets.values():
            sock.close()
        stage.ends.clear()


def test_looking_again_ends(stage):
    """A state that does not pass costs the given time, and no more."""
    stuck = SocketRow("127.0.0.1:1", "127.0.0.1:2", "FIN_WAIT1")
    end = Endpoint(1, "client", name="caller", local=("127.0.0.1", 1), peer=("127.0.0.1", 2), closed=True)
    looks = []
    start = time.monotonic()
    table = look([end], source=lambda kinds: looks.append(kinds) or ([stuck], []), settle=0.05)
    assert 0.04 < time.monotonic() - start < 1
    assert table.rows[0].state == "FIN_WAIT1"
    assert len(looks) > 1


def test_looking_until_two_looks_say_the_same():
    """A table that is read while sockets come and go may lack a row."""
    row = SocketRow("127.0.0.1:1", "127.0.0.1:2", "ESTABLISHED", owner=7)
    ends = [Endpoint(1, "client", name="caller", local=("127.0.0.1", 2), peer=("127.0.0.1", 1), closed=True)]
    tables = iter([[row], [], [row], [row], []])
    assert [r.name for r in look(ends, source=lambda kinds: (next(tables), []), settle=60).rows] == ["(not recorded)"]
    assert list(tables) == [[]]


def test_a_row_that_comes_twice_counts_once():
    rows, again = parse_inet(TCP), TCP.splitlines(keepends=True)[3].replace(":00000005", ":00000006")
    assert parse_inet(TCP + again) == [*rows[:2], replace(rows[2], unread=6), *rows[3:]]


def test_rows_of_other_ports_are_not_kept(tmp_path):
    """A busy machine's table has megabytes: looked at again and again, they would make the kernel's memory grow."""
    head, *rows = TCP.splitlines(keepends=True)
    ports = {row.split()[1][-4:] for row in rows}
    other = "9: 0100007F:0001 0100007F:0002 06 00000000:00000000 03:00000F9B 00000000 0 0 0 3 0000000000000000\n"
    tmp_path.joinpath("tcp").write_text(head + other * 20_000 + "".join(rows) + other * 20_000)
    tracemalloc.start()
    try:
        found, _ = proc_source({"tcp"}, str(tmp_path), ports)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == parse_inet(TCP)
    assert peak < tmp_path.joinpath("tcp").stat().st_size / 10


@LINUX
def test_descriptor_given_to_another_socket(stage):
    """os.close() behind the recorder's back: another socket now has the number."""
    listener = stage.listen()
    stage.sockets["listener"] = None
    fd = listener.detach()
    socket.close(fd)
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert other.fileno() == fd
        assert stage.look().rows == []
    with Path(__file__).open() as other:
        assert other.fileno() == fd
        assert stage.look().rows == []
    assert stage.look().rows == []


@LINUX
def test_descriptor_used_again(stage):
    """A socket that went unnoticed, and a later one with its number: only the later one has it."""
    stage.ends.append(Endpoint(0, "server", name="lost", fd=stage.make("server", "new")[1].fd))
    stage.ends.reverse()
    assert [row.name for row in stage.look().rows] == ["new"]


@LINUX
def test_descriptor_handed_on(stage):
    """detach(), as ssl does: the connection lives, the record does not see it."""
    listener = stage.listen()
    stage.dial(listener)
    transfer = stage.accept(listener)
    with socket.socket(fileno=transfer.detach()):
        stage.ends[-1].closed = True
        assert stage.rows()[2:] == [("(not recorded)", "outside", "ESTABLISHED", 0)]


@LINUX
def test_looking_changes_nothing(stage):
    listener = stage.listen()
    socket.setdefaulttimeout(5)
    try:
        stage.look()
    finally:
        socket.setdefaulttimeout(None)
    assert listener.getblocking()
    assert listener.gettimeout() is None


@LINUX
@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_one_listener_for_both_families(stage):
    sock, end = stage.make("server", "both", socket.AF_INET6)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    try:
        sock.bind(("::", 0))
    except OSError as problem:
        pytest.skip(f"no IPv6: {problem}")
    sock.listen(5)
    end.local, end.backlog = sock.getsockname()[:2], 5
    four = stage.dial(sock, "four", b"4444", address=("127.0.0.1", end.local[1]))
    table = stage.look()
    assert [(r.name, r.state, r.unread) for r in table.rows] == [
        ("both", "LISTEN", None),
        ("four", "ESTABLISHED", 0),
        ("(not yet accepted)", "ESTABLISHED", 4),
    ]
    assert table.rows[0].local == f"[::]:{end.local[1]}"
    assert table.rows[2].peer == f"[::ffff:127.0.0.1]:{four.getsockname()[1]}"
    stage.accept(sock)
    stage.close("four")
    assert stage.rows()[1:] == [("transfer", "server", "CLOSE_WAIT", 4), ("four (closed)", "kernel", "FIN_WAIT2", None)]


@LINUX
def test_unix_domain(stage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    listener = stage.listen(2, "phone", socket.AF_UNIX)
    stage.dial(listener, data=b"abc")
    table = stage.look()
    assert [(r.name, r.local, r.peer, r.state, r.unread, r.queue) for r in table.rows] == [
        ("listener", "unix:phone", "", "LISTEN", None, "1 waiting, backlog 2"),
        ("caller", "unix:unnamed", "unix:phone", "connected", 0, None),
        ("(not yet accepted)", "unix:phone", "unix:unnamed", "connected", None, None),
    ]
    assert table.footnotes == []
    stage.accept(listener)
    assert stage.rows()[1:] == [("caller", "client", "connected", 0), ("transfer", "server", "connected", 3)]


@LINUX
def test_socketpair(stage):
    for name, sock in zip(("one", "other"), socket.socketpair(), strict=True):
        stage.make("client", name, sock=sock)[1].peer = ""  # as the recorder has it
    stage.sockets["one"].sendall(b"ab")
    assert stage.rows() == [("one", "client", "connected", 0), ("other", "client", "connected", 2)]


@LINUX
def test_abstract_unix_name(stage):
    stage.listen(2, b"\0course-of-sockets-test", socket.AF_UNIX)
    row = stage.look().rows[0]
    assert (row.local, row.state, row.queue) == ("unix:@course-of-sockets-test", "LISTEN", "0 waiting, backlog 2")


def test_long_unix_path_is_cut(stage):
    _, end = stage.make("server", "hall")
    end.local, end.peer = "/a/very/long/path/to/some/where/phone", ""
    row = stage.look(source=lambda kinds: ([], [])).rows[0]
    assert (row.local, row.peer) == ("unix:...h/to/some/where/phone", "unix:unnamed")


@LINUX
def test_datagrams(stage):
    post, end = stage.make("server", "post", kind=socket.SOCK_DGRAM)
    post.bind(("127.0.0.1", 0))
    end.local = post.getsockname()
    card, _ = stage.make("client", "card", kind=socket.SOCK_DGRAM)
    assert stage.look().rows[1].local == ""
    card.sendto(b"hello", end.local)
    card.sendto(b"hello again", end.local)
    line, _ = stage.make("client", "line", kind=socket.SOCK_DGRAM)
    line.connect(end.local)
    table = stage.look()
    assert [(r.name, r.state, r.unread) for r in table.rows] == [
        ("post", "datagrams", 5),
        ("card", "datagrams", 0),
        ("line", "datagrams, connected", 0),
    ]
    assert table.rows[1].local == f"0.0.0.0:{card.getsockname()[1]}"
    assert table.rows[2].peer == table.rows[0].local


# ---------------------------------------------------------------------- other systems


@LINUX
def test_psutil_tells_the_same_states(stage):
    listener = stage.listen()
    stage.dial(listener, data=b"five5")
    stage.dial(listener, "second")
    stage.accept(listener)
    stage.close("caller")
    stage.make("client", "fresh")
    proc, other = stage.look(), stage.look(source=psutil_source)
    assert [(r.name, r.role, r.state, r.local, r.peer) for r in proc.rows] == [
        (r.name, r.role, r.state, r.local, r.peer) for r in other.rows
    ]
    assert other.rows[0].queue is None
    assert other.footnotes == [
        "queue: this system does not tell how many calls wait.",
        "unread: this system does not tell it of every connection.",
    ]
    assert str(other).splitlines()[0].endswith("queue")


Address = namedtuple("Address", "ip port")
Connection = namedtuple("Connection", "fd laddr raddr status pid")
Own = namedtuple("Own", "fd laddr raddr status")


def test_access_denied(stage, monkeypatch):
    """macOS without privilege: the own process is told, calls in the queue and TIME_WAIT are not."""
    listener = stage.listen()
    stage.dial(listener)
    caller, (dialling, _) = stage.sockets["caller"], stage.make("client", "dialling")
    here, there = Address(*listener.getsockname()), Address(*caller.getsockname())

    def denied(kind):
        raise psutil.AccessDenied

    class Process:
        def net_connections(self, kind):
            yield Own(listener.fileno(), here, (), "LISTEN")
            yield Own(caller.fileno(), there, here, "ESTABLISHED")
            yield Own(dialling.fileno(), Address("127.0.0.1", 4), here, "SYN_SENT")
            yield Own(99, Address("fe80::1%lo0", 1), (), "NONE")
            yield Own(98, (), (), "CLOSE")

    monkeypatch.setattr(psutil, "net_connections", denied)
    monkeypatch.setattr(psutil, "Process", Process)
    table = stage.look(source=psutil_source)
    assert [(r.name, r.state) for r in table.rows] == [
        ("listener", "LISTEN"),
        ("caller", "ESTABLISHED"),
        ("dialling", "SYN_SENT"),
    ]
    assert table.footnotes[0].startswith("Without privilege")
    assert len(table.footnotes) >= 2


def test_no_descriptors_told(stage, monkeypatch):
    """Windows: rows have no descriptors; process 0 owns TIME_WAIT; what waits in the queue is the process's own."""
    listener = stage.listen()
    stage.dial(listener)
    stage.dial(listener, "second")
    stage.accept(listener)
    stage.close("caller")
    here = Address(*listener.getsockname())
    caller, second = (Address(*end.local) for end in stage.ends[1:3])
    me = psutil.Process().pid
    monkeypatch.setattr(
        psutil,
        "net_connections",
        lambda kind: [
            Connection(-1, caller, here, "TIME_WAIT", 0),
            Connection(-1, here, second, "ESTABLISHED", me),
            Connection(-1, second, here, "ESTABLISHED", me),
            Connection(-1, here, caller, "CLOSE_WAIT", me),
            Connection(-1, here, (), "LISTEN", me),
            Connection(-1, Address("0.0.0.0", 5000), (), "LISTEN", 4),
            Connection(-1, here, Address("127.0.0.1", 1), "ESTABLISHED", 4242),
        ],
    )
    table = stage.look(source=psutil_source)
    assert [(r.name, r.role, r.state) for r in table.rows] == [
        ("listener", "server", "LISTEN"),
        ("second", "client", "ESTABLISHED"),
        ("transfer", "server", "CLOSE_WAIT"),
        ("caller (closed)", "kernel", "TIME_WAIT"),
        ("(not yet accepted)", "kernel", "ESTABLISHED"),
        ("(not recorded)", "outside", "ESTABLISHED"),
    ]


@pytest.mark.parametrize(
    "problem", [PermissionError(13, "no"), FileNotFoundError(2, "no /proc"), ValueError("odd row"), psutil.Error()]
)
def test_unreadable_table(stage, problem):
    """Then the record's own knowledge is shown, and that it is."""

    def broken(kinds):
        raise problem

    listener = stage.listen()
    stage.dial(listener)
    stage.accept(listener)
    stage.make("client", "fresh")
    table = stage.look(source=broken)
    assert [(r.name, r.state) for r in table.rows] == [
        ("listener", "LISTEN"),
        ("caller", "connected"),
        ("transfer", "connected"),
        ("fresh", "not connected"),
    ]
    assert table.rows[0].local == table.rows[2].local == f"127.0.0.1:{listener.getsockname()[1]}"
    assert table.footnotes == [
        f"The system's table can't be read ({type(problem).__name__}): what is shown is what the record knows."
    ]


def test_missing_and_odd_files(stage, tmp_path):
    stage.listen()
    for text in (None, "header\nnonsense\n", "header\n" + "x " * 12 + "\n"):
        if text is not None:
            tmp_path.joinpath("tcp").write_text(text)
        table = stage.look(source=lambda kinds: proc_source(kinds, str(tmp_path)))
        assert (table.rows[0].state, len(table.footnotes)) == ("LISTEN", 1)


# ---------------------------------------------------------------------- how it is shown


def test_nothing_to_show():
    table = look([], source=lambda kinds: ([], []))
    assert str(table) == "No socket is open."
    assert table._repr_mimebundle_() == {"text/plain": "No socket is open.", "text/html": "<p>No socket is open.</p>"}


def example(server_port=5000, client_port=50000, descriptors=(3, 4)):
    listener, caller = f"127.0.0.1:{server_port}", f"127.0.0.1:{client_port}"
    six = f"[::1]:{client_port}"
    return SocketTable(
        [
            SocketRow(
                listener, "", "LISTEN", queue="1 waiting, backlog 5", name="listener", role="server", fd=descriptors[0]
            ),
            SocketRow(caller, listener, "ESTABLISHED", unread=0, name="caller", role="client", fd=descriptors[1]),
            SocketRow("", "", "not connected", name="socket 3", role="client", fd=descriptors[0]),
            SocketRow(
                "unix:unnamed", "unix:phone", "connected", unread=12, name="guest", role="caller 2", fd=descriptors[1]
            ),
            SocketRow(
                six, f"[::ffff:127.0.0.1]:{server_port}", "CLOSE_WAIT", unread=3, name="six", role="client", fd=8
            ),
            SocketRow(listener, caller, "ESTABLISHED", unread=5, name="(not yet accepted)", role="kernel"),
        ],
        [],
    )


def test_text_form():
    table = example()
    del table.rows[2:5]
    assert str(table).splitlines() == [
        "name                role      fd  local address    peer address     state        unread  queue",
        "listener            server     3  127.0.0.1:5000   -                LISTEN            -  1 waiting, backlog 5",
        "caller              client     4  127.0.0.1:50000  127.0.0.1:5000   ESTABLISHED       0  -",
        "(not yet accepted)  kernel     -  127.0.0.1:5000   127.0.0.1:50000  ESTABLISHED       5  -",
    ]


def test_empty_columns_are_left_out():
    table = SocketTable([SocketRow("", "", "not connected", name="caller", role="client", fd=7)], [])
    assert str(table).splitlines()[0].split() == ["name", "role", "fd", "local", "address", "state"]
    assert table._repr_html_().count('<th scope="col"') == 5
    table.footnotes.append("queue: not told.")
    assert str(table).splitlines()[0].endswith("queue")
    assert str(table).splitlines()[-1] == "queue: not told."


def test_html_form():
    table = example()
    table.rows[0].name = "<b>&"
    html = table._repr_html_()
    assert "&lt;b&gt;&amp;" in html
    assert html.count('<th scope="col"') == 8
    assert html.count('<th scope="row"') == len(table.rows)
    assert "<caption" in html
    assert '127.0.0.1:<b class="port">5000</b>' in html
    assert "#0072B2" in html
    assert "</span>server" in html
    assert "<style" not in html
    assert "white;" not in html


@given(
    ports=st.tuples(st.integers(1, 65535), st.integers(1, 65535)),
    descriptors=st.tuples(st.integers(0, 999999), st.integers(0, 999999)),
)
def test_layout_does_not_depend_on_digits(ports, descriptors):
    """What nbval compares, after tests/sanitize.cfg, is the same for all ports and descriptors."""
    first, second = example()._repr_mimebundle_(), example(*ports, descriptors)._repr_mimebundle_()
    for form in ("text/plain", "text/html"):
        assert sanitize(first[form]) == sanitize(second[form])
        for number in (*ports, *descriptors):
            assert number < 20000 or not re.search(rf"(?<![#\d]){number}(?!\d)", sanitize(second[form]))


@pytest.mark.parametrize(
    "text",
    [
        "name    role   unread  queue\ncaller  client      12  3 waiting, backlog 5",
        "caller  client     -  127.0.0.1:PORT -                CLOSE_WAIT       1234  -",
        "5 bytes  -  and 12  - more",
        "10.1.2.3:80 and [2001:db8::1]:80",
        '<td class="unread" style="x">12</td><td class="queue" style="x">3</td>',
    ],
)
def test_sanitizing_is_narrow(text):
    assert sanitize(text) == text


def story():
    """What the table says after each step of a whole story, as nbval compares it."""
    stage = Stage()
    with stage.left:
        listener = stage.listen()
        steps = (
            lambda: [stage.dial(listener, f"caller{n}", b"x" * n) for n in range(3)],
            lambda: stage.accept(listener),
            lambda: stage.close("caller0"),
            lambda: stage.close("caller1"),
            lambda: stage.accept(listener, "second"),
            lambda: stage.close("transfer"),
            lambda: stage.close("second", reset=True),
        )
        for step in steps:
            step()
            table = stage.look()
            yield sanitize(str(table))
            yield sanitize(table._repr_html_())


@LINUX
def test_the_same_in_every_run():
    first = list(story())
    for _ in range(19):
        assert list(story()) == first
