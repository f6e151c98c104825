"""The switchboard in JupyterLab: each button by mouse and by keyboard, and what the system's table says afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from lab import Board, Lesson, scratch_notebook

pytestmark = pytest.mark.browser
CELLS = {
    "stage": "from helpers import Stage, callers, socket\nstage = Stage('server', 'client')",
    "listen": "%%server\nlistener = socket.create_server(('127.0.0.1', 0), backlog=1)\n"
    "host, port = listener.getsockname()",
    "board": "stage.switchboard()",
    "accept": "%%server\ntransfer, caller = listener.accept()\nprint('got', transfer.recv(99))\n"
    "transfer.sendall(b'you are through')\ntransfer.recv(99)",
    "evil": "callers.silent((host, port), b'<img src=x onerror=\"window.harmed = 1\">'"
    " + b'<script>window.harmed = 1</script>' + b'\\xff\\x1b[2J' + b'A' * 1_000_000)\n_ = 0",
    "close": "stage.close()",
}
KEYS = {"mouse": None, "Enter": "Enter", "Space": "Space"}


@pytest.fixture
def lesson(page: Any, lab: dict[str, str]) -> Iterator[Lesson]:
    """A notebook with a stage, a listener with two places, and a switchboard; run as far as that."""
    with scratch_notebook(CELLS) as path:
        folder, _, name = path.rpartition("/")
        lesson = Lesson(page, lab, name, folder)
        lesson.widen()
        for cell in ("stage", "listen", "board"):
            lesson.run(cell)
        yield lesson
        lesson.shut_down()


@pytest.fixture
def board(lesson: Lesson) -> Board:
    return Board(lesson, lesson.show("board").locator(".sb"))


def nothing_was_wrong(page: Any) -> None:
    assert page.complaints == []
    assert page.strangers == []


@pytest.mark.parametrize("how", KEYS.values(), ids=KEYS)
def test_each_button(board, lesson, page, how):
    board.press("Dial", how)
    board.card("caller 1", "in line")
    assert board.table() == [("caller 1", "ESTABLISHED"), ("kernel", "ESTABLISHED")]

    board.press("Dial, silent", how)
    board.card("caller 2", "silent")
    board.says("queue: 2 of 2 places taken: full")
    board.is_off("Say a line")

    board.press("Dial", how)
    board.card("caller 3", "knocks")
    assert ("caller 3", "SYN_SENT") in board.table()
    board.says("outside: 1 caller knocks")
    board.press("Hang up", how)  # the newest
    board.says("caller 3 hangs up")
    board.card("caller 3", "closed")
    assert not [row for row in board.table() if row[0] == "caller 3"]

    board.is_off("Hang up")  # pressed twice, it does not hang up on the next

    board.choose("caller 1", how)
    board.press("Say a line", how)
    board.card("caller 1", "sent 19 bytes")
    assert "19" in lesson.asks("[r.unread for r in stage.sockets().rows if r.role == 'kernel']")

    board.choose("caller 2", how)
    board.card("caller 1").focus()  # to pass a card is not to choose it
    board.press("Hang up rudely", how)
    board.card("caller 2", "reset")
    assert board.table() == [("caller 1", "ESTABLISHED"), ("kernel", "ESTABLISHED")]

    board.press("Ten more", how)
    board.says("callers 4 to 13 dial")
    board.card("caller 13", "knocks")
    nothing_was_wrong(page)


def test_a_click_dials_while_the_server_waits_in_accept(board, lesson, page):
    lesson.run("accept")
    board = Board(lesson, lesson.show("board").locator(".sb"))
    board.says("waits in accept()")
    board.press("Dial")
    board.card("caller 1", "accepted")
    board.card("transfer", "server waits in recv()")
    assert board.table() == [("caller 1", "ESTABLISHED"), ("server", "ESTABLISHED")]
    board.press("Say a line")
    board.says("has said: got b'line 1 of caller 1")
    board.card("caller 1", "received 15 bytes")
    assert lesson.asks("stage._roles['server'].doing()") == "'waits in recv()'"
    board.press("Hang up")
    board.card("transfer", "was hung up on")
    assert ("server", "CLOSE_WAIT") in board.table()
    assert lesson.errors() == []
    nothing_was_wrong(page)


def test_facts_of_a_card(board, lesson, page):
    board.press("Dial")
    card = board.card("caller 1", "in line")
    for point in (card.hover, card.focus):
        page.mouse.move(0, 0)
        point()
        facts = board.place.locator(".sb-facts")
        for words in ("four numbers", "127.0.0.1:", "TCP state", "ESTABLISHED", "bytes sent", "received", "unread"):
            facts.get_by_text(words).first.wait_for()
    board.card("listener").hover()
    board.place.locator(".sb-facts").get_by_text("0 of 2 places").or_(
        board.place.locator(".sb-facts").get_by_text("1 of 2 places")
    ).wait_for()


def test_bytes_move_along_the_wire_unless_motion_is_reduced(board, lesson, page):
    lesson.run("accept")
    board = Board(lesson, lesson.show("board").locator(".sb"))
    board.press("Dial")
    board.card("caller 1", "accepted")
    page.evaluate(
        """() => { window.moved = []; new MutationObserver(seen => seen.forEach(s => s.addedNodes.forEach(
            n => n.className === 'sb-moving' && window.moved.push(n.textContent))))
            .observe(document.querySelector('.sb-labels'), {childList: true}); }"""
    )
    board.press("Say a line")
    page.wait_for_function("() => window.moved.includes('19 B') && window.moved.includes('15 B')")
    page.emulate_media(reduced_motion="reduce")
    board.press("Say a line")
    board.card("caller 1", "sent 38 bytes")
    assert page.evaluate("window.moved.length") == 2


def test_malicious_bytes_are_words(board, lesson, page):
    lesson.run("accept")
    lesson.run("evil")
    board = Board(lesson, lesson.show("board").locator(".sb"))
    board.says("recv(99) → b'<img src=x")
    assert board.place.locator("img, script").count() == 0
    assert page.evaluate("window.harmed === undefined")
    assert max(len(text) for text in board.place.locator("li, .sb-card").all_inner_texts()) < 400
    lesson.picture("switchboard_malicious")


def test_a_second_view_shows_and_does_the_same(board, lesson, page):
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:create-output-view')")
    second = Board(lesson, page.locator(".jp-LinkedOutputView .sb"))
    second.press("Dial")
    for view in (board, second):
        view.card("caller 1", "in line")
    board.press("Hang up")
    for view in (board, second):
        view.card("caller 1", "closed")
    lesson.picture("switchboard_docked")
    nothing_was_wrong(page)


def test_after_a_reload_its_cell_shows_who_is_on_the_line(board, lesson, page, lab):
    board.press("Dial")
    board.card("caller 1", "in line")
    again = Lesson(page, lab, lesson.name, lesson.folder)
    again.run("board")
    board = Board(again, again.show("board").locator(".sb"))
    board.card("caller 1", "in line")
    board.press("Dial")
    board.card("caller 2", "in line")
    assert board.table().count(("kernel", "ESTABLISHED")) == 2


def test_a_restarted_kernel(board, lesson, page):
    board.press("Dial")
    board.card("caller 1", "in line")
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    board.press("Dial")
    board.says("No answer: the kernel is busy, or was started anew.")
    for name in ("stage", "listen", "board"):
        lesson.run(name)
    board = Board(lesson, lesson.show("board").locator(".sb"))
    board.press("Dial")
    board.card("caller 1", "in line")
    assert board.table() == [("caller 1", "ESTABLISHED"), ("kernel", "ESTABLISHED")]
    assert lesson.errors() == []


def test_it_is_over_with_the_stage(board, lesson, page):
    lesson.run("close")
    board = Board(lesson, lesson.show("board").locator(".sb"))
    board.says("The stage is over")
    assert board.place.locator(".sb-do:not([aria-disabled=true])").count() == 0
    nothing_was_wrong(page)


@pytest.mark.parametrize("width", [1280, 820])
@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_pictures(board, lesson, page, theme, width):
    page.set_viewport_size({"width": width, "height": 1150})
    lesson.theme(theme)
    lesson.run("accept")
    board = Board(lesson, lesson.show("board").locator(".sb"))
    for button in ("Dial", "Dial", "Dial, silent", "Dial"):
        board.press(button)
    board.card("caller 4", "knocks")
    board.card("caller 1").click()
    board.press("Say a line")
    board.card("caller 1", "received 15 bytes")
    inside = board.place.evaluate("el => el.scrollWidth <= el.clientWidth")
    assert inside, "something is wider than the view"
    lesson.picture(f"switchboard_{theme}_{width}")
    nothing_was_wrong(page)
