"""Words that two tokenizations share: where each stands in both, whatever cut them."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from similarity_samples import activations

from ecco_captum import Activations, cka, compare
from ecco_captum.core.tokens import Tokens
from ecco_captum.similarity.layers import Alignment, aligned_words

NONE = np.array([0])


def words_of(tokens: list[str], spans: np.ndarray) -> list[str]:
    return ["".join(tokens[start:end]).strip() for start, end in spans]


def aligned(a: list[str], b: list[str]) -> Alignment:
    return aligned_words(a, NONE, b, NONE)


def test_words_by_hand() -> None:
    a = ["<s>", "The", " keys", " are", " un", "lucky", "."]
    b = ["The", " ke", "ys", " were", " unlucky", ".", "</s>"]
    found = aligned(a, b)
    assert words_of(a, found.of_a) == ["The", "keys", "unlucky", "."]
    assert words_of(b, found.of_b) == ["The", "keys", "unlucky", "."]
    assert found.of_a.tolist() == [[1, 2], [2, 3], [4, 6], [6, 7]]
    assert found.dropped == (1, 1), "are and were; marks are no words"
    assert found.starts.tolist() == [0]


def test_case_and_accents_do_not_matter() -> None:
    a, b = ["Él", " Café", " straße"], ["el", " ca", "fe", " STRASSE"]
    assert aligned(a, b).of_b.tolist() == [[0, 1], [1, 3], [3, 4]]


def test_a_token_of_two_words_counts_to_both() -> None:
    a, b = ["it's so", " good"], ["it", "'", "s", " so", " good"]
    found = aligned(a, b)
    assert found.of_a.tolist() == [[0, 1], [0, 1], [0, 1], [0, 1], [1, 2]]
    assert found.of_b.tolist() == [[k, k + 1] for k in range(5)]


def test_texts_keep_apart() -> None:
    a, b = ["one", " two", "three", "one"], ["two", "one", " three", " one"]
    found = aligned_words(a, np.array([0, 2, 3]), b, np.array([0, 1, 3]))
    # Texts: "one two" and "two"; "three" and "one three"; "one" and " one".
    assert words_of(a, found.of_a) == ["two", "three", "one"]
    assert found.of_b.tolist() == [[0, 1], [2, 3], [3, 4]]
    assert found.starts.tolist() == [0, 1, 2]


def test_texts_without_a_word_in_common_are_left_out() -> None:
    a, b = ["one", " two", "three"], ["uno", " dos", "three"]
    found = aligned_words(a, np.array([0, 2]), b, np.array([0, 2]))
    assert found.starts.tolist() == [0]
    assert found.of_a.tolist() == [[2, 3]]
    assert found.dropped == (2, 2)


@pytest.mark.parametrize(
    ("b", "starts", "message"),
    [
        (["one"], [0, 1], "b: it has 2 texts, a has 1, accepts the same texts"),
        (["two"], [0], "b: its texts have no word in common"),
        (["", " "], [0], "b: its texts have no word in common"),
    ],
)
def test_what_cannot_be_aligned(b: list[str], starts: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        aligned_words(["one"], NONE, b, np.array(starts))


WORDS = st.lists(st.text("abcdeé1", min_size=1, max_size=6), min_size=1, max_size=12)


@given(WORDS, st.data())
def test_every_word_is_found_however_it_was_cut(words: list[str], data: st.DataObject) -> None:
    text = " ".join(words)
    cuts = st.sets(st.integers(0, len(text)))
    tokens = []
    for _ in range(2):
        edges = sorted({0, len(text), *data.draw(cuts)})
        tokens.append([text[start:end] for start, end in pairwise(edges)])
    found = aligned(*tokens)
    assert found.dropped == (0, 0)
    for pieces, spans in zip(tokens, (found.of_a, found.of_b), strict=True):
        assert len(spans) == len(words)
        for word, (start, end) in zip(words, spans, strict=True):
            held = "".join(pieces[start:end])
            assert word in held
            # No token is taken that holds nothing of the word.
            assert word not in "".join(pieces[start + 1 : end]) or held.count(word) > 1
            assert re.search(r"\w", pieces[start])
            assert re.search(r"\w", pieces[end - 1])


def test_two_tokenizations_are_compared_word_by_word() -> None:
    rng = np.random.default_rng(4)
    words = [f"w{k}" for k in range(60)]
    a = spelled([[word] for word in words], rng.standard_normal((2, 60, 4)))
    halves = rng.standard_normal((1, 120, 3))
    b = spelled([[word[:1], word[1:]] for word in words], halves)
    found = compare(a, b, measure="cka", n_draws=0)
    assert (found.unit, found.count) == ("words", 60)
    mean = halves.reshape(1, 60, 2, 3).mean(axis=2)
    for i in range(2):
        expected = cka(np.asarray(a.values)[i], mean[0])
        assert found.values[i, 0] == pytest.approx(expected, abs=1e-9)


def spelled(words: list[list[str]], values: np.ndarray) -> Activations:
    """Activations of one text whose words are cut as given."""
    pieces = [
        (" " if not place else "") + piece for word in words for place, piece in enumerate(word)
    ]
    acts = activations(values, model=f"{len(pieces)} pieces")
    tokens = Tokens(np.arange(len(pieces)), tuple(pieces), len(pieces))
    return Activations(
        values, acts.layers, tokens, acts.sequences, acts.kind, acts.stack, acts.model
    )
