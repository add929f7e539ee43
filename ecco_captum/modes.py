r"""States that hold while an analysis runs and are put back: a model's, and random generators'."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

_LOCKS: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
_FINDING = threading.Lock()


@contextlib.contextmanager
def alone(model: nn.Module) -> Iterator[None]:
    r"""While active, analyses of the model in other threads wait.

    Hooks are on the model, not on a call: one thread would read, or change, what another does.

    Args:
        model (nn.Module): the model.
    """
    with _FINDING:
        lock = _LOCKS.setdefault(model, threading.RLock())
    with lock:
        yield


@contextlib.contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    r"""While active, the model is in evaluation mode and no parameter asks for a gradient.

    Dropout would make every number a draw, and weights that ask for gradients make the graph keep
    activations that nobody reads. Each module's mode and each parameter's flag are put back.
    Analyses in other threads wait.

    Args:
        model (nn.Module): the model.
    """
    with alone(model), _evaluating(model):
        yield


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    # Tensors made under inference_mode never ask for gradients, whatever their flag says, and the
    # flag could not be put back.
    parameters = [parameter for parameter in model.parameters() if not parameter.is_inference()]
    wanting = [parameter for parameter in parameters if parameter.requires_grad]
    try:
        for module in training:
            module.training = False
        for parameter in wanting:
            parameter.requires_grad_(False)
        yield
    finally:
        for module in training:
            module.training = True
        for parameter in wanting:
            parameter.requires_grad_(True)


@contextlib.contextmanager
def drawing(seed: int) -> Iterator[None]:
    r"""While active, the global generators, from which Captum draws, start at a seed.

    Args:
        seed (int): from 0.
    """
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
