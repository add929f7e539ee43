r"""The commands: each loads a model, runs one analysis, writes its files and prints it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import ecco_captum
from ecco_captum.cli import output as out
from ecco_captum.cli.batch import (
    FAITHFULNESS,
    GENERATE,
    METHODS,
    ORDER,
    PREDICTIONS,
    RANKINGS,
    SALIENCY,
    WATCH,
    run_batch,
)
from ecco_captum.cli.corpora import CORPUS_COMMANDS, EngineOptions
from ecco_captum.cli.options import (
    DEFAULT_MODEL,
    Aggregate,
    Files,
    Generated,
    Kinds,
    Label,
    Layers,
    Lens,
    Many,
    Measure,
    Method,
    Methods,
    ModelOptions,
    Negatives,
    Outputs,
    Precision,
    Prompt,
    Prompts,
    Score,
    Seed,
    Stack,
    StoredFiles,
    Texts,
    TheseLayers,
    Versus,
    method_names,
    model_option,
    option,
    text_option,
)
from ecco_captum.core.exchange import plain
from ecco_captum.corpus.sources import rows_of_file

if TYPE_CHECKING:
    from ecco_captum import Activations, Attribution, Faithfulness, Generation, LanguageModel
    from ecco_captum.core.progress import Progress
    from ecco_captum.core.record import Record

DEMO_MODEL = DEFAULT_MODEL
DEMO_PROMPT = "The countries of the European Union are:\n1. Austria\n2. Belgium\n3. Bulgaria\n4."

Words = Annotated[list[str] | None, typer.Argument(metavar="WORD", help="Tokens to watch.")]
Ids = Annotated[list[int] | None, option("Watch this token id; repeatable.", "--id", metavar="N")]
Effects = Annotated[list[int] | None, option("Ablate this factor; repeatable.", metavar="K")]
Position = Annotated[int, option("What follows this token; -1 is the last.")]
Draws = Annotated[int, option("Draws of the null, for p-values.")]
Null = Annotated[
    Literal["texts", "shift", "tokens"] | None, option("What changes places under the null.")
]
Bootstrap = Annotated[int, option("Resamples of the texts, for an interval.")]
Long = Annotated[
    Literal["error", "skip", "split"], option("What to do with texts longer than the context.")
]
_REMOVALS = ("delete", "neighbour", "mask", "mean", "zero", "pad")
Removals = Annotated[
    list[str] | None,
    option(f"{', '.join(_REMOVALS)}; repeatable (default: two kinds).", "--removal"),
]
Orders = Annotated[int, option("Random orders in which tokens are removed.")]


def demo(files: Files) -> None:
    """Run every analysis on a text of SmolLM2-135M."""
    _report(Generated(prompt=DEMO_PROMPT, max_new_tokens=24), ModelOptions(), files, "demo")


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List the models that need no model hub."""
    if as_json:
        listed = [{**plain(each), "cached": each.cached} for each in ecco_captum.offline_models()]
        print(json.dumps(listed))
        return
    note = "Fetched once, at first use. Any model of the Hugging Face hub works as well, by its id."
    out.show(out.models_table(ecco_captum.offline_models()), note)


def report(
    text: Generated,
    model: ModelOptions,
    files: Files,
    method: Annotated[
        list[str] | None,
        option(
            "The method; repeat it, and the best one on the text is taken (default: the best of "
            "four).",
            autocompletion=method_names,
        ),
    ] = None,
    components: Annotated[int, option("How many factors, at most.")] = 6,
    conllu: Annotated[Path | None, text_option("A treebank; else the built-in one.")] = None,
    label: Label = "upos",
) -> None:
    """Run every analysis on one text.

    Generates the text and writes one page, where each analysis comes with its test. The page is
    there as soon as the text is explained, and grows with each analysis.
    ```bash
    ecco-captum report --prompt "Paris is in" -o paris.html
    ```
    """
    _report(text, model, files, "report", method, components, conllu, label)


def _report(
    text: Generated,
    model: ModelOptions,
    files: Files,
    name: str,
    method: list[str] | None = None,
    components: int = 6,
    conllu: Path | None = None,
    label: str = "upos",
) -> None:
    model.check(*(method or ()))
    paths, corpus = files.paths(ecco_captum.Report, name), ecco_captum.read_conllu(conllu)
    corpus.labels(label)
    prompt = text.read()
    lm = model.load()
    with files.early_page(paths) as early, out.progress_bar(2) as step:
        generation = text.generate(lm, prompt, step("Generating"))
        result = ecco_captum.report(
            lm,
            generation,
            method=method or None,
            n_components=components,
            corpus=corpus,
            label=label,
            progress=step("Analysing"),
            update=early.update,
        )
    files.write(result, paths, opened=early.opened)


def generate(text: Many, model: ModelOptions, files: Files) -> None:
    """Write on, or score a given continuation.

    Shows each token that follows, with its logit, probability and rank.
    ```bash
    ecco-captum generate --prompt "The capital of France is" --continuation " Rome" -o -
    ```
    """
    model.check()
    if text.prompts_file is not None:
        run_batch(text, model, files, "generate", lambda lm, generation: generation, GENERATE)
        return
    paths, prompt = files.paths(ecco_captum.Generation, "generate"), text.read()
    lm = model.load()
    with out.progress_bar(1) as step:
        result = text.generate(lm, prompt, step("Generating"))
    files.write(result, paths)


def saliency(
    text: Many,
    model: ModelOptions,
    files: Files,
    method: Method = "input_x_gradient",
    score: Score = "logit",
    versus: Versus = None,
    aggregate: Aggregate = None,
    outputs: Outputs = None,
    tested: Annotated[bool, option("Test it by removing top tokens.", "--faithfulness")] = False,
) -> None:
    """Show which tokens each token came from.

    Generates a text and attributes each generated token to the tokens before it.
    ```bash
    ecco-captum saliency --prompt "Paris is in" -o paris.html
    ecco-captum saliency --prompts-file prompts.jsonl -o rows.csv
    ```
    """

    def analyse(lm: LanguageModel, generation: Generation, progress: Progress) -> Attribution:
        return ecco_captum.saliency(
            lm,
            generation,
            method=method,
            score=score,
            versus=versus or None,
            aggregate=aggregate,
            outputs=outputs,
            progress=progress,
        )

    model.check(method)
    if text.prompts_file is not None:
        if tested:
            raise ValueError(
                "--faithfulness: not with --prompts-file; use the command of that name"
            )
        run_batch(text, model, files, "saliency", lambda lm, g: analyse(lm, g, False), SALIENCY)
        return
    paths, prompt = files.paths(ecco_captum.Attribution, "saliency"), text.read()
    lm, test = model.load(), None
    with out.progress_bar(2 + tested) as step:
        generation = text.generate(lm, prompt, step("Generating"))
        attribution = analyse(lm, generation, step("Attributing"))
        if tested:
            test = ecco_captum.faithfulness(lm, attribution, progress=step("Testing"))
    files.write(attribution, paths, *(test.terminal()[1:] if test else ()), faithfulness=test)


def faithfulness(
    text: Many,
    model: ModelOptions,
    files: Files,
    method: Method = "input_x_gradient",
    score: Score = "logit",
    versus: Versus = None,
    outputs: Outputs = None,
    removal: Removals = None,
    orders: Orders = 39,
    draw_seed: Annotated[int, option("The seed of the orders.")] = 0,
) -> None:
    """Test an attribution by removing tokens.

    Explains a text, removes its tokens at random, and asks whether the attribution predicts what
    that costs.
    ```bash
    ecco-captum faithfulness --prompt "Paris is in" --method attn_lrp
    ```
    """

    def analyse(lm: LanguageModel, generation: Generation, progress: Progress) -> Faithfulness:
        given: dict[str, Any] = {"score": score, "versus": versus or None, "outputs": outputs}
        attribution = ecco_captum.saliency(lm, generation, method=method, progress=False, **given)
        return ecco_captum.faithfulness(
            lm,
            attribution,
            removal=removal or None,
            orders=orders,
            seed=draw_seed,
            progress=progress,
        )

    for kind in removal or ():
        if kind not in _REMOVALS:
            raise ValueError(f"--removal: got {kind!r}, accepts {', '.join(_REMOVALS)}")
    model.check(method)
    name = "faithfulness"
    if text.prompts_file is not None:
        run_batch(text, model, files, name, lambda lm, g: analyse(lm, g, False), FAITHFULNESS)
        return
    paths, prompt = files.paths(ecco_captum.Faithfulness, name), text.read()
    lm = model.load()
    with out.progress_bar(2) as step:
        generation = text.generate(lm, prompt, step("Generating"))
        result = analyse(lm, generation, step("Testing"))
    files.write(result, paths)


def compare_methods(
    text: Many,
    model: ModelOptions,
    files: Files,
    method: Methods = None,
    score: Score = "logit",
    versus: Versus = None,
    outputs: Outputs = None,
    orders: Orders = 39,
) -> None:
    """Compare attribution methods on the same removals.

    Explains a text by each method, and tests which predicts what removing tokens costs.
    ```bash
    ecco-captum compare-methods --prompt "Paris is in" -o methods.html
    ecco-captum compare-methods --prompts-file prompts.jsonl -o rows.csv
    ```
    """
    named: dict[str, Any] = {"methods": method} if method else {}

    def analyse(lm: LanguageModel, generation: Generation, progress: Progress) -> Record:
        return ecco_captum.compare_methods(
            lm,
            generation,
            **named,
            score=score,
            versus=versus or None,
            outputs=outputs,
            orders=orders,
            progress=progress,
        )

    model.check(*(method or ()))
    name = "compare-methods"
    if text.prompts_file is not None:
        run_batch(text, model, files, name, lambda lm, g: analyse(lm, g, False), METHODS)
        return
    paths, prompt = files.paths(ecco_captum.MethodComparison, name), text.read()
    lm = model.load()
    with out.progress_bar(2) as step:
        generation = text.generate(lm, prompt, step("Generating"))
        result = analyse(lm, generation, step("Comparing"))
    files.write(result, paths)


def rankings(
    text: Many,
    model: ModelOptions,
    files: Files,
    layers: Layers = None,
    lens: Lens = None,
    value: Annotated[Literal["rank", "logit", "prob"], option("What to show.")] = "rank",
    positions: Annotated[
        Literal["outputs", "all"], option("Outputs, or the prompt's tokens too.")
    ] = "outputs",
    no_control: Annotated[bool, option("Leave out the shuffled model.", "--no-control")] = False,
) -> None:
    """Rank each generated token at every layer.

    Generates a text and shows when each token becomes the top prediction.
    ```bash
    ecco-captum rankings --prompt "The capital of France is" -o rankings.html
    ```
    """

    def analyse(lm: LanguageModel, generation: Generation) -> Record:
        return ecco_captum.rankings(
            lm,
            generation,
            layers=layers,
            value=value,
            positions=positions,
            lens=lens,
            control=not no_control,
        )

    model.check()
    if text.prompts_file is not None:
        run_batch(text, model, files, "rankings", analyse, RANKINGS)
        return
    paths, prompt = files.paths(ecco_captum.Rankings, "rankings"), text.read()
    lm = model.load()
    with out.progress_bar(2) as step:
        generation = text.generate(lm, prompt, step("Generating"))
        step("Ranking")
        result = analyse(lm, generation)
    files.write(result, paths)


def watch(
    text: Prompts,
    model: ModelOptions,
    files: Files,
    words: Words = None,
    layers: Layers = None,
    lens: Lens = None,
    ids: Ids = None,
    position: Position = -1,
) -> None:
    """Rank several tokens at one position.

    Shows which WORD each layer prefers as the next token; a WORD has its leading space.
    ```bash
    ecco-captum watch --prompt "The keys to the cabinet" " is" " are"
    ecco-captum watch --prompts-file prompts.jsonl " is" " are" -o rows.csv
    ```
    """
    watched = [*(words or ()), *(ids or ())]

    def analyse(lm: LanguageModel, prompt: str) -> Record:
        options: dict[str, Any] = {"position": position, "layers": layers, "lens": lens}
        return ecco_captum.rankings_watch(lm, prompt, watched, **options)

    model.check()
    many = text.prompts_file is not None
    paths = [] if many else files.paths(ecco_captum.WatchedRankings, "watch")
    prompt = "" if many else text.read()
    if not watched:
        raise ValueError("WORD: got none, accepts at least one token to watch")
    if many:
        run_batch(text, model, files, "watch", analyse, WATCH)
    else:
        files.write(analyse(model.load(), prompt), paths)


def layer_predictions(
    text: Many,
    model: ModelOptions,
    files: Files,
    position: Annotated[
        int | None,
        option("Which token is predicted, of prompt and outputs (default: the first output)."),
    ] = None,
    tokens: Annotated[int, option("How many tokens of each layer.", "--tokens", "-k")] = 10,
    layers: Layers = None,
    lens: Lens = None,
) -> None:
    """List what each layer would have put in one place.

    ```bash
    ecco-captum layer-predictions --prompt "The capital of France is" --max-new-tokens 1
    ```
    """

    def analyse(lm: LanguageModel, generation: Generation) -> Record:
        place = generation.tokens.prompt_length if position is None else position
        if position is None and generation.places is not None:
            place = int(generation.places[0])
        options: dict[str, Any] = {"k": tokens, "layers": layers, "lens": lens}
        return ecco_captum.layer_predictions(lm, generation, place, **options)

    model.check()
    name = "layer-predictions"
    if text.prompts_file is not None:
        run_batch(text, model, files, name, analyse, PREDICTIONS)
        return
    paths, prompt = files.paths(ecco_captum.LayerPredictions, name), text.read()
    lm = model.load()
    with out.progress_bar(2) as step:
        generation = text.generate(lm, prompt, step("Generating"))
        step("Ranking")
        result = analyse(lm, generation)
    files.write(result, paths)


def minimal_pairs(
    texts: Texts,
    model: ModelOptions,
    files: Files,
    fillers: Annotated[
        list[str] | None,
        typer.Argument(metavar="FITS OTHER", help="The filler that fits, and one that does not."),
    ] = None,
    blank: Annotated[str, text_option("How the blank is written.")] = "___",
    layers: Layers = None,
    lens: Lens = None,
) -> None:
    """Ask in many texts which of two fillers each layer prefers.

    Each text has one blank. Rows of JSON lines may bring fillers of their own:
    {"text": "The keys ___", "fillers": ["are", "is"]}.
    ```bash
    ecco-captum minimal-pairs --text "The keys to the cabinet ___" are is
    ```
    """
    model.check()
    paths = files.paths(ecco_captum.MinimalPairs, "minimal-pairs")
    prompts = texts.read()
    pairs = list(fillers or ()) or _own_fillers(texts)
    if fillers and len(fillers) != 2:
        raise ValueError(f"FITS OTHER: got {len(fillers)} words, accepts two")
    options: dict[str, Any] = {"blank": blank, "layers": layers, "lens": lens}
    files.write(ecco_captum.minimal_pairs(model.load(), prompts, pairs, **options), paths)


def _own_fillers(texts: Texts) -> list[Any]:
    """The fillers that each row of a file brings."""
    rows = [] if texts.text_file is None else list(rows_of_file(texts.text_file))
    own = [row.get("fillers") for row in rows if isinstance(row, Mapping)]
    if not own or None in own:
        raise ValueError(
            "FITS OTHER: got none, accepts two words, or 'fillers' in each row of --text-file"
        )
    return own


def order_test(
    text: Prompts,
    model: ModelOptions,
    files: Files,
    words: Words = None,
    draws: Annotated[int, option("How many random orders.")] = 39,
    seed: Seed = 0,
) -> None:
    """Test whether a lead is for this text, or for its tokens in any order.

    ```bash
    ecco-captum order-test --prompt "The keys to the cabinet" " is" " are"
    ```
    """

    def analyse(lm: LanguageModel, prompt: str) -> Record:
        return ecco_captum.order_test(lm, prompt, words or None, draws=draws, seed=seed)

    model.check()
    if text.prompts_file is not None:
        run_batch(text, model, files, "order-test", analyse, ORDER)
        return
    paths, prompt = files.paths(ecco_captum.OrderTest, "order-test"), text.read()
    files.write(analyse(model.load(), prompt), paths)


def neurons(
    texts: Texts,
    model: ModelOptions,
    files: StoredFiles,
    layers: TheseLayers = None,
    stack: Stack = "decoder",
    values: Precision = "float32",
    long: Long = "error",
) -> None:
    """Read the activations of feed-forward neurons.

    ```bash
    ecco-captum neurons --text-file corpus.jsonl --layers 10:12 --store neurons.zarr
    ```
    """
    _activations("neurons", texts, model, files, layers, stack, values, long)


def hidden_states(
    texts: Texts,
    model: ModelOptions,
    files: StoredFiles,
    layers: Layers = None,
    stack: Stack = "decoder",
    values: Precision = "float32",
    long: Long = "error",
) -> None:
    """Read the residual stream.

    ```bash
    ecco-captum hidden-states --text "Paris is in France." --layers=-1 -o last.npz
    ```
    """
    _activations("hidden-states", texts, model, files, layers, stack, values, long)


def _activations(
    name: str,
    texts: Texts,
    model: ModelOptions,
    files: StoredFiles,
    layers: slice | None,
    stack: Any,
    values: str,
    long: Any,
) -> None:
    model.check()
    paths, given = files.paths(ecco_captum.Activations, name), texts.read()
    read = ecco_captum.neurons if name == "neurons" else ecco_captum.hidden_states
    lm = model.load()
    with out.progress_bar(1) as step:
        result = read(
            lm,
            given,
            layers=layers,
            stack=stack,
            dtype=values,
            store=files.store,
            long=long,
            progress=step("Reading"),
        )
    files.write(result, paths)


def factors(
    text: Prompt,
    model: ModelOptions,
    files: Files,
    components: Annotated[int, option("How many factors.")] = 8,
    layers: TheseLayers = None,
    negatives: Negatives = "split",
    stability: Annotated[int, option("Fit again from so many other starts.")] = 0,
    effect: Effects = None,
) -> None:
    """Find neurons that fire together.

    Factorises the feed-forward neurons' activations over a text, which is not continued.
    ```bash
    ecco-captum factors --prompt-file text.txt --components 10 -o factors.html
    ```
    """
    model.check()
    paths = files.paths(ecco_captum.Factors, "factors")
    prompt, ablated = text.read(), effect or []
    lm = model.load()
    with out.progress_bar(3 + len(ablated)) as step:
        acts = ecco_captum.neurons(lm, prompt, layers=layers, progress=step("Reading"))
        step("Factorising")
        result = ecco_captum.nmf(acts, components, negatives=negatives)
        step("Fitting again")
        stable = result.stability(stability) if stability else None
        effects = [result.effect(lm, prompt, k, progress=step("Ablating")) for k in ablated]
    said = (effect.sentence for effect in effects)
    files.write(result, paths, *said, effects=effects, stability=stable)


def similarity(
    texts: Texts,
    model: ModelOptions,
    files: Files,
    other_model: Annotated[str | None, model_option("Compare with this model.")] = None,
    measure: Measure = "cka",
    representations: Annotated[Kinds, option("Which activations to compare.")] = "hidden",
    layers: TheseLayers = None,
    draws: Draws = 99,
    null: Null = None,
    bootstrap: Bootstrap = 0,
    seed: Seed = 0,
) -> None:
    """Compare layers of a model, or of two.

    Each value is tested against tokens in other places.
    ```bash
    ecco-captum similarity --model minilm-l6 --text-file lines.txt -o similarity.html
    ```
    """
    model.check()
    paths, given = files.paths(ecco_captum.Similarity, "similarity"), texts.read()
    readers = {"hidden": ecco_captum.hidden_states, "neurons": ecco_captum.neurons}
    chosen = [read for kind, read in readers.items() if representations in (kind, "both")]

    def states(name: str) -> list[Activations]:
        lm = model.load(name)
        with out.progress_bar(len(chosen)) as step:
            return [read(lm, given, layers=layers, progress=step("Reading")) for read in chosen]

    x, y = states(model.model), None if other_model is None else states(other_model)
    sizes: dict[str, Any] = {"n_draws": draws, "bootstrap": bootstrap, "seed": seed}
    with out.progress_bar(1) as step:
        bar = step("Comparing")
        result = ecco_captum.compare(x, y, measure=measure, null=null, **sizes, progress=bar)
    files.write(result, paths)


def compare(
    first: Annotated[Path, typer.Argument(metavar="FIRST", help="A saved record, or a store.")],
    files: Files,
    engine: EngineOptions,
    second: Annotated[
        Path | None, typer.Argument(metavar="SECOND", help="Another (activations: or none).")
    ] = None,
    measure: Measure = "cka",
    draws: Draws = 99,
    null: Null = None,
    bootstrap: Bootstrap = 0,
    seed: Seed = 0,
) -> None:
    """Compare two saved results: attributions, or activations.

    Of two attributions of one text it shows how far they agree; of activations, how alike their
    layers are.
    ```bash
    ecco-captum compare ig.npz attn_lrp.npz
    ecco-captum compare states.npz neurons.zarr --measure pwcca
    ```
    """
    kinds = ecco_captum.Attribution, ecco_captum.Activations
    x, y = _saved(first), None if second is None else _saved(second)
    if isinstance(x, kinds[0]) and isinstance(y, kinds[0]):
        paths = files.paths(ecco_captum.Comparison, "compare")
        files.write(x.compare(y), paths)
        return
    if not isinstance(x, kinds[1]) or not isinstance(y, kinds[1] | None):
        names = " and ".join(type(given).__name__ for given in (x, y) if given is not None)
        raise ValueError(
            f"FIRST SECOND: got {names}, accepts two of Attribution, or Activations and none or "
            "another"
        )
    paths = files.paths(ecco_captum.Similarity, "compare")
    with out.progress_bar(1) as step:
        sizes: dict[str, Any] = {"n_draws": draws, "bootstrap": bootstrap, "seed": seed}
        how: dict[str, Any] = {"measure": measure, "null": null, "engine": engine.chosen()}
        result = ecco_captum.compare(x, y, **how, **sizes, progress=step("Comparing"))
    files.write(result, paths)


def _saved(path: Path) -> Record:
    """A record, or the activations of a store's folder."""
    return ecco_captum.Activations.open(path) if path.is_dir() else ecco_captum.load_record(path)


def show(
    record: Annotated[Path, typer.Argument(metavar="RECORD", help="A saved record, or a store.")],
    files: Files,
) -> None:
    """Show a saved record, or write it in another format.

    ```bash
    ecco-captum show paris.npz -o paris.pdf -o paris.csv
    ```
    """
    result = _saved(record)
    chosen = files.output is None and not files.as_json and not files.open_page
    files.write(result, [] if chosen else files.paths(type(result), "show"))


def probe(
    conllu: Annotated[Path, text_option("The treebank, in CoNLL-U.")],
    model: ModelOptions,
    files: Files,
    label: Label = "upos",
    tokens: Annotated[int, text_option("How many words, at most.")] = 10_000,
    representations: Annotated[Kinds, option("Which activations to probe.")] = "both",
    layers: TheseLayers = None,
    trials: Annotated[int, option("How often to draw splits and controls.")] = 5,
    epochs: Annotated[int, option("How often each probe sees the words.")] = 50,
    no_control: Annotated[bool, option("Leave out the control tasks.", "--no-control")] = False,
    split: Annotated[Literal["token", "sentence"], option("What to hold out.")] = "token",
    codelength: Annotated[bool, option("Also the description length.", "--codelength")] = False,
    checkpoint: Annotated[Path | None, option("Keep finished parts in this folder.")] = None,
    seed: Seed = 0,
) -> None:
    """Train linear probes on each layer.

    They predict a treebank's labels, beside control tasks with random labels.
    ```bash
    ecco-captum probe --model minilm-l6 --conllu en_ewt-ud-dev.conllu -o probes.html
    ```
    """
    model.check()
    paths, corpus = files.paths(ecco_captum.ProbeReport, "probe"), ecco_captum.read_conllu(conllu)
    corpus.labels(label)  # before the model is loaded
    lm = model.load()
    kinds = ["hidden", "neurons"] if representations == "both" else [representations]
    with out.progress_bar(1) as step:
        result = ecco_captum.probe(
            lm,
            corpus,
            label=label,
            representations=kinds,
            layers=layers,
            n_tokens=tokens,
            trials=trials,
            epochs=epochs,
            control=not no_control,
            split=split,
            codelength=codelength,
            checkpoint=checkpoint,
            seed=seed,
            progress=step("Probing"),
        )
    files.write(result, paths)


COMMANDS = (
    *(demo, models, report, generate, saliency, faithfulness, compare_methods),
    *(rankings, watch, layer_predictions, minimal_pairs, order_test),
    *(neurons, hidden_states, factors, similarity, compare, probe, show),
    *CORPUS_COMMANDS,
)
