"""What IPython is told: that a cell may begin with `%%server`, and what not to do for such a cell."""

from __future__ import annotations

import re
import sys
import threading
import traceback
from typing import Any

from helpers.cells import learners_only, shown_alone
from helpers.gate import gate


class NoStage(NameError):
    """A role's cell was run before there was a stage, or after it was closed."""


def current_shell() -> Any:
    """The notebook's IPython; None in a plain Python, as in some tests."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return None
    return get_ipython()


def ask_for_a_stage() -> None:
    """Where there is no stage, `%%server` and `%%client` say so."""
    shell = current_shell()
    for name in ("server", "client") if shell is not None else ():
        sentence = f"there is no stage with a {name}: run the cell with Stage(...) first, and go on from there"

        def command(line: str, cell: str, sentence: str = sentence) -> None:
            raise shown_alone(NoStage(sentence), shell)

        command.of_a_stage = True  # type: ignore[attr-defined]
        shell.register_magic_function(command, "cell", name)


def put_role_first(lines: list[str]) -> list[str]:
    """A cell's lines, with the line of its role moved to the top: over comments, and out of an indent."""
    for number, line in enumerate(lines):
        if found := re.match(r"[ \t]*%%(\w+)", line):
            magic = current_shell().magics_manager.magics["cell"].get(found[1])
            if getattr(magic, "of_a_stage", False):
                return [line.lstrip(), *lines[:number], *lines[number + 1 :]]
        if line.strip() and not line.lstrip().startswith("#"):
            break
    return lines


def prepare_shell(shell: Any) -> None:
    """Told once: roles may stand below a comment, `exit()` in a role's thread ends that, not the kernel, and an error
    that ends a thread is told in the learner's lines."""
    if put_role_first in shell.input_transformers_cleanup:
        return
    shell.input_transformers_cleanup.append(put_role_first)
    leave = shell.ask_exit

    def ask_exit() -> None:
        if gate.known() is not None and threading.current_thread() is not threading.main_thread():
            raise SystemExit
        leave()

    shell.ask_exit = ask_exit
    threading.excepthook = tell_of_a_thread


def tell_of_a_thread(args: threading.ExceptHookArgs) -> None:
    """The hook for an error that ends a thread of the learner's own: only lines of cells are told, as of a role's."""
    error, name = args.exc_value, args.thread.name if args.thread is not None else "?"
    lines = traceback.extract_tb(learners_only(error).__traceback__) if error is not None else []
    if not lines or isinstance(error, SystemExit):
        threading.__excepthook__(args)
        return
    told = [f"  line {line.lineno}, in {line.name}: {line.line}\n" for line in lines]
    name = re.sub(r"Thread-\d+ \((.*)\)", r"\1", name)
    sys.stderr.write(f"Exception in thread {name}:\n{''.join(told)}{type(error).__name__}: {error}\n")
