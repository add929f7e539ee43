r"""The tensor that matters in what a module takes or returns, whatever structure it comes in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor
from transformers.utils import ModelOutput


def first_tensor(value: Any) -> Tensor | None:
    r"""Returns the first floating tensor with a width (at least two dimensions) in a structure.

    Args:
        value (Any): a tensor, or tuples, lists and mappings of them, nested at will.

    Returns:
        Tensor or None: the first match in order, None where there is none.
    """
    if isinstance(value, Tensor):
        return value if value.is_floating_point() and value.ndim >= 2 else None
    for item in _items(value):
        found = first_tensor(item)
        if found is not None:
            return found
    return None


def replace_first_tensor(value: Any, replace: Callable[[Tensor], Tensor]) -> Any:
    r"""Returns a copy of a structure, its first floating tensor passed through ``replace``.

    Args:
        value (Any): a tensor, or tuples, lists and mappings of them, nested at will.
        replace (Callable): gets the tensor that :func:`first_tensor` finds.

    Returns:
        Any: the same structure; the same object where it holds no such tensor.
    """
    if isinstance(value, Tensor):
        return replace(value) if first_tensor(value) is not None else value
    items = list(_items(value))
    for position, item in enumerate(items):
        if first_tensor(item) is not None:
            items[position] = replace_first_tensor(item, replace)
            return _rebuild(value, items)
    return value


def all_tensors(value: Any) -> Iterator[Tensor]:
    r"""Iterates over every tensor in tuples, lists and mappings, in order.

    Args:
        value (Any): a tensor, or tuples, lists and mappings of them, nested at will.

    Returns:
        Iterator: the tensors.
    """
    if isinstance(value, Tensor):
        yield value
    for item in _items(value):
        yield from all_tensors(item)


def _items(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, tuple | list):
        yield from value


def _rebuild(value: Any, items: list[Any]) -> Any:
    if isinstance(value, ModelOutput):
        return type(value)(**dict(zip(value.keys(), items, strict=True)))
    if isinstance(value, Mapping):
        return dict(zip(value.keys(), items, strict=True))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*items)
    return type(value)(items)
