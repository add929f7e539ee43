r"""Checks that an anatomy holds: does the lens give the model's own logits, are gradients right?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ecco_captum.replay import recorded_stream, replaced_output, replay_tail
from ecco_captum.structures import first_tensor

if TYPE_CHECKING:
    from ecco_captum.parts import Anatomy, Stack

LENS_TOLERANCE = 1e-3
GRADIENT_TOLERANCE = 0.03
STEPS = (1e-3, 1e-2, 1e-4)


@torch.no_grad()
def lens_error(
    model: nn.Module, anatomy: Anatomy, inputs: Mapping[str, Any], other: Mapping[str, Any]
) -> float:
    r"""Replays one text's last hidden states while another text runs.

    Args:
        model (nn.Module): the model.
        anatomy (Anatomy): its anatomy.
        inputs (Mapping): the text whose logits are expected.
        other (Mapping): the text that runs during the replay.

    Returns:
        float: the largest difference of a logit, relative to the largest logit.
    """
    with recorded_stream(model, anatomy.stack) as stream:
        expected = model(**inputs).logits
    replayed = replay_tail(model, anatomy, other, stream[-1])
    if replayed.shape != expected.shape:
        return float("inf")
    return float((replayed - expected).abs().max() / expected.abs().max())


def gradient_error(model: nn.Module, anatomy: Anatomy, inputs: Mapping[str, Any]) -> float:
    r"""Compares the gradient with respect to the embeddings with finite differences.

    Every text of the batch moves in a random direction of its own, so two forwards measure as many
    slopes as there are texts.

    Args:
        model (nn.Module): the model, in single or double precision.
        anatomy (Anatomy): its anatomy.
        inputs (Mapping): a batch of texts.

    Returns:
        float: the relative error of the slopes, for the step that fits best: steps may cross a
        kink or another choice of experts, or drown in rounding.
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
        errors.append(float((measured - slopes).norm() / measured.norm().clamp_min(1e-30)))
        if errors[-1] < GRADIENT_TOLERANCE:
            break
    return min(errors)


@torch.no_grad()
def moved_positions(
    model: nn.Module, stack: Stack, inputs: Mapping[str, Any], position: int
) -> list[int]:
    r"""Tells which positions of a stream follow a change of the embedding at one position.

    Args:
        model (nn.Module): the model.
        stack (Stack): the stack; it has an embedding.
        inputs (Mapping): a batch of texts.
        position (int): where the embedding changes.

    Returns:
        list[int]: positions at the entry of the first block, of whichever text.
    """
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
