"""The figure of what layers know for a paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ecco_captum.display.figure import (
    LINE,
    SOFT,
    Panel,
    PaperFigure,
    draw_line,
    label_end,
    labelled,
    panels_figure,
    paper_style,
    percent_tick,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ecco_captum.probing.record import ProbeReport

_BASELINE = "word's label"


@paper_style()
def probe_figure(report: ProbeReport, *, width: float, title: str) -> PaperFigure:
    """Draw accuracy and selectivity over layers, in bands of one standard deviation over trials."""
    drawn = {"accuracy": report.accuracy}
    if not np.isnan(report.control_accuracy).any():
        drawn["selectivity: accuracy minus control accuracy"] = report.selectivity
    layers = sorted(dict.fromkeys(report.layers), key=lambda name: name != "embedding")
    kinds = list(dict.fromkeys(report.representations))
    known = not np.isnan(report.by_type).any()
    labels = [*kinds, _BASELINE] if known else kinds
    height = max(1.1, LINE * len(labels))
    panels = [Panel(says, height, form=percent_tick) for says in drawn]
    figure, axes = panels_figure(panels, layers, width, title, labels)
    for own, values in zip(axes, drawn.values(), strict=True):
        for kind in kinds:
            rows = np.array(report.representations) == kind
            places = [layers.index(layer) for layer in np.array(report.layers)[rows]]
            _draw_band(own, values[rows], places, len(layers), kind)
    if known:
        baseline = float(report.by_type.mean())
        axes[0].axhline(baseline, color=SOFT, linewidth=0.6, linestyle=(0, (1, 2)))
        label_end(axes[0], baseline, _BASELINE, SOFT)
    return labelled(figure)


def _draw_band(axes: Axes, values: np.ndarray, places: list[int], layers: int, label: str) -> None:
    """A line of means in its band; layers without values are left out."""
    mean, deviation = np.full((2, layers), np.nan)
    mean[places], deviation[places] = values.mean(axis=1), values.std(axis=1)
    color = draw_line(axes, mean, label, zorder=3).get_color()
    band = mean - deviation, mean + deviation
    axes.fill_between(np.arange(layers), *band, color=color, alpha=0.18, linewidth=0)
