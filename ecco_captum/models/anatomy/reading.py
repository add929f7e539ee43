r"""From a trace to the records of an anatomy."""

from __future__ import annotations

from collections.abc import Collection

from ecco_captum.models.anatomy.blocks import Chain, down_projections
from ecco_captum.models.anatomy.parts import Block, Embedding, NeuronSite, Site, Stack
from ecco_captum.models.anatomy.tracing import Execution, Trace

Shape = tuple[int, ...]


def read_stack(
    watched: Trace, chain: Chain, ids: str, text: Shape, mixing: Collection[int]
) -> Stack:
    """Reads a stack off the chain of its blocks.

    ``ids`` names the input that held the stack's token ids, ``text`` is their (batch, positions),
    and ``mixing`` are linear maps that were found to mix tokens.
    """
    axes, width = _stream(watched, chain, text)
    return Stack(
        embedding=read_embedding(watched, ids, text, width),
        entry=_site(watched.executions[chain.blocks[0][0]]),
        blocks=tuple(_block(watched, block, axes, mixing) for block in chain.blocks),
        width=width,
        axes=axes,
    )


def stream_shapes(watched: Trace, chain: Chain) -> list[Shape]:
    """The distinct shapes of the outputs of a chain's blocks."""
    return sorted({watched.executions[block[-1]].output_shape or () for block in chain.blocks})


def adds_positions(watched: Trace, stack: Stack) -> bool:
    """Whether a stream has other positions than the embedding's output, as after padding."""
    if stack.embedding is None or stack.entry is None:
        return False
    sites = {(execution.module, execution.call): execution for execution in watched.executions}
    embedding = sites[stack.embedding.module, stack.embedding.call].output_shape or ()
    entry = sites[stack.entry.module, stack.entry.call].input_shape or ()
    return embedding[stack.embedding.axes[1]] != entry[stack.axes[1]]


def neuron_maps(watched: Trace, chain: Chain, text: Shape) -> list[int]:
    """Indices of the linear maps of a chain that seem to read neurons and are modules."""
    _, width = _stream(watched, chain, text)
    indices = [index for block in chain.blocks for index in down_projections(watched, block, width)]
    return [index for index in indices if watched.linears[index].is_module]


def read_embedding(watched: Trace, ids: str, text: Shape, width: int = 0) -> Embedding | None:
    """Finds the module that looked token ids up; where several did, one of the stream's width."""
    execution, axes, offset = _lookup(watched, ids, text, width)
    return None if execution is None else Embedding(execution.module, execution.call, axes, offset)


def read_head(watched: Trace, chain: Chain) -> Site | None:
    """Finds the unembedding: the last linear map after the blocks that makes logits."""
    logits = getattr(watched.outputs, "logits", None)
    end = watched.executions[chain.blocks[-1][-1]].last_linear
    for linear in reversed(watched.linears[end:]):
        if logits is not None and linear.out_width == logits.shape[-1]:
            return _site(watched.executions[linear.execution]) if linear.is_module else None
    return None


def text_axes(tensor: Shape, text: Shape) -> tuple[int, ...] | None:
    """Finds the permutation that makes a tensor of some shape (batch, positions, ..., width)."""
    batch, length = text
    if len(tensor) < 3 or batch not in tensor:
        return None
    rows = tensor.index(batch)
    others = [axis for axis in range(len(tensor)) if axis != rows]
    # A model may have padded the text: then the first axis that is left holds the positions.
    positions = next((axis for axis in others if tensor[axis] == length), others[0])
    return (rows, positions, *(axis for axis in others if axis != positions))


def _stream(watched: Trace, chain: Chain, text: Shape) -> tuple[tuple[int, ...], int]:
    """The axes of a chain's last output, and its width."""
    stream = watched.executions[chain.blocks[-1][-1]].output_shape or ()
    axes = text_axes(stream, text) or tuple(range(len(stream)))
    return axes, stream[axes[-1]]


def _lookup(
    watched: Trace, ids: str, text: Shape, width: int
) -> tuple[Execution | None, tuple[int, ...], int]:
    """The module that looked ids up, the axes of its output, and the ids' offset there."""
    lookups = []
    for lookup in watched.lookups:
        execution = watched.executions[lookup.execution]
        output = execution.output_shape or ()
        axes = text_axes(output, text)
        if lookup.reads == ids and axes is not None and len(axes) == 3:
            lookups.append((output[axes[-1]] != width, (execution, axes, lookup.offset)))
    return min(lookups, key=lambda item: item[0])[1] if lookups else (None, (), 0)


def _block(
    watched: Trace, block: tuple[int, ...], axes: tuple[int, ...], mixing: Collection[int]
) -> Block:
    last = watched.executions[block[-1]]
    stream = last.output_shape or ()
    places = (stream[axes[0]], stream[axes[1]])
    axes_of = {}
    for index in down_projections(watched, block, stream[axes[-1]]):
        if index not in mixing:
            execution = watched.executions[watched.linears[index].execution]
            axes_of[index] = _neuron_axes(execution.input_shape or (), places)
    sites: list[NeuronSite] = []
    reasons: list[str] = []
    for index, neuron_axes in axes_of.items():
        linear = watched.linears[index]
        execution = watched.executions[linear.execution]
        if linear.stacked:
            reasons.append(f"the experts of {execution.module} are fused in one tensor")
        elif not linear.is_module:
            reasons.append(f"the down-projection in {execution.module} is no module of its own")
        # A router may happen to send all tokens of a short text to one expert.
        elif neuron_axes is None or (len(neuron_axes) == 2 and None in axes_of.values()):
            reasons.append(f"{execution.module} does not see the tokens in their places")
        else:
            width = linear.in_width
            sites.append(NeuronSite(execution.module, execution.call, width, neuron_axes))
    if not sites and not reasons:
        reasons.append("it has no feed-forward layer, or one of a kind that is not understood")
    return Block(
        last.module,
        last.call,
        neurons=tuple(sites),
        lacks="; ".join(dict.fromkeys(reasons)),
        returns=last.returns,
    )


def _neuron_axes(neurons: Shape, text: Shape) -> tuple[int, ...] | None:
    """Also of neurons whose batch and positions are flattened; None where tokens are missing."""
    if neurons[:-1] == (text[0] * text[1],):
        return (0, 1)
    axes = text_axes(neurons, text)
    return axes if axes is not None and neurons[axes[1]] == text[1] else None


def _site(execution: Execution) -> Site:
    return Site(execution.module, execution.call)
