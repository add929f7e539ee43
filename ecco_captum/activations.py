r"""Neurons and hidden states of texts, batch by batch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from ecco_captum.activations_record import Activations, Kind, StackName
from ecco_captum.arguments import check_whole, chosen_numbers
from ecco_captum.capture import captured
from ecco_captum.corpus import ReadText, batches, read_texts
from ecco_captum.models import LanguageModel, keep_last
from ecco_captum.modes import quiet
from ecco_captum.parts import NeuronSite, Site, Stack
from ecco_captum.replay import replaced_input
from ecco_captum.tokens import Tokens

_DTYPES = ("float32", "float16", "float64")


def neurons(
    lm: LanguageModel,
    texts: Any,
    *,
    layers: Any = None,
    stack: StackName = "decoder",
    dtype: str = "float32",
    batch_tokens: int = 2048,
) -> Activations:
    r"""Returns the activations of feed-forward neurons at each token (Alammar 2021, section 4).

    A block's neurons are what its down-projection is given: after the non-linearity and, in gated
    layers, after the gate. They are read with Captum's ``LayerActivation``, all layers in one
    forward. Texts of the same length share a forward, so that there is no padding anywhere.

    Args:
        lm (LanguageModel): the model.
        texts (str, list of messages, ids, Generation, or a list of these): what it reads. Of a
            Generation, prompt and outputs.
        layers (slice, int, list of int, optional): blocks, from 0; negative ones count from the
            end. Default: all that have neurons.
        stack (str, optional): of an encoder–decoder, ``"decoder"`` (a Generation's outputs, read
            behind its source) or ``"encoder"``. Default: ``"decoder"``
        dtype (str, optional): of the values: float32, float16 or float64. Default: ``"float32"``
        batch_tokens (int, optional): the most tokens of one forward; a longer text is read alone.
            Default: 2048

    Returns:
        Activations: values (layers, tokens, neurons), on the CPU.

    Raises:
        AnatomyError: if the model's neurons are out of reach.
        TypeError: if ``texts`` is none of these.
        ValueError: if an argument is wrong, the layers have neurons of different numbers, or
            float16 cannot hold them.

    Examples::

        >>> neurons(lm, "The keys to the cabinet are on the table.").values.shape
        (30, 10, 1536)
    """
    found = _stack(lm, stack)
    with_neurons = [k for k, block in enumerate(found.blocks) if block.neurons]
    if layers is None:
        lm.anatomy.require("neurons")
        rows = with_neurons
    else:
        rows = chosen_numbers("layers", layers, len(found.blocks))
    for row in rows:
        if row not in with_neurons:
            why = found.blocks[row].lacks or "it has none"
            raise ValueError(f"layers: block {row} of {lm.name!r} gives no neurons: {why}")
    reading = _Reading("neurons", stack, found, [found.blocks[row].neurons for row in rows])
    return _read(lm, texts, rows, reading, dtype, batch_tokens)


def hidden_states(
    lm: LanguageModel,
    texts: Any,
    *,
    layers: Any = None,
    stack: StackName = "decoder",
    dtype: str = "float32",
    batch_tokens: int = 2048,
) -> Activations:
    r"""Returns the residual stream at each token.

    Args:
        lm (LanguageModel): the model.
        texts (str, list of messages, ids, Generation, or a list of these): as in :func:`neurons`.
        layers (slice, int, list of int, optional): rows of the stream: 0 for the embedding, k for
            what block k - 1 returned, before any final norm. Default: all.
        stack (str, optional): as in :func:`neurons`. Default: ``"decoder"``
        dtype (str, optional): as in :func:`neurons`. Default: ``"float32"``
        batch_tokens (int, optional): as in :func:`neurons`. Default: 2048

    Returns:
        Activations: values (layers, tokens, width), on the CPU.

    Raises:
        AnatomyError: if the model's blocks were not found.
        TypeError: if ``texts`` is none of these.
        ValueError: if an argument is wrong, or float16 cannot hold the values.

    Examples::

        >>> hidden_states(lm, ["One text.", "Another one."]).sequences
        array([0, 3])
    """
    found = _stack(lm, stack)
    lm.anatomy.require("blocks")
    rows = chosen_numbers("layers", layers, 1 + len(found.blocks))
    if rows[0] == 0 and found.entry is None:
        raise ValueError(f"layers: what enters the first block of {lm.name!r} was not found")
    entry = found.entry if rows[0] == 0 else None
    sites = [(found.blocks[row - 1],) for row in rows if row > 0]
    reading = _Reading("hidden", stack, found, sites, entry)
    return _read(lm, texts, rows, reading, dtype, batch_tokens)


@dataclass(frozen=True)
class _Reading:
    """What is read: the modules of each layer, and what enters the first block if asked for."""

    kind: Kind
    name: StackName
    stack: Stack
    sites: Sequence[Sequence[Site]]
    entry: Site | None = None


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


def _read(
    lm: LanguageModel, given: Any, rows: list[int], reading: _Reading, dtype: str, budget: int
) -> Activations:
    if dtype not in _DTYPES:
        raise ValueError(f"dtype: got {dtype!r}, accepts {', '.join(map(repr, _DTYPES))}")
    check_whole("batch_tokens", budget)
    texts = read_texts(lm, given, reading.name)
    starts = np.cumsum([0, *(len(text.ids) for text in texts)])
    values = np.empty((0, 0, 0))
    with torch.inference_mode(False), quiet(lm.model):
        for batch in batches(texts, budget, together=reading.stack.axes[0] == 0):
            read = _activations(lm, [texts[k] for k in batch], reading)
            if not values.size:
                values = np.empty((len(rows), starts[-1], read[0].shape[-1]), dtype)
            for row, layer in enumerate(read):
                for k, one in zip(batch, layer, strict=True):
                    values[row, starts[k] : starts[k + 1]] = _as(dtype, one)
    ids = np.array([one for text in texts for one in text.ids], dtype=np.int64)
    shown = tuple(one for text in texts for one in text.texts)
    prompt = texts[0].prompt if len(texts) == 1 else len(ids)
    return Activations(
        values=values,
        layers=np.array(rows, dtype=np.int64),
        tokens=Tokens(ids, shown, prompt),
        sequences=starts[:-1].astype(np.int64),
        kind=reading.kind,
        stack=reading.name,
        model=lm.name,
    )


def _activations(lm: LanguageModel, batch: Sequence[ReadText], reading: _Reading) -> list[Tensor]:
    """Of each layer, (texts, tokens, features)."""
    layers: list[Tensor] = []
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


def _as(dtype: str, values: Tensor) -> np.ndarray:
    """(tokens, features) in the type asked for, which must hold what the model computed."""
    wide = values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
    found = wide.to(getattr(torch, dtype)).numpy()
    if dtype == "float16" and not np.isfinite(found).all() and torch.isfinite(wide).all():
        raise ValueError(
            f"dtype: float16 holds up to 65504, the activations reach {float(wide.abs().max()):.3g}"
            "; accepts 'float32' here"
        )
    return found
