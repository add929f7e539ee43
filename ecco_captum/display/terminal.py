"""What a terminal shows: tables, shaded texts and verdicts, drawn by rich; plain text elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from ecco_captum.core.text import visible_parts
from ecco_captum.display.colours import COLORS, LEVELS, Hue, ink, shade

VERDICTS = {"supported": "green", "partly supported": "yellow", "not supported": "red"}

_FAINT = 2  # levels of the ramp up to which a token has no shade


def printable(text: str) -> str:
    """A text whose control characters cannot act on the terminal; lines still break."""
    return "".join(visible_parts(text))


def one_line(text: str) -> str:
    """The same on one line, its spaces kept."""
    return printable(text).replace("\n", "") if text.strip(" ") else text


class ShadedText(Text):
    """A text that says nothing without its shades: left out where 16 colours are all there is."""


def console(file: TextIO) -> Console:
    """Texts are no markup: tokens may hold brackets and colons. Lines of files are not wrapped."""
    plain: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}
    # A notebook says that it is a terminal, and rich would display there what is asked for as text.
    terminal = file.isatty() and not type(file).__module__.startswith("ipykernel")
    width = None if terminal else 1_000_000
    return Console(file=file, force_terminal=terminal, force_jupyter=False, width=width, **plain)


def print_blocks(screen: Console, blocks: Iterable[RenderableType]) -> None:
    """Prints blocks with an empty line between them."""
    coloured = screen.color_system in ("256", "truecolor") and not screen.no_color
    shown = [block for block in blocks if coloured or not isinstance(block, ShadedText)]
    for k, block in enumerate(shown):
        if k:
            screen.print()
        screen.print(printable(block) if isinstance(block, str) else block, crop=False)


def as_text(blocks: Iterable[RenderableType]) -> str:
    """Blocks as a text: with colours where standard output is a terminal, else without."""
    screen = console(sys.stdout)
    with screen.capture() as capture:
        print_blocks(screen, blocks)
    return capture.get().removesuffix("\n")


def grouped(blocks: Sequence[RenderableType]) -> Group:
    """Blocks as one renderable of rich, for its own ``print``."""
    spaced = [part for block in blocks for part in ("", block)][1:]
    return Group(*(printable(part) if isinstance(part, str) else part for part in spaced))


def table(columns: Iterable[str], rows: Iterable[Iterable[Any]], texts: Iterable[int]) -> Table:
    """Numbers stand at the right and on one line, columns of ``texts`` at the left."""
    left = set(texts)
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for k, column in enumerate(columns):
        made.add_column(
            one_line(column), justify="left" if k in left else "right", no_wrap=k not in left
        )
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else one_line(str(cell)) for cell in row))
    return made


def with_verdict(said: str, verdict: str) -> Text:
    """A sentence, and in brackets the verdict."""
    return Text.assemble(printable(said), "  ", (f"[{verdict}]", VERDICTS.get(verdict, "")))


def shaded(texts: Sequence[str], values: np.ndarray, last: str = "") -> ShadedText:
    """Tokens, each on a shade of how large its value is beside the largest; then a last one."""
    most = float(np.abs(values).max(initial=0.0))
    line = ShadedText()
    for text, value in zip(texts, values.tolist(), strict=True):
        level = round(LEVELS * abs(value) / most) if most else 0
        line.append(one_line(text), _shade(level, "accent" if value >= 0 else "cool"))
    if last:
        line.append(one_line(last), Style(bold=True, underline=True))
    return line


def _shade(level: int, hue: Hue) -> Style:
    if level <= _FAINT:
        return Style()
    theme = 0 if _is_light() else 1
    back = shade(level, hue)[theme]
    return Style(bgcolor=back, color=ink(back, COLORS["ink"][theme]))


def _is_light() -> bool:
    """Whether the terminal says that its background is light, as some do; most are dark."""
    return os.environ.get("COLORFGBG", "").rpartition(";")[2] in ("7", "15")


def spread(count: int, shown: int = 5) -> list[int]:
    """A few of so many layers, the first and the last among them."""
    return sorted({round(k * (count - 1) / (shown - 1)) for k in range(shown)})
