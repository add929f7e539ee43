"""The figure of compared methods for a paper: their scores against seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ecco_captum.display.figure import (
    FAINT,
    INK,
    LINE,
    SOFT,
    PaperFigure,
    label_end,
    labelled,
    paper_style,
    room_left,
    titled_figure,
)

if TYPE_CHECKING:
    from ecco_captum.attribution.method_comparison.record import MethodComparison


@paper_style()
def method_comparison_figure(
    comparison: MethodComparison, *, width: float, title: str
) -> PaperFigure:
    """Draws means with their intervals; rankings by position are lines across."""
    names = comparison.names
    room_left(width, ["−0.2"], [f"— {name}" for name in names])
    figure = titled_figure(width, title, [max(1.4, LINE * len(names))])
    (axes,) = figure.axes
    axes.set_title("linear datamodeling score, 95% intervals", loc="left")
    axes.set(xscale="log", xlabel="seconds to explain a text")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()
    axes.grid(axis="y", color=FAINT, linewidth=0.5, zorder=0)
    for k, (name, (mean, low, high)) in enumerate(zip(names, comparison.intervals, strict=True)):
        color = INK if k == comparison.candidate else SOFT
        if k < len(comparison.methods):
            ends = np.abs([[mean - low], [high - mean]])
            place = float(comparison.seconds[k].clip(1e-4))
            look: dict[str, Any] = {"fmt": "o", "markersize": 3, "linewidth": 0.8, "zorder": 3}
            axes.errorbar([place], [mean], yerr=ends, color=color, **look)
        else:
            axes.axhline(mean, color=SOFT, linewidth=0.6, linestyle=(0, (1, 2)))
        label_end(axes, float(mean), name, color)
    return labelled(figure)
