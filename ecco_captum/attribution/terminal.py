"""An attribution on a terminal: each output's text with its sources shaded, and the strongest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.console import RenderableType

from ecco_captum.core.text import format_fixed, visible
from ecco_captum.display.terminal import ShadedText, shaded, table

if TYPE_CHECKING:
    from ecco_captum.attribution.record import Attribution, Comparison

_SHADED = 24  # outputs whose whole text is drawn
_STRONGEST = 3


def attribution_blocks(attribution: Attribution) -> list[RenderableType]:
    """What is drawn, the text, each output with its sources shaded, and a table of these."""
    generation = attribution.generation
    written = f"{generation.prompt}[{generation.text}]"
    texts = _texts(attribution)
    blocks = [attribution.subtitle, written, *([texts] if len(texts) else []), _table(attribution)]
    return [*blocks, attribution.note] if attribution.note else blocks


def comparison_blocks(comparison: Comparison) -> list[RenderableType]:
    """How far two attributions agree on each output."""
    tokens, outputs = comparison.left.tokens, np.asarray(comparison.left.outputs)
    names = [visible(tokens.texts[tokens.prompt_length + t]) for t in outputs.tolist()]
    numbers = zip(comparison.rank_correlation, comparison.overlap, strict=True)
    rows = [
        (name, format_fixed(correlation), f"{overlap:.0%}")
        for name, (correlation, overlap) in zip(names, numbers, strict=True)
    ]
    header = ["OUTPUT", "SPEARMAN", "SHARED TOP TOKENS"]
    return [" | ".join(comparison.labels), table(header, rows, {0})]


def _texts(attribution: Attribution) -> ShadedText:
    """The text up to each output, that output last."""
    tokens, drawn = attribution.tokens, ShadedText()
    rows = zip(
        np.asarray(attribution.outputs)[:_SHADED].tolist(),
        attribution.shares[:_SHADED],
        attribution.known[:_SHADED].tolist(),
        strict=True,
    )
    for output, shares, known in rows:
        own = tokens.texts[tokens.prompt_length + output]
        drawn.append("\n" if drawn else "")
        drawn.append_text(shaded(tokens.texts[:known], shares[:known], own))
    if len(attribution.scores) > _SHADED:
        drawn.append(f"\n… and {len(attribution.scores) - _SHADED} more outputs", "dim")
    return drawn


def _table(attribution: Attribution) -> RenderableType:
    """Each explained output with its strongest sources."""
    generation, tokens, rows = attribution.generation, attribution.tokens, []
    grouped = attribution.spans is not None
    outputs = np.asarray(attribution.outputs).tolist()
    for output, share in zip(outputs, attribution.shares, strict=True):
        strongest = (-abs(share)).argsort(kind="stable")[:_STRONGEST].tolist()
        sources = "   ".join(f"{visible(tokens.texts[i])} {share[i]:.1%}" for i in strongest)
        numbers = f"{generation.logits[output]:.2f}", generation.ranks[output]
        own = visible(tokens.texts[tokens.prompt_length + output])
        rows.append((own, *(() if grouped else numbers), sources))
    header = ["OUTPUT", *([] if grouped else ["LOGIT", "RANK"]), "STRONGEST SOURCES"]
    return table(header, rows, {0, len(header) - 1})
