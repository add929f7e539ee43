r"""From embeddings to the scores of a passage's targets, through the model as it is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from ecco_captum.anatomy import AnatomyError, Embedding
from ecco_captum.models import LanguageModel, keep_last
from ecco_captum.replay import intercepted, replaced_input, replaced_output

# Models whose targets' scores each come from their own row of the head's input alone, as was seen
# once, and models where that is not so.
_SEPARATE: WeakSet[nn.Module] = WeakSet()
_ENTANGLED: WeakSet[nn.Module] = WeakSet()


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

    def scores(embeddings: Tensor) -> Tensor:
        if torch.is_grad_enabled() and lm.model not in _ENTANGLED:
            found = _scores_with_row_gradients(lm, passage, embeddings)
            if found is not None:
                return found
            _ENTANGLED.add(lm.model)
        return _scores(lm, passage, embeddings)

    return scores


def _scores(lm: LanguageModel, passage: Passage, embeddings: Tensor) -> Tensor:
    module, site = _entrance(lm)
    count = len(passage.targets)

    def enter(current: Tensor) -> Tensor:
        ends = [site.offset, site.offset + embeddings.shape[1]]
        before, _, after = current.detach().permute(site.axes).tensor_split(ends, dim=1)
        # A new tensor also where nothing is added: some models write into it in place.
        whole = torch.cat([before, embeddings, after], dim=1)
        return whole.permute(*torch.tensor(site.axes).argsort().tolist())

    with replaced_output(module, enter, call=site.call):
        output = lm.model(input_ids=passage.ids, use_cache=False, **keep_last(lm, count))
    logits = output.logits[0, -count:]
    chosen = passage.targets.to(logits.device)[:, None]
    return logits.gather(1, chosen)[:, 0]


def _scores_with_row_gradients(
    lm: LanguageModel, passage: Passage, embeddings: Tensor
) -> Tensor | None:
    """The same scores, with the head's gradient taken once for all targets.

    A target's logit depends on one row of the head's input, so one plain backward through the head
    gives every target's row. A batched backward would fill targets × targets × vocabulary numbers,
    nearly all of them zero. Returns None where the model turns out to be made otherwise.
    """
    head = lm.anatomy.head
    if head is None:
        return None
    seen: list[Tensor] = []

    def cut(hidden: Tensor) -> Tensor:
        seen.extend((hidden, hidden.detach().requires_grad_()))
        return seen[1]

    with replaced_input(lm.model.get_submodule(head.module), cut, call=head.call):
        scores = _scores(lm, passage, embeddings)
    if not seen or not scores.requires_grad:
        return None
    hidden, leaf = seen
    if lm.model not in _SEPARATE and not _separate(scores, leaf, embeddings):
        return None
    # One target alone shows nothing about how several would mix.
    if len(scores) > 1:
        _SEPARATE.add(lm.model)
    (gradient,) = torch.autograd.grad(scores.sum(), leaf)
    rows = gradient.flatten(0, -2)[-len(scores) :]
    own = hidden.flatten(0, -2)[-len(scores) :]
    # The second term is zero; its gradient is what was found for each row.
    change = ((own - own.detach()) * rows).sum(dim=1)
    return scores.detach() + change.to(scores.device)


def _separate(scores: Tensor, leaf: Tensor, embeddings: Tensor) -> bool:
    """Whether each score depends on its own row of the head's input, and on nothing beside it."""
    found: tuple[Tensor | None, ...] = torch.autograd.grad(
        scores.sum(), (leaf, embeddings), allow_unused=True, retain_graph=True
    )
    total, beside = found
    if total is None or beside is not None:
        return False
    # Weighted differently, the targets would show where one reached into another's row.
    weights = torch.linspace(1, 2, len(scores), dtype=scores.dtype, device=scores.device)
    (weighted,) = torch.autograd.grad((scores * weights).sum(), leaf, retain_graph=True)
    total, weighted = total.flatten(0, -2), weighted.flatten(0, -2)
    rows, expected = total[-len(scores) :], weighted[-len(scores) :]
    error = (rows * weights.to(rows.device)[:, None] - expected).abs()
    tolerance = 16 * torch.finfo(rows.dtype).eps * rows.abs().amax(dim=1, keepdim=True)
    return bool((error <= tolerance).all()) and not bool(total[: -len(scores)].any())
