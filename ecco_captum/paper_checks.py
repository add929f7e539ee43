"""Whether what a figure is to show fits together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def counted(**named: Sequence[str]) -> tuple[int, ...]:
    """How many there are of each; none of them may be empty."""
    for name, texts in named.items():
        if isinstance(texts, str) or not len(texts):
            raise ValueError(f"{name}: got {texts!r}, accepts at least one text in a sequence")
    return tuple(len(texts) for texts in named.values())


def numbers(
    name: str,
    values: np.ndarray,
    shape: tuple[int, ...],
    *,
    least: float = -np.inf,
    most: float = np.inf,
) -> np.ndarray:
    """Finite numbers of a shape, between two ends; -1 in the shape stands for one or more."""
    found = np.asarray(values)
    array = found.astype(np.float64) if found.dtype.kind in "biuf" else np.full((), np.nan)
    fits = array.ndim == len(shape) and array.size > 0
    if not fits or any(w not in (-1, n) for n, w in zip(array.shape, shape, strict=True)):
        wanted = ", ".join("any" if size < 0 else str(size) for size in shape)
        raise ValueError(
            f"{name}: got {found.dtype} of shape {found.shape}, accepts numbers of ({wanted})"
        )
    wrong = ~np.isfinite(array) | (array < least - 1e-6) | (array > most + 1e-6)
    if wrong.any():
        ends = f" from {least:g} to {most:g}" if np.isfinite(least) or np.isfinite(most) else ""
        raise ValueError(f"{name}: got {array[wrong][0]:g}, accepts finite numbers{ends}")
    return array.clip(least, most)


def texts_of(name: str, texts: Sequence[Sequence[str]], shape: tuple[int, ...]) -> None:
    """Refuse nested texts that are not of the shape (rows, columns)."""
    lengths = [len(row) for row in texts]
    if lengths != [shape[1]] * shape[0]:
        raise ValueError(f"{name}: got rows of {lengths} texts, accepts {shape[0]} of {shape[1]}")
