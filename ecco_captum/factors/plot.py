"""Figures for papers of which neurons fire together: arrays in, a matplotlib figure out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ecco_captum.core.text import format_share
from ecco_captum.display.figure import (
    ACCENT,
    FAINT,
    GAP,
    LAYER_LETTERS,
    LINE,
    MARGIN,
    SOFT,
    PaperFigure,
    counted,
    numbers,
    paper_style,
    room_left,
    spaced,
    text_width,
    titled_figure,
    widest,
    wrapped,
    written,
)
from ecco_captum.factors.html import strongest_tokens

_NAMED = 3  # tokens of each factor
_ROW = _NAMED * LINE + GAP  # inches
_FOOT, _HIGH = 0.95, 0.85  # of a row: where a weight of 0 lies, how high the largest is
_AREA: dict[str, Any] = {"color": ACCENT, "linewidth": 0.3, "clip_on": False}
_DOT: dict[str, Any] = {
    "color": ACCENT,
    "linestyle": "",
    "marker": "o",
    "markersize": 2.2,
    "markeredgewidth": 0.6,
    "markerfacecolor": "white",
    "zorder": 3,
    "clip_on": False,
}
_TICKS = 7  # of the positions, at most
_SAYS = "weight at each token, scaled to the factor’s own maximum; right, its strongest tokens"


@paper_style()
def factors_figure(
    tokens_texts: Sequence[str],
    weights: np.ndarray,
    *,
    explained: Sequence[float] | np.ndarray | None = None,
    names: Sequence[str] | None = None,
    width: float = 7.0,
    title: str = "",
) -> PaperFigure:
    r"""
    Draw how strong each factor of a factorisation is at each token.

    Each factor has a row, scaled to its own maximum. On its right stand its three strongest tokens
    with their positions; on the row, dots mark these places.

    Args:
        tokens_texts (sequence of str): Texts of the tokens.
        weights (numpy.ndarray): Shape (factors, tokens), 0 or more, in the factors' own unit.
        explained (sequence of float, optional): Shape (factors,), the share that each factor
            explains, 0 to 1. Default: not shown.
        names (sequence of str, optional): Shape (factors,). Default: ``"factor 0"`` and so on
        width (float, optional): Of the figure, in inches. Default: ``7.0``, two columns
        title (str, optional): Above the figure. Default: ``""``

    Returns:
        PaperFigure: A matplotlib ``Figure``.

    Raises:
        ValueError: Shapes do not fit each other, weights are negative or not finite, or ``width``
            is too small for the labels.

    Examples::

        >>> figure = factors_figure(tokens.texts, weights, explained=shares)
        >>> figure.savefig("factors.pdf")
    """
    weights = numbers("weights", weights, (-1, *counted(tokens_texts=tokens_texts)), least=0)
    count = len(weights)
    shares = [""] * count
    if explained is not None:
        found = numbers("explained", np.asarray(explained), (count,), least=0, most=1)
        shares = [format_share(share) for share in found.tolist()]
    labels = [f"factor {k}" for k in range(count)]
    if names is not None:
        if isinstance(names, str) or len(names) != count:
            raise ValueError(f"names: got {names!r}, accepts a text for each of {count} factors")
        labels = [written(name, LAYER_LETTERS) for name in names]
    return _drawn(weights, (tokens_texts, labels, shares), width, title)


def _drawn(
    weights: np.ndarray,
    words: tuple[Sequence[str], Sequence[str], Sequence[str]],
    width: float,
    title: str,
) -> PaperFigure:
    texts, labels, shares = words
    tops = strongest_tokens(weights, _NAMED)
    named = [[(_name(texts, i), str(i)) for i in row] for row in tops]
    left = MARGIN + widest([*labels, *shares]) + 2 * GAP
    names, places = ([pair[part] for row in named for pair in row] for part in (0, 1))
    right = widest(names) + widest(places) + 4 * GAP
    across = room_left(width - left - right - MARGIN, width)
    says = wrapped(_SAYS, width - 2 * MARGIN)
    rows = _ROW * len(weights)
    height = LINE * (len(says) + 2) + rows + 3 * GAP + MARGIN
    figure, top = titled_figure(width, height, title)
    for line in says:
        figure.say(MARGIN, top, line, color=SOFT)
        top += LINE
    top += 2 * GAP
    _draw_rows(figure, weights, tops, (left, top, across))
    for k, (label, share) in enumerate(zip(labels, shares, strict=True)):
        figure.say(left - 2 * GAP, top + _ROW * k + GAP, label, ha="right")
        figure.say(left - 2 * GAP, top + _ROW * k + GAP + LINE, share, ha="right", color=SOFT)
    _name_tokens(figure, named, left + across + 2 * GAP, top)
    return figure


def _name_tokens(
    figure: PaperFigure, named: Sequence[Sequence[tuple[str, str]]], left: float, top: float
) -> None:
    """Beside each row, below each other: texts and positions of its strongest tokens."""
    right = figure.get_size_inches()[0] - MARGIN
    for k, row in enumerate(named):
        for line, (name, place) in enumerate(row):
            height = top + _ROW * k + LINE * line + GAP / 2
            figure.say(left, height, name)
            figure.say(right, height, place, ha="right", color=SOFT)


def _name(texts: Sequence[str], position: int) -> str:
    """A token without a text of its own only continues a character."""
    return written(texts[position]) or "⋯"


def _draw_rows(
    figure: PaperFigure,
    weights: np.ndarray,
    tops: Sequence[Sequence[int]],
    at: tuple[float, float, float],
) -> None:
    left, top, across = at
    count, length = weights.shape
    axes = figure.axes_at(left, top, across, _ROW * count)
    axes.set(xlim=(-0.5, length - 0.5), ylim=(count - 1 + _FOOT, -1 + _FOOT))
    edges = np.arange(length + 1) - 0.5
    for k, row in enumerate(weights):
        heights = k + _FOOT - _HIGH * row / (row.max() or 1)
        axes.axhline(k + _FOOT, color=FAINT, linewidth=0.5, zorder=1)
        # The edge keeps single tokens of a long text in sight.
        axes.stairs(heights, edges, baseline=k + _FOOT, fill=True, zorder=2, **_AREA)
        if tops[k]:
            axes.plot(tops[k], heights[tops[k]], **_DOT)
    axes.spines["left"].set_visible(False)
    axes.set_yticks([])
    # The first and the last position, and round ones between.
    sizes = [max(text_width(str(length)) + 2 * GAP, across / _TICKS)] * length
    shown = spaced(sizes, across / length)
    axes.set_xticks(shown, [str(i) for i in shown])
    axes.set_xlabel("position of the token", color=SOFT, labelpad=1)
