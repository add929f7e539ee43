r"""Many targets' gradients from few passes, as a Captum ``gradient_func``.

Captum's gradient methods ask one function for gradients: ``gradient_func(forward, inputs, target,
args)``. Given inputs of shape (1, positions, embedding), the one here answers with gradients of
shape (targets, positions, embedding): one forward, then one backward for all targets together.
A stock Captum class, such as ``InputXGradient``, then gives all targets' attributions at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ecco_captum.anatomy import AnatomyError, Embedding
from ecco_captum.causality import is_causal
from ecco_captum.models import LanguageModel, keep_last
from ecco_captum.products import fast_products
from ecco_captum.replay import intercepted, replaced_output

# Larger chunks save forwards but leave the processor's cache and waste work above the triangle;
# 16 was the best of 8, 12, 16, 24 and 32 on a 135M model.
_MOST_TARGETS = 16


@dataclass(frozen=True)
class Passage:
    r"""A prefix of a text and the outputs that its last positions predict.

    Args:
        ids (Tensor): (1, positions), the tokens that the model reads.
        targets (Tensor): (targets,), the tokens that follow the last ``targets`` positions.
        first (int): which output the first target is.
    """

    ids: Tensor
    targets: Tensor
    first: int

    @property
    def outputs(self) -> slice:
        """The rows of the result that this passage gives."""
        return slice(self.first, self.first + len(self.targets))


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


def embedded(lm: LanguageModel, ids: Tensor) -> Tensor:
    r"""Returns what the model's embedding module gives for ids: the model runs only that far.

    Args:
        lm (LanguageModel): a causal model.
        ids (Tensor): (1, positions).

    Returns:
        Tensor: (1, positions, embedding), without a graph.
    """
    module, site = _entrance(lm)
    found: list[Tensor] = []

    def stop(forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        found.append(forward(*args, **kwargs).detach())
        raise _ReachedError

    stopping = intercepted(module, stop, call=site.call)
    with torch.no_grad(), stopping, contextlib.suppress(_ReachedError):
        lm.model(input_ids=ids, use_cache=False)
    return found[0].permute(site.axes)[:, site.offset : site.offset + ids.shape[1]]


def _entrance(lm: LanguageModel) -> tuple[nn.Module, Embedding]:
    """The module whose output gradients enter through."""
    lm.anatomy.require("gradient")
    site = lm.anatomy.embedding
    if site is None:  # only an anatomy written by hand can have come this far without
        raise AnatomyError(f"lm: the anatomy given for {lm.name!r} names no embedding")
    return lm.model.get_submodule(site.module), site


class _ReachedError(Exception):
    """Ends a forward that has given what was wanted."""


def target_scores(lm: LanguageModel, passage: Passage) -> Callable[[Tensor], Tensor]:
    r"""Returns the function from embeddings to the logits of a passage's targets.

    ``input_ids`` stay what they are, and the embedding module's output is replaced: some models
    compute other things from the ids, which ``inputs_embeds`` would silently drop.

    Args:
        lm (LanguageModel): a causal model.
        passage (Passage): ids and targets.

    Returns:
        Callable: takes (1, positions, embedding), returns (targets,) logits.
    """
    module, site = _entrance(lm)
    count = len(passage.targets)

    def scores(embeddings: Tensor) -> Tensor:
        def enter(current: Tensor) -> Tensor:
            before, _, after = (
                current.detach()
                .permute(site.axes)
                .tensor_split([site.offset, site.offset + embeddings.shape[1]], dim=1)
            )
            # A new tensor also where nothing is added: some models write into it in place.
            whole = torch.cat([before, embeddings, after], dim=1)
            return whole.permute(*torch.tensor(site.axes).argsort().tolist())

        with replaced_output(module, enter, call=site.call):
            output = lm.model(input_ids=passage.ids, use_cache=False, **keep_last(lm, count))
        logits = output.logits[0, -count:]
        chosen = passage.targets.to(logits.device)[:, None]
        return logits.gather(1, chosen)[:, 0]

    return scores


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
    end = ids.shape[1]
    while end > prompt:
        count = min(end - prompt, _targets_within(lm, end - 1, memory_budget))
        first = end - count
        yield Passage(ids[:, : end - 1], ids[0, first:end], first - prompt)
        end = first


def _targets_within(lm: LanguageModel, positions: int, memory_budget: int) -> int:
    """How many targets' gradients fit; what one needs was fitted to measured peaks."""
    if not is_causal(lm.model):
        return 1
    stack = lm.anatomy.stack
    widths = [site.width for block in stack.blocks for site in block.neurons]
    neurons = max(widths, default=4 * stack.width)
    numbers = positions * (8 * stack.width + 6 * neurons)
    if lm.model.config._attn_implementation == "eager":
        heads = getattr(lm.model.config.get_text_config(), "num_attention_heads", 1)
        numbers += 3 * heads * positions**2
    bytes_a_target = max(1, numbers * lm.model.dtype.itemsize)
    return int(max(1, min(_MOST_TARGETS, memory_budget // bytes_a_target)))
