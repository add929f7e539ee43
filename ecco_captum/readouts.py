r"""What is read off rows of logits: ranks, probabilities, and how far distributions lie apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

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
