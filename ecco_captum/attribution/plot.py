"""The figure of an attribution for a paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ecco_captum.core.text import format_fixed
from ecco_captum.display.figure import HeatMap, PaperFigure, Scale, heat_figure, paper_style

if TYPE_CHECKING:
    from ecco_captum.attribution.record import Attribution

_SAYS = "share of the output's saliency, in %"
_DIGITS = 0.17  # inches that two digits take


@paper_style()
def saliency_figure(attribution: Attribution, *, width: float, title: str) -> PaperFigure:
    """Draw each source's share of each output's score; what an output could not read is grey."""
    tokens, known = attribution.tokens, attribution.known
    sources = tokens.texts[: known.max()]
    explained = tokens.prompt_length + np.asarray(attribution.outputs)
    outputs = [tokens.texts[position] for position in explained]
    unknown = np.arange(len(sources)) >= known[:, None]
    shares = np.ma.array(np.abs(attribution.shares[:, : len(sources)]), mask=unknown)
    scale = Scale(_SAYS, 0, float(shares.max()), lambda share: f"{100 * share:.0f}%")
    percents = [[format_fixed(100 * share, 0) for share in row] for row in shares.data.tolist()]
    texts = np.where(unknown, "", percents).tolist()
    heat = HeatMap(outputs, sources, shares, scale, texts, room=_DIGITS)
    return heat_figure(heat, width, title)[0]
