"""Lesson 00: the exercise that shows what an exercise is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from helpers.exercises.exercise import Exercise, NotYet, returned
from helpers.exercises.trial import Trial

CASES = ("hello", "", "a line\n", "naïve café", "日本")


def to_bytes(text):
    """The bytes that go over the wire for `text`, in UTF-8."""
    return text.encode("utf-8")


def _judge(answer: Callable[..., Any]) -> None:
    for text in CASES:
        with Trial(answer, text) as trial:
            trial.wait()
        got, wanted, case = returned(trial, f"For {text!r}"), text.encode(), f"For {text!r}"
        if got is None:
            raise NotYet(f"{case}: your function returned None. Did you forget `return`?")
        if isinstance(got, str):
            raise NotYet(f"{case}: your function returned text (str). A socket takes bytes: encode the text.")
        if not isinstance(got, bytes):
            raise NotYet(f"{case}: your function returned {type(got).__name__}, and should return bytes.")
        if got != wanted and got == text.encode("utf-8", "ignore")[: len(text)]:
            raise NotYet(f"{case}: bytes are missing. One character may take several bytes in UTF-8.")
        if got != wanted:
            raise NotYet(f"{case}: your function returned {got!r}, and UTF-8 gives {wanted!r}.")


exercise_0a = Exercise(
    "exercise_0a",
    _judge,
    to_bytes,
    "Text becomes bytes, whatever the language. That is all that a socket carries.",
    "a str has a method that makes bytes of it",
    'it is called encode: "hello".encode("utf-8")',
)
