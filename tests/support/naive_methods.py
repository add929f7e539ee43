r"""The naive loop for every method: Captum's stock class, one output at a time, nothing shared.

    rows = naive_rows(lm, generation, "integrated_gradients", n_steps=20)   # one tensor an output

Embeddings go in by the models' own ``inputs_embeds``, and each output has a plain forward of the
text before it. Methods that draw are given the same seed, and draw for as many positions as the
product does: those that the last explained output reads.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any

import captum.attr
import numpy as np
import torch
from torch import Tensor, nn

from ecco_captum import Generation
from ecco_captum.attribution.methods.attn_lrp import attn_lrp_rules
from ecco_captum.attribution.methods.deep_lift import ReferenceTape
from ecco_captum.models.language_model import LanguageModel


class NaiveTarget(nn.Module):
    r"""The score of one output, by one plain forward of what was before it.

    Args:
        lm (LanguageModel): the model.
        generation (Generation): the text.
        output (int): which of its outputs.
        score (Callable, optional): from logits, (batch, vocabulary), to scores, (batch,). Default:
            the output's logit.
    """

    def __init__(
        self,
        lm: LanguageModel,
        generation: Generation,
        output: int,
        score: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.model, self.task = lm.model, generation.task
        self.source = len(generation.prompt_ids)
        self.score = score
        self.token = int(generation.output_ids[output])
        self.place = -1 if generation.places is None else int(generation.places[output])
        earlier = generation.output_ids[:output].tolist()
        ids = generation.prompt_ids.tolist()
        ids += earlier if self.task in ("causal", "seq2seq") else []
        self.ids = torch.tensor([ids])
        table = lm.model.get_input_embeddings()
        self.embeddings: Tensor = table(self.ids).detach()
        start = torch.tensor([generation.start_ids.tolist()], dtype=torch.long)
        self.start: Tensor = table(start).detach()

    @property
    def length(self) -> int:
        """How many positions it may depend on."""
        return self.ids.shape[1]

    def forward(self, embeddings: Tensor) -> Tensor:
        """From (batch, positions or more, width) to (batch,)."""
        embeddings = embeddings[:, : self.length]
        inputs = {"inputs_embeds": embeddings}
        if self.task == "seq2seq":
            start = self.start.expand(len(embeddings), -1, -1)
            inputs = {
                "inputs_embeds": embeddings[:, : self.source],
                "decoder_inputs_embeds": torch.cat([start, embeddings[:, self.source :]], dim=1),
            }
        options = {} if self.task in ("masked", "classification") else {"use_cache": False}
        logits = self.model(**inputs, **options).logits
        row = logits if self.task == "classification" else logits[:, self.place]
        return row[:, self.token] if self.score is None else self.score(row)


def naive_baseline(lm: LanguageModel, target: NaiveTarget, *, keep_first: bool) -> Tensor:
    """(1, positions, width): the mean embedding of the vocabulary."""
    table = lm.model.get_input_embeddings()
    with torch.no_grad():
        mean = table(torch.arange(table.num_embeddings)).double().mean(dim=0).float()
    baseline = mean.expand_as(target.embeddings).clone()
    if keep_first:
        baseline[:, 0] = target.embeddings[:, 0]
    return baseline


def drawn_baselines(
    lm: LanguageModel, whole: NaiveTarget, *, keep_first: bool, seed: int = 0
) -> Tensor:
    """(10, positions, width): texts drawn from the vocabulary, for the positions of the longest."""
    table = lm.model.get_input_embeddings()
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(table.num_embeddings, (whole.length, 10), generator=generator).T
    baselines: Tensor = table(ids).detach()
    if keep_first:
        baselines[:, 0] = whole.embeddings[:, 0]
    return baselines


def naive_rows(
    lm: LanguageModel, generation: Generation, method: str, *, together: bool = True, **options: Any
) -> list[Tensor]:
    r"""Attributions by the stock class, or by the rules with a plain backward.

    Args:
        lm (LanguageModel): the model, in evaluation mode.
        generation (Generation): the text.
        method (str): a gradient method's name.
        together (bool): whether the product reads one text for all outputs, which says for how many
            positions it draws.
        **options (Any): ``n_steps``, ``n_samples``, ``noise``.

    Returns:
        list of Tensor: one an output, (positions that it may depend on, width).
    """
    count = len(generation.output_ids)
    targets = [NaiveTarget(lm, generation, output) for output in range(count)]
    whole = targets[-1]
    keep_first = generation.task == "causal"
    rows = []
    for target in targets:
        drawn = whole if together else target
        inputs = (drawn if method in ("gradient_shap", "smooth_grad") else target).embeddings
        inputs = inputs.clone().requires_grad_()
        noise = options.get("noise", 0.0) * float(inputs.detach().std())
        baseline = naive_baseline(lm, target, keep_first=keep_first)
        if method in ("gradient_shap", "deep_lift_shap"):
            baseline = drawn_baselines(lm, whole, keep_first=keep_first)[:, : inputs.shape[1]]
        attributions = _METHODS[method](target, inputs, baseline, {**options, "noise": noise})
        rows.append(attributions.detach()[0, : target.length])
    return rows


def seed_everything(seed: int) -> None:
    """The generators that Captum draws from."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def _input_x_gradient(target: Any, inputs: Tensor, baseline: Tensor, options: Any) -> Tensor:
    return captum.attr.InputXGradient(target).attribute(inputs)


def _saliency(target: Any, inputs: Tensor, baseline: Tensor, options: Any) -> Tensor:
    return captum.attr.Saliency(target).attribute(inputs, abs=False)


def _integrated_gradients(target: Any, inputs: Tensor, baseline: Tensor, options: Any) -> Tensor:
    explainer = captum.attr.IntegratedGradients(target)
    return explainer.attribute(inputs, baseline, n_steps=options["n_steps"])


def _gradient_shap(target: Any, inputs: Tensor, baseline: Tensor, options: Any) -> Tensor:
    explainer = captum.attr.GradientShap(target)
    seed_everything(0)
    draws = [
        explainer.attribute(inputs, baseline, n_samples=1, stdevs=options["noise"]).detach()
        for _ in range(options["n_samples"])
    ]
    return torch.stack(draws).mean(dim=0)


def _smooth_grad(target: Any, inputs: Tensor, baseline: Tensor, options: Any) -> Tensor:
    tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(target))
    seed_everything(0)
    return tunnel.attribute(
        inputs,
        nt_type="smoothgrad",
        nt_samples=options["n_samples"],
        nt_samples_batch_size=1,
        stdevs=options["noise"],
        abs=False,
    )


def _guided_backprop(target: Any, inputs: Tensor, baseline: Tensor, options: Any) -> Tensor:
    return _hooked(captum.attr.GuidedBackprop(target), inputs)


def _deconvolution(target: Any, inputs: Tensor, baseline: Tensor, options: Any) -> Tensor:
    return _hooked(captum.attr.Deconvolution(target), inputs)


def _hooked(explainer: Any, inputs: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting backward hooks on ReLU activations")
        return explainer.attribute(inputs)


def _attn_lrp(target: Any, inputs: Tensor, baseline: Tensor, options: Any) -> Tensor:
    with attn_lrp_rules(target.model):
        score = target(inputs)
    (gradient,) = torch.autograd.grad(score.sum(), inputs)
    return gradient * inputs


def _deep_lift(target: Any, inputs: Tensor, baseline: Tensor, options: Any) -> Tensor:
    """The mean over baselines: those are one for DeepLIFT, ten for DeepLIFT SHAP."""
    products = []
    for reference in baseline.split(1):
        tape = ReferenceTape(target.model)
        with tape.recording():
            target(reference.clone().requires_grad_())
        with tape.replaying():
            score = target(inputs)
        (multipliers,) = torch.autograd.grad(score.sum(), inputs)
        products.append(multipliers * (inputs.detach() - reference))
    return torch.stack(products).mean(dim=0)


_METHODS: dict[str, Callable[[Any, Tensor, Tensor, Any], Tensor]] = {
    "input_x_gradient": _input_x_gradient,
    "saliency": _saliency,
    "integrated_gradients": _integrated_gradients,
    "gradient_shap": _gradient_shap,
    "smooth_grad": _smooth_grad,
    "guided_backprop": _guided_backprop,
    "deconvolution": _deconvolution,
    "deep_lift": _deep_lift,
    "deep_lift_shap": _deep_lift,
    "attn_lrp": _attn_lrp,
}

GRADIENT_OPTIONS: dict[str, dict[str, Any]] = {
    **{name: {} for name in _METHODS},
    "integrated_gradients": {"n_steps": 12},
    "gradient_shap": {"n_samples": 4, "noise": 0.1},
    "smooth_grad": {"n_samples": 4, "noise": 0.15},
}
"""Each method's options that keep the loop short."""
