r"""What some layers of a model hold at each token of some texts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecco_captum.activations.record import Kind, StackName
from ecco_captum.corpus.texts import ReadText, batches
from ecco_captum.models.anatomy.parts import NeuronSite, Site, Stack
from ecco_captum.models.capture import captured
from ecco_captum.models.interventions import replaced_input
from ecco_captum.models.language_model import LanguageModel, keep_last
from ecco_captum.models.modes import evaluation_mode


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
    tell: Callable[[int], object],
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    r"""Runs the model on texts, those of the same length together.

    Args:
        reading (Reading): what is read.
        texts (sequence of ReadText): the texts.
        tell (Callable): is told how many more texts are done.
        out (array, optional): memory to use again, (layers, tokens or more, features).

    Returns:
        array: (layers, tokens, features), the texts one after the other.

    Raises:
        ValueError: if the layers have different widths, or float16 cannot hold the values.
    """
    starts = np.cumsum([0, *(len(text.ids) for text in texts)]).tolist()
    values: Tensor | None = None
    together = reading.stack.axes[0] == 0
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
            tell(len(batch))
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
