"""Tables of probes: accuracy beside its control, what each label's words are told as."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ecco_captum.heat_data import Cell, Heat, Row, cut, linear_levels
from ecco_captum.heat_html import folded, heat_table, heat_view, scale, soft
from ecco_captum.legible import format_fixed

COLUMNS = ("accuracy", "control", "selectivity")

_NARROW = 48  # px, for a percentage
_BITS = "codelength, kbit"


def accuracy_table(
    kind: str,
    layers: Sequence[str],
    columns: Sequence[np.ndarray],
    codelength: np.ndarray | None = None,
) -> str:
    r"""
    The paper's Table 1 of one representation.

    Args:
        kind (str): Its name.
        layers (sequence of str): Shape (rows,).
        columns (sequence of numpy.ndarray): One to three of ``COLUMNS``, each (rows, trials).
        codelength (numpy.ndarray, optional): Shape (rows, trials), bits.

    Returns:
        str: HTML.
    """
    rows = []
    for k, layer in enumerate(layers):
        named = zip(COLUMNS, columns, strict=False)
        cells = [_cell(layer, which, column[k]) for which, column in named]
        beside = () if codelength is None else (_kbit(codelength[k]),)
        rows.append(Row(layer, cells, beside))
    beside = () if codelength is None else (_BITS,)
    shown = COLUMNS[: len(columns)]
    heat = Heat(f"Probes of {kind}", kind, shown, rows, beside, range(len(beside)), turned=False)
    return heat_table(heat)


def label_tables(
    kind: str, layers: Sequence[str], labels: Sequence[str], confusion: np.ndarray
) -> str:
    r"""
    Two folded tables: the recall of each label at each layer, and confusions where most is told.

    Args:
        kind (str): The representation's name.
        layers (sequence of str): Shape (rows,).
        labels (sequence of str): Shape (labels,), without the ones that are never true or told.
        confusion (numpy.ndarray): Shape (rows, labels, labels), counts: true labels in rows.

    Returns:
        str: HTML.
    """
    there = confusion.sum(axis=2)
    right = np.diagonal(confusion, axis1=1, axis2=2)
    recall = [
        Row(
            layer,
            [
                _share(right[k, j], there[k, j], f"{layer}, {label}", zero="0")
                for j, label in enumerate(labels)
            ],
        )
        for k, layer in enumerate(layers)
    ]
    best = int(right.sum(axis=1).argmax())
    named = f"Probes of {kind}: the part of each label's words that is told right"
    tables = (
        (f"{kind}: recall of each label", Heat(named, kind, labels, recall)),
        (
            f"{kind}, {layers[best]}: what is told as what",
            _confusions(f"{kind}, {layers[best]}", labels, confusion[best]),
        ),
    )
    return "".join(folded(summary, _narrow(heat)) for summary, heat in tables)


def confusion_view(where: str, labels: Sequence[str], counts: np.ndarray, subtitle: str) -> str:
    r"""
    What the probes of one layer take for what, as a view of its own.

    Args:
        where (str): The representation and the layer.
        labels (sequence of str): Shape (labels,).
        counts (numpy.ndarray): Shape (labels, labels), true labels in rows, told ones in columns.
        subtitle (str): What was probed.

    Returns:
        str: An HTML fragment.
    """
    picture = scale("part of the label's words", "0%", "100%")
    return heat_view(
        picture + _narrow(_confusions(where, [cut(label) for label in labels], counts)),
        width=_NARROW,
        whole=True,
        numbered=True,
        title=f"What is told as what from {where}?",
        subtitle=subtitle,
    )


def _confusions(where: str, labels: Sequence[str], counts: np.ndarray) -> Heat:
    there = counts.sum(axis=1)
    rows = [
        Row(
            label,
            [
                _share(counts[i, j], there[i], f"{label} told as {other}")
                for j, other in enumerate(labels)
            ],
        )
        for i, label in enumerate(labels)
    ]
    return Heat(f"Probes of {where}: what each label's words are told as", "true", labels, rows)


def _narrow(heat: Heat) -> str:
    return (
        f'<div style="--ecco-cell:{_NARROW}px">{soft(f"{heat.name}, in percent.")}'
        f"{heat_table(heat)}</div>"
    )


def written(values: np.ndarray) -> str:
    """Mean and standard deviation in percent."""
    return f"{format_fixed(100 * values.mean(), 1)}% ± {format_fixed(100 * values.std(), 1)}"


def _kbit(bits: np.ndarray) -> str:
    return f"{format_fixed(bits.mean() / 1000, 2)} ± {format_fixed(bits.std() / 1000, 2)}"


def _cell(layer: str, which: str, values: np.ndarray) -> Cell:
    trials = ", ".join(f"{format_fixed(100 * value, 1)}%" for value in values.tolist())
    return Cell(written(values), f"{layer}, {which} in each trial: {trials}", _level(values.mean()))


def _share(count: int, of: int, what: str, zero: str = "") -> Cell:
    if not of:
        return Cell("–", f"{what}: no such word was tested", 0)
    part = count / of
    return Cell(
        format_fixed(100 * part, 0) if count else zero,
        f"{what}: {count:,} of {of:,}, {format_fixed(100 * part, 1)}%",
        _level(part),
    )


def _level(part: float) -> int:
    return int(linear_levels(np.array([max(0.0, part)]), 0.0, 1.0)[0])
