r"""Tokens: ids, the texts a person reads, and where the prompt ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

# How many texts back a tokenizer may look, at least, when it decides how to show the next token:
# word-initial spaces and continued words need one or two.
_WINDOW = 4
# Tokens that one character may take: its bytes.
_LONGEST = 4


@dataclass(frozen=True, eq=False)
class Tokens:
    r"""A sequence of tokens as a person reads it.

    Args:
        ids (array): (tokens,), int64, the ids as the model saw them.
        texts (tuple of str): (tokens,), what each token adds to the text, spaces and line breaks
            included. The bytes of one character, where several tokens carry them, are shown once:
            at the first of these tokens, the others have the empty text.
        prompt_length (int): how many of the tokens are the prompt; those after it are outputs.
        starts (tuple of int): where further texts start, as the second of a pair.
    """

    ids: np.ndarray
    texts: tuple[str, ...]
    prompt_length: int
    starts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        given = np.asarray(self.ids)
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
            raise ValueError(
                f"ids: got {given.ndim} axes of {given.dtype}, accepts one axis of whole numbers"
            )
        ids = np.array(given, dtype=np.int64)
        ids.flags.writeable = False
        object.__setattr__(self, "ids", ids)
        if len(self.ids) != len(self.texts):
            raise ValueError(f"texts: got {len(self.texts)} texts for {len(self.ids)} ids")
        if not 0 <= self.prompt_length <= len(self.ids):
            raise ValueError(
                f"prompt_length: got {self.prompt_length}, accepts 0 to {len(self.ids)}"
            )

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def outputs(self) -> range:
        """The positions of the output tokens."""
        return range(self.prompt_length, len(self))


def display_texts(tokenizer: Any, ids: Sequence[int]) -> tuple[str, ...]:
    """Returns what each token adds to the text, as a person would read it; joined, the whole text.

    Each token is decoded behind the few before it, and what it adds is its text. This is right for
    byte-level pieces, word pieces and sentence pieces alike, since the tokenizer's own decoder
    decides. While the bytes of a character are incomplete, a decoder answers with the replacement
    character; such tokens wait until the character is whole, which is then shown once.
    """
    ids = [int(i) for i in ids]
    texts = [""] * len(ids)
    settled = [0]  # where texts start; the tokens before the last of these have their texts
    # A window that started inside a character would be decoded as something else.
    first, before = 0, ""
    for end in range(1, len(ids) + 1):
        read = settled[-1]
        if len(settled) - first > 2 * _WINDOW:
            first = len(settled) - _WINDOW
            before = _decode(tokenizer, ids[settled[first] : read])
        after = _decode(tokenizer, ids[settled[first] : end])
        added = after[len(before) :]
        if not after.startswith(before):
            added = _decode(tokenizer, ids[read:end])
        if added.endswith(_REPLACEMENT) and end < len(ids) and end - read < _LONGEST:
            continue
        texts[read] = added
        if end - read > 1:
            # Bytes that never became a character must not swallow the token that follows them.
            own = _decode(tokenizer, ids[end - 1 : end])
            if _REPLACEMENT in added and own and _REPLACEMENT not in own and added.endswith(own):
                texts[read], texts[end - 1] = added[: len(added) - len(own)], own
        settled.append(end)
        before = after
    return tuple(texts)


def lone_texts(tokenizer: Any, ids: Sequence[int]) -> tuple[str, ...]:
    """The text of each of some tokens as it follows a letter, its leading space included."""
    # Alone, many decoders drop a space before the first word.
    before = list(tokenizer("a", add_special_tokens=False)["input_ids"])[-1:]
    return tuple(display_texts(tokenizer, [*before, token])[-1] for token in ids)


def _decode(tokenizer: Any, ids: list[int]) -> str:
    if not ids:
        return ""
    text: str = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text
