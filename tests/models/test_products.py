"""Products through oneDNN are the same products, and go there where that is faster."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch

from ecco_captum.models import products
from ecco_captum.models.products import VARIABLE, fast_products

needs_onednn = pytest.mark.skipif(not products._available(), reason="no oneDNN on this machine")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has been measured yet, and nothing is fixed."""
    monkeypatch.setattr(products, "_GAINS", {})
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the products that went to oneDNN, to which all go that suit it."""
    shapes: list[tuple[int, ...]] = []
    original = products._onednn
    monkeypatch.setenv(VARIABLE, "onednn")

    def counting(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None) -> object:
        shapes.append((*left.shape, right.shape[1]))
        return original(left, right, bias)

    monkeypatch.setattr(products, "_onednn", counting)
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


class Clock:
    """A timer that says what it is told, and counts the trials."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, plain: float, onednn: float) -> None:
        self.seconds, self.trials = (plain, onednn), 0
        monkeypatch.setattr(products, "_seconds", self)

    def __call__(self, product: Callable[[], torch.Tensor]) -> float:
        product()
        self.trials += 1
        return self.seconds[(self.trials - 1) % 2]


@needs_onednn
@pytest.mark.parametrize(
    ("plain", "onednn", "gains"),
    [(3.0, 2.0, True), (2.0, 3.0, False), (1.02, 1.0, False), (1.04, 1.0, True)],
)
def test_the_clearly_faster_library_is_taken_and_measured_once(
    sent: list[object],
    monkeypatch: pytest.MonkeyPatch,
    plain: float,
    onednn: float,
    gains: bool,
) -> None:
    monkeypatch.setenv(VARIABLE, "auto")
    clock = Clock(monkeypatch, plain, onednn)
    left, right = torch.randn(64, 160), torch.randn(160, 192)
    expected = left @ right
    with fast_products():
        first = left @ right
        measured, tried = clock.trials, len(sent)
        again = left @ right
    assert measured == 2 * products._FEWEST_TRIALS == clock.trials
    assert len(sent) - tried == gains
    assert torch.equal(first, again)
    np.testing.assert_allclose(first, expected, rtol=0, atol=1e-5 * expected.abs().max())
    with fast_products():
        torch.randn(100, 160) @ right  # as many rows, to a factor of two
        assert clock.trials == measured
        torch.randn(300, 160) @ right
        assert clock.trials == 2 * measured
        left @ torch.randn(192, 160).t()
        assert clock.trials == 3 * measured
        torch.addmm(torch.randn(192), left, right)
        assert clock.trials == 4 * measured


@needs_onednn
def test_trials_of_many_rows_take_a_few_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []

    def noted(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None) -> float:
        rows.append(len(left))
        return 1.0

    monkeypatch.setattr(products, "_measured_gain", noted)
    right = torch.ones(1024, 1024)
    with fast_products():
        for count in (40, 128, 1000, 3000):
            torch.ones(count, 1024) @ right
        torch.ones(100, 4096) @ torch.ones(4096, 4096)
    assert rows == [40, 128, 32]


@needs_onednn
def test_the_real_timer_agrees_with_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """One library is made slow; the other is taken, by real time."""
    original = products._onednn

    def slow(*operands: torch.Tensor) -> torch.Tensor:
        for _ in range(50):
            result = original(*operands)
        return result

    monkeypatch.setattr(products, "_onednn", slow)
    with fast_products():
        torch.ones(64, 160) @ torch.ones(160, 192)
    assert list(products._GAINS.values()) == [False]


@needs_onednn
def test_threads_that_meet_a_kind_together_measure_it_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    together, calls = threading.Barrier(4), []
    measured = products._measured_gain

    def counting(*operands: torch.Tensor) -> float:
        calls.append(operands)
        return measured(*operands)

    monkeypatch.setattr(products, "_measured_gain", counting)

    def work() -> None:
        left, right = torch.ones(64, 160), torch.ones(160, 192)
        together.wait(timeout=60)
        with fast_products():
            for _ in range(20):
                left @ right

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


@needs_onednn
def test_deterministic_algorithms_leave_products_as_they_are(
    sent: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "auto")
    clock = Clock(monkeypatch, 2.0, 1.0)
    left, right = torch.randn(64, 160), torch.randn(160, 192)
    expected = left @ right
    torch.use_deterministic_algorithms(True)
    try:
        with fast_products():
            assert torch.equal(left @ right, expected)
        assert (clock.trials, sent) == (0, [])
        monkeypatch.setenv(VARIABLE, "onednn")
        with fast_products():
            left @ right
        assert (clock.trials, sent) == (0, [(64, 160, 192)])
    finally:
        torch.use_deterministic_algorithms(False)


@needs_onednn
def test_the_variable_fixes_the_choice(sent: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, 2.0, 1.0)
    left, right = torch.randn(64, 160), torch.randn(160, 192)
    with fast_products():
        onednn = left @ right
    assert sent == [(64, 160, 192)]
    monkeypatch.setenv(VARIABLE, "plain")
    with fast_products():
        plain = left @ right
    assert (clock.trials, len(sent)) == (0, 1)
    np.testing.assert_allclose(onednn, plain, rtol=0, atol=1e-5 * plain.abs().max())


def test_another_value_of_the_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "mkl")
    message = f"{VARIABLE}: got 'mkl', accepts 'auto', 'onednn', 'plain'"
    with pytest.raises(ValueError, match=message):
        fast_products()
