r"""How far a piece of work is: on a bar, or told to a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tqdm.auto import tqdm

Progress = bool | Callable[[float], object] | None
"""Whether to show a bar (None: on a terminal and in notebooks), or what is told the part done."""


class _Told:
    """Tells a function the part that is done; where that raises an error, the work ends."""

    def __init__(self, tell: Callable[[float], object], total: float) -> None:
        self.tell, self.total, self.n = tell, total, 0.0

    def update(self, n: float = 1) -> None:
        self.n += n
        self.tell(min(1.0, self.n / self.total))

    def close(self) -> None:
        """Nothing is left open."""

    def __enter__(self) -> _Told:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def progress_bar(progress: Progress, *, total: float | None, desc: str, **options: Any) -> Any:
    r"""Returns what is updated as work goes on, and is a context.

    Args:
        progress (bool or Callable, optional): see ``Progress``.
        total (float, optional): what all updates add up to, if that is known.
        desc (str): what is done.
        **options: further options of a bar.
    """
    if callable(progress):
        return _Told(progress, total or 1.0)
    hidden = None if progress is None else not progress
    return tqdm(total=total, desc=desc, leave=False, disable=hidden, **options)
