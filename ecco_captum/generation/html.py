"""The static view of a generation: what was written, and how sure the model was of each token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ecco_captum.core.text import format_number, format_rank, visible_parts
from ecco_captum.core.tokens import Tokens
from ecco_captum.display.colours import theme_css
from ecco_captum.display.page import escape, frame, style, table, token

TITLE = "What did the model write?"
_OPEN_ROWS = 40
_TEXT = "white-space:pre-wrap;overflow-wrap:anywhere;margin:0 0 14px"
_MARKED = "border-bottom:2px solid rgba(139,98,225,.6)"


def generation_view(
    tokens: Tokens,
    logits: np.ndarray,
    logprobs: np.ndarray,
    ranks: np.ndarray,
    *,
    subtitle: str = "",
) -> str:
    r"""
    Show prompt and output as text, with a row of scores for each output token.

    Args:
        tokens (Tokens): Prompt and output tokens.
        logits (numpy.ndarray): Shape (outputs,), the chosen tokens' logits.
        logprobs (numpy.ndarray): Shape (outputs,), natural logarithms of their probabilities.
        ranks (numpy.ndarray): Shape (outputs,), 1 is the best.
        subtitle (str, optional): What is shown, such as the model. Default: ``""``

    Returns:
        str: HTML, fit for a notebook's cell; without scripts.
    """
    rows = [
        [
            token(tokens.texts[position]) if tokens.texts[position] else escape("⋯"),
            str(tokens.ids[position]),
            f"{np.exp(float(logprobs[t])):.1%}",
            format_number(float(logits[t])),
            format_rank(int(ranks[t])),
        ]
        for t, position in enumerate(tokens.outputs)
    ]
    body = written_text(tokens) + _rows(rows[:_OPEN_ROWS])
    if len(rows) > _OPEN_ROWS:
        count = f"{len(rows) - _OPEN_ROWS} more generated tokens"
        body += f"<details><summary>{count}</summary>{_rows(rows[_OPEN_ROWS:])}</details>"
    return style(theme_css()) + frame(body, title=TITLE, subtitle=subtitle)


def written_text(tokens: Tokens) -> str:
    r"""
    Show a text as it was written, the output underlined.

    Args:
        tokens (Tokens): Prompt and output tokens.

    Returns:
        str: HTML.
    """
    prompt = escape(_joined(tokens.texts[: tokens.prompt_length]))
    output = escape(_joined(tokens.texts[tokens.prompt_length :]))
    return f'<p dir="auto" style="{_TEXT}">{prompt}<span style="{_MARKED}">{output}</span></p>'


def _joined(texts: Sequence[str]) -> str:
    """The text with its own line breaks; other characters that nobody could see are marked."""
    lines = "".join(texts).split("\n")
    return "\n".join("".join(visible_parts(line)) for line in lines)


def _rows(rows: Sequence[Sequence[str]]) -> str:
    header = ("Generated token", "Id", "Probability", "Logit", "Rank")
    return table(header, rows, numeric=(1, 2, 3, 4))
