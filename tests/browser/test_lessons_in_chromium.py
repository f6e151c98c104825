"""The lessons as a learner meets them: JupyterLab through run.py, a real browser, mouse and keyboard."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab import Lesson

LESSONS = sorted(p.name for p in (Path(__file__).resolve().parent.parent.parent / "notebooks").glob("*.ipynb"))
pytestmark = pytest.mark.browser
PREDICTION = "predict-port"  # a prediction of lesson 02


@pytest.mark.parametrize("name", LESSONS)
def test_run_all_shows_no_error(page, lab, name):
    lesson = Lesson(page, lab, name)
    lesson.run_all()
    assert lesson.errors() == []
    assert lesson.not_run() == []
    lesson.picture(name.removesuffix(".ipynb"))
    for cell in lesson.with_widgets():
        lesson.show(cell).locator(".jp-OutputArea-output").locator("button:visible").first.wait_for()
    assert page.strangers == []
    assert page.complaints == []


def test_diagram_table_and_prediction_of_lesson_02(page, lab):
    lesson = Lesson(page, lab, "02_answer_a_call.ipynb")
    lesson.run_all()
    diagram = lesson.show("diagram").locator(".jp-OutputArea-output svg, .jp-RenderedSVG img").first
    diagram.wait_for()
    assert diagram.bounding_box()["height"] > 200
    lesson.picture("02_diagram")
    table = lesson.show("table").locator("table").first
    table.wait_for()
    assert "ESTABLISHED" in table.inner_text()
    lesson.picture("02_table")

    prediction = lesson.show(PREDICTION)
    prediction.get_by_role("button", name="the same one").click()
    prediction.get_by_text("You say: the same one").wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    prediction.get_by_text("You say: none").wait_for()
    lesson.picture("02_prediction")
    assert page.complaints == []
