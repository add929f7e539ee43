r"""Streams the neurons of a corpus to disk and factorises them, in bounded memory.

Segments are made of random sentences of CoNLL-U files until there are enough tokens. Three
processes follow each other: one runs the model alone and keeps nothing, one writes one layer's
neurons, one factorises what was written. Each says how long it took and what it held at most.

    python benchmarks/corpus.py --conllu en_ewt-ud-dev.conllu --tokens 1000000
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from peers import peak_memory
from saliency import table
from workers import note

SENTENCES = 4  # of a segment


def main() -> None:
    """Reads the command line, runs the three processes and prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--conllu", type=Path, nargs="+", required=True)
    parser.add_argument("--model", default="minilm-l6")
    parser.add_argument("--layer", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--components", type=int, default=10)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--store", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(run(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        store = options.store or Path(folder) / "acts.zarr"
        found = {}
        for step in STEPS:
            note(step)
            command = [sys.executable, *sys.argv, "--store", str(store), "--step", step]
            result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[step] = json.loads(result.stdout.splitlines()[-1])
        if options.store is None:
            shutil.rmtree(store)
    rows = [
        [step, f"{one['seconds']:.0f}", f"{one['before']:.0f}", f"{one['peak']:.0f}", one["said"]]
        for step, one in found.items()
    ]
    print(f"\n{options.model}, neurons of block {options.layer}, {options.threads} threads:\n")
    table(("", "s", "MB before", "MB at most", ""), rows)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """One of the three, in a process of its own."""
    import torch
    import transformers

    torch.set_num_threads(options.threads)
    transformers.logging.disable_progress_bar()
    return STEPS[options.step](options)


def forwards(options: argparse.Namespace) -> dict[str, Any]:
    """The model alone, on texts of the same length together."""
    import torch

    import ecco_captum
    from ecco_captum.corpus.texts import batches, read_texts

    lm = ecco_captum.load(options.model)
    texts = segments(options, lm.tokenizer)
    reads = [one for text in texts for one in read_texts(lm, text, "decoder")]
    before, start = peak_memory(), time.perf_counter()
    with torch.no_grad():
        for batch in batches(reads, 512, together=True):
            lm.model(torch.tensor([reads[k].ids for k in batch]))
    return told(start, before, f"{sum(len(one.ids) for one in reads):,} tokens")


def writing(options: argparse.Namespace) -> dict[str, Any]:
    """neurons(..., store=...)"""
    import ecco_captum

    lm = ecco_captum.load(options.model)
    texts = segments(options, lm.tokenizer)
    lm.anatomy  # noqa: B018 - found once, before anything is timed
    before, start = peak_memory(), time.perf_counter()
    acts = ecco_captum.neurons(
        lm, texts, layers=options.layer, dtype=options.dtype, store=options.store
    )
    said = told(start, before, "")
    disk = sum(file.stat().st_size for file in options.store.rglob("*") if file.is_file())
    memory = acts.values.nbytes
    said["said"] = f"{len(acts.tokens):,} tokens, {disk / 1e9:.2f} GB of {memory / 1e9:.2f}"
    return said


def factorising(options: argparse.Namespace) -> dict[str, Any]:
    """nmf(Activations.open(...))"""
    import ecco_captum

    acts = ecco_captum.Activations.open(options.store)
    before, start = peak_memory(), time.perf_counter()
    factors = ecco_captum.nmf(acts, options.components, negatives="split")
    passes = factors.settings["rounds"]
    return told(start, before, f"error {factors.error:.4f} after {passes} passes")


def segments(options: argparse.Namespace, tokenizer: Any) -> list[str]:
    """Random sentences, a few a segment, until there are enough tokens."""
    marker = "# text = "
    lines = [line for path in options.conllu for line in path.read_text("utf-8").splitlines()]
    sentences = [line.removeprefix(marker) for line in lines if line.startswith(marker)]
    lengths = [len(ids) for ids in tokenizer(sentences)["input_ids"]]
    rng, found, count = np.random.default_rng(0), list[str](), 0
    while count < options.tokens:
        chosen = rng.integers(len(sentences), size=SENTENCES)
        if sum(lengths[k] for k in chosen) <= tokenizer.model_max_length:
            found.append(" ".join(sentences[k] for k in chosen))
            # Each sentence was counted with the marks around it, a segment has them once.
            count += sum(lengths[k] - 2 for k in chosen) + 2
    return found


def told(start: float, before: float, said: str) -> dict[str, Any]:
    """Seconds since the start, and the memory of the process then and at most."""
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "before": before / 1e6, "peak": peak_memory() / 1e6, "said": said}


STEPS = {"forwards alone": forwards, "neurons to disk": writing, "factors": factorising}

if __name__ == "__main__":
    main()
