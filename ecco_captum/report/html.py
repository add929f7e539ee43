r"""How a report is shown: the text beside a line for each analysis, and every picture below."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from ecco_captum.attribution.html import saliency_view
from ecco_captum.core.checks import Verdict
from ecco_captum.display.page import escape, frame, render
from ecco_captum.generation.html import written_text

if TYPE_CHECKING:
    from ecco_captum.core.record import Record
    from ecco_captum.report.record import Report

_HINT = "Point at a generated token to see its sources"
_MARKS: dict[Verdict, str] = {
    "supported": "✓",
    "partly supported": "◐",
    "inconclusive": "?",
    "not supported": "✗",
}


def report_view(report: Report) -> Markup:
    """Shows the first screen, and then each analysis: its pictures, its number, its test."""
    attribution = report.attribution
    if attribution is None:
        picture = written_text(report.generation.tokens)
    else:
        picture = saliency_view(attribution, _HINT, report.method_sentence, note=False)
    first = render(
        "report/first_screen.html.j2",
        picture=picture,
        paper=report.paper_sentence,
        findings=report.findings,
        awaited=report.awaited,
        skipped=report.skipped,
        marks=_MARKS,
    )
    parts = []
    for finding in report.findings:
        views, tests = _views(report, finding.key)
        outcome = _unsaid(finding.outcome, [*views, *tests])
        parts.append((finding, views, outcome, tests))
    return render(
        "report/report.html.j2",
        head=frame(first, title=report.title, subtitle=report.subtitle),
        parts=parts,
        skipped=report.skipped,
        marks=_MARKS,
    )


def _views(report: Report, key: str) -> tuple[list[Markup], list[Markup]]:
    """The pictures of one analysis, and those of its test where that has some of its own."""
    if key == "factors" and report.factors is not None:
        return [Markup(report.factors.fragment(report.effects, report.stability))], []
    if key == "saliency":
        shown = [report.paper_attribution or report.attribution]
        return _fragments(shown), _fragments([report.methods, report.faithfulness])
    own: dict[str, Record | None] = {
        "similarity": report.similarity,
        "rankings": report.rankings,
        "watch": report.watched,
        "probes": report.probes,
    }
    return _fragments([own[key]]), []


def _unsaid(text: str, views: Sequence[Markup]) -> str:
    """The sentences that no view says."""
    said = "".join(views)
    return " ".join(each for each in re.split(r"(?<=[.?!]) ", text) if escape(each) not in said)


def _fragments(records: Sequence[Record | None]) -> list[Markup]:
    return [Markup(record.fragment()) for record in records if record is not None]
