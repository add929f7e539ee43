r"""Fits of a non-negative matrix by scikit-learn: whole, or part by part beyond memory."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
from sklearn.decomposition import MiniBatchNMF, non_negative_factorization
from sklearn.exceptions import ConvergenceWarning
from tqdm.auto import tqdm

from ecco_captum.factor_matrix import Matrix

Start = Literal["nndsvdar", "random"]

_ROWS = 1024  # of a mini-batch
_KEPT = 0.7  # how much earlier mini-batches count after a pass, as in scikit-learn's own fit
_JUDGED = 8  # mini-batches, spread over the text, on which a pass is judged
_GAIN = 1e-3  # a pass that lowers the error by less than this part of itself is the last

Fit = tuple[np.ndarray, np.ndarray, int]
"""Weights (tokens, components), components (components, columns), and how many rounds or passes."""


def fit_whole(
    matrix: Matrix, count: int, start: Start, *, seed: int, max_iter: int, tol: float
) -> Fit:
    r"""Fits all rows at once by coordinate descent (Cichocki & Phan 2009).

    Args:
        matrix (Matrix): what is factorised.
        count (int): how many components.
        start (str): "nndsvdar" or "random".
        seed (int): of the start.
        max_iter (int): the most rounds.
        tol (float): stops where a round changes less than this, relative to the first.

    Returns:
        tuple: weights, components, rounds.
    """
    options = {"init": start, "random_state": seed, "max_iter": max_iter, "tol": tol}
    return _descended(matrix.whole, n_components=count, **options)


def fit_in_parts(
    matrix: Matrix, count: int, start: Start, *, seed: int, max_iter: int, memory_budget: int
) -> Fit:
    r"""Fits as many rows as memory holds, then all of them by mini-batches (Lefèvre et al. 2011).

    The multiplicative updates of mini-batches are far slower than coordinate descent, and so start
    from what that finds in random runs of rows. Passes over all rows, in a new order each, go on
    until one lowers the error on some of them by less than a thousandth of itself.

    Args:
        matrix (Matrix): what is factorised.
        count (int): how many components.
        start (str): "nndsvdar" or "random", of the first fit.
        seed (int): of the start, the rows and the orders.
        max_iter (int): the most rounds of the first fit, and the most passes.
        memory_budget (int): bytes that the rows of the first fit may take.

    Returns:
        tuple: weights, the best for these components; components; passes.
    """
    tokens, columns = matrix.shape
    firsts = np.arange(0, tokens, _ROWS)
    rng = np.random.default_rng(seed)
    fitting = max(memory_budget // (4 * columns * _ROWS), -(-count // _ROWS), 1)
    chosen = np.sort(rng.permutation(firsts)[:fitting])
    options = {"n_components": count, "init": start, "random_state": seed, "max_iter": max_iter}
    rows = _gathered(matrix, chosen)
    components = _descended(rows, **options)[1].astype(np.float32)
    judged = firsts[np.linspace(0, len(firsts) - 1, min(_JUDGED, len(firsts))).astype(int)]
    error, passes = _error(matrix, judged, components), 0
    # partial_fit forgets anew with each mini-batch; this is as much in a pass as in fit.
    kept = _KEPT ** (min(_ROWS, tokens) / tokens)
    model = MiniBatchNMF(count, init="custom", batch_size=_ROWS, forget_factor=kept)
    average = float(np.sqrt(rows.mean() / count))
    del rows
    with tqdm(desc="Factorising", unit=" parts", leave=False, disable=None) as bar:
        while passes < max_iter:
            passes += 1
            for first in rng.permutation(firsts):
                rows = matrix.rows(first, first + _ROWS)
                start_at = {"W": np.full((len(rows), count), average, np.float32), "H": components}
                model.partial_fit(rows, **({} if hasattr(model, "components_") else start_at))
                bar.update()
            before, error = error, _error(matrix, judged, model.components_)
            bar.set_postfix(error=f"{error:.4f}")
            if error < before:
                components = model.components_.copy()
            if before - error < _GAIN * before:
                break
    return best_weights(matrix, components), components, passes


def _gathered(matrix: Matrix, firsts: np.ndarray) -> np.ndarray:
    """The rows of some mini-batches, in memory once."""
    tokens, columns = matrix.shape
    ends = np.minimum(firsts + _ROWS, tokens)
    places = np.cumsum([0, *(ends - firsts)])
    found = np.empty((places[-1], columns), np.float32)
    for first, end, place in zip(firsts, ends, places[:-1], strict=True):
        found[place : place + end - first] = matrix.rows(first, end)
    return found


def best_weights(matrix: Matrix, components: np.ndarray) -> np.ndarray:
    r"""Returns the weights that fit best to components that stay as they are.

    Args:
        matrix (Matrix): read part by part.
        components (array): (components, columns).

    Returns:
        array: (tokens, components).
    """
    found = np.empty((matrix.shape[0], len(components)), np.float32)
    for where, rows in matrix.parts():
        found[where] = _best(rows, components)
    return found


def _best(rows: np.ndarray, components: np.ndarray) -> np.ndarray:
    options = {"H": components, "n_components": len(components), "init": None}
    return _descended(rows, **options, update_H=False, max_iter=400)[0]


def _error(matrix: Matrix, firsts: np.ndarray, components: np.ndarray) -> float:
    """The norm of what is missed of some mini-batches, over theirs."""
    missed = energy = 0.0
    for first in firsts:
        rows = matrix.rows(first, first + _ROWS)
        missed += float(np.square(rows - _best(rows, components) @ components).sum())
        energy += float(np.square(rows).sum())
    return float(np.sqrt(missed / max(energy, np.finfo(np.float32).tiny)))


def _descended(rows: np.ndarray, **options: Any) -> Fit:
    with warnings.catch_warnings():
        # Whether it converged is seen by the rounds.
        warnings.simplefilter("ignore", ConvergenceWarning)
        weights, components, rounds = non_negative_factorization(rows, **options)
    return weights, components, int(rounds)
