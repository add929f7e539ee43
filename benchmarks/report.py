r"""A stopwatch for the command ``ecco-captum report``: the first page, and the whole of it.

Starts the command on the demo's text in a process of its own, and watches for the page: it is there
when the text is explained by gradient × input, and grows with each analysis. Seconds count from the
start of the process, imports and loading included; the model must have been fetched before.

    python benchmarks/report.py --runs 3
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ecco_captum.cli.commands import DEMO_PROMPT


def main() -> None:
    """Prints the seconds of each run, and their medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    runs = [once() for _ in range(parser.parse_args().runs)]
    print("| run | first page, s | whole, s |\n| --- | ---: | ---: |")
    for k, (first, whole) in enumerate(runs, start=1):
        print(f"| {k} | {first:.1f} | {whole:.1f} |")
    medians = [statistics.median(column) for column in zip(*runs, strict=True)]
    print(f"| median | {medians[0]:.1f} | {medians[1]:.1f} |")


def once() -> tuple[float, float]:
    """Seconds until the page is there, and until it is whole."""
    with tempfile.TemporaryDirectory() as folder:
        page, start = Path(folder, "report.html"), time.perf_counter()
        words = ["report", "--prompt", DEMO_PROMPT, "--max-new-tokens", "24", "-o", str(page)]
        process = subprocess.Popen(
            [sys.executable, "-c", "from ecco_captum.cli import main; exit(main())", *words],
            stdout=subprocess.DEVNULL,
        )
        while not page.exists() and process.poll() is None:
            time.sleep(0.05)
        first = time.perf_counter() - start
        if process.wait():
            raise SystemExit(f"the command ended with {process.returncode}")
        return first, time.perf_counter() - start


if __name__ == "__main__":
    main()
