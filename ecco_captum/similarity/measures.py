r"""How alike two representations of the same tokens are: CCA, SVCCA, PWCCA and CKA."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, overload

import numpy as np

from ecco_captum.similarity.canonical import (
    Whitened,
    projection_weights,
    published_weights,
    variates,
)
from ecco_captum.similarity.from_sums import CCA, CKA, PWCCA, SVCCA, Definition, Kernel, WeightBy
from ecco_captum.similarity.layers import (
    check_enough,
    compared_pair,
    lift_directions,
    reduce_features,
    warn_if_few,
)
from ecco_captum.similarity.pairwise import pair_value, prepared_pair
from ecco_captum.similarity.record import CanonicalCorrelations
from ecco_captum.similarity.sums import CrossSums

_Prepared = tuple[Whitened, Whitened, CrossSums]


@overload
def cca(x: Any, y: Any, *, full: Literal[False] = False) -> float: ...
@overload
def cca(x: Any, y: Any, *, full: Literal[True]) -> CanonicalCorrelations: ...
def cca(x: Any, y: Any, *, full: bool = False) -> float | CanonicalCorrelations:
    r"""Returns the mean canonical correlation (Hotelling 1936; Raghu et al. 2017).

    The k-th canonical correlation is the largest correlation between a direction of x and one of y,
    uncorrelated with the ones before it. It is 1 where one representation is an invertible linear
    map of the other, so neither rotations nor scales of single neurons matter. By chance alone it
    is high where there are few tokens for each feature: see :func:`compare` for its null.

    Args:
        x (array, Tensor or Activations): (tokens, features), more tokens than features; of
            Activations, those of one layer, in memory or on disk.
        y (array, Tensor or Activations): the same of the same tokens; its width may be another.
        full (bool, optional): whether to return the correlations and their directions, too.
            Default: ``False``

    Returns:
        float or CanonicalCorrelations: the mean over the smaller one's directions, 0 to 1. Constant
        features and directions that are rounding are no directions.

    Raises:
        TypeError: if an argument is none of these.
        ValueError: if they are not of the same tokens, hold NaN or infinity, are constant, or have
            no more tokens than features (it would be 1 whatever the data).

    Warns:
        UserWarning: if there are fewer than 10 tokens for each feature.

    Examples::

        >>> x = np.random.default_rng(0).normal(size=(1000, 3))
        >>> round(cca(x, x @ [[1, 2, 0], [0, 1, 5], [0, 0, 1]]), 6)  # an invertible linear map of x
        1.0
        >>> noise = np.random.default_rng(1).normal(size=(1000, 3))
        >>> round(cca(x, noise), 2)
        0.05
    """
    pair = compared_pair(x, y)
    check_enough(*pair)
    if full:
        return _full(prepared_pair(*pair, CCA()))
    return pair_value(*pair, CCA())


@overload
def svcca(
    x: Any, y: Any, *, variance: float = 0.99, dims: int | None = None, full: Literal[False] = False
) -> float: ...
@overload
def svcca(
    x: Any, y: Any, *, variance: float = 0.99, dims: int | None = None, full: Literal[True]
) -> CanonicalCorrelations: ...
def svcca(
    x: Any, y: Any, *, variance: float = 0.99, dims: int | None = None, full: bool = False
) -> float | CanonicalCorrelations:
    r"""Returns the mean canonical correlation of leading singular directions (Raghu et al. 2017).

    It is not blind to linear maps, which change what leads: only to rotations, shifts and a common
    scale. A value of 1 says that the leading directions span the same, not that the representations
    are linear maps of each other.

    Args:
        x (array, Tensor or Activations): (tokens, features), as in :func:`cca`.
        y (array, Tensor or Activations): the same of the same tokens.
        variance (float, optional): keeps as many directions as hold this part of the variance.
            Default: 0.99
        dims (int, optional): keeps so many directions instead.
        full (bool, optional): as in :func:`cca`. Default: ``False``

    Returns:
        float or CanonicalCorrelations: the mean over the smaller number of directions, 0 to 1.

    Raises:
        TypeError: if an argument is none of these.
        ValueError: as in :func:`cca`, and if there are fewer directions than ``dims``, or no more
            tokens than directions.

    Warns:
        UserWarning: if there are fewer than 10 tokens for each direction.

    Examples::

        >>> x = np.random.default_rng(0).normal(size=(1000, 3)) * [10, 1, 0.1]
        >>> round(svcca(x, x[:, ::-1], dims=2), 6), round(svcca(x, x[:, 1:], dims=1), 1)
        (1.0, 0.0)
    """
    left, right = compared_pair(x, y)
    measure = SVCCA(variance=variance, dims=dims)
    narrow = reduce_features(left), reduce_features(right)
    prepared = prepared_pair(*narrow, measure)
    most = max(prepared[0].rank, prepared[1].rank)
    warn_if_few(left, right, most, "directions", depth=3)
    if not full:
        return measure.values(*prepared)[0]
    correlations = _full(prepared)
    directions = (correlations.x_directions, correlations.y_directions)
    of_x, of_y = map(lift_directions, (left, right), narrow, directions)
    return replace(correlations, x_directions=of_x, y_directions=of_y)


@overload
def pwcca(
    x: Any,
    y: Any,
    *,
    weight_by: WeightBy = "x",
    definition: Definition = "paper",
    full: Literal[False] = False,
) -> float: ...
@overload
def pwcca(
    x: Any,
    y: Any,
    *,
    weight_by: WeightBy = "x",
    definition: Definition = "paper",
    full: Literal[True],
) -> CanonicalCorrelations: ...
def pwcca(
    x: Any,
    y: Any,
    *,
    weight_by: WeightBy = "x",
    definition: Definition = "paper",
    full: bool = False,
) -> float | CanonicalCorrelations:
    r"""Returns the mean of canonical correlations weighed by what they account for.

    Projection-weighted CCA (Morcos et al. 2018, equation 2): a correlation's weight is the sum over
    neurons of the magnitude of ⟨canonical variate, neuron⟩, in the representation that weighs. So
    it is not symmetric: ``weight_by`` says whose neurons count. Like CCA it is 1 where one
    representation is an invertible linear map of the other.

    Args:
        x (array, Tensor or Activations): (tokens, features), as in :func:`cca`.
        y (array, Tensor or Activations): the same of the same tokens.
        weight_by (str, optional): ``"x"``, ``"y"``, or the ``"mean"`` of both. Default: ``"x"``
        definition (str, optional): ``"paper"``, or ``"published"`` for what the authors' published
            code computes of centred features: it projects neurons on other directions than the
            canonical variates. Default: ``"paper"``
        full (bool, optional): as in :func:`cca`. Default: ``False``

    Returns:
        float or CanonicalCorrelations: 0 to 1.

    Raises:
        TypeError: if an argument is none of these.
        ValueError: as in :func:`cca`, and if an option is none of these.

    Warns:
        UserWarning: if there are fewer than 10 tokens for each feature.

    Examples::

        >>> x, noise = np.random.default_rng(0).normal(size=(2, 1000, 2))
        >>> y = np.column_stack([x[:, 0], noise[:, 0]])  # one direction of two is shared
        >>> round(cca(x, y), 2), round(pwcca(x, y), 2), round(pwcca(x * [10, 1], y), 2)
        (0.5, 0.52, 0.91)
    """
    pair = compared_pair(x, y)
    measure = PWCCA(weight_by=weight_by, definition=definition)
    check_enough(*pair)
    if not full:
        return pair_value(*pair, measure)
    rule = projection_weights if definition == "paper" else published_weights
    return _full(prepared_pair(*pair, measure), rule, weight_by)


def cka(
    x: Any,
    y: Any,
    *,
    kernel: Kernel = "linear",
    debiased: bool = True,
    bandwidth: float | None = None,
) -> float:
    r"""Returns the centred kernel alignment (Kornblith et al. 2019, equation 1).

    It compares which tokens are near to which, and is blind to rotations, shifts and a common
    scale; other linear maps change it. A value of 1 says that distances agree up to a scale.

    Args:
        x (array, Tensor or Activations): (tokens, features), as in :func:`cca`; there may be more
            features than tokens.
        y (array, Tensor or Activations): the same of the same tokens.
        kernel (str, optional): ``"linear"``, or ``"rbf"`` for exp(-d² / (2 σ²)), which needs every
            pair of tokens and so takes arrays in memory. Default: ``"linear"``
        debiased (bool, optional): whether the Hilbert–Schmidt independence criterion is estimated
            without bias (Song et al. 2012; Nguyen et al. 2021). The biased estimate nears 1 where
            there are few tokens for each feature, whatever the data. Default: ``True``
        bandwidth (float, optional): σ² of ``"rbf"``. Default: of each, the median of the squared
            distances between tokens

    Returns:
        float: 0 to 1; debiased, it may be a little below 0, where there is nothing in common.

    Raises:
        TypeError: if an argument is none of these.
        ValueError: if they are not of the same tokens, hold NaN or infinity, are constant, or have
            fewer than 4 tokens, or an option is none of these.

    Examples::

        >>> x = np.random.default_rng(0).normal(size=(1000, 3))
        >>> round(cka(x, 2 * x[:, ::-1]), 6), round(cka(x, x * [10, 1, 1]), 1)
        (1.0, 0.6)
    """
    left, right = compared_pair(x, y)
    if left.tokens < 4:
        raise ValueError(f"x, y: they have {left.tokens} tokens, accepts 4 or more")
    measure = CKA(kernel=kernel, debiased=debiased, bandwidth=bandwidth)
    if kernel == "linear":
        left, right = reduce_features(left), reduce_features(right)
    return pair_value(left, right, measure)


def _full(
    prepared: _Prepared, rule: Callable[..., np.ndarray] | None = None, weight_by: WeightBy = "x"
) -> CanonicalCorrelations:
    of_x, of_y, cross = prepared
    pair = variates(of_x, of_y, cross)
    count = len(pair.correlations)
    weights = np.full(count, 1 / count)
    if rule is not None:
        both = rule(of_x, pair.of_x), rule(of_y, pair.of_y)
        weights = {"x": both[0], "y": both[1], "mean": (both[0] + both[1]) / 2}[weight_by]
    return CanonicalCorrelations(
        value=float(pair.correlations @ weights),
        correlations=pair.correlations,
        x_directions=of_x.directions(pair.of_x),
        y_directions=of_y.directions(pair.of_y),
        weights=weights,
    )
