r"""Times saliency beside the naive loop, its floor, and other libraries, all in one run.

Each contestant works in a process of its own, so that its peak memory is its own. The processes
stay alive and are asked in turn, one run each a round: only one computes at any time, and ratios
are taken within a round, so that a machine that grows slower meanwhile slows all alike.

The floor is no contestant: one forward over the whole text, and one backward for each target over
that target's prefix, with the matrix products that PyTorch chooses by itself. ecco-captum can be
faster because its backwards share work, and because it sends large products to oneDNN where that
library is the faster one.

Peak memory is what the process held at most while it was timed, over what it held once the model
was loaded and had run on a tiny text.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import statistics
from collections.abc import Sequence

from ig_peers import IG_CONTESTANTS
from peers import CONTESTANTS as GRADIENT_CONTESTANTS
from workers import CONTESTANTS, MODEL, PROMPT_TOKENS, Worker, note


def table(header: Sequence[str], rows: list[list[str]]) -> None:
    """Prints a Markdown table; a short row, such as a contestant in trouble, is filled up."""
    print("| " + " | ".join(header) + " |")
    print("| --- |" + " ---: |" * (len(header) - 1))
    for row in rows:
        print("| " + " | ".join(row + [""] * (len(header) - len(row))) + " |")
    print(flush=True)


def time_all(names: Sequence[str], outputs: int, rounds: int, threads: int) -> None:
    """Times the contestants in turn, and prints their table."""
    note(f"{outputs} outputs: loading {len(names)} processes")
    workers = {name: Worker(name).start(outputs, threads) for name in names}
    for turn in range(rounds):
        note(f"{outputs} outputs, round {turn + 1} of {rounds}")
        # Nobody always follows the same neighbour's start: the first of each round changes.
        first = turn % len(names)
        for name in [*names[first:], *names[:first]]:
            workers[name].run()
    for worker in workers.values():
        worker.stop()
    ours = workers.get("ecco-captum") or workers.get("ig-ecco-captum")
    floor = workers.get("floor")
    rows = []
    for name, worker in workers.items():
        row = [CONTESTANTS[name].title, worker.trouble]
        if not worker.trouble:
            median = f"{statistics.median(worker.seconds):.2f}"
            row[1:] = [median, worker.over(ours), worker.over(floor), *worker.memory]
        rows.append(row)
    print(f"\n{PROMPT_TOKENS} prompt tokens, {outputs} outputs, medians of {rounds} rounds:\n")
    table(("", "s", "× ecco-captum", "× floor", "peak over model, MB", "peak, MB"), rows)


def measure_memory(names: Sequence[str], sizes: Sequence[int], threads: int) -> None:
    """Prints how the peak grows with the outputs; each size has a fresh process."""
    rows = []
    for name in names:
        for outputs in sizes:
            note(f"{name}, {outputs} outputs")
            worker = Worker(name).start(outputs, threads)
            worker.run()
            worker.stop()
            measured = worker.trouble or f"{worker.seconds[0]:.2f}"
            memory = [] if worker.trouble else worker.memory
            rows.append([CONTESTANTS[name].title, str(outputs), measured, *memory])
    print("\nPeak memory as outputs grow, one run in a fresh process each:\n")
    table(("", "outputs", "s", "peak over model, MB", "peak, MB"), rows)


def check_all(names: Sequence[str], outputs: int, threads: int) -> None:
    """Prints how far each contestant is from the naive loop."""
    rows = []
    for name in names:
        note(f"{name}, {outputs} outputs")
        worker = Worker(name).start(outputs, threads, check=True)
        worker.run()
        found = None if worker.trouble else worker.answer()
        worker.stop()
        row = [CONTESTANTS[name].title, str(CONTESTANTS[name].definition)]
        if found is None:
            rows.append([*row, worker.trouble])
            continue
        numbers = (f"{found.by_element:.1e}", f"{found.by_row:.1e}", f"{found.shares:.1%}")
        rows.append(
            [*row, "{} + {}".format(*found.lengths), *(numbers if found.aligned else "–––")]
        )
    print(f"\nLargest difference from the naive loop, {PROMPT_TOKENS} + {outputs} tokens given:\n")
    header = ("", "definition", "tokens read", "by element", "by row's maximum")
    table((*header, "shares that differ from the logit's L2"), rows)


def versions() -> str:
    """What ran, in one line."""
    packages = {contestant.package for contestant in CONTESTANTS.values()} | {"transformers"}
    found = []
    for package in sorted(name.replace("_", "-") for name in packages):
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"no {package}")
    return ", ".join(found)


def default_threads() -> int:
    """As many as there are cores, unless the environment says otherwise."""
    return int(os.environ.get("OMP_NUM_THREADS", 0)) or os.cpu_count() or 1


def count(text: str) -> int:
    """A whole number from 1, for the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, accepts a whole number from 1")
    return int(text)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    names = ", ".join(CONTESTANTS)
    add(
        "--method",
        choices=("input_x_gradient", "integrated_gradients"),
        default="input_x_gradient",
        help="what everybody computes (input_x_gradient)",
    )
    add("--outputs", type=count, nargs="+", metavar="N", help="outputs to explain (32 96)")
    add("--rounds", type=count, default=5, metavar="N", help="runs of each contestant (5)")
    add("--only", nargs="+", choices=CONTESTANTS, metavar="NAME", help=f"some of {names}")
    add(
        "--threads",
        type=count,
        default=default_threads(),
        metavar="N",
        help="torch's threads (OMP_NUM_THREADS, else the number of cores)",
    )
    add(
        "--check",
        action="store_true",
        help="instead of timing, compare the numbers with the naive loop's",
    )
    add(
        "--memory",
        action="store_true",
        help="instead of timing, show peak memory as outputs grow (of ecco-captum with 32, 96, 192 "
        "and 384 outputs, unless --only and --outputs say otherwise)",
    )
    return parser.parse_args()


def main() -> None:
    """Prints the tables that the command line asks for."""
    chosen = arguments()
    print(f"{MODEL} on the CPU, threads: {chosen.threads}; {versions()}")
    integrated = chosen.method == "integrated_gradients"
    names = chosen.only or list(IG_CONTESTANTS if integrated else GRADIENT_CONTESTANTS)
    if chosen.check:
        for outputs in chosen.outputs or [32]:
            check_all(names, outputs, chosen.threads)
    if chosen.memory:
        sizes = chosen.outputs or [32, 96, 192, 384]
        measure_memory(chosen.only or ["ecco-captum"], sizes, chosen.threads)
    if not chosen.check and not chosen.memory:
        for outputs in chosen.outputs or ([32] if integrated else [32, 96]):
            time_all(names, outputs, chosen.rounds, chosen.threads)


if __name__ == "__main__":
    main()
