r"""Options that commands share: which model, which text, which files. They import no torch."""

from __future__ import annotations

import contextlib
import json
import sys
import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import typer

import ecco_captum
from ecco_captum.attribution.methods.names import check_name, possible_names
from ecco_captum.cli import output as out
from ecco_captum.cli.formats import STDOUT, check_formats, check_paths, formats_of, numbers, write
from ecco_captum.core.record_file import replacing
from ecco_captum.corpus.sources import rows_of_file, texts_in_file
from ecco_captum.models.checkpoint import check_reachable, config_of

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ecco_captum import Generation, LanguageModel
    from ecco_captum.core.progress import Progress

DEFAULT_MODEL = "smollm2-135m"


def _option(panel: str, words: str, *names: str, **settings: Any) -> Any:
    return typer.Option(*names, help=words, rich_help_panel=panel, **settings)


def _offline() -> list[str]:
    return [model.name for model in ecco_captum.offline_models()]


def method_names(context: typer.Context) -> list[str]:
    return list(possible_names(config_of(context.params.get("model") or DEFAULT_MODEL)))


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
model_option, file_option = partial(_option, "Model"), partial(_option, "Output")
slice_option = partial(option, parser=parse_slice, metavar="START:END")

Method = Annotated[
    str, option("The attribution method, such as ig or attn_lrp.", autocompletion=method_names)
]
Methods = Annotated[
    list[str] | None,
    option("Compare this method; repeatable.", "--method", autocompletion=method_names),
]
Score = Annotated[Literal["logit", "logprob", "prob", "entropy"], option("What to explain.")]
Versus = Annotated[list[str] | None, option("Contrast with this; repeatable.", metavar="TOKEN")]
Aggregate = Annotated[
    Literal["l2", "sum", "l1", "max_abs"] | None,
    option("How an embedding's attributions become one (default: the method's own)."),
]
Outputs = Annotated[slice | None, slice_option("Explain these outputs only.")]
Label = Annotated[str, text_option("The column to predict: upos, xpos, deprel or a feature.")]
_FROM_THE_END = "-3 is the third from the end, '-3:' the last three."
Layers = Annotated[slice | None, slice_option(f"0 is the embedding, 1 block 0; {_FROM_THE_END}")]
TheseLayers = Annotated[slice | None, slice_option(f"Only these, from 0; {_FROM_THE_END}")]
Lens = Annotated[Path | None, option("The folder of a tuned lens, to replace the logit lens.")]
Seed = Annotated[int, option("The seed of all random draws.")]
Measure = Annotated[Literal["cca", "svcca", "pwcca", "cka"], option("How to compare.")]
Negatives = Annotated[Literal["clip", "split", "abs"], option("How to treat negative activations.")]
Stack = Annotated[Literal["decoder", "encoder"], option("Of an encoder–decoder, whose tokens.")]
Precision = Annotated[
    Literal["float32", "float16", "float64"], option("The type of the values.", "--values")
]
Kinds = Literal["hidden", "neurons", "both"]


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model, and how it is loaded."""

    model: Annotated[
        str, model_option("Hub id, path or offline name.", autocompletion=_offline)
    ] = DEFAULT_MODEL
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None, model_option("Load in this precision.")
    ] = None
    trust_remote_code: Annotated[
        bool, model_option("Let the model's own code run.", "--trust-remote-code")
    ] = False

    def check(self, *methods: str) -> None:
        """Refuses methods that it cannot do, and a model that is nowhere; loads nothing."""
        config = config_of(self.model)
        for method in methods:
            check_name(method, config)
        check_reachable(self.model)

    def load(self, model: str | None = None) -> LanguageModel:
        """Loads the model, or another in the same way; on a terminal, bars show downloads."""
        name, terminal = model or self.model, sys.stderr.isatty()
        check_reachable(name)
        if terminal:
            print(f"Loading {name} …", file=sys.stderr)
        from transformers.utils import logging

        logging.disable_progress_bar()
        if terminal:
            logging.hf_hub_utils.enable_progress_bars()
        kwargs = {} if self.dtype is None else {"dtype": self.dtype}
        return ecco_captum.load(name, trust_remote_code=self.trust_remote_code, **kwargs)


def _without_newline(text: str, keep: bool) -> str:
    """Editors and echo end a text with a newline, which is no part of a prompt."""
    return text if keep else text.removesuffix("\n").removesuffix("\r")


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """The text that the model reads."""

    prompt: Annotated[str | None, text_option("The prompt; '-' reads standard input.")] = None
    prompt_file: Annotated[
        Path | None, text_option("Read the prompt from this file.", metavar="FILE")
    ] = None
    keep_newline: Annotated[
        bool, text_option("Keep the newline that ends a file or standard input.", "--keep-newline")
    ] = False

    def __post_init__(self) -> None:
        if (self.prompt is None) == (self.prompt_file is None):
            raise typer.BadParameter("give one of --prompt and --prompt-file")

    def read(self) -> str:
        """Returns the prompt itself, without one newline at the end of a file."""
        if self.prompt_file is not None:
            if not self.prompt_file.is_file():
                raise FileNotFoundError(f"--prompt-file: there is no file '{self.prompt_file}'")
            text = self.prompt_file.read_text(encoding="utf-8-sig")
            return _without_newline(text, self.keep_newline)
        if self.prompt == "-":
            return _without_newline(sys.stdin.read(), self.keep_newline)
        return str(self.prompt)


@dataclass(frozen=True, kw_only=True)
class Generated(Prompt):
    """The prompt, and how the model goes on."""

    max_new_tokens: Annotated[int, text_option("How many tokens to write, at most.")] = 32
    continuation: Annotated[str | None, text_option("Read this text, generate none.")] = None
    seed: Annotated[int | None, text_option("Sample with this seed, not greedily.")] = None

    def generate(
        self, lm: LanguageModel, prompt: str, progress: Progress, continuation: str | None = None
    ) -> Generation:
        """Returns what the model writes, fills in or calls the prompt; or the continuation."""
        given = self.continuation if continuation is None else continuation
        if given is not None:
            return ecco_captum.force_decode(lm, prompt, given)
        options: dict[str, Any] = {}
        if lm.model.can_generate():
            options["max_new_tokens"] = self.max_new_tokens
            if self.seed is not None:
                options |= {"do_sample": True, "seed": self.seed}
        return ecco_captum.generate(lm, prompt, progress=progress, **options)


@dataclass(frozen=True)
class BatchPrompt:
    """One of many prompts."""

    id: Any
    prompt: str
    continuation: str | None = None


@dataclass(frozen=True, kw_only=True)
class Prompts(Prompt):
    """A prompt, or many of them, which are read as they are."""

    continued: ClassVar[bool] = False

    prompts_file: Annotated[
        Path | None,
        text_option(
            'Many prompts, a row of results each: lines, or JSON lines {"prompt": …, "id": …}.',
            metavar="FILE",
        ),
    ] = None

    def __post_init__(self) -> None:
        given = (self.prompt, self.prompt_file, self.prompts_file)
        if sum(value is not None for value in given) != 1:
            raise typer.BadParameter("give one of --prompt, --prompt-file and --prompts-file")

    def prompts(self) -> list[BatchPrompt]:
        """The prompts of the file, all of them read before anything is computed."""
        path = self.prompts_file
        assert path is not None
        prompts = []
        for k, row in enumerate(rows_of_file(path), start=1):
            if row:
                prompts.append(_batch_prompt(f"{str(path)!r}, row {k}", k, row))
                if prompts[-1].continuation is not None and not self.continued:
                    raise ValueError(
                        f"--prompts-file: {str(path)!r}, row {k}: it has a continuation, accepts "
                        "none: this command reads prompts as they are"
                    )
        if not prompts:
            raise ValueError(f"--prompts-file: {str(path)!r} is empty, accepts some prompts")
        return prompts


@dataclass(frozen=True, kw_only=True)
class Many(Prompts, Generated):
    """A prompt, or many of them; and how the model goes on."""

    continued: ClassVar[bool] = True


def _batch_prompt(where: str, number: int, row: Any) -> BatchPrompt:
    if isinstance(row, str):
        return BatchPrompt(number, row)
    if not isinstance(row, Mapping) or not isinstance(row.get("prompt"), str):
        raise ValueError(
            f"--prompts-file: {where}: got {json.dumps(row, default=str)[:80]}, accepts a text, or "
            'an object with a "prompt"'
        )
    continuation = row.get("continuation")
    if not isinstance(continuation, str | None):
        raise ValueError(f"--prompts-file: {where}: its continuation is {continuation!r}, no text")
    identifier = row.get("id")
    return BatchPrompt(number if identifier is None else identifier, row["prompt"], continuation)


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Many texts, or a few."""

    text_file: Annotated[
        Path | None,
        text_option(
            "Texts: lines, JSON lines, CSV or Parquet (the column 'text').", metavar="FILE"
        ),
    ] = None
    text: Annotated[list[str] | None, text_option("A text; repeatable.")] = None

    def __post_init__(self) -> None:
        if (self.text_file is None) == (not self.text):
            raise typer.BadParameter("give one of --text-file and --text")

    def read(self) -> list[str]:
        """Returns the texts; blank ones are left out."""
        given = self.text or [] if self.text_file is None else texts_in_file(self.text_file)
        texts = [text for text in given if not isinstance(text, str) or text.strip()]
        if not texts:
            name = "--text" if self.text_file is None else f"--text-file: {str(self.text_file)!r}"
            raise ValueError(f"{name} is empty, accepts some text")
        return texts


@dataclass(frozen=True, kw_only=True)
class Files:
    """Where results go; refused before anything is computed that could then not be written."""

    output: Annotated[
        list[Path] | None,
        file_option(
            "Write this file, by its ending a page (.html), the record (.npz), numbers (.json), a "
            "table (.csv, .parquet) or a figure (.png, .pdf, .svg); repeatable. '-' is standard "
            "output. (default: a page called after the command)",
            "--output",
            "-o",
            metavar="FILE",
        ),
    ] = None
    as_json: Annotated[
        bool, file_option("Print the numbers as JSON, and nothing else.", "--json")
    ] = False
    open_page: Annotated[bool, file_option("Open the page in a browser.", "--open")] = False

    def __post_init__(self) -> None:
        check_paths(self.output or ())

    def paths(self, kind: type, name: str) -> list[Path]:
        """The files to write for a kind of result, checked; by default one called after a name."""
        chosen = self.output
        if chosen is None:
            default = Path(f"ecco-captum-{name}{formats_of(kind)[0]}")
            chosen = [] if self.as_json else [default]
        check_formats(chosen, kind)
        paths = [path for path in chosen if path != STDOUT]
        if self.open_page and not any(path.suffix.lower() == ".html" for path in paths):
            raise ValueError("--open: no page is written, accepts it with -o NAME.html")
        return paths

    def early_page(self, paths: Sequence[Path]) -> EarlyPage:
        """What shows the pages among these before the result is whole."""
        return EarlyPage([path for path in paths if path.suffix.lower() == ".html"], self.open_page)

    def write(
        self,
        result: Any,
        paths: Sequence[Path],
        *blocks: RenderableType,
        opened: bool = False,
        **beside: Any,
    ) -> None:
        """Writes the files and prints the result, these blocks, and where the files are."""
        lines = [out.file_line(write(result, path, beside), path) for path in paths]
        if self.as_json:
            print(numbers(result, beside))
            out.note(*lines)
        else:
            out.show(*result.terminal(), *blocks, *lines)
        if self.open_page and not opened:
            open_in_browser(next(path for path in paths if path.suffix.lower() == ".html"))


def open_in_browser(page: Path) -> None:
    """Opens a page, or says that it cannot be."""
    if not webbrowser.open(page.absolute().as_uri()):
        out.fail(f"no browser was found to open {page.absolute()}")


class EarlyPage(contextlib.AbstractContextManager["EarlyPage"]):
    """Writes pages of a result that grows; a page that is open loads itself again meanwhile.

    Where the result does not come to its end, what stood there before is put back.
    """

    def __init__(self, pages: list[Path], open_page: bool) -> None:
        self.pages, self.open_page = pages, open_page
        self.opened = self.written = False
        self.before = {page: page.read_bytes() if page.exists() else None for page in pages}

    def update(self, so_far: Any) -> None:
        """Writes what is there so far; the first time, opens it or says where it is."""
        for page in self.pages:
            so_far.to_html(page)
        if self.written or not self.pages:
            return
        self.written, self.opened = True, self.open_page
        if self.open_page:
            open_in_browser(self.pages[0])
        elif sys.stderr.isatty():
            out.note(out.file_line("The page grows here", self.pages[0]))

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            return
        for page, content in self.before.items():
            if content is None:
                page.unlink(missing_ok=True)
            else:
                with replacing(page) as file:
                    file.write(content)


@dataclass(frozen=True, kw_only=True)
class StoredFiles(Files):
    """The same of activations, whose values may stay in a folder."""

    store: Annotated[
        Path | None,
        file_option(
            "Write the values into this folder (Zarr), with bounded memory; a run that was cut off "
            "goes on there. No other file is then written unless it is named.",
            metavar="FOLDER",
        ),
    ] = None
    output: Annotated[
        list[Path] | None,
        file_option(
            "Write this file, by its ending the record (.npz), numbers (.json) or a table (.csv, "
            ".parquet); repeatable. '-' is standard output. (default: a record called after the "
            "command)",
            "--output",
            "-o",
            metavar="FILE",
        ),
    ] = None
    open_page: bool = field(default=False, init=False)

    def paths(self, kind: type, name: str) -> list[Path]:
        """As ever; none by default where the values are in a folder."""
        if self.store is not None and self.output is None:
            return []
        return super().paths(kind, name)
