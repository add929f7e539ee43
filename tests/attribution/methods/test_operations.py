"""Each operation on what depends on the input is linear, ruled, only read, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tiny_models
import torch
import torch.nn.functional as F  # noqa: N812
from rule_samples import embeddings, logits_from, sample
from torch import Tensor, nn
from transformers.activations import ACT2FN

from ecco_captum.attribution.methods.operations import rules_applied
from ecco_captum.attribution.methods.rules import Attention, Bilinear, Norm, RuleError, Rules, Unary
from ecco_captum.testing import model_state


class Marking(Rules):
    """Gradients that tell which rule an operation went through; values stay."""

    title = "test"

    def __init__(self) -> None:
        self.seen: list[str] = []

    def mark(self, name: str, result: Tensor, *operands: Tensor) -> Tensor:
        self.seen.append(name)
        return result.detach() + sum((x - x.detach()).sum() for x in operands)

    def elementwise(self, name: str, function: Unary, inputs: Tensor) -> Tensor:
        return self.mark(name, function(inputs), inputs)

    def product(self, function: Bilinear, left: Tensor, right: Tensor) -> Tensor:
        return self.mark("product", function(left, right), left, right)

    def quotient(self, left: Tensor, right: Tensor) -> Tensor:
        return self.mark("quotient", left / right, left, right)

    def softmax(self, inputs: Tensor, dim: int, *, log: bool) -> Tensor:
        name = "log_softmax" if log else "softmax"
        outputs = inputs.log_softmax(dim) if log else inputs.softmax(dim)
        return self.mark(f"{name} {dim}", outputs, inputs)

    def norm(self, function: Unary, inputs: Tensor, norm: Norm) -> Tensor:
        return self.mark(f"norm {norm.axes} {norm.centred}", function(inputs), inputs)

    def attention(self, call: Attention) -> Tensor:
        return self.mark("attention", call.outputs(), call.query, call.key, call.value)

    def decision(self, result: Any) -> None:
        self.seen.append("decision")


class Running(nn.Module):
    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def run(function: Callable[[Tensor], Any]) -> tuple[Any, list[str]]:
    x = (torch.arange(12.0).reshape(3, 4) / 10 + 0.1).requires_grad_()
    model, rules = Running(function), Marking()
    with rules_applied(model, rules):
        return model(x * 1), rules.seen


W = torch.ones(4, 4)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: 2 * x + x / 3 - (1 - x) + torch.mul(x, 2) + (-x) + 1,
        lambda x: F.linear(x, W, W[0]) + x @ W + torch.addmm(W[0], x, W) + (W @ x.T).T,
        lambda x: torch.einsum("ij,jk->ik", x, W) + torch.einsum("ij,jk->ik", [x, W]),
        lambda x: torch.cat([x, x])[:3] + torch.stack([x, x]).mean(0) + x.chunk(2)[0][:1],
        lambda x: x.view(4, 3).T.reshape(3, 4).contiguous().to(torch.float64).float(),
        lambda x: x.masked_fill(x > 0.5, 0.0) + torch.where(W[:3] > 0, x, 0.0),
        lambda x: F.dropout(x, 0.5, training=False) + F.pad(x, (0, 1))[:, 1:],
        lambda x: x.clone().add_(x).mul_(2).div_(3),
    ],
)
def test_linear_operations_keep_their_gradient(function: Callable[[Tensor], Tensor]) -> None:
    x = (torch.arange(12.0).reshape(3, 4) / 10 + 0.1).requires_grad_()
    with rules_applied(nn.Identity(), rules := Marking()):
        outputs = function(x * 1)
    assert set(rules.seen) <= {"decision"}
    (gradient,) = torch.autograd.grad(outputs.sum(), x)
    (expected,) = torch.autograd.grad(function(x * 1).sum(), x)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize(
    ("function", "rule"),
    [
        (F.silu, "silu"),
        (torch.special.expit, "sigmoid"),
        (lambda x: x.clamp(0.2, 0.6), "clamp"),
        (lambda x: x**3, "pow"),
        (lambda x: 2**x, "exp"),
        (lambda x: torch.pow(x, -0.5), "rsqrt"),
        (lambda x: 1 / x, "reciprocal"),
        (lambda x: x * x, "product"),
        (lambda x: x @ x.T, "product"),
        (lambda x: torch.einsum("ij,kj->ik", x, x), "product"),
        (lambda x: x[None].bmm(x.T[None]), "product"),
        (lambda x: torch.baddbmm(W[:3, :3], batch1=x[None], batch2=x.T[None]), "product"),
        (lambda x: F.linear(x, x), "product"),
        (lambda x: x / x.sum(), "quotient"),
        (lambda x: x.softmax(-1), "softmax -1"),
        (lambda x: F.softmax(x, dim=0, dtype=torch.float64), "softmax 0"),
        (lambda x: F.log_softmax(x, 1), "log_softmax 1"),
        (lambda x: F.layer_norm(x, (4,)), "norm (-1,) True"),
        (lambda x: F.rms_norm(x, (3, 4)), "norm (-2, -1) False"),
        (lambda x: F.scaled_dot_product_attention(x, x, x), "attention"),
    ],
)
def test_other_operations_get_their_rule(function: Callable[[Tensor], Tensor], rule: str) -> None:
    outputs, seen = run(function)
    assert seen == [rule]
    plain = function(torch.arange(12.0).reshape(3, 4) / 10 + 0.1)
    torch.testing.assert_close(outputs.detach(), plain)


@pytest.mark.parametrize("name", ["gelu_new", "gelu", "silu", "relu2", "quick_gelu", "relu"])
def test_an_activation_module_is_one_function(name: str) -> None:
    model, rules = nn.Sequential(ACT2FN[name]), Marking()
    with rules_applied(model, rules):
        model(torch.ones(3, requires_grad=True))
    assert rules.seen == ["activation"]


def test_working_in_place_is_working_beside() -> None:
    def inside(x: Tensor) -> Tensor:
        y = x.clone()
        y *= x
        y.tanh_()
        F.relu(y, inplace=True)
        return y

    outputs, seen = run(inside)
    assert seen == ["product", "tanh", "relu"]
    assert outputs.requires_grad
    torch.testing.assert_close(outputs.detach(), run(lambda x: (x * x).tanh().relu())[0].detach())


def test_reading_is_no_operation() -> None:
    def reading(x: Tensor) -> Tensor:
        assert x.shape == (3, 4)
        assert x.ndim == x.dim() == 2
        assert x.dtype == torch.float32
        assert x.is_floating_point()
        mask = torch.zeros_like(x) + x.new_ones(())
        chosen = x.argmax(-1)
        assert chosen.tolist() == [3, 3, 3]
        assert bool((x > 0).all())
        return x[chosen - 1] + x.detach() * mask[0, 0]

    _, seen = run(reading)
    assert seen == ["decision"] * 2


class Doubling(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * 2


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: torch.topk(x, 2).values, "torch.topk in Running"),
        (lambda x: x.amax(), "torch.Tensor.amax in Running"),
        (lambda x: x.round(), "torch.Tensor.round"),
        (lambda x: x.sort()[0].round_(), "torch.Tensor.sort"),
        (lambda x: torch.ops.aten.norm(x), "norm"),
        (lambda x: x.pow(x), "this use of torch.Tensor.pow"),
        (lambda x: torch.div(x, 2, rounding_mode="floor"), "torch.div with rounding"),
        (lambda x: F.dropout(x, 0.5), "torch.nn.functional.dropout while training"),
        (lambda x: torch.mul(x, 2, out=torch.empty(3, 4)), "torch.mul with out="),
        (lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5), "with dropout"),
        (lambda x: torch.baddbmm(x[:, :3][None], x[None], x.T[None]), "of three tensors"),
        (lambda x: Doubling.apply(x) + 1, "an autograd.Function or compiled code in Running"),
    ],
)
def test_what_is_unknown_is_refused(function: Callable[[Tensor], Any], words: str) -> None:
    with pytest.raises(RuleError, match=f"no test rule for .*{words}"):
        run(function)


def test_the_module_that_runs_is_named() -> None:
    model = sample("causal", "mixtral", "sdpa", torch.float32)
    inputs = tiny_models.example_inputs(model)
    leaves = embeddings(model, inputs)
    before = model_state(model)
    with (
        pytest.raises(RuleError, match=r"no test rule for torch\.topk in MixtralTopKRouter"),
        rules_applied(model, Marking()),
    ):
        logits_from(model, inputs, leaves)
    assert model_state(model) == before
    assert not torch.overrides._get_current_function_mode_stack()


def test_everything_is_put_back() -> None:
    model = tiny_models.build("causal", "gpt2")
    next(model.parameters()).requires_grad_(False)
    before = model_state(model)
    with rules_applied(model, Marking()):
        assert not any(parameter.requires_grad for parameter in model.parameters())
        with pytest.raises(RuleError, match="other rules are in force"):
            rules_applied(model, Marking()).__enter__()
    assert model_state(model) == before


def test_without_gradients_nothing_happens() -> None:
    model = sample("causal", "gpt2", "sdpa", torch.float32)
    inputs = tiny_models.example_inputs(model)
    leaves = embeddings(model, inputs)
    with torch.no_grad():
        plain = model(**inputs, use_cache=False).logits
        with rules_applied(model, rules := Marking()):
            assert torch.equal(logits_from(model, inputs, leaves), plain)
    assert rules.seen == []
