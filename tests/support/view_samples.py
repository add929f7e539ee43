"""Records to draw, and a stand-in for what an untrusted notebook lets through."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from typing import Any

import numpy as np
from record_samples import generation

from ecco_captum import Attribution, Comparison, Faithfulness
from ecco_captum.core.tokens import Tokens

PROMPT = ("The", " countries", " are", ":", "\n", "1", ".", " Austria", "\n", "2", ".")
OUTPUT = (" Belgium", "\n", "3", ".", " Bulgaria", "\n", "4", ".", " Croatia")
HOSTILE = (
    "</script><script>document.title='broken'</script>",
    "<!--",
    "-->",
    "]]>",
    "</style><style>*{display:none}</style>",
    "<img src=x onerror=\"document.title='broken'\">",
    "' onmouseover='x",
    '" onfocus="x',
    "&lt;",
    "\u2028",
    "\u202eevil",
    "\u2067",
    "\ud83d",
    "\x00",
    "\x07a",
    "\r",
    "\x85",
    "\ufeff",
    "\u200b",
    " ",
    "\t",
    "",
    "👨\u200d👩\u200d👧",
    " שלום",
    "Z\u0351\u036b\u0343",
    "$x^2$",
    "a" * 300,
)


def attribution(
    texts: Sequence[str],
    prompt: int,
    scores: Any,
    *,
    method: str = "input_x_gradient",
    **change: Any,
) -> Attribution:
    """Given scores; a task, places of masks and a model's name are the generation's."""
    own = {name: change.pop(name) for name in ("task", "places", "model") if name in change}
    made = replace(generation(Tokens(np.arange(len(texts)), tuple(texts), prompt)), **own)
    return Attribution(made, np.asarray(scores, np.float32), method, **change)


def sample(
    texts: Sequence[str], prompt: int, *, signed: bool = False, **change: Any
) -> Attribution:
    """Random scores of what each output could depend on; all outputs are explained."""
    rng = np.random.default_rng(7)
    scores = rng.gamma(0.5, size=(len(texts) - prompt, len(texts)))
    if signed:
        scores *= rng.choice([-1, 1], size=scores.shape)
    written = change.get("task", "causal") in ("causal", "seq2seq")
    known = prompt + np.arange(len(scores))[:, None] * written
    scores[np.arange(len(texts)) >= known] = 0
    return attribution(texts, prompt, scores, **change)


def only(whole: Attribution, outputs: list[int]) -> Attribution:
    """The same of some outputs alone."""
    return replace(whole, scores=whole.scores[outputs], outputs=np.array(outputs))


def countries(*, signed: bool = False, **change: Any) -> Attribution:
    """A short list, as a model writes it."""
    return sample(PROMPT + OUTPUT, len(PROMPT), signed=signed, **change)


def comparison(outputs: list[int], labels: Sequence[str] = ("plain", "signed")) -> Comparison:
    """Three outputs, the right side signed; on one of them no correlation is defined."""
    left = only(countries(label=labels[0]), outputs)
    scores = np.where(left.scores, countries(signed=True).scores[outputs, ::-1], 0)
    both = left.compare(replace(left, scores=scores, label=labels[1]))
    correlation, overlap = np.array([0.25, np.nan, -0.5]), np.array([0.2, 0.4, 1.0])
    return replace(both, rank_correlation=correlation, overlap=overlap)


def masked(**change: Any) -> Attribution:
    """A text with two masks, and what is predicted at them."""
    text = ("[CLS]", " The", " capital", " of", " [MASK]", " is", " [MASK]", ".", " [SEP]")
    given = {"task": "masked", "places": np.array([4, 6]), **change}
    return sample((*text, " France", " Paris"), len(text), **given)


def classified(sign: int = 1, **change: Any) -> Attribution:
    """A text with a word that lowers the score of the class it was given."""
    texts = ("This", " film", " is", " not", " bad", " at", " all", "POSITIVE")
    scores = sign * np.array([[0.1, 0.2, 0.05, -1.5, 2.1, 0.3, 0.6, 0]])
    return attribution(texts, 7, scores, task="classification", **change)


def hostile(**change: Any) -> Attribution:
    """Texts that break a careless page: in the prompt, in the outputs, and in every name."""
    names = {"model": HOSTILE[0], "label": HOSTILE[5], "versus": HOSTILE[1:3]}
    return sample(HOSTILE + HOSTILE, len(HOSTILE), **{**names, **change})


def long_text(prompt: int, outputs: int) -> Attribution:
    """Many tokens; every fifth word is followed by punctuation, every fortieth by a newline."""
    words = (" alpha", " beta", " gamma", " delta", ",")
    texts = ["\n" if i % 40 == 39 else words[i % 5] for i in range(prompt + outputs)]
    return sample(texts, prompt)


CONDITIONS = ("gradient × input, L2", "random", "last k", "first k", "a & b", "<i>c</i>")


def faithful(
    names: Sequence[str] = CONDITIONS[:4],
    fractions: Sequence[float] = (0.1, 0.2, 0.5),
    **change: Any,
) -> Faithfulness:
    """Random drops of a score; the first name is the attribution's, the rest are baselines."""
    count, steps, orders = len(names), len(fractions), 39
    rng = np.random.default_rng(5)
    means = np.cumsum(rng.gamma(1.0, size=(count, steps)), axis=1) - 0.3
    drops = means[..., None] + rng.normal(0, 0.2, (count, steps, 9))
    at_random = drops[1].mean(axis=-1) + rng.normal(0, 0.3, (orders, steps))
    fields: dict[str, Any] = {
        "attribution": countries(label=names[0]),
        "conditions": ("attribution", *names[1:]),
        "fractions": np.array(fractions, float),
        "comprehensiveness": drops,
        "sufficiency": 2 * drops - 1,
        "outputs": np.arange(9),
        "rank_correlation": 0.1,
        "outputs_per_removal": 100,
        "texts": 130,
        "removals": ("mean", "delete"),
        "random_comprehensiveness": at_random,
        "random_sufficiency": 2 * at_random - 1,
        "matched_comprehensiveness": np.zeros((0, steps)),
        "lds_by_output": np.full((2, 9), 0.4),
        "lds_intervals": np.array([[0.4, 0.3, 0.5], [0.4, 0.2, 0.6]]),
        "p_values": np.array([[0.001, 0.01, 1.0], [0.002, 0.03, 0.998]]),
        "p_by_output": np.full((2, 2, 9), 0.02),
        "settings": {"exclude_ends": True, "orders": orders, "permutations": 999, "seed": 0},
    }
    return Faithfulness(**{**fields, **change})


def embedded(view: str) -> dict[str, Any]:
    """What a view gives its script beside the script's own text."""
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', view, re.DOTALL)
    return dict(json.loads(text))


class Sanitiser(HTMLParser):
    """Keeps what an untrusted notebook keeps.

    Scripts, style sheets and drawings go with their content; unknown tags go, their content stays;
    of the attributes only a few harmless ones stay.
    """

    gone = frozenset({"script", "style", "svg", "iframe", "template", "title", "head"})
    tags = frozenset(
        {"section", "div", "span", "p", "h1", "h2", "h3", "bdi", "b", "i", "details", "summary"}
        | {"h4", "table", "thead", "tbody", "tr", "th", "td"}
    )
    attributes = frozenset({"class", "title", "style", "scope", "open"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.html: list[str] = []
        self.inside_gone = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self.gone:
            self.inside_gone += 1
        elif not self.inside_gone and tag in self.tags:
            kept = "".join(
                f' {name}="{escape(value or "")}"'
                for name, value in attrs
                if name in self.attributes
            )
            self.html.append(f"<{tag}{kept}>")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.gone:
            self.inside_gone -= 1
        elif not self.inside_gone and tag in self.tags:
            self.html.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if not self.inside_gone:
            self.html.append(escape(data))


def sanitised(html: str) -> str:
    """The HTML that an untrusted notebook would show."""
    parser = Sanitiser()
    parser.feed(str(html))
    parser.close()
    return "".join(parser.html)


class Outline(HTMLParser):
    """What a parser finds in HTML: the tags in order, their attributes, and the text between."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.comments: list[str] = []
        self.text = ""
        self.script_texts: list[str] = []
        self.feed(str(html))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "script" and self.cdata_elem == "script":
            self.script_texts.append(data)
        self.text += data


def cells_of(html: str) -> list[list[str]]:
    """The texts of the cells of every table that an untrusted notebook shows, headers too."""
    rows = re.findall(r"<tr>(.*?)</tr>", sanitised(html))
    cell = r"<t[hd][ >].*?</t[hd]>"
    return [[Outline(text).text for text in re.findall(cell, row)] for row in rows]
