"""Tokens as text that can be shaded, and the plain tables that stand in for it without scripts."""

from __future__ import annotations

from collections.abc import Sequence

from ecco_captum.core.tokens import Tokens
from ecco_captum.display.colours import ramp_css, theme_css
from ecco_captum.display.page import asset, escape, table, token


def folded_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[int], many: str
) -> str:
    r"""
    A plain table that stands in for a view without scripts; most of a long one is folded away.

    Args:
        header (sequence of str): Texts of the header cells; they are escaped here.
        rows (sequence of sequences of str): HTML of the cells.
        numeric (sequence of int): Columns that hold numbers.
        many (str): What the rows are called, such as ``"generated tokens"``.

    Returns:
        str: HTML.
    """
    shown = table(header, rows[:_OPEN_ROWS], numeric=numeric)
    if len(rows) > _OPEN_ROWS:
        rest = table(header, rows[_OPEN_ROWS:], numeric=numeric)
        count = len(rows) - _OPEN_ROWS
        shown += f"<details><summary>{count} more {escape(many)}</summary>{rest}</details>"
    return f'<div class="ecco-plain" style="overflow-x:auto">{shown}</div>'


def token_name(tokens: Tokens, position: int) -> str:
    r"""
    Show a token on one line; one that only continues a character leads with "⋯".

    Args:
        tokens (Tokens): Prompt and output tokens.
        position (int): Which of them.

    Returns:
        str: HTML.
    """
    start = position
    while start > 0 and not tokens.texts[start]:
        start -= 1
    rest = "⋯" if start < position else ""
    return rest + token(tokens.texts[start]) if tokens.texts[start] else escape("⋯")


_OPEN_ROWS = 40  # rows of the plain table before the others are folded away


def token_text_css(*, signed: bool) -> str:
    r"""
    The style sheet of the view.

    Args:
        signed (bool): Whether there are negative scores, which need the second hue.

    Returns:
        str: CSS.
    """
    cool = ramp_css("cool") if signed else ""
    return (
        theme_css()
        + asset("display/frame.css")
        + asset("display/token_text.css")
        + ramp_css()
        + cool
    )
