"""Functions packed as source: what they name goes along, what is open can't; what comes out works like the first."""

from __future__ import annotations

import functools
import linecache
import subprocess
import sys
from itertools import count
from textwrap import dedent

import pytest
import subjects

from helpers import recorded_select, recorded_socket
from helpers.racing import packing
from helpers.racing.packing import PackError, pack

CELLS = count(1)


def cell(source, **names):
    """The names of a notebook after this cell: it is known to `linecache`, as IPython makes it known."""
    source, filename = dedent(source).strip() + "\n", f"<cell {next(CELLS)}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    space = {"__name__": "__main__", **names}
    if source.startswith("%%"):  # the line of a role's cell is a part of its text
        source = "\n" + source.partition("\n")[2]
    exec(compile(source, filename, "exec"), space)
    return space


def unpacked(function):
    """What another process would make of it: run in a `__main__` where nothing else is."""
    source, name = pack(function)
    space = {"__name__": "__main__"}
    exec(source, space)
    return space[name]


def test_a_function_alone():
    f = cell("def f(x):\n    return x + 1")["f"]
    assert pack(f) == ("def f(x):\n    return x + 1\n", "f")
    assert unpacked(f)(1) == 2


@pytest.mark.parametrize(
    "source",
    [
        "import math\ndef f(): return math.sqrt(9)",
        "import math as m\ndef f(): return m.sqrt(9)",
        "from math import sqrt\ndef f(): return sqrt(9)",
        "from math import sqrt as root\ndef f(): return root(9)",
        "import os.path\ndef f(): return len(os.path.join('a', 'b'))",
        "import concurrent.futures\ndef f(): return len(concurrent.futures.FIRST_COMPLETED) - 12",
        "from concurrent.futures import ThreadPoolExecutor\ndef f(): return ThreadPoolExecutor(3)._max_workers",
        "N = 3\ndef f(): return N",
        "data = {'a': [1, (2, b'x')], 'b': {3}}\ndef f(): return max(data['b'])",
        "N = 2\ndef one(): return N\ndef f(): return one() + 1",
        "def f(n=3): return n if n < 4 else g(n)\ndef g(n): return f(n - 1)",
        "N = 3\ndef f(n=N): return n",
        "N: int = 3\ndef f() -> int:\n    def inner(): return N\n    return inner()",
        "def f(): return [n for n in range(4) if n > LOW][0]\nLOW = 2",
        "class Three:\n    N = 3\n    def get(self): return self.N\ndef f(): return Three().get()",
        "class A:\n    N = 1\n    def get(self): return 1\nclass B(A):\n    def more(self): return self.get() + 2\n"
        "def f(): return B().more()",
        "class A:\n    def get(self): return 3\na = A()\ndef f(): return a.get()",
        "import threading\nlock = threading.Lock()\ndef f():\n    with lock: return 3",
        "import threading as t\nlock = t.Lock()\ndef f():\n    with lock: return 3",
        "import queue\ncalls = queue.Queue(3)\ndef f(): return calls.maxsize",
        "import re\npattern = re.compile('b')\ndef f(): return pattern.search('aaab').start()",
        "def make(n):\n    def f(): return n\n    return f\nf = make(3)",
        "def make(n):\n    step = 1\n    def f():\n        return n + step\n    return f\nf = make(2)",
        "import functools\ndef same(g):\n    @functools.wraps(g)\n    def inner(): return g()\n    return inner\n"
        "@same\ndef f(): return 3",
        "connection = 'a name outside'\ndef f():\n    connection = 3\n    return connection",
        "class Left(Exception): pass\ndef f():\n    try: raise Left(3)\n    except Left as left: return left.args[0]",
        "class Left(Exception):\n    'It hung up.'\nclass Early(Left): N = 3\nGone = Early\ndef f(): return Gone.N",
        "from dataclasses import dataclass, field\nN = 3\n@dataclass(order=True)\nclass Call:\n    number: int = N\n"
        "    said: list = field(default_factory=list)\ndef f(): return Call().number",
        "import dataclasses\n@dataclasses.dataclass(frozen=True, slots=True)\nclass Call:\n    number: int\n"
        "def f(): return Call(3).number",
        "from typing import NamedTuple\nclass Call(NamedTuple):\n    number: int\n    name: str = 'Ann'\n"
        "def f(): return Call(3).number",
        "import enum\nclass State(enum.Enum):\n    OPEN = enum.auto()\n    OVER = 3\ndef f(): return State.OVER.value",
        "from enum import Enum\nSIZE = 3\nclass State(Enum):\n    OVER = 1\n    def get(self): return SIZE\n"
        "def f(): return State.OVER.get()",
        "from collections import namedtuple\nNAMES = 'number name'\nCall = namedtuple('Call', NAMES)\n"
        "def f(): return Call(3, 'Ann').number",
        "from collections import namedtuple\nclass Call(namedtuple('Call', 'number')): pass\n"
        "def f(): return Call(3).number",
        "N = 3\nclass A:\n    @property\n    def n(self): return N\ndef f(): return A().n",
        "N = 3\nclass A:\n    @staticmethod\n    def n(): return N\ndef f(): return A.n()",
        "N = 3\nclass A:\n    @classmethod\n    def n(cls): return N\ndef f(): return A.n()",
        "%%server\nclass Left(Exception): N = 3\nclass More(Left):\n    def n(self): return self.N\n"
        "def f(): return More().n()",
    ],
)  # fmt: skip
def test_what_it_names_goes_along(source):
    space = cell(source)
    assert space["f"]() == 3
    assert unpacked(space["f"])() == 3


def test_a_class_of_another_cell():
    """Of its definitions the newest is what it is; and what is no Python at all harms nobody."""
    made = "from collections import namedtuple\nLOW = {0}\nclass Left(Exception): N = LOW\n"
    made += "Pair = namedtuple('Pair', 'a b')"
    cell(made.format(1))
    names = cell(made.format(3))
    linecache.cache["<no Python>"] = (4, None, ["a b\n"], "<no Python>")
    f = cell("def f(): return Left.N, Pair(1, 2).b", **names)["f"]
    assert unpacked(f)() == (3, 2)


def test_the_cell_that_ran_last_made_the_class(monkeypatch):
    """IPython has one file for a cell that runs again as it was."""

    class Shell:
        def __init__(self):
            self.compile = self
            self._filename_map = {}

    shell = Shell()
    monkeypatch.setattr(packing, "current_shell", lambda: shell)
    names = cell("class Left(Exception): N = 1")
    first = next(reversed(linecache.cache))
    cell("class Left(Exception): N = 2")
    shell._filename_map.update({next(reversed(linecache.cache)): 2, first: 3})
    assert unpacked(cell("def f(): return Left.N", **names)["f"])() == 1


def test_only_what_it_names_goes_along():
    space = cell("secret = 1\nN = 3\ndef other(): return secret\ndef f(o): return o.other + N")
    source, _ = pack(space["f"])
    assert "secret" not in source and "def other" not in source


def test_data_go_as_they_are_now():
    space = cell("N = 1\ndef f(): return N")
    space["N"] = 5
    assert unpacked(space["f"])() == 5


def test_a_coroutine_function():
    source, name = pack(cell("import asyncio\nasync def f(listener):\n    await asyncio.sleep(0)")["f"])
    assert source.startswith("import asyncio\nasync def f") and name == "f"


def test_recorded_modules_go_as_the_standard_ones():
    space = cell("def f(): return socket.AF_INET, select.select", socket=recorded_socket, select=recorded_select)
    assert pack(space["f"])[0].startswith("import socket\nimport select\n")


def test_a_function_of_a_module_goes_by_its_name():
    assert pack(subjects.in_turn) == ("from subjects import in_turn as in_turn\n", "in_turn")


def test_a_partial():
    source, name = pack(functools.partial(subjects.has_room_for, room=2))
    assert name == "strategy" and "functools.partial(has_room_for, *(), **{'room': 2})" in source
    f = functools.partial(cell("def f(a, b): return a - b")["f"], b=4)
    assert unpacked(f)(7) == 3


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import socket\nf = lambda listener: None", "has no name of its own: write it with def"),
        ("import os\nfile = open(os.devnull)\ndef f(): return file", "file is a TextIOWrapper, and can't be sent"),
        ("def make():\n    n = 0\n    def f():\n        nonlocal n\n    return f\nf = make()", "can't stand alone"),
        ("def f(): return 3\ng = f\ndef f(): return g()", "two different things are called f"),
        ("class A:\n    def f(self): return 3\nf = A().f", "A.f is a method of an object of the notebook"),
        ("class A:\n    @classmethod\n    def f(cls): return 3\nf = A.f", "A.f is a method of an object of"),
        ("big = bytes(2_000_000)\ndef f(): return big", "big has 2,000,0.. bytes: too much"),
    ],
)  # fmt: skip
def test_what_can_not_go(source, words):
    space = cell(source)
    with pytest.raises(PackError, match=words):
        pack(space["f"])
    if "file" in space:
        space["file"].close()


def test_an_open_socket_can_not_go():
    with recorded_socket.create_server(("127.0.0.1", 0)) as listener:
        space = cell("def f(): return listener", listener=listener)
        with pytest.raises(PackError, match="listener is a socket, and can't be sent to the server's"):
            pack(space["f"])


def test_a_function_without_source():
    space = {"__name__": "__main__"}
    exec("def f(): pass", space)
    with pytest.raises(PackError, match=r"the source of f can't be found: write it in a cell.*not below %%time"):
        pack(space["f"])


def test_it_runs_in_another_process():
    f = cell(
        """
        import concurrent.futures
        WORDS = "far away"
        class Speaker:
            def say(self): return WORDS
        def f():
            with concurrent.futures.ThreadPoolExecutor() as pool:
                print(pool.submit(Speaker().say).result())
        """
    )["f"]
    source, name = pack(f)
    command = [sys.executable, "-I", "-c", f"{source}\n{name}()"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("far away\n", "")
