r"""What a model was before an analysis, it is afterwards, whatever it did to itself meanwhile.

Some models change while they run: one reads a short text, and from then on all texts, with another
kind of attention; others keep a table of positions that grows.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from ecco_captum.models.interventions import wrapped_forward

# Models that were seen to change: they are put back after each forward, not only at the end.
_CHANGING: WeakSet[nn.Module] = WeakSet()
_GUARDED: WeakSet[nn.Module] = WeakSet()

_HELD = ("_modules", "_buffers")
# Larger buffers are quantised weights, which nothing writes to.
_LARGEST = 2**24


@contextlib.contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """While active, and after it, each forward of the model starts from the model as it was.

    Kept are attributes, submodules and buffers of all modules, and what the configs say; not the
    parameters. Contexts within the first one do nothing.
    """
    if model in _GUARDED:
        yield
        return
    state = _State(model)
    _GUARDED.add(model)
    try:
        with _restoring(model, state) if model in _CHANGING else contextlib.nullcontext():
            yield
    finally:
        _GUARDED.discard(model)
        if state.restore():
            _CHANGING.add(model)


def _restoring(model: nn.Module, state: _State) -> contextlib.AbstractContextManager[None]:
    def around(forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        state.restore()
        return forward(*args, **kwargs)

    return wrapped_forward(model, around)


class _State:
    """What modules and configs held at one moment."""

    def __init__(self, model: nn.Module) -> None:
        self.modules = [(module, dict(vars(module))) for module in model.modules()]
        self.held = [
            (getattr(module, name), dict(getattr(module, name)))
            for module, _ in self.modules
            for name in _HELD
        ]
        buffers = {id(buffer): buffer for buffer in model.buffers()}.values()
        self.buffers = [
            (buffer, buffer._version, buffer.detach().clone())
            for buffer in buffers
            if not buffer.is_inference() and not buffer.is_meta and buffer.numel() <= _LARGEST
        ]
        configs: dict[int, PreTrainedConfig] = {}
        for module, _ in self.modules:
            _collect(getattr(module, "config", None), configs)
        self.configs = [(config, copy.copy(vars(config))) for config in configs.values()]
        self.weights = [(p, p._version) for p in model.parameters() if not p.is_inference()]

    def restore(self) -> bool:
        """Puts back what is different; returns whether anything was.

        A model that has changed its own weights (one divides them for evaluation, and multiplies
        them back for training) says in its attributes that it has: both stay.
        """
        if any(weights._version != version for weights, version in self.weights):
            return False
        changed = [
            _put_back(vars(module), before, skipped=("forward", "training"))
            for module, before in self.modules
        ]
        changed += [_put_back(held, before) for held, before in self.held]
        changed += [_put_back(vars(config), before) for config, before in self.configs]
        with torch.no_grad():
            for k, (buffer, version, before) in enumerate(self.buffers):
                if buffer._version != version:
                    changed.append(not _same(buffer, before))
                    buffer.copy_(before)
                    self.buffers[k] = buffer, buffer._version, before
        return any(changed)


def _put_back(now: dict[str, Any], before: dict[str, Any], skipped: tuple[str, ...] = ()) -> bool:
    if now.keys() == before.keys() and all(now[name] is before[name] for name in before):
        return False
    changed = False
    for name in [name for name in now if name not in before and name not in skipped]:
        del now[name]
        changed = True
    for name, value in before.items():
        if name not in skipped and now.get(name, now) is not value:
            changed |= name not in now or not _same(now[name], value)
            now[name] = value
    return changed


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, Tensor) or isinstance(right, Tensor):
        both = isinstance(left, Tensor) and isinstance(right, Tensor)
        return both and left.shape == right.shape and torch.equal(left, right)
    try:
        return bool(left == right)
    except Exception:  # of what cannot be compared
        return False


def _collect(config: Any, found: dict[int, PreTrainedConfig]) -> None:
    if isinstance(config, PreTrainedConfig) and id(config) not in found:
        found[id(config)] = config
        for value in vars(config).values():
            _collect(value, found)
