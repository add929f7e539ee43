r"""Does an attribution follow the model's weights?"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import get_args

import numpy as np
import torch

from ecco_captum.aggregation import Named
from ecco_captum.attribution import saliency
from ecco_captum.attribution_record import Attribution
from ecco_captum.catalogue import METHODS
from ecco_captum.comparison import compared
from ecco_captum.models import LanguageModel

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
    r"""Returns the mean rank correlation with the same method on a model of shuffled weights.

    Every weight of a copy of the model is moved within its tensor (Adebayo et al. 2018, with
    shuffled weights in place of newly drawn ones, so that each tensor keeps its distribution).

    Args:
        lm (LanguageModel): the model.
        attribution (Attribution): made by a method that can be repeated.
        seed (int): for the shuffling, and for which four outputs are compared.

    Returns:
        float or None: the mean of Spearman's correlations of the magnitudes; None where there are
        too few positions for any.
    """
    with torch.inference_mode(False):
        model = copy.deepcopy(lm.model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.is_floating_point():
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
