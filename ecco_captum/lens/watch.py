r"""Watched tokens: candidates for one place, layer by layer, and the test of their order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ecco_captum.core.checks import UnsupportedError, check_whole, chosen_numbers
from ecco_captum.core.tokens import Tokens, display_texts, lone_texts
from ecco_captum.generation.generate import decoder_starts, scored_segments
from ecco_captum.generation.record import Generation
from ecco_captum.generation.segments import Text, Written, reading
from ecco_captum.generation.tasks import check_text, task_of
from ecco_captum.lens.record import OrderTest, WatchedRankings
from ecco_captum.lens.unembedding import Translators, layer_logits, read_translators
from ecco_captum.models.encoding import Prompt, encode_prompt, encode_token
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.models.modes import FORWARD_TOKENS, evaluation_mode
from ecco_captum.models.products import fast_products


def as_text(lm: LanguageModel, given: Prompt | Generation) -> tuple[Text, Tokens]:
    """The ids, and the tokens as a person reads them, of a prompt or a generation."""
    if isinstance(given, Generation):
        check_lens(lm, given)
        return given, given.tokens
    task = task_of(lm)
    if task == "classification":
        raise UnsupportedError(
            f"lm: {lm.name!r} is a classifier, whose head reads the last layer only"
        )
    encoded = encode_prompt(lm, given)
    ids = np.array(encoded.ids, dtype=np.int64)
    start = np.array(decoder_starts(lm) if task == "seq2seq" else [], dtype=np.int64)
    text = Written(ids, ids[:0], start, task, extra_inputs=encoded.arrays)
    texts = display_texts(lm.tokenizer, encoded.ids)
    return text, Tokens(ids, texts, len(ids), encoded.starts)


def what_is_read(text: Text, tokens: Tokens) -> list[str]:
    """What the model reads, token by token; positions are counted in it."""
    if text.task == "seq2seq":
        return ["(start)"] * len(text.start_ids) + list(tokens.texts[tokens.prompt_length :])
    if text.task == "masked":
        return list(tokens.texts[: tokens.prompt_length])
    return list(tokens.texts)


def asked_places(lm: LanguageModel, text: Text, position: Any) -> list[int]:
    """Reads the argument ``position``: ascending, from 0.

    It is an int, a list of them, a slice or "all"; -1 alone is the last mask of a text with masks.
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
    """Reads what each layer says of candidates, token ids, at some places of a text.

    Returns "ranks", "logits", "logprobs" and "probs", each (positions, layers, candidates), and
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
    """Reads the argument ``layers``: rows of the residual stream, ascending.

    0 is the embedding, k the stream after block k - 1. A model whose tail cannot be replayed has no
    lens, and raises an AnatomyError.
    """
    lm.anatomy.require("lens")
    return chosen_numbers("layers", layers, 1 + len(lm.anatomy.blocks))


def check_lens(lm: LanguageModel, generation: Generation) -> None:
    """Raises an error if a lens has nothing to say of a text, as of what a classifier read."""
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
        TypeError: if an argument is of another kind.
        UnsupportedError: if the model is a classifier.
        ValueError: if a watched text is not exactly one token (the message shows its pieces), there
            is no such position, or logits are NaN.

    Examples::

        >>> watched = rankings_watch(lm, "The keys to the cabinet", [" is", " are"])
        >>> watched.ranks[-1]
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


def order_test(
    lm: LanguageModel, prompt: Prompt, watch: Any = None, *, draws: int = 39, seed: int = 0
) -> OrderTest:
    r"""Compares the lead of a token with its lead after the same tokens in random orders.

    A permutation test of what :func:`rankings_watch` shows: a lead that stays owes nothing to what
    the text says. The first token, on which models rest attention that they have no use for, and
    the last, which the prediction is read from, stay in their places.

    Which token leads is seen on the text, so the same is done to every random order: each has a
    winner of its own, and what is ranked is how much further a winner leads in its own order than
    it does in the others on average. Only so is the p-value exact.

    Args:
        lm (LanguageModel): a causal model.
        prompt (str, list of messages, or ids): the text.
        watch (list of str or int, optional): two or more tokens that could follow, as
            :func:`rankings_watch` takes them. That with the highest logit is the winner. Default:
            the whole vocabulary
        draws (int, optional): how many orders. Default: 39, with which p is at least 1 in 40
        seed (int, optional): of the orders. Default: 0

    Returns:
        OrderTest: the lead, and the leads after shuffled texts.

    Raises:
        UnsupportedError: if the model is not causal, or the text has fewer than four tokens, which
            leaves no other order.
        ValueError: if fewer than two tokens are watched, or a watched text is not one token.

    Examples::

        >>> test = order_test(lm, "The keys to the cabinet", [" is", " are"])
        >>> test.watch_texts[0], len(test.shuffled)
        (' are', 39)
    """
    check_whole("draws", draws)
    check_whole("seed", seed, least=0)
    if task_of(lm) != "causal":
        raise UnsupportedError(f"lm: {lm.name!r} is not causal, accepts a model that writes on")
    encoded = encode_prompt(lm, prompt)
    if encoded.starts:
        raise UnsupportedError("prompt: got a pair of texts, whose order has no test; accepts one")
    ids = encoded.ids
    if len(ids) < 4:
        raise UnsupportedError(
            f"prompt: got {len(ids)} tokens, accepts 4 or more, two to be shuffled"
        )
    watched = None if watch is None else _watched(lm, watch)
    if watched is not None and len(watched) < 2:
        raise ValueError("watch: got one token, accepts two or more, one of which leads")
    middle, rng = np.array(ids[1:-1]), np.random.default_rng(seed)
    orders = [middle, *(rng.permutation(middle) for _ in range(draws))]
    texts = np.array([[ids[0], *order.tolist(), ids[-1]] for order in orders])
    logits = _next_logits(lm, texts, encoded.arrays)
    if watched is not None:
        logits = logits[:, watched]
    leads = _leads(logits)
    own = leads[0]
    names = _names(lm, logits[0], watched)
    return OrderTest(
        watch_texts=names,
        lead=float(own[0]),
        shuffled=own[1:],
        tokens=len(middle),
        model=lm.name,
        settings={"seed": seed},
        excess=(1 + 1 / draws) * (np.diag(leads) - leads.mean(axis=1)),
    )


@torch.no_grad()
def _next_logits(
    lm: LanguageModel, texts: np.ndarray, extra: Mapping[str, np.ndarray]
) -> np.ndarray:
    """(texts, vocabulary), what the model says of the token that follows each, (texts, tokens)."""
    rows, parts = max(1, FORWARD_TOKENS // texts.shape[1]), []
    with evaluation_mode(lm.model), fast_products():
        for start in range(0, len(texts), rows):
            ids = torch.from_numpy(texts[start : start + rows]).to(lm.device)
            inputs = {
                name: torch.from_numpy(row).to(lm.device).expand(len(ids), -1)
                for name, row in extra.items()
            }
            logits = lm.model(input_ids=ids, **inputs, use_cache=False).logits[:, -1]
            parts.append(logits.double().cpu().numpy())
    return np.concatenate(parts)


def _leads(logits: np.ndarray) -> np.ndarray:
    """(orders, orders): how far the winner of one order leads in each, of (orders, tokens)."""
    every = np.arange(len(logits))
    winners = logits.argmax(axis=1)
    first = logits[every, winners]
    rest = logits.copy()
    rest[every, winners] = -np.inf
    second = rest.max(axis=1)
    # The best of the others, where the winner of the row is the column's own, or is not.
    others = np.where(winners[:, None] == winners, second, first)
    return np.asarray(logits[:, winners].T - others)


def _names(lm: LanguageModel, logits: np.ndarray, watched: list[int] | None) -> tuple[str, ...]:
    """The winner's text, then the others'; of the whole vocabulary, that of the second."""
    order = np.argsort(-logits, kind="stable")
    if watched is None:
        return lone_texts(lm.tokenizer, order[:2].tolist())
    rest = [token for k, token in enumerate(watched) if k != order[0]]
    return lone_texts(lm.tokenizer, [watched[order[0]], *rest])
