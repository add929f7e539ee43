r"""Generation: what the model wrote (or was made to write), token by token, with its scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ecco_captum.causality import shares_forwards
from ecco_captum.decoding import (
    generation_config,
    new_tokens,
    plain_options,
    progress_criteria,
    seeded,
)
from ecco_captum.encoding import Prompt, encode_continuation, encode_prompt
from ecco_captum.models import LanguageModel, keep_last, quiet
from ecco_captum.records import Record
from ecco_captum.tokens import Tokens, display_texts

if TYPE_CHECKING:
    import pandas as pd

# Logits held at once when outputs are scored, in numbers: 64 M are 256 MB in float32.
_SCORED_AT_ONCE = 64 * 2**20


@dataclass(frozen=True, eq=False)
class Generation(Record):
    r"""A prompt and what followed it, with the model's scores.

    Args:
        prompt_ids (array): (prompt,), int64, as the model read them. An encoder–decoder's source.
        output_ids (array): (outputs,), int64, bit for bit what was chosen (or given).
        tokens (Tokens): prompt and outputs in order, as a person reads them.
        logits (array): (outputs,), float32, the model's logit of each output token, before any
            sampling rule touched it.
        logprobs (array): (outputs,), float32, natural logarithm of its probability.
        ranks (array): (outputs,), int64, its rank in the vocabulary; 1 is the best.
        start_ids (array): (start,), int64, what an encoder–decoder's decoder starts with; empty for
            other models.
        model (str): the model's name.
        settings (dict): what made it: the generation options, or ``{"forced": True}``.
    """

    prompt_ids: np.ndarray
    output_ids: np.ndarray
    tokens: Tokens
    logits: np.ndarray
    logprobs: np.ndarray
    ranks: np.ndarray
    start_ids: np.ndarray
    model: str
    settings: dict[str, Any]

    @property
    def prompt(self) -> str:
        """The prompt as text."""
        return "".join(self.tokens.texts[: len(self.prompt_ids)])

    @property
    def text(self) -> str:
        """The outputs as text."""
        return "".join(self.tokens.texts[len(self.prompt_ids) :])

    def to_pandas(self) -> pd.DataFrame:
        r"""Returns one row an output token: output, token, id, logit, logprob, rank."""
        import pandas as pd

        return pd.DataFrame(
            {
                "output": np.arange(len(self.output_ids)),
                "token": self.tokens.texts[len(self.prompt_ids) :],
                "id": self.output_ids,
                "logit": self.logits,
                "logprob": self.logprobs,
                "rank": self.ranks,
            }
        )

    def _title(self) -> str:
        from ecco_captum.generation_html import TITLE

        return TITLE

    def _html(self) -> str:
        from ecco_captum.generation_html import generation_view

        scores = self.logits, self.logprobs, self.ranks
        return generation_view(self.tokens, *scores, subtitle=self.model)

    def __repr__(self) -> str:
        sizes = f"{len(self.prompt_ids)} prompt tokens, {len(self.output_ids)} outputs"
        return f"Generation({self.text!r}, {sizes}, {self.model})"


def generate(
    lm: LanguageModel,
    prompt: Prompt,
    *,
    max_new_tokens: int | None = None,
    seed: int | None = None,
    progress: bool | None = None,
    **options: Any,
) -> Generation:
    r"""Lets the model write, with its own ``generate``.

    Args:
        lm (LanguageModel): the model.
        prompt (str, list of messages, or ids): a text, a chat, or token ids.
        max_new_tokens (int, optional): how many tokens it may write at most; it may stop earlier.
            Default: what ``generation_config`` says, else 32.
        seed (int, optional): seed for sampling; torch's own random state is left as it was.
        progress (bool, optional): whether to show a progress bar. Default: on a terminal and in
            notebooks.
        **options (Any): any option of transformers' ``GenerationConfig`` (do_sample, temperature,
            top_p, num_beams, repetition_penalty, …), or a whole one as ``generation_config``.
            Without ``do_sample=True`` there it is greedy (or a beam search), whatever the
            checkpoint's own defaults say.

    Returns:
        Generation: the output's ids are what the model chose; they are never decoded and encoded
        again.

    Raises:
        TypeError: if the model cannot generate (an encoder without a language-model head).
        ValueError: if the prompt is empty or too long, an option is wrong, or logits are NaN.

    Examples::

        >>> generation = generate(lm, "The capital of France is", max_new_tokens=8)
        >>> generation.text
    """
    _check_can_generate(lm)
    max_new_tokens = new_tokens(max_new_tokens, options)
    prompt_ids = encode_prompt(lm, prompt)
    _check_fits(lm, prompt_ids, max_new_tokens, "max_new_tokens")
    config = generation_config(lm, max_new_tokens, options)
    inputs = torch.tensor([prompt_ids], device=lm.device)
    criteria, bar = progress_criteria(max_new_tokens, progress)
    with quiet(lm.model), torch.no_grad(), seeded(seed, lm.device), bar:
        try:
            sequence = lm.model.generate(
                inputs,
                attention_mask=torch.ones_like(inputs),
                generation_config=config,
                stopping_criteria=criteria,
                **({"tokenizer": lm.tokenizer} if config.stop_strings else {}),
            )[0]
        except RuntimeError as error:
            if "probability tensor" in str(error):
                raise ValueError(_NAN.format(name=lm.name)) from error
            raise
    start = 1 if lm.is_encoder_decoder else len(prompt_ids)
    start_ids = sequence[:start].tolist() if lm.is_encoder_decoder else []
    settings = {"max_new_tokens": max_new_tokens, "seed": seed, **plain_options(options)}
    return _record(lm, prompt_ids, start_ids, sequence[start:].tolist(), settings)


def force_decode(lm: LanguageModel, prompt: Prompt, continuation: str | Any) -> Generation:
    r"""Scores a given continuation as if the model had chosen it.

    Args:
        lm (LanguageModel): the model.
        prompt (str, list of messages, or ids): what goes before.
        continuation (str or ids): what follows, its leading space included (``" Paris"``); text is
            cut into tokens as it would stand behind the prompt.

    Returns:
        Generation: its outputs are the continuation's tokens.

    Raises:
        TypeError: if the model has no language-model head.
        ValueError: if the prompt or the continuation is empty, or both are too long.

    Examples::

        >>> force_decode(lm, "The capital of France is", " Paris").ranks
    """
    _check_can_generate(lm)
    prompt_ids = encode_prompt(lm, prompt)
    output_ids = encode_continuation(lm, prompt, continuation)
    _check_fits(lm, prompt_ids, len(output_ids), "continuation")
    start_ids = [_decoder_start(lm)] if lm.is_encoder_decoder else []
    return _record(lm, prompt_ids, start_ids, output_ids, {"forced": True})


_NAN = (
    "lm: the logits of {name!r} are NaN; are its weights? (A checkpoint made for bfloat16 often "
    "overflows in float16.)"
)


def _record(
    lm: LanguageModel,
    prompt_ids: list[int],
    start_ids: list[int],
    output_ids: list[int],
    settings: dict[str, Any],
) -> Generation:
    logits, logprobs, ranks = _score(lm, prompt_ids, start_ids, output_ids)
    if lm.is_encoder_decoder:
        # Source and output are two texts: neither is decoded behind the other.
        texts = display_texts(lm.tokenizer, prompt_ids) + display_texts(lm.tokenizer, output_ids)
    else:
        texts = display_texts(lm.tokenizer, prompt_ids + output_ids)
    ids = np.array(prompt_ids + output_ids, dtype=np.int64)
    return Generation(
        prompt_ids=ids[: len(prompt_ids)],
        output_ids=ids[len(prompt_ids) :],
        tokens=Tokens(ids, texts, len(prompt_ids)),
        logits=logits,
        logprobs=logprobs,
        ranks=ranks,
        start_ids=np.array(start_ids, dtype=np.int64),
        model=lm.name,
        settings=settings,
    )


@torch.no_grad()
def _score(
    lm: LanguageModel, prompt_ids: list[int], start_ids: list[int], output_ids: list[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logit, log-probability and rank of each output, from one teacher-forced pass."""
    count = len(output_ids)
    before = start_ids or prompt_ids
    ids = torch.tensor([before + output_ids[:-1]], device=lm.device)
    inputs = {"input_ids": ids}
    if lm.is_encoder_decoder:
        inputs = {
            "input_ids": torch.tensor([prompt_ids], device=lm.device),
            "decoder_input_ids": ids,
        }
    scores = []
    with quiet(lm.model):
        together = shares_forwards(lm, inputs, len(before))
        at_once = max(1, _SCORED_AT_ONCE // lm.vocabulary_size) if together else 1
        for first in range(0, count, at_once):
            chosen = torch.tensor(output_ids[first : first + at_once])
            last = len(before) + first + len(chosen) - 1
            logits = lm.model(
                **_prefix(inputs, last), use_cache=False, **keep_last(lm, len(chosen))
            )
            logits = logits.logits[0, -len(chosen) :].float()
            if torch.isnan(logits).any():
                raise ValueError(_NAN.format(name=lm.name))
            own = logits.gather(1, chosen.to(logits.device)[:, None])
            ranks = 1 + (logits > own).sum(1)
            scores.append((own[:, 0], (own - logits.logsumexp(1, keepdim=True))[:, 0], ranks))
    logit, logprob, rank = (torch.cat(column).cpu().numpy() for column in zip(*scores, strict=True))
    return logit, logprob, rank


def _prefix(inputs: dict[str, torch.Tensor], length: int) -> dict[str, torch.Tensor]:
    name = "decoder_input_ids" if "decoder_input_ids" in inputs else "input_ids"
    return {**inputs, name: inputs[name][:, :length]}


def _decoder_start(lm: LanguageModel) -> int:
    for config in (lm.model.generation_config, lm.model.config):
        start = getattr(config, "decoder_start_token_id", None)
        if start is not None:
            return int(start)
    raise ValueError(f"lm: the config of {lm.name!r} names no decoder_start_token_id")


def _check_can_generate(lm: LanguageModel) -> None:
    if not isinstance(lm, LanguageModel):
        raise TypeError(f"lm: got a {type(lm).__name__}, accepts what load() or wrap() returns")
    if not lm.model.can_generate():
        raise TypeError(
            f"lm: {lm.name!r} is a {type(lm.model).__name__}, which has no language-model head "
            "that writes on; accepted: causal language models and encoder–decoders"
        )


def _check_fits(lm: LanguageModel, prompt_ids: list[int], new: int, argument: str) -> None:
    """An encoder–decoder's output has positions of its own; others go on behind the prompt."""
    taken = 0 if lm.is_encoder_decoder else len(prompt_ids)
    if lm.context_length is not None and taken + new > lm.context_length:
        raise ValueError(
            f"{argument}: {taken} prompt tokens and {new} outputs need {taken + new} positions, "
            f"the context of {lm.name!r} holds {lm.context_length}"
        )
