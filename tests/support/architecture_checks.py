r"""Checks of one tiny model's anatomy, each against something that does not use the anatomy.

The tests assert on them and ``benchmarks/architectures.py`` counts them.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, cast

import tiny_models
import torch
from tiny_sizes import EXPERT, FEED_FORWARD, HIDDEN, SHARED_EXPERT
from torch import Tensor
from transformers import PreTrainedModel

from ecco_captum.models.anatomy.find import find_anatomy
from ecco_captum.models.anatomy.parts import Anatomy, AnatomyError, NeuronSite
from ecco_captum.models.interventions import (
    recorded_stream,
    replaced_input,
    replaced_output,
    replay_tail,
)

PARTS = ("gradient", "blocks", "lens", "neurons")
RIGHT = "right"

# Where the number of blocks is not the configuration's number of layers.
BLOCK_COUNTS = {
    "hrm_text": 24,  # 2 high cycles, each of 3 low cycles and itself, each of 3 layers
    "longcat_flash": 3,  # the configuration counts each layer's two attentions
}
# Streams that are not of hidden width: four of them, side by side.
STREAM_WIDTHS = {"qwen4_exp": 128, "qwen4_exp_text": 128}
FEED_FORWARD_WIDTHS = {FEED_FORWARD, EXPERT, SHARED_EXPERT}
# Feed-forward layers of other widths.
ODD_WIDTHS = {
    "aria_text": {160},  # two shared experts side by side
    "bloom": {128},  # four times hidden, as in others that name no width
    "codegen": {128},
    "falcon": {128},
    "flaubert": {128},
    "gpt_neo": {128},
    "gpt_neox_japanese": {128},
    "mpt": {128},
    "openai-gpt": {128},
    "rwkv": {128},
    "xlm": {128},
    "xlstm": {128},  # rounded up to a multiple of 64
    "lfm2": {256},  # rounded up to a multiple of 256
    "xmod": {16},  # language adapters are feed-forward layers too
}
# Its logits run into thousands, and some of it computes in single precision all the same.
GRADIENT_TOLERANCES = {"cpmant": 0.03}


@dataclass(frozen=True)
class Verdicts:
    r"""What was found for one model; each part is "right", a refusal's reason, or "WRONG: ...".

    Args:
        gradient (str): finite differences agree with the gradient at the embedding's output.
        blocks (str): as many as the configuration has layers, each of hidden width.
        lens (str): a text's last hidden states give its logits while another text runs.
        neurons (str): of the feed-forward width, in use, and nothing changes when put back.
        incomplete (str): neurons that are out of reach in some blocks, and why.
    """

    gradient: str
    blocks: str
    lens: str
    neurons: str
    incomplete: str = ""

    @property
    def refused(self) -> dict[str, str]:
        """Reasons by part."""
        verdicts = {part: getattr(self, part) for part in PARTS}
        return {part: verdict for part, verdict in verdicts.items() if verdict != RIGHT}


@functools.cache
def examine(kind: str, model_type: str) -> Verdicts:
    """Builds a tiny model and checks its anatomy."""
    model = tiny_models.build(kind, model_type)
    try:
        anatomy = find_anatomy(model)
    except AnatomyError as error:
        return Verdicts(*[str(error)] * len(PARTS))

    def verdict(part: Any, check: Callable[[PreTrainedModel, Anatomy], str]) -> str:
        return anatomy.reason(part) or check(model, anatomy) or RIGHT

    lacks = [block.lacks for stack in anatomy.stacks for block in stack.blocks if block.lacks]
    return Verdicts(
        blocks=verdict("blocks", wrong_blocks),
        lens=verdict("lens", wrong_lens),
        neurons=verdict("neurons", wrong_neurons),
        # Last, as it turns the model into double precision.
        gradient=verdict("gradient", wrong_gradient),
        incomplete=lacks[0] if lacks else "",
    )


def wrong_gradient(model: PreTrainedModel, anatomy: Anatomy) -> str:
    """Compares slopes along random directions with finite differences, at the right place."""
    error = gradient_error(in_double(model), anatomy)
    tolerance = GRADIENT_TOLERANCES.get(model.config.model_type, 0.01)
    if error > tolerance:
        return f"WRONG: gradient {error:.1%} off finite differences"
    return wrong_embedding(model, anatomy)


def wrong_embedding(model: PreTrainedModel, anatomy: Anatomy) -> str:
    """Changes one token: the embedding's output may change in that token's row alone."""
    inputs = tiny_models.example_inputs(model)
    before = embeddings(model, anatomy, inputs)
    for order, stack in enumerate(anatomy.stacks):
        assert stack.embedding is not None
        name = [name for name in inputs if name.endswith("input_ids")][order]
        ids = inputs[name].clone()
        ids[1, 2] += 1
        after = embeddings(model, anatomy, {**inputs, name: ids})[order]
        distance = (after - before[order]).permute(stack.embedding.axes).abs().amax(dim=-1)
        moved, expected = distance.nonzero().tolist(), [[1, 2 + stack.embedding.offset]]
        if moved != expected:
            return f"WRONG: {name} of one token moves embeddings {moved}, not {expected}"
    return ""


def gradient_error(model: PreTrainedModel, anatomy: Anatomy, directions: int = 4) -> float:
    """The relative error of slopes at the embeddings' outputs, for the best of some steps."""
    inputs = tiny_models.example_inputs(model)
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(forward(model, inputs).shape, generator=generator).double()

    def score(shifts: list[Tensor]) -> Tensor:
        adding = [functools.partial(torch.add, shift) for shift in shifts]
        with replaced_embeddings(model, anatomy, adding):
            logits = model(**inputs, use_cache=False).logits.double()
        return cast(Tensor, (logits * weights).sum())

    zeros = [torch.zeros_like(embedded) for embedded in embeddings(model, anatomy, inputs)]
    leaves = [zero.clone().requires_grad_() for zero in zeros]
    gradients = torch.autograd.grad(score(leaves), leaves)
    random = [
        [torch.randn(zero.shape, generator=generator).to(zero) for zero in zeros]
        for _ in range(directions)
    ]
    slopes = torch.tensor([dot(gradients, direction) for direction in random])
    errors = []
    for step in (1e-5, 1e-4, 1e-6, 1e-3, 1e-2):
        with torch.no_grad():
            differences = [
                score([step * one for one in direction]) - score([-step * one for one in direction])
                for direction in random
            ]
        measured = torch.stack(differences) / (2 * step)
        errors.append(float((slopes - measured).norm() / measured.norm()))
        if errors[-1] < 1e-4:
            break
    return min(errors)


def wrong_blocks(model: PreTrainedModel, anatomy: Anatomy) -> str:
    """Compares the number of blocks with the configuration's, and their width with hidden."""
    sides = ["decoder"] if anatomy.encoder is None else ["encoder", "decoder"]
    expected = [expected_blocks(model, side) for side in sides]
    found = [len(stack.blocks) for stack in anatomy.stacks]
    if found != expected:
        return f"WRONG: {found} blocks where the configuration has {expected}"
    inputs = tiny_models.example_inputs(model)
    width = STREAM_WIDTHS.get(model.config.model_type, HIDDEN)
    texts = [ids for name, ids in inputs.items() if name.endswith("input_ids")]
    for stack, text in zip(anatomy.stacks, texts, strict=True):
        with recorded_stream(model, stack) as stream:
            forward(model, inputs)
        rows, positions = text.shape
        for hidden in stream:
            if hidden.shape[0] != rows or hidden.shape[1] < positions:
                return f"WRONG: {tuple(hidden.shape)} for {rows} texts of {positions} tokens"
            if not hidden.shape[-1] == stack.width == width:
                return f"WRONG: hidden width {hidden.shape[-1]}, recorded as {stack.width}"
    return ""


def wrong_lens(model: PreTrainedModel, anatomy: Anatomy) -> str:
    """Replays the last hidden states of text A while text B runs; A's logits shall come out."""
    text_a, text_b = (tiny_models.example_inputs(model, seed=seed) for seed in (0, 1))
    with recorded_stream(model, anatomy.stack) as stream:
        expected = forward(model, text_a)
    with torch.no_grad():
        replayed = replay_tail(model, anatomy, text_b, stream[-1])
    if replayed.shape != expected.shape:
        return f"WRONG: logits {tuple(replayed.shape)} instead of {tuple(expected.shape)}"
    error = float((replayed - expected).abs().max())
    return "" if error < 1e-4 else f"WRONG: replayed logits are {error:.2g} off"


def wrong_neurons(model: PreTrainedModel, anatomy: Anatomy) -> str:
    """Puts each site's neurons back, then changes them: logits stay, then move."""
    inputs = tiny_models.example_inputs(model)
    clean = forward(model, inputs)
    widths = FEED_FORWARD_WIDTHS | ODD_WIDTHS.get(model.config.model_type, set())
    for stack in anatomy.stacks:
        for site in (site for block in stack.blocks for site in block.neurons):
            neurons, put_back = with_neurons(model, site, inputs, torch.clone)
            _, changed = with_neurons(model, site, inputs, lambda values: values * 1.5 + 0.1)
            place = f"{site.module}, call {site.call}"
            if neurons.permute(site.axes).shape[-1] != site.width or site.width not in widths:
                return f"WRONG: {site.width} neurons at {place}"
            if not torch.equal(put_back, clean):
                return f"WRONG: neurons put back at {place} change the logits"
            if float((changed - clean).abs().max()) < 1e-6:
                return f"WRONG: neurons changed at {place} leave the logits as they are"
    return ""


def with_neurons(
    model: PreTrainedModel,
    site: NeuronSite,
    inputs: dict[str, Tensor],
    replace: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """A site's neurons, and the logits with them replaced."""
    seen: list[Tensor] = []

    def around(neurons: Tensor) -> Tensor:
        seen.append(neurons)
        return replace(neurons)

    module = model.get_submodule(site.module)
    with replaced_input(module, around, call=site.call, root=model):
        logits = forward(model, inputs)
    return seen[0], logits


@torch.no_grad()
def forward(model: PreTrainedModel, inputs: dict[str, Tensor]) -> Tensor:
    """Logits, computed without a cache and without gradients."""
    return cast(Tensor, model(**inputs, use_cache=False).logits)


def replaced_embeddings(
    model: PreTrainedModel, anatomy: Anatomy, replacements: Sequence[Callable[[Tensor], Tensor]]
) -> ExitStack:
    """While active, each stack's embeddings go through a function, the encoder's first."""
    with ExitStack() as contexts:
        for stack, replace in zip(anatomy.stacks, replacements, strict=True):
            assert stack.embedding is not None
            module = model.get_submodule(stack.embedding.module)
            contexts.enter_context(
                replaced_output(module, replace, call=stack.embedding.call, root=model)
            )
        return contexts.pop_all()


def embeddings(model: PreTrainedModel, anatomy: Anatomy, inputs: dict[str, Tensor]) -> list[Tensor]:
    """What the embedding modules return, the encoder's first."""
    outputs: list[Tensor] = []

    def keep(output: Tensor) -> Tensor:
        outputs.append(output.clone())
        return output

    with replaced_embeddings(model, anatomy, [keep] * len(anatomy.stacks)):
        forward(model, inputs)
    return outputs


def in_double(model: PreTrainedModel) -> PreTrainedModel:
    """The same model in double precision, unless it does not run in it, as some masks do not."""
    with contextlib.suppress(AttributeError, ValueError):
        # The default kernel of fused experts knows no double precision.
        model.set_experts_implementation("eager")
    try:
        works = bool(forward(model.double(), tiny_models.example_inputs(model)).isfinite().all())
    except RuntimeError:
        works = False
    return model if works else model.float()


def expected_blocks(model: PreTrainedModel, side: str) -> int:
    """The number of layers that the configuration gives; side is "encoder" or "decoder"."""
    config = model.config
    if config.model_type in BLOCK_COUNTS:
        return BLOCK_COUNTS[config.model_type]
    part = getattr(config, side, None)
    if part is not None and hasattr(part, "get_text_config"):
        return int(part.get_text_config().num_hidden_layers)
    fields = [f"{side}_layers", f"num_{side}_layers", *["num_layers"] * (side == "encoder")]
    for field in fields:
        if isinstance(getattr(config, field, None), int):
            return int(getattr(config, field))
    return int(config.get_text_config().num_hidden_layers)


def dot(first: Any, second: Any) -> float:
    """The sum of the products of two lists of tensors, in double precision."""
    pairs = zip(first, second, strict=True)
    return sum(float((one.double() * other.double()).sum()) for one, other in pairs)
