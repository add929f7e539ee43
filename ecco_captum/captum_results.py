r"""Attributions in Captum's own result classes, whose plots and tables then work."""

from __future__ import annotations

import numpy as np
import torch
from captum.attr import LLMAttributionResult
from captum.attr._utils.visualization import VisualizationDataRecord

from ecco_captum.attribution_record import Attribution


def llm_attribution_result(attribution: Attribution) -> LLMAttributionResult:
    r"""Returns an attribution as the result of Captum's ``LLMAttribution``.

    Args:
        attribution (Attribution): the attribution.

    Returns:
        LLMAttributionResult: ``token_attr`` is (explained outputs, positions), ``seq_attr`` its sum
        over the outputs; positions are the prompt and the outputs before the last explained one.
    """
    end = int(attribution.known.max())
    texts = list(attribution.tokens.texts)
    start = attribution.tokens.prompt_length
    scores = torch.tensor(attribution.scores[:, :end])
    return LLMAttributionResult(
        input_tokens=texts[:end],
        output_tokens=[texts[start + t] for t in np.asarray(attribution.outputs)],
        seq_attr=scores.sum(dim=0),
        token_attr=scores,
        output_probs=torch.tensor(_probabilities(attribution)),
    )


def visualization_records(attribution: Attribution) -> list[VisualizationDataRecord]:
    r"""Returns an attribution as records for ``captum.attr.visualization.visualize_text``.

    Captum's page does not escape texts: show it only where you trust them.

    Args:
        attribution (Attribution): the attribution.

    Returns:
        list of VisualizationDataRecord: one an explained output; attributions are shares.
    """
    texts, start = attribution.tokens.texts, attribution.tokens.prompt_length
    records = []
    for row, (output, known) in enumerate(
        zip(np.asarray(attribution.outputs), attribution.known, strict=True)
    ):
        name = texts[start + output]
        missed = 0.0 if attribution.deltas is None else float(attribution.deltas[row])
        records.append(
            VisualizationDataRecord(
                word_attributions=torch.tensor(attribution.shares[row, :known]),
                pred_prob=float(_probabilities(attribution)[row]),
                pred_class=name,
                true_class=name,
                attr_class=name,
                attr_score=float(attribution.scores[row].sum()),
                raw_input_ids=list(texts[:known]),
                convergence_score=missed,
            )
        )
    return records


def _probabilities(attribution: Attribution) -> np.ndarray:
    """(explained,): the model's probability of each output; of a group, that of all its tokens."""
    generation, tokens = attribution.generation, attribution.tokens
    logprobs = generation.logprobs.astype(np.float64)
    outputs = np.asarray(attribution.outputs)
    if attribution.spans is None:
        return np.exp(logprobs[outputs])
    spans = attribution.spans[tokens.prompt_length + outputs] - len(generation.prompt_ids)
    return np.exp([logprobs[start:end].sum() for start, end in spans])
