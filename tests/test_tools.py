"""The commands for those who write lessons, tried on small lessons that have what each of them must find."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import bench, refresh, soak, steady
from tools.chaos import Order
from tools.chaos import main as chaos_main
from tools.notebooks import (
    METADATA,
    ROOT,
    WIDGET_VIEW,
    Ran,
    code_cells,
    comparable,
    is_appendix,
    lessons,
    load,
    navigation,
    sanitizer,
    save,
    text_of,
    title,
)
from tools.refresh import looks_random, name_for, stored_form

Say = Callable[[], str]
UTF8 = {"PYTHONUTF8": "1"}  # what the commands print goes to a pipe here


def command(tool: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", f"tools.{tool}", *map(str, arguments)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", env=os.environ | UTF8)


def lesson(folder: Path, name: str, *sources: str, **tags: Sequence[str]) -> Path:
    """A lesson of a few code cells, named `c1`, `c2` …, which may be tagged by that name."""
    cells = [new_markdown_cell("# A lesson", id="title")]
    for number, source in enumerate(sources, 1):
        metadata = {"tags": [*tags[f"c{number}"]]} if f"c{number}" in tags else {}
        cells.append(new_code_cell(source, id=f"c{number}", metadata=metadata))
    save(folder / f"{name}.ipynb", new_notebook(cells=cells, metadata=METADATA))
    return folder / f"{name}.ipynb"


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """What was printed since the last time."""
    return lambda: capsys.readouterr().out


def stream(*texts: str) -> list[NotebookNode]:
    return [new_output("stream", text=text) for text in texts]


# ---------------------------------------------------------------------- refresh

PORT = """import socket
listener = socket.create_server(("127.0.0.1", 0))
print("listening on 127.0.0.1:%d" % listener.getsockname()[1])"""


PIECES = "import sys\nprint(1)\nsys.stdout.flush()\nprint(2)\n7 * 6"
BUTTON = "import ipywidgets\nipywidgets.Button()"


def test_refresh_stores_outputs_and_changes_nothing_the_second_time(tmp_path: Path, say: Say) -> None:
    path = lesson(tmp_path, "01_try", PORT, PIECES, "{}['no']", BUTTON, c3=["raises-exception"])
    notebook = load(path)
    port, value, *_ = code_cells(notebook)
    port.id, value.metadata, value.outputs = "0f3a9c1b", {"jupyter": {"source_hidden": True}}, stream("old")
    notebook.metadata["widgets"] = {}
    del notebook.cells[0]["id"]
    save(path, notebook)
    neighbour = lesson(tmp_path, "02_next")
    save(neighbour, NotebookNode(load(neighbour), cells=[new_markdown_cell("<!-- navigation -->", id="navigation")]))

    assert refresh.main([str(path)]) == 0
    assert say() == "01_try: refreshed 4 cells\n02_next: new links to its neighbours\n"
    notebook = load(path)
    assert path.read_bytes() == text_of(notebook).encode()
    assert notebook.metadata == METADATA
    assert [cell.id for cell in notebook.cells] == ["a-lesson", "create-server", "c2", "c3", "c4", "navigation"]
    assert notebook.cells[-1].source == navigation(path)
    assert "01_try.ipynb" in load(neighbour).cells[-1].source
    port, value, error, button = code_cells(notebook)
    assert [cell.execution_count for cell in code_cells(notebook)] == [1, 2, 3, 4]
    assert value.metadata == {}
    assert [output.get("text") or output.data["text/plain"] for output in value.outputs] == ["1\n2\n", "42"]
    assert error.outputs[0].ename == "KeyError"
    assert list(button.outputs[0].data) == ["text/plain"]

    before = path.read_bytes()
    assert refresh.main([str(path)]) == 0
    assert say() == "01_try: unchanged\n"
    assert path.read_bytes() == before


def test_refresh_leaves_the_file_of_a_lesson_that_fails(tmp_path: Path, say: Say) -> None:
    path = lesson(tmp_path, "01_raises", "1", "1 / 0")
    before = path.read_bytes()
    assert refresh.main([str(path)]) == 1
    assert say().startswith("01_raises: NOT refreshed: cell c2 raises ZeroDivisionError: division by zero")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("at /home/ada/notebooks", "cell c1 (stdout) holds a path of one machine: /home/ada"),
        (f"in {ROOT}", "cell c1 (stdout) holds"),
        ("on 2001-02-03", "cell c1 (stdout) holds a date: 2001-02-03"),
        ("\x1b[31mred", "cell c1 (stdout) holds codes that colour a terminal"),
    ],
)
def test_refresh_refuses(output: str, says: str) -> None:
    with pytest.raises(refresh.NotRefreshed) as refused:
        refresh.accepted(new_code_cell("1", id="c1"), Ran(stream(output), 1, 0.0, None), "")
    assert says in str(refused.value)


def test_refresh_refuses_a_tag_for_nothing() -> None:
    tagged = new_code_cell("1", id="c1", metadata={"tags": ["raises-exception"]})
    with pytest.raises(refresh.NotRefreshed, match="raises nothing"):
        refresh.accepted(tagged, Ran([], 1, 0.0, None), "")


def test_refresh_knows_its_lessons(say: Say) -> None:
    assert refresh.main(["no_such_lesson"]) == 2
    assert say().startswith("no lesson is named 'no_such_lesson'")


def test_only_what_is_compared_makes_an_output_new() -> None:
    cell = new_code_cell("1", outputs=stream("one"))
    assert refresh.differs(cell, stream("two"), str)
    assert not refresh.differs(cell, stream("on", "e"), str)
    cell.metadata["tags"] = ["nbval-ignore-output"]
    assert not refresh.differs(cell, stream("two"), str)
    cell.outputs = [new_output("error", ename="E", evalue="e", traceback=["Cell In[1], line 1"])]
    cell.metadata["tags"] = ["raises-exception"]
    again = [new_output("error", ename="E", evalue="e", traceback=["\x1b[31mCell In[1]\x1b[0m, line 2"])]
    assert refresh.differs(cell, again, str)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("%%server\ntransfer, caller = listener.accept()", "server-accept"),
        ('predict("Who?", "you")', "predict"),
        ("x = 1", "x-1"),
        ("%%bash\nls", "bash"),
        ("1 + 1", "cell-1-1"),
    ],
)
def test_new_cells_get_readable_ids(source: str, name: str) -> None:
    assert name_for(new_code_cell(source)) == name
    assert not looks_random(name)
    made = [new_code_cell("").id for _ in range(20)]
    assert all(looks_random(one) or one.isalpha() for one in made)  # (one without a digit may be a word)


def test_pieces_that_were_printed_in_a_row_are_one_output() -> None:
    shown = new_output("display_data", {"text/plain": "x", WIDGET_VIEW: {}})
    only_a_view = new_output("display_data", {WIDGET_VIEW: {}})
    kept = stored_form([*stream("a", "b"), shown, only_a_view, *stream("c")])
    assert [output.get("text") or dict(output.data) for output in kept] == ["ab", {"text/plain": "x"}, "c"]


def test_outputs_are_compared_as_nbval_does(tmp_path: Path) -> None:
    rules = tmp_path / "rules.cfg"
    rules.write_text("regex: \\d+\nreplace: N\n")
    one = comparable([*stream("port 1\n"), new_output("display_data", {"text/plain": "2"})], sanitizer(rules))
    other = comparable([new_output("display_data", {"text/plain": "9"}), *stream("port ", "77\n")], sanitizer(rules))
    assert one == other == {"stdout": ["port N\n"], "text/plain": ["N"]}
    assert one != comparable(stream("port 1\n"), sanitizer(rules))


# ---------------------------------------------------------------------- lessons and appendices


def test_appendices_come_after_the_lessons(tmp_path: Path) -> None:
    names = ["a2_errors_and_words", "01_make_a_call", "a1_the_article_checked", "00_start_here"]
    paths = {name: lesson(tmp_path, name) for name in names}
    lesson(tmp_path, "attic")  # neither the one nor the other
    assert lessons(folder=tmp_path) == [paths[name] for name in sorted(names)]
    assert [is_appendix(path) for path in lessons(folder=tmp_path)] == [False, False, True, True]
    for name in ("a1", "a1_the_article_checked", "the_article_checked", "a1_the"):
        assert lessons([name], tmp_path) == [paths["a1_the_article_checked"]]
    with pytest.raises(LookupError, match="more than one"):
        lessons(["a"], tmp_path)


def test_a_lesson_is_called_by_its_file_and_an_appendix_by_its_heading(tmp_path: Path) -> None:
    first, second = lesson(tmp_path, "01_make_a_call"), lesson(tmp_path, "a1_the_article_checked")
    notebook = load(second)
    notebook.cells[0].source = "# The article, checked\n\nEvery claim."
    save(second, notebook)
    assert [title(path) for path in (first, second)] == ["01 Make a call", "A1 The article, checked"]
    assert "[A1 The article, checked →](a1_the_article_checked.ipynb)" in navigation(first)
    assert "[← 01 Make a call](01_make_a_call.ipynb)" in navigation(second)
    for without in ([], [new_markdown_cell("no heading", id="title")]):
        save(second, NotebookNode(notebook, cells=without))
        assert title(second) == "A1 The article checked"


# ---------------------------------------------------------------------- chaos

FINE = (
    'from helpers import Stage, socket\n\nstage = Stage("server", "client")',
    '%%server\nlistener = socket.create_server(("127.0.0.1", 0))\nlistener.accept()',
    "%%client\ncall = socket.create_connection(listener.getsockname())\ncall.close()",
    "stage.close()",
)
SHOWN = "exec(compile('def look():\\n    raise ValueError(1)', '/a course/helpers/stage.py', 'exec'))\nlook()"
ERRORS = ("names = ['a']", "names.pop()", "input()", SHOWN, "float('a')", "{}.a", "open('none')", "nobody")
LISTEN = """import socket
listener = socket.create_server(("127.0.0.1", 0))
call = socket.create_connection(listener.getsockname())
socket.create_connection(listener.getsockname()).close()
transfers = [listener.accept()[0] for _ in range(2)]"""
THREAD = """import threading
ended = threading.Event()
threading.Thread(target=ended.wait, name="who stays", daemon=True).start()"""
PROCESS = """import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)"""
FORGETS = "count = globals().get('count', 0) + 1\nprint(count)"


@pytest.fixture(scope="module")
def chaos(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """What chaos says of a folder of lessons; it must let pass the first, also with its stage closed early (seed 5)."""
    folder = tmp_path_factory.mktemp("lessons")
    ignored = {name: ["nbval-ignore-output"] for name in ("c2", "c3", "c4")}
    paths = [lesson(folder, "01_fine", *FINE, **ignored), lesson(folder, "02_raises", *ERRORS)]
    paths.append(lesson(folder, "03_leaves", FORGETS, LISTEN, THREAD, PROCESS))
    notebook = load(paths[-1])
    code_cells(notebook)[0].outputs = stream("1\n")
    save(paths[-1], notebook)
    return command("chaos", "--orders=1", "--seed=5", *paths)


def found(chaos: subprocess.CompletedProcess[str], name: str) -> list[str]:
    return [line for line in chaos.stdout.splitlines() if line.startswith(f"FOUND {name}")]


def test_chaos_lets_a_good_lesson_pass(chaos: subprocess.CompletedProcess[str]) -> None:
    assert not found(chaos, "01_fine")
    assert "01_fine, each cell twice: findings: 0" in chaos.stdout
    assert "01_fine, random order, seed 5: findings: 0" in chaos.stdout


def test_chaos_allows_the_errors_of_a_wrong_order(chaos: subprocess.CompletedProcess[str]) -> None:
    cells = {line.partition(": cell ")[2].split()[0] for line in found(chaos, "02_raises") if " raises " in line}
    assert cells == {"c2", "c3", "c4"}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("02_raises, each cell twice", "cell c2 raises an error that is not allowed, IndexError: pop from empty list"),
        ("02_raises, each cell twice", "cell c3 raises an error that is not allowed, StdinNotImplementedError"),
        ("02_raises, each cell twice", "cell c4 raises an error that shows a line of helpers/stage.py:2"),
        ("02_raises, random order, seed 5", "cell c3 raises an error"),
        ("03_leaves, each cell twice", "the thread 'who stays' is left"),
        ("03_leaves, each cell twice", "a socket in LISTEN (127.0.0.1:"),
        ("03_leaves, each cell twice", "a socket in CLOSE_WAIT (127.0.0.1:"),
        ("03_leaves, each cell twice", "the process "),
        ("03_leaves, each cell twice", "cell c1, run from the top after that, gives stdout '3' for '1'"),
        ("03_leaves, random order, seed 5", "cell c1, run from the top after that, gives stdout '2' for '1'"),
    ],
)
def test_chaos_finds(chaos: subprocess.CompletedProcess[str], name: str, says: str) -> None:
    assert chaos.returncode == 1
    assert any(line.startswith(f"FOUND {name}: {says}") for line in chaos.stdout.splitlines()), chaos.stdout


def test_chaos_ends_a_cell_that_hangs(tmp_path: Path) -> None:
    hangs = lesson(tmp_path, "01_hangs", "import threading\nthreading.Event().wait()")
    dies = lesson(tmp_path, "02_dies", "import os\nos._exit(1)")
    done = command("chaos", "--orders=0", "--seconds=2", hangs, dies)
    assert done.returncode == 1
    assert "FOUND 01_hangs, each cell twice: cell c1 takes over 2 seconds" in done.stdout
    assert "FOUND 02_dies, each cell twice: cell c1 ends the kernel" in done.stdout


def test_chaos_says_that_time_was_up(tmp_path: Path, say: Say) -> None:
    assert chaos_main(["--minutes=0", str(lesson(tmp_path, "01_fine", "1"))]) == 1
    assert "FOUND 4 of 4 runs were not done within 0 minutes" in say()


def test_orders() -> None:
    assert Order().of(3) == [0, 0, 1, 1, 2, 2]
    assert sorted(Order(7).of(30)) == [*range(30)] != Order(7).of(30)
    assert Order(7).of(30) == Order(7).of(30) != Order(8).of(30)


# ---------------------------------------------------------------------- steady and bench


def test_steady_tells_what_differs(tmp_path: Path) -> None:
    path = lesson(tmp_path, "01_try", "1", "2")
    notebook = load(path)
    for cell, stored in zip(code_cells(notebook), ("1", "3"), strict=True):
        cell.execution_count = 1
        cell.outputs = [new_output("execute_result", {"text/plain": stored}, execution_count=1)]
    save(path, notebook)
    failed, _ = steady.run([path])
    assert [name.rpartition("::")[2] for name in failed] == ["Cell 1"]


def test_busy_processes_end_with_the_block() -> None:
    with steady.busy(2) as processes:
        assert [process.poll() for process in processes] == [None, None]
    assert all(process.poll() is not None for process in processes)


def test_bench_measures_calls(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bench, "ROUNDS", 4)
    monkeypatch.setattr(bench, "PAIRS", 10)
    bench.calls(bench.in_the_notebook, "in the notebook")
    bench.calls(bench.in_a_role, "in a role")
    assert capsys.readouterr().out.count("µs") == 6


# ---------------------------------------------------------------------- soak


@pytest.mark.parametrize(
    ("last", "status", "says"),
    [
        (soak.Sample(51.5, 30, 900), 0, "kernel: 50.00 in the first third, 51.50 in the last: +1.50 MB, flat"),
        (soak.Sample(53, 30, 900), 1, "kernel: 50.00 in the first third, 53.00 in the last: +3.00 MB, NOT FLAT"),
        (soak.Sample(50, 33, 900), 1, "page  : 30.00 in the first third, 33.00 in the last: +3.00 MB, NOT FLAT"),
        (soak.Sample(50, 30, 1300), 1, "nodes : 900.00 in the first third, 1300.00 in the last: +400.00 nodes, NOT"),
    ],
)
def test_soak_tells_what_grew(last: soak.Sample, status: int, says: str, say: Say) -> None:
    assert soak.verdict([*[soak.Sample(50, 30, 900)] * 3, *[last] * 2]) == status
    assert says in say()


@pytest.mark.parametrize("minutes", ["0", "-1", "61", "many"])
def test_soak_is_bounded(minutes: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        soak.main([f"--minutes={minutes}"])
    assert "--minutes" in capsys.readouterr().err
