r"""A generation's outputs as targets of a Captum class of its own."""

from __future__ import annotations

from typing import Any

import torch
from captum.attr import GradientAttribution
from captum.log import log_usage
from torch import Tensor

from ecco_captum.arguments import check_gradients, check_text
from ecco_captum.generation import Generation
from ecco_captum.gradients import target_gradients
from ecco_captum.models import LanguageModel
from ecco_captum.modes import quiet
from ecco_captum.passages import whole_passage
from ecco_captum.scores import scoring
from ecco_captum.scoring import embedded, target_scores


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
        self,
        lm: LanguageModel,
        generation: Generation,
        *,
        score: str = "logit",
        versus: Any = None,
    ) -> None:
        check_text(lm, generation)
        check_gradients(lm)
        # Tensors of a caller's inference_mode could not be differentiated later.
        with torch.inference_mode(False), quiet(lm.model):
            passage = whole_passage(lm, generation, range(len(generation.output_ids)))
            self._inputs = embedded(lm, passage)
        scores = target_scores(lm, passage, scoring(lm, score, versus))

        def forward(embeddings: Tensor) -> Tensor:
            with quiet(lm.model):
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
