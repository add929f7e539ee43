"""How factors are shown: a line for each over the text, and the text shaded by one of them.

What the page holds without its scripts is a table of the top tokens of each factor. With scripts,
the same place shows a line for each factor, and the text, shaded by the hovered factor.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from ecco_captum.core.text import (
    format_number,
    format_p,
    format_share,
    visible_parts,
    with_interval,
)
from ecco_captum.display.colours import LEVELS
from ecco_captum.display.page import (
    asset,
    embed_json,
    folded_table,
    frame,
    part,
    render,
    table,
    token_name,
    token_text_css,
    view_key,
)
from ecco_captum.factors.family import family_p_values, family_verdicts

if TYPE_CHECKING:
    from ecco_captum.factors.record import FactorEffect, Factors

TOP_TOKENS = 5
"""Tokens that are named for each factor."""

_SCRIPTS = ("display/numbers.js", "display/tokens.js", "factors/factors.js", "display/boot.js")
_DRAWN = 10_000  # tokens of a page
_OPEN_ROWS = 12  # of the table below, before the others are folded away
_SHORT = 30  # a number with its interval stays on one line
_UNKNOWN = "–"
_STABILITY = (
    "Stability: mean cosine of the factor with the one that matches it in factorisations from "
    "other seeds; 1 is the same every time."
)
_EFFECTS: dict[str, Callable[[FactorEffect], str]] = {
    "Where it is high": lambda effect: with_interval(effect.on_high),
    "Where it is low": lambda effect: with_interval(effect.on_low),
    "Random neurons, where high": lambda effect: with_interval(effect.random_on_high),
    "More than random": lambda effect: with_interval(effect.margin),
    "p": lambda effect: format_p(effect.p_value),
}


def factors_view(
    factors: Factors, effects: Sequence[FactorEffect] = (), stability: np.ndarray | None = None
) -> Markup:
    """Draws how strong each factor is at each token; of many texts, where factors are strongest.

    ``effects`` fill a table below; ``stability``, (components,), is the mean cosine of each factor
    with its matches from other seeds.
    """
    shown, subtitle = factors, factors.subtitle
    count = len(factors.activations.sequences)
    if len(factors.tokens) > _DRAWN and count > 1:
        texts = _texts_with_top_tokens(factors)
        shown = factors.excerpt(texts)
        subtitle += f" · {len(texts)} of {count:,} texts, where factors are strongest"
    cosines = None if stability is None else [f"{c:.2f}" for c in np.clip(stability, 0, 1)]
    facts = factors_data(shown, cosines)
    packed = base64.b64encode(shown.weights.astype("<f4").tobytes()).decode()
    # "scores" is what boot.js unpacks in any view.
    data = embed_json({**facts, "scores": packed})
    below = _tests(factors, effects, cosines)
    key = view_key(data, below, factors.title, subtitle)
    body = render(
        "factors/factors.html.j2",
        css=token_text_css(signed=False),
        data=data,
        plain=_plain_view(shown, facts),
        script=Markup("").join(map(asset, _SCRIPTS)),
        boot=f'boot("{key}", mountFactors);',
        below=below,
    )
    return frame(body, title=factors.title, subtitle=subtitle, key=key)


def factors_data(factors: Factors, stability: list[str] | None) -> dict[str, Any]:
    """What the script needs beside the weights.

    ``texts`` (a string for each token, or plain parts and marks in turn), ``starts``, ``sections``
    (name and first position of each part of the text), ``tops`` (positions of each factor's top
    tokens), ``explained``, ``stability``, ``levels`` of the ramp, ``order`` of the factors in the
    list, ``sinks`` among them.
    """
    tokens, starts = factors.tokens, factors.activations.sequences.tolist()
    if len(starts) > 1:
        sections = [(f"text {k}", start) for k, start in enumerate(starts)]
    elif tokens.starts:
        sections = [(f"text {k}", start) for k, start in enumerate((0, *tokens.starts), start=1)]
    elif 0 < tokens.prompt_length < len(tokens):
        sections = [("prompt", 0), ("generated", tokens.prompt_length)]
    else:
        sections = [("", 0)]
    parts = map(visible_parts, tokens.texts)
    return {
        "texts": [p[0] if len(p) == 1 else p for p in parts],
        "starts": starts,
        "sections": sections,
        "tops": top_tokens(factors.weights),
        "explained": [format_share(float(c)) for c in factors.contributions.clip(0, 1)],
        "stability": stability,
        "levels": LEVELS,
        "order": factors.by_interest,
        "sinks": factors.sinks,
    }


def top_tokens(weights: np.ndarray, count: int = TOP_TOKENS) -> list[list[int]]:
    """Positions where each factor is strongest, the strongest first; none without weight."""
    order = np.argsort(-weights, axis=1, kind="stable")[:, :count]
    return [[int(i) for i in row if weights[k, i] > 0] for k, row in enumerate(order)]


def _texts_with_top_tokens(factors: Factors) -> list[int]:
    """Texts that hold each factor's top tokens, as many as a page holds."""
    starts = factors.activations.sequences
    lengths = np.diff(np.append(starts, len(factors.tokens)))
    best = np.argsort(-factors.weights, axis=1, kind="stable")[:, :TOP_TOKENS]
    texts = np.searchsorted(starts, best, side="right") - 1
    chosen: list[int] = []
    for text in texts.T.ravel().tolist():  # the strongest of each factor first
        if text not in chosen and (not chosen or lengths[[*chosen, text]].sum() <= _DRAWN):
            chosen.append(text)
    return sorted(chosen)


def _plain_view(factors: Factors, facts: dict[str, Any]) -> Markup:
    columns = {"Explained": facts["explained"]}
    if facts["stability"] is not None:
        columns["Stability"] = facts["stability"]
    columns["Its top tokens, with their weights"] = list(_tops(factors, facts))
    numeric = range(len(columns))  # the factor's number, and all but the last
    rows = [_rows(columns)[k] for k in factors.by_interest]
    for row, k in zip(rows, factors.by_interest, strict=True):
        row[0] += " (attention sink)" if k in factors.sinks else ""
    return folded_table(("Factor", *columns), rows, numeric=numeric, many="factors")


def _tops(factors: Factors, facts: dict[str, Any]) -> Iterator[Markup]:
    """The top tokens of each factor as text, each shaded, with its weight."""
    tokens, starts = factors.tokens, facts["starts"]

    def place(position: int) -> str:
        if len(starts) == 1:
            return f"position {position}"
        text = int(np.searchsorted(starts, position, side="right")) - 1
        return f"position {position}, text {text}"

    for weights, positions in zip(factors.weights, facts["tops"], strict=True):
        tops = [
            (place(i), token_name(tokens, i), format_number(float(weights[i])), weights[i])
            for i in positions
        ]
        yield render("factors/top_tokens.html.j2", tops=tops, peak=float(weights.max()))


def _rows(columns: dict[str, list[Any]]) -> list[list[Any]]:
    return [[str(k), *cells] for k, cells in enumerate(zip(*columns.values(), strict=True))]


def _tests(
    factors: Factors, effects: Sequence[FactorEffect], stability: list[str] | None
) -> Markup:
    """Whether the factors can be trusted: do they come back, and what do they do?"""
    if stability is None and not effects:
        return part("answer", factors.sentence)
    by_component = {effect.component: effect for effect in effects}
    columns: dict[str, list[Any]] = {} if stability is None else {"Stability": stability}
    if effects:
        for name, cell in _EFFECTS.items():
            cells = [by_component.get(k) for k in range(factors.count)]
            columns[name] = [_unbroken(cell(e)) if e else _UNKNOWN for e in cells]
        told = {
            effect.component: (format_p(p_value), verdict)
            for effect, p_value, verdict in zip(
                effects, family_p_values(effects), family_verdicts(effects), strict=True
            )
        }
        both = [told.get(k, (_UNKNOWN, _UNKNOWN)) for k in range(factors.count)]
        columns["p, all factors"], columns["Verdict"] = map(list, zip(*both, strict=True))
    rows = _rows(columns)
    shown = _scrolling(columns, rows[:_OPEN_ROWS])
    if len(rows) > _OPEN_ROWS:
        more = f"{len(rows) - _OPEN_ROWS} more"
        shown += part("folded", more, _scrolling(columns, rows[_OPEN_ROWS:]))
    return render(
        "factors/tests.html.j2",
        sentence=factors.sentence,
        table=shown,
        notes=[effects[0].note if effects else "", "" if stability is None else _STABILITY],
    )


def _scrolling(columns: dict[str, list[Any]], rows: Sequence[Sequence[str]]) -> Markup:
    header = ("Factor", *columns)
    numeric = [k for k, name in enumerate(header) if name in ("Factor", "Stability")]
    cells = table(header, rows, numeric=numeric)
    return part("scrolling", cells, f"Factors {rows[0][0]} to {rows[-1][0]}")


def _unbroken(text: str) -> str:
    if len(text) >= _SHORT:
        return text
    return Markup('<span style="white-space:nowrap">{}</span>').format(text)
