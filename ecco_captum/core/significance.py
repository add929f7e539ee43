"""p-values: of a rank among draws under a null, and of several tests that are read together."""

from __future__ import annotations

import numpy as np

LEVEL = 0.05
"""The false-positive rate that every verdict of the package is held to."""

_TIE = 1e-9  # relative; sums in another order differ by less


def rank_p_value(value: np.ndarray | float, null: np.ndarray) -> np.ndarray:
    """Returns (1 + b) / (1 + n): how rare a value this large is among ``n`` draws under the null.

    ``value`` is (…), ``null`` is (n, …); b counts the draws that are as large. Equal numbers count
    as larger, also where rounding parts them. (Phipson & Smyth 2010: without the ones a p-value
    could be 0, and the test would reject a true null too often.)
    """
    value, null = np.asarray(value, dtype=np.float64), np.asarray(null, dtype=np.float64)
    slack = _TIE * np.maximum(np.abs(value), np.abs(null))
    return np.asarray((1 + (null >= value - slack).sum(axis=0)) / (1 + len(null)))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Returns p-values adjusted so that all tests together hold one level (Holm 1979)."""
    given = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(given, kind="stable")
    stepped = given[order] * np.arange(len(given), 0, -1)
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return adjusted


def max_t(draws: np.ndarray) -> np.ndarray:
    r"""Returns p-values adjusted over several statistics: step-down max-T (Westfall & Young 1993).

    ``draws`` is (1 + n, k): k statistics as observed in row 0, and in n draws under the null that
    all k share, so that their dependence is kept. Each is standardised over all its rows; a
    statistic is then ranked among the largest of those that are no larger. Together the tests hold
    one level, and the smallest p-value is 1 / (1 + n) however many there are.
    """
    given = np.asarray(draws, dtype=np.float64)
    spread = given.std(axis=0)
    centred = given - given.mean(axis=0)
    scores = np.divide(centred, spread, out=np.zeros_like(given), where=spread > 0)
    order = np.argsort(-scores[0], kind="stable")
    largest = np.maximum.accumulate(scores[:, order[::-1]], axis=1)[:, ::-1]
    stepped = rank_p_value(scores[0, order], largest[1:])
    adjusted = np.empty_like(stepped)
    adjusted[order] = np.maximum.accumulate(stepped)
    return adjusted
