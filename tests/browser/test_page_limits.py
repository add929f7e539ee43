"""The static view at its limits: long texts, and numbers of any size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from page_checks import hovers_smoothly
from page_reading import OPTION, document, expect_shades
from view_samples import long_text

from ecco_captum.core.text import format_number, format_share
from ecco_captum.display.page import asset


@pytest.mark.parametrize(("prompt", "outputs"), [(10_000, 50), (2000, 500)])
def test_long_texts_are_hovered_smoothly(open_page: Callable, prompt: int, outputs: int) -> None:
    record = long_text(prompt, outputs)
    opened = open_page(document(record.fragment()))
    opened.get_by_role("button", name="Show all").click()
    boxes = [opened.locator(OPTION).nth(t).bounding_box() for t in range(40)]
    assert hovers_smoothly(opened, boxes)
    # What was out of sight is painted too, as soon as the pointer rests.
    expect_shades(opened, record.scores[39])


def test_python_and_the_page_write_numbers_alike(open_page: Callable) -> None:
    source = asset("display/numbers.js")
    rng = np.random.default_rng(3)
    values = (rng.choice([-1, 1], 3000) * 10 ** rng.uniform(-12, 14, 3000)).tolist()
    shares = (rng.choice([-1, 1], 3000) * 10 ** rng.uniform(-7, 0, 3000)).tolist()
    written = open_page("<p>").evaluate(
        """async ([source, values, shares]) => {
          const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
          const { formatNumber, formatShare } = await import(url);
          return [values.map(formatNumber), shares.map(formatShare)];
        }""",
        [source, values, shares],
    )
    assert written == [list(map(format_number, values)), list(map(format_share, shares))]
