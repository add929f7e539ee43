"""Grids of layers: each cell is what the measure gives alone; null and interval the naive ones."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from similarity_samples import activations, naive_cka, naive_correlations, naive_pwcca, stored

from ecco_captum import cca, cka, compare, pwcca, svcca
from ecco_captum.similarity import canonical
from ecco_captum.similarity import from_sums as measures
from ecco_captum.similarity import sums as gathering
from ecco_captum.similarity import sums as moments
from ecco_captum.similarity.record import Similarity

SINGLE: dict[str, Callable[..., Any]] = {"cca": cca, "svcca": svcca, "pwcca": pwcca, "cka": cka}
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("cca", {}),
    ("svcca", {"dims": 3}),
    ("svcca", {"variance": 0.9}),
    ("pwcca", {}),
    ("pwcca", {"weight_by": "mean"}),
    ("pwcca", {"weight_by": "y", "definition": "published"}),
    ("cka", {}),
    ("cka", {"debiased": False}),
    ("cka", {"kernel": "rbf"}),
]
every_option = pytest.mark.parametrize(
    ("name", "options"), OPTIONS, ids=lambda given: str(given).replace(" ", "")
)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* tokens are fewer than")
        yield


def stack(seed: int, layers: int = 3, tokens: int = 400, width: int = 9) -> np.ndarray:
    """(layers, tokens, features), each layer less like the first than the one before it."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((tokens, 4))
    found = [
        common @ rng.standard_normal((4, width)) + (1 + k) * rng.standard_normal((tokens, width))
        for k in range(layers)
    ]
    return np.array(found) + rng.normal(size=(layers, 1, width))


A, B = stack(0), stack(0, layers=2, width=6)
COMMON = {"n_draws": 0, "progress": False}


@every_option
def test_a_grid_holds_what_each_pair_gives(name: str, options: dict[str, Any]) -> None:
    found = compare(activations(A), activations(B), measure=name, **options, **COMMON)
    assert found.values.shape == (3, 2)
    for i, j in np.ndindex(3, 2):
        single = SINGLE[name](A[i], B[j], **options)
        assert found.values[i, j] == pytest.approx(single, abs=1e-10), (i, j)
    assert np.isnan(found.null_mean).all()
    assert np.isnan(found.interval).all()


@every_option
def test_with_itself_both_triangles_are_right(name: str, options: dict[str, Any]) -> None:
    found = compare(activations(A), measure=name, **options, **COMMON).values
    for i, j in np.ndindex(3, 3):
        single = 1.0 if i == j else SINGLE[name](A[i], A[j], **options)
        assert found[i, j] == pytest.approx(single, abs=1e-10), (i, j)
    if name == "pwcca" and "weight_by" not in options:
        assert abs(found[0, 2] - found[2, 0]) > 1e-4, "rows weigh"


def test_several_kinds_stand_below_each_other() -> None:
    hidden, fed = activations(A, kind="hidden"), activations(B, kind="neurons")
    found = compare([hidden, fed], measure="cka", **COMMON)
    assert (
        found.rows
        == found.columns
        == ("embedding", "hidden 0", "hidden 1", "neurons 0", "neurons 1")
    )
    assert found.values[1, 4] == pytest.approx(cka(A[1], B[1]), abs=1e-10)
    assert found.values[4, 1] == found.values[1, 4]
    assert found.is_square


def naive(name: str, x: np.ndarray, y: np.ndarray) -> float:
    if name == "cca":
        return float(naive_correlations(x, y).mean())
    return naive_pwcca(x, y) if name == "pwcca" else naive_cka(x, y, debiased=True)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("name", ["cca", "pwcca", "cka"])
def test_the_null_is_the_measure_of_shuffled_tokens(name: str, kind: Any) -> None:
    a, draws = A.astype(kind), 7
    found = compare(activations(a), measure=name, n_draws=draws, null="tokens", seed=3)
    shuffling = gathering.Shuffling(3)
    expected = np.empty((draws, 3, 3))
    for draw in range(draws):
        order = shuffling.order(draw, 0, 400)
        assert sorted(order) == list(range(400))
        assert (order != np.arange(400)).mean() > 0.9
        for i, j in itertools.combinations_with_replacement(range(3), 2):
            x, y = a[i].astype(np.float64), a[j].astype(np.float64)[order]
            expected[draw, j, i] = naive(name, y, x)
            expected[draw, i, j] = naive(name, x, y)  # a layer with itself, too
    # The null of values in float32 is summed in float32.
    close = {"atol": 1e-9 if kind is np.float64 else 2e-5, "rtol": 0}
    np.testing.assert_allclose(found.null_mean, expected.mean(axis=0), **close)
    np.testing.assert_allclose(found.null_95, expected.max(axis=0), **close)


@pytest.mark.parametrize("name", ["cca", "svcca", "pwcca", "cka", "rbf"])
def test_independent_layers_do_not_clear_their_null(name: str) -> None:
    rng, cleared = np.random.default_rng(1), 0
    options = {"measure": "cka", "kernel": "rbf"} if name == "rbf" else {"measure": name}
    for _ in range(10):
        x, y = rng.standard_normal((4, 120, 5)), rng.standard_normal((5, 120, 6))
        found = compare(activations(x), activations(y), n_draws=19, progress=False, **options)
        cleared += int(found.beyond_chance.sum())
        assert np.abs(found.values - found.null_mean).max() < 0.35
    assert cleared <= 2  # of ten grids, each at a level of 5%


def test_a_seed_gives_the_same_again_and_another_one_does_not() -> None:
    given = {"n_draws": 3, "bootstrap": 5, "progress": False, "measure": "cka"}
    one, same, other = (compare(activations(A, texts=12), seed=k, **given) for k in (0, 0, 1))
    for field in ("null_mean", "null_95", "interval"):
        np.testing.assert_array_equal(getattr(one, field), getattr(same, field))
        assert (getattr(one, field) != getattr(other, field)).any()
    np.testing.assert_array_equal(one.values, other.values)


def test_each_layer_is_decomposed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    plain = canonical.whitened

    def counted(layer: Any, *given: Any) -> Any:
        calls.append(layer.name)
        return plain(layer, *given)

    monkeypatch.setattr(measures, "whitened", counted)
    compare(activations(A), activations(B), measure="pwcca", n_draws=3, progress=False)
    assert len(calls) == len(set(calls)) == 5


@pytest.mark.parametrize(
    ("name", "options"), [o for o in OPTIONS if o[1].get("kernel") != "rbf" and o[0] != "svcca"]
)
def test_intervals_are_those_of_texts_drawn_again(name: str, options: dict[str, Any]) -> None:
    acts = activations(A[:2], texts=12)
    found = compare(acts, measure=name, bootstrap=40, seed=5, n_draws=0, **options)
    starts = [*acts.sequences.tolist(), 400]
    weights = np.random.default_rng(5).multinomial(12, np.full(12, 1 / 12), 40)
    centred, drawn = A[:2] - A[:2].mean(axis=1, keepdims=True), []
    for each in weights:
        rows = [np.arange(starts[k], starts[k + 1]) for k in range(12) for _ in range(each[k])]
        chosen = np.concatenate(rows)
        if options == {} and name == "cka":  # a token is not compared with itself
            once = [naive_cka(*centred[:, chosen], debiased=True, same=chosen)] * 2
        else:
            once = [SINGLE[name](A[i][chosen], A[1 - i][chosen], **options) for i in (0, 1)]
        drawn.append(once)
    for i, j in ((0, 1), (1, 0)):
        one_way = np.array([one[i] for one in drawn])
        low, high = np.quantile(one_way, (0.025, 0.975)) - one_way.mean()
        value = found.values[i, j]
        expected = np.minimum(1, [value - high, value - low])
        np.testing.assert_allclose(found.interval[i, j], expected, atol=1e-9)
    np.testing.assert_array_equal(found.interval[0, 0], 1)


def test_intervals_hold_their_value_where_texts_are_alike_within() -> None:
    rng = np.random.default_rng(8)
    # One layer knows words, the other also what the whole text is about, as encoders' last layers.
    words = rng.standard_normal((30, 6))[rng.integers(30, size=1200)]
    about = 1.5 * np.repeat(rng.standard_normal((150, 24)), 8, axis=0)
    layers = np.array([np.c_[words, np.zeros((1200, 24))], np.c_[words, about]])
    found = compare(activations(layers, texts=150), measure="cka", bootstrap=60, n_draws=0)
    low, high = found.interval[0, 1]
    assert low < found.values[0, 1] < high


def test_intervals_hold_what_is_true_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    maps = rng.standard_normal((4, 5)), rng.standard_normal((4, 5))

    def sample(tokens: int) -> np.ndarray:
        common = rng.standard_normal((tokens, 4))
        return np.array([common @ m + rng.standard_normal((tokens, 5)) for m in maps])

    truth, held = cka(*sample(200_000)), 0
    for _ in range(60):
        acts = activations(sample(600), texts=20)
        found = compare(acts, measure="cka", bootstrap=60, n_draws=0, progress=False)
        low, high = found.interval[0, 1]
        held += bool(low <= truth <= high)
    assert held >= 50, held


@pytest.mark.parametrize(("name", "options"), [o for o in OPTIONS if o[1].get("kernel") != "rbf"])
@pytest.mark.parametrize("budget", [2**30, 2**12])
def test_from_disk_it_is_the_same(
    name: str, options: dict[str, Any], budget: int, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(moments, "BLOCK_BYTES", 2**14)
    monkeypatch.setattr(moments, "_FEWEST", 50)
    acts = activations(A.astype(np.float32), texts=12)
    there = stored(acts, tmp_path / "a.zarr")
    given = {"measure": name, "bootstrap": 4, "n_draws": 4, "progress": False, **options}
    memory, disk = compare(acts, **given), compare(there, memory_budget=budget, **given)
    np.testing.assert_allclose(disk.values, memory.values, atol=1e-8, rtol=0)
    np.testing.assert_allclose(disk.interval, memory.interval, atol=1e-8, rtol=0)
    np.testing.assert_allclose(disk.null_mean, memory.null_mean, atol=0.05)
    off = ~np.eye(3, dtype=bool)
    assert (disk.null_mean != memory.null_mean)[off].all(), "tokens change places within blocks"


def test_inputs_stay_as_they_are() -> None:
    acts = activations(A.copy(), texts=12)
    acts.values.setflags(write=False)
    for name in SINGLE:
        compare(acts, measure=name, n_draws=2, bootstrap=2, progress=False)
    np.testing.assert_array_equal(acts.values, A)


def broken(layer: int) -> np.ndarray:
    values = A.copy()
    values[layer, 17, 3] = np.nan
    return values


FLAT = np.concatenate([A, np.ones((1, 400, 9))])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: compare(A), TypeError, "a: got a ndarray, accepts what"),
        (lambda: compare([activations(A), 3]), TypeError, "a: got a int in a list"),
        (lambda: compare(activations(A), []), TypeError, "b: got a list, accepts"),
        (lambda: compare([activations(A), activations(A[:, :9])]), ValueError, "not of the same"),
        (lambda: compare(activations(broken(1))), ValueError, "a, block 1: it holds NaN"),
        (
            lambda: compare(activations(A), activations(broken(2)), measure="cka"),
            ValueError,
            "b, block 2: it holds NaN",
        ),
        (lambda: compare(activations(FLAT)), ValueError, "a, block 3: every feature is constant"),
        (
            lambda: compare(activations(FLAT), measure="cka"),
            ValueError,
            "a, block 3: it does not vary",
        ),
        (lambda: compare(activations(A[:, :9])), ValueError, "there are 9 tokens and up to 9"),
        (lambda: compare(activations(A[:, :3]), measure="cka"), ValueError, "it has 3 tokens"),
        (lambda: compare(activations(A), dims=3), TypeError, "dims: measure 'pwcca' has no such"),
        (lambda: compare(activations(A), measure="rv"), ValueError, "measure: got 'rv', accepts"),
        (lambda: compare(activations(A), n_draws=-1), ValueError, "n_draws: got -1"),
        (lambda: compare(activations(A), bootstrap=9), ValueError, "bootstrap: there are 1 texts"),
        (
            lambda: compare(activations(A[:, :18], 12), bootstrap=90),
            ValueError,
            "bootstrap: a draw holds .* different tokens, and there are up to 9 directions",
        ),
        (
            lambda: compare(activations(A[:, :9]), measure="svcca", variance=1),
            ValueError,
            "variance: 8 directions of a, block 0 are kept of 9 tokens",
        ),
        (
            lambda: compare(activations(A, 12), measure="cka", kernel="rbf", bootstrap=9),
            ValueError,
            "bootstrap: got 9, accepts 0 with kernel 'rbf'",
        ),
    ],
)
def test_wrong_input(call: Callable[[], Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_the_record_is_kept_and_told(tmp_path: Path) -> None:
    found = compare(activations(A, texts=12), bootstrap=3, n_draws=3, progress=False)
    found.save(tmp_path / "s.npz")
    again = Similarity.load(tmp_path / "s.npz")
    for field in ("values", "null_mean", "null_95", "interval", "rows", "settings"):
        np.testing.assert_equal(getattr(again, field), getattr(found, field))
    frame = found.to_pandas()
    row = frame[(frame.row == found.rows[2]) & (frame.column == found.columns[1])].iloc[0]
    assert (row.value, row.low) == (found.values[2, 1], found.interval[2, 1, 0])
