r"""Which words a probe learns from and is tested on, what it has to tell, and baselines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ecco_captum.control_tasks import Control, control_labels
from ecco_captum.treebank import TaggedCorpus
from ecco_captum.word_states import WordPlaces

Split = Literal["token", "sentence"]

_VALIDATED = 0.1  # of the training words, where the learning rate is chosen


@dataclass(frozen=True)
class LabelledWords:
    """Words, their labels as numbers, the names of these, and the sentence of each word."""

    forms: list[str]
    labels: np.ndarray
    names: tuple[str, ...]
    sentences: np.ndarray

    @classmethod
    def of(
        cls, corpus: TaggedCorpus, places: WordPlaces, columns: Sequence[Sequence[str]]
    ) -> LabelledWords:
        both = list(zip(places.sentences, places.kept, strict=True))
        forms = [corpus.sentences[k].words[word] for k, kept in both for word in kept]
        labels = [columns[k][word] for k, kept in both for word in kept]
        names, numbers = np.unique(labels, return_inverse=True)
        sentences = np.repeat(places.sentences, [len(kept) for kept in places.kept])
        return cls(forms, numbers.astype(np.int64), tuple(names.tolist()), sentences)


@dataclass(frozen=True)
class Draw:
    """One trial: words to learn from, to choose the learning rate on, to test on; and the tasks."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    targets: np.ndarray  # (tasks, words)


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
        ValueError: if a side would be empty.
    """
    rng, count = np.random.default_rng(seed), len(words.labels)
    # Units that stay together: single words, or sentences.
    units = np.arange(count) if split == "token" else words.sentences
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
        targets.append(control_labels(words.forms, words.labels, rng, control))
    return Draw(train, validation, test, np.array(targets))


def level(draws: list[Draw]) -> list[Draw]:
    """Trials of the same sizes, which train together; a few words more or less in some are left."""
    sizes = [min(len(getattr(d, part)) for d in draws) for part in ("train", "validation", "test")]
    return [
        Draw(d.train[: sizes[0]], d.validation[: sizes[1]], d.test[: sizes[2]], d.targets)
        for d in draws
    ]


def majority(words: LabelledWords, draw: Draw) -> float:
    """How often the most frequent label of the training words is right."""
    most = np.bincount(words.labels[draw.train]).argmax()
    return float((words.labels[draw.test] == most).mean())


def by_type(words: LabelledWords, draw: Draw) -> float:
    """How often the most frequent label of the word's type is; the majority's for unseen ones."""
    most = int(np.bincount(words.labels[draw.train]).argmax())
    seen: dict[str, Counter[int]] = {}
    for k in draw.train:
        seen.setdefault(words.forms[k].casefold(), Counter())[int(words.labels[k])] += 1
    told = [
        seen[form].most_common(1)[0][0] if form in seen else most
        for form in (words.forms[k].casefold() for k in draw.test)
    ]
    return float((np.array(told) == words.labels[draw.test]).mean())
