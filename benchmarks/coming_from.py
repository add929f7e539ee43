r"""Runs both sides of every row of docs/coming_from.md, and says where they agree.

Each row's left cell is what one called in another library, the middle one what to call here. Where
the other library is installed, both run on the same model and the same tokens; where both give the
same quantity, their numbers are compared. A row without a check is an error, and so is a difference
that the page does not state.

    python benchmarks/coming_from.py
    python benchmarks/coming_from.py --only Captum Inseq

``benchmarks/requirements.txt`` names the libraries. Ecco 0.1.2 does not run with today's
transformers; of its rows, only this side is run.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import io
import logging
import re
import sys
import warnings
from pathlib import Path
from typing import Any

from coming_from_rows import CHECKS, Example

PAGE = Path(__file__).parents[1] / "docs" / "coming_from.md"
PACKAGES = {"Captum": "captum", "Inseq": "inseq", "TransformerLens": "transformer_lens"}


def rows(page: str) -> list[tuple[str, str]]:
    """The library and the left cell of each row of the page's tables, in their order."""
    found: list[tuple[str, str]] = []
    library = ""
    for line in page.splitlines():
        if line.startswith("## "):
            library = line.removeprefix("## ")
        cells = re.fullmatch(r"\| (.*?) ?\|.*\|", line)
        if cells and not re.match(rf"---|{library}$", cells[1]):
            found.append((library, cells[1]))
    return found


def key_of(library: str, cell: str) -> str | None:
    """The check of a row: the one whose key the left cell begins with."""
    keys = [key for key in CHECKS[library] if cell.startswith(key) and bool(key) == bool(cell)]
    return keys[0] if len(keys) == 1 else None


def checked(library: str, key: str, example: Any) -> tuple[bool, str, str]:
    """Whether a row holds, whether the other library ran, and what its check says."""
    package = PACKAGES.get(library)
    if package is not None and importlib.util.find_spec(package) is None:
        return True, "not installed", ""
    ran = "cannot run" if package is None else "yes"
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # of the other libraries, and of defaults taken here
            return True, ran, CHECKS[library][key](example)
    except AssertionError as error:
        return False, ran, f"DIFFERS: {' '.join(str(error).split())}"
    except Exception as error:
        return False, "no", f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"


def main() -> int:
    """Prints a table for each library, and returns how many rows do not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=[*CHECKS], default=[*CHECKS])
    chosen = parser.parse_args().only
    logging.disable(logging.WARNING)
    example, wrong, library = Example(), 0, ""
    for name, cell in rows(PAGE.read_text(encoding="utf-8")):
        if name not in chosen:
            continue
        if name != library:
            library = name
            version = f" {importlib.metadata.version(PACKAGES[name])}" if _installed(name) else ""
            print(f"\n{name}{version}\n\n| {name} | ran | agreement |\n| --- | --- | --- |")
        key = key_of(name, cell)
        if key is None:
            right, ran, said = False, "no", "no check of this row"
        else:
            right, ran, said = checked(name, key, example)
        wrong += not right
        print(f"| {cell} | {ran} | {said} |", flush=True)
    print(f"\n{wrong or 'No'} row{'' if wrong == 1 else 's'} that do not hold", flush=True)
    return min(wrong, 1)


def _installed(library: str) -> bool:
    package = PACKAGES.get(library)
    return package is not None and importlib.util.find_spec(package) is not None


if __name__ == "__main__":
    sys.exit(main())
