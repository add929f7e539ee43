r"""What the commands print: results on standard output, one bar and errors on standard error."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ecco_captum.display.terminal import as_text, console, print_blocks, printable, table


def show(*blocks: RenderableType) -> None:
    """Prints blocks with an empty line between them; plain and unwrapped where is no terminal."""
    print(as_text(blocks))


def note(*lines: RenderableType) -> None:
    """Says something that is no result, on standard error."""
    print_blocks(console(sys.stderr), lines)


def fail(message: str) -> None:
    """Says in one line why something could not be done."""
    print(f"ecco-captum: {printable(' '.join(message.split()))}", file=sys.stderr)


@contextlib.contextmanager
def progress_bar(steps: int) -> Iterator[Callable[[str], Callable[[float], None]]]:
    """One bar on a terminal: what it gives starts a step, and returns that step's progress."""
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:11}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    screen, hidden = console(sys.stderr), not sys.stderr.isatty()
    with Progress(*columns, console=screen, transient=True, disable=hidden) as bar:
        task, done = bar.add_task("", total=steps), iter(range(steps))

        def start(step: str) -> Callable[[float], None]:
            before = next(done)
            bar.update(task, description=step, completed=before)
            return lambda part: bar.update(task, completed=before + part)

        yield start


def file_line(name: str, path: Path) -> Text:
    """Where a file was written, on one line."""
    return Text(f"{name}: {path.absolute()}", no_wrap=True, overflow="ignore")


def models_table(models: Iterable[Any]) -> Table:
    """The models that need no hub, each with what it is in the line below."""
    rows = []
    for model in models:
        size, here = f"{model.megabytes} MB", "yes" if model.cached else "no"
        rows.append((model.name, size, model.licence, here, Text(f"{model.title}\n{model.kind}")))
    return table(["NAME", "SIZE", "LICENCE", "HERE", "MODEL"], rows, {0, 2, 3, 4})
