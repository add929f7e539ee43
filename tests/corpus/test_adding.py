"""The order in which values are added up, and how few are held."""

from __future__ import annotations

import gc
import weakref
from typing import Any, ClassVar

import pytest

from ecco_captum.corpus import adding
from ecco_captum.corpus.adding import added


def joined(some: str, other: str) -> str:
    return f"({some}{other})"


@pytest.fixture
def small_fan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adding, "_FAN", 3)


@pytest.mark.usefixtures("small_fan")
@pytest.mark.parametrize(
    ("letters", "order"),
    [
        ("a", "a"),
        ("abc", "((ab)c)"),
        ("abcd", "(((ab)c)d)"),
        ("abcdefgh", "((((ab)c)((de)f))(gh))"),
        ("abcdefghij", "(((((ab)c)((de)f))((gh)i))j)"),
    ],
)
def test_runs_are_added_up_and_then_their_sums(letters: str, order: str) -> None:
    assert added(letters, joined) == order
    with pytest.raises(ValueError, match="pieces: got none"):
        added("", joined)


class Held:
    """A number whose copies are counted while they are alive."""

    alive: ClassVar[weakref.WeakSet[Any]] = weakref.WeakSet()

    def __init__(self, value: int) -> None:
        self.value = value
        self.alive.add(self)

    def __add__(self, other: Held) -> Held:
        return Held(self.value + other.value)


@pytest.mark.usefixtures("small_fan")
def test_few_are_held_at_once() -> None:
    most = 0

    def values() -> Any:
        nonlocal most
        for k in range(243):
            gc.collect()
            most = max(most, len(Held.alive))
            yield Held(k)

    assert added(values(), Held.__add__).value == sum(range(243))
    assert most <= 6  # of each of five levels one, and the next value
