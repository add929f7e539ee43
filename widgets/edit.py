r"""A word of the prompt changed or dropped: what that does to the outputs and to their sources."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import ipywidgets
import numpy as np

from ecco_captum.core.text import format_number, visible
from ecco_captum.display.page import escape
from ecco_captum.widgets.explorer import choice, row

if TYPE_CHECKING:
    from ecco_captum.attribution.record import Attribution

Edit = tuple[int, int, str]
"""The tokens that go, from a start up to an end, and the text in their place."""


class EditBar(ipywidgets.VBox):  # type: ignore[misc]  # it has no types
    r"""
    A word of a prompt to choose, what takes its place, and a button that compares.

    Args:
        words (sequence of tuple): (text, start, end) of each word.
        compare (Callable): Takes the edit, or None to end the comparison.
    """

    def __init__(
        self, words: Sequence[tuple[str, int, int]], compare: Callable[[Edit | None], object]
    ) -> None:
        self._act, self._words = compare, words
        options = [(f"{start}: {visible(text)}", k) for k, (text, start, _) in enumerate(words)]
        self.word = choice(
            "Edit", options, len(options) - 1, tooltip="The word of the prompt that is edited"
        )
        self.text = ipywidgets.Text(
            placeholder="empty: drop the word",
            description="into",
            tooltip="What stands in its place; the space before the word stays",
            style={"description_width": "initial"},
            layout={"width": "230px"},
        )
        self.button = ipywidgets.Button(
            description="Edit and compare",
            tooltip="The same output after the edited prompt, beside the one after this prompt",
            layout={"width": "auto"},
        )
        self.end = ipywidgets.Button(
            description="End comparison", layout={"width": "auto", "display": "none"}
        )
        self.button.on_click(lambda _: self._act(self.edit))
        self.end.on_click(lambda _: self._act(None))
        super().__init__([row(self.word, self.text, self.button, self.end)])

    @property
    def edit(self) -> Edit:
        r"""What the controls ask for; the space before a word stays."""
        text, start, end = self._words[self.word.value]
        blank = text[: len(text) - len(text.lstrip())]
        new = self.text.value
        return start, end, blank + new if new and not new.startswith(blank or "\0") else new

    def says(self, edit: Edit) -> str:
        r"""An edit as a title."""
        start, end, new = edit
        old = next(text for text, *span in self._words if span == [start, end])
        what = f"changed to “{visible(new)}”" if new else "dropped"
        return f"With “{visible(old)}” {what}"


def words_of(record: Attribution) -> list[tuple[str, int, int]]:
    r"""The words of a prompt: text, first token, and the token after the last."""
    length = record.tokens.prompt_length
    words = record.by_word()
    spans = np.asarray(words.spans)[: words.tokens.prompt_length].tolist()
    texts = ["".join(record.tokens.texts[start:end]) for start, end in spans]
    pairs = zip(texts, spans, strict=True)
    return [(text, start, end) for text, (start, end) in pairs if end <= length and text.strip()]


def score_change(before: Attribution, after: Attribution, output: int) -> str:
    r"""What an edit did to the log-probability of one output and of all, as HTML."""
    olds, news = (np.asarray(one.generation.logprobs, float) for one in (before, after))
    if np.isnan(olds).any() or np.isnan(news).any():
        return ""
    tokens = before.generation.tokens
    name = visible(tokens.texts[tokens.prompt_length + output])
    both = [(f"log-probability of “{name}”", olds[output], news[output])]
    both.append((f"of all {len(olds)} outputs", olds.sum(), news.sum()))
    said = "; ".join(
        f"{escape(what)}: {_fixed(old)} → <b>{_fixed(new)}</b> ({_fixed(new - old, sign=True)})"
        for what, old, new in both
    )
    return f'<div class="ecco-message ecco-agreement-line">Score, {said} nats</div>'


def _fixed(value: float, *, sign: bool = False) -> str:
    text = format_number(float(value))
    return f"+{text}" if sign and value > 0 else text
