r"""What is probed: words with labels, and a vector for each of them at each layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ecco_captum.activations.neurons import hidden_states, neurons
from ecco_captum.activations.record import Activations
from ecco_captum.core.checks import chosen_numbers
from ecco_captum.core.progress import Progress
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.probing.training import LabelledWords
from ecco_captum.probing.treebank import TaggedCorpus, TaggedSentence

if TYPE_CHECKING:
    from ecco_captum.probing.probe import Pooling, ProbeOptions

READERS = {"hidden": hidden_states, "neurons": neurons}

States = list[Callable[[], Tensor]]
"""Functions that give one layer's states: (words, features), float32."""


@dataclass(frozen=True)
class Source:
    r"""What is probed.

    Args:
        words (LabelledWords): the words.
        layers (mapping): from the name of each representation to the names of its layers.
        read (mapping): from the same to a function that gives their states.
        model (str): whose states.
        label (str): what the labels are.
        corpus (str): where the words are from; "" if nobody said.
        dropped (int): words that were cut off.
    """

    words: LabelledWords
    layers: Mapping[str, list[str]]
    read: Mapping[str, Callable[[], States]]
    model: str
    label: str
    corpus: str = ""
    dropped: int = 0


def of_model(
    lm: LanguageModel,
    corpus: TaggedCorpus,
    label: str,
    representations: Sequence[str],
    layers: Any,
    n_tokens: int,
    options: ProbeOptions,
    progress: Progress,
) -> Source:
    """Words of a treebank, and a model's states of them; for arguments see ``probe``."""
    columns = corpus.labels(label)
    places = word_places(lm, corpus, n_tokens)
    both = list(zip(places.sentences, places.kept, strict=True))
    words = LabelledWords.of(
        [corpus.sentences[k].words[word] for k, kept in both for word in kept],
        [columns[k][word] for k, kept in both for word in kept],
        np.repeat(places.sentences, [len(kept) for kept in places.kept]),
    )

    bar = False if callable(progress) else progress

    def read(name: str) -> States:
        acts = READERS[name](lm, places.ids, layers=layers, progress=bar)
        states = torch.from_numpy(pooled(acts, places.spans, options.pooling))
        return [partial(states.__getitem__, k) for k in range(len(states))]

    named = {}
    for name in representations:  # a layer that is not there is refused before long work
        named[name] = READERS[name](lm, places.ids[0], layers=layers, progress=False).layer_names
    reading = {name: partial(read, name) for name in representations}
    return Source(words, named, reading, lm.name, label, corpus.source, places.dropped)


def of_states(
    states: Any,
    labels: Sequence[Any],
    words: Sequence[str] | None,
    sentences: Sequence[int] | None,
    layers: Any,
    n_tokens: int,
) -> Source:
    """Tokens of activations, or rows of arrays, that have labels; for arguments see ``probe``."""
    several = states if isinstance(states, list | tuple) else [states]
    every = [given if isinstance(given, Activations) else _array(given) for given in several]
    counts = {given.shape[1] for given in every}
    if len(counts) != 1:
        raise ValueError(f"lm: got states of {sorted(counts)} tokens, accepts some of the same")
    (count,) = counts
    first = every[0]
    if isinstance(first, Activations):
        words = first.tokens.texts if words is None else words
        if sentences is None:
            sentences = np.searchsorted(first.sequences, np.arange(count), side="right").tolist()
    for name, column in (("corpus", labels), ("words", words), ("sentences", sentences)):
        if column is not None and len(column) != count:
            raise ValueError(f"{name}: got {len(column)}, accepts one for each of {count} tokens")
    kept = np.array([k for k, label in enumerate(labels) if label is not None][:n_tokens])
    if not len(kept):
        raise ValueError("corpus: got no label, accepts one for each token, or None to leave it")
    tagged = LabelledWords.of(
        None if words is None else [words[k] for k in kept],
        [str(labels[k]) for k in kept],
        None if sentences is None else np.array([sentences[k] for k in kept]),
    )

    def states_of(values: Any, rows: list[int]) -> States:
        return [partial(_row, values, row, kept) for row in rows]

    named, reading = dict[str, list[str]](), {}
    for given in every:
        rows = chosen_numbers("layers", layers, given.shape[0])
        if isinstance(given, Activations):
            name, names, values = str(given.kind), given.layer_names, given.values
        else:
            name, names, values = "states", [f"layer {k}" for k in range(len(given))], given
        while name in named:
            name += "'"
        named[name] = [names[row] for row in rows]
        reading[name] = partial(states_of, values, rows)
    model = first.model if isinstance(first, Activations) else "arrays"
    return Source(tagged, named, reading, model, "labels")


def _row(values: Any, row: int, kept: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(values[row, kept]).astype(np.float32))


def _array(given: Any) -> np.ndarray:
    """(layers, tokens, features)"""
    if hasattr(given, "detach"):
        given = given.detach().cpu().numpy()
    if not isinstance(given, np.ndarray):
        raise TypeError(
            f"lm: got a {type(given).__name__}, accepts what load() or wrap() returns, activations "
            "or arrays (layers, tokens, features)"
        )
    array = given[None] if given.ndim == 2 else given
    if array.ndim != 3 or array.dtype.kind not in "fiu" or 0 in array.shape:
        raise ValueError(
            f"lm: got an array of shape {given.shape} and type {given.dtype}, accepts real numbers "
            "(layers, tokens, features) or (tokens, features)"
        )
    if not np.isfinite(array).all():
        raise ValueError("lm: got NaN or infinity among the states, accepts numbers")
    return array


@dataclass(frozen=True)
class WordPlaces:
    r"""The tokens of words.

    Args:
        ids (list of list of int): the tokens of each sentence that has words.
        spans (list of array): (words, 2) of each, the first token of each word and the one behind
            its last.
        kept (list of array): (words,) of each, which of the sentence's words these are.
        sentences (list of int): which sentence each is.
        dropped (int): words that were cut off, or have no token.
    """

    ids: list[list[int]]
    spans: list[np.ndarray]
    kept: list[np.ndarray]
    sentences: list[int]
    dropped: int


def word_places(lm: LanguageModel, corpus: TaggedCorpus, most: int) -> WordPlaces:
    """Finds the tokens of at most ``most`` words by the tokenizer's offsets.

    Special tokens stand around each sentence. A tokenizer without offsets raises a ValueError.
    """
    if not getattr(lm.tokenizer, "is_fast", False):
        raise ValueError(
            f"lm: the tokenizer of {lm.name!r} does not say where its tokens stand in the text; "
            "accepts fast tokenizers"
        )
    places = WordPlaces([], [], [], [], 0)
    dropped = count = 0
    for number, sentence in enumerate(corpus.sentences):
        if count >= most:
            break
        cut = {} if lm.context_length is None else {"max_length": lm.context_length}
        read = lm.tokenizer(sentence.text, return_offsets_mapping=True, truncation=bool(cut), **cut)
        offsets = np.array(read["offset_mapping"]).reshape(-1, 2)
        spans, whole = _tokens_of(sentence, offsets)
        kept = np.flatnonzero(whole)[: most - count]
        dropped += int((~whole).sum())
        if len(kept):
            places.ids.append(list(read["input_ids"]))
            places.spans.append(spans[kept])
            places.kept.append(kept)
            places.sentences.append(number)
            count += len(kept)
    return WordPlaces(places.ids, places.spans, places.kept, places.sentences, dropped)


def _tokens_of(sentence: TaggedSentence, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(words, 2), tokens that share letters with each word; (words,), whether it is there whole."""
    starts, ends = offsets[:, 0], offsets[:, 1]
    real = np.flatnonzero(ends > starts)
    reached = int(ends[real].max()) if len(real) else 0
    spans = np.zeros((len(sentence.words), 2), dtype=np.int64)
    whole = np.zeros(len(sentence.words), dtype=bool)
    for k, (start, end) in enumerate(sentence.spans):
        inside = real[(starts[real] < end) & (ends[real] > start)]
        if len(inside) and end <= reached:
            spans[k] = inside[0], inside[-1] + 1
            whole[k] = True
    return spans, whole


def pooled(acts: Activations, places: Sequence[np.ndarray], pooling: Pooling) -> np.ndarray:
    """(layers, words, features), float32, one vector for each word.

    ``places`` are, for each sentence, the tokens of its words, (words, 2).
    """
    spans = np.concatenate([own + start for own, start in zip(places, acts.sequences, strict=True)])
    values = np.asarray(acts.values)
    if pooling == "first":
        return values[:, spans[:, 0]].astype(np.float32)
    if pooling == "last":
        return values[:, spans[:, 1] - 1].astype(np.float32)
    lengths = spans[:, 1] - spans[:, 0]
    starts = np.cumsum(lengths) - lengths
    tokens = np.concatenate([np.arange(*span) for span in spans])
    states = np.empty((len(values), len(spans), values.shape[2]), dtype=np.float32)
    for layer, rows in zip(states, values, strict=True):
        np.add.reduceat(rows[tokens].astype(np.float32), starts, axis=0, out=layer)
    states /= lengths[:, None].astype(np.float32)
    return states
