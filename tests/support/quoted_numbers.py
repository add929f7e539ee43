"""Numbers that a text quotes, and whether they stand in the output that it speaks of.

In a tutorial each number of a text has to be in the output of the nearest cells above that printed
something, back to the text before them, with as many digits as are quoted. The caption of a picture
is no text between cells. What is no result is left out: code, links, years, and the numbers of
figures, tables, sections and tutorials.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

_LEFT_OUT = re.compile(
    r"```.*?```|`[^`]*`|\]\([^)]*\)|https?://\S+|<[^>]+>"
    r"|\b(?:[Ff]igures?|[Tt]ables?|[Ss]ections?|[Tt]utorials?)\s+\d+(?:(?:,| and| to|–)\s*\d+)*"
    r"|\b(?:19|20)\d\d[a-z]?\b|\b[A-Za-z]+\d[\w-]*|\b\d+[A-Za-z][\w-]*|^\s*\d+\.\s",
    flags=re.DOTALL | re.MULTILINE,
)
CAPTION = re.compile(r"\*What to see: [^\n]+\.\*")
"""The line behind a picture that says what to see in it."""

_NUMBER = re.compile(r"(?<![\w.])[-−+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-−]?\d+)?")


def quoted_numbers(markdown: str) -> list[str]:
    r"""Returns the numbers that a text quotes as results, as they are written."""
    return _NUMBER.findall(_LEFT_OUT.sub(" ", markdown))


def stands_in(quoted: str, printed: Iterable[str]) -> bool:
    r"""Returns whether a number is one of those printed, rounded to its own digits.

    Args:
        quoted (str): such as ``"0.42"``, ``"−1.5"`` or ``"1,145"``.
        printed (iterable of str): the outputs.
    """
    wanted, digits = _value(quoted), _digits(quoted)
    for text in printed:
        for found in _NUMBER.findall(text):
            if _digits(found) < digits:
                continue
            # Half a unit of the last digit, with room for a number that was itself rounded.
            if math.isclose(_value(found), wanted, rel_tol=1e-9, abs_tol=0.501 * 10.0**-digits):
                return True
    return False


def _value(text: str) -> float:
    return float(text.replace(",", "").replace("−", "-"))


def _digits(text: str) -> int:
    exponent = Decimal(text.replace(",", "").replace("−", "-")).as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


def unsupported(cells: Iterable[dict[str, Any]]) -> list[str]:
    r"""Returns each number of a notebook's texts that the cells above do not print.

    Args:
        cells (iterable of dict): cells of a notebook in its own format, with outputs.
    """
    problems, printed, fresh = [], list[str](), False
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            found = printed_by(cell)
            printed = printed + found if fresh else found or printed
            fresh = fresh or bool(found)
            continue
        fresh = fresh and bool(CAPTION.fullmatch(cell["source"]))
        problems += [
            f"cell {number} says {quoted}, which the cells above do not print"
            for quoted in quoted_numbers(cell["source"])
            if not stands_in(quoted, printed)
        ]
    return problems


def printed_by(cell: dict[str, Any]) -> list[str]:
    """The texts that a code cell printed or returned."""
    texts = []
    for output in cell["outputs"]:
        if output["output_type"] == "stream":
            texts.append(output["text"])
        else:
            texts.append(output.get("data", {}).get("text/plain", ""))
    return [text for text in texts if text and not text.startswith("<")]  # "<Figure size 640x480>"
