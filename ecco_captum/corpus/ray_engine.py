r"""Workers of Ray: Ray Data schedules parts and repeats what was lost, Ray Core adds up sums."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from ecco_captum.core.checks import check_whole
from ecco_captum.core.threads import use_threads, with_threads
from ecco_captum.corpus.adding import added
from ecco_captum.corpus.corpus import Problem
from ecco_captum.corpus.parts import Made, journals
from ecco_captum.corpus.recipe import LoadedModel
from ecco_captum.corpus.worker import Work, Worker

T = TypeVar("T")

_INIT_DEATHS = 20  # of actors one after the other, before the run ends
_POLL = 0.5  # seconds between two looks at the journals


class StalledWarning(UserWarning):
    r"""Nothing has happened in any worker for a while."""


@dataclass(frozen=True)
class RayEngine:
    r"""Runs a corpus on a Ray cluster, or on a Ray of its own on this machine.

    Each worker is an actor that loads the model once. The folder that is written must be reached
    by all of them under the same path.

    Args:
        workers (int, optional): how many actors, or tasks of sums at once. Default: as many as the
            cluster holds, less one processor that stays free, so that lost tasks of another kind
            can run again
        num_cpus (int, optional): processors, and threads, of each. Default: 1
        num_gpus (float, optional): GPUs of each. Default: 0
        address (str, optional): of the cluster, such as ``"auto"``. Default: the one that this
            process is connected to, else the environment's RAY_ADDRESS, else a new one on this
            machine
        stall_seconds (float, optional): a warning says what waits for what if nothing happens for
            so long. Default: 60

    Examples::

        >>> engine = RayEngine(workers=8, num_gpus=1, address="auto")
        >>> engine.num_cpus
        1
    """

    workers: int | None = None
    num_cpus: int = 1
    num_gpus: float = 0
    address: str | None = None
    stall_seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.workers is not None:
            check_whole("workers", self.workers)
        check_whole("num_cpus", self.num_cpus)

    @property
    def by(self) -> str:
        return f" by {self.workers} workers" if self.workers else " by workers of Ray"

    def run(
        self, work: Work, parts: Sequence[int], advance: Callable[[int], object]
    ) -> Iterator[tuple[int, Made]]:
        if isinstance(work.model, LoadedModel):
            raise TypeError(
                "model: got a LanguageModel, which is in this process; accepts a ModelRecipe with "
                "engine='ray', so that each worker loads its own"
            )
        with self.session() as ray, _settings(ray):
            # One block a part: blocks are what is scheduled, lost and made again.
            data = ray.data.from_items(
                [{"part": number} for number in parts], override_num_blocks=len(parts)
            )
            made = data.map_batches(
                _Actor,
                fn_constructor_args=(work, self.num_cpus),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=self._size(ray, len(parts))),
                num_cpus=self.num_cpus,
                num_gpus=self.num_gpus,
            )
            yield from self._followed(made, Path(work.folder), advance)

    def total(
        self, function: Callable[[Any], T], pieces: Sequence[Any], add: Callable[[T, T], T]
    ) -> T:
        """As :func:`~ecco_captum.corpus.adding.added` does it, with tasks for pieces and sums.

        Sums stay in the object store; only the last one comes here.
        """
        with self.session() as ray:
            task, shared = self._task(ray), ray.put(add)
            values = self._submitted(ray, function, pieces)
            sums = added(values, lambda *both: task.remote(self.num_cpus, shared, *both))
            return _result(ray, sums)

    def map(self, function: Callable[[Any], T], pieces: Sequence[Any]) -> Iterator[T]:
        with self.session() as ray:
            ahead = 4 * self._size(ray, len(pieces))
            waiting: list[Any] = []
            for value in self._submitted(ray, function, pieces):
                waiting.append(value)
                if len(waiting) >= ahead:
                    yield _result(ray, waiting.pop(0))
            while waiting:
                yield _result(ray, waiting.pop(0))

    def _submitted(
        self, ray: Any, function: Callable[[Any], Any], pieces: Sequence[Any]
    ) -> Iterator[Any]:
        """A task for each piece, in order, as many at once as there are workers."""
        task, size = self._task(ray), self._size(ray, len(pieces))
        shared = ray.put(function)  # once a node, however much it holds
        running: list[Any] = []
        for piece in pieces:
            while len(running) >= size:
                _, running = ray.wait(running, fetch_local=False)
            value = task.remote(self.num_cpus, shared, piece)
            running.append(value)
            yield value

    def _task(self, ray: Any) -> Any:
        """What runs a function; it runs again wherever a worker is lost."""
        return ray.remote(num_cpus=self.num_cpus, max_retries=-1)(with_threads)

    @contextlib.contextmanager
    def session(self) -> Iterator[Any]:
        """Ray, which is left as it was found: a cluster of our own ends with the work."""
        ray = imported_ray()
        begun = not ray.is_initialized()
        if begun:
            ray.init(
                # Without an address Ray would join whatever cluster it finds on this machine.
                address=self.address or os.environ.get("RAY_ADDRESS") or "local",
                log_to_driver=False,
                include_dashboard=False,
                configure_logging=True,
                logging_level="ERROR",
            )
        try:
            yield ray
        finally:
            if begun:
                ray.shutdown()

    def _size(self, ray: Any, most: int) -> int:
        """How many actors, or tasks at once."""
        if self.workers is not None:
            return min(self.workers, most)
        there = ray.cluster_resources()
        size = (there.get("CPU", 1) - 1) // self.num_cpus
        if self.num_gpus:
            size = min(size, there.get("GPU", 0) // self.num_gpus)
        return max(1, min(int(size), most))

    def _followed(
        self, made: Any, folder: Path, advance: Callable[[int], object]
    ) -> Iterator[tuple[int, Made]]:
        """The parts as they are made, while journals say how far the others are."""
        rows: queue.Queue[Any] = queue.Queue()
        stopped = threading.Event()

        def read() -> None:
            try:
                for row in made.iter_rows():
                    rows.put(row)
                    if stopped.is_set():
                        return
                rows.put(None)
            except BaseException as error:  # goes on in the thread that waits
                rows.put(error)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        told, done, moved = 0, 0, time.monotonic()
        seen: dict[int, tuple[int, float]] = {}
        try:
            while True:
                with contextlib.suppress(queue.Empty):
                    row = rows.get(timeout=_POLL)
                    if row is None:
                        return
                    if isinstance(row, BaseException):
                        raise row
                    number, part = _read_row(row)
                    moved = time.monotonic()
                    done += part.tokens
                    seen.pop(number, None)
                    yield number, part
                now = journals(folder)
                if now != seen:
                    seen, moved = now, time.monotonic()
                sofar = done + sum(tokens for tokens, _ in now.values())
                if sofar > told:
                    advance(sofar - told)
                    told = sofar
                if time.monotonic() - moved > self.stall_seconds:
                    warnings.warn(_waiting(now, self), StalledWarning, stacklevel=3)
                    moved = time.monotonic()
        finally:
            stopped.set()


@contextlib.contextmanager
def _settings(ray: Any) -> Iterator[None]:
    """Ray Data says nothing but errors, as the progress bar is ours, and is patient.

    Actors that die while they load are replaced; that they cannot load at all, they say themselves.
    """
    context, logger = ray.data.DataContext.get_current(), logging.getLogger("ray.data")
    chosen = {
        "enable_progress_bars": False,
        "print_on_execution_start": False,
        "max_consecutive_actor_init_deaths": _INIT_DEATHS,
    }
    held = {name: getattr(context, name) for name in chosen if hasattr(context, name)}
    level = logger.level
    logger.setLevel(logging.ERROR)
    for name in held:
        setattr(context, name, chosen[name])
    try:
        yield
    finally:
        for name, value in held.items():
            setattr(context, name, value)
        logger.setLevel(level)


class _Actor:
    """Makes parts in a process of Ray's; what goes wrong goes back as a text."""

    def __init__(self, work: Work, threads: int) -> None:
        use_threads(threads)
        self.error = ""
        try:
            self.worker = Worker(work)
        except Exception as error:  # an actor that cannot begin would be begun again for ever
            self.error = _said(error)

    def __call__(self, batch: Any) -> dict[str, list[Any]]:
        number = int(batch["part"][0])
        made, error = "", self.error
        if not error:
            try:
                made = json.dumps(asdict(self.worker(number)))
            except Exception as raised:
                error = _said(raised)
        return {"part": [number], "made": [made], "error": [error]}


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


class PartError(RuntimeError):
    r"""A worker could not make a part; the message says which, and what happened there."""


def _read_row(row: Any) -> tuple[int, Made]:
    number = int(row["part"])
    if row["error"]:
        raise PartError(f"part {number}: {row['error']}")
    fields = json.loads(row["made"])
    problems = tuple(Problem(**problem) for problem in fields.pop("problems"))
    return number, Made(**fields, problems=problems)


def _waiting(working: dict[int, tuple[int, float]], engine: RayEngine) -> str:
    """What waits for what."""
    ray = imported_ray()
    there, free = ray.cluster_resources(), ray.available_resources()
    alive = [node for node in ray.nodes() if node["Alive"]]
    lost = len(ray.nodes()) - len(alive)
    begun = f"parts {', '.join(map(str, sorted(working)))} were begun"
    said = (
        f"nothing has happened for {engine.stall_seconds:.0f} s; "
        f"{begun if working else 'no worker has its model yet'}. The cluster has {len(alive)} "
        f"nodes ({lost} lost) and {free.get('CPU', 0):g} of "
        f"{there.get('CPU', 0):g} processors free"
    )
    if engine.num_gpus:
        said += f", {free.get('GPU', 0):g} of {there.get('GPU', 0):g} GPUs"
    if free.get("CPU", 0) < 1:
        said += (
            ". Where a node was lost, its tasks wait for a free processor, and the workers hold "
            "all; stop the run, and call it again with fewer workers: it goes on from there"
        )
    return said


def _result(ray: Any, value: Any) -> Any:
    """What a task returned; an error is the one that it met."""
    try:
        return ray.get(value)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error


def imported_ray() -> Any:
    """The library; an ImportError names the extra that has it."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError("engine: 'ray' needs Ray: pip install 'ecco-captum[ray]'") from error
    return ray
