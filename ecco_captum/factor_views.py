r"""How factors are put in words and on a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ecco_captum.legible import with_interval
from ecco_captum.tables import data_frame

if TYPE_CHECKING:
    import pandas as pd

    from ecco_captum.effect_record import FactorEffect
    from ecco_captum.factors_record import Factors

_DRAWN = 10_000  # tokens of a page
_STRONGEST = 5


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
    from ecco_captum.factors_html import factors_view

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
    best = np.argsort(-factors.weights, axis=1, kind="stable")[:, :_STRONGEST]
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
