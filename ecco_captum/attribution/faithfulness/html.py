"""What removals say of an attribution: its scores, and two charts with all numbers below.

The numbers are in tables, which stay where scripts, style sheets and drawings are taken away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from ecco_captum.core.text import MINUS, format_fixed, format_number, format_p
from ecco_captum.display.charts import interval_chart, line_chart
from ecco_captum.display.page import frame, one_line, part, render, table

if TYPE_CHECKING:
    from ecco_captum.attribution.faithfulness.record import Faithfulness

_TEMPLATE = "attribution/faithfulness/faithfulness.html.j2"


@dataclass(frozen=True)
class _Measure:
    """One measure: what it means, and its means with their intervals.

    values: (conditions, fractions + 1, 3), mean and, of what was drawn, low and high end, else NaN;
    last those of the AOPC.
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
            _with_ends(self.values[:, :-1]),
            places=self.fractions / self.fractions[-1],
            across=f"share of the tokens {self.verb}",
            says=self.says,
        )

    def intervals(self) -> Markup:
        """The mean over all shares, a row for each condition."""
        write = _writer(self.values)
        values = _with_ends(self.values[:, -1])
        return interval_chart(self.conditions, values, says=self.says, write=write)

    def numbers(self) -> Markup:
        """All of it as a table; the mean comes first, which narrow screens show unscrolled."""
        shares = [f"{100 * share:.3g}%" for share in self.fractions]
        write, ordered = _writer(self.values), np.roll(self.values, 1, axis=1)
        rows = [
            [name, *(_cell(write, three) for three in row)]
            for name, row in zip(self.conditions, ordered.tolist(), strict=True)
        ]
        header = [f"Tokens {self.verb}", "AOPC", *shares]
        cells = table(header, rows, numeric=range(1, len(header)))
        return part("scrolling", cells, f"{self.name}, all numbers", role="region")


def faithfulness_view(faithfulness: Faithfulness) -> Markup:
    """Draws how well the attribution predicts what random removals cost, and its curves."""
    body = render(_TEMPLATE, short=False, **_parts(faithfulness))
    return frame(
        body, title=faithfulness.title, subtitle=faithfulness.subtitle, note=faithfulness.note
    )


def faithfulness_strip(faithfulness: Faithfulness) -> Markup:
    """The same in short, under the picture of the attribution, which brings the colours."""
    return render(_TEMPLATE, short=True, **_parts(faithfulness))


def _parts(faithfulness: Faithfulness) -> dict[str, Any]:
    return {
        "measures": _measures(faithfulness),
        "scores": _scores(faithfulness),
        "sentence": faithfulness.sentence,
        "note": _explained(faithfulness),
    }


def _scores(faithfulness: Faithfulness) -> Markup:
    """A row for each kind of removal: the linear datamodeling score and its p-values."""
    intervals, p_values = faithfulness.lds_intervals, faithfulness.p_values
    if intervals is None or p_values is None:
        return Markup("")
    write = partial(format_fixed, digits=2)
    rows = [
        [
            one_line(f"Tokens {done}"),
            _cell(write, three),
            *map(format_p, p[:2]),
        ]
        for done, three, p in zip(
            faithfulness.done, intervals.tolist(), p_values.tolist(), strict=True
        )
    ]
    header = ["Random removals", "LDS", "p, chance", "p, position"]
    return part("scrolling", table(header, rows, numeric=range(1, 4)), "LDS", role="region")


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
            faithfulness.curves("comprehensiveness"),
        ),
        _Measure(
            "Sufficiency",
            "How far the score drops when only the tokens ranked first are kept.",
            "Lower is better.",
            "kept",
            *shared,
            faithfulness.curves("sufficiency"),
        ),
    ]


def _explained(faithfulness: Faithfulness) -> str:
    """What the numbers are: their mean, and what stands around them."""
    *before, last = (f"{100 * fraction:.3g}%" for fraction in faithfulness.fractions.tolist())
    listed = f"{', '.join(before)} and {last}" if before else last
    if len(faithfulness.fractions) > 6:
        listed = f"{len(faithfulness.fractions)} shares from {before[0]} to {last}"
    return (
        "LDS, the linear datamodeling score: rank correlation over random removals of the removed "
        "tokens' attributions with the drop, with its 95% interval over orders. AOPC: the mean "
        "drop "
        f"over {listed} of the tokens. At random, 95% of the orders lie within the brackets."
    )


def _with_ends(values: np.ndarray) -> np.ndarray:
    """Means that are no draws are their own ends."""
    return np.where(np.isnan(values), values[..., :1], values)


def _writer(values: np.ndarray) -> Callable[[float], str]:
    """Three digits for the largest number of a table, and as many decimals for the others."""
    largest = float(np.nanmax(np.abs(values)))
    if not 0.01 <= largest < 1000:
        return format_number
    decimals = 2 - int(np.floor(np.log10(largest)))
    return lambda value: f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", MINUS)


def _cell(write: Callable[[float], str], three: Sequence[float]) -> Markup | str:
    """A number, and what stands around it; NaN where nothing does."""
    if np.isnan(three[1]):
        return write(three[0])
    mean, low, high = map(write, three)
    style = "display:block;white-space:nowrap"
    return Markup(f'{mean} <span class="ecco-between" style="{style}">[{low}, {high}]</span>')
