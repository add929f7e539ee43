"""Cases for the verdict of probes: states that know nothing of the labels, and states that do.

Each case is a name and a function of a seed that says whether a claim was made: in a null case a
false one, in a planted case a true one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from ecco_captum import probe

Claimed = Callable[[int], bool]
_WORDS, _FEATURES = 200, 8
PLANTED_WORDS = 300
_QUICK = {"epochs": 8, "learning_rates": (0.1, 0.01)}


def false_positive_cases() -> Iterator[tuple[str, Claimed]]:
    """Noise with random labels, no word twice; and labels that each word type has by itself."""
    for layers in (1, 6):
        looks = "one layer" if layers == 1 else f"any of {layers} layers"
        yield f"noise, two random labels, {looks}", partial(_noise, 2, layers)
        yield f"noise, five random labels, {looks}", partial(_noise, 5, layers)
        yield f"labels by word type, {looks}", partial(_by_type, layers)


def planted_cases() -> Iterator[tuple[str, Claimed]]:
    """States that contain the label of every other layer, in noise; no word tells it."""
    for layers in (1, 6):
        looks = "one layer" if layers == 1 else f"{layers} layers"
        yield f"the label and noise, {PLANTED_WORDS} words, {looks}", partial(_planted, layers)


def _noise(labels: int, layers: int, seed: int) -> bool:
    rng = np.random.default_rng(seed)
    states = rng.standard_normal((layers, _WORDS, _FEATURES))
    return _claimed(states, rng.integers(labels, size=_WORDS), np.arange(_WORDS), seed)


def _by_type(layers: int, seed: int) -> bool:
    """States of a type's own vector and noise, as embeddings with some context have."""
    rng = np.random.default_rng(seed)
    types = np.minimum(rng.zipf(1.3, _WORDS), 80) - 1
    vectors = rng.standard_normal((layers, 80, 24))
    states = vectors[:, types] + 0.5 * rng.standard_normal((layers, _WORDS, 24))
    return _claimed(states, rng.integers(3, size=80)[types], types, seed)


def _planted(layers: int, seed: int) -> bool:
    """A third of the words has each label; a feature a label is 1 there, in noise of sd 0.5."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=PLANTED_WORDS)
    states = 0.5 * rng.standard_normal((layers, PLANTED_WORDS, _FEATURES))
    states[::2, :, :3] += np.eye(3)[labels]
    return _claimed(states, labels, np.arange(PLANTED_WORDS), seed)


def _claimed(states: np.ndarray, labels: np.ndarray, words: np.ndarray, seed: int) -> bool:
    report = probe(
        states.astype(np.float32),
        [f"label {k}" for k in labels],
        words=[f"word {k}" for k in words],
        seed=seed,
        progress=False,
        **_QUICK,
    )
    return report.verdict == "supported"
