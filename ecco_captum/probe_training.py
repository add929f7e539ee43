r"""Trains the probes of a layer, keeps the best of each trial and task, and codes labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ecco_captum.linear_probes import Probes, fit_probes
from ecco_captum.probe_draws import Draw, Select

# Parts of the words after which probes are trained anew (Voita & Titov 2020, section 3.1).
_BLOCKS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Training:
    r"""How probes are trained.

    Args:
        labels (int): how many labels there are.
        rates (tuple of float): learning rates; each trains a probe.
        epochs (int): how often the training words are seen.
        select (str): "validation" or "test", the words that the rate is chosen on.
        seed (int): of first weights and of the order of words.
        codes (bool): whether the labels are coded as well.
    """

    labels: int
    rates: tuple[float, ...]
    epochs: int
    select: Select
    seed: int
    codes: bool = False

    @property
    def rounds(self) -> int:
        """How often ``tell`` is called for a layer."""
        return self.epochs * (len(_BLOCKS) if self.codes else 1)


@dataclass(frozen=True)
class Told:
    r"""What the probes of one layer tell.

    Args:
        accuracy (array): (trials, tasks), of the test words.
        rates (array): (trials, tasks), the learning rates that were chosen.
        confusion (array): (labels, labels), int64, of the first task in all trials.
        codelength (array): (trials, tasks), bits, or NaN where labels are not coded.
    """

    accuracy: np.ndarray
    rates: np.ndarray
    confusion: np.ndarray
    codelength: np.ndarray


def told(x: Tensor, draws: Sequence[Draw], training: Training, tell: Callable[[], object]) -> Told:
    r"""Trains all probes of a layer, and keeps the best rate's of each trial and task.

    Args:
        x (Tensor): (words, features), float32.
        draws (sequence of Draw): one a trial, of the same sizes.
        training (Training): how.
        tell (Callable): is called after each epoch.
    """
    targets = np.stack([draw.targets for draw in draws])
    found = _fitted(x, targets, _words(draws, "train"), training, tell)

    def right(part: str) -> tuple[np.ndarray, np.ndarray]:
        """(rates, trials, n, tasks), the guesses; (rates, trials, tasks), how many are right."""
        chosen = _words(draws, part)
        guessed = found.scores(x, chosen).argmax(-1).numpy()
        return guessed, (guessed == _truth(targets, chosen)).mean(axis=2)

    guessed, tested = right("test")
    best = (tested if training.select == "test" else right("validation")[1]).argmax(axis=0)
    trials, tasks = np.indices(best.shape)
    confusion = np.zeros((training.labels,) * 2, dtype=np.int64)
    for trial, draw in enumerate(draws):
        told_as = guessed[best[trial, 0], trial, :, 0]
        np.add.at(confusion, (draw.targets[0, draw.test], told_as), 1)
    codes = np.full(best.shape, np.nan)
    if training.codes:
        codes = codelength(x, draws, training, tell)
    return Told(tested[best, trials, tasks], np.array(training.rates)[best], confusion, codes)


def codelength(
    x: Tensor, draws: Sequence[Draw], training: Training, tell: Callable[[], object]
) -> np.ndarray:
    r"""Codes all labels, a block after the other, by probes of the blocks before it.

    The online code of Voita & Titov (2020, section 2.2.2): the first block's labels take log2 K
    bits each, those of a later one -log2 of what a probe gives them that was trained on all blocks
    before. Of the probes of all rates a block takes the one that gives the shortest code, and
    log2 (rates) bits to say which.

    Returns:
        array: (trials, tasks), bits.
    """
    targets = np.stack([draw.targets for draw in draws])
    order = _words(draws, "order")
    ends = np.unique([max(1, round(part * order.shape[1])) for part in _BLOCKS])
    bits = np.full(targets.shape[:2], ends[0] * np.log2(training.labels))
    for start, end in pairwise(ends.tolist()):
        found = _fitted(x, targets, order[:, :start], training, tell)
        block = order[:, start:end]
        wanted = torch.from_numpy(_truth(targets, block)).expand(len(training.rates), -1, -1, -1)
        logprobs = found.scores(x, block).log_softmax(-1).gather(-1, wanted[..., None])[..., 0]
        codes = -logprobs.double().sum(dim=2).numpy() / np.log(2)  # (rates, trials, tasks)
        bits = bits + codes.min(axis=0) + np.log2(len(training.rates))
    return bits


def _words(draws: Sequence[Draw], part: str) -> np.ndarray:
    """(trials, n), the words of one part."""
    return np.stack([getattr(draw, part) for draw in draws])


def _truth(targets: np.ndarray, words: np.ndarray) -> np.ndarray:
    """(trials, n, tasks), their labels."""
    return np.stack([own[:, at].T for own, at in zip(targets, words, strict=True)])


def _fitted(
    x: Tensor,
    targets: np.ndarray,
    words: np.ndarray,
    training: Training,
    tell: Callable[[], object],
) -> Probes:
    return fit_probes(
        x,
        targets,
        words,
        labels=training.labels,
        learning_rates=training.rates,
        epochs=training.epochs,
        seeds=[training.seed * 1000 + trial for trial in range(len(targets))],
        tell=tell,
    )
