"""Factors of neurons on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import RenderableType

from ecco_captum.core.text import visible, with_interval
from ecco_captum.display.terminal import table, with_verdict

if TYPE_CHECKING:
    from ecco_captum.factors.record import FactorEffect, Factors


def factors_blocks(factors: Factors) -> list[RenderableType]:
    """How much each factor explains, and its top tokens."""
    rows = []
    for k, share in enumerate(factors.explained()):
        tokens = "  ".join(visible(text) for _, text, _ in factors.top_tokens(k, 8))
        rows.append((k, f"{share:.1%}", tokens))
    made = table(["FACTOR", "EXPLAINS", "TOP TOKENS"], rows, {2})
    return [factors.subtitle, made, factors.sentence]


def effect_blocks(effect: FactorEffect) -> list[RenderableType]:
    """What taking a factor's neurons out changes, and what random neurons change."""
    rows = [
        ("the factor's, where it is high", with_interval(effect.on_high)),
        ("the factor's, where it is low", with_interval(effect.on_low)),
        ("random ones, where it is high", with_interval(effect.random_on_high)),
    ]
    made = table(["NEURONS TAKEN OUT", f"CHANGE, {effect.unit.upper()}"], rows, {0})
    return [effect.model, made, with_verdict(effect.sentence, effect.verdict)]
