r"""A report as HTML: what was written, a table of what was found, and every picture below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ecco_captum.core.tokens import Tokens
from ecco_captum.display.colours import theme_css
from ecco_captum.display.page import asset, escape, frame, style, table
from ecco_captum.generation.html import written_text

Verdict = Literal["holds", "holds in part", "not told", "fails"]

_MARKS: dict[Verdict, str] = {"holds": "✓", "holds in part": "◐", "not told": "?", "fails": "✗"}
_HEADER = ("Question", "What was found", "What could have shown it wrong", "Verdict")
QUESTIONS = {
    "attribution": "Where did each token come from?",
    "similarity": "How alike are the layers?",
    "rankings": "When was each token decided?",
    "watched": "Instead of what?",
    "factors": "What fires together?",
    "probes": "What does a layer know?",
}


@dataclass(frozen=True)
class Finding:
    r"""One analysis of a report.

    Args:
        key (str): its name.
        question (str): what the reader asks.
        source (str): what it takes up from Alammar (2021).
        answer (str): the number.
        test (str): what could have shown it wrong.
        outcome (str): what that gave, in numbers.
        verdict (str): "holds", "holds in part", "not told" (from chance) or "fails".
    """

    key: str
    question: str
    source: str
    answer: str
    test: str
    outcome: str
    verdict: Verdict


def report_view(
    tokens: Tokens,
    findings: Sequence[Finding],
    views: Mapping[str, Sequence[str]],
    *,
    refused: Mapping[str, str],
    title: str,
    subtitle: str,
) -> str:
    r"""
    Show the text, a row for each analysis, and then each of them with its pictures.

    Args:
        tokens (Tokens): Prompt and output.
        findings (sequence of Finding): In the order in which they are read.
        views (mapping): Of each finding's key, HTML of its pictures.
        refused (mapping): The reason for each analysis that could not be made.
        title (str): What the report is of.
        subtitle (str): Of whom, and of how much.

    Returns:
        str: HTML, fit for a notebook cell and for the body of `ecco_captum.display.page.page`.
    """
    rows = [
        [
            f'<a href="#ecco-{escape(part.key)}">{escape(part.question)}</a>',
            escape(part.answer),
            f"{escape(part.test)} <b>{escape(part.outcome)}</b>",
            _verdict(part.verdict),
        ]
        for part in findings
    ]
    summary = f'<div class="ecco-summary">{table(_HEADER, rows, numeric=())}</div>'
    head = frame(
        f'<div class="ecco-card">{written_text(tokens)}</div>{summary}{_refusals(refused)}',
        title=title,
        subtitle=subtitle,
    )
    return (
        style(theme_css(), asset("display/frame.css"), asset("report/report.css"))
        + head
        + "".join(_part(one, views[one.key]) for one in findings)
    )


def _part(part: Finding, views: Sequence[str]) -> str:
    """The paper's figure, the pictures, and last what could have shown it wrong."""
    return (
        f'<div class="ecco-part" id="ecco-{escape(part.key)}">'
        f'<p class="ecco ecco-source">Alammar (2021), {escape(part.source)}</p>'
        f"{''.join(views)}"
        f'<p class="ecco ecco-falsifier">{_verdict(part.verdict)} {escape(part.test)} '
        f"<b>{escape(part.outcome)}</b></p></div>"
    )


def _verdict(verdict: Verdict) -> str:
    kind = escape(verdict.replace(" ", "-"))
    return (
        f'<span class="ecco-verdict ecco-{kind}"><span aria-hidden="true">{_MARKS[verdict]}</span> '
        f"{escape(verdict)}</span>"
    )


def _refusals(refused: Mapping[str, str]) -> str:
    if not refused:
        return ""
    lines = "".join(
        f"<li>{escape(QUESTIONS[name])} {escape(reason)}</li>" for name, reason in refused.items()
    )
    return f'<div class="ecco-note">Not for this model and text:<ul>{lines}</ul></div>'
