r"""A text cut into segments: each reads only what its targets need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ecco_captum.core.checks import Task
from ecco_captum.models.anatomy.verify import TEXTS
from ecco_captum.models.causality import beginning, shares_forwards
from ecco_captum.models.encoding import continued
from ecco_captum.models.language_model import LanguageModel

# Larger chunks save forwards but leave the processor's cache and waste work above the triangle;
# 16 was the best of 8, 12, 16, 24 and 32 on a 135M model.
_MOST_TARGETS = 16


@dataclass(frozen=True)
class Segment:
    r"""What a model reads, and the outputs that are explained by it.

    Args:
        inputs (Mapping): what the model is given, each (1, positions): ``input_ids``, for an
            encoder–decoder ``decoder_input_ids``, and what else goes with the prompt's tokens.
        targets (Tensor): (targets,), token ids, or classes.
        places (tuple of int): the position whose logits score each target, counted from the end
            (-1 is the last), since some models put positions of their own before the text's.
            Empty for a classifier, which has one row of logits.
        rows (tuple of int): which rows of the result the targets are.
        started (int): how many tokens the decoder starts with.
    """

    inputs: Mapping[str, Tensor]
    targets: Tensor
    places: tuple[int, ...]
    rows: tuple[int, ...]
    started: int = 0

    @property
    def positions(self) -> int:
        """How many tokens are read, and may be attributed to."""
        return sum(ids.shape[1] for ids in self.texts.values()) - self.started

    @property
    def texts(self) -> dict[str, Tensor]:
        """The ids among the inputs, by the argument's name."""
        return {name: ids for name, ids in self.inputs.items() if name in TEXTS}

    @property
    def ids(self) -> Tensor:
        """(positions,), of the tokens that may be attributed to."""
        starts = {"decoder_input_ids": self.started}
        return torch.cat([row[0, starts.get(name, 0) :] for name, row in self.texts.items()])

    @property
    def written(self) -> str:
        """The argument whose text the targets follow."""
        return "decoder_input_ids" if "decoder_input_ids" in self.inputs else "input_ids"


class Text(Protocol):
    r"""What a segment is made of: a :class:`~ecco_captum.generation.generate.Generation`."""

    @property
    def prompt_ids(self) -> np.ndarray: ...
    @property
    def output_ids(self) -> np.ndarray: ...
    @property
    def start_ids(self) -> np.ndarray: ...
    @property
    def places(self) -> np.ndarray | None: ...
    @property
    def extra_inputs(self) -> Mapping[str, np.ndarray]: ...
    @property
    def task(self) -> Task: ...


@dataclass(frozen=True)
class Written:
    r"""A text that a model wrote, or was made to write: the least that a :class:`Text` holds."""

    prompt_ids: np.ndarray
    output_ids: np.ndarray
    start_ids: np.ndarray
    task: Task
    places: np.ndarray | None = None
    extra_inputs: Mapping[str, np.ndarray] = field(default_factory=dict)


def whole_segment(lm: LanguageModel, text: Text, chosen: Sequence[int]) -> Segment:
    """Returns a text as one segment, up to the last of the ``chosen`` outputs, its targets."""
    if text.task == "classification":
        rows = {"input_ids": text.prompt_ids, **text.extra_inputs}
        return Segment(
            inputs=_tensors(lm, rows),
            targets=torch.tensor(text.output_ids[list(chosen)], device=lm.device),
            places=(),
            rows=tuple(range(len(chosen))),
        )
    if text.places is not None:
        return token_segment(lm, text, [int(text.places[t]) for t in chosen])
    return token_segment(lm, text, [len(text.prompt_ids) + t for t in chosen])


def token_segment(lm: LanguageModel, text: Text, positions: Sequence[int]) -> Segment:
    """Returns a text as one segment whose targets are tokens of it.

    ``positions`` are theirs among prompt and outputs in order, ascending; in a text with masks,
    whose target is what fills them, among the text. It reads what is before the last target, or the
    whole of a text with masks.
    """
    prompt, outputs = text.prompt_ids, text.output_ids
    ids = np.concatenate([prompt, outputs])
    if text.task == "masked":
        filled = prompt.copy()
        if text.places is not None:
            filled[text.places] = outputs
        return reading(lm, text, positions, filled[list(positions)].tolist())
    before = 1 + (len(prompt) - len(text.start_ids) if text.task == "seq2seq" else 0)
    places = [position - before for position in positions]
    return reading(lm, text, places, ids[list(positions)].tolist())


def reading(
    lm: LanguageModel, text: Text, places: Sequence[int], targets: Sequence[int]
) -> Segment:
    """Returns a segment from the positions at which logits are read.

    ``places`` count, ascending, in what the model reads: prompt and outputs, an encoder–decoder's
    start and outputs, or the text with its masks; ``targets`` has a token id for each. The segment
    reads up to the last place, or the whole of a text with masks.
    """
    prompt, outputs = text.prompt_ids, text.output_ids
    end = places[-1] + 1
    rows = {"input_ids": prompt, **text.extra_inputs}
    if text.task == "seq2seq":
        rows["decoder_input_ids"] = np.concatenate([text.start_ids, outputs])[:end]
    elif text.task == "causal":
        rows = continued(text.extra_inputs, len(outputs))
        rows["input_ids"] = np.concatenate([prompt, outputs])
        rows = {name: row[:end] for name, row in rows.items()}
    else:
        end = len(prompt)
    return Segment(
        inputs=_tensors(lm, rows),
        targets=torch.tensor(targets, device=lm.device),
        places=tuple(place - end for place in places),
        rows=tuple(range(len(targets))),
        started=len(text.start_ids) if text.task == "seq2seq" else 0,
    )


def _tensors(lm: LanguageModel, rows: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.tensor(row[None], device=lm.device) for name, row in rows.items()}


def segments(
    lm: LanguageModel,
    task: Task,
    whole: Segment,
    budget: int | None = None,
    most: int | None = None,
) -> Iterator[Segment]:
    """Cuts a text into segments, the last targets first, so that the largest needs come first.

    The cost of all segments follows the triangle under (outputs, positions), not the square, and
    the gradients of one segment stay within the budget, in bytes; where none are taken (None), only
    targets that cannot share a forward are parted. ``most`` is the most targets of one segment.
    """
    if task in ("masked", "classification"):
        together = True
    else:
        before = whole.inputs[whole.written].shape[1] + whole.places[0] + 1
        together = shares_forwards(lm, whole.inputs, before)
    end = len(whole.targets)
    while end > 0:
        segment = _ending(whole, end) if task in ("causal", "seq2seq") else whole
        count = min(end, most or end) if together else 1
        if budget is not None:
            count = min(count, _targets_within(lm, segment.positions, budget))
        first = end - count
        yield replace(
            segment,
            targets=whole.targets[first:end],
            places=segment.places[first:end],
            rows=whole.rows[first:end],
        )
        end = first


def _ending(whole: Segment, end: int) -> Segment:
    """The beginning of a text: what is before target ``end - 1``."""
    cut = -1 - whole.places[end - 1]
    end = whole.inputs[whole.written].shape[1] - cut
    inputs = beginning(whole.inputs, end)
    return replace(whole, inputs=inputs, places=tuple(place + cut for place in whole.places))


def _targets_within(lm: LanguageModel, positions: int, memory_budget: int) -> int:
    """How many targets' gradients fit; what one needs was fitted to measured peaks."""
    stack = lm.anatomy.stack
    widths = [site.width for block in stack.blocks for site in block.neurons]
    neurons = max(widths, default=4 * stack.width)
    numbers = positions * (8 * stack.width + 6 * neurons)
    if lm.model.config._attn_implementation == "eager":
        heads = getattr(lm.model.config.get_text_config(), "num_attention_heads", 1)
        numbers += 3 * heads * positions**2
    bytes_a_target = max(1, numbers * lm.model.dtype.itemsize)
    return int(max(1, min(_MOST_TARGETS, memory_budget // bytes_a_target)))
