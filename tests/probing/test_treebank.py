"""Treebanks: words, their places in the text, their labels; what is malformed, by its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from probing_samples import TEXT, written

from ecco_captum.probing.treebank import TaggedCorpus, read_conllu


def test_words_and_their_places(tmp_path: Path) -> None:
    corpus = read_conllu(written(tmp_path))
    assert (len(corpus), corpus.words, corpus.source) == (2, 8, "some.conllu")
    first, second = corpus.sentences
    assert first.text == "Vámonos al mar."
    assert first.words == ("Vamos", "nos", "a", "l", "mar", ".")
    held = [first.text[start:end] for start, end in first.spans]
    assert held == ["Vámonos", "Vámonos", "a", "l", "mar", "."]
    assert second.words == ("New York", "won"), "empty nodes are no words"
    assert second.text == "New York won"


def test_every_column_is_a_label(tmp_path: Path) -> None:
    corpus = read_conllu(written(tmp_path))
    assert corpus.labels("upos")[0] == ("VERB", "PRON", "ADP", "DET", "NOUN", "PUNCT")
    assert corpus.labels("xpos")[0][2] == "_"
    assert corpus.labels("deprel")[1] == ("nsubj", "root")
    assert corpus.labels("Number") == [("Plur", "Plur", "_", "_", "Sing", "_"), ("_", "_")]
    assert corpus.labels("form")[1] == ("New York", "won")
    with pytest.raises(ValueError, match="label: got 'pos', accepts form, lemma, upos, xpos"):
        corpus.labels("pos")


@pytest.mark.parametrize("ending", ["\n", "\r\n", ""])
def test_line_ends_do_not_matter(tmp_path: Path, ending: str) -> None:
    plain = read_conllu(written(tmp_path))
    text = TEXT.rstrip("\n") if not ending else TEXT.replace("\n", ending)
    path = tmp_path / "other.conllu"
    path.write_bytes(text.encode())
    for one, other in zip(plain.sentences, read_conllu(path).sentences, strict=True):
        assert (one.text, one.words, one.columns) == (other.text, other.words, other.columns)
        np.testing.assert_array_equal(one.spans, other.spans)


ROW = "2\twon\twin\tVERB\tVBD\tTense=Past\t0\troot\t_\t_\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\t0\troot\t_\t_\n2\tnos", "\t0\troot\t_\n2\tnos", "line 4: got 9 columns between tabs"),
        ("2\twon", "two\twon", "line 15: Failed parsing field 'id': 'two'"),
        ("2\twon", "2\t", "line 15: the form is empty"),
        ("2\twon", "3\twon", "before line 16: its words are not numbered from 1 upward"),
        ("3-4\tal", "4-3\tal", "line 6: Failed parsing field 'id': '4-3'"),
        (ROW, ROW.replace("\t0\t", "\tzero\t"), "line 15: Failed parsing field 'head'"),
    ],
)
def test_what_is_malformed_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(ValueError, match=f"some.conllu, {message}"):
        read_conllu(written(tmp_path, TEXT.replace(old, new)))


def test_files_without_sentences(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_conllu(tmp_path / "none.conllu")
    for text in ("", "\n\n", "# a comment alone\n"):
        with pytest.raises(ValueError, match="it has no sentence"):
            read_conllu(written(tmp_path, text))


def test_a_whole_treebank(reference: Path) -> None:
    path = reference.parent / "data" / "ud_english_ewt" / "en_ewt-ud-dev.conllu"
    corpus = read_conllu(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    texts = [line.removeprefix("# text = ") for line in lines if line.startswith("# text = ")]
    assert [sentence.text for sentence in corpus.sentences] == texts
    for sentence in corpus.sentences:
        held = tuple(sentence.text[start:end] for start, end in sentence.spans)
        assert held == sentence.words
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
    tags = [row[3] for row in rows if row[0].isdigit()]
    assert [tag for tags in corpus.labels("upos") for tag in tags] == tags
    assert isinstance(corpus, TaggedCorpus)


def test_the_package_brings_a_small_treebank() -> None:
    corpus = read_conllu()
    assert corpus.source == "small_treebank.conllu"
    assert (len(corpus), corpus.words) == (157, 1145)
    first = corpus.sentences[0]
    assert first.text == "The old watch stopped at noon."
    pairs = [
        (word.lower(), tag)
        for sentence, tags in zip(corpus.sentences, corpus.labels("upos"), strict=True)
        for word, tag in zip(sentence.words, tags, strict=True)
    ]
    assert {tag for word, tag in pairs if word == "watch"} == {"NOUN", "VERB"}
    kinds: dict[str, set[str]] = {}
    for word, tag in pairs:
        kinds.setdefault(word, set()).add(tag)
    assert sum(len(tags) > 1 for tags in kinds.values()) > 100, "words that only context tells"
