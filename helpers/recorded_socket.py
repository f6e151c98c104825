"""The standard `socket` module with one difference: its sockets record their calls, and their waits can be ended.

`from helpers import socket` in place of `import socket` changes nothing else: every public name is here, every call
raises the class and errno of the standard one (socket(2), connect(2), accept(2), recv(2), send(2)).

| call                                              | recorded    | its wait can be ended          |
| ------------------------------------------------- | ----------- | ------------------------------ |
| socket, bind, listen, shutdown, close, detach     | yes         | (does not wait)                |
| setsockopt, settimeout, setblocking               | yes         | (does not wait)                |
| accept, connect, connect_ex                       | yes         | yes; connect of AF_UNIX: no    |
| recv, recv_into, recvfrom, recvfrom_into          | yes         | yes; with MSG_WAITALL: no      |
| recvmsg, recvmsg_into                             | yes         | yes; with MSG_WAITALL: no      |
| send, sendall, sendto, sendmsg                    | yes         | yes                            |
| makefile, sendfile, create_connection             | as the calls that they make | yes            |
| create_server, socketpair, fromfd, dup            | as the calls that they make | (does not wait) |
| getsockname, getpeername, getsockopt, fileno …    | no          | (does not wait)                |
| selectors on these sockets                        | no          | no; `from helpers import select`: yes |
| ssl: what an SSLSocket does                       | no          | no: it takes the descriptor    |
| asyncio on these sockets                          | yes; on Windows no | as its tasks are cancelled |
| socketserver, http.client, urllib                 | no: they make standard sockets | no          |
"""

from __future__ import annotations

import copy
import errno
import os
import socket as _standard
import sys
import threading
import weakref
from collections.abc import Callable
from types import FrameType, FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

from helpers.gate import Actor, Wait, gate
from helpers.recording import Call, Endpoint, Recording, shorten

globals().update({name: value for name, value in vars(_standard).items() if not name.startswith("__")})
if TYPE_CHECKING:
    from socket import (
        AF_INET as AF_INET,
        AF_INET6 as AF_INET6,
        AF_UNIX as AF_UNIX,
        MSG_DONTWAIT as MSG_DONTWAIT,
        MSG_PEEK as MSG_PEEK,
        MSG_WAITALL as MSG_WAITALL,
        SHUT_RD as SHUT_RD,
        SO_LINGER as SO_LINGER,
        SOCK_STREAM as SOCK_STREAM,
        SOL_SOCKET as SOL_SOCKET,
        getdefaulttimeout as getdefaulttimeout,
    )
else:
    AF_UNIX = getattr(_standard, "AF_UNIX", None)
    MSG_DONTWAIT = getattr(_standard, "MSG_DONTWAIT", 0)  # Windows has none
    MSG_WAITALL = getattr(_standard, "MSG_WAITALL", 0)
__all__ = list(_standard.__all__)

Result = TypeVar("Result")
_OURS = {__file__, _standard.__file__}


class _Recorder:
    """Where the calls of this process go, and which recorded sockets live."""

    def __init__(self) -> None:
        self.recording = Recording()
        self.sockets: weakref.WeakSet[socket] = weakref.WeakSet()


recorder = _Recorder()


class socket(_standard.socket):
    """A socket that records its calls: see `socket` of the standard library for each of them."""

    __slots__ = ("_patience", "_turn", "end", "owner")

    end: Endpoint
    owner: object

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:
        actor = gate.current() if fileno is not None else gate.enter()
        call = Call(actor.name, None, "socket", (family, type, proto))
        self.owner = None
        try:
            super().__init__(family, type, proto, fileno)
        except Exception as problem:
            raise _failed(call, problem)
        self._turn = threading.Lock()
        self._patience = super().gettimeout()
        self.end = recorder.recording.endpoint(actor.name, self.type == SOCK_STREAM, self.fileno())
        recorder.sockets.add(self)
        if fileno is None:
            call.end = call.made = self.end
            recorder.recording.add(call)

    def __del__(self) -> None:
        end = getattr(self, "end", None)
        if end is not None and not end.closed:  # nobody held it any more: the kernel closes it now
            end.closed = end.finished = True
        super().__del__()  # type: ignore[misc]  # typeshed does not know that it has one

    # ------------------------------------------------------------------ calls that do not wait

    def _simply(self, name: str, args: tuple[Any, ...], operate: Callable[[], Result]) -> Result:
        call = Call(gate.enter().name, self.end, name, args)
        try:
            call.result = operate()
        except Exception as problem:
            raise _failed(call, problem)
        _note(call)
        return call.result  # type: ignore[no-any-return]

    def bind(self, address: Any, /) -> None:
        self._simply("bind", (address,), lambda: super(socket, self).bind(address))
        self.end.local = _plain(self.getsockname())

    def listen(self, backlog: int = min(_standard.SOMAXCONN, 128), /) -> None:
        self._simply("listen", (backlog,), lambda: super(socket, self).listen(backlog))
        recorder.recording.listening(self.end, _plain(self.getsockname()), backlog)

    def shutdown(self, how: int, /) -> None:
        self._simply("shutdown", (how,), lambda: super(socket, self).shutdown(how))
        self.end.finished = self.end.finished or how != SHUT_RD

    def setsockopt(self, *args: Any) -> None:
        self._simply("setsockopt", args, lambda: super(socket, self).setsockopt(*args))

    def settimeout(self, value: float | None, /) -> None:
        self._simply("settimeout", (value,), lambda: super(socket, self).settimeout(value))
        self._patience = super().gettimeout()

    def setblocking(self, flag: bool, /) -> None:
        self._simply("setblocking", (flag,), lambda: super(socket, self).setblocking(flag))
        self._patience = super().gettimeout()

    # a call on a socket of its own takes the time-out away for a moment, so the learner's is kept here
    def gettimeout(self) -> float | None:
        return self._patience

    def getblocking(self) -> bool:
        return self._patience != 0

    @property
    def timeout(self) -> float | None:
        return self._patience

    def close(self) -> None:
        actor = gate.current()
        if self._closed or self.fileno() < 0 or actor.lost:  # type: ignore[attr-defined]
            return super().close()
        if actor.takes_turns and gate.holder is not actor:
            gate.take(actor)
        call = Call(actor.name, self.end, "close")
        try:
            super().close()
        except Exception as problem:
            raise _failed(call, problem)
        _note(call)

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
        fd = _standard.dup(self.fileno())
        copied = type(self)(self.family, self.type, self.proto, fileno=fd)
        copied.settimeout(self._patience)
        return copied

    # ------------------------------------------------------------------ calls that may wait

    def _await(self, actor: Actor, call: Call, wait: Wait) -> None:
        if not gate.wait(actor, wait, lambda: self._begin(actor, call)):
            raise TimeoutError("timed out")

    def _begin(self, actor: Actor, call: Call) -> None:
        if not call.waited and actor.timeouts < 2:
            call.waited = True
            recorder.recording.add(call, waits=True)

    def _wait_for(self, call: Call, read: bool) -> Wait:
        end = self.end

        def doubt() -> None:
            end.doubted = True

        words = f"{call.name}()"
        if read:
            return Wait(words, [self], [], self._patience, lambda: end.expects, doubt)
        return Wait(words, [], [self], self._patience)

    def _attempt(self, operate: Callable[[], Result]) -> Result:
        """`operate` without waiting: BlockingIOError if nothing is ready."""
        with self._turn:  # of several threads in accept() or recv(), each tries alone
            super().settimeout(0)
            try:
                return operate()
            finally:
                if self.fileno() >= 0:
                    super().settimeout(self._patience)

    def _perform(self, call: Call, read: bool, operate: Callable[[int], Result], flags: int = 0) -> Result:
        """`operate(flags)`, waiting at the gate as long as the socket's time-out says while nothing is ready."""
        actor = gate.enter()
        call.role = actor.name
        patience = self._patience
        unseen = patience == 0 or flags & (MSG_DONTWAIT | MSG_WAITALL)
        wait = None
        try:
            while True:
                try:
                    if unseen:
                        return operate(flags)
                    if patience is None and MSG_DONTWAIT and call.name != "accept":
                        return operate(flags | MSG_DONTWAIT)
                    return self._attempt(lambda: operate(flags))
                except BlockingIOError:
                    if unseen:
                        raise
                wait = wait or self._wait_for(call, read)
                self._await(actor, call, wait)
        except BaseException as problem:
            raise _failed(call, problem)

    def accept(self) -> tuple[socket, Any]:
        call = Call("", self.end, "accept")
        fd, address = self._perform(call, True, lambda flags: super(socket, self)._accept())  # type: ignore[misc]
        made = socket(self.family, self.type, self.proto, fileno=fd)
        if getdefaulttimeout() is None and self._patience != 0:
            _standard.socket.setblocking(made, True)  # BSD's accept hands on the listener's O_NONBLOCK
        made._patience = _standard.socket.gettimeout(made)
        made.owner, call.made, call.result = self.owner, made.end, (made.end, address)
        recorder.recording.connected(made.end, _plain(made.getsockname()), _plain(address))
        recorder.recording.taken(self.end, made.end)
        _note(call)
        return made, address

    def connect(self, address: Any, /) -> None:
        self._connect("connect", address)

    def connect_ex(self, address: Any, /) -> int:
        try:
            self._connect("connect_ex", address)
        except TimeoutError as problem:
            return problem.errno or int(errno.EWOULDBLOCK)
        except _standard.gaierror:
            raise
        except OSError as problem:
            if problem.errno is None:
                raise
            return problem.errno
        return 0

    def _connect(self, name: str, address: Any) -> None:
        actor = gate.enter()
        call = Call(actor.name, self.end, name, (address,))
        try:
            if self._patience == 0 or self.family == AF_UNIX:
                super().connect(address)
            else:
                try:
                    self._attempt(lambda: super(socket, self).connect(address))
                except BlockingIOError:
                    self._finish_connecting(actor, call)
        except BaseException as problem:
            raise _failed(call, problem)
        if self.type == SOCK_STREAM:
            recorder.recording.connected(self.end, _plain(self.getsockname()), _plain(self.getpeername()), call)
            recorder.recording.dialled(self.end)
        _note(call)

    def _finish_connecting(self, actor: Actor, call: Call) -> None:
        hurried = [True]  # loopback answers at once, if it answers: not yet a reason to give up the baton
        wait = Wait(f"{call.name}()", [], [self], self._patience, lambda: bool(hurried), hurried.clear)
        self._await(actor, call, wait)
        code = self.getsockopt(_standard.SOL_SOCKET, _standard.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))

    # ------------------------------------------------------------------ bytes

    def send(self, data: Any, flags: int = 0, /) -> int:
        call = Call("", self.end, "send", (shorten(data),))
        return self._sent(call, lambda f: super(socket, self).send(data, f), flags)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        call = Call("", self.end, "sendall", (shorten(data),))
        view: Any = data if isinstance(data, str) else memoryview(data).cast("B")  # a str: send() says what is wrong
        while True:
            count = self._perform(call, False, lambda f: super(socket, self).send(view, f), flags)
            recorder.recording.sent(call, count)
            view = view[count:]  # (each turn's lambda is done with before this)
            if not len(view):
                break
        _note(call)

    def sendto(self, data: Any, *rest: Any) -> int:
        *flags, address = rest or (None,)
        call = Call("", self.end, "sendto", (shorten(data), address))
        operate = super().sendto
        if len(rest) not in (1, 2):
            return operate(data, *rest)  # raises TypeError
        return self._sent(call, lambda f: operate(data, f, address), flags[0] if flags else 0)

    def sendmsg(self, buffers: Any, ancdata: Any = (), flags: int = 0, address: Any = None, /) -> int:
        buffers = list(buffers)
        call = Call("", self.end, "sendmsg", (shorten(b"".join(buffers)),))
        operate = super().sendmsg
        return self._sent(call, lambda f: operate(buffers, ancdata, f, address), flags)

    def _sent(self, call: Call, operate: Callable[[int], int], flags: int) -> int:
        count = self._perform(call, False, operate, flags)
        call.result = count
        recorder.recording.sent(call, count)
        _note(call)
        return count

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        # os.sendfile() would wait out of the gate's sight
        return self._sendfile_use_send(file, offset, count)  # type: ignore[attr-defined,no-any-return]

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        call = Call("", self.end, "recv", (bufsize,))
        data = self._perform(call, True, lambda f: super(socket, self).recv(bufsize, f), flags)
        self._took(call, len(data), data, flags)
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        call = Call("", self.end, "recv_into", (nbytes or memoryview(buffer).nbytes,))
        count = self._perform(call, True, lambda f: super(socket, self).recv_into(buffer, nbytes, f), flags)
        self._took(call, count, bytes(memoryview(buffer).cast("B")[:min(count, 4096)]), flags)
        return count

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        call = Call("", self.end, "recvfrom", (bufsize,))
        data, address = self._perform(call, True, lambda f: super(socket, self).recvfrom(bufsize, f), flags)
        self._took(call, len(data), data, flags)
        return data, address

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        call = Call("", self.end, "recvfrom_into", (nbytes or memoryview(buffer).nbytes,))
        count, address = self._perform(
            call, True, lambda f: super(socket, self).recvfrom_into(buffer, nbytes, f), flags
        )
        self._took(call, count, bytes(memoryview(buffer).cast("B")[:min(count, 4096)]), flags)
        return count, address

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /) -> Any:
        call = Call("", self.end, "recvmsg", (bufsize,))
        result = self._perform(call, True, lambda f: super(socket, self).recvmsg(bufsize, ancbufsize, f), flags)
        self._took(call, len(result[0]), result[0], flags)
        return result

    def recvmsg_into(self, buffers: Any, ancbufsize: int = 0, flags: int = 0, /) -> Any:
        buffers = list(buffers)
        call = Call("", self.end, "recvmsg_into", (sum(memoryview(b).nbytes for b in buffers),))
        result = self._perform(call, True, lambda f: super(socket, self).recvmsg_into(buffers, ancbufsize, f), flags)
        self._took(call, result[0], b"".join(bytes(b) for b in buffers)[: result[0]], flags)
        return result

    def _took(self, call: Call, count: int, data: bytes, flags: int) -> None:
        call.result = shorten(data)
        if not flags & MSG_PEEK:  # a look leaves the bytes where they are
            recorder.recording.received(call, count, data)
        _note(call)


# ---------------------------------------------------------------------- what all of them share


def force_close(sock: socket) -> None:
    """Close a socket for whoever left it open, unrecorded, files made of it or not."""
    sock._io_refs = 0  # type: ignore[attr-defined]
    try:
        _standard.socket.close(sock)
    except OSError:  # its peer reset the connection
        pass


def _note(call: Call) -> None:
    recorder.recording.add(call)
    end = call.end
    if end is not None and end.name is None:
        end.name = _name_in(sys._getframe(2), end)


def _name_in(frame: FrameType | None, end: Endpoint) -> str | None:
    """What the code that made the call names the socket: the first variable of it that refers to it."""
    while frame is not None and frame.f_code.co_filename in _OURS:
        frame = frame.f_back
    for name, value in list(frame.f_locals.items()) if frame is not None else ():
        if isinstance(value, socket) and value.end is end and name != "self" and not name.startswith("_"):
            return name
    return None


def _failed(call: Call, problem: BaseException) -> BaseException:
    """Record that the call raised; the record keeps a copy, since the exception's frames would keep sockets alive."""
    try:
        call.error = copy.copy(problem).with_traceback(None)
    except Exception:  # an exception that can't be copied
        call.error = Exception(str(problem))
    actor = gate.current()
    call.role = call.role or actor.name
    if not actor.lost and not (actor.timeouts > 2 and isinstance(problem, TimeoutError)):  # a poll's are told twice
        _note(call)
    return problem


def _plain(address: Any) -> Any:
    """An address as a key: (host, port), with an IPv4 one that came over an IPv6 listener in its own form."""
    if isinstance(address, tuple) and len(address) >= 2:
        return str(address[0]).removeprefix("::ffff:"), address[1]
    return address


def _here(function: Any) -> Any:
    """A function of the standard module, its text looking up names here: so it makes recorded sockets."""
    ours = FunctionType(function.__code__, globals(), function.__name__, function.__defaults__, function.__closure__)
    ours.__kwdefaults__, ours.__doc__, ours.__module__ = function.__kwdefaults__, function.__doc__, __name__
    return ours


SocketType = socket
create_connection = _here(_standard.create_connection)
create_server = _here(_standard.create_server)
fromfd = _here(_standard.fromfd)
if hasattr(_standard, "fromshare"):
    fromshare = _here(_standard.fromshare)


def socketpair(*args: Any, **kwargs: Any) -> tuple[socket, socket]:
    """Two sockets that are connected to each other (socketpair(2))."""
    one, other = (
        socket(s.family, s.type, s.proto, fileno=s.detach()) for s in _standard.socketpair(*args, **kwargs)
    )
    one.end.twin, other.end.twin = other.end, one.end
    one.end.peer = other.end.peer = ""
    return one, other
