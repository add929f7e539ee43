"""When each written token was decided, layer by layer: texts and arrays in, static HTML out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ecco_captum.heat_data import (
    Cell,
    Field,
    Heat,
    Row,
    checked_labels,
    checked_layers,
    checked_numbers,
    checked_probs,
    checked_ranks,
    checked_texts,
    cut,
    linear_levels,
    quoted,
    rank_levels,
    written_rank,
)
from ecco_captum.heat_html import folded, heat_blocks, heat_view, said, scale, soft
from ecco_captum.html import escape, table
from ecco_captum.legible import format_fixed, format_number, format_rank, format_share

TITLE = "When was each token decided?"

Value = Literal["rank", "logit", "prob"]

_NAMES: dict[Value, str] = {"rank": "rank", "logit": "logit", "prob": "probability"}
_WIDTH = 62  # px, for eight letters
_BOLD = "Bold: the layer's own token is the one of the text."
_OPEN_LAYERS = 12  # layers of the table below before the others are folded away
_AXES = "layers, outputs"
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
    title: str = TITLE,
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
        title (str, optional): The question above the view. Default: ``TITLE``
        subtitle (str, optional): What is drawn, such as model and lens. Default: ``""``
        sentence (str, optional): The answer in plain words. Default: ``""``
        note (str, optional): A sentence below the view. Default: ``""``

    Returns:
        str: An HTML fragment, fit for a notebook cell and for the body of `ecco_captum.html.page`.

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
        checked_ranks("ranks", ranks, _AXES, shape),
        checked_numbers("logits", logits, _AXES, shape),
        checked_probs("probs", probs, _AXES, shape),
        checked_texts("top_texts", top_texts, _AXES, shape),
        checked_probs("top_probs", top_probs, _AXES, shape),
        _names(names, len(outputs)),
    )
    fields = [_field(readings, which) for which in _NAMES]
    shown = next(field for field in fields if field.name == _NAMES[value])
    columns = _columns(readings, cosine, divergence, shuffled_ranks)
    return heat_view(
        soft(f"{chosen_note} {_BOLD}".strip())
        + scale(shown.meaning, *shown.ends)
        + _heat(readings, shown.levels),
        width=_WIDTH,
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
        shuffled = checked_ranks("shuffled_ranks", shuffled_ranks, _AXES, shape)
    columns = []
    for name, count in (("Ranked first", _firsts), ("Median rank", _medians)):
        columns.append((name, count(readings.ranks)))
        if shuffled is not None:
            columns.append((_SHUFFLED_HEADER, count(shuffled)))
    if cosine is not None:
        means = checked_numbers("cosine", cosine, _AXES, shape).mean(axis=1)
        columns.append(("Cosine", [format_fixed(mean) for mean in means.tolist()]))
    if divergence is not None:
        # A layer may rule a likely token out, which is infinitely far.
        infinite = np.isposinf(np.asarray(divergence, dtype=np.float64))
        finite = np.where(infinite, 0, divergence)
        means = checked_numbers("divergence", finite, _AXES, shape).mean(axis=1)
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
