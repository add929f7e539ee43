"""How an attribution is shown: hover an output token, and its sources take its shade.

A row of scores explains one output; it covers what that output could depend on. Where a text is
written on, these are the prompt and the outputs before it; where masks are filled or a class is
named, the prompt alone.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from ecco_captum.core.text import format_number, format_share, visible_parts
from ecco_captum.display.colours import LEVELS
from ecco_captum.display.page import (
    asset,
    embed_json,
    folded_table,
    frame,
    one_line,
    render,
    token_name,
    token_text_css,
    view_key,
)

if TYPE_CHECKING:
    from ecco_captum.attribution.record import Attribution, Comparison
    from ecco_captum.core.checks import Task
    from ecco_captum.core.tokens import Tokens

_NEGATIVE = "below 0: it lowered the score"
_SCRIPTS = (
    "display/numbers.js",
    "display/tokens.js",
    "display/phrases.js",
    "display/detail.js",
    "attribution/saliency.js",
)
_SOURCES, _COMPARED_SOURCES = 5, 3  # sources that the plain table names for each output
_UNDEFINED = "–"

_WRITTEN = {"target": "generated", "one": "generated token", "many": "generated tokens"}
_WORDS: dict[Task, dict[str, str]] = {
    "causal": {"source": "prompt", **_WRITTEN},
    "seq2seq": {"source": "source", **_WRITTEN},
    "masked": {
        "source": "text",
        "target": "predicted at the masks",
        "one": "predicted token",
        "many": "predicted tokens",
    },
    "classification": {"source": "text", "target": "class", "one": "class", "many": "classes"},
}


def saliency_view(
    attribution: Attribution,
    title: str = "",
    subtitle: str = "",
    *,
    note: bool = True,
    below: str = "",
    first: int | None = None,
) -> Markup:
    """Draws how much each token weighed for each output; negative scores take the second hue.

    ``title`` and ``subtitle`` stand in place of its own; ``below`` is trusted HTML, drawn under the
    picture; ``first`` the output that is shown first, by default the one with the most concentrated
    sources.
    """
    facts = saliency_data(attribution)
    if first is not None:
        facts["first"] = first
    packed = base64.b64encode(pack_scores(attribution)).decode()
    data = embed_json({**facts, "scores": packed})
    words = {
        "title": title or attribution.title,
        "subtitle": subtitle or attribution.subtitle,
        "note": attribution.note if note else "",
    }
    key = view_key(data, *words.values())
    body = render(
        "attribution/saliency.html.j2",
        css=token_text_css(signed=bool(facts["signed"])),
        data=data,
        plain=_plain_view(attribution, facts),
        script=saliency_script() + asset("display/boot.js"),
        boot=f'boot("{key}", mount);',
        below=Markup(below),
    )
    return frame(body, **words, key=key)


def saliency_script() -> Markup:
    """The script that draws the view: an ES module which exports ``mount(host, data, events)``.

    It is one module cut into files by idea; a page and a widget get the same text.
    """
    return Markup("").join(map(asset, _SCRIPTS))


def saliency_data(attribution: Attribution) -> dict[str, Any]:
    """What the script needs beside the scores.

    ``texts`` (a string for each token, or plain parts and marks in turn), ``prompt`` (how many of
    them are the prompt), ``starts`` (of further texts in it), ``outputs`` (those explained, None
    for all), ``grows`` (whether a row covers earlier outputs), ``places`` (of each output's mask),
    ``words``, ``first`` (the output shown first), ``signed``, ``levels`` of the ramp, ``unit``.
    """
    tokens, generation = attribution.tokens, attribution.generation
    explained, words = _outputs(attribution), _WORDS[generation.task]
    # The masks of a text whose tokens were grouped are no positions of the groups.
    places = None if attribution.spans is not None else generation.places
    parts = map(visible_parts, tokens.texts)
    return {
        "texts": [p[0] if len(p) == 1 else p for p in parts],
        "prompt": tokens.prompt_length,
        "starts": list(tokens.starts),
        "outputs": explained if len(explained) < len(tokens.outputs) else None,
        "grows": words["target"] == "generated",
        "places": [] if places is None else places.tolist(),
        "words": words,
        "first": _first_output(attribution, np.abs(attribution.shares)),
        "signed": bool((attribution.scores < 0).any()),
        "levels": LEVELS,
        "unit": one_line(attribution.unit),
    }


def top_shares(sides: Sequence[Attribution]) -> np.ndarray:
    """For each output of a text, the largest share that any of several attributions gives."""
    tops = np.zeros(max(len(side.tokens.outputs) for side in sides))
    for side in sides:
        largest = np.abs(side.shares).max(axis=1, initial=0.0)
        tops[_outputs(side)] = np.maximum(tops[_outputs(side)], largest)
    return tops


def pack_scores(attribution: Attribution) -> bytes:
    """The scores of what each output could depend on, row after row: float32, little-endian."""
    rows = zip(attribution.scores, attribution.known, strict=True)
    return np.concatenate([row[:known] for row, known in rows]).astype("<f4").tobytes()


def _first_output(attribution: Attribution, shares: np.ndarray) -> int:
    """The output that is shown before the reader points at one, an index among all outputs.

    It is the output with the most concentrated sources, the one that says most at a glance: its
    shares are furthest from an equal share for all (in nats, so that early outputs with few sources
    do not win by that alone). Words go before numbers, and these before punctuation.
    """
    nats = shares * np.log(np.where(shares > 0, shares, 1.0))
    known = np.maximum(attribution.known, 1)
    concentration = np.where(shares.any(axis=1), np.log(known) + nats.sum(axis=1), 0)
    tokens, explained = attribution.tokens, _outputs(attribution)
    texts = [tokens.texts[tokens.prompt_length + t] for t in explained]
    kinds = [any(map(str.isalpha, text)) + any(map(str.isalnum, text)) for text in texts]
    return explained[np.lexsort((-concentration, -np.array(kinds)))[0]]


def _plain_view(attribution: Attribution, facts: dict[str, Any]) -> Markup:
    tokens, words, places = attribution.tokens, facts["words"], facts["places"]
    rows = []
    for t, sources in zip(_outputs(attribution), _top_sources(attribution, _SOURCES), strict=True):
        name = token_name(tokens, tokens.prompt_length + t)
        where = f" at position {places[t]}" if places else ""
        rows.append([name + where, str(t), sources])
    top = "Its top sources, with their share of the score"
    if facts["signed"]:
        top += f" ({_NEGATIVE})"
    header = (words["one"].capitalize(), "Output", top)
    return folded_table(header, rows, numeric=(1,), many=words["many"])


def _outputs(attribution: Attribution) -> list[int]:
    return [int(t) for t in np.asarray(attribution.outputs)]


def _top_sources(attribution: Attribution, count: int) -> Iterator[Markup]:
    """The top sources of each output as text, each shaded, with its share."""
    tokens = attribution.tokens
    for row, known in zip(attribution.shares, attribution.known, strict=True):
        sizes = np.abs(row[:known])
        top = np.argsort(-sizes, kind="stable")[:count].tolist() if sizes.any() else []
        sources = [
            (i, token_name(tokens, i), row[i], format_share(float(row[i])), sizes[i] / sizes.max())
            for i in top
        ]
        yield render("attribution/sources.html.j2", sources=sources)


def comparison_view(comparison: Comparison, agreement: dict[str, np.ndarray]) -> Markup:
    """Draws two attributions of the same text; what is chosen in one is chosen in the other.

    Each side shows shares of its own sum, both on one scale. ``agreement`` maps the name of a
    measure to its values, (explained,), NaN where it is not defined.
    """
    sides = (comparison.left, comparison.right)
    labels = [one_line(label) for label in comparison.labels]
    signed = [bool((side.scores < 0).any()) for side in sides]
    measures = [_measure(name, values) for name, values in agreement.items()]
    data = {
        **saliency_data(comparison.left),
        "first": _first_output(
            comparison.left, np.mean([np.abs(side.shares) for side in sides], axis=0)
        ),
        "agreement": measures,
        "tops": top_shares(sides).tolist(),
        "sides": [
            {"label": label, "signed": below, "scores": base64.b64encode(packed).decode()}
            for label, below, packed in zip(labels, signed, map(pack_scores, sides), strict=True)
        ],
    }
    embedded = embed_json(data)
    subtitle = f"{comparison.left.subtitle} | {comparison.right.subtitle}"
    note = "Agreement does not show that either is right; test the faithfulness of each."
    key = view_key(embedded, comparison.title, subtitle, note)
    header = [
        f"{label}: top sources, with their share" + (f" ({_NEGATIVE})" if below else "")
        for label, below in zip(labels, signed, strict=True)
    ]
    body = render(
        "attribution/saliency.html.j2",
        css=token_text_css(signed=any(signed)) + asset("attribution/comparison.css"),
        data=embedded,
        plain=_plain_comparison(comparison, header, measures),
        script=saliency_script() + asset("attribution/comparison.js") + asset("display/boot.js"),
        boot=f'boot("{key}", mountBoth);',
        below="",
    )
    return frame(body, title=comparison.title, subtitle=subtitle, note=note, key=key)


def _measure(name: str, values: np.ndarray) -> dict[str, Any]:
    """A measure of agreement as it is written: the mean of what is defined, and each value."""
    defined = values[~np.isnan(values)]
    mean = format_number(float(defined.mean())) if defined.size else _UNDEFINED
    texts = [_UNDEFINED if np.isnan(v) else format_number(float(v)) for v in values]
    return {"name": one_line(name), "mean": mean, "values": texts}


def _plain_comparison(
    comparison: Comparison, sources: list[str], measures: list[dict[str, Any]]
) -> Markup:
    left, words = comparison.left, _WORDS[comparison.left.generation.task]
    tokens: Tokens = left.tokens
    sides = (_top_sources(side, _COMPARED_SOURCES) for side in (left, comparison.right))
    rows = [
        [
            token_name(tokens, tokens.prompt_length + t),
            str(t),
            *both,
            *(measure["values"][k] for measure in measures),
        ]
        for k, (t, *both) in enumerate(zip(_outputs(left), *sides, strict=True))
    ]
    header = [words["one"].capitalize(), "Output", *sources, *(m["name"] for m in measures)]
    numeric = (1, *range(4, len(header)))
    means = ", ".join(f"{measure['name']} {measure['mean']}" for measure in measures)
    many = words["one"] if len(rows) == 1 else words["many"]
    table = folded_table(header, rows, numeric=numeric, many=words["many"])
    return Markup("<p>Agreement, mean of {} {}: {}.</p>").format(len(rows), many, means) + table
