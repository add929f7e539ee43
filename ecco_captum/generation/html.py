"""How a generation is shown: what was written, and how sure the model was of each token."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from ecco_captum.core.text import format_number, format_rank, format_share, visible_parts
from ecco_captum.core.tokens import Tokens
from ecco_captum.display.page import folded_table, frame, render, token_name

if TYPE_CHECKING:
    from ecco_captum.generation.record import Generation

_HEADER = ("Generated token", "Id", "Probability", "Logit", "Rank")


def generation_view(generation: Generation) -> Markup:
    """Shows prompt and output as text, with a row of scores for each output token."""
    tokens = generation.tokens
    rows = [
        [
            token_name(tokens, position),
            str(tokens.ids[position]),
            _probability(float(generation.logprobs[t])),
            format_number(float(generation.logits[t])),
            format_rank(int(generation.ranks[t])),
        ]
        for t, position in enumerate(tokens.outputs)
    ]
    table = folded_table(_HEADER, rows, numeric=(1, 2, 3, 4), many="generated tokens")
    body = render("generation/generation.html.j2", text=written_text(tokens), table=table)
    return frame(body, title=generation.title, subtitle=generation.model)


def _probability(logprob: float) -> str:
    """A regression's value has none."""
    return "–" if np.isnan(logprob) else format_share(float(np.exp(logprob)))


def written_text(tokens: Tokens) -> Markup:
    """A text as it was written, the output underlined."""
    start = tokens.prompt_length
    edges = (0, *tokens.starts, start)
    # Each text of a pair on a line of its own.
    prompt = "\n".join(_joined(tokens.texts[a:b]) for a, b in pairwise(edges))
    output = _joined(tokens.texts[start:])
    return render("generation/written_text.html.j2", prompt=prompt, output=output)


def _joined(texts: Sequence[str]) -> str:
    """The text with its own line breaks; other characters that nobody could see are marked."""
    lines = "".join(texts).split("\n")
    return "\n".join("".join(visible_parts(line)) for line in lines)
