"""What a text scores where some of its tokens are removed: replaced, or taken out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ecco_captum.attribution.methods.base import (
    MethodInput,
    baseline_embeddings,
    baseline_token_ids,
    other_ways,
)
from ecco_captum.attribution.methods.masked_scorer import MaskedScorer
from ecco_captum.generation.scores import Scoring, target_scores
from ecco_captum.generation.segments import Segment
from ecco_captum.models.language_model import LanguageModel

_NOTHING = (
    "removal: nothing of the text would be left; use exclude_ends=True, a smaller fraction, or a "
    "removal that puts an embedding in place"
)


def removal_kinds(lm: LanguageModel, removal: Any) -> tuple[Any, ...]:
    """What is done to removed tokens: what the user says, else a stand-in, and deletion.

    An attribution may point at what one kind of removal does, as occlusion does by construction;
    so there are two. The stand-in is the tokenizer's mask where there is one.
    """
    if removal is None:
        stand_in = "mask" if lm.tokenizer.mask_token_id is not None else "mean"
        return stand_in, "delete"
    several = isinstance(removal, list | tuple)
    if several and not removal:
        raise ValueError("removal: got an empty list, accepts at least one kind")
    return tuple(removal) if several else (removal,)


def removal_label(lm: LanguageModel, kind: Any) -> str:
    """What was done, as a record keeps it."""
    if isinstance(kind, int | np.integer):
        return f"token {kind}"
    label = kind if isinstance(kind, str) else "given"
    left = other_ways(lm) if label in ("zero", "mean", "given") else ()
    return f"{label} ({', '.join(left)} as it is)" if left else label


class Removal:
    """Scores a segment's targets where some of its tokens are removed.

    ``embeddings`` are the text's, (1, positions, embedding). ``kind`` is ``"delete"``,
    ``"neighbour"`` (the embedding of the nearest token that is left, the one before at equal
    distance), or a baseline.
    """

    def __init__(
        self, lm: LanguageModel, segment: Segment, scoring: Scoring, embeddings: Tensor, kind: Any
    ) -> None:
        self.texts = 0
        self._known: dict[bytes, np.ndarray] = {}  # scores, (targets,), by what is removed
        baseline, ids, own = embeddings, None, isinstance(kind, str)
        self._deletes = own and kind == "delete"
        if not (own and kind in ("delete", "neighbour")):
            baseline = baseline_embeddings(lm, segment, embeddings, kind, 0)
            if len(baseline) > 1:
                raise ValueError(
                    f"removal: got {kind!r}, which is {len(baseline)} texts, accepts one"
                )
            ids = baseline_token_ids(lm, segment, kind)
        self._given = MethodInput(
            lm, segment, scoring, embeddings, baseline, baseline_ids=ids, progress=self._count
        )
        if own and kind == "neighbour":
            self._scorer = MaskedScorer(self._given, self._with_neighbours, self._neighbours_ids)
        else:
            self._scorer = MaskedScorer(self._given)

    @property
    def model(self) -> nn.Module:
        """The model that reads the texts."""
        return self._given.lm.model

    @property
    def positions(self) -> int:
        """How many positions the text has."""
        return self._given.segment.positions

    def drops(self, removed: np.ndarray) -> np.ndarray:
        """(texts, targets), how far the scores fall without the positions that are True.

        ``removed`` is (texts, positions). A text is read once, however often it is asked for, also
        by later calls.
        """
        whole = np.zeros((1, removed.shape[1]), dtype=bool)
        different, which = np.unique(np.concatenate([whole, removed]), axis=0, return_inverse=True)
        names = [row.tobytes() for row in different]
        new = [k for k, name in enumerate(names) if name not in self._known]
        if new:
            # In the order of what they have in common at the start, which is read once.
            present = torch.from_numpy(~different[new]).float()
            scores = (self._without if self._deletes else self._scorer.scores)(present)
            self._known |= zip((names[k] for k in new), scores.double().numpy(), strict=True)
        each = np.stack([self._known[name] for name in names])[which.ravel()]
        return np.asarray(each[:1] - each[1:])

    def _without(self, present: Tensor) -> Tensor:
        """(texts, targets); texts of one length are read together."""
        scores = torch.empty(len(present), len(self._given.segment.targets))
        groups: dict[Any, list[int]] = {}
        for row, kept in enumerate(present):
            lengths = tuple(int(part.sum()) for part in self._parts(kept))
            groups.setdefault((lengths, self._places(kept)), []).append(row)
        for (_, places), rows in groups.items():
            for some in torch.tensor(rows).split(self._scorer.together):
                scores[some] = self._shortened(present[some].bool(), places)
        return scores

    def _parts(self, kept: Tensor) -> list[Tensor]:
        """What is kept of each text that the model reads; what a decoder starts with always is."""
        segment, parts, start = self._given.segment, [], 0
        for name, ids in segment.texts.items():
            fixed = segment.started if name == "decoder_input_ids" else 0
            end = start + ids.shape[1] - fixed
            parts.append(torch.cat([torch.ones(fixed, dtype=torch.bool), kept[start:end].bool()]))
            if not parts[-1].any():
                raise ValueError(_NOTHING)
            start = end
        return parts

    def _places(self, kept: Tensor) -> tuple[int, ...]:
        """Places counted from the end, where later tokens are gone."""
        length = len(kept)
        return tuple(
            -1 - int(kept[length + place + 1 :].sum()) for place in self._given.segment.places
        )

    @torch.no_grad()
    def _shortened(self, present: Tensor, places: tuple[int, ...]) -> Tensor:
        """(texts, targets) of texts that are equally long without what is gone."""
        segment, given = self._given.segment, self._given
        parts = [torch.stack(rows) for rows in zip(*map(self._parts, present), strict=True)]
        inputs = {
            name: _kept(ids, part)
            for (name, ids), part in zip(segment.texts.items(), parts, strict=True)
        }
        first = dict(zip(segment.texts, parts, strict=True))["input_ids"]
        for name in segment.inputs.keys() - segment.texts.keys():
            inputs[name] = _kept(segment.inputs[name], first)
        shorter = replace(segment, inputs=inputs, places=places)
        embeddings = torch.stack([given.inputs[0, row.to(given.inputs.device)] for row in present])
        scores = target_scores(given.lm, shorter, given.scoring)(embeddings)
        self._count(len(present))
        return scores.float().cpu()

    def _with_neighbours(self, present: Tensor) -> Tensor:
        return self._given.inputs[0, _nearest_of(present).to(self._given.inputs.device)]

    def _neighbours_ids(self, present: Tensor) -> Tensor:
        ids = self._given.segment.ids
        return ids[_nearest_of(present).to(ids.device)]

    def _count(self, texts: int) -> None:
        self.texts += texts


def _kept(row: Tensor, kept: Tensor) -> Tensor:
    """(texts, left), of a row (1, positions)."""
    return torch.stack([row[0, some.to(row.device)] for some in kept])


def _nearest_of(present: Tensor) -> Tensor:
    return torch.stack([_nearest(row.bool()) for row in present])


def _nearest(present: Tensor) -> Tensor:
    """For each position the nearest one that is present; itself if it is."""
    positions = torch.arange(len(present))
    kept = positions[present]
    if not len(kept):
        raise ValueError(_NOTHING)
    # A half more for those behind, so that at equal distance the one before is taken.
    distance = (positions[:, None] - kept[None]).abs() + 0.5 * (kept[None] > positions[:, None])
    return kept[distance.argmin(dim=1)]
