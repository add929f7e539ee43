r"""The logit lens over a text: what each layer would have said at each token."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch

from ecco_captum.core.significance import rank_p_value
from ecco_captum.generation.generate import scored_segments
from ecco_captum.generation.record import Generation
from ecco_captum.generation.segments import Segment, token_segment
from ecco_captum.lens.record import LayerPredictions, Rankings, Value
from ecco_captum.lens.unembedding import (
    Change,
    Final,
    Readout,
    Translators,
    layer_logits,
    read_out,
    read_translators,
    shuffled_blocks,
)
from ecco_captum.lens.watch import check_lens, chosen_layers, token_texts
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.models.modes import evaluation_mode

Positions = Literal["outputs", "all"]

_INTEGERS = ("ranks", "top_ids")
_PROMPT, _PERMUTATIONS = 512, 999  # tokens of a prompt, and random orders of them


def rankings(
    lm: LanguageModel,
    generation: Generation,
    *,
    layers: Any = None,
    value: Value = "rank",
    positions: Positions = "outputs",
    lens: Any = None,
    control: bool = True,
) -> Rankings:
    r"""Ranks each token of a text by the hidden states of each layer (the logit lens).

    The hidden state of a layer goes through the model's own tail, as if it were the last one's:
    final norm, scales, projections, head, soft-cap. See nostalgebraist 2020, *interpreting GPT: the
    logit lens*, and Alammar 2021, figure 7. The last layer's ranks are the model's own.

    Three tests come with it: how far each layer's distribution is from the model's final one; the
    ranks under the same lens where every block's output was shuffled over the text's tokens, which
    leaves what the unembedding ranks first whatever the text; and whether the model predicts the
    prompt at all, of which its own tokens, always first at the end, say nothing: the tokens of the
    prompt must be more probable in their own places than in random order.

    Args:
        lm (LanguageModel): the model.
        generation (Generation): the text; a masked language model's fills masks.
        layers (slice, int, list of int, optional): rows of the residual stream, 0 for the embedding
            and k for the stream after block k - 1. Default: all.
        value (str, optional): what views show: "rank", "logit" or "prob". Default: ``"rank"``
        positions (str, optional): ``"outputs"``, or ``"all"`` for every token that the model can
            rank, the prompt's included: each but a causal model's first, all of a text with masks,
            an encoder–decoder's outputs. Default: ``"outputs"``
        lens (str, PathLike or Mapping, optional): a tuned lens: the folder that ``TunedLens.save``
            of the library tuned-lens wrote, or its state dict. Default: the logit lens.
        control (bool, optional): whether to run the shuffled model too, at the same cost once more,
            and to ask whether the model predicts the prompt. There is no shuffled model where a
            token follows a single one. An encoder–decoder's source is read as ever. Default: True

    Returns:
        Rankings: ranks, logits and probabilities, each (layers, columns).

    Raises:
        AnatomyError: if the model's tail cannot be replayed.
        UnsupportedError: if the model is a classifier.
        ValueError: if an argument is wrong, or logits are NaN.

    Examples::

        >>> ranked = rankings(lm, generation)
        >>> ranked.ranks.shape, ranked.ranks[-1]
        ((31, 5), array([1, 1, 1, 1, 1]))
        >>> ranked.decided  # from which layer on each token stays first
        array([30, 28, 13, 30, 30])
    """
    check_lens(lm, generation)
    if not isinstance(control, bool):
        raise ValueError(f"control: got {control!r}, accepts True or False")
    for name, given, kinds in (("value", value, Value), ("positions", positions, Positions)):
        if given not in get_args(kinds):
            accepted = ", ".join(map(repr, get_args(kinds)))
            raise ValueError(f"{name}: got {given!r}, accepts {accepted}")
    rows, translators = chosen_layers(lm, layers), read_translators(lm, lens)
    read, shown = _columns(generation, positions)
    whole = token_segment(lm, generation, read)
    tables = _tables(lm, generation, whole, rows, translators)
    shuffled = None
    if control and _shortest(lm, generation, whole) > 1:
        change = functools.partial(shuffled_blocks, lm)
        shuffled = _tables(lm, generation, whole, rows, translators, change)["ranks"]
    return Rankings(
        generation=generation,
        layers=np.array(rows, dtype=np.int64),
        positions=np.array(shown, dtype=np.int64),
        target_ids=whole.targets.cpu().numpy(),
        shuffled_ranks=shuffled,
        texts=token_texts(lm, tables["top_ids"].ravel().tolist()),
        value=value,
        lens=translators.name if translators else "logit lens",
        settings={"seed": 0} if control else {},
        p_prompt=_p_prompt(lm, generation) if control else None,
        **tables,
    )


def layer_predictions(
    lm: LanguageModel,
    generation: Generation,
    position: int,
    *,
    k: int = 10,
    layers: Any = None,
    lens: Any = None,
) -> LayerPredictions:
    r"""Returns the tokens that each layer would have put first in one place.

    Args:
        lm (LanguageModel): the model.
        generation (Generation): the text.
        position (int): which token is predicted, among prompt and outputs in order; negative ones
            count from the end, so that -1 is the last output. In a text with masks: a position of
            the text.
        k (int, optional): how many tokens of each layer. Default: 10
        layers (slice, int, list of int, optional): as in :func:`rankings`. Default: all.
        lens (str, PathLike or Mapping, optional): as in :func:`rankings`. Default: the logit lens.

    Returns:
        LayerPredictions: token ids and probabilities, each (layers, k), and the true token's ranks.

    Raises:
        AnatomyError: if the model's tail cannot be replayed.
        UnsupportedError: if the model is a classifier.
        ValueError: if an argument is wrong, or logits are NaN.

    Examples::

        >>> layer_predictions(lm, generation, -1, k=3).texts[-1]
        ['The', 'This', 'In']
    """
    check_lens(lm, generation)
    rows, translators = chosen_layers(lm, layers), read_translators(lm, lens)
    place = _position(generation, position)
    whole = token_segment(lm, generation, [place])
    true = int(whole.targets[0])
    whole_number = isinstance(k, int | np.integer) and not isinstance(k, bool)
    if not whole_number or not 1 <= k <= lm.vocabulary_size:
        raise ValueError(f"k: got {k!r}, accepts a whole number from 1 to {lm.vocabulary_size}")
    ids, probs, ranks = {}, {}, {}
    with evaluation_mode(lm.model), torch.no_grad():
        for chunk, logits in layer_logits(lm, whole, rows, translators=translators):
            for layer, row in zip(chunk, logits[:, 0], strict=True):
                best = row.softmax(dim=0).topk(min(int(k), len(row)))
                ids[layer], probs[layer] = best.indices.tolist(), best.values.tolist()
                ranks[layer] = 1 + int((row > row[true]).sum())
    token_ids = np.array([ids[layer] for layer in rows], dtype=np.int64)
    return LayerPredictions(
        generation=generation,
        layers=np.array(rows, dtype=np.int64),
        position=place,
        true_id=true,
        token_ids=token_ids,
        probs=np.array([probs[layer] for layer in rows], dtype=np.float32),
        ranks=np.array([ranks[layer] for layer in rows], dtype=np.int64),
        texts_by_id=token_texts(lm, [true, *token_ids.ravel().tolist()]),
        lens=translators.name if translators else "logit lens",
    )


def _columns(generation: Generation, positions: Positions) -> tuple[list[int], list[int]]:
    """Where logits are read for each column, and the token that it is about, both ascending."""
    start, end = len(generation.prompt_ids), len(generation.tokens)
    filled = (
        {}
        if generation.places is None
        else dict(zip(generation.places.tolist(), range(start, end), strict=True))
    )
    if generation.task == "masked":
        read = list(range(start)) if positions == "all" else list(filled)
        return read, [filled.get(place, place) for place in read]
    first = 1 if positions == "all" and generation.task == "causal" else start
    return [*range(first, end)], [*range(first, end)]


def _position(generation: Generation, position: int) -> int:
    """A position that the model predicts, counted from the start."""
    masked = generation.task == "masked"
    length = len(generation.prompt_ids) if masked else len(generation.tokens)
    first = {"causal": 1, "masked": 0}.get(generation.task, len(generation.prompt_ids))
    whole = isinstance(position, int | np.integer) and not isinstance(position, bool)
    place = int(position) % length if whole and -length <= position < length else -1
    if not first <= place < length:
        raise ValueError(
            f"position: got {position!r}, accepts {first} to {length - 1}, or {first - length} to "
            "-1: a token that the model predicts"
        )
    return place


@torch.no_grad()
def _p_prompt(lm: LanguageModel, generation: Generation) -> float | None:
    """How often the prompt's tokens are as probable in random order; None if nothing says so."""
    count = min(len(generation.prompt_ids), _PROMPT)
    if generation.task != "causal" or count < 3:
        return None
    whole = token_segment(lm, generation, range(1, count))
    targets, last = whole.targets, len(lm.anatomy.blocks)
    logprobs = np.zeros((count - 1, count - 1))
    with evaluation_mode(lm.model):
        for segment in scored_segments(lm, generation, whole):
            _, logits = next(iter(layer_logits(lm, segment, [last])))
            own = logits[0].log_softmax(dim=-1)[:, targets.to(logits.device)]
            logprobs[list(segment.rows)] = own.double().cpu().numpy()
    rng, rows = np.random.default_rng(0), np.arange(count - 1)
    orders = rng.permuted(np.tile(rows, (_PERMUTATIONS, 1)), axis=1)
    return float(rank_p_value(np.trace(logprobs) / len(rows), logprobs[rows, orders].mean(axis=1)))


def _shortest(lm: LanguageModel, generation: Generation, whole: Segment) -> int:
    """The fewest tokens that any of the forwards reads (or that its decoder does)."""
    with evaluation_mode(lm.model):
        cut = scored_segments(lm, generation, whole)
        return min(segment.inputs[segment.written].shape[1] for segment in cut)


def _tables(
    lm: LanguageModel,
    generation: Generation,
    whole: Segment,
    rows: Sequence[int],
    translators: Translators | None,
    change: Change = lambda _: contextlib.nullcontext(),
) -> dict[str, np.ndarray]:
    """Each number of a :class:`Readout`, (layers, columns)."""
    shape, last = (len(rows), len(whole.targets)), len(lm.anatomy.blocks)
    names = Readout.__dataclass_fields__
    tables = {name: np.zeros(shape, "i8" if name in _INTEGERS else "f4") for name in names}
    with evaluation_mode(lm.model):
        for segment in scored_segments(lm, generation, whole):
            final = None
            for chunk, logits in layer_logits(
                lm, segment, rows, translators=translators, change=change
            ):
                # The model's own logits come first.
                if final is None:
                    final = Final.of(logits[0])
                targets = segment.targets.to(logits.device).repeat(len(chunk))
                readout = read_out(logits.flatten(0, 1), targets, final)
                for name in names:
                    values = getattr(readout, name).view(len(chunk), -1).cpu().numpy()
                    for layer, row in zip(chunk, values, strict=True):
                        if layer in rows:
                            tables[name][rows.index(layer), list(segment.rows)] = row
    if last in rows:
        # A distribution is itself; rounding would say 1e-7.
        tables["cosine"][-1], tables["divergence"][-1] = 1, 0
    return tables
