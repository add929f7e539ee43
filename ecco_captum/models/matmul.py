r"""Matrix products on the CPU through oneDNN.

PyTorch sends float32 matrix products on x86 processors to MKL, which uses half of the vector width
on processors that are not Intel's. oneDNN, which PyTorch carries as well, uses all of it. Backward
passes are made of such products, so they are sent there while they run. The numbers are the same up
to the order of summation.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# Below this many multiplications the way there costs more than it saves.
_SMALL = 2**20


def fast_products() -> contextlib.AbstractContextManager[Any]:
    r"""Returns a context in which large float32 products on the CPU run in oneDNN.

    It works below autograd and vmap, so forward and backward passes both gain. Where oneDNN cannot
    be had (other processors, builds without it) the context does nothing.
    """
    if not _available():
        return contextlib.nullcontext()
    return _OneDnnProducts()


def _available() -> bool:
    return (
        platform.machine().lower() in ("x86_64", "amd64")
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


class _OneDnnProducts(TorchDispatchMode):
    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.ops.aten.mm.default and _suits(args[0], args[1]):
            return _product(args[0], args[1], None)
        if func is torch.ops.aten.addmm.default and not kwargs:
            bias, left, right = args
            if bias.ndim == 1 and bias.shape[0] == right.shape[1] and _suits(left, right):
                return _product(left, right, bias)
        return func(*args, **(kwargs or {}))


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


def _product(left: Tensor, right: Tensor, bias: Tensor | None) -> Tensor:
    # The operator computes x · wᵀ + b; a transposed view costs nothing.
    product: Tensor = torch.ops.mkldnn._linear_pointwise(left, right.t(), bias, "none", [], "")
    return product
