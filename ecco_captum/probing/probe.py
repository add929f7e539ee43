r"""Linear probes of what each layer knows, and how much of it they memorise."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ecco_captum.core.checks import check_whole
from ecco_captum.core.progress import Progress, progress_bar
from ecco_captum.corpus.engines import Engine, EngineName, LocalEngine, engine_of
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.models.modes import map_threads
from ecco_captum.probing.record import ProbeReport, joined_reports
from ecco_captum.probing.sources import READERS, Source, of_model, of_states
from ecco_captum.probing.training import (
    Evaluation,
    Training,
    by_type,
    level,
    majority,
    make_trial,
    train_and_evaluate,
)
from ecco_captum.probing.treebank import TaggedCorpus

Control = Literal["type", "token"]
"""Whether a control task gives each word type a random label, or each word one of its own."""

Split = Literal["token", "sentence"]
Select = Literal["validation", "test"]
Pooling = Literal["first", "last", "mean"]


@dataclass(frozen=True)
class ProbeOptions:
    r"""How probes are trained and tested.

    Args:
        trials (int): how often all is drawn anew: the split, the control task, the first weights.
        test_size (float): the part of the words that is tested on.
        epochs (int): how often the training words are seen.
        learning_rates (sequence of float): of Adam; each trains a probe, and the best is kept. As
            in the paper unless you say otherwise.
        control (str or None): ``"type"`` (or ``True``) for a random label of each word type;
            ``"token"`` for one of each word, which is the paper's wording; None (or ``False``) for
            no control task.
        split (str): whether single words (``"token"``) or whole sentences are tested on.
        select (str): where the learning rate is chosen: on a tenth of the training words that is
            not trained on (``"validation"``), or on the ``"test"`` words themselves, which is
            optimistic.
        pooling (str): of a word's tokens, the ``"first"``, the ``"last"``, or the ``"mean"``.
        codelength (bool): whether to measure the minimum description length as well, by online
            coding (Voita & Titov 2020): bits for all labels, each block of words coded by probes of
            those before. It nearly triples the work.

    Raises:
        ValueError: if one of them has no such value.
    """

    trials: int = 5
    test_size: float = 0.33
    epochs: int = 50
    learning_rates: Sequence[float] = (0.1, 1e-3, 1e-5)
    control: Control | None = "type"
    split: Split = "token"
    select: Select = "validation"
    pooling: Pooling = "mean"
    codelength: bool = False

    def __post_init__(self) -> None:
        check_whole("trials", self.trials)
        check_whole("epochs", self.epochs)
        rates = self.learning_rates
        wrong = [rate for rate in rates if isinstance(rate, bool) or not rate > 0]
        if wrong or not len(rates):
            raise ValueError(
                f"learning_rates: got {rates!r}, accepts numbers above 0, at least one"
            )
        if isinstance(self.test_size, bool) or not 0 < self.test_size < 1:
            raise ValueError(f"test_size: got {self.test_size!r}, accepts a part between 0 and 1")
        for name, value, accepted in (
            ("split", self.split, Split),
            ("select", self.select, Select),
            ("pooling", self.pooling, Pooling),
            ("control", self.control or "type", Control),
        ):
            if value not in get_args(accepted):
                names = ", ".join(map(repr, get_args(accepted)))
                raise ValueError(f"{name}: got {value!r}, accepts {names}")
        object.__setattr__(self, "learning_rates", tuple(float(rate) for rate in rates))

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> ProbeOptions:
        """The defaults, replaced by what was given; an unknown option raises a TypeError."""
        names = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(options) - set(names))
        if unknown:
            raise TypeError(f"options: got {unknown[0]!r}, accepts {', '.join(names)}")
        control = options.get("control", "type")
        if isinstance(control, bool):
            control = "type" if control else None
        return cls(**{**options, "control": control})


def probe(
    lm: Any,
    corpus: Any,
    *,
    label: str = "upos",
    representations: Sequence[str] = ("hidden", "neurons"),
    layers: Any = None,
    n_tokens: int = 10_000,
    words: Sequence[str] | None = None,
    sentences: Sequence[int] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    seed: int = 0,
    engine: Engine | EngineName = "local",
    progress: Progress = None,
    **options: Any,
) -> ProbeReport:
    r"""Trains linear probes on every layer, beside probes of control tasks (Alammar 2021, Table 1).

    A probe that predicts tags from states may have read them there, or have memorised words. A
    control task gives each word type a random tag, which can only be memorised; selectivity is the
    accuracy on the task less that on the control task (Hewitt & Liang 2019, section 2).

    Args:
        lm (LanguageModel, Activations, array, or list of these): the model; or states that are at
            hand: activations, in memory or on disk, or arrays (layers, tokens, features) or
            (tokens, features), several of them if they are of the same tokens.
        corpus (TaggedCorpus, or sequence of str): what :func:`read_conllu` returns; of states, one
            label for each token, or None for tokens that are left out.
        label (str, optional): the column that is predicted. Default: ``"upos"``
        representations (sequence of str, optional): ``"hidden"`` states of a model, ``"neurons"``,
            or both. Default: both
        layers (slice, int, list of int, optional): as in :func:`hidden_states` and
            :func:`neurons`. Default: all
        n_tokens (int, optional): the most words, taken in the corpus's order. Default: 10,000
        words (sequence of str, optional): of states, the word of each token, whose types the
            control task needs. Default: the tokens of activations
        sentences (sequence of int, optional): of states, the sentence of each token, for
            ``split``. Default: the texts of activations
        checkpoint (str or PathLike, optional): a folder where the report of each representation is
            kept once it is done, and found by a later run of the same. Default: none
        seed (int, optional): of all draws. Default: 0
        engine (str or RayEngine, optional): where probes are trained: ``"local"`` in this process,
            each layer and trial in one thread; ``"ray"``, or a :class:`RayEngine`, by many. The
            words' vectors are read here. The numbers are the same to the last bit, whatever the
            engine and its workers. Default: ``"local"``
        progress (bool or Callable, optional): whether to show a progress bar, or a function that
            is called with the part done, 0 to 1. Default: a bar on a terminal and in notebooks
        **options (Any): of :class:`ProbeOptions`: ``trials`` (5), ``test_size`` (0.33), ``epochs``
            (50), ``learning_rates`` (0.1, 1e-3, 1e-5), ``control`` (True), ``split`` ("token"),
            ``select`` ("validation"), ``pooling`` ("mean"), ``codelength`` (False).

    Returns:
        ProbeReport: accuracy and selectivity of each layer in each trial, and baselines.

    Raises:
        ImportError: if Ray is missing, with ``engine="ray"``.
        TypeError: if ``lm`` or ``corpus`` is something else, or there is no such option.
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
    chosen, where = ProbeOptions.read(options), engine_of(engine)
    check_whole("n_tokens", n_tokens)
    check_whole("seed", seed, least=0)
    if isinstance(lm, LanguageModel):
        _check_representations(representations)
        if not isinstance(corpus, TaggedCorpus):
            raise TypeError(
                f"corpus: got a {type(corpus).__name__}, accepts what read_conllu() returns"
            )
        source = of_model(lm, corpus, label, representations, layers, n_tokens, chosen, progress)
    else:
        source = of_states(lm, corpus, words, sentences, layers, n_tokens)
    folder = None if checkpoint is None else Path(checkpoint)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    run = _Run(source, chosen, seed, where, progress)
    with where.session():
        return joined_reports([run.report(name, folder) for name in source.read])


class _Run:
    """One call's words, trials and options; makes the report of each representation."""

    def __init__(
        self,
        source: Source,
        options: ProbeOptions,
        seed: int,
        engine: Engine,
        progress: Progress,
    ) -> None:
        self.source, self.options, self.engine, self.progress = source, options, engine, progress
        numbers = range(options.trials)
        self.trials = level([make_trial(source.words, options, (seed, k)) for k in numbers])
        self.training = Training(len(source.words.names), options, seed)
        self.settings = {
            "source": source.corpus,
            **{name: value for name, value in asdict(options).items() if name != "trials"},
            "seed": seed,
        }
        self.majority = np.array([majority(source.words, trial) for trial in self.trials])
        self.by_type = np.array([by_type(source.words, trial) for trial in self.trials])

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
        states, trials = self.source.read[name](), len(self.trials)
        pieces = [(layer, trial) for layer in range(len(states)) for trial in range(trials)]
        total = len(pieces) * self.training.rounds
        with progress_bar(self.progress, total=total, desc=f"Probing {name}") as bar:
            if isinstance(self.engine, LocalEngine):
                training = _TrialTraining([_Read(read, trials) for read in states], self)
                each = map_threads(training, pieces, bar.update, alone=True)
            else:
                # Arrays, which workers on one machine share.
                arrays = [partial(_tensor, read().numpy()) for read in states]
                each = []
                for evaluation in self.engine.map(_TrialTraining(arrays, self).alone, pieces):
                    each.append(evaluation)
                    bar.update(self.training.rounds)
        return [
            Evaluation.of_trials(each[start : start + trials])
            for start in range(0, len(each), trials)
        ]

    def _made(self, name: str, layers: Sequence[Evaluation]) -> ProbeReport:
        source, accuracy = self.source, np.array([layer.accuracy for layer in layers])
        if self.options.control is None:
            accuracy = np.dstack([accuracy, np.full_like(accuracy, np.nan)])
        coded = np.array([layer.codelength for layer in layers])
        return ProbeReport(
            representations=(name,) * len(layers),
            layers=tuple(source.layers[name]),
            accuracy=accuracy[..., 0],
            control_accuracy=accuracy[..., 1],
            rates=np.array([layer.rates for layer in layers]),
            confusion=np.array([layer.confusion for layer in layers]),
            majority=self.majority,
            by_type=self.by_type,
            labels=source.words.names,
            label=source.label,
            model=source.model,
            words=len(source.words.labels),
            dropped=source.dropped,
            codelength=coded if self.options.codelength else None,
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


class _TrialTraining:
    """Trains the probes of a layer in a trial."""

    def __init__(self, states: Sequence[Callable[[], Tensor]], run: _Run) -> None:
        self.states, self.trials, self.training = states, run.trials, run.training

    def __call__(self, piece: tuple[int, int], step: Callable[[], object]) -> Evaluation:
        layer, trial = piece
        training = dataclasses.replace(self.training, first=trial)
        return train_and_evaluate(self.states[layer](), [self.trials[trial]], training, step)

    def alone(self, piece: tuple[int, int]) -> Evaluation:
        """In one thread, as all are trained."""
        return map_threads(self, [piece], lambda: None, alone=True)[0]


class _Read:
    """A layer's states, kept until they have been asked for so many times."""

    def __init__(self, read: Callable[[], Tensor], times: int) -> None:
        self._read, self._left, self._lock = read, times, Lock()
        self._states: Tensor | None = None

    def __call__(self) -> Tensor:
        with self._lock:
            states = self._read() if self._states is None else self._states
            self._left -= 1
            self._states = states if self._left else None
            return states


def _tensor(states: np.ndarray) -> Tensor:
    return torch.from_numpy(states.copy())  # what workers share cannot be written to


def _check_representations(names: Sequence[str]) -> None:
    if isinstance(names, str) or not names:
        raise ValueError(f"representations: got {names!r}, accepts a list of some")
    for name in names:
        if name not in READERS:
            raise ValueError(f"representations: got {name!r}, accepts 'hidden', 'neurons'")
