r"""What Ray costs: tokens a second of one process, and of one and two workers on the same cores.

Every contestant captures the same texts (hidden states of three layers, float16), each in a process
of its own that counts its start apart: until the first part is there. One process has both
cores; so have two workers, one thread each; one worker has one core, as has one process with one
thread. Memory is the most that the driver, and the largest worker, held.

    python benchmarks/ray_workers.py --conllu en_ewt-ud-dev.conllu --tokens 200000
    python benchmarks/ray_workers.py --conllu en_ewt-ud-dev.conllu --tokens 50000 200000   # memory
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from saliency import table
from workers import note

CONTESTANTS = {  # workers (0: none, this process does it) and threads of each
    "one process, 2 threads": (0, 2),
    "2 workers of 1 thread": (2, 1),
    "one process, 1 thread": (0, 1),
    "1 worker of 1 thread": (1, 1),
}
SENTENCES = 4  # of a text


def main() -> None:
    """Runs every contestant, several times in turn, and prints a table of medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--conllu", type=Path, nargs="+", required=True)
    parser.add_argument("--model", default="minilm-l6")
    parser.add_argument("--tokens", type=int, nargs="+", default=[200_000])
    parser.add_argument("--part", type=int, default=8192, help="tokens of a part")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--step", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(captured(options)))
        return
    rows = []
    for tokens in options.tokens:
        found: dict[str, list[dict[str, float]]] = {name: [] for name in options.only}
        for run in range(options.runs):
            for name in options.only:
                note(f"{name}, {tokens:,} tokens, run {run + 1}")
                command = [sys.executable, *sys.argv, "--step", name, "--tokens", str(tokens)]
                said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
                found[name].append(json.loads(said.splitlines()[-1]))
        for name, runs in found.items():
            median = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            rows.append(
                [
                    name,
                    f"{median['tokens']:,.0f}",
                    f"{median['start']:.1f}",
                    f"{median['rate']:,.0f}",
                    f"{median['driver']:,.0f}",
                    f"{median['worker']:,.0f}",
                ]
            )
    print(f"\n{options.model}, parts of {options.part:,} tokens, medians of {options.runs} runs:\n")
    table(("", "tokens", "s to first part", "tokens/s after it", "MB driver", "MB worker"), rows)


def captured(options: argparse.Namespace) -> dict[str, float]:
    """One contestant, in a process of its own."""
    workers, threads = CONTESTANTS[options.step]
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch
    import transformers

    import ecco_captum as ec

    torch.set_num_threads(threads)
    transformers.logging.disable_progress_bar()
    texts = corpus(options.conllu, options.tokens[-1])
    chosen: Any = ec.RayEngine(workers=workers, num_cpus=threads) if workers else "local"
    most = {"driver": 0.0, "worker": 0.0}
    with tempfile.TemporaryDirectory() as name:
        folder, ended = Path(name) / "acts", threading.Event()
        first = threading.Thread(target=watch, args=(folder, ended, most))
        first.start()
        begun = time.time()
        made = ec.capture(
            ec.ModelRecipe(options.model),
            iter(texts),
            folder,
            hidden_states=[1, 3, 5],
            tokens_per_part=options.part,
            engine=chosen,
            progress=False,
        )
        ended.set()
        first.join()
        times = sorted(
            (path / "part.json").stat().st_mtime for path in (folder / "parts").iterdir()
        )
        sizes = [part.tokens for part in made.plan.parts]
        shutil.rmtree(folder)
    # The first parts of all workers are done at once: from there on, the others are counted.
    behind = max(workers, 1)
    rate = sum(sizes[behind:]) / (times[-1] - times[behind - 1])
    return {"tokens": sum(sizes), "start": times[0] - begun, "rate": rate, **most}


def corpus(paths: list[Path], tokens: int) -> list[str]:
    """Texts of four sentences, again and again until there are enough tokens."""
    from conllu import parse_incr

    sentences = []
    for path in paths:
        with path.open(encoding="utf-8") as file:
            sentences += [sentence.metadata["text"] for sentence in parse_incr(file)]
    texts, count, at = list[str](), 0, 0
    while count < tokens:
        few = [sentences[(at + k) % len(sentences)] for k in range(SENTENCES)]
        texts.append(" ".join(few))
        count += int(1.3 * len(texts[-1].split())) + 2
        at += SENTENCES
    return texts


def watch(folder: Path, ended: threading.Event, most: dict[str, float]) -> None:
    """The memory of this process, and of the largest actor, in MB."""
    me = psutil.Process()
    while not ended.wait(0.25):
        most["driver"] = max(most["driver"], me.memory_info().rss / 2**20)
        for process in psutil.process_iter(["name", "cmdline"]):
            if "ray::MapWorker" in " ".join(process.info["cmdline"] or []):
                try:
                    most["worker"] = max(most["worker"], process.memory_info().rss / 2**20)
                except psutil.Error:
                    continue


if __name__ == "__main__":
    main()
