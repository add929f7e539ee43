"""Perturbation methods equal what they are defined to be, over plain forwards."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from weakref import WeakSet

import captum.attr
import numpy as np
import pytest
import torch
from captum._utils.models.linear_model import SkLearnLasso, SkLearnLinearRegression
from method_samples import SUBJECTS, Subject, rows_of, subject
from naive_methods import NaiveTarget, naive_baseline, seed_everything
from recording import called
from torch import Tensor

from ecco_captum import force_decode, saliency
from ecco_captum.core.checks import SlowPathWarning
from ecco_captum.models.causality import reads_together
from ecco_captum.models.language_model import LanguageModel

METHODS: dict[str, dict[str, Any]] = {
    "feature_ablation": {},
    "occlusion": {"window": 2},
    "shapley_value_sampling": {"n_samples": 3},
    "kernel_shap": {"n_samples": 60},
    "lime": {"n_samples": 60},
}
NAMES = ["causal:gpt2", "causal:gemma2", "causal:bert", "seq2seq:t5", "masked:bert"]
NAMES += ["classification:llama"]


def value_of(pair: Subject, output: int) -> Callable[[Tensor], Tensor]:
    """From presence, (texts, positions or more), to the score of one output, (texts,)."""
    target = NaiveTarget(*pair, output)
    baseline = naive_baseline(pair[0], target, keep_first=False)

    @torch.no_grad()
    def value(present: Tensor) -> Tensor:
        rows = present[:, : target.length, None].float()
        return torch.cat(
            [target(row * target.embeddings + (1 - row) * baseline) for row in rows.split(1)]
        )

    return value


def lengths(pair: Subject) -> list[int]:
    count = len(pair[1].output_ids)
    return [NaiveTarget(*pair, output).length for output in range(count)]


def close(row: np.ndarray, expected: Any, tolerance: float = 1e-4) -> None:
    expected = np.asarray(expected)
    assert np.abs(row - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("name", SUBJECTS)
def test_ablation_leaves_one_token_out(name: str) -> None:
    pair = subject(name)
    rows = rows_of(saliency(*pair, method="feature_ablation"))
    for output, (row, length) in enumerate(zip(rows, lengths(pair), strict=True)):
        scores = value_of(pair, output)(torch.cat([torch.ones(1, length), 1 - torch.eye(length)]))
        close(row, scores[0] - scores[1:])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("window", [1, 3, 100])
def test_occlusion_averages_over_windows(name: str, window: int) -> None:
    pair = subject(name)
    rows = rows_of(saliency(*pair, method="occlusion", window=window))
    for output, (row, length) in enumerate(zip(rows, lengths(pair), strict=True)):
        value, width = value_of(pair, output), min(window, length)
        total, windows = torch.zeros(length), torch.zeros(length)
        whole = value(torch.ones(1, length))
        for start in range(length - width + 1):
            present = torch.ones(1, length)
            present[:, start : start + width] = 0
            total[start : start + width] += whole - value(present)
            windows[start : start + width] += 1
        close(row, total / windows)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["seq2seq:t5", "classification:bert", "classification:llama"])
def test_small_scores_are_explained_too(name: str, method: str) -> None:
    for score in ("logit", "prob"):
        attribution = saliency(*subject(name), method=method, score=score, **METHODS[method])
        assert all(row.any() for row in rows_of(attribution)), score


def four_tokens() -> tuple[Subject, np.ndarray, np.ndarray]:
    """A text of four tokens, its exact Shapley values, and their deviation in one order."""
    lm, _ = subject("causal:gpt2")
    pair = lm, force_decode(lm, [5, 9, 6, 7], [30])
    every = list(itertools.product([0.0, 1.0], repeat=4))
    scores = value_of(pair, 0)(torch.tensor(every)).double().numpy()
    value = dict(zip(every, scores, strict=True))
    gains = np.zeros((math.factorial(4), 4))
    for number, order in enumerate(itertools.permutations(range(4))):
        present = [0.0] * 4
        for token in order:
            before = value[tuple(present)]
            present[token] = 1.0
            gains[number, token] = value[tuple(present)] - before
    return pair, gains.mean(axis=0), gains.std(axis=0)


def test_sampling_converges_to_the_shapley_values() -> None:
    pair, exact, deviation = four_tokens()
    samples = 200
    sampled = saliency(*pair, method="shapley", n_samples=samples).scores[0, :4]
    assert (np.abs(sampled - exact) < 4 * deviation / math.sqrt(samples) + 1e-4).all()
    assert sampled.sum() == pytest.approx(exact.sum(), abs=1e-4)
    few = saliency(*pair, method="shapley", n_samples=1).scores[0, :4]
    assert few.sum() == pytest.approx(exact.sum(), abs=1e-4)


def test_kernel_shap_converges_to_the_shapley_values() -> None:
    pair, exact, deviation = four_tokens()
    samples = 1500
    fitted = saliency(*pair, method="kernel_shap", n_samples=samples).scores[0, :4]
    assert (np.abs(fitted - exact) < 4 * deviation / math.sqrt(samples)).all()
    assert fitted.sum() == pytest.approx(exact.sum(), abs=1e-3)


def test_captums_enumeration_agrees() -> None:
    pair, exact, _ = four_tokens()
    close(saliency(*pair, method=captum.attr.ShapleyValues).scores[0, :4], exact)


@pytest.mark.parametrize("name", ["causal:gpt2", "seq2seq:t5"])
@pytest.mark.parametrize(
    ("method", "kind", "model"),
    [
        ("kernel_shap", captum.attr.KernelShap, SkLearnLinearRegression),
        ("lime", captum.attr.Lime, lambda: SkLearnLasso(alpha=0.01)),
    ],
)
def test_surrogates_equal_captums_own(name: str, method: str, kind: Any, model: Any) -> None:
    pair = subject(name)
    last = len(pair[1].output_ids) - 1
    row = rows_of(saliency(*pair, method=method, n_samples=50, seed=3))[last]
    value = value_of(pair, last)
    values: list[torch.Tensor] = []

    def run(function: Any) -> torch.Tensor:
        stock = kind(function)
        stock.interpretable_model = model()
        seed_everything(3)
        return torch.as_tensor(stock.attribute(torch.ones(1, len(row)), n_samples=50)[0])

    run(lambda present: values.append(value(present).flatten()) or values[-1])
    # LIME's penalty is relative to the spread of the scores.
    spread = float(torch.cat(values).std(correction=0))
    close(row, run(lambda present: value(present) / spread) * spread, 1e-3)


@contextmanager
def counted(model: Any) -> Iterator[list[tuple[int, int]]]:
    """Texts and positions of each forward that was run to its end."""
    forwards: list[tuple[int, int]] = []

    with called(model, lambda args, kwargs: forwards.append(tuple(kwargs["input_ids"].shape))):
        yield forwards


def examined(lm: LanguageModel) -> None:
    """What is found out once for each model is found out now."""
    lm.anatomy.require("gradient")
    reads_together(lm.model)


def read(forwards: list[tuple[int, int]]) -> int:
    return sum(texts * positions for texts, positions in forwards)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["causal:gpt2", "causal:gemma2", "causal:qwen3"])
def test_kept_beginnings_change_nothing_and_read_less(
    name: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, _ = subject(name)
    examined(lm)
    pair = lm, force_decode(lm, list(range(5, 25)), [30, 31, 32])
    monkeypatch.setattr("ecco_captum.attribution.methods.masked_scorer._WITHOUT_CACHE", WeakSet())
    with counted(lm.model) as kept:
        first = saliency(*pair, method=method, **METHODS[method])
    monkeypatch.setattr(
        "ecco_captum.attribution.methods.masked_scorer._WITHOUT_CACHE", WeakSet([lm.model])
    )
    with counted(lm.model) as anew:
        other = saliency(*pair, method=method, **METHODS[method])
    close(first.scores, other.scores)
    texts = sum(count for count, _ in anew)
    assert read(anew) == texts * 22
    if method in ("feature_ablation", "occlusion"):  # others rarely leave the beginning alone
        assert read(kept) < 0.8 * read(anew)


@pytest.mark.parametrize("name", ["causal:mamba", "causal:bert", "seq2seq:t5"])
def test_models_that_cannot_keep_a_beginning_read_it_again(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, generation = subject(name)
    monkeypatch.setattr("ecco_captum.attribution.methods.masked_scorer._WITHOUT_CACHE", WeakSet())
    # It reads from left to right, but keeps a memory of another kind: that is slow, and said.
    slow = pytest.warns(SlowPathWarning, match="no keys and values that can be used again")
    with slow if name == "causal:mamba" else nullcontext():
        first = saliency(lm, generation, method="feature_ablation")
    monkeypatch.setattr(
        "ecco_captum.attribution.methods.masked_scorer._WITHOUT_CACHE", WeakSet([lm.model])
    )
    other = saliency(lm, generation, method="feature_ablation")
    np.testing.assert_allclose(first.scores, other.scores, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["causal:gpt2", "seq2seq:t5", "masked:bert"])
def test_all_targets_come_from_one_forward_a_text(
    name: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, generation = subject(name)
    monkeypatch.setattr(
        "ecco_captum.attribution.methods.masked_scorer._WITHOUT_CACHE", WeakSet([lm.model])
    )
    last = len(generation.output_ids) - 1
    counts = []
    for outputs in (None, [last]):
        options = {"method": method, "outputs": outputs, **METHODS[method]}
        saliency(lm, generation, **options)  # sees whether targets can share a forward
        with counted(lm.model) as forwards:
            saliency(lm, generation, **options)
        counts.append(sum(texts for texts, _ in forwards))
    assert counts[0] == counts[1]


def test_ablation_reads_one_text_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, generation = subject("causal:gpt2")
    monkeypatch.setattr(
        "ecco_captum.attribution.methods.masked_scorer._WITHOUT_CACHE", WeakSet([lm.model])
    )
    examined(lm)
    saliency(lm, generation)  # sees whether targets can share a forward
    with counted(lm.model) as forwards:
        saliency(lm, generation, method="feature_ablation")
    positions = len(generation.tokens) - 1
    assert sum(texts for texts, _ in forwards) == positions + 1
