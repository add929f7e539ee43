r"""Factors: which neurons fire together, and at which tokens."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from ecco_captum.activations.record import Activations
from ecco_captum.core.checks import Negatives, Verdict, check_whole
from ecco_captum.core.record import Record, data_frame
from ecco_captum.core.significance import LEVEL, rank_p_value
from ecco_captum.core.text import format_p, format_share, with_interval
from ecco_captum.core.tokens import Tokens

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ecco_captum.models.language_model import LanguageModel

_SINK = 0.9  # of its weight on first tokens, or on one, makes a factor that of an attention sink


@dataclass(frozen=True, eq=False)
class Factors(Record):
    r"""A non-negative factorisation of neurons over tokens: activations ≈ weightsᵀ · components.

    Factors are ordered by energy, the largest first; each component has unit length, so that its
    weights carry the scale of the activations.

    Args:
        activations (Activations): what was factorised.
        weights (array): (components, tokens), float32, how strongly each factor is there.
        components (array): (components, layers, neurons), float32, what each neuron has of it.
        negative_components (array, optional): the same of the neurons' negative parts, where they
            were split; a factor's direction is ``components - negative_components``.
        error (float): norm of what the factors miss, over the norm of what they were fitted to.
        clipped (float): which part of the activations' energy (their sum of squares) was negative
            and taken away before the fit.
        contributions (array): (components,), float64, by how much of the fitted energy the error
            grows where a factor is left out.
        negatives (str): "clip", "split" or "abs": what was done with negative activations.
        settings (dict): iterations, seed and tolerance of the fit.

    Examples::

        >>> factors = nmf(neurons(lm, text), 6, negatives="split")
        >>> factors.transform(neurons(lm, texts)).shape
        (6, 29)
    """

    title: ClassVar[str] = "Neuron factors: which neurons fire together?"
    _axes: ClassVar[dict[str, str]] = {
        "activations.values": "float: layers tokens neurons",
        "weights": "float: components tokens",
        "components negative_components": "float: components layers neurons",
        "contributions": "float: components",
    }

    activations: Activations
    weights: np.ndarray
    components: np.ndarray
    negative_components: np.ndarray | None
    error: float
    clipped: float
    contributions: np.ndarray
    negatives: Negatives = "clip"
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def tokens(self) -> Tokens:
        """The tokens that the weights are of."""
        return self.activations.tokens

    @property
    def count(self) -> int:
        """How many factors there are."""
        return len(self.weights)

    @property
    def directions(self) -> np.ndarray:
        """(components, layers, neurons), float32: negative parts counted below zero."""
        if self.negative_components is None:
            return self.components
        return np.asarray(self.components - self.negative_components)

    def direction(self, component: int) -> np.ndarray:
        r"""Returns one factor's direction, (layers, neurons), float32.

        Args:
            component (int): which factor, from 0.

        Raises:
            ValueError: if there is no such factor.
        """
        return np.asarray(self.directions[self._number(component)])

    def explained(self) -> np.ndarray:
        r"""Returns by how much of the fitted energy the error grows without each, (components,).

        Factors that overlap share what they have in common: the sum is not ``1 - error ** 2``.
        """
        return self.contributions

    @property
    def sinks(self) -> tuple[int, ...]:
        """Factors of attention sinks: 90% of their weight lies on texts' first tokens, or on one.

        Models rest attention that they have no use for there (Xiao et al. 2024), with activations
        so large that such a factor takes most of the energy.
        """
        total = self.weights.sum(axis=1)
        firsts = self.weights[:, self.activations.sequences].sum(axis=1)
        most = np.maximum(firsts, self.weights.max(axis=1))
        return tuple(np.flatnonzero((total > 0) & (most >= _SINK * total)).tolist())

    @property
    def by_interest(self) -> tuple[int, ...]:
        """All factors, those of attention sinks last."""
        return (*(k for k in range(self.count) if k not in self.sinks), *self.sinks)

    def top_tokens(self, component: int, k: int = 10) -> list[tuple[int, str, float]]:
        r"""Returns where a factor is strongest.

        Args:
            component (int): which factor, from 0.
            k (int, optional): how many tokens. Default: 10

        Returns:
            list of tuple: position, text and weight, the strongest first.

        Raises:
            ValueError: if there is no such factor, or ``k`` is no whole number from 1.
        """
        weights = self.weights[self._number(component)]
        check_whole("k", k)
        best = np.argsort(-weights, kind="stable")[:k]
        return [(int(i), self.tokens.texts[i], float(weights[i])) for i in best]

    def top_neurons(self, component: int, k: int = 10) -> list[tuple[int, int, float]]:
        r"""Returns the neurons that have most of a factor.

        Args:
            component (int): which factor, from 0.
            k (int, optional): how many neurons. Default: 10

        Returns:
            list of tuple: block, neuron and its part of the component (negative where the factor
            goes with the neuron's negative values), the largest magnitude first.

        Raises:
            ValueError: if there is no such factor, or ``k`` is no whole number from 1.
        """
        direction = self.direction(component)
        check_whole("k", k)
        best = np.argsort(-np.abs(direction), axis=None, kind="stable")[:k]
        rows, neurons = np.unravel_index(best, direction.shape)
        return [
            (int(self.activations.layers[row]), int(neuron), float(direction[row, neuron]))
            for row, neuron in zip(rows, neurons, strict=True)
        ]

    def match(self, other: Factors) -> tuple[np.ndarray, np.ndarray]:
        r"""Pairs factors with those of another factorisation of the same neurons.

        The pairing makes the sum of cosines between directions largest (Hungarian algorithm, Kuhn
        1955).

        Args:
            other (Factors): it need not be of the same text.

        Returns:
            tuple of array: for each factor the number of its partner, (components,), -1 where the
            other has fewer, and the cosine with it, NaN there.

        Raises:
            TypeError: if it is no Factors.
            ValueError: if its neurons are others.
        """
        from ecco_captum.factors.fits import match

        return match(self, other)

    def transform(self, activations: Activations) -> np.ndarray:
        r"""Returns how strongly these factors are there in other activations.

        Args:
            activations (Activations): of the same layers of the same model, for any text.

        Returns:
            array: (components, tokens), float32, the weights that fit best.

        Raises:
            TypeError: if ``activations`` is none.
            ValueError: if they are of other layers or neurons, or not finite.
        """
        from ecco_captum.factors.fits import transform

        return transform(self, activations)

    def stability(self, seeds: int = 5) -> np.ndarray:
        r"""Returns whether each factor is there again when the fit starts elsewhere.

        The fits have as many rounds as this one had at most, and count as they are after these.

        Args:
            seeds (int, optional): how many fits from random starts. Default: 5

        Returns:
            array: (components,), the mean cosine with its partner in these fits; 1 is the same.

        Raises:
            ValueError: if ``seeds`` is no whole number from 1.
        """
        from ecco_captum.factors.fits import stability

        check_whole("seeds", seeds)
        return stability(self, seeds)

    def effect(self, lm: LanguageModel, texts: Any, component: int, **options: Any) -> FactorEffect:
        r"""Tests what a factor is for: its strongest neurons are taken out, and random ones.

        Args:
            lm (LanguageModel): the model that the factors are of.
            texts (str, ids, Generation, or a list of these): where it is tested; other texts than
                the factors were found in make the better test.
            component (int): which factor.
            **options (Any): ``n_neurons`` (50), ``value`` ("zero"), ``share`` of the tokens that
                counts as high (0.1), ``draws`` of random neurons (39), ``seed``, ``progress``.

        Returns:
            FactorEffect: the change of the loss (of the last hidden state, in a model that does not
            write on) where the factor is high, where it is low, and with as many random neurons.

        Raises:
            ValueError: if an argument is wrong, or the factors do not fit the model or the texts.
        """
        from ecco_captum.factors.effect import measured_effect

        return FactorEffect(**measured_effect(lm, self, texts, component, **options))

    def excerpt(self, texts: list[int]) -> Factors:
        r"""Returns the factors at some of the texts alone; components and errors stay.

        Args:
            texts (list of int): numbers of texts, from 0.

        Raises:
            ValueError: if there are no such texts.
        """
        activations = self.activations.of_texts(texts)
        weights = self.weights[:, self.activations.positions(texts)]
        return dataclasses.replace(self, activations=activations, weights=weights)

    @property
    def _without_sinks(self) -> str:
        """What factors explain beside those of attention sinks; empty without such."""
        if not self.sinks or len(self.sinks) == self.count:
            return ""
        taken = float(self.contributions[list(self.sinks)].sum())
        if not 0 < taken < 1:
            return ""
        rest = max(0.0, 1 - self.error**2 - taken) / (1 - taken)
        names = " and ".join(map(str, self.sinks))
        whose, kind = ("factor", "an attention sink")
        if len(self.sinks) > 1:
            whose, kind = ("factors", "attention sinks")
        return (
            f" {format_share(taken)} is that of {whose} {names}, {kind}; of the rest, the others "
            f"explain {format_share(rest)}."
        )

    @property
    def sentence(self) -> str:
        """How much the factors explain, with and without sinks, and what was clipped before."""
        of = {"clip": "' positive part", "abs": "' magnitudes"}.get(self.negatives, "")
        share = f"{1 - self.error**2:.0%} of the activations{of} (squared error)"
        sentence = f"{self.count} factors explain {share}.{self._without_sinks}"
        if self.negatives == "clip":
            sentence += f" Their negative part, {self.clipped:.1%} of all energy, was clipped."
        return sentence

    @property
    def subtitle(self) -> str:
        """What is drawn."""
        layers, _, neurons = self.activations.shape
        blocks = "1 block" if layers == 1 else f"{layers} blocks"
        return (
            f"{self.activations.model} · NMF of {layers * neurons:,} neurons in {blocks} · weight "
            "of each factor at each token, over its own maximum"
        )

    def to_html(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        interactive: bool = True,
        effects: Sequence[FactorEffect] = (),
        stability: np.ndarray | None = None,
    ) -> str:
        r"""Returns the factors beside the text as one self-contained page.

        Of several texts with more than 10,000 tokens, those are drawn where factors are strongest;
        :meth:`excerpt` chooses others.

        Args:
            path (str or PathLike, optional): where to write the page as well.
            interactive (bool, optional): whether the page's own scripts are in it.
                Default: ``True``
            effects (Sequence of FactorEffect, optional): to stand under the picture.
            stability (array, optional): (components,), what :meth:`stability` returned.
        """
        return self._page(self.fragment(effects, stability), path, interactive)

    def plot(self, *, width: float = 7.0, title: str = "") -> Figure:
        r"""Returns each factor's weights over the tokens as a figure for a paper.

        See :meth:`Record.plot`.
        """
        from ecco_captum.factors.plot import factors_figure

        return factors_figure(self, width=width, title=title)

    def fragment(
        self, effects: Sequence[FactorEffect] = (), stability: np.ndarray | None = None
    ) -> str:
        r"""Returns the view as an HTML fragment, with what :meth:`to_html` takes."""
        from ecco_captum.factors.html import factors_view

        return str(factors_view(self, effects, stability))

    def _number(self, component: int) -> int:
        whole = isinstance(component, int | np.integer) and not isinstance(component, bool)
        if not whole or not 0 <= component < self.count:
            raise ValueError(f"component: got {component!r}, accepts 0 to {self.count - 1}")
        return int(component)

    def to_pandas(self) -> pd.DataFrame:
        r"""Returns one row a factor and token: factor, position, token, weight."""
        factor, position = np.indices(self.weights.shape).reshape(2, -1)
        return data_frame(
            {
                "factor": factor,
                "position": position,
                "token": np.array(self.tokens.texts, dtype=object)[position],
                "weight": self.weights.ravel(),
            }
        )

    def terminal(self) -> list[Any]:
        from ecco_captum.factors.terminal import factors_blocks

        return factors_blocks(self)

    def __repr__(self) -> str:
        return (
            f"Factors({self.count} of {self.activations!r}, error {self.error:.3f}, "
            f"{self.clipped:.1%} clipped)"
        )


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
        random_changes (array): (draws, tokens), float64, the same with random neurons: as many of
            each block, each as active as one of the factor's.
        high (array): (tokens,), bool, where the factor is high.
        low (array): (tokens,), bool, where it is low.
        on_high (array): mean change where the factor is high.
        on_low (array): mean change where it is low.
        random_on_high (array): mean change where it is high, with random neurons.
        margin (array): mean difference between factor and random neurons, where it is high.
        model (str): the model's name.
        settings (dict): what stood in the neurons' place, shares, draws, seed.

    Examples::

        >>> factors = nmf(neurons(encoder, text), 4, negatives="split")
        >>> effect = factors.effect(encoder, texts, 1)
        >>> effect.verdict, effect.on_high.shape, effect.random_changes.shape
        ('inconclusive', (3,), (39, 34))
    """

    _axes: ClassVar[dict[str, str]] = {
        "tokens": "tokens",
        "weights changes": "float: tokens",
        "neurons": "int: neurons 2",
        "random_changes": "float: draws tokens",
        "high low": "bool: tokens",
        "on_high on_low random_on_high margin": "float: 3",
    }

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
    def p_value(self) -> float:
        """How often random neurons change as much where the factor is high."""
        more = self.random_changes[:, self.high].mean(axis=1)
        return float(rank_p_value(self.changes[self.high].mean(), more))

    @property
    def p_specific(self) -> float:
        """How often random neurons' change is as much larger where the factor is high than where
        it is low."""
        own, others = self._contrasts
        return float(rank_p_value(own, others))

    @property
    def p_less(self) -> float:
        """How often random neurons change as little where the factor is high."""
        more = self.random_changes[:, self.high].mean(axis=1)
        return float(rank_p_value(-self.changes[self.high].mean(), -more))

    @property
    def _contrasts(self) -> tuple[float, np.ndarray]:
        """Mean change where it is high less that where it is low; and at random, (draws,)."""
        own = self.changes[self.high].mean() - self.changes[self.low].mean()
        others = self.random_changes
        return float(own), others[:, self.high].mean(axis=1) - others[:, self.low].mean(axis=1)

    @property
    def standardised(self) -> np.ndarray:
        """(1 + draws,), the factor's own first: the smaller of both statistics, the change where it
        is high and its contrast, each in standard deviations of all."""
        high = np.array(
            [self.changes[self.high].mean(), *self.random_changes[:, self.high].mean(1)]
        )
        own, others = self._contrasts
        both = np.stack([high, np.array([own, *others])])
        spread = both.std(axis=1, keepdims=True)
        away = both - both.mean(axis=1, keepdims=True)
        return np.divide(away, spread, out=np.zeros_like(away), where=spread > 0).min(axis=0)

    @property
    def sentence(self) -> str:
        """The result in words, and whether random neurons do the same."""
        count, draws = len(self.neurons), len(self.random_changes)
        random = with_interval(self.random_on_high)
        sentence = (
            f"Without its {count} strongest neurons {_WHAT[self.measure]} changes by "
            f"{with_interval(self.on_high)} {self.unit} where factor {self.component} is high "
            f"({int(self.high.sum())} tokens) and by {with_interval(self.on_low)} where it is low; "
            f"without {count} random neurons that are as active by {random} where it is high "
            f"({draws} draws)"
        )
        p_value = f"(p = {format_p(self.p_value)})"
        if self.verdict == "supported":
            return f"{sentence}. These neurons do more there than random ones {p_value}."
        if self.verdict == "not supported":
            return f"{sentence}. Random neurons do more there (p = {format_p(self.p_less)})."
        return f"{sentence}. That does not differ from random neurons {p_value}."

    @property
    def verdict(self) -> Verdict:
        """Whether these neurons do more than random ones where the factor is high.

        "supported" at 5%, of this factor alone; "not supported" where they do less; else
        "inconclusive". Of several factors that are looked at, the page that they make tells.
        """
        if self.p_value <= LEVEL:
            return "supported"
        return "not supported" if self.p_less <= LEVEL else "inconclusive"

    @property
    def note(self) -> str:
        """What the numbers are, for a table of several effects."""
        count, draws = len(self.neurons), len(self.random_changes)
        what = f"{_WHAT[self.measure]}, {_RELATIVE[self.measure]}"
        return (
            f"Change of {what}, without each factor's {count} strongest neurons: at the "
            f"{int(self.high.sum())} tokens where the factor is highest, at the half where it is "
            f"lowest, and where it is highest without {count} random neurons of the same blocks "
            f"that are as active ({draws} draws). Means with 95% bootstrap intervals over tokens; "
            "p: the rank among the draws."
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

    def terminal(self) -> list[Any]:
        from ecco_captum.factors.terminal import effect_blocks

        return effect_blocks(self)

    def __repr__(self) -> str:
        return f"FactorEffect({self.sentence})"
