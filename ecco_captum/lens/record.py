r"""Rankings: which rank each layer would have given each token, and how much that means."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from ecco_captum.core.checks import Verdict
from ecco_captum.core.intervals import wilson_interval
from ecco_captum.core.record import Record, data_frame
from ecco_captum.core.significance import LEVEL, rank_p_value
from ecco_captum.core.text import format_number, format_p, in_quotes
from ecco_captum.core.tokens import Tokens
from ecco_captum.generation.record import Generation

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def layer_names(layers: Iterable[int]) -> list[str]:
    """What rows of the stream are called: "embedding", "block 0", …"""
    return ["embedding" if layer == 0 else f"block {layer - 1}" for layer in layers]


class ByLayer:
    """What records have in common whose rows are layers."""

    layers: np.ndarray

    @property
    def layer_names(self) -> list[str]:
        """(layers,): "embedding", "block 0", …"""
        return layer_names(self.layers.tolist())

    def _called(self, row: int) -> str:
        """A layer as a sentence names it; the last row need not be the model's last layer."""
        name = self.layer_names[row]
        return f"the {name}" if name == "embedding" else name


def _check_texts(name: str, texts: dict[str, str], *ids: Any) -> None:
    """Raises a ValueError if a token that is shown has no text."""
    for token in np.unique(np.concatenate([np.ravel(each) for each in ids])).tolist():
        if str(token) not in texts:
            raise ValueError(f"{name}: got none for the id {token}, accepts a text for each id")


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
        top_ids (array): (layers, columns), int64, the layer's top token.
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
        p_prompt (float, optional): how often the prompt's tokens are as probable in random order as
            in their own; None where that was not asked, or the model does not write on.

    Examples::

        >>> ranked = rankings(lm, generation)
        >>> ranked.target_texts[0], ranked.layer_names[ranked.decided[0]]
        (' Paris', 'block 29')
        >>> ranked.shuffled_ranks.shape
        (31, 5)
    """

    title: ClassVar[str] = "When does each token become the top prediction?"
    _axes: ClassVar[dict[str, str]] = {
        "layers": "int: layers",
        "positions target_ids": "int: columns",
        "ranks top_ids shuffled_ranks": "int: layers columns",
        "logits probs top_probs cosine divergence": "float: layers columns",
    }
    _labels: ClassVar[dict[str, str]] = {
        "layer_name": "layers: layer_names",
        "token": "columns: target_texts",
    }

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
    p_prompt: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_texts("texts", self.texts, self.top_ids)

    @property
    def target_texts(self) -> list[str]:
        """(columns,): the tokens that the ranks are of."""
        return [self.generation.tokens.texts[position] for position in self.positions]

    @property
    def top_texts(self) -> list[list[str]]:
        """(layers, columns): each layer's top token."""
        return [[self.texts[str(token)] for token in row] for row in self.top_ids.tolist()]

    @property
    def decided(self) -> np.ndarray:
        """(columns,), int64: the layer from which the token stays first; -1 where the last of
        the layers ranks another one first."""
        others = self.ranks[::-1] > 1
        stays = np.where(others.any(axis=0), others.argmax(axis=0), len(self.ranks))
        first = self.layers[np.minimum(len(self.ranks) - stays, len(self.ranks) - 1)]
        return np.where(stays > 0, first, -1)

    @property
    def first_when_shuffled(self) -> np.ndarray:
        """(columns,), bool: whether the token ranks first where it is decided with shuffled blocks,
        too: it is predicted whatever the text says."""
        since = self.decided
        if self.shuffled_ranks is None:
            return np.zeros(len(since), dtype=bool)
        rows = np.searchsorted(self.layers, since.clip(0)).clip(max=len(self.layers) - 1)
        return (since >= 0) & (self.shuffled_ranks[rows, np.arange(len(since))] == 1)

    @property
    def verdict(self) -> Verdict:
        """Whether the layers say when a model that predicts this text decides on its tokens.

        "not supported" if every token that ends up first is predicted whatever the text says.
        "supported" if none is, and the model predicts the prompt at 5%; "partly supported" if some
        are. Else "inconclusive": of a model that predicts nothing, layers say nothing.
        """
        if self.shuffled_ranks is None or not (self.decided >= 0).any():
            return "inconclusive"
        count = int(self.first_when_shuffled.sum())
        if count == int((self.decided >= 0).sum()):
            return "not supported"
        if self.p_prompt is None or self.p_prompt > LEVEL:
            return "inconclusive"
        return "partly supported" if count else "supported"

    @property
    def sentence(self) -> str:
        """When tokens become the top prediction, and what the shuffled model does."""
        decided, last = self.decided, len(self.layers) - 1
        first, count = decided[decided >= 0], len(self.positions)
        of = f"of {_tokens(count)} first"
        if not first.size or not last:
            said, row = f"{self._called(last)} ranks {self._firsts(self.ranks, last)} {of}", last
        else:
            layer = int(np.sort(first)[(len(first) - 1) // 2])
            row = int(np.flatnonzero(self.layers == layer)[0])
            said = f"{self._called(last)} ranks {len(first)} {of}"
            if row < last:
                said += "; the median one of them" if len(first) > 1 else "; it"
                said += f" stays first from {self._called(row)} on, which ranks "
                said += f"{self._firsts(self.ranks, row)} first"
        said = f"{said[0].upper()}{said[1:]}."
        if self.shuffled_ranks is None:
            return said
        said += " With every block's output shuffled across tokens, "
        said += f"{self._called(row)} ranks {self._firsts(self.shuffled_ranks, row)} first"
        if row < last:
            said += f" and {self._called(last)} {self._firsts(self.shuffled_ranks, last)}"
        if (self.shuffled_ranks[[row, last]] == 1).any():
            said += ": those are predicted whatever the text says"
        return f"{said}."

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
        r"""Returns the heat map as a figure for a paper; see :meth:`Record.plot`.

        ``value`` is "rank", "logit" or "prob"; by default what the record shows.
        """
        from ecco_captum.lens.plot import rankings_figure

        return rankings_figure(self, value or self.value, width=width, title=title)

    def plot_agreement(self, *, width: float = 3.35, title: str = "") -> Figure:
        r"""Returns the test of the lens over layers as a figure for a paper.

        It shows the mean cosine and divergence of each layer, and which part of the tokens is
        ranked first, beside the shuffled model. See :meth:`Record.plot`.
        """
        from ecco_captum.lens.plot import agreement_figure

        return agreement_figure(self, width=width, title=title)

    @property
    def column_names(self) -> list[str]:
        """(columns,): which output, or which token of the prompt, each column is about."""
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

    def fragment(self) -> str:
        from ecco_captum.lens.html import rankings_view

        return str(rankings_view(self))

    def terminal(self) -> list[Any]:
        from ecco_captum.lens.terminal import rankings_blocks

        return rankings_blocks(self)

    def __repr__(self) -> str:
        layers, columns = self.ranks.shape
        return f"Rankings({layers} layers, {_tokens(columns)}, {self.generation.model})"


def _tokens(count: int) -> str:
    return f"{count} token{'' if count == 1 else 's'}"


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
        top_ids (array): (layers,), int64, the layer's top token; with the same leading axis.
        texts (dict): from a token's id, in digits, to its text, for ``top_ids``.
        model (str): the model's name.
        lens (str): "logit lens", or the name of the translators.
        asked (str): "after" the tokens that were read, or "at" them, of a masked model.

    Examples::

        >>> watched = rankings_watch(lm, "The keys to the cabinet", [" is", " are"])
        >>> watched.watch_texts[watched.winners[-1]], int(watched.crossings), watched.ranks.shape
        (' are', 27, (31, 2))
    """

    title: ClassVar[str] = "Which token does each layer prefer?"
    _axes: ClassVar[dict[str, str]] = {
        "watch_ids": "int: watched",
        "watch_texts": "watched",
        "layers": "int: layers",
        "positions": "int: positions",
        "places": "positions",
        "ranks": "int: ... layers watched",
        "logits probs": "float: ... layers watched",
        "top_ids": "int: ... layers",
    }
    _leading: ClassVar[tuple[str, ...]] = ("positions",)
    _labels: ClassVar[dict[str, str]] = {"layer_name": "layers: layer_names"}

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

    def __post_init__(self) -> None:
        super().__post_init__()
        lead = (len(self.positions),) if self.ranks.ndim == 3 else ()
        rows, watched = (*lead, len(self.layers)), len(self.watch_ids)
        for name in ("ranks", "logits", "probs", "top_ids"):
            got, wanted = getattr(self, name).shape, rows if name == "top_ids" else (*rows, watched)
            if got != wanted:
                raise ValueError(f"{name}: got shape {got}, accepts {wanted}")
        _check_texts("texts", self.texts, self.top_ids)

    @property
    def top_texts(self) -> list[list[str]]:
        """(positions, layers): each layer's top token."""
        ids = self.top_ids.reshape(-1, len(self.layers)).tolist()
        return [[self.texts[str(token)] for token in row] for row in ids]

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
        layers = np.where(rows >= 0, self.layers[rows], -1)
        return layers if self.ranks.ndim == 3 else np.asarray(layers[0])

    @property
    def sentence(self) -> str:
        """Who wins, from where on, and by how much."""
        words, last = [in_quotes(text) for text in self.watch_texts], self._called(-1)
        if self.ranks.ndim == 3:
            counts = np.bincount(self.winners[:, -1], minlength=len(words)).tolist()
            said = ", ".join(f"{word} at {n}" for word, n in zip(words, counts, strict=True))
            return f"{last[0].upper()}{last[1:]} prefers, of {sum(counts)} positions, {said}."
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
        r"""Returns the ranks over layers as a figure for a paper; see :meth:`Record.plot`.

        Of several positions there is no figure: watch one of them.
        """
        from ecco_captum.lens.plot import watch_figure

        return watch_figure(self, width=width, title=title)

    @property
    def subtitle(self) -> str:
        """What is drawn."""
        asked = f"{len(self.positions)} positions"
        if self.ranks.ndim == 2:
            asked = f"{self.asked} position {self.positions[0]}, {in_quotes(self.places[0])}"
        return f"{self.model} · {self.lens} · rank of each watched token · {asked}"

    def fragment(self) -> str:
        from ecco_captum.lens.html import watch_view

        return str(watch_view(self))

    def terminal(self) -> list[Any]:
        from ecco_captum.lens.terminal import watched_blocks

        return watched_blocks(self)

    def __repr__(self) -> str:
        words = ", ".join(map(repr, self.watch_texts))
        return f"WatchedRankings({words}; {len(self.layers)} layers, {self.model})"


@dataclass(frozen=True, eq=False)
class LayerPredictions(ByLayer, Record):
    r"""The tokens that each layer's hidden state puts first, read with the model's own tail.

    Args:
        generation (Generation): the text.
        layers (array): (layers,), int64, rows of the stream: 0 the embedding, k after block k - 1.
        position (int): the token that is predicted, among prompt and outputs in order; in a text
            with masks, among the text.
        true_id (int): the id of the token that stands there (or fills the mask there).
        token_ids (array): (layers, k), int64, the layer's top tokens, the first one first.
        probs (array): (layers, k), float32, their probabilities.
        ranks (array): (layers,), int64, the rank of the true token; 1 is the best.
        texts_by_id (dict): from a token's id, in digits, to its text.
        lens (str): "logit lens", or the name of the translators.

    Examples::

        >>> predictions = layer_predictions(lm, generation, 5, k=3)
        >>> predictions.true_text, predictions.texts[-1], predictions.probs.shape
        (' Paris', [' Paris', ' the', ' London'], (31, 3))
    """

    title: ClassVar[str] = "What does each layer predict?"
    _axes: ClassVar[dict[str, str]] = {
        "layers ranks": "int: layers",
        "token_ids": "int: layers k",
        "probs": "float: layers k",
    }
    _labels: ClassVar[dict[str, str]] = {"layer_name": "layers: layer_names"}

    generation: Generation
    layers: np.ndarray
    position: int
    true_id: int
    token_ids: np.ndarray
    probs: np.ndarray
    ranks: np.ndarray
    texts_by_id: dict[str, str]
    lens: str = "logit lens"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_texts("texts_by_id", self.texts_by_id, self.token_ids, self.true_id)

    @property
    def texts(self) -> list[list[str]]:
        """(layers, k): the texts of the layers' top tokens."""
        return [[self.texts_by_id[str(token)] for token in row] for row in self.token_ids.tolist()]

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
        r"""Returns the table as a figure for a paper; see :meth:`Record.plot`."""
        from ecco_captum.lens.plot import predictions_figure

        return predictions_figure(self, width=width, title=title)

    @property
    def subtitle(self) -> str:
        """What is drawn."""
        return (
            f"{self.generation.model} · {self.lens} · the {self.token_ids.shape[1]} top tokens of "
            f"each layer at position {self.position}, with their probability"
        )

    def fragment(self) -> str:
        from ecco_captum.lens.html import predictions_view

        return str(predictions_view(self))

    def terminal(self) -> list[Any]:
        from ecco_captum.lens.terminal import predictions_blocks

        return predictions_blocks(self)

    def __repr__(self) -> str:
        layers, k = self.token_ids.shape
        return f"LayerPredictions({layers} layers, {k} tokens each, {self.generation.model})"


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

    title: ClassVar[str] = "From which layer on is the first filler preferred?"
    _axes: ClassVar[dict[str, str]] = {
        "prompts": "prompts",
        "layers": "int: layers",
        "filler_ids": "int: prompts 2",
        "fillers": "prompts",
        "logprobs": "float: prompts layers 2",
        "ranks": "int: prompts layers 2",
    }
    _labels: ClassVar[dict[str, str]] = {"layer_name": "layers: layer_names"}

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
        rows = self.crossing_rows
        return np.where(rows >= 0, self.layers[rows], -1)

    @property
    def crossing_rows(self) -> np.ndarray:
        """(prompts,), int64: the row of ``layers`` of each crossing; -1 for never."""
        behind = ~(self.margins[:, ::-1] > 0)
        kept = np.where(behind.any(axis=1), behind.argmax(axis=1), len(self.layers))
        return np.where(kept > 0, len(self.layers) - kept, -1)

    @property
    def accuracy(self) -> np.ndarray:
        r"""(layers, 3), float64: which part of the prompts prefers the first filler, and its 95%
        interval (Wilson 1927)."""
        count = len(self.prompts)
        right = (self.margins > 0).sum(axis=0).tolist()
        return np.array([(n / count, *wilson_interval(n, count)) for n in right])

    @property
    def sentence(self) -> str:
        """How many prompts the last layer gets right, by what margin, and from where on."""
        count, rows = len(self.prompts), self.crossing_rows
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
        r"""Returns the margins over layers as a figure for a paper; see :meth:`Record.plot`."""
        from ecco_captum.lens.plot import pairs_figure

        return pairs_figure(self, width=width, title=title)

    @property
    def subtitle(self) -> str:
        """What is drawn."""
        return (
            f"{self.model} · {self.lens} · log-probability of the first filler less the second's, "
            "in nats"
        )

    def fragment(self) -> str:
        from ecco_captum.lens.html import pairs_view

        return str(pairs_view(self))

    def terminal(self) -> list[Any]:
        from ecco_captum.lens.terminal import pairs_blocks

        return pairs_blocks(self)

    def __repr__(self) -> str:
        return f"MinimalPairs({len(self.prompts)} prompts, {len(self.layers)} layers, {self.model})"


@dataclass(frozen=True, eq=False)
class OrderTest(Record):
    r"""The lead of one token over others, and what it is with the text in random order.

    Args:
        watch_texts (tuple of str): (watched,), the tokens that could follow, the winner first.
        lead (float): nats, the winner's logit less the best of the others'.
        shuffled (array): (draws,), float64, nats, the same lead after each shuffled text.
        tokens (int): how many tokens were shuffled.
        model (str): the model's name.
        settings (dict): the seed.
        excess (array, optional): (1 + draws,), float64, nats, of each order, the text's own first:
            how much further its winner leads in it than in the other orders on average.

    Examples::

        >>> test = order_test(lm, "The keys to the cabinet", [" is", " are"], draws=19)
        >>> test.tokens, test.shuffled.shape, test.p_value >= 1 / 20
        (3, (19,), True)
    """

    title: ClassVar[str] = "Does the lead survive another word order?"
    _axes: ClassVar[dict[str, str]] = {
        "watch_texts": "watched",
        "shuffled": "float: draws",
        "excess": "float: draws+1",
    }

    watch_texts: tuple[str, ...]
    lead: float
    shuffled: np.ndarray
    tokens: int
    model: str
    settings: dict[str, Any]
    excess: np.ndarray | None = None

    @property
    def p_value(self) -> float:
        """How often a random order's winner leads as much further in its own order; NaN of a test
        that an earlier version saved."""
        if self.excess is None:
            return float("nan")
        return float(rank_p_value(self.excess[0], self.excess[1:]))

    @property
    def verdict(self) -> Verdict:
        """Whether the lead owes something to the order: "supported" or "inconclusive"."""
        return "supported" if self.p_value <= LEVEL else "inconclusive"

    @property
    def sentence(self) -> str:
        """What the lead is without the order of the text."""
        start = (
            f"{in_quotes(self.watch_texts[0])} leads by {format_number(self.lead)} nats. With "
            f"{self.tokens} tokens in random order it leads by "
            f"{format_number(float(self.shuffled.mean()))} nats on average"
        )
        if self.excess is None:
            return f"{start}."
        draws, as_large = len(self.shuffled), round(self.p_value * (1 + len(self.shuffled))) - 1
        return (
            f"{start}; the winners of {as_large} of {draws} random orders lead as much further in "
            f"their own order (p = {format_p(self.p_value)})."
        )

    def to_pandas(self) -> pd.DataFrame:
        r"""Returns one row an order, the text's own first: shuffled, lead."""
        leads = [self.lead, *self.shuffled.tolist()]
        return data_frame({"shuffled": np.arange(len(leads)) > 0, "lead": leads})

    @property
    def subtitle(self) -> str:
        """What leads over what."""
        others = ", ".join(map(in_quotes, self.watch_texts[1:]))
        return f"{self.model} · {in_quotes(self.watch_texts[0])} beside {others}"

    def fragment(self) -> str:
        from ecco_captum.lens.html import order_view

        return str(order_view(self))

    def terminal(self) -> list[Any]:
        from ecco_captum.lens.terminal import order_blocks

        return order_blocks(self)

    def __repr__(self) -> str:
        return f"OrderTest({self.sentence})"
