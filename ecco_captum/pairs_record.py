r"""MinimalPairs: which of two fillers each layer prefers, over many texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ecco_captum.layers import ByLayer
from ecco_captum.legible import format_number
from ecco_captum.records import Record
from ecco_captum.tables import data_frame

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_Z = 1.959963984540054  # of a two-sided 95% interval


@dataclass(frozen=True, eq=False)
class MinimalPairs(ByLayer, Record):
    r"""For each text, what each layer says of the filler that fits and of the one that does not.

    Args:
        prompts (tuple of str): (prompts,), texts with a blank.
        fillers (tuple): (prompts,), pairs of texts, the one that fits first.
        filler_ids (array): (prompts, 2), int64.
        layers (array): (layers,), int64, rows of the stream: 0 the embedding, k after block k - 1.
        logprobs (array): (prompts, layers, 2), float32, nats.
        ranks (array): (prompts, layers, 2), int64, in the vocabulary; 1 is the best.
        model (str): the model's name.
        lens (str): "logit lens", or the name of the translators.

    Examples::

        >>> pairs = minimal_pairs(lm, ["The keys to the cabinet ___"], ("are", "is"))
        >>> pairs.margins.shape, pairs.crossings, pairs.ranks[0, -1]
        ((1, 31), array([27]), array([ 1, 28]))
    """

    prompts: tuple[str, ...]
    fillers: tuple[tuple[str, str], ...]
    filler_ids: np.ndarray
    layers: np.ndarray
    logprobs: np.ndarray
    ranks: np.ndarray
    model: str
    lens: str = "logit lens"

    @property
    def margins(self) -> np.ndarray:
        """(prompts, layers), float32, nats: log-probability of the first less the second's."""
        return np.asarray(self.logprobs[..., 0] - self.logprobs[..., 1])

    @property
    def crossings(self) -> np.ndarray:
        """(prompts,), int64: the layer from which the first filler stays ahead; -1 for never."""
        rows = self._crossing_rows
        return np.where(rows >= 0, self.layers[rows], -1)

    @property
    def _crossing_rows(self) -> np.ndarray:
        behind = ~(self.margins[:, ::-1] > 0)
        kept = np.where(behind.any(axis=1), behind.argmax(axis=1), len(self.layers))
        return np.where(kept > 0, len(self.layers) - kept, -1)

    @property
    def accuracy(self) -> np.ndarray:
        r"""(layers, 3), float64: which part of the prompts prefers the first filler, and its 95%
        interval (Wilson 1927)."""
        count = len(self.prompts)
        part = (self.margins > 0).mean(axis=0)
        middle = (part + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
        spread = np.sqrt(part * (1 - part) / count + _Z**2 / (4 * count**2))
        half = _Z / (1 + _Z**2 / count) * spread
        # Rounding would say -0% of none.
        return np.stack([part, middle - half, middle + half], axis=1).clip(0, 1)

    @property
    def sentence(self) -> str:
        """How many prompts the last layer gets right, by what margin, and from where on."""
        count, rows = len(self.prompts), self._crossing_rows
        part, low, high = self.accuracy[-1]
        right = rows[rows >= 0]
        texts = f"{len(right)} of {count} text{'' if count == 1 else 's'}"
        name = self._called(-1)
        said = f"{name[0].upper()}{name[1:]} prefers the first filler in {texts}"
        if count > 1:
            said += f" ({part:.0%}, 95% interval {low:.0%} to {high:.0%})"
        said += (
            f", with a median margin of {format_number(float(np.median(self.margins[:, -1])))} nats"
        )
        if not right.size:
            return said + "."
        middle = self._called(int(np.sort(right)[(len(right) - 1) // 2]))
        return f"{said}; the median crossing is at {middle}."

    def to_pandas(self) -> pd.DataFrame:
        r"""Returns one row a prompt and layer: prompt, layer, name, margin, logprob_first,
        logprob_second, rank_first, rank_second."""
        prompt, row = np.indices(self.margins.shape).reshape(2, -1)
        first, second = (self.logprobs[..., k].ravel() for k in (0, 1))
        return data_frame(
            {
                "prompt": np.array(self.prompts, dtype=object)[prompt],
                "layer": self.layers[row],
                "name": np.array(self.layer_names)[row],
                "margin": self.margins.ravel(),
                "logprob_first": first,
                "logprob_second": second,
                "rank_first": self.ranks[..., 0].ravel(),
                "rank_second": self.ranks[..., 1].ravel(),
            }
        )

    def plot(self, *, width: float = 3.35, title: str = "") -> Figure:
        r"""Returns the margins over layers as a figure for a paper.

        Args:
            width (float, optional): inches. Default: 3.35, one column
            title (str, optional): above the picture. Default: none

        Returns:
            Figure: of matplotlib; ``.savefig("figure.pdf")`` writes it.

        Raises:
            ImportError: if matplotlib is not installed (``pip install 'ecco-captum[plot]'``).
        """
        from ecco_captum.lens_plots import pairs_figure

        return pairs_figure(self.layer_names, self.margins, width=width, title=title)

    @property
    def subtitle(self) -> str:
        """What is drawn."""
        return (
            f"{self.model} · {self.lens} · log-probability of the first filler less the second's, "
            "in nats"
        )

    def _title(self) -> str:
        return "Where does each layer start to prefer the first filler?"

    def _html(self) -> str:
        from ecco_captum.pairs_html import pairs_view

        return pairs_view(
            self.prompts,
            self.fillers,
            self.layer_names,
            self.margins,
            self._crossing_rows,
            subtitle=self.subtitle,
            sentence=self.sentence,
        )

    def __repr__(self) -> str:
        return f"MinimalPairs({len(self.prompts)} prompts, {len(self.layers)} layers, {self.model})"
