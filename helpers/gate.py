"""The gate: through it goes every wait of a recorded call, and there the baton changes hands.

Of the actors that take turns (a stage's roles and its scripted callers) one runs at a time: the holder of the *baton*.
It keeps the baton until a call of its finds nothing ready; then the first actor in the stage's order that can go on
gets it.  Every other thread (a server in `serving`, a learner's own) waits here too, but without a baton.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from helpers.waits import GRACE, POOL, Wait, Wake, Watched, is_in, poll, raise_in, sleeps, take_back

SHORT = 5.0  #: seconds; a timed wait up to this long is waited out, and code that the gate can't see is waited for
__all__ = ["Actor", "Ended", "Gate", "Wait", "Wake", "Watched", "gate", "poll"]
IDLE, READY, RUNNING, WAITING = "idle", "ready", "running", "waiting"


class Ended(KeyboardInterrupt):
    """Raised in a role whose wait, or whose code, was ended by ■, by `stage.stop(...)` or by a new `Stage`.

    One that was left behind, because it swallows this again and again, is put to sleep.
    """

    def __init__(self, *words: object) -> None:
        actor = gate.known()
        if not words and actor is not None:  # raised from outside, at whatever line the thread was
            words = (f"{actor.name} was ended",)
            actor.endings += 1
            if actor.lost and actor.endings > 1 and sys._getframe(1).f_globals.get("__name__") == "__main__":
                threading.Event().wait()  # (elsewhere than in a cell's own code it might hold a lock)
        super().__init__(*words)


class Actor:
    """Somebody who makes calls: a role, a scripted caller, a server in the background, or any other thread."""

    def __init__(self, name: str, takes_turns: bool = False, ending: type[BaseException] = SystemExit) -> None:
        self.name, self.takes_turns = name, takes_turns
        self.ending = ending  # what is raised in its thread when it is ended (a SystemExit ends it without a word)
        self.state = IDLE
        self.wait: Wait | None = None
        self.since = 0.0  # when it got the baton
        self.ended = False  # its waits raise
        self.spared = self.struck = False  # nothing is raised in its thread any more (its code is over); something was
        self.astray = False  # it ran for too long unseen, and is not waited for
        self.lost = False  # it could not be ended, and was left behind
        self.endings = self._halts = 0  # how often it was ended: from outside, and at a call of its own
        self.calls = 0
        self.timeouts = 0  # how many of its last calls, one after the other, have timed out
        self.timed_out = 0  # the last of them
        self.log: Any = []  # what it printed and displayed, until a cell writes it
        self.keeps_log = False  # is what it prints kept there?
        self.thread: int | None = None
        self.alive: Callable[[], bool] = lambda: True
        self.wake = Wake()

    def halt(self) -> None:
        """Raise what ends it.  One that was left behind and swallows that again and again sleeps here for ever."""
        self._halts += 1
        if self.lost and self._halts > 20:
            threading.Event().wait()
        raise self.ending(f"{self.name} was ended")

    @property
    def at_rest(self) -> bool:
        """Does it wait for others, so that nothing will happen by itself?  Asked under the gate's lock."""
        wait = self.wait
        if self.state != WAITING or wait is None:
            return self.state == IDLE or self.astray or self.lost or not self.alive() or self.selects(POOL)
        patient = wait.timeout is None or wait.timeout > SHORT or self.timeouts >= 2
        return not self.ended and patient and not wait.ready() and not wait.expects()

    def selects(self, *where: str) -> bool:
        """Is it an event loop that waits for its sockets, or else in one of these modules?  (A role never is.)"""
        return not self.takes_turns and (sleeps(self.thread) or is_in(self.thread, *where))


class Gate:
    """The baton, and who waits for what.  There is one in a process: `gate`."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.order: list[Actor] = []  # those that take turns, in the stage's order
        self.others: list[Actor] = []  # all other threads that make calls: not in turns, but their rest is awaited
        self.speakers: list[Actor] = []  # those who keep a log
        self.in_turns: list[str] = []  # the names of all that took turns since the stage began
        self.holder: Actor | None = None
        self.waiting: set[Actor] = set()
        self.watchers: list[Wake] = []  # who wants to know when something changed
        self.at_new_stage, self.at_end = list[Callable[[], None]](), list[Callable[[], None]]()
        self._here = threading.local()

    # ------------------------------------------------------------------ who calls

    def current(self) -> Actor:
        """The actor of this thread; a thread that nobody announced gets one by its own name."""
        actor = self.known()
        if actor is None:
            thread = threading.current_thread()
            if thread is threading.main_thread():
                return self.become(Actor("notebook"))
            actor = self.become(Actor(thread.name.split(" (")[0]))
            actor.state, actor.alive = RUNNING, thread.is_alive
            self.join(actor)
        return actor

    def known(self) -> Actor | None:
        """The actor of this thread, if it has one."""
        return getattr(self._here, "actor", None)

    def become(self, actor: Actor) -> Actor:
        """This thread acts as `actor` from now on."""
        self._here.actor = actor
        actor.thread = threading.get_ident()
        return actor

    @contextmanager
    def acting_as(self, actor: Actor) -> Iterator[None]:
        """This thread acts as `actor` for the while."""
        before = self.known()
        self._here.actor = actor
        try:
            yield
        finally:
            self._here.actor = before

    def join(self, *actors: Actor) -> None:
        """They are counted from now on: those that take turns in the order in which they joined."""
        with self.lock:
            self.others = [actor for actor in self.others if actor.alive()]  # (each has a socket pair)
            for actor in actors:
                (self.order if actor.takes_turns else self.others).append(actor)
                if actor.takes_turns and actor.name not in self.in_turns:
                    self.in_turns.append(actor.name)
                if actor.keeps_log and actor not in self.speakers:
                    self.speakers.append(actor)

    def leave(self, actor: Actor, successor: Actor | None = None) -> None:
        """`actor` is counted no more; `successor`, if there is one, takes its turns."""
        with self.lock:
            for actors in (self.order, self.others, self.speakers):
                if actor in actors and successor is not None:
                    actors[actors.index(actor)] = successor
                actors[:] = [other for other in actors if other is not actor]
            self._free(actor)

    def enter(self) -> Actor:
        """At the start of each recorded call: ends who is ended, and gives the baton back to who lost it."""
        actor = getattr(self._here, "actor", None) or self.current()
        actor.calls += 1
        if actor.timed_out < actor.calls - 1:
            actor.timeouts = 0
        if actor.ended:
            actor.halt()
        if actor.takes_turns and self.holder is not actor:
            self.take(actor)
        return actor

    def perform(self, actor: Actor, act: Callable[[], object]) -> BaseException | None:
        """Run `act` in this thread as `actor`; gives what it raised.  It can be ended until then, and not after."""
        self.become(actor)
        problem: BaseException | None = None
        try:
            try:
                actor.spared = False
                if actor.takes_turns:
                    self.take(actor)  # (until then it is READY: nobody is put before it)
                actor.state = RUNNING
                if actor.ended:
                    actor.halt()
                act()
            except BaseException as error:  # whatever it is, it ends this and nothing else
                problem = error
            self._spare(actor)
        except BaseException as error:  # it was ended just when it had come to its end
            problem = problem or error
            self._spare(actor)
        return problem

    def _spare(self, actor: Actor) -> None:
        with self.lock:
            actor.spared, struck, actor.struck = True, actor.struck, False
        if struck:
            take_back()

    # ------------------------------------------------------------------ the baton

    def take(self, actor: Actor) -> None:
        """Wait for the baton.  One that is ended goes on without it."""
        with self.lock:
            actor.state, actor.astray = READY, False
            self._pass_on()
        while self.holder is not actor and not actor.ended:
            poll([actor.wake], [], None)
            actor.wake.drain()
        actor.state = RUNNING

    def release(self, actor: Actor, state: str = IDLE) -> None:
        """`actor` is done, or goes to wait: the baton goes on."""
        with self.lock:
            actor.state, actor.astray = state, False
            self._free(actor)

    def _free(self, actor: Actor) -> None:
        if self.holder is actor:
            self.holder = None
        self._pass_on()

    def _pass_on(self) -> None:
        """Give the baton, if nobody has it, to the first that can go on, and tell those who watch."""
        if self.holder is None:
            for actor in self.order:
                if actor.state == READY or (actor.state == WAITING and self._can_go_on(actor)):
                    self.holder, actor.since = actor, time.monotonic()
                    break
        if self.holder is not None and self.holder.state != RUNNING:
            self.holder.wake.poke()
        self.tell()

    def tell(self) -> None:
        """Something has changed: wake those who watch."""
        for wake in list(self.watchers):
            wake.poke()

    @staticmethod
    def _can_go_on(actor: Actor) -> bool:
        wait = actor.wait
        return wait is not None and (actor.ended or wait.ready() or wait.expects())

    def nudge(self) -> None:
        """Somebody may go on, or has come to rest: give the baton, if nobody has it."""
        with self.lock:
            self._pass_on()

    # ------------------------------------------------------------------ waiting

    def wait(self, actor: Actor, wait: Wait, begins: Callable[[], None] = lambda: None) -> bool:
        """Wait until `wait` can go on: True, or False at its time-out.

        An actor that takes turns gives up the baton first (`begins` is called then), after everything in the background
        has come to rest, so that a wait means that nobody but another role can end it.
        """
        if wait.ready() or wait.certain():
            return True
        try:
            if actor.takes_turns:
                self._let_others_rest(actor, wait)
                if wait.ready():
                    return True
                begins()
            with self.lock:
                actor.wait, actor.state, actor.astray = wait, WAITING, False
                self.waiting.add(actor)
                self._free(actor)
            while True:
                timed_out = wait.left() == 0
                if actor.ended or timed_out or self.holder is actor or wait.ready():
                    if actor.takes_turns:
                        self.take(actor)
                    if actor.ended:
                        actor.halt()
                    if wait.ready() or wait.certain():  # asked again: another may have been quicker
                        return True
                    if timed_out:
                        actor.timeouts, actor.timed_out = actor.timeouts + 1, actor.calls
                        return False
                    self.release(actor, WAITING)
                poll([*wait.reads, actor.wake], wait.writes, wait.left())
                actor.wake.drain()
        finally:
            actor.wait, actor.state = None, RUNNING
            self.waiting.discard(actor)

    def closed(self, sock: Watched) -> None:
        """`sock` was closed: wake those who wait for it."""
        for actor in list(self.waiting):
            wait = actor.wait
            if wait is not None and any(s is sock for s in wait.sockets):
                actor.wake.poke()

    # ------------------------------------------------------------------ coming to rest

    def quiet(self) -> bool:
        """Is every actor idle, or waiting for what the kernel has not got?  Who is astray or lost is not counted."""
        with self.lock:
            self.others = [actor for actor in self.others if actor.alive()]
            return self.holder is None and all(actor.at_rest for actor in (*self.order, *self.others))

    def settle(self, look: Callable[[], bool] = lambda: False) -> None:
        """Wait until all are quiet, or until `look()`, which is asked now and then, says that it is enough.

        Who has the baton and is not seen at the gate for `SHORT` seconds loses it, until his next recorded call.
        """
        began = time.monotonic()

        def done() -> bool:
            if self.quiet() or look():
                return True
            now, holder = time.monotonic(), self.holder
            if holder is not None and holder.state == RUNNING and now - holder.since > SHORT:
                with self.lock:
                    holder.astray = True
                    self._free(holder)
            elif now - began > SHORT:
                self._let_go()
            return now - began > 3 * SHORT

        me = self.known()
        if me is None or not me.takes_turns:  # (who has the baton would wait for himself)
            self.until(done)

    def _let_others_rest(self, actor: Actor, wait: Wait) -> None:
        """Before `actor` gives up the baton: wait until all in the background are at rest, or `wait` is ready."""
        began = time.monotonic()

        def done() -> bool:
            if time.monotonic() - began > SHORT:
                self._let_go()
            with self.lock:
                return actor.ended or wait.ready() or all(other.at_rest for other in self.others)

        if self.others:
            actor.state = READY  # the gate sees it: it does not go astray meanwhile
            self.until(done, reads=[*wait.reads, actor.wake], writes=wait.writes)
            actor.since = time.monotonic()

    def _let_go(self) -> None:
        """Those in the background who have been busy for too long are not waited for until they wait again."""
        for actor in list(self.others):
            actor.astray = actor.astray or actor.state == RUNNING

    def until(
        self,
        done: Callable[[], bool],
        limit: float = float("inf"),
        reads: Sequence[Watched] = (),
        writes: Sequence[Watched] = (),
    ) -> None:
        """Wait until `done()`, for `limit` seconds at most: asked at every change at the gate, and now and then."""
        wake, pause, end = Wake(), 0.001, time.monotonic() + limit
        self.watchers.append(wake)
        try:
            while not done() and (left := end - time.monotonic()) > 0:
                poll([wake, *reads], writes, min(pause, left))
                wake.drain()
                pause = min(2 * pause, 0.1)
        finally:
            self.watchers.remove(wake)

    # ------------------------------------------------------------------ ending

    def end(self, *actors: Actor, gently: bool = False) -> None:
        """End what they do: a wait at once, code at the line where it is; or, gently, at its next recorded call."""
        for actor in actors:
            with self.lock:
                actor.ended = True
                self._pass_on()
                if not gently and actor.state == RUNNING and not actor.spared and actor.alive():
                    actor.struck = raise_in(actor.thread, actor.ending)
            actor.wake.poke()

    def until_gone(self, *actors: Actor, limit: float = GRACE) -> None:
        """Wait until they are done, for `limit` seconds at most."""
        self.until(lambda: not any(actor.alive() for actor in actors), limit)

    def leave_behind(self, actor: Actor, successor: Actor | None = None) -> None:
        """`actor` could not be ended: it loses baton and place, and `successor` takes its turns."""
        actor.ended = actor.lost = True
        self.leave(actor, successor)
        if actor.endings:  # it has swallowed what ends it: once more, for good
            self.end(actor)
        actor.wake.poke()

    # ------------------------------------------------------------------ what lives as long as a stage

    def begin_anew(self) -> None:
        """A new stage begins: what was told to `at_new_stage` is done."""
        for act in self.at_new_stage:
            act()

    def end_all(self) -> None:
        """The stage ends: so does what was told to `at_end`, and every thread that makes calls."""
        while self.at_end:
            self.at_end.pop()()
        idle = [actor for actor in self.others if is_in(actor.thread, POOL)]  # its thread is the pool's
        busy = [actor for actor in self.others if actor not in idle]
        for gently in (True, False):
            self.end(*busy, gently=gently)
            self.until_gone(*busy, limit=GRACE / 2)
        with self.lock:
            self.order, self.others, self.speakers, self.in_turns, self.holder = [], idle, [], [], None


gate = Gate()
