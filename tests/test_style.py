"""The code's form: ruff, mypy, docstrings, one way through the modules of helpers, and their size."""

from __future__ import annotations

import ast
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from form import Lesson

from tools.notebooks import ROOT, lessons, save

HELPERS = sorted((ROOT / "helpers").rglob("*.py"))
LINES_MOST = 400
NOT_FOR_NOTEBOOKS = (
    "F821",  # a name may be missing on purpose; one that is missing by mistake, the lesson's run tells
    "PIE790",  # the `...` of an exercise shows where to write
    "RUF059",  # `transfer, caller = listener.accept()` is how it is said, even where nobody asks who called
)


def told_by(*command: str) -> str:
    """What a command of this Python's finds wrong; nothing, if it finds nothing."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    return f"{done.stdout}{done.stderr}status {done.returncode}" if done.returncode else ""


def must_be_empty(found: str | list[str]) -> None:
    """Fails with all that was found, a line each."""
    if found:
        pytest.fail(found if isinstance(found, str) else "\n".join(found), pytrace=False)


def ruff(*arguments: str) -> str:
    return told_by("ruff", "check", "--quiet", "--no-fix", "--no-cache", "--output-format=concise", *arguments)


def test_ruff() -> None:
    must_be_empty(ruff("helpers", "tests", "tools", "run.py", "notebooks/scripts"))


def ruff_on_lessons(paths: list[Path], folder: Path) -> str:
    """What ruff says of copies in which role lines are comments: it skips cells that begin with an unknown magic."""
    for path in paths:
        lesson = Lesson.read(path)
        for cell in lesson.code:
            if lesson.role_of(cell)[0]:
                cell.source = f"# {cell.source}"
        save(folder / path.name, lesson.notebook)
    ignored = ",".join(f"*.ipynb:{code}" for code in NOT_FOR_NOTEBOOKS)
    options = (f"--config={ROOT / 'pyproject.toml'}", f"--extend-per-file-ignores={ignored}")
    return ruff(*options, *(str(folder / path.name) for path in paths))


def test_ruff_on_lessons(tmp_path: Path) -> None:
    must_be_empty(ruff_on_lessons(lessons(), tmp_path))


def test_ruff_reads_the_cells_of_roles(tmp_path: Path) -> None:
    path = lessons()[0]
    lesson = Lesson.read(path)
    cell = next(cell for cell in lesson.code if lesson.role_of(cell)[0])
    cell.source += "\nif x == None: pass"
    save(tmp_path / path.name, lesson.notebook)
    (tmp_path / "copy").mkdir()
    assert "E711" in ruff_on_lessons([tmp_path / path.name], tmp_path / "copy")


def test_mypy() -> None:
    must_be_empty(told_by("mypy", "--strict", "helpers"))


# ---------------------------------------------------------------------- helpers


def undocumented(tree: ast.Module, name: str) -> Iterator[str]:
    """Public names of a module that have no docstring.

    A method that overrides one of the standard socket's may say nothing: the standard library's text holds.
    """
    if not ast.get_docstring(tree):
        yield name
    for node in tree.body:
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield f"{name}.{node.name}"
        is_socket = isinstance(node, ast.ClassDef) and any("socket" in ast.unparse(base) for base in node.bases)
        for part in node.body if isinstance(node, ast.ClassDef) else []:
            if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef)) and not part.name.startswith("_"):
                if not ast.get_docstring(part) and not (is_socket and hasattr(socket.socket, part.name)):
                    yield f"{name}.{node.name}.{part.name}"


def module_name(path: Path) -> str:
    """`helpers/gate.py` is `helpers.gate`, `helpers/__init__.py` is `helpers`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(tree: ast.Module, modules: set[str]) -> set[str]:
    """Which of these modules a module names in its imports, wherever they stand in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (names & modules) or {node.module}
    return found & modules


def circle(imports: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle; empty if there is none."""
    done: set[str] = set()

    def follow(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name not in done:
            for other in sorted(imports.get(name, ())):
                if found := follow(other, [*way, name]):
                    return found
            done.add(name)
        return []

    return next((found for name in sorted(imports) if (found := follow(name, []))), [])


def test_helpers_are_documented() -> None:
    trees = {module_name(path): ast.parse(path.read_text("utf-8")) for path in HELPERS}
    must_be_empty([f"no docstring: {what}" for name, tree in trees.items() for what in undocumented(tree, name)])


def test_helpers_import_one_way() -> None:
    trees = {module_name(path): ast.parse(path.read_text("utf-8")) for path in HELPERS}
    imports = {name: imported(tree, set(trees)) for name, tree in trees.items()}
    assert not circle(imports)
    assert not imports["helpers.recording"]


def test_helpers_are_small() -> None:
    lines = {module_name(path): len(path.read_text("utf-8").splitlines()) for path in HELPERS}
    exercises = sum(count for name, count in lines.items() if name.startswith("helpers.exercises"))
    print(f"helpers: {sum(lines.values()) - exercises} lines, and {exercises} of exercises")
    must_be_empty([f"{name}: {count} lines, not {LINES_MOST}" for name, count in lines.items() if count > LINES_MOST])


# ---------------------------------------------------------------------- the rules themselves


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ('"""Says."""\ndef _f(): ...', []),
        ("x = 1", ["m"]),
        ('"""Says."""\ndef f(): ...', ["m.f"]),
        ('"""Says."""\nclass C:\n    def f(self): ...', ["m.C", "m.C.f"]),
        ('"""Says."""\nclass C(_s.socket):\n    """S."""\n    def recv(self): ...\n    def f(self): ...', ["m.C.f"]),
    ],
)
def test_what_is_undocumented(source: str, names: list[str]) -> None:
    assert list(undocumented(ast.parse(source), "m")) == names


def test_what_is_a_circle() -> None:
    modules = {"helpers", "helpers.a", "helpers.b"}
    assert imported(ast.parse("def f():\n    from helpers import a, thing\nimport os"), modules) == {"helpers.a"}
    assert imported(ast.parse("from helpers.b import thing\nimport helpers"), modules) == {"helpers.b", "helpers"}
    assert not circle({"a": {"b", "c"}, "b": {"c"}, "c": set()})
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
