r"""Where gradients and perturbations enter a model: the output of its embedding module.

An encoder–decoder has two embedding sites, for the source and for what was written so far. Their
positions are laid side by side, so an analysis always sees one tensor of embeddings.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ecco_captum.models.anatomy.parts import Anatomy, AnatomyError, Embedding
from ecco_captum.models.interventions import replaced_output


@dataclass(frozen=True)
class EmbeddingSite:
    r"""One of the places where a text's embeddings enter.

    Args:
        module (Module): the embedding module.
        embedding (Embedding): which of its executions, and how its output is laid out.
        ids (str): the model's argument that holds the ids, such as ``"input_ids"``.
        fixed (int): how many positions at the start are never replaced: what a decoder starts with.
    """

    module: nn.Module
    embedding: Embedding
    ids: str
    fixed: int = 0

    def length(self, inputs: Mapping[str, Tensor]) -> int:
        """How many positions of the embeddings enter here."""
        return inputs[self.ids].shape[1] - self.fixed

    def replacing(self, embeddings: Tensor) -> Callable[[Tensor], Tensor]:
        """A function that puts embeddings, (batch, positions, width), into the module's output."""
        start = self.embedding.offset + self.fixed
        ends = [start, start + embeddings.shape[1]]

        def replace(current: Tensor) -> Tensor:
            before, _, after = (
                current.detach().permute(self.embedding.axes).tensor_split(ends, dim=1)
            )
            # A new tensor also where nothing is added: some models write into it in place.
            whole = torch.cat([before, embeddings.to(current), after], dim=1)
            return whole.permute(*torch.tensor(self.embedding.axes).argsort().tolist())

        return replace

    def read(self, current: Tensor, length: int) -> Tensor:
        """The embeddings in the module's output, (batch, positions, width)."""
        start = self.embedding.offset + self.fixed
        return current.detach().permute(self.embedding.axes)[:, start : start + length]


def embedding_sites(
    model: nn.Module, anatomy: Anatomy, started: int = 0
) -> tuple[EmbeddingSite, ...]:
    """Returns where a model's embeddings enter, in the order of their positions.

    ``started`` is how many tokens a decoder starts with. Where embeddings cannot enter the model,
    an AnatomyError says why.
    """
    if any(stack.embedding is None for stack in anatomy.stacks):
        anatomy.require("gradient")
    sites = []
    for stack, (ids, fixed) in zip(anatomy.stacks, _texts(anatomy, started), strict=True):
        site = stack.embedding
        if site is None:  # only an anatomy written by hand can have come this far without
            raise AnatomyError(f"the anatomy given for {anatomy.architecture} names no embedding")
        sites.append(EmbeddingSite(model.get_submodule(site.module), site, ids, fixed))
    return tuple(sites)


def _texts(anatomy: Anatomy, started: int) -> tuple[tuple[str, int], ...]:
    if anatomy.encoder is None:
        return (("input_ids", 0),)
    return ("input_ids", 0), ("decoder_input_ids", started)


@contextlib.contextmanager
def entering(
    model: nn.Module,
    through: tuple[EmbeddingSite, ...],
    inputs: Mapping[str, Tensor],
    embeddings: Tensor,
) -> Iterator[None]:
    """While active, the model's forwards read ``embeddings`` in place of those of their ids.

    The ids stay what they are, and the embedding module's output is replaced: some models compute
    other things from the ids, which ``inputs_embeds`` would silently drop. Embeddings are (batch,
    positions, width), the positions of all sites in order.
    """
    parts = embeddings.split([site.length(inputs) for site in through], dim=1)
    with contextlib.ExitStack() as stack:
        for site, part in zip(through, parts, strict=True):
            call = site.embedding.call
            replace = site.replacing(part)
            stack.enter_context(replaced_output(site.module, replace, call=call, root=model))
        yield


def embed(
    model: nn.Module,
    through: tuple[EmbeddingSite, ...],
    inputs: Mapping[str, Tensor],
    **options: Any,
) -> Tensor:
    """(batch, positions, width), what the embedding modules give for ids, without a graph.

    The model runs only as far as the last of its embeddings.
    """
    parts: dict[int, Tensor] = {}

    def reader(place: int) -> Callable[[Tensor], Tensor]:
        def read(current: Tensor) -> Tensor:
            site = through[place]
            parts[place] = site.read(current, site.length(inputs))
            if len(parts) == len(through):
                raise _ReachedError
            return current

        return read

    with contextlib.ExitStack() as stack:
        for place, site in enumerate(through):
            call = site.embedding.call
            stack.enter_context(replaced_output(site.module, reader(place), call=call, root=model))
        stack.enter_context(torch.no_grad())
        stack.enter_context(contextlib.suppress(_ReachedError))
        model(**inputs, **options)
    widths = {part.shape[-1] for part in parts.values()}
    if len(widths) > 1:
        raise AnatomyError(
            f"the embeddings of encoder and decoder have widths {sorted(widths)}; only equal ones "
            "can be attributed together"
        )
    return torch.cat([parts[place].to(parts[0].device) for place in range(len(through))], dim=1)


class _ReachedError(Exception):
    """Ends a forward that has given what was wanted."""
