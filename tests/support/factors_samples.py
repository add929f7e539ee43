"""Factors to draw: smooth weights over a random text."""

from __future__ import annotations

from typing import Any

import numpy as np
from view_samples import HOSTILE

from ecco_captum.core.tokens import Tokens
from ecco_captum.display.colours import shade_class
from ecco_captum.factors.html import factors_view

WORDS = (" the", " countries", " of", ",", " Austria", ".", " in", " 19", "45", " Republic")


def random_text(length: int = 300, prompt: int | None = None) -> Tokens:
    """Random words, with a line break now and then; all of it is prompt unless it is said."""
    chosen = np.random.default_rng(5).integers(len(WORDS), size=length)
    texts = ["\n" if i % 23 == 17 else WORDS[word] for i, word in enumerate(chosen)]
    return Tokens(np.arange(length), tuple(texts), length if prompt is None else prompt)


def smooth(factors: int = 6, length: int = 300) -> np.ndarray:
    """A few hills for each factor, of its own size: (factors, tokens)."""
    rng = np.random.default_rng(6)
    middles = rng.uniform(0, length, (factors, 4, 1))
    hills = np.exp(-(((np.arange(length) - middles) / rng.uniform(2, 15, (factors, 4, 1))) ** 2))
    weights = (rng.uniform(0.2, 1, (factors, 4, 1)) * hills).sum(axis=1)
    weights[weights < 0.01] = 0
    return weights * rng.uniform(0.3, 4, (factors, 1))


def facts(factors: int = 6) -> dict[str, Any]:
    """All that a view can say of its factors."""
    rng = np.random.default_rng(7)
    effects = [f"Without it the loss rises by {k / 8:.2f} nats." for k in range(factors)]
    return {
        "explained": rng.dirichlet(np.ones(factors)),
        "stability": rng.uniform(0.4, 1, factors),
        "effects": {"What its ablation does": [None, *effects[1:]]},
        "effects_note": "In nats.",
    }


def factors(count: int = 6, length: int = 300, **change: Any) -> str:
    given = {**facts(count), "sentence": "It holds.", **change}
    return factors_view(random_text(length), smooth(count, length), **given)


def hostile_factors(**change: Any) -> str:
    """Texts that break a careless page, wherever there is a text; a factor for each of them."""
    count = len(HOSTILE)
    words = {"title": HOSTILE[0], "subtitle": HOSTILE[4], "sentence": HOSTILE[5]}
    given = {"effects": {HOSTILE[2]: HOSTILE}, **words, "note": HOSTILE[1], **change}
    return factors_view(Tokens(np.arange(count), HOSTILE, count), np.eye(count) + 0.1, **given)


def levels_of(row: np.ndarray) -> list[int]:
    """Levels of the ramp, from the classes that Python gives."""
    row = row.astype(np.float32)
    names = [shade_class(float(weight), float(row.max())) for weight in row]
    return [int(name.removeprefix("ecco-s") or 0) for name in names]


def every_factors_view() -> dict[str, str]:
    """One of each kind."""
    words = {"title": "A question?", "subtitle": "s", "sentence": "It holds.", "note": "n"}
    unknown = {"a": [None, "e"]}
    return {
        "all": factors(**words),
        "weights alone": factors_view(random_text(60, prompt=20), smooth(3, 60), **words),
        "some texts": factors(30, sequences=[0, 100, 250], **words),
        "stability": factors(20, explained=None, effects=None, **words),
        "without weight": factors_view(random_text(40), np.zeros((2, 40)), effects=unknown),
    }
