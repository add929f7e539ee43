r"""Times saliency with its products in oneDNN, in PyTorch's own library, and where measured faster.

Which of the two is faster depends on the processor, so its name is printed. The naive loop, one
forward and one backward for each output, uses PyTorch's own products. "Measured anew" is the first
run of a process, trials included; "measured before" every later one. Contestants take turns in one
process; ratios are taken within a round.

    python benchmarks/products.py --outputs 32 --rounds 5
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peers import Definition, naive_rows
from saliency import default_threads, table
from workers import MODEL, PROMPT_TOKENS, case_of, loaded, note

import ecco_captum
from ecco_captum.models import products


def contestants(lm: Any, outputs: int) -> dict[str, Callable[[], object]]:
    """What is timed, by its name in the table."""
    lm.model.requires_grad_(False)
    case = case_of(lm.tokenizer, outputs)
    generation = ecco_captum.force_decode(lm, case.prompt_ids, case.output_ids)

    def saliency(setting: str, anew: bool = False) -> Callable[[], object]:
        def run() -> object:
            os.environ[products.VARIABLE] = setting
            if anew:
                products._GAINS.clear()
            return ecco_captum.saliency(lm, generation, progress=False)

        return run

    return {
        "naive loop": lambda: naive_rows(lm, case, Definition()),
        "plain": saliency("plain"),
        "oneDNN": saliency("onednn"),
        "measured anew": saliency("auto", anew=True),
        "measured before": saliency("auto"),
    }


def processor() -> str:
    """Its name, where the system says it."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    """Times everybody in turn, and prints the table and what was chosen."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--outputs", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=default_threads())
    options = parser.parse_args()
    lm = loaded(options.threads)
    runs = contestants(lm, options.outputs)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    runs["oneDNN"]()  # the first run of a process is no contestant
    for turn in range(options.rounds):
        note(f"round {turn + 1} of {options.rounds}")
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    rows = []
    for name, measured in seconds.items():
        ratios = [
            statistics.median(mine / other for mine, other in zip(measured, others, strict=True))
            for others in (seconds["plain"], seconds["naive loop"])
        ]
        median = f"{statistics.median(measured):.2f}"
        rows.append([name, median, *(f"{ratio:.2f}" for ratio in ratios)])
    print(
        f"\n{processor()}, {options.threads} threads, torch {torch.__version__}; {MODEL}, "
        f"{PROMPT_TOKENS} prompt tokens, {options.outputs} outputs, medians of "
        f"{options.rounds} rounds:\n"
    )
    table(("", "s", "× plain", "× naive loop"), rows)
    kinds = products._GAINS.values()
    print(f"oneDNN was chosen for {sum(kinds)} of {len(kinds)} kinds of products.")


if __name__ == "__main__":
    main()
