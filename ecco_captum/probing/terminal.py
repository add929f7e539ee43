"""What probes read from each layer, on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import RenderableType

from ecco_captum.display.terminal import table, with_verdict

if TYPE_CHECKING:
    from ecco_captum.probing.record import ProbeReport


def probe_blocks(report: ProbeReport) -> list[RenderableType]:
    """The accuracy of each probe, that of its control task, and the difference."""
    columns, rows = (report.accuracy, report.control_accuracy, report.selectivity), []
    for k, (kind, layer) in enumerate(zip(report.representations, report.layers, strict=True)):
        rows.append((kind, layer, *(f"{column[k].mean():.1%}" for column in columns)))
    made = table(["", "LAYER", "ACCURACY", "CONTROL", "SELECTIVITY"], rows, {0, 1})
    return [report.subtitle, made, with_verdict(report.sentence, report.verdict)]
