r"""Whether pairs of layers are more alike than with the tokens of one side rearranged.

A layer that is prepared for its measure gives a kernel, the products of its tokens, once. A draw
then only reads the kernel of one side in another order: of n tokens n² products a pair, whatever
the features, and the same draw for all pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ecco_captum.similarity.canonical import Whitened
from ecco_captum.similarity.kernels import LinearKernel, Points
from ecco_captum.similarity.rearranged import Rearrangement
from ecco_captum.similarity.sums import Layer

MOST_TOKENS = 2048
_BLOCK_BYTES = 2**21  # of rows of all kernels, which stay in the cache
_BOUNDARIES, _ORDERS, _RARE = 300, 999, 0.002


def most_tokens(layers: int, memory_budget: int) -> int:
    """How many tokens a test compares at most, so that kernels fit into memory."""
    return int(min(MOST_TOKENS, max(64, np.sqrt(memory_budget / (12 * layers)))))


def texts_run_on(layers: Sequence[Layer], starts: np.ndarray, seed: int) -> bool:
    """Whether a text's last token goes with the next one's first, as of one text cut in parts.

    The products of both, over features, are ranked among those with the texts in other orders, at a
    level of 0.002.
    """
    if len(starts) < 8:
        return False
    chosen = np.unique(np.linspace(1, len(starts) - 1, _BOUNDARIES).astype(int))
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(chosen)) for _ in range(_ORDERS)]
    sums = np.zeros(1 + _ORDERS)
    for layer in layers:
        ends = np.stack([layer.read(slice(at - 1, at + 1)) for at in starts[chosen].tolist()])
        ends -= ends.mean(axis=0)
        scale = np.abs(ends).max()
        if not np.isfinite(scale) or not scale > 0:
            continue
        last, first = ends[:, 0] / scale, ends[:, 1] / scale
        products = last @ first.T
        size = np.linalg.norm(products)
        if size > 0:
            every = np.arange(len(chosen))
            sums += [products[every, order].sum() / size for order in [every, *orders]]
    return bool((1 + (sums[1:] >= sums[0]).sum()) / (1 + _ORDERS) <= _RARE)


def autocorrelation(layers: Sequence[Layer], starts: np.ndarray, tokens: np.ndarray) -> float:
    """How alike neighbouring tokens are: the mean over layers of the features' lag-1 correlation.

    Pairs of tokens within one text are read, of up to 2,048 tokens; NaN where there is none.
    """
    tokens = np.unique(tokens)
    followed = np.isin(tokens[:-1] + 1, tokens) & ~np.isin(tokens[:-1] + 1, starts)
    if not followed.any():
        return float("nan")
    found = []
    for layer in layers:
        block = np.concatenate([layer.read(run) for run in _runs(tokens)])
        block -= block.mean(axis=0)
        block /= np.abs(block).max()
        pairs = np.einsum("tf,tf->t", block[:-1], block[1:])[followed].mean()
        found.append(pairs / np.einsum("tf,tf->t", block, block).mean())
    return float(np.mean(found))


def alignments(
    layers: Sequence[Layer],
    sides: Sequence[Any],
    rows: int,
    drawn: Rearrangement,
) -> np.ndarray:
    r"""Returns (1 + draws, rows, columns), cosines of two kernels without their diagonals.

    For CKA they are the measure, centred over all tokens; for canonical correlations the kernels
    are projections on whitened layers, whose products are the sums of squared correlations.

    Args:
        layers (sequence of Layer): those of the rows, then those of the columns; or of one alone.
        sides (sequence): each layer prepared, see ``pairwise.prepared``.
        rows (int): how many of them are rows; all, where layers are compared with themselves.
        drawn (Rearrangement): the tokens.
    """
    places = np.unique(np.concatenate([drawn.rows, drawn.columns.ravel()]))
    kernels = [_kernel(*pair, places) for pair in zip(layers, sides, strict=True)]
    own, others = np.searchsorted(places, drawn.rows), np.searchsorted(places, drawn.columns)
    x, y = kernels[:rows], kernels if len(kernels) == rows else kernels[rows:]
    count = len(own)
    size = max(1, _BLOCK_BYTES // (4 * count * len(layers)))
    slides = drawn.null == "shift"  # otherwise each draw has the same tokens
    products = np.zeros((len(others), len(x), len(y)))
    lengths = np.zeros((len(others), len(y)))
    of_x = np.zeros(len(x))
    for start in range(0, count, size):
        block = slice(start, start + size)
        fixed = _cut(x, own, block)
        # Kernels are symmetric: what is right of the block's square counts for what is below it.
        weights = np.full((len(own[block]), count - start), 2, dtype=np.float32)
        weights[:, : len(weights)] = 1
        weighed = fixed * weights.ravel()
        of_x += np.einsum("kt,kt->k", fixed, weighed)
        for draw, order in enumerate(others):
            moved = _cut(y, order, block)
            products[draw] += weighed @ moved.T
            if slides or not draw:
                lengths[draw] += np.square(moved) @ weights.ravel()
    lengths = lengths if slides else lengths[:1]
    return products / np.sqrt(of_x[:, None] * lengths[:, None, :])


def _cut(kernels: Sequence[np.ndarray], order: np.ndarray, block: slice) -> np.ndarray:
    """(kernels, …), some rows of each in another order, from the diagonal on, flat."""
    rows, columns = order[block], order[block.start :]
    cut = np.empty((len(kernels), len(rows), len(columns)), dtype=np.float32)
    for kernel, into in zip(kernels, cut, strict=True):
        np.take(kernel[rows], columns, axis=1, out=into, mode="clip")
    return cut.reshape(len(kernels), -1)


def _kernel(layer: Layer, side: Any, places: np.ndarray) -> np.ndarray:
    """(places, places), float32, products of tokens, of length 1 and with no diagonal."""
    if isinstance(side, Points):
        kernel = side.among(places)
    else:
        columns = _columns(layer, side, places)
        kernel = columns @ columns.T
    np.fill_diagonal(kernel, 0)
    return np.asarray(kernel / np.linalg.norm(kernel), dtype=np.float32)


def _columns(layer: Layer, side: Whitened | LinearKernel, places: np.ndarray) -> np.ndarray:
    """(places, coordinates), centred over all tokens, whitened where the measure does so."""
    block = np.concatenate([side.frame.read(layer, run) for run in _runs(places)])
    if isinstance(side, Whitened):
        block = (block - side.mean) @ side.axes
    else:
        block -= side.total / layer.tokens
    return (block / np.abs(block).max()).astype(np.float32)


def _runs(tokens: np.ndarray) -> list[slice]:
    """Ascending tokens as slices of neighbours."""
    runs = np.split(tokens, np.flatnonzero(np.diff(tokens) > 1) + 1)
    return [slice(int(run[0]), int(run[-1]) + 1) for run in runs]
