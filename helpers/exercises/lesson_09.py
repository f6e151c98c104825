"""Lesson 09: the write side of an event loop, and a deadline for every caller."""

from __future__ import annotations

import selectors
import socket as standard
from collections.abc import Callable, Sequence
from typing import Any

from helpers import recorded_socket as socket
from helpers.exercises.exercise import Exercise, NotYet, returned
from helpers.exercises.on_the_line import short
from helpers.exercises.peers import PATIENCE, connected
from helpers.exercises.trial import Trial
from helpers.gate import poll
from helpers.recording import Call

ROOM = 4096  #: bytes of each buffer on the way to a caller who does not read: much less than it is to hear
MORE = b" and more"

# ---------------------------------------------------------------------- 9a


def write_side(selector, key, data):
    """Say data to one caller without waiting; return whether the call still stands."""
    import selectors

    unsent = key.data
    unsent += data
    try:
        if unsent:
            sent = key.fileobj.send(unsent)
            del unsent[:sent]
    except BlockingIOError:  # nothing goes now
        pass
    except OSError:
        selector.unregister(key.fileobj)
        key.fileobj.close()
        return False
    selector.modify(key.fileobj, selectors.EVENT_WRITE if unsent else selectors.EVENT_READ, unsent)
    return True


class _Loop:
    """A selector with one caller in it, and the turns that an answer takes for that caller."""

    def __init__(self, answer: Callable[..., Any], case: str, room: int | None = None) -> None:
        near, self.line = connected(room)
        self.connection = socket.socket(fileno=near.detach())
        self.connection._be_patient(0.0)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.connection, selectors.EVENT_READ, bytearray())
        self.answer, self.case, self.said = answer, case, b""
        self.result: Any = None
        self.left = b""  # what the answer holds back
        self._calls: list[Call] = []  # those of the last turn

    def __enter__(self) -> _Loop:
        return self

    def __exit__(self, *problem: object) -> None:
        self.selector.close()
        socket.force_close(self.connection)
        self.line.connection.close()

    def turn(self, data: bytes) -> bytes:
        """One turn with `data`; return what is still to be sent, if the answer left all in order."""
        self._play(data)
        if self.result is not True:
            raise NotYet(
                f"{self.case}: the call stands, and your function returned {self.result!r}. Return True; False is for "
                "a call that is lost"
                + (", and BlockingIOError, an OSError too, is no loss." if self.blocked() else ".")
            )
        if self.connection.fileno() < 0:
            raise NotYet(f"{self.case}: your function closed the connection, and the call still stands.")
        if self.connection.gettimeout() != 0.0:
            raise NotYet(f"{self.case}: your function let the connection block. Then one caller can stop the loop.")
        try:
            key = self.selector.get_key(self.connection)
        except KeyError:
            raise NotYet(f"{self.case}: the connection is not registered any more: nobody will look at it.") from None
        if not isinstance(key.data, bytearray):
            raise NotYet(
                f"{self.case}: the selector has {key.data!r} for the caller where the bytearray was. modify() takes "
                "the data anew: selector.modify(connection, events, key.data)."
            )
        self.left = bytes(key.data)
        self._must_watch(key.events)
        return self.left

    def _play(self, data: bytes) -> None:
        self.said += data
        with Trial(self.answer, self.selector, self.selector.get_key(self.connection), data) as trial:
            trial.wait()
        self._calls = [event.call for event in trial.recording.events if not event.waits]
        if trial.hung:
            raise NotYet(f"{self.case}: {trial.hung}. The loop has others to serve: send what goes, and keep the rest.")
        if self.blocked("sendall"):
            raise NotYet(
                f"{self.case}: sendall() gave up when nothing more went, and does not say how much it had sent. Use "
                "send(), which does."
            )
        if isinstance(trial.error, BlockingIOError):
            raise NotYet(
                f"{self.case}: your function raised {trial.raised()}. Nothing more goes now: keep the rest, and watch "
                "for EVENT_WRITE."
            )
        self.result = returned(trial, self.case)

    def _must_watch(self, events: int) -> None:
        if self.left and events == selectors.EVENT_READ | selectors.EVENT_WRITE:
            raise NotYet(
                f"{self.case}: {len(self.left):,} bytes are unsent, and the caller is read from all the same. Who "
                "does not read would make you keep more and more: watch for EVENT_WRITE alone."
            )
        if self.left and events != selectors.EVENT_WRITE:
            raise NotYet(
                f"{self.case}: {len(self.left):,} bytes are unsent, and nobody watches for room to send them: "
                "selector.modify with EVENT_WRITE."
            )
        if not self.left and events & selectors.EVENT_WRITE:
            raise NotYet(
                f"{self.case}: nothing is left to send, and you watch for EVENT_WRITE. There is nearly always room: "
                "select() would return at once, again and again."
            )
        if not events & selectors.EVENT_READ and not self.left:
            raise NotYet(f"{self.case}: nothing is left to send: watch for EVENT_READ again.")

    def blocked(self, name: str = "send") -> bool:
        """Did the answer's last call of this name raise BlockingIOError?"""
        calls = [call for call in self._calls if call.name == name]
        return bool(calls) and isinstance(calls[-1].error, BlockingIOError)

    def fill(self) -> None:
        """Fill the buffers on the way to the caller, until nothing more goes."""
        connection = standard.socket(fileno=self.connection.fileno())  # it is no call of the answer's
        try:
            while True:
                self.said += b"x" * connection.send(b"x" * ROOM)
        except BlockingIOError:
            pass
        finally:
            connection.detach()

    def hears(self) -> None:
        """The caller hears what is on its way."""
        while poll([self.line.connection], [], 0) and not self.line.ended:
            self.line._receive(65536)

    def must_have_heard_all(self) -> None:
        """The caller has heard what it was to hear, each byte once, in order."""
        self.line.connection.settimeout(2.0)
        try:
            heard = self.line.hear(len(self.said))
        except TimeoutError:
            heard = self.line.heard
        if heard != self.said:
            same = next((n for n, (a, b) in enumerate(zip(heard, self.said, strict=False)) if a != b), None)
            what = f"the first {same:,} of them right" if same is not None else "and no more came"
            raise NotYet(
                f"{self.case}: the caller should have heard {short(self.said)}, and heard {len(heard):,} bytes, {what}."
                " Take from the front of key.data what send() says that it took, no more and no less."
            )


def _judge_write_side(answer: Callable[..., Any]) -> None:
    with _Loop(answer, "A caller who reads is to hear b'hello'") as loop:
        for data in (b"hello", b"", b" again"):
            if left := loop.turn(data):
                raise NotYet(f"{loop.case}: there is room for it, and {left!r} was kept. Send as much as goes.")
        loop.must_have_heard_all()
    _nothing_goes(answer)
    _much(answer)
    _lost(answer)


def _nothing_goes(answer: Callable[..., Any]) -> None:
    with _Loop(answer, "A caller has read nothing of what went before, and is to hear b'hello'", ROOM) as loop:
        loop.fill()
        while not loop.turn(b"hello"):
            if loop.blocked():
                raise NotYet(f"{loop.case}: nothing went, and your function kept nothing. Keep it in key.data.")
            loop.fill()  # the system has found room for a little more meanwhile


def _much(answer: Callable[..., Any]) -> None:
    words = b" ".join(b"%d" % number for number in range(20_000))
    with _Loop(answer, f"A caller who reads nothing yet is to hear {len(words):,} bytes", ROOM) as loop:
        if not loop.turn(words):
            raise NotYet(
                f"{loop.case}: your function kept nothing, and so much can't have gone. send() returns how many "
                "bytes it took: keep the others in key.data."
            )
        loop.case = "A caller who still reads nothing is to hear more"
        before = len(words)
        while len(loop.left) < before:  # until nothing goes any more
            before = len(loop.left) + len(MORE)
            if not loop.turn(MORE).endswith(MORE):
                raise NotYet(f"{loop.case}: what is new is not at the end of key.data. Answers go out in their order.")
        loop.case = f"A caller who begins to read, and is to hear {len(loop.said):,} bytes in all"
        while rest := len(loop.left):
            loop.hears()
            if not poll([], [loop.connection], PATIENCE):
                raise NotYet(f"{loop.case}: nothing more can be sent, though it reads.")
            if len(loop.turn(b"")) == rest:
                raise NotYet(
                    f"{loop.case}: there was room, data is b'', and key.data is as long as before. Send what is left, "
                    "too, and take off what was sent."
                )
        loop.must_have_heard_all()


def _lost(answer: Callable[..., Any]) -> None:
    for words, case in (
        (b"", "A caller has reset the call, and is to hear b'x'"),
        (b"x" * 100_000, "A caller who did not read has reset the call, with much unsent, and is to hear b'x'"),
    ):
        with _Loop(answer, case, ROOM) as loop:
            if words:
                loop.turn(words)
            loop.line.hang_up_rudely()
            poll([loop.connection], [], PATIENCE)  # it has arrived
            with Trial(answer, loop.selector, loop.selector.get_key(loop.connection), b"x") as trial:
                trial.wait()
            if isinstance(trial.error, OSError) and not trial.hung:
                raise NotYet(
                    f"{case}: your function raised {trial.raised()}. This call is lost, but the loop has others: "
                    "unregister, close, return False."
                )
            got = returned(trial, case)
            registered = [key.fileobj for key in loop.selector.get_map().values()]
            if loop.connection.fileno() >= 0:
                raise NotYet(f"{case}: your function left the connection open. It is of no use any more: close it.")
            if registered:
                raise NotYet(f"{case}: your function closed the connection, and it is still registered: unregister.")
            if got is not False:
                raise NotYet(f"{case}: the call is lost, and your function returned {got!r}. Return False.")


exercise_9a = Exercise(
    "exercise_9a",
    _judge_write_side,
    write_side,
    "Sent what went, kept the rest, and never waited.",
    "four steps: key.data += data would set a name of the key, which can't be: say unsent = key.data first; then send "
    "unsent, if there is any; delete what was sent; modify",
    "send() returns how many bytes it took: del unsent[:sent]. BlockingIOError: it took none",
    "selector.modify(key.fileobj, selectors.EVENT_WRITE if unsent else selectors.EVENT_READ, unsent)",
)


# ---------------------------------------------------------------------- 9b


def hang_up_late(selector, now):
    """Hang up on all whose deadline has come; return the seconds until the next one, or None."""
    left = []
    for key in list(selector.get_map().values()):
        if key.data is None:
            continue
        if key.data <= now:
            selector.unregister(key.fileobj)
            key.fileobj.close()
        else:
            left.append(key.data - now)
    return min(left, default=None)


def _judge_late(answer: Callable[..., Any]) -> None:
    for case, now, deadlines in (
        ("Nobody is on the line", 100.0, []),
        ("One caller, with 5 s left", 100.0, [105.0]),
        ("One caller, whose deadline was a second ago", 100.0, [99.0]),
        ("One caller, whose deadline is this very moment", 100.0, [100.0]),
        ("One caller without a deadline (None)", 100.0, [None]),
        ("Callers with 7, 3 and 5 s left", 100.0, [107.0, 103.0, 105.0]),
        ("A caller whose deadline was a second ago, and one with 4 s left", 100.0, [99.0, 104.0]),
        ("Twenty callers, every second one late", 100.0, [95.0, 130.0] * 10),
        ("A clock that has just begun: now is 0.0, and so is the deadline", 0.0, [0.0, None]),
    ):
        _looks(answer, case, now, deadlines)


def _looks(answer: Callable[..., Any], case: str, now: float, deadlines: Sequence[float | None]) -> None:
    with selectors.DefaultSelector() as selector, standard.create_server(("127.0.0.1", 0)) as listener:
        selector.register(listener, selectors.EVENT_READ)
        calls = []
        try:
            for deadline in deadlines:
                near, line = connected()
                calls.append((deadline, socket.socket(fileno=near.detach()), line))
                calls[-1][1]._be_patient(0.0)
                selector.register(calls[-1][1], selectors.EVENT_READ, deadline)
            with Trial(answer, selector, now) as trial:
                trial.wait()
                open_now = [connection.fileno() >= 0 for _, connection, _ in calls]
                registered = {id(key.fileobj) for key in (selector.get_map() or {}).values()}
            if isinstance(trial.error, RuntimeError) and "changed size" in str(trial.error):
                raise NotYet(
                    f"{case}: your function raised {trial.raised()}. get_map() is the selector's own list, and "
                    "unregister() changes it while you go through it: go through list(...) of it."
                )
            got = returned(trial, case)
            if listener.fileno() < 0 or id(listener) not in registered:
                raise NotYet(f"{case}: your function hung up the listener. Its data is None: leave it alone.")
            for (deadline, connection, _), is_open in zip(calls, open_now, strict=True):
                _must_be(case, now, deadline, is_open, id(connection) in registered)
            _must_return(case, got, [d - now for d in deadlines if d is not None and d > now])
        finally:
            for _, connection, line in calls:
                socket.force_close(connection)
                line.connection.close()


def _must_be(case: str, now: float, deadline: float | None, is_open: bool, registered: bool) -> None:
    late = deadline is not None and deadline <= now
    when = f"the caller with the deadline {deadline} (now is {now})"
    if late and is_open and registered:
        raise NotYet(f"{case}: {when} is still on the line.")
    if late and is_open:
        raise NotYet(f"{case}: {when} was unregistered, and not closed: it hears nothing, and waits for ever.")
    if late and registered:
        raise NotYet(f"{case}: {when} was closed, and is still registered. unregister() it before you close it.")
    if not late and not (is_open and registered):
        raise NotYet(f"{case}: {when} was hung up on, and it is not late.")


def _must_return(case: str, got: Any, left: list[float]) -> None:
    wanted = min(left, default=None)
    if got is None and wanted is not None:
        raise NotYet(f"{case}: your function returned None: the loop would wait until somebody speaks, and be late.")
    if wanted is None and got is not None:
        raise NotYet(f"{case}: your function returned {got!r}. There is no next deadline: return None.")
    if wanted is not None and got != wanted:
        if not isinstance(got, (int, float)) or isinstance(got, bool):
            raise NotYet(f"{case}: your function returned {got!r}. Return seconds: {wanted}.")
        how = "too early, again and again" if got < wanted else "too late"
        raise NotYet(
            f"{case}: the next deadline is in {wanted} s, and your function returned {got}: the loop wakes {how}."
        )


exercise_9b = Exercise(
    "exercise_9b",
    _judge_late,
    hang_up_late,
    "Nobody late stays, nobody else goes, and the loop sleeps as long as it may.",
    "go through list(selector.get_map().values()): a list, because unregister() changes the map",
    "three kinds of keys: no deadline (key.data is None), too late (key.data <= now), and those with time left, "
    "key.data - now",
    "min(left, default=None) of the list of times left; unregister before close",
)
