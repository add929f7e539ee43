r"""Many targets' gradients from few passes, as a Captum ``gradient_func``.

Captum's gradient methods ask one function for gradients: ``gradient_func(forward, inputs, target,
args)``. Given inputs of shape (1, positions, embedding), the one here answers with gradients of
shape (targets, positions, embedding): one forward, then one backward for all targets together.
A stock Captum class, such as ``InputXGradient``, then gives all targets' attributions at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ecco_captum.causality import shares_forwards
from ecco_captum.models import LanguageModel
from ecco_captum.products import fast_products
from ecco_captum.scoring import Passage

# Larger chunks save forwards but leave the processor's cache and waste work above the triangle;
# 16 was the best of 8, 12, 16, 24 and 32 on a 135M model.
_MOST_TARGETS = 16


def target_gradients(
    forward: Callable[..., Tensor],
    inputs: tuple[Tensor, ...],
    target: Any = None,
    additional_forward_args: Any = None,
) -> tuple[Tensor, ...]:
    r"""Gradients of every score that ``forward`` returns, from one forward; a ``gradient_func``.

    Args:
        forward (Callable): returns scores of shape (targets,).
        inputs (tuple of Tensor): each (1, …), requiring gradients.
        target (Any, optional): not used: the scores are the targets'.
        additional_forward_args (Any, optional): passed on to ``forward``.

    Returns:
        tuple of Tensor: for each input the gradients, (targets, …).
    """
    if additional_forward_args is None:
        arguments: tuple[Any, ...] = ()
    elif isinstance(additional_forward_args, tuple):
        arguments = additional_forward_args
    else:
        arguments = (additional_forward_args,)
    with torch.enable_grad():
        scores = forward(*inputs, *arguments)
        gradients = _batched(scores, inputs)
    return tuple(gradient.squeeze(1) for gradient in gradients)


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


def passages(lm: LanguageModel, ids: Tensor, prompt: int, memory_budget: int) -> Iterator[Passage]:
    r"""Cuts a text's outputs into passages: each reads only the prefix that its targets need.

    The cost of all passages follows the triangle under (outputs, positions), not the square, and
    the gradients of one passage stay within the budget.

    Args:
        lm (LanguageModel): a causal model.
        ids (Tensor): (1, prompt + outputs), the whole text.
        prompt (int): where the outputs start.
        memory_budget (int): bytes for the gradients of one passage.

    Returns:
        Iterator of Passage: the last outputs first, so that the largest needs come first.
    """
    together = shares_forwards(lm, {"input_ids": ids[:, :-1]}, prompt)
    end = ids.shape[1]
    while end > prompt:
        most = _targets_within(lm, end - 1, memory_budget) if together else 1
        count = min(end - prompt, most)
        first = end - count
        yield Passage(ids[:, : end - 1], ids[0, first:end], first - prompt)
        end = first


def _targets_within(lm: LanguageModel, positions: int, memory_budget: int) -> int:
    """How many targets' gradients fit; what one needs was fitted to measured peaks."""
    stack = lm.anatomy.stack
    widths = [site.width for block in stack.blocks for site in block.neurons]
    neurons = max(widths, default=4 * stack.width)
    numbers = positions * (8 * stack.width + 6 * neurons)
    if lm.model.config._attn_implementation == "eager":
        heads = getattr(lm.model.config.get_text_config(), "num_attention_heads", 1)
        numbers += 3 * heads * positions**2
    bytes_a_target = max(1, numbers * lm.model.dtype.itemsize)
    return int(max(1, min(_MOST_TARGETS, memory_budget // bytes_a_target)))
