"""A role's cell: its text made ready to run, what it prints kept, its errors cut down to the learner's own lines."""

from __future__ import annotations

import ast
import html
import inspect
import linecache
import re
import socket
import symtable
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import CodeType, FrameType, TracebackType
from typing import Any

from helpers.gate import gate
from helpers.waits import look_into

KEPT = 200_000  #: characters of what a role has to say in one cell; of more the end is kept


@dataclass(eq=False)
class Cell:
    """One cell of a role: its text, and what became of it."""

    role: str
    source: str
    aside: bool
    filename: str
    body: CodeType
    value: CodeType | None  # the last line, if it is an expression: shown, as a notebook does
    error: BaseException | None = None
    done: bool = False
    told: bool = False  # its error was told in another cell's output
    raised: bool = False  # its error was raised by a cell
    names: set[str] = field(default_factory=set)  # what it binds at top level
    imports: set[str] = field(default_factory=set)
    id: str = ""  # which cell of the notebook it is
    number: int = 0  # its place among all cells of the stage, as the record counts them

    @property
    def completed(self) -> bool:
        """Did it run to its end?"""
        return self.done and self.error is None

    def run(self, namespace: dict[str, Any]) -> Any:
        """Run it in the notebook's namespace; gives the value of its last expression."""
        exec(self.body, namespace)
        return eval(self.value, namespace) if self.value is not None else None


def prepare(role: str, source: str, aside: bool, shell: Any, number: int) -> Cell:
    """The cell compiled, under the name that the notebook shows it by, so that errors name its lines.

    SyntaxError: it is no plain Python; the sentence says what to write instead of `await`, `%` and `!`.
    """
    head = f"%%{role} --aside\n" if aside else f"%%{role}\n"
    whole = head + source
    if shell is not None:
        # the notebook's number of the cell that runs: `execution_count` may be the next one's already
        number = max(shell.compile._filename_map.values(), default=shell.execution_count)
        filename = shell.compile.cache(whole, number)
    else:
        filename = f"<{role}, cell {number}>"
        linecache.cache[filename] = (len(whole), None, whole.splitlines(keepends=True), filename)
    try:
        tree = ast.parse("\n" + source, filename)
        shown = tree.body and isinstance(tree.body[-1], ast.Expr) and not source.rstrip().endswith(";")
        last = tree.body.pop() if shown else None
        body = compile(tree, filename, "exec", dont_inherit=True)
        value = None
        if isinstance(last, ast.Expr):
            value = compile(ast.Expression(last.value), filename, "eval", dont_inherit=True)
        symbols = symtable.symtable(source, filename, "exec").get_symbols()
    except SyntaxError as problem:
        raise _explained(problem, whole) from None
    names = {symbol.get_name() for symbol in symbols if symbol.is_assigned()}
    imports = {symbol.get_name() for symbol in symbols if symbol.is_imported()}
    return Cell(role, source, aside, filename, body, value, names=names, imports=imports)


def _explained(problem: SyntaxError, whole: str) -> SyntaxError:
    line = [*whole.splitlines(), ""][(problem.lineno or 1) - 1].strip()
    command = re.match(r"(?:[\w, ]+= *)?([%!]+ *\w*)", line)
    if command:
        problem.msg = f"{command[1]} is for plain cells: a role's cell holds only Python, as a script does"
    elif "await" in (problem.msg or "") or "async" in (problem.msg or ""):
        problem.msg = "a role's cell is plain Python: put the coroutine in a function and call asyncio.run(...) on it"
    else:
        return problem
    problem.args = (problem.msg, *problem.args[1:])
    return problem


# ---------------------------------------------------------------------- errors


def learners_only(error: BaseException) -> BaseException:
    """The error with the frames of the learner's own code alone: no thread, no helpers, no library above the cell."""
    todo: list[BaseException | None] = [error]
    seen: list[BaseException] = []
    while todo:
        link = todo.pop()
        if link is not None and not any(link is one for one in seen):
            seen.append(link)
            link.__traceback__ = _filtered(link.__traceback__, _is_in_a_cell)
            todo += [link.__cause__, link.__context__]
            if isinstance(link, BaseExceptionGroup):
                todo += link.exceptions
    return error


def is_learners(filename: str) -> bool:
    """Is it a cell of the notebook (or of a test), and not a file of the course or of a library?"""
    return "ipykernel_" in filename or (filename.startswith("<") and not filename.startswith("<frozen"))


def _filtered(tb: TracebackType | None, wanted: Callable[[FrameType], bool]) -> TracebackType | None:
    kept = []
    while tb is not None:
        if wanted(tb.tb_frame):
            kept.append(tb)
        tb = tb.tb_next
    top: TracebackType | None = None
    for entry in reversed(kept):
        line = entry.tb_lineno or entry.tb_frame.f_code.co_firstlineno  # (an interrupt may come where there is no line)
        top = TracebackType(top, entry.tb_frame, entry.tb_lasti, line)
    return top


def hide_helpers(shell: Any) -> None:
    """From now on, an error in a plain cell is shown without the frames of `helpers`: they are not the learner's."""

    def show(shell: Any, kind: type[BaseException], error: BaseException, tb: object, tb_offset: Any = None) -> None:
        link: BaseException | None = error
        while link is not None:
            link.__traceback__ = _filtered(link.__traceback__, _is_not_ours)
            link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
        shell.showtraceback((kind, error, error.__traceback__), tb_offset=tb_offset)

    shell.set_custom_exc((Exception, KeyboardInterrupt), show)


def _is_not_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] != "helpers"


def _is_in_a_cell(frame: FrameType) -> bool:
    return is_learners(frame.f_code.co_filename)


def shown_alone(error: BaseException, shell: Any) -> BaseException:
    """The error, prepared to be raised by a cell without the frames that it passes through on its way up."""
    if shell is None:
        return error
    kind, tb = type(error), error.__traceback__
    grouped = "ExceptionGroup" in "".join(lines := traceback.format_exception(error))
    if isinstance(error, SyntaxError) and tb is None:
        lines = list(shell.SyntaxTB.structured_traceback(kind, error, []))
    elif tb is None:
        lines = list(shell.InteractiveTB.get_exception_only(kind, error))
    elif not grouped:
        lines = list(shell.InteractiveTB.structured_traceback(kind, error, tb))
    if grouped or isinstance(error, SyntaxError):  # IPython would show these two with all frames: raise a namesake
        words = f"{error.msg} (line {error.lineno})" if isinstance(error, SyntaxError) else str(error)
        error = type(kind.__name__, (Exception,), {})(words)
    try:
        error._render_traceback_ = lambda: lines  # type: ignore[attr-defined]  # IPython asks for it
    except AttributeError:  # a class with slots
        pass
    return error


def line_of(thread: int | None) -> str:
    """The learner's line that a thread is in, as `line 2: time.sleep(60)`; empty if it is in none of theirs."""
    for filename, number in look_into(thread, lambda frame: (frame.f_code.co_filename, frame.f_lineno)):
        if is_learners(filename):
            text = linecache.getline(filename, number).strip()
            return f"line {number}: {text}" if text else ""
    return ""


def sockets_of(thread: int | None) -> list[socket.socket]:
    """The sockets that a thread is at: those in the local variables of the functions that it is in."""
    return [s for values in look_into(thread, _locals) for s in values if isinstance(s, socket.socket)]


def _locals(frame: FrameType) -> list[Any]:
    """The values of a function's variables (those of a cell's own lines are the notebook's)."""
    if not frame.f_code.co_flags & inspect.CO_OPTIMIZED:
        return []
    variables = frame.f_locals
    values = list(variables.values())
    if sys.version_info < (3, 13):  # a copy, that would keep them alive
        variables.clear()
    return values


# ---------------------------------------------------------------------- output


class Router:
    """Stands in for `sys.stdout`: what a role prints goes to its log, all else to where it went before."""

    _every: list[Router] = []  # noqa: RUF012  # print() does not hold on to a stream that is replaced: cpython#130163

    def __init__(self, behind: Any) -> None:
        self._behind = behind
        self._every.append(self)

    def write(self, text: str) -> int:
        """Take a piece of text."""
        actor = gate.known()
        if actor is None or not actor.keeps_log:
            return int(self._behind.write(text) or 0)
        if not actor.lost:
            actor.log.append(str(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Take several pieces of text."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)


def route_output() -> None:
    """From now on, threads that are actors with a log print into that log."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if type(stream) is not Router:
            setattr(sys, name, Router(stream))


@dataclass
class Shown:
    """Something displayed that is more than text: its MIME bundle."""

    data: dict[str, Any]
    metadata: dict[str, Any]

    def __len__(self) -> int:
        return sum(len(str(value)) for value in self.data.values())


class Log:
    """What an actor printed and displayed, until a cell writes it; of very much the end is kept."""

    def __init__(self) -> None:
        self._items: deque[str | Shown] = deque()
        self._size = self._dropped = 0
        self._lock = threading.Lock()

    def append(self, item: str | Shown) -> None:
        """Keep a piece."""
        with self._lock:
            self._items.append(item)
            self._size += len(item)
            while self._size - len(self._items[0]) >= KEPT:
                size = len(self._items.popleft())
                self._size, self._dropped = self._size - size, self._dropped + size

    def drain(self) -> tuple[str, list[Shown]]:
        """All of it, the text and what is more than text; the log is empty then."""
        with self._lock:
            items, dropped = self._items, self._dropped
            self._items, self._size, self._dropped = deque(), 0, 0
        text = "".join(item for item in items if isinstance(item, str))
        dropped, text = dropped + max(0, len(text) - KEPT), text[-KEPT:]
        if dropped:
            text = f"(… {dropped:,} characters before this are not shown)\n{text}"
        return text, [item for item in items if isinstance(item, Shown)]

    def last(self, count: int) -> str:
        """The last `count` characters that are still to be written."""
        with self._lock:
            return "".join(item for item in list(self._items)[-count:] if isinstance(item, str))[-count:]

    def __bool__(self) -> bool:
        return bool(self._items)


def keep_displays(shell: Any, log: Log) -> None:
    """What this thread displays goes to `log`, as a `Shown`, and to no cell."""
    publisher: Any = getattr(shell, "display_pub", None)
    if hasattr(publisher, "register_hook"):

        def keep(message: dict[str, Any]) -> None:
            if message["header"]["msg_type"] in ("display_data", "update_display_data"):
                log.append(Shown(message["content"]["data"], message["content"]["metadata"]))

        publisher.register_hook(keep)


def value_shown(value: Any, shell: Any, log: Log) -> None:
    """A cell's last value, put into the log as the notebook would show it."""
    if value is None:
        return
    if type(value).__name__.endswith("ExitAutocall"):  # `exit`, which IPython calls at the end of a cell
        value()
    data, metadata = shell.display_formatter.format(value) if shell is not None else ({"text/plain": repr(value)}, {})
    if not data:  # it displayed itself
        return
    log.append(data["text/plain"] + "\n" if set(data) == {"text/plain"} else Shown(data, metadata))


@dataclass
class Block:
    """What one role has to say in a cell: what it printed, and what it does now."""

    role: str
    text: str
    status: str = ""

    def lines(self) -> list[str]:
        """The text form: each line after the role's name and a bar."""
        said = self.text.rstrip("\n").split("\n") if self.text.strip("\n") else []
        return said + ([f"… {self.status}"] if self.status else [])


class Blocks:
    """What a cell writes for the roles: one block each, as text and as HTML."""

    def __init__(self, blocks: list[Block], colours: dict[str, str]) -> None:
        self.blocks, self.colours = blocks, colours

    def __repr__(self) -> str:
        width = max((len(block.role) for block in self.blocks), default=0)
        rows = []
        for block in self.blocks:
            for n, line in enumerate(block.lines()):
                rows.append(f"{block.role if n == 0 else '':<{width}} │ {line}".rstrip())
        return "\n".join(rows)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._html()}

    def _html(self) -> str:
        parts = []
        for block in self.blocks:
            colour = self.colours.get(block.role, "#767676")
            said = html.escape(block.text.rstrip("\n")) if block.text.strip("\n") else ""
            parts.append(
                f'<div style="border-left:4px solid {colour};padding:1px 0 1px 10px;margin:3px 0">'
                f'<span style="font-size:85%;font-weight:600;opacity:.85">{html.escape(block.role)}</span>'
            )
            if block.status:
                parts.append(f'<span style="font-size:85%;opacity:.75"> … {html.escape(block.status)}</span>')
            if said:
                parts.append(
                    '<pre style="margin:1px 0 2px;padding:0;background:none;white-space:pre-wrap;'
                    f'overflow-wrap:anywhere">{said}</pre>'
                )
            parts.append("</div>")
        return "".join(parts)
