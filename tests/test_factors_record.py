"""Factors as a page, a figure and a sentence, with their own numbers in them."""

from __future__ import annotations

import io
import warnings

import pytest
from method_samples import subject
from view_samples import Outline, sanitised

from ecco_captum import neurons, nmf
from ecco_captum.factors_record import Factors
from ecco_captum.legible import visible

TEXTS = [[5, 9, 6, 7, 30, 8, 9, 31, 12, 5], [8, 9, 7, 7, 5, 6, 40, 41]]


def found(negatives: str = "split") -> Factors:
    lm, _ = subject("causal:llama")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nmf(neurons(lm, TEXTS), 3, negatives=negatives, max_iter=5000)  # type: ignore[arg-type]


def test_the_page_says_what_was_found_and_tested() -> None:
    lm, _ = subject("causal:llama")
    factors = found()
    effect = factors.effect(lm, TEXTS, 1, n_neurons=5, draws=2)
    page = factors.to_html(effects=[effect], stability=factors.stability(2))
    plain = Outline(sanitised(page)).text
    for said in (factors.sentence, factors.subtitle, effect.sentence):
        assert said in plain
    assert effect.sentence not in Outline(sanitised(factors.to_html())).text
    assert visible(factors.top_tokens(0, 1)[0][1]) in plain


def test_sentences_tell_what_was_clipped() -> None:
    clipped, split = found("clip"), found()
    assert f"{clipped.clipped:.1%} of all energy, was clipped" in clipped.sentence
    assert "clipped" not in split.sentence
    for factors in (clipped, split):
        assert f"account for {1 - factors.error**2:.0%} of the energy" in factors.sentence


def test_the_figure_is_a_vector() -> None:
    pytest.importorskip("matplotlib")
    file = io.StringIO()
    found().plot(title="a title").savefig(file, format="svg")
    assert "a title" in file.getvalue()
    assert "<text" in file.getvalue()
