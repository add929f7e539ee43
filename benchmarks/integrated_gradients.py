r"""Does the integral converge? Integrated gradients by equal and by adaptive steps.

Each text is the beginning of a sentence of the Universal Dependencies treebank English EWT (dev),
the outputs the two tokens that the model writes next, the baseline the mean embedding, the first
token kept. Counted are texts whose attributions miss the score's difference by 5% at most (means of
magnitudes over the outputs).

    python benchmarks/integrated_gradients.py --texts 30
    python benchmarks/integrated_gradients.py --families    # tiny models of random weights instead
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from faithfulness import DATA, texts
from workers import note

import ecco_captum as ec

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from method_samples import subject

FAMILIES = (
    *(f"causal:{name}" for name in ("llama", "gpt2", "gemma3_text", "qwen2", "mistral")),
    *(f"causal:{name}" for name in ("gpt_neox", "opt", "bloom", "phi")),
    *("masked:bert", "seq2seq:t5", "seq2seq:bart"),
)
RULES: dict[str, dict[str, Any]] = {
    "Gauss–Legendre, 20 points": {"n_steps": 20},
    "Gauss–Legendre, 50 points": {"n_steps": 50},
    "adaptive trapezoids, at most 64 points": {"max_steps": 64},
    "adaptive trapezoids, at most 96 points": {"max_steps": 96},
    "adaptive trapezoids, at most 128 points": {},
}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA, metavar="FOLDER")
    parser.add_argument("--texts", type=int, default=30, metavar="N")
    parser.add_argument("--only", nargs="+", choices=RULES, default=list(RULES), metavar="RULE")
    parser.add_argument("--families", action="store_true", help="by default steps, of tiny models")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{chosen.texts} texts, torch {torch.__version__}\n")
    print("| | within 5% | median | worst | points | s a text |\n| --- |" + " ---: |" * 5)
    if chosen.families:
        for name in FAMILIES:
            lm, generation = subject(name)
            texts_of = [_at_random(lm, generation, seed) for seed in range(chosen.texts)]
            print_row(name.partition(":")[2], lm, texts_of, {})
        return
    lm = ec.load("smollm2-135m")
    generations = [
        ec.generate(lm, ids, max_new_tokens=2, progress=False)
        for ids in texts(chosen.data, lm, chosen.texts)
    ]
    for name in chosen.only:
        print_row(name, lm, generations, RULES[name])


def _at_random(lm: ec.LanguageModel, sample: ec.Generation, seed: int) -> ec.Generation:
    """Twelve random tokens, of a masked model the third of them a mask."""
    ids = np.random.default_rng(seed).integers(5, 40, 12).tolist()
    if not lm.model.can_generate():
        ids[2] = lm.tokenizer.mask_token_id
        return ec.generate(lm, ids, progress=False)
    return ec.generate(lm, ids, max_new_tokens=2, progress=False)


def print_row(
    name: str, lm: ec.LanguageModel, generations: list[ec.Generation], options: dict[str, Any]
) -> None:
    """Explains every text, and prints what the attributions miss."""
    missed, points, start = [], [], time.perf_counter()
    for generation in generations:
        own = ec.saliency(lm, generation, method="ig", progress=False, **options)
        missed.append(np.abs(own.deltas).mean() / np.abs(own.differences).mean())
        points.append(own.settings.get("points", own.settings["n_steps"]))
        note(f"{name}: text {len(missed)}, {missed[-1]:.1%} missed, {points[-1]} points")
    seconds = (time.perf_counter() - start) / len(generations)
    cells = [
        name,
        f"{sum(value <= 0.05 for value in missed)} of {len(missed)}",
        f"{np.median(missed):.1%}",
        f"{max(missed):.1%}",
        f"{np.mean(points):.0f}",
        f"{seconds:.1f}",
    ]
    print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
