"""How the lens is shown: ranks over layers, watched tokens, top predictions, minimal pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from ecco_captum.core.text import MINUS, format_fixed, format_number, format_rank, format_share
from ecco_captum.display.heat_table import (
    Cell,
    Field,
    Heat,
    HeatOptions,
    Mark,
    Row,
    cut,
    exact_rank,
    heat_blocks,
    heat_view,
    linear_levels,
    quoted,
    rank_levels,
)
from ecco_captum.display.page import frame, part, render, table, token

if TYPE_CHECKING:
    from ecco_captum.lens.record import (
        LayerPredictions,
        MinimalPairs,
        OrderTest,
        Rankings,
        Value,
        WatchedRankings,
    )

_NAMES: dict[Value, str] = {"rank": "rank", "logit": "logit", "prob": "probability"}
_RANKINGS_WIDTH = 62  # px, for eight letters
_OPEN_LAYERS = 12  # layers of the table below before the others are folded away
_BOLD = "Bold: the layer's top token is the one in the text."
_INDEX = "Below each token: its position in the text, from 0."
_SHUFFLED_HEADER = "Shuffled"
_LENS = (
    "Cosine and KL divergence compare each layer's prediction, read with the lens, with the "
    "model's own."
)
_SHUFFLED = (
    "Shuffled: the same lens on the same model with the output of every block shuffled across "
    "tokens. A token that still ranks first is predicted whatever the text says."
)


def rankings_view(rankings: Rankings, *, chosen_note: str = "") -> Markup:
    """Draws what each layer predicts in place of each output, and how it ranks the output.

    ``chosen_note`` says above the table how the outputs were chosen.
    """
    fields = [_rankings_field(rankings, value) for value in _NAMES]
    shown = next(field for field in fields if field.name == _NAMES[rankings.value])
    return heat_view(
        part("above", f"{chosen_note} {_BOLD} {_INDEX}".strip())
        + part("scale", shown.meaning, *shown.ends)
        + heat_blocks(_rankings_heat(rankings, shown.levels), "outputs"),
        HeatOptions(_RANKINGS_WIDTH, fields, shown.name),
        below=_agreement(rankings),
        title=rankings.title,
        subtitle=rankings.subtitle,
    )


def _rankings_heat(rankings: Rankings, levels: np.ndarray) -> Heat:
    targets, tops, columns = rankings.target_texts, rankings.top_texts, rankings.column_names

    def cell(row: int, name: str, t: int) -> Cell:
        at = (row, t)
        says = (
            f"{name}, {columns[t]} {quoted(targets[t])}: "
            f"rank {exact_rank(int(rankings.ranks[at]))}, "
            f"logit {format_number(float(rankings.logits[at]))}, "
            f"probability {format_share(float(rankings.probs[at]))}; "
            f"the layer's top token: {quoted(tops[row][t])}, "
            f"{format_share(float(rankings.top_probs[at]))}"
        )
        own: tuple[Mark, ...] = ("own",) if rankings.ranks[at] == 1 else ()
        return Cell(cut(tops[row][t]), says, int(levels[at]), own)

    rows = [
        Row(name, [cell(row, name, t) for t in range(len(targets))])
        for row, name in enumerate(rankings.layer_names)
    ]
    positions = [str(position) for position in rankings.positions.tolist()]
    return Heat("What each layer predicts", "layer", targets, rows, indices=positions)


def _rankings_field(rankings: Rankings, value: Value) -> Field:
    of = "of the token in the text"
    if value == "rank":
        ranks = rankings.ranks
        ends = (format_rank(int(ranks.max())), "1")
        texts = _texts(ranks, format_rank)
        return Field("rank", f"rank {of}, log", texts, rank_levels(ranks), ends, 38)
    if value == "logit":
        logits = rankings.logits.astype(np.float64)
        low, high = float(logits.min()), float(logits.max())
        levels, texts = linear_levels(logits, low, high), _texts(logits, format_number)
        ends = (format_number(low), format_number(high))
        return Field("logit", f"logit {of}", texts, levels, ends, 46)
    # Rounding of float32 can take a probability beyond 1.
    probs = np.minimum(rankings.probs.astype(np.float64), 1.0)
    high = float(probs.max())
    levels, texts = linear_levels(probs, 0.0, high), _texts(probs, format_share)
    return Field("probability", f"probability {of}", texts, levels, ("0%", format_share(high)), 52)


def _texts(values: np.ndarray, write: Callable[..., str]) -> list[list[str]]:
    return [[write(value) for value in row] for row in values.tolist()]


def _agreement(rankings: Rankings) -> Markup:
    """Whether the lens can be trusted: how it agrees with the model, and what chance would do."""
    columns = _agreement_columns(rankings)
    header = ("Layer", *(name for name, _ in columns))
    rows = list(zip(rankings.layer_names, *(cells for _, cells in columns), strict=True))
    step = -(-len(rows) // _OPEN_LAYERS)
    whole = _scrolling(header, rows, "Agreement, all layers")
    shown = whole
    if step > 1:
        shown = _scrolling(header, [*rows[:-1:step], rows[-1]], "Agreement of the layers")
        shown += part("folded", "All layers", whole)
    control = "" if rankings.shuffled_ranks is None else f" {_SHUFFLED}"
    return render(
        "lens/agreement.html.j2", sentence=rankings.sentence, table=shown, note=_LENS + control
    )


def _agreement_columns(rankings: Rankings) -> list[tuple[str, list[str]]]:
    """Header and cells, layer after layer."""
    columns = []
    for name, count in (("Ranked first", _firsts), ("Median rank", _medians)):
        columns.append((name, count(rankings.ranks)))
        if rankings.shuffled_ranks is not None:
            columns.append((_SHUFFLED_HEADER, count(rankings.shuffled_ranks)))
    cosines = rankings.cosine.astype(np.float64).mean(axis=1)
    columns.append(("Cosine", [format_fixed(mean) for mean in cosines.tolist()]))
    # A layer may rule a likely token out, which is infinitely far.
    means = rankings.divergence.astype(np.float64).mean(axis=1).tolist()
    columns.append(("KL, nats", [format_number(m) if np.isfinite(m) else "∞" for m in means]))
    return columns


def _firsts(ranks: np.ndarray) -> list[str]:
    return [format_share(float(share)) for share in (ranks == 1).mean(axis=1)]


def _medians(ranks: np.ndarray) -> list[str]:
    medians = np.median(ranks, axis=1).tolist()
    return [f"{m:.1f}" if m % 1 and m < 100 else format_rank(round(m)) for m in medians]


def _scrolling(header: Sequence[str], rows: Sequence[Sequence[str]], name: str) -> Markup:
    return part("scrolling", table(header, rows, numeric=range(1, len(header))), name)


_TURNED = 8  # columns from which on their names are turned
_CHANGES = 6  # changes of preference that are put in words
_WON = "Bold and underlined: the token that the layer ranks higher."


def watch_view(watched: WatchedRankings) -> Markup:
    """Draws how each layer ranks some tokens, and where one overtakes the other."""
    view = _Watch(watched)
    several, compared = len(view.ranks) > 1, len(view.words) > 1
    if several:
        words = [(token(word), view.heat_of_word(k)) for k, word in enumerate(view.words)]
        picture = render("lens/words.html.j2", words=words)
    else:
        picture = view.heat_of_words()
        picture += part("note", view.changes()) if compared else ""
    worst = format_rank(int(watched.ranks.max()))
    narrow = several or len(view.words) >= _TURNED
    return heat_view(
        part("above", _WON if compared else "") + part("scale", "rank, log", worst, "1") + picture,
        HeatOptions(46 if narrow else 84, numbered=True),
        below=part("answer", watched.sentence),
        title=watched.title,
        subtitle=watched.subtitle,
    )


class _Watch:
    """Readings of the watched words: (positions, layers, watched), also of one position."""

    def __init__(self, watched: WatchedRankings) -> None:
        shape = (-1, len(watched.layers), len(watched.watch_ids))
        self.words, self.layers = watched.watch_texts, watched.layer_names
        self.asked = watched.asked
        self.places = watched.places if watched.ranks.ndim == 3 else ()
        self.ranks = watched.ranks.reshape(shape)
        self.logits = watched.logits.reshape(shape)
        self.probs = watched.probs.reshape(shape)
        self.top_texts = watched.top_texts
        self.levels = rank_levels(self.ranks)
        # (positions, layers): the word of the best rank; of equal ones, of the largest logit.
        self.winners = np.lexsort((-self.logits, self.ranks), axis=-1)[..., 0]

    def heat_of_words(self) -> Markup:
        """One position: a column a word, and a line where the preference changes."""
        winners, compared = self.winners[0], len(self.words) > 1
        rows = []
        for layer, name in enumerate(self.layers):
            cells = [
                self._cell((0, layer, k), ("won",) if compared and k == winners[layer] else ())
                for k in range(len(self.words))
            ]
            changed = compared and layer > 0 and winners[layer] != winners[layer - 1]
            rows.append(Row(name, cells, [self.top_texts[0][layer]], crossing=bool(changed)))
        heat = Heat(
            "Ranks of the watched words",
            "layer",
            self.words,
            rows,
            ["the layer's top token"],
            turned=len(self.words) >= _TURNED,
        )
        return heat_blocks(heat, "words")

    def heat_of_word(self, k: int) -> Markup:
        """One word: a column a position, a line above the cells where the preference changes."""

        def marks(position: int, layer: int) -> tuple[Mark, ...]:
            if len(self.words) == 1:
                return ()
            winners = self.winners[position]
            changed = layer > 0 and winners[layer] != winners[layer - 1]
            won: tuple[Mark, ...] = ("won",) if winners[layer] == k else ()
            return (*won, "crossing") if changed else won

        rows = [
            Row(name, [self._cell((p, layer, k), marks(p, layer)) for p in range(len(self.places))])
            for layer, name in enumerate(self.layers)
        ]
        name = f"Ranks of {quoted(self.words[k])} at each position"
        return heat_blocks(Heat(name, "layer", self.places, rows), "positions")

    def _cell(self, at: tuple[int, int, int], marks: tuple[Mark, ...]) -> Cell:
        """One word at one layer and position."""
        position, layer, k = at
        place = f", {self.asked} {quoted(self.places[position])}" if self.places else ""
        says = (
            f"{self.layers[layer]}{place}, {quoted(self.words[k])}: "
            f"rank {exact_rank(int(self.ranks[at]))}, "
            f"logit {format_number(float(self.logits[at]))}, "
            f"probability {format_share(float(self.probs[at]))}; "
            f"the layer's top token: {quoted(self.top_texts[position][layer])}"
        )
        return Cell(format_rank(int(self.ranks[at])), says, int(self.levels[at]), marks)

    def changes(self) -> str:
        """Which word is preferred from where on."""
        winners = self.winners[0]
        at = [layer for layer in range(1, len(winners)) if winners[layer] != winners[layer - 1]]
        if not at:
            who = "Every layer shown" if len(winners) > 1 else self.layers[0].capitalize()
            return f"{who} prefers {quoted(self.words[winners[0]])}."
        changes = [
            f"{quoted(self.words[winners[layer]])} from {self.layers[layer]} on"
            for layer in (0, *at[:_CHANGES])
        ]
        rest = len(at) - _CHANGES
        more = f", and {rest} more change{'s' if rest > 1 else ''}" if rest > 0 else ""
        return f"Preferred: {', '.join(changes)}{more}."


_PREDICTIONS_WIDTH = 84  # px, for eleven letters


def predictions_view(predictions: LayerPredictions) -> Markup:
    """Draws the top next tokens of each layer, and where the true one stands among them."""
    probs, texts = np.minimum(predictions.probs.astype(np.float64), 1.0), predictions.texts
    is_true = predictions.token_ids == predictions.true_id
    levels = linear_levels(probs, 0.0, float(probs.max()))

    def cell(row: int, name: str, k: int) -> Cell:
        text, share = texts[row][k], format_share(float(probs[row, k]))
        says = f"{name}, place {k + 1}: {quoted(text)}, probability {share}"
        says += ", the true token" if is_true[row, k] else ""
        says += f"; rank of the true token {exact_rank(int(predictions.ranks[row]))}"
        marks: tuple[Mark, ...] = ("true",) if is_true[row, k] else ()
        return Cell(cut(text), says, int(levels[row, k]), marks, share)

    count = probs.shape[1]
    rows = [
        Row(name, [cell(row, name, k) for k in range(count)], [format_rank(int(rank))])
        for row, (name, rank) in enumerate(
            zip(predictions.layer_names, predictions.ranks, strict=True)
        )
    ]
    places = [str(k + 1) for k in range(count)]
    heat = Heat("The top tokens of each layer", "layer", places, rows, ["true rank"], (0,), False)
    true = f"the true token, {quoted(predictions.true_text)}"
    outlined = f"Outlined: {true}." if is_true.any() else f"None of these is {true}."
    return heat_view(
        part("above", outlined)
        + part("scale", "probability", "0%", format_share(float(probs.max())))
        + heat_blocks(heat, whole=True),
        HeatOptions(_PREDICTIONS_WIDTH),
        below=part("answer", predictions.sentence),
        title=predictions.title,
        subtitle=predictions.subtitle,
    )


_OPEN_ROWS = 40  # prompts of the table before the others are folded away
_WIDTHS = (40, 48)  # px, for margins of one and of two digits
_MEANING = "log-probability of the first filler less that of the second, nats"
_ONSET = "The bar marks the layer from which on the first filler stays ahead."


def pairs_view(pairs: MinimalPairs) -> Markup:
    """Draws how far each layer prefers the first of two fillers, prompt by prompt."""
    margins = pairs.margins.astype(np.float64)
    peak, signed = float(np.abs(margins).max()), bool((margins < 0).any())
    levels = linear_levels(margins, 0.0, peak)
    rows = [_pair_row(pairs, k, margins[k], levels[k]) for k in range(len(pairs.prompts))]
    low = f"{MINUS}{format_number(peak)}" if signed else "0"
    return heat_view(
        part("above", _ONSET)
        + part("scale", _MEANING, low, format_number(peak), signed)
        + _pair_tables(pairs, rows),
        HeatOptions(_WIDTHS[peak >= 9.95], numbered=True, signed=signed),
        below=part("answer", pairs.sentence),
        title=pairs.title,
        subtitle=pairs.subtitle,
    )


def _pair_row(pairs: MinimalPairs, k: int, margins: np.ndarray, levels: np.ndarray) -> Row:
    prompt, (first, second), names = pairs.prompts[k], pairs.fillers[k], pairs.layer_names
    onset = int(pairs.crossing_rows[k])
    cells = []
    for row, (name, margin) in enumerate(zip(names, margins.tolist(), strict=True)):
        says = f"{quoted(prompt)}, {name}: {_leads(quoted(first), quoted(second), margin)}"
        marks: tuple[Mark, ...] = ("onset",) if row == onset else ()
        says += ", ahead from here on" if marks else ""
        cells.append(Cell(_short(margin), says, int(levels[row]), marks))
    beside = (names[onset] if onset >= 0 else "never", format_number(float(margins[-1])))
    return Row(prompt, cells, beside, f"{cut(first, 40)} / {cut(second, 40)}")


def _leads(first: str, second: str, margin: float) -> str:
    if not margin:
        return f"{first} and {second} are level"
    ahead, behind = (first, second) if margin > 0 else (second, first)
    return f"{ahead} leads {behind} by {format_number(abs(margin))} nats"


def _short(value: float) -> str:
    """At most three digits, so that cells can be narrow."""
    return format_number(value) if abs(value) >= 99.95 else format_fixed(value, 1)


def _pair_tables(pairs: MinimalPairs, rows: Sequence[Row]) -> Markup:
    def heat(name: str, rows: Sequence[Row]) -> Markup:
        beside: Any = ("ahead from", "at the end")
        return heat_blocks(Heat(name, "prompt", pairs.layer_names, rows, beside, (1,)), whole=True)

    shown = heat("Margins of the first filler", rows[:_OPEN_ROWS])
    count = len(rows) - _OPEN_ROWS
    if count > 0:
        rest = heat("Margins of the first filler, further prompts", rows[_OPEN_ROWS:])
        shown += part("folded", f"{count} more prompt{'s' if count > 1 else ''}", rest)
    return shown


def order_view(test: OrderTest) -> Markup:
    """States the lead of one token over others, and its leads in random word orders."""
    body = render("lens/order.html.j2")
    return frame(body, title=test.title, subtitle=test.subtitle, note=test.sentence)
