"""Words in a model: their tokens by the tokenizer's offsets, one vector for each, none cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from method_samples import subject
from probing_samples import written

from ecco_captum import hidden_states
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.probing.sources import pooled, word_places
from ecco_captum.probing.treebank import read_conllu


@pytest.mark.model
def test_tokens_spell_their_words(real_lm: LanguageModel, reference: Path) -> None:
    path = reference.parent / "data" / "ud_english_ewt" / "en_ewt-ud-test.conllu"
    corpus = read_conllu(path)
    places = word_places(real_lm, corpus, 3000)
    assert sum(map(len, places.kept)) == 3000
    assert places.dropped == 0
    for ids, spans, kept, number in zip(
        places.ids, places.spans, places.kept, places.sentences, strict=True
    ):
        sentence = corpus.sentences[number]
        for (start, end), word in zip(spans, kept, strict=True):
            text = real_lm.tokenizer.decode(ids[start:end])
            assert sentence.words[word] in text, (sentence.text, text)


def test_pooling_is_what_it_says(tmp_path: Path) -> None:
    lm, _ = subject("causal:gpt2")
    corpus = read_conllu(written(tmp_path))
    places = word_places(lm, corpus, 100)
    acts = hidden_states(lm, places.ids, progress=False)
    assert sum(map(len, places.kept)) == corpus.words
    row = 0
    found = {how: pooled(acts, places.spans, how) for how in ("first", "last", "mean")}  # type: ignore[arg-type]
    for start, spans in zip(acts.sequences, places.spans, strict=True):
        for first, end in spans + start:
            tokens = np.asarray(acts.values)[:, first:end]
            np.testing.assert_array_equal(found["first"][:, row], tokens[:, 0])
            np.testing.assert_array_equal(found["last"][:, row], tokens[:, -1])
            np.testing.assert_allclose(found["mean"][:, row], tokens.mean(axis=1), atol=1e-5)
            row += 1
    assert row == corpus.words
    assert (found["first"] != found["last"]).any(), "some words have several tokens"


def test_words_of_one_token_share_it(tmp_path: Path) -> None:
    lm, _ = subject("causal:gpt2")
    (spans, _) = word_places(lm, read_conllu(written(tmp_path)), 100).spans
    assert spans[0].tolist() == spans[1].tolist(), "Vámonos, of which neither word spells its part"


def test_words_behind_the_context_are_dropped_and_counted(tmp_path: Path) -> None:
    lm, _ = subject("causal:gpt2")
    count = 400
    rows = [f"{k}\tkeys\t_\tNOUN\t_\t_\t_\t_\t_\t_" for k in range(1, count + 1)]
    corpus = read_conllu(written(tmp_path, "\n".join(rows) + "\n"))
    places = word_places(lm, corpus, 10_000)
    (ids,), (kept,) = places.ids, places.kept
    assert len(ids) == lm.context_length
    assert 0 < len(kept) < count
    assert places.dropped == count - len(kept)
    assert kept.tolist() == list(range(len(kept)))
    assert places.spans[0].max() <= len(ids)


def test_as_many_words_as_were_asked_for(tmp_path: Path) -> None:
    lm, _ = subject("causal:gpt2")
    places = word_places(lm, read_conllu(written(tmp_path)), 7)
    assert [len(kept) for kept in places.kept] == [6, 1]
