"""Activations of texts: together as alone, in their places, and nobody else's memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from method_samples import subject

from ecco_captum import force_decode
from ecco_captum.activations.neurons import hidden_states, neurons
from ecco_captum.activations.record import Activations
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.testing import model_state

TEXTS = [[5, 9, 6, 7, 30], [8, 9], [5, 9, 6, 7, 31], [7], [9, 8]]
READ: dict[str, Callable[..., Activations]] = {"neurons": neurons, "hidden": hidden_states}


@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("name", ["causal:gpt2", "causal:llama", "masked:bert"])
def test_texts_together_are_as_each_alone(name: str, kind: str) -> None:
    lm, _ = subject(name)
    before = model_state(lm.model)
    together = READ[kind](lm, TEXTS)
    assert model_state(lm.model) == before
    assert together.sequences.tolist() == [0, 5, 7, 12, 13]
    assert together.tokens.ids.tolist() == [one for text in TEXTS for one in text]
    for number, text in enumerate(TEXTS):
        alone = READ[kind](lm, text)
        at = together.text(number)
        np.testing.assert_allclose(together.values[:, at], alone.values, rtol=1e-5, atol=1e-5)
        assert alone.tokens.texts == together.tokens.texts[at]
    for budget in (1, 6, 10**6):
        again = READ[kind](lm, TEXTS, batch_tokens=budget)
        np.testing.assert_allclose(again.values, together.values, rtol=1e-5, atol=1e-5)


def test_two_calls_share_no_memory() -> None:
    lm, _ = subject("causal:gpt2")
    first, second = neurons(lm, TEXTS), neurons(lm, TEXTS)
    assert not np.shares_memory(first.values, second.values)
    kept = first.values.copy()
    hidden_states(lm, [[30] * 5] * 4)
    np.testing.assert_array_equal(first.values, kept)


def test_a_generation_is_read_whole() -> None:
    lm, text = subject("causal:gpt2")
    found = neurons(lm, text)
    np.testing.assert_allclose(found.values, neurons(lm, text.tokens.ids).values, atol=1e-6)
    assert found.tokens.prompt_length == len(text.prompt_ids)
    assert found.tokens.texts == text.tokens.texts


def test_both_stacks_of_an_encoder_decoder() -> None:
    lm, text = subject("seq2seq:t5")
    encoder = hidden_states(lm, text, stack="encoder")
    decoder = hidden_states(lm, text)
    assert encoder.tokens.ids.tolist() == text.prompt_ids.tolist()
    assert decoder.tokens.ids.tolist() == [*text.start_ids, *text.output_ids]
    with torch.no_grad():
        output = lm.model(
            input_ids=torch.tensor(text.prompt_ids.copy())[None],
            decoder_input_ids=torch.tensor(decoder.tokens.ids.copy())[None],
            output_hidden_states=True,
        )
    for found, states in (
        (encoder, output.encoder_hidden_states),
        (decoder, output.decoder_hidden_states),
    ):
        for row in range(len(states) - 1):  # what the last one holds is normed
            np.testing.assert_allclose(found.values[row], states[row][0], atol=1e-5)
    np.testing.assert_allclose(
        hidden_states(lm, text.prompt_ids, stack="encoder").values, encoder.values, atol=1e-6
    )
    with pytest.raises(ValueError, match="the decoder of 'tiny t5' reads what was written"):
        neurons(lm, text.prompt_ids)


def test_some_layers_in_order() -> None:
    lm, _ = subject("causal:gpt2")
    every, stream = neurons(lm, TEXTS[0]), hidden_states(lm, TEXTS[0])
    for layers, rows in (([2, 0], [0, 2]), (-1, [2]), (slice(1, None), [1, 2])):
        some = neurons(lm, TEXTS[0], layers=layers)
        assert some.layers.tolist() == rows
        np.testing.assert_array_equal(some.values, every.values[rows])
    for layers, rows in ((0, [0]), ([3, 1], [1, 3])):
        some = hidden_states(lm, TEXTS[0], layers=layers)
        assert some.layers.tolist() == rows
        np.testing.assert_array_equal(some.values, stream.values[rows])
    assert stream.layer_names == ["embedding", "block 0", "block 1", "block 2"]
    assert every.layer_names == ["block 0", "block 1", "block 2"]
    np.testing.assert_array_equal(stream.layer(-1), stream.values[3])
    np.testing.assert_array_equal(
        hidden_states(lm, TEXTS[0], layers=[1, 3]).layer(3), stream.layer(3)
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_type_asked_for(dtype: str, tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm("gpt2")
    found = neurons(lm, TEXTS, dtype=dtype)
    assert found.values.dtype == dtype
    np.testing.assert_allclose(found.values, neurons(lm, TEXTS).values, rtol=2e-3, atol=1e-4)
    lm.model.to(torch.bfloat16)
    assert neurons(lm, TEXTS, dtype=dtype).values.dtype == dtype


def test_what_float16_cannot_hold_is_refused(tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm("gpt2")
    with torch.no_grad():
        lm.model.get_input_embeddings().weight *= 1e7
    with pytest.raises(
        ValueError, match=r"float16 holds up to 65504, the activations reach .*e\+0"
    ):
        hidden_states(lm, TEXTS, dtype="float16")
    assert np.isfinite(hidden_states(lm, TEXTS).values).all()


def test_training_mode_and_inference_mode_change_nothing(
    tiny_lm: Callable[..., LanguageModel],
) -> None:
    lm = tiny_lm("gpt2")
    for module in lm.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    expected = neurons(lm, TEXTS).values
    before = model_state(lm.model.train())
    with torch.inference_mode():
        np.testing.assert_array_equal(neurons(lm, TEXTS).values, expected)
    assert model_state(lm.model) == before


def test_the_record_is_kept_and_told(tmp_path: Path) -> None:
    lm, _ = subject("causal:gpt2")
    found = neurons(lm, TEXTS)
    again = Activations.load(found.save(tmp_path / "acts.npz"))
    np.testing.assert_array_equal(again.values, found.values)
    assert repr(again) == repr(found)
    table = found.to_pandas()
    row = table[(table.layer == 1) & (table.text == 2) & (table.position == 3)].iloc[0]
    assert row["token"] == found.tokens.texts[10]
    np.testing.assert_array_equal(row.iloc[5:].to_numpy(np.float32), found.values[1, 10])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"texts": []}, ValueError, "texts: got none, accepts at least one text"),
        ({"texts": 3}, TypeError, "prompt: got a int"),
        ({"texts": [[5], []]}, ValueError, "texts: number 1, from 0: prompt: it has no tokens"),
        ({"layers": 9}, ValueError, "layers: got 9, accepts a slice, a number or a list"),
        ({"stack": "both"}, ValueError, "stack: got 'both', accepts 'decoder', 'encoder'"),
        ({"stack": "encoder"}, ValueError, "stack: 'tiny gpt2' has no encoder beside its blocks"),
        ({"dtype": "int8"}, ValueError, "dtype: got 'int8', accepts 'float32'"),
        ({"batch_tokens": 0}, ValueError, "batch_tokens: got 0, accepts a whole number from 1"),
    ],
)
@pytest.mark.parametrize("kind", READ)
def test_errors(kind: str, options: Any, error: type[Exception], message: str) -> None:
    lm, _ = subject("causal:gpt2")
    with pytest.raises(error, match=message):
        READ[kind](lm, **{"texts": TEXTS, **options})


def test_other_errors() -> None:
    lm, text = subject("causal:gpt2")
    with pytest.raises(TypeError, match="lm: got a str"):
        neurons("gpt2", "text")  # type: ignore[arg-type]
    found = neurons(lm, force_decode(lm, TEXTS[0], [8]))
    for wrong in (7, True, None):
        with pytest.raises(ValueError, match=r"layer: got .*, accepts one of"):
            found.layer(wrong)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"number: got .*, accepts 0 to 0"):
            found.text(wrong)  # type: ignore[arg-type]
    assert text.task == "causal"


def test_the_real_models_neurons(real_lm: LanguageModel) -> None:
    text = "The keys to the cabinet are on the table."
    read: list[torch.Tensor] = []
    handles = [
        module.register_forward_pre_hook(lambda _, given: read.append(given[0].clone()))
        for name, module in real_lm.model.named_modules()
        if name.endswith("down_proj")
    ]
    ids = torch.tensor([real_lm.tokenizer(text)["input_ids"]])
    with torch.no_grad():
        real_lm.model(ids)
    for handle in handles:
        handle.remove()
    found = neurons(real_lm, text)
    assert found.shape == (30, ids.shape[1], 1536)
    np.testing.assert_allclose(found.values, torch.cat(read), atol=1e-6)
