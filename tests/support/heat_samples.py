"""Records that are drawn as heat tables: one of each kind, and some of hostile texts."""

from __future__ import annotations

from typing import Any

import numpy as np
from record_samples import by_id, pairs, predictions, probes, rankings, similarity, watched
from view_samples import HOSTILE

from ecco_captum.core.record import Record
from ecco_captum.lens.record import OrderTest, Rankings

LISTED = (" Croatia", "\n", "5", ".", " Czech", " Republic")
OVERTAKEN = np.array([[150, 940], [24, 132], [12, 36], [15, 12], [28, 1]])
"""Ranks of two words; the second one overtakes the first at block 2."""


def listed(outputs: int, layers: int, /, **change: Any) -> Rankings:
    return rankings([LISTED[t % 6] for t in range(outputs)], layers, **change)


def overtaken(positions: int) -> np.ndarray:
    return np.stack([OVERTAKEN + k for k in range(positions)])


def rising(prompts: int) -> np.ndarray:
    """Margins; the first prompt never gets above 0, the others cross at block 1."""
    rise = np.array([-3.0, -1.5, 0.5, 2.0, 4.0])
    return np.stack([rise - (10 if k == 0 else 0.1 * (k % 3)) for k in range(prompts)])


def every_record() -> dict[str, Record]:
    """One of each kind, with all that it can show."""
    return {
        "rankings": listed(6, 5),
        "probabilities": listed(6, 5, value="prob"),
        "many layers": listed(70, 20),
        "watch": watched(ranks=OVERTAKEN),
        "positions": watched(ranks=overtaken(4)),
        "predictions": predictions(),
        "pairs": pairs(rising(45)),
        "similarity": similarity(),
        "probes": probes(),
    }


def hostile_records() -> dict[str, Record]:
    """Texts that break a careless page, wherever a record has a text."""
    count, several = len(HOSTILE), np.stack([rankings(HOSTILE, len(HOSTILE)).ranks] * 2)
    named: dict[str, Any] = {"model": "".join(HOSTILE[:5]), "lens": "".join(HOSTILE[5:])}
    tops: dict[str, Any] = {"texts": by_id(HOSTILE), "top_ids": np.arange(count)}
    fillers = tuple(zip(HOSTILE, HOSTILE[::-1], strict=True))
    two = {**tops, "top_ids": np.stack([tops["top_ids"]] * 2), "places": HOSTILE[:2]}
    return {
        "rankings": rankings(HOSTILE, count, **named),
        "watch": watched(HOSTILE, ranks=several[0], places=HOSTILE[:1], **tops, **named),
        "positions": watched(HOSTILE, ranks=several, **two, **named),
        "predictions": predictions(HOSTILE, **named),
        "pairs": pairs(several[0] - 9.0, prompts=HOSTILE, fillers=fillers, **named),
        "order": OrderTest(HOSTILE, 1.0, np.ones(3), 3, named["model"], {}),
        "similarity": similarity((count, count), rows=HOSTILE, columns=HOSTILE, models=HOSTILE),
        "probes": probes(HOSTILE, HOSTILE, model=named["model"], label=named["lens"]),
    }
