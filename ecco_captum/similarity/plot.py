"""The figure of how alike layers are for a paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ecco_captum.core.text import format_fixed
from ecco_captum.display.figure import HeatMap, PaperFigure, Scale, heat_figure, paper_style

if TYPE_CHECKING:
    from ecco_captum.similarity.record import Similarity

_DIGITS = 0.22  # inches that a number takes


@paper_style()
def similarity_figure(similarity: Similarity, *, width: float, title: str) -> PaperFigure:
    """Draw a matrix of similarities, grey where chance would make layers as alike."""
    values = similarity.values
    chance = similarity.within_chance  # nowhere without a test
    grey = "; grey: no more than chance" if chance.any() else ""
    scale = Scale(similarity.measure_title + grey, *similarity.scale, format_fixed)
    texts = [[_without_zero(value) for value in row] for row in values.tolist()]
    cells = np.ma.array(values, mask=chance)
    heat = HeatMap(similarity.rows, similarity.columns, cells, scale, texts, room=_DIGITS)
    return heat_figure(heat, width, title)[0]


def _without_zero(value: float) -> str:
    return format_fixed(value).replace("0.", ".", 1) if abs(value) < 1 else format_fixed(value)
