"""A role's cell: its text made ready to run, what it prints kept, its errors cut down to the learner's own lines."""

from __future__ import annotations

import ast
import html
import linecache
import symtable
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import CodeType, FrameType, TracebackType
from typing import Any

from helpers.gate import gate

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito's, in the order of roles


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
    raised: bool = False  # its error was raised by a cell already
    names: set[str] = field(default_factory=set)  # what it binds at top level

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
        filename = shell.compile.cache(whole, shell.execution_count)
    else:
        filename = f"<{role}, cell {number}>"
        linecache.cache[filename] = (len(whole), None, whole.splitlines(keepends=True), filename)
    try:
        tree = ast.parse("\n" + source, filename)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        body = compile(tree, filename, "exec")
        value = compile(ast.Expression(last.value), filename, "eval") if isinstance(last, ast.Expr) else None
        names = {s.get_name() for s in symtable.symtable(source, filename, "exec").get_symbols() if _binds(s)}
    except SyntaxError as problem:
        raise _explained(problem, source) from None
    return Cell(role, source, aside, filename, body, value, names=names)


def _binds(symbol: symtable.Symbol) -> bool:
    return symbol.is_assigned() or symbol.is_imported()


def _explained(problem: SyntaxError, source: str) -> SyntaxError:
    lines = source.splitlines()
    line = lines[(problem.lineno or 2) - 2].strip() if len(lines) > (problem.lineno or 2) - 2 >= 0 else ""
    if line[:1] in ("%", "!"):
        problem.msg = f"{line.split()[0]} is for plain cells: a role's cell holds only Python, as a script does"
    elif "await" in (problem.msg or "") or "async" in (problem.msg or ""):
        problem.msg = "a role's cell is plain Python: put the coroutine in a function and call asyncio.run(...) on it"
    else:
        return problem
    problem.args = (problem.msg, *problem.args[1:])
    return problem


# ---------------------------------------------------------------------- errors


def learners_only(error: BaseException) -> BaseException:
    """The error with the frames of the learner's own code alone: no thread, no helpers, no library above the cell."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        link.__traceback__ = _filtered(link.__traceback__)
        link = link.__cause__ or link.__context__
    return error


def is_learners(filename: str) -> bool:
    """Is it a cell of the notebook (or of a test), and not a file of the course or of a library?"""
    return "ipykernel_" in filename or (filename.startswith("<") and not filename.startswith("<frozen"))


def _filtered(tb: TracebackType | None) -> TracebackType | None:
    kept = []
    while tb is not None:
        if is_learners(tb.tb_frame.f_code.co_filename):
            kept.append(tb)
        tb = tb.tb_next
    top: TracebackType | None = None
    for entry in reversed(kept):
        top = TracebackType(top, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return top


def shown_alone(error: BaseException, shell: Any) -> BaseException:
    """The error, prepared to be raised by a cell without the frames that it passes through on its way up."""
    tb = error.__traceback__

    def render() -> list[str]:
        if shell is None:
            return traceback.format_exception(type(error), error, tb)
        if isinstance(error, SyntaxError) and tb is None:
            return list(shell.SyntaxTB.structured_traceback(type(error), error, []))
        if tb is None:
            return list(shell.InteractiveTB.get_exception_only(type(error), error))
        return list(shell.InteractiveTB.structured_traceback(type(error), error, tb))

    try:
        error._render_traceback_ = render  # type: ignore[attr-defined]  # IPython asks for it
    except AttributeError:  # a class with slots
        pass
    return error


def line_of(thread: int | None) -> str:
    """The learner's line that a thread is in, as `line 2: time.sleep(60)`; empty if it is in none of theirs."""
    frame: FrameType | None = sys._current_frames().get(thread or -1)
    while frame is not None:
        if is_learners(frame.f_code.co_filename):
            text = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
            return f"line {frame.f_lineno}: {text}" if text else ""
        frame = frame.f_back
    return ""


# ---------------------------------------------------------------------- output


class Router:
    """Stands in for `sys.stdout`: what a role prints goes to its log, all else to where it went before."""

    def __init__(self, behind: Any) -> None:
        self._behind = behind

    def write(self, text: str) -> int:
        actor = gate.known()
        if actor is None or not actor.keeps_log:
            return int(self._behind.write(text) or 0)
        if not actor.lost:
            actor.log.append(str(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
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


def keep_displays(shell: Any, log: list[Any]) -> None:
    """What this thread displays goes to `log`, as a `Shown`, and to no cell."""
    publisher: Any = getattr(shell, "display_pub", None)
    if hasattr(publisher, "register_hook"):

        def keep(message: dict[str, Any]) -> None:
            if message["header"]["msg_type"] == "display_data":
                log.append(Shown(message["content"]["data"], message["content"]["metadata"]))

        publisher.register_hook(keep)


def value_shown(value: Any, shell: Any, log: list[Any]) -> None:
    """A cell's last value, put into the log as the notebook would show it."""
    if value is None:
        return
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
