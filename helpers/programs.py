"""Programs beside the notebook: a C program compiled, a script started; none of them outlives the stage."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path

from helpers.gate import gate

PATIENCE = 10.0  #: seconds that a program may take for what is asked of it


def compile_c(source: str | Path, *options: str) -> Path | None:
    """Compile a C program beside its source with all warnings on; None where there is no C compiler.

    `options` are more of the compiler's, such as "-O2" for a program that is to be quick.
    subprocess.CalledProcessError: the compiler refused it.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    source = Path(source).resolve()
    program, made = source.with_suffix(".out"), source.with_suffix(f".{os.getpid()}.out")
    try:
        subprocess.run([compiler, "-Wall", "-Wextra", *options, "-o", str(made), str(source)], check=True, timeout=60)
        made.replace(program)  # in one step: another notebook may be about to start it
    finally:
        made.unlink(missing_ok=True)  # an interrupt may leave it, half made
    return program


class Program:
    """A program in a process of its own: `Program("./server", "5000")`; it ends with the stage at the latest.

    `line()` gives its next line of output, `end()` ends it, `result()` waits for it and gives the rest of its output.
    """

    def __init__(self, *command: object) -> None:
        self._process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        gate.at_end.append(self.end)

    def _read(self, whole: bool) -> str:
        """Read its output; a program that says nothing in time is ended, and TimeoutError raised."""
        out_of_time = threading.Event()
        late = threading.Timer(PATIENCE, self._end_late, (out_of_time,))
        late.start()
        try:
            assert self._process.stdout is not None
            text = self._process.stdout.read() if whole else self._process.stdout.readline()
        finally:
            late.cancel()
        if out_of_time.is_set():
            self.end()
            raise TimeoutError(f"the program said nothing for {PATIENCE:.0f} seconds, and was ended")
        return text.rstrip("\n")

    def _end_late(self, out_of_time: threading.Event) -> None:
        out_of_time.set()
        self._process.kill()

    def line(self) -> str:
        """The next line that it prints."""
        return self._read(whole=False)

    def result(self) -> str:
        """What it still prints until it ends by itself."""
        text = self._read(whole=True)
        self._process.wait(PATIENCE)
        self.end()
        return text

    def end(self) -> None:
        """End it, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(PATIENCE)
        if self._process.stdout is not None:
            self._process.stdout.close()
        if self.end in gate.at_end:
            gate.at_end.remove(self.end)
