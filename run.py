#!/usr/bin/env python3
"""Sets the course up in the folder .venv, if that is still to be done, and then:

    python3 run.py                     opens it in JupyterLab; options go on to JupyterLab, such as --no-browser
    python3 run.py NOTEBOOK.ipynb      opens it at that notebook
    python3 run.py test [...]          runs all tests, or those that the arguments, which are pytest's, name
    python3 run.py refresh [LESSON..]  runs lessons and stores their outputs
    python3 run.py chaos [LESSON..]    runs the cells of lessons twice in a row and in random orders
    python3 run.py steady              runs the lessons' tests many times over, also under load
    python3 run.py bench               measures
    python3 run.py soak                watches memory beside a busy switchboard, for ten minutes
    python3 run.py help                prints this

COURSE_UNPINNED=1 in the environment installs the newest versions instead of the tested ones in constraints.txt.
COURSE_QUICK=1 makes the races of lesson 11 short; test, refresh, chaos and steady do that unless it is 0.
"""

import sys

# Old Pythons must be able to read this whole file to come as far as here: no f-strings, no annotations.
if sys.version_info < (3, 11):
    sys.exit(
        "This course needs Python 3.11 or newer, and this is Python %d.%d: install a newer one from your system's "
        "packages or from python.org, and start run.py with that." % sys.version_info[:2]
    )

import os

# A file of your own beside this one may be called socket.py or json.py: it is not to be imported here.
ROOT = os.path.dirname(os.path.realpath(__file__))
sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) != ROOT]

import hashlib
import json
import shlex
import shutil
import signal
import subprocess
import urllib.parse

WINDOWS = os.name == "nt"
VENV = os.path.join(ROOT, ".venv")
BIN = os.path.join(VENV, "Scripts" if WINDOWS else "bin")
PYTHON = os.path.join(BIN, "python.exe" if WINDOWS else "python")
STAMP = os.path.join(VENV, "course.json")  # how .venv was made and, written last, what is installed in it
DELETED = os.path.join(ROOT, ".venv-being-deleted")
UNPINNED = os.environ.get("COURSE_UNPINNED", "0") not in ("", "0")
MEGABYTES = {"course": 400, "test": 700}  # what must be free on the disk before an installation starts
TOOLS = ("refresh", "chaos", "steady", "bench", "soak")
QUICK = ("test", "refresh", "chaos", "steady")  # they run lessons to see that these work: so races are short in them


class Failure(Exception):
    """What went wrong and what to do about it, in one sentence."""


def main(words):
    command, arguments = "lab", words
    if words and words[0] in ("help", "-h", "--help"):
        return say(__doc__.strip())
    if words and not words[0].startswith("-") and not words[0].endswith(".ipynb"):
        command, arguments = words[0], words[1:]
    if command == "lab":
        line = lab_line(arguments)
    elif command == "test":
        line = test_line(arguments)
    elif command in TOOLS:
        line = ["-m", "tools." + command] + arguments
    else:
        raise Failure("There is no command %r, but there are test, %s and help." % (command, ", ".join(TOOLS)))
    set_up("course" if command == "lab" else "test")
    if command != "lab":
        say("$ " + shlex.join([os.path.relpath(PYTHON, ROOT)] + line))
    if command in QUICK:
        os.environ.setdefault("COURSE_QUICK", "1")
    return hand_over([PYTHON] + line)


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


# ---------------------------------------------------------------- the commands


def lab_line(arguments):
    """JupyterLab on the whole folder with one notebook open, which is the address that Lab opens or prints."""
    page = os.path.join(ROOT, "notebooks", "00_start_here.ipynb")
    if arguments and arguments[0].endswith(".ipynb"):
        page, arguments = os.path.realpath(arguments[0]), arguments[1:]
        if not os.path.isfile(page) or not page.startswith(ROOT + os.sep):
            raise Failure("There is no notebook %s in this course: look into the folder notebooks." % page)
    address = urllib.parse.quote(os.path.relpath(page, ROOT).replace(os.sep, "/"))
    # -P, so that a socket.py of your own in this folder does not stand in for the standard module
    line = ["-P", "-m", "jupyterlab", "--ServerApp.root_dir=" + ROOT, "--LabApp.default_url=/lab/tree/" + address]
    # lessons open without their stored outputs
    line.append("--ServerApp.contents_manager_class=helpers.fresh_lessons.FreshLessons")
    if not WINDOWS and os.geteuid() == 0:
        line.append("--allow-root")
    if sys.platform.startswith("linux") and not any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))):
        line.append("--no-browser")
    return line + arguments


def test_line(arguments):
    """pytest with nbval, which on Linux compares the stored outputs and elsewhere runs every cell for errors."""
    line = ["-m", "pytest", "--nbval" if sys.platform.startswith("linux") else "--nbval-lax", "--nbval-current-env"]
    line += ["--nbval-cell-timeout=30", "--nbval-sanitize-with=tests/sanitize.cfg"]
    paths = [word.partition("::")[0] for word in arguments]
    if not any(os.path.exists(os.path.join(ROOT, path)) for path in paths):
        # Four files at a time (most tests wait), but each in one process: the cells of a notebook share a kernel.
        line += ["-n", "4", "--dist=loadfile", "tests", "notebooks"]
    return line + arguments


def hand_over(line):
    """Runs the line in the course's own environment, in the place of this program where the system can do that."""
    jupyter = os.path.join(VENV, "share", "jupyter")
    environment = clean_environment(
        VIRTUAL_ENV=VENV,
        PATH=os.pathsep.join([BIN, os.environ.get("PATH", os.defpath)]),
        # The kernel "python3" is the course's own, even if there is another of that name in the home folder.
        JUPYTER_PATH=os.pathsep.join(filter(None, [jupyter, os.environ.get("JUPYTER_PATH")])),
        JUPYTER_PREFER_ENV_PATH="1",
    )
    os.chdir(ROOT)
    if not WINDOWS:
        os.execve(line[0], line, environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the other program, which gets it too
    return subprocess.call(line, env=environment)


def clean_environment(**more):
    """The environment without what brings other packages in, puts ours elsewhere, or makes every start slower."""
    foreign = ("PYTHONHOME", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "JUPYTERLAB_DIR", "PIP_TARGET", "PIP_PREFIX")
    kept = {name: value for name, value in os.environ.items() if name not in foreign}
    return dict(kept, PIP_USER="0", **more)


# ---------------------------------------------------------------- setting up


def set_up(part):
    """Installs the part, "course" or "test", unless the stamp says that it is there."""
    if not os.access(ROOT, os.W_OK):
        raise Failure("This folder is read-only: copy it to a place where you may write, and start run.py there.")
    if is_ready(part):
        return
    with open(__file__, "rb") as lock:
        wait_for_others(lock)
        if not is_ready(part):
            install(part)


def is_ready(part):
    return why_anew() is None and read_stamp()["installed"].get(part) == wanted_packages()


def why_anew():
    """Why .venv is of no use as it is, or None."""
    stamp = read_stamp() or {}
    if not stamp.get("installed"):
        return "it was not finished, or not made by run.py"
    for name, value in circumstances().items():
        if stamp.get(name) != value:
            return "its %s is another one now" % name
    return None if os.path.exists(PYTHON) else "its Python is gone"


def install(part):
    """Makes .venv if need be, then installs. Until all is complete the stamp says nothing of installed packages."""
    why, before, packages = why_anew(), read_stamp(), wanted_packages()
    disk_must_hold(MEGABYTES[part])
    uv = shutil.which("uv")
    if uv and subprocess.call([uv, "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) != 0:
        uv = None
    if why and os.path.lexists(VENV):
        must_be_venv()
        say("Making .venv anew: %s." % why)
        delete_venv()
    say("Installing into .venv with %s: once, and it may take a minute or two ..." % ("uv" if uv else "pip"))
    try:
        if why:
            make_venv(with_pip=not uv)
        write_stamp(circumstances())
        # pip is there with uv too, for %pip in a notebook.
        pip = [PYTHON, "-P", "-m", "pip", "--disable-pip-version-check", "install"]
        line = [uv, "pip", "install", "--python", PYTHON, "--compile-bytecode", "pip"] if uv else pip
        line += ["-r", "requirements.txt"] + ([] if UNPINNED else ["-c", "constraints.txt"])
        if call(line + (["-e", ".[test]"] if part == "test" else [])) != 0:
            disk_must_hold(50)
            if not why:
                write_stamp(before)  # pip and uv change nothing before all is fetched
            raise Failure(
                "The packages could not be installed, for the reason above: see that the internet can be reached, "
                "and start run.py again."
            )
        no_news()
        installed = dict({} if why else before["installed"], course=packages)
        installed[part] = packages
        write_stamp(dict(circumstances(), installed=installed))
    except BaseException:
        if why:
            delete_venv()
        raise


def make_venv(with_pip):
    try:
        import venv  # noqa: F401

        if with_pip:
            import ensurepip  # noqa: F401
        failed = call([sys.executable, "-P", "-m", "venv", VENV] + ([] if with_pip else ["--without-pip"]))
    except ImportError:  # Debian has these two in a package of their own
        failed = True
    if failed:
        disk_must_hold(50)
        raise Failure(
            "This Python cannot make a virtual environment: on Debian or Ubuntu do sudo apt install python3-venv, "
            "elsewhere install Python from python.org, and start run.py again."
        )


def no_news():
    """JupyterLab would ask at its first start whether it may fetch news. In a course it need not ask."""
    folder = os.path.join(VENV, "share", "jupyter", "lab", "settings")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "overrides.json"), "w") as file:
        news = {"checkForUpdates": False, "fetchNews": "false"}
        json.dump({"@jupyterlab/apputils-extension:notification": news}, file)


def call(line):
    # The lock of wait_for_others goes on to the installer: it holds for as long as anything still installs.
    return subprocess.call(line, cwd=ROOT, env=clean_environment(), close_fds=False)


def wait_for_others(lock):
    """Two that install into one folder at the same time would spoil it."""
    try:
        import fcntl
    except ImportError:
        return  # Windows keeps files that are in use from being replaced
    os.set_inheritable(lock.fileno(), True)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("Another run.py is installing into this folder: waiting for it ...")
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:
        pass  # a file system without locks


def must_be_venv():
    """What is deleted was certainly made by Python's venv: it writes pyvenv.cfg before any other file."""
    ours = os.path.exists(os.path.join(VENV, "pyvenv.cfg")) or not any(files for _, _, files in os.walk(VENV))
    if os.path.islink(VENV) or not os.path.isdir(VENV) or not ours:
        raise Failure(".venv is not a virtual environment: move it to another place, and start run.py again.")


def delete_venv():
    """Out of the way in one step first, so that breaking off leaves no half of it."""
    shutil.rmtree(DELETED, ignore_errors=True)
    if os.path.lexists(VENV):
        os.rename(VENV, DELETED)
        shutil.rmtree(DELETED, ignore_errors=True)


def disk_must_hold(megabytes):
    free = shutil.disk_usage(ROOT).free >> 20
    if free < megabytes:
        need = max(megabytes, MEGABYTES["course"])
        raise Failure("The disk has %d MB left: make room for %d MB, and start run.py again." % (free, need))


# ---------------------------------------------------------------- the stamp


def circumstances():
    """What .venv depends on. base_prefix is the same for a Python and for the environments that it makes."""
    try:
        settings = read(os.path.join(VENV, "pyvenv.cfg"))
    except OSError:
        settings = None
    python = [sys.implementation.cache_tag, sys.base_prefix]
    return {"Python": python, "folder": ROOT, "choice of versions": UNPINNED, "pyvenv.cfg": settings}


def wanted_packages():
    names = ("requirements.txt", "constraints.txt", "pyproject.toml")
    return hashlib.sha256("\0".join(read(os.path.join(ROOT, name)) for name in names).encode()).hexdigest()


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def read_stamp():
    try:
        return json.loads(read(STAMP))
    except (OSError, ValueError):
        return None


def write_stamp(stamp):
    with open(STAMP + ".new", "w") as file:
        json.dump(stamp, file, indent=1)
    os.replace(STAMP + ".new", STAMP)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("Stopped: start run.py again whenever you like.")
    except Failure as failure:
        sys.exit(str(failure))
    except OSError as error:
        sys.exit(
            "Setting up failed with %s: close JupyterLab if it is running, mend that or get the course anew, and start "
            "run.py again." % error
        )
