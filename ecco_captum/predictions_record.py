r"""LayerPredictions: what each layer would have said in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ecco_captum.generation import Generation
from ecco_captum.layers import ByLayer
from ecco_captum.legible import in_quotes
from ecco_captum.records import Record
from ecco_captum.tables import data_frame

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class LayerPredictions(ByLayer, Record):
    r"""The tokens that each layer's hidden state puts first, read with the model's own tail.

    Args:
        generation (Generation): the text.
        layers (array): (layers,), int64, rows of the stream: 0 the embedding, k after block k - 1.
        position (int): the token that is predicted, among prompt and outputs in order; in a text
            with masks, among the text.
        true_id (int): the id of the token that stands there (or fills the mask there).
        token_ids (array): (layers, k), int64, the layer's best tokens, the best first.
        probs (array): (layers, k), float32, their probabilities.
        ranks (array): (layers,), int64, the rank of the true token; 1 is the best.
        texts_by_id (dict): from a token's id, in digits, to its text.
        lens (str): "logit lens", or the name of the translators.

    Examples::

        >>> found = layer_predictions(lm, generation, 5, k=3)
        >>> found.true_text, found.texts[-1], found.probs.shape
        (' Paris', [' Paris', ' the', ' London'], (31, 3))
    """

    generation: Generation
    layers: np.ndarray
    position: int
    true_id: int
    token_ids: np.ndarray
    probs: np.ndarray
    ranks: np.ndarray
    texts_by_id: dict[str, str]
    lens: str = "logit lens"

    @property
    def texts(self) -> list[list[str]]:
        """(layers, k): the texts of the layers' best tokens."""
        return [[self.texts_by_id[str(one)] for one in row] for row in self.token_ids.tolist()]

    @property
    def true_text(self) -> str:
        """The token that stands there."""
        return self.texts_by_id[str(self.true_id)]

    @property
    def sentence(self) -> str:
        """Where the true token came first."""
        first = np.flatnonzero(self.ranks == 1)
        true = in_quotes(self.true_text)
        if not first.size:
            best, row = int(self.ranks.min()), int(self.ranks.argmin())
            none = f"None of the layers read ranks {true} first"
            return f"{none}; its best rank is {best}, at {self._called(row)}."
        start, behind = int(first[0]), np.flatnonzero(self.ranks > 1)
        since = int(behind[-1]) + 1 if behind.size else 0
        if len(self.ranks) == 1:
            return f"{true} is ranked first by {self._called(0)}."
        if since <= start:
            return f"{true} is ranked first from {self._called(start)} on."
        if since < len(self.ranks):
            for_good = f"for good from {self._called(since)} on"
            return f"{true} is ranked first at {self._called(start)}, and {for_good}."
        last = f"{self._called(-1)} ranks it {self.ranks[-1]}"
        return f"{true} is ranked first at {self._called(start)}; {last}."

    def to_pandas(self) -> pd.DataFrame:
        r"""Returns one row a token: layer, name, place, token, id, prob, is_true, true_rank."""
        rows, places = np.indices(self.token_ids.shape).reshape(2, -1)
        return data_frame(
            {
                "layer": self.layers[rows],
                "name": np.array(self.layer_names)[rows],
                "place": places + 1,
                "token": [text for row in self.texts for text in row],
                "id": self.token_ids.ravel(),
                "prob": self.probs.ravel(),
                "is_true": self.token_ids.ravel() == self.true_id,
                "true_rank": self.ranks[rows],
            }
        )

    def plot(self, *, width: float = 3.35, title: str = "") -> Figure:
        r"""Returns the table as a figure for a paper.

        Args:
            width (float, optional): inches. Default: 3.35, one column
            title (str, optional): above the picture. Default: none

        Returns:
            Figure: of matplotlib; ``.savefig("figure.pdf")`` writes it.

        Raises:
            ImportError: if matplotlib is not installed (``pip install 'ecco-captum[plot]'``).
        """
        from ecco_captum.lens_plots import predictions_figure

        return predictions_figure(
            self.layer_names,
            self.texts,
            self.probs,
            self.token_ids == self.true_id,
            width=width,
            title=title,
        )

    @property
    def subtitle(self) -> str:
        """What is drawn."""
        return (
            f"{self.generation.model} · {self.lens} · the {self.token_ids.shape[1]} best tokens of "
            f"each layer at position {self.position}, with their probability"
        )

    def _title(self) -> str:
        return "What would each layer have said?"

    def _html(self) -> str:
        from ecco_captum.predictions_html import predictions_view

        return predictions_view(
            self.layer_names,
            self.texts,
            self.probs,
            self.ranks,
            self.token_ids == self.true_id,
            true=self.true_text,
            subtitle=self.subtitle,
            sentence=self.sentence,
        )

    def __repr__(self) -> str:
        layers, k = self.token_ids.shape
        return f"LayerPredictions({layers} layers, {k} tokens each, {self.generation.model})"
