r"""Restoring interventions on a model's forward: read, replace or skip what a module does.

Everything here wraps the ``forward`` attribute of module *instances* and puts back exactly what was
there, whatever happens in between. Hooks are not used, because some models call
``layer.forward(...)`` directly and no hook would ever fire. Nothing here knows an architecture:
where a model keeps its parts is in an :class:`~ecco_captum.models.anatomy.find.Anatomy`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.utils import ModelOutput

if TYPE_CHECKING:
    from ecco_captum.models.anatomy.parts import Anatomy, Block, Stack


def first_tensor(value: Any) -> Tensor | None:
    """The first floating tensor of at least two dimensions in nested tuples, lists, mappings."""
    if isinstance(value, Tensor):
        return value if value.is_floating_point() and value.ndim >= 2 else None
    for item in _items(value):
        tensor = first_tensor(item)
        if tensor is not None:
            return tensor
    return None


def replace_first_tensor(value: Any, replace: Callable[[Tensor], Tensor]) -> Any:
    """A copy of a structure whose :func:`first_tensor` went through ``replace``."""
    if isinstance(value, Tensor):
        return replace(value) if first_tensor(value) is not None else value
    items = list(_items(value))
    for position, item in enumerate(items):
        if first_tensor(item) is not None:
            items[position] = replace_first_tensor(item, replace)
            return _rebuild(value, items)
    return value


def all_tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested tuples, lists and mappings, in order."""
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


Around = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
"""``around(forward, args, kwargs)`` returns what the module shall return."""

_ABSENT = object()


@contextmanager
def wrapped_forward(module: nn.Module, around: Around) -> Iterator[None]:
    """While active, ``around(forward, args, kwargs)`` stands in for the module's forward.

    Contexts nest: the one entered last is the outermost. On leaving, the instance is exactly as it
    was, also when another library (such as accelerate) had put a forward of its own on it.
    """
    previous = module.__dict__.get("forward", _ABSENT)
    forward = module.forward

    # transformers reads signatures of forward: wraps() keeps the original's visible.
    @functools.wraps(forward)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return around(forward, args, kwargs)

    module.__dict__["forward"] = wrapper
    try:
        yield
    finally:
        if previous is _ABSENT:
            module.__dict__.pop("forward", None)
        else:
            module.__dict__["forward"] = previous


@contextmanager
def intercepted(
    module: nn.Module, around: Around, *, call: int | None = None, root: nn.Module | None = None
) -> Iterator[None]:
    """Like :func:`wrapped_forward`, for one execution of a module that may run several times.

    ``call`` counts from 0, None means every execution. Counting starts anew with each forward of
    ``root``, the model, or else when the context is entered.
    """
    executions = 0

    def restart(forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        nonlocal executions
        executions = 0
        return forward(*args, **kwargs)

    def counted(forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        nonlocal executions
        execution, executions = executions, executions + 1
        if call is None or execution == call:
            return around(forward, args, kwargs)
        return forward(*args, **kwargs)

    counting = nullcontext() if root is None else wrapped_forward(root, restart)
    with counting, wrapped_forward(module, counted):
        yield


def replaced_output(
    module: nn.Module,
    replace: Callable[[Tensor], Tensor],
    *,
    call: int | None = None,
    root: nn.Module | None = None,
) -> AbstractContextManager[None]:
    """While active, the first floating tensor that the module returns goes through ``replace``.

    Gradients may enter a model here: ``replaced_output(embedding, lambda output: x * 1)``. The
    product matters, because some models write into their embedding's output in place, which a leaf
    that requires a gradient does not allow. ``call`` and ``root`` are those of :func:`intercepted`.

    Examples::

        >>> with replaced_output(model.transformer.h[3], lambda hidden: hidden * 0):
        >>>     logits = model(input_ids=ids, use_cache=False).logits
    """

    def around(forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return replace_first_tensor(forward(*args, **kwargs), replace)

    return intercepted(module, around, call=call, root=root)


def replaced_input(
    module: nn.Module,
    replace: Callable[[Tensor], Tensor],
    *,
    call: int | None = None,
    root: nn.Module | None = None,
) -> AbstractContextManager[None]:
    """The same for the first floating tensor that the module is given."""

    def around(forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if first_tensor(args) is not None:
            args = replace_first_tensor(args, replace)
        else:
            kwargs = replace_first_tensor(kwargs, replace)
        return forward(*args, **kwargs)

    return intercepted(module, around, call=call, root=root)


@contextmanager
def recorded_stream(
    model: nn.Module, stack: Stack, select: Callable[[Tensor], Tensor] | None = None
) -> Iterator[list[Tensor]]:
    """While active, the residual stream of the model's latest forward, complete after it.

    A list of 1 + blocks tensors: first what enters the first block, then each block's output, each
    (batch, positions, width) also where the model itself keeps time first, or what ``select`` keeps
    of it. They are copies that gradients flow through.
    """
    stream: list[Tensor] = [torch.empty(0)] * (1 + len(stack.blocks))

    def keep(row: int, tensor: Tensor) -> Tensor:
        hidden = tensor.permute(stack.axes)
        # A copy, as a later block may add to the stream in place.
        stream[row] = (hidden if select is None else select(hidden)).clone()
        return tensor

    with ExitStack() as contexts:
        enter = contexts.enter_context
        if stack.entry is not None:
            entry, read = model.get_submodule(stack.entry.module), functools.partial(keep, 0)
            enter(replaced_input(entry, read, call=stack.entry.call, root=model))
        for row, block in enumerate(stack.blocks, start=1):
            module, read = model.get_submodule(block.module), functools.partial(keep, row)
            enter(replaced_output(module, read, call=block.call, root=model))
        yield stream


def replay_tail(
    model: nn.Module, anatomy: Anatomy, inputs: Mapping[str, Any], hidden: Tensor
) -> Tensor:
    """Turns hidden states into logits with the model's own tail (the logit lens).

    The model runs with the last block's output replaced by ``hidden`` and the blocks before it
    skipped, so final norms, scales, projections, soft-caps and prediction heads are the model's
    own, and the run costs little more than they do. ``inputs`` have hidden's batch and length;
    which tokens they hold makes no difference. Hidden states are (batch, positions, width), as
    :func:`recorded_stream` gives them; further positions, which some models add as padding, keep
    the model's own values. No gradient mode is set here.
    """
    stack = anatomy.stack

    def overwrite(current: Tensor) -> Tensor:
        current = current.permute(stack.axes)
        padding = current[:, hidden.shape[1] :].to(hidden.dtype)
        replaced = torch.cat([hidden, padding], dim=1) if padding.shape[1] else hidden
        inverse = sorted(range(replaced.ndim), key=stack.axes.__getitem__)
        return replaced.permute(inverse)

    with ExitStack() as contexts:
        skipped = (*(anatomy.encoder.blocks if anatomy.encoder else ()), *stack.blocks)
        for block in skipped:
            contexts.enter_context(_skipped(model, block))
        last = stack.blocks[-1]
        module = model.get_submodule(last.module)
        contexts.enter_context(replaced_output(module, overwrite, call=last.call, root=model))
        logits: Tensor = model(**{"use_cache": False, **inputs}).logits
    return logits


def _skipped(model: nn.Module, block: Block) -> AbstractContextManager[None]:
    """While active, the block hands its input on unchanged; it runs if its outputs are unknown."""
    returns = block.returns
    if returns is None:
        return nullcontext()

    def around(forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = first_tensor((args, kwargs))
        return given if returns == 0 else (given, *[None] * (returns - 1))

    return intercepted(model.get_submodule(block.module), around, call=block.call, root=model)
