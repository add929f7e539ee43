"""Down-projections with adapters: neurons are what all of them read, and ablation reaches all."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import peft
import pytest
import tiny_models
import tiny_tokenizers
import torch
from torch import Tensor, nn

from ecco_captum import ablate, force_decode, neurons
from ecco_captum.models.anatomy.find import find_anatomy
from ecco_captum.models.language_model import LanguageModel

MakeLM = Callable[..., LanguageModel]

TEXT, BLOCKS, CHOSEN = [5, 9, 6, 7, 30, 8, 9], [0, 1, 2], [5, 11]
LLAMA = "model.layers.{}.mlp.down_proj"


def lora(*targets: str, **options: Any) -> peft.LoraConfig:
    return peft.LoraConfig(
        r=4, lora_alpha=8, target_modules=list(targets), init_lora_weights=False, **options
    )


def inject(model: Any, config: Any, name: str = "default") -> None:
    torch.manual_seed(1)
    with warnings.catch_warnings():
        # A second adapter is what a test wants; linear maps of GPT-2 are found to be transposed.
        warnings.filterwarnings("ignore", "Already found a `peft_config`|fan_in_fan_out is set to")
        peft.inject_adapter_in_model(config, model, name).eval()


@contextmanager
def hooked(model: Any, path: str, hook: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """A plain hook on what a module is given."""

    def pre_hook(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        changed = hook(given[0])
        return None if changed is None else (changed, *given[1:])

    handle = model.get_submodule(path).register_forward_pre_hook(pre_hook)
    try:
        yield
    finally:
        handle.remove()


def without(values: Tensor) -> Tensor:
    return values.index_fill(-1, torch.tensor(CHOSEN), 0)


def close(given: Tensor, expected: Tensor) -> None:
    error = float((given - expected).abs().max())
    assert error <= 1e-5 * float(expected.abs().max())


def check(lm: LanguageModel, path: str, whole: str | None = None) -> None:
    """Neurons and ablation against plain hooks; ``whole`` is the path of what ablation acts on."""

    @torch.no_grad()
    def logits() -> Tensor:
        found: Tensor = lm.model(torch.tensor([TEXT]), use_cache=False).logits
        return found

    acts = neurons(lm, TEXT)
    assert acts.layers.tolist() == BLOCKS
    plain = logits()
    for block in BLOCKS:
        seen: list[Tensor] = []
        with hooked(lm.model, path.format(block), seen.append):
            logits()
        # Some models flatten texts and positions.
        close(torch.tensor(acts.values[block]), seen[0].flatten(0, -2).float())
        with hooked(lm.model, (whole or path).format(block), without):
            expected = logits()
        assert (expected - plain).abs().max() > 1e-3 * plain.abs().max()
        with ablate(lm, neurons={block: CHOSEN}):
            close(logits(), expected)


@pytest.mark.parametrize("use_dora", [False, True], ids=["lora", "dora"])
@pytest.mark.parametrize(
    ("kind", "family", "path", "target"),
    [
        ("causal", "gpt2", "transformer.h.{}.mlp.c_proj", "c_proj"),
        ("causal", "gpt_neox", "gpt_neox.layers.{}.mlp.dense_4h_to_h", "dense_4h_to_h"),
        ("causal", "llama", LLAMA, "down_proj"),
        ("causal", "opt", "model.decoder.layers.{}.fc2", "fc2"),
        ("masked", "bert", "bert.encoder.layer.{}.output.dense", "output.dense"),
    ],
)
def test_of_an_architecture(
    tiny_lm: MakeLM, kind: str, family: str, path: str, target: str, use_dora: bool
) -> None:
    lm = tiny_lm(family, kind)
    inject(lm.model, lora(target, use_dora=use_dora))
    check(lm, path)


def every_map(model: Any) -> None:
    inject(model, peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))


def two_at_once(model: Any) -> None:
    inject(model, lora("down_proj", "o_proj"))
    inject(model, lora("down_proj"), "second")
    for module in model.modules():
        if hasattr(module, "set_adapter") and hasattr(module, "base_layer"):
            module.set_adapter(["default", "second"])


def merged(model: Any) -> None:
    inject(model, lora("down_proj"))
    for block in model.model.layers:
        block.mlp.down_proj.merge()


def another_precision(model: Any) -> None:
    inject(model.bfloat16(), lora("down_proj"))


def weights_made_anew(model: Any) -> None:
    inject(model, peft.LoHaConfig(r=4, target_modules=["down_proj", "up_proj"], init_weights=False))


@pytest.mark.parametrize(
    "adapt", [every_map, two_at_once, merged, another_precision, weights_made_anew]
)
def test_of_a_kind(tiny_lm: MakeLM, adapt: Callable[[Any], None]) -> None:
    lm = tiny_lm("llama")
    adapt(lm.model)
    check(lm, LLAMA)


def test_neurons_that_are_scaled_are_read_scaled(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("llama")
    names = {"target_modules": ["k_proj", "down_proj"], "feedforward_modules": ["down_proj"]}
    inject(lm.model, peft.IA3Config(**names, init_ia3_weights=False))
    check(lm, LLAMA + ".base_layer", whole=LLAMA)


@pytest.mark.parametrize(("family", "gated"), [("t5", False), ("mt5", True)])
def test_of_an_encoder_and_a_decoder(tiny_lm: MakeLM, family: str, gated: bool) -> None:
    lm = tiny_lm(family, "seq2seq")
    assert gated == hasattr(lm.model.encoder.block[0].layer[1].DenseReluDense, "wi_1")
    inject(lm.model, lora("wo", "q"))
    generation = force_decode(lm, TEXT, [8, 11, 6])
    inputs = {
        "input_ids": torch.tensor(generation.prompt_ids[None]),
        "decoder_input_ids": torch.tensor([[3, *generation.output_ids]]),
    }

    @torch.no_grad()
    def logits() -> Tensor:
        found: Tensor = lm.model(**inputs, use_cache=False).logits
        return found

    for stack, layer in (("encoder", 1), ("decoder", 2)):
        acts = neurons(lm, generation, stack=stack)
        assert acts.layers.tolist() == BLOCKS
        for block in BLOCKS:
            path = f"{stack}.block.{block}.layer.{layer}.DenseReluDense.wo"
            seen: list[Tensor] = []
            with hooked(lm.model, path, seen.append):
                logits()
            # The token that a decoder starts with is none of the text's.
            close(torch.tensor(acts.values[block]), seen[0][0, -acts.shape[1] :])
            if stack == "decoder":
                with hooked(lm.model, path, without):
                    expected = logits()
                with ablate(lm, neurons={block: CHOSEN}):
                    close(logits(), expected)


class Bottleneck(nn.Module):
    """An adapter with neurons of its own, behind the module that it adapts or beside it."""

    def __init__(self, adapted: nn.Module, inputs: int, beside: bool) -> None:
        super().__init__()
        self.adapted, self.beside = adapted, beside
        self.down, self.up = nn.Linear(inputs if beside else 32, 4), nn.Linear(4, 32)

    def forward(self, hidden: Tensor) -> Tensor:
        output: Tensor = self.adapted(hidden)
        return output + self.up(self.down(hidden if self.beside else output).relu())


@pytest.mark.parametrize("beside", [False, True])
def test_neurons_of_a_bottleneck_are_none_of_the_model_s(tiny_lm: MakeLM, beside: bool) -> None:
    lm = tiny_lm("llama")
    torch.manual_seed(1)
    for block in lm.model.model.layers:
        block.mlp.down_proj = Bottleneck(block.mlp.down_proj, 80, beside)
        block.self_attn.o_proj = Bottleneck(block.self_attn.o_proj, 32, beside)
    check(lm, LLAMA)


class Aside(nn.Module):
    """A feed-forward layer whose own forward adapts its down-projection."""

    def __init__(self, mlp: Any) -> None:
        super().__init__()
        self.mlp, self.narrow, self.wide = mlp, nn.Linear(80, 4), nn.Linear(4, 32)

    def forward(self, hidden: Tensor) -> Tensor:
        mlp = self.mlp
        values = mlp.act_fn(mlp.gate_proj(hidden)) * mlp.up_proj(hidden)
        output: Tensor = mlp.down_proj(values) + self.wide(self.narrow(values))
        return output


def test_experts_beside_a_router_that_has_a_stream_of_its_own_are_no_adapter() -> None:
    blocks = find_anatomy(tiny_models.build("causal", "zaya")).blocks
    for block in blocks:
        assert not block.neurons
        assert "are fused in one tensor" in block.lacks


def test_neurons_that_several_modules_read_are_refused_by_name() -> None:
    model = tiny_models.build("causal", "llama")
    torch.manual_seed(1)
    model.model.layers[1].mlp = Aside(model.model.layers[1].mlp)
    blocks = find_anatomy(model).blocks
    assert [len(block.neurons) for block in blocks] == [1, 0, 1]
    assert blocks[1].lacks == (
        "no one module holds all that reads the neurons of model.layers.1.mlp.mlp.down_proj"
    )


@pytest.mark.parametrize(
    ("family", "target", "place"),
    [("llama", "down_proj", "model"), ("opt", "fc2", "model.decoder")],
)
def test_blocks_that_are_left_out_are_named(
    tiny_lm: MakeLM, family: str, target: str, place: str
) -> None:
    lm = tiny_lm(family)
    # It turns the neurons before the down-projection reads them.
    turned = peft.OFTConfig(target_modules=[target], oft_block_size=8, layers_to_transform=[1])
    inject(lm.model, turned)
    with pytest.warns(UserWarning, match=rf"blocks 1 of .* Of {place}\.layers\.1: it has no"):
        acts = neurons(lm, TEXT)
    assert acts.layers.tolist() == [0, 2]


@pytest.mark.parametrize("family", ["zamba", "zamba2", "llama4_text"])
def test_blocks_of_other_kinds_are_left_out_without_a_warning(family: str) -> None:
    model: Any = tiny_models.build("causal", family)
    lacking = [not block.neurons for block in find_anatomy(model).blocks]
    assert any(lacking), "the test shows nothing without one"
    assert not all(lacking)
    lm = LanguageModel(model, tiny_tokenizers.byte_level(), family)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        acts = neurons(lm, torch.tensor(TEXT).numpy())
    assert acts.layers.tolist() == [k for k, lacks in enumerate(lacking) if not lacks]
