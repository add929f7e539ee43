"""Tokens and scores to draw, and a stand-in for what an untrusted notebook lets through."""

from __future__ import annotations

from html import escape
from html.parser import HTMLParser

import numpy as np

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


def sample(
    texts: tuple[str, ...], prompt: int, *, signed: bool = False
) -> tuple[Tokens, np.ndarray]:
    """Tokens with random scores of earlier tokens: (outputs, positions), the future 0."""
    rng = np.random.default_rng(7)
    scores = rng.gamma(0.5, size=(len(texts) - prompt, len(texts)))
    if signed:
        scores *= rng.choice([-1, 1], size=scores.shape)
    earlier = np.arange(len(texts)) < prompt + np.arange(len(scores))[:, None]
    return Tokens(np.arange(len(texts)), texts, prompt), np.where(earlier, scores, 0).astype(
        np.float32
    )


def countries(*, signed: bool = False) -> tuple[Tokens, np.ndarray]:
    """A short list, as a model writes it."""
    return sample(PROMPT + OUTPUT, len(PROMPT), signed=signed)


def masked() -> tuple[Tokens, np.ndarray, list[int]]:
    """A text with two masks, what is predicted at them, and where they are."""
    text = ("[CLS]", " The", " capital", " of", " [MASK]", " is", " [MASK]", ".", " [SEP]")
    tokens, scores = sample((*text, " France", " Paris"), len(text))
    scores[:, len(text) :] = 0
    return tokens, scores, [4, 6]


def classified() -> tuple[Tokens, np.ndarray]:
    """A text with a word that speaks against the class it was given."""
    texts = ("This", " film", " is", " not", " bad", " at", " all", "POSITIVE")
    scores = np.array([[0.1, 0.2, 0.05, -1.5, 2.1, 0.3, 0.6, 0]], np.float32)
    return Tokens(np.arange(8), texts, 7), scores


def removal(conditions: int = 4) -> tuple[tuple[str, ...], tuple[float, ...], np.ndarray]:
    """Conditions, fractions and drops of a score: (conditions, fractions + 1, 3)."""
    names = ("gradient × input, L2", "random", "last k", "first k", "a & b", "<i>c</i>")[
        :conditions
    ]
    rng = np.random.default_rng(5)
    means = np.cumsum(rng.gamma(1.0, size=(len(names), 3)), axis=1) - 0.3
    means = np.concatenate([means, means.mean(axis=1, keepdims=True)], axis=1)
    half = rng.uniform(0.05, 0.4, means.shape)
    return names, (0.1, 0.2, 0.5), np.stack([means, means - half, means + half], axis=-1)


def hostile() -> tuple[Tokens, np.ndarray]:
    """Texts that break a careless page, in the prompt and in the outputs."""
    return sample(HOSTILE + HOSTILE, len(HOSTILE))


def long_text(prompt: int, outputs: int) -> tuple[Tokens, np.ndarray]:
    """Many tokens; every fifth word is followed by punctuation, every fortieth by a newline."""
    words = (" alpha", " beta", " gamma", " delta", ",")
    texts = ["\n" if i % 40 == 39 else words[i % 5] for i in range(prompt + outputs)]
    return sample(tuple(texts), prompt)


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
    parser.feed(html)
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
        self.feed(html)
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
