r"""The same work on several things at once, in as many threads as torch may use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, ThreadPoolExecutor, wait
from threading import Event, Lock
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_threads(
    work: Callable[[Item, Callable[[], object]], Result],
    items: Sequence[Item],
    tell: Callable[[], object],
) -> list[Result]:
    r"""Runs some work on each item, torch's threads shared out among them.

    Many small products are faster one in each thread than one after the other in all of them.
    torch's number of threads is what it was once this returns, or fails.

    Args:
        work (Callable): takes an item and a function that it should call now and then, which stops
            it where other work has failed or the user has interrupted.
        items (sequence): what is worked on.
        tell (Callable): is called as often as work calls its function, one call at a time.

    Returns:
        list: what ``work`` returns of each item, in their order.
    """
    threads, stopped, lock = torch.get_num_threads(), Event(), Lock()
    count = min(threads, len(items))

    def advance() -> None:
        if stopped.is_set():
            raise CancelledError
        with lock:
            tell()

    if count < 2:
        return [work(item, advance) for item in items]
    torch.set_num_threads(threads // count)
    try:
        with ThreadPoolExecutor(count) as pool:
            running = [pool.submit(work, item, advance) for item in items]
            try:
                done = wait(running, return_when=FIRST_EXCEPTION).done
                for future in done:
                    future.result()  # the first error, not that of work which it stopped
                return [future.result() for future in running]
            except BaseException:
                stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(threads)
