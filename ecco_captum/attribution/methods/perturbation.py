r"""Captum's perturbation methods over whole tokens, all targets from each perturbed text.

Their input is the presence of tokens, (1, positions), whose baseline is absence; so attributions
are to tokens, and one forward of the model scores all targets.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import captum.attr
import numpy as np
import torch
from captum._utils.models.model import Model
from sklearn.linear_model import Lasso, LinearRegression
from torch import Tensor

from ecco_captum.attribution.methods.base import Method, MethodInput
from ecco_captum.attribution.methods.masked_scorer import MaskedScorer
from ecco_captum.models.modes import drawing


def _feature_ablation(case: MethodInput) -> Tensor:
    presence = MaskedScorer(case)
    ablation = captum.attr.FeatureAblation(presence.scores)
    found: Tensor = ablation.attribute(_all(case), perturbations_per_eval=presence.together)
    return found


def _occlusion(case: MethodInput) -> Tensor:
    """Each target has windows of its own: those over what it can depend on."""
    window, positions = case.count("window"), case.segment.positions
    if window == 1:
        return _feature_ablation(case)
    presence = MaskedScorer(case)
    starts = range(max(1, positions - window + 1))
    masks = [_hidden(positions, start, start + window) for start in (*starts, positions)]
    known = dict(zip(map(_key, masks), presence.scores(torch.stack(masks)), strict=True))

    def scores(present: Tensor, target: int) -> Tensor:
        masks = torch.ones(len(present), positions)
        masks[:, : present.shape[1]] = present
        for mask in masks:
            if _key(mask) not in known:  # a window that ends where a target is
                known[_key(mask)] = presence.scores(mask[None])[0]
        return torch.stack([known[_key(mask)][target] for mask in masks])

    found = torch.zeros(len(case.known), positions)
    for target, length in enumerate(case.known.tolist()):
        occlusion = captum.attr.Occlusion(functools.partial(scores, target=target))
        shape = (min(window, length),)
        found[target, :length] = occlusion.attribute(
            torch.ones(1, length), sliding_window_shapes=shape
        )[0]
    return found


def _hidden(positions: int, start: int, end: int) -> Tensor:
    """(positions,): 0 from start to end, else 1."""
    mask = torch.ones(positions)
    mask[start:end] = 0
    return mask


def _key(mask: Tensor) -> bytes:
    return bytes(mask.bool().tolist())


def _shapley_value_sampling(case: MethodInput) -> Tensor:
    presence = MaskedScorer(case)
    sampling = captum.attr.ShapleyValueSampling(presence.scores)
    with drawing(case.seed):
        found: Tensor = sampling.attribute(
            _all(case),
            n_samples=case.count("n_samples"),
            perturbations_per_eval=presence.together,
        )
    return found[0]


def _kernel_shap(case: MethodInput) -> Tensor:
    if case.segment.positions == 1:  # alone, a token has the whole difference
        return _feature_ablation(case)
    return _surrogates(case, captum.attr.KernelShap, LinearRegression())


def _lime(case: MethodInput) -> Tensor:
    return _surrogates(case, captum.attr.Lime, Lasso(alpha=case.options["alpha"], max_iter=10_000))


def _surrogates(case: MethodInput, kind: Any, regression: Any) -> Tensor:
    """One draw of perturbed texts, and on it one linear model a target."""
    presence = MaskedScorer(case)
    scores: list[Tensor] = []

    def rows(present: Tensor) -> Tensor:
        # Captum takes one number a text: the place in the list where all targets' scores are.
        start = sum(map(len, scores))
        scores.append(presence.scores(present))
        return torch.arange(start, start + len(present), dtype=torch.float32)

    method = kind(rows)
    method.interpretable_model = _Surrogates(regression, scores, case.known.tolist())
    samples = _enough_samples(case.segment.positions)
    if case.options["n_samples"] is not None:
        samples = case.count("n_samples")
    with drawing(case.seed):
        found: Tensor = method.attribute(
            _all(case),
            n_samples=samples,
            perturbations_per_eval=presence.together,
            return_input_shape=False,
        )
    return found


def _enough_samples(positions: int) -> int:
    """A linear model needs more texts than it has tokens."""
    return 4 * positions + 32


class _Surrogates(Model):  # type: ignore[misc]  # Captum has no types
    """One linear model a target, over the tokens that the target can depend on."""

    def __init__(self, regression: Any, scores: list[Tensor], known: list[int]) -> None:
        self._regression, self._scores, self._known = regression, scores, known
        self._weights = torch.empty(0)

    def fit(self, train_data: Any, **kwargs: Any) -> None:
        present, rows, similarities = next(iter(train_data))
        scores = torch.cat(self._scores)[rows.long().flatten()].double().numpy()
        present, similarities = present.double().numpy(), similarities.double().numpy()
        weights = np.zeros((scores.shape[1], present.shape[1]))
        for target, known in enumerate(self._known):
            # A penalty is meant relative to the scores' spread, whatever their unit.
            spread = float(scores[:, target].std()) or 1.0
            self._regression.fit(
                present[:, :known], scores[:, target] / spread, sample_weight=similarities
            )
            weights[target, :known] = self._regression.coef_ * spread
        self._weights = torch.from_numpy(weights).float()

    def representation(self) -> Tensor:
        return self._weights

    def __call__(self, x: Any) -> Any:
        raise NotImplementedError("the surrogates are read, not run")


def _all(case: MethodInput) -> Tensor:
    """(1, positions): every token is present."""
    return torch.ones(1, case.segment.positions)


def _one_each(options: Mapping[str, Any], positions: int) -> int:
    return positions + 1


def _permutations(options: Mapping[str, Any], positions: int) -> int:
    return int(options["n_samples"]) * positions + 1


def _drawn(options: Mapping[str, Any], positions: int) -> int:
    return int(options["n_samples"] or _enough_samples(positions))


_SHARED: dict[str, Any] = {"aggregate": None, "baseline": "mean", "differentiates": False}

PERTURBATION_METHODS = (
    Method("feature_ablation", "feature ablation", _feature_ablation, _one_each, **_SHARED),
    Method("occlusion", "occlusion", _occlusion, _one_each, defaults={"window": 1}, **_SHARED),
    Method(
        "shapley_value_sampling",
        "Shapley value sampling",
        _shapley_value_sampling,
        _permutations,
        complete=True,
        defaults={"n_samples": 25},
        **_SHARED,
    ),
    Method(
        "kernel_shap",
        "kernel SHAP",
        _kernel_shap,
        _drawn,
        complete=True,
        defaults={"n_samples": None},
        **_SHARED,
    ),
    Method("lime", "LIME", _lime, _drawn, defaults={"n_samples": None, "alpha": 0.01}, **_SHARED),
)
