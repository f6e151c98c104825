"""The servers of `helpers.strategies` are the very text of the lessons' cells; docstrings and comments may differ."""

from __future__ import annotations

import ast
import inspect

import pytest
from form import Lesson

from helpers import strategies
from tools.notebooks import lessons

IN = {
    "07": ["Conversation", "talk", "accept", "one_at_a_time", "GREETING", "LIMIT", "SIZE", "PAUSE", "NO_ROOM"],
    "08": ["thread_per_caller", "thread_pool"],
    "09": ["Caller", "welcome", "attend", "hang_up", "selector_loop"],
    "10": ["next_call", "converse", "asyncio_streams", "Answering", "begin", "asyncio_protocol"],
}


def bare(tree: ast.AST) -> str:
    """Code without comments and docstrings."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            del body[0]
    return ast.unparse(tree)


def named(tree: ast.Module) -> dict[str, str]:
    """What a text defines at its top: functions, classes, constants."""
    found = {}
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found[node.name] = bare(node)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = bare(node)
    return found


OURS = named(ast.parse(inspect.getsource(strategies)))


@pytest.mark.parametrize("path", [path for path in lessons() if path.name[:2] in IN], ids=lambda path: path.stem)
def test_a_lesson_arrives_at_the_very_text(path):
    lesson = Lesson.read(path)
    cells = [named(ast.parse(source)) for cell in lesson.code if (source := lesson.python(cell))]
    for name in IN[path.name[:2]]:
        assert OURS[name] in [cell.get(name) for cell in cells], f"{name} is written otherwise, or nowhere"


def test_every_strategy_is_in_a_lesson():
    assert {serve.__name__ for serve in strategies.STRATEGIES} <= {name for names in IN.values() for name in names}
