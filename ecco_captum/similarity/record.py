r"""Similarity: how alike every layer is to every other, and what chance would make of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ecco_captum.core.record import Record, data_frame
from ecco_captum.core.text import format_fixed

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_TITLES = {"cca": "CCA", "svcca": "SVCCA", "pwcca": "PWCCA"}
_KERNELS = {"linear": "linear", "rbf": "Gaussian"}
_LINEAR = "1 means that each layer is a linear map of the other."
_ONES = {
    "cca": _LINEAR,
    "pwcca": _LINEAR,
    "svcca": "1 means that the leading singular directions span the same space.",
    "cka": "1 means that distances between tokens agree up to a common scale.",
}
_WEIGHED = {
    "x": "Correlations are weighed by what they account for in the rows' neurons.",
    "y": "Correlations are weighed by what they account for in the columns' neurons.",
    "mean": "Mean of the weights by the rows' and by the columns' neurons.",
}


@dataclass(frozen=True, eq=False)
class Similarity(Record):
    r"""How alike layers are, each with what the same data give where tokens are shuffled.

    Args:
        values (array): (rows, columns), float64.
        null_mean (array): (rows, columns), float64, the mean where the tokens of one side are
            permuted; NaN without permutations.
        null_95 (array): (rows, columns), float64, what 95% of these stay below.
        interval (array): (rows, columns, 2), float64, a 95% interval over texts; NaN if it was not
            asked for.
        rows (tuple of str): (rows,), names of the layers of a.
        columns (tuple of str): (columns,), names of those of b.
        measure (str): "cca", "svcca", "pwcca" or "cka".
        models (tuple of str): of a and of b.
        count (int): how many tokens, or words, were compared.
        unit (str): "tokens", or "words" where two tokenizations were aligned.
        texts (int): how many texts they stand in.
        settings (dict): options of the measure, permutations, bootstrap, seed, whether a was
            compared with itself, dropped words.

    Examples::

        >>> alike = compare(hidden_states(encoder, texts), measure="cka")
        >>> alike.values.shape, alike.count, alike.unit, bool(alike.beyond_chance[1, 2])
        ((7, 7), 34, 'tokens', True)
    """

    title: ClassVar[str] = "How alike are the layers?"
    _axes: ClassVar[dict[str, str]] = {
        "rows": "rows",
        "columns": "columns",
        "values null_mean null_95": "float: rows columns",
        "interval": "float: rows columns 2",
    }

    values: np.ndarray
    null_mean: np.ndarray
    null_95: np.ndarray
    interval: np.ndarray
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    measure: str
    models: tuple[str, ...]
    count: int
    unit: str = "tokens"
    texts: int = 1
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def beyond_chance(self) -> np.ndarray:
        """(rows, columns), bool: whether a value is above 95% of those with shuffled tokens."""
        return np.asarray(self.values > self.null_95)

    @property
    def is_square(self) -> bool:
        """Whether layers are compared with themselves."""
        return bool(self.settings.get("with_itself", False))

    @property
    def subtitle(self) -> str:
        """What is drawn."""
        models = " and ".join(dict.fromkeys(self.models))
        texts = f"{self.texts:,} text{'' if self.texts == 1 else 's'}"
        return f"{models} · {self.measure_title} over {self.count:,} {self.unit} of {texts}"

    @property
    def measure_title(self) -> str:
        """What the numbers are."""
        if self.measure != "cka":
            return _TITLES[self.measure]
        kind = "debiased " if self.settings.get("debiased", True) else ""
        return f"{kind}{_KERNELS[self.settings.get('kernel', 'linear')]} CKA"

    @property
    def note(self) -> str:
        """What 1 means, and whose neurons weigh."""
        said = _ONES[self.measure]
        if self.measure != "pwcca" or self.settings.get("definition", "paper") != "paper":
            return said
        # Version 0.1.0 saved the option under another name.
        weight_by = self.settings.get("weight_by", self.settings.get("weigh", "x"))
        return f"{said} {_WEIGHED[weight_by]}"

    @property
    def sentence(self) -> str:
        """How much of it is more than chance, and what is most and least alike."""
        pairs = self._pairs()
        if not pairs:
            return "There is one layer, and nothing to compare it with."
        said = ""
        if not np.isnan(self.null_95).all():
            clear = sum(bool(self.beyond_chance[pair]) for pair in pairs)
            chance = np.array([self.null_mean[pair] for pair in pairs])
            said = (
                f"{clear} of {len(pairs)} pairs are more alike than shuffled tokens, which "
                f"give {_from_to(chance)}. "
            )
        return f"{said}{self.extremes}."

    @property
    def extremes(self) -> str:
        """Which layers are most and which least alike, as a sentence without its stop."""
        pairs = self._pairs()
        values = np.array([self.values[pair] for pair in pairs])
        most, least = pairs[int(values.argmax())], pairs[int(values.argmin())]
        if len(pairs) == 1:
            return f"The pair has {format_fixed(values[0])}"
        return f"Most alike are {self._named(most)}, least {self._named(least)}"

    def _pairs(self) -> list[tuple[int, int]]:
        count = len(self.rows), len(self.columns)
        every = [(int(i), int(j)) for i, j in np.ndindex(count)]
        return [(i, j) for i, j in every if i < j] if self.is_square else every

    def _named(self, pair: tuple[int, int]) -> str:
        i, j = pair
        return f"{self.rows[i]} and {self.columns[j]} ({format_fixed(self.values[pair])})"

    def to_pandas(self) -> pd.DataFrame:
        r"""Returns one row a pair: row, column, value, null_mean, null_95, low, high."""
        row, column = np.indices(self.values.shape).reshape(2, -1)
        return data_frame(
            {
                "row": np.array(self.rows, dtype=object)[row],
                "column": np.array(self.columns, dtype=object)[column],
                "value": self.values.ravel(),
                "null_mean": self.null_mean.ravel(),
                "null_95": self.null_95.ravel(),
                "low": self.interval[..., 0].ravel(),
                "high": self.interval[..., 1].ravel(),
            }
        )

    def fragment(self) -> str:
        from ecco_captum.similarity.html import similarity_view

        return str(similarity_view(self))

    def plot(self, *, width: float = 5.0, title: str = "") -> Figure:
        r"""Returns the heatmap as a figure for a paper; values that chance explains are grey.

        See :meth:`Record.plot`.
        """
        from ecco_captum.similarity.plot import similarity_figure

        return similarity_figure(self, width=width, title=title)

    def __str__(self) -> str:
        return self.sentence

    def __repr__(self) -> str:
        return f"Similarity({self.subtitle}: {len(self.rows)} × {len(self.columns)} layers)"


def _from_to(values: np.ndarray) -> str:
    low, high = (format_fixed(end) for end in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


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
        >>> full = cca(x, y, full=True)
        >>> full.correlations.round(1), full.x_directions.shape
        (array([1. , 0.1]), (3, 2))
    """

    _axes: ClassVar[dict[str, str]] = {
        "correlations weights": "float: k",
        "x_directions": "float: x k",
        "y_directions": "float: y k",
    }

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
