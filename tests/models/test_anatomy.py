"""Anatomies of representative families, against what their code says, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import accelerate
import pytest
import tiny_models
import torch
from recording import called, recorded_inputs, recorded_outputs
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    BertModel,
    GPT2LMHeadModel,
    SwitchTransformersConfig,
    SwitchTransformersForConditionalGeneration,
    T5EncoderModel,
)

from ecco_captum.models.anatomy.find import find_anatomy
from ecco_captum.models.anatomy.parts import (
    Anatomy,
    AnatomyError,
    Block,
    Embedding,
    NeuronSite,
    Site,
    Stack,
)
from ecco_captum.testing import model_state

# Kind, type, embedding, blocks, down-projection of block 1, head: as the models' own code has it.
FAMILIES = [
    ("causal", "gpt2", "transformer.wte", "transformer.h.{}", "mlp.c_proj", "lm_head"),
    ("causal", "llama", "model.embed_tokens", "model.layers.{}", "mlp.down_proj", "lm_head"),
    ("causal", "gemma2", "model.embed_tokens", "model.layers.{}", "mlp.down_proj", "lm_head"),
    ("causal", "gemma3_text", "model.embed_tokens", "model.layers.{}", "mlp.down_proj", "lm_head"),
    ("causal", "qwen3", "model.embed_tokens", "model.layers.{}", "mlp.down_proj", "lm_head"),
    ("causal", "mixtral", "model.embed_tokens", "model.layers.{}", None, "lm_head"),
    ("causal", "mamba", "backbone.embeddings", "backbone.layers.{}", None, "lm_head"),
    ("causal", "opt", "model.decoder.embed_tokens", "model.decoder.layers.{}", "fc2", "lm_head"),
    ("causal", "rwkv", "rwkv.embeddings", "rwkv.blocks.{}", "feed_forward.value", "head"),
    (
        "masked",
        "bert",
        "bert.embeddings.word_embeddings",
        "bert.encoder.layer.{}",
        "output.dense",
        "cls.predictions.decoder",
    ),
    (
        "masked",
        "squeezebert",
        "transformer.embeddings.word_embeddings",
        "transformer.encoder.layers.{}",
        "output.conv1d",
        "cls.predictions.decoder",
    ),
]


def forward(model: Any, inputs: dict[str, Tensor]) -> Any:
    with torch.no_grad():
        return model(**inputs, use_cache=False)


@pytest.mark.parametrize(
    ("kind", "model_type", "embedding", "blocks", "down_projection", "head"),
    FAMILIES,
    ids=[family[1] for family in FAMILIES],
)
def test_parts_are_where_the_code_has_them(
    kind: str, model_type: str, embedding: str, blocks: str, down_projection: str | None, head: str
) -> None:
    anatomy = find_anatomy(tiny_models.build(kind, model_type))
    assert anatomy.encoder is None
    assert anatomy.embedding == Embedding(embedding)
    assert [block.module for block in anatomy.blocks] == [blocks.format(i) for i in range(3)]
    assert anatomy.stack.entry == Site(blocks.format(0))
    assert anatomy.stack.width == 32
    assert anatomy.head == Site(head)
    sites = [site.module for block in anatomy.blocks for site in block.neurons]
    expected = [f"{blocks.format(i)}.{down_projection}" for i in range(3)]
    assert sites == (expected if down_projection else [])
    assert {block.call for block in anatomy.blocks} == {0}


@pytest.mark.parametrize(
    ("model_type", "encoder", "decoder"),
    [
        (
            "t5",
            "encoder.block.{}.layer.1.DenseReluDense.wo",
            "decoder.block.{}.layer.2.DenseReluDense.wo",
        ),
        ("bart", "model.encoder.layers.{}.fc2", "model.decoder.layers.{}.fc2"),
    ],
)
def test_encoder_and_decoder(model_type: str, encoder: str, decoder: str) -> None:
    anatomy = find_anatomy(tiny_models.build("seq2seq", model_type))
    assert anatomy.encoder is not None
    assert anatomy.stacks == (anatomy.encoder, anatomy.stack)
    prefix = "" if model_type == "t5" else "model."
    assert anatomy.embedding == Embedding(f"{prefix}encoder.embed_tokens")
    assert anatomy.stack.embedding == Embedding(f"{prefix}decoder.embed_tokens")
    for stack, path in zip(anatomy.stacks, (encoder, decoder), strict=True):
        sites = [site.module for block in stack.blocks for site in block.neurons]
        assert sites == [path.format(i) for i in range(3)]


def test_executions_are_counted_not_modules() -> None:
    anatomy = find_anatomy(tiny_models.build("masked", "albert"))
    assert {block.module for block in anatomy.blocks} == {"albert.encoder.albert_layer_groups.0"}
    assert [block.call for block in anatomy.blocks] == [0, 1, 2]
    sites = [site for block in anatomy.blocks for site in block.neurons]
    assert [site.call for site in sites] == [0, 1, 2]
    assert {site.module.rpartition(".")[2] for site in sites} == {"ffn_output"}


def test_lists_that_take_turns_make_up_blocks() -> None:
    anatomy = find_anatomy(tiny_models.build("masked", "xlm"))
    assert [block.module for block in anatomy.blocks] == [
        f"transformer.layer_norm2.{i}" for i in range(3)
    ]
    assert anatomy.stack.entry == Site("transformer.attentions.0")
    assert [block.neurons[0].module for block in anatomy.blocks] == [
        f"transformer.ffns.{i}.lin2" for i in range(3)
    ]


@pytest.mark.parametrize(
    ("kind", "model_type", "axes"),
    [
        ("causal", "xlnet", (1, 0, 2)),  # time first
        ("masked", "squeezebert", (0, 2, 1)),  # channels first
        ("causal", "gemma3n", (1, 2, 0, 3)),  # four streams, theirs is the first axis
    ],
)
def test_axes_lead_to_batch_positions_width(
    kind: str, model_type: str, axes: tuple[int, ...]
) -> None:
    model = tiny_models.build(kind, model_type)
    anatomy, inputs = find_anatomy(model), tiny_models.example_inputs(model)
    assert anatomy.stack.axes == axes
    with recorded_outputs(model.get_submodule(anatomy.blocks[-1].module)) as outputs:
        forward(model, inputs)
    shape = outputs[0].permute(axes).shape
    assert (shape[0], shape[1], shape[-1]) == (tiny_models.BATCH, tiny_models.LENGTH, 32)


def test_neurons_are_taken_after_the_non_linearity() -> None:
    gpt2 = tiny_models.build("causal", "gpt2")
    mlp = gpt2.transformer.h[1].mlp
    assert find_anatomy(gpt2).blocks[1].neurons == (
        NeuronSite("transformer.h.1.mlp.c_proj", width=80),
    )
    with recorded_inputs(mlp) as hidden, recorded_inputs(mlp.c_proj) as neurons:
        forward(gpt2, tiny_models.example_inputs(gpt2))
    torch.testing.assert_close(neurons[0], functional.gelu(mlp.c_fc(hidden[0]), approximate="tanh"))
    llama = tiny_models.build("causal", "llama")
    mlp = llama.model.layers[1].mlp
    with recorded_inputs(mlp) as hidden, recorded_inputs(mlp.down_proj) as neurons:
        forward(llama, tiny_models.example_inputs(llama))
    expected = functional.silu(mlp.gate_proj(hidden[0])) * mlp.up_proj(hidden[0])
    torch.testing.assert_close(neurons[0], expected)


def test_time_mixing_is_no_feed_forward_layer() -> None:
    model = tiny_models.build("causal", "rwkv")
    sites = [site.module for block in find_anatomy(model).blocks for site in block.neurons]
    # The time-mixing output also reads what went through a sigmoid, and is added to the stream.
    assert isinstance(model.get_submodule("rwkv.blocks.0.attention.output"), nn.Linear)
    assert not [site for site in sites if "attention" in site]


def test_what_is_written_by_hand_equals_what_is_found() -> None:
    model = tiny_models.build("causal", "gpt2")
    by_hand = Anatomy(
        architecture="GPT2LMHeadModel",
        stack=Stack(
            embedding=Embedding("transformer.wte"),
            entry=Site("transformer.h.0"),
            blocks=tuple(
                Block(
                    f"transformer.h.{i}",
                    neurons=(NeuronSite(f"transformer.h.{i}.mlp.c_proj", width=80),),
                    returns=0,
                )
                for i in range(3)
            ),
            width=32,
        ),
        head=Site("lm_head"),
    )
    assert find_anatomy(model) == by_hand
    assert hash(find_anatomy(model)) == hash(by_hand)


@pytest.mark.parametrize(
    ("kind", "model_type"),
    [("causal", "gpt2"), ("seq2seq", "t5"), ("causal", "gemma3n"), ("masked", "funnel")],
)
def test_the_record_survives_json(kind: str, model_type: str) -> None:
    anatomy = find_anatomy(tiny_models.build(kind, model_type))
    assert Anatomy.from_dict(json.loads(json.dumps(anatomy.to_dict()))) == anatomy


def test_a_model_is_examined_once_and_anew_with_inputs() -> None:
    model = tiny_models.build("causal", "gpt2")
    found = find_anatomy(model)
    runs: list[int] = []
    with called(model, lambda args, kwargs: runs.append(1)):
        assert find_anatomy(model) is found
        assert not runs
        assert find_anatomy(model, tiny_models.example_inputs(model)) == found
        assert runs


@pytest.mark.parametrize(
    ("kind", "model_type", "part", "message"),
    [
        (
            "causal",
            "mixtral",
            "neurons",
            r"MixtralForCausalLM gives no neurons: the experts of "
            r"model\.layers\.0\.mlp\.experts are fused in one tensor",
        ),
        ("causal", "mamba", "neurons", "MambaForCausalLM gives no neurons: .*no feed-forward"),
        ("causal", "hrm_text", "gradient", "gives no gradient: .*off the slope"),
        ("masked", "yoso", "gradient", "gives no gradient: .*off the slope"),
        ("masked", "reformer", "gradient", "gives no gradient: its backward pass raises"),
        ("masked", "funnel", "blocks", "gives no blocks: .*different shapes"),
        ("masked", "perceiver", "lens", "gives no lens: .*do not run on the tokens"),
        ("causal", "inkling2_text", "lens", "gives no lens: .*last block's output alone"),
    ],
    ids=lambda value: value if value in ("mixtral", "mamba", "hrm_text") else None,
)
def test_what_is_lacking_is_refused_by_name(
    kind: str, model_type: str, part: Any, message: str
) -> None:
    anatomy = find_anatomy(tiny_models.build(kind, model_type))
    with pytest.raises(AnatomyError, match=message):
        anatomy.require(part)
    usable = replace(anatomy, lacks=())
    if part != "neurons":
        usable.require(part)


def test_one_text_across_a_kink_does_not_refuse_a_gradient() -> None:
    config = SwitchTransformersConfig(
        vocab_size=101,
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=4,
        num_experts=4,
        initializer_factor=2.0,
    )
    torch.manual_seed(19)  # of this one, a text changes its experts at every step
    model = SwitchTransformersForConditionalGeneration(config).eval()
    find_anatomy(model).require("gradient")


def test_parts_that_are_there_are_not_refused() -> None:
    anatomy = find_anatomy(tiny_models.build("causal", "llama"))
    for part in ("gradient", "blocks", "lens", "neurons"):
        anatomy.require(part)
    with pytest.raises(ValueError, match="part: got 'neuron', accepts one of gradient, blocks"):
        anatomy.require("neuron")  # type: ignore[arg-type]


def test_an_encoder_without_a_head_has_no_lens_but_the_rest() -> None:
    config = tiny_models.tiny_config("masked", "bert")
    anatomy = find_anatomy(BertModel(config).eval())
    with pytest.raises(AnatomyError, match="BertModel gives no lens: it has no head"):
        anatomy.require("lens")
    assert [part for part, _ in anatomy.lacks] == ["lens"]
    assert len(anatomy.blocks) == 3
    assert anatomy.embedding == Embedding("embeddings.word_embeddings")
    config = tiny_models.tiny_config("seq2seq", "t5")
    anatomy = find_anatomy(T5EncoderModel(config).eval())
    assert (len(anatomy.blocks), anatomy.encoder) == (3, None)


def test_a_model_that_does_not_run_on_ids_says_so() -> None:
    model = tiny_models.build("causal", "musicgen")
    with pytest.raises(AnatomyError, match="MusicgenForCausalLM does not run on plain token ids"):
        find_anatomy(model)
    with pytest.raises(AnatomyError, match="no module of it looks input_ids up"):
        find_anatomy(model, tiny_models.example_inputs(model)).require("gradient")


def test_weights_that_are_nan_are_told() -> None:
    model = tiny_models.build("causal", "gpt2")
    with torch.no_grad():
        model.transformer.h[1].mlp.c_fc.weight[0, 0] = float("nan")
    with pytest.raises(AnatomyError, match="GPT2LMHeadModel returns numbers that are not finite"):
        find_anatomy(model)


@pytest.mark.parametrize("failure", [None, RuntimeError, KeyboardInterrupt])
def test_the_model_is_left_as_it_was(failure: type[BaseException] | None) -> None:
    config = tiny_models.tiny_config("causal", "gpt2")
    config.resid_pdrop = config.embd_pdrop = 0.5
    model = GPT2LMHeadModel(config).train()
    model.transformer.h[0].eval()
    model.transformer.wpe.requires_grad_(False)

    def fail(*_: object) -> None:
        if failure is not None:
            raise failure("while the model runs")

    before, random = model_state(model), torch.get_rng_state()
    with called(model.transformer.h[1].mlp.act, fail):
        if failure is None:
            find_anatomy(model).require("gradient")
        else:
            with pytest.raises(AnatomyError if failure is RuntimeError else failure):
                find_anatomy(model)
    assert model_state(model) == before
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_precision_and_attention_make_no_difference(
    dtype: torch.dtype, implementation: str
) -> None:
    expected = find_anatomy(tiny_models.build("causal", "qwen3"))
    model = tiny_models.build("causal", "qwen3", attn_implementation=implementation)
    assert find_anatomy(model.to(dtype)) == expected


def test_weights_that_are_elsewhere_until_they_are_needed() -> None:
    expected = find_anatomy(tiny_models.build("causal", "llama"))
    model = tiny_models.build("causal", "llama")
    accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    assert model.device.type == "meta"
    before = model_state(model)
    assert find_anatomy(model) == expected
    assert model_state(model)["forwards"] == before["forwards"]


def test_inside_inference_mode() -> None:
    expected = find_anatomy(tiny_models.build("causal", "gpt2"))
    model = tiny_models.build("causal", "gpt2")
    with torch.inference_mode():
        assert find_anatomy(model) == expected


def test_narrow_embeddings_that_are_projected() -> None:
    model = tiny_models.build("causal", "opt")
    assert model.model.decoder.project_out is not None, "the test shows nothing without it"
    anatomy, inputs = find_anatomy(model), tiny_models.example_inputs(model)
    assert anatomy.embedding is not None
    with recorded_outputs(model.get_submodule(anatomy.embedding.module)) as outputs:
        forward(model, inputs)
    assert outputs[0].shape[-1] == 16
    assert anatomy.stack.width == 32
