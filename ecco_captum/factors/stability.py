r"""Whether factors are there again: in other activations, and in fits from other starts."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

from ecco_captum.activations.record import Activations
from ecco_captum.factors.fits import Matrix, best_weights, factorise

if TYPE_CHECKING:
    from ecco_captum.factors.record import Factors


def transform(factors: Factors, activations: Activations) -> np.ndarray:
    r"""Returns how strongly factors are there in other activations of the same neurons.

    Args:
        factors (Factors): their components stay as they are.
        activations (Activations): of any text.

    Returns:
        array: (components, tokens), float32, the weights that fit best.

    Raises:
        TypeError: if ``activations`` is none.
        ValueError: if they are of other layers or neurons, or not finite.
    """
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
    r"""Factorises the same activations from a random start.

    Args:
        factors (Factors): what is fitted anew.
        seed (int): of the start.

    Returns:
        Factors: as many as before.
    """
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
