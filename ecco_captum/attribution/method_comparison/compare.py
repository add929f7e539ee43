r"""Every method on the same removals of the same texts."""

from __future__ import annotations

import reprlib
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import permutation_test

from ecco_captum.attribution.faithfulness.evidence import (
    ORDERS,
    Design,
    TextEvidence,
    remove_at_random,
)
from ecco_captum.attribution.faithfulness.lds import LinearDatamodel, lds_of, linear_datamodel
from ecco_captum.attribution.faithfulness.measure import PERMUTATIONS, curves_of, evaluated
from ecco_captum.attribution.faithfulness.record import Faithfulness
from ecco_captum.attribution.faithfulness.weights import (
    is_repeatable,
    shuffled_model,
    weight_correlation,
)
from ecco_captum.attribution.method_comparison.record import BASELINES, FEW_TEXTS, MethodComparison
from ecco_captum.attribution.methods.attention import ATTENTION_METHODS
from ecco_captum.attribution.methods.catalogue import get_method
from ecco_captum.attribution.record import Attribution, rank_correlation
from ecco_captum.attribution.saliency import saliency
from ecco_captum.core.checks import UnsupportedError, chosen_numbers
from ecco_captum.core.intervals import bootstrap_mean
from ecco_captum.core.progress import Progress, progress_bar
from ecco_captum.core.significance import holm, rank_p_value
from ecco_captum.generation.record import Generation
from ecco_captum.generation.scores import scoring
from ecco_captum.generation.tasks import check_text
from ecco_captum.models.language_model import LanguageModel

METHODS = (
    *("input_x_gradient", "saliency", "deep_lift", "attn_lrp", "gim"),
    *("occlusion", "attention", "attention_rollout"),
)
"""Compared unless the user names others: what takes seconds and no draws."""


def compare_methods(
    lm: LanguageModel,
    generation: Generation | Sequence[Generation],
    *,
    methods: Sequence[Any] | Mapping[str, Mapping[str, Any]] = METHODS,
    score: str = "logit",
    versus: Any = None,
    outputs: Any = None,
    removal: Any = None,
    orders: int = ORDERS,
    randomisation: bool = True,
    seed: int = 0,
    progress: Progress = None,
) -> MethodComparison:
    r"""Explains texts by several methods, and tests them all by the same random removals.

    Each text's sources are removed once, as :func:`faithfulness` does it, and every method's
    attribution is held against what that cost: its linear datamodeling score, its p-values against
    chance and against position, and its curves. Position itself stands beside them. ``best`` is
    chosen on one half of the orders and tested on the other, so that the choice does not flatter
    it; it is None where the choice is no more than chance and position there.

    Args:
        lm (LanguageModel): the model.
        generation (Generation or sequence of these): the texts. The mean over texts is what counts;
            methods are compared in pairs over them.
        methods (sequence or mapping, optional): names, or classes or objects of ``captum.attr``; or
            from labels to the arguments of :func:`saliency`. Default: those that take seconds
        score (str, optional): as in :func:`saliency`. Default: ``"logit"``
        versus (str, int, or list, optional): the same.
        outputs (slice, list, or int, optional): which outputs to explain. Default: all
        removal (str, int, Tensor, or list of these, optional): as in :func:`faithfulness`.
        orders (int, optional): random orders of each text's sources, as in :func:`faithfulness`.
        randomisation (bool, optional): whether methods are run on shuffled weights as well, on the
            first text; those whose runs can be repeated. It takes a second model's memory.
        seed (int, optional): of all draws.
        progress (bool or Callable, optional): whether to show a progress bar, or a function that
            is called with the part done, 0 to 1. Default: a bar on a terminal and in notebooks.

    Returns:
        MethodComparison: a row a method, and one each for the last and the first tokens. What does
        not run on this model is left out, and ``refused`` says why.

    Raises:
        TypeError: if an argument is of a wrong type.
        ValueError: if no method is named or one twice, an argument has no such value, or texts
            have too few sources.

    Examples::

        >>> table = compare_methods(lm, generation, methods=["input_x_gradient", "attn_lrp"])
        >>> table.methods, table.best
        (('gradient × input', 'AttnLRP'), None)
    """
    texts, named = _texts(lm, generation), _named(methods)
    scoring(lm, score, versus)
    request = _Request(score, versus, outputs, Design(removal=removal, orders=orders, seed=seed))
    with progress_bar(progress, total=len(texts) * (len(named) + 2), desc="Comparing") as bar:
        comparison, _ = _compared(lm, texts, named, request, randomisation, bar)
    return comparison


def best_of(
    lm: LanguageModel,
    generation: Generation,
    methods: Sequence[Any],
    seed: int,
    explained: Callable[[Attribution], object],
    progress: Progress,
) -> tuple[MethodComparison, Faithfulness]:
    """Compares methods on one text, and tests the one with the largest score on the same removals.

    Methods are not run on shuffled weights, save the one that is tested. ``explained`` is called
    with each attribution as soon as it is there.
    """
    request = _Request("logit", None, None, Design(seed=seed))
    named = _named(methods)
    with progress_bar(progress, total=len(named) + 4, desc="Comparing") as bar:
        comparison, (text,) = _compared(lm, [generation], named, request, False, bar, explained)
        chosen = text.attributions[comparison.candidate]
        tested = evaluated(lm, chosen, text.evidence, randomisation=None)
        bar.update(2)
    return comparison, tested


@dataclass(frozen=True)
class _Request:
    """What is explained, and what is removed: the arguments of :func:`compare_methods`."""

    score: str
    versus: Any
    outputs: Any
    design: Design


def _compared(
    lm: LanguageModel,
    texts: Sequence[Generation],
    named: dict[str, dict[str, Any]],
    request: _Request,
    randomisation: bool,
    bar: Any,
    explained: Callable[[Attribution], object] = lambda attribution: None,
) -> tuple[MethodComparison, list[_Text]]:
    """Explains each text by each method; what does not run is left out of ``named``."""
    design, refused, results = request.design, dict[str, str](), list[_Text]()
    for text in texts:
        plain = _unexplained(lm, text, request)
        attributions, seconds = [], []
        for label, options in list(named.items()):
            try:
                start = time.perf_counter()
                attributions.append(_explained(lm, plain, options, request))
                seconds.append(time.perf_counter() - start)
                explained(attributions[-1])
            except UnsupportedError as error:
                if results:  # it ran on another text
                    raise
                refused[label] = " ".join(str(error).split())
                del named[label]
            bar.update()
        evidence = remove_at_random(lm, plain, design, False)
        rng = np.random.default_rng(
            (design.seed, 1, len(results))
        )  # each text has draws of its own
        every = [*attributions, *_by_position(plain)]
        results.append(_Text.of(every, seconds, evidence, rng))
        if len(texts) > 1:
            evidence.removers.clear()  # nothing more is read
        bar.update(2)
    if not named:
        raise UnsupportedError(f"methods: none runs on {lm.name!r}: {next(iter(refused.values()))}")
    first, rng = results[0], np.random.default_rng((design.seed, 2))
    own = tuple(first.attributions[: len(named)])
    comparison = MethodComparison(
        methods=tuple(named),
        **_numbers(results, rng),
        weight_correlation=_sensitivity(lm, own, randomisation, design.seed),
        removals=first.evidence.kinds,
        attributions=own if len(texts) == 1 else (),
        model=lm.name,
        explained=plain.explained,
        unit=plain.score_unit,
        texts=len(texts),
        refused=refused,
        settings={"orders": design.orders, "permutations": PERMUTATIONS, "seed": design.seed},
    )
    return comparison, results


def _unexplained(lm: LanguageModel, text: Generation, request: _Request) -> Attribution:
    """What is to be explained of a text, without numbers."""
    chosen = chosen_numbers("outputs", request.outputs, len(text.output_ids))
    explained = scoring(lm, request.score, request.versus)
    return Attribution(
        text,
        np.zeros((len(chosen), len(text.tokens)), dtype=np.float32),
        "none",
        outputs=np.array(chosen, dtype=np.int64),
        score=explained.score,
        foils=explained.foils,
        versus=explained.names,
    )


def _texts(lm: LanguageModel, given: Any) -> list[Generation]:
    texts = list(given) if isinstance(given, list | tuple) else [given]
    if not texts or not all(isinstance(text, Generation) for text in texts):
        raise TypeError(
            f"generation: got {reprlib.repr(given)}, accepts what generate() or force_decode() "
            "returns, or a list of these"
        )
    for text in texts:
        check_text(lm, text)
    return texts


def _named(methods: Any) -> dict[str, dict[str, Any]]:
    """From labels to the arguments of saliency()."""
    if isinstance(methods, Mapping):
        named = {str(label): dict(options) for label, options in methods.items()}
        for options in named.values():
            get_method(options.get("method", "input_x_gradient"))
    elif isinstance(methods, list | tuple):
        kinds = [(get_method(method), method) for method in methods]
        named = {kind.label: {"method": method} for kind, method in kinds}
        if len(named) < len(methods):
            raise ValueError(f"methods: got {methods!r}, accepts each once")
    else:
        raise TypeError(f"methods: got a {type(methods).__name__}, accepts a list or a mapping")
    if not named:
        raise ValueError("methods: got none, accepts one or more")
    return named


def _explained(
    lm: LanguageModel, plain: Attribution, options: Mapping[str, Any], request: _Request
) -> Attribution:
    shared: dict[str, Any] = {"outputs": np.asarray(plain.outputs).tolist()}
    shared["seed"] = request.design.seed
    if get_method(options.get("method", "input_x_gradient")) not in ATTENTION_METHODS:
        shared |= {"score": request.score, "versus": request.versus}  # these explain no score
    with warnings.catch_warnings():
        # That a method misses its difference is seen in its score.
        warnings.filterwarnings("ignore", ".*(attributions miss the difference|may miss up to)")
        return saliency(lm, plain.generation, progress=False, **{**shared, **options})


@dataclass
class _Text:
    """One text: its removals, and every attribution of it, position's among them."""

    attributions: list[Attribution]
    evidence: TextEvidence
    seconds: list[float]
    datamodels: list[list[LinearDatamodel]]  # of each kind of removal, of each attribution
    halves: np.ndarray  # (2, names): LDS on each half of the orders, the mean over kinds
    drops: np.ndarray  # (names, 2): AOPC of comprehensiveness and sufficiency
    at_random: np.ndarray  # (orders, 2)

    @classmethod
    def of(
        cls,
        attributions: list[Attribution],
        seconds: list[float],
        evidence: TextEvidence,
        rng: np.random.Generator,
    ) -> _Text:
        curves = [curves_of(attribution, evidence) for attribution in attributions]
        names = ("comprehensiveness", "sufficiency")
        return cls(
            attributions=attributions,
            evidence=evidence,
            seconds=seconds,
            datamodels=[
                [linear_datamodel(parts, own.scores, PERMUTATIONS, rng) for own in attributions]
                for parts in evidence.parts
            ],
            halves=np.array([[_half(evidence, own, h) for own in attributions] for h in (0, 1)]),
            drops=np.array([[curve[name][0].mean() for name in names] for curve in curves]),
            at_random=np.stack(
                [curves[0][f"random_{name}"].mean(axis=1) for name in names], axis=1
            ),
        )


def _numbers(texts: list[_Text], rng: np.random.Generator) -> dict[str, Any]:
    """Means over texts; null draws of texts are averaged before they are ranked."""
    own, p_chance, p_position = _tests([text.datamodels for text in texts])
    drops = np.array([text.drops for text in texts])
    at_random = np.mean([text.at_random for text in texts], axis=0)
    return {
        "lds": own,
        "intervals": _intervals(texts, own, rng),
        "p_chance": p_chance,
        "p_position": p_position,
        "comprehensiveness": drops[..., 0],
        "sufficiency": drops[..., 1],
        "random_comprehensiveness": at_random[:, 0],
        "random_sufficiency": at_random[:, 1],
        "agreement": np.nanmean([_agreement(text.attributions) for text in texts], axis=0),
        "seconds": np.array([text.seconds for text in texts]).mean(axis=0),
        **_chosen(texts, rng),
    }


def _intervals(texts: list[_Text], own: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(names, 3): over texts; of few texts, over their orders."""
    if len(texts) >= FEW_TEXTS:
        return bootstrap_mean(np.moveaxis(own.mean(axis=1), 0, -1), rng)
    draws = [
        np.mean([[each.resampled for each in kind] for kind in text.datamodels], axis=0)
        for text in texts
    ]
    low, high = np.quantile(np.mean(draws, axis=0), (0.025, 0.975), axis=-1)
    return np.stack([own.mean(axis=(0, 1)), low, high], axis=1)


def _chosen(texts: list[_Text], rng: np.random.Generator) -> dict[str, Any]:
    """The best on one half of the orders, and its tests on the other half."""
    count = len(texts[0].seconds)
    halves = np.array([text.halves for text in texts])  # (texts, 2, names)
    candidate = int(halves[:, 0, :count].mean(axis=0).argmax())
    tested = [
        [
            [linear_datamodel([part.half(1) for part in parts], own.scores, PERMUTATIONS, rng)]
            for parts in text.evidence.parts
        ]
        for text in texts
        for own in [text.attributions[candidate]]
    ]
    _, p_chance, p_position = _tests(tested)
    return {
        "candidate": candidate,
        "candidate_p_values": np.concatenate([p_chance, p_position], axis=1),
        "p_over_others": _over_others(halves[:, 1], candidate, rng),
    }


def _tests(
    datamodels: Sequence[Sequence[Sequence[LinearDatamodel]]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, (texts, removals, names), and the p-values of their means over texts.

    The p-values, (removals, names), are against chance and against position.
    """
    statistics: list[Callable[[LinearDatamodel], Any]] = [
        lambda each: each.by_output.mean(),
        lambda each: each.chance.mean(axis=1),
        lambda each: each.beyond_position.mean(),
        lambda each: each.near.mean(axis=1),
    ]
    own, chance, beyond, near = (
        np.array([[[of(each) for each in kind] for kind in text] for text in datamodels])
        for of in statistics
    )
    p_chance, p_position = (
        rank_p_value(values.mean(axis=0), np.moveaxis(null.mean(axis=0), -1, 0))
        for values, null in ((own, chance), (beyond, near))
    )
    return own, p_chance, p_position


def _by_position(plain: Attribution) -> list[Attribution]:
    """What says nothing but position: the last tokens first, and the first ones first."""
    places = np.arange(1, plain.scores.shape[1] + 1, dtype=np.float32)
    known = np.arange(len(places)) < plain.known[:, None]
    return [
        Attribution(
            plain.generation,
            np.where(known, weights, 0).astype(np.float32),
            name,
            outputs=plain.outputs,
            label=name,
        )
        for name, weights in zip(BASELINES, (places, places[::-1]), strict=True)
    ]


def _half(evidence: TextEvidence, attribution: Attribution, which: int) -> float:
    return float(
        np.mean(
            [
                lds_of([part.half(which) for part in parts], attribution.scores).mean()
                for parts in evidence.parts
            ]
        )
    )


def _agreement(attributions: Sequence[Attribution]) -> np.ndarray:
    """(names, names), mean over outputs of the rank correlation of magnitudes."""
    table = np.eye(len(attributions))
    for i, j in combinations(range(len(attributions)), 2):
        left, right = attributions[i], attributions[j]
        rows = zip(np.abs(left.scores), np.abs(right.scores), left.known, strict=True)
        each = np.array([rank_correlation(a[:n], b[:n]) for a, b, n in rows])
        defined = each[~np.isnan(each)]
        table[i, j] = table[j, i] = defined.mean() if len(defined) else np.nan
    return table


def _over_others(scores: np.ndarray, candidate: int, rng: np.random.Generator) -> np.ndarray:
    """(names,), p that the candidate's score is larger, paired over texts, Holm over the others.

    The signs of the texts' differences are exchanged (Fisher's randomisation test). NaN for itself,
    and of a single text.
    """
    p_values = np.full(scores.shape[1], np.nan)
    if len(scores) < 2:
        return p_values
    others = [k for k in range(scores.shape[1]) if k != candidate]
    each = [
        permutation_test(
            (scores[:, candidate] - scores[:, k],),
            np.mean,
            permutation_type="samples",
            alternative="greater",
            n_resamples=PERMUTATIONS,
            rng=rng,
        ).pvalue
        for k in others
    ]
    p_values[others] = holm(np.array(each))
    return p_values


def _sensitivity(
    lm: LanguageModel, attributions: Sequence[Attribution], wanted: bool, seed: int
) -> np.ndarray:
    """(methods,), rank correlations with shuffled weights; NaN where that was not tried."""
    sensitivity = np.full(len(attributions), np.nan)
    shuffled = shuffled_model(lm, seed) if wanted else None
    if shuffled is None:
        return sensitivity
    for k, attribution in enumerate(attributions):
        if is_repeatable(attribution):
            correlation = weight_correlation(shuffled, attribution, seed)
            sensitivity[k] = np.nan if correlation is None else correlation
    return sensitivity
