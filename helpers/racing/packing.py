"""A function packed for another process: as source text, with all that it uses, no more.

What goes along is what the function names: modules as imports, functions and classes of modules by their names there,
functions and classes of the notebook as their own source, data as it is now.  What can't be copied, such as a lock, is
made anew by the line of the notebook that made it.  A socket, or anything else that is open, can't go along: PackError
says which name it is.  A module that helpers records (`socket`, `select`) goes as the standard one.
"""

from __future__ import annotations

import ast
import dis
import functools
import importlib
import inspect
import linecache
import pickle
import sys
import textwrap
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

RECORDED = {"helpers.recorded_socket": "socket", "helpers.recorded_select": "select"}
READS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}


class PackError(TypeError):
    """The function uses something that can't go to another process; the sentence names it."""


def pack(function: Callable[..., Any]) -> tuple[str, str]:
    """The source of a program that makes this function, and the name that it has there.

    PackError: it, or something that it uses, can't be sent as source.
    """
    packed = _Packed()
    name = getattr(function, "__name__", "strategy")
    name = name if name.isidentifier() else "strategy"
    packed.add(name, function, None)
    return "\n".join(packed.lines) + "\n", name


class _Packed:
    """The lines so far, and which name has which value in them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.has: dict[str, Any] = {}

    def add(self, name: str, value: Any, user: Any) -> None:
        """Bind a name; `user` is the function that reads it."""
        if name in self.has:
            self.claim(name, value)
            return
        self.claim(name, value)
        if isinstance(value, ModuleType):
            self.lines.append(_import(value.__name__, name))
        elif isinstance(value, functools.partial):
            self.add("functools", functools, None)
            self.add(value.func.__name__, value.func, user)
            self.lines.append(f"{name} = functools.partial({value.func.__name__}, *{value.args}, **{value.keywords})")
        elif isinstance(value, (FunctionType, BuiltinFunctionType, type)) and _is_importable(value):
            self.lines.append(f"from {_module(value)} import {value.__qualname__} as {name}")
        elif isinstance(value, (FunctionType, type)):
            self.define(name, value)
        else:
            self.lines.append(self.copied(name, value, user))

    def claim(self, name: str, value: Any) -> None:
        """The name is this value's now; PackError: it is another's."""
        if self.has.setdefault(name, value) is not value:
            raise PackError(f"two different things are called {name} in what this function uses: rename one")

    def define(self, name: str, value: FunctionType | type) -> None:
        """Add the source of a function or a class of the notebook, after all that it uses."""
        source = textwrap.dedent(_source(value))
        try:
            code = compile(source, "<packed>", "exec", dont_inherit=True)
            first = ast.parse(source).body[0]
        except SyntaxError as problem:
            raise PackError(f"{name} can't stand alone: {problem.msg}") from None
        if not isinstance(first, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            raise PackError(f"{name} has no name of its own: write it with def")
        parts = vars(value).values() if isinstance(value, type) else [value]
        reads = dict.fromkeys(_reads(code))
        for function in (part for part in parts if isinstance(part, FunctionType)):
            inner = inspect.unwrap(function)
            values = inner.__globals__ | _closure(inner)
            for read in reads:
                if read in values and read != first.name:
                    self.add(read, values[read], inner)
                    self.add_submodules(values[read], code)
        self.lines.append(source.rstrip())
        if first.name != name:
            self.claim(first.name, value)
            self.lines.append(f"{name} = {first.name}")

    def add_submodules(self, module: Any, code: CodeType) -> None:
        """`concurrent.futures` is there only where it was imported."""
        for name in _names(code) if hasattr(module, "__path__") else ():
            line = f"import {module.__name__}.{name}"
            if f"{module.__name__}.{name}" in sys.modules and line not in self.lines:
                self.lines.append(line)

    def copied(self, name: str, value: Any, user: Any) -> str:
        """A line that makes this value again."""
        if type(value).__module__ == "__main__":
            self.add(type(value).__name__, type(value), user)
        try:
            data = pickle.dumps(value)
        except Exception as problem:  # whatever an object of somebody's raises
            if (line := _statement(name, user)) and not hasattr(value, "fileno"):
                for read in _reads(compile(line, "<packed>", "exec", dont_inherit=True)):
                    if read in user.__globals__:
                        self.add(read, user.__globals__[read], user)
                return line
            raise PackError(
                f"{name} is a {type(value).__name__}, and can't be sent to the server's process ({problem}): "
                "make it within the function"
            ) from None
        if len(data) > 1_000_000:
            raise PackError(f"{name} has {len(data):,} bytes: too much to send to the server's process")
        return f"{name} = __import__('pickle').loads({data!r})"


def _module(value: Any) -> str:
    return RECORDED.get(value.__module__, str(value.__module__))


def _import(module: str, name: str) -> str:
    module = RECORDED.get(module, module)
    return f"import {module}" if module == name else f"import {module} as {name}"


def _is_importable(value: Any) -> bool:
    """Would an import in another process give the same?"""
    module = getattr(value, "__module__", None)
    if not isinstance(module, str) or module == "__main__" or "." in value.__qualname__:
        return False
    try:
        return getattr(importlib.import_module(module), value.__qualname__, None) is value
    except ImportError:
        return False


def _closure(function: FunctionType) -> dict[str, Any]:
    """The names that a function has from the function around it."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not bound yet
            pass
    return found


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _reads(code: CodeType) -> Iterator[str]:
    """The global names that code reads, or the functions in it."""
    for step in dis.get_instructions(code):
        if step.opname in READS:
            yield step.argval
        elif isinstance(step.argval, CodeType):
            yield from _reads(step.argval)


def _source(value: FunctionType | type) -> str:
    """The source of a function, or of a class, made in a cell or in a file."""
    try:
        if isinstance(value, FunctionType):
            return inspect.getsource(value)
        method = next(f for f in vars(value).values() if isinstance(f, FunctionType))
        text = "".join(linecache.getlines(method.__code__.co_filename))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef) and node.name == value.__name__:
                if node.lineno <= method.__code__.co_firstlineno <= (node.end_lineno or 0):
                    first = min([node.lineno, *(mark.lineno for mark in node.decorator_list)])
                    return "\n".join(text.split("\n")[first - 1 : node.end_lineno])
    except (OSError, TypeError, StopIteration, SyntaxError):
        pass
    raise PackError(f"the source of {value.__qualname__} can't be found: write it in a cell, with def or class")


def _statement(name: str, user: Any) -> str:
    """The line of the user's own cell, or file, that binds this name at top level; "" if there is none."""
    text = "".join(linecache.getlines(user.__code__.co_filename)) if user else ""
    try:
        body = ast.parse(text).body
    except SyntaxError:  # a cell may hold what only IPython understands
        return ""
    for node in reversed(body):
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
            return ast.unparse(node)
    return ""
