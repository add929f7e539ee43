"""Heat tables as static HTML: a shade and a short text for each cell, and a sentence behind it.

The table is whole without scripts and without the style sheet: each cell then has a translucent
shade of its own and says the rest in its tooltip. Scripts add to the same table: a line that tells
of the cell in hand, and choices of what the cells say and what their colours mean.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from ecco_captum.core.text import format_rank, visible, visible_parts
from ecco_captum.display.colours import LEVELS, ramp_css, theme_css
from ecco_captum.display.page import asset, embed_json, escape, frame, style, view_key

BLOCK = 60
"""Columns of one table; the next ones are folded away."""

Mark = Literal["own", "won", "true", "onset", "crossing", "chance"]

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_ROUNDED = 1e-5  # how far the rounding of float32 can take a probability beyond 1


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
        """As the script reads it: cell after cell in the order of the page, levels in base 36."""
        parts = [slice(None)] if whole else blocks(self.levels.shape[1])
        cells = (text for part in parts for row in self.texts for text in row[part])
        levels = np.concatenate([self.levels[:, part].ravel() for part in parts])
        return {
            "name": self.name,
            "meaning": self.meaning,
            "texts": " ".join(cells),
            "levels": "".join(_DIGITS[level] for level in levels),
            "ends": self.ends,
            "width": self.width,
        }


def blocks(count: int) -> list[slice]:
    """Cut columns into those of each table."""
    return [slice(start, min(count, start + BLOCK)) for start in range(0, count, BLOCK)]


def rank_levels(ranks: np.ndarray) -> np.ndarray:
    r"""
    Shades of ranks on a logarithmic scale.

    Args:
        ranks (numpy.ndarray): Any shape, 1 is the best.

    Returns:
        numpy.ndarray: Of the same shape, int: ``LEVELS`` for rank 1, 0 for the worst of them.
    """
    worst = np.log(ranks.max())
    parts = np.log(ranks) / worst if worst > 0 else np.zeros(ranks.shape)
    return np.rint(LEVELS * (1 - parts)).astype(int)


def linear_levels(values: np.ndarray, low: float, high: float) -> np.ndarray:
    r"""
    Shades of values on a linear scale.

    Args:
        values (numpy.ndarray): Any shape.
        low (float): The value of the card itself.
        high (float): The value of the strongest shade; what lies below ``low`` gets the second
            hue.

    Returns:
        numpy.ndarray: Of the same shape, int, from ``-LEVELS`` to ``LEVELS``.
    """
    if not high > low:
        return np.zeros(values.shape, int)
    return np.rint(LEVELS * np.clip((values - low) / (high - low), -1, 1)).astype(int)


def written_rank(rank: int) -> str:
    """A rank inside a sentence; a long one is exact, too."""
    return format_rank(rank) if rank < 1000 else f"{format_rank(rank)} ({rank:,})"


@lru_cache(maxsize=4096)
def cut(text: str, longest: int = 12) -> str:
    """Show a token on one line; one without a text of its own only continues a character."""
    shown = visible(text) or "⋯"
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


@lru_cache(maxsize=4096)
def quoted(text: str) -> str:
    r"""
    Quote a token in a sentence that holds no markup, such as a tooltip.

    Args:
        text (str): The text of a token.

    Returns:
        str: Plain text, not yet escaped.
    """
    shown = cut(text, 40)
    if any(unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in shown):
        # A tooltip has no elements: only these keep the words around it in their order.
        shown = f"\u2068{shown}\u2069"
    return f"“{shown}”"


def checked_labels(name: str, given: Sequence[str]) -> list[str]:
    """Texts that name rows or columns; refuses none at all."""
    if isinstance(given, str) or not len(given):
        raise ValueError(f"{name}: got {given!r}, accepts a sequence of one text or more")
    return list(given)


def checked_layers(given: Sequence[str]) -> list[str]:
    """Names of layers, each on one line; refuses none at all."""
    return [cut(name, 40) for name in checked_labels("layers", given)]


def checked_numbers(name: str, given: object, axes: str, shape: tuple[int, ...]) -> np.ndarray:
    r"""
    Numbers of the expected shape.

    Args:
        name (str): The argument, for the message.
        given: What `numpy.asarray` accepts.
        axes (str): Names of the axes, such as ``"layers, outputs"``.
        shape (tuple of int): Their lengths.

    Returns:
        numpy.ndarray: float64.

    Raises:
        ValueError: The shape is another one, or a number is not finite.
    """
    values = np.asarray(given, dtype=np.float64)
    if values.shape != shape:
        raise ValueError(f"{name}: got shape {values.shape}, accepts ({axes}) = {shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: got {values[~np.isfinite(values)][0]}, accepts finite numbers")
    return values


def checked_ranks(name: str, given: object, axes: str, shape: tuple[int, ...]) -> np.ndarray:
    """Ranks of the expected shape, as int64; refuses what is below 1 or lies between two ranks."""
    values = checked_numbers(name, given, axes, shape)
    wrong = (values < 1) | (values != np.rint(values))
    if wrong.any():
        raise ValueError(f"{name}: got {values[wrong][0]:g}, accepts whole numbers from 1 on")
    return values.astype(np.int64)


def checked_probs(name: str, given: object, axes: str, shape: tuple[int, ...]) -> np.ndarray:
    """Probabilities of the expected shape; refuses what lies outside of 0 to 1."""
    values = checked_numbers(name, given, axes, shape)
    wrong = (values < 0) | (values > 1 + _ROUNDED)
    if wrong.any():
        raise ValueError(f"{name}: got {values[wrong][0]:g}, accepts probabilities, 0 to 1")
    return np.minimum(values, 1.0)


def checked_texts(
    name: str, given: Sequence[Sequence[str]], axes: str, shape: tuple[int, int]
) -> list[list[str]]:
    """Texts of tokens, as many as the shape says."""
    rows = [[row] if isinstance(row, str) else list(row) for row in given]
    if len(rows) != shape[0] or any(len(row) != shape[1] for row in rows):
        lengths = sorted({len(row) for row in rows})
        got = f"{len(rows)} rows of {' or '.join(map(str, lengths))}"
        raise ValueError(f"{name}: got {got} texts, accepts ({axes}) = {shape}")
    return rows


# Each mark has a class too; this is what stays where style sheets are gone.
_MARKS: dict[Mark, str] = {
    "own": "font-weight:700",
    "won": "font-weight:700;text-decoration:underline",
    "true": "border:2px solid",
    "onset": "font-weight:700;border-left:3px solid",
    "crossing": "border-top:2px solid",
    "chance": "opacity:.7;font-style:italic",
}
_HUES = {True: ("ecco-s", "139,98,225"), False: ("ecco-c", "45,190,170")}
_TABLE = "border-collapse:collapse;margin:0;white-space:nowrap;font-variant-numeric:tabular-nums"
_PADDING = "padding:2px 4px"
_SMALL = "display:block;font-size:smaller"
_PAPER, _NAMES, _GAP = 660, 90, 4  # px: a printed table, its layers' names, between its cells
_WRAPPED = ";white-space:normal;min-width:150px"
_SAYS = "margin:14px 0 10px;font-size:18px"
_LONGEST, _LONGEST_TEXT = 24, 160  # letters of a header, of a text that is one


def heat_table(heat: Heat) -> str:
    r"""
    Draw one table, which scrolls where it is too wide or too tall.

    Args:
        heat (Heat): What to draw.

    Returns:
        str: HTML.
    """
    head = f'<th scope="col">{escape(heat.corner)}</th>'
    head += "".join(_column(text, turned=heat.turned) for text in heat.columns)
    head += _beside(heat.beside, heat.numeric, 'th scope="col"')
    body = "".join(_row(row, heat.numeric) for row in heat.rows)
    # What scrolls must be reachable by keyboard; where scripts are on, its cells are.
    return (
        f'<div class="ecco-heat" role="group" tabindex="0" aria-label="{_plain(heat.name)}" '
        f'style="overflow-x:auto"><table style="{_TABLE}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _column(text: str, *, turned: bool) -> str:
    shown = escape(cut(text, _LONGEST))
    inner = f'<span class="ecco-turned">{shown}</span>' if turned else shown
    return f'<th scope="col" title="{escape(visible(text))}">{inner}</th>'


def _row(row: Row, numeric: Sequence[int]) -> str:
    line = f' class="ecco-crossing" style="{_MARKS["crossing"]}"' if row.crossing else ""
    cells = "".join(map(_cell, row.cells)) + _beside(row.beside, numeric, "td")
    return f"<tr{line}>{_label(row)}{cells}</tr>"


def _label(row: Row) -> str:
    """Names the row on one line, or, where it is a text, on several."""
    whole, style = visible(row.label), _PADDING + (_WRAPPED if row.small else "")
    shown = cut(row.label, _LONGEST_TEXT if row.small else _LONGEST)
    title = f' title="{escape(whole)}"' if shown != whole else ""
    small = _small(row.small) if row.small else ""
    return f'<th scope="row" style="{style}"{title}><bdi>{escape(shown)}</bdi>{small}</th>'


def _cell(cell: Cell) -> str:
    styles, classes = [_PADDING], [f"ecco-is-{mark}" for mark in cell.marks]
    if cell.level:
        # Translucent, so that the notebook's own ink can be read on it in a light and a dark theme.
        ramp, hue = _HUES[cell.level > 0]
        styles.append(f"background:rgba({hue},{0.4 * abs(cell.level) / LEVELS:.2f})")
        classes.insert(0, f"{ramp}{abs(cell.level)}")
    styles += [_MARKS[mark] for mark in cell.marks]
    name = f' class="{" ".join(classes)}"' if classes else ""
    return (
        f'<td{name} style="{";".join(styles)}" title="{escape(cell.says)}">'
        f"{escape(cell.text)}{_small(cell.small) if cell.small else ''}</td>"
    )


def _small(text: str) -> str:
    return f'<span class="ecco-small" style="{_SMALL}">{_plain(text)}</span>'


def _beside(texts: Sequence[str], numeric: Sequence[int], tag: str) -> str:
    cells = ""
    for column, text in enumerate(texts):
        whole, shown = visible(text), cut(text, _LONGEST)
        title = f' title="{escape(whole)}"' if shown != whole else ""
        side, number = ("right", " ecco-number") if column in numeric else ("left", "")
        cells += (
            f'<{tag} class="ecco-beside{number}" style="{_PADDING};text-align:{side}"{title}>'
            f"<bdi>{escape(shown)}</bdi></{tag[:2]}>"
        )
    return cells


def heat_blocks(heat: Heat, many: str) -> str:
    r"""
    Draw a table in parts of `BLOCK` columns; the first is open, the others are folded away.

    Args:
        heat (Heat): What to draw.
        many (str): What the columns are called, such as ``"outputs"``.

    Returns:
        str: HTML.
    """
    if len(heat.columns) <= BLOCK:
        return heat_table(heat)
    drawn = []
    for part in blocks(len(heat.columns)):
        which = f"{many} {part.start}–{part.stop - 1}"
        rows = [replace(row, cells=row.cells[part]) for row in heat.rows]
        name = f"{heat.name}, {which}"
        table = heat_table(replace(heat, name=name, columns=heat.columns[part], rows=rows))
        drawn.append(folded(which, table) if part.start else table)
    return "".join(drawn)


def folded(summary: str, inside: str) -> str:
    """HTML that opens on demand; only the summary is escaped."""
    return f"<details><summary>{_plain(summary)}</summary>{inside}</details>"


def scale(meaning: str, low: str, high: str, *, signed: bool = False) -> str:
    r"""
    The ramp with its real ends; without its style sheet, the ends in words.

    Args:
        meaning (str): What the colours mean.
        low (str): The value of the card itself, or of the strongest shade of the second hue.
        high (str): The value of the strongest shade.
        signed (bool, optional): Whether the second hue is used. Default: ``False``

    Returns:
        str: HTML.
    """
    return (
        f'<div class="{"ecco-signed" if signed else "ecco-scale"}"><div class="ecco-legend">'
        f"<span>{_plain(meaning)}: </span><span>{escape(low)}</span>"
        f'<span class="ecco-ramp"> to </span><span>{escape(high)}</span></div></div>'
    )


def said(sentence: str) -> str:
    """The answer in plain words, as HTML."""
    return f'<p class="ecco-says" style="{_SAYS}">{_plain(sentence)}</p>' if sentence else ""


def soft(sentence: str) -> str:
    """A line of explanation above a picture, as HTML."""
    return f'<p class="ecco-sub">{_plain(sentence)}</p>' if sentence else ""


def noted(sentence: str) -> str:
    """A line of explanation below a picture, as HTML."""
    return f'<p class="ecco-note">{_plain(sentence)}</p>' if sentence else ""


def _plain(text: str) -> str:
    return escape("".join(visible_parts(text)))


def heat_view(
    picture: str,
    *,
    width: int,
    fields: Sequence[Field] = (),
    colour: str = "",
    tokens: str = "top token",
    whole: bool = False,
    numbered: bool = False,
    below: str = "",
    signed: bool = False,
    title: str,
    subtitle: str = "",
    note: str = "",
) -> str:
    r"""
    Put a frame around heat tables.

    Args:
        picture (str): Trusted HTML of legend and tables.
        width (int): Width of a cell in px.
        fields (sequence of Field, optional): What cells can say instead and colours can mean; each
            covers all cells. Default: nothing to choose.
        colour (str, optional): Name of the field that the colours mean at first. Default: ``""``
        tokens (str, optional): What the cells say at first; ``""`` if it is that field, too, and
            cells and colours change together. Default: ``"top token"``
        whole (bool, optional): Whether the table is one, however wide. Default: ``False``
        numbered (bool, optional): Whether the cells hold numbers instead of tokens.
            Default: ``False``
        below (str, optional): Trusted HTML under the picture. Default: ``""``
        signed (bool, optional): Whether the second hue is used. Default: ``False``
        title (str): The question that the view answers.
        subtitle (str, optional): What is drawn. Default: ``""``
        note (str, optional): A sentence below the view. Default: ``""``

    Returns:
        str: An HTML fragment, for a notebook cell or the body of a page.
    """
    packed = [field.packed(whole=whole) for field in fields]
    data = embed_json({"fields": packed, "colour": colour, "tokens": tokens, "width": width})
    key = view_key(data, picture, title, subtitle, note)
    ramps = ramp_css(within=".ecco-heat")
    if signed:
        ramps += ramp_css("cool", within=".ecco-heat")
    columns = max((len(field.texts[0]) for field in fields if len(field.texts)), default=1)
    fit = min(1.0, _PAPER / (_NAMES + columns * (width + _GAP)))
    name = "ecco-card ecco-heat-map" + (" ecco-numbered" if numbered else "")
    sheets = (asset("display/frame.css"), asset("display/table.css"), asset("display/heat.css"))
    body = (
        style(theme_css(), *sheets, ramps)
        + f'{data}<div class="{name}" style="--ecco-cell:{width}px;--ecco-fit:{fit:.2f}">{picture}'
        + f'</div><script type="module">\n{asset("display/heat.js")}bootHeat("{key}");\n'
        + f"</script>{below}"
    )
    return frame(body, title=title, subtitle=subtitle, note=note, key=key)
