"""What every explorer is: controls, views and charts in one box, and a static view beside it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets

from ecco_captum.core.record import Record
from ecco_captum.display.colours import theme_css
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

        >>> runner.run("integrated gradients", lambda progress: compute(progress=progress), show)
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
            work (Callable): Takes a function to call with the part done, 0 to 1, and
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
        r"""Stops what runs, at its next report of progress."""
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

        def progress(part: float) -> None:
            nonlocal last
            if stopped.is_set():
                raise CancelledError
            if time.monotonic() - last > _PAUSE:
                last = time.monotonic()
                self.bar.value = part

        try:
            result = work(progress)
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


SHEET = (Path(__file__).parent / "explorer.css").read_text(encoding="utf-8")


class Explorer(ipywidgets.VBox):  # type: ignore[misc]  # it has no types
    r"""
    A record to explore.

    Where no widget can live (an untrusted notebook, an export without state) its static view is
    shown instead.

    Args:
        record (Record): What is explored.
        children (list): Controls, views and charts, from top to bottom.
    """

    def __init__(self, record: Record, children: list[Any]) -> None:
        self.record = record
        style = ipywidgets.HTML(f"<style>{theme_css('.ecco-explorer')}{SHEET}</style>")
        style.layout.display = "none"
        super().__init__([style, *children])
        self.add_class("ecco-explorer")

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(**kwargs)
        return {**bundle, "text/html": self.record._repr_html_()}


def row(*children: Any) -> Any:
    r"""Controls side by side, as far as there is room."""
    box = ipywidgets.HBox(list(children))
    box.add_class("ecco-controls")
    return box


def sides(*children: Any) -> Any:
    r"""Panels side by side, or below each other where it is narrow."""
    for child in children:
        child.add_class("ecco-side")
        child.add_class("ecco-panel")
    box = ipywidgets.HBox(list(children))
    box.add_class("ecco-sides")
    return box


def choice(description: str, options: Any, value: Any = None, **kwargs: Any) -> Any:
    r"""A list to choose one of."""
    chosen = {} if value is None else {"value": value}
    style = {"description_width": "initial"}
    layout = ipywidgets.Layout(width="auto")
    return ipywidgets.Dropdown(
        options=options, description=description, style=style, layout=layout, **chosen, **kwargs
    )
