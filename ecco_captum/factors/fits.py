r"""Fits of a non-negative matrix by scikit-learn: in memory or beyond; stability of factors."""

from __future__ import annotations

import dataclasses
import operator
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial, reduce
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import non_negative_factorization
from sklearn.exceptions import ConvergenceWarning
from tqdm.auto import tqdm

from ecco_captum.activations.record import Activations
from ecco_captum.core.checks import Negatives
from ecco_captum.core.stored_array import StoredValues, pieces_of
from ecco_captum.core.threads import one_thread_each
from ecco_captum.corpus.engines import Engine, LocalEngine

if TYPE_CHECKING:
    from ecco_captum.factors.record import Factors

T = TypeVar("T")
S = TypeVar("S", bound=Any)


@dataclass(frozen=True)
class Rows:
    """The numbers of a matrix alone, which workers are sent: values (layers, tokens, neurons)."""

    values: np.ndarray | StoredValues
    negatives: Negatives

    def read(self, run: slice) -> np.ndarray:
        """(tokens, columns) of a run of tokens."""
        values = np.asarray(self.values[:, run], dtype=np.float32)
        if not np.isfinite(values).all():
            raise ValueError("activations: they hold NaN or infinity, accepts finite values")
        flat = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)
        if self.negatives == "abs":
            return np.abs(flat)
        above = np.maximum(flat, 0)
        if self.negatives == "clip":
            return above
        return np.concatenate([above, np.maximum(-flat, 0)], axis=1)


@dataclass(frozen=True)
class Matrix:
    """(tokens, columns), float32, not negative; columns are the neurons of all layers in turn.

    ``negatives`` says what becomes of negative values: "clip", "split" or "abs"; ``engine`` reads
    what is read piece by piece.
    """

    activations: Activations
    negatives: Negatives
    engine: Engine = field(default_factory=LocalEngine)

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

    @property
    def rows(self) -> Rows:
        """Its numbers, read where they are asked for."""
        return Rows(self.activations.values, self.negatives)

    @cached_property
    def whole(self) -> np.ndarray:
        """All of it at once."""
        return self.rows.read(slice(None))

    def total(self, work: Callable[[Rows, slice], S]) -> S:
        """Adds up what some work makes of each run of rows, in an order that is always the same."""
        function = partial(_sum_of_runs, self.rows, work, self._run)
        return self.engine.total(function, self.pieces, operator.add)

    def each(self, work: Callable[[Rows, slice], T]) -> Iterator[tuple[slice, list[T]]]:
        """Pieces, in order, and what some work makes of each run of their rows."""
        function = partial(_of_runs, self.rows, work, self._run)
        return zip(self.pieces, self.engine.map(function, self.pieces), strict=True)

    @property
    def pieces(self) -> list[slice]:
        """Runs of tokens; engines work on each by itself."""
        return pieces_of(self.activations.values, slice(0, self.shape[0]), _PIECE)

    @property
    def _run(self) -> int:
        """How many rows are read together."""
        return max(1, min(_ROWS, _RUN_BYTES // (4 * self.shape[1])))

    @cached_property
    def energies(self) -> tuple[float, float]:
        """Sums of squares: of all activations, and of the negative ones among them."""
        total, below = self.total(_energies).tolist()
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


def _energies(rows: Rows, run: slice) -> np.ndarray:
    values = np.asarray(rows.values[:, run], dtype=np.float64)
    return np.array([np.square(values).sum(), np.square(np.minimum(values, 0)).sum()])


def _of_runs(rows: Rows, work: Callable[[Rows, slice], T], size: int, piece: slice) -> list[T]:
    """What some work makes of each run of so many rows of a piece."""
    starts = range(piece.start, piece.stop, size)
    runs = [slice(start, min(start + size, piece.stop)) for start in starts]
    with one_thread_each() as each:
        return each(partial(work, rows), runs)


def _sum_of_runs(rows: Rows, work: Callable[[Rows, slice], S], size: int, piece: slice) -> S:
    return reduce(operator.add, _of_runs(rows, work, size, piece))


Start = Literal["nndsvdar", "random"]

_LOUDEST = 8192  # neurons of the first descent from a random start
_ROWS = 1024  # whose weights are sought together, at most
_RUN_BYTES = 2**26  # of such a run of rows
_PIECE = 2**13  # tokens that are worked on together, at least
_SWEEPS = 10  # of the components in a pass, at most
_MOST_SWEEPS = 400  # of weights
_STILL = 1e-5  # a sweep that changes less than this part of the largest change is the last
_GAIN = 1e-3  # a pass that lowers the error by less than this part of itself is the last
_TINY = float(np.finfo(np.float32).tiny)

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
    components = _best(rows.T, np.ascontiguousarray(weights.T))[0].astype(rows.dtype)
    return _descended(rows, init="custom", W=weights, H=components, **options)


def fit_in_parts(
    matrix: Matrix,
    count: int,
    start: Start,
    *,
    seed: int,
    max_iter: int,
    memory_budget: int,
) -> tuple[np.ndarray, int]:
    """Fits as many rows as memory holds, then all of them in passes over pieces.

    Coordinate descent on random runs of rows finds where to start. In a pass an engine finds the
    best weights of each piece for the components as they are, and adds up what the best components
    for these weights depend on, :class:`Statistics`; then the components descend, so that no pass
    raises the error. They go on until one lowers it by less than a thousandth of itself, at most
    ``max_iter``. Returns components (components, columns), and how many passes.
    """
    tokens, columns = matrix.shape
    firsts = np.arange(0, tokens, _ROWS)
    rng = np.random.default_rng(seed)
    fitting = max(memory_budget // (4 * columns * _ROWS), -(-count // _ROWS), 1)
    chosen = np.sort(rng.permutation(firsts)[:fitting])
    options = {"n_components": count, "init": start, "random_state": seed, "max_iter": max_iter}
    components = _descended(_gathered(matrix, chosen), **options)[1].astype(np.float64)
    error, passes = np.inf, 0
    with tqdm(desc="Factorising", unit=" passes", leave=False, disable=None) as bar:
        while passes < max_iter:
            statistics = matrix.total(partial(_statistics, components.astype(np.float32)))
            before, error = error, statistics.error(components)
            components = descended(statistics.within, statistics.products, components, _SWEEPS)
            passes += 1
            bar.update()
            bar.set_postfix(error=f"{error:.4f}")
            if np.isfinite(before) and before - error <= _GAIN * before:
                break
    return components.astype(np.float32), passes


@dataclass(frozen=True)
class Statistics:
    r"""What the best components for some rows' weights depend on, and how the present ones fit.

    Args:
        within (array): (components, components), sum over rows of the products of weights.
        products (array): (components, columns), sum over rows of weight × row.
        energy (float): the sum of squares of the rows.
    """

    within: np.ndarray
    products: np.ndarray
    energy: float

    def __add__(self, other: Statistics) -> Statistics:
        """Of the rows of both."""
        return Statistics(
            self.within + other.within,
            self.products + other.products,
            self.energy + other.energy,
        )

    def error(self, components: np.ndarray) -> float:
        """The norm of what is missed, over that of the rows."""
        among = self.within * (components @ components.T)
        missed = self.energy - 2 * float(np.vdot(self.products, components)) + float(among.sum())
        return float(np.sqrt(max(0.0, missed) / max(self.energy, _TINY)))


def _statistics(components: np.ndarray, rows: Rows, run: slice) -> Statistics:
    """Of a run of rows, with the best weights for the components."""
    read = rows.read(run)
    weights, _ = _best(read, components)
    energy = float(np.einsum("tc,tc->", read, read, dtype=np.float64))
    return Statistics(
        weights @ weights.T, (weights.astype(np.float32) @ read).astype(np.float64), energy
    )


def weighed(matrix: Matrix, components: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weights that fit best to components, (components, columns).

    Returns them, (components, tokens), float32; and (components,), the inner products of the matrix
    with each weight × component.
    """
    weights = np.empty((len(components), matrix.shape[0]), np.float32)
    own = np.zeros(len(components))
    for piece, made in matrix.each(partial(_weighed, components)):
        weights[:, piece] = np.concatenate([some for some, _ in made], axis=1)
        own += sum(inner for _, inner in made)
    return weights, own


def _weighed(components: np.ndarray, rows: Rows, run: slice) -> tuple[np.ndarray, np.ndarray]:
    weights, products = _best(rows.read(run), components)
    return weights.astype(np.float32), _inner(weights, products)


def _best(rows: np.ndarray, components: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best weights for components, (components, columns), and the components' products.

    Both are (components, rows), float64.
    """
    wide = components.astype(np.float64)
    products = (components @ rows.T).astype(np.float64)
    average = np.sqrt(max(0.0, float(rows.mean())) / len(components))
    first = np.full_like(products, average)
    return descended(wide @ wide.T, products, first, _MOST_SWEEPS), products


def descended(
    within: np.ndarray, products: np.ndarray, first: np.ndarray, sweeps: int
) -> np.ndarray:
    r"""Descends on one factor of a matrix while the other is fixed (Cichocki & Phan 2009).

    With the other's rows :math:`h` and the matrix's columns :math:`x`, ``within`` are the products
    :math:`h \cdot h'`, (components, components), and ``products`` are :math:`h \cdot x`,
    (components, columns). Each sweep sets one component after the other to its best non-negative
    values, until a sweep changes less than 1e-5 of what the first one did.
    """
    values, largest = first.copy(), 0.0
    for _ in range(sweeps):
        change = 0.0
        for k, length in enumerate(np.diag(within)):
            if length > 0:
                step = (products[k] - within[k] @ values) / length
                own = np.maximum(values[k] + step, 0)
                change += float(np.abs(own - values[k]).sum())
                values[k] = own
        largest = max(largest, change)
        if change <= _STILL * largest:
            break
    return values


def _gathered(matrix: Matrix, firsts: np.ndarray) -> np.ndarray:
    """The rows of some runs, in memory once."""
    tokens, columns = matrix.shape
    ends = np.minimum(firsts + _ROWS, tokens)
    places = np.cumsum([0, *(ends - firsts)])
    gathered = np.empty((places[-1], columns), np.float32)
    for first, end, place in zip(firsts, ends, places[:-1], strict=True):
        gathered[place : place + end - first] = matrix.rows.read(slice(first, end))
    return gathered


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
        components, rounds = fit_in_parts(matrix, count, start, memory_budget=budget, **chosen)
        weights, own = weighed(matrix, components)
    else:
        matrix = Matrix(_in_memory(matrix.activations), matrix.negatives)
        fitted, components, rounds = fit_whole(matrix, count, start, tol=settings["tol"], **chosen)
        weights, own = fitted.T, _inner(fitted.T, components @ matrix.whole.T)
    components = components.astype(np.float64)
    lengths = np.linalg.norm(components, axis=1)
    components /= np.maximum(lengths, np.finfo(np.float64).tiny)[:, None]
    weights = weights * lengths[:, None]
    order = np.argsort(-np.square(weights).sum(axis=1), kind="stable")
    weights, components, own = weights[order], components[order], own[order]
    error, contributions = _accounted(matrix.energy, own, weights, components)
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
    energy: float, own: np.ndarray, weights: np.ndarray, components: np.ndarray
) -> tuple[float, np.ndarray]:
    """The relative norm of what is missed, and by how much its square grows without each factor.

    From inner products with the matrix, (components,), and of the factors among themselves: the
    reconstruction, as large as the matrix, is never needed.
    """
    among = (weights @ weights.T) * (components @ components.T)
    left = max(0.0, energy - 2 * own.sum() + among.sum())
    alone = 2 * (own - among.sum(axis=1)) + np.diag(among)
    return float(np.sqrt(left / energy)), alone / energy


def _inner(weights: np.ndarray, products: np.ndarray) -> np.ndarray:
    """(components,), inner products of weights and products, (components, tokens)."""
    return np.asarray(np.einsum("kt,kt->k", weights, products, dtype=np.float64))


def transform(factors: Factors, activations: Activations) -> np.ndarray:
    """(components, tokens), float32, how strongly factors are there in other activations."""
    return weighed(_same_neurons(factors, activations), _flat(factors))[0]


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
