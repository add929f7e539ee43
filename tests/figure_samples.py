"""Figures to look at, and what their files say."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from io import BytesIO

import numpy as np
from matplotlib.figure import Figure
from view_samples import HOSTILE

from ecco_captum.display.figure import PaperFigure
from ecco_captum.lens.plot import (
    agreement_figure,
    pairs_figure,
    predictions_figure,
    rankings_figure,
    watch_figure,
)

LAYERS = ("embedding", *(f"block {k}" for k in range(12)))
N = len(LAYERS)
MARGINS = np.cumsum(np.random.default_rng(3).normal(0.2, 1, (6, N)), axis=1)


def rankings(outputs=(" Croatia", "\n", "5", ".", "日本"), layers=LAYERS, **kwargs) -> PaperFigure:
    rng = np.random.default_rng(1)
    ranks = np.rint(10 ** rng.uniform(0, 4.7, (len(layers), len(outputs))))
    ranks[-1] = 1
    texts = [[outputs[(k + row) % len(outputs)] for k in range(len(outputs))] for row in range(N)]
    texts = (texts * len(layers))[: len(layers)]
    return rankings_figure(outputs, layers, ranks, -ranks, 1 / ranks, texts, **kwargs)


def watch(words=(" is", " are"), layers=LAYERS, **kwargs) -> PaperFigure:
    ranks = np.random.default_rng(2).integers(1, 50_000, (len(layers), len(words)))
    return watch_figure(words, layers, ranks, **kwargs)


def predictions(words=(" Paris", " the", "$x^2$"), layers=LAYERS, **kwargs) -> PaperFigure:
    probs = np.sort(np.random.default_rng(4).random((len(layers), len(words))))[:, ::-1]
    true = np.zeros(probs.shape, bool)
    true[-2:, 0] = True
    return predictions_figure(layers, [words] * len(layers), probs, true, **kwargs)


def agreement(layers=LAYERS, **kwargs) -> PaperFigure:
    share = np.linspace(0, 1, len(layers))
    near = np.repeat(share[:, None], 3, axis=1)
    return agreement_figure(layers, near, 9 - 9 * near, share, share * 0.02, **kwargs)


MADE = {
    "rankings": lambda **k: rankings(title="When?", **k),
    "logits": lambda **k: rankings(value="logit", annotate=False, **k),
    "many": lambda **k: rankings([" word"] * 60, **k),
    "watch": lambda **k: watch(title="Which one? " * 9, **k),
    "predictions": lambda **k: predictions(**k),
    "pairs": lambda **k: pairs_figure(LAYERS, MARGINS, labels=list("abcdef"), **k),
    "agreement": lambda **k: agreement(**k),
    "one layer": lambda **k: pairs_figure(LAYERS[1:2], MARGINS[:2, :1], **k),
    "other names": lambda **k: watch(layers=[f"$h_{{{k}}}$ </b>" for k in range(30)], **k),
    "hostile": lambda **k: rankings(HOSTILE, HOSTILE, annotate=True, title="".join(HOSTILE), **k),
    "hostile words": lambda **k: watch(HOSTILE, HOSTILE, **k),
    "hostile predictions": lambda **k: predictions(HOSTILE[:9], HOSTILE, **k),
}


def saved(figure: Figure, kind: str) -> bytes:
    file = BytesIO()
    figure.savefig(file, format=kind)
    return file.getvalue()


def texts_of(figure: Figure) -> list[str]:
    root = ET.fromstring(saved(figure, "svg"))
    return ["".join(node.itertext()) for node in root.iter() if node.tag.endswith("}text")]
