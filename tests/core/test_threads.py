"""Threads that leave no trace: each works alone, and all is put back."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import threadpoolctl

from ecco_captum.core.threads import one_by_one, one_thread_each


def blas_threads() -> set[int]:
    np.ones((2, 2)) @ np.ones((2, 2))
    libraries = threadpoolctl.threadpool_info()
    return {library["num_threads"] for library in libraries if library["user_api"] == "blas"}


@pytest.mark.parametrize(("most", "seen"), [(None, 3), (2, 2), (1, 1)])
def test_items_share_the_threads_that_products_had(most: int | None, seen: int) -> None:
    with threadpoolctl.threadpool_limits(3, user_api="blas"):
        with one_thread_each(most) as each:
            assert blas_threads() == {1}
            # All threads meet, so that there are as many as that.
            barrier = threading.Barrier(seen, timeout=20)

            def work(item: int) -> tuple[int, int]:
                barrier.wait()
                return item, threading.get_ident()

            made = each(work, range(6))
        assert blas_threads() == {3}
    assert [item for item, _ in made] == list(range(6))
    assert len({thread for _, thread in made}) == seen


def test_errors_come_out_and_threads_are_put_back() -> None:
    with threadpoolctl.threadpool_limits(3, user_api="blas"):
        with pytest.raises(ZeroDivisionError), one_thread_each() as each:
            each(lambda item: 1 // item, [1, 0])
        assert blas_threads() == {3}
    assert one_by_one(str, [1, 2]) == ["1", "2"]
