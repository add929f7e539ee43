"""Intervals cover what they say they cover, and their middle is the mean."""

from __future__ import annotations

import numpy as np
import pytest

from ecco_captum.core.intervals import bootstrap_mean, wilson_interval


def test_the_bootstrap_covers_the_mean() -> None:
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(200):
        intervals = bootstrap_mean(rng.normal(1.0, 2.0, (3, 40)), rng, 300)
        covered.append([low <= 1.0 <= high for _, low, high in intervals])
    assert (np.mean(covered, axis=0) > 0.88).all()
    values = rng.normal(size=(3, 2, 5))
    np.testing.assert_allclose(bootstrap_mean(values, rng)[..., 0], values.mean(axis=-1))
    assert bootstrap_mean(np.array([2.0]), rng).tolist() == [2, 2, 2]


@pytest.mark.parametrize(("count", "of"), [(0, 4), (1, 4), (49, 50), (7, 7)])
def test_wilsons_interval_written_out(count: int, of: int) -> None:
    z, p = 1.959963984540054, count / of
    middle = (p + z**2 / (2 * of)) / (1 + z**2 / of)
    half = z / (1 + z**2 / of) * np.sqrt(p * (1 - p) / of + z**2 / (4 * of**2))
    expected = max(0, middle - half), min(1, middle + half)
    assert wilson_interval(count, of) == pytest.approx(expected, abs=1e-12)
