"""Two programs in one notebook: `Stage("server", "client")` and its cells `%%server` and `%%client`.

A role is a daemon thread that runs its cells in the notebook's own namespace.  A cell comes back as soon as every role
is quiet: idle, or waiting in a call for which the kernel has nothing ready.  What the roles printed meanwhile is
written by that cell, a block for each.  Of the roles one runs at a time (see `gate`): a lesson is the same every time.
"""

from __future__ import annotations

import socket as standard
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from helpers import take_home
from helpers.cells import (
    Block,
    Blocks,
    Cell,
    Shown,
    hide_helpers,
    prepare,
    route_output,
    shown_alone,
    sockets_of,
)
from helpers.colours import colours_of
from helpers.diagram import Diagram
from helpers.gate import Actor, Ended, gate
from helpers.kernel_view import SocketTable, look
from helpers.notebook import ask_for_a_stage, current_shell, prepare_shell
from helpers.queue_view import QueueView, look_in_line
from helpers.recorded_socket import force_close, recorder, socket
from helpers.recording import Call, Recording
from helpers.roles import Front, Role
from helpers.tcp_states import States
from helpers.waits import cut

if TYPE_CHECKING:
    from helpers.switchboard import Switchboard


class StillWaiting(RuntimeError):
    """A role was asked to run a cell while it still waits in, or is busy with, an earlier one."""


class Stage:
    """The roles of a lesson: `Stage("server", "client")` gives the cells `%%server` and `%%client`.

    A new stage clears the old one away: its threads are ended, every recorded socket is closed, predictions and hints
    begin anew.  `%%server --aside` runs an experiment that does not belong to the program taken home.
    """

    _present: Stage | None = None

    def __init__(self, *roles: str, namespace: dict[str, Any] | None = None) -> None:
        _refuse_in_a_role("Stage(...)")
        self._shell = current_shell()
        for name in roles:
            if not isinstance(name, str) or not name.isidentifier() or roles.count(name) > 1:
                raise ValueError(f"{name!r} can't name a role: it needs a name like a variable's, once")
            if self._shell is not None and not self._may_name(name):
                raise ValueError(f"%%{name} is a cell command of IPython's: give the role another name")
        if not roles:
            raise ValueError('a stage needs its roles by name: Stage("server", "client")')
        if Stage._present is not None:
            Stage._present._clear()
        else:
            gate.end_all()  # servers and callers that began when the last stage had closed
        Stage._present = self
        if namespace is None:
            namespace = self._shell.user_ns if self._shell is not None else sys._getframe(1).f_globals
        self._namespace = namespace
        self._told: set[str] = set()
        self._cells: list[Cell] = []
        self._board: Switchboard | None = None
        self._colours = colours_of(roles)
        self.recording = recorder.recording = Recording()
        route_output()
        self._roles = {name: Role(name, self._shell, namespace) for name in roles}
        gate.join(*(role.actor for role in self._roles.values()))
        gate.begin_anew()
        if self._shell is not None:
            self._offer_cells()

    def __repr__(self) -> str:
        return f"Stage({', '.join(map(repr, self._roles))})"

    # ------------------------------------------------------------------ running cells

    def run(self, name: str, source: str, aside: bool = False, cell_id: str = "") -> None:
        """Run a cell's text in the role `name`, until all roles are quiet; raises what the cell raised.

        `cell_id` is the notebook's name of the cell: run again after an edit, it stands for what it was before.

        StillWaiting: the role is not done with an earlier cell.  SyntaxError: it is no plain Python.
        """
        _refuse_in_a_role(f"%%{name}")
        self._refuse_if_over()
        role = self._roles[name]
        with Front(self._roles.values(), role) as front:
            error = self._earlier_error(role) or self._refusal(role) or self._begin(role, source, aside, cell_id)
            if error is None:
                front.watch()
                error = KeyboardInterrupt(self._leave_behind(role)) if front.given_up else self._error(role)
                self._notice_plain_sockets(role)
                self._learn_names()
                self._write()
        if error is not None:
            raise shown_alone(error, self._shell)

    def _refuse_if_over(self) -> None:
        if Stage._present is not self:
            raise RuntimeError("this stage is over: run the cell with Stage(...) again")

    def _begin(self, role: Role, source: str, aside: bool, cell_id: str) -> SyntaxError | None:
        try:
            cell = prepare(role.name, source, aside, self._shell, len(self._cells) + 1)
        except SyntaxError as problem:
            return problem.with_traceback(None)
        cell.id = cell_id or source
        self._warn_of_names(role, cell)
        self.recording.cell += 1
        cell.number = self.recording.cell
        self._cells.append(cell)
        role.start(cell)
        return None

    def _earlier_error(self, role: Role) -> BaseException | None:
        """The error that ended the role's cell while another cell was in front."""
        error = self._error(role)
        if error is not None:
            error.add_note("(raised in an earlier cell, after that had come back; this one has not run: run it again)")
        return error

    def _error(self, role: Role) -> BaseException | None:
        """The error that the role's cell ended with, if it is still to be raised."""
        cell = role.cell
        if cell is None or cell.error is None or cell.raised:
            return None
        cell.raised = True
        if isinstance(cell.error, Ended):
            return KeyboardInterrupt(str(cell.error)).with_traceback(cell.error.__traceback__)
        return cell.error

    def _refusal(self, role: Role) -> StillWaiting | None:
        if not role.busy:
            return None
        doing, line = role.doing(), role.line()
        if doing.startswith("is busy"):
            sentence = f"{role.name} {doing.replace('is busy', 'is still busy')}. Let it finish"
        else:
            sentence = f"{role.name} still {doing}{f' ({line})' if line else ''}. Let it get what it waits for"
        return StillWaiting(f'{sentence}, or end it with stage.stop("{role.name}").')

    def _warn_of_names(self, role: Role, cell: Cell) -> None:
        for other in self._roles:
            others = set().union(*(c.names for c in self._cells if c.role == other != role.name))
            modules = {name for name in others if isinstance(self._namespace.get(name), ModuleType)}
            if both := (cell.names & others) - modules - {"host", "port"}:
                names = ", ".join(f"`{name}`" for name in sorted(both))
                self._once(role, f"note: {names} is {other}'s name too; in a notebook it is one and the same variable")

    def _notice_plain_sockets(self, role: Role) -> None:
        imports = {name for cell in self._cells if cell.role == role.name for name in cell.imports}
        if self._plain_sockets(role) or any(self._namespace.get(name) is standard for name in imports):
            self._once(
                role,
                "note: this is Python's plain socket module: such a socket is not recorded, and its wait can't be"
                " ended. Write `from helpers import socket` instead of `import socket`, and run the first cell again",
            )

    def _plain_sockets(self, role: Role) -> list[standard.socket]:
        """The sockets that the role's cells named, and that are not recorded."""
        names = {name for cell in self._cells if cell.role == role.name for name in cell.names}
        return [s for s in map(self._namespace.get, names) if type(s) is standard.socket]

    def _once(self, role: Role, sentence: str) -> None:
        if sentence not in self._told:
            self._told.add(sentence)
            role.actor.log.append(sentence + "\n")

    def _write(self) -> None:
        """Write what everybody said since the last time, a block each, and what the roles wait in."""
        blocks, shown = [], list[Shown]()
        roles = {role.actor: role for role in self._roles.values()}
        for actor in gate.speakers:
            status = self._status(roles[actor]) if actor in roles else ""
            if actor in roles:
                roles[actor].told = actor.calls
            text, rich = actor.log.drain()
            if text or status:
                blocks.append(Block(actor.name, text, status))
            shown += rich
        gate.speakers = [actor for actor in gate.speakers if actor.alive()]
        if blocks and self._shell is None:
            print(Blocks(blocks, self._colours))
        elif blocks:
            self._shell.display_pub.publish(Blocks(blocks, self._colours)._repr_mimebundle_())
        for item in shown:
            self._shell.display_pub.publish(item.data, item.metadata)

    def _status(self, role: Role) -> str:
        """What the role does now, or what ended its cell, where no cell of its own is there to raise it."""
        cell, doing = role.cell, role.doing()
        if doing.startswith("is busy"):
            return f'{doing}; stage.stop("{role.name}") ends it'
        if cell is not None and cell.error is not None and not cell.raised and not cell.told:
            cell.told = True
            return f"failed with {type(cell.error).__name__}: {cell.error} (its next cell raises it)"
        return doing

    # ------------------------------------------------------------------ ending

    def stop(self, *names: str) -> None:
        """End what these roles wait in, or do (all of them, if none is named).  Their sockets stay as they are.

        A role that can't be ended (it sleeps, or waits in a call that is not recorded) is left behind: its sockets are
        closed, and the role goes on in a new thread.  Threads of its own that wait in the role's sockets are ended too.
        """
        _refuse_in_a_role("stage.stop(...)")
        unknown = [name for name in names if name not in self._roles]
        if unknown:
            raise ValueError(f"no role is named {unknown[0]!r}: there is {', '.join(self._roles)}")
        for name in names or self._roles:
            role, threads = self._roles[name], self._threads_of(name)
            said = [self._stop(role)] if role.busy else []
            gate.end(*threads)
            gate.until_gone(*threads)
            if threads:
                said.append(f"{name}: ended {len(threads)} of its own threads, which waited in its sockets")
            if names and not said:
                said = [f"{name} was not waiting in anything"]
            for sentence in said:
                print(sentence)

    def _threads_of(self, name: str) -> list[Actor]:
        """The learner's own threads that wait in this role's sockets."""
        found = [(actor, actor.wait) for actor in list(gate.others)]
        return [
            actor
            for actor, wait in found
            if wait is not None and any(isinstance(s, socket) and _is_of(s, name) for s in wait.sockets)
        ]

    def _stop(self, role: Role) -> str:
        doing = role.doing()
        if not role.end():
            return self._leave_behind(role)
        if role.cell is not None and isinstance(role.cell.error, Ended):
            role.cell.raised = True
        return f"{role.name}: ended while it {doing.replace('waits', 'waited').replace('is busy', 'was busy')}"

    def _leave_behind(self, role: Role) -> str:
        line = role.line() or "it runs where Python does not"
        self._roles[role.name] = successor = Role(role.name, self._shell, self._namespace)
        text, rich = role.actor.log.drain()
        for item in (text, *rich):
            successor.actor.log.append(item)
        self._abandon(role, successor.actor)
        return (
            f"{role.name} could not be ended ({line}): its thread was left behind, its sockets were closed, "
            f"and %%{role.name} goes on in a new one"
        )

    def _abandon(self, role: Role, successor: Actor | None = None) -> None:
        gate.leave_behind(role.actor, successor)
        role.dismiss()
        recorded = [sock for sock in list(recorder.sockets) if _is_of(sock, role.name)]
        cut(*sockets_of(role.actor.thread), *self._plain_sockets(role), *recorded)

    def close(self) -> None:
        """End the lesson: every role and scripted caller ends, every socket is closed; says which were still open."""
        _refuse_in_a_role("stage.close()")
        self._learn_names()
        names = [end.label for end in self.recording.ends if not end.closed]
        self._clear()
        print(f"still open, and closed now: {', '.join(names)}" if names else "every socket was closed already")

    def _clear(self) -> None:
        for role in self._roles.values():
            if role.busy and not role.end():
                self._abandon(role)
            role.dismiss()
        gate.end_all()
        for sock in list(recorder.sockets):
            force_close(sock)
        if Stage._present is self:
            Stage._present = None
            if self._shell is not None:
                self._withdraw_cells()

    # ------------------------------------------------------------------ looking

    def diagram(self, last: int | None = None, asides: bool = False) -> Diagram:
        """What happened so far, as a sequence diagram; `last` shows only so many rows of its end.

        Experiments (`--aside` cells, and calls of plain cells) are left out, but with `asides=True`.
        """
        self._learn_names()
        hidden = {cell.number for cell in self._cells if cell.aside}

        def shown(call: Call) -> bool:
            return asides or (call.role != "notebook" and call.cell not in hidden)

        return Diagram(self.recording, list(self._roles), last=last, shown=shown, certain=gate.in_turns)

    def sockets(self) -> SocketTable:
        """The operating system's own table of this lesson's sockets: both ends, state, and what waits in them."""
        self._learn_names()
        return look(self.recording.ends)

    def queue(self) -> QueueView:
        """Who waits in line before each listener, who still knocks, and who was accepted, as the system tells it."""
        return look_in_line(self.recording, self._learn_names)

    def states(self) -> States:
        """The TCP state diagram, lit where this lesson's sockets are at this moment."""
        return States(self.sockets().rows)

    def switchboard(self) -> Switchboard:
        """The live view: callers, queue and sockets, with buttons to dial; it takes the place of an earlier one."""
        from helpers.switchboard import Switchboard  # widgets are there where they are asked for

        self._refuse_if_over()
        if self._board is not None:
            self._board.close()
        roles = self._roles
        self._board = Switchboard(self.recording, lambda: [r.now() for r in list(roles.values())], self._learn_names)
        return self._board

    def take_home(self, folder: str | Path = ".") -> None:
        """Write `server.py` and `client.py`: each role's completed cells, in order, as a script that runs by itself."""
        programs: dict[str, dict[str, str]] = {name: {} for name in self._roles}
        for cell in self._cells:
            if cell.completed and not cell.aside:
                programs[cell.role][cell.id] = cell.source
        cells = {name: list(dict.fromkeys(program.values())) for name, program in programs.items()}
        scripts = take_home.scripts(cells, self._namespace)
        for name, kept in take_home.write(scripts, Path(folder)).items():
            print(f"wrote {name}{f', and kept as {kept} what you had there' if kept else ''}")

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
        hide_helpers(self._shell)
        prepare_shell(self._shell)
        for name in self._roles:
            self._shell.register_magic_function(self._cell_command(name), "cell", name)
        self._shell.events.register("post_run_cell", self._after_any_cell)

    def _withdraw_cells(self) -> None:
        for name in self._roles:
            self._shell.magics_manager.magics["cell"].pop(name, None)
        ask_for_a_stage()
        self._shell.events.unregister("post_run_cell", self._after_any_cell)

    def _cell_command(self, name: str) -> Callable[[str, str], None]:
        def command(line: str, cell: str) -> None:
            if line.strip() not in ("", "--aside"):
                words = f"%%{name} takes nothing else in its line but --aside, for an experiment"
                raise shown_alone(ValueError(words), self._shell)
            message = self._shell.get_parent() if hasattr(self._shell, "get_parent") else {}
            cell_id = message.get("metadata", {}).get("cellId", "")
            self.run(name, cell, aside=bool(line.strip()), cell_id=cell_id)

        command.of_a_stage = True  # type: ignore[attr-defined]
        command.__doc__ = f"Run this cell in the role {name}'s own thread."
        return command

    def _after_any_cell(self, result: Any = None) -> None:
        """A plain cell may have moved a role on: what it caused is written by it."""
        if not gate.quiet():
            with Front(self._roles.values()) as front:
                front.watch()
        if any(actor.log for actor in gate.speakers) or any(role.news for role in self._roles.values()):
            self._write()


def _is_of(sock: socket, role: str) -> bool:
    """Was it made by this role (and not by a server in the background)?"""
    return sock.owner is None and sock.end.role == role


def _refuse_in_a_role(words: str) -> None:
    actor = gate.known()
    if actor is not None and actor.takes_turns:
        raise RuntimeError(f"{words} belongs in a cell of its own, not in one of {actor.name}'s")
