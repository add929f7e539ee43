r"""GIM: gradients whose rules for softmax, norms and products account for their interactions.

Edin et al. 2025 (arXiv 2505.17630). Where attention finds the same thing twice, removing either
changes little and the gradient of a softmax is near nothing for both; a softer one in the backward
pass gives them their due.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from torch import Tensor, nn

from ecco_captum.attribution.methods.attn_lrp import AttnLRPRules, halved, is_statistic
from ecco_captum.attribution.methods.operations import ruled_forwards
from ecco_captum.attribution.methods.rules import Attention, Unary, depends, with_custom_gradient

_TEMPERATURE = 2.0


def gim_rules(model: nn.Module) -> AbstractContextManager[None]:
    """While active, a plain backward through the model gives GIM's modified gradient.

    Values stay what they are. The rules:

    - Softmax: the backward pass is that of a softmax of the scores over a temperature of 2, without
      the factor that its chain rule would bring (temperature-adjusted softmax gradients).
    - Layer norms and RMS norms: what is divided by is a constant.
    - Products of two tensors that depend on the input: half of the gradient to each factor; so
      queries and keys get a quarter, values a half.
    - All else: the plain gradient.
    """
    return ruled_forwards(model, _GIM)


class _GIM(AttnLRPRules):
    """Norms and products as in AttnLRP."""

    title = "GIM"

    def elementwise(self, name: str, function: Unary, inputs: Tensor) -> Tensor:
        if name in ("sqrt", "rsqrt") and is_statistic(inputs):
            return function(inputs).detach()
        return function(inputs)

    def quotient(self, left: Tensor, right: Tensor) -> Tensor:
        return left / right

    def softmax(self, inputs: Tensor, dim: int, *, log: bool) -> Tensor:
        if log:
            return inputs.log_softmax(dim)

        def linearise(inputs: Tensor) -> tuple[Tensor, Unary]:
            softer = (inputs / _TEMPERATURE).softmax(dim)

            def pullback(gradient: Tensor) -> Tensor:
                return softer * (gradient - (gradient * softer).sum(dim, keepdim=True))

            return inputs.softmax(dim), pullback

        return with_custom_gradient(inputs, linearise)

    def attention(self, call: Attention) -> Tensor:
        query, key, value = call.factors()
        scores = query @ key
        if depends(query) and depends(key):
            scores = halved(scores)
        scores, blind = call.masked(scores)
        weights = self.softmax(scores, -1, log=False).masked_fill(blind, 0.0)
        outputs = weights @ value
        if depends(weights) and depends(value):
            outputs = halved(outputs)
        # The fused call's values, to the last bit.
        return call.outputs().detach() + (outputs - outputs.detach())
