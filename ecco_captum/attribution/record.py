r"""Attribution: how much each token moved the score of each output; and two of them compared."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from scipy.stats import spearmanr

from ecco_captum.core.record import Record, data_frame
from ecco_captum.core.text import format_share
from ecco_captum.core.tokens import Tokens
from ecco_captum.generation.record import Generation

if TYPE_CHECKING:
    import pandas as pd
    from captum.attr import LLMAttributionResult
    from captum.attr._utils.visualization import VisualizationDataRecord
    from matplotlib.figure import Figure

    from ecco_captum.attribution.faithfulness.record import Faithfulness


_TOP = 5


@dataclass(frozen=True, eq=False)
class Comparison(Record):
    r"""Two attributions of the same outputs of one text.

    Args:
        left (Attribution): the first of the two.
        right (Attribution): the second.
        rank_correlation (array): (explained,), float64, Spearman's correlation of the magnitudes of
            the two rows, over the positions that the output could depend on; NaN for fewer than
            three positions or a constant row.
        overlap (array): (explained,), float64, the share of the strongest five positions (or as
            many as there are) that both have.

    Examples::

        >>> beside = attribution.compare(saliency(lm, generation, method="attention"))
        >>> beside.labels, beside.overlap.shape
        (('gradient × input', 'attention'), (5,))
    """

    title: ClassVar[str] = "Do two attributions agree?"
    _axes: ClassVar[dict[str, str]] = {
        "left.outputs right.outputs": "int: explained",
        "rank_correlation overlap": "float: explained",
    }

    left: Attribution
    right: Attribution
    rank_correlation: np.ndarray
    overlap: np.ndarray

    @property
    def labels(self) -> tuple[str, str]:
        """What tells the two apart: the models where they differ, else the methods."""
        left, right = self.left, self.right
        if left.generation.model != right.generation.model:
            return left.generation.model, right.generation.model
        names = left.label or left.method, right.label or right.method
        return names if names[0] != names[1] else (left.subtitle, right.subtitle)

    def to_pandas(self) -> pd.DataFrame:
        r"""Returns one row an output: output, token, rank_correlation, overlap."""
        tokens, outputs = self.left.tokens, np.asarray(self.left.outputs)
        return data_frame(
            {
                "output": outputs,
                "token": [tokens.texts[tokens.prompt_length + t] for t in outputs],
                "rank_correlation": self.rank_correlation,
                "overlap": self.overlap,
            }
        )

    def fragment(self) -> str:
        r"""Returns the view as an HTML fragment."""
        from ecco_captum.attribution.html import comparison_view

        agreement = {"Spearman": self.rank_correlation, f"top-{_TOP} overlap": self.overlap}
        return str(comparison_view(self, agreement))

    def terminal(self) -> list[Any]:
        from ecco_captum.attribution.terminal import comparison_blocks

        return comparison_blocks(self)

    def __repr__(self) -> str:
        defined = self.rank_correlation[~np.isnan(self.rank_correlation)]
        mean = defined.mean() if len(defined) else np.nan
        names = " | ".join(self.labels)
        return f"Comparison({names}, {len(self.overlap)} outputs, mean Spearman {mean:.2f})"


def compared(left: Attribution, right: Attribution) -> Comparison:
    """Puts two attributions of the same outputs of one text side by side."""
    if not isinstance(right, type(left)):
        raise TypeError(f"other: got a {type(right).__name__}, accepts an Attribution")
    tokens, other_tokens = left.tokens, right.tokens
    if tokens.texts != other_tokens.texts or tokens.prompt_length != other_tokens.prompt_length:
        pairs = zip(tokens.texts, other_tokens.texts, strict=False)
        differ = [i for i, (a, b) in enumerate(pairs) if a != b]
        where = differ[0] if differ else min(len(tokens), len(other_tokens))
        raise ValueError(
            f"other: its tokens differ from position {where} on; two models with tokenizers of "
            "their own can be compared by_word(), if they split words alike"
        )
    if not np.array_equal(np.asarray(left.outputs), np.asarray(right.outputs)):
        raise ValueError("other: it explains other outputs; ask both for the same `outputs`")
    rows = list(zip(np.abs(left.scores), np.abs(right.scores), left.known, strict=True))
    return Comparison(
        left,
        right,
        np.array([rank_correlation(a[:n], b[:n]) for a, b, n in rows]),
        np.array([_overlap(a[:n], b[:n]) for a, b, n in rows]),
    )


def rank_correlation(left: np.ndarray, right: np.ndarray) -> float:
    """Spearman's, NaN where it is not defined."""
    if len(left) < 3 or np.ptp(left) == 0 or np.ptp(right) == 0:
        return float("nan")
    return float(spearmanr(left, right).statistic)


def _overlap(left: np.ndarray, right: np.ndarray) -> float:
    count = min(_TOP, len(left))
    both = set(np.argsort(-left, kind="stable")[:count]) & set(
        np.argsort(-right, kind="stable")[:count]
    )
    return len(both) / count if count else 0.0


# Methods whose numbers are not in the score's unit.
_WEIGHTS = ("attention", "attention_rollout")
_GRADIENTS = ("saliency", "smooth_grad", "guided_backprop", "deconvolution")


def subtitle_of(attribution: Attribution) -> str:
    """What a view of it draws: the model, the method, the score, the aggregation."""
    how = aggregate_phrase(attribution.aggregate)
    parts = [attribution.generation.model, attribution.label or attribution.method]
    if attribution.method not in _WEIGHTS:
        parts.append(attribution.explained)
    return " · ".join([*parts, how] if how else parts)


def unit_of(attribution: Attribution) -> str:
    """What a score is, and its unit."""
    if attribution.method in _WEIGHTS:
        return "attention weight, a mean over heads"
    name, how = attribution.label or attribution.method, aggregate_phrase(attribution.aggregate)
    per = " per unit of the embedding" if attribution.method in _GRADIENTS else ""
    what = f"{how} of {name}" if how else name
    return f"{what}, in {attribution.score_unit}{per}, unnormalised"


def table_of(attribution: Attribution) -> pd.DataFrame:
    """One row a pair of an output and what it could depend on."""
    tokens, shares = attribution.tokens, attribution.shares
    row, position = np.nonzero(np.arange(len(tokens)) < attribution.known[:, None])
    output = np.asarray(attribution.outputs)[row]
    texts = np.array(tokens.texts, dtype=object)
    return data_frame(
        {
            "output": output,
            "output_token": texts[tokens.prompt_length + output],
            "position": position,
            "source_token": texts[position],
            "score": attribution.scores[row, position],
            "share": shares[row, position],
        }
    )


_UNITS = {"logit": "logits", "logprob": "nats", "prob": "probability", "entropy": "nats"}


@dataclass(frozen=True, eq=False)
class Attribution(Record):
    r"""How much each token that was read moved the score of each output.

    Args:
        generation (Generation): the text that was explained.
        scores (array): (explained, positions), float32, raw, in the score's unit, unnormalised.
            Positions are the prompt (or source) and the outputs in order; a row covers what its
            output could depend on, the rest is 0.
        method (str): the method's name.
        outputs (array, optional): (explained,), int64, ascending: which output each row explains.
            Default: all.
        label (str): the method's name in titles.
        score (str): what was explained: "logit", "logprob", "prob" or "entropy".
        versus (tuple of str): the foils whose mean score was taken away.
        foils (tuple of int): their ids.
        aggregate (str): how the attributions to an embedding became one number; empty for methods
            that attribute to whole tokens.
        deltas (array, optional): (explained,), float64, for methods whose attributions should add
            up to ``differences``: by how much their sum misses it (convergence delta).
        differences (array, optional): (explained,), float64, the text's score less its baseline's.
        settings (dict): the method's options, its baseline, the seed.
        spans (array, optional): (groups, 2), int64, start and end of each group of tokens, where
            tokens were grouped; ``scores`` then has one row and one column a group.
        left_as_is (tuple of str): modules by which the same tokens enter the model a second time,
            which the method left as they are: scores are of the first way alone.
        sinks (tuple of int): positions of attention sinks: the text's first token, and every
            beginning-of-text token. Models rest attention on them whatever they say (Xiao et al.
            2023), and attributions with it.
        residuals (array, optional): (explained,), float64, of integrated gradients whose steps were
            chosen by what they miss: the sum of what the steps miss of the score's change, which
            bounds the error of the attributions' sum.

    Examples::

        >>> attribution = saliency(lm, generation)
        >>> attribution.scores.shape, attribution.by_span([(0, 3), (3, 5)]).scores.shape
        ((5, 10), (5, 7))
    """

    title: ClassVar[str] = "Where did each token come from?"
    _axes: ClassVar[dict[str, str]] = {
        "scores": "float: explained positions",
        "outputs": "int: explained",
        "deltas differences residuals": "float: explained",
        "spans": "int: positions 2",
    }
    _labels: ClassVar[dict[str, str]] = {
        "token": "positions: tokens.texts",
        "output_token": "explained: output_texts",
    }

    generation: Generation
    scores: np.ndarray
    method: str
    outputs: np.ndarray | None = None
    label: str = ""
    score: str = "logit"
    versus: tuple[str, ...] = ()
    foils: tuple[int, ...] = ()
    aggregate: str = "l2"
    deltas: np.ndarray | None = None
    differences: np.ndarray | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    spans: np.ndarray | None = None
    left_as_is: tuple[str, ...] = ()
    sinks: tuple[int, ...] = (0,)
    residuals: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.outputs is None:
            explained = np.shape(self.scores)[:1] or (0,)
            object.__setattr__(self, "outputs", np.arange(*explained, dtype=np.int64))
        super().__post_init__()
        if self.spans is not None:
            _check_spans(self.generation.tokens, self.spans)
        _check_outputs(self.tokens, np.asarray(self.outputs))
        _check_scores(self)

    @property
    def tokens(self) -> Tokens:
        """Prompt and outputs in order, or the groups of them."""
        if self.spans is None:
            return self.generation.tokens
        from ecco_captum.attribution.token_groups import grouped_tokens

        return grouped_tokens(self.generation.tokens, self.spans)

    @property
    def output_texts(self) -> list[str]:
        """(explained,), the texts of the outputs that were explained."""
        start = self.tokens.prompt_length
        return [self.tokens.texts[start + output] for output in np.asarray(self.outputs).tolist()]

    @property
    def known(self) -> np.ndarray:
        """(explained,), int64, how many positions each row covers."""
        start = self.tokens.prompt_length
        if self.generation.task in ("causal", "seq2seq"):
            return start + np.asarray(self.outputs)
        return np.full(len(self.scores), start)

    @property
    def shares(self) -> np.ndarray:
        r"""(explained, positions), float64, each row over the sum of its magnitudes.

        Magnitudes of a row add up to 1; a row of zeros (nothing moved the score) has shares of 0.
        """
        scores = self.scores.astype(np.float64)
        sums = np.abs(scores).sum(axis=1, keepdims=True)
        return np.divide(scores, sums, out=np.zeros_like(scores), where=sums > 0)

    @property
    def sink_share(self) -> np.ndarray:
        r"""(explained,), float64, the part of each row's magnitude that lies on attention sinks.

        A group of tokens counts with a sink that is among them; a row of zeros has 0.
        """
        sinks = np.array(self.sinks, dtype=np.int64)
        if self.spans is not None:
            inside = (self.spans[:, :1] <= sinks) & (sinks < self.spans[:, 1:])
            sinks = np.flatnonzero(inside.any(axis=1))
        return np.asarray(np.abs(self.shares[:, sinks]).sum(axis=1))

    def compare(self, other: Attribution) -> Comparison:
        r"""Puts another attribution of the same text beside this one: of another method, or model.

        Args:
            other (Attribution): it explains the same outputs of a text with the same tokens.

        Returns:
            Comparison: both, and how far they agree.

        Raises:
            ValueError: if the texts or the outputs differ.

        Examples::

            >>> attribution.compare(saliency(lm, generation, method="saliency")).overlap.shape
            (5,)
        """

        return compared(self, other)

    def to_pandas(self) -> pd.DataFrame:
        r"""Returns one row a pair: output, output_token, position, source_token, score, share."""
        return table_of(self)

    def plot(self, *, width: float = 7.0, title: str = "") -> Figure:
        r"""Returns the shares, outputs by sources, as a figure for a paper.

        See :meth:`Record.plot`.
        """
        from ecco_captum.attribution.plot import saliency_figure

        return saliency_figure(self, width=width, title=title)

    def by_word(self) -> Attribution:
        r"""Returns the same attribution with the pieces of each word taken together.

        A word goes on as long as letters and digits do. Scores of the pieces are added up, over
        sources and over outputs: the sum of L2 norms, for instance. What the pieces of one output
        word gave each other is left out.

        Returns:
            Attribution: with one row and one column a word.

        Examples::

            >>> city = force_decode(lm, "The capital of Kyrgyzstan is", " Bishkek")
            >>> saliency(lm, city).by_word().tokens.texts
            ('The', ' capital', ' of', ' Kyrgyzstan', ' is', ' Bishkek')
        """
        from ecco_captum.attribution.token_groups import grouped, word_spans

        return grouped(self, word_spans(self.generation.tokens, self.generation.places))

    def by_message(self) -> Attribution:
        r"""Returns the same attribution with each message of a chat taken together.

        Returns:
            Attribution: with one column a message of the prompt; outputs stay by themselves.

        Raises:
            ValueError: if the prompt was no chat whose messages can be separated.
        """
        from ecco_captum.attribution.token_groups import grouped, message_spans

        return grouped(self, message_spans(self.generation))

    def by_span(self, spans: Sequence[tuple[int, int]]) -> Attribution:
        r"""Returns the same attribution with the tokens of each span taken together.

        Args:
            spans (Sequence): (start, end) positions, end excluded, that neither overlap nor cross
                from the prompt into the outputs. Tokens outside of all spans stay by themselves.

        Returns:
            Attribution: with one row and one column a group, scores added up; this one is left as
            it is.

        Raises:
            ValueError: if spans overlap, cross, are empty, or leave the text.
        """
        from ecco_captum.attribution.token_groups import grouped

        return grouped(self, spans)

    def to_captum(self) -> LLMAttributionResult:
        r"""Returns the result as Captum's ``LLMAttributionResult``, with its own plots.

        Its input tokens are the prompt's and those of the outputs before the last explained one.
        """
        from ecco_captum.attribution.captum_bridge import llm_attribution_result

        return llm_attribution_result(self)

    def to_visualization_records(self) -> list[VisualizationDataRecord]:
        r"""Returns one ``VisualizationDataRecord`` an output, for Captum's ``visualize_text``."""
        from ecco_captum.attribution.captum_bridge import visualization_records

        return visualization_records(self)

    @property
    def explained(self) -> str:
        """What was explained, in words."""
        score = "log-probability" if self.score == "logprob" else self.score
        names = " or ".join(f"“{name}”" for name in self.versus)
        return f"{score} against {names}" if names else score

    @property
    def score_unit(self) -> str:
        """The unit of what was explained."""
        return _UNITS[self.score]

    @property
    def subtitle(self) -> str:
        """What a view of this record draws: the model, the method, the score, the aggregation."""
        return subtitle_of(self)

    @property
    def unit(self) -> str:
        """What a score is, and its unit."""
        return unit_of(self)

    @property
    def note(self) -> str:
        """What the picture does not claim."""
        second = ""
        if self.left_as_is:
            second = (
                "This model reads each token in a second place "
                f"({', '.join(self.left_as_is)}), which the method leaves as it is: the picture "
                "is of the first place alone. "
            )
        first = "the first token" if len(self.sinks) == 1 else "the first and begin-of-text tokens"
        sink = f"On average, {format_share(self.sink_share.mean())} of a row lies on {first}. "
        return (
            f"{second}{self._unsettled}{sink}A share says how strongly the method ties an output's "
            "score to a token; it does not say that the token caused the output. The "
            "faithfulness test asks that: it removes tokens and measures the score."
        )

    @property
    def _unsettled(self) -> str:
        """Of how many outputs an integral did not settle."""
        if self.residuals is None or self.differences is None:
            return ""
        most = float(self.settings.get("tolerance", 0.1))
        open_rows = int((self.residuals > most * np.abs(self.differences)).sum())
        if not open_rows:
            return ""
        return (
            f"Of {open_rows} of {len(self.residuals)} outputs the integral is not settled: its "
            f"steps miss more than {most:.0%} of the score's difference. "
        )

    def to_html(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        interactive: bool = True,
        faithfulness: Faithfulness | None = None,
    ) -> str:
        r"""Returns the record as one self-contained page: no network, light and dark.

        Args:
            path (str or PathLike, optional): where to write the page as well. An existing file is
                replaced in one step, so an interrupted write leaves the old one.
            interactive (bool, optional): whether the page's own scripts are in it.
                Default: ``True``
            faithfulness (Faithfulness, optional): the test of this attribution, which is then shown
                under it.

        Returns:
            str: the page.
        """
        below = "" if faithfulness is None else faithfulness.strip()
        return self._page(self.fragment(below), path, interactive)

    def fragment(self, below: str = "") -> str:
        r"""Returns the view as an HTML fragment, with trusted HTML under it."""
        from ecco_captum.attribution.html import saliency_view

        return str(saliency_view(self, below=below))

    def terminal(self) -> list[Any]:
        from ecco_captum.attribution.terminal import attribution_blocks

        return attribution_blocks(self)

    def __repr__(self) -> str:
        rows, positions = self.scores.shape
        return f"Attribution({self.method}, {rows} outputs × {positions} positions)"


Named = Literal["l2", "sum", "l1", "max_abs"]


_PHRASES = {
    "l2": "L2 norm over the embedding",
    "l1": "L1 norm over the embedding",
    "sum": "sum over the embedding",
    "max_abs": "largest magnitude over the embedding",
}


def aggregate_phrase(name: str) -> str:
    """An aggregation in words, for titles; empty for methods that attribute to whole tokens."""
    return _PHRASES.get(name, f"{name} over the embedding" if name else "")


def _check_spans(tokens: Tokens, spans: np.ndarray) -> None:
    edges = [0, *spans[:, 1].tolist()]
    if edges[:-1] != spans[:, 0].tolist() or edges[-1] != len(tokens) or min(np.diff(edges)) < 1:
        raise ValueError(
            f"spans: got {reprlib.repr(spans.tolist())}, accepts the start and end of each group, "
            f"one after the other, from 0 to {len(tokens)}"
        )


def _check_outputs(tokens: Tokens, outputs: np.ndarray) -> None:
    count = len(tokens.outputs)
    if not count:
        raise ValueError(
            f"generation: all of its {len(tokens)} tokens are prompt, accepts a prompt with at "
            "least one output token; there is nothing to explain yet"
        )
    fits = outputs.ndim == 1 and outputs.size > 0 and outputs.dtype.kind in "iu"
    if not fits or outputs[0] < 0 or outputs[-1] >= count or (np.diff(outputs) < 1).any():
        raise ValueError(
            f"outputs: got {reprlib.repr(outputs.tolist())}, accepts ascending indices, each once, "
            f"from 0 to {count - 1}"
        )


def _check_scores(attribution: Attribution) -> None:
    scores = attribution.scores
    shape = (len(np.asarray(attribution.outputs)), len(attribution.tokens))
    if scores.shape != shape:
        raise ValueError(
            f"scores: got shape {scores.shape}, accepts (explained outputs, positions) = {shape}: "
            "a column for each prompt and each output token"
        )
    if not np.isfinite(scores).all():
        where = ", ".join(map(str, np.argwhere(~np.isfinite(scores))[0]))
        raise ValueError(
            f"scores: got {scores[~np.isfinite(scores)][0]} at [{where}], accepts finite numbers; "
            "the usual cause is NaN weights or a float16 overflow"
        )
    if scores[np.arange(shape[1]) >= attribution.known[:, None]].any():
        raise ValueError(
            "scores: got values at tokens that an output cannot depend on, accepts row t with the "
            "prompt and, where a text is written on, the outputs before t; the usual cause is a "
            "shift by one position"
        )
