"""The hover view of saliency as static HTML: tokens and arrays in, strings out.

What the page holds without its scripts is a plain table of the strongest sources of each output
token. With scripts, the same place shows the text itself, coloured by the output under the pointer.
The scripts in ``static/`` draw the notebook widget too; only the way the data arrives differs.
"""

from __future__ import annotations

import base64
import hashlib

import numpy as np

from ecco_captum.html import asset, embed_json, escape, frame, style, table, token
from ecco_captum.legible import format_share, visible_parts
from ecco_captum.shades import LEVELS, ramp_css, theme_css
from ecco_captum.tokens import Tokens

TITLE = "Where did each token come from?"

_SCRIPTS = ("numbers.js", "tokens.js", "detail.js", "saliency.js")
_SOURCES = 5  # sources that the plain table names for each output
_SOURCE = "display:inline-block;margin-right:14px"
_OPEN_ROWS = 40  # rows of the plain table before the others are folded away


def saliency_view(
    tokens: Tokens,
    scores: np.ndarray,
    *,
    title: str = TITLE,
    subtitle: str = "",
    unit: str = "",
    note: str = "",
) -> str:
    r"""
    Draw how much each earlier token weighed for each output token.

    Args:
        tokens (Tokens): Prompt and output tokens.
        scores (numpy.ndarray): Shape (outputs, positions), raw; row ``t`` covers the prompt and the
            outputs before ``t``, later positions are 0. Negative scores take the second hue.
        title (str, optional): The question above the view. Default: ``TITLE``
        subtitle (str, optional): What is drawn, such as model and method. Default: ``""``
        unit (str, optional): Unit of a raw score. Default: ``""``
        note (str, optional): A sentence below the view. Default: ``""``

    Returns:
        str: An HTML fragment, fit for a notebook cell and for the body of `ecco_captum.html.page`.

    Raises:
        ValueError: The scores do not fit the tokens, or are not finite.

    Examples::

        >>> view = saliency_view(record.tokens, record.scores, unit="L2 norm of gradient x input")
        >>> pathlib.Path("report.html").write_text(page(view, title="Report"), encoding="utf-8")
    """
    scores = checked_scores(tokens, scores)
    packed = base64.b64encode(pack_scores(tokens, scores)).decode()
    data = embed_json({**saliency_data(tokens, scores, unit=unit), "scores": packed})
    key = hashlib.sha256((data + title + subtitle + note).encode("utf-8", "replace")).hexdigest()
    body = (
        style(saliency_css(signed=bool((scores < 0).any())))
        + f'{data}<div class="ecco-swap">{_plain_view(tokens, scores)}</div>'
        + f'<script type="module">\n{saliency_script()}{asset("boot.js")}boot("{key[:16]}");\n'
        + "</script>"
    )
    return frame(body, title=title, subtitle=subtitle, note=note, key=key[:16])


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


def saliency_data(tokens: Tokens, scores: np.ndarray, *, unit: str = "") -> dict[str, object]:
    r"""
    What the script needs beside the scores.

    Args:
        tokens (Tokens): Prompt and output tokens.
        scores (numpy.ndarray): Shape (outputs, positions), raw.
        unit (str, optional): Unit of a raw score. Default: ``""``

    Returns:
        dict: ``texts`` (a string for each token, or plain parts and marks in turn), ``prompt`` (how
        many of them are the prompt), ``first`` (the output shown first), ``signed``, ``levels`` of
        the ramp, ``unit``.
    """
    parts = map(visible_parts, tokens.texts)
    return {
        "texts": [p[0] if len(p) == 1 else p for p in parts],
        "prompt": tokens.prompt_length,
        "first": first_output(tokens, scores),
        "signed": bool((scores < 0).any()),
        "levels": LEVELS,
        "unit": "".join(visible_parts(unit)),
    }


def pack_scores(tokens: Tokens, scores: np.ndarray) -> bytes:
    r"""
    Write the scores of earlier tokens, row after row, without the zeros of the future.

    Args:
        tokens (Tokens): Prompt and output tokens.
        scores (numpy.ndarray): Shape (outputs, positions), raw.

    Returns:
        bytes: float32, little-endian; row ``t`` has ``prompt_length + t`` values.
    """
    rows = [row[: tokens.prompt_length + t] for t, row in enumerate(scores)]
    return np.concatenate(rows).astype("<f4").tobytes()


def first_output(tokens: Tokens, scores: np.ndarray) -> int:
    r"""
    Choose the output that is shown before the reader points at one.

    It is the output with the most concentrated sources, the one that says most at a glance: its
    shares are furthest from an equal share for all (in nats, so that early outputs with few sources
    do not win by that alone). Words and numbers go before newlines and punctuation.

    Args:
        tokens (Tokens): Prompt and output tokens.
        scores (numpy.ndarray): Shape (outputs, positions), raw.

    Returns:
        int: Index among the outputs.
    """
    sizes = np.abs(scores, dtype=np.float64)
    shares = sizes / np.maximum(sizes.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    nats = shares * np.log(np.where(shares > 0, shares, 1.0))
    known = tokens.prompt_length + np.arange(len(scores))
    concentration = np.where(shares.any(axis=1), np.log(np.maximum(known, 1)) + nats.sum(axis=1), 0)
    wordlike = [any(map(str.isalnum, text)) for text in tokens.texts[tokens.prompt_length :]]
    return int(np.lexsort((-concentration, ~np.array(wordlike)))[0])


def checked_scores(tokens: Tokens, scores: np.ndarray) -> np.ndarray:
    r"""
    Check that scores fit the tokens and can be drawn.

    Args:
        tokens (Tokens): Prompt and output tokens.
        scores (numpy.ndarray): Expected shape (outputs, positions).

    Returns:
        numpy.ndarray: The scores as float32.

    Raises:
        ValueError: They have another shape, are not finite, or a token has a score for an output
            that was written before it.
    """
    scores = np.asarray(scores, dtype=np.float32)
    outputs = len(tokens) - tokens.prompt_length
    if outputs < 1:
        raise ValueError(
            f"tokens: got {len(tokens)} tokens, all of them prompt, accepts a prompt with at least "
            "one output token; there is nothing to explain yet."
        )
    if scores.shape != (outputs, len(tokens)):
        raise ValueError(
            f"scores: got shape {scores.shape}, accepts (outputs, positions) = "
            f"({outputs}, {len(tokens)}): a column for each prompt and each output token."
        )
    if not np.isfinite(scores).all():
        where = ", ".join(map(str, np.argwhere(~np.isfinite(scores))[0]))
        raise ValueError(
            f"scores: got {scores[~np.isfinite(scores)][0]} at [{where}], accepts finite numbers; "
            "the usual cause is NaN weights or a float16 overflow."
        )
    if np.triu(scores[:, tokens.prompt_length :]).any():
        raise ValueError(
            "scores: got values at or after the token that they explain, accepts row t with the "
            "prompt and the outputs before t; the usual cause is a shift by one position."
        )
    return scores


def _plain_view(tokens: Tokens, scores: np.ndarray) -> str:
    rows = [_plain_row(tokens, scores[t], t) for t in range(len(scores))]
    header = ("Generated token", "Output", "Its strongest sources, with their share of the score")
    shown = table(header, rows[:_OPEN_ROWS], numeric=(1,))
    if len(rows) > _OPEN_ROWS:
        rest = table(header, rows[_OPEN_ROWS:], numeric=(1,))
        count = len(rows) - _OPEN_ROWS
        shown += f"<details><summary>{count} more generated tokens</summary>{rest}</details>"
    return f'<div class="ecco-plain">{shown}</div>'


def _plain_row(tokens: Tokens, scores: np.ndarray, output: int) -> list[str]:
    row = scores[: tokens.prompt_length + output]
    sizes = np.abs(row, dtype=np.float64)
    total = sizes.sum()
    strongest = np.argsort(-sizes, kind="stable")[:_SOURCES]
    sources = "".join(
        _source(tokens, int(i), float(row[i] / total), float(sizes[i] / sizes.max()))
        for i in strongest
        if total > 0
    )
    return [_name(tokens, tokens.prompt_length + output), str(output), sources or "none"]


def _source(tokens: Tokens, position: int, share: float, strength: float) -> str:
    # Translucent, so that the notebook's own ink can be read on it in a light and a dark theme.
    hue = "45,190,170" if share < 0 else "139,98,225"
    shade = f"background:rgba({hue},{0.4 * strength:.2f});border-radius:4px;padding:1px 4px"
    return (
        f'<span class="ecco-source" style="{_SOURCE}" title="position {position}">'
        f'<span style="{shade}">{_name(tokens, position)}</span> {format_share(share)}</span> '
    )


def _name(tokens: Tokens, position: int) -> str:
    start = position
    while start > 0 and not tokens.texts[start]:
        start -= 1
    rest = "⋯" if start < position else ""
    return rest + token(tokens.texts[start]) if tokens.texts[start] else escape("⋯")
