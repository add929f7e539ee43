"""What users bring: each situation's right value is computed with plain transformers."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import accelerate
import numpy as np
import pytest
import tiny_models
import tiny_tokenizers
import torch
import transformers as tf
from torch import Tensor, nn

from ecco_captum import (
    UnsupportedError,
    faithfulness,
    force_decode,
    generate,
    hidden_states,
    load_record,
    neurons,
    rankings,
    saliency,
    wrap,
)
from ecco_captum.generation.generate import decoder_starts
from ecco_captum.models.language_model import LanguageModel

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
ENCODER = {**SIZES, "intermediate_size": 64, "initializer_range": 0.3}
A, B = "the keys to the cabinet", "are on the table"


def word_pieces() -> Any:
    """BERT-like, with token types."""
    tokenizer = copy.deepcopy(tiny_tokenizers.word_piece())
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    specials = [(name, tokenizer.convert_tokens_to_ids(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.backend_tokenizer.post_processor = (
        tf.tokenization_utils_tokenizers.processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=specials
        )
    )
    return tokenizer


def build(kind: type[Any], config: Any, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return kind(config).eval()


def bert(kind: type[Any] = tf.BertForSequenceClassification, **options: Any) -> Any:
    vocabulary = len(tiny_tokenizers.word_piece())
    return build(kind, tf.BertConfig(vocab_size=vocabulary, **{**ENCODER, **options}))


def llama(**options: Any) -> LanguageModel:
    tokenizer = tiny_tokenizers.byte_level()
    sizes = {**ENCODER, "num_key_value_heads": 2, **options}
    return wrap(
        build(tf.LlamaForCausalLM, tf.LlamaConfig(vocab_size=len(tokenizer), **sizes)), tokenizer
    )


def naive(
    model: Any, inputs: Mapping[str, Tensor], score: Callable[[Tensor], Tensor]
) -> tuple[float, np.ndarray]:
    """A score of the logits, and gradient × input's norm, with the plain model."""
    given = dict(inputs)
    leaf = model.get_input_embeddings()(given.pop("input_ids")).detach().requires_grad_()
    value = score(model(inputs_embeds=leaf, **given).logits[0])
    (gradient,) = torch.autograd.grad(value, leaf)
    return float(value.detach()), (gradient * leaf).norm(dim=-1)[0].detach().numpy()


def close(found: Any, expected: Any) -> None:
    scale = max(1.0, float(np.abs(np.asarray(expected)).max()))
    np.testing.assert_allclose(
        np.asarray(found), np.asarray(expected), rtol=1e-5, atol=1e-5 * scale
    )


class TestPairs:
    """Two texts, told apart by token types."""

    @pytest.mark.parametrize("given", ["pair", "lists", "tensors"])
    def test_token_types_reach_the_model(self, given: str) -> None:
        tokenizer, model = word_pieces(), bert(num_labels=3)
        inputs = tokenizer(A, B, return_tensors="pt")
        assert len(inputs["token_type_ids"].unique()) == 2
        prompt = {"pair": (A, B), "lists": tokenizer(A, B), "tensors": inputs}[given]
        logit, scores = naive(model, inputs, lambda logits: logits[1])
        lm = wrap(model, tokenizer)
        generation = force_decode(lm, prompt, 1)
        close(generation.logits[0], logit)
        close(saliency(lm, generation).scores[0, : len(scores)], scores)
        assert generation.tokens.starts == (inputs["token_type_ids"][0].tolist().index(1),)
        with torch.no_grad():
            states = model.bert(**inputs, output_hidden_states=True).hidden_states[2][0]
        close(hidden_states(lm, prompt, layers=[2]).values[0], states)
        close(hidden_states(lm, generation, layers=[2]).values[0], states)

    def test_every_removal_keeps_the_types(self) -> None:
        tokenizer, model = word_pieces(), bert(num_labels=3)
        lm = wrap(model, tokenizer)
        generation = force_decode(lm, (A, B), 1)
        inputs = tokenizer(A, B, return_tensors="pt")
        occluded = saliency(
            lm, generation, method="feature_ablation", baseline="zero", aggregate=None
        )
        with torch.no_grad():
            leaf = model.get_input_embeddings()(inputs["input_ids"])
            rest = {name: row for name, row in inputs.items() if name != "input_ids"}
            whole = model(inputs_embeds=leaf, **rest).logits[0, 1]
            without = leaf.clone()
            without[:, 3] = 0
            change = whole - model(inputs_embeds=without, **rest).logits[0, 1]
        np.testing.assert_allclose(occluded.scores[0, 3], change, rtol=1e-4, atol=1e-5)
        attribution = saliency(lm, generation)
        deleted = faithfulness(
            lm, attribution, removal="delete", fractions=(0.5,), randomisation=False, progress=False
        )
        assert np.isfinite(deleted.comprehensiveness).all()

    def test_masked_model_and_saved_record(self, tmp_path: Path) -> None:
        tokenizer, model = word_pieces(), bert(tf.BertForMaskedLM)
        lm, pair = wrap(model, tokenizer), ("the keys to the [MASK]", B)
        inputs = tokenizer(*pair, return_tensors="pt")
        place = inputs["input_ids"][0].tolist().index(tokenizer.mask_token_id)
        generation = generate(lm, pair)
        with torch.no_grad():
            logits = model(**inputs).logits[0, place]
        close(generation.logits, [logits.max()])
        assert rankings(lm, generation).ranks[-1, 0] == 1
        again = load_record(generation.save(tmp_path / "pair.npz"))
        assert again.extra_inputs.keys() == generation.extra_inputs.keys()  # type: ignore[attr-defined]
        close(saliency(lm, again).scores, saliency(lm, generation).scores)  # type: ignore[arg-type]
        page = generation.to_html()
        assert "cabinet" not in page
        assert page.count("[SEP]\n") >= 1

    def test_a_causal_model_goes_on_with_the_last_type(self) -> None:
        tokenizer = word_pieces()
        config = tf.GPT2Config(
            vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=4, initializer_range=0.3
        )
        lm = wrap(build(tf.GPT2LMHeadModel, config), tokenizer)
        prompt = tokenizer(A, B, return_tensors="pt")
        outputs = [20, 30, 40]
        ids = torch.cat([prompt["input_ids"], torch.tensor([outputs[:-1]])], dim=1)
        types = torch.cat([prompt["token_type_ids"], torch.ones(1, 2, dtype=torch.long)], dim=1)
        whole = {"input_ids": ids, "token_type_ids": types}
        logit, scores = naive(lm.model, whole, lambda logits: logits[-1, outputs[-1]])
        generation = force_decode(lm, (A, B), outputs)
        close(generation.logits[-1], logit)
        close(saliency(lm, generation).scores[-1, : len(scores)], scores)
        for method in ("occlusion", "feature_ablation"):
            assert np.isfinite(saliency(lm, generation, method=method).scores).all()
        written = generate(lm, (A, B), max_new_tokens=4)
        with torch.no_grad():
            plain = lm.model.generate(**prompt, max_new_tokens=4, do_sample=False, pad_token_id=0)
        assert written.output_ids.tolist() == plain[0, prompt["input_ids"].shape[1] :].tolist()

    def test_bare_ids_of_a_pair_are_warned_about(self) -> None:
        tokenizer = word_pieces()
        lm = wrap(bert(num_labels=3), tokenizer)
        with pytest.warns(UserWarning, match="token_type_ids"):
            force_decode(lm, tokenizer(A, B)["input_ids"], 1)

    def test_what_the_model_cannot_be_given_is_refused(self) -> None:
        tokenizer = word_pieces()
        config = tf.DistilBertConfig(
            vocab_size=len(tokenizer), dim=32, hidden_dim=64, n_layers=2, n_heads=4
        )
        lm = wrap(build(tf.DistilBertForSequenceClassification, config), tokenizer)
        with pytest.raises(UnsupportedError, match="token_type_ids"):
            force_decode(lm, (A, B), 1)
        force_decode(lm, A, 1)  # the types of one text say nothing
        ids = tokenizer(A)["input_ids"]
        with pytest.raises(UnsupportedError, match="labels"):
            force_decode(lm, {"input_ids": ids, "labels": ids}, 1)
        with pytest.raises(UnsupportedError, match="token_type_ids has shape"):
            force_decode(wrap(bert(), tokenizer), {**tokenizer(A), "token_type_ids": [0]}, 1)

    def test_tuples_of_several_texts_are_refused(self) -> None:
        lm = wrap(bert(), word_pieces())
        with pytest.raises(ValueError, match="several texts are a list"):
            hidden_states(lm, (A, B, A))


class TestOtherInputs:
    """Whatever has one number a token and the model accepts."""

    @pytest.mark.parametrize("name", ["global_attention_mask", "langs", "position_ids"])
    def test_they_reach_the_model(self, name: str) -> None:
        tokenizer = tiny_tokenizers.word_piece()
        configs = {
            "global_attention_mask": (
                tf.LongformerForMaskedLM,
                tf.LongformerConfig(
                    vocab_size=len(tokenizer),
                    attention_window=4,
                    max_position_embeddings=40,
                    **ENCODER,
                ),
            ),
            "langs": (
                tf.XLMWithLMHeadModel,
                tf.XLMConfig(
                    vocab_size=len(tokenizer), emb_dim=32, n_layers=2, n_heads=4, n_langs=3
                ),
            ),
            "position_ids": (
                tf.BertForMaskedLM,
                tf.BertConfig(vocab_size=len(tokenizer), **ENCODER),
            ),
        }
        kind, config = configs[name]
        lm = wrap(build(kind, config), tokenizer)
        ids = [20, 30, 4, 50, 60, 70]
        row = {"global_attention_mask": [1, 0, 0, 0, 0, 1], "langs": [1, 1, 1, 2, 2, 2]}
        given = {"input_ids": ids, name: row.get(name, [5, 6, 7, 8, 9, 11])}
        inputs = {key: torch.tensor([value]) for key, value in given.items()}
        with torch.no_grad():
            whole = lm.model(**inputs, output_hidden_states=True)
            plain = lm.model(inputs["input_ids"], output_hidden_states=True)
        assert (whole.logits - plain.logits).abs().max() > 1e-3
        # The last of transformers' own may have gone through the model's end.
        states, others = (hidden_states(lm, text, layers=[1]).values[0] for text in (given, ids))
        close(states, whole.hidden_states[1][0, : len(ids)])
        close(others, plain.hidden_states[1][0, : len(ids)])
        if not lm.model.can_generate():
            close(generate(lm, given).logits, [whole.logits[0, 2].max()])


class TestGivenEncodings:
    """Padding, masks, and encodings of several texts."""

    def test_padding_of_an_encoding_is_left_out(self) -> None:
        tokenizer, model = word_pieces(), bert(num_labels=3)
        lm = wrap(model, tokenizer)
        padded = tokenizer(A, padding="max_length", max_length=20, return_tensors="pt")
        with torch.no_grad():
            expected = model(**padded).logits[0, 1]
        generation = force_decode(lm, padded, 1)
        close(generation.logits[0], expected)
        assert generation.prompt_ids.tolist() == tokenizer(A)["input_ids"]

    def test_a_mask_within_the_text_is_kept(self) -> None:
        tokenizer, model = word_pieces(), bert(num_labels=3)
        lm, inputs = wrap(model, tokenizer), tokenizer(A, return_tensors="pt")
        inputs["attention_mask"][0, 2] = 0
        logit, scores = naive(model, inputs, lambda logits: logits[1])
        generation = force_decode(lm, inputs, 1)
        close(generation.logits[0], logit)
        close(saliency(lm, generation).scores[0, : len(scores)], scores)

    def test_bare_padding_is_refused(self) -> None:
        lm = wrap(bert(num_labels=3), word_pieces())
        for ids in ([0, 0, 2, 20, 3], [2, 20, 3, 0]):
            with pytest.raises(ValueError, match="padding"):
                force_decode(lm, ids, 1)

    def test_padding_that_has_another_meaning_is_warned_about(self) -> None:
        lm = llama()
        tokenizer = copy.deepcopy(lm.tokenizer)
        tokenizer.pad_token = tokenizer.eos_token
        lm = wrap(lm.model, tokenizer)
        pad = tokenizer.pad_token_id
        with pytest.warns(UserWarning, match="padding"):
            hidden_states(lm, [pad, pad, 20, 30])

    def test_encodings_of_several_texts(self) -> None:
        lm = wrap(bert(num_labels=3), word_pieces())
        with pytest.raises(ValueError, match="ids of 2 texts"):
            force_decode(lm, lm.tokenizer([A, B], padding=True), 1)

    def test_an_empty_text_is_the_token_that_begins_texts(self) -> None:
        lm = llama()
        generation = force_decode(lm, "", [20])
        with torch.no_grad():
            logits = lm.model(torch.tensor([[lm.tokenizer.bos_token_id]])).logits
        close(generation.logits[0], logits[0, -1, 20])


class TestClassifiers:
    """What a classifier's logits mean."""

    def test_labels_that_hold_together(self) -> None:
        tokenizer = word_pieces()
        model = bert(num_labels=4, problem_type="multi_label_classification")
        model.classifier.bias.data = torch.tensor([9.0, -9.0, 9.0, -9.0])
        lm, inputs = wrap(model, tokenizer), tokenizer(A, return_tensors="pt")
        with torch.no_grad():
            chances = model(**inputs).logits[0].sigmoid()
        likely = torch.nonzero(chances > 0.5).flatten().tolist()
        assert likely == [0, 2]
        written = generate(lm, A)
        assert written.output_ids.tolist() == likely
        close(np.exp(written.logprobs), chances[likely])
        for name, link in {"prob": torch.sigmoid, "logprob": nn.functional.logsigmoid}.items():
            for label in (0, 3):
                _, scores = naive(model, inputs, lambda logits, k=label, f=link: f(logits[k]))
                generation = force_decode(lm, A, label)
                close(np.exp(generation.logprobs), chances[[label]])
                close(saliency(lm, generation, score=name).scores[0, : len(scores)], scores)

        def entropy(logits: Tensor) -> Tensor:
            return torch.distributions.Bernoulli(logits=logits).entropy().sum()

        _, scores = naive(model, inputs, entropy)
        found = saliency(lm, force_decode(lm, A, 0), score="entropy").scores
        close(found[0, : len(scores)], scores)

    def test_no_label_is_likely(self) -> None:
        model = bert(num_labels=2, problem_type="multi_label_classification")
        nn.init.constant_(model.classifier.bias, -50.0)
        with pytest.raises(UnsupportedError, match="no label"):
            generate(wrap(model, word_pieces()), A)

    @pytest.mark.parametrize(("labels", "kind"), [(1, None), (1, "regression"), (3, "regression")])
    def test_a_regression_has_a_value_and_no_probability(
        self, labels: int, kind: str | None
    ) -> None:
        model = bert(num_labels=labels, problem_type=kind)
        lm = wrap(model, word_pieces())
        generation = generate(lm, A)
        with torch.no_grad():
            close(generation.logits, model(**lm.tokenizer(A, return_tensors="pt")).logits[0])
        assert np.isnan(generation.logprobs).all()
        assert "nan" not in generation.to_html(interactive=False)
        for score in ("prob", "logprob", "entropy"):
            with pytest.raises(UnsupportedError, match="probabilit"):
                saliency(lm, generation, score=score)
        assert np.isfinite(saliency(lm, generation).scores).all()

    @pytest.mark.parametrize("head", ["TokenClassification", "QuestionAnswering"])
    def test_other_heads_are_refused_by_name(self, head: str) -> None:
        lm = wrap(bert(getattr(tf, f"BertFor{head}")), word_pieces())
        with pytest.raises(UnsupportedError, match=f"BertFor{head}"):
            generate(lm, A)
        with torch.no_grad():
            inputs = lm.tokenizer(A, return_tensors="pt")
            states = lm.model(**inputs, output_hidden_states=True).hidden_states[1][0]
        close(hidden_states(lm, [A], layers=[1]).values[0], states)


class TestForcedStart:
    """Tokens that generation writes first of itself."""

    def bart(self, forced: int | None) -> LanguageModel:
        tokenizer = tiny_tokenizers.byte_level()
        config = tf.BartConfig(
            vocab_size=len(tokenizer),
            d_model=32,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            max_position_embeddings=64,
            init_std=0.3,
            decoder_start_token_id=2,
            forced_eos_token_id=None,
        )
        model = build(tf.BartForConditionalGeneration, config)
        model.generation_config.forced_bos_token_id = forced
        return wrap(model, tokenizer)

    @pytest.mark.parametrize("forced", [None, 9])
    def test_outputs_follow_it(self, forced: int | None) -> None:
        lm, outputs = self.bart(forced), [30, 40, 50]
        start = [2] if forced is None else [2, forced]
        assert decoder_starts(lm) == start
        source = torch.tensor([lm.tokenizer(A)["input_ids"]])
        with torch.no_grad():
            logits = lm.model(
                input_ids=source, decoder_input_ids=torch.tensor([[*start, *outputs]])
            ).logits[0]
        rows = logits[len(start) - 1 : -1].log_softmax(-1)
        generation = force_decode(lm, A, outputs)
        close(generation.logprobs, rows[range(3), outputs])
        assert generation.start_ids.tolist() == start
        written = generate(lm, A, max_new_tokens=3)
        again = force_decode(lm, A, written.output_ids)
        close(again.logprobs, written.logprobs)
        assert again.start_ids.tolist() == written.start_ids.tolist()


class TestLimits:
    """How long texts may be is what positions there are."""

    def test_positions_behind_the_padding_id(self) -> None:
        tokenizer = tiny_tokenizers.word_piece()
        config = tf.RobertaConfig(
            vocab_size=len(tokenizer), max_position_embeddings=20, pad_token_id=1, **ENCODER
        )
        lm = wrap(build(tf.RobertaForMaskedLM, config), tokenizer)
        assert lm.context_length == 18
        ids = [4] + [20] * 17
        with torch.no_grad():
            close(generate(lm, ids).logits, [lm.model(torch.tensor([ids])).logits[0, 0].max()])
        with pytest.raises(ValueError, match="holds 18"):
            generate(lm, [*ids, 20])

    def test_relative_positions_have_no_limit(self) -> None:
        tokenizer = tiny_tokenizers.byte_level()
        config = tf.T5Config(
            vocab_size=len(tokenizer),
            d_model=32,
            d_kv=8,
            d_ff=64,
            num_layers=2,
            num_heads=4,
            n_positions=16,
            decoder_start_token_id=0,
        )
        lm = wrap(build(tf.T5ForConditionalGeneration, config), tokenizer)
        assert lm.context_length is None
        source, outputs = torch.randint(10, 90, (1, 40)), list(range(20, 44))
        with torch.no_grad():
            logits = lm.model(
                input_ids=source, decoder_input_ids=torch.tensor([[0, *outputs]])
            ).logits[0]
        close(force_decode(lm, source, outputs).logits, logits[range(24), outputs])

    def test_source_and_outputs_have_limits_of_their_own(self) -> None:
        tokenizer = tiny_tokenizers.byte_level()
        config = tf.LEDConfig(
            vocab_size=len(tokenizer),
            d_model=32,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            max_encoder_position_embeddings=64,
            max_decoder_position_embeddings=12,
            attention_window=4,
        )
        lm = wrap(build(tf.LEDForConditionalGeneration, config), tokenizer)
        assert lm.context_length == 64
        force_decode(lm, [20] * 64, [30] * 12)
        with pytest.raises(ValueError, match="holds 12"):
            force_decode(lm, [20] * 64, [30] * 13)

    def test_attention_biases_that_end(self) -> None:
        tokenizer = tiny_tokenizers.byte_level()
        config = tf.MptConfig(
            vocab_size=len(tokenizer), d_model=32, n_layers=2, n_heads=4, max_seq_len=24
        )
        lm = wrap(build(tf.MptForCausalLM, config), tokenizer)
        assert lm.context_length == 24


class TestWhatHoldsAModel:
    """Models within pipelines, compilers and the like."""

    def test_a_pipeline(self) -> None:
        lm = llama()
        pipeline = tf.pipeline("text-generation", model=lm.model, tokenizer=lm.tokenizer)
        wrapped = wrap(pipeline)
        assert wrapped.model is lm.model
        assert wrapped.tokenizer is pipeline.tokenizer
        assert wrap(nn.DataParallel(lm.model), lm.tokenizer).model is lm.model

    @pytest.mark.parametrize("how", ["returned", "in place", "a part"])
    def test_a_compiled_model(self, how: str) -> None:
        plain, lm = llama(), llama()
        compiled: Any = lm.model
        if how == "returned":
            compiled = torch.compile(lm.model, backend="eager")
        elif how == "in place":
            lm.model.compile(backend="eager")
        else:
            lm.model.model = torch.compile(lm.model.model, backend="eager")
        with torch.no_grad():
            compiled(torch.tensor([[20, 30, 40]]))
        found, expected = wrap(compiled, lm.tokenizer), force_decode(plain, A, B)
        close(saliency(found, force_decode(found, A, B)).scores, saliency(plain, expected).scores)
        close(neurons(found, A).values, neurons(plain, A).values)

    @pytest.mark.parametrize(
        ("kind", "config", "name"),
        [
            (tf.WhisperForConditionalGeneration, tf.WhisperConfig, "input_features"),
            (tf.ViTForImageClassification, tf.ViTConfig, "pixel_values"),
        ],
    )
    def test_models_that_read_no_text(self, kind: Any, config: Any, name: str) -> None:
        with torch.device("meta"):
            model = kind(config())
        with pytest.raises(UnsupportedError, match=name):
            wrap(model, tiny_tokenizers.byte_level())

    @pytest.mark.parametrize("where", ["cpu", "disk"])
    def test_offloaded_weights(self, where: str, tmp_path: Path) -> None:
        plain, lm = llama(), llama()
        if where == "cpu":
            accelerate.cpu_offload(lm.model, execution_device=torch.device("cpu"))
        else:
            accelerate.disk_offload(lm.model, os.fspath(tmp_path), torch.device("cpu"))
        assert lm.model.device.type == "meta"
        assert lm.device.type == "cpu"
        expected, generation = force_decode(plain, A, B), force_decode(lm, A, B)
        close(generation.logits, expected.logits)
        for method in ("input_x_gradient", "occlusion"):
            scores = saliency(plain, expected, method=method).scores
            close(saliency(lm, generation, method=method).scores, scores)
        close(hidden_states(lm, A).values, hidden_states(plain, A).values)
        np.testing.assert_array_equal(
            rankings(lm, generation).ranks, rankings(plain, expected).ranks
        )
        tested = faithfulness(lm, saliency(lm, generation), progress=False)
        assert tested.rank_correlation is None
        assert all(weights.is_meta for weights in lm.model.parameters())


@pytest.mark.filterwarnings("ignore:torch.ao.quantization:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
class TestQuantised:
    """Weights through which no gradient passes."""

    def quantised(self, *, head: bool) -> LanguageModel:
        lm = llama()
        part = lm.model if head else lm.model.model
        whole = torch.ao.quantization.quantize_dynamic(part, {nn.Linear}, dtype=torch.qint8)
        if head:
            return wrap(whole, lm.tokenizer)
        lm.model.model = whole
        return wrap(lm.model, lm.tokenizer)

    @pytest.mark.parametrize("head", [False, True])
    def test_what_needs_no_gradient_is_right(self, head: bool) -> None:
        lm = self.quantised(head=head)
        ids, outputs = lm.tokenizer(A)["input_ids"], [20, 30]
        with torch.no_grad():
            output = lm.model(torch.tensor([ids]), output_hidden_states=True)
            # A head of int8 weights has one scale for all the rows that it is given.
            rows = [
                lm.model(torch.tensor([ids + outputs[:k]]), logits_to_keep=1).logits[0, -1]
                for k in (0, 1)
            ]
        generation = force_decode(lm, ids, outputs)
        close(generation.logits, [row[token] for row, token in zip(rows, outputs, strict=True)])
        close(hidden_states(lm, ids, layers=[1]).values[0], output.hidden_states[1][0])
        assert neurons(lm, ids).layers.tolist() == [0, 1]
        ranks = [
            int((row > row[token]).sum()) + 1 for row, token in zip(rows, outputs, strict=True)
        ]
        assert rankings(lm, generation).ranks[-1].tolist() == ranks
        ablated = saliency(
            lm, generation, method="feature_ablation", baseline="zero", aggregate=None
        )
        leaf = lm.model.get_input_embeddings()(torch.tensor([ids])).detach()
        without = leaf.clone()
        without[:, 2] = 0
        with torch.no_grad():
            change = [
                lm.model(inputs_embeds=x, logits_to_keep=1).logits[0, -1, 20]
                for x in (leaf, without)
            ]
        np.testing.assert_allclose(
            ablated.scores[0, 2], change[0] - change[1], rtol=1e-4, atol=1e-5
        )
        attribution = saliency(lm, generation, method="occlusion")
        assert faithfulness(lm, attribution, progress=False).rank_correlation is None

    def test_gradients_are_refused_whatever_anatomy_is_given(self) -> None:
        lm = self.quantised(head=False)
        given = wrap(lm.model, lm.tokenizer, anatomy=llama().anatomy)
        for each in (lm, given):
            generation = force_decode(each, A, B)
            for method in ("input_x_gradient", "attn_lrp", "deep_lift"):
                with pytest.raises(UnsupportedError, match="int8"):
                    saliency(each, generation, method=method)


@pytest.mark.filterwarnings("ignore")  # torchao warns of what it could not load
class TestWeightOnlyQuantised:
    """Weights that are int8 numbers and scales, through which gradients pass."""

    def test_everything_is_right(self) -> None:
        torchao = pytest.importorskip("torchao.quantization")
        lm = llama()
        torchao.quantize_(lm.model.model, torchao.Int8WeightOnlyConfig())
        assert type(lm.model.model.layers[0].mlp.down_proj.weight.data) is not Tensor
        prompt, outputs = [20, 30, 40, 50], [21, 31]
        generation = force_decode(lm, prompt, outputs)
        ids = {"input_ids": torch.tensor([[*prompt, outputs[0]]])}
        logit, scores = naive(lm.model, ids, lambda logits: logits[-1, 31])
        close(generation.logits[1], logit)
        found = saliency(lm, generation)
        close(found.scores[1, :5], scores)
        with torch.no_grad():
            states = lm.model(**ids, output_hidden_states=True).hidden_states[1][0]
        close(hidden_states(lm, ids["input_ids"], layers=[1]).values[0], states)
        assert neurons(lm, prompt).layers.tolist() == [0, 1]
        for method in ("attn_lrp", "deep_lift", "occlusion"):
            assert np.isfinite(saliency(lm, generation, method=method).scores).all()
        assert faithfulness(lm, found, progress=False).rank_correlation is None


class TestHooks:
    """Hooks of the user's own."""

    @pytest.mark.parametrize("place", [5, -1, slice(0, 6, 2)])
    def test_one_that_changes_a_position(self, place: Any) -> None:
        lm = llama()
        direction = torch.linspace(-1, 1, 32)
        lengths = []

        def steer(module: nn.Module, args: Any, output: Any) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            lengths.append(hidden.shape[1])
            hidden = hidden.clone()
            hidden[:, place] += direction
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        lm.model.model.layers[0].register_forward_hook(steer)
        prompt, outputs = [20, 30, 40, 50, 60, 70, 80, 90], [21, 31, 41]
        generation = force_decode(lm, prompt, outputs)
        found = saliency(lm, generation)
        assert min(lengths) >= len(prompt)
        for k, target in enumerate(outputs):
            ids = torch.tensor([prompt + outputs[:k]])
            logit, scores = naive(
                lm.model, {"input_ids": ids}, lambda logits, t=target: logits[-1, t]
            )
            close(generation.logits[k], logit)
            close(found.scores[k, : len(scores)], scores)

    def test_one_that_cannot_read_the_prompt_alone_is_named(self) -> None:
        lm = llama()
        taken = []
        lm.model.model.layers[1].register_forward_pre_hook(
            lambda module, args: taken.append(args[0][:, 9])
        )
        with pytest.raises(ValueError, match="hook"):
            force_decode(lm, [20] * 8, [30] * 4)

    def test_one_put_on_later_is_noticed(self) -> None:
        lm, prompt, outputs = llama(), [20, 30, 40, 50], [21, 31, 41]
        force_decode(lm, prompt, outputs)
        lm.model.model.layers[0].register_forward_hook(
            lambda module, args, output: torch.cat([output[:, :-1], output[:, -1:] * 2], dim=1)
        )
        with torch.no_grad():
            rows = [lm.model(torch.tensor([prompt + outputs[:k]])).logits[0, -1] for k in range(3)]
        expected = [row[token] for row, token in zip(rows, outputs, strict=True)]
        close(force_decode(lm, prompt, outputs).logits, expected)


class TestModelsThatChange:
    """What a model does to itself is undone."""

    def big_bird(self) -> LanguageModel:
        config = tf.BigBirdConfig(
            vocab_size=len(tiny_tokenizers.word_piece()),
            max_position_embeddings=256,
            block_size=8,
            num_random_blocks=2,
            attention_type="block_sparse",
            **ENCODER,
        )
        return wrap(build(tf.BigBirdForMaskedLM, config), tiny_tokenizers.word_piece())

    def test_sparse_attention_stays(self) -> None:
        lm = self.big_bird()
        ids = torch.tensor([[*range(20, 60), 4, *range(60, 110), *range(20, 60)]])
        with torch.no_grad():
            plain = lm.model(ids).logits[0]
        generation = generate(lm, ids)
        close(generation.logits, [plain[40].max()])
        generate(lm, [20, 4, 30])
        found = saliency(lm, generation)
        assert lm.model.bert.attention_type == "block_sparse"
        leaf = lm.model.get_input_embeddings()(ids).detach().requires_grad_()

        def put_in(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            return torch.cat([leaf, output[:, ids.shape[1] :].detach()], dim=1)

        hook = lm.model.get_input_embeddings().register_forward_hook(put_in)
        logit = lm.model(ids).logits[0, 40, int(generation.output_ids[0])]
        hook.remove()
        (gradient,) = torch.autograd.grad(logit, leaf)
        close(found.scores[0, : ids.shape[1]], (gradient * leaf).norm(dim=-1)[0].detach())
        with torch.no_grad():
            close(lm.model(ids).logits[0], plain)

    def test_weights_that_a_model_divides_stay_divided(self) -> None:
        tokenizer = tiny_tokenizers.byte_level()
        config = tf.RwkvConfig(
            vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=4, rescale_every=2
        )
        plain = build(tf.RwkvForCausalLM, config)
        lm = wrap(build(tf.RwkvForCausalLM, config), tokenizer)
        ids = torch.tensor([[20, 30, 40, 50]])
        with torch.no_grad():
            expected = plain(ids).logits[0]
        for _ in range(2):
            close(force_decode(lm, ids[:, :3], [50]).logits, [expected[2, 50]])
        with torch.no_grad():
            close(lm.model(ids).logits[0], expected)


class TestTokensThatEnterTwice:
    """Embeddings for each block, looked up by the same ids."""

    def gemma(self) -> LanguageModel:
        tokenizer = tiny_tokenizers.byte_level()
        return LanguageModel(tiny_models.build("causal", "gemma3n_text"), tokenizer, "gemma3n")

    def test_removed_tokens_are_removed_from_both(self) -> None:
        lm, prompt, outputs, other = self.gemma(), [20, 30, 40, 50, 60], [21, 31], 70

        def logit(ids: list[int], row: int) -> float:
            with torch.no_grad():
                return float(lm.model(torch.tensor([ids])).logits[0, row, outputs[-1]])

        ids = [*prompt, outputs[0]]
        expected = [logit(ids, -1) - logit([*ids[:k], other, *ids[k + 1 :]], -1) for k in range(6)]
        generation = force_decode(lm, prompt, outputs)
        for method in ("occlusion", "feature_ablation"):
            found = saliency(lm, generation, method=method, baseline=other)
            np.testing.assert_allclose(found.scores[1, :6], expected, rtol=1e-4, atol=1e-5)
            assert not found.left_as_is
        shap = saliency(lm, generation, method="kernel_shap", baseline=other, n_samples=300)
        whole = logit(ids, -1) - logit([other] * 6, -1)
        assert shap.differences is not None
        np.testing.assert_allclose(shap.differences[1], whole, rtol=1e-4, atol=1e-5)

    def test_what_is_left_is_said(self) -> None:
        lm = self.gemma()
        generation = force_decode(lm, [20, 30, 40, 50, 60, 70], [21, 31])
        for options in ({}, {"method": "occlusion"}):
            found = saliency(lm, generation, **options)  # type: ignore[arg-type]
            assert found.left_as_is == ("model.embed_tokens_per_layer",)
            assert "embed_tokens_per_layer" in found.to_html(interactive=False)
        tested = faithfulness(lm, found, removal="mean", progress=False, randomisation=False)
        assert "embed_tokens_per_layer" in tested.removals[0]
        for removal in (70, "neighbour", "delete"):
            tested = faithfulness(lm, found, removal=removal, progress=False, randomisation=False)
            assert "embed_tokens_per_layer" not in tested.removals[0]
        assert saliency(llama(), force_decode(llama(), A, B)).left_as_is == ()


class TestCorpora:
    """Texts by the thousand: long, blank and broken ones among them."""

    def bert(self) -> LanguageModel:
        return wrap(bert(tf.BertModel, max_position_embeddings=12), word_pieces())

    def test_a_long_text_is_an_error_left_out_or_cut(self) -> None:
        lm, long = self.bert(), " ".join([A, B] * 3)
        bare = lm.tokenizer(long, add_special_tokens=False)["input_ids"]
        assert len(bare) > 24
        with pytest.raises(ValueError, match="number 1, from 0: prompt: it has"):
            neurons(lm, [A, long])
        with pytest.warns(UserWarning, match="1 longer than the context left out"):
            skipped = hidden_states(lm, [A, long, B], long="skip")
        np.testing.assert_array_equal(skipped.values, hidden_states(lm, [A, B]).values)
        cut = hidden_states(lm, [A, long], layers=[2], long="split")
        first, last = (lm.tokenizer.convert_tokens_to_ids(name) for name in ("[CLS]", "[SEP]"))
        pieces = [[first, *bare[k : k + 10], last] for k in range(0, len(bare), 10)]
        expected = [token for piece in pieces for token in piece]
        assert cut.tokens.ids[cut.sequences[1] :].tolist() == expected
        for k, piece in enumerate(pieces, start=1):
            with torch.no_grad():
                states = lm.model(torch.tensor([piece])).last_hidden_state[0]
            close(cut.values[0, cut.text(k)], states)
        with pytest.raises(ValueError, match="long: got 'cut', accepts 'error', 'skip', 'split'"):
            neurons(lm, [A], long="cut")  # type: ignore[arg-type]

    def test_blank_and_broken_texts_are_left_out_and_listed(self, tmp_path: Path) -> None:
        lm, texts = self.bert(), [A, "", "  \n", "a\ud800", B]
        expected = hidden_states(lm, [A, B])
        with pytest.warns(UserWarning, match=r"2 blank, 1 that failed: number 3 \(prompt: char"):
            found = hidden_states(lm, iter(texts))
        np.testing.assert_array_equal(found.values, expected.values)
        with pytest.warns(UserWarning, match="2 blank"):
            stored = hidden_states(lm, texts, store=tmp_path / "acts.zarr")
        np.testing.assert_array_equal(np.asarray(stored.values), expected.values)
        with pytest.raises(ValueError, match=r"texts: got none \(2 blank\)"):
            hidden_states(lm, ["", " "])
