r"""Threads whose number leaves no trace in results: each works alone on what it is given."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import threadpoolctl

Item = TypeVar("Item")
Result = TypeVar("Result")


class Each(Protocol):
    """Runs some work on each item, and returns what comes of it, in order."""

    def __call__(self, work: Callable[[Item], Result], items: Iterable[Item], /) -> list[Result]:
        """Of every item."""


def one_by_one(work: Callable[[Item], Result], items: Iterable[Item], /) -> list[Result]:
    """In this thread, with as many threads for each product as numpy takes."""
    return [work(item) for item in items]


@contextmanager
def one_thread_each(most: int | None = None) -> Iterator[Each]:
    """While active, products of numpy run in one thread, and work on several items in several.

    The threads are as many as numpy's products had before, at most ``most``. A product that is
    shared out among threads may be rounded otherwise for each number of them; this one may not.
    """
    libraries = [library for library in threadpoolctl.threadpool_info() if _is_blas(library)]
    count = max((library["num_threads"] for library in libraries), default=1)
    count = max(1, count if most is None else min(count, most))
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        if count == 1:
            yield one_by_one
            return
        with ThreadPoolExecutor(count) as pool:
            yield lambda work, items: list(pool.map(work, items))


def _is_blas(library: dict[str, Any]) -> bool:
    return library["user_api"] == "blas"


def use_threads(count: int) -> None:
    """Takes so many threads in this process, whatever is loaded, or will be."""
    os.environ["OMP_NUM_THREADS"] = str(count)
    threadpoolctl.threadpool_limits(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def with_threads(count: int, work: Callable[..., Result], *items: Any) -> Result:
    """Works on some items in a process that is given so many threads."""
    use_threads(count)
    return work(*items)
