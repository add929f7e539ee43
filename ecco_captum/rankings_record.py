r"""Rankings: which rank each layer would have given each token, and how much that means."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ecco_captum.generation import Generation
from ecco_captum.layers import ByLayer
from ecco_captum.records import Record
from ecco_captum.tables import data_frame

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Value = Literal["rank", "logit", "prob"]


@dataclass(frozen=True, eq=False)
class Rankings(ByLayer, Record):
    r"""What each layer's hidden states say of each token, read with the model's own tail.

    Rows are layers: 0 the embedding, k the stream after block k - 1; with ``layers`` given, those
    alone. Columns are the tokens that were written (or filled in), or all tokens.

    Args:
        generation (Generation): the text.
        layers (array): (layers,), int64, which row of the stream each row is.
        positions (array): (columns,), int64, the token that each column is about, among prompt and
            outputs in order.
        target_ids (array): (columns,), int64, its id: what decoding chose.
        ranks (array): (layers, columns), int64, its rank in the vocabulary; 1 is the best.
        logits (array): (layers, columns), float32, its logit.
        probs (array): (layers, columns), float32, its probability.
        top_ids (array): (layers, columns), int64, the layer's own best token.
        top_probs (array): (layers, columns), float32, that token's probability.
        cosine (array): (layers, columns), float32, cosine of the layer's probabilities and the
            model's final ones.
        divergence (array): (layers, columns), float32, nats, Kullback–Leibler divergence of the
            layer's distribution from the model's final one, ``sum(final * log(final / layer))``.
        shuffled_ranks (array, optional): (layers, columns), int64, the token's rank with the same
            lens where every block's output was shuffled over the tokens.
        texts (dict): from a token's id, in digits, to its text, for ids above.
        value (str): what views show: "rank", "logit" or "prob".
        lens (str): "logit lens", or the name of the translators.
        settings (dict): the seed of the shuffles.

    Examples::

        >>> found = rankings(lm, generation)
        >>> found.target_texts[0], found.layer_names[found.decided[0]]
        (' Paris', 'block 29')
        >>> found.shuffled_ranks.shape
        (31, 5)
    """

    generation: Generation
    layers: np.ndarray
    positions: np.ndarray
    target_ids: np.ndarray
    ranks: np.ndarray
    logits: np.ndarray
    probs: np.ndarray
    top_ids: np.ndarray
    top_probs: np.ndarray
    cosine: np.ndarray
    divergence: np.ndarray
    shuffled_ranks: np.ndarray | None
    texts: dict[str, str]
    value: Value = "rank"
    lens: str = "logit lens"
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def target_texts(self) -> list[str]:
        """(columns,): the tokens that the ranks are of."""
        return [self.generation.tokens.texts[position] for position in self.positions]

    @property
    def top_texts(self) -> list[list[str]]:
        """(layers, columns): each layer's own best token."""
        return [[self.texts[str(one)] for one in row] for row in self.top_ids.tolist()]

    @property
    def decided(self) -> np.ndarray:
        """(columns,), int64: the layer from which the token stays first; -1 where the last of
        the layers ranks another one first."""
        others = self.ranks[::-1] > 1
        stays = np.where(others.any(axis=0), others.argmax(axis=0), len(self.ranks))
        first = self.layers[np.minimum(len(self.ranks) - stays, len(self.ranks) - 1)]
        return np.where(stays > 0, first, -1)

    @property
    def sentence(self) -> str:
        """When the tokens were decided, and how much of that the unembedding alone would say."""
        decided, last = self.decided, len(self.layers) - 1
        first, count = decided[decided >= 0], len(self.positions)
        of = f"of {_tokens(count)} first"
        if not first.size or not last:
            said, row = f"{self._called(last)} ranks {self._firsts(self.ranks, last)} {of}", last
        else:
            layer = int(np.sort(first)[(len(first) - 1) // 2])
            row = int(np.flatnonzero(self.layers == layer)[0])
            since = f"stays first from {self._called(row)} on"
            said = f"{self._called(last)} ranks {len(first)} {of}; "
            said += f"the median one of them {since}" if len(first) > 1 else f"it {since}"
            said += f", which ranks {self._firsts(self.ranks, row)} first" if row < last else ""
        said = f"{said[0].upper()}{said[1:]}."
        if self.shuffled_ranks is None:
            return said
        prior = f"{self._called(row)} ranks {self._firsts(self.shuffled_ranks, row)} first"
        if row < last:
            prior += f" and {self._called(last)} {self._firsts(self.shuffled_ranks, last)}"
        return (
            f"{said} With every block's output shuffled over the tokens, {prior}: that much is the "
            "unembedding's prior."
        )

    @staticmethod
    def _firsts(ranks: np.ndarray, row: int) -> int | str:
        return int((ranks[row] == 1).sum()) or "none"

    def to_pandas(self) -> pd.DataFrame:
        r"""Returns one row a cell: layer, name, position, token, rank, logit, prob, top, top_prob,
        cosine, divergence and, with the control, shuffled_rank.
        """
        rows, columns = np.indices(self.ranks.shape).reshape(2, -1)
        names, tokens = np.array(self.layer_names), np.array(self.target_texts, dtype=object)
        table = {
            "layer": self.layers[rows],
            "name": names[rows],
            "position": self.positions[columns],
            "token": tokens[columns],
            "rank": self.ranks.ravel(),
            "logit": self.logits.ravel(),
            "prob": self.probs.ravel(),
            "top": [text for row in self.top_texts for text in row],
            "top_prob": self.top_probs.ravel(),
            "cosine": self.cosine.ravel(),
            "divergence": self.divergence.ravel(),
        }
        if self.shuffled_ranks is not None:
            table["shuffled_rank"] = self.shuffled_ranks.ravel()
        return data_frame(table)

    def plot(self, value: Value | None = None, *, width: float = 3.35, title: str = "") -> Figure:
        r"""Returns the heat map as a figure for a paper.

        Args:
            value (str, optional): "rank", "logit" or "prob". Default: what the record shows.
            width (float, optional): inches. Default: 3.35, one column
            title (str, optional): above the picture. Default: none

        Returns:
            Figure: of matplotlib; ``.savefig("figure.pdf")`` writes it.

        Raises:
            ImportError: if matplotlib is not installed (``pip install 'ecco-captum[plot]'``).
        """
        from ecco_captum.lens_plots import rankings_figure

        return rankings_figure(
            self.target_texts,
            self.layer_names,
            self.ranks,
            self.logits,
            self.probs,
            self.top_texts,
            value=value or self.value,
            width=width,
            title=title,
        )

    def plot_agreement(self, *, width: float = 3.35, title: str = "") -> Figure:
        r"""Returns the test of the lens over layers as a figure for a paper.

        Args:
            width (float, optional): inches. Default: 3.35, one column
            title (str, optional): above the picture. Default: none

        Returns:
            Figure: mean cosine and divergence, and which part of the tokens is ranked first, beside
            the shuffled model's.
        """
        from ecco_captum.lens_plots import agreement_figure

        shuffled = self.shuffled_ranks
        return agreement_figure(
            self.layer_names,
            self.cosine,
            self.divergence,
            (self.ranks == 1).mean(axis=1),
            None if shuffled is None else (shuffled == 1).mean(axis=1),
            width=width,
            title=title,
        )

    @property
    def _names(self) -> list[str]:
        start = self.generation.tokens.prompt_length
        return [
            f"output {position - start}" if position >= start else f"position {position}"
            for position in self.positions.tolist()
        ]

    @property
    def subtitle(self) -> str:
        """What is drawn."""
        named = {"rank": "rank", "logit": "logit", "prob": "probability"}[self.value]
        return f"{self.generation.model} · {self.lens} · {named} of each token after each block"

    def _title(self) -> str:
        from ecco_captum.rankings_html import TITLE

        return TITLE

    def _html(self) -> str:
        from ecco_captum.rankings_html import rankings_view

        return rankings_view(
            self.target_texts,
            self.layer_names,
            self.ranks,
            self.logits,
            self.probs,
            self.top_texts,
            self.top_probs,
            value=self.value,
            names=self._names,
            cosine=self.cosine,
            divergence=self.divergence,
            shuffled_ranks=self.shuffled_ranks,
            subtitle=self.subtitle,
            sentence=self.sentence,
        )

    def __repr__(self) -> str:
        layers, columns = self.ranks.shape
        return f"Rankings({layers} layers, {_tokens(columns)}, {self.generation.model})"


def _tokens(count: int) -> str:
    return f"{count} token{'' if count == 1 else 's'}"
