"""The lessons where there is little: no IPv6, no network but loopback, 256 descriptors, no privilege."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from tools.notebooks import ROOT, lessons
from tools.steady import PYTEST, SANITIZE

NEEDED = ("unshare", "ip", "setpriv")
MISSING = [program for program in NEEDED if shutil.which(program) is None]
POOR = """
ip link set lo up
echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6
ulimit -n 256
exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$@"
"""
TOLD = """
import resource, socket
def refused(family, address):
    try:
        socket.socket(family).bind(address)
    except OSError as problem:
        return type(problem).__name__
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], refused(socket.AF_INET6, ("::1", 0)),
      refused(socket.AF_INET, ("127.0.0.1", 80)), refused(socket.AF_INET, ("127.0.0.1", 0)))
"""

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="these circumstances are made as Linux does it"),
    pytest.mark.skipif(bool(MISSING), reason=f"not run without IPv6: there is no {', '.join(MISSING)}"),
    pytest.mark.skipif(sys.platform == "linux" and os.geteuid() != 0, reason="not run without IPv6: only root can"),
]


def poorly(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command so."""
    line = ["unshare", "--net", "sh", "-euc", POOR, "sh", *command]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_there_is_little() -> None:
    assert poorly(sys.executable, "-c", TOLD).stdout.split() == ["256", "OSError", "PermissionError", "None"]


def test_the_lessons_are_the_same() -> None:
    done = poorly(*PYTEST, f"--nbval-sanitize-with={SANITIZE}", *map(str, lessons()))
    assert done.returncode == 0, done.stdout[-8000:]
    assert re.search(r"^\d+ passed", done.stdout, re.M)


def test_the_exercises_judge_as_ever() -> None:
    done = poorly(*PYTEST, "tests/test_exercises.py", "-k", "reference_is_right or other_styles")
    assert done.returncode == 0, done.stdout[-8000:]
