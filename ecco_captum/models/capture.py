r"""What modules are given or return, read through Captum's LayerActivation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from captum.attr import LayerActivation
from torch import Tensor, nn

from ecco_captum.models.anatomy.parts import Site
from ecco_captum.models.interventions import (
    Around,
    replaced_input,
    replaced_output,
    wrapped_forward,
)
from ecco_captum.models.language_model import LanguageModel, keep_last


@torch.no_grad()
def captured(
    lm: LanguageModel, inputs: Mapping[str, Tensor], sites: Sequence[Site], *, of_input: bool
) -> list[Tensor]:
    """Runs a model once and returns what passes some of its modules: copies, on their devices.

    It is the first tensor that a module is given (``of_input``) or returns. Captum's
    ``LayerActivation`` reads all modules of a device in one forward. It keeps the last execution of
    a module, sees positional arguments alone, and nothing of a module whose ``forward`` is called
    directly; modules of these kinds are read by wrapping their forward. A module that did not run
    raises a RuntimeError.
    """
    if not sites:
        return []
    executions = Counter(site.module for site in sites)
    groups: dict[torch.device | None, list[int]] = {}
    wrapped: list[int] = []
    for k, site in enumerate(sites):
        if executions[site.module] == 1 and site.call == 0:
            device = _device(lm.model.get_submodule(site.module))
            groups.setdefault(device, []).append(k)
        else:
            wrapped.append(k)
    tensors: dict[int, Tensor] = {}
    for group in groups.values():
        outputs = _through_captum(lm, inputs, [sites[k] for k in group], of_input)
        read = {k: tensor for k, tensor in zip(group, outputs, strict=True) if tensor is not None}
        tensors.update(read)
        wrapped += [k for k in group if k not in read]
    if wrapped:
        others = _through_wrapping(lm, inputs, [sites[k] for k in wrapped], of_input)
        tensors.update(zip(wrapped, others, strict=True))
    return [tensors[k] for k in range(len(sites))]


def _device(module: nn.Module) -> torch.device | None:
    parameter = next(module.parameters(), None)
    return None if parameter is None else parameter.device


def _through_captum(
    lm: LanguageModel, inputs: Mapping[str, Tensor], sites: Sequence[Site], of_input: bool
) -> list[Tensor | None]:
    """None for a module that Captum cannot read."""
    modules = [lm.model.get_submodule(site.module) for site in sites]
    runs = Counter[int]()

    def counting(k: int) -> Around:
        def around(forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            runs[k] += 1
            return forward(*args, **kwargs)

        return around

    def forward(ids: Tensor) -> Any:
        # Nobody reads the logits; those of one position are the fewest.
        return lm.model(**{**inputs, "input_ids": ids}, use_cache=False, **keep_last(lm, 1))[0]

    with ExitStack() as contexts:
        for k, module in enumerate(modules):
            contexts.enter_context(wrapped_forward(module, counting(k)))
        try:
            read = LayerActivation(forward, modules).attribute(
                inputs["input_ids"], attribute_to_layer_input=of_input
            )
        except (AssertionError, AttributeError, IndexError, KeyError, TypeError):
            return [None] * len(sites)
    tensors = [tensor[0] if isinstance(tensor, tuple) and tensor else tensor for tensor in read]
    # Of a module that ran again, this would be the last execution.
    return [
        tensor if isinstance(tensor, Tensor) and runs[k] == 1 else None
        for k, tensor in enumerate(tensors)
    ]


def _through_wrapping(
    lm: LanguageModel, inputs: Mapping[str, Tensor], sites: Sequence[Site], of_input: bool
) -> list[Tensor]:
    with watched(lm, sites, of_input=of_input) as tensors:
        lm.model(**inputs, use_cache=False, **keep_last(lm, 1))
    return [seen(lm, tensors, site) for site in sites]


@contextmanager
def watched(
    lm: LanguageModel, sites: Sequence[Site], *, of_input: bool
) -> Iterator[dict[Site, Tensor]]:
    """While active, a forward leaves copies of what its modules are given, or return."""
    tensors: dict[Site, Tensor] = {}
    replaced = replaced_input if of_input else replaced_output
    with ExitStack() as contexts:
        for site in sites:

            def keep(tensor: Tensor, site: Site = site) -> Tensor:
                # A copy, as some models write into such tensors later.
                tensors[site] = tensor.detach().clone()
                return tensor

            module = lm.model.get_submodule(site.module)
            contexts.enter_context(replaced(module, keep, call=site.call, root=lm.model))
        yield tensors


def seen(lm: LanguageModel, tensors: Mapping[Site, Tensor], site: Site) -> Tensor:
    """What a forward left of a module; one that did not run raises a RuntimeError."""
    if site not in tensors:
        raise RuntimeError(f"lm: {site.module} of {lm.name!r} did not run on this text")
    return tensors[site]
