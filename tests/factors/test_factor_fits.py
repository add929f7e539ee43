"""Factors beyond memory: passes over pieces find what one fit of everything finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from activation_samples import activations, planted, random, rebuilt, stored

from ecco_captum import Factors, nmf
from ecco_captum.factors import fits as factor_fits
from ecco_captum.factors.fits import Matrix, fit_in_parts, fit_whole


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factor_fits, "_ROWS", 64)
    monkeypatch.setattr(factor_fits, "_PIECE", 128)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("negatives", ["clip", "split", "abs"])
def test_planted_factors_are_found_part_by_part(negatives: Any, tmp_path: Path) -> None:
    given, _, _ = planted(tokens=900)
    whole = nmf(given, 3, negatives=negatives)
    for acts in (given, stored(given, tmp_path / "acts.zarr")):
        factors = nmf(acts, 3, negatives=negatives, memory_budget=1)
        assert factors.settings["rounds"] >= 1
        assert factors.error < 0.01
        partners, cosines = factors.match(whole)
        assert sorted(partners) == [0, 1, 2]
        assert cosines.min() > 0.999
        for k, partner in enumerate(partners):
            np.testing.assert_allclose(factors.weights[k], whole.weights[partner], atol=0.05)
        np.testing.assert_allclose(factors.explained(), whole.explained()[partners], atol=0.01)
        if negatives == "clip":
            assert factors.stability(2).min() > 0.99


def test_a_random_start_first_descends_on_the_loudest_neurons(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    matrix = Matrix(planted(tokens=300)[0], "clip")
    options: dict[str, Any] = {"seed": 1, "max_iter": 2000, "tol": 1e-6}
    _, columns = matrix.shape
    of_all, found, _ = fit_whole(matrix, 3, "random", **options)
    monkeypatch.setattr(factor_fits, "_LOUDEST", columns // 3)
    weights, components, _ = fit_whole(matrix, 3, "random", **options)
    assert components.shape == (3, columns)
    missed = np.linalg.norm(matrix.whole - weights @ components)
    assert missed < 1.01 * np.linalg.norm(matrix.whole - of_all @ found) + 1e-3
    assert missed < 0.01 * np.linalg.norm(matrix.whole)


@pytest.mark.usefixtures("small_parts")
def test_near_the_fit_of_everything_and_not_only_of_what_memory_holds() -> None:
    given, _, _ = planted(tokens=2000)
    noise = np.random.default_rng(1).gamma(0.7, size=given.values.shape)
    given = activations(given.values + noise)
    matrix = np.concatenate(list(given.values), axis=1)
    budget = 128 * 4 * matrix.shape[1]  # two runs of 64 rows
    factors = nmf(given, 5, memory_budget=budget)
    best = nmf(given, 5, max_iter=5000).error
    some = nmf(activations(given.values[:, :128]), 5, max_iter=5000)
    weights = some.transform(given)
    alone = np.linalg.norm(
        given.values - np.einsum("kt,klf->ltf", weights, some.directions)
    ) / np.linalg.norm(given.values)
    assert best <= factors.error < (best + alone) / 2
    missed = np.linalg.norm(rebuilt(factors) - given.values) / np.linalg.norm(given.values)
    assert factors.error == pytest.approx(missed, rel=1e-4)


def test_a_stored_matrix_within_the_budget_is_fitted_whole(tmp_path: Path) -> None:
    given = random(1)
    acts = stored(given, tmp_path / "acts.zarr")
    factors = nmf(acts, 4)
    np.testing.assert_array_equal(factors.weights, nmf(given, 4).weights)
    assert isinstance(factors.activations.values, np.ndarray)
    some = nmf(acts, 2, layers=[1])
    np.testing.assert_array_equal(some.weights, nmf(given, 2, layers=[1]).weights)


@pytest.mark.usefixtures("small_parts")
def test_factors_of_what_is_on_disk_are_saved_and_read_again(tmp_path: Path) -> None:
    given = random(2, signed=True, shape=(2, 300, 12))
    acts = stored(given, tmp_path / "acts.zarr")
    fitted = nmf(acts, 3, negatives="split", memory_budget=1)
    again = Factors.load(fitted.save(tmp_path / "factors.npz"))
    np.testing.assert_array_equal(again.weights, fitted.weights)
    np.testing.assert_array_equal(np.asarray(again.activations.values), given.values)
    np.testing.assert_allclose(again.transform(acts), fitted.weights, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(again.transform(given), fitted.weights, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("small_parts")
def test_seeds_decide_and_passes_end() -> None:
    matrix = Matrix(random(4, shape=(1, 500, 15)), "clip")
    first, again, other = (
        fit_in_parts(matrix, 3, "random", seed=seed, max_iter=50, memory_budget=1)[1]
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    with pytest.warns(UserWarning, match="max_iter: the fit did not converge in 1 rounds"):
        nmf(random(4, shape=(1, 500, 15)), 3, memory_budget=1, max_iter=1)
    # More components than a run has rows; a last run of one row.
    wide = activations(np.random.default_rng(0).gamma(1, size=(1, 321, 90)))
    assert nmf(wide, 70, memory_budget=1).count == 70


@pytest.mark.usefixtures("small_parts")
def test_errors_beyond_memory(tmp_path: Path) -> None:
    values = np.ones((1, 200, 8), np.float32)
    values[0, 150, 3] = np.nan
    acts = stored(activations(values), tmp_path / "acts.zarr")
    with pytest.raises(ValueError, match="activations: they hold NaN or infinity"):
        nmf(acts, 2, memory_budget=1)
    with pytest.raises(ValueError, match="memory_budget: got 0, accepts a whole number from 1"):
        nmf(acts, 2, memory_budget=0)
    zeros = stored(activations(0 * np.ones((1, 200, 8))), tmp_path / "zeros.zarr")
    with pytest.raises(ValueError, match="activations: they are all zero"):
        nmf(zeros, 2, memory_budget=1)
