"""Two attributions side by side in a real browser: one selection drives both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from page_reading import OPTION, SELECTED, document, expect_shades
from view_samples import comparison, sanitised

from ecco_captum.core.text import format_share, visible

SOME = [2, 4, 8]
BOTH = comparison(SOME, ("gradient × input, L2", "integrated gradients, sum"))
TOKENS = BOTH.left.tokens


def compared(open_page: Callable, **options: Any) -> Any:
    return open_page(document(BOTH.fragment()), **options)


def shown(opened: Any) -> list[str]:
    """The labels of what is selected on both sides."""
    return [str(node.get_attribute("aria-label")) for node in opened.locator(SELECTED).all()]


@pytest.mark.parametrize("side", [0, 1])
def test_either_side_drives_both(open_page: Callable, side: int) -> None:
    opened = compared(open_page)
    options = opened.locator(".ecco-side").nth(side).locator(OPTION)
    for k, t in ((2, 8), (0, 2), (1, 4)):
        options.nth(k).hover()
        assert [f"output {t}," in name for name in shown(opened)] == [True, True]
        sides = (BOTH.left, BOTH.right)
        top = max(np.abs(record.shares[k]).max() for record in sides)  # one scale for both
        for place, record in enumerate(sides):
            peak = top * np.abs(record.scores[k]).sum()
            expect_shades(opened.locator(".ecco-side").nth(place), record.scores[k], peak)
        highs = opened.locator(".ecco-high").all_inner_texts()
        assert highs == [format_share(float(top))] * 2
        first, *values = opened.locator(".ecco-chosen > *").all_inner_texts()
        assert first == f"“{visible(TOKENS.texts[TOKENS.prompt_length + t])}”"
        assert values == [("0.250", "–", "−0.500")[k], ("0.200", "0.400", "1.00")[k]]
    rows = opened.locator(".ecco-measures tr").all_inner_texts()
    assert rows[2].split("\t") == ["mean of 3 generated tokens", "−0.125", "0.533"]


def test_a_pin_holds_both_and_either_side_releases_it(open_page: Callable) -> None:
    opened = compared(open_page)
    left, right = (opened.locator(".ecco-side").nth(k).locator(OPTION) for k in (0, 1))
    left.nth(2).click()
    right.nth(0).hover()
    assert all("output 8," in name for name in shown(opened))
    assert opened.locator(".ecco-holds").count() == 2
    right.nth(2).click()
    right.nth(0).hover()
    assert all("output 2," in name for name in shown(opened))


def test_a_source_is_read_and_marked_on_both_sides(open_page: Callable) -> None:
    opened = compared(open_page)
    sides = opened.locator(".ecco-side")
    sides.nth(0).locator(OPTION).nth(2).click()
    sides.nth(1).locator(".ecco-prompt .ecco-t").nth(7).hover()
    for text in opened.locator(".ecco-readout").all_inner_texts():
        assert text.startswith("“Austria” ")
    row = sides.nth(0).locator(".ecco-row").first
    row.hover()
    position = int(row.locator(".ecco-at").inner_text())
    for k in (0, 1):
        marked = "nodes => nodes.flatMap((n, i) => n.hasAttribute('data-marked') ? [i] : [])"
        assert sides.nth(k).locator(".ecco-t").evaluate_all(marked) == [position]


def test_the_keyboard_hears_the_agreement(open_page: Callable) -> None:
    opened = compared(open_page)
    opened.locator(OPTION).first.focus()
    opened.keyboard.press("End")
    said = opened.locator(".ecco-agreement [aria-live]").inner_text()
    assert said == "Agreement: Spearman −0.500, top-5 overlap 1.00"
    assert all("output 8," in name for name in shown(opened))
    names = [node.get_attribute("aria-label") for node in opened.get_by_role("listbox").all()]
    assert names == [
        "Generated tokens, gradient × input, L2",
        "Generated tokens, integrated gradients, sum",
    ]


def test_texts_stand_side_by_side_or_follow_each_other(open_page: Callable) -> None:
    def boxes(width: int) -> list[dict[str, float]]:
        opened = compared(open_page, width=width)
        cards = opened.locator(".ecco-side .ecco-text, .ecco-side .ecco-detail")
        return [card.bounding_box() for card in cards.all()]

    left, left_detail, right, right_detail = boxes(1100)
    assert left["y"] == right["y"]
    assert left_detail["y"] == right_detail["y"] > left["y"] + left["height"]
    assert right["x"] > left["x"] + left["width"]
    tops = [box["y"] for box in boxes(400)]
    assert tops[0] < tops[2] < tops[1] < tops[3], "texts first, then the tables"


def test_an_untrusted_notebook_shows_both_sides(open_page: Callable) -> None:
    opened = open_page(f"<meta charset=utf-8>{sanitised(BOTH.fragment())}", width=400)
    assert opened.locator("table tbody tr:visible").count() == len(SOME)
    assert opened.evaluate("document.documentElement.scrollWidth") <= 400


@pytest.mark.parametrize("width", [400, 1100])
def test_nothing_moves_on_hover(open_page: Callable, width: int) -> None:
    opened = compared(open_page, width=width)
    places = opened.locator(".ecco-t, .ecco-card, .ecco-legend, .ecco-pane, .ecco-measures td")
    # Against the view itself: a narrow page scrolls to what the pointer goes to.
    boxes = """nodes => { const top = document.querySelector('.ecco').getBoundingClientRect().top;
      return nodes.map((n) => { const { x, y, width, height } = n.getBoundingClientRect();
        return [x, y - top, width, height].map((v) => Math.round(8 * v) / 8); }); }"""
    before = places.evaluate_all(boxes)
    for k in (0, 2, 1):
        opened.locator(OPTION).nth(k).hover()
        assert places.evaluate_all(boxes) == before
