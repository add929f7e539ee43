r"""Many prompts in one run: a row of results for each, and the reason where one failed."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import typer
from rich.console import RenderableType

from ecco_captum.cli import output as out
from ecco_captum.cli.options import BatchPrompt, Files, Many, ModelOptions, Prompts
from ecco_captum.core.exchange import arrow_table
from ecco_captum.core.record import Record, data_frame
from ecco_captum.core.text import format_number, visible
from ecco_captum.display.terminal import table

if TYPE_CHECKING:
    from ecco_captum import (
        Attribution,
        Faithfulness,
        LanguageModel,
        MethodComparison,
        Rankings,
        WatchedRankings,
    )

SOME_FAILED = 3
"""The exit code where some prompts of a file failed."""


@dataclass
class PromptTable:
    """A row for each prompt: id, prompt, output where it is continued, error, and in short what its
    analysis says."""

    formats: ClassVar[tuple[str, ...]] = (".csv", ".json", ".parquet")

    columns: list[str]
    rows: list[dict[str, Any]] = field(default_factory=list)
    results: list[Record | None] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """How many prompts failed."""
        return sum(row["error"] is not None for row in self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return ({name: row.get(name) for name in self.columns} for row in self.rows)

    def to_csv(self) -> str:
        """The rows as CSV, which needs no pandas."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self)
        return text.getvalue()

    def with_results(self) -> list[dict[str, Any]]:
        """The rows, each with the whole record of its prompt."""
        pairs = zip(self, self.results, strict=True)
        return [{**row, "result": result} for row, result in pairs]

    def to_pandas(self) -> Any:
        """The rows as a table of pandas."""
        return data_frame({name: [row[name] for row in self] for name in self.columns})

    def to_arrow(self) -> Any:
        """The rows as a table of Arrow."""
        rows = self.to_pandas()
        rows["id"] = rows["id"].map(str)  # a column of Arrow holds one type
        return arrow_table(rows)

    def terminal(self) -> list[RenderableType]:
        """The rows in short, and how many failed."""
        text = "output" if "output" in self.columns else "prompt"
        shown = ["id", text, *self.columns[self.columns.index("error") + 1 :]]
        rows = [[_cell(row[name]) for name in shown] for row in self]
        for row, whole in zip(rows, self.rows, strict=True):
            row[1] = f"failed: {whole['error']}" if whole["error"] is not None else row[1]
        texts = [k for k, name in enumerate(shown) if not _is_number(name, self.rows)]
        count = len(self.rows)
        said = f"{count} prompt{'' if count == 1 else 's'}, {self.failed or 'none'} failed"
        return [table([name.upper() for name in shown], rows, texts), said]


def _is_number(name: str, rows: list[dict[str, Any]]) -> bool:
    return any(isinstance(row.get(name), int | float) for row in rows)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return format_number(value) if isinstance(value, float) else visible(str(value))


def run_batch(
    text: Prompts,
    model: ModelOptions,
    files: Files,
    name: str,
    analyse: Callable[[LanguageModel, Any], Record],
    summary: dict[str, Callable[[Any], Any]],
) -> None:
    """Analyses each prompt of a file; one that fails is a row that says why.

    What is analysed is the prompt with what follows it, or the prompt itself of a command that
    reads prompts as they are.
    """
    output = ["output"] if text.continued else []
    made = PromptTable(["id", "prompt", *output, "error", *summary])
    paths = files.paths(PromptTable, name)
    prompts = text.prompts()
    lm = model.load()
    with out.progress_bar(len(prompts)) as step:
        for given in prompts:
            step(f"Prompt {len(made.rows) + 1}")
            row, result = _row(text, lm, given, analyse, summary)
            made.rows.append(row)
            made.results.append(result)
    files.write(made, paths)
    if made.failed:
        raise typer.Exit(SOME_FAILED)


def _row(
    text: Prompts,
    lm: LanguageModel,
    given: BatchPrompt,
    analyse: Callable[[LanguageModel, Any], Record],
    summary: dict[str, Callable[[Any], Any]],
) -> tuple[dict[str, Any], Record | None]:
    row: dict[str, Any] = {"id": given.id, "prompt": given.prompt, "error": None}
    read: Any = given.prompt
    try:
        if isinstance(text, Many):
            read = text.generate(lm, given.prompt, False, given.continuation)
            row["output"] = read.text
        result = analyse(lm, read)
        row |= {name: say(result) for name, say in summary.items()}
    except (ValueError, TypeError, RuntimeError, MemoryError) as error:
        row["error"] = " ".join(str(error).split()) or type(error).__name__
        return row, None
    return row, result


def _top_sources(attribution: Attribution) -> str:
    """The tokens with the largest mean share over all outputs."""
    mean = np.abs(attribution.shares).mean(axis=0)
    best = np.argsort(-mean, kind="stable")[:3].tolist()
    return "  ".join(f"{visible(attribution.tokens.texts[k])} {mean[k]:.1%}" for k in best)


def _decided(rankings: Rankings) -> int | None:
    """The median layer from which outputs stay first; none of outputs that never are."""
    first = np.sort(rankings.decided[rankings.decided >= 0])
    return int(first[(len(first) - 1) // 2]) if len(first) else None


def _candidate(column: int) -> Callable[[MethodComparison], float]:
    """The larger p-value over kinds of removal: against chance (0) or against position (1)."""
    return lambda compared: float(compared.candidate_p_values[:, column].max())


def _lead(watched: WatchedRankings) -> float | None:
    """By how much the last layer's winner is ahead of the next; none of one token alone."""
    logits = np.sort(watched.logits[-1].astype(np.float64))
    return float(logits[-1] - logits[-2]) if len(logits) > 1 else None


def _ahead_from(watched: WatchedRankings) -> int | None:
    """The layer from which the last layer's winner stays ahead; none where it never does."""
    layer = int(watched.crossings)
    return layer if layer >= 0 and len(watched.watch_ids) > 1 else None


def _curve(name: str) -> Callable[[Faithfulness], float]:
    return lambda tested: float(tested.curves(name)[0, -1, 0])


SALIENCY: dict[str, Callable[[Any], Any]] = {
    "outputs": lambda attribution: len(attribution.scores),
    "top_sources": _top_sources,
    "sink_share": lambda attribution: float(attribution.sink_share.mean()),
}
RANKINGS: dict[str, Callable[[Any], Any]] = {
    "outputs": lambda rankings: len(rankings.positions),
    "ranked_first": lambda rankings: int((rankings.decided >= 0).sum()),
    "median_layer": _decided,
    "first_when_shuffled": lambda rankings: int(rankings.first_when_shuffled.sum()),
    "verdict": lambda rankings: rankings.verdict,
}
FAITHFULNESS: dict[str, Callable[[Any], Any]] = {
    "outputs": lambda tested: len(tested.outputs),
    "lds": lambda tested: tested.lds,
    "p_chance": lambda tested: tested.p_chance,
    "p_position": lambda tested: tested.p_position,
    "comprehensiveness": _curve("comprehensiveness"),
    "sufficiency": _curve("sufficiency"),
    "verdict": lambda tested: tested.verdict,
}
METHODS: dict[str, Callable[[Any], Any]] = {
    "outputs": lambda compared: len(compared.attributions[0].scores),
    "candidate": lambda compared: compared.methods[compared.candidate],
    "lds": lambda compared: float(compared.intervals[compared.candidate, 0]),
    "p_chance": _candidate(0),
    "p_position": _candidate(1),
    "best": lambda compared: compared.best,
    "verdict": lambda compared: compared.verdict,
}
WATCH: dict[str, Callable[[Any], Any]] = {
    "winner": lambda watched: watched.watch_texts[watched.winners[-1]],
    "rank": lambda watched: int(watched.ranks[-1, watched.winners[-1]]),
    "lead": _lead,
    "ahead_from_layer": _ahead_from,
}
PREDICTIONS: dict[str, Callable[[Any], Any]] = {
    "token": lambda predictions: predictions.true_text,
    "rank": lambda predictions: int(predictions.ranks[-1]),
    "best_rank": lambda predictions: int(predictions.ranks.min()),
    "top_token": lambda predictions: predictions.texts[-1][0],
    "top_prob": lambda predictions: float(predictions.probs[-1, 0]),
}
ORDER: dict[str, Callable[[Any], Any]] = {
    "winner": lambda tested: tested.watch_texts[0],
    "lead": lambda tested: tested.lead,
    "shuffled_lead": lambda tested: float(tested.shuffled.mean()),
    "p_value": lambda tested: tested.p_value,
    "verdict": lambda tested: tested.verdict,
}
GENERATE: dict[str, Callable[[Any], Any]] = {
    "outputs": lambda generation: len(generation.output_ids),
    "logprob": lambda generation: float(generation.logprobs.sum()),
}
