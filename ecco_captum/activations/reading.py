r"""What is read of texts: modules of layers, in forwards that texts of one length share."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from ecco_captum.activations.record import Kind, StackName
from ecco_captum.core.checks import check_whole, chosen_numbers
from ecco_captum.core.tokens import Tokens
from ecco_captum.corpus.texts import ReadText, batches
from ecco_captum.models.anatomy.parts import Block, NeuronSite, Site, Stack
from ecco_captum.models.capture import captured, seen, watched
from ecco_captum.models.causality import reads_together
from ecco_captum.models.interventions import replaced_input
from ecco_captum.models.language_model import LanguageModel, keep_last
from ecco_captum.models.modes import FORWARD_TOKENS, evaluation_mode

_DTYPES = ("float32", "float16", "float64")
_WINDOW_BYTES = 2**28
# Of the largest value; another order of summation stays far below, other weights do not.
_SAME = {"float16": 5e-3, "float32": 1e-3, "float64": 1e-3}


def neuron_reading(
    lm: LanguageModel, layers: Any, stack: StackName, dtype: str, batch_tokens: int | None
) -> Reading:
    """The arguments of :func:`neurons`, checked."""
    blocks = _stack(lm, stack)
    with_neurons = [k for k, block in enumerate(blocks.blocks) if block.neurons]
    if layers is None:
        lm.anatomy.require("neurons")
        _warn_of_gaps(lm, blocks)
        rows = with_neurons
    else:
        rows = chosen_numbers("layers", layers, len(blocks.blocks))
    for row in rows:
        if row not in with_neurons:
            why = blocks.blocks[row].lacks or "it has none"
            raise ValueError(f"layers: block {row} of {lm.name!r} gives no neurons: {why}")
    sites = [blocks.blocks[row].neurons for row in rows]
    how = _checked(lm, dtype, batch_tokens)
    return Reading(lm, "neurons", stack, blocks, rows, sites, *how)


def hidden_reading(
    lm: LanguageModel, layers: Any, stack: StackName, dtype: str, batch_tokens: int | None
) -> Reading:
    """The arguments of :func:`hidden_states`, checked."""
    blocks = _stack(lm, stack)
    lm.anatomy.require("blocks")
    rows = chosen_numbers("layers", layers, 1 + len(blocks.blocks))
    if rows[0] == 0 and blocks.entry is None:
        raise ValueError(f"layers: what enters the first block of {lm.name!r} was not found")
    entry = blocks.entry if rows[0] == 0 else None
    sites = [(blocks.blocks[row - 1],) for row in rows if row > 0]
    how = _checked(lm, dtype, batch_tokens)
    return Reading(lm, "hidden", stack, blocks, rows, sites, *how, entry)


def _stack(lm: LanguageModel, name: str) -> Stack:
    if not isinstance(lm, LanguageModel):
        raise TypeError(f"lm: got a {type(lm).__name__}, accepts what load() or wrap() returns")
    if name not in get_args(StackName):
        raise ValueError(f"stack: got {name!r}, accepts 'decoder', 'encoder'")
    if name == "decoder":
        return lm.anatomy.stack
    if lm.anatomy.encoder is None:
        raise ValueError(f"stack: {lm.name!r} has no encoder beside its blocks, accepts 'decoder'")
    return lm.anatomy.encoder


def _warn_of_gaps(lm: LanguageModel, stack: Stack) -> None:
    """Blocks without neurons are left out; of one built like those that have some, that is told."""
    with_neurons = [block for block in stack.blocks if block.neurons]
    holders = {
        (path, _class_at(lm, block, path)) for block in with_neurons for path in _holders(block)
    }
    gaps = [
        number
        for number, block in enumerate(stack.blocks)
        if not block.neurons and any(_class_at(lm, block, path) is kind for path, kind in holders)
    ]
    if gaps:
        first = stack.blocks[gaps[0]]
        warnings.warn(
            f"neurons: blocks {', '.join(map(str, gaps))} of {lm.name!r} are left out, though they "
            f"are built like others that have neurons. Of {first.module}: {first.lacks}. The usual "
            "cause is an adapter of a kind that is not understood: merge it into the weights, or "
            "pass an anatomy of your own to wrap().",
            stacklevel=3,
        )


def _holders(block: Block) -> Iterator[str]:
    """Paths, from the block on, of the modules that its down-projections lie in."""
    for site in block.neurons:
        if site.module.startswith(block.module + "."):
            names = site.module[len(block.module) + 1 :].split(".")[:-1]
            # Where nothing lies between them, it is the block itself.
            yield from [".".join(names[:end]) for end in range(1, len(names) + 1)] or [""]


def _class_at(lm: LanguageModel, block: Block, path: str) -> type | None:
    """None where the block has no module of that path."""
    try:
        return type(lm.model.get_submodule(f"{block.module}.{path}".rstrip(".")))
    except AttributeError:
        return None


def _checked(lm: LanguageModel, dtype: str, batch_tokens: int | None) -> tuple[str, int]:
    if dtype not in _DTYPES:
        raise ValueError(f"dtype: got {dtype!r}, accepts {', '.join(map(repr, _DTYPES))}")
    if batch_tokens is None:
        # Few enough that what a batch leaves behind stays near; other devices want more to do.
        batch_tokens = FORWARD_TOKENS if lm.device.type == "cpu" else 8192
    check_whole("batch_tokens", batch_tokens)
    return dtype, batch_tokens


def tokens_of_texts(texts: list[ReadText]) -> tuple[Tokens, np.ndarray]:
    """The tokens of all texts, and where each text starts."""
    ids = np.array([token for text in texts for token in text.ids], dtype=np.int64)
    shown = tuple(token for text in texts for token in text.texts)
    prompt = texts[0].prompt if len(texts) == 1 else len(ids)
    starts = np.cumsum([0, *(len(text.ids) for text in texts)], dtype=np.int64)[:-1]
    return Tokens(ids, shown, prompt, texts[0].starts if len(texts) == 1 else ()), starts


def text_windows(
    each: Iterator[ReadText], readings: Sequence[Reading], width: int | None = None
) -> Iterator[list[ReadText]]:
    """Texts in their order, together of as many tokens as memory holds; a longer text is alone.

    ``width`` is the features of a layer, of which the model says the most if they are not known.
    """
    rows = sum(len(reading.rows) for reading in readings)
    first = readings[0]
    features = width or _widest(first.lm)
    most = _WINDOW_BYTES // (rows * features * np.dtype(first.dtype).itemsize)
    size = max(first.batch_tokens, most)
    held: list[ReadText] = []
    count = 0
    for text in each:
        if held and count + len(text.ids) > size:
            yield held
            held, count = [], 0
        held.append(text)
        count += len(text.ids)
    if held:
        yield held


def _widest(lm: LanguageModel) -> int:
    """The most features of a layer: of the weights of blocks, the longest side."""
    sides = [
        max(parameter.shape, default=1)
        for stack in lm.anatomy.stacks
        for block in stack.blocks
        for parameter in lm.model.get_submodule(block.module).parameters()
    ]
    return max(sides, default=1)


@dataclass(frozen=True)
class Reading:
    r"""What is read.

    Args:
        lm (LanguageModel): of which model.
        kind (str): "neurons", what modules are given, or "hidden", what they return.
        name (str): the stack's name.
        stack (Stack): the stack.
        rows (list of int): the layers' numbers.
        sites (sequence of sequences of Site): the modules of each layer; of the embedding none.
        dtype (str): of the values.
        batch_tokens (int): the most tokens of one forward.
        entry (Site, optional): what is given what enters the first block, if that is asked for.
    """

    lm: LanguageModel
    kind: Kind
    name: StackName
    stack: Stack
    rows: list[int]
    sites: Sequence[Sequence[Site]]
    dtype: str
    batch_tokens: int
    entry: Site | None = None

    @property
    def of_input(self) -> bool:
        """Whether it is what modules are given, not what they return."""
        return self.kind == "neurons"

    @property
    def description(self) -> dict[str, Any]:
        """What makes values those of this reading."""
        source = {"kind": self.kind, "stack": self.name, "model": self.lm.name}
        return {**source, "layers": self.rows, "dtype": self.dtype}


def read_layers(
    reading: Reading,
    texts: Sequence[ReadText],
    advance: Callable[[int], object],
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Runs the model on texts, those of the same length together.

    Returns (layers, tokens, features), the texts one after the other; ``out`` is memory to use
    again. ``advance`` is called with the number of further texts done. Layers of different widths,
    and values that float16 cannot hold, raise a ValueError.
    """
    return read_kinds([reading], texts, advance, out=[out])[0]


def read_kinds(
    readings: Sequence[Reading],
    texts: Sequence[ReadText],
    advance: Callable[[int], object],
    *,
    out: Sequence[np.ndarray | None] | None = None,
) -> list[np.ndarray]:
    """Like :func:`read_layers`, of several kinds in the same forwards.

    All readings are of one stack, with batches of one size.
    """
    first = readings[0]
    starts = np.cumsum([0, *(len(text.ids) for text in texts)]).tolist()
    memory: list[np.ndarray | None] = list(out or [None] * len(readings))
    together = first.stack.axes[0] == 0 and reads_together(first.lm.model)
    with torch.inference_mode(False), evaluation_mode(first.lm.model):
        for batch in batches(texts, first.batch_tokens, together):
            kinds = _activations(readings, [texts[k] for k in batch])
            for number, (reading, read) in enumerate(zip(readings, kinds, strict=True)):
                held = memory[number]
                shape = len(reading.rows), starts[-1], read[0].shape[-1]
                if held is None or held.shape[1] < shape[1]:
                    held = memory[number] = np.empty(shape, reading.dtype)
                for row, layer in enumerate(read):
                    _check_range(reading.dtype, layer)
                    values = torch.from_numpy(held[row])
                    for k, states in zip(batch, layer, strict=True):
                        values[starts[k] : starts[k + 1]].copy_(states)
            advance(len(batch))
    # There is a text, and so a batch.
    return [held[:, : starts[-1]] for held in memory if held is not None]


def _activations(readings: Sequence[Reading], batch: Sequence[ReadText]) -> list[list[Tensor]]:
    """Of each reading and layer, (texts, tokens, features), from one forward."""
    first, *others = readings
    lm = first.lm
    inputs = {
        name: torch.tensor([text.inputs[name] for text in batch], device=lm.device)
        for name in batch[0].inputs
    }
    with contextlib.ExitStack() as contexts:
        entered = [contexts.enter_context(_entered(reading)) for reading in readings]
        beside = [
            contexts.enter_context(watched(lm, _sites(reading), of_input=reading.of_input))
            for reading in others
        ]
        if not _sites(first):
            lm.model(**inputs, use_cache=False, **keep_last(lm, 1))
        read = [captured(lm, inputs, _sites(first), of_input=first.of_input)]
    read += [
        [seen(lm, tensors, site) for site in _sites(reading)]
        for reading, tensors in zip(others, beside, strict=True)
    ]
    shape = len(batch), len(batch[0].ids)
    return [
        _layers(reading, entry, iter(tensors), shape)
        for reading, entry, tensors in zip(readings, entered, read, strict=True)
    ]


def _sites(reading: Reading) -> list[Site]:
    return [site for row in reading.sites for site in row]


@contextlib.contextmanager
def _entered(reading: Reading) -> Iterator[list[Tensor]]:
    """While active, a forward leaves what enters its first block, if that is asked for."""
    entered: list[Tensor] = []
    if reading.entry is None:
        yield entered
        return
    entry = reading.lm.model.get_submodule(reading.entry.module)
    keeping, call = _keeping(entered), reading.entry.call
    with replaced_input(entry, keeping, call=call, root=reading.lm.model):
        yield entered


def _layers(
    reading: Reading, entered: list[Tensor], tensors: Iterator[Tensor], shape: tuple[int, int]
) -> list[Tensor]:
    """Of each layer, (texts, tokens, features)."""
    layers, stack = list[Tensor](), reading.stack
    if entered:
        layers.append(_in_place(entered[-1].detach().cpu(), stack.axes, stack, shape))
    for row in reading.sites:
        parts = [_in_place(next(tensors).cpu(), _axes(site, stack), stack, shape) for site in row]
        layers.append(parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1))
    widths = {layer.shape[-1] for layer in layers}
    if len(widths) > 1:
        raise ValueError(
            f"layers: those of {reading.lm.name!r} have {', '.join(map(str, sorted(widths)))} "
            "features; accepts layers of one width at a time"
        )
    return layers


def _keeping(kept: list[Tensor]) -> Callable[[Tensor], Tensor]:
    def keep(tensor: Tensor) -> Tensor:
        # A copy, as some models write into such tensors later.
        kept.append(tensor.clone())
        return tensor

    return keep


def _axes(site: Site, stack: Stack) -> tuple[int, ...]:
    return site.axes if isinstance(site, NeuronSite) else stack.axes


def _in_place(
    tensor: Tensor, axes: tuple[int, ...], stack: Stack, shape: tuple[int, int]
) -> Tensor:
    """(texts, tokens, features), without positions that the model put around the text's own."""
    texts, tokens = shape
    tensor = tensor.permute(axes)
    if tensor.ndim == 2:
        tensor = tensor.reshape(texts, -1, tensor.shape[-1])
    if tensor.ndim == 4:  # several streams side by side
        tensor = tensor.flatten(2)
    offset = stack.embedding.offset if stack.embedding is not None else 0
    start = offset if tensor.shape[1] > tokens else 0
    return tensor[:, start : start + tokens]


def _check_range(dtype: str, values: Tensor) -> None:
    """The type asked for must hold what the model computed."""
    if dtype != "float16" or values.dtype == torch.float16:
        return
    largest = float(values.abs().max())
    if torch.finfo(torch.float16).max < largest < float("inf"):
        raise ValueError(
            f"dtype: float16 holds up to 65504, the activations reach {largest:.3g}; accepts "
            "'float32' here"
        )
