r"""Torch's functions, sorted by what rules need to know of them, and their arguments.

A function is known by its name without underscores: ``torch.mul``, ``Tensor.mul_`` and
``Tensor.__rmul__`` are all "mul".
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn, overrides
from torch.overrides import TorchFunctionMode, resolve_name

from ecco_captum.attribution.methods.rules import (
    Attention,
    Norm,
    RuleError,
    Rules,
    depends,
    no_rule,
)
from ecco_captum.models.interventions import wrapped_forward

# Linear in every operand that depends on the input, together: also where several do, as in add.
_LINEAR_NAMES = """
add sub rsub neg positive mean sum nansum cumsum trace diff tril triu flip roll pad where
masked_fill masked_select masked_scatter gather take_along_dim take index_select select index_add
index_copy index_put index_fill scatter scatter_add getitem setitem copy narrow cat stack hstack
vstack split split_with_sizes chunk tensor_split unbind unfold repeat tile repeat_interleave view
view_as reshape reshape_as expand expand_as broadcast_to squeeze unsqueeze flatten unflatten ravel
transpose t T mT permute movedim swapaxes swapdims diagonal contiguous clone alias to type type_as
float double half bfloat16 cpu cuda requires_grad zero fill
"""
# Functions of one tensor, number by number; whatever else they are given is constant.
_ELEMENTWISE_NAMES = """
tanh sigmoid relu relu6 gelu silu mish elu selu celu leaky_relu hardswish hardtanh hardsigmoid
softplus softsign logsigmoid tanhshrink softshrink hardshrink threshold exp exp2 expm1 log log1p
log2 log10 sqrt rsqrt square reciprocal abs sin cos tan sinh cosh asinh atan erf erfc sinc clamp
clamp_min clamp_max
"""
_ALIASES = """
radd:add iadd:add subtract:sub isub:sub negative:neg rmul:mul imul:mul multiply:mul imatmul:matmul
ipow:pow true_divide:div divide:div truediv:div itruediv:div idiv:div rtruediv:rdiv expit:sigmoid
special_expit:sigmoid special_erf:erf clip:clamp absolute:abs concat:cat concatenate:cat
moveaxis:movedim
"""
# These read numbers out of a tensor into Python.
_READER_NAMES = "item tolist bool int float index is_nonzero equal allclose"

_LINEAR, _ELEMENTWISE = frozenset(_LINEAR_NAMES.split()), frozenset(_ELEMENTWISE_NAMES.split())
_READERS = frozenset(_READER_NAMES.split())
_KNOWN_AS: dict[str, str] = dict(pair.split(":") for pair in _ALIASES.split())
# Linear in each of two factors: the names of the parameters, and which of them are the factors.
_FACTORS: dict[str, tuple[tuple[str, ...], tuple[int, int]]] = {
    **dict.fromkeys(("mul", "matmul", "rmatmul"), (("input", "other"), (0, 1))),
    **dict.fromkeys(("mm", "bmm"), (("input", "mat2"), (0, 1))),
    **dict.fromkeys(("linear", "conv1d", "conv2d"), (("input", "weight", "bias"), (0, 1))),
    "addmm": (("input", "mat1", "mat2"), (1, 2)),
    "baddbmm": (("input", "batch1", "batch2"), (1, 2)),
}


def apply_rules(rules: Rules, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Calls a function of what depends on the input: its values stay, its graph is the rules'.

    Where the result has a derivative and the rules do not say which, a RuleError names it.
    """
    name, in_place = _name(func)
    if kwargs.get("out") is not None:
        raise no_rule(rules, f"{_full_name(func)} with out=")
    if name in _LINEAR:
        return func(*args, **kwargs)
    if in_place or kwargs.get("inplace"):
        return _in_place(rules, name, func, args, kwargs)
    if name in _ELEMENTWISE:
        return _elementwise(rules, name, func, args, kwargs)
    if name in _FACTORS:
        return _product(rules, name, func, args, kwargs)
    if name in _HANDLERS:
        return _HANDLERS[name](rules, name, func, args, kwargs)
    result = func(*args, **kwargs)
    if depends(result):
        raise no_rule(rules, _full_name(func))
    if name in _READERS or (isinstance(result, Tensor) and _is_decision(name, result)):
        rules.decision(result)
    return result


def _in_place(rules: Rules, name: str, func: Any, args: Any, kwargs: Any) -> Any:
    """Computes beside the tensor, then writes: what the rules keep is not overwritten."""
    target = args[0]
    if kwargs.get("inplace"):
        kwargs = {**kwargs, "inplace": False}
    else:
        func = getattr(torch.Tensor, name, None)
    if func is None:
        raise no_rule(rules, f"torch.Tensor.{name}_")
    return target.copy_(apply_rules(rules, func, args, kwargs))


def _product(rules: Rules, name: str, func: Any, args: Any, kwargs: Any) -> Any:
    names, factors = _FACTORS[name]
    kwargs = dict(kwargs)
    given = [args[i] if i < len(args) else kwargs.pop(names[i], None) for i in range(len(names))]
    rest = args[len(names) :]
    if sum(depends(given[factor]) for factor in factors) < 2:
        return func(*given, *rest, **kwargs)
    if any(depends(given[i]) for i in range(len(names)) if i not in factors):
        raise no_rule(rules, f"{_full_name(func)} of three tensors that depend on the input")

    def function(left: Tensor, right: Tensor) -> Tensor:
        operands = list(given)
        operands[factors[0]], operands[factors[1]] = left, right
        return func(*operands, *rest, **kwargs)

    return rules.product(function, *(given[factor] for factor in factors))


def _elementwise(rules: Rules, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
    inputs, *rest = args
    shapes = [value.shape for value in (*rest, *kwargs.values()) if isinstance(value, Tensor)]
    # A True by position is the flag of the functions that may work in place.
    plain = inputs.shape == torch.broadcast_shapes(inputs.shape, *shapes)
    plain = plain and not any(value is True for value in rest)
    if depends((rest, kwargs)) or not plain:
        raise no_rule(rules, f"this use of {_full_name(func)}")
    return rules.elementwise(name, lambda each: func(each, *rest, **kwargs), inputs)


def _power(rules: Rules, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
    first, second = args[0], args[1] if len(args) > 1 else next(iter(kwargs.values()))
    base, exponent = (second, first) if name == "rpow" else (first, second)
    if not depends(exponent) and not isinstance(exponent, Tensor):
        name = {0.5: "sqrt", -0.5: "rsqrt"}.get(exponent, "pow")
        return rules.elementwise(name, lambda each: torch.pow(each, exponent), base)
    if not depends(base) and not isinstance(base, Tensor):
        return rules.elementwise("exp", lambda each: torch.pow(base, each), exponent)
    raise no_rule(rules, f"this use of {_full_name(func)}")


def _division(rules: Rules, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
    first, second = args[0], args[1] if len(args) > 1 else kwargs["other"]
    left, right = (second, first) if name == "rdiv" else (first, second)
    if kwargs.get("rounding_mode") is not None:
        raise no_rule(rules, f"{_full_name(func)} with rounding")
    if depends(left) and depends(right):
        return rules.quotient(left, right)
    if depends(left):
        return torch.div(left, right)
    inverse = rules.elementwise("reciprocal", torch.reciprocal, right)
    return inverse * left


def _softmax(rules: Rules, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
    inputs, dim = args[0], args[1] if len(args) > 1 else kwargs.get("dim")
    dtypes = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.dtype)]
    if dim is None:
        raise no_rule(rules, f"{_full_name(func)} without dim")
    if dtypes:
        inputs = inputs.to(dtypes[0])
    return rules.softmax(inputs, dim, log=name == "log_softmax")


def _norm(rules: Rules, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
    names = ["input", "normalized_shape", "weight", "bias", "eps"]
    if name == "rms_norm":
        names.remove("bias")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    inputs, weight, eps = given.pop("input"), given.get("weight"), given.get("eps")
    if depends(given):
        raise no_rule(rules, f"this use of {_full_name(func)}")
    if eps is None:
        eps = 1e-5 if name == "layer_norm" else torch.finfo(inputs.dtype).eps
    axes = tuple(range(-len(given["normalized_shape"]), 0))
    norm = Norm(axes, weight, eps, centred=name == "layer_norm")
    return rules.norm(lambda each: func(each, **given), inputs, norm)


def _attention(rules: Rules, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
    call = Attention(*args, **kwargs)
    if call.dropout_p:
        raise no_rule(rules, f"{_full_name(func)} with dropout")
    return rules.attention(call)


def _dropout(rules: Rules, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
    training = args[2] if len(args) > 2 else kwargs.get("training", True)
    chance = args[1] if len(args) > 1 else kwargs.get("p", 0.5)
    if training and chance:
        raise no_rule(rules, f"{_full_name(func)} while training")
    return func(*args, **kwargs)


def _einsum(rules: Rules, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
    equation, *operands = args
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = list(operands[0])
    if sum(map(depends, operands)) < 2:
        return func(*args, **kwargs)
    if len(operands) > 2:
        raise no_rule(rules, f"{_full_name(func)} of three tensors that depend on the input")
    return rules.product(lambda left, right: func(equation, left, right), *operands)


_Handler = Callable[[Rules, str, Any, Any, Any], Tensor]
_HANDLERS: dict[str, _Handler] = {
    "elementwise": _elementwise,
    **dict.fromkeys(("pow", "rpow"), _power),
    **dict.fromkeys(("div", "rdiv"), _division),
    **dict.fromkeys(("layer_norm", "rms_norm"), _norm),
    **dict.fromkeys(("softmax", "log_softmax"), _softmax),
    "scaled_dot_product_attention": _attention,
    "dropout": _dropout,
    "einsum": _einsum,
}


def _is_decision(name: str, result: Tensor) -> bool:
    made = name.startswith("new_") or name.endswith("_like")
    return not made and not result.is_floating_point()


@functools.cache
def _name(func: Any) -> tuple[str, bool]:
    """A function's name without underscores, and whether it works in place."""
    name: str = getattr(func, "__name__", repr(func))
    if name == "__get__":
        name = func.__self__.__name__
    if name.startswith("__") and name.endswith("__"):
        name = name.strip("_")
        in_place = name.startswith("i") and name in _KNOWN_AS
    else:
        in_place = name.endswith("_")
        name = name.removesuffix("_")
    return _KNOWN_AS.get(name, name), in_place


def _full_name(func: Any) -> str:
    return resolve_name(func) or f"torch.{getattr(func, '__name__', func)}"


@contextmanager
def rules_applied(model: nn.Module, rules: Rules) -> Iterator[None]:
    """While active, forwards of a model get the graph that the rules choose; values stay.

    Parameters require no gradients meanwhile, and activation modules count as one elementwise
    function each, however many operations they are made of. Only one set of rules can be in force.
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


def ruled_forwards(model: nn.Module, rules: Callable[[], Rules]) -> AbstractContextManager[None]:
    """While active, each forward of a model has a set of rules; the backward may follow later."""

    def ruled(forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        with rules_applied(model, rules()):
            return forward(*args, **kwargs)

    return wrapped_forward(model, ruled)


# Modules of torch's file of activations that mix numbers, or that weigh or draw them.
_NOT_ELEMENTWISE = (
    *(nn.MultiheadAttention, nn.Softmax, nn.Softmax2d, nn.Softmin, nn.LogSoftmax),
    *(nn.GLU, nn.PReLU, nn.RReLU),
)
_HOMES = ("transformers.activations", "torch.nn.modules.activation")


def _is_activation(module: nn.Module) -> bool:
    kind = type(module)
    # One that works in place is left to the function that it calls.
    if isinstance(module, _NOT_ELEMENTWISE) or getattr(module, "inplace", False):
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
