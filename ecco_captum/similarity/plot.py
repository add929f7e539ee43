"""Figures for papers of how alike layers are: arrays in, a matplotlib figure out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ecco_captum.core.text import format_fixed
from ecco_captum.display.figure import (
    HeatMap,
    PaperFigure,
    counted,
    fill_cells,
    grey_cells,
    heat_figure,
    linear_scale,
    numbers,
    paper_style,
)

_NAMES, _CELL = 1.0, 0.22  # inches: of the names of layers, of a cell with room for two digits
_GREY = "; grey: no more than shuffled tokens"


@paper_style()
def similarity_figure(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    null_95: np.ndarray | None = None,
    measure: str = "similarity",
    annotate: bool | None = None,
    width: float = 5.0,
    title: str = "",
) -> PaperFigure:
    r"""
    Draw a matrix of similarities, grey where shuffled tokens would be as alike.

    Args:
        values (numpy.ndarray): Shape (rows, columns), at most 1.
        rows (sequence of str): Names of the layers of one side.
        columns (sequence of str): Names of those of the other.
        null_95 (numpy.ndarray, optional): Shape (rows, columns): what 95% of shuffled tokens stay
            below. Default: nothing is grey.
        measure (str, optional): What the numbers are. Default: ``"similarity"``
        annotate (bool, optional): Whether cells hold their numbers. Default: ``None``, where they
            have room for them
        width (float, optional): Of the figure, in inches. Default: ``5.0``
        title (str, optional): Above the figure. Default: ``""``

    Returns:
        PaperFigure: A matplotlib ``Figure``.

    Raises:
        ValueError: Shapes do not fit each other, numbers are not finite, or ``width`` is too small
            for the labels.

    Examples::

        >>> similarity_figure(values, layers, layers, null_95=high).savefig("similarity.pdf")
    """
    shape = counted(rows=rows, columns=columns)
    values = numbers("values", values, shape)
    chance = np.zeros(shape, bool)
    if null_95 is not None:
        chance = values <= numbers("null_95", null_95, shape)
    shown = values[~chance] if (~chance).any() else values
    scale = linear_scale(measure + (_GREY if chance.any() else ""), shown.min(), shown.max())
    heat = HeatMap(rows, columns, np.maximum(values, shown.min()), scale, turned=True)
    if annotate is None:
        annotate = (width - _NAMES) / len(columns) >= _CELL
    figure, axes = heat_figure(heat, width, title, roomy=annotate)
    grey_cells(axes, chance)
    if annotate:
        texts = [
            [format_fixed(value).removeprefix("0") for value in row] for row in values.tolist()
        ]
        fill_cells(axes, heat, texts, bold=np.zeros(shape, bool))
    return figure
