r"""Integrated gradients with steps where the score bends.

Scores of language models jump on the way from a baseline to a text, and equal steps miss the
jumps. Here segments of the path are halved where the trapezoid rule is seen to be wrong: the true
change of the score over a segment is known, for free, from the scores at its ends.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ecco_captum.attribution.methods.base import MethodInput

_FIRST = 8  # equal segments to begin with: fewer could miss a jump on both sides of a middle

Gradients = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From embeddings, (1, positions, embedding), to scores, (targets,), and each one's gradient."""


def adaptive_integral(given: MethodInput, gradients: Gradients) -> Tensor:
    r"""Returns integrated gradients (Sundararajan et al. 2017), by adaptive trapezoids.

    The path is the straight line from the baseline. The residual of a segment from a to b is
    ``f(b) − f(a) − (b − a) (f'(a) + f'(b)) / 2``, what the trapezoid rule misses of the change of
    the score. The segment whose residuals, over all targets, are the largest is halved until the
    sum of their magnitudes is within ``tolerance`` of each target's difference, and their sum,
    which attributions miss together, within half of it; or ``max_steps`` points are taken.
    Magnitudes cannot cancel, as errors in the sum of all attributions do.
    Targets share points, which cost one forward and one backward each for all of them.
    No segment is halved whose ends the embeddings' precision can no longer tell apart.

    Of attributions that are summed over the embedding, (targets, positions), only the sums are
    kept at each point; else the points' gradients wait outside the accelerator for their weights.
    ``given.notes`` is told "residuals", (targets,), and "points".
    """
    inputs, baseline = given.inputs.detach(), given.baseline.detach()
    across = inputs - baseline
    summed = given.aggregate == "sum"
    points: dict[float, tuple[Tensor, Tensor, Tensor]] = {}

    def take(place: float) -> None:
        scores, gradient = gradients((baseline + place * across).requires_grad_())
        own = (gradient * across).detach()
        by_token = own.sum(dim=-1, dtype=torch.promote_types(own.dtype, torch.float32))
        slope = by_token.double().sum(dim=-1).cpu()
        kept = by_token if summed else own.cpu()
        points[place] = (scores.detach().double().cpu(), slope, kept)

    def residual(start: float, end: float) -> Tensor:
        (before, falling, _), (after, rising, _) = points[start], points[end]
        return after - before - (end - start) * (falling + rising) / 2

    for k in range(_FIRST + 1):
        take(k / _FIRST)
    change = (points[1.0][0] - points[0.0][0]).abs()
    # A difference near nothing cannot be met in parts of itself.
    scale = change.clamp_min(0.1 * float(change.mean())).clamp_min(torch.finfo(torch.float64).tiny)
    segments = {
        (k / _FIRST, (k + 1) / _FIRST): residual(k / _FIRST, (k + 1) / _FIRST)
        for k in range(_FIRST)
    }
    tolerance, most = float(given.options["tolerance"]), given.count("max_steps")
    shortest = torch.finfo(inputs.dtype).eps
    while len(points) < most:
        missed = torch.stack(list(segments.values())) / scale
        together = 2 * missed.sum(dim=0).abs()
        unsettled = torch.maximum(missed.abs().sum(dim=0), together) > tolerance
        wide = [pair for pair in segments if pair[1] - pair[0] >= 2 * shortest]
        if not unsettled.any() or not wide:
            break
        start, end = max(
            wide, key=lambda pair: float((segments[pair].abs() / scale)[unsettled].sum())
        )
        middle = (start + end) / 2
        take(middle)
        del segments[start, end]
        segments[start, middle], segments[middle, end] = (
            residual(start, middle),
            residual(middle, end),
        )
    given.notes["residuals"] = torch.stack(list(segments.values())).abs().sum(dim=0).numpy()
    given.notes["points"] = len(points)
    places = sorted(points)
    total: Tensor | float = 0.0
    for k, place in enumerate(places):
        before = place - places[max(k - 1, 0)]
        after = places[min(k + 1, len(places) - 1)] - place
        total = total + points[place][2] * ((before + after) / 2)
    return torch.as_tensor(total).to(inputs.device)
