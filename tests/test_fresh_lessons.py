"""A lesson as shipped opens without outputs; one that a learner saved opens as it was left."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest

from helpers.fresh_lessons import FreshLessons

LESSONS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


@pytest.fixture
def folder(tmp_path):
    for lesson in LESSONS:
        (tmp_path / lesson.name).write_bytes(lesson.read_bytes())
    return tmp_path


@contextmanager
def manager(folder):
    """What JupyterLab asks for files; the database of its notary is closed at the end."""
    it = FreshLessons(root_dir=str(folder))
    try:
        yield it
    finally:
        it.notary.store.close()


def opened(folder, name):
    with manager(folder) as files:
        return asyncio.run(files.get(name))


@pytest.mark.parametrize("name", [lesson.name for lesson in LESSONS])
def test_a_lesson_as_shipped_opens_without_outputs(folder, name):
    shipped = nbformat.read(folder / name, 4)
    notebook = opened(folder, name)["content"]
    assert [c["source"] for c in notebook["cells"]] == [c["source"] for c in shipped.cells]
    code = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    assert all(c["outputs"] == [] and c["execution_count"] is None for c in code)
    assert any(c.outputs for c in shipped.cells if c.cell_type == "code")


def test_what_a_learner_saved_stays(folder):
    name = LESSONS[0].name
    model = opened(folder, name)
    code = next(c for c in model["content"]["cells"] if c["cell_type"] == "code")
    code["outputs"], code["execution_count"] = [nbformat.v4.new_output("stream", text="mine")], 7
    with manager(folder) as files:
        asyncio.run(files.save(model, name))
    again = next(c for c in opened(folder, name)["content"]["cells"] if c["cell_type"] == "code")
    assert again["outputs"][0]["text"] == "mine" and again["execution_count"] == 7


def test_other_files_are_as_they_are(folder):
    (folder / "note.txt").write_text("hello")
    assert opened(folder, "note.txt")["content"] == "hello"
    plain = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[nbformat.v4.new_output("stream")])])
    nbformat.write(plain, folder / "own.ipynb")
    assert opened(folder, "own.ipynb")["content"]["cells"][0]["outputs"]
