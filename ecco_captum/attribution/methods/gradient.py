r"""Captum's gradient methods, all targets at a time.

Each is a stock Captum object whose ``gradient_func`` answers for all targets. Methods that average
draws or steps do so here, one at a time, so that memory does not grow with their number.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import captum.attr
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ecco_captum.attribution.methods.attn_lrp import attn_lrp_rules
from ecco_captum.attribution.methods.base import Method, MethodInput, UnsupportedMethodError
from ecco_captum.attribution.methods.deep_lift import ReferenceTape
from ecco_captum.attribution.methods.gim import gim_rules
from ecco_captum.attribution.methods.integration import adaptive_integral
from ecco_captum.core.checks import SlowPathWarning
from ecco_captum.models.interventions import wrapped_forward
from ecco_captum.models.modes import drawing
from ecco_captum.models.products import fast_products


def target_gradients(
    forward_fn: Callable[..., Tensor],
    inputs: tuple[Tensor, ...],
    target_ind: Any = None,
    additional_forward_args: Any = None,
) -> tuple[Tensor, ...]:
    """Gradients of every score that ``forward_fn`` returns, from one forward; a ``gradient_func``.

    ``forward_fn`` returns (batch, targets); texts of a batch do not mix. For each input, (batch,
    …), the gradients are (batch × targets, …), a text's targets one after the other. ``target_ind``
    is Captum's argument and not used: the scores are the targets'.
    """
    if additional_forward_args is None:
        arguments: tuple[Any, ...] = ()
    elif isinstance(additional_forward_args, tuple):
        arguments = additional_forward_args
    else:
        arguments = (additional_forward_args,)
    with torch.enable_grad():
        scores = forward_fn(*inputs, *arguments)
        # Texts do not mix, so the sum over them has each text's own gradient.
        gradients = _batched(scores.sum(dim=0), inputs)
    return tuple(gradient.transpose(0, 1).flatten(0, 1) for gradient in gradients)


def _batched(scores: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """One batched backward; one by one where an operation of the model has no batched rule."""
    each = torch.eye(len(scores), dtype=scores.dtype, device=scores.device)
    try:
        # Only the backward: the forward's activations are then the model's own to the last bit.
        with fast_products():
            return torch.autograd.grad(
                scores, inputs, each, is_grads_batched=True, retain_graph=True
            )
    except RuntimeError as error:
        # Also where memory did not suffice: one target at a time needs the least.
        reason = str(error).strip().partition("\n")[0]
        warnings.warn(
            f"gradients are taken one target at a time, which is slower: {reason}",
            SlowPathWarning,
            stacklevel=2,
        )
        rows = [torch.autograd.grad(scores, inputs, row, retain_graph=True) for row in each]
        return tuple(torch.stack(column) for column in zip(*rows, strict=True))


def _input_x_gradient(given: MethodInput) -> Tensor:
    attributions: Tensor = _all_targets(captum.attr.InputXGradient(given.forward)).attribute(
        given.inputs
    )
    return attributions


def _saliency(given: MethodInput) -> Tensor:
    method = _all_targets(captum.attr.Saliency(given.forward))
    attributions: Tensor = method.attribute(given.inputs, abs=False)
    return attributions


def _integrated_gradients(given: MethodInput) -> Tensor:
    """Captum's rule with so many steps, or steps where they are needed."""
    tolerance = given.options["tolerance"]
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not tolerance > 0:
        raise ValueError(f"tolerance: got {tolerance!r}, accepts a number above 0")
    given.count("max_steps")
    if given.options["n_steps"] is None:
        return adaptive_integral(given, partial(_scores_and_gradients, given))
    method = _all_targets(captum.attr.IntegratedGradients(given.forward))
    attributions: Tensor = method.attribute(
        given.inputs,
        baselines=given.baseline,
        n_steps=given.count("n_steps"),
        internal_batch_size=1,
    )
    return attributions


def _scores_and_gradients(given: MethodInput, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Of each target: (targets,), and (targets, positions, embedding)."""
    seen: list[Tensor] = []

    def forward(embeddings: Tensor) -> Tensor:
        seen.append(given.forward(embeddings))
        return seen[-1]

    (gradients,) = target_gradients(forward, (embeddings,))
    return seen[-1][0], gradients


def _gradient_shap(given: MethodInput) -> Tensor:
    method = _all_targets(captum.attr.GradientShap(given.forward))
    stdevs = given.options["noise"] * float(given.inputs.detach().float().std())
    total: Tensor | float = 0.0
    samples = given.count("n_samples")
    with drawing(given.seed):
        for _ in range(samples):
            total = total + method.attribute(
                given.inputs, baselines=given.baseline, n_samples=1, stdevs=stdevs
            )
    return torch.as_tensor(total) / samples


def _smooth_grad(given: MethodInput) -> Tensor:
    tunnel = captum.attr.NoiseTunnel(_all_targets(captum.attr.Saliency(given.forward)))
    with drawing(given.seed):
        attributions: Tensor = tunnel.attribute(
            given.inputs,
            nt_type="smoothgrad",
            nt_samples=given.count("n_samples"),
            nt_samples_batch_size=1,
            stdevs=given.options["noise"] * float(given.inputs.detach().float().std()),
            abs=False,
        )
    return attributions


def _deep_lift(given: MethodInput) -> Tensor:
    """Mean over the baseline's texts, of which there is usually one."""
    total: Tensor | float = 0.0
    for baseline in given.baseline.split(1):
        tape = ReferenceTape(given.lm.model)
        # The head's gradient must pass the same operations in both runs.
        with torch.enable_grad(), tape.recording():
            given.forward(baseline.detach().requires_grad_())

        def replayed(embeddings: Tensor, tape: ReferenceTape = tape) -> Tensor:
            with tape.replaying():
                return given.forward(embeddings)

        inputs = given.inputs.detach().requires_grad_()
        (multipliers,) = target_gradients(replayed, (inputs,))
        total = total + multipliers * (given.inputs - baseline)
    return torch.as_tensor(total) / len(given.baseline)


def _ruled(rules: Callable[[nn.Module], Any], given: MethodInput) -> Tensor:
    """Input × the gradient that a set of rules gives."""

    def ruled(embeddings: Tensor) -> Tensor:
        with rules(given.lm.model):
            return given.forward(embeddings)

    attributions: Tensor = _all_targets(captum.attr.InputXGradient(ruled)).attribute(given.inputs)
    return attributions


def _guided_backprop(given: MethodInput) -> Tensor:
    return _with_modified_relus(given, captum.attr.GuidedBackprop)


def _deconvolution(given: MethodInput) -> Tensor:
    return _with_modified_relus(given, captum.attr.Deconvolution)


def _with_modified_relus(given: MethodInput, kind: Any) -> Tensor:
    """Captum's hooks on ReLU modules; whatever else the model has keeps its plain gradient."""
    of_modules, in_all = _relus(given)
    if in_all > of_modules:
        raise UnsupportedMethodError(
            f"method: {kind.__name__} changes the backward of ReLU modules; {given.lm.name!r} "
            "calls ReLU as a function, which Captum cannot hook"
        )
    if not in_all:
        warnings.warn(
            f"{given.lm.name!r} has no ReLU: {kind.__name__} equals its plain gradient",
            stacklevel=2,
        )
    method = _all_targets(kind(_Explained(given)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting backward hooks on ReLU activations")
        attributions: Tensor = method.attribute(given.inputs)
    return attributions


def _relus(given: MethodInput) -> tuple[int, int]:
    """How many ReLUs a forward runs as modules, and how many in all."""
    count = 0

    def counted(forward: Any, args: Any, kwargs: Any) -> Any:
        nonlocal count
        count += 1
        return forward(*args, **kwargs)

    with torch.no_grad(), contextlib.ExitStack() as stack:
        for module in given.lm.model.modules():
            if isinstance(module, nn.ReLU):
                stack.enter_context(wrapped_forward(module, counted))
        calls = stack.enter_context(_ReluCalls())
        given.forward(given.inputs)
    return count, calls.count


class _ReluCalls(TorchFunctionMode):
    """Counts the calls of ReLU, whoever makes them."""

    count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += getattr(func, "__name__", "") in ("relu", "relu_")
        return func(*args, **(kwargs or {}))


class _Explained(nn.Module):
    """From embeddings to scores as a module, since Captum hooks the ReLUs inside of one."""

    def __init__(self, given: MethodInput) -> None:
        super().__init__()
        self.model = given.lm.model
        self._given = given

    def forward(self, embeddings: Tensor) -> Tensor:
        return self._given.forward(embeddings)


def _all_targets(method: Any) -> Any:
    method.gradient_func = target_gradients
    return method


def _steps(options: Mapping[str, Any], positions: int) -> int:
    return int(options["n_steps"] or options["max_steps"])


def _samples(options: Mapping[str, Any], positions: int) -> int:
    return int(options["n_samples"])


GRADIENT_METHODS = (
    Method("input_x_gradient", "gradient × input", _input_x_gradient),
    Method("saliency", "gradient", _saliency),
    Method(
        "integrated_gradients",
        "integrated gradients",
        _integrated_gradients,
        _steps,
        aggregate="sum",
        complete=True,
        baseline="mean",
        keeps_first=True,
        defaults={"n_steps": None, "max_steps": 128, "tolerance": 0.1},
    ),
    Method(
        "gradient_shap",
        "gradient SHAP",
        _gradient_shap,
        _samples,
        aggregate="sum",
        baseline="tokens",
        several=True,
        keeps_first=True,
        defaults={"n_samples": 20, "noise": 0.0},
    ),
    Method(
        "smooth_grad",
        "SmoothGrad",
        _smooth_grad,
        _samples,
        defaults={"n_samples": 20, "noise": 0.15},
    ),
    Method(
        "deep_lift",
        "DeepLIFT",
        _deep_lift,
        lambda options, positions: 2,
        aggregate="sum",
        complete=True,
        baseline="mean",
        keeps_first=True,
    ),
    Method(
        "deep_lift_shap",
        "DeepLIFT SHAP",
        _deep_lift,
        lambda options, positions: 20,
        aggregate="sum",
        complete=True,
        baseline="tokens",
        several=True,
        keeps_first=True,
    ),
    Method("guided_backprop", "guided backpropagation", _guided_backprop),
    Method("deconvolution", "deconvolution", _deconvolution),
    Method("attn_lrp", "AttnLRP", partial(_ruled, attn_lrp_rules), aggregate="sum"),
    Method("gim", "GIM", partial(_ruled, gim_rules), aggregate="sum"),
)
