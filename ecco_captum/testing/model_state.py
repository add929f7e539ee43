"""What an analysis must leave on a model exactly as it was."""

from __future__ import annotations

from typing import Any

from torch import nn

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def model_state(model: nn.Module) -> dict[str, Any]:
    r"""Returns everything about a model that could be left changed: compare before and after.

    Args:
        model (nn.Module): any model.

    Returns:
        dict: modes and replaced forwards of its modules, their hooks, and of each parameter whether
        it asks for a gradient, has one, where it is, and how often it was written to.
    """
    return {
        "modes": {name: module.training for name, module in model.named_modules()},
        "forwards": {
            name: module.__dict__["forward"]
            for name, module in model.named_modules()
            if "forward" in module.__dict__
        },
        "hooks": {
            name: [len(getattr(module, hooks)) for hooks in _HOOKS]
            for name, module in model.named_modules()
        },
        "parameters": {
            name: (id(p), p.requires_grad, p.grad is None, p.device, p.dtype, p._version)
            for name, p in model.named_parameters()
        },
    }
