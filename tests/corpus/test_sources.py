"""Texts out of files, and out of tables and columns of other libraries."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

import ecco_captum
from ecco_captum.corpus.sources import rows_of_file, texts_of
from ecco_captum.models.language_model import LanguageModel

TEXTS = ["The keys", "A dog 🙂", "", " are here"]


def read(given: Any) -> list[Any]:
    texts = texts_of(given)
    assert texts is not None
    return list(texts)


class Column:
    """What a column of polars can do."""

    def __init__(self, values: list[Any]) -> None:
        self.values = values

    def to_list(self) -> list[Any]:
        return self.values


class ArrowColumn:
    """What a column of Arrow can do."""

    def __init__(self, values: list[Any]) -> None:
        self.values = values

    def to_pylist(self) -> list[Any]:
        return self.values

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        raise AssertionError("a column is no table")


class Frame:
    """What a DataFrame of polars can do; `named` is the attribute that names its columns."""

    def __init__(self, columns: dict[str, list[Any]], named: str = "columns") -> None:
        self.held = columns
        setattr(self, named, list(columns))

    def __getitem__(self, name: str) -> Column:
        return Column(self.held[name])


class Dataset:
    """What a datasets.Dataset, or a stream of one, can do."""

    features: object = None

    def __init__(self, rows: list[dict[str, Any]], names: list[str] | None) -> None:
        self.rows, self.column_names = rows, names

    def __getitem__(self, name: str) -> Any:
        raise AssertionError("a whole column is not read")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)


ROWS = [{"label": k, "text": text} for k, text in enumerate(TEXTS)]


@pytest.mark.parametrize(
    "given",
    [
        pandas.DataFrame(ROWS),
        pandas.DataFrame({"words": TEXTS}),
        pandas.Series(TEXTS),
        pandas.Series(TEXTS, dtype="string"),
        np.array(TEXTS),
        np.array(TEXTS, dtype=object),
        Frame({"text": TEXTS, "label": [1, 2, 3, 4]}),
        Frame({"text": TEXTS, "label": [1, 2, 3, 4]}, "column_names"),
        Column(TEXTS),
        ArrowColumn(TEXTS),
        Dataset(ROWS, ["label", "text"]),
        Dataset(ROWS, None),
    ],
)
def test_tables_and_columns(given: Any) -> None:
    assert read(given) == TEXTS


def test_missing_values_are_blank() -> None:
    assert read(pandas.Series(["a", None])) == ["a", ""]
    assert read(pandas.Series(["a", pandas.NA], dtype="string")) == ["a", ""]
    assert read(pandas.Series(["a", float("nan")], dtype=object)) == ["a", ""]
    assert read(ArrowColumn(["a", None])) == ["a", ""]


@pytest.mark.parametrize("given", ["a", ["a"], ("a", "b"), [1, 2], {"input_ids": [1]}, iter("a")])
def test_what_is_read_elsewhere(given: Any) -> None:
    assert texts_of(given) is None
    assert texts_of(np.arange(3)) is None


@pytest.mark.parametrize("given", [Frame({"a": TEXTS, "b": TEXTS}), Frame({})])
def test_a_table_without_texts_is_refused(given: Frame) -> None:
    with pytest.raises(ValueError, match="accepts one with a column 'text', or a column of it"):
        read(given)


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    library = pytest.importorskip("datasets")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return library


def test_a_dataset(datasets: Any) -> None:
    made = datasets.Dataset.from_list(ROWS)
    assert read(made) == TEXTS
    assert read(made["text"]) == TEXTS
    assert read(made.select([3, 0])) == [TEXTS[3], TEXTS[0]]
    assert read(made.select_columns(["text"]).rename_column("text", "words")) == TEXTS
    assert read(datasets.Dataset.from_dict({"text": ["a", None]})) == ["a", ""]
    assert read(datasets.Dataset.from_dict({"text": ["a", None]})["text"]) == ["a", ""]
    with pytest.raises(ValueError, match="with the columns 'label', 'body', accepts one with a"):
        read(made.rename_column("text", "body"))


@pytest.mark.parametrize("kind", ["numpy", "torch", "pandas", "arrow", "polars"])
def test_a_dataset_in_another_format(datasets: Any, kind: str) -> None:
    made = datasets.Dataset.from_list(ROWS)
    assert read(made.with_format(kind)) == TEXTS
    assert made.with_format(kind).format["type"] == kind, "the user's own is left as it was"


def test_a_transform_of_a_dataset_stays(datasets: Any) -> None:
    def shouted(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {**rows, "text": [text.upper() for text in rows["text"]]}

    made = datasets.Dataset.from_list(ROWS).with_transform(shouted)
    assert read(made) == [text.upper() for text in TEXTS]


def test_a_stream_of_a_dataset(datasets: Any) -> None:
    known = datasets.Dataset.from_list(ROWS).to_iterable_dataset()
    unknown = datasets.IterableDataset.from_generator(lambda: iter(ROWS))
    assert unknown.column_names is None
    for stream in (known, unknown):
        assert read(stream) == read(stream) == TEXTS, "it can be read again"
        assert read(stream["text"]) == TEXTS
        assert read(stream.take(2)) == TEXTS[:2]
        assert read(stream.filter(lambda row: row["label"] > 1)) == TEXTS[2:]
        assert read(stream.map(lambda row: {"text": row["text"] + "!"}))[0] == "The keys!"


def test_a_stream_is_read_no_further_than_asked(datasets: Any) -> None:
    reached = []

    def rows() -> Iterator[dict[str, Any]]:
        for row in ROWS:
            reached.append(row["label"])
            yield row

    stream = datasets.IterableDataset.from_generator(rows)
    for given in (stream, stream["text"]):
        reached.clear()
        texts = texts_of(given)
        assert texts is not None
        assert next(iter(texts)) == TEXTS[0]
        assert max(reached) < 3, "the rest of a stream stays where it is"


def test_a_file_of_json_lines_as_a_dataset(datasets: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, ROWS)))
    options: dict[str, Any] = {"data_files": str(path), "cache_dir": str(tmp_path / "cache")}
    for streaming in (False, True):
        splits = datasets.load_dataset("json", **options, streaming=streaming)
        with pytest.raises(ValueError, match="with the splits 'train', accepts one of them"):
            read(splits)
        assert read(splits["train"]) == TEXTS
        assert read(splits["train"]["text"]) == TEXTS


def test_activations_of_datasets_are_those_of_a_list(
    tiny_lm: Callable[..., LanguageModel], datasets: Any
) -> None:
    lm, texts = tiny_lm("gpt2"), ["The keys", "A dog", "are here"]
    expected = ecco_captum.hidden_states(lm, texts)
    made = datasets.Dataset.from_dict({"text": texts, "label": [1, 2, 3]})
    stream = made.to_iterable_dataset()
    for given in (made, made["text"], stream, stream["text"]):
        acts = ecco_captum.hidden_states(lm, given)
        np.testing.assert_array_equal(acts.values, expected.values)
        np.testing.assert_array_equal(acts.sequences, expected.sequences)


def test_polars() -> None:
    polars = pytest.importorskip("polars")
    assert read(polars.DataFrame(ROWS)) == TEXTS
    assert read(polars.Series(TEXTS)) == TEXTS
    assert read(polars.Series(["a", None])) == ["a", ""]


def test_arrow() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.Table.from_pylist(ROWS)
    assert read(table) == TEXTS
    assert read(table["text"]) == TEXTS
    assert read(table["text"].combine_chunks()) == TEXTS
    assert read(table.to_reader()) == TEXTS

    class Stream:
        def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
            return table.__arrow_c_stream__(requested_schema)

    assert read(Stream()) == TEXTS


def test_what_speaks_arrow_alone_needs_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            return None

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"a Stream is read by pyarrow: .*ecco-captum\[arrow\]"):
        texts_of(Stream())


def written(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding=encoding)
    return path


def test_files(tmp_path: Path) -> None:
    lines = "\n".join(TEXTS)
    objects = "\n".join(map(json.dumps, ROWS)) + "\n\n"
    assert read(written(tmp_path / "a.txt", lines)) == TEXTS
    assert read(written(tmp_path / "a.md", lines + "\n", "utf-8-sig")) == TEXTS
    assert read(written(tmp_path / "a.jsonl", objects)) == TEXTS
    assert read(written(tmp_path / "b.ndjson", "\n".join(map(json.dumps, TEXTS)))) == TEXTS
    assert read(written(tmp_path / "a.json", json.dumps(ROWS))) == TEXTS
    table = tmp_path / "a.csv"
    pandas.DataFrame(ROWS).to_csv(table, index=False)
    assert read(table) == TEXTS


def test_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.parquet", "")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pyarrow.parquet", None)
        with pytest.raises(ImportError, match=r"Parquet .*ecco-captum\[arrow\]"):
            read(path)
    pytest.importorskip("pyarrow")
    pandas.DataFrame(ROWS).to_parquet(path)
    assert read(path) == TEXTS


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '"a"\n{', "a.jsonl', line 2 is no JSON"),
        ("a.json", '{"text": "a"}', "holds no list"),
        ("a.jsonl", '{"a": 1, "b": 2}', "row 1: it has the columns 'a', 'b', accepts 'text'"),
    ],
)
def test_broken_files_say_where(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(written(tmp_path / name, text))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        list(rows_of_file(tmp_path / "none.txt"))
    (tmp_path / "a.txt").write_bytes(b"a\xff\n")
    with pytest.raises(ValueError, match=r"a.txt' is no UTF-8 text"):
        list(rows_of_file(tmp_path / "a.txt"))


def test_activations_are_the_same_from_anywhere(
    tiny_lm: Callable[..., LanguageModel], tmp_path: Path
) -> None:
    lm, texts = tiny_lm("gpt2"), ["The keys", "A dog", "are here"]
    expected = ecco_captum.hidden_states(lm, texts)
    path = written(tmp_path / "a.txt", "\n".join(texts))
    for given in (pandas.DataFrame({"text": texts}), Column(texts), path):
        acts = ecco_captum.hidden_states(lm, given)
        np.testing.assert_array_equal(acts.values, expected.values)
        np.testing.assert_array_equal(acts.sequences, expected.sequences)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="1 blank left out"):
            ecco_captum.hidden_states(lm, pandas.Series(["The keys", None]))


def test_a_file_is_read_into_a_store(tiny_lm: Callable[..., LanguageModel], tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    path = written(tmp_path / "a.jsonl", '"The keys"\n{"text": "A dog"}\n')
    stored = ecco_captum.neurons(tiny_lm("gpt2"), path, store=tmp_path / "acts.zarr")
    assert len(stored.sequences) == 2


def test_minimal_pairs_of_a_table(tiny_lm: Callable[..., LanguageModel]) -> None:
    lm, prompts = tiny_lm("gpt2"), ["The keys ___", "The dogs ___"]
    ids = lm.tokenizer(" a b", add_special_tokens=False)["input_ids"][:2]
    expected = ecco_captum.minimal_pairs(lm, prompts, ids)
    pairs = ecco_captum.minimal_pairs(lm, pandas.DataFrame({"text": prompts}), ids)
    assert pairs.prompts == expected.prompts
    np.testing.assert_array_equal(pairs.logprobs, expected.logprobs)
