"""Comparisons of any size: the same to the last bit in one process and on workers of Ray."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import threadpoolctl
from activation_samples import activations, stored, stored_in_parts

from ecco_captum import Activations, Similarity, compare
from ecco_captum.corpus.engines import LocalEngine
from ecco_captum.corpus.ray_engine import RayEngine
from ecco_captum.similarity import sums
from ecco_captum.similarity.sums import Layer, Shuffling, accumulate, pieces, plain_frame

TOKENS, TEXTS = 1200, 12
ENGINES = ["local", RayEngine(workers=1), RayEngine(workers=2)]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sums, "_PIECE", 128)


def related(layers: int = 2, width: int = 12) -> Activations:
    """Layers that have something in common, of texts of one length."""
    rng = np.random.default_rng(0)
    common = rng.normal(size=(TOKENS, 4))
    values = [
        common @ rng.normal(size=(4, width)) + rng.normal(size=(TOKENS, width))
        for _ in range(layers)
    ]
    starts = np.arange(0, TOKENS, TOKENS // TEXTS)
    return dataclasses.replace(activations(np.array(values)), sequences=starts)


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> Activations:
    ends = [200, 300, 600, 800, 1100, 1200]
    return stored_in_parts(related(), tmp_path_factory.mktemp("acts"), ends)


def identical(some: Similarity, other: Similarity) -> None:
    for field in ("values", "null_mean", "null_95", "p_values", "p_adjusted", "interval"):
        np.testing.assert_array_equal(getattr(some, field), getattr(other, field), err_msg=field)


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(
    "measure",
    ["cka", *(pytest.param(name, marks=pytest.mark.nightly) for name in ("pwcca", "svcca"))],
)
def test_engines_and_workers_leave_no_trace(measure: Any, on_disk: Activations) -> None:
    # Room for the sums of a few pairs at a time.
    options = {"measure": measure, "n_draws": 19, "bootstrap": 5, "memory_budget": 2**15}
    local, one, two = (compare(on_disk, engine=engine, **options) for engine in ENGINES)
    identical(local, one)
    identical(local, two)
    assert np.isfinite(local.interval).all()
    assert np.isfinite(local.null_95[np.triu_indices(2, 1)]).all()


@pytest.mark.parametrize("measure", ["cka", "pwcca", "svcca", "cca"])
def test_pieces_add_up_to_the_sums_of_all_tokens(
    measure: Any, on_disk: Activations, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"measure": measure, "n_draws": 0, "bootstrap": 4}
    given = compare(related(), **options)
    for budget in (2**13, 2**30):
        pieced = compare(on_disk, memory_budget=budget, **options)
        np.testing.assert_allclose(pieced.values, given.values, atol=1e-10)
        np.testing.assert_allclose(pieced.interval, given.interval, atol=1e-10)
    monkeypatch.setattr(sums, "_PIECE", 10 * TOKENS)
    whole = compare(on_disk, **options)
    np.testing.assert_allclose(whole.values, given.values, atol=1e-10)


@pytest.mark.usefixtures("ray_cluster")
def test_what_is_in_memory_goes_to_workers_too() -> None:
    given = related()
    options = {"measure": "pwcca", "n_draws": 19, "bootstrap": 3}
    here, there = compare(given, **options), compare(given, engine=RayEngine(workers=2), **options)
    np.testing.assert_allclose(there.values, here.values, atol=1e-10)
    np.testing.assert_allclose(there.interval, here.interval, atol=1e-10)
    # Draws are of all tokens, wherever they are; their sums are float32.
    np.testing.assert_allclose(there.null_mean, here.null_mean, atol=1e-5)


@pytest.mark.usefixtures("ray_cluster")
def test_errors_of_workers_are_those_of_this_process(tmp_path: Path) -> None:
    values = np.ones((1, 300, 3)) * np.arange(300)[:, None]
    values[0, 200, 1] = np.nan
    acts = stored(activations(values), tmp_path / "acts.zarr")
    for engine in ENGINES:
        with pytest.raises(ValueError, match=r"^a, block 0: it holds NaN, infinity") as caught:
            compare(acts, measure="cka", n_draws=0, engine=engine)
        assert caught.type is ValueError
    with pytest.raises(ValueError, match="engine: got 'spark', accepts 'local', 'ray' or a Ray"):
        compare(acts, measure="cka", engine="spark")  # type: ignore[arg-type]


def test_pieces_end_where_parts_do_and_are_not_small(on_disk: Activations, tmp_path: Path) -> None:
    layer = Layer(on_disk.values, 0, "a")
    bounds = [(piece.start, piece.stop) for piece in pieces([layer])]
    # The part of 100 tokens is read with its neighbour; what is left at the end is not.
    assert bounds == [(0, 200), (200, 600), (600, 800), (800, 1100), (1100, 1200)]
    some = [(piece.start, piece.stop) for piece in pieces([layer], slice(100, 700))]
    assert some == [(100, 300), (300, 600), (600, 700)]
    whole = Layer(stored(related(), tmp_path / "acts.zarr").values, 0, "a")
    assert [piece.start for piece in pieces([whole])] == list(range(0, TOKENS, 128))
    words = dataclasses.replace(layer, spans=np.arange(300)[:, None] + np.arange(2))
    assert [piece.start for piece in pieces([words])] == [0, 128, 256]


def test_threads_leave_no_trace(on_disk: Activations) -> None:
    layers = [Layer(on_disk.values, row, "a") for row in range(2)]
    frames = [plain_frame(layer) for layer in layers]
    pairs = [(0, 1, -1), (0, 1, 0), (1, 1, 1)]
    options: dict[str, Any] = {"shuffling": Shuffling(0), "engine": LocalEngine(), "norms": True}
    made = []
    for threads in (1, 4):
        with threadpoolctl.threadpool_limits(threads, user_api="blas"):
            made.append(accumulate(layers, frames, [0, 1], pairs, **options))
            held = [info["num_threads"] for info in threadpoolctl.threadpool_info()]
            assert threads in held  # as it was before
    for k in (0, 1):
        np.testing.assert_array_equal(made[0][0][k].gram, made[1][0][k].gram)
    for pair in pairs:
        for field in ("product", "squares", "by_x", "by_y"):
            some, other = (getattr(crosses[pair], field) for _, crosses in made)
            np.testing.assert_array_equal(some, other)
