"""The figure of which neurons fire together for a paper."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ecco_captum.core.text import format_share
from ecco_captum.display.figure import (
    ACCENT,
    FAINT,
    GAP,
    LINE,
    SOFT,
    PaperFigure,
    laid_out,
    paper_style,
    room_left,
    spaced,
    text_width,
    titled_figure,
    wrapped,
    written,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ecco_captum.factors.record import Factors

_NAMED = 3  # tokens of each factor
_ROW = _NAMED * LINE + GAP  # inches
_FOOT, _HIGH = 0.95, 0.85  # of a row: where a weight of 0 lies, how high the largest is
_TICKS = 7  # of the positions, at most
_SAYS = "weight at each token, scaled to the factor’s own maximum; right, its strongest tokens"
_DOTS: dict[str, Any] = {
    "color": ACCENT,
    "linestyle": "",
    "marker": "o",
    "markersize": 2.2,
    "markeredgewidth": 0.6,
    "markerfacecolor": "white",
    "zorder": 3,
    "clip_on": False,
    "in_layout": False,
}


@paper_style()
def factors_figure(factors: Factors, *, width: float, title: str) -> PaperFigure:
    r"""
    Draw how strong each factor of a factorisation is at each token.

    Each factor has a row, scaled to its own maximum. On its right stand its three strongest tokens
    with their positions; on the row, dots mark these places.
    """
    count, length = factors.weights.shape
    tops = [[top for top in factors.top_tokens(k, _NAMED) if top[2] > 0] for k in range(count)]
    # A token without a text of its own only continues a character.
    names = [[written(text) or "⋯" for _, text, _ in top] for top in tops]
    places = [[place for place, _, _ in top] for top in tops]
    wide = max((text_width(name) for row in names for name in row), default=0) + 4 * GAP
    numbers = text_width(str(length))
    labels = [f"factor {k}" for k in range(count)]
    across = room_left(width, labels) - wide - numbers
    figure = titled_figure(width, title, [_ROW * count])
    axes = figure.axes[0]
    axes.set(xlim=(-0.5, length - 0.5), ylim=(count - 1 + _FOOT, _FOOT - 1))
    axes.set_title(wrapped(_SAYS, across + wide + numbers), loc="left")
    for k, weights in enumerate(factors.weights):
        _draw_row(axes, k, weights, places[k])
        if names[k]:
            _write(axes, k, names[k], 2 * GAP, "left")
            _write(axes, k, map(str, places[k]), wide + numbers, "right", color=SOFT)
    shares = map(format_share, factors.explained().clip(0, 1).tolist())
    rows = np.arange(count)
    axes.set_yticks(rows + 0.3, labels)
    axes.set_yticks(rows + 0.65, shares, minor=True, color=SOFT)
    axes.tick_params("y", which="both", length=0, pad=6)
    axes.spines["left"].set_visible(False)
    # The first and the last position, and round ones between.
    positions = [str(position) for position in range(length)]
    shown = spaced(positions, across / length, max(numbers + 2 * GAP, across / _TICKS))
    axes.set_xticks(shown, [positions[k] for k in shown])
    axes.set_xlabel("position of the token")
    return laid_out(figure)


def _draw_row(axes: Axes, row: int, weights: np.ndarray, dots: list[int]) -> None:
    heights = row + _FOOT - _HIGH * weights / (weights.max() or 1)
    edges = np.arange(len(weights) + 1) - 0.5
    axes.axhline(row + _FOOT, color=FAINT, linewidth=0.5, zorder=1)
    # The edge keeps single tokens of a long text in sight.
    look: dict[str, Any] = {"color": ACCENT, "linewidth": 0.3, "zorder": 2}
    axes.stairs(heights, edges, baseline=row + _FOOT, fill=True, **look)
    if dots:
        axes.plot(dots, heights[dots], **_DOTS)


def _write(axes: Axes, row: int, lines: Iterable[str], left: float, ha: str, **look: Any) -> None:
    """Lines beside a row, ``left`` inches from it."""
    axes.annotate(
        "\n".join(lines),
        (1, row + 0.5),
        (72 * left, 0),
        xycoords=axes.get_yaxis_transform(),
        textcoords="offset points",
        ha=ha,
        va="center",
        parse_math=False,
        **look,
    )
