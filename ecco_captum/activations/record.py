r"""Activations: what neurons, or the residual stream, held at each token."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from ecco_captum.core.checks import chosen_numbers
from ecco_captum.core.record import Record, data_frame
from ecco_captum.core.stored_array import StoredValues
from ecco_captum.core.tokens import Tokens

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["neurons", "hidden"]
StackName = Literal["decoder", "encoder"]

_PART_BYTES = 2**26


@dataclass(frozen=True, eq=False)
class Activations(Record):
    r"""What each layer's neurons (or its hidden state) held at each token of one or more texts.

    Args:
        values (array): (layers, tokens, features). Neurons are those of a feed-forward layer, after
            its non-linearity (and gate), as its down-projection is given them. Of activations on
            disk, a :class:`StoredValues`, which is indexed the same way and read where it is.
        layers (array): (layers,), int64, ascending: of neurons the block, from 0; of hidden states
            the row of the residual stream, 0 for the embedding and k for what block k - 1 returned.
        tokens (Tokens): the tokens of all texts, one text after the other.
        sequences (array): (texts,), int64, where each text starts.
        kind (str): "neurons" or "hidden".
        stack (str): "decoder" for the blocks whose last output becomes the model's, "encoder" for
            those that they attend to.
        model (str): the model's name.

    Examples::

        >>> acts = hidden_states(encoder, texts)
        >>> acts.shape, acts.layer_names[:2], acts.layer(1).shape
        ((7, 34, 384), ['embedding', 'block 0'], (34, 384))
        >>> acts.tokens.texts[acts.text(1)][:4]
        ('[CLS]', ' she', ' opened', ' the')
    """

    _axes: ClassVar[dict[str, str]] = {
        "values": "float: layers tokens features",
        "layers": "int: layers",
        "tokens": "tokens",
        "sequences": "int: texts",
    }
    _labels: ClassVar[dict[str, str]] = {"layer_name": "layers: layer_names"}

    values: np.ndarray | StoredValues
    layers: np.ndarray
    tokens: Tokens
    sequences: np.ndarray
    kind: Kind
    stack: StackName
    model: str

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Activations:
        r"""Opens activations that ``neurons`` or ``hidden_states`` wrote into a folder.

        Their tokens are read, their values only where they are asked for.

        Args:
            path (str or PathLike): the folder, ``store`` of these functions.

        Raises:
            FileNotFoundError: if there is no such folder.
            ImportError: if zarr is not installed (``pip install 'ecco-captum[data]'``).
            ValueError: if it holds something else, or the run that writes it has not finished.

        Examples::

            >>> written = neurons(encoder, texts, layers=[2, 3], store="acts.zarr")
            >>> Activations.open("acts.zarr").layer_names
            ['block 2', 'block 3']
        """
        from ecco_captum.activations.store import open_store

        return cls(**open_store(os.fspath(path)))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(layers, tokens, features)"""
        layers, tokens, features = self.values.shape
        return layers, tokens, features

    @property
    def layer_names(self) -> list[str]:
        """(layers,): "embedding", "block 0", …"""
        first = 0 if self.kind == "neurons" else -1
        blocks = (self.layers + first).tolist()
        return ["embedding" if block < 0 else f"block {block}" for block in blocks]

    def layer(self, layer: int) -> np.ndarray:
        r"""Returns one layer's values, (tokens, features).

        Args:
            layer (int): its number, as in ``layers``; negative ones count from the last.

        Raises:
            ValueError: if it is not among them.
        """
        listed = self.layers.tolist()
        if isinstance(layer, int | np.integer) and -len(listed) <= layer < 0:
            return np.asarray(self.values[int(layer)])
        if isinstance(layer, bool) or layer not in listed:
            raise ValueError(f"layer: got {layer!r}, accepts one of {listed}")
        return np.asarray(self.values[listed.index(int(layer))])

    def of_layers(self, layers: Any) -> Activations:
        r"""Returns the same of some layers alone.

        Args:
            layers (slice, int, list of int, or None): rows of ``values``, not their numbers;
                None means all.

        Raises:
            ValueError: if there are no such rows.
        """
        rows = chosen_numbers("layers", layers, len(self.layers))
        if len(rows) == len(self.layers):
            return self
        held = self.values
        values = held.of_rows(rows) if isinstance(held, StoredValues) else held[rows]
        return dataclasses.replace(self, values=values, layers=self.layers[rows])

    def positions(self, texts: list[int]) -> np.ndarray:
        r"""Returns where the tokens of some texts stand, (their tokens,).

        Args:
            texts (list of int): numbers of texts, from 0.

        Raises:
            ValueError: if there are no such texts.
        """
        chosen = [self.text(number) for number in texts]
        if not chosen:
            raise ValueError(f"texts: got none, accepts numbers of {len(self.sequences)} texts")
        return np.concatenate([np.arange(span.start, span.stop) for span in chosen])

    def of_texts(self, texts: list[int]) -> Activations:
        r"""Returns the same of some texts alone, in memory.

        Args:
            texts (list of int): numbers of texts, from 0, in the order wanted.

        Raises:
            ValueError: if there are no such texts.
        """
        where = self.positions(texts)
        shown = tuple(self.tokens.texts[position] for position in where)
        lengths = [(span := self.text(number)).stop - span.start for number in texts]
        prompt = self.tokens.prompt_length if len(self.sequences) == 1 else len(where)
        return dataclasses.replace(
            self,
            values=self.values[:, where],
            tokens=Tokens(self.tokens.ids[where], shown, prompt),
            sequences=np.cumsum([0, *lengths[:-1]], dtype=np.int64),
        )

    def parts(self, size: int | None = None) -> Iterator[tuple[slice, np.ndarray]]:
        r"""Reads all layers a run of tokens at a time, so that memory stays bounded.

        Args:
            size (int, optional): tokens of one part. Default: 64 MiB of values

        Returns:
            Iterator of tuple: which tokens, and their values (layers, tokens, features).
        """
        layers, count, features = self.shape
        if size is None:
            size = max(1, _PART_BYTES // (layers * features * self.values.dtype.itemsize))
        for start in range(0, count, size):
            where = slice(start, min(start + size, count))
            yield where, np.asarray(self.values[:, where])

    def text(self, number: int) -> slice:
        r"""Returns where the tokens of one text stand.

        Args:
            number (int): which text, from 0.

        Raises:
            ValueError: if there is none of that number.
        """
        count = len(self.sequences)
        whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
        if not whole or not 0 <= number < count:
            raise ValueError(f"number: got {number!r}, accepts 0 to {count - 1}")
        ends = [*self.sequences[1:].tolist(), len(self.tokens)]
        return slice(int(self.sequences[number]), ends[number])

    def to_pandas(self) -> pd.DataFrame:
        r"""Returns one row a token and layer: text, position, token, layer, name, and a column for
        each feature.
        """
        layers, count, features = self.shape
        row, position = np.indices((layers, count)).reshape(2, -1)
        text = np.searchsorted(self.sequences, np.arange(count), side="right") - 1
        names = data_frame(
            {
                "text": text[position],
                "position": position - self.sequences[text[position]],
                "token": np.array(self.tokens.texts, dtype=object)[position],
                "layer": self.layers[row],
                "name": np.array(self.layer_names)[row],
            }
        )
        table = np.asarray(self.values).reshape(-1, features)
        return names.join(data_frame(table))

    def terminal(self) -> list[Any]:
        from ecco_captum.activations.terminal import activations_blocks

        return activations_blocks(self)

    def __repr__(self) -> str:
        layers, tokens, features = self.shape
        texts = f"{len(self.sequences)} text{'' if len(self.sequences) == 1 else 's'}"
        return (
            f"Activations({self.kind}: {layers} layers, {tokens} tokens of {texts}, {features} "
            f"features, {self.model})"
        )
