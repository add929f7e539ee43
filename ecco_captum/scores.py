r"""What is explained: a number made of one row of logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ecco_captum.encoding import encode_token
from ecco_captum.models import LanguageModel
from ecco_captum.tasks import classes_of, task_of

Score = Literal["logit", "logprob", "prob", "entropy"]

_UNITS = {"logit": "logits", "logprob": "nats", "prob": "probability", "entropy": "nats"}


@dataclass(frozen=True)
class Scoring:
    r"""How a target's row of logits becomes the number that is explained.

    Args:
        score (str): ``"logit"``, ``"logprob"`` (natural logarithm of the probability), ``"prob"``,
            or ``"entropy"`` of the whole distribution, in nats.
        foils (tuple of int): token ids (or classes) whose mean score is taken away.
        names (tuple of str): the foils' texts.
    """

    score: Score = "logit"
    foils: tuple[int, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        return _UNITS[self.score]

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        r"""Returns the scores of targets.

        Args:
            logits (Tensor): (batch, targets, vocabulary), a row for each target.
            targets (Tensor): (targets,), which token or class each is.

        Returns:
            Tensor: (batch, targets).
        """
        if self.score == "entropy":
            logprobs = logits.float().log_softmax(dim=-1)
            # A token that is ruled out has a probability of 0 and adds nothing.
            return -(logprobs.exp() * logprobs.clamp_min(torch.finfo(torch.float32).min)).sum(-1)
        if self.score != "logit":
            wide = torch.promote_types(logits.dtype, torch.float32)
            logits = logits.to(wide).log_softmax(dim=-1)
        if self.score == "prob":
            logits = logits.exp()
        own = targets.to(logits.device)[None, :, None].expand(len(logits), -1, 1)
        scores = logits.gather(2, own)[..., 0]
        if self.foils:
            scores = scores - logits[..., list(self.foils)].mean(dim=-1)
        return scores


def scoring(lm: LanguageModel, score: str, versus: Any) -> Scoring:
    r"""Reads the arguments ``score`` and ``versus``.

    Args:
        lm (LanguageModel): whose tokens (or classes) ``versus`` names.
        score (str): "logit", "logprob", "prob" or "entropy".
        versus (str, int, list of them, or None): what the target is contrasted with: the text of
            one token as it follows (its leading space included), an id, a class; or several, whose
            mean score is taken.

    Returns:
        Scoring: a function from logits to scores.

    Raises:
        ValueError: if the score is unknown, or a text is not exactly one token.
    """
    name = as_score(score)
    if versus is None:
        return Scoring(name)
    if score == "entropy":
        raise ValueError("versus: an entropy has no target to contrast; accepts None with it")
    several = versus if isinstance(versus, list | tuple) else [versus]
    if not several:
        raise ValueError("versus: got an empty list, accepts at least one token")
    foils = tuple(_foil(lm, one) for one in several)
    return Scoring(name, foils, tuple(_name(lm, foil) for foil in foils))


def as_score(name: str) -> Score:
    r"""Returns the score of that name.

    Raises:
        ValueError: if there is none.
    """
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
    r"""Returns which class a name, or a number, is.

    Raises:
        ValueError: if the classifier has no such class.
    """
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
