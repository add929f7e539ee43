"""Static views as widgets: the same picture, and Python hears what is hovered and chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anywidget
import numpy as np
import traitlets

from ecco_captum.attribution.html import pack_scores, saliency_data, saliency_script, saliency_view
from ecco_captum.display.page import asset, frame, token_text_css, without_scripts

if TYPE_CHECKING:
    from ecco_captum.attribution.record import Attribution


_HERE = Path(__file__).parent


def esm(name: str) -> str:
    r"""A widget's module: what all of them share, and its own file."""
    return "".join((_HERE / part).read_text(encoding="utf-8") for part in ("common.js", name))


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
        traitlets.Int(), help="Row and column of the hovered cell, or the token; empty at first."
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


MOST_SCORES = 2**24
"""How many scores are sent at once, 64 MiB of them."""


class TokenStrip(anywidget.AnyWidget):  # type: ignore[misc]  # it has no types
    r"""
    Prompt and output text; the output token under the pointer colours every earlier token.

    The scores are sent once, as bytes, up to 16 million of them; of more, each output's are sent
    when it is chosen first. All painting happens in the browser; Python hears what is selected and
    what the pointer is on, and can select by setting ``selected``. Where no widget can live (an
    untrusted notebook, an export without state), the static view is shown instead.

    Args:
        attribution (Attribution): What is shown; only the outputs that it explains can be selected.
        below (str, optional): Trusted HTML, drawn under the picture. Default: ``""``

    Examples::

        >>> from ecco_captum.widgets import TokenStrip
        >>> strip = TokenStrip(attribution)
        >>> strip.observe(lambda change: print(change["new"]), "selected")
        >>> strip.selected = 3
        3
    """

    _esm = esm("strip.js")
    _css = token_text_css(signed=True) + (_HERE / "strip.css").read_text(encoding="utf-8")

    _script = traitlets.Unicode().tag(sync=True)
    _frame = traitlets.Unicode().tag(sync=True)
    _data = traitlets.Dict().tag(sync=True)
    _scores = traitlets.Bytes().tag(sync=True)
    _shown = traitlets.Int(help="How many texts have been drawn; a new one is drawn at once.").tag(
        sync=True
    )

    monospace = traitlets.Bool(False, help="Whether all letters are equally wide.").tag(sync=True)
    selected = traitlets.Int(
        help="Index, among all outputs, of the explained one whose sources are shown."
    ).tag(sync=True)
    hovered = traitlets.Int(
        -1, help="Index of the output under the pointer or the keyboard's focus; -1 for none."
    ).tag(sync=True)

    def __init__(self, attribution: Attribution, *, below: str = "") -> None:
        super().__init__(_script=str(saliency_script()))
        self.on_msg(self._asked)
        self.show(attribution, below=below)

    def show(
        self,
        attribution: Attribution,
        *,
        below: str = "",
        selected: int | None = None,
        title: str = "",
        tops: Sequence[float] | None = None,
    ) -> None:
        r"""
        Draws another attribution in the same place.

        Args:
            attribution (Attribution): As for a new strip.
            below (str, optional): Trusted HTML, drawn under the picture. Default: ``""``
            selected (int, optional): The output that is chosen, if it is explained.
                Default: the one whose sources are the most concentrated
            title (str, optional): Instead of the attribution's own. Default: ``""``
            tops (sequence of float, optional): For each output, the share that has the deepest
                shade, so that several strips have one scale. Default: each output's own top share
        """
        data = saliency_data(attribution)
        if tops is not None:
            data["tops"] = [float(top) for top in tops]
        later = int(attribution.known.sum()) > MOST_SCORES
        words = {
            "title": title or attribution.title,
            "subtitle": attribution.subtitle,
            "note": attribution.note,
        }
        self.explained = np.asarray(attribution.outputs).tolist()
        self._attribution, self._below = attribution, below
        with self.hold_sync():
            # Not as markup, which some front ends take for something to draw.
            self._frame = str(frame(f'<div class="ecco-swap"></div>{below}', **words))
            self._scores = b"" if later else pack_scores(attribution)
            self._data = {**data, "later": later}
            self._shown += 1
            kept = selected if selected in self.explained else None
            self.selected = data["first"] if kept is None else kept

    def _asked(self, _: Any, content: dict[str, Any], __: Any) -> None:
        """Sends the scores of one output of a text that has too many for one message."""
        if content.get("shown") == self._shown and content.get("row") in self.explained:
            k = self.explained.index(content["row"])
            row = self._attribution.scores[k, : self._attribution.known[k]]
            self.send(content, buffers=[row.astype("<f4").tobytes()])

    @traitlets.validate("selected")
    def _is_output(self, proposal: dict[str, Any]) -> int:
        value = int(proposal["value"])
        if value not in self.explained:
            raise traitlets.TraitError(
                f"selected: got {value}, accepts the explained outputs {_ranges(self.explained)}"
            )
        return value

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle
        html = saliency_view(self._attribution, below=self._below)
        # A notebook's file should not hold what is too much for a message.
        return {
            **data,
            "text/html": without_scripts(html) if self._data["later"] else html,
        }, metadata


def _ranges(numbers: list[int]) -> str:
    """Ascending numbers in words: "0 to 8", or "0 to 2, 5, 7 to 9"."""
    starts = [n for n in numbers if n - 1 not in numbers]
    ends = [n for n in numbers if n + 1 not in numbers]
    pairs = zip(starts, ends, strict=True)
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in pairs)
