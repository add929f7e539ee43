r"""What a model's outputs are: written tokens, predictions at masks, or classes."""

from __future__ import annotations

from typing import Literal

from transformers.models.auto.modeling_auto import (
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from ecco_captum.models import LanguageModel

Task = Literal["causal", "seq2seq", "masked", "classification"]
"""Writes on; writes while reading a source; fills masks; names a class."""


def task_of(lm: LanguageModel) -> Task:
    r"""Tells what a model's outputs are, by its head.

    Args:
        lm (LanguageModel): the model.

    Returns:
        str: "causal", "seq2seq", "masked" or "classification".

    Raises:
        TypeError: if the model has none of these heads.
        ValueError: if it is a classifier whose config names no padding token.
    """
    if not isinstance(lm, LanguageModel):
        raise TypeError(f"lm: got a {type(lm).__name__}, accepts what load() or wrap() returns")
    if lm.model.can_generate():
        return "seq2seq" if lm.is_encoder_decoder else "causal"
    names = {kind.__name__ for kind in type(lm.model).__mro__}
    if not lm.is_encoder_decoder:
        if names & set(MODEL_FOR_MASKED_LM_MAPPING_NAMES.values()):
            return "masked"
        if names & set(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.values()):
            if getattr(lm.model.config.get_text_config(), "pad_token_id", None) is None:
                raise ValueError(
                    f"lm: the config of {lm.name!r} names no padding token, without which "
                    "transformers' classifiers read no batches; set model.config.pad_token_id"
                )
            return "classification"
    raise TypeError(
        f"lm: {lm.name!r} is a {type(lm.model).__name__}, whose outputs are not known here; "
        "accepted: causal language models, encoder–decoders that write, masked language models, "
        "and encoders or decoders that classify a text"
    )


def classes_of(lm: LanguageModel) -> tuple[str, ...]:
    """The names of a classifier's classes, in the order of its logits."""
    count = int(lm.model.config.num_labels)
    names = lm.model.config.id2label or {}
    return tuple(str(names.get(k, f"LABEL_{k}")) for k in range(count))
