"""Predictions: a fixed text without widgets, an answer by button, and a clean slate with every stage."""

from __future__ import annotations

import pytest

from helpers import Stage, predict


def widgets_of(question):
    """The buttons and the line below them, of a new view."""
    box = question._view()
    head, *buttons, said = box.children
    return head, buttons, said


def test_the_text_is_fixed_and_names_every_choice():
    assert repr(predict("What now?", "this", "that")) == "Predict: What now?\n  a) this\n  b) that"


def test_a_view_comes_with_the_text_and_no_other_text():
    bundle = predict("What now?", "this", "that")._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "application/vnd.jupyter.widget-view+json"}
    assert bundle["text/plain"].startswith("Predict: What now?")


def test_a_click_is_noted_in_every_view():
    question = predict("What now?", "this", "that")
    _, first, said = widgets_of(question)
    _, second, also_said = widgets_of(question)
    first[1].click()
    assert question.answer == "that"
    assert [b.description for b in first] == [b.description for b in second] == ["○ a) this", "● b) that"]
    assert "that" in said.value and "that" in also_said.value
    second[0].click()
    assert question.answer == "this"
    assert first[0].description == "● a) this"


def test_a_question_asked_again_keeps_its_answer():
    question = predict("What now?", "this", "that")
    question._choose("that")
    assert predict("What now?", "this", "that").answer == "that"
    assert predict("What then?", "this", "that").answer is None


def test_a_new_stage_forgets_the_answers():
    question = predict("What now?", "this", "that")
    _, buttons, _ = widgets_of(question)
    buttons[0].click()
    stage = Stage("server", namespace={})
    assert question.answer is None
    assert buttons[0].description == "○ a) this"
    assert predict("What now?", "this", "that").answer is None
    stage.close()


def test_what_a_question_says_is_no_markup():
    head, _, said = widgets_of(question := predict("<script>", "<b>", "c"))
    question._choose("<b>")
    assert "<script>" not in head.value and "&lt;script&gt;" in head.value
    assert "<b><b>" not in said.value


@pytest.mark.parametrize("choices", [(), ("one",), tuple("abcdef")])
def test_it_takes_two_to_five_choices(choices):
    with pytest.raises(ValueError, match="two to five"):
        predict("What now?", *choices)
