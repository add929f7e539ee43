"""Products through oneDNN are the same products."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ecco_captum.models import modes as products
from ecco_captum.models.modes import fast_products

needs_onednn = pytest.mark.skipif(not products._available(), reason="no oneDNN on this machine")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the products that went to oneDNN."""
    shapes: list[tuple[int, ...]] = []
    original = products._product

    def counting(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None) -> object:
        shapes.append((*left.shape, right.shape[1]))
        return original(left, right, bias)

    monkeypatch.setattr(products, "_product", counting)
    return shapes


@needs_onednn
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_a_product_equals_float64(sent: list[object], transposed: bool, bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(64, 160, generator=generator)
    right = torch.randn(160, 192, generator=generator)
    right = right.t().contiguous().t() if transposed else right
    addend = torch.randn(192, generator=generator)
    with fast_products():
        result = torch.addmm(addend, left, right) if bias else left @ right
    exact = left.double() @ right.double() + (addend.double() if bias else 0)
    np.testing.assert_allclose(result, exact, rtol=0, atol=1e-6 * exact.abs().max())
    assert sent == [(64, 160, 192)]


@needs_onednn
def test_backward_and_batched_backward_go_there_too(sent: list[object]) -> None:
    linear = torch.nn.Linear(160, 192).requires_grad_(False)
    inputs = torch.randn(64, 160, requires_grad=True)
    with fast_products():
        outputs = linear(inputs).tanh()
        each = torch.randn(3, *outputs.shape)
        sent.clear()
        (batched,) = torch.autograd.grad(
            outputs, inputs, each, is_grads_batched=True, retain_graph=True
        )
        assert sent == [(3 * 64, 192, 160)]
    for gradient, direction in zip(batched, each, strict=True):
        (plain,) = torch.autograd.grad(outputs, inputs, direction, retain_graph=True)
        np.testing.assert_allclose(gradient, plain, rtol=1e-4, atol=1e-5)


@needs_onednn
@pytest.mark.parametrize(
    ("left", "right"),
    [
        (torch.ones(3, 4), torch.ones(4, 5)),
        (torch.ones(1, 2048), torch.ones(2048, 2048)),
        (torch.ones(64, 160, dtype=torch.float64), torch.ones(160, 192, dtype=torch.float64)),
        (torch.ones(64, 160, dtype=torch.bfloat16), torch.ones(160, 192, dtype=torch.bfloat16)),
    ],
)
def test_other_products_stay_where_they_are(
    sent: list[object], left: torch.Tensor, right: torch.Tensor
) -> None:
    with fast_products():
        result = left @ right
    assert (result == left.shape[1]).all()
    assert sent == []


def test_without_onednn_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products.platform, "machine", lambda: "riscv64")
    with fast_products():
        assert (torch.ones(200, 200) @ torch.ones(200, 200) == 200).all()


@needs_onednn
def test_weights_in_odd_layouts_stay_where_they_are(sent: list[object]) -> None:
    left, right = torch.ones(64, 160), torch.ones(160, 400)[:, ::2]
    with fast_products():
        assert (left @ right == 160).all()
    assert sent == []
