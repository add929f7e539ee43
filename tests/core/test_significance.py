"""p-values are held against their definitions and against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import permutation_test

from ecco_captum.core.significance import holm, max_t, rank_p_value


def test_the_value_counts_as_one_of_the_draws():
    null = np.array([0.0, 1.0, 2.0, 3.0])
    assert rank_p_value(2.5, null) == 2 / 5
    assert rank_p_value(9.0, null) == 1 / 5
    assert rank_p_value(-1.0, null) == 1.0


def test_equal_numbers_count_as_larger_despite_rounding():
    value = 0.1 + 0.2  # 0.30000000000000004
    assert rank_p_value(value, np.array([0.3, 0.3, 0.1])) == 3 / 4


def test_several_values_at_once_are_each_ranked_among_their_own_draws():
    values, null = np.array([1.0, 5.0]), np.array([[0.0, 9.0], [2.0, 1.0], [1.5, 8.0]])
    assert rank_p_value(values, null).tolist() == [3 / 4, 3 / 4]


def test_it_is_scipys_p_value_of_a_permutation_test():
    rng = np.random.default_rng(0)
    x, y = rng.normal(0.8, 1, 8), rng.normal(0, 1, 8)

    def difference(a, b, axis=-1):
        return np.mean(a, axis=axis) - np.mean(b, axis=axis)

    expected = permutation_test(
        (x, y), difference, n_resamples=999, alternative="greater", vectorized=True, rng=1
    )
    own = rank_p_value(difference(x, y), expected.null_distribution)
    assert own == pytest.approx(expected.pvalue, abs=1e-12)


def test_holm_multiplies_the_smallest_by_all_and_never_falls():
    assert holm(np.array([0.04, 0.01, 0.03])).tolist() == pytest.approx([0.06, 0.03, 0.06])
    assert holm(np.array([0.9, 0.8])).tolist() == pytest.approx([1.0, 1.0])


def test_holm_holds_its_level_over_a_family_of_true_nulls():
    rng = np.random.default_rng(1)
    wrong = np.mean([(holm(rng.uniform(size=10)) <= 0.05).any() for _ in range(2000)])
    assert wrong == pytest.approx(0.05, abs=0.015)


def test_max_t_ranks_each_statistic_among_the_largest_of_those_that_are_no_larger():
    rng = np.random.default_rng(0)
    draws = rng.standard_normal((100, 4)) * [1, 10, 100, 1]
    draws[0] = [3.5, 40, 50, 0]
    scores = (draws - draws.mean(axis=0)) / draws.std(axis=0)
    order, expected, least = np.argsort(-scores[0]), np.empty(4), 0.0
    for place, k in enumerate(order):
        left = scores[1:][:, order[place:]].max(axis=1)
        least = max(least, (1 + (left >= scores[0, k]).sum()) / 100)
        expected[k] = least
    np.testing.assert_allclose(max_t(draws), expected)
    assert (max_t(draws) >= rank_p_value(draws[0], draws[1:])).all()
    assert max_t(draws)[1] == 1 / 100, "however many tests there are"


def test_max_t_holds_its_level_over_all_tests_that_depend_on_each_other():
    rng, rejected = np.random.default_rng(1), 0
    for _ in range(400):
        draws = rng.standard_normal((20, 1)) + rng.standard_normal((20, 12))
        rejected += bool(max_t(draws).min() <= 0.05)
    assert 8 <= rejected <= 33  # 20 are expected; further off is less likely than 1 in 300


def test_a_statistic_that_never_changes_is_not_significant():
    draws = np.column_stack([np.ones(20), np.arange(20.0)])
    assert max_t(draws)[0] > 0.05
