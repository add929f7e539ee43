r"""Two attributions of one text, side by side, and how far they agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy.stats import spearmanr

from ecco_captum.core.record import Record, data_frame

if TYPE_CHECKING:
    import pandas as pd

    from ecco_captum.attribution.record import Attribution

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
        return comparison_view(self, agreement)

    def __repr__(self) -> str:
        defined = self.rank_correlation[~np.isnan(self.rank_correlation)]
        mean = defined.mean() if len(defined) else np.nan
        names = " | ".join(self.labels)
        return f"Comparison({names}, {len(self.overlap)} outputs, mean Spearman {mean:.2f})"


def compared(left: Attribution, right: Attribution) -> Comparison:
    r"""Puts two attributions of one text side by side.

    Args:
        left (Attribution): the first of the two.
        right (Attribution): the second.

    Returns:
        Comparison: both, and how far they agree.

    Raises:
        TypeError: if ``right`` is no attribution.
        ValueError: if their tokens or their outputs differ.
    """
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
