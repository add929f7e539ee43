r"""Which attribution methods there are, by name, by Captum class, or by Captum object."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import captum.attr
import torch
from captum.attr._core.lrp import SUPPORTED_LAYERS_WITH_RULES, SUPPORTED_NON_LINEAR_LAYERS
from torch import Tensor

from ecco_captum.attribution.methods.attention import ATTENTION_METHODS
from ecco_captum.attribution.methods.base import Method, MethodInput, UnsupportedMethodError
from ecco_captum.attribution.methods.gradient import GRADIENT_METHODS, target_gradients
from ecco_captum.attribution.methods.masked_scorer import MaskedScorer
from ecco_captum.attribution.methods.perturbation import PERTURBATION_METHODS
from ecco_captum.models.modes import drawing


def _lrp(case: MethodInput) -> Tensor:
    ruled = (*SUPPORTED_LAYERS_WITH_RULES, *SUPPORTED_NON_LINEAR_LAYERS)
    leaves = (module for module in case.lm.model.modules() if not list(module.children()))
    unruled = sorted({type(leaf).__name__ for leaf in leaves if not isinstance(leaf, ruled)})
    raise UnsupportedMethodError(
        f"method: Captum's LRP has no rule for {', '.join(unruled) or 'functions'} of "
        f"{case.lm.name!r}, nor for attention, whose products and softmax are no modules; "
        "'attn_lrp' has"
    )


def _guided_gradcam(case: MethodInput) -> Tensor:
    raise UnsupportedMethodError(
        "method: guided Grad-CAM weighs the channels of a convolution's feature maps, which "
        "language models do not have; 'guided_backprop' is its other half"
    )


METHODS = {
    method.name: method
    for method in (
        *GRADIENT_METHODS,
        *PERTURBATION_METHODS,
        *ATTENTION_METHODS,
        Method("lrp", "LRP", _lrp),
        Method("guided_gradcam", "guided Grad-CAM", _guided_gradcam),
    )
}

# Ecco's names, and common ones.
ALIASES = {
    "grad_x_input": "input_x_gradient",
    "gradient": "saliency",
    "ig": "integrated_gradients",
    "dl": "deep_lift",
    "dls": "deep_lift_shap",
    "gb": "guided_backprop",
    "gg": "guided_gradcam",
    "deconv": "deconvolution",
    "gs": "gradient_shap",
    "layer_relevance_propagation": "lrp",
    "attnlrp": "attn_lrp",
    "smoothgrad": "smooth_grad",
    "rollout": "attention_rollout",
    "shapley": "shapley_value_sampling",
}

_CLASSES = {
    "InputXGradient": "input_x_gradient",
    "Saliency": "saliency",
    "IntegratedGradients": "integrated_gradients",
    "GradientShap": "gradient_shap",
    "DeepLift": "deep_lift",
    "DeepLiftShap": "deep_lift_shap",
    "GuidedBackprop": "guided_backprop",
    "Deconvolution": "deconvolution",
    "GuidedGradCam": "guided_gradcam",
    "NoiseTunnel": "smooth_grad",
    "FeatureAblation": "feature_ablation",
    "Occlusion": "occlusion",
    "ShapleyValueSampling": "shapley_value_sampling",
    "KernelShap": "kernel_shap",
    "Lime": "lime",
    "LRP": "lrp",
}

# Objects whose arithmetic holds for all targets at once.
_TOGETHER = (captum.attr.InputXGradient, captum.attr.Saliency, captum.attr.IntegratedGradients)


def get_method(given: Any) -> Method:
    r"""Returns the method that a name, a Captum class or a Captum object means.

    Args:
        given (str, type, or Attribution): such as ``"ig"``, ``captum.attr.IntegratedGradients``, or
            ``NoiseTunnel(IntegratedGradients(None))``. An object is copied, given the function to
            explain, and left as it is.

    Returns:
        Method: the method.

    Raises:
        ValueError: if there is no method of that name.
        TypeError: if it is something else, or explains layers or neurons.
    """
    if isinstance(given, str):
        name = ALIASES.get(given, given)
        if name not in METHODS:
            raise ValueError(f"method: got {given!r}, accepts {', '.join(map(repr, METHODS))}")
        return METHODS[name]
    base = captum.attr.Attribution
    is_class = isinstance(given, type)
    if not (issubclass(given, base) if is_class else isinstance(given, base)):
        raise TypeError(
            f"method: got a {type(given).__name__}, accepts a name, or a class or an object of "
            "captum.attr"
        )
    kind = given if is_class else type(given)
    if issubclass(kind, captum.attr.LayerAttribution | captum.attr.NeuronAttribution):
        raise TypeError(
            f"method: {kind.__name__} explains by layers or neurons, not by input tokens; use it "
            "with lm.forward_from_embeddings"
        )
    stock = _CLASSES.get(kind.__name__) if kind.__module__.startswith("captum.") else None
    if is_class and stock:
        return METHODS[stock]
    if stock in ("deep_lift", "deep_lift_shap", "guided_backprop", "deconvolution", "lrp"):
        if not getattr(given, "multiplies_by_inputs", True):
            raise ValueError(f"method: {kind.__name__} accepts multiply_by_inputs=True only")
        return METHODS[stock]  # bound to a module of their own
    return _method_of(given, kind)


# What saliency() itself gives to an object's attribute().
_OURS = ("inputs", "baselines", "target", "additional_forward_args", "return_convergence_delta")


def _method_of(given: Any, kind: Any) -> Method:
    by_token = issubclass(kind, captum.attr.PerturbationAttribution)
    inner = getattr(given, "attribution_method", given)
    takes_baseline = by_token or "baselines" in inspect.signature(inner.attribute).parameters
    like = METHODS.get(_CLASSES.get(kind.__name__, ""))

    def attribute(case: MethodInput) -> Tensor:
        for name in _OURS:
            if name in case.options:
                raise TypeError(f"options: {name} is given by saliency(), which has no such option")
        explainer = copy.copy(given) if not isinstance(given, type) else given(None)
        with drawing(case.seed):
            if by_token:
                presence = MaskedScorer(case)
                whole = torch.ones(1, case.segment.positions)
                return _each_target(case, explainer, presence.scores, whole)
            if _all_at_once(explainer):
                _explain(explainer, case.forward, together=True)
                found: Tensor = explainer.attribute(case.inputs, **_arguments(case, explainer))
                return found
            return _each_target(case, explainer, case.forward, case.inputs)

    return Method(
        name=kind.__name__,
        label=kind.__name__,
        attribute=attribute,
        aggregate=None if by_token else (like.aggregate if like else "l2"),
        complete=bool(like and like.complete and inner.multiplies_by_inputs),
        baseline="mean" if takes_baseline else None,
        keeps_first=bool(like and like.keeps_first),
        several=not by_token,
        defaults=None,  # its own attribute() says what it accepts
        differentiates=not by_token,
    )


def _each_target(case: MethodInput, explainer: Any, forward: Any, inputs: Tensor) -> Tensor:
    """For classes whose arithmetic is not known here: one run a target, as Captum means it."""
    found = []
    for target in range(len(case.segment.targets)):
        _explain(explainer, lambda given: forward(given)[:, target], together=False)  # noqa: B023
        found.append(explainer.attribute(inputs, **_arguments(case, explainer)))
    return torch.cat(found)


def _all_at_once(explainer: Any) -> bool:
    if type(explainer) is captum.attr.NoiseTunnel:
        return type(explainer.attribution_method) in _TOGETHER
    return type(explainer) in _TOGETHER


def _explain(explainer: Any, forward: Any, *, together: bool) -> None:
    """Gives a copy of a Captum object the function to explain, and those inside of it too."""
    explainer.forward_func = forward
    if together:
        explainer.gradient_func = target_gradients
    inner = getattr(explainer, "attribution_method", None)
    if inner is not None:
        explainer.attribution_method = copy.copy(inner)
        _explain(explainer.attribution_method, forward, together=together)


def _arguments(case: MethodInput, explainer: Any) -> dict[str, Any]:
    """The user's options, with what bounds memory."""
    arguments = dict(case.options)
    if isinstance(explainer, captum.attr.NoiseTunnel):
        # More at once would mix draws and targets where all targets are taken together.
        arguments["nt_samples_batch_size"] = 1
        explainer = explainer.attribution_method
    accepted = inspect.signature(explainer.attribute).parameters
    if "internal_batch_size" in accepted:
        arguments.setdefault("internal_batch_size", 1)
    if "baselines" in accepted and not isinstance(explainer, captum.attr.PerturbationAttribution):
        arguments.setdefault("baselines", case.baseline)
    return arguments
