r"""What holds while an analysis runs and is put back: modes, random states, threads."""

from __future__ import annotations

import contextlib
import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, ThreadPoolExecutor, wait
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.utils import logging as transformers_logging

from ecco_captum.models.guard import unchanged
from ecco_captum.models.interventions import intercepted

if TYPE_CHECKING:
    from ecco_captum.models.language_model import LanguageModel


FORWARD_TOKENS = 512
"""Tokens of texts that go through one forward together; on the CPU more gain little."""

_LOCKS: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
_FINDING = threading.Lock()


@contextlib.contextmanager
def exclusive(model: nn.Module) -> Iterator[None]:
    """While active, analyses of the model in other threads wait.

    Hooks are on the model, not on a call: one thread would read, or change, what another does.
    """
    with _FINDING:
        lock = _LOCKS.setdefault(model, threading.RLock())
    with lock:
        yield


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """While active, the model is in evaluation mode and no parameter asks for a gradient.

    Dropout would make every number a draw, and weights that ask for gradients make the graph keep
    activations that nobody reads. Each module's mode and each parameter's flag are put back, and
    what the model changed of itself.
    Analyses in other threads wait.
    """
    with exclusive(model), unchanged(model), uncompiled(model), _evaluating(model):
        yield


Outcome = TypeVar("Outcome")


def on_test_texts(model: nn.Module, work: Callable[[], Outcome]) -> Outcome:
    """Does some work on texts that are not the user's.

    The model's hooks rest, which were made for texts of the user's; they take part where the work
    fails without. What transformers has to say of so short texts is not said.
    """
    spoken = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        return _without_hooks(model, work)
    finally:
        transformers_logging.set_verbosity(spoken)


def _without_hooks(model: nn.Module, work: Callable[[], Outcome]) -> Outcome:
    hooked = [module for module in model.modules() if has_hooks(module)]
    if not hooked:
        return work()
    kept = [(module, module._forward_hooks, module._forward_pre_hooks) for module in hooked]
    try:
        for module in hooked:
            module._forward_hooks, module._forward_pre_hooks = OrderedDict(), OrderedDict()
        return work()
    except Exception:  # hooks that the model cannot do without, as those that gather its weights
        for module, after, before in kept:
            module._forward_hooks, module._forward_pre_hooks = after, before
        return work()
    finally:
        for module, after, before in kept:
            module._forward_hooks, module._forward_pre_hooks = after, before


def has_hooks(module: nn.Module) -> bool:
    """Whether hooks are on a module's own forward."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


@contextlib.contextmanager
def uncompiled(model: nn.Module) -> Iterator[None]:
    """While active, what ``torch.compile`` made of parts of a model runs as it was written.

    What was compiled before knows nothing of forwards that are wrapped since.
    """
    compiled = any(
        module._compiled_call_impl is not None or "_orig_mod" in module._modules
        for module in model.modules()
    )
    with torch.compiler.set_stance("force_eager") if compiled else contextlib.nullcontext():
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
    """While active, the global generators, from which Captum draws, start at a seed."""
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
    """While active, a backward computes each block's activations again (activation checkpointing).

    A text then needs the memory of one block's activations and one hidden state a block, for about
    one more forward a backward. The blocks are the anatomy's, so the model need not support it.
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


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out, which says nothing about the model."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate" in str(error)


Item = TypeVar("Item")


Result = TypeVar("Result")


def map_threads(
    work: Callable[[Item, Callable[[], object]], Result],
    items: Sequence[Item],
    advance: Callable[[], object],
    *,
    alone: bool = False,
) -> list[Result]:
    """Runs some work on each item, torch's threads shared out among them.

    Many small products are faster one in each thread than one after the other in all of them.
    torch's number of threads is what it was once this returns, or fails. ``work`` takes an item and
    a function that it should call now and then, which stops it where other work has failed or the
    user has interrupted; ``advance`` is called as often, one call at a time. ``alone`` gives each
    item one thread, however few there are, so that sums are rounded the same on every machine.
    """
    threads, stopped, lock = torch.get_num_threads(), Event(), Lock()
    count = min(threads, len(items))

    def step() -> None:
        if stopped.is_set():
            raise CancelledError
        with lock:
            advance()

    try:
        torch.set_num_threads(1 if alone else threads // max(count, 1))
        if count < 2:
            return [work(item, step) for item in items]
        with ThreadPoolExecutor(count) as pool:
            running = [pool.submit(work, item, step) for item in items]
            try:
                done = wait(running, return_when=FIRST_EXCEPTION).done
                for future in done:
                    future.result()  # the first error, not that of work which it stopped
                return [future.result() for future in running]
            except BaseException:
                stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(threads)
