"""Factors as a page, a figure and a sentence, with their own numbers in them."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pytest
from activation_samples import activations, stored
from method_samples import subject
from view_samples import Outline, cells_of, sanitised

from ecco_captum import neurons, nmf
from ecco_captum.core.text import visible, with_interval
from ecco_captum.factors.record import Factors

TEXTS = [[5, 9, 6, 7, 30, 8, 9, 31, 12, 5], [8, 9, 7, 7, 5, 6, 40, 41]]


def fitted(negatives: str = "split") -> Factors:
    lm, _ = subject("causal:llama")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nmf(neurons(lm, TEXTS), 3, negatives=negatives, max_iter=5000)  # type: ignore[arg-type]


def test_the_page_says_what_was_found_and_tested() -> None:
    lm, _ = subject("causal:llama")
    factors = fitted()
    effect = factors.effect(lm, TEXTS, 1, n_neurons=5, draws=2)
    page = factors.to_html(effects=[effect], stability=factors.stability(2))
    plain = Outline(sanitised(page)).text
    numbers = [with_interval(three) for three in (effect.on_high, effect.on_low, effect.margin)]
    for said in (factors.sentence, factors.subtitle, effect.note, effect.verdict, *numbers):
        assert said in plain
    assert effect.note not in Outline(sanitised(factors.to_html())).text
    assert visible(factors.top_tokens(0, 1)[0][1]) in plain


def test_sentences_tell_what_was_clipped() -> None:
    clipped, split = fitted("clip"), fitted()
    assert f"{clipped.clipped:.1%} of all energy, was clipped" in clipped.sentence
    assert "clipped" not in split.sentence
    for factors in (clipped, split):
        assert f"3 factors explain {1 - factors.error**2:.0%} of the act" in factors.sentence


def several_texts(tmp_path: Path | None = None) -> Factors:
    values = np.random.default_rng(0).gamma(1, size=(2, 40, 6)).astype(np.float32)
    acts = activations(values)
    acts = dataclasses.replace(acts, sequences=np.array([0, 7, 20, 31]))
    return nmf(acts if tmp_path is None else stored(acts, tmp_path / "acts.zarr"), 3)


@pytest.mark.parametrize("on_disk", [False, True])
def test_an_excerpt_has_some_texts_alone(tmp_path: Path, on_disk: bool) -> None:
    factors = several_texts(tmp_path if on_disk else None)
    some = factors.excerpt([2, 0])
    where = [*range(20, 31), *range(7)]
    np.testing.assert_array_equal(some.weights, factors.weights[:, where])
    np.testing.assert_array_equal(some.activations.values, factors.activations.values[:, where])
    assert some.activations.sequences.tolist() == [0, 11]
    assert some.tokens.texts == tuple(factors.tokens.texts[k] for k in where)
    assert some.error == factors.error
    np.testing.assert_array_equal(some.components, factors.components)
    for wrong, message in (([4], "number: got 4, accepts 0 to 3"), ([], "texts: got none")):
        with pytest.raises(ValueError, match=message):
            factors.excerpt(wrong)


def test_of_a_corpus_a_page_shows_where_factors_are_strongest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    factors = several_texts()
    assert "texts, where factors are strongest" not in factors.to_html()
    monkeypatch.setattr("ecco_captum.factors.html._DRAWN", 25)
    page, starts = factors.to_html(), factors.activations.sequences.tolist()
    chosen = [text for text in range(4) if f'" t{starts[text]}"' in page]
    tops = [int(np.searchsorted(starts, w.argmax(), "right")) - 1 for w in factors.weights]
    assert tops[0] in chosen
    lengths = np.array([7, 13, 11, 9])
    assert lengths[chosen].sum() <= 25
    for text in set(tops) - set(chosen):  # what is missing had no room
        assert lengths[[*chosen, text]].sum() > 25
    assert f"{len(chosen)} of 4 texts, where factors are strongest" in page


def test_factors_of_attention_sinks_are_named_and_come_last() -> None:
    acts = activations(np.random.default_rng(0).gamma(1, size=(2, 6, 6)).astype(np.float32))
    acts = dataclasses.replace(acts, sequences=np.array([0, 3]))
    weights = [
        [50, 0, 0, 1, 0, 2],  # at one token
        [1, 2, 3, 1, 2, 3],
        [30, 0, 0, 25, 1, 0],  # at the first token of both texts
        [0, 0, 0, 0, 0, 0],
    ]
    factors = dataclasses.replace(
        nmf(acts, 4),
        weights=np.array(weights, dtype=np.float32),
        error=0.1,
        contributions=np.array([0.5, 0.1, 0.3, 0.0]),
    )
    assert factors.sinks == (0, 2)
    assert factors.by_interest == (1, 3, 0, 2)
    # 0.99 is explained, 0.8 of it by sinks: 0.19 of the remaining 0.2.
    assert "80.0% is that of factors 0 and 2, attention sinks" in factors.sentence
    assert "of the rest, the others explain 95.0%" in factors.sentence
    rows = [cells[0] for cells in cells_of(factors.to_html())[1:]]
    assert rows == ["1", "3", "0 (attention sink)", "2 (attention sink)"]
    alike = dataclasses.replace(factors, weights=np.tile(factors.weights[1], (4, 1)))
    assert "sink" not in alike.sentence
