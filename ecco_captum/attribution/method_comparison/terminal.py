"""Attribution methods side by side, on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import RenderableType

from ecco_captum.core.text import format_fixed, format_p
from ecco_captum.display.terminal import table, with_verdict

if TYPE_CHECKING:
    from ecco_captum.attribution.method_comparison.record import MethodComparison


def method_comparison_blocks(comparison: MethodComparison) -> list[RenderableType]:
    """Each method's score with its interval, its p-values and its seconds; the best first."""
    columns, rows = comparison.columns(), []
    for k in (-columns["lds"]).argsort(kind="stable").tolist():
        middle, low, high = (
            format_fixed(columns[name][k]) for name in ("lds", "lds_low", "lds_high")
        )
        p_values = (format_p(columns[name][k]) for name in ("p_chance", "p_position"))
        seconds = f"{columns['seconds'][k]:.2f}" if k < len(comparison.methods) else ""
        rows.append((comparison.names[k], f"{middle} [{low}, {high}]", *p_values, seconds))
    header = ["METHOD", "LDS", "P, CHANCE", "P, POSITION", "SECONDS"]
    skipped = [f"Skipped: {name}: {why}" for name, why in comparison.refused.items()]
    said = with_verdict(comparison.sentence, comparison.verdict)
    return [comparison.subtitle, table(header, rows, {0}), *skipped, said]
