r"""Many targets' gradients from few passes, as a Captum ``gradient_func``.

Captum's gradient methods ask one function for gradients: ``gradient_func(forward, inputs, target,
args)``. Given inputs of shape (batch, positions, embedding), the one here answers with gradients of
shape (batch × targets, positions, embedding): one forward, then one backward for all targets
together. A stock Captum class, such as ``InputXGradient``, then gives all targets' attributions at
once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ecco_captum.products import fast_products


def target_gradients(
    forward_fn: Callable[..., Tensor],
    inputs: tuple[Tensor, ...],
    target_ind: Any = None,
    additional_forward_args: Any = None,
) -> tuple[Tensor, ...]:
    r"""Gradients of every score that ``forward_fn`` returns, from one forward; a ``gradient_func``.

    Args:
        forward_fn (Callable): returns scores of shape (batch, targets).
        inputs (tuple of Tensor): each (batch, …), requiring gradients. Texts of a batch do not mix.
        target_ind (Any, optional): not used: the scores are the targets'.
        additional_forward_args (Any, optional): passed on to ``forward_fn``.

    Returns:
        tuple of Tensor: for each input the gradients, (batch × targets, …), a text's targets one
        after the other.
    """
    if additional_forward_args is None:
        arguments: tuple[Any, ...] = ()
    elif isinstance(additional_forward_args, tuple):
        arguments = additional_forward_args
    else:
        arguments = (additional_forward_args,)
    with torch.enable_grad():
        scores = forward_fn(*inputs, *arguments)
        # Texts do not mix, so the sum over them has each text's own gradient.
        gradients = _batched(scores.sum(dim=0), inputs)
    return tuple(gradient.transpose(0, 1).flatten(0, 1) for gradient in gradients)


def _batched(scores: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """One batched backward; one by one where an operation of the model has no batched rule."""
    each = torch.eye(len(scores), dtype=scores.dtype, device=scores.device)
    try:
        # Only the backward: the forward's activations are then the model's own to the last bit.
        with fast_products():
            return torch.autograd.grad(
                scores, inputs, each, is_grads_batched=True, retain_graph=True
            )
    except RuntimeError:
        # Also where memory did not suffice: one target at a time needs the least.
        rows = [torch.autograd.grad(scores, inputs, row, retain_graph=True) for row in each]
        return tuple(torch.stack(column) for column in zip(*rows, strict=True))
