"""The probe explorer: what each layer knows, and what its probes take for what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np
import traitlets

from ecco_captum.display.page import escape
from ecco_captum.probing.html import confusion_view
from ecco_captum.widgets.charts import Lines
from ecco_captum.widgets.explorer import Explorer, beside, choice, row
from ecco_captum.widgets.view import View

if TYPE_CHECKING:
    from ecco_captum.probing.record import ProbeReport

_PARTS = {"accuracy": "accuracy", "control": "control_accuracy", "selectivity": "selectivity"}


class ProbeExplorer(Explorer):
    r"""
    Accuracy, control and selectivity over layers; click a point for its confusions.

    Args:
        record (ProbeReport): What is shown.
    """

    selected = traitlets.Int(help="The row of the report whose confusions are shown.")

    def __init__(self, record: ProbeReport) -> None:
        self.report = record
        kinds = list(dict.fromkeys(record.representations))
        self.kind = choice("Representation", kinds, kinds[0], tooltip="Whose probes the lines show")
        self.chart = ipywidgets.VBox()
        self.view = View(self._confusion(self._rows()[0]), "heat")
        asks = ipywidgets.HTML(f'<div class="ecco-asks">{escape(record.title)}</div>')
        answers = ipywidgets.HTML(f'<div class="ecco-answers">{escape(record.sentence)}</div>')
        lines = ipywidgets.VBox([row(self.kind), self.chart, answers])
        super().__init__(record, [asks, beside(lines, self.view)])
        self.kind.observe(lambda _: self._draw(), "value")
        self._draw()

    def _rows(self) -> list[int]:
        names = self.report.representations
        return [k for k, name in enumerate(names) if name == self.kind.value]

    def _draw(self) -> None:
        rows, report = self._rows(), self.report
        below = report.selectivity[rows].mean(axis=1) - report.selectivity[rows].std(axis=1)
        low = min(0.0, float(np.nanmin(below, initial=0.0)))
        self.lines = Lines([report.layers[k] for k in rows], form=".0%", limits=(low, 1.0))
        self.lines.on_choose(lambda k: self.set_trait("selected", rows[k]))
        lines, bands = {}, {}
        for name, field in _PARTS.items():
            values = getattr(report, field)[rows]
            if np.isnan(values).any():
                continue
            mean, apart = values.mean(axis=1), values.std(axis=1)
            lines[name], bands[name] = mean, (mean - apart, mean + apart)
        if not np.isnan(report.by_type).any():
            lines["each word's most frequent label"] = np.full(len(rows), report.by_type.mean())
        self.lines.show(lines, bands)
        self.chart.children = [self.lines]
        best = int(report.accuracy[rows].mean(axis=1).argmax())
        self.selected = rows[best]

    @traitlets.observe("selected")
    def _follow(self, change: Any) -> None:
        self.view.show(self._confusion(change["new"]))

    def _confusion(self, line: int) -> str:
        return confusion_view(self.report, line)
