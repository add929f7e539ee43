r"""Which attribution methods find the tokens that matter? A table over real sentences.

Each text is the beginning of a sentence of the Universal Dependencies treebank English EWT (dev),
and the output the token that the model writes next, whose log-probability is explained. Each
method's top sources are removed, or all others are (``ecco_captum.faithfulness`` at its defaults,
first and last source spared), and the drops' AOPC is averaged over texts, with bootstrap 95%
intervals over texts. Random sources and positions are tested on the same texts. Nothing is chosen
afterwards: every text, every method.

    python benchmarks/faithfulness.py --data path/to/ud_english_ewt
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conllu import parse_incr

import ecco_captum as ec
from ecco_captum.core.intervals import bootstrap_mean

MODEL = "smollm2-135m"
TEXTS, PROMPT = 50, 24  # texts, and tokens of each that are read
RANDOMISED = 5  # texts on which the model-randomisation check is made
DATA = Path(__file__).parents[2] / "shared" / "data" / "ud_english_ewt"

METHODS: dict[str, dict[str, Any]] = {
    "occlusion": {"method": "occlusion"},
    "Shapley value sampling, 5 draws": {"method": "shapley_value_sampling", "n_samples": 5},
    "kernel SHAP": {"method": "kernel_shap"},
    "LIME": {"method": "lime"},
    "AttnLRP": {"method": "attn_lrp"},
    "DeepLIFT": {"method": "deep_lift"},
    "integrated gradients, 50 steps": {"method": "ig"},
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
    found = []
    for path in sorted(folder.glob("*dev.conllu")):
        with path.open(encoding="utf-8") as file:
            for sentence in parse_incr(file):
                ids = lm.tokenizer(sentence.metadata["text"])["input_ids"]
                if len(ids) > PROMPT:
                    found.append(ids[:PROMPT])
                if len(found) == count:
                    return found
    raise SystemExit(f"{folder} holds {len(found)} sentences that are long enough, not {count}")


def measure(
    lm: ec.LanguageModel, generations: list[ec.Generation], options: dict[str, Any]
) -> tuple[dict[str, np.ndarray], list[float | None]]:
    """AOPC of each text, (texts, conditions), and correlations with shuffled weights."""
    comprehensiveness, sufficiency, correlations = [], [], []
    for seed, generation in enumerate(generations):
        with warnings.catch_warnings():
            # That a delta is large is no reason to leave a method out of the table.
            warnings.simplefilter("ignore", UserWarning)
            attribution = ec.saliency(lm, generation, score="logprob", progress=False, **options)
            tested = ec.faithfulness(
                lm,
                attribution,
                seed=seed,
                randomisation=None if seed < RANDOMISED else False,
                progress=False,
            )
        comprehensiveness.append(tested.comprehensiveness.mean(axis=1)[:, 0])
        sufficiency.append(tested.sufficiency.mean(axis=1)[:, 0])
        correlations.append(tested.rank_correlation)
    found = {"comprehensiveness": np.array(comprehensiveness), "sufficiency": np.array(sufficiency)}
    return found, correlations


def interval(values: np.ndarray) -> str:
    """Mean over texts and its bootstrap interval, of (texts,)."""
    mean, low, high = bootstrap_mean(values, np.random.default_rng(0))
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA, metavar="FOLDER")
    parser.add_argument("--texts", type=int, default=TEXTS, metavar="N")
    parser.add_argument("--only", nargs="+", choices=METHODS, metavar="METHOD")
    chosen = parser.parse_args()
    lm = ec.load(MODEL)
    generations = [
        ec.generate(lm, ids, max_new_tokens=1, progress=False)
        for ids in texts(chosen.data, lm, chosen.texts)
    ]
    print(f"{MODEL}, {len(generations)} texts of {PROMPT} tokens, torch {torch.__version__}\n")
    header = (
        "",
        "comprehensiveness ↑",
        "sufficiency ↓",
        "more than random",
        "shuffled",
        "s a text",
    )
    print("| " + " | ".join(header) + " |\n| --- |" + " ---: |" * (len(header) - 1), flush=True)
    baselines: dict[str, np.ndarray] | None = None
    for name in chosen.only or METHODS:
        start = time.perf_counter()
        found, correlations = measure(lm, generations, METHODS[name])
        seconds = (time.perf_counter() - start) / len(generations)
        known = [value for value in correlations if value is not None]
        line(name, found, 0, f"{np.nanmean(known):.2f}" if known else "–", f"{seconds:.1f}")
        baselines = found
    for condition, name in enumerate(("random", "last k", "first k"), start=1):
        assert baselines is not None
        line(name, baselines, condition, "–", "–")


def line(name: str, found: dict[str, np.ndarray], condition: int, *rest: str) -> None:
    """Prints one row."""
    drops = found["comprehensiveness"]
    cells = [
        name,
        interval(drops[:, condition]),
        interval(found["sufficiency"][:, condition]),
        interval(drops[:, condition] - drops[:, 1]) if condition != 1 else "–",
        *rest,
    ]
    print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
