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


def _feature_ablation(given: MethodInput) -> Tensor:
    presence = MaskedScorer(given)
    ablation = captum.attr.FeatureAblation(presence.scores)
    attributions: Tensor = ablation.attribute(_all(given), perturbations_per_eval=presence.together)
    return attributions


def _occlusion(given: MethodInput) -> Tensor:
    """Each target has windows of its own: those over what it can depend on."""
    window, positions = given.count("window"), given.segment.positions
    if window == 1:
        return _feature_ablation(given)
    presence = MaskedScorer(given)
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

    attributions = torch.zeros(len(given.known), positions)
    for target, length in enumerate(given.known.tolist()):
        occlusion = captum.attr.Occlusion(functools.partial(scores, target=target))
        shape = (min(window, length),)
        attributions[target, :length] = occlusion.attribute(
            torch.ones(1, length), sliding_window_shapes=shape
        )[0]
    return attributions


def _hidden(positions: int, start: int, end: int) -> Tensor:
    """(positions,): 0 from start to end, else 1."""
    mask = torch.ones(positions)
    mask[start:end] = 0
    return mask


def _key(mask: Tensor) -> bytes:
    return bytes(mask.bool().tolist())


def _shapley_value_sampling(given: MethodInput) -> Tensor:
    presence = MaskedScorer(given)
    sampling = captum.attr.ShapleyValueSampling(presence.scores)
    with drawing(given.seed):
        attributions: Tensor = sampling.attribute(
            _all(given),
            n_samples=given.count("n_samples"),
            perturbations_per_eval=presence.together,
        )
    return attributions[0]


def _kernel_shap(given: MethodInput) -> Tensor:
    if given.segment.positions == 1:  # alone, a token has the whole difference
        return _feature_ablation(given)
    return _surrogates(given, captum.attr.KernelShap, LinearRegression())


def _lime(given: MethodInput) -> Tensor:
    return _surrogates(
        given, captum.attr.Lime, Lasso(alpha=given.options["alpha"], max_iter=10_000)
    )


def _surrogates(given: MethodInput, kind: Any, regression: Any) -> Tensor:
    """One draw of perturbed texts, and on it one linear model a target."""
    presence = MaskedScorer(given)
    scores: list[Tensor] = []

    def rows(present: Tensor) -> Tensor:
        # Captum takes one number a text: the place in the list where all targets' scores are.
        start = sum(map(len, scores))
        scores.append(presence.scores(present))
        return torch.arange(start, start + len(present), dtype=torch.float32)

    method = kind(rows)
    method.interpretable_model = _Surrogates(regression, scores, given.known.tolist())
    samples = _enough_samples(given.segment.positions)
    if given.options["n_samples"] is not None:
        samples = given.count("n_samples")
    with drawing(given.seed):
        attributions: Tensor = method.attribute(
            _all(given),
            n_samples=samples,
            perturbations_per_eval=presence.together,
            return_input_shape=False,
        )
    return attributions


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


def _all(given: MethodInput) -> Tensor:
    """(1, positions): every token is present."""
    return torch.ones(1, given.segment.positions)


def _one_each(options: Mapping[str, Any], positions: int) -> int:
    return positions + 1


def _permutations(options: Mapping[str, Any], positions: int) -> int:
    return int(options["n_samples"]) * positions + 1


def _drawn(options: Mapping[str, Any], positions: int) -> int:
    return int(options["n_samples"] or _enough_samples(positions))


_SHARED: dict[str, Any] = {
    "aggregate": None,
    "baseline": "mean",
    "differentiates": False,
    "removes": True,
}

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
