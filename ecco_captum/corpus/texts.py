r"""Texts as a model reads them whole: their ids, their tokens, and which may share a forward."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from transformers import BatchEncoding

from ecco_captum.core.checks import UnsupportedError
from ecco_captum.core.tokens import display_texts
from ecco_captum.corpus.sources import texts_of
from ecco_captum.generation.generate import decoder_starts
from ecco_captum.generation.record import Generation
from ecco_captum.models.anatomy.verify import TEXTS
from ecco_captum.models.encoding import (
    EncodedPrompt,
    LongTextError,
    TextError,
    continued,
    encode_pieces,
    encode_prompt,
)
from ecco_captum.models.language_model import LanguageModel

Long = Literal["error", "skip", "split"]
"""What is done with a text that is longer than the context: refused, left out, or cut."""

_LISTED = 5  # reasons of texts that failed, in a warning


@dataclass(frozen=True)
class ReadText:
    r"""One text.

    Args:
        inputs (dict): from the name of a model's input to ids, or what goes with them.
        ids (list of int): the tokens whose activations are wanted.
        texts (tuple of str): as a person reads them.
        prompt (int): how many of them are the prompt.
        starts (tuple of int): where a second text starts, of a pair.
        name (str): what it is called in its corpus.
    """

    inputs: dict[str, list[int]]
    ids: list[int]
    texts: tuple[str, ...]
    prompt: int
    starts: tuple[int, ...] = ()
    name: str = ""

    @property
    def digest(self) -> int:
        """64 bits that stand for all that the model reads."""
        read = json.dumps(self.inputs, sort_keys=True).encode()
        return int.from_bytes(hashlib.sha256(read).digest()[:8], "big")


def read_texts(lm: LanguageModel, given: Any, stack: str) -> list[ReadText]:
    """Reads the argument ``texts`` as a whole: a text, a ``Generation``, or an iterable of these.

    ``stack`` says, of an encoder–decoder, whose tokens are wanted: "decoder" or "encoder". A
    ValueError says if there are none, one is too long, or a decoder has nothing to read.
    """
    return list(each_text(lm, given, stack))


def each_text(
    lm: LanguageModel, given: Any, stack: str, long: Long = "error"
) -> Iterator[ReadText]:
    r"""Like :func:`read_texts`, one text at a time: an iterable is not held in memory.

    Of several strings, blank ones are left out, and those that cannot be encoded; a warning at the
    end counts and lists them. ``long`` says what is done with texts that the context does not hold.
    """
    if long not in get_args(Long):
        raise ValueError(f"long: got {long!r}, accepts {', '.join(map(repr, get_args(Long)))}")
    several = _several(given)
    if several is None:
        yield from pieces_of_text(lm, given, stack, long)
        return
    blank, skipped, failed, read, reasons = 0, 0, 0, 0, list[str]()
    for number, item in enumerate(several):
        if isinstance(item, str) and not item.strip():
            blank += 1
            continue
        try:
            pieces = list(pieces_of_text(lm, item, stack, long))
        except (TypeError, ValueError) as error:
            too_long = isinstance(error, LongTextError)
            if too_long and long == "skip":
                skipped += 1
                continue
            if not too_long and isinstance(error, TextError):
                failed += 1
                if len(reasons) < _LISTED:
                    reasons.append(f"number {number} ({error})")
                continue
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"texts: number {number}, from 0: {error}") from error
        read += len(pieces)
        yield from pieces
    left_out = _left_out(blank, skipped, failed, reasons)
    if not read:
        left = f" ({left_out})" if left_out else ""
        raise ValueError(f"texts: got none{left}, accepts at least one text")
    if left_out:
        warnings.warn(f"texts: {left_out} left out", UserWarning, stacklevel=2)


def _left_out(blank: int, skipped: int, failed: int, reasons: list[str]) -> str:
    parts = [f"{blank} blank"] if blank else []
    parts += [f"{skipped} longer than the context"] if skipped else []
    if failed:
        more = f" and {failed - len(reasons)} more" if failed > len(reasons) else ""
        parts.append(f"{failed} that failed: {', '.join(reasons)}{more}")
    return ", ".join(parts)


def pieces_of_text(lm: LanguageModel, given: Any, stack: str, long: Long) -> Iterator[ReadText]:
    """One text, or the pieces that it is cut into."""
    try:
        yield _text(lm, given, stack)
    except LongTextError:
        if long != "split" or not isinstance(given, str):
            raise
        for encoded in encode_pieces(lm, given):
            yield _read(lm, encoded, stack)


def number_of_texts(given: Any) -> int | None:
    """How many texts an argument has; None where only reading them says it."""
    several = _several(given)
    if several is None:
        return 1
    if not isinstance(several, Sized):
        return None
    return sum(not isinstance(item, str) or bool(item.strip()) for item in several)


def batches(texts: Sequence[ReadText], budget: int, together: bool) -> Iterator[list[int]]:
    """Yields numbers of texts that share a forward: of the same lengths, at most ``budget`` tokens.

    A longer text is alone; all are where ``together`` is False.
    """
    groups: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for k, text in enumerate(texts):
        kind = tuple((name, len(row)) for name, row in sorted(text.inputs.items()))
        groups.setdefault(kind, []).append(k)
    for kind, members in groups.items():
        tokens = sum(length for name, length in kind if name in TEXTS)
        size = max(1, budget // tokens) if together else 1
        yield from (members[first : first + size] for first in range(0, len(members), size))


def _several(given: Any) -> Iterable[Any] | None:
    """A list of texts, of Generations or of lists of ids, an iterator, a file, a table or a column;
    None is one text."""
    if (texts := texts_of(given)) is not None:
        return texts
    if isinstance(given, Iterator):
        return given
    # A tuple of texts is a pair, which is one text.
    pair = isinstance(given, tuple) and any(isinstance(item, str) for item in given)
    several = isinstance(given, list | tuple) and not pair
    kinds = (str, Generation, list, tuple, np.ndarray, BatchEncoding)
    return given if several and all(isinstance(item, kinds) for item in given) else None


def _text(lm: LanguageModel, given: Any, name: str) -> ReadText:
    """What is read of one text."""
    if isinstance(given, Generation):
        prompt, outputs = given.prompt_ids.tolist(), given.output_ids.tolist()
        texts, count, starts = given.tokens.texts, len(given.prompt_ids), given.tokens.starts
        inputs = {name: row.tolist() for name, row in given.extra_inputs.items()}
        inputs["input_ids"] = prompt
        if lm.is_encoder_decoder:
            start = given.start_ids.tolist()
            inputs["decoder_input_ids"] = start + outputs
            if name == "encoder":
                return ReadText(inputs, prompt, texts[:count], count, starts)
            shown = ("(start)",) * len(start) + texts[count:]
            return ReadText(inputs, start + outputs, shown, len(start))
        if given.task in ("masked", "classification"):
            return ReadText(inputs, prompt, texts[:count], count, starts)
        rows = continued(given.extra_inputs, len(outputs))
        inputs = {name: row.tolist() for name, row in rows.items()}
        inputs["input_ids"] = prompt + outputs
        return ReadText(inputs, prompt + outputs, texts, count, starts)
    return _read(lm, encode_prompt(lm, given), name)


def _read(lm: LanguageModel, encoded: EncodedPrompt, name: str) -> ReadText:
    """What is read of one text that is no ``Generation``."""
    ids, inputs = encoded.ids, {"input_ids": encoded.ids, **encoded.extra}
    if lm.is_encoder_decoder:
        if name == "decoder":
            raise UnsupportedError(
                f"texts: the decoder of {lm.name!r} reads what was written; accepts what "
                "generate() or force_decode() returns, or stack='encoder'"
            )
        inputs["decoder_input_ids"] = decoder_starts(lm)
    return ReadText(inputs, ids, display_texts(lm.tokenizer, ids), len(ids), encoded.starts)
