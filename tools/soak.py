"""`python3 run.py soak [--minutes M]`: does the memory of the kernel and of the page stay flat beside a switchboard?

JupyterLab in a headless Chromium, a server in the background that echoes, and its switchboard, whose buttons are
pressed all the time: up to 20 callers dial, speak, keep silent, hang up and reset.  Memory is sampled meanwhile.
The record of calls, which grows until it is full (see `helpers.recording`), is made small here, and full first.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from time import monotonic
from typing import Any

import psutil

from tests.browser.lab import CHROMIUM, FLAGS, Board, Lesson, jupyterlab, scratch_notebook

CALLERS, KEPT = 20, 600  #: on the line at a time; events that the record keeps
EVERY, PAUSE = 5.0, 0.15  #: seconds between two samples, and between two buttons
MOST = 60.0  #: minutes that it may go on for
BOUNDS = {"kernel": 2.0, "page": 2.0, "nodes": 300.0}  #: by how much the last third may be above the first
UNITS = {"kernel": "MB", "page": "MB", "nodes": "nodes"}
CELLS = {
    "serve": f"""import threading
from helpers import callers, recording, serving
recording.KEPT_EVENTS = {KEPT}
def echo(transfer):
    with transfer:
        try:
            while data := transfer.recv(4096):
                transfer.sendall(data)
        except ConnectionError:
            pass
def serve(listener):
    while True:
        transfer, caller = listener.accept()
        threading.Thread(target=echo, args=[transfer], daemon=True).start()
server = serving(serve)""",
    "board": "board = server.switchboard()\nboard",
}
ACTS = {"say": 10, "hang up": 3, "reset": 2, "dial": 4, "silent": 1}  #: what is pressed, and how often
PRESS = """([act, chance]) => {
    const cards = [...document.querySelectorAll('.sb-callers .sb-card:not(.sb-closed)')];
    cards[Math.floor(chance * cards.length)]?.click();
    document.querySelector(`.sb-do[data-do="${act}"]`).click();
}"""


@dataclass(frozen=True)
class Sample:
    """What was in use at one moment: megabytes of the kernel and of the page's JavaScript, and the page's nodes."""

    kernel: float
    page: float
    nodes: float


class Soak:
    """A switchboard whose buttons are pressed."""

    def __init__(self, lesson: Lesson) -> None:
        self.lesson, self.page, self.acts, self.random = lesson, lesson.page, 0, random.Random(1)
        for cell in CELLS:
            lesson.run(cell)
        self.place = lesson.show("board").locator(".sb")
        Board(lesson, self.place).says("waits in accept()")
        self.kernel = psutil.Process(int(lesson.asks("__import__('os').getpid()")))
        self.developer = self.page.context.new_cdp_session(self.page)
        self.developer.send("Performance.enable")

    def on_the_line(self) -> int:
        """How many callers there are now."""
        return int(self.lesson.asks("sum(caller.is_on_the_line for caller in callers.known().values())"))

    def press(self) -> None:
        """One button, for one caller."""
        there = self.on_the_line()
        (act,) = self.random.choices(list(ACTS), list(ACTS.values()))
        if there < CALLERS // 2:
            act = "dial"
        elif there >= CALLERS and act in ("dial", "silent"):
            act = "hang up"
        self.page.evaluate(PRESS, [act, self.random.random()])
        self.acts += 1
        self.page.wait_for_timeout(PAUSE * 1000)

    def fill_the_record(self) -> None:
        """Until the record drops its oldest calls, for each new one."""
        until = monotonic() + 120
        while monotonic() < until and self.lesson.asks("board._recording.dropped > 0") != "True":
            self.press()

    def sample(self) -> Sample:
        """After a collection of what nobody uses, in both."""
        self.lesson.asks("__import__('gc').collect()")
        self.developer.send("HeapProfiler.collectGarbage")
        told = {each["name"]: each["value"] for each in self.developer.send("Performance.getMetrics")["metrics"]}
        return Sample(self.kernel.memory_full_info().uss / 1e6, told["JSHeapUsedSize"] / 1e6, told["Nodes"])

    def run(self, seconds: float) -> list[Sample]:
        """Press buttons for so long."""
        began, samples = monotonic(), list[Sample]()
        while (now := monotonic() - began) < seconds:
            if now >= len(samples) * EVERY:
                samples.append(self.sample())
                print(f"{now:6.0f} s  {self.acts:5} buttons  {_words(samples[-1])}", flush=True)
            self.press()
        return samples


def _words(sample: Sample) -> str:
    return f"kernel {sample.kernel:7.2f} MB   page {sample.page:6.2f} MB   {sample.nodes:6.0f} nodes"


def grew(samples: Sequence[Sample]) -> dict[str, tuple[float, float]]:
    """Of each kind of memory: its mean in the first third, and in the last."""
    third = max(1, len(samples) // 3)
    parts = samples[:third], samples[-third:]
    first, last = ([[getattr(each, kind) for each in part] for kind in BOUNDS] for part in parts)
    return {kind: (fmean(one), fmean(other)) for kind, one, other in zip(BOUNDS, first, last, strict=True)}


def verdict(samples: Sequence[Sample]) -> int:
    """Say of each whether it stayed flat; 1 if one did not."""
    bad = 0
    for kind, (first, last) in grew(samples).items():
        flat = last - first <= BOUNDS[kind]
        bad += not flat
        print(
            f"{kind:6}: {first:.2f} in the first third, {last:.2f} in the last: {last - first:+.2f} {UNITS[kind]}, "
            f"{'flat' if flat else 'NOT FLAT'} (bound: {BOUNDS[kind]:g} {UNITS[kind]})"
        )
    return 1 if bad else 0


def minutes(text: str) -> float:
    """An argument: more than none, and at most an hour."""
    value = float(text)
    if not 0 < value <= MOST:
        raise argparse.ArgumentTypeError(f"between 0 and {MOST:g}")
    return value


def soak(seconds: float) -> list[Sample]:
    """The whole of it, for so long."""
    from playwright.sync_api import sync_playwright

    with (
        tempfile.TemporaryDirectory() as runtime,
        jupyterlab(Path(runtime)) as lab,
        scratch_notebook(CELLS) as path,
        sync_playwright() as playwright,
    ):
        browser: Any = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        folder, _, name = path.rpartition("/")
        lesson = Lesson(browser.new_page(viewport={"width": 1280, "height": 1000}), lab, name, folder)
        try:
            running = Soak(lesson)
            running.fill_the_record()
            samples = running.run(seconds)
            told = lesson.asks("(board.updates, callers._count[0], board._thread.is_alive())")
            print(f"(updates, callers, is it still watching) = {told}")
        finally:
            lesson.shut_down()
            browser.close()
    return samples


def main(arguments: Sequence[str]) -> int:
    """Soak for as long as is said; 0 if memory stayed flat."""
    parser = argparse.ArgumentParser(prog="python3 run.py soak", description="Memory beside a busy switchboard.")
    parser.add_argument("--minutes", type=minutes, default=10.0, help=f"how long, at most {MOST:g} (default: 10)")
    told = parser.parse_args(arguments)
    if CHROMIUM is None:
        print("There is no Chromium on this machine: install it, and start this again.")
        return 1
    return verdict(soak(told.minutes * 60))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
