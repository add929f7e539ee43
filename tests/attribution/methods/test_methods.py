"""Every gradient method equals Captum's stock class in a naive loop, or says why it cannot."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from method_samples import SEPARATE, SUBJECTS, Subject, subject
from naive_methods import GRADIENT_OPTIONS, NaiveTarget, naive_baseline, naive_rows

from ecco_captum import Attribution, saliency
from ecco_captum.attribution.methods.base import UnsupportedMethodError
from ecco_captum.attribution.methods.catalogue import ALIASES, METHODS
from ecco_captum.testing import model_state

RELU = {"seq2seq:t5", "causal:opt"}
HOOKED = ["guided_backprop", "deconvolution"]
# Few steps miss more of the difference; what is compared here is the arithmetic.
FEW_STEPS = pytest.mark.filterwarnings("ignore:integrated_gradients. attributions miss:UserWarning")


def run(method: Any, pair: Subject, **options: Any) -> Attribution:
    """Without the warning that has a test of its own."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* has no ReLU")
        return saliency(*pair, method=method, **options)


@FEW_STEPS
@pytest.mark.parametrize("name", SUBJECTS)
@pytest.mark.parametrize("method", GRADIENT_OPTIONS)
def test_equals_the_naive_loop(method: str, name: str) -> None:
    lm, generation = subject(name)
    options = GRADIENT_OPTIONS[method]
    before = model_state(lm.model)
    expected = naive_rows(lm, generation, method, together=name not in SEPARATE, **options)
    seen: list[torch.Tensor] = []

    def total(attributions: torch.Tensor) -> torch.Tensor:
        seen.append(attributions.detach())
        return attributions.sum(dim=-1)

    attribution = run(method, (lm, generation), aggregate=total, **options)
    assert attribution.method == method
    # Passages come last first.
    every = [row for part in reversed(seen) for row in part]
    for row, scores, other in zip(every, attribution.scores, expected, strict=True):
        size = float(other.abs().max())
        assert float((row[: len(other)] - other).abs().max()) <= 1e-4 * size
        sums = other.sum(dim=-1).numpy()
        assert np.abs(scores[: len(other)] - sums).max() <= 1e-3 * size
        assert not scores[len(other) :].any()
    assert model_state(lm.model) == before


@FEW_STEPS
@pytest.mark.parametrize("name", ["causal:gpt2", "causal:llama", "seq2seq:t5", "causal:opt"])
def test_each_method_says_something_of_its_own(name: str) -> None:
    plain = {how: run("saliency", subject(name), aggregate=how).scores for how in ("l2", "sum")}
    for method, options in GRADIENT_OPTIONS.items():
        attribution = run(method, subject(name), **options)
        size = np.abs(attribution.scores).max()
        assert size > 1e-4
        if method != "saliency":
            same = np.allclose(
                attribution.scores, plain[attribution.aggregate], rtol=1e-3, atol=1e-3 * size
            )
            assert same == (method in HOOKED and name not in RELU), method


@pytest.mark.parametrize("method", HOOKED)
@pytest.mark.parametrize("name", [*SUBJECTS, "causal:opt"])
def test_methods_for_relu_warn_where_there_is_none(method: str, name: str) -> None:
    if name in RELU:
        saliency(*subject(name), method=method)  # a warning would be an error
        return
    with pytest.warns(UserWarning, match="has no ReLU: .* equals its plain gradient"):
        attribution = saliency(*subject(name), method=method)
    plain = saliency(*subject(name), method="saliency")
    np.testing.assert_allclose(attribution.scores, plain.scores, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", HOOKED)
def test_relu_as_a_function_is_refused(method: str) -> None:
    lm, generation = subject("causal:nemotron")  # its activation squares what F.relu gives
    before = model_state(lm.model)
    with pytest.raises(
        UnsupportedMethodError, match="calls ReLU as a function, which Captum cannot hook"
    ):
        saliency(lm, generation, method=method)
    assert model_state(lm.model) == before


@pytest.mark.parametrize("name", [*SUBJECTS, "causal:opt"])
def test_methods_that_cannot_run_say_why(name: str) -> None:
    with pytest.raises(
        UnsupportedMethodError, match=r"LRP has no rule for .*Embedding.* 'attn_lrp' has"
    ):
        saliency(*subject(name), method="lrp")
    with pytest.raises(UnsupportedMethodError, match="convolution's feature maps"):
        saliency(*subject(name), method="guided_gradcam")


@pytest.mark.parametrize("method", ["attention", "attention_rollout"])
def test_attention_is_refused_where_it_is_no_row_of_one_matrix(method: str) -> None:
    with pytest.raises(
        UnsupportedMethodError, match="two distributions, which have no common scale"
    ):
        saliency(*subject("seq2seq:t5"), method=method)
    with pytest.raises(
        UnsupportedMethodError, match="a classifier reads no single position's attention"
    ):
        saliency(*subject("classification:bert"), method=method)


@pytest.mark.parametrize(
    ("eccos", "ours"),
    [
        ("grad_x_input", "input_x_gradient"),
        ("ig", "integrated_gradients"),
        ("saliency", "saliency"),
        ("dl", "deep_lift"),
        ("dls", "deep_lift_shap"),
        ("gb", "guided_backprop"),
        ("gg", "guided_gradcam"),
        ("deconv", "deconvolution"),
        ("lrp", "lrp"),
    ],
)
def test_eccos_names(eccos: str, ours: str) -> None:
    assert ALIASES.get(eccos, eccos) == ours
    if ours in ("lrp", "guided_gradcam"):
        with pytest.raises(UnsupportedMethodError):
            run(eccos, subject("causal:gpt2"))
        return
    attribution, expected = (
        run(name, subject("causal:gpt2"), outputs=[0]) for name in (eccos, ours)
    )
    assert attribution.method == expected.method == ours
    np.testing.assert_array_equal(attribution.scores, expected.scores)


def test_aliases_lead_somewhere() -> None:
    assert set(ALIASES.values()) <= set(METHODS)
    assert not set(ALIASES) & set(METHODS)


def difference(pair: Subject, output: int, *, keep_first: bool) -> float:
    """The score of a text less that of its baseline, by two plain forwards."""
    target = NaiveTarget(*pair, output)
    with torch.no_grad():
        absent = target(naive_baseline(pair[0], target, keep_first=keep_first))
        return float(target(target.embeddings) - absent)


@pytest.mark.parametrize("name", ["causal:gpt2", "causal:llama", "seq2seq:t5", "masked:bert"])
@pytest.mark.parametrize(
    ("method", "options", "tolerance"),
    [
        ("integrated_gradients", {"n_steps": 100}, 0.01),
        ("deep_lift", {}, 1e-3),
        ("shapley_value_sampling", {"n_samples": 2}, 1e-4),
        ("kernel_shap", {}, 1e-3),
    ],
)
def test_complete_methods_add_up(
    method: str,
    options: dict[str, Any],
    tolerance: float,
    name: str,
) -> None:
    lm, generation = subject(name)
    attribution = saliency(lm, generation, method=method, **options)
    keep_first = generation.task == "causal" and method in ("integrated_gradients", "deep_lift")
    assert attribution.differences is not None
    assert attribution.deltas is not None
    for t, row in enumerate(attribution.scores.astype(np.float64)):
        expected = difference((lm, generation), t, keep_first=keep_first)
        assert attribution.differences[t] == pytest.approx(expected, rel=1e-3, abs=1e-4)
        assert attribution.deltas[t] == pytest.approx(
            row.sum() - attribution.differences[t], abs=1e-4
        )
    size = np.abs(attribution.differences).mean()
    assert np.abs(attribution.deltas).mean() <= tolerance * size
    if keep_first:
        assert not attribution.scores[:, 0].any()


def test_a_sum_that_misses_the_difference_is_said_aloud() -> None:
    with pytest.warns(UserWarning, match="miss the difference .* more n_steps make it smaller"):
        few = saliency(*subject("causal:gpt2"), method="ig", n_steps=1)
    many = saliency(*subject("causal:gpt2"), method="ig", n_steps=100)
    assert few.deltas is not None
    assert many.deltas is not None
    assert np.abs(many.deltas).mean() < 0.1 * np.abs(few.deltas).mean()


def test_methods_without_a_sum_promise_none() -> None:
    for method in ("input_x_gradient", "smooth_grad", "feature_ablation", "attention"):
        attribution = saliency(*subject("causal:gpt2"), method=method)
        assert attribution.deltas is None
        assert attribution.differences is None


@pytest.mark.parametrize(
    ("method", "option", "value"),
    [
        ("ig", "n_steps", 0),
        ("ig", "n_steps", 2.5),
        ("smooth_grad", "n_samples", True),
        ("gradient_shap", "n_samples", -1),
        ("shapley", "n_samples", 0),
        ("kernel_shap", "n_samples", -3),
        ("lime", "n_samples", 1.5),
        ("occlusion", "window", 0),
    ],
)
def test_wrong_options_are_named(method: str, option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{option}: got {value}, accepts a"):
        saliency(*subject("causal:gpt2"), method=method, **{option: value})
