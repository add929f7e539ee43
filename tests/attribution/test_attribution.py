"""Saliency equals the naive loop, for any chunk, and leaves nothing on the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from naive_saliency import naive_saliency
from tiny_tokenizers import byte_level
from transformers import Phi3ForCausalLM

from ecco_captum import Attribution, force_decode, generate, saliency
from ecco_captum.core.checks import SlowPathWarning
from ecco_captum.core.text import format_share
from ecco_captum.core.tokens import Tokens
from ecco_captum.generation.segments import segments, whole_segment
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.testing import model_state

MakeLM = Callable[..., LanguageModel]
CAUSAL = ["gpt2", "llama", "gemma2", "gemma3_text", "qwen3", "mixtral", "opt", "bloom", "mamba"]
# These look ahead when given more text, keep time first, or choose keys by rank.
OTHERS = ["bert", "xlnet", "deepseek_v32"]


def rows_of(attribution: Attribution) -> list[np.ndarray]:
    start = attribution.tokens.prompt_length
    return [row[: start + t] for t, row in enumerate(attribution.scores)]


@pytest.mark.parametrize("family", CAUSAL + OTHERS)
def test_equals_the_naive_loop(tiny_lm: MakeLM, family: str) -> None:
    lm = tiny_lm(family)
    generation = generate(lm, [5, 9, 6, 7, 30], max_new_tokens=20)
    attribution = saliency(lm, generation)
    assert attribution.scores.shape == (20, 25)
    assert attribution.scores.dtype == np.float32
    expected = naive_saliency(lm, generation.tokens.ids, 5)
    for row, other in zip(rows_of(attribution), expected, strict=True):
        np.testing.assert_allclose(row, other, rtol=2e-5, atol=1e-5 * other.max())
    for t, row in enumerate(attribution.scores):
        assert not row[5 + t :].any()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_any_budget_and_attention_give_the_same_numbers(tiny_lm: MakeLM, attention: str) -> None:
    lm = tiny_lm("llama", attn_implementation=attention)
    generation = force_decode(lm, "The keys to", " the cabinet are on the table")
    whole = saliency(lm, generation)
    for budget in (1, 200_000):
        pieces = saliency(lm, generation, memory_budget=budget)
        np.testing.assert_allclose(pieces.scores, whole.scores, rtol=1e-5, atol=1e-6)


def test_the_budget_cuts_targets_into_segments(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    generation = force_decode(lm, list(range(5, 12)), list(range(12, 45)))
    whole = whole_segment(lm, generation, range(33))
    for budget in (1, 100_000, 2**30):
        parts = list(segments(lm, "causal", whole, budget))
        covered = sorted(row for part in parts for row in part.rows)
        assert covered == list(range(33))
        for part in parts:
            # A segment reads what is before its last target, and no more.
            assert part.positions == 7 + part.rows[-1]
            assert part.places == tuple(row - part.rows[-1] - 1 for row in part.rows)
            assert part.targets.tolist() == generation.output_ids[list(part.rows)].tolist()
    assert len(list(segments(lm, "causal", whole, 1))) == 33
    assert len(list(segments(lm, "causal", whole, 2**30))) == 3


def test_the_cost_follows_the_triangle(tiny_lm: MakeLM, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm("gpt2")
    generation = force_decode(lm, [5], list(range(6, 54)))
    lm.anatomy  # noqa: B018  # found beforehand: it watches the model run, too
    lengths = []
    forward = lm.model.forward
    monkeypatch.setattr(
        lm.model,
        "forward",
        lambda *args, **kwargs: (
            lengths.append(kwargs["input_ids"].shape[1]) or forward(*args, **kwargs)
        ),
    )
    saliency(lm, generation)
    # One stops at the embedding; then one for each segment of 16 targets. That forwards can be
    # shared was seen when the same text was scored.
    assert lengths == [48, 48, 32, 16]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights(tiny_lm: MakeLM, dtype: torch.dtype) -> None:
    lm = tiny_lm("llama")
    generation = force_decode(lm, "The keys to", " the cabinet are")
    expected = saliency(lm, generation).shares
    lm.model.to(dtype)
    shares = saliency(lm, generation).shares
    assert np.abs(shares - expected).max() < 0.02


@pytest.mark.parametrize("stretch", [3, 1000])
def test_rotary_embeddings_that_are_stretched_beyond_a_length(
    stretch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Wherever in the text the switch is, few logits held at once must not hide it.
    monkeypatch.setattr("ecco_captum.models.causality._LOGITS_AT_ONCE", stretch * 320)
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 64}
    rope |= {"short_factor": [1.0] * 4, "long_factor": [2.0, 3.0, 4.0, 5.0]}
    config = tiny_models.tiny_config("causal", "phi3")
    config.original_max_position_embeddings, config.max_position_embeddings = 64, 256
    config.vocab_size, config.rope_parameters, config.eos_token_id = 320, rope, None
    torch.manual_seed(0)
    model = Phi3ForCausalLM(config).eval()
    lm = LanguageModel(model, byte_level(), "tiny phi3")
    generation = generate(lm, list(range(10, 60)), max_new_tokens=24)
    # Greedy: each token was the best when it was chosen, before and after the switch.
    assert generation.ranks.tolist() == [1] * 24
    first = force_decode(lm, list(range(10, 60)), generation.output_ids[:10])
    np.testing.assert_allclose(first.logits, generation.logits[:10], rtol=1e-4)
    expected = naive_saliency(lm, generation.tokens.ids, 50)
    for row, other in zip(rows_of(saliency(lm, generation)), expected, strict=True):
        np.testing.assert_allclose(row, other, rtol=1e-4, atol=1e-5 * other.max())


def test_callers_modes_make_no_difference(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    expected = saliency(lm, force_decode(lm, "The keys to", " the cabinet")).scores
    for mode in (torch.inference_mode(), torch.no_grad()):
        with mode:
            scores = saliency(lm, force_decode(lm, "The keys to", " the cabinet")).scores
        np.testing.assert_array_equal(scores, expected)


def test_weights_made_under_inference_mode_are_refused(tiny_lm: MakeLM) -> None:
    with torch.inference_mode():
        lm = tiny_lm("gpt2")
    before = [parameter.requires_grad for parameter in lm.model.parameters()]
    generation = generate(lm, "The keys", max_new_tokens=2)
    with pytest.raises(ValueError, match=r"was built under torch\.inference_mode"):
        saliency(lm, generation)
    assert [parameter.requires_grad for parameter in lm.model.parameters()] == before


def test_an_operation_without_a_batched_rule_is_done_one_by_one(
    tiny_lm: MakeLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = tiny_lm("gpt2")
    generation = force_decode(lm, "The keys to", " the cabinet are")
    expected = saliency(lm, generation)
    original = torch.autograd.grad

    def refusing(*args: Any, is_grads_batched: bool = False, **kwargs: Any) -> Any:
        if is_grads_batched:
            raise RuntimeError("no batching rule")
        return original(*args, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", refusing)
    with pytest.warns(SlowPathWarning, match="one target at a time, which is slower"):
        scores = saliency(lm, generation).scores
    np.testing.assert_allclose(scores, expected.scores, rtol=1e-4)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_the_model_is_left_as_it_was(tiny_lm: MakeLM, mode: str) -> None:
    lm = tiny_lm("gpt2")
    generation = force_decode(lm, "The keys to", " the cabinet are")
    getattr(lm.model, mode)()
    next(lm.model.parameters()).requires_grad_(False)
    before, random = model_state(lm.model), torch.random.get_rng_state()
    saliency(lm, generation)
    assert model_state(lm.model) == before
    assert torch.equal(random, torch.random.get_rng_state())


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_nothing_stays_behind_after_an_interruption(
    tiny_lm: MakeLM, error: type[BaseException]
) -> None:
    lm = tiny_lm("gpt2")
    generation = force_decode(lm, "The keys to", " the cabinet are")
    lm.anatomy  # noqa: B018  # found beforehand: it watches the model run, too
    lm.model.train()
    calls = 0

    def interrupt(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise error("stop")

    hook = lm.model.transformer.h[2].register_forward_hook(interrupt)
    before = model_state(lm.model)
    with pytest.raises(error):
        saliency(lm, generation)
    assert model_state(lm.model) == before
    hook.remove()
    assert saliency(lm, generation).scores.any()


def test_nan_gradients_are_an_error(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    generation = force_decode(lm, "The keys to", " the cabinet are")
    lm.anatomy  # noqa: B018
    with torch.no_grad():
        lm.model.transformer.h[1].mlp.c_fc.weight[0, 0] = float("nan")
    before = model_state(lm.model)
    with pytest.raises(ValueError, match=r"the gradient of output \d+ is not finite"):
        saliency(lm, generation)
    assert model_state(lm.model) == before


def test_bad_arguments_say_what_is_wrong(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    generation = force_decode(lm, [5, 6], [300])
    with pytest.raises(ValueError, match="method: got 'magic', accepts 'input_x_gradient'"):
        saliency(lm, generation, method="magic")
    with pytest.raises(ValueError, match="memory_budget: got 0"):
        saliency(lm, generation, memory_budget=0)
    with pytest.raises(TypeError, match="generation: got a str"):
        saliency(lm, "The keys")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="lm: got a GPT2LMHeadModel"):
        saliency(lm.model, generation)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'tiny t5' is of another kind"):
        saliency(tiny_lm("t5", "seq2seq"), generation)
    with pytest.raises(ValueError, match="seed: got -1"):
        saliency(lm, generation, seed=-1)
    with pytest.raises(TypeError, match="input_x_gradient has no option 'n_steps', accepts none"):
        saliency(lm, generation, n_steps=5)
    with pytest.raises(ValueError, match="baseline: input_x_gradient has no baseline"):
        saliency(lm, generation, baseline="zero")
    tokens = Tokens(np.arange(70), ("a",) * 70, 69)
    long = replace(generation, prompt_ids=tokens.ids[:69], tokens=tokens, model="other")
    with pytest.raises(ValueError, match="it has 69 tokens to read, the context"):
        saliency(lm, long)
    lm.model.resize_token_embeddings(100, mean_resizing=False)
    with pytest.raises(ValueError, match="made with 'tiny gpt2'"):
        saliency(lm, generation)


def test_the_share_on_attention_sinks_is_on_the_record_and_in_the_caption(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    bos = lm.tokenizer.bos_token_id
    generation = force_decode(lm, [5, 9, bos, 7, 8], [30, 31])
    attribution = saliency(lm, generation, aggregate="sum")
    assert attribution.sinks == (0, 2)
    sizes = np.abs(attribution.scores)
    expected = sizes[:, [0, 2]].sum(axis=1) / sizes.sum(axis=1)
    np.testing.assert_allclose(attribution.sink_share, expected, rtol=1e-6)
    assert f"{format_share(expected.mean())} of a row lies on the first and" in attribution.note
    groups = attribution.by_span([(0, 2), (2, 3)])
    scores = np.abs(groups.scores)
    np.testing.assert_allclose(
        groups.sink_share, scores[:, :2].sum(axis=1) / scores.sum(axis=1), rtol=1e-6
    )
    one = saliency(lm, force_decode(lm, [5, 9, 7], [30]), method="ig")
    assert one.sinks == (0,)
    assert "On average, 0% of a row lies on the first token." in one.note
