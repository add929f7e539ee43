"""Adaptive steps of integrated gradients: closed forms, Captum with many steps, what is said."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from method_samples import subject
from planted_models import bag_of_embeddings, bag_scores
from torch import Tensor

from ecco_captum import force_decode, saliency
from ecco_captum.attribution.methods.integration import adaptive_integral


def integral(score: Any, inputs: Tensor, aggregate: Any = "sum", **options: Any) -> Any:
    """The integral from 0, of a function from (positions, embedding) to (targets,)."""
    given = SimpleNamespace(
        inputs=inputs[None],
        baseline=torch.zeros_like(inputs)[None],
        aggregate=aggregate,
        options={"tolerance": 0.1, "max_steps": 128, **options},
        notes={},
    )
    given.count = lambda name: given.options[name]

    def gradients(embeddings: Tensor) -> tuple[Tensor, Tensor]:
        scores = score(embeddings[0])
        rows = [torch.autograd.grad(s, embeddings, retain_graph=True)[0][0] for s in scores]
        return scores, torch.stack(rows)

    return adaptive_integral(given, gradients), given.notes  # type: ignore[arg-type]


def test_linear_and_quadratic_scores_have_closed_forms() -> None:
    torch.manual_seed(0)
    x, w = torch.randn(5, 3, dtype=torch.float64), torch.randn(2, 5, 3, dtype=torch.float64)
    linear, notes = integral(lambda e: (w * e).sum((1, 2)), x)
    torch.testing.assert_close(linear, (w * x).sum(-1))
    assert notes["points"] == 9
    assert (notes["residuals"] < 1e-12).all()
    quadratic, _ = integral(lambda e: (w * e**2).sum((1, 2)), x)
    torch.testing.assert_close(quadratic, (w * x**2).sum(-1))
    whole, _ = integral(lambda e: (w * e**2).sum((1, 2)), x, aggregate="l2")
    torch.testing.assert_close(whole, w * x**2)


def test_a_jump_is_found_where_equal_steps_miss_it() -> None:
    x = torch.ones(2, 1, dtype=torch.float64)

    def jump(e: Tensor) -> Tensor:
        return torch.sigmoid(600 * (e.mean() - 0.3711))[None] + 0.1 * e[0]

    found, notes = integral(jump, x)
    np.testing.assert_allclose(found[0], [0.6, 0.5], rtol=0.1)
    assert notes["points"] < 40
    _, notes = integral(jump, x, max_steps=9)
    assert notes["points"] == 9
    assert notes["residuals"][0] > 0.5, "what it misses is known"
    steps = torch.arange(50, dtype=torch.float64) / 50
    equal = 600 * torch.sigmoid(600 * (steps - 0.3711)) * torch.sigmoid(-600 * (steps - 0.3711))
    assert abs(float(equal.mean()) - 1) > 0.1


@pytest.mark.parametrize("name", ["causal:gpt2", "causal:llama", "masked:bert", "seq2seq:t5"])
def test_it_comes_to_what_captum_gives_with_very_many_steps(name: str) -> None:
    lm, generation = subject(name)
    adaptive = saliency(lm, generation, method="ig", tolerance=0.02, max_steps=200)
    many = saliency(lm, generation, method="ig", n_steps=400)
    largest = np.abs(many.scores).max(axis=1, keepdims=True)
    assert np.abs(adaptive.scores - many.scores).max() <= 0.02 * largest.max()
    assert adaptive.residuals is not None
    assert (np.abs(adaptive.deltas) <= adaptive.residuals + 1e-4).all()
    assert many.residuals is None
    assert 9 <= adaptive.settings["points"] <= 200
    whole = saliency(lm, generation, method="ig", tolerance=0.02, max_steps=200, aggregate="l2")
    assert whole.residuals == pytest.approx(adaptive.residuals, rel=1e-3, abs=1e-4)


def test_what_is_not_settled_is_said() -> None:
    lm, generation = subject("causal:gpt2")
    with pytest.warns(UserWarning, match="after 9 steps the integral may miss up to"):
        few = saliency(lm, generation, method="ig", max_steps=9, tolerance=1e-6)
    assert "outputs the integral is not settled" in few.note
    enough = saliency(lm, generation, method="ig", max_steps=500)
    assert "settled" not in enough.note
    for options in ({"tolerance": 0}, {"tolerance": "small"}, {"max_steps": 0}, {"n_steps": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(options))}: got"):
            saliency(lm, generation, method="ig", **options)  # type: ignore[arg-type]


def test_methods_agree_on_a_model_that_is_linear_in_its_embeddings() -> None:
    """Against its own weights: norms are taken out, and what attention asks is a constant."""
    lm = bag_of_embeddings()
    layer = lm.model.model.layers[0]
    for norm in (lm.model.model.norm, layer.input_layernorm):
        norm.forward = lambda hidden: hidden
    for part in (layer.self_attn.q_proj, layer.self_attn.k_proj):
        part.forward = lambda hidden: torch.zeros_like(hidden.detach())
    generation = force_decode(lm, [20, 31, 45, 60, 72], [80, 90])
    options: dict[str, Any] = {"baseline": "zero", "keep_first": False}
    expected = bag_scores(lm, generation) / np.array([[5.0], [6.0]])
    own = lm.model.lm_head.weight[generation.output_ids.tolist()] @ (
        lm.model.model.embed_tokens.weight[[72, 80]].T
    )
    expected[[0, 1], [4, 5]] += np.diag(own.detach().numpy())  # the residual stream of the last
    for method in ("ig", "deep_lift"):
        scores = saliency(lm, generation, method=method, **options).scores
        np.testing.assert_allclose(scores, expected, atol=1e-5 * np.abs(expected).max())
    for method in ("attn_lrp", "input_x_gradient"):
        scores = saliency(lm, generation, method=method, aggregate="sum").scores
        np.testing.assert_allclose(scores, expected, atol=1e-5 * np.abs(expected).max())
