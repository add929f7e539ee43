r"""The commands over a corpus: by this process, or by workers of Ray."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import ecco_captum
from ecco_captum.cli import output as out
from ecco_captum.cli.options import (
    Files,
    ModelOptions,
    Negatives,
    Precision,
    Stack,
    model_option,
    option,
    parse_slice,
    text_option,
)
from ecco_captum.corpus.sources import is_url

_LISTED = 5  # problems that are printed

Long = Annotated[
    Literal["error", "split"],
    option("List texts longer than the context as problems, or cut them."),
]
Folder = Annotated[
    Path, option("The folder to write; a run that was cut off goes on there.", metavar="FOLDER")
]


@dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """Which texts, and how they are cut."""

    input: Annotated[
        list[str] | None,
        text_option(
            "A file (lines, JSON lines, CSV, Parquet), a folder, a pattern such as "
            "'data/*.parquet', or a URL such as s3://bucket/data.jsonl; repeatable. (default: the "
            "texts that the folder was begun with)",
            metavar="PATH",
        ),
    ] = None
    text_column: Annotated[
        str | None, text_option("The column of the texts (default: text, or the only one).")
    ] = None
    id_column: Annotated[
        str | None, text_option("The column of their ids (default: made of file and row).")
    ] = None
    tokens_per_part: Annotated[
        int, text_option("Tokens of a part: the unit of work, of file and of retry.")
    ] = 2**14

    def corpus(self) -> Any:
        """The texts, None where no input is given; that there are such files is checked."""
        if not self.input:
            return None
        sources: list[Any] = [name if is_url(name) else Path(name) for name in self.input]
        columns = {"text_column": self.text_column, "id_column": self.id_column}
        return ecco_captum.Corpus(sources, **columns)


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Who does the work."""

    engine: Annotated[Literal["local", "ray"], model_option("This process, or workers of Ray.")] = (
        "local"
    )
    address: Annotated[
        str | None, model_option("The Ray cluster, such as auto (default: a Ray of its own).")
    ] = None
    workers: Annotated[
        int | None, model_option("How many workers (default: all processors but one).")
    ] = None
    worker_cpus: Annotated[int, model_option("Processors, and threads, of each worker.")] = 1
    worker_gpus: Annotated[float, model_option("GPUs of each worker.")] = 0

    def chosen(self) -> Any:
        """The argument ``engine`` of analyses."""
        if self.engine == "local":
            return "local"
        return ecco_captum.RayEngine(
            workers=self.workers,
            num_cpus=self.worker_cpus,
            num_gpus=self.worker_gpus,
            address=self.address,
        )


def _recipe(model: ModelOptions) -> Any:
    options: dict[str, Any] = {"trust_remote_code": model.trust_remote_code}
    if model.dtype is not None:
        options["dtype"] = model.dtype
    return ecco_captum.ModelRecipe(model.model, options)


def _which(text: str) -> Any:
    return "all" if text == "all" else parse_slice(text)


def _layers_option(words: str) -> Any:
    return option(f"{words}: START:END, one number or all.", parser=_which, metavar="LAYERS")


def _tell_problems(problems: list[Any]) -> None:
    for problem in problems[:_LISTED]:
        out.note(f"left out or renamed: {problem.id}: {problem.reason}")
    if len(problems) > _LISTED:
        out.note(f"and {len(problems) - _LISTED} more, in plan.json and part.json of each part")


def capture(
    texts: CorpusOptions,
    model: ModelOptions,
    engine: EngineOptions,
    store: Folder = Path("ecco-captum-capture"),
    hidden_states: Annotated[Any, _layers_option("Rows of the residual stream")] = None,
    neurons: Annotated[Any, _layers_option("Blocks whose neurons are read")] = None,
    stack: Stack = "decoder",
    values: Precision = "float16",
    long: Long = "error",
    price: Annotated[
        bool, option("Only say what it would take: tokens, bytes, seconds.", "--price")
    ] = False,
) -> None:
    """Write hidden states and neurons of a corpus, by one process or many.

    ```bash
    ecco-captum capture --input 'data/*.parquet' --hidden-states all --store acts --price
    ecco-captum capture --input 'data/*.parquet' --hidden-states all --store acts --engine ray
    ```
    """
    model.check()
    corpus, recipe = texts.corpus(), _recipe(model)
    chosen: dict[str, Any] = {"hidden_states": hidden_states, "neurons": neurons, "stack": stack}
    chosen |= {"dtype": values, "long": long, "tokens_per_part": texts.tokens_per_part}
    if price:
        if corpus is None:
            raise ValueError("--price: there is no --input, accepts it with texts")
        print(ecco_captum.capture_price(recipe, corpus, **chosen))
        return
    made = ecco_captum.capture(recipe, corpus, store, **chosen, engine=engine.chosen())
    _tell_problems(made.problems)
    print(f"{made.plan}: {made.folder}")


Analysis = Annotated[
    str,
    typer.Argument(
        metavar="ANALYSIS",
        help="saliency, rankings, faithfulness or compare-methods; or a function of yours that is "
        "called with a model and a text, as MODULE:FUNCTION.",
    ),
]


def map_texts(
    analysis: Analysis,
    texts: CorpusOptions,
    model: ModelOptions,
    engine: EngineOptions,
    store: Folder = Path("ecco-captum-map"),
    method: Annotated[str, option("The attribution method.")] = "input_x_gradient",
    max_new_tokens: Annotated[int, option("How many tokens to write behind each text.")] = 1,
) -> None:
    """Run an analysis on each text of a corpus, and write its tables as Parquet.

    ```bash
    ecco-captum map rankings --input prompts.jsonl --store ranks
    ```
    """
    model.check()
    function = _function(analysis, method, max_new_tokens)
    made = ecco_captum.map_texts(
        _recipe(model),
        texts.corpus(),
        function,
        store,
        tokens_per_part=texts.tokens_per_part,
        engine=engine.chosen(),
    )
    _tell_problems(made.problems)
    print(f"{made.plan}: {made.folder}")


map_texts.__name__ = "map"


def _function(name: str, method: str, max_new_tokens: int) -> Callable[[Any, Any], Any]:
    if ":" in name:
        module, _, attribute = name.partition(":")
        try:
            function: Callable[[Any, Any], Any] = getattr(
                importlib.import_module(module), attribute
            )
        except (ImportError, AttributeError) as error:
            raise ValueError(f"ANALYSIS: {name!r} cannot be imported ({error})") from error
        return function
    if name not in ("saliency", "rankings", "faithfulness", "compare-methods"):
        raise ValueError(
            f"ANALYSIS: got {name!r}, accepts saliency, rankings, faithfulness, compare-methods or "
            "MODULE:FUNCTION"
        )
    return partial(analysed, name=name, method=method, max_new_tokens=max_new_tokens)


def analysed(lm: Any, text: Any, *, name: str, method: str, max_new_tokens: int) -> Any:
    """A record of one text."""
    options = {"max_new_tokens": max_new_tokens} if lm.model.can_generate() else {}
    generation = ecco_captum.generate(lm, text, progress=False, **options)
    if name == "rankings":
        return ecco_captum.rankings(lm, generation)
    if name == "compare-methods":
        return ecco_captum.compare_methods(lm, generation, progress=False)
    attribution = ecco_captum.saliency(lm, generation, method=method, progress=False)
    if name == "saliency":
        return attribution
    return ecco_captum.faithfulness(lm, attribution, progress=False)


def nmf(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A folder of activations.")],
    files: Files,
    engine: EngineOptions,
    components: Annotated[int, option("How many factors.")] = 8,
    negatives: Negatives = "split",
) -> None:
    """Find neurons that fire together, over activations on disk.

    ```bash
    ecco-captum nmf acts --components 20 --engine ray -o factors.npz
    ```
    """
    paths = files.paths(ecco_captum.Factors, "nmf")
    acts = ecco_captum.Activations.open(store)
    result = ecco_captum.nmf(acts, components, negatives=negatives, engine=engine.chosen())
    files.write(result, paths)


CORPUS_COMMANDS = (capture, map_texts, nmf)
