"""Attention weights as the model used them, whichever way it computes attention."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import tiny_models
import torch
import torch.nn.functional as F  # noqa: N812
from rule_samples import embeddings, logits_from, sample
from torch import Tensor, nn

from ecco_captum.attribution.methods.attention import recorded_attention, rollout
from ecco_captum.attribution.methods.attn_lrp import attn_lrp_rules
from ecco_captum.testing import model_state

FAMILIES = [("causal", "gpt2"), ("causal", "llama"), ("masked", "bert"), ("seq2seq", "t5")]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(("kind", "name"), FAMILIES)
def test_they_are_transformers_own(kind: str, name: str, attention: str) -> None:
    eager = sample(kind, name, "eager", torch.float32)
    inputs = tiny_models.example_inputs(eager)
    inputs["attention_mask"][1, -2:] = 0
    outputs = eager(**inputs, use_cache=False, output_attentions=True)
    if kind == "seq2seq":
        pairs = zip(outputs.decoder_attentions, outputs.cross_attentions, strict=True)
        expected = [*outputs.encoder_attentions, *(weights for pair in pairs for weights in pair)]
    else:
        expected = list(outputs.attentions)
    model = sample(kind, name, attention, torch.float32)
    before = model_state(model)
    with torch.no_grad():
        plain = model(**inputs, use_cache=False).logits
        with recorded_attention(model) as found:
            logits = model(**inputs, use_cache=False).logits
    assert model_state(model) == before
    assert torch.equal(logits, plain)
    for layer, all_heads in zip(found, expected, strict=True):
        assert layer.dtype == torch.float32
        torch.testing.assert_close(layer, all_heads.detach().mean(1), rtol=0, atol=1e-5)
        torch.testing.assert_close(layer.sum(-1), torch.ones(layer.shape[:2]))


@pytest.mark.parametrize("name", ["bloom", "gpt_neox", "mixtral"])
def test_other_ways_to_write_attention(name: str) -> None:
    model = sample("causal", name, "eager", torch.float32)
    inputs = tiny_models.example_inputs(model)
    with torch.no_grad(), recorded_attention(model) as found:
        expected = model(**inputs, use_cache=False, output_attentions=True).attentions
    for layer, all_heads in zip(found, expected, strict=True):
        torch.testing.assert_close(layer, all_heads.mean(1), rtol=0, atol=1e-6)


def test_without_attention_there_is_nothing() -> None:
    model = sample("causal", "mamba", "eager", torch.float32)
    with torch.no_grad(), recorded_attention(model) as found:
        model(**tiny_models.example_inputs(model), use_cache=False)
    assert found == []


class Fused(nn.Module):
    def __init__(self, **options: object) -> None:
        super().__init__()
        self.options = options

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(query, key, value, **self.options)


MASK = torch.tensor([[True, False, True, True], [False] * 4, [True] * 4])


@pytest.mark.parametrize(
    "options",
    [
        {"is_causal": True, "scale": 0.3},
        {"attn_mask": MASK},
        {"attn_mask": torch.where(MASK, 0.5, -torch.inf)},
        {"enable_gqa": True},
    ],
)
def test_weights_times_values_are_what_the_fused_call_gave(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    heads = 2 if options.get("enable_gqa") else 1
    query, key = torch.randn(2, heads, 3, 6), torch.randn(2, 1, 4, 6)
    # With the same values in each head, the mean over heads commutes with the product.
    value = torch.randn(2, 1, 4, 5)
    model = Fused(**options)
    with recorded_attention(model) as found:
        outputs = model(query, key, value)
    torch.testing.assert_close(found[0] @ value[:, 0], outputs.mean(1))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("outside", [True, False])
def test_it_nests_with_rules(attention: str, outside: bool) -> None:
    model = sample("causal", "llama", attention, torch.float32)
    inputs = tiny_models.example_inputs(model)
    leaves = embeddings(model, inputs)
    with recorded_attention(model) as expected:
        logits_from(model, inputs, leaves)
    with attn_lrp_rules(model):
        alone = logits_from(model, inputs, leaves)[0, -1, 3]
    with contextlib.ExitStack() as stack:
        if outside:
            found = stack.enter_context(recorded_attention(model))
        stack.enter_context(attn_lrp_rules(model))
        if not outside:
            found = stack.enter_context(recorded_attention(model))
        score = logits_from(model, inputs, leaves)[0, -1, 3]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    gradients = (torch.autograd.grad(each, leaves)[0] for each in (score, alone))
    torch.testing.assert_close(*gradients)


def test_rollout_is_the_written_out_product() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = [torch.rand(5, 5, generator=generator).softmax(-1) for _ in range(3)]
    expected = np.eye(5)
    for layer in weights:
        mixed = np.zeros((5, 5))
        for row in range(5):
            for column in range(5):
                mixed[row, column] = (float(layer[row, column]) + (row == column)) / 2
            mixed[row] /= mixed[row].sum()
        expected = mixed @ expected
    found = rollout([layer[None] for layer in weights])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-6)
    torch.testing.assert_close(rollout(weights), found)


@pytest.mark.parametrize(
    "weights", [[], [torch.ones(2, 3)], [torch.ones(2, 2), torch.ones(3, 3)], [torch.ones(2, 3, 3)]]
)
def test_rollout_refuses_what_is_no_stack_of_layers(weights: list[Tensor]) -> None:
    with pytest.raises(ValueError, match="weights: got shapes"):
        rollout(weights)
