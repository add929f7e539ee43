r"""Values with a derivative of one's own choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Unary = Callable[[Tensor], Tensor]


def linearised(inputs: Tensor, linearise: Callable[[Tensor], tuple[Tensor, Unary]]) -> Tensor:
    r"""Returns a function's values with a chosen linear map as its derivative.

    Args:
        inputs (Tensor): what the gradient goes to.
        linearise (Callable): is given the inputs, without a graph, and returns the values, a new
            tensor, and the pullback: the map from the values' gradient to the inputs' gradient,
            made of differentiable torch functions and constants, so that it can be batched.

    Returns:
        Tensor: the values, bit by bit; their graph is the pullback alone.
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
    r"""Returns the slope of an elementwise function between two points, number by number.

    The slope is Δoutputs / Δinputs. Where the points lie close together and the derivative halfway
    gives the same Δoutputs up to rounding, it is that derivative: the quotient is then mostly
    rounding. Slope × Δinputs = Δoutputs holds up to rounding in any case, also across a kink.
    Where it is undefined (infinite inputs, as masks have) the slope is 0.

    Args:
        function (Callable): the elementwise function.
        inputs (Tensor): one point of each number, any shape.
        outputs (Tensor): the function there.
        inputs_from (Tensor): the other point, of a shape that expands to the inputs'.
        outputs_from (Tensor): the function there.

    Returns:
        Tensor: slopes, of the inputs' shape, finite.
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
