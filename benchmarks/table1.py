r"""The paper's Table 1 in one command: probes of every layer beside probes of control tasks.

Prints the table, how long reading and training took, and, with ``--loop``, how long the same probes
take one at a time: PyTorch's own layer, loss and optimizer, batches of 64, so many of the probes of
each width timed and multiplied.

    python benchmarks/table1.py --conllu en_ewt-ud-dev.conllu --model minilm-l6 --loop 2
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch
from peers import peak_memory
from saliency import table

import ecco_captum
from ecco_captum.probing.sources import pooled, word_places


def main() -> None:
    """Reads the command line, probes and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--conllu", type=Path, required=True)
    parser.add_argument("--model", default="minilm-l6")
    parser.add_argument("--tokens", type=int, default=10_000)
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--layers", type=int, nargs="*", help="of these alone (default: all)")
    parser.add_argument(
        "--loop", type=int, default=0, help="how many probes to train one at a time"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    lm = ecco_captum.load(options.model)
    corpus = ecco_captum.read_conllu(options.conllu)
    start = time.perf_counter()
    report = ecco_captum.probe(
        lm,
        corpus,
        layers=options.layers or None,
        n_tokens=options.tokens,
        trials=options.trials,
        epochs=options.epochs,
    )
    whole = time.perf_counter() - start
    print(f"\n{report.subtitle}\n")
    rows = [
        [name, layer, *(f"{100 * v.mean():.1f} ± {100 * v.std():.1f}" for v in values)]
        for name, layer, *values in zip(
            report.representations,
            report.layers,
            report.accuracy,
            report.control_accuracy,
            report.selectivity,
            strict=True,
        )
    ]
    table(("", "layer", "accuracy", "control", "selectivity"), rows)
    print(f"{report.sentence}\n{report.note}\n")
    probes = len(rows) * options.trials * 3 * 2
    print(f"{probes} probes: {whole:.0f} s with reading, at most {peak_memory() / 1e9:.1f} GB")
    if options.loop:
        probe, reading = one_at_a_time(lm, corpus, options)
        alone = reading + probe * options.trials * 3 * 2
        print(f"one at a time: {alone:.0f} s with reading, {alone / whole:.1f} times as long")


def one_at_a_time(
    lm: ecco_captum.LanguageModel, corpus: ecco_captum.TaggedCorpus, options: argparse.Namespace
) -> tuple[float, float]:
    """Seconds of one probe of each layer, from some of them; and of reading the states."""
    places = word_places(lm, corpus, options.tokens)
    tags = corpus.labels("upos")
    both = zip(places.sentences, places.kept, strict=True)
    labels = np.unique([tags[k][w] for k, kept in both for w in kept], return_inverse=True)[1]
    truth, total, reading = torch.from_numpy(labels), 0.0, 0.0
    for read in (ecco_captum.hidden_states, ecco_captum.neurons):
        start = time.perf_counter()
        states = pooled(read(lm, places.ids, layers=options.layers or None), places.spans, "mean")
        reading += time.perf_counter() - start
        x = torch.from_numpy(states[0])
        train = torch.randperm(len(x))[: round(0.603 * len(x))]  # as many as learn from
        start = time.perf_counter()
        for _ in range(options.loop):
            train_one(x, truth, train, options.epochs)
        total += (time.perf_counter() - start) / options.loop * len(states)
    return total, reading


def train_one(x: torch.Tensor, truth: torch.Tensor, train: torch.Tensor, epochs: int) -> None:
    """The plain loop."""
    probe = torch.nn.Linear(x.shape[1], int(truth.max()) + 1)
    optimizer = torch.optim.Adam(probe.parameters(), lr=1e-3)
    for _ in range(epochs):
        for words in train[torch.randperm(len(train))].split(64):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(probe(x[words]), truth[words]).backward()
            optimizer.step()


if __name__ == "__main__":
    main()
