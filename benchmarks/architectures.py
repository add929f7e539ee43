r"""Counts for how many architectures each part of the anatomy is right.

Builds a tiny random model of every text architecture that transformers knows, finds its parts and
checks them as the tests do::

    python benchmarks/architectures.py               # a table and every refusal with its reason
    python benchmarks/architectures.py --markdown    # the same as Markdown
    python benchmarks/architectures.py llama t5      # some model types only
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from pathlib import Path

import torch
import transformers

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import architecture_checks
import tiny_models
from architecture_checks import PARTS, RIGHT, Verdicts

KINDS = ("causal", "masked", "seq2seq")
MEANINGS = {
    "gradient": "gradient: finite differences at the embedding's output agree",
    "blocks": "blocks: the configuration's number, of hidden width",
    "lens": "lens: text A's hidden states give A's logits while text B runs",
    "neurons": "neurons: of the FFN's width, put back without a change",
    "every neuron": "neurons of every feed-forward layer, routed experts included",
    "all four": "gradient, blocks, lens and neurons",
}


def main() -> None:
    """Reads the command line, examines the models and prints what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model_types", nargs="*", help="model types; all if none is given")
    parser.add_argument("--markdown", action="store_true", help="print tables for a README")
    options = parser.parse_args()
    # Threads that wait for one another take most of the time of models as small as these.
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    start = time.perf_counter()
    verdicts = {
        (kind, model_type): architecture_checks.examine(kind, model_type)
        for kind in KINDS
        for model_type in tiny_models.names(kind)
        if not options.model_types or model_type in options.model_types
    }
    seconds = time.perf_counter() - start
    print("\n".join(table(verdicts, options.markdown)), end="\n\n")
    print("\n".join(refusals(verdicts, options.markdown)), end="\n\n")
    print(f"{len(verdicts)} models, {seconds:.0f} s, {torch.get_num_threads()} thread")


def table(verdicts: dict[tuple[str, str], Verdicts], markdown: bool) -> list[str]:
    """Counts of what is right, a line for each part and a column for each kind of model."""
    totals = Counter(kind for kind, _ in verdicts) + Counter({"all": len(verdicts)})
    right: Counter[tuple[str, str]] = Counter()
    for (kind, _), found in verdicts.items():
        for part in right_parts(found):
            right.update([(part, kind), (part, "all")])
    columns = [kind for kind in (*KINDS, "all") if totals[kind]]
    cells = [["right for", *(f"{kind} /{totals[kind]}" for kind in columns)]]
    cells += [
        [meaning, *(str(right[part, kind]) for kind in columns)]
        for part, meaning in MEANINGS.items()
    ]
    return layout(cells, markdown)


def right_parts(found: Verdicts) -> list[str]:
    """The lines of the table that a model counts for."""
    parts = [part for part in PARTS if getattr(found, part) == RIGHT]
    if found.neurons == RIGHT and not found.incomplete:
        parts.append("every neuron")
    return parts if found.refused else [*parts, "all four"]


def refusals(verdicts: dict[tuple[str, str], Verdicts], markdown: bool) -> list[str]:
    """What is refused or out of reach, and why, models with the same reason on one line."""
    models: dict[tuple[str, str], list[str]] = {}
    for (kind, model_type), found in verdicts.items():
        parts: dict[str, list[str]] = {}
        for part, reason in found.refused.items():
            parts.setdefault(shorten(reason), []).append(part)
        if found.incomplete and "neurons" not in found.refused:
            parts[shorten(found.incomplete)] = ["some neurons"]
        for reason, lacking in parts.items():
            models.setdefault((", ".join(lacking), reason), []).append(f"{kind}:{model_type}")
    cells = [["lacking", "why", "models"]]
    cells += [[*key, f"{len(names)}: {', '.join(names)}"] for key, names in sorted(models.items())]
    return layout(cells, markdown)


def shorten(reason: str) -> str:
    """A reason without what differs from model to model: names, shapes and figures."""
    short = re.split(r"[(;\[]", reason)[0].strip(" ,")
    return re.sub(r"\S+\.\S+|\b[A-Z]\w+LM\b|\d+%", "…", short)


def layout(cells: list[list[str]], markdown: bool) -> list[str]:
    """Rows of a table, in columns or as Markdown."""
    if markdown:
        rows = [f"| {' | '.join(row)} |" for row in cells]
        return [rows[0], f"|{' --- |' * len(cells[0])}", *rows[1:]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


if __name__ == "__main__":
    main()
