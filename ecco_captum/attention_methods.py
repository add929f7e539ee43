r"""Attention weights as a baseline that an attribution method should beat."""

from __future__ import annotations

import torch
from torch import Tensor

from ecco_captum.attention import recorded_attention, rollout
from ecco_captum.methods import Case, Method, RefusedError


def _attention(case: Case) -> Tensor:
    return _rows(case, torch.stack(_weights(case)).mean(dim=0))


def _attention_rollout(case: Case) -> Tensor:
    return _rows(case, rollout(_weights(case)))


@torch.no_grad()
def _weights(case: Case) -> list[Tensor]:
    """One layer each, (queries, keys), the mean over its heads."""
    if case.lm.is_encoder_decoder:
        raise RefusedError(
            "method: attention over a source and over what was written are two distributions, "
            "which have no common scale; an encoder–decoder's attention is not attributed"
        )
    with recorded_attention(case.lm.model) as weights:
        case.forward(case.inputs)
    positions = case.passage.positions
    layers = [layer[0] for layer in weights if layer.shape[-2:] == (positions, positions)]
    if not layers or len(layers) != len(weights):
        raise RefusedError(
            f"method: the attention weights of {case.lm.name!r} cannot be read: it has none, or "
            f"{case.lm.model.config._attn_implementation!r} attention does not show them"
        )
    return layers


def _rows(case: Case, weights: Tensor) -> Tensor:
    """The row where each target is predicted; a classifier predicts at one end of the text."""
    places = list(case.passage.places)
    if not places:
        raise RefusedError(
            "method: a classifier reads no single position's attention; accepted for models that "
            "write or fill masks"
        )
    return weights[places]


ATTENTION_METHODS = (
    Method("attention", "attention", _attention, aggregate=None, differentiates=False),
    Method(
        "attention_rollout",
        "attention rollout",
        _attention_rollout,
        aggregate=None,
        differentiates=False,
    ),
)
