r"""What each layer's states tell a linear probe, and how much of it the probe learned by heart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from tqdm.auto import tqdm

from ecco_captum.activations import hidden_states, neurons
from ecco_captum.checks import check_whole
from ecco_captum.control_tasks import Control
from ecco_captum.linear_probes import fit_probes
from ecco_captum.models import LanguageModel
from ecco_captum.probe_draws import Draw, LabelledWords, Split, by_type, drawn, level, majority
from ecco_captum.probe_record import ProbeReport
from ecco_captum.treebank import TaggedCorpus
from ecco_captum.word_states import Pooling, pooled, word_places

Select = Literal["validation", "test"]

_READERS = {"hidden": hidden_states, "neurons": neurons}


def probe(
    lm: LanguageModel,
    corpus: TaggedCorpus,
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
    seed: int = 0,
    progress: bool | None = None,
) -> ProbeReport:
    r"""Trains linear probes on every layer, beside probes of control tasks (Alammar 2021, Table 1).

    A probe that tells tags from states may have found them there, or have learned words by heart.
    A control task gives each word type a random tag, which only the latter can tell; selectivity is
    the accuracy on the task less that on the control task (Hewitt & Liang 2019, section 2).

    Args:
        lm (LanguageModel): the model.
        corpus (TaggedCorpus): what :func:`read_conllu` returns.
        label (str, optional): the column that is told. Default: ``"upos"``
        representations (sequence of str, optional): ``"hidden"`` states, ``"neurons"``, or both.
            Default: both
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
        seed (int, optional): of all draws. Default: 0
        progress (bool, optional): whether to show a progress bar. Default: on a terminal and in
            notebooks

    Returns:
        ProbeReport: accuracy and selectivity of each layer in each trial, and baselines.

    Raises:
        TypeError: if ``lm`` or ``corpus`` is something else.
        ValueError: if an argument is wrong, or there are too few words to split.

    Examples::

        >>> report = probe(lm, read_conllu("en_ewt-ud-dev.conllu"), layers=slice(0, 3))
        >>> report.to_pandas()
    """
    if not isinstance(lm, LanguageModel):
        raise TypeError(f"lm: got a {type(lm).__name__}, accepts what load() or wrap() returns")
    if not isinstance(corpus, TaggedCorpus):
        raise TypeError(
            f"corpus: got a {type(corpus).__name__}, accepts what read_conllu() returns"
        )
    kind = _checked(representations, learning_rates, control, split, select, pooling)
    for name, given in (("n_tokens", n_tokens), ("trials", trials), ("epochs", epochs)):
        check_whole(name, given)
    check_whole("seed", seed, least=0)
    if isinstance(test_size, bool) or not 0 < test_size < 1:
        raise ValueError(f"test_size: got {test_size!r}, accepts a part between 0 and 1")
    columns = corpus.labels(label)
    places = word_places(lm, corpus, n_tokens)
    words = LabelledWords.of(corpus, places, columns)
    draws = [drawn(words, test_size, split, kind, (seed, trial)) for trial in range(trials)]
    draws = level(draws)
    for name in representations:  # layers that are not there are told of before long work is done
        _READERS[name](lm, places.ids[0], layers=layers, progress=False)
    hidden = None if progress is None else not progress
    found: list[_Result] = []
    names: list[tuple[str, str]] = []
    for name in representations:
        acts = _READERS[name](lm, places.ids, layers=layers, progress=progress)
        states = pooled(acts, places.spans, pooling)
        names += [(name, layer) for layer in acts.layer_names]
        total = len(states) * epochs
        with tqdm(total=total, desc=f"Probing {name}", leave=False, disable=hidden) as bar:
            for x in states:
                options = {"epochs": epochs, "learning_rates": tuple(learning_rates)}
                found.append(_probed(x, words, draws, select, seed, bar.update, **options))
    return ProbeReport(
        representations=tuple(name for name, _ in names),
        layers=tuple(layer for _, layer in names),
        accuracy=np.array([one.accuracy[:, 0] for one in found]),
        control_accuracy=np.array(
            [one.accuracy[:, 1] if kind else np.full(trials, np.nan) for one in found]
        ),
        rates=np.array([one.rates for one in found]),
        confusion=np.array([one.confusion for one in found]),
        majority=np.array([majority(words, draw) for draw in draws]),
        by_type=np.array([by_type(words, draw) for draw in draws]),
        labels=words.names,
        label=label,
        model=lm.name,
        words=len(words.labels),
        dropped=places.dropped,
        settings={
            "source": corpus.source,
            "test_size": test_size,
            "epochs": epochs,
            "learning_rates": tuple(float(rate) for rate in learning_rates),
            "control": kind,
            "split": split,
            "select": select,
            "pooling": pooling,
            "seed": seed,
        },
    )


def _checked(
    representations: Sequence[str],
    rates: Sequence[float],
    control: Any,
    split: str,
    select: str,
    pooling: str,
) -> Control | None:
    """What kind of control task is wanted."""
    if isinstance(representations, str) or not representations:
        raise ValueError(f"representations: got {representations!r}, accepts a list of some")
    for name in representations:
        if name not in _READERS:
            raise ValueError(f"representations: got {name!r}, accepts 'hidden', 'neurons'")
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


@dataclass(frozen=True)
class _Result:
    """Of one layer: (trials, tasks) twice, and how labels were told, (labels, labels)."""

    accuracy: np.ndarray
    rates: np.ndarray
    confusion: np.ndarray


def _probed(
    states: np.ndarray,
    words: LabelledWords,
    draws: Sequence[Draw],
    select: str,
    seed: int,
    tell: Any,
    **options: Any,
) -> _Result:
    """Trains all probes of a layer, and keeps the best of each trial and task."""
    x, targets = torch.from_numpy(states), np.stack([draw.targets for draw in draws])
    found = fit_probes(
        x,
        targets,
        np.stack([draw.train for draw in draws]),
        labels=len(words.names),
        seeds=[seed * 1000 + trial for trial in range(len(draws))],
        tell=tell,
        **options,
    )

    def told(part: str) -> tuple[np.ndarray, np.ndarray]:
        """(rates, trials, n, tasks), the guesses; (rates, trials, tasks), how many are right."""
        chosen = np.stack([getattr(draw, part) for draw in draws])
        guessed = found.scores(x, chosen).argmax(-1).numpy()
        truth = np.stack([own[:, at].T for own, at in zip(targets, chosen, strict=True)])
        return guessed, (guessed == truth).mean(axis=2)

    guessed, right = told("test")
    best = (right if select == "test" else told("validation")[1]).argmax(axis=0)
    trials, tasks = np.indices(best.shape)
    confusion = np.zeros((len(words.names),) * 2, dtype=np.int64)
    for trial, draw in enumerate(draws):
        told_as = guessed[best[trial, 0], trial, :, 0]
        np.add.at(confusion, (words.labels[draw.test], told_as), 1)
    rates = np.array(options["learning_rates"])
    return _Result(right[best, trials, tasks], rates[best], confusion)
