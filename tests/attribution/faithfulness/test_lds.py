"""The linear datamodeling score is that of scipy, and its two nulls hold their level."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from ecco_captum.attribution.faithfulness.lds import (
    Evidence,
    lds_of,
    linear_datamodel,
    permutations,
)
from ecco_captum.core.significance import rank_p_value

SOURCES, ORDERS, TARGETS = 20, 39, 4


def evidence_of(
    effects: np.ndarray, rng: np.random.Generator, noise: float = 0.0, start: int = 1
) -> Evidence:
    """Removals of a text whose scores are sums over sources; effects are (targets, sources)."""
    count = effects.shape[1]
    orders = np.argsort(rng.random((ORDERS, count)), axis=1)
    removed = np.zeros((2, ORDERS, count), dtype=bool)
    for rate, number in enumerate((count // 3, count - count // 3)):
        np.put_along_axis(removed[rate], orders[:, :number], values=True, axis=1)
    drops = removed @ effects.T + noise * rng.normal(size=(2, ORDERS, len(effects)))
    rows = np.arange(len(effects))
    return Evidence(rows, np.arange(start, start + count), removed, drops)


def scores_of(weights: np.ndarray, start: int = 1) -> np.ndarray:
    """(targets, positions), with a spared source at both ends."""
    return np.pad(weights, ((0, 0), (start, 1)))


def test_it_is_the_mean_over_rates_of_scipys_correlation() -> None:
    rng = np.random.default_rng(0)
    evidence = evidence_of(rng.normal(size=(TARGETS, SOURCES)), rng, noise=2.0)
    scores = scores_of(rng.normal(size=(TARGETS, SOURCES)))
    expected = [
        np.mean(
            [
                spearmanr(evidence.removed[rate] @ scores[t, 1:-1], evidence.drops[rate, :, t])[0]
                for rate in range(2)
            ]
        )
        for t in range(TARGETS)
    ]
    np.testing.assert_allclose(lds_of([evidence], scores), expected, atol=1e-12)
    datamodel = linear_datamodel([evidence], scores, 19, rng)
    np.testing.assert_allclose(datamodel.by_output, expected, atol=1e-12)
    mean, low, high = datamodel.interval
    assert mean == pytest.approx(np.mean(expected))
    assert low < mean < high


def test_the_null_is_the_score_of_the_attribution_with_its_sources_in_other_places() -> None:
    rng = np.random.default_rng(1)
    evidence = evidence_of(rng.normal(size=(TARGETS, SOURCES)), rng, noise=1.0)
    scores = scores_of(rng.normal(size=(TARGETS, SOURCES)))
    datamodel = linear_datamodel([evidence], scores, 5, np.random.default_rng(2))
    taken = permutations([evidence], 5, np.random.default_rng(2))
    for draw, order in enumerate(taken):
        moved = scores.copy()
        moved[:, 1:-1] = scores[:, order[1:]]
        np.testing.assert_allclose(datamodel.chance[draw], lds_of([evidence], moved), atol=1e-12)


def test_true_effects_are_found_and_each_output_has_a_p_value_of_its_own() -> None:
    rng = np.random.default_rng(3)
    effects = rng.normal(size=(TARGETS, SOURCES))
    evidence = evidence_of(effects, rng)
    half_true = effects.copy()
    half_true[2:] = rng.normal(size=(2, SOURCES))
    datamodel = linear_datamodel([evidence], scores_of(half_true), 199, rng)
    np.testing.assert_allclose(datamodel.by_output[:2], 1.0)
    assert max(datamodel.p_chance, datamodel.p_position) <= 0.05
    assert (datamodel.p_by_output[:, :2] <= 0.05).all()
    assert (np.abs(datamodel.by_output[2:]) < 0.9).all()
    worse = linear_datamodel([evidence], scores_of(-effects), 199, rng)
    assert worse.p_worse == 1 / 200
    assert worse.p_chance == 1.0


def test_random_attributions_are_better_than_chance_in_no_more_than_their_share() -> None:
    """1,000 attributions of outputs that share removals: 5% by the binomial law, ± 3 deviations."""
    rng = np.random.default_rng(4)
    claims = np.zeros(2)
    for _ in range(20):
        shared = rng.normal(size=SOURCES)  # what all outputs have in common: one draw, not four
        evidence = evidence_of(shared + 0.3 * rng.normal(size=(TARGETS, SOURCES)), rng, noise=0.5)
        for _ in range(50):
            weights = rng.normal(size=SOURCES) + 0.3 * rng.normal(size=(TARGETS, SOURCES))
            datamodel = linear_datamodel([evidence], scores_of(weights), 39, rng)
            claims += datamodel.p_chance <= 0.05, datamodel.p_position <= 0.05
    assert (claims <= 50 + 3 * np.sqrt(1000 * 0.05 * 0.95)).all()
    assert (claims >= 50 - 3 * np.sqrt(1000 * 0.05 * 0.95)).all()


@pytest.mark.parametrize(
    "weigh", ["last first", "first first", "near the end", "last quarter", "squares"]
)
def test_position_alone_is_no_more_than_position(weigh: str) -> None:
    """Effects rise towards the end, so that position predicts them; that must not be claimed.

    Of one text, and of the mean over all of them, which finds what bends with position, too.
    """
    place = np.arange(SOURCES, dtype=float)
    weights = {
        "last first": place,
        "first first": -place,
        "near the end": 1 / (SOURCES - place),
        "last quarter": (place >= 0.75 * SOURCES).astype(float),
        "squares": place**2,
    }[weigh]
    rng = np.random.default_rng(5)
    better_than_chance = beyond_position = 0
    own, near = [], []
    for _ in range(200):
        effects = 2 / (SOURCES - place) + 0.5 * rng.normal(size=(TARGETS, SOURCES))
        scores = scores_of(np.tile(weights, (TARGETS, 1)))
        datamodel = linear_datamodel([evidence_of(effects, rng)], scores, 39, rng)
        better_than_chance += datamodel.p_chance <= 0.05
        beyond_position += datamodel.p_position <= 0.05
        own.append(datamodel.beyond_position.mean())
        near.append(datamodel.near.mean(axis=1))
    assert rank_p_value(np.mean(own), np.mean(near, axis=0)) > 0.05
    assert beyond_position <= 10 + 3 * np.sqrt(200 * 0.05 * 0.95)
    if weigh == "near the end":
        assert better_than_chance > 100


def test_segments_share_a_permutation_of_what_they_have_in_common() -> None:
    rng = np.random.default_rng(6)
    shorter = evidence_of(rng.normal(size=(2, 8)), rng)
    longer = evidence_of(rng.normal(size=(1, 12)), rng)
    taken = permutations([longer, shorter], 200, rng)
    assert taken.shape == (200, 13)
    assert (np.sort(taken[:, 1:9]) == np.arange(1, 9)).all()
    assert (np.sort(taken[:, 9:]) == np.arange(9, 13)).all()
    assert len(np.unique(taken, axis=0)) > 190
    near = permutations([longer, shorter], 200, rng, near=True)
    for window in (slice(1, 5), slice(5, 9), slice(9, 13)):
        assert (np.sort(near[:, window]) == np.arange(13)[window]).all()


def test_equal_and_zero_attributions_predict_nothing() -> None:
    rng = np.random.default_rng(7)
    evidence = evidence_of(rng.normal(size=(TARGETS, SOURCES)), rng)
    for weights in (np.zeros((TARGETS, SOURCES)), np.full((TARGETS, SOURCES), 0.1)):
        datamodel = linear_datamodel([evidence], scores_of(weights), 19, rng)
        assert (datamodel.by_output == 0).all()
        assert datamodel.p_chance == datamodel.p_position == 1.0
    alone = evidence_of(np.ones((1, 1)), rng)
    datamodel = linear_datamodel([alone], scores_of(np.ones((1, 1))), 19, rng)
    assert datamodel.p_chance == 1.0
