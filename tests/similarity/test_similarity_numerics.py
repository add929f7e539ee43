"""Measures of similarity where arithmetic is hard: dependent features, extreme units, rank one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from similarity_samples import (
    MEASURES,
    naive_cka,
    naive_correlations,
    naive_pwcca,
    orthogonal,
    shared,
)

from ecco_captum import cca, cka, pwcca, svcca

SEEDS = st.integers(0, 10**6)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="x, y: .* tokens are fewer than")
        yield


@given(SEEDS, st.sampled_from([np.float64, np.float32]))
@settings(max_examples=15, deadline=None)
def test_dependent_and_constant_features_are_no_directions(seed: int, kind: Any) -> None:
    x, y = shared(seed)
    value, weighed = cca(x, y), pwcca(x, y)
    rng = np.random.default_rng(seed)
    more = np.concatenate([x, x @ rng.normal(size=(12, 3)), np.full((len(x), 2), 3.3)], axis=1)
    found = cca(more.astype(kind), y.astype(kind), full=True)
    assert len(found.correlations) == 9
    tolerance = 1e-8 if kind is np.float64 else 1e-4
    assert found.value == pytest.approx(value, abs=tolerance)
    # Normalised tokens: a linear combination of the features is constant, but for rounding.
    normal = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
    scaled = (normal * rng.uniform(0.5, 2, 12) + rng.normal(size=12)).astype(kind)
    expected = naive_correlations((normal @ orthogonal(1, 12))[:, :], y)
    assert cca(scaled, y) == pytest.approx(expected.mean(), abs=tolerance)
    constant = np.concatenate([x, np.full((len(x), 1), 1e6)], axis=1)
    assert pwcca(constant, y) == pytest.approx(weighed, abs=1e-8)


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e100])
@pytest.mark.parametrize("measure", MEASURES)
def test_extreme_units(measure: str, scale: float) -> None:
    x, y = shared(6)
    expected = MEASURES[measure](x, y)
    assert MEASURES[measure](x * scale, y) == pytest.approx(expected, abs=1e-9)
    if measure in ("cca", "pwcca"):
        full = {"cca": cca, "pwcca": pwcca}[measure](x * scale, y, full=True)
        variates = (x - x.mean(axis=0)) * scale @ full.x_directions
        np.testing.assert_allclose(variates.T @ variates, np.eye(9), atol=1e-8)


def test_rank_one() -> None:
    rng = np.random.default_rng(0)
    line, noise = rng.normal(size=(50, 1)), rng.normal(size=(50, 1))
    x, y = line @ rng.normal(size=(1, 5)), line @ rng.normal(size=(1, 3)) + 2
    for measure in ("cca", "pwcca", "cka", "biased cka"):
        assert MEASURES[measure](x, y) == pytest.approx(1, abs=1e-9)
        other = MEASURES[measure](x, noise @ rng.normal(size=(1, 4)))
        correlation = abs(np.corrcoef(line[:, 0], noise[:, 0])[0, 1])
        if measure in ("cca", "pwcca"):
            assert other == pytest.approx(correlation, abs=1e-9)
    assert svcca(x, y) == pytest.approx(1, abs=1e-9)
    with pytest.raises(ValueError, match="dims: got 2, accepts up to 1, the rank of x"):
        svcca(x, y, dims=2)


@pytest.mark.parametrize("condition", [1e2, 1e5, 1e8])
def test_features_that_are_nearly_dependent(condition: float) -> None:
    x, y = shared(1, (2000, 12, 9))
    left, _, right = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    steep = (left * np.geomspace(condition, 1, 12)) @ right
    assert cca(steep, y) == pytest.approx(naive_correlations(steep, y).mean(), abs=1e-8)
    assert pwcca(steep, y) == pytest.approx(naive_pwcca(steep, y), abs=1e-8)
    assert pwcca(y, steep) == pytest.approx(naive_pwcca(y, steep), abs=1e-8)


def test_more_features_than_tokens() -> None:
    x, y = shared(6, (60, 100, 80))
    for debiased in (True, False):
        expected = naive_cka(x, y, debiased=debiased)
        assert cka(x, y, debiased=debiased) == pytest.approx(expected, abs=1e-10)
    found = svcca(x, y, dims=4, full=True)
    leading = [np.linalg.svd(one - one.mean(axis=0))[0][:, :4] for one in (x, y)]
    np.testing.assert_allclose(found.correlations, naive_correlations(*leading), atol=1e-9)
    for one, directions in ((x, found.x_directions), (y, found.y_directions)):
        columns = (one - one.mean(axis=0)) @ directions
        np.testing.assert_allclose(columns.T @ columns, np.eye(4), atol=1e-9)
    for measure in (cca, pwcca):
        with pytest.raises(ValueError, match="60 tokens and up to 100 features, so that canon"):
            measure(x, y)
    with pytest.raises(ValueError, match="variance: 59 directions of x are kept of 60 tokens"):
        svcca(x, y, variance=1.0)
