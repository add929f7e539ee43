r"""Layers with more features than tokens, in as many features as there are tokens."""

from __future__ import annotations

import numpy as np

from ecco_captum.gathering import check_finite
from ecco_captum.moments import BLOCK_BYTES, Layer


def narrowed(layer: Layer) -> Layer:
    r"""Returns a layer with no more features than tokens, whose tokens have the same products.

    Of a layer with more features than tokens, these are the left singular vectors times the
    singular values; whatever rotates features leaves the measures that take such layers alone.
    """
    if layer.width <= layer.tokens:
        return layer
    gram = np.zeros((layer.tokens, layer.tokens))
    size = max(1, BLOCK_BYTES // (8 * layer.tokens))
    for start in range(0, layer.width, size):
        columns = np.array(layer.values[layer.row, :, start : start + size], dtype=np.float64)
        columns -= columns.mean(axis=0)
        gram += columns @ columns.T
    check_finite(layer, gram)
    values, vectors = np.linalg.eigh(gram)
    if not values[-1] > 0:
        raise ValueError(f"{layer.name}: it does not vary over the tokens, accepts layers that do")
    there = values > values[-1] * layer.tokens * np.finfo(np.float64).eps
    return Layer((vectors[:, there] * np.sqrt(values[there]))[None], 0, layer.name)


def widened(layer: Layer, narrow: Layer, directions: np.ndarray) -> np.ndarray:
    r"""Returns directions among a layer's features that are those of its narrowed self.

    Args:
        layer (Layer): the layer.
        narrow (Layer): what :func:`narrowed` made of it.
        directions (array): (its features, k).

    Returns:
        array: (features, k).
    """
    if narrow is layer:
        return directions
    inner = narrow.read(slice(0, narrow.tokens))
    columns = (inner / np.square(inner).sum(axis=0)) @ directions
    # The columns sum to 0 over the tokens, and so centre what they are multiplied with.
    size = max(1, BLOCK_BYTES // (8 * layer.tokens))
    starts = range(0, layer.width, size)
    read = (layer.values[layer.row, :, start : start + size] for start in starts)
    return np.concatenate([np.asarray(part, dtype=np.float64).T @ columns for part in read])
