"""The nulls of a comparison: what changes places, p-values by hand, and claims that are refused."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calibration_similarity import MEASURES, false_positive_cases, planted_cases
from similarity_samples import activations, stored

from ecco_captum import Similarity, compare, load_record
from ecco_captum.core.significance import max_t, rank_p_value
from ecco_captum.similarity.rearranged import Rearrangement, rearranged, whole_order


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* tokens are fewer than")
        yield


def drawn(lengths: list[int], null: Any = None, draws: int = 99, **given: Any) -> Rearrangement:
    starts = np.cumsum([0, *lengths[:-1]])
    options = {"most": 2048, "seed": 0, "run_on": False, **given}
    return rearranged(null, starts, sum(lengths), draws, **options)


def test_texts_change_places_with_texts_of_about_their_length_token_by_token() -> None:
    lengths = [7, 20, 8, 19, 7, 21, 8, 8, 20, 19, 20]
    made = drawn(lengths)
    assert made.null == "texts"
    text = np.repeat(np.arange(len(lengths)), lengths)
    place = np.concatenate([np.arange(n) for n in lengths])
    np.testing.assert_array_equal(made.columns[0], made.rows)
    assert len(made.rows) == 5 * 7 + 6 * 19
    for order in made.columns:
        assert sorted(order) == sorted(made.rows), "the same tokens, in another order"
        np.testing.assert_array_equal(place[order], place[made.rows])
        ratio = np.array(lengths)[text[order]] / np.array(lengths)[text[made.rows]]
        assert ((ratio >= 1 / 1.25) & (ratio <= 1.25)).all()
        for k in range(len(lengths)):
            assert len({*text[order][text[made.rows] == k]}) <= 1, "a text stays one text"
    assert len({tuple(order) for order in made.columns}) > 90
    assert made.arrangements == pytest.approx(120 * 720)


def test_a_window_slides_along_its_text_without_a_seam() -> None:
    made = drawn([300])
    assert made.null == "shift"
    assert made.reach == 50
    np.testing.assert_array_equal(made.rows, np.arange(50, 250))
    shifts = made.columns - made.rows
    assert (shifts == shifts[:, :1]).all()
    assert len({*shifts[:, 0].tolist()}) == 100
    assert np.abs(shifts).max() <= 50


def test_a_few_texts_slide_each_within_itself() -> None:
    made = drawn([60, 100])
    assert made.null == "shift"
    first = made.rows < 60
    assert (made.columns[:, first] < 60).all()
    assert (made.columns[:, ~first] >= 60).all()
    shifts = made.columns - made.rows
    for part in (shifts[:, first], shifts[:, ~first]):
        assert (part == part[:, :1]).all()
    assert (shifts[:, 0] != shifts[:, -1]).any()


def test_no_more_tokens_are_compared_than_allowed() -> None:
    for lengths in ([5000], [1000] * 20, [10] * 500, [9000, 3, 3]):
        for null in (None, "texts", "shift", "tokens"):
            made = drawn(lengths, null, most=300)
            assert len(made.rows) <= 300
            assert made.columns.min(initial=0) >= 0
            assert made.columns.max(initial=0) < sum(lengths)


@pytest.mark.parametrize("null", ["texts", "shift", "tokens"])
def test_all_tokens_stand_beside_the_value_in_another_order(null: Any) -> None:
    for starts in (np.array([0]), np.arange(0, 100, 10), np.array([-30, -2, 40, 130])):
        order = whole_order(null, starts, 100, np.random.default_rng(1))
        assert sorted(order) == list(range(100))
        assert (order != np.arange(100)).mean() > 0.5


def naive_statistics(x: np.ndarray, y: np.ndarray, made: Rearrangement, white: bool) -> np.ndarray:
    """(1 + draws,), the cosine of two kernels of some tokens without their diagonals."""
    kernels = []
    for side in (x, y):
        side = side - side.mean(axis=0)
        if white:
            side = np.linalg.qr(side)[0]
        kernels.append(side @ side.T)
    values = []
    for order in made.columns:
        total = of_x = of_y = 0.0
        for a, b in itertools.permutations(range(len(order)), 2):
            left = kernels[0][made.rows[a], made.rows[b]]
            right = kernels[1][order[a], order[b]]
            total, of_x, of_y = total + left * right, of_x + left**2, of_y + right**2
        values.append(total / np.sqrt(of_x * of_y))
    return np.array(values)


@pytest.mark.parametrize("measure", ["cka", "cca"])
@pytest.mark.parametrize("null", ["texts", "shift"])
def test_p_values_are_ranks_among_naive_draws(measure: Any, null: Any) -> None:
    rng = np.random.default_rng(3)
    layers = rng.standard_normal((3, 48, 4))
    layers[1] += layers[0]
    found = compare(activations(layers, texts=8), measure=measure, null=null, n_draws=19, seed=5)
    made = drawn([6] * 8, null, 19, seed=5)
    pairs = [(0, 1), (0, 2), (1, 2)]
    white = measure != "cka"
    every = [naive_statistics(layers[i], layers[j], made, white) for i, j in pairs]
    together = max_t(np.array(every).T)
    for k, pair in enumerate(pairs):
        assert found.p_values[pair] == rank_p_value(every[k][0], every[k][1:])
        assert found.p_adjusted[pair] == found.p_adjusted[pair[::-1]] == together[k]
    np.testing.assert_array_equal(found.beyond_chance, found.p_adjusted <= 0.05)


@pytest.mark.parametrize("options", [{"kernel": "rbf"}, {}])
def test_of_two_sides_every_pair_is_one_of_the_family(options: dict[str, Any]) -> None:
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((2, 120, 4)), rng.standard_normal((3, 120, 5))
    y[2, :, :4] += x[1]
    found = compare(activations(x), activations(y), measure="cka", **options)
    assert found.p_values.shape == (2, 3)
    assert found.draws == 60
    assert (found.p_adjusted >= found.p_values).all()
    assert found.p_adjusted[1, 2] == 1 / 61
    assert found.beyond_chance.sum() == 1
    assert found.verdict == "partly supported"
    said = "1 of 6 pairs are more alike than with one side shifted along its text, by up to 30"
    assert said in found.sentence
    assert "(p ≤ 0.016, adjusted for all pairs; 60 draws)" in found.sentence


def test_one_text_cut_in_parts_slides_as_one_text() -> None:
    rng = np.random.default_rng(0)
    rows = np.cumsum(rng.standard_normal((2, 400, 3)), axis=1)
    cut = compare(activations(rows, texts=20), measure="cka", n_draws=19)
    assert cut.settings["null"] == "shift"
    apart = compare(activations(rng.standard_normal((2, 400, 3)), texts=20), measure="cka")
    assert apart.settings["null"] == "texts"
    assert cut.settings["autocorrelation"] > 0.9 > 0.1 > abs(apart.settings["autocorrelation"])


def test_too_few_tokens_are_said_and_nothing_is_claimed() -> None:
    rows = np.random.default_rng(1).standard_normal((1, 20, 3))
    alike = compare(activations(np.concatenate([rows, rows + 1e-3])), measure="cka")
    assert alike.draws == 10
    assert not alike.beyond_chance.any()
    assert not alike.within_chance.any()
    assert alike.verdict == "inconclusive"
    assert "too few tokens to test" in alike.sentence
    assert "cannot fall to 0.05" in alike.sentence
    few = compare(activations(rows.repeat(2, axis=0), texts=3), measure="cka", null="texts")
    assert not few.can_reject, "three texts have six orders"
    assert few.verdict == "inconclusive"


def test_without_draws_there_is_no_claim() -> None:
    alike = compare(activations(np.random.default_rng(1).standard_normal((2, 50, 3))), n_draws=0)
    assert np.isnan(alike.p_values).all()
    assert np.isnan(alike.p_adjusted).all()
    assert (alike.claim, alike.verdict, alike.null_note) == ("", "inconclusive", "")


def test_from_disk_p_values_are_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((3, 300, 5)).astype(np.float32)
    rows[1] += 0.2 * rows[0]
    for measure, texts in (("cka", 20), ("pwcca", 1)):
        acts = activations(rows, texts=texts)
        disk = compare(stored(acts, tmp_path / f"{texts}.zarr"), measure=measure)  # type: ignore[arg-type]
        memory = compare(acts, measure=measure)  # type: ignore[arg-type]
        np.testing.assert_array_equal(disk.p_values, memory.p_values)
        np.testing.assert_array_equal(disk.p_adjusted, memory.p_adjusted)


def test_p_values_are_in_the_table_and_in_the_file(tmp_path: Path) -> None:
    alike = compare(activations(np.random.default_rng(1).standard_normal((2, 90, 3))))
    frame = alike.to_pandas()
    np.testing.assert_array_equal(frame.p_value, alike.p_values.ravel())
    np.testing.assert_array_equal(frame.p_adjusted, alike.p_adjusted.ravel())
    again = Similarity.load(alike.save(tmp_path / "alike.npz"))
    np.testing.assert_array_equal(again.p_adjusted, alike.p_adjusted)
    assert again.sentence == alike.sentence
    assert again.draws == alike.draws


def test_a_record_of_an_earlier_version_keeps_its_own_test() -> None:
    record = load_record(Path(__file__).parents[1] / "saved_records" / "similarity.npz")
    assert isinstance(record, Similarity)
    np.testing.assert_array_equal(record.beyond_chance, record.values > record.null_95)
    np.testing.assert_array_equal(record.within_chance, record.values <= record.null_95)
    assert "shuffled tokens" in record.claim
    assert np.isnan(record.p_values).all()


def test_the_former_option_is_refused_by_name() -> None:
    acts = activations(np.zeros((1, 9, 2)))
    with pytest.raises(TypeError, match="n_permutations: it permuted single tokens"):
        compare(acts, n_permutations=10)
    with pytest.raises(ValueError, match="null: got 'rows', accepts 'texts', 'shift', 'tokens'"):
        compare(acts, null="rows")  # type: ignore[arg-type]


CASES: dict[str, Callable[[int], bool]] = dict(false_positive_cases()) | dict(planted_cases())


@pytest.mark.parametrize("measure", ["pwcca", "cka"])
def test_claims_about_nothing_are_rare(measure: str) -> None:
    # At 5% each, more than 6 of 30 have a chance of 1 in 600; permuted tokens give nearly all.
    ends = (
        "AR(1) 0.9, one text",
        "AR(1) 0.9, texts of 1 to 12",
        "a mean of each text, texts of 20",
    )
    claims = [CASES[f"{measure}, {end}"](seed) for end in ends for seed in range(10)]
    assert sum(claims) <= 6


@pytest.mark.parametrize("measure", MEASURES)
def test_two_percent_in_common_are_found(measure: str) -> None:
    planted = next(name for name in CASES if name.startswith(f"{measure}, r²"))
    assert CASES[planted](0)
