r"""How an attribution is put in words and in a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ecco_captum.aggregation import aggregate_phrase
from ecco_captum.tables import data_frame

if TYPE_CHECKING:
    import pandas as pd

    from ecco_captum.attribution_record import Attribution

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
