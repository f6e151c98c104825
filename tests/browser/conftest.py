"""JupyterLab, started as a learner starts it, and a real Chromium in front of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from lab import CHROMIUM, FLAGS, PATIENCE, jupyterlab

collect_ignore = ["pictures", "scratch"]  # what these tests leave, or left when they were killed


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
    with jupyterlab(tmp_path_factory.mktemp("runtime")) as found:
        yield found


@pytest.fixture
def page(chromium: Any, lab: dict[str, str]) -> Iterator[Any]:
    """A new window of the browser; requests off this machine and errors in the console are kept on it."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    window = context.new_page()
    window.set_default_timeout(PATIENCE * 1000)
    window.strangers, window.complaints = [], []

    def look_at(asked: Any) -> None:
        if not asked.url.startswith((lab["url"], lab["url"].replace("localhost", "127.0.0.1"), "data:", "blob:", "ws")):
            window.strangers.append(asked.url)

    def complains(said: Any) -> bool:
        """Is it an error, and not jupyter_server's own, whose list of kernels fails while one of them is starting?"""
        list_failed = " 500 " in said.text and said.location["url"].startswith(f"{lab['url']}api/kernels?")
        return said.type == "error" and not list_failed

    window.on("request", look_at)
    window.on("console", lambda said: window.complaints.append(said.text) if complains(said) else None)
    window.on("pageerror", lambda error: window.complaints.append(str(error)))
    yield window
    context.close()
