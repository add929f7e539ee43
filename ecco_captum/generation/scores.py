r"""From embeddings to the scores of a segment's targets, through the model as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args
from weakref import WeakSet

import numpy as np
import torch
from torch import Tensor, nn

from ecco_captum.core.checks import UnsupportedError
from ecco_captum.generation.segments import Segment
from ecco_captum.generation.tasks import Link, classes_of, link_of, task_of
from ecco_captum.models.embedding_site import embed, entering
from ecco_captum.models.encoding import encode_token
from ecco_captum.models.interventions import replaced_input
from ecco_captum.models.language_model import LanguageModel, keep_last

Score = Literal["logit", "logprob", "prob", "entropy"]

_UNITS = {"logit": "logits", "logprob": "nats", "prob": "probability", "entropy": "nats"}


@dataclass(frozen=True)
class Scoring:
    """How a target's row of logits becomes the number that is explained.

    Args:
        score (str): ``"logit"``, ``"logprob"`` (natural logarithm of the probability), ``"prob"``,
            or ``"entropy"`` of the whole distribution, in nats.
        foils (tuple of int): token ids (or classes) whose mean score is taken away.
        names (tuple of str): the foils' texts.
        link (str): ``"sigmoid"`` where each label has a probability of its own.
    """

    score: Score = "logit"
    foils: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    link: Link = "softmax"

    @property
    def unit(self) -> str:
        return _UNITS[self.score]

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(batch, targets), from (batch, targets, vocabulary) and the targets' ids."""
        if self.score == "entropy" and self.link == "sigmoid":
            # Labels for themselves: the sum over them.
            each = logits.float()
            return (each.neg().sigmoid() * each - torch.nn.functional.logsigmoid(each)).sum(-1)
        if self.score == "entropy":
            logprobs = logits.float().log_softmax(dim=-1)
            # A token that is ruled out has a probability of 0 and adds nothing.
            return -(logprobs.exp() * logprobs.clamp_min(torch.finfo(torch.float32).min)).sum(-1)
        if self.score != "logit":
            wide = torch.promote_types(logits.dtype, torch.float32)
            logits = log_probabilities(logits.to(wide), self.link)
        if self.score == "prob":
            logits = logits.exp()
        own = targets.to(logits.device)[None, :, None].expand(len(logits), -1, 1)
        scores = logits.gather(2, own)[..., 0]
        if self.foils:
            scores = scores - logits[..., list(self.foils)].mean(dim=-1)
        return scores


def scoring(lm: LanguageModel, score: str, versus: Any) -> Scoring:
    """Reads the arguments ``score`` and ``versus`` into a function from logits to scores.

    ``versus`` is the text of one token as it follows (its leading space included), an id, a class;
    or several, whose mean score is taken. A text that is not exactly one token raises a ValueError.
    """
    name, link = as_score(score), link_of(lm)
    if link == "none" and name != "logit":
        raise UnsupportedError(
            f"score: got {name!r}, and {lm.name!r} has a regression's value and no probabilities "
            f"(problem_type {lm.model.config.problem_type!r}, {lm.model.config.num_labels} labels);"
            " accepts 'logit'"
        )
    if versus is None:
        return Scoring(name, link=link)
    if score == "entropy":
        raise ValueError("versus: an entropy has no target to contrast; accepts None with it")
    several = versus if isinstance(versus, list | tuple) else [versus]
    if not several:
        raise ValueError("versus: got an empty list, accepts at least one token")
    foils = tuple(_foil(lm, foil) for foil in several)
    return Scoring(name, foils, tuple(_name(lm, foil) for foil in foils), link)


def log_probabilities(logits: Tensor, link: Link) -> Tensor:
    """(…, classes), natural logarithms; NaN where a head has no probabilities."""
    if link == "none":
        return torch.full_like(logits, float("nan"))
    if link == "sigmoid":
        return torch.nn.functional.logsigmoid(logits)
    return logits.log_softmax(dim=-1)


def as_score(name: str) -> Score:
    """Returns the score of that name."""
    for score in get_args(Score):
        if score == name:
            return score
    names = ", ".join(map(repr, get_args(Score)))
    raise ValueError(f"score: got {name!r}, accepts {names}")


def _foil(lm: LanguageModel, given: Any) -> int:
    classifies = task_of(lm) == "classification"
    if classifies:
        return class_index(lm, given, "versus")
    return encode_token(lm, given, "versus")


def class_index(lm: LanguageModel, name: Any, argument: str) -> int:
    """Returns which class a name, or a number, is."""
    names = classes_of(lm)
    if name in names:
        return names.index(name)
    whole = isinstance(name, int | np.integer) and not isinstance(name, bool)
    if whole and 0 <= name < len(names):
        return int(name)
    raise ValueError(f"{argument}: got {name!r}, accepts a class: {', '.join(map(repr, names))}")


def _name(lm: LanguageModel, foil: int) -> str:
    if task_of(lm) == "classification":
        return classes_of(lm)[foil]
    return str(lm.tokenizer.decode([foil]))


# Models whose targets' scores each come from their own row of the head's input alone, as was seen
# once, and models where that is not so.
_SEPARATE: WeakSet[nn.Module] = WeakSet()
_ENTANGLED: WeakSet[nn.Module] = WeakSet()


def embedded(lm: LanguageModel, segment: Segment) -> Tensor:
    """(1, positions, embedding), what the embedding modules give for a segment, without a graph.

    The model runs only that far. For an encoder–decoder these are the source's positions, then the
    decoder's without those that it starts with.
    """
    through = lm.embedding_sites(segment.started)
    return embed(lm.model, through, segment.inputs, use_cache=False)


def target_scores(
    lm: LanguageModel, segment: Segment, scoring: Scoring | None = None
) -> Callable[[Tensor], Tensor]:
    """Returns the function from embeddings to the scores of a segment's targets.

    It takes (batch, positions, embedding) and returns (batch, targets), logits unless said
    otherwise.
    """
    score = scoring or Scoring()

    def scores(embeddings: Tensor) -> Tensor:
        alone = len(embeddings) == 1 and segment.places
        if torch.is_grad_enabled() and alone and lm.model not in _ENTANGLED:
            result = _scores_with_row_gradients(lm, segment, score, embeddings)
            if result is not None:
                return result
            _ENTANGLED.add(lm.model)
        return _scores(lm, segment, score, embeddings)

    return scores


def rows_of_logits(lm: LanguageModel, segment: Segment, logits: Tensor) -> Tensor:
    """(batch, targets, vocabulary), the rows of (batch, positions, …) that score the targets.

    A classifier's logits are (batch, classes).
    """
    if not segment.places:
        return logits[:, None].expand(-1, len(segment.targets), -1)
    return logits[:, list(segment.places)]


def logits_needed(lm: LanguageModel, segment: Segment) -> dict[str, int]:
    """The argument that makes the model compute no more logits than a segment needs."""
    return keep_last(lm, -min(segment.places)) if segment.places else {}


def _scores(lm: LanguageModel, segment: Segment, scoring: Scoring, embeddings: Tensor) -> Tensor:
    inputs = {name: ids.expand(len(embeddings), -1) for name, ids in segment.inputs.items()}
    with entering(lm.model, lm.embedding_sites(segment.started), inputs, embeddings):
        output = lm.model(**inputs, use_cache=False, **logits_needed(lm, segment))
    return scoring(rows_of_logits(lm, segment, output.logits), segment.targets)


def _scores_with_row_gradients(
    lm: LanguageModel, segment: Segment, scoring: Scoring, embeddings: Tensor
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
        scores = _scores(lm, segment, scoring, embeddings)
    if not seen or not scores.requires_grad:
        return None
    hidden, leaf = seen
    places = list(segment.places)
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
    gradients: tuple[Tensor | None, ...] = torch.autograd.grad(
        scores.sum(), (leaf, embeddings), allow_unused=True, retain_graph=True
    )
    total, beside = gradients
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
