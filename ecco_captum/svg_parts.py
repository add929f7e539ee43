"""Parts of charts as inline SVG: scales, marks, and labels that stand at what they name.

What is shown first has the accent hue; what it is compared with is neutral and told apart by dashes
and markers. Labels stand at the lines, so that nothing has to be looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from textwrap import wrap
from unicodedata import east_asian_width

import numpy as np

from ecco_captum.html import escape
from ecco_captum.legible import MINUS, format_number

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
