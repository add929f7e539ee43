r"""Texts as a model reads them whole: their ids, their tokens, and which may share a forward."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np

from ecco_captum.core.checks import UnsupportedError
from ecco_captum.core.tokens import display_texts
from ecco_captum.generation.generate import decoder_start
from ecco_captum.generation.record import Generation
from ecco_captum.models.encoding import encode_prompt
from ecco_captum.models.language_model import LanguageModel


@dataclass(frozen=True)
class ReadText:
    r"""One text.

    Args:
        inputs (dict): from the name of a model's input to ids.
        ids (list of int): the tokens whose activations are wanted.
        texts (tuple of str): as a person reads them.
        prompt (int): how many of them are the prompt.
    """

    inputs: dict[str, list[int]]
    ids: list[int]
    texts: tuple[str, ...]
    prompt: int

    @property
    def digest(self) -> int:
        """64 bits that stand for all that the model reads."""
        read = json.dumps(self.inputs, sort_keys=True).encode()
        return int.from_bytes(hashlib.sha256(read).digest()[:8], "big")


def read_texts(lm: LanguageModel, given: Any, stack: str) -> list[ReadText]:
    """Reads the argument ``texts`` as a whole: a text, a ``Generation``, or an iterable of these.

    ``stack`` says, of an encoder–decoder, whose tokens are wanted: "decoder" or "encoder". A
    ValueError says if there are none, one is empty or too long, or a decoder has nothing to read.
    """
    return list(each_text(lm, given, stack))


def each_text(lm: LanguageModel, given: Any, stack: str) -> Iterator[ReadText]:
    r"""Like :func:`read_texts`, one text at a time: an iterable is not held in memory."""
    several = _several(given)
    count = 0
    for count, item in enumerate([given] if several is None else several, start=1):
        try:
            text = _text(lm, item, stack)
        except (TypeError, ValueError) as error:
            if several is None:
                raise
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"texts: number {count - 1}, from 0: {error}") from error
        yield text
    if not count:
        raise ValueError("texts: got none, accepts at least one text")


def number_of_texts(given: Any) -> int | None:
    """How many texts an argument has; None where only reading them says it."""
    several = _several(given)
    if several is None:
        return 1
    return len(several) if isinstance(several, Sized) else None


def batches(texts: Sequence[ReadText], budget: int, together: bool) -> Iterator[list[int]]:
    """Yields numbers of texts that share a forward: of the same lengths, at most ``budget`` tokens.

    A longer text is alone; all are where ``together`` is False.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for k, text in enumerate(texts):
        groups.setdefault(tuple(len(ids) for ids in text.inputs.values()), []).append(k)
    for lengths, members in groups.items():
        size = max(1, budget // sum(lengths)) if together else 1
        yield from (members[first : first + size] for first in range(0, len(members), size))


def _several(given: Any) -> Iterable[Any] | None:
    """A list of texts, of Generations or of lists of ids, or an iterator; None is one text."""
    if isinstance(given, Iterator):
        return given
    several = isinstance(given, list | tuple)
    texts = (str, Generation, list, tuple, np.ndarray)
    return given if several and all(isinstance(item, texts) for item in given) else None


def _text(lm: LanguageModel, given: Any, name: str) -> ReadText:
    """What is read of one text."""
    if isinstance(given, Generation):
        prompt, outputs = given.prompt_ids.tolist(), given.output_ids.tolist()
        texts, count = given.tokens.texts, len(given.prompt_ids)
        if lm.is_encoder_decoder:
            start = given.start_ids.tolist()
            inputs = {"input_ids": prompt, "decoder_input_ids": start + outputs}
            if name == "encoder":
                return ReadText(inputs, prompt, texts[:count], count)
            shown = ("(start)",) * len(start) + texts[count:]
            return ReadText(inputs, start + outputs, shown, len(start))
        if given.task in ("masked", "classification"):
            return ReadText({"input_ids": prompt}, prompt, texts[:count], count)
        return ReadText({"input_ids": prompt + outputs}, prompt + outputs, texts, count)
    ids = encode_prompt(lm, given)
    inputs = {"input_ids": ids}
    if lm.is_encoder_decoder:
        if name == "decoder":
            raise UnsupportedError(
                f"texts: the decoder of {lm.name!r} reads what was written; accepts what "
                "generate() or force_decode() returns, or stack='encoder'"
            )
        inputs["decoder_input_ids"] = [decoder_start(lm)]
    return ReadText(inputs, ids, display_texts(lm.tokenizer, ids), len(ids))
