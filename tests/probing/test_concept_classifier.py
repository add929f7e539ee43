"""Linear probes inside Captum's TCAV: its scores are those of directions known beforehand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import LayerIntegratedGradients
from captum.concept import TCAV, Concept
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from ecco_captum import ProbeClassifier

FEATURES = 6


class Net(torch.nn.Module):
    """A hidden layer that is its input, and two classes: the first feature's sign."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = torch.nn.Linear(FEATURES, FEATURES, bias=False)
        self.hidden.weight.data = torch.eye(FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        first = self.hidden(x)[:, 0]
        return torch.stack([first, -first], dim=1)


class Examples(IterableDataset[Tensor]):
    def __init__(self, feature: int | None, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.rows = torch.randn(60, FEATURES, generator=generator)
        if feature is not None:
            self.rows[:, feature] += 3

    def __iter__(self) -> Iterator[Tensor]:
        yield from self.rows


def concept(number: int, name: str, feature: int | None) -> Concept:
    return Concept(number, name, DataLoader(Examples(feature, number), batch_size=1))


def test_tcav_finds_the_feature_that_decides(tmp_path: Path) -> None:
    decides, other, chance = (
        concept(0, "first", 0),
        concept(1, "second", 1),
        concept(2, "random", None),
    )
    net = Net()
    tcav = TCAV(
        net,
        ["hidden"],
        layer_attr_method=LayerIntegratedGradients(net, None, multiply_by_inputs=False),
        classifier=ProbeClassifier(epochs=20, learning_rates=(0.1, 1e-2)),
        save_path=str(tmp_path),
    )
    sets = [[decides, chance], [other, chance]]
    scores = tcav.interpret(torch.randn(40, FEATURES), sets, target=0, n_steps=5)
    share = scores["0-2"]["hidden"]["sign_count"]
    assert share[0] == 1, "every input's class 0 grows along the concept"
    assert share[1] == 0
    sizes = [abs(scores[key]["hidden"]["magnitude"][0]) for key in ("0-2", "1-2")]
    assert sizes[0] > 3 * sizes[1]
    for cav in (tcav.cavs["0-2"]["hidden"], tcav.cavs["1-2"]["hidden"]):
        assert cav.stats is not None
        assert cav.stats["accs"] > 0.85
        assert cav.stats["chance"] <= 0.7


def loader(rows: int = 90, concepts: int = 3) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(rows) % concepts
    x = torch.randn(rows, 2, 3, generator=generator)
    x[torch.arange(rows), 0, labels] += 4
    return DataLoader(TensorDataset(x, 10 * labels), batch_size=16)


def test_weights_point_to_their_concepts_and_sum_to_nothing() -> None:
    classifier = ProbeClassifier(learning_rates=(0.1,))
    stats = classifier.train_and_eval(loader())
    assert stats["accs"] > 0.9
    assert classifier.classes() == [0, 10, 20]
    weights = classifier.weights()
    assert weights.shape == (3, 6)
    assert weights[:, :3].argmax(dim=1).tolist() == [0, 1, 2]
    np.testing.assert_allclose(weights.sum(dim=0), 0, atol=1e-5)
    same = ProbeClassifier(learning_rates=(0.1,))
    same.train_and_eval(loader())
    assert torch.equal(same.weights(), weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs: got 0"),
        ({"seed": -1}, "seed: got -1"),
        ({"learning_rates": ()}, r"learning_rates: got \(\)"),
        ({"learning_rates": (0,)}, r"learning_rates: got \(0,\)"),
    ],
)
def test_wrong_options(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProbeClassifier(**change)


def test_wrong_data() -> None:
    classifier = ProbeClassifier()
    with pytest.raises(RuntimeError, match="there are no weights yet"):
        classifier.weights()
    with pytest.raises(RuntimeError, match="there are no weights yet"):
        classifier.classes()
    with pytest.raises(ValueError, match="got 3 examples of 1 concepts"):
        classifier.train_and_eval(loader(3, 1))
    with pytest.raises(ValueError, match="test_split_ratio: got 1"):
        classifier.train_and_eval(loader(), test_split_ratio=1)
    with pytest.raises(TypeError, match="got shuffle, accepts test_split_ratio"):
        classifier.train_and_eval(loader(), shuffle=True)
