"""Heat maps for papers: one hue, from white to the accent, with an ink that can be read on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.patches import Rectangle

from ecco_captum.legible import format_number
from ecco_captum.paper_figure import (
    FAINT,
    INK,
    SOFT,
    PaperFigure,
    inches_of,
    room_left,
    titled_figure,
)
from ecco_captum.paper_text import (
    GAP,
    LAYER_LETTERS,
    LINE,
    MARGIN,
    TURNED,
    Weight,
    first_block,
    fitted,
    rank_tick,
    spaced,
    text_width,
    widest,
    wrapped,
    written,
)
from ecco_captum.shades import COLORS, ink

RAMP = LinearSegmentedColormap.from_list("accent", ["#ffffff", COLORS["accent"][0]], N=128)

_ROW, _THIN_ROW, _MANY_ROWS = 0.125, 0.085, 20
_BAR = 0.07


@dataclass(frozen=True, slots=True)
class Scale:
    """What a colour says: its ends, marks on the way, and whether 1 is the strongest (ranks)."""

    says: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    ranks: bool = False

    def place(self, values: np.ndarray | float) -> np.ndarray:
        """Where values lie between the ends, 0 to 1."""
        if self.ranks:
            return np.log(values) / (np.log(self.high) or 1.0)
        return (np.asarray(values) - self.low) / ((self.high - self.low) or 1.0)

    def strength(self, values: np.ndarray) -> np.ndarray:
        """How strong values are painted, 0 to 1."""
        return 1 - self.place(values) if self.ranks else self.place(values)


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Numbers of layers and columns, ``values`` (layers, columns), and what stands around them."""

    layers: Sequence[str]
    columns: Sequence[str]
    values: np.ndarray
    scale: Scale
    turned: bool = False


def rank_scale(ranks: np.ndarray) -> Scale:
    """From 1 to the worst rank, logarithmic."""
    worst = float(ranks.max())
    tens = [10.0**k for k in range(int(np.log10(worst)) + 1)]
    ticks = [(tick, rank_tick(tick)) for tick in sorted({*tens, worst})]
    return Scale("rank of the written token", 1, worst, ticks, ranks=True)


def logit_scale(logits: np.ndarray) -> Scale:
    """From the lowest to the highest."""
    return linear_scale("logit of the written token", float(logits.min()), float(logits.max()))


def prob_scale(probs: np.ndarray, says: str = "probability of the written token") -> Scale:
    """From 0 to the highest."""
    return linear_scale(says, 0.0, float(probs.max()))


def linear_scale(says: str, low: float, high: float) -> Scale:
    """Between two ends."""
    ends = [(end, format_number(end)) for end in sorted({low, high})]
    return Scale(says, low, high, ends)


SCALES: dict[Literal["rank", "logit", "prob"], Callable[[np.ndarray], Scale]] = {
    "rank": rank_scale,
    "logit": logit_scale,
    "prob": prob_scale,
}


def heat_figure(
    heat: HeatMap, width: float, title: str, *, roomy: bool
) -> tuple[PaperFigure, Axes]:
    """The heat map with its labels and its scale; ``roomy`` rows have the height of a text."""
    layers = [written(name, LAYER_LETTERS) for name in heat.layers]
    heads = [written(text) for text in heat.columns]
    left = MARGIN + widest(layers) + GAP
    across = room_left(width - left - MARGIN, width)
    head = (widest(heads) if heat.turned else LINE) + GAP
    row = _ROW if roomy or len(layers) <= _MANY_ROWS else _THIN_ROW
    below = head + row * len(layers)
    legend = wrapped(heat.scale.says, across)
    height = below + 2 * GAP + _BAR + LINE * (1 + len(legend)) + 2 * MARGIN
    figure, top = titled_figure(width, height, title)
    axes = figure.axes_at(left, top + head, across, row * len(layers))
    strengths = heat.scale.strength(heat.values)
    axes.pcolormesh(strengths, cmap=RAMP, vmin=0, vmax=1, edgecolors="white", linewidth=0.3)
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    sizes = [TURNED if heat.turned else text_width(text) + GAP for text in heads]
    shown = spaced(sizes, across / len(heads))
    axes.set_xticks(
        [k + 0.5 for k in shown],
        [heads[k] for k in shown],
        rotation=90 if heat.turned else 0,
        parse_math=False,
    )
    shown = spaced([LINE] * len(layers), row, first_block(layers))
    axes.set_yticks([k + 0.5 for k in shown], [layers[k] for k in shown], parse_math=False)
    _legend(figure, heat.scale, (left, top + below + 2 * GAP, across), legend)
    return figure, axes


def fill_cells(axes: Axes, heat: HeatMap, texts: Sequence[Sequence[str]], bold: np.ndarray) -> None:
    """Write into the cells what fits, in an ink that can be read on the shade."""
    cell = inches_of(axes)[2] / len(heat.columns)
    colors = RAMP(heat.scale.strength(heat.values))
    for place in np.ndindex(heat.values.shape):
        row, column = place
        weight: Weight = "bold" if bold[place] else "normal"
        text = written(texts[row][column], weight=weight)
        axes.text(
            column + 0.5,
            row + 0.53,
            fitted(text, cell - GAP / 2, weight=weight),
            color=ink(to_hex(colors[place]), INK),
            ha="center",
            va="center_baseline",
            weight=weight,
            parse_math=False,
        )


def grey_cells(axes: Axes, chosen: np.ndarray) -> None:
    """Paint the chosen cells in a neutral colour, whatever their numbers."""
    for row, column in np.argwhere(chosen):
        corner = float(column), float(row)
        axes.add_patch(Rectangle(corner, 1, 1, facecolor=FAINT, edgecolor="white", linewidth=0.3))


def outline(axes: Axes, chosen: np.ndarray) -> None:
    """Put a frame around the chosen cells."""
    for row, column in np.argwhere(chosen):
        corner = float(column) + 0.02, float(row) + 0.06
        axes.add_patch(Rectangle(corner, 0.96, 0.88, fill=False, edgecolor=INK, linewidth=0.9))


def _legend(
    figure: PaperFigure, scale: Scale, at: tuple[float, float, float], lines: Sequence[str]
) -> None:
    left, top, room = at
    across = min(0.8 * room, 2.0)
    bar = figure.axes_at(left, top, across, _BAR)
    # From left to right as numbers are read: ranks begin with 1, which is the strongest.
    shades = RAMP(np.linspace(0, 1, RAMP.N)[:: -1 if scale.ranks else 1])
    # Each shade reaches to the end, under the next: side by side, viewers draw seams.
    starts = np.arange(RAMP.N) / RAMP.N
    bar.bar(starts, 1, 1 - starts, align="edge", color=shades, linewidth=0)
    bar.set(xlim=(0, 1), ylim=(0, 1))
    bar.spines[:].set_visible(True)
    bar.spines[:].set_color(FAINT)
    bar.set_yticks([])
    ticks = _clear([(float(scale.place(value)), text) for value, text in scale.ticks], across)
    bar.set_xticks([place for place, _ in ticks], [text for _, text in ticks])
    for k, line in enumerate(lines):
        figure.say(left, top + _BAR + LINE * (k + 1) + GAP, line, color=SOFT)


def _clear(ticks: Sequence[tuple[float, str]], across: float) -> list[tuple[float, str]]:
    """The two ends, and of the ticks between those that touch neither them nor each other."""

    def apart(one: tuple[float, str], other: tuple[float, str]) -> bool:
        needed = (text_width(one[1]) + text_width(other[1])) / 2 + GAP
        return (other[0] - one[0]) * across >= needed

    first, *between, last = ticks if len(ticks) > 1 else (*ticks, *ticks)
    kept = [first]
    for tick in between:
        if apart(kept[-1], tick) and apart(tick, last):
            kept.append(tick)
    return kept if last == first else [*kept, last]
