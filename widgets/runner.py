r"""Work beside the notebook: a bar, a button that cancels, an estimate before what takes long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ipywidgets

from ecco_captum.display.page import escape
from ecco_captum.widgets.wording import duration, plain_words

_PAUSE = 0.05  # seconds between two moves of the bar
_LONG = 30.0  # seconds from which on work waits to be started
_SURE, _PART = 2.0, 0.02  # seconds and part done, after which the rest can be told

Work = Callable[[Callable[[float], None]], Any]


class CancelledError(Exception):
    """The user has stopped the work."""


@dataclass(frozen=True)
class Estimate:
    r"""
    How long some work takes.

    Args:
        seconds (float): About how many.
        shorter (str, optional): What would make it shorter, a sentence. Default: ``""``
    """

    seconds: float
    shorter: str = ""


@dataclass(frozen=True, eq=False)
class _Job:
    """One piece of work: what is done, how, what takes the result, and how long it takes."""

    what: str
    work: Work
    done: Callable[[Any], object]
    stopped: threading.Event
    before: threading.Thread | None
    estimate: Callable[[], Estimate | None] | None


class Runner(ipywidgets.HBox):  # type: ignore[misc]  # it has no types
    r"""
    A progress bar that is there while something runs, with a button that cancels it.

    One piece of work runs at a time, in a thread of its own, so that the notebook stays alive; a
    new one cancels the one before, which then says nothing more. Work that takes longer than half a
    minute says so and waits to be started. What fails says so in the place of the bar.

    Examples::

        >>> runner.run("integrated gradients", lambda progress: compute(progress=progress), show)
    """

    def __init__(self) -> None:
        self.bar = ipywidgets.FloatProgress(min=0.0, max=1.0, layout={"width": "180px"})
        self.button = ipywidgets.Button(description="Cancel", layout={"width": "auto"})
        self.start = ipywidgets.Button(description="Start", layout={"width": "auto"})
        self.message = ipywidgets.HTML()
        self.button.on_click(lambda _: self.cancel())
        self.start.on_click(lambda _: self._start())
        self._thread: threading.Thread | None = None
        self._job: _Job | None = None
        self._waits: _Job | None = None
        self._lock = threading.RLock()
        self._last = ""
        super().__init__([self.bar, self.start, self.button, self.message])
        self.layout.align_items = "center"
        self.add_class("ecco-runner")
        self._at_rest("")

    def run(
        self,
        what: str,
        work: Work,
        done: Callable[[Any], object],
        *,
        estimate: Callable[[], Estimate | None] | None = None,
    ) -> None:
        r"""
        Starts some work, and hands its result to a function once it is done.

        Args:
            what (str): What is done, for the line beside the bar.
            work (Callable): Takes a function to call with the part done, 0 to 1, and
                which ends it, by an error, where it was cancelled.
            done (Callable): Takes the result.
            estimate (Callable, optional): Returns about how long the work takes, or None where it
                is short; it is asked in the same thread. Default: ``None``
        """
        with self._lock:
            self.drop()
            self._last = ""
            self._job = _Job(what, work, done, threading.Event(), self._thread, estimate)
            self.bar.value = 0.0
            self.bar.layout.display = self.button.layout.display = ""
            self.start.layout.display = "none"
            self._say(what)
            self._thread = threading.Thread(target=self._work, args=(self._job,), daemon=True)
            self._thread.start()

    def cancel(self) -> None:
        r"""Stops what runs, at its next report of progress, and says so."""
        with self._lock:
            if self._waits is not None:
                waits, self._waits = self._waits, None
                self._at_rest(f"{waits.what}: cancelled")
            elif self._job is not None:
                self._job.stopped.set()

    def drop(self) -> None:
        r"""Stops what runs, of which nothing is said any more: something else is shown."""
        with self._lock:
            if self._job is not None:
                self._job.stopped.set()
            self._job = self._waits = None
            self._at_rest("")

    def wait(self) -> None:
        r"""Returns once nothing runs any more."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def say_last(self, message: str) -> None:
        r"""What is said once the work has ended well, by the function that takes its result."""
        self._last = message

    @property
    def busy(self) -> bool:
        r"""Whether something runs, or waits to be started."""
        return self._job is not None or self._waits is not None

    def _start(self) -> None:
        with self._lock:
            waits = self._waits
        if waits is not None:
            self.run(waits.what, waits.work, waits.done)

    def _work(self, job: _Job) -> None:
        if job.before is not None:
            job.before.join()  # a model does one thing at a time
        begun, last = time.monotonic(), 0.0

        def progress(part: float) -> None:
            nonlocal last
            if job.stopped.is_set():
                raise CancelledError
            now = time.monotonic()
            if now - last > _PAUSE:
                last = now
                self.bar.value = part
                self._tell(job, now - begun, part)

        try:
            if job.estimate is not None and self._is_long(job, job.estimate()):
                return
            begun = time.monotonic()
            result = job.work(progress)
            with self._lock:
                if job.stopped.is_set():
                    raise CancelledError
                job.done(result)
        except CancelledError:
            self._settle(job, f"{job.what}: cancelled")
        except Exception as error:  # it has no other way to the reader
            self._settle(job, f"{job.what}: {plain_words(error)}", error=True)
        else:
            self._settle(job, self._last)

    def _is_long(self, job: _Job, estimate: Estimate | None) -> bool:
        """Of long work, how long it takes; it then waits for the button that starts it."""
        with self._lock:
            if job.stopped.is_set():
                raise CancelledError
            if estimate is None or estimate.seconds < _LONG:
                return False
            self._job, self._waits = None, job
            self._at_rest(
                f"{job.what}: about {duration(estimate.seconds)}. {estimate.shorter}".strip()
            )
            self.start.layout.display = self.button.layout.display = ""
            return True

    def _tell(self, job: _Job, seconds: float, part: float) -> None:
        """How long the rest takes, once that can be known."""
        if seconds < _SURE or part < _PART:
            return
        with self._lock:
            if self._job is job:
                rest = duration(seconds * (1 - part) / part)
                self._say(f"{job.what}: about {rest} left")

    def _settle(self, job: _Job, message: str, *, error: bool = False) -> None:
        """Ends a piece of work; one that was replaced leaves the bar to its successor."""
        with self._lock:
            if self._job is not job:
                return
            self._job = None
            self._at_rest(message, error=error)

    def _at_rest(self, message: str, *, error: bool = False) -> None:
        for part in (self.bar, self.start, self.button):
            part.layout.display = "none"
        self._say(message, error=error)

    def _say(self, message: str, *, error: bool = False) -> None:
        name = "ecco-message" + (" ecco-error" if error else "")
        role = ' role="alert"' if error else ""
        text = f'<span class="{name}"{role}>{escape(message)}</span>' if message else ""
        if self.message.value != text:
            self.message.value = text
