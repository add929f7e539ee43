r"""What each analysis of a report found, what could have shown it wrong, and whether that did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ecco_captum.attribution.faithfulness.record import Faithfulness
from ecco_captum.attribution.record import Attribution
from ecco_captum.core.record import Record, data_frame
from ecco_captum.core.text import (
    format_fixed,
    format_number,
    format_share,
    in_quotes,
    with_interval,
)
from ecco_captum.factors.effect_record import FactorEffect
from ecco_captum.factors.record import Factors
from ecco_captum.generation.record import Generation
from ecco_captum.lens.record import OrderTest, Rankings, WatchedRankings
from ecco_captum.probing.record import ProbeReport
from ecco_captum.report.html import QUESTIONS, Finding, Verdict
from ecco_captum.similarity.record import Similarity

if TYPE_CHECKING:
    import pandas as pd

_ENOUGH = 5  # outputs that a bootstrap needs
_RARE = 0.05


def _saliency(report: Report) -> Finding:
    attribution, test = report.attribution, report.faithfulness
    assert attribution is not None
    assert test is not None
    sizes = np.abs(attribution.shares)
    strongest = sizes.argmax(axis=1)
    most = int(np.bincount(strongest).argmax())
    name, count = in_quotes(attribution.tokens.texts[most]), int((strongest == most).sum())
    answer = (
        f"The strongest source has {format_share(sizes.max(axis=1).mean())} of a token's saliency "
        f"in the mean; of {_tokens(len(sizes))} it is {name} most often ({count})."
    )
    _, low, high = test.margins[0]
    beats: Verdict = "holds in part" if test.follows_weights is False else "holds"
    verdict: Verdict = beats if low > 0 else "fails" if high < 0 else "not told"
    return Finding(
        key="saliency",
        question=QUESTIONS["attribution"],
        source="figures 3 and 4",
        answer=answer,
        test="Remove the sources it calls salient: the score must drop further than without as "
        "many random ones, and the picture must change with the weights.",
        outcome=_started(test.sentence),
        verdict=verdict if len(test.outputs) >= _ENOUGH else "not told",
    )


def _similarity(report: Report) -> Finding:
    found = report.similarity
    assert found is not None
    above = np.triu(np.ones(found.values.shape, bool), 1)
    clear, pairs = int(found.beyond_chance[above].sum()), int(above.sum())
    ends = format_number(found.null_95[above].min()), format_number(found.null_95[above].max())
    verdict: Verdict = "holds" if clear == pairs else "holds in part" if clear else "not told"
    return Finding(
        key="similarity",
        question=QUESTIONS["similarity"],
        source="figure 6",
        answer=f"{found.extremes} ({found.measure_title}, {found.count} {found.unit}).",
        test="Shuffle the tokens of one side: what is no more alike than these is chance.",
        outcome=f"{clear} of {pairs} pairs are above 95% of the shuffled ones ({ends[0]} to "
        f"{ends[1]}).",
        verdict=verdict,
    )


def _rankings(report: Report) -> Finding:
    found = report.rankings
    assert found is not None
    assert found.shuffled_ranks is not None
    decided, names = found.decided, dict(zip(found.layers.tolist(), found.layer_names, strict=True))
    told = np.flatnonzero(decided >= 0)
    answer, prior = f"None of {_tokens(len(decided))} is ranked first at the end.", 0
    if told.size:
        layer = int(np.sort(decided[told])[(len(told) - 1) // 2])
        answer = (
            f"The median of {_tokens(len(told))} stays first from {names[layer]} on "
            f"({names[int(decided[told].min())]} to {names[int(decided[told].max())]})."
        )
        rows = np.searchsorted(found.layers, decided[told])
        prior = int((found.shuffled_ranks[rows, told] == 1).sum())
    verdict: Verdict = "holds" if not prior else "fails" if prior == told.size else "holds in part"
    return Finding(
        key="rankings",
        question=QUESTIONS["rankings"],
        source="figure 7",
        answer=answer,
        test="Shuffle every block's output over the tokens: a token that is first all the same is "
        "the unembedding's favourite, not a decision.",
        outcome=f"{prior} of {told.size} are first at that layer even so.",
        verdict=verdict if told.size else "not told",
    )


def _watched(report: Report) -> Finding:
    found, test = report.watched, report.order
    assert found is not None
    rare = test is not None and test.probability <= _RARE
    return Finding(
        key="watch",
        question=QUESTIONS["watched"],
        source="figure 8",
        answer=f"Of the first token: {found.sentence}",
        test="Put the tokens before it in random order: a lead that stays owes nothing to what the "
        "text says.",
        outcome=test.sentence if test else "It was not: that needs a causal model and four tokens.",
        verdict="holds" if rare else "not told",
    )


def _factors(report: Report) -> Finding:
    found, effects = report.factors, report.effects
    assert found is not None
    more = [one for one in effects if one.verdict == "more"]
    there = [one for one in more if one.on_high[1] > one.on_low[2]]
    outcome = (
        f"{len(more)} of {len(effects)} factors do more than random neurons, and {len(there)} of "
        "these more where they are high than where they are low."
    )
    if there:
        best = max(there, key=lambda one: one.on_high[0] - one.on_low[0])
        outcome += (
            f" Clearest is factor {best.component}, at {_tops(report, best.component)}: "
            f"{with_interval(best.on_high)} against {with_interval(best.on_low)} {best.unit}."
        )
    if report.stability is not None:
        low, high = (format_fixed(one) for one in (report.stability.min(), report.stability.max()))
        outcome += (
            f" Fitted from other starts, they come back with a similarity of {low} to {high}."
        )
    every: Verdict = "holds" if len(there) == len(effects) else "holds in part"
    return Finding(
        key="factors",
        question=QUESTIONS["factors"],
        source="figures 9 and 10",
        answer=found.sentence,
        test="Take a factor's strongest neurons out: that must matter more than taking out random "
        "ones, and more where the factor is high.",
        outcome=outcome,
        verdict=every if there else "not told",
    )


def _probes(report: Report) -> Finding:
    found = report.probes
    assert found is not None
    best = int(found.accuracy.mean(axis=1).argmax())
    accuracy, baseline = found.accuracy[best], found.by_type
    left = found.selectivity[best]
    sure = accuracy.mean() > baseline.mean() and left.mean() > left.std()
    return Finding(
        key="probes",
        question=QUESTIONS["probes"],
        source="table 1",
        answer=_started(
            f"{found.named(best)} tell most: {found.label} of {accuracy.mean():.1%} of the words."
        ),
        test="Give each word type a random label: what a probe tells of these it has learned by "
        "heart. And a layer must tell more than each word's most frequent label.",
        outcome=f"Of the random labels it tells {found.control_accuracy[best].mean():.1%}, so that "
        f"its selectivity is {100 * left.mean():.1f} ± {100 * left.std():.1f} points; each word's "
        f"most frequent label is right for {baseline.mean():.1%}.",
        verdict="holds" if sure else "not told",
    )


_MAKERS: dict[str, Callable[[Report], Finding]] = {
    "attribution": _saliency,
    "similarity": _similarity,
    "rankings": _rankings,
    "watched": _watched,
    "factors": _factors,
    "probes": _probes,
}


def findings(report: Report) -> tuple[Finding, ...]:
    r"""What was found by those analyses that a report holds, in the paper's order."""
    return tuple(
        make(report) for name, make in _MAKERS.items() if getattr(report, name) is not None
    )


def _started(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _tokens(count: int) -> str:
    return f"{count} token{'' if count == 1 else 's'}"


def _tops(report: Report, component: int) -> str:
    assert report.factors is not None
    texts = dict.fromkeys(text for _, text, _ in report.factors.top_tokens(component, 6))
    return ", ".join(in_quotes(text) for text in list(texts)[:3])


@dataclass(frozen=True, eq=False)
class Report(Record):
    r"""Every analysis of one text, in the order of Alammar (2021), and what tests each of them.

    An analysis that the model or the text does not allow is None; ``refused`` says why.

    Args:
        generation (Generation): the text.
        attribution (Attribution, optional): where each output came from.
        faithfulness (Faithfulness, optional): what removing the salient sources does.
        similarity (Similarity, optional): of the layers' hidden states over this text.
        rankings (Rankings, optional): of each output at each layer, with the shuffled control.
        watched (WatchedRankings, optional): the first output, beside what came next to
            standing there.
        order (OrderTest, optional): its lead with the words before in random order.
        factors (Factors, optional): of the neurons over this text.
        effects (tuple of FactorEffect): what each factor's neurons do in this text.
        stability (array, optional): (components,), how like themselves the factors come back from
            other starts.
        probes (ProbeReport, optional): of hidden states, over a treebank.
        refused (dict): the reason for each analysis that is not there.
        settings (dict): what was asked for.

    Examples::

        >>> found = Report(generation, rankings=rankings(lm, generation))  # or report(...)
        >>> found.findings[0].question, len(found.to_pandas())
        ('When was each token decided?', 1)
    """

    generation: Generation
    attribution: Attribution | None = None
    faithfulness: Faithfulness | None = None
    similarity: Similarity | None = None
    rankings: Rankings | None = None
    watched: WatchedRankings | None = None
    order: OrderTest | None = None
    factors: Factors | None = None
    effects: tuple[FactorEffect, ...] = ()
    stability: np.ndarray | None = None
    probes: ProbeReport | None = None
    refused: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What each analysis found, what could have shown it wrong, and whether that did."""
        return findings(self)

    def to_pandas(self) -> pd.DataFrame:
        r"""Returns one row an analysis: question, source, answer, test, outcome, verdict."""
        columns = ("question", "source", "answer", "test", "outcome", "verdict")
        rows = [[getattr(one, name) for name in columns] for one in self.findings]
        return data_frame(rows, list(columns)).set_axis([one.key for one in self.findings])

    def _title(self) -> str:
        return f"What {self.generation.model} did while it wrote"

    def _html(self) -> str:
        from ecco_captum.report.html import report_view

        found = self.findings
        return report_view(
            self.generation.tokens,
            found,
            {one.key: self._views(one.key) for one in found},
            refused=self.refused,
            title=self._title(),
            subtitle=self.subtitle,
        )

    def _views(self, key: str) -> list[str]:
        """The pictures of one analysis, and of its test where that has one of its own."""
        shown: dict[str, list[Record | None]] = {
            "saliency": [self.attribution, self.faithfulness],
            "similarity": [self.similarity],
            "rankings": [self.rankings],
            "watch": [self.watched],
            "probes": [self.probes],
        }
        if key == "factors" and self.factors is not None:
            return [self.factors.view(effects=self.effects, stability=self.stability)]
        return [one._html() for one in shown[key] if one is not None]

    @property
    def subtitle(self) -> str:
        """What was read, and how much was written."""
        tokens = self.generation.tokens
        written = len(tokens) - tokens.prompt_length
        return (
            f"{self.generation.model} · {tokens.prompt_length} tokens read, {written} written · "
            "the analyses of Alammar (2021) in the paper's order, each with its number and with "
            "what could have shown it wrong"
        )

    def __repr__(self) -> str:
        verdicts = ", ".join(f"{one.key}: {one.verdict}" for one in self.findings)
        return f"Report({self.generation.model}; {verdicts})"
