"""Tokens as text that can be shaded, and the plain tables that stand in for it without scripts."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from ecco_captum.core.tokens import Tokens
from ecco_captum.display.colours import ramp_css, theme_css
from ecco_captum.display.page import asset, part, table, token

_OPEN_ROWS = 40  # rows of the plain table before the others are folded away


def token_text_css(*, signed: bool) -> Markup:
    r"""
    The style sheet of a text with shaded tokens.

    Args:
        signed (bool): Whether there are negative scores, which need the second hue.

    Returns:
        Markup: CSS.
    """
    cool = ramp_css("cool") if signed else ""
    sheets = asset("display/frame.css") + asset("display/token_text.css")
    return Markup(theme_css() + sheets + ramp_css() + cool)


def folded_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[int], many: str
) -> Markup:
    r"""
    A plain table that stands in for a view without scripts; most of a long one is folded away.

    Args:
        header (sequence of str): Texts of the header cells.
        rows (sequence of sequences of str): Cells.
        numeric (sequence of int): Columns that hold numbers.
        many (str): What the rows are called, such as ``"generated tokens"``.

    Returns:
        Markup: HTML.
    """
    shown = table(header, rows[:_OPEN_ROWS], numeric=numeric)
    if len(rows) > _OPEN_ROWS:
        rest = table(header, rows[_OPEN_ROWS:], numeric=numeric)
        shown += part("folded", f"{len(rows) - _OPEN_ROWS} more {many}", rest)
    return Markup('<div class="ecco-plain" style="overflow-x:auto">{}</div>').format(shown)


def token_name(tokens: Tokens, position: int) -> Markup:
    r"""
    Show a token on one line; one that only continues a character leads with "⋯".

    Args:
        tokens (Tokens): Prompt and output tokens.
        position (int): Which of them.

    Returns:
        Markup: HTML.
    """
    start = position
    while start > 0 and not tokens.texts[start]:
        start -= 1
    if not tokens.texts[start]:
        return Markup("⋯")
    return Markup("⋯" if start < position else "") + token(tokens.texts[start])
