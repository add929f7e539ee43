"""Interventions change what they say, agree with PyTorch's own hooks, and leave nothing behind."""

from __future__ import annotations

import inspect
from collections import namedtuple
from collections.abc import Callable
from typing import Any, cast

import pytest
import tiny_models
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from recording import recorded_inputs, recorded_outputs
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from ecco_captum.models.anatomy.find import find_anatomy
from ecco_captum.models.interventions import (
    intercepted,
    recorded_stream,
    replaced_input,
    replaced_output,
    replay_tail,
    wrapped_forward,
)
from ecco_captum.testing import model_state

Pair = namedtuple("Pair", ["first", "second"])


class Returning(nn.Module):
    """Returns its input in a structure of choice."""

    def __init__(self, structure: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.structure = structure

    def forward(self, hidden: Tensor) -> Any:
        return self.structure(hidden)


def logits(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return cast(Tensor, model(**inputs, use_cache=False).logits)


@pytest.mark.parametrize(
    ("structure", "read"),
    [
        (lambda h: h, lambda out: out),
        (lambda h: (h, None), lambda out: out[0]),
        (lambda h: (None, torch.arange(3), h, h + 1), lambda out: out[2]),
        (lambda h: [h, h + 1], lambda out: out[0]),
        (lambda h: {"mask": None, "hidden": (h,)}, lambda out: out["hidden"][0]),
        (lambda h: Pair(torch.tensor(1.0), h), lambda out: out.second),
        (lambda h: BaseModelOutput(last_hidden_state=h), lambda out: out.last_hidden_state),
    ],
    ids=["tensor", "tuple", "not first", "list", "mapping", "namedtuple", "model output"],
)
def test_first_floating_tensor_is_replaced_in_any_structure(
    structure: Callable[[Tensor], Any], read: Callable[[Any], Tensor]
) -> None:
    module, hidden = Returning(structure), torch.randn(2, 3)
    plain = module(hidden)
    with replaced_output(module, lambda tensor: tensor * 2):
        replaced = module(hidden)
    assert torch.equal(read(replaced), hidden * 2)
    assert type(replaced) is type(plain)
    assert len(replaced) == len(plain)
    assert torch.equal(read(plain), hidden), "what the module made itself must stay as it was"


def test_output_without_a_floating_tensor_stays() -> None:
    module = Returning(lambda _: (torch.arange(3), "text"))
    with replaced_output(module, lambda tensor: tensor * 2):
        ids, text = module(torch.zeros(1, 1))
    assert (ids.tolist(), text) == ([0, 1, 2], "text")


def test_replaced_output_agrees_with_a_forward_hook() -> None:
    model = tiny_models.build("causal", "llama")
    inputs, layer = tiny_models.example_inputs(model), model.model.layers[1]
    handle = layer.register_forward_hook(lambda module, args, output: output * -0.5)
    expected = logits(model, inputs)
    handle.remove()
    with replaced_output(layer, lambda hidden: hidden * -0.5):
        assert torch.equal(logits(model, inputs), expected)
    assert not torch.equal(logits(model, inputs), expected)


def test_replaced_input_agrees_with_a_pre_hook_also_for_keywords() -> None:
    model = tiny_models.build("causal", "gpt2")
    inputs, projection = tiny_models.example_inputs(model), model.transformer.h[1].mlp.c_proj
    handle = projection.register_forward_pre_hook(lambda module, args: (args[0].abs(),))
    expected = logits(model, inputs)
    handle.remove()
    with replaced_input(projection, torch.abs):
        assert torch.equal(logits(model, inputs), expected)
    module = Returning(lambda hidden: hidden)
    with replaced_input(module, torch.neg):
        assert torch.equal(module(hidden=torch.ones(1, 2)), -torch.ones(1, 2))


def test_modules_that_are_never_called_through_call() -> None:
    model = tiny_models.build("masked", "squeezebert")
    inputs, layer = tiny_models.example_inputs(model), model.transformer.encoder.layers[1]
    fired = []
    layer.register_forward_hook(lambda *_: fired.append(1))
    with recorded_outputs(layer) as outputs:
        clean = logits(model, inputs)
    assert not fired, "a hook sees this layer, so the test shows nothing"
    assert len(outputs) == 1
    with replaced_output(layer, lambda hidden: hidden + 1):
        assert not torch.equal(logits(model, inputs), clean)


def test_one_execution_of_a_module_that_runs_several_times() -> None:
    model = tiny_models.build("masked", "albert")
    inputs, layer = tiny_models.example_inputs(model), model.albert.encoder.albert_layer_groups[0]
    runs = []

    def zero_second(module: nn.Module, args: Any, output: Any) -> Any:
        runs.append(1)
        return output * 0 if len(runs) == 2 else None

    handle = layer.register_forward_hook(zero_second)
    expected = logits(model, inputs)
    handle.remove()
    assert len(runs) == 3
    with replaced_output(layer, lambda hidden: hidden * 0, call=1):
        assert torch.equal(logits(model, inputs), expected)
        assert not torch.equal(logits(model, inputs), expected), "the fourth run is not the second"
    with replaced_output(layer, lambda hidden: hidden * 0, call=1, root=model):
        assert torch.equal(logits(model, inputs), expected)
        assert torch.equal(logits(model, inputs), expected)


def test_contexts_nest_and_the_last_is_outermost() -> None:
    module = Returning(lambda hidden: hidden)
    with replaced_output(module, lambda x: x + 1), replaced_output(module, lambda x: x * 10):
        assert module(torch.ones(1, 1)).item() == 20
    with replaced_output(module, lambda x: x * 10), replaced_output(module, lambda x: x + 1):
        assert module(torch.ones(1, 1)).item() == 11
    assert module(torch.ones(1, 1)).item() == 1


@pytest.mark.parametrize("failure", [None, RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_behind(failure: type[BaseException] | None) -> None:
    model = tiny_models.build("causal", "gpt2")
    inputs, block = tiny_models.example_inputs(model), model.transformer.h[1]
    # accelerate puts a forward of its own on instances; it has to be there afterwards.
    add_hook_to_module(model.transformer.h[0], ModelHook())
    stack = find_anatomy(model).stack
    before = model_state(model)

    def fail(hidden: Tensor) -> Tensor:
        if failure is not None:
            raise failure("while the model runs")
        return hidden

    def run() -> None:
        with (
            replaced_output(block, fail, root=model),
            replaced_output(model.transformer.h[0], lambda hidden: hidden),
            recorded_stream(model, stack),
            recorded_inputs(block.mlp.c_proj),
        ):
            logits(model, inputs)

    if failure is None:
        run()
    else:
        with pytest.raises(failure):
            run()
    assert model_state(model) == before


def test_signature_of_forward_stays_visible() -> None:
    model = tiny_models.build("causal", "gpt2")
    expected = inspect.signature(model.forward)
    with wrapped_forward(model, lambda forward, args, kwargs: forward(*args, **kwargs)):
        assert inspect.signature(model.forward) == expected


def test_intercepted_decides_whether_the_module_runs() -> None:
    module = Returning(lambda hidden: pytest.fail("it ran"))
    with intercepted(module, lambda forward, args, kwargs: "instead"):
        assert module(torch.zeros(1, 1)) == "instead"


def test_gradient_through_the_embedding_equals_the_one_through_inputs_embeds() -> None:
    model = tiny_models.build("causal", "llama")
    ids = tiny_models.example_inputs(model)["input_ids"]
    embeds = model.model.embed_tokens(ids).detach().requires_grad_()
    model(inputs_embeds=embeds, use_cache=False).logits[:, -1].sum().backward()
    leaf = embeds.detach().clone().requires_grad_()
    with replaced_output(model.model.embed_tokens, lambda _: leaf * 1):
        model(input_ids=ids, use_cache=False).logits[:, -1].sum().backward()
    torch.testing.assert_close(leaf.grad, embeds.grad, rtol=1e-6, atol=0)


def test_gradient_where_the_model_writes_into_its_embeddings() -> None:
    model = tiny_models.build("causal", "ctrl")
    inputs, embedding = tiny_models.example_inputs(model), model.transformer.w
    with recorded_outputs(embedding) as outputs:
        logits(model, inputs)
    leaf = outputs[0].clone().requires_grad_()
    with replaced_output(embedding, lambda _: leaf), pytest.raises(RuntimeError, match="in-place"):
        model(**inputs, use_cache=False)
    with replaced_output(embedding, lambda _: leaf * 1):
        model(**inputs, use_cache=False).logits.sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.abs().sum() > 0


def test_stream_is_what_the_model_reports_before_its_final_norm() -> None:
    model = tiny_models.build("causal", "gpt2")
    inputs = tiny_models.example_inputs(model)
    with torch.no_grad(), recorded_stream(model, find_anatomy(model).stack) as stream:
        reported = model(**inputs, use_cache=False, output_hidden_states=True).hidden_states
    assert len(stream) == len(reported) == 4
    for mine, theirs in zip(stream[:-1], reported[:-1], strict=True):
        assert torch.equal(mine, theirs)
    # The last one that transformers reports is normed already.
    assert torch.equal(model.transformer.ln_f(stream[-1]), reported[-1])


def test_stream_is_batch_first_where_the_model_is_not() -> None:
    model = tiny_models.build("causal", "xlnet")
    inputs = tiny_models.example_inputs(model)
    with torch.no_grad(), recorded_stream(model, find_anatomy(model).stack) as stream:
        reported = model(**inputs, use_cache=False, output_hidden_states=True).hidden_states
    assert stream[0].shape == (tiny_models.BATCH, tiny_models.LENGTH, 32)
    # xlnet keeps time first inside, and turns the states that it reports round.
    for mine, theirs in zip(stream, reported, strict=True):
        assert torch.equal(mine, theirs)


def test_what_is_recorded_stays_when_the_model_writes_in_place() -> None:
    class Block(nn.Module):
        def forward(self, hidden: Tensor) -> Tensor:
            return hidden.add_(1)

    blocks = nn.Sequential(Block(), Block())
    with recorded_inputs(blocks[1]) as inputs, recorded_outputs(blocks[0]) as outputs:
        blocks(torch.zeros(1, 2))
    assert inputs[0].tolist() == outputs[0].tolist() == [[1, 1]]


def test_stream_is_that_of_the_latest_forward() -> None:
    model = tiny_models.build("masked", "albert")
    texts = [tiny_models.example_inputs(model, seed=seed) for seed in (0, 1)]
    stack = find_anatomy(model).stack
    with recorded_stream(model, stack) as expected:
        logits(model, texts[1])
    with recorded_stream(model, stack) as stream:
        logits(model, texts[0])
        logits(model, texts[1])
    assert all(torch.equal(*pair) for pair in zip(stream, expected, strict=True))


@pytest.mark.parametrize(
    ("kind", "model_type", "tail"),
    [
        ("causal", "gpt2", lambda m, h: m.lm_head(m.transformer.ln_f(h))),
        (
            "causal",
            "gemma2",  # a soft-cap on the logits
            lambda m, h: torch.tanh(m.lm_head(m.model.norm(h)) / 30) * 30,
        ),
        (
            "causal",
            "cohere",  # a scale on the logits
            lambda m, h: m.lm_head(m.model.norm(h)) * m.logit_scale,
        ),
        (
            "seq2seq",
            "t5",  # a scale before the head, whose weights are those of the embedding
            lambda m, h: m.lm_head(
                m.decoder.final_layer_norm(h) * (32**-0.5 if m.config.scale_decoder_outputs else 1)
            ),
        ),
        ("masked", "bert", lambda m, h: m.cls(h)),
    ],
    ids=["gpt2", "gemma2", "cohere", "t5", "bert"],
)
def test_replayed_tail_is_the_models_own(
    kind: str, model_type: str, tail: Callable[[Any, Tensor], Tensor]
) -> None:
    model = tiny_models.build(kind, model_type)
    inputs, anatomy = tiny_models.example_inputs(model), find_anatomy(model)
    positions = inputs.get("decoder_input_ids", inputs["input_ids"]).shape[1]
    hidden = torch.randn(2, positions, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(
            replay_tail(model, anatomy, inputs, hidden), tail(model, hidden), rtol=1e-5, atol=1e-5
        )


def test_replay_skips_the_blocks() -> None:
    model = tiny_models.build("seq2seq", "t5")
    inputs, anatomy = tiny_models.example_inputs(model), find_anatomy(model)
    ran: list[str] = []
    for name, module in model.named_modules():
        module.register_forward_pre_hook(lambda module, args, name=name: ran.append(name))
    hidden = torch.zeros(tiny_models.BATCH, tiny_models.TARGET_LENGTH, 32)
    with torch.no_grad():
        replay_tail(model, anatomy, inputs, hidden)
    assert "lm_head" in ran
    assert not [name for name in ran if "SelfAttention" in name or "DenseReluDense" in name]


def test_replay_keeps_the_positions_that_a_model_pads() -> None:
    model = tiny_models.build("masked", "longformer")
    inputs, anatomy = tiny_models.example_inputs(model), find_anatomy(model)
    with recorded_stream(model, anatomy.stack) as stream:
        expected = logits(model, inputs)
    assert stream[-1].shape[1] > tiny_models.LENGTH, "nothing was padded, the test shows nothing"
    with torch.no_grad():
        hidden = stream[-1][:, : tiny_models.LENGTH]
        torch.testing.assert_close(replay_tail(model, anatomy, inputs, hidden), expected)


def test_gradient_flows_through_the_replayed_tail() -> None:
    model = tiny_models.build("causal", "gpt2")
    inputs, anatomy = tiny_models.example_inputs(model), find_anatomy(model)
    hidden = torch.randn(2, tiny_models.LENGTH, 32, requires_grad=True)
    (mine,) = torch.autograd.grad(replay_tail(model, anatomy, inputs, hidden).sum(), hidden)
    direct = model.lm_head(model.transformer.ln_f(hidden))
    (theirs,) = torch.autograd.grad(direct.sum(), hidden)
    torch.testing.assert_close(mine, theirs)
