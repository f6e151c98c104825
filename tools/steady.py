"""`python3 run.py steady`: compare the lessons' outputs many times over, alone and with busy processes beside.

Each run is what `python3 run.py test notebooks` does.  A lesson whose outputs differ once in a while is found here.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from tools.notebooks import ROOT, SANITIZE, lessons

COMPARE = "--nbval" if sys.platform.startswith("linux") else "--nbval-lax"  #: as `run.py test`
PYTEST = [sys.executable, "-m", "pytest", COMPARE, "--nbval-current-env", "--nbval-cell-timeout=30"]
PYTEST += ["-q", "--tb=short", "--color=no", "-p", "no:cacheprovider"]
BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    sum(range(100_000))"  #: ends with us


def run(paths: Sequence[Path]) -> tuple[list[str], float]:
    """One run: which cells failed, and the seconds that it took."""
    sanitize = [f"--nbval-sanitize-with={SANITIZE}"] if SANITIZE.exists() else []
    workers = ["-n2", "--dist=loadfile"] if len(paths) > 1 else []
    began = perf_counter()
    done = subprocess.run([*PYTEST, *sanitize, *workers, *map(str, paths)], cwd=ROOT, capture_output=True, text=True)
    seconds = perf_counter() - began
    failed = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", done.stdout, flags=re.M)
    if done.returncode not in (0, 1):
        failed = failed or [f"pytest ended with status {done.returncode}"]
    if failed:
        print(done.stdout[-8000:], done.stderr[-2000:], flush=True)
    return failed, seconds


@contextmanager
def busy(count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """`count` processes that compute all the time, until the end of the `with`."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main(arguments: Sequence[str]) -> int:
    """Run the lessons that are named, or all, again and again; 0 if nothing ever differed."""
    parser = argparse.ArgumentParser(prog="python3 run.py steady", description="Compare outputs many times over.")
    parser.add_argument("lesson", nargs="*", help="01, 01_make_a_call or a path; all if none is named")
    parser.add_argument("--times", type=int, default=10, help="how often, alone and again under load (default: 10)")
    parser.add_argument("--busy", type=int, default=4, help="how many busy processes are the load (default: 4)")
    told = parser.parse_args(arguments)
    try:
        paths = lessons(told.lesson)
    except LookupError as problem:
        parser.error(str(problem))
    rows, every = [], list[str]()
    for beside in (0, told.busy):
        with busy(beside):
            runs = []
            for number in range(1, told.times + 1):
                failed, seconds = run(paths)
                runs.append((failed, seconds))
                outcome = ", ".join(failed) or "as stored"
                print(f"run {number} with {beside} busy processes: {outcome}, {seconds:.1f} s", flush=True)
        times = [seconds for _, seconds in runs]
        every += [cell for failed, _ in runs for cell in failed]
        bad = sum(bool(failed) for failed, _ in runs)
        rows.append((beside, len(runs), bad, statistics.median(times), max(times)))
    print(f"\n{'busy processes':>14} {'runs':>6} {'differed':>9} {'median':>9} {'longest':>9}")
    for beside, count, bad, median, longest in rows:
        print(f"{beside:>14} {count:>6} {bad:>9} {median:>7.1f} s {longest:>7.1f} s")
    for cell in sorted(set(every)):
        print(f"differed {every.count(cell)} times: {cell}")
    return 1 if every else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
