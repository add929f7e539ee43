r"""Faithfulness: what became of the scores when sources were removed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ecco_captum.attribution.record import Attribution
from ecco_captum.core.record import Record, data_frame

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
        settings (dict): whether first and last source were spared, resamples, seed.

    Examples::

        >>> written = force_decode(lm, text, " It is red.")
        >>> test = faithfulness(lm, saliency(lm, written), randomisation=False)
        >>> test.comprehensiveness.shape
        (4, 3, 4)
        >>> test.aopc["first k"] > test.aopc["attribution"]  # position alone does better here
        True
    """

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
        """What was found, in one sentence."""
        name, unit = self.attribution.label or self.attribution.method, self.attribution.score_unit
        clauses = [
            _verdict(margin, against, unit, len(self.outputs))
            for against, margin in zip(self._baselines, self.margins, strict=True)
        ]
        sentence = f"{name} {clauses[0]}"
        if len(clauses) > 1:
            sentence += ", " + ", ".join(clauses[1:])
        if len(self.outputs) < _FEW:
            sentence += f" (outputs: {len(self.outputs)}, too few to tell that from chance)"
        if self.rank_correlation is None:
            return sentence + "."
        changes = "changes" if self.follows_weights else "hardly changes"
        return (
            f"{sentence}; it {changes} when the weights do (rank correlation "
            f"{self.rank_correlation:.2f} on shuffled weights)."
        )

    @property
    def follows_weights(self) -> bool | None:
        """Whether the attribution is another one on shuffled weights; None if it was not tried."""
        tried = self.rank_correlation is not None
        return abs(self.rank_correlation) < _CHANGED if tried else None  # type: ignore[arg-type]

    @property
    def _baselines(self) -> list[str]:
        names = {"random": "random sources", "last k": "the last k", "first k": "the first k"}
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

    def _title(self) -> str:
        return "Does removing the salient tokens move the score?"

    def strip(self) -> str:
        """The test in short, as an HTML fragment to be shown under the saliency view."""
        from ecco_captum.attribution.faithfulness.html import faithfulness_strip

        return faithfulness_strip(*self._tables, sentence=self.sentence)

    @property
    def _tables(self) -> tuple[tuple[str, ...], list[float], np.ndarray, np.ndarray]:
        labels = (self.attribution.label or self.attribution.method, *self.conditions[1:])
        steps = self.fractions.tolist()
        return labels, steps, self.comprehensiveness_summary, self.sufficiency_summary

    @property
    def subtitle(self) -> str:
        """What was tested, and how."""
        spared = "first and last source spared" if self.settings.get("exclude_ends") else ""
        shared = "each output by its own sources"
        if self.outputs_per_removal > 1:
            shared = f"up to {self.outputs_per_removal} outputs share a removal"
        how = {"delete": "removed tokens are deleted", "neighbour": "replaced by a neighbour"}
        removed = how.get(self.removal, f"replaced by the {self.removal} embedding")
        parts = (self.attribution.subtitle, removed, spared, shared)
        return " · ".join(part for part in parts if part)

    @property
    def note(self) -> str:
        """What the numbers are."""
        return (
            f"Drops of the {self.attribution.explained}, in {self.attribution.score_unit}; mean "
            f"over {len(self.outputs)} outputs, with bootstrap 95% intervals over outputs."
        )

    def _html(self) -> str:
        from ecco_captum.attribution.faithfulness.html import faithfulness_view

        labels, fractions, comprehensiveness, sufficiency = self._tables
        return faithfulness_view(
            labels,
            fractions,
            comprehensiveness,
            sufficiency,
            title=self._title(),
            subtitle=self.subtitle,
            sentence=self.sentence,
            note=self.note,
        )

    def __str__(self) -> str:
        return self.sentence

    def __repr__(self) -> str:
        return f"Faithfulness({self.sentence})"


def _verdict(margin: np.ndarray, against: str, unit: str, outputs: int) -> str:
    """What an interval of differences allows to say."""
    mean, low, high = margin
    if outputs < _FEW:  # too few for a bootstrap to say anything
        how = "further" if mean > 0 else "less far"
        return f"moves the score {abs(mean):.2g} {unit} {how} than {against}"
    spread = f"{(high - low) / 2:.1g} {unit}"
    if low > 0:
        return f"beats {against} by {mean:.2g} ± {spread}"
    if high < 0:
        return f"falls behind {against} by {-mean:.2g} ± {spread}"
    return f"cannot be told from {against} ({mean:+.2g} ± {spread})"


def summary(drops: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    r"""Returns means over outputs with bootstrap 95% intervals, and last those of the AOPC.

    Args:
        drops (array): (conditions, fractions, outputs).
        resamples (int): how many draws of as many outputs.
        rng (Generator): for the draws.

    Returns:
        array: (conditions, fractions + 1, 3), mean, low, high.
    """
    drops = np.concatenate([drops, drops.mean(axis=1, keepdims=True)], axis=1)
    count = drops.shape[-1]
    weights = rng.multinomial(count, np.full(count, 1 / count), size=resamples) / count
    draws = drops @ weights.T
    low, high = np.quantile(draws, (0.025, 0.975), axis=-1)
    return np.stack([drops.mean(axis=-1), low, high], axis=-1)
