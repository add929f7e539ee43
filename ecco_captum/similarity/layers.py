r"""What is compared, read and checked."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ecco_captum.activations.record import Activations
from ecco_captum.core.errors import UnsupportedError
from ecco_captum.similarity.sums import BLOCK_BYTES, Layer, check_finite

_FEW = 10  # tokens of a feature, below which canonical correlations are mostly chance


def compared_pair(x: Any, y: Any) -> tuple[Layer, Layer]:
    r"""Reads two representations of the same tokens.

    Args:
        x (array, Tensor or Activations): (tokens, features), or activations of one layer.
        y (array, Tensor or Activations): the same.

    Raises:
        TypeError: if one is none of these.
        ValueError: if they are not of the same tokens.
    """
    left, right = given_layer("x", x), given_layer("y", y)
    if left.tokens != right.tokens:
        raise ValueError(
            f"x, y: x has {left.tokens} tokens and y {right.tokens}, accepts arrays (tokens, "
            "features) of the same tokens"
        )
    return left, right


def given_layer(name: str, given: Any) -> Layer:
    r"""Reads one representation; see :func:`compared_pair`."""
    if isinstance(given, Activations):
        if len(given.layers) != 1:
            raise ValueError(
                f"{name}: got activations of {len(given.layers)} layers, accepts those of one "
                "(of_layers chooses); compare() takes all of them"
            )
        return Layer(given.values, 0, name)
    if hasattr(given, "detach"):
        given = given.detach().cpu().numpy()
    try:
        array = np.asarray(given)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: got a {type(given).__name__}, accepts an array") from error
    if array.ndim != 2 or array.dtype.kind not in "fiu" or 0 in array.shape:
        raise ValueError(
            f"{name}: got an array of shape {array.shape} and type {array.dtype}, accepts real "
            "numbers (tokens, features)"
        )
    array = array.astype(np.float64) if array.dtype.kind != "f" else array
    return Layer(array[None], 0, name)


def check_enough(x: Layer, y: Layer, depth: int = 4) -> None:
    r"""Refuses pairs that are 1 whatever the data; warns of what is mostly chance.

    Args:
        x (Layer): a layer.
        y (Layer): another, or the same.
        depth (int, optional): how many calls above the warning its reader's code is. Default: 4

    Raises:
        ValueError: if there are no more tokens than features.
    """
    most = max(x.width, y.width)
    if x.tokens - 1 <= most:
        raise UnsupportedError(
            f"{_names(x, y)}: there are {x.tokens} tokens and up to {most} features, so that "
            "canonical correlations are 1 whatever the data; accepts more tokens than features, "
            "ten times more to mean something. Read more texts, or take svcca() or cka()"
        )
    warn_if_few(x, y, most, "features", depth)


def warn_if_few(x: Layer, y: Layer, directions: int, called: str, depth: int = 4) -> None:
    """Warns where canonical correlations are mostly chance."""
    if x.tokens < _FEW * directions:
        warnings.warn(
            f"{_names(x, y)}: {x.tokens} tokens are fewer than {_FEW} for each of {directions} "
            f"{called}; much of the correlation is chance. compare() says how much",
            stacklevel=depth,
        )


def _names(x: Layer, y: Layer) -> str:
    return ", ".join(dict.fromkeys((x.name, y.name)))


def reduce_features(layer: Layer) -> Layer:
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
        raise UnsupportedError(
            f"{layer.name}: it does not vary over the tokens, accepts layers that do"
        )
    there = values > values[-1] * layer.tokens * np.finfo(np.float64).eps
    return Layer((vectors[:, there] * np.sqrt(values[there]))[None], 0, layer.name)


def lift_directions(layer: Layer, narrow: Layer, directions: np.ndarray) -> np.ndarray:
    r"""Returns directions among a layer's features that are those of its narrowed self.

    Args:
        layer (Layer): the layer.
        narrow (Layer): what :func:`reduce_features` made of it.
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
