"""Captum both ways: our results in its classes, its classes on our functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import captum.attr
import matplotlib as mpl
import numpy as np
import pytest
import torch
from captum.attr import visualization
from captum.metrics import infidelity, sensitivity_max
from captum.testing.helpers.basic import assertTensorAlmostEqual

from ecco_captum import Generation, GenerationInputXGradient, force_decode, generate, saliency
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.models.modes import drawing
from ecco_captum.testing import model_state

MakeLM = Callable[..., LanguageModel]
FAMILIES = [("gpt2", "causal"), ("llama", "causal"), ("gemma2", "causal"), ("qwen3", "causal")]


class MethodInput:
    """What Captum's test helpers ask of a test: how it fails."""

    def assertEqual(self, first: Any, other: Any, msg: str = "") -> None:  # noqa: N802
        assert first == other, msg

    def assertAlmostEqual(self, first: Any, other: Any, **kwargs: Any) -> None:  # noqa: N802
        assert first == pytest.approx(other, abs=kwargs.get("delta", 1e-6))


def same(actual: torch.Tensor, expected: torch.Tensor, delta: float = 1e-5) -> None:
    assertTensorAlmostEqual(MethodInput(), actual, expected, delta=delta, mode="max")


def text(lm: LanguageModel) -> Generation:
    return generate(lm, [5, 9, 6, 7], max_new_tokens=4)


@pytest.mark.parametrize(("family", "kind"), FAMILIES)
def test_plain_captum_runs_on_forward_from_embeddings(
    tiny_lm: MakeLM, family: str, kind: str
) -> None:
    lm = tiny_lm(family, kind)
    generation = text(lm)
    target = int(generation.output_ids[0])
    ids = torch.tensor(generation.prompt_ids[None])
    embeddings = lm.embeddings(ids)
    assert lm.forward_from_embeddings(embeddings)[0].allclose(
        lm.model(ids).logits[0, -1], atol=1e-5
    )
    explainer = captum.attr.InputXGradient(lm.forward_from_embeddings)
    gradients = explainer.attribute(embeddings.requires_grad_(), target=target)
    norms = saliency(lm, generation, outputs=[0]).scores[0, :4]
    same(gradients.norm(dim=-1)[0].detach(), torch.tensor(norms), 1e-4)
    steps = captum.attr.IntegratedGradients(lm.forward_from_embeddings)
    # Another token everywhere; at zero a root-mean-square norm is singular.
    absent = lm.embeddings(torch.full_like(ids, 40))
    attributions, delta = steps.attribute(
        embeddings, absent, target=target, n_steps=50, return_convergence_delta=True
    )
    ours = saliency(
        lm, generation, method="ig", outputs=[0], baseline=40, keep_first=False, n_steps=50
    )
    same(attributions.sum(dim=-1)[0].detach(), torch.tensor(ours.scores[0, :4]), 1e-3)
    assert float(delta) == pytest.approx(float(ours.deltas[0]), abs=1e-3)


def test_layer_methods_take_the_anatomys_modules(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("llama")
    ids = torch.tensor([[5, 9, 6, 7]])
    block = lm.model.get_submodule(lm.anatomy.blocks[1].module)
    neurons = lm.model.get_submodule(lm.anatomy.blocks[1].neurons[0].module)
    conductance = captum.attr.LayerConductance(lm.forward_from_embeddings, block)
    absent = lm.embeddings(torch.full_like(ids, 40))
    attributions = conductance.attribute(lm.embeddings(ids), absent, target=3, n_steps=200).detach()
    assert attributions.shape == (1, 4, lm.anatomy.stack.width)
    # What passes a whole layer adds up to the difference from the baseline.
    with torch.no_grad():
        ends = [lm.forward_from_embeddings(e)[0, 3] for e in (lm.embeddings(ids), absent)]
    assert float(attributions.sum()) == pytest.approx(float(ends[0] - ends[1]), rel=0.05, abs=0.05)
    activation = captum.attr.LayerActivation(lm.forward_from_embeddings, neurons)
    width = lm.anatomy.blocks[1].neurons[0].width
    inside = activation.attribute(lm.embeddings(ids), attribute_to_layer_input=True)
    assert inside.shape == (1, 4, width)


def test_encoder_decoders_and_masked_models_from_embeddings(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("t5", "seq2seq")
    source, written = torch.tensor([[5, 9, 6]]), torch.tensor([[3, 7]])
    embeddings = lm.embeddings(source, written)
    assert embeddings.shape[1] == 5
    logits = lm.forward_from_embeddings(embeddings, source, written)
    plain = lm.model(input_ids=source, decoder_input_ids=written).logits[:, -1]
    same(logits.detach(), plain.detach())
    with pytest.raises(ValueError, match="input_ids: an encoder–decoder needs the ids"):
        lm.forward_from_embeddings(embeddings)
    lm = tiny_lm("bert", "masked")
    explainer = captum.attr.InputXGradient(lm.forward_from_embeddings)
    attributions = explainer.attribute(lm.embeddings(source).requires_grad_(), target=(1, 20))
    assert attributions.shape == lm.embeddings(source).shape


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_generation_input_x_gradient_is_a_captum_class(tiny_lm: MakeLM, family: str) -> None:
    lm = tiny_lm(family)
    generation = text(lm)
    before = model_state(lm.model)
    explainer = GenerationInputXGradient(lm, generation)
    assert isinstance(explainer, captum.attr.GradientAttribution)
    assert explainer.multiplies_by_inputs
    assert not explainer.has_convergence_delta()
    alone = explainer.attribute(explainer.inputs, target=2)
    assert alone.shape == explainer.inputs.shape
    expected = saliency(lm, generation).scores
    same(alone.norm(dim=-1)[0], torch.tensor(expected[2, :7]), 1e-4)
    every = explainer.attribute(explainer.inputs)
    same(every[2:3], alone)
    batch = explainer.attribute(explainer.inputs.expand(2, -1, -1), target=[2, 0])
    same(batch[1], every[0])
    with pytest.raises(ValueError, match="target: got None for a batch of 2"):
        explainer.attribute(explainer.inputs.expand(2, -1, -1))
    assert model_state(lm.model) == before


def test_captums_metrics_and_noise_tunnel_take_it(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    explainer = GenerationInputXGradient(lm, text(lm))
    with drawing(0):
        sensitivity = sensitivity_max(explainer.attribute, explainer.inputs, target=1)
    assert sensitivity.shape == (1,)
    assert 0 < float(sensitivity) < 1
    with drawing(0):
        still = sensitivity_max(explainer.attribute, explainer.inputs, target=1, perturb_radius=0.0)
    assert float(still) < 1e-5

    def perturb(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        noise = 1e-3 * torch.randn_like(inputs)
        return noise, inputs - noise

    # To first order a small change is what the gradient says: of plain gradients, not × input.
    gradient = explainer.attribute(explainer.inputs, target=1) / explainer.inputs
    with drawing(0):
        score = infidelity(explainer.forward_func, perturb, explainer.inputs, gradient, target=1)
    with drawing(0):
        wrong = infidelity(explainer.forward_func, perturb, explainer.inputs, -gradient, target=1)
    assert float(score) < 0.01 * float(wrong)
    tunnel = captum.attr.NoiseTunnel(explainer)
    with drawing(0):
        smooth = tunnel.attribute(explainer.inputs, target=1, nt_samples=4, stdevs=1e-4)
    same(smooth, explainer.attribute(explainer.inputs, target=1), 1e-2)


def test_results_in_captums_own_classes(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    generation = force_decode(lm, "The keys to", " the cabinet are")
    attribution = saliency(lm, generation, method="ig", n_steps=10, outputs=[1, 2])
    result = attribution.to_captum()
    assert isinstance(result, captum.attr.LLMAttributionResult)
    end = generation.tokens.prompt_length + 2
    assert result.input_tokens == list(generation.tokens.texts[:end])
    same(result.token_attr, torch.tensor(attribution.scores[:, :end]))
    same(result.seq_attr, torch.tensor(attribution.scores[:, :end].sum(axis=0)))
    np.testing.assert_allclose(result.output_probs, np.exp(generation.logprobs[[1, 2]]), rtol=1e-5)
    mpl.use("Agg")
    for plot in (result.plot_token_attr, result.plot_seq_attr):
        figure, axes = plot(show=False)
        assert axes.images or axes.patches
        mpl.pyplot.close(figure)
    records = attribution.to_visualization_records()
    assert [len(record.raw_input_ids) for record in records] == [end - 1, end]
    assert records[1].convergence_score == pytest.approx(float(attribution.deltas[1]))
    page = visualization.visualize_text(records)
    assert page.data.count("<mark") == len(records[0].raw_input_ids) + len(records[1].raw_input_ids)


def test_words_keep_their_probability_in_captums_result(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    generation = force_decode(lm, "The keys to", " the cabinet are")
    words = saliency(lm, generation).by_word()
    probabilities = words.to_captum().output_probs
    assert float(probabilities.log().sum()) == pytest.approx(
        float(generation.logprobs.sum()), rel=1e-4
    )
