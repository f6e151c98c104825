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
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from helpers.notebook import current_shell

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
            self.define(name, value, user)
        elif isinstance(value, MethodType) and "__main__" in (type(value.__self__).__module__, value.__module__):
            raise PackError(
                f"{value.__qualname__} is a method of an object of the notebook, and that can't go to the server's "
                "process: give a function that makes the object, and calls its method"
            )
        else:
            self.lines.append(self.copied(name, value, user))

    def claim(self, name: str, value: Any) -> None:
        """The name is this value's now; PackError: it is another's."""
        if self.has.setdefault(name, value) is not value:
            raise PackError(f"two different things are called {name} in what this function uses: rename one")

    def define(self, name: str, value: FunctionType | type, user: Any) -> None:
        """Add the source of a function or a class of the notebook, after all that it uses."""
        own = [inspect.unwrap(value)] if isinstance(value, FunctionType) else list(_methods(value))
        known = vars(sys.modules["__main__"]) | getattr(user, "__globals__", {})
        found = _source(value) if isinstance(value, FunctionType) else _class_source(value, own, _cells(user), name)
        if not found:
            raise PackError(
                f"the source of {value.__qualname__} can't be found: write it in a cell, with def or class "
                "(and not below %%time, or its like: IPython keeps no text of that)"
            )
        source = textwrap.dedent(found)
        try:
            code = compile(source, "<packed>", "exec", dont_inherit=True)
            first = ast.parse(source).body[0]
        except SyntaxError as problem:
            raise PackError(f"{name} can't stand alone: {problem.msg}") from None
        if not (bound := _bound(first)) or (isinstance(first, ast.Assign) and isinstance(value, FunctionType)):
            raise PackError(f"{name} has no name of its own: write it with def")
        for inner in own:
            self.uses(code, inner.__globals__ | _closure(inner), bound, inner)
        if not own:
            self.uses(code, known, bound, user)
        self.lines.append(source.rstrip())
        if bound != name:
            self.claim(bound, value)
            self.lines.append(f"{name} = {bound}")

    def uses(self, code: CodeType, values: dict[str, Any], defined: str, user: Any) -> None:
        """Bind the names that this code reads, but for the one that it defines, and what every module has."""
        for read in dict.fromkeys(_reads(code)):
            if read in values and read not in (defined, "__name__", "__annotations__"):
                self.add(read, values[read], user)
                self.add_submodules(values[read], code)

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
            line = _statement(name, user.__code__.co_filename) if user else ""
            if line and not hasattr(value, "fileno"):
                self.uses(compile(line, "<packed>", "exec", dont_inherit=True), user.__globals__, name, user)
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


def _methods(value: type) -> Iterator[FunctionType]:
    """The functions that a class was written with; not those that a decorator, or its kind of class, made for it."""
    for part in vars(value).values():
        part = getattr(part, "fget", None) or getattr(part, "__func__", part)
        if isinstance(part, FunctionType):
            inner = inspect.unwrap(part)
            if inner.__module__ == value.__module__ and linecache.getlines(inner.__code__.co_filename):
                yield inner


def _source(value: FunctionType) -> str:
    """The source of a function made in a cell or in a file; "": it is not found."""
    try:
        return inspect.getsource(value)
    except (OSError, TypeError):
        return ""


def _class_source(value: type, own: list[FunctionType], cells: list[str], name: str) -> str:
    """The source of a class that is read by this name, and has these methods of its `own`; "": it is not found.

    A class without methods, or a namedtuple, does not know where it was made: it is looked for in all cells.
    """
    for method in own:
        text, line = _text(method.__code__.co_filename), method.__code__.co_firstlineno
        for node in ast.walk(_parsed(text)):
            if isinstance(node, ast.ClassDef) and node.name == value.__name__:
                first = _first(node)
                if first <= line <= (node.end_lineno or 0):
                    return "\n".join(text.split("\n")[first - 1 : node.end_lineno])
    for text in map(_text, () if own else dict.fromkeys(cells)):
        for node in reversed(_parsed(text).body):
            if isinstance(node, ast.ClassDef) and node.name == value.__name__:
                first = _first(node)
                if vars(value).get("__firstlineno__", first) == first:  # Python 3.13 knows it
                    return "\n".join(text.split("\n")[first - 1 : node.end_lineno])
            elif isinstance(node, ast.Assign) and _bound(node) in (name, value.__name__):
                return ast.unparse(node)
    return ""


def _first(node: ast.ClassDef) -> int:
    return min([node.lineno, *(mark.lineno for mark in node.decorator_list)])


def _bound(node: ast.stmt) -> str:
    """The one name that a statement binds; "": it binds none, or several."""
    if isinstance(node, ast.Assign):
        return node.targets[0].id if len(node.targets) == 1 and isinstance(node.targets[0], ast.Name) else ""
    return node.name if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) else ""


def _cells(user: Any) -> list[str]:
    """The files where a name of this function's may have been made: the cells, those that ran last first, and its own.

    Of a cell `linecache` has the text and no time of a file.
    """
    cells = [file for file, entry in linecache.cache.items() if len(entry) == 4 and entry[1] is None][::-1]
    numbers = getattr(getattr(current_shell(), "compile", None), "_filename_map", {})  # a cell may run again
    cells.sort(key=lambda file: numbers.get(file, 0), reverse=True)
    return cells + ([user.__code__.co_filename] if user else [])


def _text(file: str) -> str:
    """The text of a cell or a file; the line `%%server` of a cell is left blank."""
    text = "".join(linecache.getlines(file))
    return "\n" + text.partition("\n")[2] if text.startswith("%%") else text


def _parsed(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except SyntaxError:  # a cell may hold what only IPython understands
        return ast.Module([], [])


def _statement(name: str, file: str) -> str:
    """The line of a cell, or of a file, that binds this name at top level; "" if there is none."""
    for node in reversed(_parsed(_text(file)).body):
        if isinstance(node, ast.Assign) and _bound(node) == name:
            return ast.unparse(node)
    return ""
