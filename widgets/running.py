"""Work that takes a while: beside the notebook, with its progress, and a button that stops it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import ipywidgets

from ecco_captum.display.page import escape

_PAUSE = 0.05  # seconds between two moves of the bar


class CancelledError(Exception):
    """The user has stopped the work."""


class Runner(ipywidgets.HBox):  # type: ignore[misc]  # it has no types
    r"""
    A progress bar that is there while something runs, with a button that cancels it.

    One piece of work runs at a time, in a thread of its own, so that the notebook stays alive; a
    new one cancels the one before. What fails says so in the place of the bar.

    Examples::

        >>> runner.run("integrated gradients", lambda tell: compute(progress=tell), show)
    """

    def __init__(self) -> None:
        self.bar = ipywidgets.FloatProgress(min=0.0, max=1.0, layout={"width": "180px"})
        self.button = ipywidgets.Button(description="Cancel", layout={"width": "auto"})
        self.message = ipywidgets.HTML()
        self.button.on_click(lambda _: self.cancel())
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        super().__init__([self.bar, self.button, self.message])
        self.layout.align_items = "center"
        self._at_rest("")

    def run(
        self,
        what: str,
        work: Callable[[Callable[[float], None]], Any],
        done: Callable[[Any], object],
    ) -> None:
        r"""
        Starts some work, and hands its result to a function once it is done.

        Args:
            what (str): What is done, for the line beside the bar.
            work (Callable): Takes a function that it tells the part that is done, 0 to 1, and
                which ends it, by an error, where it was cancelled.
            done (Callable): Takes the result.
        """
        self.cancel()
        before, stopped = self._thread, threading.Event()
        self._stopped = stopped
        self.bar.value = 0.0
        self.bar.layout.display = self.button.layout.display = ""
        self._say(what)
        self._thread = threading.Thread(
            target=self._work, args=(what, work, done, stopped, before), daemon=True
        )
        self._thread.start()

    def cancel(self) -> None:
        r"""Stops what runs, at the next place where it tells how far it is."""
        self._stopped.set()

    def wait(self) -> None:
        r"""Returns once nothing runs any more."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _work(
        self,
        what: str,
        work: Callable[[Callable[[float], None]], Any],
        done: Callable[[Any], object],
        stopped: threading.Event,
        before: threading.Thread | None,
    ) -> None:
        last = 0.0
        if before is not None:
            before.join()  # a model does one thing at a time

        def tell(part: float) -> None:
            nonlocal last
            if stopped.is_set():
                raise CancelledError
            if time.monotonic() - last > _PAUSE:
                last = time.monotonic()
                self.bar.value = part

        try:
            result = work(tell)
            if stopped.is_set():
                raise CancelledError
            done(result)
        except CancelledError:
            self._at_rest(f"{what}: cancelled")
        except Exception as error:  # it has no other way to the reader
            self._at_rest(f"{what}: {error}", error=True)
        else:
            self._at_rest("")

    def _at_rest(self, message: str, *, error: bool = False) -> None:
        self.bar.layout.display = self.button.layout.display = "none"
        self._say(message, error=error)

    def _say(self, message: str, *, error: bool = False) -> None:
        name = "ecco-message" + (" ecco-error" if error else "")
        self.message.value = f'<span class="{name}">{escape(message)}</span>' if message else ""
