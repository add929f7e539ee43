"""Which neurons fire together, and where in the text: tokens and arrays in, static HTML out.

What the page holds without its scripts is a table of the strongest tokens of each factor. With
scripts, the same place shows a line for each factor, and the text, shaded by the factor in hand.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence

import numpy as np

from ecco_captum.factors_data import Effects, Factors, Positions, checked_factors, factors_data
from ecco_captum.heat_html import folded, noted, said
from ecco_captum.html import asset, embed_json, escape, frame, style, table, view_key
from ecco_captum.legible import format_number, visible_parts
from ecco_captum.saliency_html import folded_table, saliency_css, token_name
from ecco_captum.tokens import Tokens

TITLE = "What fires together?"

_SCRIPTS = ("numbers.js", "tokens.js", "factors.js", "boot.js")
_SHEETS = ("faithfulness.css", "factors.css")
_TOKEN = "display:inline-block;margin-right:14px"
_STRONGEST = "Its strongest tokens, with their weights"
_UNKNOWN = "–"
_SHORT = 30  # a number with its interval stays on one line
_OPEN_ROWS = 12  # of the table below, before the others are folded away
_STABILITY = (
    "Stability: mean cosine of the factor with the one that matches it in factorisations from "
    "other seeds; 1 is the same every time."
)


def factors_view(
    tokens: Tokens,
    weights: np.ndarray,
    *,
    explained: Sequence[float] | np.ndarray | None = None,
    top_tokens: Positions | None = None,
    stability: Sequence[float] | np.ndarray | None = None,
    effects: Effects | None = None,
    effects_note: str = "",
    sequences: Sequence[int] | np.ndarray | None = None,
    title: str = TITLE,
    subtitle: str = "",
    sentence: str = "",
    note: str = "",
) -> str:
    r"""
    Draw how strong each factor of a factorisation is at each token.

    Args:
        tokens (Tokens): Of one or more texts, one after the other.
        weights (numpy.ndarray): Shape (factors, tokens), 0 or more, in the factors' own unit.
        explained (sequence of float, optional): Shape (factors,), the share that each factor
            explains, 0 to 1. Default: not shown.
        top_tokens (sequences of int, optional): Shape (factors, k), positions of each factor's
            strongest tokens, strongest first. Default: five of each, by their weights.
        stability (sequence of float, optional): Shape (factors,), mean cosine of each factor with
            its matches from other seeds, 0 to 1. Default: not shown.
        effects (mapping, optional): What the ablation of each factor does: from a column's name to
            texts, shape (factors,), None where it is not known. Default: not shown.
        effects_note (str, optional): What these columns are. Default: ``""``
        sequences (sequence of int, optional): Shape (texts,), the position at which each text
            starts. Default: one text.
        title (str, optional): The question above the view. Default: ``TITLE``
        subtitle (str, optional): What is drawn, such as model and layers. Default: ``""``
        sentence (str, optional): The answer in plain words. Default: ``""``
        note (str, optional): A sentence below the view. Default: ``""``

    Returns:
        str: An HTML fragment, fit for a notebook cell and for the body of `ecco_captum.html.page`.

    Raises:
        ValueError: Shapes do not fit each other, weights are negative or not finite, shares lie
            outside of 0 to 1, or a position is that of no token.

    Examples::

        >>> factors_view(tokens, weights, explained=shares, subtitle="SmolLM2-135M, 8 factors")
    """
    factors = checked_factors(
        tokens,
        weights,
        explained=explained,
        top_tokens=top_tokens,
        stability=stability,
        effects=effects,
        sequences=sequences,
    )
    packed = base64.b64encode(factors.weights.astype("<f4").tobytes()).decode()
    # "scores" is what boot.js unpacks in any view.
    data = embed_json({**factors_data(factors), "scores": packed})
    holds = factors.stability is not None or factors.effects is not None
    below = _holding(factors, sentence, effects_note) if holds else said(sentence)
    script = "".join(map(asset, _SCRIPTS))
    key = view_key(data, below, title, subtitle, note)
    body = (
        style(saliency_css(signed=False), *map(asset, _SHEETS))
        + f'{data}<div class="ecco-swap">{_plain_view(factors)}</div>'
        + f'<script type="module">\n{script}boot("{key}", mountFactors);\n</script>{below}'
    )
    return frame(body, title=title, subtitle=subtitle, note=note, key=key)


def _columns(factors: Factors) -> dict[str, list[str]]:
    """Header and cells of the numbers that were given."""
    given = {"Explained": factors.explained, "Stability": factors.stability}
    return {name: cells for name, cells in given.items() if cells is not None}


def _rows(columns: dict[str, list[str]]) -> list[list[str]]:
    return [[str(k), *cells] for k, cells in enumerate(zip(*columns.values(), strict=True))]


def _plain_view(factors: Factors) -> str:
    columns = _columns(factors)
    columns[_STRONGEST] = [_strongest(factors, k) for k in range(len(factors.weights))]
    numeric = range(len(columns))  # the factor's number, and all but the last
    return folded_table(("Factor", *columns), _rows(columns), numeric=numeric, many="factors")


def _strongest(factors: Factors, k: int) -> str:
    weights = factors.weights[k]
    peak = float(weights.max())
    return "".join(_named(factors, i, float(weights[i]), peak) for i in factors.tops[k]) or "none"


def _named(factors: Factors, position: int, weight: float, peak: float) -> str:
    # Translucent, so that the notebook's own ink can be read on it in a light and a dark theme.
    strength = 0.4 * weight / peak if peak else 0.0
    shade = f"background:rgba(139,98,225,{strength:.2f});border-radius:4px;padding:1px 4px"
    return (
        f'<span class="ecco-source" style="{_TOKEN}" title="{factors.place(position)}">'
        f'<span style="{shade}">{token_name(factors.tokens, position)}</span> '
        f"{format_number(weight)}</span> "
    )


def _holding(factors: Factors, sentence: str, effects_note: str) -> str:
    """Whether the factors can be trusted: do they come back, and what do they do?"""
    columns = {} if factors.stability is None else {"Stability": factors.stability}
    for name, cells in (factors.effects or {}).items():
        columns[name] = [_line(cell) for cell in cells]
    rows = _rows(columns)
    drawn = _scrolling(columns, rows[:_OPEN_ROWS])
    if len(rows) > _OPEN_ROWS:
        more = f"{len(rows) - _OPEN_ROWS} more"
        drawn += folded(more, _scrolling(columns, rows[_OPEN_ROWS:]))
    return (
        '<div class="ecco-card ecco-holding ecco-factors-holding">'
        f'<h3 class="ecco-measure">Does it hold?</h3>{said(sentence)}{drawn}'
        f"{noted(effects_note) if factors.effects else ''}"
        f"{noted(_STABILITY) if factors.stability is not None else ''}</div>"
    )


def _scrolling(columns: Iterable[str], rows: Sequence[Sequence[str]]) -> str:
    header = ("Factor", *columns)
    numeric = [k for k, name in enumerate(header) if name in ("Factor", "Stability")]
    return (
        '<div class="ecco-numbers" style="overflow-x:auto" role="group" tabindex="0" '
        f'aria-label="Factors {rows[0][0]} to {rows[-1][0]}">'
        f"{table(header, rows, numeric=numeric)}</div>"
    )


def _line(effect: str) -> str:
    text = escape("".join(visible_parts(effect))) if effect else _UNKNOWN
    return f'<span style="white-space:nowrap">{text}</span>' if len(effect) < _SHORT else text
