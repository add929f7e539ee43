r"""Factors of neurons over tokens: non-negative matrix factorisation (NMF)."""

from __future__ import annotations

import warnings
from typing import Any

from ecco_captum.activations.record import Activations
from ecco_captum.core.checks import Negatives, check_whole
from ecco_captum.corpus.engines import Engine, EngineName, engine_of
from ecco_captum.factors.fits import Matrix, factorise
from ecco_captum.factors.record import Factors

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
    engine: Engine | EngineName = "local",
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
            many tokens as fit are factorised so, which gives components to start from; then up to
            ``max_iter`` passes over all tokens find the best weights for the components, piece by
            piece, and better components for these weights. Default: 1 GiB
        engine (str or RayEngine, optional): where a matrix beyond ``memory_budget`` is read:
            ``"local"`` in this process; ``"ray"``, or a :class:`RayEngine`, by many, which reach
            the activations on disk under the same path. The factors are the same to the last bit,
            whatever the engine and its workers. Default: ``"local"``

    Returns:
        Factors: weights (components, tokens) and components (components, layers, neurons), ordered
        by energy.

    Raises:
        ImportError: if Ray is missing, with ``engine="ray"``.
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
    where = engine_of(engine)
    matrix = Matrix(activations, negatives)
    _check_count(n_components, matrix)
    check_whole("seed", seed, least=0)
    check_whole("max_iter", max_iter)
    check_whole("memory_budget", memory_budget)
    if matrix.nbytes > memory_budget:
        matrix = Matrix(activations, negatives, where)
    settings = {"seed": seed, "max_iter": max_iter, "tol": tol, "memory_budget": memory_budget}
    with matrix.engine.session():
        clipped = matrix.clipped
        if clipped > _LARGE_LOSS:
            warnings.warn(
                f"negatives: {clipped:.0%} of the activations' energy is negative and was clipped, "
                'as in gated feed-forward layers; negatives="split" keeps it',
                stacklevel=2,
            )
        factors = Factors(**factorise(matrix, n_components, "nndsvdar", settings))
    if factors.settings["rounds"] >= max_iter:
        warnings.warn(
            f"max_iter: the fit did not converge in {max_iter} rounds; allow more", stacklevel=2
        )
    return factors


def _check_count(count: int, matrix: Matrix) -> None:
    check_whole("n_components", count)
    tokens, neurons = matrix.shape
    if count > min(tokens, neurons):
        raise ValueError(
            f"n_components: got {count}, accepts up to {min(tokens, neurons)}: there are {tokens} "
            f"tokens and {neurons} neurons"
        )
