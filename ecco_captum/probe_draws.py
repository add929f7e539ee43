r"""Which words a probe learns from and is tested on, what it has to tell, and baselines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ecco_captum.control_tasks import Control, control_labels

Split = Literal["token", "sentence"]
Select = Literal["validation", "test"]

_VALIDATED = 0.1  # of the training words, where the learning rate is chosen


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
class Draw:
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


def drawn(
    words: LabelledWords,
    test_size: float,
    split: str,
    control: Control | None,
    seed: tuple[int, int],
) -> Draw:
    r"""Draws one trial.

    Args:
        words (LabelledWords): what is split.
        test_size (float): the part that is tested on.
        split (str): "token" or "sentence", what stays together.
        control (str, optional): the kind of control task, if any.
        seed (tuple of int): of the draws.

    Raises:
        ValueError: if a side would be empty, or what is asked for is not known of the words.
    """
    rng, count = np.random.default_rng(seed), len(words.labels)
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
    edge = tested + max(1, round(_VALIDATED * (count - tested)))
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
    return Draw(train, validation, test, order, np.array(targets))


def level(draws: list[Draw]) -> list[Draw]:
    """Trials of the same sizes, which train together; a few words more or less in some are left."""
    sizes = [min(len(getattr(d, part)) for d in draws) for part in ("train", "validation", "test")]
    train, validation, test = map(slice, sizes)
    return [
        replace(d, train=d.train[train], validation=d.validation[validation], test=d.test[test])
        for d in draws
    ]


def majority(words: LabelledWords, draw: Draw) -> float:
    """How often the most frequent label of the training words is right."""
    most = np.bincount(words.labels[draw.train]).argmax()
    return float((words.labels[draw.test] == most).mean())


def by_type(words: LabelledWords, draw: Draw) -> float:
    """How often the most frequent label of the word's type is; the majority's for unseen ones.

    NaN where words are not known.
    """
    if words.forms is None:
        return float("nan")
    most = int(np.bincount(words.labels[draw.train]).argmax())
    seen: dict[str, Counter[int]] = {}
    for k in draw.train:
        seen.setdefault(words.forms[k].casefold(), Counter())[int(words.labels[k])] += 1
    told = [
        seen[form].most_common(1)[0][0] if form in seen else most
        for form in (words.forms[k].casefold() for k in draw.test)
    ]
    return float((np.array(told) == words.labels[draw.test]).mean())
