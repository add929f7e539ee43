r"""Words of a treebank in a model: which tokens each has, and one vector for each at each layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecco_captum.activations.record import Activations
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.probing.options import Pooling
from ecco_captum.probing.treebank import TaggedCorpus, TaggedSentence


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
    r"""Finds the tokens of words by the tokenizer's offsets.

    Args:
        lm (LanguageModel): whose tokenizer cuts the sentences; special tokens stand around each.
        corpus (TaggedCorpus): the sentences, taken in their order.
        most (int): how many words are wanted.

    Raises:
        ValueError: if the tokenizer cannot tell where its tokens are in the text.
    """
    if not getattr(lm.tokenizer, "is_fast", False):
        raise ValueError(
            f"lm: the tokenizer of {lm.name!r} does not tell where its tokens stand in the text; "
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
    r"""Returns one vector for each word.

    Args:
        acts (Activations): of the sentences, in memory.
        places (sequence of array): (words, 2) of each sentence, its tokens.
        pooling (str): ``"first"`` or ``"last"`` token of a word, or the ``"mean"`` of all.

    Returns:
        array: (layers, words, features), float32.
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
