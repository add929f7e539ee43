r"""Times measures of similarity beside the method of the SVCCA and PWCCA papers' published code.

That method takes the covariance of both layers together, the inverse square roots of its blocks,
and a singular value decomposition of what they whiten; each pair starts from the arrays. It is
written here in its own few lines. Contestants take turns, each in a process of its own, which draws
the same seeded arrays; memory is the most that a process held beyond its arrays, in copies of one.

    python benchmarks/similarity.py --rounds 3
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from peers import peak_memory
from saliency import table
from workers import note

PAIR = (20_000, 2_000)  # tokens, features; the papers' code writes features first
WIDE = (2_000, 20_000)
GRID = (10_000, 768)
LAYERS = 13
TIMED_PAIRS = 8  # of the published method's 169


def main() -> None:
    """Reads the command line, runs everybody in turn and prints the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    parser.add_argument("--run", choices=[f"{case}:{who}" for case, who in RUNS])
    options = parser.parse_args()
    if options.run:
        case, _, who = options.run.partition(":")
        print(json.dumps(measured(CASES[case], options.dtype, RUNS[case, who])))
        return
    for case, shape in CASES.items():
        names = [who for which, who in RUNS if which == case]
        found: dict[str, list[dict[str, float]]] = {who: [] for who in names}
        for turn in range(options.rounds):
            note(f"{case}, round {turn + 1} of {options.rounds}")
            for k in range(len(names)):
                who = names[(turn + k) % len(names)]
                found[who].append(alone(f"{case}:{who}", options))
        print(f"\n{case}: {shape[0]:,} tokens × {shape[1]:,} features, {options.dtype}\n")
        table(("", "s", "published / this", "value", "copies"), rows_of(found))


def rows_of(found: dict[str, list[dict[str, float]]]) -> list[list[str]]:
    """Medians; ratios are taken within a round."""
    rows = []
    for who, rounds in found.items():
        ratio = ""
        if "published" in found:
            pairs = zip(found["published"], rounds, strict=True)
            ratio = f"{statistics.median(a['seconds'] / b['seconds'] for a, b in pairs):.1f}"
        medians = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
        value, copies = f"{medians['value']:.6f}", f"{medians['copies']:.1f}"
        rows.append([who, f"{medians['seconds']:.2f}", ratio, value, copies])
    return rows


def alone(run: str, options: argparse.Namespace) -> dict[str, float]:
    """One contestant in a process of its own."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(options.threads))
    found = subprocess.run(
        [sys.executable, __file__, "--run", run, "--dtype", options.dtype],
        env={**os.environ, **threads},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    answer: dict[str, float] = json.loads(found.stdout.splitlines()[-1])
    return answer


def measured(
    shape: tuple[int, int], dtype: str, run: Callable[[np.ndarray], Any]
) -> dict[str, float]:
    """Seconds, the value of the first two layers, and copies of a layer held beyond them all."""
    import ecco_captum

    small = drawn((400, 5), 2, dtype)
    ecco_captum.cca(small[0], small[1]), published(small[0], small[1])
    layers = drawn(shape, LAYERS if shape == GRID else 2, dtype)
    before, start = peak_memory(), time.perf_counter()
    value, scale = run(layers)
    seconds = (time.perf_counter() - start) * scale
    copies = (peak_memory() - before) / layers[0].nbytes
    return {"seconds": seconds, "value": float(value), "copies": copies}


def drawn(shape: tuple[int, int], layers: int, dtype: str) -> np.ndarray:
    """(layers, tokens, features): what a few directions give to all, and noise."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal((shape[0], 40)).astype(dtype)
    found = np.empty((layers, *shape), dtype)
    for layer in found:
        rng.standard_normal(dtype=found.dtype, out=layer)
        rows = rng.standard_normal((40, shape[1])).astype(dtype)
        for start in range(0, shape[0], 1000):  # or the product would be a copy that is remembered
            layer[start : start + 1000] += common[start : start + 1000] @ rows
    return found


def published(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Mean canonical correlation and PWCCA weighed by x, by inverse roots of covariances."""
    x, y = (one.astype(np.float64).T for one in (x, y))
    covariance = np.cov(x, y)
    p = len(x)
    roots = [inverse_root(covariance[:p, :p]), inverse_root(covariance[p:, p:])]
    left, found, _ = np.linalg.svd(roots[0] @ covariance[:p, p:] @ roots[1])
    centred = x - x.mean(axis=1, keepdims=True)
    columns = np.linalg.qr((left.T @ roots[0] @ centred).T)[0]
    weights = np.abs(columns.T @ centred.T).sum(axis=1)
    return float(found.mean()), float(found @ weights / weights.sum())


def inverse_root(covariance: np.ndarray) -> np.ndarray:
    """The square root of a covariance's pseudo-inverse."""
    values, vectors = np.linalg.eigh(np.linalg.pinv(covariance))
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T)


def published_grid(layers: np.ndarray) -> tuple[float, float]:
    """Every pair anew, the diagonal too; a few of them timed."""
    found = [published(layers[0], layers[1 + k])[1] for k in range(TIMED_PAIRS)]
    return found[0], LAYERS**2 / TIMED_PAIRS


def grid(layers: np.ndarray, n_draws: int = 0) -> tuple[float, float]:
    """compare() of all layers with each other."""
    from ecco_captum import compare
    from ecco_captum.activations.record import Activations
    from ecco_captum.core.tokens import Tokens

    count = layers.shape[1]
    tokens = Tokens(np.arange(count), ("",) * count, count)
    acts = Activations(layers, np.arange(LAYERS), tokens, np.array([0]), "hidden", "decoder", "")
    found = compare(acts, n_draws=n_draws, progress=False)
    return float(found.values[0, 1]), 1.0


def by(name: str, **options: Any) -> Callable[[np.ndarray], tuple[float, float]]:
    """A measure of two arrays."""

    def run(layers: np.ndarray) -> tuple[float, float]:
        import ecco_captum

        return getattr(ecco_captum, name)(layers[0], layers[1], **options), 1.0

    return run


CASES = {"pair": PAIR, "wide pair": WIDE, "grid of 13 × 13": GRID}
RUNS: dict[tuple[str, str], Callable[[np.ndarray], tuple[float, float]]] = {
    ("pair", "published"): lambda layers: (published(layers[0], layers[1])[1], 1.0),
    ("pair", "cca"): by("cca"),
    ("pair", "pwcca"): by("pwcca"),
    ("pair", "svcca"): by("svcca"),
    ("pair", "cka"): by("cka"),
    ("wide pair", "svcca"): by("svcca", dims=100),
    ("wide pair", "cka"): by("cka"),
    ("grid of 13 × 13", "published"): published_grid,
    ("grid of 13 × 13", "compare, pwcca"): grid,
    ("grid of 13 × 13", "with a permutation"): lambda layers: grid(layers, 1),
}

if __name__ == "__main__":
    main()
