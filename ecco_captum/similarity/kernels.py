r"""Centred kernel alignment (CKA) from sums over tokens, or from blocks of kernel matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from ecco_captum.similarity.sums import CrossSums, Frame, Layer, Pair, Sums

_BLOCK_BYTES = 2**26  # of all layers' rows of kernels
_CONSTANT = "{}: it does not vary over the tokens, accepts layers that do"
_SAMPLE = 4096  # tokens whose distances give a bandwidth


@dataclass(frozen=True)
class LinearKernel:
    r"""A layer's linear kernel.

    Args:
        frame (Frame): the coordinates that the layer is read in.
        total (array): (coordinates,), sum of the tokens.
        whole (float): the kernel's sum, without its diagonal if the criterion is debiased.
        own (float): the criterion of the layer with itself.
    """

    frame: Frame
    total: np.ndarray
    whole: float
    own: float


def linear_kernel(
    layer: Layer, frame: Frame, sums: Sums, cross: CrossSums, *, debiased: bool
) -> LinearKernel:
    """Returns what pairs need of a layer; ``cross`` are the sums of the layer with itself."""
    whole = float(sums.total @ sums.total) - (float(np.trace(sums.gram)) if debiased else 0.0)
    kernel = LinearKernel(frame, sums.total, whole, 0.0)
    kernel = replace(kernel, own=_criterion(kernel, kernel, cross, debiased=debiased))
    if not kernel.own > 0:
        raise ValueError(_CONSTANT.format(layer.name))
    return kernel


def linear_alignment(
    x: LinearKernel, y: LinearKernel, cross: CrossSums, *, debiased: bool
) -> float:
    """Returns the linear CKA of a pair (Kornblith et al. 2019, equation 1).

    Debiased, the Hilbert–Schmidt independence criterion is estimated without bias (Song et al.
    2012, equation 5; Nguyen et al. 2021), and the result may be a little below 0.
    """
    both = _criterion(x, y, cross, debiased=debiased)
    return min(1.0, both / float(np.sqrt(x.own * y.own)))


def _criterion(x: LinearKernel, y: LinearKernel, cross: CrossSums, *, debiased: bool) -> float:
    """From the kernels as they are, whose centring is taken out of the sums."""
    n, both = cross.count, float(np.vdot(cross.product, cross.product))
    rows = float(x.total @ cross.product @ y.total)
    if not debiased:
        return both - 2 * rows / n + x.whole * y.whole / n**2
    rows += cross.squares - float(cross.by_y @ x.total + cross.by_x @ y.total)
    return estimate(n, both - cross.squares, rows, x.whole, y.whole)


_Some = TypeVar("_Some", float, np.ndarray)


def estimate(n: _Some, both: _Some, rows: _Some, of_x: _Some, of_y: _Some) -> _Some:
    """Returns the unbiased estimate of the criterion (Song et al. 2012, equation 5).

    ``both`` is the sum of the products of both kernels without their diagonals, ``rows`` the
    product of their row sums, ``of_x`` and ``of_y`` the sums of the kernels; n tokens.
    """
    total = both + of_x * of_y / ((n - 1) * (n - 2)) - 2 * rows / (n - 2)
    return total / (n * (n - 3))


def bandwidth(layer: Layer) -> float:
    r"""Returns the median of the squared distances between tokens, as σ².

    Of more than 4,096 tokens, the distances between as many are taken, evenly spread.
    """
    count = min(layer.tokens, _SAMPLE)
    chosen = np.linspace(0, layer.tokens - 1, count).astype(int)
    points = layer.read(chosen)
    median = np.median(_distances(points, points))
    if not median > 0:
        raise ValueError(f"{layer.name}: half of its tokens are the same, name a bandwidth")
    return float(median)


def _distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(tokens of x, tokens of y), squared."""
    norms = np.einsum("tf,tf->t", x, x)[:, None] + np.einsum("tf,tf->t", y, y)
    return np.asarray((norms - 2 * x @ y.T).clip(0))


@dataclass(frozen=True)
class Points:
    r"""A layer's tokens in memory, for kernels of all of them.

    Args:
        values (array): (tokens, features), float64, centred.
        variance (float): the kernel's σ².
    """

    values: np.ndarray
    variance: float

    def rows(self, where: slice, *, debiased: bool) -> np.ndarray:
        """(some tokens, tokens), the kernel, without its diagonal where that is left out."""
        kernel = np.exp(_distances(self.values[where], self.values) / (-2 * self.variance))
        if debiased:
            kernel[np.arange(len(kernel)), np.arange(where.start, where.stop)] = 0
        return np.asarray(kernel)

    def among(self, places: np.ndarray) -> np.ndarray:
        """(places, places), the kernel of some tokens, centred among them."""
        kernel = np.exp(_distances(self.values[places], self.values[places]) / (-2 * self.variance))
        rows = kernel.mean(axis=0)
        return np.asarray(kernel - rows - rows[:, None] + rows.mean())

    def shuffled(self, order: np.ndarray) -> Points:
        """The same tokens in another order."""
        return Points(self.values[order], self.variance)


def points_of(layer: Layer, variance: float | None) -> Points:
    """A layer's tokens, with the median bandwidth unless another is given."""
    values = layer.read(slice(0, layer.tokens))
    if not np.isfinite(values).all():
        raise ValueError(f"{layer.name}: it holds NaN or infinity")
    values -= values.mean(axis=0)
    if not values.any():
        raise ValueError(_CONSTANT.format(layer.name))
    return Points(values, bandwidth(layer) if variance is None else variance)


def kernel_alignments(
    points: Sequence[Points], pairs: Sequence[Pair], orders: Sequence[np.ndarray], *, debiased: bool
) -> dict[Pair, float]:
    """Returns the CKA of pairs of layers with Gaussian kernels.

    The second one's tokens stand in their own order (-1), or in one of ``orders``, permutations. A
    block of rows of each kernel is in memory at a time.
    """
    n = len(points[0].values)
    firsts = sorted({i for i, _, _ in pairs})
    seconds = sorted({(j, draw) for _, j, draw in pairs})
    kernels = {(i, -1): points[i] for i in firsts}
    kernels |= {
        (j, draw): points[j] if draw < 0 else points[j].shuffled(orders[draw])
        for j, draw in seconds
    }
    sums = {key: np.zeros(n) for key in kernels}
    own = dict.fromkeys(kernels, 0.0)
    both = dict.fromkeys(pairs, 0.0)
    size = max(1, _BLOCK_BYTES // (8 * n * len(kernels)))
    for start in range(0, n, size):
        where = slice(start, min(start + size, n))
        rows = {key: points.rows(where, debiased=debiased) for key, points in kernels.items()}
        for key, kernel in rows.items():
            sums[key][where] = kernel.sum(axis=1)
            own[key] += float(np.vdot(kernel, kernel))
        for i, j, draw in pairs:
            both[i, j, draw] += float(np.vdot(rows[i, -1], rows[j, draw]))

    def criterion(total: float, x: np.ndarray, y: np.ndarray) -> float:
        if debiased:
            return estimate(n, total, float(x @ y), float(x.sum()), float(y.sum()))
        return float(total - 2 / n * (x @ y) + x.sum() * y.sum() / n**2)

    own = {key: criterion(own[key], sums[key], sums[key]) for key in kernels}
    lengths = {key: float(np.sqrt(points)) for key, points in own.items()}
    return {
        (i, j, draw): min(
            1.0,
            criterion(both[i, j, draw], sums[i, -1], sums[j, draw])
            / (lengths[i, -1] * lengths[j, draw]),
        )
        for i, j, draw in pairs
    }
