r"""Large matrix products on the CPU, each in the library that this processor is faster with.

PyTorch multiplies float32 matrices with MKL, and carries oneDNN beside it. On some processors
oneDNN is twice as fast, on others half again slower, and it depends on the shapes. So both are
tried when products of a kind are met for the first time.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any, Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Products = Literal["auto", "onednn", "plain"]

VARIABLE = "ECCO_CAPTUM_PRODUCTS"
"""The environment variable that says which library multiplies."""

# Below this many multiplications the way there costs more than it saves.
_SMALL = 2**20
# Multiplications of one trial: some milliseconds. More rows change little in which is faster.
_TRIAL = 2**27
_FEWEST_ROWS = 32
# Trials of each library: other work on the machine makes single ones slower, never faster.
_FEWEST_TRIALS, _MOST_TRIALS = 3, 7
_TRIAL_SECONDS = 0.01
# What oneDNN must gain: nearer than this, trials could go either way.
_CLEARLY = 1.03


def fast_products() -> contextlib.AbstractContextManager[Any]:
    r"""Returns a context in which large float32 products on the CPU run where they are faster.

    It works below autograd and vmap, so forward and backward passes both gain. ``onednn`` and
    ``plain`` (what PyTorch does by itself) in the environment variable ``ECCO_CAPTUM_PRODUCTS`` fix
    the choice; ``auto``, the default, measures, except where PyTorch's deterministic algorithms are
    on: there products are plain. Where oneDNN cannot be had (other processors, builds without it)
    the context does nothing.

    Raises:
        ValueError: if the variable has another value.
    """
    products = _setting()
    if products == "auto" and torch.are_deterministic_algorithms_enabled():
        products = "plain"
    if products == "plain" or not _available():
        return contextlib.nullcontext()
    return _Products(measured=products == "auto")


def _setting() -> Products:
    given = os.environ.get(VARIABLE) or "auto"
    if given not in get_args(Products):
        accepted = ", ".join(map(repr, get_args(Products)))
        raise ValueError(f"{VARIABLE}: got {given!r}, accepts {accepted}")
    return cast("Products", given)


def _available() -> bool:
    return (
        platform.machine().lower() in ("x86_64", "amd64")
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


class _Products(TorchDispatchMode):
    """While active, products that suit oneDNN go there: all of them, or those that gain by it."""

    def __init__(self, measured: bool) -> None:
        super().__init__()
        self._measured = measured

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.ops.aten.mm.default and self._takes(args[0], args[1], None):
            return _onednn(args[0], args[1], None)
        if func is torch.ops.aten.addmm.default and not kwargs:
            bias, left, right = args
            adds_row = bias.ndim == 1 and bias.shape[0] == right.shape[1]
            if adds_row and self._takes(left, right, bias):
                return _onednn(left, right, bias)
        return func(*args, **(kwargs or {}))

    def _takes(self, left: Tensor, right: Tensor, bias: Tensor | None) -> bool:
        return _suits(left, right) and (not self._measured or _gains(left, right, bias))


def _suits(left: Tensor, right: Tensor) -> bool:
    return (
        type(left) is Tensor
        and left.dtype == right.dtype == torch.float32
        and left.device.type == right.device.type == "cpu"
        and left.layout == right.layout == torch.strided
        and left.shape[0] > 1
        # With weights in any other layout oneDNN falls back to loops a hundred times slower.
        and (right.is_contiguous() or right.t().is_contiguous())
        and left.shape[0] * left.shape[1] * right.shape[1] >= _SMALL
    )


def _onednn(left: Tensor, right: Tensor, bias: Tensor | None) -> Tensor:
    # The operator computes x · wᵀ + b; a transposed view costs nothing.
    product: Tensor = torch.ops.mkldnn._linear_pointwise(left, right.t(), bias, "none", [], "")
    return product


def _plain(left: Tensor, right: Tensor, bias: Tensor | None) -> Tensor:
    return left @ right if bias is None else torch.addmm(bias, left, right)


class _Kind(NamedTuple):
    """Products of which the same library is the faster one."""

    row_bits: int  # in how many bits their number is written: up to twice as many are one kind
    inner: int
    outer: int
    left_contiguous: bool
    right_contiguous: bool
    bias: bool
    threads: int


# Whether oneDNN is faster. Kept while the process lives, so that equal calls give equal numbers.
_GAINS: dict[_Kind, bool] = {}
_MEASURING = Lock()


def _gains(left: Tensor, right: Tensor, bias: Tensor | None) -> bool:
    """Whether oneDNN is clearly faster at products of this kind; the first is measured."""
    inner, outer = right.shape
    rows = min(left.shape[0], max(_FEWEST_ROWS, _TRIAL // (inner * outer)))
    kind = _Kind(
        rows.bit_length(),
        inner,
        outer,
        left.is_contiguous(),
        right.is_contiguous(),
        bias is not None,
        torch.get_num_threads(),
    )
    if kind not in _GAINS:
        # One at a time: trials of several threads at once would say nothing.
        with _MEASURING:
            if kind not in _GAINS:
                _GAINS[kind] = _measured_gain(left[:rows], right, bias) >= _CLEARLY
    return _GAINS[kind]


def _measured_gain(left: Tensor, right: Tensor, bias: Tensor | None) -> float:
    """How many times faster oneDNN is than the plain product."""
    _plain(left, right, bias), _onednn(left, right, bias)  # the first calls make their kernels
    plain = onednn = math.inf
    spent = 0.0
    for trial in range(_MOST_TRIALS):
        if trial >= _FEWEST_TRIALS and spent > _TRIAL_SECONDS:
            break
        # In turn, so that a machine that grows slower slows both.
        plain_now = _seconds(lambda: _plain(left, right, bias))
        onednn_now = _seconds(lambda: _onednn(left, right, bias))
        plain, onednn = min(plain, plain_now), min(onednn, onednn_now)
        spent += plain_now + onednn_now
    return plain / onednn


def _seconds(product: Callable[[], Tensor]) -> float:
    start = time.perf_counter()
    product()
    return time.perf_counter() - start
