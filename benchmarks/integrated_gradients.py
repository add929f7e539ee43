r"""Does the integral converge? Integrated gradients by equal and by adaptive steps.

Each text is the beginning of a sentence of the Universal Dependencies treebank English EWT (dev),
the outputs the two tokens that the model writes next, the baseline the mean embedding, the first
token kept. Counted are texts whose attributions miss the score's difference by 5% at most (means of
magnitudes over the outputs).

    python benchmarks/integrated_gradients.py --texts 30
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from faithfulness import DATA, texts

import ecco_captum as ec

RULES: dict[str, dict[str, Any]] = {
    "Gauss–Legendre, 20 points": {"n_steps": 20},
    "Gauss–Legendre, 50 points": {"n_steps": 50},
    "adaptive trapezoids, at most 33 points": {"max_steps": 33},
    "adaptive trapezoids, at most 64 points": {},
}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA, metavar="FOLDER")
    parser.add_argument("--texts", type=int, default=30, metavar="N")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    lm = ec.load("smollm2-135m")
    generations = [
        ec.generate(lm, ids, max_new_tokens=2, progress=False)
        for ids in texts(chosen.data, lm, chosen.texts)
    ]
    print(f"{lm.name}, {len(generations)} texts, torch {torch.__version__}\n")
    print("| rule | within 5% | median | worst | points | s a text |\n| --- |" + " ---: |" * 5)
    for name, options in RULES.items():
        missed, points, start = [], [], time.perf_counter()
        for generation in generations:
            own = ec.saliency(lm, generation, method="ig", progress=False, **options)
            missed.append(np.abs(own.deltas).mean() / np.abs(own.differences).mean())
            points.append(own.settings.get("points", own.settings["n_steps"]))
        seconds = (time.perf_counter() - start) / len(generations)
        cells = [
            name,
            f"{sum(value <= 0.05 for value in missed)} of {len(missed)}",
            f"{np.median(missed):.1%}",
            f"{max(missed):.0%}",
            f"{np.mean(points):.0f}",
            f"{seconds:.1f}",
        ]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
