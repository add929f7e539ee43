r"""Faithfulness: whether an attribution predicts what the loss of its sources costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ecco_captum.attribution.record import Attribution
from ecco_captum.core.checks import Verdict
from ecco_captum.core.record import Record, data_frame
from ecco_captum.core.significance import LEVEL, rank_p_value
from ecco_captum.core.text import format_fixed, format_number, format_p

if TYPE_CHECKING:
    import pandas as pd

CONDITIONS = ("attribution", "random", "last k", "first k")

# Below this rank correlation with shuffled weights, an attribution is said to follow the weights.
_CHANGED = 0.5
_STAND_INS = {
    "delete": "are deleted",
    "neighbour": "are replaced by a neighbour",
    "mean": "are replaced by the mean embedding",
    "zero": "are replaced by zeros",
    "mask": "are masked",
    "pad": "are replaced by padding",
    "given": "are replaced by the given embeddings",
}


@dataclass(frozen=True, eq=False)
class Faithfulness(Record):
    r"""What random removals of sources say of an attribution.

    Drops are the score of the whole text less that of the perturbed one, in the score's unit.

    Args:
        attribution (Attribution): the attribution that was tested.
        conditions (tuple of str): by what sources were ranked for the curves: the attribution,
            random orders, and position.
        fractions (array): (fractions,), float64, which part of the sources was removed or kept.
        comprehensiveness (array): (conditions, fractions, outputs), float64, the drop where the top
            sources are removed; more is better. At random, the mean of all orders.
        sufficiency (array): (conditions, fractions, outputs), float64, the drop where all but the
            top sources are removed; less is better.
        outputs (array): (outputs,), int64, those that were tested.
        rank_correlation (float, optional): mean Spearman correlation with the same method on a copy
            of the model whose weights were shuffled; near 0 is right.
        outputs_per_removal (int): how many consecutive outputs shared a removal.
        texts (int): how many perturbed texts the model read.
        removals (tuple of str): the kinds of removal, what was done to a removed token; curves are
            of the first.
        random_comprehensiveness (array): (orders, fractions), float64, means over outputs where a
            random order decides what is removed.
        random_sufficiency (array): (orders, fractions), float64, likewise kept.
        matched_comprehensiveness (array): (matched, fractions), float64, the same by orders in
            which the attribution's sources changed places within windows of neighbours.
        lds_by_output (array): (removals, outputs), float64, linear datamodeling scores, -1 to 1.
        lds_intervals (array): (removals, 3), float64, means over outputs with their 95% interval
            over orders.
        p_values (array): (removals, 3), float64, of the mean over outputs: that it is more than
            chance, more than position, and that it is less than chance.
        p_by_output (array): (removals, 2, outputs), float64, the first two of each output alone.
        settings (dict): whether first and last source were spared, orders, permutations, the seed.

    Examples::

        >>> written = force_decode(lm, text, " It is red.")
        >>> test = faithfulness(lm, saliency(lm, written), randomisation=False)
        >>> test.comprehensiveness.shape, test.lds_by_output.shape
        ((4, 2, 4), (2, 4))
        >>> test.verdict
        'inconclusive'
    """

    title: ClassVar[str] = "Does removing the salient tokens change the score?"

    _axes: ClassVar[dict[str, str]] = {
        "conditions": "conditions",
        "fractions": "float: fractions",
        "outputs": "int: outputs",
        "comprehensiveness sufficiency": "float: conditions fractions outputs",
        "random_comprehensiveness random_sufficiency": "float: orders fractions",
        "matched_comprehensiveness": "float: matched fractions",
        "removals": "removals",
        "lds_by_output": "float: removals outputs",
        "lds_intervals p_values": "float: removals 3",
        "p_by_output": "float: removals 2 outputs",
    }
    _renamed: ClassVar[dict[str, str]] = {"together": "outputs_per_removal"}
    _dropped: ClassVar[tuple[str, ...]] = (
        *("soft_comprehensiveness", "soft_sufficiency", "margins", "removal"),
        *("comprehensiveness_summary", "sufficiency_summary"),
    )

    attribution: Attribution
    conditions: tuple[str, ...]
    fractions: np.ndarray
    comprehensiveness: np.ndarray
    sufficiency: np.ndarray
    outputs: np.ndarray
    rank_correlation: float | None
    outputs_per_removal: int
    texts: int
    removals: tuple[str, ...] = ()
    random_comprehensiveness: np.ndarray | None = None
    random_sufficiency: np.ndarray | None = None
    matched_comprehensiveness: np.ndarray | None = None
    lds_by_output: np.ndarray | None = None
    lds_intervals: np.ndarray | None = None
    p_values: np.ndarray | None = None
    p_by_output: np.ndarray | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def lds(self) -> float:
        """The linear datamodeling score, the mean over outputs and kinds of removal."""
        return float("nan") if self.lds_by_output is None else float(self.lds_by_output.mean())

    @property
    def p_chance(self) -> float:
        """That it is more than chance, under every kind of removal: the largest of their p."""
        return float("nan") if self.p_values is None else float(self.p_values[:, 0].max())

    @property
    def p_position(self) -> float:
        """That it is more than position, under every kind of removal: the largest of their p."""
        return float("nan") if self.p_values is None else float(self.p_values[:, 1].max())

    @property
    def p_comprehensiveness(self) -> float:
        """The rank of the attribution's AOPC of comprehensiveness among random orders."""
        return _rank(self.comprehensiveness[0], self.random_comprehensiveness)

    @property
    def p_sufficiency(self) -> float:
        """The rank of the attribution's AOPC of sufficiency, where less is better."""
        return _rank(self.sufficiency[0], self.random_sufficiency, least=True)

    @property
    def p_matched(self) -> float:
        """The rank of its comprehensiveness where sources changed places within windows; NaN if
        that was not asked for."""
        return _rank(self.comprehensiveness[0], self.matched_comprehensiveness)

    @property
    def verdict(self) -> Verdict:
        """Whether the attribution finds what the score depends on.

        "supported" if it is more than chance and more than position under two kinds of removal,
        and was not seen to stay the same on shuffled weights. "partly supported" if it is more than
        chance, under one kind of removal at least (Hochberg's correction), and one of these is not
        so. "not supported" if it is less than chance, or no more than position and the same on
        shuffled weights. Each is told of a false claim in 5% of texts at most.
        """
        if self.p_values is None:
            return "inconclusive"
        chance, position, worse = (column <= LEVEL for column in self.p_values.T)
        ignores_weights = self.follows_weights is False
        if worse.all() or (ignores_weights and not position.all()):
            return "not supported"
        if not (chance.all() or (self.p_values[:, 0] <= LEVEL / len(chance)).any()):
            return "inconclusive"
        whole = chance.all() and position.all() and len(chance) > 1 and not ignores_weights
        return "supported" if whole else "partly supported"

    @property
    def aopc(self) -> dict[str, float]:
        """The AOPC of comprehensiveness under each condition."""
        means = self.comprehensiveness.mean(axis=(1, 2))
        return dict(zip(self.conditions, map(float, means), strict=True))

    @property
    def sentence(self) -> str:
        """The result in words."""
        if self.p_values is None:
            return "This test was saved by an earlier version, without p-values; run it again."
        parts = (self._claim, self._score, self._curve, self.weights_sentence)
        return " ".join(filter(None, parts))

    @property
    def weights_sentence(self) -> str:
        """What became of it on shuffled weights; empty where that was not tried."""
        if self.rank_correlation is None:
            return ""
        changes = "changes" if self.follows_weights else "hardly changes"
        return (
            f"With shuffled weights the attribution {changes} (rank correlation "
            f"{format_fixed(self.rank_correlation)})."
        )

    @property
    def _claim(self) -> str:
        assert self.p_values is not None
        name, what = self.attribution.label or self.attribution.method, self.attribution.explained
        name = name[:1].upper() + name[1:]
        chance, position, worse = (column <= LEVEL for column in self.p_values.T)
        if self.verdict == "supported":
            return f"{name} finds tokens that the {what} depends on."
        if self.verdict == "inconclusive":
            return f"{name} does no better than chance here."
        if worse.all():
            return f"{name} does worse than chance here."
        beyond = "more" if position.all() else "no more"
        if self.verdict == "not supported":
            return (
                f"{name} says {beyond} than position does here, and hardly depends on the weights."
            )
        if not chance.all():
            at = self.removals[int(self.p_values[:, 0].argmin())]
            return f"{name} does better than chance only where tokens {_done(at)}."
        if not position.all():
            return f"{name} does better than chance here, but says no more than position does."
        if self.follows_weights is False:
            return f"{name} does better than chance here, but hardly depends on the weights."
        return f"{name} does better than chance and position under this one kind of removal."

    @property
    def _score(self) -> str:
        both = ", the larger of both kinds of removal" if len(self.removals) > 1 else ""
        return (
            f"It predicts what random removals cost with a rank correlation (LDS) of "
            f"{format_fixed(self.lds)} (p = {format_p(self.p_chance)} against chance, "
            f"{format_p(self.p_position)} against position{both})."
        )

    @property
    def _curve(self) -> str:
        unit, means = self.attribution.score_unit, self.comprehensiveness.mean(axis=(1, 2))
        own, random = map(format_number, means[:2].tolist())
        return (
            f"Removing its top tokens costs {own} {unit}, random tokens {random} (p = "
            f"{format_p(self.p_comprehensiveness)})."
        )

    @property
    def done(self) -> tuple[str, ...]:
        """(removals,), what happened to removed tokens, such as “are deleted”."""
        return tuple(map(_done, self.removals))

    @property
    def follows_weights(self) -> bool | None:
        """Whether the attribution is another one on shuffled weights; None if it was not tried."""
        tried = self.rank_correlation is not None
        return abs(self.rank_correlation) < _CHANGED if tried else None  # type: ignore[arg-type]

    def to_pandas(self) -> pd.DataFrame:
        r"""Returns one row an output and kind of removal.

        Columns: output, token, removal, lds, p_chance, p_position.
        """
        tokens, outputs = self.attribution.generation.tokens, self.outputs.tolist()
        own = [tokens.texts[tokens.prompt_length + t] for t in outputs]
        if self.lds_by_output is None or self.p_by_output is None:
            missing = float("nan")
            rows = [
                (*pair, "", missing, missing, missing) for pair in zip(outputs, own, strict=True)
            ]
        else:
            numbers = np.concatenate([self.lds_by_output[:, None], self.p_by_output], axis=1)
            rows = [
                (output, token, removal, *three)
                for removal, columns in zip(self.removals, numbers, strict=True)
                for output, token, three in zip(outputs, own, columns.T.tolist(), strict=True)
            ]
        names = ["output", "token", "removal", "lds", "p_chance", "p_position"]
        return data_frame(rows, columns=names)

    def curves_to_pandas(self) -> pd.DataFrame:
        r"""Returns one row a number of the curves: measure, condition, fraction, mean, low, high.

        The fraction is NaN for the AOPC. Low and high are the ends between which 95% of the random
        orders lie; NaN for what is no draw.
        """
        steps = [*self.fractions.tolist(), float("nan")]
        rows = [
            (measure, condition, step, *line)
            for measure in ("comprehensiveness", "sufficiency")
            for condition, lines in zip(self.conditions, self.curves(measure), strict=True)
            for step, line in zip(steps, lines.tolist(), strict=True)
        ]
        columns = ["measure", "condition", "fraction", "mean", "low", "high"]
        return data_frame(rows, columns=columns)

    def curves(self, measure: str) -> np.ndarray:
        r"""Returns (conditions, fractions + 1, 3): means over outputs, and what random orders do.

        Last of each is the AOPC, the mean over fractions. Low and high are the ends between which
        95% of the random orders lie; NaN for what is no draw.

        Args:
            measure (str): ``"comprehensiveness"`` or ``"sufficiency"``.
        """
        means = getattr(self, measure).mean(axis=-1)
        means = np.concatenate([means, means.mean(axis=1, keepdims=True)], axis=1)
        three = np.stack([means, np.full_like(means, np.nan), np.full_like(means, np.nan)], axis=-1)
        random = getattr(self, f"random_{measure}")
        if random is not None:
            random = np.concatenate([random, random.mean(axis=1, keepdims=True)], axis=1)
            three[1, :, 1:] = np.quantile(random, (0.025, 0.975), axis=0).T
        return np.asarray(three)

    def strip(self) -> str:
        """The test in short, as an HTML fragment to be shown under the saliency view."""
        from ecco_captum.attribution.faithfulness.html import faithfulness_strip

        return str(faithfulness_strip(self))

    @property
    def subtitle(self) -> str:
        """What was tested, and how."""
        spared = "first and last source spared" if self.settings.get("exclude_ends") else ""
        shared = "each output by its own sources"
        if self.outputs_per_removal > 1:
            shared = f"up to {self.outputs_per_removal} outputs share a removal"
        removed = "removed tokens " + " or ".join(map(_done, self.removals))
        parts = (self.attribution.subtitle, removed if self.removals else "", spared, shared)
        return " · ".join(part for part in parts if part)

    @property
    def note(self) -> str:
        """What the numbers are."""
        orders, draws = self.settings.get("orders"), self.settings.get("permutations")
        counted = f" {orders} random orders, {draws} permutations." if orders else ""
        return (
            f"Drops of the {self.attribution.explained}, in {self.attribution.score_unit}: means "
            f"over {len(self.outputs)} outputs. k is the number of tokens that are removed."
            f"{counted}"
        )

    def fragment(self) -> str:
        from ecco_captum.attribution.faithfulness.html import faithfulness_view

        return str(faithfulness_view(self))

    def terminal(self) -> list[Any]:
        from ecco_captum.attribution.faithfulness.terminal import faithfulness_blocks

        return faithfulness_blocks(self)

    def __repr__(self) -> str:
        return f"Faithfulness({self.verdict}: {self.sentence})"


def _done(removal: str) -> str:
    """What happened to removed tokens, such as “are deleted”."""
    name, _, rest = removal.partition(" (")
    what = _STAND_INS.get(name, f"are replaced by {name}")
    return f"{what} ({rest}" if rest else what


def _rank(drops: np.ndarray, orders: np.ndarray | None, *, least: bool = False) -> float:
    """p of the mean of drops, (fractions, outputs), among those of orders, (orders, fractions)."""
    if orders is None or not len(orders):
        return float("nan")
    sign = -1 if least else 1
    return float(rank_p_value(sign * drops.mean(), sign * orders.mean(axis=1)))
