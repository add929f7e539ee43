"""Contexts that keep what passes a module, for tests of where a model keeps its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ecco_captum.models.interventions import replaced_input, replaced_output, wrapped_forward


def _append(tensors: list[Tensor], tensor: Tensor) -> Tensor:
    # A copy, as some models write into such tensors later.
    tensors.append(tensor.clone())
    return tensor


@contextmanager
def recorded_outputs(module: nn.Module) -> Iterator[list[Tensor]]:
    """While active, every execution appends the first floating tensor that the module returned.

    The tensors are copies that gradients flow through.
    """
    outputs: list[Tensor] = []
    with replaced_output(module, lambda output: _append(outputs, output)):
        yield outputs


@contextmanager
def called(
    module: nn.Module, see: Callable[[tuple[Any, ...], dict[str, Any]], None]
) -> Iterator[None]:
    """While active, ``see(args, kwargs)`` is called after each execution of a module.

    It is no hook: hooks are a part of the model, and rest while it is examined.
    """

    def around(forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        outputs = forward(*args, **kwargs)
        see(args, kwargs)
        return outputs

    with wrapped_forward(module, around):
        yield


@contextmanager
def recorded_inputs(module: nn.Module) -> Iterator[list[Tensor]]:
    """The same of what the module is given; for a down-projection these are the neurons."""
    inputs: list[Tensor] = []
    with replaced_input(module, lambda given: _append(inputs, given)):
        yield inputs
