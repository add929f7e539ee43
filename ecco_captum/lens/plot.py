"""Figures of what each layer predicts for a paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ecco_captum.core.checks import UnsupportedError
from ecco_captum.display.figure import (
    ACCENT,
    INK,
    LINE,
    SOFT,
    THIN,
    HeatMap,
    Panel,
    PaperFigure,
    Scale,
    draw_line,
    heat_figure,
    labelled,
    panels_figure,
    paper_style,
    percent_tick,
    rank_tick,
    written,
)

if TYPE_CHECKING:
    from ecco_captum.lens.record import (
        LayerPredictions,
        MinimalPairs,
        Rankings,
        Value,
        WatchedRankings,
    )

_LETTERS = 0.26  # inches that some letters take


@paper_style()
def rankings_figure(rankings: Rankings, value: Value, *, width: float, title: str) -> PaperFigure:
    r"""
    Draw how each layer ranks the tokens that were written.

    The first layer is on top. A cell says by its colour how the layer ranks the written token, and
    by its text, bold where the two are the same, which token it ranks first; where cells
    are too narrow for letters there are no texts, and a larger ``width`` has them.
    """
    ranks, logits, probs = rankings.ranks, rankings.logits, rankings.probs
    of, worst = "of the written token", max(10, int(ranks.max()))
    scales = {
        "rank": (ranks, Scale(f"rank {of}", 1, worst, rank_tick, ranks=True)),
        "logit": (logits, Scale(f"logit {of}", float(logits.min()), float(logits.max()))),
        "prob": (probs, Scale(f"probability {of}", 0, float(probs.max()))),
    }
    if value not in scales:
        raise ValueError(f"value: got {value!r}, accepts {', '.join(map(repr, scales))}")
    shown = (rankings.target_texts, *scales[value], rankings.top_texts, ranks == 1)
    heat = HeatMap(rankings.layer_names, *shown, room=_LETTERS)
    return heat_figure(heat, width, title)[0]


@paper_style()
def watch_figure(watched: WatchedRankings, *, width: float, title: str) -> PaperFigure:
    """Draw how each layer ranks some words, and from which layer on the best one stays ahead."""
    if len(watched.positions) > 1:
        raise UnsupportedError(
            f"position: {len(watched.positions)} positions were watched, a figure shows one; "
            "call rankings_watch with it alone"
        )
    layers, words = watched.layer_names, [written(text) for text in watched.watch_texts]
    ranks = watched.ranks.reshape(len(layers), -1)
    panel = Panel("rank (1 is the best)", max(1.5, LINE * len(words)), form=rank_tick, log=True)
    figure, (axes,) = panels_figure([panel], layers, width, title, words)
    worst = max(10.0, 1.1 * ranks.max())
    axes.set(ylim=(worst, 0.9), yticks=10.0 ** np.arange(int(np.log10(worst)) + 1))
    for k, word in enumerate(words):
        draw_line(axes, ranks[:, k], word, zorder=3 - 0.01 * k)
    row = int(np.searchsorted(watched.layers, watched.crossings.item()))
    if row > 0:  # not from the first layer on, nor level at the last
        axes.axvline(row, color=INK, linewidth=0.6, zorder=1)
        place = axes.get_xaxis_transform()
        axes.text(row, 1.01, f"from {layers[row]} on", transform=place, ha="center", va="bottom")
        axes.set_title(panel.says, loc="left", pad=5 + 72 * LINE)
    return labelled(figure)


@paper_style()
def predictions_figure(predictions: LayerPredictions, *, width: float, title: str) -> PaperFigure:
    """Draw what each layer predicts, best first, with the true token outlined."""
    probs, true = predictions.probs, predictions.token_ids == predictions.true_id
    places = [str(k + 1) for k in range(probs.shape[1])]
    scale = Scale("probability", 0, float(probs.max()))
    heat = HeatMap(predictions.layer_names, places, probs, scale, predictions.texts, true)
    figure, axes = heat_figure(heat, width, title)
    rows, columns = np.nonzero(true)
    axes.bar(columns + 0.5, 0.88, 0.96, rows + 0.06, fill=False, edgecolor=INK, linewidth=0.9)
    return figure


@paper_style()
def pairs_figure(pairs: MinimalPairs, *, width: float, title: str) -> PaperFigure:
    r"""
    Draw how far each layer prefers the first of two fillers, over prompts.

    Thin lines are prompts; the line in the accent is their mean, with its 95% interval (1.96
    standard errors) from three prompts on. Below: the share of prompts that prefer the first.
    """
    margins = pairs.margins
    panels = [
        Panel("margin of the first filler over the second (nats)", 1.3, (0,)),
        Panel("share of prompts that prefer the first", 0.45, (0, 1), percent_tick),
    ]
    layers = pairs.layer_names
    figure, (upper, lower) = panels_figure(panels, layers, width, title, ["mean"])
    upper.axhline(0, color=SOFT, linewidth=0.7)
    upper.plot(margins.T, color=THIN, linewidth=0.5, linestyle="-", marker="", zorder=2)
    mean = margins.mean(axis=0)
    if len(margins) > 2:
        half = 1.96 * margins.std(axis=0, ddof=1) / np.sqrt(len(margins))
        places = np.arange(len(mean))
        upper.fill_between(places, mean - half, mean + half, color=ACCENT, alpha=0.22, linewidth=0)
    draw_line(upper, mean, "mean", zorder=3)
    draw_line(lower, (margins > 0).mean(axis=0))
    return labelled(figure)


@paper_style()
def agreement_figure(rankings: Rankings, *, width: float, title: str) -> PaperFigure:
    """Draw how far each layer's prediction agrees with the model's final one, over layers."""
    # A layer may rule a likely token out; what is infinitely far is left out of the line.
    far = rankings.divergence.clip(0).mean(axis=1, dtype=np.float64)
    far[np.isinf(far)] = np.nan
    shuffled = rankings.shuffled_ranks
    names = ["", ""] if shuffled is None else ["model", "shuffled"]
    panels = [
        Panel("mean cosine with the final distribution", includes=(0, 1)),
        Panel("mean KL divergence (nats)", includes=(0, np.nanmax(far, initial=0) or 1)),
        Panel("share of outputs ranked first", includes=(0, 1), form=percent_tick),
    ]
    layers = rankings.layer_names
    figure, axes = panels_figure(panels, layers, width, title, names)
    draw_line(axes[0], rankings.cosine.clip(-1, 1).mean(axis=1, dtype=np.float64))
    draw_line(axes[1], far)
    draw_line(axes[2], (rankings.ranks == 1).mean(axis=1), names[0])
    if shuffled is not None:
        draw_line(axes[2], (shuffled == 1).mean(axis=1), names[1])
    return labelled(figure)
