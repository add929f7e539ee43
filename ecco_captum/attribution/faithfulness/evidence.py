r"""The removals of a text that its attributions are tested by: made once, for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ecco_captum.attribution.faithfulness.lds import Evidence
from ecco_captum.attribution.faithfulness.removal import Removal, removal_kinds, removal_label
from ecco_captum.attribution.record import Attribution
from ecco_captum.core.checks import UnsupportedError, check_whole
from ecco_captum.core.progress import Progress, progress_bar
from ecco_captum.generation.scores import Scoring, as_score, embedded
from ecco_captum.generation.segments import Segment, segments, whole_segment
from ecco_captum.generation.tasks import task_of
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.models.modes import evaluation_mode

FRACTIONS = (1 / 3, 2 / 3)
"""Of the sources; what is removed to the one, is kept to the other."""

ORDERS = 39
"""With which a p-value is at least 1 in 40."""


@dataclass(frozen=True)
class Design:
    """What is removed, how often, and by what: the arguments of :func:`faithfulness`."""

    fractions: Sequence[float] = FRACTIONS
    removal: Any = None
    orders: int = ORDERS
    outputs_per_removal: int = 100
    exclude_ends: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        given = self.fractions
        several = isinstance(given, Sequence | np.ndarray) and len(given) > 0
        if not several or not all(0 < fraction < 1 for fraction in given):
            raise ValueError(f"fractions: got {given!r}, accepts numbers between 0 and 1")
        check_whole("orders", self.orders, least=2)
        check_whole("outputs_per_removal", self.outputs_per_removal)
        check_whole("seed", self.seed, least=0)


@dataclass
class TextEvidence:
    r"""The removals of one text: they serve every attribution of its outputs by the same score.

    Args:
        design (Design): how they were drawn.
        kinds (tuple of str): labels of the kinds of removal.
        parts (list): for each kind, the evidence of each segment.
        removers (list of Removal): of each segment, of the first kind.
        texts (int): how many perturbed texts the model read.
    """

    design: Design
    kinds: tuple[str, ...]
    parts: list[list[Evidence]]
    removers: list[Removal]
    texts: int


def remove_at_random(
    lm: LanguageModel, attribution: Attribution, design: Design, progress: Progress
) -> TextEvidence:
    """Removes the sources of an attribution's outputs at random, by each kind of removal.

    Of the attribution, only its text, outputs and score are used.
    """
    explained = Scoring(as_score(attribution.score), attribution.foils, attribution.versus)
    outputs = np.asarray(attribution.outputs).tolist()
    whole = whole_segment(lm, attribution.generation, outputs)
    kinds = removal_kinds(lm, design.removal)
    rng = np.random.default_rng(design.seed)
    # One key a position and order: what is an order of all sources is one of each segment's.
    keys = rng.random((design.orders, len(attribution.generation.tokens)))
    evidence = TextEvidence(
        design, tuple(removal_label(lm, kind) for kind in kinds), [[] for _ in kinds], [], 0
    )
    bar = progress_bar(progress, total=len(kinds) * len(outputs), desc="Testing", unit="token")
    with torch.inference_mode(False), evaluation_mode(lm.model), bar:
        embeddings = embedded(lm, whole)
        for segment in segments(lm, task_of(lm), whole, most=design.outputs_per_removal):
            sources = _sources(attribution, segment, design.exclude_ends)
            if not len(sources):
                bar.update(len(kinds) * len(segment.rows))
                continue
            order = sources[np.argsort(keys[:, sources], axis=1)]
            for k, kind in enumerate(kinds):
                own = embeddings[:, : segment.positions]
                remover = Removal(lm, segment, explained, own, kind)
                numbers = removal_numbers(len(sources), design.fractions)
                # Curves are of the first kind; another one is asked for the same answer only.
                own_numbers = numbers if k == 0 else numbers[:1]
                part = _removed_in(order, remover, segment, sources, own_numbers)
                evidence.parts[k].append(part)
                evidence.texts += remover.texts
                if k == 0:
                    evidence.removers.append(remover)
                bar.update(len(segment.rows))
    if not evidence.removers:
        raise UnsupportedError(
            "attribution: before no output are there sources enough to remove any; use a longer "
            "prompt, or exclude_ends=False"
        )
    return evidence


def _removed_in(
    orders: np.ndarray,
    remover: Removal,
    segment: Segment,
    sources: np.ndarray,
    numbers: Sequence[int],
) -> Evidence:
    """Removes the first sources of each order, each number of them."""
    removed = np.zeros((len(numbers), len(orders), segment.positions), dtype=bool)
    for rate, number in enumerate(numbers):
        np.put_along_axis(removed[rate], orders[:, :number], values=True, axis=1)
    drops = remover.drops(removed.reshape(-1, segment.positions))
    return Evidence(
        rows=np.array(segment.rows, dtype=np.int64),
        sources=sources,
        removed=removed[..., sources],
        drops=drops.reshape(len(numbers), len(orders), -1),
    )


def top_numbers(sources: int, fractions: Sequence[float]) -> list[int]:
    """How many sources are the top ones, for each fraction."""
    return [max(1, round(fraction * sources)) for fraction in fractions]


def removal_numbers(sources: int, fractions: Sequence[float]) -> list[int]:
    """How many sources are removed: the top ones, or all but these; never none."""
    tops = top_numbers(sources, fractions)
    return sorted({*tops, *(sources - top for top in tops if top < sources)})


def _sources(attribution: Attribution, segment: Segment, exclude_ends: bool) -> np.ndarray:
    """Positions that may be removed: those that all outputs of the run could depend on."""
    generation = attribution.generation
    sources = np.arange(attribution.known[list(segment.rows)].min())
    if generation.places is not None:  # a mask that is filled is where the score is read
        sources = np.setdiff1d(sources, generation.places)
    return sources[1:-1] if exclude_ends else sources
