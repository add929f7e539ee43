"""What every explorer is: controls, views and charts in one box, and a static view beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ipywidgets

from ecco_captum.core.record import Record
from ecco_captum.display.colours import theme_css

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
