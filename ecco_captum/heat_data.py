"""What heat tables hold: cells and their levels on a ramp, and the checks of what they draw."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from ecco_captum.legible import format_rank, visible
from ecco_captum.shades import LEVELS

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
