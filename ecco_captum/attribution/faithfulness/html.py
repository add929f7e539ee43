"""Faithfulness as static HTML: how far the score moves when tokens are removed, and what it means.

The numbers are in tables, which stay where scripts, style sheets and drawings are taken away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ecco_captum.core.text import MINUS, format_number, visible_parts
from ecco_captum.display.colours import theme_css
from ecco_captum.display.line_chart import (
    CENTRED,
    LINE,
    WIDTH,
    label_at,
    label_lines,
    label_width,
    line_chart,
    mark_at,
    role,
    svg,
    value_range,
)
from ecco_captum.display.page import asset, escape, frame, style, table


def drop_chart(
    conditions: Sequence[str], fractions: np.ndarray, values: np.ndarray, *, across: str, says: str
) -> str:
    r"""
    Lines of a score's drop against the share of tokens, one line a condition.

    Args:
        conditions (sequence of str): What each line is; the first is the method under test.
        fractions (numpy.ndarray): Shape (fractions,), ascending, from 0 to 1.
        values (numpy.ndarray): Shape (conditions, fractions, 3): mean, low and high end.
        across (str): What the horizontal axis shows.
        says (str): What the chart shows, for those who do not see it.

    Returns:
        str: An ``<svg>``.
    """
    named = [f"{100 * one:.{0 if one >= 0.1 else 1}f}%".replace(".0%", "%") for one in fractions]
    places = fractions / fractions[-1]
    return line_chart(conditions, named, values, places=places, across=across, says=says)


def means_chart(
    conditions: Sequence[str], values: np.ndarray, *, says: str, write: Callable[[float], str]
) -> str:
    r"""
    One row a condition: its mean and interval on a common scale.

    Args:
        conditions (sequence of str): What each row is; the first is the method under test.
        values (numpy.ndarray): Shape (conditions, 3): mean, low and high end.
        says (str): What the chart shows, for those who do not see it.
        write (Callable): How a mean is written.

    Returns:
        str: An ``<svg>``.
    """
    labels = [label_lines(name) for name in conditions]
    left = 10 + max(label_width(line) for lines in labels for line in lines)
    low, high = value_range(values)
    scale = (WIDTH - 50 - left - 12) / (high - low)
    parts, y = [], 2.0
    for k, lines in enumerate(labels):
        height = LINE * len(lines) + 6
        middle = y + height / 2
        mean, start, end = (left + 6 + scale * (float(v) - low) for v in values[k])
        parts.append(
            f'<g class="{role(k)}">{label_at(lines, conditions[k], 0, middle)}'
            f'<line x1="{start:.1f}" x2="{end:.1f}" y1="{middle:.1f}" y2="{middle:.1f}" '
            f'stroke-width="1.6"/>{mark_at(k, mean, middle)}'
            f'<text x="{WIDTH - 1}" y="{middle:.1f}" dy=".35em" text-anchor="end">'
            f"{write(float(values[k, 0]))}</text></g>"
        )
        y += height
    zero = left + 6 - scale * low
    axis = (
        f'<line class="ecco-grid" x1="{zero:.1f}" x2="{zero:.1f}" y1="0" y2="{y + 3:.1f}"/>'
        f'<text x="{zero:.1f}" y="{y + 15:.1f}" {CENTRED}>0</text>'
    )
    return svg(axis + "".join(parts), y + 20, says)


TITLE = "Does it hold when tokens are removed?"

_SAYS = "margin:0 0 14px;font-size:18px"
_BETWEEN = "display:block;white-space:nowrap"
_NUMBERS = "overflow-x:auto"
_MEASURES = (
    (
        "Comprehensiveness",
        "How far the score drops when the tokens ranked first are removed.",
        "Higher is better.",
        "share of the tokens removed",
    ),
    (
        "Sufficiency",
        "How far the score drops when only the tokens ranked first are kept.",
        "Lower is better.",
        "share of the tokens kept",
    ),
)


def faithfulness_view(
    conditions: Sequence[str],
    fractions: Sequence[float] | np.ndarray,
    comprehensiveness: np.ndarray,
    sufficiency: np.ndarray,
    *,
    title: str = TITLE,
    subtitle: str = "",
    sentence: str = "",
    note: str = "",
) -> str:
    r"""
    Draw how far a score drops when the tokens that an attribution ranks first are removed or kept.

    Args:
        conditions (sequence of str): What ranks the tokens; the first is the attribution under
            test, the others are what it is compared with.
        fractions (sequence of float): Shape (fractions,), ascending, in (0, 1]: which share of the
            tokens is removed or kept.
        comprehensiveness (numpy.ndarray): Shape (conditions, fractions + 1, 3): mean, low and high
            end of its 95% interval of the drop at each fraction; last, of their mean (AOPC).
        sufficiency (numpy.ndarray): Likewise, with only these tokens kept.
        title (str, optional): The question above the view. Default: ``TITLE``
        subtitle (str, optional): What is drawn: model, unit, how many texts. Default: ``""``
        sentence (str, optional): The answer in plain words. Default: ``""``
        note (str, optional): A sentence below the view. Default: ``""``

    Returns:
        str: An HTML fragment, for a notebook cell or the body of a page.

    Raises:
        ValueError: Shapes do not fit each other, or numbers are not finite or out of order.

    Examples::

        >>> view = faithfulness_view(
        ...     ("gradient x input", "random"),
        ...     (0.1, 0.5),
        ...     comprehensiveness,
        ...     sufficiency,
        ...     sentence="Removing what it ranks first moves the logit further than random tokens.",
        ... )
    """
    names, shares, measures = _checked(conditions, fractions, (comprehensiveness, sufficiency))
    cards = "".join(
        '<div class="ecco-card">'
        + _heading(k)
        + drop_chart(
            names, shares, values[:, :-1], across=_MEASURES[k][3], says=_spoken(k, names, values)
        )
        + _numbers(k, names, shares, values)
        + "</div>"
        for k, values in enumerate(measures)
    )
    body = (
        style(theme_css(), asset("display/frame.css"), asset("display/table.css"))
        + _sentence(sentence)
        + f'<div class="ecco-charts">{cards}</div>'
        + f'<p class="ecco-note">{_explained(shares)}</p>'
    )
    return frame(body, title=title, subtitle=subtitle, note=note)


def faithfulness_strip(
    conditions: Sequence[str],
    fractions: Sequence[float] | np.ndarray,
    comprehensiveness: np.ndarray,
    sufficiency: np.ndarray,
    *,
    title: str = "Does it hold?",
    sentence: str = "",
) -> str:
    r"""
    The same in short, to stand under the picture of an attribution (`saliency_view`'s ``below``).

    Args:
        conditions (sequence of str): What ranks the tokens; the first is the attribution under
            test.
        fractions (sequence of float): Shape (fractions,), ascending, in (0, 1].
        comprehensiveness (numpy.ndarray): Shape (conditions, fractions + 1, 3), as
            `faithfulness_view` takes it.
        sufficiency (numpy.ndarray): Likewise.
        title (str, optional): The question above it. Default: ``"Does it hold?"``
        sentence (str, optional): The answer in plain words. Default: ``""``

    Returns:
        str: An HTML fragment; the view around it brings the colours.

    Raises:
        ValueError: Shapes do not fit each other, or numbers are not finite or out of order.
    """
    names, shares, measures = _checked(conditions, fractions, (comprehensiveness, sufficiency))
    charts, tables = (
        "".join(
            f'<div class="ecco-card">{draw(k, values)}</div>' for k, values in enumerate(measures)
        )
        for draw in (
            lambda k, v: _heading(k, 4) + _means(k, names, v),
            lambda k, v: _named(k, 4) + _numbers(k, names, shares, v),
        )
    )
    return (
        style(asset("display/table.css"))
        + f'<div class="ecco-card ecco-holding"><h3 class="ecco-measure">{_escaped(title)}</h3>'
        + _sentence(sentence)
        + f'<div class="ecco-charts">{charts}</div><p class="ecco-note">{_explained(shares)}</p>'
        + '<details class="ecco-all-numbers"><summary>All numbers</summary>'
        + f'<div class="ecco-charts">{tables}</div></details></div>'
    )


def _checked(
    conditions: Sequence[str],
    fractions: Sequence[float] | np.ndarray,
    measures: tuple[np.ndarray, np.ndarray],
) -> tuple[list[str], np.ndarray, list[np.ndarray]]:
    names = ["".join(visible_parts(name)) for name in conditions]
    shares = np.asarray(fractions, dtype=np.float64)
    if not names:
        raise ValueError("conditions: got none, accepts the attribution under test first")
    ascending = shares.ndim == 1 and shares.size > 0 and (np.diff(shares) > 0).all()
    if not (ascending and shares[0] > 0 and shares[-1] <= 1):
        raise ValueError(f"fractions: got {shares.tolist()}, accepts ascending ones in (0, 1]")
    checked = []
    for (word, *_), given in zip(_MEASURES, measures, strict=True):
        name, values = word.lower(), np.asarray(given, dtype=np.float64)
        shape = (len(names), len(shares) + 1, 3)
        if values.shape != shape:
            raise ValueError(
                f"{name}: got shape {values.shape}, accepts (conditions, fractions + 1, 3) = "
                f"{shape}: mean, low and high end at each fraction, and last of their mean."
            )
        wrong = ~np.isfinite(values).all(axis=-1) | (values[..., 1] > values[..., 2])
        if wrong.any():
            raise ValueError(
                f"{name}: got {values[wrong][0].tolist()}, accepts a finite mean, low and high "
                "end; the usual cause is an interval of too few outputs."
            )
        checked.append(values)
    return names, shares, checked


def _heading(k: int, level: int = 3) -> str:
    _, means, better, _ = _MEASURES[k]
    return _named(k, level) + f'<p class="ecco-means">{means} <b>{better}</b></p>'


def _named(k: int, level: int) -> str:
    return f'<h{level} class="ecco-measure">{_MEASURES[k][0]}</h{level}>'


def _means(k: int, names: Sequence[str], values: np.ndarray) -> str:
    says = _spoken(k, names, values)
    return means_chart(names, values[:, -1], says=says, write=_writer(values))


def _explained(shares: np.ndarray) -> str:
    """What the numbers are: their mean, and their intervals."""
    *before, last = (f"{100 * share:.3g}%" for share in shares)
    listed = f"{', '.join(before)} and {last}" if before else last
    if len(shares) > 6:
        listed = f"{len(shares)} shares from {before[0]} to {last}"
    return f"AOPC: the mean drop over {listed} of the tokens. Bars and brackets: 95% intervals."


def _spoken(k: int, names: Sequence[str], values: np.ndarray) -> str:
    """What a chart shows, for those who do not see it; the table has the rest."""
    means = (f"{n} {format_number(float(v))}" for n, v in zip(names, values[:, -1, 0], strict=True))
    return f"{_MEASURES[k][0]}, AOPC: {', '.join(means)}"


def _numbers(k: int, names: Sequence[str], shares: np.ndarray, values: np.ndarray) -> str:
    verb = _MEASURES[k][3].split()[-1]
    # The mean comes first: it is what a narrow screen shows without scrolling.
    header = [f"Tokens {verb}", "AOPC", *(f"{100 * share:.3g}%" for share in shares)]
    write, ordered = _writer(values), np.roll(values, 1, axis=1)
    rows = [
        [escape(name), *(_cell(*map(write, three)) for three in row)]
        for name, row in zip(names, ordered, strict=True)
    ]
    shown = table(header, rows, numeric=range(1, len(header)))
    # What scrolls must be reachable by keyboard.
    label = f"{_MEASURES[k][0]}, all numbers"
    return (
        f'<div class="ecco-numbers" style="{_NUMBERS}" role="region" tabindex="0" '
        f'aria-label="{label}">{shown}</div>'
    )


def _writer(values: np.ndarray) -> Callable[[float], str]:
    """Three digits for the largest number of a table, and as many decimals for the others."""
    largest = float(np.abs(values).max())
    if not 0.01 <= largest < 1000:
        return format_number
    decimals = 2 - int(np.floor(np.log10(largest)))
    return lambda value: f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", MINUS)


def _cell(mean: str, low: str, high: str) -> str:
    return f'{mean} <span class="ecco-between" style="{_BETWEEN}">[{low}, {high}]</span>'


def _sentence(text: str) -> str:
    return f'<p class="ecco-says" style="{_SAYS}">{_escaped(text)}</p>' if text else ""


def _escaped(text: str) -> str:
    return escape("".join(visible_parts(text)))
