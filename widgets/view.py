"""Static views as widgets: the same picture, and Python hears what is in hand and chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import anywidget
import traitlets

from ecco_captum.display.page import asset
from ecco_captum.widgets.strip import esm

_OPEN = "export function open(section, data, events) {%s}\n"
_SCRIPTS = {
    "heat": (
        ("display/heat.js",),
        'return new HeatMap(section.querySelector(".ecco-heat-map"), data, events);',
    ),
    "factors": (
        ("display/numbers.js", "display/tokens.js", "factors/factors.js"),
        "data.scores = decodeScores(data.scores);"
        'return mountFactors(section.querySelector(".ecco-swap"), data, events);',
    ),
}


class View(anywidget.AnyWidget):  # type: ignore[misc]  # it has no types
    r"""
    A heat table, or a text with its factors, as the static page draws it.

    Args:
        html (str): The view's fragment, made by a record.
        kind (str): ``"heat"`` or ``"factors"``.

    Examples::

        >>> view = View(rankings.fragment(), "heat")
        >>> view.observe(lambda change: print("row, column:", change["new"]), "selected")
    """

    _esm = esm("view.js")
    _css = (Path(__file__).parent / "strip.css").read_text(encoding="utf-8")

    _script = traitlets.Unicode().tag(sync=True)
    _html = traitlets.Unicode().tag(sync=True)

    hovered = traitlets.List(
        traitlets.Int(), help="Row and column of the cell, or the token, in hand; empty at first."
    ).tag(sync=True)
    selected = traitlets.List(
        traitlets.Int(), help="Row and column of the cell, or the factor, that was chosen."
    ).tag(sync=True)

    def __init__(self, html: str, kind: Literal["heat", "factors"], **traits: Any) -> None:
        names, glue = _SCRIPTS[kind]
        script = "".join(map(asset, names)) + _OPEN % glue
        super().__init__(_html=html, _script=script, **traits)

    def show(self, html: str) -> None:
        r"""Draws another view of the same kind in the same place."""
        self.selected = []
        self._html = html
