"""From the attributions to an embedding to one number a token."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from method_samples import rows_of, subject
from naive_methods import naive_rows

from ecco_captum import saliency
from ecco_captum.attribution.methods.catalogue import METHODS
from ecco_captum.attribution.record import aggregate_phrase
from ecco_captum.attribution.saliency import aggregate_name, aggregated

WRITTEN_OUT = {
    "l2": lambda x: np.sqrt((x**2).sum(axis=-1)),
    "l1": lambda x: np.abs(x).sum(axis=-1),
    "sum": lambda x: x.sum(axis=-1),
    "max_abs": lambda x: np.abs(x).max(axis=-1),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("how", WRITTEN_OUT)
def test_equals_the_formula(how: Any, dtype: torch.dtype) -> None:
    given = torch.randn(3, 5, 64, generator=torch.Generator().manual_seed(0)).to(dtype)
    numbers = aggregated(given, how)
    assert numbers.dtype == torch.promote_types(dtype, torch.float32)
    expected = WRITTEN_OUT[how](given.double().numpy())
    np.testing.assert_allclose(numbers.double().numpy(), expected, rtol=1e-5, atol=1e-5)


def test_half_precision_is_added_up_in_single() -> None:
    given = torch.full((1, 1, 4096), 300.0, dtype=torch.float16)
    assert float(aggregated(given, "sum")) == 4096 * 300.0
    assert float(aggregated(given, "l2")) == 64 * 300.0


@pytest.mark.parametrize("how", WRITTEN_OUT)
@pytest.mark.parametrize("name", ["causal:gpt2", "seq2seq:t5", "classification:bert"])
def test_saliency_aggregates(name: str, how: Any) -> None:
    attribution = saliency(*subject(name), aggregate=how)
    assert attribution.aggregate == how
    expected = naive_rows(*subject(name), "input_x_gradient")
    for row, other in zip(rows_of(attribution), expected, strict=True):
        reference = WRITTEN_OUT[how](other.double().numpy())
        np.testing.assert_allclose(row, reference, rtol=1e-3, atol=1e-5 * np.abs(reference).max())


def half_norm(attributions: torch.Tensor) -> torch.Tensor:
    return attributions.abs().sqrt().sum(dim=-1)


def test_a_function_of_ones_own() -> None:
    attribution = saliency(*subject("causal:gpt2"), aggregate=half_norm)
    assert attribution.aggregate == "half_norm"
    assert "half_norm over the embedding" in attribution.subtitle
    expected = naive_rows(*subject("causal:gpt2"), "input_x_gradient")
    for row, other in zip(rows_of(attribution), expected, strict=True):
        np.testing.assert_allclose(row, half_norm(other).numpy(), rtol=1e-3)


@pytest.mark.parametrize(
    "wrong", [lambda x: x, lambda x: x.sum(), lambda x: x.sum(dim=1), lambda x: x[:, :1, 0]]
)
def test_a_function_of_another_shape_is_an_error(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"aggregate: .* the callable returned .*, accepts "):
        saliency(*subject("causal:gpt2"), aggregate=wrong)


@pytest.mark.parametrize("wrong", ["l3", "norm", 2, True])
def test_an_unknown_name_is_an_error(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"aggregate: got .*, accepts 'l2', 'sum', 'l1'"):
        saliency(*subject("causal:gpt2"), aggregate=wrong)


def test_defaults() -> None:
    for method in METHODS.values():
        if method.complete and method.aggregate is not None:
            assert method.aggregate == "sum", method.name
    assert saliency(*subject("causal:gpt2")).aggregate == "l2"
    assert saliency(*subject("causal:gpt2"), method="attn_lrp").aggregate == "sum"


@pytest.mark.parametrize("method", ["feature_ablation", "lime", "attention", "attention_rollout"])
def test_methods_for_whole_tokens_have_none(method: str) -> None:
    attribution = saliency(*subject("causal:gpt2"), method=method)
    assert attribution.aggregate == ""
    assert "over the embedding" not in attribution.subtitle
    with pytest.raises(ValueError, match="attributes to whole tokens, accepts None"):
        saliency(*subject("causal:gpt2"), method=method, aggregate="l2")


def test_names_and_phrases() -> None:
    assert aggregate_name("l1") == "l1"
    assert aggregate_name(half_norm) == "half_norm"
    assert aggregate_phrase("l2") == "L2 norm over the embedding"
    assert aggregate_phrase("") == ""
