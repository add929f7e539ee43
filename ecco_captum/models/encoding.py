r"""Encoding: from a string, a chat or ids to the ids that the model reads, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from ecco_captum.models.language_model import LanguageModel

Prompt: TypeAlias = str | Sequence[Mapping[str, str]] | Sequence[int] | Any
"""A text, a chat (messages with "role" and "content"), or token ids (list, array or tensor)."""


def encode_prompt(lm: LanguageModel, prompt: Prompt) -> list[int]:
    """Returns the ids of a prompt, with the tokenizer's special tokens once.

    Ids are taken as they are; a chat goes through the tokenizer's template, which ends where the
    assistant's answer starts. A prompt that is empty, longer than the model's context, or has an id
    that the model does not embed raises a ValueError.
    """
    if isinstance(prompt, str):
        if not prompt:
            raise ValueError("prompt: got an empty string, accepts at least one character")
        _check_text(prompt, "prompt")
        ids = _encode_text(lm.tokenizer, prompt)
    elif _is_chat(prompt):
        ids = _encode_chat(lm.tokenizer, prompt)
    else:
        ids = _as_ids(prompt, "prompt")
    if not ids:
        raise ValueError("prompt: it has no tokens, accepts at least one")
    _check_ids(lm, ids, "prompt")
    if lm.context_length is not None and len(ids) > lm.context_length:
        raise ValueError(
            f"prompt: it has {len(ids)} tokens, the context of {lm.name!r} holds "
            f"{lm.context_length}; shorten it"
        )
    return ids


def message_starts(lm: LanguageModel, prompt: Prompt, ids: list[int]) -> list[int]:
    """Returns where each message of a chat starts in the prompt's ids, the first at 0.

    It is empty if the prompt is no chat, or the template does not render messages one after the
    other.
    """
    if not _is_chat(prompt):
        return []
    starts = [0]
    for count in range(1, len(prompt)):
        before = lm.tokenizer.apply_chat_template(
            list(prompt[:count]), tokenize=True, return_dict=True
        )["input_ids"]
        if ids[: len(before)] != list(before) or len(before) <= starts[-1]:
            return []
        starts.append(len(before))
    return starts


def encode_continuation(lm: LanguageModel, prompt: Prompt, continuation: Any) -> list[int]:
    """Returns the ids of a continuation, cut into tokens as it would stand behind the prompt.

    A text keeps its leading space; ids are taken as they are. Special tokens that the text does not
    name are not added.
    """
    if isinstance(continuation, str):
        _check_text(continuation, "continuation")
        ids = _encode_behind(lm, prompt, continuation)
    else:
        ids = _as_ids(continuation, "continuation")
    if not ids:
        raise ValueError("continuation: it has no tokens, accepts at least one")
    _check_ids(lm, ids, "continuation")
    return ids


def encode_token(lm: LanguageModel, given: Any, argument: str) -> int:
    """Returns the id of one token, given by its id or its text as it follows other text.

    ``argument`` names it in errors. A text that is not exactly one token raises a ValueError.
    """
    given = int(given) if isinstance(given, np.integer) else given
    if isinstance(given, bool) or not isinstance(given, str | int):
        raise TypeError(f"{argument}: got a {type(given).__name__}, accepts text, an id, or a list")
    if isinstance(given, int):
        if not 0 <= given < lm.vocabulary_size:
            raise ValueError(f"{argument}: got id {given}, accepts 0 to {lm.vocabulary_size - 1}")
        return given
    ids = encode_continuation(lm, None, given) if given else []
    if len(ids) != 1:
        pieces = ", ".join(f"{lm.tokenizer.decode([i])!r} (id {i})" for i in ids)
        raise ValueError(
            f"{argument}: {given!r} is {len(ids)} tokens of {lm.name!r}"
            + (f", {pieces}" if pieces else "")
            + "; accepts one. Pass the id of the piece that differs instead of the text"
        )
    return ids[0]


def _as_ids(given: Any, argument: str) -> list[int]:
    """Ids given as a list, array or tensor of one dimension, or a batch of one."""
    try:
        array = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)
    except ValueError:  # ragged lists
        array = np.empty((0, 0, 0))
    if array.ndim == 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 1 and array.size == 0:
        raise ValueError(f"{argument}: it has no tokens, accepts at least one")
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TypeError(
            f"{argument}: got a {type(given).__name__} of shape {array.shape} and type "
            f"{array.dtype}; accepts a string, a list of messages ({{'role': …, 'content': …}}) or "
            "the token ids of one sequence"
        )
    return [int(i) for i in array]


def _check_ids(lm: LanguageModel, ids: Sequence[int], argument: str) -> None:
    size = lm.vocabulary_size
    outside = [i for i in ids if not 0 <= i < size]
    if outside:
        raise ValueError(
            f"{argument}: token id {outside[0]} is outside the model's vocabulary of "
            f"{size}; does the tokenizer belong to this model?"
        )


def _check_text(text: str, argument: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{argument}: character {error.start} is half of a surrogate pair, which is no "
            "text; was it read with the wrong encoding?"
        ) from error


def _is_chat(prompt: Any) -> bool:
    return (
        isinstance(prompt, Sequence)
        and len(prompt) > 0
        and all(isinstance(message, Mapping) for message in prompt)
    )


def _encode_text(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text)["input_ids"]
    bare: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    start = next((k for k in range(len(ids) - len(bare) + 1) if ids[k : k + len(bare)] == bare), -1)
    if not bare or start < 0:
        return ids
    # A text that brings its own first or last special token (such as a rendered chat) would have it
    # twice: what the tokenizer adds on a side is dropped where the text already has it.
    before, after = ids[:start], ids[start + len(bare) :]
    if before and bare[: len(before)] == before:
        before = []
    if after and bare[-len(after) :] == after:
        after = []
    return before + bare + after


def _encode_chat(tokenizer: Any, messages: Any) -> list[int]:
    for message in messages:
        if not {"role", "content"} <= set(message):
            raise ValueError(
                f"prompt: a message has the keys {sorted(message)}, accepts 'role' and 'content'"
            )
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError(
            "prompt: got a chat, but this tokenizer has no chat template; pass a string, or set "
            "tokenizer.chat_template"
        )
    encoded = tokenizer.apply_chat_template(
        list(messages), add_generation_prompt=True, tokenize=True, return_dict=True
    )
    return [int(i) for i in encoded["input_ids"]]


def _encode_behind(lm: LanguageModel, prompt: Prompt, text: str) -> list[int]:
    """Alone, many tokenizers would put a space before the text: it is read behind an anchor."""

    def encode(text: str) -> list[int]:
        ids: list[int] = lm.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    # An encoder–decoder's continuation is another text, not the prompt's next words.
    anchors = [prompt] if isinstance(prompt, str) and not lm.is_encoder_decoder else []
    if not lm.is_encoder_decoder:
        anchors.append("\n")
    for anchor in anchors:
        head, whole = encode(anchor), encode(anchor + text)
        if whole[: len(head)] == head:
            return whole[len(head) :]
    return encode(text)
