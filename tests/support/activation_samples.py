"""Activations of given, random and planted numbers, in memory and on disk."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from ecco_captum.activations.record import Activations
from ecco_captum.activations.store import Store, open_for_append
from ecco_captum.core.stored_array import StoredValues
from ecco_captum.core.tokens import Tokens
from ecco_captum.factors.record import Factors


def activations(values: Any, first: int = 0) -> Activations:
    """A record of given values, (layers, tokens, features)."""
    values = np.asarray(values, np.float32)
    count = values.shape[1]
    tokens = Tokens(np.arange(count), tuple(f" t{k}" for k in range(count)), count)
    layers = np.arange(first, first + len(values))
    return Activations(values, layers, tokens, np.array([0]), "neurons", "decoder", "model")


def random(seed: int, *, signed: bool = False, shape: tuple[int, ...] = (2, 30, 12)) -> Activations:
    rng = np.random.default_rng(seed)
    values = rng.gamma(0.7, size=shape)
    return activations(values * rng.choice([-1, 1], size=shape) if signed else values)


def planted(seed: int = 0, tokens: int = 60) -> tuple[Activations, np.ndarray, np.ndarray]:
    """Three groups of neurons in two layers, each at its own tokens."""
    rng = np.random.default_rng(seed)
    parts, weights = np.zeros((3, 2, 10)), np.zeros((3, tokens))
    for k in range(3):
        parts[k, :, 3 * k : 3 * k + 3] = rng.uniform(1, 2, (2, 3))
        weights[k, k::3] = rng.uniform(1, 3, len(weights[k, k::3]))
    values = np.einsum("kt,klf->ltf", weights, parts)
    return activations(values), weights, parts


def rebuilt(factors: Factors) -> np.ndarray:
    return np.einsum("kt,klf->ltf", factors.weights, factors.directions).astype(np.float64)


def stored(acts: Activations, path: Path) -> Activations:
    layers, _, features = acts.shape
    source = {"kind": "neurons", "stack": "decoder", "model": "m", "dtype": "float32"}
    with open_for_append(path):
        store = Store(path, {**source, "layers": list(range(layers)), "features": features})
        store.append(np.asarray(acts.values), acts.tokens, acts.sequences, [1])
        store.complete()
    return Activations.open(path)


def stored_in_parts(acts: Activations, path: Path, ends: list[int]) -> Activations:
    """The same in several folders, as many workers write them; `ends` are where parts end."""
    path.mkdir(exist_ok=True)
    bounds, parts, values = [0, *ends], [], None
    for number, (start, end) in enumerate(itertools.pairwise(bounds)):
        texts = np.flatnonzero((acts.sequences >= start) & (acts.sequences < end)).tolist()
        values = stored(acts.of_texts(texts), path / f"{number}").values
        assert isinstance(values, StoredValues)
        parts.append((f"{number}", values.key, end - start))
    assert values is not None
    held = dataclasses.replace(
        values, path=str(path), key="", tokens=bounds[-1], parts=tuple(parts)
    )
    return dataclasses.replace(acts, values=held)


def corpus(count: int = 60, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(5, 80, rng.integers(1, 12)).tolist() for _ in range(count)]
