"""The naive loop: one forward and one backward for each output token, nothing shared."""

from __future__ import annotations

import numpy as np
import torch

from ecco_captum.models.language_model import LanguageModel


def naive_saliency(lm: LanguageModel, ids: np.ndarray, prompt: int) -> list[np.ndarray]:
    """One row an output: the L2 norm of gradient × input of each position before it."""
    site = lm.anatomy.embedding
    module = lm.model.get_submodule(site.module)
    rows = []
    for end in range(prompt, len(ids)):
        before = torch.tensor(ids[None, :end], device=lm.device)
        leaves: list[torch.Tensor] = []

        def enter(_module: object, _inputs: object, output: torch.Tensor) -> torch.Tensor:
            leaves.append(output.detach().requires_grad_())  # noqa: B023
            return leaves[0] * 1  # noqa: B023

        hook = module.register_forward_hook(enter)
        try:
            with torch.enable_grad():
                score = lm.model(input_ids=before, use_cache=False).logits[0, -1, ids[end]]
            (gradient,) = torch.autograd.grad(score, leaves[0])
        finally:
            hook.remove()
        product = (gradient * leaves[0]).detach().permute(site.axes)[0, site.offset :]
        rows.append(product.float().norm(dim=-1).cpu().numpy())
    return rows
