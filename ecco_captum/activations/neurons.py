r"""Neurons and hidden states of texts, in memory or on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ecco_captum.activations.capture import capture
from ecco_captum.activations.reading import (
    Reading,
    hidden_reading,
    neuron_reading,
    read_layers,
    text_windows,
    tokens_of_texts,
)
from ecco_captum.activations.record import Activations, StackName
from ecco_captum.activations.store import Store, open_for_append
from ecco_captum.core.progress import Progress, progress_bar
from ecco_captum.corpus.engines import Engine, EngineName
from ecco_captum.corpus.recipe import ModelRecipe
from ecco_captum.corpus.texts import Long, ReadText, each_text, number_of_texts
from ecco_captum.models.language_model import LanguageModel

# Of the largest value; another order of summation stays far below, other weights do not.
_SAME = {"float16": 5e-3, "float32": 1e-3, "float64": 1e-3}


def neurons(
    lm: LanguageModel | ModelRecipe,
    texts: Any,
    *,
    layers: Any = None,
    stack: StackName = "decoder",
    dtype: str = "float32",
    batch_tokens: int | None = None,
    store: str | os.PathLike[str] | None = None,
    long: Long = "error",
    engine: Engine | EngineName = "local",
    progress: Progress = None,
) -> Activations:
    r"""Returns the activations of feed-forward neurons at each token (Alammar 2021, section 4).

    A block's neurons are what its down-projection is given: after the non-linearity and, in gated
    layers, after the gate. They are read with Captum's ``LayerActivation``, all layers in one
    forward. Texts of the same length share a forward, so that there is no padding anywhere.

    An adapter of a down-projection is part of it: both read the same neurons. Blocks without
    neurons are left out, with a warning if they are built like others that have some.

    Args:
        lm (LanguageModel or ModelRecipe): the model; workers of Ray take a recipe.
        texts (str, list of messages, ids, Generation, or a list or iterator of these): what it
            reads. Of a Generation, prompt and outputs. Many texts may also be a file (a ``Path``:
            lines, JSON lines, CSV, Parquet), a ``datasets.Dataset``, or a table or column of
            pandas, polars or Arrow; of a table, its column ``text``, or its only one.
        layers (slice, int, list of int, optional): blocks, from 0; negative ones count from the
            end. Default: all that have neurons.
        stack (str, optional): of an encoder–decoder, ``"decoder"`` (a Generation's outputs, read
            behind its source) or ``"encoder"``. Default: ``"decoder"``
        dtype (str, optional): of the values: float32, float16 or float64. Default: ``"float32"``
        batch_tokens (int, optional): the most tokens of one forward; a longer text is read alone.
            Default: 512 on the CPU, 8192 elsewhere
        store (str or PathLike, optional): a folder to write the values into (Zarr v3), for corpora:
            memory stays bounded whatever the number of texts. A run that was cut off, even killed,
            goes on where it was when it is called again with the same texts; with more texts behind
            them, those are added. Default: in memory
        long (str, optional): what to do with a text of several that the model's context does not
            hold: ``"error"``, ``"skip"`` it (a warning counts them), or ``"split"`` it into pieces
            that are read one by one. Blank texts of several are left out, and those that are no
            text at all; a warning says how many, and which failed. Default: ``"error"``
        engine (str or RayEngine, optional): ``"local"`` is this process; ``"ray"``, or a
            :class:`RayEngine`, many, who write parts of ``store`` as :func:`capture` does, which
            has more options. Default: ``"local"``
        progress (bool or Callable, optional): whether to show a progress bar, or a function that
            is called with the part done, 0 to 1. Default: a bar on a terminal and in notebooks

    Returns:
        Activations: values (layers, tokens, neurons), on the CPU; of a ``store``, read from there
        when they are asked for.

    Raises:
        AnatomyError: if the model's neurons are out of reach.
        TypeError: if ``texts`` is none of these.
        ValueError: if an argument is wrong, the layers have neurons of different numbers, float16
            cannot hold them, or the store holds something else.

    Examples::

        >>> neurons(lm, text).shape
        (30, 20, 1536)
        >>> neurons(lm, texts, layers=3, store="acts.zarr").shape  # on disk
        (1, 29, 1536)
    """
    if engine != "local" or isinstance(lm, ModelRecipe):
        options: dict[str, Any] = {"dtype": dtype, "batch_tokens": batch_tokens, "long": long}
        options |= {"stack": stack, "engine": engine, "progress": progress}
        wanted = "all" if layers is None else layers
        return capture(lm, texts, _folder(store), neurons=wanted, **options).neurons
    reading = neuron_reading(lm, layers, stack, dtype, batch_tokens)
    return _read(reading, texts, store, long, progress)


def hidden_states(
    lm: LanguageModel | ModelRecipe,
    texts: Any,
    *,
    layers: Any = None,
    stack: StackName = "decoder",
    dtype: str = "float32",
    batch_tokens: int | None = None,
    store: str | os.PathLike[str] | None = None,
    long: Long = "error",
    engine: Engine | EngineName = "local",
    progress: Progress = None,
) -> Activations:
    r"""Returns the residual stream at each token.

    Args:
        lm (LanguageModel or ModelRecipe): the model; workers of Ray take a recipe.
        texts (str, list of messages, ids, Generation, or a list or iterator of these): as in
            :func:`neurons`.
        layers (slice, int, list of int, optional): rows of the stream: 0 for the embedding, k for
            what block k - 1 returned, before any final norm. Default: all.
        stack (str, optional): as in :func:`neurons`. Default: ``"decoder"``
        dtype (str, optional): as in :func:`neurons`. Default: ``"float32"``
        batch_tokens (int, optional): as in :func:`neurons`.
        store (str or PathLike, optional): as in :func:`neurons`. Default: in memory
        long (str, optional): as in :func:`neurons`. Default: ``"error"``
        progress (bool, optional): as in :func:`neurons`.

    Returns:
        Activations: values (layers, tokens, width), on the CPU; of a ``store``, read from there
        when they are asked for.

    Raises:
        AnatomyError: if the model's blocks were not found.
        TypeError: if ``texts`` is none of these.
        ValueError: if an argument is wrong, float16 cannot hold the values, or the store holds
            something else.

    Examples::

        >>> states = hidden_states(lm, ["One text.", "Another one."], layers=[0, 30])
        >>> states.shape, states.sequences
        ((2, 6, 576), array([0, 3]))
    """
    if engine != "local" or isinstance(lm, ModelRecipe):
        options: dict[str, Any] = {"dtype": dtype, "batch_tokens": batch_tokens, "long": long}
        options |= {"stack": stack, "engine": engine, "progress": progress}
        wanted = "all" if layers is None else layers
        return capture(lm, texts, _folder(store), hidden_states=wanted, **options).hidden_states
    reading = hidden_reading(lm, layers, stack, dtype, batch_tokens)
    return _read(reading, texts, store, long, progress)


def _folder(store: Any) -> Any:
    if store is None:
        raise ValueError("store: got None, accepts a folder with another engine or a recipe")
    return store


def _read(reading: Reading, given: Any, store: Any, long: Long, progress: Progress) -> Activations:
    total = number_of_texts(given) if long == "error" else None
    progress = False if total == 1 and not callable(progress) else progress
    each = each_text(reading.lm, given, reading.name, long)
    with progress_bar(progress, total=total, desc="Reading", unit=" texts") as bar:
        if store is not None:
            return _stored(reading, each, Path(store), bar)
        texts = list(each)
        return _record(reading, texts, read_layers(reading, texts, bar.update))


def _record(reading: Reading, texts: list[ReadText], values: np.ndarray) -> Activations:
    tokens, sequences = tokens_of_texts(texts)
    return Activations(
        values=values,
        layers=np.array(reading.rows, dtype=np.int64),
        tokens=tokens,
        sequences=sequences,
        kind=reading.kind,
        stack=reading.name,
        model=reading.lm.name,
    )


def _stored(reading: Reading, each: Iterator[ReadText], path: Path, bar: Any) -> Activations:
    """Reads window after window of texts, each of which is on disk before the next is begun."""
    with open_for_append(path):
        first = next(each)
        sample = read_layers(reading, [first], lambda done: None)
        width = sample.shape[-1]
        store = Store(path, {**reading.description, "features": width})
        _check_beginning(store, sample)
        each = chain([first], each)
        for number, digest in enumerate(store.digests()):
            text = next(each, None)
            if text is None or text.digest != digest:
                raise ValueError(
                    f"texts: number {number}, from 0, is not the one that {str(path)!r} holds; "
                    "accepts the texts that it was begun with, and more behind them"
                )
            bar.update()
        memory: np.ndarray | None = None
        for window in text_windows(each, [reading], width):
            values = memory = read_layers(reading, window, bar.update, out=memory)
            store.append(values, *tokens_of_texts(window), [text.digest for text in window])
        store.complete()
    return Activations.open(path)


def _check_beginning(store: Store, sample: np.ndarray) -> None:
    """The model must give what is there already: names say little of weights."""
    if not store.texts:
        return
    held = store.first(sample.shape[1])
    error, scale = np.abs(held - sample).max(), np.abs(sample).max()
    if not error <= _SAME[sample.dtype.name] * scale:
        raise ValueError(
            f"store: what {str(store.path)!r} holds of the first text is not what this model gives "
            f"(they differ by up to {error:.3g}); accepts the model, or a new folder"
        )
