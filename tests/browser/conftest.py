"""JupyterLab, started as a learner starts it, and a real Chromium in front of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

COURSE = Path(__file__).resolve().parent.parent.parent
PATIENCE = 60  # seconds; Lab's first start on a busy machine
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def chromium(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A browser; without one the tests are skipped aloud, or fail with --require-browser."""
    missing = None if CHROMIUM else "there is no Chromium on this machine: the browser tests have not run"
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing = "playwright is not installed: the browser tests have not run"
    if missing:
        if request.config.getoption("--require-browser"):
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """`python3 run.py`, as in the README, on a free port: its address and token."""
    runtime = tmp_path_factory.mktemp("runtime")
    # A client goes on dialling a kernel that has ended, and the system may have given its port to a lesson's listener.
    private = ["--KernelManager.transport=ipc"] if sys.platform == "linux" else []
    log = (runtime / "lab.log").open("w")
    process = subprocess.Popen(
        [sys.executable, COURSE / "run.py", "--no-browser", "--port=0", "--expose-app-in-browser", *private],
        env={**os.environ, "JUPYTER_RUNTIME_DIR": str(runtime), "JUPYTER_CONFIG_DIR": str(runtime / "config")},
        stdout=log,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
    )
    try:
        yield _when_up(process, runtime)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)
        log.close()


def _when_up(process: subprocess.Popen[bytes], runtime: Path) -> dict[str, str]:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        for found in runtime.glob("jpserver-*.json"):
            try:
                server = json.loads(found.read_text())
            except ValueError:  # it is being written
                continue
            return {"url": server["url"], "token": server["token"]}
        time.sleep(0.1)
    pytest.fail("JupyterLab did not start: " + (runtime / "lab.log").read_text()[-2000:])


@pytest.fixture(params=["light"])
def page(request: pytest.FixtureRequest, chromium: Any, lab: dict[str, str]) -> Iterator[Any]:
    """A new window of the browser; requests off this machine and errors in the console are kept on it."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    window = context.new_page()
    window.strangers, window.complaints = [], []

    def look_at(asked: Any) -> None:
        if not asked.url.startswith((lab["url"], lab["url"].replace("localhost", "127.0.0.1"), "data:", "blob:", "ws")):
            window.strangers.append(asked.url)

    window.on("request", look_at)
    window.on("console", lambda said: window.complaints.append(said.text) if said.type == "error" else None)
    window.on("pageerror", lambda error: window.complaints.append(str(error)))
    yield window
    context.close()
