"""Texts with ids, whatever they are kept in, and how they are cut into parts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pandas
import polars
import pyarrow
import pytest
import tiny_tokenizers
from corpus_samples import sentences, tiny_gpt2
from hypothesis import given, settings
from hypothesis import strategies as st

from ecco_captum import Corpus, ModelRecipe, plan
from ecco_captum.corpus.plan import written_plan
from ecco_captum.corpus.recipe import fingerprint

ROWS = [{"id": "a", "text": "The keys"}, {"id": "b", "text": "A dog"}, {"id": "c", "text": ""}]


def read(corpus: Corpus) -> list[tuple[str, Any]]:
    return [(text.id, text.text) for text in corpus]


def test_ids_are_made_of_file_and_row(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("one\ntwo\n", "utf-8")
    (tmp_path / "a.jsonl").write_text('{"text": "zero"}\n', "utf-8")
    expected = [
        (f"{tmp_path / 'a.jsonl'}:1", "zero"),
        (f"{tmp_path / 'b.txt'}:1", "one"),
        (f"{tmp_path / 'b.txt'}:2", "two"),
    ]
    for source in (tmp_path, str(tmp_path / "*"), [tmp_path / "a.jsonl", tmp_path / "b.txt"]):
        corpus = Corpus(source)
        assert read(corpus) == expected
        assert read(corpus) == expected, "a second pass is another one"


@pytest.mark.parametrize(
    "table",
    [
        pandas.DataFrame,
        polars.DataFrame,
        pyarrow.Table.from_pylist,
        list,
        iter,
    ],
)
def test_rows_of_tables(table: Callable[[Any], Any]) -> None:
    corpus = Corpus(table(ROWS), id_column="id")
    assert read(corpus) == [("a", "The keys"), ("b", "A dog"), ("c", "")]
    assert read(corpus) == read(corpus)


def test_urls_are_read_by_fsspec() -> None:
    with fsspec.open("memory://corpus/x.jsonl", "wt") as file:
        file.write('{"text": "one"}\n{"text": "two"}\n')
    with fsspec.open("memory://corpus/y.parquet", "wb") as file:
        pandas.DataFrame({"text": ["three"]}).to_parquet(file)
    texts = [text for _, text in read(Corpus("memory://corpus/*"))]
    assert texts == ["one", "two", "three"]
    assert [text for _, text in read(Corpus("memory://corpus/x.jsonl"))] == ["one", "two"]


def test_broken_rows_and_ids_that_come_again_are_told_and_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    lines = [json.dumps({"id": k, "text": "so"}) for k in ("p", "q", "p", "p")]
    path.write_bytes("\n".join([*lines[:2], "{broken", *lines[2:]]).encode() + b'\n"\xff"\n')
    corpus = Corpus(path, id_column="id")
    assert [name for name, _ in read(corpus)] == ["p", "q", "p#2", "p#3"]
    reasons = [problem.reason for problem in corpus.problems]
    assert len(reasons) == 4
    assert "line 3 is no JSON" in reasons[0]
    assert "its id 'p' is another text's" in reasons[1]
    assert "no UTF-8" in reasons[3]


def test_values_behind_the_last_column_of_csv_break_a_row(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("text\none\ntwo,too many\nthree\n", "utf-8")
    corpus = Corpus(path)
    assert [text for _, text in read(corpus)] == ["one", "three"]
    assert "more values" in corpus.problems[0].reason


def test_sources_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="one text alone goes into a list"):
        Corpus("The keys to the cabinet")
    with pytest.raises(FileNotFoundError, match="no file in"):
        Corpus(str(tmp_path / "*.txt"))
    with pytest.raises(FileNotFoundError, match="there is no file"):
        Corpus(tmp_path / "none.txt")
    with pytest.raises(ValueError, match=r"text_column: row 1 has no 'words', accepts one of 'id'"):
        read(Corpus(ROWS, text_column="words"))
    with pytest.raises(ValueError, match="id_column: row 1 has no 'key'"):
        read(Corpus(ROWS, id_column="key"))
    with pytest.raises(ValueError, match="has no columns"):
        read(Corpus(["one"], id_column="id"))
    with pytest.raises(TypeError, match="source: got a int"):
        read(Corpus(3))


TOKENIZER = tiny_tokenizers.byte_level()


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.text(alphabet="ab é🙂", max_size=12), min_size=1, max_size=40), st.integers(1, 30)
)
def test_parts_hold_every_text_once_within_their_size(texts: list[str], size: int) -> None:
    cut = plan(texts, TOKENIZER, tokens_per_part=size)
    counts = [len(TOKENIZER(text)["input_ids"]) for text in texts]
    at = 0
    for number, part in enumerate(cut.parts):
        held = counts[at : at + part.texts]
        assert (part.number, part.first_text, part.first_token) == (number, at, sum(counts[:at]))
        assert part.tokens == sum(held)
        assert part.tokens <= size or part.texts == 1
        at += part.texts
    assert at == len(texts)
    assert cut == plan(iter(texts), TOKENIZER, tokens_per_part=size)


def test_ids_and_messages_are_counted_too() -> None:
    ids = [[5, 6, 7], [8]]
    assert plan(ids, TOKENIZER).tokens == 4
    strange = plan([{"text": None}], TOKENIZER)
    assert (strange.texts, strange.tokens) == (1, 0)
    with pytest.raises(ValueError, match="texts: got none"):
        plan([], TOKENIZER)
    with pytest.raises(ValueError, match="tokens_per_part: got 0"):
        plan(ids, TOKENIZER, tokens_per_part=0)
    with pytest.raises(TypeError, match="model: got a str"):
        plan(ids, "gpt2")  # type: ignore[arg-type]


def test_a_folder_keeps_its_plan_and_refuses_other_texts(tmp_path: Path) -> None:
    texts = sentences(20)
    first = written_plan(tmp_path, Corpus(texts), TOKENIZER, 30)
    assert first == written_plan(tmp_path, Corpus(texts), TOKENIZER, 30)
    assert first == written_plan(tmp_path, None, TOKENIZER, 30)
    for other in (texts[:-1], [*texts, "more"], ["other", *texts[1:]]):
        with pytest.raises(ValueError, match=r"texts: th.* was planned with"):
            written_plan(tmp_path, Corpus(other), TOKENIZER, 30)
    with pytest.raises(ValueError, match="tokens_per_part: got 31"):
        written_plan(tmp_path, Corpus(texts), TOKENIZER, 31)
    with pytest.raises(ValueError, match="holds no plan yet"):
        written_plan(tmp_path / "new", None, TOKENIZER, 30)
    with pytest.raises(TypeError, match="accepts strings, lists of messages"):
        written_plan(tmp_path / "new", Corpus([{"text": {1, 2}}]), TOKENIZER, 30)
    assert not (tmp_path / "new" / "plan.json").exists()


def test_recipes_load_the_same_model_everywhere() -> None:
    named = ModelRecipe("minilm-l6")
    assert fingerprint(named.load()) == fingerprint(named.load())
    assert named.load_tokenizer().get_vocab() == named.load().tokenizer.get_vocab()
    made = ModelRecipe(tiny_gpt2).load()
    assert fingerprint(made) == fingerprint(tiny_gpt2())
    other = fingerprint(tiny_gpt2(1))
    assert [name for name, value in fingerprint(made).items() if other[name] != value] == [
        "weights"
    ]
    pair = ModelRecipe(lambda: (tiny_gpt2().model, tiny_gpt2().tokenizer)).load()
    assert fingerprint(pair) == fingerprint(made)
    with pytest.raises(TypeError, match="it returned a int"):
        ModelRecipe(lambda: 3).load()
