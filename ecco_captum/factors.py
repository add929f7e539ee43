r"""Factors of neurons over tokens: non-negative matrix factorisation (NMF)."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from ecco_captum.activations_record import Activations
from ecco_captum.checks import check_whole
from ecco_captum.factor_fits import Start, best_weights, fit_in_parts, fit_whole
from ecco_captum.factor_matrix import Matrix
from ecco_captum.factors_record import Factors, Negatives

# Where more of the energy is negative, clipping it changes what is factorised.
_LARGE_LOSS = 0.1


def nmf(
    activations: Activations,
    n_components: int,
    *,
    layers: Any = None,
    negatives: Negatives = "clip",
    seed: int = 0,
    max_iter: int = 400,
    tol: float = 1e-4,
    memory_budget: int = 2**30,
) -> Factors:
    r"""Finds groups of neurons that fire together (Alammar 2021, section 4; Lee & Seung 1999).

    The activations of all layers at a token are one row of a matrix, which becomes the product of
    weights (tokens × components) and components (components × neurons), with scikit-learn's
    coordinate descent. Only non-negative numbers can be factorised so. GELU's and ReLU's negative
    values are small or none; those of gated layers (SwiGLU, GeGLU) carry much of the energy.

    Args:
        activations (Activations): what ``neurons`` (or ``hidden_states``) returned.
        n_components (int): how many factors.
        layers (slice, int, list of int, optional): rows of ``activations.values`` to factorise
            together. Default: all.
        negatives (str, optional): ``"clip"`` sets negative values to 0, as the paper does;
            ``"split"`` makes two neurons of each, its positive and its negative part, so that
            nothing is lost; ``"abs"`` takes magnitudes. Default: ``"clip"``
        seed (int, optional): of the initialisation (NNDSVD, filled with small random numbers).
        max_iter (int, optional): the most rounds of coordinate descent. Default: 400
        tol (float, optional): stops where a round changes less than this, relative to the first.
            Default: 1e-4
        memory_budget (int, optional): bytes. Of a larger matrix, such as of activations on disk, as
            many tokens as fit are factorised so, and then all of them in mini-batches
            (scikit-learn's ``MiniBatchNMF``), in up to ``max_iter`` passes. Default: 1 GiB

    Returns:
        Factors: weights (components, tokens) and components (components, layers, neurons), ordered
        by energy.

    Raises:
        TypeError: if ``activations`` is none.
        ValueError: if an argument is wrong, or values are not finite.

    Warns:
        UserWarning: if clipping takes more than 10% of the energy, or the fit did not converge.

    Examples::

        >>> factors = nmf(neurons(lm, text), 6, negatives="split")
        >>> factors.weights.shape, factors.components.shape
        ((6, 20), (6, 30, 1536))
        >>> [token for _, token, _ in factors.top_tokens(1, 3)]
        [' chair', ' cabinets', ' cabinet']
    """
    if isinstance(activations, Activations):
        activations = activations.of_layers(layers)
    matrix = Matrix(activations, negatives)
    _check_count(n_components, matrix)
    check_whole("seed", seed, least=0)
    check_whole("max_iter", max_iter)
    check_whole("memory_budget", memory_budget)
    clipped = matrix.clipped
    if clipped > _LARGE_LOSS:
        warnings.warn(
            f"negatives: {clipped:.0%} of the activations' energy is negative and was clipped, as "
            'in gated feed-forward layers; negatives="split" keeps it',
            stacklevel=2,
        )
    settings = {
        "seed": seed,
        "max_iter": max_iter,
        "tol": tol,
        "memory_budget": memory_budget,
    }
    found = _factors(matrix, n_components, "nndsvdar", settings)
    if found.settings["rounds"] >= max_iter:
        warnings.warn(
            f"max_iter: the fit did not converge in {max_iter} rounds; allow more", stacklevel=2
        )
    return found


def transformed(factors: Factors, activations: Activations) -> np.ndarray:
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
    found = best_weights(_same_neurons(factors, activations), _flat(factors))
    return np.ascontiguousarray(found.T, dtype=np.float32)


def matched(factors: Factors, other: Factors) -> tuple[np.ndarray, np.ndarray]:
    """Each factor's partner, -1 for none, and the cosine of both; see :meth:`Factors.match`."""
    if not isinstance(other, Factors):
        raise TypeError(f"other: got a {type(other).__name__}, accepts Factors")
    mine, theirs = (one.directions.reshape(one.count, -1) for one in (factors, other))
    same = np.array_equal(factors.activations.layers, other.activations.layers)
    if not same or mine.shape[1] != theirs.shape[1]:
        raise ValueError(
            f"other: it is of {other.directions.shape[1:]} (layers, neurons), accepts factors of "
            f"the same {factors.directions.shape[1:]}"
        )
    lengths = np.linalg.norm(mine, axis=1)[:, None] * np.linalg.norm(theirs, axis=1)
    cosines = np.divide(mine @ theirs.T, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    rows, columns = linear_sum_assignment(cosines, maximize=True)
    partners, found = np.full(factors.count, -1), np.full(factors.count, np.nan)
    partners[rows], found[rows] = columns, cosines[rows, columns]
    return partners, found


def found_again(factors: Factors, seeds: int) -> np.ndarray:
    """(components,), the mean cosine with the partner in fits from so many random starts."""
    first = int(factors.settings.get("seed", 0)) + 1
    again = [refitted(factors, seed) for seed in range(first, first + seeds)]
    return np.asarray(np.mean([matched(factors, other)[1] for other in again], axis=0))


def refitted(factors: Factors, seed: int) -> Factors:
    r"""Factorises the same activations from a random start.

    Args:
        factors (Factors): what is fitted anew.
        seed (int): of the start.

    Returns:
        Factors: as many as before.
    """
    matrix = Matrix(factors.activations, factors.negatives)
    return _factors(matrix, factors.count, "random", {**factors.settings, "seed": seed})


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
    return np.concatenate([one.reshape(factors.count, -1) for one in parts if one is not None], 1)


def _check_count(count: int, matrix: Matrix) -> None:
    check_whole("n_components", count)
    tokens, neurons = matrix.shape
    if count > min(tokens, neurons):
        raise ValueError(
            f"n_components: got {count}, accepts up to {min(tokens, neurons)}: there are {tokens} "
            f"tokens and {neurons} neurons"
        )


def _factors(matrix: Matrix, count: int, start: Start, settings: dict[str, Any]) -> Factors:
    """Fitted, ordered by energy, with components of unit length."""
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
    return Factors(
        activations=matrix.activations,
        weights=weights.astype(np.float32),
        components=np.ascontiguousarray(parts[:, 0]),
        negative_components=np.ascontiguousarray(parts[:, 1]) if parts.shape[1] > 1 else None,
        error=error,
        clipped=matrix.clipped,
        contributions=contributions,
        negatives=matrix.negatives,
        settings={**settings, "rounds": rounds},
    )


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
