r"""What explorers and the studio are handed: functions that ask a model for further numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, singledispatch
from typing import TYPE_CHECKING, Any

import numpy as np

from ecco_captum.attribution.methods.catalogue import METHODS
from ecco_captum.attribution.record import Attribution
from ecco_captum.core.progress import Progress
from ecco_captum.core.record import Record
from ecco_captum.factors.record import Factors
from ecco_captum.generation.generate import generate
from ecco_captum.generation.record import Generation
from ecco_captum.lens.record import Rankings
from ecco_captum.models.language_model import LanguageModel

if TYPE_CHECKING:
    from ecco_captum.widgets.studio_page import Analyses

# Methods whose passes are too many for a click are left to code: perturbation without a bound.
_OFFERED = (
    *("input_x_gradient", "saliency", "integrated_gradients", "smooth_grad", "gradient_shap"),
    *(
        "deep_lift",
        "attn_lrp",
        "gim",
        "feature_ablation",
        "occlusion",
        "attention",
        "attention_rollout",
    ),
)
_COMPONENTS, _WATCHED = 8, 3


def functions(lm: LanguageModel, record: Record) -> dict[str, Callable[..., Any] | Any]:
    r"""What an explorer of a record can ask a model, by the names of its arguments.

    Args:
        lm (LanguageModel): the model that the record is of.
        record (Record): what is explored.

    Raises:
        TypeError: if ``lm`` is no model.
        ValueError: if the record is of another model.
    """
    if not isinstance(lm, LanguageModel):
        raise TypeError(f"lm: got a {type(lm).__name__}, accepts what load() or wrap() returns")
    return _functions(record, lm)


@singledispatch
def _functions(record: Record, lm: LanguageModel) -> dict[str, Any]:
    return {}  # explored as it is


def _check_model(lm: LanguageModel, name: str) -> None:
    if name != lm.name:
        raise ValueError(f"lm: got {lm.name!r}, accepts the record's own model, {name!r}")


@_functions.register
def _of_attribution(record: Attribution, lm: LanguageModel) -> dict[str, Any]:
    from ecco_captum.attribution.faithfulness.measure import faithfulness
    from ecco_captum.attribution.saliency import saliency

    _check_model(lm, record.generation.model)
    if record.spans is not None:  # its outputs are groups, which no model writes
        return {}
    return {
        "compute": partial(
            saliency, lm, record.generation, outputs=np.asarray(record.outputs).tolist()
        ),
        "methods": [(METHODS[name].label, name) for name in _OFFERED],
        "test": partial(faithfulness, lm),
    }


@_functions.register
def _of_rankings(record: Rankings, lm: LanguageModel) -> dict[str, Any]:
    from ecco_captum.lens.rankings import layer_predictions

    _check_model(lm, record.generation.model)
    if record.lens != "logit lens":
        return {}
    layers = record.layers.tolist()
    return {"predictions": partial(layer_predictions, lm, record.generation, layers=layers)}


@_functions.register
def _of_factors(record: Factors, lm: LanguageModel) -> dict[str, Any]:
    from ecco_captum.factors.nmf import nmf

    _check_model(lm, record.activations.model)
    acts = record.activations

    def refit(count: int, blocks: list[int]) -> Any:
        rows = [k for k, block in enumerate(acts.layers.tolist()) if block in blocks]
        return nmf(acts, count, layers=rows, negatives=record.negatives)

    def effect(factors: Any, component: int, *, progress: Progress = None) -> Any:
        ends = [*acts.sequences[1:].tolist(), len(acts.tokens)]
        pairs = zip(acts.sequences.tolist(), ends, strict=True)
        texts = [acts.tokens.ids[start:end].tolist() for start, end in pairs]
        return factors.effect(lm, texts, component, progress=progress)

    return {"refit": refit, "effect": effect}


def analyses(lm: LanguageModel) -> Analyses:
    r"""What a studio is handed of a model: how it writes, and an explorer for each analysis.

    Args:
        lm (LanguageModel): the model.

    Raises:
        TypeError: if it is no model.
    """
    from ecco_captum.widgets.studio_page import Analyses

    if not isinstance(lm, LanguageModel):
        raise TypeError(f"lm: got a {type(lm).__name__}, accepts what load() or wrap() returns")
    tabs = {
        "Saliency": _saliency,
        "Rankings": _rankings,
        "Runner-up tokens": _watch,
        "Neuron factors": _factors,
        "Layer similarity": _similarity,
    }
    write = partial(_write, lm)
    return Analyses(lm.name, write, {title: partial(tab, lm) for title, tab in tabs.items()})


def _write(lm: LanguageModel, prompt: str, *, progress: Progress, **options: Any) -> Generation:
    if not lm.model.can_generate():
        return generate(lm, prompt)
    return generate(lm, prompt, progress=progress, **options)


def _saliency(lm: LanguageModel, generation: Generation, *, progress: Progress) -> Any:
    from ecco_captum.attribution.saliency import saliency

    return saliency(lm, generation, progress=progress).explore(lm)


def _rankings(lm: LanguageModel, generation: Generation, *, progress: Progress) -> Any:
    from ecco_captum.lens.rankings import rankings

    return rankings(lm, generation).explore(lm)


def _watch(lm: LanguageModel, generation: Generation, *, progress: Progress) -> Any:
    """The first token that was written, beside those that came next to it."""
    from ecco_captum.lens.rankings import layer_predictions
    from ecco_captum.lens.watch import rankings_watch

    start = generation.tokens.prompt_length
    last = layer_predictions(lm, generation, start, k=_WATCHED + 1, layers=-1).token_ids[-1]
    own = int(generation.output_ids[0])
    others = [token for token in last.tolist() if token != own][:_WATCHED]
    return rankings_watch(lm, generation, [own, *others], position=start - 1).explore()


def _factors(lm: LanguageModel, generation: Generation, *, progress: Progress) -> Any:
    from ecco_captum.activations.neurons import neurons
    from ecco_captum.factors.nmf import nmf

    acts = neurons(lm, generation)
    count = min(_COMPONENTS, len(acts.tokens) - 1)
    return nmf(acts, count, negatives="split").explore(lm)


def _similarity(lm: LanguageModel, generation: Generation, *, progress: Progress) -> Any:
    from ecco_captum.activations.neurons import hidden_states
    from ecco_captum.similarity.compare import compare
    from ecco_captum.widgets.similarity import SimilarityExplorer

    acts = hidden_states(lm, generation)

    def other(measure: Any, *, progress: Progress) -> Any:
        return compare(acts, measure=measure, progress=progress)

    return SimilarityExplorer(other("cka", progress=progress), compute=other)
