r"""What a model scores a given text, from one pass over it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ecco_captum.models import LanguageModel
from ecco_captum.modes import quiet
from ecco_captum.passages import Passage, Text, passages, whole_passage
from ecco_captum.scoring import logits_needed, rows_of_logits

# Logits held at once when outputs are scored, in numbers: 64 M are 256 MB in float32.
_SCORED_AT_ONCE = 64 * 2**20

NAN = (
    "lm: the logits of {name!r} are NaN; are its weights? (A checkpoint made for bfloat16 often "
    "overflows in float16.)"
)


@torch.no_grad()
def teacher_forced(lm: LanguageModel, text: Text) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Returns logit, log-probability and rank of each output.

    Args:
        lm (LanguageModel): the model.
        text (Text): prompt and outputs, at least one.

    Returns:
        tuple of array: each (outputs,).

    Raises:
        ValueError: if logits are NaN.
    """
    whole = whole_passage(lm, text, range(len(text.output_ids)))
    count = len(whole.targets)
    columns = np.zeros(count, "f4"), np.zeros(count, "f4"), np.zeros(count, "i8")
    with quiet(lm.model):
        for passage in scored_passages(lm, text, whole):
            logits = passage_logits(lm, passage)
            own = logits.gather(1, passage.targets.to(logits.device)[:, None])
            found = (
                own[:, 0],
                (own - logits.logsumexp(1, keepdim=True))[:, 0],
                1 + (logits > own).sum(1),
            )
            for column, values in zip(columns, found, strict=True):
                column[list(passage.rows)] = values.cpu().numpy()
    return columns


def scored_passages(lm: LanguageModel, text: Text, whole: Passage) -> Iterator[Passage]:
    """A whole passage cut so that no forward gives more logits than are held at once."""
    return passages(lm, text.task, whole, most=max(1, _SCORED_AT_ONCE // lm.vocabulary_size))


def passage_logits(lm: LanguageModel, passage: Passage) -> Tensor:
    r"""Runs the model over a passage.

    Args:
        lm (LanguageModel): the model, in evaluation mode.
        passage (Passage): what it reads.

    Returns:
        Tensor: (targets, vocabulary), float32, the logits that score each target.

    Raises:
        ValueError: if logits are NaN.
    """
    output = lm.model(**passage.inputs, use_cache=False, **logits_needed(lm, passage))
    logits = rows_of_logits(lm, passage, output.logits)[0].float()
    if torch.isnan(logits).any():
        raise ValueError(NAN.format(name=lm.name))
    return logits
