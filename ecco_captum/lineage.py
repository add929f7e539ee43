r"""What a tensor was made of: which linear maps, and what was done to their outputs since."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from itertools import permutations
from typing import Any, NamedTuple

# Names of tensor operations, without the underscore that marks those in place.
_NON_LINEARITY = re.compile(
    "silu|gelu|relu6?|tanh|sigmoid|erf|softplus|leaky_relu|elu|mish|hardtanh|hardswish|celu|selu"
    "|log_sigmoid_forward|threshold|hardsigmoid|expm1|_?prelu(_kernel)?|rrelu_with_noise|clamp_min|glu"
)
_SOFTMAX = re.compile("_?(safe_)?softmax")
_SUM = re.compile("add|sub|rsub|addcmul|index_add|scatter_add|lerp")
_SEQUENCE_MIXER = re.compile("cumsum|cumprod|logcumsumexp|_fft_.*|.*attention.*")
_PRODUCT = re.compile("mm|bmm|mv|matmul|.*linear.*|_?grouped_mm.*|_scaled_mm|convolution")
_PRODUCT_AND_SUM = re.compile("(_?add|badd)b?m[mv].*")
_SHAPE_ONLY = re.compile("new_.*|.*_like")


class Lineage(NamedTuple):
    r"""What a tensor was made of since the linear maps before it. Sets of maps are bit masks."""

    linears: int = 0
    """Maps whose outputs reached this tensor without another map in between."""
    bent: int = 0
    """Those of them that went through a non-linearity or a softmax since."""
    ancestors: int = 0
    """All maps that it depends on, however remotely."""
    activated: bool = False
    """A non-linearity (not a softmax) was applied since the last map."""
    mixed: bool = False
    """Tokens were combined since the last map."""
    residual: bool = False
    """It is the residual stream, or was multiplied with it, since the last map."""

    def __or__(self, other: Any) -> Lineage:
        return Lineage(*(mine | theirs for mine, theirs in zip(self, other, strict=True)))

    def feeds(self, other: Lineage) -> bool:
        """Whether ``other`` was computed from this: the two ends of a residual connection."""
        return self != other and self.linears & ~(other.ancestors & ~other.linears) == 0


def factors(operation: str) -> tuple[int, int] | None:
    r"""Tells which tensors an operation multiplies as matrices.

    Args:
        operation (str): its name.

    Returns:
        tuple[int, int] or None: the factors' places among its tensors, None for other operations.
    """
    if _PRODUCT.fullmatch(operation):
        return 0, 1
    # What is added to the product, such as a bias, stands first.
    return (1, 2) if _PRODUCT_AND_SUM.fullmatch(operation) else None


def combine(operation: str, lineages: Sequence[Lineage | None]) -> Lineage | None:
    r"""Derives the lineage of what an operation returns, save for linear maps.

    Args:
        operation (str): its name.
        lineages (Sequence): its tensors' lineages, None for constants.

    Returns:
        Lineage or None: the result's; None if it is a constant.
    """
    known = _distinct(lineages)
    if not known or _SHAPE_ONLY.fullmatch(operation):
        return None
    union = functools.reduce(Lineage.__or__, known)
    if factors(operation) or _SEQUENCE_MIXER.fullmatch(operation):
        return union._replace(mixed=True)
    if _NON_LINEARITY.fullmatch(operation):
        return union._replace(bent=union.linears, activated=True)
    if _SOFTMAX.fullmatch(operation):
        return union._replace(bent=union.linears)
    if any(stream.feeds(branch) for stream, branch in permutations(known, 2)):
        return union._replace(residual=True)
    return union


def written(operation: str, lineages: Sequence[Lineage | None]) -> int:
    r"""Tells which linear maps' outputs an operation adds to what they were computed from.

    Args:
        operation (str): its name.
        lineages (Sequence): its tensors' lineages, None for constants.

    Returns:
        int: bit mask of linear maps.
    """
    mask = 0
    if _SUM.fullmatch(operation):
        for stream, branch in permutations(_distinct(lineages), 2):
            if stream.feeds(branch):
                mask |= branch.linears & ~branch.bent
    return mask


def _distinct(lineages: Sequence[Lineage | None]) -> list[Lineage]:
    return list(dict.fromkeys(lineage for lineage in lineages if lineage is not None))
