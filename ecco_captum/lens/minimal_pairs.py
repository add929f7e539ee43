r"""Minimal pairs: which of two fillers each layer prefers, over many texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ecco_captum.core.checks import UnsupportedError
from ecco_captum.core.tokens import lone_texts
from ecco_captum.corpus.sources import texts_of
from ecco_captum.generation.tasks import task_of
from ecco_captum.lens.record import MinimalPairs
from ecco_captum.lens.unembedding import read_translators
from ecco_captum.lens.watch import as_text, asked_places, chosen_layers, read_candidates
from ecco_captum.models.encoding import encode_token
from ecco_captum.models.language_model import LanguageModel


def minimal_pairs(
    lm: LanguageModel,
    prompts: Any,
    fillers: Sequence[Any],
    *,
    blank: str = "___",
    layers: Any = None,
    lens: Any = None,
) -> MinimalPairs:
    r"""Asks in many texts which of two fillers each layer prefers, and from where on.

    A single text shows what a layer prefers there; only many show whether that has to do with what
    the pair differs in. See Linzen et al. 2016, *Assessing the ability of LSTMs to learn
    syntax-sensitive dependencies*, and Warstadt et al. 2020, *BLiMP*.

    Args:
        lm (LanguageModel): a causal or masked language model.
        prompts (str, list of str, file, table or column): texts with one blank each. A causal
            model reads what is before it, a masked model also what follows. Files, tables and
            columns as in :func:`neurons`.
        fillers (pair, or list of pairs): the filler that fits and the one that does not, as texts
            of one token or ids; one pair for all prompts, or one for each. A text gets a leading
            space where the blank has one before it.
        blank (str, optional): how the blank is written. Default: ``"___"``
        layers (slice, int, list of int, optional): as in :func:`rankings_watch`. Default: all.
        lens (str, PathLike or Mapping, optional): a tuned lens. Default: the logit lens.

    Returns:
        MinimalPairs: log-probabilities and ranks of both, (prompts, layers, 2), the layer of each
        prompt's crossing, and the margins.

    Raises:
        AnatomyError: if the model's tail cannot be replayed.
        UnsupportedError: if the model is neither causal nor masked.
        ValueError: if a prompt has not exactly one blank, or a filler is not one token.

    Examples::

        >>> prompts = ["The keys to the cabinet ___", "The dogs near the man ___"]
        >>> pairs = minimal_pairs(lm, prompts, ("are", "is"))
        >>> pairs.margins[:, -1] > 0  # whether the last layer prefers "are"
        array([ True,  True])
    """
    task = task_of(lm)
    if task not in ("causal", "masked"):
        raise UnsupportedError(
            f"lm: {lm.name!r} is of kind {task}, accepts causal and masked models"
        )
    if not isinstance(blank, str) or not blank:
        raise ValueError(f"blank: got {blank!r}, accepts a text")
    given = texts_of(prompts)
    prompts = prompts if given is None else list(given)
    texts: list[Any] = list(prompts) if isinstance(prompts, list | tuple) else [prompts]
    if not texts:
        raise ValueError("prompts: got an empty list, accepts at least one text")
    pairs = _pairs(fillers, len(texts))
    rows, translators = chosen_layers(lm, layers), read_translators(lm, lens)
    asked = [_asked(lm, text, pair, blank) for text, pair in zip(texts, pairs, strict=True)]
    shape = (len(texts), len(rows), 2)
    logprobs, ranks = np.zeros(shape, np.float32), np.zeros(shape, np.int64)
    for k, (text, ids) in enumerate(asked):
        written, _ = as_text(lm, text)
        places = asked_places(lm, written, -1)
        tables = read_candidates(lm, written, places, ids, rows, translators)
        logprobs[k], ranks[k] = tables["logprobs"][0], tables["ranks"][0]
    return MinimalPairs(
        prompts=tuple(texts),
        fillers=tuple(_both(lone_texts(lm.tokenizer, ids)) for _, ids in asked),
        filler_ids=np.array([ids for _, ids in asked], dtype=np.int64),
        layers=np.array(rows, dtype=np.int64),
        logprobs=logprobs,
        ranks=ranks,
        model=lm.name,
        lens=translators.name if translators else "logit lens",
    )


def _pairs(fillers: Sequence[Any], count: int) -> list[tuple[Any, Any]]:
    """One pair a prompt."""
    listed = list(fillers) if isinstance(fillers, list | tuple) else []
    alone = len(listed) == 2 and all(
        isinstance(filler, str | int | np.integer) for filler in listed
    )
    pairs = [listed] * count if alone else listed
    if len(pairs) != count or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
    ):
        raise ValueError(
            f"fillers: got {fillers!r}, accepts a pair (the one that fits first), or a list of "
            f"{count} pairs, one for each prompt"
        )
    return [(pair[0], pair[1]) for pair in pairs]


def _both(texts: tuple[str, ...]) -> tuple[str, str]:
    return texts[0], texts[1]


def _asked(
    lm: LanguageModel, prompt: str, pair: tuple[Any, Any], blank: str
) -> tuple[str, list[int]]:
    """The text that the model reads, and the ids of both fillers."""
    if not isinstance(prompt, str):
        raise TypeError(f"prompts: got a {type(prompt).__name__}, accepts texts")
    if prompt.count(blank) != 1:
        raise ValueError(
            f"prompts: {prompt!r} has {prompt.count(blank)} blanks {blank!r}, accepts one"
        )
    before, _, after = prompt.partition(blank)
    space = " " if before.endswith(" ") else ""
    spaced = [
        space + filler if isinstance(filler, str) and not filler.startswith(" ") else filler
        for filler in pair
    ]
    ids = [encode_token(lm, filler, "fillers") for filler in spaced]
    if ids[0] == ids[1]:
        raise ValueError(f"fillers: {pair!r} are the same token, accepts two different ones")
    if task_of(lm) == "masked":
        mask = str(lm.tokenizer.mask_token)
        if mask in prompt:
            raise ValueError(f"prompts: {prompt!r} has a {mask} beside its blank, accepts none")
        return before + mask + after, ids
    text = before.removesuffix(space)
    if not text:
        raise ValueError(f"prompts: {prompt!r} has nothing before its blank for the model to read")
    return text, ids
