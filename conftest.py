"""What nbval shares with the tests, also where the notebooks alone are run."""

from __future__ import annotations

from typing import Any

import nbval.kernel
from jupyter_client.manager import KernelManager

from tools.notebooks import without_ports


def kernel_manager(**options: Any) -> KernelManager:
    """A manager of one kernel, which has no TCP ports where that can be."""
    return KernelManager(**options, **without_ports())


def pytest_configure() -> None:
    nbval.kernel.KernelManager = kernel_manager  # (nbval has no option for it)
