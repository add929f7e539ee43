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


def rows_of_file(path: Path) -> Iterator[Any]:
    r"""The rows of a file: texts of lines, or what a line of JSON or a row of a table holds.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if a Parquet file is to be read without pyarrow.
        ValueError: if a line is no JSON, or the file no UTF-8.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    kind = path.suffix.lower()
    try:
        if kind == ".parquet":
            yield from _parquet(path)
        elif kind == ".json":
            yield from _json_list(path)
        else:
            # Windows' editors begin files with a mark.
            with path.open(encoding="utf-8-sig", newline="" if kind == ".csv" else None) as file:
                if kind == ".csv":
                    yield from csv.DictReader(file)
                elif kind in (".jsonl", ".ndjson"):
                    yield from _json_lines(path, file)
                else:
                    yield from (line.removesuffix("\n") for line in file)
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} is no UTF-8 text ({error.reason})") from error


def _json_lines(path: Path, lines: Iterable[str]) -> Iterator[Any]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _parsed(f"{str(path)!r}, line {number}", line)


def _json_list(path: Path) -> list[Any]:
    rows = _parsed(repr(str(path)), path.read_text(encoding="utf-8-sig"))
    if not isinstance(rows, list):
        raise ValueError(f"{str(path)!r} holds no list, accepts a list of texts or objects")
    return rows


def _parsed(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where} is no JSON ({error})") from error


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    """A batch of rows at a time."""
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        needed = "Parquet files need pyarrow: pip install 'ecco-captum[arrow]'"
        raise ImportError(needed) from error
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches():
            yield from batch.to_pylist()


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
