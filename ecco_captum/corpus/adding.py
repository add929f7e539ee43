r"""Sums in an order that depends on nothing but how many values there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")

_FAN = 32  # values that are added up one after the other


def added(values: Iterable[T], add: Callable[[T, T], T]) -> T:
    """Adds up runs of 32 values, then runs of 32 such sums, and so on.

    Little is held at once: the next value, and one sum of each level, of which there are two up to
    1,024 values. ``values`` may be futures, where ``add`` takes them.
    """
    levels: list[list[Any]] = []  # of each how many values its sum is of, and the sum
    for value in values:
        for level in levels:
            level[1] = add(level[1], value) if level[0] else value
            level[0] += 1
            if level[0] < _FAN:
                break
            value, level[0], level[1] = level[1], 0, None
        else:
            levels.append([1, value])
    sums = [total for count, total in levels if count]
    if not sums:
        raise ValueError("pieces: got none, accepts at least one")
    total: T = sums.pop()
    while sums:
        total = add(total, sums.pop())
    return total
