"""Texts in figures: letters that the installed fonts have, measured before they are placed."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import count
from typing import Literal

from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.textpath import text_to_path

from ecco_captum.legible import format_rank, visible, visible_parts

Weight = Literal["normal", "bold"]

SMALL, LARGE = 6.5, 8.0  # points: of all texts, and of the title
LINE, MARGIN, GAP = 0.12, 0.05, 0.04  # inches
TURNED = 0.095  # of a turned line; its neighbours may almost touch it
LAYER_LETTERS = 16

_LONGEST = 12
_BOX, _CIRCLE = "□", "◌"
# The first ships with matplotlib; the others have the letters of East Asia, where installed.
_FAMILIES = (
    *("DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "Source Han Sans"),
    *("Hiragino Sans", "PingFang SC", "Yu Gothic", "Microsoft YaHei", "Malgun Gothic"),
    *("WenQuanYi Zen Hei", "Droid Sans Fallback", "Arial Unicode MS"),
)


def written(text: str, longest: int = _LONGEST, *, weight: Weight = "normal") -> str:
    r"""
    The text of a token on one line, with letters that the installed fonts have.

    Args:
        text (str): Any text.
        longest (int, optional): Letters that may stay. Default: ``12``
        weight (str, optional): ``"normal"`` or ``"bold"``. Default: ``"normal"``

    Returns:
        str: A longer text ends in ``…``; a letter that no font has is a box.
    """
    shown = _drawable(visible(text), weight)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def fitted(text: str, room: float, *, size: float = SMALL, weight: Weight = "normal") -> str:
    r"""
    A text cut to the room that it has.

    Args:
        text (str): A text as `written` gives it.
        room (float): Inches.
        size (float, optional): Points. Default: ``SMALL``
        weight (str, optional): ``"normal"`` or ``"bold"``. Default: ``"normal"``

    Returns:
        str: The text, or its beginning and ``…``; ``""`` where not even one letter fits.
    """
    if text_width(text, size, weight) <= room:
        return text
    kept = text.removesuffix("…")[:-1]
    while kept and text_width(f"{kept}…", size, weight) > room:
        kept = kept[:-1]
    return f"{kept}…" if kept else ""


def wrapped(text: str, room: float, *, size: float = SMALL, weight: Weight = "normal") -> list[str]:
    r"""
    A sentence in lines.

    Args:
        text (str): Any text.
        room (float): Inches of a line.
        size (float, optional): Points. Default: ``SMALL``
        weight (str, optional): ``"normal"`` or ``"bold"``. Default: ``"normal"``

    Returns:
        list of str: Lines that fit; a word that is longer than a line is cut.
    """
    lines: list[str] = []
    for word in "".join(visible_parts(text)).split():
        word = _drawable(word, weight)
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size, weight) <= room:
            lines[-1] = longer
        else:
            lines.append(fitted(word, room, size=size, weight=weight))
    return lines


@lru_cache(maxsize=16384)
def text_width(text: str, size: float = SMALL, weight: Weight = "normal") -> float:
    r"""
    Width of a text, with a little to spare.

    Args:
        text (str): A text as `written` gives it.
        size (float, optional): Points. Default: ``SMALL``
        weight (str, optional): ``"normal"`` or ``"bold"``. Default: ``"normal"``

    Returns:
        float: Inches.
    """
    font = FontProperties(family=list(families()), size=size, weight=weight)
    points, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return 1.03 * float(points) / 72


def rank_tick(rank: float) -> str:
    """A rank on a scale: round thousands have no decimals."""
    return format_rank(round(rank)).replace(".0k", "k")


def widest(texts: Sequence[str]) -> float:
    """Width in inches of the widest of some texts."""
    return max(map(text_width, texts), default=0.0)


def spaced(sizes: Sequence[float], spacing: float, first: int = 0) -> list[int]:
    """Which labels of an axis to write so that none touch: the first, the last, some between."""
    steps = (size * 10**power for power in count() for size in (1, 2, 5))
    step = next(s for s in steps if s * spacing >= max(sizes[first:], default=0) - 1e-9)
    last = len(sizes) - 1

    def clear(one: int, other: int) -> bool:
        return (other - one) * spacing >= (sizes[one] + sizes[other]) / 2 - 1e-9

    between = [k for k in range(first, last, step) if k and clear(0, k) and clear(k, last)]
    return [0, *between, *([last] if clear(0, last) else [])]


def first_block(names: Sequence[str]) -> int:
    """Where counting begins: blocks are numbered from 0, above them may stand an embedding."""
    return 0 if names[0][-1:].isdigit() else 1


@cache
def families() -> tuple[str, ...]:
    """The installed ones, those with TrueType outlines first."""
    found = [name for name in _FAMILIES if _file(name, "normal")]
    return tuple(sorted(found, key=lambda name: not _is_truetype(name)))


def all_truetype(text: str) -> bool:
    """Whether all letters of a text are drawn from fonts with TrueType outlines."""
    fonts = [get_font(_file(name, "normal")) for name in families() if _is_truetype(name)]
    return all(any(font.get_char_index(ord(letter)) for font in fonts) for letter in text)


def _is_truetype(family: str) -> bool:
    table = get_font(_file(family, "normal")).get_sfnt_table("maxp")
    # Other outlines (CFF) have version 0.5 of this table.
    return table is not None and table["version"][0] == 1


def _file(family: str, weight: Weight) -> str:
    font = FontProperties(family=family, weight=weight)
    try:
        return findfont(font, fallback_to_default=False)
    except ValueError:
        return ""


@cache
def _letters(weight: Weight) -> tuple[frozenset[int], frozenset[int]]:
    """Code points that the first font has, and those that any of them has."""
    files = [_file(family, weight) for family in families()]
    first, *others = (frozenset(get_font(file).get_charmap()) for file in files)
    return first, first.union(*others)


def _drawable(text: str, weight: Weight) -> str:
    first, letters = _letters(weight)
    kept = ""
    for letter in unicodedata.normalize("NFC", text):
        category, code = unicodedata.category(letter), ord(letter)
        if category[0] == "M":
            # A mark needs a letter of its own font to sit on.
            base = kept[-1:] or _CIRCLE
            kept += (letter if kept else base + letter) if {code, ord(base)} <= first else ""
        elif category != "Cf":
            # Joiners have no shape of their own, and are more than some writers of PDF can take.
            kept += letter if code in letters else _BOX
    return kept
