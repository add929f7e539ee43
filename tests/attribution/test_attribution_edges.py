"""Attribution where arguments, models or texts are at the edge of what is accepted."""

from __future__ import annotations

from collections.abc import Callable

import captum.attr
import numpy as np
import pytest
import tiny_models
import torch
from tiny_tokenizers import byte_level
from transformers import GPT2ForSequenceClassification

from ecco_captum import GenerationInputXGradient, faithfulness, force_decode, generate, saliency
from ecco_captum.models.language_model import LanguageModel

MakeLM = Callable[..., LanguageModel]


def test_a_noise_tunnel_keeps_draws_and_targets_apart(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("llama")
    generation = force_decode(lm, "The keys to", " the cabinet are")
    expected = saliency(lm, generation, method="saliency").scores
    tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(None))
    for size in (1, 4):
        options = {"nt_samples": 4, "stdevs": 1e-6, "nt_samples_batch_size": size}
        attribution = saliency(lm, generation, method=tunnel, abs=False, **options)
        np.testing.assert_allclose(attribution.scores, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", ["gradient_shap", "smooth_grad", "ig", "deep_lift", "attn_lrp"])
@pytest.mark.filterwarnings("ignore:.*(miss the difference|may miss up to)")  # rounding in bfloat16
def test_bfloat16_weights(tiny_lm: MakeLM, method: str) -> None:
    lm = tiny_lm("llama")
    generation = force_decode(lm, "The keys to", " the cabinet are")
    expected = saliency(lm, generation, method=method, aggregate="l2").shares
    lm.model.bfloat16()
    shares = saliency(lm, generation, method=method, aggregate="l2").shares
    assert np.abs(shares - expected).max() < 0.1


def test_a_single_output_has_p_values_of_its_own(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    generation = force_decode(lm, list(range(5, 15)), [20])
    tested = faithfulness(lm, saliency(lm, generation), randomisation=False)
    table = tested.to_pandas()
    assert table["p_chance"].tolist() == tested.p_values[:, 0].tolist()
    assert table["p_position"].tolist() == tested.p_values[:, 1].tolist()


def test_words_at_masks_apart_are_words_apart(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("bert", "masked")
    mask = lm.tokenizer.mask_token_id
    generation = generate(lm, [5, mask, 7, 9, mask, 11])
    words = saliency(lm, generation).by_word()
    assert len(words.scores) == 2
    assert ", " in generation.text
    neighbours = generate(lm, [5, mask, mask, 9])
    assert len(saliency(lm, neighbours).by_word().scores) <= 2


def test_a_baseline_of_several_texts_is_for_methods_that_average(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    generation = force_decode(lm, "The keys", " are")
    for method in ("ig", "feature_ablation", "deep_lift"):
        with pytest.raises(ValueError, match=r"baseline: got 10 texts, \w+ accepts one"):
            saliency(lm, generation, method=method, baseline="tokens")
    assert saliency(lm, generation, method="deep_lift_shap").scores.any()


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_callers_modes_make_no_difference(tiny_lm: MakeLM, mode: Callable[[], object]) -> None:
    lm = tiny_lm("gpt2")
    generation = force_decode(lm, list(range(5, 15)), [20, 21])
    attribution = saliency(lm, generation)
    expected = faithfulness(lm, attribution)
    with mode():  # type: ignore[attr-defined]
        tested = faithfulness(lm, attribution)
        explainer = GenerationInputXGradient(lm, generation)
        inside = explainer.attribute(explainer.inputs, target=1)
    np.testing.assert_allclose(tested.comprehensiveness, expected.comprehensiveness, atol=1e-6)
    assert tested.rank_correlation == pytest.approx(expected.rank_correlation)
    outside = explainer.attribute(explainer.inputs, target=1)
    assert torch.allclose(inside, outside, atol=1e-6)


def test_attention_has_no_score(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    generation = force_decode(lm, "The keys", " are")
    with pytest.raises(ValueError, match="score: attention depends on no score"):
        saliency(lm, generation, method="attention", score="prob")
    attribution = saliency(lm, generation, method="attention")
    assert attribution.unit == "attention weight, a mean over heads"
    assert "logit" not in attribution.subtitle
    assert "per unit of the embedding" in saliency(lm, generation, method="saliency").unit


def test_nothing_left_of_a_text_is_an_error(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    attribution = saliency(lm, force_decode(lm, [5], [20]))
    for removal in ("delete", "neighbour"):
        with pytest.raises(ValueError, match="removal: nothing of the text would be left"):
            faithfulness(lm, attribution, removal=removal, exclude_ends=False, randomisation=False)


def test_a_classifier_without_padding_token_says_what_to_set() -> None:
    config = tiny_models.tiny_config("causal", "gpt2")
    config.pad_token_id, config.num_labels = None, 3
    model = GPT2ForSequenceClassification(config).eval()
    lm = LanguageModel(model, byte_level(), "tiny gpt2")
    with pytest.raises(ValueError, match=r"set model\.config\.pad_token_id"):
        generate(lm, [5, 6, 7])


def test_small_traps(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    generation = force_decode(lm, "The keys", " are")
    with pytest.raises(ValueError, match="outputs: got"):
        saliency(lm, generation, outputs=np.array([True] * len(generation.output_ids)))
    contrast = saliency(lm, generation, versus=generation.output_ids[0], outputs=[0])
    assert not contrast.scores.any()  # a token against itself
    saliency(lm, generation, method="ig", baseline=np.int64(40), n_steps=60)
    with pytest.raises(ValueError, match="n_samples: got 0"):
        saliency(lm, generation, method="shapley_value_sampling", n_samples=0)
    with pytest.raises(TypeError, match=r"options: target is given by saliency\(\)"):
        saliency(lm, generation, method=captum.attr.IntegratedGradients(None), target=0)
    with pytest.raises(ValueError, match=r"fractions: got 0\.5"):
        faithfulness(lm, saliency(lm, generation), fractions=0.5)  # type: ignore[arg-type]
