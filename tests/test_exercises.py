"""Each exercise: its reference is right, its stub is not tried yet, and every wrong answer is told its own sentence."""

from __future__ import annotations

import builtins
import gc
import importlib
import inspect
import threading
import time
from pathlib import Path

import nbformat
import pytest
from answers import RIGHT, WRONG, asks, breaks, exits, hangs

import helpers.exercises
from helpers import recorded_socket
from helpers.exercises import trial
from helpers.exercises.exercise import Exercise, Outcome
from helpers.recorder import recorder

# answers leave sockets open, on purpose or not, and Python warns of it: that is what the checks tell them
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

LESSONS = sorted(Path(helpers.exercises.__file__).parent.glob("lesson_*.py"))
EXERCISES: dict[str, Exercise] = {
    name.removeprefix("exercise_"): value
    for lesson in LESSONS
    for name, value in vars(importlib.import_module(f"helpers.exercises.{lesson.stem}")).items()
    if isinstance(value, Exercise)
}
NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """A check leaves no thread and no open socket, and puts the record back."""
    before, record = set(threading.enumerate()), recorded_socket.recorder.recording
    yield
    gc.collect()  # what an answer's event loop left open is told of here, where that is expected
    left = [t for t in set(threading.enumerate()) - before if t.is_alive() and t.name != "your function"]
    assert not left
    assert recorded_socket.recorder.recording is record
    assert all(s.fileno() < 0 for s in list(recorded_socket.recorder.sockets))


def stub_of(name: str) -> object:
    """The stub, as it stands in the lesson."""
    for path in NOTEBOOKS.glob(f"{int(name[:-1]):02}_*.ipynb"):
        for cell in nbformat.read(path, 4).cells:
            if cell.cell_type == "code" and f"exercise_{name}.check(" in cell.source:
                space: dict[str, object] = {}
                exec(cell.source.partition(f"exercise_{name}.check(")[0], space)
                return space[EXERCISES[name].reference.__name__]
    raise LookupError(f"no lesson has the stub of exercise {name}")


def test_there_are_answers_for_every_exercise():
    assert set(RIGHT) == set(WRONG) == set(EXERCISES)
    assert all(len(answers) >= 4 for answers in WRONG.values())
    assert all(len(answers) >= 2 for answers in RIGHT.values())


@pytest.mark.parametrize("name", EXERCISES)
def test_the_reference_is_right(name):
    outcome = EXERCISES[name].check(EXERCISES[name].reference)
    assert (outcome.status, outcome.calls) == ("right", "")


@pytest.mark.parametrize("name", EXERCISES)
def test_the_stub_is_not_tried_yet(name):
    assert EXERCISES[name].check(stub_of(name)).status == "not tried yet"


@pytest.mark.parametrize("name", EXERCISES)
def test_the_stub_and_the_reference_take_the_same(name):
    stub, reference = inspect.signature(stub_of(name)), inspect.signature(EXERCISES[name].reference)
    assert list(stub.parameters) == list(reference.parameters)


@pytest.mark.parametrize(("name", "answer"), [(n, a) for n, answers in RIGHT.items() for a in answers])
def test_other_styles_are_right(name, answer):
    outcome = EXERCISES[name].check(answer)
    assert outcome.status == "right", outcome.message


@pytest.mark.parametrize(("name", "answer", "words"), [(n, a, w) for n, wrong in WRONG.items() for a, w in wrong])
def test_a_wrong_answer_is_told_what_it_did(name, answer, words):
    outcome = EXERCISES[name].check(answer)
    assert outcome.status == "not yet"
    assert words in outcome.message, outcome.message


@pytest.mark.parametrize("name", EXERCISES)
def test_every_wrong_answer_has_a_sentence_of_its_own(name):
    words = [w for _, w in WRONG[name]]
    assert len(set(words)) >= 4


@pytest.mark.parametrize("name", EXERCISES)
def test_whatever_an_answer_does_it_is_told(name):
    exercise = EXERCISES[name]
    assert "struct.pack" in exercise.check(breaks).message or "error" in exercise.check(breaks).message
    assert exercise.check(exits).status == "not yet"
    assert exercise.check(asks).status == "not yet"
    assert exercise.check(None).status == exercise.check(b"reply").status == "not yet"
    assert "takes the function itself" in exercise.check(3).message


@pytest.mark.parametrize("name", EXERCISES)
def test_an_answer_that_hangs_is_stopped(name, monkeypatch):
    monkeypatch.setattr(trial, "DEADLINE", 0.5)
    outcome = EXERCISES[name].check(hangs)
    assert outcome.status == "not yet"
    assert "second" in outcome.message


def test_an_answer_that_only_begins_when_it_is_awaited_is_told_so():
    async def later(text):
        return text

    def one_by_one(text):
        yield text

    for answer in (later, one_by_one):
        outcome = EXERCISES["0a"].check(answer)
        assert outcome.status == "not yet"
        assert "write def, without async and without yield" in outcome.message


def test_a_slip_is_told_without_what_it_led_to():
    outcome = EXERCISES["6a"].check(lambda connection, timeout=2.0: connection.shutdown(SHUT_WR))  # noqa: F821
    assert outcome.message.endswith("raised NameError: name 'SHUT_WR' is not defined.")


@pytest.mark.parametrize("name", [name for name in EXERCISES if name[0] in "2478" or name == "10a"])
def test_an_interrupt_as_an_answer_begins(name, monkeypatch):
    """The record is the lesson's again, and so is what Python does with an error in a thread."""
    begin = threading.Thread.start

    def begin_and_interrupt(thread):
        begin(thread)
        if thread.name == "your function":
            raise KeyboardInterrupt

    before = recorder.recording, builtins.input, threading.excepthook, set(recorder.sockets)
    monkeypatch.setattr(threading.Thread, "start", begin_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        EXERCISES[name].check(EXERCISES[name].reference)
    assert (recorder.recording, builtins.input, threading.excepthook) == before[:3]
    assert not [sock for sock in recorder.sockets if sock.fileno() >= 0 and sock not in before[3]]


def test_who_asks_ten_times_a_second_is_told_also_where_it_begins_late(monkeypatch):
    answer = next(answer for answer, _ in WRONG["4b"] if answer.__name__ == "asks_ten_times_a_second")
    run = trial.Trial._run
    monkeypatch.setattr(trial.Trial, "_run", lambda self: (time.sleep(0.2), run(self)))
    assert "let accept() wait, with a time-out" in str(EXERCISES["4b"].check(answer))


def test_the_default_time_out_is_put_back():
    before = recorded_socket.getdefaulttimeout()
    EXERCISES["0a"].check(lambda text: recorded_socket.setdefaulttimeout(0.3) or text)
    assert recorded_socket.getdefaulttimeout() == before


def test_what_an_answer_prints_is_shown_and_nowhere_else(capsys):
    def loud(text):
        print("here I am", text)
        return text

    outcome = EXERCISES["0a"].check(loud)
    assert outcome.printed == "here I am hello\n"
    assert capsys.readouterr().out.count("here I am") == 1  # in the outcome that check() shows


def test_an_outcome_is_shown_once_and_told_as_text_and_html(capsys):
    outcome = EXERCISES["0a"].check(EXERCISES["0a"].reference)
    assert capsys.readouterr().out.count("right") == 1
    outcome._ipython_display_()  # as the notebook does with a cell's last value
    assert capsys.readouterr().out == ""
    outcome._ipython_display_()
    assert "right" in capsys.readouterr().out
    hostile = Outcome("<b>", "not yet", "<script>alert(1)</script>", "<i>", "<u>")._repr_mimebundle_()["text/html"]
    assert "<script>" not in hostile and "<i>" not in hostile and "<u>" not in hostile


def test_hints_come_one_by_one_and_begin_anew_with_a_stage(capsys, monkeypatch):
    from helpers import Stage

    exercise = EXERCISES["1a"]
    told = []
    for _ in range(4):
        exercise.hint()
        told.append(capsys.readouterr().out.count("hint "))
    assert told == [1, 2, 3, 3]
    monkeypatch.setattr(recorded_socket.recorder, "recording", None)  # put back after the stage
    stage = Stage("server", namespace={})
    exercise.hint()
    assert capsys.readouterr().out.count("hint ") == 1
    stage.close()


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_is_the_reference(name, capsys):
    EXERCISES[name].solution()
    source = capsys.readouterr().out
    space = {"socket": recorded_socket, "struct": __import__("struct")}
    exec(source, space)
    assert EXERCISES[name].check(space[EXERCISES[name].reference.__name__]).status == "right"
