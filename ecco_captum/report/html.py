r"""How a report is shown: what was written, a table of verdicts, and every picture below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from ecco_captum.core.checks import Verdict
from ecco_captum.display.page import frame, render
from ecco_captum.generation.html import written_text

if TYPE_CHECKING:
    from ecco_captum.core.record import Record
    from ecco_captum.report.record import Report

_MARKS: dict[Verdict, str] = {
    "supported": "✓",
    "partly supported": "◐",
    "inconclusive": "?",
    "not supported": "✗",
}


def report_view(report: Report) -> Markup:
    """Shows the text, a row for each analysis, and then each of them with its pictures."""
    findings = report.findings
    summary = render(
        "report/summary.html.j2",
        text=written_text(report.generation.tokens),
        findings=findings,
        skipped=report.skipped,
        marks=_MARKS,
    )
    return render(
        "report/report.html.j2",
        head=frame(summary, title=report.title, subtitle=report.subtitle),
        parts=[(finding, _views(report, finding.key)) for finding in findings],
        marks=_MARKS,
    )


def _views(report: Report, key: str) -> list[Markup]:
    """The pictures of one analysis, and of its test where that has one of its own."""
    if key == "factors" and report.factors is not None:
        return [Markup(report.factors.fragment(report.effects, report.stability))]
    shown: dict[str, list[Record | None]] = {
        "saliency": [report.attribution, report.faithfulness, report.methods],
        "similarity": [report.similarity],
        "rankings": [report.rankings],
        "watch": [report.watched],
        "probes": [report.probes],
    }
    return [Markup(record.fragment()) for record in shown[key] if record is not None]
