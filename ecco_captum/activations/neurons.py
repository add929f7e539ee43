r"""Neurons and hidden states of texts, in memory or on disk."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from ecco_captum.activations.record import Activations, Kind, StackName
from ecco_captum.activations.store import Store, open_for_append
from ecco_captum.core.checks import check_whole, chosen_numbers
from ecco_captum.core.progress import Progress, progress_bar
from ecco_captum.core.tokens import Tokens
from ecco_captum.corpus.texts import Long, ReadText, batches, each_text, number_of_texts
from ecco_captum.models.anatomy.parts import Block, NeuronSite, Site, Stack
from ecco_captum.models.capture import captured
from ecco_captum.models.causality import reads_together
from ecco_captum.models.interventions import replaced_input
from ecco_captum.models.language_model import LanguageModel, keep_last
from ecco_captum.models.modes import FORWARD_TOKENS, evaluation_mode

_DTYPES = ("float32", "float16", "float64")
_WINDOW_BYTES = 2**28
# Of the largest value; another order of summation stays far below, other weights do not.
_SAME = {"float16": 5e-3, "float32": 1e-3, "float64": 1e-3}


def neurons(
    lm: LanguageModel,
    texts: Any,
    *,
    layers: Any = None,
    stack: StackName = "decoder",
    dtype: str = "float32",
    batch_tokens: int | None = None,
    store: str | os.PathLike[str] | None = None,
    long: Long = "error",
    progress: Progress = None,
) -> Activations:
    r"""Returns the activations of feed-forward neurons at each token (Alammar 2021, section 4).

    A block's neurons are what its down-projection is given: after the non-linearity and, in gated
    layers, after the gate. They are read with Captum's ``LayerActivation``, all layers in one
    forward. Texts of the same length share a forward, so that there is no padding anywhere.

    An adapter of a down-projection is part of it: both read the same neurons. Blocks without
    neurons are left out, with a warning if they are built like others that have some.

    Args:
        lm (LanguageModel): the model.
        texts (str, list of messages, ids, Generation, or a list or iterator of these): what it
            reads. Of a Generation, prompt and outputs. Many texts may also be a file (a ``Path``:
            lines, JSON lines, CSV, Parquet), a ``datasets.Dataset``, or a table or column of
            pandas, polars or Arrow; of a table, its column ``text``, or its only one.
        layers (slice, int, list of int, optional): blocks, from 0; negative ones count from the
            end. Default: all that have neurons.
        stack (str, optional): of an encoder–decoder, ``"decoder"`` (a Generation's outputs, read
            behind its source) or ``"encoder"``. Default: ``"decoder"``
        dtype (str, optional): of the values: float32, float16 or float64. Default: ``"float32"``
        batch_tokens (int, optional): the most tokens of one forward; a longer text is read alone.
            Default: 512 on the CPU, 8192 elsewhere
        store (str or PathLike, optional): a folder to write the values into (Zarr v3), for corpora:
            memory stays bounded whatever the number of texts. A run that was cut off, even killed,
            goes on where it was when it is called again with the same texts; with more texts behind
            them, those are added. Default: in memory
        long (str, optional): what to do with a text of several that the model's context does not
            hold: ``"error"``, ``"skip"`` it (a warning counts them), or ``"split"`` it into pieces
            that are read one by one. Blank texts of several are left out, and those that are no
            text at all; a warning says how many, and which failed. Default: ``"error"``
        progress (bool or Callable, optional): whether to show a progress bar, or a function that
            is called with the part done, 0 to 1. Default: a bar on a terminal and in notebooks

    Returns:
        Activations: values (layers, tokens, neurons), on the CPU; of a ``store``, read from there
        when they are asked for.

    Raises:
        AnatomyError: if the model's neurons are out of reach.
        TypeError: if ``texts`` is none of these.
        ValueError: if an argument is wrong, the layers have neurons of different numbers, float16
            cannot hold them, or the store holds something else.

    Examples::

        >>> neurons(lm, text).shape
        (30, 20, 1536)
        >>> neurons(lm, texts, layers=3, store="acts.zarr").shape  # on disk
        (1, 29, 1536)
    """
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
    reading = Reading(lm, "neurons", stack, blocks, rows, sites, *how)
    return _read(reading, texts, store, long, progress)


def hidden_states(
    lm: LanguageModel,
    texts: Any,
    *,
    layers: Any = None,
    stack: StackName = "decoder",
    dtype: str = "float32",
    batch_tokens: int | None = None,
    store: str | os.PathLike[str] | None = None,
    long: Long = "error",
    progress: Progress = None,
) -> Activations:
    r"""Returns the residual stream at each token.

    Args:
        lm (LanguageModel): the model.
        texts (str, list of messages, ids, Generation, or a list or iterator of these): as in
            :func:`neurons`.
        layers (slice, int, list of int, optional): rows of the stream: 0 for the embedding, k for
            what block k - 1 returned, before any final norm. Default: all.
        stack (str, optional): as in :func:`neurons`. Default: ``"decoder"``
        dtype (str, optional): as in :func:`neurons`. Default: ``"float32"``
        batch_tokens (int, optional): as in :func:`neurons`.
        store (str or PathLike, optional): as in :func:`neurons`. Default: in memory
        long (str, optional): as in :func:`neurons`. Default: ``"error"``
        progress (bool, optional): as in :func:`neurons`.

    Returns:
        Activations: values (layers, tokens, width), on the CPU; of a ``store``, read from there
        when they are asked for.

    Raises:
        AnatomyError: if the model's blocks were not found.
        TypeError: if ``texts`` is none of these.
        ValueError: if an argument is wrong, float16 cannot hold the values, or the store holds
            something else.

    Examples::

        >>> states = hidden_states(lm, ["One text.", "Another one."], layers=[0, 30])
        >>> states.shape, states.sequences
        ((2, 6, 576), array([0, 3]))
    """
    blocks = _stack(lm, stack)
    lm.anatomy.require("blocks")
    rows = chosen_numbers("layers", layers, 1 + len(blocks.blocks))
    if rows[0] == 0 and blocks.entry is None:
        raise ValueError(f"layers: what enters the first block of {lm.name!r} was not found")
    entry = blocks.entry if rows[0] == 0 else None
    sites = [(blocks.blocks[row - 1],) for row in rows if row > 0]
    how = _checked(lm, dtype, batch_tokens)
    reading = Reading(lm, "hidden", stack, blocks, rows, sites, *how, entry)
    return _read(reading, texts, store, long, progress)


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


def _read(reading: Reading, given: Any, store: Any, long: Long, progress: Progress) -> Activations:
    total = number_of_texts(given) if long == "error" else None
    progress = False if total == 1 and not callable(progress) else progress
    each = each_text(reading.lm, given, reading.name, long)
    with progress_bar(progress, total=total, desc="Reading", unit=" texts") as bar:
        if store is not None:
            return _stored(reading, each, Path(store), bar)
        texts = list(each)
        return _record(reading, texts, read_layers(reading, texts, bar.update))


def _record(reading: Reading, texts: list[ReadText], values: np.ndarray) -> Activations:
    tokens, sequences = _tokens(texts)
    return Activations(
        values=values,
        layers=np.array(reading.rows, dtype=np.int64),
        tokens=tokens,
        sequences=sequences,
        kind=reading.kind,
        stack=reading.name,
        model=reading.lm.name,
    )


def _tokens(texts: list[ReadText]) -> tuple[Tokens, np.ndarray]:
    """The tokens of all texts, and where each text starts."""
    ids = np.array([token for text in texts for token in text.ids], dtype=np.int64)
    shown = tuple(token for text in texts for token in text.texts)
    prompt = texts[0].prompt if len(texts) == 1 else len(ids)
    starts = np.cumsum([0, *(len(text.ids) for text in texts)], dtype=np.int64)[:-1]
    return Tokens(ids, shown, prompt, texts[0].starts if len(texts) == 1 else ()), starts


def _stored(reading: Reading, each: Iterator[ReadText], path: Path, bar: Any) -> Activations:
    """Reads window after window of texts, each of which is on disk before the next is begun."""
    with open_for_append(path):
        first = next(each)
        sample = read_layers(reading, [first], lambda done: None)
        width = sample.shape[-1]
        store = Store(path, {**reading.description, "features": width})
        _check_beginning(store, sample)
        each = chain([first], each)
        for number, digest in enumerate(store.digests()):
            text = next(each, None)
            if text is None or text.digest != digest:
                raise ValueError(
                    f"texts: number {number}, from 0, is not the one that {str(path)!r} holds; "
                    "accepts the texts that it was begun with, and more behind them"
                )
            bar.update()
        row_bytes = len(reading.rows) * width * sample.itemsize
        most = max(reading.batch_tokens, _WINDOW_BYTES // row_bytes)
        memory = np.empty((len(reading.rows), most, width), sample.dtype)
        for window in _windows(each, most):
            values = read_layers(reading, window, bar.update, out=memory)
            store.append(values, *_tokens(window), [text.digest for text in window])
        store.complete()
    return Activations.open(path)


def _check_beginning(store: Store, sample: np.ndarray) -> None:
    """The model must give what is there already: names say little of weights."""
    if not store.texts:
        return
    held = store.first(sample.shape[1])
    error, scale = np.abs(held - sample).max(), np.abs(sample).max()
    if not error <= _SAME[sample.dtype.name] * scale:
        raise ValueError(
            f"store: what {str(store.path)!r} holds of the first text is not what this model gives "
            f"(they differ by up to {error:.3g}); accepts the model, or a new folder"
        )


def _windows(each: Iterator[ReadText], size: int) -> Iterator[list[ReadText]]:
    """Texts in their order, together of up to so many tokens; a longer text is alone."""
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
    starts = np.cumsum([0, *(len(text.ids) for text in texts)]).tolist()
    values: Tensor | None = None
    together = reading.stack.axes[0] == 0 and reads_together(reading.lm.model)
    with torch.inference_mode(False), evaluation_mode(reading.lm.model):
        for batch in batches(texts, reading.batch_tokens, together):
            read = _activations(reading, [texts[k] for k in batch])
            if values is None:
                shape = len(reading.rows), starts[-1], read[0].shape[-1]
                if out is None or out.shape[1] < shape[1]:
                    out = np.empty(shape, reading.dtype)
                values = torch.from_numpy(out[:, : shape[1]])
            for row, layer in enumerate(read):
                _check_range(reading.dtype, layer)
                for k, states in zip(batch, layer, strict=True):
                    values[row, starts[k] : starts[k + 1]].copy_(states)
            advance(len(batch))
    assert out is not None  # there is a text, and so a batch
    return out if out.shape[1] == starts[-1] else out[:, : starts[-1]]


def _activations(reading: Reading, batch: Sequence[ReadText]) -> list[Tensor]:
    """Of each layer, (texts, tokens, features)."""
    lm, layers = reading.lm, list[Tensor]()
    inputs = {
        name: torch.tensor([text.inputs[name] for text in batch], device=lm.device)
        for name in batch[0].inputs
    }
    entered: list[Tensor] = []
    contexts: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if reading.entry is not None:
        entry = lm.model.get_submodule(reading.entry.module)
        contexts = replaced_input(entry, _keeping(entered), call=reading.entry.call, root=lm.model)
    sites = [site for row in reading.sites for site in row]
    with contexts:
        if not sites:
            lm.model(**inputs, use_cache=False, **keep_last(lm, 1))
        tensors = iter(captured(lm, inputs, sites, of_input=reading.kind == "neurons"))
    shape = len(batch), len(batch[0].ids)
    if entered:
        first = entered[-1].detach().cpu()
        layers.append(_in_place(first, reading.stack.axes, reading.stack, shape))
    for row in reading.sites:
        parts = [
            _in_place(next(tensors).cpu(), _axes(site, reading.stack), reading.stack, shape)
            for site in row
        ]
        layers.append(parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1))
    widths = {layer.shape[-1] for layer in layers}
    if len(widths) > 1:
        raise ValueError(
            f"layers: those of {lm.name!r} have {', '.join(map(str, sorted(widths)))} features; "
            "accepts layers of one width at a time"
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
