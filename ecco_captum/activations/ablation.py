r"""Ablation: neurons, or what a factor stands for, taken out of every forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ecco_captum.activations.record import Activations
from ecco_captum.models.anatomy.parts import Block, NeuronSite
from ecco_captum.models.interventions import replaced_input
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.models.modes import exclusive

Value = Literal["zero", "mean"] | float | Callable[[Tensor], Tensor]

# From the neurons that a down-projection is given, (…, neurons), to what stands in their place.
_Change = Callable[[Tensor], Tensor]
_Changes = list[tuple[NeuronSite, _Change]]


@runtime_checkable
class Directions(Protocol):
    r"""Directions in the space of neurons: what :class:`~ecco_captum.Factors` are."""

    @property
    def activations(self) -> Activations: ...

    def direction(self, component: int) -> np.ndarray: ...


@contextmanager
def ablate(
    lm: LanguageModel,
    *,
    neurons: Any = None,
    factor: tuple[Directions, int] | None = None,
    value: Value = "zero",
    reference: Activations | None = None,
) -> Iterator[None]:
    r"""While active, some neurons are taken out of every forward of the model, generation included.

    It acts on what the down-projections are given, inside of the blocks that become the model's
    output. Contexts nest; the one entered last acts first on what it shares with another. On
    leaving, also after an error, the model is exactly as it was. ``neurons`` called inside reads
    what each block computes, before it is taken out of that block.

    Args:
        lm (LanguageModel): the model.
        neurons (mapping or list, optional): from a block to its neurons, ``{3: [7, 12]}``, or pairs
            ``[(3, 7), (3, 12)]`` as ``Factors.top_neurons`` gives them (what follows in a tuple is
            ignored).
        factor (tuple, optional): ``(factors, component)``: not single neurons, but in each block
            the direction that the component has there.
        value (str, float or Callable, optional): what stands in their place: ``"zero"``;
            ``"mean"``, their mean over ``reference``; a number; or a function from what they hold,
            (…, chosen), to what they shall hold. Of a factor, it stands in place of the coordinate
            along its direction. Of a block with several down-projections, each is given its own
            neurons, and has its own part of a factor's direction. Default: ``"zero"``
        reference (Activations, optional): what ``"mean"`` is the mean of. Default: what the factor
            was fitted to.

    Raises:
        AnatomyError: if the model's neurons are out of reach.
        TypeError: if an argument is of another kind.
        ValueError: if there are no such neurons, both or neither of ``neurons`` and ``factor`` are
            given, or a mean has no reference.

    Examples::

        >>> generation.text
        ' Paris.\n\nThe'
        >>> with ablate(lm, neurons=factors.top_neurons(4, 50)):
        ...     generate(lm, "The capital of France is", max_new_tokens=5).text
        ' the capital of the '
    """
    if (neurons is None) == (factor is None):
        raise ValueError("neurons: give either neurons or factor, and not both")
    lm.anatomy.require("neurons")
    changes = (
        _of_neurons(lm, neurons, value, reference)
        if factor is None
        else _of_factor(lm, factor, value, reference)
    )
    with ExitStack() as contexts:
        contexts.enter_context(exclusive(lm.model))
        for site, change in changes:
            contexts.enter_context(_changed(lm, site, change))
        yield


def separates_rows(lm: LanguageModel) -> bool:
    """Whether neurons are (batch, positions, width), not (tokens, width) as in OPT."""
    return all(len(site.axes) == 3 for block in lm.anatomy.blocks for site in block.neurons)


@contextmanager
def ablate_by_row(
    lm: LanguageModel, sets: Sequence[Any], value: Value, reference: Activations | None
) -> Iterator[None]:
    """Like :func:`ablate` for forwards of a batch, of which each row has its own neurons taken out.

    Where rows are not separate, only a batch of one can be had. An empty set takes nothing out.
    """
    changes: dict[NeuronSite, list[_Change]] = {}
    for row, neurons in enumerate(sets):
        for site, change in _of_neurons(lm, neurons, value, reference) if neurons else ():
            changes.setdefault(site, [_unchanged] * len(sets))[row] = change
    with ExitStack() as contexts:
        contexts.enter_context(exclusive(lm.model))
        for site, by_row in changes.items():
            change = partial(_rows_changed, changes=by_row) if len(sets) > 1 else by_row[0]
            contexts.enter_context(_changed(lm, site, change))
        yield


def _unchanged(values: Tensor) -> Tensor:
    return values


def _rows_changed(values: Tensor, changes: list[_Change]) -> Tensor:
    return torch.stack([change(row) for change, row in zip(changes, values, strict=True)])


def chosen_neurons(lm: LanguageModel, neurons: Any) -> dict[int, list[int]]:
    """Reads the argument ``neurons``: from each block, ascending, to its neurons, ascending."""
    try:
        if isinstance(neurons, Mapping):
            pairs = [(block, neuron) for block, some in neurons.items() for neuron in some]
        else:
            pairs = [(neuron[0], neuron[1]) for neuron in neurons]
        whole = [(int(block), int(neuron)) for block, neuron in pairs]
        exact = all(a == b for a, b in zip(whole, pairs, strict=True))
    except (TypeError, ValueError, IndexError) as error:
        exact, whole = False, []
        if isinstance(neurons, str | int | float):
            raise TypeError(_accepted(neurons)) from error
    if not exact or not whole:
        raise ValueError(_accepted(neurons))
    by_block: dict[int, set[int]] = {}
    for block, neuron in whole:
        blocks = lm.anatomy.blocks
        width = _width(blocks[block]) if 0 <= block < len(blocks) else 0
        if not 0 <= neuron < width:
            raise ValueError(
                f"neurons: there is no neuron {neuron} of block {block}; {lm.name!r} has "
                f"{len(blocks)} blocks" + (f", this one {width} neurons" if width else "")
            )
        by_block.setdefault(block, set()).add(neuron)
    return {block: sorted(by_block[block]) for block in sorted(by_block)}


def _accepted(given: Any) -> str:
    return (
        f"neurons: got {given!r}, accepts a mapping from blocks to neurons or pairs (block, neuron)"
    )


def _width(block: Block) -> int:
    return sum(site.width for site in block.neurons)


def _of_neurons(
    lm: LanguageModel, neurons: Any, value: Value, reference: Activations | None
) -> _Changes:
    chosen = chosen_neurons(lm, neurons)
    replace = _replacement(value)
    changes: _Changes = []
    for number, ids in chosen.items():
        block = lm.anatomy.blocks[number]
        means = torch.empty(0)
        if replace is None:
            means = torch.from_numpy(_means(reference, number, _width(block)))
        for site, part in _sites(block):
            columns = [neuron - part.start for neuron in ids if part.start <= neuron < part.stop]
            if not columns:
                continue
            own = replace or partial(_filled, with_=means[part][columns])
            changes.append((site, partial(_columns_replaced, columns=columns, replace=own)))
    return changes


def _sites(block: Block) -> Iterator[tuple[NeuronSite, slice]]:
    """A block's down-projections, and which of its neurons each is given."""
    start = 0
    for site in block.neurons:
        yield site, slice(start, start + site.width)
        start += site.width


def _of_factor(
    lm: LanguageModel, factor: tuple[Directions, int], value: Value, reference: Activations | None
) -> _Changes:
    if not (isinstance(factor, tuple) and len(factor) == 2 and isinstance(factor[0], Directions)):
        raise TypeError(f"factor: got {factor!r}, accepts a tuple (factors, component)")
    factors, component = factor
    if factors.activations.kind != "neurons" or factors.activations.stack != "decoder":
        raise ValueError(
            "factor: it is of hidden states or of an encoder, accepts one of the neurons of the "
            "blocks that become the model's output"
        )
    directions = factors.direction(component).astype(np.float64)
    replace = _replacement(value)
    changes: _Changes = []
    for number, direction in zip(factors.activations.layers.tolist(), directions, strict=True):
        known = number < len(lm.anatomy.blocks)
        if not known or len(direction) != _width(lm.anatomy.blocks[number]):
            raise ValueError(
                f"factor: block {number} of it has {len(direction)} neurons, that of {lm.name!r} "
                "has another number; it was found in another model"
            )
        if replace is None:
            means = _means(reference or factors.activations, number, len(direction))
        for site, part in _sites(lm.anatomy.blocks[number]):
            length = float(np.linalg.norm(direction[part]))
            if not length:
                continue
            unit = direction[part] / length
            own = replace or partial(_filled, with_=torch.tensor([float(means[part] @ unit)]))
            along = torch.from_numpy(unit).float()
            changes.append((site, partial(_direction_replaced, unit=along, replace=own)))
    return changes


def _replacement(value: Value) -> _Change | None:
    """None for the mean, which differs from neuron to neuron."""
    if isinstance(value, str):
        if value == "mean":
            return None
        if value == "zero":
            return torch.zeros_like
    elif callable(value):
        return value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        return partial(_filled, with_=torch.tensor(float(value)))
    raise ValueError(f"value: got {value!r}, accepts 'zero', 'mean', a number or a function")


def _means(reference: Activations | None, block: int, width: int) -> np.ndarray:
    if not isinstance(reference, Activations):
        raise ValueError("reference: a mean needs activations to be the mean of, got none")
    if reference.kind != "neurons" or block not in reference.layers or reference.shape[2] != width:
        raise ValueError(f"reference: it has not the {width} neurons of block {block}")
    parts = reference.of_layers(reference.layers.tolist().index(block)).parts()
    total = sum(values[0].sum(axis=0, dtype=np.float64) for _, values in parts)
    return np.asarray(total / len(reference.tokens), dtype=np.float32)


def _filled(values: Tensor, with_: Tensor) -> Tensor:
    return with_.to(values).expand_as(values)


def _columns_replaced(values: Tensor, columns: list[int], replace: _Change) -> Tensor:
    changed = values.clone()
    replaced = replace(values[..., columns])
    if not isinstance(replaced, Tensor) or replaced.shape != values[..., columns].shape:
        raise ValueError("value: the function must return a tensor of the shape that it is given")
    changed[..., columns] = replaced.to(values)
    return changed


def _direction_replaced(values: Tensor, unit: Tensor, replace: _Change) -> Tensor:
    along = unit.to(values)
    coordinate = (values * along).sum(dim=-1, keepdim=True)
    return values + (replace(coordinate).to(values) - coordinate) * along


@contextmanager
def _changed(lm: LanguageModel, site: NeuronSite, change: _Change) -> Iterator[None]:
    """What a down-projection is given goes through a change."""
    back = sorted(range(len(site.axes)), key=site.axes.__getitem__)

    def replace(given: Tensor) -> Tensor:
        return change(given.permute(site.axes)).permute(back)

    module = lm.model.get_submodule(site.module)
    with replaced_input(module, replace, call=site.call, root=lm.model):
        yield
