"""A written text on a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.console import RenderableType

from ecco_captum.core.text import format_share, visible
from ecco_captum.display.terminal import table

if TYPE_CHECKING:
    from ecco_captum.generation.record import Generation


def generation_blocks(generation: Generation) -> list[RenderableType]:
    """The prompt, in brackets what the model wrote, and each output's numbers."""
    texts = generation.tokens.texts[len(generation.prompt_ids) :]
    numbers = zip(texts, generation.logits, generation.logprobs, generation.ranks, strict=True)
    rows = [
        (visible(text), f"{logit:.2f}", _probability(float(logprob)), rank)
        for text, logit, logprob, rank in numbers
    ]
    written = f"{generation.prompt}[{generation.text}]"
    header = ["OUTPUT", "LOGIT", "PROBABILITY", "RANK"]
    return [generation.model, written, table(header, rows, {0})]


def _probability(logprob: float) -> str:
    return "–" if math.isnan(logprob) else format_share(math.exp(logprob))
