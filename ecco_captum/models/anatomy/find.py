r"""Finds where a model keeps its parts, by watching it run.

There is no table of architectures: an :class:`Anatomy` is read off one traced forward, and a few
more forwards check that it holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedModel

from ecco_captum.models.anatomy.blocks import Chain, find_chains, join_chains, mixing_projections
from ecco_captum.models.anatomy.parts import Anatomy, AnatomyError, Part, Stack
from ecco_captum.models.anatomy.reading import (
    adds_positions,
    neuron_maps,
    read_embedding,
    read_head,
    read_stack,
    stream_shapes,
)
from ecco_captum.models.anatomy.tracing import Trace, trace
from ecco_captum.models.anatomy.verify import (
    GRADIENT_TOLERANCE,
    LENS_TOLERANCE,
    gradient_error,
    lens_error,
    moved_positions,
    stops_gradients,
    tiny_prompt,
)
from ecco_captum.models.guard import unchanged
from ecco_captum.models.interventions import first_tensor
from ecco_captum.models.modes import has_hooks, on_test_texts, uncompiled

_FOUND: WeakKeyDictionary[PreTrainedModel, Anatomy] = WeakKeyDictionary()


def find_anatomy(model: PreTrainedModel, inputs: Mapping[str, Any] | None = None) -> Anatomy:
    """Finds where a model keeps its parts, once per model object.

    The model runs a few times on a tiny prompt of its own and is left exactly as it was. For a
    model that does not run on plain token ids, pass ``inputs`` to watch it with, ``input_ids``
    among them; the model is then examined anew. A model that does not run, or returns numbers that
    are not finite, raises an AnatomyError.

    Examples::

        >>> anatomy = find_anatomy(model)
        >>> anatomy.embedding.module
        'transformer.wte'
        >>> [block.neurons[0].module for block in anatomy.blocks][:2]
        ['transformer.h.0.mlp.c_proj', 'transformer.h.1.mlp.c_proj']
    """
    if inputs is None and model in _FOUND:
        return _FOUND[model]
    with _undisturbed(model):
        given = {"use_cache": False, **(tiny_prompt(model) if inputs is None else inputs)}
        _FOUND[model] = anatomy = on_test_texts(model, lambda: _examine(model, given))
    return anatomy


def _examine(model: PreTrainedModel, inputs: Mapping[str, Any]) -> Anatomy:
    watched = _watch(model, inputs)
    anatomy = _read(model, inputs, watched)
    anatomy = _check_tokens(model, anatomy, inputs, watched)
    anatomy = _check_lens(model, anatomy, inputs, watched)
    return _check_gradient(model, anatomy, inputs)


@contextmanager
def _undisturbed(model: PreTrainedModel) -> Iterator[None]:
    """Without gradients and dropout; modes and random generators are put back."""
    training = [module for module in model.modules() if module.training]
    devices = {parameter.device for parameter in model.parameters()} - {torch.device("meta")}
    cuda = [device for device in devices if device.type == "cuda"]
    try:
        for module in training:
            module.training = False
        with (
            unchanged(model),
            uncompiled(model),
            torch.inference_mode(False),
            torch.no_grad(),
            torch.random.fork_rng(cuda),
        ):
            yield
    finally:
        for module in training:
            module.training = True


def _watch(model: PreTrainedModel, inputs: Mapping[str, Any]) -> Trace:
    name = type(model).__name__
    try:
        watched = trace(model, inputs)
        outputs = first_tensor(watched.outputs)
        finite = outputs is not None and bool(outputs.isfinite().all())
    except Exception as error:
        hooked = any(map(has_hooks, model.modules()))
        hint = "; its modules have hooks, which may be why" if hooked else ""
        raise AnatomyError(
            f"{name} does not run on plain token ids ({type(error).__name__}: {error}{hint}), so "
            "its parts cannot be found. Pass inputs that it accepts, or an Anatomy of your own."
        ) from error
    if not finite:
        raise AnatomyError(
            f"{name} returns numbers that are not finite for a plain prompt, so its parts cannot "
            "be found. The usual causes are weights that are NaN and a precision too low for them."
        )
    return watched


def _read(model: PreTrainedModel, inputs: Mapping[str, Any], watched: Trace) -> Anatomy:
    names = [name for name in ("input_ids", "decoder_input_ids") if name in inputs]
    shapes = [tuple(inputs[name].shape) for name in names]
    chains = join_chains(watched, find_chains(watched), by_parent=len(names) > 1)
    chosen = sorted(chains[: len(names)], key=lambda chain: chain.blocks)
    reason = _unusable(watched, chosen, len(names))
    named = _named_embeddings(model, watched)
    lacks: dict[Part, str] = {}
    if reason:
        lacks = {"blocks": reason, "lens": reason, "neurons": reason}
        stacks = [
            Stack(read_embedding(watched, name, shape, named))
            for name, shape in zip(names, shapes, strict=True)
        ]
    else:
        pairs = list(zip(chosen, shapes, strict=True))
        maps = [index for chain, shape in pairs for index in neuron_maps(watched, chain, shape)]
        mixing = mixing_projections(model, inputs, watched, maps)
        stacks = [
            read_stack(watched, chain, name, shape, mixing, named)
            for (chain, shape), name in zip(pairs, names, strict=True)
        ]
    for stack, name in zip(stacks, names, strict=True):
        if stack.embedding is None:
            lacks["gradient"] = f"no module of it looks {name} up in one table of embeddings"
    return Anatomy(
        architecture=type(model).__name__,
        stack=stacks[-1],
        encoder=stacks[0] if len(stacks) > 1 else None,
        head=None if reason else read_head(watched, chosen[-1]),
        lacks=tuple(lacks.items()),
    )


def _named_embeddings(model: PreTrainedModel, watched: Trace) -> set[int]:
    """Executions of what the model, or a stack of it, names as its input embeddings."""
    named = set()
    for part in model.modules():
        if isinstance(part, PreTrainedModel):
            with suppress(NotImplementedError, AttributeError):
                named.add(id(part.get_input_embeddings()))
    return {
        execution.index
        for execution in watched.executions
        if id(model.get_submodule(execution.module)) in named
    }


def _unusable(watched: Trace, chains: list[Chain], wanted: int) -> str:
    """Why the chains found are not the blocks of as many stacks as the model should have."""
    if len(chains) < wanted:
        return "no modules of a list run one after the other on one stream"
    for chain in chains:
        shapes = stream_shapes(watched, chain)
        if len(shapes) > 1:
            return f"its blocks work on streams of different shapes, {shapes}"
    return ""


def _check_tokens(
    model: PreTrainedModel, anatomy: Anatomy, inputs: Mapping[str, Any], watched: Trace
) -> Anatomy:
    """Where a stream has more positions than there are tokens, each token must keep its own."""
    position = 1
    for stack in anatomy.stacks:
        if adds_positions(watched, stack):
            moved = moved_positions(model, stack, inputs, position)
            if moved != [position]:
                reason = f"its blocks do not run on the tokens: one of them moves positions {moved}"
                for part in ("blocks", "lens", "neurons"):
                    anatomy = _lacking(anatomy, part, reason)
                break
    return anatomy


def _check_lens(
    model: PreTrainedModel, anatomy: Anatomy, inputs: Mapping[str, Any], watched: Trace
) -> Anatomy:
    """Blocks that cannot be skipped are marked to run; without a right lens there is none."""
    if anatomy.reason("lens"):
        return anatomy
    if not hasattr(watched.outputs, "logits"):
        return _lacking(anatomy, "lens", "it has no head: its outputs hold no logits")
    backwards = {name: ids.flip(1) for name, ids in inputs.items() if name.endswith("input_ids")}
    reason = ""
    for candidate in (anatomy, _all_running(anatomy)):
        reason = "its logits do not follow from the last block's output alone"
        try:
            if lens_error(model, candidate, inputs, {**inputs, **backwards}) < LENS_TOLERANCE:
                return candidate
        except Exception as failure:
            reason = f"its tail cannot be replayed, {failure!r}"
    return _lacking(_all_running(anatomy), "lens", reason)


def _check_gradient(model: PreTrainedModel, anatomy: Anatomy, inputs: Mapping[str, Any]) -> Anatomy:
    if anatomy.reason("gradient"):
        return anatomy
    without = stops_gradients(model)
    if without:
        return _lacking(anatomy, "gradient", without)
    # Lower precisions round away the differences that the check compares.
    if model.dtype not in (torch.float32, torch.float64):
        return anatomy
    try:
        error = gradient_error(model, anatomy, inputs)
    except Exception as failure:
        return _lacking(anatomy, "gradient", f"its backward pass raises {failure!r}")
    if error < GRADIENT_TOLERANCE:
        return anatomy
    reason = (
        f"the one it computes is {error:.0%} off the slope that is measured, as after an "
        "approximate backward or a part that runs under no_grad"
    )
    return _lacking(anatomy, "gradient", reason)


def _lacking(anatomy: Anatomy, part: Part, reason: str) -> Anatomy:
    return replace(anatomy, lacks=(*anatomy.lacks, (part, reason)))


def _all_running(anatomy: Anatomy) -> Anatomy:
    def running(stack: Stack) -> Stack:
        return replace(stack, blocks=tuple(replace(block, returns=None) for block in stack.blocks))

    encoder = None if anatomy.encoder is None else running(anatomy.encoder)
    return replace(anatomy, stack=running(anatomy.stack), encoder=encoder)
