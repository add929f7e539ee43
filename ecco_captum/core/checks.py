r"""Arguments that are checked, choices that several files share, and the errors of their own."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np


class UnsupportedError(ValueError):
    r"""A model or a text cannot have what was asked for; the message says why.

    Raised on purpose only, so that it may be caught and shown as "skipped", as :func:`report` does.
    Errors in arguments are plain ``ValueError`` and ``TypeError``.

    Examples::

        >>> try:
        ...     generate(encoder, "One two")
        ... except UnsupportedError as error:
        ...     print(str(error).split(";")[0])
        lm: 'minilm-l6' is a BertModel, which has no head for tokens or classes of a whole text
    """


class SlowPathWarning(UserWarning):
    r"""A model cannot be run the quick way; the numbers are the same, the work takes longer."""


Task = Literal["causal", "seq2seq", "masked", "classification"]
"""What a model's outputs are: text that goes on, text written while reading a source, words at
masks, the class of a text."""

Negatives = Literal["clip", "split", "abs"]
"""What becomes of negative values: set to 0, made neurons of their own, or their magnitude."""

Verdict = Literal["supported", "partly supported", "inconclusive", "not supported"]
"""What a test says of a claim."""


def check_whole(name: str, value: Any, least: int = 1) -> None:
    """Raises a ValueError if an argument is no whole number from ``least`` on."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name}: got {value!r}, accepts a whole number from {least}")


def chosen_numbers(name: str, given: Any, count: int) -> list[int]:
    """Reads an argument that chooses some of ``count`` things: ascending, each once.

    It is a slice, an int, a list of ints, or None for all; negative numbers count from the end. The
    argument's ``name`` is the plural of what is chosen.
    """
    every = range(count)
    try:
        if given is None:
            return list(every)
        if isinstance(given, slice):
            chosen = list(every[given])
        else:
            numbers = np.atleast_1d(np.asarray(given))
            if numbers.ndim != 1 or (len(numbers) and numbers.dtype.kind not in "iu"):
                raise TypeError
            chosen = [every[t] for t in numbers.tolist()]
    except (IndexError, TypeError, ValueError) as error:
        raise ValueError(
            f"{name}: got {given!r}, accepts a slice, a number or a list of numbers from 0 to "
            f"{count - 1}"
        ) from error
    if not chosen:
        raise ValueError(f"{name}: {given!r} chooses none, accepts some of 0 to {count - 1}")
    return sorted(set(chosen))


def check_vocabulary(size: int, rows: int) -> None:
    """Raises a ValueError if a tokenizer is another model's: its ids mean other words, or none.

    ``size`` is how many tokens it has, ``rows`` how many of them the model embeds.
    """
    # A few real checkpoints have more added tokens than embeddings (Gemma 3's image token), and
    # many have more embeddings than tokens, for round numbers; none of them by a quarter.
    if not 0.75 * rows <= size <= rows + max(8, rows // 100):
        raise ValueError(
            f"tokenizer: it has {size} tokens, the model embeds {rows}; it does not belong to this "
            "model. Load both under one name."
        )
