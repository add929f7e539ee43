r"""States that hold while an analysis runs and are put back: a model's, and random generators'."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ecco_captum.models.interventions import intercepted

if TYPE_CHECKING:
    from ecco_captum.models.language_model import LanguageModel

_LOCKS: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
_FINDING = threading.Lock()


@contextlib.contextmanager
def exclusive(model: nn.Module) -> Iterator[None]:
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
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    r"""While active, the model is in evaluation mode and no parameter asks for a gradient.

    Dropout would make every number a draw, and weights that ask for gradients make the graph keep
    activations that nobody reads. Each module's mode and each parameter's flag are put back.
    Analyses in other threads wait.

    Args:
        model (nn.Module): the model.
    """
    with exclusive(model), _evaluating(model):
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


@contextlib.contextmanager
def checkpointed(lm: LanguageModel) -> Iterator[None]:
    r"""While active, a backward computes each block's activations again (activation checkpointing).

    A text then needs the memory of one block's activations and one hidden state a block, for about
    one more forward a backward. The blocks are the anatomy's, so the model need not support it.

    Args:
        lm (LanguageModel): the model.

    Raises:
        AnatomyError: if its blocks are not known.
    """
    lm.anatomy.require("blocks")

    def around(forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    with contextlib.ExitStack() as stack:
        for block in {block.module: block for part in lm.anatomy.stacks for block in part.blocks}:
            stack.enter_context(intercepted(lm.model.get_submodule(block), around))
        yield
