"""What removals say of an attribution, on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import RenderableType

from ecco_captum.core.text import format_fixed, format_number, format_p
from ecco_captum.display.terminal import table, with_verdict

if TYPE_CHECKING:
    from ecco_captum.attribution.faithfulness.record import Faithfulness


def faithfulness_blocks(faithfulness: Faithfulness) -> list[RenderableType]:
    """The scores of each kind of removal, the drops by condition, and the sentence."""
    blocks: list[RenderableType] = [faithfulness.subtitle]
    intervals, p_values = faithfulness.lds_intervals, faithfulness.p_values
    if intervals is not None and p_values is not None:
        rows = []
        for done, three, p in zip(faithfulness.done, intervals, p_values, strict=True):
            middle, low, high = map(format_fixed, three.tolist())
            rows.append((f"tokens {done}", f"{middle} [{low}, {high}]", *map(format_p, p[:2])))
        blocks.append(table(["RANDOM REMOVALS", "LDS", "P, CHANCE", "P, POSITION"], rows, {0}))
    drops = [faithfulness.curves(name)[:, -1, 0] for name in ("comprehensiveness", "sufficiency")]
    rows = [
        (condition, *map(format_number, pair))
        for condition, *pair in zip(
            faithfulness.conditions, *(column.tolist() for column in drops), strict=True
        )
    ]
    blocks.append(table(["TOP TOKENS BY", "REMOVED COSTS", "KEPT ALONE COSTS"], rows, {0}))
    return [*blocks, with_verdict(faithfulness.sentence, faithfulness.verdict)]
