r"""What an attribution method is, what it is asked, and the baselines it starts from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ecco_captum.core.checks import UnsupportedError
from ecco_captum.generation.scores import Scoring, target_scores
from ecco_captum.generation.segments import Segment
from ecco_captum.models.language_model import LanguageModel


class UnsupportedMethodError(UnsupportedError):
    r"""A method does not run on a model, and why."""


@dataclass(frozen=True)
class MethodInput:
    r"""What a method is asked: the scores of a segment's targets, and the embeddings they read.

    Args:
        lm (LanguageModel): the model.
        segment (Segment): what it reads, and the targets.
        scoring (Scoring): from logits to scores.
        inputs (Tensor): (1, positions, embedding), the text's embeddings.
        baseline (Tensor): (1 or texts, positions, embedding).
        options (Mapping): the method's own options.
        seed (int): for methods that draw.
        baseline_ids (Tensor, optional): (positions,), of a baseline that is a token.
        progress (Callable): called after each forward with the number of texts it read.
        aggregate (str or Callable, optional): what becomes of the attributions to an embedding.
        notes (dict): what a method found out beside them: "residuals" and "points" of an integral.
    """

    lm: LanguageModel
    segment: Segment
    scoring: Scoring
    inputs: Tensor
    baseline: Tensor
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    baseline_ids: Tensor | None = None
    progress: Callable[[int], None] = lambda texts: None
    aggregate: Any = None
    notes: dict[str, Any] = field(default_factory=dict)

    def forward(self, embeddings: Tensor) -> Tensor:
        """From embeddings, (batch, positions, embedding), to scores, (batch, targets)."""
        scores = target_scores(self.lm, self.segment, self.scoring)(embeddings)
        self.progress(len(embeddings))
        return scores

    def count(self, name: str) -> int:
        """An option that is a whole number from 1."""
        value = self.options[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}: got {value!r}, accepts a whole number from 1")
        return value

    @property
    def known(self) -> Tensor:
        """(targets,), how many of the positions each target's score may depend on."""
        positions = self.segment.positions
        if self.lm.model.can_generate():
            return torch.tensor([positions + place + 1 for place in self.segment.places])
        return torch.full((len(self.segment.targets),), positions)


@dataclass(frozen=True)
class Method:
    r"""An attribution method.

    Args:
        name (str): what to pass as ``method``.
        label (str): what to call it in titles.
        attribute (Callable): takes a :class:`MethodInput`, returns attributions, (targets,
            positions, embedding) or (targets, positions).
        texts (Callable): takes the options and the number of positions, returns how many texts the
            method lets the model read for one segment.
        aggregate (str, optional): how attributions to one embedding become one number, unless the
            user says otherwise; None where the method attributes to whole tokens.
        complete (bool): whether a target's attributions add up to the difference between its score
            and its score on the baseline.
        baseline (Any): the baseline unless the user says otherwise; None where there is none.
        several (bool): whether the baseline may be several texts, over which it averages.
        keeps_first (bool): whether the first token stays itself in the baseline, unless the user
            says otherwise.
        defaults (Mapping, optional): the options it accepts, with their defaults; None for any.
        differentiates (bool): whether it takes gradients, so that memory bounds the targets.
        removes (bool): whether it reads texts in which the baseline stands for whole tokens.
    """

    name: str
    label: str
    attribute: Callable[[MethodInput], Tensor]
    texts: Callable[[Mapping[str, Any], int], int] = lambda options, positions: 1
    aggregate: Literal["l2", "sum"] | None = "l2"
    complete: bool = False
    baseline: Any = None
    several: bool = False
    keeps_first: bool = False
    defaults: Mapping[str, Any] | None = field(default_factory=dict)
    differentiates: bool = True
    removes: bool = False

    def read_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The defaults, replaced by what was given; an unknown option raises a TypeError."""
        if self.defaults is None:
            return dict(given)
        unknown = sorted(set(given) - set(self.defaults))
        if unknown:
            accepted = ", ".join(self.defaults) or "none"
            raise TypeError(
                f"options: {self.name} has no option {unknown[0]!r}, accepts {accepted}"
            )
        return {**self.defaults, **given}


# Texts in a drawn distribution, and ids that are embedded at once for the mean.
_DRAWN, _AT_ONCE = 10, 8192

BASELINES = ("zero", "mean", "pad", "mask", "tokens")


def baseline_embeddings(
    lm: LanguageModel, segment: Segment, embeddings: Tensor, baseline: Any, seed: int
) -> Tensor:
    """Returns the embeddings of a text that says nothing, (1 or texts, positions, embedding).

    ``baseline`` is ``"zero"``; ``"mean"`` over the vocabulary; ``"pad"`` or ``"mask"``, the
    tokenizer's tokens; ``"tokens"``, several texts drawn at random from the vocabulary; a token id;
    or embeddings that broadcast to those of the text. Anything else raises a ValueError.
    """
    if isinstance(baseline, Tensor | np.ndarray):
        return _given(embeddings, torch.as_tensor(baseline))
    if isinstance(baseline, str) and baseline == "zero":
        return torch.zeros_like(embeddings)
    if isinstance(baseline, str) and baseline == "mean":
        return _laid_out(segment, _mean(lm, segment)).to(embeddings)
    if isinstance(baseline, str) and baseline == "tokens":
        generator = torch.Generator().manual_seed(seed)
        # Position by position, so that a longer text begins with the same draws.
        shape = (segment.positions, _DRAWN)
        drawn = torch.randint(lm.vocabulary_size, shape, generator=generator).T
        return _embeddings_of(lm, segment, drawn.to(lm.device))
    token = _token(lm, baseline)
    ids = torch.full((1, segment.positions), token, device=lm.device)
    return _embeddings_of(lm, segment, ids)


def baseline_token_ids(lm: LanguageModel, segment: Segment, baseline: Any) -> Tensor | None:
    """(positions,), the ids of a baseline that is one token; None of any other."""
    if isinstance(baseline, Tensor | np.ndarray) or baseline in ("zero", "mean", "tokens"):
        return None
    return torch.full((segment.positions,), _token(lm, baseline), device=lm.device)


def other_ways(lm: LanguageModel) -> tuple[str, ...]:
    """The modules by which a model's tokens enter beside their embeddings."""
    sites = (stack.embedding for stack in lm.anatomy.stacks)
    return tuple(name for site in sites if site is not None for name in site.beside)


def _given(embeddings: Tensor, given: Tensor) -> Tensor:
    positions, width = embeddings.shape[1:]
    given = given.to(embeddings)
    given = given.reshape((1,) * (3 - given.ndim) + tuple(given.shape)) if given.ndim < 3 else given
    fits = given.ndim == 3 and given.shape[1] in (1, positions) and given.shape[2] in (1, width)
    if not fits:
        raise ValueError(
            f"baseline: got embeddings of shape {tuple(given.shape)}, accepts any that broadcast "
            f"to (1, {positions}, {width})"
        )
    return given.expand(len(given), positions, width)


def _token(lm: LanguageModel, baseline: Any) -> int:
    baseline = int(baseline) if isinstance(baseline, np.integer) else baseline
    if isinstance(baseline, int) and not isinstance(baseline, bool):
        if not 0 <= baseline < lm.vocabulary_size:
            raise ValueError(
                f"baseline: got token id {baseline}, accepts 0 to {lm.vocabulary_size - 1}"
            )
        return baseline
    if baseline not in ("pad", "mask"):
        names = ", ".join(map(repr, BASELINES))
        raise ValueError(f"baseline: got {baseline!r}, accepts {names}, a token id or embeddings")
    token = getattr(lm.tokenizer, f"{baseline}_token_id")
    if token is None:
        raise ValueError(
            f"baseline: the tokenizer of {lm.name!r} has no {baseline} token; accepts a token id"
        )
    return int(token)


def _embeddings_of(lm: LanguageModel, segment: Segment, ids: Tensor) -> Tensor:
    """Of other ids at all positions; what a decoder starts with stays."""
    inputs, start = {}, 0
    for name, own in segment.texts.items():
        fixed = segment.started if name == "decoder_input_ids" else 0
        end = start + own.shape[1] - fixed
        inputs[name] = torch.cat([own[:, :fixed].expand(len(ids), -1), ids[:, start:end]], dim=1)
        start = end
    embedded = lm.embeddings(**inputs)
    if not segment.started:
        return embedded
    source = segment.inputs["input_ids"].shape[1]
    return torch.cat([embedded[:, :source], embedded[:, source + segment.started :]], dim=1)


def _mean(lm: LanguageModel, segment: Segment) -> list[Tensor]:
    """The mean embedding of the vocabulary, at each embedding site."""
    sums: list[Tensor] = []
    for start in range(0, lm.vocabulary_size, _AT_ONCE):
        ids = torch.arange(start, min(start + _AT_ONCE, lm.vocabulary_size), device=lm.device)
        # One short text an id: where it stands must not matter.
        texts = dict.fromkeys(segment.texts, ids[:, None])
        part = lm.embeddings(**texts).double().sum(dim=0)
        sums = [a + b for a, b in zip(sums, part, strict=True)] if sums else list(part)
    return [total / lm.vocabulary_size for total in sums]


def _laid_out(segment: Segment, means: list[Tensor]) -> Tensor:
    lengths = [ids.shape[1] for ids in segment.texts.values()]
    lengths[-1] -= segment.started
    parts = [mean.expand(length, -1) for mean, length in zip(means, lengths, strict=True)]
    return torch.cat(parts)[None]
