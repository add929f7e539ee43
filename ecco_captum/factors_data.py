"""What the view of factors draws: weights checked against their tokens, and put in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ecco_captum.legible import format_share, visible_parts
from ecco_captum.paper_checks import numbers
from ecco_captum.shades import LEVELS
from ecco_captum.tokens import Tokens

STRONGEST = 5
"""Tokens that are named for each factor."""

Positions = Sequence[Sequence[int]] | np.ndarray
Effects = Mapping[str, Sequence[str | None]]

_LARGEST = float(np.finfo(np.float32).max)  # the page computes with float32


@dataclass(frozen=True, eq=False)
class Factors:
    r"""Factors over the tokens of some texts, checked; what is None was not given.

    Args:
        tokens (Tokens): The texts, one after the other.
        weights (numpy.ndarray): Shape (factors, tokens), float32, 0 or more.
        starts (list of int): Position of the first token of each text.
        tops (list of lists of int): Positions of each factor's strongest tokens, strongest first.
        explained (list of str, optional): What each factor explains, as a percentage.
        stability (list of str, optional): Mean cosine with its matches from other seeds.
        effects (dict, optional): Columns of what ablations do, ``""`` where it is not known.
    """

    tokens: Tokens
    weights: np.ndarray
    starts: list[int]
    tops: list[list[int]]
    explained: list[str] | None
    stability: list[str] | None
    effects: dict[str, list[str]] | None

    @property
    def sections(self) -> list[tuple[str, int]]:
        """The parts of the text that stand apart: name and first position of each."""
        if len(self.starts) > 1:
            return [(f"text {k}", start) for k, start in enumerate(self.starts)]
        if 0 < self.tokens.prompt_length < len(self.tokens):
            return [("prompt", 0), ("generated", self.tokens.prompt_length)]
        return [("", 0)]

    def place(self, position: int) -> str:
        """Where a token stands: its column of the weights, and which text that is."""
        if len(self.starts) == 1:
            return f"position {position}"
        text = int(np.searchsorted(self.starts, position, side="right")) - 1
        return f"position {position}, text {text}"


def checked_factors(
    tokens: Tokens,
    weights: np.ndarray,
    *,
    explained: Sequence[float] | np.ndarray | None,
    top_tokens: Positions | None,
    stability: Sequence[float] | np.ndarray | None,
    effects: Effects | None,
    sequences: Sequence[int] | np.ndarray | None,
) -> Factors:
    r"""
    Check that what is to be drawn fits together.

    Args:
        tokens (Tokens): Of one or more texts, one after the other.
        weights (array): Expected shape (factors, tokens), 0 or more.
        explained (sequence of float, optional): Expected shape (factors,), shares from 0 to 1.
        top_tokens (sequences of int, optional): Each factor's strongest tokens, strongest first.
            None takes them from the weights.
        stability (sequence of float, optional): Expected shape (factors,), cosines from 0 to 1.
        effects (mapping, optional): From a column's name to a text or None for each factor.
        sequences (sequence of int, optional): Where each text starts. None is one text.

    Returns:
        Factors: All of it.

    Raises:
        ValueError: Shapes do not fit each other, or numbers are out of their range.
    """
    found = numbers("weights", weights, (-1, len(tokens)), least=0, most=_LARGEST)
    count, found = len(found), found.astype(np.float32)
    return Factors(
        tokens,
        found,
        _checked_starts(sequences, len(tokens)),
        strongest_tokens(found) if top_tokens is None else _checked_tops(top_tokens, found.shape),
        None if explained is None else _written("explained", explained, count, format_share),
        None if stability is None else _written("stability", stability, count, "{:.2f}".format),
        None if effects is None else {n: _checked_cells(n, effects[n], count) for n in effects},
    )


def strongest_tokens(weights: np.ndarray, count: int = STRONGEST) -> list[list[int]]:
    r"""
    Where each factor is strongest.

    Args:
        weights (numpy.ndarray): Shape (factors, tokens), 0 or more.
        count (int, optional): How many tokens of each, at most. Default: ``STRONGEST``

    Returns:
        list of lists of int: Positions, strongest first; equal ones in the order of the text. A
        token without weight is none of them.
    """
    order = np.argsort(-weights, axis=1, kind="stable")[:, :count]
    return [[int(i) for i in row if weights[k, i] > 0] for k, row in enumerate(order)]


def factors_data(factors: Factors) -> dict[str, object]:
    r"""
    What the script needs beside the weights.

    Args:
        factors (Factors): What to draw.

    Returns:
        dict: ``texts`` (a string for each token, or plain parts and marks in turn), ``starts``,
        ``sections`` (name and first position of each part of the text), ``tops``, ``explained``,
        ``stability``, ``levels`` of the ramp.
    """
    parts = map(visible_parts, factors.tokens.texts)
    return {
        "texts": [p[0] if len(p) == 1 else p for p in parts],
        "starts": factors.starts,
        "sections": factors.sections,
        "tops": factors.tops,
        "explained": factors.explained,
        "stability": factors.stability,
        "levels": LEVELS,
    }


def _written(
    name: str, given: Sequence[float] | np.ndarray, count: int, write: Callable[[float], str]
) -> list[str]:
    values = numbers(name, np.asarray(given), (count,), least=0, most=1)
    return [write(value) for value in values.tolist()]


def _checked_starts(given: Sequence[int] | np.ndarray | None, length: int) -> list[int]:
    starts = np.zeros(1, int) if given is None else np.asarray(given)
    fits = starts.ndim == 1 and starts.size > 0 and starts.dtype.kind in "iu"
    if not fits or starts[0] != 0 or starts[-1] >= length or (np.diff(starts) < 1).any():
        raise ValueError(
            f"sequences: got {_shortened(given)}, accepts ascending positions at which texts "
            f"start: the first is 0, the last below {length}"
        )
    return [int(start) for start in starts]


def _checked_tops(given: Positions, shape: tuple[int, ...]) -> list[list[int]]:
    count, length = shape
    if len(given) != count:
        raise ValueError(f"top_tokens: got {len(given)} rows, accepts one for each of {count}")
    rows = [np.asarray(row) for row in given]
    for row in rows:
        fits = row.ndim == 1 and (row.dtype.kind in "iu" or not row.size)
        if not fits or (row < 0).any() or (row >= length).any():
            raise ValueError(
                f"top_tokens: got {_shortened(row.tolist())}, accepts positions of tokens, 0 to "
                f"{length - 1}, for each factor"
            )
    return [[int(position) for position in row] for row in rows]


def _checked_cells(name: str, given: Sequence[str | None], count: int) -> list[str]:
    if isinstance(given, str) or len(given) != count:
        raise ValueError(
            f"effects: got {_shortened(given)} for {name!r}, accepts a text or None for each of "
            f"{count} factors"
        )
    return [cell or "" for cell in given]


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
