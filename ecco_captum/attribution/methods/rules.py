r"""What a set of rules has to say: a graph for every operation that is not linear."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from ecco_captum.core.checks import UnsupportedError

Unary = Callable[[Tensor], Tensor]
Bilinear = Callable[[Tensor, Tensor], Tensor]


class RuleError(UnsupportedError):
    r"""Raised for an operation that the rules in force do not cover; names it and its module."""


class Norm(NamedTuple):
    r"""A layer norm or an RMS norm over the last axes."""

    axes: tuple[int, ...]
    weight: Tensor | None
    eps: float
    centred: bool


class Attention(NamedTuple):
    r"""The arguments of ``F.scaled_dot_product_attention``."""

    query: Tensor
    key: Tensor
    value: Tensor
    attn_mask: Tensor | None = None
    dropout_p: float = 0.0
    is_causal: bool = False
    scale: float | None = None
    enable_gqa: bool = False

    def outputs(self) -> Tensor:
        """What the call returns."""
        query, key, value, mask, dropout, causal, scale, grouped = self
        return F.scaled_dot_product_attention(
            query, key, value, mask, dropout, causal, scale=scale, enable_gqa=grouped
        )

    def factors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Queries with the scale, keys for the product with them, values: each for all heads."""
        query, key, value = self.query, self.key, self.value
        scale = query.shape[-1] ** -0.5 if self.scale is None else self.scale
        if self.enable_gqa:
            shared = query.shape[-3] // key.shape[-3]
            key, value = (x.repeat_interleave(shared, dim=-3) for x in (key, value))
        return query * scale, key.transpose(-2, -1), value

    def masked(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Scores before the softmax, and which queries see nothing: their outputs are zeros."""
        if self.is_causal:
            visible = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
            scores = scores.masked_fill(~visible, -torch.inf)
        if self.attn_mask is not None and self.attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~self.attn_mask, -torch.inf)
        elif self.attn_mask is not None:
            scores = scores + self.attn_mask
        blind = (scores == -torch.inf).all(dim=-1, keepdim=True)
        return scores.masked_fill(blind, 0.0), blind


class Rules(ABC):
    r"""What becomes of the operations that are not linear in what depends on the input.

    Each method returns the operation's value with a graph of its own choice. Where two tensors are
    passed, both depend on the input.
    """

    title: str

    @abstractmethod
    def elementwise(self, name: str, function: Unary, inputs: Tensor) -> Tensor:
        """A function of each number; powers of ±0.5 are named "sqrt" and "rsqrt"."""

    @abstractmethod
    def product(self, function: Bilinear, left: Tensor, right: Tensor) -> Tensor:
        """A function that is affine in each of two tensors."""

    @abstractmethod
    def quotient(self, left: Tensor, right: Tensor) -> Tensor:
        """``left / right``."""

    @abstractmethod
    def softmax(self, inputs: Tensor, dim: int, *, log: bool) -> Tensor:
        """Softmax over one axis, or its logarithm."""

    @abstractmethod
    def norm(self, function: Unary, inputs: Tensor, norm: Norm) -> Tensor:
        """A layer norm or an RMS norm in one call; ``function`` is that call."""

    @abstractmethod
    def attention(self, call: Attention) -> Tensor:
        """Scaled dot product attention in one call."""

    def cut_off(self, result: Any) -> None:  # noqa: B027
        """Is shown what was computed from the input where gradients are disabled."""

    def decision(self, result: Any) -> None:  # noqa: B027
        """Is shown what was read from the input without a derivative, such as a comparison."""


def depends(values: Any) -> bool:
    """Whether a tensor among the values depends on the input."""
    if isinstance(values, Tensor):
        return values.requires_grad
    if isinstance(values, dict):
        return any(map(depends, values.values()))
    return isinstance(values, list | tuple) and any(map(depends, values))


def no_rule(rules: Rules, what: str) -> RuleError:
    """The error for an operation without a rule; it names the class of the running module."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and not isinstance(frame.f_locals.get("self"), nn.Module):
        frame = frame.f_back
    place = type(frame.f_locals["self"]).__name__ if frame is not None else "no module"
    return RuleError(f"no {rules.title} rule for {what} in {place}")


def with_custom_gradient(
    inputs: Tensor, linearise: Callable[[Tensor], tuple[Tensor, Unary]]
) -> Tensor:
    """Returns a function's values, bit by bit, with a chosen linear map as its derivative.

    ``linearise`` is given the inputs, without a graph, and returns the values, a new tensor, and
    the pullback: the map from the values' gradient to the inputs' gradient, made of differentiable
    torch functions and constants, so that it can be batched.
    """
    outputs: Tensor = _Linearised.apply(inputs, linearise)
    return outputs


class _Linearised(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, linearise: Callable[[Tensor], Any]) -> Tensor:
        # The constants stay with the pullback. They are its own: no model writes into them.
        outputs, ctx.pullback = linearise(inputs.detach())
        # A view that comes out of here could not be written into.
        return outputs.clone() if outputs._is_view() else outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.pullback(*gradients), None


def secant(
    function: Unary, inputs: Tensor, outputs: Tensor, inputs_from: Tensor, outputs_from: Tensor
) -> Tensor:
    """Returns the slope Δoutputs / Δinputs of an elementwise function between two points.

    Where the points lie close together and the derivative halfway gives the same Δoutputs up to
    rounding, it is that derivative: the quotient is then mostly rounding. Slope × Δinputs =
    Δoutputs holds up to rounding in any case, also across a kink. Where it is undefined (infinite
    inputs, as masks have) the slope is 0.
    """
    across, up = inputs - inputs_from, outputs - outputs_from
    slope = up / across
    rounding = torch.finfo(inputs.dtype).eps
    # Beyond, rounding spoils a quotient less than the third derivative spoils the midpoint's.
    near = across.abs() <= rounding ** (1 / 3) * (1 + inputs.abs())
    if bool(near.any()):
        tangent = _derivative(function, inputs_from + across / 2)
        noise = 4 * rounding * (outputs.abs() + outputs_from.abs())
        near &= (tangent * across - up).abs() <= noise
        slope = torch.where(near, tangent, slope)
    return slope.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def _derivative(function: Unary, inputs: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = inputs.detach().requires_grad_()
        (derivative,) = torch.autograd.grad(function(leaf).sum(), leaf)
    return derivative
