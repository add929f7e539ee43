"""Charts of faithfulness as inline SVG: lines with intervals, and one row of means.

The method under test has the accent hue; what it is compared with is neutral and told apart by
dashes and markers. Labels stand at the lines, so that nothing has to be looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from textwrap import wrap
from unicodedata import east_asian_width

import numpy as np

from ecco_captum.html import escape
from ecco_captum.legible import MINUS, format_number

WIDTH = 340
_TOP, _PLOT = 10, 150
_LINE, _LETTER = 14.0, 7.5  # height of a line of a label, width of a letter at most
_WIDEST = 16  # letters in a line of a label
_DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 4", "10 4", "4 2 1 2")


def drop_chart(
    conditions: Sequence[str], fractions: np.ndarray, values: np.ndarray, *, across: str, says: str
) -> str:
    r"""
    Lines of a score's drop against the share of tokens, one line a condition.

    Args:
        conditions (sequence of str): What each line is; the first is the method under test.
        fractions (numpy.ndarray): Shape (fractions,), ascending, from 0 to 1.
        values (numpy.ndarray): Shape (conditions, fractions, 3): mean, low and high end.
        across (str): What the horizontal axis shows.
        says (str): What the chart shows, for those who do not see it.

    Returns:
        str: An ``<svg>``.
    """
    labels = [_lines(name) for name in conditions]
    heights = [_LINE * len(lines) + 2 for lines in labels]
    right = WIDTH - 18 - max(_width(line) for lines in labels for line in lines)
    bottom = _TOP + max(_PLOT, sum(heights))
    low, high = _range(values)
    ticks = _ticks(low, high)
    left = 6 + max(_width(_short(float(tick))) for tick in ticks)

    def at(value: float) -> float:
        return bottom - (bottom - _TOP) * (value - low) / (high - low)

    # Intervals at the same fraction stand side by side.
    inset = 10.0
    places = left + inset + (right - left - 2 * inset) * fractions / fractions[-1]
    room = float(np.diff(places).min()) if len(places) > 1 else 40.0
    step = min(4.5, 0.7 * room / len(conditions))
    ends = _apart([at(v) for v in values[:, -1, 0]], heights, (_TOP, bottom))
    parts = [_scale(ticks, at, (left, right)), _fractions(fractions, places, bottom)]
    for k in reversed(range(len(conditions))):  # the one under test lies on top
        xs = places + step * (k - (len(conditions) - 1) / 2)
        points = [(x, at(v[0]), at(v[1]), at(v[2])) for x, v in zip(xs, values[k], strict=True)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in points)
        dashes = f' stroke-dasharray="{_DASHES[k % len(_DASHES)]}"' if k % len(_DASHES) else ""
        drawn = f'<polyline points="{line}" fill="none" stroke-width="1.6"{dashes}/>'
        drawn += "".join(_interval(x, a, b) + _mark(k, x, y) for x, y, a, b in points)
        x, y = points[-1][0], points[-1][1]
        drawn += (
            f'<line class="ecco-leader" x1="{x + 6:.1f}" y1="{y:.1f}" x2="{right + 3:.1f}" '
            f'y2="{ends[k]:.1f}"/>{_mark(k, right + 9, ends[k])}'
            f"{_label(labels[k], conditions[k], right + 18, ends[k])}"
        )
        parts.append(f'<g class="{_role(k)}">{drawn}</g>')
    middle = (left + right) / 2
    parts.append(f'<text x="{middle:.1f}" y="{bottom + 33:.1f}" {_CENTRED}>{escape(across)}</text>')
    return _svg("".join(parts), bottom + 38, says)


def means_chart(
    conditions: Sequence[str], values: np.ndarray, *, says: str, write: Callable[[float], str]
) -> str:
    r"""
    One row a condition: its mean and interval on a common scale.

    Args:
        conditions (sequence of str): What each row is; the first is the method under test.
        values (numpy.ndarray): Shape (conditions, 3): mean, low and high end.
        says (str): What the chart shows, for those who do not see it.
        write (Callable): How a mean is written.

    Returns:
        str: An ``<svg>``.
    """
    labels = [_lines(name) for name in conditions]
    left = 10 + max(_width(line) for lines in labels for line in lines)
    low, high = _range(values)
    scale = (WIDTH - 50 - left - 12) / (high - low)
    parts, y = [], 2.0
    for k, lines in enumerate(labels):
        height = _LINE * len(lines) + 6
        middle = y + height / 2
        mean, start, end = (left + 6 + scale * (float(v) - low) for v in values[k])
        parts.append(
            f'<g class="{_role(k)}">{_label(lines, conditions[k], 0, middle)}'
            f'<line x1="{start:.1f}" x2="{end:.1f}" y1="{middle:.1f}" y2="{middle:.1f}" '
            f'stroke-width="1.6"/>{_mark(k, mean, middle)}'
            f'<text x="{WIDTH - 1}" y="{middle:.1f}" dy=".35em" text-anchor="end">'
            f"{write(float(values[k, 0]))}</text></g>"
        )
        y += height
    zero = left + 6 - scale * low
    axis = (
        f'<line class="ecco-grid" x1="{zero:.1f}" x2="{zero:.1f}" y1="0" y2="{y + 3:.1f}"/>'
        f'<text x="{zero:.1f}" y="{y + 15:.1f}" {_CENTRED}>0</text>'
    )
    return _svg(axis + "".join(parts), y + 20, says)


_CENTRED = 'text-anchor="middle"'


def _svg(inside: str, height: float, says: str) -> str:
    return (
        f'<svg class="ecco-chart" role="img" aria-label="{escape(says)}" '
        f'viewBox="0 0 {WIDTH} {height:.0f}">{inside}</svg>'
    )


def _role(k: int) -> str:
    return "ecco-other" if k else "ecco-own"


def _range(values: np.ndarray) -> tuple[float, float]:
    """What an axis covers: all values and 0."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    return (low, high) if high > low else (0.0, 1.0)


def _scale(ticks: np.ndarray, at: Callable[[float], float], ends: tuple[float, float]) -> str:
    drawn = ""
    for tick in ticks:
        y, zero = at(float(tick)), bool(tick == 0)
        drawn += (
            f'<line class="{"ecco-zero" if zero else "ecco-grid"}" x1="{ends[0]:.1f}" '
            f'x2="{ends[1]:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{ends[0] - 5:.1f}" y="{y:.1f}" dy=".35em" text-anchor="end">'
            f"{_short(float(tick))}</text>"
        )
    return drawn


def _fractions(fractions: np.ndarray, places: np.ndarray, bottom: float) -> str:
    drawn, free = "", -np.inf
    for fraction, x in zip(fractions, places, strict=True):
        text = f"{100 * fraction:.{0 if fraction >= 0.1 else 1}f}%".replace(".0%", "%")
        if x - _LETTER * len(text) / 2 < free:
            continue  # a crowded axis names what it has room for; the table names all
        free = x + _LETTER * len(text) / 2 + 4
        drawn += f'<text x="{x:.1f}" y="{bottom + 16:.1f}" {_CENTRED}>{text}</text>'
    return drawn


def _short(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 10_000 or abs(value) < 0.001:
        return format_number(value)
    return f"{value:.6g}".replace("-", MINUS)


def _ticks(low: float, high: float) -> np.ndarray:
    """A few round numbers in a range, 0 among them."""
    rough = (high - low) / 3
    unit = 10.0 ** np.floor(np.log10(rough))
    step = unit * max(factor for factor in (1, 2, 5) if factor * unit <= rough * (1 + 1e-9))
    return step * np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1)


def _lines(name: str) -> list[str]:
    """A label in two lines at most; a cut one has its whole text as a tooltip."""
    room = _WIDEST if _width(name) == _LETTER * len(name) else _WIDEST // 2
    lines = wrap(name, room) or [""]
    return lines if len(lines) <= 2 else [lines[0], lines[1][: room - 1] + "…"]


def _width(text: str) -> float:
    """The most that a text may take; letters of East Asia are as wide as high."""
    return sum(13.0 if east_asian_width(letter) in "WF" else _LETTER for letter in text)


def _label(lines: Sequence[str], whole: str, x: float, y: float) -> str:
    first = y - _LINE * (len(lines) - 1) / 2
    spans = "".join(
        f'<tspan x="{x:.1f}" y="{first + _LINE * i:.1f}" dy=".35em">{escape(line)}</tspan>'
        for i, line in enumerate(lines)
    )
    return f"<text><title>{escape(whole)}</title>{spans}</text>"


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


def _interval(x: float, low: float, high: float) -> str:
    return f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke-width="1.2"/>'


def _mark(k: int, x: float, y: float) -> str:
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
