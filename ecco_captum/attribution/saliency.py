r"""Input saliency: where each output token came from."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

from ecco_captum.attribution.methods.attention import ATTENTION_METHODS
from ecco_captum.attribution.methods.base import (
    Method,
    MethodInput,
    baseline_embeddings,
    baseline_token_ids,
    other_ways,
)
from ecco_captum.attribution.methods.catalogue import get_method
from ecco_captum.attribution.methods.masked_scorer import MaskedScorer
from ecco_captum.attribution.record import Attribution, Named
from ecco_captum.core.checks import UnsupportedError, check_whole, chosen_numbers
from ecco_captum.core.progress import Progress, progress_bar
from ecco_captum.generation.record import Generation
from ecco_captum.generation.scores import Scoring, embedded, scoring, target_scores
from ecco_captum.generation.segments import Segment, segments, whole_segment
from ecco_captum.generation.tasks import check_gradients, check_text, plain, task_of
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.models.modes import checkpointed, evaluation_mode

# The share of the difference that attributions may miss without a warning.
_LARGE_DELTA = 0.05
_CHANGE_BACKWARD = ("attn_lrp", "gim", "deep_lift", "deep_lift_shap")


def saliency(
    lm: LanguageModel,
    generation: Generation,
    *,
    method: Any = "input_x_gradient",
    score: str = "logit",
    versus: Any = None,
    aggregate: Aggregate | None = None,
    outputs: slice | Sequence[int] | int | None = None,
    seed: int = 0,
    checkpointing: bool = False,
    memory_budget: int = 2**30,
    progress: Progress = None,
    **options: Any,
) -> Attribution:
    r"""Attributes the score of each output to the tokens that the model read before it.

    By default the score of output t is its logit where the model chose it, and the method gradient
    × input: each number of each earlier token's embedding (the embedding module's output) gets an
    attribution, and their L2 norm is the token's saliency: ``‖∇ f_t(X_i) ⊙ X_i‖₂``, the equation of
    Ecco's paper (Alammar 2021, section 2). Earlier outputs are inputs too; an encoder–decoder's
    inputs are its source and its earlier outputs; a masked language model's and a classifier's are
    the text.

    Targets go through the model together, a chunk at a time, and each chunk reads only the prefix
    that it needs; the numbers equal those of one pass a token up to rounding (those of integrated
    gradients within their ``tolerance``, unless ``n_steps`` is given: targets share the steps).
    Perturbation methods score all targets from one forward a perturbed text.

    Args:
        lm (LanguageModel): the model that wrote, or would have written, the text.
        generation (Generation): the text, from :func:`generate` or :func:`force_decode`.
        method (str, type or object, optional): ``"input_x_gradient"``, ``"saliency"``,
            ``"integrated_gradients"``, ``"gradient_shap"``, ``"smooth_grad"``, ``"deep_lift"``,
            ``"deep_lift_shap"``, ``"guided_backprop"``, ``"deconvolution"``, ``"attn_lrp"``,
            ``"gim"``,
            ``"feature_ablation"``, ``"occlusion"``, ``"shapley_value_sampling"``,
            ``"kernel_shap"``, ``"lime"``, ``"attention"`` or ``"attention_rollout"``; Ecco's names
            (``"ig"``, ``"grad_x_input"``, …); or a class or an object of ``captum.attr``.
        score (str, optional): what is explained of each output: ``"logit"``, ``"logprob"``,
            ``"prob"``, or the ``"entropy"`` of the distribution it was chosen from (nats).
        versus (str, int, or list, optional): a foil: the score's difference to this token's (or
            these tokens' mean) is explained: why *are* rather than *is*.
        aggregate (str or Callable, optional): how an embedding's attributions become one number:
            ``"l2"``, ``"sum"`` (keeps the sign), ``"l1"``, ``"max_abs"``, or a function from
            (targets, positions, embedding) to (targets, positions). Default: the sum for methods
            whose attributions add up to the score (integrated gradients, DeepLIFT, gradient SHAP,
            AttnLRP), else the L2 norm.
        outputs (slice, list, or int, optional): which outputs to explain. Default: all.
        seed (int, optional): for methods that draw. Global random states are left as they were.
        checkpointing (bool, optional): whether to compute activations again instead of keeping
            them: a long text then needs less memory and more time.
        memory_budget (int, optional): bytes that one chunk's gradients may take, beside the model
            and one forward's activations. A lower budget costs time.
        progress (bool or Callable, optional): whether to show a progress bar, or a function that
            is called with the part done, 0 to 1. Default: a bar on a terminal and in notebooks.
        **options (Any): the method's own. Of methods with a baseline: ``baseline`` and
            ``keep_first``. Of integrated gradients ``n_steps`` (Captum's rule, Gauss–Legendre), or
            by default steps where the score bends: at most ``max_steps`` (128), until what they
            miss is within ``tolerance`` (0.1) of the difference. ``n_samples``, ``noise`` (relative
            to the embeddings' standard deviation), ``window`` (occlusion), ``alpha`` (LIME,
            relative to the scores' spread); for a Captum object, what its ``attribute`` accepts.

            ``baseline`` (str, int or Tensor) is what stands for an absent token: ``"zero"``,
            ``"mean"`` (over the vocabulary), ``"pad"``, ``"mask"``, ``"tokens"`` (drawn texts), a
            token id, or embeddings that broadcast to (1, positions, embedding). Default:
            ``"tokens"`` for gradient and DeepLIFT SHAP, else ``"mean"``. (At ``"zero"`` a
            root-mean-square norm is singular.)

            ``keep_first`` (bool) says whether the text's first token stays itself in the baseline,
            so that its attribution is 0. Default: on models that write from left to right, for the
            methods that follow a path to the baseline (integrated gradients, gradient SHAP,
            DeepLIFT): many such models dump attention on their first token whatever it is (Xiao et
            al. 2023), and on the way to another one their scores jump, which no number of steps
            integrates.

    Returns:
        Attribution: scores of shape (explained outputs, prompt + outputs).

    Raises:
        TypeError: if the model's outputs are of no known kind, or an argument is of a wrong type.
        ValueError: if an argument has no such value, the ids are not the model's, the method does
            not run on this model (with the reason), or gradients are not finite.

    Examples::

        >>> attribution = saliency(lm, generate(lm, "The capital of France is", max_new_tokens=5))
        >>> attribution.tokens.texts[attribution.shares[0].argmax()]
        ' capital'
        >>> why = saliency(lm, generation, method="attn_lrp", versus=" London", outputs=[0])
        >>> why.scores.shape
        (1, 10)
    """
    request = _read_request(
        lm, generation, get_method(method), score, versus, aggregate, outputs, seed, options
    )
    check_whole("memory_budget", memory_budget)
    if checkpointing and request.method.name in _CHANGE_BACKWARD:
        raise ValueError(
            f"checkpointing: {request.method.name} changes the backward pass, accepts False"
        )
    recomputing = checkpointed(lm) if checkpointing else contextlib.nullcontext()
    bar = progress_bar(progress, total=1.0, desc="Attributing", bar_format=_FORM)
    # A caller's inference_mode would leave nothing to take gradients of.
    with torch.inference_mode(False), evaluation_mode(lm.model), recomputing, bar:
        results = _attribute(lm, generation, request, memory_budget, bar)
    if request.method.complete:
        _warn_of_delta(request.method, results, request.options)
    return Attribution(
        generation,
        results.scores,
        request.method.name,
        outputs=np.array(request.outputs, dtype=np.int64),
        label=request.method.label,
        score=request.scoring.score,
        versus=request.scoring.names,
        foils=request.scoring.foils,
        aggregate=aggregate_name(request.aggregate) if request.aggregate else "",
        deltas=results.deltas if request.method.complete else None,
        differences=results.differences if request.method.complete else None,
        settings={**request.settings, **({"points": results.points} if results.points else {})},
        left_as_is=_left(lm, generation, request),
        sinks=_sinks(lm, generation),
        residuals=results.residuals if results.points else None,
    )


def _sinks(lm: LanguageModel, generation: Generation) -> tuple[int, ...]:
    """The first position, and those of the tokenizer's beginning-of-text token."""
    marks = np.flatnonzero(generation.tokens.ids == lm.tokenizer.bos_token_id).tolist()
    return tuple(sorted({0, *marks}))


@dataclass(frozen=True)
class _Request:
    """What was asked for, read and checked; ``options`` are the method's own."""

    method: Method
    scoring: Scoring
    aggregate: Aggregate | None
    outputs: list[int]
    baseline: Any
    keep_first: bool
    seed: int
    options: dict[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """As a record keeps it."""
        settings = {name: plain(value) for name, value in self.options.items()}
        if self.method.baseline is not None:
            settings |= {"baseline": plain(self.baseline), "keep_first": self.keep_first}
        return {**settings, "seed": self.seed}


def _read_request(
    lm: LanguageModel,
    generation: Generation,
    method: Method,
    score: str,
    versus: Any,
    aggregate: Aggregate | None,
    outputs: Any,
    seed: int,
    options: dict[str, Any],
) -> _Request:
    """Refuses what is wrong, or means nothing to the method."""
    check_text(lm, generation)
    if method.differentiates:
        check_gradients(lm)
    check_whole("seed", seed, least=0)
    if aggregate is not None and method.aggregate is None:
        raise ValueError(f"aggregate: {method.name} attributes to whole tokens, accepts None")
    if (score != "logit" or versus is not None) and method in ATTENTION_METHODS:
        raise ValueError(f"score: {method.name} depends on no score, accepts the defaults")
    baseline, keep_first = options.pop("baseline", None), options.pop("keep_first", None)
    for name, value in (("baseline", baseline), ("keep_first", keep_first)):
        if value is not None and method.baseline is None:
            raise ValueError(f"{name}: {method.name} has no baseline, accepts None")
    if keep_first is None:
        keep_first = task_of(lm) == "causal" and method.keeps_first
    aggregate = aggregate or method.aggregate
    if aggregate is not None:
        check_aggregate(aggregate)
    return _Request(
        method,
        scoring(lm, score, versus),
        aggregate,
        chosen_numbers("outputs", outputs, len(generation.output_ids)),
        method.baseline if baseline is None else baseline,
        keep_first,
        seed,
        method.read_options(options),
    )


@dataclass
class _Results:
    """Filled segment by segment: (outputs, positions) and (outputs,)."""

    scores: np.ndarray
    deltas: np.ndarray
    differences: np.ndarray
    residuals: np.ndarray
    points: int = 0


def _attribute(
    lm: LanguageModel, generation: Generation, request: _Request, memory_budget: int, bar: Any
) -> _Results:
    """Attributes a segment's outputs at a time."""
    method, count = request.method, len(request.outputs)
    scores = np.zeros((count, len(generation.tokens)), dtype=np.float32)
    results = _Results(scores, np.zeros(count), np.zeros(count), np.full(count, np.nan))
    whole = whole_segment(lm, generation, request.outputs)
    embeddings = embedded(lm, whole)
    baseline = _baseline(lm, whole, embeddings, request)
    ids = _baseline_ids(lm, whole, request)
    budget = memory_budget if method.differentiates else None
    for segment in segments(lm, task_of(lm), whole, budget):
        end, rows = segment.positions, list(segment.rows)
        given = MethodInput(
            lm,
            segment,
            request.scoring,
            embeddings[:, :end].detach().requires_grad_(method.differentiates),
            baseline[:, :end],
            request.options,
            request.seed,
            None if ids is None else ids[:end],
            _progress_of(bar, request, segment),
            request.aggregate,
        )
        attributions = method.attribute(given).detach()
        results.scores[rows, :end] = _by_token(given, attributions, request)
        if method.complete:
            results.differences[rows] = _difference(given)
            sums = attributions.double().flatten(1).sum(dim=1).cpu().numpy()
            results.deltas[rows] = sums - results.differences[rows]
        if "residuals" in given.notes:
            results.residuals[rows] = given.notes["residuals"]
            results.points = max(results.points, given.notes["points"])
    return results


def _baseline(lm: LanguageModel, whole: Segment, embeddings: Tensor, request: _Request) -> Tensor:
    """(1 or texts, positions, embedding); the text itself for methods without a baseline."""
    method = request.method
    if method.baseline is None:
        return embeddings
    baselines = baseline_embeddings(lm, whole, embeddings, request.baseline, request.seed)
    if len(baselines) > 1 and not method.several:
        raise ValueError(
            f"baseline: got {len(baselines)} texts, {method.name} accepts one; gradient_shap and "
            "deep_lift_shap average over several"
        )
    if request.keep_first:
        first = embeddings[:, :1].expand(len(baselines), -1, -1)
        baselines = torch.cat([first, baselines[:, 1:]], dim=1)
    return baselines


def _baseline_ids(lm: LanguageModel, whole: Segment, request: _Request) -> Tensor | None:
    """(positions,), where the method puts a token in a token's place."""
    if not request.method.removes:
        return None
    ids = baseline_token_ids(lm, whole, request.baseline)
    if ids is not None and request.keep_first:
        ids[0] = whole.ids[0]
    return ids


def _left(lm: LanguageModel, generation: Generation, request: _Request) -> tuple[str, ...]:
    """The ways into the model that a method leaves as they are."""
    method = request.method
    whole = whole_segment(lm, generation, request.outputs)
    moves = method.differentiates or method.baseline is not None
    swapped = _baseline_ids(lm, whole, request) is not None
    return other_ways(lm) if moves and not swapped else ()


def _by_token(given: MethodInput, attributions: Tensor, request: _Request) -> np.ndarray:
    """(targets, positions): one number a token, 0 where a target cannot depend on it."""
    if request.aggregate is not None and attributions.ndim == 3:
        attributions = aggregated(attributions, request.aggregate)
    scores = attributions.float().cpu()
    if not torch.isfinite(scores).all():
        row = given.segment.rows[int((~torch.isfinite(scores)).any(dim=1).nonzero()[0])]
        raise UnsupportedError(
            f"lm: the gradient of output {request.outputs[row]} is not finite in "
            f"{given.lm.name!r}; are its weights? (Their dtype is {given.lm.model.dtype}; float16 "
            "overflows early.)"
        )
    known = torch.arange(scores.shape[1])[None] < given.known[:, None]
    return torch.where(known, scores, 0.0).numpy()


@torch.no_grad()
def _difference(given: MethodInput) -> np.ndarray:
    """(targets,): the score of the text less that of its baseline, which a complete method
    distributes."""
    if given.baseline_ids is not None:
        presence = torch.tensor([[1.0], [0.0]]).expand(-1, given.segment.positions)
        both = MaskedScorer(replace(given, progress=lambda texts: None)).scores(presence).double()
        return (both[0] - both[1]).numpy()
    forward = target_scores(given.lm, given.segment, given.scoring)
    whole = forward(given.inputs).double()[0]
    absent = [forward(baseline).double()[0] for baseline in given.baseline.split(1)]
    return (whole - torch.stack(absent).mean(dim=0)).cpu().numpy()


def _warn_of_delta(method: Method, results: _Results, options: Mapping[str, Any]) -> None:
    """Of an integral whose steps were chosen by what they miss, that; else of what sums miss.

    What single steps miss cannot cancel, as it does in the sum of all attributions.
    """
    difference = np.abs(results.differences).mean()
    if results.points:
        missed, most = results.residuals.mean(), options["tolerance"]
        if missed > most * difference:
            warnings.warn(
                f"{method.name}: after {results.points} steps the integral may miss up to "
                f"{missed:.2g} of {difference:.2g} on average (see .residuals); more max_steps "
                "make it smaller",
                stacklevel=3,
            )
        return
    delta = np.abs(results.deltas).mean()
    if delta > _LARGE_DELTA * difference:
        more = "; more n_steps make it smaller" if "n_steps" in (method.defaults or ()) else ""
        warnings.warn(
            f"{method.name}: attributions miss the difference that they should add up to by "
            f"{delta:.2g} of {difference:.2g} on average (see .deltas){more}",
            stacklevel=3,
        )


_FORM = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"


def _progress_of(bar: Any, request: _Request, segment: Segment) -> Callable[[int], None]:
    """Each text that is read moves the bar by its part of the work."""
    method, share = request.method, len(segment.targets) / len(request.outputs)
    texts = 1 if method.defaults is None else method.texts(request.options, segment.positions)

    def advance(count: int) -> None:
        bar.update(min(share * count / texts, max(0.0, 1.0 - bar.n)))

    return advance


Aggregate: TypeAlias = Named | Callable[[Tensor], Tensor]


def check_aggregate(aggregate: Any) -> None:
    """Raises a ValueError if it is neither a known aggregation nor a callable."""
    if not callable(aggregate) and aggregate not in get_args(Named):
        names = ", ".join(map(repr, get_args(Named)))
        raise ValueError(f"aggregate: got {aggregate!r}, accepts {names}, or a callable")


def aggregate_name(aggregate: Aggregate) -> str:
    """What a record keeps of an aggregation."""
    return aggregate if isinstance(aggregate, str) else getattr(aggregate, "__name__", "callable")


def aggregated(attributions: Tensor, aggregate: Aggregate) -> Tensor:
    """(targets, positions) from (targets, positions, embedding), summed in float32 at least."""
    wide = torch.promote_types(attributions.dtype, torch.float32)
    if callable(aggregate):
        scores = torch.as_tensor(aggregate(attributions))
        if scores.shape != attributions.shape[:2]:
            raise ValueError(
                f"aggregate: for attributions of shape {tuple(attributions.shape)} the callable "
                f"returned {tuple(scores.shape)}, accepts (targets, positions) = "
                f"{tuple(attributions.shape[:2])}"
            )
        return scores
    if aggregate == "sum":
        return attributions.sum(dim=-1, dtype=wide)
    if aggregate == "max_abs":
        return attributions.abs().amax(dim=-1).to(wide)
    order = 1 if aggregate == "l1" else 2
    norms: Tensor = torch.linalg.vector_norm(attributions, ord=order, dim=-1, dtype=wide)
    return norms
