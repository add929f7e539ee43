"""Reading a view in a browser: its tokens' shades, and waiting for what comes later."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ecco_captum.display.colours import LEVELS
from ecco_captum.display.page import page

OPTION, SELECTED, TOKEN = "[role=option]", "[aria-selected=true]", ".ecco-t"


def shades(opened: Any) -> list[int]:
    """The level of each token, negative for the second hue."""
    names = opened.locator(TOKEN).evaluate_all("nodes => nodes.map((node) => node.className)")
    levels = [name.removeprefix("ecco-t").strip() for name in names]
    return [int(n[6:]) * (1 if n[5] == "s" else -1) if n else 0 for n in levels]


def expected_shades(row: np.ndarray, peak: float | None = None) -> list[int]:
    peak = float(np.abs(row).max()) if peak is None else peak
    return [int(np.floor(LEVELS * value / peak + 0.5)) for value in row.astype(float)]


def until(opened: Any, condition: Callable[[], bool], seconds: float = 60) -> None:
    """Looks at every frame: the page's own policy forbids the evaluation that a browser wait needs.

    It takes as long as it takes on a busy machine; ``seconds`` only ends what never comes.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            pytest.fail("this never came true")
        opened.evaluate("() => new Promise(requestAnimationFrame)")


def expect_shades(opened: Any, row: np.ndarray, peak: float | None = None) -> None:
    """Waits until tokens have the shades of an output's scores, the deepest at ``peak``."""
    until(opened, lambda: shades(opened) == expected_shades(row, peak))


def document(view: str) -> str:
    return page(view, title="Test")
