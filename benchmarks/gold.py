r"""Which methods find the true source? Small models trained on rules whose sources are known.

After Bastings et al. (2022): a text of random tokens holds one place that decides the answer, and
distractors that look like it. A two-layer Llama is trained until it answers rightly, so that what
decides is known, and independent of position. Each method explains the answer of texts that the
model was not trained on; counted is how often its strongest source is the token that is copied, and
how many of its two strongest are that token and the mark that points at it.

    python benchmarks/gold.py            # trains three models, minutes each, and prints the table
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import tiny_tokenizers

import ecco_captum as ec
from ecco_captum.core.intervals import wilson_interval

LENGTH, ASK = 26, 5  # tokens of a text, and the one that asks at its end
MARK, DISTRACTORS = 10, (11, 12, 13, 14)
VERBS, OTHER_VERBS = tuple(range(20, 26)), tuple(range(26, 32))
NAMES, WORDS, COLOURS = range(100, 140), range(140, 240), range(60, 80)

METHODS: dict[str, dict[str, Any]] = {
    "gradient × input, L2": {},
    "gradient × input, sum": {"aggregate": "sum"},
    "gradient, L2": {"method": "saliency"},
    "SmoothGrad, 20 draws": {"method": "smooth_grad"},
    "integrated gradients": {"method": "ig"},
    "gradient SHAP, 20 draws": {"method": "gradient_shap"},
    "DeepLIFT": {"method": "deep_lift"},
    "AttnLRP": {"method": "attn_lrp"},
    "GIM": {"method": "gim"},
    "occlusion": {"method": "occlusion"},
    "Shapley value sampling, 5 draws": {"method": "shapley_value_sampling", "n_samples": 5},
    "LIME": {"method": "lime"},
    "attention": {"method": "attention"},
    "attention rollout": {"method": "attention_rollout"},
}

Text = tuple[np.ndarray, int, tuple[int, int]]
"""Ids, the answer, and the places of the answer and of the mark."""


def marked(rng: np.random.Generator) -> Text:
    """The answer is the token after the mark; after other marks stand other tokens."""
    ids = rng.choice(np.array(WORDS), LENGTH)
    places = 1 + 2 * rng.choice((LENGTH - 3) // 2, 5, replace=False)
    ids[places[0]] = MARK
    ids[places[1:]] = rng.choice(np.array(DISTRACTORS), 4)
    ids[-1] = ASK
    return ids, int(ids[places[0] + 1]), (int(places[0]) + 1, int(places[0]))


def after_the_verb(rng: np.random.Generator) -> Text:
    """The answer is the name after a verb of one kind; other names follow other verbs."""
    ids = rng.choice(np.array(WORDS), LENGTH)
    places = 1 + 2 * rng.choice((LENGTH - 3) // 2, 5, replace=False)
    ids[places[0]] = rng.choice(np.array(VERBS))
    ids[places[1:]] = rng.choice(np.array(OTHER_VERBS), 4)
    ids[places + 1] = rng.choice(np.array(NAMES), 5, replace=False)
    ids[-1] = ASK
    return ids, int(ids[places[0] + 1]), (int(places[0]) + 1, int(places[0]))


def the_colour(rng: np.random.Generator) -> Text:
    """The answer is the one colour among words: nothing points at it but what it is."""
    ids = rng.choice(np.array([*WORDS, *NAMES]), LENGTH)
    place = int(rng.integers(1, LENGTH - 1))
    ids[place] = rng.choice(np.array(COLOURS))
    ids[-1] = ASK
    return ids, int(ids[place]), (place, place)


RULES: dict[str, Callable[[np.random.Generator], Text]] = {
    "the token after the mark": marked,
    "the name after the verb": after_the_verb,
    "the one colour": the_colour,
}


def trained(
    rule: Callable[[np.random.Generator], Text], steps: int = 4000
) -> tuple[ec.LanguageModel, float]:
    """A two-layer model that follows the rule, and how often it is right on new texts."""
    tokenizer = tiny_tokenizers.byte_level()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    model, rng = LlamaForCausalLM(config), np.random.default_rng(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    right = 0.0
    for _ in range(steps):
        texts = [rule(rng) for _ in range(64)]
        ids = torch.tensor(np.array([text[0] for text in texts]))
        answers = torch.tensor([text[1] for text in texts])
        logits = model(ids, logits_to_keep=1).logits[:, 0]
        loss = torch.nn.functional.cross_entropy(logits, answers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        right = 0.98 * right + 0.02 * float((logits.argmax(1) == answers).float().mean())
        if right > 0.997:
            break
    model.eval()
    with torch.no_grad():
        texts = [rule(np.random.default_rng((1, k))) for k in range(1000)]
        logits = model(torch.tensor(np.array([text[0] for text in texts]))).logits[:, -1]
        share = float(
            (logits.argmax(1) == torch.tensor([text[1] for text in texts])).float().mean()
        )
    model.generation_config.eos_token_id = None
    return ec.wrap(model, tokenizer, name="two layers"), share


def measured(
    lm: ec.LanguageModel, rule: Callable[[np.random.Generator], Text], count: int
) -> dict[str, tuple[int, int, int]]:
    """Of each method: strongest sources that are copied, strongest two that decide, of how many."""
    hits = {name: [0, 0] for name in METHODS}
    texts = [rule(np.random.default_rng((2, k))) for k in range(count)]
    generations = [ec.force_decode(lm, ids.tolist(), [answer]) for ids, answer, _ in texts]
    for name, options in METHODS.items():
        for generation, (_, _, gold) in zip(generations, texts, strict=True):
            attribution = ec.saliency(lm, generation, progress=False, **options)
            order = np.argsort(-attribution.scores[0, :LENGTH], kind="stable")
            hits[name][0] += int(order[0] == gold[0])
            hits[name][1] += len({*order[: len({*gold})].tolist()} & {*gold})
    deciding = len({*texts[0][2]})
    return {name: (first, both, deciding * count) for name, (first, both) in hits.items()}


def share(hits: int, of: int) -> str:
    """A share with its interval."""
    low, high = wilson_interval(hits, of)
    return f"{hits / of:.0%} [{low:.0%}, {high:.0%}]"


def main() -> None:
    """Trains the models and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=int, default=100)
    parser.add_argument("--without", nargs="+", default=[], choices=METHODS, metavar="METHOD")
    chosen = parser.parse_args()
    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    for name in chosen.without:
        del METHODS[name]
    rows: dict[str, list[str]] = {name: [] for name in METHODS}
    header = []
    for rule_name, rule in RULES.items():
        start = time.perf_counter()
        lm, right = trained(rule)
        seconds = time.perf_counter() - start
        print(
            f"{rule_name}: {right:.1%} right on new texts, trained in {seconds:.0f} s", flush=True
        )
        header += [f"{rule_name}: first", "first two"] if rule is not the_colour else [rule_name]
        for name, (first, both, of) in measured(lm, rule, chosen.texts).items():
            rows[name].append(share(first, chosen.texts))
            rows[name] += [] if rule is the_colour else [share(both, of)]
    print("\n| " + " | ".join(["", *header]) + " |\n| --- |" + " ---: |" * len(header))
    for name, cells in rows.items():
        print("| " + " | ".join([name, *cells]) + " |")


if __name__ == "__main__":
    main()
