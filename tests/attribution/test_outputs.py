"""Which outputs are explained: rows are those of the full run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from method_samples import subject

from ecco_captum import saliency

EVERY = ["causal:gpt2", "causal:bert", "seq2seq:t5"]
METHODS: dict[str, dict[str, Any]] = {
    "input_x_gradient": {},
    "integrated_gradients": {"n_steps": 20},
    "deep_lift": {},
    "deep_lift_shap": {},
    "attn_lrp": {},
    "feature_ablation": {},
    "occlusion": {"window": 3},
    "attention": {},
}
# Few steps miss more of the difference; what is compared here are rows.
FEW_STEPS = pytest.mark.filterwarnings("ignore:integrated_gradients. attributions miss:UserWarning")


def full(name: str, method: str = "input_x_gradient", **options: Any) -> np.ndarray:
    return saliency(*subject(name), method=method, **options).scores


@pytest.mark.parametrize(
    ("outputs", "rows"),
    [
        (None, [0, 1, 2, 3]),
        (slice(None), [0, 1, 2, 3]),
        (slice(1, 3), [1, 2]),
        (slice(-2, None), [2, 3]),
        (slice(None, None, 2), [0, 2]),
        (slice(None, None, -1), [0, 1, 2, 3]),
        (slice(2, 99), [2, 3]),
        (2, [2]),
        (0, [0]),
        (-1, [3]),
        (np.int64(1), [1]),
        ([3, 0], [0, 3]),
        ([1, 1, 1], [1]),
        ([-1, 3, -4], [0, 3]),
        ((2,), [2]),
        (range(1, 4), [1, 2, 3]),
        (np.array([1, 2]), [1, 2]),
        (torch.tensor([0, 2]), [0, 2]),
    ],
)
@pytest.mark.parametrize("name", EVERY)
def test_choices(name: str, outputs: Any, rows: list[int]) -> None:
    attribution = saliency(*subject(name), outputs=outputs)
    assert np.asarray(attribution.outputs).tolist() == rows
    assert attribution.scores.shape == (len(rows), len(attribution.generation.tokens))
    np.testing.assert_allclose(attribution.scores, full(name)[rows], rtol=1e-4, atol=1e-5)


@FEW_STEPS
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", EVERY)
def test_rows_of_two_outputs_are_those_of_the_full_run(name: str, method: str) -> None:
    if method == "attention" and name == "seq2seq:t5":
        pytest.skip("its attention is refused")
    whole = full(name, method, **METHODS[method])
    for rows in ([0, 1], [0, len(whole) - 1]):
        scores = full(name, method, outputs=rows, **METHODS[method])
        scale = np.abs(whole[rows]).max()
        np.testing.assert_allclose(scores, whole[rows], rtol=1e-3, atol=1e-4 * scale)


def test_what_goes_with_rows_goes_with_them() -> None:
    whole = saliency(*subject("causal:gpt2"), method="deep_lift")
    attribution = saliency(*subject("causal:gpt2"), method="deep_lift", outputs=[1, 3])
    assert whole.differences is not None
    assert attribution.differences is not None
    np.testing.assert_allclose(attribution.differences, whole.differences[[1, 3]], rtol=1e-4)
    assert attribution.known.tolist() == whole.known[[1, 3]].tolist()
    table = whole.to_pandas()
    chosen = table[table["output"].isin([1, 3])].reset_index(drop=True)
    assert attribution.to_pandas()["source_token"].tolist() == chosen["source_token"].tolist()
    assert attribution.to_pandas()["output_token"].tolist() == chosen["output_token"].tolist()


@pytest.mark.parametrize(
    "outputs",
    [4, -5, [4], [0, 99], [-5], "first", 1.0, True, object(), [None], [[0, 1]], {"a": 1}],
)
def test_errors(outputs: Any) -> None:
    with pytest.raises(ValueError, match=r"outputs: got .*, accepts a slice, a number or a list"):
        saliency(*subject("causal:gpt2"), outputs=outputs)


@pytest.mark.parametrize("outputs", [[1.5], "12", [True], ["2"]])
def test_what_is_no_whole_number_is_an_error(outputs: Any) -> None:
    with pytest.raises(ValueError, match="outputs: "):
        saliency(*subject("causal:gpt2"), outputs=outputs)


def test_a_mask_chooses_or_is_an_error() -> None:
    mask = np.array([True, False, False, True])
    try:
        attribution = saliency(*subject("causal:gpt2"), outputs=mask)
    except ValueError as error:
        assert str(error).startswith("outputs: ")  # noqa: PT017
    else:
        assert np.asarray(attribution.outputs).tolist() == [0, 3]


@pytest.mark.parametrize("outputs", [[], (), slice(4, 9), slice(2, 1), np.array([], dtype=int)])
def test_a_choice_of_none_is_an_error(outputs: Any) -> None:
    with pytest.raises(ValueError, match=r"outputs: .* chooses none, accepts some of 0 to 3"):
        saliency(*subject("causal:gpt2"), outputs=outputs)
