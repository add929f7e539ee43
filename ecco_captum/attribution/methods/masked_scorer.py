r"""The scores of texts from which tokens are missing."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from weakref import WeakSet

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from ecco_captum.attribution.methods.base import MethodInput, other_ways
from ecco_captum.core.checks import SlowPathWarning
from ecco_captum.generation.scores import logits_needed, rows_of_logits
from ecco_captum.models.causality import close_logits, is_causal, reads_together
from ecco_captum.models.embedding_site import entering
from ecco_captum.models.modes import out_of_memory
from ecco_captum.models.products import fast_products

# Logits held at once, in numbers, and the most texts that are read together.
_LOGITS_AT_ONCE, _MOST_TEXTS = 16 * 2**20, 8


# Models for which a text's unperturbed beginning gave other numbers when its keys and values were
# kept, or could not be kept.
_WITHOUT_CACHE: WeakSet[nn.Module] = WeakSet()


# How models fail that have a memory of another kind.
_CANNOT_KEEP = (AttributeError, IndexError, RuntimeError, TypeError, ValueError)


class MaskedScorer:
    """From the presence of tokens to scores, all targets from one forward.

    An absent token's embedding is that of the baseline, or what ``fill`` makes of the presence
    (texts, positions); ``ids`` makes the ids of the same texts, for models that read these by
    another way, too. Where the model reads from left to right, the text before the first absent
    token is read once: its keys and values are kept. That this changes nothing is checked on the
    first text that gains by it.
    """

    def __init__(
        self,
        given: MethodInput,
        fill: Callable[[Tensor], Tensor] | None = None,
        ids: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self._given = given
        self._fill = fill or self._with_baseline
        if ids is None and given.baseline_ids is not None:
            ids = self._with_baseline_ids
        # Ids need to be put in place only where the model reads them by another way, too.
        self._ids = ids if other_ways(given.lm) else None
        self._lm = given.lm
        self._known = given.known
        self._kept: list[tuple[Tensor, Tensor]] | None = None
        self._whole: Tensor | None = None
        self._checked = False

    @property
    def together(self) -> int:
        """How many texts may be read at once."""
        if not reads_together(self._lm.model):
            return 1
        rows = logits_needed(self._lm, self._given.segment).get("logits_to_keep")
        rows = rows or self._given.segment.positions
        return int(max(1, min(_MOST_TEXTS, _LOGITS_AT_ONCE // (rows * self._lm.vocabulary_size))))

    def scores(self, present: Tensor) -> Tensor:
        """(texts, targets), the scores without the tokens at which ``present`` is 0."""
        # Many forwards: their last bits do not matter, their speed does.
        with fast_products():
            return torch.cat([self._some(part) for part in present.split(self.together)])

    @torch.no_grad()
    def _some(self, present: Tensor) -> Tensor:
        start = self._unperturbed(present)
        if start and self._keep():
            scores = self._continued(present, start)
            if scores is not None and self._agrees(scores, present):
                self._given.progress(len(present))
                return scores
        return self._read(present)

    def _agrees(self, scores: Tensor, present: Tensor) -> bool:
        """Compares one text with a plain forward, once."""
        if not self._checked:
            self._checked = True
            if not close_logits(scores[:1], self._read(present[:1]), self._lm.model.dtype):
                _WITHOUT_CACHE.add(self._lm.model)
        return self._lm.model not in _WITHOUT_CACHE

    def _read(self, present: Tensor) -> Tensor:
        segment = replace(self._given.segment, inputs=self._inputs(present))
        return replace(self._given, segment=segment).forward(self._fill(present)).float().cpu()

    def _inputs(self, present: Tensor) -> dict[str, Tensor]:
        """What the model is given beside the embeddings, ids of absent tokens put in place."""
        segment = self._given.segment
        inputs = dict(segment.inputs)
        if self._ids is not None:
            ids, start = self._ids(present).to(self._lm.device), 0
            for name, own in segment.texts.items():
                fixed = segment.started if name == "decoder_input_ids" else 0
                end = start + own.shape[1] - fixed
                kept = own[:, :fixed].expand(len(ids), -1)
                inputs[name] = torch.cat([kept, ids[:, start:end]], dim=1)
                start = end
        return inputs

    def _with_baseline_ids(self, present: Tensor) -> Tensor:
        baseline = self._given.baseline_ids
        assert baseline is not None
        return torch.where(present.bool().to(baseline.device), self._given.segment.ids, baseline)

    def _with_baseline(self, present: Tensor) -> Tensor:
        mask = present.to(self._given.inputs)[..., None]
        return mask * self._given.inputs + (1 - mask) * self._given.baseline

    def _unperturbed(self, present: Tensor) -> int:
        """How many positions at the start all texts have in common with the whole."""
        if "decoder_input_ids" in self._given.segment.inputs or not self._lm.model.can_generate():
            return 0
        common = present.bool().all(dim=0)
        # At least one position has to be read.
        return min(int(common.long().cumprod(0).sum()), len(common) - 1)

    def _keep(self) -> bool:
        """Reads the whole text once, and keeps its keys and values."""
        if self._lm.model in _WITHOUT_CACHE:
            return False
        if self._kept is None:
            segment = self._given.segment
            through = self._lm.embedding_sites()
            try:
                with entering(self._lm.model, through, segment.inputs, self._given.inputs):
                    output = self._lm.model(
                        **segment.inputs,
                        past_key_values=DynamicCache(),
                        use_cache=True,
                        **logits_needed(self._lm, segment),
                    )
                layers = output.past_key_values.layers
                self._kept = [(layer.keys, layer.values) for layer in layers]
                complete = all(keys.shape[2] == segment.positions for keys, _ in self._kept)
            except _CANNOT_KEEP as error:
                if out_of_memory(error):
                    raise
                complete = False  # a model with a memory of another kind
            if not complete:
                self._give_up()
                return False
            rows = rows_of_logits(self._lm, segment, output.logits)
            self._whole = self._given.scoring(rows, segment.targets).float().cpu()
        return True

    def _give_up(self) -> None:
        _WITHOUT_CACHE.add(self._lm.model)
        if is_causal(self._lm.model):
            warnings.warn(
                f"{self._lm.name!r} has no keys and values that can be used again; perturbed texts "
                "are read whole, which is slower",
                SlowPathWarning,
                stacklevel=2,
            )

    def _continued(self, present: Tensor, start: int) -> Tensor | None:
        """Reads from position ``start`` on, behind the kept beginning."""
        segment, count = self._given.segment, len(present)
        kept = [
            (
                keys[:, :, :start].expand(count, -1, -1, -1),
                values[:, :, :start].expand(count, -1, -1, -1),
            )
            for keys, values in self._kept or ()
        ]
        # A mask is of the kept beginning, too.
        ids = {
            name: row[:, 0 if name == "attention_mask" else start :].expand(count, -1)
            for name, row in self._inputs(present).items()
        }
        embeddings = self._fill(present)[:, start:]
        # The targets before it are scored where nothing is missing yet.
        after = self._known > start
        try:
            with entering(self._lm.model, self._lm.embedding_sites(), ids, embeddings):
                output = self._lm.model(
                    **ids,
                    past_key_values=DynamicCache(kept),
                    use_cache=True,
                    **logits_needed(self._lm, segment),
                )
            rows = output.logits[:, torch.tensor(segment.places)[after].tolist()]
        except _CANNOT_KEEP as error:
            if out_of_memory(error):
                raise
            self._give_up()
            return None
        assert self._whole is not None
        scores = self._whole.repeat(count, 1)
        scores[:, after] = (
            self._given.scoring(rows, segment.targets[after.to(segment.targets.device)])
            .float()
            .cpu()
        )
        return scores
