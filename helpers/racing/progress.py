"""How far something is: a bar in a notebook, a line in a terminal, nothing elsewhere; afterwards it is gone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from helpers.notebook import current_shell


@contextmanager
def progress(what: str, steps: int) -> Iterator[Callable[[int], None]]:
    """Gives a function that is told how many of the `steps` are done.

    In a notebook's stored outputs it leaves an empty text, the same each time.
    """
    shell = current_shell()
    if getattr(shell, "kernel", None) is not None:
        try:
            from ipywidgets import IntProgress
        except ImportError:  # a notebook without widgets shows none
            yield lambda done: None
            return
        bar = IntProgress(max=steps, description=what)
        place = {"display_id": bar.model_id}
        shell.display_pub.publish(bar._repr_mimebundle_() | {"text/plain": ""}, transient=place)
        try:
            yield lambda done: setattr(bar, "value", done)
        finally:  # (a page that is saved and opened again would miss the bar)
            shell.display_pub.publish({"text/plain": ""}, transient=place, update=True)
            bar.close()
    elif sys.stderr is not None and sys.stderr.isatty():
        try:
            yield lambda done: print(f"\r{what}: {done * 100 // max(1, steps)} %", end="", file=sys.stderr, flush=True)
        finally:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
    else:
        yield lambda done: None
