"""Rankings and layer predictions against lenses that are written out by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from method_samples import subject
from torch import Tensor

from ecco_captum import Generation, force_decode, layer_predictions, rankings
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.testing import model_state

Tail = Callable[[Any, Tensor], Tensor]

# Each family's tail, from what enters its final norm to logits.
TAILS: dict[str, Tail] = {
    "causal:gpt2": lambda m, x: m.lm_head(m.transformer.ln_f(x)),
    "causal:llama": lambda m, x: m.lm_head(m.model.norm(x)),
    "causal:gemma2": lambda m, x: (
        m.config.final_logit_softcapping
        * torch.tanh(m.lm_head(m.model.norm(x)) / m.config.final_logit_softcapping)
    ),
    "seq2seq:t5": lambda m, x: m.lm_head(
        m.decoder.final_layer_norm(x) * (m.model_dim**-0.5 if m.config.tie_word_embeddings else 1)
    ),
    "masked:bert": lambda m, x: m.cls(x),
}


@torch.no_grad()
def by_hand(name: str, text: Generation | None = None) -> np.ndarray:
    """(layers, outputs, vocabulary), float64: one forward, and the tail on what it returns."""
    lm, own = subject(name)
    text, model = text or own, lm.model
    outputs, start = len(text.output_ids), len(text.prompt_ids)
    inputs = {"input_ids": torch.tensor(text.prompt_ids)[None]}
    rows = slice(start - 1, start - 1 + outputs)
    if text.task == "causal":
        inputs["input_ids"] = torch.tensor(text.tokens.ids)[None, :-1]
    elif text.task == "seq2seq":
        decoded = np.concatenate([text.start_ids, text.output_ids[:-1]])
        inputs["decoder_input_ids"] = torch.tensor(decoded)[None]
        rows = slice(0, outputs)
    output = model(**inputs, output_hidden_states=True, use_cache=False)
    hidden = output.get("decoder_hidden_states", output.get("hidden_states"))
    # What the last one holds has been through the final norm in some models.
    logits = [TAILS[name](model, state) for state in hidden[:-1]] + [output.logits]
    table = torch.stack([one[0] for one in logits]).double().numpy()
    return table[:, text.places] if text.places is not None else table[:, rows]


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("name", TAILS)
def test_every_number_equals_the_tail_written_out(name: str) -> None:
    lm, text = subject(name)
    logits = by_hand(name)
    before = model_state(lm.model)
    found = rankings(lm, text)
    assert model_state(lm.model) == before
    own = np.take_along_axis(logits, text.output_ids[None, :, None], axis=2)
    probs = softmax(logits)
    final = probs[-1:]
    cosine = (probs * final).sum(axis=2) / (
        np.linalg.norm(probs, axis=2) * np.linalg.norm(final, axis=2)
    )
    divergence = (final * (np.log(final) - np.log(probs))).sum(axis=2)
    np.testing.assert_array_equal(found.ranks, 1 + (logits > own + 1e-6).sum(axis=2))
    np.testing.assert_allclose(found.logits, own[..., 0], atol=1e-4)
    np.testing.assert_allclose(
        found.probs, np.take_along_axis(probs, text.output_ids[None, :, None], 2)[..., 0], atol=1e-5
    )
    np.testing.assert_array_equal(found.top_ids, logits.argmax(axis=2))
    np.testing.assert_allclose(found.top_probs, probs.max(axis=2), atol=1e-5)
    np.testing.assert_allclose(found.cosine, cosine, atol=1e-4)
    np.testing.assert_allclose(found.divergence, divergence, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.layers, np.arange(1 + len(lm.anatomy.blocks)))


@pytest.mark.parametrize("name", [*TAILS, "causal:bert", "causal:qwen3"])
def test_the_last_row_is_the_models_own(name: str) -> None:
    lm, text = subject(name)
    found = rankings(lm, text, control=False)
    np.testing.assert_array_equal(found.ranks[-1], text.ranks)
    np.testing.assert_array_equal(found.logits[-1], text.logits)
    np.testing.assert_allclose(np.log(found.probs[-1]), text.logprobs, atol=1e-5)


@pytest.mark.parametrize("name", ["causal:gpt2", "seq2seq:t5", "masked:bert", "causal:bert"])
def test_cut_into_pieces_the_numbers_stay(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lm, text = subject(name)
    whole = rankings(lm, text)
    monkeypatch.setattr("ecco_captum.generation.generate._SCORED_AT_ONCE", lm.vocabulary_size)
    monkeypatch.setattr("ecco_captum.lens.unembedding._LOGITS_AT_ONCE", 2 * lm.vocabulary_size)
    monkeypatch.setattr("ecco_captum.lens.unembedding._AT_ONCE", 1)
    pieces = rankings(lm, text)
    np.testing.assert_array_equal(pieces.ranks, whole.ranks)
    np.testing.assert_allclose(pieces.logits, whole.logits, atol=1e-5)
    np.testing.assert_allclose(pieces.cosine, whole.cosine, atol=1e-5)
    np.testing.assert_allclose(pieces.divergence, whole.divergence, atol=1e-4)


def test_every_position_of_a_text() -> None:
    lm, text = subject("causal:gpt2")
    found = rankings(lm, text, positions="all", control=False)
    ids = text.tokens.ids
    np.testing.assert_array_equal(found.positions, np.arange(1, len(ids)))
    again = force_decode(lm, ids[:1], ids[1:])
    np.testing.assert_array_equal(found.ranks[-1], again.ranks)
    outputs = rankings(lm, text, control=False)
    np.testing.assert_array_equal(found.ranks[:, -len(text.output_ids) :], outputs.ranks)
    bert, masked = subject("masked:bert")
    all_of_it = rankings(bert, masked, positions="all", control=False)
    assert all_of_it.ranks.shape[1] == len(masked.prompt_ids)
    np.testing.assert_array_equal(
        all_of_it.ranks[:, masked.places], rankings(bert, masked, control=False).ranks
    )
    start = len(masked.prompt_ids)
    assert all_of_it.positions[masked.places].tolist() == [start, start + 1]
    others = np.setdiff1d(np.arange(start), masked.places)
    np.testing.assert_array_equal(all_of_it.target_ids[others], masked.prompt_ids[others])


def test_some_layers() -> None:
    lm, text = subject("causal:llama")
    every = rankings(lm, text)
    for layers, rows in (([0, 2], [0, 2]), (-1, [3]), (slice(1, 3), [1, 2]), ([2, 0, 2], [0, 2])):
        some = rankings(lm, text, layers=layers)
        assert some.layers.tolist() == rows
        for name in ("ranks", "logits", "top_ids", "cosine", "divergence", "shuffled_ranks"):
            expected, found = getattr(every, name)[rows], getattr(some, name)
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=name)
    assert rankings(lm, text, layers=[0, 2]).layer_names == ["embedding", "block 1"]


@pytest.mark.parametrize("name", ["causal:gpt2", "masked:bert"])
def test_the_control_is_the_lens_on_shuffled_blocks(name: str) -> None:
    lm, text = subject(name)
    found = rankings(lm, text)
    shuffled = np.asarray(found.shuffled_ranks)
    # The embedding is no block's output.
    np.testing.assert_array_equal(shuffled[0], found.ranks[0])
    length = len(text.prompt_ids) if name == "masked:bert" else len(text.tokens) - 1
    handles = []
    for row, block in enumerate(lm.anatomy.blocks):
        cycle = torch.randperm(length, generator=torch.Generator().manual_seed(row))
        order = torch.empty_like(cycle)
        order[cycle] = cycle.roll(1)
        assert (order != torch.arange(length)).all()

        def shuffle(_: Any, __: Any, output: Any, order: Tensor = order) -> Any:
            if isinstance(output, tuple):
                return (output[0][:, order], *output[1:])
            return output[:, order]

        handles.append(lm.model.get_submodule(block.module).register_forward_hook(shuffle))
    try:
        logits = by_hand_hooked(name, text)
    finally:
        for handle in handles:
            handle.remove()
    own = np.take_along_axis(logits, text.output_ids[None, :, None], axis=2)
    np.testing.assert_array_equal(shuffled, 1 + (logits > own + 1e-6).sum(axis=2))
    assert (shuffled[1:] != found.ranks[1:]).any()
    assert rankings(lm, text, control=False).shuffled_ranks is None


@torch.no_grad()
def by_hand_hooked(name: str, text: Generation) -> np.ndarray:
    """As by_hand, from the blocks' own outputs: hooks change those, not what models collect."""
    lm, _ = subject(name)
    states: list[Tensor] = []
    handles = [
        lm.model.get_submodule(block.module).register_forward_hook(
            lambda _, __, output: states.append(output[0] if isinstance(output, tuple) else output)
        )
        for block in lm.anatomy.blocks
    ]
    embedding = by_hand(name, text)[0]
    for handle in handles:
        handle.remove()
    start = len(text.prompt_ids) - 1
    places = list(range(start, start + len(text.output_ids)))
    if text.places is not None:
        places = text.places.tolist()
    tails = [TAILS[name](lm.model, state)[0, places].double().numpy() for state in states]
    return np.stack([embedding, *tails])


def test_the_real_models_reference_numbers(real_lm: LanguageModel, reference: Path) -> None:
    (expected,) = json.loads((reference / "smollm2.json").read_text(encoding="utf-8"))["rankings"]
    text = force_decode(real_lm, expected["prompt"], expected["output_ids"])
    found = rankings(real_lm, text)
    ranks = np.array(expected["ranks"])
    np.testing.assert_array_equal(found.ranks[-1], text.ranks)
    # Far down, tokens lie so close together that the order of summation decides.
    assert (np.abs(found.ranks[1:] - ranks) <= (ranks > 1000)).all()
    assert (found.ranks[1:] == ranks).mean() > 0.99
    assert (found.decided > 0).all()


def test_layer_predictions_equal_the_tail_written_out() -> None:
    for name, position in (("causal:gemma2", -2), ("seq2seq:t5", -1), ("masked:bert", None)):
        lm, text = subject(name)
        output = len(text.output_ids) - 1 - (name == "causal:gemma2")
        place = int(text.places[output]) if position is None else position
        found = layer_predictions(lm, text, place, k=5)
        logits = by_hand(name)[:, output]
        order = np.argsort(-logits, axis=1, kind="stable")[:, :5]
        np.testing.assert_array_equal(found.token_ids, order)
        expected = np.take_along_axis(softmax(logits), order, axis=1)
        np.testing.assert_allclose(found.probs, expected, atol=1e-5)
        np.testing.assert_array_equal(found.ranks, rankings(lm, text).ranks[:, output])
        assert found.true_id == text.output_ids[output]


def test_whether_the_prompt_is_predicted_is_a_rank_among_random_orders() -> None:
    """The prompt's log-probabilities written out, and its tokens in 999 other orders."""
    lm, generation = subject("causal:llama")
    ids = generation.prompt_ids.tolist()
    with torch.no_grad():
        logprobs = lm.model(torch.tensor([ids])).logits[0, :-1].double().log_softmax(-1).numpy()
    targets, rows = np.array(ids[1:]), np.arange(len(ids) - 1)
    rng = np.random.default_rng(0)
    orders = rng.permuted(np.tile(rows, (999, 1)), axis=1)
    others = np.array([logprobs[rows, targets[order]].mean() for order in orders])
    own = logprobs[rows, targets].mean()
    expected = (1 + (others >= own - 1e-9).sum()) / 1000
    assert rankings(lm, generation).p_prompt == pytest.approx(expected, abs=0.002)
    assert rankings(lm, generation, control=False).p_prompt is None
    assert rankings(*subject("masked:bert")).p_prompt is None


def test_a_model_of_random_weights_is_not_told_to_predict_texts(
    tiny_lm: Callable[..., LanguageModel],
) -> None:
    """100 prompts of random tokens: 5%, and three deviations; and what it wrote is no evidence."""
    lm = tiny_lm("gpt2")
    rng = np.random.default_rng(1)
    told = 0
    for _ in range(100):
        generation = force_decode(lm, rng.integers(4, 60, 20).tolist(), [5])
        told += rankings(lm, generation, layers=[-1]).verdict in ("supported", "partly supported")
    assert told <= 5 + 3 * np.sqrt(100 * 0.05 * 0.95)
