r"""The arguments that analyses of a generation share, read and checked."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from torch import Tensor
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from ecco_captum.core.checks import Task, UnsupportedError
from ecco_captum.generation.record import Generation
from ecco_captum.models.anatomy.verify import stops_gradients
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.models.positions import position_limit


def task_of(lm: LanguageModel) -> Task:
    """Returns what a model's outputs are, by its head.

    A model with none of these heads, and a classifier whose config names no padding token, raise an
    UnsupportedError.
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
                raise UnsupportedError(
                    f"lm: the config of {lm.name!r} names no padding token, without which "
                    "transformers' classifiers read no batches; set model.config.pad_token_id"
                )
            return "classification"
    raise UnsupportedError(
        f"lm: {lm.name!r} is a {type(lm.model).__name__}, which has no head for tokens or classes "
        "of a whole text; accepts causal language models, encoder–decoders that write, masked "
        "language models, and encoders or decoders that classify a text. Labels of single tokens "
        "and spans of an answer are not supported"
    )


def classes_of(lm: LanguageModel) -> tuple[str, ...]:
    """The names of a classifier's classes, in the order of its logits."""
    count = int(lm.model.config.num_labels)
    names = lm.model.config.id2label or {}
    return tuple(str(names.get(k, f"LABEL_{k}")) for k in range(count))


Link = Literal["softmax", "sigmoid", "none"]
"""From a classifier's logits to probabilities: of one class of several, of each label for itself,
or not at all (a regression)."""


def link_of(lm: LanguageModel) -> Link:
    """Returns what a model's logits mean, as transformers' classifiers are trained on them.

    Several labels that hold together (``multi_label_classification``) have a sigmoid each; a
    regression, and one label of which nothing else is said, has a value and no probability.
    """
    if task_of(lm) != "classification":
        return "softmax"
    kind = lm.model.config.problem_type
    if kind == "multi_label_classification":
        return "sigmoid"
    alone = kind is None and lm.model.config.num_labels == 1
    return "none" if kind == "regression" or alone else "softmax"


def check_text(lm: LanguageModel, generation: Generation) -> None:
    """Raises an error if a model cannot read a text, as one made for another kind of model."""
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
    written = len(generation.start_ids) + len(generation.output_ids) - 1
    limit = position_limit(lm.model, "decoder_input_ids") if task == "seq2seq" else None
    if limit is not None and written > limit:
        raise ValueError(
            f"generation: its outputs take {written} positions, the decoder of {lm.name!r} has "
            f"{limit}; it was made with {generation.model!r}"
        )


def check_gradients(lm: LanguageModel) -> None:
    """Raises an UnsupportedError if a model gives no gradients, or wrong ones."""
    reason = stops_gradients(lm.model)
    if reason:
        raise UnsupportedError(
            f"lm: {lm.name!r} gives no gradients: {reason}. Methods without them, such as "
            "'occlusion' and 'feature_ablation', work"
        )
    lm.anatomy.require("gradient")


def plain(value: Any) -> Any:
    """A setting as a record can keep it."""
    if isinstance(value, Tensor | np.ndarray):
        return "given"
    return value if isinstance(value, str | int | float | bool | type(None)) else repr(value)
