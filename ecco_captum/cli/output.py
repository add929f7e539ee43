r"""What the commands tell on a terminal."""

from __future__ import annotations

import textwrap
from typing import Any

_SHOWN_LAYERS = 5


def tell_saliency(attribution: Any) -> None:
    """A terminal's view: each explained output with its strongest sources."""
    generation, shares = attribution.generation, attribution.shares
    start = generation.tokens.prompt_length
    print(f"{attribution.subtitle}\n")
    print(f"{generation.prompt}[{generation.text}]\n")
    print(f"{'GENERATED':>16}  {'LOGIT':>6} {'RANK':>5}  STRONGEST SOURCES")
    for output, share in zip(attribution.outputs, shares, strict=True):
        sources = "   ".join(
            f"{shown(generation.tokens.texts[i])} {share[i]:.1%}"
            for i in (-abs(share)).argsort()[:3]
        )
        token = shown(generation.tokens.texts[start + output])
        logit, rank = generation.logits[output], generation.ranks[output]
        print(f"{token:>16}  {logit:6.2f} {rank:>5}  {sources}")


def tell_report(report: Any) -> None:
    """A terminal's view: the text, and of each analysis the number, the test and the verdict."""
    print(f"{report.generation.prompt}[{report.generation.text}]")
    for one in report.findings:
        print(f"\n{one.question}  [{one.verdict}]")
        for said in (one.answer, one.outcome):
            print(textwrap.fill(said, 96, initial_indent="  ", subsequent_indent="    "))
    for name, reason in report.refused.items():
        print(f"\nNot made: {name}: {reason}")


def tell_rankings(found: Any) -> None:
    """A terminal's view: each token's rank at a few layers, and from where on it stays first."""
    rows = _spread(len(found.layers))
    names = [found.layer_names[row] for row in rows]
    print("  ".join([f"{'TOKEN':>16}", *(f"{name:>9}" for name in names), "FIRST FROM"]))
    for column, text in enumerate(found.target_texts):
        ranks = [f"{found.ranks[row, column]:>9}" for row in rows]
        decided = found.decided[column]
        where = found.layer_names[list(found.layers).index(decided)] if decided >= 0 else "–"
        print("  ".join([f"{shown(text):>16}", *ranks, where]))


def tell_similarity(found: Any) -> None:
    """A terminal's view: a few layers, in brackets where it is no more than chance."""
    rows, columns = _spread(len(found.rows)), _spread(len(found.columns))
    chance = found.values <= found.null_95
    width = max(len(found.rows[i]) for i in rows)
    names = [found.columns[j] for j in columns]
    print("  ".join([" " * width, *(f"{name:>9}" for name in names)]))
    for i in rows:
        cells = [
            f"({one:.2f})" if grey else f"{one:.2f} "
            for one, grey in zip(found.values[i, columns], chance[i, columns], strict=True)
        ]
        widths = [max(9, len(name)) for name in names]
        print("  ".join([f"{found.rows[i]:>{width}}", *map(str.rjust, cells, widths)]))


def tell_probes(found: Any) -> None:
    """A terminal's view: the paper's Table 1."""
    print(f"{'':>10}{'LAYER':>11}{'ACCURACY':>10}{'CONTROL':>9}{'SELECTIVITY':>13}")
    columns = (found.accuracy, found.control_accuracy, found.selectivity)
    for k, (kind, layer) in enumerate(zip(found.representations, found.layers, strict=True)):
        told, control, left = (f"{one[k].mean():.1%}" for one in columns)
        print(f"{kind:>10}{layer:>11}{told:>10}{control:>9}{left:>13}")


def _spread(count: int) -> list[int]:
    """A few of so many layers, the first and the last among them."""
    return sorted({round(k * (count - 1) / (_SHOWN_LAYERS - 1)) for k in range(_SHOWN_LAYERS)})


def shown(text: str) -> str:
    """One token on one line: control characters must not act on the terminal."""
    shown = repr(text)[1:-1].replace("\\n", "↵")
    return shown.replace(" ", "␣") if shown.isspace() or not shown else shown.strip(" ")
