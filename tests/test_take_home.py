"""Role cells become scripts: what is added, what is refused, and that the scripts run and talk to other programs."""

from __future__ import annotations

import ast
import asyncio
import concurrent.futures
import contextlib
import http.client
import os.path
import re
import shutil
import socket
import struct
import subprocess
import sys
import sysconfig
import threading
import time
import types
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers.take_home import TakeHomeError, scripts, write

DEADLINE = 60  # seconds; nothing waits for it when all is well
C_PROGRAMS = Path(__file__).parent.parent / "notebooks" / "c"
COMPILER = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)

SERVER = [
    "listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
    "listener.bind((host, port))\nhost, port = listener.getsockname()  # the kernel chose",
    "listener.listen(5)",
    "transfer, caller = listener.accept()",
    'message = transfer.recv(255)\nprint("Here is the message:", message.decode())',
    'transfer.sendall(b"I got your message")',
    "transfer.close()",
    "listener.close()",
]
CLIENT = [
    "client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
    "client.connect((host, port))",
    'client.sendall(b"hello")',
    "client.recv(255)",
    "client.close()",
]


def recorded(name: str) -> types.ModuleType:
    """What `socket` and `select` are in a lesson's namespace, as far as this module cares."""
    return types.ModuleType(f"helpers.recorded_{name}")


NAMESPACE: dict[str, object] = {
    "socket": recorded("socket"),
    "select": recorded("select"),
    "host": "127.0.0.1",
    "port": 0,
}


def server(*cells: str, **namespace: object) -> str:
    return scripts({"server": cells}, {**NAMESPACE, **namespace})["server.py"]


def code(script: str) -> str:
    """A script without its docstring."""
    return script.split('"""\n\n', 1)[1]


def imports(script: str) -> list[str]:
    return [line for line in code(script).splitlines() if line.startswith(("import ", "from "))]


def refusal(cells: dict[str, list[str]], **namespace: object) -> str:
    with pytest.raises(TakeHomeError) as caught:
        scripts(cells, {**NAMESPACE, **namespace})
    return str(caught.value)


# ---------------------------------------------------------------------- the whole of it


SERVER_PY = '''"""The server: a notebook's %%server cells, in the order in which they ran.

    python3 server.py 5050
    python3 client.py 5050

With 0 for 5050 the system chooses a free number, and the server prints it.
Started again at once on the same number, the server may find "Address already
in use" for a minute or two: the end of the last call is remembered that long
(TIME_WAIT).  Take another number then.
"""

import argparse
import socket

parser = argparse.ArgumentParser()
parser.add_argument("--host", default="127.0.0.1", help="its address (%(default)s)")
parser.add_argument("port", type=int, help="the server's port")
arguments = parser.parse_args()
host, port = arguments.host, arguments.port

listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)

listener.bind((host, port))
host, port = listener.getsockname()  # the kernel chose

listener.listen(5)
print("listening on", listener.getsockname(), flush=True)

transfer, caller = listener.accept()

message = transfer.recv(255)
print("Here is the message:", message.decode())

transfer.sendall(b"I got your message")

transfer.close()

listener.close()
'''
CLIENT_BODY = """host, port = arguments.host, arguments.port

client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)

client.connect((host, port))

client.sendall(b"hello")

print(client.recv(255))

client.close()
"""


def test_the_articles_program_reads_like_a_persons_scripts() -> None:
    made = scripts({"server": SERVER, "client": CLIENT}, NAMESPACE)
    assert list(made) == ["server.py", "client.py"]
    assert made["server.py"] == SERVER_PY
    head = SERVER_PY.replace("The server:", "The client:").replace("%%server", "%%client").partition("host, port =")[0]
    assert made["client.py"] == head + CLIENT_BODY


def test_ruff_finds_nothing_in_the_scripts(tmp_path: Path) -> None:
    cells = {
        "server": ["from helpers import socket\nimport time  # to wait", *SERVER, "time.sleep(0)\npack('!H', 1)"],
        "client": [*CLIENT, "def twice(text):\n    return text * 2", "twice('a')", "[n for n in range(3)]"],
    }
    paths = [tmp_path / name for name in write(scripts(cells, {**NAMESPACE, "pack": struct.pack}), tmp_path)]
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select=E,F,W", "--line-length=120"]
    done = subprocess.run([*command, *paths], capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# ---------------------------------------------------------------------- the text


def test_the_learners_text_is_kept_to_the_letter() -> None:
    cell = (
        "# why: a comment\n"
        "x  =  'a  b' # two  spaces\n"
        "\n"
        "def f( a,b ):\n"
        '\t"""Its own.   """\n'
        "\treturn a+b   # odd, but theirs\n"
        "\n\n\n"
        "text = '''three\n   lines\n'''"
    )
    assert cell in server(cell)


def test_cells_stand_in_order_and_identical_repeats_once() -> None:
    assert code(server("a = 1", "b = 2", "a = 1", "\nb = 2\n\n", "", "  \n")).split() == ["a", "=", "1", "b", "=", "2"]


def test_windows_newlines_and_any_text() -> None:
    script = server("a = 'grüße →'\r\nb = '𝄞'; a + b\r\n", "c = 1\rc")
    assert "\r" not in script
    assert code(script).split("\n") == ["a = 'grüße →'", "b = '𝄞'; print(a + b)", "", "c = 1", "print(c)", ""]


def test_a_cell_of_comments_only() -> None:
    assert "# nothing yet" in server("# nothing yet")


def test_write_makes_the_folder_and_keeps_what_was_edited(tmp_path: Path) -> None:
    folder = tmp_path / "at home" / "now"
    made = {"server.py": "print('grüße')\n", "client.py": "pass\n"}
    assert write(made, folder) == {"server.py": "", "client.py": ""}
    assert (folder / "server.py").read_bytes() == "print('grüße')\n".encode()
    write(made, folder)
    assert sorted(path.name for path in folder.iterdir()) == [".taken_home", "client.py", "server.py"]
    (folder / "server.py").write_text("mine\n", encoding="utf-8")
    assert write(made, folder) == {"server.py": "server.py.old", "client.py": ""}
    assert (folder / "server.py").read_bytes() == "print('grüße')\n".encode()
    assert (folder / "server.py.old").read_text(encoding="utf-8") == "mine\n"
    assert not (folder / "client.py.old").exists()
    assert write({"server.py": "pass\n"}, folder) == {"server.py": ""}  # what was there, nobody had edited
    (folder / "server.py").write_text("mine, again\n", encoding="utf-8")
    assert write(made, folder)["server.py"] == "server.py.old2"
    assert (folder / "server.py.old").read_text(encoding="utf-8") == "mine\n"


def test_only_roles_that_did_something_become_scripts() -> None:
    assert list(scripts({"server": [], "client": ["print(1)"]}, {})) == ["client.py"]
    assert refusal({"server": [], "client": ["\n"]}) == (
        "no %%server or %%client cell has completed yet: run some first."
    )


# ---------------------------------------------------------------------- host and port


@pytest.mark.parametrize(
    ("cells", "arguments"),
    [
        (["print(host, port)"], ["host", "port"]),
        (["s = socket.create_connection((host, port))"], ["host", "port"]),
        (["s = socket.socket()", "s.bind(('127.0.0.1', port))"], ["port"]),
        (["print(host)"], ["host"]),
        (["print(1)"], []),
        (["port = 7", "print(port)"], []),  # it made its own
        (["s = socket.socket()\ns.listen()\nhost, port = s.getsockname()", "print(port)"], []),
        (["port = port + 1"], ["port"]),  # reads it before it makes it
        (["port += 1"], ["port"]),
        (["del port"], ["port"]),
        (["def dial():\n    return socket.create_connection((host, port))", "dial()"], ["host", "port"]),
        (["def dial(host, port):\n    return host, port", "dial('a', 1)"], []),  # names of its own
        (["for port in (1, 2):\n    print(port)"], []),
        (["for n in (1, 2):\n    print(port)\n    port = n"], ["port"]),
        (["with socket.socket() as s:\n    s.bind((host, port))\n    host, port = s.getsockname()"], ["host", "port"]),
        (["def late():\n    return port", "port = 1", "late()"], ["port"]),
    ],
)
def test_host_and_port_come_from_the_command_line_where_they_are_read(cells: list[str], arguments: list[str]) -> None:
    script = server(*cells)
    added = [line for line in script.splitlines() if line.startswith("parser.add_argument")]
    assert sorted(re.findall(r'add_argument\("-*(\w+)"', "\n".join(added))) == sorted(arguments)
    assert ("import argparse" in script) == ("arguments = " in script) == bool(arguments)
    compile(script, "server.py", "exec")


def test_other_names_may_be_shared_if_the_caller_says_so() -> None:
    script = scripts({"client": ["print(name)"]}, {"name": "x"}, shared=("name",))["client.py"]
    assert 'parser.add_argument("name")' in script
    assert "name = arguments.name" in script


def test_a_script_says_how_it_is_run() -> None:
    fixed = {"server": ["s = socket.create_server(('127.0.0.1', 0))", "host, port = s.getsockname()"], "client": CLIENT}
    made = scripts(fixed, NAMESPACE)
    for script in made.values():
        assert (
            "\n\n    python3 server.py\n    python3 client.py PORT\n\nPORT is the number that the server prints."
            in script
        )
    assert server("print(1)").startswith(
        '"""The server: a notebook\'s %%server cells, in the order in which they ran.\n'
        '\n    python3 server.py\n"""\n\nprint(1)\n'
    )


# ---------------------------------------------------------------------- what a cell showed


@pytest.mark.parametrize(
    "shown",
    [
        "x", "x.real", "x == 1", "f'{x}'", "'text'", "5", "x + 1", "not x", "(x + 1)", "(x, x)", "x, x", "lambda: x",
        "s.recv(255)", "s.getsockname()", "s.fileno()", "s.send(b'a')", "[n for n in (1, 2)]", "(\n    x\n    + 1\n)",
        "len('ü→𝄞')", "b''.join([])", "gives()", "Thing()", "asyncio.run(gives())", "(n := 5)", "{'a': x}", "x  # why",
    ],
)  # fmt: skip
def test_a_cells_last_value_is_printed(shown: str) -> None:
    before = "x, s = 1, socket.socket()\ndef gives():\n    return 1\nclass Thing:\n    pass"
    script = server(before, f"# before\n{shown}", "x = 2", asyncio=asyncio)
    expression, comment = (shown.split("  #")[0], "  # why") if "#" in shown else (shown, "")
    assert f"\n# before\nprint({expression}){comment}\n" in script
    compile(script, "server.py", "exec")


@pytest.mark.parametrize(
    "silent",
    [
        "x = 1", "print('a')", "s.bind(a)", "s.listen()", "s.close()", "s.connect(a)", "s.sendall(b'a')", "pass",
        "s.settimeout(1)", "s.setblocking(False)", "s.setsockopt(1, 2, 3)", "time.sleep(1)", "log.append(1)", "None",
        "...", "nothing()", "early()", "asyncio.run(main())", "s.shutdown(2)", "s.close()  # good night",
        "if a:\n    a", "import time",
    ],
)  # fmt: skip
def test_what_has_nothing_to_show_stays_as_it_is(silent: str) -> None:
    before = (
        "a, log, s = 1, [], socket.socket()\n"
        "def nothing():\n    print('a')\n"
        "def early():\n    if a:\n        return\n    print('a')\n"
        "async def main():\n    pass"
    )
    added = server(before, silent, asyncio=asyncio, time=time).replace("import time\n", "")
    assert re.findall(r"^print\((?!'a'|\"listening)", added, re.MULTILINE) == []


def test_only_the_last_value_of_a_cell_is_printed() -> None:
    assert code(server("x = 1\nx\nx + 1", "x + 2; x + 3")).split("\n") == [
        "x = 1", "x", "print(x + 1)", "", "x + 2; print(x + 3)", "",
    ]  # fmt: skip


# ---------------------------------------------------------------------- where it listens


LISTENS = "listener = socket.socket()\nlistener.bind((host, port))\n"
SAYS = 'print("listening on", listener.getsockname(), flush=True)'


@pytest.mark.parametrize(
    ("cells", "lines"),
    [
        (
            [LISTENS, "listener.listen(5)  # five may wait", "listener.accept()"],
            ["listener.listen(5)  # five may wait", SAYS],
        ),
        (
            [LISTENS + "listener.listen(5)\nt, c = listener.accept()"],
            ["listener.listen(5)", SAYS, "t, c = listener.accept()"],
        ),
        (
            [LISTENS + "listener.listen(5); t, c = listener.accept()"],
            [f"listener.listen(5); {SAYS}; t, c = listener.accept()"],
        ),
        (
            ["with socket.socket() as listener:\n    listener.listen()\n    t, c = listener.accept()"],
            ["    listener.listen()", f"    {SAYS}", "    t, c = listener.accept()"],
        ),
        (["listener = socket.create_server((host, port))"], ["listener = socket.create_server((host, port))", SAYS]),
        (
            ["def serve(s):\n    s.listen()\n    s.accept()"],
            ["    s.listen()", "    " + SAYS.replace("listener", "s"), "    s.accept()"],
        ),
        # said too early, or too late: a caller who dials then finds nobody, or nobody knows
        (
            [LISTENS, "listener.getsockname()", "listener.listen()"],
            ["print(listener.getsockname())", "", "listener.listen()", SAYS],
        ),
        ([LISTENS, "listener.listen()", "t, c = listener.accept()", "print(port)"], ["listener.listen()", SAYS]),
        ([LISTENS, "listener.listen()", "host, port = listener.getsockname()"], ["listener.listen()", SAYS]),
    ],
)
def test_a_script_that_listens_says_where(cells: list[str], lines: list[str]) -> None:
    script = server(*cells)
    assert "\n" + "\n".join(lines) + "\n" in script
    assert script.count("listening on") == 1
    compile(script, "server.py", "exec")


@pytest.mark.parametrize(
    "cells",
    [
        [LISTENS, "listener.listen()", "listener.getsockname()", "t, c = listener.accept()"],
        [LISTENS, "listener.listen()\nprint(f'dial {port}')", "t, c = listener.accept()"],
        [
            LISTENS,
            "listener.listen()",
            "host, port = listener.getsockname()\nprint(host, port)",
            "t, c = listener.accept()",
        ],
        ["client = socket.socket()", "client.connect((host, port))", "client.getsockname()"],
    ],
)
def test_nothing_is_added_where_the_cells_say_it_or_nobody_listens(cells: list[str]) -> None:
    assert "listening on" not in server(*cells)


# ---------------------------------------------------------------------- imports


@pytest.mark.parametrize(
    ("cell", "namespace", "expected"),
    [
        ("s = socket.socket()", {}, ["import socket"]),
        ("r = select.select([], [], [], 0)", {}, ["import select"]),
        ("from helpers import select, socket\n\ns = socket.socket()", {}, ["import select", "import socket"]),
        ("from helpers import socket  # it records", {}, ["import socket"]),
        ("from helpers import socket as net\nnet.socket", {}, ["import socket as net"]),
        ("s = net.socket()", {"net": NAMESPACE["socket"]}, ["import socket as net"]),
        ("time.sleep(1)", {"time": time}, ["import time"]),
        (
            "t = 1\nimport time\nfrom struct import pack\nimport os",
            {},
            ["import os", "import time", "from struct import pack"],
        ),
        ("sleep(1)", {"sleep": time.sleep}, ["from time import sleep"]),
        ("closing(1)", {"closing": contextlib.closing}, ["from contextlib import closing"]),
        ("deque()", {"deque": deque}, ["from collections import deque"]),
        ("Path('.')", {"Path": Path}, ["from pathlib import Path"]),
        ("pack('!H', 1)", {"pack": struct.pack}, ["from struct import pack"]),
        ("a = AF_INET", {"AF_INET": socket.AF_INET}, ["from socket import AF_INET"]),
        (
            "p = ThreadPoolExecutor()",
            {"ThreadPoolExecutor": concurrent.futures.ThreadPoolExecutor},
            ["from concurrent.futures import ThreadPoolExecutor"],
        ),
        ("p = concurrent.futures.ThreadPoolExecutor()", {"concurrent": concurrent}, ["import concurrent.futures"]),
        ("c = http.client.HTTPConnection('a')", {"http": http}, ["import http.client"]),
        ("c = client.HTTPConnection('a')", {"client": http.client}, ["from http import client"]),
        ("p = os.path.join('a', 'b')", {"os": os}, ["import os"]),
        ("def f(s: socket.socket) -> None:\n    s.close()", {}, ["import socket"]),  # read by the annotation alone
        ("from __future__ import annotations\nimport abc", {}, ["from __future__ import annotations", "import abc"]),
        ("from struct import *\npack('!H', calcsize('!H'))", {}, ["from struct import *"]),
        ("from os import (\n    path,\n    sep,\n)\npath.join(sep)", {}, ["from os import ("]),
        ("socket = socket.socket()", {"socket": recorded("socket")}, ["import socket"]),  # a name made anew, badly
    ],
)
def test_imports_are_added_or_moved_to_the_top(cell: str, namespace: dict[str, object], expected: list[str]) -> None:
    script = server("# first", cell, **namespace)
    assert imports(script) == expected
    assert "helpers" not in script
    body = ast.parse(script).body[1:]  # after the docstring
    kinds = [isinstance(statement, (ast.Import, ast.ImportFrom)) for statement in body]
    assert kinds == sorted(kinds, reverse=True)  # all of them first
    compile(script, "server.py", "exec")


def test_an_import_inside_a_block_stays_there() -> None:
    cell = (
        "def make():\n    import time  # late\n    from helpers import socket\n    return socket.socket(), time\nmake()"
    )
    script = server(cell, "x = 1; import struct", "from helpers import select; y = 2")
    assert "    import time  # late\n    import socket\n    return" in script
    assert "x = 1; import struct" in script
    assert "import select; y = 2" in script
    assert imports(script) == ["import select; y = 2"]


def test_a_comment_on_an_import_goes_with_it() -> None:
    script = server("a = 1", "import time  # to wait\ntime.sleep(a)")
    assert code(script).startswith("import time  # to wait\n\na = 1\n")


@pytest.mark.parametrize(
    "cell", ["from helpers import callers", "import helpers", "from helpers.serving import serving"]
)
def test_importing_what_only_the_notebook_has_is_refused(cell: str) -> None:
    name = cell.split()[-1]
    assert refusal({"server": [cell]}) == (
        f"server reads `{name}`, which only the notebook has: keep it out of the %%server cells, "
        "or use it in %%server --aside."
    )


# ---------------------------------------------------------------------- names


def test_a_name_of_the_other_role_is_refused() -> None:
    assert refusal({"server": ["message = b'hi'"], "client": ["print(message)"]}, message=b"hi") == (
        "client reads `message`, which a %%server cell made: the two share only host and port, "
        "so make it in a %%client cell."
    )
    assert "client reads `transfer`, which a %%server cell made" in refusal(
        {"server": SERVER, "client": [*CLIENT, "def f():\n    return transfer"]}
    )


def test_a_name_that_a_cell_without_a_role_made_is_refused() -> None:
    assert refusal({"client": ["print(message)"]}, message=b"hi") == (
        "client reads `message`, which no %%client cell made since Stage(...), a cell without a role perhaps: "
        "make or import it in a %%client cell."
    )
    function = types.FunctionType(compile("1", "cell", "eval"), {"__name__": "__main__"}, "mine")
    assert "client reads `mine`, which no %%client cell made" in refusal({"client": ["mine()"]}, mine=function)


def test_a_name_that_the_notebook_forgot_is_refused() -> None:
    assert "client reads `gone`, which no %%client cell made" in refusal({"client": ["print(gone)"]})


def test_a_name_read_before_its_cell_is_refused() -> None:
    assert refusal({"client": ["print(message)", "message = 1"]}, message=1) == (
        "client reads `message`, before a %%client cell makes it: run the cells from Stage(...) on, in order, "
        "and take them home again."
    )
    assert "which a %%server cell made" in refusal({"server": ["a = 1"], "client": ["a = a + 1"]}, a=2)


def test_what_only_a_notebook_has_is_refused() -> None:
    for name in ("display", "get_ipython"):
        assert f"server reads `{name}`, which only the notebook has" in refusal({"server": [f"{name}()"]})
    tool = types.ModuleType("helpers.callers")
    assert "server reads `callers`, which only the notebook has" in refusal(
        {"server": ["callers.polite()"]}, callers=tool
    )
    stage = type("Stage", (), {"__module__": "helpers.stage"})()
    assert "server reads `stage`, which only the notebook has" in refusal({"server": ["stage.diagram()"]}, stage=stage)


def test_a_socket_that_a_plain_cell_made_is_refused() -> None:
    made = type("socket", (), {"__module__": "helpers.recorded_socket"})()
    assert "server reads `listener`, which no %%server cell made" in refusal(
        {"server": ["listener.accept()"]}, listener=made
    )


def test_every_name_is_looked_at_in_the_order_of_reading() -> None:
    assert "reads `b`" in refusal({"server": ["x = 1", "print(b)", "print(a)"]}, a=1, b=2)


OWN = [
    "x = 1\nx",
    "x, (y, *z) = 1, (2, 3)\nx, y, z",
    "x: int = 1\nx",
    "def x():\n    x()",
    "class x:\n    y = 1\n    z = y",
    "import x.y\nx",
    "from a import b as x\nx",
    "for x in (1,):\n    x\nx",
    "with open('a') as x, x:\n    x",
    "try:\n    pass\nexcept OSError as x:\n    x",
    "try:\n    pass\nexcept OSError as e:\n    x = e\nelse:\n    x = None\nx",
    "try:\n    pass\nexcept* OSError as x:\n    x",
    "(x := 1)\nx",
    "if (x := 1) and x:\n    x",
    "while x := 0:\n    x",
    "print([x for x in (1,)], {x for x in ()}, {x: 1 for x in ()}, [*(x for x in ())])",
    "print([y for x in ((1,),) for y in x if (w := x)], w)",
    "f = lambda x, *y, z=1, **w: (x, y, z, w)",
    "def f(a, /, b, *c, d, **e):\n    return a, b, c, d, e",
    "def f():\n    x = 1\n    def g():\n        nonlocal x\n        x += 1\n        return x\n    return g",
    "def f():\n    global x\n    x = 1\nf()\nx",
    "match [1, 2]:\n    case [x, *y]:\n        x, y\n    case {'a': z, **w}:\n        z, w",
    "match 1:\n    case int() as x:\n        x\n    case 1 | 2:\n        x",
    "x = 1\nx += 1\ndel x",
    "def f():\n    return later\nlater = 1\nf()",
    "for n in (1, 2):\n    if n > 1:\n        print(before)\n    before = n",
    "while True:\n    try:\n        n = 1\n    except OSError:\n        continue\n    break",
    "class A:\n    def f(self):\n        return A, __class__",
    "print(__name__, __doc__, __file__, len, ValueError, print)",
    "async def f():\n    async with g() as x:\n        return [y async for y in x]\ndef g(): pass",
    "if True:\n    x = 1\nelse:\n    x = 2\nx",
    "x = f'{1:{2}}'\nf'{x!r:>{x}}'",
    "@print\ndef f():\n    return f",
    "def f(x=1):\n    class C:\n        y = x\n    return C",
    "x = [\n    1,\n]\nprint(\n    x,\n)",
    "import struct; x = struct.pack; x",
    "xs = [1]\nclass C:\n    a = 1\n    b = [a for n in xs]\na = 2",
]


@pytest.mark.parametrize("cell", OWN)
def test_names_of_ones_own_are_nobody_elses(cell: str) -> None:
    compile(server(cell), "server.py", "exec")


FOREIGN = [
    "x",
    "y = x",
    "x += 1",
    "del x",
    "x.y = 1",
    "x[0] += 1",
    "print(f'{x}')",
    "print(f'{1:{x}}')",
    "[y for y in x]",
    "[x for y in ()]",
    "[y for y in () if x]",
    "{y: x for y in ()}",
    "[x for x in x]",
    "f = lambda y=x: y",
    "f = lambda y: x",
    "def f(y=x):\n    pass",
    "def f():\n    return x",
    "def f():\n    def g():\n        return x\n    return g",
    "def f():\n    class C:\n        y = x\n    return C",
    "@x\ndef f():\n    pass",
    "class C(x):\n    pass",
    "class C:\n    y = x",
    "class C:\n    x = 1\n    def f(self):\n        return x",
    "class C:\n    def f(self):\n        return x",
    "match x:\n    case 1:\n        pass",
    "match 1:\n    case x.y:\n        pass",
    "match 1:\n    case int() if x:\n        pass",
    "for y in x:\n    pass",
    "while x:\n    pass",
    "if len('a'):\n    pass\nelif x:\n    pass",
    "with x:\n    pass",
    "try:\n    pass\nexcept x:\n    pass",
    "try:\n    pass\nfinally:\n    x",
    "raise x",
    "assert x",
    "x = x",
    "x = x.upper()",
    "[*x]",
    "print(**x)",
    "async def f():\n    await x",
    "def f():\n    yield x",
    "def f():\n    global x\n    return x",
    "y = (z := x)",
    "print([(y := x) for n in ()])",
]


@pytest.mark.parametrize("cell", FOREIGN)
def test_names_from_elsewhere_are_found_wherever_they_are_read(cell: str) -> None:
    assert "server reads `x`, which no %%server cell made" in refusal({"server": [cell]}, x=1).replace(
        "before a %%server cell makes it", "which no %%server cell made"
    )


STANDARD = [
    "socketserver",
    "selectors",
    "queue",
    "threading",
    "struct",
    "textwrap",
    "tempfile",
    "subprocess",
    "shutil",
    "random",
    "cmd",
    "code",
    "csv",
    "dis",
]


@pytest.mark.parametrize("name", STANDARD)
def test_a_module_of_the_standard_library_is_a_program_of_its_own(name: str) -> None:
    text = Path(sysconfig.get_path("stdlib"), f"{name}.py").read_text(encoding="utf-8")
    compile(server(text), "server.py", "exec", dont_inherit=True)


# ---------------------------------------------------------------------- real programs


Program = subprocess.Popen[str]
Start = Callable[..., Program]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a program; at the end of the test, or at the deadline, each is ended by its own Popen."""
    started: list[Program] = []

    def start(*command: str | Path, stdin: int = subprocess.DEVNULL) -> Program:
        program = subprocess.Popen(
            [str(part) for part in command],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )
        started.append(program)
        return program

    def end() -> None:
        for program in started:
            program.kill()

    alarm = threading.Timer(DEADLINE, end)
    alarm.start()
    yield start
    alarm.cancel()
    end()
    for program in started:
        program.wait(DEADLINE)
        for stream in filter(None, (program.stdin, program.stdout)):
            stream.close()


def port_of(program: Program) -> str:
    """The number that a server prints once it listens."""
    assert program.stdout is not None
    line = program.stdout.readline()
    found = re.fullmatch(r"listening on .*?(\d+)\)?\n", line)
    assert found, f"{line!r}, and then: {program.stdout.read()!r}"
    return found[1]


def rest_of(program: Program) -> tuple[int, str]:
    """What it printed besides, and its exit status, once it has ended."""
    assert program.stdout is not None
    text = program.stdout.read()
    return program.wait(DEADLINE), text


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home") / "a folder"
    write(scripts({"server": SERVER, "client": CLIENT}, NAMESPACE), folder)
    return folder


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    if COMPILER is None or sys.platform == "win32":
        pytest.skip("no C compiler for Linux or macOS here (cc, gcc or clang)")
    folder = tmp_path_factory.mktemp("c")

    def compiled(name: str) -> Path:
        command = [COMPILER, "-o", str(folder / name), str(C_PROGRAMS / f"{name}.c")]
        subprocess.run(command, check=True, timeout=DEADLINE)
        return folder / name

    return compiled


def test_the_scripts_talk_to_each_other(home: Path, start: Start) -> None:
    server = start(sys.executable, home / "server.py", "0")
    client = start(sys.executable, home / "client.py", port_of(server))
    assert rest_of(client) == (0, "b'I got your message'\n")
    assert rest_of(server) == (0, "Here is the message: hello\n")


def test_the_scripts_take_an_address(home: Path, start: Start) -> None:
    server = start(sys.executable, home / "server.py", "0", "--host", "localhost")
    client = start(sys.executable, home / "client.py", "--host=127.0.0.1", port_of(server))
    assert rest_of(client) == (0, "b'I got your message'\n")
    assert rest_of(server) == (0, "Here is the message: hello\n")


def test_a_script_says_how_it_is_called(home: Path, start: Start) -> None:
    status, text = rest_of(start(sys.executable, home / "server.py"))
    assert status == 2
    assert "the following arguments are required: port" in text
    status, text = rest_of(start(sys.executable, home / "client.py", "--help"))
    assert status == 0
    assert "its address (127.0.0.1)" in text


def test_the_script_of_the_server_answers_the_c_client(
    home: Path, start: Start, compiled: Callable[[str], Path]
) -> None:
    server = start(sys.executable, home / "server.py", "0")
    client = start(compiled("client"), "127.0.0.1", port_of(server), "hello from C")
    assert rest_of(client) == (0, "I got your message\n")
    assert rest_of(server) == (0, "Here is the message: hello from C\n")


def test_the_script_of_the_client_calls_the_c_server(home: Path, start: Start, compiled: Callable[[str], Path]) -> None:
    server = start(compiled("server"), "0")
    client = start(sys.executable, home / "client.py", port_of(server))
    assert rest_of(client) == (0, "b'I got your message'\n")
    assert rest_of(server) == (0, "Here is the message: hello\n")


@pytest.mark.parametrize("tool", ["nc", "curl"])
def test_the_script_of_the_server_answers_other_programs(home: Path, start: Start, tool: str) -> None:
    path = shutil.which(tool)
    if path is None:
        pytest.skip(f"no {tool} here")
    if tool == "curl":
        version = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=DEADLINE, check=True)
        if "telnet" not in version.stdout:
            pytest.skip("this curl speaks no telnet")
    server = start(sys.executable, home / "server.py", "0")
    port = port_of(server)
    address = ["127.0.0.1", port] if tool == "nc" else ["-sSN", "--noproxy", "*", f"telnet://127.0.0.1:{port}"]
    caller = start(path, *address, stdin=subprocess.PIPE)
    assert caller.stdin is not None
    caller.stdin.write(f"hello from {tool}")
    caller.stdin.flush()  # and it stays open: at its end curl leaves, with or without the reply
    assert rest_of(server) == (0, f"Here is the message: hello from {tool}\n")
    assert caller.stdout is not None
    reply = "I got your message"
    assert caller.stdout.read(len(reply)) == reply
    caller.stdin.close()
    assert rest_of(caller) == (0, "")


def test_a_port_in_use_is_told_by_the_system(home: Path, start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, text = rest_of(start(sys.executable, home / "server.py", str(taken.getsockname()[1])))
    assert status == 1
    assert text.splitlines()[-1].startswith("OSError: [Errno ")
