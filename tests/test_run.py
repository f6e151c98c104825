"""run.py as a person meets it: every failure is one sentence and leaves a clean folder.

Nothing is fetched here: a stand-in for uv "installs" stand-ins for JupyterLab and pytest, and these
say how they were called.
"""

import ast
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
WINDOWS = os.name == "nt"
LINUX = sys.platform.startswith("linux")
ROOT_USER = not WINDOWS and os.geteuid() == 0

FAKE_UV = """
import os, pathlib, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
if sys.argv[1:] == ["--version"]:
    sys.exit(os.environ.get("FAKE_UV") == "broken")
print("uv", *sys.argv[1:], flush=True)
if os.environ.get("FAKE_UV") == "waits":
    sys.stdin.read()
if os.environ.get("FAKE_UV") == "fails":
    sys.exit("error: Failed to fetch")
venv = pathlib.Path(sys.argv[sys.argv.index("--python") + 1]).parent.parent
for name in ("jupyterlab", "pytest"):
    package = next(venv.glob("[Ll]ib/**/site-packages")) / name
    package.mkdir(exist_ok=True)
    package.joinpath("__main__.py").write_text('''
import json, os, sys
print(json.dumps({"called": __spec__.parent, "with": sys.argv[1:], "in": os.getcwd(), "env": dict(os.environ)}))
sys.exit(int(os.environ.get("STATUS", 0)))
''')
"""


def hear_interrupts() -> None:
    """A program that runs in the background of a shell ignores SIGINT, and so do those that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Course:
    """A small copy of the course in a folder with a space in its name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "the course"
        self.venv = self.folder / ".venv"
        self.bin = folder / "bin"
        self.home = folder / "home"
        for name in ("notebooks/00_start_here.ipynb", "notebooks/02_answer_a_call.ipynb", "tests/test_it.py"):
            self.write(name, "")
        for name in ("requirements.txt", "constraints.txt", "pyproject.toml"):
            self.write(name, "# nothing\n")
        self.write("tools/bench.py", "import os, sys\nprint('bench', sys.argv[1:], os.getcwd())\n")
        shutil.copy(ROOT / "run.py", self.folder)
        self.bin.mkdir()
        self.home.mkdir()
        self.command("uv", FAKE_UV)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def command(self, name: str, program: str) -> Path:
        """A command of that name on the PATH, and nothing else is there."""
        (self.bin / f"{name}.py").write_text(program, encoding="utf-8")
        path = self.bin / (f"{name}.bat" if WINDOWS else name)
        start = '@"{}" "{}" %*\n' if WINDOWS else '#!/bin/sh\nexec "{}" "{}" "$@"\n'
        path.write_text(start.format(sys.executable, self.bin / f"{name}.py"), encoding="utf-8")
        path.chmod(0o755)
        return path

    def environment(self, **more: str) -> dict[str, str]:
        foreign = re.compile(r"(PIP|UV|JUPYTER|COURSE)_|(DISPLAY|WAYLAND_DISPLAY|BROWSER|VIRTUAL_ENV|PYTHON.*)$", re.I)
        kept = {name: value for name, value in os.environ.items() if not foreign.match(name)}
        return {**kept, "PATH": str(self.bin), "HOME": str(self.home), **more}

    def run(self, *words: str, before: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """python run.py words, from another folder, perhaps with a line of Python executed before it."""
        line = [sys.executable, str(self.folder / "run.py"), *words]
        if before:
            text = f"import os, runpy, sys; sys.argv[:] = {line[1:]!r}; {before}; "
            line = [sys.executable, "-c", text + "runpy.run_path(sys.argv[0], run_name='__main__')"]
        return subprocess.run(
            line, cwd=self.home, env=self.environment(**environment), stdin=subprocess.DEVNULL,
            capture_output=True, encoding="utf-8", timeout=300,
        )  # fmt: skip

    def start(self, **environment: str) -> subprocess.Popen[str]:
        """run.py, up to where the stand-in for uv waits for the end of its input."""
        process = subprocess.Popen(
            [sys.executable, str(self.folder / "run.py")], env=self.environment(FAKE_UV="waits", **environment),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            encoding="utf-8", start_new_session=True, preexec_fn=None if WINDOWS else hear_interrupts,
        )  # fmt: skip
        assert process.stdout
        while not process.stdout.readline().startswith("uv pip install"):
            assert process.poll() is None
        return process

    def makes(self, *words: str, **environment: str) -> str:
        done = self.run(*words, **environment)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    def called(self, *words: str, **environment: str) -> dict[str, Any]:
        return json.loads(self.makes(*words, **environment).splitlines()[-1])

    def refuses(self, *words: str, clean: bool = True, **environment: str) -> str:
        """The last line on stderr, after checking what holds for all failures."""
        done = self.run(*words, **environment)
        assert done.returncode == 1, done.stdout
        assert "Traceback" not in done.stderr
        *_, sentence = done.stderr.splitlines()
        assert re.fullmatch(r".+[^.]\.", sentence)
        if clean:
            assert not [path.name for path in self.folder.iterdir() if path.name.startswith(".venv")]
        return sentence


@pytest.fixture
def course(tmp_path: Path) -> Course:
    return Course(tmp_path)


# ---------------------------------------------------------------- all is well


def test_first_start_installs_and_opens_the_first_lesson(course: Course) -> None:
    told = course.makes("--port=0", PYTHONPATH="/nowhere", JUPYTER_PATH="mine").splitlines()
    assert told[0].startswith("Installing into .venv with uv")
    assert told[1].startswith("uv pip install --python") and "-r requirements.txt -c constraints.txt" in told[1]
    lab = json.loads(told[2])
    assert lab["called"] == "jupyterlab"
    assert f"--ServerApp.root_dir={course.folder}" in lab["with"]
    assert "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb" in lab["with"]
    assert lab["with"][-1] == "--port=0"
    assert ("--allow-root" in lab["with"]) is ROOT_USER
    assert lab["in"] == str(course.folder)
    assert "PYTHONPATH" not in lab["env"]
    # the kernel "python3" of the course comes before any other of that name
    kernels = course.venv / "share" / "jupyter"
    assert lab["env"]["JUPYTER_PATH"].split(os.pathsep) == [str(kernels), "mine"]
    assert lab["env"]["JUPYTER_PREFER_ENV_PATH"] == "1"
    settings = json.loads((kernels / "lab" / "settings" / "overrides.json").read_text())
    assert settings["@jupyterlab/apputils-extension:notification"] == {"checkForUpdates": False, "fetchNews": "false"}


def test_second_start_installs_nothing(course: Course) -> None:
    course.makes()
    told = course.makes(FAKE_UV="fails").splitlines()
    assert len(told) == 1
    # nor does a start by the course's own Python, as in an activated environment
    python = course.venv / ("Scripts/python.exe" if WINDOWS else "bin/python")
    line = [python, course.folder / "run.py"]
    told = subprocess.check_output(line, env=course.environment(FAKE_UV="fails"), encoding="utf-8").splitlines()
    assert len(told) == 1


@pytest.mark.skipif(not LINUX, reason="elsewhere there always is a display")
def test_without_a_display_no_browser_is_tried(course: Course) -> None:
    assert "--no-browser" in course.called()["with"]
    assert "--no-browser" not in course.called(DISPLAY=":0")["with"]


def test_another_notebook_is_opened(course: Course) -> None:
    page = os.path.relpath(course.folder / "notebooks" / "02_answer_a_call.ipynb", course.home)
    lab = course.called(page, "--no-browser")
    assert "--LabApp.default_url=/lab/tree/notebooks/02_answer_a_call.ipynb" in lab["with"]
    assert "no notebook" in course.refuses("nowhere.ipynb", clean=False)


def test_the_exit_status_is_that_of_the_command(course: Course) -> None:
    assert course.run(STATUS="3").returncode == 3
    assert course.run("test", STATUS="5").returncode == 5


def test_help_lists_the_commands_and_installs_nothing(course: Course) -> None:
    for word in ("help", "--help"):
        told = course.makes(word)
        assert all(f"run.py {command} " in told for command in ("test", "refresh", "chaos", "steady", "bench", "soak"))
    assert "test, refresh, chaos, steady, bench, soak and help" in course.refuses("tset")


def test_test_runs_everything_or_what_is_named(course: Course) -> None:
    told = course.makes("test", "-x").splitlines()
    assert any(line.startswith("uv pip install") and line.endswith("-e .[test]") for line in told)
    assert told[-2].startswith("$ ") and "-m pytest --nbval" in told[-2]
    whole = json.loads(told[-1])
    assert whole["called"] == "pytest"
    assert whole["with"][-3:] == ["tests", "notebooks", "-x"]
    assert ("--nbval" if LINUX else "--nbval-lax") in whole["with"]
    some = course.called("test", "tests/test_it.py::test_it", FAKE_UV="fails")
    assert "notebooks" not in some["with"]
    # what the tests need is added to a learner's environment, and stays there
    course.makes(FAKE_UV="fails")


def test_tools_get_their_arguments(course: Course) -> None:
    assert course.makes("bench", "02", "-v").splitlines()[-1] == f"bench ['02', '-v'] {course.folder}"


def test_races_are_short_where_lessons_are_only_tried(course: Course) -> None:
    for name in ("refresh", "chaos", "steady", "bench", "soak"):
        course.write(f"tools/{name}.py", "import os\nprint(repr(os.environ.get('COURSE_QUICK')))\n")
    for name in ("refresh", "chaos", "steady"):
        assert course.makes(name).splitlines()[-1] == "'1'"
        assert course.makes(name, COURSE_QUICK="0").splitlines()[-1] == "'0'"
    assert course.called("test")["env"]["COURSE_QUICK"] == "1"
    # and whole for a learner, and in figures
    assert "COURSE_QUICK" not in course.called()["env"]
    for name in ("bench", "soak"):
        assert course.makes(name).splitlines()[-1] == "None"


def test_a_module_of_your_own_does_not_stand_in_for_a_standard_one(course: Course) -> None:
    for name in ("socket", "json", "subprocess", "select"):
        course.write(f"{name}.py", "raise SystemExit('the wrong module')\n")
    assert course.called()["called"] == "jupyterlab"


# ---------------------------------------------------------------- it has to be made again


def test_a_moved_folder(course: Course) -> None:
    course.makes()
    moved = course.folder.rename(course.folder.parent / "elsewhere")
    course.folder, course.venv = moved, moved / ".venv"
    assert "Making .venv anew: its folder is another one now." in course.makes().splitlines()


def test_another_python(course: Course) -> None:
    course.makes()
    stamp = course.venv / "course.json"
    stamp.write_text(stamp.read_text().replace(str(sys.implementation.cache_tag), "cpython-310"))
    assert "Making .venv anew: its Python is another one now." in course.makes().splitlines()
    settings = course.venv / "pyvenv.cfg"
    settings.write_text(settings.read_text() + "version = 3.10.0\n")
    assert "Making .venv anew: its pyvenv.cfg is another one now." in course.makes().splitlines()


def test_a_python_that_is_gone(course: Course) -> None:
    course.makes()
    for python in (course.venv / ("Scripts" if WINDOWS else "bin")).glob("python*"):
        python.unlink()
    assert "Making .venv anew: its Python is gone." in course.makes().splitlines()


def test_newest_versions_on_request(course: Course) -> None:
    course.makes()
    told = course.makes(COURSE_UNPINNED="1")
    assert "Making .venv anew: its choice of versions is another one now." in told.splitlines()
    assert "-c constraints.txt" not in told
    assert "-c constraints.txt" in course.makes()


def test_other_requirements_are_installed_into_the_same_environment(course: Course) -> None:
    course.makes()
    kept = course.venv / "kept"
    kept.touch()
    course.write("requirements.txt", "more\n")
    assert "uv pip install" in course.makes()
    assert kept.exists()
    assert "uv pip install" not in course.makes()


def test_an_environment_that_is_not_ours(course: Course) -> None:
    course.venv.mkdir()
    (course.venv / "pyvenv.cfg").touch()
    (course.venv / "foreign").touch()
    assert "Making .venv anew: it was not finished, or not made by run.py." in course.makes().splitlines()
    assert not (course.venv / "foreign").exists()


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_is_no_environment_is_left_alone(course: Course, kind: str) -> None:
    mine = course.home / "mine"
    if kind == "file":
        mine = course.venv
    else:
        mine.mkdir()
        if kind == "link":
            course.venv.symlink_to(mine, target_is_directory=True)
        else:
            mine = mine.rename(course.venv)
        mine = mine / "file"
    mine.write_text("mine")
    assert "move it" in course.refuses(clean=False)
    assert mine.read_text() == "mine"


# ---------------------------------------------------------------- it fails, in one sentence


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 6, 15), (3, 10, 13)])
def test_python_too_old(course: Course, version: tuple[int, int, int]) -> None:
    sentence = course.refuses(before=f"sys.version_info = {version}")
    assert f"needs Python 3.11 or newer, and this is Python {version[0]}.{version[1]}:" in sentence


def test_old_pythons_can_read_it() -> None:
    """A syntax error would come before the sentence. These are what Python 2.7 or 3.6 cannot read."""
    source = (ROOT / "run.py").read_bytes().decode("ascii")
    tree = ast.parse(source, feature_version=(3, 7))
    newer = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.Nonlocal, ast.AsyncFunctionDef, ast.Match)
    for node in ast.walk(tree):
        assert not isinstance(node, newer), ast.unparse(node)
        if isinstance(node, ast.FunctionDef):
            assert not (node.returns or node.args.kwonlyargs or node.args.posonlyargs), node.name
            assert not any(argument.annotation for argument in node.args.args), node.name
        elif isinstance(node, ast.List | ast.Tuple | ast.Set):
            assert not any(isinstance(element, ast.Starred) for element in node.elts), ast.unparse(node)
        elif isinstance(node, ast.Dict):
            assert None not in node.keys, ast.unparse(node)
        elif isinstance(node, ast.Raise):
            assert node.cause is None, ast.unparse(node)


@pytest.mark.parametrize("missing", ["venv", "ensurepip"])
def test_no_module_venv(course: Course, missing: str) -> None:
    sentence = course.refuses(before=f"sys.modules[{missing!r}] = None", FAKE_UV="broken")
    assert "sudo apt install python3-venv" in sentence


def test_a_venv_that_cannot_be_made(course: Course) -> None:
    python = course.command("python", f"import os; os.makedirs({str(course.venv / 'bin')!r}); raise SystemExit(1)")
    sentence = course.refuses(before=f"sys.executable = {str(python)!r}")
    assert "sudo apt install python3-venv" in sentence


def test_registry_away_at_the_first_start(course: Course) -> None:
    assert "see that the internet can be reached" in course.refuses(FAKE_UV="fails")
    assert course.called()["called"] == "jupyterlab"


def test_registry_away_later_leaves_what_was_there(course: Course) -> None:
    course.makes()
    course.write("requirements.txt", "more\n")
    assert "see that the internet can be reached" in course.refuses(FAKE_UV="fails", clean=False)
    course.write("requirements.txt", "# nothing\n")
    assert len(course.makes(FAKE_UV="fails").splitlines()) == 1


def test_registry_away_with_pip(course: Course) -> None:
    course.write("requirements.txt", "jupyterlab\n")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and no listen: a call to this port is refused
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}/simple"
        sentence = course.refuses(FAKE_UV="broken", PIP_INDEX_URL=address, PIP_RETRIES="0", PIP_CONFIG_FILE=os.devnull)
    assert "see that the internet can be reached" in sentence


def test_killed_half_way(course: Course) -> None:
    with course.start() as process:
        process.kill()
        process.communicate()  # ends the stand-in for uv too
    assert course.venv.exists()
    assert "Making .venv anew: it was not finished, or not made by run.py." in course.makes().splitlines()


@pytest.mark.skipif(WINDOWS, reason="a console of its own would be needed to send Ctrl-C")
def test_stopped_half_way(course: Course) -> None:
    with course.start() as process:
        os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate()
    assert process.returncode == 1
    assert told == "Stopped: start run.py again whenever you like.\n"
    assert not course.venv.exists()


@pytest.mark.skipif(WINDOWS, reason="there is no lock there")
def test_two_at_a_time(course: Course) -> None:
    with course.start() as first:
        line = [sys.executable, str(course.folder / "run.py")]
        with subprocess.Popen(
            line, env=course.environment(FAKE_UV="fails"), stdout=subprocess.PIPE, text=True
        ) as second:
            assert second.stdout
            assert second.stdout.readline().startswith("Another run.py is installing into this folder")
            first.communicate()
            assert json.loads(second.stdout.read())["called"] == "jupyterlab"
    assert (first.returncode, second.returncode) == (0, 0)


def test_disk_full(course: Course) -> None:
    sentence = course.refuses(
        before="import shutil; import types; shutil.disk_usage = lambda path: types.SimpleNamespace(free=9 << 20)"
    )
    assert "9 MB left: make room for 400 MB" in sentence


@pytest.mark.skipif(WINDOWS, reason="a folder's read-only mark has no effect there")
def test_read_only_folder(course: Course) -> None:
    # root may write everywhere, unless it gives that right (CAP_DAC_OVERRIDE, 1) away for the next program
    give_away = "import ctypes; ctypes.CDLL(None).prctl(24, 1, 0, 0, 0); "
    start_again = f"os.execv({sys.executable!r}, [{sys.executable!r}] + sys.argv)"
    course.folder.chmod(0o555)
    try:
        sentence = course.refuses(before=give_away + start_again if ROOT_USER else "")
    finally:
        course.folder.chmod(0o755)
    assert "read-only: copy it to a place where you may write" in sentence


def test_an_incomplete_copy(course: Course) -> None:
    (course.folder / "constraints.txt").unlink()
    assert "constraints.txt" in course.refuses()


# ---------------------------------------------------------------- the files that it reads


def test_constraints_hold_exact_versions_and_nothing_of_a_machine() -> None:
    header, *lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split("\n", 2)
    pinned: dict[str, list[str]] = {}
    for line in lines[-1].splitlines():
        match = re.fullmatch(r"([a-z0-9-]+)==([0-9][a-z0-9.]*)( ; [^/@]+)?", line)
        assert match, line
        pinned.setdefault(match[1], []).append(match[2])
    assert header.startswith("#") and "uv pip compile --universal --python-version 3.11" in lines[0]

    asked = [
        line for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines() if line[0] not in "#-"
    ]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for requirement in map(Requirement, asked + project["optional-dependencies"]["test"]):
        assert any(requirement.specifier.contains(version) for version in pinned[requirement.name]), requirement
