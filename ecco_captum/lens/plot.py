"""Figures for papers of what each layer would have said: arrays in, a matplotlib figure out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from ecco_captum.display.figure import (
    LINE,
    SCALES,
    SOFT,
    HeatMap,
    PaperFigure,
    counted,
    draw_line,
    draw_sample,
    end_labels,
    fill_cells,
    heat_figure,
    label_room,
    linear_panel,
    mark_crossing,
    numbers,
    outline,
    panels_figure,
    paper_style,
    prob_scale,
    rank_panel,
    share_panel,
    texts_of,
    written,
)

Value = Literal["rank", "logit", "prob"]

_NAMES, _CELL = 0.65, 0.26  # inches: of the names of layers, of a cell with room for letters


@paper_style()
def rankings_figure(
    outputs: Sequence[str],
    layers: Sequence[str],
    ranks: np.ndarray,
    logits: np.ndarray,
    probs: np.ndarray,
    top_texts: Sequence[Sequence[str]],
    *,
    value: Value = "rank",
    annotate: bool | None = None,
    width: float = 3.35,
    title: str = "",
) -> PaperFigure:
    r"""
    Draw how each layer ranks the tokens that were written.

    The first layer is on top. A cell says by its colour how the layer ranks the written token, and
    by its text, bold where the two are the same, which token it would have written.

    Args:
        outputs (sequence of str): Texts of the written tokens; where columns are narrower than
            letters, only some are named: a larger ``width`` names all.
        layers (sequence of str): Names of the layers, such as ``"embedding"``, ``"block 0"``.
        ranks (numpy.ndarray): Shape (layers, outputs): ranks of the written tokens, 1 the best.
        logits (numpy.ndarray): Shape (layers, outputs): their logits.
        probs (numpy.ndarray): Shape (layers, outputs): their probabilities.
        top_texts (sequence of sequences of str): (layers, outputs): each layer's own best token.
        value (str, optional): What the colour says: ``"rank"`` (on a logarithmic scale),
            ``"logit"`` or ``"prob"``. Default: ``"rank"``
        annotate (bool, optional): Whether cells have texts. Default: ``None``, where they have
            room for some letters
        width (float, optional): Of the figure, in inches. Default: ``3.35``, one column
        title (str, optional): Above the figure. Default: ``""``

    Returns:
        PaperFigure: A matplotlib ``Figure``.

    Raises:
        ValueError: Shapes do not fit each other, numbers are not of their kind, or ``width`` is too
            small for the labels.

    Examples::

        >>> figure = rankings_figure(outputs, layers, ranks, logits, probs, top_texts, width=7)
        >>> figure.savefig("rankings.pdf")
    """
    shape = counted(layers=layers, outputs=outputs)
    given = {
        "rank": numbers("ranks", ranks, shape, least=1),
        "logit": numbers("logits", logits, shape),
        "prob": numbers("probs", probs, shape, least=0, most=1),
    }
    if value not in given:
        raise ValueError(f"value: got {value!r}, accepts {', '.join(map(repr, get_args(Value)))}")
    texts_of("top_texts", top_texts, shape)
    heat = HeatMap(layers, outputs, given[value], SCALES[value](given[value]), turned=True)
    if annotate is None:
        annotate = (width - _NAMES) / len(outputs) >= _CELL
    figure, axes = heat_figure(heat, width, title, roomy=annotate)
    if annotate:
        fill_cells(axes, heat, top_texts, bold=given["rank"] == 1)
    return figure


@paper_style()
def watch_figure(
    watched: Sequence[str],
    layers: Sequence[str],
    ranks: np.ndarray,
    *,
    since: int | None = None,
    width: float = 3.35,
    title: str = "",
) -> PaperFigure:
    r"""
    Draw how each layer ranks some words, and from where on the best one is ahead of the others.

    Args:
        watched (sequence of str): The words.
        layers (sequence of str): Names of the layers, from the embedding on.
        ranks (numpy.ndarray): Shape (layers, watched): ranks of the words, 1 the best.
        since (int, optional): Row of the layer from which the best one stays ahead. Default: not
            marked.
        width (float, optional): Of the figure, in inches. Default: ``3.35``, one column
        title (str, optional): Above the figure. Default: ``""``

    Returns:
        PaperFigure: A matplotlib ``Figure``.

    Raises:
        ValueError: Shapes do not fit each other, ranks are below 1, or ``width`` is too small for
            the labels.

    Examples::

        >>> watch_figure((" is", " are"), layers, ranks, since=27)
    """
    shape = counted(layers=layers, watched=watched)
    ranks = numbers("ranks", ranks, shape, least=1)
    if since is not None and not 0 < since < len(layers):
        raise ValueError(f"since: got {since}, accepts a row from 1 to {len(layers) - 1}, or None")
    panel = rank_panel(ranks, marked=since is not None)
    words = [written(word) for word in watched]
    figure, (axes,) = panels_figure([panel], layers, width, title, right=label_room(words))
    colors = [draw_line(axes, ranks[:, k], k, zorder=3 - 0.01 * k) for k in range(len(words))]
    end_labels(axes, panel, list(zip(map(float, ranks[-1]), words, colors, strict=True)))
    if since is not None:
        mark_crossing(figure, since, layers)
    return figure


@paper_style()
def predictions_figure(
    layers: Sequence[str],
    texts: Sequence[Sequence[str]],
    probs: np.ndarray,
    is_true: np.ndarray,
    *,
    width: float = 3.35,
    title: str = "",
) -> PaperFigure:
    r"""
    Draw what each layer would have said, best first, with the true token outlined.

    Args:
        layers (sequence of str): Names of the layers, from the embedding on.
        texts (sequence of sequences of str): (layers, k): each layer's best tokens.
        probs (numpy.ndarray): Shape (layers, k): their probabilities.
        is_true (numpy.ndarray): Shape (layers, k): whether a token is the true one.
        width (float, optional): Of the figure, in inches. Default: ``3.35``, one column
        title (str, optional): Above the figure. Default: ``""``

    Returns:
        PaperFigure: A matplotlib ``Figure``.

    Raises:
        ValueError: Shapes do not fit each other, numbers are not probabilities, or ``width`` is too
            small for the labels.
    """
    probs = numbers("probs", probs, (*counted(layers=layers), -1), least=0, most=1)
    shape, places = probs.shape, [str(k + 1) for k in range(probs.shape[1])]
    texts_of("texts", texts, shape)
    true = np.asarray(is_true)
    if true.shape != shape or true.dtype != bool:
        raise ValueError(f"is_true: got {true.dtype} {true.shape}, accepts bool {shape}")
    heat = HeatMap(layers, places, probs, prob_scale(probs, "probability"))
    figure, axes = heat_figure(heat, width, title, roomy=True)
    fill_cells(axes, heat, texts, bold=true)
    outline(axes, true)
    return figure


@paper_style()
def pairs_figure(
    layers: Sequence[str],
    margins: np.ndarray,
    *,
    labels: Sequence[str] | None = None,
    width: float = 3.35,
    title: str = "",
) -> PaperFigure:
    r"""
    Draw how far each layer prefers the first of two fillers, over prompts.

    Thin lines are prompts; the line in the accent is their mean, with its 95% interval (1.96
    standard errors) from three prompts on. Below: the share of prompts that prefer the first.

    Args:
        layers (sequence of str): Names of the layers, from the embedding on.
        margins (numpy.ndarray): Shape (prompts, layers), in nats: log-probability of the first
            filler minus that of the second.
        labels (sequence of str, optional): Shape (prompts,): names at the ends of the thin lines.
            Default: ``None``
        width (float, optional): Of the figure, in inches. Default: ``3.35``, one column
        title (str, optional): Above the figure. Default: ``""``

    Returns:
        PaperFigure: A matplotlib ``Figure``.

    Raises:
        ValueError: Shapes do not fit each other, margins are not finite, or ``width`` is too small.
    """
    margins = numbers("margins", margins, (-1, *counted(layers=layers)))
    names = [] if labels is None else [written(label) for label in labels]
    if labels is not None and len(names) != len(margins):
        raise ValueError(
            f"labels: got {len(names)}, accepts one for each of {len(margins)} prompts"
        )
    low, high = min(0.0, float(margins.min())), max(0.0, float(margins.max()))
    height = max(1.3, LINE * (len(names) + 1))
    says = "margin of the first filler over the second (nats)"
    panels = [
        linear_panel(says, height, low, high),
        share_panel("share of prompts that prefer the first", 0.45),
    ]
    room = label_room([*names, "mean"])
    figure, (upper, lower) = panels_figure(panels, layers, width, title, right=room)
    color = draw_sample(upper, margins)
    ends = [(float(v), name, SOFT) for v, name in zip(margins[:, -1], names, strict=False)]
    end_labels(upper, panels[0], [*ends, (float(margins[:, -1].mean()), "mean", color)])
    draw_line(lower, (margins > 0).mean(axis=0), 0)
    return figure


@paper_style()
def agreement_figure(
    layers: Sequence[str],
    cosine: np.ndarray,
    divergence: np.ndarray,
    first: np.ndarray,
    first_shuffled: np.ndarray | None = None,
    *,
    width: float = 3.35,
    title: str = "",
) -> PaperFigure:
    r"""
    Draw how far what each layer would have said agrees with what the model said.

    Args:
        layers (sequence of str): Names of the layers, from the embedding on.
        cosine (numpy.ndarray): Shape (layers, outputs): cosine between a layer's distribution and
            the final one.
        divergence (numpy.ndarray): Shape (layers, outputs), in nats: KL divergence of the two.
        first (numpy.ndarray): Shape (layers,): share of outputs that a layer ranks first, 0 to 1.
        first_shuffled (numpy.ndarray, optional): Likewise, with the outputs of the blocks shuffled;
            it is dashed. Default: ``None``
        width (float, optional): Of the figure, in inches. Default: ``3.35``, one column
        title (str, optional): Above the figure. Default: ``""``

    Returns:
        PaperFigure: A matplotlib ``Figure``.

    Raises:
        ValueError: Shapes do not fit each other, numbers are not of their kind, or ``width`` is too
            small for the labels.
    """
    (count,) = counted(layers=layers)
    near = numbers("cosine", cosine, (count, -1), least=-1, most=1).mean(axis=1)
    # A layer may rule a likely token out; what is infinitely far is left out of the line.
    infinite = np.isposinf(divergence)
    far = numbers("divergence", np.where(infinite, 0, divergence), (count, -1), least=0)
    far = np.where(infinite.any(axis=1), np.nan, far.mean(axis=1))
    shares = [("model", numbers("first", first, (count,), least=0, most=1))]
    if first_shuffled is not None:
        control = numbers("first_shuffled", first_shuffled, (count,), least=0, most=1)
        shares.append(("shuffled", control))
    panels = [
        linear_panel("mean cosine with the final distribution", 0.55, min(0.0, near.min()), 1),
        linear_panel("mean KL divergence (nats)", 0.55, 0, np.nan_to_num(far).max()),
        share_panel("share of outputs ranked first", 0.55),
    ]
    names = [name for name, _ in shares] if len(shares) > 1 else []
    figure, axes = panels_figure(panels, layers, width, title, right=label_room(names))
    draw_line(axes[0], near, 0)
    draw_line(axes[1], far, 0)
    colors = [draw_line(axes[2], values, k) for k, (_, values) in enumerate(shares)]
    if names:
        last = [float(values[-1]) for _, values in shares]
        end_labels(axes[2], panels[2], list(zip(last, names, colors, strict=True)))
    return figure
