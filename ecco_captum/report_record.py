r"""Report: every analysis of one text, each with its number and what could have shown it wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ecco_captum.attribution_record import Attribution
from ecco_captum.effect_record import FactorEffect
from ecco_captum.factors_record import Factors
from ecco_captum.faithfulness_record import Faithfulness
from ecco_captum.findings import findings
from ecco_captum.generation import Generation
from ecco_captum.probe_record import ProbeReport
from ecco_captum.rankings_record import Rankings
from ecco_captum.records import Record
from ecco_captum.similarity_record import Similarity
from ecco_captum.tables import data_frame
from ecco_captum.watched_record import WatchedRankings
from ecco_captum.word_order import OrderTest

if TYPE_CHECKING:
    import pandas as pd

    from ecco_captum.report_html import Finding


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
        from ecco_captum.report_html import report_view

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
