"""What each layer would have said next: texts and arrays in, static HTML out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ecco_captum.heat_data import (
    Cell,
    Heat,
    Mark,
    Row,
    checked_layers,
    checked_probs,
    checked_ranks,
    checked_texts,
    cut,
    linear_levels,
    quoted,
    written_rank,
)
from ecco_captum.heat_html import heat_table, heat_view, said, scale, soft
from ecco_captum.legible import format_rank, format_share

TITLE = "What would each layer have said?"

_WIDTH = 84  # px, for eleven letters
_NONE = "–"
_TRUE: tuple[Mark, ...] = ("true",)


def predictions_view(
    layers: Sequence[str],
    texts: Sequence[Sequence[str]],
    probs: np.ndarray,
    ranks: Sequence[int | None] | np.ndarray | None,
    is_true: np.ndarray,
    *,
    true: str = "",
    title: str = TITLE,
    subtitle: str = "",
    sentence: str = "",
    note: str = "",
) -> str:
    r"""
    Draw the likeliest next tokens of each layer, and where the true one stands among them.

    Args:
        layers (sequence of str): Names of the layers, the embedding first.
        texts (sequence of sequences of str): Shape (layers, k), the likeliest tokens.
        probs (numpy.ndarray): Shape (layers, k), their probabilities, descending.
        ranks (sequence of int, optional): Shape (layers,), rank of the true token at each layer;
            None where there is none.
        is_true (numpy.ndarray): Shape (layers, k), bool: whether a token is the true one.
        true (str, optional): Text of the true token. Default: not said.
        title (str, optional): The question above the view. Default: ``TITLE``
        subtitle (str, optional): What is drawn, such as model and prompt. Default: ``""``
        sentence (str, optional): The answer in plain words. Default: ``""``
        note (str, optional): A sentence below the view. Default: ``""``

    Returns:
        str: An HTML fragment, fit for a notebook cell and for the body of `ecco_captum.html.page`.

    Raises:
        ValueError: Shapes do not fit each other, or probabilities do not descend.

    Examples::

        >>> predictions_view(layers, texts, probs, ranks, is_true, true=" Paris")
    """
    layers = checked_layers(layers)
    values, marked = _checked(layers, probs, is_true)
    names = checked_texts("texts", texts, "layers, k", values.shape)
    true_ranks = _ranks(ranks, len(layers))
    levels = linear_levels(values, 0.0, float(values.max()))

    def cell(layer: int, k: int) -> Cell:
        text, share = names[layer][k], format_share(float(values[layer, k]))
        says = f"{layers[layer]}, place {k + 1}: {quoted(text)}, probability {share}"
        says += ", the true token" if marked[layer, k] else ""
        rank, marks = true_ranks[layer], _TRUE if marked[layer, k] else ()
        says += f"; rank of the true token {written_rank(rank)}" if rank is not None else ""
        return Cell(cut(text), says, int(levels[layer, k]), marks, share)

    count = values.shape[1]
    ranked = any(rank is not None for rank in true_ranks)
    rows = [
        Row(
            name,
            [cell(layer, k) for k in range(count)],
            [_NONE if rank is None else format_rank(rank)] if ranked else [],
        )
        for layer, (name, rank) in enumerate(zip(layers, true_ranks, strict=True))
    ]
    places = [str(k + 1) for k in range(count)]
    last = ["true rank"] if ranked else []
    heat = Heat(
        "The likeliest tokens of each layer", "layer", places, rows, last, (0,), turned=False
    )
    return heat_view(
        soft(_outlined(true, bool(marked.any())))
        + scale("probability", "0%", format_share(float(values.max())))
        + heat_table(heat),
        width=_WIDTH,
        below=said(sentence),
        title=title,
        subtitle=subtitle,
        note=note,
    )


def _checked(
    layers: Sequence[str], probs: np.ndarray, is_true: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    count = np.shape(probs)[1] if np.ndim(probs) == 2 else 0
    if not count:
        raise ValueError(
            f"probs: got shape {np.shape(probs)}, accepts (layers, k) with one place or more"
        )
    values = checked_probs("probs", probs, "layers, k", (len(layers), count))
    rising = (np.diff(values, axis=1) > 0).any(axis=1)
    if rising.any():
        got = values[rising][0].tolist()
        raise ValueError(f"probs: got {got}, accepts probabilities that descend in each row")
    marked = np.asarray(is_true)
    if marked.shape != values.shape or marked.dtype != np.bool_:
        raise ValueError(
            f"is_true: got {marked.dtype} of shape {marked.shape}, accepts bool of (layers, k) = "
            f"{values.shape}"
        )
    return values, marked


def _ranks(given: Sequence[int | None] | np.ndarray | None, count: int) -> list[int | None]:
    if given is None:
        return [None] * count
    ranks = list(given)
    if len(ranks) != count:
        raise ValueError(f"ranks: got {len(ranks)}, accepts one for each of {count} layers")
    known = [rank for rank in ranks if rank is not None]
    checked_ranks("ranks", known, "layers", (len(known),))
    return [None if rank is None else int(rank) for rank in ranks]


def _outlined(true: str, marked: bool) -> str:
    name = f"the true token, {quoted(true)}" if true else "the true token"
    if marked:
        return f"Outlined: {name}."
    return f"None of these is {name}." if true else ""
