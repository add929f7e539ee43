"""The experiment on a factor: its changes written out, its random draws, and what it says."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import pytest
import tiny_tokenizers
import torch
import transformers
from method_samples import subject
from tiny_models import tiny_config

import ecco_captum
from ecco_captum import ablate, hidden_states, neurons, nmf
from ecco_captum.factors.effect import _random
from ecco_captum.factors.record import Factors
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.testing import model_state

TEXTS = [[5, 9, 6, 7, 30, 8, 9, 31, 12, 5], [8, 9, 7, 7, 5, 6, 40, 41]]


def factors_of(lm: LanguageModel) -> Factors:
    return nmf(neurons(lm, [TEXTS[0][::-1], TEXTS[1]]), 3, negatives="split", max_iter=5000)


def losses(lm: LanguageModel, ids: list[int]) -> list[float]:
    with torch.no_grad():
        logprobs = lm.model(torch.tensor([ids])).logits[0].double().log_softmax(dim=1)
    return [-float(logprobs[t, token]) for t, token in enumerate(ids[1:])] + [float("nan")]


def test_changes_are_losses_with_and_without() -> None:
    lm, _ = subject("causal:llama")
    factors = factors_of(lm)
    before = model_state(lm.model)
    measured = factors.effect(lm, TEXTS, 1, n_neurons=6, draws=3, share=0.25, value=0.5)
    assert model_state(lm.model) == before
    chosen = [(block, neuron) for block, neuron, _ in factors.top_neurons(1, 6)]
    assert [tuple(neuron) for neuron in measured.neurons] == chosen
    plain = [loss for ids in TEXTS for loss in losses(lm, ids)]
    with ablate(lm, neurons=chosen, value=0.5):
        without = [loss for ids in TEXTS for loss in losses(lm, ids)]
    np.testing.assert_allclose(measured.changes, np.subtract(without, plain), atol=1e-5)
    assert np.flatnonzero(np.isnan(measured.changes)).tolist() == [9, 17]
    weights = factors.transform(neurons(lm, TEXTS))[1]
    np.testing.assert_allclose(measured.weights, weights, atol=1e-5)
    known = np.delete(np.arange(18), [9, 17])
    order = known[np.argsort(-weights[known], kind="stable")]
    assert sorted(np.flatnonzero(measured.high)) == sorted(order[:4])
    assert sorted(np.flatnonzero(measured.low)) == sorted(order[8:])
    for three, values in (
        (measured.on_high, measured.changes[measured.high]),
        (measured.on_low, measured.changes[measured.low]),
        (measured.random_on_high, measured.random_changes.mean(axis=0)[measured.high]),
    ):
        assert three[0] == pytest.approx(values.mean())
        assert values.min() <= three[1] <= three[0] <= three[2] <= values.max()
    assert measured.margin[0] == pytest.approx(measured.on_high[0] - measured.random_on_high[0])
    again = factors.effect(lm, TEXTS, 1, n_neurons=6, draws=3, share=0.25, value=0.5)
    np.testing.assert_array_equal(again.random_changes, measured.random_changes)


def test_random_neurons_are_others_of_the_same_blocks() -> None:
    lm, _ = subject("causal:llama")
    factors = factors_of(lm)
    chosen = [(block, neuron) for block, neuron, _ in factors.top_neurons(0, 30)]
    draws = _random(factors, chosen, 20, np.random.default_rng(0))
    assert len({tuple(sorted(draw)) for draw in draws}) == 20
    for draw in draws:
        assert not set(draw) & set(chosen)
        assert len(set(draw)) == 30
        assert Counter(block for block, _ in draw) == Counter(block for block, _ in chosen)


def test_a_model_without_a_head_changes_its_last_state() -> None:
    config = tiny_config("masked", "bert")
    tokenizer = tiny_tokenizers.word_piece()
    config.vocab_size = len(tokenizer)
    torch.manual_seed(0)
    lm = ecco_captum.wrap(transformers.BertModel(config).eval(), tokenizer)
    factors = factors_of(lm)
    measured = factors.effect(lm, TEXTS, 0, n_neurons=5, draws=2)
    assert measured.measure == "state"
    plain = hidden_states(lm, TEXTS, layers=-1).values[0].astype(np.float64)
    with ablate(lm, neurons=factors.top_neurons(0, 5)):
        without = hidden_states(lm, TEXTS, layers=-1).values[0]
    expected = np.linalg.norm(without - plain, axis=1) / np.linalg.norm(plain, axis=1)
    np.testing.assert_allclose(measured.changes, expected, atol=1e-5)
    assert "the last hidden state changes by" in measured.sentence


def test_the_sentence_says_what_the_interval_allows() -> None:
    lm, _ = subject("causal:llama")
    measured = factors_of(lm).effect(lm, TEXTS, 1, n_neurons=6, draws=3)
    for margin, said in (
        ([2.0, 0.5, 3.0], "These neurons do more there than random ones, by 2.00 [0.500, 3.00]."),
        ([-2.0, -3.0, -0.5], "Random neurons do more there, by 2.00 [0.500, 3.00]."),
        ([0.3, -1.0, 2.0], "not differ from random neurons (difference 0.300 [−1.00, 2.00])."),
    ):
        sentence = dataclasses.replace(measured, margin=np.array(margin)).sentence
        assert sentence.endswith(said)
    assert f"({int(measured.high.sum())} tokens)" in measured.sentence
    assert len(measured.to_pandas()) == 18


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"component": 3}, "component: got 3, accepts 0 to 2"),
        ({"n_neurons": 0}, "n_neurons: got 0"),
        ({"n_neurons": 10**6}, "n_neurons: got 1000000, the factor is of 240"),
        ({"n_neurons": 239}, "leaves too few to draw as many others"),
        ({"draws": 0}, "draws: got 0"),
        ({"share": 0.7}, "share: got 0.7, accepts a number above 0, up to 0.5"),
        ({"texts": [[5, 9]]}, "texts: they have 1 tokens to compare, accepts 4 or more"),
        ({"value": "median"}, "value: got 'median'"),
    ],
)
def test_errors(options: dict[str, Any], message: str) -> None:
    lm, _ = subject("causal:llama")
    before = model_state(lm.model)
    arguments = {"texts": TEXTS, "component": 1, **options}
    with pytest.raises(ValueError, match=message):
        factors_of(lm).effect(lm, arguments.pop("texts"), arguments.pop("component"), **arguments)
    assert model_state(lm.model) == before
