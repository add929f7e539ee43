"""The similarity explorer: how alike layers are, and how alike by chance."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np
import traitlets

from ecco_captum.widgets.charts import Lines
from ecco_captum.widgets.explorer import Explorer, Stale, beside, choice, row
from ecco_captum.widgets.runner import Runner
from ecco_captum.widgets.view import View

if TYPE_CHECKING:
    from ecco_captum.similarity.record import Similarity

_MEASURES = (("CKA", "cka"), ("CCA", "cca"), ("SVCCA", "svcca"), ("PWCCA", "pwcca"))


class SimilarityExplorer(Explorer):
    r"""
    A matrix of similarities; a chosen cell draws its row over all layers, with its null.

    Args:
        record (Similarity): What is shown first.
        compute (Callable, optional): ``compute(measure, progress=)`` compares the same layers by
            another measure. Default: ``None``
    """

    selected = traitlets.List(traitlets.Int(), help="Row and column of the chosen cell.")
    hovered = traitlets.List(traitlets.Int(), help="Row and column of the hovered cell.")

    def __init__(
        self, record: Similarity, *, compute: Callable[..., Similarity] | None = None
    ) -> None:
        self._compute, self._known = compute, {record.measure: record}
        self.similarity = record
        self.view = View(record.fragment(), "heat")
        self.picture, self.runner = ipywidgets.VBox([self.view]), Runner()
        self.stale = Stale(self._back)
        self.measure = choice(
            "Measure", _MEASURES, record.measure, tooltip="How likeness is measured"
        )
        self.null = ipywidgets.Checkbox(
            value=True,
            description="by chance",
            tooltip="A line of what 95% of draws with tokens in other places stay below",
            indent=False,
        )
        self.lines = Lines(record.columns, form=".2f", limits=_limits(record), says="similarity")
        controls = [self.measure, self.null] if compute else [self.null]
        panel = ipywidgets.VBox([row(*controls), self.runner, self.stale, self.lines])
        super().__init__(record, [beside(self.picture, panel)])
        ipywidgets.dlink((self.view, "hovered"), (self, "hovered"))
        ipywidgets.link((self.view, "selected"), (self, "selected"))
        self.measure.observe(self._asked, "value")
        self.null.observe(lambda _: self._draw(), "value")
        self.lines.on_choose(self._column_chosen)
        self.selected = [0, 0]

    def _asked(self, change: Any) -> None:
        name, compute = change["new"], self._compute
        if name in self._known:
            self.runner.drop()  # what was wanted before must not take this one's place
            self._put(self._known[name])
            return
        assert compute is not None
        self.stale.mark(self.similarity.measure_title, self.picture, self.lines)
        self.runner.run(
            {measure: title for title, measure in _MEASURES}[name],
            lambda progress: compute(name, progress=progress),
            self._put,
        )

    def _back(self) -> None:
        self.measure.value = self.similarity.measure

    def _put(self, similarity: Similarity) -> None:
        self.stale.clear()
        self._known[similarity.measure] = self.record = self.similarity = similarity
        chosen = self.selected
        self.view.show(similarity.fragment())
        self.lines.limit(*_limits(similarity))
        self.selected = chosen
        self._draw()

    def _column_chosen(self, column: int) -> None:
        self.selected = [self.selected[0] if self.selected else 0, column]

    @traitlets.observe("selected")
    def _follow(self, change: Any) -> None:
        if change["new"]:
            self._draw()

    def _draw(self) -> None:
        if not self.selected:
            return
        similarity, line = self.similarity, self.selected[0]
        name = f"{similarity.rows[line]} with each layer"
        lines, bands = {name: similarity.values[line]}, {}
        if not np.isnan(similarity.interval).any():
            bands[name] = (similarity.interval[line, :, 0], similarity.interval[line, :, 1])
        if self.null.value and not np.isnan(similarity.null_mean).any():
            lines["by chance, up to 95%"] = similarity.null_95[line]
        self.lines.show(lines, bands)


def _limits(similarity: Similarity) -> tuple[float, float]:
    """The ends of the chart: those of the table's colours, or of what chance reaches."""
    low, high = similarity.scale
    return low, float(np.nanmax([high, np.nanmax(similarity.null_95, initial=high)]))
