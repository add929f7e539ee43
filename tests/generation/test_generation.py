"""Generation: the model's own ids, a plain forward's scores, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from tiny_tokenizers import word_piece
from transformers import BertForTokenClassification, GenerationConfig

from ecco_captum import UnsupportedError, force_decode, generate
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.testing import model_state

MakeLM = Callable[..., LanguageModel]
PROMPT = "The keys to the cabinet"


@pytest.fixture(scope="module")
def lm(tiny_lm: MakeLM) -> LanguageModel:
    return tiny_lm("gpt2")


def greedy_loop(lm: LanguageModel, ids: list[int], count: int) -> tuple[list[int], torch.Tensor]:
    """The naive loop: one full forward a token."""
    rows = []
    with torch.no_grad():
        for _ in range(count):
            rows.append(lm.model(torch.tensor([ids])).logits[0, -1])
            ids = [*ids, int(rows[-1].argmax())]
    return ids[-count:], torch.stack(rows)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "qwen3", "mamba", "bert"])
def test_greedy_equals_the_naive_loop(tiny_lm: MakeLM, family: str) -> None:
    lm = tiny_lm(family)
    generation = generate(lm, PROMPT, max_new_tokens=6)
    ids, logits = greedy_loop(lm, generation.prompt_ids.tolist(), 6)
    chosen = logits[torch.arange(6), torch.tensor(ids)]
    assert generation.output_ids.tolist() == ids
    np.testing.assert_allclose(generation.logits, chosen, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        generation.logprobs, (chosen - logits.logsumexp(1)), rtol=1e-4, atol=1e-5
    )
    assert generation.ranks.tolist() == [1] * 6


def test_ranks_and_scores_of_given_tokens(lm: LanguageModel) -> None:
    generation = force_decode(lm, [5, 6, 7], [9, 8, 300])
    with torch.no_grad():
        logits = lm.model(torch.tensor([[5, 6, 7, 9, 8]])).logits[0, 2:]
    for t, token in enumerate([9, 8, 300]):
        order = logits[t].argsort(descending=True).tolist()
        assert generation.ranks[t] == 1 + order.index(token)
        assert generation.logits[t] == pytest.approx(float(logits[t, token]), rel=1e-5)
        assert generation.logprobs[t] == pytest.approx(
            float(logits[t].log_softmax(0)[token]), rel=1e-5
        )
    assert generation.settings == {"forced": True}


def test_scores_are_the_same_when_few_are_held_at_once(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = force_decode(lm, PROMPT, " are on the table")
    monkeypatch.setattr("ecco_captum.generation.generate._SCORED_AT_ONCE", 2 * lm.vocabulary_size)
    pieces = force_decode(lm, PROMPT, " are on the table")
    assert len(whole.logits) > 4
    np.testing.assert_allclose(pieces.logits, whole.logits, rtol=1e-5)
    assert pieces.ranks.tolist() == whole.ranks.tolist()


def test_the_same_call_decodes_beams_as_the_model_does(lm: LanguageModel) -> None:
    generation = generate(lm, PROMPT, max_new_tokens=5, num_beams=3)
    expected = lm.model.generate(
        torch.tensor(generation.prompt_ids[None]), max_new_tokens=5, num_beams=3, do_sample=False
    )
    assert generation.output_ids.tolist() == expected[0, len(generation.prompt_ids) :].tolist()
    assert generation.settings["num_beams"] == 3


def test_sampling_follows_the_seed_and_leaves_torchs_state_alone(lm: LanguageModel) -> None:
    before = torch.random.get_rng_state()
    first, again, other = (
        generate(lm, PROMPT, max_new_tokens=8, do_sample=True, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(before, torch.random.get_rng_state())
    assert first.output_ids.tolist() == again.output_ids.tolist()
    assert first.output_ids.tolist() != other.output_ids.tolist()
    assert first.settings == {"max_new_tokens": 8, "seed": 1, "do_sample": True}


def test_greedy_whatever_the_checkpoints_defaults_say(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    expected = generate(lm, PROMPT, max_new_tokens=5).output_ids.tolist()
    config = lm.model.generation_config
    config.do_sample, config.temperature, config.top_p = True, 5.0, 0.9
    before = config.to_dict()
    assert generate(lm, PROMPT, max_new_tokens=5).output_ids.tolist() == expected
    assert config.to_dict() == before


def test_a_generation_config_of_the_users_own_is_followed(lm: LanguageModel) -> None:
    config = GenerationConfig(do_sample=True, temperature=2.0, max_length=5)
    drawn = generate(lm, PROMPT, max_new_tokens=8, generation_config=config, seed=1)
    options = {"do_sample": True, "temperature": 2.0}
    expected = generate(lm, PROMPT, max_new_tokens=8, seed=1, top_k=50, **options)
    assert drawn.output_ids.tolist() == expected.output_ids.tolist()
    assert config.max_length == 5
    config.max_new_tokens = 3
    assert len(generate(lm, PROMPT, generation_config=config, seed=1).output_ids) == 3
    with pytest.raises(TypeError, match="generation_config: got a dict"):
        generate(lm, PROMPT, generation_config={"do_sample": True})


def test_stop_strings_are_read_with_the_models_tokenizer(lm: LanguageModel) -> None:
    whole = generate(lm, PROMPT, max_new_tokens=8)
    stop = next(text for text in whole.tokens.texts[whole.tokens.prompt_length :] if text.strip())
    stopped = generate(lm, PROMPT, max_new_tokens=8, stop_strings=[stop])
    assert stopped.text.endswith(stop)
    assert len(stopped.output_ids) <= len(whole.output_ids)


def test_an_end_token_ends_it(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    ids = generate(lm, PROMPT, max_new_tokens=6).output_ids.tolist()
    generation = generate(lm, PROMPT, max_new_tokens=6, eos_token_id=ids[2])
    assert generation.output_ids.tolist() == ids[: ids.index(ids[2]) + 1]


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_encoder_decoders(tiny_lm: MakeLM, family: str) -> None:
    lm = tiny_lm(family, "seq2seq")
    generation = generate(lm, PROMPT, max_new_tokens=4)
    assert generation.tokens.prompt_length == len(generation.prompt_ids)
    assert len(generation.start_ids) == 1
    inputs = torch.tensor(generation.prompt_ids[None])
    start = generation.start_ids.tolist()
    with torch.no_grad():
        decoder = torch.tensor([start + generation.output_ids.tolist()[:-1]])
        logits = lm.model(input_ids=inputs, decoder_input_ids=decoder).logits[0]
    chosen = logits[torch.arange(4), torch.tensor(generation.output_ids)]
    np.testing.assert_allclose(generation.logits, chosen, rtol=1e-4, atol=1e-5)
    again = force_decode(lm, PROMPT, generation.output_ids)
    np.testing.assert_allclose(again.logits, generation.logits, rtol=1e-6)


def test_the_text_reads_as_it_was_written(lm: LanguageModel) -> None:
    generation = force_decode(lm, "The keys 🙂", " are\n日本")
    assert generation.prompt == "The keys 🙂"
    assert generation.text == " are\n日本"
    assert generation.to_pandas().shape == (len(generation.output_ids), 6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens: got 0, accepts a whole number from 1"),
        ({"max_new_tokens": True}, "max_new_tokens: got True"),
        ({"max_new_tokens": 1000}, "the context of 'tiny gpt2' holds 64"),
        ({"warmth": 3}, "warmth unknown"),
        ({"seed": -1}, "seed: got -1"),
        ({"num_return_sequences": 2}, "num_return_sequences accepts 1"),
    ],
)
def test_bad_options_say_what_is_wrong(
    lm: LanguageModel, options: dict[str, Any], words: str
) -> None:
    before = model_state(lm.model)
    with pytest.raises(ValueError, match=words):
        generate(lm, PROMPT, **options)
    assert model_state(lm.model) == before


def test_models_that_cannot_write_are_refused_by_name(tiny_lm: MakeLM) -> None:
    config = tiny_models.tiny_config("masked", "bert")
    encoder = LanguageModel(BertForTokenClassification(config).eval(), word_piece(), "tiny bert")
    with pytest.raises(UnsupportedError, match="'tiny bert' is a BertForTokenClassific"):
        generate(encoder, "The keys")
    with pytest.raises(TypeError, match="accepts what load"):
        generate(encoder.model, "The keys")  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{}, {"do_sample": True, "seed": 0}])
def test_nan_weights_are_an_error(tiny_lm: MakeLM, options: dict[str, Any]) -> None:
    lm = tiny_lm("gpt2")
    with torch.no_grad():
        lm.model.transformer.h[1].mlp.c_fc.weight[0, 0] = float("nan")
    before = model_state(lm.model)
    with pytest.raises(ValueError, match="logits of 'tiny gpt2' are NaN"):
        generate(lm, PROMPT, max_new_tokens=3, **options)
    assert model_state(lm.model) == before


def test_a_model_in_training_is_put_back_into_training(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    for module in lm.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    expected = generate(lm, PROMPT, max_new_tokens=4)
    lm.model.train()
    lm.model.transformer.h[0].eval()
    before = model_state(lm.model)
    again = generate(lm, PROMPT, max_new_tokens=4)
    assert model_state(lm.model) == before
    np.testing.assert_array_equal(again.logits, expected.logits)
