"""Factors beyond memory: the same to the last bit whoever makes them, and as good as of all."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import threadpoolctl
from activation_samples import activations, planted, random, stored
from scipy.optimize import nnls
from sklearn.decomposition import MiniBatchNMF
from sklearn.decomposition import non_negative_factorization as factorised

from ecco_captum import Activations, Factors, nmf
from ecco_captum.corpus.ray_engine import RayEngine
from ecco_captum.factors import fits
from ecco_captum.factors.fits import Matrix, _statistics, descended, weighed

ENGINES = ["local", RayEngine(workers=1), RayEngine(workers=2)]
TOKENS = 900


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fits, "_PIECE", 128)
    monkeypatch.setattr(fits, "_ROWS", 64)


def noisy(tokens: int = TOKENS) -> Activations:
    given, _, _ = planted(tokens=tokens)
    noise = np.random.default_rng(1).gamma(0.7, size=given.values.shape)
    return activations(given.values + 0.5 * noise)


def identical(some: Factors, other: Factors) -> None:
    for field in ("weights", "components", "negative_components", "contributions"):
        np.testing.assert_array_equal(getattr(some, field), getattr(other, field), err_msg=field)
    assert some.error == other.error
    assert some.settings["rounds"] == other.settings["rounds"]


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("negatives", ["clip", pytest.param("split", marks=pytest.mark.nightly)])
def test_engines_and_workers_leave_no_trace(negatives: Any, tmp_path: Path) -> None:
    given = random(0, signed=negatives == "split", shape=(2, TOKENS, 12))
    acts = stored(given, tmp_path / "acts.zarr")
    options = {"negatives": negatives, "memory_budget": 2**14}
    local, one, two = (nmf(acts, 4, engine=engine, **options) for engine in ENGINES)
    assert local.settings["rounds"] > 2
    identical(local, one)
    identical(local, two)


def test_threads_leave_no_trace() -> None:
    matrix = Matrix(random(0, shape=(2, TOKENS, 12)), "clip")
    components = np.random.default_rng(0).gamma(1, size=(4, 24)).astype(np.float32)
    made = []
    for threads in (1, 4):
        with threadpoolctl.threadpool_limits(threads, user_api="blas"):
            made.append(matrix.total(partial(_statistics, components)))
    np.testing.assert_array_equal(made[0].products, made[1].products)
    np.testing.assert_array_equal(made[0].within, made[1].within)


def test_passes_miss_hardly_more_than_a_fit_of_everything_and_less_than_mini_batches() -> None:
    given = noisy(3000)
    rows = Matrix(given, "clip").whole
    budget = 128 * 4 * rows.shape[1]  # two runs of 64 rows
    passes = nmf(given, 5, memory_budget=budget).error
    best = nmf(given, 5, max_iter=5000).error
    batches = MiniBatchNMF(5, batch_size=64, random_state=0, max_iter=20).fit(rows)
    weights, _, _ = factorised(rows, H=batches.components_, n_components=5, update_H=False)
    missed = np.linalg.norm(rows - weights @ batches.components_) / np.linalg.norm(rows)
    assert best * 0.999 < passes < best * 1.01
    assert passes < missed


def test_no_pass_raises_the_error() -> None:
    matrix = Matrix(noisy(), "clip")
    components = np.random.default_rng(0).gamma(1, size=(4, 20))
    errors = []
    for _ in range(6):
        statistics = matrix.total(partial(_statistics, components.astype(np.float32)))
        errors.append(statistics.error(components))
        components = descended(statistics.within, statistics.products, components, 10)
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1.2 * errors[-1]
    # What the statistics say is what the reconstruction misses.
    weights, _ = weighed(matrix, components.astype(np.float32))
    missed = np.linalg.norm(matrix.whole - weights.T @ components) / np.linalg.norm(matrix.whole)
    statistics = matrix.total(partial(_statistics, components.astype(np.float32)))
    assert statistics.error(components) == pytest.approx(missed, rel=1e-5)


def test_the_descent_ends_at_non_negative_least_squares() -> None:
    rng = np.random.default_rng(2)
    factor, target = rng.gamma(1, size=(30, 6)), rng.normal(size=(30, 9))
    found = descended(factor.T @ factor, factor.T @ target, np.ones((6, 9)), 2000)
    exact = np.stack([nnls(factor, column)[0] for column in target.T], axis=1)
    assert (exact == 0).any()
    np.testing.assert_allclose(found, exact, atol=1e-4)
    # A component that is nowhere stays as it is.
    within = np.diag([1.0, 0.0])
    np.testing.assert_array_equal(descended(within, np.ones((2, 3)), np.full((2, 3), 7.0), 5)[1], 7)
