"""Captum's classes and objects as methods: the same numbers as alone, and left untouched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from captum.attr import InputXGradient, IntegratedGradients, NoiseTunnel
from method_samples import Doubled, Subject, subject
from naive_methods import NaiveTarget, naive_baseline, naive_rows
from torch import Tensor, nn

from ecco_captum import Attribution, saliency
from ecco_captum.testing import model_state

NAMES = ["causal:gpt2", "causal:llama", "seq2seq:t5", "masked:bert", "classification:bert"]


def raw(pair: Subject, method: Any, **options: Any) -> list[Tensor]:
    """Attributions before they are aggregated, one target each."""
    seen: list[Tensor] = []

    def total(attributions: Tensor) -> Tensor:
        seen.append(attributions.detach())
        return attributions.sum(dim=-1)

    saliency(*pair, method=method, aggregate=total, **options)
    return [row for part in reversed(seen) for row in part]


def same(rows: list[Tensor], expected: list[Tensor]) -> None:
    for row, other in zip(rows, expected, strict=True):
        error = (row[: len(other)] - other).abs().max()
        assert float(error) <= 1e-4 * float(other.abs().max())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("kind", "method"), [(InputXGradient, "input_x_gradient")])
def test_an_object_equals_the_naive_loop(name: str, kind: Callable[..., Any], method: str) -> None:
    expected = naive_rows(*subject(name), method)
    same(raw(subject(name), kind(None)), expected)
    same(raw(subject(name), kind), expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_users_own_method(name: str) -> None:
    gradients = naive_rows(*subject(name), "saliency")
    same(raw(subject(name), Doubled(None)), [2 * row for row in gradients])
    same(raw(subject(name), Doubled), [2 * row for row in gradients])
    same(raw(subject(name), Doubled, factor=5.0), [5 * row for row in gradients])


@pytest.mark.parametrize("name", NAMES)
def test_integrated_gradients_as_an_object(name: str) -> None:
    lm, generation = subject(name)
    expected = []
    for output in range(len(generation.output_ids)):
        target = NaiveTarget(lm, generation, output)
        baseline = naive_baseline(lm, target, keep_first=False)
        explainer = IntegratedGradients(target, multiply_by_inputs=False)
        expected.append(explainer.attribute(target.embeddings, baseline, n_steps=6)[0].detach())
    explainer = IntegratedGradients(None, multiply_by_inputs=False)
    same(raw((lm, generation), explainer, n_steps=6, keep_first=False), expected)


def test_noise_tunnel_around_integrated_gradients() -> None:
    lm, generation = subject("causal:gpt2")
    options = {"nt_samples": 3, "stdevs": 0.1, "n_steps": 4}
    last = len(generation.output_ids) - 1
    target = NaiveTarget(lm, generation, last)
    baseline = naive_baseline(lm, target, keep_first=False)
    torch.manual_seed(0)
    tunnel = NoiseTunnel(IntegratedGradients(target))
    expected = tunnel.attribute(
        target.embeddings, baselines=baseline, nt_samples_batch_size=1, **options
    )
    explainer = NoiseTunnel(IntegratedGradients(None))
    rows = raw((lm, generation), explainer, keep_first=False, **options)
    same(rows[last:], [expected[0].detach()])


@pytest.mark.parametrize("name", ["causal:gpt2", "seq2seq:t5"])
def test_perturbation_objects_go_by_whole_tokens(name: str) -> None:
    attribution = saliency(*subject(name), method=captum.attr.FeatureAblation(None))
    expected = saliency(*subject(name), method="feature_ablation")
    np.testing.assert_allclose(attribution.scores, expected.scores, atol=1e-5)
    assert attribution.aggregate == expected.aggregate == ""
    windows = saliency(
        *subject(name), method=captum.attr.Occlusion(None), sliding_window_shapes=(1,)
    )
    np.testing.assert_allclose(windows.scores, expected.scores, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (captum.attr.IntegratedGradients, "integrated_gradients"),
        (captum.attr.Saliency, "saliency"),
        (captum.attr.GradientShap, "gradient_shap"),
        (captum.attr.NoiseTunnel, "smooth_grad"),
        (captum.attr.DeepLift, "deep_lift"),
        (captum.attr.DeepLiftShap, "deep_lift_shap"),
        (captum.attr.DeepLift(nn.Linear(2, 2)), "deep_lift"),
        (captum.attr.Occlusion, "occlusion"),
        (captum.attr.ShapleyValueSampling, "shapley_value_sampling"),
        (captum.attr.KernelShap, "kernel_shap"),
        (captum.attr.Lime, "lime"),
        (captum.attr.FeatureAblation, "feature_ablation"),
    ],
)
def test_stock_classes_are_methods_of_their_names(given: Any, name: str) -> None:
    attribution = saliency(*subject("causal:gpt2"), method=given, outputs=[0])
    expected = saliency(*subject("causal:gpt2"), method=name, outputs=[0])
    assert attribution.method == name
    np.testing.assert_array_equal(attribution.scores, expected.scores)


@pytest.mark.parametrize(
    "kind",
    [
        captum.attr.LayerIntegratedGradients,
        captum.attr.LayerConductance,
        captum.attr.NeuronGradient,
        captum.attr.InternalInfluence,
    ],
)
def test_methods_for_layers_and_neurons_are_refused(kind: Any) -> None:
    lm, generation = subject("causal:gpt2")
    for given in (kind, kind(lm.forward_from_embeddings, lm.model.transformer.h[0])):
        with pytest.raises(TypeError, match="explains by layers or neurons, not by input tokens"):
            saliency(lm, generation, method=given)


@pytest.mark.parametrize("given", [3, None, int, np.zeros(2), nn.Linear(2, 2)])
def test_other_things_are_no_methods(given: Any) -> None:
    with pytest.raises(TypeError, match=r"accepts a name, or a class or an object of captum\.attr"):
        saliency(*subject("causal:gpt2"), method=given)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (NoiseTunnel(IntegratedGradients(None)), {"nt_samples": 2, "n_steps": 2}),
        (IntegratedGradients(None), {"n_steps": 50}),
        (Doubled(None), {}),
        (captum.attr.FeatureAblation(None), {}),
    ],
)
def test_what_is_passed_in_is_left_untouched(method: Any, options: dict[str, Any]) -> None:
    inner = getattr(method, "attribution_method", method)
    before = dict(vars(method)), dict(vars(inner)), model_state(subject("causal:gpt2")[0].model)
    attribution: Attribution = saliency(*subject("causal:gpt2"), method=method, **options)
    assert attribution.method == type(method).__name__
    assert (dict(vars(method)), dict(vars(inner))) == before[:2]
    assert model_state(subject("causal:gpt2")[0].model) == before[2]
