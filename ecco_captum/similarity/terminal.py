"""How alike layers are, on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import RenderableType

from ecco_captum.core.text import format_fixed
from ecco_captum.display.terminal import spread, table, with_verdict

if TYPE_CHECKING:
    from ecco_captum.similarity.record import CanonicalCorrelations, Similarity

_LISTED = 10


def similarity_blocks(similarity: Similarity) -> list[RenderableType]:
    """A few layers, in brackets where two are no more similar than chance."""
    shown, columns = spread(len(similarity.rows)), spread(len(similarity.columns))
    chance, rows = similarity.within_chance, []
    for i in shown:
        values = zip(similarity.values[i, columns], chance[i, columns], strict=True)
        cells = (f"({value:.2f})" if within else f"{value:.2f} " for value, within in values)
        rows.append((similarity.rows[i], *cells))
    made = table(["", *(similarity.columns[j] for j in columns)], rows, {0})
    return [similarity.subtitle, made, with_verdict(similarity.sentence, similarity.verdict)]


def canonical_blocks(canonical: CanonicalCorrelations) -> list[RenderableType]:
    """The largest correlations, and how much each counts."""
    pairs = zip(canonical.correlations[:_LISTED], canonical.weights, strict=False)
    rows = [(k + 1, *map(format_fixed, pair)) for k, pair in enumerate(pairs)]
    more = len(canonical.correlations) - len(rows)
    listed = table(["", "CORRELATION", "WEIGHT"], rows, ())
    said = f"Similarity {format_fixed(canonical.value)}"
    return [said, listed, *([f"… and {more} more"] if more else [])]
