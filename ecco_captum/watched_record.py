r"""WatchedRankings: how candidates for one place stand to each other, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ecco_captum.layers import ByLayer
from ecco_captum.legible import format_number, in_quotes
from ecco_captum.records import Record
from ecco_captum.tables import data_frame
from ecco_captum.tokens import Tokens

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class WatchedRankings(ByLayer, Record):
    r"""Ranks of watched tokens by each layer's hidden state, read with the model's own tail.

    Args:
        tokens (Tokens): the text: prompt, and outputs if there were any.
        watch_ids (array): (watched,), int64.
        watch_texts (tuple of str): (watched,).
        layers (array): (layers,), int64, rows of the stream: 0 the embedding, k after block k - 1.
        positions (array): (positions,), int64, where the model was asked: a causal model and a
            decoder say what follows the token there, a masked model what stands there.
        places (tuple of str): (positions,), the token that was read there.
        ranks (array): (layers, watched), int64, rank in the vocabulary, 1 is the best; with a
            leading axis of positions where several were asked for.
        logits (array): the same shape, float32.
        probs (array): the same shape, float32.
        top_ids (array): (layers,), int64, the layer's own best token; with the same leading axis.
        texts (dict): from a token's id, in digits, to its text, for ``top_ids``.
        model (str): the model's name.
        lens (str): "logit lens", or the name of the translators.
        asked (str): "after" the tokens that were read, or "at" them, of a masked model.

    Examples::

        >>> found = rankings_watch(lm, "The keys to the cabinet", [" is", " are"])
        >>> found.watch_texts[found.winners[-1]], int(found.crossings), found.ranks.shape
        (' are', 27, (31, 2))
    """

    tokens: Tokens
    watch_ids: np.ndarray
    watch_texts: tuple[str, ...]
    layers: np.ndarray
    positions: np.ndarray
    places: tuple[str, ...]
    ranks: np.ndarray
    logits: np.ndarray
    probs: np.ndarray
    top_ids: np.ndarray
    texts: dict[str, str]
    model: str
    lens: str = "logit lens"
    asked: Literal["after", "at"] = "after"

    @property
    def winners(self) -> np.ndarray:
        """(layers,) or (positions, layers), int64: which watched token has the largest logit."""
        return np.asarray(self.logits.argmax(axis=-1))

    @property
    def _leads(self) -> np.ndarray:
        """(positions, layers): by how much the last layer's winner is ahead of all others."""
        logits = self.logits.astype(np.float64).reshape(-1, len(self.layers), len(self.watch_ids))
        own = np.eye(logits.shape[-1], dtype=bool)[logits[:, -1].argmax(axis=-1)][:, None]
        others = np.where(own, -np.inf, logits).max(axis=-1)
        return np.asarray(np.where(own, logits, -np.inf).max(axis=-1) - others)

    @property
    def _crossing_rows(self) -> np.ndarray:
        behind = ~(self._leads[:, ::-1] > 0)
        kept = np.where(behind.any(axis=1), behind.argmax(axis=1), len(self.layers))
        return np.where(kept > 0, len(self.layers) - kept, -1)

    @property
    def crossings(self) -> np.ndarray:
        r"""() or (positions,), int64: the layer from which the token that wins at the last of the
        layers stays ahead of all others; -1 where two are level there.
        """
        rows = self._crossing_rows
        found = np.where(rows >= 0, self.layers[rows], -1)
        return found if self.ranks.ndim == 3 else np.asarray(found[0])

    @property
    def sentence(self) -> str:
        """Who wins, from where on, and by how much."""
        words, last = [in_quotes(text) for text in self.watch_texts], self._called(-1)
        if self.ranks.ndim == 3:
            counts = np.bincount(self.winners[:, -1], minlength=len(words)).tolist()
            said = ", ".join(f"{word} at {n}" for word, n in zip(words, counts, strict=True))
            return f"Ahead at {last}, positions: {said}."
        ranks, logits = self.ranks[-1], self.logits[-1]
        order = np.argsort(-logits, kind="stable")
        first = order[0]
        if len(words) == 1:
            return f"{words[0]} is ranked {ranks[0]} by {last}."
        second, row = order[1], int(self._crossing_rows[0])
        if row < 0:
            return (
                f"{words[first]} and {words[second]} are level at {last}, at rank {ranks[first]}."
            )
        count = len(self.layers)
        ahead = f"at {last}" if count == 1 else f"from {self._called(row)} on"
        if row == 0 and count > 1:
            ahead = f"at all {count} layers read"
        margin = format_number(float(logits[first]) - float(logits[second]))
        return (
            f"{words[first]} is ahead {ahead}; {last} ranks it {ranks[first]} and {words[second]} "
            f"{ranks[second]}, {margin} nats apart."
        )

    def to_pandas(self) -> pd.DataFrame:
        r"""Returns one row a number: position, place, layer, name, token, id, rank, logit, prob."""
        shape = (len(self.positions), len(self.layers), len(self.watch_ids))
        place, row, column = np.indices(shape).reshape(3, -1)
        return data_frame(
            {
                "position": self.positions[place],
                "place": np.array(self.places, dtype=object)[place],
                "layer": self.layers[row],
                "name": np.array(self.layer_names)[row],
                "token": np.array(self.watch_texts, dtype=object)[column],
                "id": self.watch_ids[column],
                "rank": self.ranks.ravel(),
                "logit": self.logits.ravel(),
                "prob": self.probs.ravel(),
            }
        )

    def plot(self, *, width: float = 3.35, title: str = "") -> Figure:
        r"""Returns the ranks over layers as a figure for a paper.

        Args:
            width (float, optional): inches. Default: 3.35, one column
            title (str, optional): above the picture. Default: none

        Returns:
            Figure: of matplotlib; ``.savefig("figure.pdf")`` writes it.

        Raises:
            ImportError: if matplotlib is not installed (``pip install 'ecco-captum[plot]'``).
            ValueError: if several positions were watched.
        """
        from ecco_captum.lens_plots import watch_figure

        if len(self.positions) > 1:
            raise ValueError(
                f"position: {len(self.positions)} positions were watched, a figure shows one; "
                "call rankings_watch with it alone"
            )
        ranks = self.ranks.reshape(len(self.layers), -1)
        row = int(self._crossing_rows[0])
        since = row if row > 0 else None
        return watch_figure(
            self.watch_texts, self.layer_names, ranks, since=since, width=width, title=title
        )

    @property
    def subtitle(self) -> str:
        """What is drawn."""
        asked = f"{len(self.positions)} positions"
        if self.ranks.ndim == 2:
            asked = f"{self.asked} position {self.positions[0]}, {in_quotes(self.places[0])}"
        return f"{self.model} · {self.lens} · rank of each watched token · {asked}"

    def _title(self) -> str:
        return "Which one does each layer prefer?"

    def _html(self) -> str:
        from ecco_captum.watch_html import watch_view

        several = self.ranks.ndim == 3
        texts = np.vectorize(lambda one: self.texts[str(one)], otypes=[object])(self.top_ids)
        return watch_view(
            self.watch_texts,
            self.layer_names,
            self.ranks,
            self.logits,
            self.probs,
            places=self.places if several else None,
            asked=self.asked,
            top_texts=texts.tolist(),
            subtitle=self.subtitle,
            sentence=self.sentence,
        )

    def __repr__(self) -> str:
        words = ", ".join(map(repr, self.watch_texts))
        return f"WatchedRankings({words}; {len(self.layers)} layers, {self.model})"
