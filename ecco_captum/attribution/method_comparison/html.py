"""How methods are compared on a page: scores against seconds, a table, and who agrees with whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from ecco_captum.core.significance import LEVEL
from ecco_captum.core.text import format_fixed, format_number, format_p
from ecco_captum.display.charts import scatter_chart
from ecco_captum.display.page import frame, one_line, part, render, table

if TYPE_CHECKING:
    from ecco_captum.attribution.method_comparison.record import MethodComparison

_HEADER = (
    *("Method", "LDS", "p, chance", "p, position", "Comprehensiveness", "Sufficiency"),
    *("Weights", "Seconds"),
)
_MISSING = "–"


def method_comparison_view(comparison: MethodComparison) -> Markup:
    """Draws each method's score against its seconds; below, all numbers, the best first."""
    names = [one_line(name) for name in comparison.names]
    order = np.argsort(-comparison.intervals[:, 0], kind="stable")
    picture = scatter_chart(
        [names[k] for k in order],
        _seconds(comparison)[order],
        comparison.intervals[order],
        across="seconds to explain a text",
        says=_says(comparison, order),
        accent=int(np.flatnonzero(order == comparison.candidate)[0]),
    )
    correlations = [
        [names[i], *(_MISSING if np.isnan(value) else format_fixed(value) for value in row)]
        for i, row in enumerate(comparison.agreement.tolist())
    ]
    agreement = part(
        "folded",
        "Which methods agree? Spearman's correlation of magnitudes",
        part(
            "scrolling",
            table(["", *names], correlations, numeric=range(1, len(names) + 1)),
            "Agreement of methods",
            role="region",
        ),
    )
    body = render(
        "attribution/method_comparison/method_comparison.html.j2",
        sentence=comparison.sentence,
        picture=picture,
        numbers=_numbers(comparison, names, order),
        agreement=agreement,
    )
    return frame(body, title=comparison.title, subtitle=comparison.subtitle, note=comparison.note)


def _seconds(comparison: MethodComparison) -> np.ndarray:
    """(names,), NaN of rankings by position; no method takes no time at all."""
    missing = np.full(len(comparison.names) - len(comparison.methods), np.nan)
    return np.concatenate([comparison.seconds.clip(1e-4), missing])


def _says(comparison: MethodComparison, order: np.ndarray) -> str:
    scores = comparison.intervals[:, 0]
    listed = ", ".join(f"{comparison.names[k]} {format_fixed(scores[k])}" for k in order)
    return f"Linear datamodeling score against seconds: {listed}"


def _numbers(comparison: MethodComparison, names: list[str], order: np.ndarray) -> Markup:
    """Every method's numbers; a p-value that holds is bold."""
    columns = comparison.columns()

    def number(name: str, k: int, write: Callable[[float], str] = format_number) -> str:
        value = float(columns[name][k])
        return _MISSING if np.isnan(value) else write(value)

    def p_value(name: str, k: int) -> Markup | str:
        text = number(name, k, format_p)
        return Markup("<b>{}</b>").format(text) if columns[name][k] <= LEVEL else text

    def beside(name: str, k: int) -> Markup:
        style = "display:block;white-space:nowrap"
        return Markup('{}<span class="ecco-between" style="{}">p = {}</span>').format(
            number(name, k), style, number(f"p_{name}", k, format_p)
        )

    def score(k: int) -> Markup:
        low, high = number("lds_low", k, format_fixed), number("lds_high", k, format_fixed)
        style = "display:block;white-space:nowrap"
        return Markup('{}<span class="ecco-between" style="{}">[{}, {}]</span>').format(
            number("lds", k, format_fixed), style, low, high
        )

    rows = [
        [
            names[k],
            score(k),
            p_value("p_chance", k),
            p_value("p_position", k),
            beside("comprehensiveness", k),
            beside("sufficiency", k),
            number("weight_correlation", k, format_fixed),
            number("seconds", k),
        ]
        for k in order.tolist()
    ]
    cells = table(_HEADER, rows, numeric=range(1, len(_HEADER)))
    return part("scrolling", cells, "All numbers of each method", role="region")
