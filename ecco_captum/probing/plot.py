"""Figures for papers of what layers know: arrays in, a matplotlib figure out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ecco_captum.display.figure import (
    LINE,
    SOFT,
    Panel,
    PaperFigure,
    counted,
    draw_line,
    end_labels,
    label_room,
    linear_panel,
    numbers,
    panels_figure,
    paper_style,
)

_BASELINE = "word's label"


@paper_style()
def probe_figure(
    representations: Sequence[str],
    layers: Sequence[str],
    accuracy: np.ndarray,
    selectivity: np.ndarray | None = None,
    *,
    baseline: float | None = None,
    width: float = 3.35,
    title: str = "",
) -> PaperFigure:
    r"""
    Draw accuracy over layers, and selectivity below it, with bands of one deviation over trials.

    Args:
        representations (sequence of str): Shape (rows,), such as ``"hidden"``; a line of each.
        layers (sequence of str): Shape (rows,); those of the same name stand above each other.
        accuracy (numpy.ndarray): Shape (rows, trials), parts of 1.
        selectivity (numpy.ndarray, optional): Shape (rows, trials), -1 to 1. Default: ``None``
        baseline (float, optional): The accuracy of each word's most frequent label.
            Default: ``None``
        width (float, optional): Of the figure, in inches. Default: ``3.35``, one column
        title (str, optional): Above the figure. Default: ``""``

    Returns:
        PaperFigure: A matplotlib ``Figure``.

    Raises:
        ValueError: Shapes do not fit each other, numbers are not of their kind, or ``width`` is too
            small for the labels.
    """
    rows = counted(layers=layers, representations=representations)[0]
    drawn = [("accuracy", numbers("accuracy", accuracy, (rows, -1), least=0, most=1))]
    if selectivity is not None:
        trials = drawn[0][1].shape[1]
        given = numbers("selectivity", selectivity, (rows, trials), least=-1, most=1)
        drawn.append(("selectivity: accuracy less that of the control task", given))
    kinds = list(dict.fromkeys(representations))
    names = sorted(dict.fromkeys(layers), key=lambda name: name != "embedding")
    labels = [*kinds, _BASELINE] if baseline is not None else kinds
    shown = [values for _, values in drawn]
    if baseline is not None:
        shown[0] = np.append(shown[0], baseline)
    panels = [
        _panel(says, values, len(labels)) for (says, _), values in zip(drawn, shown, strict=True)
    ]
    figure, axes = panels_figure(panels, names, width, title, right=label_room(labels))
    for k, (panel, own, (_, values)) in enumerate(zip(panels, axes, drawn, strict=True)):
        ends = []
        for j, kind in enumerate(kinds):
            chosen = [row for row, name in enumerate(representations) if name == kind]
            places = [names.index(layers[row]) for row in chosen]
            ends.append((*_line(own, len(names), places, values[chosen], j), kind))
        if not k and baseline is not None:
            own.axhline(baseline, color=SOFT, linewidth=0.6, linestyle=(0, (1, 2)))
            ends.append((baseline, SOFT, _BASELINE))
        end_labels(own, panel, [(value, text, color) for value, color, text in ends])
    return figure


def _line(
    axes: Any, count: int, places: Sequence[int], values: np.ndarray, kind: int
) -> tuple[float, str]:
    """A line of means in its band; where it ends, and its colour."""
    mean, apart = np.full(count, np.nan), np.full(count, np.nan)
    mean[places], apart[places] = values.mean(axis=1), values.std(axis=1)
    color = draw_line(axes, mean, kind, zorder=3)
    every = np.arange(count)
    axes.fill_between(every, mean - apart, mean + apart, color=color, alpha=0.18, lw=0)
    return float(mean[places[-1]]), color


def _panel(says: str, values: np.ndarray, lines: int) -> Panel:
    """A scale between the tenths around all values."""
    low, high = np.floor(10 * values.min()) / 10, np.ceil(10 * values.max()) / 10
    panel = linear_panel(says, max(1.1, LINE * lines), 100 * low, 100 * high)
    ticks = [(value / 100, f"{text}%") for value, text in panel.ticks]
    return replace(panel, limits=(ticks[0][0], ticks[-1][0]), ticks=ticks)
