"""The stage in a real kernel: what a learner's cells show, ■, input(), and the end."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager
from jupyter_core.utils import ensure_event_loop

from tools.notebooks import without_ports

SETUP = """
from helpers import Stage, callers, predict, serving, socket
stage = Stage("server", "client")
"""
LISTEN = """%%server
listener = socket.create_server(("127.0.0.1", 0))
host, port = listener.getsockname()"""
LONG = 20  # seconds that nothing here takes


@dataclass
class Shown:
    """What a cell showed, and how long it took."""

    text: str = ""
    error: str = ""
    traceback: str = ""
    rich: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0


class Kernel:
    """A kernel, and cells run in it one after the other."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager, self.client = manager, client

    def run(self, source: str, interrupt: Path | None = None, answer: str | None = None) -> Shown:
        """Run a cell; ■ is pressed once it has made the file `interrupt`; `answer` is what the learner types."""
        shown, began = Shown(), time.monotonic()
        sent = self.client.execute(source, allow_stdin=answer is not None)
        while True:
            message = self.client.get_iopub_msg(timeout=LONG)
            if message["parent_header"].get("msg_id") != sent:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "execute_input" and interrupt:
                while not interrupt.exists():
                    time.sleep(0.01)
                began = time.monotonic()
                self.manager.interrupt_kernel()
            elif kind == "execute_input" and answer is not None:
                self.client.get_stdin_msg(timeout=LONG)
                self.client.input(answer)
            elif kind == "stream":
                shown.text += content["text"]
            elif kind in ("display_data", "execute_result"):
                shown.text += content["data"]["text/plain"] + "\n"
                shown.rich.append(content["data"])
            elif kind == "error":
                shown.error = f"{content['ename']}: {content['evalue']}"
                shown.traceback = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(content["traceback"]))
            elif kind == "status" and content["execution_state"] == "idle":
                break
        self.client.get_shell_msg(timeout=LONG)
        shown.seconds = time.monotonic() - began
        return shown


@pytest.fixture(scope="module")
def started() -> Iterator[Kernel]:
    manager = KernelManager(kernel_name="python3", **without_ports())
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=3 * LONG)
    yield Kernel(manager, client)
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    ensure_event_loop().close()  # the client's own, which it leaves open


@pytest.fixture
def kernel(started: Kernel) -> Kernel:
    """The kernel with a fresh stage."""
    assert started.run(SETUP).error == ""
    return started


def test_what_a_role_prints_appears_in_the_cell_that_caused_it(kernel):
    assert kernel.run(LISTEN).text == ""
    assert kernel.run("%%server\ntransfer, caller = listener.accept()\nprint('called')").text == (
        "server │ … waits in accept()\n"
    )
    assert kernel.run("%%client\nclient = socket.create_connection((host, port))").text == "server │ called\n"


@pytest.mark.parametrize("role", ["", "%%server\n"])
def test_an_error_in_a_thread_of_ones_own(kernel, role):
    shown = kernel.run(f"""{role}import threading
def work():
    socket.socket().listen(None)
thread = threading.Thread(target=work)
thread.start()
thread.join()""")
    number = 3 + bool(role)  # (the line with the role counts, as in the cell)
    told = f"Exception in thread work:\n  line {number}, in work: socket.socket().listen(None)\nTypeError: "
    assert told in shown.text.replace("       │ ", "").replace("server │ ", "")
    assert "helpers" not in shown.text and "ipykernel" not in shown.text


def test_a_plain_cell_may_move_a_role_on(kernel):
    kernel.run(LISTEN)
    kernel.run("%%server\ntransfer, caller = listener.accept()\nprint('called')")
    assert kernel.run("looking_on = socket.create_connection((host, port))").text == "server │ called\n"


def test_what_a_plain_cell_makes_a_role_do_is_told_by_that_cell(kernel):
    for _ in range(10):
        kernel.run(SETUP + LISTEN.partition("\n")[2])
        kernel.run("%%server\ntransfer, caller = listener.accept()\ntransfer.recv(5)")
        told = kernel.run("looking_on = socket.create_connection((host, port))").text
        assert told == "server │ … waits in recv()\n"
        assert kernel.run("1 + 1").text == "2\n"
        kernel.run("stage.stop('server')")
        kernel.run("%%server\nlistener.accept()\n1 / 0")
        told = kernel.run("another = socket.create_connection((host, port))").text
        assert told == "server │ … failed with ZeroDivisionError: division by zero (its next cell raises it)\n"


def test_a_value_is_shown_and_not_kept(kernel):
    kernel.run("%%server\nlistener = socket.create_server(('127.0.0.1', 0))\nlistener")
    kernel.run("%%server\nhost, port = listener.getsockname()\ndel listener")
    kernel.run("import gc; _ = gc.collect()")
    assert kernel.run("%%client\nclient = socket.create_connection((host, port))").error.startswith("ConnectionRefused")


def test_something_rich_is_shown_as_such(kernel):
    shown = kernel.run("%%server\nprint('before')\nstage.diagram()")
    assert shown.text.startswith("server │ before\n")
    assert "image/svg+xml" in shown.rich[-1]


def test_an_error_has_the_learners_lines_alone(kernel):
    number = kernel.run("%%server\n\ndef f():\n    1 / 0\n\nf()")
    assert number.error == "ZeroDivisionError: division by zero"
    assert re.search(r"Cell In\[\d+\], line 6", number.traceback)
    assert re.search(r"Cell In\[\d+\], line 4", number.traceback)
    assert "helpers" not in number.traceback and "IPython" not in number.traceback
    count = int(re.search(r"Cell In\[(\d+)\]", number.traceback)[1])
    assert int(kernel.run("print(get_ipython().history_manager.session_number and In.index(In[-1]))").text) == count + 1


def test_the_error_of_a_call_has_no_frames_of_the_course(kernel):
    for cell in ("%%client\nsocket.create_connection(('127.0.0.1', 1))", "socket.create_connection(('127.0.0.1', 1))"):
        shown = kernel.run(cell)
        assert shown.error.startswith("ConnectionRefusedError")
        assert "create_connection" in shown.traceback
        assert "helpers" not in shown.traceback and "BlockingIOError" not in shown.traceback


def test_errors_of_the_stage_itself_are_a_sentence(kernel):
    kernel.run(LISTEN)
    kernel.run("%%server\nlistener.accept()")
    shown = kernel.run("%%server\nprint(1)")
    assert shown.error.startswith("StillWaiting: server still waits in accept() (line 2: listener.accept())")
    assert 'stage.stop("server")' in shown.error
    assert "helpers" not in kernel.run("stage.stop('nobody')").traceback


@pytest.mark.parametrize(
    "source",
    [
        "while True: pass",
        "listener.settimeout(4)\nlistener.accept()",
        "import time\nwhile True: time.sleep(0.01)",
    ],
)
def test_the_stop_button_ends_what_the_cell_is_at(kernel, source, tmp_path):
    kernel.run(LISTEN)
    shown = kernel.run(f"%%server\nopen({str(tmp_path / 'runs')!r}, 'w').close()\n{source}", tmp_path / "runs")
    assert shown.error.startswith("KeyboardInterrupt")
    assert shown.seconds < 2
    assert kernel.run("%%server\nlistener.settimeout(None)\nprint(listener.fileno() > 0)").text == "server │ True\n"


def test_the_stop_button_ends_a_wait_of_a_plain_cell(kernel, tmp_path):
    kernel.run("desk = socket.create_server(('127.0.0.1', 0))")
    shown = kernel.run(f"open({str(tmp_path / 'runs')!r}, 'w').close()\ndesk.accept()", tmp_path / "runs")
    assert shown.error.startswith("KeyboardInterrupt")
    assert "helpers" not in shown.traceback
    assert shown.seconds < 2


@pytest.mark.parametrize("answer", ["time.sleep(60)", "listener.accept(); listener.accept()"])
def test_the_stop_button_ends_a_check(kernel, answer, tmp_path):
    kernel.run(f"{LISTEN}\nimport time\nfrom helpers.exercises.lesson_02 import exercise_2a")
    begins = f"open({str(tmp_path / 'runs')!r}, 'w').close()"
    cell = f"def answer_one(listener): {begins}; {answer}\n\nexercise_2a.check(answer_one)"
    shown = kernel.run(cell, tmp_path / "runs")
    assert shown.error.startswith("KeyboardInterrupt")
    assert shown.seconds < 2
    kernel.run("%%client\nclient = socket.create_connection((host, port))")
    assert "connect(127.0.0.1:port)" in kernel.run("stage.diagram()").text  # the record is the lesson's again


@pytest.mark.parametrize("words", ["exit()", "quit()", "exit", "quit"])
def test_exit_ends_the_cell_and_not_the_kernel(kernel, words):
    told = "server │ sys.exit() ended this cell; the role and the kernel live on\n"
    assert kernel.run(f"%%server\n{words}").text == told
    kernel.run("from helpers.exercises.lesson_02 import exercise_2a")
    assert "SystemExit" in kernel.run(f"exercise_2a.check(lambda listener: {words[:4]}())").text
    assert kernel.run("1 + 1").text == "2\n"


@pytest.mark.parametrize("before", ["# dial\n", "\n# dial\n\n", "  "])
def test_a_role_may_stand_below_a_comment(kernel, before):
    assert kernel.run(f"{before}%%client --aside\nprint('here')").text == "client │ here\n"
    assert kernel.run("text = '''\n%%client\n'''\nprint(len(text))").text == "10\n"


def test_a_wrong_word_after_the_role_is_told(kernel):
    shown = kernel.run("%%client --asid\nprint(1)")
    assert shown.error == "ValueError: %%client takes nothing else in its line but --aside, for an experiment"
    assert "run_cell_magic" not in shown.traceback


def test_a_plain_cell_that_waits_says_so(kernel):
    kernel.run("from helpers import recorder\nrecorder.PATIENCE = 0.2")
    kernel.run(LISTEN)
    told = kernel.run("listener.settimeout(0.5)\nlistener.accept()")
    assert told.text.startswith("this plain cell waits in accept(): end it with ■")
    assert told.error.startswith("TimeoutError")
    assert kernel.run("listener.settimeout(0.1)\nlistener.accept()").text == ""
    kernel.run("recorder.PATIENCE = 3.0")


def test_input_is_answered_while_its_cell_is_in_front(kernel):
    shown = kernel.run("%%server\nname = input('who? ')\nprint('hello', name)", answer="Mira")
    assert shown.text == "server │ hello Mira\n"


def test_input_without_anybody_to_ask_is_an_error(kernel):
    assert "StdinNotImplementedError" in kernel.run("%%server\ninput()").error


@pytest.mark.parametrize(
    ("source", "told"),
    [("await f()", "asyncio.run"), ("%time 1", "plain cells"), ("!ls", "plain cells"), ("x = (", "never closed")],
)
def test_what_is_no_plain_python_is_told(kernel, source, told):
    shown = kernel.run("%%server\nx = 1\n" + source)
    assert shown.error.startswith("SyntaxError") and told in shown.error
    assert "line 3" in shown.error


def test_sys_exit_ends_the_cell_alone(kernel):
    shown = kernel.run("%%server\nimport sys\nsys.exit(3)")
    assert shown.error == "" and "sys.exit() ended this cell" in shown.text
    assert kernel.run("%%server\nprint('here')").text == "server │ here\n"


def test_a_new_stage_takes_the_cells_of_the_old_one_away(kernel):
    kernel.run("stage = Stage('left', 'right')")
    assert kernel.run("%%left\nprint(1)").text.startswith("left")
    assert kernel.run("%%server\nprint(1)").error.startswith("NoStage: there is no stage with a server")
    assert "helpers" not in kernel.run("%%server\nprint(1)").traceback
    assert "IPython's" in kernel.run("Stage('time')").error


def test_scripted_callers_take_turns(kernel):
    kernel.run(LISTEN)
    loop = "for n in range(2):\n    transfer, _ = listener.accept()\n    print(transfer.recv(99))\n    transfer.close()"
    kernel.run(f"%%server\n{loop}")
    shown = kernel.run("crowd = callers.crowd((host, port), 2)")
    assert shown.text == "server │ b'hello from 1'\n       │ b'hello from 2'\n"


def test_a_cell_with_an_edit_replaces_what_it_was(kernel, tmp_path):
    kernel.run(LISTEN)
    run = "get_ipython().get_parent = lambda: {'metadata': {'cellId': 'one'}}\n"
    kernel.run(run)
    kernel.run("%%server\nprint('a typo')")
    kernel.run("%%server\nprint('mended')")
    kernel.run("del get_ipython().get_parent")
    kernel.run(f"stage.take_home({str(tmp_path)!r})")
    script = (tmp_path / "server.py").read_text(encoding="utf-8")
    assert "mended" in script and "typo" not in script


def test_threads_and_descriptors_do_not_grow_with_stages(kernel):
    count = "import gc, os, threading; gc.collect(); print(threading.active_count(), len(os.listdir('/proc/self/fd')))"
    if "No such file" in kernel.run(count).error:
        pytest.skip("this system has no /proc")
    kernel.run("for _ in range(3): stage = Stage('server', 'client')")
    before = [int(number) for number in kernel.run(count).text.split()]
    kernel.run("for _ in range(20): stage = Stage('server', 'client')")
    after = [int(number) for number in kernel.run(count).text.split()]
    # one left by each stage would make 20; the kernel's own go up and down by one or two
    assert max(now - then for now, then in zip(after, before, strict=True)) < 10


def test_a_kernel_with_waiting_roles_ends_at_once(started):
    manager = KernelManager(kernel_name="python3", **without_ports())
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=3 * LONG)
    kernel = Kernel(manager, client)
    for cell in (SETUP, LISTEN, "%%server\nlistener.accept()"):
        kernel.run(cell)
    began = time.monotonic()
    manager.shutdown_kernel()
    assert time.monotonic() - began < 5  # a thread that is no daemon would make it wait until it is killed
    client.stop_channels()
