r"""Captum's gradient methods, all targets at a time.

Each is a stock Captum object whose ``gradient_func`` answers for all targets. Methods that average
draws or steps do so here, one at a time, so that memory does not grow with their number.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import captum.attr
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ecco_captum.attribution.methods.attn_lrp import attn_lrp_rules
from ecco_captum.attribution.methods.base import Method, MethodInput, UnsupportedMethodError
from ecco_captum.attribution.methods.deep_lift import ReferenceTape
from ecco_captum.models.interventions import wrapped_forward
from ecco_captum.models.matmul import fast_products
from ecco_captum.models.modes import drawing


def target_gradients(
    forward_fn: Callable[..., Tensor],
    inputs: tuple[Tensor, ...],
    target_ind: Any = None,
    additional_forward_args: Any = None,
) -> tuple[Tensor, ...]:
    r"""Gradients of every score that ``forward_fn`` returns, from one forward; a ``gradient_func``.

    Args:
        forward_fn (Callable): returns scores of shape (batch, targets).
        inputs (tuple of Tensor): each (batch, …), requiring gradients. Texts of a batch do not mix.
        target_ind (Any, optional): not used: the scores are the targets'.
        additional_forward_args (Any, optional): passed on to ``forward_fn``.

    Returns:
        tuple of Tensor: for each input the gradients, (batch × targets, …), a text's targets one
        after the other.
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
    except RuntimeError:
        # Also where memory did not suffice: one target at a time needs the least.
        rows = [torch.autograd.grad(scores, inputs, row, retain_graph=True) for row in each]
        return tuple(torch.stack(column) for column in zip(*rows, strict=True))


def _input_x_gradient(case: MethodInput) -> Tensor:
    found: Tensor = _all_targets(captum.attr.InputXGradient(case.forward)).attribute(case.inputs)
    return found


def _saliency(case: MethodInput) -> Tensor:
    method = _all_targets(captum.attr.Saliency(case.forward))
    found: Tensor = method.attribute(case.inputs, abs=False)
    return found


def _integrated_gradients(case: MethodInput) -> Tensor:
    method = _all_targets(captum.attr.IntegratedGradients(case.forward))
    found: Tensor = method.attribute(
        case.inputs,
        baselines=case.baseline,
        n_steps=case.count("n_steps"),
        internal_batch_size=1,
    )
    return found


def _gradient_shap(case: MethodInput) -> Tensor:
    method = _all_targets(captum.attr.GradientShap(case.forward))
    stdevs = case.options["noise"] * float(case.inputs.detach().float().std())
    total: Tensor | float = 0.0
    samples = case.count("n_samples")
    with drawing(case.seed):
        for _ in range(samples):
            total = total + method.attribute(
                case.inputs, baselines=case.baseline, n_samples=1, stdevs=stdevs
            )
    return torch.as_tensor(total) / samples


def _smooth_grad(case: MethodInput) -> Tensor:
    tunnel = captum.attr.NoiseTunnel(_all_targets(captum.attr.Saliency(case.forward)))
    with drawing(case.seed):
        found: Tensor = tunnel.attribute(
            case.inputs,
            nt_type="smoothgrad",
            nt_samples=case.count("n_samples"),
            nt_samples_batch_size=1,
            stdevs=case.options["noise"] * float(case.inputs.detach().float().std()),
            abs=False,
        )
    return found


def _deep_lift(case: MethodInput) -> Tensor:
    """Mean over the baseline's texts, of which there is usually one."""
    total: Tensor | float = 0.0
    for baseline in case.baseline.split(1):
        tape = ReferenceTape(case.lm.model)
        # The head's gradient must pass the same operations in both runs.
        with torch.enable_grad(), tape.recording():
            case.forward(baseline.detach().requires_grad_())

        def replayed(embeddings: Tensor, tape: ReferenceTape = tape) -> Tensor:
            with tape.replaying():
                return case.forward(embeddings)

        inputs = case.inputs.detach().requires_grad_()
        (multipliers,) = target_gradients(replayed, (inputs,))
        total = total + multipliers * (case.inputs - baseline)
    return torch.as_tensor(total) / len(case.baseline)


def _attn_lrp(case: MethodInput) -> Tensor:
    def ruled(embeddings: Tensor) -> Tensor:
        with attn_lrp_rules(case.lm.model):
            return case.forward(embeddings)

    found: Tensor = _all_targets(captum.attr.InputXGradient(ruled)).attribute(case.inputs)
    return found


def _guided_backprop(case: MethodInput) -> Tensor:
    return _with_modified_relus(case, captum.attr.GuidedBackprop)


def _deconvolution(case: MethodInput) -> Tensor:
    return _with_modified_relus(case, captum.attr.Deconvolution)


def _with_modified_relus(case: MethodInput, kind: Any) -> Tensor:
    """Captum's hooks on ReLU modules; whatever else the model has keeps its plain gradient."""
    of_modules, in_all = _relus(case)
    if in_all > of_modules:
        raise UnsupportedMethodError(
            f"method: {kind.__name__} changes the backward of ReLU modules; {case.lm.name!r} calls "
            "ReLU as a function, which Captum cannot hook"
        )
    if not in_all:
        warnings.warn(
            f"{case.lm.name!r} has no ReLU: {kind.__name__} equals its plain gradient",
            stacklevel=2,
        )
    method = _all_targets(kind(_Explained(case)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting backward hooks on ReLU activations")
        found: Tensor = method.attribute(case.inputs)
    return found


def _relus(case: MethodInput) -> tuple[int, int]:
    """How many ReLUs a forward runs as modules, and how many in all."""
    count = 0

    def counted(forward: Any, args: Any, kwargs: Any) -> Any:
        nonlocal count
        count += 1
        return forward(*args, **kwargs)

    with torch.no_grad(), contextlib.ExitStack() as stack:
        for module in case.lm.model.modules():
            if isinstance(module, nn.ReLU):
                stack.enter_context(wrapped_forward(module, counted))
        calls = stack.enter_context(_ReluCalls())
        case.forward(case.inputs)
    return count, calls.count


class _ReluCalls(TorchFunctionMode):
    """Counts the calls of ReLU, whoever makes them."""

    count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += getattr(func, "__name__", "") in ("relu", "relu_")
        return func(*args, **(kwargs or {}))


class _Explained(nn.Module):
    """From embeddings to scores as a module, since Captum hooks the ReLUs inside of one."""

    def __init__(self, case: MethodInput) -> None:
        super().__init__()
        self.model = case.lm.model
        self._case = case

    def forward(self, embeddings: Tensor) -> Tensor:
        return self._case.forward(embeddings)


def _all_targets(method: Any) -> Any:
    method.gradient_func = target_gradients
    return method


def _steps(options: Mapping[str, Any], positions: int) -> int:
    return int(options["n_steps"])


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
        defaults={"n_steps": 50},
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
    Method("attn_lrp", "AttnLRP", _attn_lrp, aggregate="sum"),
)
