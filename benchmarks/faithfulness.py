r"""Which attribution methods find the tokens that matter? A table over real sentences.

Each text is the beginning of a sentence of the Universal Dependencies treebank English EWT (dev),
and the output the token that the model writes next, whose log-probability is explained. All methods
are tested by the same random removals (``ecco_captum.compare_methods`` at its defaults, first and
last source spared). Nothing is chosen afterwards: every text, every method. Sufficiency and
comprehensiveness are AOPC; intervals are bootstrap 95% intervals over texts.

    python benchmarks/faithfulness.py --data path/to/ud_english_ewt
    python benchmarks/faithfulness.py --model path/to/gemma-3-270m.gguf --save gemma.npz
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from conllu import parse_incr

import ecco_captum as ec
from ecco_captum.core.text import format_p

MODEL = "smollm2-135m"
TEXTS, PROMPT = 50, 24  # texts, and tokens of each that are read
DATA = Path(__file__).parents[2] / "shared" / "data" / "ud_english_ewt"

METHODS: dict[str, dict[str, Any]] = {
    "occlusion": {"method": "occlusion"},
    "Shapley value sampling, 5 draws": {"method": "shapley_value_sampling", "n_samples": 5},
    "kernel SHAP": {"method": "kernel_shap"},
    "LIME": {"method": "lime"},
    "AttnLRP": {"method": "attn_lrp"},
    "GIM": {"method": "gim"},
    "DeepLIFT": {"method": "deep_lift"},
    "integrated gradients": {"method": "ig"},
    "gradient SHAP, 20 draws": {"method": "gradient_shap"},
    "gradient × input, L2": {},
    "gradient × input, sum": {"aggregate": "sum"},
    "gradient, L2": {"method": "saliency"},
    "SmoothGrad, 20 draws": {"method": "smooth_grad"},
    "attention": {"method": "attention"},
    "attention rollout": {"method": "attention_rollout"},
}


def texts(folder: Path, lm: ec.LanguageModel, count: int) -> list[list[int]]:
    """The first ``PROMPT`` tokens of the first sentences that are longer."""
    prompts = []
    for path in sorted(folder.glob("*dev.conllu")):
        with path.open(encoding="utf-8") as file:
            for sentence in parse_incr(file):
                ids = lm.tokenizer(sentence.metadata["text"])["input_ids"]
                if len(ids) > PROMPT:
                    prompts.append(ids[:PROMPT])
                if len(prompts) == count:
                    return prompts
    raise SystemExit(f"{folder} holds {len(prompts)} sentences that are long enough, not {count}")


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA, metavar="FOLDER")
    parser.add_argument("--model", default=MODEL, help="hub id, folder, GGUF file or offline name")
    parser.add_argument("--texts", type=int, default=TEXTS, metavar="N")
    parser.add_argument("--only", nargs="+", choices=METHODS, metavar="METHOD")
    parser.add_argument("--save", type=Path, metavar="FILE", help="keep the record")
    chosen = parser.parse_args()
    lm, start = ec.load(chosen.model), time.perf_counter()
    generations = [
        ec.generate(lm, ids, max_new_tokens=1, progress=False)
        for ids in texts(chosen.data, lm, chosen.texts)
    ]
    with warnings.catch_warnings():
        # That a delta is large is no reason to leave a method out of the table.
        warnings.simplefilter("ignore", UserWarning)
        compared = ec.compare_methods(
            lm,
            generations,
            methods={name: METHODS[name] for name in chosen.only or METHODS},
            score="logprob",
        )
    if chosen.save is not None:
        compared.save(chosen.save)
    print(f"{lm.name}, {len(generations)} texts of {PROMPT} tokens, torch {torch.__version__}\n")
    print_table(compared)
    print(f"\n{compared.sentence}\n{time.perf_counter() - start:.0f} s")


def print_table(compared: ec.MethodComparison) -> None:
    """Prints a row a method, the best first; p-values are the larger of both kinds of removal."""
    header = ("", "LDS", "p, chance", "p, position", "comprehensiveness ↑", "sufficiency ↓")
    header = (*header, "best is better", "shuffled weights", "s a text")
    print("| " + " | ".join(header) + " |\n| --- |" + " ---: |" * (len(header) - 1))
    columns = compared.columns()
    for k in (-columns["lds"]).argsort(kind="stable"):
        own = {name: float(values[k]) for name, values in columns.items()}
        known = {name: value == value for name, value in own.items()}
        cells = [
            compared.names[k] if k < len(compared.methods) else f"*{compared.names[k]}*",
            f"{own['lds']:.2f} [{own['lds_low']:.2f}, {own['lds_high']:.2f}]",
            format_p(own["p_chance"]),
            format_p(own["p_position"]),
            f"{own['comprehensiveness']:.2f}",
            f"{own['sufficiency']:.2f}",
            f"p = {format_p(own['p_best'])}" if known["p_best"] else "–",
            f"{own['weight_correlation']:.2f}" if known["weight_correlation"] else "–",
            f"{own['seconds']:.2f}" if known["seconds"] else "–",
        ]
        print("| " + " | ".join(cells).replace("-", "−") + " |")


if __name__ == "__main__":
    main()
