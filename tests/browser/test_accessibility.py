"""What axe-core finds wrong with what our cells show: the switchboard, a prediction, diagrams and tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

import pytest
from lab import Board, Lesson, scratch_notebook

pytestmark = pytest.mark.browser
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
ALLOWED = {"minor"}  # impacts that a finding may have
CELLS = {
    "stage": "from helpers import Stage, callers, predict, select, serving, socket\n"
    "from helpers.claims import Claims\nstage = Stage('server', 'client')",
    "board": "stage.switchboard()",
    "listen": "%%server\nlistener = socket.create_server(('127.0.0.1', 0), backlog=1)\n"
    "host, port = listener.getsockname()\nprint('listens')",
    "accept": "%%server\ntransfer, caller = listener.accept()\ntransfer.sendall(b'you are through')\n"
    "print(transfer.recv(99))\ntransfer.recv(99)",
    "listen-long": "%%server\nlistener = socket.create_server(('127.0.0.1', 0), backlog=50)\n"
    "host, port = listener.getsockname()",
    "accept-many": "%%server\ntransfers = [listener.accept()[0] for _ in range(30)]",
    "close": "stage.close()",
    "predict": "predict('Which port has the new socket?', 'the same one', 'a new one', 'none')",
    "diagram": "stage.diagram(asides=True)",
    "sockets": "stage.sockets()",
    "states": "stage.states()",
    "queue": "stage.queue()",
    "claims": "claims = Claims()\n"
    "claims.check('accept() gives a new socket', 'holds', 'accept(2)', True, 'two descriptors')\nclaims",
}
TABLES = ("predict", "sockets", "claims")
PICTURES = ("diagram", "states", "queue", "board")
RUN = """async ([scope, bare]) => {
    document.body.classList.toggle('bare', bare);
    return await axe.run({include: [[scope]]});
}"""
Check = Callable[..., None]


@pytest.fixture(params=["Light", "Dark"])
def theme(request: pytest.FixtureRequest) -> str:
    theme: str = request.param
    return theme


@pytest.fixture
def lesson(page: Any, lab: dict[str, str], theme: str) -> Iterator[Lesson]:
    """A notebook of the cells above, in this theme; the first has run."""
    page.emulate_media(reduced_motion="reduce")  # a card that is just fading in has the contrast of no card
    page.set_viewport_size({"width": 1280, "height": 1600})
    with scratch_notebook(CELLS) as path:
        folder, _, name = path.rpartition("/")
        lesson = Lesson(page, lab, name, folder)
        lesson.widen()
        lesson.theme(theme)
        lesson.run("stage")
        yield lesson
        lesson.shut_down()


@pytest.fixture
def check(lesson: Lesson, theme: str) -> Check:
    """Fails with what axe-core finds in the elements of this selector."""
    page = lesson.page

    def check(scope: str, certain: bool = True) -> None:
        assert page.locator(scope).count()
        assert told_by_axe(page, scope, certain) == [], f"in {scope}, {theme}"

    return check


def told_by_axe(page: Any, scope: str, certain: bool = True) -> list[str]:
    """Its findings; where they are to be `certain`, also each contrast that it can't judge."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE)
        # JupyterLab's body has no height, and hides what is beyond it: axe would take all text for hidden, and pass it
        over = ".bare .sb-labels, .bare .sb-wires, .bare .jp-OutputArea-promptOverlay"
        page.add_style_tag(content=f"body {{ height: 100vh; }} {over} {{ display: none; }}")
    with_wires = page.evaluate(RUN, [scope, False])
    told = page.evaluate(RUN, [scope, True])  # what lies below another layer, axe can't judge
    undecided = [found for found in told["incomplete"] if found["id"] == "color-contrast"]
    assert any(found["id"] == "color-contrast" for found in told["passes"] + told["violations"] + undecided)
    return [
        f"{found['impact']}: {found['id']}: {found['help']}: {node['html'][:200]}: {node['failureSummary']}"
        for found in with_wires["violations"] + told["violations"] + undecided * certain
        for node in found["nodes"]
        if found["impact"] not in ALLOWED and "too short" not in node["failureSummary"]
    ]


def board_of(lesson: Lesson) -> Board:
    return Board(lesson, lesson.show("board").locator(".sb"))


def test_switchboard(lesson: Lesson, check: Check) -> None:
    lesson.run("board")
    board_of(lesson)
    check(".sb")
    lesson.run("listen")
    lesson.run("accept")
    board = board_of(lesson)
    board.press("Dial")
    board.card("caller 1", "accepted")
    board.press("Say a line")
    board.card("caller 1", "sent 19 bytes")
    for button in ("Dial", "Dial, silent", "Dial", "Dial"):
        board.press(button)
    board.card("caller 3", "silent")
    board.card("caller 5", "knocks")
    check(".sb")
    lesson.picture("axe_switchboard")
    board.card("caller 1").click()
    board.press("Hang up rudely")
    board.card("caller 1", "reset")
    board.card("caller 5").click()
    board.press("Hang up")
    board.card("caller 5", "closed")
    check(".sb")
    lesson.run("close")
    board = board_of(lesson)
    board.says("The stage is over")
    check(".sb")


def test_switchboard_with_forty_callers(lesson: Lesson, check: Check) -> None:
    for cell in ("board", "listen-long", "accept-many"):
        lesson.run(cell)
    board = board_of(lesson)
    for _ in range(4):
        board.press("Ten more")
    board.card("30 sockets", "accepted")
    board.says("grouped")
    check(".sb")


def test_what_cells_write(lesson: Lesson, check: Check) -> None:
    for cell in ("listen", "accept", *TABLES):
        lesson.run(cell)
    assert lesson.errors() == []
    for cell in ("listen", *TABLES):
        index = lesson.show(cell).get_attribute("data-windowed-list-index")
        # (a table's caption, and what is set back by opacity, it can't judge)
        check(f'.jp-Notebook .jp-Cell[data-windowed-list-index="{index}"] .jp-OutputArea-output', certain=False)


def test_pictures(lesson: Lesson, chromium: Any) -> None:
    """JupyterLab shows them as an <img> of its own, without words; wherever they stand in a page, they have some."""
    for cell in ("listen", *PICTURES):
        lesson.run(cell)
    assert lesson.errors() == []
    page = chromium.new_page()
    for cell in PICTURES:
        (svg,) = (out["data"]["image/svg+xml"] for out in lesson.outputs(cell) if "image/svg+xml" in out["data"])
        page.set_content(f"<html lang='en'><title>A lesson</title><main><h1>A lesson</h1>{svg}</main>")
        assert told_by_axe(page, "main", certain=False) == []
        page.set_content(f"<html lang='en'><title>A lesson</title><main>{svg}</main>")
        page.evaluate("document.querySelectorAll('title, desc').forEach(words => words.remove())")
        assert any("svg-img-alt" in found for found in told_by_axe(page, "main", certain=False))
    page.close()


def test_axe_finds_what_is_too_pale(lesson: Lesson) -> None:
    lesson.run("board")
    board_of(lesson)
    lesson.page.add_style_tag(content=".sb .sb-head { color: #888 !important; background: #777; }")
    assert any(found.startswith("serious: color-contrast") for found in told_by_axe(lesson.page, ".sb"))
