"""Answers to the exercises, right ones in other styles and plausible wrong ones, a module for each lesson.

`RIGHT[name]` are functions; `WRONG[name]` pairs of a function and words of the sentence that it must be told.
"""

from __future__ import annotations

import importlib
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RIGHT: dict[str, list[Callable[..., Any]]] = {}
WRONG: dict[str, list[tuple[Callable[..., Any], str]]] = {}

for _path in sorted(Path(__file__).parent.glob("lesson_*.py")):
    _lesson = importlib.import_module(f"{__name__}.{_path.stem}")
    RIGHT |= _lesson.RIGHT
    WRONG |= _lesson.WRONG


# ---------------------------------------------------------------------- to any exercise


def hangs(*_):
    while True:
        time.sleep(0.05)


def exits(*_):
    raise SystemExit


def asks(*_):
    return input("what? ")


def breaks(*_):
    struct.pack("H", 70000)
