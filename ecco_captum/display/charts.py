"""Charts as inline SVG: lines over points, and means with their intervals, a row each.

What is shown first has the accent hue; what it is compared with is neutral, with dashes and markers
of its own. Labels stand at the lines, so that nothing has to be looked up. Here places are worked
out; ``charts.html.j2`` draws them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any
from unicodedata import east_asian_width

import numpy as np
from markupsafe import Markup

from ecco_captum.core.text import MINUS, format_number
from ecco_captum.display.page import render

_TEMPLATE = "display/charts.html.j2"
_WIDTH = 340
_LINE, _LETTER = 14.0, 7.5  # height of a line of a label, width of a letter at most
_WIDEST = 16  # letters in a line of a label
_TOP, _PLOT, _INSET = 10, 150, 10.0
_DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 4", "10 4", "4 2 1 2")


@dataclass(frozen=True)
class _Label:
    """A name in two lines at most; a cut one has its whole text as a tooltip."""

    text: str
    lines: list[str]

    @classmethod
    def of(cls, text: str) -> _Label:
        room = _WIDEST if _text_width(text) == _LETTER * len(text) else _WIDEST // 2
        lines = wrap(text, room) or [""]
        if len(lines) > 2:
            lines = [lines[0], lines[1][: room - 1] + "…"]
        return cls(text, lines)

    @property
    def width(self) -> float:
        return max(map(_text_width, self.lines))

    @property
    def height(self) -> float:
        return _LINE * len(self.lines)

    def heights(self, middle: float) -> list[float]:
        """Where its lines stand around a height."""
        first = middle - _LINE * (len(self.lines) - 1) / 2
        return [first + _LINE * i for i in range(len(self.lines))]


@dataclass(frozen=True)
class _Point:
    """One mean of a line, in px, with the ends of its interval."""

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True)
class _Plane:
    """Where a chart's labels and its vertical axis are, in px."""

    labels: list[_Label]
    left: float
    right: float
    bottom: float
    low: float
    high: float
    scale: list[float]

    @classmethod
    def of(cls, names: Sequence[str], values: np.ndarray, write: Callable[[float], str]) -> _Plane:
        """Room for the names at the right, and for the numbers of all values at the left."""
        labels = [_Label.of(name) for name in names]
        low, high = _value_range(values)
        scale = _round_ticks(low, high).tolist()
        return cls(
            labels,
            left=6 + max(_text_width(write(tick)) for tick in scale),
            right=_WIDTH - 18 - max(label.width for label in labels),
            bottom=_TOP + max(_PLOT, sum(label.height + 2 for label in labels)),
            low=low,
            high=high,
            scale=scale,
        )

    def at(self, value: float) -> float:
        """The height of a value."""
        return self.bottom - (self.bottom - _TOP) * (value - self.low) / (self.high - self.low)

    def across(self, places: np.ndarray) -> np.ndarray:
        """Where places from 0 to 1 are."""
        return self.left + _INSET + (self.right - self.left - 2 * _INSET) * places

    def ends(self, values: Iterable[float]) -> list[float]:
        """Heights of labels beside values, apart from each other."""
        heights = [label.height + 2 for label in self.labels]
        return _apart([self.at(value) for value in values], heights, (_TOP, self.bottom))

    def drawn(self, write: Callable[[float], str]) -> dict[str, Any]:
        """What the template draws of it."""
        return {
            "width": _WIDTH,
            "height": self.bottom + 38,
            "scale": [(self.at(tick), write(tick), tick == 0) for tick in self.scale],
            "left": self.left,
            "right": self.right,
            "bottom": self.bottom,
        }


def line_chart(
    names: Sequence[str],
    ticks: Sequence[str],
    values: np.ndarray,
    *,
    across: str,
    says: str,
    places: np.ndarray | None = None,
    write: Callable[[float], str] | None = None,
    bands: bool = False,
) -> Markup:
    """An ``<svg>`` of means with intervals, lines labelled at their ends; the first stands out.

    Args:
        names (sequence of str): (lines,), what each line is.
        ticks (sequence of str): (points,), names of the points.
        values (array): (lines, points, 3): mean, low and high end.
        across (str): what the horizontal axis shows.
        says (str): what the chart shows, for those who do not see it.
        places (array, optional): (points,), where they stand, ascending to 1. Default: evenly
        write (Callable, optional): how a number of the vertical axis is written.
        bands (bool): whether intervals are bands along the lines, or bars at the points.
    """
    write = write or short_number
    plane = _Plane.of(names, values, write)
    if places is None:
        places = np.linspace(0, 1, len(ticks)) if len(ticks) > 1 else np.full(1, 0.5)
    places = plane.across(places)
    # Bars at the same point stand side by side.
    room = float(np.diff(places).min()) if len(places) > 1 else 40.0
    step = 0.0 if bands else min(4.5, 0.7 * room / len(names))
    ends = plane.ends(values[:, -1, 0])
    lines = []
    for k, label in enumerate(plane.labels):
        xs = places + step * (k - (len(names) - 1) / 2)
        points = [_Point(float(x), *map(plane.at, v)) for x, v in zip(xs, values[k], strict=True)]
        dashes = _DASHES[k % len(_DASHES)]
        lines.append({"label": label, "points": points, "end": ends[k], "dashes": dashes})
    return render(
        _TEMPLATE,
        kind="lines",
        says=says,
        across=across,
        ticks=_named_ticks(ticks, places.tolist()),
        lines=lines,
        bands=bands,
        every=max(1, round(len(ticks) / 10)) if bands else 1,
        **plane.drawn(write),
    )


def interval_chart(
    names: Sequence[str], values: np.ndarray, *, says: str, write: Callable[[float], str]
) -> Markup:
    """An ``<svg>`` with a row for each mean and its interval, (rows, 3), on a common scale."""
    labels = [_Label.of(name) for name in names]
    left = 16 + max(label.width for label in labels)
    low, high = _value_range(values)
    scale = (_WIDTH - 56 - left) / (high - low)
    rows, y = [], 2.0
    for label, (mean, start, end) in zip(labels, values.tolist(), strict=True):
        height = label.height + 6
        xs = [left + scale * (value - low) for value in (mean, start, end)]
        rows.append({"label": label, "xs": xs, "y": y + height / 2, "text": write(mean)})
        y += height
    zero = left - scale * low
    return render(
        _TEMPLATE,
        kind="intervals",
        width=_WIDTH,
        height=y + 20,
        says=says,
        rows=rows,
        zero=zero,
        bottom=y,
    )


def scatter_chart(
    names: Sequence[str],
    places: np.ndarray,
    values: np.ndarray,
    *,
    across: str,
    says: str,
    accent: int | None = None,
) -> Markup:
    """An ``<svg>`` of means with intervals over a logarithmic axis, labels at the right.

    Args:
        names (sequence of str): (points,), what each is.
        places (array): (points,), above 0; NaN of what has no place, which is a line across.
        values (array): (points, 3): mean, low and high end.
        across (str): what the horizontal axis shows.
        says (str): what the chart shows, for those who do not see it.
        accent (int, optional): the point that stands out.
    """
    plane = _Plane.of(names, values, short_number)
    logs = np.log10(places)
    start, end = np.floor(np.nanmin(logs)), np.ceil(np.nanmax(logs))
    decades = np.arange(start, max(end, start + 1) + 1)
    span = decades[-1] - start
    xs, ends = plane.across((logs - start) / span), plane.ends(values[:, 0])
    points = [
        {
            "label": label,
            "point": None if np.isnan(x) else _Point(float(x), *map(plane.at, three)),
            "y": plane.at(three[0]),
            "end": ends[k],
            "own": k == accent,
        }
        for k, (label, x, three) in enumerate(zip(plane.labels, xs, values.tolist(), strict=True))
    ]
    ticks = [short_number(float(10**power)) for power in decades]
    return render(
        _TEMPLATE,
        kind="points",
        says=says,
        across=across,
        ticks=_named_ticks(ticks, plane.across((decades - start) / span).tolist()),
        points=points,
        **plane.drawn(short_number),
    )


def short_number(value: float) -> str:
    """A number of an axis."""
    if value == 0:
        return "0"
    if abs(value) >= 10_000 or abs(value) < 0.001:
        return format_number(value)
    return f"{value:.6g}".replace("-", MINUS)


def _value_range(values: np.ndarray) -> tuple[float, float]:
    """What an axis covers: all values and 0."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    return (low, high) if high > low else (0.0, 1.0)


def _round_ticks(low: float, high: float) -> np.ndarray:
    """A few round numbers in a range, 0 among them."""
    rough = (high - low) / 3
    unit = 10.0 ** np.floor(np.log10(rough))
    step = unit * max(factor for factor in (1, 2, 5) if factor * unit <= rough * (1 + 1e-9))
    return step * np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1)


def _text_width(text: str) -> float:
    """The most that a text may take; letters of East Asia are as wide as high."""
    return sum(13.0 if east_asian_width(letter) in "WF" else _LETTER for letter in text)


def _apart(
    wanted: Sequence[float], heights: Sequence[float], within: tuple[float, float]
) -> list[float]:
    """Centres of labels, as near to what is wanted as they can be without overlapping."""
    order = sorted(range(len(wanted)), key=lambda k: wanted[k])
    centres, free = [0.0] * len(wanted), within[0]
    for k in order:
        centres[k] = max(wanted[k], free + heights[k] / 2)
        free = centres[k] + heights[k] / 2
    free = within[1]
    for k in reversed(order):
        centres[k] = min(centres[k], free - heights[k] / 2)
        free = centres[k] - heights[k] / 2
    return centres


def _named_ticks(names: Sequence[str], places: Sequence[float]) -> list[tuple[float, str]]:
    """A crowded axis names what it has room for; the table beside the chart names all."""
    named, free = [], -np.inf
    for text, x in zip(names, places, strict=True):
        if x - _LETTER * len(text) / 2 >= free:
            free = x + _LETTER * len(text) / 2 + 4
            named.append((x, text))
    return named
