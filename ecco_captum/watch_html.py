"""Which of some watched words each layer prefers: words and arrays in, static HTML out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ecco_captum.heat_data import (
    Cell,
    Heat,
    Mark,
    Row,
    checked_labels,
    checked_layers,
    checked_numbers,
    checked_probs,
    checked_ranks,
    checked_texts,
    quoted,
    rank_levels,
    written_rank,
)
from ecco_captum.heat_html import heat_blocks, heat_view, noted, said, scale, soft
from ecco_captum.html import token
from ecco_captum.legible import format_number, format_rank, format_share

TITLE = "Which one does each layer prefer?"

Asked = Literal["after", "at"]

_AXES = "positions, layers, watched"
_TURNED = 8  # columns from which on their names are turned
_CHANGES = 6  # changes of preference that are told in words
_WON = "Bold and underlined: the word that the layer ranks higher."


@dataclass(frozen=True)
class _Watch:
    """Readings of the watched words: (positions, layers, watched), all of them."""

    watched: list[str]
    layers: list[str]
    places: list[str]
    ranks: np.ndarray
    logits: np.ndarray
    probs: np.ndarray
    top_texts: list[list[str]]
    asked: Asked

    def winners(self) -> np.ndarray:
        """(positions, layers): the word of the best rank; of equal ones, of the largest logit."""
        order = np.lexsort((-self.logits, self.ranks), axis=-1)
        return np.asarray(order[..., 0])

    def cell(self, at: tuple[int, int, int], level: int, marks: tuple[Mark, ...]) -> Cell:
        """One word at one layer and position."""
        position, layer, word = at
        place = f", {self.asked} {quoted(self.places[position])}" if self.places else ""
        says = (
            f"{self.layers[layer]}{place}, {quoted(self.watched[word])}: "
            f"rank {written_rank(int(self.ranks[at]))}, "
            f"logit {format_number(float(self.logits[at]))}, "
            f"probability {format_share(float(self.probs[at]))}"
        )
        if self.top_texts:
            says += f"; this layer's own: {quoted(self.top_texts[position][layer])}"
        return Cell(format_rank(int(self.ranks[at])), says, level, marks)


def watch_view(
    watched: Sequence[str],
    layers: Sequence[str],
    ranks: np.ndarray,
    logits: np.ndarray,
    probs: np.ndarray,
    *,
    places: Sequence[str] | None = None,
    top_texts: Sequence[str] | Sequence[Sequence[str]] | None = None,
    asked: Asked = "after",
    title: str = TITLE,
    subtitle: str = "",
    sentence: str = "",
    note: str = "",
) -> str:
    r"""
    Draw how each layer ranks some words, and where one overtakes the other.

    Args:
        watched (sequence of str): Texts of the watched words.
        layers (sequence of str): Names of the layers, the embedding first.
        ranks (numpy.ndarray): Shape (layers, watched), 1 is the best; or (positions, layers,
            watched).
        logits (numpy.ndarray): Likewise, their logits.
        probs (numpy.ndarray): Likewise, their probabilities, 0 to 1.
        places (sequence of str, optional): Shape (positions,), the token that is read at each
            position; needed where there are several. Default: not said.
        top_texts (sequence, optional): Each layer's own best token, shape (layers,) or (positions,
            layers). Default: not shown.
        asked (str, optional): Whether the words compete ``"after"`` the token that is read at a
            position, or ``"at"`` it. Default: ``"after"``
        title (str, optional): The question above the view. Default: ``TITLE``
        subtitle (str, optional): What is drawn, such as model and prompt. Default: ``""``
        sentence (str, optional): The answer in plain words. Default: ``""``
        note (str, optional): A sentence below the view. Default: ``""``

    Returns:
        str: An HTML fragment, fit for a notebook cell and for the body of `ecco_captum.html.page`.

    Raises:
        ValueError: Shapes do not fit each other, or numbers are out of their range.

    Examples::

        >>> watch_view((" is", " are"), layers, ranks, logits, probs, subtitle="The keys to the …")
    """
    watch = _checked(watched, layers, (ranks, logits, probs), places, top_texts, asked)
    several, compared = len(watch.ranks) > 1, len(watch.watched) > 1
    levels, winners = rank_levels(watch.ranks), watch.winners()
    worst = format_rank(int(watch.ranks.max()))
    if several:
        drawn = "".join(
            f'<div><h3 class="ecco-measure">{token(word)}</h3>'
            f"{_positions(watch, k, levels, winners)}</div>"
            for k, word in enumerate(watch.watched)
        )
        drawn = f'<div class="ecco-words">{drawn}</div>'
    else:
        drawn = _words(watch, levels[0], winners[0])
        drawn += noted(_changes(watch, winners[0])) if compared else ""
    picture = soft(_WON if compared else "") + scale("rank, log", worst, "1") + drawn
    return heat_view(
        picture,
        width=46 if several or len(watch.watched) >= _TURNED else 84,
        numbered=True,
        below=said(sentence),
        title=title,
        subtitle=subtitle,
        note=note,
    )


def _checked(
    watched: Sequence[str],
    layers: Sequence[str],
    numbers: tuple[np.ndarray, np.ndarray, np.ndarray],
    places: Sequence[str] | None,
    top_texts: Sequence[str] | Sequence[Sequence[str]] | None,
    asked: Asked,
) -> _Watch:
    watched, layers = checked_labels("watched", watched), checked_layers(layers)
    first = np.asarray(numbers[0])
    one = first.ndim == 2
    count = 1 if one or not first.ndim else len(first)
    if not count:
        raise ValueError("ranks: got no position, accepts one or more")
    named = [] if places is None else checked_labels("places", places)
    if (named or count > 1) and len(named) != count:
        raise ValueError(
            f"places: got {len(named)} texts for {count} positions, accepts one for each"
        )
    shape = (len(layers), len(watched)) if one else (count, len(layers), len(watched))
    axes = "layers, watched" if one else _AXES
    ranks = checked_ranks("ranks", numbers[0], axes, shape)
    logits = checked_numbers("logits", numbers[1], axes, shape)
    probs = checked_probs("probs", numbers[2], axes, shape)
    tops: list[list[str]] = []
    if top_texts is not None:
        flat = all(isinstance(text, str) for text in top_texts)
        nested = [[str(text) for text in top_texts]] if flat else [list(row) for row in top_texts]
        tops = checked_texts("top_texts", nested, "positions, layers", (count, len(layers)))
    whole = (count, len(layers), len(watched))
    ranks, logits, probs = (values.reshape(whole) for values in (ranks, logits, probs))
    return _Watch(watched, layers, named, ranks, logits, probs, tops, asked)


def _words(watch: _Watch, levels: np.ndarray, winners: np.ndarray) -> str:
    """One position: a column a word, and a line where the preference changes."""
    compared, rows = len(watch.watched) > 1, []
    for layer, name in enumerate(watch.layers):
        cells = [
            watch.cell(
                (0, layer, word),
                int(levels[layer, word]),
                ("won",) if compared and word == winners[layer] else (),
            )
            for word in range(len(watch.watched))
        ]
        beside = [watch.top_texts[0][layer]] if watch.top_texts else []
        changed = compared and layer > 0 and winners[layer] != winners[layer - 1]
        rows.append(Row(name, cells, beside, crossing=bool(changed)))
    last = ["this layer's own"] if watch.top_texts else []
    turned = len(watch.watched) >= _TURNED
    heat = Heat("Ranks of the watched words", "layer", watch.watched, rows, last, turned=turned)
    return heat_blocks(heat, "words")


def _positions(watch: _Watch, word: int, levels: np.ndarray, winners: np.ndarray) -> str:
    """One word: a column a position, and a line above the cells where the preference changes."""

    def marks(position: int, layer: int) -> tuple[Mark, ...]:
        if len(watch.watched) == 1:
            return ()
        row = winners[position]
        changed = layer > 0 and row[layer] != row[layer - 1]
        won: tuple[Mark, ...] = ("won",) if row[layer] == word else ()
        return (*won, "crossing") if changed else won

    rows = [
        Row(
            name,
            [
                watch.cell(
                    (position, layer, word),
                    int(levels[position, layer, word]),
                    marks(position, layer),
                )
                for position in range(len(watch.places))
            ],
        )
        for layer, name in enumerate(watch.layers)
    ]
    name = f"Ranks of {quoted(watch.watched[word])} at each position"
    return heat_blocks(Heat(name, "layer", watch.places, rows), "positions")


def _changes(watch: _Watch, winners: np.ndarray) -> str:
    """Which word is preferred from where on."""
    at = [layer for layer in range(1, len(winners)) if winners[layer] != winners[layer - 1]]
    if not at:
        who = "Every layer shown" if len(winners) > 1 else watch.layers[0].capitalize()
        return f"{who} prefers {quoted(watch.watched[winners[0]])}."
    told = [
        f"{quoted(watch.watched[winners[layer]])} from {watch.layers[layer]} on"
        for layer in (0, *at[:_CHANGES])
    ]
    rest = len(at) - _CHANGES
    more = f", and {rest} more change{'s' if rest > 1 else ''}" if rest > 0 else ""
    return f"Preferred: {', '.join(told)}{more}."
