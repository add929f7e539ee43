"""How alike layers are, and what chance makes of it: arrays in, static HTML out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ecco_captum.core.text import format_fixed
from ecco_captum.display.heat_table import (
    Cell,
    Field,
    Heat,
    Mark,
    Row,
    checked_labels,
    checked_numbers,
    cut,
    heat_table,
    heat_view,
    linear_levels,
    said,
    scale,
    soft,
)

TITLE = "How alike are the layers?"

_WIDTH, _SIGNED = 34, 42  # px, for a number of four letters, and one with its sign
_LONGEST = 40  # letters of a name
_GREY = (
    "Grey: no more alike than 95% of the same data with the tokens of one side shuffled; its "
    "number says nothing."
)
_SHAPE = "rows, columns"


def similarity_view(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    null_mean: np.ndarray | None = None,
    null_95: np.ndarray | None = None,
    interval: np.ndarray | None = None,
    measure: str = "similarity",
    title: str = TITLE,
    subtitle: str = "",
    sentence: str = "",
    note: str = "",
) -> str:
    r"""
    Draw a matrix of similarities, grey where shuffled tokens would be as alike.

    Args:
        values (numpy.ndarray): Shape (rows, columns), at most 1.
        rows (sequence of str): Names of the layers of one side.
        columns (sequence of str): Names of those of the other.
        null_mean (numpy.ndarray, optional): Shape (rows, columns): the mean with shuffled tokens.
            Default: not shown.
        null_95 (numpy.ndarray, optional): Shape (rows, columns): what 95% of these stay below.
            Given together with ``null_mean``. Default: not shown.
        interval (numpy.ndarray, optional): Shape (rows, columns, 2): a 95% interval over texts.
            Default: not shown.
        measure (str, optional): What the numbers are, such as ``"linear CKA"``. Default:
            ``"similarity"``
        title (str, optional): The question above the view. Default: ``TITLE``
        subtitle (str, optional): What is drawn, such as models and tokens. Default: ``""``
        sentence (str, optional): The answer in plain words. Default: ``""``
        note (str, optional): A sentence below the view. Default: ``""``

    Returns:
        str: An HTML fragment, for a notebook cell or the body of a page.

    Raises:
        ValueError: Shapes do not fit each other, numbers are not finite, or one half of the null is
            missing.

    Examples::

        >>> similarity_view(values, layers, layers, null_mean=mean, null_95=high, measure="PWCCA")
    """
    rows = [cut(name, _LONGEST) for name in checked_labels("rows", rows)]
    columns = [cut(name, _LONGEST) for name in checked_labels("columns", columns)]
    shape = (len(rows), len(columns))
    values = checked_numbers("values", values, _SHAPE, shape)
    chance = _null(null_mean, null_95, shape)
    ends = None
    if interval is not None:
        ends = checked_numbers("interval", interval, "rows, columns, 2", (*shape, 2))
    grey = np.zeros(shape, bool) if chance is None else values <= chance[1]
    fields = _fields(values, chance, grey, measure)

    def says(i: int, j: int) -> str:
        text = f"{rows[i]} and {columns[j]}: {format_fixed(values[i, j], 3)}"
        if ends is not None:
            low, high = (format_fixed(end, 3) for end in ends[i, j])
            text += f" [{low}, {high}] over texts"
        if chance is None:
            return text
        mean, high = (format_fixed(one[i, j], 3) for one in chance)
        verdict = "no more than chance" if grey[i, j] else "more than chance"
        return f"{text}; shuffled tokens give {mean}, 95% of them up to {high}: {verdict}"

    def cell(i: int, j: int) -> Cell:
        marks: tuple[Mark, ...] = ("chance",) if grey[i, j] else ()
        return Cell(fields[0].texts[i][j], says(i, j), int(fields[0].levels[i, j]), marks)

    drawn = [Row(name, [cell(i, j) for j in range(len(columns))]) for i, name in enumerate(rows)]
    heat = Heat("How alike each row is to each column", "layer", columns, drawn)
    return heat_view(
        soft(_GREY if grey.any() else "")
        + scale(fields[0].meaning, *fields[0].ends)
        + heat_table(heat),
        width=fields[0].width,
        fields=fields,
        colour=fields[0].name,
        tokens="",
        whole=True,
        numbered=True,
        below=said(sentence),
        title=title,
        subtitle=subtitle,
        note=note,
    )


def _null(
    mean: np.ndarray | None, high: np.ndarray | None, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray] | None:
    if mean is None and high is None:
        return None
    if mean is None or high is None:
        raise ValueError("null_mean, null_95: got one of them, accepts both or none")
    return (
        checked_numbers("null_mean", mean, _SHAPE, shape),
        checked_numbers("null_95", high, _SHAPE, shape),
    )


def _fields(
    values: np.ndarray,
    chance: tuple[np.ndarray, np.ndarray] | None,
    grey: np.ndarray,
    measure: str,
) -> list[Field]:
    """The similarities, and those by chance in the same colours."""
    low, high = float(values.min()), float(values.max())
    if chance is not None:
        low = min(low, float(chance[0].min()))
    ends = format_fixed(low), format_fixed(high)
    width = _WIDTH if low >= 0 else _SIGNED

    def field(name: str, meaning: str, shown: np.ndarray, levels: np.ndarray) -> Field:
        texts = [[format_fixed(value) for value in row] for row in shown.tolist()]
        return Field(name, meaning, texts, levels, ends, width)

    levels = linear_levels(values, low, high)
    found = [field("similarity", measure, values, np.where(grey, 0, levels))]
    if chance is not None:
        shuffled = linear_levels(chance[0], low, high)
        found.append(field("by chance", f"{measure} of shuffled tokens", chance[0], shuffled))
    return found
