r"""From a trace to the records of an anatomy."""

from __future__ import annotations

from collections.abc import Collection

from ecco_captum.models.anatomy.blocks import Chain, down_projections, linear_maps, reading_module
from ecco_captum.models.anatomy.parts import Block, Embedding, NeuronSite, Site, Stack
from ecco_captum.models.anatomy.tracing import Execution, Lookup, Trace

Shape = tuple[int, ...]


def read_stack(
    watched: Trace,
    chain: Chain,
    ids: str,
    text: Shape,
    mixing: Collection[int],
    named: Collection[int],
) -> Stack:
    """Reads a stack off the chain of its blocks.

    ``ids`` names the input that held the stack's token ids, ``text`` is their (batch, positions),
    ``mixing`` are linear maps that were found to mix tokens, and ``named`` are executions of what
    the model names as its input embeddings.
    """
    axes, width = _stream(watched, chain, text)
    return Stack(
        embedding=read_embedding(watched, ids, text, named, width),
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
    return [index for index in indices if reading_module(watched, index) is not None]


def read_embedding(
    watched: Trace, ids: str, text: Shape, named: Collection[int], width: int = 0
) -> Embedding | None:
    """Finds the module that looked token ids up; where several did, what the model names so."""
    execution, axes, offset = _lookup(watched, ids, text, named, width)
    if execution is None:
        return None
    others = (
        watched.executions[lookup.execution].module
        for lookup in watched.lookups
        if lookup.reads == ids
        and execution.index not in (lookup.execution, *watched.enclosing(lookup.execution))
    )
    beside = tuple(dict.fromkeys(others))
    return Embedding(execution.module, execution.call, axes, offset, beside)


def read_head(watched: Trace, chain: Chain) -> Site | None:
    """Finds the unembedding: the last linear map after the blocks that makes logits."""
    logits = getattr(watched.outputs, "logits", None)
    end = watched.executions[chain.blocks[-1][-1]].last_linear
    heads = [
        index
        for index, linear in enumerate(watched.linears[end:], start=end)
        if logits is not None and linear.out_width == logits.shape[-1]
    ]
    for index in heads[:-1]:
        reader = reading_module(watched, index)
        # What an adapter adds to the logits comes last, within the module that holds both.
        if reader is not None and heads[-1] < watched.executions[reader].last_linear:
            return _site(watched.executions[reader])
    last = watched.linears[heads[-1]] if heads else None
    return _site(watched.executions[last.execution]) if last and last.is_module else None


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
    watched: Trace, ids: str, text: Shape, named: Collection[int], width: int
) -> tuple[Execution | None, tuple[int, ...], int]:
    """The module that looked ids up, the axes of its output, and the ids' offset there."""
    lookups = []
    for lookup in watched.lookups:
        execution = watched.executions[_whole_embedding(watched, lookup, named)]
        output = execution.output_shape or ()
        axes = text_axes(output, text)
        if lookup.reads == ids and axes is not None and len(axes) == 3:
            unlike = execution.index not in named, output[axes[-1]] != width
            lookups.append((unlike, (execution, axes, lookup.offset)))
    return min(lookups, key=lambda item: item[0])[1] if lookups else (None, (), 0)


def _whole_embedding(watched: Trace, lookup: Lookup, named: Collection[int]) -> int:
    """The execution that gives a lookup's embeddings complete, with what adapters add to them.

    It is what the model names as its input embeddings. Where that is another module, as in a
    decoder with a table of its own, it is the one that looks the same ids up several times. Other
    lookups, such as those of positions, are no part of it.
    """
    whole, most = lookup.execution, 1
    for place in watched.enclosing(lookup.execution):
        within = [other for other in watched.lookups if place in watched.enclosing(other.execution)]
        if any((other.reads, other.offset) != (lookup.reads, lookup.offset) for other in within):
            break
        if place in named:
            # However many lookups a module around it holds, that is none.
            whole, most = place, len(watched.lookups)
        elif len(within) > most and _keeps_tokens_apart(watched, place):
            whole, most = place, len(within)
    return whole


def _keeps_tokens_apart(watched: Trace, place: int) -> bool:
    linears = (watched.linears[index] for index in linear_maps(watched, [place]))
    return all(linear.pointwise and not linear.inputs.mixed for linear in linears)


def _block(
    watched: Trace, block: tuple[int, ...], axes: tuple[int, ...], mixing: Collection[int]
) -> Block:
    last = watched.executions[block[-1]]
    stream = last.output_shape or ()
    places = (stream[axes[0]], stream[axes[1]])
    readers, axes_of = {}, {}
    for index in down_projections(watched, block, stream[axes[-1]]):
        if index not in mixing:
            reader = reading_module(watched, index)
            innermost = watched.linears[index].execution
            readers[index] = watched.executions[innermost if reader is None else reader]
            axes_of[index] = _neuron_axes(readers[index].input_shape or (), places)
    sites: list[NeuronSite] = []
    reasons: list[str] = []
    for index, neuron_axes in axes_of.items():
        linear, execution = watched.linears[index], readers[index]
        if linear.stacked:
            reasons.append(f"the experts of {execution.module} are fused in one tensor")
        elif not linear.is_module:
            reasons.append(f"the down-projection in {execution.module} is no module of its own")
        elif reading_module(watched, index) is None:
            reasons.append(f"no one module holds all that reads the neurons of {execution.module}")
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
        neurons=tuple(dict.fromkeys(sites)),
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
