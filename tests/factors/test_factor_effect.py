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
from ecco_captum.activations.ablation import separates_rows
from ecco_captum.factors.effect import _random
from ecco_captum.factors.family import family_p_values, family_verdicts
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


@pytest.mark.parametrize("kind", ["causal:llama", "causal:opt"])
def test_draws_that_share_a_forward_are_as_if_alone(kind: str) -> None:
    """OPT flattens its batch before the neurons: there, each draw has a forward of its own."""
    lm, _ = subject(kind)
    factors = factors_of(lm)
    assert separates_rows(lm) == (kind == "causal:llama")
    options: dict[str, Any] = {"n_neurons": 4, "seed": 3, "value": "mean"}
    measured = factors.effect(lm, TEXTS, 0, draws=4, **options)
    chosen = [(block, neuron) for block, neuron, _ in factors.top_neurons(0, 4)]
    draws = _random(factors, chosen, 4, np.random.default_rng(3))
    plain = np.concatenate([losses(lm, ids) for ids in TEXTS])
    for taken, changes in zip(draws, measured.random_changes, strict=True):
        with ablate(lm, neurons=taken, value="mean", reference=factors.activations):
            alone = np.concatenate([losses(lm, ids) for ids in TEXTS])
        np.testing.assert_allclose(changes, alone - plain, atol=1e-5)


def test_random_neurons_are_of_the_same_blocks_and_as_active() -> None:
    lm, _ = subject("causal:llama")
    factors = factors_of(lm)
    chosen = [(block, neuron) for block, neuron, _ in factors.top_neurons(0, 8)]
    draws = _random(factors, chosen, 60, np.random.default_rng(0))
    assert len({tuple(sorted(draw)) for draw in draws}) > 50
    sizes = np.abs(factors.activations.values).mean(axis=1)
    rows = factors.activations.layers.tolist()
    counts = Counter(block for block, _ in chosen)
    for draw in draws:
        assert len(set(draw)) == 8
        assert Counter(block for block, _ in draw) == counts
    for block, count in counts.items():
        order = np.argsort(sizes[rows.index(block)], kind="stable")
        classes = np.array_split(order, max(1, len(order) // max(20, 4 * count)))
        own = {n for b, n in chosen if b == block}
        for members in map(set, classes):
            for draw in draws:
                assert len(members & {n for b, n in draw if b == block}) == len(members & own)
    together = {neuron for draw in draws for neuron in draw}
    assert together & set(chosen), "the chosen ones are candidates, too"


def test_p_values_are_ranks_among_the_draws() -> None:
    lm, _ = subject("causal:llama")
    measured = factors_of(lm).effect(lm, TEXTS, 1, n_neurons=6, draws=9, share=0.25)
    high = measured.random_changes[:, measured.high].mean(axis=1)
    low = measured.random_changes[:, measured.low].mean(axis=1)
    own, own_low = measured.changes[measured.high].mean(), measured.changes[measured.low].mean()
    assert measured.p_value == (1 + (high >= own).sum()) / 10
    assert measured.p_less == (1 + (high <= own).sum()) / 10
    assert measured.p_specific == (1 + (high - low >= own - own_low).sum()) / 10
    statistics = measured.standardised
    assert (statistics[0] > statistics[1:]).all() == (
        measured.p_value == measured.p_specific == 0.1 and family_p_values([measured])[0] == 0.1
    )


def test_of_several_factors_one_is_told_of_by_chance_in_no_more_than_their_share() -> None:
    """Six factors that are one draw more of random neurons: 5% of 400 families."""
    lm, _ = subject("causal:llama")
    measured = factors_of(lm).effect(lm, TEXTS, 1, n_neurons=6, draws=2, share=0.25)
    rng = np.random.default_rng(0)
    told = 0
    for _ in range(400):
        draws = rng.normal(size=(6, 20, len(measured.changes)))
        effects = [
            dataclasses.replace(measured, changes=own[0], random_changes=own[1:]) for own in draws
        ]
        told += "supported" in family_verdicts(effects)
    assert told <= 20 + 3 * np.sqrt(400 * 0.05 * 0.95)
    true = dataclasses.replace(
        measured, changes=np.where(measured.high, 9.0, 0.0), random_changes=draws[0, 1:]
    )
    assert family_verdicts([true, *effects[1:]])[0] == "supported"


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


def test_the_sentence_says_what_the_rank_allows() -> None:
    lm, _ = subject("causal:llama")
    measured = factors_of(lm).effect(lm, TEXTS, 1, n_neurons=6, draws=3)
    spread = np.tile(np.linspace(-1, 1, 39)[:, None], (1, 18))
    for change, said in (
        (2.0, "These neurons do more there than random ones (p = 0.025)."),
        (-2.0, "Random neurons do more there (p = 0.025)."),
        (0.0, "That does not differ from random neurons (p = 0.53)."),
    ):
        changed = dataclasses.replace(measured, changes=np.full(18, change), random_changes=spread)
        assert changed.sentence.endswith(said)
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
