r"""The command ``ecco-captum``: ``app`` is typer's, ``main`` runs it and returns the exit code."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import io
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from ecco_captum._version import __version__
from ecco_captum.cli.commands import COMMANDS
from ecco_captum.cli.options import Prompt, Prompts, Texts
from ecco_captum.cli.output import fail


def _groups(function: Callable[..., None]) -> dict[str, Any]:
    """The dataclasses of options that a command has, by its parameters' names."""
    own = inspect.signature(function, eval_str=True).parameters.values()
    return {p.name: p.annotation for p in own if dataclasses.is_dataclass(p.annotation)}


def _reading(kind: type) -> list[str]:
    """The commands that read their text by these options."""
    return [
        command.__name__.replace("_", "-")
        for command in COMMANDS
        if any(issubclass(group, kind) for group in _groups(command).values())
    ]


_ROWS, _MANY_TEXTS = _reading(Prompts), _reading(Texts)
_ONE_PROMPT = [name for name in _reading(Prompt) if name not in _ROWS]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["--help", "-h"]},
    epilog=(
        f"A row for each prompt of --prompts-file: {', '.join(_ROWS)}. Many texts in one result, "
        f"by --text-file: {', '.join(_MANY_TEXTS)}. One prompt: {', '.join(_ONE_PROMPT)}.\n\n"
        "Exit codes: 0 done, 1 failed (one line says why), 2 wrong usage, 3 some prompts of "
        "--prompts-file failed (their rows say why), 130 interrupted."
    ),
)


# What ends a command in one line; anything else is a mistake of ours, and shows where.
_EXPECTED = (ValueError, TypeError, OSError, RuntimeError, MemoryError, ImportError)


def main(arguments: Sequence[str] | None = None) -> int:
    r"""Runs the command.

    Args:
        arguments (Sequence of str, optional): the words after the command's name. Default: those of
            the process.

    Returns:
        int: the exit code: 0 done, 1 it could not be done, 2 wrong usage, 3 some prompts of a file
        failed, 130 interrupted.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a character must not stop the work.
        sys.stdout.reconfigure(errors="replace")
    try:
        typer.main.get_command(app).main(arguments, prog_name="ecco-captum")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"ecco-captum {__version__}")
        raise typer.Exit


_TRACEBACK = typer.Option("--traceback", help="Show Python's traceback on errors.")
_NO_ROWS = typer.Option("--prompts-file", hidden=True)
_VERSION = typer.Option("--version", callback=_print_version, help="Show the version and exit.")


@app.callback()
def _describe(version: Annotated[bool, _VERSION] = False) -> None:
    """Look inside a language model: the earlier tokens each token came from, the layer where it
    became the top prediction, neurons that fire together, how similar layers are, what they know.
    ```bash
    ecco-captum demo
    ecco-captum saliency --model gpt2 --prompt-file prompt.txt -o saliency.html -o saliency.npz
    ecco-captum watch --prompt "The keys to the cabinet" " is" " are"
    ecco-captum COMMAND --help
    ```
    """


def _why_no_rows(name: str) -> str:
    """Why a command has no row for each prompt, and what it reads instead."""
    if name in _MANY_TEXTS:
        return f"{name} has no --prompts-file: it reads many texts at a time, by --text-file"
    if name in _ONE_PROMPT:
        rows = ", ".join(_ROWS)
        return (
            f"{name} has no --prompts-file: it reads one prompt, by --prompt or --prompt-file; a "
            f"row for each prompt comes from {rows}"
        )
    return f"{name} has no --prompts-file: it reads no prompt"


def _for_typer(function: Callable[..., None]) -> Callable[..., None]:
    """Makes options of the fields of a function's dataclasses, and exit codes of its errors."""
    own, groups = inspect.signature(function, eval_str=True).parameters, _groups(function)
    command = function.__name__.replace("_", "-")
    fields = {k: inspect.signature(groups[k], eval_str=True).parameters for k in groups}

    @functools.wraps(function)
    def run(*, context: typer.Context, traceback: bool, **values: Any) -> None:
        try:
            if values.pop("no_rows", None) is not None:
                raise typer.BadParameter(_why_no_rows(command))
            for name, group in groups.items():
                values[name] = group(**{field: values.pop(field) for field in fields[name]})
            function(**values)
            sys.stdout.flush()
        except typer.BadParameter as error:
            error.ctx = context
            raise
        except typer.Exit:
            raise
        except KeyboardInterrupt:
            fail("interrupted")
            raise typer.Exit(130) from None
        except _EXPECTED as error:
            # Of a broken pipe, whose reader has left, typer says nothing.
            if traceback or isinstance(error, BrokenPipeError):
                raise
            fail(f"error: {error}")
            raise typer.Exit(1) from None

    keyword, flag = inspect.Parameter.KEYWORD_ONLY, Annotated[bool, _TRACEBACK]
    parameters = [p for name in own for p in fields.get(name, {name: own[name]}).values()]
    if command not in _ROWS:
        hidden = Annotated[str | None, _NO_ROWS]
        parameters.append(inspect.Parameter("no_rows", keyword, annotation=hidden, default=None))
    parameters.append(inspect.Parameter("traceback", keyword, annotation=flag, default=False))
    parameters.append(inspect.Parameter("context", keyword, annotation=typer.Context))
    parameters = [parameter.replace(kind=keyword) for parameter in parameters]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


for _function in COMMANDS:
    app.command()(_for_typer(_function))
