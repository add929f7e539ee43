r"""Checks that an anatomy holds: does the lens give the model's own logits, are gradients right?"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from ecco_captum.models.interventions import (
    first_tensor,
    recorded_stream,
    replaced_output,
    replay_tail,
)

if TYPE_CHECKING:
    from ecco_captum.models.anatomy.parts import Anatomy, Stack

LENS_TOLERANCE = 1e-3
GRADIENT_TOLERANCE = 0.03
STEPS = (1e-3, 1e-2, 1e-4)


@torch.no_grad()
def lens_error(
    model: nn.Module, anatomy: Anatomy, inputs: Mapping[str, Any], other: Mapping[str, Any]
) -> float:
    """Replays one text's last hidden states while ``other`` runs.

    Returns the largest difference of a logit from that of the text, relative to the largest logit.
    """
    with recorded_stream(model, anatomy.stack) as stream:
        expected = model(**inputs).logits
    replayed = replay_tail(model, anatomy, other, stream[-1])
    if replayed.shape != expected.shape:
        return float("inf")
    return float((replayed - expected).abs().max() / expected.abs().max())


def gradient_error(model: nn.Module, anatomy: Anatomy, inputs: Mapping[str, Any]) -> float:
    """Compares the gradient with respect to the embeddings with finite differences.

    Every text of the batch moves in a random direction of its own, so two forwards measure as many
    slopes as there are texts. Returns the relative error of the slopes, of all together or of the
    text in the middle, for the step that fits best: steps may cross a kink or another choice of
    experts, or drown in rounding.
    """
    generator = torch.Generator().manual_seed(0)
    embeddings, outputs = _run(model, anatomy, inputs)
    weights = torch.randn(outputs.shape, generator=generator, dtype=torch.float64)
    weights = weights.to(outputs.device)
    with torch.enable_grad():
        leaves = [embedding.detach().requires_grad_() for embedding in embeddings]
        scores = _scores(_run(model, anatomy, inputs, leaves)[1], weights)
        gradients = torch.autograd.grad(scores.sum(), leaves, materialize_grads=True)
    directions = [torch.randn(leaf.shape, generator=generator).to(leaf) for leaf in embeddings]
    directions = [
        direction * embedding.norm() / direction.norm()
        for direction, embedding in zip(directions, embeddings, strict=True)
    ]
    slopes = sum(
        _by_text(gradient * direction, stack)
        for gradient, direction, stack in zip(gradients, directions, anatomy.stacks, strict=True)
    )
    errors = []
    for step in STEPS:
        ahead, behind = (
            _scores(_run(model, anatomy, inputs, _moved(embeddings, directions, by))[1], weights)
            for by in (step, -step)
        )
        measured = (ahead - behind) / (2 * step)
        missed = (measured - slopes).abs()
        together = missed.norm() / measured.norm().clamp_min(1e-30)
        each = missed / measured.abs().clamp_min(1e-30)
        # A step may take one text across a kink; a wrong gradient is wrong on the others, too.
        errors.append(float(torch.minimum(together, each.median())))
        if errors[-1] < GRADIENT_TOLERANCE:
            break
    return min(errors)


def stops_gradients(model: nn.Module) -> str:
    """Why no gradient passes through a model's weights; empty if one does."""
    quantised = [
        name for name, module in model.named_modules() if hasattr(module, "_packed_params")
    ]
    if quantised:
        return (
            f"{len(quantised)} of its layers are quantised to packed int8 weights (such as "
            f"{quantised[0]}), through which no gradient passes"
        )
    if any(parameter.is_inference() for parameter in model.parameters()):
        return "it was built under torch.inference_mode; build it outside"
    return ""


@torch.no_grad()
def moved_positions(
    model: nn.Module, stack: Stack, inputs: Mapping[str, Any], position: int
) -> list[int]:
    """Positions at the first block's entry that follow a change of one position's embedding."""
    embedding = stack.embedding
    if embedding is None:
        return []

    def change(embedded: Tensor) -> Tensor:
        changed = embedded.clone()
        # A view: what is written to it is written to the tensor.
        changed.permute(embedding.axes)[:, position] *= 1.5
        return changed

    module = model.get_submodule(embedding.module)
    with recorded_stream(model, stack) as stream:
        model(**inputs)
        before = stream[0].clone()
        with replaced_output(module, change, call=embedding.call, root=model):
            model(**inputs)
    distance = (stream[0] - before).abs().transpose(0, 1).flatten(1).amax(dim=1)
    return torch.nonzero(distance > 1e-6 * before.abs().max()).flatten().tolist()


def _run(
    model: nn.Module,
    anatomy: Anatomy,
    inputs: Mapping[str, Any],
    replacements: Sequence[Tensor] | None = None,
) -> tuple[list[Tensor], Tensor]:
    """Embeddings, the encoder's first, and the model's outputs; embeddings replaced if asked."""
    embeddings: list[Tensor] = []

    def replace(embedding: Tensor) -> Tensor:
        embeddings.append(embedding.detach().clone())
        # The product, because some models write into their embeddings in place.
        return embedding if replacements is None else replacements[len(embeddings) - 1] * 1

    with ExitStack() as contexts:
        for stack in anatomy.stacks:
            if stack.embedding is not None:
                module = model.get_submodule(stack.embedding.module)
                call = stack.embedding.call
                contexts.enter_context(replaced_output(module, replace, call=call, root=model))
        outputs = first_tensor(model(**inputs))
    if outputs is None:
        raise ValueError(f"{type(model).__name__} returned no tensor of numbers.")
    return embeddings, outputs


def _moved(embeddings: Sequence[Tensor], directions: Sequence[Tensor], step: float) -> list[Tensor]:
    return [
        embedding + step * direction
        for embedding, direction in zip(embeddings, directions, strict=True)
    ]


def _scores(outputs: Tensor, weights: Tensor) -> Tensor:
    """One number per text, in double precision, as differences of it are taken."""
    return (outputs.double() * weights).flatten(1).sum(dim=1)


def _by_text(tensor: Tensor, stack: Stack) -> Tensor:
    axes = () if stack.embedding is None else stack.embedding.axes
    return tensor.double().permute(axes).flatten(1).sum(dim=1)


# Sizes that no axis of a model's tensors is likely to share: so axes cannot be confused.
BATCH, LENGTH, TARGET_LENGTH = 3, 7, 5
SMALLEST_VOCABULARY = 32
TEXTS = ("input_ids", "decoder_input_ids")
"""A model's arguments that hold ids."""


def tiny_prompt(model: PreTrainedModel, seed: int = 0) -> dict[str, Any]:
    """Makes model inputs, (batch, positions), out of ordinary ids of the model's vocabulary.

    Special tokens are avoided: padding would shift positions, and placeholders of images would ask
    for images. Another seed is another text of the same shape; the state of random generators is
    not touched.
    """
    ordinary = _ordinary_ids(model.config)
    generator = torch.Generator().manual_seed(seed)

    def text(length: int) -> Tensor:
        chosen = torch.randint(len(ordinary), (BATCH, length), generator=generator)
        return ordinary[chosen].to(device)

    device = input_device(model)
    inputs: dict[str, Any] = {
        "input_ids": text(LENGTH),
        "attention_mask": torch.ones(BATCH, LENGTH, dtype=torch.long, device=device),
        "use_cache": False,
    }
    if "decoder_input_ids" in inspect.signature(model.forward).parameters:
        inputs["decoder_input_ids"] = text(TARGET_LENGTH)
    return inputs


def input_device(model: PreTrainedModel) -> torch.device:
    """The device that ids go to: of an offloaded model, where its weights are while it runs."""
    try:
        embeddings = model.get_input_embeddings()
    except NotImplementedError:  # by a model that names none
        embeddings = None
    table = getattr(embeddings, "weight", None)
    device = model.device if table is None else table.device
    if device.type != "meta":
        return device
    # As accelerate marks what it moves; a module may have several of its hooks.
    for module in (embeddings, model):
        hook = getattr(module, "_hf_hook", None)
        for each in getattr(hook, "hooks", (hook,)):
            execution = getattr(each, "execution_device", None)
            if execution is not None:
                return torch.device(execution)
    return torch.device("cpu")


def _ordinary_ids(config: PreTrainedConfig) -> Tensor:
    """Ids that every vocabulary of the model has and no configuration calls special."""
    sizes: list[int] = []
    special: set[int] = set()
    for field, value in _fields(config):
        values = value if isinstance(value, list | tuple) else [value]
        numbers = [
            number for number in values if isinstance(number, int) and not isinstance(number, bool)
        ]
        if field.endswith(("_token_id", "_token_ids", "_token_index", "_index")):
            special.update(numbers)
        elif field.removeprefix("decoder_").endswith(("vocab_size", "n_words")):
            # Much smaller tables are for token types and the like.
            sizes += [number for number in numbers if number >= SMALLEST_VOCABULARY]
    size = min(sizes, default=SMALLEST_VOCABULARY)
    return torch.tensor([id_ for id_ in range(size // 20, size) if id_ not in special])


def _fields(config: PreTrainedConfig) -> Iterator[tuple[str, Any]]:
    for field, value in vars(config).items():
        if isinstance(value, PreTrainedConfig):
            yield from _fields(value)
        else:
            yield field, value
