"""Probes trained together are those trained alone by PyTorch's own parts; control labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ecco_captum.probing.training import BATCH, Probes, control_labels, fit_probes

WORDS, FEATURES, LABELS, TRIALS, TASKS = 230, 12, 5, 3, 2
RATES = (0.1, 1e-3)


def problem(seed: int = 0) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Features that tell the labels of the first task but not of the second."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(LABELS, size=WORDS)
    x = rng.standard_normal((LABELS, FEATURES))[truth] + rng.standard_normal((WORDS, FEATURES))
    targets = np.stack([[truth, rng.integers(LABELS, size=WORDS)] for _ in range(TRIALS)])
    train = np.stack([rng.permutation(WORDS)[:150] for _ in range(TRIALS)])
    return torch.from_numpy(x.astype(np.float32)), targets, train


def fitted(epochs: int = 4) -> Probes:
    x, targets, train = problem()
    options = {"labels": LABELS, "learning_rates": RATES, "epochs": epochs, "seeds": (4, 5, 6)}
    return fit_probes(x, targets, train, **options)


def alone(trial: int, task: int, rate: float, epochs: int) -> tuple[torch.nn.Linear, list[float]]:
    """The plain loop: one probe, PyTorch's layer, loss and optimizer, the same draws."""
    x, targets, train = problem()
    generator = torch.Generator().manual_seed(4 + trial)
    first = (torch.rand(FEATURES + 1, LABELS, generator=generator) * 2 - 1) * FEATURES**-0.5
    probe = torch.nn.Linear(FEATURES, LABELS)
    with torch.no_grad():
        probe.weight.copy_(first[:-1].T)
        probe.bias.copy_(first[-1])
    optimizer = torch.optim.Adam(probe.parameters(), lr=rate, foreach=False, fused=False)
    truth, learned = torch.from_numpy(targets[trial, task]), torch.from_numpy(train[trial])
    losses = []
    for _ in range(epochs):
        words, total = learned[torch.randperm(150, generator=generator)], 0.0
        for chosen in words.split(BATCH):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(probe(x[chosen]), truth[chosen])
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(chosen)
        losses.append(total / 150)
    return probe, losses


def test_together_they_are_what_they_are_alone() -> None:
    together = fitted()
    assert together.losses.shape == (2, TRIALS, TASKS, 4)
    for r, trial, task in np.ndindex(2, TRIALS, TASKS):
        probe, losses = alone(trial, task, RATES[r], 4)
        np.testing.assert_allclose(together.losses[r, trial, task], losses, rtol=2e-5)
        weights = together.weights[r, trial, :, task].T
        torch.testing.assert_close(weights, probe.weight.detach(), atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(
            together.biases[r, trial, task], probe.bias.detach(), atol=2e-5, rtol=1e-4
        )


def test_scores_are_those_of_the_chosen_words() -> None:
    found, (x, _, train) = fitted(), problem()
    words = train[:, :7]
    scores = found.scores(x, words)
    assert scores.shape == (2, TRIALS, 7, TASKS, LABELS)
    for r, trial, task in np.ndindex(2, TRIALS, TASKS):
        expected = x[words[trial]] @ found.weights[r, trial, :, task]
        torch.testing.assert_close(
            scores[r, trial, :, task], expected + found.biases[r, trial, task]
        )


def test_what_can_be_told_is_learned_and_what_cannot_is_not() -> None:
    x, targets, train = problem()
    found = fitted(epochs=60)
    left = np.stack([np.setdiff1d(np.arange(WORDS), own) for own in train])
    guessed = found.scores(x, left).argmax(-1).numpy()[0]
    right = [
        (guessed[k, :, task] == targets[k, task, left[k]]).mean()
        for k in range(TRIALS)
        for task in range(TASKS)
    ]
    assert min(right[::2]) > 0.75
    assert max(right[1::2]) < 0.4


def test_every_epoch_advances_and_seeds_decide() -> None:
    x, targets, train = problem()
    told: list[None] = []
    options = {"labels": LABELS, "learning_rates": RATES, "epochs": 3}
    one, same, other = (
        fit_probes(x, targets, train, seeds=seeds, advance=lambda: told.append(None), **options)
        for seeds in ((1, 2, 3), (1, 2, 3), (1, 2, 4))
    )
    assert len(told) == 9
    assert torch.equal(one.weights, same.weights)
    assert torch.equal(one.weights[:, :2], other.weights[:, :2])
    assert not torch.equal(one.weights[:, 2], other.weights[:, 2])


WORDS_IN_TEXT = ("The", "dog", "the", "dog", "saw", "THE", "cat") * 50


def test_a_type_has_one_control_label_and_tokens_have_their_own() -> None:
    labels = np.arange(350) % 4
    found = control_labels(WORDS_IN_TEXT, labels, np.random.default_rng(0))
    plain = np.array([word.lower() for word in WORDS_IN_TEXT])
    assert all(len(set(found[plain == word])) == 1 for word in ("the", "dog", "saw", "cat"))
    again = control_labels(WORDS_IN_TEXT, labels, np.random.default_rng(0))
    np.testing.assert_array_equal(found, again)
    others = [control_labels(WORDS_IN_TEXT, labels, np.random.default_rng(k)) for k in range(9)]
    assert any((other != found).any() for other in others)
    single = control_labels(WORDS_IN_TEXT, labels, np.random.default_rng(0), "token")
    assert len(set(single[np.array(WORDS_IN_TEXT) == "dog"])) == 4


@pytest.mark.parametrize("kind", ["type", "token"])
def test_control_labels_have_the_distribution_of_the_labels(kind: str) -> None:
    rng = np.random.default_rng(3)
    labels = rng.choice(4, p=(0.6, 0.3, 0.1, 0), size=4000)
    words = [f"w{k}" for k in range(4000)]
    found = control_labels(words, labels, rng, kind)  # type: ignore[arg-type]
    shares = np.bincount(found, minlength=4) / 4000
    np.testing.assert_allclose(shares, (0.6, 0.3, 0.1, 0), atol=0.035)
    assert shares[3] == 0
