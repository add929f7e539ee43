r"""Sums over tokens that measures of similarity are made of, gathered in one pass of any length.

All are float64. What is summed is a layer's block of tokens less the mean of its first block, which
keeps what is left of the mean small; the rest of it is taken out of the sums, exactly.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ecco_captum.core.stored_array import StoredValues, pieces_of
from ecco_captum.core.threads import Each, one_by_one, one_thread_each
from ecco_captum.similarity.rearranged import Null, whole_order

if TYPE_CHECKING:
    from ecco_captum.corpus.engines import Engine

BLOCK_BYTES = 2**25  # of the float64 blocks of all layers that are read together
_FEWEST = 256
_PLAIN = 1e-12, 1e12  # spreads whose fourth powers leave room on both sides


@dataclass(frozen=True)
class Layer:
    r"""What is compared: one layer's values at each token.

    Args:
        values (array or StoredValues): (layers, tokens, features).
        row (int): which of them.
        name (str): what it is called in messages.
        spans (array, optional): (words, 2), the first token of each word and the one behind its
            last. Where they are given, words take the place of tokens, each the mean of its own.
    """

    values: np.ndarray | StoredValues
    row: int
    name: str
    spans: np.ndarray | None = None

    @property
    def tokens(self) -> int:
        """How many tokens (or words) there are."""
        return self.values.shape[1] if self.spans is None else len(self.spans)

    @property
    def width(self) -> int:
        """How many features there are."""
        return self.values.shape[2]

    @property
    def on_disk(self) -> bool:
        """Whether it is read from a folder."""
        return isinstance(self.values, StoredValues)

    @property
    def precision(self) -> float:
        """The distance of 1 and the next number in the type that the values were computed in."""
        # float16 is how values are kept; the model computed with more.
        narrow = np.dtype(self.values.dtype).itemsize <= 4
        return float(np.finfo(np.float32 if narrow else np.float64).eps)

    def read(self, tokens: slice | np.ndarray) -> np.ndarray:
        """(tokens, features), float64, a copy."""
        if self.spans is None:
            return np.array(self.values[self.row, tokens], dtype=np.float64)
        spans = self.spans[tokens]
        first = int(spans[:, 0].min())
        read = np.array(self.values[self.row, first : int(spans[:, 1].max())], dtype=np.float64)
        sums = np.concatenate([np.zeros((1, read.shape[1])), read.cumsum(axis=0)])
        lengths = (spans[:, 1] - spans[:, 0])[:, None]
        return np.asarray((sums[spans[:, 1] - first] - sums[spans[:, 0] - first]) / lengths)


@dataclass(frozen=True)
class Frame:
    r"""Coordinates in which a layer is read: less a mean and, if need be, in other axes.

    Args:
        shift (array): (features,), what is subtracted.
        axes (array, optional): (features, coordinates), what is multiplied from the right.
        scale (float, optional): what is multiplied with, a power of 2, so that products of products
            neither overflow nor vanish. Default: 1
    """

    shift: np.ndarray
    axes: np.ndarray | None = None
    scale: float = 1.0

    @property
    def width(self) -> int:
        """How many coordinates there are."""
        return len(self.shift) if self.axes is None else self.axes.shape[1]

    def read(self, layer: Layer, tokens: slice | np.ndarray) -> np.ndarray:
        """(tokens, coordinates) of some tokens."""
        block = layer.read(tokens)
        block -= self.shift
        if self.scale != 1:
            block *= self.scale
        return block if self.axes is None else block @ self.axes


@dataclass
class Sums:
    r"""Sums over the tokens of one layer, in a frame.

    Args:
        count (float): tokens, or their weights.
        total (array): (coordinates,), sum of the tokens.
        gram (array): (coordinates, coordinates), sum of their products.
    """

    count: float
    total: np.ndarray
    gram: np.ndarray

    @classmethod
    def none(cls, width: int) -> Sums:
        """Of no token."""
        return cls(0.0, np.zeros(width), np.zeros((width, width)))

    def add(self, block: np.ndarray) -> None:
        """Adds tokens, (tokens, coordinates)."""
        self.count += len(block)
        self.total += block.sum(axis=0)
        self.gram += block.T @ block

    def __add__(self, other: Sums) -> Sums:
        """Of the tokens of both."""
        return Sums(self.count + other.count, self.total + other.total, self.gram + other.gram)

    @classmethod
    def weighed(cls, parts: Sequence[Sums], weights: np.ndarray) -> Sums:
        """Of parts of the tokens, each so many times."""
        sums = cls.none(len(parts[0].total))
        for part, weight in zip(parts, weights, strict=True):
            sums.count += weight * part.count
            sums.total += weight * part.total
            sums.gram += weight * part.gram
        return sums

    @property
    def centred(self) -> np.ndarray:
        """(coordinates, coordinates), the sum of products less their means."""
        return self.gram - np.outer(self.total, self.total / self.count)


@dataclass
class CrossSums:
    r"""Sums over the tokens of a pair of layers; what kernels need beside the products is optional.

    Args:
        product (array): (coordinates of x, coordinates of y), sum of the tokens' products.
        count (float): tokens, or their weights.
        squares (float): sum of |x|² |y|².
        by_y (array): (coordinates of x,), sum of x |y|².
        by_x (array): (coordinates of y,), sum of y |x|².
    """

    product: np.ndarray
    count: float = 0.0
    squares: float = 0.0
    by_y: np.ndarray = field(default_factory=lambda: np.zeros(0))
    by_x: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def none(cls, rows: int, columns: int, kind: type = np.float64) -> CrossSums:
        """Of no token."""
        return cls(np.zeros((rows, columns), kind), 0.0, 0.0, np.zeros(rows), np.zeros(columns))

    @classmethod
    def weighed(cls, parts: Sequence[CrossSums], weights: np.ndarray) -> CrossSums:
        """Of parts of the tokens, each so many times."""
        sums = cls.none(*parts[0].product.shape)
        for part, weight in zip(parts, weights, strict=True):
            if weight:
                sums.product += weight * part.product
                sums.count += weight * part.count
                sums.squares += weight * part.squares
                sums.by_y += weight * part.by_y
                sums.by_x += weight * part.by_x
        return sums

    def add(self, x: np.ndarray, y: np.ndarray, *, norms: bool) -> None:
        """Adds tokens of both, (tokens, coordinates)."""
        self.product += x.T @ y
        self.count += len(x)
        if norms:
            of_x, of_y = np.einsum("tf,tf->t", x, x), np.einsum("tf,tf->t", y, y)
            self.squares += float(of_x @ of_y)
            self.by_y += of_y @ x
            self.by_x += of_x @ y

    def __add__(self, other: CrossSums) -> CrossSums:
        """Of the tokens of both."""
        return CrossSums(
            self.product + other.product,
            self.count + other.count,
            self.squares + other.squares,
            self.by_y + other.by_y,
            self.by_x + other.by_x,
        )


def blocks(layers: Sequence[Layer], within: slice | None = None) -> Iterator[slice]:
    """Runs of tokens, of all or of some, few enough for a block of each layer."""
    tokens = within or slice(0, layers[0].tokens)
    size = max(_FEWEST, BLOCK_BYTES // (8 * sum(layer.width for layer in layers)))
    for start in range(tokens.start, tokens.stop, size):
        yield slice(start, min(start + size, tokens.stop))


def plain_frame(layer: Layer) -> Frame:
    """A layer's own axes, less the mean of its first block; other units where they are extreme."""
    with np.errstate(invalid="ignore", over="ignore"):  # checked in the sums
        block = layer.read(next(blocks([layer])))
        shift = block.mean(axis=0)
        spread = float(np.abs(block - shift).max())
    if not (np.isfinite(spread) and spread > 0) or _PLAIN[0] < spread < _PLAIN[1]:
        return Frame(shift)
    return Frame(shift, scale=float(2.0 ** -np.round(np.log2(spread))))


Pair = tuple[int, int, int]
"""Two layers by their numbers, and which shuffling of the second one's tokens; -1 for none."""


@dataclass(frozen=True, eq=False)
class Shuffling:
    r"""Tokens in other places, drawn from a seed.

    In memory draws run over all tokens. What is read from disk comes block by block, and tokens
    change places within their block.

    Args:
        seed (int): of the draws.
        null (str): what changes places.
        starts (array): (texts,), where each text starts.
    """

    seed: int
    null: Null = "tokens"
    starts: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64))

    def read(self, layer: Layer, frame: Frame, where: slice, draw: int) -> np.ndarray:
        """(tokens, coordinates) that stand in the place of a block's tokens."""
        if layer.on_disk:
            order = self.order(draw, where.start, where.stop - where.start)
            return frame.read(layer, where)[order]
        return frame.read(layer, self.order(draw, 0, layer.tokens)[where])

    @lru_cache(maxsize=64)  # noqa: B019 - of a few numbers, for as long as a comparison takes
    def order(self, draw: int, start: int, count: int) -> np.ndarray:
        """(count,), the order of the tokens from ``start`` on, counted from there."""
        rng = np.random.default_rng((self.seed, draw, start))
        return whole_order(self.null, self.starts - start, count, rng)


Summed = tuple[dict[int, Sums], dict[Pair, CrossSums]]
"""Sums of single layers and of pairs."""


def accumulate(
    layers: Sequence[Layer],
    frames: Sequence[Frame],
    singles: Iterable[int],
    pairs: Sequence[Pair],
    *,
    norms: bool = False,
    shuffling: Shuffling | None = None,
    within: slice | None = None,
    engine: Engine | None = None,
) -> Summed:
    """Reads tokens, all or some, once and sums them up: for single layers, and for pairs of them.

    ``norms`` says whether what kernels need is wanted, too; values that are not finite raise a
    ValueError. An engine sums up pieces of the tokens, whose bounds and order do not depend on it;
    without one they are summed up as they come.
    """
    wanted = _Wanted(layers, frames, sorted(set(singles)), pairs, norms, shuffling)
    if engine is None:
        sums, crosses = wanted.summed(within or slice(0, layers[0].tokens), one_by_one)
    else:
        sums, crosses = engine.total(wanted, pieces(layers, within), _both)
    for k, own in sums.items():
        check_finite(layers[k], own.gram)
    return sums, crosses


_PIECE = 2**13  # tokens that are summed up together, at least


def pieces(layers: Sequence[Layer], within: slice | None = None) -> list[slice]:
    """Runs of tokens that are summed up each by itself; words are cut without regard to parts."""
    parted = [layer.values for layer in layers if layer.on_disk and layer.spans is None]
    tokens = within or slice(0, layers[0].tokens)
    return pieces_of(next(iter(parted), None), tokens, _PIECE)


@dataclass(frozen=True)
class _Wanted:
    """What is summed up, of any run of tokens; see :func:`accumulate`."""

    layers: Sequence[Layer]
    frames: Sequence[Frame]
    singles: Sequence[int]
    pairs: Sequence[Pair]
    norms: bool
    shuffling: Shuffling | None

    def __call__(self, tokens: slice) -> Summed:
        with one_thread_each() as each:
            return self.summed(tokens, each)

    def summed(self, tokens: slice, each: Each) -> Summed:
        layers, frames = self.layers, self.frames
        widths = [frame.width for frame in frames]
        sums = {k: Sums.none(widths[k]) for k in self.singles}
        plain = [pair for pair in self.pairs if pair[2] < 0]
        shuffled = sorted((pair for pair in self.pairs if pair[2] >= 0), key=lambda p: p[::-1])
        moved = [(*key, list(same)) for key, same in itertools.groupby(shuffled, lambda p: p[1:])]
        used = sorted({*sums, *(i for i, _, _ in self.pairs), *(j for _, j, _ in plain)})
        involved = [layers[k] for k in {*used, *(j for _, j, _ in shuffled)}]
        # What chance gives needs no more digits than the values have, and costs half of it.
        coarse = np.float64 if min(layer.precision for layer in involved) < 1e-10 else np.float32
        kinds = {-1: np.float64}
        crosses = {
            (i, j, draw): CrossSums.none(widths[i], widths[j], kinds.get(draw, coarse))
            for i, j, draw in self.pairs
        }

        def read_layer(k: int) -> np.ndarray:
            with _unchecked():
                return frames[k].read(layers[k], where)

        def add_single(k: int) -> None:
            with _unchecked():
                sums[k].add(read[k])

        def add_pair(pair: Pair) -> None:
            with _unchecked():
                crosses[pair].add(read[pair[0]], read[pair[1]], norms=self.norms)

        def add_moved(group: tuple[int, int, list[Pair]]) -> None:
            j, draw, same = group
            assert self.shuffling is not None  # pairs that are shuffled come with it
            with _unchecked():
                other = self.shuffling.read(layers[j], frames[j], where, draw).astype(coarse)
                for pair in same:
                    crosses[pair].add(rows[pair[0]], other, norms=self.norms)

        for where in blocks(involved, tokens):  # noqa: B007 - the functions above read it
            read = dict(zip(used, each(read_layer, used), strict=True))
            each(add_single, list(sums))
            each(add_pair, plain)
            if moved:
                with _unchecked():
                    rows = {i: read[i].astype(coarse) for i in {i for i, _, _ in shuffled}}
                del read
                each(add_moved, moved)
        return sums, crosses


def _unchecked() -> Any:
    """What is not finite is seen in the sums; each thread has to ask for it."""
    return np.errstate(invalid="ignore", over="ignore")


def _both(some: Summed, others: Summed) -> Summed:
    """Of the tokens of both."""
    with _unchecked():
        sums = {k: own + others[0][k] for k, own in some[0].items()}
        return sums, {pair: own + others[1][pair] for pair, own in some[1].items()}


def check_finite(layer: Layer, products: np.ndarray) -> None:
    """Raises an error that names the layer if a value was NaN, infinite or beyond 1e150."""
    if not np.isfinite(products).all():
        raise ValueError(
            f"{layer.name}: it holds NaN, infinity or numbers beyond 1e150, accepts finite values"
        )
