"""The charts of faithfulness in a real browser: every label is whole and can be told apart."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from page_reading import document
from view_samples import countries, removal, sanitised

from ecco_captum.attribution.faithfulness.html import faithfulness_strip, faithfulness_view
from ecco_captum.attribution.html import saliency_view

TEXTS = """svg => { const box = (n) => n.getBoundingClientRect().toJSON();
  return [box(svg), [...svg.querySelectorAll('text')].map(box)]; }"""


def overlap(one: dict[str, float], other: dict[str, float]) -> bool:
    across = min(one["right"], other["right"]) - max(one["left"], other["left"])
    down = min(one["bottom"], other["bottom"]) - max(one["top"], other["top"])
    return across > 1 and down > 2  # a line's box is taller than its letters


def views(names: tuple[str, ...], fractions: Any, drops: np.ndarray) -> list[str]:
    strip = faithfulness_strip(names, fractions, drops, drops, sentence="It holds.")
    return [
        faithfulness_view(names, fractions, drops, drops, sentence="It holds."),
        saliency_view(*countries(), below=strip),
    ]


@pytest.mark.parametrize(("width", "spread"), [(360, 0), (360, 1e-5), (360, 1e5), (1100, 1)])
def test_labels_are_whole_and_apart(open_page: Callable, width: int, spread: float) -> None:
    names, fractions, drops = removal(6)
    names = (
        "integrated gradients, sum of the embedding",
        "入力と勾配の積、総和の大きさ",
        *names[2:],
    )
    for view in views(names, fractions, drops * spread):
        opened = open_page(document(view), width=width)
        for svg in opened.locator("svg").all():
            whole, texts = svg.evaluate(TEXTS)
            for box in texts:
                assert box["left"] >= whole["left"] - 1
                assert box["right"] <= whole["right"] + 1
                assert box["top"] >= whole["top"] - 1
                assert box["bottom"] <= whole["bottom"] + 1
            assert not [pair for pair in combinations(texts, 2) if overlap(*pair)]
            size = svg.locator("text").first.evaluate("n => n.getBoundingClientRect().height")
            assert size >= 10, "still readable on a narrow screen"


def test_the_method_has_the_accent_and_the_others_do_not(open_page: Callable) -> None:
    names, fractions, drops = removal()
    opened = open_page(document(views(names, fractions, drops)[0]))
    stroke = "nodes => nodes.map((n) => getComputedStyle(n).stroke)"
    own = set(opened.locator(".ecco-own polyline").evaluate_all(stroke))
    others = set(opened.locator(".ecco-other polyline").evaluate_all(stroke))
    assert own == {"rgb(109, 63, 196)"}
    assert len(others) == 1
    assert not own & others
    dashes = opened.locator("svg").first.locator("polyline")
    patterns = dashes.evaluate_all("nodes => nodes.map((n) => getComputedStyle(n).strokeDasharray)")
    assert len(set(patterns)) == len(names), "told apart without colour"


@pytest.mark.parametrize("kind", [0, 1])
def test_an_untrusted_notebook_shows_the_tables(open_page: Callable, kind: int) -> None:
    view = views(*removal())[kind]
    opened = open_page(f"<meta charset=utf-8>{sanitised(view)}", width=500)
    for summary in opened.locator("summary").all():
        summary.click()
    assert opened.get_by_text("AOPC", exact=True).locator("visible=true").count() == 2
    assert opened.locator("svg").count() == 0
    assert opened.evaluate("document.documentElement.scrollWidth") <= 500


def test_a_wide_table_scrolls_inside_its_card(open_page: Callable) -> None:
    names, _, drops = removal()
    fractions = np.linspace(0.1, 1, 10)
    wide = np.concatenate([drops] * 3, axis=1)[:, :11]
    opened = open_page(document(views(names, fractions, wide)[0]), width=360)
    assert opened.evaluate("document.documentElement.scrollWidth") <= 360
    region = opened.get_by_role("region", name="Comprehensiveness, all numbers")
    assert region.evaluate("n => n.scrollWidth > n.clientWidth")
    before = region.locator("tbody th").first.bounding_box()["x"]
    region.focus()
    region.evaluate("n => n.scrollTo(200, 0)")
    assert region.locator("tbody th").first.bounding_box()["x"] == before, "labels stay in view"
