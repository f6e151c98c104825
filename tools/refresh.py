"""`python3 run.py refresh [lesson …]`: run lessons, or all of them, in a fresh kernel each and store their outputs.

A file is written only when its cells ran as they should: each that raises is tagged `raises-exception`, and no output
tells anything of this machine or this moment.  If the outputs equal the stored ones by the rules of `sanitize.cfg`, all
stored ones stay, so that refreshing again changes nothing.  (All or none: in a lesson, ports fit each other.)
"""

from __future__ import annotations

import ast
import getpass
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import nbformat
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from tools.notebooks import (
    ANSI,
    MARK,
    METADATA,
    ROOT,
    WIDGET_VIEW,
    Kernel,
    Ran,
    code_cells,
    comparable,
    lessons,
    load,
    navigation,
    options,
    sanitizer,
    save,
    texts,
    traces,
)

KEPT = ("reason", "tags")  #: what a cell's metadata may hold
LIMIT = 60  #: seconds for a cell


class NotRefreshed(Exception):
    """Why a lesson's file was left as it was, in a sentence that names the cell."""


def refresh(path: Path, clean: Callable[[str], str]) -> str:
    """Run one lesson, and write its file; says what changed."""
    notebook = load(path)
    tidy(notebook, path)
    cells = code_cells(notebook)
    fresh = run(path, cells)
    changed = [cell for cell, outputs in zip(cells, fresh, strict=True) if differs(cell, outputs, clean)]
    for count, (cell, outputs) in enumerate(zip(cells, fresh, strict=True), 1):
        if changed:
            cell.outputs = outputs
        cell.execution_count = count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
    nbformat.validate(notebook)
    written = save(path, notebook)
    if changed:
        return f"refreshed {len(changed)} cell{'s' if len(changed) > 1 else ''}"
    return "outputs unchanged, file tidied" if written else "unchanged"


def run(path: Path, cells: Sequence[NotebookNode]) -> list[list[NotebookNode]]:
    """The outputs of a lesson's code cells, ready to be stored."""
    found = []
    written = " ".join(cell.source for cell in cells)
    with Kernel(path.parent, LIMIT) as kernel:
        for cell in cells:
            if options(cell).get("skip"):
                found.append(cell.outputs)
                continue
            try:
                found.append(accepted(cell, kernel.run(cell.source), written))
            except CellTimeoutError:
                raise NotRefreshed(f"cell {cell.id} takes longer than {LIMIT} seconds") from None
            except DeadKernelError:
                raise NotRefreshed(f"cell {cell.id} ended the kernel") from None
    return found


def accepted(cell: NotebookNode, ran: Ran, written: str) -> list[NotebookNode]:
    """A cell's outputs in their stored form, if they may be stored; what stands in `written`, the author wrote."""
    may_raise = options(cell).get("check_exception")
    if ran.error and not may_raise:
        raised = f"{ran.error.ename}: {ran.error.evalue}"
        raise NotRefreshed(f"cell {cell.id} raises {raised} (tag it raises-exception if it is to)")
    if may_raise and not ran.error:
        raise NotRefreshed(f"cell {cell.id} is tagged raises-exception, and raises nothing")
    outputs = stored_form(ran.outputs)
    for kind, text in texts(outputs):
        for what in (*traces(text), *_machine(text, written)):
            raise NotRefreshed(f"the output of cell {cell.id} ({kind}) holds {what}")
        if kind != "traceback" and ANSI.search(text):
            raise NotRefreshed(f"the output of cell {cell.id} ({kind}) holds codes that colour a terminal")
    return outputs


def stored_form(outputs: Sequence[NotebookNode]) -> list[NotebookNode]:
    """Outputs as they are stored: no widget views, and what was printed in several pieces in one."""
    kept: list[NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream" and kept and kept[-1].get("name") == output.name:
            kept[-1].text += output.text
        elif "data" not in output:
            kept.append(output)
        elif output.data.keys() - {WIDGET_VIEW}:
            output.data.pop(WIDGET_VIEW, None)
            kept.append(output)
    return kept


def differs(cell: NotebookNode, outputs: Sequence[NotebookNode], clean: Callable[[str], str]) -> bool:
    """Are a cell's stored outputs to be replaced by these?  Tracebacks count here too: they show the cell's lines."""
    if not options(cell).get("check", True):
        return bool(outputs) and not cell.outputs
    if comparable(cell.outputs, clean) != comparable(outputs, clean):
        return True
    before, now = (
        [clean(ANSI.sub("", text)) for kind, text in texts(side) if kind == "traceback"]
        for side in (cell.outputs, outputs)
    )
    return before != now


def _machine(text: str, written: str) -> Iterator[str]:
    """What of this very machine stands in a text, and not in what the author wrote."""
    text = ANSI.sub("", text)
    for what, value in (
        ("this folder's path", str(ROOT)),
        ("the home folder's path", os.path.expanduser("~") + os.sep),
        ("Python's path", sys.prefix),
        ("this machine's name", socket.gethostname().replace("localhost", "")),
        ("this user's name", _user()),
    ):
        if len(value) > 3 and value not in written and re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text):
            yield f"{what}: {value}"


def _user() -> str:
    try:
        name = getpass.getuser()
    except (ImportError, KeyError, OSError):  # a user without a name, as containers have
        return ""
    return "" if name == "root" else name  # which is a word that lessons need


# ---------------------------------------------------------------------- what stands around the outputs


def tidy(notebook: NotebookNode, path: Path) -> None:
    """Metadata, cell ids and the last cell with its links, as every lesson has them."""
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = nbformat.from_dict(METADATA)
    write_navigation(notebook, path)
    used = {cell.get("id") for cell in notebook.cells}
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({key: cell.metadata[key] for key in KEPT if cell.metadata.get(key)})
        if not cell.get("id") or looks_random(cell.id):
            cell.id = _unused(name_for(cell), used)
            used.add(cell.id)
        if cell.cell_type == "code":
            cell.setdefault("execution_count", None)
            cell.outputs = stored_form(cell.get("outputs", []))


def write_navigation(notebook: NotebookNode, path: Path) -> None:
    """The last cell is the one with the links to the previous and the next lesson."""
    if not (notebook.cells and notebook.cells[-1].source.startswith(MARK)):
        notebook.cells.append(nbformat.from_dict({"cell_type": "markdown", "metadata": {}, "source": ""}))
    notebook.cells[-1].source = navigation(path)


def looks_random(name: str) -> bool:
    """Was this cell id made by Jupyter, and not by a person?"""
    return bool(re.fullmatch(r"(?=.*\d)[0-9a-f]{8}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", name))


def name_for(cell: NotebookNode) -> str:
    """A readable id for a new cell: its heading, its role and first call, or its first words."""
    text: str = cell.source
    if text.startswith(MARK):
        return "navigation"
    words = re.findall(r"[a-z0-9]+", text.splitlines()[0].lower()) if text else []
    if cell.cell_type == "code":
        role = re.match(r"%%(\w+)", text)
        body = re.sub(r"^[%!].*$", "", text, flags=re.M)
        try:
            calls = [n.func for n in ast.walk(ast.parse(body)) if isinstance(n, ast.Call)]
        except SyntaxError:
            calls = []
        names = [f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in calls]
        words = [*([role[1]] if role else []), *re.findall(r"[a-z0-9]+", " ".join(names[:1]).lower())] or words
    return "-".join(words[:4]) if words and words[0][0].isalpha() else "-".join(["cell", *words[:3]])


def _unused(name: str, used: set[str]) -> str:
    number = 1
    while (candidate := name if number == 1 else f"{name}-{number}") in used:
        number += 1
    return candidate


def main(arguments: Sequence[str]) -> int:
    """Refresh the lessons that are named, or all; 0 if each could be."""
    try:
        paths = lessons(arguments)
    except LookupError as problem:
        print(problem)
        return 2
    clean, failed = sanitizer(), 0
    for path in paths:
        try:
            print(f"{path.stem}: {refresh(path, clean)}", flush=True)
        except NotRefreshed as problem:
            failed += 1
            print(f"{path.stem}: NOT refreshed: {problem}", flush=True)
    for other in sorted({other for path in paths for other in lessons(folder=path.parent)} - set(paths)):
        notebook = load(other)
        if notebook.cells[-1].source.startswith(MARK):  # a new neighbour changes its links
            write_navigation(notebook, other)
            if save(other, notebook):
                print(f"{other.stem}: new links to its neighbours")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
