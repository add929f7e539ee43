"""Factors to draw: smooth weights over a random text, and what their ablations did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from view_samples import HOSTILE

from ecco_captum import Activations, FactorEffect, Factors
from ecco_captum.core.tokens import Tokens
from ecco_captum.display.colours import LEVELS

WORDS = (" the", " countries", " of", ",", " Austria", ".", " in", " 19", "45", " Republic")


def random_text(length: int = 300) -> tuple[str, ...]:
    """Random words, with a line break now and then."""
    chosen = np.random.default_rng(5).integers(len(WORDS), size=length)
    return tuple("\n" if i % 23 == 17 else WORDS[word] for i, word in enumerate(chosen))


def smooth(factors: int = 6, length: int = 300) -> np.ndarray:
    """A few hills for each factor, of its own size: (factors, tokens)."""
    rng = np.random.default_rng(6)
    middles = rng.uniform(0, length, (factors, 4, 1))
    hills = np.exp(-(((np.arange(length) - middles) / rng.uniform(2, 15, (factors, 4, 1))) ** 2))
    weights = (rng.uniform(0.2, 1, (factors, 4, 1)) * hills).sum(axis=1)
    weights[weights < 0.01] = 0
    return weights * rng.uniform(0.3, 4, (factors, 1))


def factors(
    weights: np.ndarray | None = None,
    texts: Sequence[str] = (),
    *,
    prompt: int | None = None,
    starts: Sequence[int] = (0,),
    model: str = "tiny",
) -> Factors:
    """Factors of given weights; all of the text is prompt unless it is said."""
    weights = smooth() if weights is None else weights
    count, length = weights.shape
    tokens = Tokens(
        np.arange(length), tuple(texts) or random_text(length), length if prompt is None else prompt
    )
    values, layers = np.zeros((1, length, 2)), np.zeros(1, int)
    held = Activations(values, layers, tokens, np.array(starts), "neurons", "decoder", model)
    shares = np.random.default_rng(7).dirichlet(np.ones(count))
    return Factors(held, weights, np.zeros((count, 1, 2)), None, 0.5, 0.0, shares)


def stability(count: int = 6) -> np.ndarray:
    return np.random.default_rng(7).uniform(0.4, 1, count)


def effects(count: int = 6) -> list[FactorEffect]:
    """What the ablation of each factor but the first does; that of every other one is clear."""
    fields: dict[str, Any] = {
        "tokens": Tokens(np.arange(8), random_text(8), 8),
        "weights": np.zeros(8, np.float32),
        "neurons": np.zeros((5, 2), int),
        "measure": "loss",
        "changes": np.zeros(8),
        "random_changes": np.zeros((2, 8)),
        "high": np.arange(8) < 2,
        "low": np.arange(8) > 3,
        "on_low": np.array([0.1, 0.05, 0.15]),
        "random_on_high": np.array([0.2, 0.1, 0.3]),
        "model": "tiny",
    }
    return [
        FactorEffect(
            component=k,
            on_high=np.array([k / 8, k / 8 - 0.1, k / 8 + 0.1]),
            margin=np.array([0.3, 0.1 - 0.2 * (k % 2), 0.5]),
            **fields,
        )
        for k in range(1, count)
    ]


def factors_fragment(count: int = 6, length: int = 300, **change: Any) -> str:
    """A view with all that it can show."""
    record = factors(smooth(count, length), **change)
    return record.fragment(effects(count), stability(count))


def hostile_factors() -> Factors:
    """Texts that break a careless page, wherever there is a text; a factor for each of them."""
    count = len(HOSTILE)
    return factors(np.eye(count) + 0.1, HOSTILE, model=HOSTILE[0] + HOSTILE[4] + HOSTILE[5])


def levels_of(row: np.ndarray) -> list[int]:
    """Levels of the ramp: parts of the largest weight."""
    row = row.astype(np.float32).astype(float)
    return [int(np.floor(LEVELS * weight / (row.max() or 1) + 0.5)) for weight in row]


def every_factors_view() -> dict[str, str]:
    """One of each kind."""
    return {
        "all": factors_fragment(),
        "weights alone": factors(smooth(3, 60), prompt=20).fragment(),
        "some texts": factors_fragment(30, starts=[0, 100, 250]),
        "stability": factors(smooth(20)).fragment(stability=stability(20)),
        "without weight": factors(np.zeros((2, 40))).fragment(effects(2)),
    }
