r"""The paper's figure 9 with its test: factors of a text, and what each is for in another text.

    python benchmarks/factors.py --model smollm2-135m --components 10 --html factors.html

Prints for each factor its strongest tokens, its share, its stability over seeds, and what taking
its strongest neurons out does to the text that follows, beside as many random neurons.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
import transformers
from saliency import table
from workers import note

import ecco_captum

TEXTS = Path(__file__).parents[1] / "tutorials" / "texts"


def main() -> None:
    """Reads the command line, finds the factors, tests them and prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--text", type=Path, default=TEXTS / "alice.txt")
    parser.add_argument("--test", type=Path, default=TEXTS / "alice_next.txt")
    parser.add_argument("--components", type=int, default=10)
    parser.add_argument("--negatives", default="split")
    parser.add_argument("--neurons", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--html", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.logging.disable_progress_bar()
    lm = ecco_captum.load(options.model)
    text, test = (path.read_text("utf-8").strip() for path in (options.text, options.test))
    factors = ecco_captum.nmf(
        ecco_captum.neurons(lm, text), options.components, negatives=options.negatives
    )
    print(factors.sentence)
    stability = factors.stability(options.seeds)
    effects, rows = [], []
    for k in range(factors.count):
        note(f"factor {k}")
        effect = factors.effect(lm, test, k, n_neurons=options.neurons)
        effects.append(effect)
        rows.append(
            [
                str(k),
                " ".join(repr(token)[1:-1].strip() for _, token, _ in factors.top_tokens(k, 8)),
                f"{factors.explained()[k]:.1%}",
                f"{stability[k]:.2f}",
                *(
                    f"{three[0]:+.2f} [{three[1]:+.2f}, {three[2]:+.2f}]"
                    for three in (effect.on_high, effect.on_low, effect.random_on_high)
                ),
            ]
        )
    print(f"\n{options.model}, change of {effects[0].measure} ({effects[0].unit}):\n")
    header = ("", "strongest tokens", "explains", "stability")
    table((*header, "where high", "where low", "random neurons, where high"), rows)
    if options.html is not None:
        factors.to_html(options.html, effects=effects, stability=stability)


if __name__ == "__main__":
    main()
