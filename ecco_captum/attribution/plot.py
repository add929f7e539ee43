"""Figures for papers of an attribution: arrays in, a matplotlib figure out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ecco_captum.core.text import format_fixed
from ecco_captum.display.figure import (
    HeatMap,
    PaperFigure,
    Scale,
    counted,
    fill_cells,
    grey_cells,
    heat_figure,
    numbers,
    paper_style,
)

_NAMES, _CELL = 0.7, 0.17  # inches: of the outputs' texts, of a cell with room for two digits


@paper_style()
def saliency_figure(
    outputs: Sequence[str],
    sources: Sequence[str],
    shares: np.ndarray,
    known: np.ndarray,
    *,
    width: float = 7.0,
    title: str = "",
) -> PaperFigure:
    r"""
    Draw the share of each source in each output's score, with its percentage where there is room.

    Args:
        outputs (sequence of str): Texts of the explained outputs, a row each.
        sources (sequence of str): Texts of the tokens that were read, a column each.
        shares (numpy.ndarray): Shape (outputs, sources), from -1 to 1; magnitudes are drawn.
        known (numpy.ndarray): Shape (outputs,): how many sources each output could depend on; the
            others are grey.
        width (float, optional): Of the figure, in inches. Default: ``7.0``
        title (str, optional): Above the figure. Default: ``""``

    Returns:
        PaperFigure: A matplotlib ``Figure``.

    Raises:
        ValueError: Shapes do not fit each other, numbers are not finite, or ``width`` is too small
            for the labels.

    Examples::

        >>> saliency_figure(outputs, sources, shares, known).savefig("saliency.pdf")
    """
    shape = counted(outputs=outputs, sources=sources)
    sizes = np.abs(numbers("shares", shares, shape))
    highest = float(sizes.max())
    ends = [(end, f"{100 * end:.0f}%") for end in sorted({0.0, highest})]
    scale = Scale("share of the output's saliency, in %", 0.0, highest, ends)
    heat = HeatMap(outputs, sources, sizes, scale, turned=True)
    roomy = (width - _NAMES) / len(sources) >= _CELL
    figure, axes = heat_figure(heat, width, title, roomy=roomy)
    unknown = np.arange(shape[1]) >= np.asarray(known)[:, None]
    grey_cells(axes, unknown)
    if roomy:
        texts = [[format_fixed(100 * one, 0) for one in row] for row in sizes.tolist()]
        texts = [
            ["" if hidden else text for text, hidden in zip(row, line, strict=True)]
            for row, line in zip(texts, unknown.tolist(), strict=True)
        ]
        fill_cells(axes, heat, texts, bold=np.zeros(shape, bool))
    return figure
