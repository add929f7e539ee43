"""Which neurons fire together, and where in the text: tokens and arrays in, static HTML out.

What the page holds without its scripts is a table of the strongest tokens of each factor. With
scripts, the same place shows a line for each factor, and the text, shaded by the factor in hand.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ecco_captum.core.record import data_frame
from ecco_captum.core.text import format_number, format_share, visible_parts, with_interval
from ecco_captum.core.tokens import Tokens
from ecco_captum.display.colours import LEVELS
from ecco_captum.display.figure import numbers
from ecco_captum.display.heat_table import folded, noted, said
from ecco_captum.display.page import asset, embed_json, escape, frame, style, table, view_key
from ecco_captum.display.token_text import folded_table, token_name, token_text_css

if TYPE_CHECKING:
    import pandas as pd

    from ecco_captum.factors.effect_record import FactorEffect
    from ecco_captum.factors.record import Factors

STRONGEST = 5
"""Tokens that are named for each factor."""

Positions = Sequence[Sequence[int]] | np.ndarray
Effects = Mapping[str, Sequence[str | None]]

_LARGEST = float(np.finfo(np.float32).max)  # the page computes with float32


@dataclass(frozen=True, eq=False)
class FactorsView:
    r"""Factors over the tokens of some texts, checked; what is None was not given.

    Args:
        tokens (Tokens): The texts, one after the other.
        weights (numpy.ndarray): Shape (factors, tokens), float32, 0 or more.
        starts (list of int): Position of the first token of each text.
        tops (list of lists of int): Positions of each factor's strongest tokens, strongest first.
        explained (list of str, optional): What each factor explains, as a percentage.
        stability (list of str, optional): Mean cosine with its matches from other seeds.
        effects (dict, optional): Columns of what ablations do, ``""`` where it is not known.
    """

    tokens: Tokens
    weights: np.ndarray
    starts: list[int]
    tops: list[list[int]]
    explained: list[str] | None
    stability: list[str] | None
    effects: dict[str, list[str]] | None

    @property
    def sections(self) -> list[tuple[str, int]]:
        """The parts of the text that stand apart: name and first position of each."""
        if len(self.starts) > 1:
            return [(f"text {k}", start) for k, start in enumerate(self.starts)]
        if 0 < self.tokens.prompt_length < len(self.tokens):
            return [("prompt", 0), ("generated", self.tokens.prompt_length)]
        return [("", 0)]

    def place(self, position: int) -> str:
        """Where a token stands: its column of the weights, and which text that is."""
        if len(self.starts) == 1:
            return f"position {position}"
        text = int(np.searchsorted(self.starts, position, side="right")) - 1
        return f"position {position}, text {text}"


def checked_factors(
    tokens: Tokens,
    weights: np.ndarray,
    *,
    explained: Sequence[float] | np.ndarray | None,
    top_tokens: Positions | None,
    stability: Sequence[float] | np.ndarray | None,
    effects: Effects | None,
    sequences: Sequence[int] | np.ndarray | None,
) -> FactorsView:
    r"""
    Check that what is to be drawn fits together.

    Args:
        tokens (Tokens): Of one or more texts, one after the other.
        weights (array): Expected shape (factors, tokens), 0 or more.
        explained (sequence of float, optional): Expected shape (factors,), shares from 0 to 1.
        top_tokens (sequences of int, optional): Each factor's strongest tokens, strongest first.
            None takes them from the weights.
        stability (sequence of float, optional): Expected shape (factors,), cosines from 0 to 1.
        effects (mapping, optional): From a column's name to a text or None for each factor.
        sequences (sequence of int, optional): Where each text starts. None is one text.

    Returns:
        FactorsView: All of it.

    Raises:
        ValueError: Shapes do not fit each other, or numbers are out of their range.
    """
    found = numbers("weights", weights, (-1, len(tokens)), least=0, most=_LARGEST)
    count, found = len(found), found.astype(np.float32)
    return FactorsView(
        tokens,
        found,
        _checked_starts(sequences, len(tokens)),
        strongest_tokens(found) if top_tokens is None else _checked_tops(top_tokens, found.shape),
        None if explained is None else _written("explained", explained, count, format_share),
        None if stability is None else _written("stability", stability, count, "{:.2f}".format),
        None if effects is None else {n: _checked_cells(n, effects[n], count) for n in effects},
    )


def strongest_tokens(weights: np.ndarray, count: int = STRONGEST) -> list[list[int]]:
    r"""
    Where each factor is strongest.

    Args:
        weights (numpy.ndarray): Shape (factors, tokens), 0 or more.
        count (int, optional): How many tokens of each, at most. Default: ``STRONGEST``

    Returns:
        list of lists of int: Positions, strongest first; equal ones in the order of the text. A
        token without weight is none of them.
    """
    order = np.argsort(-weights, axis=1, kind="stable")[:, :count]
    return [[int(i) for i in row if weights[k, i] > 0] for k, row in enumerate(order)]


def factors_data(factors: FactorsView) -> dict[str, object]:
    r"""
    What the script needs beside the weights.

    Args:
        factors (FactorsView): What to draw.

    Returns:
        dict: ``texts`` (a string for each token, or plain parts and marks in turn), ``starts``,
        ``sections`` (name and first position of each part of the text), ``tops``, ``explained``,
        ``stability``, ``levels`` of the ramp.
    """
    parts = map(visible_parts, factors.tokens.texts)
    return {
        "texts": [p[0] if len(p) == 1 else p for p in parts],
        "starts": factors.starts,
        "sections": factors.sections,
        "tops": factors.tops,
        "explained": factors.explained,
        "stability": factors.stability,
        "levels": LEVELS,
    }


def _written(
    name: str, given: Sequence[float] | np.ndarray, count: int, write: Callable[[float], str]
) -> list[str]:
    values = numbers(name, np.asarray(given), (count,), least=0, most=1)
    return [write(value) for value in values.tolist()]


def _checked_starts(given: Sequence[int] | np.ndarray | None, length: int) -> list[int]:
    starts = np.zeros(1, int) if given is None else np.asarray(given)
    fits = starts.ndim == 1 and starts.size > 0 and starts.dtype.kind in "iu"
    if not fits or starts[0] != 0 or starts[-1] >= length or (np.diff(starts) < 1).any():
        raise ValueError(
            f"sequences: got {_shortened(given)}, accepts ascending positions at which texts "
            f"start: the first is 0, the last below {length}"
        )
    return [int(start) for start in starts]


def _checked_tops(given: Positions, shape: tuple[int, ...]) -> list[list[int]]:
    count, length = shape
    if len(given) != count:
        raise ValueError(f"top_tokens: got {len(given)} rows, accepts one for each of {count}")
    rows = [np.asarray(row) for row in given]
    for row in rows:
        fits = row.ndim == 1 and (row.dtype.kind in "iu" or not row.size)
        if not fits or (row < 0).any() or (row >= length).any():
            raise ValueError(
                f"top_tokens: got {_shortened(row.tolist())}, accepts positions of tokens, 0 to "
                f"{length - 1}, for each factor"
            )
    return [[int(position) for position in row] for row in rows]


def _checked_cells(name: str, given: Sequence[str | None], count: int) -> list[str]:
    if isinstance(given, str) or len(given) != count:
        raise ValueError(
            f"effects: got {_shortened(given)} for {name!r}, accepts a text or None for each of "
            f"{count} factors"
        )
    return [cell or "" for cell in given]


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


TITLE = "What fires together?"

_SCRIPTS = ("display/numbers.js", "display/tokens.js", "factors/factors.js", "display/boot.js")
_SHEETS = ("display/table.css", "factors/factors.css")
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
        str: An HTML fragment, for a notebook cell or the body of a page.

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
        style(token_text_css(signed=False), *map(asset, _SHEETS))
        + f'{data}<div class="ecco-swap">{_plain_view(factors)}</div>'
        + f'<script type="module">\n{script}boot("{key}", mountFactors);\n</script>{below}'
    )
    return frame(body, title=title, subtitle=subtitle, note=note, key=key)


def _columns(factors: FactorsView) -> dict[str, list[str]]:
    """Header and cells of the numbers that were given."""
    given = {"Explained": factors.explained, "Stability": factors.stability}
    return {name: cells for name, cells in given.items() if cells is not None}


def _rows(columns: dict[str, list[str]]) -> list[list[str]]:
    return [[str(k), *cells] for k, cells in enumerate(zip(*columns.values(), strict=True))]


def _plain_view(factors: FactorsView) -> str:
    columns = _columns(factors)
    columns[_STRONGEST] = [_strongest(factors, k) for k in range(len(factors.weights))]
    numeric = range(len(columns))  # the factor's number, and all but the last
    return folded_table(("Factor", *columns), _rows(columns), numeric=numeric, many="factors")


def _strongest(factors: FactorsView, k: int) -> str:
    weights = factors.weights[k]
    peak = float(weights.max())
    return "".join(_named(factors, i, float(weights[i]), peak) for i in factors.tops[k]) or "none"


def _named(factors: FactorsView, position: int, weight: float, peak: float) -> str:
    # Translucent, so that the notebook's own ink can be read on it in a light and a dark theme.
    strength = 0.4 * weight / peak if peak else 0.0
    shade = f"background:rgba(139,98,225,{strength:.2f});border-radius:4px;padding:1px 4px"
    return (
        f'<span class="ecco-source" style="{_TOKEN}" title="{factors.place(position)}">'
        f'<span style="{shade}">{token_name(factors.tokens, position)}</span> '
        f"{format_number(weight)}</span> "
    )


def _holding(factors: FactorsView, sentence: str, effects_note: str) -> str:
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


_DRAWN = 10_000  # tokens of a page
_STRONGEST_SHOWN = 5


_COLUMNS: dict[str, Callable[[FactorEffect], str]] = {
    "Where it is high": lambda effect: with_interval(effect.on_high),
    "Where it is low": lambda effect: with_interval(effect.on_low),
    "Random neurons, where high": lambda effect: with_interval(effect.random_on_high),
    "More than random": lambda effect: with_interval(effect.margin),
    "": lambda effect: effect.verdict,
}


def sentence_of(factors: Factors) -> str:
    """How much of the activations the factors account for, and what was clipped before."""
    of = {"clip": "' positive part", "abs": "' magnitudes"}.get(factors.negatives, "")
    share = f"{1 - factors.error**2:.0%} of the energy of the activations{of}"
    said = f"{factors.count} factors account for {share}."
    if factors.negatives == "clip":
        said += f" Their negative part, {factors.clipped:.1%} of all energy, was clipped."
    return said


def subtitle_of(factors: Factors) -> str:
    """What is drawn."""
    layers, _, neurons = factors.activations.shape
    blocks = "1 block" if layers == 1 else f"{layers} blocks"
    return (
        f"{factors.activations.model} · NMF of {layers * neurons:,} neurons in {blocks} · weight "
        "of each factor at each token, over its own maximum"
    )


def view_of(
    factors: Factors, effects: Sequence[FactorEffect] = (), stability: np.ndarray | None = None
) -> str:
    """The text, or the texts where factors are strongest, beside a line for each factor."""
    shown, subtitle = factors, factors.subtitle
    count = len(factors.activations.sequences)
    if len(factors.tokens) > _DRAWN and count > 1:
        texts = _strongest_texts(factors)
        shown = factors.excerpt(texts)
        subtitle += f" · {len(texts)} of {count:,} texts, where factors are strongest"
    told = {effect.component: effect for effect in effects}
    columns = {
        name: [cell(told[k]) if k in told else None for k in range(factors.count)]
        for name, cell in _COLUMNS.items()
    }
    return factors_view(
        shown.tokens,
        shown.weights,
        explained=factors.contributions.clip(0, 1),
        stability=None if stability is None else np.clip(stability, 0, 1),
        effects=columns if told else None,
        effects_note=effects[0].note if told else "",
        sequences=shown.activations.sequences,
        subtitle=subtitle,
        sentence=factors.sentence,
    )


def _strongest_texts(factors: Factors) -> list[int]:
    """Texts that hold each factor's strongest tokens, as many as a page holds."""
    starts = factors.activations.sequences
    lengths = np.diff(np.append(starts, len(factors.tokens)))
    best = np.argsort(-factors.weights, axis=1, kind="stable")[:, :_STRONGEST_SHOWN]
    texts = np.searchsorted(starts, best, side="right") - 1
    chosen: list[int] = []
    for text in texts.T.ravel().tolist():  # the strongest of each factor first
        if text not in chosen and (not chosen or lengths[[*chosen, text]].sum() <= _DRAWN):
            chosen.append(text)
    return sorted(chosen)


def table_of(factors: Factors) -> pd.DataFrame:
    """One row a factor and token."""
    factor, position = np.indices(factors.weights.shape).reshape(2, -1)
    return data_frame(
        {
            "factor": factor,
            "position": position,
            "token": np.array(factors.tokens.texts, dtype=object)[position],
            "weight": factors.weights.ravel(),
        }
    )
