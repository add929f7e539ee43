r"""How often each verdict claims what is false, and how often it finds what is true.

Null cases are made so that the claim is false: scores at random, layers that are independent,
orders of which none is the text's. Planted ones have a truth that is known, since the model, the
features or the layers were made with it. Every verdict must claim a false one in 5% of the runs at
most, within the 95% interval of the count (Clopper–Pearson), and find a planted one in 80%.

    python benchmarks/calibration.py            # 200 runs a case, about an hour on two cores
    python benchmarks/calibration.py --quick    # 40 runs a case, minutes; ends with 1 if one fails
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import transformers
from scipy.stats import binomtest

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import calibration_probing
import calibration_similarity
import planted_models
import tiny_models
import tiny_tokenizers

import ecco_captum as ec
from ecco_captum.core.significance import LEVEL
from ecco_captum.factors.family import family_verdicts

POWER = 0.8
CLAIMS = ("supported", "partly supported")


@dataclass(frozen=True)
class Case:
    """A verdict, what is put before it, whether that is true, and a run of it from a seed."""

    verdict: str
    case: str
    true: bool
    claims: Callable[[int], bool]


def tiny_llama() -> ec.LanguageModel:
    """A language model of random weights."""
    tokenizer = tiny_tokenizers.byte_level()
    torch.manual_seed(0)
    model = tiny_models.build("causal", "llama")
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        for embedding in {model.get_input_embeddings(), model.get_output_embeddings()}:
            embedding.weight.normal_(std=0.3)
    model.generation_config.eos_token_id = None
    return ec.wrap(model, tokenizer, name="tiny llama")


def text(lm: ec.LanguageModel, seed: int, prompt: int = 24, outputs: int = 24) -> ec.Generation:
    """Random tokens before other random tokens."""
    ids = np.random.default_rng((seed, 7)).integers(4, 200, prompt + outputs).tolist()
    return ec.force_decode(lm, ids[:prompt], ids[prompt:])


def with_scores(attribution: ec.Attribution, scores: np.ndarray) -> ec.Attribution:
    """The same attribution with other numbers, 0 where an output cannot depend on a token."""
    known = np.arange(scores.shape[1]) < attribution.known[:, None]
    return replace(attribution, scores=np.where(known, scores, 0).astype(np.float32))


def saliency_cases() -> Iterator[Case]:
    """Scores at random, of all outputs alike or not, and position; and true scores."""
    random_weights, bag = tiny_llama(), planted_models.bag_of_embeddings()
    quiet = {"randomisation": False, "progress": False}

    @functools.cache
    def of(lm: ec.LanguageModel, scores: Callable[..., np.ndarray], seed: int, **options: object):
        attribution = ec.saliency(lm, text(lm, seed % 10), progress=False)
        shape, rng = attribution.scores.shape, np.random.default_rng((seed, 11))
        tried = with_scores(attribution, scores(rng, shape, attribution))
        return ec.faithfulness(lm, tried, seed=seed, **quiet, **options).verdict  # type: ignore

    def place(shape: tuple[int, int]) -> np.ndarray:
        return np.tile(np.arange(1.0, shape[1] + 1), (shape[0], 1))

    nulls = {
        "random scores": lambda rng, shape, _: rng.random(shape),
        "random scores, the same for all outputs": lambda rng, shape, _: np.tile(
            rng.random(shape[1]), (shape[0], 1)
        ),
        "random signed scores": lambda rng, shape, _: rng.normal(size=shape),
    }
    for models, lm in (("random weights", random_weights), ("bag of embeddings", bag)):
        for name, scores in nulls.items():
            yield Case(
                "saliency, more than chance",
                f"{name}; {models}",
                False,
                lambda seed, lm=lm, scores=scores: of(lm, scores, seed) in CLAIMS,
            )
            yield Case(
                "saliency, less than chance",
                f"{name}; {models}",
                False,
                lambda seed, lm=lm, scores=scores: of(lm, scores, seed) == "not supported",
            )
    yield Case(
        "saliency, more than chance",
        "random scores, each output by its own sources; random weights",
        False,
        lambda seed: (
            of(random_weights, nulls["random scores"], seed, outputs_per_removal=8) in CLAIMS
        ),
    )
    positions = {
        "last tokens first": lambda rng, shape, _: place(shape),
        "first tokens first": lambda rng, shape, _: place(shape)[:, ::-1],
        "1 over the distance": lambda rng, shape, own: (
            1 / np.maximum(own.known[:, None] - np.arange(shape[1]), 1)
        ),
    }
    for name, scores in positions.items():
        yield Case(
            "saliency, supported",
            f"{name}; random weights",
            False,
            lambda seed, scores=scores: of(random_weights, scores, seed) == "supported",
        )
    yield Case(
        "saliency, supported",
        "the true weights; bag of embeddings",
        True,
        lambda seed: (
            of(bag, lambda rng, shape, own: planted_models.bag_scores(bag, own.generation), seed)
            == "supported"
        ),
    )
    yield Case(
        "saliency, supported",
        "the true weights with as much noise; bag of embeddings",
        True,
        lambda seed: (
            of(
                bag,
                lambda rng, shape, own: noisy(planted_models.bag_scores(bag, own.generation), rng),
                seed,
            )
            == "supported"
        ),
    )


def noisy(scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Scores and as much noise."""
    return scores + rng.normal(0, scores.std(), scores.shape)


def method_cases() -> Iterator[Case]:
    """Which method is best, of six at random; and of a true one among five at random."""
    import captum.attr

    bag = planted_models.bag_of_embeddings()
    sequence = torch.Generator().manual_seed(0)

    class AtRandom(captum.attr.FeatureAblation):
        """Draws its numbers."""

        def attribute(self, inputs, **kwargs):  # type: ignore[no-untyped-def]
            return torch.randn(inputs.shape, generator=sequence)

    random = {f"random {k}": {"method": AtRandom(None)} for k in range(5)}
    quiet = {"randomisation": False, "progress": False}

    def best(named: dict[str, object], seed: int) -> str | None:
        generation = text(bag, seed % 10, outputs=4)
        return ec.compare_methods(bag, generation, methods=named, seed=seed, **quiet).best  # type: ignore

    yield Case(
        "methods, there is a best one",
        "five at random",
        False,
        lambda seed: best(random, seed) is not None,
    )
    yield Case(
        "methods, there is a best one",
        "integrated gradients beside five at random; bag of embeddings",
        True,
        lambda seed: best({**random, "IG": {"method": "ig", "n_steps": 10}}, seed) == "IG",
    )


def lens_cases() -> Iterator[Case]:
    """Orders of random tokens, prompts of random tokens; and a text that the model knows."""
    lm, key, successor = tiny_llama(), planted_models.key_in_its_place(), planted_models.successor()

    def ids(seed: int, count: int, low: int = 4) -> list[int]:
        return np.random.default_rng((seed, 13)).integers(low, 300, count).tolist()

    def with_key(seed: int) -> list[int]:
        tokens = ids(seed, 62, low=100)
        tokens[planted_models.PLACE] = list(planted_models.KEYS)[seed % 20]
        return tokens

    yield Case(
        "order test",
        "a random order plays the text; random weights",
        False,
        lambda seed: ec.order_test(lm, ids(seed, 12), seed=seed).verdict in CLAIMS,
    )
    yield Case(
        "order test",
        "two watched tokens; random weights",
        False,
        lambda seed: ec.order_test(lm, ids(seed, 12), [5, 9], seed=seed).verdict in CLAIMS,
    )
    yield Case(
        "order test",
        "a key in its place, of 62 tokens",
        True,
        lambda seed: ec.order_test(key, with_key(seed), seed=seed).verdict == "supported",
    )
    yield Case(
        "rankings",
        "random tokens, and what follows; random weights",
        False,
        lambda seed: (
            ec.rankings(
                lm, ec.generate(lm, ids(seed, 20), max_new_tokens=4, progress=False)
            ).verdict
            in CLAIMS
        ),
    )
    yield Case(
        "rankings",
        "ids that count up; successor",
        True,
        lambda seed: (
            ec.rankings(
                successor,
                ec.force_decode(
                    successor, list(range(20 + seed, 32 + seed)), [32 + seed, 33 + seed]
                ),
            ).verdict
            == "supported"
        ),
    )


class InItsPlace(ec.Factors):
    """Factors whose weights in their own text are what they were, whatever their neurons."""

    def transform(self, acts: ec.Activations) -> np.ndarray:
        """The weights that were found."""
        return self.weights


def factor_cases() -> Iterator[Case]:
    """Random neurons in a factor's place, one and six of them; and a dictionary of neurons."""
    lm, dictionary = tiny_llama(), planted_models.dictionary_of_neurons()

    def at_random(seed: int) -> tuple[ec.Factors, list[int]]:
        rng = np.random.default_rng((seed, 17))
        ids = rng.integers(4, 200, 40).tolist()
        found = ec.nmf(ec.neurons(lm, ids, progress=False), 6, negatives="abs", max_iter=200)
        # Its tokens stay, and its neurons are others: parts change places among the neurons.
        fields = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
        return InItsPlace(**{**fields, "components": rng.permuted(found.components, axis=2)}), ids

    def effects(
        factors: ec.Factors, ids: list[int], count: int, seed: int
    ) -> list[ec.FactorEffect]:
        options = {"n_neurons": 10, "seed": seed, "progress": False}
        return [factors.effect(lm, ids, k, **options) for k in range(count)]

    def planted(seed: int) -> bool:
        rng = np.random.default_rng((seed, 19))
        parts = [
            [*rng.integers(110, 250, 2).tolist(), int(rng.integers(4, 32)), planted_models.FOLLOWS]
            for _ in range(30)
        ]
        ids = [token for part in parts for token in part]
        factors = ec.nmf(
            ec.neurons(dictionary, ids, progress=False), 4, negatives="split", seed=seed
        )
        own = set(planted_models.DICTIONARY)
        sizes = [len(own & {n for _, n, _ in factors.top_neurons(k, 10)}) for k in range(4)]
        tested = [
            factors.effect(dictionary, ids, k, n_neurons=10, seed=seed, progress=False)
            for k in range(4)
        ]
        return family_verdicts(tested)[int(np.argmax(sizes))] == "supported"

    yield Case(
        "factor, more than random neurons",
        "random neurons; random weights",
        False,
        lambda seed: effects(*at_random(seed), 1, seed)[0].verdict == "supported",
    )
    yield Case(
        "factor, any of six",
        "random neurons; random weights",
        False,
        lambda seed: "supported" in family_verdicts(effects(*at_random(seed), 6, seed)),
    )
    yield Case("factor, that of the dictionary among four", "ten neurons", True, planted)


def similarity_cases() -> Iterator[Case]:
    """Independent layers, and layers that share a little; CCA's kin rank the same statistic."""
    for name, claims in calibration_similarity.false_positive_cases():
        if name.startswith(("cka", "pwcca")):
            yield Case("similarity", name, False, claims)
    for name, claims in calibration_similarity.planted_cases():
        if name.startswith(("cka", "pwcca")):
            yield Case("similarity", name, True, claims)


def probe_cases() -> Iterator[Case]:
    """Noise, labels that only words tell, and features that contain the label."""
    for name, claims in calibration_probing.false_positive_cases():
        yield Case("probes", name, False, claims)
    for name, claims in calibration_probing.planted_cases():
        yield Case("probes", name, True, claims)


GROUPS: dict[str, Callable[[], Iterator[Case]]] = {
    "saliency": saliency_cases,
    "methods": method_cases,
    "lens": lens_cases,
    "factors": factor_cases,
    "similarity": similarity_cases,
    "probes": probe_cases,
}


def main() -> int:
    """Prints the table as it grows; returns 1 if a verdict does not hold its level or its power."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="40 runs a case")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS))
    chosen = parser.parse_args()
    runs = 40 if chosen.quick else chosen.runs
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    start, failed = time.perf_counter(), []
    print("| verdict | case | claimed | 95% interval | should be |")
    print("| --- | --- | ---: | ---: | ---: |", flush=True)
    for group in chosen.only:
        for case in GROUPS[group]():
            count = sum(case.claims(seed) for seed in range(runs))
            interval = binomtest(count, runs).proportion_ci()
            holds = interval.high >= POWER if case.true else interval.low <= LEVEL
            failed += [] if holds else [f"{case.verdict}: {case.case}"]
            print(
                f"| {case.verdict} | {case.case} | {count} of {runs} "
                f"| [{interval.low:.1%}, {interval.high:.1%}] "
                f"| {'≥ 80%' if case.true else '≤ 5%'} |",
                flush=True,
            )
    print(f"\n{time.perf_counter() - start:.0f} s. " + ("; ".join(failed) or "All hold."))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
