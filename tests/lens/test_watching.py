"""Watched tokens and minimal pairs: against rankings, plain forwards, and scipy's interval."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from method_samples import subject
from scipy.stats import binomtest

from ecco_captum import (
    MinimalPairs,
    UnsupportedError,
    WatchedRankings,
    force_decode,
    layer_predictions,
    minimal_pairs,
    rankings,
    rankings_watch,
)
from ecco_captum.core.tokens import Tokens
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.testing import model_state

NAMES = ("ranks", "logits", "probs")


@pytest.mark.parametrize("name", ["causal:gpt2", "causal:bert", "seq2seq:t5", "masked:bert"])
def test_watched_tokens_have_the_numbers_of_rankings(name: str) -> None:
    lm, text = subject(name)
    expected = rankings(lm, text, control=False)
    start = 0 if name == "seq2seq:t5" else len(text.prompt_ids) - 1
    places = [start + t for t in range(len(text.output_ids))]
    if text.places is not None:
        places = text.places.tolist()
    before = model_state(lm.model)
    ids, columns = np.unique(text.output_ids, return_inverse=True)
    record = rankings_watch(lm, text, ids, position=places)
    assert model_state(lm.model) == before
    for field in NAMES:
        values = getattr(record, field)
        assert values.shape == (len(places), len(record.layers), len(ids))
        own = np.stack([values[t, :, k] for t, k in enumerate(columns)], axis=1)
        np.testing.assert_allclose(own, getattr(expected, field), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(record.top_ids.T, expected.top_ids)


def test_without_a_position_it_is_what_comes_next(tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm("llama")
    prompt = "the keys to the cabinet"
    ids = lm.tokenizer(prompt)["input_ids"]
    with torch.no_grad():
        logits = lm.model(torch.tensor([ids])).logits[0, -1]
    watched = [5, 9, 30]
    record = rankings_watch(lm, prompt, watched)
    assert record.ranks.shape == (1 + len(lm.anatomy.blocks), 3)
    assert record.positions.tolist() == [len(ids) - 1]
    np.testing.assert_array_equal(
        record.ranks[-1], [1 + int((logits > logits[i]).sum()) for i in watched]
    )
    text = force_decode(lm, ids[:2], ids[2:])
    for again in (rankings_watch(lm, ids, watched), rankings_watch(lm, text, watched)):
        np.testing.assert_array_equal(again.ranks, record.ranks)
    every = rankings_watch(lm, prompt, watched, position="all")
    np.testing.assert_array_equal(every.ranks[-1], record.ranks)
    assert every.ranks.shape[0] == len(ids)
    some = rankings_watch(lm, prompt, 9, position=slice(1, 3), layers=-1)
    np.testing.assert_array_equal(some.ranks, every.ranks[1:3, -1:, 1:2])


def test_a_masked_model_is_asked_at_its_last_mask() -> None:
    lm, text = subject("masked:bert")
    record = rankings_watch(lm, "the [MASK] to the [MASK] are", ["the", "keys"])
    assert record.positions.tolist() == [text.places[-1]]
    again = rankings_watch(lm, text, record.watch_ids, position=int(text.places[-1]))
    np.testing.assert_array_equal(again.ranks, record.ranks)
    assert record.watch_texts == (" the", " keys")
    assert record.asked == "at"
    assert "at position" in record.subtitle


def test_reference_numbers(real_lm: LanguageModel, reference: Path) -> None:
    content = json.loads((reference / "smollm2.json").read_text(encoding="utf-8"))
    for expected in content["rankings_watch"]:
        record = rankings_watch(real_lm, expected["prompt"], expected["words"])
        assert record.watch_ids.tolist() == expected["word_ids"]
        np.testing.assert_array_equal(record.ranks[1:], expected["ranks"])
        np.testing.assert_allclose(record.logits[1:], expected["logits"], atol=1e-4)


def test_agreement_on_the_real_model(real_lm: LanguageModel) -> None:
    keys = rankings_watch(real_lm, "The keys to the cabinet", [" is", " are"])
    key = rankings_watch(real_lm, "The key to the cabinets", [" is", " are"])
    assert keys.ranks[-1].tolist() == [28, 1]
    assert key.ranks[-1, 0] == 1
    assert keys.crossings == 27
    assert "“are” is ahead from block 26 on; block 29 ranks it 1 and “is” 28" in keys.sentence
    prompts = ["The keys to the cabinet ___", "The key to the cabinets ___ old."]
    pairs = minimal_pairs(real_lm, prompts, [("are", "is"), (" is", " are")])
    for record, k, order in ((keys, 0, [1, 0]), (key, 1, [0, 1])):
        margin = record.logits[:, order[0]] - record.logits[:, order[1]]
        np.testing.assert_allclose(pairs.margins[k], margin, atol=1e-4)
        np.testing.assert_array_equal(pairs.ranks[k], record.ranks[:, order])
    assert pairs.crossings[0] == 27
    assert "2 of 2 texts" in pairs.sentence


def test_minimal_pairs_of_a_masked_model_read_both_sides() -> None:
    lm, _ = subject("masked:bert")
    record = minimal_pairs(lm, ["the ___ to the cabinet", "the ___ are"], ("keys", "the"))
    for k, prompt in enumerate(("the [MASK] to the cabinet", "the [MASK] are")):
        expected = rankings_watch(lm, prompt, ["keys", "the"])
        np.testing.assert_array_equal(record.ranks[k], expected.ranks)
        np.testing.assert_allclose(
            record.margins[k], expected.logits[:, 0] - expected.logits[:, 1], atol=1e-5
        )


def pairs_of(margins: np.ndarray) -> MinimalPairs:
    count, layers = margins.shape
    logprobs = np.stack([margins, np.zeros_like(margins)], axis=-1).astype(np.float32)
    return MinimalPairs(
        tuple(f"text {k} ___" for k in range(count)),
        ((" a", " b"),) * count,
        np.zeros((count, 2), np.int64),
        np.arange(layers) * 2,
        logprobs,
        np.ones(logprobs.shape, np.int64),
        "model",
    )


@given(arrays(np.float32, (4, 5), elements=st.sampled_from([-2.0, -0.5, 0.0, 0.5, 3.0])))
@settings(max_examples=60, deadline=None)
def test_a_crossing_is_where_the_margin_stays_above_zero(margins: np.ndarray) -> None:
    pairs = pairs_of(margins)
    for row, crossing in zip(margins, pairs.crossings, strict=True):
        stays = [k for k in range(5) if (row[k:] > 0).all()]
        assert crossing == (2 * min(stays) if stays else -1)
    for layer, (part, low, high) in enumerate(pairs.accuracy):
        right = int((margins[:, layer] > 0).sum())
        interval = binomtest(right, 4).proportion_ci(method="wilson")
        np.testing.assert_allclose([part, low, high], [right / 4, interval.low, interval.high])
    assert f"{int((margins[:, -1] > 0).sum())} of 4 texts" in pairs.sentence


@given(arrays(np.float32, (5, 3), elements=st.sampled_from([-1.0, 0.0, 1.0, 2.0])))
@settings(max_examples=60, deadline=None)
def test_the_last_winners_lead_is_followed_back(logits: np.ndarray) -> None:
    record = WatchedRankings(
        Tokens(np.arange(2), ("a", "b"), 2),
        np.arange(3),
        (" x", " y", " z"),
        np.arange(5),
        np.array([1]),
        ("b",),
        np.ones(logits.shape, np.int64),
        logits,
        logits,
        np.zeros(5, np.int64),
        {"0": "a"},
        "model",
    )
    winner = logits[-1].argmax()
    leads = [row[winner] > np.delete(row, winner).max() for row in logits]
    if not leads[-1]:
        assert record.crossings == -1
        assert f"“{'xyz'[winner]}” and " in record.sentence
        assert " are level at block 3" in record.sentence
        return
    since = min(row for row in range(5) if all(leads[row:]))
    assert record.crossings == since
    where = "at all 5 layers read" if since == 0 else f"from block {since - 1} on"
    second, third = np.sort(np.delete(logits[-1], winner))[::-1]
    assert second >= third
    assert record.sentence.startswith(f"“{'xyz'[winner]}” is ahead {where}; block 3 ranks it 1")
    assert record.sentence.endswith(f"{logits[-1][winner] - second:.3g}.00 nats apart.")


def test_tables_have_a_row_a_number() -> None:
    lm, text = subject("causal:gpt2")
    for position in (-1, "all"):
        record = rankings_watch(lm, text, [5, 9], position=position)
        np.testing.assert_array_equal(record.to_pandas()["rank"], record.ranks.ravel())
    table = minimal_pairs(lm, ["the keys ___", "a ___ b"], [(5, 9), (9, 5)]).to_pandas()
    assert table.margin.to_numpy() == pytest.approx(
        (table.logprob_first - table.logprob_second).to_numpy(), abs=1e-6
    )


@pytest.mark.parametrize(
    ("watch", "options", "error", "message"),
    [
        ([], {}, ValueError, "watch: got an empty list"),
        ([5, 9, 5], {}, ValueError, "watch: got 5 twice, accepts different tokens"),
        (torch.tensor([5, 5]), {}, ValueError, "watch: got 5 twice"),
        (None, {}, TypeError, "watch: got a NoneType"),
        (" unbelievably so", {}, ValueError, r"watch: .* is \d+ tokens of 'tiny gpt2', .*\(id \d+"),
        ([1.5], {}, TypeError, "watch: got a float, accepts text, an id, or a list"),
        (10**6, {}, ValueError, "watch: got id 1000000, accepts 0 to"),
        (5, {"position": 99}, ValueError, "position: got 99, accepts a slice, a number or a list"),
        (5, {"position": "last"}, ValueError, "position: got 'last', accepts a number or numbers"),
        (5, {"position": None}, ValueError, "position: got None"),
        (5, {"position": True}, ValueError, "position: got True"),
        (5, {"layers": 77}, ValueError, "layers: got 77"),
    ],
)
def test_errors_of_watching(watch: Any, options: Any, error: type[Exception], message: str) -> None:
    lm, text = subject("causal:gpt2")
    with pytest.raises(error, match=message):
        rankings_watch(lm, text, watch, **options)


@pytest.mark.parametrize(
    ("prompts", "fillers", "error", "message"),
    [
        ([], (5, 9), ValueError, "prompts: got an empty list"),
        (None, (5, 9), TypeError, "prompts: got a NoneType, accepts texts"),
        (["the keys"], (5, 9), ValueError, "prompts: 'the keys' has 0 blanks '___', accepts one"),
        (["___ and ___"], (5, 9), ValueError, "has 2 blanks"),
        (["___ is"], (5, 9), ValueError, "has nothing before its blank"),
        ([7], (5, 9), TypeError, "prompts: got a int, accepts texts"),
        (["a ___"], (5, 5), ValueError, "are the same token"),
        (["a ___"], (5,), ValueError, "fillers: got .*, accepts a pair"),
        (["a ___", "b ___"], [(5, 9)], ValueError, "a list of 2 pairs"),
        (["a ___"], (" unbelievably so", 5), ValueError, "fillers: .* tokens of 'tiny gpt2'"),
    ],
)
def test_errors_of_pairs(prompts: Any, fillers: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        minimal_pairs(subject("causal:gpt2")[0], prompts, fillers)


def test_a_mask_beside_the_blank_is_refused() -> None:
    with pytest.raises(ValueError, match=r"has a \[MASK\] beside its blank"):
        minimal_pairs(subject("masked:bert")[0], "the ___ to the [MASK]", (9, 10))
    with pytest.raises(ValueError, match="blank: got 5, accepts a text"):
        minimal_pairs(subject("causal:gpt2")[0], "the ___", (9, 10), blank=5)  # type: ignore[arg-type]


def test_arrays_and_tensors_of_ids_are_watched() -> None:
    lm, text = subject("causal:gpt2")
    expected = rankings_watch(lm, text, [5, 9]).ranks
    for asked in (np.array([5, 9]), torch.tensor([5, 9]), (np.int64(5), 9)):
        np.testing.assert_array_equal(rankings_watch(lm, text, asked).ranks, expected)
    np.testing.assert_array_equal(rankings_watch(lm, text, np.array(5)).ranks, expected[:, :1])


def test_other_models_are_refused_by_name() -> None:
    classifier, text = subject("classification:bert")
    for asked in ("the keys", text):
        with pytest.raises(UnsupportedError, match="is a classifier"):
            rankings_watch(classifier, asked, 5)
    for name in ("classification:bert", "seq2seq:t5"):
        with pytest.raises(UnsupportedError, match="accepts causal and masked models"):
            minimal_pairs(subject(name)[0], "a ___", (5, 9))
    with pytest.raises(UnsupportedError, match="is a classifier"):
        layer_predictions(classifier, text, 0)
