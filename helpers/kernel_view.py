"""What the operating system says of this process's sockets: its own table, under the learner's names.

`look(ends)` takes a snapshot: a row for each open socket of the record, then what the kernel keeps around them: calls
that nobody has accepted yet, what a closed socket left behind (TIME_WAIT …), far ends outside the record.  Sockets of
this process that touch none of these (the Jupyter kernel's own) are never shown.

Linux: the tables under /proc/net (proc(5)).  Elsewhere: psutil, which tells less; what it does not tell is left empty.
"""

from __future__ import annotations

import os
import re
import socket
import stat
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from html import escape
from operator import itemgetter
from pathlib import Path
from typing import Any

from helpers.colours import COLOURS, MORE_COLOURS
from helpers.recording import Endpoint

#: tcp(7)'s states in the order of the kernel's numbers, spelled as in netstat(8); its CLOSE is RFC 9293's CLOSED
STATES = ["", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT"]
STATES += ["CLOSED", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "SYN_RECV"]
LEFT = {"FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "LAST_ACK", "CLOSING"}  #: a closed socket may be in one of these
QUEUED = {"ESTABLISHED", "CLOSE_WAIT", "SYN_RECV", "connected"}  #: so may a call that nobody has accepted yet
PASSING = {"FIN_WAIT1", "LAST_ACK", "CLOSING", "SYN_RECV"}  #: until a packet comes, which Linux delays: 0.2 s, or more
PORT = re.compile(r"(?<=[\d\]]):(\d{1,5})$")
COLUMNS = {"name": "name", "role": "role", "fd": "fd", "local": "local address", "peer": "peer address"}
COLUMNS |= {"state": "state", "unread": "unread", "queue": "queue"}
NUMBERS = {"fd", "unread"}
KINDS = COLOURS | {"kernel": "#999999", "outside": "#999999"}  #: whose a row is, by colour; other roles are green
SMALL = "font-size:13px;opacity:0.8;text-align:left;margin:0;padding:2px 6px"


@dataclass(slots=True)
class SocketRow:
    """A row of the table; "" and None mean that there is nothing to tell.

    `unread`: bytes that recv() would get (of datagrams, the next); `unacked`: bytes that the other side has not yet
    confirmed (not shown: it changes by itself); `owner`: whose socket it is (Linux: its inode; elsewhere a descriptor
    of ours, or a process), 0 if no program has it open.
    """

    local: str
    peer: str
    state: str
    owner: object = 0
    unread: int | None = None
    unacked: int | None = None
    queue: str | None = None
    name: str = ""
    role: str = ""
    fd: int | None = None


Source = Callable[[Collection[str]], tuple[list[SocketRow], list[str]]]  #: tables that matter → rows, footnotes


def written(address: Any) -> str:
    """An address of the socket module as ss(8) writes it."""
    if isinstance(address, tuple) and len(address) > 1:
        host, port = str(address[0]).partition("%")[0], address[1]
        return "" if not port else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if address is None:
        return ""
    path = "@" + address.strip(b"\0").decode(errors="replace") if isinstance(address, bytes) else str(address)
    return "unix:" + (path if 0 < len(path) <= 24 else "..." + path[-21:] if path else "unnamed")


def plain(address: str) -> str:
    """An address as a key; an IPv4 one that came over an IPv6 listener counts in its own form."""
    return address.replace("[::ffff:", "").replace("]", "")


def reaches(address: str, listeners: Collection[str]) -> bool:
    """Does one of `listeners` listen at `address`, or at all addresses with its port?  (All of them are keys.)"""
    port = address.rpartition(":")[2]
    return any(at in listeners for at in (address, f"0.0.0.0:{port}", f"[:::{port}"))


def _pair(local: str, peer: str) -> tuple[str, str]:
    return plain(local), plain(peer)


def parse_inet(text: str) -> list[SocketRow]:
    """The rows of /proc/net/tcp, tcp6, udp or udp6 (proc(5)): hexadecimal, addresses in this machine's byte order.

    The kernel writes them a page at a time: where sockets come and go meanwhile, a row may come twice (or not at all).
    A listener's rx_queue is the length of its accept queue; else it is bytes.  A FIN counts as a byte of both queues
    and a SYN as one of tx_queue; they are no data, and taken off.
    """
    rows = dict[object, SocketRow]()
    for line in text.splitlines()[1:]:
        _, local, peer, code, queues, _, _, _, _, inode, *_ = line.split()
        state, (sent, received) = STATES[int(code, 16)], (int(part, 16) for part in queues.split(":"))
        row = SocketRow(_unhex(local), _unhex(peer), state, int(inode))
        if state == "LISTEN":
            row.queue = f"{received} waiting"
        else:
            row.unacked = max(0, sent - (state in PASSING or state == "SYN_SENT"))
            row.unread = max(0, received - (state in {"CLOSE_WAIT", "LAST_ACK", "CLOSING"}))
        rows[local, peer, inode] = row
    return list(rows.values())


def _unhex(text: str) -> str:
    digits, port = text.split(":")
    words = [int(digits[n : n + 8], 16).to_bytes(4, sys.byteorder) for n in range(0, len(digits), 8)]
    return written((socket.inet_ntop(socket.AF_INET6 if words[1:] else socket.AF_INET, b"".join(words)), int(port, 16)))


def parse_unix(text: str) -> list[SocketRow]:
    """Of /proc/net/unix (proc(5)): the listeners (flag __SO_ACCEPTCON), and the calls that nobody has accepted yet
    (state 02, no inode, the listener's path)."""
    fields = [found for line in text.splitlines()[1:] if len(found := line.split(maxsplit=7)) == 8]
    rows = [SocketRow(written(f[7]), written(""), "connected") for f in fields if f[5:7] == ["02", "0"]]
    count = Counter(row.local for row in rows)
    listeners = [(written(f[7]), int(f[6])) for f in fields if int(f[3], 16) & 0x10000]
    return rows + [SocketRow(path, "", "LISTEN", inode, queue=f"{count[path]} waiting") for path, inode in listeners]


def _of_ports(rows: Iterable[bytes], ports: Collection[bytes]) -> Iterator[bytes]:
    for row in rows:
        _, local, peer, _ = row.split(None, 3)
        if local[-4:] in ports or peer[-4:] in ports:
            yield row


def proc_source(
    kinds: Collection[str], folder: str = "/proc/net", ports: Collection[str] = ()
) -> tuple[list[SocketRow], list[str]]:
    """Linux: the tables under /proc/net, each read from its beginning to its end; all rows, or those with `ports` (four
    hexadecimal digits each).  Then those of others, of which a busy machine has megabytes, are let go line by line."""
    wanted, texts = {port.encode() for port in ports}, dict[str, str]()
    for kind in sorted(kinds):
        with Path(folder, kind).open("rb") as table:
            kept = [table.readline(), *_of_ports(table, wanted)] if wanted and kind != "unix" else [table.read()]
        texts[kind] = b"".join(kept).decode(errors="replace")
    rows = [parse_unix(text) if kind == "unix" else parse_inet(text) for kind, text in texts.items()]
    return [row for some in rows for row in some], []


def psutil_source(kinds: Collection[str]) -> tuple[list[SocketRow], list[str]]:
    """Other systems: psutil's list of the whole system, or (macOS without privilege) of this process alone."""
    import psutil

    notes, rows, me = [], [], os.getpid()
    found: list[tuple[Any, int]]  # psutil's sconn, or its pconn, which has no process
    try:
        found = [(item, item.pid or 0) for item in psutil.net_connections("inet")]
    except psutil.AccessDenied:
        found = [(item, me) for item in psutil.Process().net_connections("inet")]
        notes = ["Without privilege, this system shows only the connections that this program has open."]
    for item, pid in found:
        owner = (("fd", item.fd) if item.fd >= 0 else 0) if pid == me else pid and ("process", pid)
        rows.append(SocketRow(written(item.laddr or None), written(item.raddr or None), item.status, owner))
    return rows, notes


def _inode(end: Endpoint) -> int | None:
    """Which of the system's sockets the descriptor is (fstat(2)); 0: not known; None: no socket any more."""
    if sys.platform == "win32":
        return 0
    else:
        try:
            status = os.fstat(end.fd)
            return status.st_ino if stat.S_ISSOCK(status.st_mode) else None
        except OSError:
            return None


def _unread(end: Endpoint) -> int | None:
    """The bytes that recv() would get: FIONREAD (tcp(7), udp(7)).  Of datagrams, other systems count addresses too."""
    if sys.platform == "linux" or (sys.platform == "darwin" and end.stream):
        import fcntl
        import termios

        try:
            return int.from_bytes(fcntl.ioctl(end.fd, termios.FIONREAD, bytes(4)), sys.byteorder)
        except OSError:  # a listener
            pass
    return None


@dataclass(slots=True)
class SocketTable:
    """A snapshot, as text and as HTML; neither's layout depends on how many digits a port or a descriptor has."""

    rows: list[SocketRow]
    footnotes: list[str]

    def _columns(self) -> dict[str, list[str]]:
        """The cells of each column that is always there, or has a footnote, or isn't empty."""
        cells = {c: ["-" if (v := getattr(row, c)) in ("", None) else str(v) for row in self.rows] for c in COLUMNS}
        kept = {"name", "role", "fd", "local", *(note.partition(":")[0] for note in self.footnotes)}
        return {c: cells[c] for c in COLUMNS if c in kept or set(cells[c]) - {"-"}}

    def __str__(self) -> str:
        padded = []
        for column, cells in self._columns().items() if self.rows else ():
            cells = [COLUMNS[column], *cells]
            width = 4 if column == "fd" else max(len(PORT.sub(":65535", cell)) for cell in cells)
            padded.append([c.rjust(width) if column in NUMBERS else c.ljust(width) for c in cells])
        lines = ["  ".join(line).rstrip() for line in zip(*padded, strict=True)] or ["No socket is open."]
        return "\n".join([*lines, *self.footnotes])

    def _repr_html_(self) -> str:
        notes = "".join(f'<p style="{SMALL}">{escape(note)}</p>' for note in self.footnotes)
        if not self.rows:
            return f"<p>No socket is open.</p>{notes}"
        columns = self._columns()
        head = "".join(_cell(column, COLUMNS[column], "col") for column in columns)
        lines = [map(_cell, columns, cells) for cells in zip(*columns.values(), strict=True)]
        body = "\n".join(f"<tr>{''.join(line)}</tr>" for line in lines)
        return (
            '<div style="overflow-x:auto"><table style="margin:4px 0;border-collapse:collapse">'
            f'<caption style="caption-side:top;{SMALL}">What the operating system says of these sockets</caption>\n'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>{notes}"
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self._repr_html_()}


def _cell(column: str, text: str, scope: str = "") -> str:
    style = f"font-size:14px;padding:4px 6px;white-space:nowrap;text-align:{'right' if column in NUMBERS else 'left'}"
    scope, inner = scope or ("row" if column == "name" else ""), escape(text)
    if scope:
        weight = "normal" if "(" in text else "bold"  # what is no variable of the learner's is set back
        return f'<th scope="{scope}" style="{style};font-weight:{weight}">{inner}</th>'
    if column == "role":
        square = "display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:6px"
        inner = f'<span style="{square};background-color:{KINDS.get(text, MORE_COLOURS[0])}"></span>{inner}'
    elif column in {*NUMBERS, "local", "peer"}:
        style += ";font-family:monospace;font-family:var(--jp-code-font-family,monospace)"
        inner = PORT.sub(r':<b class="port">\1</b>', inner)
    return f'<td class="{column}" style="{style}">{inner}</td>'


def look(
    ends: Iterable[Endpoint],
    names: Callable[[Endpoint], str] = lambda end: end.label,
    source: Source | None = None,
    settle: float = 1.0,
) -> SocketTable:
    """The system's table of the sockets `ends`, called by `names`.

    It looks again while a socket is in a state that it only passes through, now FIN_WAIT1, now FIN_WAIT2, for `settle`
    seconds at most; and until it sees the same twice, for five times as long: no system's table is of one instant.
    """
    ends, source = list(ends), source or (proc_source if sys.platform == "linux" else psutil_source)
    began, before = time.monotonic(), ""
    while True:
        table = _snapshot(ends, names, source)
        passing, now = any(row.state in PASSING for row in table.rows), str(table)
        limit = (settle if passing else 0) if now == before else 5 * settle
        if time.monotonic() - began >= limit:
            return table
        if before:
            time.sleep(0.01)
        before = now


def _snapshot(ends: list[Endpoint], names: Callable[[Endpoint], str], source: Source) -> SocketTable:
    recorded = [_pair(written(end.local), written(end.peer)) for end in ends]
    kinds = {"unix" if a[:5] == "unix:" else "tcp6" if a[:1] == "[" else "tcp" for pair in recorded for a in pair}
    try:
        told, notes = source(kinds if all(end.stream for end in ends) else kinds | {"udp", "udp6"})
        complete = True
    except Exception as problem:  # whatever a system without /proc, or a guarded one, comes up with
        why = f"The system's table can't be read ({type(problem).__name__})"
        told, notes, complete = [], [f"{why}: what is shown is what the record knows."], False
    owned = {row.owner: row for row in told if row.owner}
    pairs = [_pair(row.local, row.peer) for row in told]
    joined = dict(zip(reversed(pairs), reversed(told), strict=True))
    newest = {end.fd: end for end in ends if not end.closed and end.fd >= 0}
    known: dict[tuple[str, str], Endpoint] = {}
    rows, used, listeners = [], set(), set()

    for end, pair in zip(ends, recorded, strict=True):
        if newest.get(end.fd) is end and (inode := _inode(end)) is not None:
            seen = owned.get(inode) or owned.get(("fd", end.fd))
            if not seen and (pair[1] or end.backlog is not None):
                seen = joined.get(pair)  # no descriptor belongs to TIME_WAIT; Windows tells of none
            row = _describe(end, seen or SocketRow("", "", ""), complete)
            if not pair[0] or row.local.rpartition(":")[2] == pair[0].rpartition(":")[2]:  # else another has its fd now
                row.name, pair = names(end), _pair(row.local, row.peer)
                rows.append(row)
                used.add(id(seen))
                listeners |= {pair[0]} if row.state == "LISTEN" else set()
        known[pair] = end

    others = []
    for (local, peer), row in zip(pairs, told, strict=True):
        mine, far = known.get((local, peer)), known.get((peer, local))
        calling = row.state in QUEUED and reaches(local, listeners)
        knocking = row.state == "SYN_SENT" and reaches(peer, listeners)
        if peer and id(row) not in used and (mine or far or calling or knocking):
            row.name, row.role = "(not recorded)", "outside" if row.owner else "kernel"
            if calling and not row.owner:
                row.name = "(not yet accepted)"
            elif mine and row.state in LEFT:
                row.name = f"{names(mine)} (closed)"
            if row.state in LEFT and not row.owner:
                row.unread = None  # nobody can receive them
            near = mine or far
            others.append(((near.number if near else sys.maxsize, row.name, row.state, row.unread or 0), row))
    rows += [row for _, row in sorted(others, key=itemgetter(0))]

    if complete and any(row.state == "LISTEN" and row.queue is None for row in rows):
        notes.append("queue: this system does not tell how many calls wait.")
    if complete and any(row.state in QUEUED - {"connected"} and row.unread is None for row in rows):
        notes.append("unread: this system does not tell it of every connection.")
    return SocketTable(rows, notes)


def _describe(end: Endpoint, seen: SocketRow, complete: bool) -> SocketRow:
    """The row of an open socket: what the system has `seen`, and where it says nothing, what the record knows."""
    row = replace(seen, role=end.role, fd=end.fd)
    row.local, row.peer = seen.local or written(end.local), seen.peer or written(end.peer)
    if not end.stream:
        row.state = "datagrams" + ", connected" * bool(row.peer)
    elif row.state in {"", "CLOSE", "CLOSED", "NONE"}:
        row.state = "LISTEN" if end.backlog is not None else "connected" if row.peer else "not connected"
        if complete and row.state != "not connected" and "unix:" not in row.local + row.peer:
            row.state = "CLOSED"  # it did listen, or was connected: reset, say
    waiting = _unread(end) if row.peer or not end.stream else None
    row.unread = seen.unread if waiting is None and end.stream else waiting
    if row.queue and end.backlog is not None:
        allowed = min(max(0, end.backlog), _somaxconn())
        row.queue += f", backlog {allowed}" + (f" ({end.backlog} asked for)" if end.backlog > allowed else "")
    return row


def _somaxconn() -> int:
    """The longest accept queue that Linux allows (listen(2))."""
    try:
        return int(Path("/proc/sys/net/core/somaxconn").read_text())
    except (OSError, ValueError):
        return sys.maxsize
