r"""Corpus: many texts, each with an id that is the same in every run."""

from __future__ import annotations

import importlib
import itertools
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecco_captum.corpus.sources import BrokenRow, is_url, rows_of_file, table_rows, texts_of

_DEFAULT = "text"
_WILD = "*?["


@dataclass(frozen=True)
class CorpusText:
    r"""One text of a corpus.

    Args:
        id (str): what it is called in tables: of its id column, or made of file and row.
        text (str, list of messages or list of int): what a model reads.
    """

    id: str
    text: Any


@dataclass(frozen=True)
class Problem:
    r"""What is wrong with one text of a corpus.

    Args:
        id (str): of the text.
        reason (str): what is wrong, as a person reads it.
    """

    id: str
    reason: str


class Corpus:
    r"""Texts of files, folders, URLs, data sets or tables, one after the other.

    Every pass over it gives the same texts with the same ids, in the same order. Iterators, which
    can be read once, are kept in memory.

    Args:
        source (Any): a file (a ``Path``: lines of text, JSON lines, JSON, CSV, Parquet), a folder
            of such files, a pattern (a str with ``*``) or a URL (read by fsspec, such as
            ``"s3://bucket/data.jsonl"``), a list of these; a ``datasets.Dataset`` or
            ``IterableDataset``; a DataFrame, table or column of pandas, polars or Arrow; a
            ``ray.data.Dataset``; or a list or iterator of texts.
        text_column (str, optional): the column of the texts. Default: ``"text"``, or the only one
        id_column (str, optional): the column of their ids. Default: ids are made of file and row,
            counted from 1

    Raises:
        FileNotFoundError: if there is no such file, or nothing fits a pattern.
        ValueError: if there is no such column.

    Examples::

        >>> corpus = Corpus(["The keys", "to the cabinet"])
        >>> [(text.id, text.text) for text in corpus]
        [('1', 'The keys'), ('2', 'to the cabinet')]
    """

    def __init__(
        self, source: Any, *, text_column: str | None = None, id_column: str | None = None
    ) -> None:
        self.text_column, self.id_column = text_column, id_column
        self.files = _files(source)
        if not self.files and isinstance(source, Iterator):
            source = list(source)
        self.source = source
        self._problems: list[Problem] = []

    @property
    def problems(self) -> list[Problem]:
        """What was wrong with rows in the last pass: broken ones, and ids that came again."""
        return list(self._problems)

    def __iter__(self) -> Iterator[CorpusText]:
        self._problems = []
        # On disk, so that memory does not grow with the corpus; ids that are made cannot repeat.
        with closing(sqlite3.connect("")) as ids:
            ids.execute("create table seen (id text primary key) without rowid")
            for made, row in self._rows():
                if isinstance(row, BrokenRow):
                    self._problems.append(Problem(made, row.reason))
                    continue
                text, own = self._columns(made, row)
                if self.id_column is None:
                    yield CorpusText(made, text)
                    continue
                yield CorpusText(self._new(ids, own, made), text)

    def _new(self, ids: sqlite3.Connection, own: str, made: str) -> str:
        """An id that no text had before."""
        add = "insert or ignore into seen values (?)"
        if ids.execute(add, (own,)).rowcount:
            return own
        for copy in itertools.count(2):
            other = f"{own}#{copy}"
            if ids.execute(add, (other,)).rowcount:
                reason = f"its id {own!r} is another text's, too; here it is {other!r} (row {made})"
                self._problems.append(Problem(other, reason))
                return other
        raise AssertionError

    def _rows(self) -> Iterator[tuple[str, Any]]:
        """Each row with the id that is made for it."""
        if self.files:
            for name in self.files:
                for number, row in enumerate(rows_of_file(name, broken=True), start=1):
                    yield f"{name}:{number}", row
            return
        rows = table_rows(self.source)
        if rows is None:
            texts = texts_of(self.source)
            rows = self.source if texts is None else texts
        if isinstance(rows, str | bytes | Mapping) or not isinstance(rows, Iterable):
            raise TypeError(
                f"source: got a {type(self.source).__name__}, accepts files, data sets, tables or "
                "lists of texts"
            )
        for number, row in enumerate(rows, start=1):
            yield str(number), row

    def _columns(self, made: str, row: Any) -> tuple[Any, str]:
        """The text of a row, and the id in it."""
        if not isinstance(row, Mapping):
            if self.text_column is not None or self.id_column is not None:
                raise ValueError(
                    f"text_column, id_column: row {made} has no columns, accepts neither of them"
                )
            return row, made
        name = self.text_column
        if name is None:
            name = _DEFAULT if _DEFAULT in row or len(row) != 1 else next(iter(row))
        for argument, wanted in (("text_column", name), ("id_column", self.id_column)):
            if wanted is not None and wanted not in row:
                listed = ", ".join(repr(str(column)) for column in row)
                raise ValueError(
                    f"{argument}: row {made} has no {wanted!r}, accepts one of {listed}"
                )
        own = made if self.id_column is None else str(row[self.id_column])
        return row[name], own


def _files(source: Any) -> list[str]:
    """The files and URLs that a source names, patterns and folders spelled out; of others none."""
    if isinstance(source, os.PathLike):
        return _spelled_out(os.fspath(source))
    if isinstance(source, str):
        if is_url(source) or any(mark in source for mark in _WILD) or Path(source).exists():
            return _spelled_out(source)
        raise FileNotFoundError(
            f"source: there is no file {source!r}; one text alone goes into a list: [{source!r}]"
        )
    if not isinstance(source, list | tuple) or not source:
        return []
    if all(isinstance(item, os.PathLike) or is_url(item) for item in source):
        return [name for item in source for name in _spelled_out(os.fspath(item))]
    return []


def _spelled_out(name: str) -> list[str]:
    if is_url(name):
        return _urls(name)
    if Path(name).is_dir():
        found = sorted(
            str(path)
            for path in Path(name).iterdir()
            if path.is_file() and not path.name.startswith(".")
        )
    elif any(mark in name for mark in _WILD) and not Path(name).exists():
        root = Path(Path(name).anchor)
        fitting = root.glob(str(Path(name).relative_to(root)))
        found = sorted(str(path) for path in fitting if path.is_file())
    else:
        if not Path(name).exists():
            raise FileNotFoundError(f"source: there is no file {name!r}")
        return [name]
    if not found:
        raise FileNotFoundError(f"source: there is no file in {name!r}")
    return found


def _urls(name: str) -> list[str]:
    if not any(mark in name for mark in _WILD):
        return [name]
    fsspec: Any = importlib.import_module("fsspec.core")
    filesystem, path = fsspec.url_to_fs(name)
    found = sorted(filesystem.unstrip_protocol(each) for each in filesystem.glob(path))
    if not found:
        raise FileNotFoundError(f"source: nothing fits {name!r}")
    return found
