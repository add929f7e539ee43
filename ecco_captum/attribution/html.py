"""What the views of saliency draw: scores checked against their tokens, packed, and put in words.

A row of scores explains one output; it covers what that output could depend on. Where a text is
written on, these are the prompt and the outputs before it; where masks are filled or a class is
named, the prompt alone.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np

from ecco_captum.core.text import format_share, visible_parts
from ecco_captum.core.tokens import Tokens
from ecco_captum.display.colours import LEVELS
from ecco_captum.display.page import asset, embed_json, frame, style, view_key
from ecco_captum.display.token_text import folded_table, token_name, token_text_css
from ecco_captum.generation.record import Task

_WRITTEN = {"target": "generated", "one": "generated token", "many": "generated tokens"}
_WORDS: dict[Task, dict[str, str]] = {
    "causal": {"source": "prompt", **_WRITTEN},
    "seq2seq": {"source": "source", **_WRITTEN},
    "masked": {
        "source": "text",
        "target": "predicted at the masks",
        "one": "predicted token",
        "many": "predicted tokens",
    },
    "classification": {"source": "text", "target": "class", "one": "class", "many": "classes"},
}


def words_of(task: Task) -> dict[str, str]:
    r"""
    The words of a view for what its outputs are.

    Args:
        task (str): ``"causal"``, ``"seq2seq"``, ``"masked"`` or ``"classification"``.

    Returns:
        dict: ``source`` and ``target``, the headings of the two texts; ``one`` and ``many``, what
        an output and several of them are called.

    Raises:
        ValueError: There is no such task.
    """
    if task not in _WORDS:
        raise ValueError(f"task: got {task!r}, accepts {', '.join(map(repr, _WORDS))}")
    return _WORDS[task]


def checked_outputs(tokens: Tokens, outputs: Sequence[int] | np.ndarray | None) -> np.ndarray:
    r"""
    Check which outputs are explained.

    Args:
        tokens (Tokens): Prompt and output tokens.
        outputs (sequence of int, optional): Expected ascending, each once. Default: all.

    Returns:
        numpy.ndarray: Shape (explained,), int64, indices among the outputs.

    Raises:
        ValueError: There is no output, one is not among the tokens, or they are out of order.
    """
    count = len(tokens) - tokens.prompt_length
    if count < 1:
        raise ValueError(
            f"tokens: got {len(tokens)} tokens, all of them prompt, accepts a prompt with at least "
            "one output token; there is nothing to explain yet."
        )
    if outputs is None:
        return np.arange(count)
    explained = np.asarray(outputs)
    fits = explained.ndim == 1 and explained.size > 0 and explained.dtype.kind in "iu"
    if not fits or explained[0] < 0 or explained[-1] >= count or (np.diff(explained) < 1).any():
        raise ValueError(
            f"outputs: got {_shortened(outputs)}, accepts ascending indices, each once, "
            f"from 0 to {count - 1}."
        )
    return explained.astype(np.int64)


def known_lengths(tokens: Tokens, outputs: np.ndarray, task: Task = "causal") -> np.ndarray:
    r"""
    How many positions each explained output could depend on.

    Args:
        tokens (Tokens): Prompt and output tokens.
        outputs (numpy.ndarray): Shape (explained,), indices among the outputs.
        task (str, optional): What the outputs are. Default: ``"causal"``

    Returns:
        numpy.ndarray: Shape (explained,); positions from there on have no score.
    """
    written = words_of(task)["target"] == "generated"
    return tokens.prompt_length + (outputs if written else np.zeros_like(outputs))


def checked_scores(
    tokens: Tokens,
    scores: np.ndarray,
    *,
    outputs: Sequence[int] | np.ndarray | None = None,
    task: Task = "causal",
) -> np.ndarray:
    r"""
    Check that scores fit the tokens and can be drawn.

    Args:
        tokens (Tokens): Prompt and output tokens.
        scores (numpy.ndarray): Expected shape (explained, positions).
        outputs (sequence of int, optional): Which outputs the rows explain. Default: all.
        task (str, optional): What the outputs are. Default: ``"causal"``

    Returns:
        numpy.ndarray: The scores as float32.

    Raises:
        ValueError: They have another shape, are not finite, or a token has a score for an output
            that could not depend on it.
    """
    scores = np.asarray(scores, dtype=np.float32)
    explained = checked_outputs(tokens, outputs)
    if scores.shape != (len(explained), len(tokens)):
        rows = "outputs" if outputs is None else "explained outputs"
        raise ValueError(
            f"scores: got shape {scores.shape}, accepts ({rows}, positions) = "
            f"({len(explained)}, {len(tokens)}): a column for each prompt and each output token."
        )
    if not np.isfinite(scores).all():
        where = ", ".join(map(str, np.argwhere(~np.isfinite(scores))[0]))
        raise ValueError(
            f"scores: got {scores[~np.isfinite(scores)][0]} at [{where}], accepts finite numbers; "
            "the usual cause is NaN weights or a float16 overflow."
        )
    unknown = np.arange(len(tokens)) >= known_lengths(tokens, explained, task)[:, None]
    if scores[unknown].any():
        words = words_of(task)
        if words["target"] == "generated":
            raise ValueError(
                "scores: got values at or after the token that they explain, accepts row t with "
                f"the {words['source']} and the outputs before t; the usual cause is a shift by "
                "one position."
            )
        raise ValueError(
            f"scores: got values at outputs, accepts values at the text alone: a {words['one']} "
            "does not depend on another."
        )
    return scores


def checked_places(
    tokens: Tokens, places: Sequence[int] | np.ndarray | None, task: Task
) -> list[int]:
    r"""
    Check which of the text's tokens the outputs stand for.

    Args:
        tokens (Tokens): Prompt and output tokens.
        places (sequence of int, optional): One position of the prompt for each output.
        task (str): What the outputs are: only predictions at masks have places.

    Returns:
        list of int: The places; empty if there are none.

    Raises:
        ValueError: They are not one an output, leave the prompt, or the task has none.
    """
    if places is None:
        return []
    found, count = np.asarray(places), len(tokens) - tokens.prompt_length
    fits = found.shape == (count,) and found.dtype.kind in "iu"
    if task != "masked" or not fits or found.min() < 0 or found.max() >= tokens.prompt_length:
        raise ValueError(
            f"places: got {_shortened(places)} for the task {task!r}, accepts for 'masked' "
            f"{count} positions from 0 to {tokens.prompt_length - 1}, else None."
        )
    return [int(place) for place in found]


def saliency_data(
    tokens: Tokens,
    scores: np.ndarray,
    *,
    outputs: Sequence[int] | np.ndarray | None = None,
    task: Task = "causal",
    places: Sequence[int] | np.ndarray | None = None,
    unit: str = "",
) -> dict[str, object]:
    r"""
    What the script needs beside the scores.

    Args:
        tokens (Tokens): Prompt and output tokens.
        scores (numpy.ndarray): Shape (explained, positions), raw.
        outputs (sequence of int, optional): Which outputs the rows explain. Default: all.
        task (str, optional): What the outputs are. Default: ``"causal"``
        places (sequence of int, optional): For ``"masked"``, each output's mask. Default: not said.
        unit (str, optional): Unit of a raw score. Default: ``""``

    Returns:
        dict: ``texts`` (a string for each token, or plain parts and marks in turn), ``prompt`` (how
        many of them are the prompt), ``outputs`` (those explained, None for all), ``grows``
        (whether a row covers earlier outputs), ``places``, ``words``, ``first`` (the output shown
        first), ``signed``, ``levels`` of the ramp, ``unit``.
    """
    parts = map(visible_parts, tokens.texts)
    explained = checked_outputs(tokens, outputs)
    some = len(explained) < len(tokens) - tokens.prompt_length
    words = words_of(task)
    return {
        "texts": [p[0] if len(p) == 1 else p for p in parts],
        "prompt": tokens.prompt_length,
        "outputs": explained.tolist() if some else None,
        "grows": words["target"] == "generated",
        "places": checked_places(tokens, places, task),
        "words": words,
        "first": first_output(tokens, scores, outputs=outputs, task=task),
        "signed": bool((scores < 0).any()),
        "levels": LEVELS,
        "unit": "".join(visible_parts(unit)),
    }


def pack_scores(
    tokens: Tokens,
    scores: np.ndarray,
    *,
    outputs: Sequence[int] | np.ndarray | None = None,
    task: Task = "causal",
) -> bytes:
    r"""
    Write the scores of what each output could depend on, row after row, without the zeros behind.

    Args:
        tokens (Tokens): Prompt and output tokens.
        scores (numpy.ndarray): Shape (explained, positions), raw.
        outputs (sequence of int, optional): Which outputs the rows explain. Default: all.
        task (str, optional): What the outputs are. Default: ``"causal"``

    Returns:
        bytes: float32, little-endian; the row of output ``t`` has ``prompt_length + t`` values, or
        ``prompt_length`` where outputs do not depend on each other.
    """
    known = known_lengths(tokens, checked_outputs(tokens, outputs), task)
    rows = [row[:length] for row, length in zip(scores, known, strict=True)]
    return np.concatenate(rows).astype("<f4").tobytes()


def first_output(
    tokens: Tokens,
    scores: np.ndarray,
    *,
    outputs: Sequence[int] | np.ndarray | None = None,
    task: Task = "causal",
) -> int:
    r"""
    Choose the output that is shown before the reader points at one.

    It is the output with the most concentrated sources, the one that says most at a glance: its
    shares are furthest from an equal share for all (in nats, so that early outputs with few sources
    do not win by that alone). Words and numbers go before newlines and punctuation.

    Args:
        tokens (Tokens): Prompt and output tokens.
        scores (numpy.ndarray): Shape (explained, positions), raw.
        outputs (sequence of int, optional): Which outputs the rows explain. Default: all.
        task (str, optional): What the outputs are. Default: ``"causal"``

    Returns:
        int: Index among all outputs.
    """
    explained = checked_outputs(tokens, outputs)
    sizes = np.abs(scores, dtype=np.float64)
    shares = sizes / np.maximum(sizes.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    nats = shares * np.log(np.where(shares > 0, shares, 1.0))
    known = known_lengths(tokens, explained, task)
    concentration = np.where(shares.any(axis=1), np.log(np.maximum(known, 1)) + nats.sum(axis=1), 0)
    texts = [tokens.texts[tokens.prompt_length + t] for t in explained]
    wordlike = [any(map(str.isalnum, text)) for text in texts]
    return int(explained[np.lexsort((-concentration, ~np.array(wordlike)))[0]])


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


TITLE = "Where did each token come from?"
NEGATIVE = "below 0: it spoke against"

_SCRIPTS = (
    "display/numbers.js",
    "display/tokens.js",
    "display/phrases.js",
    "display/detail.js",
    "attribution/saliency.js",
)
_SOURCES = 5  # sources that the plain table names for each output
_SOURCE = "display:inline-block;margin-right:14px"


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
        str: An HTML fragment, for a notebook cell or the body of a page.

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
        style(token_text_css(signed=bool(facts["signed"])))
        + f'{data}<div class="ecco-swap">{plain}</div>'
        + f'<script type="module">\n{saliency_script()}{asset("display/boot.js")}'
        + f'boot("{key}", mount);\n</script>{below}'
    )
    return frame(body, title=title, subtitle=subtitle, note=note, key=key)


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
