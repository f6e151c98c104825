"""A question before the cell that answers it: `predict("What will …?", "this", "that")`.

To say what will happen, and then to look, teaches more than looking alone.  A prediction is not marked.  Without
widgets (on GitHub, in a test) the question stands there as text.
"""

from __future__ import annotations

import html
from typing import Any

from helpers.gate import gate

_noted: list[predict] = []
_answers: dict[tuple[str, ...], str] = {}  # so that a question asked again knows what was said


class predict:
    """A question with two to five `choices`; `.answer` is the one chosen so far, or None."""

    def __init__(self, question: str, *choices: str) -> None:
        if not 2 <= len(choices) <= 5:
            raise ValueError("a prediction needs two to five choices")
        self.question, self.choices = question, choices
        self.answer: str | None = _answers.get((question, *choices))
        self._views: list[Any] = []
        _noted.append(self)

    def __repr__(self) -> str:
        lines = [f"Predict: {self.question}"]
        return "\n".join(
            lines + [f"  {letter}) {choice}" for letter, choice in zip("abcde", self.choices, strict=False)]
        )

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/plain": repr(self)}
        view = self._view()
        if view is not None:
            bundle |= {m: d for m, d in view._repr_mimebundle_().items() if m != "text/plain"}
        return bundle

    def _view(self) -> Any:
        try:
            import ipywidgets as widgets
        except ImportError:
            return None
        # buttons, since JupyterLab keeps the arrow keys to itself: Tab goes from choice to choice, Space takes one
        wide = widgets.Layout(
            width="auto", max_width="44em", height="auto", min_height="32px", margin="3px 0",
            display="flex", justify_content="flex-start",
        )  # fmt: skip
        buttons = [widgets.Button(layout=wide) for _ in self.choices]
        for button, choice in zip(buttons, self.choices, strict=True):
            button.on_click(lambda _, choice=choice: self._choose(choice))
        said = widgets.HTML()
        self._views.append((buttons, said))
        self._show()
        question = widgets.HTML(f"<b>Predict.</b> {html.escape(self.question)}")
        layout = widgets.Layout(border_left="4px solid #CC79A7", padding="2px 0 2px 12px", margin="4px 0")
        return widgets.VBox([question, *buttons, said], layout=layout)

    def _choose(self, choice: str | None) -> None:
        self.answer = choice
        if choice is not None:
            _answers[self.question, *self.choices] = choice
        self._show()

    def _show(self) -> None:
        for buttons, said in self._views:
            for letter, choice, button in zip("abcde", self.choices, buttons, strict=False):
                button.description = f"{'●' if choice == self.answer else '○'} {letter}) {choice}"
                button.style.font_weight = "bold" if choice == self.answer else "normal"
            if self.answer is None:
                said.value = "<i>Choose, then go on to the next cell, and look.</i>"
            else:
                said.value = f"You say: <b>{html.escape(self.answer)}</b>. Now go on to the next cell, and look."


def _reset_all() -> None:
    _answers.clear()
    for one in _noted:
        one._choose(None)
    _noted.clear()


gate.at_new_stage.append(_reset_all)
