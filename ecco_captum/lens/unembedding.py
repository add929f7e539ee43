r"""From hidden states to logits with the model's own tail: the logit lens.

nostalgebraist 2020, *interpreting GPT: the logit lens*; Alammar 2021, section 3. The tail (final
norm, scales, projections, head, soft-cap) is not rebuilt: the model runs it, on other states.
"""

from __future__ import annotations

import functools
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ecco_captum.core.checks import SlowPathWarning, UnsupportedError
from ecco_captum.generation.generate import segment_logits
from ecco_captum.generation.scores import logits_needed, rows_of_logits
from ecco_captum.generation.segments import Segment
from ecco_captum.models.causality import beginning, close_logits, reads_together
from ecco_captum.models.interventions import recorded_stream, replaced_output, replay_tail
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.models.modes import out_of_memory
from ecco_captum.models.products import fast_products

_WEIGHTS, _CONFIG = "params.pt", "config.json"


@dataclass(frozen=True)
class Translators:
    """One affine map for each layer but the last: a state h becomes ``h + matrix @ h + shift``.

    ``weights`` map a row of the stream (0 is the embedding) to matrix (width, width) and shift
    (width,); ``name`` is what titles call them.
    """

    weights: Mapping[int, tuple[Tensor, Tensor]]
    name: str = "tuned lens"

    def __call__(self, row: int, hidden: Tensor) -> Tensor:
        """Translates hidden states, (…, width); those of the last layer stay as they are."""
        if row not in self.weights:
            return hidden
        matrix, shift = (weight.to(hidden.device, hidden.dtype) for weight in self.weights[row])
        return hidden + torch.nn.functional.linear(hidden, matrix, shift)


def read_translators(lm: LanguageModel, lens: Any) -> Translators | None:
    """Reads the argument ``lens``; None stands for the identity, the logit lens.

    It is the folder that ``TunedLens.save`` of the library tuned-lens wrote (``config.json`` and
    ``params.pt``), or its state dict: names such as ``"0.weight"`` and ``"0.bias"`` (with or
    without ``layer_translators.`` before them), number k for the state that enters block k. Maps
    that do not fit the model's blocks and width raise a ValueError.
    """
    if lens is None:
        return None
    name = "tuned lens"
    if isinstance(lens, str | os.PathLike):
        folder = Path(lens)
        name = f"tuned lens {folder.name!r}"
        state = _state(folder)
    elif isinstance(lens, Mapping):
        state = {_plain(name): weight for name, weight in lens.items()}
        state = {name: weight for name, weight in state.items() if not name.startswith("unembed.")}
    else:
        raise TypeError(
            f"lens: got a {type(lens).__name__}, accepts the folder of a tuned lens, its state "
            "dict, or None for the logit lens"
        )
    blocks, width = len(lm.anatomy.blocks), lm.anatomy.stack.width
    return Translators(_checked_maps(state, blocks, width, lm.name), name)


def _state(folder: Path) -> Mapping[str, Any]:
    missing = [name for name in (_CONFIG, _WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"lens: {str(folder)!r} holds no {' and no '.join(missing)}, accepts a folder that "
            "TunedLens.save() wrote"
        )
    try:
        config = dict(json.loads((folder / _CONFIG).read_text(encoding="utf-8")))
        state = dict(torch.load(folder / _WEIGHTS, map_location="cpu", weights_only=True))
    except Exception as error:  # damaged files fail in as many ways as there are formats
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"lens: {str(folder)!r} could not be read ({type(error).__name__}: {reason}); accepts "
            "a folder that TunedLens.save() wrote"
        ) from error
    kind = config.get("lens_type", "linear_tuned_lens")
    if kind != "linear_tuned_lens":
        raise ValueError(f"lens: {str(folder)!r} is a {kind!r}, accepts a linear_tuned_lens")
    return state


def _plain(name: Any) -> str:
    return str(name).removeprefix("layer_translators.")


def _checked_maps(
    state: Mapping[str, Any], blocks: int, width: int, model: str
) -> dict[int, tuple[Tensor, Tensor]]:
    names = {f"{row}.{part}" for row in range(blocks) for part in ("weight", "bias")}
    required = {name for name in names if name.endswith("weight")}
    if not (required <= set(state) <= names):
        raise ValueError(
            f"lens: it has maps named {', '.join(sorted(map(str, state))[:4])}, …, accepts those "
            f"of the {blocks} blocks of {model!r}: 0.weight, 0.bias, … {blocks - 1}.bias; was it "
            "trained for another model?"
        )
    weights = {}
    for row in range(blocks):
        matrix, shift = state[f"{row}.weight"], state.get(f"{row}.bias", torch.zeros(width))
        if not isinstance(matrix, Tensor) or not isinstance(shift, Tensor):
            kinds = f"{type(matrix).__name__} and {type(shift).__name__}"
            raise TypeError(f"lens: map {row} is a {kinds}, accepts torch tensors")
        if not (torch.isfinite(matrix).all() and torch.isfinite(shift).all()):
            raise ValueError(f"lens: map {row} has numbers that are not finite")
        if matrix.shape != (width, width) or shift.shape != (width,):
            raise ValueError(
                f"lens: map {row} has shapes {tuple(matrix.shape)} and {tuple(shift.shape)}, "
                f"accepts ({width}, {width}) and ({width},), the width of {model!r}"
            )
        weights[row] = (matrix.detach(), shift.detach())
    return weights


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
        top_ids (Tensor): (rows,), int64, the top token.
        top_probs (Tensor): (rows,), the top token's probability.
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
    """Reads each row of logits, (rows, vocabulary), for its token of ``targets``, (rows,).

    ``final`` are the model's own distributions at the same places; row r belongs to its ``r %
    targets``.
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
    """Yields layers and their logits, (layers, targets, vocabulary), float32; first the last layer.

    Layers are rows of the stream: 0 is the embedding, k the stream after block k - 1. Never more
    than a few layers' logits are held. That the tail was run rightly is seen on the text itself:
    applied to the last layer's states, it has to give the model's own logits, or an
    UnsupportedError is raised. ``change`` makes of a segment a context in which the model reads it,
    such as what :func:`shuffled_blocks` gives.
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
        count = count if reads_together(lm.model) else 1
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
    inputs = beginning(segment.inputs, len(places)) if packed else dict(segment.inputs)
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
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        if out_of_memory(error):
            raise
        return None  # some models do not run on so short a text


def shuffled_blocks(
    lm: LanguageModel, segment: Segment, seed: int = 0
) -> AbstractContextManager[object]:
    """While active, each block's output is shuffled over the text's tokens; none keeps its own.

    There is one permutation for each block. Of an encoder–decoder, the blocks of the decoder are
    shuffled.
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
