"""What each layer says, on a terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from ecco_captum.core.text import format_fixed, format_number, format_share, visible
from ecco_captum.display.terminal import spread, table, with_verdict

if TYPE_CHECKING:
    from ecco_captum.lens.record import (
        LayerPredictions,
        MinimalPairs,
        OrderTest,
        Rankings,
        WatchedRankings,
    )

_BEST = 5  # tokens of a layer


def rankings_blocks(rankings: Rankings) -> list[RenderableType]:
    """Each token at a few layers, and from where on it stays first."""
    shown, layers, rows = spread(len(rankings.layers)), list(rankings.layers), []
    cells = _cells(rankings)
    for column, text in enumerate(rankings.target_texts):
        decided = rankings.decided[column]
        first = rankings.layer_names[layers.index(decided)] if decided >= 0 else "–"
        rows.append((visible(text), *(cells[row][column] for row in shown), first))
    names = [rankings.layer_names[row] for row in shown]
    made = table(["TOKEN", *names, "FIRST FROM"], rows, {0, len(names) + 1})
    said = with_verdict(rankings.sentence, rankings.verdict)
    return [rankings.subtitle, made, said]


def watched_blocks(watched: WatchedRankings) -> list[RenderableType]:
    """The rank of each watched token at every layer, and the token that is first there.

    Of several positions, a row for each at the last of the layers.
    """
    names = [visible(text) for text in watched.watch_texts]
    if watched.ranks.ndim == 3:
        places = zip(watched.positions, watched.places, watched.ranks[:, -1], strict=True)
        rows = [(position, visible(place), *_ranks(ranks)) for position, place, ranks in places]
        made = table(["POSITION", "TOKEN", *names], rows, {1})
    else:
        layers = zip(watched.layer_names, watched.ranks, watched.top_texts[0], strict=True)
        rows = [(layer, *_ranks(ranks), visible(top)) for layer, ranks, top in layers]
        made = table(["LAYER", *names, "TOP TOKEN"], rows, {0, len(names) + 1})
    return [watched.subtitle, made, watched.sentence]


def predictions_blocks(predictions: LayerPredictions) -> list[RenderableType]:
    """The best tokens of each layer, and the rank of the token that stands there."""
    rows = []
    each = zip(
        *(predictions.layer_names, predictions.ranks, predictions.texts, predictions.probs),
        strict=True,
    )
    for layer, rank, texts, probs in each:
        best = zip(texts[:_BEST], probs.tolist(), strict=False)
        listed = "   ".join(f"{visible(text)} {format_share(prob)}" for text, prob in best)
        rows.append((layer, _rank(int(rank)), listed))
    header = ["LAYER", f"RANK OF {visible(predictions.true_text)}", "TOP TOKENS"]
    return [predictions.subtitle, table(header, rows, {0, 2}), predictions.sentence]


def pairs_blocks(pairs: MinimalPairs) -> list[RenderableType]:
    """The accuracy and the median margin at a few layers."""
    rows = []
    for row in spread(len(pairs.layers), 9):
        part, low, high = pairs.accuracy[row]
        margin = format_number(float(np.median(pairs.margins[:, row])))
        rows.append((pairs.layer_names[row], f"{part:.0%} [{low:.0%}, {high:.0%}]", margin))
    header = ["LAYER", "FIRST FILLER PREFERRED", "MEDIAN MARGIN, NATS"]
    return [pairs.subtitle, table(header, rows, {0}), pairs.sentence]


def order_blocks(order: OrderTest) -> list[RenderableType]:
    """The lead in the text's own order and in random ones."""
    shuffled = order.shuffled
    rows = [
        ("its own", format_fixed(order.lead), "", ""),
        ("random", *map(format_fixed, (shuffled.mean(), shuffled.min(), shuffled.max()))),
    ]
    header = ["ORDER", "LEAD, NATS", "LEAST", "MOST"]
    said = with_verdict(order.sentence, order.verdict)
    return [order.subtitle, table(header, rows, {0}), said]


def _cells(rankings: Rankings) -> list[list[Text]]:
    """(layers, columns), what the record shows; a rank of 1 stands out."""
    values = {"rank": rankings.ranks, "logit": rankings.logits, "prob": rankings.probs}
    writers: dict[str, Callable[[Any], str]] = {
        "rank": str,
        "logit": format_fixed,
        "prob": format_share,
    }
    write = writers[rankings.value]
    shown = values[rankings.value].tolist()
    return [
        [Text(write(value), _style(rank)) for value, rank in zip(row, ranks, strict=True)]
        for row, ranks in zip(shown, rankings.ranks.tolist(), strict=True)
    ]


def _rank(rank: int) -> Text:
    return Text(str(rank), _style(rank))


def _style(rank: int) -> str:
    return "bold green" if rank == 1 else ""


def _ranks(ranks: np.ndarray) -> list[Text]:
    return [_rank(rank) for rank in ranks.tolist()]
