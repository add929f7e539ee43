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
    """The text, and of each analysis the question, the verdict and the number; what was skipped."""
    generation = report.generation
    blocks: list[RenderableType] = [report.title, f"{generation.prompt}[{generation.text}]"]
    for finding in report.findings:
        verdict = (f"[{finding.verdict}]", VERDICTS.get(finding.verdict, ""))
        title = Text.assemble((finding.question, "bold"), "  ", verdict)
        blocks.append(Group(title, Padding.indent(Text(printable(finding.line)), 2)))
    return [*blocks, *(f"Skipped: {name}: {why}" for name, why in report.refused.items())]
