r"""How a pair's similarity varies where other texts are drawn: sums of groups of texts, weighed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ecco_captum.similarity.from_sums import CKA, Both, Measure
from ecco_captum.similarity.kernels import (
    LinearKernel,
    Points,
    estimate,
    kernel_alignments,
    points_of,
)
from ecco_captum.similarity.sums import (
    CrossSums,
    Frame,
    Layer,
    Pair,
    Shuffling,
    Summed,
    Sums,
    accumulate,
    plain_frame,
)

if TYPE_CHECKING:
    from ecco_captum.corpus.engines import Engine

_PLAIN = Shuffling(0)  # where no pair is shuffled
_IN_MEMORY_BYTES = 2**24, 2**26  # of the sums of pairs at a time, where layers are in memory


def evaluated(
    layers: Sequence[Layer],
    pairs: Sequence[Pair],
    measure: Any,
    *,
    shuffling: Shuffling = _PLAIN,
    memory_budget: int = 2**30,
    engine: Engine | None = None,
    advance: Callable[[int], object] = lambda done: None,
) -> tuple[dict[Pair, Both], Sequence[Any]]:
    """Returns, of each pair, how similar the second is to the first, and the first to the second.

    A pair names two layers of the same tokens and a draw of ``shuffling``, in which the second
    one's tokens stand in other places. ``memory_budget`` is the bytes that sums over tokens may
    take at a time, of layers on disk; ``engine`` makes them, see :func:`accumulate`. The layers as
    the measure prepares them are returned, too.
    """
    if isinstance(measure, CKA) and measure.kernel == "rbf":
        return _with_kernels(layers, pairs, measure, shuffling, advance)
    sides, crosses = prepared(layers, pairs, measure, shuffling, memory_budget, engine)
    values = {}
    on_disk = any(layer.on_disk for layer in layers)
    half = max(layer.tokens * layer.width * layer.values.dtype.itemsize for layer in layers) // 2
    budget = memory_budget if on_disk else int(np.clip(half, *_IN_MEMORY_BYTES))
    # Pairs with the same shuffled tokens stand side by side, which are then read once.
    left = sorted((pair for pair in pairs if pair not in crosses), key=lambda pair: pair[::-1])
    for group in (list(crosses), *_groups(left, sides, budget)):
        if group and group[0] not in crosses:
            frames = [side.frame for side in sides]
            crosses = accumulate(
                layers,
                frames,
                [],
                group,
                norms=measure.norms,
                shuffling=shuffling,
                engine=engine,
            )[1]
        for i, j, draw in group:
            values[i, j, draw] = measure.values(sides[i], sides[j], crosses.pop((i, j, draw)))
            advance(1)
    return values, sides


def pair_value(x: Layer, y: Layer, measure: Measure) -> float:
    """How similar y is to x."""
    values, _ = evaluated([x, y], [(0, 1, -1)], measure)
    return values[0, 1, -1][0]


def prepared_pair(x: Layer, y: Layer, measure: Measure) -> tuple[Any, Any, CrossSums]:
    """Both layers prepared, and the sums of their pair."""
    sides, crosses = prepared([x, y], [(0, 1, -1)], measure, _PLAIN, 2**30)
    if not crosses:
        frames = [side.frame for side in sides]
        crosses = accumulate([x, y], frames, [], [(0, 1, -1)], norms=measure.norms)[1]
    return sides[0], sides[1], crosses[0, 1, -1]


def prepared(
    layers: Sequence[Layer],
    pairs: Sequence[Pair],
    measure: Measure,
    shuffling: Shuffling,
    budget: int,
    engine: Engine | None = None,
) -> tuple[list[Any], dict[Pair, CrossSums]]:
    """Each layer prepared; of layers on disk, pairs that were summed up in the same pass."""
    frames = [plain_frame(layer) for layer in layers]
    every = range(len(layers))
    selves = [(k, k, -1) for k in every] if measure.norms else []
    if any(layer.on_disk for layer in layers):
        room = budget - sum(8 * frame.width**2 for frame in frames)
        first = next(_groups(pairs, frames, max(room, 0)), [])
        wanted = list(dict.fromkeys([*selves, *first]))
        sums, crosses = accumulate(
            layers, frames, every, wanted, norms=measure.norms, shuffling=shuffling, engine=engine
        )
    else:
        sums, crosses = {}, {}
        itself = [(0, 0, -1)] if selves else []
        for k, (layer, frame) in enumerate(zip(layers, frames, strict=True)):
            own, pair = accumulate(
                [layer], [frame], [0], itself, norms=measure.norms, engine=engine
            )
            sums[k] = own[0]
            crosses |= {(k, k, -1): pair[0, 0, -1]} if selves else {}
        first = []
    sides = [
        measure.side(layer, frames[k], sums[k], crosses.get((k, k, -1)), engine)
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
    measure: CKA,
    shuffling: Shuffling,
    advance: Callable[[int], object],
) -> tuple[dict[Pair, Both], list[Points]]:
    for layer in layers:
        if layer.on_disk:
            raise ValueError(
                f"kernel: 'rbf' needs every pair of tokens, and {layer.name} is on disk; accepts "
                "'linear', or arrays of fewer tokens"
            )
    points = [points_of(layer, measure.bandwidth) for layer in layers]
    draws = 1 + max((draw for *_, draw in pairs), default=-1)
    orders = [shuffling.order(draw, 0, layers[0].tokens) for draw in range(draws)]
    values = kernel_alignments(points, pairs, orders, debiased=measure.debiased)
    advance(len(pairs))
    return {pair: (value, value) for pair, value in values.items()}, points


_GROUPS = 20  # of texts, at most


def resampled(
    layers: Sequence[Layer],
    pairs: Sequence[tuple[int, int]],
    measure: Any,
    starts: np.ndarray,
    draws: int,
    *,
    seed: int,
    memory_budget: int = 2**30,
    engine: Engine | None = None,
) -> Iterator[np.ndarray]:
    """Yields each pair's similarities, (draws, 2), where texts are drawn with replacement.

    Texts are put into up to 20 groups of neighbours, whose sums are gathered once and weighed in
    each draw. ``starts`` says where each text starts; ``memory_budget`` is the bytes of the groups'
    sums, of layers on disk; of others, a pair's are made at a time.
    """
    count = min(_GROUPS, len(starts))
    edges = np.linspace(0, len(starts), count + 1).astype(int)[:-1]
    bounds = itertools.pairwise([*starts[edges].tolist(), layers[0].tokens])
    groups = [slice(*bound) for bound in bounds]
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), draws)
    sides, _ = prepared(layers, [], measure, _PLAIN, 0, engine)
    if isinstance(measure, CKA):
        frames = [_centred(side, layers[0].tokens) for side in sides]
    else:
        _check_draws(max(side.rank for side in sides), groups, weights)
        frames = [side.frame for side in sides]
    room = memory_budget if any(layer.on_disk for layer in layers) else 0
    read = _Grouped(layers, frames, groups, room, engine)
    drawn = _drawn_kernels if isinstance(measure, CKA) else _drawn_correlations
    yield from drawn(read, sides, pairs, measure, weights)


def _drawn_kernels(
    read: _Grouped, sides: list[Any], pairs: Sequence[tuple[int, int]], measure: CKA, weights: Any
) -> Iterator[np.ndarray]:
    """CKA, (draws, 2) of each pair."""
    shares = weights.astype(np.float64)
    used = sorted({k for pair in pairs for k in pair})
    kernels = read.kernels(used, shares)
    own: dict[int, np.ndarray] = {}
    selves = [(k, k) for k in used]
    for (i, j), _, crosses in read.sums([*selves, *pairs], norms=True):
        both = _criteria(kernels[i], kernels[j], crosses, shares, debiased=measure.debiased)
        if len(own) < len(used):
            own[i] = both
        else:
            values = np.minimum(1.0, both / np.sqrt(own[i] * own[j]))
            yield np.stack([values, values], axis=1)


def _drawn_correlations(
    read: _Grouped, sides: list[Any], pairs: Sequence[tuple[int, int]], measure: Any, weights: Any
) -> Iterator[np.ndarray]:
    """Canonical correlations, (draws, 2) of each pair."""
    for (i, j), sums, crosses in read.sums(pairs, norms=False):
        drawn = []
        for each in weights:
            x, y = (measure.resampled(sides[k], Sums.weighed(sums[k], each)) for k in (i, j))
            drawn.append(measure.values(x, y, CrossSums.weighed(crosses, each)))
        yield np.array(drawn)


def _centred(kernel: LinearKernel, tokens: int) -> Frame:
    """The layer less its mean: what is left out of a kernel depends on where its zero is."""
    frame = kernel.frame
    return replace(frame, shift=frame.shift + kernel.total / (tokens * frame.scale))


def _check_draws(directions: int, groups: Sequence[slice], weights: np.ndarray) -> None:
    """Refuses draws in which canonical correlations are 1 whatever the data."""
    sizes = np.array([group.stop - group.start for group in groups])
    fewest = int(((weights > 0) @ sizes).min())
    if fewest - 1 <= directions:
        raise ValueError(
            f"bootstrap: a draw holds {fewest} different tokens, and there are up to {directions} "
            "directions; accepts 0, or more tokens"
        )


@dataclass(frozen=True)
class _Grouped:
    """Layers, the coordinates in which they are read, and the groups of their tokens."""

    layers: Sequence[Layer]
    frames: Sequence[Frame]
    groups: Sequence[slice]
    budget: int
    engine: Engine | None

    def sums(
        self, pairs: Sequence[tuple[int, int]], *, norms: bool
    ) -> Iterator[tuple[tuple[int, int], dict[int, list[Sums]], list[CrossSums]]]:
        """Each pair with the sums of its layers, where norms are not asked for, and its own.

        All are lists of one for each group; as many pairs as memory holds are read together.
        """
        named = [(i, j, -1) for i, j in pairs]
        for some in _groups(named, self.frames, self.budget // (3 * len(self.groups))):
            single = [] if norms else sorted({k for i, j, _ in some for k in (i, j)})
            of_groups = [self._of(group, single, some, norms=norms) for group in self.groups]
            sums = {k: [own[k] for own, _ in of_groups] for k in single}
            for i, j, _ in some:
                yield (i, j), sums, [crosses.pop((i, j, -1)) for _, crosses in of_groups]

    def kernels(self, layers: Sequence[int], weights: np.ndarray) -> dict[int, _Kernel]:
        """The linear kernels of some layers over the groups."""
        each = [self._of(group, layers, [], norms=False)[0] for group in self.groups]
        return {k: _Kernel.of([sums[k] for sums in each], weights) for k in layers}

    def _of(
        self, group: slice, singles: Sequence[int], pairs: Sequence[Pair], *, norms: bool
    ) -> Summed:
        return accumulate(
            self.layers,
            self.frames,
            singles,
            pairs,
            norms=norms,
            within=group,
            engine=self.engine,
        )


@dataclass(frozen=True)
class _Kernel:
    r"""A layer's linear kernel over the groups.

    Args:
        totals (array): (groups, coordinates), sums of the tokens.
        whole (array): (draws,), the sum of the kernel.
        trace (array): (draws,), the sum of its diagonal.
    """

    totals: np.ndarray
    whole: np.ndarray
    trace: np.ndarray

    @classmethod
    def of(cls, sums: list[Sums], weights: np.ndarray) -> _Kernel:
        totals = np.array([part.total for part in sums])
        trace = weights**2 @ np.array([np.trace(part.gram) for part in sums])
        return cls(totals, _form(totals @ totals.T, weights), trace)


def _criteria(
    x: _Kernel, y: _Kernel, crosses: list[CrossSums], weights: np.ndarray, *, debiased: bool
) -> np.ndarray:
    """(draws,), the Hilbert–Schmidt independence criterion where groups have weights.

    It is made of forms in the weights, so that a draw costs no more than a few small products.
    Debiased, a token that was drawn twice is not compared with itself, no more than it is in the
    criterion of the data: else what was drawn would be more alike by that alone.
    """
    n = weights @ np.array([cross.count for cross in crosses])
    flat = np.stack([cross.product.ravel() for cross in crosses])
    between = np.array([x.totals @ cross.product @ y.totals.T for cross in crosses])
    both = _form(flat @ flat.T, weights)
    rows = np.einsum("dg,dh,dk,hgk->d", weights, weights, weights, between, optimize=True)
    if not debiased:
        return np.asarray(both - 2 * rows / n + x.whole * y.whole / n**2)
    squares = np.array([cross.squares for cross in crosses])
    by_y, by_x = (np.array([getattr(cross, by) for cross in crosses]) for by in ("by_y", "by_x"))
    products = x.totals @ by_y.T + y.totals @ by_x.T
    rows += weights**3 @ squares - np.einsum("dg,gh,dh->d", weights, products, weights**2)
    both -= weights**2 @ squares
    return estimate(n, both, rows, x.whole - x.trace, y.whole - y.trace)


def _form(matrix: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(draws,), w' M w."""
    return np.asarray(np.einsum("dg,gh,dh->d", weights, matrix, weights))
