r"""One pass over the tokens of several layers: sums of each, and of pairs, shuffled or not."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ecco_captum.moments import CrossSums, Frame, Layer, Pair, Sums, blocks


@dataclass(frozen=True)
class Shuffling:
    r"""Permutations of tokens, drawn from a seed.

    In memory they run over all tokens. What is read from disk comes block by block, and tokens
    change places within their block.

    Args:
        seed (int): of the permutations.
    """

    seed: int

    def read(self, layer: Layer, frame: Frame, where: slice, draw: int) -> np.ndarray:
        """(tokens, coordinates) that stand in the place of a block's tokens."""
        if layer.on_disk:
            order = self._order(draw, where.start, where.stop - where.start)
            return frame.read(layer, where)[order]
        return frame.read(layer, self._order(draw, 0, layer.tokens)[where])

    @lru_cache(maxsize=64)  # noqa: B019 - of a few numbers, for as long as a comparison takes
    def _order(self, draw: int, start: int, count: int) -> np.ndarray:
        return np.random.default_rng((self.seed, draw, start)).permutation(count)


def gathered(
    layers: Sequence[Layer],
    frames: Sequence[Frame],
    singles: Iterable[int],
    pairs: Sequence[Pair],
    *,
    norms: bool = False,
    shuffling: Shuffling | None = None,
) -> tuple[dict[int, Sums], dict[Pair, CrossSums]]:
    r"""Reads every token once and sums it up.

    Args:
        layers (sequence of Layer): of the same tokens.
        frames (sequence of Frame): the coordinates of each.
        singles (iterable of int): layers whose own sums are wanted.
        pairs (sequence of Pair): pairs whose cross sums are wanted.
        norms (bool, optional): whether what kernels need is wanted, too. Default: ``False``
        shuffling (Shuffling, optional): of pairs that are shuffled.

    Returns:
        tuple of dict: the sums of layers, and of pairs.

    Raises:
        ValueError: if values are not finite.
    """
    widths = [frame.width for frame in frames]
    sums = {k: Sums.none(widths[k]) for k in singles}
    plain = [pair for pair in pairs if pair[2] < 0]
    shuffled = sorted((pair for pair in pairs if pair[2] >= 0), key=lambda pair: pair[::-1])
    used = sorted({*sums, *(i for i, _, _ in pairs), *(j for _, j, _ in plain)})
    involved = [layers[k] for k in {*used, *(j for _, j, _ in shuffled)}]
    # What chance gives needs no more digits than the values have, and costs half of it.
    coarse = np.float64 if min(layer.precision for layer in involved) < 1e-10 else np.float32
    kinds = {-1: np.float64}
    crosses = {
        (i, j, draw): CrossSums.none(widths[i], widths[j], kinds.get(draw, coarse))
        for i, j, draw in pairs
    }
    with np.errstate(invalid="ignore", over="ignore"):  # the sums will tell
        for where in blocks(involved):
            read = {k: frames[k].read(layers[k], where) for k in used}
            for k in sums:
                sums[k].add(read[k])
            for i, j, draw in plain:
                crosses[i, j, draw].add(read[i], read[j], norms=norms)
            if not shuffled:
                continue
            assert shuffling is not None  # pairs that are shuffled come with it
            rows = {i: read[i].astype(coarse) for i in {i for i, _, _ in shuffled}}
            del read
            for (j, draw), same in itertools.groupby(shuffled, key=lambda pair: pair[1:]):
                other = shuffling.read(layers[j], frames[j], where, draw).astype(coarse)
                for pair in same:
                    crosses[pair].add(rows[pair[0]], other, norms=norms)
    for k, one in sums.items():
        check_finite(layers[k], one.gram)
    return sums, crosses


def check_finite(layer: Layer, products: np.ndarray) -> None:
    """Raises an error that names the layer if a value was NaN, infinite or beyond 1e150."""
    if not np.isfinite(products).all():
        raise ValueError(
            f"{layer.name}: it holds NaN, infinity or numbers beyond 1e150, accepts finite values"
        )
