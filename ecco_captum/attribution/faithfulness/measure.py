r"""Does removing the salient tokens move the score? A test of what saliency claims."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from ecco_captum.attribution.faithfulness.record import Faithfulness
from ecco_captum.attribution.methods.base import (
    MethodInput,
    baseline_embeddings,
    baseline_token_ids,
    other_ways,
)
from ecco_captum.attribution.methods.catalogue import METHODS
from ecco_captum.attribution.methods.masked_scorer import MaskedScorer
from ecco_captum.attribution.record import Attribution, Named, compared
from ecco_captum.attribution.saliency import saliency
from ecco_captum.core.checks import UnsupportedError, check_whole
from ecco_captum.core.intervals import bootstrap_mean
from ecco_captum.core.progress import Progress, progress_bar
from ecco_captum.generation.scores import Scoring, as_score, embedded, target_scores
from ecco_captum.generation.segments import Segment, segments, whole_segment
from ecco_captum.generation.tasks import check_text, task_of
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.models.modes import evaluation_mode

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
    """Scores a segment's targets where some of its tokens are removed.

    ``embeddings`` are the text's, (1, positions, embedding). ``kind`` is ``"delete"``,
    ``"neighbour"`` (the embedding of the nearest token that is left, the one before at equal
    distance), or a baseline.
    """

    def __init__(
        self, lm: LanguageModel, segment: Segment, scoring: Scoring, embeddings: Tensor, kind: Any
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
        ids = baseline_token_ids(lm, segment, kind) if self._kind == "replace" else None
        self._given = MethodInput(
            lm, segment, scoring, embeddings, baseline, baseline_ids=ids, progress=self._count
        )
        if self._kind == "neighbour":
            self._scorer = MaskedScorer(self._given, self._with_neighbours, self._neighbours_ids)
        else:
            self._scorer = MaskedScorer(self._given)

    def scores(self, present: Tensor) -> Tensor:
        """(texts, targets), the scores without the tokens at which ``present`` is 0."""
        if self._kind != "delete":
            return self._scorer.scores(present)
        return torch.cat([self._without(row.bool()) for row in present])

    @torch.no_grad()
    def soft_scores(self, kept: Tensor, generator: torch.Generator) -> Tensor:
        """(texts, targets), where each number of an embedding is kept with a probability.

        ``kept`` holds the probabilities, (texts, positions).
        """
        given, width = self._given, self._given.inputs.shape[-1]
        draws = torch.rand(*kept.shape, width, generator=generator) < kept[..., None]
        mask = draws.to(given.inputs)
        return given.forward(mask * given.inputs + (1 - mask) * given.baseline).float().cpu()

    @torch.no_grad()
    def _without(self, present: Tensor) -> Tensor:
        segment, start = self._given.segment, 0
        inputs = dict(segment.inputs)
        for name, ids in segment.texts.items():
            fixed = segment.started if name == "decoder_input_ids" else 0
            end = start + ids.shape[1] - fixed
            kept = present[start:end].to(ids.device)
            if not fixed and not kept.any():
                raise ValueError(_NOTHING)
            inputs[name] = torch.cat([ids[:, :fixed], ids[:, fixed:][:, kept]], dim=1)
            if name == "input_ids":
                for extra in segment.inputs.keys() - segment.texts.keys():
                    inputs[extra] = segment.inputs[extra][:, kept]
            start = end
        shorter = replace(segment, inputs=inputs, places=_moved(segment.places, present))
        embeddings = self._given.inputs[:, present.to(self._given.inputs.device)]
        scores = target_scores(self._given.lm, shorter, self._given.scoring)(embeddings)
        self._count(1)
        return scores.float().cpu()

    def _with_neighbours(self, present: Tensor) -> Tensor:
        return self._given.inputs[0, _nearest_of(present).to(self._given.inputs.device)]

    def _neighbours_ids(self, present: Tensor) -> Tensor:
        ids = self._given.segment.ids
        return ids[_nearest_of(present).to(ids.device)]

    def _count(self, texts: int) -> None:
        self.texts += texts


def _moved(places: Sequence[int], present: Tensor) -> tuple[int, ...]:
    """Places counted from the end, where later tokens are gone."""
    length = len(present)
    return tuple(-1 - int(present[length + place + 1 :].sum()) for place in places)


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


# Outputs that are compared; a run over all would cost more than the rest of the test.
_OUTPUTS = 4


def is_repeatable(attribution: Attribution) -> bool:
    """Whether the record says all that its method was given, and the method takes no draws."""
    method = METHODS.get(attribution.method)
    named = not attribution.aggregate or attribution.aggregate in get_args(Named)
    given = "given" in attribution.settings.values()
    return (
        method is not None
        and named
        and not given
        and "n_samples" not in (method.defaults or {})
        and (method.differentiates or method.name.startswith("attention"))
    )


def shuffled_correlation(lm: LanguageModel, attribution: Attribution, seed: int) -> float | None:
    """Returns the mean rank correlation with the same method on a model of shuffled weights.

    Every weight of a copy of the model is moved within its tensor (Adebayo et al. 2018, with
    shuffled weights in place of newly drawn ones, so that each tensor keeps its distribution).
    Correlations are Spearman's, of the magnitudes of four outputs; None where there are too few
    positions for any, or the weights are not plain numbers in memory: offloaded or quantised.
    """
    weights = list(lm.model.parameters())
    plain = all(type(w.data) is Tensor and w.is_floating_point() and not w.is_meta for w in weights)
    if not plain or any(hasattr(module, "_packed_params") for module in lm.model.modules()):
        return None
    with torch.inference_mode(False):
        model = copy.deepcopy(lm.model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            order = torch.randperm(parameter.numel(), generator=generator)
            shuffled = parameter.flatten()[order.to(parameter.device)]
            parameter.copy_(shuffled.view_as(parameter))
    shuffled_lm = LanguageModel(model, lm.tokenizer, lm.name, lm.anatomy)
    foils = list(attribution.foils) or None
    rng = np.random.default_rng(seed)
    rows = sorted(rng.permutation(len(attribution.scores))[:_OUTPUTS].tolist())
    some = replace(
        attribution,
        scores=attribution.scores[rows],
        outputs=np.asarray(attribution.outputs)[rows],
        deltas=None,
        differences=None,
    )
    again = saliency(
        shuffled_lm,
        attribution.generation,
        method=attribution.method,
        score=attribution.score,
        versus=foils,
        aggregate=attribution.aggregate or None,  # type: ignore[arg-type]
        outputs=np.asarray(some.outputs).tolist(),
        progress=False,
        **attribution.settings,
    )
    correlations = compared(some, again).rank_correlation
    defined = correlations[~np.isnan(correlations)]
    return float(defined.mean()) if len(defined) else None


CONDITIONS = ("attribution", "random", "last k", "first k")


def faithfulness(
    lm: LanguageModel,
    attribution: Attribution,
    *,
    fractions: Sequence[float] = (0.1, 0.2, 0.5),
    removal: Any = None,
    outputs_per_removal: int = 100,
    exclude_ends: bool = True,
    soft: bool = False,
    randomisation: bool | None = None,
    seed: int = 0,
    progress: Progress = None,
) -> Faithfulness:
    r"""Removes the most salient sources, and measures how far the explained score falls.

    For each fraction, the top k sources by attribution are removed (comprehensiveness: the drop of
    the score; more is better) or all others are (sufficiency: the drop that is left; less is
    better; DeYoung et al. 2020, ERASER, section 4). Their means over the fractions are the areas
    over the perturbation curves (AOPC). The same is done with random sources, and with the last
    and the first k, since position alone can be a strong explanation. Soft variants (Zhao &
    Aletras 2023) keep each number of an embedding with a probability that follows the attribution
    instead of removing whole tokens. Signed attributions are ranked by value, so that what raised
    the score goes first.

    Beside it, the model-randomisation check (Adebayo et al. 2018): the same method on a copy of the
    model whose weights were shuffled must give another ranking.

    Args:
        lm (LanguageModel): the model that was explained.
        attribution (Attribution): of single tokens, from :func:`saliency`.
        fractions (Sequence of float, optional): the parts of the sources that are removed.
        removal (str, int or Tensor, optional): ``"delete"``, ``"neighbour"`` (the embedding of the
            nearest token left), or what stands in place of a removed token: ``"mask"``, ``"mean"``,
            ``"zero"``, ``"pad"``, a token id, or embeddings. Default: the tokenizer's mask token,
            else the mean embedding.
        outputs_per_removal (int, optional): how many consecutive outputs are tested by one removal,
            that of the sources before the first of them, ranked by their mean share. With 1 each
            output is tested by its own sources, earlier outputs among them, at a cost of as many
            times more texts. Default: 100
        exclude_ends (bool, optional): whether the first and the last source are never removed. They
            matter to any output, whatever they say, and would hide the rest.
        soft (bool, optional): whether to measure the soft variants as well; they need a removal
            that stands in place of a token.
        randomisation (bool, optional): whether to make the check, on four outputs; it needs the
            memory of a second model. Default: for all but methods that draw or perturb, and Captum
            objects, whose runs are long or cannot be repeated.
        seed (int, optional): for random sources, soft removal, shuffling and the bootstrap.
        progress (bool or Callable, optional): whether to show a progress bar, or a function that
            is called with the part done, 0 to 1. Default: a bar on a terminal and in notebooks.

    Returns:
        Faithfulness: drops of each output, under each condition, for each fraction.

    Raises:
        TypeError: if ``attribution`` is no Attribution.
        ValueError: if tokens were grouped, an argument has no such value, or there are too few
            sources to remove any.

    Examples::

        >>> test = faithfulness(lm, saliency(lm, generation), randomisation=False)
        >>> sorted(test.aopc)
        ['attribution', 'first k', 'last k', 'random']
    """
    _check(lm, attribution, fractions, outputs_per_removal, seed)
    kind = removal_kind(lm, removal)
    if soft and isinstance(kind, str) and kind in WITHOUT_EMBEDDING:
        raise ValueError(f"soft: a token cannot be removed in part by {kind!r}, accepts False")
    rng = np.random.default_rng(seed)
    count = len(np.asarray(attribution.outputs))
    bar = progress_bar(progress, total=count, desc="Testing", unit="token")
    parts, texts = [], 0
    with torch.inference_mode(False), evaluation_mode(lm.model), bar:
        for segment, remover in _removals(lm, attribution, kind, outputs_per_removal):
            sources = _sources(attribution, segment, exclude_ends)
            if len(sources):
                weights = attribution.shares[list(segment.rows)].mean(axis=0)[sources]
                drops = _drops(remover, segment, sources, weights, fractions, rng)
                if soft:
                    drops |= _soft_drops(remover, segment, sources, weights, rng)
                parts.append((list(segment.rows), drops))
                texts += remover.texts
            bar.update(len(segment.rows))
    rows, drops = _joined(parts)
    correlation = None
    if is_repeatable(attribution) if randomisation is None else randomisation:
        correlation = shuffled_correlation(lm, attribution, seed)
    return Faithfulness(
        attribution=attribution,
        conditions=CONDITIONS,
        fractions=np.array(fractions, dtype=np.float64),
        comprehensiveness=drops["comprehensiveness"],
        sufficiency=drops["sufficiency"],
        soft_comprehensiveness=drops.get("soft_comprehensiveness"),
        soft_sufficiency=drops.get("soft_sufficiency"),
        comprehensiveness_summary=_summary(drops["comprehensiveness"], rng),
        sufficiency_summary=_summary(drops["sufficiency"], rng),
        outputs=np.asarray(attribution.outputs)[rows],
        margins=_margins(drops["comprehensiveness"], rng),
        rank_correlation=correlation,
        removal=_removal_label(lm, kind),
        outputs_per_removal=outputs_per_removal,
        texts=texts,
        settings={"exclude_ends": exclude_ends, "seed": seed},
    )


def _joined(
    parts: list[tuple[list[int], dict[str, np.ndarray]]],
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Rows of the attribution that were tested, ascending, and the drops of each in that order."""
    if not parts:
        raise UnsupportedError(
            "attribution: before no output are there sources enough to remove any; use a longer "
            "prompt, or exclude_ends=False"
        )
    rows = np.array([row for numbers, _ in parts for row in numbers])
    order = np.argsort(rows)
    return rows[order], {
        name: np.concatenate([drops[name] for _, drops in parts], axis=-1)[..., order]
        for name in parts[0][1]
    }


def _removals(
    lm: LanguageModel, attribution: Attribution, kind: Any, outputs_per_removal: int
) -> Iterator[tuple[Segment, Removal]]:
    """The outputs that share a removal, and what takes their sources away."""
    explained = Scoring(as_score(attribution.score), attribution.foils, attribution.versus)
    outputs = np.asarray(attribution.outputs).tolist()
    whole = whole_segment(lm, attribution.generation, outputs)
    embeddings = embedded(lm, whole)
    for segment in segments(lm, task_of(lm), whole, most=outputs_per_removal):
        yield segment, Removal(lm, segment, explained, embeddings[:, : segment.positions], kind)


def _sources(attribution: Attribution, segment: Segment, exclude_ends: bool) -> np.ndarray:
    """Positions that may be removed: those that all outputs of the run could depend on."""
    generation = attribution.generation
    sources = np.arange(attribution.known[list(segment.rows)].min())
    if generation.places is not None:  # a mask that is filled is where the score is read
        sources = np.setdiff1d(sources, generation.places)
    return sources[1:-1] if exclude_ends else sources


def _drops(
    remover: Removal,
    segment: Segment,
    sources: np.ndarray,
    weights: np.ndarray,
    fractions: Sequence[float],
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Drops of a run's targets: (conditions, fractions, targets), soft ones (2, targets)."""
    orders = (
        sources[np.argsort(-weights, kind="stable")],
        rng.permutation(sources),
        sources[::-1],
        sources,
    )
    present = [torch.ones(segment.positions)]
    for order in orders:
        for fraction in fractions:
            top = order[: max(1, round(fraction * len(order)))]
            rest = np.setdiff1d(sources, top)
            for removed in (top, rest):
                mask = torch.ones(segment.positions)
                mask[torch.from_numpy(removed.copy())] = 0
                present.append(mask)
    scores = remover.scores(torch.stack(present)).double().numpy()
    drops = (scores[:1] - scores[1:]).reshape(len(orders), len(fractions), 2, -1)
    return {"comprehensiveness": drops[:, :, 0], "sufficiency": drops[:, :, 1]}


def _soft_drops(
    remover: Removal,
    segment: Segment,
    sources: np.ndarray,
    weights: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Soft drops of a run's targets, (2, targets): by the attribution, and in random order."""
    importance = np.abs(weights) / max(np.abs(weights).max(), np.finfo(np.float64).tiny)
    keep = torch.ones(5, segment.positions)  # the first keeps all
    at = torch.from_numpy(sources.copy())
    for row, values in enumerate((importance, rng.permutation(importance)), start=1):
        keep[row, at] = torch.from_numpy(1 - values).float()
        keep[2 + row, at] = torch.from_numpy(values).float()
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    scores = remover.soft_scores(keep, generator).double().numpy()
    drops = scores[:1] - scores[1:]
    return {"soft_comprehensiveness": drops[:2], "soft_sufficiency": drops[2:]}


def _summary(drops: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(conditions, fractions + 1, 3): means over outputs with intervals, last of the AOPC."""
    return bootstrap_mean(np.concatenate([drops, drops.mean(axis=1, keepdims=True)], axis=1), rng)


def _margins(drops: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(baselines, 3): by how much the attribution's AOPC beats each baseline's."""
    areas = drops.mean(axis=1)
    return bootstrap_mean(areas[:1] - areas[1:], rng)


def _removal_label(lm: LanguageModel, kind: Any) -> str:
    if isinstance(kind, int | np.integer):
        return f"token {kind}"
    label = kind if isinstance(kind, str) else "given"
    left = other_ways(lm) if label in ("zero", "mean", "given") else ()
    return f"{label} ({', '.join(left)} as it is)" if left else label


def _check(
    lm: LanguageModel,
    attribution: Attribution,
    fractions: Sequence[float],
    outputs_per_removal: int,
    seed: int,
) -> None:
    if not isinstance(attribution, Attribution):
        raise TypeError(
            f"attribution: got a {type(attribution).__name__}, accepts what saliency() returns"
        )
    if attribution.spans is not None:
        raise ValueError("attribution: its tokens are grouped, accepts one of single tokens")
    check_text(lm, attribution.generation)
    several = isinstance(fractions, Sequence | np.ndarray) and len(fractions) > 0
    if not several or not all(0 < fraction < 1 for fraction in fractions):
        raise ValueError(f"fractions: got {fractions!r}, accepts numbers between 0 and 1")
    check_whole("outputs_per_removal", outputs_per_removal)
    check_whole("seed", seed, least=0)
