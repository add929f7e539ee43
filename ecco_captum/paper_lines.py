"""Lines over layers, for papers: told apart by hue, dashes and markers, labelled at their ends."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ecco_captum.legible import MINUS
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
    first_block,
    fitted,
    rank_tick,
    spaced,
    text_width,
    widest,
    wrapped,
    written,
)
from ecco_captum.shades import COLORS

ACCENT, COOL, _THIN = COLORS["accent"][0], COLORS["cool"][0], "#b9b6c3"

_LINES: tuple[dict[str, Any], ...] = (
    {"color": ACCENT, "linestyle": "-", "marker": "o"},
    {"color": COOL, "linestyle": (0, (4, 1.5)), "marker": "s"},
    {"color": COLORS["mark"][0], "linestyle": (0, (1, 1.2)), "marker": "^"},
    {"color": SOFT, "linestyle": (0, (5, 1.5, 1, 1.5)), "marker": "D"},
    {"color": COLORS["mark"][0], "linestyle": (0, (8, 2)), "marker": "v"},
    {"color": SOFT, "linestyle": (0, (2, 3)), "marker": "P"},
)


@dataclass(frozen=True, slots=True)
class Panel:
    """One scale over the layers, with words above it; ``height`` and ``above`` are inches."""

    says: str
    height: float
    limits: tuple[float, float]
    ticks: Sequence[tuple[float, str]]
    ranks: bool = False
    above: float = GAP

    def place(self, value: float) -> float:
        """Where a value lies, from 0 at the foot to 1 at the top."""
        see: Callable[[float], float] = np.log if self.ranks else float
        foot, top = map(see, self.limits)
        return (see(value) - foot) / (top - foot)


def panels_figure(
    panels: Sequence[Panel], layers: Sequence[str], width: float, title: str, *, right: float = 0.0
) -> tuple[PaperFigure, list[Axes]]:
    """Panels over the same layers, one below the other; ``right`` inches stay for labels."""
    word, names = _short(layers)
    values = widest([text for panel in panels for _, text in panel.ticks])
    left = MARGIN + max(values + 2 * GAP, text_width(names[0]) / 2 if word else 0)
    across = room_left(width - left - MARGIN - max(right, text_width(names[-1]) / 2), width)
    words = [wrapped(panel.says, width - left - MARGIN) for panel in panels]
    foot = 2 * LINE + GAP if word else widest(names) + GAP
    heights = [p.height + LINE * len(w) + p.above for p, w in zip(panels, words, strict=True)]
    height = sum(heights) + 2 * GAP * (len(panels) - 1) + foot + GAP + MARGIN
    figure, top = titled_figure(width, height, title)
    drawn = []
    for panel, lines in zip(panels, words, strict=True):
        for line in lines:
            figure.say(left, top, line, color=SOFT)
            top += LINE
        drawn.append(figure.axes_at(left, top + panel.above, across, panel.height))
        _scale_axes(drawn[-1], panel, len(layers))
        top += panel.above + panel.height + 2 * GAP
    _name_layers(drawn[-1], word, names, across)
    return figure, drawn


def draw_line(axes: Axes, values: np.ndarray, kind: int, **kwargs: Any) -> str:
    """A line over the layers, in the look of its kind; its colour."""
    look = {**_LINES[kind % len(_LINES)], "markersize": 2.2, **kwargs}
    every = max(1, round(len(values) / 10))
    axes.plot(np.arange(len(values)), values, markevery=every, clip_on=False, **look)
    return str(look["color"])


def end_labels(axes: Axes, panel: Panel, ends: Sequence[tuple[float, str, str]]) -> None:
    """Label lines at their last value: value, text and colour of each."""
    last = sum(axes.get_xlim())  # the axis begins as far before 0 as it ends after the last
    places = _apart([panel.place(value) for value, _, _ in ends], LINE / panel.height)
    leader = {
        "arrowstyle": "-",
        "color": _THIN,
        "lw": 0.5,
        "shrinkA": 1,
        "shrinkB": 3,
        "relpos": (0, 0.5),
    }
    for place, (value, text, color) in zip(places, ends, strict=True):
        axes.annotate(
            text,
            (last, value),
            (1 + 0.13 / inches_of(axes)[2], place),
            xycoords="data",
            textcoords="axes fraction",
            color=color,
            va="center",
            parse_math=False,
            arrowprops=leader,
            annotation_clip=False,
        )


def draw_sample(axes: Axes, values: np.ndarray) -> str:
    """Thin lines, ``values`` (sample, layers), and their mean with its interval; its colour."""
    axes.axhline(0, color=SOFT, linewidth=0.7)
    axes.plot(values.T, color=_THIN, linewidth=0.5, zorder=2)
    mean = values.mean(axis=0)
    if len(values) > 2:
        half = 1.96 * values.std(axis=0, ddof=1) / np.sqrt(len(values))
        places = np.arange(len(mean))
        axes.fill_between(places, mean - half, mean + half, color=ACCENT, alpha=0.22, lw=0)
    return draw_line(axes, mean, 0, zorder=3)


def mark_crossing(figure: PaperFigure, row: int, layers: Sequence[str]) -> None:
    """A thin line at the layer from which the best stays ahead, and its name."""
    axes = figure.axes[0]
    axes.axvline(row, color=INK, linewidth=0.6, zorder=1)
    left, top, across = inches_of(axes)
    begin, end = axes.get_xlim()
    width = figure.get_size_inches()[0] - 2 * MARGIN
    text = fitted(f"from {written(layers[row], LAYER_LETTERS)} on", width)
    half = MARGIN + text_width(text) / 2
    at = left + across * (row - begin) / (end - begin)
    at = min(max(at, half), width + 2 * MARGIN - half)
    figure.say(at, top - GAP / 2, text, ha="center", va="bottom")


def rank_panel(ranks: np.ndarray, *, marked: bool) -> Panel:
    """A logarithmic scale with 1 on top, high enough for the labels of all lines."""
    worst = max(10.0, 1.1 * float(ranks.max()))
    tens = [10.0**k for k in range(int(np.log10(worst)) + 1)]
    ticks = [(ten, rank_tick(ten)) for ten in tens]
    height = max(1.5, LINE * ranks.shape[1])
    above = LINE + GAP / 2 if marked else GAP
    return Panel("rank (1 is the best)", height, (worst, 0.9), ticks, True, above)


def linear_panel(says: str, height: float, low: float, high: float) -> Panel:
    """A scale between round numbers."""
    high = high if high > low else low + 1
    found = MaxNLocator(nbins=3, steps=[1, 2, 5, 10]).tick_values(low, high)
    ticks = [float(f"{value:.9g}") for value in found]
    names = [(value, f"{value:.6g}".replace("-", MINUS)) for value in ticks]
    return Panel(says, height, (ticks[0], ticks[-1]), names)


def share_panel(says: str, height: float) -> Panel:
    """A scale of shares."""
    return Panel(says, height, (0, 1), ((0.0, "0%"), (0.5, "50%"), (1.0, "100%")))


def label_room(texts: Sequence[str]) -> float:
    """Inches that labels at the ends of lines take."""
    return widest(texts) + 0.16


def _scale_axes(axes: Axes, panel: Panel, layers: int) -> None:
    if panel.ranks:
        axes.set_yscale("log")
    axes.set_ylim(panel.limits)
    axes.set_yticks([value for value, _ in panel.ticks], [text for _, text in panel.ticks])
    axes.set_yticks([], minor=True)
    axes.grid(axis="y", color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    pad = 0.015 * (layers - 1) or 0.5
    axes.set_xlim(-pad, layers - 1 + pad)
    axes.set_xticks([])


def _name_layers(axes: Axes, word: str, names: Sequence[str], across: float) -> None:
    sizes = [text_width(name) + 2.5 * GAP if word else TURNED for name in names]
    spacing = across / (1.03 * (len(names) - 1) or 1)
    shown = spaced(sizes, spacing, first_block(names))
    texts = [names[k] for k in shown]
    axes.set_xticks(shown, texts, rotation=0 if word else 90, parse_math=False)
    axes.set_xlabel(word, color=SOFT, labelpad=1, parse_math=False)


def _short(layers: Sequence[str]) -> tuple[str, list[str]]:
    """The word that all layers share but perhaps the first, and what tells them apart."""
    names = [written(name, LAYER_LETTERS) for name in layers]
    found = [re.fullmatch(r"(\D*[^\d\s])\s(\d+)", name) for name in names]
    words = {match[1] for match in found if match}
    if len(words) != 1 or not all(found[1:]):
        return "", names
    return words.pop(), [m[2] if m else name for m, name in zip(found, names, strict=True)]


def _apart(wanted: Sequence[float], step: float) -> list[float]:
    """Places between 0 and 1, as near to what is wanted as they can be a step apart."""
    order = np.argsort(wanted, kind="stable")
    steps = step * np.arange(len(order))
    low = np.maximum.accumulate(np.asarray(wanted, dtype=np.float64)[order] - steps)
    top = 1 + step / 2 - steps[-1]
    places = np.empty(len(order))
    places[order] = np.minimum(low, max(top, 0.0)) + steps
    return [float(place) for place in places]
