r"""Attention weights of a forward, read as they are used, and attention rollout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from ecco_captum.attribution.methods.base import Method, MethodInput, UnsupportedMethodError
from ecco_captum.attribution.methods.rules import Attention
from ecco_captum.models.interventions import wrapped_forward

# What may happen to weights between the softmax and the product with the values.
_PASSED_ON_NAMES = """
dropout to type_as float half bfloat16 double contiguous clone view reshape flatten __getitem__
nan_to_num masked_fill
"""
_PASSED_ON = frozenset(_PASSED_ON_NAMES.split())
_PRODUCTS = frozenset(["matmul", "__matmul__", "bmm", "einsum"])


@contextmanager
def recorded_attention(model: nn.Module) -> Iterator[list[Tensor]]:
    """While active, every attention of the model's forwards appends its weights to the list.

    Each item is (batch, queries, keys), float32 on the CPU, the mean over heads. The model's
    attention implementation stays what it is. Fused attention (``F.scaled_dot_product_attention``)
    does not show its weights: they are computed once more from its arguments. Otherwise weights are
    what a softmax over the last of four axes gave, where a product takes it as its left factor. The
    list stays empty for models without attention, and with implementations that run outside of
    PyTorch's own functions, such as flash attention.
    """
    weights: list[Tensor] = []

    # Inside of the forward it is the innermost mode, and sees the calls as the model makes them.
    def read(forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        with _AttentionReader(weights):
            return forward(*args, **kwargs)

    with wrapped_forward(model, read):
        yield weights


def rollout(weights: Sequence[Tensor]) -> Tensor:
    """Attention rollout: how much of each position's last state comes from each position.

    ``weights`` are (positions, positions) for each layer, or with a batch axis of one text; returns
    (queries, keys), whose rows add up to 1. Each layer mixes positions by (A + 1) / 2, as the
    residual stream passes by the attention; rows are made to add up to 1, and the layers are
    multiplied (Abnar & Zuidema 2020, eq. 1).
    """
    layers = [layer[0] if layer.ndim == 3 and len(layer) == 1 else layer for layer in weights]
    shapes = {tuple(layer.shape) for layer in layers}
    square = len(shapes) == 1 and all(len(s) == 2 and s[0] == s[1] for s in shapes)
    if not square:
        raise ValueError(
            f"weights: got shapes {sorted(shapes)}, accepts one (positions, positions) tensor a "
            "layer; an encoder-decoder's, whose calls differ, have to be taken apart first"
        )
    joint = torch.eye(len(layers[0]), dtype=layers[0].dtype, device=layers[0].device)
    for layer in layers:
        mixed = (layer + torch.eye(len(layer), dtype=layer.dtype, device=layer.device)) / 2
        joint = mixed / mixed.sum(dim=-1, keepdim=True) @ joint
    return joint


class _AttentionReader(TorchFunctionMode):
    def __init__(self, weights: list[Tensor]) -> None:
        super().__init__()
        self.weights = weights
        # The shape of the softmax that a tensor comes from.
        self.softmaxes = WeakIdKeyDictionary()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "scaled_dot_product_attention":
            self.keep(_weights(Attention(*args, **kwargs)))
        result = func(*args, **kwargs)
        if name == "softmax":
            dim = args[1] if len(args) > 1 else kwargs.get("dim")
            if result.ndim == 4 and dim in (-1, 3):
                self.softmaxes[result] = result.shape
        elif name in _PASSED_ON and self.known(args) and isinstance(result, Tensor):
            self.softmaxes[result] = self.softmaxes[args[0]]
        elif name in _PRODUCTS and self.known(factors := args[1:] if name == "einsum" else args):
            batch, heads = self.softmaxes[factors[0]][:2]
            left = factors[0]
            self.keep(left if left.ndim == 4 else left.detach().unflatten(0, (batch, heads)))
        return result

    def known(self, args: tuple[Any, ...]) -> bool:
        """Whether the first argument comes from a softmax."""
        return bool(args) and isinstance(args[0], Tensor) and args[0] in self.softmaxes

    def keep(self, weights: Tensor) -> None:
        with torch._C.DisableTorchFunction():
            mean = weights.detach().float().mean(dim=1)
            self.weights.append(mean.cpu())


def _weights(call: Attention) -> Tensor:
    """The weights of a fused attention, (batch, heads, queries, keys)."""
    with torch.no_grad(), torch._C.DisableTorchFunction():
        query, key, _ = call.factors()
        scores, blind = call.masked((query @ key).float())
        weights = scores.softmax(dim=-1).masked_fill(blind, 0.0)
        return weights if weights.ndim == 4 else weights[:, None]


def _attention(given: MethodInput) -> Tensor:
    return _rows(given, torch.stack(_attention_weights(given)).mean(dim=0))


def _attention_rollout(given: MethodInput) -> Tensor:
    return _rows(given, rollout(_attention_weights(given)))


@torch.no_grad()
def _attention_weights(given: MethodInput) -> list[Tensor]:
    """One layer each, (queries, keys), the mean over its heads."""
    if given.lm.is_encoder_decoder:
        raise UnsupportedMethodError(
            "method: attention over a source and over what was written are two distributions, "
            "which have no common scale; an encoder–decoder's attention is not attributed"
        )
    with recorded_attention(given.lm.model) as weights:
        given.forward(given.inputs)
    positions = given.segment.positions
    layers = [layer[0] for layer in weights if layer.shape[-2:] == (positions, positions)]
    if not layers or len(layers) != len(weights):
        raise UnsupportedMethodError(
            f"method: the attention weights of {given.lm.name!r} cannot be read: it has none, or "
            f"{given.lm.model.config._attn_implementation!r} attention does not show them"
        )
    return layers


def _rows(given: MethodInput, weights: Tensor) -> Tensor:
    """The row where each target is predicted; a classifier predicts at one end of the text."""
    places = list(given.segment.places)
    if not places:
        raise UnsupportedMethodError(
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
