r"""Chains of blocks in a trace, and the down-projections within a block that read neurons."""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ecco_captum.models.anatomy.tracing import Execution, LinearMap, Trace
from ecco_captum.models.interventions import replaced_input, replaced_output


@dataclass(frozen=True)
class Chain:
    r"""Blocks in the order in which they ran; a block is one execution or several in a row."""

    parent: int | None
    """The execution that ran them."""
    blocks: tuple[tuple[int, ...], ...]

    @property
    def members(self) -> frozenset[int]:
        return frozenset(index for block in self.blocks for index in block)


def find_chains(trace: Trace) -> list[Chain]:
    """Finds the outermost chains of blocks that hold linear maps.

    A chain is what one module runs, one after the other, out of a list of modules, if each returns
    a tensor of the shape it was given. Lists that take turns (attention, norm, feed-forward, norm,
    attention, ...) make up one chain, whose blocks are their rounds.
    """
    groups: dict[tuple[int | None, str], list[Execution]] = defaultdict(list)
    for execution in trace.executions:
        if execution.container is not None:
            groups[execution.parent, execution.container].append(execution)
    siblings: dict[tuple[Any, ...], list[list[int]]] = defaultdict(list)
    for (parent, _), group in groups.items():
        if all(_keeps_shape(execution) for execution in group):
            indices = [execution.index for execution in group]
            siblings[parent, group[0].input_shape].append(indices)
    chains = [
        Chain(parent, blocks)
        for (parent, _), lists in siblings.items()
        for blocks in _take_turns(lists)
        if linear_maps(trace, [index for block in blocks for index in block])
    ]
    members = frozenset[int]().union(*(chain.members for chain in chains))
    return [chain for chain in chains if members.isdisjoint(trace.enclosing(chain.parent))]


def join_chains(trace: Trace, chains: Iterable[Chain], by_parent: bool) -> list[Chain]:
    """Joins chains that a model runs as one stack, those with the most linear maps first.

    ``by_parent`` joins only what the same module ran, as an encoder and a decoder may be made of
    the same blocks.
    """
    joined: dict[tuple[str, str], list[Chain]] = defaultdict(list)
    for chain in chains:
        kind = "+".join(trace.executions[index].kind for index in chain.blocks[0])
        parent = "" if chain.parent is None else trace.executions[chain.parent].module
        joined[kind, parent if by_parent else ""].append(chain)
    stacks = [
        Chain(same[0].parent, tuple(sorted(block for chain in same for block in chain.blocks)))
        for same in joined.values()
    ]
    return sorted(stacks, key=lambda stack: -len(linear_maps(trace, stack.members)))


def linear_maps(trace: Trace, executions: Iterable[int]) -> list[int]:
    """Indices of the linear maps that ran within executions, none of which is within another."""
    ran = (trace.executions[index] for index in executions)
    return [linear for module in ran for linear in range(module.first_linear, module.last_linear)]


def _keeps_shape(execution: Execution) -> bool:
    shape = execution.input_shape
    return shape is not None and len(shape) >= 3 and shape == execution.output_shape


def _take_turns(lists: list[list[int]]) -> list[tuple[tuple[int, ...], ...]]:
    """Rounds over each set of lists that take turns; a list on its own is a round per item."""
    chains = []
    remaining = sorted(lists)
    while remaining:
        first, *others = remaining
        turns = [first]
        for other in others:
            if len(other) == len(first) > 1 and _alternate(first, other):
                turns.append(other)
        remaining = [block for block in others if block not in turns]
        chains.append(tuple(zip(*turns, strict=True)))
    return chains


def _alternate(first: list[int], second: list[int]) -> bool:
    ahead = all(mine < theirs for mine, theirs in zip(first, second, strict=True))
    return ahead and all(theirs < mine for mine, theirs in zip(first[1:], second, strict=False))


MOVED = 1e-6
"""How far a value moves, relative to the largest, before it counts as moved."""


def down_projections(trace: Trace, block: Iterable[int], width: int) -> list[int]:
    """Indices of the linear maps of a block that read neurons, in order.

    Such a map reads what went through linear maps and then a non-linearity, token by token and
    apart from the stream itself, and what it returns is added to the stream. That leaves out
    attention outputs, gated norms, routers and the mixing of several streams. An adapter of
    one map, which works on what that map returns or is given, is no feed-forward layer.
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
        adapts = all(_is_adapter(trace, source, linear) for source in sources)
        if inputs.activated and sources and apart and restores and not adapts:
            indices.append(index)
    added = [index for index in indices if trace.writers >> index & 1]
    # Experts may run beside the stream, which has moved on by the time they are added to it.
    experts = [index for index in indices if not trace.linears[index].is_module]
    return sorted({*(added or indices), *experts})


def _is_adapter(trace: Trace, up: LinearMap, down: LinearMap) -> bool:
    """Whether two maps stand behind or beside a map that writes to the stream as the second does.

    They stand behind it if the first reads what it returns, beside it if the first reads what it
    reads.
    """
    inputs = up.inputs
    adapted = trace.readers[inputs] + ([] if inputs.residual else bits(inputs.linears))
    return any(
        trace.writers >> index & 1 and trace.linears[index].out_width == down.out_width
        for index in adapted
    )


def reading_module(trace: Trace, index: int) -> int | None:
    """The execution whose input is what a linear map reads, and all that reads it runs within.

    An adapter of a down-projection reads the neurons too, beside the map that it adapts: then it is
    the module that holds both. None if there is no such module.
    """
    linear = trace.linears[index]
    innermost = trace.executions[linear.execution]
    readers = trace.readers[linear.inputs]
    for place in trace.enclosing(linear.execution if linear.is_module else None):
        execution = trace.executions[place]
        given = execution.input_lineage == linear.inputs and math.prod(
            execution.input_shape or ()
        ) == math.prod(innermost.input_shape or ())
        if given and execution.first_linear <= readers[0] and readers[-1] < execution.last_linear:
            return place
    return None


def bits(mask: int) -> list[int]:
    """Positions of the bits that are set, in rising order."""
    return [position for position in range(mask.bit_length()) if mask >> position & 1]


def mixing_projections(
    model: nn.Module, inputs: Mapping[str, Tensor], trace: Trace, candidates: list[int]
) -> set[int]:
    """Returns those candidates that read neurons of other tokens too, as after time-mixing.

    The model runs twice. The second time, the first row that each up-projection returns is changed:
    only one row of neurons may follow. The down-projection then returns what it did the first time,
    so nothing reaches later blocks.
    """
    sites = {index: _site(model, trace, reading_module(trace, index)) for index in candidates}
    neurons, outputs = _Recorder(), _Recorder()
    with ExitStack() as contexts:
        for index, (module, call) in sites.items():
            contexts.enter_context(replaced_input(module, neurons.keep(index), call=call))
            contexts.enter_context(replaced_output(module, outputs.keep(index), call=call))
        model(**inputs)
    moved = _Recorder()
    with ExitStack() as contexts:
        for index in _up_projections(trace, candidates):
            module, call = _site(model, trace, trace.linears[index].execution)
            change = functools.partial(_change_first_row, trace.linears[index].channels)
            contexts.enter_context(replaced_output(module, change, call=call))
        for index, (module, call) in sites.items():
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


def _site(model: nn.Module, trace: Trace, index: int | None) -> tuple[nn.Module, int]:
    assert index is not None  # candidates have a module that reads them
    execution = trace.executions[index]
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
