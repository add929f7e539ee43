r"""How far a piece of work is: on a bar, or passed to a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tqdm.auto import tqdm

Progress = bool | Callable[[float], object] | None
"""Whether to show a bar (None: on a terminal and in notebooks), or a function of the part done."""


class _Callback:
    """Passes the part done to a function; where that raises an error, the work ends."""

    def __init__(self, function: Callable[[float], object], total: float) -> None:
        self.function, self.total, self.n = function, total, 0.0

    def update(self, n: float = 1) -> None:
        self.n += n
        self.function(min(1.0, self.n / self.total))

    def close(self) -> None:
        """Nothing is left open."""

    def __enter__(self) -> _Callback:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class _Full:
    """Fills a bar whose work was done, though its parts do not add up to the last digit: a
    notebook's would take that for an error, and stay there in red."""

    n: float
    total: float | None

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        if kind is None and self.total:
            self.n = self.total
        super().__exit__(kind, *error)  # type: ignore[misc]  # the bar's


class _Bar(_Full, tqdm):  # type: ignore[type-arg]
    """On a terminal or in a notebook."""


def progress_bar(progress: Progress, *, total: float | None, desc: str, **options: Any) -> Any:
    """Returns what is updated as work goes on, and is a context; updates add up to ``total``."""
    if callable(progress):
        return _Callback(progress, total or 1.0)
    hidden = None if progress is None else not progress
    return _Bar(total=total, desc=desc, leave=False, disable=hidden, **options)
