"""Readings of a lens to draw: ranks that improve from layer to layer, and what each layer says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from view_samples import HOSTILE

from ecco_captum.lens.html import pairs_view, predictions_view, rankings_view, watch_view
from ecco_captum.probing.html import probe_view
from ecco_captum.similarity.html import similarity_view

OUTPUTS = (" Croatia", "\n", "5", ".", " Czech", " Republic")
LAYERS = ("embedding", "block 0", "block 1", "block 2", "block 3")


def layers_of(count: int) -> tuple[str, ...]:
    return ("embedding", *(f"block {k}" for k in range(count - 1)))


def readings(outputs: int = 6, layers: int = 5) -> dict[str, Any]:
    """What `rankings_view` takes first; the last layer ranks every output first."""
    rng = np.random.default_rng(3)
    ranks = np.exp(rng.uniform(0, 10, (layers, outputs)) * np.linspace(1, 0, layers)[:, None])
    ranks = np.maximum(1, np.rint(ranks)).astype(np.int64)
    ranks[0, 0] = 49_152
    texts = [OUTPUTS[t % 6] for t in range(outputs)]
    tops = [[texts[t] if row[t] == 1 else " the" for t in range(outputs)] for row in ranks]
    probs = rng.uniform(0.2, 0.9, ranks.shape) / ranks
    return {
        "outputs": texts,
        "layers": layers_of(layers),
        "ranks": ranks,
        "logits": 12 - np.log(ranks) ** 1.5,
        "probs": probs,
        "top_texts": tops,
        "top_probs": np.maximum(probs, 0.15),
    }


def agreement(outputs: int = 6, layers: int = 5) -> dict[str, Any]:
    """What `rankings_view` takes to say whether it holds."""
    closer = np.linspace(0, 1, layers)[:, None] * np.ones((layers, outputs))
    given = readings(outputs, layers)["ranks"]
    return {"cosine": closer, "divergence": 8 - 8 * closer, "shuffled_ranks": given * 7 + 40}


def rankings(**change: Any) -> str:
    return rankings_view(**{**readings(), **change})


def watched(positions: int = 0) -> dict[str, Any]:
    """Two words; the second one overtakes the first at block 2."""
    ranks = np.array([[150, 940], [24, 132], [12, 36], [15, 12], [28, 1]])
    if positions:
        ranks = np.stack([ranks + k for k in range(positions)])
    given: dict[str, Any] = {"watched": (" is", " are"), "layers": LAYERS, "ranks": ranks}
    given |= {"logits": -np.log(ranks), "probs": 0.5 / ranks}
    if positions:
        given["places"] = [OUTPUTS[k % 6] for k in range(positions)]
    return given


def predicted() -> dict[str, Any]:
    """Three places; the true token is third, then first."""
    probs = np.array([[0.5, 0.25, 0.01], [0.4, 0.4, 0.1], [0.8, 0.1, 0.05]])
    texts = [[" a", "\n", " the"], [" of", " in", " Paris"], [" Paris", " a", "."]]
    true = np.array([[text == " Paris" for text in row] for row in texts])
    return {
        "layers": LAYERS[:3],
        "texts": texts,
        "probs": probs,
        "ranks": [1234, 3, 1],
        "is_true": true,
        "true": " Paris",
    }


def paired(prompts: int = 3) -> dict[str, Any]:
    """Margins that rise; the first prompt never gets above 0, the others cross at block 1."""
    rise = np.array([-3.0, -1.5, 0.5, 2.0, 4.0])
    margins = np.stack([rise - (10 if k == 0 else 0.1 * (k % 3)) for k in range(prompts)])
    return {
        "prompts": [f"The keys to cabinet {k} ___ old." for k in range(prompts)],
        "fillers": [(" are", " is")] * prompts,
        "layers": LAYERS,
        "margins": margins,
        "crossings": [-1] + [2] * (prompts - 1),
    }


def hostile_views() -> dict[str, str]:
    """Each view with texts that break a careless page, wherever there is a text."""
    texts = [text or "x" for text in HOSTILE]
    count, outputs = len(texts), readings(len(HOSTILE), len(HOSTILE))
    names = {"title": texts[0], "subtitle": texts[4], "sentence": texts[5], "note": texts[6]}
    grid = [texts[k:] + texts[:k] for k in range(count)]
    ranks, ones = outputs["ranks"], np.full((count, count), 0.5)
    common = {"layers": texts, **names}
    watch = {"watched": texts, "ranks": ranks, "logits": -ranks, "probs": ones, **common}
    several = {**watch, **{key: watch[key][None].repeat(2, 0) for key in ("ranks", "logits")}}
    several |= {"probs": np.stack([ones] * 2), "places": texts[:2], "top_texts": [texts] * 2}
    pairs = {"prompts": texts, "fillers": list(zip(texts, texts[::-1], strict=True)), **common}
    true = np.eye(count, dtype=bool)
    outputs |= {"outputs": texts, "top_texts": grid, "chosen_note": texts[1], **common}
    return {
        "rankings": rankings_view(**outputs, **agreement(count, count)),
        "watch": watch_view(**watch, top_texts=texts),
        "positions": watch_view(**several),
        "predictions": predictions_view(
            texts=grid, probs=ones, ranks=ranks[0].tolist(), is_true=true, true=texts[2], **common
        ),
        "pairs": pairs_view(**pairs, margins=ranks - 9.0, crossings=[0, -1] * (count // 2) + [1]),
        "probes": probe_view(
            texts,
            texts,
            ones,
            ones / 2,
            labels=texts,
            confusion=ranks[None].repeat(count, 0),
            **names,
        ),
    }


def alike(rows: int = 5, columns: int = 4) -> dict[str, Any]:
    """Similarities that fall with the distance of two layers, some of them down to chance."""
    far = np.abs(np.subtract.outer(np.arange(rows), np.arange(columns)))
    values = 0.96 - 0.29 * far
    mean = np.full(values.shape, 0.31)
    ends = np.stack([values - 0.02, values + 0.03], axis=-1)
    return {
        "values": values,
        "rows": layers_of(rows),
        "columns": layers_of(columns),
        "null_mean": mean,
        "null_95": mean + 0.08,
        "interval": ends,
        "measure": "PWCCA",
    }


def probed(labels: Sequence[str] = ("NOUN", "VERB", "X")) -> dict[str, Any]:
    """Probes of five layers of hidden states and four of neurons, three trials each."""
    rng = np.random.default_rng(5)
    accuracy = np.linspace(0.9, 0.95, 9)[:, None] + rng.uniform(-0.02, 0.02, (9, 3))
    counts = rng.integers(0, 40, (9, len(labels), len(labels)))
    counts[:, -1] = 0  # a label that was not tested
    return {
        "representations": ["hidden"] * 5 + ["neurons"] * 4,
        "layers": [*LAYERS, *LAYERS[1:]],
        "accuracy": accuracy,
        "control_accuracy": accuracy - np.linspace(0.1, 0.4, 9)[:, None],
        "baselines": {"most frequent": np.full(3, 0.15), "of the word": np.full(3, 0.79)},
        "codelength": 3000 + 500 * rng.random((9, 3)),
        "labels": labels,
        "confusion": counts,
    }


def every_view() -> dict[str, str]:
    """One of each kind, with all that it can show."""
    words = {"title": "A question?", "subtitle": "s", "sentence": "It holds.", "note": "n"}
    return {
        "rankings": rankings(**agreement(), chosen_note="Written greedily.", **words),
        "probabilities": rankings(value="prob", **words),
        "many layers": rankings_view(**readings(70, 20), **agreement(70, 20), **words),
        "watch": watch_view(**watched(), top_texts=OUTPUTS[:5], **words),
        "positions": watch_view(**watched(4), **words),
        "predictions": predictions_view(**predicted(), **words),
        "pairs": pairs_view(**paired(45), **words),
        "similarity": similarity_view(**alike(), **words),
        "probes": probe_view(**probed(), **words),
    }
