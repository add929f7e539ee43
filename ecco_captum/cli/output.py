r"""What the commands print: tables and sentences on standard output, one bar on standard error."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ecco_captum.core.text import format_p, visible, visible_parts

if TYPE_CHECKING:
    import ecco_captum

_COLOURS = {"supported": "green", "partly supported": "yellow", "not supported": "red"}


def printable(text: str) -> str:
    """A text whose control characters cannot act on the terminal; lines still break."""
    return "".join(visible_parts(text))


def show(*blocks: RenderableType) -> None:
    """Prints blocks with an empty line between them; plain and unwrapped where is no terminal."""
    console = _console(sys.stdout)
    for k, block in enumerate(blocks):
        if k:
            console.print()
        console.print(printable(block) if isinstance(block, str) else block, crop=False)


def fail(message: str) -> None:
    """Says in one line why something could not be done."""
    print(f"ecco-captum: {printable(' '.join(message.split()))}", file=sys.stderr)


@contextlib.contextmanager
def progress_bar(steps: int) -> Iterator[Callable[[str], Callable[[float], None]]]:
    """One bar on a terminal: what it gives starts a step, and returns that step's progress."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description:11}"), BarColumn(), TimeElapsedColumn()
    console, hidden = _console(sys.stderr), not sys.stderr.isatty()
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task, done = bar.add_task("", total=steps), iter(range(steps))

        def start(step: str) -> Callable[[float], None]:
            before = next(done)
            bar.update(task, description=step, completed=before)
            return lambda part: bar.update(task, completed=before + part)

        yield start


def _console(file: TextIO) -> Console:
    """Texts are no markup: tokens may hold brackets and colons."""
    plain: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}
    width = None if file.isatty() else 1_000_000
    return Console(file=file, force_terminal=file.isatty(), width=width, **plain)


def file_line(name: str, path: Path) -> Text:
    """Where a file was written, on one line."""
    return Text(f"{name}: {path.absolute()}", no_wrap=True, overflow="ignore")


def _table(columns: Iterable[str], rows: Iterable[Iterable[Any]], texts: set[int]) -> Table:
    """Numbers stand at the right and on one line, columns of texts at the left."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for k, column in enumerate(columns):
        table.add_column(column, justify="left" if k in texts else "right", no_wrap=k not in texts)
    for row in rows:
        table.add_row(*map(str, row))
    return table


def text_of(generation: ecco_captum.Generation) -> str:
    """The prompt, and in brackets what the model wrote."""
    return f"{generation.prompt}[{generation.text}]"


def models_table(models: Iterable[Any]) -> Table:
    """The models that need no hub, each with what it is in the line below."""
    rows = []
    for model in models:
        size, here = f"{model.megabytes} MB", "yes" if model.cached else "no"
        rows.append((model.name, size, model.licence, here, f"{model.title}\n{model.kind}"))
    return _table(["NAME", "SIZE", "LICENCE", "HERE", "MODEL"], rows, {0, 2, 3, 4})


def saliency_table(attribution: ecco_captum.Attribution) -> Table:
    """Each explained output with its strongest sources."""
    generation, rows = attribution.generation, []
    texts, start = generation.tokens.texts, generation.tokens.prompt_length
    assert attribution.outputs is not None
    for output, share in zip(attribution.outputs, attribution.shares, strict=True):
        strongest = (-abs(share)).argsort()[:3]
        sources = "   ".join(f"{visible(texts[i])} {share[i]:.1%}" for i in strongest)
        numbers = f"{generation.logits[output]:.2f}", generation.ranks[output]
        rows.append((visible(texts[start + output]), *numbers, sources))
    return _table(["GENERATED", "LOGIT", "RANK", "STRONGEST SOURCES"], rows, {3})


def methods_table(comparison: ecco_captum.MethodComparison) -> Table:
    """Each method's score with its interval, its p-values and its seconds; the best first."""
    columns, rows = comparison.columns(), []
    for k in (-columns["lds"]).argsort(kind="stable"):
        score = (
            f"{columns['lds'][k]:.2f} [{columns['lds_low'][k]:.2f}, {columns['lds_high'][k]:.2f}]"
        )
        p_values = (format_p(columns[name][k]) for name in ("p_chance", "p_position"))
        seconds = f"{columns['seconds'][k]:.2f}" if k < len(comparison.methods) else ""
        rows.append((comparison.names[k], score, *p_values, seconds))
    return _table(["METHOD", "LDS", "P, CHANCE", "P, POSITION", "SECONDS"], rows, {0})


def findings(report: ecco_captum.Report) -> list[RenderableType]:
    """Of each analysis the question, the verdict, the number and the test; and what was skipped."""
    blocks: list[RenderableType] = []
    for finding in report.findings:
        verdict = (f"[{finding.verdict}]", _COLOURS.get(finding.verdict, ""))
        title = Text.assemble((finding.question, "bold"), "  ", verdict)
        lines = (Text(printable(line)) for line in (finding.answer, finding.outcome))
        blocks.append(Group(title, *(Padding.indent(line, 2) for line in lines)))
    return [*blocks, *(f"Skipped: {name}: {why}" for name, why in report.refused.items())]


def rankings_table(rankings: ecco_captum.Rankings) -> Table:
    """Each token's rank at a few layers, and from where on it stays first."""
    shown, layers, rows = _spread(len(rankings.layers)), list(rankings.layers), []
    for column, text in enumerate(rankings.target_texts):
        decided = rankings.decided[column]
        first = rankings.layer_names[layers.index(decided)] if decided >= 0 else "–"
        rows.append((visible(text), *rankings.ranks[shown, column], first))
    names = [rankings.layer_names[row] for row in shown]
    return _table(["TOKEN", *names, "FIRST FROM"], rows, {len(names) + 1})


def watched_table(watched: ecco_captum.WatchedRankings) -> Table:
    """The rank of each watched token at every layer, and the token that is first there."""
    names = [visible(text) for text in watched.watch_texts]
    tops = [visible(watched.texts[str(top)]) for top in watched.top_ids]
    layers = zip(watched.layer_names, watched.ranks, tops, strict=True)
    rows = [(layer, *ranks, top) for layer, ranks, top in layers]
    return _table(["LAYER", *names, "TOP TOKEN"], rows, {len(names) + 1})


def factors_table(factors: ecco_captum.Factors) -> Table:
    """How much each factor explains, and its top tokens."""
    rows = []
    for k, share in enumerate(factors.explained()):
        tokens = "  ".join(visible(text) for _, text, _ in factors.top_tokens(k, 8))
        rows.append((k, f"{share:.1%}", tokens))
    return _table(["FACTOR", "EXPLAINS", "TOP TOKENS"], rows, {2})


def similarity_table(similarity: ecco_captum.Similarity) -> Table:
    """A few layers, in brackets where two are no more similar than chance."""
    shown, columns = _spread(len(similarity.rows)), _spread(len(similarity.columns))
    chance, rows = similarity.within_chance, []
    for i in shown:
        values = zip(similarity.values[i, columns], chance[i, columns], strict=True)
        cells = (f"({value:.2f})" if within else f"{value:.2f} " for value, within in values)
        rows.append((similarity.rows[i], *cells))
    return _table(["", *(similarity.columns[j] for j in columns)], rows, set())


def probes_table(report: ecco_captum.ProbeReport) -> Table:
    """The accuracy of each probe, that of its control task, and the difference."""
    columns, rows = (report.accuracy, report.control_accuracy, report.selectivity), []
    for k, (kind, layer) in enumerate(zip(report.representations, report.layers, strict=True)):
        rows.append((kind, layer, *(f"{column[k].mean():.1%}" for column in columns)))
    return _table(["", "LAYER", "ACCURACY", "CONTROL", "SELECTIVITY"], rows, set())


def _spread(count: int, shown: int = 5) -> list[int]:
    """A few of so many layers, the first and the last among them."""
    return sorted({round(k * (count - 1) / (shown - 1)) for k in range(shown)})
