r"""Treebanks in CoNLL-U: words with their places in the text, and any column as their label."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

_COLUMNS = ("form", "lemma", "upos", "xpos", "deprel")
_FIELDS = 10
_NONE = "_"


@dataclass(frozen=True)
class TaggedSentence:
    r"""A sentence of a treebank.

    Args:
        text (str): the surface forms, spaced as the treebank says.
        words (tuple of str): the syntactic words, in order; neither empty nodes nor, where a token
            is made of several words, the token itself.
        spans (array): (words, 2), int64, where each word starts and ends in the text. Words of one
            token share its letters where they spell it, and else all of it.
        columns (dict): of each of lemma, upos, xpos, deprel and every morphological feature (such
            as ``"Number"``) the value of each word, ``"_"`` where it has none.
    """

    text: str
    words: tuple[str, ...]
    spans: np.ndarray
    columns: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class TaggedCorpus:
    r"""Sentences whose words have labels.

    Args:
        sentences (tuple of TaggedSentence): one or more.
        source (str, optional): where they come from. Default: ``""``

    Examples::

        >>> corpus = read_conllu()
        >>> len(corpus), corpus.words, corpus.columns[:3]
        (157, 1145, ('form', 'lemma', 'upos'))
    """

    sentences: tuple[TaggedSentence, ...]
    source: str = ""

    @property
    def words(self) -> int:
        """How many words there are."""
        return sum(len(sentence.words) for sentence in self.sentences)

    @property
    def columns(self) -> tuple[str, ...]:
        """What can be a label."""
        names = dict.fromkeys(_COLUMNS)
        for sentence in self.sentences:
            names |= dict.fromkeys(sentence.columns)
        return tuple(names)

    def labels(self, column: str) -> list[tuple[str, ...]]:
        r"""Returns one column, sentence by sentence.

        Args:
            column (str): ``"upos"``, ``"xpos"``, ``"deprel"``, ``"lemma"``, ``"form"``, or a
                morphological feature such as ``"Number"``.

        Raises:
            ValueError: if no word has such a column.
        """
        if column not in self.columns:
            raise ValueError(f"label: got {column!r}, accepts {', '.join(self.columns)}")
        return [
            sentence.words
            if column == "form"
            else sentence.columns.get(column, (_NONE,) * len(sentence.words))
            for sentence in self.sentences
        ]

    def __len__(self) -> int:
        return len(self.sentences)

    def __repr__(self) -> str:
        return f"TaggedCorpus({len(self):,} sentences, {self.words:,} words of {self.source!r})"


_OWN = Path(__file__).parent / "small_treebank.conllu"


def read_conllu(path: str | os.PathLike[str] | None = None) -> TaggedCorpus:
    r"""Reads a treebank in CoNLL-U (Nivre et al. 2020), through the library conllu.

    Multi-word tokens give their syntactic words, empty nodes are left out.

    Args:
        path (str or PathLike, optional): the file, in UTF-8. Default: the package's own small
            treebank, about 1,100 words with parts of speech, enough to try things

    Returns:
        TaggedCorpus: its sentences.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a line is malformed (with its number), or there is no sentence.

    Examples::

        >>> corpus = read_conllu()
        >>> corpus.sentences[0].words[:3], corpus.labels("upos")[0][:3]
        (('The', 'old', 'watch'), ('DET', 'ADJ', 'NOUN'))
    """
    import conllu

    sentences, rows = [], list[Any]()
    path = _OWN if path is None else Path(path)
    with path.open(encoding="utf-8") as file:
        # An empty line ends a sentence, the end of the file does, too.
        for number, line in enumerate(itertools.chain(file, [""]), start=1):
            where = f"{path}, line {number}"
            if line.strip():
                if not line.startswith("#"):
                    rows.append(_row(line.rstrip("\r\n"), where, conllu))
            elif rows:
                sentences.append(_sentence(rows, f"{path}, before line {number}"))
                rows = []
    if not sentences:
        raise ValueError(f"{path}: it has no sentence, accepts a treebank in CoNLL-U")
    return TaggedCorpus(tuple(sentences), path.name)


def _row(line: str, where: str, conllu: Any) -> Any:
    fields = line.split("\t")
    if len(fields) != _FIELDS:
        raise ValueError(
            f"{where}: got {len(fields)} columns between tabs, accepts {_FIELDS} of CoNLL-U"
        )
    if not fields[1]:
        raise ValueError(f"{where}: the form is empty, accepts at least one letter")
    try:
        ((row,),) = conllu.parse(line + "\n\n")
    except conllu.exceptions.ParseException as error:
        raise ValueError(f"{where}: {error}") from error
    return row


def _sentence(rows: list[Any], where: str) -> TaggedSentence:
    """From rows to words; a row's id is a number, or a tuple with - or . between two."""
    tokens = {
        row["id"][0]: row for row in rows if isinstance(row["id"], tuple) and row["id"][1] == "-"
    }
    words = [row for row in rows if isinstance(row["id"], int)]
    if [row["id"] for row in words] != list(range(1, len(words) + 1)):
        raise ValueError(f"{where}: its words are not numbered from 1 upward without a gap")
    text, spans, k = "", list[tuple[int, int]](), 0
    while k < len(words):
        token = tokens.get(words[k]["id"], words[k])
        last = token["id"][2] if token is not words[k] else words[k]["id"]
        inside = words[k:last]
        if not inside:
            raise ValueError(f"{where}: the token {token['form']!r} holds no words")
        spans += _spans([row["form"] for row in inside], token["form"], len(text))
        text += token["form"]
        if (token["misc"] or {}).get("SpaceAfter") != "No":
            text += " "
        k += len(inside)
    return TaggedSentence(
        text.rstrip(), tuple(row["form"] for row in words), np.array(spans), _columns(words)
    )


def _spans(forms: list[str], token: str, start: int) -> list[tuple[int, int]]:
    """Where the words of a token are: their own letters if they spell it, else all of it."""
    if "".join(forms) != token:
        return [(start, start + len(token))] * len(forms)
    edges = np.cumsum([start, *map(len, forms)]).tolist()
    return list(pairwise(edges))


def _columns(words: list[Any]) -> dict[str, tuple[str, ...]]:
    columns = {
        name: tuple(row[name] or _NONE for row in words) for name in _COLUMNS if name != "form"
    }
    features = {name for row in words for name in row["feats"] or {}}
    for name in sorted(features):
        columns[name] = tuple((row["feats"] or {}).get(name, _NONE) for row in words)
    return columns
