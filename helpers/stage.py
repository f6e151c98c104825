"""Two programs in one notebook: `Stage("server", "client")` and its cells `%%server` and `%%client`.

A role is a daemon thread that runs its cells in the notebook's own namespace.  A cell comes back as soon as every role
is quiet: idle, or waiting in a call for which the kernel has nothing ready.  What the roles printed meanwhile is written
by that cell, a block for each.  Of the roles one runs at a time (see `gate`), so that a lesson is the same every time.
"""

from __future__ import annotations

import socket as standard
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from helpers import take_home
from helpers.cells import (
    PALETTE,
    Block,
    Blocks,
    Cell,
    Shown,
    learners_only,
    prepare,
    route_output,
    shown_alone,
)
from helpers.diagram import Diagram
from helpers.gate import Ended, gate
from helpers.kernel_view import SocketTable, look
from helpers.recorded_socket import force_close, recorder, socket
from helpers.recording import Recording
from helpers.roles import Front, Role


class StillWaiting(RuntimeError):
    """A role was asked to run a cell while it still waits in, or is busy with, an earlier one."""


class Stage:
    """The roles of a lesson: `Stage("server", "client")` gives the cells `%%server` and `%%client`.

    A new stage clears the old one away: its threads are ended, every recorded socket is closed, predictions and hints
    begin anew.  `%%server --aside` runs an experiment that does not belong to the program taken home.
    """

    _present: Stage | None = None

    def __init__(self, *roles: str, namespace: dict[str, Any] | None = None) -> None:
        self._shell = _shell()
        for name in roles:
            if not name.isidentifier() or roles.count(name) > 1:
                raise ValueError(f"{name!r} can't name a role: it needs a name like a variable's, once")
            if self._shell is not None and not self._may_name(name):
                raise ValueError(f"%%{name} is a cell command of IPython's: give the role another name")
        if not roles:
            raise ValueError('a stage needs its roles by name: Stage("server", "client")')
        if Stage._present is not None:
            Stage._present._clear()
        Stage._present = self
        if namespace is None:
            namespace = self._shell.user_ns if self._shell is not None else sys._getframe(1).f_globals
        self._namespace = namespace
        self._told: set[str] = set()
        self._cells: list[Cell] = []
        self._colours = {name: PALETTE[n % len(PALETTE)] for n, name in enumerate(roles)}
        self.recording = recorder.recording = Recording()
        route_output()
        self._roles = {name: Role(name, self._shell, namespace) for name in roles}
        gate.order = [role.actor for role in self._roles.values()]
        gate.begin_anew()
        if self._shell is not None:
            self._offer_cells()

    def __repr__(self) -> str:
        return f"Stage({', '.join(map(repr, self._roles))})"

    # ------------------------------------------------------------------ running cells

    def run(self, name: str, source: str, aside: bool = False) -> None:
        """Run a cell's text in the role `name`, until all roles are quiet; raises what the cell raised.

        StillWaiting: the role is not done with an earlier cell.  SyntaxError: it is no plain Python.
        """
        role = self._roles[name]
        self._raise_earlier(role)
        if role.busy:
            raise shown_alone(StillWaiting(self._still(role)), self._shell)
        try:
            cell = prepare(name, source, aside, self._shell, len(self._cells) + 1)
        except SyntaxError as problem:
            raise shown_alone(problem.with_traceback(None), self._shell) from None
        self._warn_of_names(role, cell)
        self.recording.cell += 1
        self._cells.append(cell)
        with Front(self._roles, self._leave_behind) as front:
            role.start(cell)
            gate.nudge()
            front.watch(role)
        self._notice_plain_sockets(role)
        self._learn_names()
        error = self._take_error(role)
        self._write(front.notes)
        if error is not None:
            raise shown_alone(error, self._shell)

    def _raise_earlier(self, role: Role) -> None:
        cell = role.cell
        if cell is not None and cell.done and cell.error is not None and not cell.raised:
            error = self._take_error(role)
            if error is not None:
                error.add_note("(raised in an earlier cell, after that had come back; this one has not run: run it again)")
                raise shown_alone(error, self._shell)

    def _take_error(self, role: Role) -> BaseException | None:
        """The error that the role's cell ended with, if it is still to be raised."""
        cell = role.cell
        if cell is None or not cell.done or cell.error is None or cell.raised:
            return None
        cell.raised = True
        error = learners_only(cell.error)
        if isinstance(error, SystemExit):
            role.actor.log.append("sys.exit() ended this cell; the role and the kernel live on\n")
            return None
        if isinstance(error, Ended):
            ended: BaseException = KeyboardInterrupt(str(error)).with_traceback(error.__traceback__)
            return ended
        return error

    def _still(self, role: Role) -> str:
        where = f" ({role.line()})" if role.line() and role.actor.wait else ""
        doing = role.doing().replace("is busy", "is still busy").replace("waits", "still waits")
        return (
            f"{role.name} {doing}{where}. "
            f'Let it get what it waits for, or end it with stage.stop("{role.name}").'
        )

    def _warn_of_names(self, role: Role, cell: Cell) -> None:
        for other in self._cells:
            both = (cell.names & other.names) - {"host", "port"} if other.role != role.name else set()
            modules = {n for n in both if isinstance(self._namespace.get(n), ModuleType)}
            if both := both - modules:
                names = ", ".join(f"`{name}`" for name in sorted(both))
                self._once(role, f"note: {names} is {other.role}'s name too; in a notebook it is one and the same variable")

    def _notice_plain_sockets(self, role: Role) -> None:
        if any(
            type(value) is standard.socket or value is standard
            for name, value in list(self._namespace.items())
            if any(name in cell.names for cell in self._cells if cell.role == role.name)
        ):
            self._once(
                role,
                "note: this is Python's plain socket module: such a socket is not recorded, and its wait can't be ended."
                " Write `from helpers import socket` instead of `import socket`",
            )

    def _once(self, role: Role, sentence: str) -> None:
        if sentence not in self._told:
            self._told.add(sentence)
            role.actor.log.append(sentence + "\n")

    def _write(self, notes: list[str]) -> None:
        """Write what everybody said since the last time, a block each, and what the roles wait in."""
        blocks, shown = [], []
        for role in self._roles.values():
            status = role.doing()
            if status.startswith("is busy"):
                status += f'; stage.stop("{role.name}") ends it'
            failed = role.cell is not None and role.cell.done and role.cell.error is not None and not role.cell.raised
            if failed and role.cell is not None and role.cell.error is not None:
                error = role.cell.error
                status = f"failed with {type(error).__name__}: {error} (its next cell raises it)"
            text, rich = _drain(role.actor.log)
            if text or status:
                blocks.append(Block(role.name, text, status))
            shown += rich
        for actor in (*gate.order, *gate.others):
            if actor not in [role.actor for role in self._roles.values()]:
                text, rich = _drain(actor.log)
                if text:
                    blocks.append(Block(actor.name, text))
                shown += rich
        _show(Blocks(blocks, self._colours), self._shell) if blocks else None
        for item in shown:
            self._shell.display_pub.publish(item.data, item.metadata)
        for note in notes:
            print(note)

    # ------------------------------------------------------------------ ending

    def stop(self, *names: str) -> None:
        """End what these roles wait in, or do (all of them, if none is named).  Their sockets stay as they are.

        A role that can't be ended (it sleeps, or waits in a call that is not recorded) is left behind: its sockets are
        closed, and the role goes on in a new thread.
        """
        unknown = [name for name in names if name not in self._roles]
        if unknown:
            raise ValueError(f"no role is named {unknown[0]!r}: there is {', '.join(self._roles)}")
        for name in names or self._roles:
            role = self._roles[name]
            if role.busy:
                print(self._stop(role))
            elif names:
                print(f"{name} was not waiting in anything")

    def _stop(self, role: Role) -> str:
        doing = role.doing()
        if role.end():
            if role.cell is not None:
                role.cell.raised = True
            return f"{role.name}: ended while it {doing.replace('waits', 'waited').replace('is busy', 'was busy')}"
        return self._leave_behind(role)

    def _leave_behind(self, role: Role) -> str:
        line = role.line() or "it runs where Python does not"
        self._roles[role.name] = successor = Role(role.name, self._shell, self._namespace)
        gate.leave_behind(role.actor, successor.actor)
        for sock in list(recorder.sockets):
            if sock.end.role == role.name:
                force_close(sock)
        return (
            f"{role.name} could not be ended ({line}): its thread was left behind, its sockets were closed, "
            f"and %%{role.name} goes on in a new one"
        )

    def close(self) -> None:
        """End the lesson: every role and scripted caller ends, every socket is closed; says which ones were still open."""
        self._learn_names()
        names = [end.label for end in self.recording.ends if not end.closed]
        self._clear()
        print(f"still open, and closed now: {', '.join(names)}" if names else "every socket was closed already")

    def _clear(self) -> None:
        for role in self._roles.values():
            if role.busy and not role.end():
                gate.leave_behind(role.actor)
            role.dismiss()
        gate.end_others()
        for sock in list(recorder.sockets):
            force_close(sock)
        gate.order = []
        if self._shell is not None:
            self._withdraw_cells()
        if Stage._present is self:
            Stage._present = None

    # ------------------------------------------------------------------ looking

    def diagram(self, last: int | None = None) -> Diagram:
        """What happened so far, as a sequence diagram; `last` shows only so many rows of its end."""
        self._learn_names()
        certain = [actor.name for actor in gate.order]
        return Diagram(self.recording, list(self._roles), last=last, certain=certain)

    def sockets(self) -> SocketTable:
        """The operating system's own table of this lesson's sockets: both ends, state, and what waits in them."""
        self._learn_names()
        return look(self.recording.ends)

    def take_home(self, folder: str | Path = ".") -> None:
        """Write `server.py` and `client.py`: each role's completed cells, in order, as a script that runs by itself."""
        cells: dict[str, list[str]] = {name: [] for name in self._roles}
        for cell in self._cells:
            if cell.completed and not cell.aside and cell.source not in cells[cell.role]:
                cells[cell.role].append(cell.source)
        scripts = take_home.scripts(cells, self._namespace)
        take_home.write(scripts, Path(folder))
        for name in scripts:
            print(f"wrote {name}")

    def _learn_names(self) -> None:
        for name, value in list(self._namespace.items()):
            if isinstance(value, socket) and not name.startswith("_"):
                if self._namespace.get(value.end.name or "") is not value:
                    value.end.name = name

    # ------------------------------------------------------------------ the notebook

    def _may_name(self, name: str) -> bool:
        magic = self._shell.magics_manager.magics["cell"].get(name)
        return magic is None or getattr(magic, "of_a_stage", False)

    def _offer_cells(self) -> None:
        for name in self._roles:
            self._shell.register_magic_function(self._cell_command(name), "cell", name)
        self._shell.events.register("post_run_cell", self._after_any_cell)

    def _withdraw_cells(self) -> None:
        for name in self._roles:
            self._shell.magics_manager.magics["cell"].pop(name, None)
        self._shell.events.unregister("post_run_cell", self._after_any_cell)

    def _cell_command(self, name: str) -> Callable[[str, str], None]:
        def command(line: str, cell: str) -> None:
            if line.strip() not in ("", "--aside"):
                raise ValueError(f"%%{name} takes nothing else in its line but --aside, for an experiment")
            self.run(name, cell, aside=bool(line.strip()))

        command.of_a_stage = True  # type: ignore[attr-defined]
        command.__doc__ = f"Run this cell in the role {name}'s own thread."
        return command

    def _after_any_cell(self, result: Any = None) -> None:
        """A plain cell may have moved a role on: what it caused is written by it."""
        if gate.quiet() and not any(actor.log for actor in (*gate.order, *gate.others)):
            return
        with Front(self._roles, self._leave_behind) as front:
            front.watch(None)
        self._write(front.notes)


def _shell() -> Any:
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:  # a plain Python, as in some tests
        return None
    return get_ipython()


def _drain(log: list[Any]) -> tuple[str, list[Shown]]:
    items = log[:]
    del log[: len(items)]
    return "".join(i for i in items if isinstance(i, str)), [i for i in items if isinstance(i, Shown)]


def _show(blocks: Blocks, shell: Any) -> None:
    if shell is None:
        print(blocks)
    else:
        shell.display_pub.publish(blocks._repr_mimebundle_())

