"""GIM against the same model with every rule written into torch's own functions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from method_samples import fresh_subject, subject
from torch import Tensor, nn

from ecco_captum import saliency
from ecco_captum.testing import check_method


class Softer(torch.autograd.Function):
    """A softmax whose backward pass is that of a softmax at twice the temperature."""

    @staticmethod
    def forward(ctx, scores: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(scores)
        return scores.softmax(-1)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        weights = torch.special.softmax(ctx.saved_tensors[0] / 2, -1)
        jacobian = torch.diag_embed(weights) - weights[..., :, None] * weights[..., None, :]
        return (jacobian @ gradient[..., None])[..., 0]


def frozen(norm: nn.LayerNorm, hidden: Tensor) -> Tensor:
    centred = hidden - hidden.mean(-1, keepdim=True)
    scale = (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt().detach()
    return centred / scale * norm.weight + norm.bias


def test_it_is_the_gradient_of_a_model_with_these_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, generation = fresh_subject("causal:gpt2")
    found = saliency(lm, generation, method="gim").scores
    lm.model.set_attn_implementation("eager")
    ids = torch.tensor(generation.tokens.ids[None, :-1])
    embedded = lm.model.get_input_embeddings()(ids).detach().requires_grad_()
    product = torch.matmul

    def halves(left: Tensor, right: Tensor) -> Tensor:
        whole = product(left, right)
        return whole / 2 + whole.detach() / 2

    with monkeypatch.context() as patch:
        patch.setattr(torch, "matmul", halves)
        patch.setattr(nn.functional, "softmax", lambda scores, dim: Softer.apply(scores))
        for module in lm.model.modules():
            if isinstance(module, nn.LayerNorm):
                patch.setattr(module, "forward", lambda x, own=module: frozen(own, x))
        logits = lm.model(inputs_embeds=embedded, use_cache=False).logits[0]
    start = len(generation.prompt_ids)
    for t, token in enumerate(generation.output_ids.tolist()):
        (gradient,) = torch.autograd.grad(logits[start - 1 + t, token], embedded, retain_graph=True)
        expected = (gradient * embedded).sum(-1)[0].detach().numpy()
        np.testing.assert_allclose(found[t, :-1], expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["causal:llama", "causal:gemma2", "masked:bert", "seq2seq:t5"])
def test_it_passes_the_battery(name: str) -> None:
    lm, generation = subject(name)
    check_method("gim", lm, generation)
    shares = saliency(lm, generation, method="gim").shares
    assert np.abs(shares - saliency(lm, generation, method="attn_lrp").shares).max() > 1e-3
