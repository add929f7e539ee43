"""AttnLRP's modified gradient is the relevance that its equations propagate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import explicit_lrp
import pytest
import tiny_models
import torch
from rule_samples import EAGER_ONLY, FAMILIES, embeddings, logits_from, relative_error, sample
from torch import Tensor, nn

from ecco_captum.attribution.methods.attn_lrp import attn_lrp_rules
from ecco_captum.attribution.methods.rules import RuleError
from ecco_captum.testing import model_state


def relevances(kind: str, name: str, attention: str, dtype: torch.dtype) -> list[Tensor]:
    """Of each embedding, to a logit of the last position."""
    model = sample(kind, name, attention, dtype)
    inputs = tiny_models.example_inputs(model)
    leaves = embeddings(model, inputs)
    with attn_lrp_rules(model):
        score = logits_from(model, inputs, leaves)[0, -1, 7]
    gradients = torch.autograd.grad(score, leaves)
    return [(g * leaf).detach() for g, leaf in zip(gradients, leaves, strict=True)]


@pytest.mark.parametrize(
    ("name", "explicit"), [("gpt2", explicit_lrp.gpt2), ("llama", explicit_lrp.llama)]
)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_it_is_what_the_equations_propagate(
    name: str, explicit: Callable[..., Tensor], attention: str
) -> None:
    model = sample("causal", name, attention, torch.float64)
    embedded = embeddings(model, tiny_models.example_inputs(model))[0].detach()[0]
    with torch.no_grad():
        expected = explicit(model, embedded, 7)
    (propagated,) = relevances("causal", name, attention, torch.float64)
    assert expected.abs().max() > 1e-3
    assert relative_error(propagated[0], expected) < (1e-9 if name == "gpt2" else 1e-4)


@pytest.mark.parametrize(("kind", "name"), [f for f in FAMILIES if f[1] not in EAGER_ONLY])
def test_fused_attention_is_eager_attention(kind: str, name: str) -> None:
    eager = relevances(kind, name, "eager", torch.float64)
    fused = relevances(kind, name, "sdpa", torch.float64)
    # Models that compute norms or softmax in float32 wherever they are differ by its rounding.
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(fused, eager, strict=True))


@pytest.mark.parametrize(("kind", "name"), FAMILIES)
def test_values_stay_and_batches_are_rows(kind: str, name: str) -> None:
    attention = "eager" if name in EAGER_ONLY else "sdpa"
    model = sample(kind, name, attention, torch.float32)
    inputs = tiny_models.example_inputs(model)
    leaves = embeddings(model, inputs)
    with torch.no_grad():
        plain = model(**inputs, use_cache=False).logits
    with attn_lrp_rules(model):
        logits = logits_from(model, inputs, leaves)
    assert relative_error(logits.detach(), plain) < 1e-6
    scores = logits[0, -1, :3]
    batched = torch.autograd.grad(
        scores, leaves, torch.eye(3), is_grads_batched=True, retain_graph=True
    )
    for row in range(3):
        alone = torch.autograd.grad(scores[row], leaves, retain_graph=True)
        for many, single in zip(batched, alone, strict=True):
            assert relative_error(many[row], single) < 1e-5


class GatedMLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(6, 9, bias=False), nn.Linear(6, 9, bias=False)
        self.down = nn.Linear(9, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
        return 3 * torch.tanh(self.down(torch.nn.functional.silu(self.gate(x)) * self.up(x)) / 3)


def test_without_biases_nothing_is_lost() -> None:
    torch.manual_seed(0)
    model = GatedMLP().double()
    x = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    with attn_lrp_rules(model):
        outputs = model(x)[:, 0]
    (gradient,) = torch.autograd.grad(outputs.sum(), x)
    torch.testing.assert_close((gradient * x).sum(-1), outputs, rtol=1e-10, atol=0)


class Running(nn.Module):
    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def ruled_gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    model = Running(function)
    with attn_lrp_rules(model):
        outputs = model(x)
    return torch.autograd.grad(outputs.sum(), x)[0]


@pytest.mark.parametrize(
    "function",
    [torch.tanh, torch.relu, torch.nn.functional.gelu, torch.nn.functional.silu, torch.square],
)
def test_the_identity_rule_is_finite_at_zero(function: Callable[[Tensor], Tensor]) -> None:
    x = torch.tensor([-2.0, -1e-30, 0.0, 1e-30, 1e-3, 0.7, 80.0], requires_grad=True)
    gradient = ruled_gradient(function, x)
    ratio = function(x.detach().double()) / x.detach().double()
    (derivative,) = torch.autograd.grad(function(x).sum(), x)
    expected = torch.where(x == 0, derivative, ratio.float())
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-30)


def test_a_constant_at_zero_counts_as_a_bias() -> None:
    x = torch.tensor([-2.0, -1e-8, 0.0, 0.5], dtype=torch.float64, requires_grad=True)
    gradient = ruled_gradient(torch.sigmoid, x)
    ratio = (x.detach().sigmoid() - 0.5) / x.detach()
    expected = torch.where(x == 0, 0.25, ratio)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5),
        lambda x: x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt(),
        lambda x: x * ((x * x).mean(-1) + 1e-5).pow(-0.5)[:, None],
        lambda x: x * (x.float().to(x.dtype).pow(2).sum(-1, keepdim=True) / 4 + 1e-5) ** -0.5,
        lambda x: torch.nn.functional.rms_norm(x, (4,), eps=1e-5),
    ],
)
def test_a_root_mean_square_is_a_constant(function: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    torch.testing.assert_close(ruled_gradient(function, x) * x, function(x), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: x / x.sum(-1, keepdim=True), "the quotient of two tensors"),
        (lambda x: x.log(), r"a function with a pole at 0 \(log\)"),
        (lambda x: x.rsqrt(), r"a function with a pole at 0 \(rsqrt\)"),
        (lambda x: x.norm(dim=-1), "torch.Tensor.norm"),
    ],
)
def test_what_has_no_rule_is_refused(function: Any, words: str) -> None:
    x = torch.rand(3, 4, requires_grad=True)
    with pytest.raises(RuleError, match=f"no AttnLRP rule for {words}.* in Running"):
        ruled_gradient(function, x)


def test_a_root_behind_a_mean_and_a_layer_is_no_norm() -> None:
    torch.manual_seed(0)
    weight = torch.rand(4, 4, dtype=torch.float64)
    x = torch.rand(3, 4, dtype=torch.float64, requires_grad=True)
    gradient = ruled_gradient(lambda x: (x.mean(0) @ weight).sqrt(), x)
    # Relevance passes unchanged through the root.
    assert float((gradient * x.detach()).sum()) == pytest.approx(
        float((x.mean(0) @ weight).detach().sqrt().sum())
    )


def test_what_is_made_of_the_outputs_keeps_its_gradient() -> None:
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    model = nn.Linear(4, 5).double()
    with attn_lrp_rules(model):
        score = model(x).softmax(-1).square().log().sum()
    (gradient,) = torch.autograd.grad(score, x)
    (plain,) = torch.autograd.grad(model(x).softmax(-1).square().log().sum(), x)
    torch.testing.assert_close(gradient, plain)


def test_a_model_without_a_rule_is_left_as_it_was() -> None:
    model = sample("causal", "mixtral", "eager", torch.float32)
    inputs = tiny_models.example_inputs(model)
    leaves, before = embeddings(model, inputs), model_state(model)
    words = r"no AttnLRP rule for torch\.topk in MixtralTopKRouter"
    with pytest.raises(RuleError, match=words), attn_lrp_rules(model):
        logits_from(model, inputs, leaves)
    assert model_state(model) == before
    assert not torch.overrides._get_current_function_mode_stack()
