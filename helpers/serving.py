"""A server in the background: `with serving(serve) as server:` runs `serve(listener)` until it is told to stop.

`serve` is a plain function of a listener, or an `async def`, which gets an event loop and a thread of its own.  Its
threads hold no baton: real concurrency happens here; its calls are recorded in an order that is certain, and no more.
"""

from __future__ import annotations

import asyncio
import inspect
import selectors
import socket as standard
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from helpers import recorded_socket
from helpers.cells import Log, is_learners, learners_only, sockets_of
from helpers.gate import READY, Actor, Ended, gate
from helpers.recorded_socket import recorder
from helpers.roles import SAID
from helpers.waits import GRACE, cut, look_into, poll

if TYPE_CHECKING:
    from helpers.switchboard import Switchboard

PATIENCE = 0.2  #: seconds that a server's threads have to end, before they are ended by force, or left behind
_unfinished: list[asyncio.Task[Any]] = []


class serving:
    """Run `serve(listener)` in the background; `host` and `port` say where it is to be called.

    It ends at the end of the `with`, by `stop()`, or with the stage: its waits are ended, and every connection that its
    listener accepted is closed.  `error` is what `serve` raised, if it did.
    """

    def __init__(
        self,
        serve: Callable[[Any], Any],
        host: str = "127.0.0.1",
        port: int = 0,
        backlog: int = 128,
        name: str = "server",
    ) -> None:
        self._serve, self.name = serve, name
        self.error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._last_calls: list[standard.socket] = []
        self._kept: list[recorded_socket.socket] = []
        self._stopped = False
        self._board: Switchboard | None = None
        self.actor = _Server(self, name)
        with gate.acting_as(self.actor):  # the listener is this server's, in the record too
            self.listener = recorded_socket.create_server((host, port), backlog=backlog)
        self.listener.owner, self.listener.end.name = self, "listener"
        self.host, self.port = self.listener.getsockname()[:2]
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.actor.alive = self._thread.is_alive
        self._thread.start()
        gate.join(self.actor)
        gate.at_end.append(self.stop)

    def __repr__(self) -> str:
        how = f"listens on {self.host}" if self._thread.is_alive() and not self._stopped else "stopped"
        return f"serving({getattr(self._serve, '__name__', 'a server')}): {how}"

    def __enter__(self) -> serving:
        if self._stopped:
            raise RuntimeError("this server has stopped: make a new one with serving(...)")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()
        if self.error is not None and error is None:
            raise self.error
        if self.error is not None and error is not None:  # which may be all that was seen of it
            error.add_note(f"The server failed with {type(self.error).__name__}: {self.error}")

    def _run(self) -> None:
        problem = gate.perform(self.actor, self._work)
        if problem is not None and not self._stopped:
            problem = _alone(problem)
            self.error = learners_only(problem)
            self.actor.log.append(f"failed with {type(problem).__name__}: {problem}{_where(problem)}\n")
        gate.release(self.actor)

    def _work(self) -> None:
        if inspect.iscoroutinefunction(self._serve):
            self.listener.setblocking(False)
            asyncio.run(self._as_task())
        else:
            self._serve(self.listener)

    async def _as_task(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        try:
            await self._serve(self.listener)
        except asyncio.CancelledError:
            if not self._stopped:
                raise

    def sockets(self) -> list[recorded_socket.socket]:
        """Its listener, and the connections that it accepted and has not closed."""
        return [sock for sock in list(recorder.sockets) if sock.owner is self and sock.fileno() >= 0]

    def switchboard(self) -> Switchboard:
        """The live view: callers, queue and sockets, with buttons to dial; it takes the place of an earlier one."""
        from helpers.switchboard import Switchboard  # widgets are there where they are asked for

        if self._board is not None:
            self._board.close()
        self._board = Switchboard(recorder.recording, lambda: [self._now()], listener=self.listener.end)
        return self._board

    def _now(self) -> dict[str, Any]:
        """What its threads are at, those in the same call counted."""
        waits = [(actor, actor.wait) for actor in self._threads()]
        calls = Counter(wait.words for _, wait in waits if wait is not None)
        words = [call if count == 1 else f"{call} in {count} threads" for call, count in sorted(calls.items())]
        own = self.actor.wait
        return {
            "name": self.name,
            "words": "waits in " + ", ".join(words) if words else repr(self).partition(": ")[2],
            "since": own.began if own is not None and len(words) == 1 else None,
            "said": self.actor.log.last(SAID),
            "error": f"{type(self.error).__name__}: {self.error}" if self.error is not None else "",
        }

    def stop(self) -> None:
        """End the server, its threads' waits and its connections."""
        if self.stop in gate.at_end:
            gate.at_end.remove(self.stop)
        self._stopped = True
        sockets = self.sockets()
        if self._loop is not None and self._task is not None:
            try:
                self._loop.call_soon_threadsafe(self._cancel)
            except RuntimeError:  # the loop has closed meanwhile
                pass
            gate.until_gone(self.actor, limit=3 * PATIENCE)  # a loop that is ended by force leaves its tasks undone
        self.actor.ended = True
        gate.until(self._ended, PATIENCE)
        for call in self._last_calls:
            call.close()
        begins = not self._last_calls and self._task is None
        if begins and self.sockets()[1:]:  # a thread for one of these may be about to begin
            gate.until(lambda: any(map(self._employs, gate.others)), PATIENCE / 2)
            gate.until(self._ended, PATIENCE)
        for actor in self._threads():
            gate.end(actor)
            # a selector that was woken, and finds the listener closed when it looks, would sleep on for ever
            gate.until_gone(actor, limit=5 * PATIENCE if self._last_calls and actor.selects() else PATIENCE)
            if actor.alive():
                cut(*sockets_of(actor.thread))
                gate.leave_behind(actor)
        for sock in {*sockets, *self._kept, *self.sockets()}:
            recorded_socket.force_close(sock)
        if self._loop is not None:  # collected as garbage, a coroutine that swallows its end would run in any thread
            _unfinished.extend(asyncio.all_tasks(self._loop))

    def _cancel(self) -> None:
        assert self._loop is not None
        with suppress(ValueError, NotImplementedError):  # it is closed; the loop of Windows has no readers
            self._loop.remove_reader(self.listener)  # a call that comes now finds only waits that are cancelled
        self._kept = self.sockets()  # of a task that is cancelled before it began, nobody else has the connection
        self._loop.set_exception_handler(_told_unless_cancelled)
        # the tasks of its callers too: since Python 3.12 a server that ends waits for them
        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    def _ended(self) -> bool:
        """Have its threads ended?  Those that have not are told to."""
        threads = self._threads()
        gate.end(*threads, gently=True)
        loops = [actor for actor in threads if self._task is None or actor is not self.actor]
        if any(actor.selects() for actor in loops):  # only a call wakes it; another may have taken the one before
            self._last_calls.append(call := standard.socket(self.listener.family))
            call.setblocking(False)
            call.connect_ex((self.host, self.port))
        return not threads

    def _threads(self) -> list[Actor]:
        here = [actor for actor in list(gate.others) if actor is self.actor or self._employs(actor)]
        return [actor for actor in here if actor.alive()]

    def _employs(self, actor: Actor) -> bool:
        """Is it a thread that deals with one of this server's connections?"""
        wait = actor.wait
        at = [*(wait.sockets if wait is not None else ()), *sockets_of(actor.thread)]
        return any(getattr(s, "owner", None) is self for s in at) or self._is_watched_by(actor)

    def _is_watched_by(self, actor: Actor) -> bool:
        """Does it wait in a selector for one of this server's connections?  So do threads with event loops."""
        here = look_into(actor.thread, lambda frame: frame.f_locals.get("self"))[:1] if actor.selects() else []
        watched = {fd for one in here if isinstance(one, selectors.BaseSelector) for fd in list(one.get_map() or ())}
        return not watched.isdisjoint(sock.fileno() for sock in self.sockets())


class _Server(Actor):
    """The actor of a server: it is at rest when nothing is left that its threads, or its event loop, will take."""

    def __init__(self, server: serving, name: str) -> None:
        super().__init__(name, ending=Ended)
        self.state, self.log, self.keeps_log = READY, Log(), bool(gate.order)
        self._server = server
        self._unread: dict[tuple[int, ...], float] = {}

    @property
    def at_rest(self) -> bool:
        # asked again: it may have woken since, and have taken what it owed an answer to
        return super().at_rest and not (self.alive() and self._owes()) and super().at_rest

    def _owes(self) -> bool:
        """Has the kernel got something for it that no thread waits for?

        A thread that was just started, or an event loop, is about to take it; else it is unread after `GRACE` seconds.
        """
        waited = {s for wait in [actor.wait for actor in list(gate.waiting)] if wait is not None for s in wait.sockets}
        there = [s.end for s in self._server.sockets() if s not in waited and poll([s], [], 0)]
        now, known = time.monotonic(), self._unread
        keys = [(end.number, end.received, end.accepted) for end in there]
        self._unread = {key: known.get(key, now) for key in keys}
        return any(now - since < GRACE for since in self._unread.values())


def _told_unless_cancelled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Of what is cancelled asyncio complains now and then: of a stream (Python 3.11), of a call that comes for it."""
    if not isinstance(context.get("exception"), (asyncio.CancelledError, asyncio.InvalidStateError)):
        loop.default_exception_handler(context)


def _alone(error: BaseException) -> BaseException:
    """The error itself, where a task group has wrapped it, or several of its kind."""
    while isinstance(error, BaseExceptionGroup) and len({type(each) for each in error.exceptions}) == 1:
        error = error.exceptions[0]
    return error


def _where(error: BaseException) -> str:
    tb, line = error.__traceback__, ""
    while tb is not None:
        if is_learners(tb.tb_frame.f_code.co_filename):
            line = f" (line {tb.tb_lineno} of its cell)"
        tb = tb.tb_next
    return line
