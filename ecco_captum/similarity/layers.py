r"""What is compared, read and checked: layers of the same tokens, or of shared words."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from ecco_captum.activations.record import Activations
from ecco_captum.core.checks import UnsupportedError
from ecco_captum.similarity.sums import BLOCK_BYTES, Layer, check_finite

_FEW = 10  # tokens of a feature, below which canonical correlations are mostly chance


def compared_pair(x: Any, y: Any) -> tuple[Layer, Layer]:
    """Reads two representations of the same tokens: arrays, or activations of one layer."""
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
    """Refuses pairs that are 1 whatever the data; warns of what is mostly chance.

    ``depth`` is how many calls above the warning its reader's code is.
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
    """(features, k), directions among a layer's features that are those of its narrowed self."""
    if narrow is layer:
        return directions
    inner = narrow.read(slice(0, narrow.tokens))
    columns = (inner / np.square(inner).sum(axis=0)) @ directions
    # The columns sum to 0 over the tokens, and so centre what they are multiplied with.
    size = max(1, BLOCK_BYTES // (8 * layer.tokens))
    starts = range(0, layer.width, size)
    read = (layer.values[layer.row, :, start : start + size] for start in starts)
    return np.concatenate([np.asarray(part, dtype=np.float64).T @ columns for part in read])


_WORD = re.compile(r"\w+|[^\w\s]")
# Marks that tokenizers set, such as <s>, <|im_start|> and [CLS], each a token of its own.
_MARK = re.compile(r"\s*(<[^<>\s]+>|\[[A-Z]+\])\s*")


@dataclass(frozen=True)
class Alignment:
    r"""Words that two sequences of tokens share.

    Args:
        of_a (array): (words, 2), int64, the first token of each word and the one behind its last.
        of_b (array): (words, 2), int64, the same among the other tokens.
        starts (array): (texts,), int64, the first word of each text that has any.
        dropped (tuple of int): words of a and of b that the other has not.
    """

    of_a: np.ndarray
    of_b: np.ndarray
    starts: np.ndarray
    dropped: tuple[int, int]


def aligned_words(
    a: Sequence[str], a_starts: np.ndarray, b: Sequence[str], b_starts: np.ndarray
) -> Alignment:
    """Finds the words that two tokenizations of the same texts share.

    Words are runs of letters and digits, and single other signs, compared without case and accents,
    which some tokenizers drop. A token that is part of two words counts to both; one that looks
    like a tokenizer's mark, such as ``[CLS]``, to none. ``a`` and ``b`` are the texts of tokens,
    one text after the other, and ``a_starts`` and ``b_starts`` where each text starts.
    """
    if len(a_starts) != len(b_starts):
        raise ValueError(
            f"b: it has {len(b_starts)} texts, a has {len(a_starts)}, accepts the same texts"
        )
    spans: list[list[np.ndarray]] = [[], []]
    starts, dropped, count = [], [0, 0], 0
    texts = zip(_texts(a_starts, len(a)), _texts(b_starts, len(b)), strict=True)
    for own, other in texts:
        words = _words(a[own]), _words(b[other])
        names = [[name for name, *_ in some] for some in words]
        blocks = SequenceMatcher(None, names[0], names[1], autojunk=False).get_matching_blocks()
        pairs = [(i + k, j + k) for i, j, size in blocks for k in range(size)]
        dropped[0], dropped[1] = (
            n + len(some) - len(pairs) for n, some in zip(dropped, words, strict=True)
        )
        if not pairs:
            continue
        starts.append(count)
        count += len(pairs)
        for side, part in enumerate((own, other)):
            chosen = [words[side][pair[side]][1:] for pair in pairs]
            spans[side].append(np.array(chosen, dtype=np.int64) + part.start)
    if not starts:
        raise ValueError("b: its texts have no word in common with those of a")
    of_a, of_b = (np.concatenate(side) for side in spans)
    return Alignment(of_a, of_b, np.array(starts, dtype=np.int64), (dropped[0], dropped[1]))


def _texts(starts: np.ndarray, tokens: int) -> list[slice]:
    ends = [*starts[1:].tolist(), tokens]
    return [slice(start, end) for start, end in zip(starts.tolist(), ends, strict=True)]


def _words(tokens: Sequence[str]) -> list[tuple[str, int, int]]:
    """Each word, its first token, and the one behind its last."""
    plain = [_plain(token) for token in tokens]
    owner = np.repeat(np.arange(len(plain)), [len(text) for text in plain])
    matches = _WORD.finditer("".join(plain))
    return [
        (word.group(), int(owner[word.start()]), int(owner[word.end() - 1]) + 1) for word in matches
    ]


def _plain(text: str) -> str:
    if _MARK.fullmatch(text):
        return " "
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(part for part in parts if not unicodedata.combining(part))
