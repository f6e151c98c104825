"""Curves and bars as SVG, in the course's colours; each curve is named where it ends, and has dashes of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Set
from html import escape
from itertools import cycle
from typing import Any

from helpers.diagram import CARD, EDGE, FONT, INK

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#B0528E", "#8A6D00", "#56707F", "#1F2933")  #: dark enough on white
# of each another number, so that with more than seven curves no two look the same
DASHES = ("none", "9 5", "2 4", "12 4 2 4", "5 3", "16 5")
MARKS = ("M-4 -4h8v8h-8z", "M0 -5l5 9h-10z", "M-5 0l5 -5l5 5l-5 5z", "M0 5l5 -9h-10z", "M-5 0h10M0 -5v10")
ARROW, OVER = "M0 -8v-14m-5 6l5 -6l5 6", "still waiting when the time was over"
WIDTH, PANEL, LEFT, NAMES = 860, 300, 96, 190  #: pixels: the card, the height of a panel, the margins of its axes
Points = Sequence[tuple[float, float]]
Format = Callable[[float], str]


class Picture:
    """Something drawn, which also says itself in words."""

    title: str

    def __repr__(self) -> str:
        raise NotImplementedError

    def _drawn(self) -> tuple[str, int]:
        """The SVG of what is drawn, and its height."""
        raise NotImplementedError

    def svg(self) -> str:
        """The picture, on a card, described by its words."""
        drawn, height = self._drawn()
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {WIDTH} {height}" width="100%" '
            f'font-family="{FONT}" font-size="14" fill="{INK}"><title>{escape(self.title)}</title>'
            f'<desc>{escape(repr(self))}</desc><rect x="1" y="1" width="{WIDTH - 2}" height="{height - 2}" rx="12" '
            f'fill="{CARD}" stroke="{EDGE}" stroke-width="2"/>{drawn}</svg>'
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": repr(self), "image/svg+xml": self.svg()}


class Curves(Picture):
    """Panels of curves over a number that grows tenfold: {panel: {name: points}}.

    Upwards it is tenfold, too, unless `from_zero`.  `ranges`, {name: [(x, from, to)]}, are drawn as upright lines; a
    point that is in `over`, as (panel, name, x), lies higher in truth: it has an arrow, and in words a `>`.
    """

    def __init__(
        self,
        title: str,
        across: str,
        panels: Mapping[str, Mapping[str, Points]],
        unit: Format,
        from_zero: bool = False,
        ranges: Mapping[str, Sequence[tuple[float, float, float]]] | None = None,
        over: Set[tuple[str, str, float]] = frozenset(),
    ) -> None:
        self.title, self.across, self.panels, self.unit, self.from_zero = title, across, panels, unit, from_zero
        self.ranges, self.over = ranges or {}, over

    def __repr__(self) -> str:
        lines = [self.title]
        for panel, curves in self.panels.items():
            lines += [f"{panel}, with {' / '.join(f'{x:,.0f}' for x in _xs(curves))} {self.across}".removeprefix(", ")]
            for name, points in curves.items():
                told = (">" * ((panel, name, x) in self.over) + self.unit(y) for x, y in points)
                lines.append(f"  {name}: {' / '.join(told)}")
        return "\n".join([*lines, *[f"> : {OVER}"] * bool(self.over)])

    def _drawn(self) -> tuple[str, int]:
        drawn = [_text(20, 32, self.title, size=16)]
        if self.over:
            drawn.append(_text(WIDTH - 20, 32, f"↑ {OVER}", anchor="end", size=13))
        for number, (panel, curves) in enumerate(self.panels.items()):
            drawn.append(self._panel(panel, curves, 44 + number * PANEL))
        return "".join(drawn), 50 + len(self.panels) * PANEL

    def _panel(self, panel: str, curves: Mapping[str, Points], top: int) -> str:
        xs = _xs(curves)
        ys = [y for points in curves.values() for _, y in points]
        ys += [y for name in curves for _, *both in self.ranges.get(name, ()) for y in both]
        if not xs:
            return _text(20, top + 40, "Nothing was measured.")
        bottom, right = top + PANEL - 62, WIDTH - NAMES
        marks = linear_marks(max(ys)) if self.from_zero else log_marks(min(ys), max(ys))
        scale = (lambda y: y) if self.from_zero else lambda y: math.log10(max(y, marks[0]))
        low, high = scale(marks[0]), scale(marks[-1])
        first, last = math.log10(xs[0]), math.log10(xs[-1])

        def across(x: float) -> float:
            return LEFT + 24 + (right - LEFT - 48) * ((math.log10(x) - first) / (last - first) if last > first else 0.5)

        def up(y: float) -> float:
            return bottom - (bottom - top - 30) * (scale(y) - low) / (high - low)

        drawn = [_text(LEFT, top + 14, panel)] if panel else []
        for mark in marks:
            drawn.append(f'<path d="M{LEFT} {up(mark):.1f}H{right}" stroke="{EDGE}" stroke-width="1" opacity=".5"/>')
            drawn.append(_text(LEFT - 8, up(mark) + 5, self.unit(mark), anchor="end", size=13))
        for x in xs:
            drawn.append(f'<path d="M{across(x):.1f} {bottom}v6" stroke="{INK}"/>')
            drawn.append(_text(across(x), bottom + 22, f"{x:,.0f}", anchor="middle", size=13))
        drawn.append(_text((LEFT + right) / 2, bottom + 42, self.across, anchor="middle", size=13))
        drawn.append(f'<path d="M{LEFT} {bottom}H{right}" stroke="{INK}" stroke-width="1.5"/>')
        named = [(name, points) for name, points in curves.items() if points]
        ends = apart([up(points[-1][1]) for _, points in named], 17)
        places = dict(zip([name for name, _ in named], ends, strict=True))
        for (name, points), colour, dash, sign in zip(curves.items(), cycle(COLOURS), cycle(DASHES), cycle(MARKS)):
            if not points:
                continue
            line = "L".join(f"{across(x):.1f} {up(y):.1f}" for x, y in points)
            drawn.append(f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="2.5" '
                         f'stroke-dasharray="{dash}"/>')  # fmt: skip
            aside = 5 * (list(curves).index(name) - (len(curves) - 1) / 2)  # so that none hides another
            for x, y in points:
                drawn.append(f'<path transform="translate({across(x):.1f} {up(y):.1f})" d="{sign}" '
                             f'fill="{colour}" stroke="{colour}" stroke-width="2"/>')  # fmt: skip
                if (panel, name, x) in self.over:
                    drawn.append(f'<path transform="translate({across(x) + aside:.1f} {up(y):.1f})" d="{ARROW}" '
                                 f'fill="none" stroke="{colour}" stroke-width="2"/>')  # fmt: skip
            for x, least, most in self.ranges.get(name, ()):
                drawn.append(f'<path d="M{across(x) + aside:.1f} {up(least):.1f}V{up(most):.1f}" stroke="{colour}" '
                             f'stroke-width="1.5"/>')  # fmt: skip
            end, place = points[-1], places[name]
            drawn.append(f'<path d="M{across(end[0]) + 7:.1f} {up(end[1]):.1f}L{right + 6} {place:.1f}" '
                         f'stroke="{colour}" opacity=".6"/>')  # fmt: skip
            drawn.append(_text(right + 10, place + 5, _short(name), colour=colour, size=13))
        return "".join(drawn)


class Bars(Picture):
    """A bar for each name, and its value beside it; for None the words `unknown`."""

    def __init__(self, title: str, values: Mapping[str, float | None], unit: Format, unknown: str) -> None:
        self.title, self.values, self.unit, self.unknown = title, values, unit, unknown

    def _told(self, value: float | None) -> str:
        return self.unknown if value is None else self.unit(value)

    def __repr__(self) -> str:
        return "\n".join([self.title, *(f"  {name}: {self._told(value)}" for name, value in self.values.items())])

    def _drawn(self) -> tuple[str, int]:
        most = max((value or 0 for value in self.values.values()), default=0) or 1
        drawn = [_text(20, 32, self.title, size=16)]
        for number, ((name, value), colour) in enumerate(zip(self.values.items(), cycle(COLOURS))):
            y, size = 52 + 32 * number, max(1.5, 480 * (value or 0) / most)
            drawn.append(_text(NAMES + 4, y + 16, _short(name), anchor="end", colour=colour, size=13))
            if value is not None:
                drawn.append(f'<rect x="{NAMES + 14}" y="{y}" width="{size:.1f}" height="22" rx="3" '
                             f'fill="{colour}"/>')  # fmt: skip
            drawn.append(_text(NAMES + 24 + size, y + 16, self._told(value), size=13))
        return "".join(drawn), 66 + 32 * len(self.values)


def linear_marks(most: float) -> list[float]:
    """Round marks from 0 to at least `most`, four to seven of them."""
    most = most if most > 0 else 1.0
    step = 10 ** math.floor(math.log10(most / 2.5))
    step *= next(times for times in (1, 2, 2.5, 5, 10) if most / (step * times) <= 6)
    return [step * n for n in range(math.ceil(most / step - 1e-9) + 1)]


def log_marks(least: float, most: float) -> list[float]:
    """Powers of ten from at most `least` to at least `most`, two or more; what is 0 or less is no matter."""
    most = most if most > 0 else 1.0
    least = least if 0 < least <= most else most
    first, last = math.floor(math.log10(least) + 1e-9), math.ceil(math.log10(most) - 1e-9)
    return [10.0**n for n in range(first, max(last, first + 1) + 1)]


def apart(places: Sequence[float], gap: float) -> list[float]:
    """The places moved as little as need be for each to be `gap` from the next; their order stays."""
    order = sorted(range(len(places)), key=lambda n: places[n])
    groups: list[list[int]] = []
    middle: list[float] = []
    for n in order:
        groups.append([n])
        middle.append(places[n])
        while len(groups) > 1 and middle[-1] - middle[-2] < gap * (len(groups[-1]) + len(groups[-2])) / 2:
            joined = groups[-2] + groups[-1]
            middle[-2:] = [sum(places[k] for k in joined) / len(joined)]
            groups[-2:] = [joined]
    found = list(places)
    for group, centre in zip(groups, middle, strict=True):
        for number, n in enumerate(group):
            found[n] = centre + gap * (number - (len(group) - 1) / 2)
    return found


def _xs(curves: Mapping[str, Points]) -> list[float]:
    return sorted({x for points in curves.values() for x, _ in points})


def _short(name: str) -> str:
    return name if len(name) <= 22 else name[:21] + "…"


def _text(x: float, y: float, text: str, anchor: str = "start", colour: str = INK, size: int = 14) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-size="{size}" fill="{colour}">{escape(text)}</text>'
