r"""Layers of one model, or of two, compared with each other: each value beside its null."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ecco_captum.activations.record import Activations
from ecco_captum.core.checks import UnsupportedError, check_whole
from ecco_captum.core.progress import Progress, progress_bar
from ecco_captum.similarity.from_sums import CKA, SVCCA, MeasureName, find_measure
from ecco_captum.similarity.layers import Alignment, aligned_words, check_enough, reduce_features
from ecco_captum.similarity.pairwise import evaluated, resampled
from ecco_captum.similarity.record import Similarity
from ecco_captum.similarity.sums import Layer, Pair

_FEWEST_TEXTS = 10


def compare(
    a: Activations | Sequence[Activations],
    b: Activations | Sequence[Activations] | None = None,
    *,
    measure: MeasureName = "pwcca",
    n_permutations: int = 10,
    bootstrap: int = 0,
    seed: int = 0,
    memory_budget: int = 2**30,
    progress: Progress = None,
    **options: Any,
) -> Similarity:
    r"""Compares every layer of one with every layer of the other (Alammar 2021, figure 6).

    Each layer is decomposed once. Beside each value stands what the same data give where the tokens
    of one side are permuted: with few tokens for each feature, canonical correlations are high by
    chance alone, and this says how high. Activations on disk are read in passes, as few as memory
    allows, and never as a whole; there, tokens are permuted within the parts that are read.

    Args:
        a (Activations or sequence of Activations): rows. Several, such as hidden states and neurons
            of the same texts, stand one below the other.
        b (Activations or sequence of Activations, optional): columns. Of other tokens than a's,
            such as another model's, the words that both tokenizers found are compared, each as the
            mean of its tokens. Default: a, with itself
        measure (str, optional): ``"cca"``, ``"svcca"``, ``"pwcca"`` or ``"cka"``, with the
            functions of these names. PWCCA is weighed by the rows' neurons. Default: ``"pwcca"``
        n_permutations (int, optional): how many permutations make the null; 0 for none.
            Default: 10
        bootstrap (int, optional): how many draws of texts, with replacement, make an interval; 0
            for none. SVCCA keeps its directions. Default: 0
        seed (int, optional): of permutations and draws. Default: 0
        memory_budget (int, optional): bytes that sums over tokens may take at a time, of
            activations on disk. Default: 1 GiB
        progress (bool or Callable, optional): whether to show a progress bar, or a function that
            is called with the part done, 0 to 1. Default: a bar on a terminal and in notebooks
        **options (Any): those of the measure's function: ``variance``, ``dims``, ``weight_by``,
            ``definition``, ``kernel``, ``debiased``, ``bandwidth``.

    Returns:
        Similarity: values (rows, columns), their null, their interval.

    Raises:
        TypeError: if a or b are no activations, or the measure has no such option.
        ValueError: if they are not of the same texts, hold NaN or infinity, have too few tokens for
            the measure, or an argument is wrong.

    Warns:
        UserWarning: if there are fewer than 10 tokens for each feature.

    Examples::

        >>> both = [hidden_states(encoder, texts), neurons(encoder, texts)]
        >>> alike = compare(both, measure="cka")
        >>> alike.values.shape, alike.rows[0], alike.rows[-1]
        ((13, 13), 'embedding', 'neurons 5')
    """
    check_whole("n_permutations", n_permutations, least=0)
    check_whole("bootstrap", bootstrap, least=0)
    check_whole("seed", seed, least=0)
    check_whole("memory_budget", memory_budget)
    chosen = find_measure(measure, options)
    rows = _together("a", a)
    columns = rows if b is None else _together("b", b)
    layers = [_layers("a", rows), [] if b is None else _layers("b", columns)]
    noted: dict[str, Any] = {"with_itself": b is None}
    starts, unit = rows[0].sequences, "tokens"
    if not _same_tokens(rows[0], columns[0]):
        aligned = _aligned(rows[0], columns[0])
        layers = [_by_words(layers[0], aligned.of_a), _by_words(layers[1], aligned.of_b)]
        starts, unit, noted["dropped"] = aligned.starts, "words", list(aligned.dropped)
    if bootstrap and isinstance(chosen, CKA) and chosen.kernel == "rbf":
        raise ValueError(f"bootstrap: got {bootstrap}, accepts 0 with kernel 'rbf'")
    if bootstrap and len(starts) < _FEWEST_TEXTS:
        raise ValueError(
            f"bootstrap: there are {len(starts)} texts to draw from, accepts {_FEWEST_TEXTS} or "
            "more, or 0"
        )
    every = _checked([*layers[0], *layers[1]], chosen)
    names = [_names(rows), _names(columns)]
    grid = _Grid(len(names[0]), len(names[1]), mirrored=b is None)
    pairs = grid.pairs(n_permutations)
    total = len(pairs) + (len(grid.pairs(0)) if bootstrap else 0)
    with progress_bar(progress, total=total, desc="Comparing", unit=" pairs") as bar:
        options = {"seed": seed, "memory_budget": memory_budget, "advance": bar.update}
        values = evaluated(every, pairs, chosen, **options)
        interval = np.full((*grid.shape, 2), np.nan)
        if bootstrap:
            drawn = [(i, j) for i, j, _ in grid.pairs(0)]
            spread = resampled(every, drawn, chosen, starts, bootstrap, seed=seed)
            for pair, each in zip(drawn, spread, strict=True):
                grid.put(interval, pair, _centred(values[pair[0], pair[1], -1], each))
                bar.update()
    null_mean, null_95 = grid.null(values, n_permutations)
    return Similarity(
        values=grid.filled(values),
        null_mean=null_mean,
        null_95=null_95,
        interval=grid.sure(interval) if bootstrap else interval,
        rows=names[0],
        columns=names[1],
        measure=measure,
        models=(rows[0].model, columns[0].model),
        count=every[0].tokens,
        unit=unit,
        texts=len(starts),
        settings={
            **{key: value for key, value in dataclasses.asdict(chosen).items() if key != "norms"},
            "n_permutations": n_permutations,
            "bootstrap": bootstrap,
            "seed": seed,
            **noted,
        },
    )


@dataclasses.dataclass(frozen=True)
class _Grid:
    """Which pairs of layers there are, and where their values go.

    Where layers are compared with themselves, a pair is computed once and stands in two places.
    """

    rows: int
    columns: int
    mirrored: bool

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.columns

    def pairs(self, draws: int) -> list[Pair]:
        """Pairs as they are, and in each shuffling; a layer is 1 to itself, but not shuffled."""
        pairs = []
        for i, j in np.ndindex(self.shape):
            other = j if self.mirrored else self.rows + j
            if self.mirrored and j < i:
                continue
            first = 0 if self.mirrored and i == j else -1
            pairs += [(int(i), int(other), draw) for draw in range(first, draws)]
        return pairs

    def put(self, into: np.ndarray, pair: tuple[int, int], both: Sequence[Any]) -> None:
        """Puts what a pair has into its places: what it is to the rows, and to the columns."""
        i, j = pair[0], pair[1] - (0 if self.mirrored else self.rows)
        into[i, j] = both[0]
        if self.mirrored and i != j:
            into[j, i] = both[1]

    def filled(self, values: dict[Pair, tuple[float, float]]) -> np.ndarray:
        """(rows, columns)"""
        grid = np.ones(self.shape)
        for (i, j, draw), both in values.items():
            if draw < 0:
                self.put(grid, (i, j), both)
        return grid

    def sure(self, interval: np.ndarray) -> np.ndarray:
        """The interval of a layer and itself."""
        if self.mirrored:
            interval[np.diag_indices(self.rows)] = 1.0
        return interval

    def null(
        self, values: dict[Pair, tuple[float, float]], draws: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """(rows, columns), the mean of all shufflings, and what 95% of them stay below."""
        every = np.full((draws, *self.shape), np.nan)
        for (i, j, draw), both in values.items():
            if draw >= 0:
                self.put(every[draw], (i, j), both)
        if not draws:
            return np.full(self.shape, np.nan), np.full(self.shape, np.nan)
        return every.mean(axis=0), np.quantile(every, 0.95, axis=0)


def _centred(both: tuple[float, float], drawn: np.ndarray) -> list[np.ndarray]:
    """Basic bootstrap intervals around the value itself.

    Texts that are drawn twice give the pairs of their own tokens a larger weight than the data do,
    which moves all draws alike; that shift is no uncertainty and is taken out.
    """
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0) - np.mean(drawn, axis=0)
    value = np.array(both)
    return list(np.stack([value - high, value - low], axis=-1).clip(max=1.0))


def _together(name: str, given: Any) -> list[Activations]:
    """One or several activations of the same tokens."""
    several = [given] if isinstance(given, Activations) else given
    if not isinstance(several, list | tuple) or not several:
        raise TypeError(
            f"{name}: got a {type(given).__name__}, accepts what neurons() or hidden_states() "
            "returns, or a list of these"
        )
    for acts in several:
        if not isinstance(acts, Activations):
            raise TypeError(f"{name}: got a {type(acts).__name__} in a list, accepts Activations")
        if not _same_tokens(acts, several[0]):
            raise ValueError(f"{name}: its activations are not of the same texts")
    return list(several)


def _same_tokens(a: Activations, b: Activations) -> bool:
    return np.array_equal(a.tokens.ids, b.tokens.ids) and np.array_equal(a.sequences, b.sequences)


def _aligned(a: Activations, b: Activations) -> Alignment:
    return aligned_words(a.tokens.texts, a.sequences, b.tokens.texts, b.sequences)


def _by_words(layers: list[Layer], spans: np.ndarray) -> list[Layer]:
    """Layers of words; those in memory stay there, so that any order of words can be read."""
    words = [dataclasses.replace(layer, spans=spans) for layer in layers]
    if any(layer.on_disk for layer in layers):
        return words
    kind = np.result_type(layers[0].values.dtype, np.float32)
    whole = slice(0, len(spans))
    return [Layer(layer.read(whole).astype(kind)[None], 0, layer.name) for layer in words]


def _layers(name: str, several: list[Activations]) -> list[Layer]:
    kinds = len(several) > 1
    return [
        Layer(
            acts.values, row, f"{name}, {acts.kind if kinds else ''} {layer}".replace(",  ", ", ")
        )
        for acts in several
        for row, layer in enumerate(acts.layer_names)
    ]


def _names(several: list[Activations]) -> tuple[str, ...]:
    if len(several) == 1:
        return tuple(several[0].layer_names)
    # Short enough for the head of a column: "neurons 3" is block 3's.
    return tuple(
        name if name == "embedding" else f"{acts.kind} {name.removeprefix('block ')}"
        for acts in several
        for name in acts.layer_names
    )


def _checked(layers: list[Layer], measure: Any) -> list[Layer]:
    """Whether there are enough tokens; layers with more features than tokens get fewer."""
    if isinstance(measure, CKA):
        if layers[0].tokens < 4:
            raise UnsupportedError(f"a: it has {layers[0].tokens} tokens, accepts 4 or more")
        if measure.kernel == "rbf":
            return layers
    if isinstance(measure, CKA | SVCCA):
        return [reduce_features(layer) for layer in layers]
    widest = max(layers, key=lambda layer: layer.width)
    check_enough(widest, widest, depth=5)
    return layers
