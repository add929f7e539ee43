"""How a comparison of layers is shown: a matrix, grey where chance makes them as alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from ecco_captum.core.text import format_fixed
from ecco_captum.display.heat_table import (
    Cell,
    Field,
    Heat,
    HeatOptions,
    Mark,
    Row,
    cut,
    heat_blocks,
    heat_view,
    linear_levels,
)
from ecco_captum.display.page import part

if TYPE_CHECKING:
    from ecco_captum.similarity.record import Similarity

_WIDTH, _SIGNED = 34, 42  # px, for a number of four letters, and one with its sign
_LONGEST = 40  # letters of a name
_GREY = (
    "Grey: not significantly more alike than the same data with the tokens of one side in other "
    "places (5%, adjusted for all pairs); such a number does not differ from chance."
)


def similarity_view(similarity: Similarity) -> Markup:
    """Draws a matrix of similarities, grey where chance would make layers as alike."""
    rows, columns = ([cut(n, _LONGEST) for n in s] for s in (similarity.rows, similarity.columns))
    grey = similarity.within_chance  # nowhere without a test
    fields, signed = _fields(similarity, grey), similarity.scale[0] < 0

    def cell(i: int, j: int) -> Cell:
        marks: tuple[Mark, ...] = ("chance",) if grey[i, j] else ()
        says = f"{rows[i]} and {columns[j]}: {_says(similarity, (i, j))}"
        return Cell(fields[0].texts[i][j], says, int(fields[0].levels[i, j]), marks)

    cells = [Row(name, [cell(i, j) for j in range(len(columns))]) for i, name in enumerate(rows)]
    heat = Heat("How alike each row is to each column", "layer", columns, cells)
    return heat_view(
        part("above", _GREY if grey.any() else "")
        + part("scale", fields[0].meaning, *fields[0].ends, signed)
        + heat_blocks(heat, whole=True),
        HeatOptions(
            width=fields[0].width,
            fields=fields,
            colour=fields[0].name,
            tokens="",
            whole=True,
            numbered=True,
            signed=signed,
        ),
        below=part("answer", similarity.sentence),
        title=similarity.title,
        subtitle=similarity.subtitle,
        note=similarity.note,
    )


def _says(similarity: Similarity, pair: tuple[int, int]) -> str:
    """Everything about one pair."""
    text = format_fixed(similarity.values[pair], 3)
    if not np.isnan(similarity.interval[pair]).any():
        low, high = (format_fixed(end, 3) for end in similarity.interval[pair])
        text += f" [{low}, {high}] over texts"
    if np.isnan(similarity.null_95[pair]):
        return text
    mean, high = (format_fixed(v[pair], 3) for v in (similarity.null_mean, similarity.null_95))
    text += f"; tokens in other places give {mean}, 95% of draws up to {high}"
    if similarity.draws:
        each, adjusted = similarity.p_values[pair], similarity.p_adjusted[pair]
        text += f"; p = {each:.2g}, adjusted {adjusted:.2g}"
        if not similarity.can_reject:
            return f"{text}: too few draws for a test"
    verdict = "more" if similarity.beyond_chance[pair] else "no more"
    return f"{text}: {verdict} than chance"


def _fields(similarity: Similarity, grey: np.ndarray) -> list[Field]:
    """The similarities, and those by chance in the same colours."""
    values, chance, measure = similarity.values, similarity.null_mean, similarity.measure_title
    tested = not np.isnan(chance).any()
    low, high = similarity.scale
    ends = format_fixed(low), format_fixed(high)
    width = _WIDTH if low >= 0 else _SIGNED

    def field(name: str, meaning: str, shown: np.ndarray, levels: np.ndarray) -> Field:
        texts = [[format_fixed(value) for value in row] for row in shown.tolist()]
        return Field(name, meaning, texts, levels, ends, width)

    levels = linear_levels(values, 0.0, high)
    fields = [field("similarity", measure, values, np.where(grey, 0, levels))]
    if tested:
        meaning = f"{measure} with tokens in other places"
        fields.append(field("by chance", meaning, chance, linear_levels(chance, 0.0, high)))
    return fields
