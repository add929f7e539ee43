r"""Generation: what the model wrote (or was made to write), token by token, with its scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ecco_captum.decoding import (
    generation_config,
    new_tokens,
    plain_options,
    progress_criteria,
    seeded,
)
from ecco_captum.encoding import Prompt, encode_continuation, encode_prompt, message_starts
from ecco_captum.models import LanguageModel
from ecco_captum.modes import quiet
from ecco_captum.passages import Written
from ecco_captum.prediction import predict
from ecco_captum.progress import Progress
from ecco_captum.records import Record
from ecco_captum.tables import data_frame
from ecco_captum.tasks import Task, task_of
from ecco_captum.teacher_forcing import NAN, teacher_forced
from ecco_captum.tokens import Tokens, display_texts

if TYPE_CHECKING:
    import pandas as pd


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
        task (str): what the outputs are: "causal" or "seq2seq" for written tokens, "masked" for
            words at a text's masks, "classification" for a class, whose id is its number.
        places (array, optional): (outputs,), int64, which of the prompt's tokens each output
            stands for, if it fills masks.

    Examples::

        >>> generation = generate(lm, "The capital of France is", max_new_tokens=5)
        >>> generation.ranks, len(generation.tokens)
        (array([1, 1, 1, 1, 1]), 10)
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
    task: Task = "causal"
    places: np.ndarray | None = None

    @property
    def prompt(self) -> str:
        """The prompt as text."""
        return "".join(self.tokens.texts[: len(self.prompt_ids)])

    @property
    def text(self) -> str:
        """The outputs as text."""
        texts = self.tokens.texts[len(self.prompt_ids) :]
        # Words at masks are no running text.
        return ("" if self.places is None else ", ").join(texts)

    def to_pandas(self) -> pd.DataFrame:
        r"""Returns one row an output token: output, token, id, logit, logprob, rank."""
        return data_frame(
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
    progress: Progress = None,
    **options: Any,
) -> Generation:
    r"""Lets the model write, with its own ``generate``; or fill masks, or name a class.

    A masked language model fills each mask of the text with its best token, and a classifier names
    the text's best class; both take no options.

    Args:
        lm (LanguageModel): the model.
        prompt (str, list of messages, or ids): a text, a chat, or token ids.
        max_new_tokens (int, optional): how many tokens it may write at most; it may stop earlier.
            Default: what ``generation_config`` says, else 32.
        seed (int, optional): seed for sampling; torch's own random state is left as it was.
        progress (bool or Callable, optional): whether to show a progress bar, or what is told the
            part that is done, 0 to 1. Default: a bar on a terminal and in notebooks.
        **options (Any): any option of transformers' ``GenerationConfig`` (do_sample, temperature,
            top_p, num_beams, repetition_penalty, …), or a whole one as ``generation_config``.
            Without ``do_sample=True`` there it is greedy (or a beam search), whatever the
            checkpoint's own defaults say.

    Returns:
        Generation: the output's ids are what the model chose; they are never decoded and encoded
        again.

    Raises:
        TypeError: if the model has no head that is known here, or takes no options.
        ValueError: if the prompt is empty or too long, an option is wrong, or logits are NaN.

    Examples::

        >>> generate(lm, "The capital of France is", max_new_tokens=5).text
        ' Paris.\n\nThe'
    """
    task = task_of(lm)
    if task in ("masked", "classification"):
        if options or max_new_tokens is not None or seed is not None:
            raise TypeError(
                f"options: {lm.name!r} does not write on, accepts none; it "
                + ("fills the text's masks" if task == "masked" else "names the text's class")
            )
        return _predicted(lm, task, prompt, None)
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
                raise ValueError(NAN.format(name=lm.name)) from error
            raise
    start = 1 if lm.is_encoder_decoder else len(prompt_ids)
    start_ids = sequence[:start].tolist() if lm.is_encoder_decoder else []
    settings = {"max_new_tokens": max_new_tokens, "seed": seed, **plain_options(options)}
    settings |= _chat(lm, prompt, prompt_ids)
    return _record(lm, prompt_ids, start_ids, sequence[start:].tolist(), settings)


def force_decode(lm: LanguageModel, prompt: Prompt, continuation: str | Any) -> Generation:
    r"""Scores a given continuation as if the model had chosen it.

    Args:
        lm (LanguageModel): the model.
        prompt (str, list of messages, or ids): what goes before.
        continuation (str or ids): what follows, its leading space included (``" Paris"``); text is
            cut into tokens as it would stand behind the prompt. One token for each mask, or a class
            (its name or number), where the model fills masks or classifies.

    Returns:
        Generation: its outputs are the continuation's tokens.

    Raises:
        TypeError: if the model has no head that is known here.
        ValueError: if the prompt or the continuation is empty, or both are too long.

    Examples::

        >>> force_decode(lm, "The capital of France is", " Rome").ranks
        array([45])
    """
    task = task_of(lm)
    if task in ("masked", "classification"):
        return _predicted(lm, task, prompt, continuation)
    prompt_ids = encode_prompt(lm, prompt)
    output_ids = encode_continuation(lm, prompt, continuation)
    _check_fits(lm, prompt_ids, len(output_ids), "continuation")
    start_ids = [decoder_start(lm)] if lm.is_encoder_decoder else []
    settings = {"forced": True, **_chat(lm, prompt, prompt_ids)}
    return _record(lm, prompt_ids, start_ids, output_ids, settings)


def _chat(lm: LanguageModel, prompt: Prompt, prompt_ids: list[int]) -> dict[str, Any]:
    """Where a chat's messages start, so that they can be told apart later."""
    starts = message_starts(lm, prompt, prompt_ids)
    return {"messages": starts} if starts else {}


def _predicted(lm: LanguageModel, task: Task, prompt: Prompt, wanted: Any) -> Generation:
    prompt_ids = encode_prompt(lm, prompt)
    found = predict(lm, task, prompt_ids, wanted)
    ids = np.array(prompt_ids + found["output_ids"], dtype=np.int64)
    texts = display_texts(lm.tokenizer, prompt_ids) + tuple(found["texts"])
    return Generation(
        prompt_ids=ids[: len(prompt_ids)],
        output_ids=ids[len(prompt_ids) :],
        tokens=Tokens(ids, texts, len(prompt_ids)),
        logits=found["logits"],
        logprobs=found["logprobs"],
        ranks=found["ranks"],
        start_ids=ids[:0],
        model=lm.name,
        settings={"forced": wanted is not None},
        task=task,
        places=found["places"] if task == "masked" else None,
    )


def _record(
    lm: LanguageModel,
    prompt_ids: list[int],
    start_ids: list[int],
    output_ids: list[int],
    settings: dict[str, Any],
) -> Generation:
    ids = np.array(prompt_ids + output_ids, dtype=np.int64)
    prompt, outputs = ids[: len(prompt_ids)], ids[len(prompt_ids) :]
    started, task = np.array(start_ids, dtype=np.int64), task_of(lm)
    logits, logprobs, ranks = teacher_forced(lm, Written(prompt, outputs, started, task))
    if lm.is_encoder_decoder:
        # Source and output are two texts: neither is decoded behind the other.
        texts = display_texts(lm.tokenizer, prompt_ids) + display_texts(lm.tokenizer, output_ids)
    else:
        texts = display_texts(lm.tokenizer, prompt_ids + output_ids)
    return Generation(
        prompt_ids=prompt,
        output_ids=outputs,
        tokens=Tokens(ids, texts, len(prompt_ids)),
        logits=logits,
        logprobs=logprobs,
        ranks=ranks,
        start_ids=started,
        model=lm.name,
        settings=settings,
        task=task,
    )


def decoder_start(lm: LanguageModel) -> int:
    """The id that an encoder–decoder's decoder starts with."""
    for config in (lm.model.generation_config, lm.model.config):
        start = getattr(config, "decoder_start_token_id", None)
        if start is not None:
            return int(start)
    raise ValueError(f"lm: the config of {lm.name!r} names no decoder_start_token_id")


def _check_fits(lm: LanguageModel, prompt_ids: list[int], new: int, argument: str) -> None:
    """An encoder–decoder's output has positions of its own; others go on behind the prompt."""
    taken = 0 if lm.is_encoder_decoder else len(prompt_ids)
    if lm.context_length is not None and taken + new > lm.context_length:
        raise ValueError(
            f"{argument}: {taken} prompt tokens and {new} outputs need {taken + new} positions, "
            f"the context of {lm.name!r} holds {lm.context_length}"
        )
