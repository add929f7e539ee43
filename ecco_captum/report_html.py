r"""A report as HTML: what was written, a table of what was found, and every picture below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ecco_captum.generation_html import written_text
from ecco_captum.html import asset, escape, frame, style, table
from ecco_captum.shades import theme_css
from ecco_captum.tokens import Tokens

_MARKS = {"holds": "✓", "holds in part": "◐", "not told": "?", "fails": "✗"}
_HEADER = ("Question", "What was found", "What could have shown it wrong", "Verdict")
_NAMES = {
    "attribution": "Where did each token come from?",
    "similarity": "How alike are the layers?",
    "rankings": "When was each token decided?",
    "watched": "Instead of what?",
    "factors": "What fires together?",
    "probes": "What does a layer know?",
}


@dataclass(frozen=True)
class Part:
    r"""
    One analysis of a report.

    Args:
        key (str): Its name, which links lead to.
        question (str): What the reader asks.
        source (str): The figure or table of the paper.
        answer (str): The number.
        test (str): What could have shown it wrong.
        outcome (str): What that gave.
        verdict (str): "holds", "holds in part", "not told" or "fails".
        views (sequence of str): HTML of its pictures.
    """

    key: str
    question: str
    source: str
    answer: str
    test: str
    outcome: str
    verdict: str
    views: Sequence[str]


def report_view(
    tokens: Tokens,
    parts: Sequence[Part],
    *,
    refused: Mapping[str, str],
    title: str,
    subtitle: str,
) -> str:
    r"""
    Show the text, a row for each analysis, and then each of them with its pictures.

    Args:
        tokens (Tokens): Prompt and output.
        parts (sequence of Part): In the order in which they are read.
        refused (mapping): The reason for each analysis that could not be made.
        title (str): What the report is of.
        subtitle (str): Of whom, and of how much.

    Returns:
        str: HTML, fit for a notebook cell and for the body of `ecco_captum.html.page`.
    """
    rows = [
        [
            f'<a href="#ecco-{escape(part.key)}">{escape(part.question)}</a>',
            escape(part.answer),
            f"{escape(part.test)} <b>{escape(part.outcome)}</b>",
            _verdict(part.verdict),
        ]
        for part in parts
    ]
    summary = f'<div class="ecco-summary">{table(_HEADER, rows, numeric=())}</div>'
    head = frame(
        f'<div class="ecco-card">{written_text(tokens)}</div>{summary}{_refusals(refused)}',
        title=title,
        subtitle=subtitle,
    )
    return (
        style(theme_css(), asset("frame.css"), asset("report.css"))
        + head
        + "".join(map(_part, parts))
    )


def _part(part: Part) -> str:
    """The paper's figure, the pictures, and last what could have shown it wrong."""
    return (
        f'<div class="ecco-part" id="ecco-{escape(part.key)}">'
        f'<p class="ecco ecco-source">Alammar (2021), {escape(part.source)}</p>'
        f"{''.join(part.views)}"
        f'<p class="ecco ecco-falsifier">{_verdict(part.verdict)} {escape(part.test)} '
        f"<b>{escape(part.outcome)}</b></p></div>"
    )


def _verdict(verdict: str) -> str:
    kind = escape(verdict.replace(" ", "-"))
    return (
        f'<span class="ecco-verdict ecco-{kind}"><span aria-hidden="true">{_MARKS[verdict]}</span> '
        f"{escape(verdict)}</span>"
    )


def _refusals(refused: Mapping[str, str]) -> str:
    if not refused:
        return ""
    lines = "".join(
        f"<li>{escape(_NAMES[name])} {escape(reason)}</li>" for name, reason in refused.items()
    )
    return f'<div class="ecco-note">Not for this model and text:<ul>{lines}</ul></div>'
