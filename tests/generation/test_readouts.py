"""What is read off logits, against the same in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, rel_entr

from ecco_captum.lens.unembedding import Final, read_out


@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 4), st.integers(2, 60))
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("at_once", [1, 100, 10**6])
def test_every_number(at_once: int, seed: int, places: int, layers: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    final = rng.normal(scale=4, size=(places, size))
    logits = np.concatenate([final, rng.normal(scale=9, size=((layers - 1) * places, size))])
    targets = rng.integers(size, size=len(logits))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ecco_captum.lens.unembedding._AT_ONCE", at_once)
        read = read_out(
            torch.tensor(logits, dtype=torch.float32),
            torch.tensor(targets),
            Final.of(torch.tensor(final, dtype=torch.float32)),
        )
    rows = np.arange(len(logits))
    own = logits[rows, targets]
    probs = np.exp(log_softmax(logits, axis=1))
    last = np.tile(np.exp(log_softmax(final, axis=1)), (layers, 1))
    np.testing.assert_array_equal(read.ranks, 1 + (logits > own[:, None]).sum(axis=1))
    np.testing.assert_array_equal(read.top_ids, logits.argmax(axis=1))
    np.testing.assert_allclose(read.logits, own, rtol=1e-6)
    np.testing.assert_allclose(read.probs, probs[rows, targets], rtol=1e-4, atol=1e-30)
    np.testing.assert_allclose(read.top_probs, probs.max(axis=1), rtol=1e-5)
    norms = np.linalg.norm(probs, axis=1) * np.linalg.norm(last, axis=1)
    np.testing.assert_allclose(read.cosine, (probs * last).sum(axis=1) / norms, atol=1e-5)
    divergence = rel_entr(last, probs).sum(axis=1)
    np.testing.assert_allclose(read.divergence, divergence, rtol=1e-4, atol=2e-5)


def test_tokens_that_are_ruled_out_add_nothing() -> None:
    infinite = float("inf")
    final = torch.tensor([[1.0, -infinite, 2.0]])
    logits = torch.tensor([[1.0, -infinite, 2.0], [0.0, -infinite, 0.0]])
    ranks = read_out(logits, torch.tensor([2, 0]), Final.of(final))
    half = torch.tensor([0.5, 0.5]).double()
    last = torch.tensor([1.0, 2.0]).double().softmax(0)
    expected = [0, float((last * (last / half).log()).sum())]
    np.testing.assert_allclose(ranks.divergence, expected, atol=1e-6)
    # A likely token that the layer alone rules out makes the divergence infinite.
    other = read_out(torch.tensor([[1.0, 0.0, -infinite]]), torch.tensor([0]), Final.of(final))
    assert float(other.divergence[0]) == infinite
