r"""What ``saliency.py`` times: this package, plain torch, and other libraries.

A contestant is built once around a loaded model; it is then called with a case and a meter, and
runs what counts under the meter. Other libraries are called as their documentation calls them, on
the model as it was loaded, with the options that come closest to gradient × input of the target's
logit. They differ in the score whose gradient they take, in how they reduce it over the embedding,
and in the positions that they cover; a contestant's definition says how.
"""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np


@dataclass(frozen=True)
class MethodInput:
    r"""One text to explain, as ids and as the text that libraries without ids are given.

    Args:
        prompt_ids (list of int): what goes before.
        output_ids (list of int): the targets.
        prompt (str): the prompt's ids, decoded.
        text (str): the ids of prompt and outputs, decoded together.
    """

    prompt_ids: list[int]
    output_ids: list[int]
    prompt: str
    text: str

    @property
    def lengths(self) -> tuple[int, int]:
        """How many prompt tokens and outputs there are."""
        return len(self.prompt_ids), len(self.output_ids)


@dataclass(frozen=True)
class Definition:
    r"""What a contestant's numbers are.

    Args:
        score (str): of the target token; its gradient is multiplied by the input.
        reduction (str): how that product becomes one number a token.
        earlier_outputs (bool): whether earlier outputs get a number, too.
    """

    score: Literal["logit", "log-probability"] = "logit"
    reduction: Literal["L2", "sum", "mean of absolutes"] = "L2"
    earlier_outputs: bool = True

    def __str__(self) -> str:
        covered = "" if self.earlier_outputs else ", prompt only"
        return f"{self.score}, {self.reduction}{covered}"


@dataclass
class Meter:
    r"""Time and memory of what runs under it.

    Args:
        seconds (float): wall-clock time so far.
        peak (int): the most memory that the process held meanwhile, in bytes.
    """

    seconds: float = 0.0
    peak: int = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """While active, the meter runs."""
        forget_peak()
        start = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - start
        self.peak = max(self.peak, peak_memory())


def forget_peak() -> None:
    """Lets the peak start again from what the process holds now; only Linux can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """The most memory that this process has held, in bytes (on Linux since it was forgotten)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@dataclass(frozen=True)
class Scores:
    r"""What a contestant found.

    Args:
        rows (list of array): one row an output, a number for each position that it covers.
        lengths (tuple of int): the prompt tokens and outputs that it worked on, which differ from
            the case's where a library cut the text into other tokens.
    """

    rows: list[np.ndarray]
    lengths: tuple[int, int]


Run = Callable[[MethodInput, Meter], Scores]


@dataclass(frozen=True)
class Contestant:
    r"""Something to time.

    Args:
        title (str): its name in tables.
        package (str): the package that it needs.
        definition (Definition): what its numbers are.
        build (Callable): takes a ``LanguageModel``, returns the function that is timed.
    """

    title: str
    package: str
    definition: Definition
    build: Callable[[Any], Run]


def rows_up_to(table: Any, prompt: int) -> list[np.ndarray]:
    """The rows of (outputs, positions), each cut before its own output."""
    return [np.asarray(row[: prompt + t]) for t, row in enumerate(table)]


def naive_rows(lm: Any, case: MethodInput, definition: Definition) -> list[np.ndarray]:
    """One forward and one backward for each target, nothing shared."""
    import torch

    rows = []
    for ids, target in prefixes(case):
        embeddings, score = _prefix_score(lm, ids, target, definition.score)
        (gradient,) = torch.autograd.grad(score, embeddings)
        row = reduced((gradient * embeddings).detach()[0], definition.reduction)
        rows.append(row if definition.earlier_outputs else row[: len(case.prompt_ids)])
    return rows


def prefixes(case: MethodInput) -> Iterator[tuple[list[int], int]]:
    """Each target and the ids before it."""
    for t, target in enumerate(case.output_ids):
        yield case.prompt_ids + case.output_ids[:t], target


def _prefix_score(lm: Any, ids: list[int], target: int, kind: str) -> tuple[Any, Any]:
    """The embeddings of a prefix and, depending on them, the score of the token that follows."""
    import torch

    embed = lm.model.get_input_embeddings()
    embeddings = embed(torch.tensor([ids])).detach().requires_grad_()
    output = lm.model(inputs_embeds=embeddings, use_cache=False, logits_to_keep=1)
    logits = output.logits[0, -1]
    return embeddings, (logits if kind == "logit" else logits.log_softmax(dim=-1))[target]


def reduced(product: Any, reduction: str) -> np.ndarray:
    if reduction == "sum":
        return product.sum(dim=-1).numpy()
    if reduction == "L2":
        return product.norm(dim=-1).numpy()
    return product.abs().mean(dim=-1).numpy()


def _ecco_captum(lm: Any) -> Run:
    from ecco_captum import force_decode, saliency

    def run(case: MethodInput, meter: Meter) -> Scores:
        generation = force_decode(lm, case.prompt_ids, case.output_ids)
        with meter.running():
            attribution = saliency(lm, generation, progress=False)
        return Scores(rows_up_to(attribution.scores, len(case.prompt_ids)), case.lengths)

    return run


def _naive_loop(lm: Any) -> Run:
    # Weights that ask for gradients would make each forward keep more than it needs.
    lm.model.requires_grad_(False)

    def run(case: MethodInput, meter: Meter) -> Scores:
        with meter.running():
            rows = naive_rows(lm, case, Definition())
        return Scores(rows, case.lengths)

    return run


def _floor(lm: Any) -> Run:
    """One forward over the text, one backward a target; the backwards' own forwards are free."""
    import torch

    lm.model.requires_grad_(False)

    def run(case: MethodInput, meter: Meter) -> Scores:
        text = torch.tensor([case.prompt_ids + case.output_ids[:-1]])
        with meter.running(), torch.no_grad():
            lm.model(input_ids=text, use_cache=False, logits_to_keep=len(case.output_ids))
        rows = []
        for ids, target in prefixes(case):
            embeddings, score = _prefix_score(lm, ids, target, "logit")
            with meter.running():
                (gradient,) = torch.autograd.grad(score, embeddings)
            rows.append(reduced((gradient * embeddings).detach()[0], "L2"))
        return Scores(rows, case.lengths)

    return run


def _captum(lm: Any) -> Run:
    """It takes the prompt as text, and the targets as ids."""
    import torch
    from captum.attr import LayerGradientXActivation, LLMGradientAttribution, TextTokenInput

    layer = LayerGradientXActivation(lm.model, lm.model.get_input_embeddings())
    explainer = LLMGradientAttribution(layer, lm.tokenizer)

    def run(case: MethodInput, meter: Meter) -> Scores:
        with meter.running():
            prompt = TextTokenInput(case.prompt, lm.tokenizer)
            result = explainer.attribute(prompt, target=torch.tensor(case.output_ids))
        table = result.token_attr.numpy()
        return Scores(list(table), (table.shape[1], table.shape[0]))

    return run


def _inseq(lm: Any) -> Run:
    """It takes prompt and whole text as texts; its gradients are not yet reduced."""
    import inseq

    explainer = inseq.load_model(lm.model, "input_x_gradient", tokenizer=lm.tokenizer)

    def run(case: MethodInput, meter: Meter) -> Scores:
        with meter.running():
            result = explainer.attribute(
                case.prompt, case.text, attributed_fn="logit", show_progress=False
            )
        found = result.sequence_attributions[0]
        prompt, end = found.attr_pos_start, found.attr_pos_end
        table = found.target_attributions.norm(dim=-1).T
        return Scores(rows_up_to(table, prompt), (prompt, end - prompt))

    return run


def _interpreto(lm: Any) -> Run:
    """It takes ids, but decodes them and cuts the text into tokens again."""
    import torch
    from interpreto import Granularity, Saliency
    from transformers import BatchEncoding

    explainer = Saliency(lm.model, lm.tokenizer, granularity=Granularity.ALL_TOKENS)

    def run(case: MethodInput, meter: Meter) -> Scores:
        ids = torch.tensor([case.prompt_ids])
        prompt = BatchEncoding({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
        with meter.running():
            (result,) = explainer.explain(prompt, torch.tensor(case.output_ids))
        targets, positions = result.attributions.shape
        rows = rows_up_to(result.attributions, positions - targets)
        return Scores(rows, (positions - targets, targets))

    return run


_SIGNED_SUM = Definition("log-probability", "sum", earlier_outputs=False)
_MEAN = Definition(reduction="mean of absolutes")

CONTESTANTS = {
    "ecco-captum": Contestant("ecco-captum", "ecco_captum", Definition(), _ecco_captum),
    "naive": Contestant("naive loop", "torch", Definition(), _naive_loop),
    "floor": Contestant("floor", "torch", Definition(), _floor),
    "captum": Contestant("Captum", "captum", _SIGNED_SUM, _captum),
    "inseq": Contestant("Inseq", "inseq", Definition(), _inseq),
    "interpreto": Contestant("Interpreto", "interpreto", _MEAN, _interpreto),
}
