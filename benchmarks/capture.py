r"""Times reading neurons and hidden states beside the plain forward that everybody can run.

The plain forward keeps every hidden state (``output_hidden_states``) and logits of the last token
alone. Contestants take turns; ratios are taken within a round. Peak memory is what the process held
at most during a run, over what it held before it; the activations themselves are part of it.

    python benchmarks/capture.py --texts 64 --tokens 128 --rounds 5
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from peers import forget_peak, peak_memory
from saliency import table
from workers import MODEL, case_of, held_memory, loaded, note

import ecco_captum


def main() -> None:
    """Reads the command line, times everybody and prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--batch-tokens", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
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
        return lambda: run(lm, texts, batch_tokens=options.batch_tokens)

    runs = {
        "plain forward with output_hidden_states": plain,
        "hidden_states": reading(ecco_captum.hidden_states),
        "neurons": reading(ecco_captum.neurons),
    }
    lm.anatomy  # noqa: B018 - found once, before anything is timed
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for turn in range(options.rounds):
        note(f"round {turn + 1} of {options.rounds}")
        for name, run in runs.items():
            gc.collect()
            before = held_memory()
            forget_peak()
            start = time.perf_counter()
            run()
            seconds = time.perf_counter() - start
            found[name].append((seconds, (peak_memory() - before) / 1e6))
    bases = [seconds for seconds, _ in found["plain forward with output_hidden_states"]]
    rows = []
    for name, measured in found.items():
        ratios = [mine / base for (mine, _), base in zip(measured, bases, strict=True)]
        seconds = statistics.median(seconds for seconds, _ in measured)
        peak = max(megabytes for _, megabytes in measured)
        rows.append([name, f"{seconds:.2f}", f"{statistics.median(ratios):.2f}", f"{peak:.0f}"])
    print(
        f"\n{MODEL}, {options.texts} texts of {options.tokens} tokens, at most "
        f"{options.batch_tokens} in a forward, medians of {options.rounds} rounds, "
        f"{options.threads} threads:\n"
    )
    table(("", "s", "× plain", "peak over before, MB"), rows)


if __name__ == "__main__":
    main()
