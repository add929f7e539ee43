"""The charts of faithfulness in a real browser: every label is whole and can be told apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from page_reading import document
from view_samples import CONDITIONS, faithful, sanitised

from ecco_captum import Faithfulness

TEXTS = """svg => { const box = (n) => n.getBoundingClientRect().toJSON();
  return [box(svg), [...svg.querySelectorAll('text')].map(box)]; }"""


def overlap(first: dict[str, float], other: dict[str, float]) -> bool:
    across = min(first["right"], other["right"]) - max(first["left"], other["left"])
    down = min(first["bottom"], other["bottom"]) - max(first["top"], other["top"])
    return across > 1 and down > 2  # a line's box is taller than its letters


def views(record: Faithfulness) -> list[str]:
    return [record.fragment(), record.attribution.fragment(record.strip())]


@pytest.mark.parametrize(("width", "spread"), [(360, 0), (360, 1e-5), (360, 1e5), (1100, 1)])
def test_labels_are_whole_and_apart(open_page: Callable, width: int, spread: float) -> None:
    own = "integrated gradients, sum of the embedding"
    record = faithful((own, "入力と勾配の積、総和の大きさ", *CONDITIONS[2:]))
    names = ("comprehensiveness", "sufficiency")
    tables = (*names, *(f"random_{name}" for name in names))
    scaled = {name: getattr(record, name) * spread for name in tables}
    for view in views(replace(record, **scaled)):
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
    opened = open_page(document(faithful().fragment()))
    stroke = "nodes => nodes.map((n) => getComputedStyle(n).stroke)"
    own = set(opened.locator(".ecco-own polyline").evaluate_all(stroke))
    others = set(opened.locator(".ecco-other polyline").evaluate_all(stroke))
    assert own == {"rgb(109, 63, 196)"}
    assert len(others) == 1
    assert not own & others
    dashes = opened.locator("svg").first.locator("polyline")
    patterns = dashes.evaluate_all("nodes => nodes.map((n) => getComputedStyle(n).strokeDasharray)")
    assert len(set(patterns)) == 4, "told apart without colour"


@pytest.mark.parametrize("kind", [0, 1])
def test_an_untrusted_notebook_shows_the_tables(open_page: Callable, kind: int) -> None:
    view = views(faithful())[kind]
    opened = open_page(f"<meta charset=utf-8>{sanitised(view)}", width=500)
    for summary in opened.locator("summary").all():
        summary.click()
    assert opened.get_by_text("AOPC", exact=True).locator("visible=true").count() == 2
    assert opened.locator("svg").count() == 0
    assert opened.evaluate("document.documentElement.scrollWidth") <= 500


def test_a_wide_table_scrolls_inside_its_card(open_page: Callable) -> None:
    view = faithful(fractions=np.linspace(0.1, 1, 10)).fragment()
    opened = open_page(document(view), width=360)
    assert opened.evaluate("document.documentElement.scrollWidth") <= 360
    region = opened.get_by_role("region", name="Comprehensiveness, all numbers")
    assert region.evaluate("n => n.scrollWidth > n.clientWidth")
    before = region.locator("tbody th").first.bounding_box()["x"]
    region.focus()
    region.evaluate("n => n.scrollTo(200, 0)")
    assert region.locator("tbody th").first.bounding_box()["x"] == before, "labels stay in view"
