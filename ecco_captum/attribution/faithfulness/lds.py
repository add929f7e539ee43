r"""The linear datamodeling score of an attribution, and what it is by chance and by position.

Sources of a text are removed at random, and each removal's drop of the score is compared with the
sum of what the attribution gives to the sources that were removed. No model is read here: one set
of removals serves every attribution of the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from ecco_captum.core.significance import rank_p_value

WINDOW = 5
"""Neighbouring sources that change places in the test against position."""

_AT_ONCE = 2**21  # numbers that are ranked at once
_RESAMPLES = 1000


@dataclass(frozen=True)
class Evidence:
    r"""What the scores of some outputs lost where their sources were removed at random.

    Each order of the sources, drawn at random, is one series of removals: its first sources, at
    each rate more of them.

    Args:
        rows (array): (targets,), int64, which rows of an attribution the outputs are.
        sources (array): (sources,), int64, positions that may be removed, ascending.
        removed (array): (rates, orders, sources), bool.
        drops (array): (rates, orders, targets), float64, in the score's unit.
    """

    rows: np.ndarray
    sources: np.ndarray
    removed: np.ndarray
    drops: np.ndarray

    def half(self, which: int) -> Evidence:
        """Every second order, from the first (0) or the second (1) on."""
        part = slice(which, None, 2)
        return Evidence(self.rows, self.sources, self.removed[:, part], self.drops[:, part])


@dataclass(frozen=True)
class LinearDatamodel:
    r"""An attribution against the removals of a text.

    Args:
        by_output (array): (targets,), the score, -1 to 1.
        chance (array): (draws, targets), the score where the attribution's sources change places.
        beyond_position (array): (targets,), the score of what position does not explain.
        near (array): (draws, targets), the same where sources of one window change places.
        resampled (array): (resamples,), the mean over outputs with orders drawn anew.
    """

    by_output: np.ndarray
    chance: np.ndarray
    beyond_position: np.ndarray
    near: np.ndarray
    resampled: np.ndarray

    @property
    def interval(self) -> np.ndarray:
        """(3,), the mean over outputs and its 95% interval over orders."""
        return np.array([self.by_output.mean(), *np.quantile(self.resampled, (0.025, 0.975))])

    @property
    def p_chance(self) -> float:
        """How often sources in random places do as well, over all outputs together."""
        return float(rank_p_value(self.by_output.mean(), self.chance.mean(axis=1)))

    @property
    def p_position(self) -> float:
        """How often sources among their neighbours' places do as well."""
        return float(rank_p_value(self.beyond_position.mean(), self.near.mean(axis=1)))

    @property
    def p_worse(self) -> float:
        """How often sources in random places do as badly."""
        return float(rank_p_value(-self.by_output.mean(), -self.chance.mean(axis=1)))

    @property
    def p_by_output(self) -> np.ndarray:
        """(2, targets): chance and position, of each output alone."""
        of_chance = rank_p_value(self.by_output, self.chance)
        return np.stack([of_chance, rank_p_value(self.beyond_position, self.near)])


def linear_datamodel(
    evidence: Sequence[Evidence], scores: np.ndarray, draws: int, rng: np.random.Generator
) -> LinearDatamodel:
    r"""Compares an attribution with removals, and with itself in other places.

    The linear datamodeling score (Park et al. 2023, section 2; Cohen-Wang et al. 2024, equation 3)
    of an output is Spearman's correlation, over removals, of the sum of the removed sources'
    attributions with the drop of the output's score; here the mean of it over removal rates, so
    that it is nothing gained that larger removals cost more.

    Both nulls are exact: one permutation of the sources serves all outputs of the text, since they
    share its removals, and the text's own score is the mean over them. "Chance" permutes freely.
    "Position" permutes within windows of five neighbours, which keeps where the attribution is
    large and changes only which of the neighbours it means; and sums and drops are freed from what
    the places of the removed sources explain (regression on sums of their places and squares of
    these, and of their log and reciprocal distances from the start and the end), so that an
    attribution which falls or rises over the text gains nothing by that. Windows, and not strata of
    equal distance, since each output has its own distances and all outputs share a permutation.

    Args:
        evidence (Sequence of Evidence): of the segments of a text, one kind of removal.
        scores (array): (rows, positions), the attribution.
        draws (int): permutations of each null.
        rng (Generator): of permutations and resampling.
    """
    free = permutations(evidence, draws, rng)
    near = permutations(evidence, draws, rng, near=True)
    sides = [_Ranked(part, positional=False) for part in evidence]
    freed = [_Ranked(part, positional=True) for part in evidence]
    return LinearDatamodel(
        by_output=_in_rows(evidence, [side.of(scores)[0] for side in sides]),
        chance=_in_rows(evidence, [side.of(scores, free) for side in sides]),
        beyond_position=_in_rows(evidence, [side.of(scores)[0] for side in freed]),
        near=_in_rows(evidence, [side.of(scores, near) for side in freed]),
        resampled=_resampled(sides, scores, rng),
    )


def lds_of(evidence: Sequence[Evidence], scores: np.ndarray) -> np.ndarray:
    """(targets,), the linear datamodeling scores alone."""
    each = [_Ranked(part, positional=False).of(scores)[0] for part in evidence]
    return _in_rows(evidence, each)


def _in_rows(evidence: Sequence[Evidence], parts: Sequence[np.ndarray]) -> np.ndarray:
    """(…, targets) of all segments, in the order of the attribution's rows."""
    order = np.argsort(np.concatenate([part.rows for part in evidence]), kind="stable")
    return np.concatenate(parts, axis=-1)[..., order]


def permutations(
    evidence: Sequence[Evidence], draws: int, rng: np.random.Generator, *, near: bool = False
) -> np.ndarray:
    """(draws, positions): the position whose attribution each takes, its own where it is no source.

    Those change places that are sources of the same segments, so that a permutation of all
    positions is one of each segment's sources; ``near`` if only within windows.
    """
    groups = _blocks(evidence)
    if near:
        groups = [window for block in groups for window in _windows(block)]
    taken = np.tile(np.arange(1 + max(int(part.sources[-1]) for part in evidence)), (draws, 1))
    for group in groups:
        taken[:, group] = rng.permuted(taken[:, group], axis=1)
    return taken


def _blocks(evidence: Sequence[Evidence]) -> list[np.ndarray]:
    """Positions that are sources of the same segments."""
    blocks, known = [], np.zeros(0, dtype=np.int64)
    for part in sorted(evidence, key=lambda each: len(each.sources)):
        new = np.setdiff1d(part.sources, known)
        known = np.union1d(known, new)
        blocks += [new] if len(new) else []
    return blocks


def _windows(block: np.ndarray) -> list[np.ndarray]:
    """Runs of neighbours, equally long but for rounding."""
    return np.array_split(block, max(1, round(len(block) / WINDOW)))


class _Ranked:
    """A segment's drops as ranks within each rate, ready for correlations with any sums.

    Where ``positional``, ranks are freed from what places of the removed sources explain.
    """

    def __init__(self, evidence: Evidence, *, positional: bool) -> None:
        self.evidence, self.positional = evidence, positional
        # Where everything is removed all orders are the same; a text of one source has no other.
        some = ~evidence.removed.all(axis=(1, 2))
        rates = np.flatnonzero(some) if some.any() else slice(None)
        self.removed = evidence.removed[rates].astype(np.float64)
        places = _places_of(evidence) if positional else None
        self.bases = [_basis(removed, places) for removed in self.removed]
        drops = rankdata(np.moveaxis(evidence.drops[rates], 2, 1), axis=-1)  # …, targets, orders
        self.drops = [_freed(own, basis) for own, basis in zip(drops, self.bases, strict=True)]

    def ranks(self, weights: np.ndarray) -> list[np.ndarray]:
        """Of each rate, (…, orders): ranks of the sums of weights, (…, sources).

        Where ``positional``, of what places leave of the sums: their ranks bend with places even
        where the sums are nothing but sums of places.
        """
        ranks = []
        for removed, basis in zip(self.removed, self.bases, strict=True):
            sums = weights @ removed.T
            if self.positional:
                sums = _freed(sums, basis)
            ranks.append(_freed(rankdata(_rounded(sums), axis=-1), basis))
        return ranks

    def of(self, scores: np.ndarray, taken: np.ndarray | None = None) -> np.ndarray:
        """(draws, targets), correlations of the attribution, its sources in other places.

        ``taken`` are permutations, (draws, positions); without them there is one, of no change.
        """
        own, sources = scores[self.evidence.rows].astype(np.float64), self.evidence.sources
        taken = sources[None] if taken is None else taken[:, sources]
        size = max(1, _AT_ONCE // max(1, len(own) * self.removed.shape[1]))
        parts = [taken[start : start + size] for start in range(0, len(taken), size)]
        each = [self._correlations(np.moveaxis(own[:, part], 1, 0)) for part in parts]
        return np.concatenate(each)

    def _correlations(self, weights: np.ndarray) -> np.ndarray:
        """(draws, targets), means over rates, of weights (draws, targets, sources)."""
        pairs = zip(self.ranks(weights), self.drops, strict=True)
        return np.asarray(np.mean([_correlation(sums, drops) for sums, drops in pairs], axis=0))


def _rounded(sums: np.ndarray) -> np.ndarray:
    """Sums whose last digits, which differ with the order of summation, make no ties unequal."""
    size = np.abs(sums).max(axis=-1, keepdims=True)
    return np.asarray(np.round(sums / np.where(size > 0, size, 1), 9))


def _places_of(evidence: Evidence) -> np.ndarray:
    """(sources, 6): place and its square, log and reciprocal distances from start and end."""
    distance = 1 + np.arange(len(evidence.sources), dtype=np.float64)
    both = [distance, distance[::-1]]
    bends = [*map(np.log, both), *(1 / each for each in both)]
    return np.stack([distance, distance**2, *bends], axis=1)


def _basis(removed: np.ndarray, places: np.ndarray | None) -> np.ndarray:
    """(orders, k), orthonormal, what is taken out of ranks: their mean, and sums of places."""
    known = np.ones((len(removed), 1))
    if places is not None:
        known = np.concatenate([known, removed @ places], axis=1)
    left, sizes, _ = np.linalg.svd(known, full_matrices=False)
    return np.asarray(left[:, sizes > 1e-9 * sizes[0]])


def _freed(ranks: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Ranks, (…, orders), less what the basis explains; of length 1, or 0 where nothing is left."""
    rest = ranks - ranks @ basis @ basis.T
    length = np.linalg.norm(rest, axis=-1, keepdims=True)
    there = length > 1e-6 * np.linalg.norm(ranks, axis=-1, keepdims=True)
    return np.asarray(np.where(there, rest / np.where(there, length, 1), 0.0))


def _correlation(sums: np.ndarray, drops: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("...o,...o->...", sums, drops))


def _resampled(
    sides: Sequence[_Ranked], scores: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(resamples,), means over outputs where orders are drawn with replacement.

    Ranks stay those of all removals; the correlations are of the orders that were drawn.
    """
    sums, count = np.zeros(_RESAMPLES), 0
    for side in sides:
        orders = side.removed.shape[1]
        weights = rng.multinomial(orders, np.full(orders, 1 / orders), _RESAMPLES) / orders
        own = scores[side.evidence.rows].astype(np.float64)[:, side.evidence.sources]
        pairs = zip(side.ranks(own), side.drops, strict=True)
        drawn = [_weighted(weights, ranks, drops) for ranks, drops in pairs]
        sums += np.mean(drawn, axis=0).sum(axis=1)
        count += len(own)
    return sums / count


def _weighted(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(draws, targets), correlations under weights, (draws, orders), of (targets, orders)."""
    of_x, of_y = weights @ x.T, weights @ y.T
    both = weights @ (x * y).T - of_x * of_y
    sizes = (weights @ (x * x).T - of_x**2) * (weights @ (y * y).T - of_y**2)
    there = sizes > 1e-18
    return np.asarray(np.where(there, both / np.sqrt(np.where(there, sizes, 1)), 0.0))
