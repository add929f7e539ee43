r"""Any analysis of a text, over a corpus."""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecco_captum.core.progress import Progress
from ecco_captum.core.record import Record
from ecco_captum.corpus.corpus import CorpusText, Problem
from ecco_captum.corpus.engines import Engine, EngineName
from ecco_captum.corpus.parts import Journal, Made, check_finished, part_folder
from ecco_captum.corpus.plan import TOKENS_PER_PART, Plan, read_plan
from ecco_captum.corpus.recipe import ModelRecipe
from ecco_captum.corpus.run import problems_of, run_job
from ecco_captum.models.language_model import LanguageModel

_TABLE = "table.parquet"
_TRIES = 3


def map_texts(
    model: LanguageModel | ModelRecipe | str,
    texts: Any,
    function: Callable[[LanguageModel, Any], Any],
    out: str | os.PathLike[str],
    *,
    tokens_per_part: int = TOKENS_PER_PART,
    engine: Engine | EngineName = "local",
    progress: Progress = None,
) -> TextTables:
    r"""Runs an analysis on each text of a corpus and keeps its tables as Parquet.

    A text that the function refuses, with any error, is listed with the reason, and the others go
    on. A run that was cut off, even killed, goes on where it was when it is called again.

    Args:
        model (LanguageModel, ModelRecipe or str): the model; workers of Ray take a recipe or name.
        texts (Corpus, what it takes, or None): the texts; None goes on with those of ``out``.
        function (Callable): called with the LanguageModel and a text; what it returns is a record
            (its ``to_pandas`` is kept), a table, or a dict of numbers and texts, one row. Workers
            of Ray are sent the function itself.
        out (str or PathLike): a folder, new or begun by such a run.
        tokens_per_part (int, optional): the most tokens of a part, which is the unit of work, of
            file and of retry. Default: 16,384
        engine (str or RayEngine, optional): ``"local"`` is this process; ``"ray"``, or a
            :class:`RayEngine`, many. Default: ``"local"``
        progress (bool or Callable, optional): as in the other analyses.

    Returns:
        TextTables: the tables of all texts, read from the folder when they are asked for.

    Raises:
        ImportError: if pyarrow or pandas is missing (``pip install 'ecco-captum[arrow]'``).
        ValueError: if an argument is wrong, or the folder holds something else.

    Examples::

        >>> def last_rank(lm, text):
        ...     return {"rank": int(force_decode(lm, text, " are").ranks[0])}
        >>> map_texts(lm, ["The keys", "The key"], last_rank, "ranks").to_pandas()
          id  rank
        0  1     3
        1  2   173
    """
    _imported_parquet()
    if not callable(function):
        raise TypeError(f"function: got a {type(function).__name__}, accepts a function")
    job = _MapJob(function)
    plan = run_job(
        job,
        model,
        texts,
        out,
        tokens_per_part=tokens_per_part,
        engine=engine,
        progress=progress,
    )
    return TextTables(Path(out).absolute(), plan)


@dataclass(frozen=True)
class TextTables:
    r"""What :func:`map_texts` made of a corpus, in a folder.

    Args:
        folder (Path): the folder.
        plan (Plan): its parts.

    Examples::

        >>> tables = map_texts(lm, texts, lambda lm, text: {"letters": len(text)}, "letters")
        >>> tables.to_pandas()["letters"].tolist()
        [41, 39, 30]
    """

    folder: Path
    plan: Plan

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> TextTables:
        r"""Opens a folder that :func:`map_texts` wrote.

        Args:
            path (str or PathLike): the folder.

        Raises:
            FileNotFoundError: if there is no such folder.
            ValueError: if it holds something else, or the run has not finished.
        """
        folder = Path(path).absolute()
        check_finished(folder)
        return cls(folder, read_plan(folder))

    @property
    def files(self) -> list[Path]:
        """One Parquet file a part; parts of which no text gave a row have none."""
        paths = [part_folder(self.folder, part.number) / _TABLE for part in self.plan.parts]
        return [path for path in paths if path.exists()]

    @property
    def problems(self) -> list[Problem]:
        """Texts without rows, and rows of the corpus that were broken, each with the reason."""
        return problems_of(self.folder, self.plan)

    def to_pandas(self) -> Any:
        """All rows: the column ``id``, then what the function returned."""
        import pandas

        tables = [pandas.read_parquet(path) for path in self.files]
        return pandas.concat(tables, ignore_index=True) if tables else pandas.DataFrame({"id": []})

    def __repr__(self) -> str:
        left_out = len(self.problems)
        return f"TextTables({self.plan}, {left_out} left out, {str(self.folder)!r})"


@dataclass(frozen=True)
class _MapJob:
    """Calls a function on each text and keeps the tables of a part."""

    function: Callable[[LanguageModel, Any], Any]

    @property
    def description(self) -> dict[str, Any]:
        """A partial's arguments, and a function's text where Python has it, tell it from others."""
        function, given = self.function, ""
        if isinstance(function, functools.partial):
            given = repr((function.args, sorted(function.keywords.items())))
            function = function.func
        name = getattr(function, "__qualname__", type(function).__qualname__)
        try:
            source = inspect.getsource(function)
        except (OSError, TypeError):
            source = ""
        digest = hashlib.sha256(source.encode()).hexdigest()[:16] if source else ""
        return {"job": "map_texts", "function": name, "arguments": given, "source": digest}

    def run(
        self, lm: LanguageModel, texts: Sequence[CorpusText], folder: Path, journal: Journal
    ) -> Made:
        tables, problems, tokens = [], [], 0
        for text in texts:
            if journal.died([text.id]) >= _TRIES:
                problems.append(Problem(text.id, f"workers died {_TRIES} times while reading it"))
                continue
            count = _length(lm, text.text)
            tokens += count
            with journal.reading([text.id], count):
                try:
                    table = _table(self.function(lm, text.text))
                except Exception as error:  # whatever a function of the user's raises
                    problems.append(Problem(text.id, f"{type(error).__name__}: {error}"))
                    continue
            if "id" not in table.columns:
                table.insert(0, "id", text.id)
            tables.append(table)
        if tables:
            import pandas

            table = pandas.concat(tables, ignore_index=True)
            table.to_parquet(folder / _TABLE, index=False)
        return Made(tokens, len(tables), tuple(problems))


def _length(lm: LanguageModel, text: Any) -> int:
    if isinstance(text, str):
        return len(lm.tokenizer(text)["input_ids"])
    return len(text) if isinstance(text, list) else 0


def _table(made: Any) -> Any:
    """A DataFrame of what a function returned."""
    import pandas

    if isinstance(made, Record) or hasattr(made, "to_pandas"):
        return made.to_pandas()
    if isinstance(made, Mapping):
        return pandas.DataFrame([dict(made)])
    if isinstance(made, pandas.DataFrame):
        return made
    raise TypeError(
        f"the function returned a {type(made).__name__}, accepts records, tables and dicts"
    )


def _imported_parquet() -> None:
    try:
        importlib.import_module("pyarrow")
        importlib.import_module("pandas")
    except ImportError as error:
        raise ImportError(
            "out: tables on disk need pyarrow and pandas: pip install 'ecco-captum[arrow]'"
        ) from error
