"""Charts of faithfulness as inline SVG: lines with intervals, and one row of means."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ecco_captum.line_chart import line_chart
from ecco_captum.svg_parts import (
    CENTRED,
    LINE,
    WIDTH,
    label_at,
    label_lines,
    label_width,
    mark_at,
    role,
    svg,
    value_range,
)


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
    named = [f"{100 * one:.{0 if one >= 0.1 else 1}f}%".replace(".0%", "%") for one in fractions]
    places = fractions / fractions[-1]
    return line_chart(conditions, named, values, places=places, across=across, says=says)


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
    labels = [label_lines(name) for name in conditions]
    left = 10 + max(label_width(line) for lines in labels for line in lines)
    low, high = value_range(values)
    scale = (WIDTH - 50 - left - 12) / (high - low)
    parts, y = [], 2.0
    for k, lines in enumerate(labels):
        height = LINE * len(lines) + 6
        middle = y + height / 2
        mean, start, end = (left + 6 + scale * (float(v) - low) for v in values[k])
        parts.append(
            f'<g class="{role(k)}">{label_at(lines, conditions[k], 0, middle)}'
            f'<line x1="{start:.1f}" x2="{end:.1f}" y1="{middle:.1f}" y2="{middle:.1f}" '
            f'stroke-width="1.6"/>{mark_at(k, mean, middle)}'
            f'<text x="{WIDTH - 1}" y="{middle:.1f}" dy=".35em" text-anchor="end">'
            f"{write(float(values[k, 0]))}</text></g>"
        )
        y += height
    zero = left + 6 - scale * low
    axis = (
        f'<line class="ecco-grid" x1="{zero:.1f}" x2="{zero:.1f}" y1="0" y2="{y + 3:.1f}"/>'
        f'<text x="{zero:.1f}" y="{y + 15:.1f}" {CENTRED}>0</text>'
    )
    return svg(axis + "".join(parts), y + 20, says)
