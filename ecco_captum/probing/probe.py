r"""What each layer's states tell a linear probe, and how much of it the probe learned by heart."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from ecco_captum.core.checks import check_whole
from ecco_captum.core.progress import Progress, progress_bar
from ecco_captum.core.threads import map_threads
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.probing.record import ProbeReport, joined_reports
from ecco_captum.probing.sources import READERS, Source, of_model, of_states
from ecco_captum.probing.training import (
    Control,
    Evaluation,
    Select,
    Split,
    Training,
    Trial,
    by_type,
    level,
    majority,
    make_trial,
    train_and_evaluate,
)
from ecco_captum.probing.treebank import TaggedCorpus
from ecco_captum.probing.word_states import Pooling


def probe(
    lm: Any,
    corpus: Any,
    *,
    label: str = "upos",
    representations: Sequence[str] = ("hidden", "neurons"),
    layers: Any = None,
    n_tokens: int = 10_000,
    test_size: float = 0.33,
    trials: int = 5,
    epochs: int = 50,
    learning_rates: Sequence[float] = (0.1, 1e-3, 1e-5),
    control: Control | bool = True,
    split: Split = "token",
    select: Select = "validation",
    pooling: Pooling = "mean",
    codelength: bool = False,
    words: Sequence[str] | None = None,
    sentences: Sequence[int] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    seed: int = 0,
    progress: Progress = None,
) -> ProbeReport:
    r"""Trains linear probes on every layer, beside probes of control tasks (Alammar 2021, Table 1).

    A probe that tells tags from states may have found them there, or have learned words by heart.
    A control task gives each word type a random tag, which only the latter can tell; selectivity is
    the accuracy on the task less that on the control task (Hewitt & Liang 2019, section 2).

    Args:
        lm (LanguageModel, Activations, array, or list of these): the model; or states that are at
            hand: activations, in memory or on disk, or arrays (layers, tokens, features) or
            (tokens, features), several of them if they are of the same tokens.
        corpus (TaggedCorpus, or sequence of str): what :func:`read_conllu` returns; of states, one
            label for each token, or None for tokens that are left out.
        label (str, optional): the column that is told. Default: ``"upos"``
        representations (sequence of str, optional): ``"hidden"`` states of a model, ``"neurons"``,
            or both. Default: both
        layers (slice, int, list of int, optional): as in :func:`hidden_states` and
            :func:`neurons`. Default: all
        n_tokens (int, optional): the most words, taken in the corpus's order. Default: 10,000
        test_size (float, optional): the part of them that is tested on. Default: 0.33
        trials (int, optional): how often all is drawn anew: the split, the control task, the first
            weights. Default: 5
        epochs (int, optional): how often the training words are seen. Default: 50
        learning_rates (sequence of float, optional): of Adam; each trains a probe, and the best is
            kept. Default: 0.1, 1e-3, 1e-5, as in the paper
        control (str or bool, optional): ``True`` or ``"type"`` for a random tag of each word type;
            ``"token"`` for one of each word, which is the paper's wording; ``False`` for none.
            Default: ``True``
        split (str, optional): whether single words (``"token"``) or whole sentences are tested on.
            Default: ``"token"``
        select (str, optional): where the learning rate is chosen: on a tenth of the training words
            that is not trained on (``"validation"``), or on the ``"test"`` words themselves, which
            is optimistic. Default: ``"validation"``
        pooling (str, optional): of a word's tokens, the ``"first"``, the ``"last"``, or the
            ``"mean"``. Default: ``"mean"``
        codelength (bool, optional): whether to measure the minimum description length as well, by
            online coding (Voita & Titov 2020): bits for all labels, each block of words coded by
            probes of those before. It nearly triples the work. Default: ``False``
        words (sequence of str, optional): of states, the word of each token, whose types the
            control task needs. Default: the tokens of activations
        sentences (sequence of int, optional): of states, the sentence of each token, for
            ``split``. Default: the texts of activations
        checkpoint (str or PathLike, optional): a folder where the report of each representation is
            kept once it is done, and found by a later run of the same. Default: none
        seed (int, optional): of all draws. Default: 0
        progress (bool or Callable, optional): whether to show a progress bar, or what is told the
            part that is done, 0 to 1. Default: a bar on a terminal and in notebooks

    Returns:
        ProbeReport: accuracy and selectivity of each layer in each trial, and baselines.

    Raises:
        TypeError: if ``lm`` or ``corpus`` is something else.
        ValueError: if an argument is wrong, there are too few words to split, or ``checkpoint``
            holds reports of another run.

    Examples::

        >>> report = probe(encoder, read_conllu(), representations=["hidden"], trials=1)
        >>> report.accuracy.shape, report.layers[:2]
        ((7, 1), ('embedding', 'block 0'))
        >>> tags = ["odd", "even"] * 10  # or one label for each token of states that are at hand
        >>> probe(np.eye(20), tags, words=tags, trials=2).accuracy.shape
        (1, 2)
    """
    kind = _checked(learning_rates, control, split, select, pooling)
    for name, given in (("n_tokens", n_tokens), ("trials", trials), ("epochs", epochs)):
        check_whole(name, given)
    check_whole("seed", seed, least=0)
    if isinstance(test_size, bool) or not 0 < test_size < 1:
        raise ValueError(f"test_size: got {test_size!r}, accepts a part between 0 and 1")
    if isinstance(lm, LanguageModel):
        _check_representations(representations)
        if not isinstance(corpus, TaggedCorpus):
            raise TypeError(
                f"corpus: got a {type(corpus).__name__}, accepts what read_conllu() returns"
            )
        source = of_model(lm, corpus, label, representations, layers, n_tokens, pooling, progress)
    else:
        source = of_states(lm, corpus, words, sentences, layers, n_tokens)
    splits = level(
        [make_trial(source.words, test_size, split, kind, (seed, trial)) for trial in range(trials)]
    )
    rates = tuple(float(rate) for rate in learning_rates)
    training = Training(len(source.words.names), rates, epochs, select, seed, codelength)
    settings = {
        "source": source.corpus,
        "test_size": test_size,
        "epochs": epochs,
        "learning_rates": rates,
        "control": kind,
        "split": split,
        "select": select,
        "pooling": pooling,
        "codelength": codelength,
        "seed": seed,
    }
    folder = None if checkpoint is None else Path(checkpoint)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    run = _Run(source, splits, training, settings, progress)
    return joined_reports([run.report(name, folder) for name in source.read])


class _Run:
    """One call's words, draws and settings; makes the report of each representation."""

    def __init__(
        self,
        source: Source,
        trials: Sequence[Trial],
        training: Training,
        settings: dict[str, Any],
        progress: Progress,
    ) -> None:
        self.source, self.trials, self.training = source, trials, training
        self.settings, self.progress = settings, progress
        self.majority = np.array([majority(source.words, trial) for trial in trials])
        self.by_type = np.array([by_type(source.words, trial) for trial in trials])

    def report(self, name: str, folder: Path | None) -> ProbeReport:
        """Of one representation; from the folder where it is there."""
        path = None if folder is None else folder / f"{name}.npz"
        if path is not None and path.exists():
            return self._kept(name, path)
        report = self._made(name, self._trained(name))
        if path is not None:
            report.save(path)
        return report

    def _trained(self, name: str) -> list[Evaluation]:
        states = self.source.read[name]()
        total = len(states) * self.training.rounds
        with progress_bar(self.progress, total=total, desc=f"Probing {name}") as bar:
            return map_threads(
                lambda read, tell: train_and_evaluate(read(), self.trials, self.training, tell),
                states,
                bar.update,
            )

    def _made(self, name: str, found: Sequence[Evaluation]) -> ProbeReport:
        source, without = self.source, np.full(len(self.trials), np.nan)
        controlled = self.settings["control"] is not None
        return ProbeReport(
            representations=(name,) * len(found),
            layers=tuple(source.layers[name]),
            accuracy=np.array([one.accuracy[:, 0] for one in found]),
            control_accuracy=np.array(
                [one.accuracy[:, 1] if controlled else without for one in found]
            ),
            rates=np.array([one.rates for one in found]),
            confusion=np.array([one.confusion for one in found]),
            majority=self.majority,
            by_type=self.by_type,
            labels=source.words.names,
            label=source.label,
            model=source.model,
            words=len(source.words.labels),
            dropped=source.dropped,
            codelength=np.array([one.codelength for one in found]) if self.training.codes else None,
            settings=self.settings,
        )

    def _kept(self, name: str, path: Path) -> ProbeReport:
        """What an earlier run left, if it was this one."""
        report, source = ProbeReport.load(path), self.source
        pairs = {
            **{name: (report.settings.get(name), own) for name, own in self.settings.items()},
            "model": (report.model, source.model),
            "label": (report.label, source.label),
            "words": (report.words, len(source.words.labels)),
            "layers": (list(report.layers), self.source.layers[name]),
            "trials": (report.accuracy.shape[1], len(self.trials)),
        }
        for what, (there, here) in pairs.items():
            if there != here:
                raise ValueError(
                    f"checkpoint: {str(path)!r} is of another run, whose {what} is {there!r} and "
                    f"not {here!r}; accepts an empty folder, or one of the same run"
                )
        return report


def _check_representations(names: Sequence[str]) -> None:
    if isinstance(names, str) or not names:
        raise ValueError(f"representations: got {names!r}, accepts a list of some")
    for name in names:
        if name not in READERS:
            raise ValueError(f"representations: got {name!r}, accepts 'hidden', 'neurons'")


def _checked(
    rates: Sequence[float], control: Any, split: str, select: str, pooling: str
) -> Control | None:
    """What kind of control task is wanted."""
    wrong = [rate for rate in rates if isinstance(rate, bool) or not rate > 0]
    if wrong or not len(rates):
        raise ValueError(f"learning_rates: got {rates!r}, accepts numbers above 0, at least one")
    for name, given, accepted in (
        ("split", split, Split),
        ("select", select, Select),
        ("pooling", pooling, Pooling),
        ("control", "type" if isinstance(control, bool) else control, Control),
    ):
        if given not in get_args(accepted):
            shown = ", ".join(map(repr, get_args(accepted)))
            raise ValueError(f"{name}: got {given!r}, accepts {shown}")
    if isinstance(control, bool):
        return "type" if control else None
    kind: Control = control
    return kind
