"""Records of given or random numbers and texts, as analyses of a model would make them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ecco_captum.core.tokens import Tokens
from ecco_captum.generation.record import Generation
from ecco_captum.lens.record import LayerPredictions, MinimalPairs, Rankings, WatchedRankings
from ecco_captum.probing.record import ProbeReport
from ecco_captum.similarity.record import Similarity

N = 13
FEW = ("embedding", "block 0", "block 1", "block 2", "block 3")
MARGINS = np.cumsum(np.random.default_rng(3).normal(0.2, 1, (6, N)), axis=1)
OUTPUTS = (" Croatia", "\n", "5", ".", "日本")


def by_id(texts: Sequence[str]) -> dict[str, str]:
    return {str(k): text for k, text in enumerate(texts)}


def generation(tokens: Tokens, model: str = "tiny") -> Generation:
    ids, start = tokens.ids, tokens.prompt_length
    scores = np.ones(len(ids) - start)
    made = {
        "logits": scores,
        "logprobs": -scores,
        "ranks": scores.astype(int),
        "start_ids": ids[:0],
    }
    return Generation(ids[:start], ids[start:], tokens, model=model, settings={}, **made)


def rankings(
    texts: Sequence[str] = OUTPUTS, layers: int = N, /, model: str = "tiny", **change: Any
) -> Rankings:
    """Ranks that improve from layer to layer; the last one ranks every token first."""
    shape = layers, len(texts)
    ids, rng = np.arange(len(texts)), np.random.default_rng(3)
    ranks = np.exp(rng.uniform(0, 10, shape) * np.linspace(1, 0, layers)[:, None])
    ranks = np.maximum(1, np.rint(ranks)).astype(int)
    ranks[0, 0] = 49_152
    ranks = change.get("ranks", ranks)
    probs = rng.uniform(0.2, 0.9, shape) / ranks
    near = np.linspace(0, 1, layers)[:, None].repeat(len(texts), axis=1)
    fields: dict[str, Any] = {
        "generation": generation(Tokens(ids, tuple(texts), 0), model),
        "layers": np.arange(layers),
        "positions": ids,
        "target_ids": ids,
        "ranks": ranks,
        "logits": 12 - np.log(ranks) ** 1.5,
        "probs": probs,
        "top_ids": np.add.outer(np.arange(1 - layers, 1), ids) % len(texts),
        "top_probs": np.maximum(probs, 0.15),
        "cosine": near,
        "divergence": 8 - 8 * near,
        "shuffled_ranks": ranks * 7 + 40,
        "texts": by_id(texts),
    }
    return Rankings(**{**fields, **change})


def watched(
    words: Sequence[str] = (" is", " are"), rows: int = N, /, **change: Any
) -> WatchedRankings:
    """Ranks at random, or given ones: (rows, words), or (positions, rows, words)."""
    ranks = np.random.default_rng(2).integers(1, 50_000, (rows, len(words)))
    ranks = np.asarray(change.get("ranks", ranks))
    count, rows = len(ranks) if ranks.ndim == 3 else 1, ranks.shape[-2]
    places = tuple(OUTPUTS[k % len(OUTPUTS)] for k in range(count))
    fields: dict[str, Any] = {
        "tokens": Tokens(np.arange(count), places, count),
        "watch_ids": np.arange(len(words)),
        "watch_texts": tuple(words),
        "layers": np.arange(rows),
        "positions": np.arange(count),
        "places": places,
        "ranks": ranks,
        "logits": -np.log(ranks),
        "probs": 0.5 / ranks,
        "top_ids": np.broadcast_to(np.arange(rows) % len(OUTPUTS), ranks.shape[:-1]),
        "texts": by_id(OUTPUTS),
        "model": "tiny",
    }
    return WatchedRankings(**{**fields, **change})


def predictions(
    words: Sequence[str] = (" Paris", " the", "$x^2$"), /, model: str = "tiny", **change: Any
) -> LayerPredictions:
    """The true token is the best one of the last two layers, and none of those before."""
    ids = np.tile(np.arange(len(words)), (N, 1))
    ids[:-2, 0] = len(words)
    fields: dict[str, Any] = {
        "generation": generation(Tokens(np.arange(1), (words[0],), 0), model),
        "layers": np.arange(N),
        "position": 0,
        "true_id": 0,
        "token_ids": ids,
        "probs": np.sort(np.random.default_rng(4).random((N, len(words))))[:, ::-1],
        "ranks": np.where(ids[:, 0] == 0, 1, len(words) + 1),
        "texts_by_id": by_id((*words, " a")),
    }
    return LayerPredictions(**{**fields, **change})


def pairs(
    margins: np.ndarray = MARGINS, layers: Sequence[int] | None = None, /, **change: Any
) -> MinimalPairs:
    count, rows = margins.shape
    logprobs = np.stack([margins, 0 * margins], axis=-1)
    fields: dict[str, Any] = {
        "prompts": tuple(f"The keys to cabinet {k} ___ old." for k in range(count)),
        "fillers": ((" are", " is"),) * count,
        "filler_ids": np.zeros((count, 2), int),
        "layers": np.arange(rows) if layers is None else np.array(layers),
        "logprobs": logprobs,
        "ranks": np.ones(logprobs.shape, int),
        "model": "tiny",
    }
    return MinimalPairs(**{**fields, **change})


def similarity(shape: tuple[int, int] = (5, 4), /, **change: Any) -> Similarity:
    """Similarities that fall with the distance of two layers, some of them down to chance.

    p-values go with ``null_95``: small where a value is above it.
    """
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
    fields |= change
    missing = np.isnan(fields["null_95"])
    p = np.where(missing, np.nan, np.where(fields["values"] > fields["null_95"], 0.01, 0.64))
    tested: dict[str, Any] = {"p_values": p / 2, "p_adjusted": p, "draws": 0}
    if not missing.all():
        null = {"null": "shift", "null_reach": 50, "null_tokens": 1100, "null_chosen": False}
        tested["settings"] = {**fields["settings"], **null, "autocorrelation": 0.43}
        tested["draws"] = 99
    return Similarity(**{**fields, **tested, **change})


def probes(
    names: Sequence[str] = FEW, labels: Sequence[str] = ("NOUN", "VERB", "X"), /, **change: Any
) -> ProbeReport:
    """Probes of the hidden states of some layers, and of the neurons of all but the first."""
    layers, rng = (*names, *names[1:]), np.random.default_rng(5)
    count = len(layers)
    accuracy = np.linspace(0.9, 0.95, count)[:, None] + rng.uniform(-0.02, 0.02, (count, 3))
    confusion = rng.integers(0, 40, (count, len(labels), len(labels)))
    confusion[:, -1] = 0  # a label that was not tested
    fields: dict[str, Any] = {
        "representations": ("hidden",) * len(names) + ("neurons",) * (len(names) - 1),
        "layers": layers,
        "accuracy": accuracy,
        "control_accuracy": accuracy - np.linspace(0.1, 0.4, count)[:, None],
        "rates": np.ones((count, 3, 2)),
        "confusion": confusion,
        "majority": np.full(3, 0.15),
        "by_type": np.full(3, 0.79),
        "labels": tuple(labels),
        "label": "upos",
        "model": "tiny",
        "words": 100,
        "codelength": 3000 + 500 * rng.random((count, 3, 2)),
    }
    return ProbeReport(**{**fields, **change})
