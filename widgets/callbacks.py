r"""What explorers and the studio are handed: functions that ask a model for further numbers."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable
from functools import partial, singledispatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ecco_captum.attribution.methods.catalogue import METHODS
from ecco_captum.attribution.record import Attribution
from ecco_captum.core.progress import Progress
from ecco_captum.core.record import Record
from ecco_captum.factors.record import Factors
from ecco_captum.generation.generate import generate
from ecco_captum.generation.record import Generation
from ecco_captum.lens.record import Rankings
from ecco_captum.models.encoding import encode_continuation
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.models.modes import evaluation_mode
from ecco_captum.widgets.runner import Estimate

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
_PROBED, _WORDS = 7, 2000  # layers, and words of the treebank


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
    outputs = np.asarray(record.outputs).tolist()
    offered = {
        "compute": partial(saliency, lm, record.generation, outputs=outputs),
        "methods": [(METHODS[name].label, name) for name in _OFFERED],
        "test": partial(faithfulness, lm),
    }
    if record.generation.task != "causal":
        return offered
    offered["estimate"] = partial(_seconds, lm, record.generation, len(outputs))
    offered["complete"] = Completion(lm)
    # A text with further inputs cannot be edited alone: they have its length.
    if not record.generation.extra_inputs and not record.generation.tokens.starts:
        offered["edit"] = partial(_edited, lm, record.generation, outputs)
    return offered


def _edited(
    lm: LanguageModel,
    generation: Generation,
    outputs: list[int],
    start: int,
    end: int,
    text: str,
    **options: Any,
) -> Attribution:
    """The attribution of the same outputs after a prompt of which some tokens are replaced."""
    from ecco_captum.attribution.saliency import saliency
    from ecco_captum.generation.generate import force_decode

    before, after = generation.prompt_ids[:start].tolist(), generation.prompt_ids[end:].tolist()
    new = encode_continuation(lm, before or None, text) if text else []
    prompt = [*before, *new, *after]
    if not prompt:
        raise ValueError("prompt: nothing is left of it, accepts at least one token")
    edited = force_decode(lm, prompt, generation.output_ids.tolist())
    return saliency(lm, edited, outputs=outputs, **options)


_BACKWARD = 0.5  # forwards that the backward of one output takes, beside those of others


def _seconds(lm: LanguageModel, generation: Generation, outputs: int, name: str) -> Estimate | None:
    """About how long a method takes, by the time of one forward."""
    method, ids = METHODS[name], generation.tokens.ids
    texts = method.texts(method.read_options({}), len(ids))
    with evaluation_mode(lm.model), torch.no_grad():
        given = torch.tensor([ids.tolist()], device=lm.device)
        times = [time.perf_counter()]
        for _ in range(2):  # the first one of a model takes longer
            lm.model(input_ids=given, use_cache=False)
            times.append(time.perf_counter())
        forward = min(np.diff(times))
    cost = 1 + _BACKWARD * outputs if method.differentiates else 1.0
    return Estimate(
        float(forward) * texts * cost,
        f"A shorter text or fewer outputs make it shorter; {METHODS['input_x_gradient'].label} "
        "takes one pass.",
    )


class Completion:
    """Completes the last of some tokens, and says what is unusual about them."""

    def __init__(self, lm: LanguageModel) -> None:
        self.lm = lm
        self._texts: list[str] = []

    def __call__(self, text: str) -> tuple[list[str], str]:
        """Whole texts that complete a text, and a sentence about it; both may be empty."""
        before, comma, last = text.rpartition(",")
        start = before + comma
        if not last.strip():
            return [], ""
        known = self._vocabulary()
        word = last.lstrip()
        starts = (" " + word, word) if not last.startswith(" ") else (" " + word,)
        matched = [one for begin in starts for one in _beginning(known, begin)]
        return [start + one for one in matched[:_COMPLETIONS]], self._hint(last)

    def _hint(self, token: str) -> str:
        count = len(encode_continuation(self.lm, None, token))
        spaced = " " + token
        if not token.startswith(" ") and len(encode_continuation(self.lm, None, spaced)) == 1:
            return (
                f"“{token}” has no space before it, so it continues a word. "
                f"The word by itself is “␣{token}”: type a space first."
            )
        return "" if count == 1 else f"“{token}” is {count} tokens; choose one."

    def _vocabulary(self) -> list[str]:
        """The texts of all tokens, in order."""
        if not self._texts:
            tokenizer = self.lm.tokenizer
            ids = [[k] for k in range(min(len(tokenizer), self.lm.vocabulary_size))]
            pieces = tokenizer.convert_ids_to_tokens([k for (k,) in ids])
            texts = tokenizer.batch_decode(ids, clean_up_tokenization_spaces=False)
            # Decoded alone, such a token loses the space that it starts with.
            whole = [
                piece.replace("▁", " ") if piece and "▁" in piece else text
                for piece, text in zip(pieces, texts, strict=True)
            ]
            self._texts = sorted({text for text in whole if text.strip() and "�" not in text})
        return self._texts


_COMPLETIONS = 20


def _beginning(texts: list[str], start: str) -> list[str]:
    """Those of sorted texts that begin with something, the shortest first."""
    first = bisect_left(texts, start)
    last = bisect_left(texts, start + "\U0010ffff")
    return sorted(texts[first:last], key=lambda text: (len(text), text))[:_COMPLETIONS]


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
        "Probes": _probes,
    }
    return Analyses(
        lm.name,
        partial(_write, lm),
        {title: partial(tab, lm) for title, tab in tabs.items()},
        partial(_report, lm),
        lm.model.can_generate(),
        ("Saliency", "Neuron factors"),
    )


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


def _probes(lm: LanguageModel, generation: Generation, *, progress: Progress) -> Any:
    """Parts of speech, of the package's own treebank: a text alone has no labels."""
    from ecco_captum.probing.probe import probe
    from ecco_captum.probing.treebank import read_conllu

    last = len(lm.anatomy.blocks)
    layers = sorted({round(row) for row in np.linspace(0, last, min(_PROBED, last + 1))})
    return probe(
        lm,
        read_conllu(),
        label="upos",
        representations=["hidden"],
        layers=layers,
        n_tokens=_WORDS,
        progress=progress,
    ).explore()


def _report(lm: LanguageModel, generation: Generation, path: str, *, progress: Progress) -> str:
    from ecco_captum.report.make import report

    where = Path(path).expanduser()
    report(lm, generation, progress=progress).to_html(where)
    return str(where)
