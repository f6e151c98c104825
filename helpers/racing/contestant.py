"""The server in a race, in a process of its own (see `apart.py`): it runs a strategy, or a program, until it ends.

A strategy comes as source text and is run as a script would run it, in a fresh `__main__`; there, `from helpers import
socket` is the standard module, and nothing is recorded.  A program, such as one in C, is started as
`program 0` and prints the port on which it listens, in its first line with a number in it.
"""

from __future__ import annotations

import asyncio
import inspect
import linecache
import os
import re
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any

from helpers.racing.apart import KILLED, pin, raise_limit, start

BACKLOG = 1024  #: the same for all: the defaults differ, and a queue that overflows makes callers wait for a second
FILE = "<the strategy>"
NO_THREAD = "start new thread"  #: in the words of the error when the system has no thread left
Tell = Callable[[dict[str, Any]], object]


def work(next_job: Callable[[], dict[str, Any]], tell: Tell) -> None:
    """Do the one job: tell port, process and limit, then serve; what ends it is told, too."""
    job = next_job()
    may_open = raise_limit()
    pin(job["cpus"])
    if "command" in job:
        run_program(job["command"], lambda said: tell(said | {"descriptors": may_open}))
        return
    sys.path[:] = job["path"]
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    try:
        serve = made_of(job["source"], job["name"])
        host, port = listener.getsockname()
        tell({"host": host, "port": port, "pid": os.getpid(), "descriptors": may_open})
        run_strategy(serve, listener, tell)
        tell({"ended": "it returned"})
    except BaseException as problem:
        tell({"ended": in_words(problem)})


def made_of(source: str, name: str) -> Callable[[socket.socket], Any]:
    """Run the source in a `__main__` of its own, and take what has this name there."""
    space = sys.modules["__main__"] = ModuleType("__main__")
    linecache.cache[FILE] = (len(source), None, source.splitlines(keepends=True), FILE)
    exec(compile(source, FILE, "exec", dont_inherit=True), vars(space))
    serve: Callable[[socket.socket], Any] = vars(space)[name]
    return serve


def run_strategy(serve: Callable[[socket.socket], Any], listener: socket.socket, tell: Tell) -> None:
    """Serve; the first error in one of its threads, or tasks, is told and ends nothing.

    That the system has no thread left is told, too, whatever was before: a strategy may well go on without it.
    """
    told: list[str] = []
    start_thread = threading.Thread.start

    def note(problem: BaseException | None) -> None:
        if problem is not None and not told:
            told.append(in_words(problem))
            tell({"complaint": told[0]})

    def start(self: threading.Thread) -> None:
        try:
            start_thread(self)
        except RuntimeError as problem:
            if NO_THREAD in str(problem) and NO_THREAD not in "".join(told):
                told.clear()
                note(RuntimeError(str(problem)))  # without a line: it would be one of the module threading
            raise

    threading.excepthook = lambda args: note(args.exc_value)
    threading.Thread.start = start  # type: ignore[method-assign]

    async def in_a_loop() -> None:
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: note(context.get("exception")))
        await serve(listener)

    if inspect.iscoroutinefunction(inspect.unwrap(getattr(serve, "func", serve))):
        asyncio.run(in_a_loop())
    else:
        serve(listener)


def in_words(problem: BaseException) -> str:
    """What was raised, and by which line of the strategy."""
    frames = traceback.extract_tb(problem.__traceback__)
    own = [frame for frame in frames if frame.filename == FILE] or frames
    line = f", at `{own[-1].line}`" if own and own[-1].line else ""
    return f"{type(problem).__name__}: {problem}{line}"


def run_program(command: list[str], tell: Tell) -> None:
    """Start a program, tell its port, and take what it prints until it ends."""
    program, last = start([*command, "0"]), b""
    assert program.stdout is not None
    for line in program.stdout:
        if not last and (port := re.search(rb"\d+", line)):
            tell({"host": "127.0.0.1", "port": int(port[0]), "pid": program.pid})
            last = b"nothing more"
        elif line.strip():
            last = line.strip()[:200]
    status = program.wait()
    words = f"with status {status}; the last it said was: {last.decode(errors='replace')}"
    tell({"ended": words, "killed": status == KILLED})
