r"""Down-projections in a trace: the linear maps whose input are a feed-forward layer's neurons."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack

from torch import Tensor, nn

from ecco_captum.models.anatomy.blocks import linear_maps
from ecco_captum.models.anatomy.tracing import Trace
from ecco_captum.models.interventions import replaced_input, replaced_output

MOVED = 1e-6
"""How far a value moves, relative to the largest, before it counts as moved."""


def down_projections(trace: Trace, block: Iterable[int], width: int) -> list[int]:
    r"""Finds the linear maps of a block that read neurons.

    Such a map reads what went through linear maps and then a non-linearity, token by token and
    apart from the stream itself, and what it returns is added to the stream. That leaves out
    attention outputs, gated norms, routers and the mixing of several streams.

    Args:
        trace (Trace): one forward of the model.
        block (Iterable): indices of the executions that make up the block.
        width (int): the stream's width.

    Returns:
        list[int]: indices of linear maps, in order.
    """
    indices = []
    for index in linear_maps(trace, block):
        linear = trace.linears[index]
        inputs = linear.inputs
        sources = [trace.linears[source] for source in bits(inputs.linears)]
        restores = linear.out_width == width or any(
            source.in_width == linear.out_width for source in sources
        )
        apart = not inputs.mixed and not inputs.residual and linear.pointwise
        if inputs.activated and sources and apart and restores:
            indices.append(index)
    added = [index for index in indices if trace.writers >> index & 1]
    # Experts may run beside the stream, which has moved on by the time they are added to it.
    experts = [index for index in indices if not trace.linears[index].is_module]
    return sorted({*(added or indices), *experts})


def bits(mask: int) -> list[int]:
    r"""Lists the positions of the bits that are set.

    Args:
        mask (int): a bit mask.

    Returns:
        list[int]: positions in rising order.
    """
    return [position for position in range(mask.bit_length()) if mask >> position & 1]


def mixing_projections(
    model: nn.Module, inputs: Mapping[str, Tensor], trace: Trace, candidates: list[int]
) -> set[int]:
    r"""Tells which candidates read neurons of other tokens too, as after time-mixing.

    The model runs twice. The second time, the first row that each up-projection returns is
    changed: only one row of neurons may follow. The down-projection then returns what it did the
    first time, so nothing reaches later blocks.

    Args:
        model (nn.Module): the model.
        inputs (Mapping): the inputs that were traced.
        trace (Trace): the trace.
        candidates (list[int]): indices of linear maps that are modules.

    Returns:
        set[int]: those of the candidates for which other rows moved.
    """
    neurons, outputs = _Recorder(), _Recorder()
    with ExitStack() as contexts:
        for index in candidates:
            module, call = _site(model, trace, index)
            contexts.enter_context(replaced_input(module, neurons.keep(index), call=call))
            contexts.enter_context(replaced_output(module, outputs.keep(index), call=call))
        model(**inputs)
    moved = _Recorder()
    with ExitStack() as contexts:
        for index in _up_projections(trace, candidates):
            module, call = _site(model, trace, index)
            change = functools.partial(_change_first_row, trace.linears[index].channels)
            contexts.enter_context(replaced_output(module, change, call=call))
        for index in candidates:
            module, call = _site(model, trace, index)
            contexts.enter_context(replaced_input(module, moved.keep(index), call=call))
            contexts.enter_context(replaced_output(module, outputs.give(index), call=call))
        model(**inputs)
    return {
        index
        for index in candidates
        if _rows_moved(neurons[index], moved[index], trace.linears[index].channels) > 1
    }


class _Recorder(dict[int, Tensor]):
    """Tensors by the index of a linear map, kept and given back by replacement functions."""

    def keep(self, index: int) -> Callable[[Tensor], Tensor]:
        def replace(tensor: Tensor) -> Tensor:
            self[index] = tensor.clone()
            return tensor

        return replace

    def give(self, index: int) -> Callable[[Tensor], Tensor]:
        return lambda tensor: self[index]


def _site(model: nn.Module, trace: Trace, index: int) -> tuple[nn.Module, int]:
    execution = trace.executions[trace.linears[index].execution]
    return model.get_submodule(execution.module), execution.call


def _up_projections(trace: Trace, candidates: list[int]) -> set[int]:
    """What the candidates' neurons were computed by, save narrow maps such as routers."""
    return {
        source
        for index in candidates
        for source in bits(trace.linears[index].inputs.linears)
        if trace.linears[source].out_width >= trace.linears[index].in_width
        and trace.linears[source].is_module
    }


def _change_first_row(channels: int, outputs: Tensor) -> Tensor:
    changed = outputs.clone()
    rows = changed.movedim(channels, -1)
    first = (0,) * (rows.ndim - 1)
    rows[first] = rows[first] * 1.37 + 0.11
    return changed


def _rows_moved(before: Tensor, after: Tensor, channels: int) -> int:
    distance = (before - after).abs().amax(dim=channels)
    return int((distance > MOVED * before.abs().max()).sum())
