"""Two attributions of one text, side by side: tokens and arrays in, static HTML out."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

from ecco_captum.attribution.html import (
    NEGATIVE,
    checked_outputs,
    checked_scores,
    first_output,
    known_lengths,
    pack_scores,
    saliency_data,
    saliency_script,
    strongest_sources,
    words_of,
)
from ecco_captum.core.text import format_number, visible_parts
from ecco_captum.core.tokens import Tokens
from ecco_captum.display.page import asset, embed_json, escape, frame, style, view_key
from ecco_captum.display.token_text import folded_table, token_name, token_text_css
from ecco_captum.generation.record import Task

TITLE = "Do both find the same sources?"

_SOURCES = 3  # sources that the plain table names on each side
_UNDEFINED = "–"


class _Measure(TypedDict):
    """A measure of agreement as it is written: the mean of what is defined, and each value."""

    name: str
    mean: str
    values: list[str]


def comparison_view(
    tokens: Tokens,
    left: np.ndarray,
    right: np.ndarray,
    *,
    outputs: Sequence[int] | np.ndarray | None = None,
    task: Task = "causal",
    labels: tuple[str, str] = ("left", "right"),
    agreement: Mapping[str, np.ndarray] | None = None,
    title: str = TITLE,
    subtitle: str = "",
    note: str = "",
) -> str:
    r"""
    Draw two attributions of the same text; what is chosen in one is chosen in the other.

    Args:
        tokens (Tokens): Prompt (source, text) and output tokens; of a classifier, the outputs are
            the names of classes.
        left (numpy.ndarray): Shape (explained, positions), raw scores, as `saliency_view` takes
            them.
        right (numpy.ndarray): Shape (explained, positions), those of the other attribution; units
            may differ, since each side shows shares of its own sum.
        outputs (sequence of int, optional): Which outputs the rows explain, ascending.
            Default: all.
        task (str, optional): What the outputs are. Default: ``"causal"``
        labels (tuple of str, optional): What the two are, such as their methods.
            Default: ``("left", "right")``
        agreement (mapping, optional): From the name of a measure to its values, shape (explained,);
            NaN where it is not defined. Default: none.
        title (str, optional): The question above the view. Default: ``TITLE``
        subtitle (str, optional): What is drawn, such as the model. Default: ``""``
        note (str, optional): A sentence below the view. Default: ``""``

    Returns:
        str: An HTML fragment, for a notebook cell or the body of a page.

    Raises:
        ValueError: Scores do not fit the tokens, or measures the outputs.

    Examples::

        >>> comparison_view(
        ...     first.tokens,
        ...     first.scores,
        ...     second.scores,
        ...     labels=(first.method, second.method),
        ...     agreement={"Spearman": correlations},
        ... )
    """
    sides = [checked_scores(tokens, side, outputs=outputs, task=task) for side in (left, right)]
    explained = checked_outputs(tokens, outputs)
    shown = (_visible(labels[0]), _visible(labels[1]))
    signed = [bool((side < 0).any()) for side in sides]
    packs = [pack_scores(tokens, side, outputs=outputs, task=task) for side in sides]
    measures = _measures(agreement or {}, len(explained))
    data = saliency_data(tokens, sides[0], outputs=outputs, task=task)
    data["first"] = first_output(tokens, _mean_shares(sides), outputs=outputs, task=task)
    data["agreement"] = measures
    data["sides"] = [
        {"label": label, "signed": below, "scores": base64.b64encode(packed).decode()}
        for label, below, packed in zip(shown, signed, packs, strict=True)
    ]
    embedded = embed_json(data)
    key = view_key(embedded, title, subtitle, note)
    rows = _plain_rows(tokens, sides, explained, task)
    header = [
        f"{label}: strongest sources, with their share" + (f" ({NEGATIVE})" if below else "")
        for label, below in zip(shown, signed, strict=True)
    ]
    script = saliency_script() + asset("attribution/comparison.js") + asset("display/boot.js")
    body = (
        style(token_text_css(signed=any(signed)), asset("attribution/comparison.css"))
        + f'{embedded}<div class="ecco-swap">{_plain_view(rows, header, measures, task)}</div>'
        + f'<script type="module">\n{script}boot("{key}", mountBoth);\n</script>'
    )
    return frame(body, title=title, subtitle=subtitle, note=note, key=key)


def _visible(label: str) -> str:
    return "".join(visible_parts(label))


def _mean_shares(sides: Sequence[np.ndarray]) -> np.ndarray:
    """(explained, positions): the mean of both sides' magnitudes, each over its sum."""
    sizes = [np.abs(side, dtype=np.float64) for side in sides]
    sums = [
        np.maximum(size.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny) for size in sizes
    ]
    return (sizes[0] / sums[0] + sizes[1] / sums[1]) / 2


def _measures(agreement: Mapping[str, np.ndarray], count: int) -> list[_Measure]:
    measures: list[_Measure] = []
    for name, given in agreement.items():
        values = np.asarray(given, dtype=np.float64)
        if values.shape != (count,) or np.isinf(values).any():
            raise ValueError(
                f"agreement: got shape {values.shape} for {name!r}, accepts ({count},): a finite "
                "number, or NaN, for each explained output."
            )
        defined = values[~np.isnan(values)]
        mean = format_number(float(defined.mean())) if defined.size else _UNDEFINED
        written = [_UNDEFINED if np.isnan(v) else format_number(float(v)) for v in values]
        measures.append({"name": _visible(name), "mean": mean, "values": written})
    return measures


def _plain_rows(
    tokens: Tokens, sides: Sequence[np.ndarray], explained: np.ndarray, task: Task
) -> list[list[str]]:
    known = known_lengths(tokens, explained, task)
    return [
        [
            token_name(tokens, tokens.prompt_length + int(t)),
            str(t),
            *(strongest_sources(tokens, side[k, : known[k]], _SOURCES) for side in sides),
        ]
        for k, t in enumerate(explained)
    ]


def _plain_view(
    rows: Sequence[Sequence[str]],
    sources: Sequence[str],
    measures: Sequence[_Measure],
    task: Task,
) -> str:
    words = words_of(task)
    header = [words["one"].capitalize(), "Output", *sources, *(m["name"] for m in measures)]
    whole = [[*row, *(m["values"][k] for m in measures)] for k, row in enumerate(rows)]
    numeric = (1, *range(4, len(header)))
    means = ", ".join(f"{m['name']} {m['mean']}" for m in measures)
    many = words["one"] if len(rows) == 1 else words["many"]
    said = f"<p>Agreement, mean of {len(rows)} {many}: {escape(means)}.</p>" if means else ""
    return said + folded_table(header, whole, numeric=numeric, many=words["many"])
