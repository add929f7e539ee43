r"""How the attributions to the numbers of one embedding become one number a token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, get_args

import torch
from torch import Tensor

from ecco_captum.attribution.record import Named

Aggregate: TypeAlias = Named | Callable[[Tensor], Tensor]


def check_aggregate(aggregate: Any) -> None:
    r"""Raises an error if it is no aggregation.

    Raises:
        ValueError: if it is neither a known name nor a callable.
    """
    if not callable(aggregate) and aggregate not in get_args(Named):
        names = ", ".join(map(repr, get_args(Named)))
        raise ValueError(f"aggregate: got {aggregate!r}, accepts {names}, or a callable")


def aggregate_name(aggregate: Aggregate) -> str:
    """What a record keeps of an aggregation."""
    return aggregate if isinstance(aggregate, str) else getattr(aggregate, "__name__", "callable")


def aggregated(attributions: Tensor, aggregate: Aggregate) -> Tensor:
    r"""Returns one number a token.

    Args:
        attributions (Tensor): (targets, positions, embedding), of any floating type.
        aggregate (str or Callable): ``"l2"``, ``"sum"``, ``"l1"``, ``"max_abs"`` (the largest
            magnitude), or a function from (targets, positions, embedding) to (targets, positions).

    Returns:
        Tensor: (targets, positions), accumulated in float32 at least.

    Raises:
        ValueError: if the function returns another shape.
    """
    wide = torch.promote_types(attributions.dtype, torch.float32)
    if callable(aggregate):
        scores = torch.as_tensor(aggregate(attributions))
        if scores.shape != attributions.shape[:2]:
            raise ValueError(
                f"aggregate: for attributions of shape {tuple(attributions.shape)} the callable "
                f"returned {tuple(scores.shape)}, accepts (targets, positions) = "
                f"{tuple(attributions.shape[:2])}"
            )
        return scores
    if aggregate == "sum":
        return attributions.sum(dim=-1, dtype=wide)
    if aggregate == "max_abs":
        return attributions.abs().amax(dim=-1).to(wide)
    order = 1 if aggregate == "l1" else 2
    norms: Tensor = torch.linalg.vector_norm(attributions, ord=order, dim=-1, dtype=wide)
    return norms
