"""The report's first screen: text, shaded sources and every verdict, without scrolling."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecco_captum import Report, report
from ecco_captum.models.language_model import LanguageModel

SCREENS = [(1280, 800), (390, 844)]


@pytest.fixture(scope="module")
def whole(tiny_lm: Callable[..., LanguageModel]) -> Report:
    text = "The countries of the European Union are:\n1. Austria\n2. Belgium\n3. Bulgaria\n4."
    return report(tiny_lm("gpt2"), text, max_new_tokens=24, n_components=3)


@pytest.fixture
def address(whole: Report, tmp_path: Path) -> str:
    path = tmp_path / "report.html"
    whole.to_html(path)
    return path.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_the_answer_is_on_the_first_screen(
    browser: Any, address: str, screen: tuple[int, int], scheme: str
) -> None:
    width, height = screen
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.goto(address)
    chips = page.locator(".ecco-rows .ecco-verdict")
    assert chips.count() == 6
    shaded = page.locator('.ecco-answer .ecco-t[class*="ecco-s"]')
    selected = page.locator('.ecco-answer .ecco-t[aria-selected="true"]')
    bars = page.locator(".ecco-answer .ecco-pane .ecco-length")
    assert shaded.count() >= 1
    for part in (chips.first, chips.last, selected, bars.first):
        box = part.bounding_box()
        assert 0 <= box["x"] < box["x"] + box["width"] <= width
        assert 0 <= box["y"] < box["y"] + box["height"] <= height
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_it_is_alive_and_leads_down(browser: Any, address: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(address)
    outputs = page.locator('.ecco-answer [role="option"]')
    name = page.locator(".ecco-answer .ecco-place")
    before = name.text_content()
    outputs.first.hover()
    assert name.text_content() != before
    for row in page.locator(".ecco-finding").all():
        target = row.get_attribute("href")
        row.click()
        assert page.evaluate("location.hash") == target
        box = page.locator(target).bounding_box()
        assert -1 <= box["y"] < 800, "the section is in view"
        page.evaluate("scrollTo(0, 0)")
    test = page.locator("#ecco-saliency details summary", has_text="How it was tested")
    curves = page.locator("#ecco-saliency .ecco-chart").first
    assert not curves.is_visible()
    test.click()
    assert curves.is_visible()
    page.close()
