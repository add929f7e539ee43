r"""Groups of tokens: words, messages, spans of the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ecco_captum.core.tokens import Tokens
from ecco_captum.generation.record import Generation

if TYPE_CHECKING:
    from ecco_captum.attribution.record import Attribution

Spans = Sequence[tuple[int, int]]


def grouped(attribution: Attribution, spans: Spans) -> Attribution:
    """Adds scores up over spans of tokens, (start, end); tokens outside stay by themselves.

    There is one row and one column for each group; rows of groups of which no output is explained
    are left out. Spans that overlap, are empty, leave the text or cross from prompt to outputs
    raise a ValueError, and so does an attribution that is grouped already.
    """
    if attribution.spans is not None:
        raise ValueError("spans: these tokens are grouped already; group the ungrouped attribution")
    tokens = attribution.generation.tokens
    edges = _partition(spans, tokens)
    starts, ends = edges[:, 0], edges[:, 1]
    columns = np.add.reduceat(attribution.scores.astype(np.float64), starts, axis=1)
    prompts = int((ends <= tokens.prompt_length).sum())
    outputs = np.asarray(attribution.outputs)
    # The group that each explained output is in, counted from the first group of outputs.
    of = np.searchsorted(starts, tokens.prompt_length + outputs, side="right") - 1 - prompts
    kept = np.unique(of)
    scores = np.stack([columns[of == group].sum(axis=0) for group in kept])
    if attribution.generation.task in ("causal", "seq2seq"):
        # What the pieces of an output word gave each other is no score of an earlier word.
        scores[np.arange(len(starts)) >= prompts + kept[:, None]] = 0
    return replace(
        attribution,
        scores=scores.astype(np.float32),
        outputs=kept,
        spans=edges,
        deltas=None,
        differences=None,
        residuals=None,
    )


def grouped_tokens(tokens: Tokens, spans: np.ndarray) -> Tokens:
    r"""Returns groups as tokens: each has its pieces' text, and its first piece's id."""
    texts = tuple("".join(tokens.texts[start:end]) for start, end in spans)
    prompts = int((spans[:, 1] <= tokens.prompt_length).sum())
    further = tuple(int(k) for k in np.flatnonzero(np.isin(spans[:, 0], tokens.starts)))
    return Tokens(tokens.ids[spans[:, 0]], texts, prompts, further)


def word_spans(tokens: Tokens, places: np.ndarray | None = None) -> list[tuple[int, int]]:
    """Returns the spans of words: a piece belongs to the word before it where letters meet.

    A word does not cross into the outputs. ``places`` says which of the prompt's tokens each output
    fills, if it fills masks; only those of neighbours can be pieces of one word.
    """
    edges = {0, *tokens.starts, tokens.prompt_length}
    if places is not None:
        edges |= {tokens.prompt_length + 1 + int(i) for i in np.flatnonzero(np.diff(places) != 1)}
    starts = [
        i
        for i, text in enumerate(tokens.texts)
        if i in edges or not _goes_on(tokens.texts[:i], text)
    ]
    return list(zip(starts, [*starts[1:], len(tokens)], strict=True))


def message_spans(generation: Generation) -> list[tuple[int, int]]:
    """Returns the spans of a chat's messages in the prompt."""
    starts = generation.settings.get("messages")
    if not starts:
        raise ValueError(
            "generation: its prompt was no chat whose messages can be separated; by_span() takes "
            "spans of your own"
        )
    return list(zip(starts, [*starts[1:], len(generation.prompt_ids)], strict=True))


def _goes_on(before: tuple[str, ...], text: str) -> bool:
    if not text:  # the further bytes of a character
        return True
    last = next((earlier[-1] for earlier in reversed(before) if earlier), " ")
    return _wordlike(last) and _wordlike(text[0])


def _wordlike(character: str) -> bool:
    return character.isalnum() or character in "'’_"


def _partition(spans: Spans, tokens: Tokens) -> np.ndarray:
    """(groups, 2): the spans, and between them single tokens."""
    edges: list[tuple[int, int]] = []
    at = 0
    for start, end in sorted((int(start), int(end)) for start, end in spans):
        if not 0 <= start < end <= len(tokens):
            raise ValueError(
                f"spans: got ({start}, {end}), accepts 0 ≤ start < end ≤ {len(tokens)}"
            )
        if start < at:
            raise ValueError(f"spans: ({start}, {end}) overlaps {edges[-1]}")
        if start < tokens.prompt_length < end:
            raise ValueError(
                f"spans: ({start}, {end}) crosses position {tokens.prompt_length}, where the "
                "outputs start"
            )
        edges += [(i, i + 1) for i in range(at, start)]
        edges.append((start, end))
        at = end
    edges += [(i, i + 1) for i in range(at, len(tokens))]
    return np.array(edges, dtype=np.int64)
