"""The stage without a notebook: recovery first, then each of its rules."""

from __future__ import annotations

import gc
import os
import signal
import socket as standard
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

import pytest
from timing import SOON, took

import helpers
from helpers import NoStage, Stage, StillWaiting, callers, cells, gate, socket
from helpers.gate import gate as the_gate
from helpers.waits import look_into

LISTEN = """
    listener = socket.create_server(("127.0.0.1", 0))
    host, port = listener.getsockname()
"""
DIAL = "client = socket.create_connection((host, port))"
ACCEPT = "transfer, caller = listener.accept()"


@pytest.fixture
def hurry(monkeypatch):
    """What the gate can't see is waited for 0.2 seconds in place of five."""
    monkeypatch.setattr(gate, "SHORT", 0.2)


@pytest.fixture
def connected(cell):
    """The client has dialled, the server has accepted."""
    cell("server", LISTEN)
    cell("client", DIAL)
    cell("server", ACCEPT)


def until(condition: Callable[[], object], limit: float = 10.0) -> None:
    """Wait for what is certain to come."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.001)


@contextmanager
def once(condition: Callable[[], object], act: Callable[[], object]) -> Iterator[None]:
    """In the background: `act` as soon as `condition` holds."""

    def work() -> None:
        until(condition)
        act()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def press_stop() -> None:
    """What ■ does: SIGINT to the main thread."""
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def place(stage: Stage, role: str) -> str:
    """The line that a role is in."""
    return stage._roles[role].line()


def calls(stage: Stage) -> list[str]:
    """The record, a word or two a line."""
    return [f"{e.call.role} {e.call.name}{' …' * e.waits}" for e in stage.recording.events]


# ---------------------------------------------------------------------- recovery

#: what a role may do out of the gate's sight: the code before, the line, and whether Python can end it
UNSEEN = {
    "sleeps": ("import time", "time.sleep(60)", False),
    "computes": ("", "while True: pass", True),
    "plain accept": (
        "import socket as plain\nplain_listener = plain.create_server(('127.0.0.1', 0))",
        "plain_listener.accept()",
        False,
    ),
    "queue": ("import queue\nq = queue.Queue()", "q.get()", False),
    "tls": (
        "import ssl\ntransfer = socket.create_connection(listener.getsockname())\n"
        "context = ssl._create_unverified_context()",
        "context.wrap_socket(transfer)",
        False,
    ),
}


@pytest.fixture(params=UNSEEN)
def unseen(request, cell, hurry):
    """A role that is out of sight while it holds the baton; gives its line, and whether Python can end it."""
    before, line, can_be_ended = UNSEEN[request.param]
    source = "\n".join(filter(None, ["print('before')", before, line]))
    number = 1 + len(source.splitlines())
    cell("server", LISTEN)
    said = cell("server", source)
    assert said.startswith("server │ before\n")
    assert said.endswith(f'\n       │ … is busy (line {number}: {line}); stage.stop("server") ends it')
    return f"line {number}: {line}", can_be_ended


def test_who_is_out_of_sight_loses_the_baton(unseen, cell):
    assert cell("client", "print('I go on')").endswith("client │ I go on")
    with pytest.raises(StillWaiting) as refusal:
        cell("server", "1")
    assert str(refusal.value) == (
        f'server is still busy ({unseen[0]}). Let it finish, or end it with stage.stop("server").'
    )


def test_stop_ends_what_python_can_end_and_leaves_the_rest_behind(unseen, cell, stage, capsys):
    line, can_be_ended = unseen
    assert took(stage.stop, "server") < SOON
    if can_be_ended:
        assert capsys.readouterr().out == f"server: ended while it was busy ({line})\n"
    else:
        assert capsys.readouterr().out == (
            f"server could not be ended ({line}): its thread was left behind, its sockets were closed, "
            "and %%server goes on in a new one\n"
        )
        assert stage._namespace["listener"].fileno() == -1
    assert cell("server", "print('on I go')") == "server │ on I go"
    assert cell("server", "listener.close()" + dedent(LISTEN)) == ""
    cell("client", DIAL)
    assert cell("server", f"{ACCEPT}\ntransfer.recv(5)") == "server │ … waits in recv()"
    assert cell("client", "client.sendall(b'hello')") == "server │ b'hello'"


@pytest.mark.parametrize("line", ["import time; time.sleep(60)", "while True: pass"])
def test_the_stop_button_does_the_same(line, cell, stage):
    with once(lambda: place(stage, "server"), press_stop), pytest.raises(KeyboardInterrupt) as ended:
        cell("server", line)
    assert str(ended.value) == (
        "server was ended"
        if line.startswith("while")
        else f"server could not be ended (line 2: {line}): its thread was left behind, its sockets were closed, "
        "and %%server goes on in a new one"
    )
    assert cell("server", "print('on I go')") == "server │ on I go"


def test_a_new_stage_over_what_is_out_of_sight(unseen, cell, stage):
    old = stage._namespace["listener"].getsockname()
    assert took(lambda: Stage("server", "client", namespace={})) < SOON
    with standard.create_server(old):
        pass


def test_five_seconds(cell):
    """The rule itself, at its own pace."""
    began = time.monotonic()
    said = cell("server", "import time\ntime.sleep(6)")
    assert 5 < time.monotonic() - began < 5 + SOON
    assert said == 'server │ … is busy (line 3: time.sleep(6)); stage.stop("server") ends it'


def test_what_is_left_behind_says_nothing_more_and_goes(cell, stage, hurry):
    """A thread that comes back later ends; what it prints and calls then is dropped, and no part of the program."""
    source = """
        import queue
        q = queue.SimpleQueue()
        print("first")
        try: q.get()
        except BaseException: pass
        print("late")
    """
    assert cell("server", source).startswith("server │ first\n")
    thread = stage._roles["server"]._thread
    stage.stop("server")
    stage._namespace["q"].put("now")
    thread.join(10)
    assert not thread.is_alive()
    assert cell("server", "print('new')") == "server │ new"
    assert [c.completed for c in stage._cells] == [False, True]


SWALLOW = {
    "in a recorded call": "listener.accept()",
    "in a computation": "while True: pass",
    "in functions of its own": "while True: deep(30)",
}


@pytest.mark.parametrize("line", SWALLOW.values(), ids=SWALLOW)
def test_who_swallows_what_ends_it_is_put_to_sleep(line, cell, stage, hurry, capsys):
    cell("server", LISTEN)
    cell("server", "def deep(n):\n    return deep(n - 1) + 1 if n else 0")
    cell("server", f"while True:\n    try:\n        {line}\n    except BaseException: pass")
    role = stage._roles["server"]
    stage.stop("server")

    def calm() -> bool:
        place = look_into(role.actor.thread, lambda frame: frame.f_code.co_name)
        return not role.busy or not place or place[0] == "wait"

    until(calm)  # asleep (or done, where it was hit outside of its `try`): it takes no time any more
    capsys.readouterr()
    assert cell("server", "print('on I go')") == "server │ on I go"
    assert cell("client", "print('so do I')") == "client │ so do I"


def test_ended_twice(cell, stage, hurry, capsys):
    cell("server", LISTEN)
    cell("server", ACCEPT)
    stage.stop("server")
    stage.stop("server")
    assert capsys.readouterr().out == "server: ended while it waited in accept()\nserver was not waiting in anything\n"
    cell("server", "import time\ntime.sleep(60)")
    stage.stop("server")
    stage.stop("server")
    assert capsys.readouterr().out.endswith("in a new one\nserver was not waiting in anything\n")
    stage.stop()
    assert capsys.readouterr().out == ""


def test_who_cleans_up_when_ended_may_take_its_time(cell, stage, hurry, capsys):
    cell("server", LISTEN)
    cell("server", f"try:\n    {ACCEPT}\nfinally:\n    listener.close()\n    print('closed')")
    stage.stop("server")
    assert capsys.readouterr().out == "server: ended while it waited in accept()\n"
    assert cell("server", "print('next')") == "server │ closed\n       │ next"


def test_an_error_while_it_is_ended_is_not_lost(cell, stage, capsys):
    cell("server", LISTEN)
    cell("server", f"try:\n    {ACCEPT}\nfinally:\n    1 / 0")
    stage.stop("server")
    with pytest.raises(ZeroDivisionError):
        cell("server", "1")


def test_who_went_astray_gets_the_baton_back_in_its_turn(cell, stage, hurry, tmp_path):
    go = tmp_path / "go"
    cell("server", LISTEN)
    cell(
        "server",
        f"import time, os\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\nlistener.getsockname()\n{ACCEPT}",
    )
    cell("client", "far = socket.create_server(('127.0.0.1', 0))")
    go.touch()
    until(lambda: stage._roles["server"].actor.wait)
    assert cell("client", DIAL) == ""
    assert [call for call in calls(stage) if "accept" in call] == ["server accept …", "server accept"]
    assert cell("server", "print('idle again')") == "server │ idle again"


# ---------------------------------------------------------------------- the baton


def test_the_first_in_the_stages_order_goes_on_first(capsys):
    stage = Stage("one", "two", "three", namespace={"socket": socket})
    stage.run("three", "a, b = socket.socketpair()\nc, d = socket.socketpair()")
    stage.run("two", "b.recv(1)")
    stage.run("one", "d.recv(1)")
    stage.run("three", "a.sendall(b'!')\nc.sendall(b'!')\na.sendall(b'.')")
    tail = calls(stage)[-5:]
    assert tail == ["three sendall", "three sendall", "three sendall", "one recv", "two recv"]
    stage.close()


def test_a_role_keeps_the_baton_until_nothing_is_ready(connected, cell, stage):
    cell("server", "transfer.recv(3)\nfor _ in range(3): transfer.recv(3)")
    before = len(calls(stage))
    cell("client", "for _ in range(4): client.sendall(b'abc')")
    assert calls(stage)[before:] == ["client sendall"] * 4 + ["server recv"] * 4


# ---------------------------------------------------------------------- what a role says


def test_a_block_for_each_role_in_the_cell_that_caused_it(connected, cell):
    assert cell("server", "print('ready')\ndata = transfer.recv(9)\nprint(data)\ntransfer.sendall(b'yes')") == (
        "server │ ready\n       │ … waits in recv()"
    )
    assert cell("client", "client.sendall(b'hello')\nprint('sent')\nclient.recv(9)") == (
        "server │ b'hello'\nclient │ sent\n       │ b'yes'"
    )


def test_who_is_moved_on_by_a_scripted_caller_speaks_in_that_cell(cell, stage, capsys):
    cell("server", LISTEN)
    cell("server", f"{ACCEPT}\nprint('who?', transfer.recv(9))\ntransfer.close()")
    callers.polite((stage._namespace["host"], stage._namespace["port"]), b"me")
    stage._after_any_cell()
    assert capsys.readouterr().out.endswith("server │ who? b'me'\n")


def test_everything_written_goes_to_the_block(cell):
    source = """
        import sys, traceback, warnings
        warnings.warn("careful", stacklevel=1)
        print("by stderr", file=sys.stderr)
        sys.stdout.write("by write\\n")
        sys.stdout.writelines(["one, ", "two\\n"])
        try: 1 / 0
        except ZeroDivisionError: traceback.print_exc()
    """
    with pytest.warns(UserWarning, match="careful"):
        said = cell("server", source)
    assert said.startswith(
        "server │ by stderr\n       │ by write\n       │ one, two\n       │ Traceback (most recent call"
    )
    assert said.endswith("│ ZeroDivisionError: division by zero")


def test_the_last_value_is_shown_and_not_kept(cell, stage):
    cell("server", "class Thing:\n    def __repr__(self): return 'a thing'\nthing = Thing()")
    kept = weakref.ref(stage._namespace["thing"])
    assert cell("server", "thing") == "server │ a thing"
    assert cell("server", "thing;") == ""
    assert cell("server", "None") == ""
    assert cell("server", "'two\\nlines'") == "server │ 'two\\nlines'"
    cell("server", "del thing")
    assert kept() is None


def test_a_shown_socket_gives_its_port_back(cell, stage):
    cell("server", LISTEN)
    host, port = stage._namespace["host"], stage._namespace["port"]
    assert cell("server", "listener").startswith("server │ <socket.socket fd=")
    with pytest.warns(ResourceWarning):
        cell("server", "del listener")
    with standard.create_server((host, port)):
        pass


def test_a_role_that_prints_ten_megabytes(cell):
    assert took(cell, "server", "for _ in range(100): print('x' * 100_000)") < 5
    said = cell("server", "for _ in range(100): print('x' * 100_000)\nprint('the end')")
    assert said.startswith("server │ (… 9,800,108 characters before this are not shown)\n       │ xxx")
    assert said.endswith("│ the end")
    assert len(said) < 250_000


def test_a_role_that_prints_for_ever(cell, stage, hurry):
    said = cell("server", "while True: print('again' * 20_000)")
    assert " characters before this are not shown)\n       │" in said
    assert said.endswith("… is busy (line 2: while True: print('again' * 20_000)); stage.stop(\"server\") ends it")
    until(lambda: stage._roles["server"].actor.log._dropped > 5_000_000)
    assert stage._roles["server"].actor.log._size < cells.KEPT + 300_000
    stage.stop("server")


def test_a_thread_of_the_learners_own_prints_where_python_would(cell):
    source = """
        import threading
        thread = threading.Thread(target=print, args=("by a thread",))
        thread.start(); thread.join()
        print("by the role")
    """
    assert cell("server", source) == "by a thread\nserver │ by the role"


# ---------------------------------------------------------------------- when a cell comes back


def test_a_cell_says_what_each_role_waits_in(connected, cell):
    assert cell("server", "listener.accept()") == "server │ … waits in accept()"
    assert cell("client", "client.recv(9)") == "server │ … waits in accept()\nclient │ … waits in recv()"


def test_the_time_of_a_cell(cell, capsys):
    """No limit: printed, for whoever wants to know."""
    cell("server", LISTEN)
    idle = min(took(cell, "client", "1") for _ in range(20))
    cell("server", ACCEPT)
    waiting = min(took(cell, "client", "1") for _ in range(20))
    with capsys.disabled():
        print(f" [a cell takes {1000 * idle:.2f} ms, while the other role waits {1000 * waiting:.2f} ms] ", end="")


def test_a_short_time_out_is_waited_out(connected, cell):
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        cell("server", "transfer.settimeout(0.4)\ntransfer.recv(1)")
    assert 0.4 <= time.monotonic() - began < SOON


def test_a_long_time_out_counts_as_waiting(connected, cell):
    assert took(cell, "server", "transfer.settimeout(5.1)\ntransfer.recv(1)") < SOON
    assert cell("client", "client.sendall(b'!')") == "server │ b'!'"


def test_a_poll_that_times_out_twice_counts_as_waiting(connected, cell, stage):
    source = """
        transfer.settimeout(0.1)
        while True:
            try: print(transfer.recv(9))
            except TimeoutError: continue
            break
    """
    assert 0.2 <= took(lambda: cell("server", source)) < SOON
    assert stage._roles["server"].busy
    assert cell("client", "client.sendall(b'!')") == "server │ b'!'"


def test_a_time_out_between_other_calls_is_no_poll(connected, cell):
    """It does something each time: it is waited out."""
    source = """
        transfer.settimeout(0.1)
        for _ in range(4):
            try: transfer.recv(9)
            except TimeoutError: transfer.sendall(b".")
        print("done")
    """
    assert cell("server", source) == "server │ done"


# ---------------------------------------------------------------------- every wait can be ended

WAITS = {
    "accept": "listener.accept()",
    "recv": "transfer.recv(1)",
    "recv with a time-out": "transfer.settimeout(60)\ntransfer.recv(1)",
    "readline": "transfer.makefile().readline()",
    "sendall": "transfer.sendall(bytes(50_000_000))",
    "connect": "dialling.connect(full.getsockname())",
    "select": "select.select([listener, transfer], [], [])",
}


@pytest.fixture(params=WAITS)
def waiting(request, connected, cell, stage):
    cell("server", "full = socket.create_server(('127.0.0.1', 0), backlog=0)\ndialling = socket.socket()")
    cell("server", "one = socket.create_connection(full.getsockname())")
    assert "server │ … waits in" in cell("server", WAITS[request.param])
    return request.param


def test_stop_ends_every_wait(waiting, cell, stage, capsys):
    assert took(stage.stop, "server") < SOON
    assert capsys.readouterr().out.startswith("server: ended while it waited in ")
    assert cell("server", "print('on I go')") == "server │ on I go"
    assert stage._namespace["listener"].fileno() >= 0


def test_a_new_stage_ends_every_wait(waiting, stage):
    old = stage._namespace["listener"].getsockname()
    assert took(lambda: Stage("server", namespace={})) < SOON
    with standard.create_server(old):
        pass
    assert not [t for t in threading.enumerate() if t.name == "client"]


@pytest.mark.parametrize(
    "line", ["transfer.recv(1)", "select.select([transfer], [], [], 4)", "transfer.makefile().read()"]
)
def test_the_stop_button_ends_a_timed_wait(line, connected, cell, stage):
    began = time.monotonic()
    with once(lambda: stage._roles["server"].actor.wait, press_stop), pytest.raises(KeyboardInterrupt) as ended:
        cell("server", f"transfer.settimeout(4)\n{line}")
    assert time.monotonic() - began < SOON
    assert str(ended.value) == "server was ended"
    assert cell("server", "print('on I go')") == "server │ on I go"


def test_the_stop_button_ends_who_waits_for_its_turn(cell, stage):
    """The client has not begun: the server computes, with the baton."""
    cell("server", LISTEN)
    cell("server", f"{ACCEPT}\nwhile True: pass")
    with standard.create_connection(stage._namespace["listener"].getsockname()):
        until(lambda: place(stage, "server").startswith("line 3"))
        began = time.monotonic()
        with once(lambda: stage._roles["client"].busy, press_stop), pytest.raises(KeyboardInterrupt) as ended:
            cell("client", "print('never')")
    assert time.monotonic() - began < SOON
    assert str(ended.value) == "client was ended"
    stage.stop("server")
    assert cell("client", "print('on I go')") == "client │ on I go"


def test_the_stop_button_after_the_code_has_ended_is_discarded(connected, cell, stage):
    """The client's cell is done; what it set going in the server is not: the cell comes back, and nothing is raised."""
    cell("server", "transfer.recv(1)\nwhile True: pass")
    began = time.monotonic()
    with once(lambda: place(stage, "server").startswith("line 3"), press_stop):
        said = cell("client", "client.sendall(b'!')\nprint('sent')")
    assert time.monotonic() - began < SOON
    assert said == 'server │ … is busy (line 3: while True: pass); stage.stop("server") ends it\nclient │ sent'
    stage.stop("server")


def test_a_handler_that_is_not_pythons_is_left_alone(cell, monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert cell("server", "1") == "server │ 1"
        assert signal.signal(signal.SIGINT, before) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_still_waiting(cell, stage):
    cell("server", LISTEN)
    cell("server", f"print('a')\n{ACCEPT}")
    with pytest.raises(StillWaiting) as refusal:
        cell("server", "1")
    assert str(refusal.value) == (
        "server still waits in accept() (line 3: transfer, caller = listener.accept()). "
        'Let it get what it waits for, or end it with stage.stop("server").'
    )
    assert cell("client", DIAL) == ""
    assert cell("server", "1") == "server │ 1"


def test_eight_threads_on_one_listener_are_all_ended(cell, stage, capsys):
    cell("server", LISTEN)
    source = """
        import threading
        threads = [threading.Thread(target=listener.accept) for _ in range(8)]
        for thread in threads: thread.start()
    """
    assert cell("server", source) == ""
    until(lambda: len(the_gate.waiting) == 8)
    assert took(stage.stop, "server") < SOON
    assert capsys.readouterr().out == "server: ended 8 of its own threads, which waited in its sockets\n"
    assert not any(thread.is_alive() for thread in stage._namespace["threads"])
    cell("server", "listener.getsockname()")


def test_a_new_stage_ends_the_learners_own_threads(cell, stage):
    cell("server", LISTEN)
    source = """
        import threading
        kept = []
        def work():
            kept.append(listener.accept())
            while True: pass
        thread = threading.Thread(target=work); thread.start()
        others = [threading.Thread(target=lambda: kept.append(listener.accept())) for _ in range(3)]
        for other in others: other.start()
    """
    cell("server", source)
    cell("client", DIAL)
    names = stage._namespace
    Stage("server", namespace={})
    assert not any(thread.is_alive() for thread in (names["thread"], *names["others"]))


# ---------------------------------------------------------------------- errors


def shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def test_an_error_shows_the_learners_lines_alone(cell):
    with pytest.raises(ZeroDivisionError) as caught:
        cell("server", "def half(n):\n    return n / 0\n\nhalf(1)")
    frames = traceback.extract_tb(caught.value.__traceback__)
    learners = [(f.lineno, f.line) for f in frames if f.filename.startswith("<server")]
    assert learners == [(5, "half(1)"), (3, "return n / 0")]
    assert "gate.py" not in shown(caught.value)
    assert "roles.py" not in shown(caught.value)


def test_an_error_while_another_cell_is_in_front(connected, cell, stage):
    cell("server", "transfer.recv(1)\n1 / 0")
    assert cell("client", "client.sendall(b'!')\nprint('sent')") == (
        "server │ … failed with ZeroDivisionError: division by zero (its next cell raises it)\nclient │ sent"
    )
    assert cell("client", "print('it is told once')") == "client │ it is told once"
    with pytest.raises(ZeroDivisionError) as caught:
        cell("server", "print('not yet')")
    assert caught.value.__notes__ == [
        "(raised in an earlier cell, after that had come back; this one has not run: run it again)"
    ]
    assert "line 3, in <module>\n    1 / 0" in shown(caught.value)
    assert cell("server", "print('now')") == "server │ now"


def test_an_error_of_a_role_that_was_stopped_meanwhile_is_forgotten(connected, cell, stage):
    cell("server", "transfer.recv(1)\nimport sys\nsys.exit()")
    assert (
        cell("client", "client.sendall(b'!')") == "server │ sys.exit() ended this cell; the role and the kernel live on"
    )
    assert cell("server", "1") == "server │ 1"


def test_causes_contexts_and_groups_too(cell):
    with pytest.raises(ExceptionGroup) as caught:
        cell(
            "server",
            "try: int('x')\nexcept ValueError as e: raise ExceptionGroup('two', [KeyError(1), OSError(2)]) from e",
        )
    text = shown(caught.value.__cause__) + shown(caught.value)
    assert "ValueError: invalid literal" in text
    assert "KeyError: 1" in text
    source = """
        import asyncio
        async def fail(): raise LookupError("inside")
        async def main():
            async with asyncio.TaskGroup() as group: group.create_task(fail())
        asyncio.run(main())
    """
    with pytest.raises(ExceptionGroup) as caught:
        cell("server", source)
    assert "asyncio/" not in shown(caught.value.exceptions[0])
    assert 'async def fail(): raise LookupError("inside")' in shown(caught.value.exceptions[0])


def test_a_syntax_error_names_its_line(cell):
    with pytest.raises(SyntaxError) as caught:
        cell("server", "x = 1\ny = (\n")
    assert (caught.value.lineno, caught.value.text.strip()) == (3, "y = (")


@pytest.mark.parametrize(
    ("line", "sentence"),
    {
        "await f()": "a role's cell is plain Python: put the coroutine in a function and call asyncio.run(...) on it",
        "async with f: pass": "a role's cell is plain Python: put the coroutine in a function and call "
        "asyncio.run(...) on it",
        "%time f()": "%time is for plain cells: a role's cell holds only Python, as a script does",
        "%%time": "%%time is for plain cells: a role's cell holds only Python, as a script does",
        "!ls": "!ls is for plain cells: a role's cell holds only Python, as a script does",
        "files = !ls -l": "!ls is for plain cells: a role's cell holds only Python, as a script does",
    }.items(),
)
def test_what_is_not_plain_python(line, sentence, cell):
    with pytest.raises(SyntaxError) as caught:
        cell("server", f"x = 1\n{line}\n")
    assert (caught.value.msg, caught.value.lineno) == (sentence, 3)


def test_sys_exit(cell):
    assert cell("server", "import sys\nprint('bye')\nsys.exit(3)\nprint('never')") == (
        "server │ bye\n       │ sys.exit() ended this cell; the role and the kernel live on"
    )
    assert cell("server", "1") == "server │ 1"
    told = cell("server", "import sys\nsys.exit('no such port')")
    assert told.startswith("server │ no such port\n       │ sys.exit()")


def test_a_new_stage_forgets_the_default_time_out(cell):
    cell("server", "socket.setdefaulttimeout(0.5)")
    Stage("server", namespace={})
    assert standard.getdefaulttimeout() is None


def test_a_cell_is_compiled_as_a_script_is(cell, stage):
    cell("server", "def f(x: int): pass")
    assert stage._namespace["f"].__annotations__ == {"x": int}


# ---------------------------------------------------------------------- names, words, plain sockets


def test_a_name_of_both_roles_is_warned_of_once(cell):
    cell("server", "import time\ndata = 1\nhost = port = ''\nfrom time import sleep")
    note = "client │ note: `data` is server's name too; in a notebook it is one and the same variable"
    assert cell("client", "import time\nfrom time import sleep\ndata = 2\nhost = ''") == note
    assert cell("client", "data = 3") == ""


def test_a_plain_socket_is_noticed_once(cell):
    note = (
        "note: this is Python's plain socket module: such a socket is not recorded, and its wait can't be ended."
        " Write `from helpers import socket` instead of `import socket`, and run the first cell again"
    )
    assert cell("server", "import socket as s\nprint('hello')") == f"server │ hello\n       │ {note}"
    assert cell("server", "plain = s.socket()") == ""
    cell("server", "plain.close()")


@pytest.mark.parametrize("names", [(), ("a b",), ("1st",), ("one", "one"), ("",), (5,)])
def test_names_that_cant_be_roles(names, stage):
    with pytest.raises(ValueError, match=r"Stage|can't name a role"):
        Stage(*names, namespace={})
    assert Stage._present is stage


def test_an_unknown_role(stage):
    with pytest.raises(ValueError, match="no role is named 'sever': there is server, client"):
        stage.stop("sever")


def test_aside_is_no_part_of_the_program(cell, stage):
    cell("server", "print('program')")
    cell("server", "print('experiment')", aside=True)
    assert [(c.completed, c.aside) for c in stage._cells] == [(True, False), (True, True)]


# ---------------------------------------------------------------------- a stage after another


def test_a_role_cant_make_a_stage_or_stop_it(cell, stage):
    stage._namespace.update(Stage=Stage, stage=stage)
    for line in ('Stage("server")', 'stage.stop("client")', "stage.close()"):
        with pytest.raises(RuntimeError, match=r"belongs in a cell of its own, not in one of server's"):
            cell("server", line)
    with pytest.raises(RuntimeError, match=r"%%client belongs in a cell of its own, not in one of server's"):
        cell("server", "stage.run('client', '1')")
    assert Stage._present is stage
    assert cell("client", "1") == "client │ 1"


def test_an_old_stage_says_so(stage, capsys):
    Stage("server", namespace={})
    with pytest.raises(NoStage, match=r"this stage is over: run the cell with Stage\(...\) again"):
        stage.run("server", "1")
    stage.stop("server")
    stage.close()
    assert capsys.readouterr().out == "server was not waiting in anything\nevery socket was closed already\n"


def test_stage_after_stage_leaves_nothing(cell, stage, hurry):
    """Thirty in a row, each over a waiting server, a client and a caller: no thread, no descriptor is left."""

    def lesson() -> None:
        names = {"socket": socket}
        again = Stage("server", "client", namespace=names)
        again.run("server", dedent(LISTEN) + ACCEPT)
        again.run("client", DIAL)
        again.run("server", "transfer.recv(1)")
        again.run("client", "client.recv(1)")
        callers.silent((names["host"], names["port"]))

    lesson()
    Stage("server", namespace={})
    gc.collect()
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(30):
        lesson()
    Stage("server", namespace={})
    gc.collect()
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_close_says_what_was_open(connected, stage, capsys):
    capsys.readouterr()
    stage.close()
    assert capsys.readouterr().out == "still open, and closed now: listener, client, transfer\n"
    stage.close()
    assert capsys.readouterr().out == "every socket was closed already\n"


def test_no_fork():
    """In a process of many threads it is a gamble, and Python says so."""
    package = Path(helpers.__file__).parent
    text = "".join(file.read_text(encoding="utf-8") for file in package.rglob("*.py"))
    assert not {"fork(", "multiprocessing"} & {word for word in ("fork(", "multiprocessing") if word in text}


def test_close_names_a_dozen(stage, cell, capsys):
    cell("server", "listener = socket.create_server(('127.0.0.1', 0))\nhost, port = listener.getsockname()")
    callers.crowd((stage._namespace["host"], stage._namespace["port"]), 15)
    capsys.readouterr()
    stage.close()
    names = ["listener", *(f"caller {n}" for n in range(1, 12))]
    assert capsys.readouterr().out == f"still open, and closed now: {', '.join(names)}, and 4 more\n"


def test_an_error_where_there_is_no_line():
    """An interrupt may come at an instruction that belongs to none; IPython can't show such a frame."""
    code = compile("\n\n1 / 0", "<cell>", "exec").replace(co_linetable=b"")
    with pytest.raises(ZeroDivisionError) as caught:
        exec(code)
    assert caught.value.__traceback__.tb_next.tb_lineno is None
    assert cells.learners_only(caught.value).__traceback__.tb_lineno == code.co_firstlineno
