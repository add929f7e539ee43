"""Every method, Captum's objects, and somebody's own pass the battery that methods have to pass."""

from __future__ import annotations

from typing import Any

import captum.attr
import numpy as np
import pytest
from method_samples import Doubled, fresh_subject, subject
from naive_methods import GRADIENT_OPTIONS
from torch import Tensor

from ecco_captum import saliency
from ecco_captum.attribution.methods.base import UnsupportedMethodError
from ecco_captum.attribution.methods.catalogue import METHODS
from ecco_captum.testing import check_method

NAMES = ["causal:gpt2", "causal:llama", "seq2seq:t5", "masked:bert", "classification:bert"]
OPTIONS: dict[str, dict[str, Any]] = {
    **GRADIENT_OPTIONS,
    "occlusion": {"window": 2},
    "shapley_value_sampling": {"n_samples": 2},
    "kernel_shap": {"n_samples": 40},
    "lime": {"n_samples": 40},
}
NOWHERE = ("lrp", "guided_gradcam")
REFUSED = [(name, "attention") for name in ("seq2seq:t5", "classification:bert")]
REFUSED += [(name, "attention_rollout") for name, _ in REFUSED]


OBJECTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "a class of Captum's": (captum.attr.InputXGradient, {}),
    "somebody's own class": (Doubled, {}),
    "NoiseTunnel": (captum.attr.NoiseTunnel(captum.attr.Saliency(None)), {"nt_samples": 2}),
    "GradientShap": (captum.attr.GradientShap(None), {"n_samples": 2}),
    "KernelShap": (captum.attr.KernelShap(None), {"n_samples": 20}),
    "Lime": (captum.attr.Lime(None), {"n_samples": 20}),
    "ShapleyValueSampling": (captum.attr.ShapleyValueSampling(None), {"n_samples": 2}),
}
DRAWING = ["deep_lift_shap", *(n for n, m in METHODS.items() if "n_samples" in (m.defaults or {}))]

pytestmark = [
    pytest.mark.filterwarnings("ignore:integrated_gradients. attributions miss:UserWarning"),
    pytest.mark.filterwarnings("ignore:.* has no ReLU"),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_the_catalogue(method: str, name: str) -> None:
    if method in NOWHERE or (name, method) in REFUSED:
        with pytest.raises(UnsupportedMethodError):
            check_method(method, *subject(name))
        return
    check_method(method, *subject(name), **OPTIONS.get(method, {}))


@pytest.mark.parametrize("kind", OBJECTS)
def test_classes_and_objects(kind: str) -> None:
    method, options = OBJECTS[kind]
    check_method(method, *subject("causal:gpt2"), **options)


@pytest.mark.parametrize("kind", [*(m for m in METHODS if m not in NOWHERE), *OBJECTS])
def test_seeds_tell_what_draws_and_nothing_else(kind: str) -> None:
    method, options = OBJECTS.get(kind, (kind, OPTIONS.get(kind, {})))
    first, other = (
        saliency(*subject("causal:gpt2"), method=method, seed=seed, **options).scores
        for seed in (0, 1)
    )
    drawn = kind in DRAWING or kind in list(OBJECTS)[2:]
    assert np.array_equal(first, other) != drawn


class Forgetful(captum.attr.InputXGradient):
    """It leaves a hook behind."""

    def attribute(self, *args: Any, **kwargs: Any) -> Tensor:
        self.model.register_forward_hook(lambda *_: None)
        return super().attribute(*args, **kwargs)


class Moody(captum.attr.InputXGradient):
    """Its draws follow no seed."""

    def attribute(self, *args: Any, **kwargs: Any) -> Tensor:
        return super().attribute(*args, **kwargs) * np.random.default_rng().random()


def test_the_battery_finds_what_is_wrong() -> None:
    lm, generation = fresh_subject("causal:gpt2")
    with pytest.raises(AssertionError, match="Moody: another result each time"):
        check_method(Moody, lm, generation)
    Forgetful.model = lm.model
    with pytest.raises(AssertionError, match="Forgetful: the model is not as it was"):
        check_method(Forgetful, lm, generation)
