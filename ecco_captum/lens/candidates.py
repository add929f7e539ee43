r"""Candidates for a place in a text, read layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from ecco_captum.core.checks import chosen_numbers
from ecco_captum.core.errors import UnsupportedError
from ecco_captum.core.tokens import Tokens, display_texts, lone_texts
from ecco_captum.generation.generate import decoder_start, scored_segments
from ecco_captum.generation.record import Generation
from ecco_captum.generation.segments import Text, Written, reading
from ecco_captum.generation.tasks import check_text, task_of
from ecco_captum.lens.translators import Translators
from ecco_captum.lens.unembedding import layer_logits
from ecco_captum.models.encoding import Prompt, encode_prompt
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.models.modes import evaluation_mode


def as_text(lm: LanguageModel, given: Prompt | Generation) -> tuple[Text, Tokens]:
    r"""Returns a prompt, or what a model wrote, as a text that a lens can read.

    Args:
        lm (LanguageModel): the model that reads it.
        given (str, list of messages, ids, or Generation): the text.

    Returns:
        tuple: its ids, and its tokens as a person reads them.

    Raises:
        TypeError: if the model is a classifier, or the text is none of these.
        ValueError: if it was made for another model, or is empty or too long.
    """
    if isinstance(given, Generation):
        check_lens(lm, given)
        return given, given.tokens
    task = task_of(lm)
    if task == "classification":
        raise UnsupportedError(
            f"lm: {lm.name!r} is a classifier, whose head reads the last layer only"
        )
    ids = np.array(encode_prompt(lm, given), dtype=np.int64)
    start = [decoder_start(lm)] if task == "seq2seq" else []
    text = Written(ids, ids[:0], np.array(start, dtype=np.int64), task)
    return text, Tokens(ids, display_texts(lm.tokenizer, ids.tolist()), len(ids))


def what_is_read(text: Text, tokens: Tokens) -> list[str]:
    """What the model reads, token by token; positions are counted in it."""
    if text.task == "seq2seq":
        return ["(start)"] * len(text.start_ids) + list(tokens.texts[tokens.prompt_length :])
    if text.task == "masked":
        return list(tokens.texts[: tokens.prompt_length])
    return list(tokens.texts)


def asked_places(lm: LanguageModel, text: Text, position: Any) -> list[int]:
    r"""Reads the argument ``position``.

    Args:
        lm (LanguageModel): the model.
        text (Text): what it reads.
        position (int, list of int, slice or "all"): which positions; -1 alone is the last mask of a
            text with masks.

    Returns:
        list of int: ascending, from 0.

    Raises:
        ValueError: if there are no such positions.
    """
    outputs = 0 if text.task == "masked" else len(text.output_ids)
    length = len(text.start_ids if text.task == "seq2seq" else text.prompt_ids) + outputs
    if isinstance(position, str) and position == "all":
        return list(range(length))
    last = isinstance(position, int | np.integer) and position == -1
    if text.task == "masked" and last and not isinstance(position, bool):
        masks = np.flatnonzero(text.prompt_ids == lm.tokenizer.mask_token_id)
        if masks.size:
            return [int(masks[-1])]
    if position is None or isinstance(position, str | bool):
        raise ValueError(
            f"position: got {position!r}, accepts a number or numbers from 0 to {length - 1}, a "
            "slice, or 'all'"
        )
    return chosen_numbers("position", position, length)


@torch.no_grad()
def read_candidates(
    lm: LanguageModel,
    text: Text,
    places: Sequence[int],
    ids: Sequence[int],
    layers: Sequence[int],
    translators: Translators | None,
) -> dict[str, np.ndarray]:
    r"""Reads what each layer says of candidates.

    Args:
        lm (LanguageModel): the model.
        text (Text): what it reads.
        places (Sequence of int): where it is asked, ascending.
        ids (Sequence of int): the candidates.
        layers (Sequence of int): rows of the stream.
        translators (Translators, optional): None for the logit lens.

    Returns:
        dict: "ranks", "logits", "logprobs" and "probs", each (positions, layers, candidates), and
        "top_ids", (positions, layers).
    """
    shape = (len(places), len(layers), len(ids))
    tables = {name: np.zeros(shape, "f4") for name in ("logits", "logprobs", "probs")}
    tables["ranks"] = np.zeros(shape, "i8")
    tables["top_ids"] = np.zeros(shape[:2], "i8")
    whole = reading(lm, text, places, [ids[0]] * len(places))
    with evaluation_mode(lm.model):
        for segment in scored_segments(lm, text, whole):
            for chunk, logits in layer_logits(lm, segment, layers, translators=translators):
                own = logits[..., list(ids)]
                ranks = [1 + (logits > own[..., k, None]).sum(dim=-1) for k in range(len(ids))]
                logprobs = own - logits.logsumexp(dim=-1, keepdim=True)
                values = {
                    "ranks": torch.stack(ranks, dim=-1),
                    "logits": own,
                    "logprobs": logprobs,
                    "probs": logprobs.exp(),
                    "top_ids": logits.argmax(dim=-1),
                }
                for k, layer in enumerate(chunk):
                    if layer in layers:
                        for name, value in values.items():
                            row = layers.index(layer)
                            tables[name][list(segment.rows), row] = value[k].cpu().numpy()
    return tables


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


def check_lens(lm: LanguageModel, generation: Generation) -> None:
    r"""Raises an error if a lens has nothing to say of a text.

    Raises:
        TypeError: if it is no model or no text, or the model is a classifier.
        ValueError: if the text was made for a model of another kind, vocabulary or context.
    """
    check_text(lm, generation)
    if generation.task == "classification":
        raise UnsupportedError(
            f"lm: {lm.name!r} is a classifier, whose head reads one position of the last layer; "
            "accepts causal and masked language models and encoder–decoders"
        )


def token_texts(lm: LanguageModel, ids: Iterable[int]) -> dict[str, str]:
    """The text of each token as it follows another, by its id written in digits."""
    listed = sorted(set(ids))
    return dict(zip(map(str, listed), lone_texts(lm.tokenizer, listed), strict=True))
