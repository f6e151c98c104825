"""Time in tests: no limit on speed, only on what must not wait for something that does not come."""

from __future__ import annotations

import time
from collections.abc import Callable

SOON = 3.0  #: seconds; what has to be ended from outside, or waits out the gate's patience, takes longer


def took(act: Callable[..., object], *args: object) -> float:
    """The seconds that `act(*args)` takes."""
    began = time.monotonic()
    act(*args)
    return time.monotonic() - began
