"""The standard `socket` module with one difference: its sockets record their calls, and their waits can be ended.

`from helpers import socket` in place of `import socket` changes nothing else: every public name is here, every call
raises the class and errno of the standard one (socket(2), connect(2), accept(2), recv(2), send(2)).

| call                                     | recorded                       | its wait can be ended                 |
| ---------------------------------------- | ------------------------------ | ------------------------------------- |
| socket, bind, listen, shutdown           | yes                            | (does not wait)                       |
| close, detach                            | yes                            | (does not wait)                       |
| setsockopt, settimeout, setblocking      | yes                            | (does not wait)                       |
| accept, connect, connect_ex              | yes                            | yes; connect of AF_UNIX: no           |
| recv, recv_into, recvfrom, recvfrom_into | yes                            | yes; with MSG_WAITALL: no             |
| recvmsg, recvmsg_into                    | yes                            | yes; with MSG_WAITALL: no             |
| send, sendall, sendto, sendmsg           | yes                            | yes; into a full AF_UNIX queue: no    |
| makefile, sendfile, create_connection    | as the calls that they make    | yes                                   |
| create_server                            | as the calls that it makes     | (does not wait)                       |
| socketpair, fromfd, dup                  | no; what their sockets do: yes | (does not wait)                       |
| getsockname, getpeername, getsockopt     | no                             | (does not wait)                       |
| selectors on these sockets               | no                             | no; `from helpers import select`: yes |
| ssl: what an SSLSocket does              | no                             | no: it takes the descriptor           |
| asyncio on these sockets                 | yes; on Windows no             | as its tasks are cancelled            |
| socketserver, http.client, urllib        | no: they make standard sockets | no                                    |
"""

from __future__ import annotations

import ctypes
import errno
import io
import os
import socket as _standard
import sys
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any

from helpers.gate import Actor, gate
from helpers.recorder import AT_ONCE, note, note_error, waiting_socket
from helpers.recorder import recorder as recorder
from helpers.recording import KEPT_BYTES, Call, Cut, key, octets, shorten, size
from helpers.waits import Wait

globals().update({name: value for name, value in vars(_standard).items() if not name.startswith("__")})
__all__ = list(_standard.__all__)


def __dir__() -> list[str]:
    return dir(_standard)


if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


_plain = _standard.socket
_UNIX = getattr(_standard, "AF_UNIX", None)
_LOOK = int(_standard.MSG_PEEK) | int(getattr(_standard, "MSG_ERRQUEUE", 0))  # these leave the bytes where they are


class socket(waiting_socket):
    """A socket that records its calls: see `socket` of the standard library for each of them."""

    __slots__ = ()

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:
        actor = gate.current() if fileno is not None else gate.enter()
        call = Call(actor.name, None, "socket", (family, type, proto))
        self.owner = None
        try:
            super().__init__(family, type, proto, fileno)
        except Exception as problem:
            note_error(call, problem)
            raise
        self._patience = _plain.gettimeout(self)
        self.end = recorder.recording.endpoint(actor.name, self.type == _standard.SOCK_STREAM, self.fileno())
        recorder.living[id(self)] = self
        if fileno is None:
            call.end = call.made = self.end
            recorder.recording.add(call)

    def __del__(self) -> None:
        end = getattr(self, "end", None)
        if end is not None and not end.closed:  # nobody held it any more: the kernel closes it now
            end.closed = end.finished = True
        super().__del__()  # type: ignore[misc]  # typeshed does not know that it has one

    def __repr__(self) -> str:
        return super().__repr__().replace(f"<{__name__}.", "<socket.", 1)

    # ------------------------------------------------------------------ calls that do not wait

    def bind(self, address: Any, /) -> None:
        self._simply("bind", (address,), super().bind)
        self.end.local = key(_told(self.getsockname))

    def listen(self, backlog: int = min(_standard.SOMAXCONN, 128), /) -> None:
        self._simply("listen", (backlog,), super().listen)
        recorder.recording.listening(self.end, _told(self.getsockname), backlog)

    def shutdown(self, how: int, /) -> None:
        self._simply("shutdown", (how,), super().shutdown)
        self.end.finished = self.end.finished or how != _standard.SHUT_RD

    def setsockopt(self, *args: Any) -> None:
        self._simply("setsockopt", args, super().setsockopt)

    def settimeout(self, value: float | None, /) -> None:
        self._simply("settimeout", (value,), self._be_patient)

    def setblocking(self, flag: bool, /) -> None:
        self._simply("setblocking", (flag,), lambda flag: self._be_patient(flag, super(socket, self).setblocking))

    def close(self) -> None:
        actor = gate.current()
        if self._closed or self.fileno() < 0 or actor.lost:  # type: ignore[attr-defined]
            super().close()
        else:
            if actor.takes_turns and gate.holder is not actor:
                gate.take(actor)  # one that is being ended may still close
            self._simply("close", (), super().close, actor)

    def _real_close(self, *args: Any) -> None:
        """The descriptor goes: at close(), or, where makefile() has made files of it, when the last of them closes."""
        self.end.closed = self.end.finished = True
        try:
            super()._real_close(*args)  # type: ignore[misc]
        finally:
            gate.closed(self)

    def detach(self) -> int:
        fd = self._simply("detach", (), super().detach)
        self.end.closed = True
        return fd

    def dup(self) -> socket:
        copied = type(self)(self.family, self.type, self.proto, fileno=_standard.dup(self.fileno()))
        copied._be_patient(self._patience)
        return copied

    # ------------------------------------------------------------------ calls that may wait

    def accept(self) -> tuple[socket, Any]:
        call = Call("", self.end, "accept")
        fd, address = self._perform(call, lambda flags: _plain._accept(self))  # type: ignore[attr-defined]
        made = socket(self.family, self.type, self.proto, fileno=fd)
        if _standard.getdefaulttimeout() is None and self._patience != 0:
            made._be_patient(None)  # BSD's accept hands on the listener's O_NONBLOCK
        made.owner, call.made, call.result = self.owner, made.end, (made.end, address)
        recorder.recording.connected(made.end, _told(made.getsockname), address)
        recorder.recording.taken(self.end, made.end)
        note(call)
        return made, address

    def connect(self, address: Any, /) -> None:
        self._connect("connect", address)

    def connect_ex(self, address: Any, /) -> int:
        try:
            self._connect("connect_ex", address)
        except TimeoutError as problem:
            return problem.errno or int(errno.EWOULDBLOCK)
        except OSError as problem:
            if problem.errno is None or isinstance(problem, _standard.gaierror):
                raise
            return problem.errno
        return 0

    def _connect(self, name: str, address: Any) -> None:
        actor = gate.enter()
        call = Call(actor.name, self.end, name, (shorten(address),))
        told = self.end.peer is not None or not self.end.stream
        if unix := self.family == _UNIX and not told:
            self._dialled(call, address)
        try:
            self._dial(actor, call, address)
        except BaseException as problem:
            if not unix and isinstance(problem, BlockingIOError):  # it goes on without us: EINPROGRESS
                if not told:
                    self._dialled(call, address)
            elif getattr(problem, "errno", None) != errno.EISCONN:
                recorder.recording.withdrawn(self.end)
            note_error(call, problem)
            raise
        if not told and not unix:
            self._dialled(call, address)
        note(call)

    def _dialled(self, call: Call, address: Any) -> None:
        recorder.recording.connected(self.end, _told(self.getsockname), _told(self.getpeername) or address, call)
        recorder.recording.dialled(self.end)

    def _dial(self, actor: Actor, call: Call, address: Any) -> None:
        patience = self._patience

        def dial(address: Any) -> None:
            code = getattr(_plain, call.name)(self, address)
            if code:
                raise _error(code)

        try:
            if patience == 0 or self.family == _UNIX:
                dial(address)
            else:
                with self.end.turn:
                    self._at_once(dial, address)
            return
        except BlockingIOError as problem:
            if patience == 0 or self.family == _UNIX or (patience and problem.errno == errno.EALREADY):
                raise
        hurried = [True]  # loopback answers at once, if it answers: not yet a reason to give up the baton
        self._await(actor, call, Wait(f"{call.name}()", [], [self], patience, lambda: bool(hurried), hurried.clear))
        if patience is None and sys.platform == "linux":
            dial(address)  # asked again, it says how it ended; only then can this socket dial once more
        elif code := self.getsockopt(_standard.SOL_SOCKET, _standard.SO_ERROR):
            raise _error(code)

    # ------------------------------------------------------------------ bytes

    def _sent(self, call: Call, operate: Callable[..., int], data: Any, flags: int) -> int:
        """`operate(self, data, flags)`, and again with what remains, if all is to be sent or the kernel would wait."""
        done: int | None = self._quickly(call, operate, data, flags, recorder.recording.sent)
        if done is None or done < (len(data) if data.__class__ is bytes else size(data)):
            waits = self._patience is None and not (isinstance(flags, int) and flags & AT_ONCE)
            whole, sent = call.name == "sendall", done or 0
            rest = data if done is None else _after(data, done)

            def put(flags: int) -> None:
                nonlocal rest, sent
                while not sent or rest:
                    try:
                        count = operate(self, rest, flags)
                    except OSError as problem:
                        if isinstance(problem, BlockingIOError) or whole or not sent or self.fileno() < 0:
                            raise
                        return  # the next call will be told
                    recorder.recording.sent(call, count)
                    sent += count
                    if not (whole or waits) or not count:
                        return
                    rest = _after(rest, count)

            self._perform(call, put, flags)
            done = sent
        call.result = None if call.name == "sendall" else done
        note(call)
        return done

    def send(self, data: Any, flags: int = 0, /) -> int:
        return self._sent(Call("", self.end, "send", (shorten(data),)), _plain.send, data, flags)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        self._sent(Call("", self.end, "sendall", (shorten(data),)), _plain.send, data, flags)

    def sendto(self, data: Any, *rest: Any) -> int:
        if len(rest) not in (1, 2):
            return super().sendto(data, *rest)  # raises TypeError
        *flags, address = rest
        call = Call("", self.end, "sendto", (shorten(data), shorten(address)))

        def operate(sock: socket, data: Any, flags: int) -> int:
            return _plain.sendto(sock, data, flags, address)

        return self._sent(call, operate, data, flags[0] if flags else 0)

    def sendmsg(self, buffers: Any, ancdata: Any = (), flags: int = 0, address: Any = None, /) -> int:
        buffers, ancdata = _listed(buffers), _listed(ancdata)

        def operate(sock: socket, data: Any, flags: int) -> int:
            if data is not buffers:  # the rest of it
                return _plain.send(sock, data, flags)
            return _plain.sendmsg(sock, buffers, ancdata, flags, address)

        return self._sent(Call("", self.end, "sendmsg", (shorten(buffers),)), operate, buffers, flags)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        # os.sendfile(), which the standard one calls where it can, would wait out of the gate's sight; it sends a file
        # of the file system from its beginning, wherever that stands
        if not offset and hasattr(os, "sendfile") and isinstance(getattr(file, "raw", file), io.FileIO):
            file.seek(0)
        return self._sendfile_use_send(file, offset, count)  # type: ignore[attr-defined,no-any-return]

    def _received(self, call: Call, operate: Callable[[int], Any], flags: int, buffers: Any = ()) -> Any:
        def take(flags: int) -> tuple[Any, Any, int]:
            result = operate(flags)
            data = result[0] if isinstance(result, tuple) else result
            count = data if isinstance(data, int) else len(data)
            if not flags & _LOOK:
                recorder.recording.received(call, count)
            return result, data, count

        result, data, count = self._perform(call, take, flags)
        if buffers:
            data = Cut(b"".join(octets(buffer)[: min(count, KEPT_BYTES)] for buffer in buffers)[:count], count)
        recorder.recording.check(call, data)
        note(call)
        return result

    def recv(self, bufsize: int, flags: int = 0, /) -> Any:
        call = Call("", self.end, "recv", (bufsize,))
        data = self._quickly(call, _plain.recv, bufsize, flags, recorder.recording.received)
        if data is not None:
            recorder.recording.check(call, data)
            note(call)
            return data
        return self._received(call, lambda flags: _plain.recv(self, bufsize, flags), flags)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> Any:
        call = Call("", self.end, "recv_into", (nbytes or size(buffer),))
        return self._received(call, lambda flags: _plain.recv_into(self, buffer, nbytes, flags), flags, [buffer])

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> Any:
        call = Call("", self.end, "recvfrom", (bufsize,))
        return self._received(call, lambda flags: _plain.recvfrom(self, bufsize, flags), flags)

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> Any:
        call = Call("", self.end, "recvfrom_into", (nbytes or size(buffer),))
        return self._received(call, lambda flags: _plain.recvfrom_into(self, buffer, nbytes, flags), flags, [buffer])

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /) -> Any:
        call = Call("", self.end, "recvmsg", (bufsize,))
        return self._received(call, lambda flags: _plain.recvmsg(self, bufsize, ancbufsize, flags), flags)

    def recvmsg_into(self, buffers: Any, ancbufsize: int = 0, flags: int = 0, /) -> Any:
        buffers = _listed(buffers)
        call = Call("", self.end, "recvmsg_into", (size(buffers),))
        return self._received(call, lambda flags: _plain.recvmsg_into(self, buffers, ancbufsize, flags), flags, buffers)


# ---------------------------------------------------------------------- what all of them share


def force_close(sock: socket) -> None:
    """Close a socket for whoever left it open, unrecorded, files made of it or not."""
    sock._io_refs = 0  # type: ignore[attr-defined]
    try:
        _plain.close(sock)
    except OSError:  # its peer reset the connection
        pass


def _told(ask: Callable[[], Any]) -> Any:
    """An address; None where the connection is gone already."""
    try:
        return ask()
    except OSError:
        return None


def _after(data: Any, count: int) -> memoryview:
    """What remains of data, or of buffers, after the first `count` bytes."""
    return octets(b"".join(data) if isinstance(data, list) else data)[count:]


def _error(code: int) -> OSError:
    if sys.platform == "win32":
        return ctypes.WinError(code)
    return OSError(code, os.strerror(code))


def _listed(items: Any) -> Any:
    """Items as a list: a call that must be made again goes through them again."""
    try:
        return list(items)
    except TypeError:  # the call itself says so
        return items


def _here(function: Any) -> Any:
    """A function of the standard module, its text looking up names here: so it makes recorded sockets."""
    ours = FunctionType(function.__code__, globals(), function.__name__, function.__defaults__, function.__closure__)
    ours.__kwdefaults__, ours.__doc__, ours.__module__ = function.__kwdefaults__, function.__doc__, __name__
    return ours


gate.at_new_stage.append(lambda: _standard.setdefaulttimeout(None))

create_connection = _here(_standard.create_connection)
create_server = _here(_standard.create_server)
fromfd = _here(_standard.fromfd)
if hasattr(_standard, "fromshare"):
    fromshare = _here(_standard.fromshare)


def socketpair(family: Any = None, type: int = _standard.SOCK_STREAM, proto: int = 0) -> tuple[socket, socket]:
    """Two sockets that are connected to each other (socketpair(2))."""
    pair = _standard.socketpair(family, type, proto)
    one, other = (socket(sock.family, type, sock.proto, sock.detach()) for sock in pair)
    one.end.peer = other.end.peer = ""
    one.end.twin, other.end.twin = other.end, one.end
    return one, other
