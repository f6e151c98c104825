"""What commands and tests share: to find lessons, read and write them, run their cells, and compare outputs."""

from __future__ import annotations

import ast
import atexit
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import nbformat
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook
from nbval.plugin import coalesce_streams, find_comment_markers, find_metadata_tags, get_sanitize_patterns

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
SANITIZE = ROOT / "tests" / "sanitize.cfg"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
#: The same for every lesson and every Python that runs it: Lab would add the version.
METADATA = {
    "as_shipped": True,  # JupyterLab opens it without the stored outputs: see helpers/fresh_lessons.py
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


# ---------------------------------------------------------------------- files


def lessons(names: Iterable[str] = (), folder: Path = NOTEBOOKS) -> list[Path]:
    """The lessons in order and the appendices after them, or those that are named: `01`, `a1_the`, `make_a_call`, path.

    LookupError: no lesson, or more than one, goes by that name.
    """
    every = [*sorted(folder.glob("[0-9][0-9]_*.ipynb")), *sorted(folder.glob("a[0-9]_*.ipynb"))]
    found: list[Path] = []
    for name in names:
        if name.endswith(".ipynb") and os.path.isfile(name):
            found.append(Path(name).resolve())
            continue
        stem = Path(name).name.removesuffix(".ipynb")
        exact = [p for p in every if stem in (p.stem, p.stem[3:])]
        fits = exact or [p for p in every if p.stem.startswith(stem)]
        if len(fits) != 1:
            there = ", ".join(p.stem for p in fits or every) or "none yet"
            raise LookupError(f"{'no' if not fits else 'more than one'} lesson is named {name!r}: there is {there}")
        found += fits
    return list(dict.fromkeys(found)) or every


def is_appendix(path: Path) -> bool:
    """Is it one of those that come after the lessons (`a1_…`), to look things up in?"""
    return bool(re.match(r"a\d_", path.name))


def load(path: Path) -> NotebookNode:
    """The notebook as it is in its file (`nbformat.read` would give a cell without an id a random one)."""
    return nbformat.v4.reads(path.read_text(encoding="utf-8"))


def text_of(notebook: NotebookNode) -> str:
    """The text of its file, a line of source a line, so that a difference shows what changed."""
    return str(nbformat.v4.writes(notebook)).rstrip("\n") + "\n"


def save(path: Path, notebook: NotebookNode) -> bool:
    """Write it, whole or not at all; False if the file says the same already."""
    text = text_of(notebook)
    if path.exists() and path.read_bytes() == text.encode():
        return False
    new = path.with_name(path.name + ".new")
    new.write_text(text, encoding="utf-8", newline="\n")
    new.replace(path)
    return True


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Its code cells, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def options(cell: NotebookNode) -> dict[str, bool]:
    """What nbval is told about a code cell: `check` (False: not compared), `skip`, `check_exception` (it raises)."""
    return dict(find_metadata_tags(cell.metadata)) | dict(find_comment_markers(cell.source))


# ---------------------------------------------------------------------- the last cell: previous and next

MARK = "<!-- navigation -->"


def title(path: Path) -> str:
    """`01_make_a_call.ipynb` is called `01 Make a call`; an appendix has commas too, by its own heading."""
    words = path.stem[3:].replace("_", " ")
    if is_appendix(path) and (cells := load(path).get("cells")) and (heading := re.match(r"# (.+)", cells[0].source)):
        words = heading[1]
    return f"{path.stem[:2].upper()} {words[:1].upper()}{words[1:]}"


def navigation(path: Path) -> str:
    """The text of a lesson's last cell: links to its neighbours among the files that are there."""
    every = lessons(folder=path.parent)
    at = every.index(path)
    links = [f"[← {title(p)}]({p.name})" for p in every[:at][-1:]]
    links.append("[All lessons](../README.md)")
    links += [f"[{title(p)} →]({p.name})" for p in every[at + 1 :][:1]]
    return f"{MARK}\n{' · '.join(links)}\n{MARK}"


# ---------------------------------------------------------------------- outputs


def sanitizer(file: Path = SANITIZE) -> Callable[[str], str]:
    """What nbval does to a text before it compares: the rules of `sanitize.cfg`, in their order."""
    rules = get_sanitize_patterns(file.read_text(encoding="ascii")) if file.exists() else []

    def clean(text: str) -> str:
        for pattern, replacement in dict(rules).items():
            text = re.sub(pattern, replacement, text)
        return text

    return clean


def comparable(outputs: Sequence[NotebookNode], clean: Callable[[str], str]) -> dict[str, list[Any]]:
    """What nbval compares of a cell's outputs: for each kind of output its texts in order, sanitised."""
    found: dict[str, list[Any]] = {}
    for output in coalesce_streams([nbformat.from_dict(dict(output)) for output in outputs]):
        if output.output_type == "stream":
            values = {output.name: output.text}
        elif output.output_type == "error":
            values = {"error": f"{output.ename}: {output.evalue}"}
        else:
            values = {mime: data for mime, data in output.data.items() if mime != WIDGET_VIEW}
        for kind, value in values.items():
            found.setdefault(kind, []).append(clean(value) if isinstance(value, str) else value)
    return found


def texts(outputs: Iterable[NotebookNode]) -> Iterator[tuple[str, str]]:
    """Every text in a cell's outputs, with its kind."""
    for output in outputs:
        if output.output_type == "stream":
            yield output.name, output.text
        elif output.output_type == "error":
            yield "error", f"{output.ename}: {output.evalue}"
            yield "traceback", "\n".join(output.traceback)
        else:
            yield from ((mime, data) for mime, data in output.data.items() if isinstance(data, str))


ANSI = re.compile(r"\x1b\[[0-9;]*m")
_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*"
_TRACES = {
    "a path of one machine": r"/(?:home|root|tmp|work|Users|private|var/folders)/|(?<![\w~])~/\w|\b[A-Z]:\\\\?[A-Z]",
    "a date": rf"\b\d{{4}}-\d\d-\d\d\b|\b{_MONTH} \d{{1,2}},? \d{{4}}\b|\b\d{{1,2}} {_MONTH} \d{{4}}\b"
    rf"|\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? (?:\d{{1,2}} )?{_MONTH}\b",
    "a time of day": r"(?<![\w:.])\d{1,2}:[0-5]\d:[0-5]\d(?![\w:])",
    "a measured time": r"\b(?:Wall time|CPU times):",
    "an address in memory": r"\b0x[0-9a-f]{8,}\b",
}


def traces(text: str) -> Iterator[str]:
    """What in a text is true of one machine or one moment only, as `a date: 2001-01-01`."""
    text = ANSI.sub("", text)
    for what, pattern in _TRACES.items():
        if match := re.search(pattern, text):
            yield f"{what}: {text[match.start() : match.end() + 30].splitlines()[0]}"


# ---------------------------------------------------------------------- running


@dataclass
class Ran:
    """What became of a cell: its outputs, its number in the kernel, how long it took, and what it raised."""

    outputs: list[NotebookNode]
    count: int
    seconds: float
    error: CellExecutionError | None


class _ThisPython(KernelSpecManager):
    """Finds a kernel of the Python that runs now, whatever kernels the system has."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(**get_kernel_dict())


def without_ports() -> dict[str, str]:
    """Options for a KernelManager: where the system can do it, its kernel is called by files, in a folder of its own.

    A TCP port is chosen well before the kernel binds it, and meanwhile a lesson's listener may be given it.
    """
    if os.name == "nt":
        return {}
    folder = tempfile.mkdtemp(prefix="kernel-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return {"transport": "ipc", "ip": os.path.join(folder, "k")}


class Kernel:
    """A fresh kernel in a folder, which runs cells one by one: `with Kernel(folder) as kernel: kernel.run("1 + 1")`.

    `run` raises nbclient's CellTimeoutError if a cell takes longer than `limit` seconds, and DeadKernelError.
    """

    def __init__(self, folder: Path, limit: int = 60) -> None:
        manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=_ThisPython(), **without_ports())
        self.client = NotebookClient(
            new_notebook(), km=manager, record_timing=False, store_widget_state=False, shutdown_kernel="immediate"
        )
        self.client.log.disabled = True  # what goes wrong is raised as well
        self.client.timeout = limit
        self._running = self.client.setup_kernel(cwd=str(folder), stderr=subprocess.DEVNULL, cleanup_kc=True)

    def __enter__(self) -> Kernel:
        self._running.__enter__()
        return self

    def __exit__(self, *problem: Any) -> None:
        self._running.__exit__(None, None, None)

    def run(self, source: str) -> Ran:
        """Run a cell's text, and wait until it is done."""
        cell = new_code_cell(source)
        self.client.nb.cells.append(cell)
        error = None
        began = perf_counter()
        try:
            self.client.execute_cell(cell, len(self.client.nb.cells) - 1)
        except CellExecutionError as problem:
            error = problem
        return Ran(cell.outputs, cell.execution_count, perf_counter() - began, error)

    def ask(self, expression: str) -> Any:
        """The value of an expression in the kernel, without a cell: no hook of a lesson sees it."""
        reply: Any = self.client.wait_for_reply(run_sync(self._send)(expression))
        answer = reply["content"]["user_expressions"]["it"]
        if answer["status"] != "ok":
            raise RuntimeError(f"{expression}: {answer['ename']}: {answer['evalue']}")
        return ast.literal_eval(answer["data"]["text/plain"])

    async def _send(self, expression: str) -> str:
        kernel: Any = self.client.kc
        return str(kernel.execute("", silent=True, user_expressions={"it": expression}))
