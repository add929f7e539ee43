r"""AttnLRP: layer-wise relevance propagation for transformers, as a gradient.

The relevance of an input is input × gradient, where each operation's derivative follows its
relevance rule (Achtibat et al. 2024, arXiv 2402.05602). With these rules relevance is neither made
nor lost between layers, save what biases and other constants take.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from ecco_captum.attribution.methods.operations import ruled_forwards
from ecco_captum.attribution.methods.rules import (
    Attention,
    Bilinear,
    Norm,
    Rules,
    Unary,
    depends,
    no_rule,
    secant,
    with_custom_gradient,
)

# How the names of graph nodes begin that scale, shift, cast or reshape one tensor.
_PLAIN = ("Add", "Sub", "Mul", "Div", "ToCopy", "Unsqueeze", "Squeeze", "View", "Expand", "Clone")


def attn_lrp_rules(model: nn.Module) -> AbstractContextManager[None]:
    """While active, a plain backward through the model gives AttnLRP's modified gradient.

    Values stay what they are. What a caller makes of the model's outputs, such as a probability,
    keeps its plain gradient: it says how much relevance each logit starts with. The rules, in
    which R is the relevance of an output z, and numbers are the paper's (Achtibat et al. 2024):

    - Linear operations: the ε-rule with ε = 0 (eq. 8), which is the plain gradient.
    - Elementwise functions f: the identity rule (eq. 9), derivative f(x) / x. Where f(0) is not 0,
      as in the sigmoid, that would have a pole; f(0) then counts as a bias, as if it stood in a
      linear layer: the derivative is (f(x) − f(0)) / x. At x = 0 it is the plain derivative.
    - Layer norms and RMS norms: the identity rule (proposition 3.4): what is divided by, the root
      of a mean or a sum over some axis, is a constant. Subtracting the mean stays linear.
    - Products of two tensors that depend on the input (gates, queries × keys, attention × values):
      the uniform rule, half to each factor (eq. 7, propositions 3.2 and 3.3), which is half the
      plain gradient.
    - Softmax and its logarithm: the Taylor expansion (proposition 3.1): the plain gradient.
    - Fused attention: the same, ½ for values and ¼ for queries and keys.
    - A quotient of two tensors that depend on the input has no rule, unless its divisor is such
      a root; neither has a function with a pole at 0, such as log: inside the forward a RuleError
      names the operation and its module.

    Activations that consist of several operations are one function where they are modules of
    transformers' or torch's activations; where a model spells them out, each operation has its
    rule. Rules hold in forwards of this very module; the backward may follow after the context.

    Examples::

        >>> with attn_lrp_rules(model), replaced_output(embedding, lambda _: embedded * 1):
        >>>     score = model(input_ids=ids).logits[0, -1, target]
        >>> (gradient,) = torch.autograd.grad(score, embedded)
        >>> relevance = (gradient * embedded).sum(-1)
    """
    return ruled_forwards(model, AttnLRPRules)


class AttnLRPRules(Rules):
    title = "AttnLRP"

    def elementwise(self, name: str, function: Unary, inputs: Tensor) -> Tensor:
        if name in ("sqrt", "rsqrt") and is_statistic(inputs):
            return function(inputs).detach()
        zero = torch.zeros((), dtype=inputs.dtype, device=inputs.device)
        with torch.no_grad():
            at_zero = function(zero)
        if not bool(at_zero.isfinite().all()):
            raise no_rule(self, f"a function with a pole at 0 ({name})")

        def linearise(inputs: Tensor) -> tuple[Tensor, Unary]:
            outputs = function(inputs)
            slope = secant(function, inputs, outputs, zero, at_zero)
            return outputs, lambda gradient: gradient * slope

        return with_custom_gradient(inputs, linearise)

    def product(self, function: Bilinear, left: Tensor, right: Tensor) -> Tensor:
        return halved(function(left, right))

    def quotient(self, left: Tensor, right: Tensor) -> Tensor:
        raise no_rule(self, "the quotient of two tensors that depend on the input")

    def softmax(self, inputs: Tensor, dim: int, *, log: bool) -> Tensor:
        return inputs.log_softmax(dim) if log else inputs.softmax(dim)

    def norm(self, function: Unary, inputs: Tensor, norm: Norm) -> Tensor:
        def linearise(inputs: Tensor) -> tuple[Tensor, Unary]:
            centre = inputs.mean(norm.axes, keepdim=True) if norm.centred else 0
            variance = (inputs - centre).square().mean(norm.axes, keepdim=True)
            scale = (variance + norm.eps).rsqrt()
            scale = scale if norm.weight is None else scale * norm.weight

            def pullback(gradient: Tensor) -> Tensor:
                gradient = gradient * scale
                mean = gradient.mean(norm.axes, keepdim=True) if norm.centred else 0
                return gradient - mean

            return function(inputs), pullback

        return with_custom_gradient(inputs, linearise)

    def attention(self, call: Attention) -> Tensor:
        if call.query.requires_grad and call.key.requires_grad:
            call = call._replace(query=halved(call.query), key=halved(call.key))
        outputs = call.outputs()
        halves = depends([call.query, call.key, call.attn_mask]) and depends(call.value)
        return halved(outputs) if halves else outputs


def halved(values: Tensor) -> Tensor:
    """The same values, to the last bit, with half the gradient."""
    return torch.lerp(values, values.detach(), 0.5)


def is_statistic(values: Tensor) -> bool:
    """Whether the values are a mean, a sum or a variance, give or take constants and shapes."""
    node = values.grad_fn
    while node is not None and not node.name().startswith(("Mean", "Sum", "Var")):
        before = [previous for previous, _ in node.next_functions if previous is not None]
        plain = len(before) == 1 and node.name().startswith(_PLAIN)
        node = before[0] if plain else None
    return node is not None
