r"""DeepLIFT's rescale rule for every operation of a model, complete by construction.

A forward on a baseline is recorded, a forward on the input replayed against it (Shrikumar et al.
2017, arXiv 1704.02685). The gradient of the second is then DeepLIFT's multipliers m: each operation
alone satisfies Δoutput = Σ m · Δinput, so the whole model does, up to rounding.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ecco_captum.attribution.methods.operations import rules_applied
from ecco_captum.attribution.methods.rules import (
    Attention,
    Bilinear,
    Norm,
    RuleError,
    Rules,
    Unary,
    depends,
    secant,
    with_custom_gradient,
)
from ecco_captum.models.interventions import wrapped_forward


class ReferenceTape:
    r"""What the nonlinear operations of a model were given on a baseline.

    The rules, with Δ the difference between the input's run and the baseline's:

    - Linear operations: the plain gradient.
    - Elementwise functions f: the rescale rule, Δf(x) / Δx; where Δx is so small that this would be
      rounding, the derivative halfway.
    - Products of two tensors that depend on the input: each factor's Δ times the mean of the
      other's two values.
    - Quotients: the product with the reciprocal.
    - Softmax s: the exponential of x − log Σ exp x, with the logarithmic mean of its two values,
      L = Δs / Δ(log s), as slope: Δs = L (Δx − Σ L Δx / Σ L). Nothing overflows.
    - Norms: centred (linear), squared, averaged (linear), 1/√ and multiplied, by the rules above.
    - Attention in one call: products, mask and softmax, one after the other.

    What an operation decides on its input without a derivative, such as a comparison, and what the
    model computes with gradients disabled, has to be the same in both runs, since no multiplier
    could account for a difference. One case is not noticed: a tensor that the model detaches.

    Args:
        model (nn.Module): the model.

    Examples::

        >>> tape = ReferenceTape(model)
        >>> with tape.recording():
        >>>     score(baseline.requires_grad_())
        >>> with tape.replaying():
        >>>     scores = score(embedded.requires_grad_())
        >>> (multipliers,) = torch.autograd.grad(scores, embedded)
        >>> attribution = multipliers * (embedded - baseline)
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._entries: list[tuple[str, tuple[Tensor, ...]]] = []

    @contextmanager
    def recording(self) -> Iterator[None]:
        """While active, forwards are recorded; what was recorded before is forgotten.

        The baseline's embeddings have to require a gradient: this marks what depends on the input.
        Gradients are therefore enabled inside of the model, also under ``no_grad``; the graph is
        the plain one and lives as long as the outputs do. The tape keeps copies of inputs and
        outputs of the nonlinear operations, without a graph.
        """
        self._entries.clear()
        with self._ruled(_Recording(self._entries)):
            yield

    @contextmanager
    def replaying(self) -> Iterator[None]:
        """While active, a plain backward through the model's forward gives multipliers.

        The input may be a batch where the baseline was one text. A tape can be replayed again. An
        operation without a rule, and operations, shapes or decisions other than those recorded,
        raise a RuleError.
        """
        entries = iter(self._entries)
        with self._ruled(_Replaying(entries)):
            yield
        left = next(entries, None)
        if left is not None:
            raise RuleError(f"the run ended before {left[0]}, which the baseline's run went on to")

    @contextmanager
    def _ruled(self, rules: _Rescale) -> Iterator[None]:
        def inside(forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
            rules.inside = True
            try:
                with torch.enable_grad():
                    return forward(*args, **kwargs)
            finally:
                rules.inside = False

        with wrapped_forward(self._model, inside), rules_applied(self._model, rules):
            yield


class _Rescale(Rules):
    """What recording and replaying have in common: the operations that are made of others."""

    title = "DeepLIFT"
    # Whether the model is running; what a caller does without gradients is the caller's.
    inside = False

    def cut_off(self, result: Any) -> None:
        if self.inside and isinstance(result, Tensor):
            self.decision(result)

    def quotient(self, left: Tensor, right: Tensor) -> Tensor:
        inverse = self.elementwise("reciprocal", torch.reciprocal, right)
        return self.product(torch.mul, left, inverse)

    def attention(self, call: Attention) -> Tensor:
        query, key, value = call.factors()
        scores, blind = call.masked(self._matmul(query, key))
        softmax = functools.partial(self.softmax, log=False) if depends(scores) else torch.softmax
        return self._matmul(softmax(scores, -1).masked_fill(blind, 0.0), value)

    def _matmul(self, left: Tensor, right: Tensor) -> Tensor:
        if depends(left) and depends(right):
            return self.product(torch.matmul, left, right)
        return left @ right


class _Recording(_Rescale):
    def __init__(self, entries: list[tuple[str, tuple[Tensor, ...]]]) -> None:
        self.entries = entries

    def keep(self, name: str, *tensors: Tensor) -> None:
        # Copies, as the model may write into its own.
        self.entries.append((name, tuple(tensor.detach().clone() for tensor in tensors)))

    def elementwise(self, name: str, function: Unary, inputs: Tensor) -> Tensor:
        outputs = function(inputs)
        self.keep(name, inputs, outputs)
        return outputs

    def product(self, function: Bilinear, left: Tensor, right: Tensor) -> Tensor:
        self.keep("a product", left, right)
        return function(left, right)

    def softmax(self, inputs: Tensor, dim: int, *, log: bool) -> Tensor:
        logs = inputs.log_softmax(dim)
        self.keep("softmax", logs)
        return logs if log else inputs.softmax(dim)

    def norm(self, function: Unary, inputs: Tensor, norm: Norm) -> Tensor:
        self.keep("a norm", *_normalised(inputs.detach(), norm))
        return function(inputs)

    def decision(self, result: Any) -> None:
        self.keep("a decision", torch.as_tensor(result))


class _Replaying(_Rescale):
    def __init__(self, entries: Iterator[tuple[str, tuple[Tensor, ...]]]) -> None:
        self.entries = entries

    def recorded(self, name: str, *like: Tensor) -> tuple[Tensor, ...]:
        """The next entry, which has to be of the same operation, for these operands."""
        entry, tensors = next(self.entries, ("the end", ()))
        shapes = [tuple(tensor.shape) for tensor in tensors[: len(like)]]
        if entry != name or not all(
            _expands(shape, tensor.shape) for shape, tensor in zip(shapes, like, strict=True)
        ):
            wanted = ", ".join(str(tuple(tensor.shape)) for tensor in like)
            raise RuleError(
                f"the run has {name} of {wanted} where the baseline's has {entry} of "
                f"{', '.join(map(str, shapes))}: both have to run the same operations"
            )
        return tensors

    def elementwise(self, name: str, function: Unary, inputs: Tensor) -> Tensor:
        inputs_from, outputs_from = self.recorded(name, inputs)

        def linearise(inputs: Tensor) -> tuple[Tensor, Unary]:
            outputs = function(inputs)
            slope = secant(function, inputs, outputs, inputs_from, outputs_from)
            return outputs, lambda gradient: gradient * slope

        return with_custom_gradient(inputs, linearise)

    def product(self, function: Bilinear, left: Tensor, right: Tensor) -> Tensor:
        left_from, right_from = self.recorded("a product", left, right)
        # Each factor's gradient is the other's mean; the values are those of the input's run.
        means = (x + (x0 - x.detach()) / 2 for x, x0 in ((left, left_from), (right, right_from)))
        outputs = function(left.detach(), right.detach())
        return with_custom_gradient(
            function(*means), lambda _: (outputs, lambda gradient: gradient)
        )

    def softmax(self, inputs: Tensor, dim: int, *, log: bool) -> Tensor:
        (logs_from,) = self.recorded("softmax", inputs)

        def linearise(inputs: Tensor) -> tuple[Tensor, Unary]:
            logs = inputs.log_softmax(dim)
            slope = _logarithmic_mean(logs, logs_from)
            weight = slope / slope.sum(dim, keepdim=True)

            def pullback(gradient: Tensor) -> Tensor:
                gradient = gradient if log else gradient * slope
                return gradient - weight * gradient.sum(dim, keepdim=True)

            return logs if log else inputs.softmax(dim), pullback

        return with_custom_gradient(inputs, linearise)

    def norm(self, function: Unary, inputs: Tensor, norm: Norm) -> Tensor:
        centred_from, root_from = self.recorded("a norm", inputs)

        def linearise(inputs: Tensor) -> tuple[Tensor, Unary]:
            centred, root = _normalised(inputs, norm)
            middle, root_middle = (centred + centred_from) / 2, (root + root_from) / 2
            # The slope of 1/√v between both runs, free of cancellation; that of v is 2 · middle.
            slope = -((root * root_from) ** 2) / (root + root_from)
            count = math.prod(inputs.shape[axis] for axis in norm.axes)

            def pullback(gradient: Tensor) -> Tensor:
                if norm.weight is not None:
                    gradient = gradient * norm.weight
                rescaled = slope * (gradient * middle).sum(norm.axes, keepdim=True)
                gradient = gradient * root_middle + rescaled * middle * 2 / count
                mean = gradient.mean(norm.axes, keepdim=True) if norm.centred else 0
                return gradient - mean

            return function(inputs), pullback

        return with_custom_gradient(inputs, linearise)

    def decision(self, result: Any) -> None:
        given = torch.as_tensor(result)
        (recorded,) = self.recorded("a decision", given)
        if not bool((given == recorded).all()):
            raise RuleError(
                "the model decides differently on the input and on the baseline, which "
                "no multiplier can account for"
            )


def _expands(shape: tuple[int, ...], target: torch.Size) -> bool:
    try:
        return torch.broadcast_shapes(shape, target) == target
    except RuntimeError:
        return False


def _normalised(inputs: Tensor, norm: Norm) -> tuple[Tensor, Tensor]:
    """What the norm centres, and one over the root of its mean square."""
    centred = inputs - inputs.mean(norm.axes, keepdim=True) if norm.centred else inputs
    return centred, (centred.square().mean(norm.axes, keepdim=True) + norm.eps).rsqrt()


def _logarithmic_mean(logs: Tensor, logs_from: Tensor) -> Tensor:
    """(a − b) / (log a − log b) of a = exp(logs) and b = exp(logs_from)."""
    apart = (logs - logs_from).abs()
    larger = torch.maximum(logs, logs_from).exp()
    ratio = torch.where(apart > 0, -torch.expm1(-apart) / apart, 1.0)
    # A mask's numbers are minus infinity in both runs: 0 / 0.
    return (larger * ratio).nan_to_num(nan=0.0, posinf=0.0)
