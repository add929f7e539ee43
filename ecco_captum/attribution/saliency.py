r"""Input saliency: where each output token came from."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecco_captum.attribution.aggregation import (
    Aggregate,
    aggregate_name,
    aggregated,
    check_aggregate,
)
from ecco_captum.attribution.baselines import baseline_embeddings
from ecco_captum.attribution.methods.attention import ATTENTION_METHODS
from ecco_captum.attribution.methods.base import Method, MethodInput
from ecco_captum.attribution.methods.catalogue import get_method
from ecco_captum.attribution.record import Attribution
from ecco_captum.core.checks import check_whole, chosen_numbers
from ecco_captum.core.progress import Progress, progress_bar
from ecco_captum.generation.record import Generation
from ecco_captum.generation.scores import embedded, scoring, target_scores
from ecco_captum.generation.segments import Segment, segments, whole_segment
from ecco_captum.generation.tasks import check_gradients, check_text, plain, task_of
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.models.modes import checkpointed, evaluation_mode

# The share of the difference that attributions may miss before it is said aloud.
_LARGE_DELTA = 0.05


def saliency(
    lm: LanguageModel,
    generation: Generation,
    *,
    method: Any = "input_x_gradient",
    score: str = "logit",
    versus: Any = None,
    aggregate: Aggregate | None = None,
    outputs: slice | Sequence[int] | int | None = None,
    baseline: Any = None,
    keep_first: bool | None = None,
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
    that it needs; the numbers equal those of one pass a token up to rounding. Perturbation methods
    score all targets from one forward a perturbed text.

    Args:
        lm (LanguageModel): the model that wrote, or would have written, the text.
        generation (Generation): the text, from :func:`generate` or :func:`force_decode`.
        method (str, type or object, optional): ``"input_x_gradient"``, ``"saliency"``,
            ``"integrated_gradients"``, ``"gradient_shap"``, ``"smooth_grad"``, ``"deep_lift"``,
            ``"deep_lift_shap"``, ``"guided_backprop"``, ``"deconvolution"``, ``"attn_lrp"``,
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
        baseline (str, int or Tensor, optional): what stands for an absent token: ``"zero"``,
            ``"mean"`` (over the vocabulary), ``"pad"``, ``"mask"``, ``"tokens"`` (drawn texts), a
            token id, or embeddings that broadcast to (1, positions, embedding). Default:
            ``"tokens"`` for gradient and DeepLIFT SHAP, else ``"mean"``. (At ``"zero"`` a
            root-mean-square norm is singular.)
        keep_first (bool, optional): whether the text's first token stays itself in the baseline, so
            that its attribution is 0. Default: on models that write from left to right, for the
            methods that follow a path to the baseline (integrated gradients, gradient SHAP,
            DeepLIFT): many such models dump attention on their first token whatever it is (Xiao et
            al. 2023), and on the way to another one their scores jump, which no number of steps
            integrates.
        seed (int, optional): for methods that draw. Global random states are left as they were.
        checkpointing (bool, optional): whether to compute activations again instead of keeping
            them: a long text then needs less memory and more time.
        memory_budget (int, optional): bytes that one chunk's gradients may take, beside the model
            and one forward's activations. A lower budget costs time.
        progress (bool or Callable, optional): whether to show a progress bar, or what is told the
            part that is done, 0 to 1. Default: a bar on a terminal and in notebooks.
        **options (Any): the method's own: ``n_steps`` (integrated gradients), ``n_samples``,
            ``noise`` (relative to the embeddings' standard deviation), ``window`` (occlusion),
            ``alpha`` (LIME, relative to the scores' spread); for a Captum object, what its
            ``attribute`` accepts.

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
    chosen = get_method(method)
    check_text(lm, generation)
    check_gradients(lm)
    check_whole("memory_budget", memory_budget)
    check_whole("seed", seed, least=0)
    how = aggregate or chosen.aggregate
    if how is not None:
        check_aggregate(how)
    scored = score != "logit" or versus is not None
    _check_method(
        chosen,
        aggregate=aggregate,
        baseline=baseline,
        keep_first=keep_first,
        score=scored or None,
        checkpointing=checkpointing or None,
    )
    settings = chosen.read_options(options)
    explained = scoring(lm, score, versus)
    rows = chosen_numbers("outputs", outputs, len(generation.output_ids))
    found = np.zeros((len(rows), len(generation.tokens)), dtype=np.float32)
    deltas, differences = np.zeros(len(rows)), np.zeros(len(rows))
    kept = checkpointed(lm) if checkpointing else contextlib.nullcontext()
    # A caller's inference_mode would leave nothing to take gradients of.
    bar = progress_bar(progress, total=1.0, desc="Attributing", bar_format=_FORM)
    with torch.inference_mode(False), evaluation_mode(lm.model), kept, bar:
        task = task_of(lm)
        whole = whole_segment(lm, generation, rows)
        inputs = embedded(lm, whole)
        absent = inputs
        if chosen.baseline is not None:
            wanted = chosen.baseline if baseline is None else baseline
            absent = _absent(chosen, baseline_embeddings(lm, whole, inputs, wanted, seed))
            if keep_first is None:
                keep_first = task == "causal" and chosen.keeps_first
            if keep_first:
                first = inputs[:, :1].expand(len(absent), -1, -1)
                absent = torch.cat([first, absent[:, 1:]], dim=1)
        budget = memory_budget if chosen.differentiates else None
        for segment in segments(lm, task, whole, budget):
            end, at = segment.positions, list(segment.rows)
            case = MethodInput(
                lm,
                segment,
                explained,
                inputs[:, :end].detach().requires_grad_(chosen.differentiates),
                absent[:, :end],
                settings,
                seed,
                _telling(bar, chosen, settings, segment, len(rows)),
            )
            attributions = chosen.attribute(case).detach()
            found[at, :end] = _by_token(case, attributions, how, rows)
            if chosen.complete:
                differences[at] = _difference(case)
                total = attributions.double().flatten(1).sum(dim=1).cpu().numpy()
                deltas[at] = total - differences[at]
    if chosen.complete:
        _warn_of_delta(chosen, deltas, differences)
    kept_options = {name: plain(value) for name, value in settings.items()}
    if chosen.baseline is not None:
        kept_options["baseline"] = plain(chosen.baseline if baseline is None else baseline)
        kept_options["keep_first"] = keep_first
    return Attribution(
        generation,
        found,
        chosen.name,
        outputs=np.array(rows, dtype=np.int64),
        label=chosen.label,
        score=score,
        versus=explained.names,
        foils=explained.foils,
        aggregate=aggregate_name(how) if how else "",
        deltas=deltas if chosen.complete else None,
        differences=differences if chosen.complete else None,
        settings={**kept_options, "seed": seed},
    )


def _check_method(method: Method, **given: Any) -> None:
    """Refuses arguments that mean nothing to a method."""
    has_baseline = method.baseline is not None
    changes = method.name in ("attn_lrp", "deep_lift", "deep_lift_shap")
    for argument, fits, why in (
        ("aggregate", method.aggregate is not None, "attributes to whole tokens, accepts None"),
        ("baseline", has_baseline, "has none, accepts None"),
        ("keep_first", has_baseline, "has no baseline, accepts None"),
        ("checkpointing", not changes, "changes the backward pass, accepts False"),
        ("score", method not in ATTENTION_METHODS, "depends on no score, accepts the defaults"),
    ):
        if not fits and given[argument] is not None:
            raise ValueError(f"{argument}: {method.name} {why}")


def _absent(method: Method, baselines: Tensor) -> Tensor:
    if len(baselines) > 1 and not method.several:
        raise ValueError(
            f"baseline: got {len(baselines)} texts, {method.name} accepts one; gradient_shap and "
            "deep_lift_shap average over several"
        )
    return baselines


def _by_token(
    case: MethodInput, attributions: Tensor, how: Aggregate | None, outputs: list[int]
) -> np.ndarray:
    """(targets, positions): one number a token, 0 where a target cannot depend on it."""
    if how is not None and attributions.ndim == 3:
        attributions = aggregated(attributions, how)
    scores = attributions.float().cpu()
    if not torch.isfinite(scores).all():
        row = case.segment.rows[int((~torch.isfinite(scores)).any(dim=1).nonzero()[0])]
        raise ValueError(
            f"lm: the gradient of output {outputs[row]} is not finite in {case.lm.name!r}; are "
            f"its weights? (Their dtype is {case.lm.model.dtype}; float16 overflows early.)"
        )
    known = torch.arange(scores.shape[1])[None] < case.known[:, None]
    return torch.where(known, scores, 0.0).numpy()


@torch.no_grad()
def _difference(case: MethodInput) -> np.ndarray:
    """(targets,): the score of the text less that of its baseline, which a complete method
    distributes."""
    forward = target_scores(case.lm, case.segment, case.scoring)
    whole = forward(case.inputs).double()[0]
    absent = [forward(one).double()[0] for one in case.baseline.split(1)]
    return (whole - torch.stack(absent).mean(dim=0)).cpu().numpy()


def _warn_of_delta(method: Method, deltas: np.ndarray, differences: np.ndarray) -> None:
    size, of = np.abs(deltas).mean(), np.abs(differences).mean()
    if size > _LARGE_DELTA * of:
        more = "; more n_steps make it smaller" if "n_steps" in (method.defaults or ()) else ""
        warnings.warn(
            f"{method.name}: attributions miss the difference that they should add up to by "
            f"{size:.2g} of {of:.2g} on average (see .deltas){more}",
            stacklevel=3,
        )


_FORM = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"


def _telling(
    bar: Any, method: Method, options: dict[str, Any], segment: Segment, outputs: int
) -> Any:
    """Each text that is read moves the bar by its part of the work."""
    share = len(segment.targets) / outputs
    each = 1 if method.defaults is None else method.texts(options, segment.positions)

    def tell(texts: int) -> None:
        bar.update(min(share * texts / each, max(0.0, 1.0 - bar.n)))

    return tell
