"""Tiny models whose embeddings are leaves, for tests of rules on operations."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from typing import Any

import tiny_models
import torch
from recording import recorded_outputs
from torch import Tensor, nn
from transformers import PreTrainedModel

from ecco_captum.models.interventions import replaced_output

FAMILIES = [
    *(("causal", name) for name in ("gpt2", "llama", "mistral", "qwen2", "qwen3", "gemma")),
    *(("causal", name) for name in ("gemma2", "gemma3_text", "opt", "bert", "roberta")),
    *(("masked", name) for name in ("bert", "roberta")),
    ("seq2seq", "t5"),
]
# These have no fused attention: it has no soft-cap.
EAGER_ONLY = {"gemma2"}


@functools.cache
def sample(kind: str, name: str, attention: str, dtype: torch.dtype) -> PreTrainedModel:
    """A tiny model; tests have to leave it as it is."""
    return tiny_models.build(kind, name, attn_implementation=attention).to(dtype)


def embedding_sites(model: PreTrainedModel) -> list[nn.Module]:
    if model.config.is_encoder_decoder:
        return [model.encoder.embed_tokens, model.decoder.embed_tokens]
    return [model.get_input_embeddings()]


def embeddings(model: PreTrainedModel, inputs: dict[str, Any]) -> list[Tensor]:
    """What each of the model's embeddings gives: leaves that require gradients."""
    with torch.no_grad(), contextlib.ExitStack() as stack:
        seen = [stack.enter_context(recorded_outputs(module)) for module in embedding_sites(model)]
        model(**inputs, use_cache=False)
    return [outputs[0].detach().requires_grad_() for outputs in seen]


def baseline_for(leaves: Sequence[Tensor]) -> list[Tensor]:
    """Half the mean embedding everywhere, as leaves."""
    return [
        (leaf.detach().mean((0, 1), keepdim=True) / 2).expand_as(leaf).clone().requires_grad_()
        for leaf in leaves
    ]


def logits_from(model: PreTrainedModel, inputs: dict[str, Any], leaves: Sequence[Tensor]) -> Tensor:
    """Logits where the leaves are the embeddings."""
    with contextlib.ExitStack() as stack:
        for module, leaf in zip(embedding_sites(model), leaves, strict=True):
            stack.enter_context(replaced_output(module, lambda _, leaf=leaf: leaf * 1))
        return model(**inputs, use_cache=False).logits


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """The largest error, as a share of the largest number."""
    actual, expected = actual.detach(), expected.detach()
    return float((actual - expected).abs().max() / expected.abs().max())
