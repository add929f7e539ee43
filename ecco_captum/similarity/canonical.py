r"""Canonical correlations from sums over tokens: CCA, SVCCA and PWCCA.

A layer is whitened once; of a pair there is only left to take the singular values of the product of
two whitened layers. Where features are so nearly dependent that sums of their products lose digits,
they are read again in axes in which they are not, as in CholeskyQR2 (Yamamoto et al. 2015).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ecco_captum.similarity.sums import CrossSums, Frame, Layer, Sums, accumulate

if TYPE_CHECKING:
    from ecco_captum.corpus.engines import Engine

# A direction with less spread than this many roundings, over that of standardised features, is
# rounding itself.
_ROUNDINGS = 32
_FINEST = 1e-11
# Products of coordinates whose spreads differ by more lose more than nine digits of sixteen.
_STEEPEST = 3e3
_FLATTENED = 1e-5
_PASSES = 3


@dataclass(frozen=True)
class Whitened:
    r"""A layer in axes in which it has orthonormal columns.

    Args:
        frame (Frame): the coordinates that it is read in.
        axes (array): (coordinates, rank); the centred coordinates times these are the columns.
        mean (array): (coordinates,), of the tokens.
        back (array or tuple of array): (rank, features); the columns times these are the centred
            features. Or what the axes are multiplied with to be that, turned over: (coordinates,)
            and (rank,).
    """

    frame: Frame
    axes: np.ndarray
    mean: np.ndarray
    back: np.ndarray | tuple[np.ndarray, np.ndarray]

    @property
    def features(self) -> np.ndarray:
        """(rank, features); the columns times these are the centred features."""
        if isinstance(self.back, np.ndarray):
            return self.back
        rows, columns = self.back
        return np.asarray((rows[:, None] * self.axes * columns).T)

    @property
    def rank(self) -> int:
        """How many columns there are."""
        return self.axes.shape[1]

    def directions(self, columns: np.ndarray) -> np.ndarray:
        """(features, k): the centred features times these are the columns times ``columns``."""
        own = self.frame.scale * (self.axes @ columns)
        return own if self.frame.axes is None else np.asarray(self.frame.axes @ own)


def whitened(layer: Layer, frame: Frame, sums: Sums, engine: Engine | None = None) -> Whitened:
    """Whitens a layer, without features that are constant and directions that are rounding.

    Where it has to be read again, an engine may do so.
    """
    tolerance = max(_FINEST, _ROUNDINGS * layer.precision)
    scale = _scale(layer, frame, sums)
    varying = scale > 0
    # From coordinates to standardised features, and back.
    back = np.diag(scale)[varying]
    axes = np.divide(1.0, back.T, out=np.zeros_like(back.T), where=back.T > 0)
    gram = axes.T @ sums.centred @ axes / sums.count
    for turn in range(_PASSES):
        values, vectors = np.linalg.eigh(gram)
        root = np.sqrt(np.maximum(values, 0))
        kept = root > tolerance * np.linalg.norm(scale[:, None] * (axes @ vectors), axis=0)
        if root[kept].max() <= _STEEPEST * root[kept].min() or turn == _PASSES - 1:
            break
        flat = np.maximum(root, _FLATTENED * root.max())
        axes, back = axes @ (vectors / flat), (vectors * flat).T @ back
        frame = Frame(frame.shift, axes, frame.scale)
        sums = accumulate([layer], [frame], [0], [], engine=engine)[0][0]
        gram = sums.centred / sums.count
    lengths = root[kept] * np.sqrt(sums.count)
    inner, mean = vectors[:, kept] / lengths, sums.total / sums.count
    if frame.axes is None:
        return Whitened(frame, axes @ inner, mean, (scale**2, lengths**2))
    return Whitened(frame, inner, mean, inner.T @ sums.centred @ back)


def _scale(layer: Layer, frame: Frame, sums: Sums) -> np.ndarray:
    """(features,), standard deviations; 0 where a feature is constant but for rounding."""
    scale = np.sqrt(np.maximum(np.diag(sums.centred), 0) / sums.count)
    mean = np.abs(frame.scale * frame.shift + sums.total / sums.count)
    scale[scale <= _ROUNDINGS * layer.precision * mean] = 0
    if not scale.any():
        raise ValueError(f"{layer.name}: every feature is constant, accepts some that vary")
    return scale


def truncated(
    layer: Layer, frame: Frame, sums: Sums, *, variance: float, dims: int | None
) -> Whitened:
    """Whitens the leading singular directions of a layer (Raghu et al. 2017, section 2).

    They are ``dims`` directions, or as many as hold this part of the variance.
    """
    _scale(layer, frame, sums)
    centred = sums.centred
    values, vectors = (array[..., ::-1] for array in np.linalg.eigh(centred))
    least = max((_ROUNDINGS * layer.precision) ** 2, len(values) * np.finfo(np.float64).eps)
    there = values > least * values[0]
    rank = int(np.argmin(there)) if not there.all() else len(values)
    if dims is None:
        held = np.cumsum(values[:rank]) / values[:rank].sum()
        dims = int(np.searchsorted(held, variance - 1e-12)) + 1
    elif dims > rank:
        raise ValueError(f"dims: got {dims}, accepts up to {rank}, the rank of {layer.name}")
    if layer.tokens - 1 <= dims:
        raise ValueError(
            f"variance: {dims} directions of {layer.name} are kept of {layer.tokens} tokens, so "
            "that canonical correlations are 1 whatever the data; accepts fewer directions (dims, "
            "or a smaller variance), or more tokens"
        )
    kept, mean = values[:dims], sums.total / sums.count
    axes = vectors[:, :dims] / np.sqrt(kept)
    return Whitened(frame, axes, mean, (np.ones(len(axes)), kept))


def rewhitened(side: Whitened, sums: Sums) -> Whitened:
    """The same directions, orthonormal for other weights of the tokens."""
    lower = np.linalg.cholesky(side.axes.T @ sums.centred @ side.axes)
    axes = np.linalg.solve(lower, side.axes.T).T
    return Whitened(side.frame, axes, sums.total / sums.count, lower.T @ side.features)


def correlations(x: Whitened, y: Whitened, cross: CrossSums) -> np.ndarray:
    """(smaller rank,), canonical correlations, the largest first."""
    product = _product(x, y, cross)
    if x.rank > y.rank:
        product = product.T
    squared = np.linalg.eigvalsh(product @ product.T)[::-1]
    return np.sqrt(squared.clip(0, 1))


@dataclass(frozen=True)
class Variates:
    r"""The canonical variates of a pair, in the columns of its whitened layers.

    Args:
        correlations (array): (k,), the largest first.
        of_x (array): (rank of x, k), orthonormal.
        of_y (array): (rank of y, k), orthonormal.
    """

    correlations: np.ndarray
    of_x: np.ndarray
    of_y: np.ndarray


def variates(x: Whitened, y: Whitened, cross: CrossSums) -> Variates:
    """The canonical variates of a pair."""
    left, correlations, right = np.linalg.svd(_product(x, y, cross), full_matrices=False)
    return Variates(correlations.clip(0, 1), left, right.T)


def projection_weights(side: Whitened, within: np.ndarray) -> np.ndarray:
    """How much of a layer each canonical variate accounts for (Morcos et al. 2018, eq. 2).

    Of variates (rank, k): (k,), sums over features of |⟨variate, centred feature⟩|, as parts of
    their sum.
    """
    weights = np.abs(within.T @ side.features).sum(axis=1)
    return np.asarray(weights / weights.sum())


def published_weights(side: Whitened, within: np.ndarray) -> np.ndarray:
    """The weights that the authors' published code computes, of centred features.

    That code takes for directions the left singular vectors of the whitened cross-covariance times
    the features themselves, where the paper has them times the whitened features, and makes these
    orthonormal one after the other.
    """
    left, _, right = np.linalg.svd(side.features, full_matrices=False)
    directions = right.T @ (left.T @ within)  # (features, k)
    columns = side.features @ directions  # the features times the directions
    basis, _ = np.linalg.qr(columns)
    weights = np.abs(basis.T @ side.features).sum(axis=1)
    return np.asarray(weights / weights.sum())


def _product(x: Whitened, y: Whitened, cross: CrossSums) -> np.ndarray:
    """(rank of x, rank of y), products of the orthonormal columns, as precise as the sums."""
    kind = cross.product.dtype
    centred = (cross.product - np.outer(cross.count * x.mean, y.mean)).astype(kind, copy=False)
    axes = (side.axes.astype(kind, copy=False) for side in (x, y))
    return np.asarray(next(axes).T @ centred @ next(axes))
