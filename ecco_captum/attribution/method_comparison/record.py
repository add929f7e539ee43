r"""MethodComparison: several attribution methods held against the same removals."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ecco_captum.attribution.record import Attribution
from ecco_captum.core.checks import Verdict
from ecco_captum.core.record import Record, data_frame
from ecco_captum.core.significance import LEVEL, rank_p_value
from ecco_captum.core.text import format_fixed, format_p

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

BASELINES = ("last tokens", "first tokens")
"""What says nothing but position."""

FEW_TEXTS = 5
"""Fewer are no sample of texts: intervals are of the orders in which theirs were removed."""


@dataclass(frozen=True, eq=False)
class MethodComparison(Record):
    r"""Several attribution methods on the same removals of the same texts.

    Names are those of the methods, then "last tokens" and "first tokens": rankings by position.

    Args:
        methods (tuple of str): (methods,), in the order in which they were named.
        lds (array): (texts, removals, names), float64, linear datamodeling scores, -1 to 1; means
            over a text's outputs.
        intervals (array): (names, 3), float64, means over texts and kinds of removal with their 95%
            interval over texts; of fewer than five texts, over their orders.
        p_chance (array): (removals, names), float64, that the mean score is more than chance.
        p_position (array): (removals, names), float64, that it is more than position.
        comprehensiveness (array): (texts, names), float64, AOPC, in the score's unit.
        sufficiency (array): (texts, names), float64, AOPC, in the score's unit.
        random_comprehensiveness (array): (orders,), float64, the mean over texts by random orders.
        random_sufficiency (array): (orders,), float64, the same.
        agreement (array): (names, names), float64, Spearman's correlation of the magnitudes of two
            attributions, the mean over outputs and texts.
        seconds (array): (methods,), float64, to explain a text, the mean.
        weight_correlation (array): (methods,), float64, rank correlation with the same method on
            shuffled weights, on the first text; NaN where that was not tried.
        candidate (int): the method with the largest score on one half of the orders.
        candidate_p_values (array): (removals, 2), float64, that it is more than chance, and more
            than position, on the other half.
        p_over_others (array): (names,), float64, that its score there is larger than each other's,
            paired over texts, Holm's correction; NaN for itself and of a single text.
        removals (tuple of str): the kinds of removal.
        attributions (tuple of Attribution): of a single text, each method's.
        model (str): the model's name.
        explained (str): what was explained, in words.
        unit (str): its unit.
        texts (int): how many.
        refused (dict): methods that do not run on the model, and why.
        settings (dict): orders, permutations, the seed.

    Examples::

        >>> table = compare_methods(lm, generation, methods=["input_x_gradient", "attn_lrp"])
        >>> table.lds.shape, table.to_pandas()["method"].tolist()[2:]
        ((1, 2, 4), ['last tokens', 'first tokens'])
    """

    title: ClassVar[str] = "Which method finds what matters?"
    _axes: ClassVar[dict[str, str]] = {
        "methods": "methods",
        "removals": "removals",
        "lds": "float: texts removals methods+2",
        "intervals": "float: methods+2 3",
        "p_chance p_position": "float: removals methods+2",
        "comprehensiveness sufficiency": "float: texts methods+2",
        "random_comprehensiveness random_sufficiency": "float: orders",
        "agreement": "float: methods+2 methods+2",
        "seconds weight_correlation": "float: methods",
        "candidate_p_values": "float: removals 2",
        "p_over_others": "float: methods+2",
    }

    methods: tuple[str, ...]
    lds: np.ndarray
    intervals: np.ndarray
    p_chance: np.ndarray
    p_position: np.ndarray
    comprehensiveness: np.ndarray
    sufficiency: np.ndarray
    random_comprehensiveness: np.ndarray
    random_sufficiency: np.ndarray
    agreement: np.ndarray
    seconds: np.ndarray
    weight_correlation: np.ndarray
    candidate: int
    candidate_p_values: np.ndarray
    p_over_others: np.ndarray
    removals: tuple[str, ...]
    attributions: tuple[Attribution, ...]
    model: str
    explained: str
    unit: str
    texts: int
    refused: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """(names,), the methods, and what position says."""
        return (*self.methods, *BASELINES)

    @property
    def best(self) -> str | None:
        """The method that was best on one half of the removals, if it is more than chance and more
        than position on the other half, under every kind of removal; else None."""
        holds = bool((self.candidate_p_values <= LEVEL).all())
        return self.methods[self.candidate] if holds else None

    @property
    def verdict(self) -> Verdict:
        """Whether a method is shown to find what matters.

        "supported" by two kinds of removal, "partly supported" by one, else "inconclusive".
        """
        if self.best is None:
            return "inconclusive"
        return "supported" if len(self.removals) > 1 else "partly supported"

    @property
    def p_comprehensiveness(self) -> np.ndarray:
        """(names,), ranks of the means over texts among those of random orders."""
        own = self.comprehensiveness.mean(axis=0)
        return rank_p_value(own, np.tile(self.random_comprehensiveness[:, None], (1, len(own))))

    @property
    def p_sufficiency(self) -> np.ndarray:
        """(names,), the same of sufficiency, where less is better."""
        own = -self.sufficiency.mean(axis=0)
        return rank_p_value(own, -np.tile(self.random_sufficiency[:, None], (1, len(own))))

    @property
    def sentence(self) -> str:
        """Which method is best, and whether it is more than position."""
        name = self.methods[self.candidate]
        chance, position = map(float, self.candidate_p_values.max(axis=0))
        tested = f"against chance p = {format_p(chance)}, against position p = {format_p(position)}"
        if self.best is None:
            return (
                f"No method is shown to be better than position here. The best on one half of the "
                f"removals is {name}; on the other half, {tested}."
            )
        score = " [".join(map(format_fixed, self.intervals[self.candidate, :2].tolist()))
        high = format_fixed(self.intervals[self.candidate, 2])
        return (
            f"{name[:1].upper()}{name[1:]} finds what matters best: LDS {score}, {high}]. It was "
            f"chosen on one half of the removals; on the other half, {tested}.{self._over}"
        )

    @property
    def _over(self) -> str:
        """How many others it is better than, over texts."""
        others = self.p_over_others[~np.isnan(self.p_over_others)]
        if not len(others):
            return ""
        clear = int((others <= LEVEL).sum())
        return f" Over {self.texts} texts it is better than {clear} of {len(others)} others."

    def to_pandas(self) -> pd.DataFrame:
        r"""Returns one row a method, then the two rankings by position.

        Columns: method, lds, lds_low, lds_high; p_chance and p_position, the larger of the kinds of
        removal; comprehensiveness, p_comprehensiveness, sufficiency, p_sufficiency (AOPC);
        weight_correlation; p_best, that the best method is better; seconds.
        """
        return data_frame({"method": list(self.names), **self.columns()})

    def columns(self) -> dict[str, np.ndarray]:
        """The numbers of the table, each (names,)."""
        missing = np.full(len(BASELINES), np.nan)
        return {
            "lds": self.intervals[:, 0],
            "lds_low": self.intervals[:, 1],
            "lds_high": self.intervals[:, 2],
            "p_chance": self.p_chance.max(axis=0),
            "p_position": self.p_position.max(axis=0),
            "comprehensiveness": self.comprehensiveness.mean(axis=0),
            "p_comprehensiveness": self.p_comprehensiveness,
            "sufficiency": self.sufficiency.mean(axis=0),
            "p_sufficiency": self.p_sufficiency,
            "weight_correlation": np.concatenate([self.weight_correlation, missing]),
            "p_best": self.p_over_others,
            "seconds": np.concatenate([self.seconds, missing]),
        }

    @property
    def subtitle(self) -> str:
        """What was compared, and on what."""
        texts = f"{self.texts} text{'' if self.texts == 1 else 's'}"
        removed = " and ".join(self.removals)
        return (
            f"{self.model} · {self.explained} · {texts} · {len(self.methods)} methods · removal: "
            f"{removed}"
        )

    @property
    def note(self) -> str:
        """What the numbers are."""
        over = "texts" if self.texts >= FEW_TEXTS else "orders"
        refused = "".join(f" Skipped: {name}: {why}" for name, why in self.refused.items())
        return (
            "LDS, the linear datamodeling score: rank correlation over random removals of the "
            f"removed tokens' attributions with the drop of the score, with its 95% interval over "
            f"{over}. p: the larger of both kinds of removal. AOPC: the mean drop where the top "
            f"tokens are removed, in {self.unit}.{refused}"
        )

    def fragment(self) -> str:
        from ecco_captum.attribution.method_comparison.html import method_comparison_view

        return str(method_comparison_view(self))

    def plot(self, *, width: float = 3.35, title: str = "") -> Figure:
        r"""Returns the scores against seconds as a figure for a paper.

        See :meth:`Record.plot`.
        """
        from ecco_captum.attribution.method_comparison.plot import method_comparison_figure

        return method_comparison_figure(self, width=width, title=title)

    def terminal(self) -> list[Any]:
        from ecco_captum.attribution.method_comparison.terminal import method_comparison_blocks

        return method_comparison_blocks(self)

    def __repr__(self) -> str:
        return f"MethodComparison({self.subtitle}; best: {self.best})"
