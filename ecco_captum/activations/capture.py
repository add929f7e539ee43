r"""Activations of a corpus, by one process or many: hidden states and neurons in one pass."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ecco_captum.activations.reading import (
    Reading,
    hidden_reading,
    neuron_reading,
    read_kinds,
    text_windows,
    tokens_of_texts,
)
from ecco_captum.activations.record import Activations, Kind, StackName
from ecco_captum.activations.store import Store, open_captured
from ecco_captum.core.checks import check_whole
from ecco_captum.core.progress import Progress
from ecco_captum.corpus.corpus import Corpus, CorpusText, Problem
from ecco_captum.corpus.engines import Engine, EngineName
from ecco_captum.corpus.parts import Journal, Made, check_finished
from ecco_captum.corpus.plan import TOKENS_PER_PART, Plan, cut, plan, read_plan
from ecco_captum.corpus.recipe import ModelRecipe
from ecco_captum.corpus.run import model_recipe, problems_of, run_job
from ecco_captum.corpus.texts import Long, ReadText, pieces_of_text
from ecco_captum.models.language_model import LanguageModel

_PRICED = 4096  # tokens, at most, that a price is measured on
_DEATHS = 3  # of workers, before a text is taken to be the cause


def capture(
    model: LanguageModel | ModelRecipe | str,
    texts: Any,
    store: str | os.PathLike[str],
    *,
    hidden_states: Any = None,
    neurons: Any = None,
    stack: StackName = "decoder",
    dtype: str = "float16",
    batch_tokens: int | None = None,
    long: Long = "error",
    tokens_per_part: int = TOKENS_PER_PART,
    engine: Engine | EngineName = "local",
    progress: Progress = None,
) -> Captured:
    r"""Writes hidden states and neurons of a corpus into a folder, in one pass.

    The corpus is cut into parts, and each becomes files of its own (Zarr v3), written beside their
    place and moved there whole. Whatever is killed, a call with the same arguments goes on with the
    parts that are missing, and the files are the same bytes as of a run that nothing disturbed.
    Rows that are broken and texts that the model cannot read are listed with the reason.

    Args:
        model (LanguageModel, ModelRecipe or str): the model; workers of Ray take a recipe or name.
        texts (Corpus, what it takes, or None): the texts; None goes on with those of ``store``.
        store (str or PathLike): a folder, new or begun by such a run. Workers on other machines
            must reach it under the same path.
        hidden_states (slice, int, list of int or "all", optional): rows of the residual stream,
            as in :func:`hidden_states`. Default: none
        neurons (slice, int, list of int or "all", optional): blocks, as in :func:`neurons`.
            Default: none
        stack (str, optional): of an encoder–decoder, ``"decoder"`` or ``"encoder"``.
        dtype (str, optional): of the values: float32, float16 or float64. Default: ``"float16"``
        batch_tokens (int, optional): the most tokens of one forward; as in :func:`neurons`.
        long (str, optional): texts longer than the context are listed as problems (``"error"`` and
            ``"skip"``) or cut into pieces (``"split"``). Default: ``"error"``
        tokens_per_part (int, optional): the most tokens of a part, the unit of work, of file and of
            retry. Default: 16,384
        engine (str or RayEngine, optional): ``"local"`` is this process; ``"ray"``, or a
            :class:`RayEngine`, many. Default: ``"local"``
        progress (bool or Callable, optional): as in :func:`neurons`.

    Returns:
        Captured: what the folder holds.

    Raises:
        ImportError: if zarr is missing (``pip install 'ecco-captum[data]'``), or Ray.
        TypeError: if ``model`` or ``texts`` is of another kind.
        ValueError: if an argument is wrong, or the folder holds something else.

    Examples::

        >>> made = capture(lm, ["The keys", "to the cabinet"], "acts", hidden_states=[0, 12, 30])
        >>> made.hidden_states.shape
        (3, 5, 576)
    """
    job = _job(hidden_states, neurons, stack, dtype, batch_tokens, long)
    if isinstance(model, LanguageModel):
        job.readings(model)  # what is wrong is said before a folder is there
    planned = run_job(
        job,
        model,
        texts,
        store,
        tokens_per_part=tokens_per_part,
        engine=engine,
        progress=progress,
    )
    return Captured(Path(store).absolute(), planned)


@dataclass(frozen=True)
class Captured:
    r"""What :func:`capture` wrote of a corpus.

    Args:
        folder (Path): the folder.
        plan (Plan): the parts of the corpus.

    Examples::

        >>> made = capture(lm, [*texts, ""], "kept", neurons=[3])
        >>> made.neurons.layer_names, [problem.reason for problem in made.problems]
        (['block 3'], ['it is blank'])
    """

    folder: Path
    plan: Plan

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Captured:
        r"""Opens a folder that :func:`capture` wrote.

        Args:
            path (str or PathLike): the folder.

        Raises:
            FileNotFoundError: if there is no such folder.
            ValueError: if it holds something else, or the run has not finished.
        """
        folder = Path(path).absolute()
        check_finished(folder)
        return cls(folder, read_plan(folder))

    @property
    def hidden_states(self) -> Activations:
        """The hidden states, read where they are asked for; a ValueError if there are none."""
        return Activations(**open_captured(self.folder, "hidden"))

    @property
    def neurons(self) -> Activations:
        """The neurons, read where they are asked for; a ValueError if there are none."""
        return Activations(**open_captured(self.folder, "neurons"))

    @property
    def problems(self) -> list[Problem]:
        """Rows that were broken and texts that were left out, each with the reason."""
        return problems_of(self.folder, self.plan)

    def __repr__(self) -> str:
        return f"Captured({self.plan}, {len(self.problems)} left out, {str(self.folder)!r})"


@dataclass(frozen=True)
class CapturePrice:
    r"""What capturing a corpus would take, at the rate of its first texts.

    Args:
        plan (Plan): the parts of the corpus.
        bytes (int): on disk, compressed as the first texts are.
        seconds (float): of one process such as this one, without loading the model.
        measured (int): of how many tokens both were measured.

    Examples::

        >>> price = capture_price(lm, texts, hidden_states=[15])
        >>> price.measured == price.plan.tokens  # all of so few
        True
    """

    plan: Plan
    bytes: int
    seconds: float
    measured: int

    def __str__(self) -> str:
        return (
            f"{self.plan}\n{self.bytes:,} bytes on disk, {self.seconds:,.0f} s in one process "
            f"({self.plan.tokens / max(self.seconds, 1e-9):,.0f} tokens/s, as the first "
            f"{self.measured:,} tokens)"
        )


def capture_price(
    model: LanguageModel | ModelRecipe | str,
    texts: Any,
    *,
    hidden_states: Any = None,
    neurons: Any = None,
    stack: StackName = "decoder",
    dtype: str = "float16",
    batch_tokens: int | None = None,
    long: Long = "error",
    tokens_per_part: int = TOKENS_PER_PART,
) -> CapturePrice:
    r"""Says what :func:`capture` would take: tokens, bytes and seconds. Nothing of it stays.

    The corpus is cut, and its first part (up to 4,096 tokens of it) is captured into a folder that
    goes away. Arguments and errors are those of :func:`capture`.

    Examples::

        >>> price = capture_price(lm, ["The keys", "to the cabinet"], hidden_states="all")
        >>> price.plan.tokens, price.bytes > 0, price.seconds > 0
        (5, True, True)
    """
    job = _job(hidden_states, neurons, stack, dtype, batch_tokens, long)
    lm = model_recipe(model).load()
    job.readings(lm)
    corpus = texts if isinstance(texts, Corpus) else Corpus(texts)
    check_whole("tokens_per_part", tokens_per_part)
    size = min(tokens_per_part, _PRICED)
    _, first = next(cut(corpus, lm.tokenizer, size))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        begun = time.perf_counter()
        (folder / "made").mkdir()
        made = job.run(lm, first, folder / "made", Journal(folder / "journal" / "0"))
        seconds = time.perf_counter() - begun
        written = sum(file.stat().st_size for file in (folder / "made").rglob("*"))
    planned = plan(corpus, lm.tokenizer, tokens_per_part=tokens_per_part)
    share = planned.tokens / max(made.tokens, 1)
    return CapturePrice(planned, int(written * share), seconds * share, made.tokens)


def _job(
    hidden_states: Any,
    neurons: Any,
    stack: StackName,
    dtype: str,
    batch_tokens: int | None,
    long: Long,
) -> CaptureJob:
    if hidden_states is None and neurons is None:
        raise ValueError("hidden_states, neurons: got neither, accepts layers of one or both")
    return CaptureJob(_layers(hidden_states), _layers(neurons), stack, dtype, batch_tokens, long)


def _layers(given: Any) -> Any:
    """Layers as JSON and workers take them."""
    if given is None or given == "all":
        return given
    if isinstance(given, slice):
        return given.start, given.stop, given.step
    return [int(number) for number in np.atleast_1d(np.asarray(given))]


def _chosen(layers: Any) -> Any:
    """Layers as ``neurons`` takes them."""
    if layers == "all":
        return None
    return slice(*layers) if isinstance(layers, tuple) else layers


@dataclass(frozen=True)
class CaptureJob:
    r"""What is captured; its arguments are those of :func:`capture`, with layers for JSON."""

    hidden: Any
    neurons: Any
    stack: StackName
    dtype: str
    batch_tokens: int | None
    long: Long

    @property
    def description(self) -> dict[str, Any]:
        return {
            "job": "capture",
            "hidden": self.hidden,
            "neurons": self.neurons,
            "stack": self.stack,
            "dtype": self.dtype,
            "batch_tokens": self.batch_tokens,
            "long": self.long,
        }

    def readings(self, lm: LanguageModel) -> list[Reading]:
        """What is read of a model, its arguments checked."""
        how = self.stack, self.dtype, self.batch_tokens
        readings = []
        if self.hidden is not None:
            readings.append(hidden_reading(lm, _chosen(self.hidden), *how))
        if self.neurons is not None:
            readings.append(neuron_reading(lm, _chosen(self.neurons), *how))
        return readings

    def run(
        self, lm: LanguageModel, texts: Sequence[CorpusText], folder: Path, journal: Journal
    ) -> Made:
        readings = self.readings(lm)
        problems: list[Problem] = []
        stores: dict[Kind, Store] = {}
        count = tokens = 0
        read = _read_texts(lm, texts, self, problems)
        for window in text_windows(read, readings):
            for texts_read, values in _tried(readings, window, journal, problems):
                for reading, layers in zip(readings, values, strict=True):
                    store = stores.get(reading.kind)
                    if store is None:
                        store = stores[reading.kind] = _new_store(folder, reading, layers)
                    digests = [text.digest for text in texts_read]
                    store.append(layers, *tokens_of_texts(texts_read), digests)
                count += len(texts_read)
                tokens += sum(len(text.ids) for text in texts_read)
        for store in stores.values():
            store.complete()
        return Made(tokens, count, tuple(problems))


def _new_store(folder: Path, reading: Reading, values: np.ndarray) -> Store:
    path = folder / reading.kind
    path.mkdir()
    # The same in every run, as all bytes of a part are.
    return Store(path, {**reading.description, "features": values.shape[-1], "key": "captured"})


def _read_texts(
    lm: LanguageModel,
    texts: Sequence[CorpusText],
    job: CaptureJob,
    problems: list[Problem],
) -> Iterator[ReadText]:
    """Texts as a model reads them, and what is wrong with the others."""
    for text in texts:
        if isinstance(text.text, str) and not text.text.strip():
            problems.append(Problem(text.id, "it is blank"))
            continue
        try:
            pieces = list(pieces_of_text(lm, text.text, job.stack, job.long))
        except (TypeError, ValueError) as error:
            problems.append(Problem(text.id, str(error)))
            continue
        yield from (replace(piece, name=text.id) for piece in pieces)


def _tried(
    readings: Sequence[Reading],
    texts: list[ReadText],
    journal: Journal,
    problems: list[Problem],
    deaths: int = _DEATHS,
) -> Iterator[tuple[list[ReadText], list[np.ndarray]]]:
    """Reads texts together; where that fails, or has killed so many workers, each alone."""
    ids = [text.name for text in texts]
    size = sum(len(text.ids) for text in texts)
    if journal.died(ids) >= deaths:
        if len(texts) == 1:
            problems.append(Problem(ids[0], "workers died while reading it, again and again"))
            return
        deaths = 1  # it has killed some before
    else:
        try:
            with journal.reading(ids, size):
                values = read_kinds(readings, texts, lambda done: None)
        except (RuntimeError, ValueError, IndexError) as error:
            if len(texts) == 1:
                problems.append(Problem(ids[0], f"{type(error).__name__}: {error}"))
                return
        else:
            yield texts, values
            return
    for text in texts:
        yield from _tried(readings, [text], journal, problems, deaths)
