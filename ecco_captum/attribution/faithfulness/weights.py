"""Whether an attribution follows the model's weights: the same method on shuffled ones."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from ecco_captum.attribution.methods.catalogue import METHODS
from ecco_captum.attribution.record import Attribution, Named, compared
from ecco_captum.attribution.saliency import saliency
from ecco_captum.models.language_model import LanguageModel

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


def shuffled_model(lm: LanguageModel, seed: int) -> LanguageModel | None:
    """Returns a copy of the model, every weight moved within its tensor.

    Shuffled weights in place of newly drawn ones keep each tensor's distribution (after Adebayo et
    al. 2018). None where weights are not plain numbers in memory: offloaded or quantised.
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
    return LanguageModel(model, lm.tokenizer, lm.name, lm.anatomy)


def weight_correlation(
    shuffled: LanguageModel, attribution: Attribution, seed: int
) -> float | None:
    """Returns the mean rank correlation with the same method on a model of shuffled weights.

    Correlations are Spearman's, of the magnitudes of four outputs; None where there are too few
    positions for any.
    """
    foils = list(attribution.foils) or None
    rng = np.random.default_rng(seed)
    rows = sorted(rng.permutation(len(attribution.scores))[:_OUTPUTS].tolist())
    some = replace(
        attribution,
        scores=attribution.scores[rows],
        outputs=np.asarray(attribution.outputs)[rows],
        deltas=None,
        differences=None,
        residuals=None,
    )
    with warnings.catch_warnings():
        # What a method misses on shuffled weights is of no interest.
        warnings.simplefilter("ignore", UserWarning)
        again = saliency(
            shuffled,
            attribution.generation,
            method=attribution.method,
            score=attribution.score,
            versus=foils,
            aggregate=attribution.aggregate or None,  # type: ignore[arg-type]
            outputs=np.asarray(some.outputs).tolist(),
            progress=False,
            **{name: value for name, value in attribution.settings.items() if name != "points"},
        )
    correlations = compared(some, again).rank_correlation
    defined = correlations[~np.isnan(correlations)]
    return float(defined.mean()) if len(defined) else None
