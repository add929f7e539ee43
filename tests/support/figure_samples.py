"""Records to draw, the figures of them, and what their files say."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from factors_samples import random_text, smooth
from matplotlib.figure import Figure
from view_samples import HOSTILE, countries, sample

from ecco_captum.activations.record import Activations
from ecco_captum.attribution.record import Attribution
from ecco_captum.core.tokens import Tokens
from ecco_captum.factors.record import Factors
from ecco_captum.generation.record import Generation
from ecco_captum.lens.record import LayerPredictions, MinimalPairs, Rankings, WatchedRankings
from ecco_captum.probing.record import ProbeReport
from ecco_captum.similarity.record import Similarity

SAVED = Path(__file__).parents[1] / "saved_records"
N = 13
FEW = ("embedding", "block 0", "block 1", "block 2", "block 3")
MARGINS = np.cumsum(np.random.default_rng(3).normal(0.2, 1, (6, N)), axis=1)
OUTPUTS = (" Croatia", "\n", "5", ".", "日本")


def generation(tokens: Tokens) -> Generation:
    ids, start = tokens.ids, tokens.prompt_length
    scores = np.ones(len(ids) - start)
    made = {"logits": scores, "logprobs": -scores, "ranks": scores, "start_ids": ids[:0]}
    return Generation(ids[:start], ids[start:], tokens, model="tiny", settings={}, **made)


def rankings(texts: Sequence[str] = OUTPUTS, layers: int = N, **change: Any) -> Rankings:
    """Ranks at random, but for the last layer; each layer's own token is one of the texts."""
    shape = layers, len(texts)
    ids, ranks = np.arange(len(texts)), np.random.default_rng(1).uniform(0, 4.7, shape)
    ranks = np.rint(10**ranks).astype(int)
    ranks[-1] = 1
    near = np.linspace(0, 1, layers)[:, None].repeat(len(texts), axis=1)
    fields: dict[str, Any] = {
        "generation": generation(Tokens(ids, tuple(texts), 0)),
        "layers": np.arange(layers),
        "positions": ids,
        "target_ids": ids,
        "ranks": ranks,
        "logits": -ranks,
        "probs": 1 / ranks,
        "top_ids": np.add.outer(np.arange(layers), ids) % len(texts),
        "top_probs": 1 / ranks,
        "cosine": near,
        "divergence": 9 - 9 * near,
        "shuffled_ranks": np.full(shape, 7),
        "texts": {str(k): text for k, text in enumerate(texts)},
    }
    return Rankings(**{**fields, **change})


def watched(words: Sequence[str] = (" is", " are"), rows: int = N, **change: Any) -> Any:
    ranks = np.random.default_rng(2).integers(1, 50_000, (rows, len(words)))
    fields: dict[str, Any] = {
        "tokens": Tokens(np.arange(1), ("The",), 1),
        "watch_ids": np.arange(len(words)),
        "watch_texts": tuple(words),
        "layers": np.arange(rows),
        "positions": np.arange(1),
        "places": ("The",),
        "ranks": ranks,
        "logits": -np.log(ranks),
        "probs": 1 / ranks,
        "top_ids": np.zeros(rows, int),
        "texts": {"0": " the"},
        "model": "tiny",
    }
    return WatchedRankings(**{**fields, **change})


def predictions(words: Sequence[str] = (" Paris", " the", "$x^2$")) -> LayerPredictions:
    """The true token is the best one of the last two layers, and none of those before."""
    probs = np.sort(np.random.default_rng(4).random((N, len(words))))[:, ::-1]
    ids = np.tile(np.arange(len(words)), (N, 1))
    ids[:-2, 0] = len(words)
    texts = {str(k): text for k, text in enumerate((*words, " a"))}
    made = generation(Tokens(np.arange(1), (words[0],), 0))
    return LayerPredictions(made, np.arange(N), 0, 0, ids, probs, np.ones(N, int), texts)


def pairs(margins: np.ndarray = MARGINS, layers: Sequence[int] = range(N)) -> MinimalPairs:
    logprobs = np.stack([margins, 0 * margins], axis=-1)
    count = len(margins)
    texts = ("a ___",) * count, (("x", "y"),) * count, np.zeros((count, 2), int)
    return MinimalPairs(*texts, np.array(layers), logprobs, np.ones(logprobs.shape, int), "tiny")


def attribution(tokens: Tokens, scores: np.ndarray, **change: Any) -> Attribution:
    return Attribution(generation(tokens), scores, "gradient_x_input", **change)


def factors(weights: np.ndarray | None = None, texts: Sequence[str] = ()) -> Factors:
    weights = smooth() if weights is None else weights
    count, length = weights.shape
    texts = tuple(texts) or random_text(length).texts
    values, shares = np.zeros((1, length, 2)), np.random.default_rng(7).dirichlet(np.ones(count))
    tokens, one = Tokens(np.arange(length), texts, length), np.zeros(1, int)
    acts = Activations(values, one, tokens, one, "neurons", "decoder", "tiny")
    return Factors(acts, weights, np.zeros((count, 1, 2)), None, 0.5, 0.0, shares)


def similarity(shape: tuple[int, int] = (5, 4), **change: Any) -> Similarity:
    """Similarities that fall with the distance of two layers, some of them down to chance."""
    names = ("embedding", *(f"block {k}" for k in range(max(shape))))
    values = 0.96 - 0.29 * np.abs(np.subtract.outer(*map(np.arange, shape)))
    null, interval = np.full(values.shape, 0.31), np.stack([values - 0.02, values + 0.03], axis=-1)
    fields: dict[str, Any] = {
        "values": values,
        "null_mean": null,
        "null_95": null + 0.08,
        "interval": interval,
        "rows": names[: shape[0]],
        "columns": names[: shape[1]],
        "measure": "pwcca",
        "models": ("tiny", "tiny"),
        "count": 1200,
        "settings": {"with_itself": shape[0] == shape[1], "weight_by": "x", "definition": "paper"},
    }
    return Similarity(**{**fields, **change})


def probes(
    names: Sequence[str] = ("embedding", *(f"block {k}" for k in range(4))), **change: Any
) -> ProbeReport:
    """Probes of the hidden states of some layers, and of the neurons of all but the first."""
    layers, rng = (*names, *names[1:]), np.random.default_rng(5)
    count = len(layers)
    accuracy = np.linspace(0.9, 0.95, count)[:, None] + rng.uniform(-0.02, 0.02, (count, 3))
    fields: dict[str, Any] = {
        "representations": ("hidden",) * len(names) + ("neurons",) * (len(names) - 1),
        "layers": layers,
        "accuracy": accuracy,
        "control_accuracy": accuracy - np.linspace(0.1, 0.4, count)[:, None],
        "rates": np.ones((count, 3, 2)),
        "confusion": np.ones((count, 2, 2), int),
        "majority": np.full(3, 0.15),
        "by_type": np.full(3, 0.79),
        "labels": ("NOUN", "VERB"),
        "label": "upos",
        "model": "tiny",
        "words": 100,
    }
    return ProbeReport(**{**fields, **change})


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
    "saliency": attribution(*countries()).plot,
    "long saliency": attribution(*sample((" word",) * 150, 100)).plot,
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
    "hostile saliency": attribution(*sample(HOSTILE + HOSTILE, len(HOSTILE))).plot,
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
