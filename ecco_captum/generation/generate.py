r"""What a model writes, is made to write, fills in or names, token by token, with its scores."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor

from ecco_captum.core.checks import Task, UnsupportedError
from ecco_captum.core.progress import Progress, progress_bar
from ecco_captum.core.tokens import Tokens, display_texts
from ecco_captum.generation.record import Generation
from ecco_captum.generation.scores import (
    class_index,
    log_probabilities,
    logits_needed,
    rows_of_logits,
)
from ecco_captum.generation.segments import Segment, Text, Written, segments, whole_segment
from ecco_captum.generation.tasks import classes_of, link_of, task_of
from ecco_captum.models.encoding import (
    EncodedPrompt,
    Prompt,
    encode_continuation,
    encode_prompt,
    message_starts,
)
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.models.modes import evaluation_mode
from ecco_captum.models.positions import position_limit

_SAMPLING_ONLY = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff")


def new_tokens(asked: int | None, options: dict[str, Any]) -> int:
    """How many tokens may be written: as asked, else as the user's own settings say, else 32."""
    given = options.get("generation_config")
    if given is not None and not isinstance(given, transformers.GenerationConfig):
        raise TypeError(
            f"generation_config: got a {type(given).__name__}, accepts a transformers "
            "GenerationConfig"
        )
    most = asked if asked is not None else getattr(given, "max_new_tokens", None)
    if most is None:
        return 32
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise ValueError(f"max_new_tokens: got {most!r}, accepts a whole number from 1")
    return most


def generation_config(lm: LanguageModel, max_new_tokens: int, options: dict[str, Any]) -> Any:
    """The checkpoint's generation settings, with the user's options, as one copy of its own."""
    options = dict(options)
    given = options.pop("generation_config", None)
    config = copy.deepcopy(given or lm.model.generation_config)
    unknown = sorted(name for name in options if not hasattr(config, name))
    if unknown:
        raise ValueError(
            f"options: {', '.join(unknown)} unknown; accepted: max_new_tokens, seed, progress and "
            "every option of transformers.GenerationConfig"
        )
    if options.get("token_healing", getattr(config, "token_healing", False)):
        raise ValueError("options: token_healing accepts False; it writes the prompt's end anew")
    if options.get("num_return_sequences", config.num_return_sequences) not in (None, 1):
        raise ValueError("options: num_return_sequences accepts 1; a Generation is one sequence")
    # A checkpoint's own default does not decide whether a draw is made; the user's settings do.
    options.setdefault("do_sample", bool(given is not None and given.do_sample))
    if not options["do_sample"]:
        # Left in place, the checkpoint's sampling defaults make transformers warn on each run.
        for name in _SAMPLING_ONLY:
            options.setdefault(name, None)
    options.update(max_new_tokens=max_new_tokens, max_length=None, return_dict_in_generate=False)
    if config.pad_token_id is None:
        options.setdefault("pad_token_id", _padding(lm, config))
    config.update(**options)
    return config


def _padding(lm: LanguageModel, config: Any) -> int | None:
    """One sequence is never padded, but transformers asks for the token."""
    end = config.eos_token_id
    end = end[0] if isinstance(end, list | tuple) else end
    return lm.tokenizer.pad_token_id if lm.tokenizer.pad_token_id is not None else end


def plain_options(options: dict[str, Any]) -> dict[str, Any]:
    """Options as they can be kept in a file."""
    kept = (str, int, float, bool, type(None))
    return {name: v if isinstance(v, kept) else str(v) for name, v in options.items()}


@contextlib.contextmanager
def seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    if seed is None:
        yield
        return
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ValueError(f"seed: got {seed!r}, accepts a whole number from 0 below 2^63")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def progress_criteria(total: int, progress: Progress) -> tuple[Any, Any]:
    """A criterion that never stops anything: it moves the bar, for every kind of decoding."""
    bar = progress_bar(progress, total=total, desc="Generating", unit="token")

    def advance(input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        bar.update()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)

    return transformers.StoppingCriteriaList([advance]), bar


# Logits held at once when outputs are scored, in numbers: 64 M are 256 MB in float32.
_SCORED_AT_ONCE = 64 * 2**20

NAN = (
    "lm: the logits of {name!r} are NaN; are its weights? (A checkpoint made for bfloat16 often "
    "overflows in float16.)"
)


@torch.no_grad()
def teacher_forced(lm: LanguageModel, text: Text) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logit, log-probability and rank of each output, (outputs,); NaN raises a ValueError."""
    whole = whole_segment(lm, text, range(len(text.output_ids)))
    count = len(whole.targets)
    columns = np.zeros(count, "f4"), np.zeros(count, "f4"), np.zeros(count, "i8")
    with evaluation_mode(lm.model):
        for segment in scored_segments(lm, text, whole):
            logits = segment_logits(lm, segment)
            own = logits.gather(1, segment.targets.to(logits.device)[:, None])
            values = (
                own[:, 0],
                (own - logits.logsumexp(1, keepdim=True))[:, 0],
                1 + (logits > own).sum(1),
            )
            for column, column_values in zip(columns, values, strict=True):
                column[list(segment.rows)] = column_values.cpu().numpy()
    return columns


def scored_segments(lm: LanguageModel, text: Text, whole: Segment) -> Iterator[Segment]:
    """A whole segment cut so that no forward gives more logits than are held at once."""
    return segments(lm, text.task, whole, most=max(1, _SCORED_AT_ONCE // lm.vocabulary_size))


def segment_logits(lm: LanguageModel, segment: Segment) -> Tensor:
    """(targets, vocabulary), float32, the logits that score a segment's targets."""
    output = lm.model(**segment.inputs, use_cache=False, **logits_needed(lm, segment))
    logits = rows_of_logits(lm, segment, output.logits)[0].float()
    if torch.isnan(logits).any():
        raise ValueError(NAN.format(name=lm.name))
    return logits


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
    the text's best class, all labels with a probability over 0.5 where each has one of its own, or
    a regression's values; both take no options.

    Args:
        lm (LanguageModel): the model.
        prompt (str, pair, list of messages, ids, or BatchEncoding): a text, a pair of texts (a
            tuple), a chat, token ids, or what the tokenizer returned for one sequence. What goes
            with the ids and the model accepts, such as ``token_type_ids``, reaches it. An empty
            text is the token that begins texts.
        max_new_tokens (int, optional): how many tokens it may write at most; it may stop earlier.
            Default: what ``generation_config`` says, else 32.
        seed (int, optional): seed for sampling; torch's own random state is left as it was.
        progress (bool or Callable, optional): whether to show a progress bar, or a function that
            is called with the part done, 0 to 1. Default: a bar on a terminal and in notebooks.
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
    encoded = encode_prompt(lm, prompt)
    prompt_ids = encoded.ids
    _check_fits(lm, prompt_ids, max_new_tokens, "max_new_tokens")
    config = generation_config(lm, max_new_tokens, options)
    inputs = torch.tensor([prompt_ids], device=lm.device)
    extra = {name: torch.tensor([row], device=lm.device) for name, row in encoded.extra.items()}
    criteria, bar = progress_criteria(max_new_tokens, progress)
    with evaluation_mode(lm.model), torch.no_grad(), seeded(seed, lm.device), bar:
        try:
            sequence = lm.model.generate(
                inputs,
                **{"attention_mask": torch.ones_like(inputs), **extra},
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
    return _record(lm, encoded, start_ids, sequence[start:].tolist(), settings)


def force_decode(lm: LanguageModel, prompt: Prompt, continuation: str | Any) -> Generation:
    r"""Scores a given continuation as if the model had chosen it.

    Args:
        lm (LanguageModel): the model.
        prompt (str, pair, list of messages, ids, or BatchEncoding): what goes before, as for
            :func:`generate`.
        continuation (str or ids): what follows, its leading space included (``" Paris"``); text is
            cut into tokens as it would stand behind the prompt. One token for each mask, or a class
            (its name or number), where the model fills masks or classifies.

    Returns:
        Generation: its outputs are the continuation's tokens. What ``generate`` forces an
        encoder–decoder to write first (``forced_bos_token_id``, as the language of a translation)
        goes before them, and is no output unless the continuation starts with it.

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
    encoded = encode_prompt(lm, prompt)
    output_ids = encode_continuation(lm, prompt, continuation)
    start_ids = decoder_starts(lm) if lm.is_encoder_decoder else []
    # What generation writes first of itself is an output where it is given as one.
    if len(start_ids) > 1 and output_ids[0] == start_ids[1]:
        start_ids = start_ids[:1]
    _check_fits(lm, encoded.ids, len(start_ids[1:]) + len(output_ids), "continuation")
    settings = {"forced": True, **_chat(lm, prompt, encoded.ids)}
    return _record(lm, encoded, start_ids, output_ids, settings)


def _chat(lm: LanguageModel, prompt: Prompt, prompt_ids: list[int]) -> dict[str, Any]:
    """Where a chat's messages start, so that messages can be separated later."""
    starts = message_starts(lm, prompt, prompt_ids)
    return {"messages": starts} if starts else {}


def _predicted(lm: LanguageModel, task: Task, prompt: Prompt, wanted: Any) -> Generation:
    encoded = encode_prompt(lm, prompt)
    prompt_ids = encoded.ids
    prediction = predict(lm, task, encoded, wanted)
    ids = np.array(prompt_ids + prediction["output_ids"], dtype=np.int64)
    texts = display_texts(lm.tokenizer, prompt_ids) + tuple(prediction["texts"])
    return Generation(
        prompt_ids=ids[: len(prompt_ids)],
        output_ids=ids[len(prompt_ids) :],
        tokens=Tokens(ids, texts, len(prompt_ids), encoded.starts),
        logits=prediction["logits"],
        logprobs=prediction["logprobs"],
        ranks=prediction["ranks"],
        start_ids=ids[:0],
        model=lm.name,
        settings={"forced": wanted is not None},
        task=task,
        places=prediction["places"] if task == "masked" else None,
        extra_inputs=encoded.arrays,
    )


def _record(
    lm: LanguageModel,
    encoded: EncodedPrompt,
    start_ids: list[int],
    output_ids: list[int],
    settings: dict[str, Any],
) -> Generation:
    prompt_ids = encoded.ids
    ids = np.array(prompt_ids + output_ids, dtype=np.int64)
    prompt, outputs = ids[: len(prompt_ids)], ids[len(prompt_ids) :]
    started, task, extra = np.array(start_ids, dtype=np.int64), task_of(lm), encoded.arrays
    text = Written(prompt, outputs, started, task, extra_inputs=extra)
    logits, logprobs, ranks = teacher_forced(lm, text)
    if lm.is_encoder_decoder:
        # Source and output are two texts: neither is decoded behind the other.
        texts = display_texts(lm.tokenizer, prompt_ids) + display_texts(lm.tokenizer, output_ids)
    else:
        texts = display_texts(lm.tokenizer, prompt_ids + output_ids)
    return Generation(
        prompt_ids=prompt,
        output_ids=outputs,
        tokens=Tokens(ids, texts, len(prompt_ids), encoded.starts),
        logits=logits,
        logprobs=logprobs,
        ranks=ranks,
        start_ids=started,
        model=lm.name,
        settings=settings,
        task=task,
        extra_inputs=extra,
    )


def decoder_starts(lm: LanguageModel) -> list[int]:
    """The ids that an encoder–decoder's outputs follow: its decoder's start, and a forced token.

    The second is what ``generate`` forces to be written first (``forced_bos_token_id``), such as
    the language of a translation.
    """
    configs = (lm.model.generation_config, lm.model.config)
    for name in ("decoder_start_token_id", "bos_token_id"):
        for config in configs:
            start = getattr(config, name, None)
            if start is not None:
                forced = lm.model.generation_config.forced_bos_token_id
                start = start[0] if isinstance(start, list | tuple) else start
                return [int(start), *([] if forced is None else [int(forced)])]
    raise ValueError(f"lm: the config of {lm.name!r} names no decoder_start_token_id")


def _check_fits(lm: LanguageModel, prompt_ids: list[int], new: int, argument: str) -> None:
    """An encoder–decoder's output has positions of its own; others go on behind the prompt."""
    taken = 0 if lm.is_encoder_decoder else len(prompt_ids)
    written = "decoder_input_ids" if lm.is_encoder_decoder else "input_ids"
    limit = position_limit(lm.model, written)
    if limit is not None and taken + new > limit:
        raise ValueError(
            f"{argument}: {taken} prompt tokens and {new} outputs need {taken + new} positions, "
            f"the context of {lm.name!r} holds {limit}"
        )


def predict(
    lm: LanguageModel, task: Task, encoded: EncodedPrompt, wanted: Any | None = None
) -> dict[str, Any]:
    """Fills a text's masks or names its class, or scores ``wanted`` instead.

    ``wanted`` is one token for each mask, or a class. Returns ``output_ids``, ``texts``,
    ``logits``, ``logprobs``, ``ranks`` and ``places``, each with one item an output.
    """
    prompt_ids = encoded.ids
    places = _masks(lm, prompt_ids) if task == "masked" else [-1]
    with evaluation_mode(lm.model), torch.no_grad():
        rows = {"input_ids": prompt_ids, **encoded.extra}
        inputs = {name: torch.tensor([row], device=lm.device) for name, row in rows.items()}
        logits = lm.model(**inputs).logits[0].float().cpu()
    if torch.isnan(logits).any():
        raise ValueError(f"lm: the logits of {lm.name!r} are NaN; are its weights?")
    if task == "masked":
        # Counted from the end: some models put positions of their own before the text's.
        rows = logits[[place - len(prompt_ids) for place in places]]
        chosen = rows.argmax(dim=1).tolist() if wanted is None else _fillers(lm, wanted, places)
        texts = [str(lm.tokenizer.decode([token])) for token in chosen]
    else:
        chosen = _classes(lm, logits) if wanted is None else [_class(lm, wanted)]
        rows = logits.expand(len(chosen), -1)
        texts = [classes_of(lm)[number] for number in chosen]
    each = torch.arange(len(chosen)), torch.tensor(chosen)
    own = rows[each]
    return {
        "output_ids": chosen,
        "texts": texts,
        "logits": own.numpy(),
        "logprobs": log_probabilities(rows, link_of(lm))[each].numpy(),
        "ranks": (1 + (rows > own[:, None]).sum(dim=1)).numpy(),
        "places": np.array(places, dtype=np.int64),
    }


def _masks(lm: LanguageModel, ids: list[int]) -> list[int]:
    mask = lm.tokenizer.mask_token_id
    places = [place for place, token in enumerate(ids) if token == mask]
    if mask is None or not places:
        raise ValueError(
            f"prompt: it has no mask for {lm.name!r} to fill; write "
            f"{lm.tokenizer.mask_token!r} where the word is missing"
        )
    return places


def _class(lm: LanguageModel, wanted: Any) -> int:
    return class_index(lm, wanted, "continuation")


def _classes(lm: LanguageModel, logits: Tensor) -> list[int]:
    """The class of a text; all labels that are likelier than not, or all of a regression's."""
    link = link_of(lm)
    if link == "softmax":
        return [int(logits.argmax())]
    chosen = torch.nonzero(logits > 0).flatten().tolist() if link == "sigmoid" else []
    if link == "sigmoid" and not chosen:
        best = int(logits.argmax())
        raise UnsupportedError(
            f"prompt: no label of {lm.name!r} has a probability over 0.5; the likeliest, "
            f"{classes_of(lm)[best]!r}, has {float(logits[best].sigmoid()):.2f}. force_decode() "
            "takes any label"
        )
    return chosen or list(range(len(logits)))


def _fillers(lm: LanguageModel, wanted: Any, places: list[int]) -> list[int]:
    ids = encode_continuation(lm, None, wanted)
    if len(ids) != len(places):
        pieces = [lm.tokenizer.decode([token]) for token in ids]
        raise ValueError(
            f"continuation: it is {len(ids)} tokens ({pieces}) for {len(places)} masks; accepts "
            "one token for each mask"
        )
    return ids
