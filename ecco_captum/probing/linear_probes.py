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
        products = torch.matmul(read, flat).unflatten(-1, (tasks, labels))
        return products + self.biases[:, :, None]


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
    (trials, tasks, _), features, rates = targets.shape, x.shape[1], len(learning_rates)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    # Rates, tasks and labels side by side, so that a trial's products are one. A rate only scales
    # the steps of Adam: of weights over their rate every step has rate 1, and one update does all.
    scale = torch.tensor(learning_rates).repeat_interleave(tasks * labels)
    weights, biases = _first(features, rates * tasks, labels, generators)
    weights, biases = weights.div_(scale[:, None]), biases.div_(scale)
    weights.grad, biases.grad = torch.empty_like(weights), torch.empty_like(biases)
    fused = x.device.type in ("cpu", "cuda")
    optimizer = torch.optim.Adam([weights, biases], lr=1.0, fused=fused)
    truth = torch.from_numpy(targets)
    trial, task = torch.arange(trials)[:, None, None], torch.arange(tasks)[:, None]
    learned = torch.from_numpy(train)
    losses = torch.zeros(epochs, trials, rates, tasks)
    for epoch in range(epochs):
        order = torch.stack([torch.randperm(train.shape[1], generator=g) for g in generators])
        for words in learned.gather(1, order).split(batch, dim=1):
            count = words.shape[1]
            read = x.index_select(0, words.flatten()).view(trials, count, features)
            wanted = truth[trial, task, words[:, None]][:, None, :, None].expand(
                -1, rates, -1, -1, -1
            )
            scores = torch.baddbmm(biases[..., None], weights, read.mT).mul_(scale[:, None])
            logprobs = scores.view(trials, rates, tasks, labels, count).log_softmax(-2)
            losses[epoch] -= logprobs.gather(-2, wanted).sum((-2, -1))
            slope = logprobs.exp_()
            slope.scatter_add_(-2, wanted, _MINUS.expand(wanted.shape))
            slope = slope.div_(count).flatten(1, 3)
            torch.bmm(slope, read, out=weights.grad)
            torch.sum(slope, 2, out=biases.grad)
            optimizer.step()
        tell()
    shape = (rates, tasks, labels)
    return Probes(
        weights.mul_(scale[:, None]).unflatten(1, shape).permute(1, 0, 4, 2, 3),
        biases.mul_(scale).unflatten(1, shape).transpose(0, 1),
        (losses / train.shape[1]).permute(2, 1, 3, 0).numpy(),
    )


_MINUS = torch.tensor([-1.0])


def _first(
    features: int, probes: int, labels: int, generators: Sequence[torch.Generator]
) -> tuple[Tensor, Tensor]:
    """First weights (trials, probes · labels, features) and biases; a trial's probes start alike.

    As PyTorch's linear layers draw them: uniform, up to one over the root of the features.
    """
    drawn = [torch.rand(features + 1, labels, generator=g) for g in generators]
    both = (torch.stack(drawn) * 2 - 1).mul_(features**-0.5).transpose(1, 2).repeat(1, probes, 1)
    return both[..., :-1].contiguous(), both[..., -1].contiguous()
