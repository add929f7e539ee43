r"""Activations as the non-negative matrix that is factorised, whole or part by part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import numpy as np

from ecco_captum.activations_record import Activations
from ecco_captum.factors_record import Negatives


@dataclass(frozen=True)
class Matrix:
    r"""(tokens, columns), float32, not negative; columns are the neurons of all layers in turn.

    Args:
        activations (Activations): what it is made of.
        negatives (str): what becomes of negative values: "clip", "split" or "abs".
    """

    activations: Activations
    negatives: Negatives

    def __post_init__(self) -> None:
        if not isinstance(self.activations, Activations):
            raise TypeError(
                f"activations: got a {type(self.activations).__name__}, accepts what neurons() "
                "returns"
            )
        if self.negatives not in get_args(Negatives):
            accepted = ", ".join(map(repr, get_args(Negatives)))
            raise ValueError(f"negatives: got {self.negatives!r}, accepts {accepted}")

    @property
    def shape(self) -> tuple[int, int]:
        """(tokens, columns)"""
        layers, tokens, neurons = self.activations.shape
        return tokens, layers * neurons * (2 if self.negatives == "split" else 1)

    @property
    def nbytes(self) -> int:
        """What the whole of it takes."""
        return self.shape[0] * self.shape[1] * 4

    def rows(self, first: int, end: int) -> np.ndarray:
        """(end - first, columns) of some tokens."""
        return self._rows(np.asarray(self.activations.values[:, first:end]))

    def parts(self) -> Iterator[tuple[slice, np.ndarray]]:
        """A run of tokens at a time: where it stands, and its rows."""
        if "whole" in self.__dict__:
            yield slice(None), self.whole
            return
        for where, values in self.activations.parts():
            yield where, self._rows(values)

    @cached_property
    def whole(self) -> np.ndarray:
        """All of it at once."""
        return self._rows(np.asarray(self.activations.values))

    @cached_property
    def energies(self) -> tuple[float, float]:
        """Sums of squares: of all activations, and of the negative ones among them."""
        total = below = 0.0
        for _, values in self.activations.parts():
            total += float(np.square(values, dtype=np.float64).sum())
            below += float(np.square(np.minimum(values, 0), dtype=np.float64).sum())
        return total, below

    @property
    def clipped(self) -> float:
        """Which part of the activations' energy is not in the matrix.

        Raises:
            ValueError: if the activations are all zero.
        """
        total, below = self.energies
        if not total:
            raise ValueError("activations: they are all zero, accepts some that are not")
        return below / total if self.negatives == "clip" else 0.0

    @property
    def energy(self) -> float:
        """The sum of squares of the matrix."""
        total, below = self.energies
        return total - below if self.negatives == "clip" else total

    def _rows(self, values: np.ndarray) -> np.ndarray:
        values = np.asarray(values, dtype=np.float32)
        if not np.isfinite(values).all():
            raise ValueError("activations: they hold NaN or infinity, accepts finite values")
        flat = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)
        if self.negatives == "abs":
            return np.abs(flat)
        above = np.maximum(flat, 0)
        if self.negatives == "clip":
            return above
        return np.concatenate([above, np.maximum(-flat, 0)], axis=1)
