r"""Watched tokens: several candidates for one place, layer by layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from ecco_captum.core.tokens import lone_texts
from ecco_captum.generation.record import Generation
from ecco_captum.lens.candidates import (
    as_text,
    asked_places,
    chosen_layers,
    read_candidates,
    token_texts,
    what_is_read,
)
from ecco_captum.lens.record import WatchedRankings
from ecco_captum.lens.translators import read_translators
from ecco_captum.models.encoding import Prompt, encode_token
from ecco_captum.models.language_model import LanguageModel


def rankings_watch(
    lm: LanguageModel,
    prompt_or_generation: Prompt | Generation,
    watch: Any,
    *,
    position: Any = -1,
    layers: Any = None,
    lens: Any = None,
) -> WatchedRankings:
    r"""Ranks candidates for one place by the hidden states of each layer (Alammar 2021, figure 8).

    Args:
        lm (LanguageModel): the model.
        prompt_or_generation (str, list of messages, ids, or Generation): the text.
        watch (str, int, or list of them): the tokens to watch: the text of one token as it follows
            (its leading space included), or an id.
        position (int, list of int, slice or "all", optional): where the model is asked, counted in
            what it reads: prompt and outputs in order; of an encoder–decoder, what its decoder
            starts with and the outputs. It says what follows there; a masked language model what
            stands there. Default: ``-1``, after the last token; at the last mask of a text.
        layers (slice, int, list of int, optional): rows of the residual stream, 0 for the embedding
            and k for the stream after block k - 1. Default: all.
        lens (str, PathLike or Mapping, optional): a tuned lens, as ``rankings`` takes it. Default:
            the logit lens.

    Returns:
        WatchedRankings: ranks, logits and probabilities, each (layers, watched), with a leading
        axis of positions where ``position`` is no single number.

    Raises:
        AnatomyError: if the model's tail cannot be replayed.
        TypeError: if the model is a classifier, or an argument of another kind.
        ValueError: if a watched text is not exactly one token (the message shows its pieces), there
            is no such position, or logits are NaN.

    Examples::

        >>> found = rankings_watch(lm, "The keys to the cabinet", [" is", " are"])
        >>> found.ranks[-1]
        array([28,  1])
    """
    text, tokens = as_text(lm, prompt_or_generation)
    ids = _watched(lm, watch)
    rows, translators = chosen_layers(lm, layers), read_translators(lm, lens)
    shown = what_is_read(text, tokens)
    places = asked_places(lm, text, position)
    tables = read_candidates(lm, text, places, ids, rows, translators)
    alone = isinstance(position, int | np.integer)
    names = ("ranks", "logits", "probs", "top_ids")
    arrays = {name: tables[name][0] if alone else tables[name] for name in names}
    return WatchedRankings(
        tokens=tokens,
        watch_ids=np.array(ids, dtype=np.int64),
        watch_texts=lone_texts(lm.tokenizer, ids),
        layers=np.array(rows, dtype=np.int64),
        positions=np.array(places, dtype=np.int64),
        places=tuple(shown[place] for place in places),
        texts=token_texts(lm, tables["top_ids"].ravel().tolist()),
        model=lm.name,
        lens=translators.name if translators else "logit lens",
        asked="at" if text.task == "masked" else "after",
        **arrays,
    )


def _watched(lm: LanguageModel, watch: Any) -> list[int]:
    """The ids of the tokens to watch."""
    if hasattr(watch, "tolist"):  # arrays and tensors
        watch = watch.tolist()
    listed = watch if isinstance(watch, list | tuple) else [watch]
    if len(listed) == 0:
        raise ValueError("watch: got an empty list, accepts at least one token")
    ids = [encode_token(lm, token, "watch") for token in listed]
    twice = [given for k, given in enumerate(listed) if ids[k] in ids[:k]]
    if twice:
        raise ValueError(f"watch: got {twice[0]!r} twice, accepts different tokens")
    return ids
