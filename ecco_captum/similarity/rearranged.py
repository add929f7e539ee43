r"""Tokens of one side in other places: the nulls of a comparison, which one fits, and its draws.

Tokens of a text are not exchangeable, so what moves together stays together: whole texts change
places, or a side slides along its text. A rearranged side must have the distribution that it had.
Therefore texts change places with texts of about the same length, cut to one length, and a side
that slides has no seam: a window of it is compared, which moves, instead of a circle.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lgamma, log10
from typing import Literal

import numpy as np

from ecco_captum.core.significance import LEVEL

Null = Literal["texts", "shift", "tokens"]
"""What changes places under the null: whole texts, a side that slides along its text, or single
tokens, which holds only where tokens are independent."""

_ALIKE = 1.25  # the longest of texts that change places, over the shortest
_ENOUGH = 1000  # arrangements of whole texts
_REACH = 50  # tokens that a side slides at least, where its text is long enough
_SHORTEST = 28, 10  # tokens of a single text, and how far a side slides in it
_FEW, _MANY = 8, 30  # texts


@dataclass(frozen=True)
class Rearrangement:
    r"""Which tokens are compared, and where those of the columns stand in each draw.

    Args:
        null (str): what changes places.
        rows (array): (n,), int64, tokens of the rows.
        columns (array): (1 + draws, n), int64, the columns' tokens beside them: as they are, then
            in each draw.
        arrangements (float): how many different draws there are, the observed one among them.
        reach (int): how many tokens a side slides at most; 0 where it does not slide.
    """

    null: Null
    rows: np.ndarray
    columns: np.ndarray
    arrangements: float
    reach: int = 0

    @property
    def draws(self) -> int:
        """How many there are."""
        return len(self.columns) - 1

    @property
    def can_reject(self) -> bool:
        """Whether a p-value may fall to 0.05."""
        return self.draws > 0 and max(1 / (1 + self.draws), 1 / self.arrangements) <= LEVEL


def rearranged(
    null: Null | None,
    starts: np.ndarray,
    count: int,
    draws: int,
    *,
    most: int,
    seed: int,
    run_on: bool,
) -> Rearrangement:
    """Draws rearrangements of tokens, of the null that fits the texts unless one is chosen.

    ``starts`` says where each of the texts starts, which hold ``count`` tokens; ``most`` is how
    many tokens are compared at most; ``run_on`` says whether a text's end goes on in the next one.
    Whole texts change places if there are enough of about the same length; otherwise a side slides.
    """
    rng = np.random.default_rng((seed, draws))
    if null == "tokens":
        return _tokens(count, draws, most, rng)
    if run_on:
        starts = starts[:1]
    starts, lengths = _taken(starts, np.diff([*starts.tolist(), count]), most)
    if null is None:
        bins = _bins(lengths)
        kept = sum(len(texts) * int(lengths[texts].min()) for texts in bins)
        null = "texts" if _orders(bins) >= _ENOUGH and 2 * kept >= lengths.sum() else "shift"
    return (_texts if null == "texts" else _shift)(starts, lengths, draws, rng)


def _taken(starts: np.ndarray, lengths: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Texts, evenly spread, and how many of their first tokens are compared."""
    if lengths.sum() <= most:
        return starts, lengths
    few = min(len(starts), max(_MANY, int(most / lengths.mean())))
    chosen = np.linspace(0, len(starts) - 1, few).astype(int)
    starts, lengths = starts[chosen], lengths[chosen]
    return starts, lengths if lengths.sum() <= most else np.minimum(lengths, most // few)


def _bins(lengths: np.ndarray) -> list[np.ndarray]:
    """Texts of about the same length, at least two together."""
    bins: list[list[int]] = []
    for k in np.argsort(-lengths, kind="stable").tolist():
        longest = lengths[bins[-1][0]] if bins else 0
        if bins and (len(bins[-1]) == 1 or _ALIKE * lengths[k] >= longest):
            bins[-1].append(k)
        else:
            bins.append([k])
    return [np.array(texts) for texts in bins if len(texts) > 1]


def _orders(bins: list[np.ndarray]) -> float:
    """How many orders there are within bins, up to 1e300."""
    tens = sum(lgamma(len(texts) + 1) for texts in bins) / np.log(10)
    return float(10 ** min(tens, 300.0))


def _texts(
    starts: np.ndarray, lengths: np.ndarray, draws: int, rng: np.random.Generator
) -> Rearrangement:
    bins = _bins(lengths)
    inside = [np.arange(lengths[texts].min()) for texts in bins]

    def tokens(orders: list[np.ndarray]) -> np.ndarray:
        parts = [
            (starts[texts][:, None] + place).ravel()
            for texts, place in zip(orders, inside, strict=True)
        ]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    rows = tokens(bins)
    drawn = [tokens([rng.permutation(texts) for texts in bins]) for _ in range(draws)]
    return Rearrangement("texts", rows, np.array([rows, *drawn]), _orders(bins))


def _shift(
    starts: np.ndarray, lengths: np.ndarray, draws: int, rng: np.random.Generator
) -> Rearrangement:
    reach = np.minimum(lengths // 4, max(_REACH, (draws + 1) // 2))
    if len(lengths) == 1 and lengths[0] >= _SHORTEST[0]:
        reach = np.maximum(reach, _SHORTEST[1])
    there = reach > 0
    starts, lengths, reach = starts[there], lengths[there], reach[there]
    windows = [
        np.arange(start + room, start + length - room)
        for start, length, room in zip(starts, lengths, reach, strict=True)
    ]
    rows = np.concatenate([np.zeros(0, np.int64), *windows])
    arrangements = 10 ** min(300.0, sum(log10(2 * room + 1) for room in reach.tolist()))
    if len(starts) == 1:
        every = np.arange(-reach[0], reach[0] + 1)
        every = every[every != 0]
        shifts = rng.choice(every, size=min(draws, len(every)), replace=False)[:, None]
    else:
        shifts = rng.integers(-reach, reach + 1, size=(draws, len(reach)))
    sizes = [len(window) for window in windows]
    drawn = [rows + np.repeat(shift, sizes) for shift in shifts]
    columns = np.array([rows, *drawn])
    return Rearrangement("shift", rows, columns, arrangements, int(max(reach, default=0)))


def _tokens(count: int, draws: int, most: int, rng: np.random.Generator) -> Rearrangement:
    rows = np.arange(count)
    if count > most:
        rows = np.linspace(0, count - 1, most).astype(int)
    drawn = [rng.permutation(rows) for _ in range(draws)]
    return Rearrangement("tokens", rows, np.array([rows, *drawn]), _orders([rows]))


def whole_order(null: Null, starts: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count,), all tokens in another order: what stands beside the value of all tokens.

    A side that slides does so in a circle here, each text by itself; a few texts that change places
    do so in a circle, too, or some draws would leave all as it is.
    """
    if null == "tokens":
        return rng.permutation(count)
    inner = starts[(starts > 0) & (starts < count)]
    pieces = np.split(np.arange(count), inner)
    if null == "texts":
        order = np.concatenate([pieces[k] for k in rng.permutation(len(pieces))])
        return order if len(pieces) >= _FEW else np.roll(order, rng.integers(1, max(2, count)))
    return np.concatenate([np.roll(piece, rng.integers(1, max(2, len(piece)))) for piece in pieces])
