r"""The scores of texts from which tokens are missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ecco_captum.attribution.baselines import baseline_embeddings
from ecco_captum.attribution.methods.base import MethodInput
from ecco_captum.attribution.methods.masked_scorer import MaskedScorer
from ecco_captum.generation.scores import Scoring, target_scores
from ecco_captum.generation.segments import Segment
from ecco_captum.models.language_model import LanguageModel

WITHOUT_EMBEDDING = ("delete", "neighbour")
"""Removals that put no embedding of their own in a token's place."""

_NOTHING = (
    "removal: nothing of the text would be left; use exclude_ends=True, a smaller fraction, or a "
    "removal that puts an embedding in place"
)


def removal_kind(lm: LanguageModel, removal: Any) -> Any:
    """What is done where the user did not say: the tokenizer's mask if it has one."""
    if removal is not None:
        return removal
    return "mask" if lm.tokenizer.mask_token_id is not None else "mean"


class Removal:
    r"""Scores a segment's targets where some of its tokens are removed.

    Args:
        lm (LanguageModel): the model.
        segment (Segment): the text and its targets.
        scoring (Scoring): from logits to scores.
        embeddings (Tensor): (1, positions, embedding), the text's.
        kind (str, int or Tensor): ``"delete"``; ``"neighbour"`` (the embedding of the nearest token
            that is left, the one before at equal distance); or a baseline.
    """

    def __init__(
        self,
        lm: LanguageModel,
        segment: Segment,
        scoring: Scoring,
        embeddings: Tensor,
        kind: Any,
    ) -> None:
        self.texts = 0
        self._kind = kind if isinstance(kind, str) and kind in WITHOUT_EMBEDDING else "replace"
        baseline = embeddings
        if self._kind == "replace":
            baseline = baseline_embeddings(lm, segment, embeddings, kind, 0)
            if len(baseline) > 1:
                raise ValueError(
                    f"removal: got {kind!r}, which is {len(baseline)} texts, accepts one"
                )
        self._given = MethodInput(lm, segment, scoring, embeddings, baseline, progress=self._count)
        fill: Callable[[Tensor], Tensor] | None = None
        if self._kind == "neighbour":
            fill = self._with_neighbours
        self._scorer = MaskedScorer(self._given, fill)

    def scores(self, present: Tensor) -> Tensor:
        r"""Returns the scores of texts without the tokens that are absent.

        Args:
            present (Tensor): (texts, positions), 1 where a token is present.

        Returns:
            Tensor: (texts, targets), float32 on the CPU.
        """
        if self._kind != "delete":
            return self._scorer.scores(present)
        return torch.cat([self._without(row.bool()) for row in present])

    @torch.no_grad()
    def soft_scores(self, kept: Tensor, generator: torch.Generator) -> Tensor:
        r"""Returns the scores where each number of an embedding is kept with a probability.

        Args:
            kept (Tensor): (texts, positions), the probabilities.
            generator (Generator): for the draws.

        Returns:
            Tensor: (texts, targets), float32 on the CPU.
        """
        given, width = self._given, self._given.inputs.shape[-1]
        draws = torch.rand(*kept.shape, width, generator=generator) < kept[..., None]
        mask = draws.to(given.inputs)
        return given.forward(mask * given.inputs + (1 - mask) * given.baseline).float().cpu()

    @torch.no_grad()
    def _without(self, present: Tensor) -> Tensor:
        segment, start = self._given.segment, 0
        inputs = {}
        for name, ids in segment.inputs.items():
            fixed = segment.started if name == "decoder_input_ids" else 0
            end = start + ids.shape[1] - fixed
            kept = present[start:end].to(ids.device)
            if not fixed and not kept.any():
                raise ValueError(_NOTHING)
            inputs[name] = torch.cat([ids[:, :fixed], ids[:, fixed:][:, kept]], dim=1)
            start = end
        shorter = replace(segment, inputs=inputs, places=_moved(segment.places, present))
        embeddings = self._given.inputs[:, present.to(self._given.inputs.device)]
        scores = target_scores(self._given.lm, shorter, self._given.scoring)(embeddings)
        self._count(1)
        return scores.float().cpu()

    def _with_neighbours(self, present: Tensor) -> Tensor:
        nearest = torch.stack([_nearest(row.bool()) for row in present])
        return self._given.inputs[0, nearest.to(self._given.inputs.device)]

    def _count(self, texts: int) -> None:
        self.texts += texts


def _moved(places: Sequence[int], present: Tensor) -> tuple[int, ...]:
    """Places counted from the end, where later tokens are gone."""
    length = len(present)
    return tuple(-1 - int(present[length + place + 1 :].sum()) for place in places)


def _nearest(present: Tensor) -> Tensor:
    """For each position the nearest one that is present; itself if it is."""
    positions = torch.arange(len(present))
    kept = positions[present]
    if not len(kept):
        raise ValueError(_NOTHING)
    # A half more for those behind, so that at equal distance the one before is taken.
    distance = (positions[:, None] - kept[None]).abs() + 0.5 * (kept[None] > positions[:, None])
    return kept[distance.argmin(dim=1)]
