r"""Tiny random models of the text architectures that transformers knows, built from configurations.

    model = build("causal", "llama")          # or "masked", "bert"; "seq2seq", "t5"
    outputs = model(**example_inputs(model))

Nothing is downloaded: a model's default configuration is shrunk field by field. Sizes can be told
apart (hidden 32, feed-forward 80, expert 40, shared expert 56, vocabulary 101), so the width of a
tensor says what it is. Every parameter is perturbed: biases, norms and gates that start at zero or
one would otherwise hide an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import transformers
from tiny_sizes import (
    CLASSES,
    EXCEPTIONS,
    HEADS,
    KEY_VALUE_HEADS,
    LAYER_COUNTS,
    LAYERS,
    LIMIT,
    SET_THOUGH_NONE,
    SIZE,
    TEXT_PART,
    UNTOUCHED,
    VOCABULARY,
)
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

BATCH, LENGTH, TARGET_LENGTH = 2, 7, 5
MAX_PARAMETERS = 3_000_000

_KINDS: dict[str, tuple[Any, Any]] = {
    "causal": (
        modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        transformers.AutoModelForCausalLM,
    ),
    "masked": (
        modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        transformers.AutoModelForMaskedLM,
    ),
    "seq2seq": (
        modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
        transformers.AutoModelForSeq2SeqLM,
    ),
}

NOT_BUILT = {
    "gemma4_assistant": "drafts for another model and needs that model's key-value states",
    "gemma4_unified_assistant": "drafts for another model and needs that model's key-value states",
    "nemo_speechlm": "needs audio",
    "vibevoice_asr": "needs audio",
    "voxtral_realtime": "needs audio",
}
"""Model types of the three mappings that are left out, and why."""


def names(kind: str) -> list[str]:
    r"""Returns the model types of one kind that :func:`build` can make.

    Args:
        kind (str): "causal", "masked" or "seq2seq".

    Returns:
        list[str]: model types in the order of transformers' own mapping.
    """
    return [name for name in _KINDS[kind][0] if name not in NOT_BUILT]


def build(kind: str, model_type: str, **from_config_kwargs: Any) -> PreTrainedModel:
    r"""Builds a tiny random model, in eval mode, the same one every time.

    Args:
        kind (str): "causal", "masked" or "seq2seq".
        model_type (str): one of :func:`names`.
        **from_config_kwargs (Any): passed on, such as ``attn_implementation="eager"``.

    Returns:
        PreTrainedModel: the model on the CPU, in float32.
    """
    if model_type in CLASSES:
        make = getattr(transformers, CLASSES[model_type])._from_config
    else:
        make = _KINDS[kind][1].from_config
    with torch.device("meta"):
        sketch = make(tiny_config(kind, model_type), **from_config_kwargs)
    size = sum(parameter.numel() for parameter in sketch.parameters())
    if size > MAX_PARAMETERS:
        raise RuntimeError(f"{kind}:{model_type} has {size:,} parameters: a field was not shrunk.")
    torch.manual_seed(0)
    model = make(tiny_config(kind, model_type), **from_config_kwargs).eval()
    _perturb(model)
    return model


def example_inputs(model: PreTrainedModel, seed: int = 0) -> dict[str, torch.Tensor]:
    r"""Returns random inputs that a model of :func:`build` accepts.

    Args:
        model (PreTrainedModel): the model.
        seed (int, optional): another seed, another text.

    Returns:
        dict: ``input_ids`` and ``attention_mask``, (batch, positions); with ``decoder_input_ids``
        for an encoder-decoder model.
    """
    generator = torch.Generator().manual_seed(seed)
    codebooks = model.config.num_codebooks if "musicgen" in model.config.model_type else 1
    shape = (BATCH * codebooks, LENGTH)
    inputs = {
        "input_ids": torch.randint(5, 80, shape, generator=generator),
        "attention_mask": torch.ones(BATCH, LENGTH, dtype=torch.long),
    }
    if model.config.is_encoder_decoder and model.can_generate():
        shape = (BATCH, TARGET_LENGTH)
        inputs["decoder_input_ids"] = torch.randint(5, 80, shape, generator=generator)
    return inputs


def tiny_config(kind: str, model_type: str) -> PreTrainedConfig:
    r"""Returns the shrunken configuration that :func:`build` uses.

    Args:
        kind (str): "causal", "masked" or "seq2seq".
        model_type (str): one of :func:`names`.

    Returns:
        PreTrainedConfig: a new configuration.
    """
    config = CONFIG_MAPPING[model_type]()
    if model_type in TEXT_PART:
        part, model_type = TEXT_PART[model_type]
        config = getattr(config, part)
    exceptions = EXCEPTIONS.get(f"{kind}:{model_type}", EXCEPTIONS.get(model_type, {}))
    return _shrink(config, exceptions, iter(range(VOCABULARY - 1, 0, -1)))


def _shrink(
    config: PreTrainedConfig, exceptions: dict[str, Any], free_ids: Iterator[int]
) -> PreTrainedConfig:
    per_layer, layers = _chosen_layers(config)
    fields: dict[str, Any] = {}
    for field, default in vars(config).items():
        if isinstance(default, PreTrainedConfig):
            fields[field] = _shrink(default, exceptions.get(field, {}), free_ids)
        elif field in exceptions:
            fields[field] = exceptions[field]
        else:
            kept = [default[layer] for layer in layers] if field in per_layer else default
            small = _small(field, kept, config, free_ids)
            # Only what differs is passed on: a configuration derives some fields from others.
            if small != default:
                fields[field] = len(layers) if SIZE.get(field) == LAYERS else small
    return type(config)(**{"use_cache": False, **exceptions, **fields})


def _small(field: str, value: Any, config: PreTrainedConfig, free_ids: Iterator[int]) -> Any:
    field = field.removesuffix("_per_layer")
    if isinstance(value, list | tuple) and (field in SIZE or field.endswith("_token_id")):
        return [_small(field, item, config, free_ids) for item in value]
    if value is None and field in SET_THOUGH_NONE and field in vars(config):
        return SIZE.get(field, HEADS if field in KEY_VALUE_HEADS else LIMIT.get(field))
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if field.endswith(("_token_id", "_token_index")):
        # Special tokens outside of the small vocabulary get ids of their own from its end.
        return next(free_ids) if value >= VOCABULARY - 12 else value
    if field in KEY_VALUE_HEADS:
        return HEADS if value == vars(config).get("num_attention_heads") else min(value, 2)
    return SIZE.get(field, min(value, LIMIT.get(field, value)))


def _chosen_layers(config: PreTrainedConfig) -> tuple[set[str], list[int]]:
    """Which fields hold one value per layer, and layers that show every kind of layer."""
    values = vars(config)
    count = next((values[field] for field in LAYER_COUNTS if field in values), 0)
    per_layer = {
        field
        for field, value in values.items()
        if isinstance(value, list | tuple) and len(value) == count and count >= LAYERS
    }
    if not per_layer:
        return per_layer, list(range(LAYERS))
    kinds = [
        [values[field][layer] for field in per_layer if isinstance(values[field][layer], str)]
        for layer in range(count)
    ]
    first_of_kind = [layer for layer in range(count) if kinds.index(kinds[layer]) == layer]
    others = [layer for layer in range(count) if layer not in first_of_kind]
    return per_layer, sorted(first_of_kind + others[: max(LAYERS - len(first_of_kind), 0)])


def _perturb(model: PreTrainedModel) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not parameter.is_floating_point() or UNTOUCHED.search(name):
                continue
            noise = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
            parameter.add_(noise, alpha=0.08 if parameter.ndim >= 2 else 0.05)
