r"""Fits of a non-negative matrix by scikit-learn: in memory or beyond; stability of factors."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import MiniBatchNMF, non_negative_factorization
from sklearn.exceptions import ConvergenceWarning
from tqdm.auto import tqdm

from ecco_captum.activations.record import Activations
from ecco_captum.core.checks import Negatives

if TYPE_CHECKING:
    from ecco_captum.factors.record import Factors


@dataclass(frozen=True)
class Matrix:
    """(tokens, columns), float32, not negative; columns are the neurons of all layers in turn.

    ``negatives`` says what becomes of negative values: "clip", "split" or "abs".
    """

    activations: Activations
    negatives: Negatives

    def __post_init__(self) -> None:
        if not isinstance(self.activations, Activations):
            raise TypeError(
                f"activations: got a {type(self.activations).__name__}, accepts what neurons() "
                "returns"
            )
        if self.negatives not in get_args(Negatives):
            accepted = ", ".join(map(repr, get_args(Negatives)))
            raise ValueError(f"negatives: got {self.negatives!r}, accepts {accepted}")

    @property
    def shape(self) -> tuple[int, int]:
        """(tokens, columns)"""
        layers, tokens, neurons = self.activations.shape
        return tokens, layers * neurons * (2 if self.negatives == "split" else 1)

    @property
    def nbytes(self) -> int:
        """What the whole of it takes."""
        return self.shape[0] * self.shape[1] * 4

    def rows(self, first: int, end: int) -> np.ndarray:
        """(end - first, columns) of some tokens."""
        return self._rows(np.asarray(self.activations.values[:, first:end]))

    def parts(self) -> Iterator[tuple[slice, np.ndarray]]:
        """A run of tokens at a time: where it stands, and its rows."""
        if "whole" in self.__dict__:
            yield slice(None), self.whole
            return
        for where, values in self.activations.parts():
            yield where, self._rows(values)

    @cached_property
    def whole(self) -> np.ndarray:
        """All of it at once."""
        return self._rows(np.asarray(self.activations.values))

    @cached_property
    def energies(self) -> tuple[float, float]:
        """Sums of squares: of all activations, and of the negative ones among them."""
        total = below = 0.0
        for _, values in self.activations.parts():
            total += float(np.square(values, dtype=np.float64).sum())
            below += float(np.square(np.minimum(values, 0), dtype=np.float64).sum())
        return total, below

    @property
    def clipped(self) -> float:
        """Which part of the activations' energy is not in the matrix."""
        total, below = self.energies
        if not total:
            raise ValueError("activations: they are all zero, accepts some that are not")
        return below / total if self.negatives == "clip" else 0.0

    @property
    def energy(self) -> float:
        """The sum of squares of the matrix."""
        total, below = self.energies
        return total - below if self.negatives == "clip" else total

    def _rows(self, values: np.ndarray) -> np.ndarray:
        values = np.asarray(values, dtype=np.float32)
        if not np.isfinite(values).all():
            raise ValueError("activations: they hold NaN or infinity, accepts finite values")
        flat = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)
        if self.negatives == "abs":
            return np.abs(flat)
        above = np.maximum(flat, 0)
        if self.negatives == "clip":
            return above
        return np.concatenate([above, np.maximum(-flat, 0)], axis=1)


Start = Literal["nndsvdar", "random"]

_LOUDEST = 8192  # neurons of the first descent from a random start
_ROWS = 1024  # of a mini-batch
_KEPT = 0.7  # how much earlier mini-batches count after a pass, as in scikit-learn's own fit
_JUDGED = 8  # mini-batches, spread over the text, on which a pass is judged
_GAIN = 1e-3  # a pass that lowers the error by less than this part of itself is the last

Fit = tuple[np.ndarray, np.ndarray, int]
"""Weights (tokens, components), components (components, columns), and how many rounds or passes."""


def fit_whole(
    matrix: Matrix, count: int, start: Start, *, seed: int, max_iter: int, tol: float
) -> Fit:
    """Fits all rows at once by coordinate descent (Cichocki & Phan 2009).

    Stops where a round changes less than ``tol``, relative to the first. A random start, which is
    far from any fit, first descends on the neurons with the most energy alone, at a fraction of the
    cost. Returns weights, components and the number of rounds on all neurons.
    """
    rows = matrix.whole
    options = {"n_components": count, "random_state": seed, "max_iter": max_iter, "tol": tol}
    if start != "random" or rows.shape[1] <= _LOUDEST:
        return _descended(rows, init=start, **options)
    loudest = np.argsort(-np.square(rows).sum(axis=0), kind="stable")[:_LOUDEST]
    weights, _, _ = _descended(np.ascontiguousarray(rows[:, loudest]), init=start, **options)
    components = np.ascontiguousarray(_best(rows.T, np.ascontiguousarray(weights.T)).T)
    return _descended(rows, init="custom", W=weights, H=components, **options)


def fit_in_parts(
    matrix: Matrix, count: int, start: Start, *, seed: int, max_iter: int, memory_budget: int
) -> Fit:
    """Fits as many rows as memory holds, then all of them by mini-batches (Lefèvre et al. 2011).

    The multiplicative updates of mini-batches are far slower than coordinate descent, and so start
    from what that finds in random runs of rows. Passes over all rows, in a new order each, go on
    until one lowers the error on some of them by less than a thousandth of itself, at most
    ``max_iter``. Returns weights, the best for these components; components; passes.
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
    gathered = np.empty((places[-1], columns), np.float32)
    for first, end, place in zip(firsts, ends, places[:-1], strict=True):
        gathered[place : place + end - first] = matrix.rows(first, end)
    return gathered


def best_weights(matrix: Matrix, components: np.ndarray) -> np.ndarray:
    """(tokens, components), the weights that fit best to components, (components, columns)."""
    weights = np.empty((matrix.shape[0], len(components)), np.float32)
    for where, rows in matrix.parts():
        weights[where] = _best(rows, components)
    return weights


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


def factorise(matrix: Matrix, count: int, start: Start, settings: dict[str, Any]) -> dict[str, Any]:
    """Fits a matrix and orders the factors by energy; returns the fields of :class:`Factors`."""
    chosen = {"seed": settings["seed"], "max_iter": settings["max_iter"]}
    if matrix.nbytes > settings["memory_budget"]:
        budget = settings["memory_budget"]
        fitted = fit_in_parts(matrix, count, start, memory_budget=budget, **chosen)
    else:
        matrix = Matrix(_in_memory(matrix.activations), matrix.negatives)
        fitted = fit_whole(matrix, count, start, tol=settings["tol"], **chosen)
    weights, components, rounds = fitted
    components = components.astype(np.float64)
    lengths = np.linalg.norm(components, axis=1)
    components /= np.maximum(lengths, np.finfo(np.float64).tiny)[:, None]
    weights = (weights * lengths).T
    order = np.argsort(-np.square(weights).sum(axis=1), kind="stable")
    weights, components = weights[order], components[order]
    error, contributions = _accounted(matrix, weights, components)
    layers, _, neurons = matrix.activations.shape
    parts = components.reshape(count, -1, layers, neurons).astype(np.float32)
    return {
        "activations": matrix.activations,
        "weights": weights.astype(np.float32),
        "components": np.ascontiguousarray(parts[:, 0]),
        "negative_components": np.ascontiguousarray(parts[:, 1]) if parts.shape[1] > 1 else None,
        "error": error,
        "clipped": matrix.clipped,
        "contributions": contributions,
        "negatives": matrix.negatives,
        "settings": {**settings, "rounds": rounds},
    }


def _in_memory(activations: Activations) -> Activations:
    if isinstance(activations.values, np.ndarray):
        return activations
    return dataclasses.replace(activations, values=np.asarray(activations.values))


def _accounted(
    matrix: Matrix, weights: np.ndarray, components: np.ndarray
) -> tuple[float, np.ndarray]:
    """The relative norm of what is missed, and by how much its square grows without each factor.

    From inner products with the matrix, and of the factors among themselves: the reconstruction,
    as large as the matrix, is never needed.
    """
    own = np.zeros(len(weights))
    narrow = components.T.astype(np.float32)
    for where, rows in matrix.parts():
        own += np.einsum("kt,tk->k", weights[:, where], rows @ narrow)
    among = (weights @ weights.T) * (components @ components.T)
    left = max(0.0, matrix.energy - 2 * own.sum() + among.sum())
    alone = 2 * (own - among.sum(axis=1)) + np.diag(among)
    return float(np.sqrt(left / matrix.energy)), alone / matrix.energy


def transform(factors: Factors, activations: Activations) -> np.ndarray:
    """(components, tokens), float32, how strongly factors are there in other activations."""
    weights = best_weights(_same_neurons(factors, activations), _flat(factors))
    return np.ascontiguousarray(weights.T, dtype=np.float32)


def match(factors: Factors, other: Factors) -> tuple[np.ndarray, np.ndarray]:
    """Each factor's partner, -1 for none, and the cosine of both; see :meth:`Factors.match`."""
    if not isinstance(other, type(factors)):
        raise TypeError(f"other: got a {type(other).__name__}, accepts Factors")
    mine, theirs = (each.directions.reshape(each.count, -1) for each in (factors, other))
    same = np.array_equal(factors.activations.layers, other.activations.layers)
    if not same or mine.shape[1] != theirs.shape[1]:
        raise ValueError(
            f"other: it is of {other.directions.shape[1:]} (layers, neurons), accepts factors of "
            f"the same {factors.directions.shape[1:]}"
        )
    lengths = np.linalg.norm(mine, axis=1)[:, None] * np.linalg.norm(theirs, axis=1)
    cosines = np.divide(mine @ theirs.T, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    rows, columns = linear_sum_assignment(cosines, maximize=True)
    partners, matched = np.full(factors.count, -1), np.full(factors.count, np.nan)
    partners[rows], matched[rows] = columns, cosines[rows, columns]
    return partners, matched


def stability(factors: Factors, seeds: int) -> np.ndarray:
    """(components,), the mean cosine with the partner in fits from so many random starts."""
    first = int(factors.settings.get("seed", 0)) + 1
    again = [refit(factors, seed) for seed in range(first, first + seeds)]
    return np.asarray(np.mean([match(factors, other)[1] for other in again], axis=0))


def refit(factors: Factors, seed: int) -> Factors:
    """Factorises the same activations from a random start."""
    matrix = Matrix(factors.activations, factors.negatives)
    fields = factorise(matrix, factors.count, "random", {**factors.settings, "seed": seed})
    return dataclasses.replace(factors, **fields)


def _same_neurons(factors: Factors, activations: Activations) -> Matrix:
    """Of the layers that the factors are of."""
    Matrix(activations, factors.negatives)  # whether they are activations at all
    wanted, given = factors.activations.layers.tolist(), activations.layers.tolist()
    width = factors.activations.shape[2]
    if not set(wanted) <= set(given) or activations.shape[2] != width:
        raise ValueError(
            f"activations: they are of layers {given}, {activations.shape[2]} neurons each, "
            f"accepts {width} neurons of layers {wanted}"
        )
    rows = [given.index(layer) for layer in wanted]
    return Matrix(activations.of_layers(rows), factors.negatives)


def _flat(factors: Factors) -> np.ndarray:
    parts = [factors.components, factors.negative_components]
    return np.concatenate(
        [component.reshape(factors.count, -1) for component in parts if component is not None], 1
    )
