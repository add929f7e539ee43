"""The explorer of compared methods: their scores, and what each of them says of the text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets
import traitlets

from ecco_captum.widgets.explorer import Explorer, choice, row
from ecco_captum.widgets.view import TokenStrip, View

if TYPE_CHECKING:
    from ecco_captum.attribution.method_comparison.record import MethodComparison


class MethodsExplorer(Explorer):
    r"""
    Every method's score and seconds; the chosen one's attribution of the text below.

    Args:
        record (MethodComparison): What is shown; of several texts there is no attribution below.
    """

    selected = traitlets.Int(help="Index of the method whose attribution is shown.")

    def __init__(self, record: MethodComparison) -> None:
        self.view, self.attributions = View(record.fragment(), "heat"), record.attributions
        names = [(name, k) for k, name in enumerate(record.methods)]
        self.method = choice(
            "Method", names, record.candidate, tooltip="Whose attribution is drawn below"
        )
        parts = [self.view]
        if self.attributions:
            self.strip = TokenStrip(self.attributions[record.candidate])
            parts += [row(self.method), self.strip]
        super().__init__(record, parts)
        self.selected = record.candidate
        ipywidgets.link((self.method, "value"), (self, "selected"))

    @traitlets.observe("selected")
    def _follow(self, change: dict[str, Any]) -> None:
        if self.attributions:
            chosen = self.attributions[change["new"]]
            self.strip.show(chosen, selected=self.strip.selected)
