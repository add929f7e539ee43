r"""Every analysis of one text, in one call."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ecco_captum.activations.neurons import hidden_states, neurons
from ecco_captum.attribution.faithfulness.measure import faithfulness
from ecco_captum.attribution.method_comparison.compare import best_of
from ecco_captum.attribution.methods.catalogue import get_method
from ecco_captum.attribution.record import Attribution
from ecco_captum.attribution.saliency import saliency
from ecco_captum.core.checks import UnsupportedError, check_whole
from ecco_captum.core.progress import Progress, progress_bar
from ecco_captum.factors.nmf import nmf
from ecco_captum.generation.generate import generate
from ecco_captum.generation.record import Generation
from ecco_captum.lens.rankings import layer_predictions, rankings
from ecco_captum.lens.watch import order_test, rankings_watch
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.probing.probe import probe
from ecco_captum.probing.treebank import TaggedCorpus, read_conllu
from ecco_captum.report.record import Report
from ecco_captum.similarity.compare import compare

_PERMUTATIONS, _STARTS, _DRAWS = 99, 3, 39
_RIVALS, _ROUNDS = 3, 2_000
_METHODS = ("input_x_gradient", "attn_lrp", "deep_lift", "attention")  # seconds each, no draws
_PROBED, _WORDS = 8, 2_000  # layers and words: enough for a line, in half a minute
# What each takes of the whole, for the bar.
_SECONDS = {
    "attribution": 20.0,
    "rankings": 1.0,
    "watched": 1.0,
    "similarity": 0.5,
    "probes": 6.0,
    "factors": 17.0,
}


def report(
    lm: LanguageModel,
    prompt: Any,
    *,
    max_new_tokens: int = 24,
    method: Any = None,
    n_components: int = 6,
    corpus: TaggedCorpus | None = None,
    label: str = "upos",
    seed: int = 0,
    progress: Progress = None,
    update: Callable[[Report], object] | None = None,
) -> Report:
    r"""Makes every analysis of one text, in the order of Alammar (2021), and the test of each.

    Saliency by the best of four methods, with :func:`faithfulness`; similarity of the layers'
    hidden states over the text, with its null; rankings with the control of shuffled blocks; the
    first output beside its rivals, and its lead with the words before it shuffled; factors of the
    neurons, with their stability and what their neurons do; probes with control tasks.

    Args:
        lm (LanguageModel): the model.
        prompt (str, list of messages, ids, or Generation): what it goes on from; or the text.
        max_new_tokens (int, optional): how many tokens it writes, if it has to. Default: 24
        method (str, class, object, or list of these, optional): as in :func:`saliency`; of several,
            the best by :func:`compare_methods`. Default: gradient × input, AttnLRP, DeepLIFT and
            attention
        n_components (int, optional): factors of the neurons, at most. Default: 6
        corpus (TaggedCorpus, optional): what probes learn from; at most 2,000 words of it. Default:
            the package's own small treebank, see :func:`read_conllu`
        label (str, optional): the column of it that probes predict. Default: ``"upos"``
        seed (int, optional): of all draws. Default: 0
        progress (bool or Callable, optional): whether to show a progress bar, or a function that
            is called with the part done, 0 to 1. Default: a bar on a terminal and in notebooks
        update (Callable, optional): a function that is called with the report so far: first with
            the text and its gradient × input, then after each analysis.

    Returns:
        Report: all of it. What the model or the text does not allow is left out, and its
        ``refused`` says why.

    Raises:
        TypeError: if ``lm`` is no model, or ``corpus`` no treebank.
        ValueError: if the prompt is empty or too long, or an argument is wrong.

    Examples::

        >>> few = TaggedCorpus(read_conllu().sentences[:20])  # the whole of it tells more
        >>> page = report(lm, "One two", max_new_tokens=2, corpus=few)
        >>> [finding.key for finding in page.findings]
        ['similarity', 'rankings', 'watch', 'probes']
        >>> sorted(page.refused)  # the text is too short
        ['attribution', 'factors']
    """
    if not isinstance(lm, LanguageModel):
        raise TypeError(f"lm: got a {type(lm).__name__}, accepts what load() or wrap() returns")
    check_whole("n_components", n_components)
    check_whole("seed", seed, least=0)
    methods = list(method) if isinstance(method, list | tuple) else [method]
    methods = list(_METHODS) if method is None else methods
    for each in methods:
        get_method(each)
    corpus = read_conllu() if corpus is None else corpus
    if not isinstance(corpus, TaggedCorpus):
        raise TypeError(
            f"corpus: got a {type(corpus).__name__}, accepts what read_conllu() returns"
        )
    corpus.labels(label)
    generation = prompt if isinstance(prompt, Generation) else None
    if generation is None:
        options = {"max_new_tokens": max_new_tokens} if lm.model.can_generate() else {}
        generation = generate(lm, prompt, progress=False, **options)
    named = {} if method is None else {"method": " or ".join(map(str, methods))}
    settings: dict[str, Any] = {**named, "n_components": n_components, "seed": seed}
    results, refused, start = dict[str, Any](), dict[str, str](), time.perf_counter()

    def show(so_far: dict[str, Any]) -> None:
        if update is not None:
            fields = {**results, **so_far, "refused": dict(refused), "settings": dict(settings)}
            pending = tuple(name for name in analyses if name not in {**fields, **refused})
            update(Report(generation, **fields, pending=pending))

    analyses: dict[str, Callable[[Callable[[float], None]], dict[str, Any]]] = {
        "attribution": lambda advance: _attributed(lm, generation, methods, seed, show, advance),
        "rankings": lambda advance: {"rankings": rankings(lm, generation)},
        "watched": lambda advance: _watched(lm, generation, seed),
        "similarity": lambda advance: _compared(lm, generation, seed),
        "probes": lambda advance: _probed(lm, corpus, label, seed, advance),
        "factors": lambda advance: _factorised(lm, generation, n_components, seed, advance),
    }
    with progress_bar(progress, total=sum(_SECONDS.values()), desc="Report") as bar:
        for name, analyse in analyses.items():
            done = _Part(bar, _SECONDS[name])
            try:
                results |= analyse(done)
            except UnsupportedError as error:
                refused[name] = " ".join(str(error).split())
            done(1.0)
            show({})
    settings["seconds"] = round(time.perf_counter() - start, 1)
    return Report(generation, **results, refused=refused, settings=settings)


class _Part:
    """Passes what is done of one analysis to the bar of them all."""

    def __init__(self, bar: Any, seconds: float) -> None:
        self.bar, self.seconds, self.done = bar, seconds, 0.0

    def __call__(self, done: float) -> None:
        self.bar.update(self.seconds * max(0.0, done - self.done))
        self.done = max(done, self.done)


def _attributed(
    lm: LanguageModel,
    generation: Generation,
    methods: list[Any],
    seed: int,
    show: Callable[[dict[str, Any]], None],
    advance: Callable[[float], None],
) -> dict[str, Any]:
    def first(attribution: Attribution) -> None:
        if not shown:
            show({"attribution": attribution})
        shown.append(attribution)

    shown: list[Attribution] = []
    if len(methods) > 1:
        comparison, tested = best_of(lm, generation, methods, seed, first, advance)
        return {"attribution": tested.attribution, "faithfulness": tested, "methods": comparison}
    attribution = saliency(lm, generation, method=methods[0], progress=False)
    first(attribution)
    tested = faithfulness(lm, attribution, seed=seed, progress=advance)
    return {"attribution": attribution, "faithfulness": tested}


def _compared(lm: LanguageModel, generation: Generation, seed: int) -> dict[str, Any]:
    states = hidden_states(lm, generation, progress=False)
    alike = compare(states, measure="cka", n_draws=_PERMUTATIONS, seed=seed, progress=False)
    return {"similarity": alike}


def _watched(lm: LanguageModel, generation: Generation, seed: int) -> dict[str, Any]:
    """The first output, beside what came next to standing there."""
    own, places = int(generation.output_ids[0]), generation.places
    place = generation.tokens.prompt_length if places is None else int(places[0])
    last = layer_predictions(lm, generation, place, k=_RIVALS + 1, layers=-1).token_ids[-1]
    rivals = [token for token in last.tolist() if token != own][:_RIVALS]
    # A mask is asked where it stands, an encoder–decoder after what its decoder starts with.
    asked = {"masked": place, "seq2seq": len(generation.start_ids) - 1}
    position = asked.get(generation.task, place - 1)
    watched = rankings_watch(lm, generation, [own, *rivals], position=position)
    ids = generation.prompt_ids.tolist()
    if generation.task != "causal" or len(ids) < 4 or generation.tokens.starts:
        return {"watched": watched}
    extra = {name: row.tolist() for name, row in generation.extra_inputs.items()}
    prompt = {**extra, "input_ids": ids} if extra else ids
    return {"watched": watched, "order": order_test(lm, prompt, seed=seed)}


def _factorised(
    lm: LanguageModel,
    generation: Generation,
    n_components: int,
    seed: int,
    advance: Callable[[float], None],
) -> dict[str, Any]:
    acts = neurons(lm, generation, progress=False)
    if len(acts.tokens) < 2:
        raise UnsupportedError(f"prompt: {len(acts.tokens)} token is read, accepts 2 or more")
    factors = nmf(
        acts,
        min(n_components, len(acts.tokens) - 1),
        negatives="split",
        seed=seed,
        max_iter=_ROUNDS,
    )
    count = factors.count
    effects = tuple(
        factors.effect(
            lm,
            generation,
            k,
            draws=_DRAWS,
            seed=seed,
            progress=lambda done, k=k: advance((k + done) / (count + 1)),
        )
        for k in range(count)
    )
    return {"factors": factors, "effects": effects, "stability": factors.stability(_STARTS)}


def _probed(
    lm: LanguageModel, corpus: TaggedCorpus, label: str, seed: int, advance: Callable[[float], None]
) -> dict[str, Any]:
    layers = 1 + len(lm.anatomy.blocks)
    chosen = sorted({round(row) for row in np.linspace(0, layers - 1, min(_PROBED, layers))})
    probes = probe(
        lm,
        corpus,
        label=label,
        representations=["hidden"],
        layers=chosen,
        n_tokens=_WORDS,
        seed=seed,
        progress=advance,
    )
    return {"probes": probes}
