r"""Layers: which rows of the residual stream are meant, and what they are called."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ecco_captum.arguments import check_text
from ecco_captum.checks import chosen_numbers
from ecco_captum.generation import Generation
from ecco_captum.models import LanguageModel
from ecco_captum.tokens import lone_texts


def chosen_layers(lm: LanguageModel, layers: Any) -> list[int]:
    r"""Reads the argument ``layers``.

    Args:
        lm (LanguageModel): whose layers are meant.
        layers (slice, int, list of int, or None): rows of the residual stream: 0 is the embedding,
            k the stream after block k - 1; negative ones count from the end, None means all.

    Returns:
        list of int: ascending.

    Raises:
        AnatomyError: if the model's tail cannot be replayed, so that there is no lens.
        ValueError: if there are no such layers.
    """
    lm.anatomy.require("lens")
    return chosen_numbers("layers", layers, 1 + len(lm.anatomy.blocks))


def layer_names(layers: Iterable[int]) -> list[str]:
    """What rows of the stream are called: "embedding", "block 0", …"""
    return ["embedding" if layer == 0 else f"block {layer - 1}" for layer in layers]


class ByLayer:
    """What records have in common whose rows are layers."""

    layers: np.ndarray

    @property
    def layer_names(self) -> list[str]:
        """(layers,): "embedding", "block 0", …"""
        return layer_names(self.layers.tolist())

    def _called(self, row: int) -> str:
        """A layer as a sentence names it; the last row need not be the model's last layer."""
        name = self.layer_names[row]
        return f"the {name}" if name == "embedding" else name


def check_lens(lm: LanguageModel, generation: Generation) -> None:
    r"""Raises an error if a lens has nothing to say of a text.

    Raises:
        TypeError: if it is no model or no text, or the model is a classifier.
        ValueError: if the text was made for a model of another kind, vocabulary or context.
    """
    check_text(lm, generation)
    if generation.task == "classification":
        raise TypeError(
            f"lm: {lm.name!r} is a classifier, whose head reads one position of the last layer; "
            "accepts causal and masked language models and encoder–decoders"
        )


def token_texts(lm: LanguageModel, ids: Iterable[int]) -> dict[str, str]:
    """The text of each token as it follows another, by its id written in digits."""
    listed = sorted(set(ids))
    return dict(zip(map(str, listed), lone_texts(lm.tokenizer, listed), strict=True))
