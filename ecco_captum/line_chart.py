"""Lines with intervals as inline SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ecco_captum.html import escape
from ecco_captum.svg_parts import (
    CENTRED,
    LETTER,
    LINE,
    WIDTH,
    apart,
    interval_line,
    label_at,
    label_lines,
    label_width,
    mark_at,
    role,
    round_ticks,
    scale_lines,
    short_number,
    svg,
    value_range,
)

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
