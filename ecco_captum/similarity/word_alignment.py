r"""Words that two tokenizers cut into tokens of their own: where each stands in both."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np

_WORD = re.compile(r"\w+|[^\w\s]")
# Marks that tokenizers set, such as <s>, <|im_start|> and [CLS], each a token of its own.
_MARK = re.compile(r"\s*(<[^<>\s]+>|\[[A-Z]+\])\s*")


@dataclass(frozen=True)
class Alignment:
    r"""Words that two sequences of tokens share.

    Args:
        of_a (array): (words, 2), int64, the first token of each word and the one behind its last.
        of_b (array): (words, 2), int64, the same among the other tokens.
        starts (array): (texts,), int64, the first word of each text that has any.
        dropped (tuple of int): words of a and of b that the other has not.
    """

    of_a: np.ndarray
    of_b: np.ndarray
    starts: np.ndarray
    dropped: tuple[int, int]


def aligned_words(
    a: Sequence[str], a_starts: np.ndarray, b: Sequence[str], b_starts: np.ndarray
) -> Alignment:
    r"""Finds the words that two tokenizations of the same texts share.

    Words are runs of letters and digits, and single other signs, compared without case and accents,
    which some tokenizers drop. A token that is part of two words counts to both; one that looks
    like a tokenizer's mark, such as ``[CLS]``, to none.

    Args:
        a (sequence of str): texts of tokens, one text after the other.
        a_starts (array): (texts,), where each text starts.
        b (sequence of str): the other tokens.
        b_starts (array): (texts,), where each text starts among them.

    Raises:
        ValueError: if there are not as many texts, or they have no word in common.
    """
    if len(a_starts) != len(b_starts):
        raise ValueError(
            f"b: it has {len(b_starts)} texts, a has {len(a_starts)}, accepts the same texts"
        )
    spans: list[list[np.ndarray]] = [[], []]
    starts, dropped, count = [], [0, 0], 0
    texts = zip(_texts(a_starts, len(a)), _texts(b_starts, len(b)), strict=True)
    for own, other in texts:
        words = _words(a[own]), _words(b[other])
        names = [[name for name, *_ in some] for some in words]
        blocks = SequenceMatcher(None, names[0], names[1], autojunk=False).get_matching_blocks()
        pairs = [(i + k, j + k) for i, j, size in blocks for k in range(size)]
        dropped[0], dropped[1] = (
            n + len(some) - len(pairs) for n, some in zip(dropped, words, strict=True)
        )
        if not pairs:
            continue
        starts.append(count)
        count += len(pairs)
        for side, part in enumerate((own, other)):
            chosen = [words[side][pair[side]][1:] for pair in pairs]
            spans[side].append(np.array(chosen, dtype=np.int64) + part.start)
    if not starts:
        raise ValueError("b: its texts have no word in common with those of a")
    of_a, of_b = (np.concatenate(side) for side in spans)
    return Alignment(of_a, of_b, np.array(starts, dtype=np.int64), (dropped[0], dropped[1]))


def _texts(starts: np.ndarray, tokens: int) -> list[slice]:
    ends = [*starts[1:].tolist(), tokens]
    return [slice(start, end) for start, end in zip(starts.tolist(), ends, strict=True)]


def _words(tokens: Sequence[str]) -> list[tuple[str, int, int]]:
    """Each word, its first token, and the one behind its last."""
    plain = [_plain(token) for token in tokens]
    owner = np.repeat(np.arange(len(plain)), [len(text) for text in plain])
    matches = _WORD.finditer("".join(plain))
    return [
        (word.group(), int(owner[word.start()]), int(owner[word.end() - 1]) + 1) for word in matches
    ]


def _plain(text: str) -> str:
    if _MARK.fullmatch(text):
        return " "
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(part for part in parts if not unicodedata.combining(part))
