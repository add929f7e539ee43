"""Work spread over threads: the same results, torch's threads put back, nothing left running."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError

import pytest
import torch

from ecco_captum.models.modes import map_threads


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2, "the number of threads was not put back"
    torch.set_num_threads(before)


def never() -> None:
    """Nobody is told."""


@pytest.mark.parametrize("count", [1, 2, 5])
def test_results_come_in_order_and_every_call_is_told(count: int) -> None:
    calls: list[int] = []

    def work(item: int, tell: Callable[[], object]) -> tuple[int, int]:
        time.sleep(0.01 * (count - item))
        for _ in range(item):
            tell()
        return item * item, torch.get_num_threads()

    found = map_threads(work, range(count), lambda: calls.append(1))
    assert [square for square, _ in found] == [k * k for k in range(count)]
    assert {own for _, own in found} == {1 if count > 1 else 2}, "threads are shared out"
    assert len(calls) == sum(range(count))


def test_an_error_ends_the_others_too() -> None:
    stopped: list[int] = []

    def work(item: int, tell: Callable[[], object]) -> None:
        if item == 1:
            time.sleep(0.05)
            raise ValueError("it broke")
        try:
            for _ in range(2000):
                time.sleep(0.005)
                tell()
        except CancelledError:
            stopped.append(item)
            raise

    start = time.perf_counter()
    with pytest.raises(ValueError, match="it broke"):
        map_threads(work, range(4), never)
    assert time.perf_counter() - start < 5
    assert 0 in stopped
    assert 3 not in stopped, "those that waited never began"


def test_who_is_told_may_interrupt() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    def work(item: int, tell: Callable[[], object]) -> None:
        for _ in range(100):
            time.sleep(0.005)
            tell()

    with pytest.raises(KeyboardInterrupt):
        map_threads(work, range(3), interrupt)
