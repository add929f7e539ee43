r"""Does removing what an attribution calls salient move the score? A test of what it claims."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ecco_captum.attribution.faithfulness.evidence import (
    FRACTIONS,
    ORDERS,
    Design,
    TextEvidence,
    removal_numbers,
    remove_at_random,
    top_numbers,
)
from ecco_captum.attribution.faithfulness.lds import (
    Evidence,
    LinearDatamodel,
    linear_datamodel,
    permutations,
)
from ecco_captum.attribution.faithfulness.record import CONDITIONS, Faithfulness
from ecco_captum.attribution.faithfulness.removal import Removal
from ecco_captum.attribution.faithfulness.weights import (
    is_repeatable,
    shuffled_model,
    weight_correlation,
)
from ecco_captum.attribution.record import Attribution
from ecco_captum.core.checks import check_whole
from ecco_captum.core.progress import Progress
from ecco_captum.generation.tasks import check_text
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.models.modes import evaluation_mode

PERMUTATIONS = 999


def faithfulness(
    lm: LanguageModel,
    attribution: Attribution,
    *,
    fractions: Sequence[float] = FRACTIONS,
    removal: Any = None,
    orders: int = ORDERS,
    matched_orders: int = 0,
    outputs_per_removal: int = 100,
    exclude_ends: bool = True,
    randomisation: bool | None = None,
    seed: int = 0,
    progress: Progress = None,
) -> Faithfulness:
    r"""Removes sources at random, and tests whether the attribution knew what the score would lose.

    The evidence is a series of random removals for each of ``orders`` random orders of the sources,
    at the ``fractions`` and what they leave. From it comes the linear datamodeling score (LDS; Park
    et al. 2023, section 2; Cohen-Wang et al. 2024, equation 3): the rank correlation of the sum of
    the removed sources' attributions with the drop of the score. Two exact permutation tests say
    whether it is more than chance, and more than position: the attribution's sources change places
    freely, or within windows of five neighbours. The unit is the text: one permutation serves all
    of its outputs, which share its removals, and the p-value is that of their mean.

    A claim holds only if it holds under two kinds of removal: another embedding in the tokens'
    places, and their deletion. An attribution may point at what one of them does, as occlusion does
    by construction.

    Beside it, comprehensiveness (the drop where the attribution's top sources are removed; more is
    better) and sufficiency (the drop where all but these are; less is better; DeYoung et al. 2020,
    section 4). Their means over the fractions are areas over the perturbation curves (AOPC), whose
    p-values are their ranks among those of the random orders. Signed attributions are ranked by
    value, so that what raised the score goes first.

    And the model-randomisation check (Adebayo et al. 2018): the same method on a copy of the
    model whose weights were shuffled must give another ranking.

    Args:
        lm (LanguageModel): the model that was explained.
        attribution (Attribution): of single tokens, from :func:`saliency`.
        fractions (Sequence of float, optional): the parts of the sources that are removed. Where
            they are not mirrored, as a third and two thirds are, sufficiency costs as many removals
            more. Default: a third, and two thirds
        removal (str, int, Tensor, or list of these, optional): ``"delete"``, ``"neighbour"`` (the
            embedding of the nearest token left), or what stands in place of a removed token:
            ``"mask"``, ``"mean"``, ``"zero"``, ``"pad"``, a token id, or embeddings. Curves are of
            the first kind. Default: the tokenizer's mask token, else the mean embedding; and
            deletion
        orders (int, optional): random orders of the sources. An order costs a forward of the text
            a fraction; further kinds of removal take the smallest number alone. Default: 39
        matched_orders (int, optional): orders in which the attribution's sources change places
            within windows, which its comprehensiveness is ranked among as well; 39 make a test.
            They are read for this attribution alone. Default: 0
        outputs_per_removal (int, optional): how many consecutive outputs are tested by one removal,
            that of the sources before the first of them, ranked by their mean share. With 1 each
            output is tested by its own sources, earlier outputs among them, at a cost of as many
            times more texts. Default: 100
        exclude_ends (bool, optional): whether the first and the last source are never removed. They
            matter to any output, whatever they say, and would hide the rest.
        randomisation (bool, optional): whether to make the check, on four outputs; it needs the
            memory of a second model. Default: for all but methods that draw or perturb, and Captum
            objects, whose runs are long or cannot be repeated.
        seed (int, optional): for orders, permutations, shuffling and resampling.
        progress (bool or Callable, optional): whether to show a progress bar, or a function that
            is called with the part done, 0 to 1. Default: a bar on a terminal and in notebooks.

    Returns:
        Faithfulness: scores, p-values and a verdict.

    Raises:
        TypeError: if ``attribution`` is no Attribution.
        ValueError: if tokens were grouped, an argument has no such value, or there are too few
            sources to remove any.

    Examples::

        >>> test = faithfulness(lm, saliency(lm, generation), randomisation=False)
        >>> test.verdict, sorted(test.aopc)
        ('inconclusive', ['attribution', 'first k', 'last k', 'random'])
    """
    check_attribution(lm, attribution)
    check_whole("matched_orders", matched_orders, least=0)
    design = Design(fractions, removal, orders, outputs_per_removal, exclude_ends, seed)
    evidence = remove_at_random(lm, attribution, design, progress)
    return evaluated(lm, attribution, evidence, randomisation, matched_orders)


def evaluated(
    lm: LanguageModel,
    attribution: Attribution,
    evidence: TextEvidence,
    randomisation: bool | None,
    matched_orders: int = 0,
) -> Faithfulness:
    """Tests an attribution against removals that were made before."""
    design = evidence.design
    rng = np.random.default_rng((design.seed, 1))
    datamodels = [
        linear_datamodel(parts, attribution.scores, PERMUTATIONS, rng) for parts in evidence.parts
    ]
    curves = curves_of(attribution, evidence, matched_orders, rng)
    correlation = None
    if is_repeatable(attribution) if randomisation is None else randomisation:
        shuffled = shuffled_model(lm, design.seed)
        if shuffled is not None:
            correlation = weight_correlation(shuffled, attribution, design.seed)
    rows = np.sort(np.concatenate([part.rows for part in evidence.parts[0]]))
    return Faithfulness(
        attribution=attribution,
        conditions=CONDITIONS,
        fractions=np.array(design.fractions, dtype=np.float64),
        **curves,
        removals=evidence.kinds,
        lds_by_output=np.array([datamodel.by_output for datamodel in datamodels]),
        lds_intervals=np.array([datamodel.interval for datamodel in datamodels]),
        p_values=np.array([_p_values(datamodel) for datamodel in datamodels]),
        p_by_output=np.array([datamodel.p_by_output for datamodel in datamodels]),
        outputs=np.asarray(attribution.outputs)[rows],
        rank_correlation=correlation,
        outputs_per_removal=design.outputs_per_removal,
        texts=evidence.texts,
        settings={
            "exclude_ends": design.exclude_ends,
            "orders": design.orders,
            "permutations": PERMUTATIONS,
            "seed": design.seed,
        },
    )


def _p_values(datamodel: LinearDatamodel) -> tuple[float, float, float]:
    return datamodel.p_chance, datamodel.p_position, datamodel.p_worse


def curves_of(
    attribution: Attribution,
    evidence: TextEvidence,
    matched_orders: int = 0,
    rng: np.random.Generator | None = None,
) -> dict[str, Any]:
    """Drops of each output under each condition, and means over outputs of other orders."""
    parts, each = evidence.parts[0], []
    taken = permutations(parts, matched_orders, rng or np.random.default_rng(0), near=True)
    for part, remover in zip(parts, evidence.removers, strict=True):
        weights = attribution.shares[part.rows].mean(axis=0)
        moved = np.stack([weights[part.sources], *weights[taken[:, part.sources]]])
        orders = part.sources[np.argsort(-moved, axis=1, kind="stable")]
        before = remover.texts
        each.append(_segment_curves(part, remover, orders, evidence.design.fractions))
        evidence.texts += remover.texts - before
    rows = np.argsort(np.concatenate([part.rows for part in parts]), kind="stable")
    curves = {
        name: np.concatenate([segment[name] for segment in each], axis=-1) for name in each[0]
    }
    by_output = ("comprehensiveness", "sufficiency")
    return {
        name: values[..., rows] if name in by_output else values.mean(axis=-1)
        for name, values in curves.items()
    }


def _segment_curves(
    part: Evidence, remover: Removal, orders: np.ndarray, fractions: Sequence[float]
) -> dict[str, np.ndarray]:
    """Drops of a segment's targets, (…, fractions, targets).

    ``orders`` are those by the attribution, and by the attribution where sources changed places.
    """
    sources, count = part.sources, len(part.sources)
    ranked = [orders[0], sources[::-1], sources, *orders[1:]]
    tops = top_numbers(count, fractions)
    removed = np.zeros((2, len(ranked), len(tops), remover.positions), dtype=bool)
    for k, order in enumerate(ranked):
        for f, top in enumerate(tops):
            removed[0, k, f, order[:top]] = True
            removed[1, k, f, order[top:]] = k < len(CONDITIONS) - 1  # of the rest, never asked
    with torch.inference_mode(False), evaluation_mode(remover.model):
        drops = remover.drops(removed.reshape(-1, removed.shape[-1]))
    without_top, without_rest = drops.reshape(*removed.shape[:3], -1)
    # What is left of an order is the beginning of the reversed one, which is as random.
    numbers = removal_numbers(count, fractions)
    at_random = {number: part.drops[k] for k, number in enumerate(numbers)}
    at_random[0] = np.zeros_like(part.drops[0])
    of_top = np.stack([at_random[number] for number in tops], axis=1)
    of_rest = np.stack([at_random[count - number] for number in tops], axis=1)
    return {
        "comprehensiveness": _with_random(without_top, of_top),
        "sufficiency": _with_random(without_rest, of_rest),
        "random_comprehensiveness": of_top,
        "random_sufficiency": of_rest,
        "matched_comprehensiveness": without_top[len(CONDITIONS) - 1 :],
    }


def _with_random(drops: np.ndarray, random: np.ndarray) -> np.ndarray:
    """(conditions, fractions, targets): by the attribution, the mean at random, by position."""
    own, *by_position = drops[: len(CONDITIONS) - 1]
    return np.stack([own, random.mean(axis=0), *by_position])


def check_attribution(lm: LanguageModel, attribution: Attribution) -> None:
    """Raises an error unless it is an attribution of single tokens of this model's text."""
    if not isinstance(attribution, Attribution):
        raise TypeError(
            f"attribution: got a {type(attribution).__name__}, accepts what saliency() returns"
        )
    if attribution.spans is not None:
        raise ValueError("attribution: its tokens are grouped, accepts one of single tokens")
    check_text(lm, attribution.generation)
