"""What an exercise is: a check, hints, and a reference; and what came of checking an answer."""

from __future__ import annotations

import dis
import html
import inspect
from collections.abc import Callable
from typing import Any, Literal

from helpers.exercises.trial import Trial
from helpers.gate import gate

Status = Literal["right", "not yet", "not tried yet"]
LOOK = {"right": ("#009E73", "✓"), "not yet": ("#E69F00", "✗"), "not tried yet": ("#767676", "·")}

RETURNS_NONE = {"RESUME", "NOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST"}  # all that an empty body compiles to


class NotYet(Exception):
    """Raised by a check: the sentence that tells a person what the answer did wrong."""


def returned(trial: Trial, case: str) -> Any:
    """What the answer returned in this case; NotYet if it hung or raised."""
    if trial.hung:
        raise NotYet(f"{case}: your function did not return: {trial.hung}.")
    if trial.error is not None:
        raise NotYet(f"{case}: your function raised {trial.raised()}.")
    return trial.result


class Outcome:
    """What a check found: `.status` is "right", "not yet" or "not tried yet", `.message` a sentence for a person.

    `.calls` are the calls that the answer made in the case that failed, and `.printed` what it printed there.
    """

    def __init__(self, exercise: str, status: Status, message: str, calls: str = "", printed: str = "") -> None:
        self.exercise, self.status, self.message, self.calls, self.printed = exercise, status, message, calls, printed
        self._shown = False

    def __repr__(self) -> str:
        lines = [f"{LOOK[self.status][1]} {self.exercise}: {self.status}", f"  {self.message}"]
        for title, text in (("its calls:", self.calls), ("it printed:", self.printed)):
            if text:
                lines += [f"  {title}", *(f"    {line}" for line in text.splitlines())]
        return "\n".join(lines)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        colour, mark = LOOK[self.status]
        details = "".join(
            f'<div style="font-size:90%;opacity:.8;margin-top:3px">{title}</div>'
            f'<pre style="margin:0;padding:0;background:none;white-space:pre-wrap">{html.escape(text)}</pre>'
            for title, text in (("its calls:", self.calls), ("it printed:", self.printed))
            if text
        )
        return {
            "text/plain": repr(self),
            "text/html": f'<div style="border-left:4px solid {colour};padding:3px 0 3px 12px;max-width:46em">'
            f"<b>{mark} {html.escape(self.exercise)}: {self.status}</b>"
            f"<div>{html.escape(self.message)}</div>{details}</div>",
        }

    def _ipython_display_(self) -> None:
        if not self._shown:
            _display(self)
        self._shown = False  # check() has shown it; the next time that it is asked for, it is shown again


class Exercise:
    """An exercise: `check(answer)`, `hint()`, `solution()`.

    `judge(answer)` tries the answer and raises NotYet with a sentence if it is wrong; `praise` greets a right one.
    `given` is the function that an exercise of mending begins with; without one, the stub's body is `...`.
    `may_be_async`: the answer may be an `async def`, which the judge knows how to run.
    """

    def __init__(
        self,
        name: str,
        judge: Callable[[Callable[..., Any]], None],
        reference: Callable[..., Any],
        praise: str,
        *hints: str,
        given: Callable[..., Any] | None = None,
        may_be_async: bool = False,
    ) -> None:
        self.name, self.reference, self.given, self.may_be_async = name, reference, given, may_be_async
        self._judge, self._praise, self._hints, self._given = judge, praise, hints, 0
        gate.at_new_stage.append(self._begin_anew)

    def __repr__(self) -> str:
        return f"{self.name}: .check({self.reference.__name__}), .hint(), .solution()"

    def _begin_anew(self) -> None:
        self._given = 0

    def check(self, answer: Callable[..., Any]) -> Outcome:
        """Try `answer`, a function, against real peers, show what came of it, and give it back."""
        outcome = self._outcome(answer)
        _display(outcome)
        outcome._shown = True
        return outcome

    def _outcome(self, answer: Any) -> Outcome:
        wanted = self.reference.__name__
        if not callable(answer):
            said = f"check() takes the function itself: write check({wanted}), with no brackets after {wanted}."
            return Outcome(self.name, "not yet", said)
        if _untouched(answer):
            return Outcome(
                self.name,
                "not tried yet",
                f"Write the body of {wanted} in place of the three dots (the name stays), then run the cell again.",
            )
        if self.given is not None and _does(answer) == _does(self.given):
            return Outcome(
                self.name, "not tried yet", f"This is {wanted} as it was given: mend it, then run the cell again."
            )
        may_be_async = self.may_be_async or inspect.iscoroutinefunction(self.reference)
        if (inspect.iscoroutinefunction(answer) and not may_be_async) or inspect.isgeneratorfunction(answer):
            said = f"{wanted} is called as a plain function: write def, without async and without yield."
            return Outcome(self.name, "not yet", said)
        try:
            self._judge(answer)
        except NotYet as problem:
            trial = Trial.latest
            calls, printed = (trial.calls(), trial.printed) if trial is not None else ("", "")
            return Outcome(self.name, "not yet", _said(problem, trial), calls, printed)
        finally:
            Trial.latest = None
        return Outcome(self.name, "right", self._praise)

    def hint(self) -> None:
        """Print one hint more."""
        self._given = min(self._given + 1, len(self._hints))
        for n, hint in enumerate(self._hints[: self._given], 1):
            print(f"hint {n} of {len(self._hints)}: {hint}")
        if self._given == len(self._hints):
            print("that was the last hint; .solution() shows one way")

    def solution(self) -> None:
        """Print the reference: one right answer of many, the one that the course's own tests run."""
        print(inspect.getsource(self.reference).rstrip())


def _said(problem: NotYet, trial: Trial | None) -> str:
    """The sentence; where a name or a type was wrong, without what the judge has to say of the network."""
    told = str(problem)
    if trial is not None and isinstance(trial.error, (NameError, TypeError)) and (slip := trial.raised()) in told:
        told = told[: told.index(slip) + len(slip)] + "."
    return told


def _untouched(answer: Callable[..., Any]) -> bool:
    """Is it the stub, whose body is its docstring and `...`?"""
    code = getattr(answer, "__code__", None)
    if code is None:
        return False
    does = {instruction.opname for instruction in dis.get_instructions(code)}
    begins = (
        {"RETURN_GENERATOR", "POP_TOP", "CALL_INTRINSIC_1", "RERAISE"} if inspect.iscoroutinefunction(answer) else set()
    )
    return does <= RETURNS_NONE | begins and all(const in (None, Ellipsis, answer.__doc__) for const in code.co_consts)


def _does(function: Callable[..., Any]) -> object:
    """What a function does, for comparing: its code, without its docstring and where it stands."""
    code = getattr(function, "__code__", None)
    if code is None:
        return function
    return code.co_code, code.co_names, code.co_varnames, [c for c in code.co_consts if c != function.__doc__]


def _display(outcome: Outcome) -> None:
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        shell = None
    else:
        shell = get_ipython()
    if shell is None:
        print(outcome)
    else:
        shell.display_pub.publish(outcome._repr_mimebundle_())
