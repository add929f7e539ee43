r"""The arguments that analyses of a generation share, read and checked."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ecco_captum.generation import Generation
from ecco_captum.models import LanguageModel
from ecco_captum.tasks import task_of


def check_text(lm: LanguageModel, generation: Generation) -> None:
    r"""Raises an error if a model cannot read a text.

    Raises:
        TypeError: if it is no model, or no text.
        ValueError: if the text was made for a model of another kind, vocabulary or context.
    """
    if not isinstance(lm, LanguageModel):
        raise TypeError(f"lm: got a {type(lm).__name__}, accepts what load() or wrap() returns")
    if not isinstance(generation, Generation):
        raise TypeError(
            f"generation: got a {type(generation).__name__}, accepts what generate() or "
            "force_decode() returns"
        )
    task = task_of(lm)
    if task != generation.task:
        raise ValueError(
            f"generation: it was made with {generation.model!r} ({generation.task}); {lm.name!r} "
            f"is of another kind ({task})"
        )
    read = generation.prompt_ids if task == "classification" else generation.tokens.ids
    if int(read.max()) >= lm.vocabulary_size:
        raise ValueError(
            f"generation: it has token ids that {lm.name!r} does not embed; it was made with "
            f"{generation.model!r}"
        )
    # The last output is read by nobody.
    length = len(generation.tokens) - 1 if task == "causal" else len(generation.prompt_ids)
    if lm.context_length is not None and length > lm.context_length:
        raise ValueError(
            f"generation: it has {length} tokens to read, the context of {lm.name!r} holds "
            f"{lm.context_length}; it was made with {generation.model!r}"
        )


def check_gradients(lm: LanguageModel) -> None:
    r"""Raises an error if no gradient can be taken through a model's weights.

    Raises:
        ValueError: if it was built under ``torch.inference_mode``.
    """
    if any(parameter.is_inference() for parameter in lm.model.parameters()):
        raise ValueError(
            f"lm: {lm.name!r} was built under torch.inference_mode, so no gradient can be taken "
            "through its weights; build it outside"
        )


def plain(value: Any) -> Any:
    """A setting as a record can keep it."""
    if isinstance(value, Tensor | np.ndarray):
        return "given"
    return value if isinstance(value, str | int | float | bool | type(None)) else repr(value)
