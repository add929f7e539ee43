"""How far the score moves when tokens are removed, as two charts with all numbers below.

The numbers are in tables, which stay where scripts, style sheets and drawings are taken away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from ecco_captum.core.text import MINUS, format_number
from ecco_captum.display.charts import interval_chart, line_chart
from ecco_captum.display.page import frame, one_line, part, render, table

if TYPE_CHECKING:
    from ecco_captum.attribution.faithfulness.record import Faithfulness

_TEMPLATE = "attribution/faithfulness/faithfulness.html.j2"


@dataclass(frozen=True)
class _Measure:
    """One measure: what it means, and its means with their intervals.

    values: (conditions, fractions + 1, 3), mean, low and high end; last that of the AOPC.
    """

    name: str
    means: str
    better: str
    verb: str
    conditions: list[str]
    fractions: np.ndarray
    values: np.ndarray

    @property
    def says(self) -> str:
        """What a chart shows, for those who do not see it; the table has the rest."""
        pairs = zip(self.conditions, self.values[:, -1, 0].tolist(), strict=True)
        means = ", ".join(f"{name} {format_number(mean)}" for name, mean in pairs)
        return f"{self.name}, AOPC: {means}"

    def lines(self) -> Markup:
        """The drop at each share of the tokens, a line for each condition."""
        ticks = [f"{100 * f:.{0 if f >= 0.1 else 1}f}%".replace(".0%", "%") for f in self.fractions]
        return line_chart(
            self.conditions,
            ticks,
            self.values[:, :-1],
            places=self.fractions / self.fractions[-1],
            across=f"share of the tokens {self.verb}",
            says=self.says,
        )

    def intervals(self) -> Markup:
        """The mean over all shares, a row for each condition."""
        write = _writer(self.values)
        return interval_chart(self.conditions, self.values[:, -1], says=self.says, write=write)

    def numbers(self) -> Markup:
        """All of it as a table; the mean comes first, which narrow screens show unscrolled."""
        shares = [f"{100 * share:.3g}%" for share in self.fractions]
        write, ordered = _writer(self.values), np.roll(self.values, 1, axis=1)
        rows = [
            [name, *(_cell(*map(write, three)) for three in row)]
            for name, row in zip(self.conditions, ordered.tolist(), strict=True)
        ]
        header = [f"Tokens {self.verb}", "AOPC", *shares]
        cells = table(header, rows, numeric=range(1, len(header)))
        return part("scrolling", cells, f"{self.name}, all numbers", role="region")


def faithfulness_view(faithfulness: Faithfulness) -> Markup:
    """Draws how far the score drops when the tokens ranked first are removed, or alone are kept."""
    body = render(
        _TEMPLATE,
        short=False,
        measures=_measures(faithfulness),
        sentence=faithfulness.sentence,
        note=_explained(faithfulness.fractions.tolist()),
    )
    return frame(
        body, title=faithfulness.title, subtitle=faithfulness.subtitle, note=faithfulness.note
    )


def faithfulness_strip(faithfulness: Faithfulness) -> Markup:
    """The same in short, under the picture of the attribution, which brings the colours."""
    return render(
        _TEMPLATE,
        short=True,
        measures=_measures(faithfulness),
        sentence=faithfulness.sentence,
        note=_explained(faithfulness.fractions.tolist()),
    )


def _measures(faithfulness: Faithfulness) -> list[_Measure]:
    attribution = faithfulness.attribution
    names = (attribution.label or attribution.method, *faithfulness.conditions[1:])
    shared = ([one_line(name) for name in names], faithfulness.fractions)
    return [
        _Measure(
            "Comprehensiveness",
            "How far the score drops when the tokens ranked first are removed.",
            "Higher is better.",
            "removed",
            *shared,
            faithfulness.comprehensiveness_summary,
        ),
        _Measure(
            "Sufficiency",
            "How far the score drops when only the tokens ranked first are kept.",
            "Lower is better.",
            "kept",
            *shared,
            faithfulness.sufficiency_summary,
        ),
    ]


def _explained(fractions: Sequence[float]) -> str:
    """What the numbers are: their mean, and their intervals."""
    *before, last = (f"{100 * fraction:.3g}%" for fraction in fractions)
    listed = f"{', '.join(before)} and {last}" if before else last
    if len(fractions) > 6:
        listed = f"{len(fractions)} shares from {before[0]} to {last}"
    return f"AOPC: the mean drop over {listed} of the tokens. Bars and brackets: 95% intervals."


def _writer(values: np.ndarray) -> Callable[[float], str]:
    """Three digits for the largest number of a table, and as many decimals for the others."""
    largest = float(np.abs(values).max())
    if not 0.01 <= largest < 1000:
        return format_number
    decimals = 2 - int(np.floor(np.log10(largest)))
    return lambda value: f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", MINUS)


def _cell(mean: str, low: str, high: str) -> Markup:
    style = "display:block;white-space:nowrap"
    return Markup(f'{mean} <span class="ecco-between" style="{style}">[{low}, {high}]</span>')
