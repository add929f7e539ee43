r"""Runs every attribution method on tiny models of several families, beside the naive loop.

Prints a Markdown table. Gradient methods show the largest error to Captum's stock class run one
output at a time (relative to the largest attribution), others that are complete show how much of
the difference their sum misses, and refusals a note with the reason::

    python benchmarks/methods.py             # tiny random models, seconds
    python benchmarks/methods.py --model     # SmolLM2-135M as well, minutes
"""

from __future__ import annotations

import argparse
import re
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from method_samples import SEPARATE, Subject, rows_of, subject
from naive_methods import GRADIENT_OPTIONS, naive_rows

import ecco_captum
from ecco_captum import force_decode, saliency
from ecco_captum.attribution.methods.base import UnsupportedMethodError
from ecco_captum.attribution.methods.catalogue import METHODS

FAMILIES = {
    "GPT-2": "causal:gpt2",
    "Llama": "causal:llama",
    "Gemma-2": "causal:gemma2",
    "Gemma-3": "causal:gemma3_text",
    "Qwen-3": "causal:qwen3",
    "OPT": "causal:opt",
    "T5": "seq2seq:t5",
    "BERT": "masked:bert",
    "BERT classifier": "classification:bert",
}
REAL = "SmolLM2-135M"


def main() -> None:
    """Reads the command line, runs the methods and prints what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", action="store_true", help="SmolLM2-135M as well")
    options = parser.parse_args()
    if not options.model:
        # Threads that wait for one another take most of the time of models as small as these.
        torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    start = time.perf_counter()
    columns: dict[str, Callable[[], Subject]] = {
        name: lambda key=key: subject(key)  # type: ignore[misc]
        for name, key in FAMILIES.items()
    }
    if options.model:
        columns[REAL] = real
    notes: list[str] = []
    cells = [["method", *columns]]
    for method in METHODS:
        row = [f"`{method}`"]
        for name, find in columns.items():
            row.append(cell(method, find(), FAMILIES.get(name, ""), notes))
        cells.append(row)
    rows = [f"| {' | '.join(row)} |" for row in cells]
    print("\n".join([rows[0], f"|{' --- |' * len(cells[0])}", *rows[1:]]), end="\n\n")
    print("\n".join(f"[{number}] {note}" for number, note in enumerate(notes, 1)), end="\n\n")
    seconds = time.perf_counter() - start
    print(f"{len(METHODS)} methods × {len(columns)} models, {seconds:.0f} s")
    print("Numbers: the largest error to the naive loop; Δ: the share of the difference missed.")


def real() -> Subject:
    """The offline model, and a short text of it."""
    if REAL not in _LOADED:
        lm = ecco_captum.load(REAL.lower())
        _LOADED[REAL] = lm, force_decode(lm, "The keys to the cabinet", " are on the table")
    return _LOADED[REAL]


_LOADED: dict[str, Subject] = {}


def cell(method: str, found: Subject, name: str, notes: list[str]) -> str:
    """What a method does on a model: an error, a delta, that it runs, or why it does not."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            outcome = outcome_of(method, found, name)
    except UnsupportedMethodError as error:
        return f"refused [{noted(shortened(str(error)), notes)}]"
    except Exception as error:  # a table with a gap says more than none
        first = str(error).partition("\n")[0]
        return f"**{type(error).__name__}** [{noted(first, notes)}]"
    relu = [str(one.message) for one in caught if "has no ReLU" in str(one.message)]
    return f"{outcome} [{noted(shortened(relu[0]), notes)}]" if relu else outcome


def outcome_of(method: str, found: Subject, name: str) -> str:
    """The largest error where there is a naive loop, else the delta, else that it runs."""
    options = GRADIENT_OPTIONS.get(method, {})
    if method not in GRADIENT_OPTIONS:
        attribution = saliency(*found, method=method)
        if not all(row.any() for row in rows_of(attribution)):
            return "a row of zeros"
        if attribution.deltas is None or attribution.differences is None:
            return "runs"
        missed = np.abs(attribution.deltas).mean() / np.abs(attribution.differences).mean()
        return f"Δ {missed:.0e}"
    seen: list[torch.Tensor] = []
    saliency(*found, method=method, aggregate=keeping(seen), **options)
    every = [row for part in reversed(seen) for row in part]
    errors = []
    expected = naive_rows(*found, method, together=name not in SEPARATE, **options)
    for row, other in zip(every, expected, strict=True):
        errors.append(float((row[: len(other)] - other).abs().max() / other.abs().max()))
    return f"{max(errors):.0e}" if max(errors) else "0"


def keeping(seen: list[torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """An aggregation that also keeps what it is given; segments come last first."""

    def total(attributions: Any) -> torch.Tensor:
        seen.append(attributions.detach().cpu())
        return attributions.sum(dim=-1)

    return total


def shortened(reason: str) -> str:
    """A reason without the model's name and the list of its layers, which differ."""
    reason = re.sub(r"^method: ", "", reason)
    reason = re.sub(r"no rule for [^']*'", "no rule for the layers of '", reason)
    return re.sub(r"'[^']*(tiny|smollm)[^']*'", "the model", reason)


def noted(reason: str, notes: list[str]) -> int:
    """The number of a note, which is added where it is new."""
    if reason not in notes:
        notes.append(reason)
    return notes.index(reason) + 1


if __name__ == "__main__":
    main()
