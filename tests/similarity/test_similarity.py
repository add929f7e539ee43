"""Measures of similarity: the authors' numbers, naive formulas, other libraries, invariances."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from similarity_samples import (
    MEASURES,
    activations,
    invertible,
    naive_cka,
    naive_correlations,
    naive_pwcca,
    orthogonal,
    shared,
    stored,
)
from sklearn.cross_decomposition import CCA

from ecco_captum import cca, cka, pwcca, svcca
from ecco_captum.core.record import load_record
from ecco_captum.similarity import sums as moments
from ecco_captum.similarity.record import CanonicalCorrelations

SEEDS = st.integers(0, 10**6)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="x, y: .* tokens are fewer than")
        yield


def drawn(row: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The arrays of the reference numbers."""
    rng = np.random.default_rng(row["seed"])
    n, p, q = row["n"], row["p"], row["q"]
    if row["kind"] == "independent":
        return rng.standard_normal((n, p)), rng.standard_normal((n, q))
    z = rng.standard_normal((n, 10))
    x = z @ rng.standard_normal((10, p)) + 0.5 * rng.standard_normal((n, p))
    return x, z @ rng.standard_normal((10, q)) + 0.5 * rng.standard_normal((n, q))


def test_the_authors_numbers(reference: Path) -> None:
    for row in json.loads((reference / "similarity.json").read_text())["rows"]:
        x, y = drawn(row)
        found = cca(x, y, full=True)
        assert cca(x, y) == pytest.approx(row["cca_mean"], abs=1e-6)
        np.testing.assert_allclose(found.correlations[:5], row["cca_first5"], atol=1e-6)
        dims = row["svcca_dims"]
        assert svcca(x, y, dims=dims) == pytest.approx(row["svcca"], abs=1e-6)
        smaller = "x" if row["p"] <= row["q"] else "y"
        published = pwcca(x, y, weight_by=smaller, definition="published")
        assert published == pytest.approx(row["pwcca_centred_weighed_by_smaller"], abs=1e-6)
        for options, name in (
            ({"debiased": False}, "cka_linear"),
            ({}, "cka_linear_debiased"),
            ({"debiased": False, "kernel": "rbf"}, "cka_rbf_median"),
        ):
            assert cka(x, y, **options) == pytest.approx(row[name], abs=1e-8)


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_naive_formulas(seed: int) -> None:
    x, y = shared(seed, (90, 8, 6))
    expected = naive_correlations(x, y)
    assert cca(x, y) == pytest.approx(expected.mean(), abs=1e-10)
    found = cca(x, y, full=True)
    np.testing.assert_allclose(found.correlations, expected, atol=1e-10)
    assert pwcca(x, y) == pytest.approx(naive_pwcca(x, y), abs=1e-10)
    assert pwcca(x, y, weight_by="y") == pytest.approx(naive_pwcca(y, x), abs=1e-10)
    mean = (naive_pwcca(x, y) + naive_pwcca(y, x)) / 2
    assert pwcca(x, y, weight_by="mean") == pytest.approx(mean, abs=1e-10)
    for debiased in (True, False):
        for kernel in ("linear", "rbf"):
            wanted = naive_cka(x, y, debiased=debiased, kernel=kernel)
            options: dict[str, Any] = {"debiased": debiased, "kernel": kernel}
            assert cka(x, y, **options) == pytest.approx(wanted, abs=1e-10)
    wide = cka(x, y, kernel="rbf", bandwidth=3.0)
    assert wide == pytest.approx(naive_cka(x, y, debiased=True, kernel="rbf", ties=3.0), abs=1e-10)


@given(SEEDS)
@settings(max_examples=10, deadline=None)
def test_svcca_is_cca_of_the_leading_directions(seed: int) -> None:
    x, y = shared(seed, (120, 10, 7))
    kept = []
    for one in (x, y):
        left, spread, _ = np.linalg.svd(one - one.mean(axis=0), full_matrices=False)
        held = np.cumsum(spread**2) / (spread**2).sum()
        kept.append((left, int(np.searchsorted(held, 0.9)) + 1))
    expected = naive_correlations(*(left[:, :count] for left, count in kept)).mean()
    assert svcca(x, y, variance=0.9) == pytest.approx(expected, abs=1e-9)
    expected = naive_correlations(*(left[:, :3] for left, _ in kept)).mean()
    assert svcca(x, y, dims=3) == pytest.approx(expected, abs=1e-9)
    assert svcca(x, y, variance=1.0) == pytest.approx(cca(x, y), abs=1e-9)


def test_it_agrees_with_scikit_learn() -> None:
    x, y = shared(3, (600, 6, 5))
    model = CCA(n_components=5, max_iter=5000, tol=1e-12).fit(x, y)
    of_x, of_y = model.transform(x, y)
    theirs = [np.corrcoef(a, b)[0, 1] for a, b in zip(of_x.T, of_y.T, strict=True)]
    np.testing.assert_allclose(cca(x, y, full=True).correlations, theirs, atol=1e-6)


@pytest.mark.parametrize("measure", MEASURES)
@given(seed=SEEDS)
@settings(max_examples=8, deadline=None)
def test_what_changes_nothing(measure: str, seed: int) -> None:
    x, y = shared(seed)
    of = MEASURES[measure]
    value = of(x, y)
    assert -0.05 < value <= 1
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(x))
    shift = rng.normal(size=x.shape[1])
    same = [
        (x[order], y[order]),
        (100 * x - 5000 * shift, y),
        (1e-6 * x, 1e5 * y),
        (x, y[:, ::-1]),
        (x @ orthogonal(seed, 12), y @ orthogonal(seed + 1, 9)),
    ]
    if measure == "cca":
        same.append((x @ invertible(seed, 12), y @ invertible(seed + 2, 9)))
    if measure == "pwcca":  # whose weights are those of x's own neurons
        same = [*same[:-1], (x, y @ invertible(seed + 2, 9))]
    for a, b in same:
        assert of(a, b) == pytest.approx(value, abs=1e-7)
    if measure != "pwcca":
        assert of(y, x) == pytest.approx(value, abs=1e-10)
    assert of(x, x) == pytest.approx(1, abs=1e-7)
    if measure in ("cca", "pwcca"):
        assert of(x, x @ invertible(seed, 12)) == pytest.approx(1, abs=1e-7)
    assert of(x, y[rng.permutation(len(y))]) < value


def test_only_cca_and_pwcca_are_blind_to_linear_maps() -> None:
    x, _ = shared(0)
    stretched = x @ (invertible(0, 12) @ invertible(5, 12))
    for measure in ("svcca", "cka", "biased cka", "rbf"):
        assert MEASURES[measure](x, stretched) < 0.99


@pytest.mark.parametrize("measure", MEASURES)
def test_arrays_of_every_kind(measure: str) -> None:
    x, y = shared(2)
    of = MEASURES[measure]
    value = of(x, y)
    x32, y32 = x.astype(np.float32), y.astype(np.float32)
    assert of(x32, y32) == pytest.approx(value, abs=1e-5)
    assert of(torch.tensor(x, requires_grad=True), torch.tensor(y)) == pytest.approx(value)
    assert of(x.tolist(), y) == pytest.approx(value)
    assert of(np.asfortranarray(x), y[::1]) == pytest.approx(value)
    before = x.copy()
    of(x, y)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("kind", ["float64", "float32", "float16"])
def test_streamed_from_disk_it_is_the_same(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = (one.astype(kind) for one in shared(4, (1500, 12, 9)))
    memory = {name: of(x, y) for name, of in MEASURES.items() if name != "rbf"}
    monkeypatch.setattr(moments, "BLOCK_BYTES", 2**12)
    monkeypatch.setattr(moments, "_FEWEST", 64)
    a = stored(activations(x[None], texts=9), tmp_path / "x.zarr")
    b = stored(activations(y[None], texts=9), tmp_path / "y.zarr")
    for name, value in memory.items():
        assert MEASURES[name](a, b) == pytest.approx(value, abs=1e-8), name
        assert MEASURES[name](a, y) == pytest.approx(value, abs=1e-8), name
    with pytest.raises(ValueError, match="kernel: 'rbf' needs every pair of tokens, and x is on"):
        cka(a, b, kernel="rbf")


def test_one_pass_over_what_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = shared(5, (800, 12, 9))
    a = stored(activations(x[None], texts=2), tmp_path / "x.zarr")
    b = stored(activations(y[None], texts=2), tmp_path / "y.zarr")
    read: list[int] = []
    plain = moments.Layer.read

    def counted(self: moments.Layer, tokens: Any) -> np.ndarray:
        found = plain(self, tokens)
        read.append(len(found))
        return found

    monkeypatch.setattr(moments.Layer, "read", counted)
    monkeypatch.setattr(moments, "BLOCK_BYTES", 2**14)
    monkeypatch.setattr(moments, "_FEWEST", 10)
    for name in ("cca", "svcca", "pwcca", "cka"):
        read.clear()
        MEASURES[name](a, b)
        # Each token of both once; and the first blocks, whose means are subtracted, once more.
        assert 1600 <= sum(read) < 1600 + 400, name
        assert max(read) < 300


@pytest.mark.parametrize("of", [cca, pwcca, svcca])
def test_the_full_answer(of: Callable[..., Any], tmp_path: Path) -> None:
    x, y = shared(7)
    found = of(x, y, full=True)
    assert found.value == pytest.approx(of(x, y), abs=1e-12)
    assert found.value == pytest.approx(found.correlations @ found.weights)
    assert found.weights.sum() == pytest.approx(1)
    assert (np.diff(found.correlations) <= 0).all()
    a, b = (x - x.mean(axis=0)) @ found.x_directions, (y - y.mean(axis=0)) @ found.y_directions
    count = len(found.correlations)
    np.testing.assert_allclose(a.T @ a, np.eye(count), atol=1e-9)
    np.testing.assert_allclose(a.T @ b, np.diag(found.correlations), atol=1e-9)
    again = load_record(found.save(tmp_path / "cca.npz"))
    assert isinstance(again, CanonicalCorrelations)
    assert again.value == found.value
    assert list(found.to_pandas().columns) == ["correlation", "weight"]
    assert f"{found.value:.4f}" in repr(found)


X, Y = shared(8)
WRONG = X.copy()
WRONG[5, 3] = np.nan


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (X, Y[:-1], ValueError, "x, y: x has 400 tokens and y 399, accepts arrays"),
        (WRONG, Y, ValueError, "x: it holds NaN, infinity or numbers beyond 1e150"),
        (X, np.where(np.isin(Y, Y[0, 0]), np.inf, Y), ValueError, "y: it holds NaN, infinity"),
        (X[0], Y, ValueError, r"x: got an array of shape \(12,\)"),
        (X.astype(complex), Y, ValueError, "x: got an array of shape .* and type complex128"),
        (X[:0], Y[:0], ValueError, r"x: got an array of shape \(0, 12\)"),
        ("text", Y, ValueError, "x: got an array of shape"),
        (activations(np.zeros((2, 5, 3))), Y, ValueError, "x: got activations of 2 layers"),
    ],
)
@pytest.mark.parametrize("measure", MEASURES)
def test_wrong_arrays(measure: str, x: Any, y: Any, error: Any, message: str) -> None:
    if measure == "rbf" and "NaN" in message:
        message = message.split("NaN")[0] + "NaN or infinity"
    with pytest.raises(error, match=message):
        MEASURES[measure](x, y)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: cca(X, np.ones_like(Y)), ValueError, "y: every feature is constant"),
        (lambda: svcca(np.ones_like(X), Y), ValueError, "x: every feature is constant"),
        (lambda: cka(np.ones_like(X), Y), ValueError, "x: it does not vary over the tokens"),
        (lambda: cka(np.ones_like(X), Y, kernel="rbf"), ValueError, "x: it does not vary"),
        (
            lambda: cka((X.max() - 0.5 < X) + 0.0, Y, kernel="rbf"),
            ValueError,
            "x: half of its tokens are",
        ),
        (lambda: cka(X[:3], Y[:3]), ValueError, "x, y: they have 3 tokens, accepts 4 or more"),
        (lambda: svcca(X, Y, variance=0), ValueError, "variance: got 0, accepts a number above 0"),
        (lambda: svcca(X, Y, dims=0), ValueError, "dims: got 0, accepts a whole number from 1"),
        (
            lambda: pwcca(X, Y, weight_by="z"),
            ValueError,
            "weight_by: got 'z', accepts 'x', 'y', 'mean'",
        ),
        (
            lambda: pwcca(X, Y, definition="code"),
            ValueError,
            "definition: got 'code', accepts 'paper', 'published'",
        ),
        (lambda: cka(X, Y, kernel="cubic"), ValueError, "kernel: got 'cubic', accepts 'linear'"),
        (lambda: cka(X, Y, debiased=1), ValueError, "debiased: got 1, accepts True or False"),
        (lambda: cka(X, Y, bandwidth=0), ValueError, "bandwidth: got 0, accepts a number above"),
    ],
)
def test_wrong_options(call: Callable[[], Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_few_tokens_are_warned_of() -> None:
    warnings.resetwarnings()
    x, y = shared(9, (100, 12, 9))
    for of in (cca, pwcca):
        with pytest.warns(UserWarning, match="100 tokens are fewer than 10 for each of 12 feat"):
            of(x, y)
    with pytest.warns(UserWarning, match="100 tokens are fewer than 10 for each of 12 direct"):
        svcca(x, y, variance=0.999)
