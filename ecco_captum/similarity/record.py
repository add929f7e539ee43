r"""Similarity: how alike every layer is to every other, and what chance would make of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ecco_captum.core.checks import Verdict
from ecco_captum.core.record import Record, data_frame
from ecco_captum.core.significance import LEVEL
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
    r"""How alike layers are, each with what the same data give where tokens change places.

    Args:
        values (array): (rows, columns), float64.
        null_mean (array): (rows, columns), float64, the mean of up to 19 draws in which the tokens
            of one side change places; NaN without draws.
        null_95 (array): (rows, columns), float64, what 95% of draws stay below: of 19 draws, and of
            fewer, the largest.
        interval (array): (rows, columns, 2), float64, a 95% interval over texts; NaN if it was not
            asked for.
        rows (tuple of str): (rows,), names of the layers of a.
        columns (tuple of str): (columns,), names of those of b.
        measure (str): "cca", "svcca", "pwcca" or "cka".
        models (tuple of str): of a and of b.
        count (int): how many tokens, or words, were compared.
        unit (str): "tokens", or "words" where two tokenizations were aligned.
        texts (int): how many texts they stand in.
        p_values (array): (rows, columns), float64, the p-value of each pair by itself,
            (1 + b) / (1 + n): b of n draws are as much alike. NaN without draws.
        p_adjusted (array): (rows, columns), float64, adjusted over all pairs (step-down max-T,
            Westfall & Young 1993); of a layer and itself, its own p-value. NaN without draws.
        draws (int): n, how many draws the p-values rank.
        settings (dict): options of the measure, draws, bootstrap, seed, whether a was compared with
            itself, dropped words; and of the null: ``null``, what changes places; whether the user
            chose it (``null_chosen``); how far a side slides (``null_reach``, tokens); how many
            tokens are compared (``null_tokens``); whether p may fall to 0.05
            (``null_can_reject``); ``autocorrelation``, how alike neighbouring tokens are, -1 to 1.

    Examples::

        >>> alike = compare(hidden_states(encoder, texts), measure="cka")
        >>> alike.values.shape, alike.count, alike.unit, bool(alike.beyond_chance[1, 2])
        ((7, 7), 34, 'tokens', True)
    """

    title: ClassVar[str] = "How alike are the layers?"
    _axes: ClassVar[dict[str, str]] = {
        "rows": "rows",
        "columns": "columns",
        "values null_mean null_95 p_values p_adjusted": "float: rows columns",
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
    p_values: np.ndarray = None  # type: ignore[assignment]  # becomes NaN
    p_adjusted: np.ndarray = None  # type: ignore[assignment]
    draws: int = 0

    def __post_init__(self) -> None:
        for name in ("p_values", "p_adjusted"):
            if getattr(self, name) is None:  # as in records of earlier versions
                object.__setattr__(self, name, np.full(np.shape(self.values), np.nan))
        super().__post_init__()

    @property
    def beyond_chance(self) -> np.ndarray:
        """(rows, columns), bool: whether a pair's adjusted p-value is 0.05 or less.

        Of a record that an earlier version saved, which has no p-values: whether a value is above
        95% of those with shuffled tokens.
        """
        if self._tested_before:
            return np.asarray(self.values > self.null_95)
        return np.asarray(self.p_adjusted <= LEVEL)

    @property
    def within_chance(self) -> np.ndarray:
        """(rows, columns), bool: whether a pair was tested and is no more alike than chance."""
        return np.asarray(~self.beyond_chance & (self._tested_before or self.can_reject))

    @property
    def can_reject(self) -> bool:
        """Whether there are enough different draws for a p-value of 0.05."""
        return self.draws > 0 and bool(self.settings.get("null_can_reject", True))

    @property
    def _tested_before(self) -> bool:
        """Whether an earlier version compared it with permuted tokens, without p-values."""
        return "null" not in self.settings and not np.isnan(self.null_95).all() and not self.draws

    @property
    def verdict(self) -> Verdict:
        """Whether layers are more alike than with the tokens of one side in other places.

        Supported if all pairs are, partly if some are, otherwise inconclusive.
        """
        pairs = self._pairs()
        clear = sum(bool(self.beyond_chance[pair]) for pair in pairs)
        if not clear:
            return "inconclusive"
        return "supported" if clear == len(pairs) else "partly supported"

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
    def scale(self) -> tuple[float, float]:
        """The ends of its colours, on a page, in a figure and in an explorer.

        0 means no likeness, so it has no shade: a scale starts there or, where debiasing takes
        values below 0, is as long on that side.
        """
        values = np.concatenate([self.values.ravel(), self.null_mean.ravel()])
        high = float(np.nanmax(np.abs(values)))
        return (-high if np.nanmin(values) < 0 else 0.0), high

    @property
    def note(self) -> str:
        """What 1 means, and whose neurons weigh."""
        said = _ONES[self.measure]
        if self.measure == "pwcca" and self.settings.get("definition", "paper") == "paper":
            # Version 0.1.0 saved the option under another name.
            weight_by = self.settings.get("weight_by", self.settings.get("weigh", "x"))
            said = f"{said} {_WEIGHED[weight_by]}"
        return f"{said} {self.null_note}".strip()

    @property
    def null_note(self) -> str:
        """What the p-values rest on, in sentences; empty without them."""
        if not self.draws:
            return ""
        chosen = "" if self.settings["null_chosen"] else ", as fits these texts"
        said = f"The test compares {self.settings['null_tokens']:,} {self.unit} with {self._draw}"
        said += f"{chosen}."
        if self.measure != "cka":
            said += " It ranks the sum of squared canonical correlations of the same layers."
        alike = self.settings["autocorrelation"]
        if alike is not None and not np.isnan(alike):
            said += f" Neighbouring {self.unit} have a correlation of {format_fixed(alike)}."
        return said

    @property
    def _draw(self) -> str:
        """What changes places, as it follows "with"."""
        reach = self.settings.get("null_reach", 0)
        return {
            "texts": "whole texts of one side exchanged",
            "shift": f"one side shifted along its text, by up to {reach} {self.unit}",
            "tokens": f"the {self.unit} of one side shuffled one by one",
        }[self.settings["null"]]

    @property
    def sentence(self) -> str:
        """How much of it is more than chance, and what is most and least alike."""
        pairs = self._pairs()
        if not pairs:
            return "There is one layer, and nothing to compare it with."
        return f"{self.claim} {self.extremes}.".strip()

    @property
    def claim(self) -> str:
        """What the verdict says, with p, draws and null, as a sentence; empty without a null."""
        pairs = self._pairs()
        chance = np.array([self.null_mean[pair] for pair in pairs])
        if np.isnan(chance).all():
            return ""
        clear = [pair for pair in pairs if self.beyond_chance[pair]]
        said = f"{len(clear)} of {len(pairs)} pairs are more alike than"
        if self._tested_before:
            return f"{said} shuffled tokens, which give {_from_to(chance)}."
        if not self.can_reject:
            return (
                f"There are too few {self.unit} to test whether layers are more alike than with "
                f"{self._draw}: p cannot fall to {LEVEL}."
            )
        adjusted = [self.p_adjusted[pair] for pair in clear or pairs]
        p = f"p ≤ {max(adjusted):.2g}" if clear else f"p ≥ {min(adjusted):.2g}"
        family = ", adjusted for all pairs" if len(pairs) > 1 else ""
        return (
            f"{said} with {self._draw}, which gives {_from_to(chance)} ({p}{family}; "
            f"{self.draws} draws)."
        )

    @property
    def short_claim(self) -> str:
        """The number of pairs that are more alike than chance, and p, as a sentence."""
        pairs = self._pairs()
        if np.isnan([self.null_mean[pair] for pair in pairs]).all():
            return f"{self.extremes}; not tested."
        if not (self.can_reject or self._tested_before):
            return f"{self.extremes}; too few {self.unit} to test it."
        clear = sum(bool(self.beyond_chance[pair]) for pair in pairs)
        return f"{clear} of {len(pairs)} pairs are more alike than chance, at p ≤ {LEVEL}."

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
        r"""Returns one row a pair.

        Columns: row, column, value, null_mean, null_95, p_value, p_adjusted, low, high.
        """
        row, column = np.indices(self.values.shape).reshape(2, -1)
        return data_frame(
            {
                "row": np.array(self.rows, dtype=object)[row],
                "column": np.array(self.columns, dtype=object)[column],
                "value": self.values.ravel(),
                "null_mean": self.null_mean.ravel(),
                "null_95": self.null_95.ravel(),
                "p_value": self.p_values.ravel(),
                "p_adjusted": self.p_adjusted.ravel(),
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

    def terminal(self) -> list[Any]:
        from ecco_captum.similarity.terminal import similarity_blocks

        return similarity_blocks(self)

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

    def terminal(self) -> list[Any]:
        from ecco_captum.similarity.terminal import canonical_blocks

        return canonical_blocks(self)

    def __repr__(self) -> str:
        return f"CanonicalCorrelations({self.value:.4f}, of {len(self.correlations)} correlations)"
