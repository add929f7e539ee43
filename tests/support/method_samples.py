r"""Tiny models of every task with a text of theirs, shared by tests and benchmarks of methods."""

from __future__ import annotations

import functools
from typing import Any

import captum.attr
import numpy as np
import tiny_models
import tiny_tokenizers
import torch
import transformers
from captum.log import log_usage
from torch import Tensor
from transformers import PreTrainedModel

import ecco_captum
from ecco_captum import Attribution, Generation, generate
from ecco_captum.models.language_model import LanguageModel

Subject = tuple[LanguageModel, Generation]

CAUSAL = [f"causal:{name}" for name in ("gpt2", "llama", "gemma2", "gemma3_text", "qwen3", "bert")]
SUBJECTS = [*CAUSAL, "seq2seq:t5", "masked:bert", "classification:bert", "classification:llama"]
# As a causal model, BERT sees what is to the right: each output has a forward of its own.
SEPARATE = {"causal:bert"}

_TOKENIZERS = {
    "bert": tiny_tokenizers.word_piece,
    "llama": tiny_tokenizers.sentence_piece,
    "t5": tiny_tokenizers.sentence_piece,
}
_CLASSIFIERS = {
    "bert": "BertForSequenceClassification",
    "llama": "LlamaForSequenceClassification",
}


@functools.cache
def subject(name: str) -> Subject:
    """A model, "kind:family", and a text of it; tests have to leave both as they are."""
    return fresh_subject(name)


def fresh_subject(name: str) -> Subject:
    """The same, made anew."""
    kind, _, family = name.partition(":")
    tokenizer = _TOKENIZERS.get(family, tiny_tokenizers.byte_level)()
    model = _model(kind, family, len(tokenizer))
    lm = ecco_captum.wrap(model, tokenizer, name=f"tiny {family}")
    prompt: Any = "the [MASK] to the [MASK] are" if kind == "masked" else [5, 9, 6, 7, 30]
    options = {"max_new_tokens": 4} if kind in ("causal", "seq2seq") else {}
    return lm, generate(lm, prompt, **options)


def _model(kind: str, family: str, vocabulary: int) -> PreTrainedModel:
    torch.manual_seed(0)
    if kind == "classification":
        config = tiny_models.tiny_config("causal", family)
        config.num_labels, config.pad_token_id, config.vocab_size = 3, 0, vocabulary
        model = getattr(transformers, _CLASSIFIERS[family])(config).eval()
    else:
        model = tiny_models.build(kind, family)
        model.resize_token_embeddings(vocabulary, mean_resizing=False)
    with torch.no_grad():
        for table in {model.get_input_embeddings(), model.get_output_embeddings()} - {None}:
            table.weight.normal_(std=0.3)
    if model.can_generate():
        # A random model would otherwise stop at random; and some configs name no start.
        model.generation_config.eos_token_id = None
        if kind == "seq2seq":
            model.generation_config.decoder_start_token_id = 3
    return model


def rows_of(attribution: Attribution) -> list[np.ndarray]:
    """Each row as far as its output could depend on the text."""
    return [row[:n] for row, n in zip(attribution.scores, attribution.known, strict=True)]


class Doubled(captum.attr.GradientAttribution):
    """Somebody's own method: twice the gradient, and all of it."""

    @log_usage()
    def attribute(self, inputs: Tensor, target: Any = None, factor: float = 2.0) -> Tensor:
        with torch.enable_grad():
            inputs = inputs.detach().requires_grad_()
            (gradient,) = self.gradient_func(self.forward_func, (inputs,), target)
        return factor * gradient
