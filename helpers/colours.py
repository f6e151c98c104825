"""The colours of the roles: Okabe and Ito's, which also those tell apart who can't tell red from green.

A role has the same colour wherever it is shown; words always say the same as the colour does.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle

COLOURS = {"server": "#0072B2", "client": "#D55E00", "serving": "#0072B2"}
MORE_COLOURS = "#009E73", "#B0528E", "#8A6D00", "#56707F"  # after theirs, dark enough to be read on white


def colours_of(roles: Iterable[str]) -> dict[str, str]:
    """A colour for each of these roles: its own, or the next that is left."""
    spare = cycle(MORE_COLOURS)
    return {role: COLOURS.get(role) or next(spare) for role in roles}
