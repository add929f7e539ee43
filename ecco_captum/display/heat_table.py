"""Heat tables: a shade and a short text for each cell, and a sentence behind it.

The table is whole without scripts and without the style sheet: each cell then has a translucent
shade of its own and says the rest in its tooltip. Scripts add to the same table: a line that tells
of the hovered cell, and choices of what the cells say and what their colours mean.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from markupsafe import Markup

from ecco_captum.core.text import format_rank, visible
from ecco_captum.display.colours import LEVELS
from ecco_captum.display.page import embed_json, frame, render, view_key

Mark = Literal["own", "won", "true", "onset", "crossing", "chance"]

BLOCK = 60
"""Columns of one table; the next ones are folded away."""

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_PAPER, _NAMES, _GAP = 660, 90, 4  # px: a printed table, its layers' names, between its cells


@dataclass(frozen=True)
class Cell:
    """What a cell shows, what it says when asked, and its level on the ramp (-LEVELS to LEVELS)."""

    text: str
    says: str
    level: int
    marks: tuple[Mark, ...] = ()
    small: str = ""


@dataclass(frozen=True)
class Row:
    """Cells of one row; ``beside`` are texts of further columns, without a shade."""

    label: str
    cells: Sequence[Cell]
    beside: Sequence[str] = ()
    small: str = ""
    crossing: bool = False


@dataclass(frozen=True)
class Heat:
    """A heat table: its name for those who do not see it, its header, and its rows."""

    name: str
    corner: str
    columns: Sequence[str]
    rows: Sequence[Row]
    beside: Sequence[str] = ()
    numeric: Sequence[int] = ()  # columns of ``beside`` that hold numbers
    turned: bool = True
    indices: Sequence[str] = ()  # of the columns, below their names


@dataclass(frozen=True)
class Field:
    """What cells can say and colours can mean: texts, levels, ends of the legend, width in px."""

    name: str
    meaning: str
    texts: Sequence[Sequence[str]]
    levels: np.ndarray
    ends: tuple[str, str]
    width: int

    def packed(self, *, whole: bool = False) -> dict[str, object]:
        """As the script reads it: cell after cell in the order of the page, levels in base 36, or
        as numbers where some are below 0."""
        parts = [slice(None)] if whole else blocks(self.levels.shape[1])
        cells = (text for part in parts for row in self.texts for text in row[part])
        levels = np.concatenate([self.levels[:, part].ravel() for part in parts])
        return {
            "name": self.name,
            "meaning": self.meaning,
            "texts": " ".join(cells),
            "levels": levels.tolist()
            if levels.min(initial=0) < 0
            else "".join(_DIGITS[level] for level in levels),
            "ends": self.ends,
            "width": self.width,
        }


@dataclass(frozen=True)
class HeatOptions:
    r"""
    How heat tables stand in their frame.

    Args:
        width (int): Width of a cell in px.
        fields (sequence of Field): What cells can say instead and colours can mean; each covers all
            cells. Default: nothing to choose.
        colour (str): Name of the field that the colours mean at first. Default: ``""``
        tokens (str): What the cells say at first; ``""`` if it is that field, too, and cells and
            colours change together. Default: ``"top token"``
        whole (bool): Whether the table is one, however wide. Default: ``False``
        numbered (bool): Whether the cells hold numbers instead of tokens. Default: ``False``
        signed (bool): Whether the second hue is used. Default: ``False``
    """

    width: int
    fields: Sequence[Field] = ()
    colour: str = ""
    tokens: str = "top token"
    whole: bool = False
    numbered: bool = False
    signed: bool = False


def blocks(count: int) -> list[slice]:
    """Cut columns into those of each table."""
    return [slice(start, min(count, start + BLOCK)) for start in range(0, count, BLOCK)]


def rank_levels(ranks: np.ndarray) -> np.ndarray:
    """Shades of ranks on a logarithmic scale: ``LEVELS`` for rank 1, 0 for the worst of them."""
    worst = np.log(ranks.max())
    parts = np.log(ranks) / worst if worst > 0 else np.zeros(ranks.shape)
    return np.rint(LEVELS * (1 - parts)).astype(int)


def linear_levels(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Shades on a linear scale, ``-LEVELS`` to ``LEVELS``: ``low`` has none, ``high`` the most."""
    if not high > low:
        return np.zeros(values.shape, int)
    return np.rint(LEVELS * np.clip((values - low) / (high - low), -1, 1)).astype(int)


def exact_rank(rank: int) -> str:
    """A rank inside a sentence; a long one is exact, too."""
    return format_rank(rank) if rank < 1000 else f"{format_rank(rank)} ({rank:,})"


@lru_cache(maxsize=4096)
def cut(text: str, longest: int = 12) -> str:
    """Show a token on one line; one without a text of its own only continues a character."""
    shown = visible(text) or "⋯"
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


@lru_cache(maxsize=4096)
def quoted(text: str) -> str:
    """A token in a sentence that holds no markup, such as a tooltip; not yet escaped."""
    shown = cut(text, 40)
    if any(unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in shown):
        # A tooltip has no elements: only these keep the words around it in their order.
        shown = f"\u2068{shown}\u2069"
    return f"“{shown}”"


def heat_blocks(heat: Heat, many: str = "", *, whole: bool = False) -> Markup:
    """Draws a table, in parts of ``BLOCK`` columns: the first is open, the others are folded away.

    ``many`` is what the columns are called, such as ``"outputs"``; ``whole`` keeps it one table.
    """
    parts = blocks(len(heat.columns))
    if whole or len(parts) == 1:
        return render("display/heat_table.html.j2", tables=[("", heat)], levels=LEVELS, cut=cut)
    tables = []
    for part in parts:
        which = f"{many} {part.start}–{part.stop - 1}"
        rows = [replace(row, cells=row.cells[part]) for row in heat.rows]
        name, columns = f"{heat.name}, {which}", heat.columns[part]
        own = replace(heat, name=name, columns=columns, rows=rows, indices=heat.indices[part])
        tables.append((which, own))
    return render("display/heat_table.html.j2", tables=tables, levels=LEVELS, cut=cut)


def heat_view(
    picture: Markup,
    options: HeatOptions,
    *,
    below: str = "",
    title: str,
    subtitle: str = "",
    note: str = "",
) -> Markup:
    """Puts a frame around ``picture``, the legend and the tables; ``below`` is trusted HTML."""
    fields, width = options.fields, options.width
    data = embed_json(
        {
            "fields": [field.packed(whole=options.whole) for field in fields],
            "colour": options.colour,
            "tokens": options.tokens,
            "width": width,
        }
    )
    key = view_key(data, picture, title, subtitle, note)
    columns = max((len(field.texts[0]) for field in fields if len(field.texts)), default=1)
    body = render(
        "display/heat_view.html.j2",
        data=data,
        key=key,
        picture=picture,
        options=options,
        fit=min(1.0, _PAPER / (_NAMES + columns * (width + _GAP))),
        below=Markup(below),
    )
    return frame(body, title=title, subtitle=subtitle, note=note, key=key)
