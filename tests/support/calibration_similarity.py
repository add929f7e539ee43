"""Cases for the test of similarity: layers with nothing in common, and layers that share a little.

Each case is a name and a function of a seed that says whether a claim was made: in a null case a
false one, in a planted case a true one.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from ecco_captum import Activations, compare
from ecco_captum.core.tokens import Tokens

Claimed = Callable[[int], bool]
MEASURES = ("cca", "svcca", "pwcca", "cka")
SHARED = 0.02  # r², the part of each feature's variance that both layers of a planted pair share
PLANTED_TOKENS = 600  # enough for 8 features; with 400 tokens of one text, AR(1) 0.5, 68% are found
_FEATURES = 8
# Sizes of texts: one text, many of one length, many of different lengths, and very short ones.
TEXTS: dict[str, tuple[int, int, int]] = {
    "one text": (1, 400, 400),
    "texts of 20": (30, 20, 20),
    "texts of 5 to 40": (30, 5, 40),
    "texts of 1 to 12": (60, 1, 12),
}


def false_positive_cases() -> Iterator[tuple[str, Claimed]]:
    """Independent layers: rows that are independent, move on slowly, or go with their text."""
    for measure in MEASURES:
        yield f"{measure}, independent rows, a pair", partial(_pair, measure, 0.0, "one text")
        yield f"{measure}, independent rows, any of 28 pairs", partial(_any_pair, measure, 0.0)
        for rho in (0.5, 0.9, 0.98):
            for texts in TEXTS:
                name = f"{measure}, AR(1) {rho}, {texts}"
                yield name, partial(_pair, measure, rho, texts)
        yield f"{measure}, AR(1) 0.9, any of 28 pairs", partial(_any_pair, measure, 0.9)
        for texts in list(TEXTS)[1:]:
            yield f"{measure}, a mean of each text, {texts}", partial(_pair, measure, None, texts)
        yield f"{measure}, AR(1) 0.9 cut into texts", partial(_cut, measure)


def planted_cases() -> Iterator[tuple[str, Claimed]]:
    """Layers of which every feature shares 2% of its variance with one of the other layer."""
    for measure in MEASURES:
        for rho in (0.0, 0.5):
            name = f"{measure}, r² = {SHARED}, {PLANTED_TOKENS:,} tokens, AR(1) {rho}"
            yield name, partial(_planted, measure, rho)
        name = f"{measure}, r² = {SHARED}, {PLANTED_TOKENS:,} tokens, texts of 15"
        yield name, partial(_planted, measure, 0.5, 100)


def _pair(measure: str, rho: float | None, texts: str, seed: int) -> bool:
    rng = np.random.default_rng(seed)
    least, most = TEXTS[texts][1:]
    lengths = rng.integers(least, most + 1, size=TEXTS[texts][0])
    layers = [_rows(rng, lengths, rho) for _ in range(2)]
    return _claimed(layers, lengths, measure, seed)


def _any_pair(measure: str, rho: float, seed: int) -> bool:
    rng, lengths = np.random.default_rng(seed), np.array([400])
    return _claimed([_rows(rng, lengths, rho) for _ in range(8)], lengths, measure, seed)


def _cut(measure: str, seed: int) -> bool:
    """One text of dependent rows, told as 20 texts."""
    rng = np.random.default_rng(seed)
    layers = [_rows(rng, np.array([600]), 0.9) for _ in range(2)]
    return _claimed(layers, np.full(20, 30), measure, seed)


def _planted(measure: str, rho: float, texts: int, seed: int | None = None) -> bool:
    texts, seed = (1, texts) if seed is None else (texts, seed)
    rng, lengths = np.random.default_rng(seed), np.full(texts, PLANTED_TOKENS // texts)
    common = _rows(rng, lengths, rho)
    # Of each side a part √r² of the variance is common, so that features correlate by r.
    part = np.sqrt(SHARED)
    layers = [
        np.sqrt(part) * common + np.sqrt(1 - part) * _rows(rng, lengths, rho) for _ in range(2)
    ]
    return _claimed(layers, lengths, measure, seed)


def _rows(rng: np.random.Generator, lengths: np.ndarray, rho: float | None) -> np.ndarray:
    """(tokens, features): AR(1) within each text; None for noise around a mean of each text."""
    count = int(lengths.sum())
    noise = rng.standard_normal((count, _FEATURES))
    if rho is None:
        return noise + np.repeat(rng.standard_normal((len(lengths), _FEATURES)), lengths, axis=0)
    starts = {0, *np.cumsum(lengths)[:-1].tolist()}
    for k in range(count):
        if k not in starts:
            noise[k] = rho * noise[k - 1] + np.sqrt(1 - rho**2) * noise[k]
    return noise


def _claimed(layers: Sequence[Any], lengths: np.ndarray, measure: str, seed: int) -> bool:
    count = int(lengths.sum())
    tokens = Tokens(np.arange(count), ("",) * count, count)
    starts = np.cumsum([0, *lengths[:-1]])
    acts = Activations(
        np.array(layers), np.arange(len(layers)), tokens, starts, "neurons", "decoder", ""
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* tokens are fewer than")
        alike = compare(acts, measure=measure, seed=seed, progress=False)  # type: ignore[arg-type]
    pairs = itertools.combinations(range(len(layers)), 2)
    claimed = any(alike.beyond_chance[pair] for pair in pairs)
    assert claimed == (alike.verdict != "inconclusive")
    return claimed
