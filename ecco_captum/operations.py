r"""Rules attached to operations: one forward's graph, replaced function by function.

Some attribution methods are a backward pass with other derivatives: relevance propagation,
DeepLIFT. Which derivative an operation gets depends on the operation, not on the architecture that
it stands in, and every operation of a model passes a ``TorchFunctionMode``. The mode here sorts
what it sees: linear in what depends on the input (left alone), known to the :class:`Rules` (their
graph is built instead, with the same values), without a derivative (left alone), or unknown.
Unknown operations raise :class:`RuleError`: none keeps its plain gradient silently.

What depends on the input is what requires a gradient, so the parameters are frozen meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn, overrides
from torch.overrides import TorchFunctionMode

from ecco_captum.functions import apply_rules
from ecco_captum.replay import wrapped_forward
from ecco_captum.rules import RuleError, Rules, depends, no_rule


@contextmanager
def rules_applied(model: nn.Module, rules: Rules) -> Iterator[None]:
    r"""While active, forwards of a model get the graph that the rules choose; values stay.

    Args:
        model (nn.Module): its parameters require no gradients meanwhile, and its activation modules
            count as one elementwise function each, however many operations they are made of.
        rules (Rules): what becomes of the operations. Only one set can be in force.

    Raises:
        RuleError: also raised from inside a forward, for an operation without a rule.
    """
    modes = overrides._get_current_function_mode_stack()
    if any(isinstance(mode, _RuleMode) for mode in modes):
        raise RuleError(f"{rules.title} rules cannot start while other rules are in force.")
    mode = _RuleMode(rules)
    # The flag of a tensor made under inference_mode could not be put back; it has no effect either.
    required = [p for p in model.parameters() if p.requires_grad and not p.is_inference()]
    with ExitStack() as contexts:
        for module in model.modules():
            if _is_activation(module):
                contexts.enter_context(wrapped_forward(module, mode.activation))
        try:
            for parameter in required:
                parameter.requires_grad_(False)
            with mode:
                yield
        finally:
            for parameter in required:
                parameter.requires_grad_(True)


# Modules of torch's file of activations that mix numbers, or that weigh or draw them.
_NOT_ELEMENTWISE_NAMES = "MultiheadAttention Softmax Softmax2d Softmin LogSoftmax GLU PReLU RReLU"
_NOT_ELEMENTWISE = frozenset(_NOT_ELEMENTWISE_NAMES.split())
_HOMES = ("transformers.activations", "torch.nn.modules.activation")


def _is_activation(module: nn.Module) -> bool:
    kind = type(module)
    # One that works in place is left to the function that it calls.
    if kind.__name__ in _NOT_ELEMENTWISE or getattr(module, "inplace", False):
        return False
    # Some models bring a GELU of their own.
    own = kind.__name__.lower().endswith("gelu") and not module._modules and not module._parameters
    return kind.__module__ in _HOMES or own


class _RuleMode(TorchFunctionMode):
    def __init__(self, rules: Rules) -> None:
        super().__init__()
        self.rules = rules
        # How many nodes this thread has put into graphs: it grows without a torch function where
        # an autograd.Function or compiled code adds to the graph.
        self.nodes = _nodes()
        self.unseen = False

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return self.watched(self.called, func, args, kwargs or {})

    def activation(self, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Stands in for the forward of an activation module."""
        with torch._C.DisableTorchFunction():
            return self.watched(self.activated, forward, args, kwargs)

    def watched(self, call: Callable[..., Any], func: Any, args: Any, kwargs: Any) -> Any:
        self.unseen |= _nodes() != self.nodes
        try:
            if not depends((args, kwargs)):
                return func(*args, **kwargs)
            if not torch.is_grad_enabled():
                result = func(*args, **kwargs)
                self.rules.cut_off(result)
                return result
            if self.unseen:
                raise no_rule(self.rules, "an autograd.Function or compiled code")
            return call(func, args, kwargs)
        finally:
            self.nodes = _nodes()

    def called(self, func: Any, args: Any, kwargs: Any) -> Any:
        return apply_rules(self.rules, func, args, kwargs)

    def activated(self, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        return self.rules.elementwise("activation", forward, *args, **kwargs)


def _nodes() -> int:
    return int(torch._C._autograd._get_sequence_nr())
