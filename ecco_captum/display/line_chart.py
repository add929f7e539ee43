"""Parts of charts as inline SVG: scales, marks, and labels that stand at what they name.

What is shown first has the accent hue; what it is compared with is neutral and told apart by dashes
and markers. Labels stand at the lines, so that nothing has to be looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from textwrap import wrap
from unicodedata import east_asian_width

import numpy as np

from ecco_captum.core.text import MINUS, format_number
from ecco_captum.display.page import escape

WIDTH = 340
LINE, LETTER = 14.0, 7.5  # height of a line of a label, width of a letter at most
_WIDEST = 16  # letters in a line of a label

CENTRED = 'text-anchor="middle"'


def svg(inside: str, height: float, says: str) -> str:
    """A chart of `WIDTH`, and what it says to those who do not see it."""
    return (
        f'<svg class="ecco-chart" role="img" aria-label="{escape(says)}" '
        f'viewBox="0 0 {WIDTH} {height:.0f}">{inside}</svg>'
    )


def role(k: int) -> str:
    """The class of what is shown first, or of what it is compared with."""
    return "ecco-other" if k else "ecco-own"


def value_range(values: np.ndarray) -> tuple[float, float]:
    """What an axis covers: all values and 0."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    return (low, high) if high > low else (0.0, 1.0)


def scale_lines(
    ticks: np.ndarray,
    at: Callable[[float], float],
    ends: tuple[float, float],
    write: Callable[[float], str],
) -> str:
    """Horizontal lines at round numbers, and the numbers."""
    drawn = ""
    for tick in ticks:
        y, zero = at(float(tick)), bool(tick == 0)
        drawn += (
            f'<line class="{"ecco-zero" if zero else "ecco-grid"}" x1="{ends[0]:.1f}" '
            f'x2="{ends[1]:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{ends[0] - 5:.1f}" y="{y:.1f}" dy=".35em" text-anchor="end">'
            f"{write(float(tick))}</text>"
        )
    return drawn


def short_number(value: float) -> str:
    """A number of an axis."""
    if value == 0:
        return "0"
    if abs(value) >= 10_000 or abs(value) < 0.001:
        return format_number(value)
    return f"{value:.6g}".replace("-", MINUS)


def round_ticks(low: float, high: float) -> np.ndarray:
    """A few round numbers in a range, 0 among them."""
    rough = (high - low) / 3
    unit = 10.0 ** np.floor(np.log10(rough))
    step = unit * max(factor for factor in (1, 2, 5) if factor * unit <= rough * (1 + 1e-9))
    return step * np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1)


def label_lines(name: str) -> list[str]:
    """A label in two lines at most; a cut one has its whole text as a tooltip."""
    room = _WIDEST if label_width(name) == LETTER * len(name) else _WIDEST // 2
    lines = wrap(name, room) or [""]
    return lines if len(lines) <= 2 else [lines[0], lines[1][: room - 1] + "…"]


def label_width(text: str) -> float:
    """The most that a text may take; letters of East Asia are as wide as high."""
    return sum(13.0 if east_asian_width(letter) in "WF" else LETTER for letter in text)


def label_at(lines: Sequence[str], whole: str, x: float, y: float) -> str:
    """A label in lines around a height; the whole text is its tooltip."""
    first = y - LINE * (len(lines) - 1) / 2
    spans = "".join(
        f'<tspan x="{x:.1f}" y="{first + LINE * i:.1f}" dy=".35em">{escape(line)}</tspan>'
        for i, line in enumerate(lines)
    )
    return f"<text><title>{escape(whole)}</title>{spans}</text>"


def apart(
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


def interval_line(x: float, low: float, high: float) -> str:
    """A bar from a low to a high end."""
    return f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke-width="1.2"/>'


def mark_at(k: int, x: float, y: float) -> str:
    """The marker of the k-th line."""
    shape, kind = k % 4, "ecco-mark" if k % 8 < 4 else "ecco-open"
    if shape == 0:
        return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3.2"/>'
    if shape == 1:
        return (
            f'<rect class="{kind}" x="{x - 2.8:.1f}" y="{y - 2.8:.1f}" width="5.6" height="5.6"/>'
        )
    corners = ((0, -3.6), (3.4, 2.6), (-3.4, 2.6)), ((0, -3.8), (3.8, 0), (0, 3.8), (-3.8, 0))
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners[shape - 2])
    return f'<polygon class="{kind}" points="{points}"/>'


_TOP, _PLOT, _INSET = 10, 150, 10.0
_DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 4", "10 4", "4 2 1 2")


def line_chart(
    names: Sequence[str],
    ticks: Sequence[str],
    values: np.ndarray,
    *,
    across: str,
    says: str,
    places: np.ndarray | None = None,
    write: Callable[[float], str] = short_number,
    bands: bool = False,
) -> str:
    r"""
    Lines of means with their intervals, each labelled at its end.

    Args:
        names (sequence of str): Shape (lines,), what each line is; the first stands out.
        ticks (sequence of str): Shape (points,), names of the points.
        values (numpy.ndarray): Shape (lines, points, 3): mean, low and high end.
        across (str): What the horizontal axis shows.
        says (str): What the chart shows, for those who do not see it.
        places (numpy.ndarray, optional): Shape (points,), where they stand, ascending to 1.
            Default: evenly
        write (Callable, optional): How a number of the vertical axis is written.
        bands (bool, optional): Whether intervals are bands along the lines, or bars at the points.
            Default: ``False``

    Returns:
        str: An ``<svg>``.
    """
    labels = [label_lines(name) for name in names]
    heights = [LINE * len(lines) + 2 for lines in labels]
    right = WIDTH - 18 - max(label_width(line) for lines in labels for line in lines)
    bottom = _TOP + max(_PLOT, sum(heights))
    low, high = value_range(values)
    scale = round_ticks(low, high)
    left = 6 + max(label_width(write(float(tick))) for tick in scale)

    def at(value: float) -> float:
        return bottom - (bottom - _TOP) * (value - low) / (high - low)

    if places is None:
        places = np.linspace(0, 1, len(ticks)) if len(ticks) > 1 else np.full(1, 0.5)
    places = left + _INSET + (right - left - 2 * _INSET) * places
    # Bars at the same point stand side by side.
    room = float(np.diff(places).min()) if len(places) > 1 else 40.0
    step = 0.0 if bands else min(4.5, 0.7 * room / len(names))
    every = max(1, round(len(ticks) / 10)) if bands else 1
    ends = apart([at(v) for v in values[:, -1, 0]], heights, (_TOP, bottom))
    parts = [scale_lines(scale, at, (left, right), write), _tick_names(ticks, places, bottom)]
    for k in reversed(range(len(names))):  # the first lies on top
        xs = places + step * (k - (len(names) - 1) / 2)
        points = [(x, at(v[0]), at(v[1]), at(v[2])) for x, v in zip(xs, values[k], strict=True)]
        drawn = _band(points) if bands else "".join(interval_line(x, a, b) for x, _, a, b in points)
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in points)
        dashes = f' stroke-dasharray="{_DASHES[k % len(_DASHES)]}"' if k % len(_DASHES) else ""
        drawn += f'<polyline points="{line}" fill="none" stroke-width="1.6"{dashes}/>'
        drawn += "".join(mark_at(k, x, y) for x, y, _, _ in points[::every])
        x, y = points[-1][0], points[-1][1]
        drawn += (
            f'<line class="ecco-leader" x1="{x + 6:.1f}" y1="{y:.1f}" x2="{right + 3:.1f}" '
            f'y2="{ends[k]:.1f}"/>{mark_at(k, right + 9, ends[k])}'
            f"{label_at(labels[k], names[k], right + 18, ends[k])}"
        )
        parts.append(f'<g class="{role(k)}">{drawn}</g>')
    middle = (left + right) / 2
    parts.append(f'<text x="{middle:.1f}" y="{bottom + 33:.1f}" {CENTRED}>{escape(across)}</text>')
    return svg("".join(parts), bottom + 38, says)


def _band(points: Sequence[tuple[float, float, float, float]]) -> str:
    edge = [(x, low) for x, _, low, _ in points] + [(x, top) for x, _, _, top in points[::-1]]
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in edge)
    return f'<polygon class="ecco-band" points="{corners}"/>'


def _tick_names(names: Sequence[str], places: np.ndarray, bottom: float) -> str:
    drawn, free = "", -np.inf
    for text, x in zip(names, places, strict=True):
        if x - LETTER * len(text) / 2 < free:
            continue  # a crowded axis names what it has room for; the table names all
        free = x + LETTER * len(text) / 2 + 4
        drawn += f'<text x="{x:.1f}" y="{bottom + 16:.1f}" {CENTRED}>{escape(text)}</text>'
    return drawn
