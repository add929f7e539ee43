r"""From embeddings to the scores of a passage's targets, through the model as it is."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakSet

import torch
from torch import Tensor, nn

from ecco_captum.entrance import embed, entering
from ecco_captum.models import LanguageModel, keep_last
from ecco_captum.passages import Passage
from ecco_captum.replay import replaced_input
from ecco_captum.scores import Scoring

# Models whose targets' scores each come from their own row of the head's input alone, as was seen
# once, and models where that is not so.
_SEPARATE: WeakSet[nn.Module] = WeakSet()
_ENTANGLED: WeakSet[nn.Module] = WeakSet()


def embedded(lm: LanguageModel, passage: Passage) -> Tensor:
    r"""Returns what the model's embedding modules give for a passage: it runs only that far.

    Args:
        lm (LanguageModel): the model.
        passage (Passage): what it reads.

    Returns:
        Tensor: (1, positions, embedding), without a graph; for an encoder–decoder the source's
        positions, then the decoder's without those that it starts with.
    """
    through = lm.entrances(passage.started)
    return embed(lm.model, through, passage.inputs, use_cache=False)


def target_scores(
    lm: LanguageModel, passage: Passage, scoring: Scoring | None = None
) -> Callable[[Tensor], Tensor]:
    r"""Returns the function from embeddings to the scores of a passage's targets.

    Args:
        lm (LanguageModel): the model.
        passage (Passage): what it reads, and the targets.
        scoring (Scoring, optional): from logits to scores. Default: the logit.

    Returns:
        Callable: takes (batch, positions, embedding), returns (batch, targets).
    """
    score = scoring or Scoring()

    def scores(embeddings: Tensor) -> Tensor:
        alone = len(embeddings) == 1 and passage.places
        if torch.is_grad_enabled() and alone and lm.model not in _ENTANGLED:
            found = _scores_with_row_gradients(lm, passage, score, embeddings)
            if found is not None:
                return found
            _ENTANGLED.add(lm.model)
        return _scores(lm, passage, score, embeddings)

    return scores


def rows_of_logits(lm: LanguageModel, passage: Passage, logits: Tensor) -> Tensor:
    r"""Returns the rows that score a passage's targets.

    Args:
        lm (LanguageModel): the model.
        passage (Passage): the targets.
        logits (Tensor): (batch, positions, vocabulary), or a classifier's (batch, classes).

    Returns:
        Tensor: (batch, targets, vocabulary).
    """
    if not passage.places:
        return logits[:, None].expand(-1, len(passage.targets), -1)
    return logits[:, list(passage.places)]


def logits_needed(lm: LanguageModel, passage: Passage) -> dict[str, int]:
    """The argument that makes the model compute no more logits than a passage needs."""
    return keep_last(lm, -min(passage.places)) if passage.places else {}


def _scores(lm: LanguageModel, passage: Passage, scoring: Scoring, embeddings: Tensor) -> Tensor:
    inputs = {name: ids.expand(len(embeddings), -1) for name, ids in passage.inputs.items()}
    with entering(lm.model, lm.entrances(passage.started), inputs, embeddings):
        output = lm.model(**inputs, use_cache=False, **logits_needed(lm, passage))
    return scoring(rows_of_logits(lm, passage, output.logits), passage.targets)


def _scores_with_row_gradients(
    lm: LanguageModel, passage: Passage, scoring: Scoring, embeddings: Tensor
) -> Tensor | None:
    """The same scores, with the head's gradient taken once for all targets.

    A target's score depends on one row of the head's input, so one plain backward through the head
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

    module = lm.model.get_submodule(head.module)
    with replaced_input(module, cut, call=head.call, root=lm.model):
        scores = _scores(lm, passage, scoring, embeddings)
    if not seen or not scores.requires_grad:
        return None
    hidden, leaf = seen
    places = list(passage.places)
    if lm.model not in _SEPARATE and not _separate(scores[0], leaf, embeddings, places):
        return None
    # One target alone shows nothing about how several would mix.
    if len(places) > 1:
        _SEPARATE.add(lm.model)
    (gradient,) = torch.autograd.grad(scores.sum(), leaf)
    rows = gradient.flatten(0, -2)[places]
    own = hidden.flatten(0, -2)[places]
    # The second term is zero; its gradient is what was found for each row.
    change = ((own - own.detach()) * rows).sum(dim=1)
    return scores.detach() + change.to(scores.device)


def _separate(scores: Tensor, leaf: Tensor, embeddings: Tensor, places: list[int]) -> bool:
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
    rows, expected = total[places], weighted[places]
    error = (rows * weights.to(rows.device)[:, None] - expected).abs()
    tolerance = 16 * torch.finfo(rows.dtype).eps * rows.abs().amax(dim=1, keepdim=True)
    others = total.index_fill(0, torch.tensor(places, device=total.device) % len(total), 0)
    return bool((error <= tolerance).all()) and not bool(others.any())
