r"""Factors of neurons over tokens: non-negative matrix factorisation (NMF)."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any, get_args

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import non_negative_factorization
from sklearn.exceptions import ConvergenceWarning

from ecco_captum.activations_record import Activations
from ecco_captum.arguments import check_whole, chosen_numbers
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

    Returns:
        Factors: weights (components, tokens) and components (components, layers, neurons), ordered
        by energy.

    Raises:
        TypeError: if ``activations`` is none.
        ValueError: if an argument is wrong, or values are not finite.

    Warns:
        UserWarning: if clipping takes more than 10% of the energy, or the fit did not converge.

    Examples::

        >>> factors = nmf(neurons(lm, text), 8, negatives="split")
        >>> factors.top_tokens(0, 3)
    """
    matrix, kept, clipped = _matrix(activations, layers, negatives)
    most = min(matrix.shape)
    check_whole("n_components", n_components)
    if n_components > most:
        raise ValueError(
            f"n_components: got {n_components}, accepts up to {most}: there are {matrix.shape[0]} "
            f"tokens and {matrix.shape[1]} neurons"
        )
    check_whole("seed", seed, least=0)
    check_whole("max_iter", max_iter)
    if clipped > _LARGE_LOSS:
        warnings.warn(
            f"negatives: {clipped:.0%} of the activations' energy is negative and was clipped, as "
            'in gated feed-forward layers; negatives="split" keeps it',
            stacklevel=2,
        )
    options = {"init": "nndsvdar", "random_state": seed, "max_iter": max_iter, "tol": tol}
    weights, components, rounds = _fitted(matrix, n_components=n_components, **options)
    if rounds >= max_iter:
        warnings.warn(
            f"max_iter: the fit did not converge in {max_iter} rounds; allow more",
            stacklevel=2,
        )
    return _factors(
        kept,
        matrix,
        (weights.T, components),
        (clipped, negatives),
        {"seed": seed, "max_iter": max_iter, "tol": tol, "rounds": int(rounds)},
    )


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
    matrix = _same_neurons(factors, activations)
    components = _flat(factors)
    found = _fitted(
        matrix, H=components, n_components=factors.count, init=None, update_H=False, max_iter=400
    )
    return np.ascontiguousarray(found[0].T, dtype=np.float32)


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
    matrix = _same_neurons(factors, factors.activations)
    settings = {**factors.settings, "seed": seed}
    weights, components, rounds = _fitted(
        matrix,
        n_components=factors.count,
        init="random",
        random_state=seed,
        max_iter=settings["max_iter"],
        tol=settings["tol"],
    )
    read = (factors.clipped, factors.negatives)
    found = (weights.T, components)
    return _factors(factors.activations, matrix, found, read, {**settings, "rounds": int(rounds)})


def _fitted(matrix: np.ndarray, **options: Any) -> tuple[np.ndarray, np.ndarray, int]:
    with warnings.catch_warnings():
        # Whether it converged is seen by the rounds.
        warnings.simplefilter("ignore", ConvergenceWarning)
        weights, components, rounds = non_negative_factorization(matrix, **options)
    return weights, components, int(rounds)


def _same_neurons(factors: Factors, activations: Activations) -> np.ndarray:
    """(tokens, layers × neurons) of the layers that the factors are of."""
    if not isinstance(activations, Activations):
        raise TypeError(
            f"activations: got a {type(activations).__name__}, accepts what neurons() returns"
        )
    wanted, given = factors.activations.layers.tolist(), activations.layers.tolist()
    width = factors.activations.shape[2]
    if not set(wanted) <= set(given) or activations.shape[2] != width:
        raise ValueError(
            f"activations: they are of layers {given}, {activations.shape[2]} neurons each, "
            f"accepts {width} neurons of layers {wanted}"
        )
    rows = [given.index(layer) for layer in wanted]
    return _matrix(activations, rows, factors.negatives)[0]


def _flat(factors: Factors) -> np.ndarray:
    parts = [factors.components, factors.negative_components]
    return np.concatenate([one.reshape(factors.count, -1) for one in parts if one is not None], 1)


def _matrix(
    activations: Activations, layers: Any, negatives: str
) -> tuple[np.ndarray, Activations, float]:
    """(tokens, layers × neurons), float32, not negative; what it is of; and the energy lost."""
    if not isinstance(activations, Activations):
        raise TypeError(
            f"activations: got a {type(activations).__name__}, accepts what neurons() returns"
        )
    if negatives not in get_args(Negatives):
        accepted = ", ".join(map(repr, get_args(Negatives)))
        raise ValueError(f"negatives: got {negatives!r}, accepts {accepted}")
    rows = chosen_numbers("layers", layers, len(activations.layers))
    values = np.asarray(activations.values[rows], dtype=np.float32)
    if not np.isfinite(values).all():
        raise ValueError("activations: they hold NaN or infinity, accepts finite values")
    kept = dataclasses.replace(activations, values=values, layers=activations.layers[rows])
    flat = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)
    below = np.minimum(flat, 0)
    total = float(np.square(flat, dtype=np.float64).sum())
    if not total:
        raise ValueError("activations: they are all zero, accepts some that are not")
    lost = float(np.square(below, dtype=np.float64).sum()) / total
    if negatives == "abs":
        return np.abs(flat), kept, 0.0
    above = flat - below
    if negatives == "split":
        return np.concatenate([above, -below], axis=1), kept, 0.0
    return above, kept, lost


def _factors(
    activations: Activations,
    matrix: np.ndarray,
    found: tuple[np.ndarray, np.ndarray],
    read: tuple[float, Negatives],
    settings: dict[str, Any],
) -> Factors:
    """Ordered by energy, with components of unit length."""
    weights, components = (one.astype(np.float64) for one in found)
    lengths = np.linalg.norm(components, axis=1)
    weights *= lengths[:, None]
    components /= np.maximum(lengths, np.finfo(np.float64).tiny)[:, None]
    order = np.argsort(-np.square(weights).sum(axis=1), kind="stable")
    weights, components = weights[order], components[order]
    total = float(np.square(matrix, dtype=np.float64).sum())
    # Inner products with the matrix, and of the factors among themselves: the reconstruction
    # itself, as large as the matrix, is never needed.
    own = np.einsum("kt,kt->k", weights, (matrix @ components.T.astype(matrix.dtype)).T)
    among = (weights @ weights.T) * (components @ components.T)
    left = max(0.0, total - 2 * own.sum() + among.sum())
    alone = 2 * (own - among.sum(axis=1)) + np.diag(among)
    layers, _, neurons = activations.shape
    parts = components.reshape(len(components), -1, layers, neurons).astype(np.float32)
    return Factors(
        activations=activations,
        weights=weights.astype(np.float32),
        components=np.ascontiguousarray(parts[:, 0]),
        negative_components=np.ascontiguousarray(parts[:, 1]) if parts.shape[1] > 1 else None,
        error=float(np.sqrt(left / total)),
        clipped=read[0],
        contributions=alone / total,
        negatives=read[1],
        settings=settings,
    )
