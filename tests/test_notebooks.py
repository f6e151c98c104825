"""The lessons' form.  Each rule of `form` is tried on a notebook that keeps it, and on one or more that break it."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import form
import nbformat
import pytest
from form import RULES, Lesson, Rule
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools.notebooks import METADATA, NOTEBOOKS, code_cells, lessons, navigation, text_of

Change = Callable[[NotebookNode], object]
lesson_of = cache(Lesson.read)


@pytest.mark.parametrize("broken", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", lessons(), ids=lambda path: path.stem)
def test_lesson_keeps(broken: Rule, path: Path) -> None:
    if found := list(broken(lesson_of(path))):
        pytest.fail("\n".join([f"{path.stem}:", *found]), pytrace=False)


def test_lessons_are_numbered() -> None:
    names = [path.name for path in sorted(NOTEBOOKS.glob("*.ipynb"))]
    numbered, appendices = ([name for name in names if name.startswith("a") is which] for which in (False, True))
    assert numbered
    expected = [f"{number:02}" for number in range(len(numbered))]
    expected += [f"a{number}" for number in range(1, len(appendices) + 1)]
    for number, name in zip(expected, numbered + appendices, strict=True):
        assert re.fullmatch(rf"{number}_[a-z0-9]+(_[a-z0-9]+)*\.ipynb", name)


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("figures/*.svg")), ids=lambda path: path.name)
def test_figure_is_well_formed_svg(path: Path) -> None:
    assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"


# ---------------------------------------------------------------------- a small lesson that keeps every rule

WORDS = "A socket is a number that the kernel hands out, and what it stands for lives in the kernel alone. "
OBJECTIVES = """## What you will be able to do

- **Make** a call.
- Name a connection.
- Read a table.

**Time:** 35 minutes. **You should know:** [nothing](01_make_a_call.ipynb)."""
ENDS = {
    "exercises": "## Exercises\n\n**1a.** Call.",
    "recap": "## Recap\n\n- You make it.\n- You name it.\n- You read it.",
    "misunderstandings": "## Misunderstandings\n\n- *No.* Yes.\n- *Yes.* No.",
    "reading": "## Further reading\n\n- [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html)",
}


def code(name: str, source: str, *outputs: NotebookNode, **metadata: object) -> NotebookNode:
    return new_code_cell(source, id=name, outputs=[*outputs], metadata=metadata)


def markdown(name: str, source: str) -> NotebookNode:
    return new_markdown_cell(source, id=name)


def shown(text: str, **data: str) -> NotebookNode:
    return new_output("display_data", {"text/plain": text, **{f"image/{kind}": value for kind, value in data.items()}})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with lessons 00 to 02, a figure, and the page above them."""
    notebooks = tmp_path / "notebooks"
    (notebooks / "figures").mkdir(parents=True)
    (notebooks / "figures" / "call.svg").write_text("<svg/>")
    (tmp_path / "README.md").write_text("# The course")
    for name in ("00_start_here", "01_make_a_call", "02_answer_a_call"):
        (notebooks / f"{name}.ipynb").write_text("{}")
    return notebooks


def good(path: Path) -> NotebookNode:
    """A lesson that keeps every rule."""
    cells = [markdown("title", "# Make a call"), markdown("objectives", OBJECTIVES)]
    cells.append(code("stage", 'from helpers import Stage, predict, socket\n\nstage = Stage("server", "client")'))
    cells.append(markdown("figure", "## A figure\n\n![Two ends of a call](figures/call.svg), [a page](../README.md)"))
    for n in range(1, 5):
        cells.append(markdown(f"text-{n}", f"## Step {n}\n\n{3 * WORDS}"))
        cells.append(markdown(f"more-{n}", f"### Look\n\n{3 * WORDS}"))
        cells.append(code(f"predict-{n}", f'predict("{n}?", "yes", "no")', shown("Predict")))
        cells.append(code(f"look-{n}", "stage.sockets()", shown("name role")))
        cells.append(markdown(f"why-{n}", 4 * WORDS))
    cells.append(code("listen", '%%server\nlistener = socket.create_server(("127.0.0.1", 0))'))
    cells.append(code("where", "%%server\nhost, port = listener.getsockname()\nprint(port)", shown("server │ 5000")))
    cells.append(code("dial", "%%client\ncall = socket.create_connection((host, port))"))
    error = new_output("error", ename="OSError", evalue="no", traceback=["OSError: no"])
    cells.append(code("fail", "%%server --aside\nlistener.recv(1)", error, tags=["raises-exception"]))
    cells.append(code("diagram", "stage.diagram()", shown("client server", **{"svg+xml": "<svg/>"})))
    ignored = {"tags": ["nbval-ignore-output"], "reason": "differs between machines"}
    cells.append(code("machine", "print(1)", shown("1"), **ignored))
    cells.append(code("still", "stage.diagram(last=3)", shown("client server")))
    cells.append(code("close", "stage.close()"))
    cells += [markdown(name, text) for name, text in ENDS.items()]
    cells.append(markdown("navigation", navigation(path)))
    return counted(new_notebook(cells=cells, metadata=METADATA))


def counted(notebook: NotebookNode) -> NotebookNode:
    """The notebook, its code cells numbered as after a run."""
    for count, cell in enumerate(code_cells(notebook), 1):
        cell.execution_count = count
    return notebook


def found(path: Path, notebook: NotebookNode) -> dict[str, list[str]]:
    """The findings in a notebook, by the rules' names."""
    lesson = Lesson(path, text_of(notebook))
    return {rule.__name__: sentences for rule in RULES if (sentences := list(rule(lesson)))}


def named(notebook: NotebookNode, name: str) -> NotebookNode:
    return next(cell for cell in notebook.cells if cell.id == name)


def put(name: str, source: str) -> Change:
    """A change: the cell of that name says something else."""
    return lambda notebook: named(notebook, name).update(source=source)


def mark(name: str, **metadata: object) -> Change:
    """A change: the cell of that name has other metadata."""
    return lambda notebook: named(notebook, name).update(metadata=nbformat.from_dict(metadata))


def show(name: str, *outputs: NotebookNode) -> Change:
    """A change: other outputs are stored with the cell of that name."""
    return lambda notebook: named(notebook, name).update(outputs=[*outputs])


def edit(name: str, old: str, new: str) -> Change:
    """A change of some words in the cell of that name."""

    def change(notebook: NotebookNode) -> None:
        cell = named(notebook, name)
        assert old in cell.source
        cell.source = cell.source.replace(old, new)

    return change


BREAKS: list[tuple[str, Change, str]] = [
    ("kernel_is_python3", lambda nb: nb.metadata.kernelspec.update(name="python312"), "kernel python3"),
    ("kernel_is_python3", lambda nb: nb.metadata.language_info.update(version="3.12.1"), "3.12.1"),
    ("cells_count_from_1", lambda nb: named(nb, "dial").update(execution_count=None), "None"),
    ("cells_count_from_1", lambda nb: named(nb, "dial").update(execution_count=99), "99"),
    ("ids_are_readable", lambda nb: named(nb, "dial").update(id="0f3a9c1b"), "0f3a9c1b"),
    ("ids_are_readable", lambda nb: named(nb, "dial").update(id="a3f2c9e1-1234-4bcd-8ef0-0123456789ab"), "a3f2c9e1"),
    ("ids_are_readable", lambda nb: named(nb, "dial").update(id="Dial_it"), "Dial_it"),
    ("ids_are_readable", lambda nb: named(nb, "dial").update(id="close"), "there 2 times"),
    ("nothing_is_hidden", mark("dial", jupyter={"source_hidden": True}), "dial: hidden"),
    ("nothing_is_hidden", mark("dial", tags=["hide-input"]), "dial: hidden"),
    ("one_title", edit("text-2", "## Step", "# Step"), "2 headings of the first level"),
    ("one_title", edit("title", "# Make", "Make"), "does not begin with the title"),
    ("headings_skip_no_level", edit("more-2", "### Look", "#### Look"), "'Look' skips"),
    ("sections_are_there_in_order", edit("recap", "Recap", "Summary"), "0 sections are named 'Recap'"),
    ("sections_are_there_in_order", edit("text-2", "Step 2", "Exercises"), "2 sections are named 'Exercises'"),
    ("sections_are_there_in_order", lambda nb: nb.cells.insert(3, nb.cells.pop(-3)), "not in the order"),
    ("objectives_are_verbs", edit("objectives", "- Name a", "- The name of a"), "The name of a connection"),
    ("objectives_are_verbs", edit("objectives", "- Name a", "- Understanding a"), "Understanding"),
    ("objectives_are_verbs", edit("objectives", "- Name a connection.", ""), "2 items"),
    ("objectives_are_verbs", edit("objectives", "35 minutes", "a while"), "how many minutes"),
    ("objectives_are_verbs", edit("objectives", "know", "have"), "should know"),
    ("recap_answers_the_objectives", edit("recap", "- You name it.\n", ""), "2 items for 3 objectives"),
    ("misunderstandings_are_two_or_three", edit("misunderstandings", "\n- *Yes.* No.", ""), "1 items"),
    ("misunderstandings_are_two_or_three", edit("reading", "- [", "["), "Further reading: no items"),
    ("navigation_is_last", edit("navigation", "00_start_here", "02_answer_a_call"), "last cell"),
    ("navigation_is_last", lambda nb: nb.cells.append(markdown("end", "The end.")), "last cell"),
    ("size_is_a_lessons", lambda nb: nb.cells.__delitem__(slice(4, 14)), "cells, not 30 to 52"),
    ("size_is_a_lessons", edit("text-2", WORDS, 20 * WORDS), "words, not 900 to 1400"),
    ("size_is_a_lessons", lambda nb: nb.cells.__delitem__(slice(-10, -5)), "code cells, not 12"),
    ("code_cells_are_short", put("dial", "x = 1\n" * 21), "dial: 21 lines"),
    ("code_cells_are_short", put("dial", ""), "dial: 0 lines"),
    ("code_cells_are_short", lambda nb: [c.update(source="x = 1\n" * 5) for c in code_cells(nb)[3:]], "median"),
    ("markdown_cells_are_short", put("why-1", 5 * WORDS), "why-1: 100 words, not 80"),
    ("markdown_cells_are_short", put("why-1", "- one\n" + 6 * WORDS), "why-1: 122 words, not 120"),
    ("pictures_are_described", edit("figure", "Two ends of a call", ""), "figures/call.svg has no description"),
    ("pictures_are_described", put("figure", '## A figure\n\n<img src="figures/call.svg">'), "has no description"),
    ("links_lead_somewhere", edit("figure", "call.svg", "cell.svg"), "figures/cell.svg is not there"),
    ("links_lead_somewhere", edit("figure", "../README.md", "03_choose_a_number.ipynb"), "number.ipynb is not there"),
    ("links_lead_somewhere", edit("figure", "../README.md", "#Nowhere"), "no heading is #Nowhere"),
    ("links_lead_somewhere", edit("figure", "../README.md", "file:///x"), "not a relative link"),
    ("links_lead_somewhere", edit("figure", "../README.md", "https://example.org/x"), "example.org/x is not a place"),
    ("links_lead_somewhere", put("why-1", "See https://example.org/y."), "example.org/y. is not a place"),
    ("links_lead_somewhere", put("why-1", "See [it][1].\n\n[1]: missing.md"), "missing.md is not there"),
    ("first_code_cell_sets_the_stage", put("stage", 'import helpers\nstage = Stage("server")'), "from helpers"),
    ("first_code_cell_sets_the_stage", put("stage", "from helpers import Stage"), "makes no `Stage(...)`"),
    ("it_stands_alone", put("close", "%run 00_start_here.ipynb"), "%run"),
    ("it_stands_alone", put("close", "from helpers.gate import gate"), "helpers.gate"),
    ("predictions_come_first", put("predict-1", "print(1)"), "3 predictions"),
    ("no_cell_sleeps", put("close", "time.sleep(1)"), "close: sleep()"),
    ("no_semicolon_ends_a_line", put("close", "stage.close();  # quietly"), "close: a line ends"),
    ("no_semicolon_ends_a_line", put("dial", "%%client\nx = 1;\ny = 2"), "dial: a line ends"),
    ("roles_share_host_and_port_only", put("dial", "%%client\nlistener.close()"), "dial: it reads server's `listener`"),
    ("roles_share_host_and_port_only", put("dial", "%%client\ndef f():\n    return listener"), "reads server's"),
    ("roles_share_host_and_port_only", put("dial", "%%client --aside\nlistener.close()"), "reads server's"),
    ("roles_share_host_and_port_only", put("dial", "%%client\nlistener = 1"), "`listener`, which server makes too"),
    ("roles_share_host_and_port_only", put("dial", "%%client\nstage.diagram()"), "`stage`, which a plain cell made"),
    ("outputs_are_stored", show("where"), "where: it shows something"),
    ("outputs_hold_no_widgets", lambda nb: nb.metadata.update(widgets={}), "state of widgets"),
    ("outputs_hold_no_widgets", show("where", new_output("display_data", {form.WIDGET_VIEW: {}})), "where: a widget"),
    ("errors_are_announced", mark("fail"), "fail: it raises"),
    ("errors_are_announced", mark("dial", tags=["raises-exception"]), "dial: it is tagged"),
    ("uncompared_outputs_have_a_reason", mark("where", tags=["nbval-ignore-output"]), "where: its output"),
    ("uncompared_outputs_have_a_reason", mark("where", tags=["nbval-skip"], reason="so"), "where: its output"),
    ("uncompared_outputs_have_a_reason", edit("where", "print", "# NBVAL_IGNORE_OUTPUT\nprint"), "where: its output"),
    ("nothing_of_one_machine_or_moment", show("where", shown("/home/ada/course")), "/home/ada"),
    ("nothing_of_one_machine_or_moment", show("where", shown("C:\\Users\\ada")), "C:\\Users"),
    ("nothing_of_one_machine_or_moment", show("where", shown("on 2001-02-03")), "a date: 2001-02-03"),
    ("nothing_of_one_machine_or_moment", show("where", shown("Sat, 3 Feb 2001")), "a date"),
    ("nothing_of_one_machine_or_moment", show("where", shown("at 12:34:56")), "a time of day: 12:34:56"),
    ("nothing_of_one_machine_or_moment", show("where", shown("<object at 0x7f00deadbeef>")), "an address in memory"),
    ("nothing_of_one_machine_or_moment", show("where", new_output("stream", text="~/x")), "a path of one machine"),
    ("nothing_of_one_machine_or_moment", edit("why-1", "socket", "/tmp/socket"), "/tmp/socket"),
    ("svg_is_well_formed", show("diagram", shown("", **{"svg+xml": "<svg><g></svg>"})), "diagram: its SVG"),
]


def test_the_good_lesson_keeps_every_rule(folder: Path) -> None:
    path = folder / "01_make_a_call.ipynb"
    assert found(path, good(path)) == {}


@pytest.mark.parametrize(("rule", "change", "says"), BREAKS, ids=[f"{n}-{rule}" for n, (rule, *_) in enumerate(BREAKS)])
def test_a_broken_rule_is_named(folder: Path, rule: str, change: Change, says: str) -> None:
    path = folder / "01_make_a_call.ipynb"
    notebook = good(path)
    change(notebook)
    sentences = found(path, notebook).get(rule, [])
    assert any(says in sentence for sentence in sentences), sentences


def test_a_file_laid_out_otherwise_is_named(folder: Path) -> None:
    path = folder / "01_make_a_call.ipynb"
    text = text_of(good(path))
    for other in (text.rstrip("\n"), text.replace("\n ", "\n  "), text.replace("│", "\\u2502")):
        assert list(form.file_is_as_refresh_writes_it(Lesson(path, other)))


def test_every_rule_has_a_notebook_that_breaks_it() -> None:
    assert {rule.__name__ for rule in RULES} == {rule for rule, *_ in BREAKS} | {"file_is_as_refresh_writes_it"}


@pytest.mark.parametrize(
    "change",
    [
        put("why-1", "Try `http://127.0.0.1:5000/` or `[x](missing.md)`."),
        put("why-1", "See [RFC 9293](https://www.rfc-editor.org/rfc/rfc9293), or <https://docs.python.org/3/>."),
        put("why-1", "```c\n# no heading\nint x[2](int); /* " + 5 * WORDS + " */\n```"),
        put("why-1", "See [the recap](#Recap), and 16:9, ::1, 127.0.0.1:5000 or and/or."),
        put("close", "%%bash\ncc server.c;"),
        put("where", "%%server\nimport os\nhost, port = 1, 2\nprint([h for h in (host, port)], len(os.sep))"),
        put("dial", '%%client\ncall = socket.create_connection((host, port))\nreply = "; "'),
        show("where", new_output("stream", text="127.0.0.1:50000 → [::1]:80, 12:34")),
    ],
)
def test_what_only_looks_wrong_is_no_finding(folder: Path, change: Change) -> None:
    path = folder / "01_make_a_call.ipynb"
    notebook = good(path)
    change(notebook)
    assert found(path, notebook).keys() <= {"size_is_a_lessons"}


def test_lesson_00_may_be_short_and_begin_with_the_machine(folder: Path) -> None:
    path = folder / "00_start_here.ipynb"
    notebook = good(path)
    notebook.cells = [cell for cell in notebook.cells if not cell.id.endswith(("-1", "-2")) and cell.id != "exercises"]
    named(notebook, "stage").source = 'stage = Stage("server", "client")'
    notebook.cells.insert(2, code("ready", "from helpers import Stage, predict, socket"))
    notebook.cells.insert(2, markdown("machine-text", 3 * WORDS))
    assert found(path, counted(notebook)) == {}


def appendix(path: Path) -> NotebookNode:
    """An appendix that keeps every rule: nothing is promised, asked or predicted in it, and its cells are longer."""
    notebook = good(path)
    left_out = {"objectives", *ENDS}
    notebook.cells = [c for c in notebook.cells if c.id not in left_out and not c.source.startswith("predict(")]
    for cell in code_cells(notebook):
        if cell.id.startswith("look-"):
            cell.source = "x = 1\n" * 8 + cell.source
    return counted(notebook)


def longer(lines: int) -> Change:
    """A change: every code cell but the first has so many lines."""
    return lambda nb: [cell.update(source="x = 1\n" * lines) for cell in code_cells(nb)[1:]]


def without_a_stage(notebook: NotebookNode) -> None:
    """A change: nothing in it is a role's, or looks at a stage."""
    for cell in code_cells(notebook):
        cell.update(source="print(1)", outputs=[shown("1")], metadata={})


def test_a_good_appendix_keeps_every_rule(folder: Path) -> None:
    path = folder / "a1_the_article_checked.ipynb"
    path.write_text("{}")
    assert found(path, appendix(path)) == {}


@pytest.mark.parametrize("change", [longer(9), without_a_stage])
def test_what_an_appendix_may_do(folder: Path, change: Change) -> None:
    path = folder / "a1_the_article_checked.ipynb"
    path.write_text("{}")
    notebook = appendix(path)
    change(notebook)
    assert not {"code_cells_are_short", "first_code_cell_sets_the_stage"} & found(path, notebook).keys()


def test_a_lesson_may_not_do_as_an_appendix(folder: Path) -> None:
    path = folder / "03_choose_a_number.ipynb"
    path.write_text("{}")
    missed = {"sections_are_there_in_order", "objectives_are_verbs", "misunderstandings_are_two_or_three"}
    assert missed | {"predictions_come_first"} <= found(path, appendix(path)).keys()
    notebook = appendix(path)
    without_a_stage(notebook)
    assert "first_code_cell_sets_the_stage" in found(path, notebook)


@pytest.mark.parametrize(
    ("rule", "change", "says"),
    [
        ("code_cells_are_short", longer(10), "the median of a code cell is 10 lines, 9 at most"),
        ("code_cells_are_short", put("look-1", "x = 1\n" * 21), "look-1: 21 lines"),
        ("size_is_a_lessons", lambda nb: nb.cells.extend(51 * [code("more", "1")]), "code cells, not 8 to 50"),
        ("size_is_a_lessons", edit("text-2", WORDS, 99 * WORDS), "words, not 500 to 2600"),
        ("first_code_cell_sets_the_stage", put("stage", "from helpers import socket"), "Stage among it"),
        ("first_code_cell_sets_the_stage", put("stage", "from helpers import Stage"), "makes no `Stage(...)`"),
        ("markdown_cells_are_short", put("why-1", 5 * WORDS), "why-1: 100 words, not 80"),
        ("navigation_is_last", edit("navigation", "02_answer_a_call", "00_start_here"), "last cell"),
        ("one_title", edit("title", "# Make", "Make"), "0 headings of the first level"),
    ],
)
def test_an_appendix_that_breaks_a_rule_is_named(folder: Path, rule: str, change: Change, says: str) -> None:
    path = folder / "a1_the_article_checked.ipynb"
    path.write_text("{}")
    notebook = appendix(path)
    change(notebook)
    sentences = found(path, notebook).get(rule, [])
    assert any(says in sentence for sentence in sentences), sentences


def test_navigation_leads_to_the_neighbours_that_are_there(folder: Path) -> None:
    first, second, third = lessons(folder=folder)
    assert "[02 Answer a call →](02_answer_a_call.ipynb)" in navigation(second)
    assert "[← 00 Start here](00_start_here.ipynb)" in navigation(second)
    assert "←" not in navigation(first)
    assert "→" not in navigation(third)


def test_lessons_are_found_by_any_of_their_names(folder: Path) -> None:
    path = folder / "01_make_a_call.ipynb"
    for name in ("01", "01_make_a_call", "make_a_call", "01_make_a_call.ipynb", str(path)):
        assert lessons([name], folder) == [path]
    assert lessons(["02", "01"], folder) == [folder / "02_answer_a_call.ipynb", path]
    with pytest.raises(LookupError, match="no lesson is named 'x': there is 00_start_here"):
        lessons(["x"], folder)
    with pytest.raises(LookupError, match="more than one"):
        lessons(["0"], folder)
