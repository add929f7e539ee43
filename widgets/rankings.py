"""The rankings and the watch explorer: when does a token become the top prediction?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np
import traitlets

from ecco_captum.core.text import visible
from ecco_captum.widgets.charts import Bars, Lines
from ecco_captum.widgets.explorer import Explorer, beside, choice, row
from ecco_captum.widgets.runner import Runner
from ecco_captum.widgets.view import View

if TYPE_CHECKING:
    from ecco_captum.lens.record import LayerPredictions, Rankings, WatchedRankings

_SHOWN = 10  # of a layer's top tokens
_VALUES: dict[str, tuple[str, dict[str, Any]]] = {
    "rank": ("ranks", {"logarithmic": True, "form": ",d", "says": "rank (1 is the best)"}),
    "probability": ("probs", {"form": ".1%", "says": "probability", "limits": (0.0, None)}),
    "logit": ("logits", {"form": ".3s", "says": "logit"}),
}


class _Lens(Explorer):
    """A heat table of layers, a chart of what is chosen, and a switch of what the chart shows."""

    selected = traitlets.List(traitlets.Int(), help="Row and column of the chosen cell.")
    hovered = traitlets.List(traitlets.Int(), help="Row and column of the hovered cell.")

    def __init__(self, record: Any, *follows: Any, above: tuple[Any, ...] = ()) -> None:
        self.view = View(record.fragment(), "heat")
        self.value = choice(
            "Chart", list(_VALUES), "rank", tooltip="What the lines show; the table stays"
        )
        self.lines: Lines
        self._chart = ipywidgets.VBox()
        chart = ipywidgets.VBox([row(self.value, *above), self._chart])
        super().__init__(record, [beside(self.view, chart, *follows)])
        ipywidgets.dlink((self.view, "hovered"), (self, "hovered"))
        ipywidgets.link((self.view, "selected"), (self, "selected"))
        self.value.observe(lambda _: self._draw(), "value")
        self._draw()

    def _draw(self) -> None:
        name, options = _VALUES[self.value.value]
        self.lines = Lines(self.record.layer_names, **options)  # type: ignore[attr-defined]
        self.lines.on_choose(self._row_chosen)
        self._chart.children = [self.lines]
        self._fill(name)

    def _fill(self, name: str) -> None:
        raise NotImplementedError

    def _row_chosen(self, layer: int) -> None:
        """A point of the chart was clicked: its layer is chosen, in the same column."""
        self.selected = [layer, self.selected[1] if self.selected else 0]


class RankingsExplorer(_Lens):
    r"""
    Each token's rank by each layer; a chosen cell opens its column and its layer's top tokens.

    Args:
        record (Rankings): What is shown.
        predictions (Callable, optional): ``predictions(position)`` returns what each layer says in
            the place of a token; without it, only each layer's top token is known.
            Default: ``None``
    """

    def __init__(
        self, record: Rankings, *, predictions: Callable[[int], LayerPredictions] | None = None
    ) -> None:
        self._predictions = predictions
        self._known: dict[int, LayerPredictions] = {}
        self.runner = Runner()
        self.bars = Bars()
        best = ipywidgets.VBox([self.runner, self.bars])
        super().__init__(record, best)
        self.rankings = record
        self.selected = [len(record.layers) - 1, 0]

    @traitlets.observe("selected")
    def _follow(self, change: Any) -> None:
        if change["new"] and hasattr(self, "rankings"):
            self._fill(_VALUES[self.value.value][0])
            self._open(*change["new"])

    def _fill(self, name: str) -> None:
        if not self.selected:
            return
        column, record = self.selected[1], self.rankings
        lines = {f"“{visible(record.target_texts[column])}”": getattr(record, name)[:, column]}
        if name == "ranks" and record.shuffled_ranks is not None:
            lines["the same, shuffled blocks"] = record.shuffled_ranks[:, column]
        self.lines.show(lines)

    def _open(self, layer: int, column: int) -> None:
        """The top tokens of one layer in the place of one column."""
        if self._predictions is None or column in self._known:
            self.runner.drop()
            self._tops(layer, column)
            return
        position, predictions = int(self.rankings.positions[column]), self._predictions

        self.bars.add_class("ecco-stale")

        def done(predictions: LayerPredictions) -> None:
            self._known[column] = predictions
            if self.selected[1:] == [column]:
                self._tops(*self.selected)

        self.runner.run("Each layer's top tokens", lambda progress: predictions(position), done)

    def _tops(self, layer: int, column: int) -> None:
        record, name = self.rankings, self.rankings.layer_names[layer]
        heading = f"{name}, in the place of “{visible(record.target_texts[column])}”"
        predictions = self._known.get(column)
        if predictions is None:
            texts, probs = [record.top_texts[layer][column]], record.top_probs[layer, column][None]
        else:
            texts, probs = predictions.texts[layer], predictions.probs[layer]
        names = [visible(text) or "⋯" for text in texts[:_SHOWN]]
        self.bars.remove_class("ecco-stale")
        self.bars.show(names, np.asarray(probs)[:_SHOWN], f"Top tokens of {heading}")


class WatchExplorer(_Lens):
    r"""
    Ranks of watched tokens over the layers, as lines and in cells.

    Args:
        record (WatchedRankings): What is shown.
    """

    def __init__(self, record: WatchedRankings) -> None:
        self.watched = record
        self.place = choice(
            "After", _numbered(record.places), 0, tooltip="The position whose lines are drawn"
        )
        self.place.observe(lambda _: self._draw(), "value")
        several = record.ranks.ndim > 2
        super().__init__(record, above=(self.place,) if several else ())

    @traitlets.observe("selected")
    def _follow(self, change: Any) -> None:
        """A cell of another place brings that place's lines."""
        if change["new"]:
            self.place.value = change["new"][1] // len(self.watched.watch_texts)

    def _fill(self, name: str) -> None:
        values = getattr(self.watched, name)
        values = values[self.place.value] if values.ndim > 2 else values
        names = [f"“{visible(text)}”" for text in self.watched.watch_texts]
        self.lines.show(dict(zip(names, values.T, strict=True)))


def _numbered(places: tuple[str, ...]) -> list[tuple[str, int]]:
    return [(f"{k}: {visible(place)}", k) for k, place in enumerate(places)]
