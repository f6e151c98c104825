"""The check of lesson 00: each thing that may be wrong says what to do."""

from __future__ import annotations

import socket
import sys

import pytest

from helpers import check_machine, machine, optional_programs


def test_all_is_well_in_the_course_s_own_environment(capsys):
    check_machine()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(machine.CHECKS)
    wrong = [line for line in lines if not line.startswith("✓")]
    in_course = machine.Path(sys.prefix).resolve() == machine.COURSE / ".venv"
    assert wrong == [] if in_course else all("kernel" in line for line in wrong)


@pytest.mark.parametrize(
    ("need", "broken", "told"),
    [
        ("Python", lambda m: m.setattr(sys, "version_info", (3, 10, 4)), "install Python 3.11"),
        ("the kernel", lambda m: m.setattr(sys, "prefix", "/elsewhere"), "Change Kernel"),
        (
            "helpers",
            lambda m: m.setattr(machine, "COURSE", machine.Path("/elsewhere")),
            "open the lessons in the folder",
        ),
        ("a call", lambda m: m.setattr(socket, "create_connection", _refused), "a firewall may forbid it"),
        ("at least", lambda m: m.setitem(sys.modules, "resource", _Few), "ulimit -n 1024"),
    ],
)
def test_what_is_wrong_is_told_with_its_cure(need, broken, told, monkeypatch, capsys):
    broken(monkeypatch)
    check_machine()
    line = next(line for line in capsys.readouterr().out.splitlines() if line[2:].startswith(need))
    assert line.startswith("✗") and told in line


def _refused(*_, **__):
    raise ConnectionRefusedError("refused")


class _Few:
    RLIMIT_NOFILE = 7

    @staticmethod
    def getrlimit(_):
        return 100, 200


def test_optional_programs_are_named_whether_there_or_not(monkeypatch, tmp_path, capsys):
    optional_programs()
    monkeypatch.setenv("PATH", str(tmp_path))
    optional_programs()
    lines = capsys.readouterr().out.splitlines()
    assert [line[2:] for line in lines[:3]] == [line[2:] for line in lines[3:]]
    assert all(line.startswith("·") for line in lines[3:])
