"""Records to draw, the figures of them, and what their files say."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from factors_samples import factors, smooth
from matplotlib.figure import Figure
from record_samples import (
    MARGINS,
    pairs,
    predictions,
    probes,
    rankings,
    similarity,
    watched,
)
from view_samples import HOSTILE, countries, sample

SAVED = Path(__file__).parents[1] / "saved_records"


_NAMES = [text or "x" for text in HOSTILE]
MADE: dict[str, Callable[..., Figure]] = {
    "rankings": lambda title="When?", **k: rankings().plot(title=title, **k),
    "logits": rankings([" word"] * 20).plot,
    "many": lambda **k: rankings([" word"] * 60, 40).plot("prob", **k),
    "watch": lambda **k: watched().plot(title="Which one? " * 9, **k),
    "predictions": predictions().plot,
    "pairs": pairs().plot,
    "one layer": pairs(MARGINS[:2, :1], [1]).plot,
    "agreement": rankings().plot_agreement,
    "saliency": countries().plot,
    "long saliency": sample((" word",) * 150, 100).plot,
    "similarity": similarity().plot,
    "many layers": similarity((40, 40)).plot,
    "probes": probes().plot,
    "other names": probes([f"$h_{{{k}}}$ </b>" for k in range(30)]).plot,
    "factors": lambda **k: factors().plot(title="What?" * 9, **k),
    "long factors": factors(smooth(10, 2000)).plot,
    "no weight": factors(np.zeros((1, 1)), ["a"]).plot,
    "hostile": lambda **k: rankings(HOSTILE, 27).plot(title="".join(HOSTILE), **k),
    "hostile words": watched(HOSTILE).plot,
    "hostile predictions": predictions(HOSTILE[:9]).plot,
    "hostile saliency": sample(HOSTILE + HOSTILE, len(HOSTILE)).plot,
    "hostile layers": similarity((27, 27), rows=tuple(_NAMES), columns=tuple(_NAMES)).plot,
    "hostile factors": factors(np.eye(len(HOSTILE)) + 0.1, HOSTILE).plot,
}


def saved(figure: Figure, kind: str) -> bytes:
    file = BytesIO()
    figure.savefig(file, format=kind)
    return file.getvalue()


def texts_of(figure: Figure) -> list[str]:
    root = ET.fromstring(saved(figure, "svg"))
    return ["".join(node.itertext()) for node in root.iter() if node.tag.endswith("}text")]
