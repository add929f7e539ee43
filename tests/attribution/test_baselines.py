"""What stands for an absent token, against models that really read other tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from method_samples import SUBJECTS, Subject, rows_of, subject
from naive_methods import NaiveTarget, drawn_baselines, naive_baseline
from torch import Tensor

from ecco_captum import saliency
from ecco_captum.attribution.methods.base import baseline_embeddings
from ecco_captum.generation.scores import embedded
from ecco_captum.generation.segments import whole_segment

NAMES = [*SUBJECTS, "causal:opt"]


def embeddings_of(pair: Subject, baseline: Any, seed: int = 0) -> tuple[Tensor, NaiveTarget]:
    """By the product for the whole text; and what the last output reads."""
    lm, generation = pair
    count = len(generation.output_ids)
    segment = whole_segment(lm, generation, range(count))
    inputs = embedded(lm, segment)
    target = NaiveTarget(lm, generation, count - 1)
    torch.testing.assert_close(inputs, target.embeddings)
    return baseline_embeddings(lm, segment, inputs, baseline, seed), target


@pytest.mark.parametrize("name", NAMES)
def test_the_mean_of_the_vocabulary(name: str) -> None:
    embeddings, target = embeddings_of(subject(name), "mean")
    expected = naive_baseline(subject(name)[0], target, keep_first=False)
    torch.testing.assert_close(embeddings, expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_zeros_and_drawn_texts(name: str) -> None:
    absent, target = embeddings_of(subject(name), "zero")
    assert torch.equal(absent, torch.zeros_like(target.embeddings))
    for seed in (0, 5):
        drawn, target = embeddings_of(subject(name), "tokens", seed)
        expected = drawn_baselines(subject(name)[0], target, keep_first=False, seed=seed)
        torch.testing.assert_close(drawn, expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_token_id_stands_everywhere(name: str) -> None:
    lm, _ = subject(name)
    absent, target = embeddings_of(subject(name), 9)
    expected = lm.model.get_input_embeddings()(torch.full((1, target.length), 9))
    torch.testing.assert_close(absent, expected.detach())


@pytest.mark.parametrize("name", ["pad", "mask"])
def test_the_tokenizers_own_tokens(name: str) -> None:
    lm, generation = subject("masked:bert")
    token = getattr(lm.tokenizer, f"{name}_token_id")
    by_name = saliency(lm, generation, method="feature_ablation", baseline=name)
    by_id = saliency(lm, generation, method="feature_ablation", baseline=token)
    np.testing.assert_array_equal(by_name.scores, by_id.scores)
    assert by_name.settings["baseline"] == name
    with pytest.raises(ValueError, match=f"the tokenizer of 'tiny gpt2' has no {name} token"):
        saliency(*subject("causal:gpt2"), method="feature_ablation", baseline=name)


@pytest.mark.parametrize("name", ["causal:gpt2", "causal:llama", "causal:gemma3_text"])
def test_ablation_with_a_token_is_reading_that_token(name: str) -> None:
    lm, generation = subject(name)
    row = saliency(lm, generation, method="feature_ablation", baseline=9, outputs=[0]).scores[0]
    ids, token = torch.tensor(generation.prompt_ids[None]), int(generation.output_ids[0])
    with torch.no_grad():
        whole = lm.model(ids).logits[0, -1, token]
        for position in range(ids.shape[1]):
            other = ids.clone()
            other[0, position] = 9
            expected = float(whole - lm.model(other).logits[0, -1, token])
            assert row[position] == pytest.approx(expected, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("method", ["feature_ablation", "deep_lift", "integrated_gradients"])
@pytest.mark.parametrize("shape", ["width", "positions", "text", "one position", "numbers"])
def test_embeddings_of_ones_own(method: str, shape: str) -> None:
    pair = subject("causal:gpt2")
    positions = len(pair[1].tokens) - 1
    generator = torch.Generator().manual_seed(0)
    shapes = {"width": (32,), "positions": (positions, 32), "text": (1, positions, 32)}
    shapes |= {"one position": (1, 1, 32), "numbers": (1, positions, 1)}
    given = torch.randn(shapes[shape], generator=generator) / 10
    options: dict[str, Any] = {"method": method, "keep_first": False}
    whole = given.expand(1, positions, 32).clone()
    first, other = (saliency(*pair, baseline=b, **options) for b in (given, whole))
    np.testing.assert_array_equal(first.scores, other.scores)
    as_array = saliency(*pair, baseline=given.numpy(), **options)
    np.testing.assert_array_equal(as_array.scores, other.scores)
    assert first.settings["baseline"] == "given"


@pytest.mark.parametrize("method", ["feature_ablation", "shapley", "ig", "deep_lift"])
def test_a_drawn_baseline_is_averaged_over_or_refused_in_words(method: str) -> None:
    pair = subject("causal:gpt2")
    try:
        scores = saliency(*pair, method=method, baseline="tokens").scores
    except ValueError as error:
        assert str(error).startswith("baseline: ")  # noqa: PT017
        return
    target = NaiveTarget(*pair, 3)
    texts = drawn_baselines(pair[0], target, keep_first=method in ("ig", "deep_lift")).split(1)
    singly = [saliency(*pair, method=method, baseline=text).scores for text in texts]
    np.testing.assert_allclose(scores, np.mean(singly, axis=0), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("method", ["integrated_gradients", "deep_lift", "gradient_shap"])
def test_the_first_token_is_kept_on_a_path(method: str) -> None:
    pair = subject("causal:gpt2")
    kept = saliency(*pair, method=method)
    assert kept.settings["keep_first"] is True
    assert not kept.scores[:, 0].any()
    moved = saliency(*pair, method=method, keep_first=False, baseline="mean")
    assert moved.scores[:, 0].all()
    for name in ("seq2seq:t5", "masked:bert", "classification:bert"):
        others = saliency(*subject(name), method=method)
        assert others.settings["keep_first"] is False
        assert others.scores[:, 0].all()


@pytest.mark.parametrize("method", ["feature_ablation", "occlusion", "shapley"])
def test_perturbation_moves_the_first_token_too(method: str) -> None:
    pair = subject("causal:gpt2")
    assert saliency(*pair, method=method).settings["keep_first"] is False
    kept = saliency(*pair, method=method, keep_first=True)
    assert not any(np.abs(row[0]) > 1e-5 for row in rows_of(kept))


def test_a_number_that_an_array_holds_is_a_token() -> None:
    pair = subject("causal:gpt2")
    first, other = (
        saliency(*pair, method="feature_ablation", baseline=b) for b in (9, np.int64(9))
    )
    np.testing.assert_array_equal(first.scores, other.scores)


@pytest.mark.parametrize(
    ("baseline", "message"),
    [
        ("nothing", "baseline: got 'nothing', accepts 'zero', 'mean', 'pad', 'mask', 'tokens'"),
        (-1, "baseline: got token id -1, accepts 0 to"),
        (10**6, "baseline: got token id 1000000, accepts 0 to"),
        (True, "baseline: got True"),
        (0.5, "baseline: got 0.5"),
        (torch.zeros(5), "baseline: got embeddings of shape .*, accepts any that broadcast"),
        (torch.zeros(2, 32), "baseline: got embeddings of shape .*, accepts any that broadcast"),
        (torch.zeros(1, 1, 8, 32), "baseline: got embeddings of shape"),
    ],
)
def test_errors(baseline: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        saliency(*subject("causal:gpt2"), method="feature_ablation", baseline=baseline)


def test_methods_without_a_baseline_take_none() -> None:
    with pytest.raises(ValueError, match="baseline: saliency has no baseline, accepts None"):
        saliency(*subject("causal:gpt2"), method="saliency", baseline="zero")
    with pytest.raises(ValueError, match="keep_first: attention has no baseline"):
        saliency(*subject("causal:gpt2"), method="attention", keep_first=True)
