r"""Where the parts of a corpus are worked on: in this process, or by workers of Ray."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from ecco_captum.corpus.adding import added

if TYPE_CHECKING:
    from ecco_captum.corpus.parts import Made
    from ecco_captum.corpus.worker import Work

T = TypeVar("T")

EngineName = Literal["local", "ray"]


class Engine(Protocol):
    """What runs parts, and sums over pieces."""

    @property
    def by(self) -> str:
        """Who does the work, for progress bars."""

    def session(self) -> contextlib.AbstractContextManager[Any]:
        """Keeps workers up for several calls."""

    def run(
        self, work: Work, parts: Sequence[int], advance: Callable[[int], object]
    ) -> Iterator[tuple[int, Made]]:
        """Makes parts, in any order; ``advance`` is told of tokens that are done."""

    def total(
        self, function: Callable[[Any], T], pieces: Sequence[Any], add: Callable[[T, T], T]
    ) -> T:
        """Adds up what a function makes of each piece, always in the same order."""

    def map(self, function: Callable[[Any], T], pieces: Sequence[Any]) -> Iterator[T]:
        """What a function makes of each piece, in order."""


@dataclass(frozen=True)
class LocalEngine:
    """This process."""

    @property
    def by(self) -> str:
        return ""

    def session(self) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext()

    def run(
        self, work: Work, parts: Sequence[int], advance: Callable[[int], object]
    ) -> Iterator[tuple[int, Made]]:
        from ecco_captum.corpus.worker import Worker  # loads torch, which sums do without

        worker = Worker(work, advance)
        for number in parts:
            yield number, worker(number)

    def total(
        self, function: Callable[[Any], T], pieces: Sequence[Any], add: Callable[[T, T], T]
    ) -> T:
        return added((function(piece) for piece in pieces), add)

    def map(self, function: Callable[[Any], T], pieces: Sequence[Any]) -> Iterator[T]:
        return map(function, pieces)


def engine_of(given: Engine | EngineName) -> Engine:
    """Reads the argument ``engine``."""
    if given == "local":
        return LocalEngine()
    if given == "ray":
        from ecco_captum.corpus.ray_engine import RayEngine

        return RayEngine()
    if isinstance(given, str) or not hasattr(given, "total"):
        raise ValueError(f"engine: got {given!r}, accepts 'local', 'ray' or a RayEngine")
    return given
