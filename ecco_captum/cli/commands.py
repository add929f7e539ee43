r"""The commands: each loads a model, runs one analysis, writes its files and prints it."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import ecco_captum
from ecco_captum.cli import output as out

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ecco_captum import Activations, Generation, LanguageModel
    from ecco_captum.core.progress import Progress

DEMO_MODEL = "smollm2-135m"
DEMO_PROMPT = "The countries of the European Union are:\n1. Austria\n2. Belgium\n3. Bulgaria\n4."


def _option(panel: str, words: str, *names: str, **settings: Any) -> Any:
    return typer.Option(*names, help=words, rich_help_panel=panel, **settings)


def _offline() -> list[str]:
    return [model.name for model in ecco_captum.offline_models()]


def parse_slice(text: str) -> slice:
    """Reads a slice as Python writes it, or one index."""
    try:
        if ":" not in text:
            return slice(int(text), int(text) + 1 or None)
        start, end = (int(part) if part else None for part in text.split(":"))
        return slice(start, end)
    except ValueError:
        raise typer.BadParameter(f"got {text!r}, accepts START:END or one number") from None


option, text_option = partial(_option, "Analysis"), partial(_option, "Text")
model_option, file_option = partial(_option, "Model"), partial(_option, "Output", metavar="FILE")
slice_option = partial(option, parser=parse_slice, metavar="START:END")

Model = Annotated[str, model_option("Hub id, path or offline name.", autocompletion=_offline)]
OwnCode = Annotated[bool, model_option("Let the model's own code run.", "--trust-remote-code")]
Output = Annotated[Path | None, file_option("Write the HTML report here.", "--output", "-o")]
Method = Annotated[str, option("The attribution method, such as ig or attn_lrp.")]
Methods = Annotated[list[str] | None, option("Compare this method; repeatable.", "--method")]
Score = Annotated[str, option("What to explain: logit, logprob, prob or entropy.")]
Versus = Annotated[list[str] | None, option("Contrast with this; repeatable.", metavar="TOKEN")]
Aggregate = Annotated[str | None, option("l2, sum, l1 or max_abs (default: the method's own).")]
Label = Annotated[str, text_option("The column to predict: upos, xpos, deprel or a feature.")]
Layers = Annotated[slice | None, slice_option("0 is the embedding, 1 block 0; '-3:' the last 3.")]
TheseLayers = Annotated[slice | None, slice_option("Only these, counted from 0.")]
Lens = Annotated[Path | None, option("The folder of a tuned lens, to replace the logit lens.")]
Positions = Annotated[Literal["outputs", "all"], option("Outputs, or the prompt's tokens too.")]
Words = Annotated[list[str] | None, typer.Argument(metavar="WORD", help="Tokens to watch.")]
Ids = Annotated[list[int] | None, option("Watch this token id; repeatable.", "--id", metavar="N")]
Negatives = Annotated[Literal["clip", "split", "abs"], option("How to treat negative activations.")]
Effects = Annotated[list[int] | None, option("Ablate this factor; repeatable.", metavar="K")]
Kinds = Literal["hidden", "neurons", "both"]


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model, and how it is loaded."""

    model: Model = DEMO_MODEL
    dtype: Annotated[str | None, model_option("Load as float32, bfloat16 or float16.")] = None
    trust_remote_code: OwnCode = False

    def load(self, model: str | None = None) -> LanguageModel:
        """Loads the model, or another in the same way; on a terminal, bars show downloads."""
        name, terminal = model or self.model, sys.stderr.isatty()
        if terminal:
            print(f"Loading {name} …", file=sys.stderr)
        from transformers.utils import logging

        logging.disable_progress_bar()
        if terminal:
            logging.hf_hub_utils.enable_progress_bars()
        kwargs = {} if self.dtype is None else {"dtype": self.dtype}
        return ecco_captum.load(name, trust_remote_code=self.trust_remote_code, **kwargs)


@dataclass(frozen=True, kw_only=True)
class NamedModel(ModelOptions):
    """A model that must be named."""

    model: Model = field()


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """The text that the model reads."""

    prompt: Annotated[str | None, text_option("The prompt; '-' reads standard input.")] = None
    prompt_file: Annotated[Path | None, text_option("Read the prompt from this file.")] = None

    def __post_init__(self) -> None:
        if (self.prompt is None) == (self.prompt_file is None):
            raise typer.BadParameter("give one of --prompt and --prompt-file")

    def read(self) -> str:
        """Returns the prompt itself."""
        if self.prompt_file is not None:
            return self.prompt_file.read_text(encoding="utf-8")
        return sys.stdin.read() if self.prompt == "-" else str(self.prompt)


@dataclass(frozen=True, kw_only=True)
class Generated(Prompt):
    """The prompt, and how the model goes on."""

    max_new_tokens: Annotated[int, text_option("How many tokens to write, at most.")] = 32
    continuation: Annotated[str | None, text_option("Read this text, generate none.")] = None
    seed: Annotated[int | None, text_option("Sample with this seed, not greedily.")] = None

    def generate(self, lm: LanguageModel, prompt: str, progress: Progress) -> Generation:
        """Returns what the model writes, fills in or calls the prompt; or the continuation."""
        if self.continuation is not None:
            return ecco_captum.force_decode(lm, prompt, self.continuation)
        options: dict[str, Any] = {}
        if lm.model.can_generate():
            options["max_new_tokens"] = self.max_new_tokens
            if self.seed is not None:
                options |= {"do_sample": True, "seed": self.seed}
        return ecco_captum.generate(lm, prompt, progress=progress, **options)


@dataclass(frozen=True, kw_only=True)
class Files:
    """Where results go; refused before anything is computed that could then not be written."""

    output: Output = None
    save: Annotated[Path | None, file_option("Save the record (.npz) for load_record().")] = None
    plot: Annotated[Path | None, file_option("Write the figure (.pdf, .svg, .png).")] = None

    def __post_init__(self) -> None:
        named: dict[Path, str] = {}
        for name, path in vars(self).items():
            if path is None:
                continue
            place = path.absolute()
            if not place.parent.is_dir():
                raise FileNotFoundError(f"--{name}: there is no folder '{place.parent}'")
            if path.is_dir():
                raise IsADirectoryError(f"--{name}: '{path}' is a folder, accepts a file")
            if (other := named.setdefault(place, name)) != name:
                raise ValueError(f"--{name}: '{path}' is where --{other} goes; name another file")
        if self.plot is not None and self.plot.suffix not in (".pdf", ".svg", ".png"):
            raise ValueError(f"--plot: got '{self.plot}', accepts a name with .pdf, .svg, .png")
        if self.plot is not None and importlib.util.find_spec("matplotlib") is None:
            raise ValueError("--plot: needs matplotlib: pip install 'ecco-captum[plot]'")

    def write(self, record: Any, *blocks: RenderableType, **page: Any) -> None:
        """Writes what was asked for, then prints these blocks and where the files are."""
        if self.save is not None:
            record.save(self.save)
        if self.plot is not None:
            record.plot().savefig(self.plot)
        if self.output is not None:
            record.to_html(self.output, **page)
        lines = ("Figure", self.plot), ("Report", self.output)
        out.show(*blocks, *(out.file_line(name, path) for name, path in lines if path is not None))


@dataclass(frozen=True, kw_only=True)
class ReportFiles(Files):
    """A report that must be named, and no figure."""

    output: Output = field()
    plot: Path | None = field(default=None, init=False)


def demo(output: Output = Path("ecco-captum-demo.html")) -> None:
    """Run every analysis on a text of SmolLM2-135M."""
    text = Generated(prompt=DEMO_PROMPT, max_new_tokens=24)
    report(text=text, model=NamedModel(model=DEMO_MODEL), files=ReportFiles(output=output))


def models() -> None:
    """List the models that need no model hub."""
    note = "Fetched once, at first use. Any model of the Hugging Face hub works as well, by its id."
    out.show(out.models_table(ecco_captum.offline_models()), note)


def report(
    text: Generated,
    model: NamedModel,
    files: ReportFiles,
    method: Annotated[str | None, option("The method (default: the best of three).")] = None,
    components: Annotated[int, option("How many factors, at most.")] = 6,
    conllu: Annotated[Path | None, text_option("A treebank; else the built-in one.")] = None,
    label: Label = "upos",
) -> None:
    """Run every analysis on one text.

    Generates the text and writes one page, where each analysis comes with its test.
    ```bash
    ecco-captum report --model smollm2-135m --prompt "Paris is in" -o paris.html
    ```
    """
    from ecco_captum.attribution.methods.catalogue import get_method

    prompt, corpus = text.read(), ecco_captum.read_conllu(conllu)
    if method is not None:
        get_method(method)
    corpus.labels(label)  # before the model is loaded
    lm = model.load()
    with out.progress_bar(2) as step:
        generation = text.generate(lm, prompt, step("Generating"))
        result = ecco_captum.report(
            lm,
            generation,
            method=method,
            n_components=components,
            corpus=corpus,
            label=label,
            progress=step("Analysing"),
        )
    files.write(result, *result.terminal())


def saliency(
    text: Generated,
    model: NamedModel,
    files: ReportFiles,
    method: Method = "input_x_gradient",
    score: Score = "logit",
    versus: Versus = None,
    aggregate: Aggregate = None,
    outputs: Annotated[slice | None, slice_option("Explain these outputs only.")] = None,
    tested: Annotated[bool, option("Test it by removing top tokens.", "--faithfulness")] = False,
) -> None:
    """Show which tokens each token came from.

    Generates a text and attributes each generated token to the tokens before it.
    ```bash
    ecco-captum saliency --model smollm2-135m --prompt "Paris is in" -o paris.html
    ```
    """
    from ecco_captum.attribution.methods.catalogue import get_method
    from ecco_captum.generation.scores import as_score

    prompt = text.read()
    get_method(method), as_score(score)  # before the model is loaded
    lm, test = model.load(), None
    with out.progress_bar(2 + tested) as step:
        generation = text.generate(lm, prompt, step("Generating"))
        attribution = ecco_captum.saliency(
            lm,
            generation,
            method=method,
            score=score,
            versus=versus or None,
            aggregate=aggregate,  # type: ignore[arg-type]  # checked there
            outputs=outputs,
            progress=step("Attributing"),
        )
        if tested:
            test = ecco_captum.faithfulness(lm, attribution, progress=step("Testing"))
    blocks = [*attribution.terminal(), *(test.terminal()[1:] if test else [])]
    files.write(attribution, *blocks, faithfulness=test)


def compare_methods(
    text: Generated,
    model: NamedModel,
    files: Files,
    method: Methods = None,
    score: Score = "logit",
    versus: Versus = None,
    outputs: Annotated[slice | None, slice_option("Explain these outputs only.")] = None,
    orders: Annotated[int, option("Random orders in which tokens are removed.")] = 39,
) -> None:
    """Compare attribution methods on the same removals.

    Explains a text by each method, and tests which predicts what removing tokens costs.
    ```bash
    ecco-captum compare-methods --model smollm2-135m --prompt "Paris is in" -o methods.html
    ```
    """
    from ecco_captum.attribution.method_comparison.compare import METHODS
    from ecco_captum.attribution.methods.catalogue import get_method
    from ecco_captum.generation.scores import as_score

    prompt, named = text.read(), method or list(METHODS)
    for name in named:
        get_method(name)
    as_score(score)  # before the model is loaded
    lm = model.load()
    with out.progress_bar(2) as step:
        generation = text.generate(lm, prompt, step("Generating"))
        result = ecco_captum.compare_methods(
            lm,
            generation,
            methods=named,
            score=score,
            versus=versus or None,
            outputs=outputs,
            orders=orders,
            progress=step("Comparing"),
        )
    files.write(result, *result.terminal())


def rankings(
    text: Generated,
    model: ModelOptions,
    files: Files,
    layers: Layers = None,
    lens: Lens = None,
    value: Annotated[Literal["rank", "logit", "prob"], option("What to show.")] = "rank",
    positions: Positions = "outputs",
    no_control: Annotated[bool, option("Leave out the shuffled model.", "--no-control")] = False,
) -> None:
    """Rank each generated token at every layer.

    Generates a text and shows when each token becomes the top prediction.
    ```bash
    ecco-captum rankings --prompt "The capital of France is" -o rankings.html
    ```
    """
    prompt = text.read()
    lm = model.load()
    with out.progress_bar(2) as step:
        generation = text.generate(lm, prompt, step("Generating"))
        step("Ranking")
        result = ecco_captum.rankings(
            lm,
            generation,
            layers=layers,
            value=value,
            positions=positions,
            lens=lens,
            control=not no_control,
        )
    files.write(result, *result.terminal())


def watch(
    text: Prompt,
    model: ModelOptions,
    files: Files,
    words: Words = None,
    layers: Layers = None,
    lens: Lens = None,
    ids: Ids = None,
    position: Annotated[int, option("What follows this token; -1 is the last.")] = -1,
) -> None:
    """Rank several tokens at one position.

    Shows which WORD each layer prefers as the next token; a WORD has its leading space.
    ```bash
    ecco-captum watch --prompt "The keys to the cabinet" " is" " are"
    ```
    """
    prompt, watched = text.read(), [*(words or ()), *(ids or ())]
    if not watched:
        raise ValueError("WORD: got none, accepts at least one token to watch")
    options: dict[str, Any] = {"position": position, "layers": layers, "lens": lens}
    result = ecco_captum.rankings_watch(model.load(), prompt, watched, **options)
    files.write(result, *result.terminal())


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
    prompt, ablated = text.read(), effect or []
    lm = model.load()
    with out.progress_bar(3 + len(ablated)) as step:
        acts = ecco_captum.neurons(lm, prompt, layers=layers, progress=step("Reading"))
        step("Factorising")
        result = ecco_captum.nmf(acts, components, negatives=negatives)
        step("Fitting again")
        stable = result.stability(stability) if stability else None
        effects = [result.effect(lm, prompt, k, progress=step("Ablating")) for k in ablated]
    blocks = [*result.terminal(), *(effect.sentence for effect in effects)]
    files.write(result, *blocks, effects=effects, stability=stable)


def similarity(
    text_file: Annotated[Path, text_option("Texts, one in each line.")],
    model: ModelOptions,
    files: Files,
    other_model: Annotated[str | None, model_option("Compare with this model.")] = None,
    measure: Annotated[Literal["cca", "svcca", "pwcca", "cka"], option("How to compare.")] = "cka",
    representations: Annotated[Kinds, option("Which activations to compare.")] = "hidden",
    layers: TheseLayers = None,
    draws: Annotated[int, option("Draws of the null, for p-values.")] = 99,
    null: Annotated[
        Literal["texts", "shift", "tokens"] | None, option("What changes places under the null.")
    ] = None,
    bootstrap: Annotated[int, option("Resamples of the texts, for an interval.")] = 0,
    seed: Annotated[int, option("The seed of draws and resamples.")] = 0,
) -> None:
    """Compare layers of a model, or of two.

    Each value is tested against tokens in other places.
    ```bash
    ecco-captum similarity --model minilm-l6 --text-file lines.txt -o similarity.html
    ```
    """
    lines = text_file.read_text(encoding="utf-8").splitlines()
    texts = [line.strip() for line in lines if line.strip()]
    if not texts:
        raise ValueError(f"--text-file: {str(text_file)!r} is empty, accepts some lines")
    readers = {"hidden": ecco_captum.hidden_states, "neurons": ecco_captum.neurons}
    chosen = [read for kind, read in readers.items() if representations in (kind, "both")]

    def states(name: str) -> list[Activations]:
        lm = model.load(name)
        with out.progress_bar(len(chosen)) as step:
            return [read(lm, texts, layers=layers, progress=step("Reading")) for read in chosen]

    x, y = states(model.model), None if other_model is None else states(other_model)
    sizes = {"n_draws": draws, "bootstrap": bootstrap, "seed": seed}
    with out.progress_bar(1) as step:
        bar = step("Comparing")
        result = ecco_captum.compare(x, y, measure=measure, null=null, **sizes, progress=bar)
    files.write(result, *result.terminal())


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
    seed: Annotated[int, option("The seed of all random draws.")] = 0,
) -> None:
    """Train linear probes on each layer.

    They predict a treebank's labels, beside control tasks with random labels.
    ```bash
    ecco-captum probe --model minilm-l6 --conllu en_ewt-ud-dev.conllu -o probes.html
    ```
    """
    corpus = ecco_captum.read_conllu(conllu)
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
    files.write(result, *result.terminal())


COMMANDS = (
    *(demo, models, report, saliency, compare_methods),
    *(rankings, watch, factors, similarity, probe),
)
