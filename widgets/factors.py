"""The factor explorer: neuron factors, refitted and tested on demand."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np
import traitlets

from ecco_captum.core.text import format_number
from ecco_captum.display.page import escape
from ecco_captum.widgets.charts import Bars
from ecco_captum.widgets.explorer import Explorer, Stale, beside, row
from ecco_captum.widgets.runner import Runner
from ecco_captum.widgets.view import View

if TYPE_CHECKING:
    from ecco_captum.factors.record import FactorEffect, Factors

_NEURONS = 10
_MOST = 24  # factors that the slider offers


class FactorsExplorer(Explorer):
    r"""
    Factors as lines beside the text; a chosen one shows its neurons, and what they do.

    Args:
        record (Factors): What is shown first.
        refit (Callable, optional): ``refit(n_components, layers)`` factorises again, ``layers`` a
            list of block numbers. Default: ``None``
        effect (Callable, optional): ``effect(factors, component, progress=)`` ablates a factor's
            neurons. Default: ``None``
    """

    selected = traitlets.Int(0, help="The factor that is shown.")

    def __init__(
        self,
        record: Factors,
        *,
        refit: Callable[[int, list[int]], Factors] | None = None,
        effect: Callable[..., FactorEffect] | None = None,
    ) -> None:
        self._refit, self._effect = refit, effect
        self.factors = record
        first = record.by_interest[0]  # not an attention sink
        self.view = View(record.fragment(), "factors", selected=[first])
        self.picture = ipywidgets.VBox([self.view])
        self.runner, self.bars = Runner(), Bars(write=format_number, left=150)
        self.stale, self.verdict = Stale(self._back), ipywidgets.HTML()
        self.test = ipywidgets.Button(
            description="Ablate this factor",
            tooltip="Takes its strongest neurons out and measures what the loss does",
            layout={"width": "auto"},
        )
        self.test.on_click(self._ablate)
        self._build(record)
        controls = [row(self.components, self.layers)] if refit else []
        tests = [ipywidgets.VBox([self.test, self.verdict])] if effect else []
        sides = beside(self.picture, self.bars, *tests)
        super().__init__(record, [*controls, self.runner, self.stale, sides])
        self.view.observe(self._in_hand, "selected")
        self.selected = first
        self._show_neurons()

    def _build(self, record: Factors) -> None:
        style = {"description_width": "initial"}
        blocks = record.activations.layers.tolist()
        self.components = ipywidgets.IntSlider(
            value=record.count,
            min=1,
            max=max(_MOST, record.count),
            description="Factors",
            tooltip="How many factors the neurons are split into",
            continuous_update=False,
            style=style,
        )
        self.layers = ipywidgets.SelectionRangeSlider(
            options=blocks,
            index=(0, len(blocks) - 1),
            description="Blocks",
            tooltip="Whose neurons are factorised",
            continuous_update=False,
            style=style,
        )
        for control in (self.components, self.layers):
            control.observe(self._asked, "value")

    def _asked(self, _: Any) -> None:
        refit = self._refit
        assert refit is not None
        low, high = self.layers.value
        layers = [block for block in self.layers.options if low <= block <= high]
        count = self.components.value
        what = _named(count, low, high)
        if (count, layers) == self._shown():
            self.runner.drop()
            self.stale.clear()
            return
        own = self._shown()
        shown = _named(own[0], own[1][0], own[1][-1])
        self.stale.mark(shown, self.picture, self.bars)
        self.runner.run(what, lambda progress: refit(count, layers), self._put)

    def _shown(self) -> tuple[int, list[int]]:
        return self.factors.count, self.factors.activations.layers.tolist()

    def _back(self) -> None:
        count, blocks = self._shown()
        self.components.value = count
        self.layers.value = (blocks[0], blocks[-1])

    def _put(self, factors: Factors) -> None:
        self.stale.clear()
        self.record = self.factors = factors
        self.verdict.value = ""
        self.view.show(factors.fragment())
        self.selected = self.factors.by_interest[0]
        self.view.selected = [self.selected]
        self._show_neurons()

    def _in_hand(self, change: Any) -> None:
        if change["new"] and change["new"][0] < self.factors.count:
            self.selected = change["new"][0]

    @traitlets.observe("selected")
    def _follow(self, change: Any) -> None:
        if self.view.selected != [change["new"]]:
            self.view.selected = [change["new"]]
        self._show_neurons()

    def _show_neurons(self) -> None:
        neurons = self.factors.top_neurons(self.selected, _NEURONS)
        names = [f"block {block}, {neuron}" for block, neuron, _ in neurons]
        weights = np.abs([weight for *_, weight in neurons])
        heading = f"Strongest neurons of factor {self.selected}, share of its length"
        self.bars.show(names, weights, heading)

    def _ablate(self, _: Any) -> None:
        factors, component, effect = self.factors, self.selected, self._effect
        assert effect is not None

        def done(effect: FactorEffect) -> None:
            said = f"<b>Factor {component}.</b> {escape(effect.sentence)}"
            note = f'<div class="ecco-keys">{escape(effect.note)}</div>'
            self.verdict.value = f'<div class="ecco-message">{said}</div>{note}'

        self.runner.run(
            f"Factor {component} ablated",
            lambda progress: effect(factors, component, progress=progress),
            done,
        )


def _named(count: int, low: int, high: int) -> str:
    return f"{count} factors of blocks {low} to {high}"
