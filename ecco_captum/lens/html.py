"""When each written token was decided, layer by layer: texts and arrays in, static HTML out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ecco_captum.core.text import MINUS, format_fixed, format_number, format_rank, format_share
from ecco_captum.display.heat_table import (
    Cell,
    Field,
    Heat,
    Mark,
    Row,
    checked_labels,
    checked_layers,
    checked_numbers,
    checked_probs,
    checked_ranks,
    checked_texts,
    cut,
    folded,
    heat_blocks,
    heat_table,
    heat_view,
    linear_levels,
    noted,
    quoted,
    rank_levels,
    said,
    scale,
    soft,
    written_rank,
)
from ecco_captum.display.page import escape, table, token

RANKINGS_TITLE = "When was each token decided?"

Value = Literal["rank", "logit", "prob"]

_NAMES: dict[Value, str] = {"rank": "rank", "logit": "logit", "prob": "probability"}
_RANKINGS_WIDTH = 62  # px, for eight letters
_BOLD = "Bold: the layer's own token is the one of the text."
_OPEN_LAYERS = 12  # layers of the table below before the others are folded away
_RANKINGS_AXES = "layers, outputs"
_SHUFFLED_HEADER = "Shuffled"
_LENS = "Cosine and KL divergence compare what each layer's lens predicts with what the model does."
_SHUFFLED = (
    "Shuffled: the same lens on the same model with the output of every block shuffled over the "
    "tokens, which is what the unembedding alone would rank."
)


@dataclass(frozen=True)
class _Readings:
    """What the lens reads at each layer for each output: (layers, outputs), all of them."""

    outputs: list[str]
    layers: list[str]
    ranks: np.ndarray
    logits: np.ndarray
    probs: np.ndarray
    top_texts: list[list[str]]
    top_probs: np.ndarray
    names: list[str]

    def says(self, layer: int, t: int) -> str:
        """Everything about one cell."""
        at = (layer, t)
        return (
            f"{self.layers[layer]}, {self.names[t]} {quoted(self.outputs[t])}: "
            f"rank {written_rank(int(self.ranks[at]))}, "
            f"logit {format_number(float(self.logits[at]))}, "
            f"probability {format_share(float(self.probs[at]))}; "
            f"this layer's own: {quoted(self.top_texts[layer][t])}, "
            f"{format_share(float(self.top_probs[at]))}"
        )


def rankings_view(
    outputs: Sequence[str],
    layers: Sequence[str],
    ranks: np.ndarray,
    logits: np.ndarray,
    probs: np.ndarray,
    top_texts: Sequence[Sequence[str]],
    top_probs: np.ndarray,
    *,
    value: Value = "rank",
    names: Sequence[str] | None = None,
    cosine: np.ndarray | None = None,
    divergence: np.ndarray | None = None,
    shuffled_ranks: np.ndarray | None = None,
    chosen_note: str = "",
    title: str = RANKINGS_TITLE,
    subtitle: str = "",
    sentence: str = "",
    note: str = "",
) -> str:
    r"""
    Draw what each layer would have written in place of each output, and how it ranks the output.

    Args:
        outputs (sequence of str): Texts of the tokens that were written.
        layers (sequence of str): Names of the layers, the embedding first.
        ranks (numpy.ndarray): Shape (layers, outputs), of the written token; 1 is the best.
        logits (numpy.ndarray): Shape (layers, outputs), of the written token.
        probs (numpy.ndarray): Shape (layers, outputs), of the written token, 0 to 1.
        top_texts (sequence of sequences of str): Shape (layers, outputs), each layer's own best
            token.
        top_probs (numpy.ndarray): Shape (layers, outputs), its probability.
        value (str, optional): What the colours mean at first: ``"rank"`` (logarithmic), ``"logit"``
            or ``"prob"``. Default: ``"rank"``
        names (sequence of str, optional): What the columns are, such as ``"position 3"``. Default:
            ``"output 0"`` and so on.
        cosine (numpy.ndarray, optional): Shape (layers, outputs), cosine of what the layer predicts
            with what the model does. Default: not shown.
        divergence (numpy.ndarray, optional): Shape (layers, outputs), Kullback-Leibler divergence
            of the two, in nats. Default: not shown.
        shuffled_ranks (numpy.ndarray, optional): Shape (layers, outputs), the ranks where the
            output of every block is shuffled over the tokens. Default: not shown.
        chosen_note (str, optional): How the outputs were chosen, above the table. Default: ``""``
        title (str, optional): The question above the view. Default: ``RANKINGS_TITLE``
        subtitle (str, optional): What is drawn, such as model and lens. Default: ``""``
        sentence (str, optional): The answer in plain words. Default: ``""``
        note (str, optional): A sentence below the view. Default: ``""``

    Returns:
        str: An HTML fragment, for a notebook cell or the body of a page.

    Raises:
        ValueError: Shapes do not fit each other, numbers are out of their range, or ``value`` is
            none of the three.

    Examples::

        >>> rankings_view(outputs, layers, ranks, logits, probs, top_texts, top_probs)
    """
    if value not in _NAMES:
        raise ValueError(f"value: got {value!r}, accepts {', '.join(map(repr, _NAMES))}")
    outputs, layers = checked_labels("outputs", outputs), checked_layers(layers)
    shape = (len(layers), len(outputs))
    readings = _Readings(
        outputs,
        layers,
        checked_ranks("ranks", ranks, _RANKINGS_AXES, shape),
        checked_numbers("logits", logits, _RANKINGS_AXES, shape),
        checked_probs("probs", probs, _RANKINGS_AXES, shape),
        checked_texts("top_texts", top_texts, _RANKINGS_AXES, shape),
        checked_probs("top_probs", top_probs, _RANKINGS_AXES, shape),
        _names(names, len(outputs)),
    )
    fields = [_field(readings, which) for which in _NAMES]
    shown = next(field for field in fields if field.name == _NAMES[value])
    columns = _columns(readings, cosine, divergence, shuffled_ranks)
    return heat_view(
        soft(f"{chosen_note} {_BOLD}".strip())
        + scale(shown.meaning, *shown.ends)
        + _heat(readings, shown.levels),
        width=_RANKINGS_WIDTH,
        fields=fields,
        colour=shown.name,
        below=_holding(readings.layers, columns, sentence) if columns else said(sentence),
        title=title,
        subtitle=subtitle,
        note=note,
    )


def _names(given: Sequence[str] | None, count: int) -> list[str]:
    if given is None:
        return [f"output {t}" for t in range(count)]
    if len(given) != count:
        raise ValueError(f"names: got {len(given)} for {count} outputs, accepts one for each")
    return list(given)


def _heat(readings: _Readings, levels: np.ndarray) -> str:
    def cell(layer: int, t: int) -> Cell:
        own = readings.ranks[layer, t] == 1
        text, says = cut(readings.top_texts[layer][t]), readings.says(layer, t)
        return Cell(text, says, int(levels[layer, t]), ("own",) if own else ())

    rows = [
        Row(name, [cell(layer, t) for t in range(len(readings.outputs))])
        for layer, name in enumerate(readings.layers)
    ]
    heat = Heat("What each layer would have said", "layer", readings.outputs, rows)
    return heat_blocks(heat, "outputs")


def _field(readings: _Readings, which: Value) -> Field:
    written = "of the token in the text"
    if which == "rank":
        ranks = readings.ranks
        ends = (format_rank(int(ranks.max())), "1")
        texts = _written(ranks.astype(int), format_rank)
        return Field("rank", f"rank {written}, log", texts, rank_levels(ranks), ends, 38)
    if which == "logit":
        logits = readings.logits
        low, high = float(logits.min()), float(logits.max())
        levels, texts = linear_levels(logits, low, high), _written(logits, format_number)
        ends = (format_number(low), format_number(high))
        return Field("logit", f"logit {written}", texts, levels, ends, 46)
    probs = readings.probs
    high = float(probs.max())
    levels, texts = linear_levels(probs, 0.0, high), _written(probs, format_share)
    ends = ("0%", format_share(high))
    return Field("probability", f"probability {written}", texts, levels, ends, 52)


def _written(values: np.ndarray, write: Callable[..., str]) -> list[list[str]]:
    return [[write(value) for value in row] for row in values.tolist()]


def _columns(
    readings: _Readings,
    cosine: np.ndarray | None,
    divergence: np.ndarray | None,
    shuffled_ranks: np.ndarray | None,
) -> list[tuple[str, list[str]]]:
    """Header and cells, layer after layer, of each column of the table below."""
    if cosine is None and divergence is None and shuffled_ranks is None:
        return []
    shape = readings.ranks.shape
    shuffled = None
    if shuffled_ranks is not None:
        shuffled = checked_ranks("shuffled_ranks", shuffled_ranks, _RANKINGS_AXES, shape)
    columns = []
    for name, count in (("Ranked first", _firsts), ("Median rank", _medians)):
        columns.append((name, count(readings.ranks)))
        if shuffled is not None:
            columns.append((_SHUFFLED_HEADER, count(shuffled)))
    if cosine is not None:
        means = checked_numbers("cosine", cosine, _RANKINGS_AXES, shape).mean(axis=1)
        columns.append(("Cosine", [format_fixed(mean) for mean in means.tolist()]))
    if divergence is not None:
        # A layer may rule a likely token out, which is infinitely far.
        infinite = np.isposinf(np.asarray(divergence, dtype=np.float64))
        finite = np.where(infinite, 0, divergence)
        means = checked_numbers("divergence", finite, _RANKINGS_AXES, shape).mean(axis=1)
        rows = zip(means.tolist(), map(np.any, infinite), strict=True)
        columns.append(("KL, nats", ["∞" if far else format_number(mean) for mean, far in rows]))
    return columns


def _firsts(ranks: np.ndarray) -> list[str]:
    return [format_share(float(share)) for share in (ranks == 1).mean(axis=1)]


def _medians(ranks: np.ndarray) -> list[str]:
    medians = np.median(ranks, axis=1).tolist()
    return [f"{m:.1f}" if m % 1 and m < 100 else format_rank(round(m)) for m in medians]


def _holding(layers: Sequence[str], columns: Sequence[tuple[str, list[str]]], sentence: str) -> str:
    """Whether the lens can be trusted: how it agrees with the model, and what chance would do."""
    header = ("Layer", *(name for name, _ in columns))
    parts = zip(layers, *(cells for _, cells in columns), strict=True)
    rows = [[escape(layer), *cells] for layer, *cells in parts]
    step = -(-len(layers) // _OPEN_LAYERS)
    kept = [*rows[:-1:step], rows[-1]]
    whole = _scrolling(header, rows, "Agreement, all layers")
    shown = _scrolling(header, kept, "Agreement of the layers") if step > 1 else whole
    explained = _LENS + (f" {_SHUFFLED}" if _SHUFFLED_HEADER in header else "")
    return (
        '<div class="ecco-card ecco-holding"><h3 class="ecco-measure">Does it hold?</h3>'
        f"{said(sentence)}{shown}{folded('All layers', whole) if step > 1 else ''}"
        f'<p class="ecco-note">{explained}</p></div>'
    )


def _scrolling(header: Sequence[str], rows: Sequence[Sequence[str]], name: str) -> str:
    return (
        '<div class="ecco-numbers" style="overflow-x:auto" role="group" tabindex="0" '
        f'aria-label="{name}">{table(header, rows, numeric=range(1, len(header)))}</div>'
    )


WATCH_TITLE = "Which one does each layer prefer?"

Asked = Literal["after", "at"]

_WATCH_AXES = "positions, layers, watched"
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
    title: str = WATCH_TITLE,
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
        title (str, optional): The question above the view. Default: ``WATCH_TITLE``
        subtitle (str, optional): What is drawn, such as model and prompt. Default: ``""``
        sentence (str, optional): The answer in plain words. Default: ``""``
        note (str, optional): A sentence below the view. Default: ``""``

    Returns:
        str: An HTML fragment, for a notebook cell or the body of a page.

    Raises:
        ValueError: Shapes do not fit each other, or numbers are out of their range.

    Examples::

        >>> watch_view((" is", " are"), layers, ranks, logits, probs, subtitle="The keys to the …")
    """
    watch = _checked_watch(watched, layers, (ranks, logits, probs), places, top_texts, asked)
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


def _checked_watch(
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
    axes = "layers, watched" if one else _WATCH_AXES
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


PREDICTIONS_TITLE = "What would each layer have said?"

_PREDICTIONS_WIDTH = 84  # px, for eleven letters
_NONE = "–"
_TRUE: tuple[Mark, ...] = ("true",)


def predictions_view(
    layers: Sequence[str],
    texts: Sequence[Sequence[str]],
    probs: np.ndarray,
    ranks: Sequence[int | None] | np.ndarray | None,
    is_true: np.ndarray,
    *,
    true: str = "",
    title: str = PREDICTIONS_TITLE,
    subtitle: str = "",
    sentence: str = "",
    note: str = "",
) -> str:
    r"""
    Draw the likeliest next tokens of each layer, and where the true one stands among them.

    Args:
        layers (sequence of str): Names of the layers, the embedding first.
        texts (sequence of sequences of str): Shape (layers, k), the likeliest tokens.
        probs (numpy.ndarray): Shape (layers, k), their probabilities, descending.
        ranks (sequence of int, optional): Shape (layers,), rank of the true token at each layer;
            None where there is none.
        is_true (numpy.ndarray): Shape (layers, k), bool: whether a token is the true one.
        true (str, optional): Text of the true token. Default: not said.
        title (str, optional): The question above the view. Default: ``PREDICTIONS_TITLE``
        subtitle (str, optional): What is drawn, such as model and prompt. Default: ``""``
        sentence (str, optional): The answer in plain words. Default: ``""``
        note (str, optional): A sentence below the view. Default: ``""``

    Returns:
        str: An HTML fragment, for a notebook cell or the body of a page.

    Raises:
        ValueError: Shapes do not fit each other, or probabilities do not descend.

    Examples::

        >>> predictions_view(layers, texts, probs, ranks, is_true, true=" Paris")
    """
    layers = checked_layers(layers)
    values, marked = _checked_predictions(layers, probs, is_true)
    names = checked_texts("texts", texts, "layers, k", values.shape)
    true_ranks = _ranks(ranks, len(layers))
    levels = linear_levels(values, 0.0, float(values.max()))

    def cell(layer: int, k: int) -> Cell:
        text, share = names[layer][k], format_share(float(values[layer, k]))
        says = f"{layers[layer]}, place {k + 1}: {quoted(text)}, probability {share}"
        says += ", the true token" if marked[layer, k] else ""
        rank, marks = true_ranks[layer], _TRUE if marked[layer, k] else ()
        says += f"; rank of the true token {written_rank(rank)}" if rank is not None else ""
        return Cell(cut(text), says, int(levels[layer, k]), marks, share)

    count = values.shape[1]
    ranked = any(rank is not None for rank in true_ranks)
    rows = [
        Row(
            name,
            [cell(layer, k) for k in range(count)],
            [_NONE if rank is None else format_rank(rank)] if ranked else [],
        )
        for layer, (name, rank) in enumerate(zip(layers, true_ranks, strict=True))
    ]
    places = [str(k + 1) for k in range(count)]
    last = ["true rank"] if ranked else []
    heat = Heat(
        "The likeliest tokens of each layer", "layer", places, rows, last, (0,), turned=False
    )
    return heat_view(
        soft(_outlined(true, bool(marked.any())))
        + scale("probability", "0%", format_share(float(values.max())))
        + heat_table(heat),
        width=_PREDICTIONS_WIDTH,
        below=said(sentence),
        title=title,
        subtitle=subtitle,
        note=note,
    )


def _checked_predictions(
    layers: Sequence[str], probs: np.ndarray, is_true: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    count = np.shape(probs)[1] if np.ndim(probs) == 2 else 0
    if not count:
        raise ValueError(
            f"probs: got shape {np.shape(probs)}, accepts (layers, k) with one place or more"
        )
    values = checked_probs("probs", probs, "layers, k", (len(layers), count))
    rising = (np.diff(values, axis=1) > 0).any(axis=1)
    if rising.any():
        got = values[rising][0].tolist()
        raise ValueError(f"probs: got {got}, accepts probabilities that descend in each row")
    marked = np.asarray(is_true)
    if marked.shape != values.shape or marked.dtype != np.bool_:
        raise ValueError(
            f"is_true: got {marked.dtype} of shape {marked.shape}, accepts bool of (layers, k) = "
            f"{values.shape}"
        )
    return values, marked


def _ranks(given: Sequence[int | None] | np.ndarray | None, count: int) -> list[int | None]:
    if given is None:
        return [None] * count
    ranks = list(given)
    if len(ranks) != count:
        raise ValueError(f"ranks: got {len(ranks)}, accepts one for each of {count} layers")
    known = [rank for rank in ranks if rank is not None]
    checked_ranks("ranks", known, "layers", (len(known),))
    return [None if rank is None else int(rank) for rank in ranks]


def _outlined(true: str, marked: bool) -> str:
    name = f"the true token, {quoted(true)}" if true else "the true token"
    if marked:
        return f"Outlined: {name}."
    return f"None of these is {name}." if true else ""


PAIRS_TITLE = "Where does each layer start to prefer the first filler?"

_OPEN_ROWS = 40  # prompts of the table before the others are folded away
_WIDTHS = (40, 48)  # px, for margins of one and of two digits
_NEVER = "never"
_MEANING = "log-probability of the first filler less that of the second, nats"
_ONSET = "The bar marks the layer from which on the first filler stays ahead."


def pairs_view(
    prompts: Sequence[str],
    fillers: Sequence[tuple[str, str]],
    layers: Sequence[str],
    margins: np.ndarray,
    crossings: Sequence[int] | np.ndarray,
    *,
    title: str = PAIRS_TITLE,
    subtitle: str = "",
    sentence: str = "",
    note: str = "",
) -> str:
    r"""
    Draw how far each layer prefers the first of two fillers, prompt by prompt.

    Args:
        prompts (sequence of str): Texts with the blank.
        fillers (sequence of tuples of str): Shape (prompts, 2), the two words for each blank.
        layers (sequence of str): Names of the layers, the embedding first.
        margins (numpy.ndarray): Shape (prompts, layers), log-probability of the first filler less
            that of the second, in nats.
        crossings (sequence of int): Shape (prompts,), the row of ``layers`` from which on the
            margin stays above 0; -1 where it never does.
        title (str, optional): The question above the view. Default: ``PAIRS_TITLE``
        subtitle (str, optional): What is drawn, such as the model. Default: ``""``
        sentence (str, optional): The answer in plain words. Default: ``""``
        note (str, optional): A sentence below the view. Default: ``""``

    Returns:
        str: An HTML fragment, for a notebook cell or the body of a page.

    Raises:
        ValueError: Shapes do not fit each other, or a crossing is no layer.

    Examples::

        >>> pairs_view(("The keys to the cabinet ___",), ((" are", " is"),), layers, margins, [23])
    """
    prompts, layers = checked_labels("prompts", prompts), checked_layers(layers)
    pairs = _pairs(fillers, len(prompts))
    values = checked_numbers("margins", margins, "prompts, layers", (len(prompts), len(layers)))
    onsets = _onsets(crossings, len(prompts), len(layers))
    peak = float(np.abs(values).max())
    levels = linear_levels(values, 0.0, peak)
    rows = [
        _row((prompt, pair), layers, values[k], levels[k], onsets[k])
        for k, (prompt, pair) in enumerate(zip(prompts, pairs, strict=True))
    ]
    signed = bool((values < 0).any())
    low = f"{MINUS}{format_number(peak)}" if signed else "0"
    return heat_view(
        soft(_ONSET)
        + scale(_MEANING, low, format_number(peak), signed=signed)
        + _tables(layers, rows),
        width=_WIDTHS[peak >= 9.95],
        numbered=True,
        signed=signed,
        below=said(sentence),
        title=title,
        subtitle=subtitle,
        note=note,
    )


def _pairs(fillers: Sequence[tuple[str, str]], count: int) -> list[tuple[str, str]]:
    pairs = [tuple(pair) for pair in fillers]
    if len(pairs) != count or any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"fillers: got {pairs!r}, accepts two texts for each of {count} prompts")
    return [(str(first), str(second)) for first, second in pairs]


def _onsets(crossings: Sequence[int] | np.ndarray, count: int, layers: int) -> list[int]:
    values = checked_numbers("crossings", crossings, "prompts", (count,))
    wrong = (values != np.rint(values)) | (values < -1) | (values >= layers)
    if wrong.any():
        raise ValueError(
            f"crossings: got {values[wrong][0]:g}, accepts rows of the layers, 0 to {layers - 1}, "
            "and -1 for never"
        )
    return [int(value) for value in values]


def _row(
    asked: tuple[str, tuple[str, str]],
    layers: Sequence[str],
    values: np.ndarray,
    levels: np.ndarray,
    onset: int,
) -> Row:
    prompt, (first, second) = asked
    words = (quoted(first), quoted(second))
    cells = [
        Cell(
            _short(value),
            f"{quoted(prompt)}, {name}: {_leads(words, value)}"
            + (", ahead from here on" if k == onset else ""),
            int(level),
            ("onset",) if k == onset else (),
        )
        for k, (name, value, level) in enumerate(zip(layers, values.tolist(), levels, strict=True))
    ]
    crossed = layers[onset] if onset >= 0 else _NEVER
    small = f"{cut(first, 40)} / {cut(second, 40)}"
    return Row(prompt, cells, (crossed, format_number(float(values[-1]))), small)


def _leads(words: tuple[str, str], margin: float) -> str:
    if not margin:
        return f"{words[0]} and {words[1]} are level"
    ahead, behind = words if margin > 0 else words[::-1]
    return f"{ahead} leads {behind} by {format_number(abs(margin))} nats"


def _short(value: float) -> str:
    """At most three digits, so that cells can be narrow."""
    if abs(value) >= 99.95:
        return format_number(value)
    return f"{round(value, 1) + 0.0:.1f}".replace("-", MINUS)


def _tables(layers: Sequence[str], rows: Sequence[Row]) -> str:
    def drawn(name: str, part: Sequence[Row]) -> str:
        return heat_table(Heat(name, "prompt", layers, part, ("ahead from", "at the end"), (1,)))

    shown = drawn("Margins of the first filler", rows[:_OPEN_ROWS])
    count = len(rows) - _OPEN_ROWS
    if count <= 0:
        return shown
    more = f"{count} more prompts" if count > 1 else "1 more prompt"
    return shown + folded(more, drawn(f"Margins, {more}", rows[_OPEN_ROWS:]))
