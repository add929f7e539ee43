r"""Faithfulness: what became of the scores when sources were removed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ecco_captum.attribution.record import Attribution
from ecco_captum.core.record import Record, data_frame
from ecco_captum.core.text import MINUS, format_fixed

if TYPE_CHECKING:
    import pandas as pd

# Below this rank correlation with shuffled weights, an attribution is said to follow the weights.
_CHANGED = 0.5


# With fewer outputs a bootstrap over them says nothing.
_FEW = 5


@dataclass(frozen=True, eq=False)
class Faithfulness(Record):
    r"""What became of the explained scores when sources were removed.

    Drops are the score of the whole text less that of the perturbed one, in the score's unit.

    Args:
        attribution (Attribution): the attribution that was tested.
        conditions (tuple of str): by what sources were ranked: the attribution, then baselines.
        fractions (array): (fractions,), float64, which part of the sources was removed or kept.
        comprehensiveness (array): (conditions, fractions, outputs), float64, the drop where the top
            sources are removed; more is better.
        sufficiency (array): (conditions, fractions, outputs), float64, the drop where all but the
            top sources are removed; less is better.
        soft_comprehensiveness (array, optional): (2, outputs), the drop where each number of an
            embedding is removed with a probability that follows the attribution, and with the same
            probabilities in random order. None where whole tokens are deleted or moved.
        soft_sufficiency (array, optional): (2, outputs), likewise kept.
        comprehensiveness_summary (array): (conditions, fractions + 1, 3): mean over outputs and the
            bootstrap's 95% interval; last the AOPC, the mean over fractions.
        sufficiency_summary (array): the same.
        outputs (array): (outputs,), int64, those that were tested.
        margins (array): (baselines, 3): mean and 95% interval of the outputs' own differences
            between the attribution's AOPC of comprehensiveness and each baseline's.
        rank_correlation (float, optional): mean Spearman correlation with the same method on a copy
            of the model whose weights were shuffled; near 0 is right.
        removal (str): what was done to a removed token.
        outputs_per_removal (int): how many consecutive outputs shared a removal.
        texts (int): how many perturbed texts the model read.
        settings (dict): whether first and last source were spared, the seed.

    Examples::

        >>> written = force_decode(lm, text, " It is red.")
        >>> test = faithfulness(lm, saliency(lm, written), randomisation=False)
        >>> test.comprehensiveness.shape
        (4, 3, 4)
        >>> test.aopc["first k"] > test.aopc["attribution"]  # position alone does better here
        True
    """

    title: ClassVar[str] = "Does removing the salient tokens change the score?"

    _axes: ClassVar[dict[str, str]] = {
        "conditions": "baselines+1",
        "fractions": "float: fractions",
        "outputs": "int: outputs",
        "comprehensiveness sufficiency": "float: baselines+1 fractions outputs",
        "soft_comprehensiveness soft_sufficiency": "float: 2 outputs",
        "comprehensiveness_summary sufficiency_summary": "float: baselines+1 fractions+1 3",
        "margins": "float: baselines 3",
    }
    _renamed: ClassVar[dict[str, str]] = {"together": "outputs_per_removal"}

    attribution: Attribution
    conditions: tuple[str, ...]
    fractions: np.ndarray
    comprehensiveness: np.ndarray
    sufficiency: np.ndarray
    soft_comprehensiveness: np.ndarray | None
    soft_sufficiency: np.ndarray | None
    comprehensiveness_summary: np.ndarray
    sufficiency_summary: np.ndarray
    outputs: np.ndarray
    margins: np.ndarray
    rank_correlation: float | None
    removal: str
    outputs_per_removal: int
    texts: int
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def aopc(self) -> dict[str, float]:
        """The AOPC of comprehensiveness under each condition."""
        means = self.comprehensiveness_summary[:, -1, 0]
        return dict(zip(self.conditions, map(float, means), strict=True))

    @property
    def sentence(self) -> str:
        """The result in words."""
        name, unit = self.attribution.label or self.attribution.method, self.attribution.score_unit
        clauses = [
            _clause(margin, against, unit, len(self.outputs))
            for against, margin in zip(self._baselines, self.margins, strict=True)
        ]
        sentence = (
            f"Removing the top tokens by {name} lowers the {self.attribution.explained} "
            + ", and ".join(filter(None, (", ".join(clauses[:-1]), *clauses[-1:])))
        )
        if len(self.outputs) < _FEW:
            few = f"{len(self.outputs)} output{'s' * (len(self.outputs) > 1)}"
            sentence += f" ({few}, too few to rule out chance)"
        if self.rank_correlation is None:
            return sentence + "."
        changes = "changes" if self.follows_weights else "hardly changes"
        correlation = format_fixed(self.rank_correlation)
        return (
            f"{sentence}. With shuffled weights the attribution {changes} (rank correlation "
            f"{correlation})."
        )

    @property
    def follows_weights(self) -> bool | None:
        """Whether the attribution is another one on shuffled weights; None if it was not tried."""
        tried = self.rank_correlation is not None
        return abs(self.rank_correlation) < _CHANGED if tried else None  # type: ignore[arg-type]

    @property
    def _baselines(self) -> list[str]:
        names = {
            "random": "removing random tokens",
            "last k": "removing the last k tokens",
            "first k": "removing the first k tokens",
        }
        return [names.get(name, name) for name in self.conditions[1:]]

    def to_pandas(self) -> pd.DataFrame:
        r"""Returns one row a number: measure, condition, fraction, mean, low, high.

        The fraction is NaN for the AOPC. Soft measures have no fraction and no interval.
        """
        rows: list[tuple[Any, ...]] = []
        steps = [*self.fractions.tolist(), float("nan")]
        for measure in ("comprehensiveness", "sufficiency"):
            table = getattr(self, f"{measure}_summary")
            for condition, lines in zip(self.conditions, table, strict=True):
                rows += [
                    (measure, condition, step, *line)
                    for step, line in zip(steps, lines.tolist(), strict=True)
                ]
            soft = getattr(self, f"soft_{measure}")
            if soft is not None:
                nan = float("nan")
                rows += [
                    (f"soft {measure}", condition, nan, float(values.mean()), nan, nan)
                    for condition, values in zip(self.conditions[:2], soft, strict=True)
                ]
        columns = ["measure", "condition", "fraction", "mean", "low", "high"]
        return data_frame(rows, columns=columns)

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
        how = {"delete": "deleted", "neighbour": "replaced by a neighbour"}
        removed = how.get(self.removal, f"replaced by the {self.removal} embedding")
        removed = f"removed tokens are {removed}"
        parts = (self.attribution.subtitle, removed, spared, shared)
        return " · ".join(part for part in parts if part)

    @property
    def note(self) -> str:
        """What the numbers are."""
        return (
            f"Drops of the {self.attribution.explained}, in {self.attribution.score_unit}; mean "
            f"over {len(self.outputs)} outputs, with bootstrap 95% intervals over outputs. k is "
            "the number of tokens that are removed."
        )

    def fragment(self) -> str:
        from ecco_captum.attribution.faithfulness.html import faithfulness_view

        return str(faithfulness_view(self))

    def __str__(self) -> str:
        return self.sentence

    def __repr__(self) -> str:
        return f"Faithfulness({self.sentence})"


def _clause(margin: np.ndarray, against: str, unit: str, outputs: int) -> str:
    """What an interval of differences allows to say."""
    mean, low, high = margin.tolist()
    if outputs < _FEW:  # too few for a bootstrap to say anything
        return f"by {abs(mean):.2g} {unit} {'more' if mean > 0 else 'less'} than {against}"
    half = (high - low) / 2
    digits = int(np.clip(1 - np.floor(np.log10(half)), 0, 3)) if half > 0 else 2
    spread = f"± {half:.{digits}f} {unit}"
    if low > 0 or high < 0:
        more = "more" if low > 0 else "less"
        return f"by {abs(mean):.{digits}f} {spread} {more} than {against}"
    return f"no more than {against} ({mean:+.{digits}f} {spread})".replace("-", MINUS)
