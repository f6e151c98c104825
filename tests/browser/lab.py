"""JupyterLab and a lesson in it, as the browser tests and `run.py soak` drive them."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import psutil
from nbformat.v4 import new_code_cell, new_notebook

HERE = Path(__file__).resolve().parent
COURSE = HERE.parent.parent
PICTURES = HERE / "pictures"
SCRATCH = HERE / "scratch"  # below JupyterLab's root, and not hidden, or it would not open what is there
PATIENCE = 120  # seconds that a whole lesson may take, and Lab's first start on a busy machine
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def jupyterlab(runtime: Path) -> Iterator[dict[str, str]]:
    """`python3 run.py`, as in the README, on a free port: its address and token; its own files go to `runtime`."""
    # A client goes on dialling a kernel that has ended, and the system may have given its port to a lesson's listener.
    private = ["--KernelManager.transport=ipc"] if sys.platform == "linux" else []
    with (runtime / "lab.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, COURSE / "run.py", "--no-browser", "--port=0", "--expose-app-in-browser", *private],
            env={
                "COURSE_QUICK": "1",
                **os.environ,
                "JUPYTER_RUNTIME_DIR": str(runtime),
                "JUPYTER_CONFIG_DIR": str(runtime / "config"),
            },
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        try:
            yield _when_up(process, runtime)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(PATIENCE)


def _when_up(process: subprocess.Popen[bytes], runtime: Path) -> dict[str, str]:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        for found in runtime.glob("jpserver-*.json"):
            try:
                server = json.loads(found.read_text())
            except ValueError:  # it is being written
                continue
            return {"url": server["url"], "token": server["token"]}
        time.sleep(0.1)
    raise RuntimeError("JupyterLab did not start: " + (runtime / "lab.log").read_text()[-2000:])


@contextmanager
def scratch_notebook(cells: dict[str, str]) -> Iterator[str]:
    """A notebook of these cells, by their ids, for as long as the `with` lasts: its path in the course."""
    SCRATCH.mkdir(exist_ok=True)
    for left in SCRATCH.glob("of_*.ipynb"):  # by one that was killed
        if not psutil.pid_exists(int(left.stem.removeprefix("of_"))):
            left.unlink(missing_ok=True)
    about = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    made = [new_code_cell(source, id=name) for name, source in cells.items()]
    path = SCRATCH / f"of_{os.getpid()}.ipynb"
    nbformat.write(new_notebook(cells=made, metadata=about), path)
    try:
        yield path.relative_to(COURSE).as_posix()
    finally:
        path.unlink()


class Lesson:
    """A lesson opened in JupyterLab, driven through the application's own commands."""

    def __init__(self, page: Any, lab: dict[str, str], name: str, folder: str = "notebooks") -> None:
        self.page, self.name, self.folder = page, name, folder
        page.goto(
            f"{lab['url']}lab/workspaces/{name.partition('_')[0]}/tree/{folder}/{name}?reset&token={lab['token']}"
        )
        page.wait_for_function("() => window.jupyterapp && window.jupyterapp.shell.currentWidget?.content?.model")
        page.evaluate(
            """async () => {
                const app = window.jupyterapp;
                await app.restored;
                await app.shell.currentWidget.context.ready;
                await app.shell.currentWidget.sessionContext.ready;
                if (app.commands.isToggled('docmanager:toggle-autosave'))
                    await app.commands.execute('docmanager:toggle-autosave');
                await app.commands.execute('notebook:clear-all-cell-outputs');
            }"""
        )

    def run_all(self) -> None:
        """Run every cell, and wait until the last has ended, or one has failed."""
        # (the command comes back at the first error, also at one that a cell is there to show)
        self.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
        self.page.wait_for_function(
            """() => {
                const panel = window.jupyterapp.shell.currentWidget;
                const code = panel.content.widgets.map(c => c.model).filter(m => m.type === 'code');
                const failed = m => !(m.getMetadata('tags') || []).includes('raises-exception')
                    && m.outputs.toJSON().some(o => o.output_type === 'error');
                return panel.sessionContext.session.kernel.status === 'idle'
                    && (code.every(m => m.executionCount !== null) || code.some(failed));
            }""",
            timeout=PATIENCE * 1000,
        )

    def not_run(self) -> list[str]:
        """The code cells that have not been run."""
        found: list[str] = self.page.evaluate(
            """() => [...window.jupyterapp.shell.currentWidget.content.widgets]
                .filter(c => c.model.type === 'code' && c.model.executionCount === null)
                .map(c => c.model.id)"""
        )
        return found

    def errors(self) -> list[str]:
        """The errors in the notebook's model, but for those that a cell is there to show."""
        found: list[str] = self.page.evaluate(
            """() => [...window.jupyterapp.shell.currentWidget.content.widgets]
                .filter(c => c.model.type === 'code')
                .filter(c => !(c.model.getMetadata('tags') || []).includes('raises-exception'))
                .flatMap(c => c.model.outputs.toJSON().filter(o => o.output_type === 'error')
                    .map(o => c.model.id + ': ' + o.ename + ': ' + o.evalue))"""
        )
        return found

    def with_widgets(self) -> list[str]:
        """The cells that have a widget to show."""
        found: list[str] = self.page.evaluate(
            """() => [...window.jupyterapp.shell.currentWidget.content.widgets]
                .filter(c => c.model.type === 'code' && c.model.outputs.toJSON()
                    .some(o => o.data?.['application/vnd.jupyter.widget-view+json']))
                .map(c => c.model.id)"""
        )
        return found

    def outputs(self, cell: str) -> list[dict[str, Any]]:
        """The outputs of the cell with this id."""
        found: list[dict[str, Any]] = self.page.evaluate(
            """id => [...window.jupyterapp.shell.currentWidget.content.widgets]
                .find(c => c.model.id === id).model.outputs.toJSON()""",
            cell,
        )
        return found

    def run(self, cell: str) -> None:
        """Run the cell with this id, and wait until it has ended."""
        self.page.evaluate(
            """async id => {
                const panel = window.jupyterapp.shell.currentWidget, content = panel.content;
                content.activeCellIndex = content.widgets.findIndex(c => c.model.id === id);
                await window.jupyterapp.commands.execute('notebook:run-cell');
            }""",
            cell,
        )

    def asks(self, expression: str) -> str:
        """What the kernel says that an expression is, without a cell."""
        found: str = self.page.evaluate(
            """async expression => {
                const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
                const told = await kernel.requestExecute(
                    {code: '', silent: true, user_expressions: {told: expression}}).done;
                const {status, data, evalue} = told.content.user_expressions.told;
                return status === 'ok' ? data['text/plain'] : evalue;
            }""",
            expression,
        )
        return found

    def show(self, cell: str) -> Any:
        """Scroll to the cell with this id, and give its element."""
        index = self.page.evaluate(
            """async id => {
                const content = window.jupyterapp.shell.currentWidget.content;
                const index = content.widgets.findIndex(c => c.model.id === id);
                await content.scrollToItem(index, 'start');
                content.activeCellIndex = index;
                return index;
            }""",
            cell,
        )
        return self.page.locator(f'.jp-Notebook .jp-Cell[data-windowed-list-index="{index}"]')

    def widen(self) -> None:
        """Give the notebook the whole window."""
        self.page.evaluate("() => { const {shell} = window.jupyterapp; shell.collapseLeft(); shell.collapseRight(); }")

    def theme(self, name: str) -> None:
        """Put the page into JupyterLab's theme of this name, Light or Dark."""
        self.page.evaluate(
            "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", f"JupyterLab {name}"
        )
        light = str(name == "Light").lower()
        self.page.wait_for_function(
            f"() => document.body.dataset.jpThemeLight === '{light}' && !document.querySelector('#jupyterlab-splash')"
        )

    def shut_down(self) -> None:
        """End its kernel."""
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")

    def picture(self, name: str) -> None:
        """Keep a picture of the window as a file of this test run."""
        PICTURES.mkdir(exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png")


class Board:
    """A switchboard that is shown."""

    def __init__(self, lesson: Lesson, place: Any) -> None:
        self.lesson, self.page, self.place = lesson, lesson.page, place
        self.place.wait_for()

    def press(self, button: str, how: str | None = None) -> None:
        """By the mouse, or by a key."""
        found = self.place.get_by_role("button", name=button, exact=True)
        if how is None:
            found.click()
        else:
            found.focus()
            self.page.keyboard.press(how)

    def is_off(self, button: str) -> None:
        """The button does nothing now, or soon."""
        off = self.page.locator("[aria-disabled=true]")
        self.place.get_by_role("button", name=button, exact=True).and_(off).wait_for()

    def choose(self, name: str, how: str | None = None) -> None:
        """Take the card of this name, by the mouse or by a key."""
        if how is None:
            self.card(name).click()
        else:
            self.card(name).focus()
            self.page.keyboard.press(how)

    def card(self, name: str, words: str = "") -> Any:
        """The card of this name, as soon as it says these words."""
        called = self.page.locator(".sb-name", has_text=re.compile(f"^{re.escape(name)}$"))
        found = self.place.locator(".sb-card").filter(has=called).filter(has_text=words)
        found.first.wait_for()
        return found.first

    def says(self, words: str) -> None:
        """It says so, or will."""
        self.place.get_by_text(words).first.wait_for()

    def table(self) -> list[tuple[str, str]]:
        """The operating system's table: whose socket is in which state, but for the listener."""
        told = self.lesson.asks("sorted((r.role, r.state) for r in stage.sockets().rows if r.state != 'LISTEN')")
        found: list[tuple[str, str]] = ast.literal_eval(told)
        return found
