r"""Encoding: from a string, a chat or ids to the ids that the model reads, checked."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ecco_captum.core.checks import UnsupportedError

if TYPE_CHECKING:
    from ecco_captum.models.language_model import LanguageModel

Prompt: TypeAlias = (
    str | tuple[str, str] | Sequence[Mapping[str, str]] | Sequence[int] | Mapping[str, Any] | Any
)
"""A text, a pair of texts, a chat (messages with "role" and "content"), token ids (list, array or
tensor), or what the tokenizer returned for one sequence."""

# What tokenizers return for their users; no model reads it.
_FOR_USERS = {
    *("special_tokens_mask", "offset_mapping", "length", "overflow_to_sample_mapping"),
    *("overflowing_tokens", "num_truncated_tokens"),
}


@dataclass(frozen=True)
class EncodedPrompt:
    r"""What a model reads of a prompt.

    Args:
        ids (list of int): the token ids.
        extra (dict): what else it reads, such as ``token_type_ids``; a number for each token.
        starts (tuple of int): of a pair, where the second text starts; else empty.
    """

    ids: list[int]
    extra: dict[str, list[int]] = field(default_factory=dict)
    starts: tuple[int, ...] = ()

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """``extra`` as a record keeps it."""
        return {name: np.array(row, dtype=np.int64) for name, row in self.extra.items()}


def encode_prompt(lm: LanguageModel, prompt: Prompt) -> EncodedPrompt:
    """Returns the ids of a prompt, with the tokenizer's special tokens once, and what goes with it.

    Everything that the tokenizer makes and the model accepts is kept. Ids are taken as they are; a
    chat goes through the tokenizer's template, which ends where the assistant's answer starts. An
    empty text is the token that begins texts, where the tokenizer has one. A prompt without tokens,
    padded, longer than the model's context, or with an id that the model does not embed raises a
    ValueError; what the model cannot read raises an UnsupportedError.
    """
    encoded = _encode(lm, prompt)
    ids = encoded.ids
    if not ids:
        raise ValueError("prompt: it has no tokens, accepts at least one")
    _check_ids(lm, ids, "prompt")
    if lm.context_length is not None and len(ids) > lm.context_length:
        raise LongTextError(
            f"prompt: it has {len(ids)} tokens, the context of {lm.name!r} holds "
            f"{lm.context_length}; shorten it"
        )
    return encoded


class TextError(ValueError):
    r"""A string is no text that can be encoded."""


class LongTextError(ValueError):
    r"""A text has more tokens than the model has positions."""


def encode_pieces(lm: LanguageModel, text: str) -> list[EncodedPrompt]:
    """Returns a text cut into as many pieces as the model's context asks for, one after the other.

    Each has the special tokens that the tokenizer puts around a text.
    """
    whole = _encode(lm, text)
    bare: list[int] = lm.tokenizer(text, add_special_tokens=False)["input_ids"]
    start = next(k for k in range(len(whole.ids)) if whole.ids[k : k + len(bare)] == bare)
    end, most = start + len(bare), lm.context_length or len(whole.ids)
    size = most - (len(whole.ids) - len(bare))

    def piece(row: list[int], first: int) -> list[int]:
        return row[:start] + row[first : min(first + size, end)] + row[end:]

    return [
        EncodedPrompt(
            piece(whole.ids, first),
            {name: piece(row, first) for name, row in whole.extra.items()},
        )
        for first in range(start, end, size)
    ]


def _encode(lm: LanguageModel, prompt: Prompt) -> EncodedPrompt:
    if isinstance(prompt, str):
        _check_text(prompt, "prompt")
        return _encode_text(lm, prompt)
    if isinstance(prompt, tuple) and any(isinstance(text, str) for text in prompt):
        return _encode_pair(lm, prompt)
    if _is_chat(prompt):
        return _read_encoding(lm, _encode_chat(lm.tokenizer, prompt), given=False)
    if isinstance(prompt, Mapping):
        return _read_encoding(lm, prompt, given=True)
    ids = _as_ids(prompt, "prompt")
    _check_padding(lm, ids)
    _check_segments(lm, ids)
    return EncodedPrompt(ids)


def continued(extra: Mapping[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """What goes with a prompt's tokens, and with ``count`` that a causal model writes behind it.

    As in transformers' ``generate``: they are attended to, and of the prompt's last kind.
    """

    def further(name: str, row: np.ndarray) -> np.ndarray:
        if name == "attention_mask":
            return np.ones(count, dtype=row.dtype)
        return row[-1] + (np.arange(1, count + 1) if name == "position_ids" else np.zeros(count))

    return {
        name: np.concatenate([row, further(name, row)]).astype(row.dtype)
        for name, row in extra.items()
    }


def message_starts(lm: LanguageModel, prompt: Prompt, ids: list[int]) -> list[int]:
    """Returns where each message of a chat starts in the prompt's ids, the first at 0.

    It is empty if the prompt is no chat, or the template does not render messages one after the
    other.
    """
    if not _is_chat(prompt):
        return []
    starts, messages = [0], list(prompt)
    for count in range(1, len(messages)):
        before = lm.tokenizer.apply_chat_template(
            messages[:count], tokenize=True, return_dict=True
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
        raise TextError(
            f"{argument}: character {error.start} is half of a surrogate pair, which is no "
            "text; was it read with the wrong encoding?"
        ) from error


def _is_chat(prompt: Any) -> bool:
    return (
        isinstance(prompt, Sequence)
        and len(prompt) > 0
        and all(isinstance(message, Mapping) for message in prompt)
    )


def _encode_text(lm: LanguageModel, text: str) -> EncodedPrompt:
    tokenizer = lm.tokenizer
    encoding = tokenizer(text)
    if not text:
        if tokenizer.bos_token_id is None:
            raise ValueError(
                "prompt: got an empty string, and the tokenizer has no token that begins texts; "
                "accepts at least one character"
            )
        if not encoding["input_ids"]:
            return EncodedPrompt([tokenizer.bos_token_id])
    ids: list[int] = encoding["input_ids"]
    bare: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    start = next((k for k in range(len(ids) - len(bare) + 1) if ids[k : k + len(bare)] == bare), -1)
    first, last = 0, len(ids)
    if bare and start >= 0:
        # A text that brings its own first or last special token (such as a rendered chat) would
        # have it twice: what the tokenizer adds on a side is dropped where the text already has it.
        before, after = ids[:start], ids[start + len(bare) :]
        if before and bare[: len(before)] == before:
            first = start
        if after and bare[-len(after) :] == after:
            last = start + len(bare)
    encoded = _read_encoding(lm, encoding, given=False)
    extra = {name: row[first:last] for name, row in encoded.extra.items()}
    return EncodedPrompt(ids[first:last], extra)


def _encode_pair(lm: LanguageModel, pair: tuple[Any, ...]) -> EncodedPrompt:
    if len(pair) != 2 or not all(isinstance(text, str) and text for text in pair):
        raise ValueError(
            f"prompt: got a tuple of {len(pair)}, accepts a pair of texts that are not empty; "
            "several texts are a list"
        )
    for text in pair:
        _check_text(text, "prompt")
    return _read_encoding(lm, lm.tokenizer(*pair), given=False)


def _read_encoding(lm: LanguageModel, encoding: Any, *, given: bool) -> EncodedPrompt:
    """What a tokenizer returned: by the user (``given``), or for a text of theirs."""
    if "input_ids" not in encoding:
        raise ValueError(f"prompt: it has {sorted(encoding)}, accepts what has 'input_ids'")
    given_ids = encoding["input_ids"]
    if len(given_ids) > 1 and np.ndim(given_ids[0]):
        raise ValueError(
            f"prompt: it has the ids of {len(given_ids)} texts, accepts one; pass them one at a "
            "time, or a list of texts to what takes several"
        )
    ids = _as_ids(given_ids, "prompt")
    rows = {
        name: _row(name, encoding[name], len(ids))
        for name in encoding
        if name != "input_ids" and name not in _FOR_USERS and encoding[name] is not None
    }
    masked = "attention_mask" in rows
    mask = np.array(rows.pop("attention_mask", [1] * len(ids)), dtype=bool)
    if not mask.any():
        raise ValueError("prompt: its attention_mask leaves no token, accepts at least one")
    # What is masked at the ends is padding; in between it stays masked.
    read = np.flatnonzero(mask)
    first, last = int(read[0]), int(read[-1]) + 1
    mask = mask[first:last]
    accepted = inspect.signature(lm.model.forward).parameters
    extra = {}
    for name, row in rows.items():
        if name in accepted and name not in _NOT_BESIDE_IDS:
            extra[name] = row[first:last]
        elif given or len(set(row)) > 1:
            raise UnsupportedError(
                f"prompt: {lm.name!r}, a {type(lm.model).__name__}, cannot be given its {name}; "
                f"accepts {_accepted(accepted)}"
            )
    if not mask.all():
        extra["attention_mask"] = mask.astype(int).tolist()
    if not masked:
        _check_padding(lm, ids[first:last])
    return EncodedPrompt(ids[first:last], extra, _second(encoding, rows, first))


# Accepted by models, but not one number for each of the prompt's tokens.
_NOT_BESIDE_IDS = {"labels", "decoder_input_ids", "decoder_attention_mask", "inputs_embeds"}


def _accepted(parameters: Container[str]) -> str:
    usual = (
        "input_ids",
        "attention_mask",
        "token_type_ids",
        "global_attention_mask",
        "langs",
        "position_ids",
    )
    return ", ".join(name for name in usual if name in parameters)


def _row(name: str, given: Any, length: int) -> list[int]:
    """One number a token, from a list, an array or a batch of one."""
    array = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)
    array = array[0] if array.ndim == 2 and len(array) == 1 else array
    if array.shape != (length,) or array.dtype.kind not in "iub":
        raise UnsupportedError(
            f"prompt: its {name} has shape {array.shape} and type {array.dtype}; accepts one whole "
            f"number for each of its {length} tokens"
        )
    return [int(number) for number in array]


def _second(encoding: Any, rows: Mapping[str, list[int]], first: int) -> tuple[int, ...]:
    """Where the second text of a pair starts; empty where there is none."""
    sequences = encoding.sequence_ids() if getattr(encoding, "encodings", None) else []
    if 1 not in sequences:
        sequences = rows.get("token_type_ids", [])
    return (sequences.index(1) - first,) if 1 in sequences else ()


def _check_padding(lm: LanguageModel, ids: Sequence[int]) -> None:
    """Ids without a mask: padding among them would be read as words."""
    tokenizer, pad = lm.tokenizer, lm.tokenizer.pad_token_id
    if pad is None or pad not in ids:
        return
    others = [tokenizer.bos_token_id, tokenizer.cls_token_id]
    ends = [tokenizer.eos_token_id, tokenizer.sep_token_id]
    leading = next((k for k, token in enumerate(ids) if token != pad), len(ids)) - (pad in others)
    trailing = next((k for k, token in enumerate(reversed(ids)) if token != pad), 0) - (pad in ends)
    if max(leading, trailing) <= 0:
        return
    message = (
        f"prompt: {max(leading, 0) + max(trailing, 0)} of its ids at its ends are padding "
        f"(id {pad}, {tokenizer.pad_token!r}), which would be read as words; leave them out, or "
        "pass all that the tokenizer returned, its attention_mask among it"
    )
    if pad in (*others, *ends, tokenizer.unk_token_id):
        warnings.warn(message.replace("would be", "are"), UserWarning, stacklevel=2)
    else:
        raise ValueError(message)


def _check_segments(lm: LanguageModel, ids: Sequence[int]) -> None:
    """Ids of a pair: which token is of which text is not in them."""
    separator = lm.tokenizer.sep_token_id
    if separator is None or separator not in ids[:-1]:
        return
    types = lm.tokenizer("a", "b").get("token_type_ids", [])
    if len(set(types)) > 1 and "token_type_ids" in inspect.signature(lm.model.forward).parameters:
        warnings.warn(
            f"prompt: its ids hold more than one text (a {lm.tokenizer.sep_token!r} stands between "
            "others), and all are read as the first: pass the pair of texts, or all that the "
            "tokenizer returned, for token_type_ids that tell them apart",
            UserWarning,
            stacklevel=2,
        )


def _encode_chat(tokenizer: Any, messages: Any) -> Any:
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
    return tokenizer.apply_chat_template(
        list(messages), add_generation_prompt=True, tokenize=True, return_dict=True
    )


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
