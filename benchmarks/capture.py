r"""Times reading neurons and hidden states beside the plain forward that everybody can run.

The plain forward keeps no more than the hidden states of a batch (``output_hidden_states``) and
logits of the last token alone. Contestants take turns; ratios are taken within a round. What is
read has to live somewhere, and memory that a process is given anew costs a machine what it costs
it, whoever asks. So everybody is timed twice: with memory that the process has already, and with
memory that it gave back before. Peak memory is what the process held at most in the second case,
over what it held before; the activations themselves are part of it.

    python benchmarks/capture.py --texts 64 --tokens 128 --rounds 5
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from peers import peak_memory
from saliency import table
from workers import MODEL, case_of, held_memory, loaded, note

import ecco_captum


def main() -> None:
    """Reads the command line, times everybody and prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--batch-tokens", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    lm = loaded(options.threads)
    ids = case_of(lm.tokenizer, options.tokens, prompt=options.texts).text
    read = lm.tokenizer(ids)["input_ids"]
    texts = [read[k : k + options.tokens] for k in range(options.texts)]
    size = max(1, options.batch_tokens // options.tokens)

    @torch.no_grad()
    def plain() -> None:
        for first in range(0, len(texts), size):
            batch = torch.tensor(texts[first : first + size])
            lm.model(batch, use_cache=False, output_hidden_states=True, logits_to_keep=1)

    def reading(run: Callable[..., Any]) -> Callable[[], Any]:
        return lambda: run(lm, texts, batch_tokens=options.batch_tokens, progress=False)

    runs = {
        "plain forward with output_hidden_states": plain,
        "hidden_states": reading(ecco_captum.hidden_states),
        "neurons": reading(ecco_captum.neurons),
    }
    lm.anatomy  # noqa: B018 - found once, before anything is timed
    keep_freed_memory()
    warm: dict[str, list[float]] = {name: [] for name in runs}
    new: dict[str, list[float]] = {name: [] for name in runs}
    peaks: dict[str, float] = dict.fromkeys(runs, 0.0)
    for turn in range(-1, options.rounds):  # the first one warms up
        note(f"round {turn + 1} of {options.rounds}")
        for name, run in runs.items():
            seconds = timed(run)
            if turn >= 0:
                warm[name].append(seconds)
    for turn in range(options.rounds):
        note(f"new memory, round {turn + 1} of {options.rounds}")
        for name, run in runs.items():
            before = held_memory()
            new[name].append(timed(run))
            peaks[name] = max(peaks[name], (peak_memory() - before) / 1e6)
    rows = []
    for name in runs:
        cells = [name]
        for found in (warm, new):
            bases = found["plain forward with output_hidden_states"]
            ratios = [mine / base for mine, base in zip(found[name], bases, strict=True)]
            cells += [f"{statistics.median(found[name]):.2f}", f"{statistics.median(ratios):.2f}"]
        rows.append([*cells, f"{peaks[name]:.0f}"])
    print(
        f"\n{MODEL}, {options.texts} texts of {options.tokens} tokens, at most "
        f"{options.batch_tokens} in a forward, medians of {options.rounds} rounds, "
        f"{options.threads} threads:\n"
    )
    table(("", "s", "× plain", "s, new memory", "× plain", "peak over before, MB"), rows)


def timed(run: Callable[[], Any]) -> float:
    """Seconds of one run."""
    gc.collect()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def keep_freed_memory() -> None:
    """Freed memory stays with the process; only glibc can be told so."""
    with contextlib.suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


if __name__ == "__main__":
    main()
