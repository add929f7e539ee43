"""Factors against scikit-learn itself, errors written out, and factors that were planted."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from activation_samples import activations, planted, random, rebuilt
from hypothesis import given, settings
from hypothesis import strategies as st
from method_samples import subject
from sklearn.decomposition import NMF

from ecco_captum import neurons
from ecco_captum.factors.nmf import nmf


def test_it_is_scikit_learns_factorisation() -> None:
    given_values = random(0)
    factors = nmf(given_values, 4, seed=3, max_iter=1000)
    model = NMF(4, init="nndsvdar", random_state=3, max_iter=1000)
    matrix = np.concatenate(list(given_values.values), axis=1)
    weights = model.fit_transform(matrix)
    expected = (weights @ model.components_).reshape(30, 2, 12).transpose(1, 0, 2)
    np.testing.assert_allclose(rebuilt(factors), expected, atol=1e-4)
    assert factors.error == pytest.approx(
        model.reconstruction_err_ / np.linalg.norm(matrix), rel=1e-4
    )
    np.testing.assert_allclose(np.linalg.norm(factors.components, axis=(1, 2)), 1, rtol=1e-5)
    energies = np.square(factors.weights).sum(axis=1)
    assert (np.diff(energies) <= 0).all()


@given(st.integers(0, 10**6), st.sampled_from(["clip", "split", "abs"]))
@settings(max_examples=15, deadline=None)
def test_errors_and_contributions_written_out(seed: int, negatives: Any) -> None:
    given_values = random(seed, signed=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ecco_captum.factors.nmf._LARGE_LOSS", 1.0)
        fitted = nmf(given_values, 3, negatives=negatives, max_iter=5000)
    values = given_values.values.astype(np.float64)
    above, below = np.maximum(values, 0), np.maximum(-values, 0)
    targets = {"clip": [above], "split": [above, below], "abs": [above + below]}[negatives]
    parts = [fitted.components, fitted.negative_components][: len(targets)]

    def missed(kept: list[int]) -> float:
        """The squared error of some of the factors."""
        return sum(
            np.square(target - np.einsum("kt,klf->ltf", fitted.weights[kept], part[kept])).sum()
            for target, part in zip(targets, parts, strict=True)
        )

    total = sum(np.square(target).sum() for target in targets)
    assert fitted.error == pytest.approx(np.sqrt(missed([0, 1, 2]) / total), rel=1e-3)
    for k in range(3):
        grown = missed([j for j in range(3) if j != k]) - missed([0, 1, 2])
        assert fitted.explained()[k] == pytest.approx(grown / total, rel=1e-3, abs=1e-5)
    lost = np.square(below).sum() / np.square(values).sum()
    assert fitted.clipped == pytest.approx(lost if negatives == "clip" else 0, rel=1e-4)


def test_planted_factors_are_found_again_from_any_start() -> None:
    given_values, weights, parts = planted()
    factors = nmf(given_values, 3)
    assert factors.error < 1e-3
    assert factors.explained().sum() == pytest.approx(1, abs=1e-3)
    for k in range(3):
        blocks = {(block, neuron) for block, neuron, _ in factors.top_neurons(k, 6)}
        (group,) = {neuron // 3 for _, neuron in blocks}
        assert blocks == {(b, n) for b in (0, 1) for n in range(3 * group, 3 * group + 3)}
        np.testing.assert_allclose(
            factors.weights[k], weights[group] * np.linalg.norm(parts[group]), atol=1e-2
        )
        position, text, strongest = factors.top_tokens(k, 1)[0]
        assert position == weights[group].argmax()
        assert text == f" t{position}"
        assert strongest == factors.weights[k].max()
    assert (factors.stability(3) > 0.999).all()
    noise = np.random.default_rng(0).uniform(size=(1, 40, 30))
    assert nmf(activations(noise), 12, max_iter=3000).stability(3).min() < 0.9


def test_other_texts_are_read_with_the_same_factors() -> None:
    given_values, _, parts = planted()
    factors = nmf(given_values, 3)
    np.testing.assert_allclose(factors.transform(given_values), factors.weights, atol=2e-2)
    rng = np.random.default_rng(9)
    wanted = rng.uniform(0, 2, (3, 7))
    other = activations(np.einsum("kt,klf->ltf", wanted, parts))
    again = np.einsum("kt,klf->ltf", factors.transform(other), factors.components)
    np.testing.assert_allclose(again, other.values, atol=5e-2)


def test_partners_are_found_whatever_the_order() -> None:
    factors = nmf(random(1), 4, max_iter=1000)
    order = [2, 0, 3, 1]
    shuffled = dataclasses.replace(
        factors, weights=factors.weights[order], components=factors.components[order]
    )
    partners, cosines = factors.match(shuffled)
    assert partners.tolist() == np.argsort(order).tolist()
    np.testing.assert_allclose(cosines, 1, rtol=1e-5)
    names = ("weights", "components", "contributions")
    fewer = dataclasses.replace(factors, **{name: getattr(factors, name)[:2] for name in names})
    partners, cosines = factors.match(fewer)
    assert sorted(partners.tolist()) == [-1, -1, 0, 1]
    assert np.isnan(cosines[partners < 0]).all()


def test_gated_layers_lose_much_and_say_so() -> None:
    lm, text = subject("causal:llama")
    acts = neurons(lm, text)
    with pytest.warns(
        UserWarning, match=r"negatives: \d\d% of the activations' energy is negative"
    ):
        clipped = nmf(acts, 2, max_iter=5000)
    below = np.minimum(acts.values, 0)
    lost = np.square(below).sum() / np.square(acts.values).sum()
    assert clipped.clipped == pytest.approx(lost, rel=1e-4)
    split = nmf(acts, 2, negatives="split", max_iter=5000)
    assert split.clipped == 0
    assert split.negative_components is not None
    some = nmf(acts, 2, layers=[0, 2], negatives="split", max_iter=5000)
    assert some.activations.layers.tolist() == [0, 2]
    assert {block for block, _, _ in some.top_neurons(0, 40)} <= {0, 2}
    assert len(some.to_pandas()) == some.weights.size


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_components": 0}, ValueError, "n_components: got 0, accepts a whole number from 1"),
        (
            {"n_components": 31},
            ValueError,
            "n_components: got 31, accepts up to 24: there are 30 to",
        ),
        ({"layers": 5}, ValueError, "layers: got 5"),
        (
            {"negatives": "drop"},
            ValueError,
            "negatives: got 'drop', accepts 'clip', 'split', 'abs'",
        ),
        ({"seed": -1}, ValueError, "seed: got -1"),
        ({"max_iter": 0}, ValueError, "max_iter: got 0"),
        ({"activations": np.ones((1, 3, 4))}, TypeError, "activations: got a ndarray"),
        ({"activations": activations(np.zeros((1, 9, 4)))}, ValueError, "they are all zero"),
        ({"activations": activations(np.full((1, 9, 4), np.nan))}, ValueError, "they hold NaN"),
    ],
)
def test_errors(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        nmf(**{"activations": random(0), "n_components": 3, **options})


def test_other_errors() -> None:
    factors = nmf(random(0), 3, max_iter=1000)
    for wrong in (3, -1, True, None):
        with pytest.raises(ValueError, match=r"component: got .*, accepts 0 to 2"):
            factors.top_tokens(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="k: got 0"):
        factors.top_neurons(0, 0)
    with pytest.raises(ValueError, match=r"activations: they are of layers \[5, 6\]"):
        factors.transform(activations(random(0).values, first=5))
    with pytest.raises(TypeError, match="activations: got a int"):
        factors.transform(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"other: it is of \(1, 12\) \(layers, neurons\)"):
        factors.match(nmf(random(0), 3, layers=0, max_iter=1000))
    with pytest.raises(TypeError, match="other: got a str"):
        factors.match("x")  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="max_iter: the fit did not converge in 1 rounds"):
        nmf(random(0), 3, max_iter=1)
