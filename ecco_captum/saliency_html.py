"""The hover view of saliency as static HTML: tokens and arrays in, strings out.

What the page holds without its scripts is a plain table of the strongest sources of each output
token. With scripts, the same place shows the text itself, coloured by the output under the pointer.
The scripts in ``static/`` draw the notebook widget too; only the way the data arrives differs.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np

from ecco_captum.html import asset, embed_json, escape, frame, style, table, token, view_key
from ecco_captum.legible import format_share
from ecco_captum.saliency_data import (
    Task,
    checked_outputs,
    checked_places,
    checked_scores,
    first_output,
    known_lengths,
    pack_scores,
    saliency_data,
    words_of,
)
from ecco_captum.shades import ramp_css, theme_css
from ecco_captum.tokens import Tokens

__all__ = [
    "NEGATIVE",
    "TITLE",
    "checked_scores",
    "first_output",
    "folded_table",
    "pack_scores",
    "saliency_css",
    "saliency_data",
    "saliency_script",
    "saliency_view",
    "strongest_sources",
    "token_name",
]

TITLE = "Where did each token come from?"
NEGATIVE = "below 0: it spoke against"

_SCRIPTS = ("numbers.js", "tokens.js", "phrases.js", "detail.js", "saliency.js")
_SOURCES = 5  # sources that the plain table names for each output
_SOURCE = "display:inline-block;margin-right:14px"
_OPEN_ROWS = 40  # rows of the plain table before the others are folded away


def saliency_view(
    tokens: Tokens,
    scores: np.ndarray,
    *,
    outputs: Sequence[int] | np.ndarray | None = None,
    task: Task = "causal",
    places: Sequence[int] | np.ndarray | None = None,
    title: str = TITLE,
    subtitle: str = "",
    unit: str = "",
    note: str = "",
    below: str = "",
) -> str:
    r"""
    Draw how much each token that was read weighed for each output.

    Args:
        tokens (Tokens): Prompt (source, text) and output tokens; of a classifier, the outputs are
            the names of classes.
        scores (numpy.ndarray): Shape (explained, positions), raw; the row of output ``t`` covers
            the prompt and, where a text is written on, the outputs before ``t``; the rest is 0.
            Negative scores take the second hue.
        outputs (sequence of int, optional): Which outputs the rows explain, ascending; the others
            are drawn, and can be sources, but cannot be asked. Default: all.
        task (str, optional): What the outputs are: ``"causal"`` or ``"seq2seq"`` for written
            tokens, ``"masked"`` for predictions at masks, ``"classification"`` for classes.
            Default: ``"causal"``
        places (sequence of int, optional): For ``"masked"``, the position of each output's mask in
            the text. Default: not said.
        title (str, optional): The question above the view. Default: ``TITLE``
        subtitle (str, optional): What is drawn, such as model and method. Default: ``""``
        unit (str, optional): Unit of a raw score. Default: ``""``
        note (str, optional): A sentence below the view. Default: ``""``
        below (str, optional): Trusted HTML, drawn under the picture. Default: ``""``

    Returns:
        str: An HTML fragment, fit for a notebook cell and for the body of `ecco_captum.html.page`.

    Raises:
        ValueError: The scores do not fit the tokens, or are not finite.

    Examples::

        >>> view = saliency_view(record.tokens, record.scores, unit="L2 norm of gradient x input")
        >>> pathlib.Path("report.html").write_text(page(view, title="Report"), encoding="utf-8")
    """
    scores = checked_scores(tokens, scores, outputs=outputs, task=task)
    facts = saliency_data(tokens, scores, outputs=outputs, task=task, places=places, unit=unit)
    packed = base64.b64encode(pack_scores(tokens, scores, outputs=outputs, task=task)).decode()
    data = embed_json({**facts, "scores": packed})
    key = view_key(data, title, subtitle, note)
    explained = checked_outputs(tokens, outputs)
    plain = _plain_view(tokens, scores, explained, task, checked_places(tokens, places, task))
    body = (
        style(saliency_css(signed=bool(facts["signed"])))
        + f'{data}<div class="ecco-swap">{plain}</div>'
        + f'<script type="module">\n{saliency_script()}{asset("boot.js")}boot("{key}", mount);\n'
        + f"</script>{below}"
    )
    return frame(body, title=title, subtitle=subtitle, note=note, key=key)


def saliency_css(*, signed: bool) -> str:
    r"""
    The style sheet of the view.

    Args:
        signed (bool): Whether there are negative scores, which need the second hue.

    Returns:
        str: CSS.
    """
    cool = ramp_css("cool") if signed else ""
    return theme_css() + asset("frame.css") + asset("saliency.css") + ramp_css() + cool


def saliency_script() -> str:
    r"""
    The script that draws the view: an ES module which exports ``mount(host, data, events)``.

    It is one module cut into files by idea; a page and a widget get the same text.

    Returns:
        str: JavaScript.
    """
    return "".join(asset(name) for name in _SCRIPTS)


def _plain_view(
    tokens: Tokens, scores: np.ndarray, outputs: np.ndarray, task: Task, places: list[int]
) -> str:
    words, known = words_of(task), known_lengths(tokens, outputs, task)
    rows = []
    for row, length, t in zip(scores, known, outputs, strict=True):
        name = token_name(tokens, tokens.prompt_length + int(t))
        where = f" at position {places[t]}" if places else ""
        rows.append([name + where, str(t), strongest_sources(tokens, row[:length])])
    strongest = "Its strongest sources, with their share of the score"
    if (scores < 0).any():
        strongest += f" ({NEGATIVE})"
    header = (words["one"].capitalize(), "Output", strongest)
    return folded_table(header, rows, numeric=(1,), many=words["many"])


def folded_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[int], many: str
) -> str:
    r"""
    A plain table that stands in for a view without scripts; most of a long one is folded away.

    Args:
        header (sequence of str): Texts of the header cells; they are escaped here.
        rows (sequence of sequences of str): HTML of the cells.
        numeric (sequence of int): Columns that hold numbers.
        many (str): What the rows are called, such as ``"generated tokens"``.

    Returns:
        str: HTML.
    """
    shown = table(header, rows[:_OPEN_ROWS], numeric=numeric)
    if len(rows) > _OPEN_ROWS:
        rest = table(header, rows[_OPEN_ROWS:], numeric=numeric)
        count = len(rows) - _OPEN_ROWS
        shown += f"<details><summary>{count} more {escape(many)}</summary>{rest}</details>"
    return f'<div class="ecco-plain" style="overflow-x:auto">{shown}</div>'


def strongest_sources(tokens: Tokens, row: np.ndarray, count: int = _SOURCES) -> str:
    r"""
    The strongest sources of one output as text, each shaded, with its share.

    Args:
        tokens (Tokens): Prompt and output tokens.
        row (numpy.ndarray): Shape (known,), raw scores of what the output could depend on.
        count (int, optional): How many sources to name. Default: 5

    Returns:
        str: HTML; "none" if no source has a score.
    """
    sizes = np.abs(row, dtype=np.float64)
    total = sizes.sum()
    if not total > 0:
        return "none"
    strongest = np.argsort(-sizes, kind="stable")[:count]
    return "".join(
        _source(tokens, int(i), float(row[i] / total), float(sizes[i] / sizes.max()))
        for i in strongest
    )


def _source(tokens: Tokens, position: int, share: float, strength: float) -> str:
    # Translucent, so that the notebook's own ink can be read on it in a light and a dark theme.
    hue = "45,190,170" if share < 0 else "139,98,225"
    shade = f"background:rgba({hue},{0.4 * strength:.2f});border-radius:4px;padding:1px 4px"
    return (
        f'<span class="ecco-source" style="{_SOURCE}" title="position {position}">'
        f'<span style="{shade}">{token_name(tokens, position)}</span> {format_share(share)}</span> '
    )


def token_name(tokens: Tokens, position: int) -> str:
    r"""
    Show a token on one line; one that only continues a character leads with "⋯".

    Args:
        tokens (Tokens): Prompt and output tokens.
        position (int): Which of them.

    Returns:
        str: HTML.
    """
    start = position
    while start > 0 and not tokens.texts[start]:
        start -= 1
    rest = "⋯" if start < position else ""
    return rest + token(tokens.texts[start]) if tokens.texts[start] else escape("⋯")
