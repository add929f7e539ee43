"""What is explained: logits, probabilities, entropies and differences, against plain autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from method_samples import SUBJECTS, Subject, rows_of, subject
from naive_methods import NaiveTarget
from torch import Tensor

from ecco_captum import saliency
from ecco_captum.generation.scores import Scoring, scoring

SCORES = ["logit", "logprob", "prob", "entropy"]


def written_out(name: str, token: int, foils: list[int]) -> Callable[[Tensor], Tensor]:
    """From logits, (batch, vocabulary), to scores, (batch,), in double precision."""

    def score(logits: Tensor) -> Tensor:
        logits = logits.double()
        probabilities = logits.exp() / logits.exp().sum(dim=-1, keepdim=True)
        if name == "entropy":
            return -(probabilities * probabilities.log()).sum(dim=-1)
        values = {"logit": logits, "logprob": probabilities.log(), "prob": probabilities}[name]
        difference = values[:, token]
        for foil in foils:
            difference = difference - values[:, foil] / len(foils)
        return difference

    return score


def expected(pair: Subject, name: str, foils: list[int] | None = None) -> list[np.ndarray]:
    """Gradient × input's norms, one row an output."""
    rows = []
    for output, token in enumerate(pair[1].output_ids.tolist()):
        target = NaiveTarget(*pair, output, written_out(name, token, foils or []))
        inputs = target.embeddings.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(target(inputs).sum(), inputs)
        rows.append((gradient * inputs).detach().norm(dim=-1)[0].numpy())
    return rows


def close(rows: list[np.ndarray], others: list[np.ndarray], tolerance: float = 2e-4) -> None:
    for row, other in zip(rows, others, strict=True):
        assert np.abs(row - other).max() <= tolerance * np.abs(other).max()


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("name", SUBJECTS)
def test_equals_plain_autograd(name: str, score: str) -> None:
    attribution = saliency(*subject(name), score=score)
    assert attribution.score == score
    close(rows_of(attribution), expected(subject(name), score))


@pytest.mark.parametrize("score", ["logit", "logprob", "prob"])
@pytest.mark.parametrize("name", SUBJECTS)
@pytest.mark.parametrize("foils", [1, [1], [0, 2]])
def test_contrasts_equal_plain_autograd(name: str, score: str, foils: Any) -> None:
    attribution = saliency(*subject(name), score=score, versus=foils)
    several = foils if isinstance(foils, list) else [foils]
    assert attribution.foils == tuple(several)
    token = int(subject(name)[1].output_ids[0])
    if several == [token]:  # a difference to itself
        assert not attribution.scores.any()
        return
    close(rows_of(attribution), expected(subject(name), score, several))


@pytest.mark.parametrize("name", SUBJECTS)
def test_differences_of_logprobs_are_differences_of_logits(name: str) -> None:
    first, other = (saliency(*subject(name), score=s, versus=2) for s in ("logit", "logprob"))
    np.testing.assert_allclose(first.scores, other.scores, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("score", SCORES)
def test_perturbation_methods_explain_the_same(score: str) -> None:
    pair = subject("causal:gpt2")
    scores = saliency(*pair, method="feature_ablation", score=score, baseline="zero").scores
    for output, token in enumerate(pair[1].output_ids.tolist()):
        target = NaiveTarget(*pair, output, written_out(score, token, []))
        with torch.no_grad():
            whole = target(target.embeddings)
            for position in range(target.length):
                without = target.embeddings.clone()
                without[:, position] = 0
                difference = float(whole - target(without))
                assert scores[output, position] == pytest.approx(difference, rel=1e-3, abs=1e-5)


def test_a_foil_is_a_token_as_it_follows() -> None:
    lm, generation = subject("causal:gpt2")
    (wanted,) = lm.tokenizer(" the", add_special_tokens=False)["input_ids"]
    by_text = saliency(lm, generation, versus=" the")
    by_id = saliency(lm, generation, versus=wanted)
    assert by_text.foils == by_id.foils == (wanted,)
    assert by_text.versus == (" the",)
    np.testing.assert_array_equal(by_text.scores, by_id.scores)
    assert saliency(lm, generation, versus=[" the", wanted]).foils == (wanted, wanted)
    bert, text = subject("masked:bert")
    assert saliency(bert, text, versus="keys").versus == ("keys",)


def test_numbers_that_arrays_hold_are_ids() -> None:
    lm, generation = subject("causal:gpt2")
    wanted = saliency(lm, generation, versus=7)
    attribution = saliency(lm, generation, versus=np.int64(7))
    assert attribution.foils == wanted.foils
    np.testing.assert_array_equal(attribution.scores, wanted.scores)


def test_a_classifiers_foil_is_a_class() -> None:
    pair = subject("classification:bert")
    by_name, by_number = saliency(*pair, versus="LABEL_2"), saliency(*pair, versus=2)
    assert by_name.versus == by_number.versus == ("LABEL_2",)
    np.testing.assert_array_equal(by_name.scores, by_number.scores)
    with pytest.raises(ValueError, match="versus: got 'LABEL_9', accepts a class: 'LABEL_0', "):
        saliency(*pair, versus="LABEL_9")
    with pytest.raises(ValueError, match="versus: got 3, accepts a class: 'LABEL_0', "):
        saliency(*pair, versus=3)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"score": "loss"}, ValueError, "score: got 'loss', accepts 'logit', 'logprob', 'prob'"),
        ({"score": None}, ValueError, "score: got None, accepts 'logit'"),
        ({"score": "entropy", "versus": 3}, ValueError, "versus: an entropy has no target"),
        ({"versus": []}, ValueError, "versus: got an empty list"),
        ({"versus": ""}, ValueError, "versus: '' is 0 tokens"),
        ({"versus": " unbelievably so"}, ValueError, r"versus: .* is \d+ tokens of 'tiny gpt2'"),
        ({"versus": -1}, ValueError, "versus: got id -1, accepts 0 to"),
        ({"versus": 10**6}, ValueError, "versus: got id 1000000, accepts 0 to"),
        ({"versus": 1.5}, TypeError, "versus: got a float, accepts text, an id, or a list"),
        ({"versus": True}, TypeError, "versus: got a bool"),
        ({"versus": [None]}, TypeError, "versus: got a NoneType"),
    ],
)
def test_errors(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        saliency(*subject("causal:gpt2"), **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_ruled_out_tokens_add_nothing_to_an_entropy(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 2, 9).to(dtype)
    logits[0, 0, [2, 5]] = -torch.inf
    logits.requires_grad_()
    scores = Scoring("entropy")(logits, torch.zeros(2, dtype=torch.long))
    (gradient,) = torch.autograd.grad(scores.sum(), logits)
    assert torch.isfinite(scores).all()
    assert torch.isfinite(gradient).all()
    kept = logits[0, 0, torch.isfinite(logits[0, 0])].detach().double().requires_grad_()
    reference = torch.distributions.Categorical(logits=kept).entropy()
    (expected_gradient,) = torch.autograd.grad(reference, kept)
    assert scores[0, 0].item() == pytest.approx(reference.item(), rel=1e-5)
    own = gradient[0, 0, torch.isfinite(logits[0, 0])].double()
    torch.testing.assert_close(own, expected_gradient, atol=torch.finfo(dtype).eps, rtol=1e-2)
    assert not gradient[0, 0, [2, 5]].any()


def test_probabilities_are_computed_in_single_precision_at_least() -> None:
    lm, _ = subject("causal:gpt2")
    logits = torch.tensor([[[9.0, 1.0, -3.0]]], dtype=torch.bfloat16)
    for name in ("logprob", "prob", "entropy"):
        scores = scoring(lm, name, None)(logits, torch.tensor([0]))
        assert scores.dtype == torch.float32
        double = written_out(name, 0, [])(logits[0])
        assert float(scores[0, 0]) == pytest.approx(float(double[0]), abs=1e-6)


def test_units_and_titles() -> None:
    attribution = saliency(*subject("causal:gpt2"), score="logprob", versus=[" the", 3])
    assert attribution.score_unit == "nats"
    assert attribution.explained.startswith("log-probability against “ the” or “")
    assert "in nats" in attribution.unit
    assert attribution.explained in attribution.subtitle
