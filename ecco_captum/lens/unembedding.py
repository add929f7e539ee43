r"""From hidden states to logits with the model's own tail: the logit lens.

nostalgebraist 2020, *interpreting GPT: the logit lens*; Alammar 2021, section 3. The tail (final
norm, scales, projections, head, soft-cap) is not rebuilt: the model runs it, on other states.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from ecco_captum.core.errors import SlowPathWarning, UnsupportedError
from ecco_captum.generation.generate import segment_logits
from ecco_captum.generation.scores import logits_needed, rows_of_logits
from ecco_captum.generation.segments import Segment
from ecco_captum.lens.translators import Translators
from ecco_captum.models.causality import close_logits
from ecco_captum.models.interventions import recorded_stream, replaced_output, replay_tail
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.models.matmul import fast_products

# Logits worked on at once, in numbers: 512 k are 2 MB in float32, so that the several passes over
# them find them in the processor's cache.
_AT_ONCE = 2**19


@dataclass(frozen=True)
class Readout:
    r"""Of each row of logits, the numbers of one token and of the whole distribution.

    Args:
        ranks (Tensor): (rows,), int64, the token's rank; 1 is the best.
        logits (Tensor): (rows,), its logit.
        probs (Tensor): (rows,), its probability.
        top_ids (Tensor): (rows,), int64, the best token.
        top_probs (Tensor): (rows,), the best token's probability.
        cosine (Tensor): (rows,), cosine of the row's probabilities and the final ones.
        divergence (Tensor): (rows,), nats, Kullback–Leibler divergence of the row's distribution
            from the final one, ``sum(final * log(final / row))``.
    """

    ranks: Tensor
    logits: Tensor
    probs: Tensor
    top_ids: Tensor
    top_probs: Tensor
    cosine: Tensor
    divergence: Tensor


@dataclass(frozen=True)
class Final:
    """The model's own distributions, (targets, vocabulary), and what is needed of them."""

    probs: Tensor
    norms: Tensor
    negative_entropies: Tensor
    ruled_out: bool

    @classmethod
    def of(cls, logits: Tensor) -> Final:
        r"""Args: logits (Tensor): (targets, vocabulary), the model's own."""
        logprobs = logits.log_softmax(dim=1)
        probs = logprobs.exp()
        # A token that is ruled out has a probability of 0 and adds nothing.
        floor = torch.finfo(logprobs.dtype).min
        entropies = torch.linalg.vecdot(probs, logprobs.clamp_min_(floor))
        ruled_out = bool(torch.isneginf(logits).any())
        return cls(probs, probs.norm(dim=1), entropies, ruled_out)


@torch.no_grad()
def read_out(logits: Tensor, targets: Tensor, final: Final) -> Readout:
    r"""Reads every row of logits.

    Args:
        logits (Tensor): (rows, vocabulary).
        targets (Tensor): (rows,), which token each row is asked about.
        final (Final): the model's own distributions at the same places; row r belongs to its
            ``r % targets``.

    Returns:
        Readout: its numbers.
    """
    count = len(final.probs)
    size = max(1, _AT_ONCE // logits.shape[1])
    parts = []
    # A block never spans two rounds of the places, so that their rows are one slice.
    for start in range(0, len(logits), count):
        for first in range(start, min(start + count, len(logits)), size):
            end = min(first + size, start + count, len(logits))
            rows = slice(first, end)
            parts.append(
                _read_block(logits[rows], targets[rows], final, slice(first - start, end - start))
            )
    return Readout(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _read_block(logits: Tensor, targets: Tensor, final: Final, places: slice) -> tuple[Tensor, ...]:
    own = logits.gather(1, targets[:, None])
    ranks = 1 + (logits > own).sum(dim=1)
    top, top_ids = logits.max(dim=1, keepdim=True)
    below = logits - top
    probs = final.probs[places]
    # Zero times minus infinity is no number; a token that is ruled out adds nothing.
    weighed = below.where(probs > 0, 0.0) if final.ruled_out else below
    crossed = torch.linalg.vecdot(probs, weighed)
    weights = below.exp_()
    sums = weights.sum(dim=1)
    cosine = torch.linalg.vecdot(weights, probs) / (weights.norm(dim=1) * final.norms[places])
    divergence = final.negative_entropies[places] - crossed + sums.log()
    return (
        ranks,
        own[:, 0],
        (own - top).exp()[:, 0] / sums,
        top_ids[:, 0],
        1 / sums,
        cosine.clamp(0, 1),
        divergence.clamp_min(0),
    )


# Logits of one run of the tail, in numbers: 16 M are 64 MB in float32.
_LOGITS_AT_ONCE = 16 * 2**20

Change = Callable[[Segment], AbstractContextManager[object]]


@torch.no_grad()
def layer_logits(
    lm: LanguageModel,
    segment: Segment,
    layers: Sequence[int],
    *,
    translators: Translators | None = None,
    change: Change = lambda _: nullcontext(),
) -> Iterator[tuple[list[int], Tensor]]:
    r"""Gives what each layer would have said, the model's own last word first.

    Never more than a few layers' logits are held. That the tail was run rightly is seen on the
    text itself: applied to the last layer's states, it has to give the model's own logits.

    Args:
        lm (LanguageModel): the model, in evaluation mode; its anatomy has a lens.
        segment (Segment): what it reads, and where logits are wanted.
        layers (Sequence of int): rows of the stream: 0 is the embedding, k the stream after block
            k - 1.
        translators (Translators, optional): maps that are applied first. Default: none.
        change (Callable, optional): from a segment to a context in which the model reads it, such
            as what :func:`shuffled_blocks` gives. Default: nothing is changed.

    Returns:
        Iterator: pairs of layers and their logits, (layers, targets, vocabulary), float32. First
        comes the last layer, whether it was asked for or not.

    Raises:
        ValueError: if logits are NaN.
        UnsupportedError: if the tail does not give the model's own logits.
    """
    last = len(lm.anatomy.blocks)
    others = [layer for layer in layers if layer != last]
    for packed in (True, False):
        tail = _tail(lm, segment, change, packed)
        if tail is None:
            continue
        own, run = tail
        rows = len(own) if packed or logits_needed(lm, segment) else segment.positions
        count = max(1, _LOGITS_AT_ONCE // (rows * own.shape[1]))
        # The last layer runs with the first chunk, as the check.
        first = _attempt(run, [last, *others[: count - 1]], translators, packed)
        if first is None or not close_logits(own, first[0], lm.model.dtype):
            if packed:
                warnings.warn(
                    f"lm: the tail of {lm.name!r} depends on the whole text, so that reading its "
                    "layers is slower",
                    SlowPathWarning,
                    stacklevel=2,
                )
            continue
        yield [last], own[None]
        if len(first) > 1:
            yield _checked(lm, others[: count - 1], first[1:])
        del first
        for start in range(count - 1, len(others), count):
            chunk = others[start : start + count]
            yield _checked(lm, chunk, run(chunk, translators))
        return
    raise UnsupportedError(
        f"lm: the tail of {lm.name!r}, applied to the last layer's states of this text, does not "
        "give the model's own logits, so no other layer's would be right either"
    )


_Run = Callable[[Sequence[int], Translators | None], Tensor]


def _checked(lm: LanguageModel, layers: list[int], logits: Tensor) -> tuple[list[int], Tensor]:
    """Refuses NaN, which is larger than nothing and would rank every token first."""
    # The tail works row by row, and its weights gave the model's own logits: a row of which one
    # logit is no number has none.
    wrong = torch.isnan(logits[..., 0]).flatten(1).any(dim=1).tolist()
    if any(wrong):
        layer = layers[wrong.index(True)]
        raise ValueError(
            f"lm: the logits that layer {layer} of {lm.name!r} would give are NaN; does its dtype, "
            f"{lm.model.dtype}, overflow there, or are the lens's weights NaN?"
        )
    return layers, logits


def _tail(
    lm: LanguageModel, segment: Segment, change: Change, packed: bool
) -> tuple[Tensor, _Run] | None:
    """The model's own logits, and what runs its tail on layers of this segment.

    Packed, the states at the places asked are read as if they were a text of their own, which costs
    no more than the head on them. It fails where the stream has other positions than the text, or
    the tail depends on them; then it runs on the whole text.
    """
    length = segment.inputs[segment.written].shape[1]
    places = [place + length for place in segment.places]

    def select(hidden: Tensor) -> Tensor:
        return hidden[:, places] if packed and hidden.shape[1] == length else hidden

    model, anatomy = lm.model, lm.anatomy
    with change(segment), recorded_stream(model, anatomy.stack, select) as stream:
        own = segment_logits(lm, segment)
    if packed and any(hidden.shape[1] != len(places) for hidden in stream):
        return None
    inputs = dict(segment.inputs)
    if packed:
        inputs[segment.written] = inputs[segment.written][:, -len(places) :]
    needed = {} if packed else logits_needed(lm, segment)

    def run(layers: Sequence[int], translators: Translators | None) -> Tensor:
        hidden = torch.cat(
            [
                stream[layer] if translators is None else translators(layer, stream[layer])
                for layer in layers
            ]
        )
        text = {name: ids.expand(len(layers), -1) for name, ids in inputs.items()}
        with fast_products():
            logits = replay_tail(model, anatomy, {**text, **needed}, hidden)
        return (logits if packed else rows_of_logits(lm, segment, logits)).float()

    return own, run


def _attempt(
    run: _Run, layers: Sequence[int], translators: Translators | None, packed: bool
) -> Tensor | None:
    if not packed:
        return run(layers, translators)
    try:
        return run(layers, translators)
    except (IndexError, RuntimeError, TypeError, ValueError):
        # Some models do not run on so short a text.
        return None


def shuffled_blocks(
    lm: LanguageModel, segment: Segment, seed: int = 0
) -> AbstractContextManager[object]:
    r"""While active, each block's output is shuffled over the text's tokens.

    No token keeps its own. Of an encoder–decoder, the blocks of the decoder are shuffled.

    Args:
        lm (LanguageModel): the model.
        segment (Segment): the text that it will read, of two tokens or more.
        seed (int, optional): for the permutations, one a block. Default: 0

    Returns:
        ContextManager: puts the model back on leaving.
    """
    stack = lm.anatomy.stack
    start = stack.embedding.offset if stack.embedding is not None else 0
    end = start + segment.inputs[segment.written].shape[1]

    def shuffle(output: Tensor, row: int) -> Tensor:
        generator = torch.Generator().manual_seed(1_000_003 * seed + row)
        order = torch.arange(output.shape[stack.axes[1]])
        # One cycle through all of them in random order: Sattolo's permutations.
        cycle = start + torch.randperm(len(order[start:end]), generator=generator)
        order[cycle] = cycle.roll(1)
        return output.index_select(stack.axes[1], order.to(output.device))

    with ExitStack() as contexts:
        for row, block in enumerate(stack.blocks):
            contexts.enter_context(
                replaced_output(
                    lm.model.get_submodule(block.module),
                    functools.partial(shuffle, row=row),
                    call=block.call,
                    root=lm.model,
                )
            )
        return contexts.pop_all()
