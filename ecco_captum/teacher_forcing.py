r"""What a model scores a given text, from one pass over it."""

from __future__ import annotations

import numpy as np
import torch

from ecco_captum.causality import shares_forwards
from ecco_captum.models import LanguageModel, keep_last
from ecco_captum.modes import quiet

# Logits held at once when outputs are scored, in numbers: 64 M are 256 MB in float32.
_SCORED_AT_ONCE = 64 * 2**20

NAN = (
    "lm: the logits of {name!r} are NaN; are its weights? (A checkpoint made for bfloat16 often "
    "overflows in float16.)"
)


@torch.no_grad()
def teacher_forced(
    lm: LanguageModel, prompt_ids: list[int], start_ids: list[int], output_ids: list[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Returns logit, log-probability and rank of each output.

    Args:
        lm (LanguageModel): the model.
        prompt_ids (list of int): the prompt, or an encoder–decoder's source.
        start_ids (list of int): what a decoder starts with.
        output_ids (list of int): the outputs, at least one.

    Returns:
        tuple of array: each (outputs,).

    Raises:
        ValueError: if logits are NaN.
    """
    count = len(output_ids)
    before = start_ids or prompt_ids
    ids = torch.tensor([before + output_ids[:-1]], device=lm.device)
    inputs = {"input_ids": ids}
    if lm.is_encoder_decoder:
        inputs = {
            "input_ids": torch.tensor([prompt_ids], device=lm.device),
            "decoder_input_ids": ids,
        }
    scores = []
    with quiet(lm.model):
        together = shares_forwards(lm, inputs, len(before))
        at_once = max(1, _SCORED_AT_ONCE // lm.vocabulary_size) if together else 1
        for first in range(0, count, at_once):
            chosen = torch.tensor(output_ids[first : first + at_once])
            last = len(before) + first + len(chosen) - 1
            logits = lm.model(
                **_prefix(inputs, last), use_cache=False, **keep_last(lm, len(chosen))
            )
            logits = logits.logits[0, -len(chosen) :].float()
            if torch.isnan(logits).any():
                raise ValueError(NAN.format(name=lm.name))
            own = logits.gather(1, chosen.to(logits.device)[:, None])
            ranks = 1 + (logits > own).sum(1)
            scores.append((own[:, 0], (own - logits.logsumexp(1, keepdim=True))[:, 0], ranks))
    logit, logprob, rank = (torch.cat(column).cpu().numpy() for column in zip(*scores, strict=True))
    return logit, logprob, rank


def _prefix(inputs: dict[str, torch.Tensor], length: int) -> dict[str, torch.Tensor]:
    name = "decoder_input_ids" if "decoder_input_ids" in inputs else "input_ids"
    return {**inputs, name: inputs[name][:, :length]}
