r"""Texts out of files, tables and columns, whatever library holds these.

Libraries are known by what their objects can do, so that none of them is imported: a table has
column names, a column turns into a list, and what speaks Arrow's PyCapsule interface
(``__arrow_c_stream__``) is read by pyarrow.
"""

from __future__ import annotations

import csv
import importlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FILES = (".csv", ".json", ".jsonl", ".ndjson", ".parquet", ".txt")
"""Files that texts are read from; one of any other name is read as lines."""

_COLUMN = "text"


def texts_of(given: Any) -> Iterable[Any] | None:
    r"""Returns the texts of a file, a table or a column; None for anything else.

    Missing values are blank texts. A table has its texts in a column ``text``, or in its only one.

    Args:
        given (PathLike, table or column): a file of lines, JSON, JSON lines, CSV or Parquet; a
            ``datasets.Dataset`` or ``IterableDataset``, or a column of one; a DataFrame or Series
            of pandas or polars; a table or array of Arrow, or what has ``__arrow_c_stream__``; a
            numpy array of texts.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if what reads it is not installed.
        ValueError: if a table has several columns and none is called ``text``, a line is broken, or
            data sets are given by split.
    """
    if isinstance(given, Mapping) and hasattr(given, "column_names"):
        splits = ", ".join(map(repr, given))
        raise ValueError(
            f"texts: got a {type(given).__name__} with the splits {splits}, accepts one of them, "
            "such as data['train']"
        )
    if isinstance(given, os.PathLike):
        return texts_in_file(Path(given))
    if isinstance(given, np.ndarray):
        return _filled(given.tolist()) if given.dtype.kind in "UTO" and given.ndim == 1 else None
    streams = hasattr(given, "__arrow_c_stream__")
    if isinstance(given, str | bytes | list | tuple | Mapping | Iterator) and not streams:
        return None
    names = _column_names(given)
    if names is None and streams and not _is_column(given):
        given = _arrow_table(given)
        names = list(given.column_names)
    if names is not None:
        name = _text_column(names)
        if hasattr(given, "features"):  # of datasets: a row at a time stays on disk
            return (_blank(row[name]) for row in _unformatted(given))
        given = given[name]
    elif hasattr(given, "column_name"):  # a column of datasets: the same
        return map(_blank, given)
    elif not _is_column(given):
        return None
    return _filled(_listed(given))


def texts_in_file(path: Path) -> Iterator[Any]:
    """The texts of a file, in their order."""
    for number, row in enumerate(rows_of_file(path), start=1):
        if isinstance(row, Mapping):
            if _COLUMN not in row and len(row) != 1:
                raise ValueError(
                    f"{str(path)!r}, row {number}: it has {_named(row)}, accepts '{_COLUMN}'"
                )
            row = row.get(_COLUMN, next(iter(row.values())))
        yield _blank(row)


def is_url(name: Path | str) -> bool:
    """Whether fsspec opens it."""
    return isinstance(name, str) and "://" in name


def _opened(name: Path | str, mode: str, **how: Any) -> Any:
    if not is_url(name):
        return Path(name).open(mode, **how)
    # A tenth of a second, for those who need it.
    return importlib.import_module("fsspec").open(name, mode, **how)


@dataclass(frozen=True)
class BrokenRow:
    """A row that cannot be read, and why."""

    reason: str


def rows_of_file(name: Path | str, *, broken: bool = False) -> Iterator[Any]:
    r"""The rows of a file: texts of lines, or what a line of JSON or a row of a table holds.

    Args:
        name (Path or str): the file, or a URL that fsspec opens.
        broken (bool, optional): whether a :class:`BrokenRow` takes the place of a row that cannot
            be read, instead of an error. Default: False

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if a Parquet file is to be read without pyarrow.
        ValueError: if a line is no JSON, or the file no UTF-8.
    """
    if not is_url(name) and not Path(name).is_file():
        raise FileNotFoundError(f"there is no file {str(name)!r}")
    kind = Path(str(name)).suffix.lower()
    where = repr(str(name))
    if kind == ".parquet":
        yield from _parquet(name)
        return
    # Bytes that are no UTF-8 are seen in their row; Windows' editors begin files with a mark.
    how: dict[str, Any] = {"encoding": "utf-8-sig", "errors": "surrogateescape"}
    how["newline"] = "" if kind == ".csv" else None
    with _opened(name, "rt", **how) as file:
        if kind == ".json":
            rows: Iterable[Any] = _json_list(where, file.read())
        elif kind == ".csv":
            rows = csv.DictReader(file)
        elif kind in (".jsonl", ".ndjson"):
            rows = _json_lines(where, file)
        else:
            rows = (line.removesuffix("\n") for line in file)
        for row in rows:
            reason = row.reason if isinstance(row, BrokenRow) else _fault(where, row)
            if reason and not broken:
                raise ValueError(reason)
            yield BrokenRow(reason) if reason else row


def _fault(where: str, row: Any) -> str:
    """Why a row cannot be used; "" if it can."""
    for text in row.values() if isinstance(row, Mapping) else (row,):
        if isinstance(text, str) and any("\udc80" <= letter <= "\udcff" for letter in text):
            return f"{where} is no UTF-8 text"
    if isinstance(row, Mapping) and None in row:  # of csv: what is behind the last column
        return f"{where}: a row has more values than there are columns"
    return ""


def _json_lines(where: str, lines: Iterable[str]) -> Iterator[Any]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                yield BrokenRow(f"{where}, line {number} is no JSON ({error})")


def _json_list(where: str, text: str) -> list[Any]:
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where} is no JSON ({error})") from error
    if not isinstance(rows, list):
        raise ValueError(f"{where} holds no list, accepts a list of texts or objects")
    return rows


def _parquet(name: Path | str) -> Iterator[dict[str, Any]]:
    """A batch of rows at a time."""
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        needed = "Parquet files need pyarrow: pip install 'ecco-captum[arrow]'"
        raise ImportError(needed) from error
    with _opened(name, "rb") as opened, parquet.ParquetFile(opened) as file:
        for batch in file.iter_batches():
            yield from batch.to_pylist()


def table_rows(given: Any) -> Iterable[Mapping[str, Any]] | None:
    """The rows of a table or data set, each from column to value; None of anything else."""
    if isinstance(given, str | bytes | list | tuple | Mapping | Iterator | np.ndarray):
        return None
    if type(given).__module__.startswith("ray.data"):
        rows: Iterable[Mapping[str, Any]] = given.iter_rows()
        return rows
    names = _column_names(given)
    if names is None and hasattr(given, "__arrow_c_stream__") and not _is_column(given):
        given = _arrow_table(given)
        names = list(given.column_names)
    if names is None:
        return None
    if hasattr(given, "features"):  # of datasets
        return (_filled_row(row) for row in given)
    if hasattr(given, "to_batches"):  # of Arrow
        return (_filled_row(row) for batch in given.to_batches() for row in batch.to_pylist())
    if hasattr(given, "itertuples"):  # of pandas
        values: Iterable[Any] = given.itertuples(index=False, name=None)
    else:
        values = given.iter_rows()  # of polars
    return (_filled_row(dict(zip(names, row, strict=True))) for row in values)


def _filled_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _blank(value) for name, value in row.items()}


def _arrow_table(given: Any) -> Any:
    try:
        pyarrow: Any = importlib.import_module("pyarrow")
    except ImportError as error:
        needed = f"a {type(given).__name__} is read by pyarrow: pip install 'ecco-captum[arrow]'"
        raise ImportError(needed) from error
    return pyarrow.table(given)


def _column_names(given: Any) -> list[str] | None:
    """Of Arrow and datasets ``column_names``, of pandas and polars ``columns``."""
    for attribute in ("column_names", "columns"):
        names = getattr(given, attribute, None)
        if names is not None and not callable(names) and hasattr(given, "__getitem__"):
            return list(names)
        if attribute == "column_names" and names is None and hasattr(given, "features"):
            first: Any = next(iter(given), {})  # a stream that does not know its columns
            return list(first) if isinstance(first, Mapping) else None
    return None


def _unformatted(dataset: Any) -> Any:
    """A data set whose rows hold plain values; a transform of the user's own stays."""
    own = getattr(dataset, "format", {}).get("type") == "custom"
    return dataset if own or not hasattr(dataset, "with_format") else dataset.with_format(None)


def _text_column(names: Sequence[Any]) -> Any:
    if _COLUMN in names:
        return _COLUMN
    if len(names) == 1:
        return names[0]
    raise ValueError(
        f"texts: got a table with {_named(names)}, accepts one with a column '{_COLUMN}', or a "
        "column of it"
    )


def _named(names: Iterable[Any]) -> str:
    listed = ", ".join(repr(str(name)) for name in names)
    return f"the columns {listed}" if listed else "no column"


def _is_column(given: Any) -> bool:
    known = hasattr(given, "to_pylist") or hasattr(given, "to_list")
    return known or isinstance(given, Sequence)


def _listed(column: Any) -> list[Any]:
    for name in ("to_pylist", "to_list"):
        if hasattr(column, name):
            return list(getattr(column, name)())
    return list(column)


def _filled(values: Iterable[Any]) -> list[Any]:
    return [_blank(value) for value in values]


def _blank(value: Any) -> Any:
    """A missing value is a blank text: of Arrow None, of pandas a value that is not itself, NA."""
    missing = value is None or (isinstance(value, float) and value != value)
    return "" if missing or type(value).__name__ in ("NAType", "NaTType") else value
