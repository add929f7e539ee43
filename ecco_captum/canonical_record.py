r"""CanonicalCorrelations: what two representations have in common, direction by direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ecco_captum.records import Record
from ecco_captum.tables import data_frame

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class CanonicalCorrelations(Record):
    r"""The canonical correlations of two representations, with the directions that have them.

    Args:
        value (float): the similarity, 0 to 1.
        correlations (array): (k,), float64, the largest first.
        x_directions (array): (features of x, k), float64; the centred features of x times these are
            the canonical variates, of length 1 over the tokens.
        y_directions (array): (features of y, k), float64, the same of y.
        weights (array): (k,), float64, how much each correlation counts; their sum is 1.

    Examples::

        >>> x = np.random.default_rng(0).normal(size=(1000, 3))
        >>> y = np.column_stack([x[:, 0], np.random.default_rng(1).normal(size=1000)])
        >>> found = cca(x, y, full=True)
        >>> found.correlations.round(1), found.x_directions.shape
        (array([1. , 0.1]), (3, 2))
    """

    value: float
    correlations: np.ndarray
    x_directions: np.ndarray
    y_directions: np.ndarray
    weights: np.ndarray

    def to_pandas(self) -> pd.DataFrame:
        r"""Returns one row a canonical correlation: correlation, weight."""
        return data_frame({"correlation": self.correlations, "weight": self.weights})

    def __repr__(self) -> str:
        return f"CanonicalCorrelations({self.value:.4f}, of {len(self.correlations)} correlations)"
