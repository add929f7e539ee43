"""Representations to compare, and the naive ways of comparing them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ecco_captum import cca, cka, pwcca, svcca
from ecco_captum.activations.record import Activations
from ecco_captum.activations.store import Store, open_for_append
from ecco_captum.core.tokens import Tokens

MEASURES: dict[str, Callable[..., Any]] = {
    "cca": cca,
    "svcca": lambda x, y: svcca(x, y, dims=5),
    "pwcca": pwcca,
    "cka": cka,
    "biased cka": lambda x, y: cka(x, y, debiased=False),
    "rbf": lambda x, y: cka(x, y, kernel="rbf"),
}


def shared(
    seed: int, shape: tuple[int, int, int] = (400, 12, 9), common: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """Two representations with a few directions in common, off centre."""
    rng = np.random.default_rng(seed)
    n, p, q = shape
    z = rng.standard_normal((n, common))
    x = z @ rng.standard_normal((common, p)) + 0.7 * rng.standard_normal((n, p))
    y = z @ rng.standard_normal((common, q)) + 0.7 * rng.standard_normal((n, q))
    return x + rng.normal(size=p), y + 3 * rng.normal(size=q)


def orthogonal(seed: int, size: int) -> np.ndarray:
    return np.asarray(np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))[0])


def invertible(seed: int, size: int) -> np.ndarray:
    """A linear map that stretches by up to 30."""
    stretch = np.geomspace(1, 30, size)
    return np.asarray(orthogonal(seed, size) * stretch @ orthogonal(seed + 1, size))


def naive_correlations(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Cosines of the angles between column spaces, by orthogonal bases (Björck & Golub 1973)."""
    bases = []
    for side in (x, y):
        left, singular, _ = np.linalg.svd(side - side.mean(axis=0), full_matrices=False)
        bases.append(left[:, singular > 1e-9 * singular[0]])
    return np.asarray(np.linalg.svd(bases[0].T @ bases[1], compute_uv=False).clip(0, 1))


def naive_pwcca(x: np.ndarray, y: np.ndarray) -> float:
    """Weighed by x: canonical variates as columns over the tokens, projected on every neuron."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    bases = [np.linalg.svd(side, full_matrices=False)[0] for side in (x, y)]
    left, singular, _ = np.linalg.svd(bases[0].T @ bases[1], full_matrices=False)
    variates = bases[0] @ left
    weights = np.abs(variates.T @ x).sum(axis=1)
    return float(singular @ (weights / weights.sum()))


def naive_cka(
    x: np.ndarray,
    y: np.ndarray,
    *,
    debiased: bool,
    kernel: str = "linear",
    ties: Any = None,
    same: Any = None,
) -> float:
    """From whole kernel matrices, as the papers write it.

    Where ``same`` names the token of each row, x and y are centred already.
    """
    kernels = []
    for side in (x, y):
        side = side - side.mean(axis=0) if same is None else side
        if kernel == "linear":
            kernels.append(side @ side.T)
            continue
        distances = np.square(side[:, None] - side[None]).sum(axis=2)
        variance = np.median(distances) if ties is None else ties
        kernels.append(np.exp(-distances / (2 * variance)))
    n = len(x)

    def criterion(k: np.ndarray, m: np.ndarray) -> float:
        if not debiased:
            centring = np.eye(n) - 1 / n
            return float(np.trace(k @ centring @ m @ centring))
        apart = ~np.eye(n, dtype=bool) if same is None else same[:, None] != same
        k, m = k * apart, m * apart
        ones = np.ones(n)
        total = np.trace(k @ m) + (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
        return float(total - 2 / (n - 2) * (ones @ k @ m @ ones)) / (n * (n - 3))

    k, m = kernels
    return criterion(k, m) / float(np.sqrt(criterion(k, k) * criterion(m, m)))


def activations(
    values: Any, texts: int = 1, kind: str = "neurons", model: str = "m"
) -> Activations:
    """A record of given values, (layers, tokens, features), of texts of about the same length."""
    values = np.asarray(values)
    count = values.shape[1]
    tokens = Tokens(np.arange(count), tuple(f" t{k}" for k in range(count)), count)
    starts = np.linspace(0, count, texts + 1).astype(int)[:-1]
    layers = np.arange(len(values))
    return Activations(values, layers, tokens, starts, kind, "decoder", model)  # type: ignore[arg-type]


def stored(acts: Activations, path: Path) -> Activations:
    """The same on disk, written in two runs."""
    _, tokens, features = acts.shape
    header = {"kind": acts.kind, "stack": acts.stack, "model": acts.model}
    header |= {"dtype": str(acts.values.dtype), "layers": acts.layers.tolist()}
    half = int(acts.sequences[len(acts.sequences) // 2]) or tokens
    with open_for_append(path):
        store = Store(path, {**header, "features": features})
        for part in (slice(0, half), slice(half, tokens)):
            inside = (acts.sequences >= part.start) & (acts.sequences < part.stop)
            if not inside.any():
                continue
            texts = acts.tokens.texts[part]
            own = Tokens(acts.tokens.ids[part], texts, len(texts))
            starts = acts.sequences[inside] - part.start
            store.append(np.asarray(acts.values)[:, part], own, starts, list(range(len(starts))))
        store.complete()
    return Activations.open(path)
