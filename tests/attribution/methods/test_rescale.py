"""DeepLIFT's multipliers account for the whole difference, whatever the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import captum.attr
import pytest
import tiny_models
import torch
import torch.nn.functional as F  # noqa: N812
from rule_samples import (
    EAGER_ONLY,
    FAMILIES,
    baseline_for,
    embeddings,
    logits_from,
    relative_error,
    sample,
)
from torch import Tensor, nn

from ecco_captum.attribution.methods.deep_lift import ReferenceTape
from ecco_captum.attribution.methods.rules import RuleError
from ecco_captum.testing import model_state

CASES = [
    (kind, name, attention)
    for kind, name in FAMILIES
    for attention in ("eager", "sdpa")
    if attention == "eager" or name not in EAGER_ONLY
]
# What these compute, they compute in the model's own precision.
EXACT = [case for case in CASES if case[1] in ("gpt2", "bert", "roberta")]


def explained(
    model: Any, inputs: dict[str, Any], leaves: Sequence[Tensor], baseline: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Logits of the last position on the baseline, by the plain model, and with multipliers."""
    tape = ReferenceTape(model)
    with torch.no_grad():
        before = logits_from(model, inputs, baseline)[0, -1]
        with tape.recording():
            recorded = logits_from(model, inputs, baseline)[0, -1]
    assert relative_error(recorded, before) < 1e-5
    with tape.replaying():
        return before, logits_from(model, inputs, leaves)[0, -1]


def error(kind: str, name: str, attention: str, dtype: torch.dtype) -> float:
    model = sample(kind, name, attention, dtype)
    inputs = tiny_models.example_inputs(model)
    leaves = embeddings(model, inputs)
    baseline = baseline_for(leaves)
    before, after = explained(model, inputs, leaves, baseline)
    with torch.no_grad():
        plain = model(**inputs, use_cache=False).logits[0, -1]
    assert relative_error(after.detach(), plain) < 1e-5
    # The logit that changes most.
    target = (after - before).abs().argmax()
    gradients = torch.autograd.grad(after[target], leaves)
    parts = zip(gradients, leaves, baseline, strict=True)
    total = sum((m * (x - x0)).double().sum() for m, x, x0 in parts)
    change = (after - before)[target]
    return float(((total - change) / change).detach().abs())


@pytest.mark.parametrize(("kind", "name", "attention"), CASES)
def test_contributions_add_up(kind: str, name: str, attention: str) -> None:
    assert error(kind, name, attention, torch.float32) < 1e-4


@pytest.mark.parametrize(("kind", "name", "attention"), EXACT)
def test_contributions_add_up_to_the_last_digits(kind: str, name: str, attention: str) -> None:
    assert error(kind, name, attention, torch.float64) < 1e-9


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_batched_backward_is_row_by_row(name: str) -> None:
    model = sample("causal", name, "sdpa", torch.float32)
    inputs = tiny_models.example_inputs(model)
    leaves = embeddings(model, inputs)
    _, after = explained(model, inputs, leaves, baseline_for(leaves))
    (batched,) = torch.autograd.grad(
        after[:3], leaves, torch.eye(3), is_grads_batched=True, retain_graph=True
    )
    for row in range(3):
        (alone,) = torch.autograd.grad(after[row], leaves, retain_graph=True)
        assert relative_error(batched[row], alone) < 1e-5


def multipliers(model: nn.Module, x: Tensor, x0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of the sum of the outputs; and the outputs of both."""
    tape = ReferenceTape(model)
    x, x0 = x.detach().requires_grad_(), x0.detach().requires_grad_()
    with tape.recording():
        before = model(x0)
    with tape.replaying():
        after = model(x)
    (gradient,) = torch.autograd.grad(after.sum(), x)
    return gradient, before.detach(), after.detach()


@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks")
@pytest.mark.parametrize("last", [nn.Tanh, nn.Sigmoid])
def test_it_is_captums_deep_lift_where_that_runs(last: type[nn.Module]) -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), last(), nn.Linear(6, 1)]
    model = nn.Sequential(*layers).double()
    x, x0 = torch.randn(2, 4, 5, dtype=torch.float64)
    expected = captum.attr.DeepLift(model).attribute(x.clone().requires_grad_(), x0)
    multiplier, _, _ = multipliers(model, x, x0)
    torch.testing.assert_close(multiplier * (x - x0), expected.detach(), rtol=1e-6, atol=1e-12)


def attention_of(**options: Any) -> Callable[[Tensor], Tensor]:
    def attend(x: Tensor) -> Tensor:
        query, key = x.unflatten(-1, (4, 3)).transpose(0, 1)[None].tensor_split([2], dim=1)
        if options.get("enable_gqa"):
            query = torch.cat([query, query * 2], dim=1)
        return F.scaled_dot_product_attention(query, key, key.sin(), **options)

    return attend


MASK = torch.tensor([[True, False, True], [False, False, False], [True, True, True]])


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x / x.square().sum(-1, keepdim=True),
        lambda x: 2 / x,
        lambda x: x.exp().log1p().sqrt() + x.abs() + 2**x,
        lambda x: F.layer_norm(x, (3, 12), torch.arange(36.0).reshape(3, 12).double(), eps=1e-3),
        lambda x: F.rms_norm(x, (12,), torch.arange(12.0).double()),
        lambda x: (x * 300).softmax(-1) * x,
        lambda x: (x + torch.full((3, 12), -torch.inf).double().triu(4)).log_softmax(-1).tril(3),
        lambda x: x.masked_fill(torch.arange(12) > 5, -torch.inf).softmax(-1) * torch.arange(12),
        lambda x: torch.einsum("ik,jk->ij", x, x).tanh(),
        attention_of(),
        attention_of(is_causal=True, scale=3.0),
        attention_of(attn_mask=MASK),
        attention_of(attn_mask=torch.where(MASK, 0.5, -torch.inf).double(), enable_gqa=True),
        lambda x: torch.cat([x[:1].relu_(), x[1:].clone().mul_(x[1:])]),
    ],
)
def test_each_operation_is_complete(function: Callable[[Tensor], Tensor]) -> None:
    class Running(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x * 1)

    x, x0 = torch.randn(2, 3, 12, generator=torch.Generator().manual_seed(1)).double()
    multiplier, before, after = multipliers(Running(), x, x0)
    torch.testing.assert_close(after, function(x.clone()), rtol=1e-12, atol=1e-12)
    change = (after - before).sum()
    torch.testing.assert_close((multiplier * (x - x0)).sum(), change, rtol=1e-10, atol=1e-10)


def test_close_points_have_the_derivative() -> None:
    x = torch.linspace(-3, 3, 13).repeat(3)
    apart = torch.tensor([0.0, 1e-7, 1e-3]).repeat_interleave(13)
    for function, derivative in ((torch.tanh, 1 - x.tanh() ** 2), (torch.exp, x.exp())):
        multiplier, _, _ = multipliers(nn.Sequential(Function(function)), x + apart, x)
        torch.testing.assert_close(multiplier, derivative, rtol=2e-3, atol=1e-4)
    # Across a kink the quotient stands, however close the points are.
    kink = torch.tensor([1e-4])
    multiplier, _, _ = multipliers(nn.Sequential(Function(torch.relu)), kink, -3 * kink)
    torch.testing.assert_close(multiplier, torch.tensor([0.25]))


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def test_a_run_that_differs_is_refused() -> None:
    x, x0 = torch.tensor([1.0, 2.0]), torch.tensor([-1.0, -2.0])
    turns = iter([torch.tanh, torch.sin, torch.tanh, lambda x: x.tanh().tanh()])

    def alternating(x: Tensor) -> Tensor:
        return next(turns)(x)

    for words in (
        "has sin of .* where the baseline's has tanh",
        "where the baseline's has the end",
    ):
        with pytest.raises(RuleError, match=words):
            multipliers(Function(alternating), x, x0)
    turns = iter([torch.tanh, lambda x: x])
    with pytest.raises(RuleError, match="the run ended before tanh"):
        multipliers(Function(alternating), x, x0)
    with pytest.raises(RuleError, match="decides differently"):
        multipliers(Function(lambda x: torch.where(x > 0, x, 0.1 * x)), x, x0)
    with pytest.raises(RuleError, match="decides differently"):
        multipliers(Function(torch.no_grad()(lambda x: x * 2)), x, x0)


def test_a_batch_against_one_baseline() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.GELU(), nn.LayerNorm(5), nn.Softmax(-1))
    x, x0 = torch.randn(3, 4), torch.randn(1, 4)
    multiplier, _, _ = multipliers(model, x, x0)
    for row in range(3):
        alone, _, _ = multipliers(model, x[row : row + 1], x0)
        torch.testing.assert_close(multiplier[row : row + 1], alone)


def test_everything_is_put_back_after_an_error() -> None:
    model = sample("causal", "mixtral", "sdpa", torch.float32)
    inputs = tiny_models.example_inputs(model)
    before = model_state(model)
    tape = ReferenceTape(model)
    with pytest.raises(RuleError, match=r"no DeepLIFT rule for torch\.topk"), tape.recording():
        logits_from(model, inputs, embeddings(model, inputs))
    assert model_state(model) == before
