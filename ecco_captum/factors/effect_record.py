r"""FactorEffect: what taking a factor's strongest neurons out does, beside as many random ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ecco_captum.core.choices import Verdict
from ecco_captum.core.record import Record, data_frame
from ecco_captum.core.text import with_interval
from ecco_captum.core.tokens import Tokens

if TYPE_CHECKING:
    import pandas as pd


Measure = Literal["loss", "state"]

_UNITS = {"loss": "nats", "state": "of the state's length"}
_RELATIVE = {"loss": "in nats", "state": "over the state's length"}
_WHAT = {"loss": "the loss of the token that follows", "state": "the last hidden state"}


@dataclass(frozen=True, eq=False)
class FactorEffect(Record):
    r"""What taking a factor's strongest neurons out does, beside as many random ones.

    Means come with their 95% bootstrap interval over tokens, (3,): mean, low, high.

    Args:
        tokens (Tokens): the tokens of all texts, one text after the other.
        component (int): which factor.
        weights (array): (tokens,), float32, how strongly it is there.
        neurons (array): (neurons, 2), int64, block and neuron of what was taken out.
        measure (str): "loss", the change of the loss of the token that follows, in nats; "state",
            of a model without a head that writes on, the change of the last hidden state, relative
            to its length.
        changes (array): (tokens,), float64, the change at each token; NaN where nothing follows.
        random_changes (array): (draws, tokens), float64, the same with random neurons of the same
            blocks, as many in each.
        high (array): (tokens,), bool, where the factor is high.
        low (array): (tokens,), bool, where it is low.
        on_high (array): mean change where the factor is high.
        on_low (array): mean change where it is low.
        random_on_high (array): mean change where it is high, with random neurons.
        margin (array): mean difference between factor and random neurons, where it is high.
        model (str): the model's name.
        settings (dict): what stood in the neurons' place, shares, draws, seed.

    Examples::

        >>> found = nmf(neurons(encoder, text), 4, negatives="split")
        >>> effect = found.effect(encoder, texts, 1)
        >>> effect.verdict, effect.on_high.shape, effect.random_changes.shape
        ('supported', (3,), (10, 34))
    """

    tokens: Tokens
    component: int
    weights: np.ndarray
    neurons: np.ndarray
    measure: Measure
    changes: np.ndarray
    random_changes: np.ndarray
    high: np.ndarray
    low: np.ndarray
    on_high: np.ndarray
    on_low: np.ndarray
    random_on_high: np.ndarray
    margin: np.ndarray
    model: str
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def unit(self) -> str:
        """Of the changes."""
        return _UNITS[self.measure]

    @property
    def sentence(self) -> str:
        """The result in words, and whether random neurons do the same."""
        count, draws = len(self.neurons), len(self.random_changes)
        random = with_interval(self.random_on_high)
        sentence = (
            f"Without its {count} strongest neurons {_WHAT[self.measure]} changes by "
            f"{with_interval(self.on_high)} {self.unit} where factor {self.component} is high "
            f"({int(self.high.sum())} tokens) and by {with_interval(self.on_low)} where it is low; "
            f"without {count} random neurons of the same blocks by {random} where it is high "
            f"({draws} draws)"
        )
        margin = with_interval(self.margin)
        if self.verdict == "supported":
            return f"{sentence}. These neurons do more there than random ones, by {margin}."
        if self.verdict == "not supported":
            less = with_interval(-self.margin[[0, 2, 1]])
            return f"{sentence}. Random neurons do more there, by {less}."
        return f"{sentence}. That does not differ from what random neurons do ({margin})."

    @property
    def verdict(self) -> Verdict:
        """Whether these neurons do more than random ones: "supported", "not supported" where they
        do less, else "inconclusive"."""
        low, high = self.margin[1:]
        return "supported" if low > 0 else "not supported" if high < 0 else "inconclusive"

    @property
    def note(self) -> str:
        """What the numbers are, for a table of several effects."""
        count, draws = len(self.neurons), len(self.random_changes)
        what = f"{_WHAT[self.measure]}, {_RELATIVE[self.measure]}"
        return (
            f"Change of {what}, without each factor's {count} strongest neurons: at the "
            f"{int(self.high.sum())} tokens where the factor is highest, at the half where it is "
            f"lowest, and where it is highest without {count} random neurons of the same blocks "
            f"({draws} draws). Means with 95% bootstrap intervals over tokens."
        )

    def to_pandas(self) -> pd.DataFrame:
        r"""Returns one row a token: position, token, weight, high, low, change, random_change."""
        return data_frame(
            {
                "position": np.arange(len(self.tokens)),
                "token": self.tokens.texts,
                "weight": self.weights,
                "high": self.high,
                "low": self.low,
                "change": self.changes,
                "random_change": self.random_changes.mean(axis=0),
            }
        )

    def __str__(self) -> str:
        return self.sentence

    def __repr__(self) -> str:
        return f"FactorEffect({self.sentence})"
