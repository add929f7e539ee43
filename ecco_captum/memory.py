r"""Activations that are computed again instead of kept."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from ecco_captum.models import LanguageModel
from ecco_captum.replay import intercepted


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
