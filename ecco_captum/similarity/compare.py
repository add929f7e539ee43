r"""Layers of one model, or of two, compared with each other: each value beside its null."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from math import ceil
from typing import Any, get_args

import numpy as np

from ecco_captum.activations.record import Activations
from ecco_captum.core.checks import UnsupportedError, check_whole
from ecco_captum.core.progress import Progress, progress_bar
from ecco_captum.core.significance import LEVEL, max_t, rank_p_value
from ecco_captum.core.stored_array import StoredValues
from ecco_captum.corpus.engines import Engine, EngineName, LocalEngine, engine_of
from ecco_captum.similarity.from_sums import CKA, SVCCA, MeasureName, find_measure
from ecco_captum.similarity.layers import Alignment, aligned_words, check_enough, reduce_features
from ecco_captum.similarity.pairwise import evaluated, resampled
from ecco_captum.similarity.rearranged import Null, Rearrangement, rearranged
from ecco_captum.similarity.record import Similarity
from ecco_captum.similarity.sums import Layer, Pair, Shuffling
from ecco_captum.similarity.tested import (
    alignments,
    autocorrelation,
    most_tokens,
    texts_run_on,
)

_FEWEST_TEXTS = 10
_SHOWN = 19  # draws of the measure itself; of the statistic that p-values rank, all


def compare(
    a: Activations | Sequence[Activations],
    b: Activations | Sequence[Activations] | None = None,
    *,
    measure: MeasureName = "pwcca",
    n_draws: int = 99,
    null: Null | None = None,
    bootstrap: int = 0,
    seed: int = 0,
    memory_budget: int = 2**30,
    engine: Engine | EngineName = "local",
    progress: Progress = None,
    **options: Any,
) -> Similarity:
    r"""Compares every layer of one with every layer of the other (Alammar 2021, figure 6).

    Each layer is decomposed once. Beside each value stands what the same data give where the tokens
    of one side stand in other places: with few tokens for each feature, canonical correlations are
    high by chance alone, and this says how high. Activations on disk are read in passes, as few as
    memory allows, and never as a whole; there, tokens change places within the parts that are read.

    Neighbouring tokens are alike, so what moves together stays together. ``"texts"`` lets whole
    texts of one side change places with texts of about the same length, cut to one length; it is
    taken where there are enough of them. ``"shift"`` lets one side slide along its text by up to 50
    tokens or half as many as there are draws, at most a quarter of the text, and compares the
    window in between; it is taken for one text or a few, and where the ends of texts go on in the
    next ones, as those of one text cut in parts do. ``"tokens"`` permutes single tokens, which
    finds too much wherever neighbours are alike.

    The p-value of a pair is (1 + b) / (1 + n), where b of n draws are as much alike; ``p_adjusted``
    holds over all pairs together (Westfall & Young 1993, step-down max-T: each draw serves all
    pairs). They rank cosines of the layers' kernels over up to 2,048 tokens, without the
    products of tokens with themselves: CKA, or for canonical correlations the sum of their squares,
    which needs no decomposition a draw.

    Args:
        a (Activations or sequence of Activations): rows. Several, such as hidden states and neurons
            of the same texts, stand one below the other.
        b (Activations or sequence of Activations, optional): columns. Of other tokens than a's,
            such as another model's, the words that both tokenizers found are compared, each as the
            mean of its tokens. Default: a, with itself
        measure (str, optional): ``"cca"``, ``"svcca"``, ``"pwcca"`` or ``"cka"``, with the
            functions of these names. PWCCA is weighed by the rows' neurons. Default: ``"pwcca"``
        n_draws (int, optional): how many draws make p-values; 0 for no null. The first 19 of a seed
            also make ``null_mean`` and ``null_95``, by the measure itself over all tokens.
            Default: 99
        null (str, optional): what changes places: ``"texts"``, ``"shift"`` or ``"tokens"``.
            Default: what fits the texts
        bootstrap (int, optional): how many draws of texts, with replacement, make an interval; 0
            for none. SVCCA keeps its directions. Default: 0
        seed (int, optional): of all draws. Default: 0
        memory_budget (int, optional): bytes that sums over tokens may take at a time, of
            activations on disk, and the kernels of the test; where pieces are added up, three such
            sums are held. Default: 1 GiB
        engine (str or RayEngine, optional): where sums over tokens are made: ``"local"`` in this
            process; ``"ray"``, or a :class:`RayEngine`, by many, which reach the activations on
            disk under the same path. Of activations on disk the result is the same to the last
            bit, whatever the engine and its workers. Default: ``"local"``
        progress (bool or Callable, optional): whether to show a progress bar, or a function that
            is called with the part done, 0 to 1. Default: a bar on a terminal and in notebooks
        **options (Any): those of the measure's function: ``variance``, ``dims``, ``weight_by``,
            ``definition``, ``kernel``, ``debiased``, ``bandwidth``.

    Returns:
        Similarity: values (rows, columns), their null, p-values and interval.

    Raises:
        ImportError: if Ray is missing, with ``engine="ray"``.
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
    _check_renamed(options)
    check_whole("n_draws", n_draws, least=0)
    if null is not None and null not in get_args(Null):
        accepted = ", ".join(map(repr, get_args(Null)))
        raise ValueError(f"null: got {null!r}, accepts {accepted}, or None")
    check_whole("bootstrap", bootstrap, least=0)
    check_whole("seed", seed, least=0)
    check_whole("memory_budget", memory_budget)
    where, chosen = engine_of(engine), find_measure(measure, options)
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
    drawn = _drawn(every, starts, null, n_draws, seed, memory_budget)
    shown = min(n_draws, _SHOWN)
    pairs = grid.pairs(shown)
    tested = grid.pairs(0) if drawn.draws and len(drawn.rows) else []
    total = len(pairs) + len(tested) + (len(grid.pairs(0)) if bootstrap else 0)
    # What is in memory is summed up as it comes, unless it goes to workers.
    on_disk = any(isinstance(acts.values, StoredValues) for acts in (*rows, *columns))
    in_pieces = on_disk or not isinstance(where, LocalEngine)
    sums: dict[str, Any] = {
        "memory_budget": memory_budget,
        "engine": where if in_pieces else None,
    }
    with (
        where.session(),
        progress_bar(progress, total=total, desc="Comparing", unit=" pairs") as bar,
    ):
        shuffling = Shuffling(seed, drawn.null, starts)
        values, sides = evaluated(
            every, pairs, chosen, shuffling=shuffling, advance=bar.update, **sums
        )
        p_values = p_adjusted = np.full(grid.shape, np.nan)
        if tested:
            p_values, p_adjusted = grid.p_values(alignments(every, sides, grid.rows, drawn))
            bar.update(len(tested))
        interval = np.full((*grid.shape, 2), np.nan)
        if bootstrap:
            plain = [(i, j) for i, j, _ in grid.pairs(0)]
            spread = resampled(every, plain, chosen, starts, bootstrap, seed=seed, **sums)
            for pair, each in zip(plain, spread, strict=True):
                grid.put(interval, pair, _centred(values[pair[0], pair[1], -1], each))
                bar.update()
    null_mean, null_95 = grid.null(values, shown)
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
        p_values=p_values,
        p_adjusted=p_adjusted,
        draws=drawn.draws if tested else 0,
        settings={
            **{key: value for key, value in dataclasses.asdict(chosen).items() if key != "norms"},
            "n_draws": n_draws,
            "bootstrap": bootstrap,
            "seed": seed,
            **(_described(every, starts, drawn, chosen_null=null) if n_draws else {}),
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
        """(rows, columns), the mean of the draws, and the one that 95% of draws stay below.

        That is an order statistic: of 19 draws the largest.
        """
        every = np.full((draws, *self.shape), np.nan)
        for (i, j, draw), both in values.items():
            if draw >= 0:
                self.put(every[draw], (i, j), both)
        if not draws:
            return np.full(self.shape, np.nan), np.full(self.shape, np.nan)
        place = min(draws, ceil((1 - LEVEL) * (draws + 1) - 1e-9))
        return every.mean(axis=0), np.sort(every, axis=0)[place - 1]

    def p_values(self, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(rows, columns), p-values of (1 + draws, rows, columns), each and over all pairs.

        Where layers are compared with themselves a pair is one of the family, not two, and a layer
        with itself none.
        """
        if self.mirrored:
            drawn = np.triu(drawn) + np.triu(drawn, 1).swapaxes(1, 2)
        each = rank_p_value(drawn[0], drawn[1:])
        adjusted = each.copy()
        if not self.mirrored:
            adjusted[:] = max_t(drawn.reshape(len(drawn), -1)).reshape(self.shape)
        elif self.rows > 1:
            above = np.triu_indices(self.rows, 1)
            adjusted[above] = adjusted.T[above] = max_t(drawn[:, above[0], above[1]])
        return each, adjusted


def _drawn(
    layers: Sequence[Layer],
    starts: np.ndarray,
    null: Null | None,
    draws: int,
    seed: int,
    memory_budget: int,
) -> Rearrangement:
    """Which tokens the test compares, as they are and in each draw."""
    run_on = bool(null is None and draws and texts_run_on(layers, starts, seed))
    most = most_tokens(len(layers), memory_budget)
    count = layers[0].tokens
    return rearranged(null, starts, count, draws, most=most, seed=seed, run_on=run_on)


def _described(
    layers: Sequence[Layer], starts: np.ndarray, drawn: Rearrangement, chosen_null: Null | None
) -> dict[str, Any]:
    """What the record says of the null."""
    return {
        "null": drawn.null,
        "null_chosen": chosen_null is not None,
        "null_reach": drawn.reach,
        "null_tokens": len(drawn.rows),
        "null_can_reject": drawn.can_reject,
        "autocorrelation": autocorrelation(layers, starts, drawn.rows),
    }


def _check_renamed(options: dict[str, Any]) -> None:
    """An option of earlier versions, which meant something else, is refused by name."""
    if "n_permutations" in options:
        raise TypeError(
            "n_permutations: it permuted single tokens, which finds too much in texts; accepts "
            "n_draws, of a null that fits the texts, or of null='tokens' for the former one"
        )


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
