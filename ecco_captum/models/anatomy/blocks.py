r"""Chains of blocks in a trace: what a model runs one after the other on the same stream."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ecco_captum.models.anatomy.tracing import Execution, Trace


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
    r"""Finds the outermost chains of blocks.

    A chain is what one module runs, one after the other, out of a list of modules, if each returns
    a tensor of the shape it was given. Lists that take turns (attention, norm, feed-forward, norm,
    attention, ...) make up one chain, whose blocks are their rounds.

    Args:
        trace (Trace): one forward of the model.

    Returns:
        list[Chain]: the chains that hold linear maps and lie in no other chain's block.
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
    r"""Joins chains that a model runs as one stack, such as several lists of the same blocks.

    Args:
        trace (Trace): the trace that they were found in.
        chains (Iterable): chains.
        by_parent (bool): join only what the same module ran, as an encoder and a decoder may be
            made of the same blocks.

    Returns:
        list[Chain]: joined chains, those with the most linear maps first.
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
    r"""Lists the linear maps that ran within given executions.

    Args:
        trace (Trace): the trace.
        executions (Iterable): indices of executions, none within another.

    Returns:
        list[int]: indices of linear maps.
    """
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
