"""Role cells become scripts: the `%%server` cells leave the notebook as `server.py`, the `%%client` as `client.py`.

A script holds the learner's own lines, comments and all, and besides them only what a file needs and a notebook has:
imports stand at the top, and the recorded modules are the standard ones there; `host` and `port`, where a role reads
them before it has made them, come from the command line; what a cell showed as its last value is printed, unless the
call has nothing to show (`close()`); and a script that listens says where, unless its cells do so before `accept()`.

Two programs share nothing but what they tell each other: any other name that a role reads and its own cells have not
made is refused, by name.  Which names a line reads and makes the compiler knows best: we look at what it compiles to.
"""

from __future__ import annotations

import ast
import builtins
import dis
import hashlib
import inspect
import os
import re
import sys
import tempfile
from bisect import bisect
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from types import CodeType, ModuleType

DROP_INS = {"select", "socket"}  # what of helpers has a namesake in the standard library
NOTEBOOK_ONLY = {"display", "get_ipython"}  # a kernel puts them among the builtins
RETURN_NONE = re.compile(  # methods that have nothing to show
    "bind|listen|close|connect|sendall|set(timeout|blocking|sockopt|_inheritable)|shutdown|sleep|flush|put|start|"
    "append|extend|insert|remove|clear|sort|reverse|update|add|discard|unregister"
)
ARGUMENTS = {
    "port": 'parser.add_argument("port", type=int, help="the server\'s port")',
    "host": 'parser.add_argument("--host", default="127.0.0.1", help="its address (%(default)s)")',
}
DOC = '''"""The {role}: a notebook's %%{role} cells, in the order in which they ran.

{runs}
{notes}"""

'''
NOTES = """
With 0 for 5050 the system chooses a free number, and the server prints it.
Started again at once on the same number, the server may find "Address already
in use" for a minute or two: the end of the last call is remembered that long
(TIME_WAIT).  Take another number then.
"""


class TakeHomeError(ValueError):
    """The cells are no program of their own yet; the sentence names what is missing and says what to do."""


def _names(code: CodeType) -> Iterator[tuple[str, str]]:
    """The notebook's names, line by line: `("read", name)`, `("made", name)`, or, read in a function, "later"."""
    for step in sorted(dis.get_instructions(code), key=lambda step: (step.positions and step.positions.lineno) or 0):
        if step.opname in ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS", "DELETE_NAME"):
            yield "read", step.argval
        elif step.opname in ("STORE_NAME", "STORE_GLOBAL"):
            yield "made", step.argval
        elif isinstance(inner := step.argval, CodeType):
            is_class = not inner.co_flags & inspect.CO_OPTIMIZED
            own = {part.argval for part in dis.get_instructions(inner) if is_class and part.opname == "STORE_NAME"}
            at_once = is_class or inner.co_name in ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")
            for verb, name in _names(inner):
                if name not in own or verb == "later":
                    yield "later" if verb == "read" and not at_once else verb, name


class _Program:
    """One role's cells as one text, and what is to change in it: it is edited, never written anew."""

    def __init__(self, role: str, cells: Sequence[str]) -> None:
        plain = (cell.replace("\r\n", "\n").replace("\r", "\n").strip("\n") for cell in cells)
        parts = [cell for cell in dict.fromkeys(plain) if cell.strip()]
        self.role, self.text = role, "\n\n".join(parts)
        self.tree = ast.parse(self.text)
        starts = [*accumulate(part.count("\n") + 2 for part in parts)]
        last = {bisect(starts, statement.lineno - 1): statement for statement in self.tree.body}.values()
        self.shown = [code for code in last if isinstance(code, ast.Expr) and not self.silent(code.value)]
        self.edits: list[tuple[int, int, str]] = []
        self.imports, self.made, self.arguments = set[str](), set[str](), list[str]()
        for code in self.shown:  # a notebook shows a cell's last value, a script prints it
            start, end, *_ = self.span(code)
            self.edits += [(start, start, "print("), (end, end, ")")]
        self.move_imports()
        self.listens = self.say_where()
        for start, end, new in sorted(self.edits, reverse=True):
            self.text = self.text[:start] + new + self.text[end:]

    def span(self, code: ast.stmt) -> tuple[int, int, int, str | None]:
        """Where a statement starts and ends, where its line ends, and its indentation, if it has lines of its own."""
        lines = self.text.split("\n")
        ends = ((code.lineno, code.col_offset), (code.end_lineno or 1, code.end_col_offset or 0))  # columns in bytes
        start, end = (len("\n".join([*lines[: n - 1], lines[n - 1].encode()[:column].decode()])) for n, column in ends)
        indent, rest = self.text[:start].split("\n")[-1], self.text[end:].split("\n")[0]
        return start, end, end + len(rest), None if indent.strip() or rest.strip().startswith(";") else indent

    def move_imports(self) -> None:
        """Imports go to the top of the script; one that stands inside a block stays there."""
        for code in ast.walk(self.tree):
            if isinstance(code, (ast.Import, ast.ImportFrom)):
                module, drop_ins = getattr(code, "module", None), list[str]()
                for alias in code.names:
                    if f"{module or alias.name}.".startswith("helpers."):
                        if module != "helpers" or alias.name not in DROP_INS:
                            raise self.refusal(alias.name, "helpers")
                        drop_ins.append(ast.unparse(ast.Import([alias])))
                    if alias.name == "*":
                        self.made.update(getattr(sys.modules.get(module or ""), "__all__", ()))
                start, end, eol, indent = self.span(code)
                if code in self.tree.body and indent is not None:
                    self.imports.update(drop_ins or [self.text[start:eol]])
                    self.edits.append((start, len(self.text) - len(self.text[eol:].lstrip("\n")), ""))
                elif drop_ins:
                    self.edits.append((start, end, "; ".join(drop_ins)))

    def silent(self, value: ast.expr) -> bool:
        """Has it nothing to show?  A function of the learner's own is looked into: does it return anything?"""
        if not isinstance(value, ast.Call):
            return isinstance(value, ast.Constant) and value.value in (None, ...)
        if isinstance(value.func, ast.Attribute):
            if value.func.attr == "run" and value.args:  # asyncio.run(main())
                return self.silent(value.args[0])
            return RETURN_NONE.fullmatch(value.func.attr) is not None
        name = ast.unparse(value.func)
        for code in self.tree.body:
            if isinstance(code, (ast.FunctionDef, ast.AsyncFunctionDef)) and code.name == name:
                return not any(isinstance(part, ast.Return) and part.value for part in ast.walk(code))
        return name in ("print", "sleep")

    def say_where(self) -> bool:
        """Does it listen?  If its cells don't say where before they wait for a call, a line is added that does."""
        place: ast.stmt | None = None
        steps = [part for part in ast.walk(self.tree) if isinstance(part, (ast.Expr, ast.Assign))]
        for code in sorted(steps, key=lambda code: code.lineno):
            names = {part.id for part in ast.walk(code) if isinstance(part, ast.Name)}
            calls = {part.attr: part.value for part in ast.walk(code) if isinstance(part, ast.Attribute)}
            if place is None and "listen" in calls:
                place, listener = code, ast.unparse(calls["listen"])
            elif place is None and "create_server" in calls and isinstance(code, ast.Assign):
                place, listener = code, ast.unparse(code.targets[0])
            elif place and "accept" in calls:
                break
            elif place and ("port" in names or "getsockname" in calls) and ("print" in names or code in self.shown):
                return True
        if place is not None:
            _, end, eol, indent = self.span(place)
            say = f'print("listening on", {listener}.getsockname(), flush=True)'
            self.edits.append((end, end, f"; {say}") if indent is None else (eol, eol, f"\n{indent}{say}"))
        return place is not None

    def outside(self, shared: Collection[str]) -> list[str]:
        """Names that it reads and has not made before, in the order of reading."""
        wanted, later = list[str](), list[str]()
        loops = [part for part in ast.walk(self.tree) if isinstance(part, (ast.For, ast.While))]
        names = [part for loop in loops for part in ast.walk(loop) if isinstance(part, ast.Name)]
        looped = {part.id for part in names if isinstance(part.ctx, ast.Store)}
        for verb, name in _names(compile(self.script(), self.role, "exec", dont_inherit=True)):
            if verb == "made":
                self.made.add(name)
            elif name not in self.made:  # in a loop, what is made below may be read above
                (wanted if name in shared or (verb == "read" and name not in looped) else later).append(name)
        known = set(dir(builtins)) - NOTEBOOK_ONLY
        wanted += [name for name in later if name not in self.made]
        return [name for name in dict.fromkeys(wanted) if name not in known and not re.fullmatch("__.*__", name)]

    def import_of(self, name: str, value: object, home: str) -> str | None:
        """The import that makes a name what it is in the notebook; none where that can't be done."""
        is_module = isinstance(value, ModuleType)
        if home.startswith("helpers."):
            home = home.rpartition(".")[2].removeprefix("recorded_")
            is_module = is_module and home in DROP_INS
        if is_module and home == name:  # which may stand for a module in it: import concurrent.futures
            inside = [m for m in list(sys.modules) if m.startswith(f"{name}.") and m in self.text and m != "os.path"]
            return f"import {max(inside, key=len, default=name)}"
        if is_module:
            parent, _, last = home.rpartition(".")
            return f"from {parent} import {last}" if parent and last == name else f"import {home} as {name}"
        for module in (prefix.lstrip("_") for prefix in accumulate(home.split("."), "{}.{}".format)):
            public = module.split(".")[0] in sys.stdlib_module_names
            if public and getattr(sys.modules.get(module), name, None) is value:
                return f"from {module} import {name}"
        return None

    def refusal(self, name: str, home: str, makers: Sequence[str] = (), shared: Collection[str] = ()) -> TakeHomeError:
        cell = f"%%{self.role} cell"
        if makers:
            why = f"which a %%{makers[0]} cell made: the two share only {' and '.join(shared)}, so make it in a {cell}"
        elif name in self.made:
            why = f"before a {cell} makes it: run the cells from Stage(...) on, in order, and take them home again"
        elif name in NOTEBOOK_ONLY or re.match(r"helpers(?!\.recorded_socket)", home):
            why = f"which only the notebook has: keep it out of the {cell}s, or use it in %%{self.role} --aside"
        else:
            why = f"which no {cell} made since Stage(...), a cell without a role perhaps: make or import it in a {cell}"
        return TakeHomeError(f"{self.role} reads `{name}`, {why}.")

    def script(self) -> str:
        """Imports, what the command line gives, and the cells."""
        imports = self.imports | ({"import argparse"} if self.arguments else set())
        lines = sorted(imports, key=lambda line: ("__future__" not in line, line.startswith("from"), line))
        if self.arguments:
            adds = [ARGUMENTS.get(name, f'parser.add_argument("{name}")') for name in self.arguments]
            lines += ["", "parser = argparse.ArgumentParser()", *adds, "arguments = parser.parse_args()"]
            lines += [f"{', '.join(self.arguments)} = {', '.join(f'arguments.{name}' for name in self.arguments)}"]
        return "\n".join([*lines, *[""] * bool(lines), self.text.strip("\n"), ""])


def scripts(
    cells: Mapping[str, Sequence[str]], namespace: Mapping[str, object], shared: Collection[str] = ("host", "port")
) -> dict[str, str]:
    """The text of a script for each role, from the bodies of its cells in the order in which they completed."""
    programs = [_Program(role, texts) for role, texts in cells.items() if any(text.strip() for text in texts)]
    if not programs:
        raise TakeHomeError(f"no {' or '.join(f'%%{role}' for role in cells)} cell has completed yet: run some first.")
    for program, names in [(program, program.outside(shared)) for program in programs]:
        for name in names:
            value = namespace.get(name)
            home = str(value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", ""))
            if name in shared:
                program.arguments.append(name)
            elif line := program.import_of(name, value, home):
                program.imports.add(line)
            else:
                makers = [other.role for other in programs if other is not program and name in other.made]
                raise program.refusal(name, home, makers, shared)
    number = "5050" if any(p.listens and "port" in p.arguments for p in programs) else "PORT"
    runs = "\n".join(f"    python3 {p.role}.py {number if 'port' in p.arguments else ''}".rstrip() for p in programs)
    notes = NOTES if number == "5050" else "\nPORT is the number that the server prints.\n" * ("PORT" in runs)
    return {f"{p.role}.py": DOC.format(role=p.role, runs=runs, notes=notes) + p.script() for p in programs}


def write(scripts: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Write the scripts into a folder; a file in its place that somebody has edited is kept as `server.py.old`, the
    next one as `server.py.old2`.  Gives for each script the name of what was kept, or "".

    What it wrote itself, it knows by the checksums in the file `.taken_home`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checksums, kept = folder / ".taken_home", dict.fromkeys(scripts, "")
    known = checksums.read_text("ascii").split() if checksums.exists() else []
    for name, text in scripts.items():
        path = folder / name
        if path.exists() and _checksum(path.read_bytes()) not in (_checksum(text.encode()), *known):
            olds = (f"{name}.old{number or ''}" for number in (0, *range(2, 1000)))
            kept[name] = next(old for old in olds if not (folder / old).exists())
            path.replace(folder / kept[name])
        replace_file(path, text)
    known = list(dict.fromkeys([*known, *(_checksum(text.encode()) for text in scripts.values())]))
    replace_file(checksums, "\n".join(known[-100:]) + "\n")
    return kept


def _checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def replace_file(path: Path, text: str) -> None:
    """Write a text in one step: another notebook, which does the same, never finds half of it."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8", newline="\n") as file:
        file.write(text)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)
