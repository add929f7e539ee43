r"""Linear probes, many at a time: trials × learning rates × tasks as one batched problem.

Probes of one trial read the same words in the same order, so that a batch is gathered once for all
of them. Their gradients are written out: of cross-entropy in a linear map there is nothing to
differentiate automatically.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BATCH = 64


@dataclass(frozen=True)
class Probes:
    r"""Trained probes.

    Args:
        weights (Tensor): (rates, trials, features, tasks, labels), float32.
        biases (Tensor): (rates, trials, tasks, labels), float32.
        losses (array): (rates, trials, tasks, epochs), the mean cross-entropy over the training
            words while they were trained on, in nats.
    """

    weights: Tensor
    biases: Tensor
    losses: np.ndarray

    def scores(self, x: Tensor, words: np.ndarray) -> Tensor:
        r"""Returns the logits of words.

        Args:
            x (Tensor): (words, features).
            words (array): (trials, n), which of them, trial by trial.

        Returns:
            Tensor: (rates, trials, n, tasks, labels).
        """
        rates, trials, features, tasks, labels = self.weights.shape
        read = x[torch.from_numpy(words)]
        flat = self.weights.reshape(rates, trials, features, tasks * labels)
        found = torch.matmul(read, flat).unflatten(-1, (tasks, labels))
        return found + self.biases[:, :, None]


def fit_probes(
    x: Tensor,
    targets: np.ndarray,
    train: np.ndarray,
    *,
    labels: int,
    learning_rates: Sequence[float],
    epochs: int,
    seeds: Sequence[int],
    batch: int = BATCH,
    tell: Callable[[], object] = lambda: None,
) -> Probes:
    r"""Trains linear probes by Adam on cross-entropy (Kingma & Ba 2015; Alammar 2021, section 5.2).

    Args:
        x (Tensor): (words, features), float32.
        targets (array): (trials, tasks, words), int64, the label of each word in each task.
        train (array): (trials, n), int64, the words that each trial learns from.
        labels (int): how many labels there are.
        learning_rates (sequence of float): each makes a probe of its own.
        epochs (int): how often the training words are seen.
        seeds (sequence of int): one a trial; of the first weights, and of the order of words. A
            trial's probes start from the same weights.
        batch (int, optional): words a step. Default: 64
        tell (Callable, optional): is called after each epoch.

    Returns:
        Probes: of every rate, trial and task.
    """
    trials, tasks, _ = targets.shape
    features, columns = x.shape[1], tasks * labels
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    weights, biases = _first(features, tasks, labels, len(learning_rates), generators)
    groups = [
        {"params": [w, b], "lr": rate}
        for w, b, rate in zip(weights, biases, learning_rates, strict=True)
    ]
    for w, b in zip(weights, biases, strict=True):
        w.grad, b.grad = torch.empty_like(w), torch.empty_like(b)
    optimizer = torch.optim.Adam(groups, fused=x.device.type in ("cpu", "cuda"))
    truth = torch.from_numpy(targets).movedim(1, 2)  # (trials, words, tasks)
    rows = torch.arange(trials)[:, None]
    learned = torch.from_numpy(train)
    losses = torch.zeros(epochs, len(learning_rates), trials, tasks)
    for epoch in range(epochs):
        order = torch.stack([torch.randperm(train.shape[1], generator=g) for g in generators])
        shuffled = learned.gather(1, order)
        for start in range(0, train.shape[1], batch):
            words = shuffled[:, start : start + batch]
            read, wanted = x[words], truth[rows, words]
            for rate, (w, b) in enumerate(zip(weights, biases, strict=True)):
                assert w.grad is not None
                assert b.grad is not None
                scores = torch.baddbmm(b, read, w).view(trials, -1, tasks, labels)
                logprobs = scores.log_softmax(-1)
                losses[epoch, rate] -= logprobs.gather(-1, wanted[..., None])[..., 0].sum(1)
                slope = logprobs.exp_()
                slope.scatter_add_(-1, wanted[..., None], _MINUS.expand(*wanted.shape, 1))
                slope = slope.div_(words.shape[1]).view(trials, -1, columns)
                torch.bmm(read.transpose(1, 2), slope, out=w.grad)
                torch.sum(slope, 1, keepdim=True, out=b.grad)
            optimizer.step()
        tell()
    return Probes(
        torch.stack(weights).unflatten(-1, (tasks, labels)),
        torch.stack(biases)[:, :, 0].unflatten(-1, (tasks, labels)),
        (losses / train.shape[1]).movedim(0, -1).numpy(),
    )


_MINUS = torch.tensor([-1.0])


def _first(
    features: int, tasks: int, labels: int, rates: int, generators: Sequence[torch.Generator]
) -> tuple[list[Tensor], list[Tensor]]:
    """First weights (trials, features, tasks · labels) and biases; rates and tasks start alike.

    As PyTorch's linear layers draw them: uniform, up to one over the root of the features.
    """
    edge = features**-0.5
    drawn = [torch.rand(features + 1, labels, generator=g) for g in generators]
    both = (torch.stack(drawn) * 2 - 1).mul_(edge).repeat(1, 1, tasks)
    return (
        [both[:, :-1].clone() for _ in range(rates)],
        [both[:, -1:].clone() for _ in range(rates)],
    )
