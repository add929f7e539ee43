r"""Both ways between here and Captum: its result classes, and a Captum class of a generation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from captum.attr import GradientAttribution, LLMAttributionResult
from captum.attr._utils.visualization import VisualizationDataRecord
from captum.log import log_usage
from torch import Tensor

from ecco_captum.attribution.methods.gradient import target_gradients
from ecco_captum.generation.record import Generation
from ecco_captum.generation.scores import embedded, scoring, target_scores
from ecco_captum.generation.segments import whole_segment
from ecco_captum.generation.tasks import check_gradients, check_text
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.models.modes import evaluation_mode

if TYPE_CHECKING:
    from ecco_captum.attribution.record import Attribution


def llm_attribution_result(attribution: Attribution) -> LLMAttributionResult:
    """Returns an attribution as the result of Captum's ``LLMAttribution``.

    ``token_attr`` is (explained outputs, positions), ``seq_attr`` its sum over the outputs;
    positions are the prompt and the outputs before the last explained one.
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
    """Returns a record for ``captum.attr.visualization.visualize_text`` for each explained output.

    Attributions are shares. Captum's page does not escape texts: show it only where you trust them.
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


class GenerationInputXGradient(GradientAttribution):  # type: ignore[misc]  # it has no types
    r"""Gradient × input for the outputs of one generation, as a Captum class.

    It can stand wherever Captum takes an attribution method: inside ``NoiseTunnel``, and as the
    explanation that ``captum.metrics.sensitivity_max`` and ``infidelity`` judge. A target is an
    output's number.

    Args:
        lm (LanguageModel): the model.
        generation (Generation): the text; it is teacher-forced, one forward for all outputs.
        score (str, optional): as in :func:`saliency`.
        versus (str, int, or list, optional): as in :func:`saliency`.

    Examples::

        >>> import captum.attr
        >>> explainer = GenerationInputXGradient(lm, generation)
        >>> explainer.attribute(explainer.inputs, target=2).shape
        torch.Size([1, 9, 576])
        >>> tunnel = captum.attr.NoiseTunnel(explainer)
        >>> tunnel.attribute(explainer.inputs, target=2, nt_samples=2, stdevs=0.01).shape
        torch.Size([1, 9, 576])
    """

    def __init__(
        self, lm: LanguageModel, generation: Generation, *, score: str = "logit", versus: Any = None
    ) -> None:
        check_text(lm, generation)
        check_gradients(lm)
        # Tensors of a caller's inference_mode could not be differentiated later.
        with torch.inference_mode(False), evaluation_mode(lm.model):
            segment = whole_segment(lm, generation, range(len(generation.output_ids)))
            self._inputs = embedded(lm, segment)
        scores = target_scores(lm, segment, scoring(lm, score, versus))

        def forward(embeddings: Tensor) -> Tensor:
            with evaluation_mode(lm.model):
                return scores(embeddings)

        super().__init__(forward)

    @property
    def inputs(self) -> Tensor:
        """(1, positions, embedding): the text's embeddings, the last output's left out."""
        return self._inputs

    @property
    def multiplies_by_inputs(self) -> bool:
        return True

    def has_convergence_delta(self) -> bool:
        return False

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor],
        target: Any = None,
        additional_forward_args: Any = None,
    ) -> Tensor | tuple[Tensor]:
        r"""Returns gradient × input.

        Args:
            inputs (Tensor or tuple of one): (batch, positions, embedding), such as :attr:`inputs`.
            target (int, list or Tensor, optional): which output; one, or one a text of the batch.
                Default: all outputs, for a batch of one.
            additional_forward_args (Any, optional): not used.

        Returns:
            Tensor or tuple of one: (batch, positions, embedding); without a target (outputs,
            positions, embedding).
        """
        if isinstance(inputs, tuple):  # as Captum's metrics pass them
            (given,) = inputs
            return (self._products(given, target),)
        return self._products(inputs, target)

    @torch.inference_mode(False)
    def _products(self, inputs: Tensor, target: Any) -> Tensor:
        leaf = inputs.detach().requires_grad_()
        if target is None:
            if len(inputs) != 1:
                raise ValueError(
                    f"target: got None for a batch of {len(inputs)}, accepts None for one text only"
                )
            (gradients,) = target_gradients(self.forward_func, (leaf,))
        else:
            with torch.enable_grad():
                (gradients,) = self.gradient_func(self.forward_func, (leaf,), target)
        return gradients.detach() * inputs
