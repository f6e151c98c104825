"""A question before the cell that answers it: `predict("What will …?", "this", "that")`.

To say what will happen, and then to look, teaches more than looking alone.  A prediction is not marked.  Without widgets
(on GitHub, in a test) the question stands there as text.
"""

from __future__ import annotations

from typing import Any

from helpers.gate import gate

_noted: list[predict] = []


class predict:
    """A question with two to five `choices`; `.answer` is the one chosen so far, or None."""

    def __init__(self, question: str, *choices: str) -> None:
        if not 2 <= len(choices) <= 5:
            raise ValueError("a prediction needs two to five choices")
        self.question, self.choices = question, choices
        self.answer: str | None = None
        self._views: list[Any] = []
        _noted.append(self)

    def __repr__(self) -> str:
        lines = [f"Predict: {self.question}"]
        return "\n".join(lines + [f"  {letter}) {choice}" for letter, choice in zip("abcde", self.choices, strict=False)])

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
        question = widgets.HTML(f"<b>Predict.</b> {_escape(self.question)}")
        noted = widgets.HTML(self._said())
        # the answer is read out by a screen reader as it changes
        choice = widgets.RadioButtons(
            options=[*self.choices], value=self.answer, layout=widgets.Layout(width="auto", margin="2px 0 2px 8px")
        )

        def chosen(change: dict[str, Any]) -> None:
            self.answer = change["new"]
            for said, other in self._views:
                said.value = self._said()
                other.value = self.answer

        choice.observe(chosen, "value")
        self._views.append((noted, choice))
        box = widgets.VBox([question, choice, noted])
        box.layout.border_left = "4px solid #CC79A7"
        box.layout.padding = "2px 0 2px 12px"
        return box

    def _said(self) -> str:
        if self.answer is None:
            return "<i>Choose, then run the next cell.</i>"
        return f"You say: <b>{_escape(self.answer)}</b>. Now run the next cell, and look."

    def _reset(self) -> None:
        self.answer = None
        for said, choice in self._views:
            choice.value = None
            said.value = self._said()


def _escape(text: str) -> str:
    import html

    return html.escape(text)


def _reset_all() -> None:
    for one in _noted:
        one._reset()
    _noted.clear()


gate.at_new_stage.append(_reset_all)
