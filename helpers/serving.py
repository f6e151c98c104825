"""A server in the background: `with serving(serve) as server:` runs `serve(listener)` until it is told to stop.

`serve` is a plain function of a listener, or an `async def`, which gets an event loop and a thread of its own.  Its
threads hold no baton: real concurrency happens here, and its calls are recorded in an order that is certain and no more.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from helpers import recorded_socket
from helpers.cells import is_learners, learners_only
from helpers.gate import IDLE, RUNNING, Actor, gate
from helpers.recorded_socket import recorder


class serving:
    """Run `serve(listener)` in the background; `host` and `port` say where it is to be called.

    It ends at the end of the `with`, by `stop()`, or with the stage: its waits are ended, and every connection that its
    listener accepted is closed.  `error` is what `serve` raised, if it did.
    """

    def __init__(
        self, serve: Callable[[Any], Any], host: str = "127.0.0.1", port: int = 0, backlog: int = 128, name: str = "server"
    ) -> None:
        self._serve, self.name = serve, name
        self.error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._ended = threading.Event()
        self.actor = Actor(name, ending=SystemExit)
        self.actor.keeps_log = True
        with gate.acting_as(self.actor):  # the listener is this server's, in the record too
            self.listener = recorded_socket.create_server((host, port), backlog=backlog)
        self.listener.owner, self.listener.end.name = self, "listener"
        self.host, self.port = self.listener.getsockname()[:2]
        self.actor.state = RUNNING
        gate.others.append(self.actor)
        gate.at_end.append(self.stop)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        how = "stopped" if self._ended.is_set() else f"listens on {self.host}"
        return f"serving({getattr(self._serve, '__name__', 'a server')}): {how}"

    def __enter__(self) -> serving:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()
        if self.error is not None and error is None:
            raise self.error

    def _run(self) -> None:
        gate.become(self.actor)
        self.actor.state = RUNNING
        try:
            if inspect.iscoroutinefunction(self._serve):
                self.listener.setblocking(False)
                asyncio.run(self._as_task())
            else:
                self._serve(self.listener)
        except SystemExit:
            pass
        except BaseException as error:
            if not self.actor.ended:
                self.error = learners_only(error)
                self.actor.log.append(f"failed with {type(error).__name__}: {error}{_where(error)}\n")
        self._ended.set()
        with gate.lock:
            self.actor.state = IDLE
        gate.nudge()

    async def _as_task(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        with gate.lock:
            self.actor.state = IDLE  # what a loop does is its own business: nobody waits for its rest
        try:
            await self._serve(self.listener)
        except asyncio.CancelledError:
            pass

    def stop(self) -> None:
        """End the server, its threads' waits and its connections."""
        self.actor.ended = True
        with gate.lock:
            waiting = [a for a in gate.waiting if a.wait and any(getattr(s, "owner", 0) is self for s in a.wait.sockets)]
        for actor in waiting:
            actor.ending = SystemExit
            gate.end(actor)
        if self._loop is not None and self._task is not None and not self._ended.is_set():
            try:
                self._loop.call_soon_threadsafe(self._task.cancel)
            except RuntimeError:  # the loop has closed meanwhile
                pass
        elif not self._ended.is_set():
            gate.end(self.actor)
        until = time.monotonic() + 0.5
        while not self._ended.is_set() and time.monotonic() < until:
            self._ended.wait(0.05)
        for sock in list(recorder.sockets):
            if sock.owner is self:
                recorded_socket.force_close(sock)
        gate.leave_behind(self.actor)
        if self.stop in gate.at_end:
            gate.at_end.remove(self.stop)
        if self._ended.is_set():
            self._thread.join(1)


def _where(error: BaseException) -> str:
    tb, line = error.__traceback__, ""
    while tb is not None:
        if is_learners(tb.tb_frame.f_code.co_filename):
            line = f" (line {tb.tb_lineno} of its cell)"
        tb = tb.tb_next
    return line
