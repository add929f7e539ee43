r"""A tiny prompt that any text model accepts, for watching it run."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

# Sizes that no axis of a model's tensors is likely to share: they tell the axes apart.
BATCH, LENGTH, TARGET_LENGTH = 3, 7, 5
SMALLEST_VOCABULARY = 32


def tiny_prompt(model: PreTrainedModel, seed: int = 0) -> dict[str, Any]:
    r"""Makes model inputs out of ordinary ids of the model's vocabulary.

    Special tokens are avoided: padding would shift positions, and placeholders of images would ask
    for images. The state of random generators is not touched.

    Args:
        model (PreTrainedModel): the model.
        seed (int, optional): another seed, another text of the same shape.

    Returns:
        dict: ``input_ids`` and ``attention_mask``, (batch, positions), and ``use_cache``; with
        ``decoder_input_ids`` for an encoder-decoder model. On the model's device.
    """
    ordinary = _ordinary_ids(model.config)
    generator = torch.Generator().manual_seed(seed)

    def text(length: int) -> Tensor:
        chosen = torch.randint(len(ordinary), (BATCH, length), generator=generator)
        return ordinary[chosen].to(device)

    device = torch.device("cpu") if model.device.type == "meta" else model.device
    inputs: dict[str, Any] = {
        "input_ids": text(LENGTH),
        "attention_mask": torch.ones(BATCH, LENGTH, dtype=torch.long, device=device),
        "use_cache": False,
    }
    if "decoder_input_ids" in inspect.signature(model.forward).parameters:
        inputs["decoder_input_ids"] = text(TARGET_LENGTH)
    return inputs


def _ordinary_ids(config: PreTrainedConfig) -> Tensor:
    """Ids that every vocabulary of the model has and no configuration calls special."""
    sizes: list[int] = []
    special: set[int] = set()
    for field, value in _fields(config):
        values = value if isinstance(value, list | tuple) else [value]
        numbers = [one for one in values if isinstance(one, int) and not isinstance(one, bool)]
        if field.endswith(("_token_id", "_token_ids", "_token_index", "_index")):
            special.update(numbers)
        elif field.removeprefix("decoder_").endswith(("vocab_size", "n_words")):
            # Much smaller tables are for token types and the like.
            sizes += [number for number in numbers if number >= SMALLEST_VOCABULARY]
    size = min(sizes, default=SMALLEST_VOCABULARY)
    return torch.tensor([id_ for id_ in range(size // 20, size) if id_ not in special])


def _fields(config: PreTrainedConfig) -> Iterator[tuple[str, Any]]:
    for field, value in vars(config).items():
        if isinstance(value, PreTrainedConfig):
            yield from _fields(value)
        else:
            yield field, value
