r"""The attribution methods: names, aliases, and what runs behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from ecco_captum.core.errors import UnsupportedError
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
        progress (Callable): told after each forward how many texts it read.
    """

    lm: LanguageModel
    segment: Segment
    scoring: Scoring
    inputs: Tensor
    baseline: Tensor
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    progress: Callable[[int], None] = lambda texts: None

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

    def read_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The defaults, with what was given in their place.

        Raises:
            TypeError: if the method has no such option.
        """
        if self.defaults is None:
            return dict(given)
        unknown = sorted(set(given) - set(self.defaults))
        if unknown:
            accepted = ", ".join(self.defaults) or "none"
            raise TypeError(
                f"options: {self.name} has no option {unknown[0]!r}, accepts {accepted}"
            )
        return {**self.defaults, **given}
