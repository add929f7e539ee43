r"""Linear probes: trials and control tasks, training many at once, and description lengths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ecco_captum.probing.record import VALIDATED

if TYPE_CHECKING:
    from ecco_captum.probing.probe import Control, ProbeOptions


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
        """(rates, trials, n, tasks, labels), the logits of words, (trials, n), of states ``x``."""
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
    advance: Callable[[], object] = lambda: None,
) -> Probes:
    """Trains linear probes by Adam on cross-entropy (Kingma & Ba 2015; Alammar 2021, section 5.2).

    Args:
        x (Tensor): (words, features), float32.
        targets (array): (trials, tasks, words), int64, the label of each word in each task.
        train (array): (trials, n), int64, the words that each trial learns from.
        labels (int): how many labels there are.
        learning_rates (sequence of float): each makes a probe of its own.
        epochs (int): how often the training words are seen.
        seeds (sequence of int): one a trial; of the first weights, and of the order of words. A
            trial's probes start from the same weights.
        batch (int): words a step.
        advance (Callable): is called after each epoch.
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
        advance()
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


def control_labels(
    words: Sequence[str], labels: np.ndarray, rng: np.random.Generator, kind: Control = "type"
) -> np.ndarray:
    """Draws a control task: random labels with the distribution that the labels have.

    ``kind`` is ``"type"``, one label for each word type, the same wherever it occurs in capitals or
    not (Hewitt & Liang 2019, section 2); or ``"token"``, one for each word anew, which only memory
    of the training data can predict.
    """
    if kind == "token":
        return rng.choice(labels, size=len(labels))
    _, types = np.unique(np.array([word.casefold() for word in words]), return_inverse=True)
    return np.asarray(rng.choice(labels, size=types.max() + 1)[types])


@dataclass(frozen=True)
class LabelledWords:
    r"""Words and their labels.

    Args:
        forms (list of str, optional): (words,), as they are written, where that is known.
        labels (array): (words,), int64, numbers of names.
        names (tuple of str): the labels' names, sorted.
        sentences (array, optional): (words,), the sentence of each, where that is known.
    """

    forms: list[str] | None
    labels: np.ndarray
    names: tuple[str, ...]
    sentences: np.ndarray | None

    @classmethod
    def of(
        cls, forms: list[str] | None, labels: Sequence[str], sentences: np.ndarray | None
    ) -> LabelledWords:
        names, numbers = np.unique(labels, return_inverse=True)
        return cls(forms, numbers.astype(np.int64), tuple(names.tolist()), sentences)


@dataclass(frozen=True)
class Trial:
    r"""One trial.

    Args:
        train (array): words to learn from.
        validation (array): words to choose the learning rate on.
        test (array): words to test on.
        order (array): (words,), all of them, those of a sentence together if it is split so.
        targets (array): (tasks, words), int64, the labels and those of the control task.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    order: np.ndarray
    targets: np.ndarray


def make_trial(words: LabelledWords, options: ProbeOptions, seed: tuple[int, int]) -> Trial:
    """Draws one trial; a side without words raises a ValueError."""
    rng, count = np.random.default_rng(seed), len(words.labels)
    test_size, split, control = options.test_size, options.split, options.control
    if split == "sentence" and words.sentences is None:
        raise ValueError("sentences: got none, accepts the sentence of each, which split needs")
    if control == "type" and words.forms is None:
        raise ValueError("words: got none, accepts the word of each, which control='type' needs")
    # Units that stay together: single words, or sentences.
    units = np.arange(count) if split == "token" or words.sentences is None else words.sentences
    units = np.unique(units, return_inverse=True)[1]
    places = rng.permutation(units.max() + 1)[units]
    order = np.argsort(places, kind="stable")
    tested = round(test_size * count)
    edge = tested + max(1, round(VALIDATED * (count - tested)))
    if tested < 1 or edge >= count:
        raise ValueError(
            f"test_size: {tested} of {count} words are left to test on and {count - edge} to learn "
            "from, accepts a split with some of each"
        )
    # Where a sentence lies across an edge it goes to the side before.
    edges = [
        np.searchsorted(places[order], places[order[at - 1]], "right") for at in (tested, edge)
    ]
    test, validation, train = np.split(order, edges)
    if not (len(validation) and len(train)):
        raise ValueError("split: there are too few sentences, accepts 'token', or more of them")
    targets = [words.labels]
    if control is not None:
        targets.append(control_labels(words.forms or [], words.labels, rng, control))
    return Trial(train, validation, test, order, np.array(targets))


def level(trials: list[Trial]) -> list[Trial]:
    """Trials of the same sizes, which train together; a few words more or less in some are left."""
    sizes = [min(len(getattr(d, part)) for d in trials) for part in ("train", "validation", "test")]
    train, validation, test = map(slice, sizes)
    return [
        replace(d, train=d.train[train], validation=d.validation[validation], test=d.test[test])
        for d in trials
    ]


def majority(words: LabelledWords, trial: Trial) -> float:
    """How often the most frequent label of the training words is right."""
    most = np.bincount(words.labels[trial.train]).argmax()
    return float((words.labels[trial.test] == most).mean())


def by_type(words: LabelledWords, trial: Trial) -> float:
    """How often the most frequent label of the word's type is; the majority's for unseen ones.

    NaN where words are not known.
    """
    if words.forms is None:
        return float("nan")
    most = int(np.bincount(words.labels[trial.train]).argmax())
    seen: dict[str, Counter[int]] = {}
    for k in trial.train:
        seen.setdefault(words.forms[k].casefold(), Counter())[int(words.labels[k])] += 1
    predicted = [
        seen[form].most_common(1)[0][0] if form in seen else most
        for form in (words.forms[k].casefold() for k in trial.test)
    ]
    return float((np.array(predicted) == words.labels[trial.test]).mean())


# Parts of the words after which probes are trained anew (Voita & Titov 2020, section 3.1).
_BLOCKS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Training:
    r"""How probes are trained.

    Args:
        labels (int): how many labels there are.
        options (ProbeOptions): epochs, learning rates, where they are chosen, whether labels are
            coded as well.
        seed (int): of first weights and of the order of words.
        first (int): the number of the first of the trials that are trained. Default: 0
    """

    labels: int
    options: ProbeOptions
    seed: int
    first: int = 0

    @property
    def rates(self) -> tuple[float, ...]:
        """Learning rates; each trains a probe."""
        return tuple(self.options.learning_rates)

    @property
    def rounds(self) -> int:
        """How often ``advance`` is called for the trials of a layer that are trained together."""
        return self.options.epochs * (len(_BLOCKS) if self.options.codelength else 1)


@dataclass(frozen=True)
class Evaluation:
    r"""What the probes of one layer reach.

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

    @classmethod
    def of_trials(cls, several: Sequence[Evaluation]) -> Evaluation:
        """Trials that were trained each by itself."""
        return cls(
            np.concatenate([each.accuracy for each in several]),
            np.concatenate([each.rates for each in several]),
            np.sum([each.confusion for each in several], axis=0),
            np.concatenate([each.codelength for each in several]),
        )


def train_and_evaluate(
    x: Tensor, trials: Sequence[Trial], training: Training, advance: Callable[[], object]
) -> Evaluation:
    """Trains probes of a layer together, and keeps the best rate's of each trial and task.

    ``x`` is (words, features), float32; trials have the same sizes.
    """
    targets = np.stack([trial.targets for trial in trials])
    probes = _fitted(x, targets, _words(trials, "train"), training, advance)

    def right(part: str) -> tuple[np.ndarray, np.ndarray]:
        """(rates, trials, n, tasks), the guesses; (rates, trials, tasks), how many are right."""
        chosen = _words(trials, part)
        guessed = probes.scores(x, chosen).argmax(-1).numpy()
        return guessed, (guessed == _truth(targets, chosen)).mean(axis=2)

    guessed, tested = right("test")
    best = (tested if training.options.select == "test" else right("validation")[1]).argmax(axis=0)
    numbers, tasks = np.indices(best.shape)
    confusion = np.zeros((training.labels,) * 2, dtype=np.int64)
    for number, trial in enumerate(trials):
        predicted = guessed[best[number, 0], number, :, 0]
        np.add.at(confusion, (trial.targets[0, trial.test], predicted), 1)
    codes = np.full(best.shape, np.nan)
    if training.options.codelength:
        codes = codelength(x, trials, training, advance)
    rates = np.array(training.rates)[best]
    return Evaluation(tested[best, numbers, tasks], rates, confusion, codes)


def codelength(
    x: Tensor, trials: Sequence[Trial], training: Training, advance: Callable[[], object]
) -> np.ndarray:
    """(trials, tasks), the bits that code all labels, block after block, by earlier blocks.

    The online code of Voita & Titov (2020, section 2.2.2): the first block's labels take log2 K
    bits each, those of a later one -log2 of what a probe gives them that was trained on all blocks
    before. Of the probes of all rates a block takes the one that gives the shortest code, and log2
    (rates) bits to say which.
    """
    targets = np.stack([trial.targets for trial in trials])
    order = _words(trials, "order")
    ends = np.unique([max(1, round(part * order.shape[1])) for part in _BLOCKS])
    bits = np.full(targets.shape[:2], ends[0] * np.log2(training.labels))
    for start, end in pairwise(ends.tolist()):
        probes = _fitted(x, targets, order[:, :start], training, advance)
        block = order[:, start:end]
        wanted = torch.from_numpy(_truth(targets, block)).expand(len(training.rates), -1, -1, -1)
        logprobs = probes.scores(x, block).log_softmax(-1).gather(-1, wanted[..., None])[..., 0]
        codes = -logprobs.double().sum(dim=2).numpy() / np.log(2)  # (rates, trials, tasks)
        bits = bits + codes.min(axis=0) + np.log2(len(training.rates))
    return bits


def _words(trials: Sequence[Trial], part: str) -> np.ndarray:
    """(trials, n), the words of one part."""
    return np.stack([getattr(trial, part) for trial in trials])


def _truth(targets: np.ndarray, words: np.ndarray) -> np.ndarray:
    """(trials, n, tasks), their labels."""
    return np.stack([own[:, at].T for own, at in zip(targets, words, strict=True)])


def _fitted(
    x: Tensor,
    targets: np.ndarray,
    words: np.ndarray,
    training: Training,
    advance: Callable[[], object],
) -> Probes:
    return fit_probes(
        x,
        targets,
        words,
        labels=training.labels,
        learning_rates=training.rates,
        epochs=training.options.epochs,
        seeds=[training.seed * 1000 + training.first + trial for trial in range(len(targets))],
        advance=advance,
    )
