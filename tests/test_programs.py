"""Programs beside the notebook: compiled, started, read, and none of them outlives the stage."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import Program, Stage, compile_c, programs


def test_lines_and_the_rest():
    program = Program(sys.executable, "-c", "print('one'); print('two'); print('three')")
    assert program.line() == "one"
    assert program.result() == "two\nthree"


def test_what_it_complains_of_is_output_too():
    assert "Error" in Program(sys.executable, "-c", "raise ValueError('no')").result()


def test_it_ends_with_the_stage():
    stage = Stage("server", namespace={})
    program = Program(sys.executable, "-c", "import time; print('here', flush=True); time.sleep(60)")
    assert program.line() == "here"
    stage.close()
    assert program._process.poll() is not None


def test_a_silent_program_is_ended_in_time(monkeypatch):
    monkeypatch.setattr(programs, "PATIENCE", 0.3)
    program = Program(sys.executable, "-c", "import time; time.sleep(60)")
    with pytest.raises(TimeoutError):
        program.line()
    assert program._process.returncode is not None


def test_a_c_program_is_compiled_with_all_warnings(tmp_path):
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("there is no C compiler here")
    source = tmp_path / "hello.c"
    source.write_text('#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n')
    assert Program(compile_c(source)).result() == "hello"
    source.write_text("int main(void) { return NUMBER; }\n")
    assert Program(compile_c(source, "-O2", "-DNUMBER=0")).result() == ""
    source.write_text("int main(void) { return nobody; }\n")
    with pytest.raises(subprocess.CalledProcessError):
        compile_c(source)


def test_a_compiler_that_is_interrupted_leaves_nothing(monkeypatch, tmp_path):
    def interrupted(command, **how):
        Path(command[command.index("-o") + 1]).write_text("half of a program")
        raise KeyboardInterrupt

    monkeypatch.setattr(programs.shutil, "which", lambda name: name)
    monkeypatch.setattr(programs.subprocess, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compile_c(tmp_path / "hello.c")
    assert list(tmp_path.iterdir()) == []


def test_without_a_compiler_there_is_no_program(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compile_c(tmp_path / "hello.c") is None
