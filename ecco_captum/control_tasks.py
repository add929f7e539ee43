r"""Control tasks: labels that a probe can only learn by heart (Hewitt & Liang 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

Control = Literal["type", "token"]


def control_labels(
    words: Sequence[str], labels: np.ndarray, rng: np.random.Generator, kind: Control = "type"
) -> np.ndarray:
    r"""Draws labels at random from the distribution that the labels have.

    Args:
        words (sequence of str): the words.
        labels (array): (words,), int64, their labels.
        rng (Generator): draws; a new control task for each call.
        kind (str, optional): ``"type"``, one label for each word type, the same wherever it occurs
            in capitals or not (Hewitt & Liang 2019, section 2); or ``"token"``, one for each word
            anew, which nothing but memory of the training data can tell. Default: ``"type"``

    Returns:
        array: (words,), int64.
    """
    if kind == "token":
        return rng.choice(labels, size=len(labels))
    _, types = np.unique(np.array([word.casefold() for word in words]), return_inverse=True)
    return np.asarray(rng.choice(labels, size=types.max() + 1)[types])
