"""A lesson in JupyterLab, as the browser tests drive it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PICTURES = Path(__file__).resolve().parent / "pictures"
PATIENCE = 60  # seconds that a whole lesson may take


class Lesson:
    """A lesson opened in JupyterLab, driven through the application's own commands."""

    def __init__(self, page: Any, lab: dict[str, str], name: str, folder: str = "notebooks") -> None:
        self.page = page
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

    def picture(self, name: str) -> None:
        """Keep a picture of the window as a file of this test run."""
        PICTURES.mkdir(exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png")
