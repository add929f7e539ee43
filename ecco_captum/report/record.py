r"""Report: every analysis of one text, each with a finding: its number, its test, its verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ecco_captum.attribution.faithfulness.record import Faithfulness
from ecco_captum.attribution.method_comparison.record import MethodComparison
from ecco_captum.attribution.record import Attribution
from ecco_captum.core.checks import Verdict
from ecco_captum.core.record import Record, data_frame
from ecco_captum.core.significance import LEVEL
from ecco_captum.core.text import (
    format_fixed,
    format_number,
    format_p,
    format_share,
    in_quotes,
    with_interval,
)
from ecco_captum.factors.family import family_p_values
from ecco_captum.factors.record import FactorEffect, Factors
from ecco_captum.generation.record import Generation
from ecco_captum.lens.record import OrderTest, Rankings, WatchedRankings
from ecco_captum.probing.record import ProbeReport
from ecco_captum.similarity.record import Similarity

if TYPE_CHECKING:
    import pandas as pd


_PAPER = "input_x_gradient"
_QUESTIONS = {
    "attribution": "Where did each token come from?",
    "similarity": "How alike are the layers?",
    "rankings": "When is each token decided?",
    "watched": "Runner-up tokens",
    "factors": "Neuron factors",
    "probes": "What does a layer know?",
}


@dataclass(frozen=True)
class Finding:
    r"""One analysis of a report.

    Args:
        key (str): its name.
        question (str): what the reader asks.
        source (str): what it takes up from Alammar (2021).
        line (str): the one number that matters, in a line.
        answer (str): what was found.
        test (str): how it was tested.
        outcome (str): what the test gave, in numbers.
        verdict (str): "supported", "partly supported", "inconclusive" or "not supported".
    """

    key: str
    question: str
    source: str
    line: str
    answer: str
    test: str
    outcome: str
    verdict: Verdict


def findings_of(report: Report) -> tuple[Finding, ...]:
    r"""Returns what the analyses that a report holds say, in the paper's order."""
    return tuple(
        make(report) for name, make in _MAKERS.items() if getattr(report, name) is not None
    )


def _saliency(report: Report) -> Finding:
    attribution = report.attribution
    assert attribution is not None
    sizes = np.abs(attribution.shares)
    tops = sizes.argmax(axis=1)
    most = int(np.bincount(tops).argmax())
    name, count = in_quotes(attribution.tokens.texts[most]), int((tops == most).sum())
    return Finding(
        key="saliency",
        question=_QUESTIONS["attribution"],
        source="figures 3 and 4",
        line=_saliency_line(report),
        answer=f"On average, the top source holds {format_share(sizes.max(axis=1).mean())} of a "
        f"token's saliency; for {_tokens(count)} of {len(sizes)} it is {name}.",
        test="Remove sources at random: the attribution must predict what that costs, better than "
        "chance and than position, and it must change with the weights.",
        outcome=_outcome(report),
        verdict=_saliency_verdict(report),
    )


def _saliency_line(report: Report) -> str:
    test, methods = report.faithfulness, report.methods
    if test is None or test.p_values is None:
        return "Not tested."
    assert test.lds_by_output is not None
    name = _capital(test.attribution.label)
    p_values = test.p_values if methods is None else methods.candidate_p_values
    chance, position = p_values[:, :2].max(axis=0).tolist()
    score = f"LDS {format_fixed(test.lds)}"
    if max(chance, position) <= LEVEL:
        worst = format_p(max(chance, position))
        return f"{name} predicts what removing tokens costs: {score}, p = {worst}."
    than, p_value = ("chance", chance) if chance > LEVEL else ("position", position)
    said = "is" if methods is None else f"the best of {len(methods.methods)} methods, is"
    comma = " " if methods is None else ", "
    return f"{name}{comma}{said} no better than {than}: {score}, p = {format_p(p_value)}."


def _outcome(report: Report) -> str:
    test, methods = report.faithfulness, report.methods
    if test is None:
        return "Skipped: faithfulness was not tested."
    if methods is None:
        return test.sentence
    others = f"Of {len(methods.methods)} methods: {methods.sentence}"
    return f"{others} {test.weights_sentence}".strip()


def _saliency_verdict(report: Report) -> Verdict:
    """Of a method that was chosen among several, what its test on the other half of removals says;
    an attribution that stays the same on shuffled weights is no more than partly supported."""
    test, methods = report.faithfulness, report.methods
    if test is None:
        return "inconclusive"
    if methods is None:
        return test.verdict
    if test.follows_weights is False:
        return "partly supported" if methods.best else "not supported"
    return methods.verdict


def _similarity(report: Report) -> Finding:
    similarity = report.similarity
    assert similarity is not None
    return Finding(
        key="similarity",
        question=_QUESTIONS["similarity"],
        source="figure 6",
        line=similarity.short_claim,
        answer=f"{similarity.extremes} ({similarity.measure_title}, {similarity.count} "
        f"{similarity.unit}).",
        test="Move one side against the other, so that tokens no longer meet: a pair that is as "
        "alike then does not differ from chance.",
        outcome=similarity.claim,
        verdict=similarity.verdict,
    )


def _rankings(report: Report) -> Finding:
    rankings = report.rankings
    assert rankings is not None
    since = rankings.decided
    names = dict(zip(rankings.layers.tolist(), rankings.layer_names, strict=True))
    columns = np.flatnonzero(since >= 0)
    answer = f"None of {_tokens(len(since))} is ranked first at the end."
    line, count = answer, int(rankings.first_when_shuffled.sum())
    if columns.size:
        layer = int(np.sort(since[columns])[(len(columns) - 1) // 2])
        ends = f"{names[int(since[columns].min())]} to {names[int(since[columns].max())]}"
        answer = (
            f"The median of {_tokens(len(columns))} stays the top prediction from {names[layer]} "
            f"on ({ends})."
        )
        line = f"Half of {_tokens(len(columns))} by {names[layer]}"
        line += (
            f"; {count} even where the text is shuffled."
            if count
            else "; none where the text is shuffled."
        )
    outcome = f"{count} of {columns.size} still rank first at that layer."
    if rankings.p_prompt is not None:
        beyond = "more" if rankings.p_prompt <= LEVEL else "no more"
        outcome += (
            f" The prompt's tokens are {beyond} probable in their own order than in random ones "
            f"(p = {format_p(rankings.p_prompt)})."
        )
    return Finding(
        key="rankings",
        question=_QUESTIONS["rankings"],
        source="figure 7",
        line=line,
        answer=answer,
        test="Shuffle each block's output across tokens: a token that still ranks first is "
        "predicted whatever the text says. And the model must predict the prompt.",
        outcome=outcome,
        verdict=rankings.verdict,
    )


def _watched(report: Report) -> Finding:
    watched, test = report.watched, report.order
    assert watched is not None
    return Finding(
        key="watch",
        question=_QUESTIONS["watched"],
        source="figure 8",
        line=_lead_line(report),
        answer=watched.sentence,
        test="Put the tokens before it in random order: a lead that stays owes nothing to what the "
        "text says.",
        outcome=test.sentence if test else "Skipped: it needs a causal model and four tokens.",
        verdict=test.verdict if test else "inconclusive",
    )


def _lead_line(report: Report) -> str:
    watched, test = report.watched, report.order
    assert watched is not None
    own, second = (in_quotes(text) for text in watched.watch_texts[:2])
    if test is None:
        return f"{own} before {second}; not tested."
    lead = f"{own} leads {second} by {format_number(test.lead)} nats"
    beyond = "more" if test.p_value <= LEVEL else "no more"
    return f"{lead}, {beyond} than words in random order do: p = {format_p(test.p_value)}."


def _factors(report: Report) -> Finding:
    factors, effects = report.factors, report.effects
    assert factors is not None
    p_values = family_p_values(effects) if effects else np.zeros(0)
    there = [effect for effect, p_value in zip(effects, p_values, strict=True) if p_value <= LEVEL]
    outcome = (
        f"Of {len(effects)} factors, {len(there)} do more where they are high than random neurons "
        "do, and more there than where they are low (at 5% for all of them together)."
    )
    if there:
        clearest = int(p_values.argmin())
        best = effects[clearest]
        outcome += (
            f" Clearest is factor {best.component}, at {_top_texts(report, best.component)}: "
            f"{with_interval(best.on_high)} against {with_interval(best.on_low)} {best.unit} (p = "
            f"{format_p(p_values[clearest])})."
        )
    if report.stability is not None:
        low, high = (format_fixed(end) for end in (report.stability.min(), report.stability.max()))
        cosines = low if low == high else f"{low} to {high}"
        outcome += f" Fits from other starts find them again, with a cosine of {cosines}."
    some: Verdict = "partly supported" if there else "inconclusive"
    return Finding(
        key="factors",
        question=_QUESTIONS["factors"],
        source="figures 9 and 10",
        line=f"{len(there)} of {factors.count} factors matter where they are high: "
        f"p {'≤' if there else '≥'} {format_p(_edge(p_values))}."
        if effects
        else factors.sentence,
        answer=factors.sentence,
        test="Ablate a factor's strongest neurons: that must change more than ablating random "
        "ones that are as active, and more where the factor is high.",
        outcome=outcome,
        verdict="supported" if there and len(there) == len(effects) else some,
    )


def _probes(report: Report) -> Finding:
    probes = report.probes
    assert probes is not None
    best = int(probes.accuracy.mean(axis=1).argmax())
    accuracy, baseline = probes.accuracy[best], probes.by_type
    selectivity = probes.selectivity[best]
    points = [format_fixed(100 * v, 1) for v in (selectivity.mean(), selectivity.std())]
    return Finding(
        key="probes",
        question=_QUESTIONS["probes"],
        source="table 1",
        line=f"{accuracy.mean():.1%} of {probes.label} labels at {probes.layers[best]}, "
        f"{points[0]} points over a control task.",
        answer=f"Best layer: {probes.named(best)}, {accuracy.mean():.1%} of {probes.label} labels.",
        test="Give each word type a random label: what a probe gets right of these it memorised. "
        "And a layer must beat each word's most frequent label.",
        outcome=f"On the control task (random labels) it reaches "
        f"{probes.control_accuracy[best].mean():.1%}, so its selectivity is {points[0]} ± "
        f"{points[1]} points; each word's most frequent label is right for {baseline.mean():.1%}. "
        f"{probes.claim}",
        verdict=probes.verdict,
    )


_MAKERS: dict[str, Callable[[Report], Finding]] = {
    "attribution": _saliency,
    "similarity": _similarity,
    "rankings": _rankings,
    "watched": _watched,
    "factors": _factors,
    "probes": _probes,
}


def _edge(p_values: np.ndarray) -> float:
    """The largest p-value that holds, or else the smallest."""
    holds = p_values[p_values <= LEVEL]
    return float(holds.max() if holds.size else p_values.min())


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _tokens(count: int) -> str:
    return f"{count} token{'' if count == 1 else 's'}"


def _top_texts(report: Report, component: int) -> str:
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
        methods (MethodComparison, optional): the methods that were compared, where none was named;
            ``attribution`` is by the best on one half of the removals.
        pending (tuple of str): the analyses that are still to come, by their fields' names; none of
            a report that is whole.

    Examples::

        >>> page = Report(generation, rankings=rankings(lm, generation))  # or report(...)
        >>> page.findings[0].question, len(page.to_pandas())
        ('When is each token decided?', 1)
    """

    _axes: ClassVar[dict[str, str]] = {"stability": "float: components"}

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
    methods: MethodComparison | None = None
    pending: tuple[str, ...] = ()

    @property
    def _again(self) -> int:  # type: ignore[override]  # only while it grows
        return 5 if self.pending else 0

    @property
    def title(self) -> str:  # type: ignore[override]  # it names the model
        """What the page is of."""
        return f"What {self.generation.model} did while it wrote"

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        """The questions that were not answered, each with the reason."""
        return tuple((_QUESTIONS[name], reason) for name, reason in self.refused.items())

    @property
    def paper_attribution(self) -> Attribution | None:
        """Gradient × input, the method of Alammar (2021), where it was compared or is the one."""
        compared = () if self.methods is None else self.methods.attributions
        paper = [each for each in compared if each.method == _PAPER]
        if paper:
            return paper[0]
        own = self.attribution
        return own if own is not None and own.method == _PAPER else None

    @property
    def method_sentence(self) -> str:
        """Which method is shown, and why."""
        own, methods = self.attribution, self.methods
        if own is None:
            return ""
        name = _capital(own.label)
        if methods is None:
            return f"{name}, as asked for" if "method" in self.settings else name
        middle, low, high = map(format_fixed, methods.intervals[methods.candidate].tolist())
        return (
            f"{name}, the best of {len(methods.methods)} methods on this text (LDS {middle} "
            f"[{low}, {high}])"
        )

    @property
    def paper_sentence(self) -> str:
        """What gradient × input, the paper's method, does on this text, where another is better."""
        paper = self.paper_attribution
        if self.methods is None or paper is None:
            return ""
        row = self.methods.attributions.index(paper)
        if row == self.methods.candidate:
            return ""
        columns = self.methods.columns()
        score = format_fixed(columns["lds"][row])
        for than in ("chance", "position"):
            if (p_value := float(columns[f"p_{than}"][row])) > LEVEL:
                said = f"is no better than {than} here (p = {format_p(p_value)})"
                break
        else:
            said = "is better than chance and position here"
        return f"Gradient × input, the paper's method, {said}, with an LDS of {score}."

    @property
    def awaited(self) -> tuple[str, ...]:
        """The questions whose answers are still to come."""
        return tuple(_QUESTIONS[name] for name in self.pending)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What each analysis says, how it was tested, and the verdict."""
        return findings_of(self)

    def to_pandas(self) -> pd.DataFrame:
        r"""Returns one row an analysis: question, source, line, answer, test, outcome, verdict."""
        columns = ("question", "source", "line", "answer", "test", "outcome", "verdict")
        rows = [[getattr(finding, name) for name in columns] for finding in self.findings]
        return data_frame(rows, list(columns)).set_axis([finding.key for finding in self.findings])

    def fragment(self) -> str:
        from ecco_captum.report.html import report_view

        return str(report_view(self))

    @property
    def subtitle(self) -> str:
        """What was read, how much was written, and how long the analyses took."""
        tokens = self.generation.tokens
        written = len(tokens) - tokens.prompt_length
        parts = [f"{tokens.prompt_length} tokens read, {written} written"]
        if "seconds" in self.settings:
            parts.append(f"{self.settings['seconds']:.0f} s")
        return " · ".join([*parts, "how each claim was tested is below it"])

    def terminal(self) -> list[Any]:
        from ecco_captum.report.terminal import report_blocks

        return report_blocks(self)

    def __repr__(self) -> str:
        verdicts = ", ".join(f"{finding.key}: {finding.verdict}" for finding in self.findings)
        return f"Report({self.generation.model}; {verdicts})"
