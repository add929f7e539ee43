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
from ecco_captum.attribution.methods.names import ALIASES as ALIASES
from ecco_captum.attribution.methods.names import check_name
from ecco_captum.attribution.methods.perturbation import PERTURBATION_METHODS
from ecco_captum.models.modes import drawing


def _lrp(given: MethodInput) -> Tensor:
    ruled = (*SUPPORTED_LAYERS_WITH_RULES, *SUPPORTED_NON_LINEAR_LAYERS)
    leaves = (module for module in given.lm.model.modules() if not list(module.children()))
    unruled = sorted({type(leaf).__name__ for leaf in leaves if not isinstance(leaf, ruled)})
    raise UnsupportedMethodError(
        f"method: Captum's LRP has no rule for {', '.join(unruled) or 'functions'} of "
        f"{given.lm.name!r}, nor for attention, whose products and softmax are no modules; "
        "'attn_lrp' has"
    )


def _guided_gradcam(given: MethodInput) -> Tensor:
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

# Captum's own classes; what is derived from them runs as it is.
_CLASSES = {
    captum.attr.InputXGradient: "input_x_gradient",
    captum.attr.Saliency: "saliency",
    captum.attr.IntegratedGradients: "integrated_gradients",
    captum.attr.GradientShap: "gradient_shap",
    captum.attr.DeepLift: "deep_lift",
    captum.attr.DeepLiftShap: "deep_lift_shap",
    captum.attr.GuidedBackprop: "guided_backprop",
    captum.attr.Deconvolution: "deconvolution",
    captum.attr.GuidedGradCam: "guided_gradcam",
    captum.attr.NoiseTunnel: "smooth_grad",
    captum.attr.FeatureAblation: "feature_ablation",
    captum.attr.Occlusion: "occlusion",
    captum.attr.ShapleyValueSampling: "shapley_value_sampling",
    captum.attr.KernelShap: "kernel_shap",
    captum.attr.Lime: "lime",
    captum.attr.LRP: "lrp",
}

# Objects whose arithmetic holds for all targets at once.
_TOGETHER = (captum.attr.InputXGradient, captum.attr.Saliency, captum.attr.IntegratedGradients)


def get_method(method: Any) -> Method:
    """Returns the method that a name, a Captum class or a Captum object means.

    An object such as ``NoiseTunnel(IntegratedGradients(None))`` is copied, given the function to
    explain, and left as it is. An unknown name raises a ValueError; what explains layers or
    neurons, or is no attribution, a TypeError.
    """
    if isinstance(method, str):
        return METHODS[check_name(method)]
    base = captum.attr.Attribution
    is_class = isinstance(method, type)
    if not (issubclass(method, base) if is_class else isinstance(method, base)):
        raise TypeError(
            f"method: got a {type(method).__name__}, accepts a name, or a class or an object of "
            "captum.attr"
        )
    kind = method if is_class else type(method)
    if issubclass(kind, captum.attr.LayerAttribution | captum.attr.NeuronAttribution):
        raise TypeError(
            f"method: {kind.__name__} explains by layers or neurons, not by input tokens; use it "
            "with lm.forward_from_embeddings"
        )
    stock = _CLASSES.get(kind)
    if is_class and stock:
        return METHODS[stock]
    if stock in ("deep_lift", "deep_lift_shap", "guided_backprop", "deconvolution", "lrp"):
        if not getattr(method, "multiplies_by_inputs", True):
            raise ValueError(f"method: {kind.__name__} accepts multiply_by_inputs=True only")
        return METHODS[stock]  # bound to a module of their own
    return _method_of(method, kind)


# What saliency() itself gives to an object's attribute().
_OURS = ("inputs", "baselines", "target", "additional_forward_args", "return_convergence_delta")


def _method_of(explainer: Any, kind: Any) -> Method:
    by_token = issubclass(kind, captum.attr.PerturbationAttribution)
    inner = getattr(explainer, "attribution_method", explainer)
    takes_baseline = by_token or "baselines" in inspect.signature(inner.attribute).parameters
    like = METHODS.get(_CLASSES.get(kind, ""))

    def attribute(given: MethodInput) -> Tensor:
        for name in _OURS:
            if name in given.options:
                raise TypeError(f"options: {name} is given by saliency(), which has no such option")
        own = copy.copy(explainer) if not isinstance(explainer, type) else explainer(None)
        with drawing(given.seed):
            if by_token:
                scorer = MaskedScorer(given)
                whole = torch.ones(1, given.segment.positions)
                return _each_target(given, own, scorer.scores, whole)
            if _all_at_once(own):
                _explain(own, given.forward, together=True)
                return torch.as_tensor(own.attribute(given.inputs, **_arguments(given, own)))
            return _each_target(given, own, given.forward, given.inputs)

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


def _each_target(given: MethodInput, explainer: Any, forward: Any, inputs: Tensor) -> Tensor:
    """For classes whose arithmetic is not known here: one run a target, as Captum means it."""
    attributions = []
    for target in range(len(given.segment.targets)):
        _explain(explainer, lambda x: forward(x)[:, target], together=False)  # noqa: B023
        attributions.append(explainer.attribute(inputs, **_arguments(given, explainer)))
    return torch.cat(attributions)


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


def _arguments(given: MethodInput, explainer: Any) -> dict[str, Any]:
    """The user's options, with what bounds memory."""
    arguments = dict(given.options)
    if isinstance(explainer, captum.attr.NoiseTunnel):
        # More at once would mix draws and targets where all targets are taken together.
        arguments["nt_samples_batch_size"] = 1
        explainer = explainer.attribution_method
    accepted = inspect.signature(explainer.attribute).parameters
    if "internal_batch_size" in accepted:
        arguments.setdefault("internal_batch_size", 1)
    if "baselines" in accepted and not isinstance(explainer, captum.attr.PerturbationAttribution):
        arguments.setdefault("baselines", given.baseline)
    return arguments
