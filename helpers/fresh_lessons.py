"""JupyterLab opens a lesson without the outputs that are stored in it, so that nothing is told before it is tried.

The outputs stand in the files for the pages that show notebooks without running them, and for the tests.  Once a
learner has saved a lesson, the file is theirs, and is opened as they left it.
"""

from __future__ import annotations

from typing import Any

from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

AS_SHIPPED = "as_shipped"  #: in a notebook's metadata: its outputs are the course's own


def without_outputs(notebook: Any) -> None:
    """Take outputs and counts out of a notebook that is still as the course ships it."""
    if notebook["metadata"].pop(AS_SHIPPED, False):
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                cell["outputs"], cell["execution_count"] = [], None


class FreshLessons(AsyncLargeFileManager):
    """The server's files as they are, but lessons as shipped are read without their outputs."""

    async def get(self, path: str, content: bool = True, *args: Any, **kwargs: Any) -> Any:
        """The file's model, as the server's own manager gives it."""
        model = await super().get(path, content, *args, **kwargs)  # type: ignore[no-untyped-call]
        if content and model["type"] == "notebook":
            without_outputs(model["content"])
        return model
