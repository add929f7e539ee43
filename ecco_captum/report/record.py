r"""Report: every analysis of one text, each with the verdict of its test."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ecco_captum.attribution.faithfulness.record import Faithfulness
from ecco_captum.attribution.record import Attribution
from ecco_captum.core.record import Record, data_frame
from ecco_captum.factors.effect_record import FactorEffect
from ecco_captum.factors.record import Factors
from ecco_captum.generation.record import Generation
from ecco_captum.lens.record import OrderTest, Rankings, WatchedRankings
from ecco_captum.probing.record import ProbeReport
from ecco_captum.report.findings import Finding, findings_of
from ecco_captum.similarity.record import Similarity

if TYPE_CHECKING:
    import pandas as pd


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
        ('When does each token become the top prediction?', 1)
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
    def title(self) -> str:  # type: ignore[override]  # it names the model
        """What the page is of."""
        return f"What {self.generation.model} did while it wrote"

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What each analysis says, how it was tested, and the verdict."""
        return findings_of(self)

    def to_pandas(self) -> pd.DataFrame:
        r"""Returns one row an analysis: question, source, answer, test, outcome, verdict."""
        columns = ("question", "source", "answer", "test", "outcome", "verdict")
        rows = [[getattr(finding, name) for name in columns] for finding in self.findings]
        return data_frame(rows, list(columns)).set_axis([finding.key for finding in self.findings])

    def fragment(self) -> str:
        from ecco_captum.report.html import report_view

        return report_view(self)

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
        verdicts = ", ".join(f"{finding.key}: {finding.verdict}" for finding in self.findings)
        return f"Report({self.generation.model}; {verdicts})"
