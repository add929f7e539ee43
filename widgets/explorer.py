"""What every explorer is: controls, views and charts in one box, and a static view beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets

from ecco_captum.core.record import Record
from ecco_captum.display.colours import theme_css
from ecco_captum.display.page import escape, page
from ecco_captum.widgets.share import Share

_STALE = "ecco-stale"
_STILL = (
    "This front end cannot draw the explorer's charts and controls, so here is the view without "
    "them; JupyterLab, Notebook, VS Code and Colab draw them."
)
_FOLLOW = (Path(__file__).parent / "still.js").read_text(encoding="utf-8")
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
        self.share = Share(self.shown_html)
        super().__init__([style, *children, self.share])
        self.add_class("ecco-explorer")

    def shown_html(self) -> str:
        r"""Returns what is shown as an HTML fragment that needs nothing from anywhere."""
        return str(self.record.fragment())

    def _display_(self) -> Still:
        """What marimo shows, which asks for this first: it draws no charts of ipywidgets."""
        return Still(self.shown_html(), self.record.title)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(**kwargs)
        return {**bundle, "text/html": self.record._repr_html_()}


@dataclass(frozen=True)
class Still:
    r"""
    A view without controls, for a front end that cannot draw those of ipywidgets and bqplot.

    Args:
        html (str): The view's fragment.
        title (str): The page's title.
    """

    html: str
    title: str

    def _mime_(self) -> tuple[str, str]:
        """As marimo asks for it: in a frame of its own, where its scripts run."""
        why = f'<script>{_FOLLOW}</script><p class="ecco-why">{_STILL}</p>'
        document = page(why + self.html, title=self.title)
        return "text/html", (
            f'<iframe class="ecco-still" title="{escape(self.title)}" srcdoc="{escape(document)}"'
            ' style="width:100%;height:760px;border:0;color-scheme:inherit"></iframe>'
        )


class Stale(ipywidgets.HBox):  # type: ignore[misc]  # it has no types
    r"""
    A line above pictures whose controls say something else by now; it is there only then.

    Args:
        back (Callable, optional): Sets the controls to what is shown. Default: ``None``
    """

    def __init__(self, back: Callable[[], object] | None = None) -> None:
        self.line = ipywidgets.HTML()
        self.button = ipywidgets.Button(
            description="Back to it",
            tooltip="Sets the controls to what the picture shows",
            layout={"width": "auto"},
        )
        self._views: tuple[Any, ...] = ()
        super().__init__([self.line, self.button] if back else [self.line])
        self.add_class("ecco-stale-line")
        self.layout.display = "none"
        if back is not None:
            self.button.on_click(lambda _: back())

    def mark(self, shown: str, *views: Any) -> None:
        r"""Marks views as earlier ones, and says what they show.

        Views are boxes: a widget of anywidget keeps the classes that it is drawn with.
        """
        self.clear()
        self._views = views
        for view in views:
            view.add_class(_STALE)
        self.line.value = f'<span class="ecco-message">Still shown: {escape(shown)}.</span>'
        self.layout.display = ""

    def clear(self) -> None:
        r"""What is shown is what the controls say."""
        for view in self._views:
            view.remove_class(_STALE)
        self._views = ()
        self.layout.display = "none"

    @property
    def on(self) -> bool:
        r"""Whether views are marked."""
        return bool(self._views)


def row(*children: Any) -> Any:
    r"""Controls side by side, as far as there is room."""
    box = ipywidgets.HBox(list(children))
    box.add_class("ecco-controls")
    return box


def beside(picture: Any, *follows: Any) -> Any:
    r"""A picture, and beside it what a click on it draws; below it where it is narrow."""
    picture.add_class("ecco-main")
    panel = ipywidgets.VBox(list(follows))
    panel.add_class("ecco-follows")
    for child in follows:
        if not isinstance(child, anywidget.AnyWidget):  # a view has cards of its own
            child.add_class("ecco-panel")
    box = ipywidgets.HBox([picture, panel])
    box.add_class("ecco-beside-view")
    return box


def choice(description: str, options: Any, value: Any = None, **kwargs: Any) -> Any:
    r"""A list to choose one of; ``tooltip`` says what it changes."""
    chosen = {} if value is None else {"value": value}
    style = {"description_width": "initial"}
    layout = ipywidgets.Layout(width="auto")
    return ipywidgets.Dropdown(
        options=options, description=description, style=style, layout=layout, **chosen, **kwargs
    )
