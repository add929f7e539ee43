r"""Watch one forward of a model: which module ran when, and which linear map feeds which.

Modules are watched by wrapping their ``forward``, tensor operations by a ``TorchDispatchMode``.
A :class:`Lineage` follows every tensor that depends on the input; what carries none is a constant,
so a matrix product of the two is a linear map, wherever its weights come from. The result is plain
data: no module and no tensor.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from ecco_captum.models.interventions import all_tensors, first_tensor, wrapped_forward

# Names of tensor operations, without the underscore that marks those in place.
_NON_LINEARITY = re.compile(
    "silu|gelu|relu6?|tanh|sigmoid|erf|softplus|leaky_relu|elu|mish|hardtanh|hardswish|celu|selu"
    "|log_sigmoid_forward|threshold|hardsigmoid|expm1|_?prelu(_kernel)?|rrelu_with_noise|clamp_min|glu"
)
_SOFTMAX = re.compile("_?(safe_)?softmax")
_SUM = re.compile("add|sub|rsub|addcmul|index_add|scatter_add|lerp")
_SEQUENCE_MIXER = re.compile("cumsum|cumprod|logcumsumexp|_fft_.*|.*attention.*")
_PRODUCT = re.compile("mm|bmm|mv|matmul|.*linear.*|_?grouped_mm.*|_scaled_mm|convolution")
_PRODUCT_AND_SUM = re.compile("(_?add|badd)b?m[mv].*")
_SHAPE_ONLY = re.compile("new_.*|.*_like")


class Lineage(NamedTuple):
    r"""What a tensor was made of since the linear maps before it. Sets of maps are bit masks."""

    linears: int = 0
    """Maps whose outputs reached this tensor without another map in between."""
    bent: int = 0
    """Those of them that went through a non-linearity or a softmax since."""
    ancestors: int = 0
    """All maps that it depends on, however remotely."""
    activated: bool = False
    """A non-linearity (not a softmax) was applied since the last map."""
    mixed: bool = False
    """Tokens were combined since the last map."""
    residual: bool = False
    """It is the residual stream, or was multiplied with it, since the last map."""

    def __or__(self, other: Any) -> Lineage:
        return Lineage(*(mine | theirs for mine, theirs in zip(self, other, strict=True)))

    def feeds(self, other: Lineage) -> bool:
        """Whether ``other`` was computed from this: the two ends of a residual connection."""
        return self != other and self.linears & ~(other.ancestors & ~other.linears) == 0


def factors(operation: str) -> tuple[int, int] | None:
    """Places, among an operation's tensors, of those that it multiplies as matrices."""
    if _PRODUCT.fullmatch(operation):
        return 0, 1
    # What is added to the product, such as a bias, stands first.
    return (1, 2) if _PRODUCT_AND_SUM.fullmatch(operation) else None


def combine(operation: str, lineages: Sequence[Lineage | None]) -> Lineage | None:
    """The lineage of what an operation returns, save for linear maps; None stands for constants."""
    known = _distinct(lineages)
    if not known or _SHAPE_ONLY.fullmatch(operation):
        return None
    union = functools.reduce(Lineage.__or__, known)
    if factors(operation) or _SEQUENCE_MIXER.fullmatch(operation):
        return union._replace(mixed=True)
    if _NON_LINEARITY.fullmatch(operation):
        return union._replace(bent=union.linears, activated=True)
    if _SOFTMAX.fullmatch(operation):
        return union._replace(bent=union.linears)
    if any(stream.feeds(branch) for stream, branch in permutations(known, 2)):
        return union._replace(residual=True)
    return union


def written(operation: str, lineages: Sequence[Lineage | None]) -> int:
    """Bit mask of the linear maps whose outputs are added to what they were computed from."""
    mask = 0
    if _SUM.fullmatch(operation):
        for stream, branch in permutations(_distinct(lineages), 2):
            if stream.feeds(branch):
                mask |= branch.linears & ~branch.bent
    return mask


def _distinct(lineages: Sequence[Lineage | None]) -> list[Lineage]:
    return list(dict.fromkeys(lineage for lineage in lineages if lineage is not None))


CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)


@dataclass
class Execution:
    r"""One run of one module's forward."""

    index: int
    module: str
    call: int
    parent: int | None
    kind: str
    """Class name of the module."""
    container: str | None
    """Path of the list that holds the module, if one does."""
    input_shape: tuple[int, ...] | None
    input_lineage: Lineage | None
    first_linear: int
    last_linear: int = 0
    """Linear maps from ``first_linear`` up to, not including, this one ran within."""
    output_shape: tuple[int, ...] | None = None
    returns: int | None = None
    """0 for a lone tensor, n for a tuple of n values with the tensor first; None otherwise."""


@dataclass(frozen=True)
class LinearMap:
    r"""One product of a tensor that depends on the input with a constant."""

    execution: int
    """The innermost module that was running."""
    inputs: Lineage
    in_width: int
    out_width: int
    pointwise: bool
    """It treats every token alike and apart; False for a convolution over tokens."""
    channels: int
    """The axis of its input and output that holds the width."""
    stacked: bool
    """Its weights are several matrices in one tensor, as in fused experts."""
    is_module: bool
    """Its input is the input of the module that was running."""


@dataclass(frozen=True)
class Lookup:
    r"""One embedding lookup."""

    execution: int
    reads: str | None
    """Which of the model's inputs held the ids, None for other ids such as positions."""
    offset: int
    """How many ids the model had put before them."""


@dataclass
class Trace:
    r"""What happened during one forward."""

    executions: list[Execution] = field(default_factory=list)
    linears: list[LinearMap] = field(default_factory=list)
    lookups: list[Lookup] = field(default_factory=list)
    writers: int = 0
    """Bit mask of the maps whose outputs were added to what they were computed from."""
    outputs: Any = None

    @functools.cached_property
    def readers(self) -> Mapping[Lineage, list[int]]:
        """Indices of the linear maps that read what has some lineage, once the forward is over."""
        readers: dict[Lineage, list[int]] = {}
        for index, linear in enumerate(self.linears):
            readers.setdefault(linear.inputs, []).append(index)
        return readers

    def enclosing(self, execution: int | None) -> Iterator[int]:
        """Indices of an execution and of all that it ran within, innermost first."""
        while execution is not None:
            yield execution
            execution = self.executions[execution].parent


def trace(model: nn.Module, inputs: Mapping[str, Tensor]) -> Trace:
    """Runs a model once, without gradients, and records what happened.

    Inputs that hold ids are recognised in lookups. The model is left as it was, also after an
    exception.
    """
    watcher = _Watcher(model, inputs)
    with ExitStack() as contexts:
        for module in model.modules():
            if not isinstance(module, torch.jit.ScriptModule):
                around = functools.partial(watcher.run_module, module)
                contexts.enter_context(wrapped_forward(module, around))
        contexts.enter_context(torch.no_grad())
        contexts.enter_context(watcher)
        watcher.trace.outputs = model(**inputs)
    return watcher.trace


class _Watcher(TorchDispatchMode):
    """Keeps the lineage of every storage; views of a tensor thereby share their base's."""

    def __init__(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.trace = Trace()
        self.paths, self.containers = _paths(model)
        self.ids = {name: ids for name, ids in inputs.items() if name.endswith("input_ids")}
        self.calls: Counter[str] = Counter()
        self.running: list[int] = []
        self.lineages: dict[StorageWeakRef | None, Lineage] = {}

    def run_module(
        self,
        module: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        path, given = self.paths[id(module)], first_tensor((args, kwargs))
        execution = Execution(
            index=len(self.trace.executions),
            module=path,
            call=self.calls[path],
            parent=self.running[-1] if self.running else None,
            kind=type(module).__name__,
            container=self.containers.get(path),
            input_shape=None if given is None else tuple(given.shape),
            input_lineage=None if given is None else self.lineage(given),
            first_linear=len(self.trace.linears),
        )
        self.calls[path] += 1
        self.trace.executions.append(execution)
        self.running.append(execution.index)
        try:
            outputs = forward(*args, **kwargs)
        finally:
            self.running.pop()
        execution.last_linear = len(self.trace.linears)
        tensor = first_tensor(outputs)
        if tensor is not None:
            execution.output_shape = tuple(tensor.shape)
            if tensor is outputs:
                execution.returns = 0
            elif isinstance(outputs, tuple | list) and tensor is outputs[0]:
                execution.returns = len(outputs)
        return outputs

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        name = name if name.startswith("_") else name.rstrip("_")
        given = list(all_tensors((args, kwargs)))
        before = {_storage(tensor) for tensor in given}
        lineages = [self.lineage(tensor) for tensor in given]
        outputs = func(*args, **kwargs)
        made = self.derive(name, given, lineages, outputs)
        for tensor in all_tensors(outputs):
            storage = _storage(tensor)
            if made is None or storage is None:
                continue
            if not (tensor.is_floating_point() or tensor.is_complex()):
                continue
            if storage not in before:
                self.lineages[storage] = made
            elif func._schema.is_mutable:
                # A view keeps its base's lineage; a write adds to it.
                self.lineages[storage] = self.lineages.get(storage, made) | made
        return outputs

    def lineage(self, tensor: Tensor) -> Lineage | None:
        return self.lineages.get(_storage(tensor))

    def derive(
        self, name: str, given: list[Tensor], lineages: list[Lineage | None], outputs: Any
    ) -> Lineage | None:
        """The lineage of an operation's outputs; None if they do not depend on the input."""
        if name == "embedding":
            self.trace.lookups.append(self.look_up(given[1]))
            return Lineage(residual=True)
        places = factors(name)
        if places and len(given) <= places[1]:
            # Quantised weights are packed into an object that is no tensor.
            return self.multiply(name, given, outputs)
        if places and [lineages[place] is None for place in places].count(True) == 1:
            return self.multiply(name, [given[place] for place in places], outputs)
        self.trace.writers |= written(name, lineages)
        return combine(name, lineages)

    def multiply(self, name: str, given: list[Tensor], outputs: Tensor) -> Lineage:
        """Notes a linear map: exactly one of the factors depends on the input."""
        packed = len(given) == 1
        weights_first = not packed and self.lineage(given[0]) is None
        weights, inputs = given if weights_first else reversed(given * (1 + packed))
        lineage = self.lineage(inputs) or Lineage()
        convolution = name == "convolution"
        channels = 1 if convolution else -2 if weights_first and inputs.ndim > 1 else -1
        pointwise = packed or not convolution or all(size == 1 for size in weights.shape[2:])
        execution = self.trace.executions[self.running[-1]]
        linear = LinearMap(
            execution=execution.index,
            inputs=lineage,
            in_width=inputs.shape[channels],
            out_width=outputs.shape[channels],
            pointwise=pointwise,
            channels=channels,
            stacked=not (packed or convolution) and weights.ndim > 2 and weights.shape[0] > 1,
            is_module=execution.input_lineage == lineage
            and inputs.numel() == math.prod(execution.input_shape or ()),
        )
        bit = 1 << len(self.trace.linears)
        self.trace.linears.append(linear)
        return Lineage(linears=bit, ancestors=lineage.ancestors | bit, mixed=not pointwise)

    def look_up(self, indices: Tensor) -> Lookup:
        for name, ids in self.ids.items():
            for candidate in (indices, indices.mT if indices.ndim == 2 else indices):
                if candidate.ndim != 2 or len(candidate) != len(ids):
                    continue
                for offset in range(candidate.shape[1] - ids.shape[1] + 1):
                    if torch.equal(candidate[:, offset : offset + ids.shape[1]], ids):
                        return Lookup(self.running[-1], name, offset)
        return Lookup(self.running[-1], None, 0)


def _storage(tensor: Tensor) -> StorageWeakRef | None:
    """A key that no later tensor shares, though memory is used again; it keeps nothing alive."""
    try:
        return StorageWeakRef(tensor.untyped_storage())
    except (NotImplementedError, RuntimeError):
        return None  # Some tensor subclasses, such as those of quantised weights, have none.


def _paths(model: nn.Module) -> tuple[dict[int, str], dict[str, str]]:
    """Each module's path, the one through a list if it has several; and each path's list."""
    paths: dict[int, str] = {}
    containers: dict[str, str] = {}
    for container_path, container in model.named_modules(remove_duplicate=False):
        paths.setdefault(id(container), container_path)
        if isinstance(container, CONTAINERS):
            for name, module in container.named_children():
                path = f"{container_path}.{name}"
                if paths.get(id(module)) not in containers:
                    paths[id(module)] = path
                    containers[path] = container_path
    return paths, containers
