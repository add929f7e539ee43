r"""The attribution methods: a name, and how to build the Captum object behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import captum.attr

from ecco_captum.gradients import target_gradients


@dataclass(frozen=True)
class Method:
    r"""An attribution method.

    Args:
        name (str): what to pass as ``method``.
        label (str): what to call it in titles.
        build (Callable): takes a function from embeddings to scores, returns the Captum object.
    """

    name: str
    label: str
    build: Callable[[Callable[..., Any]], Any]


def _input_x_gradient(forward: Callable[..., Any]) -> Any:
    method = captum.attr.InputXGradient(forward)
    method.gradient_func = target_gradients
    return method


METHODS = {
    method.name: method
    for method in (Method("input_x_gradient", "gradient × input", _input_x_gradient),)
}


def method_named(name: str) -> Method:
    r"""Returns the method of that name.

    Raises:
        ValueError: if there is none.
    """
    if name not in METHODS:
        raise ValueError(f"method: got {name!r}, accepts {', '.join(map(repr, METHODS))}")
    return METHODS[name]
