r"""Pairs of layers, compared in as few passes over the tokens as memory allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ecco_captum.gathering import Shuffling, gathered
from ecco_captum.kernels import kernel_alignments, points_of
from ecco_captum.measures import Aligned, Both, Measure
from ecco_captum.moments import CrossSums, Frame, Layer, Pair, plain_frame

_IN_MEMORY_BYTES = 2**24, 2**26  # of the sums of pairs at a time, where layers are in memory


def evaluated(
    layers: Sequence[Layer],
    pairs: Sequence[Pair],
    measure: Any,
    *,
    seed: int = 0,
    memory_budget: int = 2**30,
    tell: Callable[[int], object] = lambda done: None,
) -> dict[Pair, Both]:
    r"""Returns the similarity of pairs of layers.

    Args:
        layers (sequence of Layer): of the same tokens.
        pairs (sequence of Pair): which of them, and in which shuffling of the second one's tokens.
        measure (Measure): what is measured.
        seed (int, optional): of the shufflings. Default: 0
        memory_budget (int, optional): bytes that sums over tokens may take at a time, of layers on
            disk. Default: 1 GiB
        tell (Callable, optional): is told how many more pairs are done.

    Returns:
        dict: of each pair, how similar the second is to the first, and the first to the second.

    Raises:
        ValueError: if values are not finite, or a layer is constant.
    """
    if isinstance(measure, Aligned) and measure.kernel == "rbf":
        return _with_kernels(layers, pairs, measure, seed, tell)
    shuffling = Shuffling(seed)
    sides, crosses = prepared(layers, pairs, measure, shuffling, memory_budget)
    found = {}
    on_disk = any(layer.on_disk for layer in layers)
    half = max(layer.tokens * layer.width * layer.values.dtype.itemsize for layer in layers) // 2
    budget = memory_budget if on_disk else int(np.clip(half, *_IN_MEMORY_BYTES))
    # Pairs with the same shuffled tokens stand side by side, which are then read once.
    left = sorted((pair for pair in pairs if pair not in crosses), key=lambda pair: pair[::-1])
    for group in (list(crosses), *_groups(left, sides, budget)):
        if group and group[0] not in crosses:
            frames = [side.frame for side in sides]
            options = {"norms": measure.norms, "shuffling": shuffling}
            crosses = gathered(layers, frames, [], group, **options)[1]
        for i, j, draw in group:
            found[i, j, draw] = measure.values(sides[i], sides[j], crosses.pop((i, j, draw)))
            tell(1)
    return found


def prepared_pair(x: Layer, y: Layer, measure: Measure) -> tuple[Any, Any, CrossSums]:
    """Both layers prepared, and the sums of their pair."""
    sides, crosses = prepared([x, y], [(0, 1, -1)], measure, Shuffling(0), 2**30)
    if not crosses:
        frames = [side.frame for side in sides]
        crosses = gathered([x, y], frames, [], [(0, 1, -1)], norms=measure.norms)[1]
    return sides[0], sides[1], crosses[0, 1, -1]


def prepared(
    layers: Sequence[Layer],
    pairs: Sequence[Pair],
    measure: Measure,
    shuffling: Shuffling,
    budget: int,
) -> tuple[list[Any], dict[Pair, CrossSums]]:
    """Each layer prepared; of layers on disk, pairs that were summed up in the same pass."""
    frames = [plain_frame(layer) for layer in layers]
    every = range(len(layers))
    selves = [(k, k, -1) for k in every] if measure.norms else []
    if any(layer.on_disk for layer in layers):
        room = budget - sum(8 * frame.width**2 for frame in frames)
        first = next(_groups(pairs, frames, max(room, 0)), [])
        wanted = list(dict.fromkeys([*selves, *first]))
        sums, crosses = gathered(
            layers, frames, every, wanted, norms=measure.norms, shuffling=shuffling
        )
    else:
        sums, crosses = {}, {}
        for k, (layer, frame) in enumerate(zip(layers, frames, strict=True)):
            own, pair = gathered(
                [layer], [frame], [0], [(0, 0, -1)] if selves else [], norms=measure.norms
            )
            sums[k] = own[0]
            crosses |= {(k, k, -1): pair[0, 0, -1]} if selves else {}
        first = []
    sides = [
        measure.side(layer, frames[k], sums[k], crosses.get((k, k, -1)))
        for k, layer in enumerate(layers)
    ]
    # Of layers that had to be read again in other axes, pairs have to be, too.
    kept = {k for k in every if sides[k].frame is frames[k]}
    return sides, {pair: crosses[pair] for pair in first if kept.issuperset(pair[:2])}


def _groups(pairs: Sequence[Pair], sides: Sequence[Any], budget: int) -> Iterator[list[Pair]]:
    """Pairs whose sums fit into memory together; at least one at a time."""
    group: list[Pair] = []
    size = 0
    for i, j, draw in pairs:
        cost = 8 * _width(sides[i]) * _width(sides[j])
        if group and size + cost > budget:
            yield group
            group, size = [], 0
        group.append((i, j, draw))
        size += cost
    if group:
        yield group


def _width(side: Any) -> int:
    frame: Frame = side if isinstance(side, Frame) else side.frame
    return frame.width


def _with_kernels(
    layers: Sequence[Layer],
    pairs: Sequence[Pair],
    measure: Aligned,
    seed: int,
    tell: Callable[[int], object],
) -> dict[Pair, Both]:
    for layer in layers:
        if layer.on_disk:
            raise ValueError(
                f"kernel: 'rbf' needs every pair of tokens, and {layer.name} is on disk; accepts "
                "'linear', or arrays of fewer tokens"
            )
    points = [points_of(layer, measure.bandwidth) for layer in layers]
    draws = 1 + max((draw for *_, draw in pairs), default=-1)
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(layers[0].tokens) for _ in range(draws)]
    found = kernel_alignments(points, pairs, orders, debiased=measure.debiased)
    tell(len(pairs))
    return {pair: (value, value) for pair, value in found.items()}
