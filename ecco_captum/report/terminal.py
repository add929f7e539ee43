"""A report on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from ecco_captum.display.terminal import VERDICTS, printable

if TYPE_CHECKING:
    from ecco_captum.report.record import Report


def report_blocks(report: Report) -> list[RenderableType]:
    """Of each analysis the question, the verdict, the number and the test; and what was skipped."""
    generation = report.generation
    blocks: list[RenderableType] = [report.title, f"{generation.prompt}[{generation.text}]"]
    for finding in report.findings:
        verdict = (f"[{finding.verdict}]", VERDICTS.get(finding.verdict, ""))
        title = Text.assemble((finding.question, "bold"), "  ", verdict)
        lines = (Text(printable(line)) for line in (finding.answer, finding.outcome))
        blocks.append(Group(title, *(Padding.indent(line, 2) for line in lines)))
    return [*blocks, *(f"Skipped: {name}: {why}" for name, why in report.refused.items())]
