r"""The experiment that tests what a factor is for: its neurons are taken out, and random ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ecco_captum.activations.ablation import Value, ablate_by_row, separates_rows
from ecco_captum.activations.neurons import hidden_states, neurons
from ecco_captum.activations.record import Activations
from ecco_captum.core.checks import UnsupportedError, check_whole
from ecco_captum.core.intervals import bootstrap_mean
from ecco_captum.core.progress import Progress, progress_bar
from ecco_captum.corpus.sources import texts_of
from ecco_captum.corpus.texts import ReadText, read_texts
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.models.modes import FORWARD_TOKENS, evaluation_mode
from ecco_captum.models.products import fast_products

if TYPE_CHECKING:
    from ecco_captum.factors.record import Factors, Measure

_CLASS = 20  # neurons that are alike, at least


def measured_effect(
    lm: LanguageModel,
    factors: Factors,
    texts: Any,
    component: int,
    *,
    n_neurons: int = 50,
    value: Value = "zero",
    share: float = 0.1,
    draws: int = 39,
    seed: int = 0,
    progress: Progress = None,
) -> dict[str, Any]:
    """Takes a factor's strongest neurons out of the model, and sets of others like them.

    Arguments are those of :meth:`Factors.effect`; returns the fields of a ``FactorEffect``.
    """
    check_whole("n_neurons", n_neurons)
    check_whole("draws", draws)
    check_whole("seed", seed, least=0)
    if isinstance(share, bool) or not isinstance(share, float | int) or not 0 < share <= 0.5:
        raise ValueError(f"share: got {share!r}, accepts a number above 0, up to 0.5")
    several = texts_of(texts)
    if several is not None or isinstance(texts, Iterator):  # they are read several times
        texts = list(texts if several is None else several)
    chosen = [(block, neuron) for block, neuron, _ in factors.top_neurons(component, n_neurons)]
    if len(chosen) < n_neurons:
        raise ValueError(f"n_neurons: got {n_neurons}, the factor is of {len(chosen)}")
    reading = False if callable(progress) else progress
    acts = neurons(lm, texts, layers=factors.activations.layers.tolist(), progress=reading)
    weights = factors.transform(acts)[component]
    measure: Measure = "loss" if _writes_on(lm) else "state"
    rng = np.random.default_rng(seed)
    reads = read_texts(lm, texts, "decoder")
    taken = [[], chosen, *_random(factors, chosen, draws, rng)]
    with progress_bar(progress, total=2 + draws, desc="Ablating") as bar:
        if measure == "loss":
            states = _losses(lm, reads, taken, value, factors.activations, bar)
        else:
            states = _last_states(lm, texts, taken, value, factors.activations, bar)
        base = next(states)
        changes = [_change(base, changed, measure) for changed in states]
    own, others = changes[0], np.array(changes[1:])
    high, low = _parts(weights, ~np.isnan(own), share)
    return {
        "tokens": acts.tokens,
        "component": int(component),
        "weights": weights,
        "neurons": np.array(chosen, dtype=np.int64),
        "measure": measure,
        "changes": own,
        "random_changes": others,
        "high": high,
        "low": low,
        "on_high": bootstrap_mean(own[high], rng),
        "on_low": bootstrap_mean(own[low], rng),
        "random_on_high": bootstrap_mean(others.mean(axis=0)[high], rng),
        "margin": bootstrap_mean((own - others.mean(axis=0))[high], rng),
        "model": lm.name,
        "settings": {
            "value": value if isinstance(value, str | int | float) else repr(value),
            "share": share,
            "draws": draws,
            "seed": seed,
        },
    }


def _writes_on(lm: LanguageModel) -> bool:
    return (
        bool(lm.model.can_generate()) and not lm.is_encoder_decoder and lm.anatomy.head is not None
    )


def _random(
    factors: Factors, chosen: list[tuple[int, int]], draws: int, rng: np.random.Generator
) -> list[list[tuple[int, int]]]:
    """Sets of neurons of the same blocks that are as active, the chosen ones among the candidates.

    Neurons that do more because they are larger are no evidence for a factor. So each block's
    neurons are put into classes of like mean magnitude over the factors' text, and of each class as
    many are drawn as were chosen. Were the chosen ones left out, draws would be more like each
    other than like these, and a set at random would stand out among them.
    """
    taken: dict[int, list[int]] = {}
    for block, neuron in chosen:
        taken.setdefault(block, []).append(neuron)
    classes = [
        (block, members, int(np.isin(ids, members).sum()))
        for block, ids in taken.items()
        for members in _classes(factors, block, len(ids))
    ]
    return [
        [
            (block, int(neuron))
            for block, members, count in classes
            for neuron in rng.choice(members, count, replace=False)
        ]
        for _ in range(draws)
    ]


def _classes(factors: Factors, block: int, count: int) -> list[np.ndarray]:
    """A block's neurons by their mean magnitude, in classes that leave others to draw."""
    acts = factors.activations
    width = acts.shape[2]
    if 2 * count > width:
        raise UnsupportedError(
            f"n_neurons: {count} of the {width} neurons of block {block} would be taken "
            "out, which leaves too few to draw as many others; accepts fewer"
        )
    parts = acts.of_layers(acts.layers.tolist().index(block)).parts()
    sizes = sum(np.abs(values[0]).sum(axis=0, dtype=np.float64) for _, values in parts)
    return np.array_split(np.argsort(sizes, kind="stable"), max(1, width // max(_CLASS, 4 * count)))


def _last_states(
    lm: LanguageModel, texts: Any, sets: list[Any], value: Value, reference: Activations, bar: Any
) -> Iterator[np.ndarray]:
    """Last hidden states, (tokens, width), without each of the sets; an empty one takes nothing."""
    for taken in sets:
        with ablate_by_row(lm, [taken], value, reference):
            states: Activations = hidden_states(lm, texts, layers=-1, progress=False)
        bar.update()
        yield np.asarray(states.values[0], dtype=np.float64)


def _losses(
    lm: LanguageModel,
    reads: Sequence[ReadText],
    sets: list[Any],
    value: Value,
    reference: Activations,
    bar: Any,
) -> Iterator[np.ndarray]:
    """Losses, (tokens,), without each of the sets; several are read in one forward."""
    longest = max(len(text.ids) for text in reads)
    count = max(1, FORWARD_TOKENS // longest) if separates_rows(lm) else 1
    with evaluation_mode(lm.model), fast_products():
        for start in range(0, len(sets), count):
            batch = sets[start : start + count]
            with ablate_by_row(lm, batch, value, reference):
                losses = [_batch_losses(lm, text, len(batch)) for text in reads]
            bar.update(len(batch))
            yield from np.concatenate(losses, axis=1)


@torch.no_grad()
def _batch_losses(lm: LanguageModel, text: ReadText, rows: int) -> np.ndarray:
    """(rows, tokens), nats, of the token that follows each; NaN for the last."""
    inputs = {
        name: torch.tensor([row], device=lm.device).expand(rows, *np.shape(row))
        for name, row in text.inputs.items()
    }
    logits = lm.model(**inputs, use_cache=False).logits[:, -len(text.ids) : -1].float()
    targets = inputs["input_ids"][:, 1:].to(logits.device)
    losses = torch.nn.functional.cross_entropy(logits.mT, targets, reduction="none")
    ends = np.full((rows, 1), np.nan)
    return np.concatenate([losses.double().cpu().numpy(), ends], axis=1)


def _change(base: np.ndarray, changed: np.ndarray, measure: Measure) -> np.ndarray:
    if measure == "loss":
        return np.asarray(changed - base)
    lengths = np.maximum(np.linalg.norm(base, axis=1), np.finfo(np.float64).tiny)
    return np.asarray(np.linalg.norm(changed - base, axis=1) / lengths)


def _parts(weights: np.ndarray, known: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Where the factor is high, and where it is low, among the tokens with a change."""
    count = int(known.sum())
    if count < 4:
        raise UnsupportedError(f"texts: they have {count} tokens to compare, accepts 4 or more")
    order = np.flatnonzero(known)[np.argsort(-weights[known], kind="stable")]
    top = order[: max(2, round(share * count))]
    top = top[weights[top] > 0]
    if not len(top):
        raise UnsupportedError("texts: the factor is nowhere in them, accepts texts that have it")
    high, low = np.zeros((2, len(weights)), dtype=bool)
    high[top], low[order[count // 2 :]] = True, True
    return high, low & ~high
