"""Activations computed again: the same numbers, really recomputed, and nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from method_samples import SUBJECTS, fresh_subject, subject
from recording import called

from ecco_captum import force_decode, saliency
from ecco_captum.models.causality import reads_together
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.testing import model_state

METHODS: dict[str, dict[str, Any]] = {
    "input_x_gradient": {},
    "saliency": {},
    "integrated_gradients": {"n_steps": 20},
    "gradient_shap": {"n_samples": 3},
    "smooth_grad": {"n_samples": 3},
    "feature_ablation": {},
}


@contextmanager
def runs(lm: LanguageModel) -> Iterator[list[int]]:
    """Adds a number for each time a block starts; its recomputation ends where it has enough."""
    seen: list[int] = []
    block = lm.model.get_submodule(lm.anatomy.blocks[1].module)
    inner = next(module for module in block.modules() if isinstance(module, torch.nn.LayerNorm))
    with called(inner, lambda args, kwargs: seen.append(1)):
        yield seen


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["causal:gpt2", "causal:gemma2", "causal:bert", "masked:bert"])
def test_the_same_numbers(name: str, method: str) -> None:
    options = {"method": method, "score": "logprob", **METHODS[method]}
    first, other = (saliency(*subject(name), checkpointing=c, **options) for c in (False, True))
    np.testing.assert_allclose(other.scores, first.scores, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", [*SUBJECTS, "causal:mamba", "causal:opt", "causal:mixtral"])
def test_on_every_kind_of_model(name: str) -> None:
    lm, generation = subject(name)
    before = model_state(lm.model)
    first, other = (saliency(lm, generation, checkpointing=c) for c in (False, True))
    np.testing.assert_allclose(other.scores, first.scores, rtol=1e-4, atol=1e-6)
    assert model_state(lm.model) == before


@pytest.mark.parametrize("method", ["guided_backprop", "deconvolution"])
@pytest.mark.parametrize("name", ["causal:opt", "seq2seq:t5"])
def test_hooks_of_captum_hold_in_the_recomputation(name: str, method: str) -> None:
    first, other = (
        saliency(*subject(name), method=method, checkpointing=c).scores for c in (False, True)
    )
    np.testing.assert_allclose(other, first, rtol=1e-4, atol=1e-6)


def test_blocks_run_again_in_the_backward() -> None:
    lm, generation = fresh_subject("causal:gpt2")
    saliency(lm, generation)
    counts = {}
    for checkpointing in (False, True):
        with runs(lm) as seen:
            saliency(lm, generation, checkpointing=checkpointing)
        counts[checkpointing] = len(seen)
    assert counts == {False: 1, True: 2}
    reads_together(lm.model)
    with runs(lm) as seen:
        saliency(lm, generation, method="feature_ablation", checkpointing=True)
    without = len(seen)
    with runs(lm) as seen:
        saliency(lm, generation, method="feature_ablation")
    assert len(seen) == without  # nothing to recompute where no gradient is taken


def kept_bytes(name: str, *, checkpointing: bool) -> int:
    """What is kept for backwards, without what is kept while a block is recomputed."""
    lm, _ = subject(name)
    generation = force_decode(lm, list(range(5, 55)), [7])
    kept = 0

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.itemsize
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        saliency(lm, generation, checkpointing=checkpointing)
    return kept


@pytest.mark.parametrize("name", ["causal:gpt2", "causal:llama", "seq2seq:t5"])
def test_activations_are_not_kept(name: str) -> None:
    kept_bytes(name, checkpointing=False)  # what is found out about a model, once
    assert kept_bytes(name, checkpointing=True) < 0.3 * kept_bytes(name, checkpointing=False)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_the_model_is_put_back(error: type[BaseException]) -> None:
    lm, generation = fresh_subject("causal:gpt2")
    saliency(lm, generation)
    lm.model.train()

    def stop(*_: object) -> None:
        raise error("stop")

    hook = lm.model.transformer.h[2].register_forward_hook(stop)
    before = model_state(lm.model)
    with pytest.raises(error):
        saliency(lm, generation, checkpointing=True)
    assert model_state(lm.model) == before
    hook.remove()
    assert saliency(lm, generation, checkpointing=True).scores.any()


@pytest.mark.parametrize("method", ["attn_lrp", "deep_lift", "deep_lift_shap"])
def test_methods_with_rules_of_their_own_refuse_it(method: str) -> None:
    with pytest.raises(ValueError, match=f"checkpointing: {method} changes the backward pass"):
        saliency(*subject("causal:gpt2"), method=method, checkpointing=True)
