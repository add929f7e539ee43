"""Where each layer starts to prefer one filler of a blank to the other: arrays in, HTML out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ecco_captum.heat_data import (
    Cell,
    Heat,
    Row,
    checked_labels,
    checked_layers,
    checked_numbers,
    cut,
    linear_levels,
    quoted,
)
from ecco_captum.heat_html import folded, heat_table, heat_view, said, scale, soft
from ecco_captum.legible import MINUS, format_number

TITLE = "Where does each layer start to prefer the first filler?"

_OPEN_ROWS = 40  # prompts of the table before the others are folded away
_WIDTHS = (40, 48)  # px, for margins of one and of two digits
_NEVER = "never"
_MEANING = "log-probability of the first filler less that of the second, nats"
_ONSET = "The bar marks the layer from which on the first filler stays ahead."


def pairs_view(
    prompts: Sequence[str],
    fillers: Sequence[tuple[str, str]],
    layers: Sequence[str],
    margins: np.ndarray,
    crossings: Sequence[int] | np.ndarray,
    *,
    title: str = TITLE,
    subtitle: str = "",
    sentence: str = "",
    note: str = "",
) -> str:
    r"""
    Draw how far each layer prefers the first of two fillers, prompt by prompt.

    Args:
        prompts (sequence of str): Texts with the blank.
        fillers (sequence of tuples of str): Shape (prompts, 2), the two words for each blank.
        layers (sequence of str): Names of the layers, the embedding first.
        margins (numpy.ndarray): Shape (prompts, layers), log-probability of the first filler less
            that of the second, in nats.
        crossings (sequence of int): Shape (prompts,), the row of ``layers`` from which on the
            margin stays above 0; -1 where it never does.
        title (str, optional): The question above the view. Default: ``TITLE``
        subtitle (str, optional): What is drawn, such as the model. Default: ``""``
        sentence (str, optional): The answer in plain words. Default: ``""``
        note (str, optional): A sentence below the view. Default: ``""``

    Returns:
        str: An HTML fragment, fit for a notebook cell and for the body of `ecco_captum.html.page`.

    Raises:
        ValueError: Shapes do not fit each other, or a crossing is no layer.

    Examples::

        >>> pairs_view(("The keys to the cabinet ___",), ((" are", " is"),), layers, margins, [23])
    """
    prompts, layers = checked_labels("prompts", prompts), checked_layers(layers)
    pairs = _pairs(fillers, len(prompts))
    values = checked_numbers("margins", margins, "prompts, layers", (len(prompts), len(layers)))
    onsets = _onsets(crossings, len(prompts), len(layers))
    peak = float(np.abs(values).max())
    levels = linear_levels(values, 0.0, peak)
    rows = [
        _row((prompt, pair), layers, values[k], levels[k], onsets[k])
        for k, (prompt, pair) in enumerate(zip(prompts, pairs, strict=True))
    ]
    signed = bool((values < 0).any())
    low = f"{MINUS}{format_number(peak)}" if signed else "0"
    return heat_view(
        soft(_ONSET)
        + scale(_MEANING, low, format_number(peak), signed=signed)
        + _tables(layers, rows),
        width=_WIDTHS[peak >= 9.95],
        numbered=True,
        signed=signed,
        below=said(sentence),
        title=title,
        subtitle=subtitle,
        note=note,
    )


def _pairs(fillers: Sequence[tuple[str, str]], count: int) -> list[tuple[str, str]]:
    pairs = [tuple(pair) for pair in fillers]
    if len(pairs) != count or any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"fillers: got {pairs!r}, accepts two texts for each of {count} prompts")
    return [(str(first), str(second)) for first, second in pairs]


def _onsets(crossings: Sequence[int] | np.ndarray, count: int, layers: int) -> list[int]:
    values = checked_numbers("crossings", crossings, "prompts", (count,))
    wrong = (values != np.rint(values)) | (values < -1) | (values >= layers)
    if wrong.any():
        raise ValueError(
            f"crossings: got {values[wrong][0]:g}, accepts rows of the layers, 0 to {layers - 1}, "
            "and -1 for never"
        )
    return [int(value) for value in values]


def _row(
    asked: tuple[str, tuple[str, str]],
    layers: Sequence[str],
    values: np.ndarray,
    levels: np.ndarray,
    onset: int,
) -> Row:
    prompt, (first, second) = asked
    words = (quoted(first), quoted(second))
    cells = [
        Cell(
            _short(value),
            f"{quoted(prompt)}, {name}: {_leads(words, value)}"
            + (", ahead from here on" if k == onset else ""),
            int(level),
            ("onset",) if k == onset else (),
        )
        for k, (name, value, level) in enumerate(zip(layers, values.tolist(), levels, strict=True))
    ]
    crossed = layers[onset] if onset >= 0 else _NEVER
    small = f"{cut(first, 40)} / {cut(second, 40)}"
    return Row(prompt, cells, (crossed, format_number(float(values[-1]))), small)


def _leads(words: tuple[str, str], margin: float) -> str:
    if not margin:
        return f"{words[0]} and {words[1]} are level"
    ahead, behind = words if margin > 0 else words[::-1]
    return f"{ahead} leads {behind} by {format_number(abs(margin))} nats"


def _short(value: float) -> str:
    """At most three digits, so that cells can be narrow."""
    if abs(value) >= 99.95:
        return format_number(value)
    return f"{round(value, 1) + 0.0:.1f}".replace("-", MINUS)


def _tables(layers: Sequence[str], rows: Sequence[Row]) -> str:
    def drawn(name: str, part: Sequence[Row]) -> str:
        return heat_table(Heat(name, "prompt", layers, part, ("ahead from", "at the end"), (1,)))

    shown = drawn("Margins of the first filler", rows[:_OPEN_ROWS])
    count = len(rows) - _OPEN_ROWS
    if count <= 0:
        return shown
    more = f"{count} more prompts" if count > 1 else "1 more prompt"
    return shown + folded(more, drawn(f"Margins, {more}", rows[_OPEN_ROWS:]))
