r"""Times the rankings of many outputs beside the model's head alone, in one run.

Reading a hidden state costs at least one product with the unembedding: the head alone, applied to
the hidden states of every layer at every output, one layer at a time, is what rankings are measured
against. The plain lens is what one would write by hand: final norm and head on every layer's
states, then probabilities and ranks. Contestants take turns; ratios are taken within a round. Peak
memory is what the process held at most during a run, over what it held before it.

    python benchmarks/lens.py --outputs 50 200 --rounds 5
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
from workers import MODEL, PROMPT_TOKENS, case_of, held_memory, loaded, note

import ecco_captum


def contestants(lm: Any, generation: Any) -> dict[str, Callable[[], Any]]:
    """What is timed, by its name in the table."""
    model, head = lm.model, lm.model.get_output_embeddings()
    blocks, outputs = len(lm.anatomy.blocks), len(generation.output_ids)
    states = torch.randn(1 + blocks, outputs, lm.anatomy.stack.width)
    ids = torch.tensor(generation.tokens.ids)[None, :-1]
    targets = torch.tensor(generation.output_ids)[:, None]

    @torch.no_grad()
    def head_alone() -> None:
        for layer in states:
            head(layer)

    @torch.no_grad()
    def plain() -> None:
        # Of a Llama, as one would write it for this model alone.
        hidden = model(ids, output_hidden_states=True, use_cache=False).hidden_states
        for row, states in enumerate(hidden):
            last = states[0, -outputs:]
            logits = head(last if row == blocks else model.model.norm(last))
            own = logits.gather(1, targets)
            (logits > own).sum(1), logits.argmax(1), logits.softmax(1).gather(1, targets)

    return {
        "head alone": head_alone,
        "plain lens: ranks, top tokens, probabilities": plain,
        "rankings, without the control": lambda: ecco_captum.rankings(
            lm, generation, control=False
        ),
        "rankings, with the shuffled model": lambda: ecco_captum.rankings(lm, generation),
    }


def measure(run: Callable[[], Any]) -> tuple[float, float]:
    """Seconds, and megabytes at most over what was held before."""
    gc.collect()
    before = held_memory()
    forget_peak()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start, (peak_memory() - before) / 1e6


def main() -> None:
    """Reads the command line, times everybody and prints a table for each number of outputs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--outputs", type=int, nargs="+", default=[200])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    lm = loaded(options.threads)
    for outputs in options.outputs:
        case = case_of(lm.tokenizer, outputs)
        generation = ecco_captum.force_decode(lm, case.prompt_ids, case.output_ids)
        runs = contestants(lm, generation)
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
        for run in runs.values():
            run()
        for turn in range(options.rounds):
            note(f"{outputs} outputs, round {turn + 1} of {options.rounds}")
            for name, run in runs.items():
                found[name].append(measure(run))
        heads = [seconds for seconds, _ in found["head alone"]]
        rows = []
        for name, measured in found.items():
            ratios = [mine / head for (mine, _), head in zip(measured, heads, strict=True)]
            seconds = statistics.median(seconds for seconds, _ in measured)
            peak = max(megabytes for _, megabytes in measured)
            rows.append([name, f"{seconds:.2f}", f"{statistics.median(ratios):.2f}", f"{peak:.0f}"])
        layers = 1 + len(lm.anatomy.blocks)
        print(
            f"\n{MODEL}, {layers} layers (the embedding among them), {PROMPT_TOKENS} prompt "
            f"tokens, {outputs} outputs, medians of {options.rounds} rounds, "
            f"{options.threads} threads:\n"
        )
        table(("", "s", "× head alone", "peak over before, MB"), rows)


if __name__ == "__main__":
    main()
